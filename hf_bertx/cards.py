"""A run -> its model card; a built data set -> its card.

A value that was not measured makes no sentence; a missing one is an error.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

from huggingface_hub import DatasetCardData, EvalResult, ModelCardData
from jinja2 import Environment, StrictUndefined, Template

from . import run_files
from .arms import ARMS, BASELINE
from .backbones import known_backbone
from .disciplines import DISCIPLINES
from .protocols import get_protocol
from .records import RunRecord
from .task_data import BUILDS
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
    if record.specification["arm"] == BASELINE:
        return _template("baseline_card.md").render(
            **_common_facts(record), encoder=_encoder(record.specification), card_data=_metadata(record).to_yaml()
        )
    return _template("model_card.md").render(**_facts(record), card_data=_metadata(record).to_yaml())


def _template(name: str) -> Template:
    # jinja's default renders a missing value as nothing, and the heading came out as "# "
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    return environment.from_string((files("model_cards") / name).read_text(encoding="utf-8"))


def write_model_card(folder: Path) -> Path:
    """Writes the card of a finished run beside its weights, as `README.md`."""
    path = folder / run_files.MODEL / "README.md"
    run_files.write_text(path, model_card(folder))
    return path


def _encoder(specification: dict[str, Any]) -> str | None:
    """What a baseline started from that stock transformers loads: a Hub id, or a folder's name."""
    kind, _, source = specification["backbone"].partition(":")
    return source if kind == "encoder" else None


