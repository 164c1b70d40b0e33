"""What a visitor may send, how it is read, and when it is deleted."""

import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from ..data.clip_frames import read_pixels
from ..spotting.video import MAX_PIXELS, Video, VideoFrame


# About how long the answer to the largest of these takes: ours, and so are the next three.
ANSWER_SECONDS = 60
MAX_FILE_MEGABYTES = 100
MAX_VIDEO_SECONDS = 30
# Of all frames together: 30 s of 1920 x 1080 at 30 frames a second, or of 640 x 480 at 200.
MAX_VIDEO_PIXELS = 2_000_000_000
# After this time an upload is gone: ours.
KEPT_SECONDS = 15 * 60
# So that an upload is there when its turn comes: those who wait take two thirds of its time at the most, and the rest
# is for the answer before them, for their own, and for a visitor who does not click at once.
MAX_WAITING = KEPT_SECONDS * 2 // 3 // ANSWER_SECONDS
# Of one request, which sends one file: a megabyte more, for what is around it.
MAX_REQUEST_BYTES = (MAX_FILE_MEGABYTES + 1) * 2**20
# Of all uploads together: two files each of all who wait and of the one who is answered, and as much again. Ours.
MAX_UPLOADS_BYTES = 2 * 2 * (MAX_WAITING + 1) * MAX_FILE_MEGABYTES * 2**20


class VisitorVideo(Video):
    """
    A video file that is read as far as the page's limits.

    Raises:
        ValueError: here and when it is read, what [`Video`] refuses, and more than the limits.
    """

    def __init__(self, path: Path):
        super().__init__(path)

    def __iter__(self) -> Iterator[VideoFrame]:
        num_pixels = 0
        for frame in super().__iter__():
            if frame.seconds > MAX_VIDEO_SECONDS:
                raise ValueError(f"the video is longer than {MAX_VIDEO_SECONDS} seconds; cut it")
            num_pixels += frame.pixels.shape[0] * frame.pixels.shape[1]
            if num_pixels > MAX_VIDEO_PIXELS:
                raise ValueError(
                    f"the frames of the video have more than {MAX_VIDEO_PIXELS / 1e9:.0f} billion pixels together; cut"
                    " it, or make it smaller"
                )
            yield frame


def read_pair(onset: Path, apex: Path) -> tuple[np.ndarray, np.ndarray]:
    """
    Returns:
        Two pictures `(H, W, 3)` uint8, RGB, upright.

    Raises:
        ValueError: one cannot be read or is too large, or they differ in size.
    """
    pictures = []
    for name, path in (("onset", onset), ("apex", apex)):
        try:
            pictures.append(read_pixels(path, MAX_PIXELS))
        except ValueError as error:
            # PIL names the stream that it was given, which says nothing to anybody
            reason = str(error).partition(": cannot identify image file")[0]
            raise ValueError(f"the {name} cannot be used: {reason}") from error
    sizes = [f"{picture.shape[1]} x {picture.shape[0]}" for picture in pictures]
    if sizes[0] != sizes[1]:
        raise ValueError(f"the onset has {sizes[0]} pixels, the apex {sizes[1]}: take two frames of one video")
    return pictures[0], pictures[1]


def delete_old(folder: Path, kept_seconds: float, most_bytes: int) -> None:
    """
    Delete what has been in `folder` for longer, whole or half sent, answered or not; and of what is left, the oldest
    beyond `most_bytes` together.
    """
    latest, num_bytes = time.time() - kept_seconds, 0
    for modified, size, path in sorted(_files(folder), reverse=True):
        num_bytes += size
        if modified < latest or num_bytes > most_bytes:
            with suppress(OSError):  # gone already
                path.unlink()
    for path in sorted(folder.rglob("*"), reverse=True):  # what is in a folder before the folder
        if path.is_dir():
            with suppress(OSError):  # not empty, or gone already
                path.rmdir()


def _files(folder: Path) -> Iterator[tuple[float, int, Path]]:
    """When each was written last, its bytes, and where it is."""
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # it has just got another name
            status = path.lstat()
            if not stat.S_ISDIR(status.st_mode):
                yield status.st_mtime, status.st_size, path
