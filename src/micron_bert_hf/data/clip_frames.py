"""The frames of one source, folder or video: decoded, reduced, encoded.

What its decoder or its missing end mark shows to be damaged is refused with a reason, and the others go on: of a
million files some are always broken. What lasts no longer than a moment, a network that is down or memory that is
short, is no reason and ends the run. WebP, PPM, BMP and uncompressed TIFF have no mark at their end: where their tail
was overwritten, with zeros say, it passes for pixels.

A file that already is what the set would hold keeps its bytes, so that JPEG loses nothing a second time, and with them
its metadata: EXIF with the place and the camera, comments.
"""

import math
import os
import re
import stat
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from transformers.image_utils import SizeDict

from ..image_processing_micron_bert import (
    Frame,
    frame_size,
    from_pil,
    open_encoded,
    resize_frame,
    resized_size,
)
from .clip_sources import Source, explain, image_names, order_frames, readable


# Ours: 64 million pixels uncompressed with three channels are less.
MAX_FILE_BYTES = 256 * 2**20
# Ours: of the encoded frames of one clip, which are in memory together; Arrow's limit is twice that. A frame may take
# its share of it, 16 MiB at 64 frames, where a face of 256 pixels takes 30 KiB.
MAX_CLIP_BYTES = 2**30
# Ours: no block of the picture shows at this quality, and chroma keeps its resolution, since skin colour is signal.
JPEG_OPTIONS = {"quality": 95, "subsampling": "4:4:4"}
# zlib's fastest level, as `write_clips`: higher ones take a multiple of the time for less than a tenth of the bytes.
# Without a search for repetitions, of which noise has none, a frame takes a seventh less time and bytes (256 pixels,
# synthetic: 4.8 ms and 109 kB against 6.1 ms and 125 kB).
PNG_OPTIONS = {"compress_level": 1, "compress_type": zlib.Z_HUFFMAN_ONLY}
ENCODINGS = ("jpeg", "png")


