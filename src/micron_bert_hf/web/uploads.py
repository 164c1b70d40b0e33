"""What a visitor may send, how it is read, and when it is deleted."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..data.clip_frames import read_pixels
from ..spotting.video import MAX_PIXELS, Video, VideoFrame


# Of any file. This and the next two are ours, so that nobody waits more than about a minute for somebody else.
MAX_FILE_MEGABYTES = 100
MAX_VIDEO_SECONDS = 30
# Of all frames together: 30 s of 1920 x 1080 at 30 frames a second, or of 640 x 480 at 200.
MAX_VIDEO_PIXELS = 2_000_000_000
# After this time an upload is deleted: ours, longer than the longest queue.
KEPT_SECONDS = 15 * 60


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


def delete_old(folder: Path, kept_seconds: float) -> None:
    """Delete what has been in `folder` for longer, whole or half sent, answered or not."""
    latest = time.time() - kept_seconds
    for path in sorted(folder.rglob("*"), reverse=True):  # what is in a folder before the folder
        try:
            if path.is_dir():
                path.rmdir()
            elif path.stat().st_mtime < latest:
                path.unlink()
        except OSError:  # not empty, or gone already
            continue
