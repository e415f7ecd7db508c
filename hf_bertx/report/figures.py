"""Panels -> pictures in files, and `<svg>` for a page that takes the page's colors."""

from __future__ import annotations

import io
import math
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import run_files
from .panels import COLORS, INK, KINDS, LINE, Panel

_CHARACTERS_AN_INCH = 15  # of the line at the foot, 8 points high


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    plt.rcParams.update({
        "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": LINE,
        "grid.alpha": 0.5, "grid.linewidth": 0.6, "axes.edgecolor": LINE, "axes.labelcolor": INK,
        "text.color": INK, "xtick.color": INK, "ytick.color": INK, "legend.frameon": False, "legend.fontsize": 8,
        "svg.fonttype": "none", "svg.hashsalt": "hf_bertx", "axes.axisbelow": True,
    })  # fmt: skip
    return plt


def save_figures(panels: Sequence[Panel], folder: Path) -> list[Path]:
    """One picture a kind, as PNG and SVG: `loss_curves`, `comparisons`, `pretraining`, `fractions`, ..."""
    written = []
    kinds: dict[str, tuple[str, ...]] = {
        "loss_curves": ("loss", "validation"),
        **{kind: (kind,) for kind in KINDS if kind not in ("loss", "validation")},
    }
    for name, included in kinds.items():
        shown = [panel for panel in panels if panel.kind in included]
        if len(included) > 1:  # a row a task: loss, then validation
            titles = list(dict.fromkeys(panel.title for panel in shown))
            shown.sort(key=lambda panel: (titles.index(panel.title), included.index(panel.kind)))
        if shown:
            written += _save_grid(shown, folder / name, columns=2 if len(included) > 1 else min(4, len(shown)))
    return written


def _save_grid(panels: Sequence[Panel], path: Path, columns: int) -> list[Path]:
    plt = _pyplot()
    rows = math.ceil(len(panels) / columns)
    width, height = (max(panel.size[i] for panel in panels) for i in (0, 1))
    head = 0.28 + 0.16 * max(panel.title.count("\n") for panel in panels)
    told = textwrap.wrap(panels[0].where, int(_CHARACTERS_AN_INCH * width * columns))
    foot = 0.11 + 0.14 * len(told) if told else 0.0
    figure = plt.figure(figsize=(width * columns, (height + head) * rows + foot))
    if told:
        place = 0.1 / (width * columns), 0.06 / figure.get_size_inches()[1]
        figure.text(*place, "\n".join(told), fontsize=8, color=COLORS[7], va="bottom")
    for i, panel in enumerate(panels):
        row, column = divmod(i, columns)
        top = (rows - row) * (height + head) + foot
        axis = _axis(figure, panel, column * width, top - head - panel.size[1])
        axis.set_title(panel.title, fontsize=10, fontweight="bold", loc="left")
    paths = [path.with_suffix(".png"), path.with_suffix(".svg")]
    for each in paths:
        options = {"dpi": 130} if each.suffix == ".png" else {"metadata": {"Date": None}}
        _write(figure, each, options)
    plt.close(figure)
    return paths


def _axis(figure: Any, panel: Panel, x: float, y: float) -> Any:
    """The panel, drawn with its lower left corner at `(x, y)`, in inches."""
    (width, height), (left, below) = panel.size, panel.margins
    whole = figure.get_size_inches()
    box = (x + left, y + below, width - left - 0.12, height - below - 0.08)
    axis = figure.add_axes((box[0] / whole[0], box[1] / whole[1], box[2] / whole[0], box[3] / whole[1]))
    axis.locator_params(nbins=5)
    panel.draw(axis)
    return axis


def _write(figure: Any, path: Path, options: dict[str, Any]) -> None:
    run_files.write_whole(path, lambda temporary: figure.savefig(temporary, format=path.suffix[1:], **options))


def inline_svg(panel: Panel, number: int) -> str:
    """A panel as an `<svg>` for a page: text in the page's font, colors as the page's variables, ids of its own."""
    plt = _pyplot()
    figure = plt.figure(figsize=panel.size)
    _axis(figure, panel, 0, 0)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    plt.close(figure)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    used = set(re.findall(r'(?:url\(|href=")#([\w.-]+)', text))
    text = re.sub(r' id="([^"]*)"', lambda found: f' id="g{number}-{found[1]}"' if found[1] in used else "", text)
    text = re.sub(r'(url\(#|href="#)', rf"\g<1>g{number}-", text)
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", text)
    for i, color in enumerate(COLORS):
        text = text.replace(color, f"var(--c{i})")
    return text.replace(INK, "var(--ink)").replace(LINE, "var(--line)").strip()
