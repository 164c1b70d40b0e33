"""What the page answers: computed, and put into words and pictures. Nothing here is kept or written anywhere."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..spotting import FoundExpression, MicroExpressionRecognizer, MovementCurve, Video
from ..visualization import clip_scale, relative_change
from ..visualization.drawing import new_figure
from ..visualization.spotting import draw_timeline
from .markup import (
    colour_bar,
    download,
    figure_url,
    label_bars,
    map_url,
    picture,
    picture_url,
    table,
    verdict,
)
from .uploads import VisitorVideo, read_pair


# Of a clip, taken evenly: ours, 2 MB for the browser to hold.
MOST_MAPS = 120
NOTHING_MOVED = "Nothing moved"
CHANGE_TITLE, CHANGE_UNIT = "What has changed", "change (1 = nothing alike)"
# Of the timeline, in inches, and its axes in shares of that: narrower than in print, so that it can be read in half a
# window. Ours, by eye.
TIMELINE_SIZE, TIMELINE_AXES = (7.5, 3.5), (0.09, 0.17, 0.88, 0.62)


@dataclass(frozen=True)
class ClipAnswer:
    """
    Args:
        found (`str`): HTML: what was found, over time and in a table.
        frames (`str`): HTML: the faces with their maps, all but one hidden.
        num_frames, shown (`int`): how many faces, and which of them is not hidden.
    """

    found: str
    frames: str
    num_frames: int
    shown: int


def pair_answer(recognize: MicroExpressionRecognizer, onset: Path, apex: Path) -> str:
    """
    HTML: the label and its probabilities, or that nothing moved; the aligned faces and the two maps.

    Raises:
        ValueError: see [`read_pair`].
    """
    found = recognize.pair(*read_pair(onset, apex))
    least = recognize.options.least_change
    moved = found.change >= least
    note = f"The face moved by {found.change:.2f} pixels of a face 224 pixels wide; from {least:.2f} on it counts."
    note = " ".join([note, *(f"Note: {text}." for text in found.notes)])
    pictures = [
        picture(picture_url(found.frames[0]), "Onset", "as found and aligned"),
        picture(picture_url(found.frames[1]), "Apex", "aligned likewise"),
    ]
    if moved:
        parts = [verdict(_named(found), note), label_bars(found.scores)]
        pictures += _maps(recognize, found)
    else:
        parts = [verdict(NOTHING_MOVED, f"{note} There is no expression to name.")]
    answer = {
        "notes": found.notes,
        "moved": moved,
        "change": found.change,
        "scores": dict(found.scores) if moved else {},
    }
    link = download(json.dumps(answer, indent=2), "micro-expression.json", "Download as JSON")
    return "".join([*parts, f'<div class="pictures">{"".join(pictures)}</div>', link])


def _maps(recognize: MicroExpressionRecognizer, found: FoundExpression) -> list[str]:
    _, apex = found.frames
    change = relative_change(found.maps["diagonal_attention"], recognize.still_diagonal_attention(found))
    interest = found.maps["patch_of_interest"]
    drawn = []
    # below 0 is no change either
    for values, low, title, note, unit in (
        (change, 0.0, CHANGE_TITLE, "diagonal attention, against a still face", CHANGE_UNIT),
        (interest, float(interest.min()), "Patch of interest", "how much each patch counts", "score"),
    ):
        high = _end_of_scale(low, float(values.max()))
        drawn.append(picture(map_url(apex, values, low, high), title, note, colour_bar(low, high, unit)))
    return drawn


def clip_answer(recognize: MicroExpressionRecognizer, path: Path) -> ClipAnswer:
    """
    Raises:
        ValueError: see [`VisitorVideo`].
    """
    video = VisitorVideo(path)
    curve = recognize.curve(video)
    found = recognize.expressions(video, curve)
    frames, num_frames, shown = _frames(recognize, video, curve, found)
    answer = {"source": path.name, "notes": curve.notes, "expressions": [item.as_json() for item in found]}
    link = download(json.dumps(answer, indent=2), "micro-expressions.json", "Download as JSON")
    return ClipAnswer("".join([*_found(recognize, curve, found), link]), frames, num_frames, shown)


def _found(
    recognize: MicroExpressionRecognizer,
    curve: MovementCurve,
    found: Sequence[FoundExpression],
) -> list[str]:
    read = f"{len(curve.numbers)} frames compared, {curve.seconds[-1]:.1f} seconds."
    if found:
        headline = "1 micro-expression" if len(found) == 1 else f"{len(found)} micro-expressions"
    else:
        headline = "No micro-expression was spotted"
    parts = [verdict(headline, " ".join([read, *(f"Note: {note}." for note in curve.notes)]))]
    intervals = [(item.onset_seconds, item.apex_seconds, item.offset_seconds, item.label or "") for item in found]
    least = recognize.options.least_change
    timeline = new_figure(*TIMELINE_SIZE, "Movement over time", "")
    draw_timeline(timeline.add_axes(TIMELINE_AXES), curve.seconds, curve.values, intervals, least, curve.unit)
    parts.append(
        f'<div class="wide timeline"><img src="{figure_url(timeline)}" alt="Movement of the face over time"></div>'
    )
    if found:
        rows = [
            (
                _named(item),
                f"{item.onset_seconds:.2f} s",
                f"{item.apex_seconds:.2f} s",
                f"{item.offset_seconds:.2f} s",
                f"{item.change:.2f}",
            )
            for item in found
        ]
        parts.append(table(("expression", "onset", "apex", "offset", f"moved, {curve.unit}"), rows))
    return parts


def _frames(
    recognize: MicroExpressionRecognizer, video: Video, curve: MovementCurve, found: Sequence[FoundExpression]
) -> tuple[str, int, int]:
    """The faces with their maps, one scale for all; their number; and which is shown: nearest to the highest apex."""
    maps = list(recognize.change_maps(video, curve, curve.numbers[:: math.ceil(len(curve.numbers) / MOST_MAPS)]))
    high = clip_scale(np.stack([item.change for item in maps]))
    highest = max(found, key=lambda item: item.change).apex_seconds if found else 0.0
    shown = int(np.argmin([abs(item.seconds - highest) for item in maps]))
    bar = colour_bar(0.0, high, CHANGE_UNIT)
    drawn = []
    for place, item in enumerate(maps):
        note = f"frame {item.number}, {item.seconds:.2f} s, against the first frame"
        url = map_url(item.frame, item.change, 0.0, high)
        drawn.append(picture(url, CHANGE_TITLE, note, bar, is_hidden=place != shown))
    return "".join(drawn), len(maps), shown


def _named(found: FoundExpression) -> str:
    return f"{found.label} ({found.score:.1%})"


def _end_of_scale(low: float, high: float) -> float:
    """A constant map still needs a scale."""
    return high if high > low else low + 1e-6
