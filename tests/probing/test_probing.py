"""Probes: features of frozen encoders, their cache, closed-form heads, run folders."""

import itertools
import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import load_dataset
from made_runs import recorded, write_rows
from matplotlib.figure import Figure
from safetensors.torch import load_file, save_file
from scipy.special import softmax
from sklearn.linear_model import Ridge, RidgeCV
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer, pipeline

from hf_bertx import run_files
from hf_bertx.cli import main
from hf_bertx.data.task_data import user_task
from hf_bertx.disciplines import DNA
from hf_bertx.metrics import balanced_weights, calibration
from hf_bertx.modeling_discipline import BertForDisciplineClassification
from hf_bertx.performance import speed_up_prediction
from hf_bertx.probing.draws import draw
from hf_bertx.probing.features import FeatureCache, extract, item_keys
from hf_bertx.probing.heads import ALPHAS, Head, fit_head
from hf_bertx.probing.pooling_layer import add_pooling_layer, pooled, set_head
from hf_bertx.probing.runs import run_probes
from hf_bertx.probing.seeds import LEFT_OUT, without_repeats
from hf_bertx.publishing.cards import model_card
from hf_bertx.report.make_cells import make_cells
from hf_bertx.report.probes import probe_panels
from hf_bertx.runs.run import Run
from hf_bertx.runs.spec import RunSpec
from hf_bertx.tokenization.windows import Windows

Probed = tuple[list[RunSpec], Path, list[Path]]


def probe(backbone: Path, root: Path, **fields: Any) -> Run:
    (folder,) = run_probes([RunSpec.of_probe(backbone=str(backbone), **fields)], root=root)
    return Run.open_finished(folder)


@pytest.mark.parametrize("items", [20, 200])
@pytest.mark.parametrize("classes", [None, 3])
def test_the_head_is_ridge_with_leave_one_out(items: int, classes: int | None) -> None:
    rng = np.random.default_rng(items)
    x = rng.normal(2.0, 3.0, size=(items, 40))
    x[:, 7] = 1.0  # does not vary
    signal = x[:, 0] + 0.3 * rng.normal(size=items)
    labels = signal if classes is None else np.digitize(signal, [0.0, 4.0])
    targets = labels[:, None] if classes is None else np.where(labels[:, None] == np.arange(classes), 1.0, -1.0)
    scaled = (x - x.mean(0)) / np.where(x.std(0) > 0, x.std(0), 1)
    known = RidgeCV(alphas=ALPHAS).fit(scaled, targets)
    head = fit_head(x, labels, classes)
    assert head.alpha == known.alpha_
    np.testing.assert_allclose(head(x), known.predict(scaled).reshape(items, -1), atol=1e-4)


def test_a_head_with_weights_is_ridge_with_weights() -> None:
    rng = np.random.default_rng(0)
    x, labels = rng.normal(2.0, 3.0, size=(30, 40)), (np.arange(30) < 5).astype(int)
    x[:, :3] += 4 * labels[:, None]
    weights = balanced_weights(labels, 2)[labels]
    mean = np.average(x, axis=0, weights=weights)
    scaled = (x - mean) / np.sqrt(np.average((x - mean) ** 2, axis=0, weights=weights))
    targets = np.where(labels[:, None] == np.arange(2), 1.0, -1.0)
    head = fit_head(x, labels, 2, weights)
    np.testing.assert_allclose(head(x), Ridge(head.alpha).fit(scaled, targets, weights).predict(scaled), atol=1e-4)

    def left_out(alpha: float) -> float:
        error = 0.0
        for i in range(30):
            kept = np.arange(30) != i
            answer = Ridge(alpha).fit(scaled[kept], targets[kept], weights[kept]).predict(scaled[[i]])
            error += weights[i] * ((answer - targets[i]) ** 2).sum()
        return error

    assert head.alpha == min(ALPHAS, key=left_out)
    x[:, 7] = 0.1234  # does not vary
    assert not fit_head(x, labels, 2, weights).weight[:, 7].any()
    assert head.alpha != fit_head(x, labels, 2).alpha


