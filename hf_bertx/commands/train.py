"""`bertx train` and `bertx pretrain`: verbs whose options have a parser of their own."""

from __future__ import annotations

import argparse
from typing import Any


def add(verbs: Any) -> None:
    for name, about, act in (
        ("train", "fine-tune, test and save a model", _train),
        ("pretrain", "pre-train a masked-LM on text or sequences", _pretrain),
    ):
        # with another prefix character all options are words, which are passed on
        parser = verbs.add_parser(name, add_help=False, prefix_chars="\0", help=about)
        parser.add_argument("arguments", nargs="*")
        parser.set_defaults(act=act)


def _train(arguments: argparse.Namespace) -> None:
    from ..processor import end_process_group
    from ..selection.command import train_command

    train_command(arguments.arguments)
    end_process_group()


def _pretrain(arguments: argparse.Namespace) -> None:
    from ..pretraining.arguments import parse_pretraining
    from ..pretraining.pretrain import pretrain
    from ..processor import end_process_group, quiet_loading, use_processor

    quiet_loading()
    options, args = parse_pretraining(arguments.arguments)
    use_processor(options.threads, args.use_cpu)
    print(f"wrote {pretrain(options, args)}")
    end_process_group()
