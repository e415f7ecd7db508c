"""Cells -> panels: differences of arms, training curves, score by share of the data, calibration, confusion."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..backbones import pretraining_step
from ..runs.run import Run
from .cells import Cell
from .comparisons import ArmComparison, at_main_size
from .drawing import (
    INK,
    Kind,
    Panel,
    arm_style,
    draw_floor,
    draw_legend,
    draw_line,
    metric_name,
    panel_title,
    score_label,
)
from .formatting import grouped, percent, share_of_data, short_name, shortened

COMPARISONS = Kind(
    "comparisons",
    "Differences between two arms",
    "Differences",
    "Mean difference with its 95% interval: over test items and seeds if both arms have several seeds, else over "
    "test items alone. A filled point has a corrected p below 0.05.",
)
LOSS = Kind(
    "loss",
    "Training loss (Figure 2 of the paper)",
    "Training loss",
    "Mean over seeds, up to the last step that all of them logged. The band goes from the lowest to the highest seed.",
    "loss_curves",
)
VALIDATION = Kind(
    "validation",
    "Validation score during training",
    "Validation",
    "As above. A task that is tested on its validation set is not evaluated during training.",
    "loss_curves",
)
FRACTIONS = Kind(
    "fractions",
    "Score by share of the training data",
    "Less data",
    "Each point is the mean over seeds; the band goes from the lowest to the highest.",
)
CALIBRATION = Kind(
    "calibration",
    "Calibration",
    "Calibration",
    "Accuracy on test items by confidence, in 15 bins of equal width, all seeds together. The area of a point is the "
    "share of items. On the dotted line a model is as sure as it is right.",
)
CONFUSION = Kind(
    "confusion",
    "Confusion",
    "Confusion",
    "Share of each true class (row), over all seeds. Classes that do not occur are left out.",
)


def training_panels(cells: Iterable[Cell], tests: Iterable[ArmComparison]) -> list[Panel]:
    """Differences between arms, and curves of training. For checkpoints see [`pretraining_panels`]."""
    return [*_comparison_panels(tests), *curve_panels(_trained(cells))]


def curve_panels(cells: Sequence[Cell]) -> list[Panel]:
    """Training loss and validation score by step: a panel a column, a line an arm."""
    curves = [_curve_panel(kind, column) for kind in (LOSS, VALIDATION) for column in _columns(cells)]
    return [panel for panel in curves if panel is not None]


def answer_panels(cells: Iterable[Cell]) -> list[Panel]:
    """Score by share of the data, calibration and confusion."""
    trained = _trained(cells)
    # Calibration and confusion are shown for the largest share of the data alone.
    by_arm = grouped(trained, lambda cell: (cell.column._replace(fraction=0, max_eval_items=None), cell.name)).values()
    largest = {id(c) for arm in by_arm for c in arm if c.fraction == max(other.fraction for other in arm)}
    columns = _columns([cell for cell in trained if id(cell) in largest])
    shown = [cell for column in columns for cell in column if cell.answers is not None and cell.task.one_label]
    return [
        *_fraction_panels(trained),
        *(_calibration_panel(column) for column in columns if any(cell.calibration for cell in column)),
        *(_confusion_panel(cell) for cell in shown),
    ]


def _trained(cells: Iterable[Cell]) -> list[Cell]:
    return [c for c in cells if c.chosen and not c.is_baseline and not c.is_probe and not _is_checkpoint(c)]


def _is_checkpoint(cell: Cell) -> bool:
    return pretraining_step(cell.specification["backbone"]) is not None


def _columns(cells: Sequence[Cell]) -> list[list[Cell]]:
    return list(grouped(cells, lambda cell: cell.column).values())


def _by_step(runs: Sequence[Run], name: str) -> tuple[list[int], np.ndarray]:
    """Steps that all runs logged, and the values there, `(runs, steps)`."""
    curves = [dict(run.curve(name)) for run in runs]
    steps = sorted(set(curves[0]).intersection(*curves[1:]))
    return steps, np.array([[curve[step] for step in steps] for curve in curves])


def _curve_panel(kind: Kind, column: list[Cell]) -> Panel | None:
    metric = column[0].task.metric
    logged = [(c, *_by_step(c.runs or c.others, "loss" if kind is LOSS else f"eval_{metric}")) for c in column]
    lines = [(cell, steps, values) for cell, steps, values in logged if steps]
    if not lines:
        return None

    def draw(axis: Any) -> None:
        for cell, steps, values in lines:
            seed = (cell.runs or cell.others)[0].specification["seed"]
            seeds = f"{len(values)} seeds" if len(values) > 1 else f"seed {seed}"
            marker = {"marker": "o", "ms": 3} if len(steps) < 15 else {}
            bands = values.mean(axis=0), values.min(axis=0), values.max(axis=0)
            draw_line(axis, cell.name, steps, *bands, label=f"{cell.name}, {seeds}", **marker)
        label = "training loss" if kind is LOSS else f"{metric_name(metric)} on validation"
        axis.set(xlabel="training step", ylabel=label)
        axis.set_ylim(bottom=min(0.0, min(float(values.min()) for _, _, values in lines)))
        draw_legend(axis)

    return Panel(kind, panel_title(column[0]), draw, column[0].column.setup)


def _fraction_panels(cells: Sequence[Cell]) -> list[Panel]:
    """Score by fraction: a panel a task, a line an arm, a band over seeds."""
    panels = []
    for cells_of_task in grouped((c for c in cells if c.scores), lambda c: c.column._replace(fraction=0)).values():
        arms = grouped(cells_of_task, lambda cell: cell.name)
        lines = {name: sorted(arm, key=lambda cell: cell.fraction) for name, arm in arms.items() if len(arm) > 1}
        if lines:
            panels.append(_fraction_panel(lines))
    return panels


def _fraction_panel(lines: dict[str, list[Cell]]) -> Panel:
    places = sorted({cell.fraction for cells in lines.values() for cell in cells})
    first = next(iter(lines.values()))[0]

    def draw(axis: Any) -> None:
        for name, cells in lines.items():
            scores = [100 * np.array(cell.scores) for cell in cells]
            bands = ([reduce(each) for each in scores] for reduce in (np.mean, np.min, np.max))
            draw_line(axis, name, [places.index(cell.fraction) for cell in cells], *bands, marker="o", ms=4)
        draw_floor(axis, first)
        axis.set_xticks(range(len(places)), [f"{100 * place:g}%" for place in places])
        axis.set(xlabel="share of the training data", ylabel=score_label(first.task))
        draw_legend(axis)

    return Panel(FRACTIONS, short_name(first.task), draw, first.column.setup)


def _calibration_panel(column: list[Cell]) -> Panel:
    def draw(axis: Any) -> None:
        axis.plot([0, 100], [0, 100], color=INK, ls=":", lw=1)
        for cell, calibration in ((c, c.calibration) for c in column if c.calibration is not None):
            sure, right, count = np.array(calibration.bins).T
            style = arm_style(cell.name)
            axis.plot(100 * sure, 100 * right, label=f"{cell.name}, ECE {percent(calibration.error)}", **style)
            axis.scatter(100 * sure, 100 * right, s=4 + 60 * count / count.sum(), color=style["color"], lw=0)
        axis.set(xlabel="confidence of the model, %", ylabel="correct answers, %", ylim=(-3, 103))
        draw_legend(axis, loc="upper left")

    return Panel(CALIBRATION, panel_title(column[0]), draw, column[0].column.setup)


def confusion(cell: Cell) -> np.ndarray:
    """How often the model predicted each class (column) for each true class (row), summed over seeds; pieces where the
    task votes."""
    from sklearn.metrics import confusion_matrix

    assert cell.answers is not None
    truth = np.tile(cell.truth, len(cell.answers))
    return confusion_matrix(truth, cell.answers.ravel(), labels=range(len(cell.task.labels or ())))


def _confusion_panel(cell: Cell) -> Panel:
    counts = confusion(cell)
    present = np.flatnonzero(counts.sum(axis=0) + counts.sum(axis=1))  # classes that occur or are predicted
    counts, names = counts[np.ix_(present, present)], [(cell.task.labels or ())[i] for i in present]
    labels = [shortened(name, 22) for name in names]
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    longest, named = max(map(len, labels)), len(labels) <= 12

    def draw(axis: Any) -> None:
        from matplotlib.colors import LinearSegmentedColormap, to_rgb
        from sklearn.metrics import ConfusionMatrixDisplay

        color = to_rgb(arm_style(cell.name)["color"])
        colors = LinearSegmentedColormap.from_list("share", [(*color, 0.0), (*color, 0.7)])  # transparent where 0
        ConfusionMatrixDisplay(shares, display_labels=labels).plot(
            ax=axis, cmap=colors, colorbar=False, include_values=len(labels) <= 6, values_format=".0f",
            text_kw={"color": INK, "fontsize": 8},
            im_kw={"interpolation": "none", "aspect": "auto", "vmin": 0, "vmax": 100},
        )  # fmt: skip
        axis.set(xlabel="predicted class", ylabel="true class")
        axis.grid(visible=False)
        if not named:
            axis.set(xticks=[], yticks=[])
        elif longest > 5:
            for tick in axis.get_xticklabels():
                tick.set(ha="right", rotation=40, rotation_mode="anchor")

    width = 0.07 * longest if named else 0.0
    margins = (0.4 + width, 0.45 + (0.66 * width if longest > 5 else 0.0))
    return Panel(CONFUSION, f"{panel_title(cell)}: {cell.name}", draw, cell.column.setup, (3.9, 3.4), margins)


def _comparison_panels(tests: Iterable[ArmComparison]) -> list[Panel]:
    """Differences with their intervals: a panel a pair of arms, a line a task."""
    shown = at_main_size(test for test in tests if not _is_checkpoint(test.first))
    families = grouped(shown, lambda test: (test.first.name, test.second.name, test.first.column._replace(task="")))
    return [_comparison_panel(family) for family in families.values()]


def _comparison_panel(family: list[ArmComparison]) -> Panel:
    first, second = family[0].cells
    tasks = [shortened(short_name(test.first.task), 30) for test in family]
    color = arm_style(first.name)["color"]

    def draw(axis: Any) -> None:
        axis.plot([0, 0], [-0.6, len(tasks) - 0.4], color=INK, lw=1)
        for place, test in enumerate(family):
            c, sure = test.comparison, test.significant
            axis.plot([100 * c.low, 100 * c.high], [place, place], color=color, lw=2.2, alpha=1 if sure else 0.55)
            axis.plot(100 * c.difference, place, "o", ms=6, color=color, mfc=color if sure else "none")
        axis.set_yticks(range(len(tasks)), tasks)
        axis.set(ylim=(len(tasks) - 0.4, -0.6), xlabel="difference of the test score x 100")

    title = f"{first.name} − {second.name}" + share_of_data(first.fraction)  # noqa: RUF001
    margins = (0.3 + 0.07 * max(map(len, tasks)), 0.48)
    return Panel(COMPARISONS, title, draw, first.column.setup, (3.9, 0.9 + 0.3 * len(tasks)), margins)
