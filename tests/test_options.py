"""Every option of every verb changes what is done, or is refused. An option that is ignored fails here."""

import argparse
import ast
import hashlib
import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from saved_models import classes, saved

from hf_bertx import run_files
from hf_bertx.cli import build_parser, main
from hf_bertx.data.task_data import load_task_data
from hf_bertx.launch import OF_THE_COMMAND, build_user_data
from hf_bertx.pretraining.arguments import PretrainingArguments
from hf_bertx.runs.arguments import read_options, resolve
from hf_bertx.runs.options import RunArguments
from hf_bertx.runs.order import check_same, run_order

# A cheap order of each verb, and what is added for each of its options. The two have to differ in the status, in what
# is printed, or in a file that is written. `A || B` adds A to the order itself, and B for the option.
_INPUT = (
    "--precision bfloat16; --sequence_column other; --second_sequence_column other; --id_column name; "
    "--skip_unreadable; "
)
_OWN_DATA = (
    "--validation_file {held}; --test_file {held}; --discipline protein; --problem regression; --metric mcc; "
    "--sequence_column other; --second_sequence_column other; --label_column class; --id_column name; "
    "--group_column family; --label_pattern (.); --labels_file {held}; --skip_unreadable; "
    "--similarity_threshold 0.3; --license mit"
)
ORDERS: dict[str, tuple[str, str]] = {
    "bertx tasks": ("", "--format json"),
    "bertx data build": (
        "mine --from {csv} --discipline dna --output {out}/set",
        "--raw_dir x; --split grouped; --seed 7; --strict; --tokenized {tiny}; --from {held}; --output {out}/other; "
        + _OWN_DATA,
    ),
    "bertx data leaks": ("{built}", "--config none; --discipline protein; --window 5; --format json"),
    "bertx predict": (
        "{model} {csv} --output {out}/x.csv",
        _INPUT + "--output {there} || --overwrite; --threads 1 || --threads 2; --output {out}/x.jsonl; "
        "--piece_column family",
    ),
    "bertx embed": (
        "{model} {csv} --output {out}/x.parquet",
        _INPUT + "--output {there_parquet} || --overwrite; --output {out}/x.npy; --layer 0; --pool first",
    ),
    "bertx mutate": (
        "{model} {few} --output {out}/new",
        _INPUT
        + "--output {there_folder} || --overwrite; --output {out}/below; --letters AC; --no_deletions; --target 0",
    ),
    "bertx baseline": (
        "majority --task {built} --runs {out}",
        "--list; --task dna-splice; --data_dir {missing}; --split nonsense; --seed 1; --fraction 0.5; "
        "--max_eval_items 2; --epochs 2; --runs {out}/below",
    ),
    "bertx probe": (
        "--task {built} --backbone {tiny} --arm bert --items 20 --runs {out}",
        "--task {missing}; --data_dir {missing}; --split nonsense; --arm re_emb; --backbone {missing}; --items 30; "
        "--seed 1; --kmer 2; --window 5; --window 5 || --overlap 2; --class_weights balanced; --layers 1; "
        "--permute_labels; --save_model; --save_model || --calibrate; --max_test_items 2; --plan {csv}; "
        "--runs {out}/below; --cache {out}/cache",
    ),
    "bertx study": ("{study} --runs {out} --dry_run", "--from_archive {missing}"),
    "bertx report": ("{runs}", "--format json; --output {out}"),
    "bertx publish dataset": (
        "{built} owner/name --dry_run --i-have-permission",
        "--private; --revision trial; --create_pr; --tag x",
    ),
    "bertx publish model": (
        "{run} owner/name --dry_run",
        "--merge; --private; --revision trial; --create_pr; --tag x",
    ),
}
# Options that are exercised by a test of the verb, which fails when they are ignored; and those without an effect.
ELSEWHERE = {
    "bertx analyse": "tests/analysis/test_analysis.py",
    "bertx publish model": "tests/publishing/test_publish.py tests/publishing/test_hub.py",
    "bertx publish study": "tests/publishing/test_publish.py tests/publishing/test_hub.py",
    "bertx publish space": "tests/publishing/test_publish.py",
    "bertx publish dataset": "tests/publishing/test_publish.py tests/publishing/test_hub.py",
    "bertx study": "tests/study/test_study.py tests/study/test_study_limits.py tests/pretraining/test_series.py",
    "bertx convert": "tests/baselines/test_plus_tfm.py",
}
NO_EFFECT = {
    "bertx probe --threads": "features do not depend on the threads, and none are printed",
    "bertx predict --batch_size": "answers do not depend on the batch; it bounds memory",
    "bertx embed --batch_size": "answers do not depend on the batch; it bounds memory",
    "bertx mutate --batch_size": "answers do not depend on the batch; it bounds memory",
    "bertx mutate --threads": "answers do not depend on the threads, and none are printed",
    "bertx embed --threads": "vectors do not depend on the threads, and none are printed",
}


