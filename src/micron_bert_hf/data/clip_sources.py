"""Where clips come from: a tree of folders of frames and of video files, found and put in order. Nothing is decoded.

A folder that directly holds image files is one sequence, and so is a video file; which they are, their names say. The
listing depends on the names and sizes of the files alone, so that every machine that sees the tree lists the same. A
file that was replaced by one of the same size is not noticed.
"""

import errno
import hashlib
import heapq
import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePosixPath
from statistics import median_low, multimode


# Ours: the usual names of `IMAGE_FORMATS` of the image processor; what a file is, its content says.
IMAGE_SUFFIXES = frozenset(
    (".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".mpo", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff")
    + (".webp",)
)
# Ours: the usual names of what `video_frames.VIDEO_FORMATS` lists.
VIDEO_SUFFIXES = frozenset(
    (".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts")
    + (".webm", ".wmv")
)
# In steps from frame to frame: more is a gap. Half a step is for clocks that do not keep pace: ours.
LONGEST_STEP = 1.5
# What the system says of a file and will say again. All else may pass: a network that is down, memory that is short.
_OF_THE_FILE = frozenset(
    (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENAMETOOLONG)
)


@dataclass(frozen=True)
class Quarantined:
    """Something that is not in the set: its path below the source folder, and why."""

    path: str
    reason: str


@dataclass(frozen=True, order=True)
class Source:
    """
    One sequence of frames.

    Args:
        path (`str`): below the source folder, with slashes, as the file system spells it; `"."` is the folder itself.
        is_video (`bool`): a video file, else a folder of frames.
    """

    path: str
    is_video: bool

    @property
    def sample_id(self) -> str:
        return readable(self.path)

    def subject_id(self, level: int, root_name: str) -> str:
        """
        Whom the frames show, as the folders say.

        Args:
            level (`int`): which component of the path names the subject, from 1. A sequence that does not lie that
                deep is called by its own name, a video without its suffix.
            root_name (`str`): the name of the source folder, for frames that lie directly in it.
        """
        path = PurePosixPath(self.path)
        if level < len(path.parts):
            return readable(path.parts[level - 1])
        return readable((path.stem if self.is_video else path.name) or root_name)


@dataclass(frozen=True)
class Listing:
    """
    A source folder's content.

    Args:
        sources (`tuple[Source, ...]`): sorted by path.
        digest (`str`): of the sources and of the names and sizes of their files.
        num_ignored (`int`): files that are no image or video by their name.
        quarantined (`tuple[Quarantined, ...]`): what could not be listed.
    """

    sources: tuple[Source, ...]
    digest: str
    num_ignored: int
    quarantined: tuple[Quarantined, ...]


