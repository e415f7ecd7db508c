"""The Trainer of a run, without a device synchronization at each step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import SequentialSampler
from transformers import Trainer, TrainerState, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME

from ..run_files import writing


class RunTrainer(Trainer):
    """A `Trainer` that counts tokens on the device and reads the count only when it logs or saves.

    Validation and prediction keep the order of the rows, whatever sampling strategy training uses.
    """

    _tokens: Any = 0
    make_model: Callable[[], Any]  # builds the model as it was before training
    class_weights: Any = None  # of shape (classes,): weights of classes in the loss
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

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The model's loss, or the cross-entropy with class weights."""
        if self.class_weights is None:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        labels = inputs["labels"]
        _, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        logits = outputs["logits"].float()
        weight = torch.as_tensor(self.class_weights, dtype=logits.dtype, device=logits.device)
        loss = torch.nn.functional.cross_entropy(
            logits, labels, weight, label_smoothing=self.args.label_smoothing_factor
        )
        return (loss, outputs) if return_outputs else loss

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
        with writing(Path(self.args.output_dir or ".") / f"checkpoint-{self.state.global_step}"):
            super()._save_checkpoint(*args, **kwargs)

    def _get_dataloader(self, *args: Any, is_training: bool = False, **kwargs: Any) -> Any:
        # the stock Trainer also drops the last items of validation and test
        drop = self.args.dataloader_drop_last
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


def use_one_gpu(args: TrainingArguments) -> None:
    """Lets this process use one GPU, where the Trainer would put `DataParallel` over all of them."""
    args._n_gpu = 1
