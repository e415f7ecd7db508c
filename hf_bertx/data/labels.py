"""Labels of items: as files write them, as arrays, and in the config of a model that gives them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..tasks import Task

LABEL_SEPARATOR = ";"
LABEL_THRESHOLD = 0.5  # the lowest probability at which a label is predicted


def label_array(labels: Sequence[Any], task: Task) -> np.ndarray:
    """Labels of items as an array: class numbers, targets as floats, or rows of [`label_rows`]."""
    if task.multi_label:
        return label_rows(labels, task.labels or ())
    return np.asarray(labels, dtype=float if task.regression else None)


def label_fields(task: Task) -> dict[str, Any]:
    """The fields by which a config of transformers says what a model of the task answers."""
    if task.labels is None:
        return {"num_labels": 1, "problem_type": "regression"}
    names = dict(enumerate(task.labels))
    kind = "multi" if task.multi_label else "single"
    return {
        "id2label": names,
        "label2id": {name: number for number, name in names.items()},
        "problem_type": f"{kind}_label_classification",
    }


def split_labels(label: str, place: str) -> list[str]:
    """The labels of an item, each once, in order.

    Raises:
        ValueError: one of them is empty; the message names it.
    """
    parts = [part.strip() for part in label.split(LABEL_SEPARATOR)]
    if "" in parts:
        raise ValueError(f"{place}: the label {label!r} has an empty part; allowed: names divided by ;")
    return list(dict.fromkeys(parts))


def label_rows(labels: Iterable[str], names: Sequence[str]) -> np.ndarray:
    """Ones where an item has a label, float32 of shape `(items, labels)`.

    Args:
        labels: of each item, as [`split_labels`] takes them.
        names: of all labels, in the order of the columns.

    Raises:
        ValueError: a label that is none of the names.
    """
    number = {name: i for i, name in enumerate(names)}
    listed = [split_labels(label, f"item {row}") for row, label in enumerate(labels)]
    rows: np.ndarray = np.zeros((len(listed), len(names)), dtype=np.float32)
    for row, names_of_item in enumerate(listed):
        for name in names_of_item:
            if name not in number:
                raise ValueError(f"item {row}: label {name!r}; allowed: {', '.join(names)}")
            rows[row, number[name]] = 1
    return rows


def joined_labels(given: np.ndarray, names: Sequence[str]) -> str:
    """The labels that are given, as files write them; an empty text where none is.

    Args:
        given: whether each label is, of shape `(labels,)`.
    """
    return LABEL_SEPARATOR.join(name for name, is_given in zip(names, given, strict=True) if is_given)
