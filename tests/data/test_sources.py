"""Original files: every task has sources and forms; they are fetched from several addresses, checked and unpacked."""

import hashlib
import re
from pathlib import Path

import datasets
import pytest
from datasets import load_dataset
from file_server import FileServer
from raw_files import histone, tarred, write, zipped

from dataset_scripts.build import _BUILDERS, build_dataset
from dataset_scripts.sources import ALTERNATIVES, SOURCES, Source, download
from hf_bertx.tasks import TASKS, get_task

pytestmark = pytest.mark.usefixtures("downloads")
H3 = get_task("dna-h3")


def test_every_task_has_sources_and_forms_of_one_builder() -> None:
    forms = {name: builder for builder in _BUILDERS for name in builder.FORMS}
    assert sum(len(builder.FORMS) for builder in _BUILDERS) == len(forms) == 23
    assert set(SOURCES) == set(TASKS) == set(forms)
    for name, builder in forms.items():
        assert builder.FORMS[name], name


def test_every_source_has_an_address_and_a_whole_checksum() -> None:
    found = [source for sources in SOURCES.values() for source in sources]
    assert len(found) == 24
    for source in found:
        assert source.addresses
        assert all(re.fullmatch(r"https?://[^ /]+/\S+[^/]", address) for address in source.addresses)
        assert source.checksum is None or re.fullmatch(r"sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}", source.checksum)
        assert "/" not in source.file
    assert sum(source.checksum is not None for source in found) == 9


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def test_a_file_a_zip_and_a_tar_are_fetched_checked_and_kept(tmp_path: Path, server: FileServer) -> None:
    server.files = {
        "plain.txt": b"plain",
        "a.zip": zipped({"RTE/train.tsv": "of the zip"}),
        "b.tar.gz": tarred({"stability/test.json": "of the tar"}),
    }
    sources = [Source(name, (server.address(name),), sha256(content)) for name, content in server.files.items()]
    for made in ("first", "second"):
        assert download(H3, tmp_path / made, sources) == tmp_path / made
        found = {
            path.relative_to(tmp_path / made).as_posix(): path.read_text() for path in (tmp_path / made).rglob("*.*")
        }
        assert found == {"plain.txt": "plain", "RTE/train.tsv": "of the zip", "stability/test.json": "of the tar"}
    assert server.asked == [(name, 0) for name in server.files]  # once: the second time they are at hand


def test_the_second_address_is_tried_when_the_first_fails(tmp_path: Path, server: FileServer) -> None:
    server.files = {"bad.txt": b"an error page", "good.txt": b"right"}
    addresses = [server.address(name) for name in ("none.txt", "bad.txt", "good.txt")]
    addresses.insert(1, "http://127.0.0.1:9/refused.txt")
    download(H3, tmp_path / "raw", [Source("H3.txt", tuple(addresses), sha256(b"right"))])
    assert (tmp_path / "raw" / "H3.txt").read_bytes() == b"right"
    assert [path.name for path in (tmp_path / "raw").iterdir()] == ["H3.txt"]


def test_a_source_that_is_gone_says_which_file_to_put_where(tmp_path: Path, server: FileServer) -> None:
    server.files["bad.txt"] = b"an error page"
    none, bad = server.address("none.txt"), server.address("bad.txt")
    source = Source("H3.txt", (none, bad), "md5:900150983cd24fb0d6963f7d28e17f72")
    with pytest.raises(FileNotFoundError) as raised:
        download(H3, tmp_path / "raw", [source])
    message = str(raised.value)
    assert "\n" not in message
    assert message.startswith(
        f"H3.txt of dna-h3 could not be had. Tried {none}: HTTPError 404 Client Error: Not Found for url: {none}; "
        f"{bad}: md5:{hashlib.md5(b'an error page').hexdigest()}, expected md5:900150983cd24fb0d6963f7d28e17f72. "
    )
    assert message.endswith("What to do: put H3.txt (or another form of it) into a folder and pass --raw_dir FOLDER")
    assert not (tmp_path / "raw" / "H3.txt").exists()
    server.files["bad.txt"] = b"abc"  # put right: what was wrong before was not kept
    download(H3, tmp_path / "raw", [source])
    assert (tmp_path / "raw" / "H3.txt").read_bytes() == b"abc"


