"""Attention by products gives what torch's own gives, and the same dropout."""

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import small_config
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from hf_bertx.modeling_discipline import DISCIPLINE_MODELS
from hf_bertx.performance import attention
from hf_bertx.performance.attention import cpu_attention_forward, use_cpu_attention
from hf_bertx.performance.dropout import mark_dropped

HEADS, LENGTH, SIZE = 3, 11, 8
LENGTHS = torch.tensor([11, 7, 1, 9, 11])
MASKS = ["none", "where to look", "of each query", "with gaps", "one for all", "added"]


class Attention(torch.nn.Module):
    is_causal = False


def states(dtype: torch.dtype, queries: int = LENGTH) -> list[torch.Tensor]:
    """Queries, keys and values as linear maps make them, heads beside heads."""
    generator = torch.Generator().manual_seed(1)
    made = (torch.randn(len(LENGTHS), n, HEADS, SIZE, generator=generator) for n in (queries, LENGTH, LENGTH))
    return [tensor.to(dtype).transpose(1, 2).requires_grad_() for tensor in made]


def mask_of(kind: str, queries: int = LENGTH) -> torch.Tensor | None:
    look = torch.arange(LENGTH) < LENGTHS[:, None]
    if kind == "none":
        return None
    if kind == "of each query":
        return look[:, None, None, :].expand(-1, 1, queries, -1)
    if kind == "with gaps":
        gaps = torch.rand(len(LENGTHS), 1, queries, LENGTH, generator=torch.Generator().manual_seed(2)) < 0.6
        return gaps & look[:, None, None, :] | (torch.arange(LENGTH) == 0)
    look = look[:, None, None, :] if kind != "one for all" else look[3:4, None, None, :]
    return torch.where(look, 0.0, -1e9) if kind == "added" else look


def result(forward: Any, inputs: list[torch.Tensor], mask: torch.Tensor | None, **options: Any) -> list[torch.Tensor]:
    """The output and the gradients of all inputs, in float32."""
    out, weights = forward(Attention(), *inputs, mask, scaling=0.3, **options)
    assert weights is None
    direction = torch.linspace(-1, 1, out.numel()).reshape(out.shape).to(out.dtype)
    return [tensor.float() for tensor in (out, *torch.autograd.grad(out, inputs, direction))]


@pytest.fixture(params=[1, 2, 100], ids=lambda rows: f"{rows} rows at once")
def rows_at_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(attention, "_AT_ONCE", request.param * HEADS * LENGTH * LENGTH)
    monkeypatch.setattr(attention, "_STEP", 2)
    return request.param


def test_with_dropout_attention_matches_its_definition() -> None:
    mask, p = mask_of("where to look"), 0.25

    def defined(_: Any, query: Any, key: Any, value: Any, mask: Any, scaling: float, dropout: float) -> Any:
        scores = (query @ key.transpose(2, 3) * scaling).masked_fill(~mask, float("-inf"))
        weights = scores.softmax(-1) * stays / (1 - dropout)
        return (weights @ value).transpose(1, 2), None

    torch.manual_seed(5)
    ones = torch.ones(len(LENGTHS), HEADS, LENGTH, LENGTH)
    mark_dropped(ones, p)
    stays = ones.relu()
    torch.manual_seed(5)
    found = result(cpu_attention_forward, states(torch.float32), mask, dropout=p)
    exact = result(defined, states(torch.float32), mask, dropout=p)
    for ours, theirs in zip(found, exact, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)
    another = result(cpu_attention_forward, states(torch.float32), mask, dropout=p)
    assert not torch.allclose(another[0], exact[0], atol=1e-2)


def test_weights_are_dropped_at_the_rate_and_the_mean_stays() -> None:
    query, key, value = (torch.zeros(8, 4, 64, SIZE) for _ in range(3))
    value += torch.eye(64)[:, :SIZE]  # with equal weights an element of the result is one weight
    torch.manual_seed(6)
    out, _ = cpu_attention_forward(Attention(), query, key, value, None, dropout=0.1)
    assert abs((out == 0).float().mean().item() - 0.1) < 0.01
    assert torch.allclose(out[out != 0], torch.tensor(1 / 64 / 0.9))


