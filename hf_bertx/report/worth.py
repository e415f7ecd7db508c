"""The worth of text pre-training on each task: pre-trained minus random start, beside the paper's difference."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from ..tasks import TASKS, Task
from .cells import LITTLE, Cell, Column, best_baseline
from .comparisons import ArmComparison, at_main_size
from .drawing import COLORS, INK, Kind, Panel
from .formatting import (
    bracketed,
    grouped,
    markdown_table,
    percent,
    short_name,
    shortened,
    task_rank,
)
from .paper_tables import FLOOR, PaperRow, PaperTable, ours_text
from .records import Planned

_PAIRS: tuple[tuple[str, str], ...] = (("bert", "rand"),)
# Text with its own token ids is what the backbone was pre-trained on, so text tasks are compared when shifted.
_PAIRS_OF_TEXT = (("shift_1000", "shift_1000_rand"), ("shift_1000", "rand"))
NOTE = (
    "Scores x 100 on test: mean over runs, which differ by seed. Difference: pre-trained minus random start, over the "
    "seeds that both have if there are two, with its 95% interval (runs of each), bold where p < 0.05, corrected over "
    "tasks (Holm). Of one run each, the interval is "
    "over test items alone: another seed may differ by more. Text: token ids shifted by 1000. Baseline: the best on "
    "validation of those that were run, on all training items. The paper's difference is of BERT-base, fine-tuned."
)
WORTH = Kind(
    "worth",
    "What pre-training on text was worth",
    "Worth",
    "Score of the pre-trained start minus that of the random one, with its 95% interval. A filled mark has a "
    "corrected p below 0.05. Text tasks: token ids shifted by 1000.",
)


def worth(tests: Iterable[ArmComparison]) -> dict[str, list[ArmComparison]]:
    """Comparisons of the pre-trained start with the random one on the whole task, by backbone and split.

    Of probes, those with the number of training items that most tasks have.
    """
    shown = []
    for test in tests:
        pairs = _PAIRS_OF_TEXT if test.first.task.discipline == "text" else _PAIRS
        if (test.first.name, test.second.name) in pairs and test.first.share == 1:
            shown.append(test)
    of_column = grouped(shown, lambda test: test.first.column).values()
    shown = [max(members, key=lambda test: test.second.name != "rand") for members in of_column]  # its own control
    shown = sorted(at_main_size(shown), key=lambda test: task_rank(test.first.task.name))
    return grouped(shown, lambda test: test.first.column.title)


def paper_difference(task: Task) -> float | None:
    """The paper's pre-trained minus random start, x 100; None where it lacks one."""
    rows = ("shift 1000", "shift 1000 (rand)") if task.discipline == "text" else ("BERT", "rand")
    pretrained, random = (task.published_score(row) for row in rows)
    return None if pretrained is None or random is None else pretrained.value - random.value


def worth_markdown(tests: Sequence[ArmComparison], cells: Sequence[Cell]) -> str:
    """For each backbone and split: the differences of all methods beside the paper's, then a table a method."""
    parts = ["## What pre-training on text was worth", ""]
    for title, members in worth(tests).items():
        parts += [f"{title}, pre-trained minus random:", "", _differences(members), ""]
        for name, of_method in grouped(members, lambda test: test.first.column.method).items():
            parts += [f"{title}, {name}:", "", _of_one_method(of_method, cells), ""]
    return "\n".join([*parts, NOTE, ""])


def _methods(members: Sequence[ArmComparison]) -> list[str]:
    """Of trained models first."""
    trained_first = sorted(members, key=lambda test: test.first.is_probe)
    return list(dict.fromkeys(test.first.column.method for test in trained_first))


def _differences(members: Sequence[ArmComparison]) -> str:
    """A row a task, a column a method; bold where the corrected p is small."""
    methods = _methods(members)
    rows = []
    for of_task in grouped(members, lambda test: test.first.task.name).values():
        task, by_method = of_task[0].first.task, {test.first.column.method: test for test in of_task}
        shown = [_difference(by_method[name]) if name in by_method else "" for name in methods]
        rows.append([plain_name(task), task.metric, _paper_text(task), *shown])
    return markdown_table(["task", "score", "paper", *methods], rows)


def _difference(test: ArmComparison) -> str:
    c, mark = test.comparison, "**" if test.significant else ""
    runs = ", ".join(map(str, c.seeds)) + test.first.part
    return f"{mark}{percent(c.difference, '+')}{mark}{bracketed(c, '+')} ({runs})"


def _of_one_method(tests: Sequence[ArmComparison], cells: Sequence[Cell]) -> str:
    """A row a task; a column without a value is left out."""
    rows = []
    for test in tests:
        task, c = test.first.task, test.comparison
        baseline = best_baseline(cells, *test.first.test_items)
        rows.append({
            "task": plain_name(task) + test.first.part,
            "score": task.metric,
            "pre-trained": percent(test.first.mean),
            "random": percent(test.second.mean),
            "difference [95%]": percent(c.difference, "+") + bracketed(c, "+"),
            "p": f"{test.p_holm:.2g}",
            "runs": ", ".join(map(str, c.seeds)),
            "plain baseline": _baseline_text(baseline, interval=True),
            "paper's difference": _paper_text(task),
        })  # fmt: skip
    head = [name for name in rows[0] if any(row[name] for row in rows)]
    return markdown_table(head, [[row[name] for name in head] for row in rows])


def plain_name(task: Task) -> str:
    """`DNA: splice`, `shifted text: rte`."""
    discipline = {"dna": "DNA", "text": "shifted text"}.get(task.discipline, task.discipline)
    return f"{discipline}: {short_name(task)}" if task.name in TASKS else task.name


