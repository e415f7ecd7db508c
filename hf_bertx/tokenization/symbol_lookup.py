"""Symbols of many sequences -> codes: letters and k-mers of all sequences at once, words one by one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np

from ..disciplines import SEPARATORS, Discipline, case_variants, fold
from .batch_layout import spans

_WHITE_SPACE = "".join(c for c in map(chr, range(0x3001)) if c.isspace() and c not in SEPARATORS)


class UnknownSymbolError(ValueError):
    """A sequence holds a symbol that its discipline does not have.

    Attributes:
        row: the number of the sequence in its batch; None for a symbol that was looked up alone.
        reason: the message without that number, for callers that name the sequence themselves.
    """

    def __init__(self, message: str, row: int | None = None, reason: str | None = None) -> None:
        super().__init__(message)
        self.row = row
        self.reason = reason or message


class SymbolLookup:
    """The code of each symbol: its place among the symbols of a discipline.

    A code takes a byte for most alphabets, an eighth of an id, so batches are laid out as codes.

    Args:
        code_type: an unsigned integer type; its largest number stands for no symbol.
    """

    def __init__(self, discipline: Discipline, code_type: np.dtype) -> None:
        self.discipline, self._code_type = discipline, code_type
        self._no_code = np.iinfo(code_type).max
        self._table = None if discipline.separator else self._make_letter_table()
        key = fold if discipline.ignore_case else str
        self._known = {key(symbol): code for code, symbol in enumerate(discipline.symbols)}

    def _make_letter_table(self) -> np.ndarray:
        """Codes by code point."""
        pairs = [(letter, code) for code, letter in enumerate(self.discipline.letters)]
        if self.discipline.ignore_case:
            pairs += [(variant, i) for s, i in pairs for variant in case_variants(s) if variant != s]
        table: np.ndarray = np.full(max(256, *(ord(s) + 2 for s, _ in pairs)), self._no_code, dtype=self._code_type)
        for symbol, code in pairs:
            table[ord(symbol)] = code
        return table

    def codes(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Codes of all symbols of all texts, shape `(symbols,)`, and the number of symbols of each, shape `(texts,)`.

        White space around a text is no part of it.

        Raises:
            UnknownSymbolError: a text holds a symbol outside the alphabet.
        """
        texts = [text.strip(_WHITE_SPACE) for text in texts]
        if self._table is None:
            return self._of_words(texts)
        letters, lengths = self._of_letters(texts, self._table)
        return (letters, lengths) if self.discipline.k == 1 else self._of_kmers(letters, lengths)

    def _of_letters(self, texts: Sequence[str], table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        joined = "".join(texts)
        if joined.isascii():
            points = np.frombuffer(joined.encode("ascii"), dtype=np.uint8)
        else:
            points = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
            points = np.minimum(points, len(table) - 1)  # the table's last entry is never a symbol
        codes: np.ndarray = table.take(points)
        lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
        if codes.size and codes.max() == self._no_code:
            at = int(np.argmax(codes == self._no_code))
            row = int(np.searchsorted(np.cumsum(lengths), at, side="right"))
            raise self._unknown(joined[at], row, at - int(lengths[:row].sum()))
        return codes, lengths

    def _of_kmers(self, letters: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same for k-mers, out of the places of letters among the letters; see [`Discipline.split`]."""
        k, plain, ends = self.discipline.k, len(self.discipline.plain_letters), np.cumsum(lengths)
        others = np.flatnonzero(letters >= plain)
        # a run of plain letters ends with its text or before another letter, which is a run of its own
        edges = np.unique(np.concatenate([[0], ends, others, others + 1]))
        kmers, left = np.divmod(np.diff(edges), k)
        symbols = np.cumsum(kmers + left)  # up to the end of each run
        alone = spans(edges[1:] - left, left)  # letters that stay letters
        in_kmer: np.ndarray = np.ones(len(letters), dtype=bool)
        in_kmer[alone] = False
        is_kmer: np.ndarray = np.ones(symbols.max(initial=0), dtype=bool)
        is_kmer[spans(symbols - left, left)] = False
        numbers: np.ndarray = np.zeros(kmers.sum(), dtype=np.int32)
        for digits in letters[in_kmer].reshape(-1, k).T:
            numbers = numbers * plain + digits
        codes: np.ndarray = np.empty(len(is_kmer), dtype=self._code_type)
        codes[is_kmer] = numbers
        codes[~is_kmer] = letters[alone].astype(np.int32) + plain**k  # letters come after all k-mers
        return codes, np.diff(np.append(0, symbols)[np.searchsorted(edges, ends)], prepend=0)

    def _of_words(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        discipline, known = self.discipline, self._known
        rows = [discipline.split(fold(text) if discipline.ignore_case else text) for text in texts]
        lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
        words = chain.from_iterable(rows)
        try:
            return np.fromiter(map(known.__getitem__, words), self._code_type, int(lengths.sum())), lengths
        except KeyError:
            row, at = next(
                (row, at) for row, each in enumerate(rows) for at, word in enumerate(each) if word not in known
            )
            raise self._unknown(rows[row][at], row, at) from None

    def _unknown(self, symbol: str, row: int, position: int) -> UnknownSymbolError:
        which, allowed = f"symbol {symbol!r} at position {position + 1}", f"alphabet: {self.discipline.alphabet()}"
        name = self.discipline.name
        return UnknownSymbolError(
            f"{which} of sequence {row} is not in the {name} {allowed}",
            row,
            f"{which} is not in the {name} {allowed}",
        )
