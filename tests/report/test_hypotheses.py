"""Verdicts on the paper's hypotheses."""

import itertools
from pathlib import Path

import pandas as pd
import pytest
from made_runs import make_run

from hf_bertx.report.comparisons import compare_arms
from hf_bertx.report.hypotheses import HYPOTHESES, Finding, Judgement, hypotheses_markdown, hypothesis_rows, judge
from hf_bertx.report.make_cells import make_cells
from hf_bertx.report.records import read_runs
from hf_bertx.report.write import write_report

BY_NAME = {hypothesis.name: hypothesis for hypothesis in HYPOTHESES}
SHIFTED = ["shift_1000 - shift_1000_rand", "random_shift - random_shift_rand"]


@pytest.mark.parametrize(
    ("name", "signs", "verdict"),
    [
        ("H1", [1, 1, 1], "holds"),
        ("H1", [1, 1, 0], "holds"),
        ("H1", [1, 0, 0], "cannot be told"),
        ("H1", [1, 1, -1], "cannot be told"),
        ("H1", [1, -1, 0], "does not hold"),
        ("H1", [0, 0, -1], "does not hold"),
        ("H1", [0, 0, 0], "cannot be told"),
        ("H3", [1, 1, 0], "holds"),
        ("H3", [1, 1, -1], "holds"),
        ("H3", [0, -1, 0], "cannot be told"),
        ("H3", [-1, -1, 0], "does not hold"),
    ],
)
def test_a_verdict_follows_from_the_tasks(tmp_path: Path, name: str, signs: list[int], verdict: str) -> None:
    make_run(tmp_path)
    (cell,) = make_cells(read_runs(tmp_path).records, resamples=10)
    row = {"first_runs": 3, "second_runs": 3}
    judged = Judgement(BY_NAME[name], "here", tuple(Finding(cell, "a - b", sign, "", row) for sign in signs))
    assert judged.verdict == verdict
    short = f"{verdict}: {signs.count(1)} of 3, {signs.count(-1)} against"
    assert f"| {name} | {judged.hypothesis.claim} | {short} |" in hypotheses_markdown([judged])


def test_a_report_judges_what_its_runs_say(tmp_path: Path) -> None:
    for seed in range(4):
        for arm, skill in (("bert", 3.0), ("rand", 0.5), ("re_emb", 0.52)):
            make_run(tmp_path / "runs", arm=arm, seed=seed, skill=skill)
    write_report(tmp_path / "runs", tmp_path / "report")
    rows = pd.read_csv(tmp_path / "report" / "hypotheses.csv").set_index("hypothesis")
    assert rows.loc["H1", ["verdict", "sign", "task"]].tolist() == ["holds", 1, "dna-splice"]
    assert rows.loc["H2b", "verdict"] == "cannot be told"
    assert rows.loc["H1", "low"] < rows.loc["H1", "difference"] < rows.loc["H1", "high"]
    assert "H5" not in rows.index
    verdicts = (tmp_path / "report" / "hypotheses.md").read_text().splitlines()
    assert "| H1 | Pre-trained weights beat random ones. | holds: 1 of 1, 0 against |" in verdicts
    assert "| H7 | Most of the gain comes early in pre-training. | - |" in verdicts


def test_little_data_has_a_verdict_of_its_own(tmp_path: Path) -> None:
    for seed, arm in itertools.product(range(3), ("shift_1000", "shift_1000_rand")):
        make_run(tmp_path / "runs", "glue-rte", arm, seed, fraction=0.01)
        make_run(tmp_path / "runs", "glue-rte", arm, seed)
    tests = compare_arms(make_cells(read_runs(tmp_path / "runs").records, resamples=300))
    judged = [(each.hypothesis.name, len(each.findings)) for each in judge(tests, [])]
    assert judged == [("H5", 1), ("H5", 1), ("H6", 1)]


@pytest.mark.parametrize(
    ("name", "trained", "probed"),
    [
        ("H1", ["bert - rand"], ["bert - rand"]),
        ("H4", ["bert - rand"], ["bert - rand"]),
        ("H5", SHIFTED, ["shift_1000 - rand", "random_shift - rand"]),
        ("H6", SHIFTED, ["bert - rand"]),
    ],
)
def test_arms_of_a_hypothesis_are_the_plans(name: str, trained: list[str], probed: list[str]) -> None:
    hypothesis = BY_NAME[name]
    assert [" - ".join(pair) for pair in hypothesis.pairs] == trained
    assert [" - ".join(pair) for pair in hypothesis.of_probes or hypothesis.pairs] == probed


def test_comparisons_of_single_runs_are_shown_but_not_counted(tmp_path: Path) -> None:
    for task, seeds in (("dna-splice", 3), ("dna-h3", 3), ("dna-h4", 1)):
        for seed, (arm, skill) in itertools.product(range(seeds), (("bert", 3.0), ("rand", 0.5))):
            make_run(tmp_path / "runs", task, arm, seed, skill=skill)
    tests = compare_arms(make_cells(read_runs(tmp_path / "runs").records, resamples=300))
    assert {test.first.task.name: test.tasks for test in tests} == {"dna-splice": 2, "dna-h3": 2, "dna-h4": 1}
    (judged,) = judge(tests, [])
    assert (judged.short, len(judged.findings)) == ("holds: 2 of 2, 0 against", 3)
    assert "| h4 | bert - rand | +" in hypotheses_markdown([judged])
    assert "| not counted | 1, 1 |" in hypotheses_markdown([judged])
    alone = Judgement(judged.hypothesis, judged.where, judged.findings[-1:])
    assert (alone.short, [row["counted"] for row in hypothesis_rows([alone])]) == (
        "cannot be told: too few runs", [False]
    )  # fmt: skip


def test_a_part_of_a_large_task_counts_beside_whole_tasks(tmp_path: Path) -> None:
    for seed in range(3):
        for arm, skill in (("bert", 3.0), ("rand", 0.5)):
            make_run(tmp_path / "runs", arm=arm, seed=seed, skill=skill)
            make_run(tmp_path / "runs", "protein-fluorescence", arm, seed, skill=skill, fraction=0.2)
            make_run(tmp_path / "runs", "protein-fluorescence", arm, seed, skill=1.0, fraction=0.1)
    tests = compare_arms(make_cells(read_runs(tmp_path / "runs").records, resamples=300))
    judged = {each.where: each for each in judge(tests, [])}
    assert [len(each.findings) for each in judged.values()] == [2, 1]
    assert [name.rpartition(", ")[2] for name in judged] == ["paper", "10% of the data"]
    assert {test.tasks for test in tests if test.first.share == 1} == {2}  # corrected together
    write_report(tmp_path / "runs", tmp_path / "report")
    assert "| fluorescence, 20% data | bert - rand |" in (tmp_path / "report" / "hypotheses.md").read_text()
    assert "(3, 3, 20% data) |" in (tmp_path / "report" / "worth.md").read_text()
