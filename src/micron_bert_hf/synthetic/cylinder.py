"""The cylinder round the head on which skin is painted, unrolled to a canvas."""

import numpy as np


# Axis of the cylinder (decimetres along z).
CYLINDER_AXIS_Z = 0.2
# The masks in the asset were baked on this canvas: changing a number here means baking it anew.
WIDTH, HEIGHT = 1400, 1024
MAX_ANGLE = np.deg2rad(105)
TOP_Y, BOTTOM_Y = 8.62, 5.92


def canvas_position(points: np.ndarray) -> np.ndarray:
    """`(..., 3)` points of the base mesh (decimetres) -> `(..., 2)` canvas position in pixels, (column, row)."""
    angle = np.arctan2(points[..., 0], points[..., 2] - CYLINDER_AXIS_Z)
    column = (angle / MAX_ANGLE + 1) / 2 * WIDTH
    row = (TOP_Y - points[..., 1]) / (TOP_Y - BOTTOM_Y) * HEIGHT
    return np.stack([column, row], -1)
