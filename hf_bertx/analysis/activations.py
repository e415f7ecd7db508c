"""Hidden states, attention maps and gradients of a model, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import DataCollatorWithPadding
from transformers.utils import logging

from .compared_runs import Compared

_TOKENS_AT_ONCE = 2048  # eager attention of 4 items of 500 positions takes 0.3 GB in 6 layers of 12 heads
_HELD_BYTES = 1 << 30  # of gradients in memory; more are computed again


@dataclass(frozen=True)
class Positions:
    """Sampled positions of sampled items: `item` and `position`, each `(rows,)`, in the order of the items."""

    item: np.ndarray
    position: np.ndarray


def aligned_lengths(compared: Sequence[Compared], encoded: Sequence[Dataset], rows: Dataset) -> np.ndarray:
    """The number of positions of each item, `(items,)`, checked to be equal for both models.

    Raises:
        ValueError: the models tokenize an item differently, so that its positions cannot be compared.
    """
    a, b = compared
    for item, of_a, of_b in zip(rows["id"], encoded[0]["input_ids"], encoded[1]["input_ids"], strict=True):
        if len(of_a) != len(of_b):
            raise ValueError(
                f"item {item!r} has {len(of_a)} positions for {a.label} and {len(of_b)} for {b.label}: their "
                "tokenizers cut it differently, and layers are compared position by position"
            )
        special = [
            np.isin(ids, side.tokenizer.all_special_ids) for side, ids in zip(compared, (of_a, of_b), strict=True)
        ]
        if (special[0] != special[1]).any():
            raise ValueError(
                f"item {item!r} has special tokens at other places for {a.label} than for {b.label}, and layers are "
                "compared position by position"
            )
    return np.array([len(ids) for ids in encoded[0]["input_ids"]])


def draw_positions(lengths: np.ndarray, count: int, generator: np.random.Generator) -> Positions:
    """Draws so many positions from all items; all of them if there are fewer."""
    item: np.ndarray = np.repeat(np.arange(len(lengths)), lengths)
    position = np.concatenate([np.arange(length) for length in lengths])
    kept = np.sort(generator.choice(len(item), min(count, len(item)), replace=False))
    return Positions(item[kept], position[kept])


def _chunks(encoded: Dataset) -> list[range]:
    """Numbers of the items that are computed at once."""
    size = max(1, _TOKENS_AT_ONCE // max(map(len, encoded["input_ids"])))
    return [range(start, min(start + size, len(encoded))) for start in range(0, len(encoded), size)]


@torch.no_grad()
def activations(
    side: Compared, encoded: Dataset, at: Positions, queries: np.ndarray
) -> tuple[list[np.ndarray], np.ndarray]:
    """Hidden states at the positions, after the embeddings and each layer, and attention from them.

    Returns:
        One array of `(rows, hidden)` for the embeddings and each layer; attention from the queries,
        `(layers, heads, queries, longest item)`.
    """
    collate = DataCollatorWithPadding(side.tokenizer)
    width = max(len(ids) for ids in encoded["input_ids"])
    hidden: list[list[np.ndarray]] = []
    maps: list[np.ndarray] = []
    for chunk in progress(_chunks(encoded), f"{side.label}: activations"):
        inputs = collate([encoded[i] for i in chunk]).to(side.model.device)
        out = side.model(**inputs, output_hidden_states=True, output_attentions=True)
        inside = np.flatnonzero((at.item >= chunk.start) & (at.item < chunk.stop))
        item, position = at.item[inside] - chunk.start, at.position[inside]
        hidden.append([layer[item, position].float().cpu().numpy() for layer in out.hidden_states])
        queried = np.isin(inside, queries)
        attention = [layer[item[queried], :, position[queried]].float().cpu().numpy() for layer in out.attentions]
        stacked = np.stack(attention)  # (layers, queries here, heads, keys)
        maps.append(np.pad(stacked, ((0, 0), (0, 0), (0, 0), (0, width - stacked.shape[3]))))
    layers = [np.concatenate(parts) for parts in zip(*hidden, strict=True)]
    return layers, np.concatenate(maps, axis=1).swapaxes(1, 2)


def gradient_products(side: Compared, batches: Sequence[Dataset], held_bytes: int = _HELD_BYTES) -> np.ndarray:
    """Inner products of the gradients of all mini-batches, `(batches, batches)`; few are in memory at once."""
    parameters = [p for p in side.model.parameters() if p.requires_grad]
    at_once = max(1, held_bytes // (4 * sum(p.numel() for p in parameters)))
    products = np.zeros((len(batches), len(batches)))
    for start in range(0, len(batches), at_once):
        held: list[torch.Tensor] = []
        for j in progress(range(start, len(batches)), f"{side.label}: gradients"):
            gradient = _gradient(side, batches[j], parameters)
            if len(held) < at_once:
                held.append(gradient)
            for i, other in enumerate(held, start):
                products[i, j] = products[j, i] = float(other @ gradient)
    return products


def _gradient(side: Compared, batch: Dataset, parameters: list[torch.nn.Parameter]) -> torch.Tensor:
    """The gradient of a mini-batch's mean loss, as one vector over all parameters."""
    collate = DataCollatorWithPadding(side.tokenizer)
    side.model.zero_grad(set_to_none=True)
    for chunk in _chunks(batch):
        inputs = collate([batch[i] for i in chunk]).to(side.model.device)
        loss = side.model(**inputs).loss * len(chunk) / len(batch)
        loss.backward()
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    return torch.cat([part.flatten() for part in parts])


def progress(steps: Any, name: str) -> Any:
    """The steps, with a progress bar on the terminal."""
    return logging.tqdm(steps, desc=name, leave=False)
