"""`bertx pretrain`: masked-LM on text or sequences, with a model folder at each of a list of steps."""

from __future__ import annotations

import argparse
from typing import Any

from .train import add_passthrough


def add(verbs: Any) -> None:
    add_passthrough(verbs, "pretrain", "pre-train a masked-LM on text or sequences", _pretrain)


def _pretrain(arguments: argparse.Namespace) -> None:
    from ..pretraining.arguments import parse_pretraining
    from ..pretraining.pretrain import pretrain
    from ..processor import end_process_group, quiet_loading, use_processor

    quiet_loading()
    options, args = parse_pretraining(arguments.arguments)
    use_processor(options.threads, args.use_cpu)
    print(f"wrote {pretrain(options, args)}")
    end_process_group()
