"""Folders of runs -> tables, figures, one page: what `bertx report` writes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .. import run_files
from ..runs.run import Run
from . import paper_tables, plateau, pretraining, statistics
from .cells import Cell, floors, named_cell
from .comparisons import ArmComparison, compare_arms, not_compared
from .figures import save_figures
from .formatting import (
    csv_text,
    interval_columns,
    markdown_section,
    markdown_text,
    percent,
    share_of_data,
    shown_backbone,
)
from .hypotheses import hypotheses_markdown, hypothesis_rows, judge
from .make_cells import make_cells
from .page import Report, page
from .panels import answer_panels, confusion, training_panels
from .probes import probe_panels
from .records import RunsFolder, collect_runs, read_runs
from .tables import markdown, tables
from .worth import side_by_side, worth, worth_markdown, worth_panels

__all__ = ["Report", "Run", "build_report", "collect_runs", "markdown", "read_runs", "tables", "write_report"]


def build_report(runs: RunsFolder, resamples: int = statistics.RESAMPLES) -> Report:
    """Everything that a report shows, computed from the files of the runs.

    Args:
        resamples: of the test items; rank correlations of many items take fewer.

    Raises:
        ValueError: see [`make_cells`].
    """
    cells = make_cells(runs.records, resamples)
    tests = compare_arms(cells)
    series, curves = pretraining.trajectories(cells), plateau.survivals(cells)
    panels = [*worth_panels(tests), *training_panels(cells, tests), *plateau.plateau_panels(curves)]
    panels += [*pretraining.pretraining_panels(series), *probe_panels(cells), *answer_panels(cells)]
    tables, left_plateau = paper_tables.paper_tables(cells), plateau.plateau_tests(curves)
    return Report(runs, cells, tests, tables, panels, series, curves, left_plateau, not_compared(cells))


def write_report(runs: RunsFolder | Path, output: Path) -> list[Path]:
    """Writes the report of all runs below a folder; returns the paths of its files.

    `index.html` is the page; `report.md` and `report.json` hold its tables, `*.csv` the same in rows, `*.png` and
    `*.svg` its figures; `table.md` and `table.json` have one row a run. Files of an earlier report in the folder are
    replaced, or removed where this one has no such file.

    Raises:
        ValueError: a file of a run that cannot be read, or runs that do not belong together; the message names it.
    """
    runs = read_runs(runs) if isinstance(runs, Path) else runs
    report, by_run = build_report(runs), tables(runs)
    rows = report_rows(report)
    texts = {"table.md": "\n".join(map(markdown, by_run)), "report.md": report_markdown(report)}
    if worth(report.tests):
        beside = side_by_side(report.tables, report.cells, report.runs.planned)
        texts["worth.md"] = f"{worth_markdown(report.tests, report.cells)}\n{beside}"
    judged = judge(report.tests, report.plateau_tests)
    if judged:
        texts["hypotheses.md"] = hypotheses_markdown(judged)
        rows["hypotheses"] = hypothesis_rows(judged)
    texts |= {f"{name}.csv": csv_text(each) for name, each in rows.items() if each}
    for name, text in texts.items():
        run_files.write_text(output / name, text)
    pictures = [path.name for path in save_figures(report.panels, output)]
    run_files.write_text(output / "index.html", page(report, output))
    files = [*texts, "table.json", "report.json", *pictures, "index.html"]
    for name in _files_of(output / "report.json") - set(files):
        (output / name).unlink(missing_ok=True)
    run_files.write_json(output / "table.json", by_run)
    run_files.write_json(output / "report.json", {**report_json(report, rows), "files": files})
    return [output / name for name in files]


def _files_of(report: Path) -> set[str]:
    """The files of an earlier report in the same folder, which may be of other runs. Nothing else is named there."""
    try:
        content = run_files.read_json(report)
    except ValueError:  # there is none, or it is not ours
        return set()
    if not isinstance(content, dict) or not {"format", "paper_tables", "floors", "files"} <= set(content):
        return set()
    return {name for name in content["files"] if (report.parent / name).parent == report.parent and name != ".."}


def report_rows(report: Report) -> dict[str, list[dict[str, Any]]]:
    """The numbers of a report as flat rows, by the name of their file."""
    return {
        "paper_tables": paper_tables.flat_rows(report.tables),
        "cells": [_cell_row(cell) for cell in report.cells],
        "comparisons": [_comparison_row(test) for test in report.tests],
        "plateau": plateau.plateau_rows(report.survivals),
        "plateau_tests": plateau.plateau_test_rows(report.plateau_tests),
        "pretraining": pretraining.score_rows(report.trajectories),
        "pretraining_gain": pretraining.gain_rows(report.trajectories),
        "runs": [_run_row(run) | {"folder": report.runs.below(run.folder)} for run in report.runs.records],
        "calibration": [row for cell in report.cells for row in _calibration_rows(cell)],
        "confusion": [row for cell in report.cells for row in _confusion_rows(cell)],
    }


def report_json(report: Report, rows: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """The tables of a report, and the runs that failed or are missing, JSON-ready."""
    below = report.runs.below
    shown = ("paper_tables", "cells", "comparisons", "pretraining_gain", "plateau", "plateau_tests")
    return {
        "format": 1,
        **{name: rows[name] for name in shown},
        "floors": [
            {"task": f.task.name, "split": f.split, "metric": f.task.metric, "score": f.mean, "items": f.items}
            for f in floors(report.cells)
        ],
        "failed": [{**asdict(f), "folder": below(f.folder)} for f in report.runs.failures],
        "collapsed": [below(run.folder) for run in report.collapsed],
        "restarted": [below(run.folder) for run in report.restarted],
        "unfinished": [below(run.folder) for run in report.unfinished],
        "not_compared": report.not_compared,
        "missing": [{**vars(run), "folder": below(run.folder)} for run in report.runs.missing()],
    }


def report_markdown(report: Report) -> str:
    """The paper's tables, the tests, and the runs that failed or are missing."""
    parts = [paper_tables.markdown(table) for table in report.tables]
    if report.tests:
        parts.append(markdown_section("Tests of two arms", [_test_cells(test) for test in report.tests]))
    if report.survivals:
        rows = plateau.plateau_cells(report.survivals, report.plateau_tests)
        parts.append(markdown_section(plateau.TITLE, rows, plateau.NOTE))
    if report.trajectories:
        rows = pretraining.gain_cells(report.trajectories)
        parts.append(markdown_section(pretraining.TITLE, rows, pretraining.NOTE))
    problems = [f"- {markdown_text(problem)}" for problem in _problems(report)]
    if problems:
        parts.append("\n".join(["## Runs with problems", "", *problems, ""]))
    return "\n".join(parts)


