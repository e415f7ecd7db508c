"""Figure 3: score by step of pre-training, what stands beside it, and the share of the gain at 2% of the steps."""

import csv
import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_runs import make_run
from scipy import stats

from hf_bertx.report.figures import save_figures
from hf_bertx.report.pretraining import (
    EarlyGain,
    Line,
    Point,
    Trajectory,
    early_gain,
    gain_cells,
    gain_rows,
    step_label,
    trajectories,
)
from hf_bertx.report.pretraining_panels import pretraining_panels
from hf_bertx.report.records import read_runs
from hf_bertx.report.statistics import ratio_interval, seed_interval
from hf_bertx.report.write import Report, build_report, write_report


def line(**scores: list[float]) -> Line:
    """`at_600=[0.5, 0.6]`: the score of each seed at a step."""
    points = [Point(int(name[3:]), dict(enumerate(values)), None) for name, values in scores.items()]
    return Line("bert", "seeds", tuple(points))


def test_the_interval_of_a_ratio_is_of_the_ratios_that_t_does_not_rule_out() -> None:
    above, below = np.array([0.30, 0.42, 0.37, 0.35]), np.array([0.61, 0.70, 0.66, 0.58])
    found = ratio_interval(above, below)
    assert found is not None
    assert found[0] < above.mean() / below.mean() < found[1]
    for end in found:  # there the mean of above - ratio * below is just as far from 0 as t allows
        assert stats.ttest_1samp(above - end * below, 0.0).pvalue == pytest.approx(0.05, abs=1e-9)


def test_a_ratio_without_spread_is_exact_and_one_over_nothing_has_no_interval() -> None:
    assert ratio_interval([0.3, 0.3], [0.6, 0.6]) == pytest.approx((0.5, 0.5))
    assert ratio_interval([0.3], [0.6]) is None
    assert ratio_interval([0.3, 0.2, 0.1], [0.5, -0.4, 0.1]) is None  # the denominator's own interval holds 0


def test_ninety_five_of_a_hundred_intervals_hold_the_ratio() -> None:
    generator = np.random.default_rng(0)
    shared = generator.normal(scale=0.05, size=(2000, 3))  # of step 0, in both gains
    above = 0.3 + shared + generator.normal(scale=0.03, size=(2000, 3))
    below = 0.6 + shared + generator.normal(scale=0.03, size=(2000, 3))
    found = [ratio_interval(*pair) for pair in zip(above, below, strict=True)]
    kept = [each for each in found if each is not None]
    assert len(kept) > 1900
    assert np.mean([low <= 0.5 <= high for low, high in kept]) == pytest.approx(0.95, abs=0.015)


def test_the_share_of_the_gain_is_paired_by_seed() -> None:
    # gains at 2%: 0.2 and 0.3, of 0.4 and 0.6; seed 2 lacks the last checkpoint
    found = early_gain(line(at_0=[0.5, 0.3, 0.1], at_600=[0.7, 0.6, 0.9], at_6000=[0.7, 0.7], at_30000=[0.9, 0.9]))
    assert (found.first_step, found.early_step, found.last_step, found.seeds, found.over) == (
        0,
        600,
        30000,
        2,
        "seeds",
    )
    assert found.gain == pytest.approx(0.5)
    assert found.why_no_share == "the gain cannot be told from 0"  # 0.5 +- 1.27 at two seeds
    assert (found.share, found.share_low, found.share_high) == (None, None, None)
    found = early_gain(line(at_0=[0.50, 0.30, 0.40], at_600=[0.70, 0.51, 0.59], at_30000=[0.90, 0.70, 0.80]))
    assert found.share == pytest.approx(0.5)
    assert found.share_low is not None
    assert found.share_high is not None
    assert (found.share_low, found.share_high) == pytest.approx(
        (0.4379, 0.5621), abs=1e-4
    )  # t(2) * 0.01 / sqrt(3) / 0.4
    assert found.gain_low == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("scores", "note"),
    [
        ({"at_20": [0.1, 0.1], "at_1000": [0.5, 0.5]}, "the first checkpoint is of step 20"),
        ({"at_0": [0.1, 0.1], "at_80": [0.3, 0.3], "at_1000": [0.5, 0.5]}, "no checkpoint near 2% of the steps"),
        ({"at_0": [0.1, 0.1], "at_80": [0.3, 0.3], "at_1000": [0.5, 0.5]}, ", the nearest at 8.0%"),
        ({"at_0": [0.1], "at_20": [0.3, 0.3], "at_1000": [0.5, 0.5]}, "1 of the seeds ran on all three checkpoints"),
        ({"at_0": [0.5, 0.6], "at_20": [0.3, 0.3], "at_1000": [0.1, 0.2]}, "no gain, the score fell"),
        ({"at_0": [0.5, 0.6], "at_20": [0.5, 0.6], "at_1000": [0.5, 0.6]}, "the gain cannot be told from 0"),
        ({"at_0": [0.1, 0.1], "at_20": [0.3, 0.3], "at_1000": [0.5, 0.5]}, ""),
    ],
)
def test_a_share_that_would_say_nothing_is_left_out_and_says_why(scores: dict[str, list[float]], note: str) -> None:
    found = early_gain(line(**scores))
    assert note in found.why_no_share
    assert (found.share is None) == bool(note)


