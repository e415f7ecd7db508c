"""The only reader of a run's folder. Imports no torch."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from .. import metrics, run_files
from ..data.labels import label_rows
from ..registry import first_line
from ..tasks import Task

FORMAT = 1  # format of run.json and of a study's list; the default for files that name none
SPECIFICATION = ("task", "backbone", "arm", "protocol", "split", "seed", "fraction")  # fields that every run has
# Fields of a task's record that affect results; published scores and sources do not.
OF_TASK = ("discipline", "labels", "metric", "max_length", "pair", "votes", "test_split")
# Entries that cards and uploads need from a finished run.
_OF_FINISHED = {
    run_files.RUN: ("data_fingerprint", "data_origin", "backbone_origin", "versions"),
    run_files.RESULTS: ("test_split", "counts", "train_items", "train_seconds"),
}
FEWEST_GROUPS = 20  # for a bootstrap over groups
ROW = "#"  # archives have `#0`, `#1`, ... instead of ids for data without a licence
DECISION = "decision"  # and only the predicted class of a probe


@dataclass(frozen=True)
class Predictions:
    """What a run answered to the items of a split.

    Args:
        ids: of the items, in the order of the other fields.
        labels: class numbers, or targets in the units of the data, of shape `(items,)`.
        logits: of shape `(items, classes)`, or `(items, 1)` for a regression.
        groups: of each item, where the data has them; where the task votes, the piece. Else None.
        decided: an archive kept decisions alone: a logit is 1 for the class that was chosen and 0 for the others.
    """

    ids: tuple[str, ...]
    labels: np.ndarray
    logits: np.ndarray
    groups: tuple[str | None, ...] | None
    decided: bool = False

    @classmethod
    def read(cls, path: Path) -> Predictions:
        """Reads a file of predictions.

        Raises:
            ValueError: the file is not whole.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(path)
            if decided := DECISION in table.column_names:
                logits = np.eye(int(table.schema.metadata[b"classes"]))[table[DECISION].to_numpy()]
            else:
                values = table["logits"].combine_chunks()
                logits = values.flatten().to_numpy(zero_copy_only=False).reshape(len(table), -1)
            groups = tuple(table["group"].to_pylist()) if "group" in table.column_names else None
            ids = tuple(map(str, table["id"].to_pylist()))
            return cls(ids, table["label"].to_numpy(), logits, groups, decided)
        except (pa.ArrowException, KeyError, ValueError) as error:
            raise ValueError(
                f"{path}: not a whole file of predictions ({first_line(error)}); remove the folder to run again"
            ) from None

    def answers(self, task: Task) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
        """Ids, truth and predictions of items or, if the task votes, of pieces: the input of a metric."""
        if task.multi_label:
            return self.ids, label_rows(self.labels, task.labels or ()), self.logits > 0
        answers = self.logits[:, 0].astype(np.float64) if task.regression else self.logits.argmax(axis=1)
        if not task.votes:
            return self.ids, self.labels, answers
        assert self.groups is not None
        pieces = metrics.names_of_pieces(self.groups, self.ids)
        voted = metrics.vote(answers, pieces)
        truth = dict(zip(pieces, self.labels, strict=True))
        return tuple(voted), np.array([truth[piece] for piece in voted]), np.array(list(voted.values()))


def drawn_together(run: Run, ids: Sequence[str], groups: Sequence[str | None] | None) -> tuple[str, ...] | None:
    """The group of each test item, if the split keeps groups apart; an item without a group is alone.

    None if no items share a group, or if the effective number of groups, `(sum n)^2 / sum n^2` over their sizes (Kish
    1965), is below 20: too few for a bootstrap over groups.
    """
    apart = run.specification["split"] == "grouped" or not run.task.hosted
    if groups is None or run.task.votes or not apart:
        return None
    named = tuple(f"alone: {key}" if group is None else group for key, group in zip(ids, groups, strict=True))
    effective = len(named) ** 2 / sum(size**2 for size in Counter(named).values())
    return named if FEWEST_GROUPS <= effective < len(named) else None


