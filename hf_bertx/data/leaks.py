"""Leaks of a split: copies, shared stretches, and the score of copying the nearest training item's label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_array

from ..metrics import compute
from .hashed_windows import CHARACTERS, NOTATIONS, Block, Notation, blocks_of, items_of
from .row_checks import check_values, kind_of

if TYPE_CHECKING:
    from datasets import Dataset

MAX_SCORED_ITEMS, MAX_SEARCHED_ITEMS = 2_000, 100_000
MAX_HOLDERS = 500  # a k-mer in more training items than this is ignored: it would make the search quadratic
_SIEVE = np.uint64(2**22 - 1)


@dataclass(frozen=True)
class LeakReport:
    """What the training items reveal about the tested ones.

    Args:
        split: the tested split: `test`, or `validation` where there is no test split.
        items: items of the tested split.
        duplicates: those whose sequence, or pair of sequences, occurs letter for letter among the training items.
        window: length in symbols of the stretches that `overlapping` is about; both are None where not measured.
        unit: nucleotides, residues, notes, words or characters.
        overlapping: items that share `window` or more consecutive symbols with a training item, on the same strand.
        copied_score: score of answering with the label of the training item that shares the most k-mers.
        metric: `accuracy` for classes, `spearman` for a regression; both scores are in it, as fractions.
        baseline_score: score of always answering the most frequent training class; None for a regression.
        scored_items: tested items that both scores are over.
        k: length in symbols of the k-mers.
        train_items: items of the training split: copies and windows are looked for in all of them.
        train_items_searched: those among which the nearest one was looked for.
    """

    split: str
    items: int
    duplicates: int
    window: int | None
    unit: str
    overlapping: int | None
    copied_score: float
    metric: str
    baseline_score: float | None
    scored_items: int
    k: int
    train_items: int
    train_items_searched: int

    def sentences(self) -> list[str]:
        """Three or four sentences for a card or a terminal; what was not measured makes no sentence."""
        tested = f"of {self.items:,} {self.split} items"
        copies = f"{self.duplicates:,} {tested} ({self.duplicates / self.items:.1%})"
        parts = [f"{copies} occur letter for letter among the training items."]
        if self.overlapping is not None:
            stretch = f"{self.window} or more consecutive {self.unit}"
            share = f"{self.overlapping / self.items:.1%}"
            parts.append(f"{self.overlapping:,} {tested} ({share}) share {stretch} with a training item.")
        shared = self.unit if self.k == 1 else f"stretches of {self.k} {self.unit}"
        scores = f"a Spearman correlation of {self.copied_score:.3f}"
        if self.baseline_score is not None:
            always = f"always answering the most frequent training class gives {self.baseline_score:.1%}"
            scores = f"an accuracy of {self.copied_score:.1%}; {always}"
        parts.append(f"Copying the label of the training item that shares the most {shared} gives {scores}.")
        searched = f"{self.train_items_searched:,} of {self.train_items:,} training items"
        drawn = self.scored_items < self.items or self.train_items_searched < self.train_items
        return [*parts, f"That compared {self.scored_items:,} {tested} with {searched}{', drawn at random' * drawn}."]


def leak_report(
    splits: Mapping[str, Dataset], discipline: str, window: int | None = None, seed: int = 0
) -> LeakReport:
    """Compares the tested split with the training split. No step is quadratic.

    Memory grows with the tested split, by some 50 bytes a symbol, and not with the training split, which is streamed.

    Args:
        splits: `train` and `test` or `validation`, with the columns `sequence`, `label` (classes as integers, or
            targets as floats) and, for pairs, `second_sequence`.
        discipline: `dna`, `protein` (letters, in either case), `music` (pitches between blanks), `text` (words, in
            either case); sequences of any other are compared character by character.
        window: length in symbols of a stretch that counts as shared. By default 100 nucleotides, 50 residues or 64
            notes; not measured for text, other disciplines, and where no tested item is that long.
        seed: draws 2,000 items to score and 100,000 training items to search, where there are more.

    Raises:
        ValueError: a missing or empty split, a missing column, a label that is no number, or an empty window.
    """
    if window is not None and window < 1:
        raise ValueError(f"window is {window}; allowed: 1 or more symbols")
    split = _tested_split(splits)
    train, tested = splits["train"], splits[split]
    train_labels, test_labels = _labels(train, "train"), _labels(tested, split)
    notation = NOTATIONS.get(discipline, CHARACTERS)
    if window is None and notation.window is not None and _longest(tested, notation) >= notation.window:
        window = notation.window
    generator = np.random.Generator(np.random.PCG64(seed))
    scored = _drawn(len(tested), MAX_SCORED_ITEMS, generator)
    searched = _drawn(len(train), MAX_SEARCHED_ITEMS, generator)
    nearest = _nearest(tested.select(scored), train.select(searched), notation)
    regression = train_labels.dtype.kind == "f"
    metric = "spearman" if regression else "accuracy"
    constant = train_labels.mean() if regression else np.bincount(train_labels).argmax()
    copied = np.where(nearest < 0, constant, train_labels[searched[nearest]])
    truth = test_labels[scored]
    unseen = Counter(items_of(tested, notation))
    return LeakReport(
        split=split,
        items=len(tested),
        duplicates=sum(unseen.pop(item, 0) for item in items_of(train, notation)),
        window=window,
        unit=notation.unit,
        overlapping=None if window is None else _overlapping(tested, train, notation, window),
        copied_score=compute(metric, copied, truth),
        metric=metric,
        baseline_score=None if regression else compute(metric, np.full(truth.shape, constant), truth),
        scored_items=len(scored),
        k=notation.k,
        train_items=len(train),
        train_items_searched=len(searched),
    )


def _longest(rows: Dataset, notation: Notation) -> int:
    texts = chain.from_iterable(items_of(rows, notation))
    return max(len(text) if notation.split is None else len(notation.split(text)) for text in texts)


def _tested_split(splits: Mapping[str, Dataset]) -> str:
    split = next((name for name in ("test", "validation") if name in splits), "test")
    pair = {"second_sequence"} & {column for rows in splits.values() for column in rows.column_names}
    for name, expected in (("train", "'train'"), (split, "'test' or 'validation'")):
        if name not in splits:
            raise ValueError(f"no split {expected}; the splits are: {', '.join(splits) or 'none'}")
        if not len(splits[name]):
            raise ValueError(f"split {name!r} has no rows")
        columns = splits[name].column_names
        if missing := {"sequence", "label", *pair} - {*columns}:
            raise ValueError(f"split {name!r} has no column {min(missing)!r}; it has {', '.join(columns)}")
        check_values(splits[name], ["sequence", *pair], f"split {name!r}")
    return split


def _labels(rows: Dataset, split: str) -> np.ndarray:
    """Class numbers or targets, of shape `(items,)`."""
    if not kind_of(rows, "label").startswith(("int", "uint", "float")):
        raise ValueError(f"split {split!r}: labels are {rows.features['label']}; allowed: class numbers or floats")
    labels = np.asarray(rows["label"][:])
    bad = np.flatnonzero(~np.isfinite(labels) if labels.dtype.kind == "f" else labels < 0)
    if len(bad):
        raise ValueError(f"split {split!r}, row {bad[0]}: label {labels[bad[0]]} is neither a class nor a target")
    return labels


def _drawn(total: int, at_most: int, generator: np.random.Generator) -> np.ndarray:
    """Sorted row numbers: all, or as many as allowed, drawn without replacement."""
    return np.arange(total) if total <= at_most else np.sort(generator.choice(total, at_most, replace=False))


def _overlapping(tested: Dataset, train: Dataset, notation: Notation, length: int) -> int:
    blocks = list(blocks_of(tested, notation, length))
    known, places = np.unique(np.concatenate([block.hashes for block in blocks]), return_inverse=True)
    items = np.concatenate([block.first + block.items for block in blocks])
    shared: np.ndarray = np.zeros(len(known), bool)
    for block in blocks_of(train, notation, length):
        shared[_look_up(known, np.sort(block.hashes))[1]] = True  # sorted ones are found several times as fast
    return len(np.unique(items[shared[places]]))


def _look_up(known: np.ndarray, hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which hashes are among the known ones (sorted), and their positions there."""
    sieve: np.ndarray = np.zeros(int(_SIEVE) + 1, bool)
    sieve[known & _SIEVE] = True
    maybe = np.flatnonzero(sieve[hashes & _SIEVE])  # most hashes are unknown: this look-up saves their search
    places = np.minimum(np.searchsorted(known, hashes[maybe]), len(known) - 1)
    inside = known[places] == hashes[maybe]
    return maybe[inside], places[inside]


