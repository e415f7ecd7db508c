"""Fine-tuning steps: ours beside the `Trainer` of the example script, alternately, on the same data.

    python benchmarks/finetuning.py [--cases splice h3 ...] [--loops ours stock] [--rounds 5] [--device cuda]

A round is a step of each loop, one after the other; a step is an update on as many sequences. Ratios are those of a
round. Each loop has a process of its own, whose peak is its memory (on a GPU, that of its tensors). Sequences are
random ones of the task's lengths where `--data_dir` holds no folder of the task. With `--tokenizer FOLDER` the weights
of all cases are random. The JSON file is written after each case. `arithmetic.step_flops` says what counts as an
operation of a step.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from arithmetic import matrix_peaks, step_flops
from cases import CASES, Case, backbone_of, task_rows
from goals import benchmark
from peers import OURS, Seen, loop_of
from table import steps
from turns import Loop, Turn, alternate, be_quiet, peak_memory_mb, ratios

from hf_bertx.processor import fast_bfloat16, usable_cores
from hf_bertx.run_files import write_json
from hf_bertx.runs.order import machine, versions

_AS_THEY_COME = ("ours", "stock")


def make_loop(
    name: str, case: Case, count: int, folder: Path, options: argparse.Namespace
) -> tuple[Loop, Callable[[], dict[str, Any]]]:
    """A loop on `count` rows, and what returns its figures."""
    be_quiet()
    if options.device == "cpu":
        torch.set_num_threads(options.threads)
    data, _ = task_rows(case, options.data_dir, count)
    loop, seen = loop_of(name, case, data, backbone_of(case, folder, options.tokenizer), options.device, folder / name)

    def figures() -> dict[str, Any]:
        on_gpu = options.device == "cuda"
        memory = torch.cuda.max_memory_allocated() / 2**20 if on_gpu else peak_memory_mb()
        seen.tokens = int(seen.tokens)
        return {"seen": seen, "peak_memory_mb": round(memory, 1)}

    return loop, figures


def measure(case: Case, loops: list[str], options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One case: steps of the loops by turns, and what follows from them."""
    count = case.batch * (2 * options.rounds + 3)
    _, origin = task_rows(case, options.data_dir, count)
    backbone_of(case, folder, options.tokenizer)  # made once for all
    turns: dict[str, Turn] = {}
    first: dict[str, float] = {}
    failed: dict[str, str] = {}
    try:
        for name in dict.fromkeys(("ours", *loops)):  # all of them load at the same time
            turns[name] = Turn(make_loop, name, case, count, folder, options)
        for name in list(turns):
            try:
                first[name] = turns[name].step(None if name in _AS_THEY_COME else options.compile_limit)
            except Exception as error:
                if name == "ours":
                    raise
                failed[name] = f"{type(error).__name__}: {error}".splitlines()[0]
                turns.pop(name).close()
                continue
            print(f"  {case.name}: first step of {name} after {first[name]:.1f} s", flush=True)
        taken = alternate(turns, options.rounds, options.seconds)
        peaks = matrix_peaks(options.device, fast_bfloat16(options.device == "cpu"))
        rows = {name: turn.figures() for name, turn in turns.items()}
    finally:
        for turn in turns.values():
            turn.close()
    figures = {}
    for name, row in rows.items():
        figures[name] = _figures(taken[name], row["seen"], case, name)
        figures[name] |= {"peak_memory_mb": row["peak_memory_mb"], "first_step_seconds": round(first[name], 2)}
    return {
        **{"task": case.task, "model": case.size, "data": origin, "batch": case.batch, "loops": figures},
        "peak_operations_a_second": peaks,
        "ratios": {name: ratios(taken, "ours", name) for name in taken if name != "ours"},
        "failed": failed,
    }


def _figures(taken: list[float], seen: Seen, case: Case, name: str) -> dict[str, Any]:
    seconds = statistics.median(taken)
    width = statistics.fmean(seen.widths)
    flops = step_flops(seen.config, case.batch, width, pruned=name in OURS)
    return {
        "seconds_a_step": [round(s, 5) for s in taken],
        "median_seconds": round(seconds, 5),
        "tokens_a_second": round(seen.tokens / seen.rows * case.batch / seconds),
        "width": round(width, 1),
        "precision": seen.precision,
        "operations_a_step": flops,
        "operations_a_second": flops / seconds,
    }


def run(options: argparse.Namespace) -> dict[str, Any]:
    """All cases; the file is written after each of them."""
    be_quiet()
    if options.device == "cpu":
        torch.set_num_threads(options.threads)
    elif not torch.cuda.is_available():
        raise SystemExit("--device cuda: torch sees no GPU here; leave it out to measure the CPU")
    results: dict[str, Any] = {"device": options.device, "threads": torch.get_num_threads(), "cases": {}}
    results |= {"fast_bfloat16": fast_bfloat16(options.device == "cpu"), "machine": machine(), "versions": versions()}
    compiling = [name for name in options.loops if name not in _AS_THEY_COME]
    passes = [[name for name in options.loops if name in _AS_THEY_COME], *([compiling] if compiling else [])]
    for loops, name in itertools.product(passes, options.cases):  # what compiles comes last: it may take minutes
        case = CASES[name]
        if options.tokenizer and case.model == "minilm-l6":  # the same size, without its weights
            case = replace(case, model=(6, 384))
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            measured = measure(case, loops, options, Path(folder))
        known = results["cases"].setdefault(name, measured)
        for part in ("loops", "ratios", "failed"):
            known[part] = measured[part] | known[part]
        if options.output is not None:
            write_json(options.output, results)
        print("\n".join(steps(results)), flush=True)
    return results


def main(argv: list[str] | None = None) -> int:
    usual = {"cases": list(CASES), "loops": [*OURS, "stock"], "rounds": 5, "seconds": 120.0, "compile_limit": 600.0}
    return benchmark(__doc__, run, argv, **usual, data_dir="", tokenizer="", device="cpu", threads=usable_cores())


if __name__ == "__main__":
    sys.exit(main())
