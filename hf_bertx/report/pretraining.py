"""Cells of checkpoints -> score by step of pre-training, and how soon the gain is reached (the paper's Figure 3)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arms import ARMS
from ..backbones import pretraining_series, pretraining_step
from ..tasks import Task
from . import statistics
from .cells import Cell, lowest_score
from .formatting import grouped, interval_columns, percent, share_of_data, shown_backbone
from .statistics import Interval

EARLY = 0.02  # of the steps: the paper's 40,000 of two million
_NEAR = 0.005  # a checkpoint taken at 1.5% to 2.5% of the steps counts as one at 2%
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
class Reference:
    """A score that does not depend on the step: of another backbone, or of a random start."""

    label: str
    random: bool
    mean: float
    interval: Interval | None


@dataclass(frozen=True)
class Trajectory:
    """One panel of Figure 3: a task, by the checkpoints of one series."""

    task: Task
    protocol: str
    split: str
    fraction: float
    series: str
    lines: tuple[Line, ...]
    references: tuple[Reference, ...]


def trajectories(cells: Iterable[Cell]) -> list[Trajectory]:
    """One a task, protocol, split, fraction and series with finished runs at two steps or more."""
    shown = [cell for cell in cells if cell.chosen and cell.scores and not cell.is_baseline]
    panels = []
    for column in grouped(shown, lambda cell: (cell.column[0], *cell.column[2:])).values():
        others = [cell for cell in column if _step(cell) is None]
        checkpoints = [cell for cell in column if _step(cell) is not None]
        of_series = grouped(checkpoints, lambda cell: pretraining_series(cell.specification["backbone"]))
        panels += [_trajectory(series, cells, others) for series, cells in of_series.items()]
    return [panel for panel in panels if panel.lines]


def _step(cell: Cell) -> int | None:
    return pretraining_step(cell.specification["backbone"])


def _trajectory(series: str, checkpoints: list[Cell], others: list[Cell]) -> Trajectory:
    by_arm = grouped(checkpoints, lambda cell: cell.name)
    lines = tuple(line for arm, cells in by_arm.items() if len((line := _line(arm, cells)).points) > 1)
    arms = [line.arm for line in lines]
    references = []
    for cell in others:
        if cell.name in arms:
            backbone = shown_backbone(cell.specification["backbone"])
            references.append((cell, f"{backbone}, {cell.name}" if len(arms) > 1 else backbone, False))
    for cell in checkpoints:
        if cell.name not in arms and cell.name in ARMS and ARMS[cell.name].start == "random":
            references.append((cell, cell.name, True))
    s = checkpoints[0].specification
    return Trajectory(
        checkpoints[0].task, s["protocol"], s["split"], s["fraction"], series, lines,
        tuple(Reference(label, random, float(np.mean(c.scores)), c.interval) for c, label, random in references),
    )  # fmt: skip


def _line(arm: str, cells: list[Cell]) -> Line:
    # The name of a checkpoint without its step: runs of one pre-training are no independent draws of it.
    pretraining_of = {
        id(cell): (name := cell.specification["backbone"].removeprefix("google/"))[: name.lower().rindex("step")]
        for cell in cells
    }
    several = len(set(pretraining_of.values())) > 1
    points = []
    for step, members in sorted(grouped(cells, lambda cell: _step(cell) or 0).items()):
        if several:
            by_seed: dict[Any, float] = {pretraining_of[id(cell)]: float(np.mean(cell.scores)) for cell in members}
            interval = statistics.seed_interval(list(by_seed.values()), lowest_score(members[0].task))
        else:
            seeds = [run.specification["seed"] for run in members[0].runs]
            by_seed, interval = dict(zip(seeds, members[0].scores, strict=True)), members[0].interval
        points.append(Point(step, by_seed, interval, all(len(c.collapsed) == len(c.runs) for c in members)))
    return Line(arm, "pre-training seeds" if several else "seeds", tuple(points))


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
    row: dict[str, Any] = {
        "first_step": first.step, "early_step": early and early.step, "last_step": last.step,
        "first_score": first.mean, "early_score": early and early.mean, "last_score": last.mean,
        "seeds": len(seeds), "over": line.over, "gain": float(np.mean(gains)) if gains else None,
        "gain_low": interval and interval.low, "gain_high": interval and interval.high,
        "share": None, "share_low": None, "share_high": None, "why_no_share": "",
    }  # fmt: skip
    if first.collapsed and last.collapsed:
        row["why_no_share"] = "all runs at both ends answer every item alike"
    elif first.step != 0:
        row["why_no_share"] = f"the first checkpoint is of step {step_label(first.step)}"
    elif early is None:
        far = f"{100 * nearest.step / last.step:.1f}%"
        row["why_no_share"] = f"no checkpoint near 2% of the steps, the nearest at {far}"
    elif interval is None:
        row["why_no_share"] = f"{len(seeds)} of the {line.over} ran on all three checkpoints"
    elif interval.high < 0:
        row["why_no_share"] = "no gain, the score fell"
    elif interval.low <= 0:
        row["why_no_share"] = "the gain cannot be told from 0"
    else:
        reached = [early.by_seed[seed] - first.by_seed[seed] for seed in seeds]
        between = statistics.ratio_interval(reached, gains)
        assert between is not None  # since the gain's interval does not hold 0
        row |= {"share": float(np.mean(reached) / np.mean(gains)), "share_low": between[0], "share_high": between[1]}
    return row


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
        points: list[tuple[str | None, int | None, str, Point | Reference]] = [
            (line.arm, point.step, "", point) for line in panel.lines for point in line.points
        ]
        points += [(None, None, reference.label, reference) for reference in panel.references]
        rows += [
            {**_named(panel, arm), "step": step, "reference": label, "mean": point.mean,
             **interval_columns(point.interval)}
            for arm, step, label, point in points
        ]  # fmt: skip
    return rows


def _named(panel: Trajectory, arm: str | None) -> dict[str, Any]:
    return {
        "task": panel.task.name, "metric": panel.task.metric, "arm": arm, "protocol": panel.protocol,
        "split": panel.split, "fraction": panel.fraction, "series": shown_backbone(panel.series),
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
