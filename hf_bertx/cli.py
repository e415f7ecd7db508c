"""The `bertx` command: thin, one module of `commands` a verb. Imports no torch."""

from __future__ import annotations

import argparse
import sys

from . import __version__
from .commands import analyse, baseline, data, predict, publish, report, study, tasks

_VERBS = (tasks, data, study, baseline, report, analyse, predict, publish)


def main(argv: list[str] | None = None) -> int:
    """Runs a verb; returns 2 for an order that cannot be carried out, after one line that says why."""
    arguments = build_parser().parse_args(argv)
    try:
        return arguments.act(arguments) or 0
    except (ValueError, OSError) as error:
        print(f"bertx: error: {error}", file=sys.stderr)
        return 2


def build_parser() -> argparse.ArgumentParser:
    """The command line; `act` of what it parses carries the order out."""
    parser = argparse.ArgumentParser(
        prog="bertx",
        description="Text-pretrained encoders on DNA, protein, music and shifted text: what pre-training was worth.",
        epilog="Training: accelerate launch train.py --task dna-splice --arm bert re_emb rand",
    )
    parser.add_argument("--version", action="version", version=f"hf_bertx {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb in _VERBS:
        verb.add(verbs)
    return parser


if __name__ == "__main__":
    sys.exit(main())
