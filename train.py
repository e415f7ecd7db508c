"""One run, or several arms of it: data, training, test, card. The same as `bertx train`.

    accelerate launch train.py
    accelerate launch --config_file accelerate_config.yaml train.py --task dna-splice --arm bert re_emb rand --seed 1

The first one is the default run: the arm `bert` of dna-splice, seed 42, in a few minutes on two cores.
"""

import sys

from hf_bertx.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
