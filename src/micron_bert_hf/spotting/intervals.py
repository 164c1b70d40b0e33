"""From a curve of movement over time to intervals: pure functions.

A micro-expression comes and goes within half a second. So what a frame is compared with lies on both sides of it, a
quarter of a second away: a face that turns or drifts steadily differs from both in opposite directions and cancels,
and an expression that comes to stay, which differs from one side only, counts half. This is the contrast of Li et al.
(IEEE TAFFC 9(4), 2018), taken of movements instead of histograms.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np


# Half of the longest micro-expression, 0.5 s, and a whole number of frames at 25, 50, 100 and 200 a second.
LAG_SECONDS = 0.24
# Longest micro-expression, and least time between the peaks of two (seconds).
LONGEST_SECONDS, LEAST_GAP_SECONDS = 0.5, 0.3
# Standard deviations of the smoothing over time, in seconds: of movements, since noise has no direction and an
# expression has, and of their curve, which has many small peaks else. Ours.
MOVEMENT_SMOOTHING, CURVE_SMOOTHING = 0.03, 0.02


@dataclass(frozen=True)
class SpottingOptions:
    """
    When movement counts; all ours, chosen on validation people (`docs/spotting.md`).

    Args:
        least_change (`float`): below it nothing has happened, in pixels of a 224-pixel face.
        relative (`float` in [0, 1]): of the height between the curve's mean and its peak, what a peak must reach (the
            threshold of MEAN and SOFTNet, mean + p (max - mean)).
        edge (`float` in (0, 1)): share of a peak's height at which its interval ends.
        alone_seconds (`float`): a peak with another of nearly its height within this time is none: speech comes in
            runs, a micro-expression alone.
        contrast (`float`): how many times the curve's median a peak must be, where the unit is a model's own and no
            least change can be named.
    """

    least_change: float = 0.45
    relative: float = 0.4
    edge: float = 0.4
    alone_seconds: float = 0.45
    contrast: float = 0.0

    def floor(self, curve: np.ndarray) -> float:
        """Below it nothing counts, in a curve `(T,)` with NaN where it is not known."""
        known = curve[np.isfinite(curve)]
        return max(self.least_change, self.contrast * float(np.median(known)) if known.size else 0.0)


# Of a curve by the model's attention.
ATTENTION_OPTIONS = SpottingOptions(least_change=0.0, contrast=1.5)
# Share of a peak's height that another must reach to be nearly as high. Ours.
NEARLY = 0.6


@dataclass(frozen=True)
class Moment:
    """A frame's number, and its time from the first frame in seconds."""

    number: int
    seconds: float


@dataclass(frozen=True)
class SpottedInterval:
    """Places in the curve, `onset < apex <= offset`, and the height of the peak."""

    onset: int
    apex: int
    offset: int
    height: float


def pick_intervals(curve: np.ndarray, seconds: np.ndarray, options: SpottingOptions) -> list[SpottedInterval]:
    """
    Args:
        curve (`np.ndarray` of shape `(T,)`): movement of each frame; NaN where it is not known.
        seconds (`np.ndarray` of shape `(T,)`): ascending.

    Returns:
        Intervals in the order of time, no two with peaks nearer than `LEAST_GAP_SECONDS`; none in a curve that never
        reaches `least_change`.
    """
    known = np.isfinite(curve)
    if not known.any():
        return []
    values = np.where(known, curve, -np.inf)
    mean = float(curve[known].mean())
    threshold = max(options.floor(curve), mean + options.relative * (float(values.max()) - mean))
    found: list[SpottedInterval] = []
    for peak in np.argsort(-values, kind="stable"):
        if values[peak] < threshold or values[peak] <= 0:
            break
        if any(abs(seconds[peak] - seconds[other.apex]) < LEAST_GAP_SECONDS for other in found):
            continue
        beside = values[max(0, peak - 1) : peak + 2]
        if values[peak] < beside.max():
            continue  # the flank of a higher one
        onset, offset = _edges(values, seconds, int(peak), options.edge)
        if onset < peak:
            found.append(SpottedInterval(onset, int(peak), offset, float(values[peak])))

    def is_alone(interval: SpottedInterval) -> bool:
        return not any(
            other is not interval
            and abs(seconds[other.apex] - seconds[interval.apex]) < options.alone_seconds
            and other.height > NEARLY * interval.height
            for other in found
        )

    return sorted(filter(is_alone, found), key=lambda interval: interval.apex)


def smooth_over_time(
    values: Iterable[tuple[Moment, np.ndarray | None]], deviation: float
) -> Iterator[tuple[Moment, np.ndarray | None]]:
    """
    Gaussian over time, whose steps need not be even, as a stream: no more is in memory than three deviations to
    either side.

    Args:
        values: in the order of time; `None` is not known, stays so, and counts for nothing.
        deviation (`float`): in seconds.
    """
    window: deque[tuple[Moment, np.ndarray | None]] = deque()
    waiting = 0  # the first in the window that has not been answered

    def smoothed() -> tuple[Moment, np.ndarray | None]:
        moment, value = window[waiting]
        if value is None:
            return moment, None
        near = [
            (np.exp(-0.5 * ((other.seconds - moment.seconds) / deviation) ** 2), of_other)
            for other, of_other in window
            if of_other is not None and abs(other.seconds - moment.seconds) <= 3 * deviation
        ]
        return moment, sum(weight * of_other for weight, of_other in near) / sum(weight for weight, _ in near)

    for item in values:
        window.append(item)
        while item[0].seconds - window[waiting][0].seconds > 3 * deviation:
            yield smoothed()
            waiting += 1
            while window[waiting][0].seconds - window[0][0].seconds > 3 * deviation:
                window.popleft()
                waiting -= 1
    while waiting < len(window):
        yield smoothed()
        waiting += 1


def _edges(values: np.ndarray, seconds: np.ndarray, peak: int, share: float) -> tuple[int, int]:
    """Where the curve falls below a share of its peak, to either side, within half of `LONGEST_SECONDS`."""
    ends = []
    for step in (-1, 1):
        place = peak
        while (
            0 <= place + step < len(values)
            and values[place + step] >= share * values[peak]
            and abs(seconds[place + step] - seconds[peak]) <= LONGEST_SECONDS / 2
        ):
            place += step
        ends.append(place)
    return ends[0], ends[1]
