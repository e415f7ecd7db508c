"""Errors of the Hub as one sentence that says what to do, shared by loading and publishing."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from huggingface_hub import constants, get_session
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

_LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"


def is_reachable() -> bool:
    """Whether the Hub answers one request within five seconds."""
    try:
        get_session().head(constants.ENDPOINT, timeout=5)
    except HTTPError:
        return False
    return True


def status_of(error: BaseException) -> int | None:
    """The HTTP status that an error, or one that led to it, is about."""
    refusal = next((link for link in _chain(error) if isinstance(link, HfHubHTTPError)), None)
    return None if refusal is None else refusal.response.status_code


def advice(error: BaseException) -> str | None:
    """Advice for an error of the Hub or the disk; None for other errors."""
    links = tuple(_chain(error))

    def about(*kinds: type[BaseException]) -> bool:
        return any(isinstance(link, kinds) for link in links)

    full = next((link for link in links if isinstance(link, OSError) and link.errno == errno.ENOSPC), None)
    if full is not None or any("No space left" in str(link) for link in links):
        return f"the disk is full{f' ({full.filename})' if full is not None and full.filename else ''}"
    if any("trust_remote_code" in str(link) for link in links):
        return "it needs code of its own, which is never run: take a model of a class that transformers has"
    if about(GatedRepoError):
        return f"the repository is gated: ask for access on its page of the Hub, then {_LOG_IN}"
    if about(RevisionNotFoundError):
        return "the repository has no such revision"
    if about(RepositoryNotFoundError):
        return f"the Hub has no such repository, or it is private: check the name, or {_LOG_IN}"
    status = status_of(error)
    if status == 401:
        return f"{constants.ENDPOINT} does not take the token; {_LOG_IN}"
    if status == 403:
        return "the token may not do this; get one that has the right to it"
    if status == 429:
        return f"{constants.ENDPOINT} limits how often it is asked (429); wait some minutes, or {_LOG_IN}"
    if status is not None and status >= 500:
        return f"{constants.ENDPOINT} is out of order ({status}); try again later"
    if about(OfflineModeIsEnabled) or (constants.HF_HUB_OFFLINE and about(LocalEntryNotFoundError)):
        return "it is not in the cache, and HF_HUB_OFFLINE is set"
    if about(HTTPError, LocalEntryNotFoundError):
        return f"{constants.ENDPOINT} does not answer; connect to the Hub, or set HF_ENDPOINT to a mirror"
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
