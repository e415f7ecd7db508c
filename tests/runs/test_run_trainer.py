"""What a run's Trainer does otherwise than the stock one, beside the stock one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import small_config
from datasets import Dataset
from transformers import DataCollatorWithPadding, Trainer, TrainerCallback, TrainingArguments

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


def our_rows(tokenizer: Any, sequences: list[str], labels: list[Any], kind: type[DeviceRows] = DeviceRows) -> Any:
    return kind(*flattened(tokenizer(sequences)), np.array(labels), tokenizer)


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
    columns = {**tokenizer(["ACGT", "GGTT"]), "attention_mask": [[1] * 6, [1, 1, 0, 0, 1, 1]]}
    for mask in (columns["attention_mask"], [[0] * 6] * 2):
        with pytest.raises(ValueError, match="hidden by its attention_mask"):
            DeviceRows(*flattened({**columns, "attention_mask": mask}), np.zeros(2), tokenizer)
    assert (
        len(DeviceRows(*flattened({"input_ids": [], "attention_mask": []}), np.zeros(0), tokenizer)) == 0
    )  # nothing is hidden


def test_single_rows_are_as_long_as_they_are(tokenizer: Any) -> None:
    columns = tokenizer(SEQUENCES)
    rows = our_rows(tokenizer, SEQUENCES, LABELS)
    assert len(rows) == len(SEQUENCES)
    for n, row in enumerate(rows):  # ends by itself
        assert {name: values.tolist() for name, values in row.items()} == {
            **{name: column[n] for name, column in columns.items()},
            "labels": LABELS[n],
        }


class Unmasked(DeviceRows):
    """Wrong where there is padding: what a comparison has to see."""

    def __getitems__(self, rows: list[int]) -> list[dict[str, torch.Tensor]]:
        (batch,) = super().__getitems__(rows)
        return [{name: value for name, value in batch.items() if name != "attention_mask"}]


def losses(kind: Any, rows: Any, collator: Any, folder: Path, dropout: float = 0.1) -> tuple[list[float], int]:
    """The loss of each step, and how many tokens were counted."""
    torch.manual_seed(0)
    config = small_config("bert")
    config.vocab_size = 1600
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = dropout
    args = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=4,
        max_steps=9,
        logging_steps=1,
        learning_rate=1e-2,
        save_steps=4,
        include_num_input_tokens_seen="non_padding",
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        seed=3,
    )
    trainer = kind(
        model=BertForDisciplineClassification(config), args=args, train_dataset=rows, data_collator=collator
    )
    trainer.train()
    saved = (folder / "checkpoint-8" / "trainer_state.json").read_text()
    assert f'"num_input_tokens_seen": {trainer.state.log_history[7]["num_input_tokens_seen"]}' in saved
    return [log["loss"] for log in trainer.state.log_history if "loss" in log], trainer.state.num_input_tokens_seen


def test_losses_and_tokens_are_those_of_the_stock_trainer(tokenizer: Any, tmp_path: Path) -> None:
    rows = stock_rows(tokenizer, SEQUENCES, LABELS)
    stock = losses(Trainer, rows, DataCollatorWithPadding(tokenizer), tmp_path / "stock")
    ours = losses(RunTrainer, our_rows(tokenizer, SEQUENCES, LABELS), identity_collator, tmp_path / "ours")
    assert len(stock[0]) == 9
    assert ours == stock  # bit for bit

    unmasked = our_rows(tokenizer, SEQUENCES, LABELS, Unmasked)
    wrong = losses(RunTrainer, unmasked, identity_collator, tmp_path / "wrong")
    assert wrong != stock  # the test can fail: a mask that is left out where there is padding shows


def test_batches_without_padding_learn_the_same_without_a_mask(tokenizer: Any, tmp_path: Path) -> None:
    letters = np.random.default_rng(0).choice(list("ACGT"), size=(24, 6))
    sequences = ["".join(line) for line in letters]
    masked: list[bool] = []

    def watched(batches: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        masked.append("attention_mask" in batches[0])
        return identity_collator(batches)

    rows = stock_rows(tokenizer, sequences, LABELS)
    stock = losses(Trainer, rows, DataCollatorWithPadding(tokenizer), tmp_path / "stock")
    ours = losses(RunTrainer, our_rows(tokenizer, sequences, LABELS), watched, tmp_path / "ours")
    assert ours == stock
    assert len(masked) >= 9
    assert not any(masked)


def test_padding_to_the_longest_of_a_batch_learns_the_same(tokenizer: Any, tmp_path: Path) -> None:
    rows = stock_rows(tokenizer, SEQUENCES, LABELS)
    to_the_most = DataCollatorWithPadding(tokenizer, padding="max_length", max_length=64)
    stock, _ = losses(Trainer, rows, to_the_most, tmp_path / "stock", dropout=0.0)  # another width is another draw
    our = our_rows(tokenizer, SEQUENCES, LABELS)
    ours, _ = losses(RunTrainer, our, identity_collator, tmp_path / "ours", dropout=0.0)
    np.testing.assert_allclose(ours, stock, rtol=0, atol=1e-5)

    unmasked = our_rows(tokenizer, SEQUENCES, LABELS, Unmasked)
    wrong, _ = losses(RunTrainer, unmasked, identity_collator, tmp_path / "wrong", dropout=0.0)
    assert max(abs(a - b) for a, b in zip(wrong, stock, strict=True)) > 1e-4


def test_predictions_are_in_the_order_of_the_rows(tokenizer: Any, tmp_path: Path) -> None:
    rows = our_rows(tokenizer, SEQUENCES, list(range(24)))
    config = small_config("bert")
    config.vocab_size, config.num_labels = 1600, 24
    args = TrainingArguments(
        output_dir=str(tmp_path),
        per_device_eval_batch_size=4,
        train_sampling_strategy="group_by_length",
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
    )
    told = {"model": BertForDisciplineClassification(config), "args": args, "data_collator": identity_collator}
    found = [
        kind(**told, processing_class=tokenizer).predict(rows).label_ids.tolist() for kind in (RunTrainer, Trainer)
    ]
    assert found[0] == list(range(24))
    assert sorted(found[1]) == list(range(24))
    assert found[1] != found[0]  # the stock Trainer reorders them: what this is for


class Killed(BaseException): ...


class KillBeforeTheMarkCallback(TrainerCallback):
    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 8:
            raise Killed


def test_a_kill_before_a_checkpoints_mark_leaves_the_one_before(tokenizer: Any, tmp_path: Path) -> None:
    config = small_config("bert")
    config.vocab_size = 1600
    args = TrainingArguments(
        output_dir=str(tmp_path / "run"),
        max_steps=12,
        save_steps=4,
        save_total_limit=1,
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
    )
    trainer = RunTrainer(
        model=BertForDisciplineClassification(config),
        args=args,
        train_dataset=our_rows(tokenizer, SEQUENCES, LABELS),
        data_collator=identity_collator,
        callbacks=[KillBeforeTheMarkCallback(), RunRecordCallback(tmp_path / "log.json")],
    )
    with pytest.raises(Killed):
        trainer.train()
    last = last_complete_checkpoint(tmp_path / "run")
    assert last is not None
    assert last.name == "checkpoint-4"
    trainer.pop_callback(KillBeforeTheMarkCallback)
    trainer.train(resume_from_checkpoint=str(last))
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"checkpoint-8", "checkpoint-12"}
