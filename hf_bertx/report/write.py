"""Folders of runs -> tables, figures, one page: what `bertx report` writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .. import run_files
from ..runs.run import Run
from . import paper_tables, statistics
from .cells import Cell, floors, make_cells, named_cell
from .comparisons import ArmComparison, compare_arms
from .figures import save_figures
from .formatting import (
    csv_text,
    interval_columns,
    items_of_data,
    markdown_table,
    markdown_text,
    percent,
    share_of_data,
    shown_backbone,
)
from .hypotheses import hypotheses_markdown, hypothesis_rows, judge
from .page import Report, page
from .panels import confusion, make_panels
from .plateau import plateau_markdown, plateau_panels, plateau_rows, plateau_test_rows, plateau_tests, survivals
from .pretraining import gain_rows, gains_markdown, score_rows, trajectories
from .pretraining_panels import pretraining_panels
from .probes import probe_panels
from .records import RunsFolder, collect_runs, read_runs
from .tables import markdown, tables

__all__ = ["Report", "Run", "build_report", "collect_runs", "markdown", "read_runs", "tables", "write_report"]

TABLE, TABLE_JSON, PAGE = "table.md", "table.json", "index.html"
REPORT, REPORT_JSON = "report.md", "report.json"
HYPOTHESES = "hypotheses.md"


def build_report(runs: RunsFolder, resamples: int = statistics.RESAMPLES) -> Report:
    """Everything that a report shows, computed from the files of the runs.

    Args:
        resamples: of the test items; rank correlations of many items take fewer.

    Raises:
        ValueError: see [`cells.make_cells`].
    """
    cells = make_cells(runs.records, resamples)
    bottoms, tests, series, curves = floors(cells), compare_arms(cells), trajectories(cells), survivals(cells)
    floor_of = {(floor.task.name, floor.split): floor.score for floor in bottoms}
    panels = [*make_panels(cells, bottoms, tests), *plateau_panels(curves), *pretraining_panels(series, bottoms)]
    panels += probe_panels(cells, floor_of)
    return Report(
        runs, cells, bottoms, tests, paper_tables.paper_tables(cells, bottoms), panels, series, curves,
        plateau_tests(curves),
    )  # fmt: skip


def write_report(root: Path, output: Path) -> list[Path]:
    """Writes the report of all runs below a folder; returns the paths of its files.

    `index.html` is the page; `report.md` and `report.json` hold its tables, `*.csv` the same in rows, `*.png` and
    `*.svg` its figures; `table.md` and `table.json` have one row a run.

    Raises:
        ValueError: a file of a run that cannot be read, or runs that do not belong together; the message names it.
    """
    runs = read_runs(root)
    report = build_report(runs)
    found = tables(runs.records)
    rows = report_rows(report)
    texts = {TABLE: "\n".join(markdown(table) for table in found), REPORT: report_markdown(report)}
    judged = judge(report.tests, report.plateau_tests)
    if judged:
        texts[HYPOTHESES] = hypotheses_markdown(judged)
        rows["hypotheses"] = hypothesis_rows(judged)
    values = {TABLE_JSON: found, REPORT_JSON: report_json(report, rows)}
    texts |= {f"{name}.csv": csv_text(each) for name, each in rows.items() if each}
    for name, text in texts.items():
        run_files.write_text(output / name, text)
    for name, value in values.items():
        run_files.write_json(output / name, value)
    figures = save_figures(report.panels, output)
    run_files.write_text(output / PAGE, page(report, output))
    return [*(output / name for name in (*texts, *values)), *figures, output / PAGE]


def report_rows(report: Report) -> dict[str, list[dict[str, Any]]]:
    """The numbers of a report as flat rows, by the name of their file."""
    return {
        "paper_tables": paper_tables.flat_rows(report.tables),
        "cells": [_cell_row(cell) for cell in report.cells],
        "comparisons": [_comparison_row(test) for test in report.tests],
        "plateau": plateau_rows(report.survivals),
        "plateau_tests": plateau_test_rows(report.plateau_tests),
        "pretraining": score_rows(report.trajectories),
        "pretraining_gain": gain_rows(report.trajectories),
        "runs": [_run_row(record) for record in report.runs.records],
        "calibration": [row for cell in report.cells for row in _calibration_rows(cell)],
        "confusion": [row for cell in report.cells for row in _confusion_rows(cell)],
    }


def report_json(report: Report, rows: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """The tables of a report and what did not come out, JSON-ready."""
    shown = ("paper_tables", "cells", "comparisons", "pretraining_gain", "plateau", "plateau_tests")
    return {
        "format": 1,
        **{name: rows[name] for name in shown},
        "floors": [
            {"task": f.task.name, "split": f.split, "metric": f.task.metric, "score": f.score, "items": f.items}
            for f in report.floors
        ],
        "failed": [{**asdict(f), "folder": _below(f.folder, report)} for f in report.runs.failures],
        "collapsed": [_below(run.folder, report) for run in report.collapsed],
        "unfinished": [_below(run.folder, report) for run in report.unfinished],
        "missing": [
            {"study": run.study, "folder": _below(run.folder, report), "specification": run.specification}
            for run in report.runs.missing()
        ],
    }


def report_markdown(report: Report) -> str:
    """The paper's tables, the tests, and what did not come out."""
    parts = [paper_tables.markdown(table) for table in report.tables]
    if report.tests:
        parts.append(_tests_markdown(report.tests))
    if report.survivals:
        parts.append(plateau_markdown(report.survivals, report.plateau_tests))
    if report.trajectories:
        parts.append(gains_markdown(report.trajectories))
    problems = [
        *(f"failed: {_below(f.folder, report)}: {f.error} (tried {f.attempts} times)" for f in report.runs.failures),
        *(f"collapsed, every test item is answered alike: {_below(r.folder, report)}" for r in report.collapsed),
        *(f"unfinished: {_below(r.folder, report)}" for r in report.unfinished),
        *(f"not run, asked for by {r.study}: {_below(r.folder, report)}" for r in report.runs.missing()),
    ]
    if problems:
        parts.append("\n".join(["## What did not come out", "", *(f"- {markdown_text(p)}" for p in problems), ""]))
    return "\n".join(parts)


