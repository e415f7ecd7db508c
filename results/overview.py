"""What was pre-training on text worth? One row and one mark a task, from the studies in this folder.

    python results/overview.py      # writes overview.md and overview.png beside this file

Fine-tuned models: `table2-small` and `shift-small`. Frozen features: probes of `verdict` with 1,000 training items.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from hf_bertx.arms import BASELINE
from hf_bertx.report.cells import Cell, make_cells
from hf_bertx.report.comparisons import compare_arms
from hf_bertx.report.drawing import COLORS
from hf_bertx.report.figures import save_figure, styled
from hf_bertx.report.formatting import grouped, markdown_table, percent
from hf_bertx.report.records import read_runs
from hf_bertx.report.statistics import seed_interval
from hf_bertx.runs.run import Run
from hf_bertx.study.archive import read_archive
from hf_bertx.tasks import TASKS, Task

RESULTS = Path(__file__).resolve().parent
ITEMS, BACKBONE = 1000, "minilm-l6"
NAMES = {
    "protein-localization": "Protein localization", "protein-stability": "Protein stability",
    "protein-fluorescence": "Protein fluorescence", "dna-h3": "DNA, histone H3", "dna-h4": "DNA, histone H4",
    "dna-h3k9ac": "DNA, histone H3K9ac", "dna-splice": "DNA, splice sites", "music-maestro-v1": "Music, composer",
}  # fmt: skip
_GLUE = {"glue-sst2": "SST-2", "glue-cola": "CoLA", "glue-stsb": "STS-B"}
FINE_TUNED, FROZEN, PAPER = "fine-tuned", "frozen features", "paper, BERT-base"
MARKS = {FINE_TUNED: ("o", COLORS[0]), FROZEN: ("s", COLORS[1]), PAPER: ("D", COLORS[7])}
HEAD = ["task", "score", "pre-trained", "random start", "difference [95%]", "plain baseline",
        "frozen: difference [95%]", "paper: difference"]  # fmt: skip


def plain_name(task: Task) -> str:
    return NAMES.get(task.name) or f"Shifted text, {_GLUE.get(task.name, task.name.removeprefix('glue-').upper())}"


def pair(task: Task) -> tuple[str, str]:
    """The two arms that differ by pre-training alone; ids of text are shifted."""
    return ("shift_1000", "shift_1000_rand") if task.discipline == "text" else ("bert", "rand")


def cells_of(study: str) -> tuple[list[Cell], int]:
    """The cells of an archived study that this page shows, and how many runs the archive holds."""
    with tempfile.TemporaryDirectory() as folder:
        held = read_archive(RESULTS / study / "runs.tar.xz", Path(folder))
        return make_cells(run for run in read_runs(Path(folder)).records if is_shown(run)), held


def is_shown(run: Run) -> bool:
    s = run.specification
    if s["arm"] == BASELINE:
        return True
    return (s["backbone"], s["split"], s.get("items", ITEMS)) == (BACKBONE, "paper", ITEMS) and (
        s["arm"] in (*pair(run.task), "rand")
    )


def fine_tuned() -> dict[str, dict[str, Any]]:
    """By task: scores of both arms, their difference, and the baseline that is best on validation."""
    found: dict[str, dict[str, Any]] = {}
    others = pd.DataFrame(json.loads((RESULTS / "baselines/table.json").read_text(encoding="utf-8")))
    for study in ("table2-small", "shift-small"):
        cells, _ = cells_of(study)
        for name, members in grouped(cells, lambda cell: cell.task.name).items():
            arms = {cell.name: cell for cell in members}
            first, second = (arms[arm] for arm in pair(TASKS[name]))
            known = sorted((c for c in members if c.is_baseline), key=lambda c: c.validation or -1)
            own = others[(others.task == name) & (others.split == "paper") & (others.fraction == 1)]
            found[name] = {
                "first": first.mean, "second": second.mean, "interval": difference(first, second),
                "baseline": (known[-1].name, known[-1].mean) if known else best(own),
            }  # fmt: skip
    return found


def difference(first: Cell, second: Cell) -> tuple[float, float, float]:
    """Over seeds and test items; over seeds alone where the archive may not hold the answers to the items."""
    tests = [test for test in compare_arms([first, second]) if test.first is first and test.second is second]
    if tests:
        return tests[0].comparison.difference, tests[0].comparison.low, tests[0].comparison.high
    gains = [a - b for a, b in zip(first.scores, second.scores, strict=True)]
    interval = seed_interval(gains, -2.0)
    assert interval is not None
    return sum(gains) / len(gains), interval.low, interval.high


def best(rows: pd.DataFrame) -> tuple[str, float] | None:
    """The baseline with the best score on validation, for a task that is tested there too."""
    scores = {row.baseline: row.metrics["validation"][row.metric] for row in rows.itertuples()}
    return max(scores.items(), key=lambda each: each[1]) if scores else None


def frozen() -> tuple[dict[str, tuple[float, float, float]], int]:
    """The difference of frozen features by task, and how many probes the archive holds."""
    cells, held = cells_of("verdict")
    found = {}
    for name, members in grouped(cells, lambda cell: cell.task.name).items():
        arms = {cell.name: cell for cell in members}
        wanted = pair(TASKS[name])[0], "rand"  # a random start is the same with and without a shift
        if set(wanted) <= set(arms):
            found[name] = difference(*(arms[arm] for arm in wanted))
    return found, held


def papers(task: Task) -> float | None:
    rows = ("shift 1000", "shift 1000 (rand)") if task.discipline == "text" else ("BERT", "rand")
    scores = [task.published_score(row) for row in rows]
    return None if None in scores else (scores[0].value - scores[1].value) / 100  # type: ignore[union-attr]


def between(interval: tuple[float, float, float] | None) -> str | None:
    return None if interval is None else "{} [{}, {}]".format(*(percent(value, "+") for value in interval))


def main() -> None:
    tuned, (probed, probes) = fine_tuned(), frozen()
    names = [name for name in TASKS if name in tuned or name in probed]
    rows, marks = [], []
    for name in names:
        task, own = TASKS[name], tuned.get(name, {})
        plain = own.get("baseline")
        rows.append([
            plain_name(task), task.metric, percent(own.get("first")), percent(own.get("second")),
            between(own.get("interval")), plain and f"{percent(plain[1])} ({plain[0]})", between(probed.get(name)),
            percent(papers(task), "+"),
        ])  # fmt: skip
        marks.append({FINE_TUNED: own.get("interval"), FROZEN: probed.get(name), PAPER: papers(task)})
    (RESULTS / "overview.md").write_text(markdown_table(HEAD, rows) + "\n", encoding="utf-8")
    draw([row[0] for row in rows], marks)
    print(f"{len(rows)} tasks; {probes} probes in verdict/runs.tar.xz")


def draw(names: list[str], marks: list[dict[str, Any]]) -> None:
    from matplotlib.figure import Figure

    with styled():
        figure = Figure(figsize=(8.2, 0.44 * len(names) + 1.2), layout="constrained")
        axis = figure.add_subplot()
        axis.axvline(0, color=COLORS[7], linewidth=1)
        for place, (label, (shape, color)) in zip((-0.2, 0, 0.2), MARKS.items(), strict=True):
            known = [(y + place, mark[label]) for y, mark in enumerate(marks) if mark[label] is not None]
            heights = [y for y, _ in known]
            if label == PAPER:
                middle, fill = [100 * value for _, value in known], "none"
            else:
                middle, low, high = ([100 * value[i] for _, value in known] for i in range(3))
                fill = color
                axis.hlines(heights, low, high, color=color, linewidth=2)
            axis.scatter(middle, heights, s=34, marker=shape, edgecolors=color, facecolors=fill, zorder=3, label=label)
        axis.set_yticks(range(len(names)), names)
        axis.invert_yaxis()
        axis.set_xlabel("Pre-trained minus random start, score x 100 (bar: 95% interval; right of 0: it helped)")
        axis.set_title("What was pre-training on English text worth?", loc="left", fontweight="bold", fontsize=11)
        figure.legend(loc="outside lower center", ncols=3, frameon=False)
        _, svg = save_figure(figure, RESULTS / "overview")
        svg.unlink()


if __name__ == "__main__":
    main()
