"""The published `PLUS-TFM.pt` -> a folder that `from_pretrained` loads: safetensors, config, tokenizer."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from ... import run_files
from ..checkpoints import check_tensors, read_tensors
from .configuration_plus_tfm import PlusTFMConfig
from .modeling_plus_tfm import PlusTFMForSequenceClassification
from .tokenization_plus_tfm import VOCABULARY_SIZE, plus_tokenizer

_HEAD_SIZE = 64  # 768 in 12 heads; a state dict does not say how many heads there are
_BLOCK = re.compile(r"transformer\.blocks\.(\d+)\.")
_WORDS, _POSITIONS, _DECODER = (
    "transformer.embed.tok_embed.weight",
    "transformer.embed.pos_embed.pe",
    "decoder.weight",
)
_FEED_FORWARD = "transformer.blocks.0.pwff.fc1.weight"


def convert_plus_tfm(checkpoint: Path, output: Path) -> Path:
    """Converts a checkpoint of PLUS-TFM; the classifier's weights are random.

    Args:
        checkpoint: a torch state dict; keys may begin with `module.`, and those of `cls` are left out.
        output: the folder to write, whole or not at all.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that holds anything but tensors, which is refused without being run; names or shapes that
            are not PLUS-TFM's; a decoder that is not tied to the embeddings.
    """
    tensors = {name.removeprefix("module."): value for name, value in read_tensors(checkpoint).items()}
    tensors = {_renamed(name): value for name, value in tensors.items() if not name.startswith("cls.")}
    for name in (_WORDS, _FEED_FORWARD):
        if name not in tensors or tensors[name].dim() != 2:
            what = f"has the shape {tuple(tensors[name].shape)}" if name in tensors else "is missing"
            raise ValueError(f"{checkpoint}: {name!r} {what}; it is no checkpoint of PLUS-TFM")
    entries, size = tensors[_WORDS].shape
    if entries != VOCABULARY_SIZE:
        raise ValueError(f"{checkpoint}: {_WORDS!r} has {entries} entries; PLUS-TFM's alphabet has {VOCABULARY_SIZE}")
    if _POSITIONS in tensors and tensors[_POSITIONS].shape[-1:] != (size,):
        found = tuple(tensors[_POSITIONS].shape)
        raise ValueError(f"{checkpoint}: {_POSITIONS!r} has the shape {found}; its last number should be {size}")
    model = PlusTFMForSequenceClassification(_config(tensors, checkpoint))
    expected = model.state_dict()
    kept = {name for name in expected if name.startswith("classifier.")}
    decoder = tensors.pop(_DECODER, None)
    if decoder is not None and not torch.equal(decoder, tensors[_WORDS]):
        raise ValueError(f"{checkpoint}: {_DECODER!r} is not tied to {_WORDS!r}; this architecture has one table")
    if _POSITIONS not in tensors:  # fixed, and so not in every file
        kept.add(_POSITIONS)
    wanted = {name: value for name, value in expected.items() if name not in kept}
    check_tensors(tensors, wanted, "PLUS-TFM", checkpoint)
    model.load_state_dict({**{name: expected[name] for name in kept}, **tensors})
    tokenizer = plus_tokenizer(model.config.max_position_embeddings)

    def save(folder: Path) -> None:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)

    run_files.write_folder(output, save)
    return output


def _renamed(name: str) -> str:
    return name.replace(".gamma", ".weight").replace(".beta", ".bias")


def _config(tensors: dict[str, torch.Tensor], checkpoint: Path) -> PlusTFMConfig:
    size = tensors[_WORDS].shape[1]
    fields: dict[str, Any] = {}
    if _POSITIONS in tensors:
        tensors[_POSITIONS] = tensors[_POSITIONS].reshape(-1, size)
        fields["max_position_embeddings"] = len(tensors[_POSITIONS])
    blocks = {int(match[1]) for match in map(_BLOCK.match, tensors) if match}
    return PlusTFMConfig(
        vocab_size=len(tensors[_WORDS]),
        hidden_size=size,
        num_hidden_layers=max(blocks) + 1,
        num_attention_heads=max(1, size // _HEAD_SIZE),
        intermediate_size=len(tensors[_FEED_FORWARD]),
        started_from=checkpoint.name,
        **fields,
    )
