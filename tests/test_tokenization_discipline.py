"""DisciplineTokenizer gives what plain `AutoTokenizer` gives of the folder that it saved."""

import copy
import gc
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertModel, tokenization_utils_base
from transformers.utils import logging

from hf_bertx.backbones import resolve_backbone
from hf_bertx.disciplines import DISCIPLINES, DNA, Discipline
from hf_bertx.tokenization_discipline import DisciplineTokenizer, UnknownSymbolError

SEQUENCES = {"dna": ["ACGTN", "acg", "TTTTTTTT"], "protein": ["MKV*", "lagx"], "music": ["60 64 67", "0 127"]}
SEQUENCES |= {"chords": ["C G7 F#", "Cm"], "rna": ["UGANNACGU", "A"]}
CHORDS = Discipline("chords", ("C", "Cm", "G7", "F#"), separator=" ")
RNA = Discipline("rna", tuple("NACGU"))
CHORDS_ANY_CASE = Discipline("chords", ("C", "Cm", "G7", "F#", "Stra\u00dfe"), separator=" ", ignore_case=True)


def plain(encoding: Any) -> dict[str, Any]:
    return {key: value.tolist() if hasattr(value, "tolist") else value for key, value in encoding.items()}


@pytest.fixture(scope="module")
def dna(tiny_backbone: Path) -> DisciplineTokenizer:
    return DisciplineTokenizer.from_backbone(tiny_backbone, "dna")


def test_golden_ids_over_the_real_vocabulary() -> None:
    source = resolve_backbone("minilm-l6").source
    tokenizer = DisciplineTokenizer.from_backbone(source, "dna")
    assert tokenizer("ACGT").input_ids == [101, 1996, 1997, 1998, 1999, 102]  # the of and in
    padded = tokenizer(["ACGT", "A"], padding=True)
    assert padded.input_ids[1] == [101, 1996, 102, 0, 0, 0]
    assert padded.attention_mask[1] == [1, 1, 1, 0, 0, 0]
    assert tokenizer.model_max_length == 512
    unused = DisciplineTokenizer.from_backbone(source, "dna", "unused")
    assert unused("ACGT", add_special_tokens=False).input_ids == [1, 2, 3, 4]
    random = DisciplineTokenizer.from_backbone(source, "dna", "random", seed=100)
    assert min(random("ACGTNRYSWKMBDHV", add_special_tokens=False).input_ids) >= 1000


@pytest.mark.parametrize(
    "discipline", [*DISCIPLINES, CHORDS, DNA.kmers(3), RNA.kmers(2)], ids=[*DISCIPLINES, "own", "3-mers", "own 2-mers"]
)
@pytest.mark.parametrize(("assignment", "seed"), [("frequent", None), ("random", 3), ("unused", None)])
def test_saved_it_gives_the_same_ids_in_auto_tokenizer(
    tiny_backbone: Path, tmp_path: Path, discipline: Any, assignment: str, seed: int | None
) -> None:
    name = discipline if isinstance(discipline, str) else discipline.name
    texts = SEQUENCES[name]
    tokenizer = DisciplineTokenizer.from_backbone(tiny_backbone, discipline, assignment, seed=seed)
    tokenizer.save_pretrained(tmp_path)
    own, auto = DisciplineTokenizer.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    assert not isinstance(auto, DisciplineTokenizer)
    assert (own.discipline, own.assignment) == (tokenizer.discipline, tokenizer.assignment)
    options: list[dict[str, Any]] = [
        {},
        {"padding": True, "return_tensors": "pt"},
        {"truncation": True, "max_length": 5},
        {"padding": "max_length", "max_length": 14, "truncation": True},
        {"add_special_tokens": False, "padding": True, "pad_to_multiple_of": 8, "padding_side": "left"},
    ]
    for option in options:
        expected = plain(tokenizer(texts, **option))
        assert expected == plain(own(texts, **option)) == plain(auto(texts, **option)), option
    ids = tokenizer(texts[0]).input_ids
    upper = texts[0].upper() if tokenizer.discipline.ignore_case else texts[0]
    for each in (tokenizer, own, auto):
        assert each.decode(ids, skip_special_tokens=True) == upper
    assert auto.model_max_length == 128
    saved = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert saved["tokenizer_class"] == "PreTrainedTokenizerFast"  # transformers 4.57 refuses TokenizersBackend


