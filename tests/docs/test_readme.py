"""What README says is run, and what it shows is compared with what comes out."""

import re
from pathlib import Path

import pages
import pytest
import yaml
from conftest import ROOT

from hf_bertx.report.records import read_runs
from hf_bertx.report.worth import side_by_side, worth_markdown
from hf_bertx.report.write import build_report
from hf_bertx.runs.arguments import parse_arguments
from hf_bertx.study.archive import read_archive

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_length() -> None:
    assert len(README.splitlines()) <= 130


def test_table_of_results_is_what_the_archive_says(tmp_path: Path) -> None:
    table = re.search(r"^\| task .*?\n\n", README, flags=re.M | re.S)
    assert table is not None
    rows = table[0].strip().splitlines()
    assert len(rows) == 12  # ten and the head
    page = (ROOT / "results/verdict/README.md").read_text(encoding="utf-8")
    assert set(rows) <= set(page.splitlines())
    read_archive(ROOT / "results/verdict/runs.tar.xz", tmp_path)
    runs = read_runs(tmp_path)
    report = build_report(runs, resamples=20)
    made = worth_markdown(report.tests, report.cells)

    def plain(text: str) -> list[str]:
        """Rows without their intervals, which need more draws of the test items, and what they decide."""
        return re.sub(r"\*\*| \[[^]]*\]", "", text).strip().splitlines()

    assert len(plain(table[0])) > 10
    assert plain(table[0]) == [line for line in plain(made) if line in plain(table[0])]
    beside = side_by_side(report.tables, report.cells, runs.planned).splitlines()
    shown = [line for line in page.split("### Table ", 1)[1].splitlines() if line.startswith("| ")]
    assert len(shown) == 18  # 16 tasks and two heads
    assert set(shown) <= set(beside)


def test_the_default_run() -> None:
    (spec,), training = parse_arguments([])
    assert (spec.task.name, spec.arm.name, spec.backbone.name) == ("dna-splice", "bert", "minilm-l6")
    assert (training.output_dir, spec.options.resume, spec.protocol.name) == ("runs", True, "recommended")
    assert spec.folder(Path("runs")).as_posix() == "runs/recommended/dna-splice/minilm-l6/bert/seed-42"


def test_files_that_readme_and_makefile_name_exist() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "--config_file accelerate_config.yaml train.py" in makefile  # accelerate does not look for it by itself
    (epochs,) = re.findall(r"^EPOCHS := (.*)$", makefile, flags=re.M)
    exec(epochs)  # a module that the demo imports has moved, if this fails
    config = yaml.safe_load((ROOT / "accelerate_config.yaml").read_text(encoding="utf-8"))
    assert config["distributed_type"] == "NO"  # MULTI_CPU would run one process and not say so
    assert config["num_processes"] == 1


@pytest.mark.parametrize(
    ("shown", "printed", "tolerance", "same"),
    [
        ("accuracy 0.83\n", "accuracy 0.80\n", 0.05, True),
        ("accuracy 0.83\n", "accuracy 0.70\n", 0.05, False),
        ("accuracy 0.83\n", "accuracy 0.10\n", None, True),
        ("540 train\n", "541 train\n", None, False),
        ("one\n...\nlast\n", "one\ntwo\nthree\nlast\n", None, True),
        ("one\n", "one\ntwo\n", None, False),
        ("one\ntwo\n", "one\n", None, False),
        ("path a/b\n", "path a/c\n", None, False),
    ],
)
def test_outputs_are_compared(shown: str, printed: str, tolerance: float | None, same: bool) -> None:
    assert (pages.compare(shown, printed, tolerance) is None) is same
