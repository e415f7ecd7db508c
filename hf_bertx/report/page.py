"""Everything that a report shows -> one HTML page that needs no network, no script and no other file."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from .. import __version__
from ..runs.run import Run
from . import formatting, paper_tables, plateau, pretraining
from .cells import Cell, Floor, flat_specification
from .comparisons import ArmComparison
from .figures import inline_svg
from .formatting import bracketed, grouped, percent, shown_backbone
from .panels import KINDS, Panel
from .paper_tables import PaperTable
from .plateau import PlateauTest, Survival
from .pretraining import Trajectory
from .records import RunsFolder


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
    survivals: list[Survival]
    plateau_tests: list[PlateauTest]

    @property
    def collapsed(self) -> list[Run]:
        return [run for cell in self.cells for run in cell.collapsed]

    @property
    def unfinished(self) -> list[Run]:
        return [record for record in self.runs.records if record.state == "unfinished"]


def page(report: Report, output: Path) -> str:
    """The page as text; folders of runs are linked relative to `output`."""
    environment = Environment(undefined=StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.globals |= {
        **{name: getattr(formatting, name) for name in ("percent", "setup", "share_of_data", "short_name")},
        "describe": paper_tables.describe, "counted": paper_tables.counted, "undecided": paper_tables.undecided,
        "run_anchor": run_anchor, "cell_anchor": cell_anchor, "entry": _entry, "run_name": run_name, "plain": _plain,
        "folder_href": lambda folder: quote(Path(os.path.relpath(folder, output)).as_posix()) + "/",
        "failed_name": lambda failure: _failed_name(failure, report.runs.root), "specification": _shown_specification,
        "cell_href": _href, "p_text": lambda value: "<0.001" if value < 0.001 else f"{value:.3f}",
    }  # fmt: skip
    template = environment.from_string((files("hf_bertx.report") / "page.html").read_text(encoding="utf-8"))
    return template.render(
        version=__version__,
        report=report,
        counts=_counts(report),
        missing=grouped(report.runs.missing(), lambda run: run.study),
        note=paper_tables.NOTE,
        figures=_figures(report.panels),
        figure_tables=_figure_tables(report),
        tasks=[(members[0].task, members) for members in grouped(report.cells, lambda c: c.task.name).values()],
        floors=grouped(report.floors, lambda floor: floor.task.name),
        runs=sorted(report.runs.records, key=lambda record: run_name(record.specification)),
    )


def _digest(specification: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(specification, sort_keys=True).encode()).hexdigest()[:10]


def run_anchor(record: Run) -> str:
    """The same for the same specification and seed, wherever the folder lies."""
    return "run-" + _digest(record.specification)


def cell_anchor(cell: Cell) -> str:
    return "cell-" + _digest(cell.specification)


def _href(cell: Cell) -> str:
    return "#" + (run_anchor(cell.runs[0]) if len(cell.runs) == 1 else cell_anchor(cell))


def _counts(report: Report) -> list[tuple[Any, str, str]]:
    """Number, label and class of the counts at the head of the page."""
    done = [record for record in report.runs.records if record.results is not None]
    seconds = sum((record.results or {}).get("train_seconds") or 0 for record in done)
    numbers = [
        (len(done), "finished runs", ""),
        (len({record.task.name for record in done}), "tasks", ""),
        (len({cell.name for cell in report.cells if not cell.is_baseline}), "arms", ""),
        (f"{seconds / 3600:.1f}", "hours of training", ""),
        (len(report.runs.failures), "failed", "bad"),
        (len(report.collapsed), "collapsed", "bad"),
        (len(report.unfinished), "unfinished", "open"),
        (len(report.runs.missing()), "planned, not run", "open"),
    ]
    return [count for count in numbers if count[0] or not count[2]]


def _failed_name(failure: Any, root: Path) -> str:
    return run_name(failure.specification) or Path(os.path.relpath(failure.folder, root)).as_posix()


def run_name(specification: dict[str, Any]) -> str:
    """A run in words, with what a study asks of it; empty where nothing is known of it."""
    s = specification
    if not s:
        return ""
    share = "" if s["fraction"] == 1 else f", {100 * s['fraction']:g}% of the data"
    split = "" if s["split"] == "paper" else f", split {s['split']}"
    own = "".join(f", {name} {value}" for name, value in s.get("overrides", {}).items())
    backbone = shown_backbone(s["backbone"])
    return f"{s['task']}, {s['arm']}, {backbone}, {s['protocol']}{split}{share}, seed {s['seed']}{own}"


def _entry(here: Cell | Floor | None) -> dict[str, str]:
    """A number with its interval, where it leads, and what a pointer on it shows."""
    if here is None or (isinstance(here, Cell) and here.mean is None):
        return {"mean": "", "between": "", "href": "", "hint": ""}
    if isinstance(here, Floor):
        hint = f"best constant answer to {here.items} items"
        return {"mean": percent(here.score), "between": "", "href": "", "hint": hint}
    seeds, interval = len(here.scores), here.interval
    about = "no interval, its predictions are missing" if interval is None else f"95% over {interval.over}"
    return {"mean": percent(here.mean), "between": bracketed(interval).strip(" []").replace(",", " to"),
            "href": _href(here), "hint": f"{seeds} seed{'s' if seeds > 1 else ''}; {about}"}  # fmt: skip


def _figures(panels: Sequence[Panel]) -> dict[str, tuple[str, list[tuple[Panel, Markup]]]]:
    """Kind of figure -> its title, and its panels with their pictures."""
    drawn = grouped(
        ((panel, Markup(inline_svg(panel, i))) for i, panel in enumerate(panels)), lambda each: each[0].kind
    )
    return {kind: (title, drawn[kind]) for kind, title in KINDS.items() if kind in drawn}


def _figure_tables(report: Report) -> dict[str, tuple[list[dict[str, str]], str]]:
    """Kind of figure -> the table below it, and its note."""
    return {
        "pretraining": (pretraining.gain_cells(report.trajectories), pretraining.NOTE),
        "plateau": (plateau.plateau_cells(report.survivals, report.plateau_tests), plateau.NOTE),
    }


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _shown_specification(record: Run) -> dict[str, str]:
    shown = flat_specification(record) | {"backbone": shown_backbone(record.specification["backbone"])}
    return {name: _plain(value) for name, value in shown.items() if value is not None}
