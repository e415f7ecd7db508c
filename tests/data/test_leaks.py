"""What a split gives away, on sets so small that every number can be counted by hand."""

import dataclasses
import random
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, Features, Value

from hf_bertx.data import hashed_windows, leaks
from hf_bertx.data.leaks import LeakReport, leak_report


def rows(*items: tuple, regression: bool = False) -> Dataset:
    """Items are `(sequence, label)` or `(sequence, second sequence, label)`."""
    pair = bool(items) and len(items[0]) == 3
    columns: dict[str, Any] = {"id": Value("string"), "sequence": Value("string")}
    if pair:
        columns["second_sequence"] = Value("string")
    columns["label"] = Value("float32") if regression else ClassLabel(names=["no", "yes", "maybe"])
    values = [[str(n) for n in range(len(items))], *([item[n] for item in items] for n in range(len(columns) - 1))]
    return Dataset.from_dict(dict(zip(columns, values, strict=True)), features=Features(columns))


def letters(count: int, seed: int, alphabet: str = "ACGT") -> str:
    return "".join(random.Random(seed).choices(alphabet, k=count))


def overlapping(train: list[str], test: list[str], discipline: str, window: int | None = None) -> int | None:
    splits = {"train": rows(*((s, 0) for s in train)), "test": rows(*((s, 0) for s in test))}
    return leak_report(splits, discipline, window).overlapping


def test_a_hundred_shared_nucleotides_are_an_overlap() -> None:
    shared, train = letters(100, 1), letters(50, 2)
    # the letters around the shared ones differ, so that the stretch is not longer by chance
    train = f"{train}A{shared}A{letters(40, 3)}"
    whole, short = f"C{shared}C{letters(70, 4)}", f"{letters(70, 5)}C{shared[1:]}C"
    assert shared[0] != "C"
    assert overlapping([letters(300, 6), train], [whole, short, whole.lower(), letters(300, 7)], "dna") == 2
    assert overlapping([letters(300, 6), train], [whole, short, letters(300, 7)], "dna", window=99) == 2
    assert overlapping([train], [whole, short], "dna", window=102) == 0


def test_windows_do_not_cross_the_border_of_two_sequences() -> None:
    left, right = letters(60, 1), letters(60, 2)
    assert overlapping([left, right], [left + right], "dna") == 0
    assert overlapping([left + right], [left, right], "dna", window=100) == 0
    assert overlapping([left + right], [left, right], "dna", window=60) == 2
    pair = {"train": rows((left, right, 0)), "test": rows((left + right, "A", 0), ("A", right, 0))}
    assert leak_report(pair, "dna").overlapping == 0
    assert leak_report(pair, "dna", window=60).overlapping == 2


def test_sequences_shorter_than_a_window_overlap_with_nothing() -> None:
    assert overlapping(["ACGT", ""], ["ACGT", ""], "dna", window=5) == 0
    assert overlapping(["", ""], [""], "dna", window=1) == 0
    assert overlapping(["ACGT", ""], ["ACGT", ""], "dna", window=1) == 1


def test_the_window_of_proteins_is_50_residues() -> None:
    residues = "LAGVESIKRDTP"
    shared = letters(50, 1, residues)
    train = letters(30, 2, residues) + shared + letters(30, 3, residues)
    assert overlapping([train], [shared, shared[1:], shared[:-1]], "protein") == 1


def test_nothing_is_measured_where_all_items_are_short() -> None:
    train = [letters(200, 1)]
    assert overlapping(train, [train[0][:99], "ACGT"], "dna") is None
    assert overlapping(train, [train[0][:100], "ACGT"], "dna") == 1


def test_a_note_is_a_symbol_whatever_number_of_digits_it_has() -> None:
    pitches = random.Random(1).choices(range(128), k=64)
    tune = " ".join(map(str, pitches))
    train = f"1 2 3 {tune} 4"
    assert overlapping([train], [f"9 {tune} 9", " ".join(map(str, pitches[1:])), tune.replace(" ", "")], "music") == 1
    assert overlapping(["1 23 4"], ["12 3 4", "1 23"], "music", window=2) == 1


