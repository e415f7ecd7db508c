"""Training losses -> how many steps a run takes to leave the plateau of the constant answer, and how many never do.

The loss of the best constant answer is the entropy of the classes, or the variance of the targets. A run has left this
plateau at the first logged step from which on its loss stays below 95% of it. A run that never leaves is censored at
its last logged step. A run that collapsed and started again at a lower rate did not leave at its arm's rate: it is
censored at the last step of its first start.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from ..runs.run import Run
from .cells import Cell, named_cell
from .comparisons import arm_pairs, corrected
from .drawing import Kind, Panel, arm_style, panel_title
from .formatting import bracketed, grouped, percent, share_of_data
from .statistics import LEVEL, SIGNIFICANT, Interval

FEWEST_RUNS = 3  # of each arm, for a test that a verdict counts
BELOW = 0.95  # of the constant answer's loss
PLATEAU = Kind(
    "plateau",
    "Steps until a run leaves the plateau",
    "Plateau",
    "Kaplan-Meier curves: share of runs whose training loss is still that of the constant answer. A tick marks the "
    "end of runs that never left.",
)
TITLE = "Steps until the plateau is left"
_APART = 1.5  # percentage points between the curves of two arms, which would overlap otherwise
NOTE = (
    "Left: the first logged step from which on the training loss stays below 95% of the constant answer's loss. A run "
    "that never leaves counts as long as it was trained (censored); so does a run that started again at a lower rate, "
    "with the steps of its first start. Median: of the Kaplan-Meier curve, empty where "
    "fewer than half of the runs leave. Never: share of runs with Wilson's 95% interval. p: log-rank test, corrected "
    f"over tasks (Holm), those of {FEWEST_RUNS} runs an arm or more on their own; it is approximate for a few runs."
)


@dataclass(frozen=True)
class Survival:
    """When the runs of a cell left the plateau: `steps` and whether each run `left` there, one a run, by seed."""

    cell: Cell
    steps: np.ndarray
    left: np.ndarray

    @property
    def data(self) -> stats.CensoredData:
        return stats.CensoredData(self.steps[self.left], right=self.steps[~self.left])

    @property
    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """Steps, and the Kaplan-Meier share of runs that are still on the plateau after each."""
        survival = stats.ecdf(self.data).sf
        return survival.quantiles, survival.probabilities

    @property
    def median(self) -> float | None:
        steps, share = self.curve
        half = share <= 0.5 + 1e-9  # a product, which rounding may put above one half
        return float(steps[np.argmax(half)]) if half.any() else None

    @property
    def never(self) -> tuple[float, Interval]:
        """The share of runs that never leave, with its interval."""
        count = stats.binomtest(int((~self.left).sum()), len(self.left))
        low, high = count.proportion_ci(LEVEL, method="wilson")
        return float(count.statistic), Interval(float(low), float(high), "runs")


@dataclass(frozen=True)
class PlateauTest:
    """The log-rank test of two arms; `statistic` and `p_value` are None where it says nothing: no run left the
    plateau, or all left at the same step."""

    first: Survival
    second: Survival
    statistic: float | None = None
    p_value: float | None = None
    p_holm: float | None = None
    tasks: int = 1

    @property
    def cells(self) -> tuple[Cell, Cell]:
        return self.first.cell, self.second.cell

    @property
    def significant(self) -> bool:
        return self.p_holm is not None and self.p_holm < SIGNIFICANT

    @property
    def enough_runs(self) -> bool:
        return min(len(self.first.left), len(self.second.left)) >= FEWEST_RUNS

    @property
    def p_text(self) -> str:
        if self.p_holm is not None:
            return f"p {self.p_holm:.2g}"
        return "no test" if self.first.left.any() or self.second.left.any() else "no run left"


def steps_on_plateau(record: Run) -> tuple[int, bool] | None:
    """`(step, left)` of a finished run; None where it logged no loss or does not record the constant answer's."""
    results, losses = record.results or {}, record.curve("loss")
    constant = results.get("constant_loss")
    if not constant or not losses:
        return None
    if results.get("restarts"):
        return results["restarts"][0]["steps"], False
    above = [i for i, (_, loss) in enumerate(losses) if loss >= BELOW * constant]
    first_below = above[-1] + 1 if above else 0
    left = first_below < len(losses)
    return losses[first_below if left else -1][0], left


def survivals(cells: Iterable[Cell]) -> list[Survival]:
    """One for each cell whose runs all have a loss curve."""
    curves = []
    for cell in cells:
        known = [each for run in cell.runs if (each := steps_on_plateau(run)) is not None]
        if known and len(known) == len(cell.runs):
            steps, left = zip(*known, strict=True)
            curves.append(Survival(cell, np.array(steps, dtype=float), np.array(left)))
    return curves


