"""A probe of a task: features of a frozen start, heads on growing draws of the training set, a run folder each."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import AutoConfig

from .. import metrics, run_files
from ..arms import Arm, get_arm
from ..backbones import load, resolve_backbone, weights_revision
from ..data.input_records import InputRecord
from ..data.task_data import TaskData, load_task_data
from ..disciplines import get_discipline
from ..prediction.inference import SequenceClassifier
from ..runs.arguments import windows_of
from ..runs.calibration import check_calibration, divide_head, fit_temperature
from ..runs.model import write_model
from ..runs.option_checks import check_class_weights
from ..runs.order import machine, skip_finished, versions
from ..runs.spec import RunSpec
from ..runs.training_options import check_values
from ..runs.windows import log_lengths
from ..runs.writer import RunWriter
from ..tasks import Task, get_task, rows_folder
from .draws import count, draw, parts
from .encoder import EncodedRows, FrozenEncoder, encoded, frozen_encoder
from .features import OF_A_MODEL
from .heads import Head, fit_head
from .order import poolings, probe_order
from .pooling_layer import add_pooling_layer, check_poolable, set_head


@dataclass(frozen=True)
class _Fitted:
    chosen: dict[str, Any]
    tried: list[dict[str, Any]]
    head: Head
    logits: dict[str, np.ndarray]
    calibration: dict[str, Any] | None = None


def run_probes(
    specs: Sequence[RunSpec],
    data_dir: str | None = None,
    root: Path = Path("runs"),
    cache: Path | None = None,
    threads: int | None = None,
) -> list[Path]:
    """Probes a start on a task with training sets of several sizes; finished runs are skipped.

    Layer and pooling are chosen by the task's metric on validation; where the paper tests on the validation set
    (GLUE), on training items that no draw contains. The strength of the ridge is chosen by leave-one-out. Test scores
    of all layers are recorded for a figure, never used for a choice, and left out where a model is saved.

    Args:
        specs: of [`RunSpec.of_probe`], which differ by `items` alone; smaller draws are part of larger ones.
        data_dir: a folder that `bertx data build` made.
        root: the root of the runs.
        cache: where features are kept; by default `root/features`.
        threads: batches that are computed at the same time on a CPU; by default one a core.

    Returns:
        The folders of the runs, `root/probe/TASK/BACKBONE/ARM/seed-N-items=M`, in the order of `specs`.

    Raises:
        ValueError: an unknown name, an arm that does not fit the task, a layer that the backbone lacks, a training
            size above the data's or too small for two classes, or a folder that holds another run.
        FileNotFoundError: the data cannot be had.
    """
    spec = specs[0]
    task, arm = _checked(spec, threads)
    data = load_task_data(task, spec.data_split, data_dir or rows_folder(spec.task))
    requested = spec.hyperparameters()
    train, selection, test = parts(data, task, requested["max_eval_items"])
    folders = [each.folder(root) for each in specs]
    todo = _unfinished(specs, task, arm, data, (len(train), len(selection)), root)
    if not todo:
        return folders
    data.log_summary()
    started = time.perf_counter()
    weights = weights_revision(resolve_backbone(spec.backbone).source)
    more = (spec.seed, cache or root / "features", spec.kmer, spec.window, spec.overlap)
    encoder = frozen_encoder(spec.task, data.fingerprint, spec.arm, spec.backbone, weights, *more)
    layers = _checked_layers(spec, encoder)
    drawn = draw(len(train), max(number for number, _, _ in todo), spec.seed)
    pool, selected = (encoded(encoder, rows, task, threads) for rows in (train.select(drawn), selection))
    tested = encoded(encoder, test, task, threads, computed=not requested["save_model"])
    evaluated = {"validation": selected, "test": tested}
    unread = pool.split if encoder.windows else int(pool.cut.sum())
    log_lengths(task, encoder.tokenizer, encoder.windows, len(pool.rows), len(pool.cut), unread)
    places = {row: place for place, row in enumerate(drawn)}
    for number, folder, order in todo:
        learned = pool.take([places[row] for row in draw(len(train), number, spec.seed)])
        with run_files.locked(folder):
            run_files.sweep(folder)
            RunWriter(folder).order(order, versions(), machine())
            fitted = _fit(spec, task, learned, evaluated, layers, encoder.model.config)
            if requested["save_model"]:
                fitted = _save(encoder, fitted, folder, evaluated, threads, requested["calibrate"])
            _write(folder, task, data, learned, evaluated, fitted, encoder, time.perf_counter() - started)
    return folders


def _checked(spec: RunSpec, threads: int | None) -> tuple[Task, Arm]:
    check_values({"seed": spec.seed, "threads": threads})
    (task, _), arm = windows_of(get_task(spec.task), spec.window, spec.overlap), get_arm(spec.arm)
    arm.check_fits(task.name, task.discipline)
    requested = spec.hyperparameters()
    check_class_weights(requested["class_weights"], task)
    if requested["calibrate"] and not requested["save_model"]:
        raise ValueError("--calibrate has no effect without --save_model")
    if requested["save_model"]:
        check_poolable(load(resolve_backbone(spec.backbone), AutoConfig.from_pretrained).model_type)
    if spec.kmer is not None:
        get_discipline(task.discipline, spec.kmer)
    return task, arm


def _unfinished(
    specs: Sequence[RunSpec], task: Task, arm: Arm, data: TaskData, items: tuple[int, int], root: Path
) -> list[tuple[int, Path, dict[str, Any]]]:
    """Number of training items, folder and order of each run that is not finished.

    Args:
        items: how many there are to train on, and to select on.

    Raises:
        ValueError: a folder holds another run, a finished run's files are damaged, or a run cannot be calibrated.
    """
    (available, selected), todo = items, []
    if specs[0].hyperparameters()["calibrate"]:
        check_calibration(task, selected)
    for spec in specs:
        number, folder = count(spec.hyperparameters()["items"], available, spec.task), spec.folder(root)
        order = probe_order(spec, task, arm, data, number, available)
        if not skip_finished(folder, order):
            todo.append((number, folder, order))
    return todo


def _checked_layers(spec: RunSpec, encoder: FrozenEncoder) -> Sequence[int]:
    """The layers to choose from."""
    available = encoder.layers
    layers = spec.hyperparameters()["layers"] or range(available + 1)
    for layer in layers:
        if not 0 <= layer <= available:
            raise ValueError(f"layer {layer}: {spec.backbone} has layers 1 to {available}, and 0 for its embeddings")
    return layers


def _fit(
    spec: RunSpec,
    task: Task,
    learned: EncodedRows,
    evaluated: dict[str, EncodedRows],
    layers: Sequence[int],
    config: Any,
) -> _Fitted:
    """Fits a head on each layer and pooling, and chooses the one with the best score on validation."""
    from threadpoolctl import threadpool_limits

    labels, classes = learned.labels, None if task.labels is None else len(task.labels)
    requested, eps = spec.hyperparameters(), getattr(config, "layer_norm_eps", 0.0)  # poolable models have it
    weights = None if requested["class_weights"] is None else metrics.balanced_weights(labels, classes or 0)[labels]
    if requested["permute_labels"]:
        labels = np.random.Generator(np.random.PCG64(spec.seed)).permutation(labels)
    tried: list[dict[str, Any]] = []
    best: tuple[Head, dict[str, np.ndarray]] | None = None
    chosen = 0
    scored = {name: part for name, part in evaluated.items() if part.features is not None}
    with threadpool_limits(1, user_api="blas"):  # the products are too small for several threads
        for layer, pooling in itertools.product(layers, poolings(spec)):
            head = fit_head(learned.pooled(layer, pooling, eps), labels, classes, weights)
            logits = {name: head(part.pooled(layer, pooling, eps)) for name, part in scored.items()}
            scores = {name: part.score(task, logits[name])[task.metric] for name, part in scored.items()}
            tried.append({"layer": layer, "pooling": pooling, "alpha": head.alpha, **scores})
            if best is None or scores["validation"] > tried[chosen]["validation"]:
                best, chosen = (head, logits), len(tried) - 1
    assert best is not None  # there is a layer
    return _Fitted(tried[chosen], tried, *best)


def _save(
    encoder: FrozenEncoder,
    fitted: _Fitted,
    folder: Path,
    evaluated: dict[str, EncodedRows],
    threads: int | None,
    calibrated: bool,
) -> _Fitted:
    """Saves the probe as a model, whose own answers, as `bertx predict` gives them, take the place of the probe's:
    features of a probe are rounded to float16.
    """
    layer = fitted.chosen["layer"]
    model = set_head(add_pooling_layer(encoder.model, layer), fitted.head)

    def answers() -> dict[str, np.ndarray]:
        write_model(folder / run_files.MODEL, model, encoder.tokenizer)
        classifier = SequenceClassifier.from_pretrained(folder, threads=threads)
        return {name: _answers(classifier, name, part.rows) for name, part in evaluated.items()}

    logits = answers()
    if not calibrated:
        return replace(fitted, logits=logits)
    selected = evaluated["validation"]
    of_windows = fitted.head(selected.states(layer, OF_A_MODEL, model.config.layer_norm_eps))
    temperature = fit_temperature(of_windows, selected.labels, selected.owners)
    divide_head(model, temperature)
    scaled = answers()
    before, after = (
        {name: metrics.calibration(each[name], part.labels).error for name, part in evaluated.items()}
        for each in (logits, scaled)
    )
    calibration = {"temperature": temperature, "before": before, "after": after}
    return replace(fitted, logits=scaled, calibration=calibration)


def _answers(classifier: SequenceClassifier, name: str, rows: Dataset) -> np.ndarray:
    second = rows["second_sequence"][:] if "second_sequence" in rows.column_names else [None] * len(rows)
    columns = zip(rows["id"][:], rows["sequence"][:], second, strict=True)
    records = (InputRecord(str(key), sequence, f"{name}, id {key}", other) for key, sequence, other in columns)
    return np.concatenate([chunk.logits for chunk in classifier.predict(records)])


def _write(
    folder: Path,
    task: Task,
    data: TaskData,
    learned: EncodedRows,
    evaluated: dict[str, EncodedRows],
    fitted: _Fitted,
    encoder: FrozenEncoder,
    seconds: float,
) -> None:
    """Predictions and scores; `results.json` last."""
    on_train = task.test_split == "validation"  # then the probe is tested on validation and selected on training items
    named = {"validation": "selection" if on_train else "validation", "test": task.test_split}
    scores, cut, split = {}, {"train": int(learned.cut.sum())}, {"train": learned.split}
    for name, part in evaluated.items():
        cut[named[name]], split[named[name]] = int(part.cut.sum()), part.split
        scores[named[name]] = part.score(task, fitted.logits[name])
        RunWriter(folder).predictions(name == "test", part.rows, fitted.logits[name])
    present = np.flatnonzero(learned.labels.any(0)) if task.multi_label else np.unique(learned.labels)
    absent = [name for number, name in enumerate(task.labels or ()) if number not in present]
    results = {
        "metrics": scores,
        "test_split": task.test_split,
        "counts": {name: len(rows) for name, rows in data.splits.items()},
        "understood": data.understood(),
        "cut": cut,
        **({} if encoder.windows is None else {"split": split}),
        **({} if fitted.calibration is None else {"calibration": fitted.calibration}),
        "train_items": len(learned.rows),
        "train_rows": hashlib.sha256("\n".join(map(str, learned.rows["id"][:])).encode()).hexdigest(),
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
        "absent_classes": absent,
        "selected_on": "held-out training items" if on_train else "validation",
    }
    RunWriter(folder).results(results)
