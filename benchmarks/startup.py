"""How long until something happens: importing, `bertx --help`, the first training step, planning a large study.

    python benchmarks/startup.py [--rounds 5] [--output FILE.json]

Each round starts new processes, one of each command after the other; the first round, which warms the files, is not
counted. The time of the import is that of the statement, without Python's own start.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from goals import benchmark

from hf_bertx import run_files

ROOT = Path(__file__).resolve().parent.parent
_ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))}
_IMPORT = "import time; s = time.perf_counter(); import hf_bertx; print(time.perf_counter() - s)"
_STUDY = "about: how planning scales\ntasks: [dna-splice]\narms: [bert, rand]\nseeds: [{seeds}]\n"


def _python(*argv: str) -> str:
    done = subprocess.run([sys.executable, *argv], capture_output=True, text=True, env=_ENVIRONMENT, cwd=ROOT)
    if done.returncode:
        raise RuntimeError(f"python {' '.join(argv)} failed: {done.stderr.strip()[-500:]}")
    return done.stdout


def command_seconds(*argv: str) -> float:
    started = time.perf_counter()
    _python("-m", "hf_bertx.cli", *argv)
    return time.perf_counter() - started


def first_step_seconds() -> float:
    """From starting train.py to the log of its first step."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        argv = [str(ROOT / "train.py"), "--task", "dna-splice", "--logging_steps", "1", "--output_dir", folder]
        started = time.perf_counter()
        with subprocess.Popen([sys.executable, *argv], stderr=subprocess.DEVNULL, env=_ENVIRONMENT) as process:
            try:
                while not list(Path(folder).rglob(run_files.LOG)):
                    if process.poll() is not None:
                        raise RuntimeError(f"train.py ended with {process.returncode} before its first step")
                    time.sleep(0.01)
                return time.perf_counter() - started
            finally:
                process.kill()


def planning_seconds(runs: int = 10_000) -> float:
    """Reading a study of so many runs, finding out which are missing (all), and writing its plan."""
    from hf_bertx.study.execution import StudyContext, missing, write_plan
    from hf_bertx.study.plan import load_study

    with tempfile.TemporaryDirectory() as folder:
        file, root = Path(folder) / "large.yaml", Path(folder) / "runs"
        file.write_text(_STUDY.format(seeds=", ".join(map(str, range(runs // 2)))))
        started = time.perf_counter()
        study = load_study(str(file))
        assert len(missing(study, StudyContext(root))) == runs
        write_plan(study, root)
        return time.perf_counter() - started


CASES: dict[str, Callable[[], float]] = {
    "import hf_bertx": lambda: float(_python("-c", _IMPORT)),
    "bertx --help": lambda: command_seconds("--help"),
    "bertx tasks": lambda: command_seconds("tasks"),
    "first training step": first_step_seconds,
    "planning 10,000 runs": planning_seconds,
}


def measure(options: Any) -> dict[str, Any]:
    seconds: dict[str, list[float]] = {name: [] for name in options.cases}
    for _ in range(options.rounds + 1):
        for name in options.cases:
            seconds[name].append(CASES[name]())
    seconds = {name: values[1:] for name, values in seconds.items()}
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, values in seconds.items():
        print(f"{name:<24}{medians[name]:>8.3f} s ({min(values):.3f} to {max(values):.3f})")
    return {"median_seconds": medians, "seconds": seconds}


if __name__ == "__main__":
    sys.exit(benchmark(__doc__, measure, rounds=5, cases=list(CASES)))
