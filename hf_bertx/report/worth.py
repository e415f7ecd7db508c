"""The worth of text pre-training on each task: pre-trained minus random start, beside the paper's difference."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from ..tasks import TASKS, Task
from .cells import Cell, best_baseline
from .comparisons import ArmComparison, at_main_size
from .drawing import COLORS, INK, Kind, Panel
from .formatting import bracketed, grouped, markdown_table, method_name, percent, short_name, shown_backbone
from .hypotheses import LEVEL
from .paper_tables import PaperRow, PaperTable, ours_text

# Text with its own token ids is what the backbone was pre-trained on, so text tasks are compared when shifted.
_PAIRS = {
    "symbols": {("bert", "rand"): ("BERT", "rand")},
    "text": dict.fromkeys(
        (("shift_1000", "shift_1000_rand"), ("shift_1000", "rand")), ("shift 1000", "shift 1000 (rand)")
    ),
}
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


def _pairs(task: Task) -> dict[tuple[str, str], tuple[str, str]]:
    return _PAIRS["text" if task.discipline == "text" else "symbols"]


def worth(tests: Iterable[ArmComparison]) -> dict[str, list[ArmComparison]]:
    """Comparisons of the pre-trained start with the random one on the whole task, by backbone and split.

    Of probes, those with the number of training items that most tasks have.
    """
    shown = [
        test
        for test in tests
        if (test.first.name, test.second.name) in _pairs(test.first.task) and test.first.share == 1
    ]
    return grouped(at_main_size(shown), lambda test: test.first.title)


def published_gain(task: Task) -> tuple[float, float] | None:
    """The paper's scores x 100 of the pre-trained and of the random start; None where it lacks one."""
    for names in _pairs(task).values():
        scores = {s.row: s.value for s in task.published if s.fraction == 1 and s.model == "BERT" and s.row in names}
        if len(scores) == 2:
            return scores[names[0]], scores[names[1]]
    return None


def worth_markdown(tests: Sequence[ArmComparison], cells: Sequence[Cell]) -> str:
    """For each backbone and split: the differences of all methods beside the paper's, then a table a method."""
    head = ["task", "score", "pre-trained", "random", "difference [95%]", "p", "runs", "plain baseline",
            "paper's difference"]  # fmt: skip
    parts = ["## What pre-training on text was worth", ""]
    for title, members in worth(tests).items():
        parts += [f"{title}, pre-trained minus random:", "", _differences(members), ""]
        for name, of_method in grouped(members, lambda test: test.first.method).items():
            rows = []
            for test in of_method:
                task, c, paper = test.first.task, test.comparison, published_gain(test.first.task)
                baseline = best_baseline(cells, task.name, test.first.specification["split"])
                rows.append([
                    plain_name(task) + test.first.part, task.metric,
                    percent(test.first.mean), percent(test.second.mean),
                    percent(c.difference, "+") + f" [{percent(c.low, '+')}, {percent(c.high, '+')}]",
                    f"{test.p_holm:.2g}", ", ".join(map(str, c.seeds)), _baseline_text(baseline, interval=True),
                    "" if paper is None else f"{paper[0] - paper[1]:+.1f}",
                ])  # fmt: skip
            shown = [
                i for i in range(len(head)) if any(row[i] for row in rows)
            ]  # a column without a value is left out
            of_rows = [[row[i] for i in shown] for row in rows]
            parts += [f"{title}, {name}:", "", markdown_table([head[i] for i in shown], of_rows), ""]
    return "\n".join([*parts, NOTE, ""])


def _differences(members: Sequence[ArmComparison]) -> str:
    """A row a task, a column a method; bold where the corrected p is below [`LEVEL`]."""
    methods = list(dict.fromkeys(test.first.method for test in members))
    rows = []
    for of_task in grouped(members, lambda test: test.first.task.name).values():
        task, by_method = of_task[0].first.task, {test.first.method: test for test in of_task}
        paper = published_gain(task)
        row = [plain_name(task), task.metric, "" if paper is None else f"{paper[0] - paper[1]:+.1f}"]
        for name in methods:
            if name not in by_method:
                row.append("")
                continue
            test = by_method[name]
            c, mark = test.comparison, "**" if test.p_holm < LEVEL else ""
            interval, runs = f"[{percent(c.low, '+')}, {percent(c.high, '+')}]", ", ".join(map(str, c.seeds))
            row.append(f"{mark}{percent(c.difference, '+')}{mark} {interval} ({runs}{test.first.part})")
        rows.append(row)
    return markdown_table(["task", "score", "paper", *methods], rows)


def plain_name(task: Task) -> str:
    """`DNA: splice`, `shifted text: rte`."""
    discipline = {"dna": "DNA", "text": "shifted text"}.get(task.discipline, task.discipline)
    return f"{discipline}: {short_name(task)}" if task.name in TASKS else task.name


