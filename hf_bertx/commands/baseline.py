"""`bertx baseline` and `bertx convert`: baselines that a study compares with."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..tasks import get_task
from .tasks import add_task, shown_scores


def add(verbs: Any) -> None:
    running = verbs.add_parser(
        "baseline",
        help="fit linear models, neighbours or a network made for the discipline",
        description="Fits baselines to a task, chooses their hyperparameters on validation and leaves run folders "
        "that `bertx report` shows. Without a name it fits the plain ones of the task, and no network.",
        epilog="Example: bertx baseline majority kmer-logistic --task dna-h3 --data_dir data/dna-h3 --runs runs",
    )
    running.add_argument("names", nargs="*", metavar="NAME", help="`bertx baseline --list` says what each is")
    running.add_argument("--list", action="store_true", help="print the baselines and what each fits")
    add_task(running)
    running.add_argument("--seed", type=int, default=0, metavar="N", help="(default: %(default)s)")
    running.add_argument(
        "--fraction", type=float, default=1.0, metavar="X", help="share of the training data (default: %(default)s)"
    )
    running.add_argument("--max_eval_items", type=int, metavar="N", help="validate and test on at most N items")
    running.add_argument("--epochs", type=float, metavar="N", help="epochs of a network (default: its recipe's)")
    running.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="(default: %(default)s)")
    running.set_defaults(act=lambda arguments: _baseline(arguments, running))

    converting = verbs.add_parser(
        "convert",
        help="convert published weights to safetensors that `bertx baseline` reads",
        description="Turns published weights of PLUS-TFM or AntiBERTy into safetensors. No code of the file is run.",
        epilog="Example: bertx convert plus-tfm PLUS-TFM.pt --output plus, then bertx baseline plus-tfm:plus --task "
        "protein-localization --data_dir DIR",
    )
    converting.add_argument("model", choices=("plus-tfm", "antiberty"))
    converting.add_argument("checkpoint", nargs="?", type=Path, help="the published .pt file (plus-tfm only)")
    converting.add_argument("--output", type=Path, required=True, help="folder for the converted weights")
    converting.set_defaults(act=_convert)


def _baseline(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    from ..baselines.catalog import BASELINES, baselines_for, get_baseline
    from ..baselines.runs import run_baseline
    from ..processor import keep_freed_memory
    from ..run_files import RESULTS, read_json
    from ..runs.spec import RunSpec

    if arguments.list:
        given = (name for name, value in vars(arguments).items() if value not in ([], parser.get_default(name)))
        stray = next((name for name in given if name not in ("verb", "list")), None)
        if stray is not None:
            raise ValueError(f"--list has no use for {stray if stray == 'names' else '--' + stray}; leave it out")
        for baseline in (*BASELINES.values(), *map(get_baseline, ("plus-tfm:FOLDER", "encoder:SOURCE"))):
            print(f"{baseline.name:<23}{', '.join(baseline.disciplines):<27}{baseline.about}")
        return
    keep_freed_memory()
    for name in arguments.names or baselines_for(get_task(arguments.task)):
        spec = RunSpec.of_baseline(
            name, arguments.task, arguments.split, arguments.seed, arguments.fraction, arguments.max_eval_items
        )
        folder = run_baseline(spec, arguments.data_dir, arguments.runs, arguments.epochs)
        results = read_json(folder / RESULTS)
        print(f"{name}: {results['test_split']} {shown_scores(results)} ({folder})", flush=True)


def _convert(arguments: argparse.Namespace) -> None:
    if arguments.model == "antiberty":
        from ..baselines.conversion import convert_antiberty

        if arguments.checkpoint is not None:
            raise ValueError(f"antiberty is read from its installed package; leave {arguments.checkpoint} out")
        print(f"wrote {convert_antiberty(arguments.output)}")
        return
    from ..baselines.conversion import convert_plus_tfm

    if arguments.checkpoint is None:
        raise ValueError("plus-tfm has no package: name the published file, bertx convert plus-tfm PLUS-TFM.pt")
    print(f"wrote {convert_plus_tfm(arguments.checkpoint, arguments.output)}")
