"""Score by step of pre-training -> panels: the paper's Figure 3."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from .cells import Floor
from .formatting import bracketed, percent, share_of_data, short_name, shown_backbone
from .panels import COLORS, INK, Panel, arm_style, metric_name
from .pretraining import EarlyGain, Line, Reference, Trajectory, early_gain, step_label
from .statistics import Interval

_LETTER = 0.028  # of the axis: the width of a letter of a label
_LINEAR = 0.6  # decades that the axis gives to the steps from 0 to the first


def pretraining_panels(found: Sequence[Trajectory], floors: Iterable[Floor]) -> list[Panel]:
    """A panel a task: a line an arm with 95% intervals, and what does not depend on the step as lines across."""
    bottom = {(floor.task.name, floor.split): floor.score for floor in floors}
    where = {(one.series, one.protocol, one.split) for one in found}
    panels = [_panel(one, bottom.get((one.task.name, one.split)), len(where) > 1) for one in found]
    if len(where) != 1:
        return panels
    series, protocol, split = where.pop()
    told = f"checkpoints of {shown_backbone(series)}, protocol {protocol}, split {split}; bars: 95% intervals"
    return [replace(panel, where=told) for panel in panels]


def _panel(one: Trajectory, floor: float | None, several: bool) -> Panel:
    def draw(axis: Any) -> None:
        for line in one.lines:
            _draw_line(axis, line)
        for number, reference in enumerate(one.references):
            color = COLORS[1] if reference.random else COLORS[(7, 2, 3, 4)[number % 4]]
            if reference.interval is not None:
                low, high = 100 * reference.interval.low, 100 * reference.interval.high
                axis.axhspan(low, high, color=color, alpha=0.1, lw=0)
            axis.axhline(100 * reference.mean, color=color, ls="--", lw=1.4, label=reference.label)
        if floor is not None:
            axis.axhline(100 * floor, color=INK, ls=":", lw=1, label="floor")
        _lay_out_steps(axis, sorted({point.step for line in one.lines for point in line.points}))
        axis.set(xlabel="steps of pre-training", ylabel=f"{metric_name(one.task.metric)} x 100")
        _add_legend(axis)

    about = "; ".join([_line_text(line) for line in one.lines] + [_reference_text(each) for each in one.references])
    title = short_name(one.task) + share_of_data(one.fraction)
    title += f"\n{shown_backbone(one.series)}, {one.protocol}, {one.split}" if several else ""
    return Panel("pretraining", title, about, draw, (3.9, 3.2))


def _add_legend(axis: Any) -> None:
    """Above everything that is drawn, the lines of arms first."""
    from matplotlib.container import ErrorbarContainer

    handles, labels = axis.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda i: not isinstance(handles[i], ErrorbarContainer))
    low, high = axis.get_ylim()
    axis.set_ylim(low, high + 0.1 * (high - low) * ((len(labels) + 1) // 2))
    axis.legend([handles[i] for i in order], [labels[i] for i in order], loc="upper left", ncols=2, columnspacing=1)


def _draw_line(axis: Any, line: Line) -> None:
    means = [100 * point.mean for point in line.points]
    ends = [point.interval or Interval(point.mean, point.mean, "") for point in line.points]
    bars = [(mean - 100 * end.low, 100 * end.high - mean) for mean, end in zip(means, ends, strict=True)]
    axis.errorbar(
        [point.step for point in line.points], means, yerr=list(zip(*bars, strict=True)), marker="o", ms=4,
        elinewidth=1, capsize=2.5, label=line.arm, **arm_style(line.arm),
    )  # fmt: skip


def _lay_out_steps(axis: Any, steps: list[int]) -> None:
    """Logarithmic from the first step after 0 on, with room for 0. Names the steps that there is room for."""
    from matplotlib.ticker import NullLocator

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
    axis.xaxis.set_minor_locator(NullLocator())


def _line_text(line: Line) -> str:
    scores = ", ".join(f"{percent(point.mean)} at {step_label(point.step)}" for point in line.points)
    return f"{line.arm}: {scores}; {_gain_text(early_gain(line))}"


def _gain_text(gain: EarlyGain) -> str:
    if gain.share is None or gain.share_low is None or gain.share_high is None:
        return f"share of the gain at 2% of the steps: none, {gain.why_no_share}"
    between = bracketed(Interval(gain.share_low, gain.share_high, gain.over))
    return f"share of the gain at 2% of the steps: {percent(gain.share)}%{between}"


def _reference_text(reference: Reference) -> str:
    return f"{reference.label}: {percent(reference.mean)}{bracketed(reference.interval)}"
