"""The only writer of a run's folder; files are written whole or not at all. Imports no torch."""

from __future__ import annotations

import datetime
import shutil
from pathlib import Path
from typing import Any

from .. import run_files

_RESTARTS = "restarts.json"  # beside the checkpoints, until the run is finished


class RunWriter:
    """Writes the files of a run in the order of its life; [`Run`] reads them.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def order(self, order: dict[str, Any], versions: dict[str, str], machine: dict[str, Any]) -> None:
        """Writes the order, versions and machine to `run.json`, before the first step."""
        run_files.write_json(self.folder / run_files.RUN, {**order, "versions": versions, "machine": machine})

    def state_license(self, name: str | None) -> None:
        """Records the licence of the data, where the order names none or another one; None states nothing."""
        path = self.folder / run_files.RUN
        order = run_files.read_json(path)
        if name is not None and order["task"]["license"] != name:
            run_files.write_json(path, {**order, "task": {**order["task"], "license": name}})

    def restarts(self) -> list[dict[str, Any]]:
        """The recorded starts of an unfinished run that collapsed."""
        path = self.folder / run_files.CHECKPOINTS / _RESTARTS
        return run_files.read_json(path) if path.is_file() else []

    def write_restarts(self, restarts: list[dict[str, Any]]) -> None:
        """Records the starts that collapsed; from now on the next one is trained."""
        run_files.write_json(self.folder / run_files.CHECKPOINTS / _RESTARTS, restarts)

    def predictions(self, tested: bool, rows: Any, logits: Any) -> None:
        """Writes the predictions of the test or the validation split.

        One row an item: `id`, `label` (number or target), `logits`, shape `(classes,)` or `(1,)`, and `group` where
        the data has groups.

        Raises:
            ValueError: another number of predictions than rows.
        """
        import numpy as np
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.folder / (run_files.TEST_PREDICTIONS if tested else run_files.VALIDATION_PREDICTIONS)
        if len(logits) != len(rows):
            raise ValueError(f"{path}: {len(logits)} predictions of {len(rows)} rows; each row needs one")
        values = np.asarray(logits, dtype=np.float32).reshape(len(rows), -1)
        columns = {"id": rows["id"][:], "label": rows["label"][:]}
        columns["logits"] = pa.array(values.tolist(), pa.list_(pa.float32()))
        if "group" in rows.column_names:
            columns["group"] = rows["group"][:]
        run_files.write_whole(path, lambda temporary: pq.write_table(pa.table(columns), temporary))

    def results(self, results: dict[str, Any], log: list[dict[str, float]] | None = None) -> None:
        """The log, then `results.json` with the digests of all files: from now on the run is finished.

        Args:
            log: the Trainer's; None keeps the one that was written while it trained, or writes an empty one.
        """
        path = self.folder / run_files.LOG
        if log is not None or not path.is_file():
            run_files.write_json(path, log or [])
        files = run_files.file_digests(self.folder, run_files.RECORDED)
        run_files.write_json(self.folder / run_files.RESULTS, {**results, "files": files})
        shutil.rmtree(self.folder / run_files.CHECKPOINTS, ignore_errors=True)

    def add(self, results: dict[str, Any], more: dict[str, Any]) -> None:
        """Adds entries to a finished run's `results.json`."""
        run_files.write_json(self.folder / run_files.RESULTS, {**results, **more})

    def failure(self, error: str) -> None:
        """Records why the last try failed, and how many tries there were."""
        path = self.folder / run_files.FAILURE
        attempts = run_files.read_json(path)["attempts"] if path.is_file() else 0
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        run_files.write_json(path, {"error": error, "attempts": attempts + 1, "time": now})
