"""Two tiny runs, trained here, compared; a run with itself, with its start, and with what cannot be compared."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import small_config
from datasets import Dataset
from file_damage import edit
from made_runs import recorded, write_rows
from transformers import AutoTokenizer, BertConfig, BertModel

from hf_bertx import run_files
from hf_bertx.analysis import activations as activations_module
from hf_bertx.analysis.activations import Positions, activations, aligned_lengths, draw_positions, gradient_products
from hf_bertx.analysis.analyse import analyse
from hf_bertx.analysis.analysis_report import markdown
from hf_bertx.analysis.compared_runs import Compared
from hf_bertx.cli import main
from hf_bertx.data.task_data import user_task
from hf_bertx.modeling_discipline import DISCIPLINE_MODELS
from hf_bertx.runs.arguments import parse_arguments
from hf_bertx.runs.training import run

QUICK: dict[str, Any] = {"items": 40, "positions": 1500, "mini_batches": 4}


def trained_run(root: Path, backbone: Path, *more: str) -> Path:
    argv = ["--backbone", str(backbone), "--output_dir", str(root), "--max_steps", "6", "--eval_steps", "6"]
    argv += ["--global_batch_size", "8"]
    (spec,), args = parse_arguments([*argv, "--learning_rate", "1e-3", "--disable_tqdm", "True", *more])
    return run(spec, args)


@pytest.fixture(scope="module")
def runs(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("analysed")
    found = {arm: trained_run(root, tiny_backbone, "--arm", arm) for arm in ("bert", "rand", "random_tokens")}
    found["windows"] = trained_run(root, tiny_backbone, "--window", "25", "--overlap", "5")
    # learns nothing: what is saved is the start
    found["still"] = trained_run(
        root, tiny_backbone, "--arm", "rand", "--seed", "3", "--fraction", "0.01", "--learning_rate", "1e-20"
    )
    return found


@pytest.fixture(scope="module")
def tokenizer(tiny_backbone: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_backbone)


def test_a_run_is_like_itself_in_every_measure(runs: dict[str, Path]) -> None:
    found = analyse(runs["bert"], runs["bert"], **QUICK)
    for name in ("cka", "pwcca"):
        assert np.diag(found["layers"][name]) == pytest.approx(np.ones(3), abs=1e-6)
    heads = found["attention"]
    assert (heads["same_number_share"], heads["same_layer_share"]) == (1.0, 1.0)
    assert heads["matched_mean"] == pytest.approx(0.0, abs=1e-6)
    assert heads["all_pairs_mean"] > 1e-6
    assert found["gradients"][0]["cosines"] == found["gradients"][1]["cosines"]
    assert [found[side]["label"] for side in "ab"] == ["bert, seed 42 (A)", "bert, seed 42 (B)"]


def test_two_runs_are_compared_and_repeat_exactly(runs: dict[str, Path]) -> None:
    found = analyse(runs["bert"], runs["rand"], **QUICK)
    layers = found["layers"]
    assert np.shape(layers["cka"]) == (3, 3)
    assert 0 < np.min(layers["cka"]) <= np.max(layers["cka"]) < 0.999
    assert 0 < np.min(layers["pwcca"]) <= np.max(layers["pwcca"]) < 0.999
    for name in ("cka", "pwcca"):  # what does not belong together is less alike
        own = np.diag(layers[name])
        assert (own > layers["floors"]["any_position"][name]).all()
        assert (own[1:] > layers["floors"]["same_position_of_another_item"][name][1:]).all()
    assert (found["items"], found["positions"], found["positions_there"]) == (40, 1500, 40 * 62)
    assert found["data_fingerprint"].startswith("e960759b91f6")
    gradients = found["gradients"]
    assert [side["mini_batches"] for side in gradients] == [4, 4]
    assert [len(side["cosines"]) for side in gradients] == [6, 6]
    assert gradients[0]["cosines"] != gradients[1]["cosines"]
    assert analyse(runs["bert"], runs["rand"], **QUICK) == found
    assert analyse(runs["bert"], runs["rand"], **{**QUICK, "seed": 1})["layers"] != layers


def test_the_start_is_drawn_again_as_it_was(runs: dict[str, Path]) -> None:
    """Of a run that learned nothing, start and end are one; of another seed they would not be."""
    found = analyse(runs["still"], **QUICK)
    assert found["b"]["label"] == "rand, seed 3, before training"
    assert found["b"]["test_score"] is None
    assert found["gradients"][0]["mini_batches"] == 3  # it learned from 29 items, in batches of 8
    assert np.diag(found["layers"]["cka"]) == pytest.approx(np.ones(3), abs=1e-6)
    assert found["attention"]["same_number_mean"] == pytest.approx(0.0, abs=1e-6)
    assert found["gradients"][0]["cosines"] == pytest.approx(found["gradients"][1]["cosines"], abs=1e-4)
    other = analyse(runs["still"], runs["rand"], **QUICK)
    assert np.diag(other["layers"]["cka"]).max() < 0.99
    learned = analyse(runs["bert"], **QUICK)
    assert 1e-6 < 1 - learned["layers"]["cka"][2][2] < 0.9


def test_the_start_of_a_regression_answers_with_the_mean(tiny_backbone: Path, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    columns = {"sequence": ["".join(draw.choice(list("ACGT"), 9)) for _ in range(40)], "label": draw.normal(90, 1, 40)}
    rows = write_rows(tmp_path / "data" / "rows", **columns)
    data = recorded(rows, user_task("far", "dna", Counter(["1.5", "2.5"]), 9, False, False, "here"))
    still = trained_run(tmp_path, tiny_backbone, "--task", data, "--data_dir", rows, "--learning_rate", "1e-20")
    a, b = analyse(still, data_dir=rows, **QUICK)["gradients"]
    assert a["cosines"] == pytest.approx(b["cosines"], abs=1e-4)
    assert min(a["cosines"]) < 0.9  # all would be 1 if every answer were 90 too low


def test_runs_with_other_assignments_align(runs: dict[str, Path]) -> None:
    found = analyse(runs["bert"], runs["random_tokens"], **QUICK)
    assert found["b"]["assignment"] == "random"
    assert np.shape(found["layers"]["pwcca"]) == (3, 3)


def test_windows_are_what_a_run_reads(runs: dict[str, Path]) -> None:
    found = analyse(runs["windows"], **{**QUICK, "items": 1000, "positions": 100_000})
    assert (found["items"], found["positions"]) == (3 * 159, 3 * 159 * 27)  # 3 windows of 25 letters, [CLS] and [SEP]
    with pytest.raises(ValueError, match="different windows: 25 and None"):
        analyse(runs["windows"], runs["bert"])


def test_depth_and_width_may_differ(runs: dict[str, Path], tmp_path: Path, tokenizer: Any) -> None:
    torch.manual_seed(5)
    deeper = tmp_path / "deeper"
    sizes = {"hidden_size": 48, "num_hidden_layers": 4, "num_attention_heads": 3, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=len(tokenizer), max_position_embeddings=128, **sizes)).save_pretrained(deeper)
    tokenizer.save_pretrained(deeper)
    found = analyse(runs["bert"], trained_run(tmp_path, deeper, "--max_steps", "1", "--eval_steps", "1"), **QUICK)
    assert np.shape(found["layers"]["cka"]) == (3, 5)
    assert found["layers"]["partners"] == np.argmax(found["layers"]["cka"], axis=1).tolist()
    assert np.shape(found["attention"]["divergence"]) == (2 * 2, 4 * 3)
    assert len(found["attention"]["pairs"]) == 4
    assert found["attention"]["same_number_mean"] is None
    assert [found[side]["label"].split(", backbone ")[1] for side in "ab"] == [found["a"]["backbone"], "deeper"]
    assert str(tmp_path) not in json.dumps(found)
    assert "heads of the same layer and number" not in markdown(found)


def compared(model_type: str, tokenizer: Any) -> Compared:
    torch.manual_seed(0)
    model = DISCIPLINE_MODELS[model_type](small_config(model_type)).eval()
    model.set_attn_implementation("eager")
    return Compared("tiny", model, tokenizer, True)


@pytest.mark.parametrize("model_type", sorted(DISCIPLINE_MODELS))
def test_activations_are_those_of_each_item_alone(
    model_type: str, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Padding is neither counted nor read, in every architecture, whatever is read at once."""
    side = compared(model_type, tokenizer)
    at = Positions(np.repeat([0, 1, 2], [5, 3, 4]), np.concatenate([np.arange(n) for n in (5, 3, 4)]))
    ids = [[101, 7, 8, 9, 102], [101, 5, 102], [101, 6, 7, 102]]
    masks = [[1] * len(item) for item in ids]
    encoded = Dataset.from_dict({"input_ids": ids, "labels": [0, 2, 1], "attention_mask": masks})
    monkeypatch.setattr(activations_module, "_TOKENS_AT_ONCE", 10)  # two items at once
    hidden, maps = activations(side, encoded, at, np.array([0, 5, 6, 11]))
    assert [layer.shape for layer in hidden] == [(12, hidden[0].shape[1]), (12, 32)]
    assert maps.shape == (1, 2, 4, 5)
    assert maps.sum(axis=3) == pytest.approx(np.ones((1, 2, 4)), abs=1e-5)
    with torch.no_grad():
        alone = [side.model(torch.tensor([item]), output_hidden_states=True).hidden_states[-1][0] for item in ids]
    assert np.allclose(hidden[-1], torch.cat(alone).numpy(), atol=1e-5)
    assert (maps[0, :, 1:3, 3:] < 1e-6).all()  # the second item has three positions


