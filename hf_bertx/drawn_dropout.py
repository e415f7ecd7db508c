"""Dropout that takes the randomness of four elements from one draw."""

from __future__ import annotations

from typing import Any

import torch


def drawn_to_stay(shape: torch.Size, p: float) -> torch.Tensor:
    """A mask of bytes of this shape on the CPU: 0 with probability `p`, exact to 1/65536 (16 random bits), else 1.

    The bits come from torch's generator, which is called once for four elements; its calls are most of what a mask
    costs. Bytes and not booleans, for a product with them is the faster way to drop.
    """
    count = shape.numel()
    words = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None)
    drawn = words.view(torch.int16)[:count].view(shape)
    return torch.ge(drawn, round(p * 2**16) - 2**15, out=torch.empty(shape, dtype=torch.uint8))


class _DrawnDropout(torch.autograd.Function):
    """Zeroes elements where 16 random bits fall below the rate; the others are scaled so that the mean stays."""

    @staticmethod
    def forward(ctx: Any, states: torch.Tensor, p: float) -> torch.Tensor:
        keep = drawn_to_stay(states.shape, p)
        ctx.save_for_backward(keep)
        ctx.scale = 1 / (1 - p)
        return (states * keep).mul_(ctx.scale)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        (keep,) = ctx.saved_tensors
        return (grads[0] * keep).mul_(ctx.scale), None


class DrawnDropout(torch.nn.Dropout):
    """`torch.nn.Dropout` that takes the randomness of four elements from one draw when it runs on a CPU.

    There one call of the generator an element is what dropout costs. The rate is exact to 1/65536; the generator is
    torch's, so that seeds and resumed runs hold. On other devices it is the stock dropout.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if not self.training or self.p == 0 or self.p == 1 or input.device.type != "cpu":
            return super().forward(input)
        return _DrawnDropout.apply(input, self.p)


def draw_dropout_at_once(model: torch.nn.Module) -> None:
    """Puts [`DrawnDropout`] in place of every `torch.nn.Dropout`: the same distribution, other draws.

    Where attention is a kernel's, its dropout is not called: the kernel is told the rate, and draws by itself. See
    [`cpu_attention`] for one that draws as is done here.
    """
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is torch.nn.Dropout:
                setattr(module, name, DrawnDropout(child.p))
