"""Checkpoints of a run: marked when they are whole, checked before a run resumes from one."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

from .. import run_files

logger = logging.getLogger(__name__)

_COMPLETE = "complete.json"  # every file of a checkpoint was written, with size and sha256
_TRAINER_STATE = "trainer_state.json"


def mark_complete(checkpoint: Path, step: int) -> None:
    """Records that every file of a checkpoint was written, once the disk has them."""
    (checkpoint / _COMPLETE).unlink(missing_ok=True)
    for path in (*checkpoint.rglob("*"), checkpoint, checkpoint.parent):
        _flush(path)
    run_files.write_json(checkpoint / _COMPLETE, {"step": step, "files": run_files.file_digests(checkpoint)})
    _flush(checkpoint / _COMPLETE)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def last_complete_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that is whole, and whose best checkpoint is; later ones are removed, with a warning."""
    for checkpoint in sorted(folder.glob("checkpoint-*"), key=_step, reverse=True):
        trouble = _trouble(checkpoint)
        if trouble is None:
            best = run_files.read_json(checkpoint / _TRAINER_STATE).get("best_model_checkpoint")
            # the name alone, because the run's folder may have been moved
            trouble = None if best is None else _trouble(folder / Path(best).name)
        if trouble is None:
            return checkpoint
        logger.warning(
            f"{checkpoint.name} cannot be used: {trouble}. It is removed; the run goes on from the one before"
        )
        shutil.rmtree(checkpoint)
    return None


def was_last(checkpoint: Path) -> bool:
    """Whether training was over when the checkpoint was saved: the Trainer would go on for a step, or for epochs."""
    state = run_files.read_json(checkpoint / _TRAINER_STATE)
    stopped = state["stateful_callbacks"]["TrainerControl"]["args"]["should_training_stop"]
    return stopped or state["global_step"] >= state["max_steps"]


def _step(checkpoint: Path) -> int:
    step = checkpoint.name.rpartition("-")[2]
    return int(step) if step.isdigit() else -1


def _trouble(checkpoint: Path) -> str | None:
    """Why a checkpoint cannot be used; None where it can."""
    if not (checkpoint / _COMPLETE).is_file():
        return f"{checkpoint.name} is gone" if not checkpoint.is_dir() else f"{checkpoint.name} was not written whole"
    try:
        run_files.check_files(checkpoint, run_files.read_json(checkpoint / _COMPLETE)["files"])
        state = run_files.read_json(checkpoint / _TRAINER_STATE)
        return None if "global_step" in state else f"{checkpoint / _TRAINER_STATE} does not say global_step"
    except (ValueError, KeyError, TypeError) as error:
        return str(error).partition("; remove")[0]
