"""What a training step can leave out without changing what is learned."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from . import cpu_attention
from .cpu_linear import OneDNNLinear

# Whose classification head reads position 0 of the last layer and nothing else, and whose layers are built alike.
_READS_FIRST_POSITION = ("bert", "electra", "roberta")
# Whose layers get a mask of shape (batch, 1, queries, keys), or none; flash and flex attention have others.
_MASK_OF_PAIRS = ("eager", "sdpa", cpu_attention.NAME)


class _FirstPosition:
    """Comes before a layer's own class: the layer computes position 0 alone, of shape `(batch, 1, hidden)`."""

    def forward(
        self: Any, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, *_: Any, **__: Any
    ) -> torch.Tensor:
        first = hidden_states[:, :1]
        mask = None if attention_mask is None else attention_mask[..., :1, :]
        attention = self.attention.self
        attend = _attended if _is_plain(attention.key) and _is_plain(attention.value) else _attended_by_modules
        mixed = attend(attention, first, hidden_states, mask, attention.dropout.p if self.training else 0.0)
        mixed = self.attention.output(mixed, first)
        return self.output(self.intermediate(mixed), mixed)


def _attended(
    attention: Any, first: torch.Tensor, states: torch.Tensor, mask: torch.Tensor | None, dropout: float
) -> torch.Tensor:
    """What one query reads, without keys and values of the positions that it reads.

    A score is `q . (K h + k)`, which is `(q K) . h + q . k`, and the mean of the values is the value of the mean: one
    row a head meets the hidden states, where they would be multiplied by two matrices.

    Args:
        first: hidden states of the query's position, shape `(batch, 1, hidden)`.
        states: those of all positions, shape `(batch, length, hidden)`.
        mask: True where to look, or to be added, shape `(batch, 1, 1, length)`.

    Returns:
        Shape `(batch, 1, hidden)`.
    """
    heads = attention.num_attention_heads
    query = attention.query(first).unflatten(-1, (heads, -1)).squeeze(1)  # (batch, heads, head size)
    key, value = attention.key.weight.unflatten(0, (heads, -1)), attention.value.weight.unflatten(0, (heads, -1))
    query = query * attention.scaling
    scores = torch.einsum("bhs,hsd->bhd", query, key) @ states.transpose(1, 2)
    scores = scores + torch.einsum("bhs,hs->bh", query, attention.key.bias.view(heads, -1)).unsqueeze(-1)
    if mask is not None:
        mask = mask.squeeze(1)
        scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
    weights = torch.nn.functional.dropout(scores.softmax(-1), dropout)
    mixed = torch.einsum("bhd,hsd->bhs", weights.to(states.dtype) @ states, value)
    mixed = mixed + weights.sum(-1, keepdim=True) * attention.value.bias.view(heads, -1)
    return mixed.flatten(1).unsqueeze(1)


def _attended_by_modules(
    attention: Any, first: torch.Tensor, states: torch.Tensor, mask: torch.Tensor | None, dropout: float
) -> torch.Tensor:
    """As [`_attended`], where something else stands in for a linear map, or looks at what it gives."""

    def heads(states: torch.Tensor) -> torch.Tensor:
        # (batch, heads, length, head size)
        return states.view(*states.shape[:2], attention.num_attention_heads, -1).transpose(1, 2)

    by_products = attention.config._attn_implementation == cpu_attention.NAME
    attend: Any = cpu_attention.cpu_attention_forward if by_products else sdpa_attention_forward
    query, key, value = attention.query(first), attention.key(states), attention.value(states)
    mixed, _ = attend(attention, heads(query), heads(key), heads(value), mask, dropout=dropout)
    return mixed.flatten(2)


def _is_plain(module: torch.nn.Module) -> bool:
    """Whether its weights say all about it: no adapter or quantised map in its place, and no hook on it."""
    hooked = module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    return type(module) in (torch.nn.Linear, OneDNNLinear) and module.bias is not None and not hooked


def prune_unread_positions(model: PreTrainedModel) -> bool:
    """Lets the last layer of a classifier compute position 0 alone, since the head reads no other.

    Same function of the input and same weights, one sixth less work in a model of six layers; the draws of dropout
    fall differently. The hidden states of the last layer that `output_hidden_states` gives have shape
    `(batch, 1, hidden)` from then on. Saved weights are not touched.

    Returns:
        Whether the architecture and its attention allow it; if not, the model is left as it is.
    """
    if model.config.model_type not in _READS_FIRST_POSITION or model.config._attn_implementation not in _MASK_OF_PAIRS:
        return False
    layer: Any = model.base_model.encoder.layer[-1]
    if not isinstance(layer, _FirstPosition):
        # a class, not a function of this layer: copies of the model compute with their own weights
        layer.__class__ = type(type(layer).__name__, (_FirstPosition, type(layer)), {})
    return True


class UsedRowsEmbedding(torch.nn.Module):
    """Stands in for a word embedding of which a run reads a few rows: a DNA run reads 18 of BERT's 30,522.

    Every other row's gradient is zero, and without weight decay Adam leaves such a row as it is; so only the used ones
    are parameters, with their own gradients and optimiser states. Checkpoints hold the used rows alone, under the
    same name. [`restore_all_rows`] puts them back into the table.

    Args:
        full: the embedding that is stood in for; it is kept as it is.
        ids: the ids that occur, padding included; another id is an `IndexError`.
    """

    def __init__(self, full: torch.nn.Embedding, ids: Iterable[int]) -> None:
        super().__init__()
        self._full = [full]  # in a list, so that its rows are no parameters of the model
        self.ids = torch.tensor(sorted(set(ids)))
        self.weight = torch.nn.Parameter(full.weight.detach()[self.ids].clone())
        index = torch.full((full.num_embeddings,), full.num_embeddings)
        index[self.ids] = torch.arange(len(self.ids))
        self.register_buffer("index", index, persistent=False)
        pad = full.padding_idx
        self.padding_idx = None if pad is None or pad not in self.ids else int(index[pad])

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.embedding(self.index[input_ids], self.weight, self.padding_idx)

    @torch.no_grad()
    def restored(self) -> torch.nn.Embedding:
        """The full embedding with the used rows put back."""
        full = self._full[0].to(self.weight.device)
        full.weight[self.ids] = self.weight.to(full.weight.dtype)
        return full


def keep_used_rows(model: PreTrainedModel, ids: Iterable[int]) -> None:
    """Lets a model learn the rows of these ids only; see [`UsedRowsEmbedding`]. Exact without weight decay.

    An optimiser that looks across rows, as Adafactor does, would learn something else.
    """
    model.set_input_embeddings(UsedRowsEmbedding(model.get_input_embeddings(), ids))


def restore_all_rows(model: PreTrainedModel) -> None:
    """Undoes [`keep_used_rows`]; the rows that were learned stay learned."""
    embedding: Any = model.get_input_embeddings()
    if isinstance(embedding, UsedRowsEmbedding):
        model.set_input_embeddings(embedding.restored())
