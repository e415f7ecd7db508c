"""Where the rows of a task come from: a folder, the package, the Hub, or the original files."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import pyarrow.lib
from datasets import DatasetDict, load_dataset
from datasets.exceptions import DatasetGenerationError
from huggingface_hub import constants, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError
from transformers.utils import logging

from .. import run_files
from ..registry import first_line
from ..tasks import BUILDS, TASKS, Task

logger = logging.get_logger(__name__)
_ONE_SPLIT = ("paper", "authors")  # what protocols call the split of a user's own data
_EMBEDDED = Path(__file__).parent
_RECORD = (
    "config task about counts balance leaks leak_sentences command source notes made_from tokenizer versions files"
).split()
# takes a task and a split, builds the data set from its original files, returns its folder
BuildTask = Callable[[str, str], Path]


@dataclass(frozen=True)
class LoadedRows:
    """A copy of a task's rows, not checked yet."""

    rows: DatasetDict
    origin: str
    leaks: tuple[str, ...] = ()
    revision: str | None = None


def embedded(name: str) -> Path | None:
    """The folder of the copy of a task in the package; None where there is none."""
    return _EMBEDDED / name if (_EMBEDDED / name).is_dir() else None


def built_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Size, sha256 and number of rows of each Parquet file of a configuration's folder, by name."""
    import pyarrow.parquet as pq

    digests = run_files.file_digests(folder)
    return {name: {**digest, "rows": pq.read_metadata(folder / name).num_rows} for name, digest in digests.items()}


