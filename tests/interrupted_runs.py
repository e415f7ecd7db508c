"""A run's Trainer; runs that break off, and whether they end as a run that was left alone."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from hf_bertx import run_files
from hf_bertx.data.task_data import load_task_data
from hf_bertx.runs.arguments import parse_arguments
from hf_bertx.runs.run import Run
from hf_bertx.runs.trainer import RunTrainer
from hf_bertx.runs.training import build_trainer, run


def run_trainer(backbone: Path, folder: Path, *options: str) -> RunTrainer:
    """The Trainer of a run in a folder, by its command line, with the rows of its task."""
    (spec,), args = parse_arguments(["--backbone", str(backbone), *options])
    return build_trainer(spec, args, load_task_data(spec.task), folder)


class Interrupted(BaseException):
    """As a killed process: nothing catches it."""


class Interrupt(TrainerCallback):
    """Interrupts at the given events, `(event, step)` or `(event, None)` for any step, of one start after another."""

    def __init__(self, *events: tuple[str, int | None]) -> None:
        self.events = list(events)

    def __getattribute__(self, name: str) -> Any:
        if name in ("on_step_begin", "on_step_end", "on_save", "on_train_end"):
            return lambda args, state, control, **_: self.interrupt(name, state.global_step)
        return super().__getattribute__(name)

    def interrupt(self, event: str, step: int) -> None:
        if self.events and self.events[0] in ((event, step), (event, None)):
            self.events.pop(0)
            raise Interrupted


def interrupt(spec: Any, args: Any, *events: tuple[str, int | None]) -> None:
    """Starts a run once for each event, at which it breaks off."""
    callback = Interrupt(*events)
    for _ in events:
        with pytest.raises(Interrupted):
            run(spec, args, callbacks=(callback,))
    assert not callback.events


def assert_same_run(first: Path, second: Path) -> None:
    """Two folders hold the same results, losses and predictions, and the same weights bit for bit."""
    one, two = Run.open_finished(first), Run.open_finished(second)
    for name in ("metrics", "steps", "selected_step", "restarts", "collapsed", "tokens_seen", "stopped"):
        assert one.results[name] == two.results[name], name
    assert one.curve("loss") == two.curve("loss")
    for name in (run_files.VALIDATION_PREDICTIONS, run_files.TEST_PREDICTIONS):
        assert pq.read_table(first / name).equals(pq.read_table(second / name)), name
    weights = [load_file(run.model_dir / "model.safetensors") for run in (one, two)]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
