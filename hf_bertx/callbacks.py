"""Callbacks for runs; each works in any `Trainer`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from . import run_files
from .processor import TimeLimitReached
from .runs import checkpoints as run_checkpoints


def _wait_for_all(args: TrainingArguments) -> None:
    if args.world_size > 1:
        torch.distributed.barrier()


class RunRecordCallback(TrainerCallback):
    """Writes the log history to a JSON file at every log, and stops a run whose loss is not a number.

    It also marks each checkpoint once all of its files are written, so that a killed process never resumes from half
    a checkpoint (`hf_bertx.runs.checkpoints`), and logs at the end of each epoch, so that the mean training loss of an
    epoch is exact. An infinite gradient norm, as of a step that fp16 skips, is null in the log.

    Args:
        path: the JSON file.

    Example:
        ```python
        >>> trainer = Trainer(model, args, callbacks=[RunRecordCallback("my_run/log_history.json")], ...)
        ```

    Raises:
        FloatingPointError: a logged loss is not a number (set `logging_nan_inf_filter=False` to see it).
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        control.should_log = True

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        last: dict[str, Any] = state.log_history[-1] if state.log_history else {}
        for name in ("loss", "eval_loss"):
            if name in last and not math.isfinite(last[name]):
                raise FloatingPointError(
                    f"{name} is {last[name]} at step {state.global_step}: lower the learning rate"
                )
        for name, value in last.items():
            if isinstance(value, float) and not math.isfinite(value):
                last[name] = None  # JSON has no other word for it
        if state.is_world_process_zero:
            run_files.write_json(self.path, state.log_history)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        checkpoint = Path(args.output_dir or ".") / f"checkpoint-{state.global_step}"
        _wait_for_all(args)  # each process writes the state of its random generators
        if state.is_world_process_zero and checkpoint.is_dir():
            run_checkpoints.mark_complete(checkpoint, state.global_step)


class LastStepCallback(TrainerCallback):
    """Logs, evaluates and saves after the last step too, so that the best weights can be the last ones."""

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.global_step >= state.max_steps:
            control.should_log = control.should_save = True
            control.should_evaluate = args.eval_strategy != IntervalStrategy.NO


class TimeLimitCallback(TrainerCallback):
    """Saves a checkpoint and ends training at a point in time; the next start resumes from it.

    It acts only at a logged step, so that an interrupted run has the same log as an uninterrupted one.

    Args:
        deadline: in seconds since the epoch, as `time.time` gives them.

    Raises:
        TimeLimitReached: once the checkpoint is whole.

    Example:
        ```python
        >>> trainer = Trainer(model, args, callbacks=[TimeLimitCallback(time.time() + 3600)], ...)
        ```
    """

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self._over = False

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if control.should_log and state.global_step < state.max_steps and not control.should_training_stop:
            over = torch.tensor(float(time.time() >= self.deadline), device=args.device)
            if args.world_size > 1:  # clocks differ, and all processes have to save together
                torch.distributed.all_reduce(over, torch.distributed.ReduceOp.MAX)
            self._over = bool(over)
            control.should_save = control.should_save or self._over

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self._over:
            _wait_for_all(args)  # the end of one process ends the others, which may still write
            raise TimeLimitReached(f"the time limit was reached at step {state.global_step}")


