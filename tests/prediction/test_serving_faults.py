"""What a model in use refuses, warns of and never does: damaged models, foreign input, kills, answers of a Hub."""

import csv
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from datasets import Dataset
from file_damage import damage
from hub_server import File, HubServer, Repository
from huggingface_hub import constants
from own_files import dna_table, train_own
from safetensors.torch import load_file, save_file
from saved_models import classes, fasta, predict, saved, sequences, stop_after_a_chunk
from transformers import pipeline
from transformers.pipelines.pt_utils import KeyDataset
from transformers.utils import logging

from hf_bertx import metrics, run_files
from hf_bertx.cli import main
from hf_bertx.data.input_records import Columns, InputRecord
from hf_bertx.data.text_files import spreadsheet_safe
from hf_bertx.pipeline_discipline import TASK
from hf_bertx.prediction.attribution import attribute
from hf_bertx.prediction.inference import SequenceClassifier
from hf_bertx.prediction.input_checks import unlikely
from hf_bertx.prediction.prediction_files import predict_file
from hf_bertx.prediction.prediction_rows import write_rows
from hf_bertx.runs.writer import RunWriter
from hf_bertx.tasks import TASKS

# ---- the output ----


@pytest.mark.parametrize("how", ["no order", "order of another", "damaged part", "last part alone"])
def test_parts_of_another_prediction_are_never_taken(dna_model: Path, tmp_path: Path, how: str) -> None:
    classifier = SequenceClassifier.from_pretrained(dna_model, precision="float32")
    output, stage = tmp_path / "out.csv", tmp_path / ".out.csv.part"
    whole = predict_file(classifier, fasta(tmp_path / "b.fasta", sequences(9, seed=1)), tmp_path / "whole.csv")

    def begin(name: str, seed: int) -> None:
        path = fasta(tmp_path / name, sequences(9, seed=seed))
        with pytest.raises(KeyboardInterrupt):
            predict_file(classifier, path, output, overwrite=True, progress=stop_after_a_chunk)

    begin("a.fasta", 2)
    foreign = (stage / "00000000.parquet").read_bytes()
    begin("b.fasta", 1)
    if how == "no order":
        (stage / "order.json").unlink()
    if how in ("no order", "order of another"):
        (stage / "00000000.parquet").write_bytes(foreign)
    elif how == "damaged part":
        os.truncate(stage / "00000000.parquet", 40)
    else:
        (stage / "00000000.parquet").rename(stage / "00000001.parquet")
    (tmp_path / ".out.csv.abc.tmp").write_text("of a call that was killed")
    assert predict_file(classifier, tmp_path / "b.fasta", output).records == whole.records == 9
    assert output.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"a.fasta", "b.fasta", "out.csv", "whole.csv"}


def test_a_call_killed_as_it_cleaned_up_is_repeated(dna_model: Path, tmp_path: Path) -> None:
    path, output = fasta(tmp_path / "in.fasta", sequences(5)), tmp_path / "out.csv"
    classifier = SequenceClassifier.from_pretrained(dna_model)
    kept: dict[str, bytes] = {}

    def keep(done: int, total: int | None) -> None:
        kept.update({part.name: part.read_bytes() for part in (tmp_path / ".out.csv.part").glob("*.json")})

    predict_file(classifier, path, output, progress=keep)
    before = output.read_bytes()
    (tmp_path / ".out.csv.part").mkdir()
    (tmp_path / ".out.csv.part" / "order.json").write_bytes(kept["order.json"])  # its parts are gone already
    predict_file(classifier, path, output)
    assert output.read_bytes() == before
    assert not (tmp_path / ".out.csv.part").exists()


