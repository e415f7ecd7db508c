"""Figure 3: score by step of pre-training, what stands beside it, and the share of the gain at 2% of the steps."""

import itertools
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_runs import make_run
from scipy import stats

from hf_bertx.publishing.repository_files import _loss_curve
from hf_bertx.report.drawing import with_setups
from hf_bertx.report.figures import inline_svg, save_figures
from hf_bertx.report.page import page
from hf_bertx.report.pretraining import (
    PRETRAINING,
    Line,
    Point,
    Trajectory,
    early_gain,
    pretraining_panels,
    step_label,
    trajectories,
)
from hf_bertx.report.records import read_runs
from hf_bertx.report.statistics import Interval, ratio_interval, seed_interval
from hf_bertx.report.write import Report, build_report, report_markdown, report_rows
from hf_bertx.runs.run import Run


def line(**scores: list[float]) -> Line:
    """`at_600=[0.5, 0.6]`: the score of each seed at a step."""
    points = [Point(int(name[3:]), dict(enumerate(values)), None) for name, values in scores.items()]
    return Line("bert", "seeds", tuple(points))


def test_the_interval_of_a_ratio_is_where_t_does_not_reject() -> None:
    above, below = np.array([0.30, 0.42, 0.37, 0.35]), np.array([0.61, 0.70, 0.66, 0.58])
    interval = ratio_interval(above, below)
    assert interval[0] < above.mean() / below.mean() < interval[1]
    for end in interval:  # there the mean of above - ratio * below is just as far from 0 as t allows
        assert stats.ttest_1samp(above - end * below, 0.0).pvalue == pytest.approx(0.05, abs=1e-9)
    assert ratio_interval([0.3, 0.3], [0.6, 0.6]) == pytest.approx((0.5, 0.5))  # no spread: exact
    assert ratio_interval([0.3], [0.6]) is None
    assert ratio_interval([0.3, 0.2, 0.1], [0.5, -0.4, 0.1]) is None  # the denominator's own interval holds 0


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
        ({"at_0": [0.1], "at_80": [0.3], "at_1000": [0.5]}, "no checkpoint near 2% of the steps, the nearest at 8.0%"),
        ({"at_0": [0.1], "at_20": [0.3, 0.3], "at_1000": [0.5, 0.5]}, "1 of the seeds ran on all three checkpoints"),
        ({"at_0": [0.5, 0.6], "at_20": [0.3, 0.3], "at_1000": [0.1, 0.2]}, "no gain, the score fell"),
        ({"at_0": [0.5, 0.6], "at_20": [0.5, 0.6], "at_1000": [0.5, 0.6]}, "the gain cannot be told from 0"),
        ({"at_0": [0.1, 0.1], "at_20": [0.3, 0.3], "at_1000": [0.5, 0.5]}, ""),
        ({"at_0": [0.1, 0.1], "at_25": [0.3, 0.3], "at_1000": [0.5, 0.5]}, ""),
    ],
)
def test_a_share_that_would_say_nothing_is_left_out(scores: dict[str, list[float]], note: str) -> None:
    gain = early_gain(line(**scores))
    assert gain["why_no_share"] == note
    assert (gain["share"] is None) == bool(note)


def test_labels_of_steps() -> None:
    labels = ["0", "600", "1.5K", "20K", "1.1M", "2M"]
    assert list(map(step_label, (0, 600, 1500, 20_000, 1_100_000, 2_000_000))) == labels


