"""Original files: every task has sources and forms; they are fetched from several addresses, checked and unpacked."""

import hashlib
import io
import re
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets import load_dataset

from dataset_scripts.build import _BUILDERS, build_dataset
from dataset_scripts.sources import ALTERNATIVES, SOURCES, Source, checksum, download
from hf_bertx.tasks import TASKS, get_task

H3 = get_task("dna-h3")


def test_every_task_has_sources_and_forms_of_one_builder() -> None:
    forms = {name: builder for builder in _BUILDERS for name in builder.FORMS}
    assert sum(len(builder.FORMS) for builder in _BUILDERS) == len(forms) == 23
    assert set(SOURCES) == set(TASKS) == set(forms)
    for name, builder in forms.items():
        assert builder.FORMS[name], name
        assert [config.name for config in builder.BUILDER_CONFIGS].count(name) == 1
    assert {name: len(builder.FORMS[name]) for name, builder in forms.items() if len(builder.FORMS[name]) != 2} == {
        **{name: 3 for name in TASKS if name.startswith("dna-h")},
        "protein-localization": 3,
        "protein-stability": 3,
        "protein-fluorescence": 3,
        "music-maestro-v1": 1,
        "glue-mrpc": 3,
    }


def test_every_source_is_an_address_and_its_checksum_has_the_length_of_its_kind() -> None:
    found = [source for sources in SOURCES.values() for source in sources]
    assert len(found) == 24
    for source in found:
        assert source.addresses
        assert all(re.fullmatch(r"https?://[^ /]+/\S+[^/]", address) for address in source.addresses)
        assert source.checksum is None or re.fullmatch(r"sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}", source.checksum)
        assert "/" not in source.file
    assert sum(source.checksum is not None for source in found) == 9


@pytest.fixture(autouse=True)
def downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The library's download cache, for this test alone, and leave to reach this machine's own addresses."""
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "DOWNLOADED_DATASETS_PATH", tmp_path / "downloads")
    return tmp_path / "downloads"


class Handler(SimpleHTTPRequestHandler):
    asked: list[str] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the address at which its files are."""
    (tmp_path / "served").mkdir()
    Handler.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path / "served"))) as server:
        thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.02))
        thread.start()
        yield tmp_path / "served", f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def manager() -> datasets.DownloadManager:
    config = datasets.DownloadConfig(cache_dir=datasets.config.DOWNLOADED_DATASETS_PATH, use_etag=False)
    return datasets.DownloadManager(download_config=config)


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def test_checksums_are_by_the_algorithm_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    assert checksum(path, None) is None
    assert checksum(path, "md5:") == "md5:900150983cd24fb0d6963f7d28e17f72"
    assert checksum(path, "sha256:") == "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_file_a_zip_and_a_tar_are_fetched_checked_and_kept(tmp_path: Path, served: tuple[Path, str]) -> None:
    folder, address = served
    (folder / "plain.txt").write_bytes(b"plain")
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.writestr("RTE/train.tsv", "of the zip")
    with tarfile.open(folder / "b.tar.gz", "w:gz") as tar:
        entry = tarfile.TarInfo("stability/test.json")
        entry.size = 10
        tar.addfile(entry, io.BytesIO(b"of the tar"))
    sources = [
        Source(name, (f"{address}/{name}",), sha256((folder / name).read_bytes()))
        for name in ("plain.txt", "a.zip", "b.tar.gz")
    ]
    for made in ("first", "second"):
        assert download(H3, manager(), tmp_path / made, sources) == tmp_path / made
        found = {
            path.relative_to(tmp_path / made).as_posix(): path.read_text() for path in (tmp_path / made).rglob("*.*")
        }
        assert found == {
            "plain.txt": "plain",
            "RTE/train.tsv": "of the zip",
            "stability/test.json": "of the tar",
        }
    assert Handler.asked == ["/plain.txt", "/a.zip", "/b.tar.gz"]  # once: the second time they are at hand


def test_the_second_address_is_tried_when_the_first_fails(tmp_path: Path, served: tuple[Path, str]) -> None:
    folder, address = served
    (folder / "bad.txt").write_bytes(b"an error page")
    (folder / "good.txt").write_bytes(b"right")
    addresses = (f"{address}/none.txt", "http://127.0.0.1:9/refused.txt", f"{address}/bad.txt", f"{address}/good.txt")
    download(H3, manager(), tmp_path / "raw", [Source("H3.txt", addresses, sha256(b"right"))])
    assert (tmp_path / "raw" / "H3.txt").read_bytes() == b"right"
    assert [path.name for path in (tmp_path / "raw").iterdir()] == ["H3.txt"]


