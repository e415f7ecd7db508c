"""Numbers, names and tables as a reader sees them. Every text that a user chose is escaped here."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ..data.text_files import spreadsheet_safe
from ..tasks import TASKS, Task
from .statistics import Interval

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


def grouped(items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """Items by key, in the order in which the keys occur."""
    groups: dict[K, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def percent(value: float | None, sign: str = "") -> str:
    """A fraction as the paper prints it: x 100, one decimal; nothing for None."""
    return "" if value is None else f"{100 * value:{sign}.1f}"


def bracketed(interval: Interval | None) -> str:
    """` [93.1, 95.0]`; nothing for None."""
    return "" if interval is None else f" [{percent(interval.low)}, {percent(interval.high)}]"


def interval_columns(interval: Interval | None, over: str = "over") -> dict[str, Any]:
    """The columns `low`, `high` and `over` of an interval."""
    return {name: None if interval is None else getattr(interval, field)
            for name, field in (("low", "low"), ("high", "high"), (over, "over"))}  # fmt: skip


def share_of_data(fraction: float) -> str:
    """What stands behind a name where a run saw less than all of the training data."""
    return "" if fraction == 1 else f", {100 * fraction:g}% data"


def short_name(task: Task) -> str:
    """The head of a column: the task without its discipline or `glue`."""
    return task.name.partition("-")[2] if task.name in TASKS else task.name


def shown_backbone(name: str) -> str:
    """A backbone as a reader may see it: a Hub id or a short name as it is, the last part of a folder."""
    hub = re.fullmatch(r"[\w.-]+/[\w.-]+(@\w+)?", name) and not name.startswith(".")
    return name if hub or "/" not in name else Path(name).name


def setup(specification: dict[str, Any]) -> str:
    """`minilm-l6, recommended, paper`: backbone, protocol and split; of a probe also its training items."""
    named = f"{shown_backbone(specification['backbone'])}, {specification['protocol']}, {specification['split']}"
    return named + items_of_data(specification.get("items"))


def items_of_data(items: int | str | None) -> str:
    """What stands behind a name where a probe drew its training items."""
    return "" if items is None else f", {items} items"


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table; None is an empty cell.

    `DataFrame.to_markdown` needs another package, pads every cell and refuses two columns of one name.
    """
    lines = [head, ["---"] * len(head), *rows]
    text = ["| " + " | ".join("" if cell is None else markdown_text(str(cell)) for cell in line) + " |"
            for line in lines]  # fmt: skip
    text[1] = "|" + "---|" * len(head)
    return "\n".join(text)


def markdown_text(text: str) -> str:
    """Text that cannot end a cell of a Markdown table or open an HTML tag."""
    return " ".join(text.split("\n")).replace("|", "\\|").replace("<", "&lt;")


def csv_text(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as CSV. Text that a spreadsheet would run as a formula gets an apostrophe in front."""
    import pandas as pd

    cells = [{name: spreadsheet_safe(value) for name, value in row.items()} for row in rows]
    return pd.DataFrame(cells, dtype=object).to_csv(index=False, lineterminator="\n")
