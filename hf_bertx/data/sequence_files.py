"""Files of sequences, a record at a time, each with the place it was read at: FASTA, tables, JSON lines, Parquet.

These are formats, not data sets: what a data set's files hold is known to `dataset_scripts`.
"""

from __future__ import annotations

import csv
import difflib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from ..registry import first_line
from .text_files import ending_of, open_text

FASTA_ENDINGS = (".fasta", ".fa", ".fna", ".faa")
TABLE_ENDINGS = {".csv": ",", ".tsv": "\t"}


def no_column(name: str, columns: Iterable[str]) -> str:
    """The message for a missing column, with the columns there are and the nearest name."""
    columns = list(columns)
    lower = {column.strip().lower(): column for column in columns}
    near = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.7)
    hint = f"; did you mean {lower[near[0]]!r}?" if near else ""
    if len(columns) == 1 and (marks := [mark for mark in ";,\t|" if mark in columns[0]]):
        hint = f"; its fields seem to be separated by {marks[0]!r}: a .csv has commas, a .tsv tabs"
    elif name in ("sequence", "label"):
        hint += f"; --{name}_column names that of your own file"
    return f"no column {name!r}; it has {', '.join(columns)}{hint}"


def read_fasta(path: Path, separator: str = "") -> Iterator[tuple[str, str, str]]:
    """Yields `(header without >, sequence, place)`; a sequence may span lines, which `separator` joins.

    Not `load_dataset("fasta")`: it came after datasets 4.0 and tells no line of a bad record.
    """
    header: str | None = None
    parts: list[str] = []
    at = 0
    with open_text(path, newline="") as file:
        for number, line in enumerate(file, start=1):
            line = line.strip()
            if line.startswith(">"):
                if header is not None:
                    yield header, separator.join(parts), f"{path}, line {at}"
                header, parts, at = line[1:].strip(), [], number
            elif line:
                if header is None:
                    raise ValueError(
                        f"{path}, line {number}: {line[:20]!r} stands before any header; allowed: >ID LABEL"
                    )
                parts.append(line)
    if header is None:
        raise ValueError(f"{path}: no record; a FASTA file has lines that begin with >")
    yield header, separator.join(parts), f"{path}, line {at}"


def read_rows(
    path: Path, columns: Iterable[str], optional: Iterable[str] = ()
) -> Iterator[tuple[dict[str, Any], str]]:
    """Yields `(row by column name, place)` of a CSV, TSV, JSON-lines or Parquet file, by its ending.

    Args:
        columns: names that every record has to have.
        optional: names that are read where there are some.

    Raises:
        ValueError: another ending, a missing column, or a damaged file.
    """
    ending = ending_of(path)
    if ending in TABLE_ENDINGS:
        quoting = ending == ".csv" or _quotes_are_balanced(path, TABLE_ENDINGS[ending])
        return read_table(path, TABLE_ENDINGS[ending], columns, quoting, strict=True, optional=optional)
    if ending in (".jsonl", ".json"):
        return read_json_lines(path, columns)
    if ending == ".parquet":
        return read_parquet(path, columns)
    raise ValueError(f"{path}: ending {ending!r}; allowed: .csv, .tsv, .jsonl, .json, .parquet")


def _quotes_are_balanced(path: Path, delimiter: str) -> bool:
    """Whether every field that begins with a quotation mark ends with one, on its line; one may be text otherwise."""
    with open_text(path, newline="") as file:
        for line in file:
            if '"' in line:
                try:
                    list(csv.reader([line], delimiter=delimiter, strict=True))
                except csv.Error:
                    return False
    return True


def read_table(
    path: Path,
    delimiter: str,
    columns: Iterable[str],
    quoting: bool,
    short_rows: bool = False,
    strict: bool = False,
    optional: Iterable[str] = (),
) -> Iterator[tuple[dict[str, str], str]]:
    """Yields `(row by column name, place)` of a table with a header line.

    Args:
        columns: names that the header has to have. Their fields, and those of `optional`, may not span lines.
        quoting: fields may stand in quotation marks, as in CSV.
        short_rows: a row with fewer fields than the header is given as it is, without the last columns.
        strict: lines may end in any way, no name stands twice in the header, and no row has a field too many.

    Raises:
        ValueError: a column of `columns` is missing, a row has another number of fields than the header, or a
            quotation mark is not closed; the message names the line on which it opened.
    """
    columns = list(columns)
    with open_text(path, newline="" if strict or quoting else "\n") as file:
        if quoting:
            rows = _csv_rows(file, delimiter, path)
        else:
            rows = ((n, line.rstrip("\r\n").split(delimiter)) for n, line in enumerate(file, start=1))
        header = next((row for _, row in rows if any(row)), None)
        if header is None:
            raise ValueError(f"{path}: the file is empty")
        for column in columns:
            if column not in header:
                raise ValueError(f"{path}: {no_column(column, header)}")
        twice = [name for name, times in Counter(header).items() if times > 1 and name]
        if twice and (strict or set(twice) & set(columns)):
            raise ValueError(f"{path}: the column {twice[0]!r} is there twice; allowed: once")
        used = [header.index(column) for column in (*columns, *optional) if column in header]
        for number, row in rows:
            place = f"{path}, line {number}"
            if len(row) < len(header) and not short_rows and not any(row):
                continue
            surplus = (quoting or strict) and any(row[len(header) :])  # an unquoted comma
            if surplus or (len(row) < len(header) and not short_rows):
                raise ValueError(f"{place}: {len(row)} fields; the header has {len(header)}")
            if quoting:
                _check_lines(row, used, header, delimiter, path, number)
            yield dict(zip(header, row, strict=False)), place