def test_the_hashes_find_what_a_set_of_substrings_finds() -> None:
    draw = random.Random(11)
    genome = "".join(draw.choices("ACGT", weights=(5, 1, 1, 3), k=4_000)) + "AC" * 200 + "A" * 200
    compared = []
    for window in (1, 2, 3, 7, 8, 13, 31, 64, 100):
        cut = [genome[at : at + draw.randrange(5, 160)] for at in draw.choices(range(len(genome) - 160), k=120)]
        train, test = cut[:60], cut[60:]
        known = {s[n : n + window] for s in train for n in range(len(s) - window + 1)}
        naive = sum(any(s[n : n + window] in known for n in range(len(s) - window + 1)) for s in test)
        assert overlapping(train, test, "dna", window) == naive, window
        compared.append(naive)
    assert compared[0] == 60
    assert compared == sorted(compared, reverse=True)
    assert 0 < compared[-1] < 30


def test_self_similar_sequences_are_told_apart() -> None:
    word = "A"
    for _ in range(11):  # Thue-Morse: word and complement have the same polynomial hash modulo 2^64
        word += word.translate(str.maketrans("AC", "CA"))
    complement = word.translate(str.maketrans("AC", "CA"))
    assert len(word) == 2048
    assert overlapping([word], [complement], "dna", window=2048) == 0
    assert overlapping([word], [complement, word], "dna", window=2048) == 1


def test_blocks_change_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    genome = letters(3_000, 5)
    cut = [(genome[at : at + 200], n % 3) for n, at in enumerate(random.Random(5).choices(range(2_800), k=60))]
    splits = {"train": rows(*cut[:40]), "test": rows(*cut[40:])}
    at_once = leak_report(splits, "dna")
    assert 0 < at_once.overlapping < 20
    monkeypatch.setattr(hashed_windows, "_BLOCK_SYMBOLS", 300)
    assert leak_report(splits, "dna") == at_once
    monkeypatch.setattr(hashed_windows, "_BLOCK_ITEMS", 1)
    monkeypatch.setattr(hashed_windows, "_ROWS_READ", 3)
    assert leak_report(splits, "dna") == at_once
    tie = {"train": rows(("a", 2), ("b c", 0), ("b d", 1), ("e", 1)), "test": rows(("b", 0))}
    assert leak_report(tie, "text").copied_score == 1  # the first of two, though they are in two blocks


def test_duplicates_are_equal_letter_for_letter() -> None:
    train = rows(("ACGT", 0), ("ACGT", 1), ("acgt", 1), ("GGGG", 1))
    assert (
        leak_report({"train": train, "test": rows(("ACGT", 0), ("acgt", 0), ("ACG", 1), ("T", 1))}, "dna").duplicates
        == 2
    )
    text = {"train": rows(("Good film.", 1)), "test": rows(("Good film.", 1), ("good film.", 1), ("Good film", 1))}
    assert leak_report(text, "text").duplicates == 1
    pair = {"train": rows(("a b", "c", 1)), "test": rows(("a b", "c", 1), ("a", "b c", 1), ("c", "a b", 1))}
    assert leak_report(pair, "text").duplicates == 1


def test_the_label_of_the_most_similar_training_item_is_copied() -> None:
    one, other = letters(60, 1), letters(60, 2)
    train = rows((one[:30], 0), (one[:40], 1), (one[10:50], 2), (other, 2), (letters(60, 3), 2))
    test = rows(
        (one[:35], 1),  # 24 stretches with item 1, 19 with item 0, 14 with item 2: right
        (one[:30], 0),  # 19 with items 0 and 1: the first one, right
        (one[20:], 1),  # 19 with item 2: wrong
        (other[:12].lower(), 2),  # 1 with item 3: right
        (other[:11], 0),  # none: the most frequent class, 2: wrong
        (letters(60, 4), 2),  # none: right
    )
    report = leak_report({"train": train, "test": test}, "dna", window=100)
    assert report == LeakReport(
        split="test",
        items=6,
        duplicates=1,
        window=100,
        unit="nucleotides",
        overlapping=0,
        copied_score=4 / 6,
        metric="accuracy",
        baseline_score=2 / 6,
        scored_items=6,
        k=12,
        train_items=5,
        train_items_searched=5,
    )


