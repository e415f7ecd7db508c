"""What a run depends on is compared when it is skipped or goes on; a folder is one process's; nothing unsafe loads."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import torch
from datasets import Dataset
from file_damage import edit
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError
from interrupted_runs import assert_same_run, interrupt, run_trainer
from own_files import dna_table, own_order
from safetensors.torch import load_file, save_file
from transformers import EarlyStoppingCallback

from hf_bertx import backbones, run_files
from hf_bertx.data.tokenized_data import encode_flat, tokens_cut
from hf_bertx.launch import main
from hf_bertx.runs.arguments import parse_arguments
from hf_bertx.runs.model import build_tokenizer
from hf_bertx.runs.options import RunArguments
from hf_bertx.runs.order import _other_options
from hf_bertx.runs.schedule import set_schedule
from hf_bertx.runs.training import run
from hf_bertx.runs.tuning import merged
from hf_bertx.tasks import get_task


class Trained(NamedTuple):
    """Runs of `train.py` on a user's own file."""

    backbone: Path
    folder: Path

    def order(self, file: str, *argv: str) -> list[str]:
        return own_order(self.backbone, self.folder / "runs", self.folder / file, *argv)

    def run(self) -> Path:
        return next((self.folder / "runs").rglob(run_files.RUN)).parent


@pytest.fixture
def trained(tiny_backbone: Path, tmp_path: Path) -> Trained:
    return Trained(Path(shutil.copytree(tiny_backbone, tmp_path / "bb")), tmp_path)


def change_weights(trained: Trained) -> None:
    weights = load_file(trained.backbone / "model.safetensors")
    weights["pooler.dense.bias"] += 1
    save_file(weights, trained.backbone / "model.safetensors", metadata={"format": "pt"})


def change_order(trained: Trained, **values: Any) -> None:
    edit(trained.run() / run_files.RUN, lambda order: order["specification"].update(values))


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(
    ("change", "argv", "message"),
    [
        (lambda t: dna_table(t.folder / "x.csv", "yes no"), [], "task.labels is ['0', '1'] there, ['no', 'yes'"),
        (None, ["--discipline", "protein"], "task.discipline is 'dna' there, 'protein' asked"),
        (change_weights, [], "backbone_revision is 'sha256:"),
        (lambda t: change_order(t, protocol_version=0), [], "protocol_version is 0 there, 2 asked"),
        (lambda t: change_order(t, special_tokens=False), [], "special_tokens is False there, True asked"),
        (lambda t: (t.run() / run_files.RUN).write_text("{}"), [], "run.json: damaged; remove"),
    ],
)
def test_a_different_run_is_not_skipped_or_resumed(
    change: Any, argv: list[str], message: str, finished: bool, trained: Trained, refusal: Any
) -> None:
    dna_table(trained.folder / "x.csv", "1 0")
    assert main(trained.order("x.csv")) == 0
    if not finished:
        (trained.run() / run_files.RESULTS).unlink()
    if change is not None:
        change(trained)
    assert message in refusal(main, *trained.order("x.csv", *argv))


def test_two_files_of_one_name_keep_their_own_rows(trained: Trained) -> None:
    for part, labels in (("liver", "a b"), ("brain", "c d")):
        dna_table(trained.folder / part / "train.csv", labels)
        assert main(trained.order(f"{part}/train.csv", "--seed", "1" if part == "liver" else "2")) == 0
    assert len(list((trained.folder / "runs" / "data").glob("train-*"))) == 2
    assert main(trained.order("liver/train.csv", "--seed", "1", "--arm", "bert", "rand")) == 0
    orders = [json.loads(path.read_text()) for path in trained.folder.rglob(run_files.RUN)]
    labels = {(o["specification"]["arm"], o["specification"]["seed"]): o["task"]["labels"] for o in orders}
    assert labels == {("bert", 1): ["a", "b"], ("bert", 2): ["c", "d"], ("rand", 1): ["a", "b"]}


def test_a_finished_run_is_checked_and_swept_not_rewritten(trained: Trained, refusal: Any) -> None:
    dna_table(trained.folder / "x.csv", "1 0")
    assert main(trained.order("x.csv")) == 0
    folder = trained.run()
    run_files.write_text(folder / "checkpoints" / "checkpoint-2" / "optimizer.pt", "left by a kill")
    before = (folder / "model" / run_files.CARD).stat().st_mtime_ns
    assert main(trained.order("x.csv")) == 0
    assert not (folder / "checkpoints").exists()
    assert (folder / "model" / run_files.CARD).stat().st_mtime_ns == before
    weights = folder / "model" / "model.safetensors"
    assert weights.stat().st_mode & 0o777 == 0o644
    weights.write_bytes(weights.read_bytes()[:-64] + bytes(64))
    assert "model.safetensors: damaged or changed (its sha256 is" in refusal(main, *trained.order("x.csv"))
    without_tracker = trained.order("x.csv", "--no_resume", "--report_to", "dvclive")
    assert "requires dvclive" in refusal(main, *without_tracker)
    assert weights.is_file(), "what cannot begin removes nothing"
    assert main(trained.order("x.csv", "--no_resume")) == 0  # trained again
    run_files.check_run(folder)