def _table(block: Block, known: np.ndarray) -> csr_array:
    """Which item of a block holds which known k-mer: ones, of shape `(items, known)`."""
    inside, places = _look_up(known, block.hashes)
    table = csr_array((np.ones(len(inside), np.int32), (block.items[inside], places)), (block.count, len(known)))
    table.data[:] = 1  # an item that holds a k-mer twice had a 2
    return table


def _nearest(tested: Dataset, train: Dataset, notation: Notation) -> np.ndarray:
    """The numbers of the training items that share the most k-mers, the first of several; -1 where none shares one."""
    blocks = list(blocks_of(tested, notation, notation.k))
    known = np.unique(np.concatenate([block.hashes for block in blocks]))
    holders: np.ndarray = np.zeros(len(known), np.int64)
    for block in blocks_of(train, notation, notation.k):
        holders += np.bincount(_table(block, known).indices, minlength=len(known))
    known = known[(holders > 0) & (holders <= MAX_HOLDERS)]
    tables = [(slice(block.first, block.first + block.count), _table(block, known)) for block in blocks]
    nearest: np.ndarray = np.full(len(tested), -1)
    most: np.ndarray = np.zeros(len(tested), np.int64)
    for block in blocks_of(train, notation, notation.k):
        held = _table(block, known).T.tocsr()
        for rows, table in tables:
            shared = table @ held  # (tested items of a block, training items of a block)
            counts = shared.max(axis=1).toarray().ravel()
            better = counts > most[rows]
            nearest[rows] = np.where(better, block.first + shared.argmax(axis=1), nearest[rows])
            most[rows] = np.maximum(counts, most[rows])
    return nearest
