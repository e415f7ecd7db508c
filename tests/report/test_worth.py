"""The table and figure of what text pre-training was worth."""

from pathlib import Path

import pytest
from file_damage import edit
from made_runs import cells_of, make_run, make_runs, make_study

from hf_bertx.report.cells import best_baseline
from hf_bertx.report.comparisons import compare_arms
from hf_bertx.report.figures import inline_svg, save_figures
from hf_bertx.report.paper_tables import paper_tables
from hf_bertx.report.records import read_runs
from hf_bertx.report.worth import side_by_side, worth, worth_markdown, worth_panels


def fields(line: str) -> list[str]:
    return line.removeprefix("| ").removesuffix(" |").split(" | ")


def test_starts_are_compared_beside_the_paper(tmp_path: Path) -> None:
    make_runs(tmp_path, {"bert": 3.0, "rand": 0.5}, seeds=range(3))
    make_runs(tmp_path, {"bert": 1.0, "rand": 1.0}, seeds=range(3), fraction=0.1)
    make_runs(tmp_path, {"shift_1000": 1.5, "shift_1000_rand": 1.5, "re_emb": 3.0}, "glue-rte", range(3))
    for baseline, skill in (("majority", 0.0), ("kmer-logistic", 1.9)):
        make_run(tmp_path, arm="baseline", backbone=baseline, protocol="baseline", skill=skill)
    cells = cells_of(tmp_path, 300)
    tests = compare_arms(cells)
    lines = worth_markdown(tests, cells).splitlines()
    start = lines.index("minilm-l6, split paper, fine-tuned:")
    splice, rte = (fields(line) for line in lines[start + 4 : start + 6])  # no less data, no text with its own ids
    assert lines[start + 6] == ""
    assert f"| DNA: splice | accuracy | +2.5 | **{splice[4].replace(' ', '** ', 1)} (3, 3) |" in lines[:start]
    assert f"| shifted text: rte | accuracy | +6.0 | {rte[4]} (3, 3) |" in lines[:start]
    assert (splice[0], splice[6], splice[8]) == ("DNA: splice", "3, 3", "+2.5")
    assert (rte[0], rte[6], rte[8]) == ("shifted text: rte", "3, 3", "+6.0")
    assert splice[4].startswith("+")
    assert float(splice[5]) < 0.05 < float(rte[5])
    assert splice[7].endswith("(kmer-logistic)")  # the best on validation
    assert rte[7] == ""
    (panel,) = worth_panels(tests)
    assert [path.name for path in save_figures([panel], tmp_path)] == ["worth.png", "worth.svg"]

    _, symbols, texts = side_by_side(paper_tables(cells), cells).split("## Table ")
    head, *rows = (fields(line) for line in symbols.splitlines() if line.startswith("| "))
    beside = dict(zip(head, next(row for row in rows if "splice" in row[0]), strict=True))
    assert beside["BERT"] == f"97.5 / {splice[2]}"  # the paper's score, ours
    assert beside["rand"] == f"95.0 / {splice[3]}"
    score, name = beside["best plain baseline"].split(" ")
    assert splice[7].startswith(score)
    assert splice[7].endswith(name)
    assert "60.2 / " in next(line for line in texts.splitlines() if "rte" in line)


def test_a_method_has_one_difference_a_task(tmp_path: Path) -> None:
    """The arm's own control counts, and runs on other test items are methods of their own, however many."""
    limits, arms = range(40, 48), {"shift_1000": 1.5, "shift_1000_rand": 0.5, "rand": 1.4}
    make_runs(tmp_path, arms, "glue-rte")
    for limit in limits:
        make_runs(tmp_path / str(limit), arms, "glue-rte", items=limit, specification={"max_eval_items": limit})
    tests = compare_arms(cells_of(tmp_path))
    (members,) = worth(tests).values()
    assert {test.second.name for test in members} == {"shift_1000_rand"}
    methods = ["fine-tuned", *(f"fine-tuned, at most {limit} test items" for limit in limits)]
    assert sorted(test.first.column.method for test in members) == methods
    (panel,) = worth_panels(tests)
    assert methods[-1] in inline_svg(panel, 0)[1]


def test_side_by_side_each_value_is_of_its_task(tmp_path: Path) -> None:
    """Tables of the user's own tasks may have different columns."""
    for task, protocol, items in (("one", "recommended", 160), ("two", "recommended", 80), ("two", "probe", 80)):
        of = {"protocol": protocol, "specification": {"items": "all"} if protocol == "probe" else {}}
        for arm in ("bert", "rand"):
            order = make_run(tmp_path / task, arm=arm, items=items, **of) / "run.json"
            edit(order, lambda c, task=task: c["specification"].update(task=task))
            edit(order, lambda c, task=task: c["task"].update(name=task, published=[], hosted=False))
    cells = cells_of(tmp_path)
    text = side_by_side(paper_tables(cells), cells)
    rows = {row[0]: row for line in text.splitlines() if line.startswith("| ") and (row := fields(line))}
    means = {(c.task.name, c.name, c.specification["protocol"]): f"{100 * c.mean:.1f}" for c in cells}
    place = rows["task, score"].index("rand")
    assert rows["one, accuracy"][place] == f"- / {means['one', 'rand', 'recommended']} / -"
    both = means["two", "rand", "recommended"], means["two", "rand", "probe"]
    assert rows["two, accuracy"][place] == f"- / {both[0]} / {both[1]}"


