"""Two figures of a pretraining run: what the model restores (pictures), and how the run went (curves)."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from .drawing import (
    INK,
    MARGIN,
    MUTED,
    OTHER_COLOUR,
    PREDICTED_COLOUR,
    TRUE_COLOUR,
    draw_picture,
    draw_title,
    new_figure,
    overlay,
)


MAX_SAMPLES = 4
# Okabe and Ito's sky blue: far from skin for the colour-blind too
SWAPPED_COLOUR = "#56B4E9"
# Below it the tint is lost on a dark face, above it the patch can no longer be judged (ours, by eye).
SWAPPED_TINT = 0.22

# A loss that falls by more than this is drawn on a log scale; less would leave it without a labelled tick (ours).
LOG_RATIO = 5.0
# From this many steps on a curve is faint, with its running mean over 1 / SMOOTHING_PARTS of the run on top (ours).
SMOOTHED_FROM = 100
SMOOTHING_PARTS = 50
# key of the history, name in the legend, colour, line style
LOSSES = (
    ("loss", "total", INK, "-"),
    ("reconstruction_loss", "reconstruction", TRUE_COLOUR, "--"),
    ("contextual_agreement_loss", "agreement", PREDICTED_COLOUR, ":"),
    ("displacement_loss", "displacement, in pixels", TRUE_COLOUR, "--"),
)
# key of the history, title, unit
CURVES = (
    ("learning_rate", "Learning rate", "as set for each step"),
    ("grad_norm", "Gradient norm", "L2, before clipping"),
    ("token_variance", "Token variance", "near 0: the tokens have collapsed"),
    ("teacher_entropy", "Teacher entropy", "nats; near 0: one output for all"),
    ("samples_per_second", "Throughput", "pairs a second"),
    ("data_wait_share", "Waiting for data", "share of the time of a step"),
)


def tint_swapped_patches(frame: np.ndarray, bool_swapped_pos: np.ndarray) -> np.ndarray:
    """
    A frame whose swapped patches are tinted.

    Args:
        frame (`np.ndarray` of shape `(height, width, 3)`, uint8): RGB
        bool_swapped_pos (`np.ndarray` of shape `(rows, columns)`, bool): True = came from frame t + delta

    Returns:
        `np.ndarray` of shape `(height, width, 3)`, float in [0, 1]; patches that are not swapped as they were.
    """
    height, width = frame.shape[:2]
    row = np.arange(height) * bool_swapped_pos.shape[0] // height
    column = np.arange(width) * bool_swapped_pos.shape[1] // width
    opacity = SWAPPED_TINT * bool_swapped_pos[row][:, column, None]
    return (1.0 - opacity) * frame / 255.0 + opacity * np.array(to_rgb(SWAPPED_COLOUR))


def reconstruction_figure(
    target: np.ndarray,
    reference: np.ndarray,
    swapped: np.ndarray,
    reconstruction: np.ndarray,
    diagonal_attention: np.ndarray,
    patch_of_interest: np.ndarray,
    bool_swapped_pos: np.ndarray,
    *,
    title: str = "Pretraining: what is restored",
    caption: str = "",
) -> Figure:
    """
    Draw up to four samples, one a row: frame t, frame t + delta, the swapped frame, its restoration, and the two maps
    over frame t + delta. The colours of a map mean the same in every row.

    Args:
        target, reference, swapped (`np.ndarray` of shape `(num_samples, height, width, 3)`, uint8): RGB; frame t,
            frame t + delta, and frame t with patches of frame t + delta
        reconstruction (`np.ndarray` of shape `(num_samples, height, width, 3)`, float): of frame t; clipped to [0, 1]
        diagonal_attention, patch_of_interest (`np.ndarray` of shape `(num_samples, rows, columns)`): any range
        bool_swapped_pos (`np.ndarray` of shape `(num_samples, rows * columns)`, bool): row-major; True = the patch
            came from frame t + delta: tinted and outlined
        caption: small print below

    Returns:
        A `Figure` 12 inches wide on an Agg canvas; its height follows from the samples.

    Raises:
        ValueError: no sample or too many, a shape or type that differs from the others'; both are named.
    """
    _check_samples(target, reference, swapped, reconstruction, diagonal_attention, patch_of_interest, bool_swapped_pos)
    num_samples, height, width = target.shape[:3]
    rows, columns = diagonal_attention.shape[1:]
    in_rows = bool_swapped_pos.reshape(num_samples, rows, columns)

    # inches: pictures as wide as six columns and the gaps between them leave room for, rows as high as the pictures
    figure_width, above, below, gap = 12.0, 1.18, 0.98, 0.12
    picture_width = (figure_width - 2 * MARGIN - 5 * gap) / 6
    picture_height = picture_width * height / width
    figure_height = above + num_samples * picture_height + (num_samples - 1) * gap + below
    # points; a twelfth of a patch, since lines of one width would hide a face that has many patches
    line_width = 72.0 * picture_width / columns / 12.0
    figure = new_figure(figure_width, figure_height, title, caption)
    grid = figure.add_gridspec(
        num_samples,
        6,
        left=MARGIN / figure_width,
        right=1.0 - MARGIN / figure_width,
        top=1.0 - above / figure_height,
        bottom=below / figure_height,
        wspace=gap / picture_width,
        hspace=gap / picture_height,
    )
    heads = (
        ("Frame t", "to be restored"),
        ("Frame t + delta", "a moment later"),
        ("Swapped", "outlined: from t + delta"),
        ("Reconstruction", "frame t, by the model"),
        ("Diagonal attention", "of a patch to itself"),
        ("Patch of interest", "how much a patch counts"),
    )
    scales = [_scale(diagonal_attention), _scale(patch_of_interest)]
    axes = grid.subplots(squeeze=False)
    for sample in range(num_samples):
        pictures = (
            target[sample],
            reference[sample],
            tint_swapped_patches(swapped[sample], in_rows[sample]),
            np.clip(reconstruction[sample], 0.0, 1.0),
            overlay(reference[sample], diagonal_attention[sample], *scales[0], "viridis"),
            overlay(reference[sample], patch_of_interest[sample], *scales[1], "viridis"),
        )
        for column, picture in enumerate(pictures):
            # frames are drawn smaller than they are: nearest pixels would make a grid of smooth skin; a map's cells
            # keep their edges
            head = heads[column] if sample == 0 else ("", "")
            draw_picture(axes[sample, column], picture, *head, "antialiased" if column < 4 else "nearest")
        edges = _outline(in_rows[sample], height, width)
        axes[sample, 2].add_collection(LineCollection(edges, colors=SWAPPED_COLOUR, linewidths=line_width))
    for place, scale, unit in zip(axes[-1, 4:], scales, ("softmax weight, of 1", "score, no unit")):
        _add_colour_bar_below(figure, place, *scale, unit, 0.11 / picture_height)
    return figure


def displacement_figure(
    target: np.ndarray,
    reference: np.ndarray,
    true: np.ndarray,
    found: np.ndarray,
    *,
    title: str = "Pretraining: what moved where",
    caption: str = "",
) -> Figure:
    """
    Draw up to four samples, one a row: the two frames, and the true and the found displacement of each patch as arrows
    over the first, lengthened alike in all rows.

    Args:
        target, reference (`np.ndarray` of shape `(num_samples, height, width, 3)`, uint8): RGB
        true, found (`np.ndarray` of shape `(num_samples, rows, columns, 2)`, float): (x, y) in pixels, from the first
            frame to the second
        caption: small print below

    Returns:
        A `Figure` 12 inches wide on an Agg canvas.

    Raises:
        ValueError: no sample or too many, or shapes that do not go together.
    """
    num_samples, height, width = target.shape[:3]
    if not 1 <= num_samples <= MAX_SAMPLES or reference.shape != target.shape:
        raise ValueError(f"Expected 1 to {MAX_SAMPLES} pairs of frames, got {target.shape} and {reference.shape}.")
    if true.shape != found.shape or true.shape[:1] != (num_samples,) or true.shape[-1:] != (2,):
        raise ValueError(f"Expected displacements ({num_samples}, rows, columns, 2), got {true.shape}, {found.shape}.")
    rows, columns = true.shape[1:3]
    # the longest common arrow is as long as two patches
    length = max(float(np.percentile(np.linalg.norm(true, axis=-1), 95)), 1e-6)
    factor = 2.0 * width / columns / length
    x, y = np.meshgrid((np.arange(columns) + 0.5) * width / columns, (np.arange(rows) + 0.5) * height / rows)
    heads = (
        ("Frame t", "a part of it"),
        ("Displaced", "with noise and light of its own"),
        ("True displacement", f"arrows {factor:.0f} times as long"),
        ("Found", f"mean error {np.linalg.norm(found - true, axis=-1).mean():.2f} of"
                  f" {np.linalg.norm(true, axis=-1).mean():.2f} pixels"),
    )  # fmt: skip
    figure_width, above, below, gap = 12.0, 1.18, 0.5, 0.12
    picture_width = (figure_width - 2 * MARGIN - 3 * gap) / 4
    picture_height = picture_width * height / width
    figure_height = above + num_samples * picture_height + (num_samples - 1) * gap + below
    figure = new_figure(figure_width, figure_height, title, caption)
    axes = figure.add_gridspec(
        num_samples, 4, left=MARGIN / figure_width, right=1.0 - MARGIN / figure_width,
        top=1.0 - above / figure_height, bottom=below / figure_height,
        wspace=gap / picture_width, hspace=gap / picture_height,
    ).subplots(squeeze=False)  # fmt: skip
    for sample in range(num_samples):
        pictures = (target[sample], reference[sample], target[sample], target[sample])
        for column, picture in enumerate(pictures):
            head = heads[column] if sample == 0 else ("", "")
            draw_picture(axes[sample, column], picture, *head, "antialiased")
        for column, field in ((2, true[sample]), (3, found[sample])):
            axes[sample, column].quiver(
                x, y, field[..., 0], field[..., 1], angles="xy", scale_units="xy", scale=1.0 / factor,
                color=SWAPPED_COLOUR, width=0.006,
            )  # fmt: skip
    return figure


def pretraining_summary_figure(
    history: Sequence[Mapping[str, float]], *, title: str = "Pretraining", caption: str = ""
) -> Figure:
    """
    Draw how a run went, over its steps: the losses, and one panel for every other quantity that was logged. Long runs
    are drawn faintly with their running mean on top.

    Args:
        history: one mapping a logged step: `step` and `loss`, and in any of them `reconstruction_loss`,
            `contextual_agreement_loss`, `displacement_loss`, `learning_rate`, `grad_norm`, `token_variance`,
            `teacher_entropy` (nats), `samples_per_second` (pairs) or `data_wait_share` (in [0, 1]). Other keys are not
            drawn. Values that are not finite leave a gap.
        caption: small print below

    Returns:
        A `Figure` 12 inches wide on an Agg canvas, with as many rows of panels as it takes.

    Raises:
        ValueError: there is no entry, one lacks `step` or `loss`, or the steps do not increase.
    """
    if not history:
        raise ValueError("`history` must have at least one logged step, got none.")
    for number, entry in enumerate(history):
        missing = [key for key in ("step", "loss") if key not in entry]
        if missing:
            raise ValueError(f"Entry {number} of `history` lacks {missing}; it has {sorted(entry)}.")
        if number and entry["step"] <= history[number - 1]["step"]:
            raise ValueError(
                f"Steps must increase, got {entry['step']} after {history[number - 1]['step']} in entry {number}."
            )

    curves = [curve for curve in CURVES if any(curve[0] in entry for entry in history)]
    # three columns; the losses take what is left of the first row, so that no cell stays empty
    losses_span = 3 - len(curves) % 3
    num_rows = (losses_span + len(curves)) // 3
    width, above, below, panel, gap = 12.0, 1.18, 0.72, 1.85, 0.98
    height = above + num_rows * panel + (num_rows - 1) * gap + below
    figure = new_figure(width, height, title, caption)
    left, right = 0.062, 1.0 - MARGIN / width
    grid = figure.add_gridspec(
        num_rows, 3, left=left, right=right, top=1.0 - above / height, bottom=below / height,
        wspace=0.28, hspace=gap / panel,
    )  # fmt: skip
    _draw_losses(figure.add_subplot(grid[0, :losses_span]), history)
    for cell, (key, name, unit) in enumerate(curves, start=losses_span):
        _draw_curve(figure.add_subplot(grid[cell // 3, cell % 3]), history, key, name, unit)
    return figure


def _check_samples(
    target: np.ndarray,
    reference: np.ndarray,
    swapped: np.ndarray,
    reconstruction: np.ndarray,
    diagonal_attention: np.ndarray,
    patch_of_interest: np.ndarray,
    bool_swapped_pos: np.ndarray,
) -> None:
    for name, frames in (("target", target), ("reference", reference), ("swapped", swapped)):
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3:
            raise ValueError(
                f"`{name}` must be (num_samples, height, width, 3) of uint8, got {frames.shape} of {frames.dtype}."
            )
    if not 1 <= len(target) <= MAX_SAMPLES:
        raise ValueError(f"Expected 1 to {MAX_SAMPLES} samples, got {len(target)}.")
    for name, frames in (("reference", reference), ("swapped", swapped), ("reconstruction", reconstruction)):
        if frames.shape != target.shape:
            raise ValueError(f"`{name}` must have the shape of `target`, {target.shape}, got {frames.shape}.")
    if not np.issubdtype(reconstruction.dtype, np.floating):
        raise ValueError(f"`reconstruction` must be of a float type, in [0, 1], got {reconstruction.dtype}.")
    if diagonal_attention.ndim != 3 or len(diagonal_attention) != len(target):
        raise ValueError(
            f"`diagonal_attention` must be (num_samples, rows, columns) of {len(target)} samples, got"
            f" {diagonal_attention.shape}."
        )
    if patch_of_interest.shape != diagonal_attention.shape:
        raise ValueError(
            f"Both maps must have one shape, got {diagonal_attention.shape} of `diagonal_attention` and"
            f" {patch_of_interest.shape} of `patch_of_interest`."
        )
    _, rows, columns = diagonal_attention.shape
    if target.shape[1] % rows or target.shape[2] % columns:
        raise ValueError(f"A grid of {rows} x {columns} patches does not divide frames of {target.shape[1:3]} pixels.")
    expected = (len(target), rows * columns)
    if bool_swapped_pos.shape != expected or bool_swapped_pos.dtype != np.bool_:
        raise ValueError(
            f"`bool_swapped_pos` must be {expected} of bool, got {bool_swapped_pos.shape} of {bool_swapped_pos.dtype}."
        )


def _scale(values: np.ndarray) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    return low, high if high > low else low + 1e-6  # a constant map still needs a scale


def _outline(swapped: np.ndarray, height: int, width: int) -> list[list[tuple[float, float]]]:
    """Sides of `swapped` (rows, columns) patches that face a patch that is not, in coordinates of the picture."""
    rows, columns = swapped.shape
    padded = np.pad(swapped, 1)
    # the centre of pixel (0, 0) lies at (0, 0)
    y = np.arange(rows + 1) * height / rows - 0.5
    x = np.arange(columns + 1) * width / columns - 0.5
    across = np.argwhere(padded[:-1, 1:-1] != padded[1:, 1:-1])
    down = np.argwhere(padded[1:-1, :-1] != padded[1:-1, 1:])
    segments = [[(x[column], y[row]), (x[column + 1], y[row])] for row, column in across]
    return segments + [[(x[column], y[row]), (x[column], y[row + 1])] for row, column in down]


def _add_colour_bar_below(figure: Figure, axes: Axes, low: float, high: float, unit: str, distance: float) -> None:
    below = axes.inset_axes([0.0, -2.0 * distance, 1.0, 0.9 * distance])
    bar = figure.colorbar(ScalarMappable(Normalize(low, high), "viridis"), cax=below, orientation="horizontal")
    bar.set_label(unit, fontsize=9, color=MUTED)
    bar.set_ticks([low, high], labels=[f"{low:.3g}", f"{high:.3g}"])
    for text, place in zip(bar.ax.get_xticklabels(), ("left", "right")):
        text.set_horizontalalignment(place)  # the bar is as wide as the picture: its ends may not touch the next
    bar.ax.tick_params(labelsize=8.5, colors=MUTED)
    bar.outline.set_visible(False)


def _series(history: Sequence[Mapping[str, float]], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of the entries that have `key`; NaN where a value is not finite."""
    found = [(entry["step"], entry[key]) for entry in history if key in entry]
    steps, values = np.array(found, dtype=float).T
    return steps, np.where(np.isfinite(values), values, np.nan)


