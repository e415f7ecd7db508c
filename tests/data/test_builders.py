"""Data sets from their original files: every form of every task, splits, cards, tokenized rows, a user's own files."""

import json
import random
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pretty_midi
import pytest
from datasets import DatasetDict, load_dataset
from huggingface_hub import DatasetCard
from python_processes import PythonProcess
from raw_files import midi, midi_of, parquet, write, zipped

from dataset_scripts.build import build_dataset
from dataset_scripts.builder import locate
from dataset_scripts.dna import Dna
from dataset_scripts.glue import Glue
from dataset_scripts.music import Music
from dataset_scripts.protein import Protein
from dataset_scripts.splits import random_split
from hf_bertx.backbones import resolve_backbone
from hf_bertx.cli import main
from hf_bertx.tasks import get_task

ROOT = Path(__file__).resolve().parents[2]
Row = tuple[Any, ...]


def load(output: Path, config: str | None = None) -> DatasetDict:
    return load_dataset(str(output), config, cache_dir=str(output.parent / "hf"))


def rows(data: DatasetDict) -> dict[str, list[Row]]:
    """The rows of each split without their column names; classes by name."""
    found = {}
    for part, own in data.items():
        label = own.features["label"]
        found[part] = [
            tuple(label.int2str(value) if name == "label" and hasattr(label, "names") else value
                  for name, value in row.items())
            for row in own
        ]  # fmt: skip
    return found


def build(tmp_path: Path, task: str, files: dict[str, Any], split: str = "paper") -> dict[str, list[Row]]:
    """The rows of each split of a task that is built from the files."""
    build_dataset(task, tmp_path / "out", raw_dir=write(tmp_path / "raw", files), split=split)
    return rows(load(tmp_path / "out", split))


def together(found: dict[str, list[Row]]) -> list[Row]:
    return sorted(row for part in found.values() for row in part)


# --- every form of every task: the files, and the rows that they are to give -----------------------------------------

P42212 = (  # UniProt's GFP_AEQVI
    "MSKGEELFTGVVPILVELDGDVNGHKFSVSGEGEGDATYGKLTLKFICTTGKLPVPWPTLVTTFSYGVQCFSRYPDHMKQHDFFKSAMPEGYVQERTIFFKDDGNYKTRAEVKFE"
    "GDTLVNRIELKGIDFKEDGNILGHKLEYNYNSHNVYIMADKQKNGIKVNFKIRHNIEDGSVQLADHYQQNTPIGDGPVLLPDNHYLSTQSALSKDPNEKRDHMVLLEFVTAAGIT"
    "HGMDELYK"
)
AVGFP = P42212[1:].replace("TTFSYG", "TTLSYG")  # without M, with F64L, as Sarkisyan's


def with_mutations(*mutations: str) -> str:
    letters = list(AVGFP)
    for mutation in mutations:
        letters[int(mutation[2:-1])] = mutation[-1]
    return "".join(letters)


def localization(name: str) -> str:
    return f">{name}1 Nucleus-M\nMKAA\nGG\n>{name}2 Cytoplasm-Nucleus-U\nMM\n>{name}3 Lysosome/Vacuole\nmktl\n"


def localized(name: str) -> list[Row]:
    return [(f"{name}1", "MKAAGG", "Nucleus"), (f"{name}3", "MKTL", "Lysosome/Vacuole")]


def tsv(*lines: str) -> str:
    return "".join(line.replace("|", "\t") + "\n" for line in lines)


PLUS = {"train": "train", "validation": "dev", "test": "test"}  # what PLUS calls the parts
HISTONE = ">iTELL-Chr1_61\nACGTAC\n0\n\n>iYAL067W-A_5085\n acgtnn \n1\n"
HISTONE_ROWS = [("iTELL-Chr1_61", "ACGTAC", "negative", "chr1"), ("iYAL067W-A_5085", "ACGTNN", "positive", "chr1")]
MRPC = "Quality|#1 ID|#2 ID|#1 String|#2 String"

