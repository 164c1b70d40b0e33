"""Eyes: analytic iris, sclera and cornea highlight on the eyeball mesh, and the lashes.

Radii of iris and pupil are sines of the angle from the gaze axis, so 0.42 is an iris of 0.42 eyeball radii (human:
11.7 mm of 24 mm across, about 0.49; the MakeHuman eyeball is a little large for its socket).
"""

from dataclasses import dataclass

import cv2
import numpy as np

from .face_model import LEFT_EYE, LEFT_LASHES, UPPER_LASHES, FaceModel, Identity
from .geometry import FaceState, dot, rotate, rotation_matrix
from .lighting import Light
from .rasterizer import SurfaceBuffer
from .styles import Style


# The pupil's axis lies about 2 degrees outward of the line of sight (angle kappa; 2 to 5 degrees in adults).
ANGLE_KAPPA = 0.035
# Gamma-encoded iris colours (0..255): dark brown, brown, hazel, green, blue, grey; linearized with exponent 2.2.
IRIS_COLOURS = np.array(
    [[52, 30, 18], [78, 48, 26], [104, 74, 40], [92, 96, 62], [92, 118, 134], [120, 140, 150]], np.float32
)
IRIS_SHARES_CAUCASIAN = (0.15, 0.2, 0.2, 0.12, 0.2, 0.13)
IRIS_SHARES_OTHER = (0.65, 0.3, 0.05, 0.0, 0.0, 0.0)
SCLERA_COLOUR = np.array([0.52, 0.48, 0.445])
LASH_COLOUR = np.array([0.012, 0.009, 0.008], np.float32)
NUM_IRIS_FIBRES = 256
LASH_ROWS, LASH_COLUMNS = 64, 512
NUM_LASHES = 120
# Where MakeHuman's UV layout keeps the lashes: (low, high) v of the upper and lower lashes, (start, width) u of the
# eyes.
_UPPER_LASH_V, _LOWER_LASH_V = (0.926935, 0.947028), (0.96716, 0.985094)
_LEFT_LASH_U, _RIGHT_LASH_U, _LASH_U_WIDTH = 0.7097, 0.6581, 0.0487
_LOWER_LASH_OPACITY = 0.35
# Lashes less than this (decimetres) behind the skin are shown: they are rooted a little inside the lid.
_LASH_DEPTH_TOLERANCE = 0.03
_NO_ROW = 10**6


@dataclass(frozen=True)
class EyeAppearance:
    """Eyes of one subject.

    Attributes:
        iris_colour: `(3,)` linear RGB.
        iris_radius, pupil_radius: sine of the angle from the gaze axis.
        iris_fibres: `(256,)` float32 of variance 1, brightness round the iris.
        lashes: `(64, 512)` float32 opacity; the last row is the lid's edge.
        lash_strength: opacity of the whole.
    """

    iris_colour: np.ndarray
    iris_radius: float
    pupil_radius: float
    iris_fibres: np.ndarray
    lashes: np.ndarray
    lash_strength: float


def sample_eyes(identity: Identity, style: Style, rng: np.random.Generator) -> EyeAppearance:
    """Draws colour, sizes and lashes of one subject's eyes."""
    shares = IRIS_SHARES_CAUCASIAN if identity.caucasian > 0.5 else IRIS_SHARES_OTHER
    colour = (IRIS_COLOURS[rng.choice(len(IRIS_COLOURS), p=shares)] / 255) ** 2.2
    iris_radius, pupil_radius = rng.uniform(0.40, 0.445), rng.uniform(0.13, 0.19)
    ring = rng.standard_normal(NUM_IRIS_FIBRES)
    fibres = (np.roll(ring, 1) + ring + np.roll(ring, -1)) / 3
    lashes = np.zeros((LASH_ROWS, LASH_COLUMNS), np.float32)
    for _ in range(NUM_LASHES):
        root = rng.uniform(5, LASH_COLUMNS - 5)
        length = rng.uniform(0.45, 1.0) * 60
        fan = (root - 256) / 256 * 14 + rng.normal(0, 3)
        tip = (int(root + fan), int(LASH_ROWS - 1 - length))
        cv2.line(lashes, (int(root), LASH_ROWS - 1), tip, float(rng.uniform(0.5, 1)), 2, cv2.LINE_AA)
    lashes *= np.linspace(0.15, 1, LASH_ROWS, dtype=np.float32)[:, None]
    strength = rng.uniform(0.35, 0.75) * (1.05 - 0.35 * identity.gender + 0.35 * style.make_up)
    return EyeAppearance(
        colour, iris_radius, pupil_radius, (fibres / fibres.std()).astype(np.float32), lashes, strength
    )


def eye_rotation(part: int, gaze: tuple[float, float]) -> np.ndarray:
    """`(3, 3)` rotation of one eye in the head for a gaze of (yaw, pitch) in radians."""
    outward = ANGLE_KAPPA if part == LEFT_EYE else -ANGLE_KAPPA
    return rotation_matrix(gaze[0] + outward, -gaze[1], 0)


