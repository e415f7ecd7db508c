"""Archives: the runs of a study that finished or failed in one file, without weights."""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import shutil
import tarfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from filelock import FileLock

from .. import run_files
from ..protocols import PROBE
from ..runs.run import DECISION, ROW, Run, drawn_together
from ..runs.spec import RunSpec
from ..tasks import TASKS, Task
from .execution import LOCKS

TOP = "runs"  # the folder that all paths in the file begin with
KEPT = (run_files.RUN, run_files.LOG, run_files.TEST_PREDICTIONS, run_files.VALIDATION_PREDICTIONS, run_files.RESULTS)
_OF_FAILED = (run_files.RUN, run_files.FAILURE)
_ENDING = ".tar.xz"


def check_name(archive: Path) -> None:
    """Raises ValueError for a file that is no `.tar.xz`."""
    if not archive.name.endswith(_ENDING):
        raise ValueError(f"{archive}: an archive's name ends with {_ENDING}")


def write_archive(archive: Path, root: Path, runs: Iterable[RunSpec]) -> int:
    """Writes the runs that finished or failed, and the plans beside them, to a `.tar.xz`, whole or not at all.

    A run's weights, adapter and checkpoints stay out, and out of the list of files in its `results.json`, so that the
    unpacked run counts as finished and whole. Of a failed run it holds the order and the error. Processes that share
    a study may call it at the same time.

    Returns:
        How many finished runs the file holds.
    """
    folders = [run.folder(root) for run in runs]

    def write(path: Path) -> None:
        with tarfile.open(path, "w:xz", preset=1) as tar:
            for plan in sorted((root / run_files.PLANS).glob("*.json")):
                _add(tar, plan.relative_to(root), plan.read_bytes())
            for folder in folders:
                for name, content in _contents(folder).items():
                    _add(tar, folder.relative_to(root) / name, content)

    lock = root / LOCKS / f"{archive.name}.lock"  # with the runs' locks, not in the archive's folder
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock):
        finished = sum((folder / run_files.RESULTS).is_file() for folder in folders)
        run_files.write_whole(archive, write)
    return finished


def _contents(folder: Path) -> dict[str, bytes]:
    """The files of a run that go into an archive, and their digests in `results.json`; none of an unfinished run.

    A ridge's margins are no probabilities, so of a probe of classes the archive holds the decisions on test. Ids of
    published data without a licence become row numbers: nothing of such data is published again.
    """
    if not (folder / run_files.RESULTS).is_file():
        return _files(folder, _OF_FAILED) if (folder / run_files.FAILURE).is_file() else {}
    run = Run.open(folder)
    task, probe = run.task, run.specification["protocol"] == PROBE
    decisions = probe and not task.regression and not task.multi_label
    kept = [name for name in KEPT if not (probe and name == run_files.VALIDATION_PREDICTIONS)]
    contents = _files(folder, kept)
    results = json.loads(contents[run_files.RESULTS])
    results["files"] = {name: stated for name, stated in results.get("files", {}).items() if name in kept}
    for name in (run_files.TEST_PREDICTIONS, run_files.VALIDATION_PREDICTIONS):
        if name in contents and (decisions or _unlicensed(task)):
            contents[name] = _compact(contents[name], decisions, run)
            digest = hashlib.sha256(contents[name]).hexdigest()
            results["files"][name] = {"size": len(contents[name]), "sha256": digest}
    contents[run_files.RESULTS] = json.dumps(results, indent=2, ensure_ascii=False).encode()
    return contents


def _files(folder: Path, names: Iterable[str]) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in names if (folder / name).is_file()}


def _unlicensed(task: Task) -> bool:
    return task.name in TASKS and task.license is None


