"""Reads raw sequences from a file of any known format, or from a folder of MIDI files.

Training, prediction, the pipeline and the page read through [`read_input`] alone.
"""

from __future__ import annotations

import logging
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..disciplines import Discipline, separator_of
from .midi_files import MIDI_ENDINGS, files_below, read_all
from .record_labels import Labels, folder_labels
from .record_values import label_of, name_of, sequence_of
from .sequence_files import FASTA_ENDINGS, TABLE_ENDINGS, read_fasta, read_rows
from .text_files import ending_of, open_text

logger = logging.getLogger(__name__)
_ROWS = (*TABLE_ENDINGS, ".jsonl", ".json", ".parquet")
INPUT_ENDINGS = (*FASTA_ENDINGS, *_ROWS, ".txt", *MIDI_ENDINGS)
LABELLED_ENDINGS = (*FASTA_ENDINGS, *_ROWS)


class InputRecord(NamedTuple):
    """A raw sequence.

    Args:
        place: file and line, or record, for messages.
        second: the second sequence of a pair.
        piece: what the sequence is a segment of; segments of a piece vote. In training data the group (a chromosome, a
            piece, a family), which is not divided.
        label: as it is written in the file, a target too; None where labels are not read.
        part: `train`, `validation` or `test` where the file itself divides its records.
    """

    id: str
    sequence: str
    place: str
    second: str | None = None
    piece: str | None = None
    label: str | None = None
    part: str | None = None


@dataclass(frozen=True)
class Columns:
    """Names of the columns of a table or the keys of a JSON object. A given name has to exist.

    Args:
        sequence: by default `sequence`.
        id: by default `id` where there is one; records without an id are numbered.
        piece: by default none; in training data `group` where there is one.
        skip_unreadable: leave out MIDI files that cannot be read, and count them.
    """

    sequence: str | None = None
    second_sequence: str | None = None
    id: str | None = None
    piece: str | None = None
    skip_unreadable: bool = False


def is_music(path: Path) -> bool:
    """Whether the path is a MIDI file or a folder of them, whose pieces are read as segments."""
    return path.is_dir() or ending_of(path) in MIDI_ENDINGS


