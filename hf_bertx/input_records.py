"""What a user points at -> records of raw sequences: a file of any known ending, or a folder of MIDI files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from .midi_files import MIDI_ENDINGS, files_below, read_all
from .sequence_files import FASTA_ENDINGS, open_text, read_fasta, read_json_lines, read_parquet, read_table

_TABLES = {".csv": ",", ".tsv": "\t"}
INPUT_ENDINGS = (*FASTA_ENDINGS, *_TABLES, ".jsonl", ".json", ".parquet", ".txt", *MIDI_ENDINGS)


class InputRecord(NamedTuple):
    """A raw sequence without a label.

    Args:
        where: file and line, or record, for messages.
        second: the second sequence of a pair.
        piece: what the sequence is a segment of; segments of a piece vote.
    """

    id: str
    sequence: str
    where: str
    second: str | None = None
    piece: str | None = None


@dataclass(frozen=True)
class Columns:
    """What the columns of a table, and the names of a JSON object, are called."""

    sequence: str = "sequence"
    second_sequence: str | None = None
    id: str = "id"
    piece: str | None = None


def ending_of(path: Path) -> str:
    """The ending that tells the form: `.fasta` of `x.fasta.gz`, in lower case."""
    return (Path(path.stem).suffix if path.suffix == ".gz" else path.suffix).lower()


def is_music(path: Path) -> bool:
    """Whether the path is a MIDI file or a folder of them, whose pieces are read as segments."""
    return path.is_dir() or ending_of(path) in MIDI_ENDINGS


def read_input(path: Path, columns: Columns | None = None) -> Iterator[InputRecord]:
    """Yields the records of a file, one in memory at a time; of a MIDI file its segments of 128 notes.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: an ending that is none of those known, a file that is not what its ending says, a missing column,
            an empty sequence, or no record at all.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    n = 0
    for record in _records(path, columns or Columns()):
        if not record.sequence or record.second == "":
            raise ValueError(f"{record.where}: the sequence is empty")
        yield record
        n += 1
    if not n:
        raise ValueError(f"{path}: no record")


def _records(path: Path, columns: Columns) -> Iterator[InputRecord]:
    ending = ending_of(path)
    if is_music(path):
        return _read_midi(path)
    if ending in FASTA_ENDINGS:
        return _read_fasta(path)
    if ending == ".txt":
        return _read_lines(path)
    needed = [name for name in (columns.sequence, columns.second_sequence, columns.piece) if name is not None]
    if ending in _TABLES:
        return _read_rows(path, read_table(path, _TABLES[ending], needed, quoting=True), columns)
    if ending in (".jsonl", ".json"):
        return _read_rows(path, read_json_lines(path, needed), columns)
    if ending == ".parquet":
        return _read_rows(path, read_parquet(path, needed), columns)
    raise ValueError(f"{path}: ending {ending!r}; allowed: {', '.join(INPUT_ENDINGS)}, or a folder of MIDI files")


def _read_fasta(path: Path) -> Iterator[InputRecord]:
    for number, (header, sequence, where) in enumerate(read_fasta(path)):
        yield InputRecord((header.split() or [f"{path.stem}-{number}"])[0], sequence.strip(), where)


def _read_lines(path: Path) -> Iterator[InputRecord]:
    with open_text(path) as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield InputRecord(f"{path.stem}-{number}", line.strip(), f"{path}, line {number}")


def _read_rows(path: Path, rows: Iterable[tuple[dict[str, Any], str]], columns: Columns) -> Iterator[InputRecord]:
    for number, (row, where) in enumerate(rows):
        name = row.get(columns.id)
        yield InputRecord(
            f"{path.stem}-{number}" if name in (None, "") else str(name),
            _text(row[columns.sequence]),
            where,
            _text(row[columns.second_sequence]) if columns.second_sequence else None,
            _text(row[columns.piece]) if columns.piece else None,
        )


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _read_midi(path: Path) -> Iterator[InputRecord]:
    files = files_below(path) if path.is_dir() else [path]
    for file, parts in zip(files, read_all(files), strict=True):
        piece = file.relative_to(path).as_posix() if path.is_dir() else file.name
        for number, sequence in enumerate(parts):
            yield InputRecord(f"{piece}#{number:03d}", sequence, str(file), piece=piece)
