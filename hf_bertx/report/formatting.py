"""Formats numbers, names and tables for readers. Text from users is escaped here."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ..arms import ARMS
from ..data.text_files import spreadsheet_safe
from ..tasks import TASKS, Task
from .statistics import Comparison, Interval

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


def grouped(items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """Items by key, in the order in which the keys occur."""
    groups: dict[K, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def task_rank(name: str) -> int:
    """The place of a task in every listing; a user's own come last."""
    return list(TASKS).index(name) if name in TASKS else len(TASKS)


def arm_rank(name: str) -> int:
    """The place of an arm in every listing; unknown arms come last."""
    return list(ARMS).index(name) if name in ARMS else len(ARMS)


def percent(value: float | None, sign: str = "") -> str:
    """A fraction as the paper prints it: x 100, one decimal; nothing for None."""
    return "" if value is None else f"{100 * value:{sign}.1f}"


def bracketed(interval: Interval | Comparison | None, sign: str = "") -> str:
    """` [93.1, 95.0]`; nothing for None."""
    return "" if interval is None else f" [{percent(interval.low, sign)}, {percent(interval.high, sign)}]"


def interval_columns(interval: Interval | None, over: str = "over") -> dict[str, Any]:
    """The columns `low`, `high` and `over` of an interval."""
    values = (None, None, None) if interval is None else (interval.low, interval.high, interval.over)
    return dict(zip(("low", "high", over), values, strict=True))


def share_of_data(fraction: float) -> str:
    """`, 10% data` after the name of runs on a part of the training data; else nothing."""
    return "" if fraction == 1 else f", {100 * fraction:g}% data"


def short_name(task: Task) -> str:
    """The head of a column: the task without its discipline or `glue`."""
    return task.name.partition("-")[2] if task.name in TASKS else task.name


def shortened(name: str, most: int) -> str:
    """A name of at most so many characters; of a longer one the beginning and the last nine."""
    return name if len(name) <= most else f"{name[: most - 10]}…{name[-9:]}"


def shown_backbone(name: str) -> str:
    """A Hub id or a short name as it is; the last part of a folder, since the rest of its path is private."""
    hub = re.fullmatch(r"[\w.-]+/[\w.-]+(@\w+)?", name) and not name.startswith(".")
    return name if hub or "/" not in name else Path(name).name


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table; None is an empty cell.

    `DataFrame.to_markdown` needs another package, pads every cell and refuses two columns of one name.
    """
    lines = ["| " + " | ".join("" if cell is None else markdown_text(str(cell)) for cell in row) + " |"
             for row in (head, *rows)]  # fmt: skip
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def markdown_section(title: str, rows: Sequence[Mapping[str, Any]], note: str = "") -> str:
    """A title, a table of rows that share their names, and a note below it."""
    table = markdown_table(list(rows[0]), [list(row.values()) for row in rows])
    return "\n".join([f"## {title}", "", table, "", *([note, ""] if note else [])])


def markdown_text(text: str) -> str:
    """Text that cannot end a cell of a Markdown table or open an HTML tag."""
    return " ".join(text.split("\n")).replace("|", "\\|").replace("<", "&lt;")


def csv_text(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as CSV. Text that a spreadsheet would run as a formula gets an apostrophe in front."""
    import pandas as pd

    cells = [{name: spreadsheet_safe(value) for name, value in row.items()} for row in rows]
    return pd.DataFrame(cells, dtype=object).to_csv(index=False, lineterminator="\n")
