"""Published torch checkpoints -> folders that `from_pretrained` loads. Nothing of a checkpoint is run."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import BertConfig, BertModel, BertTokenizer

from ..registry import first_line
from ..runs.model import write_model
from .plus_tfm import VOCABULARY_SIZE, PlusTFMConfig, PlusTFMForSequenceClassification, plus_tokenizer

_HEAD_SIZE = 64  # 768 in 12 heads; a state dict does not say how many heads there are
_BLOCK = re.compile(r"transformer\.blocks\.(\d+)\.")
_WORDS = "transformer.embed.tok_embed.weight"
_POSITIONS = "transformer.embed.pos_embed.pe"
_DECODER = "decoder.weight"
_FEED_FORWARD = "transformer.blocks.0.pwff.fc1.weight"
_BODY = "bert."
_WRITTEN = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")


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
    _check_output(output)
    tensors = {_renamed(name): value for name, value in read_tensors(checkpoint).items()}
    tensors = {name: value for name, value in tensors.items() if not name.startswith("cls.")}
    for name in (_WORDS, _FEED_FORWARD):
        if name not in tensors or tensors[name].dim() != 2:
            what = f"has the shape {tuple(tensors[name].shape)}" if name in tensors else "is missing"
            raise ValueError(f"{checkpoint}: {name!r} {what}; it is no checkpoint of PLUS-TFM")
    entries, size = tensors[_WORDS].shape
    if entries != VOCABULARY_SIZE:
        raise ValueError(f"{checkpoint}: {_WORDS!r} has {entries} entries; PLUS-TFM's alphabet has {VOCABULARY_SIZE}")
    if _POSITIONS in tensors and tensors[_POSITIONS].shape[-1:] != (size,):
        shape = tuple(tensors[_POSITIONS].shape)
        raise ValueError(f"{checkpoint}: {_POSITIONS!r} has the shape {shape}; its last number should be {size}")
    model = PlusTFMForSequenceClassification(_config(tensors, checkpoint))
    decoder = tensors.pop(_DECODER, None)
    if decoder is not None and not torch.equal(decoder, tensors[_WORDS]):
        raise ValueError(f"{checkpoint}: {_DECODER!r} is not tied to {_WORDS!r}; this architecture has one table")
    expected = {name: value for name, value in model.state_dict().items() if not name.startswith("classifier.")}
    tensors.setdefault(_POSITIONS, expected[_POSITIONS])  # fixed, and so not in every file
    check_tensors(tensors, expected, "PLUS-TFM", checkpoint)
    model.load_state_dict(tensors, strict=False)
    write_model(output, model, plus_tokenizer(model.config.max_position_embeddings))
    return output


def _renamed(name: str) -> str:
    return name.removeprefix("module.").replace(".gamma", ".weight").replace(".beta", ".bias")


def _config(tensors: dict[str, torch.Tensor], checkpoint: Path) -> PlusTFMConfig:
    size = tensors[_WORDS].shape[1]
    fields: dict[str, Any] = {}
    if _POSITIONS in tensors:
        tensors[_POSITIONS] = tensors[_POSITIONS].reshape(-1, size)
        fields["max_position_embeddings"] = len(tensors[_POSITIONS])
    blocks = {int(match[1]) for match in map(_BLOCK.match, tensors) if match}
    return PlusTFMConfig(
        hidden_size=size,
        num_hidden_layers=max(blocks) + 1,
        num_attention_heads=max(1, size // _HEAD_SIZE),
        intermediate_size=len(tensors[_FEED_FORWARD]),
        started_from=checkpoint.name,
        **fields,
    )


def convert_antiberty(output: Path) -> Path:
    """AntiBERTy of the installed package as a folder of stock BERT: safetensors, config, tokenizer.

    The package's code is not imported. Its heads for species, chain and graft are left out.

    Source: Ruffolo, Gray and Sulam 2021, arXiv:2112.07782; antiberty 0.1.3, MIT.

    Raises:
        OSError: the package is not installed.
        ValueError: other names or shapes than BERT's.
    """
    _check_output(output)
    package = find_spec("antiberty")
    if package is None or not package.submodule_search_locations:
        raise OSError("the package antiberty is not installed: in a clone of hf_bertx, pip install '.[antiberty]'")
    root = Path(next(iter(package.submodule_search_locations))) / "trained_models"
    checkpoint = root / "AntiBERTy_md_smooth" / "pytorch_model.bin"
    model = BertModel(BertConfig.from_pretrained(checkpoint.parent))
    tensors = {
        name.removeprefix(_BODY): value for name, value in read_tensors(checkpoint).items() if name.startswith(_BODY)
    }
    tensors.pop("embeddings.position_ids", None)  # 0, 1, 2, ...: older versions of transformers saved them
    check_tensors(tensors, model.state_dict(), "BERT", checkpoint)
    model.load_state_dict(tensors)
    words = (root / "vocab.txt").read_text(encoding="utf-8").split()
    tokenizer = BertTokenizer(vocab={word: i for i, word in enumerate(words)}, do_lower_case=False)
    tokenizer.model_max_length = model.config.max_position_embeddings
    write_model(output, model, tokenizer)
    return output


def _check_output(folder: Path) -> None:
    """Raises a ValueError for a folder that holds anything but a converted model, which takes the folder's place."""
    others = sorted(path for path in folder.glob("*") if path.name not in _WRITTEN)
    if others:
        raise ValueError(f"{others[0]}: is no file of a converted model, and would be lost; name another --output")


def read_tensors(checkpoint: Path) -> dict[str, torch.Tensor]:
    """The tensors of a state dict, by name.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that holds anything but tensors by name; it is refused, and nothing of it was run.
    """
    if not checkpoint.is_file():
        raise FileNotFoundError(f"{checkpoint}: no such file")
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a class of a module that is not to be imported here
        raise ValueError(
            f"{checkpoint}: refused, since it is no file of tensors alone; nothing of it was run "
            f"({first_line(error):.120})"
        ) from None
    by_name = isinstance(state, dict) and all(isinstance(name, str) for name in state)
    if not by_name or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ValueError(f"{checkpoint}: holds {type(state).__name__}, not tensors by name")
    return state


def check_tensors(actual: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], model: str, place: Path) -> None:
    """Holds names and shapes to those of a model.

    Raises:
        ValueError: one that differs; the message names it and what is expected.
    """
    unknown, missing = sorted(set(actual) - set(expected)), sorted(set(expected) - set(actual))
    words = [f"lacks {missing[0]!r} ({len(missing)} in all)"] if missing else []
    words += [f"has {unknown[0]!r} ({len(unknown)} in all), which is not the model's"] if unknown else []
    if words:
        raise ValueError(f"{place}: other names than those of {model}: it {' and '.join(words)}")
    for name, value in expected.items():
        if value.shape != actual[name].shape:
            raise ValueError(
                f"{place}: {name!r} has the shape {tuple(actual[name].shape)}; that of {model} is {tuple(value.shape)}"
            )
