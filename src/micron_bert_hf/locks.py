"""One process a folder."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


try:
    import fcntl
except ImportError:  # Windows, where two runs into one folder are not kept apart
    fcntl = None


LOCK_NAME = ".lock"


@contextlib.contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """
    Hold `folder` (which exists) until the end of the block, or of the process, however that ends. Leaves an empty file
    in it.

    The lock belongs to this process and not to its children: data workers that outlive a killed parent by some seconds
    do not keep it.

    Raises:
        FileExistsError: another process holds it.
    """
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise FileExistsError(f"{folder} is being written by another process") from error
        yield
    finally:
        os.close(descriptor)