def _csv_rows(file: IO[str], delimiter: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Rows with the line on which each begins."""
    csv.field_size_limit(2**31 - 1)  # a chromosome in a field is longer than the 131,072 letters of the default
    reader = csv.reader(file, delimiter=delimiter, strict=True)
    begins = 1
    try:
        for row in reader:
            yield begins, row
            begins = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{path}, line {begins}: a quotation mark opens here that does not match ({error})") from None


def _check_lines(row: list[str], used: list[int], header: list[str], delimiter: str, path: Path, begins: int) -> None:
    """Refuses a field that spans lines where it is used, or where its lines look like records of their own."""
    line = begins
    for n, field in enumerate(row):
        if "\n" not in field and "\r" not in field:
            continue
        first, *others = field.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        # the last line goes on with the fields that follow
        counts = [text.count(delimiter) for text in others[:-1]] + [others[-1].count(delimiter) + len(row) - 1 - n]
        if n in used or all(count == len(header) - 1 > 0 for count in counts):
            raise ValueError(
                f"{path}, line {line}: a quotation mark opens a field that spans {len(others) + 1} lines, "
                f"{first[:20]!r}; allowed: a field on one line"
            )
        line += len(others)


def read_json_lines(path: Path, columns: Iterable[str]) -> Iterator[tuple[dict[str, Any], str]]:
    """Yields `(object, place)` of a JSON-lines file, or of a file that is one JSON list (TAPE's form)."""
    columns = list(columns)
    with open_text(path, newline="") as file:
        begin = file.read(1)
        while begin and begin.isspace():
            begin = file.read(1)
        file.seek(0)
        if begin == "[":
            rows = ((item, f"{path}, record {number}") for number, item in enumerate(parse_json(file.read(), path, 1)))
        else:
            rows = (
                (parse_json(line, path, n), f"{path}, line {n}")
                for n, line in enumerate(file, start=1)
                if line.strip()
            )
        for row, place in rows:
            if not isinstance(row, dict):
                raise ValueError(f"{place}: {str(row)[:20]!r}; allowed: an object with names")
            for column in columns:
                if column not in row:
                    raise ValueError(f"{place}: {no_column(column, row).replace('column ', '', 1)}")
            yield row, place


def parse_json(line: str, path: Path, number: int) -> Any:
    """JSON that names each key once.

    Raises:
        ValueError: it is none; the message names the line, counted from `number`.
    """
    try:
        return json.loads(line, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}, line {number + error.lineno - 1}: not JSON ({error.msg})") from None
    except RecursionError:
        raise ValueError(f"{path}, line {number}: not JSON (nested too deep)") from None
    except ValueError as error:  # a key twice, or a number of thousands of digits
        raise ValueError(f"{path}, line {number}: {str(error).partition(';')[0]}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        twice = next(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
        raise ValueError(f"the name {twice!r} is there twice in an object, allowed: once")
    return values


def read_parquet(path: Path, columns: Iterable[str]) -> Iterator[tuple[dict[str, Any], str]]:
    """Yields `(row, place)` of a Parquet file, a batch in memory at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.is_dir():
        raise ValueError(f"{path}: is a folder; allowed: a file")
    try:
        file = pq.ParquetFile(path)
        names = file.schema_arrow.names
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ValueError(f"{path}: not a Parquet file ({first_line(error).rstrip('.')})") from None
    for column in columns:
        if column not in names:
            raise ValueError(f"{path}: {no_column(column, names)}")
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise ValueError(f"{path}: the column {twice[0]!r} is there twice; allowed: once")
    number = 0
    try:
        for batch in file.iter_batches(batch_size=1000):
            for row in batch.to_pylist():
                yield row, f"{path}, row {number}"
                number += 1
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        reason = first_line(error).rstrip(".")
        raise ValueError(f"{path}, row {number} or after: a damaged Parquet file ({reason})") from None
