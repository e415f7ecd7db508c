"""A probe of a task: features of a frozen start, heads on growing draws of the training set, a run folder each."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import set_seed
from transformers.utils import logging

from .. import metrics, run_files
from ..arms import Arm, get_arm
from ..backbones import resolve_backbone
from ..cpu_attention import use_cpu_attention
from ..cpu_linear import use_onednn_linear
from ..protocols import RECOMMENDED
from ..run_arguments import RunSpec, fast_bfloat16, usable_cores
from ..run_order import check_same, machine, versions
from ..task_data import TaskData, evaluation_subset, load_task_data
from ..tasks import Task, get_task
from ..tokenized_data import encode
from ..training import build_model, build_tokenizer
from .features import POOLINGS, FeatureCache, extract, item_keys, weights_digest
from .heads import ALPHAS, fit_head

logger = logging.get_logger(__name__)

PROTOCOL = "probe"
VERSION = 1  # of how features and heads are computed; another one means other numbers
ALL = "all"
MAX_TEST_ITEMS = 3000
MAX_SELECTION_ITEMS = 1000
_POOL = 3000  # draws smaller than this come from the first draw of this size, so that few features are computed
_POOL_SEED = 20210707


@dataclass(frozen=True)
class ProbeSpec:
    """What a probe depends on, but for the size of the training set.

    Args:
        task: the task's name.
        arm: what of the backbone is kept, and which subwords or ids the items get; its tuning is not used.
        seed: of the start's random weights and assignment, and of the draw of the training set.
        layers: the layers that may be chosen, 0 for the embeddings; by default all.
        permute_labels: a check: the labels of the training items are shuffled, so that scores have to be at chance.
        max_test_items: larger test sets are drawn down to as many items, the same for every probe.
        plan: sha256 of the plan that a study follows.
    """

    task: str
    arm: str = "bert"
    backbone: str = "minilm-l6"
    split: str = "paper"
    seed: int = 0
    layers: tuple[int, ...] | None = None
    permute_labels: bool = False
    max_test_items: int = MAX_TEST_ITEMS
    plan: str | None = None


@dataclass(frozen=True)
class _Part:
    """Rows with their features."""

    rows: Dataset
    features: np.ndarray  # (items, layers + 1, 2, hidden)
    labels: np.ndarray

    @property
    def groups(self) -> list[str] | None:
        return self.rows["group"][:] if "group" in self.rows.column_names else None


def run_probe(
    spec: ProbeSpec,
    items: Sequence[int | str] = (ALL,),
    data_dir: str | None = None,
    root: Path = Path("runs"),
    cache: Path | None = None,
) -> list[Path]:
    """Probes a start on a task with training sets of several sizes; finished runs are skipped.

    Layer and pooling are chosen by the task's metric on validation; where the paper tests on the validation set
    (GLUE), on training items that no draw contains. The strength of the ridge is chosen by leave-one-out. The test
    items are predicted once, by the choice; the test score of every other layer is recorded for the figure, never
    used.

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
    task = get_task(spec.task)
    arm = get_arm(spec.arm)
    _check_fits(arm, task)
    data = load_task_data(task, spec.split, data_dir)
    train, selection, test = _parts(data, task, spec.max_test_items)
    counts = {size: _count(size, len(train), spec.task) for size in items}
    folders, orders, todo = [], {}, []
    for size in items:
        folder = Path(root) / _folder(spec, task, size)
        folders.append(folder)
        orders[size] = _order(spec, task, arm, data, counts[size])
        if (folder / run_files.RUN).is_file():
            check_same(folder, orders[size], "another --runs, or remove that folder")
        if (folder / run_files.RESULTS).is_file():
            logger.warning(f"skipped: {folder} holds this run, finished")
        else:
            todo.append((size, folder))
    if not todo:
        return folders
    started = time.perf_counter()
    draw = _draw(len(train), max(counts[size] for size, _ in todo), spec.seed)
    features, record = _features(
        spec, task, arm, [train.select(draw), selection, test], cache or Path(root) / "features"
    )
    layers = _checked_layers(spec, features[0].shape[1])
    selected, tested = (
        _Part(rows, x, _labels(rows, task)) for rows, x in zip((selection, test), features[1:], strict=True)
    )
    pool = {row: i for i, row in enumerate(draw)}
    for size, folder in todo:
        rows = _draw(len(train), counts[size], spec.seed)
        drawn = _Part(train.select(rows), features[0][[pool[row] for row in rows]], _labels(train.select(rows), task))
        run_files.write_json(folder / run_files.RUN, {**orders[size], "versions": versions(), "machine": machine()})
        fitted = _fit(spec, task, drawn, selected, tested, layers)
        seconds = time.perf_counter() - started
        _write(folder, task, data, {"train": drawn, "validation": selected, "test": tested}, fitted, record, seconds)
    return folders


