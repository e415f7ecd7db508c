"""The only module that writes to the Hub."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants
from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import logging

from ..hub_answers import advice, status_of
from ..registry import first_line
from .repository_files import Files, of_an_upload

_TRIES = 5  # tries, if somebody else commits at the same time
_STALE = 412  # HTTP status of a commit whose parent is outdated
_PASSING = (429, 500, 502, 503, 504)  # HTTP statuses after which a request is repeated
_WAITS = (1, 2, 4)  # seconds before each retry


class PatientApi:
    """An `HfApi` that repeats every call while the Hub is busy or down."""

    def __init__(self, api: HfApi) -> None:
        self._api = api

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._api, name)

        def repeated(*args: Any, **kwargs: Any) -> Any:
            for seconds in _WAITS:
                try:
                    return call(*args, **kwargs)
                except HfHubHTTPError as error:
                    if error.response.status_code not in _PASSING:
                        raise
                    time.sleep(seconds)
            return call(*args, **kwargs)

        return repeated


class HubRepository:
    """One repository of the Hub, while it is written to."""

    def __init__(self, api: Any, repo_id: str, kind: str, revision: str | None) -> None:
        self.api, self.kind, self.repo_id = api, kind, repo_id
        self.revision = revision or constants.DEFAULT_REVISION
        self.address: dict[str, Any] = {"repo_id": repo_id, "repo_type": kind}

    def create(self, private: bool, tag: str | None, sdk: str | None) -> str:
        """Creates what is missing: repository and branch. Checks that it is as private as asked and the tag is free.

        Returns:
            The address of the repository's page.
        """
        page = self.api.create_repo(**self.address, private=private or None, space_sdk=sdk, exist_ok=True)
        if private and not self.api.repo_info(**self.address).private:
            raise ValueError(f"{self.repo_id} is public already; make it private in its settings first")
        if tag is not None and tag in self._tags():
            raise ValueError(f"{self.repo_id} has a version {tag} already; a version is not moved")
        if self.revision != constants.DEFAULT_REVISION:
            self.api.create_branch(**self.address, branch=self.revision, exist_ok=True)
        return str(page)

    def head(self) -> str:
        return str(self.api.repo_info(**self.address, revision=self.revision).sha)

    def commit(self, files: Files, message: str, create_pr: bool) -> Any:
        """One commit on top of the last one. If somebody else commits first, it is made again on top of theirs.

        Files of an earlier upload that this one lacks are deleted. The client drops files that have not changed.
        """
        for _ in range(_TRIES):
            head = self.head()
            present = self.api.list_repo_files(**self.address, revision=head)
            stale = [name for name in present if name not in files and of_an_upload(self.kind, name, present)]
            operations = [CommitOperationAdd(path_in_repo=n, path_or_fileobj=content) for n, content in files.items()]
            try:
                return self.api.create_commit(
                    **self.address,
                    operations=[*operations, *(CommitOperationDelete(path_in_repo=name) for name in stale)],
                    commit_message=message,
                    revision=self.revision,
                    parent_commit=head,
                    create_pr=create_pr,
                )
            except HfHubHTTPError as error:
                if error.response.status_code != _STALE:
                    raise
        raise ConnectionError(
            f"{self.repo_id} was not published: others commit to it at the same time; try again later"
        )

    def _tags(self) -> dict[str, str]:
        return {tag.name: tag.target_commit for tag in self.api.list_repo_refs(**self.address).tags}

    def tag(self, commit: str, name: str | None) -> str | None:
        """Tags a commit that has no tag yet, as asked or, on main, with the next version. Tags are never moved."""
        tags = self._tags()
        if name is None:
            held = sorted(each for each, tagged in tags.items() if tagged == commit)
            if held or self.revision != constants.DEFAULT_REVISION:
                return held[0] if held else None
            numbers = [int(match[1]) for match in (re.fullmatch(r"v(\d+)", each) for each in tags) if match]
            name = f"v{max(numbers, default=0) + 1}"
        self.api.create_tag(**self.address, tag=name, revision=commit)
        return name


@contextmanager
def in_one_line(repo_id: str, user: str | None = None, state: str = "was not published") -> Iterator[None]:
    """Errors of the Hub's client as one line that says what the repository's state is, and what to do."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # the client warns of each try; the last answer is in the error
    try:
        yield
    except (HfHubHTTPError, HTTPError, OfflineModeIsEnabled, RuntimeError) as error:
        status, reason = status_of(error), advice(error)
        if status is None and reason is None:
            if not str(error).startswith("Error while uploading"):
                raise
            reason = "the upload broke off"  # threads of the client close each other's connections
        if isinstance(error, OfflineModeIsEnabled):
            reason = "HF_HUB_OFFLINE is set"
        elif status == 403:
            reason = (
                f"the token of {user} may not write there; name a repository of your own, or get a token with the "
                "right to write"
            )
        elif status is None:  # no answer, or a large file's upload broke off
            cause = first_line(error.__cause__ or error)
            reason = f"{reason} ({cause}). Run the same command again: a commit is whole or not there"
        reason = reason or f"{constants.ENDPOINT} answered {status}: {first_line(error)}"
        kind = PermissionError if status in (401, 403) else ConnectionError
        raise kind(f"{repo_id} {state}: {reason}") from None
    finally:
        logging.set_verbosity(verbosity)
