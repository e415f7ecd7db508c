"""Loads the rows of a task, checks them and computes their fingerprint."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset
from transformers.utils import logging

from ..metrics import names_of_pieces
from ..tasks import Task
from .data_copies import BuildTask, load_copy
from .labels import label_rows, split_labels
from .row_checks import check_values, kind_of, sequence_columns
from .targets import balances, problem_of, sentence, to_number, understood

logger = logging.get_logger(__name__)
_LOGGED: set[str] = set()  # several runs of a command describe the same rows once
SPLITS = ("paper", "authors", "grouped")
# Metrics for a user's own data; the first one is the default.
LABEL_METRICS = ("micro_f1", "macro_f1")
CLASS_METRICS = ("accuracy", "balanced_accuracy", "mcc", "macro_f1")
TARGET_METRICS = ("spearman", "pearson")
_LONGEST = 512  # tokens: what BERT's position embeddings reach
_EVALUATION_SEED = 20210707  # one for all runs, so that arms and seeds are compared on the same items


@dataclass(frozen=True)
class TaskData:
    """The rows of a task, checked.

    Args:
        task: whose rows they are.
        splits: `train`, `validation` and `test` with the columns `id`, `sequence`, `label` and, where the task has
            them, `second_sequence` and `group`. A task that is tested on its validation set has both under one name.
        origin: where the rows are from.
        fingerprint: sha256 over the rows of every split.
        test_duplicates: test items whose sequences occur in the training rows too, letter for letter.
        leaks: sentences of the leak report that was made when the data set was built; none without a report.
        revision: the commit of the Hub that the rows are from; None for a folder.
    """

    task: Task
    splits: dict[str, Dataset]
    origin: str
    fingerprint: str
    test_duplicates: int
    leaks: tuple[str, ...] = ()
    revision: str | None = None

    def understood(self) -> dict[str, Any]:
        """What the rows were understood to be; see [`targets.understood`]."""
        return understood({part: len(rows) for part, rows in self.splits.items()}, balances(self.splits), self.task)

    def log_summary(self, log: Callable[[str], None] | None = None) -> None:
        """Describes the rows in one line; by default in the log, once for each process."""
        line = f"data: {sentence(self.understood())}"
        if self.test_duplicates:
            split = self.task.test_split
            line += f"; copies of training items: {self.test_duplicates} of {len(self.splits[split])} {split} items"
        if self.task.labels is not None and (several := several_labels(self.splits["train"])):
            line += f"; training sequences that occur with several labels: {several}"
        if log is not None or line not in _LOGGED:
            _LOGGED.add(line)
            (log or logger.warning)(line)


def load_task_data(
    task: Task, split: str = "paper", data_dir: str | None = None, build: BuildTask | None = None
) -> TaskData:
    """Loads a task from `data_dir`, else the copy in the package, else the Hub, else builds it; checks its rows.

    Args:
        split: `paper`, `authors` (the division of their code), or `grouped` (no test item that a training item gives
            away); the name of a configuration of the data set.
        data_dir: a folder that `load_dataset` reads, with a configuration of the split's name or without any.
        build: fetches the original files and builds the data set of them; not called while HF_HUB_OFFLINE is set.

    Raises:
        FileNotFoundError: there is no copy; the message says what to do.
        ValueError: an unknown split, a missing one, a missing column or a label that the task does not have.
    """
    check_split(split)
    copy = load_copy(task, split, data_dir, build)
    loaded, origin = copy.rows, copy.origin
    splits = {}
    for name in dict.fromkeys(("train", "validation", task.test_split)):
        if name not in loaded:
            raise ValueError(f"task {task.name}: {origin} has no split {name!r}; it has {', '.join(loaded)}")
        splits[name] = _checked(loaded[name], task, f"{origin}, split {name!r}")
    counts = ", ".join(f"{len(rows)} {name}" for name, rows in splits.items())
    logger.info("task %s: %s from %s", task.name, counts, origin)
    duplicates = count_duplicates(splits["train"], splits[task.test_split])
    # intervals are over the groups of a user's own data; those of the paper's were not in archived fingerprints
    fingerprint = _fingerprint(splits, groups=not task.hosted)
    return TaskData(task, splits, origin, fingerprint, duplicates, copy.leaks, copy.revision)


def check_split(split: str) -> None:
    """Raises a ValueError for a name that no split of a data set has."""
    if split not in SPLITS and not re.fullmatch("fold-[0-9]+", str(split)):
        raise ValueError(f"unknown split {split!r}; allowed: {', '.join(SPLITS)}, or fold-N of a cross-validation")


def user_task(
    name: str,
    discipline: str,
    labels: Counter[str],
    longest: int,
    pair: bool,
    votes: bool,
    place: str,
    problem: str | None = None,
    metric: str | None = None,
    places: Mapping[str, str] | None = None,
) -> Task:
    """A task of a user's own data: a regression when every label is a number and one has a decimal point.

    Args:
        labels: those of the training items, as they are written, and how many items have each.
        longest: symbols of the longest item of all files, of both its sequences if it has two.
        place: the training file, for the message.
        problem: `classification` or `regression`; None guesses by the labels.
        metric: what the best weights are chosen by, and what is reported first.
        places: where each label stands first, for the message.

    Raises:
        ValueError: labels that could be either, fewer than two classes, or as many as items; a metric that does not
            fit them.
    """
    kind = problem_of(labels, problem, place, places)
    regression, several = kind == "regression", kind == "multi_label"
    if several and votes:
        raise ValueError(f"{place}: segments of a piece vote on one label; --problem multi_label is for other data")
    if several:
        labels = Counter(part for label in labels for part in split_labels(label, place))
    numbers = {label: to_number(label) for label in labels}
    by_value = None if None in numbers.values() else lambda label: (numbers[label], label)
    order = sorted(labels, key=by_value)
    known = TARGET_METRICS if regression else LABEL_METRICS if several else CLASS_METRICS
    if metric is not None and metric not in known:
        raise ValueError(f"--metric is {metric!r}; allowed for {kind}: {', '.join(known)}")
    chosen = metric or known[0]
    others = [name for name in known if name != chosen]
    others += [] if regression or votes else ["auprc"]
    return Task(
        name,
        discipline,
        None if regression else tuple(order),
        chosen,
        {},
        # a word of text may be several tokens; a symbol is one, and a pair has three special tokens
        max_length=_LONGEST if discipline == "text" else min(_LONGEST, longest + 3),
        description=f"{'Targets' if regression else f'{len(order)} classes'} of the user's own {discipline} data.",
        source="The user's own files",
        license=None,
        pair=pair,
        extra_metrics=tuple(others),
        votes=votes,
        multi_label=several,
        hosted=False,
    )


def subset(rows: Dataset, fraction: float, seed: int) -> Dataset:
    """A random share of the rows, at least one, the same for the same seed; all of them for 1.0.

    Raises:
        ValueError: a fraction outside (0, 1].
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction is {fraction}; allowed: more than 0, at most 1")
    if fraction == 1:
        return rows
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(rows))
    return rows.select(sorted(order[: max(1, round(fraction * len(rows)))].tolist()))