def _parts(data: TaskData, task: Task, max_test_items: int) -> tuple[Dataset, Dataset, Dataset]:
    """What is drawn from, selected on and tested on."""
    train, test = data.splits["train"], evaluation_subset(data.splits[task.test_split], max_test_items)
    if task.test_split != "validation":
        return train, evaluation_subset(data.splits["validation"], MAX_SELECTION_ITEMS), test
    order = np.random.Generator(np.random.PCG64(_POOL_SEED)).permutation(len(train))
    held = max(1, min(MAX_SELECTION_ITEMS, len(train) // 10))
    return train.select(sorted(order[held:].tolist())), train.select(sorted(order[:held].tolist())), test


def _count(size: int | str, available: int, task: str) -> int:
    if size == ALL:
        return available
    if not isinstance(size, int) or size < 2:
        raise ValueError(f"items is {size!r}; allowed: a number from 2 on, or {ALL}")
    if size > available:
        raise ValueError(f"items is {size}, and {task} has {available} training items to draw from; or ask for {ALL}")
    return size


def _draw(available: int, count: int, seed: int) -> list[int]:
    """Row numbers of a draw: up to `_POOL` of them are drawn by `seed` from one pool for all seeds."""
    order = np.random.Generator(np.random.PCG64(_POOL_SEED)).permutation(available)
    if count < _POOL < available:
        pool = order[:_POOL]
        order = pool[np.random.Generator(np.random.PCG64(seed)).permutation(_POOL)]
    elif count < available <= _POOL:
        order = np.random.Generator(np.random.PCG64(seed)).permutation(available)
    return order[:count].tolist()


def _check_fits(arm: Arm, task: Task) -> None:
    if arm.shift != "none" and task.discipline != "text":
        raise ValueError(f"arm {arm.name!r} shifts the ids of text, and task {task.name} is {task.discipline}")
    if arm.assignment != "frequent" and task.discipline == "text":
        raise ValueError(f"arm {arm.name!r} assigns subwords to symbols, and task {task.name} is text")


def _checked_layers(spec: ProbeSpec, available: int) -> tuple[int, ...]:
    layers = tuple(range(available)) if spec.layers is None else spec.layers
    for layer in layers:
        if not 0 <= layer < available:
            raise ValueError(
                f"layer {layer}: {spec.backbone} has layers 1 to {available - 1}, and 0 for its embeddings"
            )
    return layers


def _folder(spec: ProbeSpec, task: Task, size: int | str) -> Path:
    varied = f"items={size}" + ("-permuted" if spec.permute_labels else "")
    if spec.layers is not None:
        varied += "-layers=" + "+".join(map(str, spec.layers))
    return run_files.run_folder(PROTOCOL, task.name, spec.backbone, spec.arm, spec.seed, 1.0, spec.split, varied)


def _order(spec: ProbeSpec, task: Task, arm: Arm, data: TaskData, count: int) -> dict[str, Any]:
    head = {"name": "ridge", "alphas": list(ALPHAS), "poolings": list(POOLINGS), "version": VERSION}
    told = {"items": count, "layers": spec.layers and list(spec.layers), "permute_labels": spec.permute_labels}
    backbone = resolve_backbone(spec.backbone)
    order = {
        "specification": {
            "task": task.name,
            "backbone": spec.backbone,
            "backbone_revision": backbone.revision,
            "arm": arm.name,
            "start": arm.start,
            "assignment": None if task.discipline == "text" else arm.assignment,
            "shift": arm.shift,
            "protocol": PROTOCOL,
            "split": spec.split,
            "seed": spec.seed,
            "fraction": 1.0,
            "max_eval_items": spec.max_test_items,
            "variant": f"items={count}" + ("-permuted" if spec.permute_labels else ""),
            "precision": _precision(),
            "tuning": "probe",
            "hyperparameters": {"head": head, **told},
        },
        "task": asdict(task),
        "data_fingerprint": data.fingerprint,
        "data_origin": data.origin,
        "data_revision": data.revision,
        "data_leaks": list(data.leaks),
        "backbone_origin": backbone.origin,
    }
    return order if spec.plan is None else {**order, "plan": spec.plan}


def _precision() -> str:
    return "bfloat16" if fast_bfloat16() else "float32"


def _features(
    spec: ProbeSpec, task: Task, arm: Arm, parts: list[Dataset], cache: Path
) -> tuple[list[np.ndarray], dict[str, Any]]:
    """Features of each part, and what is recorded of the encoder."""
    run = RunSpec(
        task=task,
        backbone=resolve_backbone(spec.backbone),
        arm=arm,
        protocol=replace(RECOMMENDED, name=PROTOCOL),
        seed=spec.seed,
        fraction=1.0,
        split=spec.split,
        max_eval_items=None,
        variant="",
        data_dir=None,
        precision=_precision(),
        learning_rate=0.0,
        optimizer=None,
        global_batch_size=1,
        attention_dropout=None,
        standardize_targets=False,
        stop_at_loss=None,
        shortcuts=False,
        resume=True,
    )
    tokenizer = build_tokenizer(run)
    set_seed(spec.seed)
    model = build_model(run, tokenizer).base_model.eval()
    record = {
        "layers": model.config.num_hidden_layers,
        "parameters": sum(p.numel() for p in model.parameters()),
        "tokenizer": getattr(tokenizer, "assignment", None),
        "weights": weights_digest(model),
    }
    on_gpu = torch.cuda.is_available()
    model = model.to(device="cuda" if on_gpu else "cpu", dtype=getattr(torch, _precision()))
    if not on_gpu:
        use_cpu_attention(model)
        use_onednn_linear(model)
    depends_on = {"task": task.name, "weights": record["weights"], "precision": _precision(), "version": VERSION}
    cached = FeatureCache(cache, depends_on)
    read = [name for name in ("input_ids", "token_type_ids") if name in tokenizer.model_input_names]
    threads = 1 if on_gpu else usable_cores()
    out = []
    for rows in parts:
        encoded, _ = encode(rows, tokenizer, task)
        columns = {name: encoded[name] for name in read if name in encoded}

        def compute(places: list[int], columns: dict[str, Any] = columns) -> np.ndarray:
            chosen = {name: [ids[i] for i in places] for name, ids in columns.items()}
            return extract(model, chosen, tokenizer.pad_token_id, threads)

        out.append(cached.features(item_keys(columns), compute, progress=True))
    return out, record


def _labels(rows: Dataset, task: Task) -> np.ndarray:
    return np.asarray(rows["label"][:], dtype=np.float64 if task.regression else np.int64)


def _fit(
    spec: ProbeSpec, task: Task, drawn: _Part, selected: _Part, tested: _Part, layers: tuple[int, ...]
) -> dict[str, Any]:
    """Fits a head on each layer and pooling, and chooses the one with the best score on validation."""
    from threadpoolctl import threadpool_limits

    labels = drawn.labels
    classes = None if task.labels is None else len(task.labels)
    if spec.permute_labels:
        labels = np.random.Generator(np.random.PCG64(spec.seed)).permutation(labels)
    tried: list[dict[str, Any]] = []
    answers: list[dict[str, np.ndarray]] = []
    with threadpool_limits(1, user_api="blas"):  # small products: more threads wait for each other
        for layer in layers:
            for number, pooling in enumerate(POOLINGS):
                head = fit_head(drawn.features[:, layer, number], labels, classes)
                logits = {"validation": head(selected.features[:, layer, number])}
                logits["test"] = head(tested.features[:, layer, number])
                scores = {
                    name: metrics.score(task, logits[name], part.labels.tolist(), part.groups)[task.metric]
                    for name, part in (("validation", selected), ("test", tested))
                }
                tried.append({"layer": layer, "pooling": pooling, "alpha": head.alpha, **scores})
                answers.append(logits)
    best = max(range(len(tried)), key=lambda i: (tried[i]["validation"], -i))
    absent = [] if task.labels is None else sorted(set(task.labels) - {task.labels[i] for i in np.unique(labels)})
    return {"tried": tried, "chosen": tried[best], "logits": answers[best], "absent_classes": absent}


def _write(
    folder: Path,
    task: Task,
    data: TaskData,
    parts: dict[str, _Part],
    fitted: dict[str, Any],
    record: dict[str, Any],
    seconds: float,
) -> None:
    """Predictions and scores; `results.json` last."""
    scores = {}
    for name, file in (
        ("validation", run_files.VALIDATION_PREDICTIONS),
        ("test", run_files.TEST_PREDICTIONS),
    ):
        part, logits = parts[name], fitted["logits"][name]
        split = task.test_split if name == "test" else "selection" if task.test_split == "validation" else name
        scores[split] = metrics.score(task, logits, part.labels.tolist(), part.groups)
        run_files.write_predictions(folder / file, part.rows, logits)
    run_files.write_json(folder / run_files.LOG, [])
    if fitted["absent_classes"] and parts["train"].labels.size > len(task.labels or ()):
        shown = ", ".join(fitted["absent_classes"][:3])
        more = len(fitted["absent_classes"]) - 3
        logger.info(f"{folder}: the draw has no item of {shown}" + (f" and {more} more classes" if more > 0 else ""))
    classes = 1 if task.labels is None else len(task.labels)
    head_parameters = classes * (parts["train"].features.shape[-1] + 1)
    results = {
        "metrics": scores,
        "test_split": task.test_split,
        "counts": {name: len(rows) for name, rows in data.splits.items()},
        "train_items": len(parts["train"].rows),
        "train_rows": hashlib.sha256("\n".join(map(str, parts["train"].rows["id"][:])).encode()).hexdigest(),
        "evaluated_items": {task.test_split: len(parts["test"].rows), "selection": len(parts["validation"].rows)},
        "test_duplicates": data.test_duplicates,
        "steps": None,
        "max_steps": None,
        "selected_step": None,
        "stopped": "fitted",
        "train_seconds": round(seconds, 1),
        "total_seconds": round(seconds, 1),
        "resumed_from_step": None,
        "tokens_seen": None,
        "tokenizer": record["tokenizer"],
        "encoder": {name: record[name] for name in ("layers", "weights")},
        "parameters": record["parameters"] + head_parameters,
        "trained_parameters": head_parameters,
        "chosen": fitted["chosen"],
        "tried": fitted["tried"],
        "absent_classes": fitted["absent_classes"],
        "selected_on": "held-out training items" if task.test_split == "validation" else "validation",
    }
    run_files.write_json(folder / run_files.RESULTS, results)