def test_gradients_are_those_of_the_mean_loss(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    side, generator = compared("bert", tokenizer), np.random.default_rng(0)
    columns = {"input_ids": generator.integers(1, 120, (20, 7)), "labels": generator.integers(0, 3, 20)}
    rows = Dataset.from_dict({**columns, "attention_mask": [[1] * 7] * 20})
    batches = [rows.select(range(n, n + 4)) for n in range(0, 20, 4)]
    products = gradient_products(side, batches)
    gradients = []
    for batch in batches:
        side.model.zero_grad()
        ids, labels = torch.tensor(batch["input_ids"][:]), torch.tensor(batch["labels"][:])
        side.model(input_ids=ids, labels=labels).loss.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in side.model.parameters() if p.grad is not None]))
    expected = torch.stack(gradients) @ torch.stack(gradients).T
    assert products == pytest.approx(expected.numpy(), rel=1e-4, abs=1e-6)
    size = sum(p.numel() for p in side.model.parameters())
    assert gradient_products(side, batches, held_bytes=2 * 4 * size) == pytest.approx(products, rel=1e-6)
    monkeypatch.setattr(activations_module, "_TOKENS_AT_ONCE", 21)  # three items at once, then one
    assert gradient_products(side, batches) == pytest.approx(products, rel=1e-4, abs=1e-6)


