"""The canvas on which skin is painted: the head unrolled on a cylinder, and the brushes that draw on it.

Every subject's mesh has the topology of the base mesh, so what is painted at a place of the base mesh lands at the
same place of every face. Canvas arrays are `(HEIGHT, WIDTH)`; places on the face are given in decimetres of the base
mesh seen from the front. `x > 0` is the subject's left.
"""

from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from .cylinder import BOTTOM_Y, CYLINDER_AXIS_Z, HEIGHT, MAX_ANGLE, TOP_Y, WIDTH, canvas_position
from .face_model import SKIN, FaceModel
from .rasterizer import rasterize


# Sub-pixel positions are handed to OpenCV's line and circle in 1/16 of a pixel.
_SHIFT = 4
_FIXED_POINT = 1 << _SHIFT
# Beyond this angle (radians) lies the back of the head, where no front feature may show.
_FRONT_ANGLE = 1.75
# A Gaussian blob is cut off where it falls below exp(-_BLOB_REACH**2 / 2), 1e-7: what is left out is below float32
# rounding.
_BLOB_REACH = 5.7
# Hair strokes are drawn at this magnification and averaged down, as OpenCV cannot draw lines thinner than a pixel.
_STROKE_SUPERSAMPLING = 3
_STROKE_SEGMENTS = 6


def band_noise(rng: np.random.Generator, feature_size: float) -> np.ndarray:
    """`(HEIGHT, WIDTH)` float32 noise of mean 0 and variance 1 whose features are about `feature_size` pixels wide."""
    # Coarse noise is drawn on a coarse grid and enlarged: blurring it at full size would cost a hundred times more.
    factor = max(1.0, feature_size / 1.5)
    height, width = int(np.ceil(HEIGHT / factor)) + 3, int(np.ceil(WIDTH / factor)) + 3
    noise = cv2.GaussianBlur(rng.standard_normal((height, width)).astype(np.float32), (0, 0), 1.2)
    enlarged = (int(width * factor), int(height * factor))
    noise = cv2.resize(noise, enlarged, interpolation=cv2.INTER_CUBIC)[:HEIGHT, :WIDTH]
    return (noise - noise.mean()) / (noise.std() + 1e-6)


def strand_noise(rng: np.random.Generator, width: float, length: float) -> np.ndarray:
    """`(HEIGHT, WIDTH)` float32 noise of variance 1 in vertical strands `width` pixels wide and `length` long."""
    noise = rng.standard_normal((HEIGHT, WIDTH)).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), sigmaX=width, sigmaY=length)
    return noise / noise.std()


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur; `sigma` in pixels."""
    return cv2.GaussianBlur(image, (0, 0), sigma)


def fixed_point(point: np.ndarray) -> tuple[int, int]:
    """A canvas position in the integer units that OpenCV's drawing functions take with `shift=4`."""
    return int(point[0] * _FIXED_POINT), int(point[1] * _FIXED_POINT)


def draw_spot(image: np.ndarray, position: np.ndarray, radius: float, strength: float) -> None:
    """Draws a filled disc into `image`, in place; `radius` in pixels."""
    cv2.circle(image, fixed_point(position), int(radius * _FIXED_POINT), strength, -1, cv2.LINE_AA, _SHIFT)


def draw_polyline(image: np.ndarray, points: np.ndarray, strengths: Iterable[float], widths: Iterable[int]) -> None:
    """Draws `(K, 2)` points as K - 1 segments into `image`, in place; strengths and widths (pixels) by segment."""
    vertices = (points * _FIXED_POINT).astype(int).tolist()
    for start, end, strength, width in zip(vertices[:-1], vertices[1:], strengths, widths, strict=True):
        cv2.line(image, start, end, strength, width, cv2.LINE_AA, _SHIFT)


