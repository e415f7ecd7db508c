"""`bertx pretrain`: masked-LM on text or sequences, with a model folder at each of a list of steps."""

from __future__ import annotations

import argparse
from typing import Any


def add(verbs: Any) -> None:
    # with another prefix character all options are passed on to the parser of the run
    pretraining = verbs.add_parser(
        "pretrain",
        add_help=False,
        prefix_chars="\0",
        help="pre-train a masked-LM on text or sequences",
    )
    pretraining.add_argument("arguments", nargs="*")
    pretraining.set_defaults(act=_pretrain)


def _pretrain(arguments: argparse.Namespace) -> None:
    from ..pretraining.arguments import parse_pretraining
    from ..pretraining.pretrain import pretrain
    from ..processor import quiet_loading, use_processor
    from ..runs.processes import end_process_group

    quiet_loading()
    options, args = parse_pretraining(arguments.arguments)
    use_processor(options.threads, args.use_cpu)
    print(f"wrote {pretrain(options, args)}")
    end_process_group()
