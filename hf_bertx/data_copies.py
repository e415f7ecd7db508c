"""Where the rows of a task come from: a folder, the package, the Hub, or the original files."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from datasets import DatasetDict, load_dataset
from huggingface_hub import constants, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError
from transformers.utils import logging

from . import run_files
from .tasks import Task

logger = logging.get_logger(__name__)
BUILDS = "builds"  # folder of a data set: a JSON file for each configuration, what was built from what
_EMBEDDED = Path(__file__).parent / "data"
# takes a task and a split, and gives the folder of the data set that was built from the original files
BuildTask = Callable[[str, str], Path]


@dataclass(frozen=True)
class Copy:
    """A copy of a task's rows, not checked yet."""

    rows: DatasetDict
    origin: str
    leaks: tuple[str, ...] = ()
    revision: str | None = None


def load_copy(task: Task, split: str, data_dir: str | None, build: BuildTask | None) -> Copy:
    """The rows of a task from `data_dir`, else the package, else the Hub, else built; see [`load_task_data`].

    Raises:
        FileNotFoundError: there is no copy; the message says what to do.
    """
    embedded = _EMBEDDED / task.name
    if data_dir is not None:
        folder = Path(data_dir).expanduser()
        if not folder.is_dir():
            raise FileNotFoundError(f"--data_dir {data_dir}: no such folder")
        return _from_folder(task, split, folder, f"the folder {folder.resolve().name}")
    if embedded.is_dir():
        return _from_folder(task, split, embedded, "the copy in the package")
    try:
        return _from_hub(task, split)
    except (OSError, ValueError) as error:
        failure = f"could not be loaded from {task.hub_id}: {_first_line(error)}"
    if build is not None and not constants.HF_HUB_OFFLINE:
        logger.warning(f"task {task.name}: {failure} It is built from its original files")
        try:
            return _from_folder(task, split, build(task.name, split), "its original files, built here")
        except (OSError, ValueError) as error:
            failure += f" Nor could it be built from its original files: {_first_line(error)}"
    held = ", ".join(sorted(path.name for path in _EMBEDDED.iterdir() if path.is_dir()))
    raise FileNotFoundError(
        f"task {task.name}: its data is not in the package and {failure} What to do: "
        f"`bertx data build {task.name} --split {split} --output DIR`, which fetches the original files or reads them "
        f"from --raw_dir, then --data_dir DIR. The package itself holds {held}"
    )


def _from_folder(task: Task, split: str, folder: Path, origin: str) -> Copy:
    configured = (folder / split).is_dir()
    if not configured and (folder / BUILDS).is_dir():
        raise FileNotFoundError(_no_split(task, split, folder))
    records = (folder / BUILDS / f"{split}.json", folder.parent / BUILDS / f"{folder.name}.json")
    leaks = _leak_sentences(next((record for record in records if record.is_file()), None))
    return Copy(load_dataset(str(folder / split if configured else folder)), origin, leaks)


def _from_hub(task: Task, split: str) -> Copy:
    """The rows at the task's revision; where it names none, at the Hub's current one."""
    rows = load_dataset(task.hub_id, split, revision=task.revision)
    revision = _commit(rows)
    if task.revision is not None and revision != task.revision:  # offline, the cache gives what it has
        raise ValueError(f"the cache holds revision {revision}, and {task.revision} is what this name means.")
    at = "" if revision is None else f" at revision {revision[:12]}"
    try:
        name = f"{BUILDS}/{split}.json"
        record = Path(hf_hub_download(task.hub_id, name, repo_type="dataset", revision=revision))
    except EntryNotFoundError:
        record = None
    return Copy(rows, f"the Hub: {task.hub_id}{at}", _leak_sentences(record), revision)


def _commit(rows: DatasetDict) -> str | None:
    """The commit of the Hub that rows are from: the name of their folder in the cache of datasets."""
    files = next(iter(rows.values())).cache_files
    name = Path(files[0]["filename"]).parent.name if files else ""
    return name if re.fullmatch("[0-9a-f]{40}", name) else None


def _leak_sentences(record: Path | None) -> tuple[str, ...]:
    return () if record is None else tuple(run_files.read_json(record)["leak_sentences"])


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _no_split(task: Task, split: str, folder: Path) -> str:
    held = ", ".join(sorted(path.stem for path in (folder / BUILDS).glob("*.json")))
    return (
        f"task {task.name}: {folder} has no split {split!r}; it has {held}. What to do: "
        f"`bertx data build {task.name} --split {split} --output DIR`, then --data_dir DIR"
    )
