"""A release as it lies on disk: where its folders of frames are, and which frames they hold.

Nothing outside the folder that the user named is looked at because of what a sheet says: a cell becomes one component
of a path or is refused. Links that the user put there are followed. Names are compared without regard to case and to
the two ways in which Unicode writes an accent.
"""

import os
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..data.clip_sources import explain, image_names, is_folder, order_frames
from .sheets import SHEET_SUFFIXES


# Ours: levels below the named folder that are searched for the label sheet and for the folder of the subjects.
SHEET_DEPTH, FOLDER_DEPTH = 2, 4
_SHOWN = 6
_NAME_IT = "name one with --sheet"


@dataclass(frozen=True)
class FrameFiles:
    """
    The frames of one clip.

    Args:
        folder (`str`): below the raw folder, with slashes.
        names (`Mapping[int, str]` or `None`): number -> file name, in ascending order. The number is the last integer
            in the name: releases pad it differently from clip to clip. `None` if the folder was not listed yet.
        spare (`Mapping[int, Sequence[str]]`): number -> other files with that number, for a first one that is damaged.
        unnumbered (`tuple[str, ...]`): image files without a number.
    """

    folder: str
    names: Mapping[int, str] | None
    spare: Mapping[int, Sequence[str]] = field(default_factory=dict)
    unnumbered: tuple[str, ...] = ()


