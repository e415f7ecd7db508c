"""Models, data sets and apps -> the Hub, each upload one commit."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.utils import validate_repo_id

from ..report.records import collect_runs
from ..runs.run import Run
from .card_facts import run_name
from .cards import built_task
from .hub_repository import HubRepository, PatientApi, in_one_line
from .repository_files import (
    CARD,
    Files,
    dataset_files,
    listing,
    model_files,
    readable,
    size,
    space_files,
    weights_of,
)

_TOKEN = re.compile(rb"\bhf_[A-Za-z0-9]{30,}\b")
_BINARY = (".safetensors", ".parquet", ".onnx", ".png")


@dataclass(frozen=True)
class Upload:
    """How something is published.

    Args:
        private: make a new repository private; an existing one has to be.
        revision: the branch to commit to, created if it does not exist. By default `main`.
        tag: the version's name. By default, on `main`, `v1` and so on.
        create_pr: propose the commit as a pull request; nothing is tagged.
        dry_run: return what would be sent, without any request.
        token: in place of HF_TOKEN or the one that `hf auth login` stored.
    """

    private: bool = False
    revision: str | None = None
    tag: str | None = None
    create_pr: bool = False
    dry_run: bool = False
    token: str | None = None

    def __post_init__(self) -> None:
        if self.tag is not None and self.create_pr:
            raise ValueError(f"tag is {self.tag}, and the commit is only proposed: a pull request has no tag")


def publish_model(folder: Path, repo_id: str, upload: Upload, merge: bool = False) -> str:
    """Publishes a finished run: weights, tokenizer, card, results and loss curve. Returns what was done, in words.

    Raises:
        ValueError: the run cannot be published as it is; nothing was sent.
        OSError: the Hub refused or did not answer; a commit is whole or not there. The message says why.
    """
    files = model_files(folder, repo_id, merge)
    return _send(files, repo_id, "model", upload, "Model, tokenizer and card of a run of hf_bertx")


def publish_dataset(folder: Path, repo_id: str | None, upload: Upload, have_permission: bool = False) -> str:
    """Publishes a folder that `bertx data build` made. Returns what was done, in words.

    Args:
        repo_id: `owner/name`; by default `bertx/` and the task's name.
        have_permission: the rights holders allow it, for data without a stated licence.

    Raises:
        ValueError: the folder holds no build, or the data may not be hosted again; nothing was sent.
        OSError: as of [`publish_model`].
    """
    task = built_task(folder)
    if task.license is None and not have_permission:
        raise ValueError(
            f"{task.name} is not published: no licence is stated that allows to host it again ({task.source}). "
            "With the permission of those who hold the rights, pass --i-have-permission"
            + ("" if task.hosted else "; of your own data state it with `bertx data build --license`")
        )
    name = repo_id or (task.hub_id if task.hosted else None)
    if name is None:
        raise ValueError(f"{task.name} is your own data: name its repository as OWNER/NAME")
    return _send(dataset_files(folder, name), name, "dataset", upload, f"{task.name} as bertx data build made it")


def publish_space(folder: Path, repo_id: str, upload: Upload) -> str:
    """Publishes the folder of an app. Returns what was done, in words.

    Raises:
        ValueError: the folder holds no app; nothing was sent. OSError: as of [`publish_model`].
    """
    files, sdk = space_files(folder)
    return _send(files, repo_id, "space", upload, "The app as it stands in its folder", sdk)


def publish_study(
    root: Path,
    namespace: str,
    upload: Upload,
    all_seeds: bool = False,
    merge: bool = False,
    prepare: Callable[[Path], Any] | None = None,
) -> Iterator[str]:
    """Publishes the finished runs below a folder, one repository a cell, under stable names. Yields what was done.

    `main` holds the run of the lowest seed, so that no score chooses it; its card has the mean over all seeds. Runs
    without weights, such as plain baselines, are left out, and the first line names them.

    Args:
        all_seeds: publish every other seed too, on the branch `seed-N` of the same repository.
        prepare: called with a run's folder before it is published, e.g. an export.

    Raises:
        ValueError: no finished run with weights, or two cells of one name; nothing was sent. OSError: as of
            [`publish_model`].
    """
    named, without = _study_repositories(root, merge)
    if without:
        yield f"left out, for they hold no weights: {', '.join(map(str, without))}"
    for name, runs in named.items():
        for i, run in enumerate(runs if all_seeds else runs[:1]):
            if prepare is not None:
                prepare(run.folder)
            branch = upload if i == 0 else replace(upload, revision=f"seed-{run.specification['seed']}")
            yield publish_model(run.folder, f"{namespace}/{name}", branch, merge)


def _study_repositories(root: Path, merge: bool) -> tuple[dict[str, list[Run]], list[Path]]:
    """The finished runs below a folder by the name of their repository, in the order of their seeds; and the folders
    of those without weights.

    Raises:
        ValueError: no finished run with weights, or two runs of one name and seed that differ in something else.
    """
    named: dict[str, list[Run]] = {}
    without: list[Path] = []
    for run in collect_runs(root):
        if run.results is None:
            continue
        if not weights_of(run.folder, merge)[1]:
            without.append(run.folder)
            continue
        named.setdefault(run_name(run.order), []).append(run)
    if not named:
        raise ValueError(f"{root}: no run below it is finished and holds weights")
    for name, runs in named.items():
        for one, other in pairwise(runs):
            if one.specification["seed"] == other.specification["seed"]:
                raise ValueError(
                    f"{one.folder} and {other.folder} would both be {name}: publish one of them by hand, with "
                    "`bertx publish model RUN REPO_ID`"
                )
    return named, without


def signed_in(repo_id: str, upload: Upload) -> str:
    """The account of the token. Check it before long work whose result is to be published.

    Raises:
        OSError: no token, a wrong one, or no Hub.
    """
    token = upload.token or get_token()
    if constants.HF_HUB_OFFLINE:
        raise ConnectionError(f"{repo_id} was not published: HF_HUB_OFFLINE is set")
    if token is None:
        raise PermissionError(f"{repo_id} was not published: no token; log in with `hf auth login`, or set HF_TOKEN")
    if not token.isascii():
        raise PermissionError(f"{repo_id} was not published: the token is not ASCII, as tokens are; correct HF_TOKEN")
    with in_one_line(repo_id):
        return str(PatientApi(HfApi(token=upload.token)).whoami()["name"])


def _send(files: Files, repo_id: str, kind: str, upload: Upload, message: str, sdk: str | None = None) -> str:
    if "/" not in repo_id:
        raise ValueError(f"repository {repo_id!r}: give it as OWNER/NAME")
    validate_repo_id(repo_id)
    _check_no_token(files, upload)
    if upload.dry_run:
        card = files[CARD]
        text = card.decode() if isinstance(card, bytes) else card.read_text(encoding="utf-8")
        options = {"private": upload.private, "a pull request": upload.create_pr, f"tag {upload.tag}": upload.tag}
        given = [name for name, value in options.items() if value]
        target = ", ".join([kind, f"revision {upload.revision or 'main'}", *given])
        return f"{repo_id} ({target}): nothing is sent in a dry run\n{listing(files)}\n\n{text}"
    user = signed_in(repo_id, upload)
    repository = HubRepository(PatientApi(HfApi(token=upload.token)), repo_id, kind, upload.revision)
    total = f"{len(files)} files, {readable(sum(map(size, files.values())))}"
    with in_one_line(repo_id, user):
        address = repository.create(upload.private, upload.tag, sdk)
        old = repository.head()
        commit = repository.commit(files, message, upload.create_pr)
    if commit.pr_url is not None:
        return f"proposed {commit.pr_url}: {total}"
    with in_one_line(repo_id, user, f"holds commit {commit.oid[:12]}, but its tag is missing"):
        tag = None if upload.create_pr else repository.tag(commit.oid, upload.tag)
    tagged = f", tagged {tag}" if tag else ""
    if commit.oid == old:
        return f"nothing to do: {address} holds these {len(files)} files already, commit {commit.oid[:12]}{tagged}"
    return f"published {address}: {total}, commit {commit.oid[:12]}{tagged}"


def _check_no_token(files: Files, upload: Upload) -> None:
    """Refuses to send a token of the Hub: the one in use, or what looks like one.

    Raises:
        ValueError: a file that holds one; the message names the file, not the token.
    """
    used = (upload.token or get_token() or "").encode()
    for name, content in files.items():
        data = b"" if name.endswith(_BINARY) else content if isinstance(content, bytes) else content.read_bytes()
        if _TOKEN.search(data) or (len(used) > 8 and used in data):
            raise ValueError(f"{name} holds a token of the Hub, which everybody could read; nothing was sent")
