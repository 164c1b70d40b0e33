"""Z-buffer in plain numpy: which triangle is in front at each pixel, and where in it the pixel's centre lies."""

from dataclasses import dataclass

import numpy as np


# Triangles of less than this many square pixels cover no pixel centre and would only make the barycentric arithmetic
# unstable.
_SMALLEST_AREA = 1e-9
# A span may start this little before a pixel's centre: edges shared by two triangles must not leave a hole by
# rounding.
_SPAN_TOLERANCE = 1e-9


@dataclass(frozen=True)
class SurfaceBuffer:
    """What the camera sees through each pixel's centre.

    Attributes:
        triangle: `(H, W)` int32, row of the triangle array that was rasterized; -1 where there is none.
        barycentric: `(H, W, 3)` float32, weights of the three corners in space (perspective-correct); 0 where there is
            none.
        depth: `(H, W)` float32, in the unit of the depths given; infinite where there is none.
    """

    triangle: np.ndarray
    barycentric: np.ndarray
    depth: np.ndarray

    @property
    def hit(self) -> np.ndarray:
        """`(H, W)` bool, True where there is a surface."""
        return self.triangle >= 0


def rasterize(pixels: np.ndarray, depth: np.ndarray, triangles: np.ndarray, height: int, width: int) -> SurfaceBuffer:
    """Rasterizes a triangle mesh.

    All (triangle, pixel) candidates are made at once from scanline spans, which keeps their number close to the area
    covered.

    Args:
        pixels: `(V, 2)` projected vertices in pixels, x to the right, y down; the centre of pixel (0, 0) is at (0.5,
            0.5).
        depth: `(V,)` positive distances from the camera.
        triangles: `(T, 3)` int, rows of `pixels`.
        height, width: size of the image in pixels.
    """
    corners = pixels[triangles].astype(np.float64)
    area = signed_area(corners)
    triangle, row, column = _candidates(corners, area, height, width)
    inverse_area = 1 / np.where(np.abs(area) > _SMALLEST_AREA, area, 1)
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    second = np.stack([c[:, 1] - a[:, 1], a[:, 0] - c[:, 0]], 1) * inverse_area[:, None]
    third = np.stack([a[:, 1] - b[:, 1], b[:, 0] - a[:, 0]], 1) * inverse_area[:, None]
    dx = column + 0.5 - a[:, 0].take(triangle)
    dy = row + 0.5 - a[:, 1].take(triangle)
    weight_1 = np.clip(second[:, 0].take(triangle) * dx + second[:, 1].take(triangle) * dy, 0, 1)
    weight_2 = np.clip(third[:, 0].take(triangle) * dx + third[:, 1].take(triangle) * dy, 0, 1 - weight_1)
    # Interpolating 1/z, not z, is what makes the weights correct in perspective.
    inverse_depth = 1 / depth[triangles]
    part_0 = (1 - weight_1 - weight_2) * inverse_depth[:, 0].take(triangle)
    part_1 = weight_1 * inverse_depth[:, 1].take(triangle)
    part_2 = weight_2 * inverse_depth[:, 2].take(triangle)
    nearness = part_0 + part_1 + part_2
    target = row * width + column
    nearest = np.zeros(height * width)
    np.maximum.at(nearest, target, nearness)
    front = np.flatnonzero(nearness >= nearest.take(target))
    target, nearness = target.take(front), nearness.take(front)
    triangle_buffer = np.full(height * width, -1, np.int32)
    triangle_buffer[target] = triangle.take(front)
    barycentric = np.zeros((height * width, 3), np.float32)
    barycentric[target] = np.stack([part.take(front) / nearness for part in (part_0, part_1, part_2)], 1)
    depth_buffer = np.full(height * width, np.inf, np.float32)
    depth_buffer[target] = 1 / nearness
    return SurfaceBuffer(
        triangle_buffer.reshape(height, width),
        barycentric.reshape(height, width, 3),
        depth_buffer.reshape(height, width),
    )


def _candidates(
    corners: np.ndarray, area: np.ndarray, height: int, width: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(triangle, row, column) of every pixel whose centre lies in a triangle."""
    first_row = np.maximum(np.ceil(corners[..., 1].min(1) - 0.5), 0).astype(int)
    last_row = np.minimum(np.floor(corners[..., 1].max(1) - 0.5), height - 1).astype(int)
    drawn = np.nonzero((last_row >= first_row) & (np.abs(area) > _SMALLEST_AREA))[0]
    triangle, step = _expand(drawn, (last_row - first_row + 1)[drawn])
    row = first_row[triangle] + step
    centre = row + 0.5
    shape = corners[triangle]
    left, right = np.full(len(triangle), np.inf), np.full(len(triangle), -np.inf)
    for start, end in ((0, 1), (1, 2), (2, 0)):
        start_x, start_y, end_x, end_y = shape[:, start, 0], shape[:, start, 1], shape[:, end, 0], shape[:, end, 1]
        crosses = ((start_y <= centre) & (end_y >= centre)) | ((end_y <= centre) & (start_y >= centre))
        with np.errstate(divide="ignore", invalid="ignore"):
            x = start_x + (centre - start_y) * (end_x - start_x) / (end_y - start_y)
        # A horizontal edge is met along its whole length; its two ends come in through the neighbouring edges.
        x = np.where(start_y == end_y, start_x, x)
        crosses &= np.isfinite(x)
        left = np.where(crosses, np.minimum(left, x), left)
        right = np.where(crosses, np.maximum(right, x), right)
    met = np.isfinite(left) & np.isfinite(right)
    triangle, row, left, right = triangle[met], row[met], left[met], right[met]
    first_column = np.maximum(np.ceil(left - 0.5 - _SPAN_TOLERANCE), 0).astype(int)
    last_column = np.minimum(np.floor(right - 0.5 + _SPAN_TOLERANCE), width - 1).astype(int)
    span, step = _expand(np.arange(len(triangle)), np.maximum(last_column - first_column + 1, 0))
    return triangle[span], row[span], first_column[span] + step


def _expand(items: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Repeats each item `counts` times and numbers the copies 0, 1, ... within each item."""
    copies = np.repeat(items, counts)
    return copies, np.arange(len(copies)) - np.repeat(np.cumsum(counts) - counts, counts)


def signed_area(corners: np.ndarray) -> np.ndarray:
    """`(T, 3, 2)` triangles -> `(T,)` twice the signed area (px²), negative where the outside faces the camera."""
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    return (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])


def visible_triangles(
    pixels: np.ndarray, triangles: np.ndarray, candidates: np.ndarray, image_size: int
) -> np.ndarray:
    """Those of `candidates` (rows of `triangles`) that face the camera and touch the square image."""
    facing = candidates[signed_area(pixels[triangles[candidates]]) < 0]
    # A triangle is outside if its corners are all beyond the same edge; one bit for each edge.
    beyond = (pixels <= 0) @ np.array([1, 2]) + (pixels >= image_size) @ np.array([4, 8])
    a, b, c = beyond[triangles[facing]].T
    return facing[(a & b & c) == 0]


def vertex_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Outward unit normals, `(V, 3)` float64, the area-weighted mean over the triangles that meet in a vertex."""
    a, b, c = vertices[triangles[:, 0]], vertices[triangles[:, 1]], vertices[triangles[:, 2]]
    face_normals = np.cross(b - a, c - a)
    corners = triangles.ravel()
    normals = np.stack(
        [np.bincount(corners, np.repeat(face_normals[:, axis], 3), len(vertices)) for axis in range(3)], 1
    )
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
