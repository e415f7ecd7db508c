"""Attention on a CPU by matrix products over a few rows at a time, where torch's fused kernel is slower."""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

import torch
from torch.autograd.function import once_differentiable
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from ..processor import mkl_lacks_avx512
from .dropout import mark_dropped

NAME = "cpu_products"
# Number of probabilities in memory at a time, at least those of one row: a few megabytes, for the processor's cache.
_AT_ONCE = 2**20
# Unread keys are left out in steps of this size: oneDNN makes a kernel for each number of keys.
_STEP = 64
# Up to so many keys, without gradients, products are faster in float32 too where MKL has no AVX-512.
_FEW = 64
_SAFE = 2.0**-64, 2.0**64  # sums of powers within these limits lose no element that counts, and no gradient
_LOG2E = 1.4426950408889634  # powers of two are faster to compute than those of e


class _Products(torch.autograd.Function):
    """`softmax(scale query key^T + mask) value` with dropout of the softmax.

    Outputs and their gradients are divided by the sums of powers, instead of the powers, which are more. A stock
    softmax subtracts the largest score of each row; here this is done only if the sums overflow or underflow.
    """

    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *given: Any) -> torch.Tensor:
        mask, scale, dropout, backward = given
        shape = (*query.shape[:3], key.shape[2])
        query, key, value = _by_head(query), _by_head(key), _by_head(value)
        out, sums = query.new_empty(*query.shape[:2], value.shape[2]), query.new_empty(*query.shape[:2], 1)
        parts, most = _parts(shape, mask)
        room = query.new_empty(most)
        kept = []
        for part in parts:
            at, read = part.matrices, slice(part.keys)
            if backward:
                room = query.new_empty(most)
            powers = part.matrices_in(room)
            _scores(part, query, key, mask, scale, out=powers)
            torch.sum(torch.exp2(powers, out=powers), -1, keepdim=True, out=sums[at])
            lowest, highest = sums[at].aminmax()
            if not (lowest > _SAFE[0] and highest < _SAFE[1]):
                _scores(part, query, key, mask, scale, out=powers)
                # a row that reads no key is 0, as torch has it
                powers -= powers.amax(-1, keepdim=True).clamp_min(torch.finfo(powers.dtype).min)
                torch.sum(torch.exp2(powers, out=powers), -1, keepdim=True, out=sums[at])
                sums[at] += sums[at] == 0
            if dropout:
                mark_dropped(powers, dropout)
            torch.bmm(powers.relu() if dropout else powers, value[at, read], out=out[at])
            kept.append(powers)
        sums *= 1 - dropout
        out /= sums
        out = out.view(*shape[:3], -1).transpose(1, 2).contiguous()
        if backward:
            ctx.save_for_backward(query, key, value, sums, out, *kept)
            ctx.parts, ctx.most, ctx.heads, ctx.scale, ctx.dropout = parts, most, shape[1], scale, dropout
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_out: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, sums, out, *kept = ctx.saved_tensors
        parts = ctx.parts
        # The gradient of a score is power / sum * (gradient of its probability - mean of those in its row), and that
        # mean is the product of the row's output and its gradient.
        means = _by_head((of_out * out).sum(-1, keepdim=True).transpose(1, 2)) / -sums * (1 - ctx.dropout)
        of_mixed = _by_head(of_out.transpose(1, 2)) / sums
        of_query, of_key, of_value = torch.empty_like(query), torch.zeros_like(key), torch.zeros_like(value)
        room = query.new_empty(ctx.most)
        for part, powers in zip(parts, kept, strict=True):
            at, read = part.matrices, slice(part.keys)
            weights = powers.relu() if ctx.dropout else powers
            torch.bmm(weights.transpose(1, 2), of_mixed[at], out=of_value[at, read])
            of_scores, less = part.matrices_in(room), means[at].expand(-1, -1, part.keys)
            if ctx.dropout:
                torch.bmm(of_mixed[at], value[at, read].transpose(1, 2), out=of_scores)
                of_scores.mul_(weights).addcmul_(less, powers.abs())
            else:
                torch.baddbmm(less, of_mixed[at], value[at, read].transpose(1, 2), out=of_scores)
                of_scores *= powers
            into = of_query[at]
            torch.baddbmm(into, of_scores, key[at, read], beta=0, alpha=ctx.scale, out=into)
            into = of_key[at, read]
            torch.baddbmm(into, of_scores.transpose(1, 2), query[at], beta=0, alpha=ctx.scale, out=into)
        # heads apart, in memory side by side, as a linear map reads them
        apart = (states.unflatten(0, (-1, ctx.heads)).transpose(1, 2) for states in (of_query, of_key, of_value))
        return *(states.contiguous().transpose(1, 2) for states in apart), *[None] * 4