def test_a_source_that_is_gone_says_which_file_to_put_where(tmp_path: Path, served: tuple[Path, str]) -> None:
    folder, address = served
    (folder / "bad.txt").write_bytes(b"an error page")
    source = Source("H3.txt", (f"{address}/none.txt", f"{address}/bad.txt"), "md5:900150983cd24fb0d6963f7d28e17f72")
    with pytest.raises(FileNotFoundError) as raised:
        download(H3, manager(), tmp_path / "raw", [source])
    message = str(raised.value)
    assert "\n" not in message
    assert message.startswith(
        f"H3.txt of dna-h3 could not be had. Tried {address}/none.txt: FileNotFoundError {address}/none.txt; "
        f"{address}/bad.txt: md5:{hashlib.md5(b'an error page').hexdigest()}, expected "
        "md5:900150983cd24fb0d6963f7d28e17f72. "
    )
    assert message.endswith("What to do: put H3.txt (or another form of it) into a folder and pass --raw_dir FOLDER")
    assert not (tmp_path / "raw" / "H3.txt").exists()
    (folder / "bad.txt").write_bytes(b"abc")  # put right: what was wrong before was not kept
    download(H3, manager(), tmp_path / "raw", [source])
    assert (tmp_path / "raw" / "H3.txt").read_bytes() == b"abc"


def test_another_form_is_fetched_when_the_first_is_gone(
    tmp_path: Path, served: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, address = served
    (folder / "train.fna").write_bytes(b">YAL001C_1|1\nACGT\n")
    monkeypatch.setitem(SOURCES, "dna-h3", (Source("H3.txt", (f"{address}/gone.txt",)),))
    monkeypatch.setitem(ALTERNATIVES, "dna-h3", (Source("H3/train.fna", (f"{address}/train.fna",)),))
    download(H3, manager(), tmp_path / "raw")
    assert (tmp_path / "raw" / "H3" / "train.fna").read_bytes() == b">YAL001C_1|1\nACGT\n"
    (folder / "train.fna").unlink()
    monkeypatch.setitem(ALTERNATIVES, "dna-h3", (Source("H3/test.fna", (f"{address}/test.fna",)),))
    with pytest.raises(FileNotFoundError, match=r"^H3\.txt of dna-h3 could not be had"):
        download(H3, manager(), tmp_path / "again")


class BreaksOff(Handler):
    """Gives the first 300,000 bytes of 500,000 to whoever asks for all, and the rest to whoever asks for the rest."""

    content = bytes(range(250)) * 2000
    ranges: list[str | None] = []

    def do_GET(self) -> None:
        asked = self.headers["Range"]
        self.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(self.content) - start))
        self.end_headers()
        self.wfile.write(self.content[start:] if asked else self.content[:300_000])


def test_a_download_that_broke_off_goes_on_where_it_stopped(tmp_path: Path) -> None:
    BreaksOff.ranges = []
    with ThreadingHTTPServer(("127.0.0.1", 0), BreaksOff) as server:
        threading.Thread(target=partial(server.serve_forever, poll_interval=0.02)).start()
        address = f"http://127.0.0.1:{server.server_address[1]}/big.bin"
        source = Source("big.bin", (address,), sha256(BreaksOff.content))
        folder = download(H3, manager(), tmp_path / "raw", [source])
        server.shutdown()
    assert (folder / "big.bin").read_bytes() == BreaksOff.content
    kept = [int(asked.removeprefix("bytes=").rstrip("-")) for asked in BreaksOff.ranges if asked]
    assert len(kept) == 1
    assert 0 < kept[0] <= 300_000


def histone() -> str:
    return "".join(f">iYAL0{n:02d}W_{n}\nACGT{'ACGT'[n % 4]}\n{n % 2}\n" for n in range(40))


def test_a_build_without_raw_dir_downloads_once_for_all_its_configurations(
    tmp_path: Path, served: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, address = served
    (folder / "H3.txt").write_text(histone())
    monkeypatch.setitem(SOURCES, "dna-h3", (Source("H3.txt", (f"{address}/H3.txt",)),))
    counts = [build_dataset("dna-h3", tmp_path / "out", split=split) for split in ("paper", "authors")]
    assert counts == [{split: {"train": 36, "validation": 2, "test": 2}} for split in ("paper", "authors")]
    assert Handler.asked == ["/H3.txt"]
    digest = hashlib.sha256(histone().encode()).hexdigest()
    assert (tmp_path / "out" / "README.md").read_text().count(f"sha256 `{digest}`") == 2
    assert len(load_dataset(str(tmp_path / "out"), "authors", cache_dir=str(tmp_path / "hf"))["train"]) == 36


def archive(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as opened:
        for part in ("train", "dev"):
            opened.writestr(f"RTE/{part}.tsv", "index\tsentence1\tsentence2\tlabel\n0\tA\tB\tentailment\n")
    return path


@pytest.mark.parametrize("given", ["RTE.zip", "any_name.zip", "the folder"])
def test_raw_dir_may_be_or_hold_the_published_archive(tmp_path: Path, given: str) -> None:
    path = archive(tmp_path / "raw" / (given if given != "the folder" else "downloads/RTE.zip"))
    counts = build_dataset("glue-rte", tmp_path / "out", raw_dir=path if given != "the folder" else tmp_path / "raw")
    assert counts == {"paper": {"train": 1, "validation": 1}}
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]  # nothing is unpacked beside the user's file


def test_an_archive_of_another_name_in_a_folder_is_left_alone(tmp_path: Path) -> None:
    archive(tmp_path / "raw" / "something_else.zip")
    with pytest.raises(
        FileNotFoundError, match=r"holds no file of glue-rte\. Looked for, in any subfolder: GLUE's TSV: "
    ):
        build_dataset("glue-rte", tmp_path / "out", raw_dir=tmp_path / "raw")
