"""The frames of a video file, by PyAV: the one file that needs it.

Input is not trusted: formats are a short list without those that name other files (playlists), the number of pixels is
bounded before a frame is decoded, and at the first sign of damage reading ends with what was good until then.
"""

import math
import os
from collections.abc import Iterator
from fractions import Fraction
from types import ModuleType

from PIL import Image

from .clip_sources import commonest_step, explain


# Ours: what cameras and databases write, by FFmpeg's names. The list matters: `concat` and `hls` open other files.
VIDEO_FORMATS = ("mov", "matroska", "avi", "mpeg", "mpegvideo", "mpegts", "asf", "flv", "ogg")
# How a frame is turned upright, by the counterclockwise degrees that PyAV reads from the display matrix.
_TURNS = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_270}
# Ours: over two hours at 240 frames a second; a small file can hold any number of equal frames.
MAX_VIDEO_FRAMES = 2_000_000
# A container that says how long a video is, but not how many frames it has, is believed to this many frames: ours.
_MISSING_FRAMES = 2


def import_pyav() -> ModuleType:
    """
    Raises:
        ModuleNotFoundError: PyAV is not there; the message says how to get it.
    """
    try:
        import av
    except ImportError as error:
        raise ModuleNotFoundError(
            f"reading videos needs PyAV, pip install '.[video]' in a checkout ({error})"
        ) from error
    return av


class VideoReader:
    """
    Decodes one video on one thread, frame by frame.

    Args:
        max_pixels (`int`): of a frame; a larger video is refused.

    Attributes:
        num_frames (`int`): decoded so far.
        problem (`str` or `None`): once [`frames`] has ended, why it ended before the end of the video.

    Raises:
        ValueError: no video that can be read, or too large; the message is the reason, without the path.
        OSError, MemoryError: here and in [`frames`], what is not the file's fault.
    """

    def __init__(self, path: str | os.PathLike, max_pixels: int):
        self.av = import_pyav()
        self.max_pixels = max_pixels
        self.container = None
        self.problem: str | None = None
        self.num_frames = 0
        self.times: list[int] = []  # of the frames, in units of the stream's time base
        self.has_times = True
        try:
            if os.stat(path).st_size == 0:
                raise ValueError("empty (0 bytes)")
            # our own reading, since FFmpeg takes a failed one for the end of the file
            self.file = open(path, "rb")  # noqa: SIM115 - see `close`
        except OSError as error:
            raise ValueError(f"not a video that can be read: {explain(error)}") from error
        try:
            # metadata in another encoding than UTF-8 is none of our business
            self.container = self.av.open(
                self.file,
                metadata_errors="ignore",
                # not `options`, which go to the streams too: with it PyAV before 17.1 crashes on MPEG program streams
                container_options={"format_whitelist": ",".join(VIDEO_FORMATS), "protocol_whitelist": "file"},
            )
            self.stream = self._find_stream()
        except self.av.FFmpegError as error:
            self.close()
            if isinstance(error, MemoryError):
                raise
            raise ValueError(f"not a video that can be read: {error.strerror}") from error
        except BaseException:
            self.close()
            raise

    def _find_stream(self):
        pictures = self.av.stream.Disposition.attached_pic  # the cover of a sound file
        streams = [stream for stream in self.container.streams.video if not stream.disposition & pictures]
        if not streams:
            raise ValueError("it has no video stream")
        context = streams[0].codec_context
        if context is None:
            raise ValueError("its video cannot be decoded: the codec is not known")
        self._check_size(context.width, context.height)
        context.thread_count = 1  # processes are as many as the caller wants cores to be busy
        context.options = {"max_pixels": str(self.max_pixels)}
        return streams[0]

    def _check_size(self, width: int, height: int) -> None:
        if width * height > self.max_pixels:
            raise ValueError(f"it has {width} x {height} pixels, more than the limit of {self.max_pixels}")

    def frames(self) -> Iterator[tuple[int, Image.Image]]:
        """
        Upright RGB frames in the order of time, with numbers that are their times: some containers go on after lost
        data as if nothing was. See [`timing`].

        After damage that is noticed the decoder goes on with invented pixels, so that the first broken packet or frame
        is the end.
        """
        try:
            for packet in self.container.demux(self.stream):
                if packet.is_corrupt:
                    raise ValueError("a packet is cut off")
                for frame in packet.decode():
                    if frame.is_corrupt:
                        raise ValueError("a frame is damaged")
                    self._check_size(frame.width, frame.height)
                    if self.num_frames == MAX_VIDEO_FRAMES:
                        raise ValueError(f"it has more than the limit of {MAX_VIDEO_FRAMES}")
                    image = frame.to_image()
                    turn = _TURNS.get(frame.rotation % 360)
                    self.num_frames += 1
                    self.has_times &= frame.pts is not None
                    self.times.append(self._next_time() if frame.pts is None else frame.pts)
                    yield self.times[-1], image if turn is None else image.transpose(turn)
            self.problem = self._missing_tail()
        except MemoryError:
            raise
        except (ValueError, self.av.FFmpegError) as error:
            reason = error.strerror if isinstance(error, self.av.FFmpegError) else error
            self.problem = f"decoding ends after {self.num_frames} frames: {reason}"

    def timing(self) -> tuple[float | None, float]:
        """
        Once [`frames`] has ended: frames a second, and the step from frame to frame in the unit of their numbers. By
        the rate that the file says, else by the times of its frames; without either `None`, and a step that makes
        nothing a gap.
        """
        seconds = self._seconds_a_frame()
        return (None, math.inf) if seconds is None else (float(1 / seconds), float(seconds / self.stream.time_base))

    def _seconds_a_frame(self) -> Fraction | None:
        if self.stream.average_rate:
            return 1 / self.stream.average_rate
        step = commonest_step(self.times) if self.has_times else None
        return None if step is None else step * self.stream.time_base

    def _next_time(self) -> int:
        """Of a frame that does not say: the one before and a step, so that it makes no gap."""
        before = self.times[-1] if self.times else 0
        rate = self.stream.average_rate
        return before + (round(1 / (rate * self.stream.time_base)) if rate else 0)

    def _missing_tail(self) -> str | None:
        """A file that was cut between two packets has no damage to show, but fewer frames than it says."""
        if self.stream.frames > self.num_frames:
            return f"it says {self.stream.frames} frames, {self.num_frames} are there"
        hours, _, rest = self.stream.metadata.get("DURATION", "").partition(":")  # of Matroska: 00:00:01.640000000
        minutes, _, seconds = rest.partition(":")
        try:
            announced = 3600 * int(hours) + 60 * int(minutes) + float(seconds)
        except ValueError:
            return None
        step = self._seconds_a_frame()
        if step is None or not self.times or not self.has_times:
            return None
        end = self.times[-1] * self.stream.time_base
        if announced - end > (1 + _MISSING_FRAMES) * step:
            return f"it says {announced:.2f} seconds, the last frame is at {float(end):.2f}"
        return None

    def close(self) -> None:
        if self.container is not None:
            self.container.close()
        self.file.close()

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
