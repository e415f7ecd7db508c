"""Disciplines: alphabets of symbols, and how raw text is split into them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import product
from typing import Any

_MOST_KMERS = 300_000  # more than any text vocabulary has entries
SEPARATORS = "\x1c\x1d\x1e\x1f"  # white space to Python, not to Unicode and `tokenizers`
_SYMBOL = re.compile(rf"[\S{SEPARATORS}]+")


@dataclass(frozen=True)
class Discipline:
    """An alphabet and the way its sequences are written down.

    Args:
        name: a word for error messages, cards and file names.
        symbols: every symbol that may occur, most common ones first: an assignment gives them subwords in this order.
        separator: what stands between two symbols in raw text: `""` (`ACGT`) or `" "` (`60 64 67`).
        ignore_case: whether `a` means `A`. Soft-masked FASTA writes repeats in lower case.
        k: letters of a k-mer. Make a discipline of k-mers with [`Discipline.kmers`].

    Raises:
        ValueError: no symbols, a repeated or empty symbol, a symbol that holds white space, symbols of several
            characters without a separator, two symbols that differ by case alone while `ignore_case` is set, or
            k-mers that do not come first, each once and in order.
    """

    name: str
    symbols: tuple[str, ...]
    separator: str = ""
    ignore_case: bool = False
    k: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "symbols", tuple(self.symbols))
        if not self.symbols:
            raise ValueError(f"discipline {self.name!r} has no symbols; give at least one")
        if self.separator not in ("", " "):
            raise ValueError(f"discipline {self.name!r}: separator is {self.separator!r}; allowed: '' and ' '")
        seen: set[str] = set()
        for symbol in self.symbols:
            if not symbol or any(character.isspace() for character in symbol):
                raise ValueError(f"discipline {self.name!r}: symbol {symbol!r} is empty or holds white space")
            if len(symbol) not in (1, self.k) and not self.separator:
                raise ValueError(
                    f"discipline {self.name!r}: symbol {symbol!r} has {len(symbol)} characters, so sequences need a "
                    "separator between symbols: pass separator=' '"
                )
            key = symbol.upper() if self.ignore_case else symbol
            if key in seen:
                raise ValueError(f"discipline {self.name!r}: symbol {symbol!r} occurs twice")
            seen.add(key)
        plain = self.plain_letters
        first = (*_kmers(plain, self.k), *plain) if plain else ()
        if self.k != 1 and (self.separator or not first or self.symbols[: len(first)] != first):
            raise ValueError(f"discipline {self.name!r}: its {self.k}-mers are not whole; use Discipline.kmers")

    @property
    def kmer(self) -> int | None:
        """Letters of a k-mer; None where every letter is a symbol of its own."""
        return None if self.k == 1 else self.k

    @property
    def letters(self) -> tuple[str, ...]:
        """The symbols that are no k-mers."""
        return self.symbols if self.k == 1 else tuple(symbol for symbol in self.symbols if len(symbol) == 1)

    @property
    def plain_letters(self) -> tuple[str, ...]:
        """The letters that k-mers are made of; none without k-mers."""
        return tuple(dict.fromkeys("".join(symbol for symbol in self.symbols if len(symbol) == self.k > 1)))

    @property
    def usual_letters(self) -> tuple[str, ...]:
        """The four bases, the 20 residues, or all letters of a declared discipline."""
        return tuple(_PLAIN.get(self.name) or self.letters)

    def kmers(self, k: int, letters: str | None = None) -> Discipline:
        """This discipline with k-mers: runs of plain letters are cut into k-mers from the left, without overlap.

        What is left of a run, and every other letter, stays a symbol of one letter.

        Args:
            letters: those that k-mers are made of; by default the four bases of DNA, the 20 residues of proteins, or
                all letters of a declared discipline.

        Raises:
            ValueError: the discipline has k-mers or no letters to cut, or a k or letter that is not allowed.

        Example:
            ```python
            >>> len(DNA.kmers(3).symbols)  # 64 3-mers and 15 letters
            79
            ```
        """
        if self.separator or self.k != 1:
            has = "has no letters to cut" if self.separator else f"is cut into {self.k}-mers already"
            raise ValueError(f"kmer is {k}; {self.name} {has}")
        if k < 2:
            raise ValueError(f"kmer is {k}; allowed: at least 2")
        plain = tuple(letters or self.usual_letters)
        for letter in plain:
            if letter not in self.symbols:
                raise ValueError(f"letter {letter!r} is not in the {self.name} alphabet: {self.alphabet()}")
        if k > 64 or len(plain) ** k > _MOST_KMERS:
            size = f"{len(plain)}^{k}" + (f" = {len(plain) ** k:,}" if k <= 64 else "")
            raise ValueError(f"kmer is {k}: {size} k-mers; no vocabulary has so many")
        others = (symbol for symbol in self.symbols if symbol not in plain)
        return replace(self, symbols=(*_kmers(plain, k), *plain, *others), k=k)

    @cached_property
    def _kmer_or_letter(self) -> re.Pattern[str]:
        variants = case_variants if self.ignore_case else str
        plain = "".join(variant for letter in self.plain_letters for variant in variants(letter))
        return re.compile(f"[{re.escape(plain)}]{{{self.k}}}|.", re.DOTALL)

    def split(self, text: str) -> Sequence[str]:
        """The symbols of a text as they are written, k-mers from the left; they need not be in the alphabet.

        Example:
            ```python
            >>> DNA.kmers(3).split("acgtNA")
            ['acg', 't', 'N', 'A']
            ```
        """
        if self.separator:
            return text.split() if text.isprintable() else _SYMBOL.findall(text)
        return text if self.k == 1 else self._kmer_or_letter.findall(text)

    def alphabet(self) -> str:
        """The letters or words as one readable line, shortened in the middle when there are more than 32."""
        symbols = self.letters
        if len(symbols) <= 32:
            return " ".join(symbols)
        return f"{' '.join(symbols[:4])} ... {' '.join(symbols[-2:])} ({len(symbols)} symbols)"

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready record from which `Discipline.from_dict` makes an equal one."""
        record = {**asdict(self), "symbols": list(self.symbols)}
        if self.k == 1:
            del record["k"]  # so earlier versions read it too
        return record

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Discipline:
        return cls(**{**record, "symbols": tuple(record["symbols"])})


