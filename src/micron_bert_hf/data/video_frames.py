"""The frames of a video file, by PyAV: the one file that needs it.

Input is not trusted: formats are a short list without those that name other files (playlists), the number of pixels is
bounded before a frame is decoded, and at the first sign of damage reading ends with what was good until then.
"""

import os
from collections.abc import Iterator
from types import ModuleType

from PIL import Image


# Ours: what cameras and databases write, by FFmpeg's names. The list matters: `concat` and `hls` open other files.
VIDEO_FORMATS = ("mov", "matroska", "avi", "mpeg", "mpegvideo", "mpegts", "asf", "flv", "ogg")
# How a frame is turned upright, by the counterclockwise degrees that PyAV reads from the display matrix.
_TURNS = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_270}
# In frames: where more time lies between two, one is missing. Half a frame is for cameras that do not keep pace: ours.
_LONGEST_STEP = 1.5
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
            f"reading videos needs PyAV, pip install 'micron-bert-hf[video]' ({error})"
        ) from error
    return av


class VideoReader:
    """
    Decodes one video on one thread, frame by frame.

    Args:
        max_pixels (`int`): of a frame; a larger video is refused.
        fps (`float` or `None`): frames a second, if the file does not say.

    Attributes:
        fps (`float` or `None`): its average rate, frames a second; `None` if it is not known.
        num_frames (`int`): decoded so far.
        problem (`str` or `None`): once [`frames`] has ended, why it ended before the end of the video.

    Raises:
        ValueError: no video that can be read, or too large; the message is the reason, without the path.
    """

    def __init__(self, path: str | os.PathLike, max_pixels: int, fps: float | None = None):
        self.av = import_pyav()
        self.max_pixels = max_pixels
        self.problem: str | None = None
        self.num_frames = 0
        self.end_seconds: float | None = None
        try:
            if os.stat(path).st_size == 0:
                raise ValueError("empty (0 bytes)")
            # metadata in another encoding than UTF-8 is none of our business
            self.container = self.av.open(
                os.fspath(path),
                metadata_errors="ignore",
                # not `options`, which go to the streams too: with it PyAV before 17.1 crashes on MPEG program streams
                container_options={"format_whitelist": ",".join(VIDEO_FORMATS), "protocol_whitelist": "file"},
            )
        except (OSError, self.av.FFmpegError) as error:
            raise ValueError(f"not a video that can be read: {error.strerror}") from error
        try:
            self.stream = self._find_stream()
        except BaseException:
            self.container.close()
            raise
        rate = self.stream.average_rate
        self.fps = float(rate) if rate else fps

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
        Upright RGB frames in the order of time, with ascending numbers, which skip one where time shows a gap: some
        containers go on after lost data as if nothing was.

        After damage that is noticed the decoder goes on with invented pixels, so that the first broken packet or frame
        is the end.
        """
        number = -1
        try:
            for packet in self.container.demux(self.stream):
                if packet.is_corrupt:
                    raise ValueError("a packet is cut off")
                for frame in packet.decode():
                    if frame.is_corrupt:
                        raise ValueError("a frame is damaged")
                    self._check_size(frame.width, frame.height)
                    image = frame.to_image()
                    turn = _TURNS.get(frame.rotation % 360)
                    self.num_frames += 1
                    number += 2 if self._is_after_gap(frame.time) else 1
                    self.end_seconds = frame.time
                    yield number, image if turn is None else image.transpose(turn)
            self.problem = self._missing_tail()
        except (OSError, ValueError, self.av.FFmpegError) as error:
            reason = error.strerror if isinstance(error, (OSError, self.av.FFmpegError)) else error
            self.problem = f"decoding ends after {self.num_frames} frames: {reason}"

    def _is_after_gap(self, seconds: float | None) -> bool:
        if seconds is None or self.end_seconds is None or self.fps is None:
            return False
        return (seconds - self.end_seconds) * self.fps > _LONGEST_STEP

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
        if self.end_seconds is None or self.fps is None:
            return None
        if announced - self.end_seconds > (1 + _MISSING_FRAMES) / self.fps:
            return f"it says {announced:.2f} seconds, the last frame is at {self.end_seconds:.2f}"
        return None

    def close(self) -> None:
        self.container.close()

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
