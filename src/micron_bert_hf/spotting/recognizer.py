"""Where in a video micro-expressions are, and what they are.

    from transformers import pipeline
    from micron_bert_hf.spotting import MicroExpressionRecognizer

    classify = pipeline("micro-expression-classification", model=FOLDER, trust_remote_code=True)
    recognize = MicroExpressionRecognizer(classify)
    for found in recognize("interview.mp4"):
        print(found.onset, found.apex, found.offset, found.label, found.score)

A video is read three times: for its face, for the curve of movement, with less than a second of it in memory, and for
the frames of what was found. The face is found on the first frame that shows one, and every frame is warped alike.
"""

import logging
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from ..faces import FaceAligner, FaceAlignment, load_detector
from ..pipeline_micron_bert import MicroExpressionClassificationPipeline
from .attention import AttentionChange
from .change import FlowChange, movement_score
from .intervals import (
    ATTENTION_OPTIONS,
    CURVE_SMOOTHING,
    LAG_SECONDS,
    MOVEMENT_SMOOTHING,
    Moment,
    SpottingOptions,
    pick_intervals,
    smooth_over_time,
)
from .video import Video, VideoFrame


logger = logging.getLogger(__name__)
# Frames a second that are compared; of faster videos some are passed over. Ours: a micro-expression has ten then.
COMPARED_FPS = 60.0
# How long, and how often, a face is looked for at the beginning (seconds), and side of the aligned frames. Ours.
FACE_SEARCH_SECONDS, FACE_SEARCH_STEP, ALIGNED_SIZE = 2.0, 0.25, 224
# With fewer frames a second a micro-expression may have a single one: of smooth bumps all are found at 20, seven of
# eight at 15, half at 12.
LEAST_FPS = 20
# What movement is measured by.
MEASURES = ("flow", "attention")


@dataclass(frozen=True)
class FoundExpression:
    """
    One micro-expression.

    Args:
        onset, apex, offset (`int`): frames, by the video's numbering.
        onset_seconds, apex_seconds, offset_seconds (`float`): from the first frame.
        change (`float`): how far the parts of the face that moved most did, in pixels of a 224-pixel face; of a video
            spotted by a model that is not windowed, how much their attention to themselves fell, in nats.
        scores (`Mapping[str, float]`): label -> probability, best first; empty without a classifier.
        maps (`Mapping[str, np.ndarray]`): `diagonal_attention` and `patch_of_interest` of onset and apex.
        frames (`tuple[np.ndarray, np.ndarray]`): the aligned onset and apex, `(S, S, 3)` uint8.
        notes (`tuple[str, ...]`): what there is to know of the face, such as that none was found and the middle of the
            frame was taken; those of a whole video are in [`MovementCurve`]'s `notes`.
    """

    onset: int
    apex: int
    offset: int
    onset_seconds: float
    apex_seconds: float
    offset_seconds: float
    change: float
    scores: Mapping[str, float] = field(default_factory=dict)
    maps: Mapping[str, np.ndarray] = field(default_factory=dict)
    frames: tuple[np.ndarray, np.ndarray] | None = None
    notes: tuple[str, ...] = ()

    @property
    def label(self) -> str | None:
        return next(iter(self.scores), None)

    @property
    def score(self) -> float | None:
        return next(iter(self.scores.values()), None)

    def as_json(self, maps: bool = False) -> dict[str, Any]:
        """Ready for JSON; with `maps` as nested lists."""
        places = {
            name: {"frame": getattr(self, name), "seconds": round(getattr(self, f"{name}_seconds"), 4)}
            for name in ("onset", "apex", "offset")
        }
        found = {
            **places,
            "change": self.change,
            "label": self.label,
            "score": self.score,
            "scores": dict(self.scores),
        }
        return {**found, "maps": {name: values.tolist() for name, values in self.maps.items()}} if maps else found


