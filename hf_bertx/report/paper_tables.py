"""Cells -> the paper's Tables 1 and 2 with our columns beside theirs, as values, Markdown and flat rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..arms import ARMS
from ..backbones import pretraining_step
from ..protocols import PROBE
from ..tasks import TASKS, Task
from .cells import Cell, Column, Floor
from .formatting import (
    arm_rank,
    bracketed,
    grouped,
    interval_columns,
    markdown_table,
    percent,
    share_of_data,
    short_name,
    shown_backbone,
)

_TITLES = {
    "2": "Table 2: proteins, DNA, music",
    "1": "Table 1: GLUE with shifted tokens",
    "other": "Tasks that the paper does not have",
}
FLOOR = "floor"  # the last row
# under every table
NOTE = (
    "Scores x 100. Here: mean over seeds [95% interval] (number of seeds). The interval is a t interval over seeds "
    "or, for one seed, a bootstrap interval over test items. †: the best on validation of several settings. "
    "Floor: the best constant answer. The paper's numbers are for BERT-base (12 x 768); it does not say over how many "
    "seeds."
)


@dataclass(frozen=True)
class PaperRow:
    """A row: `paper` (x 100, as printed) and `ours`, each by task.

    `kind` is `paper` for a row of the paper, `arm` for one that only we have, `baseline` or `floor`. `arm` names our
    arm of the row; it is empty for a row that only others have.
    """

    label: str
    kind: str
    fraction: float
    paper: Mapping[str, float]
    ours: Mapping[str, Cell | Floor]
    arm: str = ""


@dataclass(frozen=True)
class PaperTable:
    """One of the paper's tables beside what a backbone did by a protocol.

    Args:
        number: `1`, `2`, or `other` for tasks that the paper does not have.
        setup: what all columns share; its task is empty.
        undecided: cells that are empty since nothing may be chosen on test items.
    """

    number: str
    setup: Column
    tasks: tuple[Task, ...]
    rows: tuple[PaperRow, ...]
    undecided: tuple[str, ...]

    @property
    def title(self) -> str:
        return _TITLES[self.number]

    @property
    def _fillable(self) -> list[PaperRow]:
        return [row for row in self.rows if row.kind == "paper" and row.arm]

    @property
    def filled(self) -> int:
        """How many cells of the paper's own rows that this backbone can fill have a finished run."""
        ours = [cell for row in self._fillable for cell in row.ours.values()]
        return sum(isinstance(cell, Cell) and bool(cell.scores) for cell in ours)

    @property
    def expected(self) -> int:
        """How many cells of the paper's own rows this backbone can fill."""
        return sum(len(row.paper) for row in self._fillable)


def table_number(task: Task) -> str:
    """The paper's table that holds a task: `1`, `2`, or `other`."""
    sources = " ".join(score.source for score in task.published)
    return next((number for number in ("2", "1") if f"Table {number} " in sources), "other")


def paper_tables(cells: Sequence[Cell]) -> list[PaperTable]:
    """One table for each of the paper's two (and one for other tasks), backbone, protocol and split that have runs.

    Trained models come first, then probes by their number of training items. Checkpoints in the middle of
    pre-training are left out: they make Figure 3.
    """
    shown = [c for c in cells if not c.is_baseline and pretraining_step(c.specification["backbone"]) is None]
    groups = grouped(shown, lambda cell: (table_number(cell.task), cell.column._replace(task="", fraction=1.0)))

    def place(key: tuple[str, Column]) -> tuple[int, bool, float]:
        number, setup = key
        return list(_TITLES).index(number), *setup.place

    return [_table(*key, groups[key], cells) for key in sorted(groups, key=place)]


def _table(number: str, setup: Column, cells: list[Cell], every: Sequence[Cell]) -> PaperTable:
    """A table of the cells of a setup; `every` cell of the report may give it a baseline or a floor."""
    candidates = {cell.task.name: cell.task for cell in cells} if number == "other" else TASKS
    tasks = {name: task for name, task in candidates.items() if table_number(task) == number}
    model = "ALBERT" if "albert" in shown_backbone(setup.backbone).lower() else "BERT"
    rows = _paper_rows(tasks, cells, model, setup.protocol == PROBE)
    taken = {(row.arm, row.fraction) for row in rows}
    further = [row for row in _rows_beside("arm", cells) if (row.arm, row.fraction) not in taken]
    rows += sorted(further, key=lambda row: (-row.fraction, arm_rank(row.arm)))
    same_items = [c for c in every if c.task.name in tasks and c.test_items[1:] == (setup.split, setup.max_eval_items)]
    rows += _rows_beside("baseline", [cell for cell in same_items if cell.is_baseline])
    bottom = {cell.task.name: cell.floor for cell in same_items if cell.floor is not None}
    rows.append(PaperRow(FLOOR, "floor", 1.0, {}, bottom))
    undecided = dict.fromkeys(f"{cell.name} on {cell.task.name}" for cell in cells if _undecided(cell, cells))
    return PaperTable(number, setup, tuple(tasks.values()), tuple(rows), tuple(undecided))


def _undecided(cell: Cell, cells: Sequence[Cell]) -> bool:
    alike = [c for c in cells if (c.name, c.column) == (cell.name, cell.column) and not c.is_check]
    return cell.task.test_split == "validation" and len(alike) > 1 and not cell.is_check


