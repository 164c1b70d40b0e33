"""A contact sheet: what a set looks like, at a glance."""

import os
from collections.abc import Iterable, Mapping
from typing import Any

import cv2
import numpy as np


# Amplification of the difference between the frames, and motion (pixels) that is drawn at full brightness.
_DIFFERENCE_GAIN = 10
_FULL_MOTION = 3.0
# Longest side that OpenCV's PNG writer and most viewers are sure to take.
_MAX_SIDE = 30000


def motion_image(motion: np.ndarray) -> np.ndarray:
    """`(H, W, 2)` pixels -> `(H, W, 3)` uint8 RGB; hue is the direction, brightness the length, full at 3 pixels."""
    angle = np.arctan2(motion[..., 1], motion[..., 0])
    hue = (angle + np.pi) / np.pi * 90 % 180
    value = np.clip(np.hypot(motion[..., 0], motion[..., 1]) / _FULL_MOTION * 255, 0, 255)
    hsv = np.stack([hue, np.full_like(hue, 255), value], -1).astype(np.uint8)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


def save_contact_sheet(
    rows: Iterable[Mapping[str, Any]], path: str | os.PathLike[str], columns: int = 4, tile_size: int = 160
) -> None:
    """Writes a PNG with four tiles a row: onset, apex, their difference (times 10 round grey), expression motion.

    Args:
        rows: of [`generate_micro_expressions`].
        path: of the PNG file.
        columns: samples side by side.
        tile_size: side of one tile in pixels.

    Raises:
        ValueError: if there are no rows, or too many for one picture.
        OSError: if the file cannot be written.
    """
    tiles = [_sample_tile(row, tile_size) for row in rows]
    if not tiles:
        raise ValueError("there are no rows; expected at least one")
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    lines = [np.hstack(tiles[start : start + columns]) for start in range(0, len(tiles), columns)]
    sheet = np.vstack(lines)
    if max(sheet.shape) > _MAX_SIDE:
        raise ValueError(
            f"the sheet would be {sheet.shape[1]} x {sheet.shape[0]} pixels; expected at most {_MAX_SIDE}"
        )
    encoded, data = cv2.imencode(".png", sheet[..., ::-1])
    if not encoded:
        raise OSError(f"OpenCV could not encode the contact sheet for {path}")
    with open(path, "wb") as file:
        file.write(data.tobytes())


def _sample_tile(row: Mapping[str, Any], tile_size: int) -> np.ndarray:
    onset, apex = row["onset"], row["apex"]
    difference = np.clip(128 + _DIFFERENCE_GAIN * (apex.astype(float) - onset), 0, 255).astype(np.uint8)
    motion = row["expression_motion"]
    enlarge = cv2.INTER_AREA if len(onset) >= tile_size else cv2.INTER_CUBIC
    first, second, third, fourth = (
        cv2.resize(image, (tile_size, tile_size), interpolation=enlarge)
        for image in (onset, apex, difference, motion_image(motion))
    )
    tile = np.vstack([np.hstack([first, second]), np.hstack([third, fourth])])
    largest = float(np.hypot(motion[..., 0], motion[..., 1]).max())
    text = f"{row['sample_id']} {'+'.join(row['action_units'])} {largest:.1f}px"
    cv2.putText(tile, text, (3, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.36, (255, 255, 0), 1, cv2.LINE_AA)
    return tile
