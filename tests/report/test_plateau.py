"""Steps until a run leaves the plateau: what is read from its log, curves and tests against textbook values."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from file_damage import edit
from made_runs import make_run

from hf_bertx import metrics, run_files
from hf_bertx.report.figures import save_figures
from hf_bertx.report.hypotheses import judge
from hf_bertx.report.make_cells import make_cells
from hf_bertx.report.page import page
from hf_bertx.report.plateau import PLATEAU, Survival, plateau_rows, plateau_tests, survivals
from hf_bertx.report.records import read_runs
from hf_bertx.report.write import build_report, report_markdown, report_rows
from hf_bertx.tasks import TASKS


def plateau_run(root: Path, losses: list[float], constant: float | None = 1.0, **own: Any) -> Path:
    """A finished run that logged these losses at steps 10, 20, ..."""
    folder = make_run(root, items=40, **own)
    edit(folder / run_files.RESULTS, **({} if constant is None else {"constant_loss": constant}))
    log = [{"step": 10 * i, "epoch": i / 4, "loss": loss} for i, loss in enumerate(losses, 1)]
    run_files.write_json(folder / run_files.LOG, log)
    return folder


def run_leaving_at(root: Path, step: int | None, arm: str = "bert", seed: int = 0, **own: Any) -> Path:
    """A run of 100 steps that leaves at a step, or never."""
    losses = [1.0 if step is None or at < step else 0.5 for at in range(10, 101, 10)]
    return plateau_run(root, losses, arm=arm, seed=seed, **own)


def curves_of(root: Path) -> list[Survival]:
    return survivals(make_cells(read_runs(root).records, resamples=10))


@pytest.mark.parametrize(
    ("losses", "constant", "found"),
    [
        ([1.0, 0.9, 0.8], 1.0, ("20", 1)),
        ([1.0, 0.9, 0.96, 0.8, 0.7], 1.0, ("40", 1)),  # back on the plateau at step 30
        ([0.5, 0.4], 1.0, ("10", 1)),
        ([1.0, 0.9, 0.95], 1.0, (">30", 0)),  # 95% itself is not below
        ([1.9, 1.8], 2.0, ("20", 1)),
        ([1.0, 0.9], None, None),  # an older run, which does not record the constant answer's loss
        ([], 1.0, None),
    ],
)
def test_a_run_leaves_when_its_loss_stays_below(
    losses: list[float], constant: float | None, found: Any, tmp_path: Path
) -> None:
    plateau_run(tmp_path, losses, constant)
    rows = plateau_rows(curves_of(tmp_path))
    assert [(row["steps"], row["left"]) for row in rows] == ([] if found is None else [found])


@pytest.mark.parametrize(
    ("task", "labels", "loss"),
    [
        ("dna-splice", [0, 1, 2] * 5, np.log(3)),
        ("dna-h3", [0, 0, 0, 1], 0.75 * np.log(4 / 3) + 0.25 * np.log(4)),
        ("dna-h3", [1, 1], 0.0),
        ("protein-fluorescence", [1.0, 2.0, 3.0], 2 / 3),
    ],
)
def test_the_constant_answers_loss(task: str, labels: list[float], loss: float) -> None:
    assert metrics.constant_answer_loss(np.asarray(labels), TASKS[task].regression) == pytest.approx(loss)


def test_curves_shares_and_log_rank_tests(tmp_path: Path) -> None:
    # leaving at 10, 20, >100 against 40, >100, >100, worked by hand
    for arm, steps in {"bert": (10, 20, None), "rand": (40, None, None), "unused": (None, None, None)}.items():
        for seed, step in enumerate(steps):
            run_leaving_at(tmp_path, step, arm, seed)
    curves = curves_of(tmp_path)
    bert, rand, unused = plateau_rows(curves)
    assert (bert["steps"], bert["median_step"], bert["left"]) == ("10 20 >100", 20.0, 2)
    assert (rand["steps"], rand["median_step"], unused["median_step"]) == ("40 >100 >100", None, None)
    assert bert["share_never"] == pytest.approx(1 / 3)
    assert (bert["never_low"], bert["never_high"]) == pytest.approx((0.0615, 0.7923), abs=1e-4)  # Wilson's, 1 of 3
    assert curves[0].curve[1].tolist() == pytest.approx([2 / 3, 1 / 3, 1 / 3])
    tests = {(t.first.cell.name, t.second.cell.name): t for t in plateau_tests(curves)}
    # expected of `bert`: 3/6 + 2/5 + 1/4 = 1.15; variance 0.25 + 0.24 + 0.1875 = 0.6775
    assert tests["bert", "rand"].statistic == pytest.approx((2 - 1.15) / np.sqrt(0.6775))
    assert tests["unused", "rand"].p_holm is not None
    half = replace(curves[0], steps=np.arange(1.0, 25.0), left=np.arange(24) < 12)
    assert half.curve[1][11] > 0.5  # by rounding
    assert half.median == 12


@pytest.mark.parametrize(("step", "text"), [(None, "no run left"), (20, "no test")])
def test_arms_that_leave_alike_are_not_tested(tmp_path: Path, step: int | None, text: str) -> None:
    for arm in ("bert", "rand"):
        run_leaving_at(tmp_path, step, arm)
    (test,) = plateau_tests(curves_of(tmp_path))
    assert (test.statistic, test.p_value, test.p_holm, test.p_text) == (None, None, None, text)


def test_a_run_that_started_again_never_left_at_its_rate(tmp_path: Path) -> None:
    folder = run_leaving_at(tmp_path, 20)
    starts = [{"learning_rate": rate, "steps": 500, "reason": "collapsed"} for rate in (1e-4, 5e-5)]
    edit(folder / run_files.RESULTS, restarts=starts)
    (row,) = plateau_rows(curves_of(tmp_path))
    assert (row["steps"], row["left"]) == (">500", 0)


@pytest.mark.parametrize(("leaving", "short"), [
    ({"bert": 4, "rand": 0}, "holds: 1 of 1, 0 against"),
    ({"bert": 0, "rand": 4}, "does not hold: 0 of 1, 1 against"),
])  # fmt: skip
def test_who_leaves_sooner_where_most_never_leave(tmp_path: Path, leaving: dict[str, int], short: str) -> None:
    for arm, seed in itertools.product(leaving, range(10)):  # both medians are "never"
        run_leaving_at(tmp_path, 10 if seed < leaving[arm] else None, arm, seed)
    (judged,) = judge([], plateau_tests(curves_of(tmp_path)))
    assert (judged.hypothesis.name, judged.short) == ("H4", short)


def test_tests_of_few_runs_are_not_counted_and_corrected_apart(tmp_path: Path) -> None:
    for task, seeds in (("dna-splice", 3), ("dna-h3", 3), ("dna-h4", 2)):
        for seed in range(seeds):
            run_leaving_at(tmp_path, 10 * (seed + 1), "bert", seed, task_name=task)
            later = 10 * (seed + 2) if task == "dna-splice" else 80 + 10 * seed
            run_leaving_at(tmp_path, later, "rand", seed, task_name=task)
    tests = {test.first.cell.task.name: test for test in plateau_tests(curves_of(tmp_path))}
    assert {name: test.tasks for name, test in tests.items()} == {"dna-splice": 2, "dna-h3": 2, "dna-h4": 1}
    low, high = tests["dna-h3"], tests["dna-splice"]
    assert low.p_holm == pytest.approx(2 * low.p_value)
    assert high.p_holm == pytest.approx(max(high.p_value, low.p_holm))
    (judged,) = judge([], list(tests.values()))
    assert (len(judged.findings), judged.short.partition(": ")[2]) == (3, "1 of 2, 0 against")


def test_figure_tables_and_page_are_written(tmp_path: Path) -> None:
    for seed in range(2):
        run_leaving_at(tmp_path / "runs", 20, "bert", seed)
        run_leaving_at(tmp_path / "runs", None, "rand", seed)
    report = build_report(read_runs(tmp_path / "runs"), resamples=10)
    panels = [panel for panel in report.panels if panel.kind is PLATEAU]
    assert [path.name for path in save_figures(panels, tmp_path)] == ["plateau.png", "plateau.svg"]
    rows = report_rows(report)
    assert [(row["arm"], row["share_never"]) for row in rows["plateau"]] == [("bert", 0.0), ("rand", 1.0)]
    assert [(row["arm"], row["second"]) for row in rows["plateau_tests"]] == [("bert", "rand")]
    assert "## Steps until the plateau is left" in report_markdown(report)
    assert "runs still on the plateau" in page(replace(report, panels=panels), tmp_path)