def rows_digest(record: dict[str, Any]) -> str:
    """A digest of the Parquet files that a record of a build names."""
    text = json.dumps({name: file["sha256"] for name, file in record["files"].items()}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_record(path: Path) -> dict[str, Any]:
    """What `bertx data build` recorded of a configuration, `builds/CONFIG.json`.

    Raises:
        ValueError: the file is missing or damaged; the message names it.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        missing = [name for name in _RECORD if name not in record]
        if not missing:
            Task.from_dict(record["task"])
            rows: dict[str, int] = {}
            for name, file in record["files"].items():
                part = re.split(r"[-.]", name)[0]
                rows[part] = rows.get(part, 0) + file["rows"]
            if rows != record["counts"]:
                raise ValueError(f"its files hold {rows} rows, its counts are {record['counts']}")
    except FileNotFoundError:
        raise ValueError(f"{path}: the file is missing; build the configuration {path.stem} again") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{path}: not the record of a build ({first_line(error)}); build the configuration {path.stem} again"
        ) from None
    if missing:
        raise ValueError(f"{path}: no {missing[0]!r} in it; build the configuration {path.stem} again")
    return dict(record)


def check_build(folder: Path, config: str) -> dict[str, Any]:
    """The record of a configuration, after its Parquet files were compared with it.

    Raises:
        ValueError: a file is missing, damaged, changed or none of this build, or the record is damaged.
    """
    record = read_record(folder / BUILDS / f"{config}.json")
    advice = f"build the configuration {config} again"
    run_files.check_files(folder / config, record["files"], advice=advice)
    for path in sorted((folder / config).iterdir()):
        if path.name not in record["files"] and not path.name.startswith("."):
            raise ValueError(f"{path}: the file is not of this build; remove it, or {advice}")
    return record


def configurations(folder: Path) -> list[str]:
    """The configurations of a folder that `bertx data build` made, its default one first.

    Raises:
        ValueError: the folder holds no build, the record of one is damaged, or rows have no record.
    """
    records = [read_record(path) for path in sorted((folder / BUILDS).glob("*.json"))]
    if not records:
        raise ValueError(f"{folder}: no build; `bertx data build` makes one")
    records.sort(key=lambda record: (record["tokenizer"] is not None, record["config"] != "paper", record["config"]))
    names = [str(record["config"]) for record in records]
    for name in sorted({path.parent.name for path in folder.glob("*/*.parquet")} - set(names)):
        raise ValueError(f"{folder / BUILDS / name}.json: the file is missing; build the configuration {name} again")
    return names


def check_readable(folder: Path) -> None:
    """Raises a ValueError for a folder whose path `load_dataset` takes for a pattern, and so finds no file in it."""
    if re.search(r"[\[\]]|::", str(folder)):
        raise ValueError(f"{folder}: load_dataset reads no folder with [, ] or :: in its path; give it another name")


def load_rows(path: str, config: str | None = None, **options: Any) -> DatasetDict:
    """`load_dataset`, whose errors name the data set.

    Raises:
        ValueError: the files are damaged. OSError: they cannot be had, or the disk of the cache is full.
    """
    if Path(path).is_dir():
        check_readable(Path(path).resolve())
    try:
        with run_files.writing(Path(datasets.config.HF_DATASETS_CACHE)):
            return load_dataset(path, config, **options)
    except (DatasetGenerationError, pyarrow.lib.ArrowException) as error:
        cause = error.__cause__ or error
        raise ValueError(f"{path}: the files cannot be read ({first_line(cause)})") from None


def load_copy(task: Task, split: str, data_dir: str | None, build: BuildTask | None) -> LoadedRows:
    """The rows of a task from `data_dir`, else the package, else the Hub, else built; see [`load_task_data`].

    Raises:
        FileNotFoundError: there is no copy; the message says what to do.
    """
    packaged = embedded(task.name)
    if data_dir is not None:
        folder = Path(data_dir).expanduser()
        if not folder.is_dir():
            raise FileNotFoundError(f"--data_dir {data_dir}: no such folder")
        return _from_folder(task, split, folder)
    if packaged is not None:
        return _from_folder(task, split, packaged, "the copy in the package")
    if not task.hosted:
        raise FileNotFoundError(
            f"task {task.name}: its data is of your own; name the folder with --data_dir. `bertx train --train_file` "
            f"leaves it below the runs, in data/{task.name}-..."
        )
    try:
        return _from_hub(task, split)
    except (OSError, ValueError) as error:
        failure = f"could not be loaded from {task.hub_id}: {first_line(error).rstrip('.')}."
    if build is not None and not constants.HF_HUB_OFFLINE:
        logger.warning(f"task {task.name}: {failure} It is built from its original files")
        try:
            return _from_folder(task, split, build(task.name, split), "its original files, built here")
        except (OSError, ValueError) as error:
            failure += f" Nor could it be built from its original files: {first_line(error).rstrip('.')}."
    held = ", ".join(sorted(path.name for path in _EMBEDDED.iterdir() if (path / BUILDS).is_dir()))
    raise FileNotFoundError(
        f"task {task.name}: its data is not in the package and {failure} What to do: "
        f"`bertx data build {task.name} --split {split} --output DIR`, which fetches the original files or reads them "
        f"from --raw_dir, then --data_dir DIR. The package itself holds {held}"
    )


def _from_folder(task: Task, split: str, folder: Path, origin: str = "") -> LoadedRows:
    alone = (folder.parent / BUILDS / f"{folder.name}.json").is_file()  # a configuration of a built data set
    top = folder.parent if alone else folder
    if not task.hosted and split in _ONE_SPLIT and not (top / split).is_dir() and (top / "default").is_dir():
        split = "default"  # the configuration of a user's own data
    rows = top / split if not alone and (top / split).is_dir() else folder
    if (alone or (folder / BUILDS).is_dir()) and rows != top / split:
        raise FileNotFoundError(_no_split(task, split, folder, [folder.name] if alone else None))
    leaks: list[str] = []
    # a data set's folder has the rows of each record beside it; any other may be called `builds` too
    if any((rows.parent / path.stem).is_dir() for path in (rows.parent / BUILDS).glob("*.json")):
        record = check_build(rows.parent, rows.name)
        built = record["task"]["name"]
        if built != task.name and built in TASKS:
            raise ValueError(f"task {task.name}: {rows.parent} holds the data of {built}")
        leaks = record["leak_sentences"]
    return LoadedRows(load_rows(str(rows)), origin or f"the folder {top.resolve().name}", tuple(leaks))


def _from_hub(task: Task, split: str) -> LoadedRows:
    """The rows at the task's revision, or at the Hub's current one if the task names none."""
    rows = load_rows(task.hub_id, split, revision=task.revision)
    revision = _commit(rows)
    if task.revision is not None and revision != task.revision:  # offline, the cache gives what it has
        raise ValueError(f"the cache holds revision {revision}, and {task.revision} is what this name means.")
    at = "" if revision is None else f" at revision {revision[:12]}"
    try:
        name = f"{BUILDS}/{split}.json"
        record = read_record(Path(hf_hub_download(task.hub_id, name, repo_type="dataset", revision=revision)))
    except EntryNotFoundError:
        return LoadedRows(rows, f"the Hub: {task.hub_id}{at}", revision=revision)
    held = {name: len(part) for name, part in rows.items()}
    if held != record["counts"]:
        raise ValueError(f"it holds {held} rows, and {BUILDS}/{split}.json counts {record['counts']}.")
    return LoadedRows(rows, f"the Hub: {task.hub_id}{at}", tuple(record["leak_sentences"]), revision)


def _commit(rows: DatasetDict) -> str | None:
    """The commit of the Hub that rows are from: the name of their folder in the cache of datasets."""
    files = next(iter(rows.values())).cache_files
    name = Path(files[0]["filename"]).parent.name if files else ""
    return name if re.fullmatch("[0-9a-f]{40}", name) else None


def _no_split(task: Task, split: str, folder: Path, held: list[str] | None) -> str:
    held = held or sorted(path.stem for path in (folder / BUILDS).glob("*.json"))
    advice = f"`bertx data build {task.name} --split {split} --output DIR`, then --data_dir DIR"
    if not task.hosted:
        advice = "leave --split out" if "default" in held else "name one of them with --split"
    return f"task {task.name}: {folder} has no split {split!r}; it has {', '.join(held)}. What to do: {advice}"