def side_by_side(tables: Iterable[PaperTable], cells: Sequence[Cell]) -> str:
    """The paper's tables with every method in one: a row a task, a column an arm.

    Of probes, those with the training items that fill most cells; the largest of equals.
    """
    parts: list[str] = []
    for first, *rest in grouped(tables, lambda table: (table.number, table.backbone, table.split)).values():
        members = [first, *rest]
        probes = [table for table in members if table.items not in (None, "all")]
        main = max(probes, key=lambda table: (table.filled, table.items), default=None)
        shown = [table for table in members if table.items is None or table is main]
        rows = [{row.label: row for row in table.rows} for table in shown]
        labels = [
            label
            for label in dict.fromkeys(itertools.chain(*rows))
            if any(_ours_in(each, label) and each[label].kind != "baseline" for each in rows)
        ]
        lines = [
            [
                f"{short_name(task)}, {task.metric}",
                *(_values(rows, label, number) for label in labels),
                _baseline_text(best_baseline(cells, task.name, first.split)) or "-",
            ]
            for number, task in enumerate(first.tasks)
        ]
        ways = [method_name(table.protocol, table.items) for table in shown]
        title = f"{first.title}: {shown_backbone(first.backbone)}, split {first.split}"
        parts += [f"## {title}", "", f"Each cell: the paper's score / {' / '.join(ways)}. A dash: no run.", ""]
        parts += [markdown_table(["task, score", *labels, "best plain baseline"], lines), ""]
    return "\n".join(parts)


def _ours_in(rows: dict[str, PaperRow], label: str) -> bool:
    return label in rows and any(ours_text(entry) for entry in rows[label].ours)


def _values(rows: Sequence[dict[str, PaperRow]], label: str, number: int) -> str:
    """The paper's score of a task and those of each method."""
    with_label = [each[label] for each in rows if label in each]
    if with_label[0].kind == "floor":  # the same for all methods
        return next((ours_text(row.ours[number]) for row in with_label if row.ours[number]), "-") or "-"
    paper = with_label[0].paper[number]
    entries = [each[label].ours[number] if label in each else None for each in rows]
    scores = ["" if paper is None else f"{paper:.1f}"]
    scores += [percent(entry.mean) + entry.part if isinstance(entry, Cell) else "" for entry in entries]
    return " / ".join(score or "-" for score in scores) if any(scores) else "-"


def _baseline_text(cell: Cell | None, interval: bool = False) -> str:
    """`68.2 (onehot-ridge)`; nothing for None."""
    return "" if cell is None else f"{percent(cell.mean)}{bracketed(cell.interval) if interval else ''} ({cell.name})"


def worth_panels(tests: Sequence[ArmComparison]) -> list[Panel]:
    """One figure a backbone and split: a line a task, a mark a method, the paper's difference as a diamond."""
    return [_panel(title, members) for title, members in worth(tests).items() if len(members) > 1]


def _panel(title: str, members: Sequence[ArmComparison]) -> Panel:
    tasks = list({test.first.task.name: test.first.task for test in members}.values())
    methods = list(dict.fromkeys(test.first.method for test in members))
    names = [plain_name(task) for task in tasks]

    def draw(axis: Any) -> None:
        axis.axvline(0, color=INK, lw=1)
        for task in tasks:
            paper = published_gain(task)
            if paper is not None:
                axis.plot(paper[0] - paper[1], tasks.index(task), "D", ms=5, color=COLORS[7], mfc="none", zorder=1)
        for test in members:
            number = methods.index(test.first.method)
            place = tasks.index(test.first.task) + 0.26 * (number - (len(methods) - 1) / 2)
            c, sure = test.comparison, test.p_holm < LEVEL
            color = COLORS[number]
            axis.plot([100 * c.low, 100 * c.high], [place, place], color=color, lw=2, alpha=1 if sure else 0.5)
            axis.plot(100 * c.difference, place, "os^v"[number % 4], ms=6, color=color, mfc=color if sure else "none")
        for number, name in enumerate(methods):
            axis.plot([], [], "os^v"[number % 4], color=COLORS[number], label=name)
        axis.plot([], [], "D", color=COLORS[7], mfc="none", label="paper, BERT-base")
        axis.set_yticks(range(len(tasks)), names)
        axis.set(ylim=(len(tasks) - 0.4, -0.6), xlabel="pre-trained minus random start, score x 100")
        axis.legend(loc="best")

    margins = (0.3 + 0.07 * max(map(len, names)), 0.48)
    return Panel(WORTH, title, draw, (4.8, 1.0 + 0.34 * len(tasks)), margins)
