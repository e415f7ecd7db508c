"""Dropout that takes the randomness of four elements from one draw of a fast generator, on a CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

_HALF = 2**15


def _drawn(shape: torch.Size, p: float) -> torch.Tensor:
    """int16 on the CPU: below 0 with probability `p`, exact to 1/32768.

    The bits come from numpy's SFC64, seeded by torch's generator, in less than half of that generator's time.
    """
    seed = int(torch.empty((), dtype=torch.int64).random_())
    words = np.random.SFC64(seed).random_raw(-(-shape.numel() // 4))
    bits = torch.from_numpy(words.view(np.int16))[: shape.numel()].view(shape)
    return bits.bitwise_and_(_HALF - 1).sub_(round(p * _HALF))


def mark_dropped(powers: torch.Tensor, p: float) -> None:
    """Gives elements that are 0 or more, float32 or bfloat16, a negative sign with probability `p`, in place.

    So no mask has to be kept: `powers.relu()` are those that stay, `powers.abs()` are all.
    """
    signs = _drawn(powers.shape, p).bitwise_and_(-_HALF)
    halves = powers.view(torch.int16).view(*powers.shape, -1)
    halves[..., -1].bitwise_or_(signs)  # the half with the sign comes last in memory


class _Drop(torch.autograd.Function):
    """Zeroes elements with a probability, and scales the others so that the mean stays."""

    @staticmethod
    def forward(ctx: Any, states: torch.Tensor, p: float) -> torch.Tensor:
        # of bytes, because torch multiplies by them faster than by booleans
        keep = torch.ge(_drawn(states.shape, p), 0, out=torch.empty(states.shape, dtype=torch.uint8))
        ctx.save_for_backward(keep)
        ctx.scale = 1 / (1 - p)
        return (states * keep).mul_(ctx.scale)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        (keep,) = ctx.saved_tensors
        return (grads[0] * keep).mul_(ctx.scale), None


class FastDropout(torch.nn.Dropout):
    """`torch.nn.Dropout` with one draw for four elements on a CPU; the stock one on other devices and when compiled.

    The rate is exact to 1/32768. Torch's generator seeds the draws, so seeds and resumed runs give the same numbers.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        slow = not self.training or self.p == 0 or self.p == 1 or input.device.type != "cpu"
        if slow or torch.compiler.is_compiling():  # a compiler has its own, and cannot trace numpy's generator
            return super().forward(input)
        return _Drop.apply(input, self.p)


def use_fast_dropout(model: torch.nn.Module) -> None:
    """Replaces every `torch.nn.Dropout` by [`FastDropout`]: the same distribution, other draws."""
    for module in model.modules():
        if type(module) is torch.nn.Dropout:
            module.__class__ = FastDropout
