"""Probe cells -> panels: score by layer, and score by number of training items."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .cells import Cell, lowest_score
from .formatting import grouped, percent, short_name, shown_backbone
from .panels import INK, Panel, arm_style, metric_name
from .statistics import seed_interval


def probe_panels(cells: Iterable[Cell], bottom: dict[tuple[str, str], float]) -> list[Panel]:
    """For each task and backbone: score by layer, then score by number of training items.

    Args:
        bottom: the score of the best constant answer, by task and split.
    """
    shown = [cell for cell in cells if cell.is_probe and cell.scores and cell.chosen]
    columns = grouped(shown, lambda cell: (cell.task.name, _where(cell))).values()
    several = len({_where(cell) for cell in shown}) > 1
    panels = [_layers_panel(column, several) for column in columns]
    for column in columns:
        arms = {name: sorted(c, key=_items) for name, c in grouped(column, lambda cell: cell.name).items()}
        lines = {name: points for name, points in arms.items() if len(points) > 1}
        if lines:
            floor = bottom.get((column[0].task.name, column[0].specification["split"]))
            panels.append(_sizes_panel(lines, floor, several))
    return panels


def _items(cell: Cell) -> int:
    return int((cell.runs[0].results or {})["train_items"])


def _where(cell: Cell) -> str:
    return f"{shown_backbone(cell.specification['backbone'])}, {cell.specification['split']}"


def _title(cell: Cell, several: bool) -> str:
    return short_name(cell.task) + (f"\n{_where(cell)}" if several else "")


def _band(values: np.ndarray, cell: Cell) -> tuple[np.ndarray, np.ndarray]:
    """95% t interval over seeds of each point; values of shape `(seeds, points)`. One seed has no width."""
    found = [seed_interval(column.tolist(), lowest_score(cell.task)) for column in values.T]
    pairs = [(mean, mean) if i is None else (i.low, i.high) for i, mean in zip(found, values.mean(0), strict=True)]
    low, high = np.array(pairs).T
    return low, high


def _layers_panel(column: Sequence[Cell], several: bool) -> Panel:
    """The mean of positions, by layer, at the training size that most arms have."""
    sizes = grouped(column, _items)
    size = max(sizes, key=lambda items: (len(sizes[items]), items))
    lines = [(cell, _by_layer(cell)) for cell in sizes[size]]

    def draw(axis: Any) -> None:
        for cell, (layers, scores) in lines:
            style = arm_style(cell.name)
            axis.fill_between(layers, *(100 * edge for edge in _band(scores, cell)), color=style["color"],
                              alpha=0.15, lw=0)  # fmt: skip
            axis.plot(layers, 100 * scores.mean(0), marker="o", ms=3, label=cell.name, **style)
        axis.set_xlabel(f"layer (0: embeddings), {size:,} training items")
        axis.set_ylabel(f"{metric_name(column[0].task.metric)} on test x 100")
        axis.legend(ncols=2)

    about = f"{size} training items, mean of positions; " + "; ".join(
        f"{cell.name}: {percent(scores.mean(0).max())} at layer {layers[int(scores.mean(0).argmax())]}"
        for cell, (layers, scores) in lines
    )
    return Panel("layers", _title(column[0], several), about, draw)


def _by_layer(cell: Cell) -> tuple[list[int], np.ndarray]:
    """Layers, and test scores of shape `(runs, layers)`."""
    found = [
        {entry["layer"]: entry["test"] for entry in (run.results or {})["tried"] if entry["pooling"] != "first"}
        for run in cell.runs
    ]
    layers = sorted(set(found[0]).intersection(*found))
    return layers, np.array([[scores[layer] for layer in layers] for scores in found])


def _sizes_panel(lines: dict[str, list[Cell]], floor: float | None, several: bool) -> Panel:
    first = next(iter(lines.values()))[0]

    def draw(axis: Any) -> None:
        for name, points in lines.items():
            style, at = arm_style(name), [_items(cell) for cell in points]
            means = np.array([cell.mean for cell in points])
            bands = [_band(np.array(cell.scores)[:, None], cell) for cell in points]
            low, high = (100 * np.array([band[i][0] for band in bands]) for i in (0, 1))
            axis.fill_between(at, low, high, color=style["color"], alpha=0.15, lw=0)
            axis.plot(at, 100 * means, marker="o", ms=3, label=name, **style)
        if floor is not None:
            axis.axhline(100 * floor, color=INK, ls=":", lw=1, label="floor")
        sizes = sorted({_items(cell) for points in lines.values() for cell in points})
        axis.set(xscale="log", xlabel="training items", ylabel=f"{metric_name(first.task.metric)} on test x 100")
        axis.set_xticks(sizes, [f"{size:,}" for size in sizes], minor=False)
        axis.minorticks_off()
        axis.legend(ncols=2)

    about = "; ".join(
        f"{name}: " + ", ".join(f"{percent(cell.mean)} with {_items(cell)}" for cell in points)
        for name, points in lines.items()
    )
    return Panel("sizes", _title(first, several), about, draw)
