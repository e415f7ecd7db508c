"""A symbol at a position is the same row in every sequence: what the first layer makes of it is computed once."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel

# Rows of a batch for each distinct one, below which looking them up gains nothing.
WORTH = 2


class _DistinctEmbeddings:
    """Comes before the class of BERT's embeddings: computes distinct rows, and tells the next who takes them."""

    def forward(
        self: Any,
        input_ids: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        embed = super().forward  # type: ignore[misc]
        if input_ids is None or position_ids is not None or torch.is_grad_enabled() or self.training:
            return embed(input_ids, token_type_ids, position_ids, inputs_embeds, **kwargs)
        words, types = self.word_embeddings.num_embeddings, self.token_type_embeddings.num_embeddings
        typed = input_ids if token_type_ids is None else input_ids + words * token_type_ids
        at_position = typed + words * types * torch.arange(input_ids.shape[1], device=input_ids.device)
        distinct, at = at_position.unique(return_inverse=True)
        if WORTH * len(distinct) > at.numel():
            return embed(input_ids, token_type_ids, position_ids, inputs_embeds, **kwargs)
        distinct = distinct.unsqueeze(0)  # a batch of one
        (rows,) = embed(distinct % words, distinct // words % types, distinct // (words * types), **kwargs)
        states = torch.nn.functional.embedding(at, rows)
        states.distinct = rows, at  # goes with the tensor as far as nothing makes another of it
        return states


class _OfDistinctRows:
    """Comes before the class of a linear map: one that is given states with their distinct rows multiplies those."""

    def forward(self: Any, input: torch.Tensor) -> torch.Tensor:
        multiply = super().forward  # type: ignore[misc]
        if not hasattr(input, "distinct"):
            return multiply(input)
        rows, at = input.distinct
        return torch.nn.functional.embedding(at, multiply(rows))


def compute_distinct_rows(model: PreTrainedModel) -> bool:
    """Lets a BERT classifier compute the first layer's queries, keys and values once for each symbol at a position.

    For prediction: where gradients are recorded, and in a batch whose rows are mostly distinct, all is computed as
    before. DNA has few symbols, so that most rows of a batch are not; of a batch of proteins nearly all are.

    Returns:
        Whether the architecture allows it; if not, the model is left as it is.
    """
    if model.config.model_type != "bert" or model.config.num_hidden_layers < 2:
        return False
    attention: Any = model.base_model.encoder.layer[0].attention.self
    for module, before in (
        (model.base_model.embeddings, _DistinctEmbeddings),
        *((linear, _OfDistinctRows) for linear in (attention.query, attention.key, attention.value)),
    ):
        if not isinstance(module, before):
            module.__class__ = type(type(module).__name__, (before, type(module)), {})
    return True
