"""Checks for records that a model cannot read, or that look like another discipline's."""

from __future__ import annotations

from collections.abc import Sequence

from ..data.input_records import InputRecord

_NUCLEOTIDES = frozenset("ACGTUN")
_STOP = "*"
NO_RESIDUE = "no residue but a stop codon"
_LONG_WORD = 30  # letters; hardly any English word is longer


def unlikely(discipline: str, sequence: str) -> str | None:
    """Why a sequence is unlikely to be of the discipline; None if it looks right.

    A protein of the letters of DNA alone, or of stop codons alone; DNA with more ambiguous letters than others; a
    text that is one long word of capital letters.
    """
    letters = set(sequence.upper())
    if discipline == "protein":
        if letters == {_STOP}:
            return NO_RESIDUE
        return "A, C, G, T, U and N alone, the letters of DNA" if letters <= _NUCLEOTIDES else None
    if discipline == "dna":
        known = sum(map(sequence.upper().count, _NUCLEOTIDES))
        return "ambiguous letters for the most part, as in a protein" if 2 * known < len(sequence) else None
    if discipline == "text" and len(sequence) > _LONG_WORD and sequence.isalpha() and sequence.isupper():
        return "one long word of capital letters, as DNA or a protein"
    return None


def check_form(chunk: Sequence[InputRecord], pairs: bool | None) -> None:
    """Refuses single sequences for a model of pairs, and the other way round.

    Args:
        pairs: whether the model reads pairs; None where nobody knows, then all records have the form of the first.
    """
    if pairs is None:
        pairs = chunk[0].second is not None
    for record in chunk:
        if (record.second is not None) != pairs:
            was, reads = ("a single sequence", "pairs") if pairs else ("a pair", "single sequences")
            raise ValueError(
                f"{record.place}: {was}, and the model reads {reads}; give second sequences (a table's "
                "--second_sequence_column, a pipeline's `text_pair`) to a model of pairs, and to no other"
            )
