"""What a step has to compute, from shapes, and what the machine can compute, measured."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from turns import synchronise

from hf_bertx.performance.linear import OneDNNLinear

# What is multiplied by a matrix, made from that matrix.
Way = Callable[[torch.Tensor], Callable[[torch.Tensor], torch.Tensor]]

# A forward pass, and in the backward pass a product for the gradient of the input and one for that of the weights.
_PASSES = 3


def forward_flops(config: Any, width: float, pruned: bool) -> float:
    """Floating-point operations of the matrix products of a BERT classifier that reads one sequence.

    For a sequence of L tokens, a layer of width h and inner width f takes `2 L (4 h^2 + 2 h f)` for its linear maps
    and `4 L^2 h` for attention. A last layer that computes position 0 alone takes `4 L h^2` for keys and values,
    `4 L h` for attention, and the rest for one position. The head takes `2 h^2 + 2 h labels`.
    Look-ups, normalisation, softmax and dropout are left out.

    Args:
        width: its length, with padding.
        pruned: see [`last_layer.compute_first_position_only`].
    """
    h, f = config.hidden_size, config.intermediate_size
    layer = 2 * width * (4 * h * h + 2 * h * f) + 4 * width * width * h
    last = 4 * width * h * h + 4 * h * h + 4 * h * f + 4 * width * h if pruned else layer
    head = 2 * h * h + 2 * h * config.num_labels
    return float((config.num_hidden_layers - 1) * layer + last + head)


def attention_flops(config: Any, width: float) -> float:
    """Of [`forward_flops`] with a pruned last layer, those of queries by keys and of probabilities by values."""
    return float((config.num_hidden_layers - 1) * 4 * width * width * config.hidden_size)


def step_flops(config: Any, rows: float, width: float, pruned: bool) -> float:
    """Those of one training step on `rows` sequences: the backward pass takes twice as much as [`forward_flops`].

    The optimiser is left out, and so is what a fused kernel computes twice.
    """
    return _PASSES * rows * forward_flops(config, width, pruned)


def matrix_peak(dtype: torch.dtype, device: torch.device, seconds: float = 1.0, laid_out: bool = False) -> float:
    """The most floating-point operations a second of a product of square matrices, over several sizes and tries.

    On a CPU by oneDNN's product too, which is twice as fast in float32 where torch's library has no AVX-512.

    Args:
        laid_out: one of the matrices may lie in oneDNN's layout beforehand, as weights do that do not change; some
            hundredths faster.
    """
    sizes = (2048, 4096, 8192) if device.type == "cuda" else (512, 1024, 2048)
    ways: list[Way] = [_by_torch]
    if device.type == "cpu":
        ways.append(_by_onednn_laid_out if laid_out else _by_onednn)
    share = seconds / len(sizes) / len(ways)
    return max(_product_rate(way, size, dtype, device, share) for way in ways for size in sizes)


def attention_peak(dtype: torch.dtype, head_size: int, seconds: float = 1.0) -> float:
    """As [`matrix_peak`] on a CPU, of the products of attention, queries by keys and probabilities by values, alone.

    A head is narrow, so that either product reads or writes a matrix of scores for a few operations an element.
    """
    best = 0.0
    for length in (64, 128, 256, 512):
        heads = 2**20 // length**2  # scores of two megabytes in bfloat16
        query, key, value = (torch.randn(heads, length, head_size).to(dtype) for _ in range(3))
        scores, out = query.new_empty(heads, length, length), torch.empty_like(query)
        begun = time.perf_counter()
        while time.perf_counter() - begun < seconds / 4:
            started = time.perf_counter()
            torch.bmm(query, key.transpose(1, 2), out=scores)
            torch.bmm(scores, value, out=out)
            best = max(best, heads * 4 * length**2 * head_size / (time.perf_counter() - started))
    return best


def _by_torch(b: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda a: torch.mm(a, b)


def _by_onednn_laid_out(b: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    linear = OneDNNLinear(len(b), len(b), bias=False, device="meta")
    linear.weight = torch.nn.Parameter(b)
    return linear


def _by_onednn(b: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    linear: Any = _by_onednn_laid_out(b)
    linear._weight_in_layout = lambda: linear.weight
    return linear


@torch.no_grad()
def _product_rate(way: Way, size: int, dtype: torch.dtype, device: torch.device, seconds: float) -> float:
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    at_once = 20 if device.type == "cuda" else 1
    product = way(b)
    product(a)
    best, begun = 0.0, time.perf_counter()
    while best == 0 or time.perf_counter() - begun < seconds:
        synchronise()
        started = time.perf_counter()
        for _ in range(at_once):
            product(a)
        synchronise()
        best = max(best, at_once * 2 * size**3 / (time.perf_counter() - started))
    return best
