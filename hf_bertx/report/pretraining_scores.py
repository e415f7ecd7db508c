"""Cells of checkpoints -> score by step of pre-training, what stands beside it, and how soon the gain is reached."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .. import statistics
from ..arms import ARMS, BASELINE
from ..backbones import pretraining_series, pretraining_step
from ..statistics import Interval
from ..tasks import Task
from .cells import Cell, lowest_score
from .records import shown_backbone

EARLY = 0.02  # of the steps: "how much pre-training is needed" is asked of the paper's 40,000 of two million
_NEAR = 0.005  # a checkpoint is at 2% of the steps that was taken at 1.5% to 2.5% of them


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
    """An arm by step; `over` says what a `by_seed` of its points is of: `seeds` or `pre-training seeds`."""

    arm: str
    over: str
    points: tuple[Point, ...]

    def at(self, step: int) -> Point | None:
        return next((point for point in self.points if point.step == step), None)


@dataclass(frozen=True)
class Reference:
    """What does not depend on the step: another backbone, or a start that keeps nothing of a checkpoint."""

    label: str
    random: bool
    mean: float
    interval: Interval | None


@dataclass(frozen=True)
class Trajectory:
    """Everything of a task that belongs in one picture of Figure 3."""

    task: Task
    protocol: str
    split: str
    fraction: float
    series: str
    lines: tuple[Line, ...]
    references: tuple[Reference, ...]


@dataclass(frozen=True)
class EarlyGain:
    """How much of the gain of the whole pre-training is there after 2% of its steps.

    Args:
        first, early, last: steps; `early` is None where no checkpoint was taken near 2%.
        gain: score at the last step less that at step 0, a fraction, with its 95% t interval.
        share: (score at `early` - score at 0) / (score at `last` - score at 0); None where `note` says why.
        low, high: Fieller's 95% interval of the share.
    """

    first: int
    early: int | None
    last: int
    seeds: int
    over: str
    gain: float | None
    gain_interval: Interval | None
    share: float | None = None
    low: float | None = None
    high: float | None = None
    note: str = ""


def trajectories(cells: Iterable[Cell]) -> list[Trajectory]:
    """One a task, protocol, split, fraction and series of which two steps or more have finished runs."""
    groups: dict[tuple, list[Cell]] = defaultdict(list)
    for cell in cells:
        if cell.chosen and cell.scores and cell.specification["arm"] != BASELINE:
            s = cell.specification
            groups[s["task"], s["protocol"], s["split"], s["fraction"], s.get("max_eval_items")].append(cell)
    found = []
    for members in groups.values():
        of_series: dict[str, list[Cell]] = defaultdict(list)
        for cell in members:
            if pretraining_step(cell.specification["backbone"]) is not None:
                of_series[pretraining_series(cell.specification["backbone"])].append(cell)
        others = [cell for cell in members if pretraining_step(cell.specification["backbone"]) is None]
        found += [one for name, own in of_series.items() if (one := _trajectory(name, own, others)) is not None]
    return found


def _trajectory(series: str, own: list[Cell], others: list[Cell]) -> Trajectory | None:
    by_arm: dict[str, list[Cell]] = defaultdict(list)
    for cell in own:
        by_arm[cell.name].append(cell)
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
    at: dict[int, list[Cell]] = defaultdict(list)
    for cell in cells:
        at[pretraining_step(cell.specification["backbone"]) or 0].append(cell)
    several = len({_pretraining(cell) for cell in cells}) > 1
    points = []
    for step, members in sorted(at.items()):
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
    """The share of the gain that is there at 2% of the steps, over the seeds that all the checkpoints asked have."""
    first, last = line.points[0], line.points[-1]
    early = min(line.points[1:], key=lambda point: abs(point.step / last.step - EARLY))
    near = abs(early.step / last.step - EARLY) <= _NEAR
    asked = (first, early, last) if near else (first, last)
    seeds = sorted(set.intersection(*(set(point.by_seed) for point in asked)))
    gains = [last.by_seed[seed] - first.by_seed[seed] for seed in seeds]
    interval = statistics.seed_interval(gains, -2.0, 2.0)
    mean = float(np.mean(gains)) if gains else None
    found = EarlyGain(first.step, early.step if near else None, last.step, len(seeds), line.over, mean, interval)
    alike = first.collapsed and last.collapsed
    note = "all runs at both ends answer every item alike" if alike else _why_none(found, early)
    if note:
        return replace(found, note=note)
    reached = [early.by_seed[seed] - first.by_seed[seed] for seed in seeds]
    between = statistics.ratio_interval(reached, gains)
    assert between is not None  # since the gain's interval does not hold 0
    return replace(found, share=float(np.mean(reached) / np.mean(gains)), low=between[0], high=between[1])


def _why_none(found: EarlyGain, nearest: Point) -> str:
    """Why a share would say nothing; nothing where it says something."""
    if found.first != 0:
        return f"the first checkpoint is of step {step_label(found.first)}"
    if found.early is None:
        return f"no checkpoint near 2% of the steps, the nearest at {100 * nearest.step / found.last:.1f}%"
    if found.gain_interval is None:
        return f"{found.seeds} of the {found.over} ran on all three checkpoints"
    if found.gain_interval.high < 0:
        return "no gain, the score fell"
    if found.gain_interval.low <= 0:
        return "the gain cannot be told from 0"
    return ""


def step_label(step: int) -> str:
    """`0`, `600`, `20K`, `2M`."""
    for unit, letter in ((1_000_000, "M"), (1000, "K")):
        if step >= unit:
            return f"{step / unit:g}{letter}"
    return str(step)
