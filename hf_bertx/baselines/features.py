"""Features of sequences: k-mers, one-hot symbols, dipeptide deviation, n-grams of words or pitches.

An ambiguity letter or unknown residue has no column: a k-mer that holds one is not counted, and its position is zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import OneHotEncoder

from ..disciplines import DISCIPLINES, get_discipline
from ..tasks import Task
from ..tokenization_discipline import DisciplineTokenizer

# The first symbols of each alphabet are those without ambiguity: A C G T; the 20 amino acids; else all.
COMMON_SYMBOLS = {name: len(found.symbols) for name, found in DISCIPLINES.items()} | {"dna": 4, "protein": 20}
_SPECIAL_TOKENS = 2  # [CLS] and [SEP], which a task's max_length counts and a baseline does not have
_MOST_NGRAMS = 50_000

# How many of the 61 codons of the standard genetic code give each residue, in the order of the protein alphabet.
_CODONS = {
    "A": 4, "R": 6, "N": 2, "D": 2, "C": 2, "Q": 2, "E": 2, "G": 4, "H": 2, "I": 3,
    "L": 6, "K": 2, "M": 1, "F": 2, "P": 4, "S": 6, "T": 4, "W": 1, "Y": 2, "V": 4,
}  # fmt: skip


def symbol_tokenizer(task: Task) -> DisciplineTokenizer:
    """Symbols -> 1, 2, ... in the order of the alphabet; padding is 0, and nothing stands around a sequence.

    Sequences longer than [`longest_sequence`] are cut to their head.
    """
    count = len(get_discipline(task.discipline).symbols)
    return DisciplineTokenizer(
        alphabet=task.discipline,
        symbol_ids=range(1, count + 1),
        special_ids={"[PAD]": 0},
        template={"single": [["A", 0]], "pair": [["A", 0], ["B", 0]]},
        backbone_vocab_size=count + 1,
        assignment={"name": "alphabet"},
        pad_token="[PAD]",
        model_max_length=longest_sequence(task),
        model_input_names=["input_ids", "attention_mask"],
    )


def longest_sequence(task: Task) -> int:
    """Symbols of a sequence that a baseline reads: as many as the encoders beside it in a table."""
    return task.max_length - _SPECIAL_TOKENS


def symbol_ids(task: Task, sequences: Sequence[str]) -> np.ndarray:
    """Ids as [`symbol_tokenizer`] gives them, of shape `(items, longest_sequence(task))`.

    Raises:
        UnknownSymbolError: a symbol that the discipline does not have.
    """
    to = {"padding": "max_length", "truncation": True, "max_length": longest_sequence(task)}
    return symbol_tokenizer(task)(list(sequences), **to, return_tensors="np", verbose=False).input_ids


def count_cut(task: Task, columns: Sequence[Sequence[str]]) -> int:
    """How many items have a sequence with more symbols than [`symbol_ids`] keeps."""
    tokenizer, longest = symbol_tokenizer(task), longest_sequence(task)
    return int(np.any([tokenizer.count_symbols(column) > longest for column in columns], axis=0).sum())


def kmer_codes(ids: np.ndarray, length: int, common: int) -> np.ndarray:
    """The number of the k-mer that begins at each position, in `[0, common ** length)`; -1 if there is none.

    Args:
        ids: of shape `(items, positions)`, 0 for padding and more than `common` for uncommon symbols.

    Returns:
        `(items, positions - length + 1)`, in the order of the alphabet: AAA is 0, AAC is 1.
    """
    width = ids.shape[1] - length + 1
    codes: np.ndarray = np.zeros((len(ids), max(width, 0)), dtype=np.int32)
    known: np.ndarray = np.ones(codes.shape, dtype=bool)
    for offset in range(length if width > 0 else 0):
        column = ids[:, offset : offset + width]
        codes = codes * common + (column - 1).astype(np.int32)
        known &= (column >= 1) & (column <= common)
    return np.where(known, codes, -1)


def kmer_counts(ids: np.ndarray, longest: int, common: int) -> sparse.csr_matrix:
    """How often each k-mer of length 1 to `longest` occurs, of shape `(items, common + common ** 2 + ...)`."""
    blocks = []
    for length in range(1, longest + 1):
        codes = kmer_codes(ids, length, common)
        known = codes >= 0
        row_ends = np.concatenate([[0], known.sum(axis=1).cumsum()])
        ones: np.ndarray = np.ones(row_ends[-1], dtype=np.float32)
        block = sparse.csr_matrix((ones, codes[known], row_ends), shape=(len(ids), common**length))
        block.sum_duplicates()  # the ones of a k-mer that occurs several times in a row
        blocks.append(block)
    return sparse.hstack(blocks, format="csr")


def one_hot(ids: np.ndarray, common: int) -> sparse.csr_matrix:
    """Which common symbol each position holds, of shape `(items, positions * common)`."""
    symbols = [np.arange(1, common + 1)] * ids.shape[1]
    return OneHotEncoder(categories=symbols, handle_unknown="ignore", dtype=np.float32).fit_transform(ids)


def dipeptide_deviation(ids: np.ndarray) -> np.ndarray:
    """Dipeptide deviation from the expected mean (DDE), of shape `(items, 400)`.

    The share of each dipeptide in a protein, minus the share expected from the genetic code, divided by the standard
    deviation of that expectation. Dipeptides with an uncommon residue are not counted.

    Source: Saravanan and Gautham 2015, OMICS 19(10):648-658.
    """
    common = COMMON_SYMBOLS["protein"]
    counts = kmer_counts(ids, 2, common)[:, common:].toarray().astype(np.float64)
    codons = np.array([_CODONS[symbol] for symbol in get_discipline("protein").symbols[:common]])
    share = codons / codons.sum()
    expected = np.outer(share, share).ravel()
    total = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return (counts / total - expected) / np.sqrt(expected * (1 - expected) / total)


def ngram_features(task: Task, longest: int, parts: Sequence[Sequence[Sequence[str]]]) -> list[Any]:
    """TF-IDF of n-grams of words, or of pitches: a sparse matrix for each part, with a row an item.

    Of a pair: both sequences' vectors, their products and their differences, and the two vectors' cosine.

    Args:
        parts: the columns of each part. What is counted is learned from the first one, the training items.

    Raises:
        ValueError: no training item holds a word.
    """
    pattern = r"\S+" if task.discipline == "music" else r"(?u)\b\w+\b"
    vectors = TfidfVectorizer(
        ngram_range=(1, longest), token_pattern=pattern, sublinear_tf=True, max_features=_MOST_NGRAMS
    )
    try:
        vectors.fit([text for column in parts[0] for text in column])
    except ValueError as error:
        raise ValueError(f"the training items hold no word: {error}") from None
    matrices = ([vectors.transform(column) for column in part] for part in parts)
    return [_of_pair(*columns) if task.pair else columns[0] for columns in matrices]


def _of_pair(first: Any, second: Any) -> Any:
    product = first.multiply(second).tocsr()
    cosine = sparse.csr_matrix(product.sum(axis=1))
    return sparse.hstack([first, second, product, abs(first - second), cosine], format="csr")
