"""Two models to compare, from the folders of finished runs: as they were saved, or as they were before training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, set_seed

from .. import run_files
from ..arms import get_arm
from ..backbones import resolve_backbone
from ..data.task_data import TaskData, load_task_data
from ..protocols import get_protocol
from ..runs.arguments import ResolvedRun
from ..runs.model import build_model, build_tokenizer
from ..runs.order import versions
from ..runs.run import Run


@dataclass(frozen=True)
class Compared:
    """One of two models: a finished run's, or what it was before training.

    Args:
        label: what it is called in tables and figures.
        specification: of the run, from its folder.
        special_tokens: whether [CLS] and the like stand around its symbols.
    """

    label: str
    specification: dict[str, Any]
    model: Any
    tokenizer: Any
    special_tokens: bool


def finished_run(folder: Path) -> Run:
    """A finished run's order and results.

    Raises:
        ValueError: the folder is missing, is none of a run, or its run is not finished; the message names it.
    """
    run = Run.open_finished(folder)
    missing = [n for n in ("config.json", "model.safetensors") if not (folder / run_files.MODEL / n).is_file()]
    if missing:
        raise ValueError(f"{folder / run_files.MODEL}: {missing[0]} is missing, so there is no model to analyse")
    return run


def specification_of(run: Run) -> ResolvedRun:
    """The run's order, as far as its model and its tokenizer depend on it."""
    s = run.specification
    values: dict[str, Any] = {"max_eval_items": None, "variant": "", "optimizer": None, "standardize_targets": False}
    values |= s["hyperparameters"] | s | {"data_dir": None, "resume": True, "task": run.task}
    values |= {"backbone": resolve_backbone(s["backbone"]), "arm": get_arm(s["arm"])}
    values |= {"protocol": get_protocol(s["protocol"])}
    return ResolvedRun(**{field.name: values[field.name] for field in fields(ResolvedRun) if field.name in values})


def trained(run: Run, label: str) -> Compared:
    """The saved model of a run. It is a plain transformers model, without any of the shortcuts of training."""
    folder = str(run.folder / run_files.MODEL)
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, attn_implementation="eager", dtype=torch.float32, use_safetensors=True, trust_remote_code=False
    )
    return _compared(run, label, model, AutoTokenizer.from_pretrained(folder, trust_remote_code=False))


def untrained(run: Run, label: str) -> Compared:
    """The model of a run as it was before its first step: its draws are made again from its seed.

    Raises:
        ValueError, OSError: the backbone cannot be had here.
    """
    spec = specification_of(run)
    set_seed(spec.seed)
    tokenizer = build_tokenizer(spec)
    model = build_model(spec, tokenizer)
    model.set_attn_implementation("eager")
    return _compared(run, label, model.float(), tokenizer)


def _compared(run: Run, label: str, model: Any, tokenizer: Any) -> Compared:
    model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    tokenizer.padding_side = "right"  # so that a position has the same number in every batch
    return Compared(label, run.specification, model, tokenizer, specification_of(run).special_tokens)


def check_comparable(a: Run, b: Run) -> None:
    """Refuses two runs that did not learn the same task from the same data.

    Raises:
        ValueError: what differs, in both runs.
    """
    compared = {"tasks": "task", "splits": "split"}
    values = {what: [run.specification[name] for run in (a, b)] for what, name in compared.items()}
    values["data"] = [run.order["data_fingerprint"][:16] for run in (a, b)]
    for what, (of_a, of_b) in values.items():
        if of_a != of_b:
            raise ValueError(
                f"{a.folder} and {b.folder} are runs on different {what}: {of_a} and {of_b}; the same items are needed"
            )


def data_of(run: Run, data_dir: str | None, split: str) -> TaskData:
    data = load_task_data(run.task, run.specification["split"], data_dir)
    if data.fingerprint != run.order["data_fingerprint"]:
        raise ValueError(
            f"{data.origin} has other rows (sha256 {data.fingerprint[:16]}) than {run.folder} was trained on "
            f"({run.order['data_fingerprint'][:16]}, {run.order['data_origin']}); name its folder with --data_dir"
        )
    if split not in data.splits:
        raise ValueError(f"unknown split {split!r} of task {run.task.name}; allowed: {', '.join(data.splits)}")
    return data


def labels_of(records: Sequence[Run]) -> list[str]:
    """What two models are called: arm and seed, with whatever else tells the two apart."""
    s = [record.specification for record in records]
    if len(s) == 1:
        label = f"{s[0]['arm']}, seed {s[0]['seed']}"
        return [label, f"{label}, before training"]
    others = [n for n in ("backbone", "protocol", "fraction") if s[0][n] != s[1][n]]
    labels = [", ".join([x["arm"], f"seed {x['seed']}", *(f"{n} {x[n]}" for n in others)]) for x in s]
    return (
        labels if labels[0] != labels[1] else [f"{label} ({side})" for label, side in zip(labels, "AB", strict=True)]
    )


def identity(side: Compared, run: Run, results: dict[str, Any] | None) -> dict[str, Any]:
    names = ("arm", "seed", "backbone", "protocol", "fraction", "start", "assignment", "shift")
    score = None if results is None else results["metrics"].get(run.task.test_split, {}).get(run.task.metric)
    return {
        "label": side.label,
        **{name: side.specification[name] for name in names},
        "metric": run.task.metric,
        "test_score": score,
    }


def notes_on_start(run: Run) -> list[str]:
    then, now = (told["torch"] for told in (run.order["versions"], versions()))
    if then == now:
        return []
    return [f"The start was drawn again with torch {now}; the run drew it with torch {then}."]
