"""What each tuning trains, in every sibling; what a frozen and a LoRA run leave behind."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import small_config
from interrupted_runs import assert_same_run, interrupt
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from hf_bertx.arms import ARMS, get_arm
from hf_bertx.configuration_discipline import DISCIPLINE_CONFIGS
from hf_bertx.data.task_data import load_task_data
from hf_bertx.modeling_discipline import AutoModelForDisciplineClassification
from hf_bertx.protocols import RECOMMENDED
from hf_bertx.runs.arguments import parse_arguments
from hf_bertx.runs.optimizers import NovoGrad
from hf_bertx.runs.order import run_order
from hf_bertx.runs.run import Run
from hf_bertx.runs.training import build_trainer, run
from hf_bertx.runs.tuning import apply_tuning, merged
from hf_bertx.tasks import get_task

SHORT = "--fraction 0.1 --max_steps 6 --logging_steps 1 --eval_steps 2 --max_eval_items 40".split()
IDS = torch.arange(10, 30).reshape(2, 10)


def small_model(model_type: str) -> Any:
    torch.manual_seed(0)
    return AutoModelForDisciplineClassification.from_config(small_config(model_type))


def trained_names(model: Any) -> set[str]:
    return {name for name, weights in model.named_parameters() if weights.requires_grad}


@pytest.mark.parametrize("model_type", sorted(DISCIPLINE_CONFIGS))
def test_a_frozen_body_trains_the_head_alone(model_type: str) -> None:
    names = trained_names(apply_tuning(small_model(model_type), "frozen", "a/b"))
    assert names
    heads = ("classifier.", "pre_classifier.", "head.", "pooler.", "bert.pooler.", "albert.pooler.", "mpnet.pooler.")
    assert all(name.startswith(heads) for name in names), names
    with_norms = trained_names(apply_tuning(small_model(model_type), "frozen_norm", "a/b"))
    more = with_norms - names
    assert more
    assert all("norm" in name.lower() for name in more), more


@pytest.mark.parametrize("model_type", sorted(DISCIPLINE_CONFIGS))
def test_adapters_train_and_merge(model_type: str) -> None:
    model = small_model(model_type)
    untouched = {name: weights.clone() for name, weights in model.state_dict().items()}
    adapted = apply_tuning(model, "lora", "owner/name", "0123")
    names = trained_names(adapted)
    assert any("lora_A" in name for name in names)
    assert any("classifier" in name for name in names)
    assert not any("embedding" in name for name in names)
    optimizer = torch.optim.SGD([w for w in adapted.parameters() if w.requires_grad], lr=0.5)
    for _ in range(3):
        adapted(input_ids=IDS, labels=torch.tensor([0, 1])).loss.backward()
        optimizer.step()
    adapted.eval()
    expected = adapted(input_ids=IDS).logits
    plain = merged(adapted)
    assert type(plain) is type(model)
    assert torch.allclose(plain(input_ids=IDS).logits, expected, atol=1e-5)
    moved = {name for name, weights in plain.state_dict().items() if not torch.equal(weights, untouched[name])}
    assert any("classifier" in name for name in moved)
    assert len(moved) > 2  # the adapted matrices as well
    assert not any("embedding" in name for name in moved)


def order(backbone: Path, root: Path, arm: str, *more: str) -> tuple[Any, Any]:
    argv = ["--backbone", str(backbone), "--arm", arm, "--output_dir", str(root), "--learning_rate", "1e-2"]
    (spec,), args = parse_arguments([*argv, *SHORT, *more])
    return spec, args


def test_a_frozen_run_leaves_the_body_as_it_was(tiny_backbone: Path, tmp_path: Path) -> None:
    trained = Run.open_finished(run(*order(tiny_backbone, tmp_path, "frozen")))
    before, after = (load_file(f / "model.safetensors") for f in (tiny_backbone, trained.model_dir))
    body = [name for name in before if not name.startswith("pooler")]
    assert len(body) > 30
    assert all(torch.equal(before[name], after[f"bert.{name}"]) for name in body)
    assert not torch.equal(before["pooler.dense.weight"], after["bert.pooler.dense.weight"])
    assert trained.results["trained_parameters"] == 32 * 32 + 32 + 3 * 32 + 3
    assert (trained.specification["tuning"], trained.specification["max_eval_items"]) == ("frozen", 40)
    assert trained.results["counts"]["validation"] == trained.results["counts"]["test"] == 40
    assert trained.results["test_duplicates"] == 3  # of the 40


def test_a_lora_run_leaves_an_adapter_and_a_merged_model(tiny_backbone: Path, tmp_path: Path) -> None:
    folder = run(*order(tiny_backbone, tmp_path, "lora"))
    plain = AutoModelForSequenceClassification.from_pretrained(folder / "model").eval()
    config = json.loads((folder / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == tiny_backbone.name  # no path of this machine
    base = AutoModelForSequenceClassification.from_pretrained(tiny_backbone, num_labels=3)
    adapted = PeftModel.from_pretrained(base, folder / "adapter").eval()
    ids = torch.randint(1000, 1600, (4, 20))
    assert torch.allclose(plain(ids).logits, adapted(ids).logits, atol=1e-5)


@pytest.mark.parametrize("arm", ["lora_rand", "frozen_norm"])
def test_an_interrupted_run_ends_like_an_undisturbed_one(arm: str, tiny_backbone: Path, tmp_path: Path) -> None:
    whole = run(*order(tiny_backbone, tmp_path / "whole", arm))
    interrupt(*order(tiny_backbone, tmp_path / "broken", arm), ("on_step_end", 5))
    broken = run(*order(tiny_backbone, tmp_path / "broken", arm))
    assert Run.open_finished(broken).results["resumed_from_step"] == 4
    assert_same_run(whole, broken)
    assert not (whole / "adapter").exists()  # on weights that were drawn here it would be of no use


def test_every_arm_of_a_tuning_has_its_random_start() -> None:
    tuned = [arm for arm in ARMS.values() if arm.tuning != "full" and arm.start == "pretrained"]
    assert len(tuned) == 3
    for arm in tuned:
        control = ARMS[f"{arm.name}_rand"]
        assert (control.start, control.tuning, control.assignment) == ("random", arm.tuning, arm.assignment)


def test_an_arm_has_the_learning_rate_of_its_protocol(tiny_backbone: Path, tmp_path: Path) -> None:
    argv = ["--backbone", str(tiny_backbone), "--output_dir", str(tmp_path), "--arm", "bert", "frozen"]
    specs, _ = parse_arguments(argv)
    assert specs[0].learning_rate == RECOMMENDED.training["learning_rate"]
    assert specs[1].learning_rate == RECOMMENDED.learning_rates["frozen"] != specs[0].learning_rate
    assert {spec.learning_rate for spec in parse_arguments([*argv, "--learning_rate", "3e-4"])[0]} == {3e-4}
    long, short = (RECOMMENDED.learning_rate(get_arm("re_emb"), get_task(task)) for task in ("dna-h4", "dna-splice"))
    assert long == RECOMMENDED.long_learning_rates["re_emb"] < short


def test_an_optimizer_of_the_paper_is_what_trains(tiny_backbone: Path, tmp_path: Path) -> None:
    spec, args = order(tiny_backbone, tmp_path, "bert", "--optimizer", "novograd")
    data = load_task_data(spec.task)
    assert run_order(spec, args, data)["specification"]["hyperparameters"]["optimizer"] == "novograd"
    trainer = build_trainer(spec, args, data, tmp_path)
    trainer.train()
    assert isinstance(trainer.optimizer.optimizer, NovoGrad)
