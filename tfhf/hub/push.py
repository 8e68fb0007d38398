"""Upload folders and models with the huggingface_hub library.

All files of an upload become one commit: others see none of them, or all. What is large goes ahead
to the Hub's store (LFS or Xet), where it has no name yet; an upload that broke off finds it there
when it is run again.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi

#: What `Trainer` keeps to go on from, in the folder of its model.
IGNORED = ("checkpoint-*/*",)


def push_folder(
    folder: str | os.PathLike,
    *,
    repo_id: str | None = None,
    commit_message: str = "Upload model",
    private: bool | None = None,
    token: str | bool | None = None,
    create_pr: bool = False,
    revision: str | None = None,
    ignore_patterns: Sequence[str] = IGNORED,
) -> str:
    """Upload a folder as a model repository, made if need be.

    Args:
        folder: what to upload.
        repo_id: ``name`` or ``organisation/name``; default: the folder's name.
        commit_message: of the one commit that holds all files.
        private: whether a new repository is private; default: as the organisation has it.
        token: a Hub token; default: the one that ``hf auth login`` kept.
        create_pr: open a pull request in place of a commit.
        revision: the branch, made if need be; default: "main".
        ignore_patterns: files that stay here, as the shell writes them.

    Returns:
        The address of the commit or of the pull request.

    Raises:
        NotADirectoryError: ``folder`` is none.
        huggingface_hub.errors.HfHubHTTPError: the Hub refused; nothing is published then.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise NotADirectoryError(f"folder must be a folder, but {os.fspath(folder)!r} is none")
    api = HfApi(token=token)
    repo = api.create_repo(repo_id or folder.resolve().name, private=private, exist_ok=True)
    if revision is not None and not create_pr:
        api.create_branch(repo.repo_id, branch=revision, exist_ok=True)
    commit = api.upload_folder(
        repo_id=repo.repo_id,
        folder_path=folder,
        commit_message=commit_message,
        create_pr=create_pr,
        revision=revision,
        ignore_patterns=list(ignore_patterns),
    )
    return commit.pr_url or commit.commit_url


def push_model(
    model: Any, repo_id: str, *, max_shard_size: int | str = "5GB", **kwargs: Any
) -> str:
    """Save a model and upload it; ``kwargs`` are those of :func:`push_folder`."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder, max_shard_size=max_shard_size)
        return push_folder(folder, repo_id=repo_id, **kwargs)
