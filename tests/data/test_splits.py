"""Which rows are for training, validation and test: drawn at random, by class, by group."""

import hashlib
import random
from collections import Counter

import numpy as np
import pytest

from dataset_scripts.dna import chromosome
from dataset_scripts.splits import (
    balanced_grouped_split,
    fold_split,
    grouped_split,
    held_out,
    random_split,
    stratified_split,
)

PARTS = ("train", "validation", "test")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("iYAL067W-A_5085", "chr1"),
        ("iTELL-Chr1_61", "chr1"),
        ("itL(CAA)G1_5", "chr7"),
        ("_YBR208C_DUR1_2__637225", "chr2"),
        ("YPL283C_1", "chr16"),
        ("iTEL-Chr16_9", "chr16"),
        ("isnR24_3", None),
        ("YQL001C", None),
    ],
)
def test_the_name_of_a_window_tells_its_chromosome(name: str, found: str | None) -> None:
    assert chromosome(name) == found


def test_random_split_is_90_5_5_of_a_seeded_shuffle() -> None:
    chosen = random_split(100)
    assert [chosen.count(part) for part in PARTS] == [90, 5, 5]
    assert [i for i, part in enumerate(chosen) if part == "validation"] == [44, 50, 55, 64, 93]


def test_a_users_own_classes_have_the_same_share_of_each_part() -> None:
    labels = ["usual"] * 270 + ["rare"] * 30
    chosen = stratified_split(labels, 100, PARTS)
    count = Counter(zip(chosen, labels, strict=True))
    assert [chosen.count(part) for part in PARTS] == [210, 45, 45]
    assert {count[part, "rare"] for part in ("validation", "test")} <= {4, 5}
    targets = [float(n % 97) for n in range(2000)]
    chosen = stratified_split(targets, 1, ("train", "test"))
    tested = [target for target, part in zip(targets, chosen, strict=True) if part == "test"]
    assert len(tested) == 200
    assert np.abs(np.sort(tested) - np.sort(targets)[5::10]).max() <= 1  # spread over the whole range
    assert [held_out(n) for n in (100, 1000, 3000, 100_000)] == [15, 150, 200, 5000]


def test_grouped_split_never_parts_a_group() -> None:
    groups = [f"g{n % 40}" for n in range(1000)]
    chosen = grouped_split(groups)
    assert [chosen.count(part) for part in PARTS] == [900, 50, 50]
    assert len(set(zip(groups, chosen, strict=True))) == 40  # each group is in one part
    with pytest.raises(ValueError, match=r"^2 groups cannot be divided into train, validation, test$"):
        grouped_split(["a", "b", "b"])


@pytest.mark.parametrize("regression", [False, True])
def test_groups_of_own_data_are_drawn_with_classes_in_proportion(regression: bool) -> None:
    draw = random.Random(1)
    groups = [f"g{n}" for n in range(60) for _ in range(draw.randint(1, 9))]
    of_group = {group: draw.random() for group in groups}  # all rows of a group are alike
    labels = [of_group[group] if regression else int(of_group[group] < 0.3) for group in groups]
    overall = float(np.mean(labels))
    for seed in range(3):
        chosen = balanced_grouped_split(labels, groups, seed, PARTS, 45, regression)
        assert len(set(zip(groups, chosen, strict=True))) == 60
        for part in ("validation", "test"):
            rows = [label for label, own in zip(labels, chosen, strict=True) if own == part]
            assert 45 <= len(rows) <= 68
            assert abs(float(np.mean(rows)) - overall) < 0.1  # of one draw it is up to 0.4
    made = [balanced_grouped_split(labels, groups, seed, ("a", "b"), 45, regression) for seed in range(3)]
    assert made[0] != made[1] != made[2]


@pytest.mark.parametrize(
    ("sizes", "wanted", "parts"),
    [
        ([880] + [1] * 120, 150, [880, 45, 75]),  # 150 for test would take all groups but the large one
        ([1, 1, 998], 150, [998, 1, 1]),
        ([400, 300, 300], 150, [400, 300, 300]),
    ],
)
def test_a_large_group_is_for_training(sizes: list[int], wanted: float, parts: list[int]) -> None:
    groups = [f"g{n}" for n, size in enumerate(sizes) for _ in range(size)]
    labels = [n % 2 for n in range(len(groups))]
    chosen = balanced_grouped_split(labels, groups, 3, PARTS, wanted, False)
    assert [chosen.count(part) for part in PARTS] == parts


def test_a_fold_that_leaves_one_group_is_named() -> None:
    with pytest.raises(ValueError, match="leaves 1 of 3 groups for training and validation; 2 are needed"):
        fold_split(list("ab" * 10), ["g"] * 16 + ["h"] * 2 + ["i"] * 2, 2, 1, 0, False)


DRAWN = {
    "stratified": "819df749555f8a19",
    "grouped": "1d335fbaf20ec23c",
    "balanced": "f7ed4f92aafaa495",
    "fold": "dc305151170ac19d",
}


def test_splits_that_were_drawn_before_stay_the_same() -> None:
    draw = random.Random(5)
    groups = [f"g{draw.randrange(90)}" for _ in range(700)]
    labels = [draw.choice("aab") for _ in groups]
    made = {
        "stratified": stratified_split(labels, 7, PARTS),
        "grouped": grouped_split(groups, 7),
        "balanced": balanced_grouped_split(labels, groups, 7, PARTS, held_out(700), False),
        "fold": fold_split(labels, groups, 5, 2, 7, False) + fold_split(labels, None, 5, 2, 7, False),
    }
    assert {name: hashlib.sha256(" ".join(chosen).encode()).hexdigest()[:16] for name, chosen in made.items()} == DRAWN
