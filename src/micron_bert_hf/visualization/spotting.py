"""How a face moved over time, and what was spotted in it."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .drawing import INK, MUTED, OTHER_COLOUR, PLAIN, PREDICTED_COLOUR, TRUE_COLOUR, new_figure


def timeline_figure(
    seconds: np.ndarray,
    movement: np.ndarray,
    intervals: Sequence[tuple[float, float, float, str]],
    *,
    least_change: float,
    unit: str = "px of a 224-px face",
    title: str = "Micro-expressions in time",
    caption: str = "",
) -> Figure:
    """
    The curve of movement with the spotted intervals.

    Args:
        seconds, movement (`np.ndarray` of shape `(T,)`): times, and movement in `unit`; NaN where not known.
        intervals: `(onset, apex, offset, label)`, times in seconds; the label may be empty.
        least_change (`float`): drawn as a line: below it nothing counts.

    Returns:
        A `Figure` of 12 x 4 inches on an Agg canvas.
    """
    figure = new_figure(12.0, 4.0, title, caption)
    draw_timeline(figure.add_axes((0.06, 0.2, 0.91, 0.58)), seconds, movement, intervals, least_change, unit)
    return figure


def draw_timeline(
    axes: Axes,
    seconds: np.ndarray,
    movement: np.ndarray,
    intervals: Sequence[tuple[float, float, float, str]],
    least_change: float,
    unit: str,
) -> None:
    """See [`timeline_figure`]."""
    axes.plot(seconds, movement, color=TRUE_COLOUR, linewidth=1.4)
    axes.axhline(least_change, color=OTHER_COLOUR, linewidth=1, linestyle="--")
    axes.text(seconds[0], least_change, " least movement that counts", fontsize=8.5, color=MUTED, va="bottom")
    top = max(2 * least_change, float(np.nanmax(movement, initial=0.0)) * 1.25) or 1.0
    for onset, apex, offset, label in intervals:
        axes.axvspan(onset, offset, color=PREDICTED_COLOUR, alpha=0.18, linewidth=0)
        axes.axvline(apex, color=PREDICTED_COLOUR, linewidth=1.2)
        axes.text(apex, top * 0.97, f" {label}", fontsize=10, color=INK, va="top", **PLAIN)
    axes.set(xlim=(seconds[0], max(seconds[-1], seconds[0] + 1e-3)), ylim=(0, top))
    axes.set_xlabel("seconds", fontsize=9.5, color=MUTED)
    axes.set_ylabel(f"movement, {unit}", fontsize=9.5, color=MUTED)
    axes.tick_params(labelsize=8.5, colors=MUTED)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(OTHER_COLOUR)
