"""PLUS-TFM and encoders that start from weights: against numbers written down and a forward pass written out here."""

import json
import math
import shutil
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from conftest import broken_backbone
from made_runs import recorded, write_rows
from torch.nn import functional
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification, BertModel, BertTokenizer

from hf_bertx.baselines.catalog import get_baseline
from hf_bertx.baselines.conversion import convert_antiberty, convert_plus_tfm
from hf_bertx.baselines.networks import RECIPES, as_written
from hf_bertx.baselines.plus_tfm import (
    PlusTFMConfig,
    PlusTFMForSequenceClassification,
    plus_tokenizer,
    sinusoidal_positions,
)
from hf_bertx.baselines.runs import run_baseline
from hf_bertx.cli import main
from hf_bertx.data.task_data import user_task
from hf_bertx.runs.spec import RunSpec
from hf_bertx.tasks import get_task

SIZE, BLOCKS, INNER, LONGEST = 128, 2, 192, 40
SMALL: dict[str, Any] = {
    "hidden_size": SIZE,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": 2,
    "intermediate_size": INNER,
}


def published_names() -> dict[str, tuple[int, ...]]:
    """Names and shapes of `PLUS-TFM.pt`, in miniature."""
    shapes: dict[str, tuple[int, ...]] = {
        "transformer.embed.tok_embed.weight": (25, SIZE),
        "transformer.embed.seg_embed.weight": (2, SIZE),
        "transformer.embed.pos_embed.pe": (1, LONGEST, SIZE),
        "decoder.weight": (25, SIZE),
        "decoder_bias": (25,),
        "cls.weight": (2, SIZE),
        "cls.bias": (2,),
    }
    linear = {"fc_lm": (SIZE, SIZE)}
    norms = ["transformer.embed.norm", "norm_lm"]
    for n in range(BLOCKS):
        block = f"transformer.blocks.{n}"
        linear |= {f"{block}.{name}": (SIZE, SIZE) for name in ("attn.proj_q", "attn.proj_k", "attn.proj_v", "proj")}
        linear |= {f"{block}.pwff.fc1": (INNER, SIZE), f"{block}.pwff.fc2": (SIZE, INNER)}
        norms += [f"{block}.norm1", f"{block}.norm2"]
    for name, shape in linear.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for name in norms:
        shapes |= {f"{name}.gamma": (SIZE,), f"{name}.beta": (SIZE,)}
    return shapes


@pytest.fixture(scope="module")
def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    found = {name: torch.randn(shape, generator=generator) * 0.1 for name, shape in published_names().items()}
    found["decoder.weight"] = found["transformer.embed.tok_embed.weight"].clone()
    return found