def test_features_are_the_models_own_without_padding(tiny_backbone: Path) -> None:
    model = AutoModel.from_pretrained(tiny_backbone).eval()
    ids = [[101, 5, 6, 102], [101, 7, 102], [101, *range(200, 240), 102]]
    found = extract(model, {"input_ids": ids}, pad_token_id=0, threads=2)
    assert found.shape == (3, 3, 2, 32)
    assert found.dtype == np.float16
    for row, item in enumerate(ids):
        with torch.inference_mode():
            states = model(input_ids=torch.tensor([item]), output_hidden_states=True).hidden_states
        for layer, state in enumerate(states):
            np.testing.assert_allclose(found[row, layer, 0], state[0].mean(0), atol=3e-3)
            np.testing.assert_allclose(found[row, layer, 1], state[0, 0], atol=3e-3)


def test_a_cache_computes_each_item_once_and_sees_changes(tmp_path: Path) -> None:
    asked: list[int] = []

    def compute(places: list[int]) -> np.ndarray:
        asked.extend(places)
        return np.array([[[[float(place)]]] for place in places], dtype=np.float16)

    cache = FeatureCache(tmp_path, {"weights": "a"})
    assert cache.features(["x", "y", "x"], compute).ravel().tolist() == [0, 1, 0]
    assert cache.features(["y", "z"], compute).ravel().tolist() == [1, 1]
    assert asked == [0, 1, 1]
    chunk = min(cache.folder.glob("*.npy"), key=lambda path: path.stat().st_mtime_ns)
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"?")
    cache.features(["x"], compute)
    assert asked == [0, 1, 1, 0]
    FeatureCache(tmp_path, {"weights": "b"}).features(["y"], compute)  # of other weights: another cache
    assert asked == [0, 1, 1, 0, 0]