def test_nothing_is_fetched_offline(tmp_path: Path, server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files["H3.txt"] = b"right"
    sources = [Source("H3.txt", (server.address("H3.txt"),))]
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(FileNotFoundError, match="not asked, because HF_HUB_OFFLINE is set"):
        download(H3, tmp_path / "raw", sources)
    assert server.asked == []
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    download(H3, tmp_path / "raw", sources)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    download(H3, tmp_path / "again", sources)  # what was fetched before is at hand
    assert (tmp_path / "again" / "H3.txt").read_bytes() == b"right"


def test_another_form_is_fetched_when_the_first_is_gone(
    tmp_path: Path, server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["train.fna"] = b">YAL001C_1|1\nACGT\n"
    monkeypatch.setitem(SOURCES, "dna-h3", (Source("H3.txt", (server.address("gone.txt"),)),))
    monkeypatch.setitem(ALTERNATIVES, "dna-h3", (Source("H3/train.fna", (server.address("train.fna"),)),))
    download(H3, tmp_path / "raw")
    assert (tmp_path / "raw" / "H3" / "train.fna").read_bytes() == b">YAL001C_1|1\nACGT\n"
    monkeypatch.setitem(ALTERNATIVES, "dna-h3", (Source("H3/test.fna", (server.address("test.fna"),)),))
    with pytest.raises(FileNotFoundError, match=r"^H3\.txt of dna-h3 could not be had"):
        download(H3, tmp_path / "again")


def test_a_download_that_broke_off_goes_on_where_it_stopped(tmp_path: Path, server: FileServer) -> None:
    content = bytes(range(250)) * 4000
    server.files, server.cuts = {"big.bin": content}, 1
    source = Source("big.bin", (server.address("big.bin"),), sha256(content))
    folder = download(H3, tmp_path / "raw", [source])
    assert (folder / "big.bin").read_bytes() == content
    first, kept = (start for _, start in server.asked)
    assert first == 0 < kept <= 500_000


def test_configurations_share_one_download(
    tmp_path: Path, server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["H3.txt"] = histone().encode()
    monkeypatch.setitem(SOURCES, "dna-h3", (Source("H3.txt", (server.address("H3.txt"),)),))
    counts = [build_dataset("dna-h3", tmp_path / "out", split=split) for split in ("paper", "authors")]
    assert counts == [{split: {"train": 36, "validation": 2, "test": 2}} for split in ("paper", "authors")]
    assert server.asked == [("H3.txt", 0)]
    digest = hashlib.sha256(histone().encode()).hexdigest()
    assert (tmp_path / "out" / "README.md").read_text().count(f"sha256 `{digest}`") == 2
    assert len(load_dataset(str(tmp_path / "out"), "authors", cache_dir=str(tmp_path / "hf"))["train"]) == 36


RTE = zipped(
    {f"RTE/{part}.tsv": "index\tsentence1\tsentence2\tlabel\n0\tA\tB\tentailment\n" for part in ("train", "dev")}
)


@pytest.mark.parametrize("given", ["RTE.zip", "any_name.zip", "the folder"])
def test_raw_dir_may_be_or_hold_the_published_archive(tmp_path: Path, given: str) -> None:
    name = given if given != "the folder" else "downloads/RTE.zip"
    path = write(tmp_path / "raw", {name: RTE}) / name
    counts = build_dataset("glue-rte", tmp_path / "out", raw_dir=path if given != "the folder" else tmp_path / "raw")
    assert counts == {"paper": {"train": 1, "validation": 1}}
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]  # nothing is unpacked beside the user's file


def test_an_archive_of_another_name_in_a_folder_is_left_alone(tmp_path: Path) -> None:
    raw = write(tmp_path / "raw", {"something_else.zip": RTE})
    with pytest.raises(FileNotFoundError, match=r"holds no file of glue-rte\. Looked for, in any subfolder: GLUE's T"):
        build_dataset("glue-rte", tmp_path / "out", raw_dir=raw)