def test_predictions_never_replace_their_input(
    dna_model: Path, run_folder: Path, tmp_path: Path, refusal: Any
) -> None:
    file = tmp_path / "x.csv"
    file.write_text("id,sequence\na,ACGT\n")
    (tmp_path / "link.csv").symlink_to("x.csv")
    os.link(file, tmp_path / "hard.csv")
    for output in ("x.csv", "link.csv", "hard.csv", "../" + tmp_path.name + "/x.csv"):
        error = refusal(main, "predict", dna_model, file, "--output", tmp_path / output, "--overwrite")
        assert "is the input, which predictions would replace" in error
    assert file.read_text() == "id,sequence\na,ACGT\n"
    own = run_folder / run_files.TEST_PREDICTIONS
    assert "is the run's own file" in refusal(main, "predict", dna_model, file, "--output", own, "--overwrite")


def test_a_formula_gets_an_apostrophe_in_a_csv() -> None:
    for text in ("=1+1", "@SUM(A1)", "-cmd|' /C calc'!A0", "+x", "-", "\tx", "-5 a", "--5"):
        assert spreadsheet_safe(text) == f"'{text}"
    for value in ("-5", "-5 -0.25e-3", "+0.25", "a=b", "", -0.5, None):
        assert spreadsheet_safe(value) == value


