"""Folders of runs -> records: what was ordered, what came out, what failed, what is still to be run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import run_files
from ..arms import ARMS
from ..runs.run import SPECIFICATION, Run, checked_format
from ..runs.spec import RunSpec

STUDIES = "studies"


@dataclass(frozen=True)
class Planned:
    """A run that a study asks for, and the folder it would be in."""

    study: str
    folder: Path
    spec: RunSpec

    @property
    def specification(self) -> dict[str, Any]:
        """The spec as a run's record has it, as far as it is known before the run."""
        return {**{name: getattr(self.spec, name) for name in SPECIFICATION}, "overrides": self.spec.overrides}


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
    records: list[Run]
    failures: list[Failure]
    planned: list[Planned]

    def missing(self) -> list[Planned]:
        """Runs that a study asks for and that have neither finished nor failed, each once."""
        settled = {r.folder.resolve() for r in self.records if r.results is not None}
        settled |= {failure.folder.resolve() for failure in self.failures}
        found = {run.folder.resolve(): run for run in self.planned if run.folder.resolve() not in settled}
        return list(found.values())


def collect_runs(root: Path) -> list[Run]:
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
        record = Run.open(folder) if names != {run_files.FAILURE} else None
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


def _read_failure(folder: Path, specification: dict[str, Any]) -> Failure:
    path = folder / run_files.FAILURE
    found = run_files.read_json(path)
    for name in ("error", "attempts", "time"):
        if name not in found:
            raise ValueError(f"{path}: it does not say {name!r}; it holds error, attempts and time")
    return Failure(folder, str(found["error"]), int(found["attempts"]), str(found["time"]), specification)


def _planned(root: Path) -> Iterator[Planned]:
    for path in sorted((root / STUDIES).glob("*.json")):
        study = checked_format(path, run_files.read_json(path))
        for i, run in enumerate(study.get("runs", [])):
            try:
                spec, folder = RunSpec.from_json(run), root / run["folder"]
            except KeyError as error:
                raise ValueError(f"{path}, run {i}: it does not say {error}") from None
            yield Planned(str(study.get("study", path.stem)), folder, spec)
