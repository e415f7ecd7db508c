"""What the package imports when it is imported. `make lint` holds the direction of imports (import-linter)."""

import ast
import re
import subprocess
import sys
from pathlib import Path

from conftest import ROOT

import hf_bertx

NO_TORCH = """
    processor data.leaks data.labels data.hashed_windows disciplines data.text_files data.sequence_files
    data.record_values data.record_labels data.targets data.midi_files data.input_records token_map arms backbones
    tasks protocols run_files runs.run runs.spec runs.writer study.series study.plan study.execution
    study.ray_cluster study.archive study.choice study.estimate study.command report.resampling
    report.statistics report.formatting report.records report.tables report.cells report.make_cells report.comparisons
    report.paper_tables report.pretraining report.panels report.plateau report.figures
    report.page report.write analysis.similarity analysis.analysis_report publishing.card_facts publishing.cards
    publishing.repository_files publishing.onnx_export publishing.publish cli baselines.catalog
""".split()


def imported(*modules: str) -> set[str]:
    """Which libraries modules import when they are imported."""
    names = ", ".join(("hf_bertx", *(f"hf_bertx.{module}" for module in modules)))
    code = f"import sys, {names}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {"torch", "transformers", "numpy"} & set(done.stdout.split())


def test_modules_that_list_and_report_need_no_torch() -> None:
    assert "torch" not in imported(*NO_TORCH)


def test_public_names_exist_and_importing_is_lazy() -> None:
    for name in hf_bertx.__all__:
        assert getattr(hf_bertx, name) is not None
    assert imported() == set()


def test_a_type_checker_knows_the_public_names(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("from hf_bertx import RunSpec\nRunSpec(armm='bert')\n")
    options = ["--config-file=", f"--cache-dir={tmp_path}", "--follow-imports=skip"]
    command = [sys.executable, "-m", "mypy", *options, script, "hf_bertx/__init__.pyi", "hf_bertx/runs/spec.py"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert 'Unexpected keyword argument "armm" for "RunSpec"' in done.stdout


def test_files_have_300_lines_at_most_and_functions_60() -> None:
    long = set()
    for path in (ROOT / "hf_bertx").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if len(text.splitlines()) > 300:
            long.add(path.name)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno >= 60:
                long.add(f"{path.name}: {node.name}")
    assert not long
    assert len([*(ROOT / "hf_bertx").glob("*.py")]) <= 20


def test_no_pickle_and_no_remote_code() -> None:
    folders = ("hf_bertx", "dataset_scripts", "spaces", "benchmarks")
    files = [*ROOT.glob("*.py"), *(path for name in folders for path in (ROOT / name).rglob("*.py"))]
    assert len(files) > 15
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"^\s*(import|from) (pickle|dill|joblib)\b", text, re.MULTILINE), path
        assert "trust_remote_code=True" not in text, path
