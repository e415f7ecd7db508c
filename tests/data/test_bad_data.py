"""Bad input: one clear message each, and the previous good build stays as it was, byte for byte."""

import io
import json
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
from file_server import FileServer
from raw_files import histone, midi, tarred, write, zipped

from dataset_scripts.build import build_dataset
from dataset_scripts.sources import SOURCES, Source, unpack
from hf_bertx.cli import main

ROOT = Path(__file__).resolve().parents[2]
HISTONE = histone()
AMINO_ACIDS = "L A G V E S I K R D T P N Q F Y M H C W X B Z J U O *"
NUCLEOTIDES = "A C G T N R Y S W K M B D H V"
MAESTRO = "canonical_composer,canonical_title,split,year,midi_filename,audio_filename,duration\n"
PIECES = MAESTRO + "".join(
    f"Frédéric Chopin,Waltz {part},{part},2004,{part}.midi,x.wav,1\n" for part in ("train", "validation", "test")
)


GOOD: dict[str, dict[str, str | bytes]] = {
    "dna-h3": {"H3.txt": HISTONE},
    "dna-h4": {"H4/train.fna": ">a|1\nAC\n>b|0\nGT\n", "H4/test.fna": ">a|1\nAC\n"},
    "dna-splice": {"splice.data": "".join(f"{'EI IE N'.split()[n % 3]}, A-{n}, ACGT{n * 'G'}\n" for n in range(30))},
    "protein-localization": {f"localization_{p}.fa": f">{p} Nucleus-M\nMKAA\n" for p in ("train", "dev", "test")},
    "protein-stability": {
        f"stability_{p}.json": json.dumps([{"primary": "MK", "stability_score": [0.5]}])
        for p in ("train", "valid", "test")
    },
    "glue-rte": {
        f"RTE/{p}.tsv": "index\tsentence1\tsentence2\tlabel\n0\tA\tB\tentailment\n" for p in ("train", "dev")
    },
    "glue-cola": {f"CoLA/{p}.tsv": "gj04\t1\t\tIt sails.\n" for p in ("train", "dev")},
    "music-maestro-v1": {
        "maestro-v1.0.0.csv": PIECES,
        **{f"{part}.midi": midi(60, 64) for part in ("train", "validation", "test")},
    },
}


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too, but the lock."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if not path.is_dir()}
    return {name: path.read_bytes() for name, path in files.items() if not name.endswith(".lock")}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A good build of a task, in a folder of its own; no test may change it."""
    made: dict[str, Path] = {}

    def build(task: str) -> Path:
        if task not in made:
            folder = tmp_path_factory.mktemp("good")
            build_dataset(task, folder / "out", raw_dir=write(folder / "raw", GOOD[task]))
            shutil.rmtree(folder / "raw")
            made[task] = folder / "out"
        return made[task]

    return build


BAD: dict[str, dict[str, tuple[dict[str, str | bytes | None], str]]] = {
    "dna-h3": {
        "letter outside the alphabet": ({"H3.txt": HISTONE.replace("ACGTACC", "ACGTAZC", 1)},
            f"RAW/H3.txt, line 4: 'Z' at position 6 of the sequence is not in the dna alphabet: {NUCLEOTIDES}"),
        "a record without its label's line": ({"H3.txt": HISTONE.replace("ACGTACC\n1\n", "ACGTACC\n", 1)},
            "RAW/H3.txt, line 4: label '>iYAL002W_2'; allowed: 0, 1"),
        "the last record without its label": ({"H3.txt": HISTONE + ">last\nACGT\n"},
            "RAW/H3.txt, line 121: no label; allowed: 0, 1"),
        "a repeated id": ({"H3.txt": HISTONE + ">iYAL003W_3\nACGT\n0\n"},
            "RAW/H3.txt, line 121: id 'iYAL003W_3' occurs a second time; ids are unique"),
    },
    "protein-localization": {
        "letter outside the alphabet of proteins": ({"localization_dev.fa": ">x Nucleus-M\nMK\nK4\n"},
            f"RAW/localization_dev.fa, line 1: '4' at position 4 of the sequence is not in the protein alphabet: "
            f"{AMINO_ACIDS}"),
        "header without a label": ({"localization_train.fa": ">x Nucleus-M\nMK\n>Q9H400\nMK\n"},
            "RAW/localization_train.fa, line 3: header 'Q9H400' holds no label; allowed: >NAME LABEL"),
        "label never declared": ({"localization_test.fa": ">x Nowhere-M\nMK\n"},
            "RAW/localization_test.fa, line 1: label 'Nowhere'; allowed: Cell.membrane, Cytoplasm, "
            "Endoplasmic.reticulum, Extracellular, Golgi.apparatus, Lysosome/Vacuole, Mitochondrion, Nucleus, "
            "Peroxisome, Plastid"),
    },
    "glue-rte": {
        "empty sentence": ({"RTE/dev.tsv": "index\tsentence1\tsentence2\tlabel\n0\tA\t \tentailment\n"},
            "RAW/RTE/dev.tsv, line 2: the sequence is empty"),
        "label of a sentence never declared": (
            {"RTE/train.tsv": "index\tsentence1\tsentence2\tlabel\n0\tA\tB\tmaybe\n"},
            "RAW/RTE/train.tsv, line 2: label 'maybe'; allowed: entailment, not_entailment"),
        "a row of too few fields": (
            {"RTE/train.tsv": "index\tsentence1\tsentence2\tlabel\n0\tA\tB\tentailment\n1\tA\tB\n"},
            "RAW/RTE/train.tsv, line 3: 3 fields; the header has 4"),
    },
    "dna-h4": {
        "header without a bar": ({"H4/train.fna": ">a|1\nAC\n>YAL001C\nAC\n"},
            "RAW/H4/train.fna, line 3: header 'YAL001C' holds no label; allowed: >NAME|LABEL"),
    },
    "dna-splice": {
        "class of a junction never declared": ({"splice.data": "N, A, ACGT\nXX, B, ACGT\n"},
            "RAW/splice.data, line 2: label 'XX'; allowed: EI, IE, N"),
        "a line of too few fields": ({"splice.data": "N, A, ACGT\nEI, ACGT\n"},
            "RAW/splice.data, line 2: 2 fields; allowed: `CLASS, NAME, SEQUENCE` or 61"),
        "no file at all": ({"splice.data": None, "notes.txt": "x"},
            "RAW holds no file of dna-splice. Looked for, in any subfolder: UCI or KEEL: splice.data, splice.txt, "
            "splice.dat; the package's: builds/paper.json"),
    },
    "protein-stability": {
        "a target in JSON that is NaN": ({"stability_test.json": '[{"primary": "MK", "stability_score": [NaN]}]'},
            "RAW/stability_test.json, record 0: the target is 'nan'; allowed: a finite number"),
        "a target that is no number": ({"stability_test.json": '[{"primary": "MK", "stability_score": "high"}]'},
            "RAW/stability_test.json, record 0: the target is 'high'; allowed: a finite number"),
        "a target that is missing": ({"stability_valid.json": '[{"primary": "MK", "stability_score": []}]'},
            "RAW/stability_valid.json, record 0: the target is ''; allowed: a finite number"),
        "an object without its sequence": ({"stability_valid.json": '[{"protein": "MK", "stability_score": [1]}]'},
            "RAW/stability_valid.json, record 0: no 'primary'; it has protein, stability_score"),
    },
    "glue-cola": {
        "a sentence without its fields": ({"CoLA/train.tsv": "gj04\t1\t\tIt sails.\n1\tIt sails.\n"},
            "RAW/CoLA/train.tsv, line 2: 2 fields; allowed: source, label, mark, sentence"),
    },
    "music-maestro-v1": {
        "a file that is not MIDI at all": ({"test.midi": "<html>404 Not Found, said the server</html>"},
            "RAW/test.midi: not a whole MIDI file (it does not begin with MThd)"),
        "a piece without its file": ({"test.midi": None},
            "RAW/maestro-v1.0.0.csv, line 4: the piece's file test.midi is not below RAW"),
        "a piece outside the folder": ({"maestro-v1.0.0.csv": PIECES.replace("train.midi", "../train.midi")},
            "RAW/maestro-v1.0.0.csv, line 2: '../train.midi' points outside the folder of the CSV"),
        "a piece in no split": ({"maestro-v1.0.0.csv": PIECES.replace(",test,", ",held out,")},
            "RAW/maestro-v1.0.0.csv, line 4: split 'held out'; allowed: train, validation, test"),
        "a piece that occurs twice": (
            {"maestro-v1.0.0.csv": PIECES + "Frédéric Chopin,Waltz,train,2004,test.midi,x.wav,1\n"},
            "RAW/maestro-v1.0.0.csv, line 5: 'test' occurs a second time, after RAW/maestro-v1.0.0.csv, line 4"),
        "a composer never declared": (
            {"maestro-v1.0.0.csv": PIECES.replace("Frédéric Chopin,Waltz test", "Nobody,Waltz test")},
            "RAW/maestro-v1.0.0.csv, line 4: label 'Nobody'; allowed: Alban Berg, Alexander Scriabin, "),
    },
}  # fmt: skip


@pytest.mark.parametrize(("task", "name"), [(task, name) for task, cases in BAD.items() for name in cases])
def test_bad_input_is_named_and_leaves_the_build_alone(
    tmp_path: Path, built: Callable[[str], Path], capsys: pytest.CaptureFixture[str], task: str, name: str
) -> None:
    changes, message = BAD[task][name]
    output = built(task)
    before = snapshot(output.parent)
    assert {"out/README.md", "out/builds/paper.json", "out/paper/train.parquet"} <= set(before)
    capsys.readouterr()
    raw = write(tmp_path / "raw", {**GOOD[task], **{k: v for k, v in changes.items() if v is not None}})
    for file, content in changes.items():
        if content is None:
            (raw / file).unlink()
    assert main(["data", "build", task, "--raw_dir", str(raw), "--output", str(output)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    line = f"bertx: error: {message.replace('RAW', str(raw))}"
    errors = printed.err.splitlines()
    # MIDI files are read while the library shows how far it is; all others are read before it begins
    assert len(errors) == 1 or task == "music-maestro-v1"
    assert errors[-1].startswith(line) if line.endswith(" ") else errors[-1] == line
    assert snapshot(output.parent) == before


# files, the error, and the options if they are not the first file and `--discipline dna`; see also test_reading.py
OWN: dict[str, tuple[Any, ...]] = {
    "a seed below 0": ({"x.csv": "sequence,label\nAC,a\nAG,b\n"},
        "--seed is -1; allowed: 0 to 4294967295",
        "x.csv --discipline dna --seed -1"),
    "an undeclared discipline": ({"x.csv": "sequence,label\nAC,a\nAC,b\n"},
        "--discipline is 'rna'; allowed: dna, protein, music, text",
        "x.csv --discipline rna"),
    "no such file": ({}, "RAW/x.csv: no such file or folder", "x.csv --discipline dna"),
    "a pitch that is none": ({"x.csv": "sequence,label\n60 64,a\n60 128,b\n"},
        "RAW/x.csv, line 3: '128' at position 2 of the sequence is not in the music alphabet: 0 1 2 3 ... 126 127 "
        "(128 symbols)",
        "x.csv --discipline music"),
    "a label never declared": ({"x.csv": "sequence,label\nAC,a\nAG,b\n", "y.csv": "sequence,label\nAC,c\n"},
        "RAW/y.csv, line 2: label 'c'; allowed: a, b",
        "x.csv --discipline dna --test_file y.csv"),
    "a header unlike the pattern": ({"x.fasta": ">a class:p\nAC\n>b label=q\nAG\n"},
        "RAW/x.fasta, line 3: header 'b label=q' holds no label; allowed: a match of class:(.)",
        "x.fasta --discipline dna --label_pattern class:(.)"),
    "a pattern without a group": ({"x.fasta": ">a class:p\nAC\n"},
        "--label_pattern 'class:.' has no group; the label is what ( ) encloses",
        "x.fasta --discipline dna --label_pattern class:."),
    "a piece without its file": ({"pieces/a.mid": midi(60), "labels.csv": "file,label\na.mid,p\nb.mid,q\n"},
        "RAW/labels.csv, line 3: the piece's file b.mid is not below RAW/pieces; did you mean 'a.mid'?",
        "pieces --discipline music --labels_file labels.csv"),
    "too few groups": ({"x.csv": "sequence,label,group\nAC,a,g\nAG,b,g\nAT,a,h\n"},
        "RAW/x.csv: 2 groups cannot be divided into train, validation, test; give --validation_file and --test_file"),
    "too few records": ({"x.csv": "sequence,label\nAC,a\nAG,b\n"},
        "RAW/x.csv: 2 records are too few to draw validation, test from; give --validation_file and --test_file"),
}  # fmt: skip


@pytest.mark.parametrize("name", OWN)
def test_bad_files_of_a_users_own_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    files, message, *options = OWN[name]
    words = options[0].split() if options else [next(iter(files)), "--discipline", "dna"]
    raw = write(tmp_path / "raw", files)
    given = [str(raw / option) if re.fullmatch(r"\w+(\.\w+)+|pieces", option) else option for option in words]
    output = tmp_path / "made" / "out"
    write(output, {"README.md": "good", "default/train.parquet": "good"})
    before = snapshot(output.parent)
    assert main(["data", "build", "mine", "--from", *given, "--output", str(output)]) == 2
    printed = capsys.readouterr().err.splitlines()
    assert printed == [f"bertx: error: {message.replace('RAW', str(raw))}"]
    assert snapshot(output.parent) == before


def test_orders_that_cannot_be_carried_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = str(tmp_path / "made" / "out")
    for order, message in (
        (["dna-h33"], "unknown task 'dna-h33'; did you mean 'dna-h3'? Known: "),
        (["dna-h3", "--split", "random"], "unknown split 'random'; allowed: paper, authors, grouped"),
        (["dna-h3", "--raw_dir", f"{tmp_path}/none"], f"--raw_dir {tmp_path}/none: no such folder"),
        (["dna-h3", "--from", "x.csv", "--discipline", "dna"], "dna-h3 is a task of the paper; give your own data an"),
        (["--discipline", "dna"], "--discipline describes data of your own: name its file with --from FILE"),
        ([], "no task is named; one of: "),
    ):
        assert main(["data", "build", *order, "--output", output]) == 2
        printed = capsys.readouterr().err
        assert printed.startswith(f"bertx: error: {message}")
        assert printed.count("\n") == 1
    assert snapshot(tmp_path / "made") == {}


def test_another_count_than_published_is_a_warning_or_an_error(
    tmp_path: Path, built: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    message = "dna-h3: counts of items differ from the published ones: 39 all, published 14965"
    raw = write(tmp_path / "raw", {"H3.txt": "".join(HISTONE.splitlines(keepends=True)[3:])})
    output = built("dna-h3")
    before = snapshot(output.parent)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        build_dataset("dna-h3", output, raw_dir=raw, strict=True)
    assert snapshot(output.parent) == before
    datasets.utils.logging.enable_propagation()
    build_dataset("dna-h3", tmp_path / "out", raw_dir=raw)
    assert message in [record.getMessage() for record in caplog.records]
    assert f"Note: {message}.\n" in (tmp_path / "out" / "README.md").read_text()
    missing = write(tmp_path / "rte", {"RTE/train.tsv": GOOD["glue-rte"]["RTE/train.tsv"]})
    with pytest.raises(FileNotFoundError, match=r"^glue-rte: the GLUE's TSV files of validation are not at hand$"):
        build_dataset("glue-rte", tmp_path / "rte_out", raw_dir=missing, strict=True)


def test_a_card_that_cannot_be_written_brings_the_old_build_back(tmp_path: Path) -> None:
    raw = write(tmp_path / "raw", {"H3.txt": HISTONE})
    for split in ("paper", "authors"):
        build_dataset("dna-h3", tmp_path / "data" / "out", raw_dir=raw, split=split)
    (tmp_path / "data" / "out" / "README.md").unlink()
    write(tmp_path / "data", {"out/README.md/x": "a folder in the card's place"})
    before = snapshot(tmp_path / "data")
    write(raw, {"H3.txt": HISTONE.replace("ACGTAC", "TTTTTT")})
    with pytest.raises(IsADirectoryError):
        build_dataset("dna-h3", tmp_path / "data" / "out", raw_dir=raw)
    assert snapshot(tmp_path / "data") == before
    shutil.rmtree(tmp_path / "data" / "out" / "README.md")
    build_dataset("dna-h3", tmp_path / "data" / "out", raw_dir=raw)
    after = snapshot(tmp_path / "data")
    assert {name for name in before if after.get(name) != before[name]} == {
        "out/README.md/x",
        "out/builds/paper.json",
        *(f"out/paper/{part}.parquet" for part in ("train", "validation", "test")),
    }


# --- archives and downloads ------------------------------------------------------------------------------------------


def special(kind: bytes) -> bytes:
    """A tar archive of a file and then an entry that is no file."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as archive:
        for name, entry_kind in (("inside.txt", tarfile.REGTYPE), ("odd", kind)):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = entry_kind, "inside.txt" if entry_kind == kind else ""
            archive.addfile(entry)
    return written.getvalue()


