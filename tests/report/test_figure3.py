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

from hf_bertx.report.figures import inline_svg, save_figures
from hf_bertx.report.pretraining import Line, Point, Trajectory, early_gain, gain_cells, step_label, trajectories
from hf_bertx.report.pretraining_panels import pretraining_panels
from hf_bertx.report.records import read_runs
from hf_bertx.report.statistics import ratio_interval, seed_interval
from hf_bertx.report.write import Report, build_report, write_report


def line(**scores: list[float]) -> Line:
    """`at_600=[0.5, 0.6]`: the score of each seed at a step."""
    points = [Point(int(name[3:]), dict(enumerate(values)), None) for name, values in scores.items()]
    return Line("bert", "seeds", tuple(points))


def test_the_interval_of_a_ratio_is_where_t_does_not_reject() -> None:
    above, below = np.array([0.30, 0.42, 0.37, 0.35]), np.array([0.61, 0.70, 0.66, 0.58])
    interval = ratio_interval(above, below)
    assert interval is not None
    assert interval[0] < above.mean() / below.mean() < interval[1]
    for end in interval:  # there the mean of above - ratio * below is just as far from 0 as t allows
        assert stats.ttest_1samp(above - end * below, 0.0).pvalue == pytest.approx(0.05, abs=1e-9)
    assert ratio_interval([0.3, 0.3], [0.6, 0.6]) == pytest.approx((0.5, 0.5))  # no spread: exact
    assert ratio_interval([0.3], [0.6]) is None
    assert ratio_interval([0.3, 0.2, 0.1], [0.5, -0.4, 0.1]) is None  # the denominator's own interval holds 0


def test_95_of_100_intervals_hold_the_ratio() -> None:
    generator = np.random.default_rng(0)
    shared = generator.normal(scale=0.05, size=(2000, 3))  # of step 0, in both gains
    above = 0.3 + shared + generator.normal(scale=0.03, size=(2000, 3))
    below = 0.6 + shared + generator.normal(scale=0.03, size=(2000, 3))
    kept = [pair for pair in map(ratio_interval, above, below) if pair is not None]
    assert len(kept) > 1900
    assert np.mean([low <= 0.5 <= high for low, high in kept]) == pytest.approx(0.95, abs=0.015)


def test_the_share_of_the_gain_is_paired_by_seed() -> None:
    # gains at 2%: 0.2 and 0.3, of 0.4 and 0.6; seed 2 lacks the last checkpoint
    gain = early_gain(line(at_0=[0.5, 0.3, 0.1], at_600=[0.7, 0.6, 0.9], at_6000=[0.7, 0.7], at_30000=[0.9, 0.9]))
    names = ("first_step", "early_step", "last_step", "seeds", "over", "share")
    assert [gain[name] for name in names] == [0, 600, 30000, 2, "seeds", None]
    assert gain["gain"] == pytest.approx(0.5)
    assert gain["why_no_share"] == "the gain cannot be told from 0"  # 0.5 +- 1.27 at two seeds
    gain = early_gain(line(at_0=[0.50, 0.30, 0.40], at_600=[0.70, 0.51, 0.59], at_30000=[0.90, 0.70, 0.80]))
    # t(2) * 0.01 / sqrt(3) / 0.4
    assert [gain[n] for n in ("share", "share_low", "share_high")] == pytest.approx([0.5, 0.4379, 0.5621], abs=1e-4)
    assert gain["gain_low"] == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("scores", "note"),
    [
        ({"at_20": [0.1, 0.1], "at_1000": [0.5, 0.5]}, "the first checkpoint is of step 20"),
        (
            {"at_0": [0.1, 0.1], "at_80": [0.3, 0.3], "at_1000": [0.5, 0.5]},
            "no checkpoint near 2% of the steps, the nearest at 8.0%",
        ),
        ({"at_0": [0.1], "at_20": [0.3, 0.3], "at_1000": [0.5, 0.5]}, "1 of the seeds ran on all three checkpoints"),
        ({"at_0": [0.5, 0.6], "at_20": [0.3, 0.3], "at_1000": [0.1, 0.2]}, "no gain, the score fell"),
        ({"at_0": [0.5, 0.6], "at_20": [0.5, 0.6], "at_1000": [0.5, 0.6]}, "the gain cannot be told from 0"),
        ({"at_0": [0.1, 0.1], "at_20": [0.3, 0.3], "at_1000": [0.5, 0.5]}, ""),
    ],
)
def test_a_share_that_would_say_nothing_is_left_out(scores: dict[str, list[float]], note: str) -> None:
    gain = early_gain(line(**scores))
    assert gain["why_no_share"] == note
    assert (gain["share"] is None) == bool(note)


