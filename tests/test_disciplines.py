import re
from typing import Any

import pytest

from hf_bertx.disciplines import DISCIPLINES, DNA, PROTEIN, Discipline, get_discipline


def test_built_in_alphabets() -> None:
    assert set(DISCIPLINES["dna"].symbols) == set("ACGTRYSWKMBDHVN")
    assert DISCIPLINES["dna"].symbols[:4] == ("A", "C", "G", "T")
    assert set(DISCIPLINES["protein"].symbols) == set("ACDEFGHIKLMNPQRSTVWY" + "BJOUXZ" + "*")
    assert DISCIPLINES["music"].symbols == tuple(str(n) for n in range(128))


def test_record_makes_an_equal_discipline() -> None:
    chords = Discipline("chords", ("C", "Cm", "G7"), separator=" ")
    for discipline in (chords, DNA, DNA.kmers(6), PROTEIN.kmers(2)):
        assert Discipline.from_dict(discipline.to_dict()) == discipline
    assert "k" not in DNA.to_dict()


def test_kmers_come_before_letters() -> None:
    found = DNA.kmers(3)
    assert (found.symbols[:5], found.symbols[64:69]) == (("AAA", "AAC", "AAG", "AAT", "ACA"), tuple("ACGTN"))
    assert (len(found.symbols), len(PROTEIN.kmers(2).symbols)) == (64 + 15, 400 + 27)
    assert (found.name, found.kmer, DNA.kmer, found.alphabet()) == ("dna", 3, None, DNA.alphabet())
    assert Discipline("rna", tuple("NACGU")).kmers(2, "ACGU").symbols[14:] == ("UG", "UU", *"ACGUN")


@pytest.mark.parametrize(
    ("discipline", "k", "letters", "message"),
    [
        ("music", 3, None, "kmer is 3; music has no letters to cut"),
        ("text", 3, None, "kmer is 3; text has no letters to cut"),
        ("dna", 1, None, "kmer is 1; allowed: at least 2"),
        ("dna", -3, None, "kmer is -3; allowed: at least 2"),
        ("dna", 12, None, "kmer is 12: 4^12 = 16,777,216 k-mers; no vocabulary has so many"),
        (DNA.kmers(3), 3, None, "kmer is 3; dna is cut into 3-mers already"),
        (DNA, 2, "ACGU", "letter 'U' is not in the dna alphabet: A C G T N"),
    ],
)
def test_kmers_that_cannot_be_made_are_named(discipline: Any, k: int, letters: str | None, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        get_discipline(discipline, k) if letters is None else discipline.kmers(k, letters)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"symbols": ()}, "has no symbols"),
        ({"symbols": ("A", "A")}, "'A' occurs twice"),
        ({"symbols": ("A", "a"), "ignore_case": True}, "'a' occurs twice"),
        ({"symbols": ("A", "")}, "is empty"),
        ({"symbols": ("A", "B C")}, "white space"),
        ({"symbols": ("A", "Bm")}, "separator=' '"),
        ({"symbols": ("AA", "AC", "A", "C"), "k": 2}, "2-mers are not whole"),
        ({"symbols": ("A", "C"), "k": 2}, "2-mers are not whole"),
        ({"symbols": ("AA", "A"), "k": 2, "separator": " "}, "2-mers are not whole"),
        ({"symbols": ("A",), "separator": ","}, "allowed: '' and ' '"),
    ],
)
def test_bad_alphabets_say_what_is_wrong(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Discipline("mine", **arguments)


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'rna'; known: dna, protein, music"):
        get_discipline("rna")
