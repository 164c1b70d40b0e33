"""
Takes the head's drift since the onset out of aligned frames: rotation and translation in the picture, no scale.

The face is not detected again, since its points jitter by more than the head drifts between two frames. Points that an
expression hardly moves are followed instead (Lucas-Kanade), round the corners of the eyes and along the nose. A head
that turns to the side or nods changes the picture in other ways too, and those stay. And what moves most of these
points at once is taken for drift: a wrinkled nose during a blink, by up to 0.7 pixels at 224 on synthetic faces.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from .alignment import EYE_DISTANCE_SHARE, FaceAligner, FaceAlignment
from .transforms import chain_transforms, move_points, rigid_transform


# Where to look for points, in distances between the eyes: the corners of an eye, from its centre, and the radius round
# them; half the width of the strip from between the eyes to the tip of the nose, which leaves out the wings. Ours; the
# mean synthetic face has its corners at 0.215.
EYE_HALF_WIDTH, CORNER_RADIUS, NOSE_HALF_WIDTH = 0.22, 0.13, 0.13
# Points for each of these five regions, their distance from each other in distances between the eyes, and their
# quality as a share of the best one's, at most and at least. Ours.
POINTS_PER_REGION, POINT_DISTANCE, POINT_QUALITY = 24, 0.03, 0.01
# Side of the window that is followed, in distances between the eyes; levels of the pyramid above the picture; when a
# point's search stops. Ours: 0.3 has a quarter less jitter than 0.2, and 0.4 reaches the brows.
WINDOW_SIDE, PYRAMID_LEVELS = 0.3, 3
STOP = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 40, 1e-3)
# A point counts as followed if following it back ends this near to where it began, in pixels. Ours.
RETURN_TOLERANCE = 0.3
# Windows do not rotate with the head: what is left after the first round is found by the second. A third changes
# nothing (0.02 pixel both times).
ROUNDS = 2
# Weight of a point that is `r` from where the others say: 1 / (1 + (r / s)^2), s the larger of so many median
# distances and so many pixels; it is trusted up to so many s. Ours: points that are cut off instead, others in each
# frame, make a third more jitter.
MEDIANS, LEAST_SCALE, TRUSTED_SCALES = 1.5, 0.1, 3
FIT_ROUNDS = 20
# Trusted points below which a frame stays as it is. Ours: in a blink 13 and more are left.
MIN_POINTS = 8
# Drift that is left alone, in pixels at the corner of the picture that moves most, and a third of it on the face: what
# is estimated of frames that differ in noise alone (0.1 for two grey levels, in 95 of 100) is not worth a resampling.
LEAST_DRIFT = 0.15
IDENTITY = np.eye(2, 3)


@dataclass(frozen=True, eq=False)
class Drift:
    """
    Where the head has moved to in the picture since the onset.

    Attributes:
        transform: `(2, 3)` float64, rotation and translation, takes (x, y, 1) in the aligned onset to (x, y) in the
            aligned frame; the identity where there is nothing to take back.
        num_points: points that were trusted.
        is_trusted: they were enough. If not, the frame stays as it is, and may have drifted by any amount.
    """

    transform: np.ndarray
    num_points: int
    is_trusted: bool


class Stabilizer:
    """
    Takes the head's drift out of the frames of one clip.

    Args:
        aligner: that made `alignment`.
        alignment: of the clip. Without a face in it there are no points to follow, and no frame is trusted.
        onset_frame: in which the head is where it is to stay, as for [`FaceAligner.find`].
    """

    def __init__(self, aligner: FaceAligner, alignment: FaceAlignment, onset_frame: np.ndarray) -> None:
        self._aligner = aligner
        self._alignment = alignment
        self._onset = _grey(aligner.warp(onset_frame, alignment))
        self._points = np.empty((0, 2), np.float32)
        if alignment.face is not None:
            self._points = steady_points(self._onset, move_points(alignment.face.points, alignment.transform))

    def stabilize(self, frame: np.ndarray) -> tuple[np.ndarray, Drift]:
        """
        Args:
            frame: of the clip, not aligned, as for [`FaceAligner.warp`].

        Returns:
            The aligned frame `(S, S, 3)` uint8, resampled once, with the drift taken back, and the drift. A frame that
            is not trusted, or has not drifted, is exactly what the aligner makes of it.
        """
        aligned = stable = self._aligner.warp(frame, self._alignment)
        transform = IDENTITY
        for _ in range(ROUNDS):
            rest, num_points = estimate_drift(self._onset, _grey(stable), self._points)
            if num_points < MIN_POINTS:
                return aligned, Drift(IDENTITY, num_points, False)
            transform = chain_transforms(rest, transform)
            stable = self._aligner.warp(frame, self._alignment, transform)
        end = self._aligner.image_size - 1
        corners = np.array([[0, 0], [end, 0], [0, end], [end, end]])
        if np.linalg.norm(move_points(corners, transform) - corners, axis=1).max() <= LEAST_DRIFT:
            return aligned, Drift(IDENTITY, num_points, True)
        return stable, Drift(transform, num_points, True)


def steady_points(onset: np.ndarray, face_points: np.ndarray) -> np.ndarray:
    """
    Args:
        onset: `(S, S)` uint8 grey, aligned.
        face_points: `(5, 2)` in it, ordered as those of [`Face`].

    Returns:
        `(N, 2)` float32 (x, y) of what can be followed well round the corners of the eyes and along the nose.
    """
    left, right, nose = face_points[:3]
    across = right - left
    distance = np.linalg.norm(across)
    radius, width = max(round(CORNER_RADIUS * distance), 1), max(round(2 * NOSE_HALF_WIDTH * distance), 1)
    masks = []
    for eye in (left, right):
        for corner in (eye - EYE_HALF_WIDTH * across, eye + EYE_HALF_WIDTH * across):
            masks.append(cv2.circle(np.zeros_like(onset), np.rint(corner).astype(int), radius, 255, cv2.FILLED))
    top, tip = np.rint((left + right) / 2).astype(int), np.rint(nose).astype(int)
    masks.append(cv2.line(np.zeros_like(onset), top, tip, 255, width))
    points = [np.empty((0, 1, 2), np.float32)]
    for mask in masks:
        found = cv2.goodFeaturesToTrack(onset, POINTS_PER_REGION, POINT_QUALITY, POINT_DISTANCE * distance, mask=mask)
        if found is not None:
            points.append(found)
    return np.concatenate(points)[:, 0]


def estimate_drift(onset: np.ndarray, frame: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, int]:
    """
    Args:
        onset, frame: `(S, S)` uint8 grey, aligned alike.
        points: `(N, 2)` float32 in the onset.

    Returns:
        The `(2, 3)` float64 rotation and translation from the onset to the frame, and how many points it can be
        trusted by; below `MIN_POINTS` it means nothing.
    """
    if len(points) < MIN_POINTS:
        return IDENTITY, len(points)
    window = max(round(WINDOW_SIDE * EYE_DISTANCE_SHARE * len(onset)), 3)
    search = {"winSize": (window, window), "maxLevel": PYRAMID_LEVELS, "criteria": STOP}
    moved, found, _ = cv2.calcOpticalFlowPyrLK(onset, frame, points, None, **search)
    back, found_back, _ = cv2.calcOpticalFlowPyrLK(frame, onset, moved, None, **search)
    returned = np.linalg.norm(back - points, axis=1) <= RETURN_TOLERANCE
    followed = (found[:, 0] == 1) & (found_back[:, 0] == 1) & returned
    if followed.sum() < MIN_POINTS:
        return IDENTITY, int(followed.sum())
    transform, trusted = robust_rigid_transform(*(places[followed].astype(np.float64) for places in (points, moved)))
    return transform, int(trusted.sum())


def robust_rigid_transform(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """
    The rotation and translation that most of the points agree on: begins with the median displacement, then fits again
    and again, each point weighted by how near it comes.

    Args:
        source, target: `(N, 2)` float64 points.

    Returns:
        The `(2, 3)` float64 transform, takes (x, y, 1), and which points can be trusted, `(N,)` bool.
    """
    transform = np.hstack([np.eye(2), np.median(target - source, axis=0)[:, None]])
    for _ in range(FIT_ROUNDS):
        distance = np.linalg.norm(move_points(source, transform) - target, axis=1)
        scale = max(MEDIANS * np.median(distance), LEAST_SCALE)
        transform = rigid_transform(source, target, 1 / (1 + (distance / scale) ** 2))
    return transform, distance <= TRUSTED_SCALES * scale


def _grey(frame: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
