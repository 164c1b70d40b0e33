"""What a face detector gives, and which of several faces a clip is about."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np


# How fast a face loses against a larger one with its distance from the frame's centre: by e^-2 at half the width or
# half the height. Ours, from the sketch that came before this package.
CENTRE_DECAY = 2.0


@dataclass(frozen=True, eq=False)
class Face:
    """
    One detected face. Positions are (x, y) in pixel-index coordinates: the centre of the frame's first pixel is
    (0, 0), so that the frame itself reaches from -0.5 to W - 0.5 and to H - 0.5.

    Attributes:
        score: the detector's confidence, 0 to 1; detectors differ in what they mean by it.
        box: `(4,)` float64, left, top, right, bottom edge; may reach beyond the frame.
        points: `(5, 2)` float64: the image-left eye, the image-right eye, the tip of the nose, the image-left and the
            image-right corner of the mouth.
    """

    score: float
    box: np.ndarray
    points: np.ndarray


class FaceDetector(Protocol):
    """Anything that finds faces, such as what [`load_detector`] returns."""

    def __call__(self, frame: np.ndarray) -> list[Face]:
        """The faces of `frame`, `(H, W, 3)` uint8 RGB, surest first; an empty list if there is none."""


def load_detector(name: str) -> FaceDetector:
    """
    Args:
        name: `"mtcnn"`, which comes with this package, or `"yunet"`, which is fetched from the Hub.

    Raises:
        ValueError: another name; a file from the Hub that is not the one expected.
        FileNotFoundError: `"yunet"` is not in the cache and the Hub cannot be reached.
    """
    # here, since both import `Face` from this file
    if name == "mtcnn":
        from .mtcnn import MtcnnDetector

        return MtcnnDetector()
    if name == "yunet":
        from .yunet import YuNetDetector, fetch_yunet

        return YuNetDetector(fetch_yunet())
    raise ValueError(f"the detector is {name!r}; expected 'mtcnn' or 'yunet'")


def choose_face(faces: Sequence[Face], height: int, width: int) -> Face:
    """
    The largest face near the centre: that of the largest `area * exp(-2 d^2)`, where `area` is that of its box and `d`
    the distance of the box's centre from the frame's, across in half widths and down in half heights. So a face in the
    middle of an edge (d = 1) is chosen only if it is 7.4 times as large as one in the centre. The first of equals.

    Args:
        faces: at least one.
        height, width: of the frame, in pixels.
    """
    centre = np.array([width - 1, height - 1]) / 2

    def rank(face: Face) -> float:
        distance = ((face.box[:2] + face.box[2:]) / 2 - centre) / np.array([width / 2, height / 2])
        return float(np.prod(face.box[2:] - face.box[:2]) * np.exp(-CENTRE_DECAY * np.sum(distance**2)))

    return max(faces, key=rank)


def shrink(frame: np.ndarray, max_side: int) -> tuple[np.ndarray, np.ndarray]:
    """
    Args:
        frame: `(H, W, 3)` uint8.
        max_side: of the result, in pixels; smaller frames stay as they are.

    Returns:
        The frame, and `(2,)` float64 factors from its (x, y) back to those of `frame`, edges counted from 0.
    """
    height, width = frame.shape[:2]
    scale = min(1.0, max_side / max(height, width))
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    image = cv2.resize(frame, size, interpolation=cv2.INTER_AREA) if scale < 1 else frame
    return image, np.array([width, height]) / size


def check_rgb_frame(frame: np.ndarray) -> None:
    """
    Raises:
        ValueError: the frame is not `(H, W, 3)` uint8, or has no pixels.
    """
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or frame.size == 0:
        raise ValueError(f"the frame is {frame.dtype} with shape {frame.shape}; expected uint8 with shape (H, W, 3)")
