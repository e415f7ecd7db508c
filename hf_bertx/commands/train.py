"""`bertx train`: one run, or several arms of it; the same as `train.py`."""

from __future__ import annotations

import argparse
from typing import Any


def add(verbs: Any) -> None:
    # with another prefix character all options are passed on to the parser of the run
    training = verbs.add_parser(
        "train",
        add_help=False,
        prefix_chars="\0",
        help="fine-tune, test and save a model",
    )
    training.add_argument("arguments", nargs="*")
    training.set_defaults(act=_train)


def _train(arguments: argparse.Namespace) -> None:
    from ..selection.command import train_and_end

    train_and_end(arguments.arguments)
