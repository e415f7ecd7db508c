"""Two models to compare, from the folders of finished runs: as they were saved, or as they were before training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer, set_seed

from ..arms import BASELINE, get_arm
from ..backbones import resolve_backbone
from ..data.task_data import TaskData, load_task_data, subset
from ..disciplines import get_discipline
from ..protocols import PROBE, get_protocol
from ..report.formatting import shown_backbone
from ..runs.arguments import ResolvedRun, windows_of
from ..runs.model import build_model, build_tokenizer
from ..runs.order import versions
from ..runs.regression_head import restore_output, standardize_output
from ..runs.run import Run
from ..runs.windows import in_windows


@dataclass(frozen=True)
class Compared:
    """One of two models: a finished run's, or what it was before training.

    Args:
        label: what it is called in tables and figures.
        special_tokens: whether [CLS] and the like stand around its symbols.
    """

    label: str
    model: Any
    tokenizer: Any
    special_tokens: bool


def finished_run(folder: Path) -> Run:
    """A finished run with its model.

    Raises:
        ValueError: the folder is missing, holds no run, or its run is not finished or not fine-tuned; the message
            names it.
    """
    run = Run.open_finished(folder)
    if run.specification["protocol"] in (PROBE, BASELINE):
        raise ValueError(f"{folder} is a {run.specification['protocol']}; analyse compares fine-tuned models")
    for name in ("config.json", "model.safetensors"):
        if not (run.model_dir / name).is_file():
            raise ValueError(f"{run.model_dir}: {name} is missing, so there is no model to analyse")
    return run


def resolved_run(run: Run) -> ResolvedRun:
    """A finished run, resolved so that its model and tokenizer can be built again."""
    s = run.specification
    values = s["hyperparameters"] | s | {"data_dir": None, "task": run.task}
    values |= {"backbone": resolve_backbone(s["backbone"]), "arm": get_arm(s["arm"])}
    _, windows = windows_of(run.task, s.get("window"), s.get("overlap"))
    values |= {"protocol": get_protocol(s["protocol"]), "windows": windows}
    return ResolvedRun(**{field.name: values[field.name] for field in fields(ResolvedRun) if field.name in values})


def trained(run: Run, label: str) -> Compared:
    """The saved model of a run. It is a plain transformers model, without any of the shortcuts of training."""
    model = AutoModelForSequenceClassification.from_pretrained(
        run.model_dir, attn_implementation="eager", dtype=torch.float32, use_safetensors=True, trust_remote_code=False
    )
    return _compared(run, label, model, AutoTokenizer.from_pretrained(run.model_dir, trust_remote_code=False))


def untrained(run: Run, label: str, data: TaskData) -> Compared:
    """The model of a run before its first step: its random weights are drawn again from its seed.

    Args:
        data: what the run was trained on; a regression head starts at the mean of the targets.

    Raises:
        ValueError, OSError: the backbone cannot be loaded.
    """
    resolved = resolved_run(run)
    set_seed(resolved.seed)
    tokenizer = build_tokenizer(resolved)
    model = build_model(resolved, tokenizer)
    if resolved.standardize_targets and run.task.regression:
        standardize_output(model, data.splits["train"]["label"][:])
        restore_output(model)
    model.set_attn_implementation("eager")
    return _compared(run, label, model.float(), tokenizer)


def _compared(run: Run, label: str, model: Any, tokenizer: Any) -> Compared:
    model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    tokenizer.padding_side = "right"  # so that a position has the same number in every batch
    return Compared(label, model, tokenizer, resolved_run(run).special_tokens)


def check_comparable(a: Run, b: Run) -> None:
    """Refuses two runs that did not learn the same task from the same data.

    Raises:
        ValueError: what differs, in both runs.
    """
    for what, of_a, of_b in (
        ("tasks", a.specification["task"], b.specification["task"]),
        ("splits", a.specification["split"], b.specification["split"]),
        ("windows", a.specification.get("window"), b.specification.get("window")),
        ("data", a.fingerprint[:16], b.fingerprint[:16]),
    ):
        if of_a != of_b:
            raise ValueError(
                f"{a.folder} and {b.folder} are runs on different {what}: {of_a} and {of_b}; the same items are needed"
            )


def data_of(run: Run, data_dir: str | None, split: str) -> TaskData:
    """The data of a run. Of the training split, only the items that it was trained on.

    Raises:
        ValueError: other rows, or no such split.
    """
    data = load_task_data(run.task, run.specification["split"], data_dir)
    if data.fingerprint != run.fingerprint:
        raise ValueError(
            f"{data.origin} has other rows (sha256 {data.fingerprint[:16]}) than {run.folder} was trained on "
            f"({run.fingerprint[:16]}, {run.order['data_origin']}); name its folder with --data_dir"
        )
    if split not in data.splits:
        raise ValueError(f"unknown split {split!r} of task {run.task.name}; allowed: {', '.join(data.splits)}")
    resolved = resolved_run(run)
    learned = subset(data.splits["train"], resolved.fraction, resolved.seed)
    return replace(data, splits={**data.splits, "train": learned})


def rows_read(run: Run, rows: Dataset) -> Dataset:
    """The items as a run read them: whole, or as windows."""
    windows = resolved_run(run).windows
    if windows is None:
        return rows
    return in_windows(rows, windows, get_discipline(run.task.discipline, run.specification.get("kmer")))[0]


def labels_of(runs: Sequence[Run]) -> list[str]:
    """Names for two models: arm and seed, with whatever else differs."""
    s = [{**run.specification, "backbone": shown_backbone(run.specification["backbone"])} for run in runs]
    labels = [f"{each['arm']}, seed {each['seed']}" for each in s]
    if len(s) == 1:
        return [labels[0], f"{labels[0]}, before training"]
    differ = [name for name in ("backbone", "protocol", "fraction") if s[0][name] != s[1][name]]
    labels = [", ".join([x, *(f"{n} {each[n]}" for n in differ)]) for x, each in zip(labels, s, strict=True)]
    return [f"{labels[0]} (A)", f"{labels[1]} (B)"] if labels[0] == labels[1] else labels


def identity(side: Compared, run: Run, finished: bool) -> dict[str, Any]:
    """The entry of `analysis.json` for one of the two models."""
    names = ("arm", "seed", "backbone", "protocol", "fraction", "start", "assignment", "shift")
    score = run.score(run.task.test_split, run.task.metric) if finished else None
    chosen = {name: run.specification[name] for name in names}
    chosen["backbone"] = shown_backbone(chosen["backbone"])
    return {"label": side.label, **chosen, "metric": run.task.metric, "test_score": score}


def notes_on_start(run: Run) -> list[str]:
    """Reasons why the rebuilt start may differ from the run's own."""
    then, now = run.order["versions"]["torch"], versions()["torch"]
    return [] if then == now else [f"The start was drawn with torch {now}, in the run with torch {then}."]
