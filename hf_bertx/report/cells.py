"""Runs that differ by their seed alone are a cell: its scores, intervals and answers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from .. import metrics
from ..arms import BASELINE
from ..protocols import PROBE
from ..runs.run import Run
from ..runs.spec import MAX_TEST_ITEMS
from ..tasks import Task
from .formatting import share_of_data, shown_backbone
from .statistics import Interval

LITTLE = 0.01  # share of the training data that the paper has as a setting of its own


class Column(NamedTuple):
    """What the cells of a table's column share; where they differ otherwise, `Cell.differs` says so.

    Args:
        max_eval_items: the most test items; None: all.
        items: training items of a probe, or `all`; None for a trained model.
    """

    task: str
    backbone: str
    protocol: str
    split: str
    fraction: float
    max_eval_items: int | None = None
    items: int | str | None = None

    @classmethod
    def of(cls, specification: Mapping[str, Any]) -> Column:
        return cls(**{name: specification[name] for name in cls._fields if name in specification})

    @property
    def limits_text(self) -> str:
        """`, 1000 items` of probes; `, at most 500 test items` of runs that were tested on fewer than is usual."""
        drawn = "" if self.items is None else f", {self.items} items"
        return drawn + self._test_limit

    @property
    def _test_limit(self) -> str:
        limit = self.max_eval_items
        usual = limit is None or (self.protocol == PROBE and limit == MAX_TEST_ITEMS)
        return "" if usual else f", at most {limit} test items"

    @property
    def method(self) -> str:
        """How it was scored: `probe, 1,000 items`, `fine-tuned`; `fine-tuned, protocol paper` by another protocol."""
        if self.protocol == PROBE:
            size = f"{self.items:,}" if isinstance(self.items, int) else self.items
            name = f"probe, {size} items"
        else:
            name = "fine-tuned" if self.protocol == "recommended" else f"fine-tuned, protocol {self.protocol}"
        return name + self._test_limit

    @property
    def title(self) -> str:
        """`minilm-l6, split paper`: what methods share that are shown side by side."""
        return f"{shown_backbone(self.backbone)}, split {self.split}"

    @property
    def setup(self) -> str:
        """`minilm-l6, recommended, paper`: backbone, protocol and split; of a probe also its training items."""
        return f"{shown_backbone(self.backbone)}, {self.protocol}, {self.split}{self.limits_text}"

    @property
    def place(self) -> tuple[bool, float]:
        """Trained models stand first, then probes by their training items."""
        return self.protocol == PROBE, self.items if isinstance(self.items, int) else math.inf


@dataclass(frozen=True)
class Floor:
    """What the best constant answer scores on the test items of a task."""

    task: Task
    split: str
    mean: float
    items: int


@dataclass(frozen=True)
class Cell:
    """Runs of one specification, one a seed, with their scores and answers.

    Args:
        differs: what sets the cell apart from others of its arm, e.g. `{"learning_rate": 1e-4}`.
        chosen: whether it represents its arm in tables and figures: the only one, or the best on validation.
        runs: finished runs by seed; `others` are unfinished or failed.
        scores: of the task's metric on the test items, a fraction, one a run.
        interval: of the mean; over seeds where there are several, else over test items, else None.
        floor: on its test items; None where no cell with these has its predictions, or an item has several labels.
        validation: mean validation score of the task's metric.
        groups: of the test items, where several share one.
        answers, resampled: `(runs, items)` and `(resamples, runs)`; None where a run's predictions are missing.
        collapsed: runs that answer every item alike.
        largest: no cell of the task by the same method has more of the training data, and it is more than 1%.
    """

    task: Task
    specification: dict[str, Any]
    differs: dict[str, Any]
    chosen: bool
    runs: tuple[Run, ...]
    others: tuple[Run, ...]
    scores: tuple[float, ...]
    validation: float | None
    interval: Interval | None = None
    floor: Floor | None = None
    truth: np.ndarray | None = field(default=None, repr=False)
    groups: tuple[str, ...] | None = field(default=None, repr=False)
    answers: np.ndarray | None = field(default=None, repr=False)
    resampled: np.ndarray | None = field(default=None, repr=False)
    calibration: metrics.Calibration | None = None
    collapsed: tuple[Run, ...] = ()
    largest: bool = False

    @property
    def mean(self) -> float | None:
        return float(np.mean(self.scores)) if self.scores else None

    @property
    def fraction(self) -> float:
        return self.specification["fraction"]

    @property
    def share(self) -> float:
        """The fraction, but 1 for the largest one, so that a part of a large task stands beside whole tasks."""
        return 1.0 if self.largest else self.fraction

    @property
    def part(self) -> str:
        """`, 20% data` where that is the most that was used; smaller parts have rows and tables of their own."""
        return share_of_data(self.fraction) if self.largest else ""

    @property
    def column(self) -> Column:
        return Column.of(self.specification)

    @property
    def test_items(self) -> tuple[str, str, int | None]:
        """Task, split and limit: what decides which items a cell is tested on."""
        return self.task.name, self.column.split, self.column.max_eval_items

    @property
    def holm_family(self) -> Column:
        """Key of the cells of several tasks whose p-values are corrected together."""
        return self.column._replace(task="", fraction=self.share)

    @property
    def fingerprint(self) -> str:
        """Of the data that all runs of the cell were made from."""
        return self.first.fingerprint

    @property
    def first(self) -> Run:
        """One of the runs, finished if any is."""
        return (self.runs or self.others)[0]

    @property
    def is_baseline(self) -> bool:
        return self.specification["arm"] == BASELINE

    @property
    def is_probe(self) -> bool:
        """Whether its runs are frozen features and a closed-form head."""
        return self.specification["protocol"] == PROBE

    @property
    def is_check(self) -> bool:
        """Whether its training labels were permuted; its scores have to be at chance and stand for no arm."""
        return permuted(self.specification)

    @property
    def name(self) -> str:
        """The arm, or which baseline."""
        return self.specification["backbone" if self.is_baseline else "arm"]


def permuted(specification: dict[str, Any]) -> bool:
    """Whether a probe was fitted to permuted labels."""
    return bool((specification.get("hyperparameters") or {}).get("permute_labels"))


def best_baseline(cells: Iterable[Cell], task: str, split: str, limit: int | None = None) -> Cell | None:
    """The plain baseline that was best on validation, of those fitted to all training items of a task.

    Args:
        limit: of the test items: baselines with this limit count, or else those with the most items.
    """
    alike = [c for c in cells if (c.task.name, c.column.split, c.fraction, c.is_baseline) == (task, split, 1, True)]
    plain = [cell for cell in alike if cell.chosen and cell.validation is not None]
    limits = {cell.column.max_eval_items for cell in plain}
    most = limit if limit in limits else max(limits, key=lambda n: math.inf if n is None else n, default=None)
    same = (cell for cell in plain if cell.column.max_eval_items == most)
    return max(same, key=lambda cell: cell.validation or 0.0, default=None)


def lowest_score(task: Task) -> float:
    """The least value of a task's metric."""
    return -1.0 if task.metric in ("mcc", "spearman", "pearson") else 0.0


def named_cell(cell: Cell) -> dict[str, Any]:
    """The columns that identify a cell in a CSV file."""
    s = cell.specification
    names = ["task", "arm", "protocol", "split", "fraction"]
    differs = "; ".join(f"{name}={value}" for name, value in cell.differs.items())
    known = {name: s[name] for name in names} | limits(s)
    return {**known, "backbone": shown_backbone(s["backbone"]), "differs": differs}


def limits(specification: dict[str, Any]) -> dict[str, Any]:
    """The training items of a probe and the most test items, where a specification has them."""
    names = ("items", "max_eval_items")
    return {name: specification[name] for name in names if specification.get(name) is not None}


def floors(cells: Iterable[Cell]) -> list[Floor]:
    """The floor on each set of test items."""
    return list({cell.test_items: cell.floor for cell in cells if cell.floor is not None}.values())