def _kmers(letters: tuple[str, ...], k: int) -> list[str]:
    return ["".join(kmer) for kmer in product(letters, repeat=k)]


_PLAIN = {"dna": "ACGT", "protein": "LAGVESIKRDTPNQFYMHCW"}
# Source: NC-IUB 1984, "Nomenclature for incompletely specified bases in nucleic acid sequences".
DNA = Discipline("dna", tuple(_PLAIN["dna"] + "NRYSWKMBDHV"), ignore_case=True)
# The 20 residues in order of their frequency in UniProtKB/Swiss-Prot, then what FASTA files also hold:
# X unknown, B Asx, Z Glx, J Leu or Ile, U selenocysteine, O pyrrolysine, * a translated stop codon.
PROTEIN = Discipline("protein", tuple(_PLAIN["protein"] + "XBZJUO*"), ignore_case=True)
# MIDI note numbers: 60 is middle C.
MUSIC = Discipline("music", tuple(str(pitch) for pitch in range(128)), separator=" ")

DISCIPLINES: dict[str, Discipline] = {discipline.name: discipline for discipline in (DNA, PROTEIN, MUSIC)}


def case_variants(letter: str) -> set[str]:
    """A letter and its other case, if that is a single letter."""
    other = letter.swapcase()
    return {letter, other} if len(other) == 1 and other.swapcase() == letter else {letter}


def fold(text: str) -> str:
    """Upper case, letter for letter: a letter that upper case maps to another alphabet's letter stays as it is.

    `str.upper` alone makes `SS` of `ß`, and the letter I of the i without a dot.
    """
    if text.isascii():
        return text.upper()
    return "".join(upper if (upper := letter.upper()).lower() == letter else letter for letter in text)


def separator_of(discipline: str | Discipline) -> str:
    """What stands between two symbols in raw text; a blank between the words of text."""
    if isinstance(discipline, Discipline):
        return discipline.separator
    return " " if discipline == "text" else DISCIPLINES[discipline].separator if discipline in DISCIPLINES else ""


def get_discipline(discipline: str | Discipline, kmer: int | None = None) -> Discipline:
    """The built-in discipline of that name; a `Discipline` is returned as it is.

    Args:
        kmer: cut its letters into k-mers of so many; see [`Discipline.kmers`].

    Raises:
        ValueError: no discipline has that name, or it has no such k-mers.
    """
    if discipline == "text" and kmer is not None:
        raise ValueError(f"kmer is {kmer}; text has no letters to cut")
    if not isinstance(discipline, Discipline):
        if discipline not in DISCIPLINES:
            raise ValueError(
                f"unknown discipline {discipline!r}; known: {', '.join(DISCIPLINES)}. "
                "Declare your own with Discipline(name, symbols)"
            )
        discipline = DISCIPLINES[discipline]
    return discipline if kmer is None else discipline.kmers(kmer)
