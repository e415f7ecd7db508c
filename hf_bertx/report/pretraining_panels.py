"""Score by step of pre-training -> panels: the paper's Figure 3."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .drawing import COLORS, Floors, Kind, Panel, arm_style, draw_floor, panel_title, score_label
from .formatting import setup
from .pretraining import Line, Trajectory, step_label, step_of

PRETRAINING = Kind(
    "pretraining",
    "Score by step of pre-training (Figure 3 of the paper)",
    "Pre-training",
    "Means with 95% intervals: over seeds, or over pre-trainings if there are several; for one run, over test items. "
    "Dashed lines: another backbone or a random start, which do not depend on the step.",
)
_LETTER = 0.028  # width of a letter of a label, as a share of the axis
_LINEAR = 0.6  # width of the axis from step 0 to the first step, in decades


def pretraining_panels(shown: Iterable[Trajectory], floors: Floors) -> list[Panel]:
    """A panel a task: a line an arm with 95% intervals, and what does not depend on the step as lines across."""
    return [_panel(one, floors) for one in shown]


def _panel(one: Trajectory, floors: Floors) -> Panel:
    task = one.cell.task

    def draw(axis: Any) -> None:
        for line in one.lines:
            _draw_line(axis, line)
        for number, (label, cell) in enumerate(one.references):
            color = COLORS[(7, 2, 3, 4)[number % 4]] if step_of(cell) is None else COLORS[1]
            if cell.interval is not None:
                axis.axhspan(100 * cell.interval.low, 100 * cell.interval.high, color=color, alpha=0.1, lw=0)
            axis.axhline(100 * (cell.mean or 0), color=color, ls="--", lw=1.4, label=label)
        draw_floor(axis, one.cell, floors)
        _lay_out_steps(axis, sorted({point.step for line in one.lines for point in line.points}))
        axis.set(xlabel="steps of pre-training (bars: 95% intervals)", ylabel=score_label(task))
        _add_legend(axis)

    series = setup({**one.cell.specification, "backbone": one.series})
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
