"""`make bench`: every benchmark at a size that fits, then each goal beside what was measured.

    python benchmarks/run.py [--gpu] [--only finetuning startup] [--data_dir DIR] [--output DIR]

Writes the tables of benchmarks/README.md anew. Exits with 1 when a goal is missed or was not measured, or a benchmark
failed. On two cores it takes a quarter of an hour.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import table
from goals import ABSENT, CPU_GOALS, GPU_GOALS, MISSED, RESULTS, lines, outcomes

FOLDER = Path(__file__).resolve().parent
CPU = {
    "startup": "--rounds 2",
    "tokenization": "--rounds 3",
    "prediction": "--peer_items 100 --rounds 3",
    "finetuning": "--cases splice maestro h3 --loops ours stock --rounds 10 --seconds 30",
}
GPU = {
    "finetuning": "--device cuda --cases h3 h3-base --loops ours compiled stock --rounds 15 --seconds 6 "
    "--compile_limit 120",
}


def run_all(chosen: dict[str, str], options: argparse.Namespace) -> list[str]:
    """Runs the benchmarks; returns those that failed."""
    failed = []
    # the Makefile keeps tokenizers to one thread; their users have all of them
    environment = {name: value for name, value in os.environ.items() if name != "TOKENIZERS_PARALLELISM"}
    for name, arguments in chosen.items():
        started = time.perf_counter()
        command = [str(FOLDER / f"{name}.py"), *arguments.split(), "--output", str(options.output / f"{name}.json")]
        if name == "quality":
            command += ["--raw_dir", str(options.raw_dir)]
        if name == "finetuning" and options.data_dir is not None:
            command += ["--data_dir", str(options.data_dir)]
        print(f"== {' '.join(command)}".replace(str(FOLDER.parent), "."), flush=True)
        if subprocess.run([sys.executable, *command], env=environment).returncode:
            failed.append(name)
        print(f"== {time.perf_counter() - started:.0f} s\n", flush=True)
    return failed


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpu", action="store_true", help="what a GPU is for, instead of what a CPU is for")
    parser.add_argument("--only", nargs="*", metavar="NAME", help=f"some of: {', '.join(CPU)}; none: the table alone")
    parser.add_argument("--data_dir", type=Path, help="holds a folder of Parquet files for each task")
    parser.add_argument("--raw_dir", type=Path, help="holds H3.txt: measures the time to a good model too (minutes)")
    parser.add_argument("--output", type=Path, help="folder of the JSON files; default: benchmarks/results")
    options = parser.parse_args(argv)
    known, folder = (GPU if options.gpu else CPU), (RESULTS / "gpu" if options.gpu else RESULTS)
    options.output = options.output or folder
    if options.raw_dir is not None and not options.gpu:
        known = {**known, "quality": ""}
    unknown = [name for name in options.only or [] if name not in known]
    if unknown:
        parser.error(f"unknown benchmark {unknown[0]!r}; known: {', '.join(known)}")
    options.output.mkdir(parents=True, exist_ok=True)
    failed = run_all({n: calls for n, calls in known.items() if options.only is None or n in options.only}, options)
    judged = outcomes(GPU_GOALS if options.gpu else CPU_GOALS, options.output)
    print("\n".join(lines(judged)))
    if options.output == folder:
        table.main()
    for name in failed:
        print(f"failed: {name}")
    return int(bool(failed) or any(verdict in (MISSED, ABSENT) for *_, verdict in judged))


if __name__ == "__main__":
    sys.exit(main())
