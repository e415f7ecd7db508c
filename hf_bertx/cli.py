"""The `bertx` command. Its verbs are declared in the modules of `commands`. Imports no torch."""

from __future__ import annotations

import argparse
import sys

from . import __version__
from .commands import (
    analyse,
    baseline,
    data,
    embed,
    mutate,
    predict,
    probe,
    publish,
    report,
    study,
    tasks,
    train,
)
from .registry import run_command

_VERBS = (tasks, data, train, study, baseline, probe, report, analyse, predict, embed, mutate, publish)


def main(argv: list[str] | None = None) -> int:
    """Runs a verb. Returns 2 after an error, which is printed as one line.

    TRANSFORMERS_VERBOSITY=debug shows the whole trace instead.
    """
    arguments = build_parser().parse_args(argv)
    return run_command("bertx", lambda: arguments.act(arguments))


def build_parser() -> argparse.ArgumentParser:
    """The parser. The `act` of a parsed command line runs it."""
    parser = argparse.ArgumentParser(
        prog="bertx",
        description="Fine-tunes encoders that were pre-trained on English text on DNA, protein, music and shifted "
        "text, and measures what the pre-training was worth. `bertx VERB --help` lists its options.",
        epilog="Training on several devices: accelerate launch train.py --task dna-splice --arm bert re_emb rand",
    )
    parser.add_argument("--version", action="version", version=f"hf_bertx {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb in _VERBS:
        verb.add(verbs)
    return parser


if __name__ == "__main__":
    sys.exit(main())
