"""Renders a face: visible surface, skin with bump and gloss, eyes, lashes, background, as linear light.

Deferred shading: the z-buffer says which triangle each pixel shows; everything after that is arithmetic on the list of
pixels
that show the head. Numbers that are not sourced are ours, set by eye on rendered faces.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from .eyes import blend_lashes, shade_eye
from .face_model import LEFT_EYE, RIGHT_EYE, SKIN, TEETH, TONGUE, FaceModel
from .geometry import Camera, FaceState, dot, rotate
from .lighting import Light, vertex_irradiance
from .rasterizer import SurfaceBuffer, rasterize, vertex_normals, visible_triangles
from .skin import SkinTexture
from .skin_canvas import canvas_position
from .subject import Subject
from .wrinkles import FACE_WINDOW, wrinkle_gains


SUPERSAMPLING = 2
# Neighbouring pixels further apart than this on the canvas (pixels) belong to different folds: no relief across them.
_MAX_CANVAS_STEP = 12
_MAX_SLOPE = 0.6
# Pixels are handed to cv2.remap in rows of this length, since it rejects images wider than 32767.
_REMAP_ROW = 4096
_SKIN_ROUGHNESS, _HAIR_ROUGHNESS = np.float32(0.42), np.float32(0.62)
# Reflectance of skin seen head-on (refractive index 1.4: ((n - 1) / (n + 1))**2 = 0.028) and its rise towards grazing
# angles.
_FRESNEL_NORMAL, _FRESNEL_GRAZING = 0.028, 0.5
_DIFFUSE_GAIN = np.float32(1.6 / np.pi)
_TEETH_COLOUR, _TONGUE_COLOUR = np.array([0.55, 0.5, 0.42]) * 0.35, np.array([0.35, 0.12, 0.11]) * 0.3
# The base mesh below this height (decimetres) wears a shirt.
_SHIRT_Y = 5.80


@dataclass(frozen=True)
class Background:
    """A plain wall: linear grey level, and its gradient over the picture's width."""

    level: float
    tilt: float

    def paint(self, size: int) -> np.ndarray:
        """`(size, size, 3)` float32 linear RGB."""
        at = np.arange(size, dtype=np.float32) / size
        shade = np.float32(1.05) - np.float32(0.25) * at[:, None] + np.float32(self.tilt) * (at - np.float32(0.5))
        tint = np.array([0.95, 1, 1.03], np.float32) * np.float32(self.level)
        return cv2.merge([shade * channel for channel in tint])


def sample_background(rng: np.random.Generator) -> Background:
    """Draws a wall."""
    return Background(rng.uniform(0.08, 0.30), rng.normal(0, 0.15))


@dataclass(frozen=True)
class _HeadPixels:
    """What the N pixels that show the head show; arrays `(N, ...)` float32 unless said otherwise."""

    index: np.ndarray  # int, row * size + column
    rows: np.ndarray  # int
    columns: np.ndarray  # int
    part: np.ndarray  # int8, part constants of face_model
    corners: np.ndarray  # (N, 3) int, the triangle's vertices
    weights: np.ndarray  # (N, 3) barycentric
    normal: np.ndarray  # (N, 3), in the scene
    irradiance: np.ndarray  # (N, 3)
    ambient: np.ndarray
    canvas_x: np.ndarray
    canvas_y: np.ndarray
    inside_mouth: np.ndarray
    base_y: np.ndarray  # height on the base mesh, decimetres