FORMS: dict[str, tuple[str, dict[str, Any], dict[str, list[Row]]]] = {
    "nucleotide transformer": (
        "dna-h4",
        {
            "x/H4/train.fna": ">YAL001C_100|1\nACGT\nAC\n>lcl|isnR24_3|0\nacgn\n",
            "x/H4/test.fna": ">iYBR100C_7|0\nTTTT\n",
        },
        {
            # no validation part is published: one is drawn
            "train": [("train-00001-lcl|isnR24_3", "ACGN", "negative", None)],
            "validation": [("train-00000-YAL001C_100", "ACGTAC", "positive", "chr1")],
            "test": [("test-00000-iYBR100C_7", "TTTT", "negative", "chr2")],
        },
    ),
    "GUE": (
        "dna-h3k4me3",
        {
            "GUE/EMP/H3K4me3/train.csv": "sequence,label\nACGT,1\nacga,0\n",
            "GUE/EMP/H3K4me3/dev.csv": "sequence,label\nCC,0\n",
            "GUE/EMP/H3K4me3/test.csv": "sequence,label\nGG,1\n",
        },
        {
            "train": [("train-00000", "ACGT", "positive", None), ("train-00001", "ACGA", "negative", None)],
            "validation": [("dev-00000", "CC", "negative", None)],
            "test": [("test-00000", "GG", "positive", None)],
        },
    ),
    "PLUS localization": (
        "protein-localization",
        {f"localization_{word}.fa": localization(word) for word in PLUS.values()},
        {part: localized(word) for part, word in PLUS.items()},
    ),
    "Light Attention": (
        "protein-localization",
        {
            f"deeploc_{word}_set.fasta": localization(word).replace("Nucleus-M", "Nucleus-S test")
            for word in ("our_train", "our_val", "test")
        },
        {"train": localized("our_train"), "validation": localized("our_val"), "test": localized("test")},
    ),
    "PLUS targets": (
        "protein-stability",
        {f"stability_{word}.fa": f">{word}.pdb -0.25\nMKV*\n" for word in PLUS.values()},
        {part: [(f"{word}.pdb", "MKV*", -0.25)] for part, word in PLUS.items()},
    ),
    "TAPE JSON": (
        "protein-fluorescence",
        {
            "f/fluorescence_train.json": '[{"primary": "MKV", "log_fluorescence": [0.5]}]',
            "f/fluorescence_valid.json": '[{"primary": "mka", "log_fluorescence": 1.5, "id": "x"}]',
            "f/fluorescence_test.json": '{"primary": "MK", "log_fluorescence": [-2]}\n'  # lines
            '{"primary": "MW", "log_fluorescence": [3]}\n',
        },
        {
            "train": [("fluorescence_train-00000", "MKV", 0.5)],
            "validation": [("fluorescence_valid-00000", "MKA", 1.5)],
            "test": [("fluorescence_test-00000", "MK", -2.0), ("fluorescence_test-00001", "MW", 3.0)],
        },
    ),
    "MRPC by Microsoft": (
        "glue-mrpc",
        {
            "msr_paraphrase_train.txt": "\ufeff" + tsv(MRPC, "1|17|18|One.|Two.", "0|19|20|Three.|Four."),
            "mrpc_dev_ids.tsv": "19\t20\n",
        },
        {
            "train": [("17-18", "One.", "Two.", "equivalent")],
            "validation": [("19-20", "Three.", "Four.", "not_equivalent")],
        },
    ),
    "Hub MNLI": (
        "glue-mnli",
        {
            "mnli/train-00000-of-00002.parquet": parquet(premise=["A"], hypothesis=["B"], label=[2], idx=[0]),
            "mnli/train-00001-of-00002.parquet": parquet(premise=["C"], hypothesis=["D"], label=[0], idx=[1]),
            "mnli/validation_matched-00000-of-00001.parquet": parquet(premise=["E"], hypothesis=["F"], label=[1]),
            "mnli/validation_mismatched-00000-of-00001.parquet": parquet(premise=["G"], hypothesis=["H"], label=[0]),
        },
        {
            "train": [
                ("train-00000-of-00002-0", "A", "B", "contradiction"),
                ("train-00001-of-00002-0", "C", "D", "entailment"),
            ],
            "validation": [
                ("validation_matched-0", "E", "F", "neutral"),
                ("validation_mismatched-0", "G", "H", "entailment"),
            ],
        },
    ),
    "Hub STS-B": (
        "glue-stsb",
        {
            f"stsb/{part}-00000-of-00001.parquet": parquet(sentence1=["A"], sentence2=["B"], label=[2.5])
            for part in ("train", "validation")
        },
        {"train": [("train-0", "A", "B", 2.5)], "validation": [("validation-0", "A", "B", 2.5)]},
    ),
    "Hub CoLA": (
        "glue-cola",
        {
            f"cola/{part}-00000-of-00001.parquet": parquet(sentence=["A", "B"], label=[0, 1])
            for part in ("train", "validation")
        },
        {
            part: [(f"{part}-0", "A", "unacceptable"), (f"{part}-1", "B", "acceptable")]
            for part in ("train", "validation")
        },
    ),
}

# form -> task, folder, header, and the lines of each table with the row that each is to give; None: it is left out
GLUE: dict[str, tuple[str, str, str, dict[str, dict[str, Row | None]]]] = {
    "MNLI": ("glue-mnli", "MNLI", "index|promptID|sentence1|sentence2|label1|gold_label", {
        "train": {'0|a|He said "no.|So so|neutral|neutral': ('He said "no.', "So so", "neutral"),
                  "1|b|P|H|x|contradiction": ("P", "H", "contradiction")},
        "dev_matched": {"0|a|A|B|x|entailment": ("A", "B", "entailment")},
        "dev_mismatched": {"0|a|C|D|x|neutral": ("C", "D", "neutral")}}),
    "QQP": ("glue-qqp", "QQP-clean", "id|qid1|qid2|question1|question2|is_duplicate", {
        "train": {"1|3|4|Why?|How?|1": ("Why?", "How?", "duplicate"), "2|5|6||How?|1": None, "3|7|8|Cut off": None,
                  "4|9|1|Who?|Me?|0": ("Who?", "Me?", "not_duplicate")},
        "dev": {"1|3|4|A?|B?|0": ("A?", "B?", "not_duplicate")}}),
    "QNLI": ("glue-qnli", "QNLIv2", "index|question|sentence|label", {
        "train": {"7|Q?|S|not_entailment": ("Q?", "S", "not_entailment")},
        "dev": {"8|R?|T|entailment": ("R?", "T", "entailment")}}),
    "SST-2": ("glue-sst2", "SST-2", "sentence|label", {
        "train": {"hide new secretions |0": ("hide new secretions", "negative"), "fine|1": ("fine", "positive")},
        "dev": {"good|1": ("good", "positive")}}),
    "CoLA": ("glue-cola", "CoLA", "", {
        "train": {"gj04|1||It sails.": ("It sails.", "acceptable"),
                  "gj04|0|*|Sails it.": ("Sails it.", "unacceptable")},
        "dev": {"x|0|*|Go they.": ("Go they.", "unacceptable")}}),
    "STS-B": ("glue-stsb", "STS-B", "index|genre|filename|year|old_index|source1|source2|sentence1|sentence2|score", {
        "train": {"0|g|f|2012|1|none|none|A plane.|An air plane.|3.75": ("A plane.", "An air plane.", 3.75)},
        "dev": {"0|g|f|2012|1|none|none|A.|B.|0.000": ("A.", "B.", 0.0)}}),
    "MRPC": ("glue-mrpc", "MRPC", "\ufeff" + MRPC, {
        "train": {"1|17|18|One.|Two.": ("One.", "Two.", "equivalent")},
        "dev": {"0|19|20|Three.|Four.": ("Three.", "Four.", "not_equivalent")}}),
    "RTE": ("glue-rte", "RTE", "index|sentence1|sentence2|label", {
        "train": {"0|A|B|not_entailment": ("A", "B", "not_entailment")},
        "dev": {"0|C|D|entailment": ("C", "D", "entailment")}}),
}  # fmt: skip


