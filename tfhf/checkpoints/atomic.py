"""Folders and files that are replaced as a whole or not at all.

What is new is written beside what is old, flushed to disk, and put in its place by one rename. A
process killed at any moment leaves the old state or the new one, and perhaps a hidden temporary
`.<name>.new-…` beside it, which the next call for the same path removes once its process is gone.

Two cases are weaker:

- Swapping two folders in one step needs Linux's renameat2 and a file system that knows it (ext4,
  xfs, btrfs, tmpfs, … but not NFS). Elsewhere the old folder is first renamed to `.<name>.old-…`; a
  kill between the two renames leaves the path empty, until the next call puts the old folder back.
- A folder that cannot be renamed (a mount point, a folder of a container's image, one whose parent
  is read-only), or that this process works in, gets its files one by one, each at once.
"""

import contextlib
import ctypes
import errno
import fnmatch
import os
import platform
import re
import secrets
import shutil
import sys
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

_RENAME_NOREPLACE, _RENAME_EXCHANGE = 1, 2  # <linux/fs.h>
_AT_FDCWD = -100
_NOT_SUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)
_TAKEN = (errno.EEXIST, errno.ENOTEMPTY)
_FIXED = (errno.EXDEV, errno.EBUSY)

# Who makes a temporary: a process may have the id of one that died, on this machine or another.
_MACHINE = f"{zlib.crc32(platform.node().encode()):08x}"
_PROCESS = secrets.token_hex(4)


@contextlib.contextmanager
def replace_folder(path: str | os.PathLike[str], drop: Iterable[str] = ()) -> Iterator[Path]:
    """Give an empty folder to write in; on leaving, it takes the place of `path` at once.

    Files of the old folder that are not written anew are kept, whatever their depth. If the body
    raises, nothing changes. If several processes write the same folder at the same time, it is at
    any moment that of one of them, with what this one found there.

    Args:
        path: the folder to make or replace. Of a link to a folder, the target is replaced.
        drop: names, or glob patterns, of top-level files of the old folder that are not kept, such
            as shards of the weights that are written anew.

    Yields:
        The temporary folder.

    Raises:
        NotADirectoryError: `path` is a file.
        OSError: it cannot be written.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "checkpoint")
        >>> with replace_folder(path) as folder:
        ...     (folder / "config.json").touch()
        ...     (folder / "model-00001-of-00001.safetensors").touch()
        >>> with replace_folder(path, drop=["model-*.safetensors"]) as folder:
        ...     (folder / "model.safetensors").touch()
        >>> sorted(os.listdir(path))
        ['config.json', 'model.safetensors']
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "expected a folder, found a file", str(path))
    drop = tuple(drop)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Temporaries lie beside the folder; where it cannot be renamed, in it.
    fixed = path.is_dir() and (
        os.path.ismount(path) or not os.access(path.parent, os.W_OK) or _works_in(path)
    )
    place = path / path.name if fixed else path
    _clean_up(place)
    folder = _temporary(place, "new")
    folder.mkdir()
    try:
        yield folder
        _flush(folder)
        if fixed:
            _move_files(folder, path, drop)
        else:
            _put(folder, path, drop)
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # Unfinished, or by now the old content.


@contextlib.contextmanager
def replace_file(path: str | os.PathLike[str], encoding: str | None = None) -> Iterator[IO[Any]]:
    """Give an empty file to write in; on leaving, it takes the place of `path` at once.

    If the body raises, nothing changes.

    Args:
        path: the file; of a link, the target is replaced.
        encoding: that of a text file, whose line ends stay as they are written; default: bytes.

    Yields:
        The open temporary file.

    Raises:
        OSError: it cannot be written.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "rows.jsonl")
        >>> with replace_file(path, encoding="utf-8") as file:
        ...     file.write("{}") and path.exists()
        False
        >>> path.read_text()
        '{}'
    """
    path = Path(os.path.realpath(path))
    _clean_up(path)
    temporary = _temporary(path, "new")
    newline = None if encoding is None else ""
    try:
        with temporary.open("xb" if encoding is None else "x", -1, encoding, None, newline) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _flush_names(path.parent)


def write_file(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Write a file that holds the old content or the new one at any moment.

    Args:
        path: the file; of a link, the target is replaced.
        data: its content; text is encoded as UTF-8.

    Raises:
        OSError: it cannot be written.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "state.json")
        >>> write_file(path, '{"step": 3}')
        >>> path.read_text()
        '{"step": 3}'
    """
    with replace_file(path) as file:
        file.write(data.encode() if isinstance(data, str) else data)


