"""What a face does in a clip: classes as action-unit combinations, their course over time, and all the rest that
moves.

Intensities run from 0 to 1; about 0.1 is FACS level A (trace), 0.3 level B (slight), 0.5 level C. The combinations are
ours, modelled on the labelling criteria of CASME II (Yan et al., PLoS ONE 9(1), e86041, 2014), which were written down
from
memory here: check them against the paper before calling them its criteria. Every number is ours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .face_model import ACTION_UNITS, MIDLINE_UNITS
from .geometry import HeadPose, rotation_matrix


# Class -> alternative combinations {action unit: (lowest, highest) peak intensity}. The order is part of the random
# streams: new classes go to the end.
CLASS_ACTION_UNITS: Mapping[str, Sequence[Mapping[int, tuple[float, float]]]] = {
    "happiness": ({12: (0.10, 0.28)}, {6: (0.12, 0.35), 12: (0.08, 0.25)}, {6: (0.2, 0.4)}),
    "surprise": (
        {1: (0.2, 0.5), 2: (0.2, 0.5)},
        {1: (0.2, 0.45), 2: (0.2, 0.45), 5: (0.15, 0.5)},
        {1: (0.15, 0.4), 2: (0.15, 0.4), 26: (0.04, 0.12), 25: (0.1, 0.25)},
        {2: (0.25, 0.55)},
    ),
    "disgust": (
        {9: (0.2, 0.5)},
        {10: (0.18, 0.45)},
        {9: (0.15, 0.4), 10: (0.12, 0.3)},
        {4: (0.2, 0.45), 7: (0.2, 0.5)},
        {4: (0.15, 0.4), 9: (0.15, 0.4)},
    ),
    "repression": (
        {15: (0.25, 0.55)},
        {17: (0.2, 0.5)},
        {15: (0.2, 0.45), 17: (0.15, 0.4)},
        {14: (0.25, 0.55)},
        {14: (0.2, 0.4), 24: (0.2, 0.4)},
    ),
    "sadness": ({1: (0.25, 0.5), 4: (0.1, 0.3)}, {1: (0.2, 0.45), 15: (0.2, 0.45)}),
    "anger": ({4: (0.2, 0.5), 7: (0.2, 0.5), 23: (0.1, 0.3)}, {4: (0.2, 0.5), 24: (0.2, 0.45)}),
    "fear": (
        {1: (0.2, 0.4), 2: (0.1, 0.3), 4: (0.15, 0.35), 5: (0.2, 0.5), 20: (0.15, 0.35)},
        {5: (0.2, 0.5), 20: (0.2, 0.45)},
    ),
    "contempt": ({14: (0.3, 0.6)},),
}
# Class -> class of the three-class protocol of the Micro-Expression Grand Challenge 2019 (See et al., FG 2019).
# Repression is negative there too.
THREE_CLASS_LABELS: Mapping[str, str] = {
    "happiness": "positive",
    "surprise": "surprise",
    **{name: "negative" for name in CLASS_ACTION_UNITS if name not in ("happiness", "surprise")},
}
UNILATERAL_CLASSES = ("contempt",)
BLINK = 43
# Units that may accompany any class, as a subject's habit or by chance.
HABITUAL_UNITS = (1, 2, 4, 7, 10, 12, 14, 17, 24)
DISTRACTOR_UNITS = (1, 2, 4, 6, 7, 9, 10, 12, 14, 15, 17, 20, 24)
# At difficulty 1 a labelled movement has this much less of its intensity.
_INTENSITY_LOSS = 0.72


@dataclass(frozen=True)
class Temperament:
    """How one subject expresses.

    Attributes:
        gains: factor on the intensity of each action unit.
        habit: action unit that accompanies everything the subject does.
    """

    gains: Mapping[int, float]
    habit: int


@dataclass(frozen=True)
class ClipPlan:
    """Everything that moves in one clip, fixed before a frame is rendered. Times in seconds from the onset, angles in
    radians.

    Attributes:
        action_units: labelled units -> (left, right) peak intensity.
        other_units: unlabelled units -> intensity on both sides, and the blink if there is one.
        lags: labelled units -> how much later than the others they act.
        rise, fall: seconds from onset to apex and from apex to offset.
        pose: (yaw, pitch, roll) at onset; `drift` is how far they drift, `shift` (decimetres) how far the head moves.
        drift_phase: course of the drift, radians of a sine.
        gaze: (yaw, pitch) at onset; `gaze_shift` is how far they drift.
        fps: frames per second.
        num_frames: of the whole clip.
        apex_index: as annotated; `true_apex_index` is where the apex really is.
    """

    action_units: Mapping[int, tuple[float, float]]
    other_units: Mapping[int, float]
    lags: Mapping[int, float]
    rise: float
    fall: float
    pose: np.ndarray
    drift: np.ndarray
    shift: np.ndarray
    drift_phase: float
    gaze: np.ndarray
    gaze_shift: np.ndarray
    fps: int
    num_frames: int
    apex_index: int
    true_apex_index: int

    @property
    def offset_index(self) -> int:
        """Last frame of the clip."""
        return self.num_frames - 1

    def _progress(self, index: int) -> float:
        return float(np.clip(index / self.fps / (self.rise + self.fall), 0, 1))

    def action_units_at(self, index: int) -> dict[int, tuple[float, float]]:
        """(left, right) intensity of every unit that acts in frame `index`; the onset frame is neutral."""
        if index == 0:
            return {}
        time, progress = index / self.fps, self._progress(index)
        acting: dict[int, tuple[float, float]] = {}
        for unit, (left, right) in self.action_units.items():
            activation = float(envelope(time - self.lags[unit], self.rise, self.fall))
            acting[unit] = (left * activation, right * activation)
        for unit, peak in self.other_units.items():
            # The blink opens again within the clip; the other units outlast it.
            course = np.sin(np.pi * progress) ** 2 if unit == BLINK else np.sin(np.pi * progress * 0.8)
            left, right = acting.get(unit, (0.0, 0.0))
            acting[unit] = (left + peak * float(course), right + peak * float(course))
        return {unit: sides for unit, sides in acting.items() if max(sides) > 0}

    def pose_at(self, index: int) -> HeadPose:
        """Head pose in frame `index`."""
        course = np.sin(self.drift_phase * self._progress(index))
        return HeadPose(rotation_matrix(*(self.pose + self.drift * course)), self.shift * course)

    def gaze_at(self, index: int) -> tuple[float, float]:
        """(yaw, pitch) of the eyes in frame `index`."""
        yaw, pitch = self.gaze + self.gaze_shift * self._progress(index)
        return float(yaw), float(pitch)


def envelope(time: float | np.ndarray, rise: float, fall: float) -> np.ndarray:
    """Activation in 0..1 of a movement that starts at 0, peaks at `rise` and ends at `rise + fall` (seconds)."""
    rising = _smoothstep(np.clip(np.asarray(time) / rise, 0, 1)) ** 0.9
    falling = _smoothstep(np.clip(1 - (np.asarray(time) - rise) / fall, 0, 1))
    return np.where(np.asarray(time) <= rise, rising, falling)


def sample_temperament(rng: np.random.Generator, difficulty: float) -> Temperament:
    """Draws a subject's expressivity; subjects differ more at a higher difficulty."""
    spread = 0.15 + 0.25 * difficulty
    gains = {unit: float(np.exp(rng.normal(0, spread))) for unit in ACTION_UNITS}
    return Temperament(gains, int(rng.choice(HABITUAL_UNITS)))


