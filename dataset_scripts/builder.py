"""The builder that every discipline's data sets share: locate the files, read, check, split, emit rows."""

from __future__ import annotations

import fnmatch
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import datasets
from datasets import ClassLabel, Features, Value

from hf_bertx import run_files
from hf_bertx.data.data_copies import embedded
from hf_bertx.data.input_records import InputRecord
from hf_bertx.data.text_files import paths_below
from hf_bertx.tasks import Task, get_task

from . import sources
from .records import checked
from .splits import SEED, TEST, TRAIN, VALIDATION, grouped_split, random_split

logger = datasets.utils.logging.get_logger(__name__)
ALL = "all"  # part for files that are not split into training, validation and test


@dataclass(frozen=True)
class Form:
    """One of the forms in which a task's data circulates.

    Args:
        files: part (`train`, `validation`, `test`, or `all` where the files are not divided) -> patterns of paths
            below the raw folder; `*` spans folders too. All files that match are read.
        read: gives the records of one file; of music, its pieces.
        names: what the files call the labels, where the task calls them otherwise.
        published: how many items the publisher counts, by part.
        groups_hold: the published parts share no group: they are homology or work-wise splits already.
        has_groups: records carry a `group`.
    """

    name: str
    files: Mapping[str, tuple[str, ...]]
    read: Callable[[Path], Iterable[Any]]
    names: Mapping[str, str] | None = None
    published: Mapping[str, int] = field(default_factory=dict)
    groups_hold: bool = False
    has_groups: bool = False


class Key(NamedTuple):
    """The fields of a record that a split depends on."""

    id: str
    group: str | None
    part: str | None


@dataclass
class BuildConfig(datasets.BuilderConfig):
    """What is built: a task, from where, divided how. `strict`: a count unlike the published one is an error."""

    task: str = ""
    raw_dir: str | None = None
    split: str = "paper"
    seed: int = SEED
    strict: bool = False


