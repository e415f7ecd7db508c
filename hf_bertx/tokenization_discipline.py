"""DisciplineTokenizer: symbols of a discipline in, ids of a text model's subwords out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import AddedToken, Tokenizer
from transformers import PreTrainedTokenizer
from transformers.tokenization_utils_base import BatchEncoding

from .disciplines import Discipline, get_discipline
from .tokenization.batch_encoder import BatchEncoder, Cut, as_columns
from .tokenization.batch_layout import Rows, layout, padded_width
from .tokenization.plain_tokenizer import plain_tokenizer, save_plain
from .tokenization.subwords import check_known, check_subwords, saved_discipline, subwords_of
from .tokenization.symbol_lookup import UnknownSymbolError

TRUNCATION_KEEPS = ("head", "head_tail")


class DisciplineTokenizer(PreTrainedTokenizer):
    """Maps each symbol of a discipline to one subword id of a backbone, by one table look-up for the whole batch.

    Make one with [`DisciplineTokenizer.from_backbone`]; the constructor is what `from_pretrained` calls with the saved
    `tokenizer_config.json`. Beside that file `save_pretrained` writes a `tokenizer.json`, from which plain
    `AutoTokenizer` gives the same ids where hf_bertx is not installed (sequences that are cut there keep their head).

    `len(tokenizer)` is the size of the backbone's embedding table, not of the alphabet: ids go up to there, and
    `resize_token_embeddings(len(tokenizer))` leaves the model whole.

    Args:
        alphabet: a built-in discipline's name, a `Discipline`, or its record.
        symbol_ids: the subword id of each symbol, in the order of `discipline.symbols`.
        special_ids: the id of each special token.
        template: what stands around a sequence and a pair: `{"single": [[101, 0], ["A", 0], [102, 0]], "pair": ...}`,
            each item an id or `"A"`/`"B"` with its token type.
        backbone_vocab_size: rows of the backbone's embedding table.
        assignment: how the ids were chosen; a record.
        truncation_keeps: which symbols stay when a sequence is longer than `max_length`: its `head`, or `head_tail`,
            the first and the last half.

    Example:
        ```python
        >>> tokenizer = DisciplineTokenizer.from_backbone("bert-base-uncased", "dna")
        >>> tokenizer("ACGT").input_ids
        [101, 1996, 1997, 1998, 1999, 102]
        ```

    Raises:
        UnknownSymbolError: on encoding, with the symbol, the sequence's number, the position and the alphabet.
    """

    vocab_files_names = {"tokenizer_file": "tokenizer.json"}
    model_input_names = ["input_ids", "token_type_ids", "attention_mask"]

    def __init__(
        self,
        alphabet: str | dict[str, Any] | Discipline | None = None,
        symbol_ids: Sequence[int] = (),
        special_ids: dict[str, int] | None = None,
        template: dict[str, list[list[Any]]] | None = None,
        backbone_vocab_size: int = 0,
        assignment: dict[str, Any] | None = None,
        truncation_keeps: str = "head",
        tokenizer_file: str | None = None,  # named by vocab_files_names, but this class reads only its config
        **kwargs: Any,
    ) -> None:
        self.discipline = saved_discipline(alphabet, kwargs.get("name_or_path"))
        self.symbol_ids = [int(i) for i in symbol_ids]
        self.special_ids = {token: int(i) for token, i in (special_ids or {}).items()}
        self.template = {name: [list(item) for item in items] for name, items in (template or {}).items()}
        self.backbone_vocab_size = int(backbone_vocab_size)
        self.assignment = dict(assignment or {})
        self.truncation_keeps = truncation_keeps
        if truncation_keeps not in TRUNCATION_KEEPS:
            raise ValueError(f"truncation_keeps is {truncation_keeps!r}; allowed: {', '.join(TRUNCATION_KEEPS)}")
        check_subwords(self.discipline, self.symbol_ids, self.special_ids, self.backbone_vocab_size)
        self._id_of_token = dict(zip(self.discipline.symbols, self.symbol_ids, strict=True)) | self.special_ids
        self._token_of_id = {i: token for token, i in self._id_of_token.items()}
        self._encoder = BatchEncoder(self.discipline, self.symbol_ids, self.template)
        kwargs.setdefault("clean_up_tokenization_spaces", False)
        for side in ("padding_side", "truncation_side"):
            kwargs.setdefault(side, "right")  # `save_pretrained` keeps the attributes that are named here alone
        kwargs.setdefault("split_special_tokens", True)  # AutoTokenizer also reads "[SEP]" in a sequence as letters
        super().__init__(
            alphabet=self.discipline.to_dict(),
            symbol_ids=self.symbol_ids,
            special_ids=self.special_ids,
            template=self.template,
            backbone_vocab_size=self.backbone_vocab_size,
            assignment=self.assignment,
            truncation_keeps=self.truncation_keeps,
            **kwargs,
        )

    @classmethod
    def from_backbone(
        cls,
        backbone: Any,
        discipline: str | Discipline,
        assignment: str = "frequent",
        seed: int | None = None,
        counts_file: str | Path | None = None,
        truncation_keeps: str = "head",
        remap_special_tokens: bool = False,
        model_max_length: int | None = None,
        add_special_tokens: bool = True,
    ) -> DisciplineTokenizer:
        """A tokenizer for a discipline over the vocabulary of a text model.

        Args:
            backbone: the text model's own tokenizer, or a name or folder that `AutoTokenizer` loads.
            assignment, seed, counts_file: see [`token_map.assign`].
            remap_special_tokens: send [CLS], [SEP] and the others to random subwords too, as the authors' code does;
                needs the `random` assignment.
            model_max_length: the longest input in tokens; the backbone's own by default.
            add_special_tokens: put the backbone's special tokens around each sequence. `False` leaves them out of the
                template, so that the saved tokenizer never adds any, in plain `AutoTokenizer` too.

        Raises:
            ValueError: the vocabulary cannot serve the assignment, or an argument is not allowed.
        """
        known = get_discipline(discipline)
        chosen = subwords_of(backbone, known, assignment, seed, counts_file, remap_special_tokens, add_special_tokens)
        chosen["model_max_length"] = model_max_length or chosen["model_max_length"]
        return cls(alphabet=known, truncation_keeps=truncation_keeps, **chosen)

    @property
    def vocab_size(self) -> int:
        """Rows of the backbone's embedding table, which every id is below."""
        return self.backbone_vocab_size

    def __len__(self) -> int:
        return self.backbone_vocab_size

    def get_vocab(self) -> dict[str, int]:
        return dict(self._id_of_token)

    def _add_tokens(self, new_tokens: list[str] | list[AddedToken], special_tokens: bool = False) -> int:
        check_known(new_tokens, self._id_of_token, self.discipline)
        return super()._add_tokens(new_tokens, special_tokens)

    def add_special_tokens(
        self, special_tokens_dict: dict[str, Any], replace_extra_special_tokens: bool = True
    ) -> int:
        for given in special_tokens_dict.values():  # the stock method sets attributes before it adds tokens
            check_known([given] if isinstance(given, (str, AddedToken)) else given, self._id_of_token, self.discipline)
        return super().add_special_tokens(special_tokens_dict, replace_extra_special_tokens)

    def _tokenize(self, text: str, **kwargs: Any) -> list[str]:
        return [self.discipline.symbols[code] for code in self._encoder.symbols.codes([text])[0].tolist()]

    def _convert_token_to_id(self, token: str) -> int:
        if token not in self._id_of_token:
            raise UnknownSymbolError(
                f"symbol {token!r} is not in the {self.discipline.name} alphabet: {self.discipline.alphabet()}"
            )
        return self._id_of_token[token]

    def _convert_id_to_token(self, index: int) -> str:
        if index not in self._token_of_id:
            raise ValueError(f"id {index} stands for no symbol of {self.discipline.name} and no special token")
        return self._token_of_id[index]

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        return self.discipline.separator.join(tokens)

    def count_symbols(self, texts: Sequence[str]) -> np.ndarray:
        """The number of symbols of each text, shape `(texts,)`.

        Raises:
            UnknownSymbolError: a text holds a symbol outside the alphabet.
        """
        return self._encoder.symbols.codes(texts)[1]

    def _encode_plus(
        self,
        text: Any,
        text_pair: Any = None,
        add_special_tokens: bool = True,
        padding_strategy: Any = None,
        truncation_strategy: Any = None,
        max_length: int | None = None,
        is_split_into_words: bool = False,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_tensors: Any = None,
        return_token_type_ids: bool | None = None,
        return_attention_mask: bool | None = None,
        return_special_tokens_mask: bool = False,
        return_length: bool = False,
        **kwargs: Any,
    ) -> BatchEncoding:
        for option in ("return_overflowing_tokens", "return_offsets_mapping", "stride"):
            if kwargs.get(option):
                raise NotImplementedError(f"DisciplineTokenizer has no {option}: one symbol is one token")
        texts, single = as_columns(text, text_pair, is_split_into_words, self.discipline.separator.join)
        strategy = getattr(truncation_strategy, "value", "do_not_truncate")
        rows = self._rows(texts, add_special_tokens, strategy, max_length, kwargs.get("verbose", True))
        padding, as_array = getattr(padding_strategy, "value", "do_not_pad"), return_tensors is not None
        width = padded_width(rows.lengths, padding, max_length, pad_to_multiple_of, as_array)
        given = {"token_type_ids": return_token_type_ids, "attention_mask": return_attention_mask}
        names = {name for name, value in given.items() if value or (value is None and name in self.model_input_names)}
        ids: np.ndarray = self._encoder.id_by_code.take(rows.codes)
        columns: dict[str, tuple[np.ndarray | int, int]] = {"input_ids": (ids, self.pad_token_id)}
        if "token_type_ids" in names:
            columns["token_type_ids"] = rows.types, self.pad_token_type_id
        if "attention_mask" in names:
            columns["attention_mask"] = 1, 0
        if return_special_tokens_mask:
            columns["special_tokens_mask"] = rows.special(), 1
        shape = rows.lengths, width
        side = padding_side or self.padding_side
        data: dict[str, Any] = {k: layout(flat, *shape, pad, side, as_array) for k, (flat, pad) in columns.items()}
        if return_length:
            data["length"] = np.maximum(rows.lengths, width or 0).tolist()
        if single and not as_array:
            data = {name: value[0] if name != "length" else value for name, value in data.items()}
        return BatchEncoding(data, tensor_type=return_tensors)

    def encode_flat(
        self,
        text: Sequence[str],
        text_pair: Sequence[str] | None = None,
        add_special_tokens: bool = True,
        truncation: bool = False,
        max_length: int | None = None,
        verbose: bool = True,
    ) -> tuple[dict[str, np.ndarray | int], np.ndarray]:
        """Encodes many sequences into flat arrays, four times as fast as into lists and without padding.

        Args:
            text: the sequences.
            text_pair: the second sequence of each, for pairs.
            truncation: cut each item to `max_length`, by default to `model_max_length`.
            verbose: warn of sequences that are cut.

        Returns:
            The model's inputs without `attention_mask`: each an array of shape `(tokens,)`, row after row, or one
            number that all tokens have. And the number of tokens of each row, of shape `(rows,)`.

        Raises:
            UnknownSymbolError: a sequence holds a symbol outside the alphabet.

        Example:
            ```python
            >>> columns, lengths = tokenizer.encode_flat(["ACGT", "A"])
            >>> lengths
            array([6, 3])
            ```
        """
        texts, _ = as_columns(text, text_pair, False, self.discipline.separator.join)
        strategy = "longest_first" if truncation else "do_not_truncate"
        rows = self._rows(texts, add_special_tokens, strategy, max_length, verbose)
        ids: np.ndarray = self._encoder.id_by_code.astype(np.int32)
        columns: dict[str, np.ndarray | int] = {"input_ids": ids.take(rows.codes)}
        if "token_type_ids" in self.model_input_names:
            columns["token_type_ids"] = rows.types
        return columns, rows.lengths

    def _rows(
        self, columns: list[list[str]], special: bool, strategy: str, max_length: int | None, verbose: bool
    ) -> Rows:
        if strategy != "do_not_truncate":
            keeps = "tail" if self.truncation_side == "left" else self.truncation_keeps
            cut = Cut(max_length or self.model_max_length, strategy, keeps, verbose)
            return self._encoder.rows(columns, special, cut)
        rows = self._encoder.rows(columns, special)
        self._eventual_warn_about_too_long_sequence(range(int(rows.lengths.max(initial=0))), max_length, verbose)
        return rows

    def build_inputs_with_special_tokens(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        parts = {"A": token_ids_0, "B": token_ids_1}
        items = self.template["single" if token_ids_1 is None else "pair"]
        return list(chain.from_iterable(parts[item] or [] if isinstance(item, str) else [item] for item, _ in items))

    def get_special_tokens_mask(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None, already_has_special_tokens: bool = False
    ) -> list[int]:
        if already_has_special_tokens:
            return super().get_special_tokens_mask(token_ids_0, token_ids_1, already_has_special_tokens=True)
        symbols: list[Any] = [None if ids is None else [None] * len(ids) for ids in (token_ids_0, token_ids_1)]
        return [int(token is not None) for token in self.build_inputs_with_special_tokens(*symbols)]

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str, ...]:
        """Saves `tokenizer.json`, which plain `AutoTokenizer` loads, and names its class in `tokenizer_config.json`.

        `save_pretrained` calls this after it wrote that file and before it uploads any.
        """
        return (save_plain(self.to_tokenizers(), Path(save_directory), filename_prefix),)

    def to_tokenizers(self) -> Tokenizer:
        """The same mapping as a `tokenizers.Tokenizer`, which plain `transformers` loads from `tokenizer.json`."""
        return plain_tokenizer(self.discipline, self.get_vocab(), self.special_ids, self.template)
