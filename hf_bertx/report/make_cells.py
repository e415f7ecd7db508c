"""Runs -> cells: grouped by specification, read, resampled, and the best of several settings chosen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from .. import metrics
from ..arms import BASELINE
from ..runs.run import OF_TASK, Run, drawn_together, same_items
from . import statistics
from .cells import LITTLE, Cell, Column, Floor, lowest_score, permuted
from .formatting import grouped, task_rank
from .resampling import resampled_scores
from .statistics import Interval

_MOST_RANKED = 1000  # resamples of a rank correlation, 25 ns an item and run each; fewer for many items
_RANKED_ITEMS = 5_000_000
_Items = tuple[Run, tuple[str, ...], np.ndarray, tuple[str, ...] | None]  # a run, and ids, truth, groups of its items


def make_cells(records: Iterable[Run], resamples: int = statistics.RESAMPLES) -> list[Cell]:
    """Cells of all runs, in the order of tasks and arms. Reads and resamples their predictions.

    Raises:
        ValueError: a run that was selected on its test items, two data sets or one seed twice in a cell, predictions
            of other items than those of the runs beside it.
    """
    records = list(records)
    for record in records:
        _check_selection(record)
    groups = grouped(records, lambda record: (record.cell, made_of(record)[1:])).values()
    for runs in groups:
        _check_alike(runs)
    siblings = grouped(groups, _arm_in_column).values()
    cells = [cell for alike in siblings for cell in _choose([_cell(runs, alike) for runs in alike])]
    cells = _mark_largest(_name_data_sets(cells))

    def order(cell: Cell) -> tuple[int, float, bool, float]:
        return task_rank(cell.task.name), -cell.fraction, *cell.column.place

    cells.sort(key=order)
    return _with_predictions(cells, resamples)


def _arm_in_column(runs: list[Run]) -> tuple:
    specification = runs[0].specification
    return permuted(specification), specification["arm"], made_of(runs[0]), Column.of(specification)


def made_of(run: Run) -> tuple[tuple[str, Any], ...]:
    """The data of a run, and what of its task affects its scores, with names: equal within a column or table."""
    names = (name for name in OF_TASK if name != "max_length")  # of windows, which an arm may have
    return ("data", run.fingerprint[:8]), *((name, getattr(run.task, name)) for name in names)


def _name_data_sets(cells: list[Cell]) -> list[Cell]:
    """Where a task and split has cells of several data sets, metrics or the like, the split is named after these, so
    that such cells never stand in one column."""

    def place(cell: Cell) -> tuple:
        return cell.task.name, cell.specification["split"]

    def named(cell: Cell, alike: list[Cell]) -> Cell:
        others = [made_of(other.first) for other in alike]
        differs = [
            f"{name} {value}" for name, value in made_of(cell.first) if any((name, value) not in o for o in others)
        ]
        split = ", ".join([cell.specification["split"], *differs])
        return replace(cell, specification={**cell.specification, "split": split})

    beside = grouped(cells, place)
    return [named(cell, beside[place(cell)]) for cell in cells]


def _mark_largest(cells: list[Cell]) -> list[Cell]:
    def method(cell: Cell) -> Column:
        return cell.column._replace(fraction=0)

    most = {key: max(cell.fraction for cell in alike) for key, alike in grouped(cells, method).items()}
    return [replace(c, largest=c.fraction > LITTLE and c.fraction == most[method(c)]) for c in cells]


def _check_selection(record: Run) -> None:
    """Refuses a run whose weights were selected on its test items.

    Raises:
        ValueError: the test split is `validation` and the run evaluated on it while it trained.
    """
    hyperparameters = record.specification.get("hyperparameters") or {}
    if record.task.test_split == "validation" and hyperparameters.get("eval_strategy", "no") != "no":
        raise ValueError(
            f"{record.folder}: selected on its test split: {record.task.name} is tested on validation, and this run "
            f"evaluated there while it trained (eval_strategy {hyperparameters['eval_strategy']!r}); remove it"
        )


def _check_alike(runs: list[Run]) -> None:
    first = runs[0]
    seeds: dict[int, Run] = {}
    for run in runs:
        if run.fingerprint != first.fingerprint:
            raise ValueError(
                f"{first.folder} and {run.folder} belong to one cell and were made from different data: sha256 "
                f"{first.fingerprint[:12]} and {run.fingerprint[:12]}; report them apart, or run one of them again"
            )
        other = seeds.setdefault(run.specification["seed"], run)
        if other is not run:
            seed = run.specification["seed"]
            raise ValueError(f"{other.folder} and {run.folder} are the same run, seed {seed}; report one of them")


def flat_specification(record: Run) -> dict[str, Any]:
    """A run's specification without its seed, with hyperparameters beside the rest."""
    kept = {name: value for name, value in record.specification.items() if name not in ("seed", "hyperparameters")}
    return kept | (record.specification.get("hyperparameters") or {})


