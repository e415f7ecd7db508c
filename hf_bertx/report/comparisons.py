"""Cells -> comparisons of arms, with p-values corrected over tasks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..runs.spec import LEFT_OUT
from . import statistics
from .cells import Cell
from .formatting import arm_rank, grouped
from .make_cells import flat_specification
from .statistics import Comparison

FEWEST_RUNS = 2  # of each arm, for a test over seeds
# What two compared arms may differ by: what an arm is, its own learning rate, the machine.
_OF_AN_ARM = frozenset(
    "arm start assignment shift tuning special_tokens backbone_revision variant learning_rate precision".split()
)


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
    and every baseline; see [`arm_pairs`]. p-values of tests over seeds are corrected on their own."""
    pairs = arm_pairs(cell for cell in cells if cell.chosen and cell.resampled is not None)
    tests = [ArmComparison(first, second, _compare(first, second)) for first, second in pairs]
    corrected = []
    for family in grouped(tests, _family).values():
        p_values = statistics.holm([test.comparison.p_value for test in family])
        corrected += [replace(test, p_holm=p, tasks=len(family)) for test, p in zip(family, p_values, strict=True)]
    return corrected


def _family(test: ArmComparison) -> tuple:
    over_seeds = min(test.comparison.seeds) >= FEWEST_RUNS
    return test.first.name, test.second.name, over_seeds, test.first.holm_family


def at_main_size(tests: Iterable[ArmComparison]) -> list[ArmComparison]:
    """Comparisons of trainings, and of probes at the training size with the most of them; the largest of equals."""
    tests = list(tests)
    sizes = grouped((t for t in tests if t.first.is_probe), lambda t: t.first.specification["items"])
    most = max((s for s in sizes if s != "all"), key=lambda size: (len(sizes[size]), size), default=0)
    return [test for test in tests if not test.first.is_probe or test.first.specification["items"] == most]


def arm_pairs(cells: Iterable[Cell]) -> list[tuple[Cell, Cell]]:
    """The pairs of cells that are compared: on the same data, alike but for what an arm is and its learning rate."""
    return [pair for pair in _pairs_on_one_data_set(cells) if not _differences(*pair)]


def not_compared(cells: Iterable[Cell]) -> list[str]:
    """A line for each pair of arms that is not compared because more differs than the arm and its learning rate."""
    pairs = _pairs_on_one_data_set(cell for cell in cells if cell.chosen and cell.runs)
    return [
        f"{first.task.name}: {first.name} and {second.name}: "
        + ", ".join(f"{name} is {one!r} and {other!r}" for name, (one, other) in differences.items())
        for first, second in pairs
        if (differences := _differences(first, second))
    ]


def _differences(first: Cell, second: Cell) -> dict[str, tuple[Any, Any]]:
    """The settings that two arms do not share; none for a baseline, which has settings of its own."""
    if first.is_baseline or second.is_baseline:
        return {}
    one, other = ({**LEFT_OUT, **flat_specification(cell.runs[0])} for cell in (first, second))
    names = [name for name in {**one, **other} if name not in _OF_AN_ARM and one.get(name) != other.get(name)]
    return {name: (one.get(name), other.get(name)) for name in names}


def _pairs_on_one_data_set(cells: Iterable[Cell]) -> list[tuple[Cell, Cell]]:
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
    runs = [{run.specification["seed"]: place for place, run in enumerate(cell.runs)} for cell in (first, second)]
    shared = [seed for seed in runs[0] if seed in runs[1]]
    paired = len(shared) >= FEWEST_RUNS
    taken = [[of_seed[seed] for seed in (shared if paired else list(of_seed))] for of_seed in runs]
    one, other = np.array(first.scores)[taken[0]], np.array(second.scores)[taken[1]]
    resampled = first.resampled[:, taken[0]], second.resampled[:, taken[1]]
    items, over = statistics.drawn_from(len(first.truth), first.groups)
    return statistics.compare(one, other, *resampled, items, paired, over)
