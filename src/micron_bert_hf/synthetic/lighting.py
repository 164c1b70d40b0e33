"""Lamps and sky, and how much of their light reaches each vertex of the head.

Soft shadows come from the visibility baked into the asset: for 128 directions it is known whether the neutral head
blocks them.
"""

from dataclasses import dataclass

import numpy as np

from .face_model import FaceModel
from .geometry import rotate


NUM_LIGHT_DIRECTIONS = 128
# Blood scatters red light sideways under the skin: it wraps round the terminator and blurs over the surface; green
# does so a little, blue hardly. (share of wrapped light, smoothing steps over the mesh) by colour channel. Ours, after
# the look of skin.
_SCATTERING = {0: (0.50, 3), 1: (0.15, 1)}
_WRAP = 0.2


def fibonacci_sphere(count: int) -> np.ndarray:
    """`(count, 3)` unit vectors spread evenly over the sphere (golden-angle spiral)."""
    index = np.arange(count) + 0.5
    angle = np.pi * (1 + 5**0.5) * index
    z = 1 - 2 * index / count
    radius = np.sqrt(1 - z * z)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), z], 1)


# The visibility in the asset was baked for exactly these directions, in this order.
LIGHT_DIRECTIONS = fibonacci_sphere(NUM_LIGHT_DIRECTIONS)


@dataclass(frozen=True)
class Lamp:
    """A soft light of finite size.

    Attributes:
        direction: `(3,)` unit vector towards the lamp, in the scene.
        sharpness: concentration of the lobe; 3 is a large soft box, 6 a window.
        colour: `(3,)` linear RGB radiance.
    """

    direction: np.ndarray
    sharpness: float
    colour: np.ndarray


@dataclass(frozen=True)
class Light:
    """The light of one subject's recording session.

    Attributes:
        lamps: one or two.
        sky, ground: `(3,)` linear RGB radiance from above and from below.
    """

    lamps: tuple[Lamp, ...]
    sky: np.ndarray
    ground: np.ndarray

    # From radiance to the scale of the frames, before exposure. Ours; it only sets the balance between lamps and sky.
    LAMP_GAIN = 1.6

    def radiance(self, directions: np.ndarray) -> np.ndarray:
        """`(N, 3)` unit vectors of the scene -> `(N, 3)` linear RGB radiance that arrives from there."""
        up = (directions[:, 1:2] + 1) / 2
        radiance = self.sky * up + self.ground * (1 - up)
        for lamp in self.lamps:
            cosine = (directions * lamp.direction).sum(1)
            radiance = radiance + self.LAMP_GAIN * lamp.colour * np.exp(lamp.sharpness * (cosine - 1))[:, None]
        return radiance


def sample_light(rng: np.random.Generator) -> Light:
    """A laboratory's light: one key lamp, most often a fill lamp on the other side, a bright room."""
    ambient = rng.uniform(0.22, 0.6)
    azimuth, elevation = rng.uniform(-0.9, 0.9), rng.uniform(0.1, 0.7)
    tint = np.array([1, rng.uniform(0.93, 1.0), rng.uniform(0.84, 1.02)])
    lamps = [Lamp(_direction(azimuth, elevation), rng.uniform(3.0, 6.0), rng.uniform(0.9, 1.5) * tint)]
    if rng.random() < 0.8:
        opposite = _direction(-azimuth + rng.normal(0, 0.3), rng.uniform(0, 0.6))
        lamps.append(Lamp(opposite, rng.uniform(2.5, 5), rng.uniform(0.3, 1.0) * tint))
    sky = ambient * np.array([0.95, 1, 1.05]) * 0.5
    ground = ambient * np.array([1, 0.93, 0.88]) * 0.28
    return Light(tuple(lamps), sky, ground)


def vertex_irradiance(
    face_model: FaceModel, normals: np.ndarray, light: Light, head_rotation: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Light that reaches each vertex, with baked soft shadows and a cheap likeness of scattering under the skin.

    Args:
        normals: `(V, 3)` float32 unit normals in the head's frame.
        head_rotation: `(3, 3)`.

    Returns:
        `(V, 3)` float32 linear RGB irradiance and `(V,)` float32 ambient visibility in 0..1.
    """
    radiance = light.radiance(rotate(LIGHT_DIRECTIONS, head_rotation)).astype(np.float32)
    directions = LIGHT_DIRECTIONS.astype(np.float32)
    cosine = normals[:, :1] * directions[:, 0]
    cosine += normals[:, 1:2] * directions[:, 1]
    cosine += normals[:, 2:3] * directions[:, 2]
    facing = np.clip(cosine, 0, None)
    unblocked = facing * face_model.visibility
    ambient = unblocked.sum(1) / np.maximum(facing.sum(1), 1e-6)
    solid_angle = np.float32(4 / NUM_LIGHT_DIRECTIONS)
    # einsum, not matmul: see geometry.rotate. One contiguous dot product over directions each.
    by_colour = np.ascontiguousarray(radiance.T)
    irradiance = np.einsum("vd,cd->vc", unblocked, by_colour) * solid_angle
    wrapped = np.clip(cosine * (1 - _WRAP) + _WRAP, 0, None)
    wrapped *= face_model.scatter_visibility
    scattered = np.einsum("vd,cd->vc", wrapped, by_colour[: len(_SCATTERING)]) * solid_angle
    for channel, (share, steps) in _SCATTERING.items():
        mixed = (1 - share) * irradiance[:, channel] + share * scattered[:, channel]
        irradiance[:, channel] = _smooth_over_skin(mixed.astype(np.float64), face_model, steps)
    return irradiance, ambient


def _smooth_over_skin(values: np.ndarray, face_model: FaceModel, steps: int) -> np.ndarray:
    sources, targets, degree = face_model.skin_edges
    for _ in range(steps):
        neighbours = np.bincount(sources, values[targets], len(values)) / np.maximum(degree, 1)
        values = np.where(degree > 0, (values + neighbours) / 2, values)
    return values


def _direction(azimuth: float, elevation: float) -> np.ndarray:
    return np.array([np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)])
