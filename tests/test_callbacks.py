"""Each plugin in a plain `Trainer` that knows nothing else of this package. Trap 7 of the installed libraries."""

import json
import math
import re
from pathlib import Path

import pytest
from stock_trainers import make_trainer
from transformers import TrainerControl, TrainerState, TrainingArguments

from hf_bertx.callbacks import LossConvergedCallback, ModelCardCallback, RunRecordCallback, ThroughputCallback


def test_run_record_is_the_log_and_covers_every_step(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, [RunRecordCallback(tmp_path / "log.json")], num_train_epochs=2)
    trainer.train()
    log = json.loads((tmp_path / "log.json").read_text())
    assert log == trainer.state.log_history
    assert [entry["step"] for entry in log if "loss" in entry] == [3, 6, 8, 9, 12, 15, 16]  # epochs end at 8 and 16


def test_run_record_stops_a_run_whose_loss_is_nan(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, [RunRecordCallback(tmp_path / "log.json")], learning_rate=1e30)
    with pytest.raises(FloatingPointError, match="loss is nan at step"):
        trainer.train()


def test_an_infinite_gradient_norm_is_null_in_the_log(tmp_path: Path) -> None:
    state = TrainerState(log_history=[{"loss": 0.5, "grad_norm": math.inf, "step": 1}])
    RunRecordCallback(tmp_path / "log.json").on_log(TrainingArguments(use_cpu=True), state, TrainerControl())
    assert json.loads((tmp_path / "log.json").read_text()) == [{"loss": 0.5, "grad_norm": None, "step": 1}]


def test_loss_converged_stops_and_says_why(tmp_path: Path) -> None:
    stop = LossConvergedCallback(threshold=0.05, window=3)
    trainer = make_trainer(tmp_path, [stop], num_train_epochs=50)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert trainer.state.global_step < trainer.state.max_steps == 400
    assert sum(losses[-3:]) / 3 <= 0.05 < sum(losses[-4:-1]) / 3
    assert re.fullmatch(
        r"the mean of the last 3 logged losses, 0\.0\d+, is at or below 0\.05 at step \d+", stop.reason
    )


def test_loss_converged_leaves_the_cap_alone(tmp_path: Path) -> None:
    stop = LossConvergedCallback(threshold=1e-9)
    make_trainer(tmp_path, [stop], num_train_epochs=1).train()
    assert stop.reason is None
    with pytest.raises(ValueError, match="both must be positive"):
        LossConvergedCallback(threshold=0)


def test_throughput_counts_tokens_without_padding(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, [ThroughputCallback()], num_train_epochs=1, max_grad_norm=0.0)
    trainer.train()
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert trainer.state.num_input_tokens_seen == 32 * 3 + 32 * 2
    assert all(entry["tokens_per_second"] > 0 for entry in logs)
    assert all(entry["seconds_left"] >= 0 for entry in logs)
    with pytest.raises(ValueError, match='include_num_input_tokens_seen="non_padding"'):
        make_trainer(tmp_path, [ThroughputCallback()], include_num_input_tokens_seen=False).train()


def test_model_card_takes_the_place_of_the_trainers(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, [ModelCardCallback(lambda: "# Ours\n")])
    trainer.create_model_card()
    assert "fine-tuned version of [](" in (tmp_path / "README.md").read_text()  # what would be pushed otherwise
    trainer.callback_handler.on_push_begin(trainer.args, trainer.state, trainer.control)
    assert (tmp_path / "README.md").read_text() == "# Ours\n"
