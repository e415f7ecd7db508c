"""`bertx publish` and `bertx export`: models, data sets and apps to the Hub, or to ONNX."""

from __future__ import annotations

import argparse
import logging
import warnings
from pathlib import Path
from typing import Any

_NEEDS_MERGE = "--onnx exports the whole model, and this run has an adapter; pass --merge too, or leave --onnx out"


def add(verbs: Any) -> None:
    publishing = verbs.add_parser(
        "publish",
        help="upload models, data sets and apps to the Hub",
        description="Each upload is one commit with the next version's tag (v1, v2, ...). Unchanged files are not "
        "sent again, so repeat an upload that broke off. Log in with `hf auth login`, or set HF_TOKEN.",
        epilog="Example: bertx publish model runs/.../seed-0 me/my-model --dry_run",
    )
    what = publishing.add_subparsers(dest="publish_verb", required=True, metavar="WHAT")
    about = {
        "model": ("a finished run: weights, tokenizer, card, results, loss curve", "runs/.../seed-0 me/my-model"),
        "dataset": ("a data set that `bertx data build` made", "data/dna-splice me/dna-splice --dry_run"),
        "study": ("finished runs, one repository for all seeds of a cell", "runs --namespace me --all_seeds"),
        "space": ("an app (a Space)", "spaces/demo me/demo"),
    }
    model, dataset, study, space = (
        what.add_parser(name, help=text, epilog=f"Example: bertx publish {name} {example}")
        for name, (text, example) in about.items()
    )
    model.add_argument("run", type=Path, help="the run's folder")
    model.add_argument("repo_id", metavar="OWNER/NAME", help="the repository on the Hub")
    model.set_defaults(act=_publish_model)
    dataset.add_argument("folder", type=Path, help="the data set's folder")
    dataset.add_argument("repo_id", nargs="?", metavar="OWNER/NAME", help="(default: bertx/ and the task's name)")
    dataset.add_argument(
        "--i-have-permission",
        action="store_true",
        help="publish data that states no licence: you have its owner's permission",
    )
    dataset.set_defaults(act=_publish_dataset)
    study.add_argument("runs", type=Path, help="the folder of all runs")
    study.add_argument("--namespace", default="bertx", help="owner of the repositories (default: %(default)s)")
    study.add_argument(
        "--all_seeds",
        action="store_true",
        help="also publish the other seeds, as branches seed-N; main holds the lowest seed",
    )
    study.set_defaults(act=_publish_study)
    space.add_argument("folder", type=Path, help="the app's folder")
    space.add_argument("repo_id", metavar="OWNER/NAME", help="the repository on the Hub")
    space.set_defaults(act=_publish_space)
    for verb in (model, study):
        verb.add_argument("--onnx", action="store_true", help="export the model to ONNX too, and check it")
        verb.add_argument("--merge", action="store_true", help="publish a LoRA run's whole model, not the adapter")
    for verb in (model, dataset, study, space):
        verb.add_argument("--private", action="store_true", help="make a new repository private")
        verb.add_argument("--revision", metavar="BRANCH", help="branch to commit to, new or not (default: main)")
        verb.add_argument("--create_pr", action="store_true", help="open a pull request instead of committing")
        verb.add_argument("--dry_run", action="store_true", help="only show files, sizes and card; uses no network")
        if verb is not study:
            verb.add_argument("--tag", help="tag of the version (default: on main, the next of v1, v2, ...)")

    exporting = verbs.add_parser(
        "export",
        help="export a finished run's model to ONNX",
        description="Writes the model as ONNX and compares its logits with PyTorch's in ONNX Runtime.",
        epilog="Example: bertx export runs/.../seed-0",
    )
    exporting.add_argument("run", type=Path, help="the run's folder")
    exporting.set_defaults(act=_export)


def _upload(arguments: argparse.Namespace) -> Any:
    from ..publishing.publish import Upload

    return Upload(
        private=arguments.private,
        revision=arguments.revision,
        tag=getattr(arguments, "tag", None),
        create_pr=arguments.create_pr,
        dry_run=arguments.dry_run,
    )


def _publish_model(arguments: argparse.Namespace) -> None:
    from ..publishing.publish import publish_model
    from ..run_files import ADAPTER

    if arguments.merge and arguments.run.is_dir() and not (arguments.run / ADAPTER).is_dir():
        raise ValueError(f"{arguments.run}: --merge has no effect, the run has no adapter; leave it out")
    if arguments.onnx and (arguments.run / ADAPTER).is_dir() and not arguments.merge:
        raise ValueError(f"{arguments.run}: {_NEEDS_MERGE}")
    if arguments.onnx and not arguments.dry_run:
        _export(arguments)
    print(publish_model(arguments.run, arguments.repo_id, _upload(arguments), arguments.merge))


def _publish_dataset(arguments: argparse.Namespace) -> None:
    from ..publishing.publish import publish_dataset

    print(publish_dataset(arguments.folder, arguments.repo_id, _upload(arguments), arguments.i_have_permission))


def _publish_study(arguments: argparse.Namespace) -> None:
    from ..publishing.onnx_export import export_once
    from ..publishing.publish import publish_study
    from ..run_files import ADAPTER

    if arguments.onnx and not arguments.merge:
        adapter = min(arguments.runs.rglob(ADAPTER), default=None)
        if adapter is not None:
            raise ValueError(f"{adapter.parent}: {_NEEDS_MERGE}")
    prepare = export_once if arguments.onnx and not arguments.dry_run else None
    upload, namespace = _upload(arguments), arguments.namespace
    for done in publish_study(arguments.runs, namespace, upload, arguments.all_seeds, arguments.merge, prepare):
        print(done, flush=True)


def _publish_space(arguments: argparse.Namespace) -> None:
    from ..publishing.publish import publish_space

    print(publish_space(arguments.folder, arguments.repo_id, _upload(arguments)))


def _export(arguments: argparse.Namespace) -> None:
    import torch.onnx  # sets its logger as it is imported

    from ..processor import quiet_loading
    from ..publishing.onnx_export import export_once

    quiet_loading()
    # torch's exporter warns that torchvision is missing, which no encoder needs, and of names that inputs share
    logging.getLogger(torch.onnx.__name__).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", "# The axis name")
    record = export_once(arguments.run)
    print(
        f"{arguments.run / record['file']}: logits of {record['sequences']} sequences differ from PyTorch's "
        f"by at most {record['largest_difference']:.1e} (tolerance {record['tolerance']:.0e})"
    )