class LossConvergedCallback(TrainerCallback, ExportableState):
    """Stops when the training loss has converged: the mean of the last logged losses is at or below a threshold.

    Source: the paper, section 3.2: models see 1% of the data "until their training loss converges to zero". The paper
    does not say how close to zero, or for how long. The cap is the `Trainer`'s own `num_train_epochs` or `max_steps`.

    Args:
        threshold: the loss that counts as converged.
        window: how many logged losses are averaged.

    Attributes:
        reason: a sentence, once the run was stopped; `None` before, and when the cap came first.

    Example:
        ```python
        >>> stop = LossConvergedCallback(threshold=0.01, window=5)
        >>> trainer = Trainer(model, args, callbacks=[stop], ...)
        >>> trainer.train()
        >>> stop.reason
        'the mean of the last 5 logged losses, 0.0087, is at or below 0.01 at step 730'
        ```
    """

    def __init__(self, threshold: float = 0.01, window: int = 5) -> None:
        if threshold <= 0 or window < 1:
            raise ValueError(f"threshold is {threshold} and window {window}; both must be positive")
        self.threshold = threshold
        self.window = window
        self.recent: list[float] = []
        self.reason: str | None = None

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, so that a resumed run stops at the same step."""
        return {
            "args": {"threshold": self.threshold, "window": self.window},
            "attributes": {"recent": self.recent, "reason": self.reason},
        }

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        loss = kwargs["logs"].get("loss")
        if loss is None:
            return
        self.recent = [*self.recent, float(loss)][-self.window :]
        mean = sum(self.recent) / len(self.recent)
        if len(self.recent) == self.window and mean <= self.threshold:
            self.reason = (
                f"the mean of the last {self.window} logged losses, {mean:.2g}, is at or below {self.threshold} "
                f"at step {state.global_step}"
            )
            control.should_training_stop = True
            # the weights as they are now can be chosen, and a start after this step knows that it was the last
            control.should_evaluate |= args.eval_strategy != IntervalStrategy.NO
            control.should_save |= args.save_strategy != SaveStrategy.NO


class ThroughputCallback(TrainerCallback):
    """Adds `tokens_per_second` and `seconds_left` to every training log; padding does not count as tokens.

    Needs `TrainingArguments(include_num_input_tokens_seen="non_padding")`. The time left is from the steps since the
    last log, validation included, up to `max_steps`; early stopping is not predicted.

    Example:
        ```python
        >>> args = TrainingArguments(..., include_num_input_tokens_seen="non_padding")
        >>> trainer = Trainer(model, args, callbacks=[ThroughputCallback()], ...)
        ```

    Raises:
        ValueError: at the start of training, if the `Trainer` does not count tokens.
    """

    def __init__(self) -> None:
        self._since: tuple[float, int, int] = (0.0, 0, 0)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if args.include_num_input_tokens_seen not in ("all", "non_padding", True):
            raise ValueError('ThroughputCallback needs TrainingArguments(include_num_input_tokens_seen="non_padding")')
        self._since = (time.perf_counter(), state.num_input_tokens_seen, state.global_step)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        logs: dict[str, float] = kwargs["logs"]
        then, tokens, step = self._since
        seconds, steps = time.perf_counter() - then, state.global_step - step
        if "loss" not in logs or steps <= 0 or seconds <= 0:
            return
        speed = {
            "tokens_per_second": round((state.num_input_tokens_seen - tokens) / seconds, 1),
            "seconds_left": round(seconds / steps * (state.max_steps - state.global_step), 2),
        }
        logs.update(speed)
        state.log_history[-1].update(speed)
        self._since = (time.perf_counter(), state.num_input_tokens_seen, state.global_step)


class ModelCardCallback(TrainerCallback):
    """Writes the project's model card where the `Trainer` would push its own.

    The `Trainer`'s card says "fine-tuned version of" an empty link for a random start and gives
    validation numbers as the model's results. This callback writes `README.md` into `args.output_dir` before each push
    during training. `Trainer.push_to_hub` writes the `Trainer`'s card after that and pushes it: [`attach`] makes sure
    that this card is written then, too.

    Args:
        render: gives the card's text, or None while there is nothing to say yet (then no card is pushed).

    Example:
        ```python
        >>> from hf_bertx.publishing.cards import model_card
        >>> trainer = Trainer(model, args, ...)
        >>> ModelCardCallback(lambda: model_card("my_run")).attach(trainer)
        >>> trainer.push_to_hub()
        ```
    """

    def __init__(self, render: Callable[[], str | None]) -> None:
        self.render = render

    def attach(self, trainer: Any) -> None:
        """Adds the callback to a `Trainer` and replaces `Trainer.create_model_card` by its own card."""

        def create_model_card(*_: Any, **__: Any) -> None:
            if trainer.is_world_process_zero():
                self._write(trainer.args)

        trainer.add_callback(self)
        trainer.create_model_card = create_model_card

    def on_push_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.is_world_process_zero:
            self._write(args)

    def _write(self, args: TrainingArguments) -> None:
        path = Path(args.output_dir or ".") / "README.md"
        text = self.render()
        if text is None:
            path.unlink(missing_ok=True)
        else:
            run_files.write_text(path, text)
