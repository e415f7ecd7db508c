"""What is reported from folders of runs: cells, comparisons, the paper's tables, files; one line for what is wrong."""

import csv
import json
import re
import shutil
import tarfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from file_damage import damage, edit
from made_runs import cells_of, make_failure, make_items, make_run, make_runs, make_study, make_study_runs
from matplotlib.figure import Figure
from matplotlib.image import imread

from hf_bertx import run_files
from hf_bertx.arms import ARMS
from hf_bertx.backbones import pretraining_series, pretraining_step
from hf_bertx.cli import main
from hf_bertx.report.cells import floors
from hf_bertx.report.comparisons import compare_arms, not_compared
from hf_bertx.report.drawing import _STYLE_OF, COLORS, INK, Panel, arm_style
from hf_bertx.report.figures import inline_svg, save_figures
from hf_bertx.report.formatting import shown_backbone
from hf_bertx.report.make_cells import make_cells
from hf_bertx.report.page import anchor, page, run_name
from hf_bertx.report.panels import COMPARISONS
from hf_bertx.report.paper_tables import flat_rows, markdown, ours_text, paper_tables
from hf_bertx.report.records import RunsFolder, read_runs
from hf_bertx.report.tables import markdown as run_table_markdown
from hf_bertx.report.tables import tables
from hf_bertx.report.write import Report, build_report, report_markdown, report_rows, write_report
from hf_bertx.study.archive import read_archive
from hf_bertx.tasks import TASKS


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("study") / "runs"
    make_study_runs(root, seeds=3, items=120)
    return root


@pytest.fixture(scope="module")
def report(study: Path) -> Report:
    return build_report(read_runs(study), resamples=300)


