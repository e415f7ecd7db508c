"""The only module that writes to the Hub: models, data sets and apps, each upload one commit."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from itertools import pairwise
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants, get_token
from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import logging, validate_repo_id

from ..hub_answers import advice
from ..report.write import collect_runs
from ..runs.run import Run
from .card_facts import run_name
from .cards import built_task
from .repository_files import CARD, REPLACED, Files, dataset_files, listing, model_files, readable, size, space_files

_TRIES = 5  # commits, where somebody else commits at the same time
_STALE = 412  # the Hub's answer to a commit whose parent is not the last one any more
_PASSING = (429, 500, 502, 503, 504)  # answers that another try may change
_WAITS = (1, 2, 4)  # seconds before each other try
_TOKEN = re.compile(rb"\bhf_[A-Za-z0-9]{30,}\b")
_BINARY = (".safetensors", ".parquet", ".onnx", ".png")


@dataclass(frozen=True)
class Upload:
    """How something is published.

    Args:
        private: a new repository is private; one that is there has to be.
        revision: the branch to commit to; it is made if it is not there. By default `main`.
        tag: what the commit is called. By default, on `main`, `v1` and so on.
        create_pr: propose the commit in place of making it; nothing is tagged.
        dry_run: return what would be sent, without a word to the network.
        token: in place of the one that `hf auth login` stored or HF_TOKEN holds.
    """

    private: bool = False
    revision: str | None = None
    tag: str | None = None
    create_pr: bool = False
    dry_run: bool = False
    token: str | None = None


def publish_model(folder: Path, repo_id: str, upload: Upload, merge: bool = False) -> str:
    """Publishes a finished run: weights, tokenizer, card, results and loss curve. Returns what was done, in words.

    Raises:
        ValueError: the run cannot be published as it is; nothing was sent.
        OSError: the Hub did not take it; what stood there before is as it was. The message says why.
    """
    files = model_files(folder, repo_id, merge)
    return _send(files, repo_id, "model", upload, "Model, tokenizer and card of a run of hf_bertx")


def publish_dataset(folder: Path, repo_id: str | None, upload: Upload, have_permission: bool = False) -> str:
    """Publishes a folder that `bertx data build` made. Returns what was done, in words.

    Args:
        repo_id: `owner/name`; by default `bertx/` and the task's name.
        have_permission: those who hold the rights allow it, where the data's publisher states no licence.

    Raises:
        ValueError: the folder holds no build, or the data may not be hosted again; nothing was sent.
        OSError: the Hub did not take it; what stood there before is as it was. The message says why.
    """
    task = built_task(folder)
    if task.license is None and not have_permission:
        raise ValueError(
            f"{task.name} is not published: no licence is stated that allows to host it again ({task.source}). "
            "With the permission of those who hold the rights, pass --i-have-permission"
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

    The run of the lowest seed is what `main` holds, so that no score chooses it; its card has the mean over all seeds.

    Args:
        all_seeds: publish every other seed too, on the branch `seed-N` of the same repository.
        prepare: what is to be done with a run's folder before it is published, e.g. an export.

    Raises:
        ValueError: no finished run, or two cells of one name; nothing was sent. OSError: as of [`publish_model`].
    """
    for name, records in study_repositories(root).items():
        for number, record in enumerate(records):
            seed = record.specification["seed"]
            branch = upload if number == 0 else replace(upload, revision=f"seed-{seed}")
            if number == 0 or all_seeds:
                if prepare is not None:
                    prepare(record.folder)
                yield publish_model(record.folder, f"{namespace}/{name}", branch, merge)


def study_repositories(root: Path) -> dict[str, list[Run]]:
    """The finished runs below a folder by the name of their repository, in the order of their seeds.

    Raises:
        ValueError: no finished run, or two runs of one name and seed that differ in something else.
    """
    found: dict[str, list[Run]] = {}
    for record in collect_runs(root):
        if record.results is not None:
            found.setdefault(run_name(record.order), []).append(record)
    if not found:
        raise ValueError(f"{root}: no run below it is finished")
    for name, records in found.items():
        for one, other in pairwise(records):
            if one.specification["seed"] == other.specification["seed"]:
                raise ValueError(
                    f"{one.folder} and {other.folder} would both be {name}: publish one of them by hand, with "
                    "`bertx publish model RUN REPO_ID`"
                )
    return found