def _tests_markdown(tests: Sequence[ArmComparison]) -> str:
    head = ["task", "arms", "difference x 100", "95% interval", "p (Holm)", "g", "seeds", "over"]
    rows = []
    for test in tests:
        c, first = test.comparison, test.first
        s = first.specification
        task = first.task.name + share_of_data(s["fraction"]) + items_of_data(s.get("items"))
        between = f"{percent(c.low, '+')} to {percent(c.high, '+')}"
        effect = "" if c.effect is None else f"{c.effect:+.1f}"
        rows.append([task, f"`{first.name}` - `{test.second.name}`", percent(c.difference, "+"), between,
                     f"{test.p_holm:.3g}", effect, f"{c.seeds[0]}, {c.seeds[1]}", c.over])  # fmt: skip
    return "\n".join(["## Tests of two arms", "", markdown_table(head, rows), ""])


def _below(folder: Path, report: Report) -> str:
    root = report.runs.root.resolve()
    resolved = folder.resolve()
    return resolved.relative_to(root).as_posix() if resolved.is_relative_to(root) else resolved.name


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
    c = asdict(test.comparison)
    seeds = c.pop("seeds")
    named = named_cell(test.first)
    named = {name: named[name] for name in ("task", "backbone", "protocol", "split", "fraction")}
    return {**named, "first": test.first.name, "second": test.second.name, "metric": test.first.task.metric, **c,
            "first_seeds": seeds[0], "second_seeds": seeds[1], "p_holm": test.p_holm, "tasks": test.tasks}  # fmt: skip


def _run_row(record: Run) -> dict[str, Any]:
    s, results = record.specification, record.results or {}
    names = ("task", "arm", "protocol", "split", "fraction", "seed")
    return {
        **{name: s[name] for name in names},
        "backbone": shown_backbone(s["backbone"]),
        "learning_rate": (s.get("hyperparameters") or {}).get("learning_rate"),
        "state": record.state,
        "metric": record.task.metric,
        "test": record.score(record.task.test_split, record.task.metric),
        "validation": record.score("validation", record.task.metric),
        "steps": results.get("steps"),
        "train_seconds": results.get("train_seconds"),
        "folder": record.folder.as_posix(),
    }


def _calibration_rows(cell: Cell) -> list[dict[str, Any]]:
    bins = () if cell.calibration is None else cell.calibration.bins
    return [{**named_cell(cell), "confidence": sure, "accuracy": right, "items": n} for sure, right, n in bins]


def _confusion_rows(cell: Cell) -> list[dict[str, Any]]:
    labels = cell.task.labels
    if cell.answers is None or labels is None:
        return []
    counts = confusion(cell)
    return [
        {**named_cell(cell), "true": labels[i], "given": labels[j], "items": int(counts[i, j])}
        for i, j in zip(*counts.nonzero(), strict=True)
    ]
