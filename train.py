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
from hf_bertx.card_facts import run_name
from hf_bertx.cards import write_model_card
from hf_bertx.publish import Upload, publish_model, signed_in
from hf_bertx.run_arguments import OwnData, parse_arguments
from hf_bertx.tasks import TASKS
from hf_bertx.training import run


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


def _build_task(root: Path, name: str, split: str) -> Path:
    """Builds a data set of the paper from its original files, which are fetched, unless an earlier run did."""
    from dataset_scripts.build import build_dataset

    folder = root / "data" / name
    if not (folder / split).is_dir():
        build_dataset(name, folder, split=split)
    return folder


def _push(folder: Path, upload: Upload, hub_model_id: str | None, account: str) -> None:
    """Publishes a finished run where the `Trainer` would have pushed it to."""
    name = hub_model_id or run_name(run_files.read_json(folder / run_files.RUN))
    print(publish_model(folder, name if "/" in name else f"{account}/{name}", upload))


def main() -> int:
    """Returns 2 for an order that cannot be carried out, after one line that says why.

    TRANSFORMERS_VERBOSITY=debug shows the whole trace instead.
    """
    logging.disable_progress_bar()  # of reading and writing files; the training's own bars stay
    try:
        specs, args = parse_arguments(sys.argv[1:], _build_own)
        upload = Upload(bool(args.hub_private_repo), args.hub_revision, token=args.hub_token)
        push, args.push_to_hub = args.push_to_hub, False  # once it is finished, and without the Trainer's pickle
        # a token that is not taken is better known before training than after
        account = signed_in(args.hub_model_id or "the model", upload) if push else ""
        for spec in specs:
            folder = run(spec, args, build_task=partial(_build_task, Path(args.output_dir or "runs")))
            if PartialState().is_main_process:
                write_model_card(folder)
                print(f"wrote {folder}")
                if push:
                    _push(folder, upload, args.hub_model_id, account)
    except (ValueError, OSError) as error:
        if os.environ.get("TRANSFORMERS_VERBOSITY") == "debug":
            raise
        print(f"train.py: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
