"""Which positions an answer hangs on, on a model whose answer is known to hang on one symbol."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from saved_models import saved
from transformers import BertConfig, BertForSequenceClassification

from hf_bertx.prediction.attribution import METHODS, attribute
from hf_bertx.prediction.inference import SequenceClassifier
from hf_bertx.tokenization_discipline import DisciplineTokenizer


@pytest.fixture(scope="module")
def looks_for_g(tiny_backbone: Path) -> SequenceClassifier:
    """A classifier whose class `g` was trained, for a second, on whether a sequence holds a G."""
    torch.manual_seed(0)
    tokenizer = DisciplineTokenizer.from_backbone(str(tiny_backbone), "dna")
    config = BertConfig.from_pretrained(tiny_backbone, num_labels=2, problem_type="single_label_classification")
    config.id2label, config.label2id = {0: "none", 1: "g"}, {"none": 0, "g": 1}
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    model = BertForSequenceClassification(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    draw = np.random.default_rng(0)
    for _ in range(100):
        rows = ["".join(draw.choice(list("ACT"), 12)) for _ in range(32)]
        labels = draw.integers(0, 2, 32)
        for i in np.flatnonzero(labels):
            at = draw.integers(12)
            rows[i] = rows[i][:at] + "G" + rows[i][at + 1 :]
        loss = model(**tokenizer(rows, return_tensors="pt"), labels=torch.as_tensor(labels)).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert loss < 0.1
    return SequenceClassifier(model, tokenizer, precision="float32")


@pytest.mark.parametrize("method", METHODS)
def test_the_symbol_that_decides_stands_out(looks_for_g: SequenceClassifier, method: str) -> None:
    found = 0
    for at in range(12):
        row = "ACTACTACTACT"
        answer = attribute(looks_for_g, row[:at].lower() + "G" + row[at + 1 :], method)
        assert (answer.target, len(answer.symbols), answer.symbols[at]) == ("g", 12, "G")
        found += int(np.abs(answer.values).argmax() == at)
    assert found >= 10


def test_occlusion_is_the_difference_that_masking_makes(looks_for_g: SequenceClassifier) -> None:
    answer = attribute(looks_for_g, "ACGT", "occlusion", target="none")
    tokenizer = looks_for_g.tokenizer
    for at in range(4):
        ids = tokenizer(["ACGT"], return_tensors="pt").input_ids
        ids[0, at + 1] = tokenizer.mask_token_id
        with torch.inference_mode():
            left = looks_for_g.model(input_ids=ids).logits[0, 0]
        assert answer.values[at] == pytest.approx(float(answer.logits[0] - left), abs=1e-5)


def test_gradient_agrees_with_a_small_step(looks_for_g: SequenceClassifier) -> None:
    answer: Any = attribute(looks_for_g, "ACGT", "gradient x input", target="g")
    model, ids = looks_for_g.model, looks_for_g.tokenizer(["ACGT"], return_tensors="pt").input_ids
    embedded = model.get_input_embeddings()(ids).detach().double()
    model.double()
    for at in range(4):
        ends = []
        for step in (1e-5, -1e-5):
            moved = embedded.clone()
            moved[0, at + 1] *= 1 + step
            with torch.no_grad():
                ends.append(float(model(inputs_embeds=moved).logits[0, 1]))
        assert (ends[0] - ends[1]) / 2e-5 == pytest.approx(float(answer.values[at]), rel=1e-2, abs=1e-3)
    model.float()


def test_what_is_refused(looks_for_g: SequenceClassifier) -> None:
    for row, options, message in (
        ("ACXT", {}, "the sequence.*symbol 'X' at position 3 is not in the dna alphabet"),
        (" ", {}, "the sequence is empty"),
        ("ACGT", {"method": "lime"}, "unknown method 'lime'; allowed: occlusion, gradient x input"),
        ("ACGT", {"target": "h"}, "unknown class 'h'; the model has none, g"),
    ):
        with pytest.raises(ValueError, match=message):
            attribute(looks_for_g, row, **options)


def test_a_model_of_values_has_no_class(tiny_backbone: Path, tmp_path: Path) -> None:
    model = saved(tiny_backbone, tmp_path, "protein", num_labels=1, problem_type="regression")
    with pytest.raises(ValueError, match="unknown class 'stable'; the model has values alone"):
        attribute(SequenceClassifier.from_pretrained(model), "MKV", target="stable")
