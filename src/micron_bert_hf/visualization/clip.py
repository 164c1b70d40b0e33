"""What has changed over a clip: faces under their maps with one scale for all, beside the curve of movement."""

import os
from collections.abc import Iterable, Sequence
from fractions import Fraction

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from ..data.video_frames import import_pyav
from .drawing import INK, MUTED, PREDICTED_COLOUR, new_figure, overlay
from .spotting import draw_timeline


COLORMAP = "viridis"
CHANGE_UNIT = "1 - diagonal / diagonal of the still pair"
# The scale of a clip ends at this percentile of its patches, so that a single one does not darken the rest, and never
# below `LEAST_SCALE`, since in a clip in which nothing moves noise would fill it. Ours.
SCALE_PERCENTILE, LEAST_SCALE = 99.9, 0.05
# Faces side by side in a figure; pixels of a video, of its faces, and of an inch (even numbers, for the codec). Ours.
SHOWN_FRAMES = 8
VIDEO_SIZE, VIDEO_FACE, VIDEO_DPI = (960, 720), 400, 100
# Ticks of a video's clock a second: any frame rate comes out to a tenth of a millisecond.
TIME_BASE = Fraction(1, 10_000)


def clip_scale(changes: np.ndarray) -> float:
    """
    Args:
        changes (`np.ndarray` of shape `(T, rows, columns)`): 0 is no change.

    Returns:
        Where the scale of colours of a clip ends.
    """
    return max(LEAST_SCALE, float(np.percentile(changes, SCALE_PERCENTILE)))


def shown_places(seconds: np.ndarray, apexes: Sequence[float]) -> list[int]:
    """
    Places in `seconds`: up to `SHOWN_FRAMES` of them, evenly from the first to the last, those nearest to the first
    apexes moved there. The very first stays, since the others are compared with it.
    """
    wanted = np.linspace(seconds[0], seconds[-1], min(SHOWN_FRAMES, len(seconds)))
    free = list(range(1, len(wanted)))
    for apex in apexes[: len(free)]:
        nearest = min(free, key=lambda place: abs(wanted[place] - apex))
        wanted[nearest] = apex
        free.remove(nearest)
    return sorted({int(np.abs(seconds - time).argmin()) for time in wanted})


def clip_figure(
    seconds: np.ndarray,
    movement: np.ndarray,
    intervals: Sequence[tuple[float, float, float, str]],
    shown: Sequence[tuple[float, np.ndarray, np.ndarray]],
    *,
    scale: float,
    least_change: float,
    unit: str = "px of a 224-px face",
    title: str = "Micro-expressions in time",
    caption: str = "",
) -> Figure:
    """
    The curve of movement, and below it faces of the clip without and with what has changed since its first frame.

    Args:
        seconds, movement, intervals, least_change, unit: as of [`timeline_figure`].
        shown: `(seconds, frame, change)`: faces `(S, S, 3)` uint8 and maps `(rows, columns)`, in the order of time.
        scale (`float`): of [`clip_scale`], of the whole clip.

    Returns:
        A `Figure` of 12 x 7.6 inches on an Agg canvas.
    """
    figure = new_figure(12.0, 7.6, title, caption)
    draw_timeline(figure.add_axes((0.06, 0.56, 0.91, 0.31)), seconds, movement, intervals, least_change, unit)
    grid = figure.add_gridspec(
        2, len(shown), left=0.06, right=0.91, top=0.45, bottom=0.06, wspace=0.06, hspace=0.06
    ).subplots(squeeze=False)
    for (time, frame, change), (upper, lower) in zip(shown, grid.T):
        upper.imshow(frame)
        upper.set_title(f"{time:.2f} s", fontsize=9.5, color=INK, pad=4)
        lower.imshow(overlay(frame, change, 0.0, scale, COLORMAP), interpolation="nearest")
        upper.set_anchor("S")
        lower.set_anchor("N")
        for axes in (upper, lower):
            axes.set_axis_off()
    _draw_colour_bar(figure, figure.add_axes((0.925, 0.06, 0.012, 0.39)), scale)
    return figure