def test_a_second_start_of_a_run_gets_one_line(tiny_backbone: Path, tmp_path: Path, refusal: Any) -> None:
    argv = ["--backbone", str(tiny_backbone), "--max_steps", "2", "--output_dir", str(tmp_path)]
    (spec,), _ = parse_arguments(argv)
    with run_files.locked(spec.folder(tmp_path)):
        assert "seed-42: another process is training this run" in refusal(main, *argv)
    assert not list(tmp_path.rglob(run_files.RUN))


def test_a_run_resumes_after_its_folder_was_moved(tiny_backbone: Path, tmp_path: Path) -> None:
    argv = ["--backbone", str(tiny_backbone), "--max_steps", "8", "--eval_steps", "2", "--learning_rate", "1e-3"]
    (spec,), args = parse_arguments([*argv, "--output_dir", str(tmp_path / "whole")])
    whole = run(spec, args)
    args.output_dir = str(tmp_path / "old")
    interrupt(spec, args, ("on_save", 6))
    (tmp_path / "old").rename(tmp_path / "moved")
    args.output_dir = str(tmp_path / "moved")
    moved = run(spec, args)
    assert run_files.read_json(moved / run_files.RESULTS)["resumed_from_step"] == 6
    assert_same_run(whole, moved)


def test_a_best_checkpoint_that_is_gone_is_an_error(tiny_backbone: Path, tmp_path: Path) -> None:
    trainer = run_trainer(tiny_backbone, tmp_path / "run", "--max_steps", "2", "--eval_steps", "1")
    trainer.state.best_model_checkpoint = str(tmp_path / "run" / "checkpoint-1")
    with pytest.raises(ValueError, match="checkpoint-1: the best checkpoint is gone"):
        trainer._load_best_model()


def test_no_checkpoint_holds_a_token(tiny_backbone: Path, tmp_path: Path) -> None:
    (spec,), args = parse_arguments(["--backbone", str(tiny_backbone), "--max_steps", "4", "--eval_steps", "2"])
    args.output_dir, args.hub_token = str(tmp_path), "hf_secretword"
    interrupt(spec, args, ("on_save", 2))
    found = [path for path in tmp_path.rglob("*") if path.is_file() and b"hf_secretword" in path.read_bytes()]
    assert list(tmp_path.rglob("training_args.bin"))
    assert found == []


def test_dropping_the_last_batch_keeps_every_test_item(tiny_backbone: Path, tmp_path: Path) -> None:
    trainer = run_trainer(tiny_backbone, tmp_path, "--max_steps", "2", "--dataloader_drop_last", "true")
    assert len(trainer.predict(trainer.eval_dataset).predictions) == 159
    assert len(trainer.get_train_dataloader()) == 2871 // 32


@pytest.mark.parametrize(("given", "logged"), [("4", 4), ("6", 6), ("25", 5), ("20", 10)])
def test_every_evaluation_falls_on_a_logged_step(given: str, logged: int, tiny_backbone: Path) -> None:
    (spec,), args = parse_arguments(["--backbone", str(tiny_backbone), "--eval_steps", given])
    set_schedule(args, spec, 2871)
    assert args.logging_steps == logged


@pytest.mark.parametrize(("every", "validations"), [("30", 15), ("60", 8), ("900", 1)])
def test_patience_counts_epochs(every: str, validations: int, tiny_backbone: Path, tmp_path: Path) -> None:
    """An epoch of splice has 90 steps, and the patience of the protocol `paper` is five epochs."""
    trainer = run_trainer(tiny_backbone, tmp_path, "--protocol", "paper", "--eval_steps", every)
    (stop,) = (c for c in trainer.callback_handler.callbacks if isinstance(c, EarlyStoppingCallback))
    assert stop.early_stopping_patience == validations