def evaluation_subset(rows: Dataset, count: int | None) -> Dataset:
    """At most so many random rows, the same ones for every arm and seed; where rows have groups, whole groups.

    A group that does not fit any more is left out; the first one is always in. A row without a group is alone.

    Raises:
        ValueError: a count below 1.
    """
    if count is None or count >= len(rows):
        return rows
    if count < 1:
        raise ValueError(f"max_eval_items is {count}; allowed: at least 1")
    order = np.random.Generator(np.random.PCG64(_EVALUATION_SEED)).permutation
    if "group" not in rows.column_names:
        return rows.select(sorted(order(len(rows))[:count].tolist()))
    members: dict[str, list[int]] = {}
    for row, group in enumerate(names_of_pieces(rows["group"][:])):
        members.setdefault(group, []).append(row)
    names = list(members)
    taken: list[int] = []
    for n in order(len(names)):
        if not taken or len(taken) + len(members[names[n]]) <= count:
            taken += members[names[n]]
    return rows.select(sorted(taken))


def _checked(rows: Dataset, task: Task, place: str) -> Dataset:
    texts = ["sequence", "second_sequence"] if task.pair else ["sequence"]
    needed = ["id", *texts, "label", *(["group"] if task.votes else [])]
    for column in needed:
        if column not in rows.column_names:
            raise ValueError(f"{place}: no column {column!r}; a row of {task.name} has {', '.join(needed)}")
    if not len(rows):
        raise ValueError(f"{place}: no rows")
    check_values(rows, texts, place)
    name, times = Counter(rows["id"][:]).most_common(1)[0]
    if times > 1:  # answers are compared by id
        raise ValueError(f"{place}: id {name!r} occurs {times} times; ids are unique")
    return _checked_targets(rows, place) if task.labels is None else _checked_labels(rows, task, task.labels, place)