def readable(path: str) -> str:
    """A path as text that any file can hold: names need not be UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def has_suffix(name: str, suffixes: frozenset[str]) -> bool:
    return os.path.splitext(name)[1].lower() in suffixes


def explain(error: OSError) -> str:
    """
    What the system says of a file that will not do, without the path: that differs between machines.

    Raises:
        OSError: `error`, if it says nothing about the file: another try may succeed.
    """
    if error.errno not in _OF_THE_FILE:
        raise error
    return error.strerror


def list_sources(folder: str | os.PathLike) -> Listing:
    """
    Walk a folder. Links to folders are followed, after all that is really there, and each folder is read once, so that
    a loop ends and nothing comes twice under two names.
    """
    root = os.path.realpath(folder)
    seen, pending, links = {root}, [(".", root)], []
    found: list[tuple[Source, str]] = []
    quarantined, num_ignored = [], 0
    while pending or links:
        if pending:
            path, real = pending.pop()
        else:
            path, real = heapq.heappop(links)
            # a link to a folder that holds the root would bring in all that lies beside it
            if real in seen or root.startswith(os.path.join(real, "")):
                quarantined.append(Quarantined(readable(path), "a link to a folder that is read already"))
                continue
            seen.add(real)
        try:
            with os.scandir(real) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except OSError as error:
            quarantined.append(Quarantined(readable(path), f"the folder cannot be read: {explain(error)}"))
            continue
        names = []
        for entry in entries:
            below = entry.name if path == "." else f"{path}/{entry.name}"
            is_dir = is_folder(entry)
            if is_dir and entry.is_symlink():
                heapq.heappush(links, (below, os.path.realpath(entry.path)))
            elif is_dir and entry.path in seen:  # through a link to it that came before a link to its parent
                quarantined.append(Quarantined(readable(below), "a folder that is read already, by a link to it"))
            elif is_dir:
                seen.add(entry.path)
                pending.append((below, entry.path))
            elif entry.name.startswith("."):  # such as ._img1.jpg, which a Mac leaves beside img1.jpg
                num_ignored += 1
            elif has_suffix(entry.name, IMAGE_SUFFIXES):
                names.append(f"{entry.name}\0{_size(entry)}")
            elif has_suffix(entry.name, VIDEO_SUFFIXES):
                found.append((Source(below, is_video=True), _size(entry)))
            elif entry.is_symlink() and not os.path.exists(entry.path):
                quarantined.append(Quarantined(readable(below), "a link that leads nowhere"))
            else:
                num_ignored += 1
        if names:
            found.append((Source(path, is_video=False), _digest(names)))
    found.sort()
    digest = _digest([f"{source.path}\0{source.is_video}\0{content}" for source, content in found])
    return Listing(tuple(source for source, _ in found), digest, num_ignored, tuple(quarantined))


def image_names(folder: str | os.PathLike) -> list[str]:
    """Sorted names of the files that a folder directly holds and that are images by their name; no hidden ones."""
    names = []
    with os.scandir(folder) as scan:
        for entry in scan:
            if has_suffix(entry.name, IMAGE_SUFFIXES) and not entry.name.startswith(".") and not is_folder(entry):
                names.append(entry.name)
    return sorted(names)


def is_folder(entry: os.DirEntry) -> bool:
    """Whether it is one, or leads to one."""
    try:
        return entry.is_dir()
    except OSError as error:  # a link that leads to itself
        explain(error)
        return False


def _size(entry: os.DirEntry) -> str:
    try:
        return str(entry.stat().st_size)
    except OSError as error:
        return explain(error)


def order_frames(names: Sequence[str]) -> tuple[list[tuple[int, str]], list[str], int]:
    """
    Put frames in the order of time, by the last integer in their name without the suffix: databases pad it or not.

    Returns:
        `(number, name)` sorted; the names without a number; the [`commonest_step`], 1 if there is none.
    """
    numbered, unnumbered = [], []
    for name in names:
        numbers = re.findall("[0-9]+", os.path.splitext(name)[0])
        if numbers:
            numbered.append((int(numbers[-1]), name))
        else:
            unnumbered.append(name)
    numbered.sort()
    return numbered, sorted(unnumbered), commonest_step([number for number, _ in numbered]) or 1


def commonest_step(numbers: Collection[int]) -> int | None:
    """
    The most common difference of consecutive different numbers, the middle one of equally common ones: time stamps may
    have no difference twice. `None` if there is no difference.
    """
    steps = [after - before for before, after in pairwise(sorted(set(numbers)))]
    return median_low(multimode(steps)) if steps else None


def cut_runs(numbers: Sequence[int], step: float, longest: int) -> list[range]:
    """
    Cut a sequence where its numbering has a gap, and what is longer than `longest` into nearly equal pieces.

    Args:
        numbers: ascending.
        step (`float`): from frame to frame; a gap is more than `LONGEST_STEP` of them.
        longest (`int`): 3 or more, so that a run of two or more has no piece of one.

    Returns:
        Ranges of positions in `numbers`, in order; a frame without neighbours is a range of one.
    """
    gaps = [i for i in range(1, len(numbers)) if numbers[i] - numbers[i - 1] > LONGEST_STEP * step]
    edges = [0, *gaps, len(numbers)]
    pieces = []
    for start, stop in pairwise(edges):
        count = -(-(stop - start) // longest)
        cuts = [start + (stop - start) * number // count for number in range(count + 1)] if count else []
        pieces += [range(first, last) for first, last in pairwise(cuts)]
    return pieces


def _digest(lines: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(os.fsencode(line) + b"\n")
    return digest.hexdigest()