@pytest.mark.parametrize(
    ("file", "how", "message"),
    [
        ("run.json", "missing", "the file is missing; a run's folder holds run.json"),
        ("run.json", "half", "not JSON"),
        ("results.json", "half", "remove the folder to run again"),
        ("log_history.json", "missing", "the file is missing"),
        ("predictions_test.parquet", "half", "not a whole file of predictions"),
        ("run.json", lambda p: edit(p, lambda c: c.update(format=7)), "its format is 7, this version"),
        ("run.json", lambda p: edit(p, lambda c: c["specification"].pop("arm")), "does not say 'arm'"),
        ("run.json", lambda p: edit(p, lambda c: c.pop("specification")), "it has no specification"),
        ("run.json", lambda p: edit(p, lambda c: c.pop("task")), "damaged (KeyError: 'task')"),
        ("run.json", lambda p: edit(p, lambda c: c["task"].pop("labels")), "damaged (KeyError: 'labels')"),
        ("results.json", lambda p: edit(p, lambda c: c.pop("metrics")), "damaged (KeyError: 'metrics')"),
        ("results.json", lambda p: edit(p, lambda c: c["metrics"].pop("test")), "damaged (KeyError: 'test')"),
        ("run.json", lambda p: p.write_text("[]"), "it holds list, not named values"),
        ("predictions_test.parquet", lambda p: shutil.copy(p.parent.parent / "seed-1" / p.name, p),
         "its answers have accuracy"),
    ],
)  # fmt: skip
def test_a_missing_or_wrong_file_is_one_line(
    file: str, how: Any, message: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = make_run(tmp_path / "runs", seed=0)
    make_run(tmp_path / "runs", seed=1, skill=0.5)
    damage(folder / file, how) if isinstance(how, str) else how(folder / file)
    assert main(["report", str(tmp_path / "runs"), "--output", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"bertx: error: {folder / file}")
    assert message in line


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    for folder, message in ((tmp_path / "none", "no such folder"), (tmp_path, "holds no run")):
        with pytest.raises(ValueError, match=message):
            read_runs(folder)


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ([{}, {"seed": 1, "fingerprint": "f" * 64}], r"seed-1 belong to one cell and were made from different"),
        ([{"root": "a"}, {"root": "b"}], "are the same run, seed 0; report one of them"),
        ([{}, {"seed": 1, "items": 150}], r"name the same data and predict other items \(150 and 160\)"),
        ([{"task_name": "glue-rte", "arm": "shift_1000", "hyperparameters": {"eval_strategy": "steps"}}],
         "selected on its test split: glue-rte is tested on validation"),
    ],
)  # fmt: skip
def test_runs_that_do_not_belong_together(runs: list[dict[str, Any]], message: str, tmp_path: Path) -> None:
    for run in runs:
        make_run(tmp_path / "runs" / run.pop("root", ""), **run)
    with pytest.raises(ValueError, match=message):
        write_report(tmp_path / "runs", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_arms_on_different_data_stand_apart(tmp_path: Path) -> None:
    """As own data does that was split anew, by `--similarity_threshold`, or from a longer file."""
    root, other = tmp_path / "runs", "f" * 64
    make_run(root)
    make_run(root / "similar", specification={"variant": "similar"}, fingerprint=other)
    make_run(root, arm="rand", fingerprint=other)
    report = build_report(read_runs(root), resamples=20)
    assert [(t.first.name, t.second.name, t.first.fingerprint) for t in report.tests] == [("bert", "rand", other)]
    assert {cell.chosen for cell in report.cells} == {True}  # none of the two of `bert` is chosen over the other
    shown = {table.setup.split: [row.label for row in table.rows if row.ours] for table in report.tables}
    assert sorted(shown.values()) == [["BERT", "floor"], ["BERT", "rand", "floor"]]
    assert "paper, data ffffffff" in shown
    page = write_report(root, tmp_path / "out")[0].parent / "index.html"
    assert "paper, data ffffffff" in page.read_text()


def test_runs_of_one_task_by_different_metrics_stand_apart(tmp_path: Path) -> None:
    """As own data does that was given again with another `--metric`."""
    metric = {0: "accuracy", 1: "accuracy", 2: "mcc"}
    for arm, seed in (("bert", 0), ("bert", 1), ("bert", 2), ("rand", 2)):
        order = make_run(tmp_path / metric[seed], arm=arm, seed=min(seed, 1)) / "run.json"
        edit(order, lambda c, name=metric[seed]: c["task"].update(metric=name, extra_metrics=["accuracy", "mcc"]))
    report = build_report(read_runs(tmp_path), resamples=20)
    assert [(cell.name, cell.task.metric, len(cell.scores), cell.chosen) for cell in report.cells] == [
        ("bert", "accuracy", 2, True), ("bert", "mcc", 1, True), ("rand", "mcc", 1, True)
    ]  # fmt: skip
    assert [test.first.column.split for test in report.tests] == ["paper, metric mcc"]
    assert sorted(floor.mean > 0 for floor in floors(report.cells)) == [False, True]  # of accuracy alone
    assert sorted(table["metrics"][0] for table in tables(report.runs)) == ["accuracy", "mcc"]
    assert len(set(map(anchor, report.runs.records))) == 4  # two are `bert`, seed 1


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("studies/small.json", {"format": 2}, r"small\.json: its format is 2, this version of hf_bertx reads 1"),
        ("studies/small.json", {"runs": [{"task": "dna-h3"}]}, r"small\.json, run 0: has no 'backbone'"),
        ("x/failure.json", {"error": "out of memory"}, r"failure\.json: has no 'attempts'"),
    ],
)
def test_a_study_or_failure_that_cannot_be_read(file: str, content: Any, message: str, tmp_path: Path) -> None:
    make_run(tmp_path)
    run_files.write_json(tmp_path / file, content)
    with pytest.raises(ValueError, match=message):
        read_runs(tmp_path)


def test_failed_unfinished_and_planned_runs_are_counted(report: Report, tmp_path: Path) -> None:
    runs = report.runs
    known, lost = sorted(runs.failures, key=lambda failure: failure.error, reverse=True)
    assert (known.specification["arm"], known.specification["seed"], known.attempts) == ("unused", 3, 2)
    assert lost.error == "FileNotFoundError: dna-h4: its data is not in the package"
    assert lost.specification["task"] == "dna-h4"  # its folder holds nothing else: the study says what it was
    assert [r.folder.name for r in report.unfinished] == ["seed-3"]
    planned = [(run.specification["task"], run.specification["arm"]) for run in runs.missing()]
    assert planned == [("dna-h4", "bert"), ("protein-stability", "bert"), ("protein-stability", "rand")]
    # the majority baseline answers every item alike, and is meant to
    assert [runs.below(run.folder) for run in report.collapsed] == ["recommended/dna-h3/minilm-l6/rand/seed-2"]
    assert [len(cell.scores) for cell in report.cells if cell.collapsed] == [3]
    make_failure(make_run(tmp_path))  # a later try finished
    make_run(tmp_path, seed=1, finished=False)
    make_study(tmp_path, "begun", [{"task": "dna-splice", "arm": "bert", "seed": seed} for seed in range(2)])
    runs = read_runs(tmp_path)
    assert (runs.failures, [run.state for run in runs.records], runs.missing()) == ([], ["finished", "unfinished"], [])


