"""`bertx predict`: writes labels and scores of a file of sequences."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

_SHOWN = 20  # pieces that are printed; the file has all


def add(verbs: Any) -> None:
    predicting = verbs.add_parser(
        "predict",
        help="write labels and scores of the sequences in a file",
        description="Predicts every sequence of a file. Interrupted and called again, it goes on where it stopped. "
        "MIDI files are read in segments of 128 notes, which vote on their piece.",
        epilog="Example: bertx predict runs/.../seed-0 sequences.fasta --output labels.csv",
    )
    add_input(predicting)
    predicting.add_argument(
        "--output",
        type=Path,
        required=True,
        help="a .parquet, .csv or .jsonl file; in a .csv, text that begins with = + - @ gets an apostrophe in front "
        "unless it is a number, since spreadsheets would compute it",
    )
    predicting.add_argument(
        "--piece_column",
        help="column that names a record's piece; records of a piece vote, as segments of a MIDI file do",
    )
    predicting.set_defaults(act=_predict)


def add_input(parser: argparse.ArgumentParser) -> None:
    """The model, the file and how they are read: options of each verb that applies a model."""
    parser.add_argument(
        "model", metavar="MODEL", help="a run's folder, a model's or an adapter's folder, or a Hub id owner/name"
    )
    parser.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help=".fasta (.fa, .fna, .faa), .csv, .tsv, .jsonl, .txt (one sequence a line), each also as .gz; .parquet; "
        ".mid, or a folder of MIDI files; at most 10,000,000 letters a record",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an output that is there already")
    parser.add_argument(
        "--precision",
        choices=("auto", "float32", "bfloat16"),
        default="auto",
        help="%(default)s, the default: bfloat16 where the hardware multiplies it, else float32. If the run computed "
        "in float32, float32 gives its scores to within 1e-5, and bfloat16 to within 0.02",
    )
    parser.add_argument("--threads", type=int, help="batches at once on a CPU (default: one a core)")
    parser.add_argument("--batch_size", type=int, help="sequences in a batch, at most")
    parser.add_argument("--sequence_column", help="(default: sequence)")
    parser.add_argument("--second_sequence_column", help="the second sequence of pairs")
    parser.add_argument("--id_column", help="(default: id if there is one; else records are numbered)")
    parser.add_argument("--skip_unreadable", action="store_true", help="leave out MIDI files that cannot be read")


def input_columns(arguments: argparse.Namespace) -> Any:
    """The columns that the options of [`add_input`] name."""
    from ..data.input_records import Columns

    return Columns(
        arguments.sequence_column,
        arguments.second_sequence_column,
        arguments.id_column,
        getattr(arguments, "piece_column", None),
        arguments.skip_unreadable,
    )


def classifier_of(arguments: argparse.Namespace) -> Any:
    """The classifier that the options of [`add_input`] name."""
    from ..prediction.inference import SequenceClassifier
    from ..processor import keep_freed_memory, quiet_loading

    keep_freed_memory()  # before there are threads
    quiet_loading()
    return SequenceClassifier.from_pretrained(
        arguments.model, precision=arguments.precision, threads=arguments.threads, batch_size=arguments.batch_size
    )


def _predict(arguments: argparse.Namespace) -> None:
    from tqdm import tqdm

    from ..prediction.prediction_files import check_output, predict_file

    check_output(arguments.output, arguments.overwrite, arguments.file)
    classifier = classifier_of(arguments)
    columns = input_columns(arguments)
    with tqdm(unit=" records", disable=None, dynamic_ncols=True) as bar:

        def progress(done: int, total: int | None) -> None:
            if bar.total is None:
                bar.reset(total)
                bar.initial = done  # records of an earlier call do not count for the speed
            bar.update(done - bar.n)

        made = predict_file(classifier, arguments.file, arguments.output, columns, arguments.overwrite, progress)
    for name, piece in list(made.pieces.items())[:_SHOWN]:
        name = name if not name.startswith("\0") else "a record without a piece"
        answer = piece["piece_label"] if classifier.labels else f"{piece['piece_value']:.4g}"
        votes = f" ({piece['votes']} of {piece['segments']} segments)" if classifier.labels else ""
        print(f"{name}: {answer}{votes}")
    if len(made.pieces) > _SHOWN:
        print(f"and {len(made.pieces) - _SHOWN} pieces more")
    earlier = f", {made.resumed_at} of them by an earlier call" if made.resumed_at else ""
    print(
        f"{arguments.output}: {made.records} records{earlier}: {made.answers}; {made.cut} cut; "
        f"{classifier.precision}, {classifier.threads} threads"
    )
    if made.noted:
        print(f"{arguments.file}: {made.noted}")
    if made.split and classifier.windows is not None:
        print(
            f"{made.split} of them had more than {classifier.windows.symbols} symbols and were read in windows; the "
            "column `windows` says in how many"
        )
    if made.cut:
        print(
            f"{made.cut} of them were longer than the {classifier.max_length} tokens that the model reads and were "
            "cut; the column `cut` says by how many symbols"
        )
