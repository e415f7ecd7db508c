"""Addresses and checksums of the original files, and their download."""

from __future__ import annotations

import hashlib
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import datasets
import requests
from datasets.utils.file_utils import hash_url_to_filename
from filelock import FileLock

from hf_bertx.data.text_files import check_expansion, paths_below
from hf_bertx.registry import first_line
from hf_bertx.tasks import Task

_ARCHIVES = (".zip", ".tar.gz")
_ATTEMPTS = 2
_TIMEOUT = 60.0  # seconds without a byte

logger = datasets.utils.logging.get_logger(__name__)


@dataclass(frozen=True)
class Source:
    """One original file.

    Args:
        file: what it is called below a raw folder; a `.zip` or `.tar.gz` is unpacked there.
        addresses: tried one after the other.
        checksum: `sha256:...` or `md5:...` where the file's publisher or a library's list gives one.
    """

    file: str
    addresses: tuple[str, ...]
    checksum: str | None = None


_GLUE = "https://dl.fbaipublicfiles.com/glue/data/"
_NT = "https://huggingface.co/datasets/InstaDeepAI/nucleotide_transformer_downstream_tasks/resolve/main/"
_HILBERT = "https://raw.githubusercontent.com/Doulrs/Hilbert-CNN/master/data/"
_JAIST = "http://www.jaist.ac.jp/~tran/nucleosome/ten_dataset/"
_UCI = "https://archive.ics.uci.edu/ml/machine-learning-databases/molecular-biology/splice-junction-gene-sequences/"
_TAPE = "http://s3.amazonaws.com/songlabdata/proteindata/"
_MAESTRO = "https://storage.googleapis.com/magentadata/datasets/maestro/v1.0.0/"
_DEEPLOC = "services/DeepLoc-1.0/deeploc_data.fasta"
# Of the jaist site: dataset01 is H3, and so on.
HISTONE_NUMBERS = {
    "H3": "01",
    "H4": "02",
    "H3K9ac": "04",
    "H3K14ac": "05",
    "H4ac": "08",
    "H3K4me1": "10",
    "H3K4me2": "11",
    "H3K4me3": "12",
    "H3K36me3": "13",
    "H3K79me3": "14",
}


def _histone(mark: str) -> tuple[Source, ...]:
    number = HISTONE_NUMBERS[mark]
    return (Source(f"{mark}.txt", (f"{_HILBERT}{mark}.txt", f"{_JAIST}dataset{number}.txt")),)


def _glue(file: str, checksum: str | None) -> tuple[Source, ...]:
    # the checksums are of an older address, by tensorflow/datasets `url_checksums/glue.txt`
    return (Source(f"{file}.zip", (f"{_GLUE}{file}.zip",), f"sha256:{checksum}" if checksum else None),)