def _paper_text(task: Task) -> str:
    difference = paper_difference(task)
    return "" if difference is None else f"{difference:+.1f}"


def _baseline_text(cell: Cell | None, interval: bool = False) -> str:
    """`68.2 (onehot-ridge)`; nothing for None."""
    return "" if cell is None else f"{percent(cell.mean)}{bracketed(cell.interval) if interval else ''} ({cell.name})"


def side_by_side(tables: Iterable[PaperTable], cells: Sequence[Cell], planned: Iterable[Planned] = ()) -> str:
    """The paper's tables with every method in one: a row a task, a column an arm.

    Of probes, those with the training items that fill most cells; the largest of equals.

    Args:
        planned: runs that a study asks for; a cell of theirs without a finished run shows `...`.
    """
    parts: list[str] = []
    open_cells = set(map(_planned_cell, planned))
    for members in grouped(tables, lambda table: (table.number, table.setup.backbone, table.setup.split)).values():
        probes = [table for table in members if table.setup.items is not None]
        drawn = [table for table in probes if table.setup.items != "all"]
        main = max(drawn or probes, key=lambda table: (table.filled, table.setup.items), default=None)
        shown = [table for table in members if table.setup.items is None or table is main]
        first, rows = shown[0], [{row.label: row for row in each.rows if row.kind != "baseline"} for each in shown]
        filled = {label for each in rows for label, row in each.items() if any(map(ours_text, row.ours.values()))}
        every = dict.fromkeys(itertools.chain(*rows))
        labels = sorted(filled, key=lambda label: (label == FLOOR, list(every).index(label)))
        lines = [
            [
                f"{short_name(task)}, {task.metric}",
                *(_values(shown, rows, label, task, open_cells) for label in labels),
                _baseline_text(best_baseline(cells, task.name, first.setup.split, first.setup.max_eval_items)) or "-",
            ]
            for task in {task.name: task for table in shown for task in table.tasks}.values()
        ]
        ways = " / ".join(table.setup.method for table in shown)
        empty = "A dash: no run." + " `...`: planned, not finished." * bool(open_cells)
        parts += [f"## {first.title}: {first.setup.title}", ""]
        parts += [f"Each cell: the paper's score / {ways}. {empty}", ""]
        parts += [markdown_table(["task, score", *labels, "best plain baseline"], lines), ""]
    return "\n".join(parts)


def _planned_cell(run: Planned) -> tuple[str, Column]:
    """The arm and the column of a planned run; a share of the data above 1% stands in the row of all data."""
    s = run.specification
    share = s["fraction"] if s["fraction"] <= LITTLE else 1.0
    return s["arm"], Column.of({**s, "fraction": share, "items": s["overrides"].get("items")})


def _values(
    tables: Sequence[PaperTable],
    rows: Sequence[dict[str, PaperRow]],
    label: str,
    task: Task,
    open_cells: set[tuple[str, Column]],
) -> str:
    """The paper's score of a task and those of each method; of floors one, where all methods have the same."""
    paper, scores = "", []
    for table, each in zip(tables, rows, strict=True):
        row = each.get(label)
        if row is None:
            scores.append("")
            continue
        printed, ours = row.paper.get(task.name), row.ours.get(task.name)
        paper = paper if printed is None else f"{printed:.1f}"
        if ours is None or ours.mean is None:
            column = table.setup._replace(task=task.name, fraction=row.fraction, max_eval_items=None)
            scores.append("..." if (row.arm, column) in open_cells else "")
        else:
            scores.append(percent(ours.mean) + (ours.part if isinstance(ours, Cell) else ""))
    if label == FLOOR and len(set(filter(None, scores))) == 1:
        return next(filter(None, scores))
    return " / ".join(score or "-" for score in (paper, *scores)) if any((paper, *scores)) else "-"


def worth_panels(tests: Iterable[ArmComparison]) -> list[Panel]:
    """One figure a backbone and split: a line a task, a mark a method, the paper's difference as a diamond."""
    return [_panel(title, members) for title, members in worth(tests).items() if len(members) > 1]


def _panel(title: str, members: Sequence[ArmComparison]) -> Panel:
    tasks = list({test.first.task.name: test.first.task for test in members}.values())
    methods = _methods(members)
    names = [shortened(plain_name(task), 26) for task in tasks]

    def draw(axis: Any) -> None:
        axis.plot([0, 0], [-0.6, len(tasks) - 0.4], color=INK, lw=1)
        for row, task in enumerate(tasks):
            paper = paper_difference(task)
            if paper is not None:
                axis.plot(paper, row, "D", ms=5, color=COLORS[7], mfc="none", zorder=1)
        for test in members:
            number = methods.index(test.first.column.method)
            place = tasks.index(test.first.task) + 0.26 * (number - (len(methods) - 1) / 2)
            c, sure, color = test.comparison, test.significant, COLORS[number % len(COLORS)]
            axis.plot([100 * c.low, 100 * c.high], [place, place], color=color, lw=2, alpha=1 if sure else 0.5)
            axis.plot(100 * c.difference, place, "os^v"[number % 4], ms=6, color=color, mfc=color if sure else "none")
        for number, name in enumerate(methods):
            axis.plot([], [], "os^v"[number % 4], color=COLORS[number % len(COLORS)], label=name)
        axis.plot([], [], "D", color=COLORS[7], mfc="none", label="paper, BERT-base")
        axis.set_yticks(range(len(tasks)), names)
        axis.set(ylim=(len(tasks) - 0.4, -0.6), xlabel="pre-trained minus random, score x 100")
        axis.legend(loc="best")

    margins = (0.3 + 0.07 * max(map(len, names)), 0.48)
    return Panel(WORTH, title, draw, size=(4.8, 1.0 + 0.34 * len(tasks)), margins=margins)
