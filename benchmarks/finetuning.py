"""Fine-tuning steps: ours beside the `Trainer` of the example script and the authors' loop, alternately, same data.

    python benchmarks/finetuning.py [--cases splice h3 ...] [--rounds 3] [--data_dir DIR] [--device cuda]

A round is a step of each, one after the other; a step is an update on as many sequences. Ratios are those of a round.
Each loop has a process of its own, whose peak is its memory (on a GPU, that of its tensors).
Sequences are random ones of the task's lengths where `--data_dir` holds no folder of the task. The JSON file is
written as it goes. `arithmetic.step_flops` says what counts as an operation of a step.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from arithmetic import matrix_peak, step_flops
from cases import CASES, Case, backbone_of, task_rows
from counts import at_least_one
from datasets import disable_progress_bars
from goals import repaid, results_folder
from peers import PEERS, Seen, ours, peers_of
from transformers.utils.logging import disable_progress_bar, set_verbosity_error
from turns import Loop, Turn, alternate, peak_memory_mb, ratios

from hf_bertx.performance.memory import usable_cores
from hf_bertx.run_arguments import fast_bfloat16
from hf_bertx.run_files import write_json
from hf_bertx.run_order import machine, versions

_COMPILED = "--torch_compile", "true"
_LONG = 60.0  # seconds of all first steps
_PEAK_ROUNDS = 3  # after which the largest product is measured, too
_JUDGED = ("ours", "stock")  # what goals are about; another loop is left out where time is short
_PATIENCE = 1.5  # times `--seconds`, of the first steps of a case
_SETTLING, _QUICK = 2, 15.0  # steps more that are not counted, of a loop whose first one took fewer seconds
_SHORT = 5.0  # seconds of a step, below which a loop has two in a round


def loop_of(
    name: str, case: Case, count: int, folder: Path, options: argparse.Namespace
) -> tuple[Loop, Callable[[], dict[str, Any]]]:
    """A loop on `count` rows; and what to ask about it after its steps."""
    be_quiet()
    if options.device == "cpu":
        torch.set_num_threads(options.threads)
    seen = Seen()
    data, _ = task_rows(case, options.data_dir, count)
    given = (case, data, backbone_of(case, folder), options.device, folder / name.replace(" ", "-"), seen)
    loop = ours(*given, _COMPILED) if name == "compiled" else PEERS[name](*given)

    def figures() -> dict[str, Any]:
        on_gpu = options.device == "cuda"
        memory = torch.cuda.max_memory_allocated() / 2**20 if on_gpu else peak_memory_mb()
        return {"seen": seen, "peak_memory_mb": round(memory, 1)}

    return loop, figures


def measure(case: Case, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One case: steps of every loop by turns, and what follows from them."""
    count = case.batch * (2 * options.rounds + _SETTLING + 4)
    _, origin = task_rows(case, options.data_dir, count)
    backbone_of(case, folder)  # made once for all
    others = [peer for peer in peers_of(case) if peer in options.peers]
    others += ["compiled"] if options.device == "cuda" else []  # on a CPU compiling is not repaid
    turns: dict[str, Turn] = {}
    begun: dict[str, float] = {}
    failed: dict[str, str] = {}
    peaks: list[dict[str, Any]] = []

    def measure_peaks() -> None:
        if len(peaks) < _PEAK_ROUNDS:
            peaks.append(matrix_peaks(options.device, fast_bfloat16(options.device == "cpu"), seconds=0.6))

    try:
        for name in dict.fromkeys(("ours", *others)):  # all of them load while no one measures
            turns[name] = Turn(loop_of, (name, case, count, folder, options))
        for name in list(turns):
            try:
                turns[name].ready()
            except Exception as error:
                _leave_out(name, turns, failed, error)
        for name in list(turns):
            spent = sum(begun.values())
            if name not in _JUDGED and spent > max(_LONG, _PATIENCE * options.seconds):
                failed[name] = f"first steps of the others took {spent:.0f} s, --seconds are {options.seconds:g}"
                turns.pop(name).close()
                continue
            try:
                begun[name] = turns[name].step()
            except Exception as error:
                _leave_out(name, turns, failed, error)
                continue
            say(f"  {case.name}: first step of {name} after {begun[name]:.1f} s")
        short = set()
        for name in [name for name in turns if begun[name] < _QUICK]:
            # memory that is kept is still being taken in the first few steps
            if min(turns[name].step() for _ in range(_SETTLING)) < _SHORT:
                short.add(name)
        # a compiled loop may compile once more; others have had their first step, which slow ones need not have twice
        warm = 1 if sum(begun.values()) < _LONG else 0
        taken = alternate(turns, options.rounds, options.seconds, warm, short, measure_peaks)
        told = {name: turn.figures() for name, turn in turns.items()}
    finally:
        for turn in turns.values():
            turn.close()
    found: dict[str, Any] = {"task": case.task, "model": case.size, "data": origin, "batch": case.batch}
    # those of a machine as busy as it was between the steps
    found["peak_operations_a_second"] = {
        name: None if value is None else statistics.median(each[name] for each in peaks)
        for name, value in peaks[0].items()
    }
    found["loops"] = {
        name: {
            **_figures(taken[name], _filled(told[name]["seen"], told["ours"]["seen"]), case, name),
            "peak_memory_mb": told[name]["peak_memory_mb"],
            "first_step_seconds": round(begun[name], 2),
        }
        for name in taken
    }
    found["ratios"] = {name: ratios(taken, "ours", name) for name in taken if name != "ours"}
    if failed:
        found["failed"] = failed
    return found


