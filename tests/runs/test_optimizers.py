"""The paper's optimisers: NovoGrad's rule worked out by hand, names, the Trainer, resumed states."""

import copy
import io
import re

import pytest
import torch
from conftest import small_config

from hf_bertx.modeling_discipline import DISCIPLINE_MODELS
from hf_bertx.performance.used_rows import restore_all_embeddings, train_used_embeddings_only
from hf_bertx.runs.optimizers import OPTIMIZERS, NovoGrad, optimizer

IDS = torch.tensor([[101, 7, 8, 9, 102, 0], [101, 5, 102, 0, 0, 0]]) % 120
USED = sorted(set(IDS.flatten().tolist()))


def test_novograd_takes_the_steps_worked_out_by_hand() -> None:
    weights = torch.nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.float64))
    optimiser = NovoGrad([weights], lr=0.1, betas=(0.5, 0.75), eps=0.0, weight_decay=0.5)
    weights.grad = torch.tensor([3.0, 4.0], dtype=torch.float64)
    optimiser.step()
    # v = 25; m = (3, 4) / 5 + 0.5 (1, 2) = (1.1, 1.8); w = (1, 2) - 0.1 m
    assert weights.tolist() == pytest.approx([0.89, 1.82], abs=1e-7)
    weights.grad = torch.tensor([0.0, -13.0], dtype=torch.float64)
    optimiser.step()
    # v = 0.75 x 25 + 0.25 x 169 = 61; m = 0.5 (1.1, 1.8) + (0, -13 / sqrt 61) + 0.5 (0.89, 1.82)
    #   = (0.55 + 0.445, 0.9 - 1.6644794 + 0.91) = (0.995, 0.1455206); w = (0.89, 1.82) - 0.1 m
    assert weights.tolist() == pytest.approx([0.7905, 1.80544794], abs=1e-7)
    assert optimiser.state[weights]["squared_norm"].item() == pytest.approx(61.0)
    assert weights.grad.tolist() == [0.0, -13.0]  # others may read it after the step


def test_novograd_normalises_each_tensor_by_its_own_norm() -> None:
    small, large = (torch.nn.Parameter(torch.zeros(2)) for _ in range(2))
    optimiser = NovoGrad([small, large], lr=1.0)
    small.grad, large.grad = torch.tensor([3e-4, 4e-4]), torch.tensor([3e4, 4e4])
    optimiser.step()
    assert torch.allclose(small, torch.tensor([-0.6, -0.8]), atol=1e-4)
    assert torch.allclose(large, torch.tensor([-0.6, -0.8]), atol=1e-6)


def test_a_saved_state_of_novograd_goes_on_bit_for_bit() -> None:
    def learn(weights: torch.nn.Parameter, optimiser: NovoGrad) -> None:
        for step in range(4):
            weights.grad = torch.tensor([1.0, step])
            optimiser.step()

    straight = torch.nn.Parameter(torch.ones(2))
    first = NovoGrad([straight], lr=0.1, weight_decay=0.01)
    learn(straight, first)
    resumed = copy.deepcopy(straight)
    second = NovoGrad([resumed])
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    learn(straight, first)
    learn(resumed, second)
    assert torch.equal(straight, resumed)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_learning_the_used_rows_alone_gives_the_same_weights(name: str) -> None:
    """What [`used_rows.UsedRowsEmbedding`] leaves out changes nothing under any of them, without weight decay."""
    torch.manual_seed(2)
    long_way = DISCIPLINE_MODELS["bert"](small_config("bert")).train()
    short = copy.deepcopy(long_way)
    train_used_embeddings_only(short, USED)
    for model in (long_way, short):
        made, keywords = optimizer(name, 1e-2)
        optimiser = made(model.parameters(), **keywords)
        for step in range(4):
            torch.manual_seed(step)  # dropout draws alike
            model(input_ids=IDS, attention_mask=(IDS != 0).long(), labels=torch.tensor([0, 2])).loss.backward()
            optimiser.step()
            optimiser.zero_grad()
    restore_all_embeddings(short)
    for weight, tensor in long_way.state_dict().items():
        assert torch.allclose(short.state_dict()[weight], tensor, atol=1e-6), weight


def test_the_keywords_are_what_was_asked() -> None:
    assert optimizer("adam", 1e-4) == (torch.optim.Adam, {"lr": 1e-4, "weight_decay": 0.0})
    made, keywords = optimizer("adamw_fused", 1e-4, 0.1, betas=(0.9, 0.98), epsilon=1e-6)
    assert made is torch.optim.AdamW
    assert keywords == {"lr": 1e-4, "weight_decay": 0.1, "betas": (0.9, 0.98), "eps": 1e-6, "fused": True}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("novagrad", 1e-4), "unknown optimizer 'novagrad'; did you mean 'novograd'? Known: adagrad, adam, adamax"),
        (("adam", 0.0), "optimizer 'adam': the learning rate is 0.0; allowed: a number above 0"),
        (("adam", float("nan")), "the learning rate is nan"),
        (("adam", 1e-4, -1.0), "the weight decay is -1.0"),
        (("adagrad", 1e-4, 0.0, (0.9, 0.99)), "optimizer 'adagrad': betas are (0.9, 0.99), and it has none"),
    ],
)
def test_bad_arguments_of_an_optimizer_are_named(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011
        optimizer(*arguments)
    assert message in str(error.value)


def test_novograd_refuses_values_and_gradients_it_cannot_use() -> None:
    with pytest.raises(ValueError, match=re.escape("betas (0.95, 1.0)")):
        NovoGrad([torch.nn.Parameter(torch.zeros(1))], betas=(0.95, 1.0))
    embedding = torch.nn.Embedding(4, 2, sparse=True)
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(RuntimeError, match="sparse=False"):
        NovoGrad(embedding.parameters()).step()
