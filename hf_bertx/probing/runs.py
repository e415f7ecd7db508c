"""A probe of a task: features of a frozen start, heads on growing draws of the training set, a run folder each."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from transformers.utils import logging

from .. import metrics, run_files
from ..arms import Arm, get_arm
from ..backbones import resolve_backbone, weights_revision
from ..data.input_records import InputRecord
from ..data.labels import label_array
from ..data.task_data import TaskData, load_task_data
from ..disciplines import get_discipline
from ..prediction.inference import SequenceClassifier
from ..runs.order import check_same, machine, versions
from ..runs.training_options import check_values
from ..runs.writer import RunWriter
from ..tasks import Task, get_task, rows_folder
from .draws import ALL, count, draw, parts
from .encoder import FrozenEncoder, frozen_encoder
from .features import POOLINGS
from .heads import Head, fit_head
from .pooling_layer import add_pooling_layer, check_poolable, pooled, set_head
from .spec import OF_A_MODEL, ProbeSpec, probe_order

logger = logging.get_logger(__name__)


@dataclass(frozen=True)
class _Part:
    """Rows with their features, of shape `(rows, layers + 1, 2, hidden)`, and which of them were cut."""

    rows: Dataset
    features: np.ndarray
    cut: np.ndarray
    labels: np.ndarray

    def score(self, task: Task, logits: np.ndarray) -> dict[str, float]:
        groups = self.rows["group"][:] if task.votes else None
        return metrics.score(task, logits, self.labels.tolist(), groups)


@dataclass(frozen=True)
class _Fitted:
    chosen: dict[str, Any]
    tried: list[dict[str, Any]]
    head: Head
    logits: dict[str, np.ndarray]


def run_probe(
    spec: ProbeSpec,
    items: Sequence[int | str] = (ALL,),
    data_dir: str | None = None,
    root: Path = Path("runs"),
    cache: Path | None = None,
) -> list[Path]:
    """Probes a start on a task with training sets of several sizes; finished runs are skipped.

    Layer and pooling are chosen by the task's metric on validation; where the paper tests on the validation set
    (GLUE), on training items that no draw contains. The strength of the ridge is chosen by leave-one-out. The choice
    alone answers for the test items; test scores of the other layers are recorded for a figure and never used.

    Args:
        items: sizes of the training set, or `all`. Smaller draws of one seed are part of its larger ones.
        data_dir: a folder that `bertx data build` made.
        root: the root of the runs.
        cache: where features are kept; by default `root/features`.

    Returns:
        The folders of the runs, `root/probe/TASK/BACKBONE/ARM/seed-N-items=M`, in the order of `items`.

    Raises:
        ValueError: an unknown name, an arm that does not fit the task, a layer that the backbone lacks, a training
            size above the data's or too small for two classes, or a folder that holds another run.
        FileNotFoundError: the data cannot be had.
    """
    task, arm = _checked(spec)
    data = load_task_data(task, spec.split, data_dir or rows_folder(spec.task))
    train, selection, test = parts(data, task, spec.max_test_items)
    todo = _unfinished(spec, task, arm, data, items, len(train), Path(root))
    folders = [spec.folder(Path(root), size) for size in items]
    if not todo:
        return folders
    data.say()
    started = time.perf_counter()
    cached = cache or Path(root) / "features"
    backbone = weights_revision(resolve_backbone(spec.backbone).source)
    encoder = frozen_encoder(
        spec.task, data.fingerprint, spec.arm, spec.backbone, backbone, spec.seed, cached, spec.kmer
    )
    layers = _checked_layers(spec, encoder.layers)
    if spec.save_model:
        check_poolable(encoder.model.config.model_type)
    drawn = draw(len(train), max(number for number, _, _ in todo), spec.seed)
    pool, selected, tested = (_part(encoder, rows, task) for rows in (train.select(drawn), selection, test))
    evaluated = {"validation": selected, "test": tested}
    places = {row: place for place, row in enumerate(drawn)}
    for number, folder, order in todo:
        chosen = [places[row] for row in draw(len(train), number, spec.seed)]
        learned = _Part(pool.rows.select(chosen), pool.features[chosen], pool.cut[chosen], pool.labels[chosen])
        with run_files.locked(folder):
            RunWriter(folder).order(order, versions(), machine())
            fitted = _fit(spec, task, learned, selected, tested, layers, encoder)
            if spec.save_model:
                fitted = replace(fitted, logits=_save(encoder, fitted, folder, evaluated))
            _write(folder, task, data, learned, evaluated, fitted, encoder, time.perf_counter() - started)
    return folders


def _part(encoder: FrozenEncoder, rows: Dataset, task: Task) -> _Part:
    return _Part(rows, *encoder.features(rows), label_array(rows["label"][:], task))


def _checked(spec: ProbeSpec) -> tuple[Task, Arm]:
    task, arm = get_task(spec.task), get_arm(spec.arm)
    misfit = arm.misfit(task.name, task.discipline)
    if misfit is not None:
        raise ValueError(misfit)
    check_values({"seed": spec.seed})
    if spec.kmer is not None:
        get_discipline(task.discipline, spec.kmer)
    return task, arm


def _unfinished(
    spec: ProbeSpec, task: Task, arm: Arm, data: TaskData, items: Sequence[int | str], available: int, root: Path
) -> list[tuple[int, Path, dict[str, Any]]]:
    """Number of training items, folder and order of each run that is not finished.

    Raises:
        ValueError: a folder holds another run, or a finished run's files are damaged.
    """
    found = []
    for size in items:
        number, folder = count(size, available, spec.task), spec.folder(root, size)
        order = probe_order(spec, task, arm, data, size, number)
        if (folder / run_files.RUN).is_file():
            check_same(folder, order, "another --runs, or remove that folder")
        if (folder / run_files.RESULTS).is_file():
            run_files.check_run(folder)
            logger.warning(f"skipped: {folder} holds this run, finished")
        else:
            found.append((number, folder, order))
    return found


def _checked_layers(spec: ProbeSpec, available: int) -> tuple[int, ...]:
    layers = tuple(range(available + 1)) if spec.layers is None else spec.layers
    for layer in layers:
        if not 0 <= layer <= available:
            raise ValueError(f"layer {layer}: {spec.backbone} has layers 1 to {available}, and 0 for its embeddings")
    return layers


def _fit(
    spec: ProbeSpec,
    task: Task,
    learned: _Part,
    selected: _Part,
    tested: _Part,
    layers: tuple[int, ...],
    encoder: FrozenEncoder,
) -> _Fitted:
    """Fits a head on each layer and pooling, and chooses the one with the best score on validation."""
    from threadpoolctl import threadpool_limits

    labels, classes = learned.labels, None if task.labels is None else len(task.labels)
    if spec.permute_labels:
        labels = np.random.Generator(np.random.PCG64(spec.seed)).permutation(labels)
    tried: list[dict[str, Any]] = []
    best: tuple[Head, dict[str, np.ndarray]] | None = None
    chosen = 0
    with threadpool_limits(1, user_api="blas"):  # the products are small: more threads would wait for each other
        for layer in layers:
            for pooling in spec.poolings:
                x, a, b = (_pooled(part.features, layer, pooling, encoder) for part in (learned, selected, tested))
                head = fit_head(x, labels, classes)
                logits = {"validation": head(a), "test": head(b)}
                scores = {
                    name: part.score(task, logits[name])[task.metric]
                    for name, part in (("validation", selected), ("test", tested))
                }
                tried.append({"layer": layer, "pooling": pooling, "alpha": head.alpha, **scores})
                if best is None or scores["validation"] > tried[chosen]["validation"]:
                    best, chosen = (head, logits), len(tried) - 1
    assert best is not None  # there is a layer
    return _Fitted(tried[chosen], tried, *best)


def _pooled(features: np.ndarray, layer: int, pooling: str, encoder: FrozenEncoder) -> np.ndarray:
    if pooling == OF_A_MODEL:
        return pooled(features[:, layer, 0], features[:, layer, 1], encoder.model.config.layer_norm_eps)
    return features[:, layer, POOLINGS.index(pooling)]


def _save(encoder: FrozenEncoder, fitted: _Fitted, folder: Path, evaluated: dict[str, _Part]) -> dict[str, np.ndarray]:
    """Saves the probe as a model.

    Returns:
        The model's own answers, as `bertx predict` gives them: features of a probe are rounded to float16.
    """
    model = set_head(add_pooling_layer(encoder.model, fitted.chosen["layer"]), fitted.head)

    def save(path: Path) -> None:
        model.save_pretrained(path)
        encoder.tokenizer.save_pretrained(path)

    run_files.write_folder(folder / run_files.MODEL, save)
    classifier = SequenceClassifier.from_pretrained(folder)
    answers = {}
    for name, part in evaluated.items():
        rows = part.rows
        second = rows["second_sequence"][:] if "second_sequence" in rows.column_names else [None] * len(rows)
        columns = zip(rows["id"][:], rows["sequence"][:], second, strict=True)
        records = (InputRecord(str(key), sequence, f"{name}, id {key}", other) for key, sequence, other in columns)
        answers[name] = np.concatenate([chunk.logits for chunk in classifier.predict(records)])
    return answers


def _write(
    folder: Path,
    task: Task,
    data: TaskData,
    learned: _Part,
    evaluated: dict[str, _Part],
    fitted: _Fitted,
    encoder: FrozenEncoder,
    seconds: float,
) -> None:
    """Predictions and scores; `results.json` last."""
    on_train = task.test_split == "validation"  # then validation items are tested on, and training items selected on
    named = {"validation": "selection" if on_train else "validation", "test": task.test_split}
    scores, cut = {}, {"train": int(learned.cut.sum())}
    for name, part in evaluated.items():
        cut[named[name]] = int(part.cut.sum())
        scores[named[name]] = part.score(task, fitted.logits[name])
        RunWriter(folder).predictions(name == "test", part.rows, fitted.logits[name])
    present = np.flatnonzero(learned.labels.any(0)) if task.multi_label else np.unique(learned.labels)
    absent = sorted(set(range(len(task.labels or ()))) - set(present.tolist()))
    ids = "\n".join(map(str, learned.rows["id"][:]))
    results = {
        "metrics": scores,
        "test_split": task.test_split,
        "counts": {name: len(rows) for name, rows in data.splits.items()},
        "understood": data.understood(),
        "cut": cut,
        "train_items": len(learned.rows),
        "train_rows": hashlib.sha256(ids.encode()).hexdigest(),
        "evaluated_items": {named[name]: len(part.rows) for name, part in evaluated.items()},
        "test_duplicates": data.test_duplicates,
        **dict.fromkeys(("steps", "max_steps", "selected_step", "resumed_from_step", "tokens_seen")),
        "stopped": "fitted",
        "train_seconds": round(seconds, 1),
        "total_seconds": round(seconds, 1),
        "tokenizer": getattr(encoder.tokenizer, "assignment", None),
        "encoder": {"layers": encoder.layers, "weights": encoder.weights},
        "parameters": encoder.parameters + fitted.head.weight.size + fitted.head.bias.size,
        "trained_parameters": fitted.head.weight.size + fitted.head.bias.size,
        "chosen": fitted.chosen,
        "tried": fitted.tried,
        "absent_classes": [task.labels[number] for number in absent] if task.labels else [],
        "selected_on": "held-out training items" if on_train else "validation",
    }
    RunWriter(folder).results(results)