@pytest.mark.parametrize("record", ['{"sha256": "00', '{"sha256": "00"}', "[]"])
def test_a_damaged_record_of_a_cache_is_named(record: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def compute(places: list[int]) -> np.ndarray:
        return np.ones((len(places), 1, 1, 1), dtype=np.float16)

    cache = FeatureCache(tmp_path, {})
    cache.features(["x"], compute)
    (path,) = cache.folder.glob("chunk-*.json")
    path.write_text(record)
    assert cache.features(["x"], compute).ravel().tolist() == [1]
    assert f"{path.stem}.npy: it or its record is missing or damaged; its items are computed again" in caplog.text
    assert json.loads(path.read_text())["items"] == ["x"]


def test_processes_share_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = (FeatureCache(tmp_path, {"weights": "a"}) for _ in range(2))
    save = np.save

    def values(value: float) -> Any:
        return lambda places: np.full((len(places), 1, 1, 1), value, dtype=np.float16)

    def slow_save(file: Any, features: np.ndarray, **options: Any) -> None:
        monkeypatch.setattr(np, "save", save)
        theirs.features(["y"], values(2))  # another process writes its chunk before ours has its place
        save(file, features, **options)

    monkeypatch.setattr(np, "save", slow_save)
    assert ours.features(["x"], values(1)).ravel().tolist() == [1]
    assert ours.features(["y", "x"], values(np.nan)).ravel().tolist() == [2, 1]


def test_draws_of_a_seed_contain_the_smaller_ones() -> None:
    many, pool = 20_000, 3000
    drawn = [{size: draw(many, size, seed) for size in (100, 1000, pool, 5000, many)} for seed in (0, 1)]
    for of_seed in drawn:
        nested = list(map(set, of_seed.values()))
        assert all(small < large for small, large in itertools.pairwise(nested))
        assert [len(each) for each in nested] == list(of_seed)
    assert [size for size in drawn[0] if drawn[0][size] == drawn[1][size]] == [pool, many]
    assert drawn[0][pool] == drawn[0][many][:pool]
    assert set(drawn[0][1000]) < set(drawn[1][pool])  # all seeds share the pool


@pytest.mark.parametrize(
    ("more", "seeds"),
    [
        ({"items": "all"}, [0]),
        ({"items": 3000}, [0]),
        ({"items": 3000, "arm": "unused"}, [0]),
        ({"items": "all", "task": "glue-rte", "arm": "shift_1000"}, [0]),
        ({"items": 5000}, [0, 1, 2]),
        ({"items": 1000}, [0, 1, 2]),
        ({"items": "all", "arm": "rand"}, [0, 1, 2]),
        ({"items": "all", "arm": "random_tokens"}, [0, 1, 2]),
        ({"items": "all", "task": "glue-rte", "arm": "random_shift"}, [0, 1, 2]),
        ({"items": "all", "permute_labels": True}, [0, 1, 2]),
    ],
)
def test_a_seed_that_draws_nothing_is_not_run(more: dict[str, Any], seeds: list[int]) -> None:
    specs = [RunSpec.of_probe(seed=seed, **more) for seed in range(3)]
    assert [spec.seed for spec in without_repeats(specs)] == seeds


def test_seeds_that_are_left_out_are_said(tiny_backbone: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    rows = write_rows(tmp_path / "own" / "rows", sequence=["ACGT", "TTGA", "CCGA", "GATA"] * 5, label=[0, 1] * 10)
    task = recorded(rows, user_task("own", "dna", Counter("0011"), 4, False, False, "here"))
    options = f"--task {task} --data_dir {rows} --backbone {tiny_backbone} --runs {tmp_path} --arm bert rand".split()
    assert main(["probe", *options, "--seed", "0", "1"]) == 0
    first, *others = capsys.readouterr().out.splitlines()
    assert first == f"1 {LEFT_OUT}"
    runs = ["bert, seed 0, 20", "rand, seed 0, 20", "rand, seed 1, 20"]
    assert [line.partition(" items")[0] for line in others] == runs
    study = tmp_path / "mine.yaml"
    study.write_text(STUDY.format(plan="ab" * 32, backbone=tiny_backbone).replace("seeds: [0]", "seeds: [0, 1]"))
    assert main(["study", str(study), "--runs", str(tmp_path / "runs"), "--dry_run"]) == 0
    assert capsys.readouterr().out.startswith(f"study mine: 7 runs, 0 finished, 7 to do\n1 {LEFT_OUT}\n")


def test_items_are_known_by_their_tokens() -> None:
    keys = item_keys({"input_ids": [[1, 2]] * 3, "token_type_ids": [[0, 0], [0, 1], [0, 0]]})
    assert keys[0] == keys[2] != keys[1]


@pytest.fixture(scope="module")
def probed(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Probed:
    root = tmp_path_factory.mktemp("probes")
    specs = [RunSpec.of_probe(backbone=str(tiny_backbone), items=size, plan="0f" * 32) for size in (50, 200)]
    return specs, root, run_probes(specs, root=root)


def test_a_probe_leaves_runs_that_the_report_reads(probed: Probed, tmp_path: Path) -> None:
    _, root, folders = probed
    for folder, items in zip(folders, (50, 200), strict=True):
        run = Run.open_finished(folder)
        assert (run.specification["protocol"], run.order["plan"]) == ("probe", "0f" * 32)
        results = run.results
        assert results["train_items"] == items
        assert results["cut"] == {"train": 0, "validation": 0, "test": 0}
        assert results["understood"]["items"] == {"train": 2871, "validation": 159, "test": 160}
        assert len(results["tried"]) == 3 * 2
        best = max(entry["validation"] for entry in results["tried"])
        assert results["chosen"]["validation"] == best
        assert results["metrics"]["test"]["accuracy"] == results["chosen"]["test"]
    assert main(["report", str(root / "probe"), "--output", str(tmp_path / "report")]) == 0
    cells = pd.read_csv(tmp_path / "report" / "cells.csv")
    assert sorted(cells["items"]) == [50, 200]
    assert cells["calibration_error"].isna().all()  # a ridge head gives no probabilities
    for name in ("layers.png", "sizes.png"):
        assert (tmp_path / "report" / name).stat().st_size > 5000


def test_a_finished_probe_is_skipped(probed: Probed) -> None:
    specs, root, folders = probed
    before = [(folder / "results.json").stat().st_mtime_ns for folder in folders]
    assert run_probes(specs, root=root) == folders
    assert [(folder / "results.json").stat().st_mtime_ns for folder in folders] == before
    assert Run.open(folders[0]).specification["backbone_revision"].startswith("sha256:")


def test_a_probe_that_another_process_makes_is_not_made_twice(tiny_backbone: Path, tmp_path: Path) -> None:
    spec = RunSpec.of_probe(backbone=str(tiny_backbone), items=50, layers=(0,))
    with run_files.locked(spec.folder(tmp_path)), pytest.raises(run_files.LockedRunError):
        run_probes([spec], root=tmp_path)


def test_permuted_labels_give_chance(tiny_backbone: Path, tmp_path: Path) -> None:
    run = probe(tiny_backbone, tmp_path, items=1000, permute_labels=True)
    assert run.scores["test"]["accuracy"] < 0.544 + 0.1  # the commonest class, and two standard errors


@pytest.mark.parametrize("start", ["pretrained", "random", "shuffled"])
def test_a_planted_motif_is_found(tiny_backbone: Path, start: str) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, size=400)
    sequences = []
    for label in labels:
        letters = rng.choice(list("ACGT"), size=60)
        at = rng.integers(0, 40)
        letters[at : at + 12] = list("GGGGGGGGGGGG" if label else "AAAAAAAAAAAA")
        sequences.append([ord(letter) - ord("A") + 1000 for letter in letters])
    torch.manual_seed(0)
    model = BertForDisciplineClassification.from_backbone(str(tiny_backbone), start).base_model.eval()
    found = extract(model, {"input_ids": sequences}, pad_token_id=0)
    head = fit_head(found[:300, 2, 0], labels[:300], 2)
    assert (head(found[300:, 2, 0]).argmax(1) == labels[300:]).mean() > 0.95


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--max_test_items", "0"], "--max_test_items is 0; allowed: a whole number of at least 1"),
        (["--items", "1"], "items is 1; allowed: a number from 2 on, or all"),
        (["--items", "9999"], "items is 9999, and dna-splice has 2871 training items to draw from"),
        (["--items", "most"], "items is 'most'; allowed"),
        (["--layers", "3", "--items", "50"], "layer 3: .* has layers 1 to 2, and 0 for its embeddings"),
        (["--arm", "shift_1000"], "shifts the ids of text, and task dna-splice is dna"),
        (["--task", "dna-splise"], "did you mean 'dna-splice'"),
        (["--arm", "berd"], "did you mean 'bert'"),
        (["--plan", "no.md"], "no.md"),
        (["--seed", "-1"], "--seed is -1; allowed: 0 to"),
        (["--threads", "-1"], "--threads is -1; allowed: a whole number of at least 1"),
        (["--window", "0"], "window is 0; allowed: at least 1 symbol"),
        (["--overlap", "5"], "--overlap is 5, but --window is missing"),
        (["--task", "music-maestro-v1", "--window", "20"], "its items are segments of pieces already"),
        (["--class_weights", "even"], "--class_weights is 'even'; allowed: balanced"),
        (["--task", "protein-stability", "--class_weights", "balanced"], "needs classes, and task protein-stability"),
    ],
)
def test_bad_input_is_one_line(
    tiny_backbone: Path, tmp_path: Path, refusal: Any, argv: list[str], message: str
) -> None:
    assert re.search(message, refusal(main, "probe", "--backbone", tiny_backbone, "--runs", tmp_path, *argv))


