"""Baselines: plain estimators, and networks made for a discipline. Each leaves an ordinary run folder."""
