"""Plain baselines: their features against numbers worked out by hand, and whole runs on real and small data."""

import json
import math
from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from made_runs import recorded, write_rows
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import CountVectorizer

from hf_bertx import run_files
from hf_bertx.arms import BASELINE
from hf_bertx.baselines.catalog import BASELINES, baselines_for, get_baseline
from hf_bertx.baselines.features import (
    count_cut,
    dipeptide_deviation,
    kmer_counts,
    ngram_features,
    one_hot,
    symbol_ids,
)
from hf_bertx.baselines.linear import LOG_ZERO, Items, fit_plain, search_plain
from hf_bertx.baselines.runs import run_baseline
from hf_bertx.cli import main
from hf_bertx.data.task_data import user_task
from hf_bertx.report.write import markdown, read_runs, tables
from hf_bertx.runs.run import Run
from hf_bertx.runs.spec import RunSpec
from hf_bertx.tasks import TASKS, get_task

SPLICE = get_task("dna-splice")
MAJORITY = RunSpec.of_baseline("majority", fraction=0.3)
SEQUENCES = ["ACGTACGTNACCA", "acgR", "TTTT", "A"]


def run_on_own(
    names: list[str], folder: Path, pair: bool = False, **columns: list[Any]
) -> dict[str, dict[str, float]]:
    """Test scores of baselines on proteins."""
    rows = write_rows(folder / "data" / "rows", **columns)
    labels = Counter(map(str, columns["label"]))
    data = recorded(rows, user_task("own", "protein", labels, 30, pair, False, "here"))
    runs = {name: run_baseline(RunSpec.of_baseline(name, data), rows, folder / "runs") for name in names}
    return {name: Run.open(run).scores["test"] for name, run in runs.items()}


def test_kmer_counts_are_those_of_count_vectorizer() -> None:
    ids = symbol_ids(SPLICE, SEQUENCES)
    assert ids.shape == (4, 60)
    found = kmer_counts(ids, 3, 4).toarray()
    columns = ["".join(letters) for length in (1, 2, 3) for letters in product("ACGT", repeat=length)]
    counter = CountVectorizer(analyzer="char", ngram_range=(1, 3), lowercase=False, vocabulary=columns)
    expected = counter.transform([sequence.upper() for sequence in SEQUENCES]).toarray()
    assert (found == expected).all()
    assert found.sum() == 46  # without N and R: 20 letters, 15 pairs, 11 triples
    assert kmer_counts(np.array([[1, 2]]), 3, 4).sum() == 3  # no triple in two letters


def test_one_hot_marks_each_common_symbol() -> None:
    hot = one_hot(np.array([[1, 4, 5, 0]]), 4)
    assert isinstance(hot, csr_matrix)
    assert hot.toarray().tolist() == [[1, 0, 0, 0, 0, 0, 0, 1] + [0] * 8]


def test_dipeptide_deviation_by_hand() -> None:
    """LLA: pairs LL and LA. L has 6 of 61 codons, A 4."""
    task = get_task("protein-localization")
    (row,) = dipeptide_deviation(symbol_ids(task, ["LLA"]))
    letters = "LAGVESIKRDTPNQFYMHCW"  # the order of the alphabet
    for first, second, share, codons in (("L", "L", 1 / 2, 6 * 6), ("L", "A", 1 / 2, 6 * 4), ("M", "M", 0, 1 * 1)):
        expected = codons / 61**2
        deviation = (share - expected) / math.sqrt(expected * (1 - expected) / 2)
        assert row[20 * letters.index(first) + letters.index(second)] == pytest.approx(deviation)


def test_features_of_a_pair_hold_its_cosine() -> None:
    task = get_task("glue-mrpc")
    (features,) = ngram_features(task, 1, [(["one two", "three"], ["one two", "four"])])
    assert features.toarray()[:, -1] == pytest.approx([1.0, 0.0])
    with pytest.raises(ValueError, match="the training items hold no word"):
        ngram_features(task, 1, [([""], [""])])


def test_neighbours_answer_with_their_labels() -> None:
    train = Items((["ACGTACGTACGT", "TTTTTTTTGGGG", "CCCCCCCCAAAA"],), np.array([0, 1, 2]))
    (logits,), fitted = fit_plain(
        get_baseline("nearest"), SPLICE, {"longest_kmer": 3, "neighbours": 1}, train, [train]
    )
    assert logits.argmax(1).tolist() == [0, 1, 2]
    assert np.exp(logits).sum(1) == pytest.approx([1, 1, 1])
    assert fitted == 0


def test_a_class_without_training_items_is_never_answered() -> None:
    train = Items((["ACGT", "TTTT", "ACGA", "TTTA"],), np.array([0, 2, 0, 2]))
    (logits,), _ = fit_plain(get_baseline("kmer-logistic"), SPLICE, {"longest_kmer": 2, "C": 0.1}, train, [train])
    assert (logits[:, 1] == LOG_ZERO).all()
    assert logits.argmax(1).tolist() == [0, 2, 0, 2]
    alone = Items((["ACGT", "TTTT"],), np.array([2, 2]))
    (logits,), _ = fit_plain(get_baseline("onehot-logistic"), SPLICE, {"C": 1.0}, alone, [alone])
    assert logits.argmax(1).tolist() == [2, 2]


