"""An item as a model reads it: in one row, in a frame that is drawn anew, or in several windows."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..data.device_rows import DeviceRows
from ..data.tokenized_data import encode_flat, tokens_cut
from ..disciplines import Discipline
from ..metrics import mean_answers
from ..tasks import Task
from ..tokenization.windows import Windows


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


def in_windows(rows: Dataset, windows: Windows, discipline: Discipline) -> tuple[Dataset, np.ndarray]:
    """A row for each window of each row's sequence, and the row that each is of, shape `(windows,)`."""
    texts, owners = windows.cut(rows["sequence"][:], discipline)
    columns = {name: rows[name][:] for name in rows.column_names}
    repeated = {name: [column[i] for i in owners] for name, column in columns.items()}
    return Dataset.from_dict({**repeated, "sequence": texts}, features=rows.features), owners


def by_item(rows: DeviceRows, logits: np.ndarray, labels: np.ndarray, task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Answers and labels of items, from those of the rows that [`rows_of`] made of them."""
    if rows.owners is None:
        return logits, labels
    first = np.flatnonzero(np.diff(rows.owners, prepend=-1))
    return mean_answers(logits, rows.owners, task.regression, task.multi_label), labels[first]


def rows_of(
    rows: Dataset,
    tokenizer: Any,
    task: Task,
    place: torch.device,
    frames: int = 1,
    seed: int = 0,
    windows: Windows | None = None,
) -> DeviceRows:
    """Rows as a model reads them, on a device; with several frames as [`FrameRows`], with windows a row for each.

    `owners` of what is returned says which item each row is of; it is None where each is an item.
    """
    if windows is not None:
        rows, owners = in_windows(rows, windows, tokenizer.discipline)
        made = DeviceRows(*encode_flat(rows, tokenizer, task), tokenizer, place)
        made.owners, made.split = owners, int((np.bincount(owners) > 1).sum())
        return made
    flat = encode_flat(rows, tokenizer, task, frames=frames)
    cut = int((tokens_cut(rows, tokenizer, task, flat[1][: len(rows)]) > 0).sum())
    if frames == 1:
        return DeviceRows(*flat, tokenizer, place, cut)
    made = FrameRows(*flat, tokenizer, place, frames=frames, seed=seed)
    made.cut = cut
    return made
