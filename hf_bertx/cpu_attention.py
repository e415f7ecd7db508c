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
_SAFE = 1e-30, 1e30  # sums of exponentials that neither vanished nor grew too large on the way


class _Products(torch.autograd.Function):
    """`softmax(scale query key^T + mask) value` with dropout of the softmax, which is kept for the backward pass."""

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
        query, key, value = _by_head(query * scale), _by_head(key), _by_head(value)
        out = query.new_empty(*query.shape[:2], value.shape[2])
        parts = _parts(shape, mask)
        room = query.new_empty(_most(shape))
        weights_room = query.new_empty(_most(shape))
        # a softmax first looks for the largest score of each row: a pass over the scores that is seldom needed
        simple = not backward and not dropout
        parts_kept = []
        for part in parts:
            at, read = part.matrices, slice(part.keys)
            scores = torch.bmm(query[at], key[at, read].transpose(1, 2), out=part.matrices_in(room))
            if mask is not None and part.read_by_all < part.keys:
                some = slice(part.read_by_all, part.keys)
                looked = mask if len(mask) == 1 else mask[part.rows]
                _masked(scores.view(-1, *shape[1:3], part.keys)[..., some], looked[..., some])
            if backward:
                weights_room = query.new_empty(_most(shape))
            if simple:
                weights = torch.exp(scores, out=part.matrices_in(weights_room))
                sums = weights.sum(-1, keepdim=True)
                simple = _safe(sums)
            if simple:
                torch.bmm(weights, value[at, read], out=out[at])
                out[at] /= sums
                continue
            weights = torch.softmax(scores, -1, out=part.matrices_in(weights_room))
            stays = drawn_to_stay(weights.shape, dropout) if dropout else None
            torch.bmm(_kept(stays, weights), value[at, read], out=out[at])
            if backward:
                parts_kept.append((weights, stays))
        if dropout:
            out /= 1 - dropout
        if backward:
            ctx.save_for_backward(query, key, value, *chain(*zip(*parts_kept, strict=True)))
            ctx.parts, ctx.shape, ctx.scale, ctx.dropout = parts, shape, scale, dropout
        return out.view(*shape[:3], -1).transpose(1, 2).contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_out: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, *kept = ctx.saved_tensors  # this query has been scaled
        key = key * ctx.scale
        parts = ctx.parts
        of_mixed = _by_head(of_out.transpose(1, 2))
        of_mixed = of_mixed / (1 - ctx.dropout) if ctx.dropout else of_mixed
        of_query, of_key, of_value = torch.empty_like(query), torch.zeros_like(key), torch.zeros_like(value)
        room, scores_room = query.new_empty(_most(ctx.shape)), query.new_empty(_most(ctx.shape))
        for part, weights, stays in zip(parts, kept[: len(parts)], kept[len(parts) :], strict=True):
            at, read = part.matrices, slice(part.keys)
            torch.bmm(_kept(stays, weights).transpose(1, 2), of_mixed[at], out=of_value[at, read])
            of_kept = torch.bmm(of_mixed[at], value[at, read].transpose(1, 2), out=part.matrices_in(room))
            of_weights = _kept(stays, of_kept)
            of_scores = part.matrices_in(scores_room)
            torch.ops.aten._softmax_backward_data(of_weights, weights, -1, weights.dtype, grad_input=of_scores)
            torch.bmm(of_scores, key[at, read], out=of_query[at])
            torch.bmm(of_scores.transpose(1, 2), query[at], out=of_key[at, read])
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


def _safe(sums: torch.Tensor) -> bool:
    """Whether sums of exponentials are far from the smallest and the largest number."""
    least, most = sums.aminmax()
    return bool(least > _SAFE[0]) and bool(most < _SAFE[1])


def _masked(scores: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """`mask` says where to look, or is added, as `scaled_dot_product_attention` has it."""
    return scores.masked_fill_(~mask, float("-inf")) if mask.dtype == torch.bool else scores.add_(mask)


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
