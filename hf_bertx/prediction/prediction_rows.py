"""Predictions chunk by chunk -> one file: votes of pieces, rows, and the forms CSV, JSON lines and Parquet."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from .. import run_files
from ..data.input_records import Columns, is_music
from ..data.labels import LABEL_THRESHOLD, joined_labels
from ..data.text_files import spreadsheet_safe
from ..metrics import names_of_pieces
from .inference import Chunk, SequenceClassifier

_ORDER_KEY = b"hf_bertx order"
_ROWS = 50_000  # of a row group of Parquet


def write_part(stage: Path, number: int, chunk: Chunk, order: str) -> Path:
    """Writes a chunk's logits, with the key of the order they belong to. Returns the file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        "id": [record.id for record in chunk.records],
        "piece": pa.array([record.piece for record in chunk.records], pa.string()),
        "cut": chunk.cut,
        "windows": chunk.windows,
        "logits": pa.FixedSizeListArray.from_arrays(pa.array(chunk.logits.reshape(-1)), chunk.logits.shape[1]),
    }
    table, path = pa.table(columns).replace_schema_metadata({_ORDER_KEY: order.encode()}), _part(stage, number)
    run_files.write_whole(path, lambda temporary: pq.write_table(table, temporary))
    return path


def whole_parts(stage: Path, order: str) -> tuple[list[Path], int]:
    """The whole parts of an order, and their number of records. Other parts, and all after them, are removed."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    parts: list[Path] = []
    records = 0
    for path in sorted(stage.glob("*.parquet")):
        try:
            table = pq.read_metadata(path)
            whole = (table.metadata or {}).get(_ORDER_KEY) == order.encode()
        except (OSError, pa.ArrowException):
            whole = False
        if whole and path == _part(stage, len(parts)):
            parts.append(path)
            records += table.num_rows
        else:
            path.unlink()
    return parts, records


def _part(stage: Path, number: int) -> Path:
    return stage / f"{number:08d}.parquet"


def read_parts(
    parts: Iterable[Path],
) -> Iterator[tuple[list[str], list[str | None], list[int], list[int], np.ndarray]]:
    """Yields ids, pieces, how many symbols were cut, how many windows there were, and logits of each part."""
    import pyarrow.parquet as pq

    for part in parts:
        table = pq.read_table(part)
        logits = table["logits"].combine_chunks().flatten().to_numpy().reshape(table.num_rows, -1)
        yield *(table[name].to_pylist() for name in ("id", "piece", "cut", "windows")), logits


def has_votes(classifier: SequenceClassifier, path: Path, columns: Columns) -> bool:
    """Whether the records of a file are segments of pieces, which vote.

    Raises:
        ValueError: the model gives several labels.
    """
    voting = is_music(path) or columns.piece is not None
    if voting and classifier.multi_label:
        raise ValueError(f"{path}: segments of a piece vote on one label, and the model gives several")
    return voting


def votes(classifier: SequenceClassifier, parts: list[Path]) -> tuple[list[str], dict[str, Any]]:
    """The name that each record votes under, and what the segments of each name voted; the mean of a regression."""
    pieces: list[str | None] = []
    answers = []
    for _, each, _, _, logits in read_parts(parts):
        pieces += each
        answers.append(logits[:, 0].astype(np.float64) if classifier.regression else logits.argmax(axis=1))
    names = names_of_pieces(pieces)
    grouped: dict[str, list[Any]] = {}
    for name, answer in zip(names, np.concatenate(answers).tolist(), strict=True):
        grouped.setdefault(name, []).append(answer)
    return names, {name: piece_answer(classifier, np.array(each)) for name, each in grouped.items()}


def piece_answer(classifier: SequenceClassifier, answers: np.ndarray) -> dict[str, Any]:
    """The label that most segments of a piece were given, how many gave it, and how many there are; or their mean.

    Args:
        answers: class numbers, or values of a regression, shape `(segments,)`.
    """
    if classifier.regression:
        return {"piece_value": float(np.mean(answers)), "segments": len(answers)}
    votes = np.bincount(answers)
    won = int(votes.argmax())  # of labels with as many votes the first, as for [`metrics.vote`]
    return {"piece_label": classifier.labels[won], "votes": int(votes[won]), "segments": len(answers)}


def summary(classifier: SequenceClassifier, parts: list[Path], most: int = 10) -> tuple[int, int, str]:
    """How many records were cut, how many were read in several windows, and the answers in words.

    In words: `EI (5), N (4)`, or `values 11 to 103, mean 57`.
    """
    counts: Counter[str] = Counter()
    values: list[np.ndarray] = []
    were_cut = split = 0
    for _, _, cut, windows, logits in read_parts(parts):
        were_cut += sum(symbols > 0 for symbols in cut)
        split += sum(number > 1 for number in windows)
        if classifier.regression:
            values.append(logits[:, 0])
        elif classifier.multi_label:
            given = classifier.probabilities(logits) >= LABEL_THRESHOLD
            counts.update(dict(zip(classifier.labels, given.sum(axis=0).tolist(), strict=True)))
        else:
            counts.update(classifier.labels[number] for number in logits.argmax(axis=1).tolist())
    if classifier.regression:
        every = np.concatenate(values)
        return were_cut, split, f"values {every.min():.4g} to {every.max():.4g}, mean {every.mean():.4g}"
    shown = [f"{label} ({count})" for label, count in counts.most_common(most)]
    more = [f"{len(counts) - most} classes more"] if len(counts) > most else []
    return were_cut, split, ", ".join([*shown, *more])


def rows(
    classifier: SequenceClassifier, parts: list[Path], names: list[str], pieces: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Yields the row of each record.

    Args:
        names: what each record votes under, with its `pieces`; empty where nothing votes.
    """
    labels, voters = classifier.labels, iter(names)
    for ids, piece_names, cut, windows, logits in read_parts(parts):
        scores = classifier.probabilities(logits) if labels else logits
        for i, name in enumerate(ids):
            row: dict[str, Any] = {"id": name}
            if classifier.multi_label:
                row["label"] = joined_labels(scores[i] >= LABEL_THRESHOLD, labels)
            elif labels:
                best = int(logits[i].argmax())
                row |= {"label": labels[best], "score": round(float(scores[i, best]), 6)}
            else:
                row["value"] = float(f"{logits[i, 0]:.7g}")
            row |= {f"score_{label}": round(float(scores[i, k]), 6) for k, label in enumerate(labels)}
            row["cut"] = cut[i]
            if classifier.windows is not None:
                row["windows"] = windows[i]
            if pieces:
                row |= {"piece": piece_names[i], **pieces[next(voters)]}
            yield row


