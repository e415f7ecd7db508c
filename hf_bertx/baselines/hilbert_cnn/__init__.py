"""Hilbert-CNN (Yin et al. 2018): 4-mers of DNA, laid out on a Hilbert curve, under two-dimensional convolutions."""