def make_steps(root: Path, skills: dict[int, float], seeds: int = 3, **own: Any) -> None:
    """Runs on checkpoints of one pre-training, by step."""
    for (step, skill), seed in itertools.product(skills.items(), range(seeds)):
        make_run(root, seed=seed, backbone=f"out/small/step-{step}", **{"skill": skill, **own})


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    root = tmp_path_factory.mktemp("series")
    skills = {0: 0.9, 600: 1.6, 6000: 2.0, 30000: 2.3}
    make_steps(root, skills)
    make_steps(root, skills, task_name="protein-fluorescence", skill=1.0)
    for fraction in (1.0, 0.01):
        make_steps(root, skills, task_name="glue-sst2", arm="shift_1000", fraction=fraction)
    make_steps(root, {30000: 0.8}, arm="rand")
    make_steps(root, {30000: 0.8}, task_name="glue-sst2", arm="shift_1000_rand")
    for seed in range(3):
        make_run(root, seed=seed, skill=2.5)
        make_run(root, arm="rand", seed=seed)  # of another backbone: no control of this series
    for pretraining, step, seed in itertools.product(range(2), (0, 40, 2000), range(2)):
        backbone, skill = f"multiberts-seed_{pretraining}-step_{step}k", 1.0 + step / 1500 + pretraining / 5
        make_run(root, seed=seed, backbone=backbone, skill=skill)
    return build_report(read_runs(root), resamples=100)


def key(one: Trajectory) -> tuple[str, str, float]:
    return one.cell.task.name, one.series, one.cell.fraction


def panel_of(report: Report, task: str, series: str = "out/small", fraction: float = 1.0) -> Trajectory:
    return next(one for one in report.trajectories if key(one) == (task, series, fraction))


