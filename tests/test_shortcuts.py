"""A shortcut changes nothing that is learned: compared with the long way round."""

import copy
from typing import Any

import pytest
import torch
from conftest import small_config

from hf_bertx.drawn_dropout import DrawnDropout, draw_dropout_at_once
from hf_bertx.modeling_discipline import _CLASSES
from hf_bertx.shortcuts import (
    UsedRowsEmbedding,
    keep_used_rows,
    prune_unread_positions,
    restore_all_rows,
)

IDS = torch.tensor([[101, 7, 8, 9, 102, 0], [101, 5, 102, 0, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1, 1, 0], [1, 1, 1, 0, 0, 0]])
USED = [0, 5, 7, 8, 9, 101, 102]


@pytest.mark.parametrize("model_type", sorted(_CLASSES))
def test_pruning_unread_positions_changes_no_logit_and_no_gradient(model_type: str) -> None:
    torch.manual_seed(2)
    config = small_config(model_type)
    for name in (
        "hidden_dropout_prob",
        "attention_probs_dropout_prob",
        "dropout",
        "attention_dropout",
        "seq_classif_dropout",
        "classifier_dropout_prob",
    ):
        if hasattr(config, name):
            setattr(config, name, 0.0)
    model = _CLASSES[model_type](config).train()
    ids, labels = IDS % 120, torch.tensor([0, 2])
    results = []
    for prune in (False, True):
        if prune:
            assert prune_unread_positions(model) == (model_type in ("bert", "electra", "roberta"))
        model.zero_grad()
        out = model(input_ids=ids, attention_mask=MASK, labels=labels)
        out.loss.backward()
        results.append(
            (out.logits.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
        )
    (logits, gradients), (pruned_logits, pruned_gradients) = results
    assert torch.allclose(logits, pruned_logits, atol=1e-6)
    assert gradients.keys() == pruned_gradients.keys()
    for name in gradients:
        assert torch.allclose(gradients[name], pruned_gradients[name], atol=1e-6), name
    padded = model(input_ids=ids, labels=labels).logits  # without the mask, padding is read: the test can fail
    assert not torch.allclose(padded, pruned_logits, atol=1e-6)


def test_a_copy_of_a_pruned_model_computes_with_its_own_weights() -> None:
    pruned = _CLASSES["bert"](small_config("bert")).eval()
    assert prune_unread_positions(pruned)
    assert prune_unread_positions(pruned), "pruned twice is pruned once"
    twin = copy.deepcopy(pruned)
    for model in (pruned, twin):
        model(input_ids=IDS % 120, attention_mask=MASK, labels=torch.tensor([0, 2])).loss.backward()
    for (name, one), other in zip(pruned.named_parameters(), twin.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None), name
        assert one.grad is None or torch.equal(one.grad, other.grad), name
    replica = pruned.bert.encoder.layer[-1]._replicate_for_data_parallel()
    assert replica(torch.ones(1, 3, 32)).shape == (1, 1, 32)


def test_a_pruned_layer_takes_a_mask_that_is_added() -> None:
    torch.manual_seed(6)
    config = small_config("bert")
    config._attn_implementation, config.initializer_range = "eager", 0.5
    model = _CLASSES["bert"](config).eval().double()
    with torch.no_grad():
        whole = model(input_ids=IDS % 120, attention_mask=MASK).logits
        assert prune_unread_positions(model)
        torch.testing.assert_close(
            model(input_ids=IDS % 120, attention_mask=MASK).logits, whole, rtol=1e-12, atol=1e-12
        )
        assert not torch.allclose(model(input_ids=IDS % 120).logits, whole, atol=1e-3), "the mask is read"


@pytest.mark.parametrize("name", ["key", "value"])
def test_a_pruned_layer_asks_a_linear_map_that_is_hooked_or_replaced(name: str) -> None:
    torch.manual_seed(6)
    config = small_config("bert")
    config.initializer_range = 0.5
    model = _CLASSES["bert"](config).eval()
    attention = model.bert.encoder.layer[-1].attention.self
    plain = getattr(attention, name)
    assert prune_unread_positions(model)
    inputs = {"input_ids": IDS % 120, "attention_mask": MASK}
    with torch.no_grad():
        before = model(**inputs).logits
        seen = []
        hook = plain.register_forward_hook(lambda module, given, out: seen.append(out.shape))
        torch.testing.assert_close(model(**inputs).logits, before)
        assert seen == [(2, 6, 32)]
        hook.remove()
        setattr(attention, name, torch.nn.Sequential(plain, torch.nn.Tanh()))
        replaced = model(**inputs).logits
        whole = _CLASSES["bert"](config).eval()
        setattr(whole.bert.encoder.layer[-1].attention.self, name, torch.nn.Sequential(plain, torch.nn.Tanh()))
        whole.load_state_dict(model.state_dict())
        torch.testing.assert_close(replaced, whole(**inputs).logits)
    assert not torch.allclose(replaced, before, atol=1e-3)


@pytest.mark.parametrize("attention", ["flash_attention_2", "flex_attention"])
def test_a_model_whose_masks_have_another_form_is_not_pruned(attention: str) -> None:
    model = _CLASSES["bert"](small_config("bert"))
    model.config._attn_implementation = attention
    assert not prune_unread_positions(model)


@pytest.mark.parametrize("masked", [True, False])
def test_the_pruned_layer_drops_attention_as_the_whole_one_does(masked: bool) -> None:
    torch.manual_seed(5)
    config = small_config("bert")
    config.initializer_range, config.hidden_dropout_prob, config.attention_probs_dropout_prob = 0.5, 0.0, 0.3
    model = _CLASSES["bert"](config)
    inputs = {"input_ids": IDS[:1].expand(20000, -1) % 120}
    inputs |= {"attention_mask": MASK[:1].expand(20000, -1)} if masked else {}
    with torch.no_grad():
        whole = model.train()(**inputs).logits
        assert prune_unread_positions(model)
        pruned = model(**inputs).logits
        evaluated = model.eval()(**inputs).logits
    spread = whole.std(dim=0)
    assert spread.min() > 0.1
    assert evaluated.std(dim=0).max() < 1e-5
    torch.testing.assert_close(pruned.std(dim=0), spread, rtol=0.05, atol=0)
    assert ((pruned.mean(dim=0) - whole.mean(dim=0)).abs() < 0.05 * spread).all()


def learn(model: Any) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    for step in range(5):
        torch.manual_seed(step)  # dropout draws alike
        model(input_ids=IDS % 120, attention_mask=MASK, labels=torch.tensor([0, 2])).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("model_type", sorted(_CLASSES))
def test_learning_the_used_rows_alone_gives_the_same_weights_bit_for_bit(model_type: str) -> None:
    torch.manual_seed(3)
    long_way = _CLASSES[model_type](small_config(model_type)).train()
    short = copy.deepcopy(long_way)
    untouched = long_way.get_input_embeddings().weight.detach().clone()
    learn(long_way)
    keep_used_rows(short, USED)
    assert sum(p.numel() for p in short.parameters()) < sum(p.numel() for p in long_way.parameters())
    learn(short)
    restore_all_rows(short)
    assert short.state_dict().keys() == long_way.state_dict().keys()
    for name, tensor in long_way.state_dict().items():
        assert torch.equal(short.state_dict()[name], tensor), name
    changed = (untouched != long_way.get_input_embeddings().weight).any(dim=1)
    assert set(torch.flatten(changed.nonzero()).tolist()) <= set(USED)
    assert changed[7]


def test_an_id_outside_the_used_rows_is_an_error() -> None:
    embedding = UsedRowsEmbedding(torch.nn.Embedding(10, 4), [1, 2])
    assert embedding(torch.tensor([2, 1])).shape == (2, 4)
    with pytest.raises(IndexError):
        embedding(torch.tensor([3]))


def test_drawn_dropout_zeroes_at_the_rate_keeps_the_mean_and_passes_the_same_mask_back() -> None:
    states = torch.ones(101, 1001, requires_grad=True)
    torch.manual_seed(4)
    out = DrawnDropout(0.1)(states)
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
    assert torch.equal(DrawnDropout(0.1)(torch.ones(101, 1001)), out)


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_drawn_dropout_at_its_ends_and_in_evaluation(p: float) -> None:
    states = torch.ones(3, 5)
    assert torch.equal(DrawnDropout(p)(states), states * (1 - p))
    assert torch.equal(DrawnDropout(0.5).eval()(states), states)


def test_every_dropout_of_a_model_is_replaced_and_no_weight_is_touched() -> None:
    model = _CLASSES["bert"](small_config("bert"))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    rates = [m.p for m in model.modules() if type(m) is torch.nn.Dropout]
    draw_dropout_at_once(model)
    assert rates
    assert [m.p for m in model.modules() if type(m) is DrawnDropout] == rates
    assert not any(type(m) is torch.nn.Dropout for m in model.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
