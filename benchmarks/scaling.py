"""Tokens a second of a fine-tuning step against length, batch, size of the model and number of processes; and how long
it takes to plan a study, against its number of runs.

    python benchmarks/scaling.py [--device cuda] [--lengths 64 128 256 512] [--batches 8 16 32 64] [--steps 3]

One of them is varied at a time, the others stay at the middle: 128 tokens, batch 32, minilm-l6, one process. Proteins
are drawn, all of one length. Writes a JSON file as it goes, and a figure (PNG and SVG) beside it. Processes share a
global batch and the cores; a GPU has one process. Of a study all runs but ten are finished.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from cases import Case, backbone_of, task_rows
from counts import at_least_one
from datasets import disable_progress_bars
from goals import results_folder
from peers import Seen, ours
from startup import LEFT, planning_seconds
from transformers.utils.logging import disable_progress_bar, set_verbosity_error
from turns import synchronise

from hf_bertx.run_arguments import usable_cores
from hf_bertx.run_files import write_json, write_whole
from hf_bertx.run_order import machine, versions

LENGTH, BATCH, MODEL = 128, 32, "minilm-l6"
SIZES = {"2 x 128": (2, 128), "4 x 256": (4, 256), "minilm-l6": MODEL, "12 x 768": (12, 768)}
LABELS = {
    "length": "tokens a sequence",
    "batch": "sequences an update",
    "model": "model",
    "processes": "processes",
    "runs": "runs in a study",
}


def point(length: int = LENGTH, batch: int = BATCH, model: str = MODEL) -> Case:
    """A case whose sequences have that many tokens, [CLS] and [SEP] included."""
    return Case("scaling", "protein-localization", (length - 2, length - 2), batch, SIZES[model])


class _Enough(BaseException):
    """All steps that are asked for are done."""


def rate(case: Case, steps: int, device: str) -> dict[str, Any]:
    """Tokens a second over all processes: the median step; two steps before are not counted."""
    ends: list[float] = []

    def done() -> None:
        synchronise()
        ends.append(time.perf_counter())
        if len(ends) == steps + 2:
            raise _Enough

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        data, _ = task_rows(case, None, case.batch * (steps + 4))
        loop = ours(case, data, backbone_of(case, Path(folder)), device, Path(folder), Seen())
        with contextlib.suppress(_Enough):
            loop(done)
    taken = [after - before for before, after in itertools.pairwise(ends[1:])]
    tokens = case.batch * (case.symbols[0] + 2)
    return {"tokens_a_second": round(tokens / statistics.median(taken)), "seconds_a_step": taken}


def rate_of_processes(count: int, options: argparse.Namespace) -> dict[str, Any]:
    """The same run in `count` processes, as torchrun starts them."""
    threads = str(max(1, options.threads // count))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(count)]
    command += [__file__, "--child", "--steps", str(options.steps), "--threads", threads]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": threads})
    found = [line for line in done.stdout.splitlines() if line.startswith('{"tokens_a_second"')]
    if done.returncode or not found:
        raise RuntimeError(f"{count} processes: {done.stderr.strip()[-800:]}")
    return json.loads(found[0])


Points = dict[str, dict[str, dict[str, Any]]]  # by what is varied, then by its value


def measure(options: argparse.Namespace, save: Callable[[Points], None]) -> Points:
    """All points; `save` is called with those that there are, after each."""
    plan: dict[str, list[tuple[str, dict[str, Any]]]] = {
        "length": [(str(n), {"length": n}) for n in options.lengths],
        "batch": [(str(n), {"batch": n}) for n in options.batches],
        "model": [(name, {"model": name}) for name in options.models],
    }
    found: Points = {}
    for varied, points in plan.items():
        found[varied] = {}
        for name, told in points:
            found[varied][name] = rate(point(**told), options.steps, options.device)
            print(f"{varied} {name}: {found[varied][name]['tokens_a_second']:,} tokens a second", flush=True)
            save(found)
    if options.device == "cpu":
        found["processes"] = {}
        for count in options.processes:
            found["processes"][str(count)] = rate_of_processes(count, options)
            print(
                f"processes {count}: {found['processes'][str(count)]['tokens_a_second']:,} tokens a second", flush=True
            )
            save(found)
        found["runs"] = {}
        for count in options.runs:
            seconds = [planning_seconds(count) for _ in range(options.steps)]
            found["runs"][str(count)] = {"planning_seconds": seconds}
            print(f"runs {count}: planned in {statistics.median(seconds):.3f} s", flush=True)
            save(found)
    return found


def draw(found: Points, about: str, path: Path) -> None:
    """A panel for each thing that is varied, from zero up."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "svg.fonttype": "none"})
    shown = {varied: points for varied, points in found.items() if points}
    figure, axes = plt.subplots(1, len(shown), figsize=(2.7 * len(shown), 2.6), squeeze=False)
    for axis, (varied, points) in zip(axes[0], shown.items(), strict=True):
        heights = [_height(each) for each in points.values()]
        places = range(len(points))
        axis.plot(places, heights, marker="o", color="#2563a8")
        for place, value in zip(places, heights, strict=True):
            axis.annotate(f"{value:,.3g}", (place, value), xytext=(0, 6), textcoords="offset points", ha="center")
        axis.set_xticks(list(places), list(points))
        axis.tick_params(axis="x", labelsize=8 if varied != "model" else 7)
        axis.set(ylim=(0, 1.2 * max(heights)), xlim=(-0.5, len(points) - 0.5), xlabel=LABELS[varied])
        axis.grid(axis="y", alpha=0.3)
        if varied == "runs":
            axis.set_ylabel("seconds to plan them")
    axes[0][0].set_ylabel("thousand tokens a second")
    figure.text(0.01, 0.01, about, fontsize=7, color="#555555")
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    for ending, told in ((".png", {"dpi": 130}), (".svg", {"metadata": {"Date": None}})):
        write_whole(
            path.with_suffix(ending),
            lambda temporary, ending=ending, told=told: figure.savefig(temporary, format=ending[1:], **told),
        )
    plt.close(figure)


