"""Hashes of all windows of one length in the sequences of a data set. Memory does not grow with the data."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .row_checks import sequence_columns

if TYPE_CHECKING:
    from datasets import Dataset

_BLOCK_SYMBOLS, _BLOCK_ITEMS = 500_000, 4_000  # they bound the tables of long items, and of short ones
_ROWS_READ = 100
# Multipliers and increment of splitmix64. Source: Steele, Lea and Flood 2014.
_FIRST, _SECOND, _STEP = (np.uint64(n) for n in (0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0x9E3779B97F4A7C15))


@dataclass(frozen=True)
class Notation:
    """How sequences of a discipline are read, and the lengths, in symbols, that are looked for."""

    unit: str
    window: int | None
    k: int
    upper: bool = False
    split: Callable[[str], list[str]] | None = None  # None: every letter is a symbol


NOTATIONS = {
    "dna": Notation("nucleotides", window=100, k=12, upper=True),
    "protein": Notation("residues", window=50, k=5, upper=True),
    "music": Notation("notes", window=64, k=6, split=str.split),
    "text": Notation("words", window=None, k=1, split=lambda text: re.findall(r"\w+", text.casefold())),
}
CHARACTERS = Notation("characters", window=None, k=6)


def items_of(rows: Dataset, notation: Notation) -> Iterator[tuple[str, ...]]:
    """The sequence, or the pair of sequences, of each item."""
    columns = sequence_columns(rows.column_names)
    for batch in rows.select_columns(columns).iter(_ROWS_READ):
        for item in zip(*(batch[name] for name in columns), strict=True):
            yield tuple(sequence.upper() for sequence in item) if notation.upper else item


@dataclass(frozen=True)
class Block:
    """The windows of `count` successive items, the number of the first of which is `first`."""

    first: int
    count: int
    hashes: np.ndarray  # (windows,): equal ones for equal windows
    items: np.ndarray  # (windows,): which item of the block a window is in, from 0


def blocks_of(rows: Dataset, notation: Notation, length: int) -> Iterator[Block]:
    """All windows of a length. A block ends with the item that brings it to 500,000 symbols or 4,000 items."""
    first, symbols, pieces = 0, 0, list[Any]()
    for number, item in enumerate(items_of(rows, notation), start=1):
        pieces += item if notation.split is None else map(notation.split, item)
        symbols += sum(map(len, pieces[-len(item) :]))
        if symbols >= _BLOCK_SYMBOLS or number - first == _BLOCK_ITEMS or number == len(rows):
            yield _block(first, number - first, pieces, length)
            first, symbols, pieces = number, 0, []


def _block(first: int, count: int, pieces: list[Any], length: int) -> Block:
    if isinstance(pieces[0], str):
        codes = np.frombuffer("".join(pieces).encode("utf-32-le"), np.uint32).astype(np.uint64)
    else:
        codes = np.fromiter((hash(word) for piece in pieces for word in piece), np.int64).view(np.uint64)
    lengths = np.fromiter(map(len, pieces), np.int64, len(pieces))
    symbols_left = np.repeat(np.cumsum(lengths), lengths) - np.arange(lengths.sum())
    starts = np.flatnonzero(symbols_left >= length)  # the other windows cross the border of two sequences
    owners: np.ndarray = np.repeat(np.arange(len(pieces)) * count // len(pieces), lengths)
    return Block(first, count, window_hashes(codes, length)[starts], owners[starts])


def window_hashes(codes: np.ndarray, length: int) -> np.ndarray:
    """A 64-bit hash of each window, made of those of two windows of half the length, or more where they overlap.

    A polynomial modulo 2^64 would confuse windows of self-similar sequences (Thue-Morse), whatever its base.
    """
    hashes, reached = _scrambled(codes), 1
    while reached < length:
        step = min(reached, length - reached)
        hashes = _scrambled(hashes[:-step] * _FIRST + hashes[step:])
        reached += step
    return hashes


def _scrambled(numbers: np.ndarray) -> np.ndarray:
    mixed = numbers + _STEP
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _FIRST
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _SECOND
    return mixed ^ (mixed >> np.uint64(31))
