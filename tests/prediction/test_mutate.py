"""`bertx mutate`: every single substitution and deletion, each as `bertx predict` scores it."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread
from saved_models import classes, fasta, predict, saved

from hf_bertx.cli import main
from hf_bertx.data.input_records import InputRecord
from hf_bertx.prediction.mutations import TABLE, Mutations, write_mutations


def mutate(model: Path, folder: Path, rows: list[str], *options: str) -> list[dict[str, str]]:
    argv = ["mutate", str(model), str(fasta(folder / "in.fasta", rows)), "--output", str(folder / "out")]
    assert main([*argv, "--precision", "float32", *options]) == 0
    return list(csv.DictReader((folder / "out" / TABLE).open()))


def test_each_mutant_has_the_score_of_a_prediction(dna_model: Path, tmp_path: Path) -> None:
    rows = mutate(dna_model, tmp_path, ["acgtn", "G"], "--target", "IE")
    assert len(rows) == 4 * 4 + 5 + 3  # N has four substitutions; the only letter of a sequence is not left out
    assert [row["from"] + row["position"] + row["to"] for row in rows[:5]] == ["A1C", "A1G", "A1T", "A1-", "C2A"]
    mutants = []
    for row in rows[:-3]:
        place = int(row["position"]) - 1
        mutants.append("ACGTN"[:place] + row["to"].replace("-", "") + "ACGTN"[place + 1 :])
    file = fasta(tmp_path / "mutants.fasta", [*mutants, "ACGTN"])
    assert predict(dna_model, file, "--output", tmp_path / "out.csv", "--precision", "float32") == 0
    *each, own = (float(row["score_IE"]) for row in csv.DictReader((tmp_path / "out.csv").open()))
    for row, score in zip(rows, each, strict=False):
        assert abs(float(row["score"]) - score) < 1e-5
        assert abs(float(row["change"]) - (score - own)) < 1e-5


def test_a_heat_map_is_drawn_of_each_sequence(dna_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    mutate(dna_model, tmp_path, ["ACGTTG" * 20, "AC"])
    for name in ("heat-map-1-item0.png", "heat-map-2-item1.png"):
        assert imread(tmp_path / "out" / name).std() > 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("item0: ")
    assert said[-1].endswith("out: 488 mutants of 2 sequences; float32")


def test_values_of_a_regression_are_scores(tiny_backbone: Path, tmp_path: Path) -> None:
    fields = {"num_labels": 1, "problem_type": "regression"}
    model = saved(tiny_backbone, tmp_path / "model", "protein", **fields)
    rows = mutate(model, tmp_path, ["MK"], "--letters", "AG", "--no_deletions")
    assert [(row["from"], row["to"], row["target"]) for row in rows] == [
        ("M", "A", "value"), ("M", "G", "value"), ("K", "A", "value"), ("K", "G", "value")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("row", "options", "message"),
    [
        ("ACGT", ["--letters", ""], "--letters is empty; allowed: letters, as ACGT"),
        ("ACGT", ["--letters", "ACGZ"], "letter 'Z' is not in the dna alphabet: A C G T N"),
        ("ACGT", ["--target", "exon"], "unknown class 'exon'; the model has EI, IE, N"),
        ("AC!T", [], "symbol '!' at position 3 is not in the dna alphabet"),
        ("A" * 127, [], "127 symbols, and the model reads 126; a mutation of what comes after changes nothing"),
    ],
)
def test_what_cannot_be_mutated(
    dna_model: Path, tmp_path: Path, row: str, options: list[str], message: str, refusal: Any
) -> None:
    file, output = fasta(tmp_path / "in.fasta", [row]), tmp_path / "out"
    assert message in refusal(main, "mutate", dna_model, file, "--output", output, *options)
    assert not output.exists()


def test_a_model_of_music_has_no_letters(tiny_backbone: Path, tmp_path: Path, refusal: Any) -> None:
    model = saved(tiny_backbone, tmp_path / "model", "music", **classes("Bach", "Chopin"))
    (tmp_path / "in.txt").write_text("60 64\n")
    error = refusal(main, "mutate", model, tmp_path / "in.txt", "--output", tmp_path / "out")
    assert "a model of music reads no letters" in error


def test_only_an_earlier_result_is_replaced(dna_model: Path, tmp_path: Path, refusal: Any) -> None:
    file, output = fasta(tmp_path / "in.fasta", ["AC"]), tmp_path / "out"
    argv = ["mutate", str(dna_model), str(file), "--output", str(output), "--overwrite"]
    output.mkdir()
    assert "out: is there already; allowed: a new folder" in refusal(main, *argv)
    output.rmdir()
    assert main(argv) == 0
    assert "out: is there already; --overwrite replaces it" in refusal(main, *argv[:-1])
    (output / "notes.txt").write_text("mine")
    assert "notes.txt: is no result of `bertx mutate`, and would be lost" in refusal(main, *argv)
    (output / "notes.txt").unlink()
    assert main(argv) == 0


def test_a_table_has_its_header_without_a_first_mutant(tmp_path: Path) -> None:
    scores = np.full((1, 1), 0.5)
    made = [Mutations(InputRecord(letter, letter, "x"), letter, ("A",), scores, 0.4, "EI") for letter in "AC"]
    assert write_mutations(made, tmp_path / "out") == (2, 1)
    lines = (tmp_path / "out" / "mutations.csv").read_text().splitlines()
    assert lines == ["id,position,from,to,target,score,change", "C,1,C,A,EI,0.5,0.1"]


def test_a_long_sequence_has_a_heat_map_for_2000_letters(tmp_path: Path) -> None:
    letters = "ACGT" * 510
    record = InputRecord(r"sp|P1|$\frac{$", letters, "x")  # no formula
    write_mutations([Mutations(record, letters, ("A", "C"), np.full((2, 2040), 0.5), 0.4, "EI")], tmp_path / "out")
    heights = {path.name: imread(path).shape[0] for path in (tmp_path / "out").glob("*.png")}
    assert heights == {"heat-map-1-sp_P1_frac_-1-2000.png": 3096, "heat-map-1-sp_P1_frac_-2001-2040.png": 216}
