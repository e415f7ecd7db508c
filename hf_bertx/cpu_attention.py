"""Attention on a CPU by matrix products over a few rows at a time, where torch's fused kernel takes longer."""

from __future__ import annotations

from itertools import chain
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from .drawn_dropout import drawn_to_stay

NAME = "cpu_products"
# So many probabilities are worked on at a time, or those of one row: a few megabytes, for the processor's cache.
_AT_ONCE = 2**20


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
        batch, heads, length, _ = query.shape
        out = query.new_empty(batch, length, heads, value.shape[3])
        parts = _parts(batch, heads * length * key.shape[2])
        parts_kept = []
        for rows in parts:
            scores = (query[rows] * scale) @ key[rows].transpose(2, 3)
            if mask is not None:
                scores = _masked(scores, mask if len(mask) == 1 else mask[rows])
            weights = torch.softmax(scores, -1)
            stays = drawn_to_stay(weights.shape, dropout) if dropout else None
            mixed = _kept(stays, weights) @ value[rows]
            out[rows] = (mixed / (1 - dropout) if dropout else mixed).transpose(1, 2)
            if backward:
                parts_kept.append((weights, stays))
        if backward:
            ctx.save_for_backward(query, key, value, *chain(*zip(*parts_kept, strict=True)))
            ctx.parts, ctx.scale, ctx.dropout = parts, scale, dropout
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_out: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, *kept = ctx.saved_tensors
        count, dropout = len(ctx.parts), ctx.dropout
        of_query, of_key, of_value = (_like_heads(states) for states in (query, key, value))
        for rows, weights, stays in zip(ctx.parts, kept[:count], kept[count:], strict=True):
            of_mixed = of_out[rows].transpose(1, 2).contiguous()
            of_mixed = of_mixed / (1 - dropout) if dropout else of_mixed
            of_value[rows] = _kept(stays, weights).transpose(2, 3) @ of_mixed
            of_weights = _kept(stays, of_mixed @ value[rows].transpose(2, 3))
            of_scores = torch.ops.aten._softmax_backward_data(of_weights, weights, -1, weights.dtype)
            of_query[rows] = (of_scores @ key[rows]) * ctx.scale
            of_key[rows] = of_scores.transpose(2, 3) @ (query[rows] * ctx.scale)
        return of_query, of_key, of_value, None, None, None, None


def _parts(rows: int, of_a_row: int) -> list[slice]:
    at_once = max(1, _AT_ONCE // of_a_row)
    return [slice(start, start + at_once) for start in range(0, rows, at_once)]


def _masked(scores: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """`mask` says where to look, or is added, as `scaled_dot_product_attention` has it."""
    return scores.masked_fill_(~mask, float("-inf")) if mask.dtype == torch.bool else scores.add_(mask)


def _kept(stays: torch.Tensor | None, states: torch.Tensor) -> torch.Tensor:
    return states if stays is None else states * stays


def _like_heads(states: torch.Tensor) -> torch.Tensor:
    """Room for `(batch, heads, length, head size)`, in memory as a linear map takes it, heads beside heads."""
    batch, heads, length, size = states.shape
    return states.new_empty(batch, length, heads, size).transpose(1, 2)


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

    By matrix products where they are the faster way: on a CPU, in bfloat16 or with dropout. Elsewhere it is
    `sdpa_attention_forward` itself.
    """
    told = kwargs.get("is_causal")
    causal = getattr(module, "is_causal", True) if told is None else told
    simple = query.shape[1] == key.shape[1] and not causal and kwargs.get("position_bias") is None and dropout < 1
    faster = query.device.type == "cpu" and (query.dtype == torch.bfloat16 or dropout > 0)
    if not (simple and faster):
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **kwargs)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return _by_products(query, key, value, attention_mask, scale, dropout), None


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