def test_torchs_attention_is_used_where_it_is_faster() -> None:
    exact = states(torch.float32)
    ours, theirs = (result(forward, exact, None) for forward in (cpu_attention_forward, sdpa_attention_forward))
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    half = states(torch.bfloat16)
    causal = [
        forward(Attention(), *half, None, is_causal=True)[0]
        for forward in (cpu_attention_forward, sdpa_attention_forward)
    ]
    assert torch.equal(*causal)


@pytest.mark.parametrize("kind", ["none", "with gaps", "added"])
def test_few_keys_take_products_where_mkl_has_no_avx512(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, mask = states(torch.float32), mask_of(kind)

    def products_of(inputs: list[torch.Tensor], mask: torch.Tensor | None) -> int:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            found, _ = cpu_attention_forward(Attention(), *inputs, mask, scaling=0.3)
        exact, _ = sdpa_attention_forward(Attention(), *inputs, mask, scaling=0.3)
        torch.testing.assert_close(found, exact, rtol=1e-5, atol=1e-6)
        return sum(event.key == "_Products" for event in profile.key_averages())

    for processor, taken in (("AMD EPYC", 1), ("Intel(R) Xeon(R)", 0)):
        known = {"cpu_name": processor, "avx512_f": True}
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda known=known: known, raising=False)
        monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
        with torch.no_grad():
            assert products_of(inputs, mask) == taken
            many = [tensor.repeat(1, 1, 6, 1) for tensor in inputs]
            assert products_of(many, None) == 0
        assert products_of(inputs, mask) == 0, "with gradients"


@pytest.mark.parametrize("model_type", sorted(DISCIPLINE_MODELS))
def test_each_family_takes_cpu_attention_and_does_not_save_it(model_type: str, tmp_path: Path) -> None:
    torch.manual_seed(7)
    model = DISCIPLINE_MODELS[model_type](small_config(model_type)).eval()
    ids, mask = torch.randint(5, 100, (3, 9)), torch.arange(9) < torch.tensor([[9], [4], [6]])
    exact = model(input_ids=ids, attention_mask=mask.long()).logits
    had = model.config._attn_implementation
    assert use_cpu_attention(model) == (had == "sdpa") == DISCIPLINE_MODELS[model_type]._supports_sdpa
    with torch.autocast("cpu", torch.bfloat16):
        found = model(input_ids=ids, attention_mask=mask.long()).logits
    assert (found - exact).abs().max() < 0.05
    model.save_pretrained(tmp_path)
    assert attention.NAME not in (tmp_path / "config.json").read_text()
    assert type(model).from_pretrained(tmp_path).config._attn_implementation == had


def test_a_model_with_another_attention_keeps_it() -> None:
    model = DISCIPLINE_MODELS["bert"](small_config("bert"))
    model.set_attn_implementation("eager")
    assert not use_cpu_attention(model)
    assert model.config._attn_implementation == "eager"


def test_keys_that_no_query_reads_are_left_out() -> None:
    counts = torch.tensor([200, 65, 64, 1, 130])
    mask = (torch.arange(200) < counts[:, None])[:, None, None, :].expand(-1, 1, 200, -1)
    parts, _ = attention._parts((len(LENGTHS), 64, 200, 200), mask)  # so many heads that a row is a part
    assert [part.keys for part in parts] == [200, 128, 64, 64, 192]
    assert [part.read_by_all for part in parts] == [200, 65, 64, 1, 130]


