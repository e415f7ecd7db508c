"""Cells -> comparisons of arms, with p-values corrected over tasks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from . import statistics
from .cells import Cell
from .formatting import arm_rank, grouped
from .statistics import Comparison


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
    and every baseline. Only arms trained on the same data are compared."""
    pairs = arm_pairs(cell for cell in cells if cell.chosen and cell.resampled is not None)
    tests = [ArmComparison(first, second, _compare(first, second)) for first, second in pairs]
    corrected = []
    for family in grouped(tests, lambda test: (test.first.name, test.second.name, test.first.holm_family)).values():
        p_values = statistics.holm([test.comparison.p_value for test in family])
        corrected += [replace(test, p_holm=p, tasks=len(family)) for test, p in zip(family, p_values, strict=True)]
    return corrected


def at_main_size(tests: Iterable[ArmComparison]) -> list[ArmComparison]:
    """Comparisons of trainings, and of probes at the training size with the most of them; the largest of equals."""
    tests = list(tests)
    sizes = grouped((t for t in tests if t.first.is_probe), lambda t: t.first.specification["items"])
    most = max((s for s in sizes if s != "all"), key=lambda size: (len(sizes[size]), size), default=0)
    return [test for test in tests if not test.first.is_probe or test.first.specification["items"] == most]


def arm_pairs(cells: Iterable[Cell]) -> list[tuple[Cell, Cell]]:
    """The pairs of cells that are compared; see [`compare_arms`]."""
    cells = list(cells)
    columns: dict[tuple, dict[str, Cell]] = {}
    for cell in cells:
        if not cell.is_baseline:
            columns.setdefault(cell.column, {})[cell.name] = cell
    for cell in cells:
        if cell.is_baseline:  # baselines have no backbone or protocol, so they are part of every column of their task
            for column, arms in columns.items():
                if (column[0], *column[3:]) == (cell.column[0], *cell.column[3:]):
                    arms.setdefault(cell.name, cell)
    pairs = [(arms[first], arms[second]) for arms in columns.values() for first, second in _pairs(arms)]
    return [pair for pair in pairs if pair[0].fingerprint == pair[1].fingerprint]


def _pairs(arms: dict[str, Cell]) -> list[tuple[str, str]]:
    trained = [name for name, cell in arms.items() if not cell.is_baseline]
    pairs = [(name, f"{name}_rand") for name in trained]
    pairs += [(name, "rand") for name in trained if not name.endswith("_rand") and name != "rand"]
    pairs += [("bert", name) for name in arms if name not in ("bert", "rand")]
    present = dict.fromkeys(pair for pair in pairs if pair[0] in arms and pair[1] in arms)
    random = {name for name, cell in arms.items() if cell.specification.get("start") == "random"}
    return sorted(present, key=lambda pair: (pair[1] not in random, *map(arm_rank, pair)))  # random starts first


def _compare(first: Cell, second: Cell) -> Comparison:
    assert first.resampled is not None
    assert second.resampled is not None
    assert first.truth is not None
    seeds = [[run.specification["seed"] for run in cell.runs] for cell in (first, second)]
    scores, resampled = (np.array(first.scores), np.array(second.scores)), (first.resampled, second.resampled)
    items, over = statistics.drawn_from(len(first.truth), first.groups)
    return statistics.compare(*scores, *resampled, items, seeds[0] == seeds[1], over)
