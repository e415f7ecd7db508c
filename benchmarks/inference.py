"""Prediction with hf_bertx beside `pipeline("text-classification")` with its defaults, in one run, alternately.

    python benchmarks/inference.py [--model MODEL] [--items 10000] [--peer_items 300] [--rounds 3] [--seconds 12]

Cases: splice sequences (those of the package's data set, and some of them with three letters changed, all different),
and proteins of mixed length, those of `--proteins FASTA` or random ones. The peer is what a user writes by the stock
documentation: batch size 1, the model's own tokenizer and precision, `truncation=True` (without it a protein longer
than the model reads is an error). Ours is `bertx predict` as it comes, in bfloat16 where the processor has that; there
it is measured in float32 as well. Each has a process of its own, begun anew for every round, since two processes of
the pipeline can be a seventh apart for as long as they live. A round is A B C: the peer on `--peer_items` of the
items, then each of ours on all of them, or each on as many as `--seconds` allow, spread by length as all are; rates
are compared, not times. Scores of the same items are asked of all.
Exits with 1 when the median ratio of a case as it comes is below
the goal, or scores differ more than their precision makes them.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from arithmetic import attention_flops, attention_peak, forward_flops, matrix_peak
from counts import at_least_one
from prediction_sides import (
    drawn_proteins,
    model_for,
    on_cpu,
    precisions,
    processes,
    proteins,
    rate_here,
    scores_here,
    splice,
    spread_by_length,
    warm_here,
)
from transformers import AutoConfig
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from hf_bertx.backbones import resolve_backbone
from hf_bertx.performance.memory import usable_cores
from hf_bertx.prediction import inference
from hf_bertx.prediction.inference import SequenceClassifier
from hf_bertx.run_files import write_json
from hf_bertx.run_order import machine, versions

CASES = ("splice", "proteins")
_WARM, _WARM_SECONDS = 512, 3.0  # items before those that count
_FEWEST = 64
TOLERANCE = {"float32": 1e-4, "bfloat16": 1e-2}  # of a score


def measure(name: str, model: Path, rows: list[str], options: argparse.Namespace) -> dict[str, Any]:
    """One case: rates of all by round, ratios to the peer's, and how far scores lie apart."""
    draw = random.Random(1)
    sides = precisions(options)
    rates: dict[str, list[float]] = {"peer": [], **{side: [] for side in sides}}
    counts = {}
    for _ in range(options.rounds):
        with processes(model, options, *rates) as made:
            warm = spread_by_length(rows, _WARM, draw)
            for side, process in made.items():
                speed = process.submit(warm_here, warm, _WARM_SECONDS).result()
                most = options.peer_items if side == "peer" else len(rows)
                counts[side] = min(most, max(_FEWEST, int(min(len(rows), speed * options.seconds))))
            for side, process in made.items():
                some = spread_by_length(rows, counts[side], draw)
                rates[side].append(process.submit(rate_here, some).result())
            check = draw.sample(rows, min(len(rows), 64))
            scores = {side: process.submit(scores_here, check).result() for side, process in made.items()}
    apart = {side: float(np.abs(scores[side] - scores["peer"]).max()) for side in sides}
    rounds = {side: [a / b for a, b in zip(rates[side], rates["peer"], strict=True)] for side in sides}
    ratios = {side: statistics.median(rounds[side]) for side in sides}
    lengths = [len(row) for row in rows]
    for side in sides:
        by_round = ", ".join(f"{ratio:.2f}" for ratio in rounds[side])
        print(
            f"{name}, {side}: {statistics.median(rates[side]):.1f} items a second, the peer "
            f"{statistics.median(rates['peer']):.1f}; {ratios[side]:.2f} times (rounds: {by_round}); scores apart by "
            f"at most {apart[side]:.1e}",
            flush=True,
        )
    every, of_attention = operations(on_cpu(model, options), rows)
    return {
        "items": len(rows),
        "symbols": {"shortest": min(lengths), "median": statistics.median(lengths), "longest": max(lengths)},
        "items_ours": {side: counts[side] for side in sides},
        "items_peer": counts["peer"],
        "items_a_second": rates,
        "ratios": ratios,
        "operations_an_item": every,
        "attention_operations_an_item": of_attention,
        "scores_apart": apart,
    }


