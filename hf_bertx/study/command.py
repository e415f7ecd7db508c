"""`bertx study`: says what would run and how long it takes, runs what is missing, says what came out."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from pathlib import Path

from .. import run_files
from ..runs.spec import RunSpec
from .choice import Choice, write_choices
from .estimate import estimate
from .execution import Outcome, Where, execute_here, execute_in_processes, execute_on_ray, missing, write_plan
from .plan import Study, load_study

_SHOWN = 20  # planned runs that a dry run lists; the rest is counted


def run_study(
    name: str, where: Where, executor: str, workers: int | None, dry_run: bool, series: str | None = None
) -> int:
    """Runs what is missing of a study.

    Args:
        name: of a study that ships with the package, or a YAML file.
        executor: `local` or `ray`.
        workers: runs at once.
        series: a folder of checkpoints that takes the place of the study's own series.

    Returns:
        0, or 1 if a run failed.

    Raises:
        ValueError: the file, or what stands in the folder of the runs, does not allow it.
    """
    study = load_study(name, series)
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
    if not todo:
        pass  # the choices of a grid are told all the same
    elif executor == "ray":
        status = _summary(execute_on_ray(todo, where, _Teller(len(todo)), workers), where.root)
    elif (workers or 1) > 1 and not child:
        status = _run_children(name, where, workers or 1, series)
    else:
        status = _summary(execute_here(todo, where, _Teller(len(todo))), where.root)
    if not child:
        _tell_choices(write_choices(study, where.root))
    return status


def _run_children(name: str, where: Where, workers: int, series: str | None) -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    command = [sys.executable, "-m", "hf_bertx.cli", "study", name, "--runs", str(where.root)]
    command += ["--threads", str(where.threads or max(1, cores // workers))]
    command += ["--data_dir", str(where.data)] if where.data is not None else []
    command += ["--launch", where.launch] if where.launch is not None else []
    command += ["--series", series] if series is not None else []
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


def _tell_choices(choices: list[Choice]) -> None:
    for choice in choices:
        rest = "" if choice.complete else " so far"
        means = ", ".join(f"{variant} {sum(v) / len(v):.4f}" for variant, v in choice.points.items() if v)
        print(f"best{rest} by {choice.by}: {choice.task} {choice.backbone} {choice.arm}: {choice.chosen} ({means})")


class _Teller:
    """Prints a line as each run ends, with the time left by the mean of those before."""

    def __init__(self, count: int) -> None:
        self.count, self.done, self.begun = count, 0, time.perf_counter()

    def __call__(self, outcome: Outcome) -> None:
        self.done += 1
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
    if failed:
        print(f"  why stands in {run_files.FAILURE} of each; the same command tries them again")
    return 1 if failed else 0


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
