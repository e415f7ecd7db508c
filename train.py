"""One run, or several arms of it: parse, build, train, test, save.

    accelerate launch train.py
    accelerate launch --config_file accelerate_config.yaml train.py --task dna-splice --arm bert re_emb rand --seed 1

The first one is the default run: the arm `bert` of dna-splice, seed 42, in a few minutes on two cores.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path

from accelerate import PartialState
from transformers.utils import logging

from hf_bertx import run_files
from hf_bertx.callbacks import ModelCardCallback
from hf_bertx.cards import model_card, write_model_card
from hf_bertx.run_arguments import OwnData, parse_arguments
from hf_bertx.tasks import TASKS
from hf_bertx.training import run


def _card(folder: Path) -> str | None:
    """What a push carries as README.md: the run's card once it is finished, nothing before."""
    return model_card(folder) if (folder / run_files.RESULTS).is_file() else None


def _build_own(name: str, folder: Path, told: dict[str, str]) -> OwnData:
    """Builds a user's own data, anew for each start: in seconds, and a changed file is never overlooked."""
    from dataset_scripts.build import build_dataset
    from hf_bertx.cards import built_task

    if name in TASKS:
        raise ValueError(f"--task {name} is a task of the paper; give your own data another name")
    with PartialState().main_process_first():
        if PartialState().is_main_process:
            build_dataset(name, folder / name, builder_options=told)
    return OwnData(built_task(folder / name), folder / name / "default")


def main() -> int:
    """Returns 2 for an order that cannot be carried out, after one line that says why.

    TRANSFORMERS_VERBOSITY=debug shows the whole trace instead.
    """
    logging.disable_progress_bar()  # of reading and writing files; the training's own bars stay
    try:
        specs, args = parse_arguments(sys.argv[1:], _build_own)
        for spec in specs:
            expected = spec.folder(Path(args.output_dir or "runs"))
            folder = run(spec, args, callbacks=(ModelCardCallback(partial(_card, expected)),))
            if PartialState().is_main_process:
                write_model_card(folder)
                print(f"wrote {folder}")
    except (ValueError, OSError) as error:
        if os.environ.get("TRANSFORMERS_VERBOSITY") == "debug":
            raise
        print(f"train.py: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
