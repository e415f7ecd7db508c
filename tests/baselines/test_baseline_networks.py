"""Hilbert-CNN and the small CNN: shapes and counts written down, weights that survive a save, runs that learn."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from conftest import ROOT
from python_processes import run_python
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional
from transformers import pipeline

from hf_bertx.baselines.features import kmer_codes, symbol_tokenizer
from hf_bertx.baselines.hilbert_cnn import (
    HilbertCNNConfig,
    HilbertCNNForSequenceClassification,
    SameConv2d,
    hilbert_curve,
)
from hf_bertx.baselines.networks import RECIPES, _arguments
from hf_bertx.baselines.runs import run_baseline
from hf_bertx.baselines.symbol_cnn import SymbolCNNConfig, SymbolCNNForSequenceClassification
from hf_bertx.data.task_data import load_task_data
from hf_bertx.publishing.cards import model_card
from hf_bertx.runs.spec import RunSpec
from hf_bertx.tasks import get_task


def hilbert(**fields: object) -> HilbertCNNForSequenceClassification:
    torch.manual_seed(0)
    return HilbertCNNForSequenceClassification(HilbertCNNConfig(num_labels=2, **fields)).eval()


@pytest.mark.parametrize(
    ("variant", "without_norms", "all_of_it"), [("as_released", 961_924, 963_460), ("as_described", 967_556, 969_428)]
)
def test_hilbert_cnn_has_the_published_number_of_parameters(variant: str, without_norms: int, all_of_it: int) -> None:
    model = hilbert(variant=variant)
    norms = sum(p.numel() for m in model.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters())
    total = sum(p.numel() for p in model.parameters())
    assert (total - norms, total) == (without_norms, all_of_it)
    assert model.dropout.p == (0.5 if variant == "as_described" else 0.0)


def test_the_curve_is_hilberts() -> None:
    assert hilbert_curve(4).tolist() == [[0, 3, 4, 5], [1, 2, 7, 6], [14, 13, 8, 9], [15, 12, 11, 10]]
    curve = hilbert_curve(32)
    places = np.stack(np.unravel_index(curve.ravel().argsort(), curve.shape))
    assert (np.abs(np.diff(places)).sum(axis=0) == 1).all()
    assert sorted(curve[:16].ravel()) == list(range(512))
    with pytest.raises(ValueError, match="side is 12; allowed: powers of two"):
        hilbert_curve(12)


@pytest.mark.parametrize(
    ("letters", "grid", "poolings"), [(500, (16, 32), 4), (60, (8, 8), 2), (35, (4, 8), 1), (4, (1, 2), 0)]
)
def test_the_grid_holds_every_window(letters: int, grid: tuple[int, int], poolings: int) -> None:
    config = HilbertCNNConfig(window_length=letters)
    assert (config.grid, config.poolings) == (grid, poolings)
    logits = hilbert(window_length=letters)(torch.randint(1, 5, (3, letters))).logits
    assert logits.shape == (3, 2)
    assert torch.isfinite(logits).all()


def test_each_4_mer_lies_on_its_place_of_the_curve() -> None:
    model = hilbert(window_length=60)
    letters = torch.randint(1, 5, (5, 60), generator=torch.Generator().manual_seed(1))
    numbers = kmer_codes(letters.numpy(), 4, 4) + 1
    cells = np.pad(numbers, ((0, 0), (0, 64 - 57)))
    assert (model.four_mer_grid(letters).numpy() == cells[:, hilbert_curve(8)]).all()


def test_ambiguity_letters_and_short_sequences_leave_cells_empty() -> None:
    model = hilbert(window_length=60)
    ids = symbol_tokenizer(get_task("dna-splice"))(
        ["ACGTNACGT", "acgt", "AC"], padding=True, return_tensors="pt"
    ).input_ids
    along = model.four_mer_grid(ids).flatten(1)[:, hilbert_curve(8).ravel().argsort()]
    acgt = 0 * 64 + 1 * 16 + 2 * 4 + 3 + 1
    assert along[0, :8].tolist() == [acgt, 0, 0, 0, 0, acgt, 0, 0]
    assert along[1, :2].tolist() == [acgt, 0]
    assert along[2].sum() == 0
    with pytest.raises(ValueError, match="sequences have 61 letters; the model's window is 60"):
        model(torch.ones((1, 61), dtype=torch.long))


def test_looking_up_rows_is_the_convolution_over_one_hot() -> None:
    model = hilbert()
    ids = torch.randint(0, 6, (2, 500), generator=torch.Generator().manual_seed(2))
    grid = model.four_mer_grid(ids).long()
    assert (grid == 0).any()
    hot = functional.one_hot(grid, 257)[..., 1:].permute(0, 3, 1, 2).float()
    dense = SameConv2d(256, 64, 7)
    dense.weight = nn.Parameter(model.conv1.weight.detach().clone())
    expected, found = dense(hot), model.conv1(grid)
    assert torch.allclose(found, expected, atol=1e-6)
    (found**2).sum().backward()
    (expected**2).sum().backward()
    assert torch.allclose(model.conv1.weight.grad, dense.weight.grad, atol=1e-4)


def test_the_published_weight_decay_is_on_kernels_alone() -> None:
    model = RECIPES["hilbert-cnn"].build(get_task("dna-h3"), None)
    kernels, others = RECIPES["hilbert-cnn"].parameters(model)
    assert (kernels["weight_decay"], others["weight_decay"]) == (7.5e-4, 0.0)
    convolutions = [module.weight for module in model.modules() if isinstance(module, SameConv2d)]
    assert set(map(id, kernels["params"])) == set(map(id, convolutions))
    assert len(kernels["params"]) + len(others["params"]) == len(list(model.parameters()))


def test_initial_weights_are_those_of_the_released_code() -> None:
    model = hilbert()
    assert model.conv1.weight.std().item() == pytest.approx((2 / 9 / (49 * 64)) ** 0.5, rel=0.02)
    assert model.hidden[0].weight.abs().max().item() == pytest.approx((3 / 64) ** 0.5, rel=0.02)


@pytest.mark.parametrize(
    ("config", "fields", "message"),
    [
        (HilbertCNNConfig, {"variant": "released"}, "variant is 'released'; allowed: as_released, as_described"),
        (HilbertCNNConfig, {"window_length": 3}, "window_length is 3; a 4-mer needs at least 4 letters"),
        (SymbolCNNConfig, {"kernel_size": 8}, "kernel_size is 8; allowed: odd numbers"),
        (SymbolCNNConfig, {"layers": 0}, "layers is 0; allowed: at least 1"),
    ],
)
def test_a_wrong_shape_is_named(config: type, fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(**fields)


def test_padding_changes_no_logit_of_the_small_cnn() -> None:
    torch.manual_seed(0)
    model = SymbolCNNForSequenceClassification(SymbolCNNConfig(num_labels=3)).eval()
    for length in (1, 2, 9, 16, 37):  # the shortest are halved to one position
        ids = torch.randint(1, 16, (4, length))
        padded = functional.pad(ids, (0, 27))
        assert torch.allclose(model(ids).logits, model(padded).logits, atol=1e-5), length
    assert not torch.allclose(model(ids).logits, model(ids.flip(1)).logits, atol=1e-3)
    with pytest.raises(ValueError, match="sequences have 513 symbols; the model takes 512"):
        model(torch.ones((1, 513), dtype=torch.long))


def test_a_training_without_an_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="epochs is inf for 'symbol-cnn'; allowed: for networks, more than 0 and fin"):
        run_baseline(RunSpec.of_baseline("symbol-cnn"), root=tmp_path, epochs=float("inf"))


def test_the_machine_chooses_neither_batch_nor_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")  # as `accelerate launch` does by its configuration
    args = _arguments(RECIPES["symbol-cnn"], 1, get_task("dna-splice"), {"learning_rate": 1e-3}, 0, tmp_path)
    assert (args.n_gpu, args.train_batch_size, args.mixed_precision) == (1, 64, "no")


@pytest.mark.parametrize("name", ["hilbert-cnn", "symbol-cnn"])
def test_a_network_learns_is_saved_and_read_again(name: str, tmp_path: Path) -> None:
    folder = run_baseline(RunSpec.of_baseline(name, seed=1, fraction=0.5), root=tmp_path, epochs=1)
    results = json.loads((folder / "results.json").read_text())
    assert results["metrics"]["test"]["accuracy"] > 0.65  # always the commonest class: 0.54
    log = json.loads((folder / "log_history.json").read_text())
    best = max(entry["eval_accuracy"] for entry in log if "eval_accuracy" in entry)
    assert results["metrics"]["validation"]["accuracy"] == best
    assert not (folder / "checkpoints").exists()
    assert {path.suffix for path in (folder / "model").iterdir()} == {".json", ".safetensors", ".md"}

    rows = pq.read_table(folder / "predictions_test.parquet").to_pydict()
    logits = np.array(rows["logits"][:8])
    texts = load_task_data(get_task("dna-splice")).splits["test"]["sequence"][:8]
    stock = pipeline("text-classification", model=str(folder / "model"))
    assert load_file(folder / "model" / "model.safetensors").keys() == stock.model.state_dict().keys()
    batch = stock.tokenizer(texts, return_tensors="pt")
    with torch.no_grad():
        assert np.allclose(stock.model(batch.input_ids, batch.attention_mask).logits, logits, atol=1e-4)
    names = [["EI", "IE", "N"][number] for number in logits.argmax(1)]
    assert [answer["label"] for answer in stock(texts)] == names

    (tmp_path / "few.txt").write_text("\n".join(texts))
    output = tmp_path / "few.jsonl"
    # in a process of its own, in which no test has imported the architecture
    done = run_python("-m", "hf_bertx.cli", "predict", folder, tmp_path / "few.txt", "--output", output, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    assert [json.loads(line)["label"] for line in output.read_text().splitlines()] == names

    card = (folder / "model" / "README.md").read_text()
    assert card == model_card(folder)
    assert f"# {name}-dna-splice-fraction-0.5\n" in card
    assert f"{results['metrics']['test']['accuracy']:.3f}" in card
    assert "18 of the 160 test items occur letter for letter in the training data" in card
    assert str(tmp_path) not in card
