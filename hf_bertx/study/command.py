"""`bertx study`: says what would run and how long it takes, runs what is missing, says what came out."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from .. import run_files
from ..runs.spec import RunSpec
from ..runs.time_limit import DEADLINE
from .archive import check_name, read_archive, write_archive
from .choice import Choice, write_choices
from .estimate import estimate, gpu_room
from .execution import Outcome, Where, execute_here, execute_in_processes, execute_on_ray, missing, write_plan
from .plan import Study, load_study

LEFT = 75  # exit status where runs are left because the time was over: try again later, as sysexits.h calls it
_RESERVE = 30.0  # seconds of a time limit that are kept for checkpoints and the archive; a tenth of it at most
_SHOWN = 20  # planned runs that a dry run lists; the rest is counted


def run_study(
    name: str,
    where: Where,
    executor: str,
    workers: int | None,
    dry_run: bool,
    series: str | None = None,
    time_limit: float | None = None,
    archive: Path | None = None,
    from_archive: Path | None = None,
) -> int:
    """Runs what is missing of a study.

    Args:
        name: of a study that ships with the package, or a YAML file.
        executor: `local` or `ray`.
        workers: runs at once.
        series: a folder of checkpoints that takes the place of the study's own series.
        time_limit: in seconds. Shortly before it no run is started, and those that run save a checkpoint and stop.
        archive: a `.tar.xz` that holds all finished runs, without weights; it is written again as each run finishes.
        from_archive: such a file, whose runs are put into the folder of the runs first.

    Returns:
        0, 1 if a run failed, or [`LEFT`] if runs are left because the time was over.

    Raises:
        ValueError: the file, or what stands in the folder of the runs, does not allow it.
    """
    study = load_study(name, series)
    for file in (archive, from_archive):
        if file is not None:
            check_name(file)
    if from_archive is not None:
        print(f"{read_archive(from_archive, where.root)} finished runs added from {from_archive}")
    if time_limit is not None:
        os.environ[DEADLINE] = str(time.time() + time_limit - min(_RESERVE, time_limit / 10))
    todo = missing(study, where)
    child = os.environ.get("BERTX_STUDY_WORKER") == "1"  # one of several processes; the first has told the plan
    if not child:
        print(f"study {study.name}: {len(study.runs)} runs, {len(study.runs) - len(todo)} finished, {len(todo)} to do")
    if dry_run:
        _tell_plan(study, todo, where, workers or 1)
        return 0
    if not child:
        write_plan(study, where.root)
    status = 0

    def archived() -> None:
        if archive is not None:
            write_archive(archive, where.root, study.runs)

    if not child:
        archived()
    tell = _Teller(len(todo), archived)
    if not todo:
        pass  # the choices of a grid are told all the same
    elif executor == "ray":
        status = _summary(execute_on_ray(todo, where, tell, workers), where.root)
    elif (workers or 1) > 1 and not child:
        status = _run_children(name, where, workers or 1, series, archive)
    else:
        status = _summary(execute_here(todo, where, tell), where.root)
    if not child:
        _tell_choices(write_choices(study, where.root))
    return status


def _run_children(name: str, where: Where, workers: int, series: str | None, archive: Path | None) -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    command = [sys.executable, "-m", "hf_bertx.cli", "study", name, "--runs", str(where.root)]
    command += ["--threads", str(where.threads or max(1, cores // workers))]
    command += ["--data_dir", str(where.data)] if where.data is not None else []
    command += ["--launch", where.launch] if where.launch is not None else []
    command += ["--series", series] if series is not None else []
    command += ["--archive", str(archive)] if archive is not None else []
    os.environ["BERTX_STUDY_WORKER"] = "1"
    return execute_in_processes(command, workers)


def _tell_plan(study: Study, todo: list[RunSpec], where: Where, workers: int) -> None:
    seconds = estimate(todo, study.runs, where)
    for run, cost in list(zip(todo, seconds, strict=True))[:_SHOWN]:
        print(f"  {run.label}: {'not measured' if cost is None else _duration(cost)}")
    if len(todo) > _SHOWN:
        print(f"  and {len(todo) - _SHOWN} more")
    known = [cost for cost in seconds if cost is not None]
    unknown = len(seconds) - len(known)
    rest = f", and {unknown} runs that nothing measured here is like" if unknown else ""
    at_once = f", {workers} at once" if workers > 1 else ""
    if todo:
        # cores are shared: what several processes gain is little, and not promised
        print(f"about {_duration(sum(known))} of this machine's time{at_once}{rest}")
    fit = gpu_room()
    if fit is not None:
        print(f"the GPU has memory for {fit} of these at once: --workers {fit}; stop adding where it is busy at 90%")


def _tell_choices(choices: list[Choice]) -> None:
    for choice in choices:
        rest = "" if choice.complete else " so far"
        means = ", ".join(f"{variant} {sum(v) / len(v):.4f}" for variant, v in choice.points.items() if v)
        print(f"best{rest} by {choice.by}: {choice.task} {choice.backbone} {choice.arm}: {choice.chosen} ({means})")


class _Teller:
    """Prints a line as each run ends, with the time left by the mean of those before; a finished run is archived."""

    def __init__(self, count: int, archived: Callable[[], None]) -> None:
        self.archived = archived
        self.count, self.done, self.begun = count, 0, time.perf_counter()

    def __call__(self, outcome: Outcome) -> None:
        self.done += 1
        if outcome.state == "left":
            return
        if outcome.state == "finished":
            self.archived()
        left = (time.perf_counter() - self.begun) / self.done * (self.count - self.done)
        what = outcome.error if outcome.state == "failed" else _duration(outcome.seconds)
        width = len(str(self.count))
        place = f"[{self.done:{width}}/{self.count}] {outcome.state}"
        print(f"{place}: {outcome.run.label}: {what} ({_duration(left)} left)", flush=True)


def _summary(outcomes: list[Outcome], root: Path) -> int:
    count = Counter(outcome.state for outcome in outcomes)
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    print(f"{count['finished']} finished, {len(failed)} failed. bertx report {root} --output DIR makes the tables")
    for outcome in failed:
        print(f"  failed: {outcome.run.label}: {outcome.error}")
    if count["left"]:
        print(f"  {count['left']} left: the time was over; the same command goes on with them")
    if failed:
        print(f"  why stands in {run_files.FAILURE} of each; the same command tries them again")
    return LEFT if count["left"] else int(bool(failed))


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
