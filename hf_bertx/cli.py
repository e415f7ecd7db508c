"""The `bertx` command: thin, one function a verb. Imports no torch."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from . import __version__
from .arms import ARMS
from .backbones import BACKBONES
from .protocols import PROTOCOLS
from .tasks import TASKS


def main(argv: list[str] | None = None) -> int:
    """Runs a verb; returns 2 for an order that cannot be carried out, after one line that says why."""
    parser = argparse.ArgumentParser(
        prog="bertx",
        description="Text-pretrained encoders on DNA, protein, music and shifted text: what pre-training was worth.",
        epilog="Training: accelerate launch train.py --task dna-splice --arm bert re_emb rand",
    )
    parser.add_argument("--version", action="version", version=f"hf_bertx {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    listing = verbs.add_parser("tasks", help="what can be run: tasks, arms, backbones, protocols")
    listing.add_argument("--format", choices=("text", "json"), default="text")
    listing.set_defaults(act=_tasks)

    reporting = verbs.add_parser("report", help="run folders -> a table, a picture, JSON")
    reporting.add_argument("runs", type=Path, help="folder below which the runs lie, e.g. runs")
    reporting.add_argument("--format", choices=("md", "json"), default="md", help="of what is printed")
    reporting.add_argument("--output", type=Path, help="also write table.md, table.json and loss_curves.png here")
    reporting.set_defaults(act=_report)

    arguments = parser.parse_args(argv)
    try:
        arguments.act(arguments)
    except (ValueError, OSError) as error:
        print(f"bertx: error: {error}", file=sys.stderr)
        return 2
    return 0


def _tasks(arguments: argparse.Namespace) -> None:
    if arguments.format == "json":
        everything: dict[str, Any] = {
            "tasks": [{**asdict(task), "hub_id": task.hub_id} for task in TASKS.values()],
            "arms": [asdict(arm) for arm in ARMS.values()],
            "backbones": [asdict(backbone) for backbone in BACKBONES.values()],
            "protocols": [asdict(protocol) for protocol in PROTOCOLS.values()],
        }
        print(json.dumps(everything, indent=2, ensure_ascii=False))
        return
    print("TASKS" + " " * 19 + "DISCIPLINE  METRIC    CLASSES  PAPER")
    for task in TASKS.values():
        scores = ", ".join(f"{s.row} {s.value:g}" for s in task.published if s.model != "ALBERT" and s.fraction == 1)
        classes = "-" if task.labels is None else str(len(task.labels))
        print(f"  {task.name:<22}{task.discipline:<12}{task.metric:<10}{classes:>7}  {scores}")
    print("\nARMS")
    for arm in ARMS.values():
        print(f"  {arm.name:<22}{arm.about}")
    print("\nBACKBONES (any Hub id as owner/name[@revision], any folder, multiberts-seed_S[-step_Nk])")
    for backbone in BACKBONES.values():
        print(
            f"  {backbone.name:<22}{backbone.hub_id}" + (f" @ {backbone.revision[:12]}" if backbone.revision else "")
        )
    print("\nPROTOCOLS")
    for protocol in PROTOCOLS.values():
        print(f"  {protocol.name:<22}{protocol.about}")


def _report(arguments: argparse.Namespace) -> None:
    from . import report

    records = report.collect_runs(arguments.runs)
    found = report.tables(records)
    if arguments.format == "json":
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        print("\n".join(report.markdown(table) for table in found))
    if arguments.output is not None:
        for path in report.write_report(arguments.runs, arguments.output):
            print(f"wrote {path}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
