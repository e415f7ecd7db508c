"""A regression that starts at the mean of its targets, and leaves a stock model behind."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import small_config
from own_files import own_table, train_own
from scipy.stats import pearsonr
from transformers import AutoModelForSequenceClassification

from hf_bertx.configuration_discipline import DISCIPLINE_CONFIGS
from hf_bertx.modeling_discipline import AutoModelForDisciplineClassification
from hf_bertx.runs.regression_head import StandardizedLinear, restore_output, standardize_output
from hf_bertx.runs.tuning import apply_tuning, merged

TARGETS = [290.0, 300.0, 310.0, 340.0]  # mean 310, standard deviation 18.7
MEAN, STD = 310.0, 350.0**0.5


def regression(model_type: str) -> Any:
    torch.manual_seed(0)
    config = small_config(model_type)
    config.num_labels, config.problem_type = 1, "regression"
    return AutoModelForDisciplineClassification.from_config(config).eval()


def inputs() -> torch.Tensor:
    return torch.randint(5, 100, (6, 9), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("model_type", sorted(DISCIPLINE_CONFIGS))
def test_the_output_is_scaled_and_a_stock_model_gives_the_same(model_type: str, tmp_path: Path) -> None:
    model = regression(model_type)
    with torch.no_grad():
        before = model(inputs()).logits
        names = set(model.state_dict())
        standardize_output(model, TARGETS)
        scaled = model(inputs()).logits
        assert torch.allclose(scaled, before * STD + MEAN, atol=1e-3)
        assert set(model.state_dict()) == names
        restore_output(model)
        assert not any(isinstance(module, StandardizedLinear) for module in model.modules())
        model.save_pretrained(tmp_path)
        stock = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
        assert torch.allclose(stock(inputs()).logits, scaled, atol=1e-3)


def test_adapters_and_the_merged_model_keep_the_scale() -> None:
    model = regression("bert")
    standardize_output(model, TARGETS)
    adapted = apply_tuning(model, "lora", "owner/base").eval()
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(0.01)
        trained = adapted(inputs()).logits
        restore_output(adapted)
        assert torch.allclose(adapted(inputs()).logits, trained, atol=1e-2)
        assert torch.allclose(merged(adapted)(inputs()).logits, trained, atol=1e-2)
    assert abs(float(trained.mean()) - MEAN) < 3 * STD


def test_targets_without_spread_are_left_their_scale() -> None:
    model = regression("bert")
    with torch.no_grad():
        before = model(inputs()).logits
        standardize_output(model, [2.0, 2.0])
        assert torch.allclose(model(inputs()).logits, before + 2.0, atol=1e-5)
    with pytest.raises(ValueError, match="not a number"):
        standardize_output(regression("bert"), [1.0, float("nan")])


def test_targets_far_from_zero_are_scored_as_they_are(tiny_backbone: Path, tmp_path: Path) -> None:
    """The model has them in float32, in which numbers near a million are 0.06 apart."""
    draw, items = random.Random(0), []
    for _ in range(200):
        sequence = "".join(draw.choices("ACGT", k=draw.randint(5, 30)))
        items.append((sequence, round(1e6 + sequence.count("A") + draw.gauss(), 4)))
    table = own_table(tmp_path / "far.csv", items)
    options = ["--max_steps", "40", "--eval_steps", "40", "--learning_rate", "1e-2", "--global_batch_size", "8"]
    run = train_own(tiny_backbone, tmp_path / "runs", table, *options)
    found = run.predictions("test")  # of another score than was stated, it is refused
    expected = pearsonr(found.logits[:, 0].astype(float), found.labels).statistic
    assert run.scores["test"]["pearson"] == pytest.approx(expected, abs=1e-9)