def zipped_link() -> bytes:
    written, entry = io.BytesIO(), zipfile.ZipInfo("odd")
    entry.external_attr = stat.S_IFLNK << 16
    with zipfile.ZipFile(written, "w") as archive:
        archive.writestr(entry, "inside.txt")
    return written.getvalue()


OUTSIDE = ("../outside.txt", "a/../../outside.txt", "/tmp/outside_of_the_archive.txt")
ARCHIVES: dict[str, tuple[bytes, str]] = {
    **{
        f"{name} of {make.__name__}": (
            make({"in.txt": "x", name: "y"}),
            f"entry {name!r} points outside the folder th",
        )
        for make in (zipped, tarred)
        for name in OUTSIDE
    },
    "a zip entry below a file": (zipped({"a": "x", "b": "y", "a/b": "z"}), "'a' is a file and a folder in it"),
    "a tar entry below a file": (tarred({"a": "x", "b": "y", "a/b": "z"}), "'a' is a file and a folder in it"),
    "a zipped link": (zipped_link(), "entry 'odd' is neither a file nor a folder"),
    "a symbolic link": (special(tarfile.SYMTYPE), "entry 'odd' is neither a file nor a folder"),
    "a hard link": (special(tarfile.LNKTYPE), "entry 'odd' is neither a file nor a folder"),
    "a device": (special(tarfile.CHRTYPE), "entry 'odd' is neither a file nor a folder"),
    "zeros in a tar": (tarred({"a": "x", "b": "0" * 2_000_000}), "its "),
}


