"""Dropout that takes the randomness of four elements from one draw, on a CPU."""

from __future__ import annotations

from typing import Any

import torch


def keep_mask(shape: torch.Size, p: float) -> torch.Tensor:
    """A mask of this shape on the CPU: 0 with probability `p`, exact to 1/65536 (16 random bits), else 1.

    The bits come from torch's generator, which is called once for four elements; these calls are most of the cost of a
    mask. The mask holds bytes, because torch multiplies by them faster than by booleans.
    """
    count = shape.numel()
    words = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None)
    drawn = words.view(torch.int16)[:count].view(shape)
    return torch.ge(drawn, round(p * 2**16) - 2**15, out=torch.empty(shape, dtype=torch.uint8))


class _Drop(torch.autograd.Function):
    """Zeroes elements where 16 random bits fall below the rate, and scales the others so that the mean stays."""

    @staticmethod
    def forward(ctx: Any, states: torch.Tensor, p: float) -> torch.Tensor:
        keep = keep_mask(states.shape, p)
        ctx.save_for_backward(keep)
        ctx.scale = 1 / (1 - p)
        return (states * keep).mul_(ctx.scale)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        (keep,) = ctx.saved_tensors
        return (grads[0] * keep).mul_(ctx.scale), None


class FastDropout(torch.nn.Dropout):
    """`torch.nn.Dropout` with one draw for four elements on a CPU; the stock dropout on other devices.

    The rate is exact to 1/65536. The generator is torch's, so seeds and resumed runs give the same numbers.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if not self.training or self.p == 0 or self.p == 1 or input.device.type != "cpu":
            return super().forward(input)
        return _Drop.apply(input, self.p)


def use_fast_dropout(model: torch.nn.Module) -> None:
    """Replaces every `torch.nn.Dropout` by [`FastDropout`]: the same distribution, other draws."""
    for module in model.modules():
        if type(module) is torch.nn.Dropout:
            module.__class__ = FastDropout