class DisciplineBuilder(datasets.GeneratorBasedBuilder):
    """Rows with `id`, `sequence`, `label` and, where known, `second_sequence` and `group`, from original files.

    A subclass names its `FORMS`, by task. Files are read twice or more, never held in memory whole.
    """

    BUILDER_CONFIG_CLASS = BuildConfig
    FORMS: Mapping[str, tuple[Form, ...]] = {}
    config: BuildConfig
    notes: tuple[str, ...] = ()  # remarks for the data set's card

    def note(self, message: str) -> None:
        """Logs a remark, and adds it to the card."""
        logger.warning(message)
        self.notes = (*self.notes, message)

    @property
    def task(self) -> Task:
        return get_task(self.config.task)

    @property
    def command(self) -> str:
        """What builds the same data again."""
        return f"bertx data build {self.task.name} --split {self.config.split} --seed {self.config.seed}"

    @property
    def forms(self) -> tuple[Form, ...]:
        """The forms of the task's files. The first one of which there are files is read."""
        return self.FORMS[self.config.task]

    def _info(self) -> datasets.DatasetInfo:
        task, text = self.task, Value("string")
        columns: dict[str, Any] = {"id": text, "sequence": text}
        if task.pair:
            columns["second_sequence"] = text
        if task.labels is None:
            columns["label"] = Value("float32")
        else:
            columns["label"] = text if task.multi_label else ClassLabel(names=list(task.labels))
        if any(form.has_groups for form in self.forms):
            columns["group"] = text
        return datasets.DatasetInfo(description=task.description, features=Features(columns))

    def _split_generators(self, dl_manager: datasets.DownloadManager) -> list[datasets.SplitGenerator]:
        self.form, self.files = self.find_files()
        missing = [part for part in self.form.files if part not in self.files]
        if missing:
            message = f"{self.task.name}: the {self.form.name} files of {', '.join(missing)} are not at hand"
            if self.config.strict:
                raise FileNotFoundError(message)
            self.note(message)
        chosen = self.choose()
        counts = Counter(part for parts in chosen.values() for part in parts)
        self.compare_counts(counts, self.form.published)
        parts = [part for part in (TRAIN, VALIDATION, TEST) if counts[part]]
        return [datasets.SplitGenerator(name=part, gen_kwargs={"part": part, "chosen": chosen}) for part in parts]

    def find_files(self) -> tuple[Form, dict[str, list[Path]]]:
        """The files at hand, by part: from `raw_dir`, or of the copy in the package, or fetched."""
        fetched = Path(self._cache_dir_root) / "raw"
        if self.config.raw_dir is None:
            packaged = embedded(self.task.name)
            return locate(self.task, self.forms, packaged or sources.download(self.task, fetched))
        folder = Path(self.config.raw_dir).expanduser()
        others = {name for task, forms in self.FORMS.items() if task != self.task.name for name in _folders(forms)}
        try:
            return locate(self.task, self.forms, folder, others)
        except FileNotFoundError:
            if folder.exists() and sources.unpack_at_hand(self.task, folder, fetched):
                return locate(self.task, self.forms, fetched)
            raise

    def choose(self) -> Mapping[str, Sequence[str]]:
        """For each part of the files, the split that each of its records goes to, in the order of reading.

        This first reading also finds errors in the files.
        """
        split, form = self.config.split, self.form
        rows = {part: [Key(row["id"], row["group"], row["part"]) for row in self.rows(part)] for part in self.files}
        if split == "grouped" and not form.groups_hold:
            if not form.has_groups:
                raise ValueError(
                    f"{self.task.name}: nothing in the {form.name} files tells which items belong together, so that "
                    "--split grouped cannot be made of them; allowed here: paper, authors"
                )
            return self._grouped(rows)
        chosen: dict[str, Sequence[str]] = {}
        for part, keys in rows.items():
            if part != ALL:
                chosen[part] = [part] * len(keys)
            elif any(key.part for key in keys):
                chosen[part] = [key.part or TRAIN for key in keys]
            else:
                chosen[part] = self._drawn(keys, (TRAIN, VALIDATION, TEST))
        if not any(VALIDATION in parts for parts in chosen.values()):
            self._draw_validation(rows, chosen)
        return chosen

    def _draw_validation(self, rows: dict[str, list[Key]], chosen: dict[str, Sequence[str]]) -> None:
        for part, parts in chosen.items():
            training = [row for row, split in enumerate(parts) if split == TRAIN]
            if training:
                self.note(f"the {self.form.name} files have no validation part: 5% of the training items become one")
                parts = list(parts)
                drawn = self._drawn([rows[part][row] for row in training], (TRAIN, VALIDATION))
                for row, split in zip(training, drawn, strict=True):
                    parts[row] = split
                chosen[part] = parts

    def _drawn(self, keys: list[Key], parts: Sequence[str]) -> list[str]:
        order = list(range(len(keys)))
        if self.config.split != "authors":  # by id, so that the split does not depend on the order of the file at hand
            order.sort(key=lambda row: keys[row].id)
        seed = SEED if self.config.split == "authors" else self.config.seed
        chosen = [""] * len(keys)
        for row, part in zip(order, random_split(len(keys), seed, parts), strict=True):
            chosen[row] = part
        return chosen

    def _grouped(self, rows: dict[str, list[Key]]) -> Mapping[str, Sequence[str]]:
        places = [(part, row) for part, keys in rows.items() for row, key in enumerate(keys) if key.group is not None]
        places.sort(key=lambda place: rows[place[0]][place[1]].id)
        try:
            drawn = grouped_split([str(rows[part][row].group) for part, row in places], self.config.seed)
        except ValueError as error:
            raise ValueError(f"{self.task.name}: {error}; use --split paper") from None
        # records without a group are left out, because their leaks are unknown
        chosen = {part: [""] * len(keys) for part, keys in rows.items()}
        for (part, row), split in zip(places, drawn, strict=True):
            chosen[part][row] = split
        total = sum(map(len, rows.values()))
        if len(places) < total:
            self.note(f"{total - len(places)} of {total} records name no group and are left out")
        return chosen

    def rows(self, part: str) -> Iterator[dict[str, Any]]:
        """The checked rows of one part of the files."""
        records: Iterable[InputRecord] = (record for path in self.files[part] for record in self.form.read(path))
        return checked(records, self.task, self.form.names)

    def _generate_examples(self, part: str, chosen: dict[str, Sequence[str]]) -> Iterator[tuple[str, dict[str, Any]]]:
        columns = list(self.info.features)
        for source, parts in chosen.items():
            if part not in parts:
                continue
            for row, goes_to in zip(self.rows(source), parts, strict=True):
                if goes_to == part:
                    yield row["id"], {column: row[column] for column in columns}

    def compare_counts(self, counts: Mapping[str, int], published: Mapping[str, int], what: str = "items") -> None:
        """Notes counts that differ from the published ones; an error under `strict`."""
        counted = {**counts, ALL: sum(counts.values())}
        differing = [f"{counted.get(p, 0)} {p}, published {n}" for p, n in published.items() if counted.get(p, 0) != n]
        if not differing:
            return
        message = f"{self.task.name}: counts of {what} differ from the published ones: {'; '.join(differing)}"
        if self.config.strict:
            raise ValueError(message)
        self.note(message)

    def provenance(self) -> dict[str, Any]:
        """The files that were read: their form, names, sizes and sha256."""
        files = [
            {"part": part, "file": path.name, "bytes": path.stat().st_size, "sha256": run_files.sha256(path)}
            for part, paths in self.files.items()
            for path in paths
        ]
        digest = hashlib.sha256("".join(str(file["sha256"]) for file in files).encode()).hexdigest()
        return {"form": self.form.name, "files": files, "digest": digest}