def of_glue(
    task: str, folder: str, header: str, parts: dict[str, dict[str, Row | None]]
) -> tuple[str, dict[str, Any], dict[str, list[Row]]]:
    files = {f"{folder}/{part}.tsv": tsv(*filter(None, [header]), *lines) for part, lines in parts.items()}
    expected: dict[str, list[Row]] = {"train": [], "validation": []}
    for part, lines in parts.items():
        given = [(f"{part}-{n}", *row) for n, row in enumerate(lines.values()) if row is not None]
        expected["train" if part == "train" else "validation"] += given
    return task, files, expected


FORMS |= {form: of_glue(*told) for form, told in GLUE.items()}


def test_the_raw_folder_may_be_the_one_that_holds_the_files(tmp_path: Path) -> None:
    found = 0
    for builder in (Dna, Protein, Music, Glue):
        for task, forms in builder.FORMS.items():
            for number, form in enumerate(forms):
                names = [pattern.replace("*", "00000") for own in form.files.values() for pattern in own]
                folder = names[0].partition("/")[0]
                if not all(name.startswith(f"{folder}/") for name in names):
                    continue
                parent = write(tmp_path / task / str(number), dict.fromkeys(names, "x"))
                expected = locate(get_task(task), forms, parent)
                assert expected[0] is form
                assert set(expected[1]) == set(form.files)
                assert locate(get_task(task), forms, parent / folder) == expected
                renamed = (parent / folder).rename(parent / "downloads")
                _, files = locate(get_task(task), forms, renamed, {"other"})
                assert [[p.name for p in paths] for paths in files.values()] == [
                    [p.name for p in paths] for paths in expected[1].values()
                ]
                with pytest.raises(FileNotFoundError, match=r"downloads holds no file of"):
                    locate(get_task(task), forms, renamed, {"downloads"})
                found += 1
    assert found > 25


def test_the_folder_of_another_task_is_not_read(tmp_path: Path) -> None:
    task, files, expected = FORMS["RTE"]
    raw = write(tmp_path, files) / "RTE"
    assert main(["data", "build", task, "--raw_dir", str(raw), "--output", str(tmp_path / "out")]) == 0
    assert rows(load(tmp_path / "out")) == expected
    with pytest.raises(FileNotFoundError, match=r"RTE holds no file of glue-mnli\. Looked for"):
        build_dataset("glue-mnli", tmp_path / "other", raw_dir=raw)


@pytest.mark.parametrize("form", FORMS)
def test_a_form_with_published_parts_gives_the_rows_written_here(tmp_path: Path, form: str) -> None:
    task, files, expected = FORMS[form]
    assert build(tmp_path, task, files) == expected
    card = (tmp_path / "out" / "README.md").read_text()
    assert not re.search(r"^#+ *$|None|\bnan\b|undefined", card, re.MULTILINE)  # no heading without text


# files that are not divided: 20 records or more, so that each part gets some
UNDIVIDED: dict[str, tuple[str, dict[str, Any], list[Row]]] = {
    "Hilbert-CNN": (
        "dna-h3",
        {"dataset01.txt": HISTONE + "".join(f">w{n}\nACGT\n1\n" for n in range(18))},  # H3.txt: see below
        [*HISTONE_ROWS, *((f"w{n}", "ACGT", "positive", None) for n in range(18))],
    ),
    "Rocklin": (
        "protein-stability",
        {
            "scores/rd1_stability_scores": "dssp\tname\tsequence\tec50_t\tstabilityscore\n"
            + "".join(f"HH\tHHH_rd1_{n:04d}.pdb\tMKV\t1.0\t{n}.5\n" for n in range(19)),
            "scores/ssm2_stability_scores.txt": "name\tsequence\tstabilityscore\nvillin\tMK\t-0.5\n",
        },
        [
            *((f"rd1_stability_scores-HHH_rd1_{n:04d}.pdb", "MKV", n + 0.5) for n in range(19)),
            ("ssm2_stability_scores-villin", "MK", -0.5),
        ],
    ),
}


@pytest.mark.parametrize("form", UNDIVIDED)
def test_an_undivided_form_gives_the_rows_written_here(tmp_path: Path, form: str) -> None:
    task, files, expected = UNDIVIDED[form]
    found = build(tmp_path, task, files)
    assert together(found) == sorted(expected, key=lambda row: row[0])
    assert [len(part) for part in found.values()] == [18, 1, 1]


def test_deeploc_headers_say_which_proteins_test(tmp_path: Path) -> None:
    proteins = "".join(f">T{n:02d} Plastid-S\nMK\n" for n in range(20))
    files = {"deeploc_data.fasta": proteins + ">E1 Golgi.apparatus-M test\nMKW\n>C Cytoplasm-Nucleus-U test\nMM\n"}
    found = build(tmp_path, "protein-localization", files)
    assert found.pop("test") == [("E1", "MKW", "Golgi.apparatus")]
    assert [len(found["train"]), len(found["validation"])] == [19, 1]
    assert together(found) == [(f"T{n:02d}", "MK", "Plastid") for n in range(20)]


