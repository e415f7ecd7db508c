"""Symbols of many sequences -> codes: letters by one table look-up for all of them, words and k-mers one by one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..disciplines import SEPARATORS, Discipline, case_variants, fold

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
        self._table = None if discipline.separator or discipline.k > 1 else self._make_letter_table()
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
        return self._by_symbol(texts) if self._table is None else self._by_letter(texts, self._table)

    def _by_letter(self, texts: Sequence[str], table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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

    def _by_symbol(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Words and k-mers, which are looked up one by one."""
        discipline, known = self.discipline, self._known
        codes: list[np.ndarray] = [np.empty(0, dtype=self._code_type)]
        for row, text in enumerate(texts):
            symbols = discipline.split(fold(text) if discipline.ignore_case else text)
            try:
                codes.append(np.fromiter(map(known.__getitem__, symbols), self._code_type, len(symbols)))
            except KeyError:
                at = next(at for at, symbol in enumerate(symbols) if symbol not in known)
                if discipline.separator:
                    raise self._unknown(symbols[at], row, at) from None
                at = sum(map(len, symbols[:at]))  # a letter
                raise self._unknown(text[at], row, at) from None
        return np.concatenate(codes), np.array([len(each) for each in codes[1:]], dtype=np.int64)

    def _unknown(self, symbol: str, row: int, position: int) -> UnknownSymbolError:
        which, allowed = f"symbol {symbol!r} at position {position + 1}", f"alphabet: {self.discipline.alphabet()}"
        name = self.discipline.name
        return UnknownSymbolError(
            f"{which} of sequence {row} is not in the {name} {allowed}",
            row,
            f"{which} is not in the {name} {allowed}",
        )
