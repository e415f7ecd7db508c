"""`bertx study`: many runs."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import Any

from ..study.plan import named_studies

_EXAMPLE = """\
Example: bertx study table2-small --data_dir data --runs runs/table2 --dry_run

Named studies:"""


def add(verbs: Any) -> None:
    study = verbs.add_parser(
        "study",
        help="train all runs of a YAML file or a named study; finished ones are skipped",
        description="Plans the runs of a study, skips finished ones and trains the rest. The same command resumes "
        "after an interruption. Several processes on one folder share the work.",
        epilog=f"{_EXAMPLE}\n" + "\n".join(f"  {name:20}{about}" for name, about in named_studies().items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    study.add_argument("study", help="a name from below, or a .yaml file with: tasks, arms, and if wanted backbones, "
                       "series, seeds, fractions, protocol, overrides, grid, baselines")  # fmt: skip
    study.add_argument("--runs", type=Path, help="folder of all runs (default: runs/NAME)")
    study.add_argument("--data_dir", type=Path, help="folder that holds a data set for each task, by the task's name")
    study.add_argument("--series", metavar="FOLDER", help="checkpoints of a pre-training, as pretrain.py leaves them "
                       "(pretraining.json, step-0, step-600, ...): takes the place of the series that the study "
                       "names, e.g. figure3 --series pretrained/small")  # fmt: skip
    study.add_argument(
        "--executor", choices=("local", "ray"), default="local", help="ray: train on the Ray cluster of RAY_ADDRESS"
    )
    study.add_argument("--workers", type=int, help="runs at once (default: 1; on Ray, as many as there is room for)")
    study.add_argument("--threads", type=int, help="CPU threads of a run (default: all cores, shared by the workers)")
    study.add_argument(
        "--launch", metavar="COMMAND", help="what starts each run, e.g. 'accelerate launch --num_processes 4'"
    )
    study.add_argument("--time_limit", metavar="TIME", type=_seconds, help="e.g. 9m or 3h30m: shortly before it no "
                       "run is started, others save a checkpoint and stop, and the exit status is 75")  # fmt: skip
    study.add_argument("--archive", metavar="FILE.tar.xz", type=Path, help="file that keeps all finished and failed "
                       "runs, without weights; replaced as runs end, and at the end")  # fmt: skip
    study.add_argument("--from_archive", metavar="FILE.tar.xz", type=Path, help="go on from such a file: its runs "
                       "count as finished")  # fmt: skip
    study.add_argument("--dry_run", action="store_true", help="print what would run, and how long it takes here")
    study.set_defaults(act=_study)


def _study(arguments: argparse.Namespace) -> int:
    from ..processor import quiet_loading
    from ..runs.training_options import check_values
    from ..study.command import run_study
    from ..study.execution import StudyContext

    check_values({"workers": arguments.workers, "threads": arguments.threads})
    if (processes := int(os.environ.get("WORLD_SIZE", "1"))) > 1:
        raise ValueError(
            f"a study is started in 1 process, and this is one of {processes}; allowed: --launch 'accelerate launch "
            f"--num_processes {processes}', which starts each run in several"
        )
    if arguments.data_dir is not None and not arguments.data_dir.is_dir():
        raise ValueError(f"--data_dir {arguments.data_dir}: no such folder")
    quiet_loading()
    root = arguments.runs or Path("runs") / Path(arguments.study).stem
    context = StudyContext(root, arguments.data_dir, arguments.threads, arguments.launch)
    names = ("executor", "workers", "dry_run", "series", "time_limit", "archive", "from_archive")
    return run_study(arguments.study, context, **{name: getattr(arguments, name) for name in names})


def _seconds(text: str) -> float:
    """A `type` of argparse: a time such as 90s, 9m or 3h30m."""
    match = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", text)
    hours, minutes, seconds = (int(part or 0) for part in match.groups()) if match else (0, 0, 0)
    total = 3600 * hours + 60 * minutes + seconds
    if total <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed: a time such as 90s, 9m or 3h30m")
    return float(total)