def test_a_cell_has_the_mean_and_interval_of_its_seeds(tmp_path: Path) -> None:
    folders = [make_run(tmp_path, seed=seed) for seed in range(3)]
    edit(folders[2] / "run.json", lambda order: order["specification"].update(precision="bfloat16"))
    (cell,) = cells_of(tmp_path, 100)  # precision is the machine's
    scores = [json.loads((folder / "results.json").read_text())["metrics"]["test"]["accuracy"] for folder in folders]
    assert list(cell.scores) == scores
    assert cell.mean == pytest.approx(np.mean(scores))
    assert cell.validation == pytest.approx(0.97 * np.mean(scores))
    assert cell.interval.over == "seeds"
    half = 4.302653 * np.std(scores, ddof=1) / np.sqrt(3)
    assert cell.interval.high == pytest.approx(min(1, np.mean(scores) + half), abs=1e-5)


def test_pieces_are_counted_where_a_task_votes(tmp_path: Path) -> None:
    make_run(tmp_path, "music-maestro-v1", items=160)
    (cell,) = cells_of(tmp_path, 100)
    assert (len(cell.truth), cell.answers.shape) == (20, (1, 20))
    assert cell.scores[0] == (cell.answers[0] == cell.truth).mean()
    assert cell.floor.mean == np.bincount(cell.truth).max() / 20


def test_the_best_on_validation_stands_for_its_arm(report: Report, tmp_path: Path) -> None:
    cells = [c for c in report.cells if (c.task.name, c.name) == ("protein-fluorescence", "rand")]
    assert sorted(c.differs["learning_rate"] for c in cells) == [1e-5, 1e-4, 3e-4]
    best = max(cells, key=lambda cell: cell.validation)
    assert [c for c in cells if c.chosen] == [best]
    (row,) = [row for table in report.tables if table.number == "2" for row in table.rows if row.label == "rand"]
    assert row.ours["protein-fluorescence"] is best
    assert "†" in ours_text(best)
    # nothing is chosen where the validation set is the test set
    for rate in (1e-5, 1e-4):
        make_run(tmp_path, "glue-rte", "shift_1000", hyperparameters={"learning_rate": rate})
    cells = cells_of(tmp_path)
    assert [cell.chosen for cell in cells] == [False, False]
    (table,) = paper_tables(cells)
    assert (table.undecided, table.filled) == (("shift_1000 on glue-rte",), 0)
    assert "Left empty: shift_1000 on glue-rte. Several settings were run" in markdown(table)


def test_cells_of_an_arm_say_what_sets_them_apart(tmp_path: Path) -> None:
    make_run(tmp_path / "short", specification={"kmer": 3})
    make_run(tmp_path / "long")
    runs = read_runs(tmp_path)
    differs = [cell.differs for cell in make_cells(runs.records, resamples=10)]
    assert sorted(differs, key=str) == [{"kmer": 3}, {"kmer": None}]
    titles = sorted(run_table_markdown(table).splitlines()[0] for table in tables(runs))
    assert titles == [f"## dna-splice, minilm-l6, protocol `recommended`{more}" for more in ("", ", kmer 3")]


def test_arms_are_compared_and_corrected_over_tasks(report: Report) -> None:
    tests = {(t.first.task.name, t.first.name, t.second.name): t for t in report.tests if t.first.fraction == 1}
    family = [t for (_, *pair), t in tests.items() if pair == ["bert", "re_emb"]]
    assert [t.tasks for t in family] == [5] * 5
    smallest = min(family, key=lambda t: t.comparison.p_value)
    assert smallest.p_holm == pytest.approx(min(1, 5 * smallest.comparison.p_value))
    splice = tests["dna-splice", "bert", "rand"]
    assert splice.comparison.difference == pytest.approx(splice.first.mean - splice.second.mean)
    assert (splice.comparison.seeds, splice.comparison.paired_seeds) == ((3, 3), True)
    pairs = [("dna-splice", "bert", "kmer-logistic"), ("glue-stsb", "shift_1000", "shift_1000_rand")]
    assert set(pairs) <= set(tests)
    assert ("dna-splice", "rand", "bert") not in tests


