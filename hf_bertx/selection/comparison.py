"""Chooses the best candidate on validation, and compares all on test in one table with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import metrics, run_files
from ..publishing.compared import drawn_items
from ..report.cells import lowest_score
from ..report.resampling import resampled_scores
from ..report.statistics import RESAMPLES, compare, drawn_from, item_interval
from ..runs.run import Run, drawn_together
from ..runs.writer import RunWriter
from .candidates import BASELINE, Candidate

_EQUAL = 1e-9


def compare_candidates(candidates: Sequence[Candidate]) -> dict[str, Any]:
    """Chooses the model, and the best baseline, by validation, and compares both on test.

    All scores are over the items that every candidate answered: a probe looks at 1,000 validation items at most.
    Intervals are over test items, or over their groups where they have some (95%, a bootstrap).

    Args:
        candidates: models first; of equal ones the first is kept.

    Returns:
        JSON-ready: `metric`, items by split, `candidates` with their scores, and what is `kept`; where there are
        baselines also the `best_baseline`, the `difference` with `low` and `high`, and a `sentence`.
    """
    metric = candidates[0].run.task.metric
    validation = _scores(metric, *_answers(candidates, "validation")[:2])
    truth, answers, groups = _answers(candidates, "test")
    drawn, over = drawn_from(len(truth), groups)
    test, resampled = _scores(metric, truth, answers), resampled_scores(metric, truth, answers, RESAMPLES, 0, groups)
    rows = []
    for i, candidate in enumerate(candidates):
        interval = item_interval(resampled[:, i], over, drawn if metric == "accuracy" else None)
        row = {"name": candidate.name, "kind": candidate.kind, "validation": validation[i], "test": test[i]}
        rows.append({**row, "low": interval.low, "high": interval.high})
    models = [i for i, candidate in enumerate(candidates) if candidate.kind != BASELINE]
    baselines = [i for i, candidate in enumerate(candidates) if candidate.kind == BASELINE]
    kept = _best(models, validation)
    comparison: dict[str, Any] = {
        "metric": metric,
        "test_items": len(truth),
        **({} if groups is None else {"test_groups": drawn}),
        "candidates": rows,
        "kept": rows[kept]["name"],
    }
    if baselines:
        best = _best(baselines, validation)
        one, other = (np.array([test[i]]) for i in (kept, best))
        lowest = lowest_score(candidates[0].run.task)
        apart = compare(one, other, resampled[:, [kept]], resampled[:, [best]], drawn, False, over, lowest)
        named, between = rows[best]["name"], f"95% interval {apart.low:+.3f} to {apart.high:+.3f} over {over}"
        verb = "beats" if apart.low > 0 else "is worse than" if apart.high < 0 else "cannot be told from"
        sentence = f"The model ({rows[kept]['name']}) {verb} the best baseline ({named}): test {metric} differs by "
        comparison |= {"best_baseline": named, "difference": apart.difference, "low": apart.low, "high": apart.high}
        comparison["sentence"] = f"{sentence}{apart.difference:+.3f}, {between}."
    return comparison


def _best(places: Sequence[int], scores: Sequence[float]) -> int:
    highest = max(scores[i] for i in places)
    return next(i for i in places if scores[i] >= highest - _EQUAL)


def _answers(candidates: Sequence[Candidate], split: str) -> tuple[np.ndarray, np.ndarray, tuple[str, ...] | None]:
    """Truth, `(items,)`, answers, `(candidates, items)`, and groups of the items that all have answered."""
    by_candidate, group_of = [], None
    for candidate in candidates:
        predictions = candidate.run.predictions(split)
        assert predictions is not None  # the run is finished
        ids, truth, answers = predictions.answers(candidate.run.task)
        groups = drawn_together(candidate.run, predictions.ids, predictions.groups)
        group_of = group_of or (None if groups is None else dict(zip(ids, groups, strict=True)))
        by_candidate.append((dict(zip(ids, truth, strict=True)), dict(zip(ids, answers, strict=True))))
    common = [key for key in by_candidate[0][0] if all(key in truth for truth, _ in by_candidate)]
    truth = np.array([by_candidate[0][0][key] for key in common])
    together = None if group_of is None else tuple(group_of[key] for key in common)
    return truth, np.array([[answers[key] for key in common] for _, answers in by_candidate]), together


def _scores(metric: str, truth: np.ndarray, answers: np.ndarray) -> list[float]:
    return [metrics.compute(metric, answer, truth) for answer in answers]


def table(comparison: dict[str, Any]) -> list[str]:
    """The comparison as lines for a terminal: models, then baselines, best on validation first."""
    rows = sorted(comparison["candidates"], key=lambda row: (row["kind"] == BASELINE, -row["validation"]))
    width = max(len(row["name"]) for row in rows) + 7
    over = drawn_items(comparison["test_items"], comparison.get("test_groups"))
    lines = [f"{'':{width}} validation  test {comparison['metric']} [95% over {over}]"]
    for row in rows:
        name = row["name"] + (" (kept)" if row["name"] == comparison["kept"] else "")
        between = f"[{row['low']:.3f}, {row['high']:.3f}]"
        lines.append(f"{name:{width}} {row['validation']:10.3f}  {row['test']:.3f} {between}")
    if "sentence" in comparison:
        lines.append(comparison["sentence"])
    return lines


def record(run: Run, more: dict[str, Any]) -> None:
    """Adds to the results of a finished run, and writes its card anew."""
    from ..publishing.cards import write_model_card

    results = run_files.read_json(run.folder / run_files.RESULTS)
    if any(results.get(name) != value for name, value in more.items()):
        RunWriter(run.folder).add(results, more)
        write_model_card(run.folder)
