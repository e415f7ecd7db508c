"""Attribution: which positions of a sequence a prediction depends on.

Attributions describe the model, not biology or music.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..data.input_records import InputRecord
from ..tokenization_discipline import DisciplineTokenizer
from .batches import for_each_batch
from .inference import SequenceClassifier, check_finite

METHODS = ("occlusion", "gradient x input")


@dataclass(frozen=True)
class Attribution:
    """What each symbol contributed to the logit of one class, or to the value of a regression.

    Args:
        symbols: those that the model read.
        values: positive where a symbol speaks for the class, shape `(symbols,)`.
        target: the class's name; `value` for a regression.
        logits: of the part that was read, shape `(classes,)`; of a longer sequence, its first window.
    """

    symbols: list[str]
    values: np.ndarray
    target: str
    logits: np.ndarray


def attribute(
    classifier: SequenceClassifier, sequence: str, method: str = METHODS[0], target: str | None = None
) -> Attribution:
    """Attributes a logit to the symbols of a sequence.

    `occlusion` is how much the logit falls when the mask token replaces the symbol. It takes one pass for each symbol:
    seconds for hundreds. `gradient x input` is the gradient of the logit by the symbol's embedding, times the
    embedding. It takes one pass, and often has the wrong sign where the model is confident.

    Args:
        target: a class's name; by default the predicted one.

    Raises:
        ValueError: an unknown method or class, a symbol outside the alphabet, or a model of text, whose tokens are no
            symbols.
    """
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; allowed: {', '.join(METHODS)}")
    tokenizer = classifier.tokenizer
    if not isinstance(tokenizer, DisciplineTokenizer):
        raise ValueError(
            "a model of text has no symbols; allowed: a model of dna, protein, music or a declared alphabet"
        )
    sequence = sequence.strip()
    if not sequence:
        raise ValueError("the sequence is empty")
    classifier.count([InputRecord("", sequence, "the sequence")])
    encoded = tokenizer(
        [sequence],
        truncation=True,
        max_length=classifier.max_length,
        return_tensors="pt",
        return_special_tokens_mask=True,
        verbose=False,
    )
    ids = encoded["input_ids"].to(classifier.model.device)
    positions = torch.nonzero(encoded["special_tokens_mask"][0] == 0)[:, 0]
    with torch.inference_mode():
        logits = classifier.model(input_ids=ids).logits[0].float().cpu().numpy()
    check_finite(logits, "the sequence")
    number = int(logits.argmax()) if target is None else classifier.number_of(target)
    values = (_by_occlusion if method == METHODS[0] else _by_gradient)(classifier, ids, positions, number, logits)
    symbols = [tokenizer.convert_ids_to_tokens(i) for i in ids[0, positions].tolist()]
    return Attribution(symbols, values, "value" if classifier.regression else classifier.labels[number], logits)


def _by_gradient(
    classifier: SequenceClassifier, ids: torch.Tensor, positions: torch.Tensor, number: int, logits: np.ndarray
) -> np.ndarray:
    embedded = classifier.model.get_input_embeddings()(ids).detach().requires_grad_()
    logit = classifier.model(inputs_embeds=embedded).logits[0, number]
    (gradient,) = torch.autograd.grad(logit, embedded)
    return (gradient * embedded).sum(-1)[0, positions].detach().float().cpu().numpy()


def _by_occlusion(
    classifier: SequenceClassifier, ids: torch.Tensor, positions: torch.Tensor, number: int, logits: np.ndarray
) -> np.ndarray:
    mask = classifier.tokenizer.mask_token_id
    if mask is None:
        raise ValueError("the tokenizer has no mask token to put in a symbol's place; allowed: gradient x input")
    hidden = ids.repeat(len(positions), 1)  # (symbols, length)
    hidden[torch.arange(len(positions)), positions] = mask
    left: np.ndarray = np.empty(len(positions), dtype=np.float32)

    def predict(batch: np.ndarray) -> None:
        with torch.inference_mode():
            left[batch] = classifier.model(input_ids=hidden[torch.as_tensor(batch)]).logits[:, number].float().cpu()

    lengths = np.full(len(positions), ids.shape[1])
    for_each_batch(predict, lengths, classifier.tokens_a_batch, classifier.threads)
    return logits[number] - left
