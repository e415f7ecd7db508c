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
from prediction_sides import FREED, on_cpu, ours, precisions, processes, rate, rate_here
from transformers import AutoModelForSequenceClassification
from transformers.activations import GELUActivation

from hf_bertx.cpu_attention import use_cpu_attention
from hf_bertx.cpu_linear import OneDNNLinear, OneDNNLinearGELU, onednn_is_faster, use_onednn_linear
from hf_bertx.prediction import inference
from hf_bertx.prediction.distinct_rows import compute_distinct_rows
from hf_bertx.prediction.inference import SequenceClassifier
from hf_bertx.shortcuts import prune_unread_positions

_ALL, _KEPT = "all", "freed memory kept"


def lever_names(options: argparse.Namespace) -> list[str]:
    return [_KEPT, *(name for name in _makes(Path(), options) if name != _ALL)]


def levers(model: Path, rows: list[str], items: int, options: argparse.Namespace) -> dict[str, float]:
    """How many times as fast each lever makes it: with it beside without it, alternately, median of rounds."""
    rows = random.Random(2).sample(rows, min(len(rows), items))
    found = {}
    with processes(model, options, "ours", FREED) as made:
        if _KEPT in (options.levers or [_KEPT]):
            for process in made.values():
                process.submit(rate_here, rows).result()
            rates = [
                [made[side].submit(rate_here, rows).result() for side in ("ours", FREED)]
                for _ in range(options.lever_rounds)
            ]
            found[_KEPT] = statistics.median(kept / returned for kept, returned in rates)
        found |= made["ours"].submit(_levers_here, model, rows, options).result()
    for name, value in found.items():
        print(f"  {name}: {value:.2f} times")
    return found


def _makes(model: Path, options: argparse.Namespace) -> dict[str, Callable[[], SequenceClassifier]]:
    """What makes a classifier without a lever, by the lever's name; and with all of them."""
    makes: dict[str, Callable[[], SequenceClassifier]] = {
        _ALL: lambda: on_cpu(model, options),
        "one batch a core": lambda: on_cpu(model, options, _Undivided, threads=1),
        "sorted by length": lambda: on_cpu(model, options, _Unsorted),
        "last layer at position 0 alone": lambda: _without(prune_unread_positions, model, options),
        "batches": lambda: on_cpu(model, options, batch_size=1),
        "batches of one size": lambda: on_cpu(model, options, _Greedy),
        "attention by products": lambda: _without(use_cpu_attention, model, options),
        "position 0 without keys and values": lambda: _with_keys(model, options),
        "first layer once for each symbol at a position": lambda: _without(compute_distinct_rows, model, options),
    }
    for tokens in (512, 1024, 4096, 8192, 16384):
        makes[f"2048 tokens a batch, not {tokens}"] = lambda tokens=tokens: on_cpu(
            model, options, tokens_a_batch=tokens
        )
    other = "float32" if inference.fast_bfloat16(use_cpu=True) else "bfloat16"
    makes[f"not {other}"] = lambda: on_cpu(model, options, precision=other)
    makes["not compiled"] = lambda: _compiled(model, options)
    return makes


def _levers_here(model: Path, rows: list[str], options: argparse.Namespace) -> dict[str, float]:
    makes = _makes(model, options)
    makes = {name: make for name, make in makes.items() if name in (_ALL, *(options.levers or makes))}
    made = {name: make() for name, make in makes.items()}
    for classifier in made.values():
        ours(classifier, rows)  # one of them compiles
    pairs = {name: (made[_ALL], without) for name, without in made.items() if name != _ALL}
    if not options.levers:
        for precision in precisions(options):
            if onednn_is_faster(getattr(torch, precision)):
                told = argparse.Namespace(**{**vars(options), "precision": precision})
                by_onednn = on_cpu(model, told)
                pairs[f"oneDNN's linear maps, in {precision}"] = by_onednn, _without(use_onednn_linear, model, told)
                pairs[f"GELU within them, in {precision}"] = by_onednn, _with_gelu(model, told)
                pairs[f"weights in their layout, in {precision}"] = by_onednn, _without_layout(model, told)
    ratios: dict[str, list[float]] = {name: [] for name in pairs}
    for _ in range(options.lever_rounds):
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


# what a classifier does to its model, in this order
_PARTS = (prune_unread_positions, use_cpu_attention, use_onednn_linear, compute_distinct_rows)


def _without(part: Any, model: Path, options: argparse.Namespace) -> SequenceClassifier:
    """All that a classifier does to its model but one."""
    classifier = on_cpu(model, options)
    fresh = AutoModelForSequenceClassification.from_pretrained(model).eval().to(classifier.model.dtype)
    for other in _PARTS:
        if other is not part:
            other(fresh)
    classifier.model = fresh
    return classifier


def _with_keys(model: Path, options: argparse.Namespace) -> SequenceClassifier:
    classifier = on_cpu(model, options)
    attention = classifier.model.base_model.encoder.layer[-1].attention.self
    attention.key.register_forward_hook(lambda *_: None)  # a map that is hooked is asked
    return classifier


def _with_gelu(model: Path, options: argparse.Namespace) -> SequenceClassifier:
    classifier = on_cpu(model, options)
    for module in classifier.model.modules():
        if type(getattr(module, "dense", None)) is OneDNNLinearGELU:
            module.dense.__class__, module.intermediate_act_fn = OneDNNLinear, GELUActivation()
    return classifier


def _without_layout(model: Path, options: argparse.Namespace) -> SequenceClassifier:
    classifier = on_cpu(model, options)
    for module in classifier.model.modules():
        if isinstance(module, OneDNNLinear):
            module._weight_in_layout = lambda module=module: module.weight
    return classifier


def _compiled(model: Path, options: argparse.Namespace) -> SequenceClassifier:
    classifier = on_cpu(model, options)
    classifier.model.compile(dynamic=True)  # batches have many shapes
    return classifier