def test_sarkisyans_mutations_are_applied_and_counted(tmp_path: Path) -> None:
    assert (len(AVGFP), AVGFP[108], AVGFP[0], AVGFP[236]) == (237, "A", "S", "K")
    lines = [("", 3.75), ("SA108D", 1.5), ("SS0P:SA108D:SK236*", 1.25), ("SS0P:SA108D:SK1E:SK236*", 1.0)]
    lines += [("SA108N", 2.0)] * 16
    text = "aaMutations\tuniqueBarcodes\tmedianBrightness\tstd\n"
    text += "".join(f"{mutations}\t3\t{brightness}\t0.1\n" for mutations, brightness in lines)
    files = {"amino_acid_genotypes_to_brightness.tsv": text}
    found = build(tmp_path, "protein-fluorescence", files)
    assert found.pop("test") == [("avgfp-00003", with_mutations("SS0P", "SA108D", "SK1E", "SK236*"), 1.0)]
    assert [len(found["train"]), len(found["validation"])] == [18, 1]
    assert together(found)[:3] == [
        ("avgfp-00000", AVGFP, 3.75),
        ("avgfp-00001", AVGFP[:108] + "D" + AVGFP[109:], 1.5),
        ("avgfp-00002", "P" + AVGFP[1:108] + "D" + AVGFP[109:236] + "*", 1.25),
    ]


SPLICE = [(label, f"NAME-{n}", f"{n:060b}".translate(str.maketrans("01", "AC")))
          for n, label in enumerate(["EI", "IE", "N"] * 13 + ["EI"])]  # fmt: skip


def test_both_forms_of_the_splice_file_give_the_same_bytes(tmp_path: Path) -> None:
    uci = "".join(f"{label},   {name},      {sequence.lower()}\n" for label, name, sequence in SPLICE)
    keel = "".join(f"{', '.join(sequence)}, {label}\n" for label, _, sequence in reversed(SPLICE))
    made = []
    for form, files in (("uci", {"splice.data": uci}), ("keel", {"splice.dat": keel})):
        build_dataset("dna-splice", tmp_path / form / "out", raw_dir=write(tmp_path / form / "raw", files))
        made.append({path.name: path.read_bytes() for path in (tmp_path / form / "out" / "paper").iterdir()})
    assert made[0] == made[1]
    assert sorted(made[0]) == ["test.parquet", "train.parquet", "validation.parquet"]
    found = together(rows(load(tmp_path / "keel" / "out")))
    assert found[:2] == [
        ("splice-0000", "A" * 60, "EI", "sequence-0000"),
        ("splice-0001", "A" * 59 + "C", "IE", "sequence-0001"),
    ]
    assert len(found) == 40


# --- music -----------------------------------------------------------------------------------------------------------

CHOPIN, BACH = "Frédéric Chopin", "Johann Sebastian Bach"
MAESTRO = "canonical_composer,canonical_title,split,year,midi_filename,audio_filename,duration\n"


def maestro(*pieces: tuple[str, str, str, str]) -> str:
    return MAESTRO + "".join(f'{who},"{work}",{part},2004,{file},x.wav,1.5\n' for who, work, part, file in pieces)


@pytest.mark.parametrize("given", ["the folder", "its zip"])
def test_maestro_gives_segments_in_order_of_onset(tmp_path: Path, given: str) -> None:
    long = [20 + n % 100 for n in range(300)]
    chord = midi(64, 60, 67, 50, starts=[1.0, 1.0, 1.0, 0.0])
    files = {
        "maestro-v1.0.0/maestro-v1.0.0.csv": maestro(
            (CHOPIN, "Nocturne, op. 9", "train", "2004/long.midi"),
            (BACH, "Fugue", "validation", "2004/chord.midi"),
            (BACH, "Prelude", "test", "2006/two.midi"),
        ),
        "maestro-v1.0.0/2004/long.midi": midi(*long),
        "maestro-v1.0.0/2004/chord.midi": chord,
        "maestro-v1.0.0/2006/two.midi": midi(1, 2),
    }
    raw = write(tmp_path / "raw", files if given == "the folder" else {"maestro.zip": zipped(files)})
    build_dataset("music-maestro-v1", tmp_path / "out", raw_dir=raw if given == "the folder" else raw / "maestro.zip")
    text = [" ".join(map(str, long[i : i + 128])) for i in (0, 128, 256)]
    assert rows(load(tmp_path / "out")) == {
        "train": [(f"long#{n:03d}", text[n], CHOPIN, "long") for n in range(3)],
        "validation": [("chord#000", "50 60 64 67", BACH, "chord")],
        "test": [("two#000", "1 2", BACH, "two")],
    }
    assert [len(part.split()) for part in text] == [128, 128, 44]


