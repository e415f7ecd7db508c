"""What all figures share: a panel, the kinds of figures, the colors of arms, lines with bands.

A panel knows how to draw itself on a matplotlib axis; [`figures`] puts panels into files and pages.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..tasks import Task
from .cells import Cell
from .formatting import setup, share_of_data, short_name

Floors = Mapping[tuple[str, str], float]
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


@dataclass(frozen=True)
class Kind:
    """A kind of figure: its title, its name in the page's navigation, and its caption."""

    title: str
    short: str
    caption: str


_BAND = "The band is the 95% interval over seeds."
KINDS = {
    "worth": Kind(
        "What pre-training on text was worth",
        "Worth",
        "Score of the pre-trained start minus that of the random one, with its 95% interval. A filled mark has a "
        "corrected p below 0.05. Text tasks: token ids shifted by 1000.",
    ),
    "comparisons": Kind(
        "Differences between two arms",
        "Differences",
        "Mean difference with its 95% interval: over test items and seeds if both arms have several seeds, else over "
        "test items alone. A filled point has a corrected p below 0.05.",
    ),
    "loss": Kind(
        "Training loss (Figure 2 of the paper)",
        "Training loss",
        "Mean over seeds, up to the last step that all of them logged. The band goes from the lowest to the highest "
        "seed.",
    ),
    "validation": Kind(
        "Validation score during training",
        "Validation",
        "As above. A task that is tested on its validation set is not evaluated during training.",
    ),
    "plateau": Kind(
        "Steps until a run leaves the plateau",
        "Plateau",
        "Kaplan-Meier curves: share of runs whose training loss is still that of the constant answer. A tick marks "
        "the end of runs that never left.",
    ),
    "pretraining": Kind(
        "Score by step of pre-training (Figure 3 of the paper)",
        "Pre-training",
        "Means with 95% intervals: over seeds, or over pre-trainings if there are several; for one run, over test "
        "items. Dashed lines: another backbone or a random start, which do not depend on the step.",
    ),
    "fractions": Kind(
        "Score by share of the training data",
        "Less data",
        "Each point is the mean over seeds; the band goes from the lowest to the highest.",
    ),
    "layers": Kind("Probes: score by layer", "Probes by layer", f"A ridge head on the mean of positions. {_BAND}"),
    "sizes": Kind(
        "Probes: score by number of training items", "Probes by size", f"The layer is chosen on validation. {_BAND}"
    ),
    "calibration": Kind(
        "Calibration",
        "Calibration",
        "Accuracy on test items by confidence, in 15 bins of equal width, all seeds together. The area of a point is "
        "the share of items. On the dotted line a model is as sure as it is right.",
    ),
    "confusion": Kind(
        "Confusion",
        "Confusion",
        "Share of each true class (row), over all seeds. Classes that do not occur are left out.",
    ),
}
_METRICS = {"mcc": "Matthews correlation", "f1": "F1", "macro_f1": "macro F1", "spearman": "Spearman correlation",
            "pearson": "Pearson correlation"}  # fmt: skip


@dataclass(frozen=True)
class Panel:
    """One small picture: `kind` of [`KINDS`], a title, and a function that draws it on a matplotlib axis.

    `size` and `margins` (left and below, for labels) are in inches: a layout that measures every text takes a second
    a panel. `shared` names backbone, protocol and split if all panels share them.
    """

    kind: str
    title: str
    draw: Callable[[Any], None]
    size: tuple[float, float] = (3.9, 2.8)
    margins: tuple[float, float] = (0.62, 0.48)
    shared: str = ""


def panel_title(cell: Cell, several: bool) -> str:
    """Task and share of the data; with `several` setups also backbone, protocol and split."""
    below = f"\n{setup(cell.specification)}" if several else ""
    return short_name(cell.task) + share_of_data(cell.fraction) + below


def metric_name(name: str) -> str:
    """A metric in words for an axis."""
    return _METRICS.get(name, name.replace("_", " "))


def score_label(task: Task) -> str:
    """The axis of test scores, which are of the validation set for some tasks."""
    return f"{metric_name(task.metric)} on {task.test_split} x 100"


def arm_style(name: str) -> dict[str, Any]:
    """Color and line of an arm or a baseline, the same in every figure."""
    color, line = _STYLE_OF.get(name, (zlib.crc32(name.encode()) % len(COLORS), "-"))
    return {"color": COLORS[color], "ls": line, "lw": 1.7}


def draw_line(axis: Any, name: str, at: Sequence[float], mean: Any, low: Any, high: Any, **line: Any) -> None:
    """Means of an arm as a line, with a band from `low` to `high`."""
    style = arm_style(name)
    axis.fill_between(at, low, high, color=style["color"], alpha=0.18, lw=0)
    axis.plot(at, mean, **{"label": name, **style, **line})


def draw_floor(axis: Any, floor: float | None) -> None:
    """The score of the best constant answer, as a dotted line."""
    if floor is not None:
        axis.axhline(100 * floor, color=INK, ls=":", lw=1, label="floor")
