"""Attention on a CPU by matrix products over a few rows at a time, where torch's fused kernel takes longer."""

from __future__ import annotations

from itertools import chain
from math import prod
from typing import Any, NamedTuple

import torch
from torch.autograd.function import once_differentiable
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from .cpu_linear import mkl_lacks_avx512
from .drawn_dropout import drawn_to_stay

NAME = "cpu_products"
# So many probabilities are worked on at a time, or those of one row: a few megabytes, for the processor's cache.
_AT_ONCE = 2**20
# Keys are left out by so many: each number of them is a product for which oneDNN makes a kernel of its own.
_STEP = 64
# So many keys are few: without gradients products are faster in float32 as well where MKL has no AVX-512.
_FEW = 64
_KNOWN = 2.0**-100, 2.0**112  # sums of powers of which none that counts was lost, with room for values up to 2**15
_NEAR = 2.0**-64, 2.0**64  # those by which a gradient can be divided, too
_LOG2E = 1.4426950408889634  # powers of two are faster to compute than those of e


class _Products(torch.autograd.Function):
    """`softmax(scale query key^T + mask) value` with dropout of the softmax.

    Of the softmax its powers are kept for the backward pass. Outputs and their gradients are divided by the sums of
    powers, not the powers. These are of the scores themselves, where a softmax would first look for the largest one of
    a row: that is seldom needed.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor | None,
        scale: float,
        dropout: float,
        backward: bool,
    ) -> torch.Tensor:
        shape = (*query.shape[:3], key.shape[2])
        query, key, value = _by_head(query), _by_head(key), _by_head(value)
        out, sums = query.new_empty(*query.shape[:2], value.shape[2]), query.new_empty(*query.shape[:2], 1)
        parts = _parts(shape, mask)
        room = query.new_empty(_most(shape))
        kept = []
        for part in parts:
            at, read = part.matrices, slice(part.keys)
            if backward:
                room = query.new_empty(_most(shape))
            powers, of_rows = part.matrices_in(room), sums[at]
            _scores(part, query, key, mask, scale, out=powers)
            _sum_of_powers(powers, of_rows)
            if not _are_within(of_rows, _KNOWN):
                _scores(part, query, key, mask, scale, out=powers)
                powers -= powers.amax(-1, keepdim=True)
                _sum_of_powers(powers, of_rows)
            elif backward and not _are_within(of_rows, _NEAR):
                nearer = torch.exp2(-torch.log2(of_rows).round())  # a power of two, by which nothing is rounded
                powers *= nearer
                of_rows *= nearer
            stays = drawn_to_stay(powers.shape, dropout) if dropout else None
            torch.bmm(_kept(stays, powers), value[at, read], out=out[at])
            if backward:
                kept.append((powers, stays))
        sums *= 1 - dropout
        out /= sums
        out = out.view(*shape[:3], -1).transpose(1, 2).contiguous()
        if backward:
            ctx.save_for_backward(query, key, value, sums, out, *chain(*zip(*kept, strict=True)))
            ctx.parts, ctx.shape, ctx.scale, ctx.dropout = parts, shape, scale, dropout
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
        room = query.new_empty(_most(ctx.shape))
        for part, powers, stays in zip(parts, kept[: len(parts)], kept[len(parts) :], strict=True):
            at, read = part.matrices, slice(part.keys)
            torch.bmm(_kept(stays, powers).transpose(1, 2), of_mixed[at], out=of_value[at, read])
            of_scores, less = part.matrices_in(room), means[at].expand(-1, -1, part.keys)
            if stays is None:
                torch.baddbmm(less, of_mixed[at], value[at, read].transpose(1, 2), out=of_scores)
            else:
                torch.bmm(of_mixed[at], value[at, read].transpose(1, 2), out=of_scores)
                torch.addcmul(less, of_scores, stays, out=of_scores)
            of_scores *= powers
            _scaled_product(of_scores, key[at, read], ctx.scale, of_query[at])
            _scaled_product(of_scores.transpose(1, 2), query[at], ctx.scale, of_key[at, read])
        batch, heads = ctx.shape[:2]
        return *(_heads_beside_heads(states, batch, heads) for states in (of_query, of_key, of_value)), *[None] * 4


Shape = tuple[int, int, int, int]  # batch, heads, queries, keys


class _Part(NamedTuple):
    """What is worked on together."""

    rows: slice
    matrices: slice  # of `(batch * heads, ...)`
    queries: int
    keys: int  # no query of its rows reads a later one
    read_by_all: int  # of the keys; every query reads those before

    @property
    def size(self) -> int:
        return (self.matrices.stop - self.matrices.start) * self.queries * self.keys

    def matrices_in(self, room: torch.Tensor) -> torch.Tensor:
        """Its share of flat memory; where all parts use the same, that stays in the processor's cache."""
        return room[: self.size].view(-1, self.queries, self.keys)


