"""How long until something happens: importing, `bertx --help`, the first training step, planning a large study.

    python benchmarks/startup.py [--rounds 5] [--output FILE.json]

Each round starts new processes, one of each command after the other; the first round, which warms the files, is not
counted. The time of the import is that of the statement, without Python's own start.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from counts import at_least_one

from hf_bertx import run_files
from hf_bertx.run_order import machine, versions

ROOT = Path(__file__).resolve().parent.parent
PLANNED, LEFT = 10_000, 10
_IMPORT = "import time; s = time.perf_counter(); import hf_bertx; print(time.perf_counter() - s)"
_STUDY = "about: how planning scales\ntasks: [dna-splice]\narms: [bert, rand]\nseeds: [{seeds}]\n"
_STUDY_FILE = "large.yaml"
_WAIT = 300.0  # seconds for a first step


def import_seconds() -> float:
    return float(_python("-c", _IMPORT))


def command_seconds(*argv: str) -> float:
    started = time.perf_counter()
    _python("-m", "hf_bertx.cli", *argv)
    return time.perf_counter() - started


def first_step_seconds(more: tuple[str, ...] = ()) -> float:
    """From starting train.py to the log of its first step.

    Raises:
        RuntimeError: it ended without one, or none came within five minutes.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        argv = ["--task", "dna-splice", "--logging_steps", "1", "--output_dir", folder, *more]
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "train.py"), *argv],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=_environment(),
        )
        try:
            while not list(Path(folder).rglob(run_files.LOG)):
                seconds = time.perf_counter() - started
                if process.poll() is not None or seconds > _WAIT:
                    raise RuntimeError(
                        f"train.py trained no step; it ended with {process.poll()} after {seconds:.0f} s"
                    )
                time.sleep(0.01)
            return time.perf_counter() - started
        finally:
            process.kill()
            process.wait()


def planning_seconds(runs: int = PLANNED, left: int = LEFT) -> float:
    """Finding out what of a study is missing, and writing its plan, where all but a few runs are finished."""
    from hf_bertx.study.execution import Where, missing, write_plan
    from hf_bertx.study.plan import load_study

    folder = Path(_large_study(runs, left).name)
    started = time.perf_counter()
    study = load_study(str(folder / _STUDY_FILE))
    found = missing(study, Where(folder / "runs"))
    write_plan(study, folder / "runs")
    seconds = time.perf_counter() - started
    if len(found) != left:
        raise RuntimeError(f"{len(found)} runs are missing in the plan, {left} are")
    return seconds


@lru_cache(maxsize=1)
def _large_study(runs: int, left: int) -> tempfile.TemporaryDirectory[str]:
    """A study's file and the folders of its finished runs, for all rounds: writing them takes longer than planning."""
    from hf_bertx.study.plan import expected_hyperparameters, load_study
    from hf_bertx.task_data import load_task_data
    from hf_bertx.tasks import TASKS

    folder = tempfile.TemporaryDirectory()
    file, root = Path(folder.name) / _STUDY_FILE, Path(folder.name) / "runs"
    file.write_text(_STUDY.format(seeds=", ".join(map(str, range(runs // 2)))))
    fingerprint = load_task_data(TASKS["dna-splice"]).fingerprint
    planned = load_study(str(file)).runs
    # a record of a run of this study says all that a study compares
    orders = {run.arm: {"hyperparameters": expected_hyperparameters(run)} for run in planned}
    for run in planned[:-left]:
        order = json.dumps({"specification": orders[run.arm], "data_fingerprint": fingerprint})
        (root / run.folder).mkdir(parents=True)
        (root / run.folder / run_files.RUN).write_text(order)
        (root / run.folder / run_files.RESULTS).write_text("{}")
    return folder


def _environment() -> dict[str, str]:
    path = os.pathsep.join(part for part in (str(ROOT), os.environ.get("PYTHONPATH")) if part)
    return {**os.environ, "PYTHONPATH": path}


def _python(*argv: str) -> str:
    done = subprocess.run([sys.executable, *argv], capture_output=True, text=True, env=_environment(), cwd=ROOT)
    if done.returncode:
        raise RuntimeError(f"python {' '.join(argv)} failed: {done.stderr.strip()[-500:]}")
    return done.stdout


CASES: dict[str, Callable[[], float]] = {
    "import hf_bertx": import_seconds,
    "bertx --help": lambda: command_seconds("--help"),
    "bertx tasks": lambda: command_seconds("tasks"),
    "first training step": first_step_seconds,
    "planning 10,000 runs": planning_seconds,
}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=at_least_one, default=5)
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=tuple(CASES), metavar="CASE")
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    options = parser.parse_args(argv)
    seconds: dict[str, list[float]] = {name: [] for name in options.cases}
    for counted in range(options.rounds + 1):
        for name in options.cases:
            taken = CASES[name]()
            if counted:
                seconds[name].append(taken)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"seconds, median of {options.rounds} rounds (lowest to highest)")
    for name, values in seconds.items():
        print(f"  {name:<24}{medians[name]:>8.3f}   ({min(values):.3f} to {max(values):.3f})")
    if options.output is not None:
        figures = {"median_seconds": medians, "seconds": seconds}
        run_files.write_json(options.output, {**figures, "machine": machine(), "versions": versions()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
