"""`bertx report`: makes tables, figures and a page of run folders, or of an archive of them."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

ARCHIVE = "runs.tar.xz"  # in a folder of results


def add(verbs: Any) -> None:
    reporting = verbs.add_parser(
        "report",
        help="make tables, tests, figures and a page from runs",
        description="Prints a table of runs. With --output it also writes a page (index.html), the paper's tables "
        "with our columns beside theirs and tests of arms (report.md, report.json, *.csv), figures (*.png, *.svg), "
        "and table.md and table.json with one row a run.",
        epilog="Example: bertx report runs --output report; bertx report results/verdict --output report",
    )
    reporting.add_argument(
        "runs", type=Path, help=f"a folder of runs, an archive of them (.tar.xz), or a folder that holds {ARCHIVE}"
    )
    reporting.add_argument(
        "--format", choices=("md", "json"), default="md", help="format of the printed table (default: md)"
    )
    reporting.add_argument("--output", type=Path, help="folder for the page, tables and figures")
    reporting.set_defaults(act=_report)


def _report(arguments: argparse.Namespace) -> None:
    from ..report import write as report

    with _read(arguments.runs) as runs:
        tables = report.tables(runs)
        if arguments.format == "json":
            print(json.dumps(tables, indent=2, ensure_ascii=False))
        else:
            print("\n".join(map(report.markdown, tables)))
        if arguments.output is not None:
            for path in report.write_report(runs, arguments.output):
                print(f"wrote {path}", file=sys.stderr)


@contextmanager
def _read(path: Path) -> Iterator[Any]:
    """The runs below a folder, or of an archive, which is unpacked to a temporary folder."""
    from ..report.records import read_runs
    from ..study.archive import read_archive

    archive = path / ARCHIVE if path.is_dir() else path
    if not archive.is_file():
        yield read_runs(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        read_archive(archive, Path(folder))
        yield replace(read_runs(Path(folder)), temporary=True)