def test_no_code_and_no_pickle_of_a_backbone_is_loaded(tiny_backbone: Path, tmp_path: Path, refusal: Any) -> None:
    evil = Path(shutil.copytree(tiny_backbone, tmp_path / "evil"))
    (evil / "evil.py").write_text(
        f"open({str(tmp_path / 'RAN')!r}, 'w')\nfrom transformers import BertConfig\n"
        "class C(BertConfig): model_type = 'evilmodel'\n"
    )
    edit(evil / "config.json", model_type="evilmodel", auto_map={"AutoConfig": "evil.C"})
    pickled = Path(shutil.copytree(tiny_backbone, tmp_path / "pickled"))
    torch.save(load_file(pickled / "model.safetensors"), pickled / "pytorch_model.bin")
    (pickled / "model.safetensors").unlink()
    for folder, words in ((evil, "it needs code of its own, which is never run"), (pickled, "model.safetensors")):
        assert words in refusal(main, "--max_steps", "2", "--output_dir", tmp_path / "out", "--backbone", folder)
    assert not (tmp_path / "RAN").exists()


def answer(status: int, kind: type = HfHubHTTPError) -> OSError:
    response = httpx.Response(status, request=httpx.Request("GET", "https://hub/x"))
    error = OSError("the client's own words")
    error.__cause__ = kind(f"{status} Client Error", response=response)
    return error


@pytest.mark.parametrize(
    ("cause", "advice", "tries"),
    [
        (answer(403, GatedRepoError), "the repository is gated: ask for access", 1),
        (answer(403), "the token may not do this", 1),
        (answer(429), "limits how often it is asked (429); wait some minutes", 3),
        (answer(503), "is out of order (503); try again later", 3),
        (OSError(28, "No space left on device", "/x/y"), "the disk is full (/x/y)", 1),
        (OSError("no route"), "no route. Otherwise name a folder", 1),
    ],
)
def test_the_advice_follows_the_answer_of_the_hub(
    cause: OSError, advice: str, tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backbones, "_WAITS", (0.0, 0.0))
    asked = []

    def loader(source: str, **settings: Any) -> None:
        asked.append((source, settings["trust_remote_code"]))
        raise cause

    with pytest.raises(backbones.BackboneUnavailableError) as error:
        backbones.load(backbones.resolve_backbone("owner/name"), loader)
    assert advice in str(error.value)
    assert asked == [("owner/name", False)] * tries


def test_a_fine_tuned_model_is_a_backbone_of_its_discipline(run_folder: Path, tmp_path: Path) -> None:
    own = run_folder / "model"
    kept = json.loads((own / "tokenizer_config.json").read_text())["symbol_ids"]
    trainer = run_trainer(own, tmp_path / "run", "--max_steps", "2", "--eval_steps", "2", "--precision", "float32")
    assert trainer.processing_class.symbol_ids == kept
    model, weights, name = merged(trainer.model), load_file(own / "model.safetensors"), "bert.pooler.dense.bias"
    assert torch.equal(model.state_dict()[name].cpu(), weights[name])
    for options, message in (
        (["--task", "protein-stability"], "was fine-tuned on dna, and task protein-stability is protein"),
        (["--arm", "unused"], "was fine-tuned with the assignment 'frequent', and arm 'unused' by protocol"),
    ):
        (other,), _ = parse_arguments(["--backbone", str(own), *options])
        with pytest.raises(ValueError, match="was fine-tuned") as error:
            build_tokenizer(other)
        assert message in str(error.value)


def test_a_long_text_that_is_cut_is_counted(tiny_backbone: Path) -> None:
    (spec,), _ = parse_arguments(["--backbone", str(tiny_backbone), "--task", "glue-sst2"])
    tokenizer = build_tokenizer(spec)
    texts = {"id": ["1", "2", "3"], "sequence": ["a " * 126, "a " * 127, "b " * 300], "label": [0, 1, 1]}
    rows, task = Dataset.from_dict(texts), get_task("glue-sst2")
    _, lengths, _ = encode_flat(rows, tokenizer, task)
    assert tokens_cut(rows, tokenizer, task, lengths).tolist() == [0, 1, 174]


def test_a_missing_package_is_one_line(tiny_backbone: Path, tmp_path: Path, refusal: Any) -> None:
    argv = ["--backbone", tiny_backbone, "--output_dir", tmp_path, "--max_steps", "2"]
    assert "wandb" in refusal(main, *argv, "--report_to", "wandb")
    assert "bitsandbytes" in refusal(main, *argv, "--optim", "adamw_8bit")
    assert not list(tmp_path.rglob("run.json"))  # another order is not refused for it


def test_a_new_option_is_part_of_a_run_s_identity() -> None:
    @dataclass
    class Extended(RunArguments):
        new: int = 0

    assert _other_options(RunArguments(kmer=3, arm=["rand"], variant="x")) == {}
    assert _other_options(Extended()) == {}
    assert _other_options(Extended(new=3)) == {"new": 3}