def render(
    face_model: FaceModel,
    subject: Subject,
    state: FaceState,
    action_units: Mapping[int, tuple[float, float]],
    camera: Camera,
    light: Light,
    background: Background,
    supersampling: int = SUPERSAMPLING,
) -> np.ndarray:
    """Renders one frame.

    Args:
        state: geometry of the frame; the expression is already in its vertices.
        action_units: (left, right) intensities, which here only switch on wrinkles.
        supersampling: each pixel is the mean of this many samples squared.

    Returns:
        `(S, S, 3)` float32 linear RGB light, S being `camera.image_size`; not clipped.
    """
    size = camera.image_size * supersampling
    points, depth = camera.project(camera.place(state.vertices, state.pose))
    shown = visible_triangles(points, face_model.triangles, face_model.solid_triangles, camera.image_size)
    fine_points = points * supersampling
    surface = rasterize(fine_points, depth, face_model.triangles[shown], size, size)
    image = background.paint(size)
    if surface.hit.any():
        pixels = _interpolate(face_model, state, light, shown, surface)
        pixel_size = np.float32(1 / (camera.pixels_per_decimetre * supersampling))
        colour = _shade_skin(subject.skin, pixels, action_units, light, pixel_size, size)
        _shade_other_parts(colour, pixels, subject)
        for part in (LEFT_EYE, RIGHT_EYE):
            eye = pixels.part == part
            if eye.any():
                corners = state.vertices[pixels.corners[eye]]
                colour[eye] = shade_eye(
                    subject.eyes,
                    part,
                    state.vertices[face_model.eye_vertices[part]].mean(0),
                    (pixels.weights[eye][..., None] * corners).sum(1),
                    pixels.irradiance[eye],
                    pixels.rows[eye],
                    pixels.columns[eye],
                    state,
                    light,
                    subject.eye_distance * camera.pixels_per_decimetre * supersampling,
                )
        image.reshape(-1, 3)[pixels.index] = colour
    lashes = rasterize(fine_points, depth, face_model.triangles[face_model.lash_triangles], size, size)
    blend_lashes(image, subject.eyes, face_model, lashes, surface.depth)
    return cv2.resize(image, (camera.image_size, camera.image_size), interpolation=cv2.INTER_AREA)


def _interpolate(
    face_model: FaceModel, state: FaceState, light: Light, drawn: np.ndarray, surface: SurfaceBuffer
) -> _HeadPixels:
    """Vertex attributes at every pixel; `drawn` are the triangles that `surface` numbers."""
    normals = vertex_normals(state.vertices, face_model.triangles).astype(np.float32)
    irradiance, ambient = vertex_irradiance(face_model, normals, light, state.pose.rotation)
    # All attributes in one table, so that the gather by vertex, the slow part, is done once per corner.
    table = np.concatenate(
        [
            rotate(normals, state.pose.rotation),
            irradiance,
            ambient[:, None],
            canvas_position(face_model.vertices).astype(np.float32),
            face_model.inside_mouth[:, None],
            face_model.vertices[:, 1:2].astype(np.float32),
        ],
        axis=1,
    )
    # take on flat arrays: several times as fast as indexing with a mask
    index = np.flatnonzero(surface.hit)
    triangles = drawn.take(surface.triangle.ravel().take(index))
    weights = surface.barycentric.reshape(-1, 3).take(index, axis=0)
    corners = face_model.triangles.take(triangles, axis=0)
    values = table.take(corners[:, 0], axis=0) * weights[:, 0:1]
    values += table.take(corners[:, 1], axis=0) * weights[:, 1:2]
    values += table.take(corners[:, 2], axis=0) * weights[:, 2:3]
    rows, columns = np.divmod(index, surface.hit.shape[1])
    return _HeadPixels(
        index=index,
        rows=rows,
        columns=columns,
        part=face_model.triangle_part[triangles],
        corners=corners,
        weights=weights,
        normal=_normalized(values[:, :3]),
        irradiance=values[:, 3:6],
        ambient=values[:, 6],
        canvas_x=np.ascontiguousarray(values[:, 7]),
        canvas_y=np.ascontiguousarray(values[:, 8]),
        inside_mouth=values[:, 9],
        base_y=values[:, 10],
    )


def _shade_skin(
    skin: SkinTexture,
    pixels: _HeadPixels,
    action_units: Mapping[int, tuple[float, float]],
    light: Light,
    pixel_size: np.float32,
    size: int,
) -> np.ndarray:
    """`(N, 3)` float32 linear RGB: diffuse light, GGX gloss (Walter et al., EGSR 2007), darkness in the mouth."""
    on_canvas = _CanvasSampler(pixels.canvas_x, pixels.canvas_y)
    painted = on_canvas.sample(skin.albedo_and_oil)
    albedo, oil = painted[:, :3], painted[:, 3]
    relief = on_canvas.sample(_folded_relief(skin, action_units))[:, 0]
    hair = on_canvas.sample(skin.hair_coverage)[:, 0]
    is_skin = pixels.part == SKIN
    smooth = pixels.normal
    bumpy = _bump(pixels, relief, is_skin, pixel_size, size)
    diffuse = pixels.irradiance.copy()
    gloss = np.zeros_like(diffuse)
    roughness = np.where(hair > 0.5, _HAIR_ROUGHNESS, _SKIN_ROUGHNESS)
    fresnel = _FRESNEL_NORMAL + _FRESNEL_GRAZING * np.clip(1 - smooth[:, 2], 0, 1) ** 5
    gloss_scale = fresnel * pixels.ambient**2 * oil * 0.9 * is_skin
    relief_gain = pixels.ambient * 0.55
    for lamp in light.lamps:
        colour = lamp.colour.astype(np.float32)
        facing = np.clip(dot(bumpy, lamp.direction), 0, 1)
        diffuse += ((facing - np.clip(dot(smooth, lamp.direction), 0, 1)) * relief_gain)[:, None] * colour
        half = lamp.direction + np.array([0, 0, 1.0])
        cosine = np.clip(dot(bumpy, half / np.linalg.norm(half)), 0, 1)
        # A lamp is not a point: its size widens the highlight, which a rougher surface does just as well.
        alpha2 = np.maximum(roughness, np.float32(0.42 + 0.5 / lamp.sharpness)) ** 4
        distribution = alpha2 / (np.float32(np.pi) * (cosine * cosine * (alpha2 - 1) + 1) ** 2)
        gloss += (distribution * gloss_scale * facing)[:, None] * colour
    colour = albedo * np.maximum(diffuse, np.float32(0.01)) * _DIFFUSE_GAIN + gloss
    depth_in_mouth = np.clip(pixels.inside_mouth * is_skin * 1.4 - 0.2, 0, 1)
    return colour * (1 - 0.75 * depth_in_mouth)[:, None]


