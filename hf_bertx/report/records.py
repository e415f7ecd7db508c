"""Folders of runs -> records: what was ordered, what came out, what failed, what is still to be run."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from .. import metrics, run_files
from ..arms import ARMS
from ..tasks import TASKS, Task

FORMAT = 1  # of run.json and of a study's list; a file that names none is of this one
STUDIES = "studies"
_SPECIFICATION = ("task", "backbone", "arm", "protocol", "split", "seed", "fraction")


@dataclass(frozen=True)
class Predictions:
    """What a run answered: `ids` and `labels` of shape `(items,)`, `logits` of `(items, classes)` or `(items, 1)`."""

    ids: tuple[str, ...]
    labels: np.ndarray
    logits: np.ndarray
    groups: tuple[str, ...] | None

    def answers(self, task: Task) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
        """What a score is computed from: ids, truth and answers, of items or, where the task votes, of pieces."""
        answers = self.logits[:, 0].astype(np.float64) if task.regression else self.logits.argmax(axis=1)
        if not task.votes:
            return self.ids, self.labels, answers
        assert self.groups is not None
        voted = metrics.vote(answers, self.groups)
        truth = dict(zip(self.groups, self.labels, strict=True))
        return tuple(voted), np.array([truth[piece] for piece in voted]), np.array(list(voted.values()))


@dataclass(frozen=True)
class RunRecord:
    """What a run's folder says: its order, its log and, once it is finished, its results."""

    folder: Path
    order: dict[str, Any]
    log: list[dict[str, float]]
    results: dict[str, Any] | None
    failure: dict[str, Any] | None = None

    @property
    def specification(self) -> dict[str, Any]:
        return self.order["specification"]

    @cached_property
    def task(self) -> Task:
        record = self.order.get("task")  # runs of older versions name a known task alone
        return TASKS[self.specification["task"]] if record is None else Task.from_dict(record)

    @property
    def state(self) -> str:
        """`finished`, `failed` or `unfinished`."""
        return "finished" if self.results is not None else "failed" if self.failure is not None else "unfinished"

    def score(self, split: str, metric: str) -> float | None:
        """A metric of a finished run, as a fraction; None where there is none."""
        if self.results is None or metric not in self.results["metrics"].get(split, {}):
            return None
        return self.results["metrics"][split][metric]

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
        return next((step for step, found in self.curve(f"eval_{metric}") if found >= value), None)

    def predictions(self) -> Predictions | None:
        """Answers to the test items, read when asked for; None where the folder holds none.

        Raises:
            ValueError: the file is not whole, or its answers score otherwise than `results.json` says.
        """
        path = self.folder / run_files.TEST_PREDICTIONS
        if self.results is None or not path.is_file():
            return None
        found = _read_predictions(path)
        _, truth, answers = found.answers(self.task)
        metric, stated = self.task.metric, self.score(self.task.test_split, self.task.metric)
        counted = metrics.compute(metric, answers, truth)
        if stated is None or abs(stated - counted) > 1e-4:
            raise ValueError(
                f"{path}: its answers have {metric} {counted:.4f}, {run_files.RESULTS} beside it says {stated}; "
                "the two are not of one run: remove the folder to run again"
            )
        return found


def _read_predictions(path: Path) -> Predictions:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        values = table["logits"].combine_chunks()
        logits = values.flatten().to_numpy(zero_copy_only=False).reshape(len(table), -1)
        groups = tuple(table["group"].to_pylist()) if "group" in table.column_names else None
        return Predictions(tuple(map(str, table["id"].to_pylist())), table["label"].to_numpy(), logits, groups)
    except (pa.ArrowException, KeyError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"{path}: not a whole file of predictions ({reason}); remove the folder to run again"
        ) from None


@dataclass(frozen=True)
class PlannedRun:
    """A run that a study asks for: the specification it names, and the folder it would be in."""

    study: str
    folder: Path
    specification: dict[str, Any]


@dataclass(frozen=True)
class Failure:
    """A run that came to nothing; `specification` is empty where it failed before it was written and no study asks
    for it."""

    folder: Path
    error: str
    attempts: int
    time: str
    specification: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RunsFolder:
    """All that lies below a folder of runs."""

    root: Path
    records: list[RunRecord]
    failures: list[Failure]
    planned: list[PlannedRun]

    def missing(self) -> list[PlannedRun]:
        """Runs that a study asks for and that have neither finished nor failed, each once."""
        settled = {r.folder.resolve() for r in self.records if r.results is not None}
        settled |= {failure.folder.resolve() for failure in self.failures}
        found = {run.folder.resolve(): run for run in self.planned if run.folder.resolve() not in settled}
        return list(found.values())


