"""What share of a training step each part takes: ours before the levers, ours, and the example script's, one by one.

    python benchmarks/profile_step.py [--case h3] [--steps 2] [--device cuda] [--output FILE.json]

torch.profiler counts the time of each operator without that of those it calls; operators are summed up into parts.
What the profile does not see, waiting and Python itself, is the part `outside of operators`.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import re
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
from cases import CASES, backbone_of, task_rows
from counts import at_least_one
from finetuning import be_quiet
from peers import PEERS, Seen, ours
from torch.profiler import ProfilerActivity, profile
from turns import Enough, synchronise

from hf_bertx.run_arguments import usable_cores
from hf_bertx.run_files import write_json
from hf_bertx.run_order import machine, versions

# Parts by what is searched for in the names of operators; the first that fits counts.
PARTS = (
    ("attention", ("attention", "_softmax", "bmm", "baddbmm", "exp2")),
    ("dropout", ("dropout", "bernoulli", "random_", "native_dropout", "_DrawnDropout", "where")),
    ("linear maps", ("mm", "addmm", "linear", "mkldnn", "gemm")),
    ("layer normalisation", ("layer_norm",)),
    ("optimiser and norm of the gradient", ("adam", "foreach", "lerp", "addcdiv", "addcmul", "norm_", "linalg")),
    ("activation", ("gelu", "tanh")),
    ("embeddings", ("embedding", "index")),
    ("copies and casts", ("copy_", "clone", "^to$", "contiguous", "_to_copy", "fill_", "zero_", "memcpy", "memset")),
    ("sums and element-wise", ("sum", "add", "mul", "div", "mean")),
)
_WARM = 3  # steps before those that are counted
_ROOM = 6 * 2**30  # bytes
BEFORE = ("--shortcuts", "false", "--attention_dropout", "0.1", "--precision", "float32")


def part_of(operator: str) -> str:
    name = operator.removeprefix("aten::")
    found = (part for part, words in PARTS if any(re.search(word, name, re.IGNORECASE) for word in words))
    return next(found, "other operators")


def shares(name: str, options: argparse.Namespace, folder: Path) -> tuple[dict[str, float], float, dict[str, float]]:
    """Seconds a step by part, seconds a step in all, and the ten operators that take most."""
    be_quiet()
    if options.device == "cpu":
        torch.set_num_threads(options.threads)
    case = CASES[options.case]
    data, _ = task_rows(case, options.data_dir, case.batch * (options.steps + 4))
    given = (case, data, backbone_of(case, folder), options.device, folder, Seen())
    loop = ours(*given, BEFORE) if name == "before" else PEERS[name](*given)
    recorded = profile(
        activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if options.device == "cuda" else [])]
    )
    clock: list[float] = []

    def done() -> None:
        synchronise()
        clock.append(time.perf_counter())
        if len(clock) == _WARM:
            if name == "ours" and options.device == "cpu":
                # what the profiler itself keeps lies between kept blocks, which then have to grow: room for that
                torch.zeros(_ROOM // 4)
            recorded.start()
            clock[-1] = time.perf_counter()
        elif len(clock) == _WARM + options.steps:
            recorded.stop()
            raise Enough

    with contextlib.suppress(Enough):
        loop(done)
    a_step = (clock[-1] - clock[_WARM - 1]) / options.steps
    by_part: dict[str, float] = {}
    single: dict[str, float] = {}
    for event in recorded.key_averages():
        if event.device_type != torch.autograd.DeviceType.CPU:
            continue  # a kernel, whose time is that of the operator that started it as well
        micro = event.self_device_time_total if options.device == "cuda" else event.self_cpu_time_total
        seconds = micro / 1e6 / options.steps
        by_part[part_of(event.key)] = by_part.get(part_of(event.key), 0.0) + seconds
        single[event.key] = seconds
    by_part["outside of operators"] = max(0.0, a_step - sum(by_part.values()))
    most = sorted(single.items(), key=lambda item: -item[1])[:10]
    return dict(sorted(by_part.items(), key=lambda item: -item[1])), a_step, dict(most)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", default="h3", choices=tuple(CASES))
    parser.add_argument("--steps", type=at_least_one, default=2)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--loops", nargs="+", default=["stock", "before", "ours"])
    parser.add_argument("--data_dir", type=Path)
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch sees no GPU here; leave it out to measure the CPU")
    case = CASES[options.case]
    _, origin = task_rows(case, options.data_dir, case.batch)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        for name in options.loops:
            # a process for each: what ours tells its own is not told to the others
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as own_process:
                parts, total, most = own_process.submit(shares, name, options, Path(folder)).result()
            found[name] = {"seconds_a_step": total, "parts": parts, "operators": most}
            print(f"{name}: {total:.3f} s a step, under the profiler", flush=True)
            for part, seconds in parts.items():
                print(f"  {seconds / total:>6.1%}  {part}")
            print("  most: " + ", ".join(f"{key} {s / total:.1%}" for key, s in most.items()), flush=True)
    if options.output is not None:
        record = {"case": case.name, "data": origin, "device": options.device, "threads": options.threads}
        write_json(options.output, {**record, "machine": machine(), "versions": versions(), "loops": found})
    return 0


if __name__ == "__main__":
    sys.exit(main())