@pytest.mark.parametrize(
    ("seeds", "compared", "paired"),
    [
        ((range(5), range(3)), (3, 3), True),  # the plan: the mean of the paired differences
        ((range(4), range(1, 4)), (3, 3), True),
        ((range(2), range(1, 4)), (2, 3), False),  # one seed in common
        ((range(1), range(3)), (1, 3), False),
    ],
)
def test_arms_are_paired_over_the_seeds_they_share(
    tmp_path: Path, seeds: Any, compared: tuple[int, int], paired: bool
) -> None:
    for arm, numbers in zip(("bert", "rand"), seeds, strict=True):
        make_runs(tmp_path, [arm], seeds=numbers)
    (test,) = compare_arms(cells_of(tmp_path))
    assert (test.comparison.seeds, test.comparison.paired_seeds) == (compared, paired)
    taken = set(seeds[0]) & set(seeds[1]) if paired else {*seeds[0], *seeds[1]}
    means = []
    for cell in test.cells:
        scores = zip(cell.runs, cell.scores, strict=True)
        means.append(np.mean([score for run, score in scores if run.specification["seed"] in taken]))
    assert test.comparison.difference == pytest.approx(means[0] - means[1])


@pytest.mark.parametrize(
    ("first", "second", "line"),
    [
        ({"hyperparameters": {"max_steps": 2000}}, {"hyperparameters": {"max_steps": 50}}, "max_steps is 2000 and 50"),
        ({"specification": {"protocol_version": 1}}, {"specification": {"protocol_version": 2}},
         "protocol_version is 1 and 2"),
        ({"specification": {"kmer": 3}}, {}, "kmer is 3 and None"),
        ({"hyperparameters": {"class_weights": "balanced"}}, {}, "class_weights is 'balanced' and None"),
        ({"hyperparameters": {"class_weights": None, "learning_rate": 1e-3}}, {}, None),
        ({"specification": {"variant": "long", "tuning": "lora", "precision": "bfloat16"}}, {}, None),
    ],
)  # fmt: skip
def test_arms_that_differ_by_more_are_not_compared(tmp_path: Path, first: Any, second: Any, line: str | None) -> None:
    make_run(tmp_path, arm="bert", **first)
    make_run(tmp_path, arm="rand", **second)
    report = build_report(read_runs(tmp_path), resamples=10)
    assert len(report.tests) == int(line is None)
    assert report.not_compared == ([] if line is None else [f"dna-splice: bert and rand: {line}"])
    for text in (report_markdown(report), page(replace(report, panels=[]), tmp_path)):
        assert ("not compared" in text) == (line is not None)


@pytest.mark.parametrize("task", ["dna-splice", "glue-stsb"])
def test_a_check_of_permuted_labels_stands_for_no_arm(tmp_path: Path, task: str) -> None:
    for arm, permuted in (("bert", False), ("bert", True), ("rand", False)):
        make_run(tmp_path, task, arm, protocol="probe", specification={"items": 1000},
                 hyperparameters={"permute_labels": permuted})  # fmt: skip
    cells = cells_of(tmp_path)
    assert [(cell.name, cell.chosen, cell.differs) for cell in cells] == [
        ("bert", True, {}), ("bert", False, {"permute_labels": True}), ("rand", True, {})
    ]  # fmt: skip
    (test,) = compare_arms(cells)
    assert (test.first, test.second) == (cells[0], cells[2])
    (table,) = paper_tables(cells)
    assert table.undecided == ()


def test_a_run_that_started_again(tmp_path: Path) -> None:
    folder = make_run(tmp_path, arm="bert", skill=3.0)
    make_run(tmp_path, arm="rand", skill=0.5)
    (before,) = tables(read_runs(tmp_path))
    edit(folder / "results.json", lambda results: results.update(restarts=[{"steps": 500}]))
    (after,) = tables(read_runs(tmp_path))
    steps = [table["rows"][0]["steps_to_rand_best"] for table in (before, after)]
    assert steps[1] == 500 + steps[0]  # those of the first start count
    shown = page(replace(build_report(read_runs(tmp_path), resamples=10), panels=[]), tmp_path)
    problems = shown.partition('id="problems"')[2].partition("</section>")[0]
    link = ">dna-splice, bert, minilm-l6, recommended, seed 0</a>"
    assert re.search(rf"restarted</span> 1 run: started again .*{link}", problems, re.DOTALL)


