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
from .study import named_studies
from .tasks import TASKS, get_task


def main(argv: list[str] | None = None) -> int:
    """Runs a verb; returns 2 for an order that cannot be carried out, after one line that says why."""
    arguments = build_parser().parse_args(argv)
    try:
        return arguments.act(arguments) or 0
    except (ValueError, OSError) as error:
        print(f"bertx: error: {error}", file=sys.stderr)
        return 2


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

    _add_report_verb(verbs)
    _add_study_verb(verbs)
    _add_analysis_verbs(verbs)
    _add_predict_verbs(verbs)
    _add_data_verbs(verbs)
    _add_baseline_verbs(verbs)
    return parser


def _add_study_verb(verbs: Any) -> None:
    study = verbs.add_parser(
        "study",
        help="many runs: a named study or a YAML file; runs what is missing",
        description="Plans the runs of a study, skips what is finished, trains the rest. Started again after whatever "
        "happened, it goes on from the last checkpoint. Several of these on one folder share the work.",
        epilog="Named studies:\n" + "\n".join(f"  {name:14} {about}" for name, about in named_studies().items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    study.add_argument("study", help="a name from below, or a .yaml file with: tasks, arms, and if wanted backbones, "
                       "seeds, fractions, protocol, overrides, grid, baselines")  # fmt: skip
    study.add_argument("--runs", type=Path, help="where the runs are written (default: runs/NAME)")
    study.add_argument("--data_dir", type=Path, help="folder that holds a data set for each task, by the task's name")
    study.add_argument("--executor", choices=("local", "ray"), default="local", help="ray: the cluster of RAY_ADDRESS")
    study.add_argument("--workers", type=int, help="runs at once (default: 1; on Ray, as many as there is room for)")
    study.add_argument("--threads", type=int, help="CPU threads of a run (default: all cores, shared by the workers)")
    study.add_argument(
        "--launch", metavar="COMMAND", help="what starts each run, e.g. 'accelerate launch --num_processes 4'"
    )
    study.add_argument("--dry_run", action="store_true", help="print what would run, and how long it takes here")
    study.set_defaults(act=_study)


def _study(arguments: argparse.Namespace) -> int:
    from .study_command import run_study
    from .study_execution import Where

    for name in ("workers", "threads"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name} is {value}; allowed: at least 1")
    if arguments.data_dir is not None and not arguments.data_dir.is_dir():
        raise ValueError(f"--data_dir {arguments.data_dir}: no such folder")
    root = arguments.runs or Path("runs") / Path(arguments.study).stem
    where = Where(root, arguments.data_dir, arguments.threads, arguments.launch)
    return run_study(arguments.study, where, arguments.executor, arguments.workers, arguments.dry_run)


def _add_analysis_verbs(verbs: Any) -> None:
    analysing = verbs.add_parser(
        "analyse",
        help="what two runs learned, compared: layers, attention heads, gradients",
        description="Compares two finished runs of one task, or a run with its own start: CKA and PWCCA by layer, "
        "matched attention heads, cosines between gradients of mini-batches.",
        epilog="bertx analyse runs/.../bert/seed-0 runs/.../rand/seed-0 --output analysis",
    )
    analysing.add_argument("run_a", type=Path, metavar="RUN_A", help="folder of a finished run")
    analysing.add_argument("run_b", type=Path, nargs="?", metavar="RUN_B", help="another, of the same task and data")
    analysing.add_argument(
        "--against_start", action="store_true", help="instead of RUN_B: RUN_A before its training, drawn again"
    )
    analysing.add_argument("--output", type=Path, required=True, help="folder of table.md, analysis.json and pictures")
    analysing.add_argument("--data_dir", help="folder of the task's data, if not in the package")
    analysing.add_argument("--split", default="validation", help="whose items are read (%(default)s)")
    analysing.add_argument("--items", type=int, default=256, help="how many of them (%(default)s)")
    analysing.add_argument("--positions", type=int, default=10_000, help="how many of their tokens (%(default)s)")
    analysing.add_argument(
        "--variance", type=float, default=0.99, help="share of a layer's variance that PWCCA compares (%(default)s)"
    )
    analysing.add_argument("--mini_batches", type=int, default=16, help="for gradients (%(default)s)")
    analysing.add_argument("--seed", type=int, default=0, help="of the draws of items and positions (%(default)s)")
    analysing.set_defaults(act=_analyse)


def _add_predict_verbs(verbs: Any) -> None:
    predicting = verbs.add_parser(
        "predict",
        help="a model and a file of sequences -> a file of labels and scores",
        description="Predicts every sequence of a file. Stopped and started again, it goes on where it stopped. MIDI "
        "files are read in segments of 128 notes, which vote on their piece.",
        epilog="bertx predict bertx/minilm-l6-dna-splice sequences.fasta --output labels.csv",
    )
    predicting.add_argument("model", metavar="MODEL", help="a run's folder, a model's folder, or a Hub id owner/name")
    predicting.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help=".fasta (.fa, .fna, .faa), .csv, .tsv, .jsonl, .txt (one sequence a line), each also as .gz, .parquet, "
        ".mid, or a folder of MIDI files",
    )
    predicting.add_argument("--output", type=Path, required=True, help="a .parquet, .csv or .jsonl file")
    predicting.add_argument("--overwrite", action="store_true", help="begin anew, whatever is there")
    predicting.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="auto", help="%(default)s")
    predicting.add_argument("--threads", type=int, help="batches at once on a CPU; by default one a core")
    predicting.add_argument("--batch_size", type=int, help="at most so many sequences a batch")
    predicting.add_argument("--sequence_column", default="sequence", help="%(default)s")
    predicting.add_argument("--second_sequence_column", help="of pairs")
    predicting.add_argument("--id_column", default="id", help="%(default)s; records without one are numbered")
    predicting.add_argument("--piece_column", help="records of one piece vote; MIDI files have pieces anyway")
    predicting.set_defaults(act=_predict)


