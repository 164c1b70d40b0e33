"""The picture of one prediction: onset, apex, their difference, the two maps over the face, and the probabilities."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from .drawing import (
    INK,
    MUTED,
    OTHER_COLOUR,
    PLAIN,
    PREDICTED_COLOUR,
    TRUE_COLOUR,
    draw_picture,
    draw_title,
    new_figure,
    overlay,
)


# Difference pictures end here, so that single noisy pixels do not darken the rest (ours).
DIFFERENCE_PERCENTILE = 99.5


def relative_change(diagonal_attention: np.ndarray, still_diagonal_attention: np.ndarray | None = None) -> np.ndarray:
    """
    How much less a patch attends to itself than it would had nothing moved.

    Args:
        diagonal_attention (`np.ndarray` of shape `(rows, columns)`): of (onset, apex), positive
        still_diagonal_attention (`np.ndarray` of shape `(rows, columns)`, *optional*): of (onset, onset). Without it
            the largest diagonal stands in for it, as in the original visualisation; a patch's texture then shows too.

    Returns:
        `1 - diagonal / still`, `(rows, columns)`, at most 1; 0 = unchanged, below 0 = more than in the still pair.
    """
    if still_diagonal_attention is None:
        return 1.0 - diagonal_attention / diagonal_attention.max()
    # a diagonal underflows to 0 where another patch is far more alike
    return 1.0 - diagonal_attention / np.maximum(still_diagonal_attention, np.finfo(np.float32).tiny)


def prediction_figure(
    onset: np.ndarray,
    apex: np.ndarray,
    diagonal_attention: np.ndarray,
    patch_of_interest: np.ndarray,
    scores: Mapping[str, float],
    *,
    still_diagonal_attention: np.ndarray | None = None,
    label: str | None = None,
    title: str = "Micro-expression",
    caption: str = "",
) -> Figure:
    """
    Draw one prediction: pictures above, maps and probabilities below.

    Args:
        onset, apex (`np.ndarray` of shape `(height, width, 3)`, uint8): RGB
        diagonal_attention (`np.ndarray` of shape `(rows, columns)`): positive; drawn as [`relative_change`]
        patch_of_interest (`np.ndarray` of shape `(rows, columns)`): any range
        still_diagonal_attention (*optional*): see [`relative_change`]
        scores: class name to probability in [0, 1]
        label (*optional*): the true class, marked in the bars
        caption: small print below

    Returns:
        A `Figure` of 12 x 7.6 inches on an Agg canvas.

    Raises:
        ValueError: frames of other shapes or types, a `label` that has no score.
    """
    for name, frame in (("onset", onset), ("apex", apex)):
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise ValueError(f"`{name}` must be (height, width, 3) of uint8, got {frame.shape} of {frame.dtype}.")
    if onset.shape != apex.shape:
        raise ValueError(f"Both frames must have one size, got {onset.shape} and {apex.shape}.")
    if label is not None and label not in scores:
        raise ValueError(f"`label` must be one of {list(scores)}, got {label!r}.")

    figure = new_figure(12.0, 7.6, title, caption)
    grid = figure.add_gridspec(2, 3, left=0.025, right=0.965, top=0.845, bottom=0.075, wspace=0.12, hspace=0.27)
    upper, lower = grid.subplots()

    draw_picture(upper[0], onset, "Onset", "the face before it moves", "bicubic")
    draw_picture(upper[1], apex, "Apex", "the movement at its height", "bicubic")
    difference = np.abs(apex.astype(float) - onset.astype(float)).mean(axis=2)
    end = max(1.0, float(np.percentile(difference, DIFFERENCE_PERCENTILE)))
    draw_picture(upper[2], np.clip(difference, 0.0, end), "Difference", "|apex - onset|, mean of the colours")
    _add_colour_bar(figure, upper[2], "cividis", 0.0, end, "grey levels of 255")

    change = relative_change(diagonal_attention, still_diagonal_attention)
    unit = "1 - diagonal / max" if still_diagonal_attention is None else "1 - diagonal / diagonal of the still pair"
    # below 0 is no change either: the scale begins there, and the face shows through
    _draw_map(figure, lower[0], apex, change, "Diagonal attention", "bright: the patch has changed", unit, lowest=0.0)
    _draw_map(figure, lower[1], apex, patch_of_interest, "Patch of interest", "how much a patch counts", "score")
    _draw_scores(lower[2], scores, label)
    lower[2].set_box_aspect(onset.shape[0] / onset.shape[1])
    lower[2].set_anchor("W")
    return figure


def _add_colour_bar(
    figure: Figure, axes: Axes, colormap: str, low: float, high: float, unit: str, extend: str = "neither"
) -> None:
    # inset: moves with the picture, whatever its aspect
    beside = axes.inset_axes([1.025, 0.0, 0.04, 1.0])
    bar = figure.colorbar(ScalarMappable(Normalize(low, high), colormap), cax=beside, extend=extend)
    bar.set_label(unit, fontsize=9, color=MUTED)
    bar.ax.tick_params(labelsize=8.5, colors=MUTED)
    bar.outline.set_visible(False)


def _draw_map(
    figure: Figure,
    axes: Axes,
    frame: np.ndarray,
    values: np.ndarray,
    title: str,
    subtitle: str,
    unit: str,
    lowest: float = -np.inf,
) -> None:
    low, high = max(lowest, float(values.min())), float(values.max())
    if high <= low:  # a constant map still needs a scale
        high = low + 1e-6
    draw_picture(axes, overlay(frame, values, low, high, "viridis"), title, subtitle)
    # the pointed end says that the scale is cut
    _add_colour_bar(figure, axes, "viridis", low, high, unit, "min" if values.min() < low else "neither")


def _draw_scores(axes: Axes, scores: Mapping[str, float], label: str | None) -> None:
    names = list(scores)
    values = [scores[name] for name in names]
    predicted = names[int(np.argmax(values))]
    bars = axes.barh(
        range(len(names)),
        values,
        height=0.42,
        color=[PREDICTED_COLOUR if name == predicted else OTHER_COLOUR for name in names],
    )
    axes.bar_label(bars, [f"{value:.0%}" for value in values], padding=5, fontsize=10.5, color=INK)
    # names above the bars: beside them they would push the column out of line with the pictures
    written = {
        name: axes.text(0.0, position - 0.3, name, fontsize=11, color=INK, **PLAIN)
        for position, name in enumerate(names)
    }
    axes.set_ylim(len(names) - 0.5, -0.7)
    axes.set_yticks([])
    axes.set_xlim(0.0, 1.12)
    axes.set_xticks([0.0, 0.25, 0.5, 0.75, 1.0])
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.tick_params(axis="x", labelsize=8.5, colors=MUTED)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(OTHER_COLOUR)
    subtitle = f"predicted: {predicted}"
    if label is not None:
        subtitle += f", true: {label} (blue)"
        bars[names.index(label)].set(edgecolor=TRUE_COLOUR, linewidth=2.5)
        written[label].set(color=TRUE_COLOUR, fontweight="bold")
    draw_title(axes, "Probabilities", subtitle)