def signed_in(repo_id: str, upload: Upload) -> str:
    """The account that the Hub knows the token by: to be asked before anything is computed that is to be published.

    Raises:
        OSError: no token, a wrong one, or no Hub.
    """
    if constants.HF_HUB_OFFLINE:
        raise ConnectionError(f"{repo_id} was not published: HF_HUB_OFFLINE is set")
    if upload.token is None and get_token() is None:
        raise PermissionError(f"{repo_id} was not published: no token; log in with `hf auth login`, or set HF_TOKEN")
    if not (upload.token or get_token() or "").isascii():
        raise PermissionError(f"{repo_id} was not published: the token is not ASCII, as tokens are; correct HF_TOKEN")
    with _in_one_line(repo_id):
        return str(_Patient(HfApi(token=upload.token)).whoami()["name"])


def _send(files: Files, repo_id: str, kind: str, upload: Upload, message: str, sdk: str | None = None) -> str:
    if "/" not in repo_id:
        raise ValueError(f"repository {repo_id!r}: give it as OWNER/NAME")
    validate_repo_id(repo_id)
    _check_no_token(files, upload)
    if upload.dry_run:
        card = files[CARD]
        text = card.decode() if isinstance(card, bytes) else card.read_text(encoding="utf-8")
        where = f"{repo_id} ({kind}{', private' if upload.private else ''}), revision {upload.revision or 'main'}"
        return f"{where}: nothing is sent in a dry run\n{listing(files)}\n\n{text}"
    user = signed_in(repo_id, upload)
    api: Any = _Patient(HfApi(token=upload.token))
    with _in_one_line(repo_id, user):
        address = api.create_repo(
            repo_id, repo_type=kind, private=upload.private or None, space_sdk=sdk, exist_ok=True
        )
        repository = _Repository(api, repo_id, kind, upload)
        repository.prepare()
        old = repository.head()
        commit = repository.commit(files, message)
        if commit.pr_url is not None:
            return f"proposed {commit.pr_url}: {_sum(files)}"
        tag = None if upload.create_pr else repository.name_version(commit.oid)
    tagged = f", tagged {tag}" if tag else ""
    if commit.oid == old:
        return f"nothing to do: {address} holds these {len(files)} files already, commit {commit.oid[:12]}{tagged}"
    return f"published {address}: {_sum(files)}, commit {commit.oid[:12]}{tagged}"


def _sum(files: Files) -> str:
    return f"{len(files)} files, {readable(sum(map(size, files.values())))}"


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


class _Patient:
    """An `HfApi` whose every call is tried again where the Hub is busy or out of order for a moment."""

    def __init__(self, api: HfApi) -> None:
        self._api = api

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._api, name)

        def tried(*args: Any, **kwargs: Any) -> Any:
            for seconds in _WAITS:
                try:
                    return call(*args, **kwargs)
                except HfHubHTTPError as error:
                    if error.response.status_code not in _PASSING:
                        raise
                    time.sleep(seconds)
            return call(*args, **kwargs)

        return tried


