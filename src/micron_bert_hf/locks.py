"""Locks between processes, by `fcntl.lockf`: they hold between machines too, on file systems that have locks."""

import contextlib
import errno
import os
import time
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path


try:
    import fcntl
except ImportError:  # Windows, where two runs into one folder are not kept apart
    fcntl = None


LOCK_NAME = ".lock"
_HELD_BY_ANOTHER = (errno.EACCES, errno.EAGAIN)
_NO_LOCKS_HERE = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
_POLL_SECONDS = 0.2
# The system's locks do not keep a process from itself.
_FOLDERS_HELD: set[Path] = set()


@contextlib.contextmanager
def file_lock(path: Path, start: int = 0, length: int = 0, wait_seconds: float = 0.0) -> Iterator[bool]:
    """
    Hold bytes of a file, which need not exist in it, until the end of the block, or of the process, however that ends.
    Leaves the file.

    The lock belongs to this process and not to its children: data workers that outlive a killed parent by some seconds
    do not keep it. Closing any descriptor of a file ends all its process's locks on it, so that a process holds one
    lock of a file at a time.

    Args:
        start, length (`int`): which bytes; a length of 0 is all from `start` on.
        wait_seconds (`float`): how long to try, at least once.

    Yields:
        Whether it is held by us, not by another process. Where the file system has no locks, yes, with a warning.
    """
    if fcntl is None:
        yield True
        return
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        yield _acquire(descriptor, path, start, length, time.monotonic() + wait_seconds)
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, path: Path, start: int, length: int, deadline: float) -> bool:
    while True:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, length, start)
            return True
        except OSError as error:
            if error.errno in _NO_LOCKS_HERE:
                _warn_without_locks(path.parent)
                return True
            if error.errno not in _HELD_BY_ANOTHER:
                raise
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_SECONDS)


@cache  # one warning a folder
def _warn_without_locks(folder: Path) -> None:
    warnings.warn(f"the file system of {folder} has no locks: two runs into it are not kept apart", stacklevel=5)


@contextlib.contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """
    Hold `folder` (which exists) by an empty file in it; see [`file_lock`].

    Raises:
        FileExistsError: another process holds it, or another run in this one.
    """
    held = folder.resolve()
    if held in _FOLDERS_HELD:
        raise FileExistsError(f"{folder} is being written by another run in this process")
    with file_lock(folder / LOCK_NAME) as is_ours:
        if not is_ours:
            raise FileExistsError(f"{folder} is being written by another process")
        _FOLDERS_HELD.add(held)
        try:
            yield
        finally:
            _FOLDERS_HELD.discard(held)