def test_a_picture_is_of_one_task_and_one_series(report: Report) -> None:
    assert sorted(map(key, report.trajectories)) == [
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


def test_a_mean_beside_its_interval_by_rounding_is_drawn(report: Report) -> None:
    one = panel_of(report, "protein-fluorescence")
    points = tuple(
        replace(p, by_seed={0: 1 - 1e-16}, interval=Interval(1.0, 1.0, "test items")) for p in one.lines[0].points
    )
    (panel,) = pretraining_panels([replace(one, lines=(replace(one.lines[0], points=points),))])
    assert inline_svg(panel, 0)[0].startswith("<svg")


def test_references_are_other_backbones_and_the_random_start(report: Report) -> None:
    references = dict(panel_of(report, "dna-splice").references)
    shown = {label: (cell.name, cell.specification["backbone"]) for label, cell in references.items()}
    assert shown == {"minilm-l6": ("bert", "minilm-l6"), "rand": ("rand", "out/small/step-30000")}
    assert [label for label, _ in panel_of(report, "glue-sst2").references] == ["shift_1000_rand"]
    assert panel_of(report, "glue-sst2", fraction=0.01).references == ()


def test_an_interval_is_over_pre_trainings_seeds_or_items(report: Report, tmp_path: Path) -> None:
    (bert,) = panel_of(report, "dna-splice", "multiberts").lines
    assert bert.over == "pre-training seeds"
    means = [c.mean for c in report.cells if c.specification["backbone"].endswith("step_40k")]
    assert (len(means), sorted(bert.points[1].by_seed.values())) == (2, sorted(means))
    assert bert.points[1].interval == seed_interval(means, 0.0)
    make_steps(tmp_path, {0: 1.0, 2: 1.0, 100: 2.0}, seeds=1)
    (one,) = build_report(read_runs(tmp_path), resamples=50).trajectories
    assert [point.interval.over for point in one.lines[0].points if point.interval] == ["test items"] * 3
    assert early_gain(one.lines[0])["why_no_share"] == "1 of the seeds ran on all three checkpoints"


@pytest.mark.parametrize(("collapsed", "alike"), [((2,), False), ((0, 2, 100), True)])
def test_collapsed_runs_have_no_gain_to_share(collapsed: tuple[int, ...], alike: bool, tmp_path: Path) -> None:
    for step in (0, 2, 100):
        make_steps(tmp_path, {step: 1.0 + step / 100}, collapsed=step in collapsed)
    (one,) = build_report(read_runs(tmp_path), resamples=50).trajectories
    assert [point.collapsed for point in one.lines[0].points] == [step in collapsed for step in (0, 2, 100)]
    note = early_gain(one.lines[0])["why_no_share"]
    assert (note == "all runs at both ends answer every item alike") == alike


def test_the_table_is_written_and_shown(report: Report, tmp_path: Path) -> None:
    rows = {(row["task"], row["series"], row["fraction"]): row for row in report_rows(report)["pretraining_gain"]}
    assert len(rows) == 5
    splice, flat = rows["dna-splice", "out/small", 1.0], rows["protein-fluorescence", "out/small", 1.0]
    first, early, last = (splice[f"{name}_score"] for name in ("first", "early", "last"))
    assert splice["share"] == pytest.approx((early - first) / (last - first))
    assert 0 < splice["share_low"] < splice["share"] < splice["share_high"]
    assert (flat["share"], flat["why_no_share"]) == (None, "the gain cannot be told from 0")
    table = report_markdown(report).partition("## How soon pre-training pays")[2]
    assert "| none: the gain cannot be told from 0 | 3 seeds |" in table
    assert f"| {100 * first:.1f} | {100 * early:.1f} | {100 * last:.1f} |" in table
    shown = [panel for panel in report.panels if panel.kind is PRETRAINING][:1]
    text = page(replace(report, panels=shown), tmp_path)
    assert "share at 2% [95%]" in text
    assert "none: the gain cannot be told from 0" in text


def test_the_axis_has_room_for_0_and_for_every_label(report: Report) -> None:
    from matplotlib import pyplot as plt

    splice = panel_of(report, "dna-splice")
    many = [Point(1000 * step, {0: 0.5, 1: 0.6}, None) for step in (0, *range(20, 201, 20), *range(300, 2001, 100))]
    crowded = replace(splice, lines=(Line("bert", "seeds", tuple(many)),))
    for one, fewest in ((splice, 4), (crowded, 6)):
        (panel,) = pretraining_panels([one])
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
    panels = pretraining_panels(shown)
    last = 100 * shown[0].lines[0].points[-1].mean
    words = inline_svg(panels[0], 0)[1]
    start = "accuracy on test x 100 by steps of pre-training (bars: 95% intervals); minilm-l6 ends at "
    assert words.startswith(start)
    assert words.endswith(f"; bert ends at {last:.3g}")
    png, svg = save_figures(panels, tmp_path)
    assert (png.name, svg.name) == ("pretraining.png", "pretraining.svg")
    assert png.stat().st_size > 20_000
    assert ">Backbone, protocol, split: out/small, recommended, paper</text>" in svg.read_text()


def test_a_setup_stands_in_titles_where_panels_differ(report: Report) -> None:
    panels = [panel for panel in report.panels if panel.kind is PRETRAINING and panel.title == "splice"]
    assert with_setups(panels[:1]) == (panels[:1], f"Backbone, protocol, split: {panels[0].setup}")
    shown, note = with_setups(panels)
    titles = {"splice\nout/small, recommended, paper", "splice\nmultiberts, recommended, paper"}
    assert ({panel.title for panel in shown}, note) == (titles, "")


def test_long_titles_stay_in_their_panel(report: Report, tmp_path: Path) -> None:
    panels = [replace(panel, setup=f"{panel.setup}, at most {n} test items") for n, panel in enumerate(report.panels)]
    for path in save_figures(panels, tmp_path):
        if path.suffix == ".svg":
            lines = re.findall(r"weight: 700[^>]*>([^<]+)<", path.read_text())
            assert 0 < max(map(len, lines)) <= 40


def test_one_checkpoint_is_no_figure_but_has_a_loss_curve(tmp_path: Path) -> None:
    make_run(tmp_path, items=50)
    checkpoint = make_run(tmp_path, items=50, backbone="small/step-600")
    assert trajectories(build_report(read_runs(tmp_path), resamples=20).cells) == []
    assert _loss_curve(Run.open(checkpoint)).startswith(b"\x89PNG")  # for its model card
