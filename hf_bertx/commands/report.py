"""`bertx report`: run folders -> tables, figures, one page."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any


def add(verbs: Any) -> None:
    reporting = verbs.add_parser(
        "report",
        help="run folders -> the paper's tables beside ours, tests, figures, one page",
        description="Prints a table of runs. With --output it also writes index.html, which opens anywhere, the "
        "paper's tables with our columns beside theirs and tests of arms (report.md, report.json, *.csv), figures "
        "(*.png, *.svg), and table.md and table.json with one row a run.",
        epilog="bertx report runs --output report",
    )
    reporting.add_argument("runs", type=Path, help="folder below which the runs lie, e.g. runs")
    reporting.add_argument("--format", choices=("md", "json"), default="md", help="of what is printed")
    reporting.add_argument("--output", type=Path, help="folder for the page, tables and figures")
    reporting.set_defaults(act=_report)


def _report(arguments: argparse.Namespace) -> None:
    from ..report import write as report

    found = report.tables(report.collect_runs(arguments.runs))
    if arguments.format == "json":
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        print("\n".join(report.markdown(table) for table in found))
    if arguments.output is not None:
        for path in report.write_report(arguments.runs, arguments.output):
            print(f"wrote {path}", file=sys.stderr)
