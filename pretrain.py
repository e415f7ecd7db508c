"""Masked-LM pre-training of a small or large BERT or ALBERT, with a checkpoint at each of a list of steps.

    accelerate launch pretrain.py --train_files books/ --validation_files wiki.valid.txt --max_steps 12000
    accelerate launch pretrain.py --dataset wikimedia/wikipedia --dataset_config 20231101.en --layers 12 \
        --hidden_size 768 --max_steps 1000000 --checkpoint_steps 0 20000 200000 500000
"""

from __future__ import annotations

import sys

from transformers.utils import logging

from hf_bertx.pretraining.arguments import parse_pretraining
from hf_bertx.pretraining.pretrain import pretrain
from hf_bertx.processes import end_process_group
from hf_bertx.registry import run_command


def main() -> int:
    """Returns 2 for an order that cannot be carried out, after one line that says why; see `run_command`."""
    logging.disable_progress_bar()  # of reading and writing files; the training's own bar stays
    return run_command("pretrain.py", _act)


def _act() -> None:
    print(f"wrote {pretrain(*parse_pretraining(sys.argv[1:]))}")
    end_process_group()


if __name__ == "__main__":
    sys.exit(main())
