"""A built data set is whole, is checked when it is read, and a kill or a rebuild never mixes two of them."""

import gzip
import json
import re
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import ROOT
from datasets import load_dataset
from file_damage import edit
from python_processes import run_python
from raw_files import histone, write

from dataset_scripts.build import _staged, build_dataset
from hf_bertx.cli import main
from hf_bertx.data import data_copies, text_files
from hf_bertx.data.task_data import load_task_data
from hf_bertx.publishing.cards import code_span, plain
from hf_bertx.publishing.repository_files import dataset_files
from hf_bertx.tasks import get_task

SPLICE = ROOT / "hf_bertx" / "data" / "dna-splice"
AGAIN = "build the configuration paper again"


def overwrite(path: Path, at: int, data: bytes) -> None:
    content = bytearray(path.read_bytes())
    content[at : at + len(data)] = data
    path.write_bytes(content)


TEST, RECORD = Path("paper", "test.parquet"), Path("builds", "paper.json")
DAMAGES: dict[str, tuple[Path, Callable[[Path], object], str]] = {
    "no test rows": (TEST, Path.unlink, f"the file is missing; {AGAIN}"),
    "cut": (TEST, lambda p: p.write_bytes(p.read_bytes()[:900]), "damaged or changed (900 bytes, "),
    "a flipped bit": (TEST, lambda p: overwrite(p, 700, bytes([p.read_bytes()[700] ^ 1])), "damaged or changed (its "),
    "one more": (
        Path("paper", "train-2.parquet"),
        lambda p: shutil.copy(p.parent / "test.parquet", p),
        f"the file is not of this build; remove it, or {AGAIN}",
    ),
    "no record": (RECORD, Path.unlink, f"the file is missing; {AGAIN}"),
    "a record cut": (RECORD, lambda p: p.write_text(p.read_text()[:99]), "not the record of a build ("),
    "no task": (RECORD, lambda p: edit(p, lambda r: r.update(task={})), "not the record of a build ("),
    "no checksums": (RECORD, lambda p: edit(p, lambda r: r.pop("files")), f"no 'files' in it; {AGAIN}"),
    "another count": (
        RECORD,
        lambda p: edit(p, lambda r: r["counts"].update(test=161)),
        "not the record of a build (its files hold ",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_train_publish_and_leaks_refuse_a_damaged_data_set(
    tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name, harm, message = DAMAGES[damage]
    folder = Path(shutil.copytree(SPLICE, tmp_path / "dna-splice"))
    harm(folder / name)
    line = f"{folder / name}: {message}"
    for data_dir in (folder, folder / "paper"):
        with pytest.raises(ValueError, match=f"^{re.escape(line)}"):
            load_task_data(get_task("dna-splice"), data_dir=str(data_dir))
    with pytest.raises(ValueError, match=f"^{re.escape(line)}"):
        dataset_files(folder, "owner/splice")
    assert main(["data", "leaks", str(folder), "--config", "paper"]) == 2
    assert capsys.readouterr().err.startswith(f"bertx: error: {line}")
    assert load_task_data(get_task("dna-splice"), "grouped", str(folder)).leaks


def test_a_whole_data_set_is_read_and_published(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(shutil.copytree(SPLICE, tmp_path / "renamed"))
    files = dataset_files(folder, "owner/splice")
    assert len(files) == 9
    assert main(["data", "leaks", str(folder)]) == 0
    assert capsys.readouterr().out.startswith("18 of 160 test items (11.2%)")
    assert main(["data", "leaks", str(folder), "--config", "authors"]) == 2
    assert "no configuration 'authors'; it has paper, grouped" in capsys.readouterr().err
    assert main(["data", "leaks", str(folder), "--discipline", "protein"]) == 2
    assert "--discipline is 'protein', and the data set is dna" in capsys.readouterr().err
    assert main(["data", "leaks", str(folder / "paper")]) == 0
    assert capsys.readouterr().out.startswith("18 of 160 test items (11.2%)")
    shutil.copytree(folder / "paper", folder.parent / "rows")
    assert main(["data", "leaks", str(folder.parent / "rows"), "--discipline", "DNA"]) == 2
    assert "--discipline is 'DNA'; pass --discipline dna, protein, music, text" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"task dna-h3: .* holds the data of dna-splice"):
        load_task_data(get_task("dna-h3"), data_dir=str(folder))


@pytest.mark.parametrize("key", ["source", "versions", "balance"])
def test_publish_refuses_a_record_that_gives_no_card(tmp_path: Path, key: str) -> None:
    folder = Path(shutil.copytree(SPLICE, tmp_path / "splice"))
    edit(folder / RECORD, lambda record: record.update({key: {}}))
    with pytest.raises(ValueError, match=r"builds: a record is damaged \(paper\.json, grouped\.json: .+\); build the"):
        dataset_files(folder, "owner/splice")


def test_damaged_rows_without_a_record_are_one_line(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(SPLICE / "paper", tmp_path / "rows"))
    overwrite(folder / "test.parquet", 4, bytes(3000))
    with pytest.raises(ValueError, match=r"rows: the files cannot be read \(.+\)$"):
        load_task_data(get_task("dna-splice"), data_dir=str(folder))


def test_load_dataset_gives_the_new_rows_after_a_rebuild(tmp_path: Path) -> None:
    labels = []
    for place, flipped in (("a", False), ("a", True), ("b", False)):  # another folder of the same name too
        raw = write(tmp_path / "raw", {"H3.txt": histone(60, flipped)})
        build_dataset("dna-h3", tmp_path / place / "mine", raw_dir=raw)
        rows = load_dataset(str(tmp_path / place / "mine"), "paper", cache_dir=str(tmp_path / "hf"))
        labels.append(rows["train"]["label"][:])
    assert labels[0] == labels[2] == [1 - label for label in labels[1]]


# The build of a forked child dies by SIGKILL before or after one of its renames.
_KILLED = """
import json, os, signal, sys
from pathlib import Path
from dataset_scripts.build import _staged, build_dataset
root = Path(sys.argv[1])
rename = Path.rename
def child(raw, when=None, part=None):
    if pid := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    def renaming(self, target):
        hit = part in (self.name, Path(target).name) or (part == "new" and self.parent.name == "new")
        if hit and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        rename(self, target)
        if hit:
            os.kill(os.getpid(), signal.SIGKILL)
    Path.rename = renaming
    build_dataset("dna-h3", root / "out", raw_dir=root / raw)
    os._exit(0)
def state():
    return {p.relative_to(root).as_posix(): p.read_bytes().hex() for p in root.glob("out/**/*") if p.is_file()}
def stages():
    return len(list(root.glob(".out.building")))
found = [[child("one"), state()]]
for raw, when, part in (("two", "before", "train.parquet"), ("one", "before", "old"), ("two", "after", "old"),
                        ("one", "after", "new")):
    found.append([child(raw, when, part), state(), stages(), child(raw), state(), stages()])
print(json.dumps(found))
"""


def test_a_kill_leaves_one_whole_data_set_or_none(tmp_path: Path) -> None:
    write(tmp_path, {"one/H3.txt": histone(60), "two/H3.txt": histone(80, flipped=True)})
    done = run_python("-c", _KILLED, tmp_path, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    (code, one), *killed = json.loads(done.stdout.splitlines()[-1])
    two = killed[0][4]
    assert (code, len(one), len(two), one == two) == (0, 5, 5, False)
    assert killed == [
        [-9, one, 1, 0, two, 0],
        [-9, two, 1, 0, one, 0],
        [-9, {}, 1, 0, two, 0],
        [-9, one, 1, 0, one, 0],
    ]


def test_builds_into_one_folder_take_turns(tmp_path: Path) -> None:
    def build(_: int) -> None:
        for _ in range(3):
            with _staged(tmp_path / "out") as stage:  # an error if another build has made it
                (stage / "rows").write_text("")
                time.sleep(0.01)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(build, range(4)))
    assert [path.name for path in tmp_path.iterdir()] == [".out.lock"]


def test_splice_is_built_without_a_network_from_the_package(tmp_path: Path) -> None:
    for split in ("paper", "grouped"):
        assert main(["data", "build", "dna-splice", "--split", split, "--output", str(tmp_path / "out")]) == 0
        for part in ("train", "validation", "test"):
            name = f"{split}/{part}.parquet"
            assert (tmp_path / "out" / name).read_bytes() == (SPLICE / name).read_bytes()


def test_other_files_of_the_folder_stay(tmp_path: Path) -> None:
    write(tmp_path / "raw", {"H3.txt": histone()})
    build_dataset("dna-h3", tmp_path / "out", raw_dir=tmp_path / "raw")
    (tmp_path / "out" / "notes").mkdir()
    (tmp_path / "out" / "notes" / "mine.txt").write_text("mine")
    build_dataset("dna-h3", tmp_path / "out", raw_dir=tmp_path / "raw", split="authors")
    assert (tmp_path / "out" / "notes" / "mine.txt").read_text() == "mine"
    assert data_copies.configurations(tmp_path / "out") == ["paper", "authors"]


def test_a_folder_holds_one_data_set(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(SPLICE, tmp_path / "splice"))
    (tmp_path / "x.csv").write_text("sequence,label\n" + "A,1\nC,2\n" * 20)
    options = {"train_file": str(tmp_path / "x.csv"), "discipline": "dna"}
    with pytest.raises(ValueError, match="splice holds the data set dna-splice; allowed: another folder for mine"):
        build_dataset("mine", folder, builder_options=options)


VILE = ("<img src=x onerror=alert(1)>", "</title><script>alert(1)</script>", "a|b", "*c* [d](e) `f`")


def test_a_data_set_card_holds_no_html_of_a_class(tmp_path: Path) -> None:
    text = "sequence,label\n" + "".join(f'{"ACGT"[n % 4] * (n + 1)},"{VILE[n % 4]}"\n' for n in range(40))
    (tmp_path / "x.csv").write_text(text)
    options = {"train_file": str(tmp_path / "x.csv"), "discipline": "dna"}
    build_dataset("mine", tmp_path / "out", builder_options=options)
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.count("<") == card.count("n<1K") == 1
    assert "| a\\|b |" in card
    assert "| \\*c\\* \\[d\\](e) \\`f\\` |" in card
    rows = load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "hf"))
    assert sorted(rows["train"].features["label"].names) == sorted(VILE)


def test_what_a_user_named_in_markdown() -> None:
    shown = {text: (plain(text), code_span(text)) for text in ("not_a_b", "_x_ & <y>", "`` `", "a\nb")}
    assert shown == {
        "not_a_b": ("not_a_b", "`not_a_b`"),
        "_x_ & <y>": ("\\_x\\_ &amp; &lt;y&gt;", "`_x_ & <y>`"),
        "`` `": ("\\`\\` \\`", "``` `` ` ```"),
        "a\nb": ("a b", "`a b`"),
    }


@pytest.mark.parametrize("name", ["../x", "a/b", ".", "", "a\x01", 'a"b', "C:x", "a[1]"])
def test_a_name_that_is_no_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "x.csv").write_text("sequence,label\nA,1\nC,2\n")
    with pytest.raises(ValueError, match="cannot name a data set"):
        build_dataset(name, tmp_path / "out" / "x", builder_options={"train_file": str(tmp_path / "x.csv")})
    assert [path.name for path in tmp_path.iterdir()] == ["x.csv"]


