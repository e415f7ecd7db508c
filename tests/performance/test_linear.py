"""Linear maps by oneDNN give what torch's give, and are taken where they are faster."""

import copy
from typing import Any

import pytest
import torch
from conftest import small_config

from hf_bertx.modeling_discipline import BertForDisciplineClassification
from hf_bertx.performance import linear
from hf_bertx.performance.linear import OneDNNLinear, OneDNNLinearGELU, use_onednn_linear

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
@pytest.mark.parametrize("layout", [True, False])
@pytest.mark.parametrize(
    ("dtype", "close"), [(torch.float32, {"rtol": 1e-5, "atol": 1e-6}), (torch.bfloat16, {"rtol": 0.01, "atol": 0.01})]
)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "part",
    [
        lambda states: states[0, :, :24],
        lambda states: states[..., :24].contiguous(),
        lambda states: states[:, :0, :24],
        lambda states: states[:, ::2, 1::2],
        lambda states: states.transpose(0, 1)[..., :24],
    ],
    ids=["two dimensions", "three dimensions", "empty", "with steps", "transposed"],
)
def test_outputs_are_those_of_torch_to_rounding(
    bias: bool, part: Any, dtype: torch.dtype, close: dict[str, float], layout: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not layout:
        monkeypatch.setattr(linear, "_IN_LAYOUT", None)
    torch.manual_seed(0)
    module, states = OneDNNLinear(24, 10, bias=bias).to(dtype), part(torch.randn(4, 6, 48).to(dtype))
    with torch.inference_mode():
        if states.numel():
            assert asked_of_onednn(module, states) == 1
        exact = torch.nn.functional.linear(states, module.weight, module.bias)
        torch.testing.assert_close(module(states), exact, **close)


@ONEDNN
def test_weights_that_were_changed_or_replaced_are_laid_out_anew() -> None:
    torch.manual_seed(0)
    module, states = OneDNNLinear(24, 10), torch.randn(7, 24)

    def is_right() -> bool:
        with torch.inference_mode():
            exact = torch.nn.functional.linear(states, module.weight, module.bias)
            return torch.allclose(module(states), exact.to(states.dtype), rtol=0.02, atol=0.02)

    assert is_right()
    with torch.no_grad():
        module.weight.mul_(3)
    assert is_right()
    module.load_state_dict(OneDNNLinear(24, 10).state_dict())
    assert is_right()
    module.weight = torch.nn.Parameter(torch.randn(10, 24))
    assert is_right()
    module.bfloat16()
    states = states.bfloat16()
    assert is_right()
    with torch.inference_mode():
        module.weight = torch.nn.Parameter(torch.randn(10, 24, dtype=torch.bfloat16))
        assert is_right()


@ONEDNN
def test_it_is_copied_and_saved_without_what_was_laid_out() -> None:
    torch.manual_seed(0)
    module, states = OneDNNLinear(24, 10), torch.randn(7, 24)
    with torch.inference_mode():
        before = module(states)
    other = copy.deepcopy(module)
    with torch.inference_mode():
        assert torch.equal(other(states), before)
        assert torch.equal(module(states), before)
    assert list(module.state_dict()) == ["weight", "bias"]


@ONEDNN
def test_a_linear_map_and_its_gelu_match_torch_to_rounding() -> None:
    torch.manual_seed(0)
    module, states = OneDNNLinearGELU(24, 1000), 5 * torch.randn(7, 24)
    apart = torch.nn.functional.gelu(torch.nn.functional.linear(states, module.weight, module.bias))
    with torch.inference_mode():
        assert asked_of_onednn(module, states) == 1
        torch.testing.assert_close(module(states), apart, rtol=1e-5, atol=3e-6)
        tanh = torch.nn.functional.gelu(module._by_torch(states), approximate="tanh")
        assert not torch.allclose(module(states), tanh, rtol=1e-5, atol=3e-6)
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
        assert asked_of_onednn(module.double(), states.double()) == 0


@ONEDNN
@pytest.mark.parametrize(
    ("processor", "taken"),
    [(ZEN, True), (ZEN | {"avx512_f": False}, False), (ZEN | {"cpu_name": "Intel(R) Xeon(R)"}, False), ({}, False)],
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
    kinds = [type(module) for module in model.modules()]
    assert (kinds.count(OneDNNLinear), kinds.count(OneDNNLinearGELU)) == ((6, 1) if taken else (0, 0))
    assert type(model.classifier).__name__ == "Quantised"


@ONEDNN
@pytest.mark.parametrize("check", ["_is_amx_tile_supported", "_is_avx512_bf16_supported", None])
def test_bfloat16_is_multiplied_by_it_where_that_is_in_hardware(
    check: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if check is not None:
        monkeypatch.setattr(torch.cpu, check, lambda: True, raising=False)
    model = BertForDisciplineClassification(small_config("bert")).eval().bfloat16()
    ids = torch.arange(20).view(2, 10)
    with torch.inference_mode():
        before = model(ids).logits
        assert use_onednn_linear(model) == (check is not None)
        torch.testing.assert_close(model(ids).logits, before, rtol=0.05, atol=0.02)
    kinds = [type(module) for module in model.modules()]
    assert (OneDNNLinearGELU in kinds, OneDNNLinear in kinds) == (check is not None,) * 2
    assert not use_onednn_linear(BertForDisciplineClassification(small_config("bert")).double())


def test_another_operator_is_not_called(zen4: None, monkeypatch: pytest.MonkeyPatch) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    for name, other in (("_BY_ONEDNN", None), ("_BY_ONEDNN", torch.ops.aten.relu), ("_IN_LAYOUT", torch.ops.aten.dot)):
        with monkeypatch.context() as patch:
            patch.setattr(linear, name, other)
            assert not use_onednn_linear(model)
    assert type(model[0]) is torch.nn.Linear
