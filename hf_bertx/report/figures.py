"""Panels -> pictures in files, and `<svg>` for a page with the page's colors."""

from __future__ import annotations

import io
import math
import re
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .. import run_files
from .panels import COLORS, INK, KINDS, LINE, Panel

DPI = 192  # two dots a CSS pixel
_CHARACTERS_AN_INCH = 15  # of the line at the foot, 8 points high
# `parse_math`: a `$` in a label is a dollar, not a formula. The same figure gives the same file.
_STYLE = {
    "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": LINE,
    "grid.alpha": 0.5, "grid.linewidth": 0.6, "axes.edgecolor": LINE, "axes.labelcolor": INK, "text.color": INK,
    "xtick.color": INK, "ytick.color": INK, "legend.frameon": False, "legend.fontsize": 8, "svg.fonttype": "none",
    "svg.hashsalt": "hf_bertx", "axes.axisbelow": True, "text.parse_math": False,
}  # fmt: skip


@contextmanager
def styled() -> Iterator[None]:
    """The style of every figure, without a change of the caller's matplotlib."""
    import matplotlib

    with matplotlib.rc_context(_STYLE):
        yield


def save_figures(panels: Sequence[Panel], folder: Path) -> list[Path]:
    """One picture a kind, as PNG and SVG: `loss_curves`, `comparisons`, `pretraining`, `fractions`, ..."""
    curves = [panel for panel in panels if panel.kind in ("loss", "validation")]
    titles = list(dict.fromkeys(panel.title for panel in curves))
    curves.sort(key=lambda panel: (titles.index(panel.title), panel.kind))  # a row a task: loss, then validation
    pictures = {"loss_curves": curves} | {
        kind: [panel for panel in panels if panel.kind == kind] for kind in KINDS if kind not in ("loss", "validation")
    }
    written = []
    for name, shown in pictures.items():
        if shown:
            columns = 2 if name == "loss_curves" else min(4, len(shown))
            written += _save_grid(shown, folder / name, columns)
    return written


def _save_grid(panels: Sequence[Panel], path: Path, columns: int) -> list[Path]:
    from matplotlib.figure import Figure

    rows = math.ceil(len(panels) / columns)
    width, height = (max(panel.size[i] for panel in panels) for i in (0, 1))
    head = 0.28 + 0.16 * max(panel.title.count("\n") for panel in panels)
    note = textwrap.wrap(panels[0].where, int(_CHARACTERS_AN_INCH * width * columns))
    foot = 0.11 + 0.14 * len(note) if note else 0.0
    with styled():
        figure = Figure(figsize=(width * columns, (height + head) * rows + foot))
        if note:
            place = 0.1 / (width * columns), 0.06 / figure.get_size_inches()[1]
            figure.text(*place, "\n".join(note), fontsize=8, color=COLORS[7], va="bottom")
        for i, panel in enumerate(panels):
            row, column = divmod(i, columns)
            top = (rows - row) * (height + head) + foot
            axis = _axis(figure, panel, column * width, top - head - panel.size[1])
            axis.set_title(panel.title, fontsize=10, fontweight="bold", loc="left")
        return save_figure(figure, path)


def save_figure(figure: Any, path: Path) -> list[Path]:
    """A figure as PNG and SVG, whole or not at all; call it within [`styled`]."""
    paths = [path.with_suffix(".png"), path.with_suffix(".svg")]
    for each in paths:
        _write(figure, each, {"dpi": DPI} if each.suffix == ".png" else {"metadata": {"Date": None}})
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
    from matplotlib.figure import Figure

    buffer = io.StringIO()
    with styled():
        figure = Figure(figsize=panel.size)
        _axis(figure, panel, 0, 0)
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    used = set(re.findall(r'(?:url\(|href=")#([\w.-]+)', text))
    return re.sub(r"<[^<>]*>", lambda tag: _of_page(tag[0], number, used), text).strip()  # labels stay as they are


def _of_page(tag: str, number: int, used: set[str]) -> str:
    tag = re.sub(r' id="([^"]*)"', lambda found: f' id="g{number}-{found[1]}"' if found[1] in used else "", tag)
    tag = re.sub(r'(url\(#|href="#)', rf"\g<1>g{number}-", tag)
    tag = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", tag)
    for i, color in enumerate(COLORS):
        tag = tag.replace(color, f"var(--c{i})")
    return tag.replace(INK, "var(--ink)").replace(LINE, "var(--line)")
