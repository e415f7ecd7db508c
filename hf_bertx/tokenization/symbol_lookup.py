"""Symbols of many sequences -> codes, by one table look-up for all of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain

import numpy as np

from ..disciplines import Discipline, fold
from .batch_layout import spans
from .plain_tokenizer import case_variants

_SEPARATORS = "\x1c\x1d\x1e\x1f"  # white space to Python, not to Unicode
_SPACES = re.compile(rf"[^\S{_SEPARATORS}]+")
_WHITE_SPACE = "".join(c for c in map(chr, range(0x3001)) if c.isspace() and c not in _SEPARATORS)


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
        self._kmers = None if discipline.k == 1 else KmerCodes(discipline, code_type)
        self._letters = None if discipline.separator else self._make_letter_table()
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
        if self._letters is None:
            return self._separated(texts)
        try:
            return self._of_letters(texts, self._letters)
        except UnknownSymbolError:
            stripped = [text.strip(_WHITE_SPACE) for text in texts]
            if stripped == list(texts):
                raise
            return self._of_letters(stripped, self._letters)

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
        return (codes, lengths) if self._kmers is None else self._kmers.cut(codes, lengths)

    def _separated(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        folded = [fold(text) for text in texts] if self.discipline.ignore_case else texts
        rows = [text.split() if text.isprintable() else _split(text) for text in folded]
        lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
        known = self._known
        try:
            codes: np.ndarray = np.fromiter(
                map(known.__getitem__, chain.from_iterable(rows)), dtype=self._code_type, count=int(lengths.sum())
            )
        except KeyError:
            row, at = next((r, i) for r, symbols in enumerate(rows) for i, s in enumerate(symbols) if s not in known)
            raise self._unknown(rows[row][at], row, at) from None
        return codes, lengths

    def _unknown(self, symbol: str, row: int, position: int) -> UnknownSymbolError:
        which, allowed = f"symbol {symbol!r} at position {position + 1}", f"alphabet: {self.discipline.alphabet()}"
        name = self.discipline.name
        return UnknownSymbolError(
            f"{which} of sequence {row} is not in the {name} {allowed}",
            row,
            f"{which} is not in the {name} {allowed}",
        )


class KmerCodes:
    """Codes of k-mers out of codes of letters, for all texts at once."""

    def __init__(self, discipline: Discipline, code_type: np.dtype) -> None:
        self._k, self._n_plain, self._code_type = discipline.k, len(discipline.plain_letters), code_type
        self._n_kmers = self._n_plain**self._k

    def cut(self, letters: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Cuts each run of plain letters into k-mers from the left; the other letters stay letters.

        Args:
            letters: places among the letters of the discipline, text after text, shape `(letters,)`.
            lengths: letters of each text, shape `(texts,)`.

        Returns:
            Codes of shape `(symbols,)`, and the number of symbols of each text.
        """
        others = np.flatnonzero(letters >= self._n_plain)
        text_ends = np.cumsum(lengths)
        # a run ends at another letter or with its text; another letter is a run of length 1
        edges = np.unique(np.concatenate([[0], text_ends, others, others + 1]))
        kmers, rest = np.divmod(np.diff(edges), self._k)
        symbols = np.cumsum(kmers + rest)
        rest_at = spans(edges[1:] - rest, rest)
        in_kmer: np.ndarray = np.ones(len(letters), dtype=bool)
        in_kmer[rest_at] = False
        digits = letters[in_kmer].reshape(-1, self._k)
        values: np.ndarray = np.zeros(len(digits), dtype=np.int32)
        for place in range(self._k):
            values *= self._n_plain
            values += digits[:, place]
        codes: np.ndarray = np.empty(int(symbols.max(initial=0)), dtype=self._code_type)
        alone = spans(symbols - rest, rest)
        is_kmer: np.ndarray = np.ones(len(codes), dtype=bool)
        is_kmer[alone] = False
        codes[is_kmer] = values
        codes[alone] = letters[rest_at].astype(np.int32) + self._n_kmers
        done = np.concatenate([[0], symbols])[np.searchsorted(edges, text_ends)]
        return codes, np.diff(done, prepend=0)


def _split(text: str) -> list[str]:
    """`str.split` by the white space that `tokenizers` knows: the separators 0x1c to 0x1f are none of it."""
    return [symbol for symbol in _SPACES.split(text) if symbol]
