"""What README says is run: its Python blocks, its default command, its claims about files."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT

from hf_bertx.backbones import resolve_backbone
from hf_bertx.cli import build_parser
from hf_bertx.runs.arguments import parse_arguments

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = [
    block
    for block in re.findall(r"```python\n(.*?)```", README, flags=re.S)
    if "runs/demo" not in block and "RunSpec" not in block
]


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_python_blocks_run(block: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert len(BLOCKS) == 2
    # the Hub is out of reach; the packaged backbone has the same vocabulary and architecture
    exec(block.replace('"bert-base-uncased"', repr(resolve_backbone("minilm-l6").source)), {})


def test_the_block_that_trains_runs_as_printed(
    tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (block,) = (block for block in re.findall(r"```python\n(.*?)```", README, flags=re.S) if "RunSpec(" in block)
    monkeypatch.chdir(tmp_path)
    small = f'seed=0, backbone={str(tiny_backbone)!r}, overrides={{"max_steps": 3, "eval_steps": 3}}'
    names: dict[str, Any] = {}
    exec(block.replace("seed=0", small), names)
    run = names["run"]
    assert run.folder.relative_to("runs").parts[:2] == ("recommended", "dna-splice")
    assert run.predictions("test").logits.shape == (160, 3)
    assert set(run.scores) == {"validation", "test"}
    assert (run.model_dir / "model.safetensors").is_file()
    again = names["train"](
        names["RunSpec"].from_json(run.specification | {"overrides": {"max_steps": 3, "eval_steps": 3}})
    )
    assert again.order == run.order


def test_the_commands_of_bertx_are_understood() -> None:
    lines = re.findall(r"^\.venv/bin/bertx (.*?)(?:\s+#.*)?$", README, flags=re.M)
    assert len(lines) >= 6
    for line in lines:
        assert callable(build_parser().parse_args(shlex.split(line)).act), line


def test_the_default_run() -> None:
    (spec,), training = parse_arguments([])
    assert (spec.task.name, spec.arm.name, spec.backbone.name) == ("dna-splice", "bert", "minilm-l6")
    assert (training.output_dir, spec.resume, spec.protocol.name) == ("runs", True, "recommended")
    assert spec.folder(Path("runs")).as_posix() == "runs/recommended/dna-splice/minilm-l6/bert/seed-42"


def test_files_that_readme_and_makefile_name_exist() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "--config_file accelerate_config.yaml train.py" in makefile  # accelerate does not look for it by itself
    config = yaml.safe_load((ROOT / "accelerate_config.yaml").read_text(encoding="utf-8"))
    assert config["distributed_type"] == "NO"  # MULTI_CPU would run one process and not say so
    assert config["num_processes"] == 1
