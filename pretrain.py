"""Masked-LM pre-training of a small or large BERT or ALBERT: the same as `bertx pretrain`.

    accelerate launch pretrain.py --train_files books/ --validation_files wiki.valid.txt --max_steps 12000
    accelerate launch pretrain.py --dataset wikimedia/wikipedia --dataset_config 20231101.en --layers 12 \
        --hidden_size 768 --max_steps 1000000 --checkpoint_steps 0 20000 200000 500000
    accelerate launch pretrain.py --discipline dna --train_files genome.fasta --backbone minilm-l6 --max_steps 2000
"""

import sys

from hf_bertx.cli import main

if __name__ == "__main__":
    sys.exit(main(["pretrain", *sys.argv[1:]]))
