"""Cross-validation on own data: a run for each fold, one table, and out-of-fold predictions of every item."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .. import metrics, run_files
from ..arms import BASELINE
from ..baselines.catalog import baselines_for
from ..data.labels import joined_labels
from ..data.own_options import USER_DATA_OPTIONS
from ..launch import OF_THE_COMMAND, build_user_data
from ..publishing.compared import drawn_items
from ..report.formatting import markdown_table
from ..report.resampling import resampled_scores
from ..report.statistics import RESAMPLES, drawn_from, item_interval
from ..runs.arguments import Options
from ..runs.run import Run, drawn_together
from ..runs.spec import RunSpec
from ..study.execution import StudyContext, execute_in_order, missing, write_plan
from ..study.plan import Study
from ..tasks import Task, get_task

FOLDER = "cross_validation"  # below the runs
PREDICTIONS, TABLE, SCORES = "predictions.parquet", "table.md", "scores.json"  # not `results.json`, which marks a run
# Given options that are not passed on to the runs: they are of this command, or a study sets them itself.
_NOT_OF_RUNS = {*USER_DATA_OPTIONS, *OF_THE_COMMAND, "arm", "task", "output_dir", "threads", "disable_tqdm", "resume"}


def cross_validate(options: Options, print_line: Callable[[str], None]) -> Path:
    """Trains a run for each fold, or what is left of them, as a study; writes one table and all answers.

    Returns:
        The folder of the table, `cross_validation/TASK` below the runs.

    Raises:
        ValueError: an option or several processes that cannot be used with folds, more folds than a class has items
            or groups, or a run that failed.
    """
    run, root = options.run, Path(options.training.output_dir or "runs")
    if run.train_file is None:
        raise ValueError("--folds divides data of your own: name its file with --train_file FILE")
    for name in ("find_learning_rate", "probe_items", "push_to_hub", "validation_file"):
        if name in options.given:
            raise ValueError(f"--{name} cannot be used with --folds, which trains {run.folds} runs; leave one out")
    if not run.resume:
        raise ValueError(
            "--no_resume cannot be used with --folds; choose another --output_dir to train all folds again"
        )
    if options.training.world_size > 1:
        raise ValueError(
            f"--folds trains one run after the other in 1 process, and this is one of {options.training.world_size}; "
            "start it without accelerate launch or torchrun"
        )
    folder = build_user_data(options)
    task = get_task(folder)
    study = _study(options, folder, task)
    context = StudyContext(root, threads=run.threads)
    todo = missing(study, context)
    print_line(f"{run.folds} folds of {task.name}: {len(study.runs)} runs, {len(todo)} to do")
    write_plan(study, root)
    outcomes = execute_in_order(todo, context, lambda outcome: print_line(f"  {outcome.state}: {outcome.run.label}"))
    failed = next((outcome for outcome in outcomes if outcome.state == "failed"), None)
    if failed is not None:
        raise ValueError(f"{failed.run.label}: {failed.error}")
    if any(outcome.state == "left" for outcome in outcomes):
        raise ValueError("the time limit ended before all folds were trained; the same command goes on with them")
    return _write(study, task, root, print_line)


def _study(options: Options, folder: str, task: Task) -> Study:
    """The runs of all folds: each arm, then the plain baselines, on each fold."""
    run, of_spec = options.run, {field.name for field in fields(RunSpec)} - {"overrides", "arm", "task", "split"}
    given = options.values(sorted(options.given - _NOT_OF_RUNS))
    shared = {name: value for name, value in given.items() if name in of_spec}
    overrides = {name: value for name, value in given.items() if name not in of_spec}
    seed = options.training.seed
    runs = []
    for fold in range(1, (run.folds or 0) + 1):
        split = f"fold-{fold}"
        for arm in run.arm:
            runs.append(RunSpec(**{**shared, "task": folder, "arm": arm, "split": split, "overrides": overrides}))
        for name in baselines_for(task) if run.baselines != "none" else ():
            runs.append(RunSpec.of_baseline(name, folder, split, seed, run.fraction, run.max_eval_items))
    return Study(f"folds-{task.name}", f"Cross-validation of {task.name} in {run.folds} folds.", tuple(runs))


def _write(study: Study, task: Task, root: Path, print_line: Callable[[str], None]) -> Path:
    """The table, its numbers, and the answers of the trained runs to all items."""
    cells: dict[str, list[Run]] = {}
    for spec in study.runs:
        name = spec.backbone if spec.arm == BASELINE else spec.arm
        cells.setdefault(name, []).append(Run.open_finished(spec.folder(root)))
    folder = root / FOLDER / task.name
    rows = [_row(name, runs, task) for name, runs in cells.items()]
    trained = {name: runs for name, runs in cells.items() if runs[0].specification["arm"] != BASELINE}
    run_files.write_whole(folder / PREDICTIONS, lambda path: pq.write_table(_answers(trained, task), path))
    run_files.write_json(folder / SCORES, {"task": task.name, "metric": task.metric, "rows": rows})
    table = f"Test {task.metric} by fold:\n\n{_table(rows)}\n"
    run_files.write_text(folder / TABLE, table)
    for line in table.splitlines():
        print_line(line)
    print_line(f"wrote {folder}: {PREDICTIONS} has the answer to each item from the run that did not train on it")
    return folder


def _row(name: str, runs: list[Run], task: Task) -> dict[str, Any]:
    """Scores of the folds, and of all items together with a 95% interval over items or their groups."""
    folds = [run.score("test", task.metric) for run in runs]
    predicted = [predictions for run in runs if (predictions := run.predictions("test")) is not None]
    truth, answers = (np.concatenate(parts) for parts in zip(*(p.answers(task)[1:] for p in predicted), strict=True))
    ids = tuple(itertools.chain(*(p.ids for p in predicted)))
    known = itertools.chain(*(p.groups or [None] * len(p.ids) for p in predicted))
    groups = drawn_together(runs[0], ids, tuple(known))
    count, over = drawn_from(len(truth), groups)
    resampled = resampled_scores(task.metric, truth, answers[None], RESAMPLES, groups=groups)[:, 0]
    interval = item_interval(resampled, over, count if task.metric == "accuracy" else None)
    pooled = metrics.compute(task.metric, answers, truth)
    items = {"items": len(truth), **({} if groups is None else {"groups": count}), "folds": folds}
    items["mean"] = float(np.mean([score or 0.0 for score in folds]))
    return {"name": name, **items, "all": pooled, "low": interval.low, "high": interval.high}


def _table(rows: list[dict[str, Any]]) -> str:
    count, over = len(rows[0]["folds"]), drawn_items(rows[0]["items"], rows[0].get("groups"))
    head = ["", *(f"fold {i + 1}" for i in range(count)), "mean", f"all {over} [95%]"]
    cells = []
    for row in sorted(rows, key=lambda row: -row["all"]):
        scores = [f"{score:.3f}" for score in (*row["folds"], row["mean"])]
        cells.append([row["name"], *scores, f"{row['all']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"])
    return markdown_table(head, cells)


def _answers(cells: dict[str, list[Run]], task: Task) -> pa.Table:
    """A row an item and arm: `arm`, `fold`, `id`, `label`, `logits`, and the `answer`; of classes also the `class`."""
    parts, names = [], np.asarray(task.labels or ())
    for name, runs in cells.items():
        for fold, run in enumerate(runs, 1):
            predictions = run.predictions("test")
            assert predictions is not None  # the run is finished
            count = len(predictions.ids)
            columns: dict[str, Any] = {"arm": [name] * count, "fold": [fold] * count, "id": predictions.ids}
            columns |= {"label": predictions.labels.tolist(), "logits": predictions.logits.tolist()}
            if task.multi_label:
                columns["answer"] = [joined_labels(row > 0, names.tolist()) for row in predictions.logits]
            elif task.regression:
                columns["answer"] = predictions.logits[:, 0].tolist()
            else:
                columns["class"] = names[predictions.labels].tolist()
                columns["answer"] = names[predictions.logits.argmax(axis=1)].tolist()
            parts.append(pa.table(columns))
    return pa.concat_tables(parts)
