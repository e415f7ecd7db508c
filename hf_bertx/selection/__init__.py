"""`bertx train` as a user runs it: baselines and a probe first, then training, then the best model and a table."""