def test_labels_of_steps() -> None:
    assert [step_label(n) for n in (0, 12, 600, 1500, 20_000, 1_100_000, 2_000_000)] == [
        "0", "12", "600", "1.5K", "20K", "1.1M", "2M",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("series") / "runs"
    for step, skill in ((0, 0.9), (600, 1.6), (6000, 2.0), (30000, 2.3)):
        for seed in range(3):
            own: dict[str, Any] = {"backbone": f"out/small/step-{step}", "items": 200, "skill": skill}
            make_run(root, "dna-splice", "bert", seed, **own)
            make_run(root, "glue-sst2", "shift_1000", seed, **own)
            make_run(root, "glue-sst2", "shift_1000", seed, fraction=0.01, **own)
            make_run(root, "protein-fluorescence", "bert", seed, **{**own, "skill": 1.0})
    for seed in range(3):
        last = {"backbone": "out/small/step-30000", "items": 200, "skill": 0.8}
        make_run(root, "dna-splice", "rand", seed, **last)
        make_run(root, "glue-sst2", "shift_1000_rand", seed, **last)
        make_run(root, "dna-splice", "bert", seed, items=200, skill=2.5)
        make_run(root, "dna-splice", "rand", seed, items=200)  # of another backbone: no control of this series
    for pretraining in range(2):
        for step in (0, 40, 2000):
            skill = 1.0 + step / 1500 + pretraining / 5
            backbone = f"multiberts-seed_{pretraining}-step_{step}k"
            for seed in range(2):
                make_run(root, "dna-splice", "bert", seed, backbone=backbone, items=200, skill=skill)
    return root


@pytest.fixture(scope="module")
def report(runs: Path) -> Report:
    return build_report(read_runs(runs), resamples=100)


def of(report: Report, task: str, series: str = "out/small", fraction: float = 1.0) -> Trajectory:
    (found,) = [
        t for t in report.trajectories if (t.task.name, t.series, t.fraction) == (task, series, fraction)
    ]  # fmt: skip
    return found


def test_a_picture_is_of_one_task_and_one_series(report: Report) -> None:
    assert sorted((t.task.name, t.series, t.fraction) for t in report.trajectories) == [
        ("dna-splice", "multiberts", 1.0),
        ("dna-splice", "out/small", 1.0),
        ("glue-sst2", "out/small", 0.01),
        ("glue-sst2", "out/small", 1.0),
        ("protein-fluorescence", "out/small", 1.0),
    ]
    splice = of(report, "dna-splice")
    (bert,) = splice.lines
    assert [point.step for point in bert.points] == [0, 600, 6000, 30000]
    (cell,) = [
        c for c in report.cells if c.specification["backbone"] == "out/small/step-600" and c.task == splice.task
    ]
    assert list(bert.points[1].by_seed.values()) == list(cell.scores)
    assert bert.points[1].interval == seed_interval(cell.scores, 0.0)


def test_references_are_other_backbones_and_the_random_start_of_the_series(report: Report) -> None:
    references = {r.label: r for r in of(report, "dna-splice").references}
    assert list(references) == ["minilm-l6", "rand"]
    assert (references["minilm-l6"].random, references["rand"].random) == (False, True)
    (cell,) = [c for c in report.cells if c.name == "rand" and c.specification["backbone"].startswith("out")]
    assert references["rand"].mean == cell.mean
    assert [r.label for r in of(report, "glue-sst2").references] == ["shift_1000_rand"]
    assert of(report, "glue-sst2", fraction=0.01).references == ()


def test_several_pretrainings_are_what_the_interval_is_over(report: Report) -> None:
    (bert,) = of(report, "dna-splice", "multiberts").lines
    assert bert.over == "pre-training seeds"
    cells = [c for c in report.cells if c.specification["backbone"].endswith("step_40k")]
    means = [cell.mean for cell in cells]
    assert len(means) == 2
    assert sorted(bert.points[1].by_seed.values()) == sorted(means)
    assert bert.points[1].interval == seed_interval([m for m in means if m is not None], 0.0)


def test_one_run_a_step_has_the_interval_over_its_test_items(tmp_path: Path) -> None:
    for step in (0, 2, 100):
        make_run(tmp_path, backbone=f"small/step-{step}", items=100, skill=1.0 + step / 100)
    (one,) = build_report(read_runs(tmp_path), resamples=50).trajectories
    assert [point.interval.over for point in one.lines[0].points if point.interval] == ["test items"] * 3
    assert early_gain(one.lines[0]).why_no_share == "1 of the seeds ran on all three checkpoints"


def test_runs_that_answer_every_item_alike_have_no_gain_to_share(tmp_path: Path) -> None:
    for step, seed in itertools.product((0, 2, 100), range(3)):
        told = {"backbone": f"small/step-{step}", "items": 100, "skill": 1.0 + step / 100}
        make_run(tmp_path / "some", seed=seed, collapsed=step == 2, **told)
        make_run(tmp_path / "all", seed=seed, collapsed=True, **told)
    (some,) = build_report(read_runs(tmp_path / "some"), resamples=50).trajectories
    (alike,) = build_report(read_runs(tmp_path / "all"), resamples=50).trajectories
    assert [point.collapsed for point in some.lines[0].points] == [False, True, False]
    assert "alike" not in early_gain(some.lines[0]).why_no_share
    assert early_gain(alike.lines[0]).why_no_share == "all runs at both ends answer every item alike"


def test_the_figure_and_the_table_are_written(runs: Path, tmp_path: Path) -> None:
    write_report(runs, tmp_path)
    assert (tmp_path / "pretraining.png").stat().st_size > 20_000
    with (tmp_path / "pretraining_gain.csv").open() as file:
        rows = {(row["task"], row["series"], row["fraction"]): row for row in csv.DictReader(file)}
    splice, flat = rows["dna-splice", "out/small", "1.0"], rows["protein-fluorescence", "out/small", "1.0"]
    at = {name: float(splice[f"{name}_score"]) for name in ("first", "early", "last")}
    assert float(splice["share"]) == pytest.approx((at["early"] - at["first"]) / (at["last"] - at["first"]))
    assert 0 < float(splice["share_low"]) < float(splice["share"]) < float(splice["share_high"])
    assert (flat["share"], flat["why_no_share"]) == ("", "the gain cannot be told from 0")
    found = json.loads((tmp_path / "report.json").read_text())["pretraining_gain"]
    assert len(found) == len(rows) == 5
    table = (tmp_path / "report.md").read_text().partition("## How soon pre-training pays")[2]
    assert "| none: the gain cannot be told from 0 | 3 seeds |" in table
    assert f"| {100 * at['first']:.1f} | {100 * at['early']:.1f} | {100 * at['last']:.1f} |" in table
    page = (tmp_path / "index.html").read_text()
    assert "share at 2% [95%]" in page
    assert "none: the gain cannot be told from 0" in page


def test_the_axis_has_room_for_0_and_names_no_step_over_another(report: Report) -> None:
    from matplotlib import pyplot as plt

    splice = of(report, "dna-splice")
    many = [Point(1000 * step, {0: 0.5, 1: 0.6}, None) for step in (0, *range(20, 201, 20), *range(300, 2001, 100))]
    crowded = replace(splice, lines=(Line("bert", "seeds", tuple(many)),))
    for one, fewest in ((splice, 4), (crowded, 6)):
        (panel,) = pretraining_panels([one], [])
        figure = plt.figure(figsize=panel.size)
        axis = figure.add_axes((0.16, 0.16, 0.8, 0.8))
        panel.draw(axis)
        figure.canvas.draw()
        boxes = sorted((text.get_window_extent() for text in axis.get_xticklabels()), key=lambda box: box.x0)
        names = {text.get_text() for text in axis.get_xticklabels()}
        assert {"0", step_label(one.lines[0].points[-1].step)} <= names
        assert len(boxes) >= fewest
        assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))
        lowest, highest = axis.get_xlim()
        assert lowest < 0 < one.lines[0].points[-1].step < highest
        plt.close(figure)


def test_panels_say_in_words_what_they_show(report: Report, tmp_path: Path) -> None:
    panels = pretraining_panels([of(report, "dna-splice"), of(report, "protein-fluorescence")], report.floors)
    assert [panel.where for panel in panels] == [
        "checkpoints of out/small, protocol recommended, split paper; bars: 95% intervals"
    ] * 2
    assert "at 600" in panels[0].about
    assert "share of the gain at 2% of the steps: " in panels[0].about
    assert "none, the gain cannot be told from 0" in panels[1].about
    assert save_figures(panels, tmp_path) == [tmp_path / "pretraining.png", tmp_path / "pretraining.svg"]
    shares = [row["share at 2% [95%]"] for row in gain_cells(report.trajectories)]
    assert len(shares) == len(gain_rows(report.trajectories)) == 5


def test_no_series_is_no_figure(tmp_path: Path) -> None:
    make_run(tmp_path, items=50)
    make_run(tmp_path, items=50, backbone="small/step-600")  # one checkpoint alone
    report = build_report(read_runs(tmp_path), resamples=20)
    assert trajectories(report.cells) == []
    assert isinstance(early_gain(line(at_0=[0.1], at_100=[0.2])), EarlyGain)