def locate(
    task: Task, forms: Sequence[Form], folder: Path, others: Set[str] = frozenset()
) -> tuple[Form, dict[str, list[Path]]]:
    """The first form of which the folder holds files, and those files by part.

    A form whose files lie in a folder of the task, such as `RTE/train.tsv`, is found from that folder too.

    Args:
        others: folders of other tasks, in lower case: their `train.tsv` is not this task's.

    Raises:
        FileNotFoundError: there is no such folder, or it holds none of the forms; the message lists them.
    """
    if folder.is_file():
        names = {folder.name: folder}
    elif folder.is_dir():
        names = {path.relative_to(folder).as_posix(): path for path in paths_below(folder)}
    else:
        raise FileNotFoundError(f"--raw_dir {folder}: no such folder")
    top = {name: path for name, path in names.items() if "/" not in name}
    if folder.is_file() or folder.resolve().name.lower() in others - _folders(forms):
        top = {}
    for held, patterns_of in ((names, lambda form: form.files), (top, _file_names)):
        for form in forms:
            files = {part: _matching(held, patterns) for part, patterns in patterns_of(form).items()}
            files = {part: paths for part, paths in files.items() if paths}
            if files:
                return form, files
    looked = "; ".join(
        f"{form.name}: {', '.join(p for patterns in form.files.values() for p in patterns)}" for form in forms
    )
    raise FileNotFoundError(f"{folder} holds no file of {task.name}. Looked for, in any subfolder: {looked}")


def _folders(forms: Iterable[Form]) -> set[str]:
    """The folders that the patterns of the forms name, in lower case."""
    patterns = (p for form in forms for patterns in form.files.values() for p in patterns)
    return {pattern.partition("/")[0].lower() for pattern in patterns if "/" in pattern}


def _file_names(form: Form) -> dict[str, tuple[str, ...]]:
    """The patterns of a form without their folders."""
    return {part: tuple(pattern.rpartition("/")[2] for pattern in patterns) for part, patterns in form.files.items()}


def _matching(names: Mapping[str, Path], patterns: Iterable[str]) -> list[Path]:
    """Each pattern's matches, without regard to case, below any folder."""
    matches: dict[Path, None] = {}
    for pattern in patterns:
        for name, path in names.items():
            if fnmatch.fnmatch("/" + name.lower(), "*/" + pattern.lower()):
                matches[path] = None
    return list(matches)