def test_the_papers_tables_stand_beside_ours(report: Report, tmp_path: Path) -> None:
    two, one = report.tables
    assert (two.number, one.number) == ("2", "1")
    assert [task.name for task in two.tasks] == [
        "protein-localization", "protein-stability", "protein-fluorescence", "dna-h3", "dna-h4", "dna-h3k9ac",
        "dna-splice", "music-maestro-v1",
    ]  # fmt: skip
    rows = {row.label: row for row in two.rows}
    assert list(rows["specific"].paper.values()) == [69.0, 76.0, 63.0, 87.3, 87.3, 79.1, 94.1]
    assert list(rows["rand"].paper.values()) == [58.6, 65.8, 27.5, 75.6, 66.5, 72.8, 95.0, 36.0]
    assert {task.name for task in two.tasks} - set(rows["BERT"].ours) == {"protein-stability", "dna-h4", "dna-h3k9ac"}
    assert (two.filled, two.expected) == (15, 24)
    assert [rows[name].kind for name in ("unused", "kmer-logistic", "floor")] == ["arm", "baseline", "floor"]
    assert "protein-stability" not in rows["floor"].ours
    assert "15 of the 24 cells of the paper that this backbone can fill have runs" in markdown(two)
    empty = [row for row in flat_rows([two]) if row["kind"] == "paper" and row["here"] is None]
    assert len(empty) == 4 * 8 - 15
    text = {row.label: row for row in one.rows}
    assert list(text)[:3] == ["shift 1000, BERT", "shift 1000 (rand), BERT", "shift 1000, ALBERT"]
    one_percent = text["shift 1000, BERT, 1% data"]
    assert list(one_percent.paper.values()) == [52.7, 66.5, 72.9, 59.3, 0.0, 57.0, 80.5, 51.5]
    assert ours_text(one_percent.ours["glue-mrpc"]).endswith("(3)")
    # 7 rows of BERT x 8 tasks; of shift 1000 and re-emb three tasks, of 1% two
    assert (one.filled, one.expected) == (3 + 3 + 2 + 2 + 3, 56)
    assert text["shift 1000, ALBERT"].ours == {}
    order = make_run(tmp_path) / "run.json"
    edit(order, lambda c: c["specification"].update(task="promoters"))
    edit(order, lambda c: c["task"].update(name="promoters", published=[], hosted=False))
    cells = cells_of(tmp_path)
    (table,) = paper_tables(cells)  # a task that the paper does not have
    assert (table.number, [task.name for task in table.tasks], table.expected) == ("other", ["promoters"], 0)
    assert [row.label for row in table.rows] == ["bert", "floor"]
    make_run(tmp_path / "home", backbone="/home/albert/models/mine")  # no ALBERT
    cells = cells_of(tmp_path / "home")
    assert [table.filled for table in paper_tables(cells)] == [1]


@pytest.mark.parametrize(
    ("name", "step", "series", "shown"),
    [
        ("multiberts-seed_0-step_20k", 20_000, "multiberts", "multiberts-seed_0-step_20k"),
        ("google/multiberts-seed_4-step_0k", 0, "multiberts", "google/multiberts-seed_4-step_0k"),
        ("/out/pretrained/step-500/", 500, "/out/pretrained", "step-500"),
        ("/a/step-1/small-seed_1/step-600", 600, "/a/step-1/small", "step-600"),
        ("mine-step_3", 3, "mine", "mine-step_3"),
        ("multiberts-seed_0", None, "multiberts", "multiberts-seed_0"),
        ("/home/somebody/models/mine", None, "/home/somebody/models/mine", "mine"),
        ("../models/mine", None, "../models/mine", "mine"),
        ("google-bert/bert-base-uncased", None, "google-bert/bert-base-uncased", "google-bert/bert-base-uncased"),
    ],
)
def test_names_of_backbones(name: str, step: int | None, series: str, shown: str) -> None:
    assert (pretraining_step(name), pretraining_series(name), shown_backbone(name)) == (step, series, shown)


def test_panels_follow_from_the_cells(report: Report) -> None:
    titles: dict[str, set[str]] = {}
    for panel in report.panels:
        titles.setdefault(panel.kind.name, set()).add(panel.title)
    assert titles["fractions"] == {"splice", "stsb", "mrpc"}
    assert {"splice", "splice, 1% data", "maestro-v1", "stsb"} <= titles["loss"]
    assert not titles["validation"] & {"stsb", "rte"}  # they are tested on validation


