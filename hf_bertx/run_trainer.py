"""The Trainer of a run: batches from arrays instead of lists, and no device that is waited for at each step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils.data import SequentialSampler
from transformers import Trainer

# What a batch has beside labels, each with the tokenizer's attribute that pads it.
_PADDED = {"input_ids": "pad_token_id", "token_type_ids": "pad_token_type_id", "attention_mask": None}


class ArrayCollator:
    """The tensors of `DataCollatorWithPadding`, from rows in the format `numpy`, without lists.

    Where no sequence of a batch is padded, it has no `attention_mask`: a mask of ones means the same to a model, but
    keeps attention from its fastest kernel, or has a GPU waited for until the ones have been looked at.

    Args:
        tokenizer: says what stands in padded places, and on which side they are.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.values = {name: 0 if pad is None else int(getattr(tokenizer, pad)) for name, pad in _PADDED.items()}
        self.left = tokenizer.padding_side == "left"

    def __call__(self, items: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        lengths = [len(item["input_ids"]) for item in items]
        names = [name for name in self.values if name in items[0]]
        if min(lengths) == max(lengths):
            names = [name for name in names if name != "attention_mask" or not self._all_ones(items)]
        batch = {name: self._padded([item[name] for item in items], max(lengths), name) for name in names}
        labels = np.stack([item["labels"] for item in items])
        # as torch reads Python's numbers
        batch["labels"] = torch.from_numpy(labels.astype(np.float32 if labels.dtype.kind == "f" else np.int64))
        return batch

    @staticmethod
    def _all_ones(items: list[dict[str, Any]]) -> bool:
        return all(item["attention_mask"].all() for item in items)

    def _padded(self, rows: list[np.ndarray], width: int, name: str) -> torch.Tensor:
        out: np.ndarray = np.full((len(rows), width), self.values[name], dtype=np.int64)
        for line, row in zip(out, rows, strict=True):
            line[slice(width - len(row), None) if self.left else slice(len(row))] = row
        return torch.from_numpy(out)


class RunTrainer(Trainer):
    """A `Trainer` that sums up tokens where they are and reads the sum when it logs or saves, not at each step.

    It validates and predicts in the order of the rows, by whatever strategy training samples them.
    """

    _tokens: Any = 0
    make_model: Callable[[], Any]  # the model as it was before training, once more

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

    def _get_eval_sampler(self, eval_dataset: Any) -> Any:
        # grouped by length, the stock Trainer predicts in another order than that of the rows, and does not tell
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
        if _internal_call:  # every process saves a checkpoint; a user's own call may be one process's alone
            self._read_tokens()
        super().save_model(output_dir, _internal_call)
