"""A user's own data: FASTA, CSV, TSV, JSON lines, Parquet, or a folder of MIDI files."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hf_bertx.data.input_records import Columns, InputRecord, format_counts, read_input
from hf_bertx.data.midi_files import files_below
from hf_bertx.data.own_options import USER_DATA_OPTIONS
from hf_bertx.data.record_labels import Labels
from hf_bertx.data.similar_groups import similar_groups
from hf_bertx.data.targets import doubts
from hf_bertx.data.task_data import user_task
from hf_bertx.disciplines import DISCIPLINES
from hf_bertx.tasks import Task

from .builder import BuildConfig, DisciplineBuilder, Form, Key
from .splits import TEST, TRAIN, VALIDATION, balanced_grouped_split, fold_split, held_out, stratified_split

_MOST_OF_ONE = 0.8  # share of records in one class above which accuracy says little


@dataclass
class OwnConfig(BuildConfig):
    """The options of `bertx data build --from`, whose help says what they mean. What is given is used, or an error.

    Args:
        folds: divide the training file by `fold` of a cross-validation in so many; it is the test split.
    """

    train_file: str = ""
    validation_file: str | None = None
    test_file: str | None = None
    discipline: str = ""
    problem: str | None = None
    sequence_column: str | None = None
    second_sequence_column: str | None = None
    label_column: str | None = None
    id_column: str | None = None
    group_column: str | None = None
    label_pattern: str | None = None
    labels_file: str | None = None
    skip_unreadable: bool = False
    metric: str | None = None
    similarity_threshold: float | None = None
    folds: int | None = None
    fold: int | None = None
    license: str | None = None


@dataclass
class _Scan:
    """Facts from a first reading of all files: labels of the training file, the longest item, where groups are."""

    labels: Counter[str] = field(default_factory=Counter)
    places: dict[str, str] = field(default_factory=dict)  # the first place of each label
    longest: int = 0
    grouped: set[str] = field(default_factory=set)  # parts whose records have groups


class Own(DisciplineBuilder):
    """A user's own data set as a task: classes are those of the training file, targets are numbers with a point."""

    BUILDER_CONFIG_CLASS = OwnConfig
    config: OwnConfig
    _user_task: Task | None = None
    _similar: dict[str, str] | None = None  # the group of each record, by id

    @property
    def _given(self) -> dict[str, Path]:
        config = self.config
        named = {TRAIN: config.train_file, VALIDATION: config.validation_file, TEST: config.test_file}
        return {part: Path(path).expanduser() for part, path in named.items() if path is not None}

    @property
    def task(self) -> Task:
        if self._user_task is None:
            self._check_options()
            train = self._given[TRAIN]
            self._pieces: dict[Path, list[InputRecord]] = {}
            self._scanned = self._scan()
            if TRAIN in self._scanned.grouped and self.config.similarity_threshold is not None:
                raise ValueError(f"{train}: its records have groups; leave --similarity_threshold out")
            built = user_task(
                self.config.task,
                self.config.discipline,
                self._scanned.labels,
                self._scanned.longest,
                pair=self.config.second_sequence_column is not None,
                votes=train.is_dir(),
                place=str(train),
                problem=self.config.problem,
                metric=self.config.metric,
                places=self._scanned.places,
            )
            self._user_task = replace(built, license=self.config.license)
            regression, several = self._user_task.regression, self._user_task.multi_label
            problem = "regression" if regression else "classification"
            for doubt in [] if several else doubts(self._scanned.labels, problem, self.config.problem):
                self.note(f"{train.name}: {doubt}")
            (name, most), items = self._scanned.labels.most_common(1)[0], self._scanned.labels.total()
            if self._user_task.metric == "accuracy" and most > _MOST_OF_ONE * items:
                self.note(
                    f"{train.name}: {most / items:.0%} of the records are {name!r}, so that accuracy says little; see "
                    "--metric balanced_accuracy and --class_weights balanced"
                )
        return self._user_task

    def _check_options(self) -> None:
        """Refuses what cannot be done, or would not be used, before any file is read."""
        config, given = self.config, self._given
        for option in ("train_file", "validation_file", "test_file", "labels_file"):
            if getattr(config, option) == "":
                raise ValueError(f"--{option} is empty; allowed: a path, or leave the option out")
        if config.discipline not in (*DISCIPLINES, "text"):
            stated = f"is {config.discipline!r}" if config.discipline else "is missing"
            raise ValueError(f"--discipline {stated}; allowed: {', '.join((*DISCIPLINES, 'text'))}")
        for path in given.values():
            if not path.exists():
                raise FileNotFoundError(f"{path}: no such file or folder")
        if len({path.resolve() for path in given.values()}) < len(given):
            raise ValueError(f"one file is given for two of {', '.join(given)}; each needs its own")
        if config.license is not None and not re.fullmatch("[a-z0-9][a-z0-9.+-]*", config.license):
            raise ValueError(f"--license is {config.license!r}; allowed: the Hub's name of a license, as cc-by-4.0")
        if config.similarity_threshold is not None:
            asked = f"--similarity_threshold is {config.similarity_threshold}"
            if config.second_sequence_column is not None:
                raise ValueError(f"{asked}, and pairs are not compared; name a --group_column")
            if len(given) == 3:
                raise ValueError(
                    f"{asked}, and with --validation_file and --test_file nothing is drawn; leave one out"
                )

    def _read(
        self, path: Path, labels: Labels | None = None, counts: Counter[str] | None = None
    ) -> Iterator[InputRecord]:
        """The records of a file. MIDI files are read once and kept: reading takes long, and segments are small."""
        if path in self._pieces:
            yield from self._pieces[path]
            return
        config = self.config
        columns = Columns(
            config.sequence_column,
            config.second_sequence_column,
            config.id_column,
            config.group_column,
            config.skip_unreadable,
        )
        labels = labels or self._labels()
        noted = Counter[str]() if counts is None else counts
        kept: list[InputRecord] = []
        for record in read_input(path, columns, labels, noted, config.discipline):
            if path.is_dir():
                kept.append(record)
            yield record
        if kept:
            self._pieces[path] = kept

    def _labels(self) -> Labels:
        file = self.config.labels_file
        return Labels(
            self.config.label_column, self.config.label_pattern, None if file is None else Path(file).expanduser()
        )

    def _scan(self) -> _Scan:
        scan, labels = _Scan(), self._labels()
        blanks = self.config.discipline in ("music", "text")
        for part, path in self._given.items():
            counts: Counter[str] = Counter()
            for record in self._read(path, labels, counts):
                texts = (record.sequence, record.second or "")
                scan.longest = max(scan.longest, sum(len(text.split()) if blanks else len(text) for text in texts))
                if record.piece is not None:
                    scan.grouped.add(part)
                if part == TRAIN and record.label is not None:
                    scan.labels[record.label] += 1
                    scan.places.setdefault(record.label, record.place)
            if counts:
                self.note(f"{path.name}: {format_counts(counts)}")
        folders = [path for path in self._given.values() if path.is_dir()]
        names = [file.relative_to(folder).as_posix() for folder in folders for file in files_below(folder)]
        labels.check_all_used(self._given.values(), names)
        return scan

    @property
    def forms(self) -> tuple[Form, ...]:
        assert self.task  # reads the files
        grouped = bool(self._scanned.grouped) or self.config.similarity_threshold is not None
        return (Form("the user's", {}, self._read, has_groups=grouped),)

    def find_files(self) -> tuple[Form, dict[str, list[Path]]]:
        return self.forms[0], {part: [path] for part, path in self._given.items()}

    def rows(self, part: str) -> Iterator[dict[str, Any]]:
        """The checked rows of a part; rows of the training file with their groups of similar sequences, once found."""
        similar = self._similar if part == TRAIN else None
        for row in super().rows(part):
            yield row if similar is None else {**row, "group": similar[row["id"]]}

    def choose(self) -> dict[str, Sequence[str]]:
        """Parts with a file are as given; others are drawn from the training file, by group where it has groups."""
        keys: dict[str, list[Key]] = {part: [] for part in self.files}
        labels, sequences = list[Any](), list[str]()
        for part in self.files:
            for row in self.rows(part):
                keys[part].append(Key(row["id"], row["group"], row["part"]))
                if part == TRAIN:
                    labels.append(row["label"])
                    sequences.append(row["sequence"] if self.config.similarity_threshold else "")
        groups = {part: {key.group for key in keys_of_part} - {None} for part, keys_of_part in keys.items()}
        for part in groups.keys() - {TRAIN}:
            if shared := sorted(map(str, groups[part] & groups[TRAIN])):
                name = self._given[part].name
                self.note(f"groups of {name} that are in the training file too: {len(shared)}, as {shared[0]!r}")
        chosen: dict[str, Sequence[str]] = {part: [part] * len(keys_of_part) for part, keys_of_part in keys.items()}
        drawn = (TRAIN, *(part for part in (VALIDATION, TEST) if part not in keys))
        if len(drawn) > 1:
            chosen[TRAIN] = self._draw(keys[TRAIN], drawn, labels, sequences)
        return chosen

    def _draw(self, keys: list[Key], parts: Sequence[str], labels: list[Any], sequences: list[str]) -> list[str]:
        config, task, groups, how = self.config, self.task, self._groups(keys, sequences), "drawn at random"
        if groups is not None:
            how = "drawn by group" if TRAIN in self._scanned.grouped else "drawn by group of similar sequences"
        how += f", {'targets' if task.regression else 'classes'} in proportion"
        try:
            if config.fold is not None and config.folds is not None:
                folds = config.folds, config.fold, config.seed
                chosen = fold_split(labels, groups, *folds, task.regression, task.multi_label)
            elif groups is None:
                chosen = stratified_split(labels, config.seed, parts)
            else:
                target_size = held_out(len(keys))
                chosen = balanced_grouped_split(labels, groups, config.seed, parts, target_size, task.regression)
            empty = [part for part in parts if part not in chosen]
            if empty:
                raise ValueError(f"{len(keys)} records are too few to draw {', '.join(empty)} from")
        except ValueError as error:
            files = "" if config.fold else "; give --validation_file and --test_file"
            raise ValueError(f"{config.train_file}: {error}{files}") from None
        counts = Counter(chosen)
        if config.fold is not None:
            share = counts[VALIDATION] / (counts[VALIDATION] + counts[TRAIN])
            self.note(f"test: fold {config.fold} of {config.folds}, {how}; validation: {share:.0%} of the rest")
        else:
            shares = ", ".join(f"{part} {counts[part] / len(keys):.0%}" for part in parts[1:])
            self.note(f"{shares} of the training file, {how}")
        return chosen

    def _groups(self, keys: list[Key], sequences: list[str]) -> list[str] | None:
        """The group of each record; None where there is none."""
        threshold = self.config.similarity_threshold
        if TRAIN in self._scanned.grouped:
            return [key.group or f"alone: {key.id}" for key in keys]
        if threshold is None:
            return None
        groups = similar_groups(sequences, self.task.discipline, threshold)
        largest = max(Counter(groups).values())
        self.note(f"{len(set(groups))} groups of similar sequences, the largest of {largest} records")
        self._similar = dict(zip((key.id for key in keys), groups, strict=True))
        return groups

    @property
    def command(self) -> str:
        """What builds the data again, from files of the same names. Folds are built by `bertx train` alone."""
        config, words = self.config, list[str]()
        for name in USER_DATA_OPTIONS:
            value = getattr(config, name)
            if value in (None, False):
                continue
            words.append(f"--{name}")
            if value is not True:
                words.append(Path(value).expanduser().resolve().name if name.endswith("_file") else str(value))
        if config.fold is not None:
            return shlex.join(["bertx", "train", "--task", self.task.name, *words, "--folds", str(config.folds)])
        words[0] = "--from"
        return shlex.join(["bertx", "data", "build", self.task.name, *words, "--seed", str(config.seed)])

    def provenance(self) -> dict[str, Any]:
        files = {part: files_below(path) if path.is_dir() else [path] for part, path in self._given.items()}
        if self.config.labels_file is not None:
            files["labels"] = [Path(self.config.labels_file).expanduser()]
        self.files = files
        return super().provenance()