def verbs() -> dict[str, argparse.ArgumentParser]:
    """Every command that takes options, `data build` and the like included."""
    parsers, queue = {}, [("bertx", build_parser())]
    while queue:
        name, parser = queue.pop()
        below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
        queue += [(f"{name} {verb}", child) for action in below for verb, child in action.choices.items()]
        if not below:
            parsers[name] = parser
    return dict(sorted(parsers.items()))


def options(parser: argparse.ArgumentParser) -> list[str]:
    return [action.option_strings[0] for action in parser._actions if action.option_strings and action.dest != "help"]


def changes(orders: str) -> dict[str, tuple[str, str]]:
    """What is added to the order, and for the option, by the option's name."""
    by_option = {}
    for added in orders.split("; "):
        before, _, after = added.rpartition(" || ")
        by_option[after.split()[0]] = (before, after)
    return by_option


def named(*files: str) -> set[str]:
    """The options that tests name."""
    return {option for file in files for option in re.findall(r"--[\w-]+", (ROOT / file).read_text(encoding="utf-8"))}


@pytest.mark.parametrize(("verb", "parser"), verbs().items())
def test_each_option_of_a_verb_is_exercised(verb: str, parser: argparse.ArgumentParser) -> None:
    elsewhere = named(*ELSEWHERE.get(verb, "").split())
    below = changes(ORDERS[verb][1]) if verb in ORDERS else {}
    for option in options(parser):
        known = option in below or option in elsewhere or f"{verb} {option}" in NO_EFFECT
        assert known, f"nothing shows that {verb} {option} is used or refused"


@pytest.mark.parametrize(("verb", "parser"), verbs().items())
def test_each_verb_has_an_example_in_its_help(verb: str, parser: argparse.ArgumentParser) -> None:
    if verb.split()[-1] not in ("train", "pretrain"):  # these have a parser of their own
        assert f"Example: {verb} " in " ".join(parser.format_help().split())


