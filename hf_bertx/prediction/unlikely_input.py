"""Sequences that a model can read and that are hardly meant for it: DNA for a model of proteins."""

from __future__ import annotations

_NUCLEOTIDES = frozenset("ACGTUN")
_STOP = "*"
NO_RESIDUE = "no residue but a stop codon"
_LONG_WORD = 30  # letters without a blank, longer than nearly every English word


def unlikely(discipline: str, sequence: str) -> str | None:
    """Why a sequence is hardly one of the discipline; None where nothing speaks against it.

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
