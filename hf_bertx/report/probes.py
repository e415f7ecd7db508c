"""Probe cells -> panels: score by layer, and score by number of training items."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..runs.run import Run
from .cells import Cell, lowest_score
from .drawing import BAND, Floors, Kind, Panel, draw_floor, draw_line, score_label
from .formatting import grouped, short_name, shown_backbone
from .statistics import seed_interval

LAYERS = Kind("layers", "Probes: score by layer", "Probes by layer", f"A ridge head on the mean of positions. {BAND}")
SIZES = Kind(
    "sizes",
    "Probes: score by number of training items",
    "Probes by size",
    f"The layer is chosen on validation. {BAND}",
)


def probe_panels(cells: Iterable[Cell], floor_of: Floors) -> list[Panel]:
    """For each task and backbone: score by layer, then score by number of training items.

    Args:
        floor_of: the score of the best constant answer, by task and split.
    """
    shown = [cell for cell in cells if cell.is_probe and cell.scores and cell.chosen]
    columns = grouped(shown, lambda cell: (cell.task.name, _where(cell))).values()
    several = len({_where(cell) for cell in shown}) > 1
    panels = [_layers_panel(column, several) for column in columns]
    for column in columns:
        arms = {name: sorted(c, key=_items) for name, c in grouped(column, lambda cell: cell.name).items()}
        lines = {name: points for name, points in arms.items() if len(points) > 1}
        if lines:
            floor = floor_of.get((column[0].task.name, column[0].specification["split"]))
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
    intervals = [seed_interval(column.tolist(), lowest_score(cell.task)) for column in values.T]
    pairs = [(mean, mean) if i is None else (i.low, i.high) for i, mean in zip(intervals, values.mean(0), strict=True)]
    low, high = np.array(pairs).T
    return low, high


def _layers_panel(column: Sequence[Cell], several: bool) -> Panel:
    """The mean of positions, by layer, at the training size that most arms have."""
    sizes = grouped(column, _items)
    size = max(sizes, key=lambda items: (len(sizes[items]), items))
    tested = all("test" in entry for cell in sizes[size] for run in cell.runs for entry in _tried(run))
    lines = [(cell, _by_layer(cell, "test" if tested else "validation")) for cell in sizes[size]]

    def draw(axis: Any) -> None:
        for cell, (layers, scores) in lines:
            low, high = _band(scores, cell)
            draw_line(axis, cell.name, layers, 100 * scores.mean(0), 100 * low, 100 * high, marker="o", ms=3)
        axis.set_xlabel(f"layer (0: embeddings), {size:,} training items")
        label = score_label(column[0].task)
        axis.set_ylabel(label if tested else label.replace(column[0].task.test_split, "validation"))
        axis.legend(ncols=2)

    return Panel(LAYERS, _title(column[0], several), draw)


def _by_layer(cell: Cell, split: str) -> tuple[list[int], np.ndarray]:
    """Layers, and their scores on `test` or `validation`, of shape `(runs, layers)`."""
    by_run = [
        {entry["layer"]: entry[split] for entry in _tried(run) if entry["pooling"] != "first"} for run in cell.runs
    ]
    layers = sorted(set(by_run[0]).intersection(*by_run))
    return layers, np.array([[scores[layer] for layer in layers] for scores in by_run])


def _tried(run: Run) -> list[dict[str, Any]]:
    """The layers and poolings that were tried; a probe that was saved as a model has no test scores of them."""
    tried: list[dict[str, Any]] = (run.results or {})["tried"]
    return tried


def _sizes_panel(lines: dict[str, list[Cell]], floor: float | None, several: bool) -> Panel:
    first = next(iter(lines.values()))[0]

    def draw(axis: Any) -> None:
        for name, points in lines.items():
            means = 100 * np.array([cell.mean for cell in points])
            bands = [_band(np.array(cell.scores)[:, None], cell) for cell in points]
            low, high = (100 * np.array([band[i][0] for band in bands]) for i in (0, 1))
            draw_line(axis, name, [_items(cell) for cell in points], means, low, high, marker="o", ms=3)
        draw_floor(axis, floor)
        sizes = sorted({_items(cell) for points in lines.values() for cell in points})
        axis.set(xscale="log", xlabel="training items", ylabel=score_label(first.task))
        axis.set_xticks(sizes, [f"{size:,}" for size in sizes], minor=False)
        axis.minorticks_off()
        axis.legend(ncols=2)

    return Panel(SIZES, _title(first, several), draw)
