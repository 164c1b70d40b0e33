"""One subject: the shape, the skin, hair, glasses, the eyes and the shirt that stay the same in every clip."""

from dataclasses import dataclass

import numpy as np

from .accessories import EYE_CENTRE, fit_glasses, fit_shell
from .cylinder import CYLINDER_AXIS_Z, HEIGHT, WIDTH
from .eyes import EyeAppearance, sample_eyes
from .face_model import GLASSES, LANDMARK_NAMES, LEFT_EYE, RIGHT_EYE, SKIN, FaceModel, Identity, sample_identity
from .rasterizer import vertex_normals
from .skin import SkinPainter, SkinTexture
from .styles import Style, draw_strands, sample_style


# Behind this angle (radians round the head) the canvas ends: above the given height everything is hair. Decimetres.
# Ours.
_BACK_ANGLE, _NAPE_Y = 1.8, 6.6
# The part of the head that hair and cloth lie on starts above this height on the base mesh. Ours.
_NECK_Y = 6.5


@dataclass(frozen=True)
class Subject:
    """Everything about a subject that no clip changes.

    Attributes:
        identity: shape parameters.
        style: grooming.
        vertices: `(V, 3)` float64, neutral mesh with the volume of the hair, decimetres.
        skin: painted skin.
        strands: texture of hair or cloth, see `styles.draw_strands`.
        strand_colour: `(3,)` linear RGB of hair or cloth.
        eyes: colour of the eyes and lashes.
        shirt_colour: `(3,)` linear RGB.
        eye_centre: `(3,)`, the point between the eyes, decimetres.
        eye_distance: between the centres of the eyeballs, decimetres.
        eye_to_chin: decimetres.
    """

    identity: Identity
    style: Style
    vertices: np.ndarray
    skin: SkinTexture
    strands: np.ndarray
    strand_colour: np.ndarray
    eyes: EyeAppearance
    shirt_colour: np.ndarray
    eye_centre: np.ndarray
    eye_distance: float
    eye_to_chin: float


def sample_subject(face_model: FaceModel, painter: SkinPainter, rng: np.random.Generator) -> Subject:
    """Draws one subject; the same generator state gives the same subject."""
    identity = sample_identity(face_model, rng)
    style = sample_style(identity, rng)
    skin = painter.paint(identity, style, rng)
    bald = face_model.identity_mesh(identity)
    left, right = (bald[face_model.eye_vertices[part]].mean(0) for part in (LEFT_EYE, RIGHT_EYE))
    base = face_model.vertices
    on_chin = (np.abs(base[:, 0]) < 0.05) & (base[:, 1] > 6.1) & (base[:, 1] < 6.3) & (base[:, 2] > 1.3)
    eye_centre = (left + right) / 2
    thickness = rng.uniform(0.02, 0.07) if style.headwear is None else 0.02
    vertices = _inflate_hair(face_model, bald, skin, thickness)
    _put_on(face_model, vertices, style, (left, right), rng)
    cloth = style.headwear is not None and style.headwear.cloth
    return Subject(
        identity=identity,
        style=style,
        vertices=vertices,
        skin=skin,
        strands=draw_strands(rng, cloth),
        strand_colour=style.cloth_colour if cloth else skin.hair_colour,
        eyes=sample_eyes(identity, style, rng),
        shirt_colour=(rng.uniform(0.1, 0.8, 3) * rng.uniform(0.3, 1)) ** 2.0,
        eye_centre=eye_centre,
        eye_distance=float(np.linalg.norm(left - right)),
        eye_to_chin=float(eye_centre[1] - bald[on_chin, 1].mean()),
    )


def _put_on(
    face_model: FaceModel,
    vertices: np.ndarray,
    style: Style,
    eyes: tuple[np.ndarray, np.ndarray],
    rng: np.random.Generator,
) -> None:
    """Moves the accessories' vertices, in place, from where they are hidden to where they are worn."""
    first = face_model.first_accessory
    glasses = first + np.count_nonzero(face_model.vertex_part[first:] < GLASSES)
    # Body height moves whole heads up and down; accessories are fitted with every pair of eyes at the same place.
    shift = EYE_CENTRE - (eyes[0] + eyes[1]) / 2
    if style.headwear is not None:
        base = face_model.vertices
        head = (face_model.vertex_part == SKIN) & (base[:, 1] > _NECK_Y)
        if style.headwear.side > _NECK_Y + 0.5:  # short hair and caps end above the ears
            head &= face_model.ears < 0.5
        vertices[first:glasses] = fit_shell(style.headwear, vertices[head] + shift, rng) - shift
    if style.glasses is not None:
        nasion = vertices[face_model.landmark_vertices[LANDMARK_NAMES.index("nasion")]]
        vertices[glasses:] = fit_glasses(style.glasses, eyes[0] + shift, eyes[1] + shift, nasion + shift) - shift


def _inflate_hair(face_model: FaceModel, vertices: np.ndarray, skin: SkinTexture, thickness: float) -> np.ndarray:
    """Lifts the hairy scalp off the skull by up to `thickness` decimetres."""
    base = face_model.vertices
    column, row = np.clip(face_model.surface_coordinates, 0, [WIDTH - 1, HEIGHT - 1]).astype(int).T
    hair = skin.hair_coverage[row, column]
    behind = np.abs(np.arctan2(base[:, 0], base[:, 2] - CYLINDER_AXIS_Z)) > _BACK_ANGLE
    hair = np.where(behind, base[:, 1] > _NAPE_Y, hair) * (face_model.vertex_part == SKIN)
    volume = np.clip((base[:, 1] - 7.2) / 0.8, 0.15, 1)  # flat over the ears, full on the crown
    return vertices + vertex_normals(vertices, face_model.triangles) * (hair * volume * thickness)[:, None]