def test_an_output_that_cannot_be_swapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path / "in")
    outputs = {"file": "is a file", "in": "is the working folder", ".": "holds it; it is replaced", "/proc": "a mount"}
    for output, message in outputs.items():
        with pytest.raises(ValueError, match=message):
            build_dataset("dna-splice", tmp_path / output)


def test_a_folder_that_load_dataset_takes_for_a_pattern(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(SPLICE, tmp_path / "data [v2]"))
    for read in (lambda: build_dataset("dna-splice", folder), lambda: data_copies.load_rows(str(folder / "paper"))):
        with pytest.raises(ValueError, match=r"data \[v2\].*: load_dataset reads no folder with \[, \] or :: in its"):
            read()


def test_a_small_gzip_file_that_expands_to_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.fasta.gz"
    path.write_bytes(gzip.compress(b">a\n" + b"A" * 10**6))
    options = {"train_file": str(path), "discipline": "dna"}
    with pytest.raises(ValueError, match=r"every record has the label|holds no label"):
        build_dataset("x", tmp_path / "out", builder_options=options)
    monkeypatch.setattr(text_files, "_MOST_EXPANDED", 10**5)
    with pytest.raises(ValueError, match=r"x\.fasta\.gz: its [\d,]+ bytes expand to more than [\d,]+; unpack it"):
        build_dataset("x", tmp_path / "out", builder_options=options)
