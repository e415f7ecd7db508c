"""Score by step of pre-training -> panels: the paper's Figure 3."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from .drawing import COLORS, Floors, Kind, Panel, arm_style, draw_floor, score_label
from .formatting import share_of_data, short_name, shown_backbone
from .pretraining import Line, Trajectory, step_label

PRETRAINING = Kind(
    "pretraining",
    "Score by step of pre-training (Figure 3 of the paper)",
    "Pre-training",
    "Means with 95% intervals: over seeds, or over pre-trainings if there are several; for one run, over test items. "
    "Dashed lines: another backbone or a random start, which do not depend on the step.",
)
_LETTER = 0.028  # width of a letter of a label, as a share of the axis
_LINEAR = 0.6  # width of the axis from step 0 to the first step, in decades


def pretraining_panels(shown: Sequence[Trajectory], floor_of: Floors) -> list[Panel]:
    """A panel a task: a line an arm with 95% intervals, and what does not depend on the step as lines across."""
    setups = {(one.series, one.protocol, one.split) for one in shown}
    panels = [_panel(one, floor_of.get((one.task.name, one.split)), len(setups) > 1) for one in shown]
    if len(setups) != 1:
        return panels
    series, protocol, split = setups.pop()
    note = f"checkpoints of {shown_backbone(series)}, protocol {protocol}, split {split}; bars: 95% intervals"
    return [replace(panel, shared=note) for panel in panels]


def _panel(one: Trajectory, floor: float | None, several: bool) -> Panel:
    def draw(axis: Any) -> None:
        for line in one.lines:
            _draw_line(axis, line)
        for number, reference in enumerate(one.references):
            color = COLORS[1] if reference.random else COLORS[(7, 2, 3, 4)[number % 4]]
            if reference.interval is not None:
                ends = 100 * reference.interval.low, 100 * reference.interval.high
                axis.axhspan(*ends, color=color, alpha=0.1, lw=0)
            axis.axhline(100 * reference.mean, color=color, ls="--", lw=1.4, label=reference.label)
        draw_floor(axis, floor)
        _lay_out_steps(axis, sorted({point.step for line in one.lines for point in line.points}))
        axis.set(xlabel="steps of pre-training", ylabel=score_label(one.task))
        _add_legend(axis)

    title = short_name(one.task) + share_of_data(one.fraction)
    title += f"\n{shown_backbone(one.series)}, {one.protocol}, {one.split}" if several else ""
    return Panel(PRETRAINING, title, draw, (3.9, 3.2))


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
