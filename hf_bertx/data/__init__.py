"""Data: what a user points at becomes the rows of a task."""
