"""`make bench`: every benchmark at a size that fits, then what was promised beside what was measured.

The tables of benchmarks/README.md are written anew.

    python benchmarks/run.py [--gpu] [--only finetuning startup] [--proteins FASTA] [--data_dir DIR] [--output DIR]

Exits with 1 when a goal is missed or was not measured, or a benchmark failed; a goal that this class of machine
cannot be held to says so. On two cores it takes a quarter of an hour.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import table
from goals import ABSENT, CPU_GOALS, GPU_GOALS, MISSED, lines, outcomes, results_folder

HERE = Path(__file__).resolve().parent
# Each benchmark with its arguments; a goal of its own does not end a run, the table does.
CPU: dict[str, list[str]] = {
    "startup": ["startup.py", "--rounds", "2"],
    "tokenization": ["tokenization.py", "--rounds", "3"],
    "data_building": ["data_building.py", "--sequences", "3000", "--rounds", "3"],
    "inference": ["inference.py", "--peer_items", "100", "--seconds", "8", "--rounds", "2"],
    "prediction_memory": ["prediction_memory.py"],
    "finetuning": "finetuning.py --cases splice maestro h3 --rounds 10 --seconds 30".split(),
}
GPU: dict[str, list[str]] = {
    "finetuning": "finetuning.py --device cuda --rounds 15 --seconds 6".split(),
}


def _data(name: str, options: argparse.Namespace) -> list[str]:
    if name == "finetuning" and options.data_dir is not None:
        return ["--data_dir", str(options.data_dir)]
    return ["--proteins", str(options.proteins)] if name == "inference" and options.proteins is not None else []


def run_all(chosen: dict[str, list[str]], options: argparse.Namespace, tell: Callable[[str], None]) -> list[str]:
    """Runs the benchmarks, one process each; gives those that did not come to an end."""
    failed = []
    for name, argv in chosen.items():
        started = time.perf_counter()
        output = options.output / (
            f"{name}-{'gpu' if options.gpu else 'cpu'}.json" if name == "finetuning" else f"{name}.json"
        )
        made = [sys.executable, str(HERE / argv[0]), *argv[1:], "--output", str(output), *_data(name, options)]
        tell(f"== {' '.join(made[1:])}".replace(str(HERE.parent), "."))
        before = output.stat().st_mtime_ns if output.is_file() else 0
        # the Makefile keeps tokenizers to one thread; its users have all of them
        environment = {name: value for name, value in os.environ.items() if name != "TOKENIZERS_PARALLELISM"}
        done = subprocess.run(made, env=environment)
        # a goal that is missed ends a benchmark with 1, after its file is written
        if done.returncode not in (0, 1) or not output.is_file() or output.stat().st_mtime_ns == before:
            failed.append(name)
        tell(f"== {time.perf_counter() - started:.0f} s\n")
    return failed


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpu", action="store_true", help="what a GPU is for, instead of what a CPU is for")
    parser.add_argument("--only", nargs="*", metavar="NAME", help=f"some of: {', '.join(CPU)}; none: the table alone")
    parser.add_argument("--data_dir", type=Path, help="holds a folder of Parquet files for each task")
    parser.add_argument("--proteins", type=Path, help="FASTA file; by default proteins are drawn")
    parser.add_argument(
        "--output", type=Path, help="folder of the JSON files; by default one for this class of machine"
    )
    options = parser.parse_args(argv)
    known, own = (GPU if options.gpu else CPU), results_folder("cuda" if options.gpu else "cpu")
    options.output = options.output or own
    unknown = [name for name in options.only or [] if name not in known]
    if unknown:
        parser.error(f"unknown benchmark {unknown[0]!r}; known: {', '.join(known)}")
    chosen = {name: calls for name, calls in known.items() if options.only is None or name in options.only}
    failed = run_all(chosen, options, lambda line: print(line, flush=True))
    found = outcomes(GPU_GOALS if options.gpu else CPU_GOALS, options.output)
    print("\n".join(lines(found)))
    if options.output == own:
        table.main([])
    for name in failed:
        print(f"failed: {name}")
    return int(bool(failed) or any(outcome.verdict in (MISSED, ABSENT) for outcome in found))


if __name__ == "__main__":
    sys.exit(main())
