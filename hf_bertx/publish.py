"""The only module that writes to the Hub: a built data set goes to its repository, if it may."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import HfApi

from .cards import built_task


def publish_dataset(
    folder: Path, repo_id: str | None = None, have_permission: bool = False, private: bool = False
) -> str:
    """Uploads a folder that `bertx data build` made, card and all, in one commit.

    Args:
        repo_id: `owner/name`; by default `bertx/` and the task's name.
        have_permission: those who hold the rights allow it, where the data's publisher states no licence.

    Returns:
        The address of the data set.

    Raises:
        ValueError: the folder holds no build, or the data may not be hosted again; nothing was sent.
        ConnectionError: the Hub did not take it; the message says why.
    """
    task = built_task(folder)
    if task.license is None and not have_permission:
        raise ValueError(
            f"{task.name} is not published: no licence is stated that allows to host it again ({task.source}). "
            "With the permission of those who hold the rights, pass --i-have-permission"
        )
    name = repo_id or (task.hub_id if task.hosted else None)
    if name is None:
        raise ValueError(f"{task.name} is your own data: name its repository with --repo_id OWNER/NAME")
    api = HfApi()
    try:
        address = api.create_repo(name, repo_type="dataset", private=private, exist_ok=True)
        # what begins with a dot is a lock or a build on its way
        api.upload_folder(
            repo_id=name,
            folder_path=folder,
            repo_type="dataset",
            commit_message=f"{task.name} as bertx data build made it",
            ignore_patterns=[".*"],
        )
    except Exception as error:  # the client raises those of whichever HTTP library it was built on
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConnectionError(
            f"{name} could not be published: {reason}. What to do: log in with `hf auth login`, and see that you may "
            "write to this repository"
        ) from None
    return str(address)
