"""DisciplineTokenizer: symbols of a discipline in, ids of a text model's subwords out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import AddedToken, Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizer
from transformers.tokenization_utils_base import BatchEncoding
from transformers.utils import logging

from .disciplines import Discipline, get_discipline
from .token_map import assign, random_subword_table
from .tokenization.batch_layout import Rows, cut, fill_template, layout, padded_width, target_lengths
from .tokenization.plain_tokenizer import plain_tokenizer, probe_template, read_vocabulary
from .tokenization.symbol_lookup import SymbolLookup, UnknownSymbolError

logger = logging.get_logger(__name__)

TRUNCATION_KEEPS = ("head", "head_tail")
PRETRAINED_ON = "pretrained_on"  # in the tokenizer_config.json of a model of `bertx pretrain --discipline`


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
        alphabet: str | dict[str, Any] | Discipline,
        symbol_ids: Sequence[int],
        special_ids: dict[str, int],
        template: dict[str, list[list[Any]]],
        backbone_vocab_size: int,
        assignment: dict[str, Any] | None = None,
        truncation_keeps: str = "head",
        tokenizer_file: str | None = None,  # named by vocab_files_names; this class reads its config alone
        **kwargs: Any,
    ) -> None:
        self.discipline = Discipline.from_dict(alphabet) if isinstance(alphabet, dict) else get_discipline(alphabet)
        self.symbol_ids = [int(i) for i in symbol_ids]
        self.special_ids = {token: int(i) for token, i in special_ids.items()}
        self.template = {name: [list(item) for item in items] for name, items in template.items()}
        self.backbone_vocab_size = int(backbone_vocab_size)
        self.assignment = dict(assignment or {})
        self.truncation_keeps = truncation_keeps
        self._check()
        self._id_of_token = dict(zip(self.discipline.symbols, self.symbol_ids, strict=True)) | self.special_ids
        self._token_of_id = {i: token for token, i in self._id_of_token.items()}
        specials = [item for items in self.template.values() for item, _ in items if not isinstance(item, str)]
        # a symbol's code is its place among the ids that can stand in a sequence
        ids = list(dict.fromkeys([*self.symbol_ids, *specials]))
        self._id_by_code = np.array(ids, dtype=np.int64)
        self._code_of_id = {i: code for code, i in enumerate(ids)}
        self._symbols = SymbolLookup(self.discipline, np.min_scalar_type(len(ids)))
        kwargs.setdefault("clean_up_tokenization_spaces", False)
        kwargs.setdefault("split_special_tokens", True)  # AutoTokenizer too takes "[SEP]" in a sequence for letters
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

    def _check(self) -> None:
        symbols = self.discipline.symbols
        if len(self.symbol_ids) != len(symbols):
            raise ValueError(
                f"{len(self.symbol_ids)} symbol_ids for the {len(symbols)} symbols of {self.discipline.name}"
            )
        taken = [*self.symbol_ids, *self.special_ids.values()]
        if len(set(taken)) != len(taken):
            raise ValueError("two symbols or special tokens share one id")
        outside = [i for i in taken if not 0 <= i < self.backbone_vocab_size]
        if outside:
            raise ValueError(f"id {outside[0]} is outside the backbone's table: 0 to {self.backbone_vocab_size - 1}")
        if self.truncation_keeps not in TRUNCATION_KEEPS:
            raise ValueError(f"truncation_keeps is {self.truncation_keeps!r}; allowed: {', '.join(TRUNCATION_KEEPS)}")
        clash = set(symbols) & set(self.special_ids)
        if clash:
            raise ValueError(f"symbol {min(clash)!r} is also a special token of the backbone")

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
        text = backbone
        if isinstance(backbone, (str, Path)):
            text = AutoTokenizer.from_pretrained(backbone, trust_remote_code=False)
        found = get_discipline(discipline)
        before = text.init_kwargs.get(PRETRAINED_ON, {})
        if before.get("discipline") == found.name:
            asked = {"assignment": assignment, "kmer": found.kmer}
            for name, value in asked.items():
                if before.get(name) != value:
                    raise ValueError(
                        f"{name} is {value!r}; {text.name_or_path} was pre-trained on {found.name} with "
                        f"{before.get(name)!r}, and its symbols have those subwords"
                    )
        vocabulary = read_vocabulary(text)
        special = {token: text.convert_tokens_to_ids(token) for token in text.all_special_tokens}
        names = {name: str(token) for name, token in text.special_tokens_map.items() if isinstance(token, str)}
        names = {name: token for name, token in names.items() if name != "unk_token"}
        try:
            ids, record = assign(len(found.symbols), vocabulary, special.values(), assignment, seed, counts_file)
        except ValueError as error:
            raise ValueError(f"{error}" if found.kmer is None else f"kmer is {found.k}: {error}") from None
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
            template = {name: [item for item in items if isinstance(item[0], str)] for name, items in template.items()}
        return cls(
            alphabet=found,
            symbol_ids=ids,
            special_ids=kept,
            template=template,
            backbone_vocab_size=len(vocabulary),
            assignment=record,
            truncation_keeps=truncation_keeps,
            model_max_length=model_max_length or text.model_max_length,
            model_input_names=text.model_input_names,
            padding_side=text.padding_side,
            **names,
        )

    # ---- vocabulary ----

    @property
    def vocab_size(self) -> int:
        """Rows of the backbone's embedding table, which every id is below."""
        return self.backbone_vocab_size

    def __len__(self) -> int:
        return self.backbone_vocab_size

    def get_vocab(self) -> dict[str, int]:
        return dict(self._id_of_token)

    def _add_tokens(self, new_tokens: list[str] | list[AddedToken], special_tokens: bool = False) -> int:
        new = [str(token) for token in new_tokens if str(token) not in self._id_of_token]
        if new:
            raise ValueError(
                f"{new[0]!r} cannot be added: the ids are rows of the backbone's table. "
                f"Declare a Discipline with that symbol (this one has {self.discipline.alphabet()})"
            )
        return super()._add_tokens(new_tokens, special_tokens)

    def _tokenize(self, text: str, **kwargs: Any) -> list[str]:
        return [self.discipline.symbols[code] for code in self._symbols.codes([text])[0].tolist()]

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

    # ---- encoding ----

    def count_symbols(self, texts: Sequence[str]) -> np.ndarray:
        """The number of symbols of each text, shape `(texts,)`.

        Raises:
            UnknownSymbolError: a text holds a symbol outside the alphabet.
        """
        return self._symbols.codes(texts)[1]

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
        first, second, single = self._as_columns(text, text_pair, is_split_into_words)
        strategy = getattr(truncation_strategy, "value", "do_not_truncate")
        rows = self._filled(first, second, add_special_tokens, strategy, max_length, kwargs.get("verbose", True))
        side = padding_side or self.padding_side
        padding = getattr(padding_strategy, "value", "do_not_pad")
        width = padded_width(rows.lengths, padding, max_length, pad_to_multiple_of)
        if width is None and return_tensors is not None and len(set(rows.lengths.tolist())) == 1:
            width = int(rows.lengths[0])
        names = self.model_input_names
        wanted = {
            "input_ids": (rows.codes, self.pad_token_id),
            "token_type_ids": (rows.types, self.pad_token_type_id)
            if _wanted(return_token_type_ids, "token_type_ids", names)
            else None,
            "attention_mask": (1, 0) if _wanted(return_attention_mask, "attention_mask", names) else None,
            "special_tokens_mask": (rows.special(), 1) if return_special_tokens_mask else None,
        }
        data: dict[str, Any] = {}
        for name, column in wanted.items():
            if column is not None:
                flat, pad = column
                flat = self._id_by_code.take(flat) if name == "input_ids" else flat
                data[name] = layout(flat, rows.lengths, width, pad, side, return_tensors is not None)
        if return_length:
            data["length"] = np.maximum(rows.lengths, width or 0).tolist()
        if single and return_tensors is None:
            data = {name: value[0] for name, value in data.items()}
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
        first, second, _ = self._as_columns(list(text), None if text_pair is None else list(text_pair), False)
        strategy = "longest_first" if truncation else "do_not_truncate"
        rows = self._filled(first, second, add_special_tokens, strategy, max_length, verbose)
        columns: dict[str, np.ndarray | int] = {"input_ids": self._id_by_code.astype(np.int32).take(rows.codes)}
        if "token_type_ids" in self.model_input_names:
            columns["token_type_ids"] = rows.types
        return columns, rows.lengths

    def _filled(
        self,
        first: list[str],
        second: list[str] | None,
        add_special_tokens: bool,
        strategy: str,
        max_length: int | None,
        verbose: bool,
    ) -> Rows:
        """The batch as codes, cut and with its special tokens."""
        columns = [self._symbols.codes(first)] + ([self._symbols.codes(second)] if second is not None else [])
        items = self.template["pair" if second is not None else "single"]
        if not add_special_tokens:
            items = [item for item in items if isinstance(item[0], str)]
        if strategy != "do_not_truncate":
            room = (max_length or self.model_max_length) - sum(not isinstance(item[0], str) for item in items)
            columns = self._truncate(columns, room, strategy, verbose)
        rows = fill_template([[self._code_of_id.get(item, item), kind] for item, kind in items], columns)
        if strategy == "do_not_truncate":
            self._eventual_warn_about_too_long_sequence(range(int(rows.lengths.max(initial=0))), max_length, verbose)
        return rows

    def _as_columns(self, text: Any, text_pair: Any, split: bool) -> tuple[list[str], list[str] | None, bool]:
        """The batch as one list of strings, or two for pairs, and whether a single item was given."""
        join = self.discipline.separator.join
        if split:
            single = not (text and isinstance(text[0], (list, tuple)))
            first = [join(text)] if single else [join(symbols) for symbols in text]
            pair = text_pair if text_pair is None or not single else [text_pair]
            return first, None if pair is None else [join(symbols) for symbols in pair], single
        single = isinstance(text, str)
        first = [text] if single else list(text)
        # an empty second sequence beside a single first one is none, as in AutoTokenizer
        second = text_pair if not single else [text_pair] if text_pair else None
        if second is None and first and isinstance(first[0], (list, tuple)):
            first, second = (list(column) for column in zip(*first, strict=True))
        if second is not None and len(first) != len(second):
            raise ValueError(f"{len(first)} sequences and {len(second)} paired sequences: the counts must agree")
        for row, item in enumerate(chain(first, second or ())):
            if not isinstance(item, str):
                raise TypeError(f"sequence {row % len(first)} is {type(item).__name__}, not a string: {item!r:.60}")
        return first, None if second is None else list(second), single

    def _truncate(
        self, columns: list[tuple[np.ndarray, np.ndarray]], room: int, strategy: str, verbose: bool
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        lengths = [length for _, length in columns]
        total = np.sum(lengths, axis=0)
        if not (total > room).any():
            return columns
        if room < len(columns):
            raise ValueError(f"max_length leaves room for {room} symbols; it must leave at least {len(columns)}")
        targets = target_lengths(lengths, room, strategy)
        if verbose:
            logger.warning(
                f"cut {int((total > room).sum())} of {len(total)} sequences to {room} symbols, keeping the "
                f"{'head' if self.truncation_keeps == 'head' else 'head and the tail'}; "
                f"the longest had {int(total.max())}"
            )
        keeps = "tail" if self.truncation_side == "left" else self.truncation_keeps
        return [
            (cut(ids, length, target, keeps), target) for (ids, length), target in zip(columns, targets, strict=True)
        ]

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        return sum(not isinstance(item, str) for item, _ in self.template["pair" if pair else "single"])

    def build_inputs_with_special_tokens(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        parts = {"A": token_ids_0, "B": token_ids_1}
        items = self.template["single" if token_ids_1 is None else "pair"]
        return list(chain.from_iterable(parts[item] or [] if isinstance(item, str) else [item] for item, _ in items))

    # ---- saving ----

    def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> tuple[str, ...]:
        """Saves `tokenizer_config.json` and `tokenizer.json`; both this class and plain `AutoTokenizer` load them."""
        files = super().save_pretrained(save_directory, *args, **kwargs)
        path = Path(save_directory) / "tokenizer_config.json"
        # transformers 4.57 and 5 both know this class; they refuse or guess when they find ours (or TokenizersBackend)
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace('"DisciplineTokenizer"', '"PreTrainedTokenizerFast"'), encoding="utf-8")
        return files

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str, ...]:
        name = f"{filename_prefix}-tokenizer.json" if filename_prefix else "tokenizer.json"
        path = Path(save_directory) / name
        self.to_tokenizers().save(str(path))
        return (str(path),)

    def to_tokenizers(self) -> Tokenizer:
        """The same mapping as a `tokenizers.Tokenizer`, which plain `transformers` loads from `tokenizer.json`."""
        return plain_tokenizer(self.discipline, self.get_vocab(), self.special_ids, self.template)


def _wanted(asked: bool | None, name: str, model_input_names: list[str]) -> bool:
    return name in model_input_names if asked is None else asked
