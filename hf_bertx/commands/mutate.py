"""`bertx mutate`: the effect of every single mutation of a sequence on a model's prediction."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .predict import add_input, classifier_of, input_columns


def add(verbs: Any) -> None:
    parser = verbs.add_parser(
        "mutate",
        help="score every single substitution and deletion of each sequence",
        description="Replaces each letter of each sequence by every other one, deletes it, and predicts all these "
        "mutants. That takes seconds for a short sequence, and minutes for a protein of hundreds of residues.",
        epilog="Example: bertx mutate runs/.../seed-0 donors.fasta --output mutations",
    )
    add_input(parser)
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder for mutations.csv and a heat map of each sequence (.png)",
    )
    parser.add_argument(
        "--target", metavar="CLASS", help="class whose probability is the score (default: the predicted one)"
    )
    parser.add_argument("--letters", help="put in these letters only, e.g. ACGT")
    parser.add_argument("--no_deletions", action="store_true", help="substitutions only")
    parser.set_defaults(act=_mutate)


def _mutate(arguments: argparse.Namespace) -> None:
    from ..prediction.mutations import Mutations, check_folder, effects, mutate, write_mutations

    check_folder(arguments.output, arguments.overwrite)
    classifier = classifier_of(arguments)
    records = classifier.read(arguments.file, input_columns(arguments))

    def printed() -> Iterator[Mutations]:
        for each in mutate(classifier, records, arguments.target, arguments.letters, not arguments.no_deletions):
            print(f"{each.record.id}: {each.target} {each.score:.3f}; {', '.join(effects(each))}", flush=True)
            yield each

    sequences, mutants = write_mutations(printed(), arguments.output)
    print(f"{arguments.output}: {mutants} mutants of {sequences} sequences; {classifier.precision}")
