"""Compiled or not, a run learns the same; whether it is compiled follows from what was measured."""

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

from hf_bertx import compiling
from hf_bertx.compiling import CompileWhenRepaid, expected_gain
from hf_bertx.drawn_dropout import draw_dropout_at_once
from hf_bertx.shortcuts import keep_used_rows, prune_unread_positions

STEPS = 24


def train(
    folder: Path, callbacks: list[Any], dropout: float = 0.0, shortcuts: bool = False, **arguments: Any
) -> tuple[Trainer, list[float]]:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=20,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
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
    if shortcuts:
        assert prune_unread_positions(model)
        draw_dropout_at_once(model)
        keep_used_rows(model, [0, 2, 3, 4, 5])
    trainer = Trainer(model, args, train_dataset=data, eval_dataset=data, callbacks=callbacks)
    trainer.train()
    return trainer, [log["loss"] for log in trainer.state.log_history if "loss" in log]


class Clock:
    """Time as it is told: a list of seconds, one for each step."""

    def __init__(self, seconds: list[float]) -> None:
        self.reads = iter([time for second in seconds for time in (0.0, second)])

    def __call__(self) -> float:
        return next(self.reads)


def test_gain_grows_with_what_is_left() -> None:
    for device in ("cpu", "cuda"):
        assert expected_gain(100, 0.05, device) < 0 < expected_gain(100_000, 0.05, device)
    assert expected_gain(10**9, 1.0, "unknown") < 0


def test_a_short_run_is_left_as_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    callback = CompileWhenRepaid()
    with caplog.at_level(logging.WARNING):
        _, losses = train(tmp_path, [callback])
    assert str(callback.decision).startswith("not compiled: 9 steps of")
    assert f"torch.compile: {callback.decision}" in caplog.text
    assert losses == train(tmp_path, [])[1]


@pytest.fixture
def hopeful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling is expected to cost nothing, and few steps are timed."""
    for name, value in (("_SECONDS", -1.0), ("_WARM", 1), ("_WINDOW", 3), ("obstacle", lambda args: None)):
        monkeypatch.setattr(compiling, name, value)


@pytest.mark.parametrize(
    ("seconds", "decision", "stays"),
    [
        # the first of four is not counted; the fifth compiles
        ([9, 2, 2, 2, 30, 1, 1, 1], "compiled: 2 s a step before, 1 s compiled, 29 s spent compiling", True),
        # compiled anew for another shape at the eighth: judged after three that are alike
        ([9, 2, 2, 2, 30, 1, 1, 20, 1, 1, 1], "compiled: 2 s a step before, 1 s compiled, 48 s spent compiling", True),
        ([9, 2, 2, 2, 30, 2, 2, 2], "not compiled any more: 2 s a step before, 2 s compiled, 28 s spent", False),
        ([9, 2, 2, 2, 30, 3, 3, 3], "not compiled any more: 2 s a step before, 3 s compiled, 27 s spent", False),
    ],
)
def test_the_clock_decides(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    hopeful: None,
    seconds: list[float],
    decision: str,
    stays: bool,
) -> None:
    calls: list[int] = []

    def compile_nothing(call: Any, **options: Any) -> Any:
        return lambda *args, **kwargs: (calls.append(1), call(*args, **kwargs))[1]

    monkeypatch.setattr(torch, "compile", compile_nothing)
    monkeypatch.setattr(CompileWhenRepaid, "_now", Clock([float(s) for s in seconds]))
    callback = CompileWhenRepaid()
    _, losses = train(tmp_path, [callback], gradient_accumulation_steps=2)
    assert str(callback.decision).startswith(decision)
    steps = STEPS - 4 if stays else len(seconds) - 4
    assert len(calls) == 2 * steps, "both halves of each compiled step, and no validation"
    assert losses == train(tmp_path, [], gradient_accumulation_steps=2)[1]


@pytest.mark.parametrize(
    ("error", "told"),
    [("Python.h: no such file\nand two hundred lines more", "Python.h: no such file"), ("", "RuntimeError")],
)
def test_a_compiler_that_fails_does_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hopeful: None, error: str, told: str
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError(error)

    monkeypatch.setattr(torch, "compile", lambda call, **options: fail)
    callback = CompileWhenRepaid()
    _, losses = train(tmp_path, [callback])
    assert callback.decision == f"not compiled: {told}"
    assert losses == train(tmp_path, [])[1]


def test_what_is_known_to_hinder_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", str(tmp_path / "none"))
    callback = CompileWhenRepaid()
    train(tmp_path, [callback], max_steps=1)
    assert callback.decision == "not compiled: there is no C++ compiler (g++, or what CXX names)"


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_steps_learn_the_same_with_dropout_and_shortcuts(tmp_path: Path, hopeful: None) -> None:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    callback = CompileWhenRepaid()
    told: dict[str, Any] = {"dropout": 0.1, "shortcuts": True}
    trainer, losses = train(tmp_path, [callback], **told)
    assert torch._dynamo.utils.counters["frames"]["ok"] > 0, "nothing was compiled"
    assert " s compiled, " in str(callback.decision)
    _, eager = train(tmp_path, [], **told)
    torch.testing.assert_close(losses, eager, rtol=0, atol=1e-5)
    _, other = train(tmp_path, [], **told, learning_rate=1.01e-2)
    assert max(abs(a - b) for a, b in zip(other, eager, strict=True)) > 1e-5, "the comparison sees a small change"
    assert trainer.model._compiled_call_impl is None
    assert set(trainer.model.state_dict()) == set(BertForSequenceClassification(trainer.model.config).state_dict())