# with scores a thousand times as large there is one probability a row, and no gradient but what rounding leaves
@pytest.mark.parametrize(
    ("times", "gradients", "queries"),
    [(1, True, 1), (1, True, 11), (40, True, 11), (150, True, 11), (150, False, 11), (1000, False, 11)],
)
@pytest.mark.parametrize("kind", MASKS)
def test_it_is_its_definition_to_rounding_however_large_the_scores(
    rows_at_once: int, kind: str, queries: int, times: int, gradients: bool
) -> None:
    """Two ways to the softmax: powers of the scores, or of scores below the largest one."""
    made = [tensor.detach() for tensor in states(torch.bfloat16, queries)]
    made[0] *= times
    # scores are rounded: what is left of that is measured by the same scores in bfloat16 without the products
    exact_inputs, mask = [tensor.float().requires_grad_() for tensor in made], mask_of(kind, queries)
    inputs = [tensor.requires_grad_() for tensor in made]
    exact, rounded = (definition(exact_inputs, mask, precision) for precision in (torch.float32, torch.bfloat16))
    if gradients:
        found = result(cpu_attention_forward, inputs, mask)
    else:
        with torch.no_grad():
            found = [cpu_attention_forward(Attention(), *inputs, mask, scaling=0.3)[0].float()]
    for ours, theirs, allowed in zip(found, exact, rounded, strict=gradients):
        assert ours.shape == theirs.shape
        assert (ours - theirs).norm() < 2 * (allowed - theirs).norm() + 0.01 * theirs.norm()


def definition(inputs: list[torch.Tensor], mask: torch.Tensor | None, of_scores: torch.dtype) -> list[torch.Tensor]:
    """Output and gradients in float32, but for scores rounded to another precision."""
    query, key, value = inputs
    scores = query @ key.transpose(2, 3) * 0.3
    scores = scores + (scores.to(of_scores).float() - scores).detach()
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
    out = (scores.softmax(-1) @ value).transpose(1, 2)
    direction = torch.linspace(-1, 1, out.numel()).reshape(out.shape)
    return [out.detach(), *torch.autograd.grad(out, inputs, direction)]


def test_a_row_without_keys_attends_to_all_as_in_torch() -> None:
    inputs = [tensor.detach() for tensor in states(torch.bfloat16)]
    nowhere = torch.full((1, 1, 1, LENGTH), torch.finfo(torch.bfloat16).min, dtype=torch.bfloat16)
    with torch.no_grad():
        found, _ = cpu_attention_forward(Attention(), *inputs, nowhere, scaling=0.3)
    mean = inputs[2].float().mean(2, keepdim=True).expand_as(inputs[2]).transpose(1, 2)
    assert (found - mean).abs().max() < 0.01


def test_a_row_whose_mask_has_no_key_is_as_in_torch() -> None:
    mask = torch.zeros(len(LENGTHS), 1, LENGTH, LENGTH, dtype=torch.bool)
    mask[1:] = True
    inputs = states(torch.float32)
    stock = result(sdpa_attention_forward, inputs, mask)
    for got, expected in zip(result(cpu_attention_forward, inputs, mask, dropout=1e-9), stock, strict=True):
        torch.testing.assert_close(got, expected)


def test_small_gradients_are_not_lost_where_powers_are_large() -> None:
    """A division by 2^100 and more would turn small gradients into zeros."""
    key = torch.tensor([1.0, 0.98, 0.95, 0.9]).view(1, 1, 4, 1).expand(1, 1, 4, SIZE).bfloat16()
    query = torch.full((1, 1, 2, SIZE), 30.0, dtype=torch.bfloat16)
    value = torch.randn(1, 1, 4, SIZE, generator=torch.Generator().manual_seed(1)).bfloat16()
    inputs = [tensor.requires_grad_() for tensor in (query, key, value)]
    out, _ = cpu_attention_forward(Attention(), *inputs, None, scaling=0.3)
    direction = torch.linspace(-1, 1, out.numel()).reshape(out.shape).bfloat16()
    for ours, small in zip(
        torch.autograd.grad(out, inputs, direction, retain_graph=True),
        torch.autograd.grad(out, inputs, 2.0**-30 * direction),
        strict=True,
    ):
        assert ours.norm() > 0
        torch.testing.assert_close(2.0**30 * small, ours, rtol=0.01, atol=1e-4)


def test_what_is_added_to_scores_counts_as_it_is() -> None:
    inputs, added = states(torch.bfloat16), torch.linspace(-2, 2, LENGTH).expand(1, 1, 1, -1)
    found = result(cpu_attention_forward, inputs, added.bfloat16())
    exact = result(sdpa_attention_forward, states(torch.float32), added)
    for ours, theirs in zip(found, exact, strict=True):
        assert (ours - theirs).norm() < 0.02 * theirs.norm()
