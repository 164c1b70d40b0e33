"""Renders a face: visible surface, skin with bump and gloss, eyes, lashes, background, as linear light.

Deferred shading: the z-buffer says which triangle each pixel shows; everything after that is arithmetic on the list of
pixels that show the head. Numbers that are not sourced are ours, set by eye on rendered faces.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from .backgrounds import fit_background
from .cylinder import WIDTH
from .eyes import blend_lashes, shade_eye
from .face_model import GLASSES, LEFT_EYE, LINING, RIGHT_EYE, SKIN, STRANDS, TEETH, TONGUE, FaceModel
from .geometry import Camera, FaceState, dot, rotate
from .lighting import Light, vertex_irradiance
from .rasterizer import SurfaceBuffer, rasterize, vertex_normals
from .skin import SkinTexture
from .styles import STRAND_ROWS
from .subject import Subject
from .surface import visible_surface
from .wrinkles import FACE_WINDOW, side_gains, wrinkle_gains


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
_TEETH_COLOUR = np.array([0.62, 0.56, 0.47], np.float32)
_TONGUE_COLOUR, _GUM_COLOUR = np.array([0.35, 0.12, 0.11], np.float32), np.array([0.30, 0.09, 0.08], np.float32)
# The visibility in the asset was baked with closed lips: this part of the face's mean light is let into an open mouth,
# all of it from this distance (decimetres) to the lips on.
_LIGHT_IN_MOUTH, _FROM_THE_LIPS = np.float32(0.36), 0.055
# Width of a tooth on the canvas (pixels); the midline runs between two of them.
_TOOTH_WIDTH = 30
# The base mesh below this height (decimetres) wears a shirt.
_SHIRT_Y = 5.80
# A head scarf covers the neck and the skin under the chin: below and behind these places of the base mesh.
_WRAPPED_Y, _WRAPPED_Z = 6.35, 1.22
# How far (decimetres) and how much hair and frames darken the skin next to them.
_SHADOW_REACH, _SHADOW_STRENGTH = 0.05, np.float32(0.55)


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
    base_z: np.ndarray  # distance in front of the body's axis on the base mesh, decimetres


def render(
    face_model: FaceModel,
    subject: Subject,
    state: FaceState,
    action_units: Mapping[int, tuple[float, float]],
    camera: Camera,
    light: Light,
    background: np.ndarray,
    supersampling: int = SUPERSAMPLING,
) -> np.ndarray:
    """Renders one frame.

    Args:
        state: geometry of the frame; the expression is already in its vertices.
        action_units: (left, right) intensities, which here only switch on wrinkles.
        background: `(h, w, 3)` float32 linear RGB, stretched to the frame.
        supersampling: each pixel is the mean of this many samples squared.

    Returns:
        `(S, S, 3)` float32 linear RGB light, S being `camera.image_size`; not clipped.
    """
    size = camera.image_size * supersampling
    points, depth = camera.project(camera.place(state.vertices, state.pose))
    surface = visible_surface(face_model, points, depth, camera.image_size, supersampling)
    image = fit_background(background, size)
    if surface.hit.any():
        pixels = _interpolate(face_model, state, light, surface)
        pixel_size = np.float32(1 / (camera.pixels_per_decimetre * supersampling))
        colour = _shade_skin(subject.skin, pixels, action_units, light, pixel_size, size)
        _shade_other_parts(colour, pixels, subject, light, size, 1 / pixel_size)
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
        _shade_under_accessories(colour, pixels, size, 1 / pixel_size)
        image.reshape(-1, 3)[pixels.index] = colour
    lashes = rasterize(points * supersampling, depth, face_model.triangles[face_model.lash_triangles], size, size)
    blend_lashes(image, subject.eyes, face_model, lashes, surface.depth)
    return cv2.resize(image, (camera.image_size, camera.image_size), interpolation=cv2.INTER_AREA)


def _interpolate(face_model: FaceModel, state: FaceState, light: Light, surface: SurfaceBuffer) -> _HeadPixels:
    """Vertex attributes at every pixel."""
    normals = vertex_normals(state.vertices, face_model.triangles).astype(np.float32)
    irradiance, ambient = vertex_irradiance(face_model, normals, light, state.pose.rotation)
    # All attributes in one table, so that the gather by vertex, the slow part, is done once per corner.
    table = np.concatenate(
        [
            rotate(normals, state.pose.rotation),
            irradiance,
            ambient[:, None],
            face_model.surface_coordinates,
            face_model.inside_mouth[:, None],
            face_model.vertices[:, 1:].astype(np.float32),
        ],
        axis=1,
    )
    # take on flat arrays: several times as fast as indexing with a mask
    index = np.flatnonzero(surface.hit)
    triangles = surface.triangle.ravel().take(index)
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
        base_z=values[:, 11],
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
    gloss_scale = fresnel * pixels.ambient**2 * oil * np.float32(0.65) * is_skin
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


def _shade_other_parts(
    colour: np.ndarray, pixels: _HeadPixels, subject: Subject, light: Light, size: int, pixels_per_decimetre: float
) -> None:
    """Overwrites teeth, tongue, shirt, hair and glasses in `colour`, in place."""
    skin = pixels.part == SKIN
    _shade_mouth(colour, pixels, skin, size, pixels_per_decimetre)
    shirt = skin & (pixels.base_y < _SHIRT_Y)
    colour[shirt] = subject.shirt_colour * pixels.irradiance[shirt] * 0.5
    if subject.style.covers_neck:
        wrapped = skin & ~shirt & (pixels.base_y < _WRAPPED_Y) & (pixels.base_z < _WRAPPED_Z)
        colour[wrapped] = subject.strand_colour * pixels.irradiance[wrapped] * 0.5
    hair = np.flatnonzero((pixels.part == STRANDS) | (pixels.part == LINING))
    if len(hair):
        colour[hair] = _shade_strands(subject, pixels, hair, light)
    if subject.style.glasses is not None:
        frame = np.flatnonzero(pixels.part == GLASSES)
        glasses = subject.style.glasses
        colour[frame] = glasses.colour * pixels.irradiance[frame] * _DIFFUSE_GAIN
        for lamp in light.lamps:
            half = lamp.direction + np.array([0, 0, 1.0])
            mirror = np.clip(dot(pixels.normal[frame], half / np.linalg.norm(half)), 0, 1)[:, None]
            colour[frame] += mirror**40 * glasses.shine * lamp.colour


def _shade_mouth(
    colour: np.ndarray, pixels: _HeadPixels, skin: np.ndarray, size: int, pixels_per_decimetre: float
) -> None:
    """Overwrites teeth, tongue and gums in `colour`, in place: darker the nearer to the lips."""
    teeth, tongue = np.isin(pixels.part, TEETH), pixels.part == TONGUE
    inside = np.flatnonzero(teeth | tongue | (skin & (pixels.inside_mouth > 0.8)))
    if not len(inside):
        return
    plane = np.zeros((size, size), np.uint8)
    plane.ravel()[pixels.index[inside]] = 1
    top, left = pixels.rows[inside].min(), pixels.columns[inside].min()
    around = (slice(max(top - 1, 0), pixels.rows[inside].max() + 2), slice(max(left - 1, 0),
              pixels.columns[inside].max() + 2))  # fmt: skip
    distance = np.zeros((size, size), np.float32)
    distance[around] = cv2.distanceTransform(np.ascontiguousarray(plane[around]), cv2.DIST_L2, 3)
    from_lips = distance.ravel().take(pixels.index[inside]) / np.float32(_FROM_THE_LIPS * pixels_per_decimetre)
    phase = (pixels.canvas_x[inside] - WIDTH / 2) / _TOOTH_WIDTH
    gap = np.exp(-(((phase - np.round(phase)) / 0.09) ** 2)).astype(np.float32)
    albedo = np.where(tongue[inside, None], _TONGUE_COLOUR, _GUM_COLOUR)
    albedo = np.where(teeth[inside, None], _TEETH_COLOUR * (1 - np.float32(0.4) * gap)[:, None], albedo)
    light = pixels.irradiance[skin].mean(0) * (_LIGHT_IN_MOUTH * np.clip(from_lips, 0, 1))[:, None]
    colour[inside] = albedo * light


def _shade_strands(subject: Subject, pixels: _HeadPixels, index: np.ndarray, light: Light) -> np.ndarray:
    """`(N, 3)` linear RGB of hair, lit as threads (Kajiya and Kay, SIGGRAPH 1989), or of cloth."""
    places = _CanvasSampler(pixels.canvas_x[index], pixels.canvas_y[index] * np.float32(STRAND_ROWS))
    brightness = np.exp(places.sample(subject.strands)[:, :1])
    base = subject.strand_colour.astype(np.float32) * brightness
    light_here = pixels.irradiance[index]
    if subject.style.headwear.cloth:
        return base * light_here * _DIFFUSE_GAIN
    # Light that enters hair is scattered from thread to thread: half of it arrives from everywhere.
    outside = (pixels.part[index] == STRANDS)[:, None]
    light_here = light_here * np.float32(0.5) + light_here.mean(0) * (np.float32(0.2) + np.float32(0.3) * outside)
    colour = base * light_here * _DIFFUSE_GAIN
    normal = pixels.normal[index]
    # Strands run down along the surface.
    down = normal * normal[:, 1:2] - np.array([0, 1, 0], np.float32)
    along = _normalized(down)
    for lamp in light.lamps:
        half = lamp.direction + np.array([0, 0, 1.0])
        cosine = dot(along, half / np.linalg.norm(half))
        across = np.sqrt(np.clip(1 - cosine * cosine, 0, 1))[:, None]
        facing = np.clip(dot(normal, lamp.direction) + np.float32(0.3), 0, 1)[:, None]
        sheen = across**60 * np.float32(0.006) + across**14 * base * np.float32(0.45)
        colour += sheen * brightness * facing * outside * lamp.colour.astype(np.float32)
    return colour


def _shade_under_accessories(colour: np.ndarray, pixels: _HeadPixels, size: int, pixels_per_decimetre: float) -> None:
    """Hair and frames keep light from the skin close to them, most below them; in place on `colour`."""
    above = np.where(pixels.part == GLASSES, np.float32(0.7), np.float32(0))
    above[pixels.part == STRANDS] = 1
    if not above.any():
        return
    plane = np.zeros((size, size), np.float32)
    plane.ravel()[pixels.index] = above
    reach = max(int(_SHADOW_REACH * pixels_per_decimetre), 1)
    plane = cv2.blur(plane, (2 * reach + 1, 2 * reach + 1), borderType=cv2.BORDER_REPLICATE)
    drop = reach // 2
    plane[drop:] = plane[: size - drop].copy()
    on_skin = (above == 0).astype(np.float32)
    colour *= (1 - _SHADOW_STRENGTH * plane.ravel().take(pixels.index) * on_skin)[:, None]


def _folded_relief(skin: SkinTexture, action_units: Mapping[int, tuple[float, float]]) -> np.ndarray:
    gains = wrinkle_gains(action_units)
    if not gains:
        return skin.relief
    relief = skin.relief.copy()
    window = relief[FACE_WINDOW]
    for name, (left, right) in gains.items():
        window += skin.wrinkles[name] * side_gains(left, right)
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