def test_pictures_of_a_page_take_its_colors(report: Report) -> None:
    kinds = {panel.kind.name: panel for panel in report.panels}
    assert len(kinds) == 8
    ids: list[str] = []
    for number, panel in enumerate(kinds.values()):
        text, words = inline_svg(panel, number)
        assert text.startswith("<svg")
        assert " by " in words
        assert not [color for color in (*COLORS, INK) if color in text], panel.kind.name
        assert "var(--c" in text or panel.kind.name == "confusion"
        assert not re.search(r"https?://(?!www\.w3\.org)", text)
        own = re.findall(r' id="([^"]*)"', text)
        assert set(re.findall(r'(?:url\(|href=")#([^)"]*)', text)) <= set(own)
        ids += own
    assert len(ids) == len(set(ids)) > 7


def test_figures_of_many_arms_and_of_long_names(tmp_path: Path) -> None:
    for arm in list(ARMS)[:12]:
        edit(make_run(tmp_path / "runs", arm=arm, items=20) / "run.json", lambda c: c["task"].update(name="n" * 90))
    make_runs(tmp_path / "runs", task_name="dna-h3", items=20)
    panels = build_report(read_runs(tmp_path / "runs"), resamples=10).panels
    shown = {panel.kind.name: panel for panel in panels if panel.kind.name == "worth" or "n" in panel.title}
    assert {"worth", "comparisons", "loss", "confusion"} <= set(shown)
    texts = [path.read_text() for path in save_figures(list(shown.values()), tmp_path) if path.suffix == ".svg"]
    assert 15 < max(len(name) for text in texts for name in re.findall("n+", text)) < 45  # as wide as its panel
    axis = Figure().subplots()
    shown["loss"].draw(axis)
    assert axis.get_ylim()[1] > 1.5 * max(max(line.get_ydata()) for line in axis.get_lines())  # room for the legend


def test_a_row_of_a_picture_is_as_high_as_its_panels(tmp_path: Path) -> None:
    panels = [Panel(COMPARISONS, str(n), lambda axis: None, size=(2.0, 6.0 if n == 0 else 1.0)) for n in range(5)]
    picture = next(path for path in save_figures(panels, tmp_path) if path.suffix == ".png")
    assert imread(picture).shape[:2] == (pytest.approx(192 * (6 + 1 + 2 * 0.28), abs=1), 4 * 2 * 192)


def test_no_two_arms_look_alike() -> None:
    assert set(_STYLE_OF) <= set(ARMS)
    assert len(set(_STYLE_OF.values())) == len(_STYLE_OF)
    assert arm_style("bert")["color"] != arm_style("rand")["color"]


def test_a_report_is_written_in_every_form(study: Path, tmp_path: Path) -> None:
    small = tmp_path / "runs"  # one task of three forms of figure
    for path in ("dna-splice/minilm-l6/bert", "dna-splice/minilm-l6/rand"):
        shutil.copytree(study / "recommended" / path, small / "recommended" / path)
    out = tmp_path / "out"
    written = {path.name: path for path in write_report(small, out)}
    figures = ("loss_curves", "comparisons", "fractions", "calibration", "confusion")
    assert set(written) == {f"{figure}.{form}" for figure in figures for form in ("png", "svg")} | {
        "index.html", "table.md", "table.json", "report.md", "report.json", "worth.md", "hypotheses.md", "runs.csv",
        "hypotheses.csv", "paper_tables.csv", "cells.csv", "comparisons.csv", "calibration.csv", "confusion.csv",
    }  # fmt: skip
    starts = {".png": b"\x89PNG", ".svg": b"<?xml"}
    assert all(p.read_bytes().startswith(starts[p.suffix]) for p in written.values() if p.suffix in starts)
    rows = {path.stem: list(csv.DictReader(path.open())) for path in written.values() if path.suffix == ".csv"}
    content = json.loads((out / "report.json").read_text())
    assert len(rows["runs"]) == 24
    assert len(rows["cells"]) == len(content["cells"]) == 8
    cells = {row["arm"]: row for row in rows["cells"] if row["fraction"] == "1.0"}
    mean = {arm: float(cell["mean"]) for arm, cell in cells.items()}
    assert mean["bert"] == pytest.approx(np.mean([float(score) for score in cells["bert"]["scores"].split()]))
    (test,) = [r for r in rows["comparisons"] if (r["first"], r["second"], r["fraction"]) == ("bert", "rand", "1.0")]
    assert float(test["difference"]) == pytest.approx(mean["bert"] - mean["rand"])
    items = sum(int(r["items"]) for r in rows["confusion"] if (r["arm"], r["fraction"]) == ("bert", "1.0"))
    assert items == 3 * 120
    assert content["failed"] == content["missing"] == content["collapsed"] == []
    assert f"{100 * mean['bert']:.1f}" in (out / "report.md").read_text()
    assert not [name for name, p in written.items() if p.suffix != ".png" and str(tmp_path) in p.read_text()]


