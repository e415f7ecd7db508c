"""Names of the files in a run's folder, and functions that write files whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

RUN = "run.json"  # the order: specification, data fingerprint, versions, machine; written at the start
LOG = "log_history.json"  # the Trainer's log, written as it goes
RESULTS = "results.json"  # the results; written last, so a folder that has it holds a finished run
TEST_PREDICTIONS = "predictions_test.parquet"
VALIDATION_PREDICTIONS = "predictions_validation.parquet"
MODEL = "model"
ADAPTER = "adapter"  # only for LoRA, beside the merged model
TRACKER = "tracker"  # TensorBoard's files, with `--report_to tensorboard`
FAILURE = "failure.json"  # why the last try failed; gone once the run is finished
CHECKPOINTS = "checkpoints"
PRETRAINING = "pretraining.json"  # the order of a pre-training, beside its folders step-0, step-600, ...
PLANS = "studies"  # folder below all runs with a JSON file for each planned study
RECORDED = (MODEL, ADAPTER, TEST_PREDICTIONS, VALIDATION_PREDICTIONS, LOG)  # results.json has their digests
CARD = "README.md"  # of a model; it is written again when other seeds finish, so no digest covers it


class LockedRunError(OSError):
    """Another process is writing to a run's folder."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Adds the path to errors of a full disk, which torch and safetensors do not name.

    Raises:
        OSError: the disk is full.
    """
    try:
        yield
    except Exception as error:
        parent = next(folder for folder in (path, *path.absolute().parents) if folder.is_dir())
        unnamed = (
            re.search("failed writing file|iostream error", str(error)) and shutil.disk_usage(parent).free < 2**20
        )
        if unnamed or disk_is_full(error):
            raise OSError(errno.ENOSPC, "the disk is full", str(path)) from error
        raise


def disk_is_full(error: BaseException | None) -> bool:
    """Whether an exception, or one that led to it, says that a disk is full."""
    while error is not None:
        if getattr(error, "errno", None) == errno.ENOSPC or re.search(
            "No space left|Not enough disk space", str(error)
        ):
            return True
        error = error.__cause__ or error.__context__
    return False


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Lets `write` fill a temporary file beside `path`, then puts it in place in one step."""
    with writing(path):
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
    try:
        text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    except ValueError as error:
        raise ValueError(f"{path}: {_not_finite(value) or error}; allowed: finite numbers") from None
    write_text(path, text)


def _not_finite(value: Any, name: str = "") -> str | None:
    """The first number below a value that JSON cannot hold, with its name."""
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{name.lstrip('.')} is {value}"
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else ()
    return next(filter(None, (_not_finite(item, f"{name}.{key}") for key, item in items)), None)


def write_bytes(path: Path, content: bytes) -> None:
    """Bytes, whole or not at all."""
    write_whole(path, lambda temporary: temporary.write_bytes(content))


def write_text(path: Path, text: str) -> None:
    """Text in UTF-8, whole or not at all."""
    write_bytes(path, text.encode())


def write_folder(path: Path, write: Callable[[Path], None]) -> None:
    """Lets `write` fill a temporary folder beside `path`, then puts it in place, removing what stood there."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
        try:
            write(temporary)
            for file in temporary.rglob("*"):
                file.chmod(0o755 if file.is_dir() else 0o644)  # safetensors makes files that only their owner can read
            temporary.chmod(0o755)
            if path.exists():
                shutil.rmtree(path)
            temporary.replace(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


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
    except (ValueError, RecursionError) as error:  # not UTF-8, nested too deep, or a number of thousands of digits
        raise ValueError(f"{path}: not JSON ({error}); remove the folder to run again") from None


def sha256(path: Path) -> str:
    """The sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_digests(folder: Path, names: Iterable[str] | None = None) -> dict[str, dict[str, Any]]:
    """Size and sha256 of the files below a folder, by their path relative to it; model cards are left out.

    Args:
        names: files or folders of `folder` to look at; those that are missing are skipped. By default all.
    """
    tops = sorted(folder.iterdir()) if names is None else [folder / name for name in names]
    files = [path for top in tops for path in (sorted(top.rglob("*")) if top.is_dir() else [top]) if path.is_file()]
    return {
        path.relative_to(folder).as_posix(): {"size": path.stat().st_size, "sha256": sha256(path)}
        for path in files
        if path.name != CARD
    }


def check_files(
    folder: Path, record: dict[str, dict[str, Any]], below: str = "", content: bool = True, advice: str | None = None
) -> None:
    """Compares files with what [`file_digests`] recorded of them.

    Args:
        record: of `results.json`, under `files`: by path relative to `folder`, the run's.
        below: only files whose recorded path begins with this, e.g. `model/`.
        content: whether to compare the sha256 too, which reads every file, or the size alone.
        advice: what to do about a file that is not what it was.

    Raises:
        ValueError: a file that is missing, has another size or other content; the message names it.
    """
    advice = advice or f"remove {folder} to make it again"
    for name, recorded in record.items():
        if not name.startswith(below):
            continue
        path = folder / name
        if not path.is_file():
            raise ValueError(f"{path}: the file is missing; {advice}")
        if path.stat().st_size != recorded["size"]:
            difference = f"{path.stat().st_size} bytes, {recorded['size']} were written"
        elif content and (digest := sha256(path)) != recorded["sha256"]:
            difference = f"its sha256 is {digest[:12]}, {recorded['sha256'][:12]} was written"
        else:
            continue
        raise ValueError(f"{path}: damaged or changed ({difference}); {advice}")


def check_run(folder: Path, below: str = "", content: bool = True) -> None:
    """Compares the files of a finished run with what its `results.json` says of them; see [`check_files`].

    Raises:
        ValueError: `results.json` is damaged or records no files, or a file is not what it was.
    """
    results = read_json(folder / RESULTS)
    record = results.get("files") if isinstance(results, dict) else None
    if not isinstance(record, dict):
        raise ValueError(f"{folder / RESULTS}: it does not record the run's files; remove {folder} to run again")
    check_files(folder, record, below, content)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the lock of a run's folder. The operating system takes the lock from a process that died.

    Raises:
        LockedRunError: another process holds it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.parent / f".{folder.name}.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise LockedRunError(f"{folder}: another process is training this run; wait for it, or stop it") from None
    try:
        yield
    finally:
        lock.release()


def sweep(folder: Path, half_written: str = "**/.*.tmp") -> None:
    """Removes what a killed process left: half-written files, and the checkpoints of a finished run.

    Call it while holding the lock ([`locked`]).
    """
    for path in list(folder.glob(half_written)):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    if (folder / RESULTS).is_file():
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