def _name(record: RunRecord) -> str:
    s = record.specification
    return f"{s['backbone'].strip('/').replace('/', '--').replace(':', '-')}-{s['task']}" + (
        "" if s["arm"] in ("bert", BASELINE) else f"-{s['arm']}"
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
    split, encoder = results["test_split"], _encoder(s)
    hub_id = encoder if encoder is not None and "/" in encoder else None
    evaluations = [
        EvalResult(
            task_type="text-classification",
            task_name=task.description,
            dataset_type=task.hub_id if task.hosted else task.name,
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
        base_model=backbone.hub_id if backbone is not None and s["start"] != "random" else hub_id,
        datasets=[task.hub_id] if task.hosted else None,
        license=_license(task, backbone.license if backbone is not None else None),
        library_name="transformers",
        pipeline_tag="text-classification",
        tags=[task.discipline, "hf_bertx", s["arm"]],
    )


def _common_facts(record: RunRecord) -> dict[str, Any]:
    """What the cards of arms and of baselines say alike."""
    s, task, results = record.specification, record.task, record.results
    assert results is not None
    backbone = known_backbone(s["backbone"])
    discipline = DISCIPLINES.get(task.discipline)
    if task.discipline == "music":
        example = "60 64 67 72"
    else:
        example = "A sentence." if discipline is None else "".join(discipline.symbols[:4]) * 3
    return {
        "name": _name(record),
        "task": task,
        "order": record.order,
        "specification": s,
        "results": results,
        "discipline": discipline,
        "example": example,
        "splits": results["metrics"],
        "minutes": round(results["train_seconds"] / 60, 1),
        "license": _license(task, backbone.license if backbone is not None else None),
    }


def _facts(record: RunRecord) -> dict[str, Any]:
    s, task = record.specification, record.task
    arm = ARMS[s["arm"]]
    return {
        **_common_facts(record),
        "arm": arm,
        "protocol": get_protocol(s["protocol"]),
        "backbone": known_backbone(s["backbone"]),
        "backbone_name": s["backbone"],
        "paper": task.published_score(arm.paper_row) if arm.paper_row else None,
        "epoch_losses": [round(loss, 3) for loss in record.epoch_losses()],
    }


_COLUMNS = {
    "id": "The same from build to build.",
    "sequence": "The item: letters, or numbers or words divided by blanks.",
    "second_sequence": "The second of the pair.",
    "label": "The class, by name and number, or the target.",
    "group": "Items of one group belong together; a split called `grouped` never parts them.",
    "input_ids": "Ids of the backbone's vocabulary, one a symbol, between the special tokens.",
    "token_type_ids": "0 for the first sequence of the pair, 1 for the second.",
    "labels": "The class, or the target.",
}


def dataset_card(folder: Path) -> str:
    """The card of a built data set: metadata that the Hub's viewer reads, and what a reader has to know.

    Raises:
        ValueError: the folder holds no build.
        jinja2.UndefinedError: the template asks for a value that is not there.
    """
    builds = [run_files.read_json(path) for path in sorted((folder / BUILDS).glob("*.json"))]
    builds.sort(key=lambda build: (build["tokenizer"] is not None, build["config"] != "paper", build["config"]))
    if not builds:
        raise ValueError(f"{folder}: no build; `bertx data build` makes one")
    task = Task.from_dict(builds[0]["task"])
    infos = {build["config"]: _dataset_info(folder, build) for build in builds}
    for build in builds:  # by class, then by split
        splits = list(build["balance"].values())
        build["balance"] = {name: [split[name] for split in splits] for name in splits[0]}
    columns = dict.fromkeys(column for info in infos.values() for column in info.features)
    return _template("dataset_card.md").render(
        card_data=_dataset_metadata(task, builds, infos).to_yaml(),
        task=task,
        hub_id=task.hub_id if task.hosted else folder.name,
        default=builds[0]["config"],
        builds=builds,
        columns={name: _COLUMNS[name] for name in columns},
    )


def built_task(folder: Path) -> Task:
    """The task of a data set that `bertx data build` made.

    Raises:
        ValueError: the folder holds no build.
    """
    build = next((folder / BUILDS).glob("*.json"), None)
    if build is None:
        raise ValueError(f"{folder}: no build; `bertx data build` makes one")
    return Task.from_dict(run_files.read_json(build)["task"])


def write_dataset_card(folder: Path) -> Path:
    """Writes the card of a built data set as its `README.md`."""
    path = folder / "README.md"
    run_files.write_text(path, dataset_card(folder))
    return path


def _dataset_info(folder: Path, build: dict[str, Any]) -> Any:
    import pyarrow.parquet as pq
    from datasets import DatasetInfo, Features, SplitDict, SplitInfo

    files = {split: sorted((folder / build["config"]).glob(f"{split}*.parquet")) for split in build["counts"]}
    schema = pq.read_schema(next(iter(files.values()))[0])
    splits = SplitDict()
    for split, paths in files.items():
        size = sum(pq.ParquetFile(path).metadata.row_group(i).total_byte_size for path in paths
                   for i in range(pq.ParquetFile(path).num_row_groups))  # fmt: skip
        splits.add(SplitInfo(split, num_bytes=size, num_examples=build["counts"][split]))
    download = sum(path.stat().st_size for paths in files.values() for path in paths)
    return DatasetInfo(
        features=Features.from_arrow_schema(schema),
        splits=splits,
        download_size=download,
        dataset_size=sum(info.num_bytes for info in splits.values()),
    )


def _dataset_metadata(task: Task, builds: list[dict[str, Any]], infos: dict[str, Any]) -> DatasetCardData:
    from datasets.info import DatasetInfosDict
    from datasets.utils.metadata import MetadataConfigs

    items = sum(builds[0]["counts"].values())
    sizes = [(1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M")]
    data = DatasetCardData(
        pretty_name=task.name,
        license=task.license or "other",
        task_categories=["text-classification"],
        size_categories=next((name for limit, name in sizes if items < limit), "1M<n<10M"),
        tags=[task.discipline, "hf_bertx"],
    )
    DatasetInfosDict(infos).to_dataset_card_data(data)
    configs = {
        name: {
            "data_files": [{"split": str(split), "path": f"{name}/{split}*.parquet"} for split in info.splits],
            **({"default": True} if name == builds[0]["config"] else {}),
        }
        for name, info in infos.items()
    }
    MetadataConfigs(configs).to_dataset_card_data(data)
    return data
