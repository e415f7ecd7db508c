"""The table and figure of what text pre-training was worth."""

from pathlib import Path

from made_runs import make_run

from hf_bertx.report.cells import best_baseline
from hf_bertx.report.make_cells import make_cells
from hf_bertx.report.records import collect_runs
from hf_bertx.report.write import write_report
from hf_bertx.run_files import RESULTS, read_json, write_json


def test_starts_are_compared_beside_the_paper(tmp_path: Path) -> None:
    for seed in range(3):
        for arm, skill in (("bert", 3.0), ("rand", 0.5)):
            make_run(tmp_path / "runs", "dna-splice", arm, seed, skill=skill)
            make_run(tmp_path / "runs", "dna-splice", arm, seed, fraction=0.1, skill=1.0)
        for arm, skill in (("shift_1000", 1.5), ("shift_1000_rand", 1.5), ("re_emb", 3.0)):
            make_run(tmp_path / "runs", "glue-rte", arm, seed, skill=skill)
    for baseline, skill in (("majority", 0.0), ("kmer-logistic", 1.9)):
        make_run(tmp_path / "runs", arm="baseline", backbone=baseline, protocol="baseline", skill=skill)
    write_report(tmp_path / "runs", tmp_path / "report")
    text, *beside = (tmp_path / "report" / "worth.md").read_text().split("## Table ")
    lines = text.splitlines()
    start = lines.index("minilm-l6, split paper, fine-tuned:")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[start:] if line.startswith("| ")][1:]
    assert f"| DNA: splice | accuracy | +2.5 | **{rows[0][4].replace(' ', '** ', 1)} (3, 3) |" in lines[:start]
    assert f"| shifted text: rte | accuracy | +6.0 | {rows[1][4]} (3, 3) |" in lines[:start]
    assert [row[0] for row in rows] == ["DNA: splice", "shifted text: rte"]  # no less data, no text with its own ids
    assert [row[8] for row in rows] == ["+2.5", "+6.0"]
    assert rows[0][4].startswith("+")
    assert float(rows[0][5]) < 0.05 < float(rows[1][5])
    assert [row[6] for row in rows] == ["3, 3", "3, 3"]
    assert rows[0][7].endswith("(kmer-logistic)")  # the best on validation
    assert rows[1][7] == ""
    assert (tmp_path / "report" / "worth.png").is_file()

    (symbols, texts) = ([line for line in part.splitlines() if line.startswith("| ")] for part in beside)
    heads = symbols[0].strip("| ").split(" | ")
    splice = dict(zip(heads, next(line for line in symbols if "splice" in line).strip("| ").split(" | "), strict=True))
    assert splice["BERT"] == f"97.5 / {rows[0][2]}"  # the paper's score, ours
    assert splice["rand"] == f"95.0 / {rows[0][3]}"
    score, name = splice["best plain baseline"].split(" ")
    assert rows[0][7].startswith(score)
    assert rows[0][7].endswith(name)
    assert "60.2 / " in next(line for line in texts if "rte" in line)


def test_on_glue_a_baseline_is_chosen_on_held_out_items(tmp_path: Path) -> None:
    held_out = {"tfidf-logistic": 0.7, "nearest": 0.6}
    for (baseline, score), skill in zip(held_out.items(), (0.5, 3.0), strict=True):  # the second is better on test
        folder = make_run(tmp_path, "glue-sst2", "baseline", backbone=baseline, protocol="baseline", skill=skill)
        results = read_json(folder / RESULTS)
        write_json(folder / RESULTS, {**results, "tried": [{"C": 1, "validation_accuracy": score}]})
    best = best_baseline(make_cells(collect_runs(tmp_path)), "glue-sst2", "paper")
    assert best is not None
    assert best.name == "tfidf-logistic"
