"""Folders of runs -> tables, figures, one page: what `bertx report` writes."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .. import run_files, statistics
from .cells import Cell, floors, make_cells
from .comparisons import ArmComparison, compare_arms
from .figures import save_figures
from .page import Report, page
from .panels import confusion, make_panels
from .paper_tables import flat_rows, markdown_table, paper_tables, share_of_data
from .pretraining_panels import pretraining_panels
from .pretraining_scores import trajectories
from .pretraining_tables import gain_rows, gains_markdown, score_rows
from .records import RunRecord, RunsFolder, collect_runs, read_runs, shown_backbone
from .tables import markdown, tables

__all__ = ["Report", "RunRecord", "build_report", "collect_runs", "markdown", "read_runs", "tables", "write_report"]

TABLE, TABLE_JSON, PAGE = "table.md", "table.json", "index.html"
REPORT, REPORT_JSON = "report.md", "report.json"


def build_report(runs: RunsFolder, resamples: int = statistics.RESAMPLES) -> Report:
    """Everything that a report shows, computed from the files of the runs.

    Args:
        resamples: of the test items; rank correlations of many items take fewer.

    Raises:
        ValueError: see [`cells.make_cells`].
    """
    cells = make_cells(runs.records, resamples)
    bottoms = floors(cells)
    tests = compare_arms(cells)
    series = trajectories(cells)
    panels = [*make_panels(cells, bottoms, tests), *pretraining_panels(series, bottoms)]
    return Report(runs, cells, bottoms, tests, paper_tables(cells, bottoms), panels, series)


def write_report(root: Path, output: Path) -> list[Path]:
    """Writes the report of all runs below a folder; returns the paths of its files.

    `index.html` is the page; `report.md` and `report.json` hold its tables, `*.csv` the same in rows, `*.png` and
    `*.svg` its figures; `table.md` and `table.json` have one row a run.

    Raises:
        ValueError: a file of a run that cannot be read, or runs that do not belong together; the message names them.
    """
    runs = read_runs(root)
    report = build_report(runs)
    found = tables(runs.records)
    run_files.write_text(output / TABLE, "\n".join(markdown(table) for table in found))
    run_files.write_json(output / TABLE_JSON, found)
    run_files.write_text(output / REPORT, report_markdown(report))
    run_files.write_json(output / REPORT_JSON, report_json(report))
    written = [output / name for name in (TABLE, TABLE_JSON, REPORT, REPORT_JSON)]
    for name, rows in report_rows(report).items():
        if rows:
            run_files.write_text(output / f"{name}.csv", _csv(rows))
            written.append(output / f"{name}.csv")
    written += save_figures(report.panels, output)
    run_files.write_text(output / PAGE, page(report, output))
    return [*written, output / PAGE]


def report_rows(report: Report) -> dict[str, list[dict[str, Any]]]:
    """The numbers of a report as flat rows, by the name of their file."""
    return {
        "paper_tables": flat_rows(report.tables),
        "cells": [_cell_row(cell) for cell in report.cells],
        "comparisons": [_comparison_row(test) for test in report.tests],
        "pretraining": score_rows(report.trajectories),
        "pretraining_gain": gain_rows(report.trajectories),
        "runs": [_run_row(record) for record in report.runs.records],
        "calibration": [row for cell in report.cells for row in _calibration_rows(cell)],
        "confusion": [row for cell in report.cells for row in _confusion_rows(cell)],
    }


def report_json(report: Report) -> dict[str, Any]:
    """The tables of a report and what did not come out, JSON-ready."""
    rows = report_rows(report)
    return {
        "format": 1,
        **{name: rows[name] for name in ("paper_tables", "cells", "comparisons", "pretraining_gain")},
        "floors": [
            {"task": f.task.name, "split": f.split, "metric": f.task.metric, "score": f.score, "items": f.items}
            for f in report.floors
        ],
        "failed": [{**asdict(f), "folder": _below(f.folder, report)} for f in report.runs.failures],
        "collapsed": [_below(run.folder, report) for run in report.collapsed],
        "unfinished": [_below(run.folder, report) for run in report.unfinished],
        "missing": [{**asdict(run), "folder": _below(run.folder, report)} for run in report.runs.missing()],
    }


def report_markdown(report: Report) -> str:
    """The paper's tables, the tests, and what did not come out."""
    parts = [markdown_table(table) for table in report.tables]
    if report.tests:
        parts.append(_tests_markdown(report.tests))
    if report.trajectories:
        parts.append(gains_markdown(report.trajectories))
    problems = [
        f"- failed: {_below(f.folder, report)}: {f.error} (tried {f.attempts} times)" for f in report.runs.failures
    ]
    problems += [
        f"- collapsed, every test item is answered alike: {_below(r.folder, report)}" for r in report.collapsed
    ]
    problems += [f"- unfinished: {_below(r.folder, report)}" for r in report.unfinished]
    problems += [f"- not run, asked for by {r.study}: {_below(r.folder, report)}" for r in report.runs.missing()]
    if problems:
        parts.append("\n".join(["## What did not come out", "", *problems, ""]))
    return "\n".join(parts)