def same_items(ids: Sequence[str], others: Sequence[str]) -> bool:
    """Whether two lists of ids are of the same items in the same order. An archive's row numbers match any id."""
    numbered = any(each[:1] == (f"{ROW}0",) for each in (tuple(ids[:1]), tuple(others[:1])))
    return len(ids) == len(others) if numbered else tuple(ids) == tuple(others)


@dataclass(frozen=True)
class Run:
    """What a run's folder says: its order, its log and, once it is finished, its results.

    Args:
        folder: the run's.
        order: what `run.json` holds.
        log: what `log_history.json` holds, the Trainer's log.
        results: what `results.json` holds; None before the run is finished.
        failure: what `failure.json` holds; None where the last try did not fail.

    Example:
        ```python
        >>> run = Run.open("runs/recommended/dna-splice/minilm-l6/bert/seed-0")
        >>> run.scores["test"]["accuracy"], run.predictions("test").logits.shape, run.model_dir
        ```
    """

    folder: Path
    order: dict[str, Any]
    log: list[dict[str, float]]
    results: dict[str, Any] | None
    failure: dict[str, Any] | None = None

    @classmethod
    def open(cls, folder: str | Path) -> Run:
        """Reads a run's folder; its predictions are read when they are asked for.

        Raises:
            ValueError: no such folder, no run in it, or a file of it that cannot be read, is damaged or is of another
                format; the message names it.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise ValueError(f"{folder}: no such folder")
        path = folder / run_files.RUN
        if not path.is_file() and not (folder / run_files.RESULTS).is_file():
            raise ValueError(
                f"{folder}: not a run's folder, it has no {run_files.RUN}; one is "
                "RUNS/<protocol>/<task>/<backbone>/<arm>/seed-N"
            )
        order = read_named(path)
        specification = order.get("specification")
        if not isinstance(specification, dict):
            raise ValueError(f"{path}: it has no specification; remove the folder to run again")
        for name in SPECIFICATION:
            if name not in specification:
                raise ValueError(f"{path}: its specification does not say {name!r}; remove the folder to run again")
        try:
            task = Task.from_dict(order["task"])
            path = folder / run_files.RESULTS
            results = _read_or_none(path)
            if results is not None:
                float(results["metrics"][task.test_split][task.metric])
        except (KeyError, TypeError) as error:
            what = f"{type(error).__name__}: {first_line(error)}"
            raise ValueError(f"{path}: damaged ({what}); remove the folder to run again") from None
        # the log of a finished run was written before its results
        has_log = results is not None or (folder / run_files.LOG).is_file()
        log = run_files.read_json(folder / run_files.LOG) if has_log else []
        if not isinstance(log, list):
            raise ValueError(f"{folder / run_files.LOG}: damaged, it is no list; train the run again")
        return cls(folder, order, log, results, _read_or_none(folder / run_files.FAILURE))

    @classmethod
    def open_finished(cls, folder: str | Path) -> Run:
        """[`open`] for a run that has to be finished.

        Raises:
            ValueError: as [`open`], or the run is not finished.
        """
        run = cls.open(folder)
        if run.results is None:
            raise ValueError(
                f"{folder}: the run is not finished, it has no {run_files.RESULTS}; the same command goes on with it"
            )
        for name, content in ((run_files.RUN, run.order), (run_files.RESULTS, run.results)):
            lacking = next((key for key in _OF_FINISHED[name] if key not in content), None)
            if lacking is not None:
                raise ValueError(f"{run.folder / name}: damaged, it has no {lacking!r}; train the run again")
        return run

    @property
    def specification(self) -> dict[str, Any]:
        return self.order["specification"]

    @property
    def fingerprint(self) -> str:
        """sha256 of the data that the run was made from."""
        return str(self.order.get("data_fingerprint"))

    @property
    def cell(self) -> str:
        """Key of the run's cell: equal for runs that differ only by seed, or by the precision of their machines."""
        shared = {k: v for k, v in self.specification.items() if k not in ("seed", "precision")}
        return json.dumps(shared, sort_keys=True)

    @cached_property
    def task(self) -> Task:
        return Task.from_dict(self.order["task"])

    @property
    def state(self) -> str:
        """`finished`, `failed` or `unfinished`."""
        return "finished" if self.results is not None else "failed" if self.failure is not None else "unfinished"

    @property
    def model_dir(self) -> Path:
        """The folder of the model and its tokenizer, as plain transformers loads them."""
        return self.folder / run_files.MODEL

    @property
    def scores(self) -> dict[str, dict[str, float]]:
        """Metrics by split, as fractions; empty before the run is finished."""
        return {} if self.results is None else self.results["metrics"]

    def score(self, split: str, metric: str) -> float | None:
        """A metric of a finished run, as a fraction; None where there is none."""
        return self.scores.get(split, {}).get(metric)

    def curve(self, name: str) -> list[tuple[int, float]]:
        """`(step, value)` of what the log calls `name`: `loss`, `eval_accuracy`, ..."""
        return [(int(entry["step"]), entry[name]) for entry in self.log if name in entry]

    def epoch_losses(self) -> list[float]:
        """Mean training loss of each epoch, exact: a logged loss is the mean over the steps since the last one."""
        sums: dict[int, tuple[float, int]] = {}
        last = 0
        for entry in self.log:
            if "loss" in entry:
                epoch, steps = math.ceil(round(entry["epoch"], 6)), int(entry["step"]) - last
                total, before = sums.get(epoch, (0.0, 0))
                sums[epoch] = total + entry["loss"] * steps, before + steps
                last = int(entry["step"])
        return [total / steps for _, (total, steps) in sorted(sums.items()) if steps]

    def first_step_at(self, metric: str, value: float) -> int | None:
        """The first evaluated step whose validation score is at least `value`; None if there is none."""
        return next((step for step, score in self.curve(f"eval_{metric}") if score >= value), None)

    def predictions(self, split: str | None = None) -> Predictions | None:
        """Answers to the items of a split, the test split by default; None where the folder holds none.

        Raises:
            ValueError: the file is not whole, or its answers score otherwise than `results.json` says.
        """
        split = split or self.task.test_split
        tested = split == self.task.test_split
        path = self.folder / (run_files.TEST_PREDICTIONS if tested else run_files.VALIDATION_PREDICTIONS)
        if self.results is None or split not in (self.task.test_split, "validation") or not path.is_file():
            return None
        predictions = Predictions.read(path)
        _, truth, answers = predictions.answers(self.task)
        metric, stated = self.task.metric, self.score(split, self.task.metric)
        counted = metrics.compute(metric, answers, truth)
        if stated is None or abs(stated - counted) > 1e-4:
            raise ValueError(
                f"{path}: its answers have {metric} {counted:.4f}, {run_files.RESULTS} beside it says {stated}; "
                "the two are not of one run: remove the folder to run again"
            )
        return predictions

    def seeds(self) -> list[Run]:
        """The finished runs of this cell on the same data that lie beside this one, itself included, by seed."""
        beside = self.folder.resolve().parent.glob(f"*/{run_files.RUN}")
        runs = [Run.open(path.parent) for path in beside if (path.parent / run_files.RESULTS).is_file()]
        runs = [run for run in runs if (run.cell, run.fingerprint) == (self.cell, self.fingerprint)]
        return sorted(runs, key=lambda run: run.specification["seed"])


def _read_or_none(path: Path) -> Any:
    return run_files.read_json(path) if path.is_file() else None


def read_named(path: Path) -> dict[str, Any]:
    """The named values that a file of runs holds.

    Raises:
        ValueError: it cannot be read, holds something else, or is of another format.
    """
    content = run_files.read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: it holds {type(content).__name__}, not named values; remove it to have it written")
    if content.get("format", FORMAT) != FORMAT:
        raise ValueError(
            f"{path}: its format is {content['format']!r}, this version of hf_bertx reads {FORMAT}; "
            "report with the version that wrote it"
        )
    return content