def test_arms_stand_before_the_floor(tmp_path: Path) -> None:
    make_run(tmp_path, arm="bert", protocol="probe", specification={"items": 100})
    make_runs(tmp_path, ("bert", "rand", "lora"))
    cells = cells_of(tmp_path)
    head = side_by_side(paper_tables(cells), cells).splitlines()[4]
    assert fields(head) == ["task, score", "BERT", "rand", "lora", "floor", "best plain baseline"]


def glue_baseline(root: Path, name: str, skill: float, held_out: float, limit: int | None = None) -> None:
    """A baseline by its skill on test, and its accuracy on held-out training items."""
    of = {"backbone": name, "protocol": "baseline", "specification": {"max_eval_items": limit}}
    folder = make_run(root, "glue-sst2", "baseline", skill=skill, items=limit or 160, **of)
    edit(folder / "results.json", tried=[{"C": 1, "validation_accuracy": held_out}])


def test_a_baseline_is_of_the_same_test_items(tmp_path: Path) -> None:
    glue_baseline(tmp_path, "nearest", 0.5, 0.55)
    glue_baseline(tmp_path, "tfidf-logistic", 3.0, 0.8, limit=40)
    cells = cells_of(tmp_path)
    named = [best_baseline(cells, "glue-sst2", "paper", limit) for limit in (None, 40, 3000)]
    assert [cell and cell.name for cell in named] == ["nearest", "tfidf-logistic", "nearest"]


@pytest.mark.parametrize(("sizes", "shown"), [(["all"], "all"), (["all", 100, 1000], "1,000")])
def test_probes_of_one_size_are_compared(tmp_path: Path, sizes: list, shown: str) -> None:
    for size in sizes:
        make_runs(tmp_path / str(size), protocol="probe", specification={"items": size})
    cells = cells_of(tmp_path)
    text = worth_markdown(compare_arms(cells), cells)
    assert f"| task | score | paper | probe, {shown} items |\n" in text
    assert f"the paper's score / probe, {shown} items." in side_by_side(paper_tables(cells), cells)


def test_trained_models_come_before_probes_and_tasks_keep_their_order(tmp_path: Path) -> None:
    probe = {"protocol": "probe", "specification": {"items": 100}}
    for task, of in (("dna-h3", probe), ("dna-h4", probe), ("dna-h4", {})):
        make_runs(tmp_path / str(of), task_name=task, **of)
    cells = cells_of(tmp_path)
    lines = worth_markdown(compare_arms(cells), cells).splitlines()
    head = next(place for place, line in enumerate(lines) if line.startswith("| task | score | paper |"))
    assert lines[head].endswith("| paper | fine-tuned | probe, 100 items |")
    assert [line.split(" | ")[0] for line in lines[head + 2 : head + 4]] == ["| DNA: h3", "| DNA: h4"]


def test_a_planned_run_that_has_not_begun_is_no_dash(tmp_path: Path) -> None:
    make_runs(tmp_path)
    missing = [{"task": "dna-h4", "arm": "bert", "seed": 0}, {"task": "dna-h3", "arm": "rand", "seed": 0}]
    make_study(tmp_path, "mine", [*missing, {"task": "dna-splice", "arm": "bert", "seed": 1}])
    cells = cells_of(tmp_path)
    text = side_by_side(paper_tables(cells), cells, read_runs(tmp_path).planned)
    assert "A dash: no run. `...`: planned, not finished." in text
    head, *rows = (fields(line) for line in text.splitlines() if line.startswith("| "))
    shown = {row[0].partition(",")[0]: dict(zip(head, row, strict=True)) for row in rows}
    assert (shown["h4"]["BERT"], shown["h4"]["rand"]) == ("86.2 / ...", "66.5 / -")
    assert (shown["h3"]["BERT"], shown["h3"]["rand"]) == ("83.0 / -", "75.6 / ...")
    assert "..." not in shown["splice"]["BERT"]


def test_on_glue_a_baseline_is_chosen_on_held_out_items(tmp_path: Path) -> None:
    glue_baseline(tmp_path, "tfidf-logistic", 0.5, 0.7)
    glue_baseline(tmp_path, "nearest", 3.0, 0.6)  # better on test
    assert best_baseline(cells_of(tmp_path), "glue-sst2", "paper").name == "tfidf-logistic"
