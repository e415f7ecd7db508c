"""`bertx tasks`: lists what can be run."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

from ..arms import ARMS
from ..backbones import BACKBONES
from ..protocols import PROTOCOLS
from ..tasks import TASKS


def add(verbs: Any) -> None:
    listing = verbs.add_parser(
        "tasks",
        help="list tasks, arms, backbones and protocols",
        description="Lists tasks with their published scores, arms, backbones and protocols.",
        epilog="Example: bertx tasks --format json",
    )
    listing.add_argument("--format", choices=("text", "json"), default="text", help="(default: text)")
    listing.set_defaults(act=_tasks)


def add_task(parser: argparse.ArgumentParser) -> None:
    """The task and its data: options of each verb that is about one task."""
    tasks = f"one of: {', '.join(TASKS)}; or a folder that `bertx data build` made"
    parser.add_argument("--task", default="dna-splice", help=tasks)
    parser.add_argument("--data_dir", help="folder that `bertx data build` made")
    parser.add_argument("--split", default="paper", help="paper, authors or grouped (default: %(default)s)")


def shown_scores(results: dict[str, Any]) -> str:
    """The scores on test of a run's results, for one line."""
    return ", ".join(f"{name} {value:.3f}" for name, value in results["metrics"][results["test_split"]].items())


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
