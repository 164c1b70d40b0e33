"""Frames with their times, from a video file, a folder of frames, a list of frames or an array: one at a time."""

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..data.clip_frames import PreparationOptions, read_pixels
from ..data.clip_sources import VIDEO_SUFFIXES, image_names, order_frames
from ..data.video_frames import VideoReader
from ..image_processing_micron_bert import load_frame


# Of a frame: what `micron-bert prepare-clips` decodes.
MAX_PIXELS = PreparationOptions.max_pixels


@dataclass(frozen=True)
class VideoFrame:
    """
    Args:
        number (`int`): of the frame: its place in a video, a list or an array, the number in its name in a folder.
        seconds (`float`): from the first frame.
        pixels (`np.ndarray` of shape `(H, W, 3)`, uint8): RGB, upright.
    """

    number: int
    seconds: float
    pixels: np.ndarray


class Video:
    """
    Something that can be read frame by frame, any number of times.

    Args:
        source: path of a video file or of a folder of frames; a list of frames, each whatever the image processor
            takes; or an array `(T, H, W)`, `(T, H, W, 1)` or `(T, H, W, 3)`, uint8.
        fps (`float`, *optional*): frames a second of what does not say it itself.

    Attributes:
        problem (`str` or `None`): once the frames have been read, why they ended before their end.

    Raises:
        FileNotFoundError: nothing is at the path.
        ValueError: no frames, no rate, another shape or type.
    """

    def __init__(self, source: Any, fps: float | None = None):
        if fps is not None and not 0 < fps < math.inf:
            raise ValueError(f"`fps` must be above 0 and finite, got {fps}")
        self.problem: str | None = None
        self._fps = fps
        if isinstance(source, (str, os.PathLike)):
            self._path = Path(source)
            if not self._path.exists():
                raise FileNotFoundError(f"there is no file or folder {self._path}")
            self._frames: Sequence[Any] | None = None
        else:
            self._path = None
            self._frames = _checked_frames(source)
        if fps is None and (self._path is None or self._path.is_dir()):
            raise ValueError("frames without a video do not say how many there are a second: give `fps` (--fps)")

    def __iter__(self) -> Iterator[VideoFrame]:
        """
        Raises:
            ValueError: nothing can be read, or a frame has another size than the first.
        """
        size = None
        for frame in self._read():
            if size is None:
                size = frame.pixels.shape
            if frame.pixels.shape != size:
                where = "" if self._path is None else f"{self._path}: "
                raise ValueError(
                    f"{where}frame {frame.number} has {frame.pixels.shape[1]} x {frame.pixels.shape[0]} pixels, the"
                    f" first one {size[1]} x {size[0]}"
                )
            yield frame
        if size is None:
            raise ValueError(
                f"no frame can be read from {self._path or 'the frames'}: {self.problem or 'it has none'}"
            )

    def _read(self) -> Iterator[VideoFrame]:
        if self._frames is not None:
            for number, frame in enumerate(self._frames):
                yield VideoFrame(number, number / self._fps, _rgb(frame))
        elif self._path.is_dir():
            yield from self._read_folder()
        else:
            yield from self._read_file()

    def _read_folder(self) -> Iterator[VideoFrame]:
        numbered, unnumbered, step = order_frames(image_names(self._path))
        names = [name for _, name in numbered] or unnumbered
        first = numbered[0][0] if numbered else 0
        for place, name in enumerate(names):
            number = numbered[place][0] if numbered else place
            try:
                pixels = read_pixels(self._path / name, MAX_PIXELS)
            except ValueError as error:
                raise ValueError(f"{self._path / name}: {error}") from error
            yield VideoFrame(number, (number - first) / step / self._fps, pixels)

    def _read_file(self) -> Iterator[VideoFrame]:
        if self._path.suffix.lower() not in VIDEO_SUFFIXES:
            raise ValueError(f"{self._path} is no video by its name; expected {', '.join(sorted(VIDEO_SUFFIXES))}")
        try:
            reader = VideoReader(self._path, MAX_PIXELS)
        except ValueError as error:
            raise ValueError(f"{self._path}: {error}") from error
        with reader:
            first = None
            time_base = float(reader.stream.time_base)
            for number, (time, image) in enumerate(reader.frames()):
                first = time if first is None else first
                seconds = number / self._fps if self._fps else (time - first) * time_base
                yield VideoFrame(number, seconds, np.asarray(image.convert("RGB")))
            self.problem = reader.problem


def _checked_frames(source: Any) -> Sequence[Any]:
    if isinstance(source, np.ndarray):
        if (
            source.dtype != np.uint8
            or source.ndim not in (3, 4)
            or (source.ndim == 4 and source.shape[3] not in (1, 3))
        ):
            raise ValueError(f"expected frames (T, H, W, 3) of uint8, got {source.shape} of {source.dtype}")
    elif not isinstance(source, (list, tuple)):
        raise ValueError(f"expected a path, a list of frames or an array (T, H, W, 3), got {type(source).__name__}")
    if len(source) == 0:
        raise ValueError("expected frames, got none")
    return source


def _rgb(frame: Any) -> np.ndarray:
    """Upright uint8 RGB `(H, W, 3)` of whatever the image processor takes."""
    if isinstance(frame, np.ndarray) and frame.dtype == np.uint8:
        grey = frame if frame.ndim == 3 else frame[..., None]
        return np.ascontiguousarray(np.broadcast_to(grey, (*grey.shape[:2], 3)))
    loaded = load_frame(frame, None)
    if isinstance(loaded, Image.Image):
        return np.asarray(loaded.convert("RGB"))
    return np.repeat(np.rint(255 * loaded).astype(np.uint8), 3 // loaded.shape[2], axis=2)