def _running_mean(values: np.ndarray) -> np.ndarray:
    """Of 1 / SMOOTHING_PARTS of the values around each, fewer at the ends; NaN does not count."""
    window = np.ones(max(1, len(values) // SMOOTHING_PARTS) | 1)
    counted = np.convolve(np.isfinite(values), window, "same")
    total = np.convolve(np.nan_to_num(values), window, "same")
    return np.where(counted > 0, total / np.maximum(counted, 1), np.nan)


def _plot(
    axes: Axes,
    steps: np.ndarray,
    values: np.ndarray,
    colour: str,
    style: str,
    name: str | None = None,
    is_noisy: bool = True,
) -> None:
    # a single step is a point: a line through it cannot be seen
    marker = "o" if len(steps) == 1 else None
    if len(steps) < SMOOTHED_FROM or not is_noisy:
        axes.plot(steps, values, style, color=colour, linewidth=1.8, marker=marker, markersize=4, label=name)
    else:
        axes.plot(steps, values, color=colour, linewidth=0.6, alpha=0.3)
        axes.plot(steps, _running_mean(values), style, color=colour, linewidth=1.8, label=name)


def _draw_losses(axes: Axes, history: Sequence[Mapping[str, float]]) -> None:
    drawn = []
    for key, name, colour, style in LOSSES:
        if any(key in entry for entry in history):
            steps, values = _series(history, key)
            drawn.append(values[np.isfinite(values)])
            _plot(axes, steps, values, colour, style, name)
    values = np.concatenate(drawn)
    if len(values) and values.min() > 0 and values.max() > LOG_RATIO * values.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0), numticks=8))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    _style_axes(axes, history)
    draw_title(axes, "Losses", "")
    # in the place of the subtitle: inside, it would cover a curve
    axes.legend(
        loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=len(LOSSES), frameon=False, fontsize=9, labelcolor=INK,
        borderpad=0.0, borderaxespad=0.15, handlelength=1.8, columnspacing=1.0, handletextpad=0.4,
    )  # fmt: skip


def _draw_curve(axes: Axes, history: Sequence[Mapping[str, float]], key: str, name: str, unit: str) -> None:
    steps, values = _series(history, key)
    # the schedule has no noise, and a mean would blunt its peak
    _plot(axes, steps, values, TRUE_COLOUR, "-", is_noisy=key != "learning_rate")
    if np.isfinite(values).any():
        # from 0: a small change must not look like a large one
        axes.set_ylim(min(0.0, np.nanmin(values)), 1.08 * max(np.nanmax(values), 1e-12))
    _style_axes(axes, history)
    if key == "data_wait_share":
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}%"))
    elif key == "learning_rate":
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.1e}" if value else "0"))
    draw_title(axes, name, unit)


def _style_axes(axes: Axes, history: Sequence[Mapping[str, float]]) -> None:
    first, last = history[0]["step"], history[-1]["step"]
    margin = 0.02 * (last - first) or 0.5
    axes.set_xlim(first - margin, last + margin)
    axes.set_xlabel("step", fontsize=9, color=MUTED, labelpad=2)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.tick_params(labelsize=9, colors=MUTED)
    axes.grid(axis="y", color=OTHER_COLOUR, linewidth=0.6, alpha=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(OTHER_COLOUR)