def write_rows(path: Path, ending: str, rows: Iterator[dict[str, Any]]) -> None:
    """Writes rows as `.csv`, `.jsonl` or `.parquet`."""
    if ending == ".parquet":
        write_tables(path, _tables(rows))
    elif ending == ".csv":
        _write_csv(path, rows)
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            file.writelines(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)


def _write_csv(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        usual = csv.writer(file, lineterminator="\n")
        # csv quotes a carriage return only where it ends lines
        quoted = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
        for number, row in enumerate(rows):
            fields = [[spreadsheet_safe(value) for value in row.values()]]
            for values in [list(row), *fields] if not number else fields:
                returns = any(isinstance(value, str) and "\r" in value for value in values)
                (quoted if returns else usual).writerow(values)


def _tables(rows: Iterator[dict[str, Any]]) -> Iterator[Any]:
    import pyarrow as pa

    schema = None
    while chunk := list(islice(rows, _ROWS)):
        table = pa.Table.from_pylist(chunk, schema)
        if schema is None:
            # where none of the first rows has a piece, nothing says that pieces are strings
            typed = [field.with_type(pa.string()) if pa.types.is_null(field.type) else field for field in table.schema]
            schema = pa.schema(typed)
        yield table.cast(schema)


def write_tables(path: Path, tables: Iterator[Any]) -> None:
    """Writes tables of one schema into a Parquet file, one in memory at a time."""
    import pyarrow.parquet as pq

    first = next(tables)
    with pq.ParquetWriter(path, first.schema) as writer:
        for table in chain([first], tables):
            writer.write_table(table)
