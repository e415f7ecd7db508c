"""Prediction with hf_bertx beside `pipeline("text-classification")` with its defaults, alternately, on the CPU.

    python benchmarks/prediction.py [--items 2000] [--peer_items 100] [--rounds 3]

Cases: splice sequences of the package's data set, and an eighth as many random proteins of 40 to 800 amino acids. The
peer is what the stock documentation shows: batch size 1, the model's own tokenizer and precision. Ours is `bertx
predict` as it comes, in bfloat16 where the processor has that; there it is measured in float32 as well. Each has a
process of its own. Rates are compared, and scores of the same items.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from goals import benchmark
from scipy.special import softmax
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline
from turns import Loop, Turn, alternate, be_quiet

from hf_bertx.backbones import resolve_backbone
from hf_bertx.data.input_records import InputRecord
from hf_bertx.data.task_data import load_task_data
from hf_bertx.disciplines import PROTEIN
from hf_bertx.prediction import inference
from hf_bertx.processor import fast_bfloat16, keep_freed_memory, usable_cores
from hf_bertx.tasks import get_task
from hf_bertx.tokenization_discipline import DisciplineTokenizer

_CHECKED = 64  # items whose scores are compared


def sequences(case: str, n: int) -> list[str]:
    """`n` sequences in random order."""
    draw, letters = random.Random(0), PROTEIN.symbols[:20]
    if case == "splice":
        rows = load_task_data(get_task("dna-splice")).splits["train"]["sequence"][:]
    else:
        rows = ["".join(draw.choices(letters, k=draw.randint(40, 800))) for _ in range(n)]
    return (draw.sample(rows, len(rows)) * (n // len(rows) + 1))[:n]


def model_for(case: str, backbone: str, folder: Path) -> Path:
    """A classifier of the backbone's size with a random head: its answers do not change its speed."""
    source = resolve_backbone(backbone).source
    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_pretrained(source, num_labels=3).save_pretrained(folder)
    discipline = "dna" if case == "splice" else "protein"
    DisciplineTokenizer.from_backbone(AutoTokenizer.from_pretrained(source), discipline).save_pretrained(folder)
    return folder


def precisions() -> list[str]:
    return list(dict.fromkeys(("bfloat16" if fast_bfloat16(use_cpu=True) else "float32", "float32")))


def make_loop(side: str, model: Path, rows: list[str], threads: int) -> tuple[Loop, Callable[[], Any]]:
    """Scores all rows again and again; `side` is `peer` or a precision of ours."""
    be_quiet()
    torch.set_num_threads(threads)
    if side == "peer":
        classify: Any = pipeline("text-classification", model=str(model), device="cpu", function_to_apply="softmax")
        names = list(classify.model.config.id2label.values())
    else:
        keep_freed_memory()  # as `bertx predict` does
        loaded = AutoModelForSequenceClassification.from_pretrained(model)
        tokenizer = AutoTokenizer.from_pretrained(model)
        classifier = inference.SequenceClassifier(loaded, tokenizer, precision=side, threads=threads)

    def scores(some: list[str]) -> np.ndarray:
        if side == "peer":
            answers = classify(some, top_k=None, truncation=True)
            return np.array([[{a["label"]: a["score"] for a in answer}[name] for name in names] for answer in answers])
        records = (InputRecord(str(i), row, f"row {i}") for i, row in enumerate(some))
        return np.concatenate([softmax(chunk.logits, axis=1) for chunk in classifier.predict(records)])

    def loop(done: Callable[[], None]) -> None:
        while True:
            scores(rows)
            done()

    return loop, lambda: scores(rows[:_CHECKED])


def measure_case(name: str, model: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One case: rates of all by round, ratios to the peer's, and how far scores lie apart."""
    rows = sequences(name, options.items if name == "splice" else max(1, options.items // 8))
    counts = {"peer": min(options.peer_items, len(rows))} | {side: len(rows) for side in precisions()}
    turns = {side: Turn(make_loop, side, model, rows[:n], options.threads) for side, n in counts.items()}
    try:
        taken = alternate(turns, options.rounds, float("inf"))
        scores = {side: turn.figures() for side, turn in turns.items()}
    finally:
        for turn in turns.values():
            turn.close()
    checked = min(len(some) for some in scores.values())
    rates = {side: [counts[side] / seconds for seconds in taken[side]] for side in taken}
    measured: dict[str, Any] = {"items": len(rows), "items_a_second": rates, "ratios": {}, "scores_apart": {}}
    for side in precisions():
        rounds = [a / b for a, b in zip(rates[side], rates["peer"], strict=True)]
        apart = float(np.abs(scores[side][:checked] - scores["peer"][:checked]).max())
        measured["ratios"][side], measured["scores_apart"][side] = statistics.median(rounds), apart
        print(f"{name}, {side}: {rates[side][-1]:.1f} items a second, {measured['ratios'][side]:.2f} times the peer's "
              f"({min(rounds):.2f} to {max(rounds):.2f}); scores apart by {apart:.1e}", flush=True)  # fmt: skip
    return measured


def measure(options: argparse.Namespace) -> dict[str, Any]:
    be_quiet()
    cases = {}
    for name in options.cases:
        with tempfile.TemporaryDirectory() as folder:
            cases[name] = measure_case(name, model_for(name, options.backbone, Path(folder)), options)
    fast = fast_bfloat16(use_cpu=True)
    return {"precision": precisions()[0], "fast_bfloat16": fast, "cases": cases}


if __name__ == "__main__":
    cases = ["splice", "proteins"]
    usual = {"rounds": 3, "items": 2000, "peer_items": 100, "threads": usable_cores()}
    sys.exit(benchmark(__doc__, measure, None, **usual, backbone="minilm-l6", cases=cases))
