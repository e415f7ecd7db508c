"""What a step has to compute, from shapes, and what the machine can compute, measured."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from turns import synchronise

from hf_bertx.cpu_linear import OneDNNLinear

# What is multiplied by a matrix, made from that matrix.
Way = Callable[[torch.Tensor], Callable[[torch.Tensor], torch.Tensor]]

# A forward pass, and in the backward pass a product for the gradient of the input and one for that of the weights.
_PASSES = 3


def forward_flops(config: Any, width: float, pruned: bool, distinct: float | None = None) -> float:
    """Floating-point operations of the matrix products of a BERT classifier that reads one sequence.

    For a sequence of L tokens, a layer of width h and inner width f takes `2 L (4 h^2 + 2 h f)` for its linear maps
    and `4 L^2 h` for attention. Where the last layer is pruned to position 0, it takes `4 h^2` and `4 L h` for each of
    its heads, in place of keys and values, and the rest for one position. The head takes `2 h^2 + 2 h labels`.
    Look-ups, normalisation, softmax and dropout are left out.

    Args:
        width: its length, with padding.
        pruned: see [`shortcuts.prune_unread_positions`].
        distinct: of how many tokens the first layer computes queries, keys and values; by default of all.
    """
    h, f = config.hidden_size, config.intermediate_size
    layer = 2 * width * (4 * h * h + 2 * h * f) + 4 * width * width * h
    last = 2 * (4 * h * h + 2 * h * f) + 4 * width * h * config.num_attention_heads if pruned else layer
    head = 2 * h * h + 2 * h * config.num_labels
    repeated = 0.0 if distinct is None else 6 * h * h * (width - distinct)
    return float((config.num_hidden_layers - 1) * layer + last + head - repeated)


def step_flops(config: Any, rows: float, width: float, pruned: bool) -> float:
    """Those of one training step on `rows` sequences: the backward pass takes twice as much as [`forward_flops`].

    The optimiser is left out, and so is what a fused kernel computes twice.
    """
    return _PASSES * rows * forward_flops(config, width, pruned)


def matrix_peak(dtype: torch.dtype, device: torch.device, seconds: float = 1.0) -> float:
    """The most floating-point operations a second of a product of square matrices, over several sizes and tries.

    On a CPU by torch's own product and by oneDNN's of a matrix in its own layout: twice as fast in float32 where torch
    has no AVX-512, and some hundredths elsewhere.
    """
    sizes = (2048, 4096, 8192) if device.type == "cuda" else (512, 1024, 2048)
    ways: list[Way] = [_by_torch] if device.type == "cuda" else [_by_torch, _by_onednn]
    share = seconds / len(sizes) / len(ways)
    return max(_product_rate(way, size, dtype, device, share) for way in ways for size in sizes)


def _by_torch(b: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda a: torch.mm(a, b)


def _by_onednn(b: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    linear = OneDNNLinear(len(b), len(b), bias=False, device="meta")
    linear.weight = torch.nn.Parameter(b)
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