def test_positions_that_do_not_align_are_named(tokenizer: Any) -> None:
    side = Compared("one", None, tokenizer, True)
    rows = Dataset.from_dict({"id": ["first", "second"]})
    a = Dataset.from_dict({"input_ids": [[101, 1100, 102], [101, 1100, 102]]})
    assert aligned_lengths([side, side], [a, a], rows).tolist() == [3, 3]
    longer = Dataset.from_dict({"input_ids": [[101, 1100, 102], [101, 1100, 1101, 102]]})
    with pytest.raises(ValueError, match="item 'second' has 3 positions for one and 4 for one"):
        aligned_lengths([side, side], [a, longer], rows)
    without = Dataset.from_dict({"input_ids": [[1100, 1101, 1102], [101, 1100, 102]]})
    with pytest.raises(ValueError, match="item 'first' has special tokens at other places"):
        aligned_lengths([side, side], [a, without], rows)


def test_positions_are_drawn_from_all_of_every_item() -> None:
    lengths, generator = np.array([5, 2, 9]), np.random.default_rng(0)
    every = draw_positions(lengths, 100, generator)
    assert every.item.tolist() == [0] * 5 + [1] * 2 + [2] * 9
    assert every.position.tolist() == [*range(5), *range(2), *range(9)]
    some = draw_positions(lengths, 4, generator)
    assert len(set(zip(some.item.tolist(), some.position.tolist(), strict=True))) == 4


