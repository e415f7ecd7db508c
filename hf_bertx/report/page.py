"""Everything that was found -> one HTML page that needs no network, no script and no other file."""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from .. import __version__
from ..arms import BASELINE
from .cells import Cell, Floor, flat_specification
from .comparisons import ArmComparison
from .figures import inline_svg
from .panels import KINDS, Panel
from .paper_tables import NOTE, PaperTable, describe, percent, share_of_data, short_name
from .pretraining_scores import Trajectory
from .pretraining_tables import NOTE as GAIN_NOTE
from .pretraining_tables import gain_cells
from .records import Failure, PlannedRun, RunRecord, RunsFolder, shown_backbone

_SHORT = {
    "comparisons": "Differences",
    "loss": "Training loss",
    "validation": "Validation",
    "pretraining": "Pre-training",
    "fractions": "Less data",
    "calibration": "Calibration",
    "confusion": "Confusion",
}
_ABOUT = {
    "comparisons": "Mean difference with its 95% interval, over test items and seeds where both arms have several, "
    "over test items alone where one has one. Filled: the corrected p is below 0.05.",
    "loss": "Mean over seeds as far as all of them went; the band goes from the lowest to the highest seed.",
    "validation": "As above. Nothing is evaluated while training where the validation set is what is tested on.",
    "pretraining": "Means with 95% intervals: over seeds, or over pre-trainings where there are several; for one run, "
    "over test items. Dashed: what does not depend on the step, another backbone or a random start.",
    "fractions": "Each point is the mean over seeds; the band goes from the lowest to the highest.",
    "calibration": "Accuracy among test items by confidence, in 15 bins of equal width, all seeds together; the area "
    "of a point is the share of items. On the dotted line a model is as sure as it is right.",
    "confusion": "Share of each true class (row), over all seeds. Classes that do not occur are left out.",
}


@dataclass(frozen=True)
class Report:
    """All that a report shows."""

    runs: RunsFolder
    cells: list[Cell]
    floors: list[Floor]
    tests: list[ArmComparison]
    tables: list[PaperTable]
    panels: list[Panel]
    trajectories: list[Trajectory]

    @property
    def collapsed(self) -> list[RunRecord]:
        return [run for cell in self.cells for run in cell.collapsed]

    @property
    def unfinished(self) -> list[RunRecord]:
        return [record for record in self.runs.records if record.state == "unfinished"]