def test_a_carriage_return_stays_in_its_row(tmp_path: Path) -> None:
    rows = [{"id": "a\rb", "label": "=x"}, {"id": 'c"d\n', "label": "y"}]
    write_rows(tmp_path / "o.csv", ".csv", iter(rows))
    with (tmp_path / "o.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert read == [{"id": "a\rb", "label": "'=x"}, {"id": 'c"d\n', "label": "y"}]


def test_what_was_read_and_written_is_said_once(dna_model: Path, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "in.csv").write_text(f"id,sequence\na,ACGT\nb,{'A' * 130}\n,{'C' * 130}\n")
    assert predict(dna_model, tmp_path / "in.csv", "--output", tmp_path / "o.csv") == 0
    labels = [row["label"] for row in csv.DictReader((tmp_path / "o.csv").open())]
    out, err = capsys.readouterr()
    line = next(line for line in out.splitlines() if line.startswith(str(tmp_path / "o.csv")))
    assert ": 3 records: " in line
    assert "; 2 cut; float32, " in line
    assert all(f"{label} ({labels.count(label)})" in line for label in labels)
    assert f"{tmp_path / 'in.csv'}: records without 'id', which are numbered: 1\n" in out
    assert "numbered" not in err


# ---- pieces ----


def test_rows_without_a_piece_vote_alone(dna_model: Path, tmp_path: Path) -> None:
    pieces, rows = ["x", "", "y", "x", "", "y"], sequences(6)
    lines = [f"r{i},{row},{piece}" for i, (row, piece) in enumerate(zip(rows, pieces, strict=True))]
    (tmp_path / "in.csv").write_text("\n".join(["id,sequence,gene", *lines]) + "\n")
    columns = Columns(piece="gene")
    classifier = SequenceClassifier.from_pretrained(dna_model, precision="float32")
    predict_file(classifier, tmp_path / "in.csv", tmp_path / "o.csv", columns)
    written = list(csv.DictReader((tmp_path / "o.csv").open()))
    assert [row["segments"] for row in written] == ["2", "1", "2", "2", "1", "2"]
    assert all(row["piece_label"] == row["label"] for row in written if not row["piece"])
    classify = pipeline(TASK, model=str(dna_model), device="cpu")
    answers = list(classify.read(tmp_path / "in.csv", columns))
    assert [answer["piece"] for answer in answers] == ["x", None, "y", None]
    assert [[part["id"] for part in a["segments"]] for a in answers] == [["r0", "r3"], ["r1"], ["r2", "r5"], ["r4"]]
    by_piece = {row["piece"]: row["piece_label"] for row in written if row["piece"]}
    assert {a["piece"]: a["label"] for a in answers if a["piece"]} == by_piece


# ---- pairs, lengths, other disciplines ----


def test_pairs_and_single_sequences_are_not_mixed_up(tiny_backbone: Path, tmp_path: Path, refusal: Any) -> None:
    pair_model, single_model = (
        saved(tiny_backbone, tmp_path / name, "protein", reads_pairs=name == "pairs", **classes("no", "yes"))
        for name in ("pairs", "single")
    )
    (tmp_path / "in.csv").write_text("id,sequence,b\na,MKV,LAG\n")
    argv = [tmp_path / "in.csv", "--output", tmp_path / "o.csv"]
    error = refusal(main, "predict", pair_model, *argv)
    assert "in.csv, line 2: a single sequence, and the model reads pairs" in error
    argv += ["--second_sequence_column", "b"]
    assert "a pair, and the model reads single sequences" in refusal(main, "predict", single_model, *argv)
    assert predict(pair_model, *argv) == 0
    pairs, single = (pipeline(TASK, model=str(model), device="cpu") for model in (pair_model, single_model))
    both = {"text": "MKV", "text_pair": "LAG"}
    (expected,) = csv.DictReader((tmp_path / "o.csv").open())
    for item in (both, [both], [("MKV", "LAG")]):
        (answer,) = pairs(item)
        assert answer["label"] == expected["label"]
        assert answer["score"] == pytest.approx(float(expected["score"]), abs=2e-6)
    assert np.isfinite(pairs._forward(pairs.preprocess(both))["logits"].detach().numpy()).all()
    for classify, item in ((pairs, "MKV"), (single, both), (pairs, [both, "MKV"]), (single, ["MKV", both])):
        with pytest.raises(ValueError, match=r"sequence \d: a (pair|single sequence), and the model reads"):
            classify(item)
    with pytest.raises(ValueError, match="the model reads pairs"):
        attribute(pairs.classifier, "MKV")
    for item, message in (({"txt": "A"}, "has txt; allowed: text"), ({"text": "A", "text_pair": " "}, "is empty"),
                          ([("A", "C", "D")], "tuple; allowed: a string, a pair")):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            pairs(item)


def test_the_pipeline_says_what_it_did_not_read(dna_model: Path) -> None:
    classify = pipeline(TASK, model=str(dna_model), device="cpu")
    assert [answer.get("cut") for answer in classify(["A" * 200, "A" * 126])] == [74, None]
    assert [answer["cut"] for answer in classify("A" * 127, top_k=None)[0]] == [1, 1, 1]


def test_a_column_gets_a_list_and_a_stream_a_stream(dna_model: Path) -> None:
    classify = pipeline(TASK, model=str(dna_model), device="cpu")
    rows = Dataset.from_dict({"sequence": ["ACGT", "AAAA"]})
    expected = classify(["ACGT", "AAAA"])
    for column in (rows["sequence"], np.array(["ACGT", "AAAA"]), pd.Series(["ACGT", "AAAA"])):
        assert classify(column) == expected
    for stream in (iter(["ACGT", "AAAA"]), KeyDataset(rows, "sequence")):
        assert next(classify(stream)) == expected[0]
    for nothing in (None, 5):
        with pytest.raises(TypeError, match="not iterable"):
            classify(nothing)
    with pytest.raises(ValueError, match="DataFrame has columns; allowed: one of them"):
        classify(pd.DataFrame({"ACGT": ["AAAA"]}))
    for top_k in (0, -1, 2.0, "all"):
        with pytest.raises(ValueError, match="allowed: at least 1, and None for all"):
            classify("ACGT", top_k=top_k)


def test_a_saved_pipeline_is_a_stock_one_without_code(dna_model: Path, tmp_path: Path) -> None:
    classify = pipeline(TASK, model=str(dna_model), device="cpu")
    classify.save_pretrained(tmp_path)
    assert not list(tmp_path.glob("*.py"))
    assert "custom_pipelines" not in json.loads((tmp_path / "config.json").read_text())
    plain = pipeline("text-classification", model=str(tmp_path), device="cpu")
    assert plain("ACGT")[0]["score"] == pytest.approx(classify("ACGT")[0]["score"], abs=1e-6)


def test_text_that_ends_like_a_file_is_text(tiny_backbone: Path, tmp_path: Path) -> None:
    model = saved(tiny_backbone, tmp_path, "text", **classes("no", "yes"))
    classify = pipeline(TASK, model=str(model), device="cpu")
    assert classify("I sent you report.txt")[0]["label"] in ("no", "yes")
    assert len(classify(["a.csv", "x.fasta"])) == 2
    with pytest.raises(FileNotFoundError):
        classify(tmp_path / "report.txt")


@pytest.mark.parametrize(
    ("discipline", "doubtful", "usual"),
    [
        ("protein", ["ACGTACGTNNACGT", "acgtacgtacgt", "AUGGCUAACUGA", "*", "***"], ["MKVLAG*", "GGGGGSGGGGGS"]),
        ("dna", ["MKVHSRDWKYMHSVR"], ["ACGTNNNNNNNNN", "RYACGTACGT"]),
        ("text", ["ACGT" * 10], ["A man is playing a guitar."]),
        ("music", [], ["60 64 67"]),
    ],
)
def test_sequences_of_another_discipline_are_doubted(discipline: str, doubtful: list[str], usual: list[str]) -> None:
    assert [sequence for sequence in [*doubtful, *usual] if unlikely(discipline, sequence)] == doubtful


def test_a_protein_model_warns_of_dna(tiny_backbone: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    logging.enable_propagation()
    model = saved(tiny_backbone, tmp_path / "m", "protein", **classes("no", "yes"))
    classifier = SequenceClassifier.from_pretrained(model)
    cases = [
        (["MKV", "ACGTACGTACGT"], "1 of 2"),
        (["ACG", "GAT"], "2 of 2"),
        (["ACG", "MKV"], None),
        (["MKV", "*"], "1 of 2"),
    ]
    for rows, message in cases:
        caplog.clear()
        list(classifier.predict([InputRecord(str(i), row, f"row {i}") for i, row in enumerate(rows)]))
        assert [f"{message} records are unlikely protein" in text for text in caplog.messages] == [True] * bool(
            message
        )


# ---- the model ----


def test_a_model_that_answers_nan_is_an_error(dna_model: Path, tmp_path: Path, refusal: Any) -> None:
    shutil.copytree(dna_model, tmp_path / "m")
    weights = load_file(tmp_path / "m" / "model.safetensors")
    weights["classifier.weight"][0, 0] = float("nan")
    save_file(weights, tmp_path / "m" / "model.safetensors", metadata={"format": "pt"})
    path = fasta(tmp_path / "in.fasta", ["ACGT"])
    for ending in ("csv", "jsonl", "parquet"):
        error = refusal(main, "predict", tmp_path / "m", path, "--output", tmp_path / f"o.{ending}")
        assert "in.fasta, line 1: the model answers nan" in error
        assert not (tmp_path / f"o.{ending}").exists()
    classify = pipeline(TASK, model=str(tmp_path / "m"), device="cpu")
    with pytest.raises(ValueError, match="sequence 0: the model answers nan"):
        classify("ACGT")
    with pytest.raises(ValueError, match="answers nan"):
        attribute(classify.classifier, "ACGT")


def test_scores_of_nan_and_missing_predictions_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="item 1: the model answers with what is not a number"):
        metrics.score(TASKS["dna-h3"], np.array([[0.0, 1.0], [np.nan, 1.0]]), [0, 1], None)
    rows = Dataset.from_dict({"id": list("abcd"), "label": [0, 1, 0, 1]})
    with pytest.raises(ValueError, match="2 predictions of 4 rows"):
        RunWriter(tmp_path).predictions(True, rows, np.zeros((2, 2)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("how", ["empty", "half", "missing", "braces", "zeros"])
@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer_config.json", "tokenizer.json"])
def test_a_damaged_model_is_one_line(
    dna_model: Path, run_folder: Path, tmp_path: Path, capsys: Any, name: str, how: str
) -> None:
    path = fasta(tmp_path / "in.fasta", ["ACGT"])
    run = Path(shutil.copytree(run_folder, tmp_path / "run"))
    damage(run / "model" / name, how)
    models = [run, run / "model"]  # a run's folder knows the digests
    if name != "tokenizer.json" and (name, how) not in (("model.safetensors", "zeros"), ("config.json", "zeros")):
        # in other cases the class does not read the file, or nobody can tell without the digests
        models.append(Path(shutil.copytree(dna_model, tmp_path / "bare")))
        damage(models[-1] / name, how)
    capsys.readouterr()
    for model in models:
        assert predict(model, path, "--output", tmp_path / "o.csv") == 2
        error = capsys.readouterr().err
        assert re.fullmatch(r"bertx: error: [^\n]+\n", error), error


def test_pickled_weights_are_not_read(dna_model: Path, tmp_path: Path, refusal: Any) -> None:
    shutil.copytree(dna_model, tmp_path / "m")
    torch.save(load_file(tmp_path / "m" / "model.safetensors"), tmp_path / "m" / "pytorch_model.bin")
    (tmp_path / "m" / "model.safetensors").unlink()
    path = fasta(tmp_path / "in.fasta", ["ACGT"])
    error = refusal(main, "predict", tmp_path / "m", path, "--output", tmp_path / "o.csv")
    assert "model.safetensors" in error


def test_an_adapter_gives_what_its_run_gives(tiny_backbone: Path, tmp_path: Path, refusal: Any) -> None:
    argv = "--arm lora --max_steps 8 --learning_rate 1e-2".split()
    run = train_own(tiny_backbone, tmp_path / "runs", dna_table(tmp_path / "own.csv", "a b"), *argv).folder
    path = fasta(tmp_path / "in.fasta", sequences(6))
    for model, output in ((run, "whole.csv"), (run / "adapter", "adapter.csv")):
        assert predict(model, path, "--output", tmp_path / output, "--precision", "float32") == 0
    whole, adapter = (list(csv.DictReader((tmp_path / name).open())) for name in ("whole.csv", "adapter.csv"))
    for one, other in zip(whole, adapter, strict=True):
        assert one["label"] == other["label"]
        assert float(one["score"]) == pytest.approx(float(other["score"]), abs=1e-5)
    shutil.copytree(run / "adapter", tmp_path / "alone")
    for message in ("an adapter needs the run.json of its run", "alone/run.json: damaged, its task"):
        assert message in refusal(main, "predict", tmp_path / "alone", path, "--output", tmp_path / "o.csv")
        (tmp_path / "alone" / "run.json").write_text("{}")


# ---- the Hub ----


@pytest.fixture
def hosted(hub: HubServer, dna_model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> HubServer:
    places = {"ENDPOINT": hub.url, "HUGGINGFACE_CO_URL_TEMPLATE": hub.url + "/{repo_id}/resolve/{revision}/{filename}"}
    for name, value in {**places, "HF_HUB_OFFLINE": False, "HF_HUB_CACHE": str(tmp_path / "cache")}.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setattr(transformers.utils.hub, "_hf_api", None)  # the one of other tests waits at another address
    monkeypatch.setenv("HF_TOKEN", "hf_owner")
    repository = hub.repositories["model", "owner/tiny"] = Repository("model", "owner/tiny")
    repository.add("main", "model", {path.name: File(path.read_bytes(), False) for path in dna_model.iterdir()})
    return hub


@pytest.mark.parametrize(
    ("refused", "message"),
    [
        ((403, "GatedRepo", None), "the repository is gated: ask for access on its page of the Hub"),
        ((401, None, None), "does not take the token; log in with `hf auth login`"),
        ((404, "RepoNotFound", None), "the Hub has no such repository, or it is private"),
        ((404, "RevisionNotFound", None), "the repository has no such revision"),
        ((503, None, 1), None),  # once
    ],
)
def test_answers_of_the_hub(
    hosted: HubServer, tmp_path: Path, refused: tuple[Any, ...], message: str | None, refusal: Any
) -> None:
    hosted.refusals.append(["/resolve/", *refused])
    argv = ["predict", "owner/tiny", str(fasta(tmp_path / "in.fasta", ["ACGT"])), "--output", str(tmp_path / "o.csv")]
    if message is None:
        assert main(argv) == 0
    else:
        assert message in refusal(main, *argv)
