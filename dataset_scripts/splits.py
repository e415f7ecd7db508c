"""Which rows are for training, validation and test."""

from __future__ import annotations

import random
from collections.abc import Sequence

TRAIN, VALIDATION, TEST = "train", "validation", "test"
SEED = 100  # authors' code: shuffle with seed 100, then contiguous 90/5/5
_SHARE = 0.05  # "randomly chosen 90% ... 5% ... 5%" (appendix G.3)
_OVERSHOOT = 1.5


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


def grouped_split(
    groups: Sequence[str], seed: int = SEED, parts: Sequence[str] = (TRAIN, VALIDATION, TEST)
) -> list[str]:
    """The part of each row such that rows of one group never part.

    Groups are taken in random order for each held-out part until it has 5% of the rows; a group that would make it
    half as large again is passed over. Groups differ in size, so the shares are near 90/5/5, not equal to it.

    Raises:
        ValueError: fewer groups than parts.
    """
    members: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    if len(members) < len(parts):
        raise ValueError(f"{len(members)} groups cannot be divided into {', '.join(parts)}; use --split paper")
    order = list(members)
    random.Random(seed).shuffle(order)
    chosen = [parts[0]] * len(groups)
    wanted = _SHARE * len(groups)
    for part in parts[:0:-1]:
        smallest = min(len(members[group]) for group in order)
        taken = 0
        for group in list(order):
            size = len(members[group])
            if taken >= wanted:
                break
            if taken + size > _OVERSHOOT * wanted and (taken or size > smallest):
                continue
            order.remove(group)
            taken += size
            for row in members[group]:
                chosen[row] = part
    return chosen
