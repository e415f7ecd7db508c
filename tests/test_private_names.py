"""Private names of torch and transformers that this package uses: a test says what breaks without each."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT
from transformers import BertConfig, PreTrainedModel, Trainer, TrainingArguments

ALLOWED = re.compile(r"hf_bertx/(performance/\w+|processor|runs/trainer)\.py")
FOREIGN = re.compile(r"\b(?:trainer|args|model|config|module|torch(?:\.\w+)*|transformers(?:\.\w+)*)\._[a-z]\w*")


@pytest.mark.parametrize(
    ("owner", "name", "breaks"),
    [
        (torch.ops.mkldnn, "_linear_pointwise", "performance.linear: predictions are slower, and right"),
        (torch.ops.mkldnn, "_reorder_linear_weight", "performance.linear: predictions are slower, and right"),
        (torch.cpu, "_is_amx_tile_supported", "processor: --precision auto takes float32 on AMX"),
        (torch.cpu, "_is_avx512_bf16_supported", "processor: --precision auto takes float32"),
        (torch.ones(1), "_version", "performance.linear: weights changed in place are not seen"),
        (torch.nn.Linear(1, 1), "_forward_hooks", "performance.last_layer: a hook may not be called"),
        (torch.nn.Linear(1, 1), "_forward_pre_hooks", "performance.last_layer: a hook may not be called"),
        (BertConfig(), "_attn_implementation", "performance: which attention a model uses is not known"),
        (PreTrainedModel, "_can_set_attn_implementation", "performance.attention: no model can change it"),
        (Trainer, "_load_callback_state", "run_trainer: a run cannot go on after its last step"),
        (Trainer, "_load_from_checkpoint", "run_trainer: a run cannot go on after its last step"),
        (Trainer, "_get_eval_sampler", "run_trainer: predictions lose the order of the rows"),
        (Trainer, "_track_num_input_tokens", "run_trainer: each step waits for the GPU"),
        (TrainingArguments(report_to="none"), "_n_gpu", "run_trainer: one process uses all GPUs"),
    ],
)
def test_a_private_name_is_still_there(owner: Any, name: str, breaks: str) -> None:
    assert hasattr(owner, name), f"{name} is gone. What breaks: {breaks}"


def test_private_names_stand_in_few_files() -> None:
    found = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in sorted(Path(ROOT / "hf_bertx").rglob("*.py"))
        if not ALLOWED.fullmatch(str(path.relative_to(ROOT)))
        for line in path.read_text(encoding="utf-8").splitlines()
        for name in FOREIGN.findall(line.partition("`")[0])
    }
    assert found == set()
