"""Rows on disk: one `.npz` file a subject, without pickle, written whole or not at all."""

import contextlib
import hashlib
import json
import logging
import os
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np


try:
    import fcntl
except ImportError:  # Windows, where an open file cannot be deleted anyway
    fcntl = None

from .clips import ClipParameters, UnlabelledParameters, subject_name


logger = logging.getLogger(__name__)

# Raised by a zip file that is cut off or altered, or that holds something else than what was written here.
_DAMAGE = (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error)
# Level 1: motion fields hardly compress further, and level 6 takes longer than rendering small frames does.
_COMPRESSION_LEVEL = 1
_UNFINISHED = ".tmp"


class SubjectCache:
    """Cache of one set's rows.

    The folder is named by a fingerprint of everything that decides a row, so that other parameters or another version
    of the generator never meet old files. The number of subjects is not part of it: a larger set takes over a smaller
    one's files.

    Args:
        folder: created if it does not exist.
        parameters: of the clips.
        version: of the generator.
    """

    def __init__(
        self, folder: str | os.PathLike[str], parameters: ClipParameters | UnlabelledParameters, version: str
    ) -> None:
        self._parameters = parameters
        self._description = json.dumps(
            {"version": version, "kind": type(parameters).__name__, **asdict(parameters)}, sort_keys=True
        )
        self.folder = Path(folder) / hashlib.sha256(self._description.encode()).hexdigest()[:16]

    def path(self, subject_index: int) -> Path:
        """File of one subject, whether it exists or not."""
        return self.folder / f"{self._name(subject_index)}.npz"

    def _name(self, subject_index: int) -> str:
        return subject_name(subject_index, self._parameters)

    def read(self, subject_index: int) -> list[dict[str, Any]] | None:
        """The subject's rows, or `None` if there is no whole file of them."""
        path = self.path(subject_index)
        if not path.exists():
            return None
        try:
            with np.load(path, allow_pickle=False) as arrays:
                header = json.loads(arrays["header"].tobytes())
                if header["description"] != self._description:
                    raise ValueError("it was written with other parameters")
                # zipfile compares the checksum of every array read, so a flipped bit is damage too.
                stored = {name: arrays[name] for name in header["arrays"]}
            rows = [_restore(values) for values in header["rows"]]
            for name, values in stored.items():
                position, key = name.split("/")
                rows[int(position)][key] = values
            return rows
        except _DAMAGE as error:
            logger.warning("%s is damaged and will be made again (%s)", path, error)
            return None

    def write(self, subject_index: int, rows: Sequence[dict[str, Any]]) -> None:
        """Stores the subject's rows; a reader sees the whole file or none, even if this process is killed.

        Unfinished files that a killed process left in the folder are removed.
        """
        arrays = {
            f"{position}/{key}": value
            for position, row in enumerate(rows)
            for key, value in row.items()
            if isinstance(value, np.ndarray)
        }
        values = [{key: value for key, value in row.items() if not isinstance(value, np.ndarray)} for row in rows]
        header = json.dumps({"description": self._description, "rows": values, "arrays": list(arrays)})
        arrays["header"] = np.frombuffer(header.encode(), np.uint8)
        self.folder.mkdir(parents=True, exist_ok=True)
        for abandoned in self.folder.glob(f"*{_UNFINISHED}"):
            _remove_unless_in_use(abandoned)
        descriptor, temporary = tempfile.mkstemp(dir=self.folder, suffix=_UNFINISHED)
        try:
            with os.fdopen(descriptor, "wb") as file:
                if fcntl is not None:
                    fcntl.flock(file, fcntl.LOCK_EX)
                with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=_COMPRESSION_LEVEL) as archive:
                    for name, array in arrays.items():
                        with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                            np.lib.format.write_array(member, array, allow_pickle=False)
            os.replace(temporary, self.path(subject_index))
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise


def _remove_unless_in_use(path: Path) -> None:
    # Its writer holds a lock on it, which ends with the writer, however that ends.
    with contextlib.suppress(OSError):
        if fcntl is not None:
            with path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()


def _restore(values: dict[str, Any]) -> dict[str, Any]:
    # JSON knows no tuples; rows from the cache are to equal rows just made.
    for holder in (values, *values.get("intervals", ())):
        for key in ("action_units", "other_action_units"):
            if key in holder:
                holder[key] = {unit: tuple(sides) for unit, sides in holder[key].items()}
    return values
