"""The last layer of a classifier computes position 0 alone, where the head reads no other position."""

from __future__ import annotations

from typing import Any

import torch
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from ..families import FAMILIES
from . import attention as cpu_attention

# Stock classifiers whose head reads position 0 of the last layer alone: the head's place in the model, and its class.
_READS_FIRST_POSITION = {
    f"{family.name}ForSequenceClassification": family.reads_first_position
    for family in FAMILIES.values()
    if family.reads_first_position
}
# Attention whose masks have the shape (batch, 1, queries, keys). Flash and flex attention have others.
_MASK_OF_PAIRS = ("eager", "sdpa", cpu_attention.NAME)


class FirstPosition:
    """Comes before a layer's own class: the layer computes position 0 alone, of shape `(batch, 1, hidden)`."""

    def forward(
        self: Any, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, *_: Any, **__: Any
    ) -> torch.Tensor:
        attention = self.attention.self

        def heads(states: torch.Tensor) -> torch.Tensor:
            # (batch, heads, length, head size)
            return states.unflatten(-1, (attention.num_attention_heads, -1)).transpose(1, 2)

        first = hidden_states[:, :1]
        mask = None if attention_mask is None else attention_mask[..., :1, :]
        by_products = attention.config._attn_implementation == cpu_attention.NAME
        attend: Any = cpu_attention.cpu_attention_forward if by_products else sdpa_attention_forward
        query, key, value = attention.query(first), attention.key(hidden_states), attention.value(hidden_states)
        dropout = attention.dropout.p if self.training else 0.0
        mixed, _ = attend(attention, heads(query), heads(key), heads(value), mask, dropout=dropout)
        mixed = self.attention.output(mixed.flatten(2), first)
        return self.output(self.intermediate(mixed), mixed)


def compute_first_position_only(model: Any) -> bool:
    """Lets the last layer of a classifier compute position 0 alone, if the head reads no other position.

    Logits and gradients stay the same, for one sixth less work in a model of six layers. Dropout draws other masks.
    With `output_hidden_states` the last layer's states then have the shape `(batch, 1, hidden)`.

    The classes of the model and its modules decide, not its `model_type`: the forward pass, the encoder, the layers
    and the head have to be those of a stock classifier. A subclass with another head is left as it is.

    Returns:
        Whether the model allows it.
    """
    if model.config._attn_implementation not in _MASK_OF_PAIRS:
        return False
    stock: Any = next((cls for cls in type(model).__mro__ if cls.__name__ in _READS_FIRST_POSITION), None)
    if stock is None or not stock.__module__.startswith("transformers.models."):
        return False
    if type(model).forward is not stock.forward or "forward" in vars(model) or model.config.is_decoder:
        return False
    place, head_class = _READS_FIRST_POSITION[stock.__name__]
    *path, name = place.split(".")
    head = getattr(model.get_submodule(".".join(path)), name)
    head = getattr(head, "original_module", head)  # peft wraps a head that it trains whole
    encoder = model.base_model.encoder
    layer: Any = encoder.layer[-1]
    if isinstance(layer, FirstPosition):
        return True
    parts = [layer.attention, layer.attention.self, layer.attention.output, layer.intermediate, layer.output]
    modules = [model.base_model, encoder, head, *encoder.layer, *parts]
    if type(head).__name__ != head_class or not all(_is_of(stock.__module__, module) for module in modules):
        return False
    # a class, not a function of this layer: copies of the model compute with their own weights
    layer.__class__ = type(type(layer).__name__, (FirstPosition, type(layer)), {})
    return True


def _is_of(python_module: str, module: Any) -> bool:
    """Whether the module's class is from that file of transformers, with its own forward pass and no hooks on it."""
    hooked = module._forward_hooks or module._forward_pre_hooks
    return type(module).__module__ == python_module and "forward" not in vars(module) and not hooked