def shade_eye(
    appearance: EyeAppearance,
    part: int,
    centre: np.ndarray,
    surface: np.ndarray,
    irradiance: np.ndarray,
    pixel_rows: np.ndarray,
    pixel_columns: np.ndarray,
    state: FaceState,
    light: Light,
    eye_distance: float,
) -> np.ndarray:
    """Colours the visible pixels of one eyeball.

    Args:
        part: `LEFT_EYE` or `RIGHT_EYE`.
        centre: `(3,)` of the eyeball, in the head's frame.
        surface: `(N, 3)` points of the eyeball at the pixels, in the head's frame.
        irradiance: `(N, 3)`.
        pixel_rows, pixel_columns: `(N,)` int.
        state: pose and gaze.
        eye_distance: distance between the eyes in pixels of this image; the lids' shadow scales with it.

    Returns:
        `(N, 3)` linear RGB radiance.
    """
    outward = surface - centre
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    rotation = eye_rotation(part, state.gaze)
    in_eye = rotate(outward, rotation.T)
    radius = np.hypot(in_eye[:, 0], in_eye[:, 1])
    radius[in_eye[:, 2] < 0] = 2  # the back of the ball: beyond every iris
    colour = _eye_albedo(appearance, in_eye, radius)
    diffuse = irradiance.mean(0) * 0.45 + irradiance * 0.55  # light is scattered inside the ball
    shadow = _lid_shadow(pixel_rows, pixel_columns, eye_distance)[:, None]
    colour *= diffuse * (0.62 * shadow)
    # The cornea bulges: its normals turn away from the gaze axis faster than the ball's.
    bulge = np.exp(-((radius / (appearance.iris_radius * 1.1)) ** 2))[:, None] * 0.35
    normals = rotate(outward + bulge * (outward - rotation[:, 2]), state.pose.rotation)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    for lamp in light.lamps:
        half = lamp.direction + np.array([0, 0, 1.0])
        mirror = np.clip(dot(normals, half / np.linalg.norm(half)), 0, 1)[:, None]
        colour += (mirror**700 * 1.6 * shadow + mirror**30 * 0.03) * lamp.colour
    return colour


def _eye_albedo(appearance: EyeAppearance, in_eye: np.ndarray, radius: np.ndarray) -> np.ndarray:
    iris_radius, pupil_radius = appearance.iris_radius, appearance.pupil_radius
    sclera = SCLERA_COLOUR * (1 - 0.10 * np.clip((radius - 0.5) / 0.5, 0, 1))[:, None]
    sclera[:, 1:] *= (1 - 0.16 * np.clip((np.abs(in_eye[:, 0]) - 0.5) / 0.4, 0, 1))[:, None]  # redder in the corners
    turn = np.arctan2(in_eye[:, 1], in_eye[:, 0]) / (2 * np.pi) % 1 * NUM_IRIS_FIBRES
    closed_ring = np.append(appearance.iris_fibres, appearance.iris_fibres[0])
    fibres = np.interp(turn, np.arange(NUM_IRIS_FIBRES + 1), closed_ring)
    across = np.clip((radius - pupil_radius) / (iris_radius - pupil_radius), 0, 1)
    arc = np.sin(np.pi * across)
    iris = appearance.iris_colour * (0.75 + 0.6 * arc + 0.18 * fibres * arc)[:, None]
    iris *= (1 - 0.75 * np.clip((across - 0.78) / 0.22, 0, 1))[:, None]  # dark limbal ring
    in_iris = np.clip((iris_radius - radius) / 0.035 + 0.5, 0, 1)[:, None]
    in_pupil = np.clip((pupil_radius - radius) / 0.03 + 0.5, 0, 1)[:, None]
    return (sclera * (1 - in_iris) + iris * in_iris) * (1 - in_pupil) + 0.008 * in_pupil


def _lid_shadow(rows: np.ndarray, columns: np.ndarray, eye_distance: float) -> np.ndarray:
    """`(N,)` in 0..1: the upper lid and its lashes shade the ball below them, the lower lid a little."""
    width = columns.max() + 1
    top, bottom = np.full(width, _NO_ROW), np.zeros(width, int)
    np.minimum.at(top, columns, rows)
    np.maximum.at(bottom, columns, rows)
    below_upper = np.clip((rows - top[columns]) / eye_distance / 0.075, 0, 1) ** 0.8
    above_lower = np.clip((bottom[columns] - rows) / eye_distance / 0.03, 0, 1)
    return (0.30 + 0.70 * below_upper) * (0.65 + 0.35 * above_lower)


def blend_lashes(
    image: np.ndarray, appearance: EyeAppearance, face_model: FaceModel, lashes: SurfaceBuffer, skin_depth: np.ndarray
) -> None:
    """Draws the lashes over `(H, W, 3)` `image`, in place.

    Args:
        lashes: buffer of `face_model.lash_triangles`.
        skin_depth: `(H, W)` depth of the solid head.
    """
    shown = lashes.hit & (lashes.depth < skin_depth + _LASH_DEPTH_TOLERANCE)
    if not shown.any():
        return
    triangle = face_model.lash_triangles[lashes.triangle[shown]]
    corners = face_model.texture_coordinates[face_model.triangle_texture_index[triangle]]
    u, v = (lashes.barycentric[shown][..., None] * corners).sum(1).T
    part = face_model.triangle_part[triangle]
    upper, left = np.isin(part, UPPER_LASHES), np.isin(part, LEFT_LASHES)
    low = np.where(upper, _UPPER_LASH_V[0], _LOWER_LASH_V[0])
    high = np.where(upper, _UPPER_LASH_V[1], _LOWER_LASH_V[1])
    along = (v - low) / (high - low)
    along = np.where(upper, 1 - along, along) * (LASH_ROWS - 1)
    across = np.where(left, (u - _LEFT_LASH_U) / _LASH_U_WIDTH, 1 - (u - _RIGHT_LASH_U) / _LASH_U_WIDTH)
    across = (across * (LASH_COLUMNS - 1)).astype(np.float32)
    opacity = cv2.remap(appearance.lashes, across[None], along.astype(np.float32)[None], cv2.INTER_LINEAR)[0]
    opacity = (opacity * appearance.lash_strength * np.where(upper, 1.0, _LOWER_LASH_OPACITY))[:, None]
    image[shown] = image[shown] * (1 - opacity) + LASH_COLOUR * opacity
