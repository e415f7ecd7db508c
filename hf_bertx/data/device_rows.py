"""Tokenized rows as flat tensors on the model's device, so that a batch is one look-up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch

# Columns of a batch besides labels and mask, with the tokenizer's attribute for padding.
_PADDED = {"input_ids": "pad_token_id", "token_type_ids": "pad_token_type_id"}
_BYTES_A_TOKEN = 8  # at most: ids and token types
_SHARE_OF_MEMORY = 0.1


class DeviceRows(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Rows of one data set that give a `DataLoader` whole batches, equal to those of `DataCollatorWithPadding`.

    A batch without padding has no `attention_mask`. A mask of ones would mean the same to the model, but it rules out
    the fastest attention kernel, or forces a GPU synchronization. On a GPU a batch costs a copy of three numbers for
    each row, without synchronization.

    Args:
        columns: a model's inputs without padding and mask, each flat, as [`flattened`] and
            `DisciplineTokenizer.encode_flat` give them.
        lengths: tokens of each row, of shape `(rows,)`.
        labels: of shape `(rows,)`; numbers with a fraction become float32, others int64.
        tokenizer: gives the padding values and the padding side.
        device: where the rows are, and their batches.
        cut: how many rows have more tokens than these.
    """

    def __init__(
        self,
        columns: Mapping[str, np.ndarray | int],
        lengths: np.ndarray,
        labels: np.ndarray,
        tokenizer: Any,
        device: torch.device | str = "cpu",
        cut: int = 0,
    ) -> None:
        self.cut = cut
        self.owners: np.ndarray | None = None  # the item that each row is a window of
        self.split = 0  # number of items with several rows
        self.lengths: np.ndarray = lengths.astype(np.int64)
        self._starts = np.cumsum(self.lengths) - self.lengths
        self._left = tokenizer.padding_side == "left"
        self._device = torch.device(device)
        self._labels = torch.from_numpy(labels.astype(np.float32 if labels.dtype.kind == "f" else np.int64)).to(device)
        self._columns: dict[str, tuple[torch.Tensor | int, int]] = {
            name: (self._flat(column), int(getattr(tokenizer, _PADDED[name]))) for name, column in columns.items()
        }
        if "attention_mask" in tokenizer.model_input_names:
            self._columns["attention_mask"] = 1, 0  # tokens are attended to, padding is not

    def _flat(self, column: np.ndarray | int) -> torch.Tensor | int:
        """All tokens of all rows; one number if all tokens are equal, as token types mostly are."""
        if isinstance(column, int) or (column.size and column.min() == column.max()):
            return int(column if isinstance(column, int) else column[0])
        return torch.from_numpy(column.astype(np.int32)).to(self._device)

    def ids(self) -> list[int]:
        """The distinct ids of all rows and of padding, in order."""
        flat, pad = self._columns["input_ids"]
        return sorted({pad, *torch.as_tensor(flat).unique().tolist()})

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
        """One row without padding, for code that needs its length."""
        start, length = int(self._starts[row]), int(self.lengths[row])
        values = {
            name: torch.full((length,), flat) if isinstance(flat, int) else flat[start : start + length]
            for name, (flat, _) in self._columns.items()
        }
        return {**values, "labels": self._labels[row]}

    def __getitems__(self, rows: list[int]) -> list[dict[str, torch.Tensor]]:
        """The batch of these rows, alone in a list, as tensors of shape `(rows, longest)`."""
        index = np.asarray(rows)
        width = int(self.lengths[index].max())
        padded = bool((self.lengths[index] < width).any())
        row, start, length = self._to_device(np.stack([index, self._starts[index], self.lengths[index]]))
        column = torch.arange(width, device=self._device)
        offset = column - (width - length[:, None]) if self._left else column.expand(len(rows), width)
        kept = (offset >= 0) & (offset < length[:, None])
        place = torch.where(kept, start[:, None] + offset, 0)
        batch = {}
        for name, (flat, pad) in self._columns.items():
            if name != "attention_mask" or padded:
                values = torch.full_like(place, flat) if isinstance(flat, int) else flat[place].long()
                batch[name] = torch.where(kept, values, pad) if padded else values
        return [{**batch, "labels": self._labels[row]}]

    def _to_device(self, numbers: np.ndarray) -> torch.Tensor:
        tensor = torch.from_numpy(numbers)
        # a copy from pageable memory would wait for the GPU
        return tensor.pin_memory().to(self._device, non_blocking=True) if self._device.type == "cuda" else tensor


def flattened(columns: Mapping[str, Sequence[Sequence[int]]]) -> tuple[dict[str, np.ndarray | int], np.ndarray]:
    """A tokenizer's lists without padding as flat arrays, and the number of tokens of each row."""
    lengths = np.fromiter(map(len, columns["input_ids"]), dtype=np.int64, count=len(columns["input_ids"]))
    flat: dict[str, np.ndarray | int] = {
        name: np.fromiter(chain.from_iterable(columns[name]), dtype=np.int32, count=int(lengths.sum()))
        for name in _PADDED
        if name in columns
    }
    return flat, lengths


def identity_collator(batches: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Unpacks the batch that [`DeviceRows`] gives a `DataLoader`."""
    (batch,) = batches
    return batch


def device_for_rows(device: torch.device, tokens: int) -> torch.device:
    """The training GPU if rows of so many tokens fit in a tenth of its free memory, else the CPU."""
    if device.type != "cuda" or tokens * _BYTES_A_TOKEN > _SHARE_OF_MEMORY * torch.cuda.mem_get_info(device)[0]:
        return torch.device("cpu")
    return device