def _cell(runs: list[Run], siblings: list[list[Run]]) -> Cell:
    first, task = flat_specification(runs[0]), runs[0].task
    others = [flat_specification(sibling[0]) for sibling in siblings]
    check = permuted(runs[0].specification)
    names = dict.fromkeys(
        name for other in others for name in {**other, **first} if other.get(name) != first.get(name)
    )
    done = tuple(run for run in sorted(runs, key=lambda r: r.specification["seed"]) if run.results is not None)
    validation = [value for run in done if (value := _validation(run)) is not None]
    return Cell(
        task=task,
        specification={name: value for name, value in runs[0].specification.items() if name != "seed"},
        differs={name: first.get(name) for name in names} | ({"permute_labels": True} if check else {}),
        chosen=len(siblings) == 1 and not check,
        runs=done,
        others=tuple(run for run in runs if run.results is None),
        scores=tuple(run.scores[task.test_split][task.metric] for run in done),
        validation=float(np.mean(validation)) if validation else None,
    )


def _validation(run: Run) -> float | None:
    """The score that a run was chosen by; for a baseline on GLUE, that of held-out training items."""
    task = run.task
    if run.specification["arm"] != BASELINE or task.test_split != "validation":
        return run.score("validation", task.metric)
    return max((tried[f"validation_{task.metric}"] for tried in (run.results or {})["tried"]), default=None)


def _choose(siblings: list[Cell]) -> list[Cell]:
    """Marks the best on validation of the cells of an arm; none where the task is tested on validation."""
    known = {i: cell.validation for i, cell in enumerate(siblings) if cell.validation is not None}
    if len(siblings) == 1 or not known or siblings[0].is_check or siblings[0].task.test_split == "validation":
        return siblings
    best = max(known, key=known.__getitem__)
    return [replace(cell, chosen=i == best) for i, cell in enumerate(siblings)]


def _with_predictions(cells: list[Cell], resamples: int) -> list[Cell]:
    """Reads cells with the same test items together, so that they share resamples."""

    read: dict[int, Cell] = {}
    for alike in grouped((cell for cell in cells if cell.runs), lambda cell: cell.test_items).values():
        read |= zip(map(id, alike), _read_together(alike, resamples), strict=True)
    cells = [read.get(id(cell), cell) for cell in cells]
    return [replace(cell, interval=_interval(cell)) for cell in cells]


def _interval(cell: Cell) -> Interval | None:
    if len(cell.scores) > 1:  # equal scores do not say how far those of other seeds are
        several = len(set(cell.scores)) > 1
        return statistics.seed_interval(cell.scores, lowest_score(cell.task)) if several else None
    if cell.resampled is None or cell.truth is None:
        return None
    count, over = statistics.drawn_from(len(cell.truth), cell.groups)
    return statistics.item_interval(cell.resampled[:, 0], over, count if cell.task.metric == "accuracy" else None)


def _read_together(cells: list[Cell], resamples: int) -> list[Cell]:
    items: list[_Items] = []
    cells = [_read_cell(cell, items) for cell in cells]
    answers = [cell.answers for cell in cells if cell.answers is not None]
    if not answers:
        return cells
    _, _, truth, groups = items[0]
    task, metric = cells[0].task, cells[0].task.metric
    if not task.multi_label:
        mean = statistics.floor(metric, truth, task.regression)
        floor = Floor(task, cells[0].column.split, mean, len(truth))
        cells = [replace(cell, floor=floor) for cell in cells]
    if metric in ("spearman", "pearson"):
        resamples = min(resamples, _MOST_RANKED, max(300, _RANKED_ITEMS // len(truth)))
    scores = resampled_scores(metric, truth, np.concatenate(answers), resamples, groups=groups)
    split = iter(np.split(scores, np.cumsum([len(rows) for rows in answers])[:-1], axis=1))
    return [cell if cell.answers is None else replace(cell, resampled=next(split)) for cell in cells]


def _read_cell(cell: Cell, items: list[_Items]) -> Cell:
    """The cell with its runs' answers, if it has all of them. `items` gets those of the first run that is read."""
    task = cell.task
    predictions = [each for run in cell.runs if (each := run.predictions()) is not None]
    if len(predictions) < len(cell.runs):
        return cell
    answers, collapsed = [], []
    for run, each in zip(cell.runs, predictions, strict=True):
        ids, truth, given = each.answers(task)
        items[:] = items or [(run, ids, truth, drawn_together(run, each.ids, each.groups))]
        other, their_ids, their_truth, _ = items[0]
        if not same_items(ids, their_ids) or not np.array_equal(truth, their_truth):
            raise ValueError(
                f"{run.folder} and {other.folder} name the same data and predict other items ({len(ids)} and "
                f"{len(their_ids)}); remove one of them to run it again"
            )
        answers.append(given)
        # a baseline may be meant to answer every item alike
        if not cell.is_baseline and metrics.constant_answer(truth, given, task.regression):
            collapsed.append(run)
    calibration = None
    if task.one_label and not cell.is_probe and not any(each.decided for each in predictions):
        logits, labels = (np.concatenate([getattr(p, name) for p in predictions]) for name in ("logits", "labels"))
        calibration = metrics.calibration(logits, labels)
    _, _, truth, groups = items[0]
    return replace(
        cell,
        truth=truth,
        groups=groups,
        answers=np.stack(answers),
        calibration=calibration,
        collapsed=tuple(collapsed),
    )
