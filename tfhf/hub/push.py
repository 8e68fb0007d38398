"""Upload folders and models with the huggingface_hub library."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi


def push_folder(
    folder: str | os.PathLike,
    *,
    repo_id: str | None = None,
    commit_message: str = "Upload model",
    private: bool | None = None,
    token: str | bool | None = None,
    create_pr: bool = False,
    revision: str | None = None,
) -> str:
    """Upload a folder as a model repository, made if need be.

    Args:
        folder: what to upload.
        repo_id: ``name`` or ``organisation/name``; default: the folder's name.
        commit_message: of the one commit that holds all files.
        private: whether a new repository is private; default: as the organisation has it.
        token: a Hub token; default: the one that ``hf auth login`` kept.
        create_pr: open a pull request in place of a commit.
        revision: the branch.

    Returns:
        The address of the commit or of the pull request.
    """
    api = HfApi(token=token)
    repo = api.create_repo(repo_id or Path(folder).resolve().name, private=private, exist_ok=True)
    commit = api.upload_folder(
        repo_id=repo.repo_id,
        folder_path=os.fspath(folder),
        commit_message=commit_message,
        create_pr=create_pr,
        revision=revision,
    )
    return commit.pr_url or commit.commit_url


def push_model(
    model: Any, repo_id: str, *, max_shard_size: int | str = "5GB", **kwargs: Any
) -> str:
    """Save a model and upload it; ``kwargs`` are those of :func:`push_folder`."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder, max_shard_size=max_shard_size)
        return push_folder(folder, repo_id=repo_id, **kwargs)
