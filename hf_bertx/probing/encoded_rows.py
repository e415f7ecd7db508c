"""Rows of a task as a frozen encoder sees them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from datasets import Dataset

from .. import metrics
from ..data.labels import label_array
from ..tasks import Task
from .encoder import FrozenEncoder
from .features import POOLINGS
from .order import OF_A_MODEL
from .pooling_layer import pooled


@dataclass(frozen=True)
class EncodedRows:
    """Rows with the features of each, or of each of its windows.

    Args:
        features: of shape `(rows, layers + 1, 2, hidden)`; None where a saved model answers in their place.
        cut: which of them were cut.
        owners: the row that each of them is of, in ascending order.
    """

    rows: Dataset
    labels: np.ndarray
    features: np.ndarray | None
    cut: np.ndarray
    owners: np.ndarray

    @property
    def split(self) -> int:
        """How many rows were read in several windows."""
        return int((np.bincount(self.owners) > 1).sum())

    def take(self, places: list[int]) -> EncodedRows:
        """Some of the rows, in another order."""
        assert self.features is not None
        of_rows: list[np.ndarray] = np.split(np.arange(len(self.owners)), np.flatnonzero(np.diff(self.owners)) + 1)
        windows = [of_rows[place] for place in places]
        read = np.concatenate(windows)
        owners: np.ndarray = np.repeat(np.arange(len(places)), list(map(len, windows)))
        return EncodedRows(self.rows.select(places), self.labels[places], self.features[read], self.cut[read], owners)

    def pooled(self, layer: int, pooling: str, eps: float) -> np.ndarray:
        """The features of each row, the mean of its windows', of shape `(rows, hidden)`."""
        assert self.features is not None
        states = self.features[:, layer]
        if pooling == OF_A_MODEL:
            states = pooled(states[:, 0], states[:, 1], eps)
        else:
            states = states[:, POOLINGS.index(pooling)]
        if len(self.owners) == len(self.rows):
            return states
        return metrics.mean_answers(states, self.owners, regression=True)

    def score(self, task: Task, logits: np.ndarray) -> dict[str, float]:
        groups = self.rows["group"][:] if task.votes else None
        return metrics.score(task, logits, self.labels.tolist(), groups)


def encoded(
    encoder: FrozenEncoder, rows: Dataset, task: Task, threads: int | None, computed: bool = True
) -> EncodedRows:
    """Reads rows and computes their features, unless a saved model is to answer, which needs fewer layers."""
    columns, cut, owners = encoder.read(rows)
    features = encoder.features(columns, threads) if computed else None
    return EncodedRows(rows, label_array(rows["label"][:], task), features, cut, owners)
