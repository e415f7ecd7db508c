"""One run, or several arms of it: parse, build, train, test, save.

    accelerate launch train.py
    accelerate launch --config_file accelerate_config.yaml train.py --task dna-splice --arm bert re_emb rand --seed 1

The first one is the default run: the arm `bert` of dna-splice, seed 42, in a few minutes on two cores.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

from accelerate import PartialState

from hf_bertx import one_run, run_files
from hf_bertx.run_arguments import OwnData
from hf_bertx.tasks import TASKS


def _build_own(name: str, folder: Path, told: dict[str, Any]) -> OwnData:
    """Builds a user's own data into a folder of its content: two files of one name never share one."""
    from dataset_scripts.build import build_dataset
    from hf_bertx.publishing.cards import built_task

    if name in TASKS:
        raise ValueError(f"--task {name} is a task of the paper; give your own data another name")
    built = folder / f"{name}-{_content(told)[:12]}"
    with PartialState().main_process_first():
        if PartialState().is_main_process:
            build_dataset(name, built, builder_options=told)
    return OwnData(built_task(built), built / "default")


def _content(told: dict[str, Any]) -> str:
    """A sha256 over the options of a user's own data and over the files that they name."""
    digest = hashlib.sha256()
    for option, value in sorted(told.items()):
        digest.update(f"{option}={value}\n".encode())
        path = Path(str(value))
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files if option.endswith("_file") else ():
            if file.is_file():
                digest.update(f"{file.name} {run_files.sha256(file)}\n".encode())
    return digest.hexdigest()


def _build_task(root: Path, name: str, split: str) -> Path:
    """Builds a data set of the paper from its original files, which are fetched, unless an earlier run did."""
    from dataset_scripts.build import build_dataset

    folder = root / "data" / name
    if not (folder / split).is_dir():
        build_dataset(name, folder, split=split)
    return folder


def main() -> int:
    """See [`one_run.main`]."""
    return one_run.main(sys.argv[1:], _build_own, _build_task)


if __name__ == "__main__":
    sys.exit(main())
