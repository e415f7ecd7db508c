"""A file of sequences -> a file of predictions, resumable, in memory that does not grow with the file.

While it is being made, what is done lies window by window in a folder beside it.
"""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from scipy.special import softmax

from .. import __version__, run_files
from ..input_records import Columns, InputRecord, is_music, read_input
from ..metrics import vote
from .inference import SequenceClassifier, Window, in_windows

OUTPUT_ENDINGS = (".parquet", ".csv", ".jsonl")
_ORDER = "order.json"
_ROWS = 50_000  # of a row group of Parquet

Progress = Callable[[int, int | None], None]  # records done, records in all (None: unknown)


@dataclass(frozen=True)
class Predictions:
    """What was written: `records` rows, of which `cut` had more symbols than the model reads, of `pieces` pieces."""

    records: int
    cut: int
    pieces: dict[str, Any]
    resumed_at: int


def predict_file(
    classifier: SequenceClassifier,
    path: Path,
    output: Path,
    columns: Columns | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Predictions:
    """Predicts every record of a file and writes one row each, in order; whole or not at all.

    Killed and called again, it goes on with the window in which it stopped, and the file is the same, byte for byte.
    Rows have `id`, `label` and `score` of the best class and the score of every class, or `value` for a regression,
    in the data's units; `cut`, the symbols that the model could not read; and, where segments belong to pieces,
    `piece` with what they voted.

    Raises:
        ValueError: an unknown ending, bad input, an output that is there already, or one that was begun with another
            input or model; the message names it.
    """
    check_output(output, overwrite)
    columns = columns or Columns()
    total, digest = _scan(classifier, path, columns)
    order = {
        "input": digest,
        "model": classifier.fingerprint(),
        "batch size": [classifier.batch_size, classifier.tokens_a_batch],
        "columns": asdict(columns),
        "hf_bertx": __version__,
    }
    stage = _stage(output)
    stage.mkdir(parents=True, exist_ok=True)
    lock = FileLock(stage / "lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise ValueError(f"{output}: another process is writing it") from None
    with lock:
        _begin(stage, output, order, overwrite)
        done = sorted(stage.glob("*.parquet"))
        at = sum(_count(part) for part in done)
        _predict(
            classifier, islice(read_input(path, columns), at, None), stage, len(done), _counter(progress, at, total)
        )
        parts = sorted(stage.glob("*.parquet"))
        pieces = _votes(classifier, parts) if is_music(path) or columns.piece else {}
        run_files.write_whole(
            output, lambda temporary: _write(temporary, output.suffix, _rows(classifier, parts, pieces))
        )
        records, cut = sum(map(_count, parts)), sum(_cut(part) for part in parts)
    shutil.rmtree(stage)
    return Predictions(records, cut, pieces, at)


def check_output(output: Path, overwrite: bool = False) -> None:
    """What can be said before a model is loaded.

    Raises:
        ValueError: an unknown ending, or a finished file of that name.
    """
    if output.suffix not in OUTPUT_ENDINGS:
        raise ValueError(f"{output}: ending {output.suffix!r}; allowed: {', '.join(OUTPUT_ENDINGS)}")
    if output.exists() and not overwrite and not (_stage(output) / _ORDER).is_file():
        raise ValueError(f"{output}: is there already; --overwrite replaces it")


def _stage(output: Path) -> Path:
    return output.parent / f".{output.name}.part"


def _scan(classifier: SequenceClassifier, path: Path, columns: Columns) -> tuple[int | None, str]:
    """How many records there are and what identifies them; a bad one is found before hours of computing.

    MIDI files are identified by their bytes: they cannot hold an unknown symbol, and reading their notes takes long.
    """
    digest = hashlib.sha256()
    if is_music(path):
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                digest.update(f"{file.name}\x1f{file.stat().st_size}\x1e".encode() + file.read_bytes())
        return None, digest.hexdigest()
    total = 0
    for window in in_windows(read_input(path, columns)):
        classifier.count(window)
        total += len(window)
        for record in window:
            digest.update("\x1f".join((record.id, record.sequence, record.second or "", record.piece or "")).encode())
            digest.update(b"\x1e")
    return total, digest.hexdigest()


def _begin(stage: Path, output: Path, order: dict[str, Any], overwrite: bool) -> None:
    """Takes up what an interrupted call left, if it was the same order."""
    begun = stage / _ORDER
    if overwrite:
        for part in stage.glob("*.parquet"):
            part.unlink()
        begun.unlink(missing_ok=True)
    elif begun.is_file():
        before = run_files.read_json(begun)
        other = [name for name in order if before.get(name) != order[name]]
        if other:
            raise ValueError(
                f"{output}: was begun with another {other[0]}, so it cannot go on; --overwrite begins anew"
            )
        return
    run_files.write_json(begun, order)


def _counter(progress: Progress | None, at: int, total: int | None) -> Callable[[int], None]:
    done = at

    def count(more: int) -> None:
        nonlocal done
        done += more
        if progress is not None:
            progress(done, total)

    count(0)
    return count


def _predict(
    classifier: SequenceClassifier,
    records: Iterable[InputRecord],
    stage: Path,
    number: int,
    count: Callable[[int], None],
) -> None:
    for window in classifier.windows(records):
        _write_part(stage / f"{number:08d}.parquet", window)
        number += 1
        count(len(window.records))


def _write_part(path: Path, window: Window) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    classes = window.logits.shape[1]
    logits = pa.FixedSizeListArray.from_arrays(pa.array(window.logits.reshape(-1)), classes)
    columns = {
        "id": [record.id for record in window.records],
        "piece": pa.array([record.piece for record in window.records], pa.string()),
        "cut": window.cut,
        "logits": logits,
    }
    run_files.write_whole(path, lambda temporary: pq.write_table(pa.table(columns), temporary))


def _count(part: Path) -> int:
    import pyarrow.parquet as pq

    return pq.read_metadata(part).num_rows


def _cut(part: Path) -> int:
    import pyarrow.parquet as pq

    return int(np.count_nonzero(pq.read_table(part, columns=["cut"])["cut"].to_numpy()))


def _read_parts(parts: Iterable[Path]) -> Iterator[tuple[list[str], list[str | None], list[int], np.ndarray]]:
    import pyarrow.parquet as pq

    for part in parts:
        table = pq.read_table(part)
        logits = table["logits"].combine_chunks().flatten().to_numpy().reshape(table.num_rows, -1)
        yield *(table[name].to_pylist() for name in ("id", "piece", "cut")), logits


def _votes(classifier: SequenceClassifier, parts: list[Path]) -> dict[str, Any]:
    """What the segments of each piece voted; the mean of a regression."""
    if classifier.regression:
        values: dict[str, list[float]] = {}
        for _, pieces, _, logits in _read_parts(parts):
            for piece, value in zip(pieces, logits[:, 0].tolist(), strict=True):
                values.setdefault(piece or "", []).append(value)
        return {piece: {"piece_value": float(np.mean(own)), "segments": len(own)} for piece, own in values.items()}
    names: list[str] = []
    predicted: list[np.ndarray] = []
    for _, pieces, _, logits in _read_parts(parts):
        names += [piece or "" for piece in pieces]
        predicted.append(logits.argmax(axis=1))
    return piece_votes(classifier.labels, np.concatenate(predicted), names)


def piece_votes(labels: list[str], predicted: np.ndarray, pieces: list[str]) -> dict[str, Any]:
    """The label that most segments of each piece were given, how many gave it, and how many there are.

    Args:
        predicted: class numbers, shape `(segments,)`.
        pieces: the piece of each segment.
    """
    won = vote(predicted, pieces)
    counts = {piece: [0, 0] for piece in won}
    for piece, number in zip(pieces, predicted.tolist(), strict=True):
        counts[piece][0] += number == won[piece]
        counts[piece][1] += 1
    return {
        piece: {"piece_label": labels[won[piece]], "votes": votes, "segments": segments}
        for piece, (votes, segments) in counts.items()
    }


def _rows(classifier: SequenceClassifier, parts: list[Path], pieces: dict[str, Any]) -> Iterator[dict[str, Any]]:
    labels = classifier.labels
    for ids, own, cut, logits in _read_parts(parts):
        scores = softmax(logits.astype(np.float64), axis=1)
        for i, name in enumerate(ids):
            row: dict[str, Any] = {"id": name}
            if labels:
                best = int(logits[i].argmax())
                row |= {"label": labels[best], "score": round(float(scores[i, best]), 6)}
                row |= {f"score_{label}": round(float(scores[i, k]), 6) for k, label in enumerate(labels)}
            else:
                row["value"] = float(f"{logits[i, 0]:.7g}")
            row["cut"] = cut[i]
            if pieces:
                row |= {"piece": own[i], **pieces[own[i] or ""]}
            yield row


def _write(path: Path, ending: str, rows: Iterator[dict[str, Any]]) -> None:
    if ending == ".parquet":
        _write_parquet(path, rows)
        return
    with path.open("w", encoding="utf-8", newline="") as file:
        if ending == ".jsonl":
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            return
        writer = None
        for row in rows:
            if writer is None:
                writer = csv.DictWriter(file, list(row), lineterminator="\n")
                writer.writeheader()
            writer.writerow(row)


def _write_parquet(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer = None
    try:
        while chunk := list(islice(rows, _ROWS)):
            table = pa.Table.from_pylist(chunk, schema=None if writer is None else writer.schema)
            if writer is None:
                writer = pq.ParquetWriter(path, table.schema)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()
