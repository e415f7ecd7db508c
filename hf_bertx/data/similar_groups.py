"""Groups of similar sequences by shared k-mers, so that near copies stay on one side of a split."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_array

from .hashed_windows import NOTATIONS, Notation, window_hashes

_SKETCH = 64  # smallest number of k-mers in a sketch, if the sequence has that many
_LARGEST_HASH = float(2**64)


def similar_groups(sequences: Sequence[str], discipline: str, threshold: float) -> list[str]:
    """A group for each sequence. Two sequences are in one group if the shorter one shares at least `threshold` of its
    k-mers with the other, or if a chain of such pairs links them (single linkage).

    Sequences are compared by sketches: the k-mers whose hash is among the lowest (FracMinHash), of 12 nucleotides, 5
    residues or 6 notes, on the same strand. The share is that of the shorter one's k-mers.

    Args:
        discipline: dna, protein or music.
        threshold: more than 0, at most 1.

    Raises:
        ValueError: a threshold that is not allowed, or another discipline. Words of texts have no such groups.

    Source: Irber et al. 2022, "Lightweight compositional analysis of metagenomes with FracMinHash", for the sketch.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"--similarity_threshold is {threshold}; allowed: more than 0, at most 1")
    notation = NOTATIONS.get(discipline)
    if notation is None or discipline == "text":
        raise ValueError(f"--similarity_threshold: sequences of {discipline} are not compared; name a --group_column")
    return [f"similar-{number}" for number in _linked(_sketches(sequences, notation), threshold)]


def _linked(sketches: csr_array, threshold: float) -> np.ndarray:
    """The number of each item's group, of shape `(items,)`; groups are numbered in the order of their first items.

    A group grows from its first item, and only items without a group are compared, so that links are never kept and
    items that are all alike are compared once. Of two linked items, the one with fewer k-mers shares at least one of
    its rarest: all but the required share, and one more. Only pairs with such a k-mer are counted. The groups are
    those of all pairs; a k-mer that nearly all items hold, as of a primer, makes no pairs, as long as an item holds
    fewer of them than the required share.

    Args:
        sketches: as of [`_sketches`].

    Source: Chaudhuri et al. 2006, "A Primitive Operator for Similarity Joins in Data Cleaning" (prefix filter).
    """
    sizes = np.diff(sketches.indptr)
    rarest = sizes - np.ceil(threshold * sizes).astype(np.int64) + 1  # k-mers of each item that have to be looked for
    place = np.arange(sketches.nnz) - np.repeat(sketches.indptr[:-1], sizes)
    early = place < np.repeat(rarest, sizes)
    pointers = np.concatenate([[0], np.cumsum(rarest)])
    prefixes = csr_array((sketches.data[early], sketches.indices[early], pointers), shape=sketches.shape)
    groups: np.ndarray = np.full(len(sizes), -1)
    wanted: np.ndarray = np.zeros(sketches.shape[1], np.int32)
    left, free, waiting, number = np.arange(0), len(sizes), list[int](), -1
    for start in range(len(sizes)):
        if groups[start] >= 0:
            continue
        number += 1
        groups[start], waiting, free = number, [start], free - 1
        while waiting and free:
            if 2 * free < len(left) or not len(left):
                left = np.flatnonzero(groups < 0)
                holders, holders_early = sketches[left].T.tocsr(), prefixes[left].T.tocsr()
            item = waiting.pop()
            kmers = sketches.indices[sketches.indptr[item] : sketches.indptr[item + 1]]
            near = [holders[kmers[: rarest[item]]].indices, holders_early[kmers].indices]
            others = np.unique(left[np.concatenate(near)])
            others = others[groups[others] < 0]
            if not len(others):
                continue
            wanted[kmers] = 1
            shared = sketches[others] @ wanted
            wanted[kmers] = 0
            linked = others[shared >= threshold * np.minimum(sizes[item], sizes[others])]
            groups[linked] = number
            waiting += linked.tolist()
            free -= len(linked)
    return groups


def _sketches(sequences: Sequence[str], notation: Notation) -> csr_array:
    """Which item has which k-mer of the sketch: ones, of shape `(items, k-mers)`; the k-mers that fewest items have
    come first. A sequence shorter than a k-mer is one k-mer. A sketch has at least the lowest hash of its sequence."""
    hashes = [_hashes(sequence, notation) for sequence in sequences]
    fewest = float(np.quantile([len(each) for each in hashes], 0.05))
    share = min(1.0, _SKETCH / max(fewest, 1.0))
    if share < 1.0:
        hashes = [each[: max(1, int(np.searchsorted(each, share * _LARGEST_HASH)))] for each in hashes]
    _, columns, holders = np.unique(np.concatenate(hashes), return_inverse=True, return_counts=True)
    ranks = np.argsort(np.argsort(holders, kind="stable"), kind="stable")
    lengths = np.fromiter(map(len, hashes), np.int64, len(hashes))
    pointers = np.concatenate([[0], np.cumsum(lengths)])
    ones: np.ndarray = np.ones(len(columns), np.int32)
    table = csr_array((ones, ranks[columns.ravel()], pointers), shape=(len(hashes), len(holders)))
    table.sort_indices()
    return table


def _hashes(sequence: str, notation: Notation) -> np.ndarray:
    """The hashes of a sequence's k-mers, each once, the lowest first."""
    k, split = notation.k, notation.split
    if split is None:
        codes = np.frombuffer(sequence.upper().encode("utf-32-le"), np.uint32).astype(np.uint64)
    else:
        codes = np.array([int(symbol) for symbol in split(sequence)], np.uint64)
    return np.unique(window_hashes(codes, min(k, len(codes))))
