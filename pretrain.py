"""Masked-LM pre-training of a small or large BERT or ALBERT, with a checkpoint at each of a list of steps.

    accelerate launch pretrain.py --train_files books/ --validation_files wiki.valid.txt --max_steps 12000
    accelerate launch pretrain.py --dataset wikimedia/wikipedia --dataset_config 20231101.en --layers 12 \
        --hidden_size 768 --max_steps 1000000 --checkpoint_steps 0 20000 200000 500000
"""

from __future__ import annotations

import os
import sys

from transformers.utils import logging

from hf_bertx.pretraining.arguments import parse_pretraining
from hf_bertx.pretraining.pretrain import pretrain
from hf_bertx.processes import end_process_group


def main() -> int:
    """Returns 2 for an order that cannot be carried out, after one line that says why.

    TRANSFORMERS_VERBOSITY=debug shows the whole trace instead.
    """
    logging.disable_progress_bar()  # of reading and writing files; the training's own bar stays
    try:
        print(f"wrote {pretrain(*parse_pretraining(sys.argv[1:]))}")
        end_process_group()
    except (ValueError, OSError, FloatingPointError) as error:
        if os.environ.get("TRANSFORMERS_VERBOSITY") == "debug":
            raise
        print(f"pretrain.py: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
