"""Compiled or not, a run learns the same; whether it is compiled follows from what was measured."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

from hf_bertx import compiling
from hf_bertx.compiling import CompileWhenRepaid, expected_gain

STEPS = 24


def train(folder: Path, callbacks: list[Any], **arguments: Any) -> tuple[Trainer, list[float]]:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=20,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    rows = [{"input_ids": [2, 3 + i % 2, 5], "attention_mask": [1, 1, i // 32], "labels": i % 2} for i in range(64)]
    settings: dict[str, Any] = {"learning_rate": 1e-2, "max_steps": STEPS, **arguments}
    args = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=8,
        logging_steps=1,
        eval_strategy="steps",
        eval_steps=6,
        report_to="none",
        save_strategy="no",
        use_cpu=True,
        **settings,
    )
    data = Dataset.from_list(rows)
    model = BertForSequenceClassification(config)
    trainer = Trainer(model, args, train_dataset=data, eval_dataset=data, callbacks=callbacks)
    trainer.train()
    return trainer, [log["loss"] for log in trainer.state.log_history if "loss" in log]


def test_gain_grows_with_what_is_left_and_a_short_run_has_none() -> None:
    assert expected_gain(100, 0.05, "cuda") < 0 < expected_gain(100_000, 0.05, "cuda")
    assert expected_gain(100_000, 0.05, "cpu") < expected_gain(100_000, 0.05, "cuda")
    assert expected_gain(10**9, 1.0, "unknown") < 0


def test_a_short_run_is_left_as_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    callback = CompileWhenRepaid()
    with caplog.at_level(logging.WARNING):
        _, losses = train(tmp_path, [callback])
    assert str(callback.decision).startswith("not compiled: 9 steps of")
    assert f"torch.compile: {callback.decision}" in caplog.text
    assert losses == train(tmp_path, [])[1]


def test_without_a_compiler_nothing_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    callback = CompileWhenRepaid()
    train(tmp_path, [callback], max_steps=1)
    assert callback.decision == "not compiled: it needs a C++ compiler"


@pytest.mark.skipif(compiling.missing_compiler("cpu") is not None, reason="torch.compile needs a C++ compiler")
def test_compiled_steps_learn_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "_SECONDS", -1.0)  # compiling is expected to cost nothing
    monkeypatch.setattr(compiling, "_WARM", 0)
    monkeypatch.setattr(compiling, "_WINDOW", 5)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    callback = CompileWhenRepaid()
    trainer, losses = train(tmp_path, [callback])
    assert torch._dynamo.utils.counters["frames"]["ok"] > 0, "nothing was compiled"
    assert "s compiled" in str(callback.decision)
    _, eager = train(tmp_path, [])
    torch.testing.assert_close(losses, eager, rtol=0, atol=1e-5)
    _, other = train(tmp_path, [], learning_rate=1.01e-2)
    assert max(abs(a - b) for a, b in zip(other, eager, strict=True)) > 1e-5, "the comparison sees a small change"
    assert trainer.model._compiled_call_impl is None
    assert set(trainer.model.state_dict()) == set(BertForSequenceClassification(trainer.model.config).state_dict())
