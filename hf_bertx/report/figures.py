"""Panels -> pictures in files, and `<svg>` for a page with the page's colors."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from .. import run_files
from .drawing import COLORS, GROUND, INK, LINE, Panel, with_setups
from .formatting import grouped

DPI = 192  # two dots a CSS pixel
_CHARACTERS_AN_INCH = 15  # of the line at the foot, 8 points high
_TITLE_CHARACTERS_AN_INCH = 11  # bold, 10 points high
# `parse_math`: a `$` in a label is a dollar, not a formula. `hashsalt`: the same figure gives the same file.
_STYLE = {
    "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": LINE,
    "grid.alpha": 0.5, "grid.linewidth": 0.6, "axes.edgecolor": LINE, "axes.labelcolor": INK, "text.color": INK,
    "xtick.color": INK, "ytick.color": INK, "legend.edgecolor": "none", "legend.facecolor": GROUND,
    "legend.framealpha": 0.75, "legend.fancybox": False, "legend.fontsize": 8, "svg.fonttype": "none",
    "svg.hashsalt": "hf_bertx", "axes.axisbelow": True, "text.parse_math": False,
}  # fmt: skip
_PAGE_COLORS = {**{color: f"--c{i}" for i, color in enumerate(COLORS)}, INK: "--ink", LINE: "--line", GROUND: "--card"}


def styled() -> AbstractContextManager[None]:
    """The style of every figure, without a change of the caller's matplotlib."""
    import matplotlib

    return matplotlib.rc_context(_STYLE)


def save_figures(panels: Sequence[Panel], folder: Path) -> list[Path]:
    """One picture a kind, as PNG and SVG: `loss_curves`, `comparisons`, `pretraining`, `fractions`, ..."""
    written = []
    for name, shown in grouped(panels, lambda panel: panel.kind.picture or panel.kind.name).items():
        shown, note = with_setups(shown)
        titles = list(dict.fromkeys(panel.title for panel in shown))
        rows = sorted(shown, key=lambda panel: titles.index(panel.title))  # kinds that share a picture side by side
        written += _save_grid(rows, note, folder / name, 2 if shown[0].kind.picture else min(4, len(shown)))
    return written


def _save_grid(panels: Sequence[Panel], note: str, path: Path, columns: int) -> list[Path]:
    from matplotlib.figure import Figure

    rows = [panels[start : start + columns] for start in range(0, len(panels), columns)]
    heads = [0.28 + 0.16 * max(_wrapped(panel).count("\n") for panel in row) for row in rows]
    heights = [head + max(panel.size[1] for panel in row) for head, row in zip(heads, rows, strict=True)]
    width = max(panel.size[0] for panel in panels)
    lines = textwrap.wrap(note, int(_CHARACTERS_AN_INCH * width * columns))
    foot = 0.11 + 0.14 * len(lines) if lines else 0.0
    with styled():
        figure = Figure(figsize=(width * columns, sum(heights) + foot))
        if lines:
            place = 0.1 / (width * columns), 0.06 / figure.get_size_inches()[1]
            figure.text(*place, "\n".join(lines), fontsize=8, color=COLORS[7], va="bottom")
        for i, panel in enumerate(panels):
            row, column = divmod(i, columns)
            top = sum(heights[row:]) + foot
            axis = _axis(figure, panel, column * width, top - heads[row] - panel.size[1])
            axis.set_title(_wrapped(panel), fontsize=10, fontweight="bold", loc="left")
        return save_figure(figure, path)


def _wrapped(panel: Panel) -> str:
    """The title in lines that end where the panel does."""
    room = int(_TITLE_CHARACTERS_AN_INCH * (panel.size[0] - panel.margins[0]))
    return "\n".join(part for line in panel.title.split("\n") for part in textwrap.wrap(line, room))


def save_figure(figure: Any, path: Path) -> list[Path]:
    """A figure as PNG and SVG, each whole or not at all; call it within [`styled`]."""
    png, svg = path.with_suffix(".png"), path.with_suffix(".svg")
    run_files.write_whole(png, lambda temporary: figure.savefig(temporary, format="png", dpi=DPI))
    run_files.write_whole(svg, lambda temporary: figure.savefig(temporary, format="svg", metadata={"Date": None}))
    return [png, svg]


def _axis(figure: Any, panel: Panel, x: float, y: float) -> Any:
    """The panel, drawn with its lower left corner at `(x, y)`, in inches."""
    (width, height), (left, below) = panel.size, panel.margins
    across, up = figure.get_size_inches()
    axis = figure.add_axes(
        ((x + left) / across, (y + below) / up, (width - left - 0.12) / across, (height - below - 0.08) / up)
    )
    axis.locator_params(nbins=5)
    panel.draw(axis)
    return axis


def inline_svg(panel: Panel, number: int) -> tuple[str, str]:
    """A panel as an `<svg>` for a page (text in the page's font, colors as its variables, ids of its own), and what
    the panel shows in words."""
    from matplotlib.figure import Figure

    buffer = io.StringIO()
    with styled():
        figure = Figure(figsize=panel.size)
        words = _in_words(_axis(figure, panel, 0, 0))
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    used = set(re.findall(r'(?:url\(|href=")#([\w.-]+)', text))
    return re.sub(r"<[^<>]*>", lambda tag: _of_page(tag[0], number, used), text).strip(), words  # labels stay


def _in_words(axis: Any) -> str:
    """A panel in words: its axes, and the last value of each named line."""
    words = f"{axis.get_ylabel() or 'tasks'} by {axis.get_xlabel()}"
    for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
        line = handle[0] if isinstance(handle, tuple) else handle  # of an error bar, the line without its bars
        values = line.get_ydata()
        words += f"; {label}" + (f" ends at {values[-1]:.3g}" if len(values) else "")
    return words


def _of_page(tag: str, number: int, used: set[str]) -> str:
    tag = re.sub(r' id="([^"]*)"', lambda name: f' id="g{number}-{name[1]}"' if name[1] in used else "", tag)
    tag = re.sub(r'(url\(#|href="#)', rf"\g<1>g{number}-", tag)
    tag = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", tag)
    for color, variable in _PAGE_COLORS.items():
        tag = tag.replace(color, f"var({variable})")
    return tag
