"""One run, or several arms of it: parse, build, train, test, save.

    accelerate launch train.py
    accelerate launch --config_file accelerate_config.yaml train.py --task dna-splice --arm bert re_emb rand --seed 1

Expected of the first one, on two cores, in about six minutes: test accuracy about 0.97.
"""

from __future__ import annotations

import sys

from accelerate import PartialState
from transformers.utils import logging

from hf_bertx.cards import write_model_card
from hf_bertx.run_arguments import parse_arguments
from hf_bertx.training import run


def main() -> int:
    """Returns 2 for an order that cannot be carried out, after one line that says why."""
    logging.disable_progress_bar()  # of reading and writing files; the training's own bars stay
    try:
        specs, args = parse_arguments(sys.argv[1:])
        for spec in specs:
            folder = run(spec, args)
            if PartialState().is_main_process:
                write_model_card(folder)
                print(f"wrote {folder}")
    except (ValueError, FileNotFoundError, OSError) as error:
        print(f"train.py: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
