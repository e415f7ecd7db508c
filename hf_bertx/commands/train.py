"""`bertx train`: one run, or several arms of it; the same as `train.py`."""

from __future__ import annotations

import argparse
from typing import Any


def add(verbs: Any) -> None:
    # with another prefix the options are this parser's positional arguments, for the parser that knows them
    training = verbs.add_parser(
        "train",
        add_help=False,
        prefix_chars="\0",
        help="fine-tune, test and save a model; `bertx train --help` lists the options",
    )
    training.add_argument("arguments", nargs="*")
    training.set_defaults(act=_train)


def _train(arguments: argparse.Namespace) -> None:
    from ..launch import train_all
    from ..runs.processes import end_process_group

    train_all(arguments.arguments, tell=lambda folder: print(f"wrote {folder}"))
    end_process_group()