def test_a_start_sweeps_what_a_killed_probe_left(tiny_backbone: Path, tmp_path: Path) -> None:
    spec = RunSpec.of_probe("dna-splice", "bert", str(tiny_backbone), items=100)
    half_written = spec.folder(tmp_path) / ".model.killed.tmp"
    half_written.mkdir(parents=True)
    run_probes([spec], root=tmp_path)
    assert not half_written.exists()


def test_a_saved_probe_is_a_stock_model_with_its_logits(tiny_backbone: Path, tmp_path: Path) -> None:
    run = probe(tiny_backbone, tmp_path, items=500, save_model=True)
    model = AutoModelForSequenceClassification.from_pretrained(run.model_dir)
    assert type(model).__name__ == "BertForSequenceClassification"
    assert model.config.num_hidden_layers == run.results["chosen"]["layer"] + 1
    assert [sorted(each) for each in run.results["tried"]] == [["alpha", "layer", "pooling", "validation"]] * 3
    (layers,) = probe_panels(make_cells([run], resamples=10))
    axis = Figure().subplots()
    layers.draw(axis)
    assert axis.get_ylabel() == "accuracy on validation x 100"  # the model's own answers are its only ones on test
    tokenizer = AutoTokenizer.from_pretrained(run.model_dir)
    sequences = load_dataset("hf_bertx/data/dna-splice", "paper")["test"]["sequence"][:]
    with torch.inference_mode():
        logits = model(**tokenizer(sequences, return_tensors="pt", padding=True)).logits.numpy()
    stored = run.predictions("test")
    np.testing.assert_allclose(logits, stored.logits, atol=1e-4)
    records, output = tmp_path / "records.txt", tmp_path / "answers.csv"
    records.write_text("\n".join(sequences))
    assert main(["predict", str(run.folder), str(records), "--output", str(output)]) == 0
    answered = [line.split(",")[1] for line in output.read_text().splitlines()[1:]]
    assert answered == [model.config.id2label[int(i)] for i in logits.argmax(1)]


