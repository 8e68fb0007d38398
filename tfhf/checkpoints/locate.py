"""Finding the files of a checkpoint in a folder, in the Hub's cache, or on the Hub."""

import os
import re
from pathlib import PurePosixPath
from typing import Any

from huggingface_hub import HfApi, constants, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import repo_folder_name

from tfhf.checkpoints.reader import read_index

# In the order in which they are looked for.
WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "tf_model.h5",
    "tf_model.h5.index.json",
)


def find_weights(
    name_or_path: str | os.PathLike[str],
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
    subfolder: str = "",
    force_download: bool = False,
    use_safetensors: bool | None = None,
) -> str:
    """Find the weights of a checkpoint, and download them if need be.

    Args:
        name_or_path: a folder, or the id of a model on the Hub.
        revision: a branch, tag or commit on the Hub; the main branch by default.
        token: the Hub's access token; True for the one that `hf auth login` stored.
        cache_dir: where downloads are kept; by default the Hub's own cache.
        local_files_only: download nothing.
        subfolder: where in the folder or repository to look.
        force_download: download again what the cache has.
        use_safetensors: True to look for safetensors files only, False to pass them over.

    Returns:
        The path of the first of `WEIGHT_FILES` that is there: a file, or an index whose shards are
        beside it.

    Raises:
        OSError: there is no such folder or model, it has no weights, or it cannot be reached.
        CorruptCheckpointError, UnsafeCheckpointError: from `reader.read_index`.

    Example:
        >>> import tempfile, pathlib
        >>> folder = tempfile.mkdtemp()
        >>> pathlib.Path(folder, "tf_model.h5").touch()
        >>> pathlib.Path(folder, "pytorch_model.bin").touch()
        >>> os.path.basename(find_weights(folder))
        'pytorch_model.bin'
    """
    where: dict[str, Any] = {
        "revision": revision,
        "token": token,
        "cache_dir": cache_dir,
        "local_files_only": local_files_only or constants.HF_HUB_OFFLINE,
        "subfolder": subfolder,
        "force_download": force_download,
    }
    name = os.fspath(name_or_path)
    there = None  # The names of all files, where they are known.
    if os.path.isdir(name):
        folder = os.path.join(name, subfolder)
        there = os.listdir(folder) if os.path.isdir(folder) else []
    elif not where["local_files_only"]:
        try:
            there = _files_on_hub(name, revision, token, subfolder)
        except HfHubHTTPError:
            pass  # Looking for a file says what is wrong.
        except Exception:  # The Hub's client passes on what its HTTP library calls no connection.
            where["local_files_only"] = True  # Otherwise, every file waits for its time-out.

    candidates = [
        file
        for file in WEIGHT_FILES
        if use_safetensors is None or use_safetensors == ("safetensors" in file)
    ]
    for candidate in candidates:
        path = find_file(name, candidate, **where) if there is None or candidate in there else None
        if path is None:
            continue
        if path.endswith(".index.json") and not os.path.isdir(name):
            # The shards of the index's own commit, also when the branch moves on meanwhile.
            if commit := re.search(r"[/\\]snapshots[/\\]([0-9a-f]{40})[/\\]", path):
                where["revision"] = commit[1]
            for shard in sorted(set(read_index(path).values())):
                if find_file(name, shard, **where) is None:
                    raise OSError(f"{path} lists {shard}, which {name} does not have")
        return path

    if there is None:
        what = f"the cache has none, and the Hub ({constants.ENDPOINT}) did not answer"
    else:
        what = f"there is {', '.join(sorted(there)[:20]) or 'nothing'}"
        what += ", ..." if len(there) > 20 else ""
    place = os.path.join(name, subfolder) if subfolder else name
    raise OSError(f"{place} has no weights, none of {', '.join(candidates)}: {what}")


def _files_on_hub(
    name: str, revision: str | None, token: str | bool | None, subfolder: str
) -> list[str]:
    siblings = HfApi().model_info(name, revision=revision, token=token, timeout=10).siblings
    files = [PurePosixPath(sibling.rfilename) for sibling in siblings or []]
    return [file.name for file in files if file.parent == PurePosixPath(subfolder)]


def find_file(
    name_or_path: str | os.PathLike[str],
    filename: str,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
    subfolder: str = "",
    force_download: bool = False,
) -> str | None:
    """Find one file of a checkpoint, such as `config.json`, and download it if need be.

    Args:
        name_or_path: as the others, see `find_weights`.
        filename: its name.

    Returns:
        Its path. None if the folder or model does not have it, or if the Hub cannot be asked and
        the part of the model that is in the cache does not have it.

    Raises:
        OSError: there is no such folder or model, or the Hub cannot be asked and nothing of the
            model is in the cache.

    Example:
        >>> import tempfile
        >>> find_file(tempfile.mkdtemp(), "config.json") is None
        True
    """
    name = os.fspath(name_or_path)
    if os.path.isdir(name):
        path = os.path.join(name, subfolder, filename)
        return path if os.path.isfile(path) else None
    if os.path.isfile(name):
        raise OSError(f"{name} is a file, expected its folder or the id of a model on the Hub")
    cache = os.fspath(cache_dir or constants.HF_HUB_CACHE)
    try:
        return hf_hub_download(
            name,
            filename,
            revision=revision,
            token=token,
            cache_dir=cache,
            local_files_only=local_files_only,
            subfolder=subfolder or None,
            force_download=force_download,
        )
    except LocalEntryNotFoundError as error:
        repository = os.path.join(cache, repo_folder_name(repo_id=name, repo_type="model"))
        if os.path.isdir(os.path.join(repository, "snapshots")):
            return None
        reason = f" ({error.__cause__})" if error.__cause__ else ""
        raise OSError(
            f"{name} is no folder, is not in the cache {cache}, and the Hub ({constants.ENDPOINT}) "
            f"cannot be reached{reason} or, with local_files_only or offline mode, is not asked"
        ) from error
    except EntryNotFoundError:
        return None
    except HFValidationError as error:
        raise OSError(f"{name} is neither a folder nor the id of a model: {error}") from error
    except GatedRepoError as error:
        raise OSError(
            f"{name} is a gated model: ask for access at {constants.ENDPOINT}/{name}, then log in "
            "with `hf auth login` or pass token=..."
        ) from error
    except RepositoryNotFoundError as error:
        raise OSError(
            f"{name} is no folder, and no model on {constants.ENDPOINT}; if it is a private one, "
            "log in with `hf auth login` or pass token=..."
        ) from error
    except RevisionNotFoundError as error:
        raise OSError(
            f"{name} has no branch, tag or commit {revision!r}; {constants.ENDPOINT}/{name} lists "
            "those that it has"
        ) from error
    except (HfHubHTTPError, ValueError) as error:
        raise OSError(f"{filename} of {name} cannot be downloaded: {error}") from error
