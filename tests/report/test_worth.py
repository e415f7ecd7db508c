"""The table and figure of what text pre-training was worth."""

from pathlib import Path

from made_runs import make_run

from hf_bertx.report.write import write_report


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
    start = lines.index("minilm-l6, split paper, recommended:")
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
    assert splice["kmer-logistic"] in rows[0][7]  # not one of the methods
    assert "60.2 / " in next(line for line in texts if "rte" in line)
