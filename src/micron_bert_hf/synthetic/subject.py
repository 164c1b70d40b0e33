"""One subject: the shape, the skin, the eyes and the shirt that stay the same in every clip."""

from dataclasses import dataclass

import numpy as np

from .eyes import EyeAppearance, sample_eyes
from .face_model import CYLINDER_AXIS_Z, LEFT_EYE, RIGHT_EYE, SKIN, FaceModel, Identity, sample_identity
from .rasterizer import vertex_normals
from .skin import SkinPainter, SkinTexture
from .skin_canvas import HEIGHT, WIDTH, canvas_position


# Behind this angle (radians round the head) the canvas ends: above the given height everything is hair. Decimetres.
# Ours.
_BACK_ANGLE, _NAPE_Y = 1.8, 6.6


@dataclass(frozen=True)
class Subject:
    """Everything about a subject that no clip changes.

    Attributes:
        identity: shape parameters.
        vertices: `(V, 3)` float64, neutral mesh with the volume of the hair, decimetres.
        skin: painted skin.
        eyes: colour of the eyes and lashes.
        shirt_colour: `(3,)` linear RGB.
        eye_centre: `(3,)`, the point between the eyes, decimetres.
        eye_distance: between the centres of the eyeballs, decimetres.
        eye_to_chin: decimetres.
    """

    identity: Identity
    vertices: np.ndarray
    skin: SkinTexture
    eyes: EyeAppearance
    shirt_colour: np.ndarray
    eye_centre: np.ndarray
    eye_distance: float
    eye_to_chin: float


def sample_subject(face_model: FaceModel, painter: SkinPainter, rng: np.random.Generator) -> Subject:
    """Draws one subject; the same generator state gives the same subject."""
    identity = sample_identity(face_model, rng)
    skin = painter.paint(identity, rng)
    bald = face_model.identity_mesh(identity)
    vertices = _inflate_hair(face_model, bald, skin, rng.uniform(0.05, 0.13))
    left, right = (vertices[face_model.eye_vertices[part]].mean(0) for part in (LEFT_EYE, RIGHT_EYE))
    base = face_model.vertices
    on_chin = (np.abs(base[:, 0]) < 0.05) & (base[:, 1] > 6.1) & (base[:, 1] < 6.3) & (base[:, 2] > 1.3)
    eye_centre = (left + right) / 2
    eyes = sample_eyes(identity, rng)
    shirt_colour = (rng.uniform(0.1, 0.8, 3) * rng.uniform(0.3, 1)) ** 2.0
    return Subject(
        identity=identity,
        vertices=vertices,
        skin=skin,
        eyes=eyes,
        shirt_colour=shirt_colour,
        eye_centre=eye_centre,
        eye_distance=float(np.linalg.norm(left - right)),
        eye_to_chin=float(eye_centre[1] - vertices[on_chin, 1].mean()),
    )


def _inflate_hair(face_model: FaceModel, vertices: np.ndarray, skin: SkinTexture, thickness: float) -> np.ndarray:
    """Lifts the hairy scalp off the skull by up to `thickness` decimetres."""
    base = face_model.vertices
    column, row = np.clip(canvas_position(base), 0, [WIDTH - 1, HEIGHT - 1]).astype(int).T
    hair = skin.hair_coverage[row, column]
    behind = np.abs(np.arctan2(base[:, 0], base[:, 2] - CYLINDER_AXIS_Z)) > _BACK_ANGLE
    hair = np.where(behind, base[:, 1] > _NAPE_Y, hair) * (face_model.vertex_part == SKIN)
    volume = np.clip((base[:, 1] - 7.2) / 0.8, 0.15, 1)  # flat over the ears, full on the crown
    return vertices + vertex_normals(vertices, face_model.triangles) * (hair * volume * thickness)[:, None]
