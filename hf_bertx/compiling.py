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
# What compiling is expected to save of a step and to cost, before both are measured: whether it is tried at all. The
# shares are guesses; on two CPU cores without bfloat16 it saved nothing (benchmarks/README.md, levers).
_SAVES, _SECONDS = {"cpu": 0.1, "cuda": 0.1}, 80.0


def expected_gain(steps_left: int, step_seconds: float, device_type: str) -> float:
    """Seconds that compiling is expected to save over the rest of a run, its own cost taken off."""
    return steps_left * step_seconds * _SAVES.get(device_type, 0.0) - _SECONDS


def obstacle(args: TrainingArguments) -> str | None:
    """Why a run cannot be compiled while it goes on; None where nothing is known to hinder it."""
    if args.torch_compile:
        return "--torch_compile has compiled it from the start"
    if args.n_gpu > 1:
        return "one process drives several GPUs; accelerate launch gives each its own"
    if args.device.type == "cuda" and find_spec("triton") is None:
        return "triton is not installed"
    if shutil.which(os.environ.get("CXX") or "g++") is None:
        return "there is no C++ compiler (g++, or what CXX names)"
    return None


class CompileWhenRepaid(TrainerCallback):
    """Compiles training steps once that is expected to save time, measures it, and goes back if it does not.

    A few steps are timed as they are. If what is left of the run is long enough ([`expected_gain`]) the model is
    compiled, and as many steps are timed once no more compiling is seen. Slower steps than before end it, and so does
    a compiler that fails in the forward pass. Validation is never compiled: it would cost a second compilation.
    Weights keep their names, dropout its draws; sums are taken in another order, so losses differ in the last digits.
    A run that is interrupted decides anew, and then ends with other last digits.

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
        self._compiled: Any = None  # what a step calls in place of the model's forward pass
        self._begun = 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        found = obstacle(args)
        if found is not None:
            self._decide(f"not compiled: {found}")

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
        if self._eager is not None:
            self._judge(self._eager)
        elif len(self._times) == _WARM + _WINDOW:
            self._eager = statistics.median(self._times[_WARM:])
            left = state.max_steps - state.global_step
            if expected_gain(left, self._eager, args.device.type) > 0:
                self._times, self._compiled = [], self._compile(model)
            else:
                share = _SAVES.get(args.device.type, 0.0)
                self._decide(
                    f"not compiled: {left} steps of {self._eager:.3g} s are left, of which it is expected to save "
                    f"{share:.0%}, and to take {_SECONDS:g} s"
                )

    def _judge(self, eager: float) -> None:
        """Decides by the last compiled steps, unless one of them was compiled anew for another shape."""
        recent = self._times[-_WINDOW:]
        seconds = statistics.median(recent)
        settled = len(recent) == _WINDOW and max(recent) < 3 * seconds
        if not settled and len(self._times) < 10 * _WINDOW:
            return
        spent = sum(self._times) - len(self._times) * seconds
        found = f"{eager:.3g} s a step before, {seconds:.3g} s compiled, {spent:.0f} s spent compiling"
        if seconds < eager:
            self._decide(f"compiled: {found}")
        else:
            self._compiled = None
            self._decide(f"not compiled any more: {found}")

    def _compile(self, model: Any) -> Any:
        # as it is drawn otherwise, dropout would be another draw, not other last digits
        compiled = torch.compile(model._call_impl, options={"fallback_random": True})

        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return compiled(*args, **kwargs)
            except Exception as error:  # of any of the compilers underneath
                self._compiled = model._compiled_call_impl = None
                told = str(error).strip() or type(error).__name__
                self._decide(f"not compiled: {told.splitlines()[0]:.200}")
                return model._call_impl(*args, **kwargs)

        return call

    def _decide(self, decision: str) -> None:
        self.decision = decision
        logger.warning(f"torch.compile: {decision}")

    @staticmethod
    def _now() -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter()
