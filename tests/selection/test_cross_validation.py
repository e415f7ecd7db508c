"""`--folds` and `--similarity_threshold`: folds, groups of near copies, and a whole cross-validation."""

import random
import tracemalloc
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from transformers import TrainingArguments

from dataset_scripts.splits import TEST, fold_split
from hf_bertx import run_files
from hf_bertx.data.similar_groups import similar_groups
from hf_bertx.report.records import collect_runs
from hf_bertx.runs.arguments import read_options
from hf_bertx.runs.run import Run
from hf_bertx.selection.command import train_command
from hf_bertx.selection.cross_validation import _study
from hf_bertx.tasks import get_task


def drawn(letters: str, length: int, seed: int) -> str:
    return "".join(random.Random(seed).choices(letters, k=length))


def test_groups_stay_together_and_classes_are_shared_out() -> None:
    labels = ["a"] * 60 + ["b"] * 30
    groups = [f"g{i // 3}" for i in range(90)]
    for fold in range(1, 6):
        chosen = fold_split(labels, groups, 5, fold, 7, regression=False)
        assert len({*zip(groups, chosen, strict=True)}) == 30  # no group is in two parts
        of_test = [label for label, part in zip(labels, chosen, strict=True) if part == TEST]
        assert of_test.count("a") == pytest.approx(12, abs=3)


def test_targets_have_all_sizes_in_each_fold() -> None:
    targets = np.random.default_rng(0).normal(size=100).tolist()
    for fold in (1, 2, 3, 4):
        chosen = fold_split(targets, None, 4, fold, 1, regression=True)
        of_test = [target for target, part in zip(targets, chosen, strict=True) if part == TEST]
        assert len(of_test) == 25
        assert abs(np.mean(of_test) - np.mean(targets)) < 0.25


def test_short_sequences_and_notes_have_groups_too() -> None:
    assert len(set(similar_groups(["ACDE", "ACDE", "ACDF", "MK"], "protein", 0.5))) == 3
    notes = " ".join(str(note) for note in random.Random(1).choices(range(40, 80), k=30))
    assert len(set(similar_groups([notes, notes, "60 64 67"], "music", 0.9))) == 2
    with pytest.raises(ValueError, match="sequences of text are not compared; name a --group_column"):
        similar_groups(["a b"], "text", 0.5)


@pytest.mark.parametrize("threshold", [0.1, 0.4, 0.8, 1.0])
def test_groups_are_those_of_all_pairs(threshold: float) -> None:
    draw = random.Random(3)
    originals = [drawn("ACGT", draw.randint(12, 60), seed) for seed in range(60)]
    cut = [each[draw.randint(0, 20) :] + drawn("ACGT", 12, seed) for seed, each in enumerate(originals)]
    long = [drawn("ACGT", 1000, seed) for seed in range(100)]
    mixed = [a + b for a, b in zip(originals[::5], cut[1::5], strict=True)]
    sequences = [*originals, *cut, *mixed, *long, *originals[:9], long[0][60:300], "T".join((long[1][:500], long[1]))]
    kmers = [{each[i : i + 12] for i in range(len(each) - 11)} for each in sequences]
    number = list(range(len(sequences)))
    for a, b in combinations(range(len(sequences)), 2):
        if len(kmers[a] & kmers[b]) >= threshold * min(len(kmers[a]), len(kmers[b])):
            number = [number[a] if n == number[b] else n for n in number]
    groups = similar_groups(sequences, "dna", threshold)
    assert [groups.index(name) for name in groups] == [number.index(n) for n in number]
    assert list(dict.fromkeys(groups)) == [f"similar-{n}" for n in range(len(set(number)))]


@pytest.mark.parametrize("shared", ["nearly all of a protein", "a primer"])
def test_memory_does_not_grow_with_the_pairs(shared: str) -> None:
    items = 1500
    if shared == "a primer":
        discipline, expected = "dna", items
        sequences = [drawn("ACGT", 20, 1) + drawn("ACGT", 60, seed) for seed in range(2, items + 2)]
    else:
        discipline, expected, protein = "protein", 1, drawn("ACDEFGHIKLMNPQRSTVWY", 200, 1)
        sequences = [f"{protein[: n % 200]}{'AC'[n % 2]}{protein[n % 200 + 1 :]}" for n in range(items)]
    tracemalloc.start()
    groups = similar_groups(sequences, discipline, 0.5)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(set(groups)) == expected
    assert peak < 25e6


@pytest.mark.parametrize(
    ("labels", "folds", "kind"),
    [
        (["a"] * 60 + ["b"] * 30, 5, ""),
        ([f"c{n % 20}" for n in range(200)], 5, ""),  # 8 of each class are left of a fold
        ([float(n) for n in range(50)], 5, "regression"),
        ([float(n) for n in range(30)], 10, "regression"),  # 6 in each fifth
        (["a", "b"] * 2, 2, ""),
        (["a;b", "c", *["a", "b;c"] * 20], 5, "multi_label"),
        ([f"a;l{n}" for n in range(12)], 3, "multi_label"),
    ],
)
def test_each_row_is_tested_once_and_folds_have_three_parts(labels: list, folds: int, kind: str) -> None:
    tested = Counter[int]()
    for fold in range(1, folds + 1):
        chosen = fold_split(labels, None, folds, fold, 1, kind == "regression", kind == "multi_label")
        assert set(chosen) == {"train", "validation", TEST}
        tested.update(row for row, part in enumerate(chosen) if part == TEST)
    assert set(tested.values()) == {1}
    assert len(tested) == len(labels)


