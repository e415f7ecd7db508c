"""Original files -> a folder of Parquet with its card, that `load_dataset` reads; whole or not at all."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import datasets
import pyarrow.compute as pc
from filelock import FileLock, Timeout

from hf_bertx import __version__, run_files
from hf_bertx.backbones import resolve_backbone
from hf_bertx.data.data_copies import built_files, check_readable, read_record
from hf_bertx.data.leaks import leak_report
from hf_bertx.data.targets import balances, understood
from hf_bertx.data.task_data import SPLITS
from hf_bertx.publishing.cards import write_dataset_card
from hf_bertx.runs.training_options import check_values
from hf_bertx.tasks import BUILDS, TASKS, Task, get_task

from .builder import DisciplineBuilder
from .dna import Dna
from .glue import Glue
from .music import Music
from .own import Own
from .protein import Protein
from .splits import SEED, TEST, TRAIN, VALIDATION

logger = datasets.utils.logging.get_logger(__name__)
_BUILDERS: tuple[type[DisciplineBuilder], ...] = (Dna, Protein, Music, Glue)
_ABOUT = {
    "paper": "The division that the paper or the published files have.",
    "authors": "The division of the authors' released code.",
    "grouped": "Items that give each other away are on one side: no group is in two splits.",
}
_NEW, _OLD = "new", "old"  # folders of the new and the old data set in the staging folder
_NAME = re.compile(r"(?!\.)[^\x00-\x1f\x7f<>:\"/\\|?*\[\]]+")


def build_dataset(
    name: str,
    output: Path,
    raw_dir: Path | None = None,
    split: str = "paper",
    seed: int = SEED,
    strict: bool = False,
    tokenized: str | None = None,
    builder_options: Mapping[str, Any] | None = None,
) -> dict[str, dict[str, int]]:
    """Builds one configuration of a data set, and a tokenized one if asked, into `output`, beside those there.

    Args:
        name: of a task, or of a user's own data.
        raw_dir: folder of the original files, or one file; None takes the copy in the package, or fetches them.
        split: `paper`, `authors` or `grouped`; also the configuration's name.
        strict: a count that differs from the published one is an error, not a warning.
        tokenized: `BACKBONE[:ASSIGNMENT]`.
        builder_options: of a user's own data: the fields of [`OwnConfig`].

    Returns:
        Items by split, of each configuration that was written.

    Raises:
        ValueError, OSError: nothing was changed in `output`; the message says what is wrong, and where.
    """
    is_user_data = bool(builder_options and "train_file" in builder_options)
    fold = (builder_options or {}).get("fold")
    config = split if not is_user_data else "default" if fold is None else f"fold-{fold}"
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; allowed: {', '.join(SPLITS)}")
    if is_user_data and name in TASKS:
        raise ValueError(f"{name} is a task of the paper; give your own data another name")
    check_values({"seed": seed})
    if not _NAME.fullmatch(name):
        raise ValueError(
            f'{name!r} cannot name a data set: no dot at its start, and none of < > : " / \\ | ? * [ ]; give it '
            "another name, with --task of bertx train or as TASK of bertx data build"
        )
    output = _checked_output(output, name)
    with _staged(output) as stage:
        new, cache = stage / _NEW / output.name, stage / "cache"
        raw = None if raw_dir is None else str(raw_dir)
        options = {"raw_dir": raw, "split": split, "seed": seed, "strict": strict, **(builder_options or {})}
        # a cache that outlives the build would serve old rows to new code
        kind = Own if is_user_data else _builder(name)
        builder = kind(config_name=name, task=name, cache_dir=str(cache), **options)
        splits = _write_rows(builder, new / config, cache)
        records = [_record(builder, splits, config)]
        if tokenized is not None:
            records.append(_tokenize(splits, builder.task, tokenized, seed, records[0], new))
        for made in records:
            made["files"] = built_files(new / made["config"])
            run_files.write_json(new / BUILDS / f"{made['config']}.json", made)
        _install(stage, output)
    return {made["config"]: made["counts"] for made in records}


def _record(builder: DisciplineBuilder, splits: Mapping[str, datasets.Dataset], config: str) -> dict[str, Any]:
    """The record of a build, for `builds/CONFIG.json`."""
    task = builder.task
    report = _leaks(splits, task)
    counts = {part: len(rows) for part, rows in splits.items()}
    summary = understood(counts, balance := balances(splits), task)
    return {
        "config": config,
        "task": asdict(task),
        "about": _ABOUT.get(config, "The user's own files."),
        "counts": counts,
        "balance": balance,
        "understood": summary,
        "leaks": None if report is None else asdict(report),
        "leak_sentences": [] if report is None else report.sentences(),
        "command": builder.command,
        "source": builder.provenance(),
        "notes": [*builder.notes, *summary.get("doubts", ())],
        "made_from": None,
        "tokenizer": None,
        "versions": {"hf_bertx": __version__, "datasets": datasets.__version__},
    }


def _checked_output(output: Path, name: str) -> Path:
    """The folder's real path. It is replaced as a whole, so it may be none that cannot be renamed, and it may hold no
    other data set."""
    output = output.expanduser().resolve()
    check_readable(output)
    if output.is_file():
        raise ValueError(f"--output {output} is a file; allowed: a folder")
    if Path.cwd().is_relative_to(output) or os.path.ismount(output):
        what = "a mount point" if os.path.ismount(output) else "the working folder or holds it"
        raise ValueError(f"--output {output} is {what}; it is replaced as a whole: name a folder below it")
    for path in sorted((output / BUILDS).glob("*.json")):
        held = name
        with suppress(ValueError):  # a damaged record: it is built anew, or an error later
            held = read_record(path)["task"]["name"]
        if held != name:
            raise ValueError(f"--output {output} holds the data set {held}; allowed: another folder for {name}")
    return output


def _builder(name: str) -> type[DisciplineBuilder]:
    get_task(name)
    return next(builder for builder in _BUILDERS if name in builder.FORMS)


@contextmanager
def _staged(output: Path) -> Iterator[Path]:
    """A staging folder beside `output`, removed at the end in any case. Builds into one folder take turns."""
    output.parent.mkdir(parents=True, exist_ok=True)
    stage = output.with_name(f".{output.name}.building")
    lock = FileLock(output.with_name(f".{output.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.warning(f"{output}: waiting for another process that builds into it")
        lock.acquire()
    try:
        _clear(stage, output)  # what a killed build left
        stage.mkdir()
        yield stage
    except Exception as error:
        if run_files.disk_is_full(error):
            raise OSError(
                f"the disk that holds {output} is full; what stood there before is as it was. Free some space, or "
                "choose another --output"
            ) from None
        if isinstance(error, datasets.exceptions.DatasetGenerationError):
            raise (error.__cause__ or error) from None
        raise
    finally:
        _clear(stage, output)
        lock.release()


def _clear(stage: Path, output: Path) -> None:
    """Removes a staging folder. The old data set goes back to where it was if nothing has replaced it."""
    if (stage / _OLD).is_dir() and not output.exists():
        (stage / _OLD).rename(output)
    shutil.rmtree(stage, ignore_errors=True)


def _write_rows(builder: DisciplineBuilder, folder: Path, cache: Path) -> dict[str, datasets.Dataset]:
    """Parquet files of each split, `train.parquet` or `train-00000-of-00003.parquet`, and the rows read from them."""
    folder.mkdir(parents=True)
    builder.download_and_prepare(str(cache / "parquet"), file_format="parquet")
    files: dict[str, list[str]] = {}
    for path in sorted((cache / "parquet").glob("*.parquet")):
        target = folder / path.name.partition("-")[2]
        path.rename(target)
        files.setdefault(target.stem.partition("-")[0], []).append(str(target))
    ordered = {part: files[part] for part in (TRAIN, VALIDATION, TEST) if part in files}
    return {
        part: datasets.Dataset.from_parquet(paths, cache_dir=str(cache / part), split=part)
        for part, paths in ordered.items()
    }


def _leaks(splits: Mapping[str, datasets.Dataset], task: Task) -> Any:
    if task.multi_label or TRAIN not in splits or not {VALIDATION, TEST} & set(splits):
        return None
    return leak_report(splits, task.discipline)


def _tokenize(
    splits: Mapping[str, datasets.Dataset], task: Task, asked: str, seed: int, record: dict[str, Any], folder: Path
) -> dict[str, Any]:
    from hf_bertx.data.tokenized_data import tokenized_rows, tokenizer_for, tokens_cut  # imports torch: seconds

    backbone, colon, chosen = asked.partition(":")
    text = task.discipline == "text"
    if text and chosen:
        raise ValueError(f"--tokenized {asked}: text has no symbols to assign; allowed: {backbone}")
    assignment = chosen or "frequent"
    tokenizer = tokenizer_for(task, backbone, assignment, seed)
    seeded = ("", "") if assignment != "random" else (f"-seed-{seed}", f", seed={seed}")
    name = backbone.strip("/").rpartition("/")[2] + ("" if text else f"-{assignment}{seeded[0]}")
    if record["config"] not in ("paper", "default"):
        name = f"{record['config']}-{name}"
    cut = 0
    for part, rows in splits.items():
        made = tokenized_rows(rows, tokenizer, task)
        lengths = pc.list_value_length(made.data["input_ids"]).to_numpy()
        cut += int((tokens_cut(rows, tokenizer, task, lengths) > 0).sum())
        run_files.write_whole(folder / name / f"{part}.parquet", made.to_parquet)
    shared = resolve_backbone(backbone).shared_name
    decoding = f'`DisciplineTokenizer.from_backbone("{shared}", "{task.discipline}", "{assignment}"{seeded[1]})'
    decoding += ".decode(ids, skip_special_tokens=True)`, in hf_bertx."
    about = f"The configuration `{record['config']}` as ids of `{shared}`"
    about += "" if text else f", symbols assigned `{assignment}`"
    about += f"; {cut} of {sum(map(len, splits.values()))} sequences are cut, and keep their head" if cut else ""
    return {
        **record,
        "config": name,
        "made_from": record["config"],
        "about": f"{about}.",
        "leaks": None,
        "leak_sentences": [],
        "command": f"{record['command']} --tokenized {shared if Path(backbone).is_dir() else backbone}{colon}{chosen}",
        "tokenizer": f'`AutoTokenizer.from_pretrained("{shared}").decode(ids)`.' if text else decoding,
    }


def _install(stage: Path, output: Path) -> None:
    """Adds the configurations of `output` that stay, writes the card of all of them, and swaps the folders.

    A tokenized configuration goes when the rows that it was made from change.
    """
    new = stage / _NEW / output.name
    if output.exists():
        _keep(output, new)
    write_dataset_card(new)
    if output.exists():
        output.rename(stage / _OLD)
    new.rename(output)


def _keep(old: Path, new: Path) -> None:
    """Links into `new` what `old` holds, but for configurations that are made anew or whose rows are gone."""
    made = {path.stem for path in (new / BUILDS).iterdir()}
    gone, changed = set(made), {name for name in made if _files(old, name) != _files(new, name)}
    for path in sorted((old / BUILDS).glob("*.json")):
        if path.stem not in made:
            if read_record(path)["made_from"] in changed:
                logger.warning(f"{old / path.stem}: removed, because the rows that it was made from are others now")
                gone.add(path.stem)
            elif not (old / path.stem).is_dir():
                gone.add(path.stem)
            else:
                _link(str(path), str(new / BUILDS / path.name))
    for path in old.iterdir():
        if path.name in gone or path.name == BUILDS:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.copytree(path, new / path.name, symlinks=True, copy_function=_link)
        else:
            _link(str(path), str(new / path.name))


def _files(folder: Path, config: str) -> Any:
    """What is recorded of a configuration's files; None where its record is missing or damaged."""
    with suppress(ValueError):
        return read_record(folder / BUILDS / f"{config}.json")["files"]


def _link(old: str, new: str) -> None:
    """Hard-links a file, or copies it if the file system has no hard links."""
    try:
        os.link(old, new, follow_symlinks=False)
    except OSError:
        shutil.copy2(old, new, follow_symlinks=False)
