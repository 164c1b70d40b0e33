"""What of the head the camera sees, strands of hair included: the one answer that pictures and motion share."""

import numpy as np

from .face_model import FaceModel
from .rasterizer import SurfaceBuffer, rasterize, visible_triangles


def visible_surface(
    face_model: FaceModel, points: np.ndarray, depth: np.ndarray, image_size: int, supersampling: int = 1
) -> SurfaceBuffer:
    """The nearest surface at each (sub)pixel, lashes left out.

    Args:
        points: `(V, 2)` projected vertices in pixels of the image.
        depth: `(V,)`, decimetres.
        image_size: pixels.
        supersampling: the buffer is this many times as large as the image.

    Returns:
        Buffer of size `image_size * supersampling`; `triangle` are rows of `face_model.triangles`.
    """
    size = image_size * supersampling
    fine_points = points * supersampling
    solid = visible_triangles(points, face_model.triangles, face_model.solid_triangles, image_size)
    surface = _numbered(rasterize(fine_points, depth, face_model.triangles[solid], size, size), solid)
    strands = visible_triangles(points, face_model.triangles, face_model.strand_triangles, image_size)
    if not len(strands):
        return surface
    hair = rasterize(fine_points, depth, face_model.triangles[strands], size, size)
    index = np.flatnonzero(hair.depth < surface.depth)
    triangle = strands.take(hair.triangle.ravel().take(index))
    weights = hair.barycentric.reshape(-1, 3).take(index, axis=0)
    places = (face_model.surface_coordinates[face_model.triangles[triangle]] * weights[..., None]).sum(1)
    strand = np.clip(places[:, 0], 0, len(face_model.strand_lengths) - 1).astype(int)
    kept = places[:, 1] <= face_model.strand_lengths[strand]
    index = index[kept]
    surface.triangle.ravel()[index] = triangle[kept]
    surface.barycentric.reshape(-1, 3)[index] = weights[kept]
    surface.depth.ravel()[index] = hair.depth.ravel()[index]
    return surface


def _numbered(buffer: SurfaceBuffer, triangles: np.ndarray) -> SurfaceBuffer:
    """The buffer with rows of `triangles` replaced by what they number; its arrays are new and may be written to."""
    number = np.where(buffer.hit, triangles[buffer.triangle], -1)
    return SurfaceBuffer(number, buffer.barycentric, buffer.depth)