@pytest.fixture(scope="module")
def converted(tensors: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plus")
    torch.save({f"module.{name}": value for name, value in tensors.items()}, folder / "PLUS-TFM.pt")
    assert main(["convert", "plus-tfm", str(folder / "PLUS-TFM.pt"), "--output", str(folder / "model")]) == 0
    return folder / "model"


def norm(states: torch.Tensor, t: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    centred = states - states.mean(-1, keepdim=True)
    deviation = (centred.pow(2).sum(-1, keepdim=True) / (states.shape[-1] - 1)).sqrt()
    return t[f"{name}.gamma"] * centred / (deviation + 1e-12).sqrt() + t[f"{name}.beta"]


def forward(t: dict[str, torch.Tensor], ids: torch.Tensor) -> torch.Tensor:
    """The architecture as it is described, on the published names, without a module of the package."""

    def linear(name: str, states: torch.Tensor) -> torch.Tensor:
        return states @ t[f"{name}.weight"].T + t[f"{name}.bias"]

    e = "transformer.embed"
    positions = t[f"{e}.pos_embed.pe"][0, : ids.shape[1]]
    states = norm(t[f"{e}.tok_embed.weight"][ids] + t[f"{e}.seg_embed.weight"][0] + positions, t, f"{e}.norm")
    bias = torch.where(ids == 0, -10_000.0, 0.0)[:, None, :]
    for n in range(BLOCKS):
        b = f"transformer.blocks.{n}"
        mixed = []
        for head in range(2):
            part = slice(64 * head, 64 * head + 64)
            q, k, v = (linear(f"{b}.attn.proj_{letter}", states)[..., part] for letter in "qkv")
            mixed.append(((q @ k.transpose(1, 2)) / 8 + bias).softmax(-1) @ v)
        states = norm(states + linear(f"{b}.proj", torch.cat(mixed, -1)), t, f"{b}.norm1")
        wide = linear(f"{b}.pwff.fc1", states)
        wide = wide * 0.5 * (1 + torch.erf(wide / math.sqrt(2)))
        states = norm(states + linear(f"{b}.pwff.fc2", wide), t, f"{b}.norm2")
    return states


def test_a_converted_checkpoint_computes_what_is_described(tensors: dict[str, torch.Tensor], converted: Path) -> None:
    assert {path.suffix for path in converted.iterdir()} == {".json", ".safetensors"}
    model = PlusTFMForSequenceClassification.from_pretrained(converted).eval()
    tokenizer = AutoTokenizer.from_pretrained(converted)
    batch = tokenizer(["MKTAYIAKQR", "GGX"], padding=True, return_tensors="pt")
    with torch.no_grad():
        states = model.transformer(batch.input_ids, batch.attention_mask, batch.token_type_ids)
        residues = model.residue_logits(states)
    expected = forward(tensors, batch.input_ids)
    kept = batch.attention_mask.bool()
    assert torch.allclose(states[kept], expected[kept], atol=1e-4)
    inner = expected @ tensors["fc_lm.weight"].T + tensors["fc_lm.bias"]
    lm = norm(functional.gelu(inner), tensors, "norm_lm") @ tensors["decoder.weight"].T + tensors["decoder_bias"]
    assert torch.allclose(residues[kept], lm[kept], atol=1e-3)
    assert model.config.started_from == "PLUS-TFM.pt"
    assert (model.config.num_attention_heads, model.config.max_position_embeddings) == (2, LONGEST)


def test_the_published_model_has_85_7_million_parameters() -> None:
    with torch.device("meta"):
        model = PlusTFMForSequenceClassification(PlusTFMConfig(num_labels=2))
    head = sum(p.numel() for p in model.classifier.parameters())
    assert sum(p.numel() for p in model.parameters()) - head == 85_668_889


def test_positions_are_sines_and_cosines() -> None:
    expected = [[math.sin(p), math.cos(p), math.sin(p / 100), math.cos(p / 100)] for p in range(3)]
    assert torch.allclose(sinusoidal_positions(3, 4), torch.tensor(expected))


def test_the_alphabet(tmp_path: Path) -> None:
    tokenizer = plus_tokenizer(512)
    ids = [23, 1, 2, 20, 12, 12, 5, 5, 21, 21, 21, 21, 24]
    assert tokenizer("ARVKOCUXBZJ").input_ids == ids
    assert tokenizer("arvkocuxbzj").input_ids == ids
    tokenizer.save_pretrained(tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path)("ARVKOCUXBZ*").input_ids == ids
    assert tokenizer("A", "R").input_ids == [23, 1, 24, 2, 24]
    assert tokenizer("A", "R").token_type_ids == [0, 0, 0, 1, 1]
    with pytest.raises(Exception, match=r"Missing .UNK. token"):
        tokenizer("A1")


def test_masking_leaves_x_and_special_tokens() -> None:
    torch.manual_seed(0)
    model = PlusTFMForSequenceClassification(PlusTFMConfig(**SMALL))
    ids = torch.randint(1, 21, (400, 30))
    ids[:, 0], ids[:, 1], ids[:, 28], ids[:, 29] = 23, 21, 24, 0
    masked, targets = model.mask_residues(ids)
    chosen = targets != -100
    assert not chosen[:, [0, 1, 28, 29]].any()
    assert (masked[~chosen] == ids[~chosen]).all()
    assert (targets[chosen] == ids[chosen]).all()
    assert chosen[:, 2:28].float().mean().item() == pytest.approx(0.15, abs=0.01)
    assert (masked[chosen] == 22).float().mean().item() == pytest.approx(0.8, abs=0.03)
    assert (masked[chosen] == ids[chosen]).float().mean().item() == pytest.approx(0.105, abs=0.02)


def test_the_loss_is_0_7_task_and_0_3_masked_lm() -> None:
    torch.manual_seed(0)
    model = PlusTFMForSequenceClassification(PlusTFMConfig(num_labels=3, dropout=0.0, **SMALL)).train()
    ids, labels = torch.randint(1, 21, (4, 30)), torch.tensor([0, 1, 2, 0])
    torch.manual_seed(1)
    loss = model(ids, labels=labels).loss
    torch.manual_seed(1)
    masked, targets = model.mask_residues(ids)
    states = model.transformer(masked, torch.ones_like(ids), torch.zeros_like(ids))
    task = functional.cross_entropy(model.classifier(states[:, 0]), labels)
    lm = functional.cross_entropy(model.residue_logits(states).transpose(1, 2), targets)
    assert loss.item() == pytest.approx(0.7 * task.item() + 0.3 * lm.item(), rel=1e-5)
    model.eval()
    plain = functional.cross_entropy(model(ids).logits, labels)
    assert model(ids, labels=labels).loss.item() == pytest.approx(plain.item())


class Touches:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.path,))


