"""A run is a folder: what its files are called, and how they are written whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

RUN = "run.json"  # what was ordered: specification, data fingerprint, versions, machine; written at the start
LOG = "log_history.json"  # the Trainer's log, written as it goes
RESULTS = "results.json"  # what came out; written last, so a folder that has it holds a finished run
TEST_PREDICTIONS = "predictions_test.parquet"
VALIDATION_PREDICTIONS = "predictions_validation.parquet"
MODEL = "model"
ADAPTER = "adapter"  # of a LoRA run, beside the model that it is merged into
TRACKER = "tracker"  # TensorBoard's files, where they were asked for
FAILURE = "failure.json"  # why the last try failed; gone once the run is finished
CHECKPOINTS = "checkpoints"
_COMPLETE = "complete.json"  # in a checkpoint: every file of it was written


def run_folder(
    protocol: str, task: str, backbone: str, arm: str, seed: int, fraction: float, split: str, variant: str
) -> Path:
    """Where a run lies below the root of all runs.

    Returns:
        `protocol/task/backbone/arm/seed-N[-fraction-F][-split][-variant]`.
    """
    share = "" if fraction == 1 else f"-fraction-{fraction:g}"
    grouped = "" if split == "paper" else f"-{split}"
    varied = f"-{variant}" if variant else ""
    name = f"seed-{seed}{share}{grouped}{varied}"
    return Path(protocol, task, backbone.strip("/").replace("/", "--"), arm, name)


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Lets `write` fill a temporary file beside `path`, then puts it in place in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """JSON, whole or not at all. NaN and infinity are refused: no reader of JSON has to take them.

    Raises:
        ValueError: a number that JSON cannot hold.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_whole(path, lambda temporary: _write_text(temporary, text))


def write_text(path: Path, text: str) -> None:
    """Text in UTF-8, whole or not at all."""
    write_whole(path, lambda temporary: _write_text(temporary, text))


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def write_folder(path: Path, write: Callable[[Path], None]) -> None:
    """Lets `write` fill a temporary folder beside `path`, then puts it in place, removing what stood there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    try:
        write(temporary)
        temporary.chmod(0o755)
        if path.exists():
            shutil.rmtree(path)
        temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_predictions(path: Path, rows: Any, logits: Any) -> None:
    """One row an item: `id`, `label` (number or target) and `logits`, shape `(classes,)` or `(1,)`."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    values = np.asarray(logits, dtype=np.float32).reshape(len(rows), -1)
    columns: dict[str, Any] = {"id": rows["id"][:], "label": rows["label"][:], "logits": values.tolist()}
    if "group" in rows.column_names:
        columns["group"] = rows["group"][:]
    table = pa.table(columns)
    table = table.set_column(2, "logits", table["logits"].cast(pa.list_(pa.float32())))
    write_whole(path, lambda temporary: pq.write_table(table, temporary))


def read_json(path: Path) -> Any:
    """A JSON file of a run.

    Raises:
        ValueError: the file is missing or is not JSON; the message names it.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(
            f"{path}: the file is missing; a run's folder holds {RUN} and, once finished, {RESULTS}"
        ) from None
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path}, line {error.lineno}: not JSON ({error.msg}); remove the folder to run again"
        ) from None


def mark_complete(checkpoint: Path, step: int) -> None:
    """Says that every file of a checkpoint was written."""
    write_json(checkpoint / _COMPLETE, {"step": step})


def last_complete_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written whole; half-written ones are removed."""
    complete = []
    for checkpoint in sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2])):
        if (checkpoint / _COMPLETE).is_file():
            complete.append(checkpoint)
        else:
            shutil.rmtree(checkpoint)
    return complete[-1] if complete else None
