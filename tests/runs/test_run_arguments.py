"""Every option of a run, of pre-training and of every verb is honoured or refused, never ignored."""

import argparse
import ast
import inspect
import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from transformers import TrainingArguments

from hf_bertx.cli import build_parser
from hf_bertx.cli import main as bertx
from hf_bertx.launch import main
from hf_bertx.runs.arguments import OWN_ARGUMENTS, RunArguments, parse_arguments
from hf_bertx.runs.training_options import HONOURED, REFUSED, check_given

FIELDS = [field.name for field in fields(TrainingArguments) if field.init]
# A value of each kind of option; what the field means does not matter for whether it is refused.
VALUES = dict.fromkeys(FIELDS, "1") | {"report_to": "none", "hub_strategy": "end", "lr_scheduler_type": "linear"}


def test_each_field_of_training_arguments_is_in_one_list() -> None:
    assert not HONOURED & set(REFUSED)
    assert HONOURED | set(REFUSED) == set(FIELDS)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_refused_option_says_what_the_run_does(name: str, capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    assert main([f"--{name}", "1", "--output_dir", str(tmp_path / "out")]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"train.py: error: --{name} cannot be set: ")
    assert not (tmp_path / "out").exists()


def test_an_honoured_option_is_not_refused_alone_or_with_what_it_needs() -> None:
    for name in HONOURED:
        needed = {"push_to_hub", "fsdp", "gradient_checkpointing", "activation_checkpointing", "torch_compile"}
        check_given({name, *needed})


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("--learning_rate -1", "--learning_rate is -1.0; allowed: more than 0"),
        ("--learning_rate 0", "--learning_rate is 0.0; allowed: more than 0"),
        ("--learning_rate nan", "--learning_rate is nan; allowed: more than 0"),
        ("--learning_rate inf", "--learning_rate is inf; allowed: more than 0"),
        ("--num_train_epochs 0", "--num_train_epochs is 0.0; allowed: more than 0"),
        ("--max_steps 0", "--max_steps is 0; allowed: a whole number of at least 1"),
        ("--weight_decay -0.1", "--weight_decay is -0.1; allowed: at least 0"),
        ("--adam_beta1 1", "--adam_beta1 is 1.0; allowed: at least 0, less than 1"),
        ("--fraction 1.5", "--fraction is 1.5; allowed: more than 0, at most 1"),
        ("--eval_steps 0.5", "--eval_steps is 0.5; allowed: a whole number of at least 1"),
        ("--logging_steps 3 --eval_steps 4", "--logging_steps has to divide --eval_steps"),
        ("--neftune_noise_alpha nan", "--neftune_noise_alpha is nan; allowed: more than 0"),
        ("--eval_delay -5", "--eval_delay is -5.0; allowed: at least 0"),
        ("--dataloader_num_workers -1", "--dataloader_num_workers is -1; allowed: at least 0"),
        ("--threads 0", "--threads is 0; allowed: a whole number of at least 1"),
        ("--seed -1", "--seed is -1; allowed: 0 to 4294967295"),
        ("--global_batch_size 0", "--global_batch_size is 0; allowed: a whole number of at least 1"),
        ("--hub_model_id a/b", "--hub_model_id has no effect without --push_to_hub"),
        ("--hub_token hf_x", "--hub_token has no effect without --push_to_hub"),
        ("--torch_compile_mode default", "--torch_compile_mode has no effect without --torch_compile"),
        ("--optimizer adam --optim sgd", "--optim and --optimizer are both given; leave one out"),
        ("--precision float32 --bf16 true", "--bf16 and --precision are both given; leave one out"),
        (
            "--task dna-h3 protein-stability",
            "'protein-stability' belongs to no option: the one before it takes a single",
        ),
        ("--optimizer adm", "unknown optimizer 'adm'; did you mean 'adam'?"),
        ("--learning_rat 1e-3", "unknown argument 'learning_rat'; did you mean --learning_rate?"),
        ("--label_smoothing_factor 0.1 --task protein-stability", "needs classes, and task protein-stability is a"),
        ("--train_file a.fasta --discipline dna --data_dir d", "--data_dir and --train_file are both given"),
        ("--train_file a.fasta --discipline dna --split grouped", "--split and --train_file are both given"),
        ("--train_file a.fasta --discipline dna", "a.fasta: no such file or folder"),
        *(
            (f"--{name} x", f"--{name} describes data of your own")
            for name in OWN_ARGUMENTS
            if name not in ("train_file", "skip_unreadable")
        ),
    ],
)
def test_an_option_that_cannot_be_had_is_one_line(argv: str, message: str, capsys: pytest.CaptureFixture) -> None:
    assert main(argv.split()) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.yaml", "seed: [1]\n", "a.yaml: seed is [1]; give a value"),
        ("a.yaml", "seed: null\n", "a.yaml: seed is None; give a value"),
        ("a.yaml", "arm: [bert, {x: 1}]\n", "give a value or a list"),
        ("a.yaml", "seed: one\n", "a.yaml: seed: invalid int value: 'one'"),
        ("a.yaml", "optim: adamm\n", "a.yaml: optim: invalid choice: 'adamm'"),
        ("a.yaml", "learning_rat: 1\n", "unknown argument 'learning_rat'; did you mean 'learning_rate'?"),
        ("a.yaml", "seed: 1\narm: [\n", "a.yaml, line 3: not YAML"),
        ("a.yaml", "seed: !!python/object:os.system x\n", "a.yaml, line 1: not YAML"),
        ("a.yaml", b"seed: \xff\n", "a.yaml: not UTF-8 at byte 6"),
        ("a.json", '{"seed": 1,\n x}', "a.json, line 2: not JSON"),
    ],
)
def test_a_file_of_arguments_names_the_place(
    name: str, content: Any, message: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert main([str(tmp_path / name)]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_a_file_gives_the_types_of_the_command_line(tiny_backbone: Path, tmp_path: Path) -> None:
    values = {"backbone": str(tiny_backbone), "learning_rate": "1e-5", "arm": "rand", "resume": False}
    (tmp_path / "a.json").write_text(json.dumps(values | {"lr_scheduler_kwargs": {"num_cycles": 2}}))
    (spec,), training = parse_arguments([str(tmp_path / "a.json")])
    assert (spec.learning_rate, spec.arm.name, spec.resume) == (1e-5, "rand", False)
    assert training.lr_scheduler_kwargs == {"num_cycles": 2}


def verbs() -> list[tuple[str, argparse.ArgumentParser]]:
    """Every command that takes options, `data build` and the like included."""
    found, queue = [], [("bertx", build_parser())]
    while queue:
        name, parser = queue.pop()
        below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
        queue += [(f"{name} {verb}", child) for action in below for verb, child in action.choices.items()]
        if not below:
            found.append((name, parser))
    return sorted(found)


def names_in(*paths: Path) -> set[str]:
    """Attributes and words that code mentions, where it does more than declare them."""
    found: set[str] = set()
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                found.add(node.attr)
            elif isinstance(node, ast.ImportFrom) and any(alias.name == "OWN_ARGUMENTS" for alias in node.names):
                found |= set(OWN_ARGUMENTS)
            elif isinstance(node, ast.ImportFrom) and any(alias.name == "input_columns" for alias in node.names):
                found |= {"sequence_column", "second_sequence_column", "id_column", "skip_unreadable"}
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found |= set(node.value.split()) if "--" not in node.value else set()
    return found


@pytest.mark.parametrize(("name", "parser"), verbs())
def test_a_verb_reads_each_of_its_options(name: str, parser: argparse.ArgumentParser) -> None:
    act = parser.get_default("act")
    read = names_in(Path(inspect.getfile(act)))
    for action in parser._actions:
        assert action.dest == "help" or action.dest in read, f"{name} ignores {action.option_strings or action.dest}"


@pytest.mark.parametrize(("name", "parser"), verbs())
def test_each_verb_has_an_example_in_its_help(name: str, parser: argparse.ArgumentParser) -> None:
    if name.split()[-1] not in ("train", "pretrain"):  # these have a parser of their own
        assert f"Example: {name} " in " ".join(parser.format_help().split())


@pytest.mark.parametrize("verb", ["train", "pretrain"])
def test_the_help_of_training_shows_each_option_once(verb: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        bertx([verb, "--help"])
    printed = capsys.readouterr().out
    titles = [line.rstrip(":") for line in printed.splitlines() if line.endswith(":") and line[0] != " "]
    assert (titles[0], titles[-2:]) == ("Data", ["Other arguments of transformers.TrainingArguments", "examples"])
    options = re.findall(r"^  --(\w+)", printed, re.MULTILINE)
    assert len(options) == len(set(options)) > 90
    assert options[0] == ("task" if verb == "train" else "train_files")


def test_a_run_reads_each_of_its_options() -> None:
    read = names_in(
        *(ROOT / "hf_bertx").glob("*.py"),
        *(ROOT / "hf_bertx" / "runs").glob("*.py"),
        *(ROOT / "hf_bertx" / "data").glob("*.py"),
    )
    for field in fields(RunArguments):
        assert field.name in read, field.name
