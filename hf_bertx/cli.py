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
from .tasks import TASKS, get_task


def main(argv: list[str] | None = None) -> int:
    """Runs a verb; returns 2 for an order that cannot be carried out, after one line that says why."""
    arguments = build_parser().parse_args(argv)
    try:
        arguments.act(arguments)
    except (ValueError, OSError) as error:
        print(f"bertx: error: {error}", file=sys.stderr)
        return 2
    return 0


def build_parser() -> argparse.ArgumentParser:
    """The command line; `act` of what it parses carries the order out."""
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

    _add_data_verbs(verbs)
    _add_publish_verbs(verbs)
    return parser


def _add_data_verbs(verbs: Any) -> None:
    data = verbs.add_parser("data", help="data sets: original files -> Parquet with a card; what a split gives away")
    data_verbs = data.add_subparsers(dest="data_verb", required=True, metavar="VERB")

    building = data_verbs.add_parser(
        "build",
        help="original files -> a folder that load_dataset reads",
        description="Turns the original files of a task into Parquet with a data set card. Without --raw_dir they are "
        "downloaded. Builds of one data set share a folder: each --split is a configuration of it.",
        epilog="bertx data build dna-h3 --raw_dir downloads --output data/dna-h3 --split grouped",
    )
    building.add_argument("task", nargs="?", help="one of: " + ", ".join(TASKS))
    building.add_argument("--output", type=Path, required=True, help="the data set's folder")
    building.add_argument("--raw_dir", type=Path, help="folder of the original files, or one file")
    building.add_argument(
        "--split",
        default="paper",
        help="paper: as the paper or the published files say; authors: as the authors' code does; grouped: no test "
        "item that a training item gives away",
    )
    building.add_argument("--seed", type=int, default=100, help="of random and grouped splits (%(default)s)")
    building.add_argument("--strict", action="store_true", help="a count that differs from the published is an error")
    building.add_argument(
        "--tokenized",
        metavar="BACKBONE[:ASSIGNMENT]",
        help="also as ids, ready for a plain Trainer: minilm-l6:frequent",
    )
    building.add_argument(
        "--from",
        dest="train_file",
        metavar="FILE",
        help="your own data: .fasta, .csv, .tsv, .jsonl, .parquet, or a folder of MIDI files; TASK then names it",
    )
    own = building.add_argument_group("with --from")
    for name, what in (
        ("validation_file", "by default 5% of the training items are drawn"),
        ("test_file", "by default 5% of the training items are drawn"),
        ("discipline", "dna, protein, music or text"),
        ("sequence_column", "by default sequence"),
        ("second_sequence_column", "of pairs"),
        ("label_column", "by default label"),
        ("group_column", "by default group: items of one group stay on one side of a split"),
        ("label_pattern", "regular expression for FASTA headers; its ( ) encloses the label"),
        ("labels_file", "CSV with the columns file and label, for MIDI"),
    ):
        own.add_argument(f"--{name}", help=what, metavar=name.rpartition("_")[2].upper())
    building.set_defaults(act=_data_build)

    leaking = data_verbs.add_parser("leaks", help="what the training items of a split give away of its test items")
    leaking.add_argument("dataset", help="a folder that `data build` made, or a data set of the Hub")
    leaking.add_argument("--config", help="configuration, e.g. grouped; by default the data set's own default")
    leaking.add_argument("--discipline", help="dna, protein, music or text; by default by the name of the data set")
    leaking.add_argument("--window", type=int, help="symbols in a row that count as shared (dna 100, protein 50)")
    leaking.add_argument("--format", choices=("text", "json"), default="text")
    leaking.set_defaults(act=_data_leaks)


def _add_publish_verbs(verbs: Any) -> None:
    publishing = verbs.add_parser(
        "publish",
        help="models, data sets and apps -> the Hub",
        description="Each upload is one commit with the next version's tag (v1, v2, ...). What is there unchanged is "
        "not sent again, so an upload that broke off is repeated. Log in with `hf auth login`, or set HF_TOKEN.",
    )
    what = publishing.add_subparsers(dest="publish_verb", required=True, metavar="WHAT")
    model = what.add_parser("model", help="a finished run: weights, tokenizer, card, results, loss curve")
    model.add_argument("run", type=Path, help="the run's folder")
    model.add_argument("repo_id", metavar="OWNER/NAME")
    model.set_defaults(act=_publish_model)
    dataset = what.add_parser("dataset", help="a folder that `bertx data build` made")
    dataset.add_argument("folder", type=Path)
    dataset.add_argument("repo_id", nargs="?", metavar="OWNER/NAME", help="by default bertx/ and the task's name")
    dataset.add_argument(
        "--i-have-permission",
        action="store_true",
        help="of those who hold the rights, where the data's publisher states no licence",
    )
    dataset.set_defaults(act=_publish_dataset)
    study = what.add_parser("study", help="the finished runs below a folder, one repository a cell, stable names")
    study.add_argument("runs", type=Path)
    study.add_argument("--namespace", default="bertx", help="owner of the repositories (%(default)s)")
    study.add_argument(
        "--all_seeds",
        action="store_true",
        help="main holds the run of the lowest seed; with this, the branches seed-N hold the others",
    )
    study.set_defaults(act=_publish_study)
    space = what.add_parser("space", help="the folder of an app")
    space.add_argument("folder", type=Path)
    space.add_argument("repo_id", metavar="OWNER/NAME")
    space.set_defaults(act=_publish_space)
    for verb in (model, study):
        verb.add_argument("--onnx", action="store_true", help="export the model to ONNX too, and check it")
        verb.add_argument("--merge", action="store_true", help="of a LoRA run, the whole model, not the adapter")
    for verb in (model, dataset, study, space):
        verb.add_argument("--private", action="store_true")
        verb.add_argument("--revision", metavar="BRANCH", help="to commit to, made if need be (main)")
        verb.add_argument("--create_pr", action="store_true", help="propose the commit, do not make it")
        verb.add_argument("--dry_run", action="store_true", help="show files, sizes and card; no network")
        if verb is not study:
            verb.add_argument("--tag", help="of the version; by default the next of v1, v2, ... on main")

    exporting = verbs.add_parser("export", help="a finished run's model -> ONNX, checked in ONNX Runtime")
    exporting.add_argument("run", type=Path, help="the run's folder")
    exporting.set_defaults(act=_export)


