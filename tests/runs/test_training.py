"""Whole runs of train.py on the embedded data, with a tiny backbone: arms, resume after SIGKILL, skips, errors.

Traps 6, 7, 9, 10 of the installed libraries.
"""

import json
import shutil
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT
from file_damage import edit
from interrupted_runs import assert_same_run, interrupt, run_trainer
from python_processes import PythonProcess, run_python

from hf_bertx import run_files
from hf_bertx.data.task_data import load_task_data
from hf_bertx.launch import train_all as train_here
from hf_bertx.modeling_discipline import BertForDisciplineClassification
from hf_bertx.performance.used_rows import UsedRowsEmbedding, restore_all_embeddings
from hf_bertx.processor import fast_bfloat16
from hf_bertx.publishing.cards import model_card
from hf_bertx.report.write import collect_runs, markdown, read_runs, tables
from hf_bertx.runs.arguments import parse_arguments
from hf_bertx.runs.model import build_model, build_tokenizer
from hf_bertx.runs.run import Run
from hf_bertx.runs.schedule import set_batch_size
from hf_bertx.runs.training import build_trainer, place_rows, run
from hf_bertx.runs.tuning import merged
from hf_bertx.tasks import get_task
from hf_bertx.tokenization_discipline import DisciplineTokenizer

BIN = Path(sys.executable).parent
# the tiny backbone has dropout, so that the states of the random generators have to be right too
SHORT = "--fraction 0.2 --num_train_epochs 2 --logging_steps 2 --eval_steps 6".split()


def arguments(backbone: Path, root: Path, *more: str) -> list[str]:
    return ["--backbone", str(backbone), "--output_dir", str(root), "--learning_rate", "1e-3", *more]


def train(*argv: str) -> subprocess.CompletedProcess:
    return run_python(ROOT / "train.py", *argv)


def folder_of(root: Path) -> Path:
    return next(iter(root.rglob(run_files.RUN))).parent


