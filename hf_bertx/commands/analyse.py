"""`bertx analyse`: what two runs learned, compared."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any


def add(verbs: Any) -> None:
    analysing = verbs.add_parser(
        "analyse",
        help="compare what two runs learned: layers, attention heads, gradients",
        description="Compares two finished runs of one task, or a run with its own start: CKA and PWCCA by layer, "
        "matched attention heads, cosines between gradients of mini-batches.",
        epilog="Example: bertx analyse runs/.../bert/seed-0 runs/.../rand/seed-0 --output analysis",
    )
    analysing.add_argument("run_a", type=Path, metavar="RUN_A", help="folder of a finished run")
    analysing.add_argument("run_b", type=Path, nargs="?", metavar="RUN_B", help="another, of the same task and data")
    analysing.add_argument(
        "--against_start", action="store_true", help="compare RUN_A with its start instead of RUN_B"
    )
    analysing.add_argument("--output", type=Path, required=True, help="folder of table.md, analysis.json and pictures")
    analysing.add_argument("--data_dir", help="folder of the task's data, if not in the package")
    analysing.add_argument("--split", default="validation", help="split whose items are read (default: %(default)s)")
    analysing.add_argument("--items", type=int, default=256, help="number of items (default: %(default)s)")
    analysing.add_argument("--positions", type=int, default=10_000, help="number of tokens (default: %(default)s)")
    analysing.add_argument(
        "--variance", type=float, default=0.99, help="share of variance that PWCCA compares (default: %(default)s)"
    )
    analysing.add_argument("--mini_batches", type=int, default=16, help="for the gradients (default: %(default)s)")
    analysing.add_argument("--seed", type=int, default=0, help="seed of all draws (default: %(default)s)")
    analysing.set_defaults(act=_analyse)


def _analyse(arguments: argparse.Namespace) -> None:
    from ..analysis import analysis_report

    if arguments.against_start == (arguments.run_b is not None):
        raise ValueError("analyse compares RUN_A with RUN_B, or with --against_start: name one of the two")
    from ..analysis.analyse import analyse
    from ..processor import quiet_loading

    quiet_loading()
    names = ("data_dir", "split", "items", "positions", "variance", "mini_batches", "seed")
    analysis = analyse(arguments.run_a, arguments.run_b, **{name: getattr(arguments, name) for name in names})
    print(analysis_report.markdown(analysis))
    for path in analysis_report.write_analysis(analysis, arguments.output):
        print(f"wrote {path}", file=sys.stderr)
