"""`bertx probe`: how well a frozen backbone does on a task, in minutes and without a gradient step."""

from __future__ import annotations

import argparse
import hashlib
import itertools
from pathlib import Path
from typing import Any

from .tasks import add_task, shown_scores


def add(verbs: Any) -> None:
    parser = verbs.add_parser(
        "probe",
        help="test a frozen backbone with a fitted linear head, in minutes",
        description="Runs the frozen encoder once over the items, fits a ridge head on the features of each layer and "
        "pooling (mean of positions, or [CLS]), chooses the layer on validation and tests it. Each arm and size "
        "leaves a run folder that `bertx report` shows. Features are cached and never computed twice.",
        epilog="Example: bertx probe --task dna-h3 --data_dir data/dna-h3 --items 100 1000 all --arm bert re_emb rand",
    )
    add_task(parser)
    parser.add_argument("--arm", nargs="+", default=["bert", "re_emb", "rand"], help="(default: bert re_emb rand)")
    parser.add_argument("--backbone", default="minilm-l6", help="name, Hub id or folder (default: %(default)s)")
    parser.add_argument(
        "--items", nargs="+", type=_size, default=["all"], metavar="N", help="training items, or all (default: all)"
    )
    parser.add_argument("--seed", nargs="+", type=int, default=[0], help="seeds of weights and draws (default: 0)")
    parser.add_argument("--kmer", type=int, metavar="K", help="cut sequences of letters into k-mers (default: no)")
    parser.add_argument(
        "--window", type=int, metavar="N", help="read longer items in windows of N symbols (default: no)"
    )
    parser.add_argument("--overlap", type=int, metavar="M", help="symbols that two windows share (default: 0)")
    parser.add_argument("--class_weights", metavar="WORD", help="balanced: all classes weigh the same (default: no)")
    parser.add_argument(
        "--layers", nargs="+", type=int, metavar="L", help="layers to choose from; 0 is the embeddings (default: all)"
    )
    parser.add_argument("--permute_labels", action="store_true", help="shuffle the labels: the score has to be chance")
    parser.add_argument("--save_model", action="store_true", help="save the probe as a stock classifier")
    parser.add_argument(
        "--calibrate", action="store_true", help="divide the saved head by the temperature that fits validation"
    )
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: all cores)")
    parser.add_argument(
        "--max_test_items",
        type=int,
        default=3000,
        metavar="N",
        help="test items, at most (default: %(default)s); of validation at most 1,000 are used",
    )
    parser.add_argument("--plan", type=Path, metavar="FILE", help="a study's plan, whose sha256 each run records")
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="(default: %(default)s)")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="folder of cached features (default: RUNS/features)")
    parser.set_defaults(act=_probe)


def _size(text: str) -> int | str:
    return int(text) if text.isdigit() else text


def _probe(arguments: argparse.Namespace) -> None:
    from ..probing.runs import run_probes
    from ..probing.seeds import LEFT_OUT, without_repeats
    from ..processor import quiet_loading
    from ..run_files import RESULTS, read_json
    from ..runs.spec import RunSpec
    from ..runs.training_options import check_values

    check_values({"max_test_items": arguments.max_test_items})
    quiet_loading()
    plan = None if arguments.plan is None else hashlib.sha256(arguments.plan.read_bytes()).hexdigest()
    names = "task backbone split layers permute_labels save_model calibrate kmer window overlap class_weights".split()
    named = {name: getattr(arguments, name) for name in names}
    named |= {"max_eval_items": arguments.max_test_items, "plan": plan}
    requested = itertools.product(arguments.seed, arguments.arm, arguments.items)
    specs = [RunSpec.of_probe(arm=arm, seed=seed, items=size, **named) for seed, arm, size in requested]
    kept = without_repeats(specs)
    if len(kept) < len(specs):
        print(f"{len(specs) - len(kept)} {LEFT_OUT}", flush=True)
    for (arm, seed), alike in itertools.groupby(kept, key=lambda spec: (spec.arm, spec.seed)):
        for folder in run_probes(list(alike), arguments.data_dir, arguments.runs, arguments.cache, arguments.threads):
            results = read_json(folder / RESULTS)
            chosen = results["chosen"]
            layer = f"layer {chosen['layer']}, {chosen['pooling']}; {folder}"
            print(f"{arm}, seed {seed}, {results['train_items']} items: {shown_scores(results)} ({layer})", flush=True)
