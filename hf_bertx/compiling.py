"""torch.compile for the rest of a run, where the run is long enough to repay it."""

from __future__ import annotations

import logging
import os
import shutil
import statistics
import time
from importlib.util import find_spec
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

logger = logging.getLogger(__name__)

_WARM, _WINDOW = 3, 12  # steps that are not counted, then steps that are
# What compiling is expected to save of a step, and to cost, before it is measured: on two CPU cores 2% of a step of
# splice and some 40 s (benchmarks/README.md), so that one has to expect little.
_SAVES, _SECONDS = {"cpu": 0.02, "cuda": 0.15}, 60.0


def expected_gain(steps_left: int, step_seconds: float, device_type: str) -> float:
    """Seconds that compiling is expected to save over the rest of a run, its own cost taken off."""
    return steps_left * step_seconds * _SAVES.get(device_type, 0.0) - _SECONDS


def missing_compiler(device_type: str) -> str | None:
    """What torch.compile would need on this machine and does not find; None where all is there."""
    if not any(shutil.which(name) for name in (os.environ.get("CXX") or "c++", "g++", "clang++")):
        return "a C++ compiler"
    return "triton" if device_type == "cuda" and find_spec("triton") is None else None


class CompileWhenRepaid(TrainerCallback):
    """Compiles training steps once that is expected to save time, measures it, and goes back if it does not.

    A few steps are timed as they are. If what is left of the run is long enough ([`expected_gain`]) the model is
    compiled, and as many steps are timed once no more compiling is seen. Slower steps than before end it. Validation
    is never compiled: it would cost a second compilation. Weights keep their names. Numbers differ as floating-point
    sums in another order do, so a run that is repeated may differ in the last digits by when it was compiled.

    Attributes:
        decision: one sentence, `None` until it is made.

    Example:
        ```python
        >>> trainer = Trainer(model, args, callbacks=[CompileWhenRepaid()], ...)
        ```
    """

    def __init__(self) -> None:
        self.decision: str | None = None
        self._times: list[float] = []
        self._eager: float | None = None  # seconds a step, once measured
        self._compiled: Any = None  # what a step calls in place of the model's forward
        self._begun = 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        missing = missing_compiler(args.device.type)
        if args.torch_compile:
            self._decide("compiled from the start by --torch_compile")
        elif missing:
            self._decide(f"not compiled: it needs {missing}")

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **kwargs: Any
    ) -> None:
        if self._compiled is not None:
            model._compiled_call_impl = self._compiled
        if self.decision is None:
            self._begun = self._now()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **kwargs: Any
    ) -> None:
        if self._compiled is not None:
            model._compiled_call_impl = None
        if self.decision is not None:
            return
        self._times.append(self._now() - self._begun)
        if self._eager is None:
            if len(self._times) < _WARM + _WINDOW:
                return
            self._eager = statistics.median(self._times[_WARM:])
            left = state.max_steps - state.global_step
            if expected_gain(left, self._eager, args.device.type) <= 0:
                self._decide(f"not compiled: {left} steps of {self._eager:.3g} s are left, too few to repay it")
                return
            self._times = []
            self._compiled = torch.compile(model._call_impl)
        elif len(self._times) >= _WINDOW:
            last = statistics.median(self._times[-_WINDOW:])
            if max(self._times[-_WINDOW:]) > 3 * last and len(self._times) < 10 * _WINDOW:
                return  # still compiling: another shape
            spent = sum(self._times) - len(self._times) * last
            found = f"{self._eager:.3g} s a step before, {last:.3g} s compiled, {spent:.0f} s spent compiling"
            if last >= self._eager:
                self._compiled = None
                found = f"not compiled any more: {found}"
            self._decide(found)

    def _decide(self, decision: str) -> None:
        self.decision = decision
        logger.warning(f"torch.compile: {decision}")

    @staticmethod
    def _now() -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter()
