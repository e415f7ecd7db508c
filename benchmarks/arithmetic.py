"""What a step has to compute, from shapes, and what the machine can compute, measured."""

from __future__ import annotations

import time
from typing import Any

import torch

_SECONDS = 0.2  # in which products of one size are timed
_PASSES = 3  # forward; backward has one product for the gradient of the input and one for that of the weights


def step_flops(config: Any, rows: float, width: float, pruned: bool) -> float:
    """Floating-point operations of the matrix products of one training step of a BERT classifier.

    For a sequence of L tokens, a layer of width h and inner width f takes `2 L (4 h^2 + 2 h f)` for its linear maps
    and `4 L^2 h` for attention. A last layer that computes position 0 alone takes `4 L h^2` for keys and values,
    `4 L h` for attention, and the rest for one position. The head takes `2 h^2 + 2 h labels`. The backward pass takes
    twice as much as the forward pass. Look-ups, normalisation, softmax, dropout and the optimizer are left out.

    Args:
        rows: sequences of the step.
        width: their length in tokens, with padding.
        pruned: whether the last layer computes position 0 alone.
    """
    h, f = config.hidden_size, config.intermediate_size
    layer = 2 * width * (4 * h * h + 2 * h * f) + 4 * width * width * h
    last = 4 * width * h * h + 4 * h * h + 4 * h * f + 4 * width * h if pruned else layer
    head = 2 * h * h + 2 * h * config.num_labels
    return float(_PASSES * rows * ((config.num_hidden_layers - 1) * layer + last + head))


def matrix_peaks(device: str, bfloat16: bool) -> dict[str, float | None]:
    """Operations a second of the fastest product of square matrices, by precision."""
    return {"float32": _peak(torch.float32, device), "bfloat16": _peak(torch.bfloat16, device) if bfloat16 else None}


def _peak(dtype: torch.dtype, device: str) -> float:
    sizes = (2048, 4096, 8192) if device == "cuda" else (512, 1024, 2048)
    return max(_rate(size, dtype, device) for size in sizes)


@torch.no_grad()
def _rate(size: int, dtype: torch.dtype, device: str) -> float:
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    at_once = 20 if device == "cuda" else 1
    torch.mm(a, b)
    best, begun = 0.0, time.perf_counter()
    while best == 0 or time.perf_counter() - begun < _SECONDS:
        synchronise()
        started = time.perf_counter()
        for _ in range(at_once):
            torch.mm(a, b)
        synchronise()
        best = max(best, at_once * 2 * size**3 / (time.perf_counter() - started))
    return best


def synchronise() -> None:
    """Waits until a GPU has done all that it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