def _checked_targets(rows: Dataset, place: str) -> Dataset:
    kind = kind_of(rows, "label")
    if not kind.startswith(("int", "uint", "float", "decimal")):
        raise ValueError(f"{place}: targets are {kind}; allowed: numbers")
    targets = np.asarray(rows["label"][:], dtype=float)
    bad = np.flatnonzero(~np.isfinite(targets))
    if len(bad):
        raise ValueError(f"{place}, id {rows[int(bad[0])]['id']!r}: the target is {targets[bad[0]]}, not a number")
    return rows


def _checked_labels(rows: Dataset, task: Task, names: tuple[str, ...], place: str) -> Dataset:
    """Class numbers or names as a `ClassLabel` of the task's names; labels of several an item as they are."""
    feature, kind = rows.features["label"], kind_of(rows, "label")
    if isinstance(feature, ClassLabel) and tuple(feature.names) != names:
        raise ValueError(f"{place}: classes are {', '.join(feature.names)}; {task.name} has {', '.join(names)}")
    if kind != "string" and (task.multi_label or not kind.startswith(("int", "uint"))):
        numbers = "" if task.multi_label else " or their numbers"
        raise ValueError(f"{place}: labels are {kind}; allowed: {', '.join(names)}{numbers}")
    labels = rows["label"][:]
    if task.multi_label:
        label_rows(labels, names)
        return rows
    known = names if kind == "string" else range(len(names))
    bad = next((row for row, label in enumerate(labels) if label not in known), None)
    if bad is not None:
        raise ValueError(f"{place}, id {rows[bad]['id']!r}: label {labels[bad]!r} is not one of {names}")
    return rows if isinstance(feature, ClassLabel) else rows.cast_column("label", ClassLabel(names=list(names)))


def count_duplicates(train: Dataset, tested: Dataset) -> int:
    """How many tested items occur among the training items, letter for letter."""
    known = set(_items(train))
    return sum(item in known for item in _items(tested))


def several_labels(rows: Dataset) -> int:
    """How many sequences, or pairs of them, occur letter for letter with more than one label."""
    first: dict[Any, Any] = {}
    return len(
        {
            item
            for item, label in zip(_items(rows), rows["label"][:], strict=True)
            if first.setdefault(item, label) != label
        }
    )


def _items(rows: Dataset) -> Iterable[Any]:
    return zip(*(rows[name][:] for name in sequence_columns(rows.column_names)), strict=True)


def _fingerprint(splits: dict[str, Dataset], groups: bool) -> str:
    digest = hashlib.sha256()
    for name, rows in splits.items():
        last = [rows["label"][:], *([rows["group"][:]] if groups and "group" in rows.column_names else [])]
        for row_id, item, *values in zip(rows["id"][:], _items(rows), *last, strict=True):
            digest.update("\x1f".join((name, str(row_id), *item, *map(repr, values))).encode())
            digest.update(b"\x1e")
    return digest.hexdigest()
