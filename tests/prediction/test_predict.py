"""`bertx predict`, the pipeline, and the classifier below both.

Scores are compared with those of transformers' own `pipeline("text-classification")`.
"""

import copy
import csv
import itertools
import json
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from python_processes import PythonProcess
from saved_models import classes, fasta, midi, predict, saved, sequences, stop_after_a_chunk
from transformers import PreTrainedTokenizerFast, T5Config, T5ForSequenceClassification, pipeline
from transformers.tokenization_utils_base import VERY_LARGE_INTEGER

from hf_bertx.cli import main
from hf_bertx.data.input_records import Columns, InputRecord, read_input
from hf_bertx.pipeline_discipline import DisciplineClassificationPipeline
from hf_bertx.prediction import prediction_rows
from hf_bertx.prediction.batches import CHUNK_RECORDS, in_chunks, length_batches
from hf_bertx.prediction.inference import SequenceClassifier
from hf_bertx.prediction.prediction_files import predict_file


@pytest.fixture(scope="module")
def music_model(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tiny_backbone, tmp_path_factory.mktemp("music"), "music", **classes("Bach", "Chopin"))


def stock(model: Path, rows: list[str]) -> list[dict[str, float]]:
    """The scores of transformers' own pipeline, one item at a time."""
    classify = pipeline("text-classification", model=str(model), device="cpu")
    answers = classify(rows, top_k=None, truncation=True)
    return [{score["label"]: score["score"] for score in answer} for answer in answers]


# ---- the classifier ----


def test_batches_hold_every_item_once_and_waste_little() -> None:
    lengths = np.array([random.Random(i).randint(3, 128) for i in range(500)])
    batches = length_batches(lengths, 512)
    assert sorted(np.concatenate(batches).tolist()) == list(range(500))
    padded = [int(lengths[batch].max()) * len(batch) for batch in batches]
    assert max(padded) <= 512
    assert sum(padded) < 1.06 * lengths.sum()
    assert max(map(len, length_batches(lengths, 10**6, batch_size=7))) == 7
    assert [len(batch) for batch in length_batches(np.array([90, 80]), 10)] == [1, 1]  # never none
    assert length_batches(np.array([], dtype=np.int64), 10) == []


def test_batches_are_about_equally_large() -> None:
    # 33 sequences of 62 tokens would fit; the last batch would have one
    assert [len(batch) for batch in length_batches(np.full(1024, 62), 2048)] == [32] * 32
    mixed = np.array([500] * 9 + [62] * 67)
    assert [len(batch) for batch in length_batches(mixed, 2048)] == [4, 4, 4, 32, 32]


def test_chunks_are_bounded_by_records_and_by_symbols() -> None:
    short = (InputRecord(str(i), "ACGT", "x") for i in range(2 * CHUNK_RECORDS + 5))
    assert [len(chunk) for chunk in in_chunks(short)] == [CHUNK_RECORDS, CHUNK_RECORDS, 5]
    long = (InputRecord(str(i), "A" * 1_500_000, "x") for i in range(5))
    assert [len(chunk) for chunk in in_chunks(long)] == [2, 2, 1]


def test_logits_are_those_of_plain_transformers_in_any_batch(dna_model: Path) -> None:
    rows = [*sequences(60), "acgtn", "A" * 300]
    records = [InputRecord(str(i), row, f"row {i}") for i, row in enumerate(rows)]
    made = {}
    for options in ({}, {"batch_size": 1}, {"tokens_a_batch": 64}, {"threads": 3, "tokens_a_batch": 300}):
        classifier = SequenceClassifier.from_pretrained(dna_model, precision="float32", **options)
        (chunk,) = classifier.predict(records)
        made[str(options)] = chunk.logits
        assert chunk.cut.tolist() == [0] * 61 + [300 - 126]
    first = made["{}"]
    for logits in made.values():
        np.testing.assert_allclose(logits, first, atol=2e-6)
    scores = np.exp(first) / np.exp(first).sum(axis=1, keepdims=True)
    plain = [[row[name] for name in ("EI", "IE", "N")] for row in stock(dna_model, rows)]
    np.testing.assert_allclose(scores, plain, atol=1e-6)
    assert np.ptp(scores, axis=0).min() > 0.01  # a model that says the same of everything would prove nothing


def test_the_tokens_cut_from_a_pair_of_texts_are_counted(tiny_backbone: Path, tmp_path: Path) -> None:
    model = saved(tiny_backbone, tmp_path, "text", **classes("no", "yes"))
    pairs = [("word1 word2", "word3"), ("word8 " * 200, "word9")]
    records = [InputRecord(str(i), first, "x", second) for i, (first, second) in enumerate(pairs)]
    (chunk,) = SequenceClassifier.from_pretrained(model).predict(records)
    assert chunk.cut.tolist() == [0, 201 + 3 - 128]