@dataclass(frozen=True)
class PreparationOptions:
    """
    What decides which clips a source gives.

    Args:
        dataset (`str` or `None`): the column `dataset`; `None` is the name of the source folder.
        fps (`float` or `None`): frames a second, of folders of frames (of their files as they are, whatever the step
            of their numbers) and of videos that neither say nor have times.
        image_size (`int`): the shorter side, in pixels, to which larger frames are reduced; none is enlarged.
        clip_frames (`int`): longest clip, 3 or more.
        encoding (`"jpeg"` or `"png"`): of frames that cannot keep their bytes.
        subject_level (`int`): which component of a sequence's path is its `subject_id`, from 1.
        max_pixels (`int`): a larger image or video is not decoded.
    """

    dataset: str | None = None
    fps: float | None = None
    image_size: int = 256
    clip_frames: int = 64
    encoding: str = "jpeg"
    subject_level: int = 1
    max_pixels: int = 64_000_000

    def __post_init__(self):
        if self.dataset == "":
            raise ValueError("`dataset` must be a name, got an empty one.")
        if self.dataset is not None and readable(self.dataset) != self.dataset:
            raise ValueError(f"`dataset` must be UTF-8, got {readable(self.dataset)}.")
        if self.fps is not None and not (math.isfinite(self.fps) and self.fps > 0):
            raise ValueError(f"`fps` must be more than 0 frames a second, got {self.fps}.")
        for name, least in (("image_size", 1), ("clip_frames", 3), ("subject_level", 1), ("max_pixels", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"`{name}` must be {least} or more, got {getattr(self, name)}.")
        if self.encoding not in ENCODINGS:
            raise ValueError(f"`encoding` must be one of {', '.join(ENCODINGS)}, got {self.encoding!r}.")
        limit = Image.MAX_IMAGE_PIXELS
        if limit is not None and self.max_pixels > limit:
            raise ValueError(f"`max_pixels` must be PIL's limit of {limit} or less, got {self.max_pixels}.")

    @property
    def max_frame_bytes(self) -> int:
        return MAX_CLIP_BYTES // self.clip_frames


@dataclass(frozen=True)
class ClipFrame:
    """
    One good frame.

    Args:
        number (`int`): its place in time, in units of which the step of `FrameSequence.timing` makes one frame.
        path (`str`): the file it came from.
        label (`str`): `""`, or which of the file's frames it is, to stand before a reason.
        size (`tuple[int, int]`): width and height of the source, upright, in pixels.
        content (`bytes`): encoded.
    """

    number: int
    path: str
    label: str
    size: tuple[int, int]
    content: bytes


@dataclass(frozen=True)
class FrameSequence:
    """
    A source that was opened.

    Args:
        frames: to be iterated once.
        timing: gives, after that, frames a second (`None` if they are not known) and the step of the numbers.
    """

    frames: Iterator[ClipFrame]
    timing: Callable[[], tuple[float | None, float]]


def open_source(
    root: Path, source: Source, options: PreparationOptions, refuse: Callable[[str, str], None]
) -> FrameSequence | None:
    """
    Args:
        root: the source folder.
        refuse: called with a path and a reason for everything that will not be among the frames.

    Returns:
        The frames in the order of time, or `None` if there are none to be had.
    """
    return (_open_video if source.is_video else _open_folder)(root, source, options, refuse)


def _open_folder(
    root: Path, source: Source, options: PreparationOptions, refuse: Callable[[str, str], None]
) -> FrameSequence | None:
    try:
        names = image_names(root / source.path)
    except OSError as error:
        refuse(readable(source.path), f"the folder cannot be read: {explain(error)}")
        return None
    numbered, unnumbered, step = order_frames(names)
    prefix = "" if source.path == "." else f"{source.path}/"
    for name in unnumbered:
        refuse(readable(prefix + name), "no number in its name to tell its place in time")

    def frames() -> Iterator[ClipFrame]:
        taken: dict[int, str] = {}
        for number, name in numbered:
            path = readable(prefix + name)
            if number in taken:
                refuse(path, f"its number {number} is that of {readable(taken[number])} too")
                continue
            try:
                content, size = read_image(root / source.path / name, options)
            except ValueError as error:
                refuse(path, str(error))
                continue
            taken[number] = name
            yield ClipFrame(number, path, "", size, content)

    return FrameSequence(frames(), lambda: (float(options.fps), step))


def _open_video(
    root: Path, source: Source, options: PreparationOptions, refuse: Callable[[str, str], None]
) -> FrameSequence | None:
    from .video_frames import VideoReader

    path = readable(source.path)
    try:
        reader = VideoReader(root / source.path, options.max_pixels)
    except ValueError as error:
        refuse(path, str(error))
        return None

    def frames() -> Iterator[ClipFrame]:
        with reader:
            for number, image in reader.frames():
                label = f"frame {reader.num_frames - 1}: "
                try:
                    content = encode_frame(image, options)
                except ValueError as error:
                    refuse(path, f"{label}{error}")
                    continue
                yield ClipFrame(number, path, label, image.size, content)
        if reader.problem:
            refuse(path, reader.problem)
        elif reader.num_frames == 0:
            refuse(path, "it has no frame")

    def timing() -> tuple[float | None, float]:
        fps, step = reader.timing()
        return options.fps if fps is None else fps, step

    return FrameSequence(frames(), timing)


def read_image(path: Path, options: PreparationOptions) -> tuple[bytes, tuple[int, int]]:
    """
    Decode a file that should be a still image.

    Returns:
        The bytes for the set, and the upright width and height of the source.

    Raises:
        ValueError: it is not, or is seen to be damaged; the message is the reason, without the path.
        OSError, MemoryError: not the file's fault.
    """
    image, content = _decode_file(path, options.max_pixels)
    size = image.size
    if (
        _is_plain(image, content)
        and min(size) <= options.image_size
        # a file larger than its pixels carries something else
        and len(content) <= min(options.max_frame_bytes, 2 * size[0] * size[1] * len(image.getbands()) + 2**16)
    ):
        return content, size
    return encode_frame(image, options), size


def read_pixels(path: Path, max_pixels: int) -> np.ndarray:
    """
    As [`read_image`], to pixels: upright uint8 RGB `(H, W, 3)`; grey is replicated, 16 bits are rounded.
    """
    image, _ = _decode_file(path, max_pixels)
    try:
        return np.array(_to_eight_bits(from_pil(image)).convert("RGB"))
    except ValueError as error:
        raise ValueError(f"it {error}") from error


def _decode_file(path: Path, max_pixels: int) -> tuple[Image.Image, bytes]:
    """A still image, upright, and the bytes of its file; see [`read_image`]."""
    content = _read_file(path)
    try:
        # a stream, not the path: what PIL is given must be what is kept
        image = open_encoded(BytesIO(content), "it", max_pixels)
    except ValueError as error:  # the same on every machine: PIL calls a stream by its address
        raise ValueError(re.sub(" at 0x[0-9a-fA-F]+", "", str(error))) from error
    # a decoder does not miss the end mark: what was cut off in writing, or filled with zeros, passes for good
    if content.startswith(b"\xff\xd8") and not _is_closed_jpeg(content):
        raise ValueError("truncated: it lacks the mark that ends every JPEG file")
    if content.startswith(b"\x89PNG") and b"IEND" not in content:
        raise ValueError("truncated: it lacks the mark that ends every PNG file")
    return image, content


def _is_plain(image: Image.Image, content: bytes) -> bool:
    """Whether every reader sees the same in it: an upright JPEG or PNG, RGB or grey, 8 bits, nothing transparent."""
    if image.mode not in ("RGB", "L") or image.has_transparency_data:
        return False
    # An image that PIL had to turn has no format any more. PIL reads 16 bits of colour as 8, and few bits of grey as
    # 8; the 25th byte says what there is
    return image.format == "JPEG" or (image.format == "PNG" and content[24] == 8)


def _is_closed_jpeg(content: bytes) -> bool:
    """Whether the end mark follows the pixels. It may stand earlier, in a thumbnail, and anything may come after."""
    position = 2
    while 0 <= (position := content.find(b"\xff", position)) < len(content) - 4:
        marker = content[position + 1]
        if marker == 0xDA:  # the pixels, within which 0xFF is always escaped
            return content.find(b"\xff\xd9", position) >= 0
        if marker in (0x00, 0xFF):  # padding between segments
            position += 1
        else:
            position += 2 + int.from_bytes(content[position + 2 : position + 4], "big")
    return False


def _read_file(path: Path) -> bytes:
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("not a regular file")  # a pipe would wait for ever
        if status.st_size == 0:
            raise ValueError("empty (0 bytes)")
        if status.st_size > MAX_FILE_BYTES:
            raise ValueError(f"{status.st_size} bytes, more than the limit of {MAX_FILE_BYTES}")
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"it cannot be read: {explain(error)}") from error


