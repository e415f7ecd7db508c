"""A small study, its file, and the command that runs it in a process of its own."""

import os
from pathlib import Path
from typing import Any

import yaml
from conftest import ROOT
from python_processes import PythonProcess

SMALL: dict[str, Any] = {
    "about": "Small.",
    "tasks": ["dna-splice"],
    "arms": ["bert", "rand"],
    "seeds": [0, 1],
    "overrides": {"max_steps": 4, "eval_steps": 2, "logging_steps": 1, "max_eval_items": 30},
}


def write(folder: Path, content: Any, name: str = "mine.yaml") -> str:
    path = folder / name
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))
    return str(path)


def small(folder: Path, backbone: Path, **more: Any) -> str:
    """The file of the small study with another backbone, and other fields."""
    return write(folder, {**SMALL, "backbones": [str(backbone)], **more})


def start(*argv: Any) -> PythonProcess:
    """`bertx study ... --threads 1`."""
    return PythonProcess("-m", "hf_bertx.cli", "study", *argv, "--threads", "1", env=environment())


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
