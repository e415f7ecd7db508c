"""Choices that make a step faster leave the loss of every step where it was, as `train.py` builds its runs."""

import shutil
from pathlib import Path

import pytest
import torch
from file_damage import edit
from interrupted_runs import run_trainer

STEPS = 24
LONG_WAY = "--shortcuts false --optim adamw_torch --precision float32 --attention_dropout 0".split()


@pytest.fixture(scope="module")
def backbone(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One without dropout: what is left out of a step changes how often it is drawn."""
    folder = Path(shutil.copytree(tiny_backbone, tmp_path_factory.mktemp("backbone") / "without-dropout"))
    edit(folder / "config.json", hidden_dropout_prob=0.0)
    return folder


def losses(backbone: Path, folder: Path, options: list[str]) -> torch.Tensor:
    argv = f"--max_steps {STEPS} --logging_steps 1 --eval_steps 100 --learning_rate 3e-3 --warmup_steps 0".split()
    argv += "--global_batch_size 8 --use_cpu --threads 1".split()
    trainer = run_trainer(backbone, folder, *argv, *LONG_WAY, *options)
    trainer.train()
    return torch.tensor([log["loss"] for log in trainer.state.log_history if "loss" in log])


@pytest.fixture(scope="module")
def long_way(backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> torch.Tensor:
    found = losses(backbone, tmp_path_factory.mktemp("long"), [])
    assert len(found) == STEPS
    assert found[-6:].mean() < found[:6].mean() - 0.05, "something is learned"
    return found


@pytest.mark.parametrize(
    ("options", "apart"),
    [
        (["--shortcuts", "true"], 1e-5),
        (["--optim", "adamw_torch_fused"], 1e-5),
        (["--dataloader_num_workers", "2"], 0.0),
        (["--precision", "bfloat16"], 3e-3),
        (["--precision", "bfloat16", "--shortcuts", "true"], 3e-3),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_faster_step_learns_the_same(
    options: list[str], apart: float, backbone: Path, long_way: torch.Tensor, tmp_path: Path
) -> None:
    found = losses(backbone, tmp_path, options)
    assert (found - long_way).abs().max() <= apart


@pytest.mark.parametrize(
    "options", ["", "--class_weights balanced", "--class_weights balanced --label_smoothing_factor 0.1"]
)
def test_batches_in_parts_have_the_loss_of_whole_ones(options: str, backbone: Path, tmp_path: Path) -> None:
    # 45 items: the last batch of an epoch, every sixth one, is one of 5
    few = ["--fraction", "0.0157", "--max_steps", "12", *options.split()]
    whole = losses(backbone, tmp_path / "whole", few)
    parts = losses(backbone, tmp_path / "parts", [*few, "--per_device_train_batch_size", "2"])
    assert (parts - whole).abs().max() <= 1e-5
