"""What a face does for several seconds: blinks, glances, speech, head drift, and none or several micro-expressions.

For pretraining and for spotting. The numbers are ours unless a source is named.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .expressions import (
    BLINK,
    DURATION,
    Temperament,
    Timing,
    envelope,
    sample_action_units,
    sample_timing,
)
from .geometry import HeadPose, rotation_matrix


# Micro-expressions a second, and the shortest pause between two of them and at either end of a clip (seconds).
EVENT_RATE = 0.35
PAUSE = 0.2
# Blinks a second (resting adults: about 17 a minute, more in conversation: Bentivoglio et al., Movement Disorders
# 12(6), 1028-1034, 1997), seconds they take and how far the lids close.
BLINK_RATE = 0.30
_BLINK_DURATION, _BLINK_CLOSURE = (0.20, 0.40), (0.80, 1.0)
# Part of a blink in which the lids close: they open more slowly.
_CLOSING_SHARE = 0.35
# Syllables a second, and the peak intensities of the mouth's units in speech.
_SYLLABLE_RATE = (3.5, 6.0)
_SPEECH_UNITS: Mapping[int, float] = {25: 0.35, 26: 0.45, 18: 0.22, 20: 0.15}
_SPEECH_DURATION = (0.6, 2.0)
# Seconds between two glances, and seconds the eyes are in flight.
_FIXATION, _SACCADE = (0.35, 1.8), 0.04
# Standard deviation of the head's slow movements in degrees (yaw, pitch, roll) and in decimetres at difficulty 0, and
# their frequencies in hertz.
_DRIFT_ANGLES, _DRIFT_SHIFT, _DRIFT_FREQUENCIES = (1.2, 0.8, 0.6), 0.012, (0.08, 0.45)
_NUM_DRIFT_WAVES = 3


@dataclass(frozen=True)
class MicroExpression:
    """One event of a long clip.

    Attributes:
        label: key of `CLASS_ACTION_UNITS`.
        action_units: unit -> (left, right) peak intensity.
        start: seconds from the clip's first frame.
        timing: course from `start`.
        onset, apex, offset: frames as annotated, `onset < apex < offset`.
    """

    label: str
    action_units: Mapping[int, tuple[float, float]]
    start: float
    timing: Timing
    onset: int
    apex: int
    offset: int


@dataclass(frozen=True)
class Speech:
    """One utterance.

    Attributes:
        start, end: seconds.
        rate: syllables a second.
        phases: `(4,)` radians, one for each unit of the mouth.
        loudness: factor on the units' intensities.
    """

    start: float
    end: float
    rate: float
    phases: np.ndarray
    loudness: float


@dataclass(frozen=True)
class LongClipPlan:
    """Everything that moves in one long clip, fixed before a frame is rendered; the same questions as `ClipPlan`'s.

    Attributes:
        fps, num_frames: of the clip.
        events: micro-expressions in the order of time; they do not overlap.
        blinks: `(B, 3)` start and duration in seconds, closure in 0..1.
        speech: utterances.
        pose: `(3,)` resting (yaw, pitch, roll), radians.
        drift_amplitudes, drift_frequencies, drift_phases: `(waves, 6)` of the head's movements: three angles in
            radians, three shifts in decimetres; hertz; radians.
        glances: `(G, 3)` start in seconds and (yaw, pitch) in radians, the first at 0.
    """

    fps: int
    num_frames: int
    events: tuple[MicroExpression, ...]
    blinks: np.ndarray
    speech: tuple[Speech, ...]
    pose: np.ndarray
    drift_amplitudes: np.ndarray
    drift_frequencies: np.ndarray
    drift_phases: np.ndarray
    glances: np.ndarray

    def action_units_at(self, index: int) -> dict[int, tuple[float, float]]:
        """(left, right) intensity of every unit that acts in frame `index`."""
        time = index / self.fps
        acting: dict[int, tuple[float, float]] = {}

        def add(unit: int, left: float, right: float) -> None:
            before = acting.get(unit, (0.0, 0.0))
            acting[unit] = (before[0] + left, before[1] + right)

        for event in self.events:
            for unit, (left, right) in event.action_units.items():
                since = time - event.start - event.timing.lags[unit]
                activation = float(envelope(since, event.timing.rise, event.timing.fall))
                add(unit, left * activation, right * activation)
        for start, duration, closure in self.blinks:
            rise = duration * _CLOSING_SHARE
            lids = closure * float(envelope(time - start, rise, duration - rise))
            add(BLINK, lids, lids)
        for utterance in self.speech:
            for unit, intensity in _mouth_in_speech(utterance, time).items():
                add(unit, intensity, intensity)
        if BLINK in acting:
            acting[BLINK] = tuple(min(lids, 1.0) for lids in acting[BLINK])
        return {unit: sides for unit, sides in acting.items() if max(sides) > 0}

    def pose_at(self, index: int) -> HeadPose:
        """Head pose in frame `index`."""
        angle = 2 * np.pi * self.drift_frequencies * index / self.fps + self.drift_phases
        drift = (self.drift_amplitudes * np.sin(angle)).sum(0)
        return HeadPose(rotation_matrix(*(self.pose + drift[:3])), drift[3:])

    def gaze_at(self, index: int) -> tuple[float, float]:
        """(yaw, pitch) of the eyes in frame `index`."""
        time = index / self.fps
        current = int(np.searchsorted(self.glances[:, 0], time, side="right")) - 1
        target, origin = self.glances[current, 1:], self.glances[max(current - 1, 0), 1:]
        flown = float(envelope(time - self.glances[current, 0], _SACCADE, 1e9)) if current else 1.0
        yaw, pitch = origin + (target - origin) * flown
        return float(yaw), float(pitch)


def sample_long_clip_plan(
    rng: np.random.Generator,
    seconds: float,
    difficulty: float,
    fps: int,
    temperament: Temperament,
    resting_pose: np.ndarray,
    classes: tuple[str, ...],
) -> LongClipPlan:
    """Draws everything that moves in one long clip; arguments as in `expressions.sample_clip_plan`.

    At a higher difficulty the micro-expressions are weaker and speech, drift and glances more frequent.
    """
    num_frames = int(round(seconds * fps)) + 1
    blinks = [
        (rng.uniform(-0.1, seconds), rng.uniform(*_BLINK_DURATION), rng.uniform(*_BLINK_CLOSURE))
        for _ in range(rng.poisson(BLINK_RATE * seconds))
    ]
    speech = []
    for _ in range(rng.poisson((0.05 + 0.20 * difficulty) * seconds)):
        start = rng.uniform(-0.5, seconds)
        speech.append(
            Speech(
                start=start,
                end=start + rng.uniform(*_SPEECH_DURATION),
                rate=rng.uniform(*_SYLLABLE_RATE),
                phases=rng.uniform(0, 2 * np.pi, len(_SPEECH_UNITS)),
                loudness=rng.uniform(0.4, 1.0),
            )
        )
    spread = np.concatenate([np.deg2rad(_DRIFT_ANGLES), np.full(3, _DRIFT_SHIFT)]) * (0.4 + 1.2 * difficulty)
    waves = (_NUM_DRIFT_WAVES, 6)
    glances = [(0.0, *np.deg2rad(rng.normal(0, [3, 2])))]
    while glances[-1][0] < seconds:
        away = np.deg2rad(rng.normal(0, [4, 2.5])) * (0.5 + 0.5 * difficulty)
        glances.append((glances[-1][0] + rng.uniform(*_FIXATION), *away))
    return LongClipPlan(
        fps=fps,
        num_frames=num_frames,
        events=_sample_events(rng, seconds, difficulty, fps, temperament, classes),
        blinks=np.array(sorted(blinks)).reshape(-1, 3),
        speech=tuple(speech),
        pose=resting_pose + np.deg2rad(rng.normal(0, [2.5, 1.5, 1.0])),
        drift_amplitudes=rng.normal(0, spread / np.sqrt(_NUM_DRIFT_WAVES), waves),
        drift_frequencies=rng.uniform(*_DRIFT_FREQUENCIES, waves),
        drift_phases=rng.uniform(0, 2 * np.pi, waves),
        glances=np.array(glances),
    )


def _sample_events(
    rng: np.random.Generator,
    seconds: float,
    difficulty: float,
    fps: int,
    temperament: Temperament,
    classes: tuple[str, ...],
) -> tuple[MicroExpression, ...]:
    # As many as fit even if each takes the longest time.
    most = int((seconds - PAUSE) / (DURATION[1] + PAUSE))
    drawn = []
    for _ in range(min(int(rng.poisson(EVENT_RATE * seconds)), most)):
        label = classes[rng.integers(len(classes))]
        units = sample_action_units(rng, label, difficulty, temperament.gains)
        drawn.append((label, units, sample_timing(rng, tuple(units))))
    if not drawn:
        return ()
    free = seconds - PAUSE - sum(timing.duration + PAUSE for _, _, timing in drawn)
    # Sorted uniform places in the free time make every arrangement as likely as any other.
    starts = np.sort(rng.uniform(0, free, len(drawn))) + PAUSE
    events, passed = [], 0.0
    for (label, units, timing), start in zip(drawn, starts):
        begin = float(start + passed)
        passed += timing.duration + PAUSE
        onset, offset = int(np.floor(begin * fps)), int(np.ceil((begin + timing.duration) * fps))
        missed_by = rng.normal(0, 0.02 * difficulty)  # annotators do not hit the true apex
        apex = int(np.clip(round((begin + timing.peak + missed_by) * fps), onset + 1, offset - 1))
        events.append(MicroExpression(label, units, begin, timing, onset, apex, offset))
    return tuple(events)


def _mouth_in_speech(utterance: Speech, time: float) -> dict[int, float]:
    if not utterance.start < time < utterance.end:
        return {}
    ends = np.clip(min(time - utterance.start, utterance.end - time) / 0.15, 0, 1)  # starts and stops in 0.15 s
    turns = 2 * np.pi * utterance.rate * (time - utterance.start)
    # Jaw and lips open with each syllable; pucker and stretch come and go with every second and third one.
    courses = np.sin(np.array([turns, turns, turns / 2, turns / 3]) + utterance.phases * [0.15, 0.15, 1, 1])
    return {
        unit: float(ends * utterance.loudness * peak * max(course, 0.0))
        for (unit, peak), course in zip(_SPEECH_UNITS.items(), courses)
    }
