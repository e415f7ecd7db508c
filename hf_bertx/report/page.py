"""A report as one HTML page without scripts, other files or network access."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from .. import __version__
from ..runs.run import Run
from . import formatting, paper_tables, plateau, pretraining
from .cells import Cell, Floor, floors
from .comparisons import ArmComparison
from .drawing import Kind, Panel, with_setups
from .figures import inline_svg
from .formatting import bracketed, grouped, percent, shown_backbone
from .make_cells import flat_specification
from .paper_tables import PaperTable
from .plateau import PlateauTest, Survival
from .pretraining import Trajectory
from .records import RunsFolder


@dataclass(frozen=True)
class Report:
    """All that a report shows."""

    runs: RunsFolder
    cells: list[Cell]
    tests: list[ArmComparison]
    tables: list[PaperTable]
    panels: list[Panel]
    trajectories: list[Trajectory]
    survivals: list[Survival]
    plateau_tests: list[PlateauTest]
    not_compared: list[str]

    @property
    def collapsed(self) -> list[Run]:
        return [run for cell in self.cells for run in cell.collapsed]

    @property
    def restarted(self) -> list[Run]:
        return [run for run in self.runs.records if (run.results or {}).get("restarts")]

    @property
    def unfinished(self) -> list[Run]:
        return [record for record in self.runs.records if record.state == "unfinished"]


def page(report: Report, output: Path) -> str:
    """The page as text; folders of runs are linked relative to `output`."""
    environment = Environment(undefined=StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    folder_link = partial(_folder_link, report.runs, output)
    environment.globals |= {
        **{name: getattr(formatting, name) for name in ("percent", "share_of_data", "short_name")},
        **{name: getattr(paper_tables, name) for name in ("describe", "counted", "undecided")},
        "anchor": anchor, "entry": _entry, "run_name": run_name, "plain": _plain, "folder_link": folder_link,
        "specification": _shown_specification, "cell_href": _href,
        "p_text": lambda value: "<0.001" if value < 0.001 else f"{value:.3f}",
    }  # fmt: skip
    template = environment.from_string((files("hf_bertx.report") / "page.html").read_text(encoding="utf-8"))
    return template.render(
        version=__version__,
        report=report,
        counts=_counts(report),
        problems=_problems(report, folder_link),
        note=paper_tables.NOTE,
        figures=_figures(report.panels),
        figure_tables={  # table and note below each kind of figure
            "pretraining": (pretraining.gain_cells(report.trajectories), pretraining.NOTE),
            "plateau": (plateau.plateau_cells(report.survivals, report.plateau_tests), plateau.NOTE),
        },
        tasks=[(cells[0].task, cells) for cells in grouped(report.cells, lambda cell: cell.task.name).values()],
        floors=grouped(floors(report.cells), lambda floor: floor.task.name),
        runs=sorted(report.runs.records, key=lambda run: run_name(run.specification)),
    )


def _figures(panels: list[Panel]) -> list[tuple[Kind, str, list[tuple[str, Markup, str]]]]:
    """Of each kind of figure a note, and title, picture and words of each panel."""
    figures, numbers = [], itertools.count()
    for kind, of_kind in grouped(panels, lambda panel: panel.kind).items():
        shown, note = with_setups(of_kind)
        drawn = [(panel.title, *inline_svg(panel, next(numbers))) for panel in shown]
        figures.append((kind, note, [(title, Markup(svg), words) for title, svg, words in drawn]))
    return figures


def _problems(report: Report, folder_link: Callable[[Path, str], Markup]) -> list[tuple[str, str, str, bool, list]]:
    """Class, label, what it is about, whether it is unfolded, and lines of each kind of problem."""

    def links(runs: list[Run]) -> list[Markup]:
        link = Markup('<a href="#{}">{}</a>')
        return [link.format(anchor(run), run_name(run.specification)) for run in runs]

    failed = [
        Markup('{}: {} <span class="soft">(tried {} times, last {})</span>').format(
            folder_link(each.folder, run_name(each.specification)), each.error, each.attempts, each.time
        )
        for each in report.runs.failures
    ]
    collapsed, restarted, unfinished = map(links, (report.collapsed, report.restarted, report.unfinished))
    problems: list[tuple[str, str, str, bool, list]] = [
        ("bad", "failed", _runs(failed), True, failed),
        ("bad", "collapsed", f"{len(collapsed)}: every test item got the same answer; counted in all means", True,
         collapsed),
        ("open", "restarted", f"{_runs(restarted)}: started again with half the learning rate", False, restarted),
        ("open", "unfinished", _runs(unfinished), False, unfinished),
        ("open", "not compared", "these pairs of arms", True, report.not_compared),
    ]  # fmt: skip
    for study, runs in grouped(report.runs.missing(), lambda run: run.study).items():
        names = [run_name(run.specification) for run in runs]
        problems.append(("open", "not run", f"{len(runs)} runs that the study {study} asks for", False, names))
    return [problem for problem in problems if problem[-1]]


def _runs(items: list) -> str:
    return f"{len(items)} run{'s' if len(items) > 1 else ''}"


def _folder_link(runs: RunsFolder, output: Path, folder: Path, name: str) -> Markup:
    """A link to a run's folder; for a run of an archive, its path there."""
    below = runs.below(folder)
    if runs.temporary:
        return Markup.escape(f"{name}: {below}" if name else below)
    href = quote(Path(os.path.relpath(folder, output)).as_posix()) + "/"
    return Markup('<a href="{}">{}</a>').format(href, name or below)


