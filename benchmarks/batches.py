"""What a batch costs: from a run's rows to tensors, by our loader and by the example script's, alternately.

    python benchmarks/batches.py [--cases splice h3 proteins] [--rows 3200] [--rounds 5] [--data_dir DIR]

Each round goes through all rows once with either loader, as the `Trainer` makes it, in the process that trains; no
model computes. Where a GPU is faster than its loader, this is what it waits for.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cases import CASES, task_rows
from counts import at_least_one
from datasets import disable_progress_bars
from peers import our_trainer, script_length, stock_trainer
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from hf_bertx.run_files import write_json
from hf_bertx.run_order import machine, versions


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds a batch of a case, by loader and round."""
    case = CASES[name]
    data, origin = task_rows(case, options.data_dir, options.rows)
    with tempfile.TemporaryDirectory() as folder:
        given = case, data, "minilm-l6", "cpu", Path(folder)
        loaders: dict[str, Callable[[], Any]] = {
            "ours": our_trainer(*given).get_train_dataloader,
            "stock": stock_trainer(*given, script_length(case)).get_train_dataloader,
        }
        taken: dict[str, list[float]] = {which: [] for which in loaders}
        for _ in range(options.rounds + 1):
            for which, loader in loaders.items():
                started = time.perf_counter()
                count = sum(1 for _ in loader())
                taken[which].append(1000 * (time.perf_counter() - started) / count)
    taken = {which: times[1:] for which, times in taken.items()}
    ratio = statistics.median(b / a for a, b in zip(taken["ours"], taken["stock"], strict=True))
    medians = {which: statistics.median(times) for which, times in taken.items()}
    print(f"{name}: {medians['ours']:.2f} ms a batch, the example script {medians['stock']:.2f}; {ratio:.1f} times")
    return {"data": origin, "batch": case.batch, "milliseconds": taken, "medians": medians, "ratio": ratio}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--cases", nargs="+", choices=tuple(CASES), default=["splice", "h3", "proteins"], metavar="CASE"
    )
    parser.add_argument("--rows", type=at_least_one, default=3200, help="that are gone through; %(default)s")
    parser.add_argument("--rounds", type=at_least_one, default=5)
    parser.add_argument("--data_dir", type=Path, help="holds a folder of Parquet files for each task")
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    options = parser.parse_args(argv)
    disable_progress_bar()
    disable_progress_bars()
    set_verbosity_error()
    cases = {name: measure(name, options) for name in options.cases}
    if options.output is not None:
        write_json(options.output, {"cases": cases, "machine": machine(), "versions": versions()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
