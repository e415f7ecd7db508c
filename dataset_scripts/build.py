"""Original files -> a folder of Parquet with its card, that `load_dataset` reads; whole or not at all."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import datasets
from filelock import FileLock

from hf_bertx import __version__, run_files
from hf_bertx.data_copies import BUILDS
from hf_bertx.leaks import leak_report
from hf_bertx.publishing.cards import write_dataset_card
from hf_bertx.tasks import Task, get_task

from .builder import SPLITS, DisciplineBuilder
from .dna import Dna
from .glue import Glue
from .music import Music
from .own import Own
from .protein import Protein
from .splits import SEED, TEST, TRAIN, VALIDATION

_BUILDERS: tuple[type[DisciplineBuilder], ...] = (Dna, Protein, Music, Glue)
_ABOUT = {
    "paper": "The division that the paper or the published files have.",
    "authors": "The division of the authors' released code.",
    "grouped": "Items that give each other away are on one side: no group is in two splits.",
}


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
        raw_dir: folder of the original files, or one file; None fetches them.
        split: `paper`, `authors` or `grouped`; also the configuration's name.
        strict: a count that differs from the published one is an error, not a warning.
        tokenized: `BACKBONE[:ASSIGNMENT]`.
        builder_options: of a user's own data: the fields of [`OwnConfig`].

    Returns:
        Items by split, of each configuration that was written.

    Raises:
        ValueError, OSError: nothing was changed in `output`; the message says what is wrong, and where.
    """
    own = bool(builder_options and "train_file" in builder_options)
    config = "default" if own else split
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; allowed: {', '.join(SPLITS)}")
    # a cache that outlives the build would serve old rows to new code
    with _staged(output) as stage, tempfile.TemporaryDirectory(prefix=".cache.", dir=stage) as cache:
        options = {"split": split, "seed": seed, "strict": strict, **(builder_options or {})}
        builder = (Own if own else _builder(name))(
            config_name=name, task=name, raw_dir=None if raw_dir is None else str(raw_dir), cache_dir=cache, **options
        )
        found = builder.task
        splits = _write_rows(builder, stage / config, Path(cache))
        command = f"bertx data build {name} --split {split} --seed {seed}"
        if own:
            command = f"bertx data build {name} --from {builder.files[TRAIN][0].name} --seed {seed}"
        report = _leaks(splits, found)
        record: dict[str, Any] = {
            "config": config,
            "task": asdict(found),
            "about": "The user's own files." if own else _ABOUT[split],
            "counts": {part: len(rows) for part, rows in splits.items()},
            "balance": {part: _balance(rows) for part, rows in splits.items()},
            "leaks": None if report is None else report.to_dict(),
            "leak_sentences": [] if report is None else report.sentences(),
            "command": command,
            "source": builder.provenance(),
            "notes": list(builder.notes),
            "made_from": None,
            "tokenizer": None,
            "versions": {"hf_bertx": __version__, "datasets": datasets.__version__},
        }
        records = [record]
        if tokenized is not None:
            records.append(_tokenize(splits, found, tokenized, seed, record, stage))
        for made in records:
            run_files.write_json(stage / BUILDS / f"{made['config']}.json", made)
        shutil.rmtree(cache)
        _install(stage, output)
    return {made["config"]: made["counts"] for made in records}


def _builder(name: str) -> type[DisciplineBuilder]:
    get_task(name)
    return next(builder for builder in _BUILDERS if name in builder.FORMS)


@contextmanager
def _staged(output: Path) -> Iterator[Path]:
    """A folder beside `output` for what is being made; gone afterwards, whatever happens."""
    output.parent.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=f".{output.name}.building.", dir=output.parent))
    try:
        yield stage
    except (datasets.exceptions.DatasetGenerationError, OSError) as error:
        generating = isinstance(error, datasets.exceptions.DatasetGenerationError)
        cause = (error.__cause__ or error) if generating else error
        # the library's own check beforehand has no number
        if getattr(cause, "errno", None) != errno.ENOSPC and not str(cause).startswith("Not enough disk space"):
            raise cause from None
        raise OSError(
            f"the disk that holds {output} is full; what stood there before is as it was. Free some space, or choose "
            "another --output"
        ) from None
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _write_rows(builder: DisciplineBuilder, folder: Path, cache: Path) -> dict[str, datasets.Dataset]:
    """Parquet files of each split, `train.parquet` or `train-00000-of-00003.parquet`, and the rows read from them."""
    folder.mkdir()
    # what was fetched outlives the cache of this build: the next configuration is made of the same files
    kept = datasets.DownloadConfig(cache_dir=datasets.config.DOWNLOADED_DATASETS_PATH, use_etag=False)
    builder.download_and_prepare(str(cache / "parquet"), file_format="parquet", download_config=kept)
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