def test_the_first_of_the_best_on_validation_is_chosen() -> None:
    train = Items((["ACGT", "TTTT", "ACGA", "TTTA"],), np.array([0, 2, 0, 2]))
    chosen, tried = search_plain(get_baseline("kmer-logistic"), SPLICE, train, train)
    assert len(tried) == 16
    scores = [entry["validation_accuracy"] for entry in tried]
    assert chosen == {name: tried[scores.index(max(scores))][name] for name in ("longest_kmer", "C")}


@pytest.fixture(scope="module")
def splice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("splice")
    for name in ("majority", "onehot-logistic"):
        run_baseline(RunSpec.of_baseline(name, fraction=0.3), root=root)
    return root


def test_a_run_is_an_ordinary_folder(splice: Path) -> None:
    folder = splice / "baseline" / "dna-splice" / "onehot-logistic" / "baseline" / "seed-0-fraction-0.3"
    names = "run.json results.json log_history.json predictions_test.parquet predictions_validation.parquet"
    assert {path.name for path in folder.iterdir()} == set(names.split())
    order, results = (json.loads((folder / name).read_text()) for name in ("run.json", "results.json"))
    s = order["specification"]
    assert (s["task"], s["backbone"], s["arm"], s["start"]) == ("dna-splice", "onehot-logistic", BASELINE, None)
    assert (s["protocol"], s["tuning"], s["backbone_revision"], s["assignment"]) == ("baseline", "full", None, None)
    assert s["hyperparameters"]["searched"] == {"C": [1e-4, 1e-3, 1e-2, 1e-1]}
    assert order["data_fingerprint"].startswith("e960759b91f6")
    assert {"hf_bertx", "scikit-learn", "scipy"} <= set(order["versions"])
    assert results["train_items"] == 861
    assert results["metrics"]["test"]["accuracy"] > 0.85  # and majority is at 0.54: a column that is read
    assert results["chosen"]["C"] in s["hyperparameters"]["searched"]["C"]
    assert len(results["tried"]) == 4
    best = max(entry["validation_accuracy"] for entry in results["tried"])
    assert results["metrics"]["validation"]["accuracy"] == best
    for part, count in (("test", 160), ("validation", 159)):
        rows = pq.read_table(folder / f"predictions_{part}.parquet").to_pydict()
        answers = np.array(rows["logits"]).argmax(1)
        assert len(rows["id"]) == count
        assert (answers == np.array(rows["label"])).mean() == results["metrics"][part]["accuracy"]


def test_every_report_shows_it(splice: Path, tmp_path: Path) -> None:
    assert main(["report", str(splice), "--output", str(tmp_path)]) == 0
    text = (tmp_path / "table.md").read_text()
    assert "## dna-splice, onehot-logistic, protocol `baseline`" in text
    assert "Hyperparameters tried on items that are not tested: C 0.0001, 0.001, 0.01, 0.1." in text
    assert all(markdown(table) for table in tables(read_runs(splice)))


def test_again_it_skips_and_another_order_is_refused(splice: Path) -> None:
    folder = run_baseline(MAJORITY, root=splice)
    before = (folder / run_files.RESULTS).stat().st_mtime_ns
    assert run_baseline(MAJORITY, root=splice) == folder
    assert (folder / run_files.RESULTS).stat().st_mtime_ns == before
    with pytest.raises(ValueError, match=r"max_eval_items is None there, 50 asked"):
        run_baseline(replace(MAJORITY, overrides={"max_eval_items": 50}), root=splice)
    scores = Run.open(folder).scores
    (folder / run_files.RESULTS).unlink()  # as if it had been interrupted
    assert Run.open(run_baseline(MAJORITY, root=splice)).scores == scores


def test_fewer_items_are_drawn_alike(tmp_path: Path) -> None:
    specs = [RunSpec.of_baseline("majority", fraction=0.1, seed=seed, max_eval_items=40) for seed in (0, 1)]
    first, second = (Run.open(run_baseline(spec, root=tmp_path)) for spec in specs)
    ids = [run.predictions("test").ids for run in (first, second)]
    assert len(ids[0]) == 40
    assert ids[0] == ids[1]
    assert first.results["evaluated_items"] == {"validation": 40, "test": 40}


