"""An item as a model reads it: in one row, or in several windows."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from datasets import Dataset

from ..data.device_rows import DeviceRows
from ..data.tokenized_data import encode_flat, tokens_cut
from ..disciplines import Discipline
from ..metrics import mean_answers
from ..tasks import Task
from ..tokenization.windows import Windows


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
    rows: Dataset, tokenizer: Any, task: Task, place: torch.device, windows: Windows | None = None
) -> DeviceRows:
    """Rows as a model reads them, on a device; with windows a row for each.

    `owners` of what is returned says which item each row is of; it is None where each is an item.
    """
    if windows is not None:
        rows, owners = in_windows(rows, windows, tokenizer.discipline)
        made = DeviceRows(*encode_flat(rows, tokenizer, task), tokenizer, place)
        made.owners, made.split = owners, int((np.bincount(owners) > 1).sum())
        return made
    flat = encode_flat(rows, tokenizer, task)
    return DeviceRows(*flat, tokenizer, place, int((tokens_cut(rows, tokenizer, task, flat[1]) > 0).sum()))