def plateau_tests(curves: Sequence[Survival]) -> list[PlateauTest]:
    """The log-rank test of each pair of arms that [`compare_arms`] compares, corrected over tasks."""
    of_cell = {id(each.cell): each for each in curves}
    pairs = arm_pairs(each.cell for each in curves if each.cell.chosen)
    return corrected([_test(of_cell[id(first)], of_cell[id(second)]) for first, second in pairs])


def _test(first: Survival, second: Survival) -> PlateauTest:
    with np.errstate(invalid="ignore", divide="ignore"):
        result = stats.logrank(first.data, second.data)
    if not np.isfinite(result.statistic):
        return PlateauTest(first, second)
    return PlateauTest(first, second, float(result.statistic), float(result.pvalue))


def plateau_rows(curves: Iterable[Survival]) -> list[dict[str, Any]]:
    """A row a cell: when its runs left, and the share that never did."""
    rows = []
    for each in curves:
        share, interval = each.never
        runs = zip(each.steps, each.left, strict=True)
        rows.append({
            **named_cell(each.cell),
            "constant_loss": float(np.mean([(run.results or {})["constant_loss"] for run in each.cell.runs])),
            "runs": len(each.left),
            "left": int(each.left.sum()),
            "median_step": each.median,
            "steps": " ".join(f"{step:g}" if left else f">{step:g}" for step, left in runs),
            "share_never": share,
            "never_low": interval.low,
            "never_high": interval.high,
        })  # fmt: skip
    return rows


def plateau_test_rows(tests: Iterable[PlateauTest]) -> list[dict[str, Any]]:
    """A row a pair of arms: the log-rank test."""
    return [
        {**named_cell(test.first.cell), "arm": test.first.cell.name, "second": test.second.cell.name,
         "statistic": test.statistic, "p_value": test.p_value, "p_holm": test.p_holm, "tasks": test.tasks}
        for test in tests
    ]  # fmt: skip


def plateau_cells(curves: Sequence[Survival], tests: Iterable[PlateauTest]) -> list[dict[str, str]]:
    """The table for a reader, by the heads of columns."""
    of_cell = grouped(tests, lambda test: id(test.first.cell))
    return [
        {
            "task": row["task"] + share_of_data(row["fraction"]),
            "arm": row["arm"] + (f", {row['differs']}" if row["differs"] else ""),
            "backbone, protocol, split": f"{row['backbone']}, {row['protocol']}, {row['split']}",
            "runs": str(row["runs"]),
            "left at step": row["steps"].replace(" ", ", "),
            "median": "" if row["median_step"] is None else f"{row['median_step']:g}",
            "never, % [95%]": percent(row["share_never"]) + bracketed(each.never[1]),
            "log-rank against": ", ".join(
                f"{test.second.cell.name} {test.p_text}" for test in of_cell.get(id(each.cell), [])
            ),
        }
        for row, each in zip(plateau_rows(curves), curves, strict=True)
    ]


def plateau_panels(curves: Sequence[Survival]) -> list[Panel]:
    """Kaplan-Meier curves: a panel a task, a line an arm; a tick marks a run that never left."""
    columns = grouped((each for each in curves if each.cell.chosen), lambda each: each.cell.column).values()
    return [_panel(column) for column in columns]


def _panel(column: list[Survival]) -> Panel:
    def draw(axis: Any) -> None:
        for i, each in enumerate(column):
            style, (steps, share) = arm_style(each.cell.name), each.curve
            heights = 100 * share - _APART * i
            label = f"{each.cell.name}, {int(each.left.sum())} of {len(each.left)} left"
            axis.step([0, *steps], [100 - _APART * i, *heights], where="post", label=label, **style)
            stays = each.steps[~each.left]
            at = heights[np.searchsorted(steps, stays)]
            axis.plot(stays, at, ls="", marker="|", ms=9, mew=1.7, color=style["color"])
        top = 104 + 14 * ((len(column) + 1) // 2)  # room for the legend
        axis.set(xlabel="training step", ylabel="runs still on the plateau, %", ylim=(-4 - _APART * len(column), top))
        axis.set_xlim(left=0)
        axis.set_yticks(range(0, 101, 25))
        axis.legend(loc="upper left", ncols=2, columnspacing=0.8, handlelength=1.5, fontsize=7)

    return Panel(PLATEAU, panel_title(column[0].cell), draw, column[0].cell.column.setup)