def _leave_out(name: str, turns: dict[str, Turn], failed: dict[str, str], error: Exception) -> None:
    """Goes on without a loop that cannot be had; not without ours."""
    if name == "ours":
        raise error
    failed[name] = f"{type(error).__name__}: {error}".splitlines()[0]
    turns.pop(name).close()


def _filled(seen: Seen, ours: Seen) -> Seen:
    """What a loop was given; where its batches were made in other processes, what `ours` was given: the same rows."""
    if not seen.widths:
        seen.rows, seen.tokens, seen.widths = ours.rows, ours.tokens, ours.widths
    seen.precision = seen.precision or ours.precision
    return seen


def _figures(taken: list[float], seen: Seen, case: Case, name: str) -> dict[str, Any]:
    seconds = statistics.median(taken)
    width = statistics.fmean(seen.widths)
    flops = step_flops(seen.config, case.batch, width, pruned=name in ("ours", "compiled"))
    return {
        "seconds_a_step": [round(s, 5) for s in taken],
        "median_seconds": round(seconds, 5),
        "tokens_a_second": round(seen.tokens / seen.rows * case.batch / seconds),
        "width": round(width, 1),
        "precision": seen.precision,
        "operations_a_step": flops,
        "operations_a_second": flops / seconds,
    }


def be_quiet() -> None:
    """No bars and no advice between the figures."""
    disable_progress_bar()
    disable_progress_bars()
    set_verbosity_error()


def say(line: str) -> None:
    print(line, flush=True)


def table(results: dict[str, Any]) -> str:
    """The figures as lines of text."""
    lines = [f"{'case':<10}{'loop':<24}{'s a step':>10}{'times ours':>20}{'tokens/s':>11}{'of peak':>16}{'MB':>9}"]
    for case, found in results["cases"].items():
        for name, row in found["loops"].items():
            ratio = found["ratios"].get(name)
            times = "" if ratio is None else f"{ratio['median']:.2f} ({ratio['lowest']:.2f}-{ratio['highest']:.2f})"
            peak = found["peak_operations_a_second"].get(row["precision"])
            share = "" if not peak else f"{row['operations_a_second'] / peak:.0%} {row['precision']}"
            memory = f"{row['peak_memory_mb']:,.0f}"
            lines.append(
                f"{case:<10}{name:<24}{row['median_seconds']:>10.4f}{times:>20}{row['tokens_a_second']:>11,}"
                f"{share:>16}{memory:>9}"
            )
        if "compiled" in found["loops"]:
            lines.append(f"{case:<10}compiling is repaid {repaid(found)}")
        lines += [f"{case:<10}{name:<24}not measured: {why}" for name, why in found.get("failed", {}).items()]
    return "\n".join(lines)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """All cases; the file is written after each of them. The peaks are the higher ones of before and after."""
    fast = fast_bfloat16(options.device == "cpu")
    peaks = matrix_peaks(options.device, fast)
    results: dict[str, Any] = {
        "made_by": "benchmarks/finetuning.py",
        "machine": machine(),
        "versions": versions(),
        "device": options.device,
        "threads": torch.get_num_threads(),
        "fast_bfloat16": fast,
        "peak_operations_a_second": peaks,
        "cases": {},
    }
    for precision, value in peaks.items():
        if value is not None:
            say(f"largest matrix product, {precision}: {value / 1e12:.3f} x 10^12 operations a second")
    for name in options.cases:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            results["cases"][name] = measure(CASES[name], options, Path(folder))
        write_json(options.output, results)
    # a machine that was busy at the beginning would be said to be slower than it is
    again = matrix_peaks(options.device, fast)
    peaks |= {name: max(value, again[name]) for name, value in peaks.items() if value is not None}
    write_json(options.output, results)
    return results


def matrix_peaks(device: str, fast: bool, seconds: float = 1.0) -> dict[str, Any]:
    """The largest matrix product in each precision; None for bfloat16 where it is not `fast`."""
    where = torch.device(device)
    return {
        "float32": matrix_peak(torch.float32, where, seconds),
        "bfloat16": matrix_peak(torch.bfloat16, where, seconds) if fast else None,
    }


def parsed(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=tuple(CASES), metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=tuple(PEERS), help="%(default)s")
    parser.add_argument(
        "--rounds", type=at_least_one, default=5, help="at most; the first steps are not counted; %(default)s"
    )
    parser.add_argument("--seconds", type=float, default=120.0, help="of a case; no round is begun after; %(default)s")
    parser.add_argument("--data_dir", type=Path, help="holds a folder of Parquet files for each task")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=usable_cores(), help="on a CPU; %(default)s")
    parser.add_argument("--output", type=Path, help="JSON file; by default below benchmarks/results")
    options = parser.parse_args(argv)
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch sees no GPU here; leave it out to measure the CPU")
    options.cases = options.cases or [
        "splice",
        "maestro",
        "proteins",
        "h3",
        *(["h3-base"] * (options.device == "cuda")),
    ]
    name = f"finetuning-{'gpu' if options.device == 'cuda' else 'cpu'}.json"
    options.output = options.output or results_folder(options.device) / name
    return options


def main(argv: list[str] | None = None) -> int:
    options = parsed(sys.argv[1:] if argv is None else argv)
    be_quiet()
    if options.device == "cpu":
        torch.set_num_threads(options.threads)
    print(table(run(options)))
    print(f"wrote {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