def sample_action_units(
    rng: np.random.Generator, label: str, difficulty: float, gains: Mapping[int, float]
) -> dict[int, tuple[float, float]]:
    """Draws one of the class's combinations and the (left, right) peak intensity of its units."""
    combinations = CLASS_ACTION_UNITS[label]
    drawn: dict[int, tuple[float, float]] = {}
    for unit, (low, high) in combinations[rng.integers(len(combinations))].items():
        intensity = float(rng.uniform(low, high)) * (1 - _INTENSITY_LOSS * difficulty) * gains[unit]
        asymmetry = float(np.clip(rng.normal(0, 0.12), -0.35, 0.35))
        if label in UNILATERAL_CLASSES:
            asymmetry = float(rng.choice([-1, 1]) * 0.85)
        if unit in MIDLINE_UNITS:  # the model moves both sides alike, so the row must not say otherwise
            asymmetry = 0.0
        drawn[unit] = (min(intensity * (1 + asymmetry), 1.0), min(intensity * (1 - asymmetry), 1.0))
    return drawn


def sample_clip_plan(
    rng: np.random.Generator,
    label: str,
    difficulty: float,
    fps: int,
    temperament: Temperament,
    resting_pose: np.ndarray,
) -> ClipPlan:
    """Draws everything that moves in one clip.

    Args:
        label: key of `CLASS_ACTION_UNITS`.
        difficulty: 0 (only the labelled movement, clearly visible) to 1 (weak, with drift, blinks and other
            movements).
        resting_pose: `(3,)` (yaw, pitch, roll) of the subject, radians.
    """
    action_units = sample_action_units(rng, label, difficulty, temperament.gains)
    rise, fall = rng.uniform(0.06, 0.20), rng.uniform(0.12, 0.28)
    pose = resting_pose + np.deg2rad(rng.normal(0, [2.5, 1.5, 1.0]))
    gaze, gaze_shift = np.deg2rad(rng.normal(0, [3, 2])), np.deg2rad(rng.normal(0, [0.5, 0.3]))
    restlessness = 0.5 + 3 * difficulty
    drift = np.deg2rad(rng.normal(0, [0.20, 0.15, 0.12])) * restlessness
    shift = rng.normal(0, 0.003, 3) * restlessness
    drift_phase = rng.uniform(0.6, 2.4)
    blink = rng.uniform(0.03, 0.25 + 0.3 * difficulty) if rng.random() < 0.2 + 0.2 * difficulty else 0.0
    chance_units = rng.choice(DISTRACTOR_UNITS, 1 + int(round(2 * difficulty)), replace=False)
    other_units = {
        unit: float(rng.uniform(0, 0.05 + 0.13 * difficulty))
        for unit in (temperament.habit, *(int(unit) for unit in chance_units))
    }
    if blink:
        other_units[BLINK] = float(blink)
    lags = {unit: float(rng.normal(0, 0.012)) for unit in action_units}
    num_frames = max(int(np.ceil((rise + fall) * fps)) + 1, 3)
    true_apex = int(np.clip(round(rise * fps), 1, num_frames - 2))
    missed_by = round(rng.normal(0, 0.02 * difficulty) * fps)  # annotators do not hit the true apex
    return ClipPlan(
        action_units=action_units,
        other_units=other_units,
        lags=lags,
        rise=rise,
        fall=fall,
        pose=pose,
        drift=drift,
        shift=shift,
        drift_phase=drift_phase,
        gaze=gaze,
        gaze_shift=gaze_shift,
        fps=fps,
        num_frames=num_frames,
        apex_index=int(np.clip(true_apex + missed_by, 1, num_frames - 2)),
        true_apex_index=true_apex,
    )


def _smoothstep(x: np.ndarray) -> np.ndarray:
    return x * x * (3 - 2 * x)
