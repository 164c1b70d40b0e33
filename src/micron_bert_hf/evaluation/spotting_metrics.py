"""Where are micro-expressions in a long video? The score of spotted intervals, in NumPy.

MEGC2019 spotting guideline: a spotted interval is a true positive if its intersection over union with a true interval
is at least 0.5; TP, FP and FN are pooled over all videos as if they were one long video, and only then form precision,
recall and F1. A frame interval includes both ends, so that `[onset, offset]` has `offset - onset + 1` frames:

    IoU = |A ∩ B| / |A ∪ B|,  |A ∩ B| = max(0, min(offsets) - max(onsets) + 1),  |A ∪ B| = |A| + |B| - |A ∩ B|

The guideline does not say what counts when two intervals meet the same one. Here every true interval is found at most
once, by at most one spotted interval: pairs are taken in falling order of IoU (of equal ones the earlier true interval
first, then the earlier spotted one) as long as both are free. Where neither the true nor the spotted intervals of a
video overlap among themselves no matching has more pairs: an interval then meets two others only by covering both
exactly, and those two meet no third.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


# MEGC2019 guideline.
MIN_IOU = 0.5


def interval_iou(
    onsets: np.ndarray, offsets: np.ndarray, other_onsets: np.ndarray, other_offsets: np.ndarray
) -> np.ndarray:
    """
    Intersection over union of intervals of frames, both ends included; the formula stands above.

    Args:
        onsets, offsets (`np.ndarray` of shape `(num_intervals,)`, int): `onset <= offset`.
        other_onsets, other_offsets (`np.ndarray` of shape `(num_others,)`, int)

    Returns:
        `np.ndarray` of shape `(num_intervals, num_others)`, float in [0, 1].
    """
    onsets, offsets = onsets[:, None], offsets[:, None]
    shared = np.maximum(0, np.minimum(offsets, other_offsets) - np.maximum(onsets, other_onsets) + 1)
    together = (offsets - onsets + 1) + (other_offsets - other_onsets + 1) - shared
    return shared / together


def match_intervals(
    truth: Sequence[Mapping[str, Any]], spotted: Sequence[Mapping[str, Any]]
) -> list[tuple[int, int, float]]:
    """
    Pair the intervals of one video; the rule stands above.

    Args:
        truth, spotted: mappings with `onset` and `offset`, frame numbers of one video; in any order.

    Returns:
        `(position in truth, position in spotted, IoU)` of every pair, best first. No position occurs twice.
    """
    if not truth or not spotted:
        return []
    ends = [
        np.array([[interval["onset"], interval["offset"]] for interval in intervals], dtype=np.int64).T
        for intervals in (truth, spotted)
    ]
    iou = interval_iou(*ends[0], *ends[1])
    candidates = [(int(row), int(column)) for row, column in np.argwhere(iou >= MIN_IOU)]
    candidates.sort(key=lambda pair: (-iou[pair], *ends[0][:, pair[0]], *ends[1][:, pair[1]]))
    pairs, taken, used = [], set(), set()
    for row, column in candidates:
        if row not in taken and column not in used:
            taken.add(row)
            used.add(column)
            pairs.append((row, column, float(iou[row, column])))
    return pairs


def score_spotting(
    truth: Mapping[str, Sequence[Mapping[str, Any]]],
    spotted: Mapping[str, Sequence[Mapping[str, Any]]],
    frames_per_second: Mapping[str, float],
) -> dict[str, Any]:
    """
    All spotting scores over a set of videos, ready for JSON.

    Args:
        truth: video_id to its true intervals, mappings with `onset`, `apex` and `offset`: frame numbers,
            `onset <= apex <= offset`; `apex` may be `None` where it was not annotated. EVERY video that was searched
            is named, also one without a true interval.
        spotted: video_id to its spotted intervals, of the same form. A video that is not named has none: all of its
            true intervals are missed.
        frames_per_second: of each video, positive.

    Returns:
        `{"precision", "recall", "f1", "true_positives", "false_positives", "false_negatives", "num_videos",
        "num_apexes", "apex_mae_frames", "apex_mae_ms"}`. Precision and recall are 0 where they would be 0 / 0. The
        mean absolute errors of the apex are over the `num_apexes` matched pairs in which both have one, `None` if
        there are none: an error over other pairs than another method's says nothing against that method's.

    Raises:
        ValueError: no video, a spotted video that is not in `truth`, a video without a frame rate, an interval that
            is none.
    """
    if not truth:
        raise ValueError("`truth` must name at least one video, got none.")
    unknown = sorted(set(spotted) - set(truth))
    if unknown:
        raise ValueError(f"`spotted` names {len(unknown)} video(s) that `truth` does not, such as {unknown[0]!r}.")
    for video in truth:
        if not frames_per_second.get(video, 0) > 0:
            raise ValueError(f"Expected frames per second of {video!r} above 0, got {frames_per_second.get(video)}.")
        for name, intervals in (("truth", truth[video]), ("spotted", spotted.get(video, ()))):
            for interval in intervals:
                _check_interval(f"`{name}` of {video!r}", interval)

    num_true = sum(len(intervals) for intervals in truth.values())
    num_spotted = sum(len(intervals) for intervals in spotted.values())
    true_positives, frames, milliseconds = 0, [], []
    for video, true_intervals in truth.items():
        spotted_intervals = spotted.get(video, ())
        for row, column, _ in match_intervals(true_intervals, spotted_intervals):
            true_positives += 1
            true_apex, apex = true_intervals[row]["apex"], spotted_intervals[column]["apex"]
            if true_apex is not None and apex is not None:
                frames.append(abs(apex - true_apex))
                milliseconds.append(1000 * frames[-1] / frames_per_second[video])
    return {
        "precision": true_positives / max(num_spotted, 1),
        "recall": true_positives / max(num_true, 1),
        # 2 TP / (2 TP + FP + FN)
        "f1": 2 * true_positives / max(num_spotted + num_true, 1),
        "true_positives": true_positives,
        "false_positives": num_spotted - true_positives,
        "false_negatives": num_true - true_positives,
        "num_videos": len(truth),
        "num_apexes": len(frames),
        "apex_mae_frames": float(np.mean(frames)) if frames else None,
        "apex_mae_ms": float(np.mean(milliseconds)) if frames else None,
    }


def _check_interval(where: str, interval: Mapping[str, Any]) -> None:
    missing = [name for name in ("onset", "apex", "offset") if name not in interval]
    if missing:
        raise ValueError(f"An interval of {where} lacks {missing}; it has {sorted(interval)}.")
    frames = [interval[name] for name in ("onset", "apex", "offset") if name != "apex" or interval[name] is not None]
    if not all(isinstance(frame, (int, np.integer)) for frame in frames):
        raise ValueError(f"Expected whole frame numbers in {where}, got {dict(interval)}.")
    if frames != sorted(frames):
        raise ValueError(f"Expected onset <= apex <= offset in {where}, got {dict(interval)}.")
