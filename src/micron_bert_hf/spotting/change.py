"""How a face moves between frames: dense optical flow of aligned frames, on a grid of patches, less the head's."""

import cv2
import numpy as np

from ..faces.alignment import EYE_DISTANCE_SHARE, TEMPLATE


# Movements are said in pixels of a face that fills a square of this side.
FACE_SIZE = 224
# Side of the frames in which flow is measured, in pixels, and patches a side. Ours.
FLOW_SIZE, FLOW_GRID = 160, 16
# Share of the patches, those that move most, whose mean counts. Ours: of 4, 8 and 12 in 256 the best on validation
# people (`docs/spotting.md`).
TOP_SHARE = 12 / 256
# Eyes are left out, since they blink: half the width and half the height round each, in distances between the eyes.
# Ours, as are the next.
EYE_HALF_WIDTH, EYE_HALF_HEIGHT = 0.36, 0.24
# The face in an aligned frame: an ellipse round its middle, half its width and half its height likewise.
FACE_CENTRE, FACE_HALF_WIDTH, FACE_HALF_HEIGHT = 0.2, 1.05, 1.25


class FlowChange:
    """
    Movement of a frame against two others, in pixels of a 224-pixel face: dense inverse search (Kroeger et al., ECCV
    2016) by OpenCV.

    Attributes:
        unit (`str`): of its movements.
    """

    unit = f"px of a {FACE_SIZE}-px face"

    def __init__(self) -> None:
        self._flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def prepare(self, frame: np.ndarray) -> np.ndarray:
        """What is kept of an aligned frame `(S, S, 3)` uint8: `(FLOW_SIZE, FLOW_SIZE)` grey."""
        small = cv2.resize(frame, (FLOW_SIZE, FLOW_SIZE), interpolation=cv2.INTER_AREA)
        return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)

    def movement(self, before: np.ndarray, frame: np.ndarray, after: np.ndarray) -> np.ndarray:
        """
        Args:
            before, frame, after: of [`prepare`].

        Returns:
            `(FLOW_GRID, FLOW_GRID, 2)` float32: where each patch of the middle frame is, (x, y), from the middle of
            where it is in the two others, less the median over the face. Steady movement cancels.
        """
        # from the middle frame, so that both fields are over the same points
        displacement = -(self._flow.calc(frame, before, None) + self._flow.calc(frame, after, None)) / 2
        patches = cv2.resize(displacement, (FLOW_GRID, FLOW_GRID), interpolation=cv2.INTER_AREA) * (
            FACE_SIZE / FLOW_SIZE
        )
        return patches - np.median(patches[face_patches(FLOW_GRID, FLOW_GRID)], axis=0)


def movement_score(movement: np.ndarray) -> np.ndarray:
    """
    Args:
        movement (`np.ndarray` of shape `(..., rows, columns, components)`)

    Returns:
        `(...)`: the mean length of the patches that move most within the face, without the eyes.
    """
    rows, columns = movement.shape[-3:-1]
    length = np.linalg.norm(movement, axis=-1)[..., face_patches(rows, columns) & ~eye_patches(rows, columns)]
    return np.sort(length, axis=-1)[..., -max(1, round(TOP_SHARE * rows * columns)) :].mean(-1)


def face_patches(rows: int, columns: int) -> np.ndarray:
    """Which patches of an aligned frame are within the face, `(rows, columns)` bool."""
    x, y = _patch_centres(rows, columns)
    return (x / FACE_HALF_WIDTH) ** 2 + ((y - FACE_CENTRE) / FACE_HALF_HEIGHT) ** 2 <= 1


def eye_patches(rows: int, columns: int) -> np.ndarray:
    """Which patches of an aligned frame are on an eye, `(rows, columns)` bool."""
    x, y = _patch_centres(rows, columns)
    eyes = TEMPLATE[:2].tolist()
    return np.logical_or.reduce(
        [(np.abs(x - eye_x) <= EYE_HALF_WIDTH) & (np.abs(y - eye_y) <= EYE_HALF_HEIGHT) for eye_x, eye_y in eyes]
    )


def _patch_centres(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """(x, y) of every patch from the middle of the frame, in distances between the eyes."""
    y, x = ((np.arange(count) + 0.5) / count - 0.5 for count in (rows, columns))
    return np.meshgrid(x / EYE_DISTANCE_SHARE, y / EYE_DISTANCE_SHARE)