def _paper_rows(tasks: dict[str, Task], cells: Sequence[Cell], model: str, probe: bool) -> list[PaperRow]:
    """The paper's rows from top to bottom; ours stands beside those of the same kind of model.

    A random start is the same with and without a shift, so in probes `rand` stands for both.
    """
    arms = {arm.paper_row: arm.name for arm in ARMS.values() if arm.paper_row}
    # A row of models that others made for a discipline has another model in each column.
    scores: dict[tuple[str, str, float], dict[str, float]] = {}
    for name, task in tasks.items():
        for s in task.published:
            scores.setdefault((s.row, "" if s.row == "specific" else s.model, s.fraction), {}).setdefault(
                name, s.value
            )
    rows = []
    for (row, of, share), by_task in scores.items():
        arm = arms.get(row, "") if of == model else ""
        arm = "rand" if probe and arm.endswith("_rand") else arm
        label = f"{row}, {of}" if row.startswith(("shift", "random")) and row != of else row
        rows.append(PaperRow(label + share_of_data(share), "paper", share, by_task, _ours(cells, arm, share), arm))
    return rows


def _rows_beside(kind: str, cells: Sequence[Cell]) -> list[PaperRow]:
    """Rows without the paper's numbers, one an arm or baseline and fraction."""
    return [
        PaperRow(name + share_of_data(share), kind, share, {}, _ours(cells, name, share), name)
        for name, share in dict.fromkeys((cell.name, cell.share) for cell in cells)
    ]


def _ours(cells: Sequence[Cell], name: str, fraction: float) -> dict[str, Cell]:
    return {c.task.name: c for c in cells if name and c.chosen and (c.name, c.share) == (name, fraction)}


def ours_text(entry: Cell | Floor | None) -> str:
    """Mean, interval and number of seeds of a cell, x 100; `†`: chosen on validation among several settings."""
    if entry is None or entry.mean is None:
        return ""
    if isinstance(entry, Floor):
        return percent(entry.mean)
    count = f" ({len(entry.scores)})" if len(entry.scores) > 1 else ""
    return percent(entry.mean) + entry.part + ("†" if entry.differs else "") + bracketed(entry.interval) + count


def markdown(table: PaperTable) -> str:
    """A table as Markdown: two columns a task, the paper's and ours."""
    head, lines = ["arm"], []
    for task in table.tasks:
        name = f"{short_name(task)} {task.metric}"
        head += [f"{name}, paper", "here"] if task.published else [name]
    for row in table.rows:
        line = [f"`{row.label}`" if row.kind in ("arm", "baseline") else row.label]
        for task in table.tasks:
            paper = row.paper.get(task.name)
            line += ["" if paper is None else f"{paper:.1f}"] if task.published else []
            line.append(ours_text(row.ours.get(task.name)))
        lines.append(line)
    parts = [f"## {table.title}", "", f"Here: {describe(table)}. {counted(table)}", "", markdown_table(head, lines)]
    return "\n".join([*parts, "", NOTE, *([undecided(table)] if table.undecided else []), ""])


def counted(table: PaperTable) -> str:
    """How many of the paper's cells have runs; empty for tasks that the paper does not have."""
    have = f"{table.filled} of the {table.expected} cells of the paper that this backbone can fill have runs"
    return f"{have}; the others are empty. " if table.expected else ""


def undecided(table: PaperTable) -> str:
    """Which cells are empty since nothing may be chosen on test items."""
    return (
        f"Left empty: {', '.join(table.undecided)}. Several settings were run, and none may be chosen on test items."
    )


def describe(table: PaperTable) -> str:
    """Backbone, protocol and split, in words."""
    setup = table.setup
    limit = "" if setup.max_eval_items is None else f", at most {setup.max_eval_items} items of each test set"
    drawn = "" if setup.items is None else f", {setup.items} items"
    backbone = shown_backbone(setup.backbone)
    return f"backbone {backbone}, protocol `{setup.protocol}`, split `{setup.split}`{limit}{drawn}"


def flat_rows(tables: Iterable[PaperTable]) -> list[dict[str, Any]]:
    """One row for each cell of the tables, empty ones included; scores x 100."""
    rows = []
    for table, row in ((each, row) for each in tables for row in each.rows):
        for task in table.tasks:
            ours = row.ours.get(task.name)
            cell = ours if isinstance(ours, Cell) else None
            interval = interval_columns(None if cell is None else cell.interval, "interval_over")
            rows.append({
                "table": table.number,
                "row": row.label,
                "kind": row.kind,
                "task": task.name,
                "metric": task.metric,
                "paper": row.paper.get(task.name),
                "here": _times_100(None if ours is None else ours.mean),
                **interval | {name: _times_100(interval[name]) for name in ("low", "high")},
                "seeds": 0 if cell is None else len(cell.scores),
                "backbone": shown_backbone(table.setup.backbone),
                "protocol": table.setup.protocol,
                "split": table.setup.split,
                "fraction": row.fraction,
                "items": table.setup.items,
                "max_eval_items": table.setup.max_eval_items,
            })  # fmt: skip
    return rows


def _times_100(value: float | None) -> float | None:
    return None if value is None else round(100 * value, 2)
