"""Which symbols a discipline has, and how raw text of it splits into them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Discipline:
    """An alphabet and the way its sequences are written down.

    Args:
        name: a word for error messages, cards and file names.
        symbols: every symbol that may occur, most common ones first: an assignment gives them subwords in this order.
        separator: what stands between two symbols in raw text: `""` (`ACGT`) or `" "` (`60 64 67`).
        ignore_case: whether `a` means `A`. Soft-masked FASTA writes repeats in lower case.

    Raises:
        ValueError: no symbols, a repeated or empty symbol, a symbol that holds white space, symbols of several
            characters without a separator, or two symbols that differ by case alone while `ignore_case` is set.
    """

    name: str
    symbols: tuple[str, ...]
    separator: str = ""
    ignore_case: bool = False

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
            if len(symbol) > 1 and not self.separator:
                raise ValueError(
                    f"discipline {self.name!r}: symbol {symbol!r} has {len(symbol)} characters, so sequences need a "
                    "separator between symbols: pass separator=' '"
                )
            key = symbol.upper() if self.ignore_case else symbol
            if key in seen:
                raise ValueError(f"discipline {self.name!r}: symbol {symbol!r} occurs twice")
            seen.add(key)

    def alphabet(self) -> str:
        """The symbols as one readable line, shortened in the middle when there are more than 32."""
        if len(self.symbols) <= 32:
            return " ".join(self.symbols)
        return f"{' '.join(self.symbols[:4])} ... {' '.join(self.symbols[-2:])} ({len(self.symbols)} symbols)"

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready record from which `Discipline.from_dict` makes an equal one."""
        return {**asdict(self), "symbols": list(self.symbols)}

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Discipline:
        return cls(**{**record, "symbols": tuple(record["symbols"])})


# Source: NC-IUB 1984, "Nomenclature for incompletely specified bases in nucleic acid sequences".
DNA = Discipline("dna", tuple("ACGT" + "NRYSWKMBDHV"), ignore_case=True)
# The 20 residues in order of their frequency in UniProtKB/Swiss-Prot, then what FASTA files also hold:
# X unknown, B Asx, Z Glx, J Leu or Ile, U selenocysteine, O pyrrolysine, * a translated stop codon.
PROTEIN = Discipline("protein", tuple("LAGVESIKRDTPNQFYMHCW" + "XBZJUO*"), ignore_case=True)
# MIDI note numbers: 60 is middle C.
MUSIC = Discipline("music", tuple(str(pitch) for pitch in range(128)), separator=" ")

DISCIPLINES: dict[str, Discipline] = {discipline.name: discipline for discipline in (DNA, PROTEIN, MUSIC)}


def fold(text: str) -> str:
    """Upper case, letter for letter: a letter that upper case maps to another alphabet's letter stays as it is.

    `str.upper` alone makes `SS` of `ß`, and the letter I of the i without a dot.
    """
    if text.isascii():
        return text.upper()
    return "".join(upper if (upper := letter.upper()).lower() == letter else letter for letter in text)


def get_discipline(discipline: str | Discipline) -> Discipline:
    """The built-in discipline of that name; a `Discipline` is returned as it is.

    Raises:
        ValueError: no discipline has that name.
    """
    if isinstance(discipline, Discipline):
        return discipline
    if discipline not in DISCIPLINES:
        raise ValueError(
            f"unknown discipline {discipline!r}; known: {', '.join(DISCIPLINES)}. "
            "Declare your own with Discipline(name, symbols)"
        )
    return DISCIPLINES[discipline]
