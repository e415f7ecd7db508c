"""Numbers on the command line of a benchmark."""

from __future__ import annotations

import argparse


def at_least_one(text: str) -> int:
    """A `type` of argparse: how many rounds or steps there are."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not allowed: a whole number, 1 or more")
    return int(text)
