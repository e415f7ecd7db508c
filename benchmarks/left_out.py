"""Levers that were tried and are not built: parts of a layer, each in two ways, alternately, on random numbers.

    python benchmarks/left_out.py [--rounds 30] [--threads 2] [--output FILE.json]

In bfloat16 where the processor has it, or in float32 where a lever is one of float32.
Shapes are those of `minilm-l6` (12 heads of 32) on a training batch of splice and of H3. A ratio is the time of what
is built over that of the other way, in the same round: above 1 the other way is faster.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from counts import at_least_one
from torch.nn.functional import linear, scaled_dot_product_attention

from hf_bertx import cpu_attention
from hf_bertx.run_arguments import fast_bfloat16, usable_cores, use_processor
from hf_bertx.run_files import write_json
from hf_bertx.run_order import machine, versions

HEADS, HIDDEN = 12, 384
SHAPES = {"splice": (32, 62), "h3": (32, 502)}  # batch, tokens
Way = Callable[[], tuple[torch.Tensor, ...]]


def _heads(states: torch.Tensor) -> torch.Tensor:
    return states.unflatten(-1, (HEADS, -1)).transpose(1, 2)  # (batch, heads, length, head size)


def joined_projections(batch: int, length: int) -> tuple[Way, Way]:
    """Queries, keys and values by three products, and by one product with the three matrices beside each other."""
    states = torch.randn(batch, length, HIDDEN, requires_grad=True)
    weights = [torch.randn(HIDDEN, HIDDEN, requires_grad=True) for _ in range(3)]
    joined = torch.cat(weights).detach().requires_grad_()
    return (
        lambda: tuple(linear(states, weight) for weight in weights),
        lambda: linear(states, joined).chunk(3, -1),
    )


def attention_by_products(batch: int, length: int) -> tuple[Way, Way]:
    """Attention without dropout in float32 by `scaled_dot_product_attention`, and as it is in bfloat16."""
    mixed = torch.randn(batch, length, 3 * HIDDEN, dtype=torch.float32, requires_grad=True)
    scale = (HIDDEN // HEADS) ** -0.5

    def built() -> tuple[torch.Tensor]:
        return (scaled_dot_product_attention(*map(_heads, mixed.chunk(3, -1))),)

    def products() -> tuple[torch.Tensor]:
        return (cpu_attention._by_products(*map(_heads, mixed.chunk(3, -1)), None, scale, 0.0),)

    return built, products


class _BiasWithin(torch.autograd.Function):
    """A linear map by oneDNN, as prediction has it, with the gradients that torch's has."""

    @staticmethod
    def forward(ctx: Any, states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(states, weight)
        return torch.ops.mkldnn._linear_pointwise(states, weight, bias, "none", [], "")

    @staticmethod
    def backward(ctx: Any, of_out: torch.Tensor) -> tuple[torch.Tensor, ...]:
        states, weight = ctx.saved_tensors
        flat = of_out.flatten(0, -2)
        return of_out @ weight, flat.T @ states.flatten(0, -2), flat.sum(0)


def bias_within(batch: int, length: int) -> tuple[Way, Way]:
    """The widest map of a layer in training, where torch copies the bias to all rows before it multiplies."""
    states = torch.randn(batch, length, HIDDEN, requires_grad=True)
    weight, bias = (torch.randn(*shape, requires_grad=True) for shape in ((4 * HIDDEN, HIDDEN), (4 * HIDDEN,)))
    return (
        lambda: (linear(states, weight, bias),),
        lambda: (_BiasWithin.apply(states, weight, bias),),
    )


LEVERS = {
    "bias within the product in training": bias_within,
    "queries, keys and values by one product": joined_projections,
    "attention by products, without dropout": attention_by_products,
}
_IN_TRAINING = (bias_within,)  # prediction has it
_IN_FLOAT32 = (attention_by_products,)  # in bfloat16 it is as the other way has it


def _seconds(way: Way, backward: bool) -> float:
    started = time.perf_counter()
    if backward:
        outputs = way()
        torch.autograd.backward(outputs, [torch.ones_like(output) for output in outputs])
    else:
        with torch.inference_mode():
            way()
    return time.perf_counter() - started


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=at_least_one, default=30)
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    options = parser.parse_args()
    use_processor(options.threads, use_cpu=True)
    fast = torch.bfloat16 if fast_bfloat16(use_cpu=True) else torch.float32
    torch.set_default_dtype(fast)
    rows = []
    for lever, make in LEVERS.items():
        precision = "float32" if make in _IN_FLOAT32 else str(fast).removeprefix("torch.")
        for case, shape in SHAPES.items():
            built, other = make(*shape)
            for backward in (True,) if make in _IN_TRAINING else (False, True):
                ratios = []
                for _ in range(options.rounds + 1):
                    before = _seconds(built, backward)
                    ratios.append(before / _seconds(other, backward))
                ratios = sorted(ratios[1:])  # the first round allocates
                row = {"lever": lever, "case": case, "pass": "forward and backward" if backward else "forward"}
                row |= {
                    "precision": precision,
                    "median": statistics.median(ratios),
                    "lowest": ratios[0],
                    "highest": ratios[-1],
                }
                rows.append(row | {"rounds": options.rounds})
                spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
                print(f"{lever}, {case}, {precision}, {row['pass']}: {row['median']:.2f}, {spread}")
    if options.output is not None:
        record = {"threads": options.threads, "machine": machine(), "versions": versions(), "rows": rows}
        write_json(options.output, record)
    return 0


if __name__ == "__main__":
    sys.exit(main())
