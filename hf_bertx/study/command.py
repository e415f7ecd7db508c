"""`bertx study`: prints the plan and its cost, runs what is missing, prints what came out."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from .. import run_files
from ..arms import BASELINE
from ..probing.seeds import LEFT_OUT
from ..processor import DEADLINE, deadline, usable_cores
from ..protocols import PROBE
from ..runs.spec import RunSpec, option_words
from ..tasks import get_task
from .archive import check_name, read_archive, write_archive
from .choice import write_choices
from .estimate import estimate, gpu_room, measured_seconds
from .execution import (
    WORKER,
    Outcome,
    StudyContext,
    execute_in_order,
    execute_in_processes,
    missing,
    outcome_of,
    write_plan,
)
from .plan import Study, load_study
from .ray_cluster import execute_on_ray
from .silent_hub import offline_if_silent

LEFT = 75  # exit status if the time limit left runs: EX_TEMPFAIL of sysexits.h
_RESERVE = 30.0  # seconds of a time limit that are kept for checkpoints and the archive; a tenth of it at most
_SHOWN = 20  # planned runs that a dry run lists; the rest is counted


def run_study(
    name: str,
    context: StudyContext,
    executor: str = "local",
    workers: int | None = None,
    dry_run: bool = False,
    series: str | None = None,
    time_limit: float | None = None,
    archive: Path | None = None,
    from_archive: Path | None = None,
) -> int:
    """Runs what is missing of a study.

    The arguments are the options of `bertx study`; `time_limit` is in seconds.

    Returns:
        0, 1 if a run failed, or [`LEFT`] if runs are left because the time was over.

    Raises:
        ValueError: the file, or what stands in the folder of the runs, does not allow it.
    """
    study = load_study(name, series)
    for file in filter(None, (archive, from_archive)):
        check_name(file)
    if time_limit is not None:
        os.environ[DEADLINE] = str(time.time() + time_limit - min(_RESERVE, time_limit / 10))
    with offline_if_silent(study, context), tempfile.TemporaryDirectory() as scratch:
        archived = replace(context, root=Path(scratch)) if dry_run else context  # a dry run adds nothing to the runs
        if from_archive is not None:
            added = read_archive(from_archive, archived.root, failed=False)
            print(f"{added} finished runs {'in' if dry_run else 'added from'} {from_archive}")
        todo = missing(study, context)
        _check_options(todo, context.root)
        if dry_run:
            todo = missing(replace(study, runs=tuple(todo)), archived)
            _print_counts(study, len(todo))
            if todo:
                measured = measured_seconds(study.runs, context.root, archived.root)
                _print_estimate(todo, estimate(todo, measured, context), workers or 1)
            _print_lacking(todo, context)
            return 0
    progress = _Progress(study, len(todo), context.root, archive)
    if os.environ.get(WORKER) == "1":  # a worker process; the first process prints and writes the plan
        return _status(execute_in_order(todo, context, progress))
    _print_counts(study, len(todo))
    write_plan(study, context.root)
    progress.archive_runs(at_once=True)
    status = 0
    if todo and executor == "ray":
        status = _summary(execute_on_ray(todo, context, progress, workers), context.root)
    elif todo and (workers or 1) > 1:
        status = _run_workers(name, context, workers or 1, series, progress.archive_runs)
        # a worker ended by a signal has a negative status; its runs decide the status
        status = max(status, _summary([outcome_of(run, context.root) for run in todo], context.root))
    elif todo:
        status = _summary(execute_in_order(todo, context, progress), context.root)
    progress.archive_runs(at_once=True)
    for choice in write_choices(study, context.root):
        print(choice.line())
    return status


def _check_options(runs: Iterable[RunSpec], root: Path) -> None:
    """Reads the command line of each training, so that a study with a wrong option does not begin.

    Raises:
        ValueError: an option that a run would refuse; the message names the first run that has it.
    """
    from ..runs.arguments import parse_arguments

    read = set()
    for run in runs:
        options = run.task, run.protocol, repr(run.overrides)
        if run.arm == BASELINE or run.protocol == PROBE or options in read:
            continue
        read.add(options)
        try:
            parse_arguments(run.arguments(root))
        except ValueError as error:
            raise ValueError(f"{run.label}: {error}") from None


def _print_counts(study: Study, left: int) -> None:
    planned = len(study.runs)
    print(f"study {study.name}: {planned} runs, {planned - left} finished, {left} to do")
    if study.left_out:
        print(f"{study.left_out} {LEFT_OUT}")


def _run_workers(
    name: str, context: StudyContext, workers: int, series: str | None, meanwhile: Callable[[], None]
) -> int:
    threads = context.threads or max(1, usable_cores() // workers)
    options = {"runs": context.root, "threads": threads, "data_dir": context.data}
    options |= {"launch": context.launch, "series": series}
    given = option_words({option: value for option, value in options.items() if value is not None})
    return execute_in_processes([sys.executable, "-m", "hf_bertx.cli", "study", name, *given], workers, meanwhile)


def _print_estimate(todo: list[RunSpec], seconds: list[float | None], workers: int) -> None:
    for run, cost in list(zip(todo, seconds, strict=True))[:_SHOWN]:
        print(f"  {run.label}: {'not measured' if cost is None else _duration(cost)}")
    if len(todo) > _SHOWN:
        print(f"  and {len(todo) - _SHOWN} more")
    known = [cost for cost in seconds if cost is not None]
    parts = []
    if known:
        at_once = f", {workers} at once" if workers > 1 else ""
        # no speed-up is assumed, because processes share the cores
        parts.append(f"about {_duration(sum(known))} of this machine's time{at_once}")
    if len(known) < len(seconds):
        parts.append(f"{len(seconds) - len(known)} runs without a measurement")
    if parts:
        print(", and ".join(parts))
    fit = gpu_room()
    if fit is not None:
        print(f"the GPU has memory for {fit} of these at once: --workers {fit}; stop adding where it is busy at 90%")


def _print_lacking(todo: list[RunSpec], context: StudyContext) -> None:
    """Says of which tasks there is no data yet."""
    from ..data.data_copies import load_copy

    lacking = []
    for name, split in dict.fromkeys((run.task, run.data_split) for run in todo):
        try:
            load_copy(get_task(name), split, context.data_dir(name), None)
        except FileNotFoundError:
            lacking.append(name if split == "paper" else f"{name} ({split})")
    if lacking:
        print(f"no data of {', '.join(lacking)}: a run has to fetch it, or build it with `bertx data build TASK "
              "--output DATA/TASK` and pass --data_dir DATA")  # fmt: skip


class _Progress:
    """Prints a line as each run ends, with an estimate of the time left, and writes the archive again."""

    def __init__(self, study: Study, count: int, root: Path, archive: Path | None) -> None:
        self.study, self.root, self.archive = study, root, archive
        self.count, self.done, self.begun = count, 0, time.perf_counter()
        self._archived: list[bool] | None = None  # which files of runs there were at the last write
        self._next = 0.0  # earliest time of the next write

    def archive_runs(self, at_once: bool = False) -> None:
        """Writes the archive again if runs ended since; unless `at_once`, in a tenth of the time at most."""
        begun = time.perf_counter()
        if self.archive is None or (begun < self._next and not at_once):
            return
        names = (run_files.RESULTS, run_files.FAILURE)
        settled = [(run.folder(self.root) / name).is_file() for run in self.study.runs for name in names]
        if settled != self._archived:
            write_archive(self.archive, self.root, self.study.runs)
        self._archived, ended = settled, time.perf_counter()
        self._next = ended + 9 * (ended - begun)

    def __call__(self, outcome: Outcome) -> None:
        self.done += 1
        if outcome.state in ("left", "there"):
            return
        self.archive_runs()
        left = (time.perf_counter() - self.begun) / self.done * (self.count - self.done)
        what = outcome.error if outcome.state == "failed" else _duration(outcome.seconds)
        width = len(str(self.count))
        place = f"[{self.done:{width}}/{self.count}] {outcome.state}"
        print(f"{place}: {outcome.run.label}: {what} ({_duration(left)} left)", flush=True)


def _summary(outcomes: list[Outcome], root: Path) -> int:
    count = Counter(outcome.state for outcome in outcomes)
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    finished = count["finished"] + count["there"]
    print(f"{finished} finished, {len(failed)} failed. bertx report {root} --output DIR makes the tables")
    for outcome in failed:
        print(f"  failed: {outcome.run.label}: {outcome.error}")
    if count["left"]:
        why = "the time was over" if time.time() >= deadline() else "a worker ended"
        print(f"  {count['left']} left: {why}; the same command goes on with them")
    if failed:
        print(f"  why stands in {run_files.FAILURE} of each; the same command tries them again")
    return _status(outcomes)


def _status(outcomes: list[Outcome]) -> int:
    states = {outcome.state for outcome in outcomes}
    return LEFT if "left" in states else int("failed" in states)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
