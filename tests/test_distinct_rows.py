"""What the first layer makes of a symbol at a position is computed once, and nothing else changes."""

from typing import Any

import pytest
import torch
from conftest import small_config

from hf_bertx.modeling_discipline import _CLASSES, BertForDisciplineClassification
from hf_bertx.prediction.distinct_rows import compute_distinct_rows

MANY = torch.randint(5, 9, (40, 12), generator=torch.Generator().manual_seed(0))
FEW = torch.arange(24).view(2, 12)


def model_of(**options: Any) -> BertForDisciplineClassification:
    torch.manual_seed(1)
    config = small_config("bert")
    config.initializer_range, config.num_hidden_layers = 0.5, 2
    for name, value in options.items():
        setattr(config, name, value)
    return BertForDisciplineClassification(config).eval()


def rows_multiplied(model: BertForDisciplineClassification, **inputs: torch.Tensor) -> tuple[torch.Tensor, list[int]]:
    """The logits, and how many rows the first layer's queries, keys and values were computed of."""
    attention = model.bert.encoder.layer[0].attention.self
    shapes: dict[int, list[int]] = {
        id(linear.weight): [] for linear in (attention.query, attention.key, attention.value)
    }

    class Seen(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is torch.nn.functional.linear and id(args[1]) in shapes:
                shapes[id(args[1])].append(args[0].shape[:-1].numel())
            return func(*args, **(kwargs or {}))

    with torch.inference_mode(), Seen():
        logits = model(**inputs).logits
    return logits, [count for (count,) in shapes.values()]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("typed", [False, True])
def test_logits_are_the_same_to_rounding_and_fewer_rows_are_multiplied(masked: bool, typed: bool) -> None:
    model = model_of(type_vocab_size=2)
    inputs = {"input_ids": MANY.clone()}
    if masked:
        inputs["input_ids"][:20, 9:] = 0
        inputs["attention_mask"] = (inputs["input_ids"] != 0).long()
    if typed:
        inputs["token_type_ids"] = (torch.arange(12) > 6).long().expand(40, -1).clone()
        inputs["token_type_ids"][::2] = 0
    before, whole = rows_multiplied(model, **inputs)
    assert whole == [480] * 3
    assert compute_distinct_rows(model)
    assert compute_distinct_rows(model), "told twice is told once"
    after, distinct = rows_multiplied(model, **inputs)
    torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-6)
    kinds = {
        (column, int(i), int(t))
        for row, types in zip(inputs["input_ids"], inputs.get("token_type_ids", torch.zeros_like(MANY)), strict=True)
        for column, (i, t) in enumerate(zip(row, types, strict=True))
    }
    assert distinct == [len(kinds)] * 3
    assert not torch.allclose(model(MANY.roll(1, 0)).logits, before, atol=1e-2), "the test can fail"


def test_a_batch_of_distinct_rows_is_computed_as_before() -> None:
    model = model_of()
    before, _ = rows_multiplied(model, input_ids=FEW)
    assert compute_distinct_rows(model)
    after, rows = rows_multiplied(model, input_ids=FEW)
    assert rows == [24] * 3
    assert torch.equal(after, before)


def test_with_gradients_everything_is_computed_as_before() -> None:
    long_way, model = model_of(), model_of()
    assert compute_distinct_rows(model)
    for one in (long_way, model):
        one(MANY, labels=torch.zeros(40, dtype=torch.long)).loss.backward()
    for (name, a), b in zip(long_way.named_parameters(), model.parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None), name
        assert a.grad is None or torch.equal(a.grad, b.grad), name
    embedded = model.get_input_embeddings()(MANY)
    with torch.inference_mode():
        torch.testing.assert_close(model(inputs_embeds=embedded).logits, model(MANY).logits, rtol=1e-5, atol=1e-6)


def test_a_map_that_stands_in_for_a_linear_one_is_asked() -> None:
    model = model_of()
    attention = model.bert.encoder.layer[0].attention.self
    attention.value = torch.nn.Sequential(attention.value, torch.nn.Tanh())
    with torch.inference_mode():
        before = model(MANY).logits
        assert compute_distinct_rows(model)
        torch.testing.assert_close(model(MANY).logits, before, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("model_type", sorted(set(_CLASSES) - {"bert"}))
def test_other_architectures_are_left_as_they_are(model_type: str) -> None:
    model = _CLASSES[model_type](small_config(model_type)).eval()
    classes = [type(module) for module in model.modules()]
    assert not compute_distinct_rows(model)
    assert [type(module) for module in model.modules()] == classes