class SkinCanvas:
    """Where each pixel of the canvas lies on the base mesh. Read-only after construction.

    Attributes:
        hit: `(HEIGHT, WIDTH)` bool, True where the canvas shows skin (False in the eye openings).
        angle: `(HEIGHT, WIDTH)` float32, radians round the head, 0 in front.
        x, y: `(HEIGHT, WIDTH)` float32, decimetres on the base mesh.
        lips, eyelids, inside_mouth, ears: masks of `FaceModel.canvas_masks`.
    """

    def __init__(self, face_model: FaceModel) -> None:
        vertices = face_model.vertices
        positions = canvas_position(vertices)
        triangles = face_model.triangles[face_model.triangle_part == SKIN]
        # Triangles that straddle the seam at the back of the head would be smeared over the whole canvas.
        columns = positions[triangles, 0]
        triangles = triangles[columns.max(1) - columns.min(1) < WIDTH / 2]
        radius = np.hypot(vertices[:, 0], vertices[:, 2] - CYLINDER_AXIS_Z)
        # The outermost surface wins; 10 dm exceeds every radius, so that depths stay positive.
        buffer = rasterize(positions, 10 - radius, triangles, HEIGHT, WIDTH)
        self.hit = buffer.hit
        rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
        self.angle = (columns / WIDTH * 2 - 1) * np.float32(MAX_ANGLE)
        self.y = np.float32(TOP_Y) - rows / HEIGHT * np.float32(TOP_Y - BOTTOM_Y)
        self.x = np.sin(self.angle) * np.float32(1.1)
        corners_x = vertices[triangles[buffer.triangle[self.hit]], 0]
        self.x[self.hit] = (corners_x * buffer.barycentric[self.hit]).sum(1)
        self.lips = face_model.canvas_masks["lips"]
        self.eyelids = face_model.canvas_masks["eyelids"]
        self.inside_mouth = face_model.canvas_masks["inside_mouth"]
        self.ears = face_model.canvas_masks["ears"]
        self._in_front = np.abs(self.angle) < _FRONT_ANGLE
        self._front_vertices = vertices[(face_model.vertex_part == SKIN) & (vertices[:, 2] > 0.6)]
        # The inner walls of mouth and nose lie behind the face; this keeps them from being taken for the nearest
        # surface.
        self._behind_face = 0.02 * (self._front_vertices[:, 2] < 1.0)

    def place(self, points: np.ndarray) -> np.ndarray:
        """`(N, 2)` places on the face seen from the front (decimetres) -> `(N, 2)` canvas position in pixels."""
        front = self._front_vertices
        distance = (front[:, 0] - points[:, :1]) ** 2
        distance += (front[:, 1] - points[:, 1:]) ** 2
        distance += self._behind_face
        nearest = np.argpartition(distance, 4, axis=1)[:, :4]
        weight = 1 / (np.take_along_axis(distance, nearest, 1) + 1e-4)
        depth = (front[nearest, 2] * weight).sum(1) / weight.sum(1)
        return canvas_position(np.concatenate([points, depth[:, None]], 1))

    def blob(self, x: float, y: float, width: float, height: float | None = None, mirrored: bool = True) -> np.ndarray:
        """A soft patch on the face.

        Args:
            x, y: centre in decimetres.
            width, height: standard deviations in decimetres; `height` defaults to `width`.
            mirrored: also draw it at `-x`.

        Returns:
            `(HEIGHT, WIDTH)` float32, 1 at the centre.
        """
        height = width if height is None else height
        result = np.zeros((HEIGHT, WIDTH), np.float32)
        rows = np.nonzero(np.abs(self.y[:, 0] - y) < _BLOB_REACH * height)[0]
        band = slice(rows[0], rows[-1] + 1)
        vertical = ((self.y[band] - y) / height) ** 2 / 2
        for centre in (x, -x) if mirrored and x else (x,):
            result[band] += np.exp(-(((self.x[band] - centre) / width) ** 2) / 2 - vertical)
        return result * self._in_front

    def strokes(
        self, roots: np.ndarray, directions: np.ndarray, lengths: np.ndarray, strengths: np.ndarray, curl: float
    ) -> np.ndarray:
        """Tapered hairs.

        Args:
            roots: `(N, 2)` on the face, decimetres.
            directions: `(N, 2)` unit vectors.
            lengths: `(N,)` decimetres.
            strengths: `(N,)` opacity at the root, 0..1; it falls to 0.4 of that at the tip.
            curl: sideways displacement of the tip as a part of the length.

        Returns:
            `(HEIGHT, WIDTH)` float32 opacity.
        """
        bend = np.stack([-directions[:, 1], directions[:, 0]], 1) * curl
        start = self.place(roots)
        middle = self.place(roots + directions * lengths[:, None] * 0.5)
        tip = self.place(roots + (directions + bend) * lengths[:, None])
        points = np.concatenate([start, middle, tip])
        left, top = np.maximum(points.min(0) - 8, 0).astype(int)
        right, bottom = np.minimum(points.max(0) + 8, [WIDTH, HEIGHT]).astype(int)
        t = np.linspace(0, 1, _STROKE_SEGMENTS + 1)[None, :, None]
        curves = (1 - t) ** 2 * start[:, None] + 2 * t * (1 - t) * middle[:, None] + t**2 * tip[:, None]
        curves = (curves - [left, top]) * _STROKE_SUPERSAMPLING
        size = (bottom - top, right - left)
        fine = np.zeros((size[0] * _STROKE_SUPERSAMPLING, size[1] * _STROKE_SUPERSAMPLING), np.float32)
        segment = np.arange(_STROKE_SEGMENTS)
        widths = (
            np.maximum(1, np.round(_STROKE_SUPERSAMPLING * (1 - segment / (_STROKE_SEGMENTS + 1))))
            .astype(int)
            .tolist()
        )
        fading = strengths[:, None] * (1 - 0.6 * segment / _STROKE_SEGMENTS)
        for curve, fades in zip(curves, fading.tolist(), strict=True):
            draw_polyline(fine, curve, fades, widths)
        result = np.zeros((HEIGHT, WIDTH), np.float32)
        result[top:bottom, left:right] = cv2.resize(fine, (size[1], size[0]), interpolation=cv2.INTER_AREA)
        return result

    def grooves(
        self,
        polylines: Sequence[Sequence[tuple[float, float]]],
        width: float,
        depth: float,
        window: tuple[slice, slice],
        rng: np.random.Generator,
    ) -> np.ndarray:
        """Wrinkles: furrows with raised rims.

        Args:
            polylines: corner points of each furrow on the face, decimetres.
            width: pixels of the canvas.
            depth: decimetres.
            window: (rows, columns) of the canvas that are wanted; furrows end inside it.
            rng: lets the furrows waver.

        Returns:
            float32 height in decimetres over `window`, negative in the furrow.
        """
        rows, columns = window
        drawn = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.float32)
        for polyline in polylines:
            corners = np.asarray(polyline, float)
            at = np.linspace(0, len(corners) - 1, 40)
            points = np.stack([np.interp(at, np.arange(len(corners)), corners[:, axis]) for axis in range(2)], 1)
            points[:, 1] += np.cumsum(rng.normal(0, 0.0006, len(points)))
            points = self.place(points) - [columns.start, rows.start]
            taper = np.sin(np.pi * (np.arange(len(points) - 1) + 0.5) / len(points)) ** 0.6
            draw_polyline(drawn, points, taper.tolist(), [int(max(1, width))] * (len(points) - 1))
        return -depth * (blur(drawn, width * 0.8) - 0.75 * blur(drawn, width * 2.4))
