"""Cells of checkpoints -> score by step of pre-training, and how soon the gain is reached: the paper's Figure 3."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backbones import pretraining_series, pretraining_step
from . import statistics
from .cells import Cell, limits, lowest_score
from .drawing import COLORS, Kind, Panel, arm_style, draw_floor, panel_title, score_label
from .formatting import grouped, interval_columns, percent, share_of_data, shown_backbone
from .statistics import Interval

EARLY = 0.02  # of the steps: the paper's 40,000 of two million
_NEAR = 0.005 + 1e-9  # a checkpoint taken at 1.5% to 2.5% of the steps counts as one at 2%
PRETRAINING = Kind(
    "pretraining",
    "Score by step of pre-training (Figure 3 of the paper)",
    "Pre-training",
    "Means with 95% intervals: over seeds, or over pre-trainings if there are several; for one run, over test items. "
    "Dashed lines: another backbone or a random start, which do not depend on the step.",
)
_LETTER = 0.028  # width of a letter of a label, as a share of the axis
_LINEAR = 0.6  # width of the axis from step 0 to the first step, in decades
TITLE = "How soon pre-training pays"
NOTE = (
    "x 100. Share: (score at 2% of the steps - score at 0) / (score at 100% - score at 0), paired by seed, with "
    "Fieller's interval. It is left out where the gain cannot be told from 0."
)


@dataclass(frozen=True)
class Point:
    """The score at a step, by seed, or by pre-training where there are several; a fraction.

    `collapsed` where every run answers all items alike, so that the score says nothing.
    """

    step: int
    by_seed: dict[Any, float]
    interval: Interval | None
    collapsed: bool = False

    @property
    def mean(self) -> float:
        return float(np.mean(list(self.by_seed.values())))


@dataclass(frozen=True)
class Line:
    """An arm by step. `over` says what `by_seed` of its points is over: `seeds` or `pre-training seeds`."""

    arm: str
    over: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Trajectory:
    """One panel of Figure 3: a task, by the checkpoints of one series.

    Args:
        cell: of a checkpoint; all share its task, protocol, split and fraction.
        references: scores that do not depend on the step, with a label: another backbone, or a random start.
    """

    cell: Cell
    series: str
    lines: tuple[Line, ...]
    references: tuple[tuple[str, Cell], ...]


def trajectories(cells: Iterable[Cell]) -> list[Trajectory]:
    """One a task, protocol, split, fraction and series with finished runs at two steps or more."""
    shown = [cell for cell in cells if cell.chosen and cell.scores and not cell.is_baseline]
    panels = []
    for column in grouped(shown, lambda cell: cell.column._replace(backbone="")).values():
        others = [cell for cell in column if step_of(cell) is None]
        checkpoints = [cell for cell in column if step_of(cell) is not None]
        of_series = grouped(checkpoints, lambda cell: pretraining_series(cell.specification["backbone"]))
        panels += [_trajectory(series, cells, others) for series, cells in of_series.items()]
    return [panel for panel in panels if panel.lines]


def step_of(cell: Cell) -> int | None:
    """Of pre-training; None for a backbone that is no checkpoint in the middle of it."""
    return pretraining_step(cell.specification["backbone"])


def _trajectory(series: str, checkpoints: list[Cell], others: list[Cell]) -> Trajectory:
    lines = [_line(arm, cells) for arm, cells in grouped(checkpoints, lambda cell: cell.name).items()]
    lines = [line for line in lines if len(line.points) > 1]
    arms = [line.arm for line in lines]
    references = []
    for cell in others:
        if cell.name in arms:
            backbone = shown_backbone(cell.specification["backbone"])
            references.append((f"{backbone}, {cell.name}" if len(arms) > 1 else backbone, cell))
    for cell in checkpoints:
        if cell.name not in arms and cell.specification.get("start") == "random":
            references.append((cell.name, cell))
    return Trajectory(checkpoints[0], series, tuple(lines), tuple(references))


def _line(arm: str, cells: list[Cell]) -> Line:
    by_step = sorted(grouped(cells, lambda cell: step_of(cell) or 0).items())
    several = len({_pretraining(cell) for cell in cells}) > 1
    points = []
    for step, members in by_step:
        first = members[0]
        if several:
            by_seed: dict[Any, float] = {_pretraining(cell): float(np.mean(cell.scores)) for cell in members}
            interval = statistics.seed_interval(list(by_seed.values()), lowest_score(first.task))
        else:
            seeds = [run.specification["seed"] for run in first.runs]
            by_seed, interval = dict(zip(seeds, first.scores, strict=True)), first.interval
        points.append(Point(step, by_seed, interval, all(len(c.collapsed) == len(c.runs) for c in members)))
    return Line(arm, "pre-training seeds" if several else "seeds", tuple(points))


def _pretraining(cell: Cell) -> str:
    """The name of a checkpoint without its step: runs of one pre-training are no independent draws of it."""
    name = cell.specification["backbone"].removeprefix("google/")
    return name[: name.lower().rindex("step")]


def early_gain(line: Line) -> dict[str, Any]:
    """How much of the gain of the whole pre-training is there after 2% of its steps. Scores are fractions.

    Only seeds that have all the checkpoints in question count.

    Returns:
        A row. `early_step` is None where no checkpoint was taken near 2%. `gain` is the score at the last step less
        that at the first, paired by seed, with its 95% t interval. `share` is (score at `early_step` - score at 0) /
        (score at `last_step` - score at 0) with Fieller's 95% interval; None where `why_no_share` says why.
    """
    first, last = line.points[0], line.points[-1]
    nearest = min(line.points[1:], key=lambda point: abs(point.step / last.step - EARLY))
    early = nearest if abs(nearest.step / last.step - EARLY) <= _NEAR else None
    seeds = sorted(set.intersection(*(set(p.by_seed) for p in (first, early, last) if p is not None)))
    gains = [last.by_seed[seed] - first.by_seed[seed] for seed in seeds]
    interval = statistics.seed_interval(gains, -2.0, 2.0)
    share: tuple[float, float, float] | tuple[None, None, None] = (None, None, None)
    why = ""
    if first.collapsed and last.collapsed:
        why = "all runs at both ends answer every item alike"
    elif first.step != 0:
        why = f"the first checkpoint is of step {step_label(first.step)}"
    elif early is None:
        why = f"no checkpoint near 2% of the steps, the nearest at {100 * nearest.step / last.step:.1f}%"
    elif interval is None:
        why = f"{len(seeds)} of the {line.over} ran on all three checkpoints"
    elif interval.high < 0:
        why = "no gain, the score fell"
    elif interval.low <= 0:
        why = "the gain cannot be told from 0"
    else:
        reached = [early.by_seed[seed] - first.by_seed[seed] for seed in seeds]
        between = statistics.ratio_interval(reached, gains)
        assert between is not None  # since the gain's interval does not hold 0
        share = (float(np.mean(reached) / np.mean(gains)), *between)
    return {
        "first_step": first.step, "early_step": early and early.step, "last_step": last.step,
        "first_score": first.mean, "early_score": early and early.mean, "last_score": last.mean,
        "seeds": len(seeds), "over": line.over, "gain": float(np.mean(gains)) if gains else None,
        "gain_low": interval and interval.low, "gain_high": interval and interval.high,
        "share": share[0], "share_low": share[1], "share_high": share[2], "why_no_share": why,
    }  # fmt: skip


def step_label(step: int) -> str:
    """`0`, `600`, `20K`, `2M`."""
    for unit, letter in ((1_000_000, "M"), (1000, "K")):
        if step >= unit:
            return f"{step / unit:g}{letter}"
    return str(step)


def gain_rows(panels: Iterable[Trajectory]) -> list[dict[str, Any]]:
    """[`early_gain`] as rows, one a task and arm."""
    return [{**_named(panel, line.arm), **early_gain(line)} for panel in panels for line in panel.lines]


def score_rows(panels: Iterable[Trajectory]) -> list[dict[str, Any]]:
    """A row a point of the figure, references included (without a step), as fractions."""
    rows = []
    for panel in panels:
        for line in panel.lines:
            rows += [{**_named(panel, line.arm), "step": point.step, "reference": "", **_score(point)}
                     for point in line.points]  # fmt: skip
        rows += [{**_named(panel, None), "step": None, "reference": label, **_score(cell)}
                 for label, cell in panel.references]  # fmt: skip
    return rows


def _score(point: Point | Cell) -> dict[str, Any]:
    return {"mean": point.mean, **interval_columns(point.interval)}


def _named(panel: Trajectory, arm: str | None) -> dict[str, Any]:
    s, task = panel.cell.specification, panel.cell.task
    return {
        "task": task.name, "metric": task.metric, "arm": arm, "protocol": s["protocol"], "split": s["split"],
        "fraction": s["fraction"], **limits(s), "series": shown_backbone(panel.series),
    }  # fmt: skip


def gain_cells(panels: Iterable[Trajectory]) -> list[dict[str, str]]:
    """[`gain_rows`] for a reader: x 100, by the heads of columns."""
    return [
        {
            "task": row["task"] + share_of_data(row["fraction"]),
            "arm": row["arm"],
            "series": f"{row['series']}, {step_label(row['last_step'])} steps",
            "at 0": percent(row["first_score"]) if row["first_step"] == 0 else "",
            "at 2%": percent(row["early_score"]),
            "at 100%": percent(row["last_score"]),
            "gain [95%]": _between(row, "gain", "+"),
            "share at 2% [95%]": _between(row, "share") or f"none: {row['why_no_share']}",
            "over": f"{row['seeds']} {row['over']}",
        }
        for row in gain_rows(panels)
    ]


def _between(row: dict[str, Any], name: str, sign: str = "") -> str:
    value, low, high = (percent(row[key], sign) for key in (name, f"{name}_low", f"{name}_high"))
    return value + (f" [{low}, {high}]" if value and low else "")


def pretraining_panels(shown: Iterable[Trajectory]) -> list[Panel]:
    """A panel a task: a line an arm with 95% intervals, and what does not depend on the step as lines across."""
    return [_panel(one) for one in shown]


def _panel(one: Trajectory) -> Panel:
    task = one.cell.task

    def draw(axis: Any) -> None:
        for line in one.lines:
            _draw_line(axis, line)
        for number, (label, cell) in enumerate(one.references):
            color = COLORS[(7, 2, 3, 4)[number % 4]] if step_of(cell) is None else COLORS[1]
            if cell.interval is not None:
                axis.axhspan(100 * cell.interval.low, 100 * cell.interval.high, color=color, alpha=0.1, lw=0)
            axis.axhline(100 * (cell.mean or 0), color=color, ls="--", lw=1.4, label=label)
        draw_floor(axis, one.cell)
        _lay_out_steps(axis, sorted({point.step for line in one.lines for point in line.points}))
        axis.set(xlabel="steps of pre-training (bars: 95% intervals)", ylabel=score_label(task))
        _add_legend(axis)

    series = one.cell.column._replace(backbone=one.series).setup
    return Panel(PRETRAINING, panel_title(one.cell), draw, series, (3.9, 3.2))


def _add_legend(axis: Any) -> None:
    """Adds a legend above the plot, lines of arms first."""
    from matplotlib.container import ErrorbarContainer

    entries = sorted(zip(*axis.get_legend_handles_labels(), strict=True),
                     key=lambda entry: not isinstance(entry[0], ErrorbarContainer))  # fmt: skip
    low, high = axis.get_ylim()
    axis.set_ylim(low, high + 0.1 * (high - low) * ((len(entries) + 1) // 2))
    axis.legend(*zip(*entries, strict=True), loc="upper left", ncols=2, columnspacing=1)


def _draw_line(axis: Any, line: Line) -> None:
    ends = [(p.mean, p.mean) if p.interval is None else (p.interval.low, p.interval.high) for p in line.points]
    ends = [
        (min(low, p.mean), max(high, p.mean)) for p, (low, high) in zip(line.points, ends, strict=True)
    ]  # rounding
    bars = [(100 * (p.mean - low), 100 * (high - p.mean)) for p, (low, high) in zip(line.points, ends, strict=True)]
    axis.errorbar(
        [p.step for p in line.points], [100 * p.mean for p in line.points], yerr=list(zip(*bars, strict=True)),
        marker="o", ms=4, elinewidth=1, capsize=2.5, label=line.arm, **arm_style(line.arm),
    )  # fmt: skip


def _lay_out_steps(axis: Any, steps: list[int]) -> None:
    """Logarithmic from the first step after 0 on, with room for 0. Names the steps that there is room for."""
    first, last = next(step for step in steps if step > 0), steps[-1]
    axis.set_xscale("symlog", linthresh=first, linscale=_LINEAR)
    axis.set_xlim(-0.15 * first, last * 1.2)
    places = axis.transAxes.inverted().transform(axis.transData.transform([(step, 0) for step in steps]))[:, 0]
    labels = [step_label(step) for step in steps]
    named = [0, len(steps) - 1]
    for i in range(1, len(steps) - 1):
        room = [_LETTER * (1 + (len(labels[i]) + len(labels[other])) / 2) for other in named]
        if all(abs(places[i] - places[other]) >= needed for other, needed in zip(named, room, strict=True)):
            named.append(i)
    axis.set_xticks([steps[i] for i in named], [labels[i] for i in named])
    axis.minorticks_off()
