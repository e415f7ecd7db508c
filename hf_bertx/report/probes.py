"""Probe cells -> panels: score by layer, and score by number of training items."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..tasks import Task
from .cells import Cell, lowest_score
from .drawing import BAND, Kind, Panel, draw_floor, draw_legend, draw_line, score_label
from .formatting import grouped, short_name
from .statistics import seed_interval

LAYERS = Kind("layers", "Probes: score by layer", "Probes by layer", f"A ridge head on the mean of positions. {BAND}")
SIZES = Kind(
    "sizes",
    "Probes: score by number of training items",
    "Probes by size",
    f"The layer is chosen on items that are not tested. {BAND}",
)


def probe_panels(cells: Iterable[Cell]) -> list[Panel]:
    """For each task and backbone: score by layer, then score by number of training items."""
    shown = [cell for cell in cells if cell.is_probe and cell.scores and cell.chosen]
    columns = grouped(shown, lambda cell: (cell.task.name, _setup(cell))).values()
    panels = [_layers_panel(column) for column in columns]
    for column in columns:
        arms = {name: sorted(c, key=_items) for name, c in grouped(column, lambda cell: cell.name).items()}
        lines = {name: points for name, points in arms.items() if len(points) > 1}
        if lines:
            panels.append(_sizes_panel(lines))
    return panels


def _setup(cell: Cell) -> str:
    return cell.column._replace(items=None).setup


def _items(cell: Cell) -> int:
    return int((cell.runs[0].results or {})["train_items"])


def _draw(axis: Any, arm: str, at: Sequence[int], samples: Iterable[Sequence[float]], task: Task) -> None:
    """The mean of each point's scores, with their 95% t interval; one score has no width."""
    points = []
    for scores in samples:
        mean, interval = float(np.mean(scores)), seed_interval(scores, lowest_score(task))
        points.append((mean, mean, mean) if interval is None else (mean, interval.low, interval.high))
    draw_line(axis, arm, at, *(100 * np.array(points).T), marker="o", ms=3)


def _layers_panel(column: Sequence[Cell]) -> Panel:
    """The mean of positions, by layer, at the training size that most arms have."""
    sizes = grouped(column, _items)
    size = max(sizes, key=lambda items: (len(sizes[items]), items))
    task = column[0].task
    tried = [(cell.name, [(run.results or {})["tried"] for run in cell.runs]) for cell in sizes[size]]
    # A probe that was saved as a model has no test scores of its layers.
    tested = all("test" in entry for _, runs in tried for run in runs for entry in run)
    split = "test" if tested else "validation"

    def draw(axis: Any) -> None:
        for name, runs in tried:
            by_run = [{entry["layer"]: entry[split] for entry in run if entry["pooling"] != "first"} for run in runs]
            layers = sorted(set(by_run[0]).intersection(*by_run))
            _draw(axis, name, layers, [[scores[layer] for scores in by_run] for layer in layers], task)
        axis.set_xlabel(f"layer (0: embeddings), {size:,} training items")
        axis.set_ylabel(score_label(task, task.test_split if tested else "validation"))
        draw_legend(axis, ncols=2)

    return Panel(LAYERS, short_name(task), draw, _setup(column[0]))


def _sizes_panel(lines: dict[str, list[Cell]]) -> Panel:
    first = next(iter(lines.values()))[0]

    def draw(axis: Any) -> None:
        for name, points in lines.items():
            _draw(axis, name, [_items(cell) for cell in points], [cell.scores for cell in points], first.task)
        draw_floor(axis, first)
        sizes = sorted({_items(cell) for points in lines.values() for cell in points})
        axis.set(xscale="log", xlabel="training items", ylabel=score_label(first.task))
        axis.set_xticks(sizes, [f"{size:,}" for size in sizes], minor=False)
        axis.minorticks_off()
        draw_legend(axis, ncols=2)

    return Panel(SIZES, short_name(first.task), draw, _setup(first))
