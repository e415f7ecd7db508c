"""A user's own data: FASTA, CSV, TSV, JSON lines, Parquet, or a folder of MIDI files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import datasets

from hf_bertx.disciplines import DISCIPLINES
from hf_bertx.midi_files import files_below, read_all
from hf_bertx.sequence_files import FASTA_ENDINGS, read_fasta, read_json_lines, read_parquet, read_table
from hf_bertx.task_data import own_task
from hf_bertx.tasks import Task

from .builder import BuildConfig, DisciplineBuilder, Form, Key
from .records import Record
from .splits import TEST, TRAIN, VALIDATION, grouped_split, random_split

_ENDINGS = (*FASTA_ENDINGS, ".csv", ".tsv", ".jsonl", ".json", ".parquet")
_LABEL = re.compile(r"(?:^|[\s|;])label=([^\s|;]+)")


@dataclass
class OwnConfig(BuildConfig):
    """A user's files, and what their columns are called.

    Args:
        train_file: `.fasta` (`.fa`, `.fna`, `.faa`, also `.gz`), `.csv`, `.tsv`, `.jsonl`, `.json`, `.parquet`, or a
            folder of MIDI files. `validation_file` and `test_file` likewise; a part without a file is drawn.
        discipline: dna, protein, music or text.
        label_pattern: of a FASTA header; its first group is the label. By default `label=...`, or the second word.
        labels_file: of MIDI files: a CSV with `file` and the label column. By default the name of a file's folder.
    """

    train_file: str = ""
    validation_file: str | None = None
    test_file: str | None = None
    discipline: str = ""
    sequence_column: str = "sequence"
    second_sequence_column: str | None = None
    label_column: str = "label"
    id_column: str = "id"
    group_column: str = "group"
    label_pattern: str | None = None
    labels_file: str | None = None


def read_own(path: Path, config: OwnConfig) -> Iterator[Record]:
    """The records of one of the user's files.

    Raises:
        ValueError: an ending that is none of those known, or a file that is not what its ending says.
    """
    if path.is_dir():
        yield from _read_midi(path, config.labels_file, config.label_column)
        return
    ending = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    if ending in FASTA_ENDINGS:
        yield from _read_fasta(path, config)
        return
    needed = [config.sequence_column, *([config.second_sequence_column] if config.second_sequence_column else [])]
    needed.append(config.label_column)
    rows: Iterator[tuple[dict[str, Any], str]]
    if ending in (".csv", ".tsv"):
        rows = read_table(path, "," if ending == ".csv" else "\t", needed, quoting=True)
    elif ending in (".jsonl", ".json"):
        rows = read_json_lines(path, needed)
    elif ending == ".parquet":
        rows = read_parquet(path, needed)
    else:
        raise ValueError(f"{path}: ending {ending!r}; allowed: {', '.join(_ENDINGS)}, or a folder of MIDI files")
    for number, (row, where) in enumerate(rows):
        name = str(row.get(config.id_column) or f"{path.stem}-{number}")
        group = row.get(config.group_column)
        second = str(row[config.second_sequence_column]) if config.second_sequence_column else None
        yield Record(name, _text(row[config.sequence_column]), _text(row[config.label_column]), where,
                     None if group in (None, "") else str(group), second)  # fmt: skip


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _read_fasta(path: Path, config: OwnConfig) -> Iterator[Record]:
    pattern = re.compile(config.label_pattern) if config.label_pattern else None
    if pattern is not None and not pattern.groups:
        raise ValueError(f"--label_pattern {config.label_pattern!r} has no group; the label is what ( ) encloses")
    for header, sequence, where in read_fasta(path):
        words = header.split()
        found = (pattern or _LABEL).search(header)
        label = found[1] if found else words[1] if pattern is None and len(words) > 1 else None
        if label is None or not words:
            wanted = f"a match of {config.label_pattern}" if pattern else ">NAME LABEL or >NAME label=LABEL"
            raise ValueError(f"{where}: header {header[:40]!r} holds no label; allowed: {wanted}")
        yield Record(words[0], sequence, label, where)


@lru_cache(maxsize=3)  # a training, a validation and a test folder: pitches are small, and reading them takes long
def _read_midi(folder: Path, labels_file: str | None, label_column: str) -> tuple[Record, ...]:
    files = files_below(folder)
    labels: dict[str, str] = {}
    if labels_file is not None:
        for row, where in read_table(Path(labels_file), ",", ("file", label_column), quoting=True):
            if not (folder / row["file"]).is_file():
                raise ValueError(f"{where}: the piece's file {row['file']} is not below {folder}")
            labels[row["file"]] = row[label_column]
        files = [folder / name for name in labels]
    records = []
    for path, parts in zip(files, read_all(files), strict=True):
        name = path.relative_to(folder).as_posix()
        label = labels.get(name, path.parent.name)
        records += [Record(f"{name}#{n:03d}", sequence, label, str(path), name) for n, sequence in enumerate(parts)]
    return tuple(records)


@dataclass
class _Scan:
    """What a first reading of the training file tells."""

    labels: set[str] = field(default_factory=set)
    longest: int = 0
    grouped: bool = False


def _scan(path: Path, config: OwnConfig) -> _Scan:
    scan = _Scan()
    blanks = config.discipline in ("music", "text")
    for record in read_own(path, config):
        if not record.label.strip():
            raise ValueError(f"{record.where}: the record has no label")
        scan.labels.add(record.label.strip())
        texts = (record.sequence, record.second or "")
        scan.longest = max(scan.longest, sum(len(text.split()) if blanks else len(text) for text in texts))
        scan.grouped |= record.group is not None
    if not scan.longest:
        raise ValueError(f"{path}: no record")
    return scan


class Own(DisciplineBuilder):
    """A user's own data set as a task: classes are those of the training file, targets are numbers with a point."""

    BUILDER_CONFIG_CLASS = OwnConfig
    config: OwnConfig
    _own_task: Task | None = None

    @property
    def _given(self) -> dict[str, Path]:
        named = {
            TRAIN: self.config.train_file,
            VALIDATION: self.config.validation_file,
            TEST: self.config.test_file,
        }
        return {part: Path(path).expanduser() for part, path in named.items() if path}

    @property
    def task(self) -> Task:
        if self._own_task is None:
            if self.config.discipline not in (*DISCIPLINES, "text"):
                known = ", ".join((*DISCIPLINES, "text"))
                raise ValueError(f"--discipline is {self.config.discipline or 'not given'!r}; allowed: {known}")
            for path in self._given.values():
                if not path.exists():
                    raise FileNotFoundError(f"{path}: no such file or folder")
            train = self._given[TRAIN]
            self._scanned = _scan(train, self.config)
            self._own_task = own_task(
                self.config.task,
                self.config.discipline,
                self._scanned.labels,
                self._scanned.longest,
                pair=self.config.second_sequence_column is not None,
                votes=train.is_dir(),
                where=str(train),
            )
        return self._own_task

    @property
    def forms(self) -> tuple[Form, ...]:
        assert self.task  # reads the training file
        grouped = self._scanned.grouped
        return (Form("the user's", {}, lambda path: read_own(path, self.config), ids_tell_groups=grouped),)

    def find_files(self, dl_manager: datasets.DownloadManager) -> tuple[Form, dict[str, list[Path]]]:
        return self.forms[0], {part: [path] for part, path in self._given.items()}

    def choose(self) -> dict[str, Sequence[str]]:
        """Parts with a file are as given; others are drawn from the training file, by group where it has groups."""
        keys = {part: list(self._keys(part)) for part in self.files}
        chosen: dict[str, Sequence[str]] = {part: [part] * len(own) for part, own in keys.items()}
        drawn = (TRAIN, *(part for part in (VALIDATION, TEST) if part not in keys))
        if len(drawn) > 1:
            chosen[TRAIN] = self._draw(keys[TRAIN], drawn)
            empty = [part for part in drawn if part not in chosen[TRAIN]]
            if empty:
                raise ValueError(
                    f"{self.config.train_file}: {len(keys[TRAIN])} records are too few to draw {', '.join(empty)} "
                    "from; give --validation_file and --test_file"
                )
        return chosen

    def _draw(self, keys: list[Key], parts: Sequence[str]) -> Sequence[str]:
        if self._scanned.grouped:
            groups = [key.group or f"alone: {key.id}" for key in keys]
            self.note(f"{', '.join(parts[1:])}: 5% each of the training file, drawn by group")
            return grouped_split(groups, self.config.seed, parts)
        self.note(f"{', '.join(parts[1:])}: 5% each of the training file, drawn at random")
        return random_split(len(keys), self.config.seed, parts)

    def provenance(self) -> dict[str, Any]:
        folders = [path for path in self._given.values() if path.is_dir()]
        if folders:
            self.files = {
                part: files_below(paths[0]) if paths[0].is_dir() else paths for part, paths in self.files.items()
            }
        return super().provenance()
