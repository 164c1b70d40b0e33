"""What a face does in a clip: classes as action-unit combinations, their course over time, and all the rest that
moves.

Intensities run from 0 to 1, the same visible displacement for every unit (`face_model.UNIT_DISPLACEMENT`). Every class
draws its strength from one distribution, and the strength of a combination is divided by how much of the face it moves
(`COMBINATION_BALANCE`), so that neither the largest nor the mean displacement tells the classes apart.

The combinations are ours, within published criteria. CASME II labels (Yan et al., PLoS ONE 9(1), e86041, 2014, Table
3): happiness by 6 or 12; disgust by 9, 10 or 4+7; surprise by 1+2, 25 or 2; repression by 15 or 17, alone or
together. The further classes stay close to the objective classes of Davison et al. (arXiv 1708.07549; as Table 9 of
arXiv 1805.02397: class III has 4 with 5, 7 or 23, class V 1+4, 15 and 15+17, class VI 20 and 1+2+4). We read the first
table as a third party quotes it and the second in the review. Ours: 14 and 24 in repression, 5 and 26 in surprise,
4+24 in anger, 5 with 20 in fear, 14 for contempt, and all mixing shares.

That a micro-expression lasts at most 0.5 s follows Yan et al. (J. Nonverbal Behavior 37, 217-230, 2013). Every other
number is ours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .face_model import ACTION_UNITS, MIDLINE_UNITS
from .geometry import HeadPose, rotation_matrix


# Class -> alternative combinations of action units, each as likely as the others. The order is part of the random
# streams: new classes go to the end.
CLASS_ACTION_UNITS: Mapping[str, Sequence[tuple[int, ...]]] = {
    "happiness": ((12,), (6, 12), (6,)),
    "surprise": ((1, 2), (1, 2, 5), (1, 2, 25, 26), (2,), (25, 26)),
    "disgust": ((9,), (10,), (9, 10), (4, 7), (4, 9)),
    "repression": ((15,), (17,), (15, 17), (14,), (14, 24)),
    "sadness": ((1, 4), (1, 15)),
    "anger": ((4, 7, 23), (4, 24)),
    "fear": ((1, 2, 4, 5, 20), (5, 20)),
    "contempt": ((14,),),
}
# Peak intensity of a labelled unit at difficulty 0 (its logarithm is uniform), before the subject's gains and the
# balance below. The same for every class.
STRENGTH = (0.18, 0.55)
# How much of the face each unit moves: mean displacement of the front of the mean face at intensity 1.0, in
# thousandths of the distance between the eyes (`FaceModel.unit_reach`; a test holds this table to the mesh).
UNIT_REACH: Mapping[int, float] = {
    1: 5.7, 2: 3.8, 4: 12.5, 5: 1.7, 6: 15.5, 7: 8.8, 9: 15.4, 10: 9.5, 12: 13.6, 14: 13.7, 15: 12.0, 16: 4.7, 17: 4.0,
    18: 16.4, 20: 11.4, 23: 7.3, 24: 13.6, 25: 8.0, 26: 13.7, 28: 7.4, 43: 5.1,
}  # fmt: skip
# A combination's strength is multiplied by (typical reach / its summed reach) ** COMBINATION_BALANCE. At 0,
# combinations of many or of wide units would show by their mean displacement, at 1 those of narrow units by their
# largest. Chosen where classifiers on either scalar come nearest to chance (about 0.28 and 0.27 for four classes, 800
# clips of the mean face at difficulty 0.7).
COMBINATION_BALANCE = 0.85
_TYPICAL_REACH = 15.0
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
# Seconds from onset to offset of a micro-expression, and the part of a unit's course before its peak.
DURATION = (0.16, 0.50)
_RISE_SHARE = (0.30, 0.55)
# Spread of the units' lags as a part of the duration; a combination has at most this many units.
_LAG_SHARE = 0.05
_MOST_UNITS = 6
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
        lags: labelled units -> how much later than the first of them they start.
        rise, fall: seconds from a unit's start to its peak and from there to its end.
        duration: seconds from the start of the first unit to the end of the last possible one, 0.16 to 0.5.
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
    duration: float
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
        return float(np.clip(index / self.fps / self.duration, 0, 1))

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


@dataclass(frozen=True)
class Timing:
    """Course of one micro-expression, in seconds from its onset; attributes as in [`ClipPlan`].

    Attributes:
        peak: when it is strongest, the same function of the draws for every number of units.
    """

    lags: Mapping[int, float]
    rise: float
    fall: float
    duration: float
    peak: float


def sample_timing(rng: np.random.Generator, units: Sequence[int]) -> Timing:
    """Draws duration, shape and lags. They do not depend on the units, so that timing tells nothing of the class."""
    duration = float(rng.uniform(*DURATION))
    # One lag for each of as many units as a combination may have, drawn and used alike for fewer.
    slots = np.abs(rng.normal(0, _LAG_SHARE, _MOST_UNITS)).clip(0, 3 * _LAG_SHARE) * duration
    slots -= slots.min()
    active = duration - slots.max()
    rise = active * float(rng.uniform(*_RISE_SHARE))
    lags = {unit: float(lag) for unit, lag in zip(units, slots)}
    return Timing(lags, rise, active - rise, duration, rise + float(slots.mean()))


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
    combination = combinations[rng.integers(len(combinations))]
    strength = (
        float(np.exp(rng.uniform(*np.log(STRENGTH))))
        * (1 - _INTENSITY_LOSS * difficulty)
        * combination_gain(combination)
    )
    drawn: dict[int, tuple[float, float]] = {}
    for unit in combination:
        intensity = strength * float(rng.uniform(0.8, 1.2)) * gains[unit]
        asymmetry = float(np.clip(rng.normal(0, 0.12), -0.35, 0.35))
        if label in UNILATERAL_CLASSES:
            asymmetry = float(rng.choice([-1, 1]) * 0.85)
        if unit in MIDLINE_UNITS:  # the model moves both sides alike, so the row must not say otherwise
            asymmetry = 0.0
        drawn[unit] = (min(intensity * (1 + asymmetry), 1.0), min(intensity * (1 - asymmetry), 1.0))
    return drawn


def combination_gain(combination: Sequence[int]) -> float:
    """Factor on the strength of a combination of action units; see `COMBINATION_BALANCE`."""
    reach = sum(UNIT_REACH[unit] for unit in combination)
    return float((_TYPICAL_REACH / reach) ** COMBINATION_BALANCE)


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
    timing = sample_timing(rng, tuple(action_units))
    # At least three frames, so that an apex lies between onset and offset.
    num_frames = max(int(np.ceil(timing.duration * fps)) + 1, 3)
    true_apex = int(np.clip(round(timing.peak * fps), 1, num_frames - 2))
    missed_by = round(rng.normal(0, 0.02 * difficulty) * fps)  # annotators do not hit the true apex
    return ClipPlan(
        action_units=action_units,
        other_units=other_units,
        lags=timing.lags,
        rise=timing.rise,
        fall=timing.fall,
        duration=timing.duration,
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