class RawTree:
    """
    A raw folder.

    Args:
        root: what the user named.

    Raises:
        FileNotFoundError: it is not there.
        NotADirectoryError: it is no folder.
    """

    def __init__(self, root: str | os.PathLike):
        self.root = Path(os.path.abspath(root))
        if not self.root.exists():
            raise FileNotFoundError(f"there is no folder {self.root}")
        if not self.root.is_dir():
            raise NotADirectoryError(f"{self.root} is not a folder")
        self._children: dict[Path, dict[str, Path]] = {}

    def _walk(self, depth: int, is_end: Callable[[Path], bool]) -> Iterator[Path]:
        """The root and the folders below it, level by level, each once; not those below a folder that is an end."""
        level, seen = [self.root], {os.path.realpath(self.root)}
        for _ in range(depth + 1):
            below = []
            for folder in level:
                yield folder
                if is_end(folder):
                    continue
                for name in self.folder_names(folder):
                    real = os.path.realpath(folder / name)
                    if real not in seen:
                        seen.add(real)
                        below.append(folder / name)
            level = below

    def find_sheet(self, patterns: Sequence[str], named: Path | None = None, way_out: str = _NAME_IT) -> Path:
        """
        The label sheet, or another.

        Args:
            patterns: regular expressions for the whole name without suffix, in any case; earlier ones are preferred.
            named (*optional*): the sheet that the user named, which is taken as it is.
            way_out (`str`): what the user can do if several fit.

        Raises:
            FileNotFoundError: there is none; says what was looked for and which sheets are there.
            ValueError: several fit equally well.
        """
        if named is not None:
            if not named.is_file():
                raise FileNotFoundError(f"there is no sheet {named}")
            return named
        sheets = [
            path
            for folder in self._walk(SHEET_DEPTH, lambda _: False)
            for path in self._listing(folder).values()
            if path.suffix.lower() in SHEET_SUFFIXES and not path.name.startswith(("~$", ".")) and path.is_file()
        ]
        for pattern in patterns:
            fitting = [path for path in sheets if _fits(pattern, path.stem)]
            if len(fitting) > 1:
                raise ValueError(f"several label sheets are in {self.root}: {self._names(fitting)}; {way_out}")
            if fitting:
                return fitting[0]
        there = self._names(sheets) or "none"
        raise FileNotFoundError(
            f"no label sheet in {self.root}: looked {SHEET_DEPTH} levels deep for"
            f" {' or '.join(_readable_pattern(pattern) for pattern in patterns)} (.xlsx, .xls); sheets that are there:"
            f" {there}. Name it with --sheet if it lies elsewhere."
        )

    def find_folder(
        self,
        child_pattern: str,
        example: str,
        *,
        required: Sequence[str] = (),
        refused: Sequence[str] = (),
        preferred: Sequence[str] = (),
    ) -> Path:
        """
        The folder that holds the subjects (or clips). All patterns are for a whole name, in any case.

        Args:
            child_pattern: regular expression that names of its sub-folders fit.
            example (`str`): such a name, for the message.
            required, refused: regular expressions each of which one component of its path, from the raw folder's own
                name on, must fit, or none may.
            preferred: regular expressions for a component, in order: of several such folders the one that fits the
                first is taken, then the one nearest to the raw folder.

        Raises:
            FileNotFoundError: there is none; says what was looked for and what is there.
            ValueError: several fit equally well.
        """

        def holds(folder: Path) -> bool:
            return any(_fits(child_pattern, name) for name in self.folder_names(folder))

        def components(folder: Path) -> tuple[str, ...]:
            return (self.root.name, *folder.relative_to(self.root).parts)

        def has(pattern: str, folder: Path) -> bool:
            return any(_fits(pattern, name) for name in components(folder))

        # what lies below the folder that is looked for may be a million frames
        holding = [folder for folder in self._walk(FOLDER_DEPTH, holds) if holds(folder)]
        fitting = [
            folder
            for folder in holding
            if all(has(pattern, folder) for pattern in required)
            and not any(has(pattern, folder) for pattern in refused)
        ]
        if not fitting:
            raise FileNotFoundError(self._missing_folder(child_pattern, example, required, refused, holding))

        def rank(folder: Path) -> tuple[int, int]:
            is_preferred = [has(pattern, folder) for pattern in preferred]
            place = is_preferred.index(True) if any(is_preferred) else len(preferred)
            return place, len(folder.parts)

        best = min(map(rank, fitting))
        chosen = [folder for folder in fitting if rank(folder) == best]
        if len(chosen) > 1:
            raise ValueError(
                f"several folders in {self.root} hold folders such as {example}: {self._names(chosen)}; name the one"
                " that is meant instead of its parent"
            )
        return chosen[0]

    def child(self, folder: Path, name: str) -> Path | None:
        """
        A folder directly below another, by a name that may come from a sheet: the one of that very name, else the only
        one whose name differs in case or in zeros before a number, as `s1` and `s01`.

        Raises:
            ValueError: the name is no single component of a path.
        """
        if not name or name in (".", "..") or re.search(r"[/\\\0]", name):
            raise ValueError(f"{name!r} is no name of a folder; refused, since it could lead out of {self.root}")
        listing = self._listing(folder)
        exact = listing.get(name)
        if exact is None:
            alike = [path for other, path in listing.items() if _same_name(other) == _same_name(name)]
            exact = alike[0] if len(alike) == 1 else None
        return exact if exact is not None and exact.is_dir() else None

    def frames(self, folder: Path) -> FrameFiles:
        """
        The frames that a folder directly holds.

        Raises:
            ValueError: it cannot be read.
        """
        try:
            names = image_names(folder)
        except OSError as error:
            raise ValueError(f"the folder cannot be read: {explain(error)}") from error
        numbered, unnumbered, _ = order_frames(names)
        by_number: dict[int, str] = {}
        spare: dict[int, list[str]] = {}
        for number, name in numbered:
            if number in by_number:
                spare.setdefault(number, []).append(name)
            else:
                by_number[number] = name
        return FrameFiles(folder.relative_to(self.root).as_posix(), by_number, spare, tuple(unnumbered))

    def folder_names(self, folder: Path) -> list[str]:
        """Names of the folders directly below, sorted, without hidden ones."""
        return [name for name, path in self._listing(folder).items() if not name.startswith(".") and path.is_dir()]

    def _listing(self, folder: Path) -> dict[str, Path]:
        """Names -> entries; a folder that holds images is listed without them, since it may hold thousands."""
        if folder not in self._children:
            try:
                with os.scandir(folder) as scan:
                    entries = sorted(
                        entry.name for entry in scan if is_folder(entry) or _suffix(entry.name) in SHEET_SUFFIXES
                    )
            except OSError as error:
                if folder == self.root:
                    raise
                explain(error)  # what may pass ends the search; what this user may not read holds nothing for him
                entries = []
            self._children[folder] = {name: folder / name for name in entries}
        return self._children[folder]

    def _names(self, folders: Sequence[Path]) -> str:
        return ", ".join(folder.relative_to(self.root).as_posix() for folder in folders[:_SHOWN])

    def _missing_folder(
        self,
        child_pattern: str,
        example: str,
        required: Sequence[str],
        refused: Sequence[str],
        holding: Sequence[Path],
    ) -> str:
        message = f"no folder in {self.root} holds folders such as {example}"
        if holding:
            conditions = [f"in one called {_readable_pattern(pattern)}" for pattern in required]
            conditions += [f"not in one called {_readable_pattern(pattern)}" for pattern in refused]
            return f"{message} and lies {' and '.join(conditions)}; such folders are in {self._names(holding)}"
        there = ", ".join(self.folder_names(self.root)[:_SHOWN]) or "no folders"
        message += f"; looked {FOLDER_DEPTH} levels deep; there are: {there}."
        for folder in (self.root, *self.root.parents[:3]):
            if _fits(child_pattern, folder.name):
                return f"{message} {folder.name} is one of them itself: name the folder above, {folder.parent}"
        return message


def _fits(pattern: str, name: str) -> bool:
    return re.fullmatch(pattern, name, re.IGNORECASE) is not None


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _same_name(name: str) -> str:
    """Equal for names that differ in case, in how an accent is written, or in zeros before a number."""
    return re.sub(r"\d+", lambda digits: str(int(digits[0])), unicodedata.normalize("NFC", name).casefold())


def _readable_pattern(pattern: str) -> str:
    """A regular expression as a name with stars, for a message."""
    text = re.sub(r"\(\?[:=!].*?\)|\[[^\]]*\][*+?]?|\\d[*+]?|\.[*+]", "*", pattern)
    return re.sub(r"\*+", "*", re.sub(r"\\(.)", r"\1", text)).replace("?", "")
