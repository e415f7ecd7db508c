"""Every option of a run is honoured or refused, never ignored; see test_options.py for those of the verbs."""

import json
import shutil
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from interrupted_runs import run_trainer
from transformers import TrainingArguments

from hf_bertx.data.task_data import load_task_data
from hf_bertx.launch import main, train
from hf_bertx.pretraining.arguments import parse_pretraining
from hf_bertx.runs.arguments import USER_DATA_OPTIONS, parse_arguments, read_options
from hf_bertx.runs.order import run_order, skip_finished
from hf_bertx.runs.schedule import set_schedule
from hf_bertx.runs.spec import RunSpec, option_words
from hf_bertx.runs.training_options import REFUSED
from hf_bertx.runs.writer import RunWriter
from hf_bertx.study.execution import is_finished
from hf_bertx.tasks import get_task


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_refused_option_says_what_the_run_does(name: str, refusal: Any, tmp_path: Path) -> None:
    line = refusal(main, f"--{name}", "1", "--output_dir", tmp_path / "out")
    assert line.startswith(f"train.py: error: --{name} cannot be set: ")
    assert not (tmp_path / "out").exists()


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
        ("--task dna-h3 protein-stability", "'protein-stability' belongs to no option: the one before it takes a"),
        ("--task dna-h33", "unknown task 'dna-h33'; did you mean 'dna-h3'?"),
        ("--task dna-h3", "its data is not in the package"),
        ("--arm re-emb", "unknown arm 're-emb'; did you mean 're_emb'?"),
        ("--arm shift_1000", "shifts the ids of text, and task dna-splice is dna"),
        ("--backbone bert-base-uncased", "could not be loaded from the Hub: google-bert/bert-base-uncased"),
        ("--backbone bert", "unknown backbone 'bert'"),
        ("--protocol best", "unknown protocol 'best'"),
        ("--fsdp full_shard", "--fsdp needs a GPU"),
        ("--fp16", "--fp16 needs a GPU: on a CPU accelerate computes in float32"),
        ("--use_cpu perhaps", "argument --use_cpu/--use-cpu: Truthy value expected"),
        ("--precision float64", "unknown precision 'float64'; allowed: auto, float32, bfloat16"),
        ("--split random", "unknown split 'random'; allowed: paper, authors, grouped"),
        ("--learning_rate fast", "argument --learning_rate"),
        ("--lr_scheduler_kwargs {x}", "'{x}' is not JSON (Expecting property name"),
        ("--report_to wandbb", "--report_to: wandbb is not supported, only azure_ml"),
        ("--report_to clearml", "--report_to: ClearMLCallback requires 'clearml' to be installed"),
        ("--optim adamm", "invalid choice: 'adamm' (choose from"),
        ("--lr_scheduler_type reduce_lr_on_plateau", "a rate depends on the step alone"),
        ("none.yaml", "no such file"),
        ("mine.txt", "arguments start with --, or come from a .yaml or .json file named first"),
        ("--optimizer adm", "unknown optimizer 'adm'; did you mean 'adam'?"),
        ("--learning_rat 1e-3", "unknown argument 'learning_rat'; did you mean --learning_rate?"),
        ("--label_smoothing_factor 0.1 --task protein-stability", "needs classes, and task protein-stability is a"),
        ("--train_file a.fasta --discipline dna --data_dir d", "--data_dir and --train_file are both given"),
        ("--train_file a.fasta --discipline dna --split grouped", "--split and --train_file are both given"),
        ("--train_file a.fasta --discipline dna", "a.fasta: no such file or folder"),
        ("--train_file a.fasta", "--discipline is missing; allowed: dna, protein, music, text"),
        ("--train_file a.fasta --discipline dna --task dna-h3", "dna-h3 is a task of the paper; give your own data"),
        *(
            (f"--{name} x", f"--{name} describes data of your own")
            for name in USER_DATA_OPTIONS
            if name not in ("train_file", "skip_unreadable", "similarity_threshold")
        ),
    ],
)
def test_a_bad_option_is_one_line(argv: str, message: str, refusal: Any, tmp_path: Path) -> None:
    assert message in refusal(main, *argv.split(), "--output_dir", tmp_path / "out")
    assert not list(tmp_path.rglob("run.json"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.yaml", "seed: [1, 2]\n", "a.yaml: '2' belongs to no option: the one before it takes a single value"),
        ("a.yaml", "seed: null\n", "a.yaml: seed is None; give a value"),
        ("a.yaml", "arm: [bert, [rand]]\n", "give a value or a list"),
        ("a.yaml", "seed: one\n", "a.yaml: argument --seed: invalid int value: 'one'"),
        ("a.yaml", "optim: adamm\n", "a.yaml: argument --optim: invalid choice: 'adamm'"),
        ("a.yaml", "- a\n", "a.yaml: holds list, not a mapping"),
        ("a.yaml", "learning_rat: 1\n", "a.yaml: unknown argument 'learning_rat'; did you mean --learning_rate?"),
        ("a.yaml", "seed: 1\narm: [\n", "a.yaml, line 3: not YAML"),
        ("a.yaml", "seed: !!python/object:os.system x\n", "a.yaml, line 1: not YAML"),
        ("a.yaml", b"seed: \xff\n", "a.yaml: not UTF-8 at byte 6"),
        ("a.json", '{"seed": 1,\n x}', "a.json, line 2: not JSON"),
        ("a.json", '{"seed": 1, "seed": 2}', "a.json, line 1: the name 'seed' is there twice in an object"),
        ("a.json", "[" * 200_000, "a.json, line 1: not JSON (nested too deep)"),
        ("a.yaml", "seed: true\n", "a.yaml: argument --seed: invalid int value: 'True'"),
        ("a.yaml", "arm: no\n", "unknown arm 'False'"),
        ("a.yaml", "arm: [bert, 5]\n", "unknown arm '5'"),
    ],
)
def test_a_file_of_arguments_names_the_place(
    name: str, content: Any, message: str, tmp_path: Path, refusal: Any
) -> None:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert message in refusal(main, tmp_path / name)


