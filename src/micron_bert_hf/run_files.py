"""Files of a run: written whole or not at all, and a folder that belongs to one run and goes on with no other."""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .locks import LOCK_NAME, folder_lock


def file_name(text: str) -> str:
    """Any text as the name of a file or folder: `"Micron-BERT, windowed"` becomes `micron-bert-windowed`."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def write_text(path: Path, text: str) -> None:
    """Whole or not at all, also when the machine fails: the file is on the disk before it has its name."""
    temporary = path.with_name(f".{path.name}.partial")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def write_json(path: Path, content: Any) -> None:
    """As [`write_text`]; NaN and infinity are refused with a ValueError."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """
    `None` if there is no such file.

    Raises:
        ValueError: it is no JSON; the message names it.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def file_sha256(path: Path) -> str:
    """64 hexadecimal digits; the file is read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def claim_folder(folder: Path, name: str, identity: Mapping[str, Any]) -> None:
    """
    Make `folder` that of a run, or find that it is.

    Args:
        folder: exists; the caller holds its lock.
        name: of the file that says whose it is.
        identity: what must be equal for a run to go on, ready for JSON.

    Raises:
        FileExistsError: it holds something else.
        ValueError: it holds another run; the message names what differs.
    """
    identity = json.loads(json.dumps(identity))  # as it comes back: lists for tuples
    found = read_json(folder / name)
    if found is None:
        others = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
        if others:
            raise FileExistsError(
                f"{folder} holds {', '.join(others[:5])} and no {name}; give a folder that is empty, does not exist,"
                " or holds this run."
            )
        write_json(folder / name, identity)
    elif found != identity:
        differing = [
            f"{key}: {found.get(key)!r} there, {identity.get(key)!r} here"
            for key in sorted({*found, *identity})
            if found.get(key) != identity.get(key)
        ]
        raise ValueError(
            f"{folder} holds another run ({'; '.join(differing)}); give another folder, or delete that one."
        )


@contextlib.contextmanager
def whole_folder(output_dir: Path) -> Iterator[Path]:
    """
    A folder that is complete or absent: what the block writes goes to a hidden folder beside it, `.NAME.partial`, held
    by this process alone, which is moved to its place at the end. It stays where it is if the block fails, so that
    another run can go on from there; what it then holds, the block decides.

    Raises:
        FileExistsError: `output_dir` holds something, something else has the hidden folder's name, or another process
            is writing there.
    """
    if output_dir.is_symlink() or (output_dir.exists() and (not output_dir.is_dir() or any(output_dir.iterdir()))):
        raise FileExistsError(f"{output_dir} holds something else; give a folder that is empty or does not exist")
    folder = output_dir.parent / f".{output_dir.name}.partial"
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise FileExistsError(f"{folder} is in the way; remove it")
    folder.mkdir(parents=True, exist_ok=True)
    with folder_lock(folder):
        yield folder
        if output_dir.exists():
            output_dir.rmdir()  # empty, or this raises
        folder.rename(output_dir)
        (output_dir / LOCK_NAME).unlink(missing_ok=True)  # not before: another run might make and hold a new one
