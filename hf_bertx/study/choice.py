"""The best point of a grid for each task, backbone and arm, by validation or training loss."""

from __future__ import annotations

import statistics
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .. import run_files
from ..protocols import PROBE
from ..runs.run import Run
from ..runs.spec import RunSpec
from ..tasks import get_task
from .plan import Study

CHOICES = "choices"  # folder below the runs


@dataclass(frozen=True)
class Choice:
    """What a grid gave for one task, backbone, arm, fraction, protocol, split and k-mer.

    Args:
        by: `validation` and the metric, or `train_loss`.
        points: variant -> value of each seed that is finished. The test set has no part in it.
        chosen: the variant with the best mean over seeds; None until a point is finished.
        complete: whether every point is finished for every seed.
    """

    task: str
    backbone: str
    arm: str
    fraction: float
    protocol: str
    split: str
    kmer: int | None
    by: str
    points: dict[str, list[float]]
    chosen: str | None
    complete: bool

    def line(self) -> str:
        """The choice in one line of a terminal."""
        so_far = "" if self.complete else " so far"
        means = ", ".join(f"{variant} {statistics.mean(v):.4f}" for variant, v in self.points.items() if v)
        of = f"{self.task} {self.backbone} {self.arm}, {self.protocol}, {self.split}"
        of += f", {self.kmer}-mers" if self.kmer else ""
        return f"best{so_far} by {self.by}: {of}: {self.chosen} ({means})"


def choose(study: Study, root: Path) -> list[Choice]:
    """The choices of a study; empty for one without a grid.

    Raises:
        ValueError: a file of a run cannot be read.
    """
    cells: dict[tuple, list[RunSpec]] = defaultdict(list)
    for run in study.runs:
        if run.protocol != PROBE:  # training sizes of a probe are not a grid
            cells[run.task, run.backbone, run.arm, run.fraction, run.protocol, run.data_split, run.kmer].append(run)
    return [_choice(runs, study.choose_by, root) for runs in cells.values() if len({run.variant for run in runs}) > 1]


def _choice(runs: list[RunSpec], choose_by: str, root: Path) -> Choice:
    metric, by_loss = get_task(runs[0].task).metric, choose_by == "train_loss"
    points: dict[str, list[float]] = {run.variant: [] for run in runs}
    for spec in runs:
        if (spec.folder(root) / run_files.RESULTS).is_file():
            run = Run.open(spec.folder(root))
            value = run.curve("loss")[-1][1] if by_loss else run.score("validation", metric)
            points[spec.variant] += [] if value is None else [value]
    means = {variant: statistics.mean(values) for variant, values in points.items() if values}
    chosen = (min if by_loss else max)(means, key=means.__getitem__, default=None)
    complete = sum(map(len, points.values())) == len(runs)
    first, by = runs[0], "train_loss" if by_loss else f"validation {metric}"
    cell = (first.task, first.backbone, first.arm, first.fraction, first.protocol, first.data_split, first.kmer)
    return Choice(*cell, by, points, chosen, complete)


def write_choices(study: Study, root: Path) -> list[Choice]:
    """Writes the choices of a study with a grid beside its runs; returns them."""
    choices = choose(study, root)
    if choices:
        record: dict[str, Any] = {"study": study.name, "choices": [asdict(choice) for choice in choices]}
        run_files.write_json(root / CHOICES / f"{study.name}.json", record)
    return choices
