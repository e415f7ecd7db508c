"""What each lever of prediction is worth: all of them beside all but that one, alternately."""

from __future__ import annotations

import argparse
import random
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from prediction_sides import FREED, on_cpu, ours, processes, rate, rate_here
from transformers import AutoModelForSequenceClassification

from hf_bertx.cpu_linear import OneDNNLinear, onednn_is_faster
from hf_bertx.prediction import inference
from hf_bertx.prediction.inference import SequenceClassifier


def levers(model: Path, rows: list[str], items: int, options: argparse.Namespace) -> dict[str, float]:
    """How many times as fast each lever makes it: with it beside without it, alternately, median of rounds."""
    rows = random.Random(2).sample(rows, min(len(rows), items))
    with processes(model, options, "ours", FREED) as made:
        for process in made.values():
            process.submit(rate_here, rows).result()
        rates = [
            [made[side].submit(rate_here, rows).result() for side in ("ours", FREED)] for _ in range(options.rounds)
        ]
        found = {"freed memory kept": statistics.median(kept / returned for kept, returned in rates)}
        found |= made["ours"].submit(_levers_here, model, rows, options).result()
    for name, value in found.items():
        print(f"  {name}: {value:.2f} times")
    return found


def _levers_here(model: Path, rows: list[str], options: argparse.Namespace) -> dict[str, float]:
    makes: dict[str, Callable[[], SequenceClassifier]] = {
        "all": lambda: on_cpu(model, options),
        "one batch a core": lambda: on_cpu(model, options, _Undivided, threads=1),
        "sorted by length": lambda: on_cpu(model, options, _Unsorted),
        "last layer at position 0 alone": lambda: _unpruned(model, options),
        "batches": lambda: on_cpu(model, options, batch_size=1),
        "batches of one size": lambda: on_cpu(model, options, _Greedy),
        "attention by products": lambda: _with_sdpa(model, options),
    }
    for tokens in (512, 1024, 4096, 8192, 16384):
        makes[f"2048 tokens a batch, not {tokens}"] = lambda tokens=tokens: on_cpu(
            model, options, tokens_a_batch=tokens
        )
    other = "float32" if inference.fast_bfloat16(use_cpu=True) else "bfloat16"
    makes[f"not {other}"] = lambda: on_cpu(model, options, precision=other)
    makes["not compiled"] = lambda: _compiled(model, options)
    made = {name: make() for name, make in makes.items()}
    ours(made["not compiled"], rows)  # compiles
    pairs = {name: (made["all"], without) for name, without in made.items() if name != "all"}
    if onednn_is_faster():
        pairs["oneDNN's products, in float32"] = on_cpu(model, options, precision="float32"), _with_mkl(model, options)
    ratios: dict[str, list[float]] = {name: [] for name in pairs}
    for _ in range(options.rounds):
        for name, (with_it, without) in pairs.items():
            torch.set_num_threads(options.threads)
            few = rows[:64] if name == "not bfloat16" else rows
            slower = rate(partial(ours, without), few)
            ratios[name].append(rate(partial(ours, with_it), few) / slower)
    return {name: statistics.median(values) for name, values in ratios.items()}


class _Unsorted(SequenceClassifier):
    def _batches(self, lengths: np.ndarray) -> list[np.ndarray]:
        return super()._batches(np.full_like(lengths, int(lengths.max())))


class _Greedy(SequenceClassifier):
    """Batches as full as they may be, and one with what is left."""

    def _batches(self, lengths: np.ndarray) -> list[np.ndarray]:
        order = np.argsort(-lengths, kind="stable")
        sizes = inference._batch_sizes(lengths[order].tolist(), self.tokens_a_batch, self.batch_size)
        return np.split(order, np.cumsum(sizes)[:-1])


class _Undivided(SequenceClassifier):
    """One batch after the other, each operation on all cores: torch's own way."""

    def _logits(self, window: Any, lengths: np.ndarray) -> np.ndarray:
        columns = inference._columns(window)
        out = np.empty((len(window), self.model.config.num_labels), dtype=np.float32)
        for batch in self._batches(lengths):
            out[batch] = self._forward([[column[i] for i in batch] for column in columns])
        return out


def _unpruned(model: Path, options: argparse.Namespace) -> SequenceClassifier:
    classifier = on_cpu(model, options)
    classifier.model = AutoModelForSequenceClassification.from_pretrained(model).eval().to(classifier.model.dtype)
    return classifier


def _with_sdpa(model: Path, options: argparse.Namespace) -> SequenceClassifier:
    classifier = on_cpu(model, options)
    classifier.model.set_attn_implementation("sdpa")
    return classifier


def _with_mkl(model: Path, options: argparse.Namespace) -> SequenceClassifier:
    classifier = on_cpu(model, options, precision="float32")
    for module in classifier.model.modules():
        if type(module) is OneDNNLinear:
            module.__class__ = torch.nn.Linear
    return classifier


def _compiled(model: Path, options: argparse.Namespace) -> SequenceClassifier:
    classifier = on_cpu(model, options)
    classifier.model.compile(dynamic=True)  # batches have many shapes
    return classifier