@dataclass(frozen=True)
class MovementCurve:
    """
    How much a face moved in every frame that was compared.

    Args:
        numbers (`tuple[int, ...]`): of the frames.
        seconds, values (`np.ndarray` of shape `(T,)`): times, and movement in the unit of
            [`FoundExpression`]'s `change`; NaN at both ends.
        unit (`str`): of `values`.
        alignment (`FaceAlignment`): of the whole video.
        problem (`str`, *optional*): why the video's frames ended before its end.
    """

    numbers: tuple[int, ...]
    seconds: np.ndarray
    values: np.ndarray
    unit: str
    alignment: FaceAlignment
    problem: str | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What there is to know of the face, why nothing can have been spotted, and what is wrong with the video."""
        notes = list(self.alignment.notes)
        step = float(np.median(np.diff(self.seconds))) if len(self.seconds) > 1 else 0.0
        if self.alignment.face is None:
            notes.append("without a face nothing is spotted")
        elif step > 1 / LEAST_FPS:
            notes.append(f"{1 / step:.3g} frames a second are too few to spot by: from {LEAST_FPS} on they are enough")
        if self.alignment.face is not None and not np.isfinite(self.values).any():
            notes.append(f"no two frames are {LAG_SECONDS} s apart or nearly so: nothing could be compared")
        if self.problem is not None:
            notes.append(self.problem)
        return tuple(notes)


@dataclass(frozen=True)
class ChangeMap:
    """
    What has changed in a frame since the first one.

    Args:
        number (`int`), seconds (`float`): of the frame.
        frame (`np.ndarray` of shape `(S, S, 3)`, uint8): aligned.
        change (`np.ndarray` of shape `(rows, columns)`): `1 - diagonal / diagonal of the still pair`, at most 1; 0 is
            no change.
        patch_of_interest (`np.ndarray` of shape `(rows, columns)`)
    """

    number: int
    seconds: float
    frame: np.ndarray
    change: np.ndarray
    patch_of_interest: np.ndarray


class MicroExpressionRecognizer:
    """
    Args:
        classify: the pipeline; without it intervals have no label.
        options (*optional*): when movement counts.
        by (`"flow"` or `"attention"`): what movement in a video is measured by, optical flow or the model's diagonal
            attention. Whether two pictures differ is always told by flow.

    Raises:
        ValueError: by attention, without a classifier; another name.
    """

    def __init__(
        self,
        classify: MicroExpressionClassificationPipeline | None = None,
        options: SpottingOptions | None = None,
        by: str = "flow",
    ):
        if by not in MEASURES:
            raise ValueError(f"`by` is {by!r}; expected one of {', '.join(MEASURES)}")
        if by == "attention" and classify is None:
            raise ValueError("the attention is a model's: spotting by attention needs a classifier (--model)")
        self._classify = classify
        self._flow = FlowChange()
        self._attention = None if classify is None else AttentionChange(classify)
        self._measure = self._attention if by == "attention" else self._flow
        self.options = options or (ATTENTION_OPTIONS if by == "attention" else SpottingOptions())
        self._aligner = FaceAligner(load_detector("mtcnn"), image_size=ALIGNED_SIZE)

    @property
    def has_maps(self) -> bool:
        """Whether there is a model whose maps can be shown."""
        return self._attention is not None

    def __call__(self, source: Any, fps: float | None = None, progress: bool = False) -> list[FoundExpression]:
        """
        Args:
            source, fps: see [`Video`].

        Returns:
            What was found, in the order of time; nothing if nothing moved. What there is to know of the face and of a
            damaged video goes to the log.

        Raises:
            FileNotFoundError, ValueError: see [`Video`].
        """
        video = Video(source, fps)
        curve = self.curve(video, progress)
        for note in curve.notes:
            logger.warning("%s", note)
        return self.expressions(video, curve)

    def expressions(self, video: Video, curve: MovementCurve) -> list[FoundExpression]:
        """
        What a curve of this video shows, in the order of time: another reading, of the frames that are needed. Without
        a face nothing: what moves then is something else.
        """
        if curve.alignment.face is None:
            return []
        intervals = pick_intervals(curve.values, curve.seconds, self.options)
        wanted = {curve.numbers[place] for interval in intervals for place in (interval.onset, interval.apex)}
        frames = {frame.number: frame.pixels for frame in self.aligned_frames(video, curve, wanted)}
        found = []
        for interval in intervals:
            places = (interval.onset, interval.apex, interval.offset)
            pair = tuple(frames[curve.numbers[place]] for place in places[:2])
            scores, maps = self._answer(pair)
            numbers, seconds = (curve.numbers[place] for place in places), (float(curve.seconds[p]) for p in places)
            found.append(FoundExpression(*numbers, *seconds, interval.height, scores, maps, pair))
        return found

    def pair(self, onset: Any, apex: Any) -> FoundExpression:
        """
        What two frames show, their face found on the onset.

        Args:
            onset, apex: each whatever the image processor takes, of one size.

        Returns:
            With the frames 0 and 1. `change` is what moved from one to the other, by flow; below
            `SpottingOptions().least_change` nothing did, and the scores say nothing.

        Raises:
            ValueError: a frame cannot be read, or they differ in size.
        """
        first, second = (frame.pixels for frame in Video([onset, apex], fps=1.0))
        alignment = self._aligner.find(first)
        pair = self._aligner.warp(first, alignment), self._aligner.warp(second, alignment)
        before, after = (self._flow.prepare(frame) for frame in pair)
        scores, maps = self._answer(pair)
        change = float(movement_score(self._flow.movement(before, after, before)))
        return FoundExpression(0, 1, 1, 0.0, 1.0, 1.0, change, scores, maps, pair, alignment.notes)

    def still_diagonal_attention(self, found: FoundExpression) -> np.ndarray:
        """`(rows, columns)`: what the diagonal attention would be had nothing moved, of the onset with itself."""
        onset, _ = found.frames
        return self._classify((onset, onset), return_maps=True)["diagonal_attention"]

    def curve(self, video: Video, progress: bool = False) -> MovementCurve:
        """Movement over time; the video is read for its face, and then once through."""
        frames = tqdm(video, desc="spotting", unit="frame", disable=not progress)
        alignment = self._find_face(video)
        prepared = (
            (Moment(frame.number, frame.seconds), self._measure.prepare(self._aligner.warp(frame.pixels, alignment)))
            for frame in _thinned(frames)
        )
        movements = smooth_over_time(self._movements(prepared), MOVEMENT_SMOOTHING)
        scores = ((moment, None if movement is None else movement_score(movement)) for moment, movement in movements)
        numbers: list[int] = []
        seconds: list[float] = []
        values: list[float] = []
        for moment, value in smooth_over_time(scores, CURVE_SMOOTHING):
            numbers.append(moment.number)
            seconds.append(moment.seconds)
            values.append(np.nan if value is None else float(value))
        return MovementCurve(
            tuple(numbers), np.array(seconds), np.array(values), self._measure.unit, alignment, video.problem
        )

    def change_maps(
        self, video: Video, curve: MovementCurve, numbers: Iterable[int] | None = None, progress: bool = False
    ) -> Iterator[ChangeMap]:
        """
        What has changed in each compared frame since the first one, as the model sees it. Another reading; each frame
        is encoded once.

        Args:
            numbers (*optional*): of the frames that are wanted; all of the curve by default.

        Raises:
            ValueError: there is no classifier.
        """
        if self._attention is None:
            raise ValueError("maps are the model's: give the recognizer a classifier")
        wanted = {curve.numbers[0], *(curve.numbers if numbers is None else numbers)}
        first = None
        bar = tqdm(total=len(wanted), desc="maps", unit="frame", disable=not progress)
        for frame in self.aligned_frames(video, curve, wanted):
            prepared = self._attention.prepare(frame.pixels)
            first = prepared if first is None else first
            yield ChangeMap(frame.number, frame.seconds, frame.pixels, *self._attention.change(first, prepared))
            bar.update()
        bar.close()

    def aligned_frames(self, video: Video, curve: MovementCurve, numbers: Collection[int]) -> Iterator[VideoFrame]:
        """Those frames, aligned as for the curve: another reading, up to the last of them."""
        if not numbers:
            return
        last = max(numbers)
        for frame in video:
            if frame.number in numbers:
                yield VideoFrame(frame.number, frame.seconds, self._aligner.warp(frame.pixels, curve.alignment))
            if frame.number >= last:
                return

    def _movements(self, frames: Iterable[tuple[Moment, Any]]) -> Iterator[tuple[Moment, np.ndarray | None]]:
        """Of every frame against those a lag before and after it, in order; `None` within half a lag of either end."""
        window: deque[tuple[Moment, Any]] = deque()
        waiting = 0  # the first in the window that has not been answered
        for item in frames:
            window.append(item)
            while item[0].seconds - window[waiting][0].seconds >= LAG_SECONDS:
                yield window[waiting][0], self._movement(window, waiting)
                waiting += 1
                while window[waiting][0].seconds - window[0][0].seconds > 1.5 * LAG_SECONDS:
                    window.popleft()
                    waiting -= 1
        for place in range(waiting, len(window)):
            yield window[place][0], self._movement(window, place)

    def _movement(self, window: deque, place: int) -> np.ndarray | None:
        """Of one frame against those nearest to a lag before and after it; unknown where there is none."""
        moment, middle = window[place]
        sides = []
        for side in (-1, 1):
            wanted = moment.seconds + side * LAG_SECONDS
            other, prepared = min(window, key=lambda item: abs(item[0].seconds - wanted))
            if abs(other.seconds - wanted) > LAG_SECONDS / 2 + 1e-6:  # times are rounded
                return None
            sides.append(prepared)
        return self._measure.movement(sides[0], middle, sides[1])

    def _find_face(self, video: Video) -> FaceAlignment:
        """The face of the first frame, or of one of a few after it; else the centre square."""
        frames = iter(video)
        return self._aligner.find(next(frames).pixels, _search_frames(frames))

    def _answer(self, pair: tuple[np.ndarray, np.ndarray]) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        if self._classify is None:
            return {}, {}
        # all labels, whatever the pipeline gives by default
        answer = self._classify(pair, return_maps=True, top_k=self._classify.model.config.num_labels)
        scores = {item["label"]: item["score"] for item in answer["predictions"]}
        return scores, {name: answer[name] for name in ("diagonal_attention", "patch_of_interest")}


def _thinned(frames: Iterable[VideoFrame]) -> Iterator[VideoFrame]:
    """About `COMPARED_FPS` of them a second, or all of a slower video."""
    last = -np.inf
    for frame in frames:
        if frame.seconds - last >= 0.75 / COMPARED_FPS:  # times are rounded
            last = frame.seconds
            yield frame


def _search_frames(frames: Iterable[VideoFrame]) -> Iterator[tuple[str, np.ndarray]]:
    """Those in which a face is looked for if the first has none, one in memory at a time."""
    due = FACE_SEARCH_STEP
    for frame in frames:
        if frame.seconds > FACE_SEARCH_SECONDS:
            return
        if frame.seconds >= due:
            yield f"frame {frame.number}", frame.pixels
            due = frame.seconds + FACE_SEARCH_STEP