class _Repository:
    """One repository of the Hub, while it is written to."""

    def __init__(self, api: Any, repo_id: str, kind: str, upload: Upload) -> None:
        self.api, self.upload, self.kind, self.repo_id = api, upload, kind, repo_id
        self.revision = upload.revision or constants.DEFAULT_REVISION
        self.where: dict[str, Any] = {"repo_id": repo_id, "repo_type": kind}

    def prepare(self) -> None:
        """Sees that the repository is as private as asked, that the branch is there and that the tag is free."""
        if self.upload.private and not self.api.repo_info(**self.where).private:
            raise ValueError(f"{self.repo_id} is public already; make it private in its settings first")
        if self.upload.tag is not None and self.upload.tag in self._tags():
            raise ValueError(f"{self.repo_id} has a version {self.upload.tag} already; a version is not moved")
        if self.revision != constants.DEFAULT_REVISION:
            self.api.create_branch(**self.where, branch=self.revision, exist_ok=True)

    def head(self) -> str:
        return str(self.api.repo_info(**self.where, revision=self.revision).sha)

    def commit(self, files: Files, message: str) -> Any:
        """One commit on top of the last one; where somebody else was faster, on top of theirs."""
        for _ in range(_TRIES):
            head = self.head()
            try:
                return self.api.create_commit(
                    **self.where,
                    operations=self._operations(files, head),
                    commit_message=message,
                    revision=self.revision,
                    parent_commit=head,
                    create_pr=self.upload.create_pr,
                )
            except HfHubHTTPError as error:
                if error.response.status_code != _STALE:
                    raise
        raise ConnectionError(
            f"{self.repo_id} was not published: others commit to it at the same time; try again later"
        )

    def _operations(self, files: Files, head: str) -> list[Any]:
        """What is added, and what an earlier upload left. Unchanged files are dropped by the client."""
        there = self.api.list_repo_files(**self.where, revision=head)
        stale = [n for n in there if n not in files and any(fnmatch(n, p) for p in REPLACED[self.kind])]
        return [
            *(CommitOperationAdd(path_in_repo=name, path_or_fileobj=content) for name, content in files.items()),
            *(CommitOperationDelete(path_in_repo=name) for name in stale),
        ]

    def _tags(self) -> dict[str, str]:
        return {tag.name: tag.target_commit for tag in self.api.list_repo_refs(**self.where).tags}

    def name_version(self, commit: str) -> str | None:
        """Tags a commit that has no tag yet: as asked or, on main, with the next number. Tags are never moved."""
        tags = self._tags()
        held = sorted(name for name, tagged in tags.items() if tagged == commit)
        name = self.upload.tag
        if name is None:
            if held or self.revision != constants.DEFAULT_REVISION:
                return held[0] if held else None
            numbers = [int(match[1]) for match in (re.fullmatch(r"v(\d+)", tag) for tag in tags) if match]
            name = f"v{max(numbers, default=0) + 1}"
        self.api.create_tag(**self.where, tag=name, revision=commit)
        return name


@contextmanager
def _in_one_line(repo_id: str, user: str | None = None) -> Iterator[None]:
    """What a client of the Hub raises, as one line that says what to do."""
    failed, endpoint = f"{repo_id} was not published", constants.ENDPOINT
    before = logging.get_verbosity()
    logging.set_verbosity_error()  # of the client's own tries; the last one's answer is told
    try:
        yield
    except OfflineModeIsEnabled:
        raise ConnectionError(f"{failed}: HF_HUB_OFFLINE is set") from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status == 401:
            raise PermissionError(
                f"{failed}: {endpoint} does not take the token; log in with `hf auth login`, or correct HF_TOKEN"
            ) from None
        if status == 403:
            raise PermissionError(
                f"{failed}: the token of {user} may not write there; name a repository of your own, or get a token "
                "with the right to write"
            ) from None
        reason = advice(error) if status in _PASSING else None
        raise ConnectionError(f"{failed}: {reason or f'{endpoint} answered {status}: {_first_line(error)}'}") from None
    except HTTPError as error:  # no answer: of whichever HTTP library the client was built on
        raise ConnectionError(f"{failed}: {endpoint} does not answer ({_first_line(error)}). {_AGAIN}") from None
    except RuntimeError as error:  # a large file's upload
        if error.__cause__ is None:
            raise
        cause = _first_line(error.__cause__)
        raise ConnectionError(f"{failed}: {_first_line(error)} ({cause}). {_AGAIN}") from None
    finally:
        logging.set_verbosity(before)


_AGAIN = "What stood there before is as it was; run the same command again"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