SOURCES: dict[str, tuple[Source, ...]] = {
    "dna-splice": (
        Source(
            "splice.data",
            (f"{_UCI}splice.data", f"{_HILBERT}splice.txt"),
            "sha256:ebbae10c85d3c285e2a2489a37e42bc2ee8d91d15005e391a9962fa3389a114f",  # measured, 319,000 bytes
        ),
    ),
    **{f"dna-{mark.lower()}": _histone(mark) for mark in HISTONE_NUMBERS},
    "protein-localization": (
        Source(
            "deeploc_data.fasta",
            (f"https://services.healthtech.dtu.dk/{_DEEPLOC}", f"http://www.cbs.dtu.dk/{_DEEPLOC}"),
        ),
    ),
    "protein-stability": (Source("stability.tar.gz", (f"{_TAPE}data_raw_pytorch/stability.tar.gz",)),),
    "protein-fluorescence": (Source("fluorescence.tar.gz", (f"{_TAPE}data_raw_pytorch/fluorescence.tar.gz",)),),
    "music-maestro-v1": (
        Source(
            "maestro-v1.0.0-midi.zip",
            (f"{_MAESTRO}maestro-v1.0.0-midi.zip",),
            "sha256:f620f9e1eceaab8beea10617599add2e9c83234199b550382a2f603098ae7135",  # MusPy's list
        ),
    ),
    "glue-mnli": _glue("MNLI", "e7c1d896d26ed6caf700110645df426cc2d8ebf02a5ab743d5a5c68ac1c83633"),
    "glue-qqp": _glue("QQP-clean", None),
    "glue-qnli": _glue("QNLIv2", "e634e78627a29adaecd4f955359b22bf5e70f2cbd93b493f2d624138a0c0e5f5"),
    "glue-sst2": _glue("SST-2", "d67e16fb55739c1b32cdce9877596db1c127dc322d93c082281f64057c16deaa"),
    "glue-cola": _glue("CoLA", "f212fcd832b8f7b435fb991f101abf89f96b933ab400603bf198960dfc32cbff"),
    "glue-stsb": _glue("STS-B", "e60a6393de5a8b5b9bac5020a1554b54e3691f9d600b775bd131e613ac179c85"),
    "glue-mrpc": (
        Source(
            "msr_paraphrase_train.txt",
            ("https://dl.fbaipublicfiles.com/senteval/senteval_data/msr_paraphrase_train.txt",),
            "sha256:60a9b09084528f0673eedee2b69cb941920f0b8cd0eeccefc464a98768457f89",
        ),
        Source("mrpc_dev_ids.tsv", (f"{_GLUE}mrpc_dev_ids.tsv",)),
    ),
    "glue-rte": _glue("RTE", "6bf86de103ecd335f3441bd43574d23fef87ecc695977a63b82d5efb206556ee"),
}


# Another form of a task's files, for when the first cannot be had.
ALTERNATIVES: dict[str, tuple[Source, ...]] = {
    f"dna-{mark.lower()}": tuple(
        Source(f"{mark}/{part}.fna", (f"{_NT}{mark}/{part}.fna",)) for part in ("train", "test")
    )
    for mark in HISTONE_NUMBERS
}


def download(task: Task, folder: Path, sources: Sequence[Source] | None = None) -> Path:
    """Fetches the original files of a task into `folder`, and unpacks archives there.

    The download cache of `datasets` keeps what was fetched whole for the next time; a download that broke off goes on.

    Raises:
        FileNotFoundError: no address gives a whole file with its checksum; the message says which file to put where.
        ValueError: an archive would write outside its folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if sources is None:
        try:
            return download(task, folder, SOURCES[task.name])
        except FileNotFoundError as first:
            try:
                return download(task, folder, ALTERNATIVES[task.name])
            except (KeyError, FileNotFoundError):
                raise first from None
    for source in sources:
        path = _fetch(source, task)
        if source.file.endswith(_ARCHIVES):
            unpack(path, folder)
        else:
            (folder / source.file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / source.file)
    return folder


def unpack_at_hand(task: Task, given: Path, folder: Path) -> bool:
    """Unpacks `given`, or the task's published archives in it, into `folder`. Returns whether there was an archive."""
    names = {source.file for source in SOURCES[task.name]}
    candidates = [given] if given.is_file() else [path for path in paths_below(given) if path.name in names]
    archives = [path for path in candidates if path.name.endswith(_ARCHIVES)]
    for path in archives:
        unpack(path, folder)
    return bool(archives)


def _fetch(source: Source, task: Task) -> Path:
    reasons: dict[str, str] = {}
    for address in (address for address in source.addresses for _ in range(_ATTEMPTS)):
        try:
            path = _cached(address)
        except requests.RequestException as error:
            reasons[address] = f"{address}: {type(error).__name__} {first_line(error)}"
            continue
        digest = checksum(path, source.checksum)
        if digest == source.checksum:
            return path
        path.unlink(missing_ok=True)  # removed, so that the next attempt downloads it again
        reasons[address] = f"{address}: {digest}, expected {source.checksum}"
    raise FileNotFoundError(
        f"{source.file} of {task.name} could not be had. Tried {'; '.join(reasons.values())}. "
        f"What to do: put {source.file} (or another form of it) into a folder and pass --raw_dir FOLDER"
    )


