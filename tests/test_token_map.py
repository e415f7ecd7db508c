import json
from pathlib import Path

import pytest

from hf_bertx.token_map import assign, permutation_table, random_subword_table, shift_table

VOCABULARY = ["[PAD]", "[unused0]", "[unused1]", "[CLS]", "a", "##s", "the", "of", "##ing", "▁and", "", "Ġin"]
SPECIAL = (0, 3)


def test_shift_is_the_papers_formula() -> None:
    assert shift_table(2, 5).tolist() == [2, 3, 4, 0, 1]
    assert shift_table(1, 6, fixed=(0, 3)).tolist() == [0, 2, 4, 3, 5, 1]


@pytest.mark.parametrize("fixed", [(), (0, 101, 102)])
def test_permutation_is_a_seeded_bijection(fixed: tuple[int, ...]) -> None:
    table = permutation_table(7, 500, fixed)
    assert sorted(table.tolist()) == list(range(500))
    assert (table == permutation_table(7, 500, fixed)).all()
    assert (table != permutation_table(8, 500, fixed)).any()
    assert all(table[i] == i for i in fixed)


def test_permutation_is_the_same_on_every_platform() -> None:
    assert permutation_table(0, 8).tolist() == [2, 4, 3, 6, 5, 0, 1, 7]


def test_authors_tables_never_target_the_first_thousand() -> None:
    table = random_subword_table(100, 30522)
    assert table[: 30522 - 1000].min() == 1000
    assert table[30522 - 1000 :].tolist() == list(range(1000))
    with pytest.raises(ValueError, match="more than 1000 subwords"):
        random_subword_table(0, 900)


def test_frequent_leaves_out_specials_and_single_characters() -> None:
    ids, record = assign(5, VOCABULARY, SPECIAL)
    assert [VOCABULARY[i] for i in ids] == ["the", "of", "##ing", "▁and", "Ġin"]
    assert record == {"name": "frequent", "ranked_by": "vocabulary order"}


@pytest.mark.parametrize("form", ["json", "tsv"])
def test_frequent_ranks_by_a_counts_file_and_records_it(tmp_path: Path, form: str) -> None:
    counts = {"of": 5, "the": 3, "▁and": 9, "a": 100}
    path = tmp_path / f"counts.{form}"
    text = json.dumps(counts) if form == "json" else "".join(f"{k}\t{v}\n" for k, v in counts.items())
    path.write_text(text, encoding="utf-8-sig" if form == "tsv" else "utf-8")
    ids, record = assign(3, VOCABULARY, SPECIAL, counts_file=path)
    assert [VOCABULARY[i] for i in ids] == ["▁and", "of", "the"]
    assert record["ranked_by"].startswith(f"counts file counts.{form}, sha256 ")
    with pytest.raises(ValueError, match="finds 3 subwords"):
        assign(4, VOCABULARY, SPECIAL, counts_file=path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"the\t3\nof 5\n", r"c\.tsv, line 2: 'of 5'"),
        (b'{"the": 3', r"c\.tsv: neither a JSON object"),
        (b'{"the": [3]}', r"c\.tsv: neither a JSON object"),
        (b"\xff\xfe", r"c\.tsv: neither a JSON object"),
    ],
)
def test_a_bad_counts_file_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "c.tsv").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        assign(1, VOCABULARY, SPECIAL, counts_file=tmp_path / "c.tsv")


def test_unused_takes_unused_entries_only() -> None:
    ids, _ = assign(2, VOCABULARY, SPECIAL, "unused")
    assert [VOCABULARY[i] for i in ids] == ["[unused0]", "[unused1]"]
    with pytest.raises(ValueError, match="finds 2 subwords in this vocabulary of 12, and 3 symbols"):
        assign(3, VOCABULARY, SPECIAL, "unused")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"assignment": "rare"}, "allowed: frequent, random, unused"),
        ({"assignment": "random"}, "needs a seed"),
        ({"assignment": "frequent", "seed": 1}, "takes no seed"),
        ({"assignment": "unused", "counts_file": "x"}, "counts file ranks"),
    ],
)
def test_bad_orders(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        assign(2, VOCABULARY, SPECIAL, **arguments)


def test_random_is_seeded_and_clear_of_special_ids() -> None:
    vocabulary = [f"w{i}" for i in range(3000)]
    ids, record = assign(128, vocabulary, (0, 1500), "random", seed=1)
    assert min(ids) >= 1000
    assert len(set(ids)) == 128
    assert 1500 not in ids
    assert record == {"name": "random", "seed": 1}
    assert ids == assign(128, vocabulary, (0, 1500), "random", seed=1)[0]
    assert ids != assign(128, vocabulary, (0, 1500), "random", seed=2)[0]
