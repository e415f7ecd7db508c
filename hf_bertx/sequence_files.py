"""Files of sequences, a record at a time, each with the place it was read at: FASTA, tables, JSON lines, Parquet.

These are formats, not data sets: what a data set's files hold is known to `dataset_scripts`.
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

FASTA_ENDINGS = (".fasta", ".fa", ".fna", ".faa")


@contextmanager
def open_text(path: Path) -> Iterator[IO[str]]:
    """A text file in UTF-8, gzipped or not. Lines end at line feeds alone: GLUE's hold other separators.

    Raises:
        ValueError: the file is empty, breaks off, or is not UTF-8.
    """
    if path.stat().st_size == 0:
        raise ValueError(f"{path}: the file is empty")
    opened: Any = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8-sig", newline="\n") as file:
            yield file
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not text in UTF-8 ({error.reason}: {error.object[error.start]:#x})") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: not a whole gzip file ({error})") from None


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
