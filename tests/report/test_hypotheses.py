"""Verdicts on the paper's hypotheses."""

from pathlib import Path

import pytest
from made_runs import cells_of, make_run, make_runs

from hf_bertx.report.comparisons import ArmComparison, compare_arms
from hf_bertx.report.hypotheses import HYPOTHESES, Finding, Judgement, hypotheses_markdown, hypothesis_rows, judge
from hf_bertx.report.worth import worth_markdown

BY_NAME = {hypothesis.name: hypothesis for hypothesis in HYPOTHESES}


FAR_APART = {"bert": 3.0, "rand": 0.5}


def compared(root: Path) -> list[ArmComparison]:
    return compare_arms(cells_of(root, 300))


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
    (cell,) = cells_of(tmp_path)
    row = {"first_runs": 3, "second_runs": 3}
    findings = tuple(Finding(cell, "a - b", sign, "", row) for sign in signs)
    judged = Judgement(BY_NAME[name], "here", findings)
    assert judged.verdict == verdict
    short = f"{verdict}: {signs.count(1)} of 3, {signs.count(-1)} against"
    assert f"| {name} | {judged.hypothesis.claim} | {short} |" in hypotheses_markdown([judged])


def test_a_report_judges_what_its_runs_say(tmp_path: Path) -> None:
    make_runs(tmp_path, {**FAR_APART, "re_emb": 0.52}, seeds=range(4))
    judgements = judge(compared(tmp_path), [])
    rows = {row["hypothesis"]: row for row in hypothesis_rows(judgements)}
    assert [rows["H1"][name] for name in ("verdict", "sign", "task")] == ["holds", 1, "dna-splice"]
    assert rows["H2b"]["verdict"] == "cannot be told"
    assert rows["H1"]["low"] < rows["H1"]["difference"] < rows["H1"]["high"]
    assert "H5" not in rows
    verdicts = hypotheses_markdown(judgements).splitlines()
    assert "| H1 | Pre-trained weights beat random ones. | holds: 1 of 1, 0 against |" in verdicts
    assert "| H7 | Most of the gain comes early in pre-training. | - |" in verdicts


def test_little_data_has_a_verdict_of_its_own(tmp_path: Path) -> None:
    shifts = ("shift_1000", "random_shift")
    for fraction in (0.01, 1.0):
        make_runs(tmp_path, (*shifts, *(f"{shift}_rand" for shift in shifts)), "glue-rte", fraction=fraction)
    of_probe = {"protocol": "probe", "specification": {"items": 100}}
    make_runs(tmp_path, (*shifts, "rand"), "glue-rte", **of_probe)
    make_runs(tmp_path, **of_probe)
    judged = judge(compared(tmp_path), [])
    pairs = {(each.hypothesis.name, each.where): [finding.pair for finding in each.findings] for each in judged}
    trained, probed = "minilm-l6, recommended, paper", "minilm-l6, probe, paper, 100 items"
    shifted = ["shift_1000 - shift_1000_rand", "random_shift - random_shift_rand"]
    assert pairs == {
        ("H1", probed): ["bert - rand"],
        ("H5", trained): shifted,
        ("H5", f"{trained}, 1% of the data"): shifted,
        ("H5", probed): ["shift_1000 - rand", "random_shift - rand"],
        ("H6", f"{trained}, 1% of the data"): shifted,
        ("H6", probed): ["bert - rand"],
    }


def test_comparisons_of_single_runs_are_shown_but_not_counted(tmp_path: Path) -> None:
    for task, seeds in (("dna-splice", 3), ("dna-h3", 3), ("dna-h4", 1)):
        make_runs(tmp_path, FAR_APART, task, range(seeds))
    tests = compared(tmp_path)
    assert {test.first.task.name: test.tasks for test in tests} == {"dna-splice": 2, "dna-h3": 2, "dna-h4": 1}
    (judged,) = judge(tests, [])
    assert (judged.short, len(judged.findings)) == ("holds: 2 of 2, 0 against", 3)
    assert "| h4 | bert - rand | +" in hypotheses_markdown([judged])
    assert "| not counted | 1, 1 |" in hypotheses_markdown([judged])
    alone = Judgement(judged.hypothesis, judged.where, judged.findings[-1:])
    assert alone.short == "cannot be told: too few runs"
    assert [row["counted"] for row in hypothesis_rows([alone])] == [False]


def test_a_part_of_a_large_task_counts_beside_whole_tasks(tmp_path: Path) -> None:
    make_runs(tmp_path, FAR_APART, seeds=range(3))
    make_runs(tmp_path, FAR_APART, "protein-fluorescence", range(3), fraction=0.2)
    make_runs(tmp_path, {"bert": 1.0, "rand": 1.0}, "protein-fluorescence", range(3), fraction=0.1)
    tests = compared(tmp_path)
    judged = {each.where: each for each in judge(tests, [])}
    assert [len(each.findings) for each in judged.values()] == [2, 1]
    assert [name.rpartition(", ")[2] for name in judged] == ["paper", "10% of the data"]
    assert {test.tasks for test in tests if test.first.share == 1} == {2}  # corrected together
    assert "| fluorescence, 20% data | bert - rand |" in hypotheses_markdown(list(judged.values()))
    assert "(3, 3, 20% data) |" in worth_markdown(tests, [])
