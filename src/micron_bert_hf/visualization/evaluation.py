"""Figures of an evaluation: who was taken for whom, which people were right, can the probabilities be trusted, which
samples went worst, and how methods compare. From plain numbers; nothing is computed here that a results file lacks."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Patch
from matplotlib.textpath import text_to_path
from matplotlib.ticker import MaxNLocator, PercentFormatter

from .drawing import (
    INK,
    MARGIN,
    MUTED,
    OTHER_COLOUR,
    PLAIN,
    PREDICTED_COLOUR,
    TRUE_COLOUR,
    draw_picture,
    new_figure,
    overlay,
)


MAX_WORST_SAMPLES = 8
# People beside each other; more of them get a row of their own below. At least so many places, lest few people have
# bars as wide as a hand (ours, by eye).
PEOPLE_IN_A_ROW = 50
MIN_PEOPLE_IN_A_ROW = 24
# Points; smaller ones cannot be read at 120 dots an inch (ours, by eye).
_SMALLEST_SIZE = 7.0
# Light enough at 0 for dark numbers, dark enough at 1 for white ones; one hue, read by all.
_SHARES = "Blues"
_WHITE_FROM = 0.65


def confusion_figure(
    confusion: np.ndarray, label_names: Sequence[str], title: str = "Confusion", *, caption: str = ""
) -> Figure:
    """
    Draw how often each true class was taken for each: the count in every cell, coloured by its share of the row.

    Args:
        confusion (`np.ndarray` of shape `(num_labels, num_labels)`): counts; row = truth, column = prediction.
        label_names: position = class number.
        caption: small print below.

    Returns:
        A `Figure` on an Agg canvas; its size follows from the classes.

    Raises:
        ValueError: a matrix of another shape than the names', or with a negative count.
    """
    confusion = np.asarray(confusion)
    num_labels = len(label_names)
    if confusion.shape != (num_labels, num_labels) or confusion.min() < 0:
        raise ValueError(
            f"Expected counts of ({num_labels}, {num_labels}) for {list(label_names)}, got {confusion.shape}"
            + (f" from {confusion.min()}." if confusion.size else ".")
        )
    totals = confusion.sum(axis=1)
    shares = confusion / np.maximum(totals, 1)[:, None]

    # inches
    cell = 1.05 if num_labels <= 4 else 0.9 if num_labels <= 6 else 0.8
    names = [_shortened(name, 2.4, 11) for name in label_names]
    longest = max(_inches(name, 11) for name in names)
    is_slanted = longest > cell - 0.1
    samples = [f"{total:,.0f} samples" for total in totals]
    left = MARGIN + 0.45 + max(longest, *(_inches(text, 8.5) for text in samples))
    # a name at 45 degrees is as high as it is wide, and leans over what is to its right
    above = 0.75 + (0.72 * longest + 0.15 if is_slanted else 0.3)
    leaning = [0.72 * _inches(name, 11) - (num_labels - number - 0.5) * cell for number, name in enumerate(names)]
    beside = max(1.2, max(leaning) + MARGIN if is_slanted else 0.0)
    below, side = 0.85, num_labels * cell
    width, height = max(left + side + beside, 6.0), above + side + below
    figure = _new_figure(width, height, title, caption)
    axes = figure.add_axes((left / width, below / height, side / width, side / height))
    axes.imshow(shares, cmap=_SHARES, vmin=0.0, vmax=1.0)
    axes.set_axis_off()
    axes.hlines(np.arange(1, num_labels) - 0.5, -0.5, num_labels - 0.5, color="white", linewidth=2)
    axes.vlines(np.arange(1, num_labels) - 0.5, -0.5, num_labels - 0.5, color="white", linewidth=2)
    centred: dict[str, Any] = {"ha": "center", "va": "center"}
    for (row, column), count in np.ndenumerate(confusion):
        colour = "white" if shares[row, column] > _WHITE_FROM else INK
        weight = "bold" if row == column else "normal"
        axes.text(column, row - 0.12, f"{count:,.0f}", fontsize=13, color=colour, fontweight=weight, **centred)
        if totals[row]:  # a class without samples has no shares
            axes.text(column, row + 0.22, f"{shares[row, column]:.0%}", fontsize=9, color=colour, **centred)
    before = -0.5 - 0.1 / cell
    for number, name in enumerate(names):
        axes.text(before, number - 0.06, name, fontsize=11, color=INK, ha="right", va="center", **PLAIN)
        axes.text(before, number + 0.2, samples[number], fontsize=8.5, color=MUTED, ha="right", va="center")
        slant: dict[str, Any] = {"rotation": 45, "ha": "left"} if is_slanted else {"ha": "center"}
        axes.text(number, before, name, fontsize=11, color=INK, va="bottom", rotation_mode="anchor", **slant, **PLAIN)
    axes.text(num_labels / 2 - 0.5, num_labels - 0.5 + 0.2 / cell, "predicted", fontsize=10, color=MUTED, **centred)
    start = -0.5 - (left - MARGIN - 0.1) / cell
    axes.text(start, num_labels / 2 - 0.5, "true", fontsize=10, color=MUTED, rotation=90, **centred)

    beside_axes = axes.inset_axes([1.0 + 0.2 / side, 0.0, 0.18 / side, 1.0])
    bar = figure.colorbar(ScalarMappable(Normalize(0.0, 1.0), colormaps[_SHARES]), cax=beside_axes)
    bar.set_label("share of the true class", fontsize=9, color=MUTED)
    bar.set_ticks([0.0, 0.5, 1.0], labels=["0%", "50%", "100%"])
    bar.ax.tick_params(labelsize=8.5, colors=MUTED)
    bar.outline.set_visible(False)
    return figure


def subject_figure(
    counts: Mapping[tuple[str, str], tuple[float, float]], title: str = "People", *, caption: str = ""
) -> Figure:
    """
    Draw how many samples of each person were right: a bar a person, best first, a panel a dataset.

    Args:
        counts: `(dataset, subject_id)` to `(num_samples, num_right)`; means over seeds may be fractions.
        caption: small print below.

    Returns:
        A `Figure` 12 inches wide on an Agg canvas; its height follows from the people.

    Raises:
        ValueError: nobody, someone without samples, or more right than there are.
    """
    if not counts:
        raise ValueError("`counts` must have at least one person, got none.")
    for person, (num_samples, num_right) in counts.items():
        if not (num_samples > 0 and 0 <= num_right <= num_samples):
            raise ValueError(
                f"Expected 0 <= right <= samples, more than 0, of {person}, got {num_right} of {num_samples}."
            )
    datasets: dict[str, list[tuple[str, float, float]]] = {}
    for (dataset, subject_id), (num_samples, num_right) in sorted(counts.items()):
        datasets.setdefault(dataset, []).append((subject_id, num_samples, num_right))
    for people in datasets.values():
        people.sort(key=lambda person: (-person[2] / person[1], -person[1], person[0]))
    rows = [
        (dataset, people, start)
        for dataset, people in datasets.items()
        for start in range(0, len(people), PEOPLE_IN_A_ROW)
    ]
    places = max(MIN_PEOPLE_IN_A_ROW, *(min(len(people), PEOPLE_IN_A_ROW) for people in datasets.values()))
    highest = max(num_samples for num_samples, _ in counts.values())

    # inches
    names = {subject_id: _shortened(subject_id, 1.2, 7.5) for _, subject_id in counts}
    below_bars = max(_inches(name, 7.5) for name in names.values()) + 0.12
    width, above, bars, header, footer = 12.0, 0.7, 1.25, 0.62, 0.4
    left, right = MARGIN + 0.45, MARGIN
    height = above + len(rows) * (header + bars + below_bars) + footer
    figure = _new_figure(width, height, title, caption)
    _add_subtitle(figure, "A bar a person, best first; above it the share of right predictions, in %.")
    for number, (dataset, people, start) in enumerate(rows):
        shown = people[start : start + PEOPLE_IN_A_ROW]
        bottom = height - above - number * (header + bars + below_bars) - header - bars
        place = (left / width, bottom / height, (width - left - right) / width, bars / height)
        axes = figure.add_axes(place)
        _draw_people(axes, shown, [names[subject_id] for subject_id, _, _ in shown])
        axes.set_xlim(-0.6, places - 0.4)
        axes.set_ylim(0.0, 1.16 * highest)  # room for the shares above the bars
        if start == 0:
            total = sum(num_samples for _, num_samples, _ in people)
            share = sum(num_right for _, _, num_right in people) / total
            _draw_header(axes, dataset, f"{len(people)} people, {total:g} samples, {share:.0%} right", bars)
        else:
            _draw_header(axes, f"{dataset}, continued", "", bars)
    handles = [Patch(color=TRUE_COLOUR, label="right"), Patch(color=OTHER_COLOUR, label="wrong")]
    figure.legend(
        handles=handles, loc="upper right", bbox_to_anchor=(1.0 - MARGIN / width, 1.0 - 0.54 / height), ncols=2,
        frameon=False, fontsize=10, labelcolor=INK, borderaxespad=0.0, handlelength=1.0, handleheight=1.0,
    )  # fmt: skip
    return figure


def calibration_figure(
    bins: Sequence[Mapping[str, Any]], ece: float, title: str = "Calibration", *, caption: str = ""
) -> Figure:
    """
    Draw how often predictions were right against how sure they were, and how many there are of each confidence.

    Args:
        bins: as `evaluation.reliability_bins` gives them: `{"low", "high", "num_samples", "confidence", "accuracy"}`,
            the last two `None` in a bin without samples.
        ece: expected calibration error, in [0, 1].
        caption: small print below.

    Returns:
        A `Figure` of 6.6 x 8 inches on an Agg canvas.

    Raises:
        ValueError: no bins.
    """
    if not bins:
        raise ValueError("`bins` must have at least one bin, got none.")
    width, height, left, right, side = 6.6, 8.0, 0.85, 0.3, 4.75
    figure = _new_figure(width, height, title, caption)
    reliability = figure.add_axes((left / width, 2.05 / height, (width - left - right) / width, side / height))
    histogram = figure.add_axes((left / width, 0.85 / height, (width - left - right) / width, 1.0 / height))
    num_samples = sum(entry["num_samples"] for entry in bins)
    _add_subtitle(figure, f"Expected calibration error {ece:.3f} over {num_samples:,} predictions.")
    filled = [entry for entry in bins if entry["num_samples"]]
    for axes, shown, height_of, colour in (
        (histogram, bins, "num_samples", OTHER_COLOUR),
        (reliability, filled, "accuracy", TRUE_COLOUR),
    ):
        starts = [entry["low"] for entry in shown]
        widths = [entry["high"] - entry["low"] for entry in shown]
        axes.bar(starts, [entry[height_of] for entry in shown], widths, align="edge", color=colour, edgecolor="white")
    for entry in filled:
        low, high = sorted((entry["confidence"], entry["accuracy"]))
        reliability.bar(
            entry["low"], high - low, entry["high"] - entry["low"], low, align="edge", color="none",
            edgecolor=PREDICTED_COLOUR, hatch="////", linewidth=1.2,
        )  # fmt: skip
    reliability.plot([0, 1], [0, 1], "--", color=INK, linewidth=1.2)
    handles = [
        Patch(color=TRUE_COLOUR, label="share that is right"),
        Patch(facecolor="none", edgecolor=PREDICTED_COLOUR, hatch="////", label="gap to the mean confidence"),
        *reliability.lines,
    ]
    reliability.lines[0].set_label("as right as it is sure")
    reliability.legend(handles=handles, loc="upper left", frameon=False, fontsize=9.5, labelcolor=INK)
    reliability.set_ylim(0.0, 1.0)
    reliability.set_ylabel("right predictions", fontsize=10, color=MUTED)
    histogram.set_ylabel("predictions", fontsize=10, color=MUTED)
    histogram.set_xlabel("confidence: probability of the predicted class", fontsize=10, color=MUTED)
    histogram.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    for axes in (reliability, histogram):
        axes.set_xlim(0.0, 1.0)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        _style(axes)
    reliability.yaxis.set_major_formatter(PercentFormatter(1.0))
    reliability.tick_params(labelbottom=False)
    return figure


def worst_samples_figure(
    rows: Sequence[Mapping[str, Any]], title: str = "Least probable truths", *, caption: str = ""
) -> Figure:
    """
    Draw samples whose true class was given little probability, the least first, one a row.

    Args:
        rows: at most `MAX_WORST_SAMPLES`, each with `sample_id`, `dataset`, `label` and `prediction` (names of
            classes), `probability` (of the true class, in [0, 1]), `onset` and `apex` (`np.ndarray` of shape `(height,
            width, 3)`, uint8, RGB; sizes may differ between rows) and, in all of them or in none, `maps`: name to
            `np.ndarray` of shape `(rows, columns)`, drawn over the apex. The colours of a map mean the same in every
            row. Other keys are not drawn.
        caption: small print below.

    Returns:
        A `Figure` on an Agg canvas; its size follows from the rows and maps.

    Raises:
        ValueError: no row or too many, frames of another type or shape, or maps that differ between rows.
    """
    if not 1 <= len(rows) <= MAX_WORST_SAMPLES:
        raise ValueError(f"Expected 1 to {MAX_WORST_SAMPLES} samples, got {len(rows)}.")
    maps = list(rows[0].get("maps", {}))
    for row in rows:
        for name in ("onset", "apex"):
            frame = row[name]
            if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
                raise ValueError(
                    f"`{name}` of {row['sample_id']!r} must be (height, width, 3) of uint8, got {frame.shape} of"
                    f" {frame.dtype}."
                )
        if list(row.get("maps", {})) != maps:
            raise ValueError(f"Expected the maps {maps} of {row['sample_id']!r}, got {list(row.get('maps', {}))}.")
    rows = sorted(rows, key=lambda row: row["probability"])
    scales = {}
    for name in maps:
        low = min(float(row["maps"][name].min()) for row in rows)
        high = max(float(row["maps"][name].max()) for row in rows)
        scales[name] = low, high if high > low else low + 1e-6  # constant maps still need a scale

    # inches; pictures are as high as each other, and as wide as the widest
    columns = 2 + len(maps)
    picture_height, gap, above, below, text_width = 1.6, 0.14, 1.5, 0.4, 3.0
    picture_width = picture_height * max(row["apex"].shape[1] / row["apex"].shape[0] for row in rows)
    subtitles = {name: f"dark {low:.2g}, bright {high:.2g}" for name, (low, high) in scales.items()}
    # heads may be wider than pictures
    for name, subtitle in subtitles.items():
        picture_width = max(picture_width, _inches(name, 12.5, "bold"), _inches(subtitle, 9.5))
    width = MARGIN + text_width + columns * picture_width + (columns - 1) * gap + MARGIN
    height = above + len(rows) * picture_height + (len(rows) - 1) * gap + below
    figure = _new_figure(width, height, title, caption)
    _add_subtitle(figure, "The samples whose true class was given the least probability.")
    for number, row in enumerate(rows):
        top = height - above - number * (picture_height + gap)
        pictures = [("Onset", "", row["onset"]), ("Apex", "", row["apex"])]
        for name, values in row.get("maps", {}).items():
            low, high = scales[name]
            pictures.append((name, subtitles[name], overlay(row["apex"], values, low, high, "viridis")))
        for column, (name, subtitle, picture) in enumerate(pictures):
            x = MARGIN + text_width + column * (picture_width + gap)
            axes = figure.add_axes(
                (x / width, (top - picture_height) / height, picture_width / width, picture_height / height)
            )
            head = (name, subtitle) if number == 0 else ("", "")
            draw_picture(axes, picture, *head, "nearest" if column > 1 else "antialiased")
        _describe(figure, row, MARGIN / width, top, width, height, text_width - 0.2)
    return figure


def comparison_figure(
    rows: Sequence[Mapping[str, Any]],
    title: str = "Methods",
    *,
    chance: float,
    chance_name: str = "chance",
    caption: str = "",
) -> Figure:
    """
    Draw the UF1 of several methods with their intervals, from above in the order given.

    Args:
        rows: each with `method` (a name), `uf1`, and `low` and `high`, the ends of its interval; all in [0, 1].
        chance: UF1 that needs no skill, such as that of the most frequent class; a dashed line.
        chance_name: what it is of.
        caption: small print below.

    Returns:
        A `Figure` 12 inches wide on an Agg canvas; its height follows from the rows.

    Raises:
        ValueError: no row, or one whose numbers are not in order.
    """
    if not rows:
        raise ValueError("`rows` must have at least one method, got none.")
    for row in rows:
        # a percentile interval of a small sample may leave its estimate out, so that `uf1` is not between
        if not (0 <= row["low"] <= row["high"] <= 1 and 0 <= row["uf1"] <= 1):
            raise ValueError(
                f"Expected UF1 and 0 <= low <= high <= 1 of {row['method']!r}, got {row['uf1']}, {row['low']} and"
                f" {row['high']}."
            )
    # inches
    width, above, below, pitch, numbers = 12.0, 1.0, 0.95, 0.42, 2.0
    names = [_shortened(row["method"], 4.2, 11) for row in rows]
    left = MARGIN + max(_inches(name, 11) for name in names) + 0.2
    height = above + len(rows) * pitch + below
    figure = _new_figure(width, height, title, caption)
    axes = figure.add_axes(
        (left / width, below / height, (width - left - numbers - MARGIN) / width, len(rows) * pitch / height)
    )
    for place, row in enumerate(rows):
        axes.plot([row["low"], row["high"]], [place, place], color=TRUE_COLOUR, linewidth=2.5, solid_capstyle="butt")
        axes.plot(row["uf1"], place, "o", color=TRUE_COLOUR, markersize=7, markeredgecolor="white")
        axes.text(
            1.02, place, f"{row['uf1']:.3f}  [{row['low']:.3f}, {row['high']:.3f}]", fontsize=10.5, color=INK,
            va="center", transform=axes.get_yaxis_transform(),
        )  # fmt: skip
    axes.axvline(chance, linestyle="--", color=PREDICTED_COLOUR, linewidth=1.4, zorder=0)
    axes.annotate(
        f"{chance_name} {chance:.3f}", (chance, 1.0), (4, 4), xycoords=axes.get_xaxis_transform(),
        textcoords="offset points", fontsize=9.5, color=PREDICTED_COLOUR, va="bottom",
    )  # fmt: skip
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), names)
    highest = max(chance, *(max(row["high"], row["uf1"]) for row in rows))
    axes.set_xlim(0.0, min(1.0, 0.1 * np.ceil(10 * highest + 0.2)))
    axes.set_xlabel("UF1", fontsize=10, color=MUTED)
    _style(axes)
    axes.grid(visible=False, axis="y")
    axes.grid(axis="x", color=OTHER_COLOUR, linewidth=0.6, alpha=0.6)
    axes.tick_params(axis="y", length=0, labelsize=11, labelcolor=INK)
    axes.spines["left"].set_visible(False)
    return figure


def _new_figure(width: float, height: float, title: str, caption: str) -> Figure:
    """As `new_figure`; a title or small print that is too long is set smaller rather than cut off, then shortened."""
    figure = new_figure(width, height, title, caption)
    for text in figure.texts:
        available, size, weight = width - 2 * MARGIN, text.get_fontsize(), text.get_fontweight()
        size *= min(1.0, available / max(_inches(text.get_text(), size, weight), MARGIN))
        text.set_fontsize(max(_SMALLEST_SIZE, size))
        if size < _SMALLEST_SIZE:
            text.set_text(_shortened(text.get_text(), available, _SMALLEST_SIZE, weight))
    return figure


def _add_subtitle(figure: Figure, text: str) -> None:
    width, height = figure.get_size_inches()
    figure.text(MARGIN / width, 1.0 - 0.68 / height, text, fontsize=10, color=MUTED)


def _inches(text: str, size: float, weight: str = "normal") -> float:
    """Width of a line of text of so many points."""
    properties = FontProperties(size=size, weight=weight)
    return text_to_path.get_text_width_height_descent(text, properties, ismath=False)[0] / 72.0


def _shortened(text: str, available: float, size: float, weight: str = "normal") -> str:
    """Leaves out the middle of what is wider than `available` inches: names of one family differ at their ends."""
    if _inches(text, size, weight) <= available:
        return text

    def keep(number: int) -> str:
        return f"{text[: (number + 1) // 2]}…{text[len(text) - number // 2 :]}"

    return keep(bisect_right(range(1, len(text)), available, key=lambda number: _inches(keep(number), size, weight)))


def _style(axes: Axes) -> None:
    axes.tick_params(labelsize=9, colors=MUTED)
    axes.grid(axis="y", color=OTHER_COLOUR, linewidth=0.6, alpha=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(OTHER_COLOUR)


def _draw_people(axes: Axes, people: Sequence[tuple[str, float, float]], names: Sequence[str]) -> None:
    places = range(len(people))
    samples = [num_samples for _, num_samples, _ in people]
    right = [num_right for _, _, num_right in people]
    axes.bar(places, samples, 0.8, color=OTHER_COLOUR)
    axes.bar(places, right, 0.8, color=TRUE_COLOUR)
    for place, one, two in zip(places, samples, right):
        axes.annotate(
            f"{100 * two / one:.0f}", (place, one), (0, 1.5), textcoords="offset points", fontsize=_SMALLEST_SIZE,
            color=INK, ha="center", va="bottom",
        )  # fmt: skip
    axes.set_xticks(places, names, rotation=90)
    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    axes.set_ylabel("samples", fontsize=9, color=MUTED)
    _style(axes)
    axes.tick_params(axis="x", length=0, labelsize=7.5, labelcolor=INK)


def _draw_header(axes: Axes, name: str, description: str, height: float) -> None:
    """Above axes that are `height` inches high."""
    y = 1.0 + 0.12 / height
    axes.text(0.0, y, name, transform=axes.transAxes, fontsize=12, fontweight="bold", color=INK, va="bottom")
    x = (_inches(name, 12, "bold") + 0.15) / (axes.get_position().width * axes.figure.get_figwidth())
    axes.text(x, y, description, transform=axes.transAxes, fontsize=9.5, color=MUTED, va="bottom")


def _describe(
    figure: Figure, row: Mapping[str, Any], x: float, top: float, width: float, height: float, available: float
) -> None:
    """What a sample is and what became of it, line by line from `top` (inches) down."""
    is_right = row["prediction"] == row["label"]
    probability = f"{row['probability']:.1%}" if row["probability"] >= 0.001 else "below 0.1%"
    lines = (
        (_shortened(row["sample_id"], available, 11, "bold"), 11, "bold", INK),
        (_shortened(row["dataset"], available, 9.5), 9.5, "normal", MUTED),
        (_shortened(f"true: {row['label']}", available, 10.5), 10.5, "normal", TRUE_COLOUR),
        (
            _shortened(f"predicted: {row['prediction']}", available, 10.5),
            10.5,
            "normal",
            TRUE_COLOUR if is_right else PREDICTED_COLOUR,
        ),
        (f"probability of the truth: {probability}", 10.5, "normal", INK),
    )
    for number, (text, size, weight, colour) in enumerate(lines):
        y = top - 0.2 - 0.26 * number
        figure.text(x, y / height, text, fontsize=size, fontweight=weight, color=colour, va="center")