def write_clip_video(
    path: str | os.PathLike,
    frames: Iterable[tuple[float, np.ndarray, np.ndarray]],
    seconds: np.ndarray,
    movement: np.ndarray,
    intervals: Sequence[tuple[float, float, float, str]],
    *,
    scale: float,
    least_change: float,
    unit: str = "px of a 224-px face",
    title: str = "Micro-expressions in time",
) -> None:
    """
    Write an MP4 (H.264), whole or not at all: the face, the face under what has changed since the first frame, and the
    curve of movement with a mark that runs along; where there is a micro-expression, its name.

    Args:
        frames: `(seconds, frame, change)` as of [`clip_figure`], in the order of time; read one at a time.
        seconds, movement, intervals, scale, least_change, unit: likewise.

    Raises:
        ModuleNotFoundError: PyAV is missing.
        ValueError: there are no frames.
    """
    av = import_pyav()
    background, timeline = _video_background(seconds, movement, intervals, scale, least_change, unit, title)
    partial = f"{os.fspath(path)}.partial"
    num_frames = 0
    try:
        with av.open(partial, "w", format="mp4") as container:
            stream = container.add_stream("libx264", options={"crf": "18"})
            stream.width, stream.height = VIDEO_SIZE
            stream.pix_fmt, stream.time_base = "yuv420p", TIME_BASE
            stream.codec_context.time_base = TIME_BASE
            for time, frame, change in frames:
                picture = _video_picture(background, timeline, frame, change, scale, time, intervals)
                encoded = av.VideoFrame.from_ndarray(picture, format="rgb24")
                encoded.pts, encoded.time_base = round(time / TIME_BASE), TIME_BASE
                container.mux(stream.encode(encoded))
                num_frames += 1
            container.mux(stream.encode(None))
        if num_frames == 0:
            raise ValueError("there are no frames to write")
        os.replace(partial, path)
    finally:
        if os.path.exists(partial):
            os.remove(partial)


def _video_background(
    seconds: np.ndarray,
    movement: np.ndarray,
    intervals: Sequence[tuple[float, float, float, str]],
    scale: float,
    least_change: float,
    unit: str,
    title: str,
) -> tuple[np.ndarray, tuple[float, float, int, int]]:
    """All that stays, drawn once; and of the timeline pixels a second, pixel of second 0, top and bottom."""
    width, height = VIDEO_SIZE
    figure = new_figure(width / VIDEO_DPI, height / VIDEO_DPI, title, "")
    figure.set_dpi(VIDEO_DPI)
    # what is said beside the faces stands where they end
    _draw_colour_bar(figure, figure.add_axes((870 / width, 1 - 470 / height, 14 / width, 400 / height)), scale)
    axes = figure.add_axes((0.09, 0.085, 0.875, 0.2))
    draw_timeline(axes, seconds, movement, intervals, least_change, unit)
    axes.set_ylabel(f"movement,\n{unit}", fontsize=8.5, color=MUTED)  # in one line it would reach the clock
    figure.canvas.draw()
    left, right = (axes.transData.transform((second, 0))[0] for second in (0.0, 1.0))
    box = axes.get_window_extent()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3]
    return np.ascontiguousarray(pixels), (right - left, left, round(height - box.y1), round(height - box.y0))


def _video_picture(
    background: np.ndarray,
    timeline: tuple[float, float, int, int],
    frame: np.ndarray,
    change: np.ndarray,
    scale: float,
    time: float,
    intervals: Sequence[tuple[float, float, float, str]],
) -> np.ndarray:
    face = Image.fromarray(frame).resize((VIDEO_FACE, VIDEO_FACE), Image.Resampling.BICUBIC)
    under_map = (255 * overlay(np.asarray(face), change, 0.0, scale, COLORMAP)).astype(np.uint8)
    picture = Image.fromarray(background)
    picture.paste(face, (30, 70))
    picture.paste(Image.fromarray(under_map), (450, 70))
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=18)
    draw.text((30, 480), f"{time:.2f} s", fill=INK, font=font)
    labels = [label or "movement" for onset, _, offset, label in intervals if onset <= time <= offset]
    if labels:
        draw.rectangle((30, 70, 30 + VIDEO_FACE, 70 + VIDEO_FACE), outline=PREDICTED_COLOUR, width=4)
        draw.text((130, 480), labels[0], fill=PREDICTED_COLOUR, font=font)
    scale_of_time, zero, top, bottom = timeline
    place = zero + time * scale_of_time
    draw.line((place, top, place, bottom), fill=INK, width=2)
    return np.asarray(picture)


def _draw_colour_bar(figure: Figure, axes: Axes, scale: float) -> None:
    bar = figure.colorbar(ScalarMappable(Normalize(0.0, scale), COLORMAP), cax=axes, extend="max")
    bar.set_label(CHANGE_UNIT, fontsize=9, color=MUTED)
    bar.ax.tick_params(labelsize=8.5, colors=MUTED)
    bar.outline.set_visible(False)
