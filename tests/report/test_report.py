"""What is reported from folders of runs: cells, comparisons, the paper's tables, files; one line for what is wrong."""

import csv
import json
import re
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from made_runs import make_failure, make_run, make_study, make_study_runs

from hf_bertx import run_files
from hf_bertx.backbones import pretraining_step
from hf_bertx.cli import main
from hf_bertx.report.cells import floors, make_cells
from hf_bertx.report.comparisons import compare_arms
from hf_bertx.report.figures import inline_svg
from hf_bertx.report.formatting import csv_text, shown_backbone
from hf_bertx.report.panels import COLORS, INK, Panel
from hf_bertx.report.paper_tables import flat_rows, here_text, markdown, paper_tables
from hf_bertx.report.records import collect_runs, read_runs
from hf_bertx.report.write import Report, build_report, write_report


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("study") / "runs"
    make_study_runs(root, seeds=3, items=120)
    return root


@pytest.fixture(scope="module")
def report(study: Path) -> Report:
    return build_report(read_runs(study), resamples=300)


def edit(path: Path, **changes: Any) -> None:
    run_files.write_json(path, {**json.loads(path.read_text()), **changes})


def drop(path: Path, *names: str) -> None:
    content = json.loads(path.read_text())
    inner = content
    for name in names[:-1]:
        inner = inner[name]
    del inner[names[-1]]
    run_files.write_json(path, content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "run.json").unlink(), r"run\.json: the file is missing; a run's folder holds run\.json"),
        (lambda f: cut(f / "run.json"), r"run\.json, line \d+: not JSON"),
        (lambda f: cut(f / "results.json"), r"results\.json, line \d+: not JSON .* remove the folder to run again"),
        (lambda f: (f / "log_history.json").unlink(), r"log_history\.json: the file is missing"),
        (lambda f: cut(f / "predictions_test.parquet"), r"predictions_test\.parquet: not a whole file of predictions"),
        (lambda f: edit(f / "run.json", format=7), r"run\.json: its format is 7, this version of hf_bertx reads 1"),
        (lambda f: drop(f / "run.json", "specification", "arm"), r"its specification does not say 'arm'"),
        (lambda f: drop(f / "run.json", "specification"), r"run\.json: it has no specification"),
        (lambda f: drop(f / "results.json", "metrics"), r"results\.json: it has no metrics"),
        (lambda f: (f / "run.json").write_text("[]"), r"run\.json: it holds list, not named values"),
        (
            lambda f: shutil.copy(f.parent / "seed-1/predictions_test.parquet", f / "predictions_test.parquet"),
            r"predictions_test\.parquet: its answers have accuracy 0\.\d+, results\.json beside it says 0\.\d+",
        ),
    ],
)
def test_a_file_that_is_missing_or_wrong_is_one_line(
    damage: Any, message: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    runs = tmp_path / "runs"
    folder = make_run(runs, seed=0)
    make_run(runs, seed=1, skill=0.5)
    damage(folder)
    assert main(["report", str(runs), "--output", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("bertx: error: ")
    assert folder.name in line
    assert re.search(message, line), line


def test_what_does_not_belong_together_is_one_line(tmp_path: Path) -> None:
    make_run(tmp_path / "data", seed=0)
    make_run(tmp_path / "data", seed=1, fingerprint="f" * 64)
    with pytest.raises(ValueError, match=r"seed-0 and .*seed-1 belong to one cell and were made from different data"):
        write_report(tmp_path / "data", tmp_path / "out")
    make_run(tmp_path / "twice/a", seed=0)
    make_run(tmp_path / "twice/b", seed=0)
    with pytest.raises(ValueError, match="are the same run, seed 0; report one of them"):
        write_report(tmp_path / "twice", tmp_path / "out")
    make_run(tmp_path / "items", seed=0)
    make_run(tmp_path / "items", seed=1, items=150)
    with pytest.raises(ValueError, match=r"name the same data and predict other items \(150 and 160\)"):
        write_report(tmp_path / "items", tmp_path / "out")
    make_run(tmp_path / "selected", "glue-rte", "shift_1000", hyperparameters={"eval_strategy": "steps"})
    with pytest.raises(ValueError, match="selected on its test split: glue-rte is tested on validation"):
        write_report(tmp_path / "selected", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_studies_and_failures_that_cannot_be_read_are_one_line(tmp_path: Path) -> None:
    make_run(tmp_path)
    make_study(tmp_path, "small", [{"task": "dna-h3", "arm": "bert", "seed": 0}])
    path = tmp_path / "studies/small.json"
    edit(path, format=2)
    with pytest.raises(ValueError, match=r"small\.json: its format is 2, this version of hf_bertx reads 1"):
        read_runs(tmp_path)
    make_study(tmp_path, "small", [{"task": "dna-h3", "arm": "bert", "seed": 0}])
    drop(path, "runs")
    assert read_runs(tmp_path).missing() == []
    run_files.write_json(path, {"format": 1, "study": "small", "runs": [{"task": "dna-h3"}]})
    with pytest.raises(ValueError, match=r"small\.json, run 0: it does not say 'backbone'"):
        read_runs(tmp_path)
    path.unlink()
    run_files.write_json(tmp_path / "x/failure.json", {"error": "out of memory"})
    with pytest.raises(ValueError, match=r"failure\.json: it does not say 'attempts'"):
        read_runs(tmp_path)


def test_failed_unfinished_and_planned_runs_are_counted(study: Path) -> None:
    runs = read_runs(study)
    known, lost = sorted(runs.failures, key=lambda failure: failure.error, reverse=True)
    assert (known.specification["arm"], known.specification["seed"], known.attempts) == ("unused", 3, 2)
    assert lost.error == "FileNotFoundError: dna-h4: its data is not in the package"
    assert lost.specification["task"] == "dna-h4"  # its folder holds nothing else: the study says what it was
    assert sorted(r.folder.name for r in runs.records if r.state == "unfinished") == ["seed-3"]
    planned = [(run.specification["task"], run.specification["arm"]) for run in runs.missing()]
    assert planned == [("dna-h4", "bert"), ("protein-stability", "bert"), ("protein-stability", "rand")]
    assert [record.state for record in collect_runs(study)].count("failed") == 1


def test_a_failure_that_was_made_good_is_none(tmp_path: Path) -> None:
    make_failure(make_run(tmp_path))
    runs = read_runs(tmp_path)
    assert (runs.failures, runs.records[0].state) == ([], "finished")


def test_a_cell_has_the_mean_and_the_interval_of_its_seeds(tmp_path: Path) -> None:
    folders = [make_run(tmp_path, seed=seed) for seed in range(3)]
    (cell,) = make_cells(collect_runs(tmp_path), resamples=100)
    scores = [json.loads((folder / "results.json").read_text())["metrics"]["test"]["accuracy"] for folder in folders]
    assert list(cell.scores) == scores
    assert cell.mean == pytest.approx(np.mean(scores))
    assert cell.interval is not None
    assert cell.interval.over == "seeds"
    half = 4.302653 * np.std(scores, ddof=1) / np.sqrt(3)
    assert cell.interval.high == pytest.approx(min(1, np.mean(scores) + half), abs=1e-5)
    assert cell.validation == pytest.approx(0.97 * np.mean(scores))


def test_pieces_are_counted_where_a_task_votes(tmp_path: Path) -> None:
    make_run(tmp_path, "music-maestro-v1", items=160)
    (cell,) = make_cells(collect_runs(tmp_path), resamples=100)
    assert cell.truth is not None
    assert cell.answers is not None
    assert (len(cell.truth), cell.answers.shape) == (20, (1, 20))
    assert cell.scores[0] == (cell.answers[0] == cell.truth).mean()
    (floor,) = floors([cell])
    assert floor.score == np.bincount(cell.truth).max() / 20


def test_settings_of_an_arm_are_cells_and_the_best_on_validation_stands_for_it(report: Report) -> None:
    cells = [c for c in report.cells if (c.task.name, c.name) == ("protein-fluorescence", "rand")]
    assert sorted(c.differs["learning_rate"] for c in cells) == [1e-5, 1e-4, 3e-4]
    best = max(cells, key=lambda cell: cell.validation or 0)
    assert [c for c in cells if c.chosen] == [best]
    table = next(table for table in report.tables if table.number == "2")
    shown = {row.label: row.here[2] for row in table.rows}["rand"]
    assert shown is best
    assert "†" in here_text(shown)


def test_nothing_is_chosen_where_validation_is_the_test(tmp_path: Path) -> None:
    for rate in (1e-5, 1e-4):
        make_run(tmp_path, "glue-rte", "shift_1000", hyperparameters={"learning_rate": rate})
    cells = make_cells(collect_runs(tmp_path), resamples=50)
    assert [cell.chosen for cell in cells] == [False, False]
    (table,) = paper_tables(cells, floors(cells))
    assert table.undecided == ("shift_1000 on glue-rte",)
    assert table.filled == 0
    assert "none may be chosen on its test items: shift_1000 on glue-rte" in markdown(table)


def test_arms_are_compared_on_the_same_data_and_corrected_over_tasks(report: Report, tmp_path: Path) -> None:
    found = {(t.first.task.name, t.first.name, t.second.name): t for t in report.tests if t.first.column[4] == 1}
    family = [t for (_, *pair), t in found.items() if pair == ["bert", "re_emb"]]
    assert len(family) == 5
    assert {t.tasks for t in family} == {5}
    smallest = min(family, key=lambda t: t.comparison.p_value)
    assert smallest.p_holm == pytest.approx(min(1, 5 * smallest.comparison.p_value))
    splice = found["dna-splice", "bert", "rand"]
    assert splice.comparison.difference == pytest.approx((splice.first.mean or 0) - (splice.second.mean or 0))
    assert (splice.comparison.seeds, splice.comparison.paired_seeds) == ((3, 3), True)
    assert ("dna-splice", "bert", "kmer-logistic") in found
    assert ("glue-stsb", "shift_1000", "shift_1000_rand") in found
    assert ("dna-splice", "rand", "bert") not in found
    make_run(tmp_path, arm="bert")
    make_run(tmp_path, arm="rand", fingerprint="f" * 64)
    assert compare_arms(make_cells(collect_runs(tmp_path), resamples=50)) == []


def test_a_collapsed_run_is_listed_and_counted(report: Report) -> None:
    (run,) = report.collapsed  # the majority baseline answers every item alike, and is meant to
    assert run.folder.as_posix().endswith("dna-h3/minilm-l6/rand/seed-2")
    (cell,) = [c for c in report.cells if run in c.collapsed]
    assert len(cell.scores) == 3


def test_the_papers_tables_stand_beside_ours(report: Report) -> None:
    two, one = report.tables
    assert (two.number, one.number) == ("2", "1")
    assert [task.name for task in two.tasks] == [
        "protein-localization", "protein-stability", "protein-fluorescence", "dna-h3", "dna-h4", "dna-h3k9ac",
        "dna-splice", "music-maestro-v1",
    ]  # fmt: skip
    rows = {row.label: row for row in two.rows}
    assert rows["specific"].paper == (69.0, 76.0, 63.0, 87.3, 87.3, 79.1, 94.1, None)
    assert rows["rand"].paper == (58.6, 65.8, 27.5, 75.6, 66.5, 72.8, 95.0, 36.0)
    assert [cell is None for cell in rows["BERT"].here] == [False, True, False, False, True, True, False, False]
    assert (two.filled, two.expected) == (15, 24)
    assert rows["unused"].kind == "arm"
    assert rows["kmer-logistic"].kind == "baseline"
    assert rows["floor"].here[1] is None
    texts = [row.label for row in one.rows]
    assert texts[:3] == ["shift 1000, BERT", "shift 1000 (rand), BERT", "shift 1000, ALBERT"]
    one_percent = next(row for row in one.rows if row.label == "shift 1000, BERT, 1% data")
    assert one_percent.paper == (52.7, 66.5, 72.9, 59.3, 0.0, 57.0, 80.5, 51.5)
    assert here_text(one_percent.here[5]).endswith("(3)")
    # 7 rows of BERT x 8 tasks; of shift 1000 and re-emb three tasks, of 1% two
    assert (one.filled, one.expected) == (3 + 3 + 2 + 2 + 3, 56)
    albert = next(row for row in one.rows if row.label == "shift 1000, ALBERT")
    assert set(albert.here) == {None}
    assert "15 of the 24 cells of the paper that this backbone can fill have runs" in markdown(two)
    empty = [row for row in flat_rows([two]) if row["kind"] == "paper" and row["here"] is None]
    assert len(empty) == 4 * 8 - 15


def test_tasks_of_ones_own_have_a_table_without_the_paper(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    order = json.loads((folder / "run.json").read_text())
    order["specification"]["task"] = order["task"]["name"] = "promoters"
    order["task"] |= {"published": [], "hosted": False}
    run_files.write_json(folder / "run.json", order)
    cells = make_cells(collect_runs(tmp_path), resamples=50)
    (table,) = paper_tables(cells, floors(cells))
    assert (table.number, [task.name for task in table.tasks], table.expected) == ("other", ["promoters"], 0)
    assert [row.label for row in table.rows] == ["bert", "floor"]


def test_names_of_backbones() -> None:
    assert pretraining_step("multiberts-seed_0-step_20k") == 20_000
    assert pretraining_step("google/multiberts-seed_4-step_2000k") == 2_000_000
    assert pretraining_step("out/pretrained/step-500") == 500
    assert pretraining_step("multiberts-seed_0") is None
    assert pretraining_step("minilm-l6") is None
    assert shown_backbone("/home/somebody/models/mine") == "mine"
    assert shown_backbone("../models/mine") == "mine"
    assert shown_backbone("google-bert/bert-base-uncased") == "google-bert/bert-base-uncased"


def test_panels_show_what_the_cells_say(report: Report) -> None:
    (steps,) = [panel for panel in report.panels if panel.kind == "pretraining"]
    cells = [c for c in report.cells if pretraining_step(c.specification["backbone"]) == 20_000]
    assert len(cells) == 2
    assert f"{100 * np.mean([c.mean for c in cells]):.1f} at 20K" in steps.about
    fractions = {panel.title: panel.about for panel in report.panels if panel.kind == "fractions"}
    assert list(fractions) == ["splice", "stsb", "mrpc"]
    assert re.search(r"bert: [\d.]+ at 1%, [\d.]+ at 10%, [\d.]+ at 30%, [\d.]+ at 100%", fractions["splice"])
    losses = [panel.title for panel in report.panels if panel.kind == "loss"]
    assert {"splice", "splice, 1% data", "maestro-v1", "stsb"} <= set(losses)
    assert not [panel for panel in report.panels if panel.kind == "validation" and panel.title in ("stsb", "rte")]


def test_an_svg_of_the_page_takes_its_colors_and_has_ids_of_its_own(report: Report) -> None:
    kinds = {panel.kind: panel for panel in report.panels}
    assert len(kinds) == 7
    ids: list[str] = []
    for number, panel in enumerate(kinds.values()):
        text = inline_svg(panel, number)
        assert text.startswith("<svg")
        assert not [color for color in (*COLORS, INK) if color in text], panel.kind
        assert "var(--c" in text or panel.kind == "confusion"
        assert not re.search(r"https?://(?!www\.w3\.org)", text)
        own = re.findall(r' id="([^"]*)"', text)
        assert set(re.findall(r'(?:url\(|href=")#([^)"]*)', text)) <= set(own)
        ids += own
    assert len(ids) == len(set(ids)) > 7


def test_a_report_is_written_in_every_form(study: Path, tmp_path: Path) -> None:
    small = tmp_path / "runs"  # one task of three forms of figure
    for path in ("dna-splice/minilm-l6/bert", "dna-splice/minilm-l6/rand"):
        shutil.copytree(study / "recommended" / path, small / "recommended" / path)
    written = write_report(small, tmp_path / "out")
    names = {path.name for path in written}
    figures = {"loss_curves", "comparisons", "fractions", "calibration", "confusion"}
    assert names == {f"{figure}.{form}" for figure in figures for form in ("png", "svg")} | {
        "index.html", "table.md", "table.json", "report.md", "report.json", "paper_tables.csv", "cells.csv",
        "hypotheses.md", "hypotheses.csv", "comparisons.csv", "runs.csv", "calibration.csv", "confusion.csv",
    }  # fmt: skip
    for path in written:
        if path.suffix == ".png":
            assert path.read_bytes().startswith(b"\x89PNG")
        if path.suffix == ".svg":
            assert "<svg" in path.read_text()[:600]
    rows = {path.stem: list(csv.DictReader(path.open())) for path in written if path.suffix == ".csv"}
    found = json.loads((tmp_path / "out/report.json").read_text())
    assert len(rows["runs"]) == 24
    assert len(rows["cells"]) == len(found["cells"]) == 8
    whole = next(row for row in rows["cells"] if (row["arm"], row["fraction"]) == ("bert", "1.0"))
    assert float(whole["mean"]) == pytest.approx(np.mean([float(score) for score in whole["scores"].split()]))
    difference = next(
        r for r in rows["comparisons"] if (r["first"], r["second"], r["fraction"]) == ("bert", "rand", "1.0")
    )
    other = next(row for row in rows["cells"] if (row["arm"], row["fraction"]) == ("rand", "1.0"))
    assert float(difference["difference"]) == pytest.approx(float(whole["mean"]) - float(other["mean"]))
    items = sum(int(r["items"]) for r in rows["confusion"] if (r["arm"], r["fraction"]) == ("bert", "1.0"))
    assert items == 3 * 120
    assert found["failed"] == found["missing"] == found["collapsed"] == []
    assert f"{100 * float(whole['mean']):.1f}" in (tmp_path / "out/report.md").read_text()
    assert str(tmp_path) not in (tmp_path / "out/index.html").read_text()


def test_results_without_predictions_are_reported_without_tests(tmp_path: Path) -> None:
    names = {path.name for path in write_report(ROOT / "results" / "demo", tmp_path)}
    assert {"index.html", "loss_curves.png", "paper_tables.csv"} <= names
    assert "comparisons.csv" not in names
    rows = list(csv.DictReader((tmp_path / "cells.csv").open()))
    assert next((row["arm"], row["mean"], row["low"]) for row in rows) == ("bert", "0.94375", "")


def test_a_thousand_runs_are_read_and_computed_in_seconds(tmp_path: Path) -> None:
    for arm in ("bert", "rand"):
        for task in ("dna-splice", "protein-fluorescence"):
            folder = make_run(tmp_path, task, arm, seed=0, items=500)
            for seed in range(1, 250):
                copy = folder.parent / f"seed-{seed}"
                shutil.copytree(folder, copy)
                order = json.loads((copy / "run.json").read_text())
                order["specification"]["seed"] = seed
                (copy / "run.json").write_text(json.dumps(order))
    started = time.process_time()
    runs = read_runs(tmp_path)
    tests = compare_arms(make_cells(runs.records, resamples=300))
    assert (len(runs.records), len(tests)) == (1000, 2)
    assert time.process_time() - started < 60  # measured: 12 s of one core, half of it ranks


def test_a_panel_is_drawn_by_itself(report: Report) -> None:
    assert all(isinstance(panel, Panel) and panel.about for panel in report.panels)


def test_seeds_of_two_precisions_are_one_cell(tmp_path: Path) -> None:
    for seed in range(3):
        folder = make_run(tmp_path, "dna-splice", "bert", seed)
        order = json.loads((folder / "run.json").read_text())
        order["specification"]["precision"] = "float32" if seed == 2 else "bfloat16"
        (folder / "run.json").write_text(json.dumps(order))
    (cell,) = make_cells(read_runs(tmp_path).records)
    assert len(cell.scores) == 3


def test_labels_and_names_of_a_user_are_escaped(tmp_path: Path) -> None:
    for seed in range(2):
        folder = make_run(tmp_path / "runs", seed=seed)
        order = json.loads((folder / "run.json").read_text())
        order["specification"]["task"] = order["task"]["name"] = "@mine|own"
        order["task"] |= {"published": [], "labels": [r"$\frac{1$ <img src=x>", "=HYPERLINK(1)", "#0072b2"]}
        run_files.write_json(folder / "run.json", order)
    write_report(tmp_path / "runs", tmp_path / "out")
    page = (tmp_path / "out/index.html").read_text()
    assert "<img" not in page
    assert [text in page for text in (r"$\frac{1$ &lt;img", ">#0072b2</text>")] == [True, True]
    with (tmp_path / "out/confusion.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["true"] for row in rows} == {r"$\frac{1$ <img src=x>", "'=HYPERLINK(1)", "#0072b2"}
    assert {row["task"] for row in rows} == {"'@mine|own"}
    assert "| @mine\\|own accuracy |" in (tmp_path / "out/report.md").read_text()


@pytest.mark.parametrize(
    ("value", "cell"),
    [("=1", "'=1"), ("+a", "'+a"), ("@a", "'@a"), ("-a", "'-a"), ("-0.5 0.25", "-0.5 0.25"), (-0.5, "-0.5"), (3, "3"),
     ("a,b", '"a,b"'), (None, ""), (True, "True"), ("a=b", "a=b")],
)  # fmt: skip
def test_a_cell_of_a_csv_file(value: Any, cell: str) -> None:
    assert csv_text([{"x": value, "y": 1}]) == f"x,y\n{cell},1\n"
