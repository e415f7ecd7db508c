"""Cells -> comparisons of arms: which pairs are tested, and their p-values corrected over tasks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from .. import statistics
from ..arms import ARMS, BASELINE
from ..statistics import Comparison
from .cells import Cell


@dataclass(frozen=True)
class ArmComparison:
    """Two cells of a column, compared, with the p-value corrected over `tasks` tasks of the same pair of arms."""

    first: Cell
    second: Cell
    comparison: Comparison
    p_holm: float = 1.0
    tasks: int = 1


def compare_arms(cells: Iterable[Cell]) -> list[ArmComparison]:
    """Compares the chosen cells of each column: every arm with `rand` and with its own control, `bert` with every arm
    and every baseline. Only arms that were made from the same data are compared."""
    usable = [cell for cell in cells if cell.chosen and cell.resampled is not None]
    columns: dict[tuple, dict[str, Cell]] = defaultdict(dict)
    for cell in usable:
        if cell.specification["arm"] != BASELINE:
            columns[cell.column][cell.name] = cell
    for cell in usable:
        if cell.specification["arm"] == BASELINE:
            for (task, _, _, *rest), arms in columns.items():
                if (task, *rest) == (cell.column[0], *cell.column[3:]):
                    arms.setdefault(cell.name, cell)
    tests = [
        ArmComparison(arms[first], arms[second], _compare(arms[first], arms[second]))
        for arms in columns.values()
        for first, second in _pairs(arms)
        if arms[first].fingerprint == arms[second].fingerprint
    ]
    return _corrected(tests)


def _pairs(arms: dict[str, Cell]) -> list[tuple[str, str]]:
    trained = [name for name, cell in arms.items() if cell.specification["arm"] != BASELINE]
    pairs = [(name, f"{name}_rand") for name in trained]
    pairs += [(name, "rand") for name in trained if not name.endswith("_rand") and name != "rand"]
    pairs += [("bert", name) for name in arms if name not in ("bert", "rand")]
    rank = {name: i for i, name in enumerate(ARMS)}
    found = dict.fromkeys(pair for pair in pairs if pair[0] in arms and pair[1] in arms)
    random = {
        name for name, cell in arms.items() if cell.specification.get("start") == "random"
    }  # what is asked first
    return sorted(found, key=lambda pair: (pair[1] not in random, *(rank.get(name, len(rank)) for name in pair)))


def _compare(first: Cell, second: Cell) -> Comparison:
    assert first.resampled is not None
    assert second.resampled is not None
    assert first.truth is not None
    seeds = [[run.specification["seed"] for run in cell.runs] for cell in (first, second)]
    return statistics.compare(
        np.array(first.scores), np.array(second.scores), first.resampled, second.resampled, len(first.truth),
        paired_seeds=seeds[0] == seeds[1],
    )  # fmt: skip


def _corrected(tests: list[ArmComparison]) -> list[ArmComparison]:
    families: dict[tuple, list[int]] = defaultdict(list)
    for i, test in enumerate(tests):
        families[test.first.name, test.second.name, test.first.column[1:]].append(i)
    out = []
    for members in families.values():  # so that the tasks of a pair stand together
        corrected = statistics.holm([tests[i].comparison.p_value for i in members])
        out += [
            replace(tests[i], p_holm=p_value, tasks=len(members))
            for i, p_value in zip(members, corrected, strict=True)
        ]
    return out