@pytest.mark.parametrize(
    ("step", "label"),
    [(0, "0"), (600, "600"), (1500, "1.5K"), (20_000, "20K"), (1_100_000, "1.1M"), (2_000_000, "2M")],
)
def test_labels_of_steps(step: int, label: str) -> None:
    assert step_label(step) == label


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("series") / "runs"
    for (step, skill), seed in itertools.product(((0, 0.9), (600, 1.6), (6000, 2.0), (30000, 2.3)), range(3)):
        own: dict[str, Any] = {"seed": seed, "backbone": f"out/small/step-{step}", "items": 200, "skill": skill}
        make_run(root, "dna-splice", "bert", **own)
        make_run(root, "glue-sst2", "shift_1000", **own)
        make_run(root, "glue-sst2", "shift_1000", fraction=0.01, **own)
        make_run(root, "protein-fluorescence", "bert", **{**own, "skill": 1.0})
    for seed in range(3):
        last = {"backbone": "out/small/step-30000", "items": 200, "skill": 0.8}
        make_run(root, "dna-splice", "rand", seed, **last)
        make_run(root, "glue-sst2", "shift_1000_rand", seed, **last)
        make_run(root, "dna-splice", "bert", seed, items=200, skill=2.5)
        make_run(root, "dna-splice", "rand", seed, items=200)  # of another backbone: no control of this series
    for pretraining, step, seed in itertools.product(range(2), (0, 40, 2000), range(2)):
        backbone, skill = f"multiberts-seed_{pretraining}-step_{step}k", 1.0 + step / 1500 + pretraining / 5
        make_run(root, "dna-splice", "bert", seed, backbone=backbone, items=200, skill=skill)
    return root


@pytest.fixture(scope="module")
def report(runs: Path) -> Report:
    return build_report(read_runs(runs), resamples=100)


def panel_of(report: Report, task: str, series: str = "out/small", fraction: float = 1.0) -> Trajectory:
    key = (task, series, fraction)
    return next(t for t in report.trajectories if (t.task.name, t.series, t.fraction) == key)


def test_a_picture_is_of_one_task_and_one_series(report: Report) -> None:
    assert sorted((t.task.name, t.series, t.fraction) for t in report.trajectories) == [
        ("dna-splice", "multiberts", 1.0),
        ("dna-splice", "out/small", 1.0),
        ("glue-sst2", "out/small", 0.01),
        ("glue-sst2", "out/small", 1.0),
        ("protein-fluorescence", "out/small", 1.0),
    ]
    (bert,) = panel_of(report, "dna-splice").lines
    assert [point.step for point in bert.points] == [0, 600, 6000, 30000]
    cells = [c for c in report.cells if c.specification["backbone"] == "out/small/step-600"]
    scores = next(c.scores for c in cells if c.task.name == "dna-splice")
    assert list(bert.points[1].by_seed.values()) == list(scores)
    assert bert.points[1].interval == seed_interval(scores, 0.0)


def test_references_are_other_backbones_and_the_random_start(report: Report) -> None:
    references = {r.label: r for r in panel_of(report, "dna-splice").references}
    assert {label: reference.random for label, reference in references.items()} == {"minilm-l6": False, "rand": True}
    (cell,) = [c for c in report.cells if c.name == "rand" and c.specification["backbone"].startswith("out")]
    assert references["rand"].mean == cell.mean
    assert [r.label for r in panel_of(report, "glue-sst2").references] == ["shift_1000_rand"]
    assert panel_of(report, "glue-sst2", fraction=0.01).references == ()


