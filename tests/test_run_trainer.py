"""What a run's Trainer does otherwise than the stock one, beside the stock one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import small_config
from datasets import Dataset
from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

from hf_bertx import DisciplineTokenizer
from hf_bertx.modeling_discipline import BertForDisciplineClassification
from hf_bertx.run_trainer import ArrayCollator, RunTrainer

SEQUENCES = ["ACGT", "ACGTACGTAC", "GG", "TTTTTTT", "ACGTA", "CCCCCCCC"] * 4
LABELS = [0, 1, 2, 1, 0, 2] * 4


@pytest.fixture
def tokenizer(tiny_backbone: Path) -> Any:
    return DisciplineTokenizer.from_backbone(str(tiny_backbone), "dna")


def rows_of(tokenizer: Any, sequences: list[str], labels: list[Any]) -> Dataset:
    return Dataset.from_dict({**tokenizer(sequences), "labels": labels})


def test_batches_are_those_of_the_stock_collator(tokenizer: Any) -> None:
    for side in ("right", "left"):
        tokenizer.padding_side = side
        for labels in (LABELS, [n / 7 for n in LABELS]):
            rows = rows_of(tokenizer, SEQUENCES, labels)
            stock = DataCollatorWithPadding(tokenizer)([rows[n] for n in range(6)])
            ours = ArrayCollator(tokenizer)([rows.with_format("numpy")[n] for n in range(6)])
            assert ours.keys() == stock.keys()
            assert stock["attention_mask"].sum() < stock["attention_mask"].numel()
            for name, tensor in stock.items():
                assert ours[name].dtype == tensor.dtype, name
                assert torch.equal(ours[name], tensor), (side, name)


def test_a_mask_is_left_out_only_where_all_of_it_is_ones(tokenizer: Any) -> None:
    rows = rows_of(tokenizer, ["ACGT", "GGTT"], [0, 1]).with_format("numpy")
    collate = ArrayCollator(tokenizer)
    assert "attention_mask" not in collate([rows[0], rows[1]])
    hidden = {**rows[1], "attention_mask": np.array([1, 1, 0, 0, 1, 1])}
    assert collate([rows[0], hidden])["attention_mask"].tolist() == [[1] * 6, [1, 1, 0, 0, 1, 1]]


class Unmasked(ArrayCollator):
    """Wrong where there is padding: what a comparison has to see."""

    def __call__(self, items: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        return {name: value for name, value in super().__call__(items).items() if name != "attention_mask"}


def losses(kind: Any, rows: Dataset, collator: Any, folder: Path, dropout: float = 0.1) -> tuple[list[float], int]:
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


def test_the_loss_curve_and_the_tokens_are_those_of_the_stock_trainer(tokenizer: Any, tmp_path: Path) -> None:
    rows = rows_of(tokenizer, SEQUENCES, LABELS)
    stock = losses(Trainer, rows, DataCollatorWithPadding(tokenizer), tmp_path / "stock")
    ours = losses(RunTrainer, rows.with_format("numpy"), ArrayCollator(tokenizer), tmp_path / "ours")
    assert len(stock[0]) == 9
    assert ours == stock  # bit for bit

    wrong = losses(RunTrainer, rows.with_format("numpy"), Unmasked(tokenizer), tmp_path / "wrong")
    assert wrong != stock  # the test can fail: a mask that is left out where there is padding shows


def test_batches_without_padding_learn_the_same_bit_for_bit_without_a_mask(tokenizer: Any, tmp_path: Path) -> None:
    letters = np.random.default_rng(0).choice(list("ACGT"), size=(24, 6))
    rows = rows_of(tokenizer, ["".join(line) for line in letters], LABELS)
    masked: list[bool] = []

    class Watched(ArrayCollator):
        def __call__(self, items: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
            batch = super().__call__(items)
            masked.append("attention_mask" in batch)
            return batch

    stock = losses(Trainer, rows, DataCollatorWithPadding(tokenizer), tmp_path / "stock")
    ours = losses(RunTrainer, rows.with_format("numpy"), Watched(tokenizer), tmp_path / "ours")
    assert ours == stock
    assert len(masked) >= 9
    assert not any(masked)


def test_padding_to_the_longest_of_a_batch_learns_as_padding_to_the_most_does(tokenizer: Any, tmp_path: Path) -> None:
    rows = rows_of(tokenizer, SEQUENCES, LABELS)
    to_the_most = DataCollatorWithPadding(tokenizer, padding="max_length", max_length=64)
    stock, _ = losses(Trainer, rows, to_the_most, tmp_path / "stock", dropout=0.0)  # another width is another draw
    arrays = rows.with_format("numpy")
    ours, _ = losses(RunTrainer, arrays, ArrayCollator(tokenizer), tmp_path / "ours", dropout=0.0)
    np.testing.assert_allclose(ours, stock, rtol=0, atol=1e-5)

    wrong, _ = losses(RunTrainer, arrays, Unmasked(tokenizer), tmp_path / "wrong", dropout=0.0)
    assert max(abs(a - b) for a, b in zip(wrong, stock, strict=True)) > 1e-4


def test_predictions_are_in_the_order_of_the_rows_however_training_is_sampled(tokenizer: Any, tmp_path: Path) -> None:
    rows = rows_of(tokenizer, SEQUENCES, list(range(24))).with_format("numpy")
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
    told = {"model": BertForDisciplineClassification(config), "args": args, "data_collator": ArrayCollator(tokenizer)}
    found = [
        kind(**told, processing_class=tokenizer).predict(rows).label_ids.tolist() for kind in (RunTrainer, Trainer)
    ]
    assert found[0] == list(range(24))
    assert sorted(found[1]) == list(range(24))
    assert found[1] != found[0]  # the stock Trainer reorders them: what this is for
