"""A run -> its model card; a built data set -> its card.

A value that was not measured makes no sentence; a missing one is an error.
"""

from __future__ import annotations

import html
import re
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import DatasetCardData
from jinja2 import Environment, FunctionLoader, StrictUndefined, Template, UndefinedError

from .. import run_files
from ..arms import BASELINE
from ..data.data_copies import BUILDS, configurations, read_record, rows_digest
from ..protocols import PROBE
from ..registry import beside, first_line
from ..runs.run import Run
from ..tasks import Task
from . import card_facts
from .compared import compared_lines


def model_card(
    folder: Path,
    repo_id: str | None = None,
    adapter: bool = False,
    onnx: dict[str, Any] | None = None,
    picture: bool = False,
) -> str:
    """The card of a finished run: front matter for the Hub, and what a reader has to know.

    Args:
        repo_id: where it is published; without, the card stands beside the weights in their folder.
        adapter: the card of the run's adapter in place of its whole model.
        onnx: what [`onnx_export.export_once`] measured, where an ONNX file stands beside the weights.
        picture: whether `loss_curve.png` stands beside the card.

    Raises:
        ValueError: the run is not finished, or one of its files cannot be read.
        jinja2.UndefinedError: the template asks for a value that is not there.
    """
    run = Run.open_finished(folder)
    name = card_facts.run_name(run.order) if repo_id is None else repo_id.rpartition("/")[2]
    shared = {
        "card_data": card_facts.metadata(run, name, adapter).to_yaml(),
        "name": name,
        "source": repo_id or ".",  # the model's folder, until it is published
        "onnx": onnx,
    }
    if run.specification["protocol"] == PROBE:
        facts = card_facts.encoder_facts(run)
        return _template("probe_card.md").render(**facts, compared=compared_lines(run), **shared)
    if run.specification["arm"] == BASELINE:
        return _template("baseline_card.md").render(**card_facts.baseline_facts(run), **shared)
    return _template("model_card.md").render(
        **card_facts.facts(run),
        compared=compared_lines(run),
        **shared,
        adapter=adapter,
        base_model=card_facts.base_model(run.order),
        head=_head(run.task),
        picture=picture,
    )


def _head(task: Task) -> str:
    """Arguments of `from_pretrained` for an adapter, whose files name its base, but not the classes."""
    if task.labels is None:
        return 'num_labels=1, problem_type="regression"'
    kind = ', problem_type="multi_label_classification"' if task.multi_label else ""
    return f"id2label={dict(enumerate(task.labels))}{kind}"