@pytest.mark.parametrize("family", ["unigram_tokenizer", "roberta_tokenizer"])
def test_templates_of_other_families(family: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    text = request.getfixturevalue(family)
    tokenizer = DisciplineTokenizer.from_backbone(text, "dna")
    tokenizer.save_pretrained(tmp_path)
    auto = AutoTokenizer.from_pretrained(tmp_path)
    pads = {"unigram_tokenizer": 0, "roberta_tokenizer": 1}
    assert tokenizer.pad_token_id == pads[family]
    for batch in (["ACGT", "A"], [("AC", "GT"), ("A", "TTT")]):
        assert plain(tokenizer(batch, padding=True)) == plain(auto(batch, padding=True))
    pair = tokenizer("A", "C").input_ids
    a, c = tokenizer.convert_tokens_to_ids(["A", "C"])
    expected = {"unigram_tokenizer": [2, a, 3, c, 3], "roberta_tokenizer": [0, a, 2, 2, c, 2]}
    assert pair == expected[family]
    assert ("token_type_ids" in tokenizer("A")) == (family == "unigram_tokenizer")


@pytest.mark.parametrize("room", range(5, 13))
def test_pairs_are_cut_as_auto_tokenizer_cuts_them(dna: DisciplineTokenizer, tmp_path: Path, room: int) -> None:
    dna.save_pretrained(tmp_path)
    auto = AutoTokenizer.from_pretrained(tmp_path)
    pairs = [("ACGTACGT", "AC"), ("A", "ACGTACGT"), ("ACGTA", "TGCAT"), ("ACGTACG", "TGCATG"), ("A", "C")]
    for truncation in ("longest_first", "only_first") if room > 11 else ("longest_first",):
        options = {"truncation": truncation, "max_length": room}
        assert plain(dna(pairs, **options)) == plain(auto(pairs, **options))


def test_pair_has_token_types_and_single_matches_batch(dna: DisciplineTokenizer) -> None:
    pair = dna("AC", "G", return_special_tokens_mask=True, return_length=True)
    assert pair.token_type_ids == [0, 0, 0, 0, 1, 1]
    assert pair.special_tokens_mask == [1, 0, 0, 1, 0, 1]
    assert pair.length == [6]
    assert plain(dna([("AC", "G")])) == {k: [v] for k, v in dna("AC", "G").items()}
    first, second = dna("AC", add_special_tokens=False).input_ids, dna("G", add_special_tokens=False).input_ids
    assert dna.build_inputs_with_special_tokens(first, second) == pair.input_ids
    assert dna.num_special_tokens_to_add(pair=True) == 3
    assert dna(["A", "C"], is_split_into_words=True).input_ids == dna("AC").input_ids


def test_lower_case_is_upper_case(dna: DisciplineTokenizer) -> None:
    assert dna("acgtn").input_ids == dna("ACGTN").input_ids
    assert dna.tokenize("acg") == ["A", "C", "G"]


@pytest.mark.parametrize(
    ("discipline", "text", "at"),
    [*(("dna", text, 4) for text in ("ACGTXACG", "ACGTé", "ACGT中", "ACGT[SEP]")), ("dna", "ACG TAC", 3),
     ("music", "60 64 128", 2)],
)  # fmt: skip
def test_a_foreign_symbol_is_an_error_with_its_place(
    tiny_backbone: Path, tmp_path: Path, discipline: str, text: str, at: int
) -> None:
    tokenizer = DisciplineTokenizer.from_backbone(tiny_backbone, discipline)
    symbol = (text.split() if discipline == "music" else text)[at]
    message = f"symbol {symbol!r} at position {at + 1} of sequence 1 is not in the {discipline} alphabet: "
    for read in (tokenizer, tokenizer.encode_flat):
        with pytest.raises(UnknownSymbolError) as caught:
            read([text[:2], text])
        assert message in str(caught.value)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(Exception, match="WordLevel error"):  # loud without hf_bertx too, never [UNK]
        AutoTokenizer.from_pretrained(tmp_path)(text)


CASES: list[tuple[Any, Any, dict[str, Any]]] = [
    ("dna", ("AC", ""), {}),
    ("dna", ([("AC", "")],), {}),
    ("dna", (["AC", "A" * 20],), {"padding": "max_length", "max_length": 6}),
    ("dna", (["AC", "A" * 20],), {"padding": "max_length", "max_length": 6, "pad_to_multiple_of": 4}),
    ("dna", ("\tACGT\r\n",), {"return_length": True}),
    ("dna", ("AC", "G"), {"return_length": True, "padding": "max_length", "max_length": 9}),
    ("dna", ("AC[SEP]GT",), {}),
    ("dna", ("AC\ud800",), {}),
    ("protein", ("\u0131",), {}),
    ("protein", ("\u017f",), {}),
    ("protein", ("\u00df",), {}),
    ("protein", ("\u212a",), {}),
    ("music", ("60\x1c64",), {}),
    ("music", ("60\x8564\u200360",), {}),
    ("music", ("60 \ud800",), {}),
    *(
        (CHORDS_ANY_CASE, (name,), {})
        for name in ("cm", "CM", "cM", "c", "f#", "C cm C", "stra\u00dfe", "STRASSE", "d")
    ),
]


@pytest.mark.parametrize(("discipline", "given", "options"), CASES)
def test_corner_cases_are_as_in_auto_tokenizer(
    tiny_backbone: Path, tmp_path: Path, discipline: Any, given: Any, options: dict[str, Any]
) -> None:
    ours = DisciplineTokenizer.from_backbone(tiny_backbone, discipline)
    ours.save_pretrained(tmp_path)
    auto = AutoTokenizer.from_pretrained(tmp_path)
    try:
        expected = plain(ours(*given, **options))
    except UnknownSymbolError:
        with pytest.raises(Exception, match=r"WordLevel error|must be str|utf-8|surrogates|TextInput"):
            auto(*given, **options)
    else:
        assert plain(auto(*given, **options)) == expected


def test_saved_without_special_tokens_it_adds_none(tiny_backbone: Path, tmp_path: Path) -> None:
    tokenizer = DisciplineTokenizer.from_backbone(tiny_backbone, "music", add_special_tokens=False, model_max_length=3)
    tokenizer.save_pretrained(tmp_path)
    for each in (DisciplineTokenizer.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)):
        assert each("60 64 67 72", truncation=True).input_ids == [1060, 1064, 1067]
        assert each("60", "64").input_ids == [1060, 1064]
        assert each.num_special_tokens_to_add() == 0


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (["AC", "A" * 20], {"padding": "max_length", "max_length": 6, "return_tensors": "pt"},
         "22 tokens is longer than 6; tensors need truncation=True"),
        ("ACGTACGT", {"truncation": "only_second", "max_length": 4}, "only_second: there is no second sequence"),
        ("ACGT", {"truncation": True, "max_length": 2}, "leaves room for 0 symbols"),
        ([1, 2], {}, "not a string"),
        ([None], {}, "not a string"),
        (["A", 3], {}, "not a string"),
        (["A", "C"], {"text_pair": "GT"}, "text_pair is a string and text is not"),
        ({"A": ["C"]}, {}, "dict has columns; allowed: one of them"),
        (pd.DataFrame({"A": ["C"]}), {}, "DataFrame has columns; allowed: one of them"),
    ],
)  # fmt: skip
def test_what_cannot_be_encoded(dna: DisciplineTokenizer, given: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        dna(given, **options)


def test_truncation_keeps_head_or_head_and_tail_and_counts(
    tiny_backbone: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logging.enable_propagation()
    options = {"truncation": True, "max_length": 6, "add_special_tokens": False}
    head = DisciplineTokenizer.from_backbone(tiny_backbone, "dna")
    both = DisciplineTokenizer.from_backbone(tiny_backbone, "dna", truncation_keeps="head_tail")
    decode = lambda tokenizer: tokenizer.decode(tokenizer(["AAAACCCCGGG", "AC"], **options).input_ids)  # noqa: E731
    assert decode(head) == ["AAAACC", "AC"]
    assert "cut 1 of 2 sequences to 6 symbols, keeping the head; the longest had 11" in caplog.text
    assert decode(both) == ["AAAGGG", "AC"]
    head.truncation_side = "left"
    assert decode(head) == ["CCCGGG", "AC"]


def test_a_saved_tokenizer_keeps_its_sides(dna: DisciplineTokenizer, tmp_path: Path) -> None:
    changed = copy.deepcopy(dna)
    changed.truncation_side = changed.padding_side = "left"
    changed.save_pretrained(tmp_path)
    for cls in (DisciplineTokenizer, AutoTokenizer):
        again = cls.from_pretrained(tmp_path)
        assert (again.truncation_side, again.padding_side) == ("left", "left")


def test_the_mask_of_special_tokens_follows_the_template(dna: DisciplineTokenizer) -> None:
    assert dna.get_special_tokens_mask([7, 8]) == [1, 0, 0, 1]
    assert dna.get_special_tokens_mask([7, 8], [9]) == [1, 0, 0, 1, 0, 1]
    assert dna.get_special_tokens_mask(dna("AC").input_ids, already_has_special_tokens=True) == [1, 0, 0, 1]
    assert dna.prepare_for_model([7], return_special_tokens_mask=True)["special_tokens_mask"] == [1, 0, 1]


def test_length_is_the_table_so_that_resizing_changes_nothing(dna: DisciplineTokenizer) -> None:
    config = BertConfig(
        vocab_size=dna.vocab_size, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8
    )
    model = BertModel(config)
    model.resize_token_embeddings(len(dna))
    assert model.get_input_embeddings().num_embeddings == len(dna) == 1600
    assert model(**dna(["ACGT"], return_tensors="pt")).last_hidden_state.isfinite().all()


def test_tensors_and_empty_batches(dna: DisciplineTokenizer) -> None:
    tensors = dna(["ACG", "TTT"], return_tensors="pt")
    assert tensors.input_ids.shape == (2, 5)
    assert tensors.input_ids.dtype == torch.int64
    assert dna([]).input_ids == []
    assert dna("").input_ids == [dna.cls_token_id, dna.sep_token_id]
    assert dna.encode_flat("ACGT")[1].tolist() == [6]  # one sequence, not four


def test_the_alphabet_cannot_be_extended(dna: DisciplineTokenizer) -> None:
    with pytest.raises(ValueError, match="'Q' cannot be added"):
        dna.add_tokens(["Q"])
    for given in ({"pad_token": "<p>"}, {"additional_special_tokens": ["[SEP]", "<p>"]}):
        with pytest.raises(ValueError, match="'<p>' cannot be added"):
            dna.add_special_tokens(given)
    assert dna(["AC", "A"], padding=True).input_ids[1][-1] == dna.pad_token_id == 0
    assert dna.add_special_tokens({"pad_token": "[PAD]"}) == 0


def test_text_and_discipline_tokenizers_are_not_mixed_up(tiny_backbone: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"describes no alphabet.*from_backbone"):
        DisciplineTokenizer.from_pretrained(tiny_backbone)
    DisciplineTokenizer.from_backbone(tiny_backbone, "dna").save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"has a tokenizer of dna already.*from_pretrained"):
        DisciplineTokenizer.from_backbone(tmp_path, "protein")


def test_special_tokens_can_be_sent_to_random_subwords(tiny_backbone: Path, tmp_path: Path) -> None:
    tokenizer = DisciplineTokenizer.from_backbone(tiny_backbone, "dna", "random", seed=1, remap_special_tokens=True)
    ids = tokenizer("ACGT").input_ids
    assert len(set(ids)) == 6
    assert min(ids) >= 1000
    tokenizer.save_pretrained(tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path)("ACGT").input_ids == ids
    assert DisciplineTokenizer.from_pretrained(tmp_path)("ACGT").input_ids == ids
    with pytest.raises(ValueError, match="needs assignment='random'"):
        DisciplineTokenizer.from_backbone(tiny_backbone, "dna", remap_special_tokens=True)


@pytest.mark.parametrize("family", ["tiny_backbone", "roberta_tokenizer"])
@pytest.mark.parametrize("pair", [None, ["GT", "A", "CCGTACGT"]])
@pytest.mark.parametrize("length", [None, 7])
@pytest.mark.parametrize("special", [True, False])
def test_flat_arrays_hold_what_lists_hold(
    family: str, pair: list[str] | None, length: int | None, special: bool, request: pytest.FixtureRequest
) -> None:
    tokenizer = DisciplineTokenizer.from_backbone(request.getfixturevalue(family), "dna")
    texts, options = ["ACGTAC", "AC", "GGGGGGGGGG"], {"add_special_tokens": special, "max_length": length}
    lists = tokenizer(texts, pair, truncation=length is not None, **options)
    columns, lengths = tokenizer.encode_flat(texts, pair, truncation=length is not None, **options)
    assert lengths.tolist() == list(map(len, lists.input_ids))
    assert [*columns, "attention_mask"] == [name for name in tokenizer.model_input_names if name in lists]
    for name, flat in columns.items():
        expected = [i for row in lists[name] for i in row]
        assert ([flat] * len(expected) if isinstance(flat, int) else flat.tolist()) == expected, name


def test_tokenizing_changes_nothing_of_the_process(dna: DisciplineTokenizer) -> None:
    calls: list[str] = []
    gc.callbacks.append(lambda phase, info: calls.append(phase))
    gc.disable()
    try:
        dna(["ACGT"] * 2000)
        dna.encode_flat(["ACGT"] * 2000)
        assert (gc.isenabled(), calls) == (False, [])
    finally:
        gc.enable()
        gc.callbacks.pop()


def test_what_is_uploaded_is_what_plain_transformers_loads(
    dna: DisciplineTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploaded: list[str] = []

    def upload(self: DisciplineTokenizer, folder: Path, *args: Any, **kwargs: Any) -> None:
        uploaded.append(json.loads((Path(folder) / "tokenizer_config.json").read_text())["tokenizer_class"])

    created = SimpleNamespace(create_repo=lambda *args, **kwargs: SimpleNamespace(repo_id="owner/name"))
    monkeypatch.setattr(tokenization_utils_base, "hf_api", lambda: created)
    monkeypatch.setattr(DisciplineTokenizer, "_upload_modified_files", upload)
    dna.save_pretrained(tmp_path / "pushed", push_to_hub=True)
    assert uploaded == ["PreTrainedTokenizerFast"]
    dna.save_pretrained(tmp_path / "named", filename_prefix="x")
    names = [path.name for path in sorted((tmp_path / "named").iterdir())]
    assert names == ["x-tokenizer.json", "x-tokenizer_config.json"]