def test_maestro_as_the_authors_code_has_it(tmp_path: Path) -> None:
    # 256 notes: the authors' loop drops the last chunk, though it is full; 257: it drops the note that is left over
    pitches = [*range(10, 120), *range(10, 120), *range(10, 46)]
    assert len(pitches) == 256
    # one note sounds from before the first of 200 others until after the last
    others = [pretty_midi.Note(80, 20 + n % 50, 1 + n * 0.5, 1.4 + n * 0.5) for n in range(200)]
    files = {
        "maestro-v1.0.0.csv": maestro(
            (CHOPIN, "A", "train", "full.midi"),
            (BACH, "B", "validation", "over.midi"),
            (BACH, "C", "test", "held.midi"),
        ),
        "full.midi": midi(*pitches),
        "over.midi": midi(*pitches, 50),
        "held.midi": midi_of([pretty_midi.Note(80, 100, 0.0, 200.0), *others]),
    }
    found = build(tmp_path, "music-maestro-v1", files, "authors")
    chunks = [" ".join(map(str, pitches[i : i + 128])) for i in (0, 128)]
    assert found["train"] == [("full#000", chunks[0], CHOPIN, "full")]
    assert found["validation"] == [(f"over#{n:03d}", chunks[n], BACH, "over") for n in range(2)]
    # pretty_midi lists notes by their ends: the long first note comes after 200 others, so not in the first chunk
    assert found["test"] == [("held#000", " ".join(str(20 + n % 50) for n in range(128)), BACH, "held")]
    assert build(tmp_path, "music-maestro-v1", files)["test"][0][1].split()[:3] == ["100", "20", "21"]


def test_a_work_in_two_parts_is_for_training_alone_when_grouped(tmp_path: Path) -> None:
    names = {"a": "train", "b": "validation", "c": "test", "d": "test"}
    works = {"a": "Étude  1", "b": "Suite", "c": "étude 1", "d": "Gigue"}
    files: dict[str, Any] = {f"{name}.midi": midi(60 + n) for n, name in enumerate(names)}
    pieces = [(BACH, works[name], part, f"{name}.midi") for name, part in names.items()]
    found = build(tmp_path, "music-maestro-v1", {**files, "maestro-v3.0.0.csv": maestro(*pieces)}, "grouped")
    assert {part: [row[3] for row in own] for part, own in found.items()} == {
        "train": ["a", "c"],
        "validation": ["b"],
        "test": ["d"],
    }
    assert "Note: 1 works stand in more than one part" in (tmp_path / "out" / "README.md").read_text()


# --- splits ----------------------------------------------------------------------------------------------------------


