"""`bertx data`: builds data sets, and measures what a split leaks."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from ..data.own_options import USER_DATA_OPTIONS
from ..registry import beside
from ..tasks import BUILDS, TASKS, get_task


def add(verbs: Any) -> None:
    data = verbs.add_parser("data", help="build data sets with a card; measure what a split leaks")
    data_verbs = data.add_subparsers(dest="data_verb", required=True, metavar="VERB")
    _add_build(data_verbs)
    _add_leaks(data_verbs)


def _add_build(verbs: Any) -> None:
    building = verbs.add_parser(
        "build",
        help="turn original files into a folder that load_dataset reads",
        description="Turns the original files of a task into Parquet with a data set card. Without --raw_dir it takes "
        "the copy in the package (dna-splice), or downloads the files. Builds of one data set share a folder: each "
        "--split is a configuration of it.",
        epilog="Example: bertx data build dna-h3 --raw_dir downloads --output data/dna-h3 --split grouped",
    )
    building.add_argument(
        "task", nargs="?", help="one of: " + ", ".join(TASKS) + "; with --from, a name for your data"
    )
    building.add_argument("--output", type=Path, required=True, help="folder of the data set")
    building.add_argument(
        "--raw_dir", type=Path, help="folder that holds the original files, or its parent; or one file"
    )
    building.add_argument(
        "--split",
        default="paper",
        help="paper: that of the paper or its published files; authors: the one the authors' code makes; grouped: "
        "similar items stay on one side",
    )
    building.add_argument(
        "--seed", type=int, default=100, help="seed of random and grouped splits (default: %(default)s)"
    )
    building.add_argument("--strict", action="store_true", help="fail if a count differs from the published one")
    building.add_argument(
        "--tokenized",
        metavar="BACKBONE[:ASSIGNMENT]",
        help="also write token ids for a plain Trainer, e.g. minilm-l6:frequent",
    )
    building.add_argument(
        "--from", dest="train_file", metavar="FILE", help=f"your own data. {USER_DATA_OPTIONS['train_file']}"
    )
    group = building.add_argument_group("with --from")
    for name in [*USER_DATA_OPTIONS][1:]:
        settings: dict[str, Any] = {"metavar": name.rpartition("_")[2].upper()}
        if name == "similarity_threshold":
            settings = {"metavar": "SHARE", "type": float}
        elif name == "skip_unreadable":
            settings = {"action": "store_const", "const": True}
        group.add_argument(f"--{name}", help=USER_DATA_OPTIONS[name], **settings)
    building.set_defaults(act=_data_build)


def _add_leaks(verbs: Any) -> None:
    leaking = verbs.add_parser(
        "leaks",
        help="measure how much the training items of a split give away of its test items",
        description="Counts test items that occur in the training items or share a stretch with one, and scores a "
        "model that copies the label of the most similar training item.",
        epilog="Example: bertx data leaks data/dna-h3 --config paper",
    )
    leaking.add_argument("dataset", help="a folder that `data build` made, or a data set of the Hub")
    leaking.add_argument("--config", help="configuration, e.g. grouped (default: the data set's own default)")
    leaking.add_argument(
        "--discipline", help="dna, protein, music or text (default: known from the name of the data set)"
    )
    leaking.add_argument(
        "--window", type=int, help="length of a shared stretch, in symbols (default: 100 for dna, 50 for protein)"
    )
    leaking.add_argument("--format", choices=("text", "json"), default="text", help="(default: text)")
    leaking.set_defaults(act=_data_leaks)


def _data_build(arguments: argparse.Namespace) -> None:
    build_dataset = import_module(f"{beside('dataset_scripts')}.build").build_dataset

    from .. import run_files
    from ..data.targets import sentence

    given = {name: getattr(arguments, name) for name in USER_DATA_OPTIONS}
    options = {name: value for name, value in given.items() if value is not None}
    name, output = arguments.task, arguments.output.expanduser()
    if "train_file" in options:
        name = name or Path(arguments.train_file).name.partition(".")[0]
        for option, value, default in (("raw_dir", arguments.raw_dir, None), ("strict", arguments.strict, False),
                                       ("split", arguments.split, "paper")):  # fmt: skip
            if value != default:
                raise ValueError(f"--{option} is of the tasks of the paper, and has no effect on --from FILE")
    elif options:
        raise ValueError(f"--{next(iter(options))} describes data of your own: name its file with --from FILE")
    elif name is None:
        raise ValueError(f"no task is named; one of: {', '.join(TASKS)}")
    else:
        get_task(name)
    counts = build_dataset(
        name,
        output,
        raw_dir=arguments.raw_dir,
        split=arguments.split,
        seed=arguments.seed,
        strict=arguments.strict,
        tokenized=arguments.tokenized,
        builder_options=options,
    )
    for config in counts:
        record = run_files.read_json(output / BUILDS / f"{config}.json")
        print(f"{output / config}: {sentence(record['understood'])}")
        if record["leaks"] is not None and record["leaks"]["duplicates"]:
            print(record["leak_sentences"][0])
    print(f'load_dataset("{output}", "{next(iter(counts))}")')


def _data_leaks(arguments: argparse.Namespace) -> None:
    from ..data.data_copies import check_build, configurations, load_rows
    from ..data.leaks import leak_report
    from ..disciplines import DISCIPLINES

    folder, config, discipline = Path(arguments.dataset).expanduser(), arguments.config, arguments.discipline
    if (folder.parent / BUILDS / f"{folder.name}.json").is_file():  # a configuration's folder
        folder, config = folder.parent, config or folder.name
    if (folder / BUILDS).is_dir():
        held = configurations(folder)
        if config is not None and config not in held:
            raise ValueError(f"{folder}: no configuration {config!r}; it has {', '.join(held)}")
        record = check_build(folder, config or held[0])
        splits = load_rows(str(folder / record["config"]))
        if discipline not in (None, record["task"]["discipline"]):
            raise ValueError(
                f"{folder}: --discipline is {discipline!r}, and the data set is {record['task']['discipline']}"
            )
        discipline = record["task"]["discipline"]
    else:
        splits = load_rows(arguments.dataset, config)
    named = (task.discipline for task in TASKS.values() if folder.name.startswith(task.name))
    discipline = discipline or next(named, None)
    known = (*DISCIPLINES, "text")
    if discipline not in known:
        why = f"--discipline is {discipline!r}" if discipline else "the name tells no discipline"
        raise ValueError(f"{arguments.dataset}: {why}; pass --discipline {', '.join(known)}")
    report = leak_report(splits, discipline, arguments.window)
    if arguments.format == "json":
        print(json.dumps(asdict(report), indent=2))
    else:
        print("\n".join(report.sentences()))