def _predict(arguments: argparse.Namespace) -> None:
    from tqdm import tqdm
    from transformers.utils.logging import disable_progress_bar

    from .inference import SequenceClassifier
    from .input_records import Columns
    from .prediction_files import check_output, predict_file

    check_output(arguments.output, arguments.overwrite)
    disable_progress_bar()  # of the loading of weights, which takes a second
    classifier = SequenceClassifier.from_pretrained(
        arguments.model,
        precision=arguments.precision,
        threads=arguments.threads,
        batch_size=arguments.batch_size,
    )
    columns = Columns(
        arguments.sequence_column, arguments.second_sequence_column, arguments.id_column, arguments.piece_column
    )
    with tqdm(unit=" records", disable=None, dynamic_ncols=True) as bar:

        def progress(done: int, total: int | None) -> None:
            if bar.total is None:
                bar.reset(total)
                bar.initial = done  # what an earlier call did is no part of the speed
            bar.update(done - bar.n)

        made = predict_file(classifier, arguments.file, arguments.output, columns, arguments.overwrite, progress)
    for name, piece in list(made.pieces.items())[:20]:
        answer = piece["piece_label"] if classifier.labels else f"{piece['piece_value']:.4g}"
        votes = f" ({piece['votes']} of {piece['segments']} segments)" if classifier.labels else ""
        print(f"{name}: {answer}{votes}")
    print(f"{arguments.output}: {made.records} records, {classifier.precision}, {classifier.threads} threads")
    if made.cut:
        print(
            f"{made.cut} of them were longer than the {classifier.max_length} tokens that the model reads and were "
            "cut; the column `cut` says by how many symbols"
        )


def _add_report_verb(verbs: Any) -> None:
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


def _add_baseline_verbs(verbs: Any) -> None:
    running = verbs.add_parser(
        "baseline",
        help="what a study compares with: k-mers, one-hot, TF-IDF, neighbours, networks of the discipline",
        description="Fits baselines to a task, chooses their hyperparameters on validation and leaves run folders "
        "that `bertx report` shows. Without a name: the plain ones that fit the task, no network.",
        epilog="bertx baseline majority kmer-logistic --task dna-h3 --data_dir data/dna-h3 --runs runs",
    )
    running.add_argument("names", nargs="*", metavar="NAME", help="`bertx baseline --list` says what each is")
    running.add_argument("--list", action="store_true", help="print the baselines and what each fits")
    running.add_argument("--task", default="dna-splice", help="one of: " + ", ".join(TASKS))
    running.add_argument("--data_dir", help="folder that `bertx data build` made")
    running.add_argument("--split", default="paper", help="paper, authors or grouped (%(default)s)")
    running.add_argument("--seed", type=int, default=0)
    running.add_argument("--fraction", type=float, default=1.0, help="share of the training data")
    running.add_argument("--max_eval_items", type=int, metavar="N", help="draw validation and test down to N items")
    running.add_argument("--epochs", type=float, metavar="N", help="of a network, in place of its recipe's")
    running.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="(%(default)s)")
    running.add_argument("--output", type=Path, help="write table.md and table.json of all baselines of --runs here")
    running.set_defaults(act=_baseline)

    converting = verbs.add_parser(
        "convert",
        help="published weights of a discipline's model -> safetensors that `bertx baseline` starts from",
        epilog="bertx convert plus-tfm PLUS-TFM.pt --output plus; bertx baseline plus-tfm:plus --task ...",
    )
    converting.add_argument("model", choices=("plus-tfm", "antiberty"))
    converting.add_argument("checkpoint", nargs="?", type=Path, help="of plus-tfm: the published .pt")
    converting.add_argument("--output", type=Path, required=True, help="folder to write")
    converting.set_defaults(act=_convert)