def _cached(address: str) -> Path:
    """The file in the download cache of `datasets`, fetched unless it is there. A download that broke off goes on.

    Raises:
        requests.RequestException: the file cannot be had, or HF_HUB_OFFLINE is set.
    """
    target = Path(datasets.config.DOWNLOADED_DATASETS_PATH) / hash_url_to_filename(address)
    partial = target.with_name(target.name + ".partial")
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(target.name + ".lock")):
        if target.exists():
            return target
        if datasets.config.HF_HUB_OFFLINE:
            raise requests.ConnectionError("not asked, because HF_HUB_OFFLINE is set")
        start = partial.stat().st_size if partial.exists() else 0
        headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={start}-"} if start else {})}
        with requests.get(address, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
            if answer.status_code == requests.codes.requested_range_not_satisfiable:
                partial.unlink()
            answer.raise_for_status()
            _save(answer, partial, start if answer.status_code == requests.codes.partial_content else 0)
        return partial.rename(target)


def _save(answer: requests.Response, partial: Path, start: int) -> None:
    rest = int(answer.headers.get("Content-Length", 0))
    bar = datasets.utils.tqdm(total=start + rest or None, initial=start, unit="B", unit_scale=True, desc="Downloading")
    with partial.open("ab" if start else "wb") as file, bar:
        for block in answer.iter_content(1 << 18):
            file.write(block)
            bar.update(len(block))


def checksum(path: Path, like: str | None) -> str | None:
    """The file's checksum by the same algorithm as `like`, e.g. `sha256:...`; None for None."""
    if like is None:
        return None
    algorithm = like.partition(":")[0]
    with path.open("rb") as file:
        return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"


class _Entry(NamedTuple):
    name: str
    is_folder: bool
    is_special: bool  # a link or a device
    size: int  # bytes


def unpack(archive: Path, folder: Path) -> None:
    """Unpacks a zip or tar archive of files and folders. Nothing is written when an entry is refused.

    Raises:
        ValueError: an entry that points outside the folder, is a link or a device, or lies below a file; an archive
            that is not whole, or expands to far more than its size.
    """
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                _check_entries(archive, folder, map(_zip_entry, opened.infolist()))
                opened.extractall(folder)
        else:
            with tarfile.open(archive) as tar:
                entries = (_Entry(m.name, m.isdir(), not (m.isfile() or m.isdir()), m.size) for m in tar)
                _check_entries(archive, folder, entries)
                tar.extractall(folder, filter="data")
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, NotImplementedError, RuntimeError) as error:
        reason = str(error).partition("\n")[0].rstrip(":")
        raise ValueError(f"{archive}: not a whole archive ({reason}); remove it and fetch it again") from None


def _zip_entry(info: zipfile.ZipInfo) -> _Entry:
    kind = stat.S_IFMT(info.external_attr >> 16)  # 0 where the archive was made on a system without kinds
    return _Entry(info.filename, info.is_dir(), kind not in (0, stat.S_IFREG, stat.S_IFDIR), info.file_size)


def _check_entries(archive: Path, folder: Path, entries: Iterable[_Entry]) -> None:
    """Refuses an archive by its entries, before anything is written."""
    root = folder.resolve()
    files: set[Path] = set()
    folders: set[Path] = set()
    total = 0
    for entry in entries:
        path = (root / entry.name).resolve()
        if entry.is_special:
            raise ValueError(f"{archive}: entry {entry.name!r} is neither a file nor a folder")
        if not path.is_relative_to(root):
            raise ValueError(f"{archive}: entry {entry.name!r} points outside the folder that it is unpacked in")
        (folders if entry.is_folder else files).add(path)
        folders |= set(path.parents)
        total += entry.size
        check_expansion(archive, total)
    for path in sorted(files & folders):
        raise ValueError(f"{archive}: {path.relative_to(root).as_posix()!r} is a file and a folder in it")