@cache
def _template(name: str) -> Template:
    # jinja's default would render a missing value as an empty string
    environment = Environment(
        loader=FunctionLoader(lambda name: (files(beside("model_cards")) / name).read_text(encoding="utf-8")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(plain=plain, code=code_span)
    return environment.get_template(name)


def plain(text: Any) -> str:
    """Escapes text for Markdown, also in a table: no markup, HTML or new line is left."""
    escaped = html.escape(" ".join(str(text).split()), quote=False)
    return re.sub(r"[\\`*\[\]|]|(?<!\w)_|_(?!\w)", r"\\\g<0>", escaped)


def code_span(text: Any) -> str:
    """Text as inline code, even if it contains backticks."""
    shown = " ".join(str(text).split())
    fence = "`" * (1 + max(map(len, re.findall("`+", shown)), default=0))
    return f"{fence} {shown} {fence}" if "`" in shown else f"{fence}{shown}{fence}"


def write_model_card(folder: Path) -> Path:
    """Writes the card of a finished run beside its weights, as `README.md`."""
    path, text = folder / run_files.MODEL / run_files.CARD, model_card(folder)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:  # the disk may be read-only
        run_files.write_text(path, text)
    return path


_COLUMNS = {
    "id": "The item's name, the same in every build.",
    "sequence": "The item: letters, or numbers or words separated by spaces.",
    "second_sequence": "The second sequence of the pair.",
    "label": "The class, by name and number, or the target.",
    "group": "Items of one group belong together; the split `grouped` never separates them.",
    "input_ids": "Ids of the backbone's vocabulary, one a symbol, between the special tokens.",
    "token_type_ids": "0 for the first sequence of the pair, 1 for the second.",
    "labels": "The class, or the target.",
}


def dataset_card(folder: Path, repo_id: str | None = None) -> str:
    """The card of a built data set: metadata that the Hub's viewer reads, and what a reader has to know.

    Args:
        repo_id: where it is published; by default the task's place on the Hub, or the folder.

    Raises:
        ValueError: the folder holds no build, or the record of one is damaged.
    """
    builds = [read_record(folder / BUILDS / f"{config}.json") for config in configurations(folder)]
    try:
        return _rendered(folder, builds, repo_id)
    except (UndefinedError, KeyError, TypeError, AttributeError, IndexError) as error:
        names = ", ".join(f"{build['config']}.json" for build in builds)
        raise ValueError(
            f"{folder / BUILDS}: a record is damaged ({names}: {first_line(error)}); build the data set again"
        ) from None


def _rendered(folder: Path, builds: list[dict[str, Any]], repo_id: str | None) -> str:
    task = Task.from_dict(builds[0]["task"])
    infos = {build["config"]: _dataset_info(folder, build) for build in builds}
    for build in builds:  # by class, then by split
        splits = list(build["balance"].values())
        build["balance"] = {name: [split[name] for split in splits] for name in splits[0]}
    columns = dict.fromkeys(column for info in infos.values() for column in info.features)
    return _template("dataset_card.md").render(
        card_data=_front_matter(_dataset_metadata(task, builds, infos)),
        task=task,
        hub_id=repo_id or (task.hub_id if task.hosted else folder.name),
        default=builds[0]["config"],
        builds=builds,
        columns={name: _COLUMNS[name] for name in columns},
    )


def built_task(folder: Path) -> Task:
    """The task of a data set that `bertx data build` made.

    Raises:
        ValueError: the folder holds no build, or the record of one is damaged.
    """
    return Task.from_dict(read_record(folder / BUILDS / f"{configurations(folder)[0]}.json")["task"])


def write_dataset_card(folder: Path) -> Path:
    """Writes the card of a built data set as its `README.md`."""
    path = folder / "README.md"
    run_files.write_text(path, dataset_card(folder))
    return path


def _dataset_info(folder: Path, build: dict[str, Any]) -> Any:
    import pyarrow.parquet as pq
    from datasets import DatasetInfo, Features, SplitDict, SplitInfo

    files = {split: sorted((folder / build["config"]).glob(f"{split}*.parquet")) for split in build["counts"]}
    splits = SplitDict()
    for split, paths in files.items():
        footers = [pq.read_metadata(path) for path in paths]
        size = sum(footer.row_group(i).total_byte_size for footer in footers for i in range(footer.num_row_groups))
        splits.add(SplitInfo(split, num_bytes=size, num_examples=build["counts"][split]))
    first = next(iter(files.values()))[0]
    return DatasetInfo(
        features=Features.from_arrow_schema(pq.read_schema(first)),
        splits=splits,
        download_size=sum(path.stat().st_size for paths in files.values() for path in paths),
        dataset_size=sum(info.num_bytes for info in splits.values()),
    )


def _front_matter(data: DatasetCardData) -> str:
    """YAML in which no class is HTML to a viewer that takes front matter for Markdown: `<` is escaped."""
    less = "\ue000"  # stands for it until the string is in quotation marks

    class Dumper(yaml.SafeDumper): ...

    def represent(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        if "<" not in value or value == data.size_categories:
            return dumper.represent_scalar("tag:yaml.org,2002:str", value)
        return dumper.represent_scalar("tag:yaml.org,2002:str", value.replace("<", less), style='"')

    Dumper.add_representer(str, represent)
    dumped = yaml.dump(data.to_dict(), Dumper=Dumper, sort_keys=False, allow_unicode=True)
    return dumped.replace(less, "\\x3C").strip()


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
    digests = {build["config"]: rows_digest(build) for build in builds}
    configs = {
        name: {
            # the cache of `datasets` tells folders of one name apart by what stands here alone
            "description": f"rows {digests[name]}",
            "data_files": [{"split": str(split), "path": f"{name}/{split}*.parquet"} for split in info.splits],
            **({"default": True} if name == builds[0]["config"] else {}),
        }
        for name, info in infos.items()
    }
    MetadataConfigs(configs).to_dataset_card_data(data)
    return data
