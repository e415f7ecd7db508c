"""What each start keeps of a backbone, and saved models in plain transformers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import broken_backbone, small_config
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, BertConfig, pipeline
from transformers.utils import logging

from hf_bertx.arms import STARTS
from hf_bertx.backbones import resolve_backbone
from hf_bertx.configuration_discipline import RECORDS, BertDisciplineConfig
from hf_bertx.modeling_discipline import (
    DISCIPLINE_MODELS,
    AutoModelForDisciplineClassification,
    BertForDisciplineClassification,
    last_linear,
)
from hf_bertx.token_map import permutation_table, shift_table

IDS = torch.tensor([[101, 7, 8, 9, 102, 0], [101, 5, 102, 0, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1, 1, 0], [1, 1, 1, 0, 0, 0]])


def words(model: Any) -> torch.Tensor:
    return model.get_input_embeddings().weight.detach()


def test_reinit_embeddings_really_draws_them_anew(tiny_backbone: Path) -> None:
    kept = BertForDisciplineClassification.from_pretrained(tiny_backbone)
    before = words(kept).clone()
    kept._init_weights(kept.get_input_embeddings())  # what one would reach for; it does nothing to loaded tensors
    assert torch.equal(words(kept), before), "transformers changed: `_init_weights` now touches loaded tensors"
    model = BertForDisciplineClassification.from_pretrained(tiny_backbone, reinit_embeddings=True)
    assert abs(words(model).std().item() - model.config.initializer_range) < 0.005
    assert not torch.isclose(words(model), before).all(dim=1)[1:].any()
    assert words(model)[0].abs().sum() == 0  # the padding row
    for name, tensor in kept.base_model.state_dict().items():
        if "word_embeddings" not in name and "pooler" not in name:
            assert torch.equal(tensor, model.base_model.state_dict()[name]), name


def test_the_flag_is_obeyed_once_and_recorded(tiny_backbone: Path, tmp_path: Path) -> None:
    model = BertForDisciplineClassification.from_pretrained(tiny_backbone, reinit_embeddings=True)
    assert (model.config.reinit_embeddings, model.config.started_as) == (False, "re_emb")
    with torch.no_grad():
        model.get_input_embeddings().weight.add_(1.0)  # as training would
    model.save_pretrained(tmp_path)
    again = BertForDisciplineClassification.from_pretrained(tmp_path)
    assert torch.equal(words(again), words(model))
    assert (again.config.reinit_embeddings, again.config.started_as) == (False, "re_emb")


def head(model: Any) -> torch.Tensor:
    return torch.cat([model.bert.pooler.dense.weight.flatten(), model.classifier.weight.flatten()]).detach()


def test_a_table_that_is_not_in_memory_is_not_drawn() -> None:
    with torch.device("meta"):
        model = BertForDisciplineClassification(small_config("bert"))
    with pytest.raises(ValueError, match="the word embeddings are offloaded"):
        model.reinit_word_embeddings()


def test_every_start_gets_the_same_head(tiny_backbone: Path) -> None:
    models = [BertForDisciplineClassification.from_backbone(str(tiny_backbone), s) for s in ("pretrained", "random")]
    models[0].bert.pooler.dense.weight.data *= 0.1  # shrunk by weight decay, as minilm-l6's
    for model in models:
        model.draw_head(seed=5)
    assert torch.equal(head(models[0]), head(models[1]))
    assert abs(models[0].bert.pooler.dense.weight.std().item() / models[0].config.initializer_range - 1) < 0.1
    models[1].draw_head(seed=6)
    assert not torch.equal(head(models[0]), head(models[1]))


def test_a_trained_pooler_is_kept(tiny_backbone: Path) -> None:
    model = BertForDisciplineClassification.from_backbone(str(tiny_backbone))
    before = head(model)
    model.bert.pooler.dense.bias.data[0] = 0.01
    model.draw_head(seed=5)
    size = model.bert.pooler.dense.weight.numel()
    assert torch.equal(head(model)[:size], before[:size])
    assert not torch.equal(head(model)[size:], before[size:])


def test_a_checkpoint_is_looked_for_where_its_weights_are(tiny_backbone: Path, tmp_path: Path) -> None:
    (tmp_path / "inside").symlink_to(tiny_backbone)
    there = {"subfolder": "inside", "local_files_only": True}
    for start in STARTS:
        model = AutoModelForDisciplineClassification.from_backbone(str(tmp_path), start, **there)
        assert model.config.started_as == start
    assert AutoModelForDisciplineClassification.from_pretrained(str(tmp_path), **there).config.hidden_size == 32


def trained_backbone(model_type: str, folder: Path) -> Any:
    """A model whose answers and records show an earlier training, saved in the folder."""
    torch.manual_seed(1)
    model = DISCIPLINE_MODELS[model_type](small_config(model_type))
    model.config.update({"window_symbols": 50, "window_overlap": 5, "calibration_temperature": 2.0})
    model.config.update({"started_as": "re_emb", "shifted_by": "constant 1000"})
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.add_(1.0)
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("model_type", sorted(DISCIPLINE_MODELS))
def test_every_start_keeps_of_a_backbone_what_it_says(tmp_path: Path, model_type: str, start: str) -> None:
    backbone = trained_backbone(model_type, tmp_path / "backbone")
    model = AutoModelForDisciplineClassification.from_backbone(str(tmp_path / "backbone"), start, num_labels=3)
    assert type(model) is DISCIPLINE_MODELS[model_type]
    records = {**RECORDS, "started_as": start, "started_from": str(tmp_path / "backbone")}
    assert {name: getattr(model.config, name) for name in RECORDS} == records
    assert not last_linear(model).bias.any()
    assert not torch.isclose(last_linear(model).weight, last_linear(backbone).weight).all(dim=1).any()
    assert torch.equal(words(model), words(backbone)) == (start in ("pretrained", "random_body"))
    body = {n for n, t in backbone.base_model.state_dict().items() if "embeddings" not in n and t.ndim == 2}
    kept = {n for n in body if torch.equal(backbone.base_model.state_dict()[n], model.base_model.state_dict()[n])}
    assert kept == (body if start in ("pretrained", "re_emb") else set())
    assert body


@pytest.mark.parametrize("model_type", sorted(DISCIPLINE_MODELS))
def test_a_saved_model_of_every_family_loads_in_transformers(tmp_path: Path, model_type: str) -> None:
    trained_backbone(model_type, tmp_path / "backbone")
    model = AutoModelForDisciplineClassification.from_backbone(str(tmp_path / "backbone"), "re_emb", num_labels=3)
    model.eval().save_pretrained(tmp_path / "saved")
    plain, info = AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved", output_loading_info=True)
    assert not any(info.values()), info
    assert plain.config.architectures == [type(plain).__name__]
    ids = torch.tensor([[1, 5, 6, 2]])
    assert plain.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in plain.state_dict().items())
    # the weights bit for bit, what is computed from them to the last digits, which differ on some processors
    torch.testing.assert_close(plain.eval()(input_ids=ids).logits, model(input_ids=ids).logits, rtol=0, atol=1e-6)
    model.train()(input_ids=ids, labels=torch.tensor([1])).loss.backward()


def test_regression_has_one_output_and_a_squared_loss(tiny_backbone: Path) -> None:
    model = AutoModelForDisciplineClassification.from_backbone(
        str(tiny_backbone), "random", num_labels=1, problem_type="regression"
    )
    out = model.eval()(input_ids=IDS, attention_mask=MASK, labels=torch.tensor([0.5, -1.0]))
    assert out.logits.shape == (2, 1)
    expected = ((out.logits[:, 0] - torch.tensor([0.5, -1.0])) ** 2).mean()
    assert torch.isclose(out.loss, expected)


@pytest.mark.parametrize("fixed", [(), (0, 100, 101, 102, 103)], ids=["specials shifted", "specials fixed"])
@pytest.mark.parametrize("kind", ["constant", "random"])
def test_mapping_ids_and_permuting_rows_give_the_same_logits(tiny_backbone: Path, kind: str, fixed: tuple) -> None:
    torch.manual_seed(0)
    model = BertForDisciplineClassification.from_pretrained(tiny_backbone).eval()
    size = model.config.vocab_size
    table = shift_table(1000, size, fixed) if kind == "constant" else permutation_table(5, size, fixed)
    mapped = model(input_ids=torch.as_tensor(table)[IDS], attention_mask=MASK).logits
    unshifted = model(input_ids=IDS, attention_mask=MASK).logits
    model.shift_tokens(table, "test")
    assert torch.equal(model(input_ids=IDS, attention_mask=MASK).logits, mapped)
    assert not torch.allclose(mapped, unshifted)
    assert model.config.shifted_by == "test"


def test_permuted_rows_all_learn_where_mapped_ids_would_not(tiny_backbone: Path) -> None:
    model = BertForDisciplineClassification.from_pretrained(tiny_backbone).eval()
    size = model.config.vocab_size
    table = shift_table(1000, size)
    word = size - 1000  # the word whose id the shift maps to 0, the padding row
    ids = torch.tensor([[101, word, 102]])
    model(input_ids=torch.as_tensor(table)[ids], labels=torch.tensor([1])).loss.backward()
    assert model.get_input_embeddings().weight.grad[0].abs().sum() == 0  # frozen, without a word
    model.zero_grad()
    model.shift_tokens(table, "test")
    model(input_ids=ids, labels=torch.tensor([1])).loss.backward()
    assert model.get_input_embeddings().weight.grad[word].abs().sum() > 0


def test_the_papers_example_of_shift_1000() -> None:
    """ "his healthy sense of satire is light and fun..." becomes, word for word, what section 2.1 prints."""
    tokenizer = AutoTokenizer.from_pretrained(resolve_backbone("minilm-l6").source)
    ids = tokenizer("his healthy sense of satire is light and fun...", add_special_tokens=False).input_ids
    shifted = shift_table(1000, 30522)[ids]
    assert tokenizer.decode(shifted).split() == "canadian franzme 1988pia leader watch sports czech at at at".split()


@pytest.mark.parametrize("keyword", ["startd_as", "reinit_embedding", "started_form"])
def test_a_misspelt_field_is_an_error(tiny_backbone: Path, keyword: str) -> None:
    with pytest.raises(ValueError, match=f"unknown config field '{keyword}'; did you mean"):
        BertDisciplineConfig(**{keyword: "random"})
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{keyword}'"):
        BertForDisciplineClassification.from_pretrained(tiny_backbone, **{keyword: True})


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [("started_as", "scratch", "allowed: pretrained, re_emb"), ("reinit_embeddings", "yes", "allowed: True, False")],
)
def test_a_wrong_value_is_an_error(field: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BertDisciplineConfig(**{field: value})


def test_unknown_start_and_unsupported_architecture(tiny_backbone: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown start 'scratch'; allowed"):
        AutoModelForDisciplineClassification.from_backbone(str(tiny_backbone), "scratch")
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(ValueError, match="'gpt2'; supported: albert, bert"):
        AutoModelForDisciplineClassification.from_pretrained(str(tmp_path))
    with pytest.raises(OSError, match="from_backbone"):
        AutoModelForDisciplineClassification()


@pytest.mark.parametrize("start", ["pretrained", "re_emb", "random_body"])
@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("other names", r"not a checkpoint of bert: it lacks bert.encoder.layer.1.\S+ and \d+ weights more"),
        ("other shapes", r"bert.encoder.layer.1.output.dense.weight has the shape \(32, 63\); its config asks for"),
    ],
)
def test_a_backbone_that_is_not_whole_is_no_pretrained_start(
    tiny_backbone: Path, tmp_path: Path, start: str, how: str, message: str
) -> None:
    broken = broken_backbone(tiny_backbone, tmp_path / "broken", how)
    with pytest.raises(ValueError, match=message):
        AutoModelForDisciplineClassification.from_backbone(str(broken), start)
    AutoModelForDisciplineClassification.from_backbone(str(broken), "random")  # takes none of its weights


def test_from_config_takes_a_stock_config() -> None:
    config = BertConfig(vocab_size=50, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    model = AutoModelForDisciplineClassification.from_config(config)
    assert isinstance(model, BertForDisciplineClassification)
    assert model.config.started_as == "random"
    for auto in (AutoModelForDisciplineClassification, AutoModelForSequenceClassification):
        again = auto.from_config(model.config, dtype=torch.bfloat16, attn_implementation="eager")
        assert isinstance(again, BertForDisciplineClassification)
        assert (again.dtype, again.config._attn_implementation) == (torch.bfloat16, "eager")


def test_a_stock_pipeline_takes_a_discipline_model(tiny_backbone: Path, caplog: pytest.LogCaptureFixture) -> None:
    logging.enable_propagation()
    model = BertForDisciplineClassification.from_backbone(tiny_backbone, num_labels=3)  # a Path, as stock models take
    pipeline("text-classification", model=model, tokenizer=AutoTokenizer.from_pretrained(tiny_backbone))
    assert "not supported" not in caplog.text


def test_an_adapter_loads_on_its_base(tiny_backbone: Path, tmp_path: Path) -> None:
    BertForDisciplineClassification.from_backbone(tiny_backbone, num_labels=3).save_pretrained(tmp_path / "base")
    model = BertForDisciplineClassification.from_pretrained(tmp_path / "base")
    adapted = get_peft_model(model, LoraConfig(task_type="SEQ_CLS", init_lora_weights=False)).eval()
    adapted.save_pretrained(tmp_path / "adapter")
    again = AutoModelForDisciplineClassification.from_pretrained(tmp_path / "adapter")
    assert isinstance(again, BertForDisciplineClassification)
    torch.testing.assert_close(again(IDS, MASK).logits, adapted(IDS, MASK).logits)


@pytest.mark.parametrize("change", ["re_emb", "shuffled", "shifted"])
def test_an_adapter_never_names_weights_that_were_replaced(tiny_backbone: Path, change: str) -> None:
    start = "pretrained" if change == "shifted" else change
    model = BertForDisciplineClassification.from_backbone(tiny_backbone, start)
    if change == "shifted":
        assert model.name_or_path == str(tiny_backbone)
        model.shift_tokens(shift_table(5, 1600), "constant 5")
    adapted = get_peft_model(model, LoraConfig(task_type="SEQ_CLS"))
    assert not adapted.peft_config["default"].base_model_name_or_path


def test_a_stock_config_may_be_given_as_in_stock_scripts(tiny_backbone: Path, tmp_path: Path) -> None:
    config = AutoConfig.from_pretrained(tiny_backbone, num_labels=3, attn_implementation="eager")
    for cls in (BertForDisciplineClassification, AutoModelForDisciplineClassification):
        model = cls.from_pretrained(tiny_backbone, config=config)
        assert (model.config.started_as, model.config.num_labels) == ("pretrained", 3)
        assert model.get_submodule("bert.encoder").config is model.config
        assert model.bert.config._attn_implementation == "eager"
    assert type(config) is BertConfig
    BertForDisciplineClassification(config).save_pretrained(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path).architectures == ["BertForSequenceClassification"]


@pytest.mark.parametrize("start", STARTS)
def test_every_start_refuses_what_it_does_not_take(tiny_backbone: Path, start: str) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'num_label'"):
        BertForDisciplineClassification.from_backbone(str(tiny_backbone), start, num_label=3)
    for name in ("dtype", "torch_dtype"):
        with pytest.raises(ValueError, match=f"{name} is bfloat16; a start is float32"):
            BertForDisciplineClassification.from_backbone(str(tiny_backbone), start, **{name: "bfloat16"})
