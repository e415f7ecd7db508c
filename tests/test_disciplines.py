import pytest

from hf_bertx.disciplines import DISCIPLINES, Discipline, get_discipline


def test_built_in_alphabets() -> None:
    assert set(DISCIPLINES["dna"].symbols) == set("ACGTRYSWKMBDHVN")
    assert DISCIPLINES["dna"].symbols[:4] == ("A", "C", "G", "T")
    assert set(DISCIPLINES["protein"].symbols) == set("ACDEFGHIKLMNPQRSTVWY" + "BJOUXZ" + "*")
    assert DISCIPLINES["music"].symbols == tuple(str(n) for n in range(128))


def test_record_makes_an_equal_discipline() -> None:
    chords = Discipline("chords", ("C", "Cm", "G7"), separator=" ")
    assert Discipline.from_dict(chords.to_dict()) == chords


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"symbols": ()}, "has no symbols"),
        ({"symbols": ("A", "A")}, "'A' occurs twice"),
        ({"symbols": ("A", "a"), "ignore_case": True}, "'a' occurs twice"),
        ({"symbols": ("A", "")}, "is empty"),
        ({"symbols": ("A", "B C")}, "white space"),
        ({"symbols": ("A", "Bm")}, "separator=' '"),
        ({"symbols": ("A",), "separator": ","}, "allowed: '' and ' '"),
    ],
)
def test_bad_alphabets_say_what_is_wrong(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Discipline("mine", **arguments)


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'rna'; known: dna, protein, music"):
        get_discipline("rna")