def _height(point: dict[str, Any]) -> float:
    """Thousands of tokens a second, or seconds of planning."""
    if "planning_seconds" in point:
        return statistics.median(point["planning_seconds"])
    return point["tokens_a_second"] / 1000


def parsed(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="*", default=[64, 128, 256, 512], help="3 to 512; %(default)s")
    parser.add_argument("--batches", type=int, nargs="*", default=[8, 16, 32, 64])
    parser.add_argument("--models", nargs="*", default=list(SIZES), choices=tuple(SIZES), metavar="MODEL")
    parser.add_argument("--processes", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--runs", type=int, nargs="*", default=[100, 1000, 10_000], help="of a study; %(default)s")
    parser.add_argument("--steps", type=at_least_one, default=3, help="of each point; %(default)s")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=usable_cores(), help="on a CPU, of all processes; %(default)s")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, help="JSON file; the figure is beside it")
    options = parser.parse_args(argv)
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch sees no GPU here; leave it out to measure the CPU")
    wrong = [n for n in options.lengths if not 3 <= n <= 512]
    if wrong:
        parser.error(f"--lengths: {wrong[0]} is not allowed: 3 to 512 tokens")
    uneven = [n for n in options.processes if n < 1 or BATCH % n]
    few = [n for n in options.runs if n < LEFT or n % 2]
    if few:
        parser.error(f"--runs: {few[0]} is not allowed: an even number, at least {LEFT}")
    if uneven:
        parser.error(f"--processes: a batch of {BATCH} cannot be divided among {uneven[0]}")
    options.output = options.output or (
        results_folder(options.device) / f"scaling-{'gpu' if options.device == 'cuda' else 'cpu'}.json"
    )
    return options


def main(argv: list[str] | None = None) -> int:
    options = parsed(sys.argv[1:] if argv is None else argv)
    disable_progress_bar()
    disable_progress_bars()
    set_verbosity_error()
    if options.device == "cpu":
        torch.set_num_threads(options.threads)
    if options.child:
        found = rate(point(), options.steps, "cpu")
        if os.environ.get("RANK", "0") == "0":
            print(json.dumps(found), flush=True)
        return 0
    where = machine()
    on = where["gpu"] if options.device == "cuda" else f"{where['processor']}, {options.threads} threads"
    record = {"device": options.device, "threads": options.threads, "length": LENGTH, "batch": BATCH, "model": MODEL}
    record |= {"machine": where, "versions": versions()}
    points = measure(options, lambda found: write_json(options.output, {**record, "points": found}))
    draw(points, f"{on}. Unless varied: {LENGTH} tokens, batch {BATCH}, {MODEL}, one process.", options.output)
    print(f"wrote {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
