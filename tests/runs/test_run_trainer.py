"""What a run's Trainer does otherwise than the stock one, beside the stock one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import small_config
from datasets import Dataset
from interrupted_runs import run_trainer
from transformers import DataCollatorWithPadding, Trainer, TrainerCallback, TrainerState, TrainingArguments

from hf_bertx import DisciplineTokenizer
from hf_bertx.callbacks import RunRecordCallback
from hf_bertx.data.device_rows import DeviceRows, flattened, identity_collator
from hf_bertx.modeling_discipline import BertForDisciplineClassification
from hf_bertx.runs.checkpoints import last_complete_checkpoint
from hf_bertx.runs.trainer import RunTrainer

SEQUENCES = ["ACGT", "ACGTACGTAC", "GG", "TTTTTTT", "ACGTA", "CCCCCCCC"] * 4
LABELS = [0, 1, 2, 1, 0, 2] * 4


@pytest.fixture
def tokenizer(tiny_backbone: Path) -> Any:
    return DisciplineTokenizer.from_backbone(str(tiny_backbone), "dna")


def stock_rows(tokenizer: Any, sequences: list[str], labels: list[Any]) -> Dataset:
    return Dataset.from_dict({**tokenizer(sequences), "labels": labels})


def our_rows(tokenizer: Any, sequences: list[str], labels: list[Any]) -> DeviceRows:
    return DeviceRows(*flattened(tokenizer(sequences)), np.array(labels), tokenizer)


def test_batches_are_those_of_the_stock_collator(tokenizer: Any) -> None:
    chosen = [9, 3, 3, 20, 0, 7]
    for side in ("right", "left"):
        tokenizer.padding_side = side
        for labels in (LABELS, [n / 7 for n in LABELS]):
            rows = stock_rows(tokenizer, SEQUENCES, labels)
            stock = DataCollatorWithPadding(tokenizer)([rows[n] for n in chosen])
            ours = identity_collator(our_rows(tokenizer, SEQUENCES, labels).__getitems__(chosen))
            assert ours.keys() == stock.keys()
            assert stock["attention_mask"].sum() < stock["attention_mask"].numel()
            for name, tensor in stock.items():
                assert ours[name].dtype == tensor.dtype, name
                assert torch.equal(ours[name], tensor), (side, name)


def test_batches_of_pairs_have_the_stock_token_types(tokenizer: Any) -> None:
    columns = tokenizer(SEQUENCES[:6], SEQUENCES[1:7])
    stock = DataCollatorWithPadding(tokenizer)(
        [{name: column[n] for name, column in columns.items()} for n in range(6)]
    )
    ours = identity_collator(DeviceRows(*flattened(columns), np.zeros(6), tokenizer).__getitems__(list(range(6))))
    assert 0 < stock["token_type_ids"].sum() < stock["attention_mask"].sum()
    for name, tensor in stock.items():
        assert torch.equal(ours[name], tensor), name


def test_a_batch_without_padding_has_no_mask(tokenizer: Any) -> None:
    batch = identity_collator(our_rows(tokenizer, ["ACGT", "GGTT", "GG"], [0, 1, 2]).__getitems__([1, 0]))
    assert list(batch) == ["input_ids", "token_type_ids", "labels"]
    assert len(DeviceRows(*flattened({"input_ids": []}), np.zeros(0), tokenizer)) == 0


def test_single_rows_are_as_long_as_they_are(tokenizer: Any) -> None:
    columns = tokenizer(SEQUENCES)
    rows = our_rows(tokenizer, SEQUENCES, LABELS)
    assert len(rows) == len(SEQUENCES)
    for n, row in enumerate(rows):  # ends by itself
        assert {name: values.tolist() for name, values in row.items()} == {
            **{name: column[n] for name, column in columns.items()},
            "labels": LABELS[n],
        }


def make_trainer(kind: type[Trainer], folder: Path, rows: Any, classes: int = 3, **more: Any) -> Trainer:
    """A trainer of a tiny BERT on rows of a stock data set or of ours."""
    torch.manual_seed(0)
    config = small_config("bert")
    config.vocab_size, config.num_labels = 1600, classes
    settings = {"output_dir": str(folder), "use_cpu": True, "report_to": "none", "disable_tqdm": True}
    callbacks, collator = more.pop("callbacks", None), more.pop("data_collator", identity_collator)
    args = TrainingArguments(**settings, per_device_train_batch_size=4, per_device_eval_batch_size=4, **more)
    model = BertForDisciplineClassification(config)
    return kind(model=model, args=args, train_dataset=rows, data_collator=collator, callbacks=callbacks)


def test_losses_and_tokens_are_those_of_the_stock_trainer(tokenizer: Any, tmp_path: Path) -> None:
    settings = {"max_steps": 9, "logging_steps": 1, "save_steps": 4, "learning_rate": 1e-2}
    found = []
    for kind, rows, collator in (
        (Trainer, stock_rows(tokenizer, SEQUENCES, LABELS), DataCollatorWithPadding(tokenizer)),
        (RunTrainer, our_rows(tokenizer, SEQUENCES, LABELS), identity_collator),
    ):
        more = {"data_collator": collator, "include_num_input_tokens_seen": "non_padding"}
        trainer = make_trainer(kind, tmp_path / kind.__name__, rows, **settings, **more)
        trainer.train()
        steps = [log for log in trainer.state.log_history if "loss" in log]
        found.append([(log["loss"], log["num_input_tokens_seen"]) for log in steps])
        saved = TrainerState.load_from_json(str(tmp_path / kind.__name__ / "checkpoint-8" / "trainer_state.json"))
        assert saved.num_input_tokens_seen == steps[7]["num_input_tokens_seen"]
    assert len(found[0]) == 9
    assert found[1] == found[0]  # bit for bit


def test_predictions_are_in_the_order_of_the_rows(tokenizer: Any, tmp_path: Path) -> None:
    rows = our_rows(tokenizer, SEQUENCES, list(range(24)))
    found = []
    for kind in (RunTrainer, Trainer):
        trainer = make_trainer(kind, tmp_path, rows, classes=24, train_sampling_strategy="group_by_length")
        trainer.processing_class = tokenizer
        found.append(trainer.predict(rows).label_ids.tolist())
    assert found[0] == list(range(24))
    assert sorted(found[1]) == list(range(24))
    assert found[1] != found[0]  # the stock Trainer reorders them: what this is for


class Killed(BaseException): ...


class KillBeforeTheMarkCallback(TrainerCallback):
    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 8:
            raise Killed


def test_rows_that_are_all_dropped_are_an_error(tiny_backbone: Path, tmp_path: Path) -> None:
    dropping = ("--dataloader_drop_last", "true", "--max_steps", "1")
    trainer = run_trainer(tiny_backbone, tmp_path, *dropping, "--fraction", "0.01")
    with pytest.raises(ValueError, match="--dataloader_drop_last drops all 29 training rows: a batch has 32"):
        trainer.train()
    assert len(run_trainer(tiny_backbone, tmp_path, *dropping, "--fraction", "0.0115").get_train_dataloader()) == 1


def test_a_kill_before_a_checkpoints_mark_leaves_the_one_before(tokenizer: Any, tmp_path: Path) -> None:
    callbacks = [KillBeforeTheMarkCallback(), RunRecordCallback(tmp_path / "log.json")]
    settings = {"max_steps": 12, "save_steps": 4, "save_total_limit": 1, "callbacks": callbacks}
    trainer = make_trainer(RunTrainer, tmp_path / "run", our_rows(tokenizer, SEQUENCES, LABELS), **settings)
    with pytest.raises(Killed):
        trainer.train()
    last = last_complete_checkpoint(tmp_path / "run")
    assert last.name == "checkpoint-4"
    trainer.pop_callback(KillBeforeTheMarkCallback)
    trainer.train(resume_from_checkpoint=str(last))
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"checkpoint-8", "checkpoint-12"}
