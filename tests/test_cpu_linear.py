"""Linear maps by oneDNN give what torch's give, and are taken where they are faster."""

from typing import Any

import pytest
import torch
from conftest import small_config

from hf_bertx import cpu_linear
from hf_bertx.cpu_linear import OneDNNLinear, OneDNNLinearGELU, use_onednn_linear
from hf_bertx.modeling_discipline import BertForDisciplineClassification

ZEN = {"cpu_name": "AMD EPYC", "avx512_f": True}
ONEDNN = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this build of torch has no oneDNN")


@pytest.fixture
def zen4(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: ZEN, raising=False)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)


def asked_of_onednn(module: torch.nn.Module, *inputs: torch.Tensor) -> int:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        module(*inputs)
    return sum("_linear_pointwise" in event.key for event in profile.key_averages())


@ONEDNN
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(7, 24), (2, 5, 24), (0, 24)])
def test_outputs_are_those_of_torch_to_rounding(bias: bool, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    module = OneDNNLinear(24, 10, bias=bias)
    states = torch.randn(*shape)
    with torch.inference_mode():
        if states.numel():
            assert asked_of_onednn(module, states) == 1
        torch.testing.assert_close(
            module(states), torch.nn.functional.linear(states, module.weight, module.bias), rtol=1e-5, atol=1e-6
        )


@ONEDNN
def test_states_that_do_not_lie_in_one_piece_are_read_right() -> None:
    torch.manual_seed(0)
    module, states = OneDNNLinear(24, 10), torch.randn(4, 6, 48)
    with torch.inference_mode():
        for view in (states[:, :1, :24], states[:, ::2, 1::2], states.transpose(0, 1)[..., :24]):
            torch.testing.assert_close(
                module(view), torch.nn.functional.linear(view, module.weight, module.bias), rtol=1e-5, atol=1e-6
            )


@ONEDNN
def test_a_linear_map_and_its_gelu_are_those_of_torch_to_rounding() -> None:
    torch.manual_seed(0)
    module, states = OneDNNLinearGELU(24, 1000), 5 * torch.randn(7, 24)
    apart = torch.nn.functional.gelu(torch.nn.functional.linear(states, module.weight, module.bias))
    with torch.inference_mode():
        assert asked_of_onednn(module, states) == 1
        torch.testing.assert_close(module(states), apart, rtol=1e-5, atol=1e-6)
        tanh = torch.nn.functional.gelu(module._by_torch(states), approximate="tanh")
        assert not torch.allclose(module(states), tanh, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(module(states), apart)


@ONEDNN
def test_another_activation_is_left_where_it_is(zen4: None) -> None:
    config = small_config("bert")
    config.hidden_act = "gelu_new"
    model = BertForDisciplineClassification(config).eval()
    ids = torch.arange(20).view(2, 10)
    with torch.inference_mode():
        before = model(ids).logits
        assert use_onednn_linear(model)
        torch.testing.assert_close(model(ids).logits, before, rtol=1e-5, atol=1e-6)
    assert not any(type(module) is OneDNNLinearGELU for module in model.modules())


@ONEDNN
@pytest.mark.parametrize("kind", [OneDNNLinear, OneDNNLinearGELU])
def test_what_onednn_has_not_is_left_to_torch(kind: type[OneDNNLinear]) -> None:
    module, states = kind(24, 10), torch.randn(7, 24)
    assert asked_of_onednn(module, states) == 0
    module(states).sum().backward()
    assert module.weight.grad is not None
    if kind is OneDNNLinear:
        torch.testing.assert_close(module.weight.grad, states.sum(0).expand(10, 24))
    with torch.inference_mode():
        assert asked_of_onednn(module.bfloat16(), states.bfloat16()) == 0


@ONEDNN
@pytest.mark.parametrize(
    ("processor", "taken"),
    [
        (ZEN, True),
        (ZEN | {"avx512_f": False}, False),
        (ZEN | {"cpu_name": "Intel(R) Xeon(R) Processor"}, False),
        ({}, False),
    ],
    ids=["Zen 4", "Zen 3", "Intel", "unknown"],
)
def test_it_is_taken_on_processors_that_mkl_has_no_avx512_for(
    processor: dict[str, Any], taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: processor, raising=False)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    model = BertForDisciplineClassification(small_config("bert")).eval()
    model.classifier = type("Quantised", (torch.nn.Linear,), {})(32, 3)
    names, ids = list(model.state_dict()), torch.arange(20).view(2, 10)
    draws = torch.get_rng_state()
    with torch.inference_mode():
        before = model(ids).logits
        assert use_onednn_linear(model) == taken
        after = model(ids).logits
    assert torch.equal(torch.get_rng_state(), draws), "nothing is drawn to find out"
    torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-6)
    assert list(model.state_dict()) == names
    assert sum(type(module) is OneDNNLinear for module in model.modules()) == (6 if taken else 0)
    assert sum(type(module) is OneDNNLinearGELU for module in model.modules()) == (1 if taken else 0)
    assert type(model.classifier).__name__ == "Quantised"


def test_another_operator_is_not_called(zen4: None, monkeypatch: pytest.MonkeyPatch) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    for other in (None, torch.ops.aten.relu):
        monkeypatch.setattr(cpu_linear, "_BY_ONEDNN", other)
        assert not use_onednn_linear(model)
    assert type(model[0]) is torch.nn.Linear
