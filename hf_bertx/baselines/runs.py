"""Fits a baseline to a task and writes an ordinary run folder."""

from __future__ import annotations

import math
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from .. import metrics, run_files
from ..arms import BASELINE
from ..backbones import weights_revision
from ..data.labels import label_array
from ..data.row_checks import sequence_columns
from ..data.task_data import TaskData, evaluation_subset, load_task_data, subset
from ..publishing.cards import write_model_card
from ..runs.order import machine, skip_finished, versions
from ..runs.spec import RunSpec
from ..runs.training_options import check_values
from ..runs.writer import RunWriter
from ..tasks import Task, get_task, rows_folder
from .catalog import Baseline, get_baseline
from .features import count_cut
from .linear import Fitted, Items, fit_plain, search_plain

_HELD_OUT = 0.1  # share of the training items that is selected on where a task is tested on its validation set


def run_baseline(
    spec: RunSpec, data_dir: str | None = None, root: Path = Path("runs"), epochs: float | None = None
) -> Path:
    """Fits a baseline, tests it once and leaves a run folder; a finished one is skipped.

    Hyperparameters are chosen on validation. Where the paper tests on the validation set (GLUE), a tenth of the
    training items is held out to choose on, and the chosen candidate is fitted to all of them.

    Args:
        spec: from [`RunSpec.of_baseline`]. Its seed is of the drawn training items, and of a network.
        epochs: of a network, in place of its recipe's.

    Returns:
        The run's folder, `root/baseline/TASK/NAME/baseline/seed-N`.

    Raises:
        ValueError: an unknown baseline or task, one that does not fit the other, a fraction or a number of items that
            is not allowed, or a folder that holds a run of another specification.
        FileNotFoundError: the data cannot be found.
    """
    baseline, task = get_baseline(spec.backbone), get_task(spec.task)
    limit = spec.hyperparameters()["max_eval_items"]
    _check(baseline, task, spec.seed, epochs, limit)
    data = load_task_data(task, spec.data_split, data_dir or rows_folder(spec.task))
    train = subset(data.splits["train"], spec.fraction, spec.seed)
    folder, order = spec.folder(Path(root)), _order(spec, baseline, task, data, epochs)
    if skip_finished(folder, order):
        return folder
    data.log_summary()
    rows = {"train": train} | {
        part: evaluation_subset(data.splits[part], limit) for part in data.splits if part != "train"
    }
    started = time.perf_counter()
    with run_files.locked(folder):
        run_files.sweep(folder)
        libraries = {name: version(name) for name in ("scikit-learn", "scipy")}
        RunWriter(folder).order(order, versions() | libraries, machine())
        if baseline.network:
            from .networks import train_network

            fitted = train_network(baseline, task, rows, spec.seed, epochs, folder)
        else:
            fitted = _fit_plain(baseline, task, rows)
        _write(folder, task, data, rows, fitted, time.perf_counter() - started)
        if baseline.network:
            write_model_card(folder)
    return folder


def _check(baseline: Baseline, task: Task, seed: int, epochs: float | None, limit: int | None) -> None:
    misfit = baseline.misfit(task)
    if misfit is not None:
        raise ValueError(f"baseline {baseline.name!r} does not fit task {task.name!r}: {misfit}")
    check_values({"seed": seed, "max_eval_items": limit})
    if epochs is not None and not (baseline.network and 0 < epochs < math.inf):
        raise ValueError(f"epochs is {epochs} for {baseline.name!r}; allowed: for networks, more than 0 and finite")


def _order(spec: RunSpec, baseline: Baseline, task: Task, data: TaskData, epochs: float | None) -> dict[str, Any]:
    searched = {name: list(values) for name, values in baseline.values(task).items()}
    return {
        "specification": {
            "task": task.name,
            "backbone": baseline.name,
            "backbone_revision": None if baseline.source is None else weights_revision(baseline.source),
            "arm": BASELINE,
            "start": None,
            "assignment": None,
            "shift": "none",
            "protocol": BASELINE,
            "split": spec.data_split,
            "seed": spec.seed,
            "fraction": spec.fraction,
            **spec.hyperparameters(),
            "precision": "float32",
            "tuning": "full",
            "hyperparameters": {"searched": searched, "epochs": epochs},
        },
        "task": asdict(task),
        "data_fingerprint": data.fingerprint,
        "data_origin": data.origin,
        "backbone_origin": baseline.about,
    }


def _fit_plain(baseline: Baseline, task: Task, rows: dict[str, Dataset]) -> Fitted:
    items = {name: _items_of(part, task) for name, part in rows.items()}
    learned, selection = items["train"], items["validation"]
    if task.test_split == "validation":
        learned, selection = (_items_of(part, task) for part in _held_out(rows["train"]))
    chosen, tried = search_plain(baseline, task, learned, selection)
    others = [name for name in items if name != "train"]
    answers, parameters = fit_plain(baseline, task, chosen, items["train"], [items[name] for name in others])
    whole = baseline.name == "majority" or "longest_ngram" in chosen  # no sequence is cut
    cut = {} if whole else {name: count_cut(task, part.columns) for name, part in items.items()}
    return Fitted(dict(zip(others, answers, strict=True)), chosen, tried, parameters, {"cut": cut})


def _held_out(train: Dataset) -> tuple[Dataset, Dataset]:
    """Nine tenths of the training items to learn from, and a tenth to select on; at least one item each."""
    order = np.random.Generator(np.random.PCG64(0)).permutation(len(train))
    if len(train) < 2:
        raise ValueError(f"{len(train)} training item; at least 2 are needed to hold one out for selection")
    count = max(1, round(_HELD_OUT * len(train)))
    return train.select(sorted(order[count:].tolist())), train.select(sorted(order[:count].tolist()))


def _items_of(rows: Dataset, task: Task) -> Items:
    texts = tuple(rows[name][:] for name in sequence_columns(rows.column_names))
    return Items(texts, label_array(rows["label"][:], task), rows["group"][:] if task.votes else None)


def _write(folder: Path, task: Task, data: TaskData, rows: dict[str, Dataset], fitted: Fitted, seconds: float) -> None:
    """Predictions and scores; `results.json` last."""
    writer, scores = RunWriter(folder), {}
    for name, logits in fitted.logits.items():
        items = _items_of(rows[name], task)
        scores[name] = metrics.score(task, logits, items.labels.tolist(), items.groups)
        writer.predictions(name == task.test_split, rows[name], logits)
    results = {
        "metrics": scores,
        "test_split": task.test_split,
        "counts": {name: len(part) for name, part in data.splits.items()},
        "understood": data.understood(),
        "train_items": len(rows["train"]),
        "evaluated_items": {name: len(rows[name]) for name in fitted.logits},
        "test_duplicates": data.test_duplicates,
        **dict.fromkeys(("steps", "max_steps", "selected_step", "resumed_from_step", "tokens_seen", "tokenizer")),
        "stopped": "fitted",
        "train_seconds": round(seconds, 1),
        "total_seconds": round(seconds, 1),
        "parameters": fitted.parameters,
        "trained_parameters": fitted.parameters,
        "chosen": fitted.chosen,
        "tried": fitted.tried,
        "selected_on": "a tenth of the training items" if task.test_split == "validation" else "validation",
    }
    writer.results({**results, **fitted.more})