def test_the_command_writes_a_table_pictures_and_json(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = [part for name, value in QUICK.items() for part in (f"--{name}", str(value))]
    folders = [str(runs["bert"]), str(runs["rand"])]
    assert main(["analyse", *folders, *quick, "--output", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "analysis.json").read_text())
    printed = capsys.readouterr().out
    assert printed == markdown(found) + "\n"
    names = {path.name for path in tmp_path.iterdir()}
    pictures = {f"{name}.{form}" for name in ("layers", "attention", "gradients") for form in ("png", "svg")}
    assert names == {"analysis.json", "table.md"} | pictures
    table = (tmp_path / "table.md").read_text()
    assert table == markdown(found)
    assert f"| embeddings | embeddings | {found['layers']['cka'][0][0]:.3f} |" in table
    assert f"| rand, seed 42 | 4 x 8 | {found['gradients'][1]['minimum']:.3f} |" in table
    assert "1500 of 2480 positions of 40 items of the split `validation`" in table
    for text in (table, printed, json.dumps(found)):
        assert str(runs["bert"]) not in text  # no path of this machine


def edited(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """Changes the order of a run's folder."""
    return lambda folder: edit(folder / run_files.RUN, change)


@pytest.mark.parametrize(
    ("argv", "damage", "message"),
    [
        (["BERT"], None, "name one of the two"),
        (["BERT", "RAND", "--against_start"], None, "name one of the two"),
        (["BERT", "none"], None, "none: no such folder"),
        (["PARENT", "RAND"], None, "not a run's folder, it has no run.json; one is RUNS/"),
        (["COPY", "RAND"], lambda run: (run / "results.json").unlink(), "is not finished, it has no results.json"),
        (["COPY", "RAND"], lambda run: (run / "model/model.safetensors").unlink(), "model.safetensors is missing"),
        (["BERT", "RAND", "--split", "dev"], None, "unknown split 'dev' of task dna-splice; allowed: train"),
        (["BERT", "RAND", "--items", "1"], None, "--items is 1; allowed: 2 or more"),
        (["BERT", "RAND", "--mini_batches", "1"], None, "--mini_batches is 1; allowed: 2 or more"),
        (["BERT", "RAND", "--variance", "nan"], None, "--variance is nan; allowed: more than 0, at most 1"),
        (["BERT", "RAND", "--seed", "-1"], None, "--seed is -1; allowed: 0 to 4294967295"),
        (["BERT", "RAND", "--positions", "20", "--variance", "1"], None, "20 positions are too few"),
        (["BERT", "RAND", "--data_dir", "nowhere"], None, "--data_dir nowhere: no such folder"),
        (["COPY", "RAND"], edited(lambda order: order["specification"].update(protocol="probe")),
         "copy is a probe; analyse compares fine-tuned models"),
        (["COPY", "RAND"], edited(lambda order: order["specification"].update(task="dna-h3")),
         "different tasks: dna-h3 and dna-splice"),
        (["COPY", "RAND"], edited(lambda order: order["specification"].update(split="grouped")),
         "different splits: grouped and paper"),
        (["COPY", "RAND"], edited(lambda order: order.update(data_fingerprint="f" * 64)),
         "different data: ffffffffffffffff and e960759b91f608f9"),
        (["COPY", "--against_start"], edited(lambda order: order.update(data_fingerprint="f" * 64)),
         "the copy in the package has other rows (sha256 e960759b91f608f9)"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_one_line(
    argv: list[str], damage: Callable[[Path], Any] | None, message: str,
    runs: dict[str, Path], tmp_path: Path, refusal: Any,
) -> None:  # fmt: skip
    folders = {"BERT": runs["bert"], "RAND": runs["rand"], "PARENT": runs["bert"].parent, "COPY": tmp_path / "copy"}
    if damage is not None:
        shutil.copytree(runs["bert"], folders["COPY"])
        damage(folders["COPY"])
    output = tmp_path / "refused"
    assert message in refusal(main, "analyse", *(folders.get(part, part) for part in argv), "--output", output)
    assert not output.exists()
