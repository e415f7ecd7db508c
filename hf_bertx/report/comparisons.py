"""Cells -> comparisons of arms, with p-values corrected over tasks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..runs.spec import LEFT_OUT
from . import statistics
from .cells import Cell, lowest_score
from .formatting import arm_rank, grouped
from .make_cells import flat_specification
from .statistics import Comparison

FEWEST_RUNS = 2  # of each arm, for a test over seeds
# What two compared arms may differ by: what an arm is, its own learning rate, the machine.
OF_AN_ARM = frozenset(
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

    @property
    def cells(self) -> tuple[Cell, Cell]:
        return self.first, self.second

    @property
    def p_value(self) -> float:
        return self.comparison.p_value

    @property
    def significant(self) -> bool:
        return self.p_holm < statistics.SIGNIFICANT

    @property
    def enough_runs(self) -> bool:
        """Whether it is a test over seeds; those of fewer runs are corrected on their own."""
        return min(self.comparison.seeds) >= FEWEST_RUNS


def compare_arms(cells: Iterable[Cell]) -> list[ArmComparison]:
    """Compares the chosen cells of each column: every arm with `rand` and with its own control, `bert` with every arm
    and every baseline; see [`arm_pairs`]."""
    pairs = arm_pairs(cell for cell in cells if cell.chosen and cell.resampled is not None)
    return corrected([ArmComparison(first, second, _compare(first, second)) for first, second in pairs])


def corrected(tests: Iterable[Any]) -> list[Any]:
    """Comparisons or tests of plateaus, with p-values corrected over the tasks of each pair of arms."""

    def family(test: Any) -> tuple:
        first, second = test.cells
        return first.name, second.name, test.enough_runs, first.holm_family

    done = []
    for members in grouped(tests, family).values():
        known = [test.p_value for test in members if test.p_value is not None]
        p_values = iter(statistics.holm(known))
        done += [
            test if test.p_value is None else replace(test, p_holm=next(p_values), tasks=len(known))
            for test in members
        ]
    return done


def at_main_size(tests: Iterable[ArmComparison]) -> list[ArmComparison]:
    """Comparisons of trainings, and of probes at the training size with the most of them; the largest of equals."""
    tests = list(tests)
    sizes = grouped((t for t in tests if t.first.is_probe), lambda t: t.first.specification["items"])
    most = max((s for s in sizes if s != "all"), key=lambda size: (len(sizes[size]), size), default="all")
    return [test for test in tests if not test.first.is_probe or test.first.specification["items"] == most]


def arm_pairs(cells: Iterable[Cell]) -> list[tuple[Cell, Cell]]:
    """The pairs of cells that are compared: alike but for what an arm is and its learning rate."""
    return [pair for pair in _pairs_in_columns(cells) if not _differences(*pair)]


def not_compared(cells: Iterable[Cell]) -> list[str]:
    """A line for each pair of arms that is not compared, since more differs than the arm and its learning rate or
    predictions are missing."""
    return [
        f"{first.task.name}: {first.name} and {second.name}: {', '.join(reasons)}"
        for first, second in _pairs_in_columns(cell for cell in cells if cell.chosen and cell.runs)
        if (reasons := _differences(first, second) + _without_predictions(first, second))
    ]


def _without_predictions(*cells: Cell) -> list[str]:
    return [f"a run of {cell.name} has no predictions" for cell in cells if cell.resampled is None]


def _differences(first: Cell, second: Cell) -> list[str]:
    """What two arms do not share, in words; nothing for a baseline, which has settings of its own."""
    if first.is_baseline or second.is_baseline:
        return []
    one, other = ({**LEFT_OUT, **flat_specification(cell.runs[0])} for cell in (first, second))
    names = [name for name in {**one, **other} if name not in OF_AN_ARM and one.get(name) != other.get(name)]
    return [f"{name} is {one.get(name)!r} and {other.get(name)!r}" for name in names]


def _pairs_in_columns(cells: Iterable[Cell]) -> list[tuple[Cell, Cell]]:
    cells = list(cells)
    pairs = []
    for column, members in grouped((c for c in cells if not c.is_baseline), lambda cell: cell.column).items():
        arms = {cell.name: cell for cell in members}
        for cell in (c for c in cells if c.is_baseline):  # without a backbone or protocol, so part of every column
            if column == cell.column._replace(backbone=column.backbone, protocol=column.protocol):
                arms.setdefault(cell.name, cell)
        pairs += [(arms[first], arms[second]) for first, second in _pairs(arms)]
    return pairs


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
    taken = [[of_seed[seed] for seed in (shared if paired else of_seed)] for of_seed in runs]
    one, other = np.array(first.scores)[taken[0]], np.array(second.scores)[taken[1]]
    resampled = first.resampled[:, taken[0]], second.resampled[:, taken[1]]
    items, over = statistics.drawn_from(len(first.truth), first.groups)
    return statistics.compare(one, other, *resampled, items, paired, over, lowest_score(first.task))