@pytest.mark.parametrize("fields", [{}, {"window": 25, "overlap": 5}])
def test_a_calibrated_probe_differs_by_its_temperature_alone(
    fields: dict[str, int], tiny_backbone: Path, tmp_path: Path
) -> None:
    plain, made = (
        probe(tiny_backbone, tmp_path, items=500, save_model=True, calibrate=calibrate, **fields)
        for calibrate in (False, True)
    )
    assert made.folder.name == plain.folder.name + "-calibrated"
    found = made.results["calibration"]
    config = json.loads((made.model_dir / "config.json").read_text())
    assert config["calibration_temperature"] == pytest.approx(found["temperature"], abs=1e-6)
    assert found["temperature"] < 0.9  # targets of -1 and 1 leave ridge regression too little sure
    for split in ("validation", "test"):
        raw, scaled = plain.predictions(split), made.predictions(split)
        if not fields:
            np.testing.assert_allclose(raw.logits / found["temperature"], scaled.logits, atol=5e-4)
        for key, each in (("before", raw), ("after", scaled)):
            assert calibration(each.logits, each.labels).error == pytest.approx(found[key][split], abs=1e-6)
        assert found["after"][split] < found["before"][split]
    assert "Calibrated: the head was divided by" in model_card(made.folder)


def test_a_probe_without_a_model_is_not_calibrated(tiny_backbone: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--calibrate has no effect without --save_model"):
        probe(tiny_backbone, tmp_path, calibrate=True)


def test_a_probe_reads_windows_and_weighs_classes(tiny_backbone: Path, tmp_path: Path) -> None:
    fields = {"items": 500, "save_model": True, "window": 25, "overlap": 5, "class_weights": "balanced"}
    run = probe(tiny_backbone, tmp_path, **fields)
    assert run.folder.name == "seed-0-window-25-overlap-5-items=500-model-balanced"
    assert (run.specification["window"], run.specification["overlap"]) == (25, 5)
    assert run.results["split"] == {"train": 500, "validation": 159, "test": 160}  # all have 60 letters
    rows = load_dataset("hf_bertx/data/dna-splice", "paper")["test"]
    stock = pipeline("text-classification", model=str(run.model_dir), device="cpu", top_k=None)
    stored = run.predictions("test")
    for text, logits in zip(rows["sequence"][:5], stored.logits[:5], strict=True):
        windows, _ = Windows(25, 5).cut([text], DNA)
        found = [{entry["label"]: entry["score"] for entry in each} for each in stock(windows)]
        answers = [[scores[name] for name in ("EI", "IE", "N")] for scores in found]
        np.testing.assert_allclose(softmax(logits), np.mean(answers, axis=0), atol=1e-4)
    assert probe(tiny_backbone, tmp_path, items=500).cell != run.cell
    card = model_card(run.folder)
    assert "read in windows of so many, of which two share at least 5: 500 train, 159 validation, 160 test." in card
    assert "The features of an item are the mean of its windows'." in card
    assert "were cut" not in card


def test_bfloat16_tells_the_means_of_a_probe_apart(tiny_backbone: Path) -> None:
    model = BertForDisciplineClassification.from_backbone(str(tiny_backbone), num_labels=3).eval()
    torch.manual_seed(0)
    ids = torch.randint(200, 300, (64, 100))
    head = Head(np.random.default_rng(0).normal(size=(3, 32)), np.zeros(3), 1.0)
    with torch.no_grad():  # what all states share is far larger than what differs
        model.bert.encoder.layer[0].output.LayerNorm.bias.normal_(0, 8)
        grown = set_head(add_pooling_layer(model, 1), head)
        exact, found = (m(input_ids=ids).logits for m in (grown, speed_up_prediction(grown, torch.bfloat16)))
    assert ((found - exact).std(0) < 0.05 * exact.std(0)).all()


def test_a_pooling_layer_reads_the_mean(tiny_backbone: Path) -> None:
    model = BertForDisciplineClassification.from_backbone(str(tiny_backbone), num_labels=3).eval()
    ids = [[101, *range(200, 220 + 7 * n), 102] for n in range(4)]
    for layers in range(3):
        states = extract(model.bert, {"input_ids": ids}, pad_token_id=0)[:, layers]
        head = Head(np.random.default_rng(0).normal(size=(3, 32)), np.array([1.0, 0.0, -1.0]), 1.0)
        grown = set_head(add_pooling_layer(model, layers), head)
        wanted = head(pooled(states[:, 0], states[:, 1], model.config.layer_norm_eps))
        padded = torch.nn.utils.rnn.pad_sequence([torch.tensor(item) for item in ids], batch_first=True)
        with torch.inference_mode():
            logits = grown(input_ids=padded, attention_mask=(padded != 0).long()).logits
        np.testing.assert_allclose(logits, wanted, atol=0.01)


def test_a_backbone_changed_in_place_is_read_anew(tiny_backbone: Path, tmp_path: Path) -> None:
    backbone = Path(shutil.copytree(tiny_backbone, tmp_path / "backbone"))
    spec, weights = RunSpec.of_probe(backbone=str(backbone), items=20), []
    for root in ("first", "second"):
        (folder,) = run_probes([spec], root=tmp_path / root, cache=tmp_path / "features")
        weights.append(Run.open_finished(folder).results["encoder"]["weights"])
        tensors = load_file(backbone / "model.safetensors")
        save_file({n: 2 * t for n, t in tensors.items()}, backbone / "model.safetensors", metadata={"format": "pt"})
    assert weights[0] != weights[1]


@pytest.mark.parametrize("model_type", ["distilbert", "modernbert"])  # without `layer_norm_eps`
def test_other_families_are_probed(model_type: str, tiny_backbone: Path, tmp_path: Path) -> None:
    sizes = {"distilbert": {"dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 2}}.get(
        model_type, {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    )
    tokenizer = AutoTokenizer.from_pretrained(tiny_backbone)
    config = AutoConfig.for_model(model_type, vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, **sizes)
    AutoModel.from_config(config).save_pretrained(tmp_path / "backbone")
    tokenizer.save_pretrained(tmp_path / "backbone")
    with pytest.raises(ValueError, match=f"a pooling layer is added to BERT models; this is {model_type}"):
        probe(tmp_path / "backbone", tmp_path, items=20, save_model=True)
    last = probe(tmp_path / "backbone", tmp_path, items=20).results["tried"][-1]
    assert (last["layer"], last["pooling"]) == (2, "first")


STUDY = """
about: A probe of two sizes.
protocol: probe
plan: {plan}
tasks: [dna-splice]
backbones: [{backbone}]
arms: [bert, rand]
seeds: [0]
items: [50, all]
"""


def test_a_study_of_probes_ends_with_nothing_to_do(
    tiny_backbone: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    study = tmp_path / "mine.yaml"
    study.write_text(STUDY.format(plan="ab" * 32, backbone=tiny_backbone).replace("all", "100"))
    command = ["study", str(study), "--runs", str(tmp_path / "runs")]
    assert main(command) == 0
    assert "best by" not in capsys.readouterr().out
    assert main([*command, "--dry_run"]) == 0
    assert "4 runs, 4 finished, 0 to do" in capsys.readouterr().out
    orders = [json.loads(path.read_text()) for path in (tmp_path / "runs").rglob("run.json")]
    assert {order["plan"] for order in orders} == {"ab" * 32}
    assert sorted(str(order["specification"]["items"]) for order in orders) == ["100", "100", "50", "50"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("items: [1]", "items is 1; allowed: a number from 2 on, or all"),
        ("items: 100", "items is 100; give a list"),
        ("fractions: [0.5]", "protocol probe does not use fractions"),
        ("overrides: {learning_rate: 1.0e-4}", "protocol probe does not use overrides"),
        ("plan: PLAN.md", "plan is 'PLAN.md'; give the sha256"),
        ("arms: [shift_1000]", "shifts the ids of text"),
        ("protocol: recommended", "items belongs to protocol probe"),
    ],
)
def test_a_bad_study_of_probes_is_one_line(
    tiny_backbone: Path, tmp_path: Path, refusal: Any, line: str, message: str
) -> None:
    study = tmp_path / "bad.yaml"
    kept = [each for each in STUDY.splitlines() if not each.startswith(line.partition(":")[0] + ":")]
    study.write_text("\n".join(kept).format(plan="ab" * 32, backbone=tiny_backbone) + f"\n{line}\n")
    assert re.search(message, refusal(main, "study", study, "--runs", tmp_path / "runs", "--dry_run"))
