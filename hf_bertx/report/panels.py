"""Cells -> panels: training loss, score by fraction of the data, confusion, calibration.

A panel knows how to draw itself on an axis; [`figures`] puts panels into files and pages.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.metrics import confusion_matrix

from ..arms import ARMS, BASELINE
from ..backbones import pretraining_step
from .cells import Cell, Floor
from .comparisons import ArmComparison
from .paper_tables import percent, short_name
from .records import RunRecord, shown_backbone

INK, LINE = "#1d2430", "#c9ced6"
# told apart in print, on a dark page and by those who see red and green alike; the page names them --c0, --c1, ...
COLORS = ("#2563c9", "#d9680f", "#12896a", "#8a4fbf", "#b3324f", "#7a6a1f", "#0f8aa8", "#5b6472")
_SLOTS = {"bert": 0, "rand": 1, "re_emb": 2, "unused": 3, "random_body": 4, "random_tokens": 5}
_SLOTS |= {"shift_1000": 0, "shift_1000_rand": 1, "random_shift": 4, "random_shift_rand": 5, "frozen": 6}
KINDS = {
    "comparisons": "What separates two arms",
    "loss": "Training loss (Figure 2 of the paper)",
    "validation": "Validation score while training",
    "pretraining": "Score by step of pre-training (Figure 3 of the paper)",
    "fractions": "Score by share of the training data",
    "calibration": "Calibration",
    "confusion": "Confusion",
}


@dataclass(frozen=True)
class Panel:
    """One small picture: `kind` of [`KINDS`], what it shows in words, and how it is drawn on a matplotlib axis.

    `size` and `margins` (left and below, for labels) are in inches: laying out by measuring every text took a second a
    panel.
    """

    kind: str
    title: str
    about: str
    draw: Callable[[Any], None]
    size: tuple[float, float] = (3.9, 2.8)
    margins: tuple[float, float] = (0.62, 0.48)
    where: str = ""  # backbone, protocol and split, where all panels share them


def make_panels(cells: Sequence[Cell], floors: Iterable[Floor], tests: Sequence[ArmComparison]) -> list[Panel]:
    """Every panel that the cells give, kind by kind; of checkpoints, see [`pretraining_panels`]."""
    bottom = {(floor.task.name, floor.split): floor.score for floor in floors}
    ends = [c for c in cells if pretraining_step(c.specification["backbone"]) is None]
    trained = [c for c in ends if c.specification["arm"] != BASELINE and c.chosen]
    columns: dict[tuple, list[Cell]] = defaultdict(list)
    for cell in trained:
        columns[cell.column].append(cell)
    groups = list(columns.values())
    where = {group[0].column[1:4] for group in groups}
    several = len(where) > 1
    panels = _comparison_panels(tests)
    for kind, name in (("loss", "loss"), ("validation", "")):
        for group in groups:
            panels += _curve_panel(kind, name or f"eval_{group[0].task.metric}", group, several)
    panels += _fraction_panels(trained, bottom)
    most: dict[tuple, float] = defaultdict(float)  # what a model says of an item is shown of the most data alone
    for cell in trained:
        key = (cell.column[:4], cell.name)
        most[key] = max(most[key], cell.specification["fraction"])
    full = [[c for c in group if c.specification["fraction"] == most[c.column[:4], c.name]] for group in groups]
    for group in full:
        panels += _calibration_panel(group, several)
    for group in full:
        panels += [_confusion_panel(cell, several) for cell in group if _confusable(cell)]
    if len(where) == 1:
        backbone, protocol, split = next(iter(where))
        told = f"{shown_backbone(backbone)}, protocol {protocol}, split {split}"
        panels = [replace(panel, where=told) for panel in panels]
    return panels


def _title(cell: Cell, several: bool) -> str:
    s = cell.specification
    share = "" if s["fraction"] == 1 else f", {100 * s['fraction']:g}% data"
    where = f"\n{shown_backbone(s['backbone'])}, {s['protocol']}, {s['split']}" if several else ""
    return short_name(cell.task) + share + where


def arm_color(name: str, taken: Iterable[str]) -> str:
    """The same for an arm in every picture; `taken`: all names of the picture."""
    others = [other for other in taken if other not in _SLOTS]
    slot = _SLOTS.get(name, 3 + others.index(name) if name in others else 7)
    return COLORS[slot % len(COLORS)]


def _style(cell: Cell, names: Iterable[str]) -> dict[str, Any]:
    """A color an arm; what starts at random is dashed as well."""
    arm = ARMS.get(cell.name)
    return {
        "color": arm_color(cell.name, names),
        "ls": "--" if arm is not None and arm.start == "random" else "-",
        "lw": 1.7,
    }


def _by_step(runs: Sequence[RunRecord], name: str) -> tuple[list[int], np.ndarray]:
    """Steps that all runs logged, and the values there, `(runs, steps)`."""
    curves = [dict(run.curve(name)) for run in runs]
    steps = sorted(set(curves[0]).intersection(*curves[1:])) if curves else []
    return steps, np.array([[curve[step] for step in steps] for curve in curves])


def _curve_panel(kind: str, name: str, group: list[Cell], several: bool) -> list[Panel]:
    lines = []
    for cell in group:
        steps, values = _by_step(cell.runs or cell.others, name)
        if steps:
            lines.append((cell, steps, values))
    if not lines:
        return []
    names = [cell.name for cell, _, _ in lines]

    def draw(axis: Any) -> None:
        for cell, steps, values in lines:
            style = _style(cell, names)
            if len(values) > 1:
                axis.fill_between(
                    steps, values.min(axis=0), values.max(axis=0), color=style["color"], alpha=0.18, lw=0
                )
            marker = {"marker": "o", "ms": 3} if len(steps) < 15 else {}
            axis.plot(steps, values.mean(axis=0), label=_label(cell, len(values)), **style, **marker)
        axis.set(xlabel="step", ylabel="training loss" if kind == "loss" else f"validation {group[0].task.metric}")
        axis.set_ylim(bottom=min(0.0, min(float(values.min()) for _, _, values in lines)))
        axis.legend()

    about = ", ".join(f"{cell.name} ends at {values.mean(axis=0)[-1]:.3f}" for cell, _, values in lines)
    return [Panel(kind, _title(group[0], several), about, draw)]


def _label(cell: Cell, count: int) -> str:
    seeds = [run.specification["seed"] for run in (cell.runs or cell.others)]
    return f"{cell.name}, " + (f"{count} seeds" if count > 1 else f"seed {seeds[0]}")


def _fraction_panels(cells: Sequence[Cell], bottom: dict[tuple[str, str], float]) -> list[Panel]:
    """Score by fraction: a panel a task, a line an arm, a band over seeds."""
    groups: dict[tuple, dict[str, dict[float, tuple[float, ...]]]] = defaultdict(lambda: defaultdict(dict))
    members: dict[tuple, Cell] = {}
    for cell in cells:
        if cell.scores:
            s = cell.specification
            key = (s["task"], s["protocol"], s["split"], s["backbone"], s.get("max_eval_items"))
            groups[key][cell.name][s["fraction"]] = cell.scores
            members.setdefault(key, cell)
    panels = []
    for key, arms in groups.items():
        lines = {name: points for name, points in arms.items() if len(points) > 1}
        if lines:
            panels.append(_fraction_panel(members[key], lines, bottom.get((key[0], key[2]))))
    return panels


def _fraction_panel(cell: Cell, arms: dict[str, dict[float, tuple[float, ...]]], floor: float | None) -> Panel:
    places = sorted({place for points in arms.values() for place in points})
    labels = [f"{100 * place:g}%" for place in places]

    def draw(axis: Any) -> None:
        for name, points in arms.items():
            found = sorted(points)
            at = [places.index(place) for place in found]
            values = [100 * np.array(points[place]) for place in found]
            color = arm_color(name, arms)
            axis.fill_between(at, [v.min() for v in values], [v.max() for v in values], color=color, alpha=0.18, lw=0)
            axis.plot(at, [v.mean() for v in values], color=color, marker="o", ms=4, lw=1.7, label=name)
        if floor is not None:
            axis.axhline(100 * floor, color=INK, ls=":", lw=1, label="floor")
        axis.set_xticks(range(len(places)), labels)
        axis.set(xlabel="of the training data", ylabel=f"{cell.task.metric} x 100")
        axis.legend()

    about = "; ".join(
        f"{name}: "
        + ", ".join(f"{percent(float(np.mean(points[p])))} at {labels[places.index(p)]}" for p in sorted(points))
        for name, points in arms.items()
    )
    return Panel("fractions", short_name(cell.task), about, draw)


def _calibration_panel(group: list[Cell], several: bool) -> list[Panel]:
    found = [(cell, cell.calibration) for cell in group if cell.calibration is not None]
    if not found:
        return []

    def draw(axis: Any) -> None:
        axis.plot([0, 100], [0, 100], color=INK, ls=":", lw=1)
        for cell, calibration in found:
            sure, right, count = np.array(calibration.bins).T
            style = _style(cell, [c.name for c, _ in found])
            axis.plot(100 * sure, 100 * right, label=f"{cell.name}, ECE {percent(calibration.error)}", **style)
            axis.scatter(100 * sure, 100 * right, s=4 + 60 * count / count.sum(), color=style["color"], lw=0)
        axis.set(xlabel="confidence x 100", ylabel="accuracy x 100", ylim=(-3, 103))
        axis.legend(loc="upper left")

    about = ", ".join(f"{cell.name}: expected calibration error {percent(c.error)}" for cell, c in found)
    return [Panel("calibration", _title(group[0], several), about, draw)]


def _confusable(cell: Cell) -> bool:
    return cell.answers is not None and not cell.task.regression


def confusion(cell: Cell) -> np.ndarray:
    """How often each class (row) was given each class (column), summed over seeds; of pieces where the task votes."""
    assert cell.answers is not None
    assert cell.truth is not None
    assert cell.task.labels is not None
    truth = np.tile(cell.truth, len(cell.answers))
    return confusion_matrix(truth, cell.answers.ravel(), labels=range(len(cell.task.labels)))


def _short(label: str) -> str:
    return label if len(label) <= 22 else label[:21] + "…"


def _confusion_panel(cell: Cell, several: bool) -> Panel:
    from matplotlib.collections import PatchCollection
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Rectangle

    counts, labels = confusion(cell), cell.task.labels or ()
    present = np.flatnonzero(
        counts.sum(axis=0) + counts.sum(axis=1)
    )  # classes that neither occur nor are given: left out
    counts, labels = counts[np.ix_(present, present)], tuple(_short(labels[i]) for i in present)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)

    long = max(map(len, labels)) > 5
    named = len(labels) <= 12
    places = np.arange(len(labels)) + 0.5

    def draw(axis: Any) -> None:
        found = list(zip(*np.nonzero(counts), strict=True))
        squares = [Rectangle((given, true), 1, 1) for true, given in found]
        colors = [(*to_rgb(COLORS[0]), 0.08 + 0.6 * shares[place]) for place in found]
        axis.add_collection(PatchCollection(squares, facecolors=colors, linewidths=0))
        for true, given in found if len(labels) <= 6 else ():
            text = f"{100 * shares[true, given]:.0f}"
            axis.text(given + 0.5, true + 0.5, text, ha="center", va="center", fontsize=8, color=INK)
        axis.set(xlim=(0, len(labels)), ylim=(len(labels), 0), xlabel="given", ylabel="true")
        axis.set_xticks(places if named else [], labels if named else [], rotation=40 if long else 0)
        axis.set_yticks(places if named else [], labels if named else [])
        if long:
            for tick in axis.get_xticklabels():
                tick.set(ha="right", rotation_mode="anchor")
        axis.grid(visible=False)

    about = f"{cell.name}: per cent of each true class; {percent(float(np.trace(counts) / counts.sum()))} right"
    width = 0.07 * max(map(len, labels)) if named else 0.0
    margins = (0.4 + width, 0.45 + (0.66 * width if long and named else 0.0))
    return Panel("confusion", f"{_title(cell, several)}: {cell.name}", about, draw, (3.9, 3.4), margins)


def _comparison_panels(tests: Sequence[ArmComparison]) -> list[Panel]:
    """Differences with their intervals: a panel a pair of arms, a line a task."""
    families: dict[tuple, list[ArmComparison]] = defaultdict(list)
    for test in tests:
        if pretraining_step(test.first.specification["backbone"]) is None:
            families[test.first.name, test.second.name, test.first.column[1:]].append(test)
    several = len({key[2][:3] for key in families}) > 1
    return [_comparison_panel(members, several) for members in families.values()]


def _comparison_panel(members: list[ArmComparison], several: bool) -> Panel:
    first = members[0]

    def draw(axis: Any) -> None:
        axis.axvline(0, color=INK, lw=1)
        for place, test in enumerate(members):
            c, sure = test.comparison, test.p_holm < 0.05
            color = COLORS[0] if c.difference > 0 else COLORS[1]
            axis.plot([100 * c.low, 100 * c.high], [place, place], color=color, lw=2.2, alpha=1 if sure else 0.55)
            axis.plot(100 * c.difference, place, "o", ms=6, color=color, mfc=color if sure else "none")
        axis.set_yticks(range(len(members)), [short_name(test.first.task) for test in members])
        axis.set(ylim=(len(members) - 0.4, -0.6), xlabel="points (x 100)")

    about = "; ".join(
        f"{short_name(t.first.task)} {100 * t.comparison.difference:+.1f} [{100 * t.comparison.low:.1f}, "
        f"{100 * t.comparison.high:.1f}], corrected p {t.p_holm:.2g}"
        for t in members
    )
    where = _title(first.first, several).partition("\n")[2]
    share = first.first.specification["fraction"]
    width = 0.07 * max(len(short_name(test.first.task)) for test in members)
    title = f"{first.first.name} − {first.second.name}" + ("" if share == 1 else f", {100 * share:g}% data")  # noqa: RUF001
    return Panel(
        "comparisons",
        title + (f"\n{where}" if where else ""),
        about,
        draw,
        (3.9, 0.9 + 0.3 * len(members)),
        (0.3 + width, 0.48),
    )
