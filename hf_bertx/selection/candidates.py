"""Candidates that are fitted before training: plain baselines, and a probe that is saved as a model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..baselines.catalog import baselines_for
from ..baselines.runs import run_baseline
from ..data.task_data import load_task_data
from ..probing.runs import run_probes
from ..publishing.cards import write_model_card
from ..runs.arguments import ResolvedRun
from ..runs.run import Run
from ..runs.spec import ALL, RunSpec

FINE_TUNED, PROBE, BASELINE = "fine-tuned", "probe", "baseline"


@dataclass(frozen=True)
class Candidate:
    """A finished run that is compared with others on the same split.

    Args:
        kind: `fine-tuned`, `probe` or `baseline`.
        name: in a table.
    """

    kind: str
    name: str
    run: Run

    @property
    def validation(self) -> float:
        """The task's metric on validation."""
        score = self.run.score("validation", self.run.task.metric)
        assert score is not None  # the run is finished
        return score


def fit_baselines(plan: ResolvedRun, root: Path) -> Iterator[Candidate]:
    """Fits the plain baselines that fit the task of a run, on its data."""
    data = (plan.options.task, plan.split, plan.seed, plan.fraction, plan.options.max_eval_items)
    for name in baselines_for(plan.task):
        spec = RunSpec.of_baseline(name, *data)
        yield Candidate(BASELINE, name, Run.open_finished(run_baseline(spec, plan.data_dir, root)))


def fit_probe(plan: ResolvedRun, root: Path, items: int | str) -> Candidate:
    """Fits a probe of the start of a run, and saves it as a model with its card.

    Args:
        items: of the training items at most so many, or `all`.

    Raises:
        ValueError: the backbone cannot be saved as a probe.
    """
    data = load_task_data(plan.task, plan.split, plan.data_dir)
    there = round(plan.fraction * len(data.splits["train"]))
    wanted = there if items == ALL else min(int(items), there)
    windows = plan.windows
    spec = RunSpec.of_probe(
        plan.options.task,
        plan.arm.name,
        plan.backbone.name,
        plan.split,
        plan.seed,
        items=ALL if wanted == len(data.splits["train"]) else wanted,
        max_eval_items=plan.options.max_eval_items or len(data.splits["test"]),
        save_model=True,
        class_weights=plan.options.class_weights,
        calibrate=plan.options.calibrate,
        kmer=plan.kmer,
        window=windows and windows.symbols,
        overlap=windows and windows.overlap,
    )
    (folder,) = run_probes([spec], plan.data_dir, root, threads=plan.options.threads)
    write_model_card(folder)
    return Candidate(PROBE, PROBE, Run.open_finished(folder))
