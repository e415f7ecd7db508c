"""What the package imports, how long its files are, and private names of torch and transformers that it uses."""

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT
from transformers import BertConfig, PreTrainedModel, Trainer, TrainingArguments

import hf_bertx

ALLOWED = re.compile(r"hf_bertx/(performance/\w+|processor|runs/trainer)\.py")
FOREIGN = re.compile(r"\b(?:trainer|args|model|config|module|torch(?:\.\w+)*|transformers(?:\.\w+)*)\._[a-z]\w*")
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
        pickles = r"^\s*(import|from) (pickle|dill|joblib(?! import cpu_count$))\b"
        assert not re.search(pickles, text, re.MULTILINE), path
        assert "trust_remote_code=True" not in text, path


@pytest.mark.parametrize(
    ("owner", "name", "breaks"),
    [
        (torch.ops.mkldnn, "_linear_pointwise", "performance.linear: predictions are slower, and right"),
        (torch.ops.mkldnn, "_reorder_linear_weight", "performance.linear: predictions are slower, and right"),
        (torch.cpu, "_is_amx_tile_supported", "processor: --precision auto takes float32 on AMX"),
        (torch.cpu, "_is_avx512_bf16_supported", "processor: --precision auto takes float32"),
        (torch.ones(1), "_version", "performance.linear: weights changed in place are not seen"),
        (torch.nn.Linear(1, 1), "_forward_hooks", "performance.last_layer: a hook may not be called"),
        (torch.nn.Linear(1, 1), "_forward_pre_hooks", "performance.last_layer: a hook may not be called"),
        (BertConfig(), "_attn_implementation", "performance: which attention a model uses is not known"),
        (PreTrainedModel, "_can_set_attn_implementation", "performance.attention: no model can change it"),
        (Trainer, "_load_callback_state", "run_trainer: a run cannot go on after its last step"),
        (Trainer, "_load_from_checkpoint", "run_trainer: a run cannot go on after its last step"),
        (Trainer, "_get_eval_sampler", "run_trainer: predictions lose the order of the rows"),
        (Trainer, "_track_num_input_tokens", "run_trainer: each step waits for the GPU"),
        (TrainingArguments(report_to="none"), "_n_gpu", "run_trainer: one process uses all GPUs"),
    ],
)
def test_a_private_name_is_still_there(owner: Any, name: str, breaks: str) -> None:
    assert hasattr(owner, name), f"{name} is gone. What breaks: {breaks}"


def test_private_names_stand_in_few_files() -> None:
    found = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in sorted(Path(ROOT / "hf_bertx").rglob("*.py"))
        if not ALLOWED.fullmatch(str(path.relative_to(ROOT)))
        for line in path.read_text(encoding="utf-8").splitlines()
        for name in FOREIGN.findall(line.partition("`")[0])
    }
    assert found == set()
