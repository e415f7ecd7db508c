"""Reads from a text tokenizer what a DisciplineTokenizer needs: a subword for each symbol, and special tokens."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from ..disciplines import Discipline, get_discipline
from ..token_map import assign, random_subword_table

PRETRAINED_ON = "pretrained_on"  # entry in the tokenizer_config.json of a model of `bertx pretrain --discipline`
Template = dict[str, list[list[Any]]]


def subwords_of(
    backbone: Any,
    discipline: Discipline,
    assignment: str,
    seed: int | None,
    counts_file: str | Path | None,
    remap_special_tokens: bool,
    add_special_tokens: bool,
) -> dict[str, Any]:
    """Arguments of a `DisciplineTokenizer` over a text model's vocabulary: see [`DisciplineTokenizer.from_backbone`].

    Raises:
        ValueError: the vocabulary cannot serve the assignment, or an argument is not allowed.
    """
    text = backbone
    if isinstance(backbone, (str, Path)):
        text = AutoTokenizer.from_pretrained(backbone, trust_remote_code=False)
    if "alphabet" in text.init_kwargs:
        raise ValueError(
            f"{text.name_or_path or 'backbone'} has a tokenizer of {text.init_kwargs['alphabet']['name']} already: "
            "load it by DisciplineTokenizer.from_pretrained, or name a text model"
        )
    _check_pretraining(text, discipline, assignment)
    vocabulary = read_vocabulary(text)
    special = {token: text.convert_tokens_to_ids(token) for token in text.all_special_tokens}
    names = {name: token for name, token in text.special_tokens_map.items() if isinstance(token, str)}
    names = {name: str(token) for name, token in names.items() if name != "unk_token"}
    try:
        ids, record = assign(len(discipline.symbols), vocabulary, special.values(), assignment, seed, counts_file)
    except ValueError as error:
        raise ValueError(f"{error}" if discipline.kmer is None else f"kmer is {discipline.k}: {error}") from None
    kept = {token: special[token] for token in dict.fromkeys(names.values())}
    template = probe_template(text)
    if remap_special_tokens:
        if seed is None or assignment != "random":
            raise ValueError("remap_special_tokens needs assignment='random' and its seed")
        table = random_subword_table(seed, len(vocabulary))
        kept = {token: int(table[i]) for token, i in kept.items()}
        template = {
            name: [[item if isinstance(item, str) else int(table[item]), kind] for item, kind in items]
            for name, items in template.items()
        }
        record["remapped_special_tokens"] = True
    if not add_special_tokens:
        template = {name: without_special_tokens(items) for name, items in template.items()}
    return {
        "symbol_ids": ids,
        "special_ids": kept,
        "template": template,
        "backbone_vocab_size": len(vocabulary),
        "assignment": record,
        "model_max_length": text.model_max_length,
        "model_input_names": text.model_input_names,
        "padding_side": text.padding_side,
        **names,
    }


def _check_pretraining(text: Any, discipline: Discipline, assignment: str) -> None:
    """A model that was pre-trained on a discipline reads it by the subwords of its pre-training alone."""
    before = text.init_kwargs.get(PRETRAINED_ON, {})
    if before.get("discipline") != discipline.name:
        return
    for name, value in {"assignment": assignment, "kmer": discipline.kmer}.items():
        if before.get(name) != value:
            raise ValueError(
                f"{name} is {value!r}; {text.name_or_path} was pre-trained on {discipline.name} with "
                f"{before.get(name)!r}, and its symbols have those subwords"
            )


def check_subwords(discipline: Discipline, symbol_ids: list[int], special_ids: dict[str, int], size: int) -> None:
    """Checks that symbols and special tokens have distinct ids within the backbone's embedding table."""
    symbols = discipline.symbols
    if len(symbol_ids) != len(symbols):
        raise ValueError(f"{len(symbol_ids)} symbol_ids for the {len(symbols)} symbols of {discipline.name}")
    ids = [*symbol_ids, *special_ids.values()]
    if len(set(ids)) != len(ids):
        raise ValueError("two symbols or special tokens share one id")
    outside = [i for i in ids if not 0 <= i < size]
    if outside:
        raise ValueError(f"id {outside[0]} is outside the backbone's table: 0 to {size - 1}")
    clash = set(symbols) & set(special_ids)
    if clash:
        raise ValueError(f"symbol {min(clash)!r} is also a special token of the backbone")


def check_known(tokens: Iterable[Any], known: Collection[str], discipline: Discipline) -> None:
    """Checks that a tokenizer has tokens already, since none can be added."""
    for token in map(str, tokens):
        if token not in known:
            raise ValueError(
                f"{token!r} cannot be added: the ids are rows of the backbone's table. "
                f"Declare a Discipline with that symbol (this one has {discipline.alphabet()})"
            )


def saved_discipline(alphabet: str | dict[str, Any] | Discipline | None, source: str | None) -> Discipline:
    """The discipline that a tokenizer's config describes.

    Raises:
        ValueError: it describes none, such as that of a text model.
    """
    if alphabet is None:
        raise ValueError(
            f"{source or 'the config'} describes no alphabet, so it is no saved DisciplineTokenizer; to make one over "
            "a text model's vocabulary, call DisciplineTokenizer.from_backbone"
        )
    return Discipline.from_dict(alphabet) if isinstance(alphabet, dict) else get_discipline(alphabet)


def read_vocabulary(tokenizer: Any) -> list[str]:
    """The subwords in order of their ids; a hole is `""`."""
    vocabulary = tokenizer.get_vocab()
    tokens = [""] * (max(vocabulary.values()) + 1)
    for token, i in vocabulary.items():
        tokens[i] = token
    return tokens


def probe_template(tokenizer: Any) -> Template:
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


def without_special_tokens(items: list[list[Any]]) -> list[list[Any]]:
    return [item for item in items if isinstance(item[0], str)]
