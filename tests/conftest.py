"""Small real models and tokenizers, made once a test session. No network: the Hub address leads nowhere."""

import os

os.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, BertTokenizer, PreTrainedTokenizerFast

from hf_bertx.configuration_discipline import DISCIPLINE_CONFIGS

ROOT = Path(__file__).resolve().parent.parent
WORDS = 600


def small_config(model_type: str) -> Any:
    """The config of a sibling, in miniature."""
    sizes: dict[str, Any] = {"vocab_size": 120, "num_labels": 3}
    if model_type == "distilbert":
        sizes |= {"dim": 32, "n_layers": 1, "n_heads": 2, "hidden_dim": 16}
    else:
        sizes |= {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    if model_type in ("albert", "electra"):
        sizes["embedding_size"] = 16
    if model_type == "modernbert":
        sizes |= {"pad_token_id": 0, "cls_token_id": 1, "sep_token_id": 2, "bos_token_id": 1, "eos_token_id": 2}
    return DISCIPLINE_CONFIGS[model_type](**sizes)


@pytest.fixture(scope="session")
def wordpiece_vocabulary() -> list[str]:
    """Laid out as BERT's: specials and unused below 1000, then words."""
    tokens = ["[PAD]", *(f"[unused{n}]" for n in range(99)), "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokens += [f"[unused{n}]" for n in range(99, 968)]
    tokens += [chr(ord("a") + n) for n in range(26)] + ["!"]
    assert len(tokens) == 1000
    return tokens + [f"word{n}" for n in range(WORDS)]


@pytest.fixture(scope="session")
def tiny_backbone(tmp_path_factory: pytest.TempPathFactory, wordpiece_vocabulary: list[str]) -> Path:
    """A BERT of 2 layers x 32 with random weights that plays the pre-trained one."""
    folder = tmp_path_factory.mktemp("tiny-bert")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(wordpiece_vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
        initializer_range=0.05,
    )
    BertModel(config).save_pretrained(folder)
    tokenizer = BertTokenizer(vocab={token: i for i, token in enumerate(wordpiece_vocabulary)})
    tokenizer.model_max_length = 128
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def unigram_tokenizer() -> PreTrainedTokenizerFast:
    """As ALBERT's: a Unigram vocabulary, `[CLS] A [SEP] B [SEP]`, token types."""
    pieces = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]", "▁", "a", *(f"▁word{n}" for n in range(300))]
    inner = Tokenizer(models.Unigram([(piece, -float(n)) for n, piece in enumerate(pieces)], unk_id=1))
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<pad>",
        unk_token="<unk>",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=128,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


@pytest.fixture(scope="session")
def roberta_tokenizer() -> PreTrainedTokenizerFast:
    """As RoBERTa's: `<s> A </s></s> B </s>`, no token types, padding is id 1."""
    tokens = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "a", *(f"Ġword{n}" for n in range(1300))]
    inner = Tokenizer(models.WordLevel({token: i for i, token in enumerate(tokens)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<pad>",
        unk_token="<unk>",
        cls_token="<s>",
        sep_token="</s>",
        bos_token="<s>",
        eos_token="</s>",
        mask_token="<mask>",
        model_max_length=128,
        model_input_names=["input_ids", "attention_mask"],
    )