def test_a_regression_on_proteins(tmp_path: Path) -> None:
    """The target is the share of tryptophan: k-mers know it exactly, the mean does not."""
    generator = np.random.default_rng(0)
    sequences = ["".join(generator.choice(list("ACDW"), 30)) for _ in range(60)]
    targets = [sequence.count("W") / 30 for sequence in sequences]
    names = ["majority", "kmer-ridge", "onehot-ridge", "dde-ridge", "nearest"]
    found = run_on_own(names, tmp_path, sequence=sequences, label=targets)
    assert found["majority"]["spearman"] == 0.0
    assert min(found[name]["spearman"] for name in ("kmer-ridge", "onehot-ridge")) > 0.98
    assert found["nearest"]["spearman"] == 1.0  # each item's nearest is itself: the test items are the training items


def test_both_sequences_of_a_pair_are_read(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    columns = {
        "sequence": ["ACDEFGHIKL"] * 60,  # says nothing
        "second_sequence": ["".join(generator.choice(list("ACDW" if i % 2 else "EFGH"), 20)) for i in range(60)],
        "label": ["yes" if i % 2 else "no" for i in range(60)],
    }
    names = ["kmer-logistic", "onehot-logistic", "dde-logistic", "nearest"]
    found = run_on_own(names, tmp_path, pair=True, **columns)
    assert [found[name]["accuracy"] for name in names] == [1.0] * 4


def test_items_with_a_cut_sequence_are_counted() -> None:
    task = replace(get_task("protein-localization"), pair=True, max_length=6)
    assert count_cut(task, (["AAAAA", "A", "AAAAA"], ["A", "A", "AAAAA"])) == 2


def test_music_votes_over_the_segments_of_a_piece(tmp_path: Path) -> None:
    task = TASKS["music-maestro-v1"]
    low, high = " ".join(["40", "43", "47"] * 8), " ".join(["80", "83", "88"] * 8)
    columns = {
        "sequence": [low, low, low, high, high, high] * 2,
        "label": [task.labels[0] if i % 6 < 3 else task.labels[1] for i in range(12)],
        "group": [f"piece {i // 3}" for i in range(12)],
    }
    spec = RunSpec.of_baseline("tfidf-logistic", task.name)
    folder = run_baseline(spec, write_rows(tmp_path / "data", **columns), tmp_path / "runs")
    scores = Run.open(folder).scores["test"]
    assert (scores["accuracy"], scores["segment_accuracy"]) == (1.0, 1.0)
    assert "group" in pq.read_table(folder / "predictions_test.parquet").column_names


def test_glue_is_not_selected_on_the_set_it_is_tested_on(tmp_path: Path) -> None:
    rows = write_rows(
        tmp_path / "data", sequence=["a bad film", "a good film"] * 20, label=["negative", "positive"] * 20
    )
    folder = run_baseline(RunSpec.of_baseline("tfidf-logistic", "glue-sst2"), rows, tmp_path / "runs")
    results = json.loads((folder / "results.json").read_text())
    assert results["selected_on"] == "a tenth of the training items"
    assert results["test_split"] == "validation"
    assert results["metrics"]["validation"]["accuracy"] == 1.0
    assert not (folder / "predictions_validation.parquet").exists()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["kmer-logistc"], "unknown baseline 'kmer-logistc'; did you mean 'kmer-logistic'?"),
        (["kmer-ridge"], "baseline 'kmer-ridge' does not fit task 'dna-splice': it answers with targets"),
        (["dde-logistic"], "does not fit task 'dna-splice': it reads protein, and dna-splice is dna"),
        (["majority", "--fraction", "2"], "fraction is 2.0; allowed: more than 0, at most 1"),
        (["majority", "--max_eval_items", "0"], "--max_eval_items is 0; allowed: a whole number of at least 1"),
        (["majority", "--seed", "-1"], "--seed is -1; allowed: 0 to"),
        (["--list", "--epochs", "3"], "--list has no use for --epochs; leave it out"),
        (["--list", "majority"], "--list has no use for names; leave it out"),
        (["majority", "--epochs", "2"], "epochs is 2.0 for 'majority'; allowed: for networks, more than 0"),
        (["majority", "--split", "other"], "unknown split 'other'"),
        (["majority", "--task", "dna-h33"], "unknown task 'dna-h33'"),
        (["majority", "--task", "dna-h3"], "its data is not in the package"),
    ],
)
def test_a_wrong_value_is_one_line(argv: list[str], message: str, tmp_path: Path, refusal: Any) -> None:
    assert message in refusal(main, "baseline", *argv, "--runs", tmp_path)
    assert not list(tmp_path.rglob("run.json"))


def test_the_command_prints_scores_and_lists(splice: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["baseline", "majority", "--fraction", "0.3", "--runs", str(splice)]) == 0
    assert capsys.readouterr().out.startswith("majority: test accuracy 0.5")
    assert main(["baseline", "--list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(BASELINES) + 2


def test_every_task_has_baselines_and_each_names_a_candidate() -> None:
    for task in TASKS.values():
        names = baselines_for(task)
        assert {"majority", "nearest"} < set(names)
        assert all(not BASELINES[name].network for name in names)
        assert all(each.candidates(task) for each in BASELINES.values() if each.misfit(task) is None)
