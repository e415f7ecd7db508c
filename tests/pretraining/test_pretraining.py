"""Masked-LM pre-training: what is masked, what is computed, and whole runs of `bertx pretrain`."""

import json
import os
import re
import shutil
import socket
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from conftest import ROOT, broken_backbone
from datasets import load_from_disk
from python_processes import PythonProcess
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer

from hf_bertx import run_files
from hf_bertx.cli import main
from hf_bertx.launch import train_all
from hf_bertx.pretraining import masked_lm
from hf_bertx.pretraining.arguments import checkpoint_steps, parse_pretraining
from hf_bertx.pretraining.masked_lm import SeededMasking, new_config, save_stock
from hf_bertx.pretraining.pretrain import pretrain
from hf_bertx.runs.arguments import parse_arguments
from hf_bertx.runs.model import build_tokenizer
from hf_bertx.tokenization_discipline import DisciplineTokenizer

SCRIPT = ROOT / "pretrain.py"


@pytest.fixture(scope="module")
def tokenizer(tiny_backbone: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_backbone)


def rows(ids: torch.Tensor) -> list[dict[str, Any]]:
    return [{"input_ids": row.tolist(), "block": n} for n, row in enumerate(ids)]


def test_masking_is_in_berts_proportions(tokenizer: Any) -> None:
    ids = torch.randint(1000, 1600, (400, 100), generator=torch.Generator().manual_seed(0))
    ids[:, 0], ids[:, -1], ids[:, 50] = 101, 102, 102
    mask = SeededMasking(tokenizer, 0.15, seed=5)
    batch = mask(rows(ids))
    assert sorted(batch) == ["input_ids", "labels"]
    asked = batch["labels"] != -100
    assert torch.equal(batch["labels"][asked], ids[asked])
    assert torch.equal(batch["input_ids"][~asked], ids[~asked])
    assert not asked[:, [0, 50, 99]].any()
    put = batch["input_ids"][asked]
    shares = [float(share.float().mean()) for share in (asked[:, 1:50], put == 103, put == ids[asked])]
    assert shares == pytest.approx([0.15, 0.8, 0.1], abs=0.02)


def test_masks_depend_on_seed_epoch_and_blocks(tokenizer: Any) -> None:
    ids = torch.randint(1000, 1600, (8, 100), generator=torch.Generator().manual_seed(0))

    def labels(seed: int = 0, epoch: int = 0, first: int = 0) -> list[list[int]]:
        mask = SeededMasking(tokenizer, seed=seed)
        mask.epoch = epoch
        mask(rows(ids[:3]))  # whatever was asked before
        torch.rand(1)
        return mask([{**row, "block": row["block"] + first} for row in rows(ids)])["labels"].tolist()

    assert labels() == labels()
    assert all(labels() != other for other in (labels(seed=1), labels(epoch=1), labels(first=1)))


def test_whole_words_are_masked_as_a_whole() -> None:
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcde", *(f"##{letter}" for letter in "abcde")]
    tokenizer = transformers.BertTokenizer(vocab={token: i for i, token in enumerate(tokens)})
    ids = torch.tensor([[2, 5, 10, 11, 6, 7, 12, 8, 9, 13, 14, 13, 5, 6, 7, 8, 9, 5, 6, 3]])
    words = [[1, 2, 3], [4], [5, 6], [7], [8, 9, 10, 11], *([n] for n in range(12, 19))]
    masked = 0
    for seed in range(60):
        batch = SeededMasking(tokenizer, 0.3, whole_words=True, seed=seed)(rows(ids))
        places = set((batch["labels"][0] != -100).nonzero().flatten().tolist())
        assert all(len(places & set(word)) in (0, len(word)) for word in words)
        assert set(batch["input_ids"][0][sorted(places)].tolist()) <= {4}
        masked += len(places)
    assert masked / (60 * 18) == pytest.approx(0.3, abs=0.05)


def test_each_batch_has_a_masked_position(tokenizer: Any) -> None:
    block = torch.tensor([[101, 1000, 1001, 102]])
    for seed in range(50):  # at this rate 95 of 100 draws mask neither of the two words
        batch = SeededMasking(tokenizer, 0.025, seed=seed)(rows(block))
        assert (batch["labels"] != -100).any()
        assert (batch["input_ids"][batch["labels"] == -100] == block[batch["labels"] == -100]).all()
    SeededMasking(tokenizer)(rows(torch.tensor([[101, 102, 0, 0]])))  # nothing to mask, and an end


