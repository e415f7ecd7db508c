"""A run -> its model card. A value that was not measured makes no sentence; a missing one is an error."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, StrictUndefined

from . import run_files
from .arms import ARMS
from .backbones import known_backbone
from .disciplines import DISCIPLINES
from .protocols import get_protocol
from .report import RunRecord
from .tasks import Task

_METRIC_TYPES = {"mcc": "matthews_correlation", "spearman": "spearmanr", "pearson": "pearsonr", "macro_f1": "f1"}


def model_card(folder: Path) -> str:
    """The card of a finished run: front matter for the Hub, and what a reader has to know.

    Raises:
        ValueError: the run is not finished, or one of its files cannot be read.
        jinja2.UndefinedError: the template asks for a value that is not there.
    """
    order, results = (run_files.read_json(folder / name) for name in (run_files.RUN, run_files.RESULTS))
    record = RunRecord(folder, order, run_files.read_json(folder / run_files.LOG), results)
    # jinja's default renders a missing value as nothing, and the heading came out as "# "
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    template = environment.from_string((files("model_cards") / "model_card.md").read_text(encoding="utf-8"))
    return template.render(**_facts(record), card_data=_metadata(record).to_yaml())


def write_model_card(folder: Path) -> Path:
    """Writes the card of a finished run beside its weights, as `README.md`."""
    path = folder / run_files.MODEL / "README.md"
    run_files.write_text(path, model_card(folder))
    return path


def _name(record: RunRecord) -> str:
    s = record.specification
    return f"{s['backbone'].strip('/').replace('/', '--')}-{s['task']}" + (
        "" if s["arm"] == "bert" else f"-{s['arm']}"
    )


def _license(task: Task, backbone_license: str | None) -> str | None:
    """A model made from data that is shared alike carries the data's licence."""
    if task.license is not None and "-sa-" in task.license:
        return task.license
    return backbone_license


def _metadata(record: RunRecord) -> ModelCardData:
    s, task, results = record.specification, record.task, record.results
    assert results is not None
    backbone = known_backbone(s["backbone"])
    split = results["test_split"]
    evaluations = [
        EvalResult(
            task_type="text-classification",
            task_name=task.description,
            dataset_type=task.hub_id,
            dataset_name=task.name,
            dataset_config=s["split"],
            dataset_split=split,
            metric_type=_METRIC_TYPES.get(name, name),
            metric_name=name,
            metric_value=round(value, 4),
        )
        for name, value in results["metrics"][split].items()
    ]
    return ModelCardData(
        model_name=_name(record),
        eval_results=evaluations,
        base_model=backbone.hub_id if backbone is not None and s["start"] != "random" else None,
        datasets=[task.hub_id],
        license=_license(task, backbone.license if backbone is not None else None),
        library_name="transformers",
        pipeline_tag="text-classification",
        tags=[task.discipline, "hf_bertx", s["arm"]],
    )


def _facts(record: RunRecord) -> dict[str, Any]:
    s, task, results = record.specification, record.task, record.results
    assert results is not None
    arm = ARMS[s["arm"]]
    backbone = known_backbone(s["backbone"])
    discipline = DISCIPLINES.get(task.discipline)
    paper = task.published_score(arm.paper_row) if arm.paper_row else None
    if task.discipline == "music":
        example = "60 64 67 72"
    else:
        example = "A sentence." if discipline is None else "".join(discipline.symbols[:4]) * 3
    return {
        "name": _name(record),
        "task": task,
        "arm": arm,
        "order": record.order,
        "specification": s,
        "results": results,
        "protocol": get_protocol(s["protocol"]),
        "backbone": backbone,
        "backbone_name": s["backbone"],
        "discipline": discipline,
        "paper": paper,
        "example": example,
        "splits": results["metrics"],
        "epoch_losses": [round(loss, 3) for loss in record.epoch_losses()],
        "minutes": round(results["train_seconds"] / 60, 1),
        "license": _license(task, backbone.license if backbone is not None else None),
    }