def test_a_file_gives_the_types_of_the_command_line(tiny_backbone: Path, tmp_path: Path) -> None:
    values = {"backbone": str(tiny_backbone), "learning_rate": "1e-5", "arm": "rand", "resume": False, "seed": 5}
    (tmp_path / "a.json").write_text(json.dumps(values | {"lr_scheduler_kwargs": {"num_cycles": 2}}))
    (spec,), training = parse_arguments([str(tmp_path / "a.json"), "--seed", "6"])
    assert (spec.learning_rate, spec.arm.name, spec.options.resume, spec.seed) == (1e-5, "rand", False, 6)
    assert training.lr_scheduler_kwargs == {"num_cycles": 2}


def test_a_value_that_begins_with_a_dash_is_a_value(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("variant: -x\n")
    words = option_words({"label_pattern": "-(.)", "learning_rate": None})
    run = read_options([str(tmp_path / "a.yaml"), "--train_file", "x.fasta", *words]).run
    assert (run.variant, run.label_pattern) == ("-x", "-(.)")


# Fields of `TrainingArguments` that do what its documentation says, with a value that is not the default.
HONOURED_HERE: dict[str, Any] = {
    "adam_beta1": 0.8, "adam_beta2": 0.9, "adam_epsilon": 1e-5, "data_seed": 3, "dataloader_drop_last": True,
    "dataloader_num_workers": 1, "dataloader_persistent_workers": True, "dataloader_pin_memory": False,
    "dataloader_prefetch_factor": 2, "dataloader_in_order": False, "dataloader_multiprocessing_context": "spawn",
    "debug": "underflow_overflow", "disable_tqdm": True,
    "eval_accumulation_steps": 2, "eval_delay": 3.0, "eval_on_start": True, "eval_steps": 10.0,
    "full_determinism": False, "gradient_checkpointing": True,
    "gradient_checkpointing_kwargs": {"use_reentrant": False}, "label_smoothing_factor": 0.1, "learning_rate": 1e-3,
    "log_level": "error", "log_level_replica": "error", "log_on_each_node": False, "logging_first_step": True,
    "logging_steps": 5.0, "lr_scheduler_kwargs": {"num_cycles": 2}, "lr_scheduler_type": "cosine",
    "max_grad_norm": 0.5, "max_steps": 30, "neftune_noise_alpha": 5.0, "optim": "sgd", "optim_args": "momentum=0.5",
    "per_device_eval_batch_size": 9, "per_device_train_batch_size": 4, "project": "x", "run_name": "x",
    "save_on_each_node": True, "save_total_limit": 5, "seed": 4, "skip_memory_metrics": False,
    "torch_empty_cache_steps": 3, "train_sampling_strategy": "group_by_length", "use_cpu": True, "warmup_steps": 3.0,
    "weight_decay": 0.2, "num_train_epochs": 7.0, "optim_target_modules": "all-linear",
}  # fmt: skip
# Others, which need a GPU, several processes, a package that is no dependency, or a Hub.
NOT_HERE = """
    activation_checkpointing activation_checkpointing_kwargs bf16 fp16 fsdp fsdp_config tf32 torch_compile
    torch_compile_backend torch_compile_mode hub_model_id hub_private_repo hub_revision hub_strategy hub_token
    ddp_backend ddp_broadcast_buffers ddp_bucket_cap_mb ddp_find_unused_parameters ddp_static_graph ddp_timeout
    push_to_hub output_dir report_to local_rank trackio_bucket_id trackio_space_id trackio_static_space_id
"""


def test_each_field_of_training_arguments_is_honoured_or_refused() -> None:
    listed = [*HONOURED_HERE, *NOT_HERE.split(), *REFUSED]
    assert sorted(listed) == sorted(field.name for field in fields(TrainingArguments) if field.init)


def test_an_honoured_field_reaches_the_trainer(tiny_backbone: Path, tmp_path: Path) -> None:
    trainer = run_trainer(tiny_backbone, tmp_path, "--precision", "float32", *option_words(HONOURED_HERE))
    reached = {name: getattr(trainer.args, name) for name in HONOURED_HERE}
    reached["debug"] = reached["debug"][0].value
    assert reached == HONOURED_HERE


WORKERS = ["--dataloader_num_workers", "1"]
_NEEDED = {"gradient_checkpointing_kwargs": ["--gradient_checkpointing", "1"]}
_NEEDED |= dict.fromkeys(("dataloader_prefetch_factor", "dataloader_persistent_workers"), WORKERS)
# Each field as a command line gives it, with what it needs.
WORDS = {name: [*_NEEDED.get(name, []), *option_words({name: value})] for name, value in HONOURED_HERE.items()}
# Fields that change no number of a run; `eval_delay` and the like choose which weights are kept, and do.
SAME_RUN = frozenset(
    """
    dataloader_in_order dataloader_multiprocessing_context dataloader_num_workers dataloader_persistent_workers
    dataloader_pin_memory dataloader_prefetch_factor debug disable_tqdm eval_accumulation_steps full_determinism
    gradient_checkpointing gradient_checkpointing_kwargs log_level log_level_replica log_on_each_node
    logging_first_step logging_steps per_device_eval_batch_size per_device_train_batch_size project run_name
    save_on_each_node save_total_limit skip_memory_metrics torch_empty_cache_steps use_cpu
    """.split()
)


def test_an_honoured_field_is_part_of_a_runs_identity(tiny_backbone: Path, tmp_path: Path) -> None:
    data = load_task_data(get_task("dna-splice"))
    items = len(data.splits["train"])
    results = {"metrics": {"test": {"accuracy": 0.5}}, "train_items": items, "files": {}}

    def ordered(words: list[str]) -> tuple[RunSpec, dict[str, Any]]:
        given = read_options(words)
        run = RunSpec("dna-splice", "bert", str(tiny_backbone), overrides=given.values(given.given - {"seed"}))
        run = replace(run, seed=given.training.seed)
        (spec,), args = parse_arguments(run.arguments(tmp_path))
        set_schedule(args, spec, items)
        return run, run_order(spec, args, data)

    def is_taken_for(there: tuple[RunSpec, dict[str, Any]], asked: tuple[RunSpec, dict[str, Any]]) -> list[bool]:
        """Whether a run that is there is skipped in place of another: by training, and by a study."""
        folder, taken = asked[0].folder(tmp_path), []
        shutil.rmtree(folder, ignore_errors=True)
        RunWriter(there[0].folder(tmp_path)).order(there[1], {}, {})
        RunWriter(there[0].folder(tmp_path)).results(results)
        for check in (partial(skip_finished, folder, asked[1]), partial(is_finished, asked[0], tmp_path)):
            try:
                taken.append(check())
            except ValueError:
                taken.append(False)
        return taken

    found, plain = set(), ordered([])
    for name, words in {**WORDS, "calibrate": ["--calibrate"]}.items():
        other = ordered(words)
        taken = {*is_taken_for(plain, other), *is_taken_for(other, plain)}
        assert len(taken) == 1, name
        found |= {name} if taken == {True} else set()
    assert found == SAME_RUN


def test_an_option_is_passed_on_as_it_was_given(tmp_path: Path) -> None:
    more = {"report_to": "tensorboard", "bf16": "false", "shortcuts": "false", "standardize_targets": "false"}
    options = [(name, [f"--{name}", value]) for name, value in (*more.items(), ("report_to", "none"))]
    for name, words in (*WORDS.items(), *options):
        first = read_options(words)
        again = read_options(RunSpec(overrides=first.values(first.given)).arguments(tmp_path))
        before, after = ({**vars(each.training), **vars(each.run)} for each in (first, again))
        assert after[name] == before[name], name


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", (False, True)),
        ("--fp16", (True, False)),
        ("--fp16 false", (False, True)),
        ("--bf16", (False, True)),
        ("--bf16 false", (False, False)),
        ("half.yaml", (True, False)),
    ],
)
def test_fp16_and_bf16_take_the_place_of_auto(
    words: str, expected: tuple[bool, bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    if expected[0]:  # which is refused without a GPU
        monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.chdir(tmp_path)
    Path("half.yaml").write_text("fp16: true\n")
    for read in (lambda argv: read_options(argv).training, lambda argv: parse_pretraining(argv)[1]):
        training = read(words.split())
        assert (training.fp16, training.bf16) == expected


def test_accelerate_does_not_choose_the_precision(
    tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")  # as `accelerate launch --mixed_precision bf16` does
    for precision, expected in {"float32": "no", "bfloat16": "bf16"}.items():
        trainer = run_trainer(tiny_backbone, tmp_path, "--precision", precision)
        assert trainer.accelerator.mixed_precision == expected


@pytest.mark.parametrize(
    ("spec", "call"),
    [
        (RunSpec.of_baseline("majority"), "baselines.runs.run_baseline"),
        (RunSpec.of_probe(), "probing.runs.run_probes"),
    ],
)
def test_train_says_what_fits_a_baseline_or_a_probe(spec: RunSpec, call: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"is fitted, not trained; call hf_bertx.{call}"):
        train(spec, tmp_path)
    assert not list(tmp_path.iterdir())
