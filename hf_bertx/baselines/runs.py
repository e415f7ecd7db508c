"""Fits a baseline to a task and writes an ordinary run folder."""

from __future__ import annotations

import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from transformers.utils import logging

from .. import metrics, run_files
from ..arms import BASELINE
from ..backbones import weights_revision
from ..data.task_data import TaskData, evaluation_subset, load_task_data, subset
from ..publishing.cards import write_model_card
from ..runs.order import check_same, machine, versions
from ..runs.training_options import check_values
from ..runs.writer import RunWriter
from ..tasks import Task, get_task, rows_folder
from .catalog import Baseline, get_baseline
from .features import count_cut
from .linear import Fitted, Items, fit_plain, search_plain

logger = logging.get_logger(__name__)

PROTOCOL = "baseline"
_HELD_OUT = 0.1  # share of the training items that is selected on where a task is tested on its validation set


def run_baseline(
    name: str,
    task: str | Task,
    split: str = "paper",
    data_dir: str | None = None,
    seed: int = 0,
    fraction: float = 1.0,
    root: Path = Path("runs"),
    max_eval_items: int | None = None,
    epochs: float | None = None,
) -> Path:
    """Fits a baseline, tests it once and leaves a run folder; a finished one is skipped.

    Hyperparameters are chosen on validation. Where the paper tests on the validation set (GLUE), a tenth of the
    training items is held out to choose on, and the chosen candidate is fitted to all of them.

    Args:
        seed: of the drawn training items, and of a network's weights and batches.
        fraction: share of the training data.
        max_eval_items: validate and test on at most so many items, the same for every seed.
        epochs: of a network, in place of its recipe's.

    Returns:
        The run's folder, `root/baseline/TASK/NAME/baseline/seed-N`.

    Raises:
        ValueError: an unknown baseline or task, one that does not fit the other, a fraction or a number of items that
            is not allowed, or a folder that holds a run of another specification.
        FileNotFoundError: the data cannot be found.
    """
    baseline, found = get_baseline(name), get_task(task) if isinstance(task, str) else task
    _check(baseline, found, seed, max_eval_items, epochs)
    data = load_task_data(found, split, data_dir or (rows_folder(task) if isinstance(task, str) else None))
    train = subset(data.splits["train"], fraction, seed)
    folder = baseline_folder(baseline.name, found, split, seed, fraction, Path(root))
    order = _order(baseline, found, data, split, seed, fraction, max_eval_items, epochs)
    if (folder / run_files.RUN).is_file():
        check_same(folder, order, "another --runs, or remove that folder")
        if (folder / run_files.RESULTS).is_file():
            run_files.check_run(folder)
            logger.warning(f"skipped: {folder} holds this run, finished")
            return folder
    data.say()
    rows = {"train": train} | {
        part: evaluation_subset(data.splits[part], max_eval_items) for part in data.splits if part != "train"
    }
    started = time.perf_counter()
    with run_files.locked(folder):
        run_files.sweep(folder)
        RunWriter(folder).order(order, _versions(), machine())
        if baseline.network:
            from .networks import train_network

            fitted = train_network(baseline, found, rows, seed, epochs, folder)
        else:
            fitted = _fit_plain(baseline, found, rows)
        _write(folder, found, data, rows, fitted, time.perf_counter() - started)
        if baseline.network:
            write_model_card(folder)
    return folder


def _check(baseline: Baseline, task: Task, seed: int, max_eval_items: int | None, epochs: float | None) -> None:
    misfit = baseline.misfit(task)
    if misfit is not None:
        raise ValueError(f"baseline {baseline.name!r} does not fit task {task.name!r}: {misfit}")
    check_values({"seed": seed})
    if max_eval_items is not None and max_eval_items < 1:
        raise ValueError(f"max_eval_items is {max_eval_items}; allowed: at least 1")
    if epochs is not None and not (baseline.network and epochs > 0):
        raise ValueError(f"epochs is {epochs} for {baseline.name!r}; allowed: for networks, more than 0")


def baseline_folder(name: str, task: Task, split: str, seed: int, fraction: float, root: Path) -> Path:
    """Where a baseline's run lies."""
    return root / run_files.run_folder(PROTOCOL, task.name, name, BASELINE, seed, fraction, split, "")