def test_a_report_leaves_no_file_of_an_earlier_one(tmp_path: Path) -> None:
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", arm="baseline", protocol="baseline", backbone="majority")
    out = tmp_path / "out"
    first = write_report(tmp_path / "a", out)
    (out / "mine.md").write_text("notes")
    second = write_report(tmp_path / "b", out)
    assert out / "loss_curves.png" in set(first) - set(second)
    assert {*out.iterdir()} == {*second, out / "mine.md"}


def test_an_archive_is_reported_like_its_folder(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    make_run(tmp_path / "runs", "protein-fluorescence", arm="baseline", protocol="baseline", backbone="mean")
    make_failure(tmp_path / "runs/recommended/dna-h4/minilm-l6/bert/seed-0")
    with tarfile.open(tmp_path / "runs.tar.xz", "w:xz") as tar:
        tar.add(tmp_path / "runs", "runs")
    printed = []
    for name, source in (("folder", "runs"), ("file", "runs.tar.xz"), ("results", ".")):
        assert main(["report", str(tmp_path / source), "--output", str(tmp_path / "out" / name)]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1] == printed[2]
    folder, file, results = ({p.name: p.read_text() for p in (tmp_path / "out" / name).iterdir()}
                             for name in ("folder", "file", "results"))  # fmt: skip
    pages = [files.pop("index.html") for files in (folder, file, results)]
    assert folder == file == results
    assert pages[1] == pages[2]
    assert ['href="../../runs/' in text for text in pages] == [True, False, False]
    assert "recommended/dna-h4/minilm-l6/bert/seed-0" in pages[1]


def archived(name: str, folder: Path) -> RunsFolder:
    read_archive(ROOT / "results" / name / "runs.tar.xz", folder)
    return read_runs(folder)


def test_runs_on_other_test_items_stand_apart(tmp_path: Path) -> None:
    """Of two studies: one tests on at most 60 items."""
    for limit, items in ((None, 160), (60, 60)):
        make_runs(tmp_path / str(limit), items=items, specification={"max_eval_items": limit})
    runs = read_runs(tmp_path)
    report = build_report(runs, resamples=50)
    assert sorted(floor.items for floor in floors(report.cells)) == [60, 160]
    for table in report.tables:
        truth = make_items(TASKS["dna-splice"], 160 if table.setup.max_eval_items is None else 60)[1]
        floor = next(row for row in table.rows if row.kind == "floor").ours["dna-splice"]
        assert floor.mean == pytest.approx(np.bincount(truth).max() / len(truth))
    assert sorted({cell.column.setup for cell in report.cells}) == [
        "minilm-l6, recommended, paper", "minilm-l6, recommended, paper, at most 60 test items"
    ]  # fmt: skip
    named = ("task", "row", "kind", "arm", "backbone", "split", "fraction", "first", "second", "max_eval_items")
    for name in ("paper_tables", "cells", "comparisons", "confusion"):
        rows = report_rows(report)[name]
        names = {tuple(row.get(key) for key in (*named, "true", "given")) for row in rows}
        assert len(names) == len(rows), name  # a row says what it is of
    titles = sorted(run_table_markdown(table).splitlines()[0] for table in tables(runs))
    assert titles[1] == f"{titles[0]}, at most 60 test items"
    lines = report_markdown(report).partition("## Tests of two arms")[2].splitlines()
    setups = ["minilm-l6, recommended, paper", "minilm-l6, recommended, paper, at most 60 test items"]
    assert sorted(line.split(" | ")[1] for line in lines if line.startswith("| dna-splice")) == setups


def test_probes_of_several_sizes_are_told_apart(tmp_path: Path) -> None:
    make_run(tmp_path / "trained", "glue-rte", "bert")
    for size in (100, 300, 1000):
        for arm in ("bert", "rand"):
            of = {"protocol": "probe", "specification": {"items": size, "variant": f"items={size}"}}
            results = make_run(tmp_path / str(size), "glue-rte", arm, **of) / "results.json"
            edit(results, tried=[{"layer": 1, "pooling": "mean", "test": 0.5}], train_items=size)
    report = build_report(read_runs(tmp_path), resamples=50)
    rows = report_rows(report)
    assert [row["train_items"] for row in rows["comparisons"]] == [100, 300, 1000]
    assert list(dict.fromkeys(row["items"] for row in rows["paper_tables"])) == [None, 100, 300, 1000]
    names = [run_name(run.specification) for run in report.runs.records]
    assert "glue-rte, bert, minilm-l6, probe, seed 0, variant items=300" in names
    assert "were chosen on held-out training items" in run_table_markdown(tables(report.runs)[0])


def test_the_archived_demo_gives_its_table(tmp_path: Path) -> None:
    runs = archived("demo", tmp_path)
    first = make_cells(runs.records, resamples=10)[0]
    assert (first.name, first.mean, first.interval.over) == ("bert", 0.9375, "test items")
    assert "\n".join(map(run_table_markdown, tables(runs))) == (ROOT / "results/demo/table.md").read_text()


def test_a_table_of_many_epochs_can_be_read(tmp_path: Path) -> None:
    made = "\n".join(map(run_table_markdown, tables(archived("one-percent", tmp_path))))
    heads = [line for line in made.splitlines() if line.startswith("| arm ")]
    assert max(line.count("loss, epoch") for line in heads) == 6
    assert any("| loss, epoch 1 | loss, epoch 9 |" in line and "| loss, epoch 40 |" in line for line in heads)


def test_runs_without_predictions_are_not_compared(tmp_path: Path) -> None:
    runs = [run for run in archived("learning-rates", tmp_path).records if run.task.name == "protein-fluorescence"]
    cells = make_cells(runs, resamples=10)
    assert compare_arms(cells) == []
    missing = "a run of bert has no predictions, a run of rand has no predictions"
    assert f"protein-fluorescence: bert and rand: {missing}" in not_compared(cells)
    assert {cell.interval for cell in cells} == {None}
    assert round(max(cell.mean for cell in cells), 3) == 0.323


def test_hundreds_of_runs_are_read_and_computed_in_seconds(tmp_path: Path) -> None:
    for arm in ("bert", "rand"):
        for task in ("dna-splice", "protein-fluorescence"):
            folder = make_run(tmp_path, task, arm, seed=0, items=500)
            for seed in range(1, 75):
                copy = folder.parent / f"seed-{seed}"
                shutil.copytree(folder, copy)
                edit(copy / "run.json", lambda order, seed=seed: order["specification"].update(seed=seed))
    started = time.process_time()
    runs = read_runs(tmp_path)
    tests = compare_arms(make_cells(runs.records, resamples=300))
    assert (len(runs.records), len(tests)) == (300, 2)
    assert time.process_time() - started < 20  # measured: 4 s of one core, half of it ranks


def test_labels_and_names_of_a_user_are_escaped(tmp_path: Path) -> None:
    labels = [r"$\frac{1$ <img src=x>", "=HYPERLINK(1)", "#0072b2"]
    for seed in range(2):
        folder = make_run(tmp_path / "runs", seed=seed)
        order = json.loads((folder / "run.json").read_text())
        order["specification"]["task"] = order["task"]["name"] = "@mine|own"
        order["task"] |= {"published": [], "labels": labels}
        run_files.write_json(folder / "run.json", order)
    write_report(tmp_path / "runs", tmp_path / "out")
    page = (tmp_path / "out/index.html").read_text()
    assert "<img" not in page
    assert [text in page for text in (r"$\frac{1$ &lt;img", ">#0072b2</text>")] == [True, True]
    with (tmp_path / "out/confusion.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["true"] for row in rows} == {labels[0], "'=HYPERLINK(1)", labels[2]}
    assert {row["task"] for row in rows} == {"'@mine|own"}
    assert "| @mine\\|own accuracy |" in (tmp_path / "out/report.md").read_text()
