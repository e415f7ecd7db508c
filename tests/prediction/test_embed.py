"""`bertx embed`: the encoder's hidden states of raw sequences, as plain transformers computes them."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from saved_models import classes, fasta, saved, sequences
from transformers import AutoModel, AutoTokenizer

from hf_bertx.cli import main
from hf_bertx.data.input_records import InputRecord
from hf_bertx.prediction.embedding import embed
from hf_bertx.prediction.inference import SequenceClassifier


def plain(model: Path, rows: list[str], layer: int, pooling: str) -> np.ndarray:
    """One sequence at a time, with transformers alone."""
    encoder, tokenizer = AutoModel.from_pretrained(model).eval(), AutoTokenizer.from_pretrained(model)
    found = []
    for row in rows:
        inputs = tokenizer(row, truncation=True, return_tensors="pt")
        with torch.inference_mode():
            states = encoder(**inputs, output_hidden_states=True).hidden_states[layer][0]
        found.append(states[0] if pooling == "first" else states.mean(dim=0))
    return torch.stack(found).numpy()


@pytest.mark.parametrize(
    ("options", "layer", "pooling"),
    [([], 2, "mean"), (["--pool", "first"], 2, "first"), (["--layer", "1"], 1, "mean"), (["--layer", "0"], 0, "mean")],
)
def test_embeddings_are_those_of_plain_transformers(
    dna_model: Path, tmp_path: Path, options: list[str], layer: int, pooling: str
) -> None:
    rows = [*sequences(20), "A" * 300]
    file, output = fasta(tmp_path / "in.fasta", rows), tmp_path / "out.npy"
    assert main(["embed", str(dna_model), str(file), "--output", str(output), "--precision", "float32", *options]) == 0
    found = np.load(output)
    assert found.dtype == np.float32
    assert np.abs(found - plain(dna_model, rows, layer, pooling)).max() < 1e-4 * np.abs(found).max()


def test_parquet_has_ids_and_the_same_numbers(dna_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    file = fasta(tmp_path / "in.fasta", sequences(5))
    for name in ("out.npy", "out.parquet"):
        assert main(["embed", str(dna_model), str(file), "--output", str(tmp_path / name)]) == 0
    table = pq.read_table(tmp_path / "out.parquet")
    assert table["id"].to_pylist() == [f"item{i}" for i in range(5)]
    assert np.array_equal(np.stack(table["embedding"].to_numpy()), np.load(tmp_path / "out.npy"))
    assert "out.parquet: 5 records, 32 numbers each" in capsys.readouterr().out


def test_windows_are_averaged(tiny_backbone: Path, tmp_path: Path) -> None:
    model = saved(tiny_backbone, tmp_path / "model", "dna", **classes("a", "b"), window_symbols=4)
    file, output = fasta(tmp_path / "in.fasta", ["ACGTTTGA"]), tmp_path / "out.npy"
    assert main(["embed", str(model), str(file), "--output", str(output), "--precision", "float32"]) == 0
    expected = plain(model, ["ACGT", "TTGA"], 2, "mean").mean(axis=0)
    assert np.abs(np.load(output)[0] - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--layer", "3"], "layer is 3; the model has 0 (the embeddings) to 2"),
        (["--layer", "-1"], "layer is -1; the model has 0"),
        (["--output", "vectors.csv"], "ending '.csv'; allowed: .parquet, .npy"),
    ],
)
def test_what_cannot_be_embedded(
    dna_model: Path, tmp_path: Path, options: list[str], message: str, refusal: Any
) -> None:
    file, output = fasta(tmp_path / "in.fasta", ["ACGT"]), tmp_path / "out.npy"
    assert message in refusal(main, "embed", dna_model, file, "--output", output, *options)
    assert not output.exists()


def test_embedding_leaves_the_classifier_as_it_is(dna_model: Path) -> None:
    classifier = SequenceClassifier.from_pretrained(dna_model, precision="float32")
    records = [InputRecord(str(i), row, "") for i, row in enumerate(sequences(5))]
    layers = [type(layer) for layer in classifier.model.bert.encoder.layer]
    before = next(classifier.predict(records)).logits
    next(embed(classifier, records))
    assert [type(layer) for layer in classifier.model.bert.encoder.layer] == layers
    assert np.array_equal(next(classifier.predict(records)).logits, before)
