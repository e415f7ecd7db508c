"""Cells -> panels: differences of arms, training curves, score by share of the data, calibration, confusion.

A panel knows how to draw itself on a matplotlib axis; [`figures`] puts panels into files and pages.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..arms import ARMS
from ..backbones import pretraining_step
from ..runs.run import Run
from .cells import Cell, Floor
from .comparisons import ArmComparison
from .formatting import grouped, percent, setup, share_of_data, short_name, shown_backbone

INK, LINE = "#1d2430", "#c9ced6"
# Okabe and Ito's palette for color-blind readers, darker where it is pale on white. The page has them as --c0, ...
COLORS = ("#0072b2", "#d55e00", "#009e73", "#b85c94", "#c78a00", "#3a9bd6", "#7a5c00", "#5b6472")
_COLOR_OF = {"bert": 0, "rand": 1, "re_emb": 2, "unused": 3, "random_body": 7, "random_tokens": 5}
_COLOR_OF |= {"frozen": 6, "frozen_rand": 6, "frozen_norm": 7, "frozen_norm_rand": 7, "lora": 4, "lora_rand": 4}
_COLOR_OF |= {"shuffled": 4, "shift_1000": 5, "shift_1000_rand": 1, "random_shift": 3, "random_shift_rand": 4}
KINDS = {
    "comparisons": "What separates two arms",
    "loss": "Training loss (Figure 2 of the paper)",
    "validation": "Validation score while training",
    "plateau": "Steps until the plateau is left",
    "pretraining": "Score by step of pre-training (Figure 3 of the paper)",
    "fractions": "Score by share of the training data",
    "layers": "Probes: score by layer",
    "sizes": "Probes: score by number of training items",
    "calibration": "Calibration",
    "confusion": "Confusion",
}
_METRICS = {"mcc": "Matthews correlation", "f1": "F1", "macro_f1": "macro F1", "spearman": "Spearman correlation"}
_METRICS |= {"pearson": "Pearson correlation", "accuracy": "accuracy", "balanced_accuracy": "balanced accuracy"}


@dataclass(frozen=True)
class Panel:
    """One small picture: `kind` of [`KINDS`], what it shows in words, and how it is drawn on a matplotlib axis.

    `size` and `margins` (left and below, for labels) are in inches: a layout that measures every text takes a second
    a panel. `where` names backbone, protocol and split if all panels share them.
    """

    kind: str
    title: str
    about: str
    draw: Callable[[Any], None]
    size: tuple[float, float] = (3.9, 2.8)
    margins: tuple[float, float] = (0.62, 0.48)
    where: str = ""


def make_panels(cells: Sequence[Cell], floors: Iterable[Floor], tests: Sequence[ArmComparison]) -> list[Panel]:
    """Every panel that the cells give, kind by kind; for checkpoints see [`pretraining_panels`]."""
    bottom = {(floor.task.name, floor.split): floor.score for floor in floors}
    trained = [c for c in cells if c.chosen and not c.is_baseline and not c.is_probe and not _of_checkpoint(c)]
    columns = list(grouped(trained, lambda cell: cell.column).values())
    several = len({setup(cell.specification) for cell in trained}) > 1
    panels = _comparison_panels(tests)
    for kind in ("loss", "validation"):
        for column in columns:
            panels += _curve_panel(kind, column, several)
    panels += _fraction_panels(trained, bottom)
    most = {  # what a model says of an item is shown for the most data alone
        key: max(cell.specification["fraction"] for cell in members)
        for key, members in grouped(trained, _without_fraction).items()
    }
    full = [[c for c in column if c.specification["fraction"] == most[_without_fraction(c)]] for column in columns]
    for column in full:
        panels += _calibration_panel(column, several)
    panels += [
        _confusion_panel(cell, several)
        for column in full
        for cell in column
        if cell.answers is not None and not cell.task.regression
    ]
    if several or not trained:
        return panels
    s = trained[0].specification
    where = f"{shown_backbone(s['backbone'])}, protocol {s['protocol']}, split {s['split']}"
    return [replace(panel, where=where) for panel in panels]


def _of_checkpoint(cell: Cell) -> bool:
    return pretraining_step(cell.specification["backbone"]) is not None


def _without_fraction(cell: Cell) -> tuple:
    return (cell.column[:4], cell.name)


def panel_title(cell: Cell, several: bool) -> str:
    """Task and share of the data; with `several` setups also backbone, protocol and split."""
    where = f"\n{setup(cell.specification)}" if several else ""
    return short_name(cell.task) + share_of_data(cell.specification["fraction"]) + where


def metric_name(name: str) -> str:
    """A metric in words for an axis."""
    return _METRICS.get(name, name)


def arm_style(name: str) -> dict[str, Any]:
    """Color and line of an arm, the same in every figure. A random start is dashed."""
    place = _COLOR_OF.get(name, zlib.crc32(name.encode()) % len(COLORS))
    random = name in ARMS and ARMS[name].start == "random"
    return {"color": COLORS[place], "ls": "--" if random else "-", "lw": 1.7}


def _by_step(runs: Sequence[Run], name: str) -> tuple[list[int], np.ndarray]:
    """Steps that all runs logged, and the values there, `(runs, steps)`."""
    curves = [dict(run.curve(name)) for run in runs]
    steps = sorted(set(curves[0]).intersection(*curves[1:])) if curves else []
    return steps, np.array([[curve[step] for step in steps] for curve in curves])


def _curve_panel(kind: str, column: list[Cell], several: bool) -> list[Panel]:
    metric = column[0].task.metric
    found = [(c, *_by_step(c.runs or c.others, "loss" if kind == "loss" else f"eval_{metric}")) for c in column]
    lines = [(cell, steps, values) for cell, steps, values in found if steps]
    if not lines:
        return []

    def draw(axis: Any) -> None:
        for cell, steps, values in lines:
            style = arm_style(cell.name)
            if len(values) > 1:
                band = values.min(axis=0), values.max(axis=0)
                axis.fill_between(steps, *band, color=style["color"], alpha=0.18, lw=0)
            marker = {"marker": "o", "ms": 3} if len(steps) < 15 else {}
            axis.plot(steps, values.mean(axis=0), label=_seeds_label(cell, len(values)), **style, **marker)
        label = "training loss" if kind == "loss" else f"{metric_name(metric)} on validation"
        axis.set(xlabel="training step", ylabel=label)
        axis.set_ylim(bottom=min(0.0, min(float(values.min()) for _, _, values in lines)))
        axis.legend()

    about = ", ".join(f"{cell.name} ends at {values.mean(axis=0)[-1]:.3f}" for cell, _, values in lines)
    return [Panel(kind, panel_title(column[0], several), about, draw)]


def _seeds_label(cell: Cell, count: int) -> str:
    seeds = [run.specification["seed"] for run in (cell.runs or cell.others)]
    return f"{cell.name}, " + (f"{count} seeds" if count > 1 else f"seed {seeds[0]}")


def _fraction_panels(cells: Sequence[Cell], bottom: dict[tuple[str, str], float]) -> list[Panel]:
    """Score by fraction: a panel a task, a line an arm, a band over seeds."""
    done = [cell for cell in cells if cell.scores]
    panels = []
    for members in grouped(done, lambda cell: (*cell.column[:4], cell.column[5])).values():
        arms = grouped(members, lambda cell: cell.name)
        lines = {name: sorted(points, key=_fraction) for name, points in arms.items() if len(points) > 1}
        if lines:
            panels.append(_fraction_panel(lines, bottom.get((members[0].task.name, members[0].column[3]))))
    return panels


def _fraction(cell: Cell) -> float:
    return cell.specification["fraction"]


def _fraction_panel(lines: dict[str, list[Cell]], floor: float | None) -> Panel:
    places = sorted({_fraction(cell) for points in lines.values() for cell in points})
    labels = [f"{100 * place:g}%" for place in places]
    task = next(iter(lines.values()))[0].task

    def draw(axis: Any) -> None:
        for name, points in lines.items():
            at = [places.index(_fraction(cell)) for cell in points]
            values = [100 * np.array(cell.scores) for cell in points]
            style = arm_style(name)
            band = [v.min() for v in values], [v.max() for v in values]
            axis.fill_between(at, *band, color=style["color"], alpha=0.18, lw=0)
            axis.plot(at, [v.mean() for v in values], marker="o", ms=4, label=name, **style)
        if floor is not None:
            axis.axhline(100 * floor, color=INK, ls=":", lw=1, label="floor")
        axis.set_xticks(range(len(places)), labels)
        axis.set(xlabel="share of the training data", ylabel=f"{metric_name(task.metric)} x 100")
        axis.legend()

    about = "; ".join(
        f"{name}: " + ", ".join(f"{percent(cell.mean)} at {100 * _fraction(cell):g}%" for cell in points)
        for name, points in lines.items()
    )
    return Panel("fractions", short_name(task), about, draw)


def _calibration_panel(column: list[Cell], several: bool) -> list[Panel]:
    found = [(cell, cell.calibration) for cell in column if cell.calibration is not None]
    if not found:
        return []

    def draw(axis: Any) -> None:
        axis.plot([0, 100], [0, 100], color=INK, ls=":", lw=1)
        for cell, calibration in found:
            sure, right, count = np.array(calibration.bins).T
            style = arm_style(cell.name)
            axis.plot(100 * sure, 100 * right, label=f"{cell.name}, ECE {percent(calibration.error)}", **style)
            axis.scatter(100 * sure, 100 * right, s=4 + 60 * count / count.sum(), color=style["color"], lw=0)
        axis.set(xlabel="confidence of the model, %", ylabel="answers that are right, %", ylim=(-3, 103))
        axis.legend(loc="upper left")

    about = ", ".join(f"{cell.name}: expected calibration error {percent(c.error)}" for cell, c in found)
    return [Panel("calibration", panel_title(column[0], several), about, draw)]


def confusion(cell: Cell) -> np.ndarray:
    """How often each class (row) was given each class (column), summed over seeds; of pieces where the task votes."""
    from sklearn.metrics import confusion_matrix

    assert cell.answers is not None
    assert cell.truth is not None
    assert cell.task.labels is not None
    truth = np.tile(cell.truth, len(cell.answers))
    return confusion_matrix(truth, cell.answers.ravel(), labels=range(len(cell.task.labels)))


def _short(label: str) -> str:
    return label if len(label) <= 22 else label[:21] + "…"


def _confusion_panel(cell: Cell, several: bool) -> Panel:
    counts = confusion(cell)
    present = np.flatnonzero(counts.sum(axis=0) + counts.sum(axis=1))  # classes that occur or are given
    counts, labels = counts[np.ix_(present, present)], [_short((cell.task.labels or ())[i]) for i in present]
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    long, named = max(map(len, labels)) > 5, len(labels) <= 12

    def draw(axis: Any) -> None:
        from matplotlib.colors import LinearSegmentedColormap, to_rgb
        from sklearn.metrics import ConfusionMatrixDisplay

        blue = to_rgb(COLORS[0])
        colors = LinearSegmentedColormap.from_list("share", [(*blue, 0.0), (*blue, 0.7)])  # the page shines through
        ConfusionMatrixDisplay(shares, display_labels=labels).plot(
            ax=axis, cmap=colors, colorbar=False, include_values=len(labels) <= 6, values_format=".0f",
            text_kw={"color": INK, "fontsize": 8},
            im_kw={"interpolation": "none", "aspect": "auto", "vmin": 0, "vmax": 100},
        )  # fmt: skip
        axis.set(xlabel="class given", ylabel="true class")
        if not named:
            axis.set(xticks=[], yticks=[])
        elif long:
            for tick in axis.get_xticklabels():
                tick.set(ha="right", rotation=40, rotation_mode="anchor")
        axis.grid(visible=False)

    about = f"{cell.name}: per cent of each true class; {percent(float(np.trace(counts) / counts.sum()))} right"
    width = 0.07 * max(map(len, labels)) if named else 0.0
    margins = (0.4 + width, 0.45 + (0.66 * width if long and named else 0.0))
    return Panel("confusion", f"{panel_title(cell, several)}: {cell.name}", about, draw, (3.9, 3.4), margins)


def _comparison_panels(tests: Sequence[ArmComparison]) -> list[Panel]:
    """Differences with their intervals: a panel a pair of arms, a line a task."""
    shown = [test for test in tests if not _of_checkpoint(test.first)]
    several = len({test.first.column[1:4] for test in shown}) > 1
    shown = [test for test in shown if not test.first.is_probe or test.first.specification["items"] == _items(shown)]
    families = grouped(shown, lambda test: (test.first.name, test.second.name, test.first.column[1:]))
    return [_comparison_panel(members, several) for members in families.values()]


def _items(tests: Iterable[ArmComparison]) -> int:
    """The training size at which most pairs of probes are compared; the largest among equals."""
    sizes = grouped((t for t in tests if t.first.is_probe), lambda t: t.first.specification["items"])
    return max((size for size in sizes if size != "all"), key=lambda size: (len(sizes[size]), size), default=0)


def _comparison_panel(members: list[ArmComparison], several: bool) -> Panel:
    first, tasks = members[0].first, [short_name(test.first.task) for test in members]

    def draw(axis: Any) -> None:
        axis.axvline(0, color=INK, lw=1)
        for place, test in enumerate(members):
            c, sure = test.comparison, test.p_holm < 0.05
            color = COLORS[0] if c.difference > 0 else COLORS[1]
            axis.plot([100 * c.low, 100 * c.high], [place, place], color=color, lw=2.2, alpha=1 if sure else 0.55)
            axis.plot(100 * c.difference, place, "o", ms=6, color=color, mfc=color if sure else "none")
        axis.set_yticks(range(len(members)), tasks)
        axis.set(ylim=(len(members) - 0.4, -0.6), xlabel="difference of scores x 100")

    about = "; ".join(
        f"{task} {percent(t.comparison.difference, '+')} [{percent(t.comparison.low)}, {percent(t.comparison.high)}], "
        f"corrected p {t.p_holm:.2g}"
        for task, t in zip(tasks, members, strict=True)
    )
    title = f"{first.name} − {members[0].second.name}" + share_of_data(first.specification["fraction"])  # noqa: RUF001
    title += f"\n{setup(first.specification)}" if several else ""
    margins = (0.3 + 0.07 * max(map(len, tasks)), 0.48)
    return Panel("comparisons", title, about, draw, (3.9, 0.9 + 0.3 * len(members)), margins)
