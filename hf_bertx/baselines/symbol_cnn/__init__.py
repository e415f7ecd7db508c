"""A small CNN on learned symbol embeddings, trained from scratch: the cheap control of a pre-trained encoder."""
