"""Speeding up changes nothing that is learned or predicted; it is compared with the stock model."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import small_config
from peft import LoraConfig, get_peft_model
from python_processes import run_python
from transformers import BertForMaskedLM, BertForSequenceClassification, BertModel, pipeline

from hf_bertx.families import FAMILIES
from hf_bertx.modeling_discipline import DISCIPLINE_MODELS
from hf_bertx.performance.dropout import FastDropout
from hf_bertx.performance.last_layer import compute_first_position_only
from hf_bertx.performance.speed_up import restore, speed_up_prediction, speed_up_training
from hf_bertx.performance.used_rows import UsedRowsEmbedding, restore_all_embeddings, train_used_embeddings_only
from hf_bertx.pipeline_discipline import TASK
from hf_bertx.prediction.inference import SequenceClassifier
from hf_bertx.tokenization_discipline import DisciplineTokenizer

IDS = torch.tensor([[101, 7, 8, 9, 102, 0], [101, 5, 102, 0, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1, 1, 0], [1, 1, 1, 0, 0, 0]])
INPUTS = {"input_ids": IDS % 120, "attention_mask": MASK}
LABELS = torch.tensor([0, 2])
USED = [0, 5, 7, 8, 9, 101, 102]


def model_of(model_type: str = "bert", cls: Any = None, **fields: Any) -> Any:
    """A small model without dropout, in training."""
    torch.manual_seed(2)
    config = small_config(model_type)
    for name in vars(config):
        if "dropout" in name:
            setattr(config, name, 0.0)
    config.initializer_range = 0.5
    for name, value in fields.items():
        setattr(config, name, value)
    return (cls or DISCIPLINE_MODELS[model_type])(config).train()


def learned(model: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model.zero_grad()
    out = model(**INPUTS, labels=LABELS)
    out.loss.backward()
    return out.logits.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("model_type", sorted(DISCIPLINE_MODELS))
def test_the_last_layer_gives_the_same_logits_and_gradients(model_type: str) -> None:
    model = model_of(model_type)
    logits, gradients = learned(model)
    assert compute_first_position_only(model) == bool(FAMILIES[model_type].reads_first_position)
    faster_logits, faster_gradients = learned(model)
    torch.testing.assert_close(faster_logits, logits, rtol=1e-5, atol=1e-5)
    assert gradients.keys() == faster_gradients.keys()
    for name in gradients:
        torch.testing.assert_close(faster_gradients[name], gradients[name], rtol=1e-4, atol=1e-5)
    unmasked = model(input_ids=INPUTS["input_ids"]).logits
    assert not torch.allclose(unmasked, logits, rtol=1e-5, atol=1e-5), "the comparison can fail"


class ReadsMean(BertForSequenceClassification):
    def forward(self, input_ids: Any = None, attention_mask: Any = None, **kwargs: Any) -> Any:
        states = self.bert(input_ids, attention_mask=attention_mask).last_hidden_state
        return self.classifier(states.mean(1))


class KeepsTheHead(BertForSequenceClassification):
    """Adds something that is no part of the forward pass."""

    def summary(self) -> str:
        return "summary"


class PoolsAll(torch.nn.Module):
    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return states.amax(1)


def with_another_pooler(model: Any) -> None:
    model.bert.pooler = PoolsAll()


def with_a_base_model_of_its_own(model: Any) -> None:
    model.bert.__class__ = type("OwnBert", (BertModel,), {})


def with_another_forward(model: Any) -> None:
    model.forward = lambda *args, **kwargs: model.bert(*args, **kwargs)


def with_a_hook(model: Any) -> None:
    model.bert.encoder.layer[-1].attention.self.register_forward_hook(lambda module, given, out: None)


def with_a_layer_of_its_own(model: Any) -> None:
    layer = model.bert.encoder.layer[0]
    layer.__class__ = type("OwnLayer", (type(layer),), {})


@pytest.mark.parametrize(
    ("cls", "change", "fields", "allowed"),
    [
        (ReadsMean, None, {}, False),
        (KeepsTheHead, None, {}, True),
        (BertForSequenceClassification, None, {}, True),
        (BertForSequenceClassification, with_another_pooler, {}, False),
        (BertForSequenceClassification, with_a_base_model_of_its_own, {}, False),
        (BertForSequenceClassification, with_another_forward, {}, False),
        (BertForSequenceClassification, with_a_hook, {}, False),
        (BertForSequenceClassification, with_a_layer_of_its_own, {}, False),
        (BertForSequenceClassification, None, {"is_decoder": True}, False),
        (BertForSequenceClassification, None, {"_attn_implementation": "eager"}, True),
    ],
)
def test_classes_decide_whether_position_0_is_enough(
    cls: type, change: Callable[[Any], None] | None, fields: dict[str, Any], allowed: bool
) -> None:
    model = model_of("bert", cls, **fields).eval()
    if change is not None:
        change(model)
    output = lambda: getattr(out := model(**INPUTS), "logits", getattr(out, "last_hidden_state", out))  # noqa: E731
    with torch.no_grad():
        before = output()
        assert compute_first_position_only(model) == allowed
        assert compute_first_position_only(model) == allowed, "a second call changes nothing"
        torch.testing.assert_close(output(), before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("attention", ["flash_attention_2", "flex_attention"])
def test_masks_of_another_form_keep_all_positions(attention: str) -> None:
    model = model_of()
    model.config._attn_implementation = attention
    assert not compute_first_position_only(model)


def test_a_copy_computes_with_its_own_weights() -> None:
    model = model_of().eval()
    assert compute_first_position_only(model)
    twin = copy.deepcopy(model)
    for one, other in zip(learned(model)[1].values(), learned(twin)[1].values(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", ["key", "value"])
def test_the_last_layer_uses_a_replaced_linear_map(name: str) -> None:
    model = model_of().eval()
    attention = model.bert.encoder.layer[-1].attention.self
    setattr(attention, name, torch.nn.Sequential(getattr(attention, name), torch.nn.Tanh()))
    with torch.no_grad():
        before = model(**INPUTS).logits
        assert compute_first_position_only(model)
        torch.testing.assert_close(model(**INPUTS).logits, before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("masked", [True, False])
def test_the_last_layer_drops_attention_as_before(masked: bool) -> None:
    model = model_of(attention_probs_dropout_prob=0.3)
    inputs = {"input_ids": IDS[:1].expand(20000, -1) % 120}
    inputs |= {"attention_mask": MASK[:1].expand(20000, -1)} if masked else {}
    with torch.no_grad():
        whole = model(**inputs).logits
        assert compute_first_position_only(model)
        faster = model(**inputs).logits
        evaluated = model.eval()(**inputs).logits
    spread = whole.std(dim=0)
    assert spread.min() > 0.1
    assert evaluated.std(dim=0).max() < 1e-5
    torch.testing.assert_close(faster.std(dim=0), spread, rtol=0.05, atol=0)
    assert ((faster.mean(dim=0) - whole.mean(dim=0)).abs() < 0.05 * spread).all()


@pytest.mark.parametrize("model_type", sorted(DISCIPLINE_MODELS))
def test_restore_makes_a_plain_model_with_the_learned_weights(model_type: str) -> None:
    torch.manual_seed(3)
    stock = DISCIPLINE_MODELS[model_type](small_config(model_type)).train()
    faster = copy.deepcopy(stock)
    classes = [type(module) for module in stock.modules()]
    speed_up_training(faster, USED)
    assert any(type(module) is FastDropout for module in faster.modules())
    assert isinstance(faster.get_input_embeddings(), UsedRowsEmbedding)
    optimizer = torch.optim.AdamW(faster.parameters(), lr=1e-2, weight_decay=0.0)
    learned(faster)
    optimizer.step()
    logits = faster.eval()(**INPUTS).logits
    restore(faster)
    assert [type(module) for module in faster.modules()] == classes
    assert faster.config._attn_implementation == stock.config._attn_implementation
    torch.testing.assert_close(faster(**INPUTS).logits, logits, rtol=1e-5, atol=1e-5)
    restored = stock.eval()
    restored.load_state_dict(faster.state_dict())
    torch.testing.assert_close(restored(**INPUTS).logits, logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("model_type", sorted(DISCIPLINE_MODELS))
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_prediction_leaves_the_model_of_its_caller_alone(model_type: str, dtype: torch.dtype | None) -> None:
    model = model_of(model_type)
    before = {name: (tensor, tensor.clone()) for name, tensor in model.state_dict(keep_vars=True).items()}
    classes, attention = [type(module) for module in model.modules()], model.config._attn_implementation
    faster = speed_up_prediction(model, dtype)
    with torch.inference_mode():
        found = faster(**INPUTS).logits.float()
        exact = copy.deepcopy(model).eval()(**INPUTS).logits
    close = {"rtol": 0.2, "atol": 0.2} if dtype else {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(found, exact, **close)
    assert (model.training, faster.training) == (True, False)
    assert [type(module) for module in model.modules()] == classes
    assert model.config._attn_implementation == attention
    for name, tensor in model.state_dict(keep_vars=True).items():
        assert tensor is before[name][0]
        assert torch.equal(tensor, before[name][1])
    pairs = list(zip(model.parameters(), faster.parameters(), strict=True))
    assert all((a.data_ptr() == b.data_ptr()) == (a.dtype == b.dtype) and a is not b for a, b in pairs)
    assert learned(model)[1], "the model of the caller can still be trained"


def test_a_model_with_adapters_predicts_as_it_is() -> None:
    adapted = get_peft_model(model_of(), LoraConfig(task_type="SEQ_CLS", init_lora_weights=False)).eval()
    for dtype in (None, torch.float32):
        torch.testing.assert_close(speed_up_prediction(adapted, dtype)(**INPUTS).logits, adapted(**INPUTS).logits)


def test_values_far_from_zero_stay_apart_in_bfloat16() -> None:
    model = model_of(num_labels=1).eval()
    ids = torch.randint(5, 120, (64, 20))
    with torch.inference_mode():
        model.classifier.bias.fill_(57.0)
        exact, found = (m(input_ids=ids).logits for m in (model, speed_up_prediction(model, torch.bfloat16)))
    assert (found.dtype, len(found.unique())) == (torch.float32, len(exact.unique()))
    torch.testing.assert_close(found, exact, rtol=0, atol=0.3)


def test_a_copy_for_prediction_follows_later_training() -> None:
    model = model_of()
    faster = speed_up_prediction(model)
    with torch.inference_mode():
        before = faster(**INPUTS).logits
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05)
    with torch.inference_mode():
        after = faster(**INPUTS).logits
        torch.testing.assert_close(after, model.eval()(**INPUTS).logits, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(before, after, atol=1e-3)


def test_a_pipeline_leaves_the_model_of_its_caller_alone(tiny_backbone: Path) -> None:
    model = model_of(vocab_size=1600)
    tokenizer = DisciplineTokenizer.from_backbone(tiny_backbone, "dna")
    classes, config = [type(module) for module in model.modules()], model.config.to_dict()
    SequenceClassifier(model, tokenizer, precision="bfloat16", threads=1)
    assert model.training
    pipeline(TASK, model=model.eval(), tokenizer=tokenizer, precision="bfloat16", device="cpu")("ACGT")
    assert [type(module) for module in model.modules()] == classes
    assert {tensor.dtype for tensor in model.parameters()} == {torch.float32}
    assert model.config._attn_implementation == "sdpa"
    assert {**model.config.to_dict(), "dtype": None} == {**config, "dtype": None}


def learn(model: Any) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    for step in range(5):
        torch.manual_seed(step)  # the same draws of dropout
        model(**INPUTS, labels=LABELS).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("model_type", sorted(DISCIPLINE_MODELS))
def test_used_embeddings_learn_the_same_bit_for_bit(model_type: str) -> None:
    torch.manual_seed(3)
    stock = DISCIPLINE_MODELS[model_type](small_config(model_type)).train()
    short = copy.deepcopy(stock)
    untouched = stock.get_input_embeddings().weight.detach().clone()
    learn(stock)
    train_used_embeddings_only(short, [9])
    train_used_embeddings_only(short, USED)  # a cell that is run again
    assert sum(p.numel() for p in short.parameters()) < sum(p.numel() for p in stock.parameters())
    learn(short)
    restore_all_embeddings(short)
    assert short.state_dict().keys() == stock.state_dict().keys()
    for name, tensor in stock.state_dict().items():
        assert torch.equal(short.state_dict()[name], tensor), name
    changed = (untouched != stock.get_input_embeddings().weight).any(dim=1)
    assert set(torch.flatten(changed.nonzero()).tolist()) <= set(USED)
    assert changed[7]


def test_a_table_that_is_the_output_too_is_trained_as_a_whole() -> None:
    stock = BertForMaskedLM(small_config("bert")).eval()
    faster = copy.deepcopy(stock)
    speed_up_training(faster, USED)
    for model in (stock, faster):
        model(**INPUTS, labels=INPUTS["input_ids"]).loss.backward()
    torch.testing.assert_close(*(model.get_input_embeddings().weight.grad for model in (stock, faster)))


def test_an_id_outside_the_used_rows_is_read_but_never_trained() -> None:
    full = torch.nn.Embedding(10, 4)
    embedding = UsedRowsEmbedding(full, [1, 2])
    assert embedding(torch.tensor([2, 1])).shape == (2, 4)
    with pytest.raises(IndexError):
        embedding(torch.tensor([3]))
    with torch.no_grad():
        embedding.weight.add_(1)
    ids = torch.tensor([[1, 3], [9, 2]])
    moved = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).unsqueeze(-1)
    torch.testing.assert_close(embedding.eval()(ids), full(ids) + moved)


def test_fast_dropout_in_a_compiled_model_is_the_stock_one() -> None:
    compiled = torch.compile(FastDropout(0.3), backend="aot_eager", fullgraph=True)
    states = torch.ones(200, 200, requires_grad=True)
    out = compiled(states)
    out.sum().backward()
    torch._dynamo.reset()
    assert abs((out == 0).float().mean().item() - 0.3) < 0.01
    assert states.grad is not None
    assert torch.equal(states.grad, out.detach())


def test_fast_dropout_keeps_rate_and_mean_and_its_mask() -> None:
    states = torch.ones(101, 1001, requires_grad=True)
    torch.manual_seed(4)
    out = FastDropout(0.1)(states)
    out.sum().backward()
    dropped = out == 0
    assert abs(dropped.float().mean().item() - 0.1) < 0.003
    assert torch.equal(out[~dropped], torch.full_like(out[~dropped], 1 / 0.9))
    assert states.grad is not None
    assert torch.equal(states.grad, out.detach())
    by_column = dropped.float().mean(dim=0)
    assert by_column.max() < 0.25  # no column is favoured
    assert by_column.min() > 0.0
    torch.manual_seed(4)
    assert torch.equal(FastDropout(0.1)(torch.ones(101, 1001)), out)


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_fast_dropout_at_its_ends_and_in_evaluation(p: float) -> None:
    states = torch.ones(3, 5)
    assert torch.equal(FastDropout(p)(states), states * (1 - p))
    assert torch.equal(FastDropout(0.5).eval()(states), states)


def test_nothing_is_imported_unless_it_is_called() -> None:
    code = (
        "import sys, hf_bertx.runs.training, hf_bertx.pipeline_discipline, hf_bertx.cli, hf_bertx.runs.arguments\n"
        "print([name for name in sys.modules if name.startswith('hf_bertx.performance')])"
    )
    assert run_python("-c", code).stdout.strip() == "[]"
