"""Reading a text tokenizer, and writing one that needs no code of ours."""

from __future__ import annotations

from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from .disciplines import Discipline

# A WordLevel model whose unknown token is not in its vocabulary raises, where [UNK] would be silent.
_RAISES_ON_UNKNOWN = "<a symbol outside the alphabet>"


def read_vocabulary(tokenizer: Any) -> list[str]:
    """The subwords in order of their ids; a hole is `""`."""
    vocabulary = tokenizer.get_vocab()
    tokens = [""] * (max(vocabulary.values()) + 1)
    for token, i in vocabulary.items():
        tokens[i] = token
    return tokens


def probe_template(tokenizer: Any) -> dict[str, list[list[Any]]]:
    """What a text tokenizer puts around a sequence and around a pair, read off two encodings of the letter `a`."""
    templates = {}
    for name, texts in (("single", ("a",)), ("pair", ("a", "a"))):
        probe = tokenizer(*texts, return_special_tokens_mask=True, return_token_type_ids=True)
        items: list[list[Any]] = []
        parts = iter("AB")
        for i, special, kind in zip(probe.input_ids, probe.special_tokens_mask, probe.token_type_ids, strict=True):
            if special:
                items.append([int(i), int(kind)])
            elif not items or not isinstance(items[-1][0], str):
                items.append([next(parts), int(kind)])
        templates[name] = items
    return templates


def plain_tokenizer(
    discipline: Discipline, ids: dict[str, int], special_ids: dict[str, int], template: dict[str, list[list[Any]]]
) -> Tokenizer:
    """The mapping of a `DisciplineTokenizer` as a `tokenizers.Tokenizer`: symbols looked up whole, unknown ones raise.

    Args:
        ids: the id of every symbol and special token.
        special_ids: the special tokens among them.
        template: what stands around a sequence and a pair, as [`probe_template`] gives it.
    """
    separated = bool(discipline.separator)
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=_RAISES_ON_UNKNOWN))
    if discipline.ignore_case:
        lower = [(s.swapcase(), s) for s in discipline.symbols if s.swapcase() != s]
        tokenizer.normalizer = normalizers.Sequence([normalizers.Replace(a, b) for a, b in lower])
    tokenizer.pre_tokenizer = (
        pre_tokenizers.WhitespaceSplit() if separated else pre_tokenizers.Split(Regex("."), "isolated")
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
