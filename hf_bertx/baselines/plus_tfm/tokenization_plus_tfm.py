"""The alphabet of PLUS-TFM, as a tokenizer that plain transformers loads."""

from __future__ import annotations

from typing import Any

from tokenizers import normalizers
from transformers import PreTrainedTokenizerFast

from ...disciplines import Discipline
from ...tokenization.plain_tokenizer import plain_tokenizer

# ids 1 to 21 in this order; X stands for any residue
ALPHABET = Discipline("plus-protein", tuple("ARNDCQEGHILKMFPSTWYVX"), ignore_case=True)
PAD, MASK, CLS, SEP = 0, 22, 23, 24
VOCABULARY_SIZE = 25
UNKNOWN_RESIDUE = 21
# Other letters of FASTA files and the residue whose id they share.
_READ_AS = {"O": "K", "U": "C", "B": "X", "Z": "X", "J": "X", "*": "X"}


def plus_tokenizer(longest: int) -> PreTrainedTokenizerFast:
    """Proteins as `[CLS] residues [SEP]`; pyrrolysine is read as lysine, selenocysteine as cysteine, B Z J * as X.

    Args:
        longest: tokens, [CLS] and [SEP] among them.
    """
    special = {"[PAD]": PAD, "[MASK]": MASK, "[CLS]": CLS, "[SEP]": SEP}
    template: dict[str, list[list[Any]]] = {
        "single": [[CLS, 0], ["A", 0], [SEP, 0]],
        "pair": [[CLS, 0], ["A", 0], [SEP, 0], ["B", 1], [SEP, 1]],
    }
    ids = {symbol: i + 1 for i, symbol in enumerate(ALPHABET.symbols)} | special
    inner = plain_tokenizer(ALPHABET, ids, special, template)
    replaced = [normalizers.Replace(letter.lower(), letter) for letter in _READ_AS if letter.isalpha()]
    replaced += [normalizers.Replace(letter, residue) for letter, residue in _READ_AS.items()]
    inner.normalizer = normalizers.Sequence([inner.normalizer, *replaced])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="[PAD]",
        mask_token="[MASK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=longest,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )
