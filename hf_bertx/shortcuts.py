"""What a training step can leave out without changing what is learned."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from transformers import PreTrainedModel

# Whose classification head reads position 0 of the last layer and nothing else, and whose layers are built alike.
_READS_FIRST_POSITION = ("bert", "electra", "roberta")


def prune_unread_positions(model: PreTrainedModel) -> bool:
    """Lets the last layer of a classifier compute position 0 alone, since the head reads no other.

    Same function of the input and same weights, one sixth less work in a model of six layers; the draws of dropout
    fall differently. Keys and values are still computed for all positions. The hidden states of the last layer that
    `output_hidden_states` gives have shape `(batch, 1, hidden)` from then on. Saved weights are not touched.

    Returns:
        Whether the architecture allows it; if not, the model is left as it is.
    """
    if model.config.model_type not in _READS_FIRST_POSITION:
        return False
    layer: Any = model.base_model.encoder.layer[-1]
    attention, n_heads = layer.attention.self, model.config.num_attention_heads

    def heads(states: torch.Tensor) -> torch.Tensor:
        return states.view(*states.shape[:2], n_heads, -1).transpose(1, 2)  # (batch, heads, length, head size)

    def forward(
        hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, *_: Any, **__: Any
    ) -> torch.Tensor:
        first = hidden_states[:, :1]
        mixed = torch.nn.functional.scaled_dot_product_attention(
            heads(attention.query(first)),
            heads(attention.key(hidden_states)),
            heads(attention.value(hidden_states)),
            attn_mask=None if attention_mask is None else attention_mask[..., :1, :],
            dropout_p=attention.dropout.p if layer.training else 0.0,
        )
        mixed = layer.attention.output(mixed.transpose(1, 2).flatten(2), first)
        return layer.output(layer.intermediate(mixed), mixed)

    layer.forward = forward
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
    """Lets a model learn the rows of these ids only; see [`UsedRowsEmbedding`]. Exact without weight decay."""
    model.set_input_embeddings(UsedRowsEmbedding(model.get_input_embeddings(), ids))


def restore_all_rows(model: PreTrainedModel) -> None:
    """Undoes [`keep_used_rows`]; the rows that were learned stay learned."""
    embedding: Any = model.get_input_embeddings()
    if isinstance(embedding, UsedRowsEmbedding):
        model.set_input_embeddings(embedding.restored())
