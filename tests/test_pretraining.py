"""Masked-LM pre-training: what is asked, what is computed, and whole runs of pretrain.py."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT, broken_backbone
from filelock import FileLock
from safetensors.torch import load_file
from transformers import AlbertForMaskedLM, AutoModel, AutoTokenizer, BertForMaskedLM, BertForPreTraining

from hf_bertx.pretraining.arguments import checkpoint_steps, parse_pretraining
from hf_bertx.pretraining.batches import Masking, PackedBlocks, ShuffledBlocks, masking, uniform
from hf_bertx.pretraining.corpus import Corpus
from hf_bertx.pretraining.modeling import (
    AlbertForMaskedPositions,
    BertForMaskedPositions,
    BertForMaskedPositionsAndNextSentence,
    model_class,
    new_config,
    save_stock,
)
from hf_bertx.pretraining.pretrain import pretrain


@pytest.fixture(scope="module")
def tokenizer(tiny_backbone: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_backbone)


def corpus(n_tokens: int, starts: list[int]) -> Corpus:
    return Corpus(np.arange(1000, 1000 + n_tokens, dtype=np.uint16), np.array(starts), "x", 0.0)


def test_blocks_are_full_and_follow_each_other(tokenizer: Any) -> None:
    blocks = PackedBlocks(corpus(100, [0]), tokenizer, 12)
    assert len(blocks) == 10
    batch = blocks.__getitems__([3, 0])
    assert batch["input_ids"].tolist()[0] == [101, *range(1030, 1040), 102]
    assert batch["input_ids"].tolist()[1] == [101, *range(1000, 1010), 102]
    assert batch["block"].tolist() == [3, 0]
    assert blocks[3]["input_ids"].tolist() == batch["input_ids"].tolist()[0]


def test_a_pair_is_what_follows_or_a_stretch_of_another_document(tokenizer: Any) -> None:
    length, starts = 33, [0, 3000, 6000]
    blocks = PackedBlocks(corpus(9000, starts), tokenizer, length, next_sentence=True)
    batch = blocks.__getitems__(list(range(250)))
    follows = 0
    for ids, types, label in zip(
        batch["input_ids"].tolist(),
        batch["token_type_ids"].tolist(),
        batch["next_sentence_label"].tolist(),
        strict=True,
    ):
        a, b = ids[1 : types.index(1) - 1], ids[types.index(1) : -1]
        assert (ids[0], ids[types.index(1) - 1], ids[-1]) == (101, 102, 102)
        assert types == [0] * (len(a) + 2) + [1] * (len(b) + 1)
        assert len(a) + len(b) == length - 3
        assert min(len(a), len(b)) >= 4
        assert a == list(range(a[0], a[0] + len(a)))
        assert b == list(range(b[0], b[0] + len(b)))
        if label == 0:
            follows += 1
            assert b[0] == a[-1] + 1
        else:
            assert (a[0] - 1000) // 3000 != (b[0] - 1000) // 3000
    assert 95 < follows < 155
    again = blocks.__getitems__([7])
    assert torch.equal(again["input_ids"][0], batch["input_ids"][7])  # whatever else is in the batch
    blocks.set_epoch(1)
    assert not torch.equal(blocks.__getitems__(list(range(250)))["input_ids"], batch["input_ids"])


def test_text_that_is_too_short_is_refused(tokenizer: Any) -> None:
    with pytest.raises(ValueError, match="holds 5 tokens; a block of length 12 needs more"):
        PackedBlocks(corpus(5, [0]), tokenizer, 12)
    with pytest.raises(ValueError, match="at least two documents"):
        PackedBlocks(corpus(100, [0]), tokenizer, 12, next_sentence=True)


def test_numbers_are_splitmix64s() -> None:
    # block 0 with key 0 starts from state 0; the reference generator's first outputs from that state
    start = 0
    state, wanted = start, []
    for _ in range(3):
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        value = state
        value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) % 2**64
        wanted.append((value ^ (value >> 31)) >> 40)
    assert (uniform(torch.tensor([0]), 3, 0) * 2**24).tolist()[0] == wanted
    many = uniform(torch.arange(500), 200, 7 << 40)
    assert abs(float(many.mean()) - 0.5) < 0.005
    assert float(many.min()) >= 0
    assert float(many.max()) < 1
    assert abs(float(np.corrcoef(many[:-1].flatten(), many[1:].flatten())[0, 1])) < 0.02


@pytest.mark.parametrize("count", [1, 2, 3, 5, 1000, 70_000])
def test_every_block_comes_once_an_epoch_in_another_order(count: int) -> None:
    sampler = ShuffledBlocks(count, seed=3)
    first = list(sampler)
    assert sorted(first) == list(range(count))
    assert list(sampler) == first
    if count >= 1000:
        sampler.set_epoch(1)
        assert list(sampler) != first
        assert list(ShuffledBlocks(count, seed=4)) != first
        # neighbours lie a third of the whole apart in the mean, and places tell nothing of numbers
        order = np.array(first)
        assert np.abs(np.diff(order)).mean() == pytest.approx(count / 3, rel=0.05)
        assert abs(np.corrcoef(order, np.arange(count))[0, 1]) < 0.1


def test_masking_asks_a_fixed_share_in_berts_proportions(tokenizer: Any) -> None:
    ids = torch.randint(1000, 1600, (400, 100), generator=torch.Generator().manual_seed(0))
    ids[:, 0], ids[:, -1], ids[:, 50] = 101, 102, 102
    ask = masking(tokenizer, 0.15, whole_words=False)
    asked = ask(ids, torch.arange(400), 5)
    positions, labels = asked["masked_positions"], asked["masked_labels"]
    assert positions.shape == labels.shape == (400, 15)
    assert torch.equal(labels, ids.gather(1, positions))
    assert not torch.isin(positions, torch.tensor([0, 50, 99])).any()
    assert (positions.diff(dim=1) > 0).all()
    put = asked["input_ids"].gather(1, positions)
    masked, kept = put == 103, put == labels
    assert abs(float(masked.float().mean()) - 0.8) < 0.02
    assert abs(float(kept.float().mean()) - 0.1) < 0.02
    untouched = torch.ones_like(ids, dtype=torch.bool).scatter(1, positions, False)
    assert torch.equal(asked["input_ids"][untouched], ids[untouched])
    same = ask(ids[10:20], torch.arange(10, 20), 5)  # in another batch
    assert torch.equal(same["input_ids"], asked["input_ids"][10:20])
    assert not torch.equal(ask(ids, torch.arange(400), 6)["masked_positions"], positions)
    counts = torch.bincount(positions.flatten(), minlength=100)[[n for n in range(100) if n not in (0, 50, 99)]]
    assert float(counts.float().std() / counts.float().mean()) < 0.2  # no place is favoured


def test_whole_words_are_asked_as_a_whole() -> None:
    continues = torch.tensor([False] * 10 + [True] * 10)
    ids = torch.tensor([[1, 5, 10, 11, 6, 7, 12, 8, 9, 13, 14, 15, 5, 6, 7, 8, 9, 5, 6, 2]])
    ask = Masking(3, (0, 1, 2), 20, rate=0.3, continues=continues)
    words = [[1, 2, 3], [4], [5, 6], [7], [8, 9, 10, 11], *([n] for n in range(12, 19))]
    cut = 0
    for key in range(60):
        positions = set(ask(ids, torch.tensor([0]), key)["masked_positions"][0].tolist())
        assert len(positions) == 6
        parts = [word for word in words if 0 < len(positions & set(word)) < len(word)]
        assert len(parts) <= 1  # the last one, where the count was full
        cut += len(parts)
    assert cut < 40


def test_a_tokenizer_must_fit_what_is_asked(tokenizer: Any) -> None:
    with pytest.raises(ValueError, match=r"--mask_rate is 1\.5"):
        masking(tokenizer, 1.5, False)
    with pytest.raises(ValueError, match="marks continuations with ##"):
        masking(tokenizer, 0.15, True)  # this vocabulary has no pieces


@pytest.mark.parametrize("kind", [BertForMaskedPositions, AlbertForMaskedPositions])
def test_scores_at_the_asked_positions_are_the_stock_models(kind: Any, tokenizer: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = kind(new_config(kind.config_class.model_type, tokenizer, 2, 64, 32, 0.0)).eval()
    ids = torch.randint(1000, 1600, (4, 32))
    asked = masking(tokenizer, 0.15, False)(ids, torch.arange(4), 1)
    labels = torch.full_like(ids, -100).scatter(1, asked["masked_positions"], asked["masked_labels"])
    save_stock(model, tmp_path)
    stock, report = kind.stock.from_pretrained(tmp_path, output_loading_info=True)
    assert kind.stock in (BertForMaskedLM, AlbertForMaskedLM)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == [kind.stock.__name__]
    with torch.no_grad():
        assert float(model(**asked).loss) == pytest.approx(
            float(stock.eval()(asked["input_ids"], labels=labels).loss), abs=1e-5
        )


def test_the_next_sentence_loss_is_the_stock_models(tokenizer: Any) -> None:
    torch.manual_seed(0)
    model = BertForMaskedPositionsAndNextSentence(new_config("bert", tokenizer, 1, 64, 33, 0.0)).eval()
    stock = BertForPreTraining(model.config).eval()
    stock.load_state_dict(model.state_dict())
    batch = PackedBlocks(corpus(600, [0, 300]), tokenizer, 33, next_sentence=True).__getitems__([0, 1, 2, 3])
    asked = masking(tokenizer, 0.15, False)(batch.pop("input_ids"), batch.pop("block"), 1)
    labels = torch.full_like(asked["input_ids"], -100).scatter(1, asked["masked_positions"], asked["masked_labels"])
    with torch.no_grad():
        wanted = stock(asked["input_ids"], labels=labels, **batch).loss
        assert float(model(**asked, **batch).loss) == pytest.approx(float(wanted), abs=1e-5)


def test_saving_leaves_the_draws_of_training_alone(tokenizer: Any, tmp_path: Path) -> None:
    model = BertForMaskedPositions(new_config("bert", tokenizer, 1, 64, 32, 0.0))
    torch.manual_seed(3)
    wanted = torch.rand(4)
    torch.manual_seed(3)
    save_stock(model, tmp_path, torch.float16)
    assert torch.equal(torch.rand(4), wanted)
    assert {tensor.dtype for tensor in load_file(tmp_path / "model.safetensors").values()} == {torch.float16}


def test_steps_and_shares_of_the_run() -> None:
    assert checkpoint_steps(["0", "2%", "20%", "600", "100%"], 3000) == [0, 60, 600, 3000]
    assert checkpoint_steps(["0", "600"], 3000) == [0, 600, 3000], "what was trained is kept"
    for told, message in ((["some"], "has 'some'; give steps"), (["4000"], "step 4000 of 3000")):
        with pytest.raises(ValueError, match=message):
            checkpoint_steps(told, 3000)


def test_shapes_and_objectives_that_are_not_built(tokenizer: Any) -> None:
    with pytest.raises(ValueError, match="hidden size 100; allowed"):
        new_config("bert", tokenizer, 2, 100, 128, 0.1)
    with pytest.raises(ValueError, match="model type 'gpt2' is not pre-trained here; allowed: bert, albert"):
        new_config("gpt2", tokenizer, 2, 64, 128, 0.1)
    with pytest.raises(ValueError, match="BERT's objective"):
        model_class("albert", next_sentence=True)


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


def command(text: Path, vocabulary: Path, output: Path, *more: str) -> list[str]:
    sizes = "--layers 1 --hidden_size 64 --sequence_length 32 --global_batch_size 16 --precision float32"
    times = "--max_steps 60 --logging_steps 5 --save_steps 10 --learning_rate 3e-3 --threads 1 --disable_tqdm 1"
    told = f"--train_files {text} --vocabulary_from {vocabulary} --output_dir {output} {sizes} {times}"
    return [sys.executable, str(ROOT / "pretrain.py"), *told.split(), *more]


def run(argv: list[str]) -> subprocess.CompletedProcess:
    return subprocess.run(argv, capture_output=True, text=True, cwd=ROOT)


def here(argv: list[str]) -> Path:
    """The same in this process, which has imported everything already."""
    return pretrain(*parse_pretraining(argv[2:]))


def losses(folder: Path) -> list[float]:
    return [entry["loss"] for entry in json.loads((folder / "log_history.json").read_text()) if "loss" in entry]


def test_a_pretraining_learns_and_leaves_a_series(
    text: Path, tiny_backbone: Path, tmp_path: Path, caplog: Any
) -> None:
    told = command(text, tiny_backbone, tmp_path / "out", "--checkpoint_steps", "0", "10%", "100%")
    held_out = text.parent / "held_out.txt"
    held_out.write_text("\n".join(text.read_text().splitlines()[:40]))
    told += ["--validation_files", str(held_out), "--eval_steps", "30"]
    out = here(told)
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
    here(told)
    assert "holds this pre-training, finished" in caplog.text
    with pytest.raises(ValueError, match="holds another pre-training: seed is 42 there, 1 asked"):
        here([*told, "--seed", "1"])


def test_a_killed_pretraining_goes_on_exactly(text: Path, tiny_backbone: Path, tmp_path: Path) -> None:
    two = text.parent / "second.txt"
    two.write_text(text.read_text().replace("word1 ", "word2 "))
    # a pass takes 26 steps: it is killed in the second one, whose pairs are others than the first one's
    more = ["--next_sentence", "1", "--global_batch_size", "32", "--train_files", str(text), str(two)]
    whole, broken = ([*command(text, tiny_backbone, tmp_path / name), *more] for name in ("a", "b"))
    process = subprocess.Popen(broken, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd=ROOT)
    here(whole)
    deadline = time.monotonic() + 120
    # half a checkpoint, or one that was just finished, by the luck of the moment
    while not (tmp_path / "b" / "checkpoints" / "checkpoint-40" / "model.safetensors").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "b" / "results.json").exists()
    here(broken)
    assert json.loads((tmp_path / "b" / "results.json").read_text())["resumed_from_step"] in (30, 40)
    first, second = (load_file(tmp_path / name / "step-60" / "model.safetensors") for name in ("a", "b"))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert losses(tmp_path / "a") == losses(tmp_path / "b")
    assert len(losses(tmp_path / "a")) == 14  # every fifth step, and the ends of two epochs


def test_two_processes_ask_the_same_as_one(text: Path, tiny_backbone: Path, tmp_path: Path) -> None:
    two = text.parent / "other.txt"
    two.write_text(text.read_text().replace("word1 ", "word2 "))
    # a pass takes 6 steps; a last batch that is not full is filled up for two processes, not for one
    told = [
        "--max_steps",
        "10",
        "--dropout",
        "0",
        "--logging_steps",
        "1",
        "--global_batch_size",
        "128",
        "--dataloader_drop_last",
        "1",
    ]
    told += ["--next_sentence", "1", "--train_files", str(text), str(two)]
    here([*command(text, tiny_backbone, tmp_path / "one"), *told])
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = run([*start, *command(text, tiny_backbone, tmp_path / "two")[1:], *told, "--use_cpu", "1"])
    assert done.returncode == 0, done.stderr[-3000:]
    assert losses(tmp_path / "one") == pytest.approx(losses(tmp_path / "two"), rel=1e-4)
    assert len(losses(tmp_path / "one")) == 10


def test_to_start_anew_takes_away_what_a_pretraining_left_and_nothing_else(
    text: Path, tiny_backbone: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (out / "step-1").mkdir(parents=True)
    (out / "corpus").mkdir()
    (out / "corpus" / "mine.txt").write_text("mine")
    told = command(text, tiny_backbone, out, "--max_steps", "2", "--checkpoint_steps", "0", "--no_resume")
    with pytest.raises(ValueError, match="minilm-l7"):
        here([part if part != str(tiny_backbone) else "minilm-l7" for part in told])
    here(told)
    assert (out / "step-1").is_dir()
    assert (out / "corpus" / "mine.txt").read_text() == "mine"
    (out / "notes.txt").write_text("mine, too")
    here([*told, "--max_steps", "3", "--logging_steps", "1"])
    assert sorted(path.name for path in out.glob("step-*")) == ["step-0", "step-3"]
    assert (out / "notes.txt").is_file()


def test_a_vocabulary_of_another_size_is_another_pretraining(text: Path, tmp_path: Path) -> None:
    told = command(text, Path("-"), tmp_path / "out", "--max_steps", "1")
    place = told.index("--vocabulary_from")
    told[place : place + 2] = ["--vocabulary_size", "300"]
    with pytest.raises(ValueError, match="hidden size 65"):
        here([*told, "--hidden_size", "65"])
    told[place + 1] = "280"
    out = here(told)
    assert len(AutoTokenizer.from_pretrained(out / "step-1")) <= 280, "the vocabulary of the first try is not taken"
    told[place + 1] = "300"
    with pytest.raises(ValueError, match="vocabulary_size is 280 there, 300 asked"):
        here(told)


def test_two_at_once_in_one_folder_are_refused(text: Path, tiny_backbone: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    told = command(text, tiny_backbone, tmp_path / "out", "--max_steps", "1")
    with (
        FileLock(tmp_path / "out" / ".lock"),
        pytest.raises(ValueError, match="another process is pre-training there"),
    ):
        here(told)


def test_pairs_of_one_document_say_of_which_text(text: Path, tiny_backbone: Path, tmp_path: Path) -> None:
    held_out = ["--validation_files", str(text), "--train_files", str(text), str(text)]
    told = command(text, tiny_backbone, tmp_path / "out", "--max_steps", "1", "--next_sentence", "1", *held_out)
    with pytest.raises(ValueError, match="the text to validate on has one"):
        here(told)


def test_bfloat16_is_what_is_computed_in(text: Path, tiny_backbone: Path, tmp_path: Path) -> None:
    for precision in ("float32", "bfloat16"):
        argv = command(text, tiny_backbone, tmp_path / precision, "--max_steps", "4", "--logging_steps", "1")
        told, args = parse_pretraining([*argv[2:], "--precision", precision])
        assert args.mixed_precision == {"float32": "no", "bfloat16": "bf16"}[precision]  # what accelerate is told
        out = pretrain(told, args)
        assert json.loads((out / "pretraining.json").read_text())["arguments"]["precision"] == precision


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--dataset", "owner/name"], "give --train_files, or --dataset"),
        (["--max_steps", "0"], "--max_steps is 0; allowed: at least 1"),
        (["--checkpoint_steps", "5x"], "--checkpoint_steps has '5x'"),
        (["--precision", "int8"], "unknown precision 'int8'; allowed: auto, float32, bfloat16"),
        (["--vocabulary_size", "500"], "give one of --vocabulary_from"),
        (["--checkpoint_dtype", "int4"], "--checkpoint_dtype is 'int4'; allowed: float32, float16"),
        (["--global_batch_size", "0"], "--global_batch_size 0"),
        (["--hidden_size", "65"], "hidden size 65; allowed"),
        (["--vocabulary_from", "minilm-l7"], "unknown backbone 'minilm-l7'; did you mean 'minilm-l6'"),
        (["--mask_rat", "2"], "--mask_rat"),
    ],
)
def test_bad_input_is_one_line(
    more: list[str], message: str, text: Path, tiny_backbone: Path, tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    import runpy

    monkeypatch.setattr(sys, "argv", [*command(text, tiny_backbone, tmp_path / "out")[1:], *more])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "pretrain.py"), run_name="__main__")
    assert ended.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "pretrain.py: error" in line]
    assert len(lines) == 1
    assert message in lines[0]


def test_going_on_from_a_model_whose_vocabulary_is_not_its_tokenizers(
    text: Path, tiny_backbone: Path, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong"
    model = BertForMaskedLM.from_pretrained(tiny_backbone)
    model.resize_token_embeddings(1500)
    model.save_pretrained(wrong)
    AutoTokenizer.from_pretrained(tiny_backbone).save_pretrained(wrong)
    told = command(text, tiny_backbone, tmp_path / "out", "--max_steps", "5")
    place = told.index("--vocabulary_from")
    told[place] = "--initialize_from"
    with pytest.raises(ValueError, match="the model has 1500 entries, the tokenizer's ids go up to 1599"):
        here([*told[: place + 1], str(wrong), *told[place + 2 :]])
    out = here(told)
    kept = load_file(out / "step-0" / "model.safetensors")["bert.embeddings.word_embeddings.weight"]
    assert torch.equal(kept, load_file(tiny_backbone / "model.safetensors")["embeddings.word_embeddings.weight"])


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("other names", r"not a checkpoint of bert: it lacks bert.encoder.layer.1.\S+ and \d+ weights more"),
        ("other shapes", r"bert.encoder.layer.1.output.dense.weight has the shape \(32, 63\); its config asks for"),
    ],
)
def test_going_on_from_a_model_that_is_not_whole(
    text: Path, tiny_backbone: Path, tmp_path: Path, how: str, message: str
) -> None:
    broken = broken_backbone(tiny_backbone, tmp_path / "broken", how)
    told = command(text, tiny_backbone, tmp_path / "out", "--max_steps", "5")
    place = told.index("--vocabulary_from")
    with pytest.raises(ValueError, match=message):
        here([*told[:place], "--initialize_from", str(broken), *told[place + 2 :]])