def _convert(arguments: argparse.Namespace) -> None:
    if arguments.model == "antiberty":
        from .baselines.encoders import convert_antiberty

        print(f"wrote {convert_antiberty(arguments.output)}")
        return
    from .baselines.plus_tfm.conversion import convert_plus_tfm

    if arguments.checkpoint is None:
        raise ValueError("plus-tfm has no package: name the published file, bertx convert plus-tfm PLUS-TFM.pt")
    print(f"wrote {convert_plus_tfm(arguments.checkpoint, arguments.output)}")


def _baseline(arguments: argparse.Namespace) -> None:
    from .baselines import BASELINES, baselines_for, get_baseline, run_baseline, write_table
    from .run_files import RESULTS, read_json

    if arguments.list:
        for baseline in (*BASELINES.values(), *map(get_baseline, ("plus-tfm:FOLDER", "encoder:SOURCE"))):
            print(f"{baseline.name:<23}{', '.join(baseline.disciplines):<27}{baseline.about}")
        return
    for name in arguments.names or baselines_for(get_task(arguments.task)):
        folder = run_baseline(
            name,
            arguments.task,
            arguments.split,
            arguments.data_dir,
            arguments.seed,
            arguments.fraction,
            arguments.runs,
            arguments.max_eval_items,
            arguments.epochs,
        )
        results = read_json(folder / RESULTS)
        scores = ", ".join(
            f"{metric} {value:.3f}" for metric, value in results["metrics"][results["test_split"]].items()
        )
        print(f"{name}: {results['test_split']} {scores} ({folder})", flush=True)
    if arguments.output is not None:
        for path in write_table(arguments.runs, arguments.output):
            print(f"wrote {path}", file=sys.stderr)


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
    _add_publish_verb(data_verbs)


def _add_publish_verb(data_verbs: Any) -> None:
    publishing = data_verbs.add_parser("publish", help="a built data set -> its repository on the Hub")
    publishing.add_argument("folder", type=Path, help="that `data build` made")
    publishing.add_argument("--repo_id", metavar="OWNER/NAME", help="by default bertx/ and the task's name")
    publishing.add_argument("--private", action="store_true")
    publishing.add_argument(
        "--i-have-permission",
        action="store_true",
        help="of those who hold the rights, where the data's publisher states no licence",
    )
    publishing.set_defaults(act=_data_publish)


def _analyse(arguments: argparse.Namespace) -> None:
    from . import analysis_report

    if arguments.against_start == (arguments.run_b is not None):
        raise ValueError("analyse compares RUN_A with RUN_B, or with --against_start: name one of the two")
    from .analysis import analyse

    names = ("data_dir", "split", "items", "positions", "variance", "mini_batches", "seed")
    found = analyse(arguments.run_a, arguments.run_b, **{name: getattr(arguments, name) for name in names})
    print(analysis_report.summary(found))
    for path in analysis_report.write_analysis(found, arguments.output):
        print(f"wrote {path}", file=sys.stderr)


def _data_publish(arguments: argparse.Namespace) -> None:
    from .publish import publish_dataset

    print(publish_dataset(arguments.folder, arguments.repo_id, arguments.i_have_permission, arguments.private))


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

    found = report.tables(report.collect_runs(arguments.runs))
    if arguments.format == "json":
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        print("\n".join(report.markdown(table) for table in found))
    if arguments.output is not None:
        for path in report.write_report(arguments.runs, arguments.output):
            print(f"wrote {path}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