def test_a_model_without_a_longest_input_reads_it_all(roberta_tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer = copy.deepcopy(roberta_tokenizer)
    tokenizer.model_max_length = VERY_LARGE_INTEGER
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2, "eos_token_id": 2}
    sizes |= {"pad_token_id": 1, "decoder_start_token_id": 1}
    model = T5ForSequenceClassification(T5Config(vocab_size=len(tokenizer), **sizes))
    (chunk,) = SequenceClassifier(model, tokenizer).predict([InputRecord("a", "word1 " * 600, "x")])
    assert chunk.cut.tolist() == [0]


# ---- bertx predict ----


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".jsonl"])
def test_every_output_holds_labels_and_scores(dna_model: Path, tmp_path: Path, ending: str) -> None:
    rows = sequences(20)
    output = tmp_path / f"out{ending}"
    assert predict(dna_model, fasta(tmp_path / "in.fasta", rows), "--output", output, "--precision", "float32") == 0
    read: list[dict[str, Any]] = {
        ".parquet": lambda: pq.read_table(output).to_pylist(),
        ".csv": lambda: list(csv.DictReader(output.open())),
        ".jsonl": lambda: [json.loads(line) for line in output.read_text().splitlines()],
    }[ending]()
    assert list(read[0]) == ["id", "label", "score", "score_EI", "score_IE", "score_N", "cut"]
    assert [row["id"] for row in read] == [f"item{i}" for i in range(20)]
    for row, plain in zip(read, stock(dna_model, rows), strict=True):
        assert row["label"] == max(plain, key=plain.__getitem__)
        assert float(row["score"]) == pytest.approx(max(plain.values()), abs=2e-6)
        assert float(row["score_IE"]) == pytest.approx(plain["IE"], abs=2e-6)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.fasta", f"out{ending}"]  # nothing is left over


def test_segments_of_a_midi_folder_vote(music_model: Path, tmp_path: Path, capsys: Any) -> None:
    midi(tmp_path / "midi" / "a" / "one.mid", 300, seed=1)
    midi(tmp_path / "midi" / "two.midi", 100, seed=2)
    output = tmp_path / "out.jsonl"
    assert predict(music_model, tmp_path / "midi", "--output", output) == 0
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["id"] for row in rows] == ["a/one.mid#000", "a/one.mid#001", "a/one.mid#002", "two.midi#000"]
    assert [row["segments"] for row in rows] == [3, 3, 3, 1]
    labels = [row["label"] for row in rows[:3]]
    winner = max(sorted(set(labels)), key=labels.count)
    assert all(row["piece_label"] == winner and row["votes"] == labels.count(winner) for row in rows[:3])
    assert f"a/one.mid: {winner} ({labels.count(winner)} of 3 segments)" in capsys.readouterr().out
    # segments are those that the training data is made of, so that a string of their pitches scores the same
    strings = [record.sequence for record in read_input(tmp_path / "midi")]
    assert [len(text.split()) for text in strings] == [128, 128, 44, 100]
    for row, plain in zip(rows, stock(music_model, strings), strict=True):
        assert row["score_Bach"] == pytest.approx(plain["Bach"], abs=2e-6)


def test_an_output_beside_its_midi_files_can_go_on(music_model: Path, tmp_path: Path) -> None:
    midi(tmp_path / "one.mid", 300, seed=1)
    classifier, output = SequenceClassifier.from_pretrained(music_model), tmp_path / "out.csv"
    with pytest.raises(KeyboardInterrupt):
        predict_file(classifier, tmp_path, output, progress=stop_after_a_chunk)
    (tmp_path / "notes.txt").write_text("not a MIDI file")
    assert predict_file(classifier, tmp_path, output).resumed_at == 3


def test_pieces_of_a_regression_take_the_mean(tiny_backbone: Path, tmp_path: Path) -> None:
    model = saved(tiny_backbone, tmp_path / "model", "protein", num_labels=1, problem_type="regression")
    rows = [f"{row},{'xy'[i % 2]}\n" for i, row in enumerate(sequences(4, "LAGV"))]
    (tmp_path / "in.csv").write_text("sequence,family\n" + "".join(rows))
    assert predict(model, tmp_path / "in.csv", "--output", tmp_path / "o.csv", "--piece_column", "family") == 0
    read = list(csv.DictReader((tmp_path / "o.csv").open()))
    assert list(read[0]) == ["id", "value", "cut", "piece", "piece_value", "segments"]
    assert [row["piece"] for row in read] == ["x", "y", "x", "y"]
    mean = np.mean([float(row["value"]) for row in read[::2]])
    assert float(read[2]["piece_value"]) == pytest.approx(mean, abs=1e-6)
    classify = pipeline("discipline-classification", model=str(model), device="cpu")
    first, _ = classify.read(tmp_path / "in.csv", Columns(piece="family"))
    assert (first["piece"], first["value"]) == ("x", pytest.approx(mean, abs=1e-6))