def page(report: Report, output: Path) -> str:
    """The page as text; folders of runs are linked relative to `output`."""
    environment = Environment(undefined=StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["percent"] = percent
    template = environment.from_string((files("hf_bertx.report") / "page.html").read_text(encoding="utf-8"))
    return template.render(
        version=__version__,
        counts=_counts(report),
        problems=_problems(report, output),
        tables=[_paper_table(table) for table in report.tables],
        note=NOTE,
        figures=_figures(report.panels),
        gains=gain_cells(report.trajectories),
        gain_note=GAIN_NOTE,
        comparisons=[_comparison(test) for test in report.tests],
        tasks=_tasks(report.cells, report.floors),
        runs=[_run(record, output) for record in sorted(report.runs.records, key=_run_name)],
    )


def run_anchor(record: RunRecord) -> str:
    """The same for the same specification and seed, wherever the folder lies."""
    return "run-" + _digest(record.specification)


def cell_anchor(cell: Cell) -> str:
    return "cell-" + _digest(cell.specification)


def _digest(specification: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(specification, sort_keys=True).encode()).hexdigest()[:10]


def _href(cell: Cell) -> str:
    return "#" + (run_anchor(cell.runs[0]) if len(cell.runs) == 1 else cell_anchor(cell))


def _folder_href(folder: Path, output: Path) -> str:
    return quote(Path(os.path.relpath(folder, output)).as_posix()) + "/"


def _counts(report: Report) -> list[dict[str, Any]]:
    done = [record for record in report.runs.records if record.results is not None]
    seconds = sum((record.results or {}).get("train_seconds") or 0 for record in done)
    numbers = [
        (len(done), "finished runs", ""),
        (len({record.task.name for record in done}), "tasks", ""),
        (len({cell.name for cell in report.cells if cell.specification["arm"] != BASELINE}), "arms", ""),
        (f"{seconds / 3600:.1f}", "hours of training", ""),
        (len(report.runs.failures), "failed", "bad"),
        (len(report.collapsed), "collapsed", "bad"),
        (len(report.unfinished), "unfinished", "open"),
        (len(report.runs.missing()), "planned, not run", "open"),
    ]
    return [{"number": n, "label": label, "kind": kind} for n, label, kind in numbers if n or not kind]


def _problems(report: Report, output: Path) -> dict[str, Any]:
    failures = [
        {"name": _failure_name(f, report.runs.root), "error": f.error, "attempts": f.attempts, "time": f.time,
         "href": _folder_href(f.folder, output)}
        for f in report.runs.failures
    ]  # fmt: skip
    named = {"collapsed": report.collapsed, "unfinished": report.unfinished}
    listed = {
        kind: [{"name": _run_name(r), "href": "#" + run_anchor(r)} for r in found] for kind, found in named.items()
    }
    missing: dict[str, list[str]] = defaultdict(list)
    for run in report.runs.missing():
        missing[run.study].append(_planned_name(run))
    return {"failures": failures, **listed, "missing": dict(missing)}


def _failure_name(failure: Failure, root: Path) -> str:
    if not failure.specification:
        return Path(os.path.relpath(failure.folder, root)).as_posix()
    return _specified_name(failure.specification)


def _planned_name(run: PlannedRun) -> str:
    own = ", ".join(f"{name} {value}" for name, value in run.specification["overrides"].items())
    return _specified_name(run.specification) + (f", {own}" if own else "")


def _run_name(record: RunRecord) -> str:
    return _specified_name(record.specification)


def _specified_name(s: dict[str, Any]) -> str:
    share = "" if s["fraction"] == 1 else f", {100 * s['fraction']:g}% of the data"
    split = "" if s["split"] == "paper" else f", split {s['split']}"
    return f"{s['task']}, {s['arm']}, {shown_backbone(s['backbone'])}, {s['protocol']}{split}{share}, seed {s['seed']}"


def _paper_table(table: PaperTable) -> dict[str, Any]:
    rows = []
    for row in table.rows:
        entries = []
        for task, paper, here in zip(table.tasks, row.paper, row.here, strict=True):
            shown = _entry(here)
            entries.append(
                {"published": bool(task.published), "paper": "" if paper is None else f"{paper:.1f}", **shown}
            )
        rows.append({"label": row.label, "kind": row.kind, "entries": entries})
    heads = [
        {"name": short_name(task), "metric": task.metric, "published": bool(task.published)} for task in table.tasks
    ]
    return {
        "title": table.title, "about": describe(table).replace("`", ""), "heads": heads, "rows": rows,
        "filled": table.filled, "expected": table.expected, "undecided": table.undecided,
    }  # fmt: skip


def _entry(here: Cell | Floor | None) -> dict[str, Any]:
    empty = {"mean": "", "between": "", "href": "", "seeds": 0, "chosen": False, "hint": ""}
    if isinstance(here, Floor):
        return {**empty, "mean": percent(here.score), "hint": f"best constant answer to {here.items} items"}
    if here is None or here.mean is None:
        return empty
    seeds, interval = len(here.scores), here.interval
    told = "no interval, since its predictions are not at hand" if interval is None else f"95% over {interval.over}"
    hint = f"{seeds} seed{'s' if seeds > 1 else ''}; {told}"
    between = "" if interval is None else f"{percent(interval.low)} to {percent(interval.high)}"
    return {"mean": percent(here.mean), "between": between, "href": _href(here), "seeds": seeds,
            "chosen": bool(here.differs), "hint": hint}  # fmt: skip


def _figures(panels: Sequence[Panel]) -> list[dict[str, Any]]:
    drawn = [(panel, Markup(inline_svg(panel, i))) for i, panel in enumerate(panels)]
    return [
        {"kind": kind, "title": title, "short": _SHORT[kind], "about": _ABOUT[kind],
         "panels": [{"title": p.title, "about": p.about, "svg": svg} for p, svg in drawn if p.kind == kind]}
        for kind, title in KINDS.items()
        if any(panel.kind == kind for panel in panels)
    ]  # fmt: skip


def _comparison(test: ArmComparison) -> dict[str, Any]:
    c, s = test.comparison, test.first.specification
    return {
        "task": short_name(test.first.task),
        "setup": f"{shown_backbone(s['backbone'])}, {s['protocol']}, {s['split']}" + share_of_data(s["fraction"]),
        "first": {"name": test.first.name, "href": _href(test.first)},
        "second": {"name": test.second.name, "href": _href(test.second)},
        "difference": f"{100 * c.difference:+.1f}",
        "between": f"{100 * c.low:+.1f} to {100 * c.high:+.1f}",
        "p": _p(c.p_value),
        "p_holm": _p(test.p_holm),
        "p_percentile": _p(c.p_percentile),
        "sure": test.p_holm < 0.05,
        "effect": "" if c.effect is None else f"{c.effect:+.1f}",
        "seeds": f"{c.seeds[0]}{' = ' if c.paired_seeds else ' and '}{c.seeds[1]}" if c.seeds != (1, 1) else "1 and 1",
        "over": c.over,
        "tasks": test.tasks,
    }


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _tasks(cells: Sequence[Cell], floors: Sequence[Floor]) -> list[dict[str, Any]]:
    by_task: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        by_task[cell.task.name].append(cell)
    out = []
    for name, members in by_task.items():
        task = members[0].task
        found = [f"{percent(floor.score)} (split {floor.split})" for floor in floors if floor.task.name == name]
        out.append(
            {"name": name, "about": task.description, "metric": task.metric, "test_split": task.test_split,
             "floors": ", ".join(found), "cells": [_cell(cell) for cell in members]}
        )  # fmt: skip
    return out


def _cell(cell: Cell) -> dict[str, Any]:
    s, runs = cell.specification, []
    for run, score in zip(cell.runs, cell.scores, strict=True):
        runs.append({"seed": run.specification["seed"], "score": percent(score), "href": "#" + run_anchor(run),
                     "collapsed": run in cell.collapsed})  # fmt: skip
    return {
        "id": cell_anchor(cell),
        "name": cell.name,
        "setup": ("baseline" if s["arm"] == BASELINE else f"{shown_backbone(s['backbone'])}, {s['protocol']}")
        + ("" if s["split"] == "paper" else f", {s['split']}")
        + ("" if s["fraction"] == 1 else f", {100 * s['fraction']:g}% data"),
        "differs": ", ".join(f"{name} {_plain(value)}" for name, value in cell.differs.items()),
        "chosen": cell.chosen and bool(cell.differs),
        "runs": runs,
        "others": [
            {"seed": r.specification["seed"], "state": r.state, "href": "#" + run_anchor(r)} for r in cell.others
        ],
        "validation": percent(cell.validation) if cell.task.test_split != "validation" else "",
        "calibration": "" if cell.calibration is None else percent(cell.calibration.error),
        **{name: value for name, value in _entry(cell).items() if name in ("mean", "between", "hint")},
    }


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _run(record: RunRecord, output: Path) -> dict[str, Any]:
    order, results, task = record.order, record.results or {}, record.task
    score = record.score(task.test_split, task.metric)
    told = flat_specification(record) | {"backbone": shown_backbone(record.specification["backbone"])}
    return {
        "id": run_anchor(record),
        "name": _run_name(record),
        "state": record.state,
        "score": percent(score),
        "metric": task.metric,
        "href": _folder_href(record.folder, output),
        "scores": {split: {name: percent(value) for name, value in found.items()}
                   for split, found in results.get("metrics", {}).items()},
        "specification": {name: _plain(value) for name, value in told.items() if value is not None},
        "steps": results.get("steps"),
        "stopped": results.get("stopped"),
        "minutes": None if results.get("train_seconds") is None else f"{results['train_seconds'] / 60:.1f}",
        "error": None if record.failure is None or record.results is not None else record.failure["error"],
        "fingerprint": str(order.get("data_fingerprint"))[:16],
        "versions": ", ".join(f"{name} {number}" for name, number in order.get("versions", {}).items()),
        "machine": _machine(order.get("machine")),
    }  # fmt: skip


def _machine(machine: dict[str, Any] | None) -> str:
    return (
        "" if machine is None else f"{machine['processor']}, {machine['cores']} cores, GPU {machine['gpu'] or 'none'}"
    )
