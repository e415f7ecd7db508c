"""A guard against runs that never learn: after training they give every item the same answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.utils import logging

from ..metrics import constant_answer, constant_answer_loss

logger = logging.get_logger(__name__)

# Of 494 archived trainings (results/*/runs.tar.xz), 54 give all test items one answer. In 51 of them the loss of the
# last fifth of the steps is at least 95% of the constant answer's; three were trained at the lowest rate of a search
# and are still learning, so that half of that rate would not help. 11 other runs have so high a loss and different
# answers: both rules together find the 51 and no other. No rule on losses can judge earlier: at half of the steps, 47
# other runs look the same, at nine tenths still 15. The gradient norm does not help: in collapsed
# runs its median is 0.2 to 2 times that of the first steps.
BELOW = 0.95  # of the constant answer's loss: a run below it has learned something
LAST = 0.2  # share of the steps whose mean loss is compared
MIN_STEPS = 100  # shorter runs are not judged: they had no time to learn. The archived ones have 180 and more
_ITEMS = 1024  # whose predictions are compared


def near_constant_loss(log: Iterable[dict[str, Any]], constant_loss: float, steps: int) -> float | None:
    """The mean training loss of the last fifth of the steps, where it is not below 95% of the constant answer's; else
    None. A run of fewer than 100 steps is not judged.

    Args:
        log: `TrainerState.log_history`.
        constant_loss: the training loss of the best constant answer.
        steps: how many were trained.
    """
    if steps < MIN_STEPS:
        return None
    losses = [entry["loss"] for entry in log if "loss" in entry and entry["step"] > (1 - LAST) * steps]
    mean = float(np.mean(losses)) if losses else 0.0
    return mean if losses and mean >= BELOW * constant_loss else None


class CollapseGuardCallback(TrainerCallback):
    """Says whether a run ended at the constant answer: it learned nothing, and gives every item the same class.

    It looks twice. At half of the steps it warns of a loss that is still the constant answer's; such a run may leave
    it later. At the end of training it judges: the loss of the last fifth of the steps is not below 95% of the
    constant answer's, and the model, with the weights that are kept, gives all validation items one class (or, of a
    regression, values that differ by less than a thousandth of the labels' standard deviation). Without a validation
    set it looks at training items. A run of fewer than 100 steps is not judged.

    Args:
        constant_loss: the training loss of the best constant answer; None computes it from the labels of the training
            rows (column `labels` or `label`). A model of one label is a regression.

    Attributes:
        reason: a sentence, once a collapse was found; `None` before and otherwise.

    Example:
        ```python
        >>> guard = CollapseGuardCallback()
        >>> trainer = Trainer(model, args, callbacks=[guard], ...)
        >>> trainer.train()
        >>> guard.reason
        'the training loss of the last steps, 0.693, is that of the constant answer, 0.693, and ...'
        ```

    Raises:
        ValueError: at the start of training, no `constant_loss` was given and the rows have no labels.
    """

    def __init__(self, constant_loss: float | None = None) -> None:
        self.constant_loss: Any = constant_loss  # a number once training has begun
        self.reason: str | None = None
        self._warned = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.reason, self._warned = None, False
        if self.constant_loss is None:
            labels = _labels(kwargs["train_dataloader"].dataset)
            smoothing, classes = args.label_smoothing_factor, kwargs["model"].config.num_labels
            self.constant_loss = constant_answer_loss(labels, classes == 1, False, smoothing, classes)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self._warned or not state.max_steps / 2 <= state.global_step < state.max_steps:
            return
        self._warned = True
        loss = near_constant_loss(state.log_history, self.constant_loss, state.global_step)
        if loss is not None and state.is_world_process_zero:
            logger.warning(
                f"step {state.global_step} of {state.max_steps}: the training loss, {loss:.3g}, is still that of the "
                f"constant answer, {self.constant_loss:.3g}"
            )

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        loader = kwargs.get("eval_dataloader")
        self.judge(kwargs["model"], kwargs["train_dataloader"] if loader is None else loader, state)

    def judge(self, model: Any, loader: Any, state: TrainerState) -> str | None:
        """Sets and returns `reason`.

        Args:
            loader: batches as the model takes them, on its device.
            state: of the training that is over.
        """
        loss = near_constant_loss(state.log_history, self.constant_loss, state.global_step)
        if loss is not None:
            answers, labels = _answers(model, loader)
            if constant_answer(labels, answers, model.config.num_labels == 1):
                self.reason = (
                    f"the training loss of the last steps, {loss:.3g}, is that of the constant answer, "
                    f"{self.constant_loss:.3g}, and every item gets the same answer"
                )
        return self.reason


def _labels(rows: Any) -> np.ndarray:
    name = next((name for name in ("labels", "label") if name in getattr(rows, "column_names", ())), None)
    if name is None:
        raise ValueError("CollapseGuardCallback: the training rows have no column labels or label; pass constant_loss")
    return np.asarray(rows[name][:])


def _answers_of(model: Any, logits: torch.Tensor) -> torch.Tensor:
    """A number for each item, equal for equal answers, of shape `(items,)`."""
    if model.config.problem_type == "multi_label_classification":
        return (logits > 0).float() @ torch.arange(1.0, logits.shape[1] + 1, device=logits.device).sqrt()
    return logits[:, 0] if logits.shape[1] == 1 else logits.argmax(-1).float()


@torch.no_grad()
def _answers(model: Any, loader: Any) -> tuple[np.ndarray, np.ndarray]:
    """Classes or values that the model gives the first items, and their labels; of all processes the extremes."""
    training, batches = model.training, list[Sequence[torch.Tensor]]()
    model.eval()
    for batch in loader:
        labels = batch["labels"] if "labels" in batch else batch["label"]
        logits = model(**batch).logits.float()
        batches.append((_answers_of(model, logits), labels.float()))
        if sum(len(answers) for answers, _ in batches) >= _ITEMS:
            break
    model.train(training)
    answers, labels = (torch.cat(parts).to(model.device) for parts in zip(*batches, strict=True))
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        extremes = torch.stack([answers.max(), -answers.min()])  # whether they are all alike is what counts
        torch.distributed.all_reduce(extremes, torch.distributed.ReduceOp.MAX)
        answers = extremes * torch.tensor([1.0, -1.0], device=extremes.device)
    return answers.cpu().numpy(), labels.cpu().numpy()