def test_killed_and_started_again_it_ends_with_the_same_file(dna_model: Path, tmp_path: Path) -> None:
    path = fasta(tmp_path / "in.fasta", sequences(6 * CHUNK_RECORDS + 7, longest=15))
    whole, killed = tmp_path / "whole.csv", tmp_path / "killed.csv"
    command = ["predict", dna_model, path, "--threads", 1, "--precision", "float32", "--output"]
    assert predict(*command[1:], whole) == 0
    process = PythonProcess("-m", "hf_bertx.cli", *command, killed)
    stage = tmp_path / ".killed.csv.part"
    deadline = time.monotonic() + 200
    while len(list(stage.glob("0*.parquet"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    assert process.wait().returncode == -signal.SIGKILL
    assert not killed.exists()  # whole or not at all
    done = {part.name: part.stat().st_mtime_ns for part in stage.glob("0*.parquet")}
    assert 2 <= len(done) < 7
    classifier = SequenceClassifier.from_pretrained(dna_model, precision="float32", threads=2)
    seen: list[tuple[int, int | None]] = []
    made = predict_file(classifier, path, killed, progress=lambda at, total: seen.append((at, total)))
    assert made.resumed_at == len(done) * CHUNK_RECORDS == seen[0][0]
    assert seen[-1] == (6 * CHUNK_RECORDS + 7, 6 * CHUNK_RECORDS + 7)
    assert killed.read_bytes() == whole.read_bytes()
    assert not stage.exists()


def test_a_prediction_of_another_input_or_model_does_not_go_on(dna_model: Path, tmp_path: Path, refusal: Any) -> None:
    path, output = fasta(tmp_path / "in.fasta", sequences(2 * CHUNK_RECORDS, longest=5)), tmp_path / "out.csv"
    classifier = SequenceClassifier.from_pretrained(dna_model)
    with pytest.raises(KeyboardInterrupt):
        predict_file(classifier, path, output, progress=stop_after_a_chunk)
    text = path.read_text()
    path.write_text(text.replace("item0 ", "itemX "))
    error = refusal(main, "predict", dna_model, path, "--output", output)
    assert "out.csv: was begun with another input, so it cannot go on; --overwrite" in error
    path.write_text(text)
    classifier.model.classifier.bias.data += 1
    with pytest.raises(ValueError, match="was begun with another model"):
        predict_file(classifier, path, output)
    with pytest.raises(ValueError, match="was begun with another batch size"):
        predict_file(SequenceClassifier.from_pretrained(dna_model, batch_size=3), path, output)
    assert not output.exists()
    assert predict(dna_model, path, "--output", output, "--overwrite") == 0
    assert len(output.read_text().splitlines()) == 2 * CHUNK_RECORDS + 1
    error = refusal(main, "predict", dna_model, path, "--output", output)
    assert "out.csv: is there already; --overwrite replaces it" in error


# what a file may not hold: tests/data/test_reading.py
@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("BACKBONE in.fasta --output o.csv", "not a sequence classifier (BertModel); a run of train.py saves one"),
        ("unfinished in.fasta --output o.csv", "unfinished: the run is not finished, it holds no model"),
        ("plain in.fasta --output o.csv", "plain: a run that keeps no model; a training does, and `bertx probe --sa"),
        ("empty in.fasta --output o.csv", "empty: holds no model; allowed: a run's folder"),
        ("nothing in.fasta --output o.csv", "nothing: no such folder, and not a Hub id"),
        ("bertx/not-there in.fasta --output o.csv", "bertx/not-there: the model could not be loaded: "),
        ("MODEL none.fasta --output o.csv", "none.fasta: no such file or folder"),
        ("MODEL bad.fasta --output o.csv", "bad.fasta, line 3, id 'b': symbol 'J' at position 3 is not in the dna"),
        ("MODEL midi --output o.csv", "is not in the dna alphabet: A C G T N R Y S W K M B D H V"),
        ("MODEL in.fasta --output o.csv --batch_size 0", "batch_size is 0; allowed: at least 1"),
        ("MODEL in.fasta --output o.xlsx", "o.xlsx: ending '.xlsx'; allowed: .parquet, .csv, .jsonl"),
        ("MODEL in.fasta --output .", ".: ending ''; allowed: .parquet"),
        ("MODEL in.fasta --output folder.csv", "folder.csv: is a folder; allowed: a file"),
        ("MODEL in.csv --output o.csv --piece_column gene", "no column 'gene'; it has Name, sequence"),
    ],
)
def test_what_is_refused_leaves_nothing(
    argv: str, message: str, tiny_backbone: Path, dna_model: Path, tmp_path: Path, monkeypatch: Any, refusal: Any
) -> None:
    for name in ("unfinished", "plain", "empty", "folder.csv"):
        (tmp_path / name).mkdir()
    midi(tmp_path / "midi" / "one.mid", 100, seed=1)
    texts = {"in.fasta": ">a\nACGT\n", "bad.fasta": ">a\nACGT\n>b\nACJT\n", "in.csv": "Name,sequence\nq,ACGT\n"}
    for name, text in {**texts, "unfinished/run.json": "{}", "plain/results.json": "{}"}.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    words = argv.replace("MODEL", str(dna_model)).replace("BACKBONE", str(tiny_backbone)).split()
    assert message in refusal(main, "predict", *words)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_piece_named_late_in_a_file_is_written(
    dna_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first rows of a Parquet file decide the types of its columns."""
    monkeypatch.setattr(prediction_rows, "_ROWS", 2)
    (tmp_path / "in.csv").write_text("sequence,gene\nACGT,\nACGG,\nACGA,x\n")
    assert predict(dna_model, tmp_path / "in.csv", "--output", tmp_path / "o.parquet", "--piece_column", "gene") == 0
    assert pq.read_table(tmp_path / "o.parquet")["piece"].to_pylist() == [None, None, "x"]


# ---- the pipeline ----


@pytest.fixture(scope="module")
def classify(dna_model: Path) -> DisciplineClassificationPipeline:
    return pipeline("discipline-classification", model=str(dna_model), device="cpu")


def test_strings_lists_and_files(classify: Any, dna_model: Path, tmp_path: Path) -> None:
    rows = sequences(7)
    plain = stock(dna_model, rows)
    answers = classify(rows)
    assert [answer["label"] for answer in answers] == [max(row, key=row.__getitem__) for row in plain]
    assert [answer["score"] for answer in answers] == pytest.approx([max(row.values()) for row in plain], abs=1e-6)
    assert classify(rows[0])[0] == pytest.approx(answers[0], abs=1e-6)
    (every,) = classify([rows[0]], top_k=None)
    assert {answer["label"]: answer["score"] for answer in every} == pytest.approx(plain[0], abs=1e-6)
    assert [len(some) for some in classify(rows[:2], top_k=2)] == [2, 2]
    path = fasta(tmp_path / "in.fasta", rows)
    expected = [{"id": f"item{i}", **answer} for i, answer in enumerate(answers)]
    assert classify(str(path)) == classify(path) == expected


def test_a_stream_is_read_as_it_is_asked_for(classify: Any) -> None:
    taken = 0

    def endless() -> Iterator[str]:
        nonlocal taken
        for row in itertools.cycle(sequences(50, longest=4)):
            taken += 1
            yield row

    first = list(itertools.islice(classify(endless()), 10))
    assert len(first) == 10
    assert taken <= CHUNK_RECORDS


def test_a_piece_is_one_entry(music_model: Path, tmp_path: Path) -> None:
    of_music = pipeline("discipline-classification", model=str(music_model), device="cpu", threads=1)
    (answer,) = of_music(midi(tmp_path / "x.mid", 200, seed=3))
    assert (answer["piece"], len(answer["segments"])) == ("x.mid", 2)
    assert answer["votes"] == sum(part["label"] == answer["label"] for part in answer["segments"]) > 0
    (single,) = of_music("60 64 67")
    assert single["label"] in ("Bach", "Chopin")


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (["ACGT", "AC!T"], {}, r"^sequence 1: symbol '!' at position 3 is not in the dna alphabet: A C G T"),
        (" ", {}, "sequence 0: the sequence is empty"),
        ([3], {}, "sequence 0: int; allowed: a string"),
        ("ACGT", {"topk": 1}, "unknown argument 'topk'"),
        ("none.FASTA.gz", {}, r"none\.FASTA\.gz: no such file"),
    ],
)
def test_what_the_pipeline_refuses(classify: Any, given: Any, options: dict[str, int], message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        classify(given, **options)


def test_segments_cannot_vote_on_several_labels(tiny_backbone: Path, tmp_path: Path, refusal: Any) -> None:
    fields = {**classes("calm", "loud"), "problem_type": "multi_label_classification"}
    model = saved(tiny_backbone, tmp_path / "model", "music", **fields)
    piece, message = midi(tmp_path / "x.mid", 100, seed=1), "segments of a piece vote on one label"
    assert message in refusal(main, "predict", model, piece, "--output", tmp_path / "o.csv")
    with pytest.raises(ValueError, match=message):
        pipeline("discipline-classification", model=str(model), device="cpu")(piece)