def test_a_checkpoint_with_code_in_it_is_refused(tmp_path: Path, refusal: Any) -> None:
    torch.save({"transformer.embed.tok_embed.weight": Touches(tmp_path / "ran")}, tmp_path / "evil.pt")
    error = refusal(main, "convert", "plus-tfm", tmp_path / "evil.pt", "--output", tmp_path / "out")
    assert "evil.pt: refused, since it is no file of tensors alone; nothing of it was run" in error
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "out").exists()


def test_files_that_are_no_model_are_kept(converted: Path, tmp_path: Path, refusal: Any) -> None:
    argv = ("convert", "plus-tfm", converted.parent / "PLUS-TFM.pt", "--output", tmp_path)
    assert [main(list(map(str, argv))) for _ in range(2)] == [0, 0]
    (tmp_path / "notes.txt").write_text("mine")
    assert "notes.txt: is no file of a converted model, and would be lost; name another" in refusal(main, *argv)
    assert (tmp_path / "notes.txt").is_file()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fc_lm.weight": None}, "other names than those of PLUS-TFM: it lacks 'fc_lm.weight' (1 in all)"),
        ({"pooler.weight": torch.zeros(2)}, "it has 'pooler.weight' (1 in all), which is not the model's"),
        ({"fc_lm.bias": torch.zeros(7)}, f"'fc_lm.bias' has the shape (7,); that of PLUS-TFM is ({SIZE},)"),
        ({"decoder.weight": torch.zeros(25, SIZE)}, "'decoder.weight' is not tied to"),
        ({"transformer.embed.tok_embed.weight": None}, "is missing; it is no checkpoint of PLUS-TFM"),
        ({"transformer.embed.tok_embed.weight": torch.zeros(25)}, "has the shape (25,); it is no checkpoint of"),
        ({"transformer.embed.tok_embed.weight": torch.zeros(30, SIZE)}, "has 30 entries; PLUS-TFM's alphabet has 25"),
        ({"transformer.embed.pos_embed.pe": torch.zeros(1, 20, SIZE - 1)}, f"its last number should be {SIZE}"),
        ({1: torch.zeros(2)}, "holds dict, not tensors by name"),
    ],
)
def test_another_checkpoint_is_named(
    change: dict[Any, torch.Tensor | None], message: str, tensors: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    state = {name: value for name, value in {**tensors, **change}.items() if value is not None}
    torch.save(state, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"other\.pt") as caught:
        convert_plus_tfm(tmp_path / "other.pt", tmp_path / "out")
    assert message in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["convert", "plus-tfm", "none.pt"], "none.pt: no such file"),
        (["convert", "plus-tfm"], "plus-tfm has no package: name the published file"),
    ],
)
def test_a_missing_file_is_one_line(argv: list[str], message: str, tmp_path: Path, refusal: Any) -> None:
    assert message in refusal(main, *argv, "--output", tmp_path / "out")


