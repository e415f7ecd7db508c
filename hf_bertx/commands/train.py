"""`bertx train`: one run, or several arms of it; the same as `train.py`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any


def add(verbs: Any) -> None:
    add_passthrough(verbs, "train", "fine-tune, test and save a model", _train)


def add_passthrough(verbs: Any, name: str, about: str, act: Callable[[argparse.Namespace], None]) -> None:
    """A verb that passes all its options on to a parser of its own; with another prefix character they are words."""
    parser = verbs.add_parser(name, add_help=False, prefix_chars="\0", help=about)
    parser.add_argument("arguments", nargs="*")
    parser.set_defaults(act=act)


def _train(arguments: argparse.Namespace) -> None:
    from ..processor import end_process_group
    from ..selection.command import train_command

    train_command(arguments.arguments)
    end_process_group()