def anchor(shown: Run | Cell) -> str:
    """The same for the same specification, seed and metric, wherever the folder lies."""
    kind = "cell" if isinstance(shown, Cell) else "run"
    text = json.dumps([shown.specification, shown.task.metric], sort_keys=True)
    return f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"


def _href(cell: Cell) -> str:
    return "#" + anchor(cell.runs[0] if len(cell.runs) == 1 else cell)


def _counts(report: Report) -> list[tuple[Any, str, str]]:
    """Number, label and class of the counts at the head of the page."""
    done = [run for run in report.runs.records if run.results is not None]
    seconds = sum((run.results or {}).get("train_seconds") or 0 for run in done)
    numbers = [
        (len(done), "finished runs", ""),
        (len({run.task.name for run in done}), "tasks", ""),
        (len({cell.name for cell in report.cells if not cell.is_baseline}), "arms", ""),
        (f"{seconds / 3600:.1f}", "hours of training", ""),
        (len(report.runs.failures), "failed", "bad"),
        (len(report.collapsed), "collapsed", "bad"),
        (len(report.restarted), "restarted", "open"),
        (len(report.unfinished), "unfinished", "open"),
        (len(report.runs.missing()), "planned, not run", "open"),
    ]
    return [count for count in numbers if count[0] or not count[2]]


def run_name(specification: dict[str, Any]) -> str:
    """A run in words, with what a study overrides; empty where its specification is not known."""
    s = specification
    if not s:
        return ""
    share = "" if s["fraction"] == 1 else f", {100 * s['fraction']:g}% of the data"
    split = "" if s["split"] == "paper" else f", split {s['split']}"
    overrides = "".join(f", {name} {value}" for name, value in s.get("overrides", {}).items())
    further = "".join(f", {name} {s[name]}" for name in ("kmer", "window", "variant") if s.get(name))
    backbone = f"{shown_backbone(s['backbone'])}, {s['protocol']}{split}{share}"
    return f"{s['task']}, {s['arm']}, {backbone}, seed {s['seed']}{further}{overrides}"


def _entry(cell: Cell | Floor | None) -> dict[str, str]:
    """A number with its interval, its link and its tooltip."""
    entry = {"mean": "" if cell is None else percent(cell.mean), "between": "", "href": "", "hint": ""}
    if isinstance(cell, Floor):
        return {**entry, "hint": f"best constant answer to {cell.items} items"}
    if cell is None or cell.mean is None:
        return entry
    seeds, interval = len(cell.scores), cell.interval
    missing = "all seeds score alike" if seeds > 1 else "predictions are missing"
    about = f"no interval: {missing}" if interval is None else f"95% over {interval.over}"
    hint = f"{seeds} seed{'s' if seeds > 1 else ''}; {about}"
    between = bracketed(interval).strip(" []").replace(",", " to")
    return {**entry, "between": between, "href": _href(cell), "hint": hint}


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _shown_specification(run: Run) -> dict[str, str]:
    shown = flat_specification(run) | {"backbone": shown_backbone(run.specification["backbone"])}
    return {name: _plain(value) for name, value in shown.items() if value is not None}