def test_an_interval_is_over_pre_trainings_seeds_or_items(report: Report, tmp_path: Path) -> None:
    (bert,) = panel_of(report, "dna-splice", "multiberts").lines
    assert bert.over == "pre-training seeds"
    means = [c.mean or 0 for c in report.cells if c.specification["backbone"].endswith("step_40k")]
    assert (len(means), sorted(bert.points[1].by_seed.values())) == (2, sorted(means))
    assert bert.points[1].interval == seed_interval(means, 0.0)
    for step in (0, 2, 100):
        make_run(tmp_path, backbone=f"small/step-{step}", items=100, skill=1.0 + step / 100)
    (one,) = build_report(read_runs(tmp_path), resamples=50).trajectories
    assert [point.interval.over for point in one.lines[0].points if point.interval] == ["test items"] * 3
    assert early_gain(one.lines[0])["why_no_share"] == "1 of the seeds ran on all three checkpoints"


@pytest.mark.parametrize(("collapsed", "alike"), [((2,), False), ((0, 2, 100), True)])
def test_collapsed_runs_have_no_gain_to_share(collapsed: tuple[int, ...], alike: bool, tmp_path: Path) -> None:
    for step, seed in itertools.product((0, 2, 100), range(3)):
        own: dict[str, Any] = {"backbone": f"small/step-{step}", "items": 100, "skill": 1.0 + step / 100}
        make_run(tmp_path, seed=seed, collapsed=step in collapsed, **own)
    (one,) = build_report(read_runs(tmp_path), resamples=50).trajectories
    assert [point.collapsed for point in one.lines[0].points] == [step in collapsed for step in (0, 2, 100)]
    note = early_gain(one.lines[0])["why_no_share"]
    assert (note == "all runs at both ends answer every item alike") == alike


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
    assert len(json.loads((tmp_path / "report.json").read_text())["pretraining_gain"]) == len(rows) == 5
    table = (tmp_path / "report.md").read_text().partition("## How soon pre-training pays")[2]
    assert "| none: the gain cannot be told from 0 | 3 seeds |" in table
    assert f"| {100 * at['first']:.1f} | {100 * at['early']:.1f} | {100 * at['last']:.1f} |" in table
    page = (tmp_path / "index.html").read_text()
    assert "share at 2% [95%]" in page
    assert "none: the gain cannot be told from 0" in page


def test_the_axis_has_room_for_0_and_for_every_label(report: Report) -> None:
    from matplotlib import pyplot as plt

    splice = panel_of(report, "dna-splice")
    many = [Point(1000 * step, {0: 0.5, 1: 0.6}, None) for step in (0, *range(20, 201, 20), *range(300, 2001, 100))]
    crowded = replace(splice, lines=(Line("bert", "seeds", tuple(many)),))
    for one, fewest in ((splice, 4), (crowded, 6)):
        (panel,) = pretraining_panels([one], {})
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
    shown = [panel_of(report, "dna-splice"), panel_of(report, "protein-fluorescence")]
    panels = pretraining_panels(shown, {})
    note = "checkpoints of out/small, protocol recommended, split paper; bars: 95% intervals"
    assert [panel.shared for panel in panels] == [note] * 2
    last = 100 * shown[0].lines[0].points[-1].mean
    words = inline_svg(panels[0], 0)[1]
    assert words.startswith("accuracy on test x 100 by steps of pre-training; minilm-l6 ends at ")
    assert words.endswith(f"; bert ends at {last:.3g}")
    assert save_figures(panels, tmp_path) == [tmp_path / "pretraining.png", tmp_path / "pretraining.svg"]
    assert len(gain_cells(report.trajectories)) == 5


def test_one_checkpoint_is_no_figure(tmp_path: Path) -> None:
    make_run(tmp_path, items=50)
    make_run(tmp_path, items=50, backbone="small/step-600")
    assert trajectories(build_report(read_runs(tmp_path), resamples=20).cells) == []
