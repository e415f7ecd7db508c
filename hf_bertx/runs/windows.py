"""Items as rows of a model: one row each, or several windows."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers.utils import logging

from ..data.device_rows import DeviceRows
from ..data.tokenized_data import encode_flat, tokens_cut
from ..disciplines import Discipline
from ..metrics import mean_answers
from ..tasks import Task
from ..tokenization.windows import Windows

logger = logging.get_logger(__name__)

_FEW_CUT = 0.01  # share of cut items that is not worth a message


def log_lengths(task: Task, tokenizer: Any, windows: Windows | None, items: int, rows: int, unread: int) -> None:
    """Logs how many training items are longer than the model reads, unless they are few.

    Args:
        rows: what is read of the items: one each, or one a window.
        unread: items that have more than the model reads: they are cut, or read in several windows.
    """
    if windows is not None:
        logger.warning(
            f"{unread} of {items} training items have more than {windows.symbols} symbols: they are read in windows, "
            f"{rows} rows in all"
        )
    elif unread > _FEW_CUT * items:
        longest = min(task.max_length, tokenizer.model_max_length)
        room = longest - tokenizer.num_special_tokens_to_add(pair=task.pair)
        hint = "" if task.pair or task.discipline == "text" else f"; --window {room} reads them whole"
        logger.warning(
            f"{unread} of {items} training items ({100 * unread / items:.0f}%) are longer than the {longest} tokens "
            f"that the model reads, and what comes after is not read{hint}"
        )


def in_windows(rows: Dataset, windows: Windows, discipline: Discipline) -> tuple[Dataset, np.ndarray]:
    """A row for each window of each row's sequence, and the row that each is of, shape `(windows,)`."""
    texts, owners = windows.cut(rows["sequence"][:], discipline)
    repeated = {**rows.select(owners).to_dict(), "sequence": texts}
    return Dataset.from_dict(repeated, features=rows.features), owners


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