def encode_frame(image: Image.Image, options: PreparationOptions) -> bytes:
    """
    A decoded image of any mode, reduced and encoded.

    Raises:
        ValueError: pixels out of range, or an encoded frame that is too large.
    """
    try:
        frame = from_pil(image)
    except ValueError as error:
        raise ValueError(f"it {error}") from error
    height, width = frame_size(frame)
    if min(height, width) > options.image_size:
        height, width = resized_size(height, width, SizeDict(shortest_edge=options.image_size))
        frame = resize_frame(frame, height, width, Image.Resampling.BILINEAR)
    picture = _to_eight_bits(frame)
    picture.info.clear()  # PIL would write comments and colour profiles of the source
    file = BytesIO()
    try:
        if options.encoding == "jpeg":
            picture.save(file, "JPEG", **JPEG_OPTIONS)
        else:
            picture.save(file, "PNG", **PNG_OPTIONS)
    except OSError as error:  # JPEG ends at 65,500 pixels a side
        raise ValueError(f"{width} x {height} pixels cannot be encoded as {options.encoding}: {error}") from error
    if file.tell() > options.max_frame_bytes:
        raise ValueError(f"{file.tell()} bytes when encoded, more than the limit of {options.max_frame_bytes}")
    return file.getvalue()


def _to_eight_bits(frame: Frame) -> Image.Image:
    if isinstance(frame, Image.Image):
        return frame
    pixels = np.rint(255 * frame).astype(np.uint8)  # (H, W, 1): PIL has no finer mode of colour
    return Image.fromarray(pixels[..., 0])
