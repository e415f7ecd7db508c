"""What a training step can leave out without changing what is learned."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from . import cpu_attention

# Whose classification head reads position 0 of the last layer and nothing else, and whose layers are built alike.
_READS_FIRST_POSITION = ("bert", "electra", "roberta")
# Whose layers get a mask of shape (batch, 1, queries, keys), or none; flash and flex attention have others.
_MASK_OF_PAIRS = ("eager", "sdpa", cpu_attention.NAME)


class _FirstPosition:
    """Comes before a layer's own class: the layer computes position 0 alone, of shape `(batch, 1, hidden)`."""

    def forward(
        self: Any, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, *_: Any, **__: Any
    ) -> torch.Tensor:
        attention, first = self.attention.self, hidden_states[:, :1]

        def heads(states: torch.Tensor) -> torch.Tensor:
            # (batch, heads, length, head size)
            return states.view(*states.shape[:2], attention.num_attention_heads, -1).transpose(1, 2)

        by_products = attention.config._attn_implementation == cpu_attention.NAME
        attend: Any = cpu_attention.cpu_attention_forward if by_products else sdpa_attention_forward
        mixed, _ = attend(
            attention,
            heads(attention.query(first)),
            heads(attention.key(hidden_states)),
            heads(attention.value(hidden_states)),
            None if attention_mask is None else attention_mask[..., :1, :],
            dropout=attention.dropout.p if self.training else 0.0,
        )
        mixed = self.attention.output(mixed.flatten(2), first)
        return self.output(self.intermediate(mixed), mixed)


def prune_unread_positions(model: PreTrainedModel) -> bool:
    """Lets the last layer of a classifier compute position 0 alone, since the head reads no other.

    Same function of the input and same weights, one sixth less work in a model of six layers; the draws of dropout
    fall differently. Keys and values are still computed for all positions. The hidden states of the last layer that
    `output_hidden_states` gives have shape `(batch, 1, hidden)` from then on. Saved weights are not touched.

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
