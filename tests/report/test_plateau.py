"""Steps until a run leaves the plateau: what is read from its log, curves and tests against textbook values."""

import csv
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_runs import make_run

from hf_bertx import metrics, run_files
from hf_bertx.report.hypotheses import judge
from hf_bertx.report.plateau import plateau_rows, plateau_tests, survivals
from hf_bertx.report.records import read_runs
from hf_bertx.report.write import build_report, write_report
from hf_bertx.tasks import TASKS


def plateau_run(root: Path, losses: list[float], constant: float | None = 1.0, **own: Any) -> Path:
    """A finished run that logged these losses at steps 10, 20, ..."""
    folder = make_run(root, **own)
    results = json.loads((folder / run_files.RESULTS).read_text()) | {"constant_loss": constant}
    if constant is None:
        del results["constant_loss"]
    run_files.write_json(folder / run_files.RESULTS, results)
    log = [{"step": 10 * i, "epoch": i / 4, "loss": loss} for i, loss in enumerate(losses, 1)]
    run_files.write_json(folder / run_files.LOG, log)
    return folder


def run_leaving_at(root: Path, step: int | None, last: int = 100, **own: Any) -> Path:
    """A run that leaves at a step, or never."""
    return plateau_run(root, [1.0 if step is None or at < step else 0.5 for at in range(10, last + 1, 10)], **own)


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
    rows = plateau_rows(survivals(build_report(read_runs(tmp_path), resamples=10).cells))
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
    for seed, step in enumerate((10, 20, None)):
        run_leaving_at(tmp_path, step, arm="bert", seed=seed)
    for seed, step in enumerate((40, None, None)):
        run_leaving_at(tmp_path, step, arm="rand", seed=seed)
        run_leaving_at(tmp_path, None, arm="unused", seed=seed)
    report = build_report(read_runs(tmp_path), resamples=10)
    bert, rand, unused = plateau_rows(report.survivals)
    assert (bert["steps"], bert["median_step"], bert["left"]) == ("10 20 >100", 20.0, 2)
    assert (rand["steps"], rand["median_step"], unused["median_step"]) == ("40 >100 >100", None, None)
    assert bert["share_never"] == pytest.approx(1 / 3)
    assert (bert["never_low"], bert["never_high"]) == pytest.approx((0.0615, 0.7923), abs=1e-4)  # Wilson's, 1 of 3
    assert report.survivals[0].curve[1].tolist() == pytest.approx([2 / 3, 1 / 3, 1 / 3])
    tests = {(t.first.cell.name, t.second.cell.name): t for t in report.plateau_tests}
    # expected of `bert`: 3/6 + 2/5 + 1/4 = 1.15; variance 0.25 + 0.24 + 0.1875 = 0.6775
    assert tests["bert", "rand"].statistic == pytest.approx((2 - 1.15) / np.sqrt(0.6775))
    assert tests["unused", "rand"].p_holm is not None
    run_leaving_at(tmp_path / "none", None, arm="bert")
    run_leaving_at(tmp_path / "none", None, arm="rand")
    (test,) = plateau_tests(build_report(read_runs(tmp_path / "none"), resamples=10).survivals)
    assert (test.statistic, test.p_value, test.p_holm) == (None, None, None)


def test_a_run_that_started_again_never_left_at_its_rate(tmp_path: Path) -> None:
    folder = run_leaving_at(tmp_path, 20)
    results = json.loads((folder / run_files.RESULTS).read_text())
    starts = [{"learning_rate": rate, "steps": 500, "reason": "collapsed"} for rate in (1e-4, 5e-5)]
    run_files.write_json(folder / run_files.RESULTS, results | {"restarts": starts})
    (row,) = plateau_rows(survivals(build_report(read_runs(tmp_path), resamples=10).cells))
    assert (row["steps"], row["left"]) == (">500", 0)


@pytest.mark.parametrize(("leaving", "short"), [
    ({"bert": 4, "rand": 0}, "holds: 1 of 1, 0 against"),
    ({"bert": 0, "rand": 4}, "does not hold: 0 of 1, 1 against"),
])  # fmt: skip
def test_who_leaves_sooner_where_most_never_leave(tmp_path: Path, leaving: dict[str, int], short: str) -> None:
    for arm, seed in itertools.product(leaving, range(10)):  # both medians are "never"
        run_leaving_at(tmp_path, 10 if seed < leaving[arm] else None, arm=arm, seed=seed)
    (judged,) = judge([], plateau_tests(survivals(build_report(read_runs(tmp_path), resamples=10).cells)))
    assert (judged.hypothesis.name, judged.short) == ("H4", short)


def test_tests_of_few_runs_are_not_counted_and_corrected_apart(tmp_path: Path) -> None:
    for task, seeds in (("dna-splice", 3), ("dna-h3", 3), ("dna-h4", 2)):
        for seed in range(seeds):
            run_leaving_at(tmp_path, 10, task_name=task, arm="bert", seed=seed)
            run_leaving_at(tmp_path, 50 + 10 * seed, task_name=task, arm="rand", seed=seed)
    tests = plateau_tests(survivals(build_report(read_runs(tmp_path), resamples=10).cells))
    assert {test.first.cell.task.name: test.tasks for test in tests} == {"dna-splice": 2, "dna-h3": 2, "dna-h4": 1}
    (judged,) = judge([], tests)
    assert (len(judged.findings), judged.short.partition(": ")[2]) == (3, "0 of 2, 0 against")


def test_p_values_are_corrected_over_tasks(tmp_path: Path) -> None:
    for task, seed in ((task, seed) for task in ("dna-splice", "dna-h3") for seed in range(3)):
        run_leaving_at(tmp_path, 10 * (seed + 1), task_name=task, arm="bert", seed=seed)
        run_leaving_at(tmp_path, 80 + 10 * seed if task == "dna-h3" else 10 * (seed + 2), task_name=task, arm="rand",
                       seed=seed)  # fmt: skip
    tests = plateau_tests(build_report(read_runs(tmp_path), resamples=10).survivals)
    low, high = sorted((t for t in tests if t.p_value is not None), key=lambda t: t.p_value or 0)
    assert low.p_holm == pytest.approx(2 * (low.p_value or 0))
    assert (high.p_holm, high.tasks) == (pytest.approx(max(high.p_value or 0, low.p_holm or 0)), 2)


def test_figure_tables_and_page_are_written(tmp_path: Path) -> None:
    for seed in range(2):
        run_leaving_at(tmp_path / "runs", 20, arm="bert", seed=seed, items=40)
        run_leaving_at(tmp_path / "runs", None, arm="rand", seed=seed, items=40)
    names = {path.name for path in write_report(tmp_path / "runs", tmp_path / "out")}
    assert {"plateau.png", "plateau.svg", "plateau.csv", "plateau_tests.csv"} <= names
    with (tmp_path / "out/plateau.csv").open() as file:
        assert [(row["arm"], row["share_never"]) for row in csv.DictReader(file)] == [("bert", "0.0"), ("rand", "1.0")]
    assert len(json.loads((tmp_path / "out/report.json").read_text())["plateau"]) == 2
    assert "## Steps until the plateau is left" in (tmp_path / "out/report.md").read_text()
    assert "runs still on the plateau" in (tmp_path / "out/index.html").read_text()