class _Part(NamedTuple):
    """The rows of a batch that are computed together."""

    rows: slice
    matrices: slice  # of `(batch * heads, ...)`
    queries: int
    keys: int  # no query of its rows reads a later one
    read_by_all: int  # every query reads the keys before this one

    def matrices_in(self, room: torch.Tensor) -> torch.Tensor:
        """Its share of flat memory. Parts that use the same memory keep it in the processor's cache."""
        size = (self.matrices.stop - self.matrices.start) * self.queries * self.keys
        return room[:size].view(-1, self.queries, self.keys)


def _parts(shape: tuple[int, ...], mask: torch.Tensor | None) -> tuple[list[_Part], int]:
    """The parts of a batch of shape `(batch, heads, queries, keys)`, and the most scores that a part can have.

    Memory for scores always has that size, so that the next step can use it again.
    """
    batch, heads, queries, keys = shape
    at_once = min(batch, max(1, _AT_ONCE // prod(shape[1:])))
    spans = [(start, min(start + at_once, batch)) for start in range(0, batch, at_once)]
    reads = [(keys, 0)] * len(spans)
    if mask is not None and mask.dtype == torch.bool and mask.shape == (batch, 1, queries, keys):
        some, every = mask.any(2).flatten(1), mask.all(2).flatten(1)
        reads = [_read(some[start:end].any(0), every[start:end].all(0)) for start, end in spans]
    parts = [
        _Part(slice(start, end), slice(start * heads, end * heads), queries, *read)
        for (start, end), read in zip(spans, reads, strict=True)
    ]
    return parts, at_once * prod(shape[1:])


def _read(some: torch.Tensor, every: torch.Tensor) -> tuple[int, int]:
    """Up to which key some query reads, in whole `_STEP`s, and before which every query reads all."""
    keys = len(some)
    last = int(some.nonzero().max()) + 1 if some.any() else keys
    last = min(keys, -(-last // _STEP) * _STEP)
    return last, last if every[:last].all() else int(every.long().argmin())


def _by_head(states: torch.Tensor) -> torch.Tensor:
    """`(batch, heads, length, head size)` as `(batch * heads, length, head size)`, each matrix in one piece."""
    return states.contiguous().flatten(0, 1)


def _scores(
    part: _Part, query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None, scale: float, out: torch.Tensor
) -> None:
    """Logarithms of probabilities to the base of two, up to a number for each row; -inf for masked keys."""
    read = key[part.matrices, : part.keys].transpose(1, 2)
    torch.baddbmm(out, query[part.matrices], read, beta=0, alpha=scale * _LOG2E, out=out)
    if mask is None or part.read_by_all == part.keys:
        return
    # a boolean `mask` selects keys, another is added, as `scaled_dot_product_attention` has it
    some = slice(part.read_by_all, part.keys)
    mask = (mask if len(mask) == 1 else mask[part.rows])[..., some]
    of_some = out.view(part.rows.stop - part.rows.start, -1, part.queries, part.keys)[..., some]
    if mask.dtype == torch.bool:
        of_some.masked_fill_(~mask, float("-inf"))
    else:  # half of the smallest number, so that a row that reads no key stays a row of numbers
        of_some.add_(mask.clamp_min(torch.finfo(mask.dtype).min / 2), alpha=_LOG2E)


def cpu_attention_forward(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention for transformers' `AttentionInterface`, with the shapes of its `sdpa_attention_forward`.

    Matrix products where they are faster (on a CPU: bfloat16, dropout, or few keys), else `sdpa_attention_forward`.
    """
    causal = kwargs.get("is_causal")
    causal = getattr(module, "is_causal", True) if causal is None else causal
    simple = query.shape[1] == key.shape[1] and not causal and kwargs.get("position_bias") is None and dropout < 1
    faster = query.dtype == torch.bfloat16 or dropout > 0 or _few_without_gradients(key)
    if not (simple and faster and query.device.type == "cpu"):
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **kwargs)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return _by_products(query, key, value, attention_mask, scale, dropout), None


def _few_without_gradients(key: torch.Tensor) -> bool:
    """Whether products are faster in float32 too. A compiled model keeps the kernel."""
    few = key.shape[2] <= _FEW and not torch.is_grad_enabled() and not torch.compiler.is_compiling()
    return few and key.dtype == torch.float32 and mkl_lacks_avx512()


@torch.compiler.disable  # the compiler would unroll the loop over rows into thousands of operations
def _by_products(*inputs: Any) -> torch.Tensor:
    with torch.autocast("cpu", enabled=False):
        return _Products.apply(*inputs, torch.is_grad_enabled())


def use_cpu_attention(model: Any) -> bool:
    """Lets a model with torch's fused attention use [`cpu_attention_forward`]. It is not saved with the model.

    Returns:
        Whether the architecture can change its attention; if not, the model is left as it is.
    """
    if model.config._attn_implementation != "sdpa" or not model._can_set_attn_implementation():
        return False
    AttentionInterface.register(NAME, cpu_attention_forward)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation(NAME)
    return model.config._attn_implementation == NAME
