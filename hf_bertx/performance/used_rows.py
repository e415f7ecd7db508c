"""Training only the word embeddings that the training items use."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch


class UsedRowsEmbedding(torch.nn.Module):
    """Replaces a word embedding by the rows that the training items use.

    The gradient of every other row is zero, and without weight decay Adam leaves such a row as it is. So only the used
    rows are parameters, with gradients and optimizer states of their own. Checkpoints hold them alone, under the same
    name. In evaluation mode other ids have their rows of the full embedding.

    Args:
        full: the embedding to replace; it is kept as it is.
        ids: the ids that occur in training, padding included. Any other id raises an `IndexError` there.
    """

    def __init__(self, full: torch.nn.Embedding, ids: Iterable[int]) -> None:
        super().__init__()
        self.full = [full]  # in a list, so that its rows are no parameters of the model
        self.ids = torch.tensor(sorted(set(ids)))
        self.weight = torch.nn.Parameter(full.weight.detach()[self.ids].clone())
        index = torch.full((full.num_embeddings,), full.num_embeddings)
        index[self.ids] = torch.arange(len(self.ids))
        self.register_buffer("index", index, persistent=False)
        pad = full.padding_idx
        self.padding_idx = None if pad is None or pad not in self.ids else int(index[pad])

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        rows = self.index[input_ids]
        if self.training:
            return torch.nn.functional.embedding(rows, self.weight, self.padding_idx)
        used = (rows < len(self.ids)).unsqueeze(-1)
        states = torch.nn.functional.embedding(rows.clamp_max(len(self.ids) - 1), self.weight)
        full = self.full[0].to(input_ids.device)
        return torch.where(used, states, full(input_ids).to(states.dtype))


def train_used_embeddings_only(model: Any, ids: Iterable[int]) -> None:
    """Lets a model train the embeddings of these ids only. Exact without weight decay.

    Optimizers that look across rows, such as Adafactor, would learn something else. A second call replaces the first.
    """
    restore_all_embeddings(model)
    model.set_input_embeddings(UsedRowsEmbedding(model.get_input_embeddings(), ids))


@torch.no_grad()
def restore_all_embeddings(model: Any) -> None:
    """Undoes [`train_used_embeddings_only`]; trained rows stay trained."""
    used = model.get_input_embeddings()
    if isinstance(used, UsedRowsEmbedding):
        full = used.full[0].to(used.weight.device)
        full.weight[used.ids] = used.weight.to(full.weight.dtype)
        model.set_input_embeddings(full)
