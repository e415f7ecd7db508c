"""Shared by all figures: panels, kinds of figures, colors of arms, lines with bands.

A panel knows how to draw itself on a matplotlib axis; [`figures`] puts panels into files and pages.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..tasks import Task
from .cells import Cell
from .formatting import share_of_data, short_name

INK, LINE, GROUND = "#1d2430", "#c9ced6", "#ffffff"
# Okabe and Ito's palette for color-blind readers, darker where it is pale on white. The page has them as --c0, ...
COLORS = ("#0072b2", "#d55e00", "#009e73", "#b85c94", "#c78a00", "#3a9bd6", "#7a5c00", "#5b6472")
# Color and line of an arm in every figure. No two arms share both; a random start is dashed or dotted.
_STYLE_OF = {
    "bert": (0, "-"), "rand": (1, "--"), "re_emb": (2, "-"), "unused": (3, "-"), "random_body": (7, "-"),
    "random_tokens": (5, "-"), "shuffled": (4, "-"), "frozen": (6, "-"), "frozen_rand": (6, "--"),
    "frozen_norm": (7, "-."), "frozen_norm_rand": (7, "--"), "lora": (4, "-."), "lora_rand": (4, "--"),
    "shift_1000": (5, "-."), "shift_1000_rand": (1, ":"), "random_shift": (3, "-."), "random_shift_rand": (4, ":"),
}  # fmt: skip


BAND = "The band is the 95% interval over seeds."
_METRICS = {"mcc": "Matthews correlation", "f1": "F1", "macro_f1": "macro F1", "spearman": "Spearman correlation",
            "pearson": "Pearson correlation"}  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """A kind of figure: a section of the page.

    Args:
        name: of the section, and of the files of its picture.
        short: its name in the page's navigation.
        picture: the name of the files, if several kinds share a picture.
    """

    name: str
    title: str
    short: str
    caption: str
    picture: str = ""


@dataclass(frozen=True)
class Panel:
    """One small picture: its kind, a title, and a function that draws it on a matplotlib axis.

    `setup` names backbone, protocol and split if the title does not. `size` and `margins` (left and below, for labels)
    are in inches: a layout that measures every text takes a second a panel.
    """

    kind: Kind
    title: str
    draw: Callable[[Any], None]
    setup: str = ""
    size: tuple[float, float] = (3.9, 2.8)
    margins: tuple[float, float] = (0.62, 0.48)


def with_setups(panels: Sequence[Panel]) -> tuple[list[Panel], str]:
    """Panels that are shown together: if their setups differ, each has its own below its title.

    Returns:
        The panels, and a note on the setup that all share; empty if they differ.
    """
    first = panels[0].setup
    if all(panel.setup == first for panel in panels):
        return list(panels), first and f"Backbone, protocol, split: {first}"
    return [replace(panel, title=f"{panel.title}\n{panel.setup}") for panel in panels], ""


def panel_title(cell: Cell) -> str:
    """Task and share of the data."""
    return short_name(cell.task) + share_of_data(cell.fraction)


def metric_name(name: str) -> str:
    """A metric in words for an axis."""
    return _METRICS.get(name, name.replace("_", " "))


def score_label(task: Task, split: str = "") -> str:
    """The axis of scores on a split, by default the one that the task is tested on."""
    return f"{metric_name(task.metric)} on {split or task.test_split} x 100"


def arm_style(name: str) -> dict[str, Any]:
    """Color and line of an arm or a baseline, the same in every figure."""
    color, line = _STYLE_OF.get(name, (zlib.crc32(name.encode()) % len(COLORS), "-"))
    return {"color": COLORS[color], "ls": line, "lw": 1.7}


def draw_line(axis: Any, name: str, at: Sequence[float], mean: Any, low: Any, high: Any, **line: Any) -> None:
    """Means of an arm as a line, with a band from `low` to `high`."""
    style = arm_style(name)
    axis.fill_between(at, low, high, color=style["color"], alpha=0.18, lw=0)
    axis.plot(at, mean, **{"label": name, **style, **line})


def draw_legend(axis: Any, **options: Any) -> None:
    """The legend of a panel; of more than eight lines in two columns above these, which it would hide."""
    rows = (len(axis.get_legend_handles_labels()[1]) + 1) // 2
    if rows > 4:
        low, high = axis.get_ylim()
        axis.set_ylim(low, high + 0.12 * rows * (high - low))
        options = {"loc": "upper left", "ncols": 2, "fontsize": 6.5, "labelspacing": 0.2, "columnspacing": 1}
    axis.legend(**options)


def draw_floor(axis: Any, cell: Cell) -> None:
    """The score of the best constant answer to the items of a cell, as a dotted line."""
    if cell.floor is not None:
        axis.axhline(100 * cell.floor.mean, color=INK, ls=":", lw=1, label="floor")