def _shade_other_parts(colour: np.ndarray, pixels: _HeadPixels, subject: Subject) -> None:
    """Overwrites teeth, tongue and shirt in `colour`, in place."""
    teeth = np.isin(pixels.part, TEETH)
    colour[teeth] = _TEETH_COLOUR * pixels.irradiance[teeth] * pixels.ambient[teeth, None]
    tongue = pixels.part == TONGUE
    colour[tongue] = _TONGUE_COLOUR * pixels.irradiance[tongue]
    shirt = (pixels.part == SKIN) & (pixels.base_y < _SHIRT_Y)
    colour[shirt] = subject.shirt_colour * pixels.irradiance[shirt] * 0.5


def _folded_relief(skin: SkinTexture, action_units: Mapping[int, tuple[float, float]]) -> np.ndarray:
    gains = wrinkle_gains(action_units)
    if not gains:
        return skin.relief
    relief = skin.relief.copy()
    window = relief[FACE_WINDOW]
    for name, gain in gains.items():
        window += skin.wrinkles[name] * np.float32(gain)
    return relief


def _bump(
    pixels: _HeadPixels, relief: np.ndarray, is_skin: np.ndarray, pixel_size: np.float32, size: int
) -> np.ndarray:
    """`(N, 3)` unit normals tilted by the relief's slope in the image plane."""
    across, down = [], []
    for values in (relief, pixels.canvas_x, pixels.canvas_y):
        plane = np.zeros((size, size), np.float32)
        plane.ravel()[pixels.index] = values
        plane = cv2.copyMakeBorder(plane, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
        across.append((plane[1:-1, 2:] - plane[1:-1, :-2]).ravel().take(pixels.index))
        down.append((plane[2:, 1:-1] - plane[:-2, 1:-1]).ravel().take(pixels.index))
    same_fold = is_skin.copy()
    for step in (*across[1:], *down[1:]):
        same_fold &= np.abs(step) < _MAX_CANVAS_STEP
    tilted = pixels.normal.copy()
    tilted[:, 0] -= np.clip(across[0] / (2 * pixel_size), -_MAX_SLOPE, _MAX_SLOPE) * same_fold
    tilted[:, 1] += np.clip(down[0] / (2 * pixel_size), -_MAX_SLOPE, _MAX_SLOPE) * same_fold
    return _normalized(tilted)


def _normalized(vectors: np.ndarray) -> np.ndarray:
    x, y, z = vectors[:, 0], vectors[:, 1], vectors[:, 2]
    return vectors / (np.sqrt(x * x + y * y + z * z)[:, None] + np.float32(1e-9))


class _CanvasSampler:
    """Bilinear lookup of canvas maps at a list of positions."""

    def __init__(self, x: np.ndarray, y: np.ndarray) -> None:
        self._count = len(x)
        rows = -(-self._count // _REMAP_ROW)
        padding = (0, rows * _REMAP_ROW - self._count)
        self._x, self._y = (np.pad(values, padding).reshape(rows, _REMAP_ROW) for values in (x, y))

    def sample(self, canvas: np.ndarray) -> np.ndarray:
        """`(HEIGHT, WIDTH)` or `(HEIGHT, WIDTH, C)` -> `(N, C)`."""
        values = cv2.remap(canvas, self._x, self._y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return values.reshape(self._x.size, -1)[: self._count]