@pytest.fixture(scope="module")
def arms(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three arms in one launch, with the named config file, from another folder than the project's."""
    root = tmp_path_factory.mktemp("arms")
    launch = [str(BIN / "accelerate"), "launch", "--config_file", str(ROOT / "accelerate_config.yaml")]
    options = "--arm bert re_emb rand --num_train_epochs 2 --global_batch_size 96 --seed 0 --precision float32"
    argv = arguments(tiny_backbone, root, *options.split())
    done = subprocess.run(
        [*launch, str(ROOT / "train.py"), *argv], capture_output=True, text=True, cwd=root, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "run: bert on dna-splice, backbone from the folder" in done.stderr  # one line says what came from where
    return root


def test_a_run_is_a_folder_with_everything_in_it(arms: Path) -> None:
    folder = next(path for path in arms.rglob("seed-0") if path.parent.name == "re_emb")
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    wanted = (
        "run.json log_history.json results.json predictions_test.parquet predictions_validation.parquet "
        "model/config.json model/model.safetensors model/tokenizer.json model/tokenizer_config.json "
        "model/README.md"
    )
    assert names == set(wanted.split())
    made = Run.open_finished(folder)
    assert made.specification["start"] == "re_emb"
    assert {"torch", "transformers", "python", "hf_bertx"} <= set(made.order["versions"])
    assert made.fingerprint.startswith("e960759b91f6")
    assert made.results["counts"] == {"train": 2871, "validation": 159, "test": 160}
    assert made.results["steps"] == 60
    assert made.results["tokens_seen"] == 2 * 2871 * 62
    predictions = made.predictions("test")  # whose scores are compared with results.json
    assert predictions.logits.shape == (160, 3)
    # what was tested is what was best on validation
    assert made.score("validation", "accuracy") == max(score for _, score in made.curve("eval_accuracy"))
    config = json.loads((folder / "model" / "config.json").read_text())
    assert config["architectures"] == ["BertForSequenceClassification"]
    assert config["id2label"] == {"0": "EI", "1": "IE", "2": "N"}
    assert (config["started_as"], config["reinit_embeddings"]) == ("re_emb", False)
    card = (folder / "model" / "README.md").read_text()
    assert card == model_card(folder)
    assert str(folder) not in json.dumps(config) + card  # no path of this machine


def test_report_shows_the_arms_beside_the_paper(arms: Path) -> None:
    records = collect_runs(arms)
    assert [record.specification["arm"] for record in records] == ["bert", "re_emb", "rand"]
    (table,) = tables(read_runs(arms))
    assert [row["paper"] for row in table["rows"]] == [97.5, 95.6, 95.0]
    assert all(len(row["epoch_losses"]) == 2 for row in table["rows"])
    losses = [entry["loss"] for entry in records[0].log if "loss" in entry and entry["step"] <= 30]
    assert table["rows"][0]["epoch_losses"][0] == pytest.approx(np.mean(losses), abs=1e-4)
    text = markdown(table)
    assert "18 test items occur in the training data" in text
    assert "| 0.001 |" in text  # each row has its learning rate


def test_a_card_with_a_missing_value_is_an_error(arms: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(collect_runs(arms)[0].folder, tmp_path / "run"))
    edit(copy / run_files.RESULTS, lambda results: results.pop("selected_step"))
    with pytest.raises(Exception, match="no attribute 'selected_step'"):
        model_card(copy)


@pytest.mark.parametrize(
    "more", ["--max_steps 8", "--stop_at_loss 9 --max_steps 80 --logging_steps 4", "--stop_at_loss 9 --eval_steps 40"]
)
def test_a_run_stopped_after_its_last_step_trains_no_more(more: str, tiny_backbone: Path, tmp_path: Path) -> None:
    folders = []
    for root in (tmp_path / "whole", tmp_path / "broken"):
        argv = arguments(tiny_backbone, root, "--logging_steps", "2", "--eval_steps", "4", *more.split())
        (spec,), args = parse_arguments(argv)
        if root.name == "broken":
            interrupt(spec, args, ("on_train_end", None))
        folders.append(run(spec, args))
    assert_same_run(*folders)
    results = run_files.read_json(folders[1] / run_files.RESULTS)
    assert results["resumed_from_step"] == results["steps"] < 80


def is_there(root: Path, name: str) -> bool:
    try:
        return bool(list(root.rglob(name)))
    except FileNotFoundError:  # a folder went while it was looked through
        return False


def test_a_killed_run_ends_like_an_undisturbed_one(tiny_backbone: Path, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    done = train(*arguments(tiny_backbone, whole, *SHORT))
    assert done.returncode == 0, done.stderr[-3000:]
    kills = 0
    # killed right after a checkpoint begins, when a log is written, and between evaluations
    for sign in ("checkpoint-6/model.safetensors", "checkpoint-12/trainer_state.json", "checkpoint-24"):
        process = PythonProcess(ROOT / "train.py", *arguments(tiny_backbone, broken, *SHORT))
        deadline = time.monotonic() + 120
        while not is_there(broken, sign) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        if process.poll() is None:
            process.kill()
            kills += 1
        process.wait()
    assert kills == 3
    last = train(*arguments(tiny_backbone, broken, *SHORT))
    assert last.returncode == 0, last.stderr[-3000:]
    assert "going on from checkpoint-" in last.stderr
    assert run_files.read_json(folder_of(broken) / run_files.RESULTS)["resumed_from_step"] >= 18
    assert_same_run(folder_of(whole), folder_of(broken))
    assert len(Run.open(folder_of(whole)).curve("loss")) == 18


@pytest.mark.parametrize(
    ("options", "left_out"),
    [
        ([], True),
        (["--optim", "sgd"], True),
        (["--optim", "adafactor"], False),
        (["--optimizer", "novograd"], True),
        (["--weight_decay", "0.01"], False),
        (["--shortcuts", "false"], False),
    ],
)
def test_unused_embeddings_are_left_out_if_nothing_changes(
    options: list[str], left_out: bool, tiny_backbone: Path, tmp_path: Path
) -> None:
    trainer = run_trainer(tiny_backbone, tmp_path / "run", *options)
    embedding = trainer.model.get_input_embeddings()
    assert isinstance(embedding, UsedRowsEmbedding) == left_out
    if left_out:  # those of the training items learn
        rows = load_task_data(get_task("dna-splice")).splits["train"]
        ids = trainer.processing_class(rows["sequence"][:])["input_ids"]
        assert embedding.ids.tolist() == sorted({0, *(i for row in ids for i in row)})
        assert len(embedding.weight) == len(embedding.ids)


def test_one_process_uses_one_gpu_of_several(
    tiny_backbone: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (spec,), args = parse_arguments(arguments(tiny_backbone, tmp_path))
    args._n_gpu = 2  # as on a machine with two
    trainer = build_trainer(spec, args, load_task_data(spec.task), tmp_path / "run")
    assert "one of 2 GPUs is used; accelerate launch" in caplog.text
    assert (trainer.args.n_gpu, trainer.args.train_batch_size * trainer.args.gradient_accumulation_steps) == (1, 32)


@pytest.mark.parametrize("arm", ["rand", "lora"])
def test_a_model_that_is_made_again_takes_the_trained_weights(arm: str, tiny_backbone: Path, tmp_path: Path) -> None:
    """What a run does where each process holds a part of the model (FSDP, for which accelerate wants GPUs)."""
    trainer = run_trainer(tiny_backbone, tmp_path / "run", "--learning_rate", "1e-3", "--arm", arm, "--max_steps", "3")
    trainer.train()
    again = trainer.make_model()
    again.load_state_dict(trainer.model.state_dict())
    models = [merged(model.cpu()).eval() for model in (trainer.whole_model(), again)]
    for model in models:
        restore_all_embeddings(model)
    first, second = (model.state_dict() for model in models)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)  # rows that were not trained too


def test_a_tracker_is_kept_and_a_cpu_computes_in_bfloat16(tiny_backbone: Path, tmp_path: Path) -> None:
    curves = []
    for precision in ("float32", "bfloat16"):
        options = ("--max_steps", "4", "--logging_steps", "1", "--eval_steps", "4", "--precision", precision)
        options += ("--report_to", "tensorboard", "--disable_tqdm", "1", "--threads", "1")
        (folder,) = train_here(arguments(tiny_backbone, tmp_path / precision, *options))
        run = Run.open_finished(folder)
        assert run.specification["precision"] == precision
        curves.append([loss for _, loss in run.curve("loss")])
        assert not (folder / "checkpoints").exists()
        (events,) = (folder / "tracker").rglob("events.out.tfevents.*")
        assert events.stat().st_size > 500
    assert curves[0] != curves[1]
    assert curves[0] == pytest.approx(curves[1], rel=0.05)


def test_two_processes_train_the_same_run_as_one(tiny_backbone: Path, tmp_path: Path) -> None:
    # 320 items: where an epoch's last batch is not full, accelerate repeats items to give each process as many
    settings = ["--fraction", "0.11146", "--max_steps", "12", "--logging_steps", "1", "--eval_steps", "6", "--use_cpu"]
    still = Path(shutil.copytree(tiny_backbone, tmp_path / "no-dropout"))
    edit(still / "config.json", hidden_dropout_prob=0.0)
    one, two, halves = tmp_path / "one", tmp_path / "two", tmp_path / "halves"
    assert train(*arguments(still, one, *settings)).returncode == 0
    assert train(*arguments(still, halves, *settings, "--per_device_train_batch_size", "16")).returncode == 0
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29611"]
    argv = [str(ROOT / "train.py"), *arguments(still, two, *settings, "--ddp_backend", "gloo")]
    done = subprocess.run([*launch, *argv], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    runs = [Run.open_finished(folder_of(root)) for root in (one, two, halves)]
    curves = [[loss for _, loss in run.curve("loss")] for run in runs]
    assert len(curves[0]) == 12
    assert curves[1] == pytest.approx(curves[0], abs=2e-4)
    assert curves[2] == pytest.approx(curves[0], abs=2e-4)
    assert [run.results["tokens_seen"] for run in runs] == [12 * 32 * 62] * 3


def test_use_cpu_picks_the_precision_of_the_processor(
    tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpu.yaml").write_text("use_cpu: true\n")
    suits, threads = "bfloat16" if fast_bfloat16(use_cpu=True) else "float32", torch.get_num_threads()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    assert fast_bfloat16()
    for options in (["--use_cpu"], ["--use-cpu", "true"], [str(tmp_path / "cpu.yaml")]):
        (spec,), training = parse_arguments([*options, "--backbone", str(tiny_backbone), "--threads", "7"])
        assert (spec.precision, training.use_cpu, spec.options.threads) == (suits, True, 7)
        assert training.device.type == "cpu"
        assert not training.dataloader_pin_memory
        assert torch.get_num_threads() == threads, "a parser changes nothing of the process"


def test_rows_go_to_the_gpu_if_they_fit(tiny_backbone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu, cpu = torch.device("cuda", 0), torch.device("cpu")
    data = load_task_data(get_task("dna-splice"), "paper")
    needed = 62 * 8 * sum(map(len, data.splits.values())) * 10  # bytes of which they take a tenth
    for free, workers, options, place in (
        (needed, 0, [], gpu),
        (needed - 1, 0, [], cpu),
        (needed, 2, [], cpu),
        (needed, 0, ["--no_rows_on_device"], cpu),
    ):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, free))
        (spec,), _ = parse_arguments(["--backbone", str(tiny_backbone), *options])
        args = Namespace(device=gpu, dataloader_num_workers=workers, dataloader_pin_memory=True)
        assert place_rows(spec, args, data) == place
        assert args.dataloader_pin_memory == (place == cpu)


def test_protocols_set_the_defaults(tiny_backbone: Path) -> None:
    (spec,), training = parse_arguments(["--backbone", str(tiny_backbone), "--protocol", "paper"])
    assert (spec.learning_rate, training.max_grad_norm, training.num_train_epochs) == (1e-5, 0.0, 20.0)
    assert (spec.global_batch_size, spec.attention_dropout, spec.assignment) == (32, None, "frequent")
    (spec,), training = parse_arguments(["--backbone", str(tiny_backbone), "--protocol", "authors", "--seed", "3"])
    assert (training.max_grad_norm, spec.assignment) == (1e6, "random")
    tokenizer = build_tokenizer(spec)
    assert isinstance(tokenizer, DisciplineTokenizer)
    assert tokenizer.assignment == {"name": "random", "seed": 3, "remapped_special_tokens": True}
    assert min(tokenizer("ACGT").input_ids) >= 1000


def test_text_tasks_shift_embeddings_and_keep_the_tokenizer(tiny_backbone: Path) -> None:
    argv = ["--backbone", str(tiny_backbone), "--task", "glue-rte", "--arm", "shift_1000", "random_shift"]
    (shifted, permuted), _ = parse_arguments(argv)
    tokenizer = build_tokenizer(shifted)
    assert not isinstance(tokenizer, DisciplineTokenizer)
    plain = BertForDisciplineClassification.from_pretrained(tiny_backbone).get_input_embeddings().weight
    model = build_model(shifted, tokenizer)
    assert torch.equal(model.get_input_embeddings().weight[5], plain[1005])
    assert model.config.shifted_by == "constant 1000, special tokens included"
    assert build_model(permuted, tokenizer).config.shifted_by == "random permutation, seed 42, special tokens included"


@pytest.mark.parametrize(
    ("world", "largest", "expected"),
    [
        (1, 0, (32, 1)),
        (2, 0, (16, 1)),
        (1, 16, (16, 2)),
        (2, 4, (4, 4)),
        (4, 8, (8, 1)),
        (1, 12, (8, 4)),
        (1, 64, (32, 1)),
    ],
)
def test_the_global_batch_size_stays(world: int, largest: int, expected: tuple[int, int]) -> None:
    args: Any = Namespace(n_gpu=1, world_size=world, per_device_train_batch_size=largest)
    set_batch_size(args, 32)
    assert (args.per_device_train_batch_size, args.gradient_accumulation_steps) == expected
    with pytest.raises(ValueError, match="global batch of 32 cannot be divided among 3 processes"):
        set_batch_size(Namespace(n_gpu=1, world_size=3, per_device_train_batch_size=0), 32)
