"""Reading frames of k-mers: the same sequence from its first letter, its second, and so on."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..data.device_rows import DeviceRows
from ..data.tokenized_data import count_cut, encode_flat
from ..tasks import Task


class FrameRows(DeviceRows):
    """Rows of which each is read in a frame that is drawn anew in each epoch.

    Args:
        frames: how many there are. What [`DeviceRows`] takes is all rows in the first frame, then all in the second,
            and so on.
        seed: of the draws. Epoch and seed decide them, so that a run that goes on draws what it would have drawn.
    """

    def __init__(self, *rows: Any, frames: int, seed: int) -> None:
        super().__init__(*rows)
        self._frames, self._seed = frames, seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        generator = np.random.Generator(np.random.PCG64([self._seed, epoch]))
        items = len(self)
        self._place = np.arange(items) + items * generator.integers(self._frames, size=items)

    def __len__(self) -> int:
        return super().__len__() // self._frames

    def __getitem__(self, row: int) -> Any:
        return super().__getitem__(int(self._place[row]))

    def __getitems__(self, rows: list[int]) -> Any:
        return super().__getitems__(self._place[rows].tolist())


class DrawFramesCallback(TrainerCallback):
    """Draws the frames of an epoch as it begins."""

    def __init__(self, rows: FrameRows) -> None:
        self.rows = rows

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.rows.set_epoch(int(state.epoch or 0))


def rows_of(
    rows: Dataset, tokenizer: Any, task: Task, place: torch.device, frames: int = 1, seed: int = 0
) -> DeviceRows:
    """Rows as a model reads them, on a device; with several frames as [`FrameRows`]."""
    flat = encode_flat(rows, tokenizer, task, frames=frames)
    cut = count_cut(rows, tokenizer, task, flat[1][: len(rows)])
    if frames == 1:
        return DeviceRows(*flat, tokenizer, place, cut)
    made = FrameRows(*flat, tokenizer, place, frames=frames, seed=seed)
    made.cut = cut
    return made