def test_a_stretch_that_an_item_repeats_counts_once() -> None:
    train = rows(("a a a a b", 0), ("a b c", 1))
    report = leak_report({"train": train, "test": rows(("a a a a c", 1))}, "text")
    assert (report.copied_score, report.baseline_score) == (1, 0)


def test_words_of_both_sentences_count_in_either_case() -> None:
    train = rows(("The cat", "sleeps.", 0), ("A dog", "barks!", 1), ("a bird", "sings", 0))
    test = rows(("it runs", "our DOG?", 1), ("sings", "a bird", 0))
    report = leak_report({"train": train, "test": test}, "text")
    assert (report.copied_score, report.baseline_score, report.k, report.unit) == (1, 0.5, 1, "words")
    assert (report.window, report.overlapping) == (None, None)
    assert leak_report({"train": train, "test": test}, "text", window=2).overlapping == 1  # "a bird"


def test_a_stretch_of_very_many_training_items_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks, "MAX_HOLDERS", 3)
    three = [("w x", 0)] * 3 + [("v", 1)] * 4
    assert leak_report({"train": rows(*three), "test": rows(("w x y", 0))}, "text").copied_score == 1
    four = [("w x", 0)] * 4 + [("v", 1)] * 5
    assert leak_report({"train": rows(*four), "test": rows(("w x y", 1))}, "text").copied_score == 1  # the class
    assert leak_report({"train": rows(*four, ("y", 2)), "test": rows(("w x y", 2))}, "text").copied_score == 1


def test_targets_are_copied_and_ranked() -> None:
    train = rows(("ab cd", 1.0), ("ef", 2.0), ("gh", 6.0), regression=True)
    test = rows(("ab", 10.0), ("ef", 20.0), ("zz", 40.0), ("gh", 30.0), regression=True)  # zz: the mean, 3.0
    report = leak_report({"train": train, "test": test}, "text")
    # ranks 1 2 3 4 against 1 2 4 3: 1 - 6 * 2 / (4 * 15)
    assert report.copied_score == pytest.approx(0.8)
    assert (report.metric, report.baseline_score) == ("spearman", None)
    assert report.sentences()[1] == (
        "Copying the label of the training item that shares the most words gives a Spearman correlation of 0.800."
    )


def test_the_drawn_items_follow_the_seed_and_are_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks, "MAX_SCORED_ITEMS", 10)
    monkeypatch.setattr(leaks, "MAX_SEARCHED_ITEMS", 20)
    words = [(f"w{n}", n % 2) for n in range(40)]
    splits = {"train": rows(*words, ("w40", 1)), "test": rows(*words)}
    reports = [leak_report(splits, "text", seed=seed) for seed in (0, 0, 1, 2, 3)]
    assert reports[0] == reports[1]
    assert len({(report.copied_score, report.baseline_score) for report in reports}) > 1
    report = reports[0]
    assert (report.items, report.scored_items, report.train_items, report.train_items_searched) == (40, 10, 41, 20)
    assert report.duplicates == 40
    assert report.sentences()[-1] == (
        "That compared 10 of 40 test items with 20 of 41 training items, drawn at random."
    )


def test_drawn_items_keep_their_own_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks, "MAX_SCORED_ITEMS", 15)
    words = [(f"w{n}", n * n % 3) for n in range(30)]
    assert leak_report({"train": rows(*words), "test": rows(*words)}, "text").copied_score == 1
    monkeypatch.setattr(leaks, "MAX_SEARCHED_ITEMS", 29)
    # the one that is not searched, if it is scored at all, gets the most frequent class
    for seed in range(3):
        report = leak_report({"train": rows(*words), "test": rows(*reversed(words))}, "text", seed=seed)
        assert report.copied_score >= 14 / 15