def _rows_at_once(shape: Shape) -> int:
    return min(shape[0], max(1, _AT_ONCE // prod(shape[1:])))


def _most(shape: Shape) -> int:
    """Room for the scores of any part: of one size whatever is read, so that the next step finds such memory free."""
    return _rows_at_once(shape) * prod(shape[1:])


def _parts(shape: Shape, mask: torch.Tensor | None) -> list[_Part]:
    batch, heads, queries, keys = shape
    at_once = _rows_at_once(shape)
    spans = [(start, min(start + at_once, batch)) for start in range(0, batch, at_once)]
    reads = [(keys, 0)] * len(spans)
    if mask is not None and mask.dtype == torch.bool and mask.shape == (batch, 1, queries, keys):
        some, every = mask.any(2).flatten(1), mask.all(2).flatten(1)
        reads = [_read(some[start:end].any(0), every[start:end].all(0)) for start, end in spans]
    return [
        _Part(slice(start, end), slice(start * heads, end * heads), queries, *read)
        for (start, end), read in zip(spans, reads, strict=True)
    ]


def _read(some: torch.Tensor, every: torch.Tensor) -> tuple[int, int]:
    """Up to which key some query reads, in whole `_STEP`s, and before which every query reads all."""
    keys = len(some)
    last = int(some.nonzero().max()) + 1 if some.any() else keys
    last = min(keys, -(-last // _STEP) * _STEP)
    return last, last if every[:last].all() else int(every.long().argmin())


def _by_head(states: torch.Tensor) -> torch.Tensor:
    """`(batch, heads, length, head size)` as `(batch * heads, length, head size)`, each matrix in one piece."""
    return states.contiguous().flatten(0, 1)


def _heads_beside_heads(states: torch.Tensor, batch: int, heads: int) -> torch.Tensor:
    """`(batch, heads, length, head size)` of [`_by_head`]'s, in memory as a linear map takes it."""
    return states.view(batch, heads, *states.shape[1:]).transpose(1, 2).contiguous().transpose(1, 2)


def _scaled_product(a: torch.Tensor, b: torch.Tensor, scale: float, out: torch.Tensor) -> torch.Tensor:
    return torch.baddbmm(out, a, b, beta=0, alpha=scale, out=out)


def _scores(
    part: _Part, query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None, scale: float, out: torch.Tensor
) -> None:
    """Logarithms of probabilities, to the base of two and up to a number a row; what is not looked at is -inf."""
    _scaled_product(query[part.matrices], key[part.matrices, : part.keys].transpose(1, 2), scale * _LOG2E, out)
    if mask is None or part.read_by_all == part.keys:
        return
    # `mask` says where to look, or is added, as `scaled_dot_product_attention` has it
    some = slice(part.read_by_all, part.keys)
    mask = (mask if len(mask) == 1 else mask[part.rows])[..., some]
    of_some = out.view(part.rows.stop - part.rows.start, -1, part.queries, part.keys)[..., some]
    if mask.dtype == torch.bool:
        of_some.masked_fill_(~mask, float("-inf"))
    else:  # half of the smallest number, so that a row that looks nowhere stays one of numbers
        of_some.add_(mask.clamp_min(torch.finfo(mask.dtype).min / 2), alpha=_LOG2E)


def _sum_of_powers(scores: torch.Tensor, sums: torch.Tensor) -> None:
    """Puts two to the power of each score in its place, and their sums over each row into `sums`."""
    torch.sum(torch.exp2(scores, out=scores), -1, keepdim=True, out=sums)


def _are_within(sums: torch.Tensor, limits: tuple[float, float]) -> bool:
    least, most = sums.aminmax()
    return bool(least > limits[0]) and bool(most < limits[1])


def _kept(stays: torch.Tensor | None, states: torch.Tensor) -> torch.Tensor:
    return states if stays is None else states * stays


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
    """Attention for transformers' `AttentionInterface`, of the shapes of its `sdpa_attention_forward`.

    By matrix products where they are the faster way: on a CPU, in bfloat16 or with dropout, and on some processors for
    few keys without gradients. Elsewhere it is `sdpa_attention_forward` itself.
    """
    told = kwargs.get("is_causal")
    causal = getattr(module, "is_causal", True) if told is None else told
    simple = query.shape[1] == key.shape[1] and not causal and kwargs.get("position_bias") is None and dropout < 1
    faster = query.device.type == "cpu" and (
        query.dtype == torch.bfloat16 or dropout > 0 or _few_without_gradients(key)
    )
    if not (simple and faster):
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **kwargs)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return _by_products(query, key, value, attention_mask, scale, dropout), None


def _few_without_gradients(key: torch.Tensor) -> bool:
    """Whether products are faster here in float32 too. A compiled model keeps the kernel."""
    few = key.shape[2] <= _FEW and not torch.is_grad_enabled() and not torch.compiler.is_compiling()
    return few and key.dtype == torch.float32 and mkl_lacks_avx512()


@torch.compiler.disable  # a loop over rows would be unrolled into thousands of operations
def _by_products(*inputs: Any) -> torch.Tensor:
    with torch.autocast("cpu", enabled=False):
        return _Products.apply(*inputs, torch.is_grad_enabled())


AttentionInterface.register(NAME, cpu_attention_forward)
AttentionMaskInterface.register(NAME, sdpa_mask)


def use_cpu_attention(model: PreTrainedModel) -> bool:
    """Lets a model that would take torch's fused kernel take [`cpu_attention_forward`]; it is not saved with it.

    Returns:
        Whether the architecture can be told so; if not, the model is left as it is.
    """
    if model.config._attn_implementation != "sdpa" or not model._can_set_attn_implementation():
        return False
    model.set_attn_implementation(NAME)
    return model.config._attn_implementation == NAME
