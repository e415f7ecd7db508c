"""Encoders of a discipline (ESM-2, ProtBert, DNABERT-2, ...) by Hub id or folder, by their own tokenizer.

Only what stock transformers loads: no code of a repository is run.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertModel,
    BertTokenizer,
    PreTrainedModel,
)

from .. import run_files
from ..modeling_discipline import load_whole
from ..registry import first_line
from ..tokenization.plain_tokenizer import reads_letters_apart
from ..tokenization_discipline import DisciplineTokenizer
from .checkpoints import check_tensors, read_tensors

_ANTIBERTY = Path("trained_models")
_ANTIBERTY_MODEL = _ANTIBERTY / "AntiBERTy_md_smooth"
_BODY = "bert."


def load_encoder(source: str, fields: dict[str, Any]) -> PreTrainedModel:
    """A pre-trained encoder in float32, with a random head.

    Args:
        source: a Hub id or a folder.
        fields: of the config: `num_labels`, `id2label`, ...

    Raises:
        OSError: it cannot be had, needs code of its own, or fits stock transformers only in part, which would be
            filled up at random; the message names the source.
    """
    try:
        return load_whole(
            AutoModelForSequenceClassification, source, dtype=torch.float32, trust_remote_code=False, **fields
        )
    except (OSError, ValueError, KeyError) as error:
        raise _unavailable(source, error) from None


def load_encoder_tokenizer(source: str, longest: int) -> Any:
    """The encoder's own tokenizer, which cuts to `longest` tokens, or to its own limit if that is less.

    Raises:
        OSError: it cannot be had; the message names the source.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise _unavailable(source, error) from None
    tokenizer.model_max_length = min(tokenizer.model_max_length, longest)
    return tokenizer


def _unavailable(source: str, error: Exception) -> OSError:
    return OSError(
        f"encoder {source!r} could not be loaded by stock transformers: {first_line(error)} What to do: name a folder "
        "that `save_pretrained` wrote, or a Hub id that can be reached and needs no code of its own"
    )


def as_written(rows: Dataset, tokenizer: Any) -> Dataset:
    """Rows with blanks between the letters, where the tokenizer knows a letter alone but not in a word."""
    if isinstance(tokenizer, DisciplineTokenizer) or not reads_letters_apart(tokenizer):
        return rows
    return rows.map(lambda row: {"sequence": " ".join(row["sequence"])}, load_from_cache_file=False, desc="Spacing")


def convert_antiberty(output: Path) -> Path:
    """AntiBERTy of the installed package as a folder of stock BERT: safetensors, config, tokenizer.

    The package's code is not imported. Its heads for species, chain and graft are left out.

    Source: Ruffolo, Gray and Sulam 2021, arXiv:2112.07782; antiberty 0.1.3, MIT.

    Raises:
        OSError: the package is not installed.
        ValueError: other names or shapes than BERT's.
    """
    found = find_spec("antiberty")
    if found is None or not found.submodule_search_locations:
        raise OSError("the package antiberty is not installed: pip install 'hf-bertx[antiberty]'")
    root = Path(next(iter(found.submodule_search_locations)))
    checkpoint = root / _ANTIBERTY_MODEL / "pytorch_model.bin"
    model = BertModel(BertConfig.from_pretrained(root / _ANTIBERTY_MODEL))
    tensors = {
        name.removeprefix(_BODY): value for name, value in read_tensors(checkpoint).items() if name.startswith(_BODY)
    }
    tensors.pop("embeddings.position_ids", None)  # 0, 1, 2, ...: older versions of transformers saved them
    check_tensors(tensors, model.state_dict(), "BERT", checkpoint)
    model.load_state_dict(tensors)
    words = (root / _ANTIBERTY / "vocab.txt").read_text(encoding="utf-8").split()
    tokenizer = BertTokenizer(vocab={word: i for i, word in enumerate(words)}, do_lower_case=False)
    tokenizer.model_max_length = model.config.max_position_embeddings

    def save(folder: Path) -> None:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)

    run_files.write_folder(output, save)
    return output
