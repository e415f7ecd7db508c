"""Records of raw files become the rows of a task: checks of ids, alphabets and labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from hf_bertx.data.input_records import InputRecord
from hf_bertx.data.labels import LABEL_SEPARATOR, split_labels
from hf_bertx.data.targets import hint, to_number
from hf_bertx.disciplines import DISCIPLINES
from hf_bertx.tasks import Task


def checked(
    records: Iterable[InputRecord], task: Task, names: Mapping[str, str] | None = None
) -> Iterator[dict[str, Any]]:
    """Yields the rows of a data set, and the `part` of each, checked against the task's alphabet and labels.

    Args:
        names: what the file's labels are called in the task, where they differ: `{"0": "negative"}`.

    Raises:
        ValueError: a repeated id, an empty sequence, a symbol outside the alphabet, a label that is missing or was
            never declared, a target that is not a number; with the place and what is allowed.
    """
    seen: set[str] = set()
    for record in records:
        if record.id in seen:
            raise ValueError(f"{record.place}: id {record.id!r} occurs a second time; ids are unique")
        seen.add(record.id)
        row: dict[str, Any] = {"id": record.id, "sequence": checked_sequence(record.sequence, task, record.place)}
        if task.pair:
            row["second_sequence"] = checked_sequence(record.second or "", task, record.place)
        row["label"] = _label(record, task, names)
        row["group"] = record.piece
        row["part"] = record.part
        yield row
    if not seen:
        raise ValueError(f"{task.name}: the files hold no record")


def checked_sequence(sequence: str, task: Task, place: str) -> str:
    """The sequence as it is stored: blanks around it gone, in upper case where case means nothing."""
    sequence = sequence.strip()
    if not sequence:
        raise ValueError(f"{place}: the sequence is empty")
    discipline = DISCIPLINES.get(task.discipline)
    if discipline is None:
        return sequence
    parts = sequence.split() if discipline.separator else list(sequence)
    known = set(discipline.symbols)
    if discipline.ignore_case:  # no `upper` for other letters: `ß`.upper() is `SS`
        known |= {symbol.lower() for symbol in discipline.symbols}
    foreign = set(parts) - known
    if foreign:
        symbol = min(foreign, key=parts.index)
        raise ValueError(
            f"{place}: {symbol!r} at position {parts.index(symbol) + 1} of the sequence is not in the "
            f"{discipline.name} alphabet: {discipline.alphabet()}"
        )
    sequence = discipline.separator.join(parts)
    return sequence.upper() if discipline.ignore_case else sequence


def _label(record: InputRecord, task: Task, names: Mapping[str, str] | None) -> str | float:
    label = (record.label or "").strip()
    if task.labels is None:
        value = to_number(label)
        if value is None:
            raise ValueError(f"{record.place}: the target is {label!r}; allowed: a finite number{hint(label)}")
        return value
    if not label:
        raise ValueError(f"{record.place}: no label; allowed: {', '.join(names or task.labels)}")
    if task.multi_label:
        labels = split_labels(label, record.place)
        for name in labels:
            if name not in task.labels:
                raise ValueError(f"{record.place}: label {name!r}; allowed: {', '.join(task.labels)}")
        return LABEL_SEPARATOR.join(labels)
    name = label if names is None else names.get(label, label)
    if name not in task.labels:
        raise ValueError(f"{record.place}: label {label!r}; allowed: {', '.join(names or task.labels)}")
    return name
