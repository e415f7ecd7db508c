"""`bertx embed`: a model and a file of sequences -> a vector each."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .predict import add_input, classifier_of, input_columns


def add(verbs: Any) -> None:
    parser = verbs.add_parser(
        "embed",
        help="write a vector for each sequence in a file, for other tools",
        description="Writes the encoder's hidden states of every sequence of a file, pooled to one vector each.",
        epilog="Example: bertx embed runs/.../seed-0 sequences.fasta --output vectors.parquet --layer 3",
    )
    add_input(parser)
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        help="a .parquet file with the columns id and embedding, or .npy: float32, a row for each record, in order",
    )
    parser.add_argument(
        "--layer", type=int, metavar="L", help="0 (the embeddings) to the number of layers (default: the last)"
    )
    parser.add_argument(
        "--pool",
        choices=("mean", "first"),
        default="mean",
        help="the mean over positions, or position 0 (default: %(default)s)",
    )
    parser.set_defaults(act=_embed)


def _embed(arguments: argparse.Namespace) -> None:
    from ..prediction.embedding import EMBEDDING_ENDINGS, embed_file
    from ..prediction.prediction_files import check_output

    check_output(arguments.output, arguments.overwrite, arguments.file, EMBEDDING_ENDINGS)
    classifier = classifier_of(arguments)
    columns = input_columns(arguments)
    records, size = embed_file(classifier, arguments.file, arguments.output, columns, arguments.layer, arguments.pool)
    print(f"{arguments.output}: {records} records, {size} numbers each; {classifier.precision}")
