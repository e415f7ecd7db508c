"""A stock `Trainer` that trains a tiny model for a second."""

from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments


def make_trainer(folder: Path, callbacks: list, **arguments: Any) -> Trainer:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = BertConfig(vocab_size=20, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **sizes)
    rows = [{"input_ids": [2, 3 + i % 2, 5], "attention_mask": [1, 1, i // 32], "labels": i % 2} for i in range(64)]
    settings: dict[str, Any] = {
        "output_dir": str(folder),
        "per_device_train_batch_size": 8,
        "logging_steps": 3,
        "report_to": "none",
        "save_strategy": "no",
        "learning_rate": 1e-2,
        "use_cpu": True,
        "include_num_input_tokens_seen": "non_padding",
        "logging_nan_inf_filter": False,
        **arguments,
    }
    model = BertForSequenceClassification(config)
    return Trainer(model, TrainingArguments(**settings), train_dataset=Dataset.from_list(rows), callbacks=callbacks)