def test_two_groups_are_too_few_for_folds() -> None:
    with pytest.raises(ValueError, match="2 groups; --folds 2 needs 3 or more"):
        fold_split([1.5, 2.5, 3.5], ["g", "g", "h"], 2, 1, 0, regression=True)


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    path = tmp_path / "families.fasta"
    with path.open("w") as file:
        for i in range(30):  # families of three near copies
            original = drawn("ACGT", 60, i)
            for j in range(3):
                file.write(f">s{i}-{j} label={'yes' if i % 2 else 'no'}\n{original[:20]}{'ACG'[j]}{original[21:]}\n")
    return path


def train(fasta: Path, backbone: Path, root: Path, *more: str) -> tuple[Path, list[str]]:
    lines: list[str] = []
    argv = ["--backbone", str(backbone), "--output_dir", str(root), "--max_steps", "4", "--eval_steps", "2"]
    argv += ["--logging_steps", "1", "--precision", "auto", "--lr_scheduler_type", "cosine", "--disable_tqdm", "true"]
    if more[0] != "--task":
        argv += ["--train_file", str(fasta), "--discipline", "dna"]
    return train_command([*argv, *more], lines.append), lines


def test_a_cross_validation_is_its_runs_by_hand(fasta: Path, tiny_backbone: Path, tmp_path: Path) -> None:
    options = ("--folds", "2", "--similarity_threshold", "0.5", "--window", "40")
    folder, lines = train(fasta, tiny_backbone, tmp_path / "runs", *options)
    answers = pq.read_table(folder / "predictions.parquet").to_pandas()
    assert sorted(answers["id"]) == sorted(f"s{i}-{j}" for i in range(30) for j in range(3))
    families = answers.assign(family=answers["id"].str.partition("-")[0]).groupby("family")["fold"].nunique()
    assert (families == 1).all()  # near copies are tested in one fold
    rows = {row["name"]: row for row in run_files.read_json(folder / "scores.json")["rows"]}
    assert set(rows) == {"bert", "majority", "kmer-logistic", "onehot-logistic", "nearest"}
    right = answers["logits"].map(np.argmax) == answers["label"]
    assert rows["bert"]["all"] == pytest.approx(right.mean())
    assert set(answers["class"]) == {"no", "yes"}
    assert (answers["class"] == answers["answer"]).tolist() == right.tolist()
    assert any(line.startswith("| bert | ") for line in lines)
    assert sum(line.endswith(" bert seed 42, fold-2, windows of 40") for line in lines) == 1
    assert any("| all 30 groups of 90 items [95%] |" in line for line in lines)

    assert len(collect_runs(tmp_path / "runs")) == 10  # the folder of the table is no run

    (data,) = (tmp_path / "runs" / "data").glob("families-*")
    by_hand = ("--task", str(data), "--split", "fold-2", "--window", "40", "--baselines", "none")
    hand, _ = train(fasta, tiny_backbone, tmp_path / "hand", *by_hand)
    assert Run.open_finished(hand).score("test", "accuracy") == rows["bert"]["folds"][1]
    again = train(fasta, tiny_backbone, tmp_path / "runs", *options)[1]
    assert again[0] == "2 folds of families: 10 runs, 0 to do"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--folds", "1"), "--folds is 1; allowed: 2 or more"),
        (("--folds", "46"), "class no has 45 records; --folds is 46, allowed: at most 45"),
        (("--folds", "16", "--similarity_threshold", "0.5"), "class no has 15 groups; --folds is 16"),
        (("--folds", "2", "--find_learning_rate"), "--find_learning_rate cannot be used with --folds, which trains 2"),
        (("--folds", "2", "--probe_items", "9"), "--probe_items cannot be used with --folds, which trains 2 runs"),
        (("--folds", "2", "--no_resume"), "--no_resume cannot be used with --folds; choose another --output_dir"),
        (("--folds", "2", "--baselines", "foo"), "--baselines is 'foo'; allowed: plain, none"),
        (("--similarity_threshold", "0"), "--similarity_threshold is 0.0; allowed: more than 0, at most 1"),
        (("--similarity_threshold", "1.5"), "--similarity_threshold is 1.5; allowed: more than 0, at most 1"),
        (("--task", "dna-splice", "--folds", "2"), "--folds divides data of your own: name its file"),
    ],
)
def test_a_wrong_order_is_one_line(more: tuple[str, ...], message: str, fasta: Path, tiny_backbone: Path) -> None:
    with pytest.raises(ValueError, match=message):
        train(fasta, tiny_backbone, fasta.parent / "runs", *more)


def test_folds_are_trained_in_one_process(fasta: Path, tiny_backbone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TrainingArguments, "world_size", 2)
    with pytest.raises(ValueError, match="--folds trains one run after the other in 1 process, and this is one of 2"):
        train(fasta, tiny_backbone, fasta.parent / "runs", "--folds", "2")


def test_options_that_are_off_reach_the_runs_of_the_folds() -> None:
    words = "--train_file x.fasta --discipline dna --folds 2 --no_shortcuts --standardize_targets false --bf16 false"
    options = read_options([*words.split(), "--skip_unreadable", "false"])
    off = {"shortcuts": False, "standardize_targets": False, "bf16": False}
    assert _study(options, "x", get_task("dna-splice")).runs[0].overrides == off
    assert options.user_data == {"train_file": "x.fasta", "discipline": "dna"}
