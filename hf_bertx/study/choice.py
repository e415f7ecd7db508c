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
    """What a grid gave for one task, backbone, arm, fraction, protocol and split.

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
    by: str
    points: dict[str, list[float]]
    chosen: str | None
    complete: bool

    def line(self) -> str:
        """The choice in one line of a terminal."""
        so_far = "" if self.complete else " so far"
        means = ", ".join(f"{variant} {statistics.mean(v):.4f}" for variant, v in self.points.items() if v)
        of = f"{self.task} {self.backbone} {self.arm}, {self.protocol}, {self.split}"
        return f"best{so_far} by {self.by}: {of}: {self.chosen} ({means})"


def choose(study: Study, root: Path) -> list[Choice]:
    """The choices of a study; empty for one without a grid.

    Raises:
        ValueError: a file of a run cannot be read.
    """
    cells: dict[tuple, list[RunSpec]] = defaultdict(list)
    for run in study.runs:
        if run.protocol == PROBE:  # training sizes of a probe are not a grid
            continue
        cells[run.task, run.backbone, run.arm, run.fraction, run.protocol, run.data_split, run.kmer].append(run)
    return [_choice(runs, study.choose_by, root) for runs in cells.values() if len({run.variant for run in runs}) > 1]


def _choice(runs: list[RunSpec], choose_by: str, root: Path) -> Choice:
    first = runs[0]
    metric = get_task(first.task).metric
    points: dict[str, list[float]] = {run.variant: [] for run in runs}
    for run in runs:
        value = _value(run.folder(root), choose_by, metric)
        if value is not None:
            points[run.variant].append(value)
    means = {variant: statistics.mean(values) for variant, values in points.items() if values}
    best = min if choose_by == "train_loss" else max
    return Choice(
        first.task,
        first.backbone,
        first.arm,
        first.fraction,
        first.protocol,
        first.data_split,
        "train_loss" if choose_by == "train_loss" else f"validation {metric}",
        points,
        best(means, key=lambda variant: means[variant]) if means else None,
        sum(map(len, points.values())) == len(runs),
    )


def _value(folder: Path, choose_by: str, metric: str) -> float | None:
    run = Run.open(folder) if (folder / run_files.RESULTS).is_file() else None
    if run is None:
        return None
    return run.score("validation", metric) if choose_by == "validation" else run.curve("loss")[-1][1]


def write_choices(study: Study, root: Path) -> list[Choice]:
    """Writes the choices of a study with a grid beside its runs; returns them."""
    choices = choose(study, root)
    if choices:
        record: dict[str, Any] = {"study": study.name, "choices": [asdict(choice) for choice in choices]}
        run_files.write_json(root / CHOICES / f"{study.name}.json", record)
    return choices
