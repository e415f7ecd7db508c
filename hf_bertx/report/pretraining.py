"""Cells of checkpoints -> score by step of pre-training, and how soon the gain is reached (the paper's Figure 3)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ..arms import ARMS
from ..backbones import pretraining_series, pretraining_step
from ..tasks import Task
from . import statistics
from .cells import Cell, lowest_score
from .formatting import grouped, interval_columns, markdown_table, percent, share_of_data, shown_backbone
from .statistics import Interval

EARLY = 0.02  # of the steps: the paper's 40,000 of two million
_NEAR = 0.005  # a checkpoint counts as one at 2% of the steps if it was taken at 1.5% to 2.5% of them
NOTE = (
    "x 100. Share: (score at 2% of the steps - score at 0) / (score at 100% - score at 0), paired by seed, with "
    "Fieller's interval. It is left out where the gain cannot be told from 0."
)


@dataclass(frozen=True)
class Point:
    """The score at a step: `by_seed` holds one a seed, or one a pre-training where there are several; a fraction.

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
    """A score that does not depend on the step: of another backbone, or of a start that keeps nothing."""

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


@dataclass(frozen=True)
class EarlyGain:
    """How much of the gain of the whole pre-training is there after 2% of its steps. Scores are fractions.

    Args:
        early_step: None where no checkpoint was taken near 2%.
        gain: score at the last step less that at the first, paired by seed, with its 95% t interval.
        share: (score at `early_step` - score at 0) / (score at `last_step` - score at 0) with Fieller's 95% interval;
            None where `why_no_share` says why.
    """

    first_step: int
    early_step: int | None
    last_step: int
    first_score: float
    early_score: float | None
    last_score: float
    seeds: int
    over: str
    gain: float | None
    gain_low: float | None = None
    gain_high: float | None = None
    share: float | None = None
    share_low: float | None = None
    share_high: float | None = None
    why_no_share: str = ""


def trajectories(cells: Iterable[Cell]) -> list[Trajectory]:
    """One a task, protocol, split, fraction and series with finished runs at two steps or more."""
    shown = [cell for cell in cells if cell.chosen and cell.scores and not cell.is_baseline]
    columns = grouped(shown, lambda cell: (cell.column[0], *cell.column[2:])).values()
    found = []
    for members in columns:
        of_checkpoints = [cell for cell in members if _step(cell) is not None]
        others = [cell for cell in members if _step(cell) is None]
        of_series = grouped(of_checkpoints, lambda cell: pretraining_series(cell.specification["backbone"]))
        found += [one for name, own in of_series.items() if (one := _trajectory(name, own, others)) is not None]
    return found


def _step(cell: Cell) -> int | None:
    return pretraining_step(cell.specification["backbone"])


def _trajectory(series: str, own: list[Cell], others: list[Cell]) -> Trajectory | None:
    by_arm = grouped(own, lambda cell: cell.name)
    lines = tuple(line for arm, cells in by_arm.items() if len((line := _line(arm, cells)).points) > 1)
    if not lines:
        return None
    arms = [line.arm for line in lines]
    references = [_reference(cell, len(arms) > 1, False) for cell in others if cell.name in arms]
    for arm, cells in by_arm.items():
        if arm not in arms and arm in ARMS and ARMS[arm].start == "random":
            references += [_reference(cell, True, True) for cell in cells]
    s = own[0].specification
    return Trajectory(own[0].task, s["protocol"], s["split"], s["fraction"], series, lines, tuple(references))


def _reference(cell: Cell, named: bool, random: bool) -> Reference:
    assert cell.mean is not None
    backbone = shown_backbone(cell.specification["backbone"])
    label = cell.name if random else f"{backbone}, {cell.name}" if named else backbone
    return Reference(label, random, cell.mean, cell.interval)


def _line(arm: str, cells: list[Cell]) -> Line:
    several = len({_pretraining(cell) for cell in cells}) > 1
    points = []
    for step, members in sorted(grouped(cells, lambda cell: _step(cell) or 0).items()):
        if several:
            by_seed: dict[Any, float] = {_pretraining(cell): float(np.mean(cell.scores)) for cell in members}
            interval = statistics.seed_interval(list(by_seed.values()), lowest_score(members[0].task))
        else:
            runs = zip(members[0].runs, members[0].scores, strict=True)
            by_seed = {run.specification["seed"]: score for run, score in runs}
            interval = members[0].interval
        collapsed = all(len(cell.collapsed) == len(cell.runs) for cell in members)
        points.append(Point(step, by_seed, interval, collapsed))
    return Line(arm, "pre-training seeds" if several else "seeds", tuple(points))