def read_input(
    path: Path,
    columns: Columns | None = None,
    labels: Labels | None = None,
    counts: Counter[str] | None = None,
    discipline: str | Discipline | None = None,
) -> Iterator[InputRecord]:
    """Yields the records of a file, one in memory at a time; of a MIDI file its segments of 128 notes.

    Args:
        labels: where the labels are; None where they are not read.
        counts: collects repairs and omissions with their counts; by default they are logged as a warning.
        discipline: joins the lines of a FASTA sequence as its symbols stand; without one nothing is between them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: an ending that is none of those known, a file that is not what its ending says, a missing column,
            an option that has no effect on this format, a missing value, an id that occurs twice, or no record.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    columns = columns or Columns()
    noted, separator = Counter[str](), "" if discipline is None else separator_of(discipline)
    _check_options(path, columns, labels)
    hashes = array("q")  # 8 bytes an id: memory hardly grows with the file
    for record in _records(path, columns, labels, noted, separator):
        hashes.append(hash(record.id))
        yield record
    if not hashes:
        raise ValueError(f"{path}: no record")
    if not is_music(path):
        _check_ids(path, hashes, _records(path, columns, labels, Counter(), separator))
    if counts is not None:
        counts.update(noted)
    elif noted:
        logger.warning(f"{path}: {format_counts(noted)}")


def format_counts(counts: Counter[str]) -> str:
    """Repairs and omissions as text: `notes without an end: 3, unreadable files left out: 1`."""
    return ", ".join(f"{what}: {number}" for what, number in counts.items())


def _check_ids(path: Path, hashes: array[int], records: Iterator[InputRecord]) -> None:
    """Refuses an id that occurs twice. The file is read again only where two ids have one hash."""
    import numpy as np

    values, times = np.unique(np.frombuffer(hashes, dtype=np.int64), return_counts=True)
    suspects = set(values[times > 1].tolist())
    if not suspects:
        return
    seen: set[str] = set()
    for record in records:
        if record.id in seen:
            cut = "; an id ends at the first blank of a header" if ending_of(path) in FASTA_ENDINGS else ""
            raise ValueError(f"{record.place}: id {record.id!r} occurs a second time; ids are unique{cut}")
        if hash(record.id) in suspects:
            seen.add(record.id)


def _check_options(path: Path, columns: Columns, labels: Labels | None) -> None:
    """Refuses an option that has no effect on this format."""
    given: dict[str, Any] = {
        "--sequence_column": columns.sequence,
        "--second_sequence_column": columns.second_sequence,
        "--id_column": columns.id,
        "--group_column" if labels else "--piece_column": columns.piece,
        "--skip_unreadable": columns.skip_unreadable or None,
    }
    in_file = []
    if labels is not None:
        in_file = ["--labels_file"] + (["--label_column", "--id_column"] if labels.file else [])
        given |= {"--label_column": labels.column, "--label_pattern": labels.pattern, "--labels_file": labels.file}
    ending = ending_of(path)
    if is_music(path):
        form, used = "MIDI", ["--skip_unreadable", *in_file]
    elif ending in FASTA_ENDINGS:
        form, used = "FASTA", [*(["--label_pattern"] if labels else []), *in_file]
    elif ending in _ROWS:
        named = "--group_column" if labels else "--piece_column"
        used = ["--sequence_column", "--second_sequence_column", "--id_column", named]
        form, used = f"a {ending} file", [*used, *(["--label_column"] if labels else [])]
    else:
        form, used = f"a {ending} file", []
    for option, value in given.items():
        if value == "":
            raise ValueError(f"{option} is empty; allowed: the name of a column, or leave the option out")
        if value is not None and option not in used:
            shown = "" if value is True else f" {value}"
            allowed = ", ".join(option for option in used) or "no option about columns"
            raise ValueError(f"{path}: {option}{shown} has no effect on {form}; allowed: {allowed}")


def _records(
    path: Path, columns: Columns, labels: Labels | None, noted: Counter[str], separator: str
) -> Iterator[InputRecord]:
    ending = ending_of(path)
    if path.is_dir() or (ending in MIDI_ENDINGS and labels is None):
        return _read_midi(path, columns, labels, noted)
    if ending in FASTA_ENDINGS:
        return _read_fasta(path, columns, labels, noted, separator)
    if ending in _ROWS:
        return _read_rows(path, columns, labels, noted)
    if ending == ".txt" and labels is None:
        return _read_lines(path)
    endings = ", ".join(INPUT_ENDINGS if labels is None else LABELLED_ENDINGS)
    raise ValueError(f"{path}: ending {ending!r}; allowed: {endings}, or a folder of MIDI files")


def _read_fasta(
    path: Path, columns: Columns, labels: Labels | None, noted: Counter[str], separator: str
) -> Iterator[InputRecord]:
    for number, (header, text, place) in enumerate(read_fasta(path, separator)):
        name = (header.split() or [f"{path.stem}-{number}"])[0]
        if not header:
            noted["records without 'id', which are numbered"] += 1
        label = None
        if labels is not None and labels.file is None:
            label = labels.of_header(header, place)
            if " SET=" in header:
                noted["headers with SET=, which is not read (give each split a file of its own)"] += 1
        elif labels is not None:
            label = labels.of_name(name, (columns.id,) if columns.id else ("id", "file"))
            if label is None:
                noted[f"records left out that {labels.file.name} does not list"] += 1  # type: ignore[union-attr]
                continue
        yield InputRecord(name, sequence_of(text, "the sequence", place), place, label=label)


def _read_lines(path: Path) -> Iterator[InputRecord]:
    with open_text(path, newline="") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                place = f"{path}, line {number}"
                yield InputRecord(f"{path.stem}-{number}", sequence_of(line.strip(), "the sequence", place), place)


def _read_rows(path: Path, columns: Columns, labels: Labels | None, noted: Counter[str]) -> Iterator[InputRecord]:
    sequence, second = columns.sequence or "sequence", columns.second_sequence
    roles = [column for column in (sequence, second, labels and labels.name, columns.piece) if column]
    if len(set(roles)) < len(roles):
        twice = max(roles, key=roles.count)
        raise ValueError(f"{path}: the column {twice!r} is named for two purposes; allowed: one")
    needed = [*roles, columns.id] if columns.id else roles
    # a column `id` or `group` that is named for another purpose is that alone
    name = columns.id or ("id" if "id" not in roles else None)
    piece = columns.piece or ("group" if labels is not None and "group" not in roles else None)
    optional = [column for column in (name, piece) if column]
    unread, there, without = set[str](), set[str](), Counter[str]()
    for number, (row, place) in enumerate(read_rows(path, needed, optional)):
        if not number:
            lower = {column.strip().lower(): column for column in row}
            unread = {lower[wanted] for wanted in optional if wanted not in row and wanted in lower}
        given: dict[str | None, str | None] = {c: name_of(row.get(c), repr(c), place) for c in optional}
        there.update(column for column in optional if column in row)
        without.update(column for column in optional if given[column] is None)
        yield InputRecord(
            given.get(name) or f"{path.stem}-{number}",
            sequence_of(row[sequence], repr(sequence), place),
            place,
            sequence_of(row[second], repr(second), place) if second else None,
            given.get(piece),
            None if labels is None else label_of(row[labels.name], place),
        )
    for column in optional:
        if column in there and without[column]:
            what = "which are numbered" if column == name else "each of which is alone"
            noted[f"records without {column!r}, {what}"] = without[column]
    for column in sorted(unread):
        noted[f"column {column!r} not read, --{column.strip().lower()}_column names it; records"] = number + 1


def _read_midi(path: Path, columns: Columns, labels: Labels | None, noted: Counter[str]) -> Iterator[InputRecord]:
    files = files_below(path) if path.is_dir() else [path]
    names = [file.relative_to(path).as_posix() if path.is_dir() else file.name for file in files]
    of_file: list[str | None] = [None] * len(files)
    if labels is not None and labels.file is None:
        of_file = [*folder_labels(path, names)]
    elif labels is not None:
        column = (columns.id,) if columns.id else ("file",)
        of_file = [labels.of_name(name, column, normal=True) for name in names]
        listed = [n for n, label in enumerate(of_file) if label is not None]
        if len(listed) < len(files):
            noted[f"files left out that {labels.file.name} does not list"] += len(files) - len(listed)  # type: ignore[union-attr]
        files, names, of_file = ([items[n] for n in listed] for items in (files, names, of_file))  # type: ignore[assignment]
    pieces = read_all(files, skip_unreadable=columns.skip_unreadable)
    for file, name, label, piece in zip(files, names, of_file, pieces, strict=True):
        if piece.error:
            noted["unreadable files left out"] += 1
            logger.warning(f"left out: {piece.error}")
        noted.update(piece.repairs)
        for number, text in enumerate(piece.segments):
            yield InputRecord(f"{name}#{number:03d}", text, str(file), piece=name, label=label)