def test_another_discipline_is_read_in_its_own_case() -> None:
    splits = {"train": rows(("HHEEccHH", 0)), "test": rows(("HHEECCHH", 0), ("xEEccHHx", 1))}
    report = leak_report(splits, "structure")
    assert (report.unit, report.k, report.window, report.overlapping) == ("characters", 6, None, None)
    assert leak_report(splits, "structure", window=5).overlapping == 1


def test_the_sentences() -> None:
    report = LeakReport("validation", 1500, 3, 100, "nucleotides", 1056, 0.8344, "accuracy", 0.5, 1500, 12, 9000, 9000)
    assert report.sentences() == [
        "3 of 1,500 validation items (0.2%) occur letter for letter among the training items.",
        "1,056 of 1,500 validation items (70.4%) share 100 or more consecutive nucleotides with a training item.",
        "Copying the label of the training item that shares the most stretches of 12 nucleotides gives an accuracy of "
        "83.4%; always answering the most frequent training class gives 50.0%.",
        "That compared 1,500 of 1,500 validation items with 9,000 of 9,000 training items.",
    ]
    unmeasured = dataclasses.replace(report, window=None, overlapping=None)
    assert unmeasured.sentences() == [report.sentences()[0], *report.sentences()[2:]]


def test_validation_is_taken_where_there_is_no_test_split() -> None:
    train, other = rows(("ACGT", 0)), rows(("ACGT", 0), ("CCCC", 0))
    assert leak_report({"train": train, "validation": other, "test": train}, "dna").split == "test"
    report = leak_report({"train": train, "validation": other}, "dna")
    assert (report.split, report.items, report.duplicates) == ("validation", 2, 1)


_A, _B = rows(("ACGT", 0)), rows(("ACGT", "A", 0))


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"test": _A, "validation": _A}, r"no split 'train'; the splits are: test, validation$"),
        ({"train": _A, "held_out": _A}, r"no split 'test' or 'validation'; the splits are: train, held_out$"),
        ({}, r"no split 'train'; the splits are: none$"),
        ({"train": _A, "test": _A.select([])}, r"split 'test' has no rows"),
        ({"train": _A, "test": _A.remove_columns("label")}, r"'test' has no column 'label'; it has id, sequence$"),
        ({"train": _A, "test": _B}, r"split 'train' has no column 'second_sequence'; it has id, sequence, label"),
        ({"train": _A, "test": rows(("A", -1))}, r"split 'test', row 0: label -1 is neither a class nor a target"),
        (
            {"train": rows(("A", 1.0), ("C", float("nan")), regression=True), "test": _A},
            r"split 'train', row 1: label nan is neither",
        ),
        (
            {"train": _A, "test": _A.cast_column("label", Value("string"))},
            r"split 'test': labels are Value\('string'\); allowed: class numbers or floats",
        ),
        ({"train": _A, "test": Dataset.from_dict({"sequence": ["A", None], "label": [0, 0]})}, "row 1: 'sequence' is"),
        (
            {"train": _A, "test": Dataset.from_dict({"sequence": ["A", "C"], "label": [0, None]})},
            "row 1: 'label' is m",
        ),
        ({"train": _A, "test": Dataset.from_dict({"sequence": [1], "label": [0]})}, "'sequence' is int64; allowed: s"),
        ({"train": _A, "test": Dataset.from_dict({"sequence": ["A"], "label": [[0]]})}, r"labels are List\("),
    ],
)
def test_what_cannot_be_compared_is_named(splits: dict[str, Dataset], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        leak_report(splits, "dna")


def test_a_window_has_a_symbol() -> None:
    with pytest.raises(ValueError, match=r"window is 0; allowed: 1 or more symbols"):
        leak_report({"train": _A, "test": _A}, "dna", window=0)