@pytest.mark.parametrize("kind", ARCHIVES)
def test_nothing_is_unpacked_of_an_archive_that_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("hf_bertx.data.text_files._MOST_EXPANDED", 10**6)
    content, message = ARCHIVES[kind]
    archive = write(tmp_path, {"bad.bin": content}) / "bad.bin"
    with pytest.raises(ValueError, match=f"^{re.escape(f'{archive}: {message}')}"):
        unpack(archive, tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.bin"]
    assert not Path(OUTSIDE[-1]).exists()


@pytest.mark.parametrize(
    "content", [zipped({"a": "x" * 999})[:-40], tarred({"a": "x" * 999})[:-40], b"<html>"], ids=["zip", "tar", "page"]
)
def test_a_broken_archive_is_named(tmp_path: Path, content: bytes) -> None:
    archive = write(tmp_path, {"bad.zip": content}) / "bad.zip"
    with pytest.raises(ValueError, match=r"bad\.zip: not a whole archive \([^\n]+\); remove it and fetch it again$"):
        unpack(archive, tmp_path / "folder")


def test_a_download_that_is_cut_off_leaves_the_build_alone(
    tmp_path: Path,
    built: Callable[[str], Path],
    server: FileServer,
    downloads: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server.files["H3.txt"] = HISTONE.encode()
    monkeypatch.setitem(SOURCES, "dna-h3", (Source("H3.txt", (server.address("H3.txt"),)),))
    output = built("dna-h3")
    before = snapshot(output.parent)
    order = ["data", "build", "dna-h3", "--output", str(output)]
    server.cuts = 2  # both attempts
    assert main(order) == 2
    printed = capsys.readouterr().err
    line = printed[printed.index("bertx: error: ") :].rstrip("\n")  # after what the library shows of the download
    assert "\n" not in line
    assert line.startswith(
        f"bertx: error: H3.txt of dna-h3 could not be had. Tried {server.address('H3.txt')}: ChunkedEncodingError "
    )
    assert line.endswith("What to do: put H3.txt (or another form of it) into a folder and pass --raw_dir FOLDER")
    assert snapshot(output.parent) == before
    assert not [path for path in downloads.rglob("*.txt") if path.is_file()]
    fresh = ["data", "build", "dna-h3", "--output", str(tmp_path / "out")]
    server.cuts = 1  # the second attempt succeeds
    assert main(fresh) == 0
    assert snapshot(tmp_path / "out" / "paper") == snapshot(output / "paper")


# --- a full disk -----------------------------------------------------------------------------------------------------

# In a mount namespace of its own the process may mount a small tmpfs, which is gone when it ends. The second build is
# tried with hardly any space, then with a page more, and so on until it fits: so it breaks off at every point.
_ON_A_SMALL_DISK = """
import contextlib, io, json, sys
from pathlib import Path
from hf_bertx.cli import main
disk, raw = Path(sys.argv[1]), Path(sys.argv[2])
def files():
    return {str(path.relative_to(disk)): path.read_bytes().hex() for path in disk.rglob("*") if path.is_file()}
def build(name):
    with contextlib.redirect_stderr(io.StringIO()) as errors:
        code = main(["data", "build", "dna-h3", "--output", str(disk / "out"), "--raw_dir", str(raw / name)])
    return code, errors.getvalue().splitlines()[-1]
outcomes = [build("old")]
before = files()
ballast = disk / "ballast"
while len(outcomes) < 200:
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)) == 4096:
            pass
    with ballast.open("r+b") as file:
        file.truncate(max(0, (ballast.stat().st_size // 4096 - len(outcomes)) * 4096))
    code, message = build("new")
    ballast.unlink()
    outcomes.append([code, message, files() == before])
    if code == 0:
        break
print(json.dumps(outcomes))
"""


def test_a_full_disk_leaves_the_build_as_it_was(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    raw = write(tmp_path / "raw", {"old/H3.txt": HISTONE, "new/H3.txt": HISTONE.replace("ACGTAC", "TTTTTT")})
    mount = f"mount -t tmpfs -o size=1m none '{disk}'"
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True).returncode:
        pytest.skip("this user may not mount a tmpfs")
    script = ["sh", "-c", f'{mount} && exec "$@"', "sh", sys.executable, "-c", _ON_A_SMALL_DISK, str(disk), str(raw)]
    ended = subprocess.run(["unshare", "-rm", *script], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    first, *failed, last = json.loads(ended.stdout.splitlines()[-1])
    assert first[0] == 0
    assert (last[0], last[2]) == (0, False)
    assert len(failed) >= 10
    line = (
        f"bertx: error: the disk that holds {disk / 'out'} is full; what stood there before is as it was. Free some "
        "space, or choose another --output"
    )
    for code, message, same in failed:
        assert (code, message) == (2, line)
        assert same
