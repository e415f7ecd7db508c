"""What `train.py` does, and a study for each of its runs: parse, build, train, test, save, write the card."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from accelerate import PartialState
from transformers.utils import logging

from . import run_files
from .callbacks import ModelCardCallback
from .cards import model_card, write_model_card
from .run_arguments import BuildOwn, parse_arguments
from .training import run


def _card(folder: Path) -> str | None:
    """What a push carries as README.md: the run's card once it is finished, nothing before."""
    return model_card(folder) if (folder / run_files.RESULTS).is_file() else None


def train(
    argv: list[str], build_own: BuildOwn | None = None, tell: Callable[[Path], None] = lambda folder: None
) -> None:
    """Trains the runs of a command line, one an arm.

    Args:
        build_own: builds a user's own data, where a `--train_file` is named.
        tell: is given the folder of each run as soon as it is finished, in the main process.

    Raises:
        ValueError, OSError: an order that cannot be carried out.
    """
    logging.disable_progress_bar()  # of reading and writing files; the training's own bars stay
    specs, args = parse_arguments(argv, build_own)
    for spec in specs:
        expected = spec.folder(Path(args.output_dir or "runs"))
        folder = run(spec, args, callbacks=(ModelCardCallback(partial(_card, expected)),))
        if PartialState().is_main_process:
            write_model_card(folder)
            tell(folder)


def main(argv: list[str], build_own: BuildOwn | None = None) -> int:
    """Returns 2 for an order that cannot be carried out, after one line that says why.

    TRANSFORMERS_VERBOSITY=debug shows the whole trace instead.
    """
    try:
        train(argv, build_own, tell=lambda folder: print(f"wrote {folder}"))
    except (ValueError, OSError) as error:
        if os.environ.get("TRANSFORMERS_VERBOSITY") == "debug":
            raise
        print(f"train.py: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
