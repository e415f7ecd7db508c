"""Groups of similar sequences by shared k-mers, so that near copies stay on one side of a split."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from .hashed_windows import NOTATIONS, Notation, window_hashes

_SKETCH = 64  # smallest number of k-mers in a sketch, if the sequence has that many
_BLOCK = 1_000  # items whose neighbours are in memory at once
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
    sketches = _sketches(sequences, notation)
    sizes = np.maximum(np.diff(sketches.indptr), 1)
    items, transposed = len(sequences), sketches.T.tocsr()
    first, second = [], []
    for start in range(0, items, _BLOCK):
        shared = (sketches[start : start + _BLOCK] @ transposed).tocoo()
        rows = shared.row + start
        alike = shared.data >= threshold * np.minimum(sizes[rows], sizes[shared.col])
        first.append(rows[alike])
        second.append(shared.col[alike])
    links = (np.concatenate(first), np.concatenate(second))
    graph = csr_array((np.ones(len(links[0]), bool), links), shape=(items, items))
    return [f"similar-{number}" for number in connected_components(graph, directed=False)[1]]


def _sketches(sequences: Sequence[str], notation: Notation) -> csr_array:
    """Which item has which k-mer of the sketch: ones, of shape `(items, k-mers)`. A sequence shorter than a k-mer is
    one k-mer."""
    hashes = [_hashes(sequence, notation) for sequence in sequences]
    fewest = float(np.quantile([len(each) for each in hashes], 0.05))
    share = min(1.0, _SKETCH / max(fewest, 1.0))
    if share < 1.0:
        hashes = [each[each < share * _LARGEST_HASH] for each in hashes]
    known, columns = np.unique(np.concatenate(hashes), return_inverse=True)
    lengths = np.fromiter(map(len, hashes), np.int64, len(hashes))
    pointers = np.concatenate([[0], np.cumsum(lengths)])
    ones: np.ndarray = np.ones(len(columns), np.int32)
    return csr_array((ones, columns.ravel(), pointers), shape=(len(hashes), len(known)))


def _hashes(sequence: str, notation: Notation) -> np.ndarray:
    k, split = notation.k, notation.split
    if split is None:
        codes = np.frombuffer(sequence.upper().encode("utf-32-le"), np.uint32).astype(np.uint64)
    else:
        codes = np.array([int(symbol) for symbol in split(sequence)], np.uint64)
    return np.unique(window_hashes(codes, min(k, len(codes))))