def _upload(arguments: argparse.Namespace) -> Any:
    from .publish import Upload

    return Upload(
        private=arguments.private,
        revision=arguments.revision,
        tag=getattr(arguments, "tag", None),
        create_pr=arguments.create_pr,
        dry_run=arguments.dry_run,
    )


def _publish_model(arguments: argparse.Namespace) -> None:
    from .publish import publish_model
    from .repository_files import ADAPTER

    if arguments.onnx and (arguments.run / ADAPTER).is_dir() and not arguments.merge:
        raise ValueError(f"{arguments.run}: --onnx exports the whole model; pass --merge too, or leave --onnx out")
    if arguments.onnx and not arguments.dry_run:
        _export(arguments)
    print(publish_model(arguments.run, arguments.repo_id, _upload(arguments), arguments.merge))


def _publish_dataset(arguments: argparse.Namespace) -> None:
    from .publish import publish_dataset

    print(publish_dataset(arguments.folder, arguments.repo_id, _upload(arguments), arguments.i_have_permission))


def _publish_study(arguments: argparse.Namespace) -> None:
    from .onnx_export import export_once
    from .publish import publish_study

    prepare = export_once if arguments.onnx and not arguments.dry_run else None
    upload, namespace = _upload(arguments), arguments.namespace
    for done in publish_study(arguments.runs, namespace, upload, arguments.all_seeds, arguments.merge, prepare):
        print(done, flush=True)


def _publish_space(arguments: argparse.Namespace) -> None:
    from .publish import publish_space

    print(publish_space(arguments.folder, arguments.repo_id, _upload(arguments)))


def _export(arguments: argparse.Namespace) -> None:
    from .onnx_export import export_once

    record = export_once(arguments.run)
    print(
        f"{arguments.run / record['file']}: logits of {record['sequences']} sequences differ from PyTorch's "
        f"by at most {record['largest_difference']:.1e} (tolerance {record['tolerance']:.0e})"
    )


def _data_build(arguments: argparse.Namespace) -> None:
    from dataset_scripts.build import build_dataset

    from .task_data import OWN_ARGUMENTS

    told = {name: getattr(arguments, name) for name in OWN_ARGUMENTS if getattr(arguments, name) is not None}
    name = arguments.task
    if "train_file" in told:
        name = name or Path(arguments.train_file).name.partition(".")[0]
    elif told:
        raise ValueError(f"--{next(iter(told))} describes data of your own: name its file with --from FILE")
    elif name is None:
        raise ValueError(f"no task is named; one of: {', '.join(TASKS)}")
    else:
        get_task(name)
    counts = build_dataset(
        name,
        arguments.output,
        raw_dir=arguments.raw_dir,
        split=arguments.split,
        seed=arguments.seed,
        strict=arguments.strict,
        tokenized=arguments.tokenized,
        builder_options=told,
    )
    for config, parts in counts.items():
        print(f"{arguments.output / config}: " + ", ".join(f"{n} {part}" for part, n in parts.items()))
    print(f'load_dataset("{arguments.output}", "{next(iter(counts))}")')


def _data_leaks(arguments: argparse.Namespace) -> None:
    from datasets import load_dataset

    from .leaks import leak_report

    splits = load_dataset(arguments.dataset, arguments.config)
    discipline = arguments.discipline or next(
        (task.discipline for task in TASKS.values() if Path(arguments.dataset).name.startswith(task.name)), None
    )
    if discipline is None:
        raise ValueError(
            f"{arguments.dataset}: the name tells no discipline; pass --discipline dna, protein, music or text"
        )
    report = leak_report(splits, discipline, arguments.window)
    if arguments.format == "json":
        print(json.dumps(report.to_dict(), indent=2))
    else:
        print("\n".join(report.sentences()))


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
