"""What is behind the head: plain walls, curtains, cluttered rooms; procedural, out of focus, still in a session."""

import cv2
import numpy as np


# The scene is painted at this size and resized to the picture's.
_SIZE = 256
# Shares of plain walls, curtains and cluttered rooms. Ours: databases are recorded before plain walls most often.
_KINDS, _SHARES = ("wall", "curtain", "room"), (0.5, 0.15, 0.35)


def plain_background(level: float) -> np.ndarray:
    """`(256, 256, 3)` float32 linear RGB, an even grey wall."""
    return np.full((_SIZE, _SIZE, 3), level, np.float32)


def paint_background(rng: np.random.Generator) -> np.ndarray:
    """`(256, 256, 3)` float32 linear RGB of a drawn scene; the light of the wall falls off to one side."""
    kind = rng.choice(_KINDS, p=_SHARES)
    tint = np.exp(rng.normal(0, 0.04 if kind == "wall" else 0.07, 3)).astype(np.float32)
    scene = plain_background(rng.uniform(0.05, 0.22)) * tint
    if kind == "curtain":
        folds = np.interp(np.arange(_SIZE), np.arange(0, _SIZE + 8, 8), rng.normal(0, 0.25, _SIZE // 8 + 1))
        scene *= np.exp(folds).astype(np.float32)[None, :, None]
    elif kind == "room":
        for _ in range(rng.integers(6, 18)):
            _draw_object(scene, rng)
    scene = cv2.GaussianBlur(scene, (0, 0), rng.uniform(2.0, 7.0))
    across = np.linspace(-0.5, 0.5, _SIZE, dtype=np.float32)
    light = 1.05 + np.float32(rng.normal(0, 0.2)) * across - 0.25 * across[:, None]
    return scene * light[..., None]


def fit_background(scene: np.ndarray, size: int) -> np.ndarray:
    """The scene at `size` pixels, a new array."""
    return cv2.resize(scene, (size, size), interpolation=cv2.INTER_LINEAR)


def _draw_object(scene: np.ndarray, rng: np.random.Generator) -> None:
    colour = tuple(
        float(value) for value in np.exp(rng.uniform(*np.log((0.01, 0.4)))) * np.exp(rng.normal(0, 0.18, 3))
    )
    left, top = rng.integers(-40, _SIZE, 2)
    width, height = (int(value) for value in rng.uniform(12, 110, 2))
    shape = rng.integers(3)
    if shape == 0:  # pictures, screens, cupboards
        cv2.rectangle(scene, (int(left), int(top)), (int(left) + width, int(top) + height), colour, -1)
    elif shape == 1:  # frames, shelves
        cv2.rectangle(
            scene, (int(left), int(top)), (int(left) + width, int(top) + height), colour, int(rng.integers(2, 6))
        )
    else:  # plants, lamps
        cv2.ellipse(scene, (int(left), int(top)), (width // 3, height // 3), rng.uniform(0, 90), 0, 360, colour, -1)
