"""Trains the missing runs of a study, in this process or in several.

A process holds the lock file of the run that it trains. The operating system frees the lock of a process that died.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from .. import run_files
from ..arms import BASELINE
from ..processor import TimeLimitReached, deadline
from ..protocols import PROBE
from ..runs.run import OF_TASK, Run
from ..runs.spec import LEFT_OUT, OTHER_FOLDER, RunSpec, usual_eval_steps
from ..runs.writer import RunWriter
from ..tasks import get_task, rows_folder
from .plan import FORMAT, Study

LOCKS = ".locks"  # folder below the runs
WORKER = "BERTX_STUDY_WORKER"  # set in the environment of several processes that share a study
_POLL = 2.0  # seconds between checks of other processes' runs


@dataclass(frozen=True)
class Outcome:
    """What became of a run: `finished`, `there` (finished by another process), `failed` (with the error), `elsewhere`
    (another process trains it) or `left`.

    A run is left when the time limit ends: it was not started, or it saved a checkpoint and stopped.
    """

    run: RunSpec
    state: str
    seconds: float = 0.0
    error: str = ""


Report = Callable[[Outcome], None]  # called at the end of each run


@dataclass(frozen=True)
class StudyContext:
    """Where a study writes its runs, where their data lies, and how runs are started.

    Args:
        root: the folder of all runs.
        data: a folder of data sets, one a task, as `bertx data build` makes them. Other tasks are looked up in the
            package and on the Hub.
        threads: CPU threads of a run; by default all cores.
        launch: a command that starts each run in processes of its own, e.g. `accelerate launch --num_processes 4`.

    Raises:
        ValueError: there is no program of that name.
    """

    root: Path
    data: Path | None = None
    threads: int | None = None
    launch: str | None = None

    def __post_init__(self) -> None:
        try:
            program = None if self.launch is None else next(iter(shlex.split(self.launch)), "")
        except ValueError as error:
            raise ValueError(f"--launch {self.launch!r}: {error}") from None
        if program is not None and shutil.which(program) is None:
            raise ValueError(f"--launch {self.launch!r}: there is no program {program!r}; e.g. 'accelerate launch'")

    def data_dir(self, task: str) -> str | None:
        rows = rows_folder(task)
        if rows is not None or self.data is None:
            return rows
        return str(self.data / task) if (self.data / task).is_dir() else None


def is_finished(run: RunSpec, root: Path, fingerprint: str | None = None) -> bool:
    """Whether the folder holds this run, finished.

    Args:
        fingerprint: of the data that the run would be trained on now.

    Raises:
        ValueError: it holds another one: the same cell by other hyperparameters, or a file that cannot be read.
    """
    folder = run.folder(root)
    if not (folder / run_files.RUN).is_file():
        return False
    recorded, task = Run.open(folder), get_task(run.task)
    record = {**LEFT_OUT, **recorded.specification, **(recorded.specification.get("hyperparameters") or {})}
    asked = run.hyperparameters()
    results = recorded.results or {}
    rows = results.get("train_rows", results.get("train_items"))
    if rows is not None and "eval_steps" in record:  # of a training
        asked = {"eval_steps": usual_eval_steps(rows, asked["global_batch_size"], asked["logging_steps"]), **asked}
    asked = {name: value for name, value in asked.items() if name in record}
    _compare(folder, "by other hyperparameters", record, asked)
    if fingerprint is not None:
        _compare(folder, "on other data", {"sha256": recorded.fingerprint[:12]}, {"sha256": fingerprint[:12]})
    of_task = {name: getattr(task, name) for name in OF_TASK if run.window is None or name != "max_length"}
    _compare(folder, "of another task", vars(recorded.task), of_task)
    if recorded.results is None:
        return False
    run_files.check_run(folder, content=False)
    return True


def _compare(folder: Path, what: str, there: dict[str, Any], asked: dict[str, Any]) -> None:
    for name, value in asked.items():
        if there[name] != value:
            raise ValueError(
                f"{folder} holds a run {what}: {name} is {there[name]!r} there, {value!r} asked. Choose {OTHER_FOLDER}"
            )


def write_plan(study: Study, root: Path) -> None:
    """Records what the study consists of, so that a report can count what is missing.

    Raises:
        ValueError: the folder's plans were written in another format.
    """
    for path in sorted((root / run_files.PLANS).glob("*.json")):
        file_format = run_files.read_json(path).get("format")
        if file_format != FORMAT:
            raise ValueError(f"{path}: format {file_format!r}, this version writes {FORMAT}; choose another --runs")
    runs = [run.to_json() for run in study.runs]
    plan = {"format": FORMAT, "study": study.name, "about": study.about, "choose_by": study.choose_by, "runs": runs}
    run_files.write_json(root / run_files.PLANS / f"{study.name}.json", plan)


def missing(study: Study, context: StudyContext) -> list[RunSpec]:
    """The runs that are not finished, in the study's order.

    Raises:
        ValueError: a folder holds a run of another order or on other data.
    """
    fingerprint = cache(partial(_fingerprint, context))

    def to_do(run: RunSpec) -> bool:
        started = (run.folder(context.root) / run_files.RUN).is_file()
        return not (started and is_finished(run, context.root, fingerprint(run.task, run.data_split)))

    return [run for run in study.runs if to_do(run)]


def _fingerprint(context: StudyContext, task: str, split: str) -> str | None:
    """The fingerprint of the current data; None without it, so that finished studies can be listed."""
    from ..data.task_data import load_task_data

    try:
        return load_task_data(get_task(task), split, context.data_dir(task)).fingerprint
    except FileNotFoundError:
        return None


def outcome_of(run: RunSpec, root: Path) -> Outcome:
    """The outcome of a run that no process trains any more, read from its folder."""
    folder = run.folder(root)
    if (folder / run_files.RESULTS).is_file():
        return Outcome(run, "finished")
    failure = folder / run_files.FAILURE
    if failure.is_file():
        return Outcome(run, "failed", error=run_files.read_json(failure)["error"])
    return Outcome(run, "left")


def execute(run: RunSpec, context: StudyContext) -> Outcome:
    """Trains one run, unless it is finished or another process trains it. An error is recorded in its folder."""
    lock = context.root / LOCKS / f"{run.folder().as_posix().replace('/', '--')}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock, timeout=0):
            return _execute(run, context)
    except Timeout:
        return Outcome(run, "elsewhere")


def _execute(run: RunSpec, context: StudyContext) -> Outcome:
    started = time.perf_counter()
    try:
        if is_finished(run, context.root):
            return Outcome(run, "there")
        _train(run, context)
    except run_files.LockedRunError:
        return Outcome(run, "elsewhere")
    except TimeLimitReached:
        (run.folder(context.root) / run_files.FAILURE).unlink(missing_ok=True)
        return Outcome(run, "left")
    except Exception as error:  # a failed run must not stop the others; its folder has the error
        message = " ".join(f"{type(error).__name__}: {error}".split())
        RunWriter(run.folder(context.root)).failure(message)
        return Outcome(run, "failed", time.perf_counter() - started, message)
    (run.folder(context.root) / run_files.FAILURE).unlink(missing_ok=True)
    return Outcome(run, "finished", time.perf_counter() - started)


def _train(run: RunSpec, context: StudyContext) -> None:
    data_dir = context.data_dir(run.task)
    if run.arm == BASELINE:
        from threadpoolctl import threadpool_limits

        from ..baselines.runs import run_baseline

        with threadpool_limits(context.threads):
            run_baseline(run, data_dir, context.root)
        return
    if run.protocol == PROBE:
        from ..probing.runs import run_probes

        run_probes([run], data_dir, context.root, threads=context.threads)
        return
    arguments = run.arguments(context.root, data_dir)
    if context.threads is not None:
        arguments += ["--threads", str(context.threads)]
    if context.launch is not None:
        _train_in_processes([*shlex.split(context.launch), "-m", "hf_bertx.launch", *arguments])
        return
    from ..launch import train_all  # torch

    train_all([*arguments, "--disable_tqdm", str(not sys.stderr.isatty())])


def _train_in_processes(command: list[str]) -> None:
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, errors="replace")
    sys.stderr.write(done.stderr)
    if done.returncode:
        if time.time() >= deadline():
            raise TimeLimitReached
        lines = [line for line in done.stderr.splitlines() if "error" in line.lower()]
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {lines[-1] if lines else 'no message'}")


def execute_in_order(runs: Iterable[RunSpec], context: StudyContext, report: Report) -> list[Outcome]:
    """Trains runs one after the other. It waits for those of other processes, and takes them over if these die."""
    waiting, outcomes = list(runs), []
    while waiting:
        later = []
        for run in waiting:
            outcome = execute(run, context) if time.time() < deadline() else Outcome(run, "left")
            if outcome.state == "elsewhere":
                later.append(run)
            else:
                outcomes.append(outcome)
                report(outcome)
        if len(later) == len(waiting):
            time.sleep(_POLL)
        waiting = later
    return outcomes


def execute_in_processes(command: list[str], workers: int, meanwhile: Callable[[], None]) -> int:
    """Starts the same command several times; lock files share the work. Returns the largest exit status.

    Args:
        meanwhile: is called again and again until all have ended.
    """
    environment = {**os.environ, WORKER: "1", "OMP_NUM_THREADS": "1"}  # each worker sets its own number of threads
    started = [subprocess.Popen(command, env=environment) for _ in range(workers)]
    try:
        while any(process.poll() is None for process in started):
            meanwhile()
            time.sleep(_POLL / 10)
        return max(process.returncode for process in started)
    finally:
        for process in started:
            process.terminate()
