"""Folders of runs -> records of finished, failed, unfinished and missing runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import run_files
from ..runs.run import SPECIFICATION, Run, read_named
from .formatting import arm_rank


@dataclass(frozen=True)
class Planned:
    """A run that a study asks for, and the folder it would be in."""

    study: str
    folder: Path
    specification: dict[str, Any]


@dataclass(frozen=True)
class Failure:
    """A run that failed; `specification` is empty if neither its folder nor a study says what it was."""

    folder: Path
    error: str
    attempts: int
    time: str
    specification: dict[str, Any]


@dataclass(frozen=True)
class RunsFolder:
    """Everything below a folder of runs; `temporary` if the folder vanishes after the report."""

    root: Path
    records: list[Run]
    failures: list[Failure]
    planned: list[Planned]
    temporary: bool = False

    def missing(self) -> list[Planned]:
        """Runs that a study asks for and that have not begun, each once."""
        begun = {run.folder.resolve() for run in self.records}
        begun |= {failure.folder.resolve() for failure in self.failures}
        return list({run.folder: run for run in self.planned if run.folder.resolve() not in begun}.values())

    def below(self, folder: Path) -> str:
        """A run's folder as seen from the root; by its last name if it lies elsewhere."""
        root, folder = self.root.resolve(), folder.resolve()
        return folder.relative_to(root).as_posix() if folder.is_relative_to(root) else folder.name


def collect_runs(root: Path) -> list[Run]:
    """Every run below a folder that has a `run.json`, in the order of arms and seeds.

    Example:
        ```python
        >>> for run in collect_runs(Path("runs")):
        ...     print(run.folder, run.score("test", run.task.metric))
        ```

    Raises:
        ValueError: a file of a run that cannot be read; the message names it.
    """
    return read_runs(root).records


def read_runs(root: Path) -> RunsFolder:
    """Every run below a folder, failed ones included, and the runs that its studies ask for.

    Predictions are not read yet.

    Raises:
        ValueError: no such folder, no run in it, or a file of a run that is missing, cannot be read or is of another
            format; the message names it.
    """
    if not root.is_dir():
        raise ValueError(f"{root}: no such folder")
    planned = list(_planned(root))
    known = {run.folder.resolve(): run.specification for run in planned}
    records, failures = [], []
    for folder, names in _run_folders(root):
        if names == {run_files.FAILURE}:
            failures.append(_read_failure(folder, known.get(folder.resolve(), {})))
            continue
        run = Run.open(folder)
        records.append(run)
        if run.state == "failed":
            failures.append(_read_failure(folder, run.specification))
    if not records and not failures:
        raise ValueError(f"{root}: holds no run; a run's folder has a {run_files.RUN}")
    records.sort(key=lambda r: (arm_rank(r.specification["arm"]), r.specification["seed"]))
    return RunsFolder(root, records, failures, planned)


def _run_folders(root: Path) -> Iterator[tuple[Path, set[str]]]:
    """Folders that hold a file of a run, with the names of these; folders inside a run and hidden ones are skipped."""
    files = {run_files.RUN, run_files.RESULTS, run_files.FAILURE, run_files.LOG}
    for path, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if run_files.PRETRAINING in names:  # a pre-training has a log and results, but is no run of a task
            folders.clear()
        elif held := files & set(names):
            folders.clear()
            yield Path(path), held


def _read_failure(folder: Path, specification: dict[str, Any]) -> Failure:
    path = folder / run_files.FAILURE
    content = run_files.read_json(path)
    for name in ("error", "attempts", "time"):
        if name not in content:
            raise ValueError(f"{path}: has no {name!r}; it must have error, attempts and time")
    return Failure(folder, str(content["error"]), int(content["attempts"]), str(content["time"]), specification)


def _planned(root: Path) -> Iterator[Planned]:
    for path in sorted((root / run_files.PLANS).glob("*.json")):
        study = read_named(path)
        for i, run in enumerate(study.get("runs", [])):
            try:
                specification = {name: run[name] for name in SPECIFICATION} | {"overrides": run.get("overrides", {})}
                yield Planned(str(study.get("study", path.stem)), root / run["folder"], specification)
            except KeyError as error:
                raise ValueError(f"{path}, run {i}: has no {error}") from None