def test_a_wrong_shape_is_named() -> None:
    with pytest.raises(ValueError, match="hidden_size is 10; allowed: multiples of num_attention_heads, 12"):
        PlusTFMConfig(hidden_size=10)
    with pytest.raises(ValueError, match=r"mask_ratio is 1\.5; allowed: at least 0, less than 1"):
        PlusTFMConfig(mask_ratio=1.5)
    with pytest.raises(ValueError, match="sequences have 9 tokens; the model takes 8"):
        PlusTFMForSequenceClassification(PlusTFMConfig(max_position_embeddings=8, **SMALL))(
            torch.ones((1, 9), dtype=torch.long)
        )


@pytest.fixture(scope="module")
def proteins(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Proteins with many lysines or none."""
    generator = np.random.default_rng(0)
    sequences = ["".join(generator.choice(list(alphabet), 20)) for alphabet in ("ACDEF", "ACDEK") * 32]
    rows = write_rows(tmp_path_factory.mktemp("proteins") / "rows", sequence=sequences, label=[0, 1] * 32)
    recorded(rows, user_task("lysine", "protein", Counter("0011"), 20, False, False, "here"))
    return rows


def spec_of(name: str, proteins: str) -> RunSpec:
    return RunSpec.of_baseline(name, str(Path(proteins).parent))


def test_plus_tfm_is_fine_tuned_from_its_weights(converted: Path, proteins: str, tmp_path: Path) -> None:
    folder = run_baseline(spec_of(f"plus-tfm:{converted}", proteins), proteins, root=tmp_path, epochs=20)
    assert folder == tmp_path / "baseline" / "lysine" / "plus-tfm:model" / "baseline" / "seed-0"
    order = json.loads((folder / "run.json").read_text())
    assert order["specification"]["backbone"] == "plus-tfm:model"
    assert order["backbone_origin"] == "PLUS-TFM (Min et al. 2021), from its published weights."
    assert str(converted.parent) not in (folder / "run.json").read_text()
    results = json.loads((folder / "results.json").read_text())
    assert results["steps"] < results["max_steps"] == 40
    assert results["stopped"] == "no better validation score in 3 passes over the training items"
    assert len(pq.read_table(folder / "predictions_test.parquet")) == 64
    again = PlusTFMForSequenceClassification.from_pretrained(folder / "model")
    assert again.config.id2label == {0: "0", 1: "1"}


@pytest.fixture(scope="module")
def residue_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT of 16 positions whose tokenizer knows residues between blanks alone, as ProtBert's does."""
    folder = tmp_path_factory.mktemp("residue-bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"ACDEFGHIKLMNPQRSTVWY"]
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(words), max_position_embeddings=16, **sizes)).save_pretrained(folder)
    tokenizer = BertTokenizer(vocab={word: i for i, word in enumerate(words)}, do_lower_case=False)
    tokenizer.save_pretrained(folder)
    return folder


def test_an_encoder_reads_letters_by_its_own_tokenizer(residue_bert: Path, proteins: str, tmp_path: Path) -> None:
    from datasets import Dataset

    tokenizer = AutoTokenizer.from_pretrained(residue_bert)
    rows = Dataset.from_dict({"sequence": ["ACDK"], "second_sequence": ["KD"]})
    spaced = as_written(rows, tokenizer)
    assert [spaced[name][:] for name in ("sequence", "second_sequence")] == [["A C D K"], ["K D"]]
    assert as_written(rows, plus_tokenizer(20))["sequence"][:] == ["ACDK"]
    folder = run_baseline(spec_of(f"encoder:{residue_bert}", proteins), proteins, root=tmp_path, epochs=1)
    results = json.loads((folder / "results.json").read_text())
    assert (results["steps"], results["cut"]["test"]) == (2, 64), "of 22 tokens the encoder has positions for 16"
    card = (folder / "model" / "README.md").read_text()
    assert f"It started from `{residue_bert.name}`" in card
    assert "from scratch" not in card
    assert "import hf_bertx" not in card