def windows(n: int = 200) -> list[str]:
    """Windows on eight chromosomes, 25 on each, one nucleotide apart there."""
    chromosomes = [random.Random(seed).choices("ACGT", k=154) for seed in range(8)]
    sequences = ["".join(chromosomes[i // 25][i % 25 : i % 25 + 130]) for i in range(n)]
    return [f">iY{'ABCDEFGH'[i // 25]}L{i:03d}W_{i}\n{s}\n{i // 3 % 2}\n" for i, s in enumerate(sequences)]


def ids(output: Path, config: str) -> dict[str, list[str]]:
    return {part: list(own["id"]) for part, own in load(output, config).items()}


def test_the_authors_split_alone_depends_on_the_files_order(tmp_path: Path) -> None:
    lines = windows()
    made: dict[tuple[str, int], list[dict[str, list[str]]]] = {("paper", 7): [], ("authors", 7): [], ("paper", 8): []}
    for order, content in (("as it is", lines), ("turned", lines[::-1])):
        raw = write(tmp_path / order / "raw", {"H3.txt": "".join(content)})
        for (split, seed), found in made.items():
            build_dataset("dna-h3", tmp_path / order / "out", raw_dir=raw, split=split, seed=seed)
            found.append({part: sorted(names) for part, names in ids(tmp_path / order / "out", split).items()})
    paper, other, authors = made["paper", 7], made["paper", 8], made["authors", 7]
    assert {part: len(own) for part, own in paper[0].items()} == {"train": 180, "validation": 10, "test": 10}
    assert paper[0] == paper[1] != other[0] == other[1]
    assert authors[0] != authors[1]
    # the authors' code: random.seed(100), shuffle, then 90/5/5 in a row; whatever --seed says
    chosen = random_split(200, 100)
    names = [line.split("\n")[0][1:] for line in lines]
    assert authors[0]["test"] == sorted(names[i] for i, part in enumerate(chosen) if part == "test")


def test_too_few_groups_of_a_paper_task_name_another_split(tmp_path: Path) -> None:
    windows = "".join(f"EI, A-{n}, ACGT{'GT'[n % 2]}\n" for n in range(20))  # a window's group is its sequence
    raw = write(tmp_path / "raw", {"splice.data": windows})
    with pytest.raises(ValueError, match=r"^dna-splice: 2 groups cannot be divided into .*; use --split paper$"):
        build_dataset("dna-splice", tmp_path / "out", raw_dir=raw, split="grouped")


def test_grouped_windows_share_no_chromosome(tmp_path: Path) -> None:
    found = build(tmp_path, "dna-h3", {"H3.txt": "".join([*windows(), ">isnR24_3\nACGT\n1\n"])}, "grouped")
    assert [len(part) for part in found.values()] == [150, 25, 25]
    groups = [{row[3] for row in part} for part in found.values()]
    assert [len(of_part) for of_part in groups] == [6, 1, 1]
    assert set.union(*groups) == {f"chr{n}" for n in range(1, 9)}
    assert "Note: 1 of 201 records name no group and are left out" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize("form", ["PLUS localization", "PLUS targets", "TAPE JSON"])
def test_grouped_proteins_keep_the_published_parts(tmp_path: Path, form: str) -> None:
    task, files, expected = FORMS[form]
    assert build(tmp_path, task, files, "grouped") == expected


def test_grouped_is_refused_where_nothing_tells_groups(tmp_path: Path) -> None:
    raw = write(tmp_path / "raw", FORMS["GUE"][1])
    message = (
        "dna-h3k4me3: nothing in the GUE files tells which items belong together, so that --split grouped cannot be "
        "made of them; allowed here: paper, authors"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        build_dataset("dna-h3k4me3", tmp_path / "out", raw_dir=raw, split="grouped")
    assert not (tmp_path / "out").exists()


# --- the card --------------------------------------------------------------------------------------------------------


def settled(card: str) -> str:
    """The card with what changes from version to version, and from machine to machine, replaced."""
    card = re.sub(r"(num_bytes|download_size|dataset_size): \d+", r"\1: 0", card)
    card = re.sub(r"description: rows [0-9a-f]{16}", "description: rows 0", card)
    card = re.sub(r"\(hf_bertx [^ ,]+, datasets [^ )]+\)", "(hf_bertx 0.0.0, datasets 0.0.0)", card)
    return re.sub(r"tiny-bert\d+", "tiny-bert", card)  # its name: paths of a machine are nobody's business


def test_the_whole_card(tmp_path: Path, tiny_backbone: Path) -> None:
    raw = write(tmp_path / "raw", {"H3.txt": "".join(windows())})
    build_dataset("dna-h3", tmp_path / "dna-h3", raw_dir=raw, tokenized=f"{tiny_backbone}:random")
    build_dataset("dna-h3", tmp_path / "dna-h3", raw_dir=raw, split="grouped", seed=3)
    card = (tmp_path / "dna-h3" / "README.md").read_text()
    golden = ROOT / "model_cards" / "examples" / "dataset_card.md"
    assert settled(card) == golden.read_text()
    names = ["paper", "grouped", f"{tiny_backbone.name}-random-seed-100"]
    sizes = {name: {p: len(own) for p, own in load(tmp_path / "dna-h3", name).items()} for name in names}
    assert sizes["paper"] == sizes[names[2]] == {"train": 180, "validation": 10, "test": 10}
    assert sizes["grouped"] == {"train": 150, "validation": 25, "test": 25}
    assert load(tmp_path / "dna-h3")["test"]["id"][:] == load(tmp_path / "dna-h3", "paper")["test"]["id"][:]


def test_a_card_names_backbones_as_others_load_them() -> None:
    names = {"minilm-l6": "sentence-transformers/all-MiniLM-L6-v2", "owner/name@v1": "owner/name"}
    assert {name: resolve_backbone(name).shared_name for name in names} == names


def test_the_card_of_a_regression_shows_mean_and_range(tmp_path: Path) -> None:
    task, files, _ = FORMS["TAPE JSON"]
    build(tmp_path, task, files)
    assert (
        "| target | train | validation | test |\n|---|---|---|---|\n| items | 1 | 1 | 2 |\n"
        "| mean | 0.5 | 1.5 | 0.5 |\n| min | 0.5 | 1.5 | -2.0 |\n| max | 0.5 | 1.5 | 3.0 |\n"
        in (tmp_path / "out" / "README.md").read_text()
    )


# --- tokenized -------------------------------------------------------------------------------------------------------


def test_tokenized_rows_train_a_plain_trainer(tmp_path: Path, tiny_backbone: Path) -> None:
    from transformers import BertForSequenceClassification, DataCollatorWithPadding, Trainer, TrainingArguments

    from hf_bertx.tokenization_discipline import DisciplineTokenizer

    raw = write(tmp_path / "raw", {"H3.txt": "".join(windows(40))})
    counts = build_dataset("dna-h3", tmp_path / "out", raw_dir=raw, tokenized=str(tiny_backbone))
    name = f"{tiny_backbone.name}-frequent"
    assert counts == {config: {"train": 36, "validation": 2, "test": 2} for config in ("paper", name)}
    plain, ready = load(tmp_path / "out", "paper"), load(tmp_path / "out", name)
    tokenizer = DisciplineTokenizer.from_backbone(str(tiny_backbone), "dna", "frequent")
    for part in ("train", "validation", "test"):
        expected = tokenizer(plain[part]["sequence"][:], truncation=True, max_length=128)["input_ids"]
        assert ready[part]["input_ids"][:] == expected
        assert ready[part]["labels"][:] == plain[part]["label"][:]
    assert ready["train"].column_names == ["input_ids", "labels"]
    assert ready["train"].features["labels"].names == ["negative", "positive"]
    first = ready["test"][0]["input_ids"]
    back = "".join(tokenizer.decode(first, skip_special_tokens=True).split())
    assert back.upper() == plain["test"][0]["sequence"][:126]

    arguments = TrainingArguments(
        str(tmp_path / "run"),
        max_steps=1,
        per_device_train_batch_size=4,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = Trainer(
        BertForSequenceClassification.from_pretrained(tiny_backbone),
        arguments,
        train_dataset=ready["train"],
        data_collator=DataCollatorWithPadding(tokenizer),
    )
    assert 0.3 < trainer.train().training_loss < 1.5


def test_tokenized_rows_go_when_their_source_changes(tmp_path: Path, tiny_backbone: Path) -> None:
    raw = write(tmp_path / "raw", {"H3.txt": "".join(windows(40))})
    out = tmp_path / "out"
    build_dataset("dna-h3", out, raw_dir=raw, tokenized=str(tiny_backbone))
    ids = f"{tiny_backbone.name}-frequent"
    build_dataset("dna-h3", out, raw_dir=raw, split="authors")
    assert sorted(path.stem for path in (out / "builds").iterdir()) == sorted(["authors", "paper", ids])
    build_dataset("dna-h3", out, raw_dir=raw, tokenized=str(shutil.copytree(tiny_backbone, tmp_path / "other")))
    held = ["authors", "other-frequent", "paper", ids]  # the rows are the same
    assert sorted(path.stem for path in (out / "builds").iterdir()) == sorted(held)
    build_dataset("dna-h3", out, raw_dir=raw, split="paper", seed=1)
    assert sorted(path.name for path in out.iterdir()) == ["README.md", "authors", "builds", "paper"]
    assert sorted(path.stem for path in (out / "builds").iterdir()) == ["authors", "paper"]
    assert ids not in (out / "README.md").read_text()
    shutil.rmtree(out / "authors")  # a configuration that somebody removed is no longer in the card
    build_dataset("dna-h3", out, raw_dir=raw, split="paper")
    assert "authors" not in (out / "README.md").read_text()


def test_a_tokenized_pair_has_token_types(tmp_path: Path, tiny_backbone: Path) -> None:
    task, files, _ = FORMS["RTE"]
    build_dataset(task, tmp_path / "out", raw_dir=write(tmp_path / "raw", files), tokenized=str(tiny_backbone))
    row = load(tmp_path / "out", tiny_backbone.name)["train"][0]  # [CLS] a [SEP] b [SEP]
    assert row == {"input_ids": [101, 973, 102, 974, 102], "token_type_ids": [0, 0, 0, 1, 1], "labels": 1}


def test_text_has_no_assignment(tmp_path: Path, tiny_backbone: Path) -> None:
    task, files, _ = FORMS["RTE"]
    raw = write(tmp_path / "raw", files)
    message = re.escape(
        f"--tokenized {tiny_backbone}:nonsense: text has no symbols to assign; allowed: {tiny_backbone}"
    )
    with pytest.raises(ValueError, match=f"^{message}$"):
        build_dataset(task, tmp_path / "out", raw_dir=raw, tokenized=f"{tiny_backbone}:nonsense")
    assert not (tmp_path / "out").exists()


# --- rebuilding ------------------------------------------------------------------------------------------------------


def test_two_processes_may_build_into_one_folder(tmp_path: Path) -> None:
    raw = write(tmp_path / "raw", {"H3.txt": "".join(windows())})
    order = ("-m", "hf_bertx.cli", "data", "build", "dna-h3", "--raw_dir", raw, "--output", tmp_path / "out")
    running = [PythonProcess(*order, "--split", split, cwd=ROOT) for split in ("paper", "authors")]
    for done in [process.wait() for process in running]:
        assert done.returncode == 0, done.stderr
    for config in ("paper", "authors"):
        assert sum(len(own) for own in load(tmp_path / "out", config).values()) == 200
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.lock", "hf", "out", "raw"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["README.md", "authors", "builds", "paper"]


# --- a user's own data -----------------------------------------------------------------------------------------------

OWN = [(f"s{n}", "ACGT"[n % 4] * (n + 1), "yes" if n % 2 else "no") for n in range(40)]
OWN_FILES: dict[str, Any] = {
    "x.csv": "id,sequence,label\n" + "".join(f'{i},"{s}",{label}\n' for i, s, label in OWN),
    "x.tsv": "id\tsequence\tlabel\n" + "".join(f"{i}\t{s}\t{label}\n" for i, s, label in OWN),
    "x.jsonl": "".join(json.dumps({"id": i, "sequence": s, "label": label}) + "\n" for i, s, label in OWN),
    "x.parquet": parquet(**{name: [row[n] for row in OWN] for n, name in enumerate(("id", "sequence", "label"))}),
    "x.fasta": "".join(f">{i} organism=yeast label={label}\n{s[:3]}\n{s[3:]}\n" for i, s, label in OWN),
    "x.fa": "".join(f">{i} {label} and more\n{s}\n" for i, s, label in OWN),
}


@pytest.mark.parametrize("file", OWN_FILES)
def test_own_data_of_every_kind_gives_the_same_rows(tmp_path: Path, file: str) -> None:
    raw = write(tmp_path / "raw", {file: OWN_FILES[file]}) / file
    command = ["data", "build", "mine", "--from", str(raw), "--discipline", "dna", "--output", str(tmp_path / "out")]
    assert main(command) == 0
    found = rows(load(tmp_path / "out"))
    assert {part: len(own) for part, own in found.items()} == {"train": 28, "validation": 6, "test": 6}
    assert together(found) == sorted(OWN)
    assert load(tmp_path / "out")["train"].features["label"].names == ["no", "yes"]
    card = (tmp_path / "out" / "README.md").read_text()
    assert "2 classes of the user's own dna data." in card
    assert "No licence is stated: build the data again with `--license` before you publish it." in card
    assert "None" not in card


def own(tmp_path: Path, files: dict[str, Any], **options: Any) -> dict[str, list[Row]]:
    raw = write(tmp_path / "raw", files)
    named = {name: str(raw / value) if name.endswith("_file") else value for name, value in options.items()}
    build_dataset("mine", tmp_path / "out", builder_options={"discipline": "dna", **named})
    return rows(load(tmp_path / "out"))


def test_own_parts_columns_and_groups(tmp_path: Path) -> None:
    lines = [f"{label},{s},fam{n % 20}" for n, (_, s, label) in enumerate(OWN)]
    text = "kind,dna,family\n" + "\n".join(lines) + "\n"
    files = {"train.csv": text, "held.csv": "kind,dna,family\nno,ACGT,other\nyes,AC,\n"}
    columns = {"sequence_column": "dna", "label_column": "kind", "group_column": "family"}
    found = own(tmp_path, files, train_file="train.csv", test_file="held.csv", **columns)
    assert found["test"] == [("held-0", "ACGT", "no", "other"), ("held-1", "AC", "yes", None)]
    assert [len(found["train"]), len(found["validation"])] == [34, 6]
    assert not {row[3] for row in found["train"]} & {row[3] for row in found["validation"]}
    assert "validation 15% of the training file, drawn by group" in (tmp_path / "out" / "README.md").read_text()


def test_own_pairs(tmp_path: Path) -> None:
    text = "sequence\tother\tlabel\n" + "".join(f"{s}\tGG\t{label}\n" for _, s, label in OWN)
    found = own(tmp_path, {"x.tsv": text}, train_file="x.tsv", second_sequence_column="other")
    assert together(found)[0] == ("x-0", "A", "GG", "no")


@pytest.mark.parametrize(
    ("labels", "kind", "values"), [(["1.5", "2"], "float32", {1.5, 2.0}), (["10", "9"], ["9", "10"], {"9", "10"})]
)
def test_own_labels_are_targets_when_one_has_a_point(
    tmp_path: Path, labels: list[str], kind: Any, values: set[Any]
) -> None:
    text = "sequence,label\n" + "".join(f"{s},{labels[n % 2]}\n" for n, (_, s, _) in enumerate(OWN))
    found = own(tmp_path, {"x.csv": text}, train_file="x.csv")
    feature = load(tmp_path / "out")["train"].features["label"]
    assert getattr(feature, "names", feature.dtype) == kind
    assert sorted({row[2] for row in together(found)}) == sorted(values, key=float if kind == "float32" else None)


def test_own_midi(tmp_path: Path) -> None:
    names = [f"{'left' if n % 2 else 'right'}/{n:02d}.{'mid' if n % 3 else 'MIDI'}" for n in range(6)]
    files = {f"train/{name}": midi(60 + n, 60) for n, name in enumerate(names)}
    files |= {"held/left/x.mid": midi(1, 2), "held/right/y.mid": midi(3)}
    found = own(tmp_path, files, discipline="music", train_file="train", validation_file="held")
    assert found.pop("validation") == [
        ("left/x.mid#000", "1 2", "left", "left/x.mid"),
        ("right/y.mid#000", "3", "right", "right/y.mid"),
    ]
    expected = [(f"{name}#000", f"{60 + n} 60", name.partition("/")[0], name) for n, name in enumerate(names)]
    assert together(found) == sorted(expected)
    assert (tmp_path / "out" / "README.md").read_text().count("` (train): ") == 6


CARD_ORDERS: dict[str, tuple[dict[str, Any], str]] = {
    "a table": (
        {
            "x.csv": "name,dna,kind,family\n"
            + "".join(f"{i},{s},{label},f{n % 20}\n" for n, (i, s, label) in enumerate(OWN))
        },
        "bertx data build mine --from x.csv --discipline dna --sequence_column dna --label_column kind "
        "--id_column name --group_column family --license cc-by-4.0 --seed 5",
    ),
    "a labels file": (
        {
            "x.fasta": "".join(f">{i}\n{s}\n" for i, s, _ in OWN),
            "labels.csv": "id,label\n" + "".join(f"{i},{label}\n" for i, _, label in OWN),
        },
        "bertx data build mine --from x.fasta --discipline dna --labels_file labels.csv --similarity_threshold 0.5 "
        "--seed 100",
    ),
    "parts and a pattern": (
        {f"{name}.fa": "".join(f">{i} is {label}\n{s}\n" for i, s, label in OWN) for name in ("x", "v")},
        "bertx data build mine --from x.fa --validation_file v.fa --discipline dna --label_pattern 'is (.+)' "
        "--seed 100",
    ),
}


@pytest.mark.parametrize("kind", CARD_ORDERS)
def test_the_command_of_a_card_builds_the_data_again(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, command = CARD_ORDERS[kind]
    monkeypatch.chdir(write(tmp_path / "raw", files))
    argv = shlex.split(command)[1:]
    absolute = [str(Path(word).resolve()) if word in files else word for word in argv]
    made = []
    for name, words in (("a", absolute), ("b", argv)):
        assert main([*words, "--output", str(tmp_path / name / "out")]) == 0
        record = json.loads((tmp_path / name / "out" / "builds" / "default.json").read_text())
        assert record["command"] == command
        assert sorted(record["understood"]["classes"]) == ["no", "yes"]
        assert {file["file"] for file in record["source"]["files"]} == set(files)
        made.append((record["files"], record["source"]))
    assert made[0] == made[1]
    card = DatasetCard.load(tmp_path / "a" / "out" / "README.md")
    assert card.data.license == ("cc-by-4.0" if "--license" in argv else "other")
    assert ("No licence is stated" in card.text) is ("--license" not in argv)


def test_the_card_of_a_fold_names_the_command_that_made_it(tmp_path: Path) -> None:
    raw = write(tmp_path / "raw", {"x.csv": OWN_FILES["x.csv"]})
    told = {"train_file": str(raw / "x.csv"), "discipline": "dna", "folds": 3, "fold": 2}
    build_dataset("mine", tmp_path / "out", builder_options=told)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "Made by `bertx train --task mine --train_file x.csv --discipline dna --folds 3` (" in card
    assert "Note: test: fold 2 of 3, drawn at random, classes in proportion; validation: 11% of the rest" in card


def test_the_card_says_what_was_held_out(tmp_path: Path) -> None:
    sizes = {"a": 16, "b": 12, "c": 12}
    names = [name for name, size in sizes.items() for _ in range(size)]
    text = "sequence,label,group\n" + "".join(
        f"{s},{label},{name}\n" for (_, s, label), name in zip(OWN, names, strict=True)
    )
    found = own(tmp_path, {"x.csv": text}, train_file="x.csv")
    assert [len(part) for part in found.values()] == [16, 12, 12]
    card = (tmp_path / "out" / "README.md").read_text()
    assert "validation 30%, test 30% of the training file, drawn by group, classes in proportion" in card
