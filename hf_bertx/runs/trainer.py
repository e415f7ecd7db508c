"""The Trainer of a run, without a device synchronization at each step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from torch.nn import functional
from torch.utils.data import SequentialSampler
from transformers import Trainer, TrainerState, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import rotate_checkpoints
from transformers.utils import logging

from ..run_files import writing
from . import checkpoints as run_checkpoints

logger = logging.get_logger(__name__)


class RunTrainer(Trainer):
    """A `Trainer` that counts tokens on the device and reads the count only when it logs or saves.

    Validation and prediction keep the order of the rows, whatever sampling strategy training uses.
    """

    _tokens: Any = 0
    make_model: Callable[[], Any]  # builds the model as it was before training
    rows_on: torch.device  # device of the rows for training and prediction

    def whole_model(self) -> Any:
        """The trained model in one piece, in the main process; all processes have to ask for it together.

        Under FSDP each holds a part: there the model is made once more and given the gathered weights.
        """
        if not self.is_fsdp_enabled:
            return self.accelerator.unwrap_model(self.model)
        weights = self.accelerator.get_state_dict(self.model)
        if not self.is_world_process_zero():
            return None
        model = self.make_model()
        model.load_state_dict(weights)
        return model

    def go_on(self) -> tuple[Path | None, bool]:
        """Trains what the last whole checkpoint leaves to do; all of it if there is none.

        Returns:
            The checkpoint, and whether training was over when it was saved: then it is loaded, and nothing is trained.
        """
        with PartialState().main_process_first():
            checkpoint = run_checkpoints.last_complete_checkpoint(Path(self.args.output_dir or "."))
        if checkpoint is not None:
            logger.warning(f"going on from {checkpoint.name}")
            if run_checkpoints.was_last(checkpoint):
                self.take_up(checkpoint)
                return checkpoint, True
        self.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        return checkpoint, False

    def take_up(self, checkpoint: Path) -> None:
        """Loads a checkpoint of the end of training: selected weights, state and callbacks' states."""
        self.state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
        self._load_callback_state()
        self._load_from_checkpoint(self.state.best_model_checkpoint or str(checkpoint))

    def _load_callback_state(self) -> None:
        # the stock Trainer loses the best checkpoint if the run's folder was moved
        if self.state.best_global_step:
            best = Path(self.args.output_dir or ".") / f"checkpoint-{self.state.best_global_step}"
            self.state.best_model_checkpoint = str(best)
        super()._load_callback_state()

    def _load_best_model(self) -> None:
        best = Path(self.state.best_model_checkpoint or "")
        if not best.is_dir():
            raise ValueError(f"{best}: the best checkpoint is gone; start again with --no_resume")
        super()._load_best_model()

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        # The stock Trainer removes older checkpoints once the new one is written, and not yet marked as whole. Here
        # they go before, so that a killed process always leaves a whole one.
        folder, limit = Path(self.args.output_dir or "."), self.args.save_total_limit
        if self.args.should_save:
            rotate_checkpoints(str(folder), limit, self.state.best_model_checkpoint, use_mtime=True)
        self.args.save_total_limit = None
        try:
            with writing(folder / f"checkpoint-{self.state.global_step}"):
                super()._save_checkpoint(*args, **kwargs)
        finally:
            self.args.save_total_limit = limit

    def _get_dataloader(self, *args: Any, is_training: bool = False, **kwargs: Any) -> Any:
        # the stock Trainer also drops the last items of validation and test
        drop, batch = self.args.dataloader_drop_last, self.args.train_batch_size * self.args.world_size
        if drop and is_training and len(self.train_dataset) < batch:
            raise ValueError(
                f"--dataloader_drop_last drops all {len(self.train_dataset)} training rows: a batch has {batch}; "
                "leave it out, or give a smaller --global_batch_size"
            )
        self.args.dataloader_drop_last = drop and is_training
        try:
            return super()._get_dataloader(*args, is_training=is_training, **kwargs)
        finally:
            self.args.dataloader_drop_last = drop

    def _get_eval_sampler(self, eval_dataset: Any) -> Any:
        # with group_by_length, the stock Trainer silently predicts in another order than that of the rows
        return SequentialSampler(eval_dataset) if self.args.world_size <= 1 else None

    def _track_num_input_tokens(self, inputs: dict[str, Any]) -> None:
        mask = inputs.get("attention_mask")
        self._tokens = self._tokens + (inputs["input_ids"].numel() if mask is None else mask.sum())

    def _read_tokens(self) -> None:
        tokens = torch.as_tensor(self._tokens, device=self.args.device, dtype=torch.int64)
        self._tokens = 0
        self.state.num_input_tokens_seen += int(self.accelerator.gather(tokens).sum())

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        self._read_tokens()
        super().log(logs, start_time)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        if _internal_call:  # only in a checkpoint do all processes call this; a user's call may come from one process
            self._read_tokens()
        super().save_model(output_dir, _internal_call)


def item_loss(smoothing: float = 0.0, class_weights: np.ndarray | None = None) -> Callable[..., torch.Tensor]:
    """The mean loss over the items of an update, for `Trainer(compute_loss_func=...)`: however many of them are in
    memory at once, and in however many processes.

    A model's own loss is a mean over what is in memory. If an update has several such parts, the items of a smaller
    part count more, and class weights are relative to the part.

    Args:
        smoothing: of the labels, where they are classes.
        class_weights: of shape `(classes,)`; an item has 1 in the mean.
    """

    def loss(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any) -> torch.Tensor:
        logits = outputs["logits"].float()
        if labels.ndim == 2:  # of several labels an item, each counts as an item
            total = functional.binary_cross_entropy_with_logits(logits, labels, reduction="sum")
        else:
            weight = None if class_weights is None else torch.as_tensor(class_weights).to(logits)
            total = functional.cross_entropy(logits, labels, weight, reduction="sum", label_smoothing=smoothing)
        return total / num_items_in_batch

    return loss


def use_one_gpu(args: TrainingArguments) -> None:
    """Lets this process use one GPU, where the Trainer would put `DataParallel` over all of them."""
    args._n_gpu = 1
