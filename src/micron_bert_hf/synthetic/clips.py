"""From a subject to its clips: recording session, rendered frames, ground truth, one row per clip."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .backgrounds import paint_background
from .expressions import CLASS_ACTION_UNITS, ClipPlan, Temperament, sample_clip_plan, sample_temperament
from .face_model import FaceModel
from .geometry import Camera, FaceState
from .lighting import Light, sample_light
from .long_clips import LongClipPlan, sample_long_clip_plan
from .motion import ground_truth_motion, landmark_positions
from .rendering import render
from .sensor import Sensor, expose
from .skin import SkinPainter
from .subject import Subject, sample_subject


DATASET_NAME = "synthetic"
# Noise of the sensor at difficulty 0, in linear light, and the brightness to which faces are exposed. Dark skin is
# exposed to less: a camera that meters the whole scene keeps it dark, and the white of the eye does not glare. Ours.
_SHOT_NOISE = 0.006
_FACE_BRIGHTNESS = 0.26
_DARKEST_EXPOSURE, _MELANIN_OF_HALF_EXPOSURE = 0.30, 3.0
# Magnification of the face (1 shows the whole head); at the upper end every landmark still lies in the picture. Ours.
_FILL = (0.95, 1.12)
# Frames are compressed above this difficulty, at a quality in this range.
_COMPRESSED_ABOVE = 0.5
_JPEG_QUALITY = (82, 95)
# Random streams: each has its own key, so that no draw in one shifts another.
_SESSION_STREAM, _CLIP_STREAM, _SENSOR_STREAM, _BACKGROUND_STREAM, _ORDER_STREAM = 1, 2, 3, 4, 5
# The subjects of unlabelled clips have streams of their own, so that no face is met again in a labelled set.
_UNLABELLED_STREAMS = 10


@dataclass(frozen=True)
class ClipParameters:
    """What decides how a subject's clips look; part of the cache's key.

    Attributes:
        classes: labels, each of `CLASS_ACTION_UNITS`.
        clips_per_class: for each subject.
        image_size: pixels.
        difficulty: 0 to 1.
        seed: of the whole set.
        fps: frames per second.
        frames: `"pair"` renders onset and apex only, `"clip"` every frame.
        color: `"rgb"`, or `"grey"` for a camera without colour.
    """

    classes: tuple[str, ...]
    clips_per_class: int
    image_size: int
    difficulty: float
    seed: int
    fps: int
    frames: str
    color: str = "rgb"


@dataclass(frozen=True)
class UnlabelledParameters:
    """What decides how unlabelled clips look; part of the cache's key.

    Attributes:
        seconds: length of each clip.
        classes: labels of the micro-expressions that may occur, each of `CLASS_ACTION_UNITS`.
        image_size, difficulty, seed, fps, color: as in [`ClipParameters`].
    """

    seconds: float
    classes: tuple[str, ...]
    image_size: int
    difficulty: float
    seed: int
    fps: int
    color: str


@dataclass(frozen=True)
class _Session:
    subject: Subject
    light: Light
    background: np.ndarray
    white_balance: np.ndarray
    saturation: float
    resting_pose: np.ndarray
    fill: float
    temperament: Temperament


def clip_order(subject_index: int, parameters: ClipParameters) -> list[tuple[int, str, int]]:
    """(number, label, repetition) of a subject's clips, by number.

    Numbers are drawn, so that neither the order of the rows nor a `sample_id` tells the class. A clip has the same
    number whichever other classes are asked for, and however many repetitions.
    """
    labels = list(CLASS_ACTION_UNITS)
    clips = []
    for repetition in range(parameters.clips_per_class):
        shuffled = _stream(parameters.seed, _ORDER_STREAM, subject_index, repetition).permutation(len(labels))
        for place, position in enumerate(shuffled):
            if labels[position] in parameters.classes:
                clips.append((repetition * len(labels) + place, labels[position], repetition))
    return clips


def subject_name(index: int, parameters: ClipParameters | UnlabelledParameters) -> str:
    """`subject_id` of the subject with this number: `"s003"`, or `"u003"` in unlabelled clips."""
    return f"{'u' if isinstance(parameters, UnlabelledParameters) else 's'}{index:03d}"


class ClipRenderer:
    """Renders all clips of one subject at a time; read-only, one instance serves every subject."""

    def __init__(self) -> None:
        self.face_model = FaceModel()
        self.painter = SkinPainter(self.face_model)

    def render_subject(
        self, subject_index: int, parameters: ClipParameters | UnlabelledParameters
    ) -> Iterator[dict[str, Any]]:
        """Rows of one subject; see `generation`. Labelled clips come in the order of [`clip_order`]."""
        session = self._sample_session(subject_index, parameters)
        if isinstance(parameters, UnlabelledParameters):
            yield self._render_unlabelled_clip(session, subject_index, parameters)
            return
        for number, label, repetition in clip_order(subject_index, parameters):
            yield self._render_clip(session, subject_index, number, label, repetition, parameters)

    def _sample_session(self, subject_index: int, parameters: ClipParameters | UnlabelledParameters) -> _Session:
        unlabelled = isinstance(parameters, UnlabelledParameters)
        first_stream = _UNLABELLED_STREAMS if unlabelled else 0
        rng = _stream(parameters.seed, first_stream + _SESSION_STREAM, subject_index)
        background = _stream(parameters.seed, first_stream + _BACKGROUND_STREAM, subject_index)
        subject = sample_subject(self.face_model, self.painter, rng)
        return _Session(
            subject=subject,
            light=sample_light(rng),
            background=paint_background(background),
            white_balance=np.exp(rng.normal(0, 0.03, 3)),
            saturation=rng.uniform(0.72, 0.95),
            resting_pose=np.deg2rad(rng.normal(0, [4, 3, 1.5])),
            fill=rng.uniform(*_FILL),
            temperament=sample_temperament(rng, parameters.difficulty),
        )

    def _render_clip(
        self,
        session: _Session,
        subject_index: int,
        number: int,
        label: str,
        repetition: int,
        parameters: ClipParameters,
    ) -> dict[str, Any]:
        # A class keeps its number whichever classes are asked for, so that its clips are the same in every set.
        key = (subject_index, list(CLASS_ACTION_UNITS).index(label), repetition)
        rng = _stream(parameters.seed, _CLIP_STREAM, *key)
        plan = sample_clip_plan(
            rng, label, parameters.difficulty, parameters.fps, session.temperament, session.resting_pose
        )
        camera = _camera(session, parameters.image_size, rng)
        wanted = range(plan.num_frames) if parameters.frames == "clip" else (0, plan.apex_index)
        sensor = None
        frames = {}
        for index in wanted:
            linear = self._render_linear(session, camera, plan, index)
            if sensor is None:  # exposed once, on the onset frame, as a camera with fixed exposure
                sensor = _sensor(session, linear, parameters)
            frames[index] = expose(linear, sensor, _stream(parameters.seed, _SENSOR_STREAM, *key, index))
        onset, apex = (_face_state(self.face_model, session.subject, plan, index) for index in (0, plan.apex_index))
        truth = ground_truth_motion(self.face_model, camera, onset, apex)
        subject_id = subject_name(subject_index, parameters)
        row = {
            "sample_id": f"{subject_id}_{number:03d}",
            "subject_id": subject_id,
            "dataset": DATASET_NAME,
            "label": label,
            "label_raw": label,
            "action_units": {str(unit): sides for unit, sides in plan.action_units.items()},
            "other_action_units": {str(unit): (peak, peak) for unit, peak in plan.other_units.items()},
            "fps": parameters.fps,
            "onset_index": 0,
            "apex_index": plan.apex_index,
            "offset_index": plan.offset_index,
            "true_apex_index": plan.true_apex_index,
            "onset": frames[0],
            "apex": frames[plan.apex_index],
            "motion": truth.motion,
            "expression_motion": truth.expression_motion,
            "motion_valid": truth.motion_valid,
            "face_mask": truth.face_mask,
            "landmarks_onset": landmark_positions(self.face_model, camera, onset),
            "landmarks_apex": landmark_positions(self.face_model, camera, apex),
        }
        if parameters.frames == "clip":
            row["frames"] = np.stack([frames[index] for index in wanted])
        return row

    def _render_unlabelled_clip(
        self, session: _Session, subject_index: int, parameters: UnlabelledParameters
    ) -> dict[str, Any]:
        rng = _stream(parameters.seed, _UNLABELLED_STREAMS + _CLIP_STREAM, subject_index)
        plan = sample_long_clip_plan(
            rng,
            parameters.seconds,
            parameters.difficulty,
            parameters.fps,
            session.temperament,
            session.resting_pose,
            parameters.classes,
        )
        camera = _camera(session, parameters.image_size, rng)
        frames = np.empty((plan.num_frames, parameters.image_size, parameters.image_size, 3), np.uint8)
        landmarks = []
        sensor = None
        for index in range(plan.num_frames):
            linear = self._render_linear(session, camera, plan, index)
            if sensor is None:
                sensor = _sensor(session, linear, parameters)
            noise = _stream(parameters.seed, _UNLABELLED_STREAMS + _SENSOR_STREAM, subject_index, index)
            frames[index] = expose(linear, sensor, noise)
            state = _face_state(self.face_model, session.subject, plan, index)
            landmarks.append(landmark_positions(self.face_model, camera, state))
        subject_id = subject_name(subject_index, parameters)
        return {
            "sample_id": f"{subject_id}_000",
            "subject_id": subject_id,
            "dataset": DATASET_NAME,
            "fps": parameters.fps,
            "intervals": [
                {
                    "onset": event.onset,
                    "apex": event.apex,
                    "offset": event.offset,
                    "label": event.label,
                    "action_units": {str(unit): sides for unit, sides in event.action_units.items()},
                }
                for event in plan.events
            ],
            "frames": frames,
            "landmarks": np.stack(landmarks),
        }

    def _render_linear(
        self, session: _Session, camera: Camera, plan: ClipPlan | LongClipPlan, index: int
    ) -> np.ndarray:
        state = _face_state(self.face_model, session.subject, plan, index)
        units = plan.action_units_at(index)
        return render(self.face_model, session.subject, state, units, camera, session.light, session.background)


def _face_state(face_model: FaceModel, subject: Subject, plan: ClipPlan | LongClipPlan, index: int) -> FaceState:
    vertices = face_model.express(subject.vertices, plan.action_units_at(index))
    return FaceState(vertices, plan.pose_at(index), plan.gaze_at(index))


def _camera(session: _Session, image_size: int, rng: np.random.Generator) -> Camera:
    shift_x, shift_y = rng.normal(0, 0.012, 2).clip(-0.03, 0.03) * image_size
    return Camera.framing(
        image_size,
        session.subject.eye_centre,
        session.subject.eye_to_chin,
        fill=session.fill * np.exp(rng.normal(0, 0.015)),
        shift=(float(shift_x), float(shift_y)),
    )


def _sensor(session: _Session, linear: np.ndarray, parameters: ClipParameters | UnlabelledParameters) -> Sensor:
    size, difficulty = len(linear), parameters.difficulty
    face = linear[int(0.3 * size) : int(0.7 * size), int(0.3 * size) : int(0.7 * size)]
    kept = _DARKEST_EXPOSURE + (1 - _DARKEST_EXPOSURE) / (1 + session.subject.skin.melanin / _MELANIN_OF_HALF_EXPOSURE)
    exposure = _FACE_BRIGHTNESS / face.mean() * kept
    return Sensor(
        exposure=float(exposure),
        white_balance=session.white_balance,
        saturation=session.saturation,
        blur=0.55 + 0.25 * difficulty,
        shot_noise=_SHOT_NOISE * (1 + difficulty),
        read_noise=_SHOT_NOISE * 0.6 * (1 + difficulty),
        exposure_flicker=0.004 * (1 + 2 * difficulty),
        jpeg_quality=_JPEG_QUALITY if difficulty > _COMPRESSED_ABOVE else None,
        grey=parameters.color == "grey",
    )


def _stream(seed: int, stream: int, *key: int) -> np.random.Generator:
    # spawn_key, not a longer list of integers: numpy pads lists with zeros, so that [seed, 3] and [seed, 3, 0, 0] are
    # one stream.
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream, *key)))
