"""A file of sequences -> a file of predictions, resumable, in memory that does not grow with the file.

Finished chunks are kept in a folder beside the file until it is complete.
"""

from __future__ import annotations

import glob
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from .. import __version__, run_files
from ..data.input_records import Columns, format_counts, is_music
from ..data.midi_files import files_below
from .batches import in_chunks
from .inference import SequenceClassifier
from .prediction_rows import has_votes, rows, summary, votes, whole_parts, write_part, write_rows

OUTPUT_ENDINGS = (".parquet", ".csv", ".jsonl")
_ORDER = "order.json"

Progress = Callable[[int, int | None], None]  # records done, records in all (None: unknown)


@dataclass(frozen=True)
class Predictions:
    """What was written.

    Args:
        records: rows of the file.
        cut: of them, those that had more symbols than the model reads.
        split: of them, those that were read in several windows.
        pieces: what each piece's segments voted, by its name.
        resumed_at: the records that an earlier call had done.
        answers: the labels with their counts, or the range of the values, in words.
        noted: what of the input was repaired, left out or not read, in words; empty where nothing was.
    """

    records: int
    cut: int
    split: int
    pieces: dict[str, Any]
    resumed_at: int
    answers: str
    noted: str


def predict_file(
    classifier: SequenceClassifier,
    path: Path,
    output: Path,
    columns: Columns | None = None,
    overwrite: bool = False,
    progress: Progress = lambda records, total: None,
) -> Predictions:
    """Predicts every record of a file and writes one row each, in order; whole or not at all.

    Killed and called again, it goes on with the chunk in which it stopped, and the file is the same, byte for byte.
    It reads the formats of `bertx predict` and writes `.csv`, `.jsonl` or `.parquet`.
    Rows have `id`, `label` and `score` of the best class and the score of every class, or `value` for a regression,
    in the data's units; `cut`, the symbols that the model could not read; `windows`, where the model was trained
    with them, in how many the record was read; and, where segments belong to pieces, `piece` with what they voted.

    Raises:
        ValueError: an unknown ending, bad input, an output that is there already or is the input, or one that was
            begun with another input or model; the message names it.
    """
    check_output(output, overwrite, path)
    columns = columns or Columns()
    voting = has_votes(classifier, path, columns)
    total, digest = _scan(classifier, path, columns)
    order = {
        "input": digest,
        "model": classifier.fingerprint(),
        "batch size": [classifier.batch_size, classifier.tokens_a_batch],
        "columns": asdict(columns),
        "hf_bertx": __version__,
    }
    with _staged(output) as stage:
        _begin(stage, output, order, overwrite)
        key = hashlib.sha256(json.dumps(order, sort_keys=True).encode()).hexdigest()
        parts, resumed_at = whole_parts(stage, key)
        records = resumed_at
        progress(records, total)
        noted: Counter[str] = Counter()
        rest = islice(classifier.read(path, columns, counts=noted), resumed_at, None)
        for number, chunk in enumerate(classifier.predict(rest), start=len(parts)):
            parts.append(write_part(stage, number, chunk, key))
            records += len(chunk.records)
            progress(records, total)
        if total not in (None, records):
            raise ValueError(f"{path}: changed while it was read: {total} records at first, {records} predictions")
        names, pieces = votes(classifier, parts) if voting else ([], {})
        run_files.write_whole(
            output, lambda temporary: write_rows(temporary, output.suffix, rows(classifier, parts, names, pieces))
        )
        cut, split, answers = summary(classifier, parts)
        for part in parts:
            part.unlink()
        (stage / _ORDER).unlink()  # last, so that a call that was killed here can be repeated
    return Predictions(records, cut, split, pieces, resumed_at, answers, format_counts(noted))


def check_output(
    output: Path, overwrite: bool = False, source: Path | None = None, endings: tuple[str, ...] = OUTPUT_ENDINGS
) -> None:
    """Checks that need no model.

    Args:
        source: the file, or the folder, that is to be read.

    Raises:
        ValueError: an unknown ending, a finished file of that name, the input, or a file of a run.
    """
    if output.suffix not in endings:
        raise ValueError(f"{output}: ending {output.suffix!r}; allowed: {', '.join(endings)}")
    if output.is_dir():
        raise ValueError(f"{output}: is a folder; allowed: a file")
    inside = source is not None and source.is_dir() and source.resolve() in output.resolve().parents
    if source is not None and output.exists() and (inside or source.samefile(output)):
        raise ValueError(f"{output}: is the input, which predictions would replace; name another --output")
    if (output.parent / run_files.RUN).is_file() and output.name in run_files.RECORDED:
        raise ValueError(f"{output}: is the run's own file; name another --output")
    if output.exists() and not overwrite and not (_stage(output) / _ORDER).is_file():
        raise ValueError(f"{output}: is there already; --overwrite replaces it")


def _stage(output: Path) -> Path:
    return output.parent / f".{output.name}.part"


@contextmanager
def _staged(output: Path) -> Iterator[Path]:
    """The locked folder of finished chunks. It is removed once the file is written, or if it is empty."""
    stage = _stage(output)
    stage.mkdir(parents=True, exist_ok=True)
    lock = FileLock(stage / "lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise ValueError(f"{output}: another process is writing it") from None
    written = False
    try:
        for left in output.parent.glob(f".{glob.escape(output.name)}.*.tmp"):  # of calls that were killed
            left.unlink()
        yield stage
        written = True
    finally:
        if written or not any(stage.glob("*.parquet")):
            shutil.rmtree(stage, ignore_errors=True)
        lock.release()


def _scan(classifier: SequenceClassifier, path: Path, columns: Columns) -> tuple[int | None, str]:
    """How many records there are and what identifies them; a bad one is found before hours of computing.

    MIDI files are identified by their bytes: they cannot hold an unknown symbol, and reading their notes takes long.
    """
    digest = hashlib.sha256()
    if is_music(path):
        for file in files_below(path) if path.is_dir() else [path]:
            name = file.relative_to(path).as_posix() if path.is_dir() else file.name
            digest.update(f"{name}\x1f{file.stat().st_size}\x1e".encode() + file.read_bytes())
        return None, digest.hexdigest()
    total = 0
    for chunk in in_chunks(classifier.read(path, columns, counts=Counter())):  # repairs are reported once, at the end
        classifier.count(chunk)
        total += len(chunk)
        for record in chunk:
            digest.update("\x1f".join((record.id, record.sequence, record.second or "", record.piece or "")).encode())
            digest.update(b"\x1e")
    return total, digest.hexdigest()


def _begin(stage: Path, output: Path, order: dict[str, Any], overwrite: bool) -> None:
    """Keeps the chunks of an interrupted call if its order was the same. Chunks without an order are removed."""
    begun = stage / _ORDER
    if begun.is_file() and not overwrite:
        try:
            before = dict(run_files.read_json(begun))
        except (TypeError, ValueError):
            raise ValueError(
                f"{output}: what an earlier call left in {begun} is damaged; --overwrite begins anew"
            ) from None
        other = [name for name in order if before.get(name) != order[name]]
        if other:
            raise ValueError(
                f"{output}: was begun with another {other[0]}, so it cannot go on; --overwrite begins anew"
            )
        return
    begun.unlink(missing_ok=True)
    for part in stage.glob("*.parquet"):
        part.unlink()
    run_files.write_json(begun, order)
