"""Where the head is and how it is seen: rotations, head pose, gaze, pinhole camera."""

from dataclasses import dataclass

import numpy as np


def rotation_matrix(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """`(3, 3)` rotation, radians: first yaw (about y, up), then pitch (about x), then roll (about z)."""
    cos_yaw, sin_yaw, cos_pitch, sin_pitch = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
    cos_roll, sin_roll = np.cos(roll), np.sin(roll)
    about_z = np.array([[cos_roll, -sin_roll, 0], [sin_roll, cos_roll, 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, cos_pitch, -sin_pitch], [0, sin_pitch, cos_pitch]])
    about_y = np.array([[cos_yaw, 0, sin_yaw], [0, 1, 0], [-sin_yaw, 0, cos_yaw]])
    return about_z @ about_x @ about_y


def rotate(points: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """`(N, 3)` points turned by a `(3, 3)` rotation.

    Written out instead of `points @ rotation.T`: a threaded BLAS may round differently with another number of threads,
    and the same seed must give the same bytes in a worker and in the caller's own process.
    """
    x, y, z = points[:, 0], points[:, 1], points[:, 2]
    rotation = rotation.astype(points.dtype)
    return np.stack([x * row[0] + y * row[1] + z * row[2] for row in rotation], 1)


def dot(vectors: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """`(N, 3)` times `(3,)` -> `(N,)`, without BLAS for the reason given in [`rotate`]."""
    direction = direction.astype(vectors.dtype)
    return vectors[:, 0] * direction[0] + vectors[:, 1] * direction[1] + vectors[:, 2] * direction[2]


@dataclass(frozen=True)
class HeadPose:
    """Rigid motion of the head about the camera's `pivot`.

    Attributes:
        rotation: `(3, 3)`.
        translation: `(3,)`, decimetres.
    """

    rotation: np.ndarray
    translation: np.ndarray


@dataclass(frozen=True)
class FaceState:
    """Everything that moves from frame to frame.

    Attributes:
        vertices: `(V, 3)` float64, decimetres, in the head's frame, expression applied.
        pose: of the head.
        gaze: (yaw, pitch) of the eyes in the head, radians.
    """

    vertices: np.ndarray
    pose: HeadPose
    gaze: tuple[float, float]


@dataclass(frozen=True)
class Camera:
    """Square pinhole camera looking along -z at the face.

    Attributes:
        image_size: pixels.
        distance: of the point between the eyes, decimetres.
        focal_length: pixels.
        target: `(3,)`, the point on the optical axis.
        pivot: `(3,)`, the point about which the head turns (in the neck's joint).
        shift: (x, y) of the picture, pixels.
    """

    image_size: int
    distance: float
    focal_length: float
    target: np.ndarray
    pivot: np.ndarray
    shift: tuple[float, float]

    # Height of the eyes in the picture and part of it between eyes and chin at `fill=1`, for a face framed as in the
    # recorded databases; distance of a lab camera. Ours.
    EYE_ROW = 0.44
    EYE_TO_CHIN = 0.43
    DISTANCE = 9.0

    @classmethod
    def framing(
        cls,
        image_size: int,
        eye_centre: np.ndarray,
        eye_to_chin: float,
        fill: float = 1.0,
        shift: tuple[float, float] = (0.0, 0.0),
    ) -> "Camera":
        """A camera that shows a face of any size equally large.

        Args:
            image_size: pixels.
            eye_centre: `(3,)`, the point between the eyes, decimetres.
            eye_to_chin: decimetres.
            fill: magnification; 1 shows the whole head.
            shift: (x, y) of the picture, pixels.
        """
        target = eye_centre * np.array([0.0, 1.0, 1.0])
        focal_length = image_size * cls.EYE_TO_CHIN * fill / eye_to_chin * cls.DISTANCE
        return cls(image_size, cls.DISTANCE, focal_length, target, target + np.array([0.0, -0.6, -1.0]), shift)

    @property
    def pixels_per_decimetre(self) -> float:
        """Magnification at the distance of the eyes."""
        return self.focal_length / self.distance

    def place(self, points: np.ndarray, pose: HeadPose) -> np.ndarray:
        """`(N, 3)` points of the head's frame -> the camera's scene."""
        return rotate(points - self.pivot, pose.rotation) + self.pivot + pose.translation

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`(N, 3)` points of the scene -> `(N, 2)` pixels and `(N,)` depths (decimetres).

        x points to the right, y down; the centre of pixel (0, 0) is at (0.5, 0.5).
        """
        offset = points - self.target
        depth = self.distance - offset[:, 2]
        x = self.image_size * 0.5 + self.focal_length * offset[:, 0] / depth + self.shift[0]
        y = self.image_size * self.EYE_ROW - self.focal_length * offset[:, 1] / depth + self.shift[1]
        return np.stack([x, y], 1), depth