def operations(classifier: SequenceClassifier, rows: list[str]) -> tuple[float, float]:
    """Floating-point operations that an item takes on average, without padding; and of these, attention's own."""
    special = classifier.tokenizer.num_special_tokens_to_add()
    widths = [min(len(row) + special, classifier.max_length) for row in rows]
    config = classifier.model.config
    found = sum(forward_flops(config, width, True) for width in widths)
    return found / len(rows), sum(attention_flops(config, width) for width in widths) / len(rows)


def _peaks(sides: list[str]) -> dict[str, float]:
    return {side: matrix_peak(getattr(torch, side), torch.device("cpu"), laid_out=True) for side in sides}


def _attention_peaks(sides: list[str], backbone: str) -> dict[str, float]:
    config = AutoConfig.from_pretrained(resolve_backbone(backbone).source)
    size = config.hidden_size // config.num_attention_heads
    return {side: attention_peak(getattr(torch, side), size) for side in sides}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="of splice; by default the backbone with a random head")
    parser.add_argument("--backbone", default="minilm-l6")
    parser.add_argument("--proteins", type=Path, help="FASTA file; without it proteins are drawn")
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--peer_items", type=int, default=300, help="of a round")
    parser.add_argument("--seconds", type=float, default=math.inf, help="of a round of each; rates are compared")
    parser.add_argument("--rounds", type=at_least_one, default=3)
    parser.add_argument("--precision", default="auto", choices=inference.PRECISIONS, help="of ours; %(default)s")
    parser.add_argument("--threads", type=int, default=usable_cores(), help="of both; %(default)s")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), help="by default %(default)s")
    parser.add_argument("--goal", type=float, default=4.0, help="times the peer's rate; %(default)s")
    parser.add_argument("--work_dir", type=Path, default=Path("runs") / "bench", help="for models; %(default)s")
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    options = parser.parse_args(argv)
    disable_progress_bar()
    set_verbosity_error()
    torch.set_num_threads(options.threads)
    sides = precisions(options)
    peaks, of_attention = _peaks(sides), _attention_peaks(sides, options.backbone)
    cases = {}
    if "splice" in options.cases:
        model = options.model or model_for("dna", options.backbone, options.work_dir / "dna")
        cases["splice"] = measure("splice", model, splice(options.items), options)
    if "proteins" in options.cases:
        rows = drawn_proteins(options.items) if options.proteins is None else proteins(options.proteins, options.items)
        model = model_for("protein", options.backbone, options.work_dir / "protein")
        cases["proteins"] = measure("proteins", model, rows, options)
    torch.set_num_threads(options.threads)
    peaks = {side: max(peaks[side], again) for side, again in _peaks(sides).items()}
    of_attention = {
        side: max(of_attention[side], again) for side, again in _attention_peaks(sides, options.backbone).items()
    }
    for name, case in cases.items():
        case["of_the_peak"] = {}
        for side, peak in peaks.items():
            share = case["operations_an_item"] * statistics.median(case["items_a_second"][side]) / peak
            case["of_the_peak"][side] = share
            print(f"{name}: {share:.0%} of the largest matrix product in {side}")
    missed = [name for name, case in cases.items() if case["ratios"][sides[0]] < options.goal]
    apart = [(name, side) for name in cases for side in sides if cases[name]["scores_apart"][side] > TOLERANCE[side]]
    if options.output is not None:
        told = {"goal": options.goal, "threads": options.threads, "precision": sides[0]}
        told["fast_bfloat16"] = inference.fast_bfloat16(use_cpu=True)
        told["peak_operations_a_second"], told["attention_peak_operations_a_second"] = peaks, of_attention
        told["proteins"] = "drawn" if options.proteins is None else options.proteins.name
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        write_json(
            options.output, {**told, "load": load, "machine": machine(), "versions": versions(), "cases": cases}
        )
    for name in missed:
        print(f"below the goal of {options.goal:g} times: {name}, {cases[name]['ratios'][sides[0]]:.2f}")
    for name, side in apart:
        print(f"scores differ: {name}, {side}, by {cases[name]['scores_apart'][side]:.1e}; allowed {TOLERANCE[side]}")
    return int(bool(missed or apart))


if __name__ == "__main__":
    sys.exit(main())
