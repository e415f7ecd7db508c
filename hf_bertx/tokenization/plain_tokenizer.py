"""The saved form of a tokenizer, which needs no code of hf_bertx."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from ..disciplines import Discipline, case_variants, fold

_LETTERS_OF_BOTH = "ACGT"  # nucleotides, and residues
# With an unknown token that is not in the vocabulary, a WordLevel model raises an error instead of using [UNK].
_RAISES_ON_UNKNOWN = "<a symbol outside the alphabet>"


def reads_letters_apart(tokenizer: Any) -> bool:
    """Whether a tokenizer of a protein or DNA model knows a letter alone but not in a word: ProtBert's does."""
    return tokenizer.unk_token_id is not None and tokenizer.unk_token_id in tokenizer(_LETTERS_OF_BOTH).input_ids


def _folding(discipline: Discipline) -> list[Any]:
    """A normalizer that converts every symbol to the case of the vocabulary."""
    if not discipline.ignore_case:
        return []
    if not discipline.separator or all(symbol == fold(symbol) for symbol in discipline.symbols):  # letter by letter
        letters = dict.fromkeys("".join(discipline.symbols))
        return [normalizers.Replace(v, a) for a in letters for v in sorted(case_variants(a) - {a})]
    written = {symbol: "".join(_any_case(letter) for letter in symbol) for symbol in discipline.symbols}
    return [normalizers.Replace(Regex(rf"(?<!\S){pattern}(?!\S)"), symbol) for symbol, pattern in written.items()]


def _any_case(letter: str) -> str:
    return "(?:" + "|".join(re.escape(variant) for variant in sorted(case_variants(letter))) + ")"


def plain_tokenizer(
    discipline: Discipline, ids: dict[str, int], special_ids: dict[str, int], template: dict[str, list[list[Any]]]
) -> Tokenizer:
    """The mapping of a `DisciplineTokenizer` as a `tokenizers.Tokenizer`: symbols looked up whole, unknown ones raise.

    Args:
        ids: the id of every symbol and special token.
        special_ids: the special tokens among them.
        template: what stands around a sequence and a pair, as `probe_template` gives it.
    """
    separated, symbol = bool(discipline.separator), "."
    if plain := "".join(discipline.plain_letters):
        symbol = f"[{re.escape(plain)}]{{{discipline.k}}}|."
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=_RAISES_ON_UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Strip(), *_folding(discipline)])
    tokenizer.pre_tokenizer = (
        pre_tokenizers.WhitespaceSplit() if separated else pre_tokenizers.Split(Regex(symbol), "isolated")
    )
    if not separated:
        tokenizer.decoder = decoders.Fuse()
    token_of = {i: token for token, i in ids.items()}
    written = {
        name: " ".join(
            f"${item}:{kind}" if isinstance(item, str) else f"{token_of[item]}:{kind}" for item, kind in items
        )
        for name, items in template.items()
    }
    tokenizer.post_processor = processors.TemplateProcessing(
        single=written["single"], pair=written["pair"], special_tokens=list(special_ids.items())
    )
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special_ids])
    return tokenizer


def save_plain(tokenizer: Tokenizer, folder: Path, prefix: str | None) -> str:
    """Saves `tokenizer.json`, and names the class that reads it in `tokenizer_config.json`. Returns the path."""
    before = f"{prefix}-" if prefix else ""
    path, config = (folder / f"{before}{name}.json" for name in ("tokenizer", "tokenizer_config"))
    tokenizer.save(str(path))
    if config.is_file():
        # transformers refuses, or guesses, when it finds our class (or TokenizersBackend)
        text = config.read_text(encoding="utf-8")
        config.write_text(text.replace('"DisciplineTokenizer"', '"PreTrainedTokenizerFast"'), encoding="utf-8")
    return str(path)