def _balance(rows: datasets.Dataset) -> dict[str, float]:
    """Items of each class; of a target mean, lowest and highest."""
    labels = rows.with_format("numpy")["label"][:]
    feature = rows.features["label"]
    if isinstance(feature, datasets.ClassLabel):
        return {name: int((labels == number).sum()) for number, name in enumerate(feature.names)}
    return {name: round(float(getattr(labels, name)()), 4) for name in ("mean", "min", "max")}


def _leaks(splits: Mapping[str, datasets.Dataset], task: Task) -> Any:
    if TRAIN not in splits or not {VALIDATION, TEST} & set(splits):
        return None
    return leak_report(splits, task.discipline)


def _tokenize(
    splits: Mapping[str, datasets.Dataset], task: Task, asked: str, seed: int, record: dict[str, Any], stage: Path
) -> dict[str, Any]:
    from hf_bertx.tokenized_data import tokenized_rows, tokenizer_for  # imports torch, which takes seconds

    backbone, _, assignment = asked.partition(":")
    assignment = assignment or "frequent"
    tokenizer = tokenizer_for(task, backbone, assignment, seed)
    seeded = f"-seed-{seed}" if assignment == "random" else ""
    short = backbone.strip("/").rpartition("/")[2]
    name = f"{short}-{assignment}{seeded}" if task.discipline != "text" else short
    if record["config"] not in ("paper", "default"):
        name = f"{record['config']}-{name}"
    for part, rows in splits.items():
        made = tokenized_rows(rows, tokenizer, task)
        run_files.write_whole(stage / name / f"{part}.parquet", made.to_parquet)
    back = (
        f'`AutoTokenizer.from_pretrained("{backbone}").decode(ids)`.'
        if task.discipline == "text"
        else f'`DisciplineTokenizer.from_backbone("{backbone}", "{task.discipline}", "{assignment}"'
        + (f", seed={seed}" if seeded else "")
        + ").decode(ids, skip_special_tokens=True)`, in hf_bertx."
    )
    about = f"The configuration `{record['config']}` as ids of `{backbone}`"
    return {
        **record,
        "config": name,
        "made_from": record["config"],
        "about": about + (f", symbols assigned `{assignment}`." if task.discipline != "text" else "."),
        "leaks": None,
        "leak_sentences": [],
        "command": f"{record['command']} --tokenized {asked}",
        "tokenizer": back,
    }


def _install(stage: Path, output: Path) -> None:
    """Puts what was made in the place of what stood there, and writes the card of all there is, or does neither.

    A tokenized configuration goes when the rows that it was made from are built anew.
    """
    with FileLock(output.parent / f".{output.name}.lock"):
        output.mkdir(exist_ok=True)
        made = {path.stem for path in (stage / BUILDS).iterdir()}
        stale = []  # ids of rows that were there before
        for path in (output / BUILDS).glob("*.json"):
            if path.stem in made or not (output / path.stem).is_dir():
                continue
            if run_files.read_json(path)["made_from"] in made:
                stale.append(path.stem)
            else:
                shutil.copy2(path, stage / BUILDS)
        swapped: list[tuple[Path, Path, Path]] = []
        try:
            for name in sorted((*(path.name for path in stage.iterdir()), *stale)):
                target, new, old = output / name, stage / name, stage / f".old-{name}"
                if target.exists():
                    target.rename(old)
                swapped.append((target, new, old))
                if new.exists():
                    new.rename(target)
            write_dataset_card(output)
        except BaseException:
            for target, new, old in reversed(swapped):
                if target.exists():
                    target.rename(new)
                if old.exists():
                    old.rename(target)
            raise
