"""PLUS-TFM (Min et al. 2021): a Transformer pre-trained on protein families, and a converter for its weights."""