def _compact(content: bytes, decisions: bool, run: Run) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table, task = pq.read_table(io.BytesIO(content)), run.task
    if not task.votes and "group" in table.column_names:
        groups = drawn_together(run, table["id"].to_pylist(), table["group"].to_pylist())
        table = table.drop_columns(["group"])
        if groups is not None:
            known = {group: f"{ROW}{i}" for i, group in enumerate(dict.fromkeys(groups))}
            table = table.append_column("group", pa.array([known[group] for group in groups]))
    if _unlicensed(task):
        numbers = pa.array([f"{ROW}{i}" for i in range(len(table))])
        table = table.set_column(table.column_names.index("id"), "id", numbers)
    if decisions and DECISION not in table.column_names:  # a run that came from an archive has them
        logits = table["logits"].combine_chunks().flatten().to_numpy().reshape(len(table), -1)
        given = pa.array(logits.argmax(axis=1), pa.int16())
        table = table.set_column(table.column_names.index("logits"), DECISION, given)
        table = table.replace_schema_metadata({"classes": str(logits.shape[1])})
    file = io.BytesIO()
    pq.write_table(table, file, compression="none")
    return file.getvalue()


def _add(tar: tarfile.TarFile, path: Path, content: bytes) -> None:
    entry = tarfile.TarInfo((PurePosixPath(TOP) / path.as_posix()).as_posix())
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def read_archive(archive: Path, root: Path, failed: bool = True) -> int:
    """Puts the runs of an archive below `root`.

    A finished run replaces one that was begun there and is not finished. All else stays as it is, also a run that a
    process is training.

    Args:
        failed: whether to add the order and the error of failed runs too, for a report.

    Returns:
        How many finished runs were added.

    Raises:
        ValueError: the file is missing or damaged, or an entry of it does not lie below the folder `runs` or is
            neither a file nor a folder. Nothing is written then.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(lzma.decompress(archive.read_bytes()))) as tar:
            entries = [(_place(archive, entry), tar.extractfile(entry)) for entry in tar if not entry.isdir()]
            contents = {place: file.read() for place, file in entries if file is not None}
    except FileNotFoundError:
        raise ValueError(f"{archive}: no such file") from None
    except (tarfile.TarError, lzma.LZMAError, EOFError) as error:
        raise ValueError(f"{archive}: not a whole archive of runs ({' '.join(str(error).split())})") from None
    folders: dict[Path, dict[str, bytes]] = defaultdict(dict)
    for place, content in contents.items():
        folders[place.parent][place.name] = content
    added = 0
    for place, files in sorted(folders.items()):  # a run before the folders in it
        if run_files.RESULTS in files:
            added += _put_finished(root / place, files)
        elif run_files.FAILURE not in files:
            _put(root / place, {name: files[name] for name in files if not (root / place / name).exists()})
        elif failed and not (root / place).exists():
            _put(root / place, files)
    return added


def _put_finished(folder: Path, files: dict[str, bytes]) -> bool:
    """Writes a finished run; False where there is one already, or a process is training it."""
    if not folder.is_dir():
        _put(folder, files)
        return True
    try:
        with run_files.locked(folder):
            if (folder / run_files.RESULTS).is_file():
                return False
            shutil.rmtree(folder)
            _put(folder, files)
    except run_files.LockedRunError:
        return False
    return True


def _put(folder: Path, files: dict[str, bytes]) -> None:
    for name in sorted(files, key=lambda name: name == run_files.RESULTS):  # last: it says that the run is finished
        run_files.write_bytes(folder / name, files[name])


def _place(archive: Path, entry: tarfile.TarInfo) -> Path:
    """The path of an entry, relative to the root of the runs."""
    path = PurePosixPath(entry.name)
    if not entry.isfile():
        raise ValueError(f"{archive}: entry {entry.name!r} is neither a file nor a folder")
    if path.parts[:1] != (TOP,) or len(path.parts) < 2 or ".." in path.parts or "\\" in entry.name:
        raise ValueError(f"{archive}: entry {entry.name!r} does not lie below {TOP}/")
    return Path(*path.parts[1:])
