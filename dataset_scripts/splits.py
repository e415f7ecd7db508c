"""Splits: which rows are for training, validation and test."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

TRAIN, VALIDATION, TEST = "train", "validation", "test"
SEED = 100  # authors' code: shuffle with seed 100, then contiguous 90/5/5
_SHARE = 0.05  # "randomly chosen 90% ... 5% ... 5%" (appendix G.3)
_OVERSHOOT = 1.5
_ENOUGH, _MOST = 200, 0.15  # of a user's own data: rows that are held out for a part, and the largest share
_DRAWS = 50  # of groups, of which the most balanced is taken
_FEWEST = 20  # smallest number of rows to draw a part from


def random_split(n: int, seed: int = SEED, parts: Sequence[str] = (TRAIN, VALIDATION, TEST)) -> list[str]:
    """The part of each of `n` rows: shuffled, then contiguous 90/5/5; 95/5 where there are two parts."""
    order = list(range(n))
    random.Random(seed).shuffle(order)
    first = int((1 - _SHARE * (len(parts) - 1)) * n + 1e-9)
    ends = [first + int(_SHARE * n) * i for i in range(len(parts) - 1)] + [n]
    chosen = [""] * n
    start = 0
    for part, end in zip(parts, ends, strict=True):
        for row in order[start:end]:
            chosen[row] = part
        start = end
    return chosen


def held_out(n: int) -> float:
    """How many of `n` rows of a user's own data are drawn for each part that has no file: 200 or, if that is more, 5%;
    but at most 15% of them."""
    return max(_SHARE * n, min(_ENOUGH, _MOST * n))


def stratified_split(labels: Sequence[Any], seed: int, parts: Sequence[str]) -> list[str]:
    """The part of each row of a user's own data, such that each class has nearly the same share of every part.

    Rows are sorted by label, at random within one, and divided into as many stretches as rows are held out for a part;
    one row of each stretch goes to each of these parts. Targets of a regression are spread in the same way. Of fewer
    than 20 rows all stay in the first part.
    """
    draw = random.Random(seed)
    order = list(range(len(labels)))
    draw.shuffle(order)
    order.sort(key=lambda row: labels[row])
    chosen = [parts[0]] * len(order)
    target_size = int(held_out(len(order))) if len(order) >= _FEWEST else 0
    for i in range(target_size):
        stretch = order[i * len(order) // target_size : (i + 1) * len(order) // target_size]
        for row, part in zip(draw.sample(stretch, len(parts) - 1), parts[1:], strict=True):
            chosen[row] = part
    return chosen


def grouped_split(groups: Sequence[str], seed: int = SEED) -> list[str]:
    """The part of each row, `train`, `validation` or `test`, such that rows of one group never part.

    Groups are taken in random order for each held-out part until it has 5% of the rows; a group that would make it
    half as large again is passed over. Groups differ in size, so the shares are near that. Where no group would be
    left for training, half as many rows are held out, and so on.

    Raises:
        ValueError: fewer groups than parts.
    """
    return next(_draws(groups, [seed], (TRAIN, VALIDATION, TEST), _SHARE * len(groups)))


def _draws(
    groups: Sequence[str], seeds: Iterable[int], parts: Sequence[str], target_size: float
) -> Iterator[list[str]]:
    """What [`grouped_split`] draws with each seed. Draws that leave the first part empty are left out; if all do, half
    as many rows are held out."""
    members: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    if len(members) < len(parts):
        raise ValueError(f"{len(members)} groups cannot be divided into {', '.join(parts)}")
    drawn = False
    while not drawn:
        for seed in seeds:
            chosen = _drawn(members, seed, parts, target_size)
            if parts[0] in chosen:
                drawn = True
                yield chosen
        target_size /= 2


def _drawn(members: Mapping[str, list[int]], seed: int, parts: Sequence[str], target_size: float) -> list[str]:
    order = list(members)
    random.Random(seed).shuffle(order)
    chosen = [parts[0]] * sum(map(len, members.values()))
    for part in parts[:0:-1]:
        smallest = min((len(members[group]) for group in order), default=0)
        taken, left = 0, list[str]()
        for group in order:
            size = len(members[group])
            if taken >= target_size or (taken + size > _OVERSHOOT * target_size and (taken or size > smallest)):
                left.append(group)
                continue
            taken += size
            for row in members[group]:
                chosen[row] = part
        order = left
    return chosen


def balanced_grouped_split(
    labels: Sequence[Any], groups: Sequence[str], seed: int, parts: Sequence[str], target_size: float, regression: bool
) -> list[str]:
    """The most balanced of 50 [`grouped_split`]s, by the shares of classes, or of fifths of the targets, in each part.

    Raises:
        ValueError: fewer groups than parts.
    """
    _, numbers = np.unique(_strata(labels, regression), return_inverse=True)
    whole = np.bincount(numbers) / len(numbers)

    def imbalance(chosen: list[str]) -> float:
        part_of = np.array(chosen)
        of_parts = [numbers[part_of == part] for part in parts[1:]]
        shares = [np.bincount(held, minlength=len(whole)) / len(held) for held in of_parts]
        return max(float(np.abs(share - whole).sum()) for share in shares)

    return min(_draws(groups, range(seed * _DRAWS, (seed + 1) * _DRAWS), parts, target_size), key=imbalance)


def _strata(labels: Sequence[Any], regression: bool) -> np.ndarray:
    """Classes, or the fifth of the targets, in ascending order, that each is in."""
    values = np.asarray(labels)
    return np.asarray(np.searchsorted(np.quantile(values, [0.2, 0.4, 0.6, 0.8]), values)) if regression else values


def fold_split(
    labels: Sequence[Any],
    groups: Sequence[str] | None,
    folds: int,
    fold: int,
    seed: int,
    regression: bool,
    multi_label: bool = False,
) -> list[str]:
    """The part of each row in a fold of a cross-validation: the fold is tested on, a tenth of the rest is validation;
    more of it where no class has ten rows.

    Every row is tested in exactly one fold. Rows of one group never part; classes, or fifths of the targets, have
    nearly the same share in all parts.

    Args:
        labels: classes, or targets of a regression.
        groups: None: each row is a group of its own.
        folds: how many there are.
        fold: from 1 on.
        multi_label: combinations of labels that fewer rows, or groups, than folds have are drawn as one class.

    Raises:
        ValueError: a class with fewer rows, or groups, than folds; too few rows, or groups, for three parts.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    names = np.asarray(groups if groups is not None else range(len(labels)))
    strata, unit = _strata(labels, regression), "records" if groups is None else "groups"
    counts = {stratum: len(np.unique(names[strata == stratum])) for stratum in np.unique(strata).tolist()}
    rare = {} if regression else {stratum: count for stratum, count in counts.items() if count < folds}
    if rare and not multi_label:
        stratum, count = next(iter(rare.items()))
        raise ValueError(f"class {stratum} has {count} {unit}; --folds is {folds}, allowed: at most {count}")
    strata = np.array(["" if stratum in rare else str(stratum) for stratum in strata.tolist()]) if rare else strata
    every, fewest = len(np.unique(names)), max(folds, 3)
    if every < fewest:
        raise ValueError(f"{every} {unit}; --folds {folds} needs {fewest} or more")

    def divide(rows: np.ndarray, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
        kind = StratifiedKFold if groups is None else StratifiedGroupKFold
        classes = strata[rows]
        if np.unique(classes, return_counts=True)[1].max() < count:  # too few of each to be divided
            classes = np.zeros(len(rows), int)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of classes that are rarer than the folds of validation
            parts = kind(count, shuffle=True, random_state=seed).split(rows, classes, names[rows])
            return [(rows[train], rows[test]) for train, test in parts]

    rest, tested = divide(np.arange(len(labels)), folds)[fold - 1]
    left, largest = len(np.unique(names[rest])), int(np.unique(strata[rest], return_counts=True)[1].max())
    if left < 2:
        raise ValueError(
            f"fold {fold} of {folds} leaves 1 of {every} {unit} for training and validation; 2 are needed"
        )
    _, held = divide(rest, min(10, left, max(largest, 2)))[0]
    chosen: np.ndarray = np.full(len(labels), TRAIN, dtype=object)
    chosen[tested], chosen[held] = TEST, VALIDATION
    return chosen.tolist()