def _order(
    baseline: Baseline,
    task: Task,
    data: TaskData,
    split: str,
    seed: int,
    fraction: float,
    max_eval_items: int | None,
    epochs: float | None,
) -> dict[str, Any]:
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
            "protocol": PROTOCOL,
            "split": split,
            "seed": seed,
            "fraction": fraction,
            "max_eval_items": max_eval_items,
            "precision": "float32",
            "tuning": "full",
            "hyperparameters": {"searched": searched, "epochs": epochs},
        },
        "task": asdict(task),
        "data_fingerprint": data.fingerprint,
        "data_origin": data.origin,
        "backbone_origin": baseline.about,
    }


def _versions() -> dict[str, str]:
    return {**versions(), "scikit-learn": version("scikit-learn"), "scipy": version("scipy")}


def _fit_plain(baseline: Baseline, task: Task, rows: dict[str, Dataset]) -> Fitted:
    items = {name: items_of(part, task) for name, part in rows.items()}
    learned, selection = items["train"], items["validation"]
    if task.test_split == "validation":
        learned, selection = (items_of(part, task) for part in _held_out(rows["train"]))
    chosen, tried = search_plain(baseline, task, learned, selection)
    others = [name for name in items if name != "train"]
    answers, parameters = fit_plain(baseline, task, chosen, items["train"], [items[name] for name in others])
    whole = baseline.name == "majority" or "longest_ngram" in chosen  # reads every symbol, or none
    cut = {} if whole else {name: count_cut(task, part.columns[0]) for name, part in items.items()}
    return Fitted(dict(zip(others, answers, strict=True)), chosen, tried, parameters, {"cut": cut})


def _held_out(train: Dataset) -> tuple[Dataset, Dataset]:
    """Nine tenths of the training items to learn from, and a tenth to select on; at least one item each."""
    order = np.random.Generator(np.random.PCG64(0)).permutation(len(train))
    if len(train) < 2:
        raise ValueError(f"{len(train)} training item; at least 2 are needed to hold one out for selection")
    count = max(1, round(_HELD_OUT * len(train)))
    return train.select(sorted(order[count:].tolist())), train.select(sorted(order[:count].tolist()))


def items_of(rows: Dataset, task: Task) -> Items:
    """Rows as plain columns."""
    if task.multi_label:
        raise ValueError(f"task {task.name} has several labels an item; a baseline answers with one")
    names = ["sequence", *(["second_sequence"] if task.pair else [])]
    labels = np.asarray(rows["label"][:], dtype=np.float64 if task.regression else np.int64)
    return Items(tuple(rows[name][:] for name in names), labels, rows["group"][:] if task.votes else None)


def _write(folder: Path, task: Task, data: TaskData, rows: dict[str, Dataset], fitted: Fitted, seconds: float) -> None:
    """Predictions and scores; `results.json` last."""
    scores = {}
    for name, logits in fitted.logits.items():
        items = items_of(rows[name], task)
        scores[name] = metrics.score(task, logits, items.labels.tolist(), items.groups)
        RunWriter(folder).predictions(name == task.test_split, rows[name], logits)
    results = {
        "metrics": scores,
        "test_split": task.test_split,
        "counts": {name: len(part) for name, part in data.splits.items()},
        "understood": data.understood(),
        "train_items": len(rows["train"]),
        "evaluated_items": {name: len(rows[name]) for name in fitted.logits},
        "test_duplicates": data.test_duplicates,
        "steps": None,
        "max_steps": None,
        "selected_step": None,
        "stopped": "fitted",
        "train_seconds": round(seconds, 1),
        "total_seconds": round(seconds, 1),
        "resumed_from_step": None,
        "tokens_seen": None,
        "tokenizer": None,
        "parameters": fitted.parameters,
        "trained_parameters": fitted.parameters,
        "chosen": fitted.chosen,
        "tried": fitted.tried,
        "selected_on": "a tenth of the training items" if task.test_split == "validation" else "validation",
    }
    RunWriter(folder).results({**results, **fitted.more})