def _tests_markdown(tests: Sequence[ArmComparison]) -> str:
    head = ["task", "arms", "difference x 100", "95% interval", "p (Holm)", "p (multibootstrap)", "g", "seeds", "over"]
    lines = ["## Tests of two arms", "", "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for test in tests:
        c = test.comparison
        task = test.first.task.name + share_of_data(test.first.specification["fraction"])
        cells = [task, f"`{test.first.name}` - `{test.second.name}`", f"{100 * c.difference:+.1f}"]
        cells += [f"{100 * c.low:+.1f} to {100 * c.high:+.1f}", f"{test.p_holm:.3g}", f"{c.p_percentile:.3g}"]
        cells += ["" if c.effect is None else f"{c.effect:+.1f}", f"{c.seeds[0]}, {c.seeds[1]}", c.over]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def _below(folder: Path, report: Report) -> str:
    root = report.runs.root.resolve()
    resolved = folder.resolve()
    return resolved.relative_to(root).as_posix() if resolved.is_relative_to(root) else resolved.name


def _named(cell: Cell) -> dict[str, Any]:
    s = cell.specification
    names = ("task", "arm", "protocol", "split", "fraction")
    differs = "; ".join(f"{name}={value}" for name, value in cell.differs.items())
    return {**{name: s[name] for name in names}, "backbone": shown_backbone(s["backbone"]), "differs": differs}


def _cell_row(cell: Cell) -> dict[str, Any]:
    interval = cell.interval
    return {
        **_named(cell),
        "chosen": cell.chosen,
        "metric": cell.task.metric,
        "mean": cell.mean,
        "low": None if interval is None else interval.low,
        "high": None if interval is None else interval.high,
        "interval_over": None if interval is None else interval.over,
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
    named = _named(test.first)
    named = {name: named[name] for name in ("task", "backbone", "protocol", "split", "fraction")}
    return {**named, "first": test.first.name, "second": test.second.name, "metric": test.first.task.metric, **c,
            "first_seeds": seeds[0], "second_seeds": seeds[1], "p_holm": test.p_holm, "tasks": test.tasks}  # fmt: skip


def _run_row(record: RunRecord) -> dict[str, Any]:
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
    return [{**_named(cell), "confidence": sure, "accuracy": right, "items": n} for sure, right, n in bins]


def _confusion_rows(cell: Cell) -> list[dict[str, Any]]:
    labels = cell.task.labels
    if cell.answers is None or labels is None:
        return []
    counts = confusion(cell)
    return [
        {**_named(cell), "true": labels[i], "given": labels[j], "items": int(counts[i, j])}
        for i, j in zip(*counts.nonzero(), strict=True)
    ]


def _csv(rows: list[dict[str, Any]]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()
