"""Exact ground-truth motion between two states of a face, and its mean over patches.

The mesh is the same in both frames, so each visible point is followed exactly: its triangle and barycentric weights in
the first frame give its place in the second. Eyeballs also turn with the gaze, which carries the iris along.
"""

from dataclasses import dataclass, replace

import numpy as np

from .cylinder import CYLINDER_AXIS_Z
from .eyes import eye_rotation
from .face_model import LEFT_EYE, RIGHT_EYE, SKIN, TEETH, TONGUE, FaceModel
from .geometry import Camera, FaceState, rotate
from .rasterizer import SurfaceBuffer
from .surface import visible_surface


# A point counts as hidden in the second frame if another surface is nearer to the camera by more than this
# (decimetres): about the thickness of a lid. Ours.
OCCLUSION_TOLERANCE = 0.06
# The face, as against hair, ears, neck and shirt, on the base mesh: heights between chin and hairline, distance in
# front of ears and neck (decimetres), angle round the head (radians). Ours, by eye.
_FACE_BOTTOM, _FACE_TOP, _FACE_FRONT_Z, _FACE_ANGLE = 6.12, 7.95, 0.72, 1.05


@dataclass(frozen=True)
class GroundTruth:
    """Motion between an onset and an apex frame of size `(H, W)`.

    Attributes:
        motion: `(H, W, 2)` float32, (x, y) displacement in pixels of the surface point seen at each pixel's centre in
            the first frame: head, gaze and expression together; 0 where the head is not seen.
        expression_motion: the same with head pose and gaze held still, so that only the face's own movements are left.
        motion_valid: `(H, W)` bool, True where the head is seen and the point is visible in the second frame too.
        face_mask: `(H, W)` bool, True on the face (chin to hairline, in front of the ears) in the first frame.
    """

    motion: np.ndarray
    expression_motion: np.ndarray
    motion_valid: np.ndarray
    face_mask: np.ndarray


def ground_truth_motion(face_model: FaceModel, camera: Camera, first: FaceState, second: FaceState) -> GroundTruth:
    """Follows every visible point of the head from `first` to `second`, both seen by `camera`."""
    size = camera.image_size
    surface, later_surface = _seen(face_model, camera, first), _seen(face_model, camera, second)
    index = np.flatnonzero(surface.hit)
    seen = surface.triangle.ravel()[index]
    weights = surface.barycentric.reshape(-1, 3)[index].astype(np.float64)
    start, _ = camera.project(camera.place(_points(face_model, first, seen, weights), first.pose))
    end, end_depth = camera.project(camera.place(_follow(face_model, first, second, seen, weights), second.pose))
    still = replace(second, pose=first.pose, gaze=first.gaze)
    expressed, _ = camera.project(camera.place(_follow(face_model, first, still, seen, weights), first.pose))
    column, row = np.clip(np.floor(end), 0, size - 1).astype(int).T
    in_image = (end >= 0).all(1) & (end < size).all(1)
    visible = in_image & (end_depth < later_surface.depth[row, column] + OCCLUSION_TOLERANCE)
    # A lid is thinner than the tolerance: a point of an eyeball is seen only where that eyeball is seen.
    part = face_model.triangle_part[seen]
    later_part = face_model.triangle_part[later_surface.triangle[row, column]]
    visible &= ~np.isin(part, (LEFT_EYE, RIGHT_EYE)) | (later_part == part)
    return GroundTruth(
        motion=_to_image(end - start, index, size, np.float32),
        expression_motion=_to_image(expressed - start, index, size, np.float32),
        motion_valid=_to_image(visible, index, size, bool),
        face_mask=_to_image(_on_face(face_model)[seen], index, size, bool),
    )


def patch_motion(motion: np.ndarray, patch_size: int) -> np.ndarray:
    """Mean length of the motion in each patch, in the row-major patch order of a vision transformer.

    Args:
        motion: `(H, W, 2)` displacement in pixels.
        patch_size: pixels; must divide `H` and `W`.

    Returns:
        `(H // patch_size, W // patch_size)` float32, pixels.

    Raises:
        ValueError: if `motion` is not `(H, W, 2)` or `patch_size` does not divide it.
    """
    motion = np.asarray(motion)
    if motion.ndim != 3 or motion.shape[-1] != 2:
        raise ValueError(f"motion has shape {motion.shape}; expected (H, W, 2)")
    height, width = motion.shape[:2]
    if patch_size < 1 or height % patch_size or width % patch_size:
        raise ValueError(
            f"patch_size is {patch_size}; expected a positive divisor of the frame size {height} x {width}"
        )
    length = np.hypot(motion[..., 0], motion[..., 1])
    patches = length.reshape(height // patch_size, patch_size, width // patch_size, patch_size)
    return patches.mean((1, 3)).astype(np.float32)


def landmark_positions(face_model: FaceModel, camera: Camera, state: FaceState) -> np.ndarray:
    """`(len(LANDMARK_NAMES), 2)` float32, (x, y) in pixels; the centre of pixel (0, 0) is at (0.5, 0.5)."""
    points = state.vertices[face_model.landmark_vertices]
    return camera.project(camera.place(points, state.pose))[0].astype(np.float32)


def _seen(face_model: FaceModel, camera: Camera, state: FaceState) -> SurfaceBuffer:
    pixels, depth = camera.project(camera.place(state.vertices, state.pose))
    return visible_surface(face_model, pixels, depth, camera.image_size)


def _points(face_model: FaceModel, state: FaceState, triangles: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """`(N, 3)` points of the head's frame."""
    corners = face_model.triangles[triangles]
    points = state.vertices[corners[:, 0]] * weights[:, :1]
    points += state.vertices[corners[:, 1]] * weights[:, 1:2]
    points += state.vertices[corners[:, 2]] * weights[:, 2:]
    return points


def _follow(
    face_model: FaceModel, first: FaceState, second: FaceState, triangles: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """`(N, 3)` points of the head's frame in `second` that showed the same surface in `first`."""
    points = _points(face_model, second, triangles, weights)
    if first.gaze == second.gaze:
        return points
    part = face_model.triangle_part[triangles]
    for eye in (LEFT_EYE, RIGHT_EYE):
        on_eye = part == eye
        turn = eye_rotation(eye, second.gaze) @ eye_rotation(eye, first.gaze).T
        outward = points[on_eye] - second.vertices[face_model.eye_vertices[eye]].mean(0)
        points[on_eye] += rotate(outward, turn) - outward
    return points


def _on_face(face_model: FaceModel) -> np.ndarray:
    """`(T,)` bool, triangles that belong to the face."""
    vertices = face_model.vertices
    _, y, z = vertices.T
    angle = np.abs(np.arctan2(vertices[:, 0], z - CYLINDER_AXIS_Z))
    skin = (y > _FACE_BOTTOM) & (y < _FACE_TOP) & (z > _FACE_FRONT_Z) & (angle < _FACE_ANGLE)
    part = face_model.triangle_part
    inner = np.isin(part, (LEFT_EYE, RIGHT_EYE, *TEETH, TONGUE))
    return inner | ((part == SKIN) & skin[face_model.triangles].all(1))


def _to_image(values: np.ndarray, index: np.ndarray, size: int, dtype: type) -> np.ndarray:
    image = np.zeros((size * size, *values.shape[1:]), dtype)
    image[index] = values
    return image.reshape(size, size, *values.shape[1:])