class new_version(contextlib.AbstractContextManager[Path]):
    """Give an empty folder to write in; on leaving, it becomes the next version of `directory`.

    Versions are sub-folders 1, 2, …, as TensorFlow Serving reads them. Processes that write at the
    same time get different ones. If the body raises, there is no new version.

    Args:
        directory: the folder of all versions; made if absent.

    Attributes:
        path: the version's folder, once the body is left; None before.

    Raises:
        OSError: it cannot be written.

    Example:
        >>> import tempfile
        >>> version = new_version(tempfile.mkdtemp())
        >>> with version as folder:
        ...     (folder / "saved_model.pb").touch()
        >>> version.path.name
        '1'
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.path: Path | None = None
        self._directory = Path(os.path.realpath(directory))

    def __enter__(self) -> Path:
        self._directory.mkdir(parents=True, exist_ok=True)
        _clean_up(self._directory / "version")
        self._folder = _temporary(self._directory / "version", "new")
        self._folder.mkdir()
        return self._folder

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                _flush(self._folder)
                self.path = self._rename()
                _flush_names(self._directory)
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _rename(self) -> Path:
        while True:
            names = os.listdir(self._directory)
            versions = [int(name) for name in names if re.fullmatch("[0-9]{1,18}", name)]
            path = self._directory / str(max(versions, default=0) + 1)
            try:
                if not _renameat2(self._folder, path, _RENAME_NOREPLACE):
                    os.rename(self._folder, path)  # Fails too if the other is not empty.
                return path
            except OSError as error:
                if error.errno not in _TAKEN:
                    raise


def _temporary(path: Path, kind: str) -> Path:
    """Name a temporary beside `path`, which `_clean_up` recognizes."""
    owner = f"{_MACHINE}-{os.getpid()}-{_PROCESS}"
    return path.with_name(f".{path.name}.{kind}-{owner}-{secrets.token_hex(4)}")


def _clean_up(path: Path) -> None:
    """Remove what processes that were killed left beside `path`, or put it back where it was."""
    pattern = rf"\.{re.escape(path.name)}\.(new|old)-{_MACHINE}-(\d+)-([0-9a-f]+)-[0-9a-f]+"
    for name in os.listdir(path.parent):
        match = re.fullmatch(pattern, name)
        if match is None or _is_alive(int(match[2]), match[3]):
            continue
        leftover = path.with_name(name)
        if match[1] == "old" and not path.exists():
            leftover.rename(path)
        elif leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def _is_alive(pid: int, process: str) -> bool:
    if pid == os.getpid():
        return process == _PROCESS
    if os.name != "posix":
        return True  # There, os.kill kills whatever the signal, so leftovers stay.
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # Another user's.
    return True


def _works_in(path: Path) -> bool:
    """Whether the process, and the shell that started it, would be left in a removed folder."""
    try:
        return Path.cwd().is_relative_to(path)
    except FileNotFoundError:
        return False


def _put(folder: Path, path: Path, drop: tuple[str, ...]) -> None:
    """Put a finished folder in the place of `path`, with what only `path` has."""
    if path.is_dir():
        _carry_over(path, folder, drop)
        shutil.copymode(path, folder)
    try:
        old = _swap(folder, path)
    except OSError as error:
        if error.errno not in _FIXED:
            raise
        _move_files(folder, path, drop)
        return
    if old is not None:
        _carry_over(old, path, drop)  # What others wrote there in the meantime.
        shutil.rmtree(old, ignore_errors=True)
    _flush_names(path.parent)


def _swap(folder: Path, path: Path) -> Path | None:
    """Rename `folder` to `path`; return where the folder is now that was there."""
    try:
        os.rename(folder, path)  # Replaces an empty folder, too.
        return None
    except OSError as error:
        if error.errno not in _TAKEN:
            raise
    if _renameat2(folder, path, _RENAME_EXCHANGE):
        return folder
    old = _temporary(path, "old")
    os.rename(path, old)
    try:
        os.rename(folder, path)
    except BaseException:
        os.rename(old, path)
        raise
    return old


def _carry_over(old: Path, new: Path, drop: tuple[str, ...] = ()) -> None:
    """Hard-link into `new` what only `old` has."""
    for entry in _scan(old):
        target = new / entry.name
        with contextlib.suppress(FileNotFoundError):  # Of what others remove meanwhile.
            if entry.is_dir(follow_symlinks=False):
                if not os.path.lexists(target):
                    target.mkdir()
                    shutil.copymode(entry.path, target)
                if target.is_dir() and not target.is_symlink():
                    _carry_over(Path(entry.path), target)
            elif not os.path.lexists(target) and not _matches(entry.name, drop):
                _link(entry.path, target)
    _flush_names(new)


def _link(source: str, target: Path) -> None:
    """Make `target` another name of a file, or a copy where the file system has no hard links."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)
        _flush_file(target)


def _move_files(folder: Path, path: Path, drop: tuple[str, ...] = ()) -> None:
    """Move every file to its place, then remove from `path` what is dropped."""
    written = _scan(folder)
    for entry in written:
        target = path / entry.name
        if entry.is_dir(follow_symlinks=False):
            target.mkdir(exist_ok=True)
            _move_files(Path(entry.path), target)
        else:
            os.replace(entry.path, target)
    kept = {entry.name for entry in written}
    for entry in _scan(path):
        if entry.is_file() and entry.name not in kept and _matches(entry.name, drop):
            os.unlink(entry.path)
    _flush_names(path)


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _renameat2(source: Path, target: Path, flags: int) -> bool:
    """Rename by Linux's renameat2(2); return False where that does not exist."""
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        return False
    if libc.renameat2(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), flags) == 0:
        return True
    code = ctypes.get_errno()
    if code in _NOT_SUPPORTED:
        return False
    raise OSError(code, os.strerror(code), str(source), None, str(target))


def _flush(folder: Path) -> None:
    """Have the system write everything in a folder to disk."""
    for root, _, files in os.walk(folder):
        for name in files:
            _flush_file(Path(root, name))
        _flush_names(Path(root))


def _flush_file(path: Path) -> None:
    if path.is_file() and not path.is_symlink():
        # Windows flushes only files that are open to write; others may be read-only.
        with path.open("rb" if os.name == "posix" else "rb+") as file:
            os.fsync(file.fileno())


def _flush_names(folder: Path) -> None:
    """Have the system write a folder's list of names to disk."""
    if os.name != "posix":
        return  # Other systems cannot open folders.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
