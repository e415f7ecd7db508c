"""The columns of a data set that is loaded: which hold sequences, which are text, and that no value is missing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasets import Dataset


def sequence_columns(names: Iterable[str]) -> list[str]:
    """Those of a data set's columns that hold the sequence of an item, or the two of a pair."""
    return [name for name in ("sequence", "second_sequence") if name in names]


def kind_of(rows: Dataset, column: str) -> str:
    """The type of a column's values: `string`, `int64`, `List(Value('string'))`, ..."""
    feature = rows.features[column]
    return str(getattr(feature, "dtype", feature)).removeprefix("large_")


def check_values(rows: Dataset, sequences: Sequence[str], place: str) -> None:
    """Refuses rows that cannot be read as sequences with a label.

    Args:
        sequences: the columns with sequences.
        place: where the rows are from, for the message.

    Raises:
        ValueError: sequences that are not text, or a row without a sequence or label.
    """
    for column in sequences:
        if kind_of(rows, column) != "string":
            raise ValueError(f"{place}: {column!r} is {kind_of(rows, column)}; allowed: strings")
    for column in (*sequences, "label"):
        # without a null in the table, which need not be read for that, none of its rows has one
        values = rows[column][:] if rows.data.column(column).null_count else []
        if None in values:
            row = values.index(None)
            name = f"id {rows[row]['id']!r}" if "id" in rows.column_names else f"row {row}"
            raise ValueError(f"{place}, {name}: {column!r} is missing")