def test_the_output_layer_of_an_encoder_is_random(residue_bert: Path, proteins: str, tmp_path: Path) -> None:
    task = get_task(str(Path(proteins).parent))
    trained = BertForSequenceClassification.from_pretrained(residue_bert)
    torch.nn.init.constant_(trained.classifier.weight, 3.0)
    torch.nn.init.ones_(trained.classifier.bias)
    trained.save_pretrained(tmp_path)
    made = RECIPES["encoder"].build(task, str(tmp_path))
    assert made.classifier.weight.abs().max() < 1
    assert not made.classifier.bias.any()
    assert torch.equal(made.bert.pooler.dense.weight, trained.bert.pooler.dense.weight)


@pytest.mark.parametrize("how", ["other names", "other shapes"])
def test_an_encoder_that_fits_in_part_is_not_filled_up_at_random(
    how: str, tiny_backbone: Path, proteins: str, tmp_path: Path
) -> None:
    broken = broken_backbone(tiny_backbone, tmp_path / "broken", how)
    with pytest.raises(OSError, match=r"could not be loaded by stock transformers: .*encoder\.layer\.1\."):
        run_baseline(spec_of(f"encoder:{broken}", proteins), proteins, root=tmp_path / "runs", epochs=1)
    with pytest.raises(ValueError, match="not a checkpoint of plus_tfm: it lacks "):
        run_baseline(spec_of(f"plus-tfm:{tiny_backbone}", proteins), proteins, root=tmp_path / "runs", epochs=1)


def test_encoders_of_one_name_are_told_apart_by_their_weights(
    residue_bert: Path, proteins: str, tmp_path: Path
) -> None:
    first, second = tmp_path / "a" / "model", tmp_path / "b" / "model"
    shutil.copytree(residue_bert, first)
    shutil.copytree(residue_bert, second)
    torch.manual_seed(1)
    BertModel(BertConfig.from_pretrained(second)).save_pretrained(second)
    settings: dict[str, Any] = {"root": tmp_path / "runs", "epochs": 1}
    folder = run_baseline(spec_of(f"encoder:{first}", proteins), proteins, **settings)
    assert run_baseline(spec_of(f"encoder:{first}", proteins), proteins, **settings) == folder
    with pytest.raises(ValueError, match=r"backbone_revision is 'sha256:\w+' there.* Choose another folder of runs"):
        run_baseline(spec_of(f"encoder:{second}", proteins), proteins, **settings)
    planned = spec_of(f"encoder:{first}", proteins)
    assert tmp_path / "runs" / planned.folder() == folder, "a study looks where the run lies"


def test_a_baseline_is_named_by_what_it_starts_from(residue_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert get_baseline("plus-tfm").name == "plus-tfm:scratch"
    assert get_baseline("plus-tfm:scratch").source is None
    monkeypatch.setenv("HOME", str(residue_bert.parent))
    found = get_baseline(f"encoder:~/{residue_bert.name}")
    assert (found.name, found.source) == (f"encoder:{residue_bert.name}", str(residue_bert))


def test_an_encoder_out_of_reach_is_one_line(tmp_path: Path, refusal: Any) -> None:
    error = refusal(main, "baseline", "encoder:nobody/nothing", "--runs", tmp_path)
    assert error.startswith("bertx: error: encoder 'nobody/nothing' could not be loaded by stock transformers: ")


@pytest.mark.skipif(find_spec("antiberty") is not None, reason="antiberty is installed")
def test_without_antiberty_one_line_says_what_to_install(tmp_path: Path, refusal: Any) -> None:
    assert "pip install '.[antiberty]'" in refusal(main, "convert", "antiberty", "--output", tmp_path / "out")


def test_a_file_is_no_part_of_antiberty(tmp_path: Path, refusal: Any) -> None:
    assert "leave mine.pt out" in refusal(main, "convert", "antiberty", "mine.pt", "--output", tmp_path / "out")


@pytest.mark.skipif(find_spec("antiberty") is None, reason="needs pip install '.[antiberty]' (95 MB)")
def test_antiberty_is_read_without_its_code(tmp_path: Path) -> None:
    folder = convert_antiberty(tmp_path / "antiberty")
    model = BertModel.from_pretrained(folder).eval()
    assert (model.config.hidden_size, model.config.num_hidden_layers) == (512, 8)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer("E V Q").input_ids == [2, 8, 22, 18, 3]
    assert {path.suffix for path in folder.iterdir()} == {".json", ".safetensors"}