def _problems(report: Report) -> Iterator[str]:
    below = report.runs.below
    for failure in report.runs.failures:
        yield f"failed: {below(failure.folder)}: {failure.error} (tried {failure.attempts} times)"
    for run in report.collapsed:
        yield f"collapsed, every test item got the same answer: {below(run.folder)}"
    for run in report.restarted:
        yield f"started again {len((run.results or {})['restarts'])} times with half the rate: {below(run.folder)}"
    for line in report.not_compared:
        yield f"not compared: {line}"
    for run in report.unfinished:
        yield f"unfinished: {below(run.folder)}"
    for planned in report.runs.missing():
        yield f"planned by {planned.study}, not run: {below(planned.folder)}"


def _test_cells(test: ArmComparison) -> dict[str, str]:
    """A comparison for a reader, by the heads of columns."""
    c = test.comparison
    return {
        "task": test.first.task.name + share_of_data(test.first.fraction),
        "backbone, protocol, split": test.first.column.setup,
        "arms": f"`{test.first.name}` - `{test.second.name}`",
        "difference x 100": percent(c.difference, "+"),
        "95% interval": f"{percent(c.low, '+')} to {percent(c.high, '+')}",
        "p (Holm)": f"{test.p_holm:.3g}",
        "g": "" if c.effect is None else f"{c.effect:+.1f}",
        "seeds": f"{c.seeds[0]}, {c.seeds[1]}",
        "over": c.over,
    }


def _cell_row(cell: Cell) -> dict[str, Any]:
    return {
        **named_cell(cell),
        "chosen": cell.chosen,
        "metric": cell.task.metric,
        "mean": cell.mean,
        **interval_columns(cell.interval, "interval_over"),
        "seeds": " ".join(str(run.specification["seed"]) for run in cell.runs),
        "scores": " ".join(f"{score:.6g}" for score in cell.scores),
        "validation": cell.validation,
        "calibration_error": None if cell.calibration is None else cell.calibration.error,
        "collapsed": len(cell.collapsed),
        "not_finished": len(cell.others),
        "data_fingerprint": cell.fingerprint,
    }


def _comparison_row(test: ArmComparison) -> dict[str, Any]:
    numbers, cell, s = asdict(test.comparison), named_cell(test.first), test.first.specification
    first_seeds, second_seeds = numbers.pop("seeds")
    return {
        **{name: cell[name] for name in ("task", "backbone", "protocol", "split", "fraction")},
        "train_items": s.get("items"), "max_eval_items": s.get("max_eval_items"),
        "first": test.first.name, "second": test.second.name, "metric": test.first.task.metric, **numbers,
        "first_seeds": first_seeds, "second_seeds": second_seeds, "p_holm": test.p_holm, "tasks": test.tasks,
    }  # fmt: skip


def _run_row(run: Run) -> dict[str, Any]:
    s, results = run.specification, run.results or {}
    return {
        **{name: s[name] for name in ("task", "arm", "protocol", "split", "fraction", "seed")},
        "backbone": shown_backbone(s["backbone"]),
        "learning_rate": (s.get("hyperparameters") or {}).get("learning_rate"),
        "state": run.state,
        "metric": run.task.metric,
        "test": run.score(run.task.test_split, run.task.metric),
        "validation": run.score("validation", run.task.metric),
        "steps": results.get("steps"),
        "train_seconds": results.get("train_seconds"),
    }


def _calibration_rows(cell: Cell) -> list[dict[str, Any]]:
    bins = () if cell.calibration is None else cell.calibration.bins
    return [{**named_cell(cell), "confidence": sure, "accuracy": right, "items": n} for sure, right, n in bins]


def _confusion_rows(cell: Cell) -> list[dict[str, Any]]:
    labels = cell.task.labels
    if cell.answers is None or labels is None or cell.task.multi_label:
        return []
    counts = confusion(cell)
    return [
        {**named_cell(cell), "true": labels[i], "given": labels[j], "items": int(counts[i, j])}
        for i, j in zip(*counts.nonzero(), strict=True)
    ]
