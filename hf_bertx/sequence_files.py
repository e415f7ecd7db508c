"""Files of sequences, a record at a time, each with the place it was read at: FASTA, tables, JSON lines, Parquet.

These are formats, not data sets: what a data set's files hold is known to `dataset_scripts`.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

_MOST_EXPANDED = 200 * 10**6  # bytes that any compressed file may hold
_MOST_TIMES = 100  # and times its size that it may; sequences and tables are compressed to a third or a tenth
FASTA_ENDINGS = (".fasta", ".fa", ".fna", ".faa")


@contextmanager
def open_text(path: Path) -> Iterator[IO[str]]:
    """A text file in UTF-8, gzipped or not. Lines end at line feeds alone: GLUE's hold other separators.

    Raises:
        ValueError: the file is empty, breaks off, or is not UTF-8.
    """
    if path.stat().st_size == 0:
        raise ValueError(f"{path}: the file is empty")
    opened: Any = _open_gzip if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8-sig", newline="\n") as file:
            yield file
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not text in UTF-8 ({error.reason}: {error.object[error.start]:#x})") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: not a whole gzip file ({error})") from None


class _Gzip(gzip.GzipFile):
    """A gzip file that stops where it has expanded too far."""

    def read1(self, size: int | None = -1) -> bytes:
        data = super().read1(-1 if size is None else size)
        check_expansion(Path(str(self.name)), self.tell())
        return data

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size >= 0:
            return super().read(size)
        return b"".join(iter(self.read1, b""))


def _open_gzip(path: Path, mode: str, encoding: str | None = None, newline: str | None = None) -> Any:
    file = _Gzip(path)
    return io.TextIOWrapper(file, encoding, newline=newline) if "t" in mode else file


def check_expansion(path: Path, expanded: int) -> None:
    """Stops the reading of a small compressed file that would fill the memory or the disk.

    Raises:
        ValueError: so many bytes are far more than sequences of the file's size are compressed from.
    """
    size = path.stat().st_size
    if expanded > max(_MOST_EXPANDED, _MOST_TIMES * size):
        raise ValueError(
            f"{path}: its {size:,} bytes expand to more than {max(_MOST_EXPANDED, _MOST_TIMES * size):,}; unpack it "
            "yourself if that is right"
        )


def read_fasta(path: Path) -> Iterator[tuple[str, str, str]]:
    """Yields `(header without >, sequence, where)`; a sequence may span lines.

    Not `load_dataset("fasta")`: it came after datasets 4.0 and tells no line of a bad record.
    """
    header: str | None = None
    parts: list[str] = []
    at = 0
    with open_text(path) as file:
        for number, line in enumerate(file, start=1):
            line = line.strip()
            if line.startswith(">"):
                if header is not None:
                    yield header, "".join(parts), f"{path}, line {at}"
                header, parts, at = line[1:].strip(), [], number
            elif line:
                if header is None:
                    raise ValueError(
                        f"{path}, line {number}: {line[:20]!r} stands before any header; allowed: >ID LABEL"
                    )
                parts.append(line)
    if header is None:
        raise ValueError(f"{path}: no record; a FASTA file has lines that begin with >")
    yield header, "".join(parts), f"{path}, line {at}"


def read_table(
    path: Path, delimiter: str, columns: Iterable[str], quoting: bool, short_rows: bool = False
) -> Iterator[tuple[dict[str, str], str]]:
    """Yields `(row by column name, where)` of a table with a header line.

    Args:
        quoting: fields may stand in quotation marks, as in CSV.
        short_rows: a row with fewer fields than the header is given as it is, without the last columns.

    Raises:
        ValueError: a column of `columns` is missing, or a row has another number of fields than the header.
    """
    with open_text(path) as file:
        if quoting:
            rows = _csv_rows(file, delimiter, path)
        else:
            rows = ((n, line.rstrip("\r\n").split(delimiter)) for n, line in enumerate(file, start=1))
        _, header = next(rows)
        for column in columns:
            if column not in header:
                raise ValueError(f"{path}: no column {column!r}; it has {', '.join(header)}")
        for number, row in rows:
            place = f"{path}, line {number}"
            if len(row) < len(header) and not short_rows and not any(row):
                continue
            surplus = quoting and any(row[len(header) :])  # a comma that nothing quotes
            if surplus or (len(row) < len(header) and not short_rows):
                raise ValueError(f"{place}: {len(row)} fields; the header has {len(header)}")
            yield dict(zip(header, row, strict=False)), place


def _csv_rows(file: IO[str], delimiter: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(2**31 - 1)  # a chromosome in a field is longer than the 131,072 letters of the default
    reader = csv.reader(file, delimiter=delimiter)
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: {error}") from None


def read_json_lines(path: Path, columns: Iterable[str]) -> Iterator[tuple[dict[str, Any], str]]:
    """Yields `(object, where)` of a JSON-lines file, or of a file that is one JSON list (TAPE's form)."""
    with open_text(path) as file:
        if file.read(1) == "[":
            file.seek(0)
            rows = ((item, f"{path}, record {number}") for number, item in enumerate(_json(file.read(), path, 1)))
        else:
            file.seek(0)
            rows = (
                (_json(line, path, n), f"{path}, line {n}") for n, line in enumerate(file, start=1) if line.strip()
            )
        for row, where in rows:
            if not isinstance(row, dict):
                raise ValueError(f"{where}: {str(row)[:20]!r}; allowed: an object with names")
            for column in columns:
                if column not in row:
                    raise ValueError(f"{where}: no {column!r}; it has {', '.join(row)}")
            yield row, where


def _json(line: str, path: Path, number: int) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}, line {number + error.lineno - 1}: not JSON ({error.msg})") from None


def read_parquet(path: Path, columns: Iterable[str]) -> Iterator[tuple[dict[str, Any], str]]:
    """Yields `(row, where)` of a Parquet file, a batch in memory at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: not a Parquet file ({error})") from None
    for column in columns:
        if column not in file.schema_arrow.names:
            raise ValueError(f"{path}: no column {column!r}; it has {', '.join(file.schema_arrow.names)}")
    number = 0
    for batch in file.iter_batches(batch_size=1000):
        for row in batch.to_pylist():
            yield row, f"{path}, row {number}"
            number += 1