def collect_runs(root: Path) -> list[RunRecord]:
    """Every run below a folder that wrote its order, in the order of arms and seeds; see [`read_runs`]."""
    return read_runs(root).records


def read_runs(root: Path) -> RunsFolder:
    """Every run below a folder, failed ones included, and what its studies ask for. Predictions are not read yet.

    Raises:
        ValueError: no such folder, no run in it, or a file of a run that is missing, cannot be read or is of another
            format; the message names it.
    """
    if not root.is_dir():
        raise ValueError(f"{root}: no such folder")
    planned = list(_planned(root))
    by_folder = {run.folder.resolve(): run.specification for run in planned}
    records, failures = [], []
    for folder, names in _run_folders(root):
        record = _read_run(folder, names) if names != {run_files.FAILURE} else None
        if record is not None:
            records.append(record)
        if run_files.FAILURE in names and (record is None or record.results is None):
            known = by_folder.get(folder.resolve(), {}) if record is None else record.specification
            failures.append(_read_failure(folder, known))
    if not records and not failures:
        raise ValueError(f"{root}: holds no run; a run's folder has a {run_files.RUN}")
    rank = {name: i for i, name in enumerate(ARMS)}
    records.sort(key=lambda r: (rank.get(r.specification["arm"], len(rank)), r.specification["seed"]))
    return RunsFolder(root, records, failures, planned)


def _run_folders(root: Path) -> Iterator[tuple[Path, set[str]]]:
    """Folders that hold a file of a run, with the names of these; what lies inside a run is not looked through."""
    files = {run_files.RUN, run_files.RESULTS, run_files.FAILURE, run_files.LOG}
    for path, folders, names in os.walk(root):
        folders.sort()
        if found := files & set(names):
            folders.clear()
            yield Path(path), found


def _read_run(folder: Path, names: set[str]) -> RunRecord:
    path = folder / run_files.RUN
    order = run_files.read_json(path)
    specification = _checked(path, order).get("specification")
    if not isinstance(specification, dict):
        raise ValueError(f"{path}: it has no specification; remove the folder to run again")
    for name in _SPECIFICATION:
        if name not in specification:
            raise ValueError(f"{path}: its specification does not say {name!r}; remove the folder to run again")
    if "task" not in order and specification["task"] not in TASKS:
        raise ValueError(f"{path}: its task is not one of {', '.join(TASKS)}")
    results = run_files.read_json(folder / run_files.RESULTS) if run_files.RESULTS in names else None
    if results is not None and not isinstance(results.get("metrics"), dict):
        raise ValueError(f"{folder / run_files.RESULTS}: it has no metrics; remove the folder to run again")
    needed = results is not None or run_files.LOG in names  # the log of a finished run was written before its results
    log = run_files.read_json(folder / run_files.LOG) if needed else []
    failure = run_files.read_json(folder / run_files.FAILURE) if run_files.FAILURE in names else None
    return RunRecord(folder, order, log, results, failure)


def _read_failure(folder: Path, specification: dict[str, Any]) -> Failure:
    path = folder / run_files.FAILURE
    found = run_files.read_json(path)
    for name in ("error", "attempts", "time"):
        if name not in found:
            raise ValueError(f"{path}: it does not say {name!r}; it holds error, attempts and time")
    return Failure(folder, str(found["error"]), int(found["attempts"]), str(found["time"]), specification)


def _planned(root: Path) -> Iterator[PlannedRun]:
    for path in sorted((root / STUDIES).glob("*.json")):
        study = _checked(path, run_files.read_json(path))
        for i, run in enumerate(study.get("runs", [])):
            lacking = [name for name in (*_SPECIFICATION, "folder") if name not in run]
            if lacking:
                raise ValueError(f"{path}, run {i}: it does not say {lacking[0]!r}")
            specification = {name: run[name] for name in _SPECIFICATION}
            yield PlannedRun(
                str(study.get("study", path.stem)),
                root / run["folder"],
                {**specification, "overrides": run.get("overrides", {})},
            )


def _checked(path: Path, content: Any) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise ValueError(f"{path}: it holds {type(content).__name__}, not named values; remove it to have it written")
    if content.get("format", FORMAT) != FORMAT:
        raise ValueError(
            f"{path}: its format is {content['format']!r}, this version of hf_bertx reads {FORMAT}; "
            "report with the version that wrote it"
        )
    return content