def test_symbols_are_replaced_by_symbols(tokenizer: Any) -> None:
    dna = DisciplineTokenizer.from_backbone(tokenizer, "dna")
    ids = torch.tensor(dna.symbol_ids[:4])[torch.randint(4, (50, 100), generator=torch.Generator().manual_seed(0))]
    batch = SeededMasking(dna)(rows(ids))
    changed = batch["input_ids"][(batch["input_ids"] != ids) & (batch["input_ids"] != dna.mask_token_id)]
    assert len(changed) > 30
    assert set(changed.tolist()) <= set(dna.symbol_ids)


@pytest.mark.parametrize("name", ["BertForMaskedLM", "AlbertForMaskedLM", "BertForPreTraining"])
def test_the_loss_is_the_stock_models(name: str, tokenizer: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    found, stock_class = getattr(masked_lm, name), getattr(transformers, name)
    model = found(new_config(found.config_class.model_type, tokenizer, 2, 64, 32, 0.0)).eval()
    batch = SeededMasking(tokenizer)(rows(torch.randint(1000, 1600, (4, 32))))
    if name == "BertForPreTraining":
        batch |= {"token_type_ids": torch.ones(4, 32, dtype=torch.int64)}
        batch |= {"next_sentence_label": torch.tensor([0, 1, 1, 0])}
    save_stock(model, tmp_path)
    stock, report = stock_class.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == [name]
    with torch.no_grad():
        assert float(model(**batch).loss) == pytest.approx(float(stock.eval()(**batch).loss), abs=1e-5)


def test_saving_leaves_the_draws_of_training_alone(tokenizer: Any, tmp_path: Path) -> None:
    model = masked_lm.BertForMaskedLM(new_config("bert", tokenizer, 1, 64, 32, 0.0))
    torch.manual_seed(3)
    wanted = torch.rand(4)
    torch.manual_seed(3)
    save_stock(model, tmp_path, torch.float16)
    assert torch.equal(torch.rand(4), wanted)
    saved = load_file(tmp_path / "model.safetensors")
    assert {tensor.dtype for tensor in saved.values()} == {torch.float16}
    assert "cls.predictions.decoder.weight" not in saved  # tied to the embeddings
    assert model.dtype == torch.float32


def test_steps_and_shares_of_the_run() -> None:
    assert checkpoint_steps(["0", "2%", "20%", "600", "100%"], 3000) == [0, 60, 600, 3000]
    assert checkpoint_steps(["0", "600"], 3000) == [0, 600, 3000], "what was trained is kept"
    for values, message in ((["some"], "has 'some'; give steps"), (["4000"], "step 4000 of 3000")):
        with pytest.raises(ValueError, match=message):
            checkpoint_steps(values, 3000)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language of 40 words in which every word says which comes next."""
    path = tmp_path_factory.mktemp("text") / "chain.txt"
    draw, lines = np.random.default_rng(0), []
    for _ in range(400):
        first = int(draw.integers(40))
        lines.append(" ".join(f"word{(first + 7 * n) % 40}" for n in range(30)))
    path.write_text("\n".join(lines))
    return path


def command(text: Path, model: Path | int | str, output: Path, *more: str) -> list[str]:
    """The options of a pre-training of a new model with the vocabulary of a backbone, or one of so many entries; or of
    what `model` says."""
    if not isinstance(model, str):
        of_text = "vocabulary_size" if isinstance(model, int) else "vocabulary_from"
        model = f"--{of_text} {model} --layers 1 --hidden_size 64"
    sizes = "--sequence_length 32 --global_batch_size 16 --precision float32"
    times = "--max_steps 60 --logging_steps 5 --save_steps 10 --learning_rate 3e-3 --threads 1 --disable_tqdm 1"
    return [*f"--train_files {text} {model} --output_dir {output} {sizes} {times}".split(), *more]


def in_this_process(argv: list[str]) -> Path:
    """Runs the command in this process, which has imported everything already; returns the folder of all steps."""
    return pretrain(*parse_pretraining(argv)).parent


def losses(folder: Path) -> list[float]:
    return [entry["loss"] for entry in json.loads((folder / "log_history.json").read_text()) if "loss" in entry]


def test_a_pretraining_learns_and_leaves_a_series(
    text: Path, tiny_backbone: Path, tmp_path: Path, caplog: Any
) -> None:
    argv = command(text, tiny_backbone, tmp_path / "out", "--checkpoint_steps", "0", "10%", "100%")
    held_out = text.parent / "held_out.txt"
    held_out.write_text("\n".join(text.read_text().splitlines()[:40]))
    argv += ["--validation_files", str(held_out), "--eval_steps", "30"]
    out = in_this_process(argv)
    assert sorted(path.name for path in out.glob("step-*")) == ["step-0", "step-6", "step-60"]
    record = json.loads((out / "pretraining.json").read_text())
    assert (record["steps"], record["checkpoint_steps"]) == (60, [0, 6, 60])
    assert len(record["text"]["sha256"]) == 64
    results = json.loads((out / "results.json").read_text())
    assert results["tokens_seen"] == 60 * 16 * 32
    curve = losses(out)
    assert curve[0] > 5.5  # near log(1600)
    assert curve[-1] < 4.2  # the text has 40 words: log(40) is 3.7
    assert results["validation_loss"] < 4.2
    model, report = AutoModel.from_pretrained(out / "step-60", output_loading_info=True, add_pooling_layer=False)
    assert not report["missing_keys"]
    assert model.config.vocab_size == 1600
    assert AutoTokenizer.from_pretrained(out / "step-60")("word3")["input_ids"] == [101, 1003, 102]
    in_this_process(argv)
    assert "holds this pre-training, finished" in caplog.text
    with pytest.raises(ValueError, match="holds another pre-training: seed is 42 there, 1 asked"):
        in_this_process([*argv, "--seed", "1"])


def test_a_killed_pretraining_goes_on_exactly(text: Path, tiny_backbone: Path, tmp_path: Path) -> None:
    two = text.parent / "second.txt"
    two.write_text(text.read_text().replace("word1 ", "word2 "))
    # a pass takes 26 steps: it is killed in the second one, whose pairs are others than the first one's
    more = ["--next_sentence", "1", "--global_batch_size", "32", "--train_files", str(text), str(two)]
    more += ["--save_steps", "8"]  # some checkpoints lie between two logged steps
    whole, broken = ([*command(text, tiny_backbone, tmp_path / name), *more] for name in ("a", "b"))
    # processes of their own: with OMP_NUM_THREADS=2, what pytest's process computed before changes the last digits
    assert PythonProcess(SCRIPT, *whole).wait().returncode == 0
    process = PythonProcess(SCRIPT, *broken)
    deadline = time.monotonic() + 120
    # half a checkpoint, or one that was just finished, by the luck of the moment
    while not (tmp_path / "b" / "checkpoints" / "checkpoint-40" / "model.safetensors").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.kill()
    process.wait()
    assert not (tmp_path / "b" / "results.json").exists()
    assert PythonProcess(SCRIPT, *broken).wait().returncode == 0
    assert json.loads((tmp_path / "b" / "results.json").read_text())["resumed_from_step"] in (32, 40)
    first, second = (load_file(tmp_path / name / "step-60" / "model.safetensors") for name in ("a", "b"))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert losses(tmp_path / "a") == losses(tmp_path / "b")
    assert len(losses(tmp_path / "a")) == 20  # every fifth and every eighth step, and the ends of two epochs


def test_a_pretraining_that_breaks_off_behind_its_last_step_is_over(
    text: Path, tiny_backbone: Path, tmp_path: Path
) -> None:
    argv = command(text, tiny_backbone, tmp_path / "out", "--max_steps", "7")
    (tmp_path / "out" / "results.json").mkdir(parents=True)
    with pytest.raises(OSError, match="results"):
        in_this_process(argv)
    before = losses(tmp_path / "out")
    (tmp_path / "out" / "results.json").rmdir()
    (tmp_path / "out" / ".blocks-left.tmp").mkdir()  # of a process that was killed while it read text
    out = in_this_process(argv)
    results = json.loads((out / "results.json").read_text())
    assert (results["steps"], results["tokens_seen"], results["resumed_from_step"]) == (7, 7 * 16 * 32, 7)
    assert losses(out) == before
    assert results["train_loss"] == before[-1]
    assert not (out / ".blocks-left.tmp").exists()


def test_two_processes_train_one_model(text: Path, tiny_backbone: Path, tmp_path: Path) -> None:
    more = "--max_steps 30 --dropout 0 --next_sentence 1 --documents line --checkpoint_steps 100%".split()
    in_this_process([*command(text, tiny_backbone, tmp_path / "one"), *more])
    argv = [*command(text, tiny_backbone, tmp_path / "two"), *more, "--use_cpu", "1"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    ranks = [{**os.environ, **group, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2)]
    for process in [PythonProcess(SCRIPT, *argv, env=rank) for rank in ranks]:
        done = process.wait()
        assert done.returncode == 0, done.stderr[-3000:]
    one, two = (losses(tmp_path / name) for name in ("one", "two"))  # the masks differ, what is learned does not
    assert (len(one), one[0], one[-1]) == (len(two), pytest.approx(two[0], rel=0.05), pytest.approx(two[-1], rel=0.1))


def test_no_resume_removes_only_what_a_pretraining_left(
    text: Path, tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    (out / "step-1").mkdir(parents=True)
    (out / "tokenizer").mkdir()
    (out / "tokenizer" / "mine.txt").write_text("mine")
    more = ("--max_steps", "2", "--checkpoint_steps", "0", "--no_resume")
    with pytest.raises(ValueError, match="minilm-l7"):
        in_this_process(command(text, Path("minilm-l7"), out, *more))
    with pytest.raises(ValueError, match="tokenizer: holds no vocabulary of a pre-training, which would replace it"):
        in_this_process(command(text, 300, out, *more))
    in_this_process(argv := command(text, tiny_backbone, out, *more))
    assert (out / "step-1").is_dir()
    assert (out / "tokenizer" / "mine.txt").read_text() == "mine"
    (out / "notes.txt").write_text("mine, too")
    in_this_process([*argv, "--max_steps", "3", "--logging_steps", "1"])
    assert sorted(path.name for path in out.glob("step-*")) == ["step-0", "step-3"]
    assert (out / "notes.txt").is_file()

    def killed(path: Path, *args: Any, **kwargs: Any) -> None:
        if path.name.startswith("step-"):
            raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        in_this_process([*argv, "--max_steps", "3", "--logging_steps", "1"])
    assert not (out / "results.json").exists(), "what is being removed is not finished"


def held(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


REFUSED = {
    "--no_resume --hidden_size 100": "hidden size 100",
    "--no_resume --train_files SHORT": "fewer than the 30 tokens of one block",
    "--no_resume --sequence_length 16 --validation_files SHORT": "fewer than the 14 tokens of one block",
    "--no_resume --sequence_length 64 --train_files SHORT": "fewer than the 62 tokens of one block",
    "--no_resume --report_to dvclive": "requires dvclive",
    "--no_resume --optim galore_adamw": "galore",
    "--train_files OTHER": "holds another pre-training: text is",
    "--sequence_length 16": "sequence_length is 32 there, 16 asked",
    "--neftune_noise_alpha 5": "neftune_noise_alpha is None there, 5.0 asked",
    "--dataloader_drop_last 1": "dataloader_drop_last is False there, True asked",
}


@pytest.mark.parametrize(
    ("vocabulary", "more"),
    [
        ("the backbone's", {"--no_resume --whole_words 1": "marks continuations with ##"}),
        ("its own", {"--no_resume --model_type albert --next_sentence 1": "BERT's objective"}),
    ],
)
def test_what_is_refused_leaves_a_finished_series_alone(
    text: Path, tiny_backbone: Path, tmp_path: Path, vocabulary: str, more: dict[str, str]
) -> None:
    model = 300 if vocabulary == "its own" else tiny_backbone
    argv = command(text, model, tmp_path / "out", "--max_steps", "2", "--checkpoint_steps", "0")
    argv += ["--validation_files", str(text)]
    out = in_this_process(argv)
    before = held(out)
    (tmp_path / "SHORT").write_text("word1 word2\n")
    (tmp_path / "OTHER").write_text(text.read_text().replace("word1 ", "word2 "))
    for words, message in (REFUSED | more).items():
        with pytest.raises((ValueError, RuntimeError, ImportError), match=message):
            in_this_process([*argv, *re.sub("SHORT|OTHER", lambda name: str(tmp_path / name[0]), words).split()])
        assert held(out) == before, words


def test_a_vocabulary_of_another_size_is_another_pretraining(text: Path, tmp_path: Path) -> None:
    def pretrained(size: int, *more: str) -> Path:
        return in_this_process(command(text, size, tmp_path / "out", "--max_steps", "1", *more))

    with pytest.raises(ValueError, match="hidden size 65"):
        pretrained(300, "--hidden_size", "65")
    vocabulary = AutoTokenizer.from_pretrained(pretrained(280) / "step-1")
    assert len(vocabulary) <= 280, "the vocabulary of the first try is not taken"
    with pytest.raises(ValueError, match="vocabulary_size is 280 there, 300 asked"):
        pretrained(300)


def test_two_at_once_in_one_folder_are_refused(text: Path, tiny_backbone: Path, tmp_path: Path) -> None:
    with run_files.locked(tmp_path / "out"), pytest.raises(OSError, match="out: another process is"):
        in_this_process(command(text, tiny_backbone, tmp_path / "out", "--max_steps", "1"))


def test_bfloat16_is_what_is_computed_in(text: Path, tiny_backbone: Path, tmp_path: Path) -> None:
    curves = []
    for precision in ("float32", "bfloat16"):
        argv = ["--max_steps", "4", "--logging_steps", "1", "--precision", precision]
        out = in_this_process(command(text, tiny_backbone, tmp_path / precision, *argv))
        assert json.loads((out / "pretraining.json").read_text())["arguments"]["precision"] == precision
        curves.append(losses(out))
    assert curves[0] != curves[1]
    assert curves[0] == pytest.approx(curves[1], rel=0.05)


@pytest.fixture(scope="module")
def genome(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """DNA in which every codon is one of four."""
    path, draw = tmp_path_factory.mktemp("dna") / "genome.fasta", np.random.default_rng(0)
    codons = ["ACG", "TTA", "GGC", "CAT"]
    chromosomes = ["".join(codons[n] for n in draw.integers(4, size=1500)) for _ in range(2)]
    path.write_text("".join(f">chr{n}\n{sequence}\n" for n, sequence in enumerate(chromosomes)))
    return path


def of_dna(genome: Path, backbone: Path, output: Path, *more: str) -> list[str]:
    model = f"--backbone {backbone} --discipline dna --checkpoint_steps 0 100%"
    return command(genome, model, output, *more)


@pytest.mark.parametrize("start", ["pretrained", "random"])
def test_sequences_give_a_backbone_that_train_takes(
    start: str, genome: Path, tiny_backbone: Path, tmp_path: Path
) -> None:
    out = in_this_process(of_dna(genome, tiny_backbone, tmp_path / "out", "--start", start))
    assert json.loads((out / "pretraining.json").read_text())["arguments"]["start"] == start
    assert losses(out)[-1] < 2.2 < 5 < losses(out)[0]  # log(4) is 1.39, log(1600) is 7.4
    words = "embeddings.word_embeddings.weight"
    first = load_file(out / "step-0" / "model.safetensors")["bert." + words]
    kept = torch.equal(first, load_file(tiny_backbone / "model.safetensors")[words])
    assert kept == (start == "pretrained")
    specs, _ = parse_arguments(["--backbone", str(out / "step-60"), "--arm", "bert", "unused"])
    ids = {i for block in load_from_disk(out / "blocks")["input_ids"] for i in block}
    assert ids == set(build_tokenizer(specs[0])("ACGT")["input_ids"])
    with pytest.raises(ValueError, match="--layers is 1; allowed: only for a new model, without --backbone"):
        parse_pretraining([*of_dna(genome, tiny_backbone, tmp_path), "--layers", "1"])
    with pytest.raises(ValueError, match=r"assignment is 'unused'; .* was pre-trained on dna with 'frequent'"):
        build_tokenizer(specs[1])
    if start == "pretrained":
        short = f"--backbone {out / 'step-60'} --max_steps 1 --max_eval_items 20 --fraction 0.05 --threads 1"
        (run,) = train_all([*short.split(), "--output_dir", str(tmp_path / "runs")])
        assert (run / "results.json").is_file()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--dataset", "owner/name"], "give --train_files, or --dataset"),
        (["--max_steps", "0"], "--max_steps is 0; allowed: at least 1"),
        (["--checkpoint_steps", "5x"], "--checkpoint_steps has '5x'"),
        (["--learning_rate", "-1"], "--learning_rate is -1.0; allowed: more than 0"),
        (["--mask_rate", "2"], "--mask_rate is 2.0; allowed: more than 0, less than 1"),
        (["--eval_strategy", "epoch"], "--eval_strategy cannot be set: pre-training sets it itself"),
        (["--push_to_hub", "true"], "--push_to_hub cannot be set"),
        (["--hub_token", "hf_x"], "--hub_token cannot be set"),
        (["--dataloader_persistent_workers", "1"], "--dataloader_persistent_workers cannot be set"),
        (["--label_smoothing_factor", "0.1"], "--label_smoothing_factor cannot be set"),
        (["--precision", "int8"], "unknown precision 'int8'; allowed: auto, float32, bfloat16"),
        (["--vocabulary_size", "500"], "give one of --vocabulary_from"),
        (["--initialize_from", "minilm-l6"], "give one of --vocabulary_from"),
        (["--checkpoint_dtype", "int4"], "--checkpoint_dtype is 'int4'; allowed: float32, float16"),
        (["--global_batch_size", "0"], "--global_batch_size is 0"),
        (["--model_type", "gpt2"], "model type 'gpt2' is not pre-trained here; allowed: bert, albert"),
        (["--vocabulary_from", "minilm-l7"], "unknown backbone 'minilm-l7'; did you mean 'minilm-l6'"),
        (["--mask_rat", "2"], "--mask_rat"),
        (["--start", "re_emb"], "--start is 're_emb'; allowed: pretrained, random"),
        (["--start", "random"], "--start is 'random'; allowed: only with --backbone"),
        (["--dataset_config", "x"], "--dataset_config is 'x'; allowed: only with --dataset"),
        (["--text_column", "x"], "--text_column is 'x'; allowed: only with --dataset or --discipline"),
        (["--assignment", "unused"], "--assignment is 'unused'; allowed: only with --discipline"),
        (["--discipline", "rna"], "unknown discipline 'rna'"),
        (["--discipline", "dna"], "chain.txt"),
        (["--discipline", "dna", "--whole_words", "1"], "--whole_words is True; allowed: only for text"),
        (["--discipline", "dna", "--documents", "line"], "--documents is 'line'; allowed: only for text"),
        (["--next_sentence", "1"], "at least two documents"),
        (["--train_files", "absent.txt"], "absent.txt: no such file"),
    ],
)
def test_bad_input_is_one_line(
    more: list[str], message: str, text: Path, tiny_backbone: Path, tmp_path: Path, refusal: Any
) -> None:
    assert message in refusal(main, "pretrain", *command(text, tiny_backbone, tmp_path / "out"), *more)


def test_a_backbone_with_another_vocabulary_is_refused(text: Path, tiny_backbone: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    model = transformers.BertForMaskedLM.from_pretrained(tiny_backbone)
    model.resize_token_embeddings(1500)
    model.save_pretrained(wrong)
    AutoTokenizer.from_pretrained(tiny_backbone).save_pretrained(wrong)
    with pytest.raises(ValueError, match="the model has 1500 entries, the tokenizer's ids go up to 1599"):
        in_this_process(command(text, f"--backbone {wrong}", tmp_path / "out"))
    out = in_this_process(command(text, f"--backbone {tiny_backbone}", tmp_path / "out", "--max_steps", "5"))
    kept = load_file(out / "step-0" / "model.safetensors")["bert.embeddings.word_embeddings.weight"]
    assert torch.equal(kept, load_file(tiny_backbone / "model.safetensors")["embeddings.word_embeddings.weight"])


def test_going_on_from_a_model_that_is_not_whole(text: Path, tiny_backbone: Path, tmp_path: Path) -> None:
    broken = broken_backbone(tiny_backbone, tmp_path / "broken", "other names")
    with pytest.raises(ValueError, match="not a checkpoint of bert: it lacks"):
        in_this_process(command(text, f"--backbone {broken}", tmp_path / "out"))
