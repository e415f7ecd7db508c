"""Masked-LM pre-training: text in, a model folder at each of a list of steps. `pretrain.py` is its command."""