def _pretraining(cell: Cell) -> str:
    """The name of a checkpoint without its step: runs of one pre-training are no independent draws of it."""
    name = cell.specification["backbone"].removeprefix("google/")
    return name[: name.lower().rindex("step")]


def early_gain(line: Line) -> EarlyGain:
    """The share of the gain at 2% of the steps, over the seeds that all the checkpoints in question have."""
    first, last = line.points[0], line.points[-1]
    nearest = min(line.points[1:], key=lambda point: abs(point.step / last.step - EARLY))
    early = nearest if abs(nearest.step / last.step - EARLY) <= _NEAR else None
    seeds = sorted(set.intersection(*(set(p.by_seed) for p in (first, early, last) if p is not None)))
    gains = [last.by_seed[seed] - first.by_seed[seed] for seed in seeds]
    interval = statistics.seed_interval(gains, -2.0, 2.0)
    found = EarlyGain(
        first.step,
        None if early is None else early.step,
        last.step,
        first.mean,
        None if early is None else early.mean,
        last.mean,
        len(seeds),
        line.over,
        float(np.mean(gains)) if gains else None,
        *((None, None) if interval is None else (interval.low, interval.high)),
    )
    alike = first.collapsed and last.collapsed
    note = "all runs at both ends answer every item alike" if alike else _why_no_share(found, nearest)
    if note or early is None:
        return replace(found, why_no_share=note)
    reached = [early.by_seed[seed] - first.by_seed[seed] for seed in seeds]
    between = statistics.ratio_interval(reached, gains)
    assert between is not None  # since the gain's interval does not hold 0
    share = float(np.mean(reached) / np.mean(gains))
    return replace(found, share=share, share_low=between[0], share_high=between[1])


def _why_no_share(found: EarlyGain, nearest: Point) -> str:
    """Why a share would say nothing; empty where it says something."""
    if found.first_step != 0:
        return f"the first checkpoint is of step {step_label(found.first_step)}"
    if found.early_step is None:
        return f"no checkpoint near 2% of the steps, the nearest at {100 * nearest.step / found.last_step:.1f}%"
    if found.gain_low is None or found.gain_high is None:
        return f"{found.seeds} of the {found.over} ran on all three checkpoints"
    if found.gain_high < 0:
        return "no gain, the score fell"
    return "the gain cannot be told from 0" if found.gain_low <= 0 else ""


def step_label(step: int) -> str:
    """`0`, `600`, `20K`, `2M`."""
    for unit, letter in ((1_000_000, "M"), (1000, "K")):
        if step >= unit:
            return f"{step / unit:g}{letter}"
    return str(step)


def gain_rows(found: Iterable[Trajectory]) -> list[dict[str, Any]]:
    """[`EarlyGain`] as rows, one a task and arm."""
    return [{**_named(one, line), **asdict(early_gain(line))} for one in found for line in one.lines]


def score_rows(found: Iterable[Trajectory]) -> list[dict[str, Any]]:
    """A row a point of the figure, references included (without a step), as fractions."""
    rows: list[dict[str, Any]] = []
    for one in found:
        rows += [
            {**_named(one, line), "step": p.step, "reference": "", "mean": p.mean, **interval_columns(p.interval)}
            for line in one.lines
            for p in line.points
        ]
        rows += [
            {**_named(one), "step": None, "reference": r.label, "mean": r.mean, **interval_columns(r.interval)}
            for r in one.references
        ]
    return rows


def _named(one: Trajectory, line: Line | None = None) -> dict[str, Any]:
    arm = None if line is None else line.arm
    return {
        "task": one.task.name, "metric": one.task.metric, "arm": arm, "protocol": one.protocol, "split": one.split,
        "fraction": one.fraction, "series": shown_backbone(one.series),
    }  # fmt: skip


def gain_cells(found: Iterable[Trajectory]) -> list[dict[str, str]]:
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
        for row in gain_rows(found)
    ]


def _between(row: dict[str, Any], name: str, sign: str = "") -> str:
    value, low, high = (percent(row[key], sign) for key in (name, f"{name}_low", f"{name}_high"))
    return value + (f" [{low}, {high}]" if value and low else "")


def gains_markdown(found: Sequence[Trajectory]) -> str:
    """[`gain_cells`] as a table under a title."""
    rows = gain_cells(found)
    table = markdown_table(list(rows[0]), [list(row.values()) for row in rows])
    return "\n".join(["## How soon pre-training pays", "", table, "", NOTE, ""])
