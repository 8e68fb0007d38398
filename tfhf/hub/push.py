"""Upload folders and models with the huggingface_hub library.

All files of an upload become one commit: others see none of them, or all. What is large goes ahead
to the Hub's store (LFS or Xet), where it has no name yet; an upload that broke off finds it there
when it is run again.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.utils import DEFAULT_IGNORE_PATTERNS, filter_repo_objects

from tfhf.checkpoints.pretrained import WEIGHT_FILES
from tfhf.hub.model_card import create_model_card, save_model_card

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

    Files that the folder lacks stay in the repository, but for weights where it has others: the
    same commit removes them, since a loader may prefer the old ones.

    Args:
        folder: what to upload.
        repo_id: ``name`` or ``organisation/name``; default: the folder's name.
        commit_message: of the one commit that holds all files.
        private: whether a new repository is private; default: as the organisation has it.
        token: a Hub token; default: the one that ``hf auth login`` kept.
        create_pr: open a pull request in place of a commit.
        revision: the branch, made if need be; with ``create_pr`` the one, already there, that the
            pull request is for; default: "main".
        ignore_patterns: files that stay here, as the shell writes them.

    Returns:
        The address of the commit or of the pull request.

    Raises:
        NotADirectoryError: ``folder`` is none.
        ValueError: ``repo_id`` is no name, or the card's metadata is not as the Hub wants it.
        huggingface_hub.errors.HfHubHTTPError: the Hub refused; nothing is published then.

    Example:
        >>> push_folder("runs/moods", repo_id="guild/moods", private=True)  # doctest: +SKIP
        'https://huggingface.co/guild/moods/commit/…'
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise NotADirectoryError(f"folder must be a folder, but {os.fspath(folder)!r} is none")
    folder = folder.resolve()
    found = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    ignored = [*ignore_patterns, *DEFAULT_IGNORE_PATTERNS]
    names = sorted(filter_repo_objects(found, ignore_patterns=ignored))
    added = [CommitOperationAdd(name, folder / name) for name in names]
    api = HfApi(token=token)
    wanted = folder.name if repo_id is None else repo_id
    repo = api.create_repo(wanted, private=private, exist_ok=True).repo_id
    if revision is not None and not create_pr:
        api.create_branch(repo, branch=revision, exist_ok=True)
    stale = [CommitOperationDelete(name) for name in _stale_weights(api, repo, revision, names)]
    # Not HfApi.upload_folder, which makes several commits of a large folder.
    commit = api.create_commit(
        repo,
        [*added, *stale],
        commit_message=commit_message,
        create_pr=create_pr,
        revision=revision,
    )
    return commit.pr_url or commit.commit_url


def push_model(
    model: Any, repo_id: str, *, max_shard_size: int | str = "5GB", **kwargs: Any
) -> str:
    """Save a model and upload it, with a card if ``fit`` has trained it.

    ``kwargs`` are those of :func:`push_folder`.
    """
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder, max_shard_size=max_shard_size)
        trained = getattr(model, "history", None)  # Keras's, of the last fit
        if trained is not None and trained.history:
            card = create_model_card(model, repo_id, history=trained.history)
            save_model_card(card, folder, trained.history)
        return push_folder(folder, repo_id=repo_id, **kwargs)


def _stale_weights(
    api: HfApi, repo_id: str, revision: str | None, pushed: Sequence[str]
) -> list[str]:
    """Return the weights of a repository that lie where others are pushed to."""
    folders = {PurePosixPath(name).parent for name in pushed if _has_weights(name)}
    if not folders:
        return []
    return [
        name
        for name in api.list_repo_files(repo_id, revision=revision)
        if _has_weights(name) and PurePosixPath(name).parent in folders and name not in pushed
    ]


def _has_weights(name: str) -> bool:
    return any(fnmatchcase(PurePosixPath(name).name, pattern) for pattern in WEIGHT_FILES)