@pytest.mark.parametrize("verb", ["train", "pretrain"])
def test_the_help_of_training_shows_each_option_once(verb: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    printed = capsys.readouterr().out
    titles = [line.rstrip(":") for line in printed.splitlines() if line.endswith(":") and line[0] != " "]
    assert (titles[0], titles[-2:]) == ("Data", ["Other arguments of transformers.TrainingArguments", "examples"])
    options = re.findall(r"^  --(\w+)", printed, re.MULTILINE)
    assert len(options) == len(set(options)) > 90
    assert options[0] == ("task" if verb == "train" else "train_files")


def rows(n: int, first: int = 0) -> str:
    letters = ["".join("ACGT"[(i * 7 + k * k * (i % 5 + 1)) % 4] for k in range(12)) for i in range(first, first + n)]
    return "id,sequence,label,name,other,class,family\n" + "".join(
        f"s{first + i},{row},{i % 2},n{first + i},{row[::-1]},{'xyz'[i % 3]},f{i % 9}\n"
        for i, row in enumerate(letters)
    )


@pytest.fixture(scope="module")
def names(tiny_backbone: Path, run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("options")
    (folder / "there").mkdir()
    texts = {
        "mine.csv": rows(60),
        "held.csv": rows(9, 100),
        "few.csv": rows(2, 100),
        "there.csv": "something",
        "there.parquet": "something",
        "there/mutations.csv": "something",
        "study.yaml": f"about: x\ntasks: [dna-h3]\narms: [bert]\nbackbones: [{tiny_backbone}]\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    files = {"csv": "mine.csv", "held": "held.csv", "few": "few.csv", "there": "there.csv", "study": "study.yaml"}
    files |= {"there_parquet": "there.parquet", "there_folder": "there", "missing": "missing"}
    paths = {name: str(folder / file) for name, file in (files | {"built": "mine", "runs": "runs"}).items()}
    order = ["--from", paths["csv"], "--validation_file", paths["held"], "--output", paths["built"]]
    assert main(["data", "build", "mine", *order, "--discipline", "dna"]) == 0
    assert main(["baseline", "majority", "--task", paths["built"], "--runs", paths["runs"]]) == 0
    model = saved(tiny_backbone, folder / "model", "dna", **classes("0", "1"))
    return {**paths, "tiny": str(tiny_backbone), "run": str(run_folder), "model": str(model)}


def observed(argv: list[str], out: Path, capsys: pytest.CaptureFixture) -> tuple[Any, ...]:
    """The status, what is printed, and what is written, without times."""
    out.mkdir()
    capsys.readouterr()
    try:
        status = main([word.format(out=out) for word in argv])
    except SystemExit as stopped:
        status = stopped.code
    printed = capsys.readouterr()
    errors = [line for line in printed.err.splitlines() if ": error: " in line]
    assert status in (0, 2), printed.err[-2000:]
    assert bool(errors) == bool(status), printed.err[-2000:]
    files = {path.relative_to(out).as_posix(): content(path) for path in sorted(out.rglob("*")) if path.is_file()}
    return status, *(text.replace(str(out), "OUT") for text in (printed.out, "".join(errors))), files


def content(path: Path) -> Any:
    if path.suffix != ".json":
        return hashlib.sha256(path.read_bytes()).hexdigest()
    read = json.loads(path.read_text())
    return (
        {name: value for name, value in read.items() if not name.endswith("seconds")} if type(read) is dict else read
    )


@pytest.mark.parametrize("verb", ORDERS)
def test_each_option_changes_what_is_done(
    verb: str, names: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    order, added = ORDERS[verb]
    folders = (tmp_path / str(n) for n in range(99))
    plain: dict[str, tuple[Any, ...]] = {}
    for option, (before, after) in changes(added).items():
        base, more = (text.format(out="{out}", **names).split() for text in (f"{order} {before}", after))
        base = [*verb.split()[1:], *base]
        if before not in plain:
            plain[before] = observed(base, next(folders), capsys)
            assert observed(base, next(folders), capsys) == plain[before], "the same order does the same twice"
        assert observed([*base, *more], next(folders), capsys) != plain[before], f"{verb} ignores {option}"
    assert plain[""][0] == 0, plain[""]


# --- training: an option is a field, and what has it is the run that is made of the command line ---

RUN = (
    "--task dna-h3; --arm rand; --backbone {model}; --protocol paper; --split grouped; --window 20; "
    "--window 20 || --overlap 5; --fraction 0.5; --max_eval_items 9; --kmer 3; "
    "--variant x; --plan abc; --data_dir {built}; --precision bfloat16; --global_batch_size 7; --optimizer adam; "
    "--attention_dropout 0.3; --standardize_targets false || --standardize_targets true; --stop_at_loss 0.1; "
    "--no_shortcuts; --no_rows_on_device; --threads 1; --no_resume; --calibrate; "
    "--class_weights balanced; --restarts 1; --train_file {csv} --discipline dna; "
)
RUN += "; ".join(f"--train_file {{csv}} --discipline dna || {added}" for added in _OWN_DATA.split("; "))


# Options that change neither a number of a run nor where it lies.
SAME_RUN = ("plan", "threads", "rows_on_device", "resume", "license")


def run_of(argv: list[str]) -> Any:
    try:
        return resolve(read_options(argv), build_user_data)
    except (ValueError, OSError) as error:
        return str(error)


def is_taken_for(there: Any, asked: Any, folder: Path) -> bool:
    """Whether a run that was made for the one order would be skipped, or gone on with, by the other."""
    if str in (type(there), type(asked)) or there[0][0].folder(folder) != asked[0][0].folder(folder):
        return False
    try:
        made, wanted = (
            run_order(spec, args, load_task_data(spec.task, spec.split, spec.data_dir))
            for (spec, *_), args in (there, asked)
        )
        run_files.write_json(folder / run_files.RUN, made)
        check_same(folder, wanted)
    except (ValueError, OSError):
        return False
    return True


@pytest.mark.parametrize("field", [f.name for f in fields(RunArguments) if f.name not in OF_THE_COMMAND])
def test_each_option_of_a_run_changes_the_run(field: str, names: dict[str, str], tmp_path: Path) -> None:
    added = changes(RUN)
    before, after = added.get(f"--{field}") or added[f"--no_{field}"]
    base = ["--output_dir", str(tmp_path), *before.format(**names).split()]
    plain, with_it = run_of(base), run_of([*base, *after.format(**names).split()])
    ours, theirs = (
        run if type(run) is str else (run[0], {**vars(run[1]), "logging_dir": ""}) for run in (plain, with_it)
    )
    assert ours != theirs
    same = field in SAME_RUN
    assert (is_taken_for(plain, with_it, tmp_path), is_taken_for(with_it, plain, tmp_path)) == (same, same)


def test_pretraining_reads_each_of_its_options() -> None:
    modules = [*(ROOT / "hf_bertx" / "pretraining").glob("*.py"), ROOT / "hf_bertx" / "commands" / "train.py"]
    read = {n.attr for path in modules for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Attribute)}
    given = {field.name for field in fields(PretrainingArguments)}
    assert given - {"precision"} <= read  # `precision_defaults` reads that one from the command line
