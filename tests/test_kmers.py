"""k-mers of letters as symbols: cut, trained and saved; tests/prediction/test_serving.py compares their answers."""

import random
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from own_files import SHORT
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from hf_bertx import run_files
from hf_bertx.backbones import resolve_backbone
from hf_bertx.cli import main
from hf_bertx.disciplines import DNA, PROTEIN, Discipline
from hf_bertx.runs.run import Run
from hf_bertx.runs.spec import RunSpec
from hf_bertx.study.plan import load_study
from hf_bertx.tokenization.subwords import PRETRAINED_ON
from hf_bertx.tokenization_discipline import DisciplineTokenizer

RNA = Discipline("rna", tuple("NACGU"), ignore_case=True)
BERT = "minilm-l6"


@pytest.fixture(scope="module")
def three(tiny_backbone: Path) -> DisciplineTokenizer:
    return DisciplineTokenizer.from_backbone(tiny_backbone, DNA.kmers(3))


@pytest.fixture(scope="module")
def short_run(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("kmers")
    assert main(["train", "--backbone", str(tiny_backbone), "--output_dir", str(root), *SHORT, "--kmer", "3"]) == 0
    return next(root.rglob(run_files.RESULTS)).parent


@pytest.mark.parametrize(
    ("text", "symbols"),
    [
        ("ACGTA", "ACG T A"),
        ("acgnACGTT", "ACG N ACG T T"),
        ("NNACNACG", "N N A C N ACG"),
        ("AC", "A C"),
        ("", ""),
        (" ACGACG\n", "ACG ACG"),
        ("ACGRYACGT", "ACG R Y ACG T"),
    ],
)
def test_runs_of_plain_letters_are_cut_from_the_left(three: DisciplineTokenizer, text: str, symbols: str) -> None:
    assert three.tokenize(text) == symbols.split()
    ids = three(text, add_special_tokens=False).input_ids
    assert three.decode(ids) == symbols.replace(" ", "")
    assert three.count_symbols([text, "A"]).tolist() == [len(symbols.split()), 1]


@pytest.mark.parametrize("discipline", [DNA.kmers(2), DNA.kmers(4), PROTEIN.kmers(2), RNA.kmers(2, "UGCA")])
def test_batches_are_cut_as_the_plain_tokenizer_cuts(tiny_backbone: Path, discipline: Discipline) -> None:
    tokenizer = DisciplineTokenizer.from_backbone(tiny_backbone, discipline)
    plain, draw = tokenizer.to_tokenizers(), random.Random(0)
    letters = [*discipline.plain_letters * 5, *discipline.letters]
    texts = ["".join(draw.choices(letters, k=draw.randrange(40))).lower() for _ in range(300)]
    columns, lengths = tokenizer.encode_flat(texts)
    expected = [row.ids for row in plain.encode_batch(texts)]
    assert columns["input_ids"].tolist() == list(chain.from_iterable(expected))
    assert lengths.tolist() == list(map(len, expected))


def test_length_counts_kmers_and_six_mers_fit_into_bert() -> None:
    source = resolve_backbone(BERT).source
    assert len(DisciplineTokenizer.from_backbone(source, DNA.kmers(3))("ACGTT" * 100).input_ids) == 168 + 2
    six = DisciplineTokenizer.from_backbone(source, DNA.kmers(6))
    assert len(six.symbol_ids) == 4096 + 15
    assert six("AAAAAAAAAAACA", add_special_tokens=False).input_ids[:1] == [1996]  # the
    with pytest.raises(ValueError, match=r"kmer is 8: assignment 'frequent' finds .* and 65551 symbols need one each"):
        DisciplineTokenizer.from_backbone(source, DNA.kmers(8))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("train --backbone {backbone} --output_dir {out} --max_steps 1 --kmer 6", "kmer is 6: assignment 'frequent'"),
        ("probe --task music-maestro-v1 --kmer 3", "kmer is 3; music has no letters to cut"),
        ("pretrain --discipline music --train_files x.mid --kmer 3", "kmer is 3; music has no letters to cut"),
    ],
)
def test_a_kmer_that_cannot_be_is_one_line(
    argv: str, message: str, tiny_backbone: Path, tmp_path: Path, refusal: Any
) -> None:
    assert message in refusal(main, *argv.format(backbone=tiny_backbone, out=tmp_path / "out").split())


def test_kmer_is_part_of_what_a_run_is(tmp_path: Path) -> None:
    spec = RunSpec(kmer=3, seed=0)
    assert RunSpec.from_json(spec.to_json()) == RunSpec.from_json(RunSpec.from_json(spec.to_json()).to_json())
    assert (RunSpec.from_json(spec.to_json()).kmer, spec.folder().name) == (3, "seed-0-kmer-3")
    assert spec.arguments(tmp_path)[-4:-2] == ["--kmer", "3"]
    assert RunSpec.of_probe("dna-h3", kmer=3).folder() != RunSpec.of_probe("dna-h3").folder()
    study = "tasks: [dna-splice]\narms: [bert]\nseeds: [0]\nkmers: [{}]\n"
    (tmp_path / "cut.yaml").write_text(study.format("null, 3"))
    assert [run.kmer for run in load_study(str(tmp_path / "cut.yaml")).runs] == [None, 3]
    (tmp_path / "probes.yaml").write_text(study.format("null, 3") + "protocol: probe\nitems: [50]\n")
    folders = [run.folder(tmp_path) for run in load_study(str(tmp_path / "probes.yaml")).runs]
    assert folders == [RunSpec.of_probe(items=50, kmer=kmer).folder(tmp_path) for kmer in (None, 3)]
    (tmp_path / "one.yaml").write_text(study.format("1"))
    with pytest.raises(ValueError, match="kmer is 1; allowed: at least 2"):
        load_study(str(tmp_path / "one.yaml"))


def test_a_run_and_its_model_say_what_k_is(short_run: Path) -> None:
    run = Run.open_finished(short_run)
    assert short_run.name.endswith("-kmer-3")
    assert run.specification["kmer"] == 3
    assert "3-mers in place of letters" in (run.model_dir / "README.md").read_text(encoding="utf-8")
    assert DisciplineTokenizer.from_pretrained(run.model_dir).discipline == DNA.kmers(3)
    assert type(AutoTokenizer.from_pretrained(run.model_dir)) is PreTrainedTokenizerFast


def test_a_backbone_pretrained_on_kmers_serves_the_same_k_alone(tiny_backbone: Path) -> None:
    text = AutoTokenizer.from_pretrained(tiny_backbone)
    text.init_kwargs[PRETRAINED_ON] = {"discipline": "dna", "assignment": "frequent", "kmer": 3}
    assert DisciplineTokenizer.from_backbone(text, DNA.kmers(3)).discipline.kmer == 3
    with pytest.raises(ValueError, match=r"kmer is None; .* was pre-trained on dna with 3"):
        DisciplineTokenizer.from_backbone(text, "dna")


def test_a_backbone_of_kmers_serves_the_same_k_alone(short_run: Path, tmp_path: Path, refusal: Any) -> None:
    argv = ["--backbone", short_run / "model", "--output_dir", tmp_path, "--max_steps", "1"]
    assert "was fine-tuned with kmer 3, asked is 2" in refusal(main, "train", *argv, "--kmer", "2")
