"""Wrinkles that follow the muscles: height maps that action units switch on.

Where each furrow lies follows Ekman, Friesen and Hager, Facial Action Coding System, 2002 (appearance changes of each
unit); coordinates, depths and gains are ours, set by eye.
"""

from collections.abc import Mapping

import numpy as np

from .cylinder import WIDTH
from .skin_canvas import SkinCanvas, band_noise


# The part of the canvas that holds the face (rows, columns): wrinkle maps are stored and added only there.
FACE_WINDOW = (slice(240, 1010), slice(420, 980))
# Depth of a furrow in decimetres at full intensity of its unit, and the intensity beyond which furrows no longer
# deepen. Ours.
FURROW_DEPTH = 0.008
MAX_FURROW_GAIN = 1.3
# Half-width (pixels of the canvas) of the band in which the two sides' gains blend. Ours.
_MIDLINE_BLEND = 30

# Action unit -> gain of each wrinkle map.
ACTION_UNIT_WRINKLES: Mapping[int, Mapping[str, float]] = {
    1: {"forehead": 0.7},
    2: {"forehead": 0.7},
    4: {"glabella": 1.0},
    6: {"crows_feet": 1.0, "nasolabial": 0.35},
    7: {"crows_feet": 0.35},
    9: {"nose": 1.0, "nasolabial": 0.5, "glabella": 0.3},
    10: {"nasolabial": 1.0},
    12: {"nasolabial": 0.8, "mouth_corner": 0.35},
    14: {"mouth_corner": 1.0},
    15: {"mouth_corner": 0.5, "under_lip": 0.4},
    17: {"chin": 1.5, "under_lip": 0.8},
    20: {"mouth_corner": 0.5},
}
# How much of each map an old face shows at rest.
AGE_WRINKLES: Mapping[str, float] = {"forehead": 0.44, "nasolabial": 0.64, "crows_feet": 0.56, "glabella": 0.40}


def wrinkle_gains(action_units: Mapping[int, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """(left, right) gain of each wrinkle map for (left, right) intensities: a side folds with its own muscles."""
    gains: dict[str, tuple[float, float]] = {}
    for action_unit, (left, right) in action_units.items():
        for name, gain in ACTION_UNIT_WRINKLES.get(action_unit, {}).items():
            before = gains.get(name, (0.0, 0.0))
            gains[name] = (before[0] + gain * left, before[1] + gain * right)
    return {name: (min(left, MAX_FURROW_GAIN), min(right, MAX_FURROW_GAIN)) for name, (left, right) in gains.items()}


def side_gains(left: float, right: float) -> np.ndarray:
    """`(columns of FACE_WINDOW,)` float32, gain by column; one side fades into the other about the midline."""
    column = np.arange(FACE_WINDOW[1].start, FACE_WINDOW[1].stop) + 0.5 - WIDTH / 2
    share = np.clip(column / (2 * _MIDLINE_BLEND) + 0.5, 0, 1)
    return (right + (left - right) * share).astype(np.float32)


def draw_wrinkles(canvas: SkinCanvas, age: float, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """One subject's wrinkle maps: name -> float32 height in decimetres over `FACE_WINDOW`, negative in a furrow.

    Args:
        age: 0 (young) to 1; young skin folds less, and not everybody's forehead folds in lines.
    """
    forehead_strength = float(np.clip(rng.uniform(0.05, 0.55) + 0.7 * age, 0, 1))

    def jitter(spread: float = 0.02) -> float:
        return rng.normal(0, spread)

    sides = (1, -1)
    forehead = [
        [
            (-0.5 + jitter(), y + jitter()),
            (-0.25, y + 0.02 + jitter(0.01)),
            (0, y - 0.015 + jitter(0.01)),
            (0.25, y + 0.02 + jitter(0.01)),
            (0.5 + jitter(), y + jitter()),
        ]
        for y in (7.66, 7.76, 7.86)
        if rng.random() < 0.75
    ]
    glabella = [[(s * 0.075 + jitter(0.008), 7.40), (s * 0.07, 7.48), (s * 0.085 + jitter(0.01), 7.57)] for s in sides]
    crows_feet = [
        [(s * 0.56, 7.27 + 0.02 * k), (s * 0.64, 7.28 + 0.05 * k), (s * 0.70, 7.28 + 0.08 * k + jitter(0.01))]
        for s in sides
        for k in (-1, 0, 1)
    ]
    crows_feet += [[(s * 0.20, 7.17), (s * 0.33, 7.135 + jitter(0.006)), (s * 0.46, 7.16)] for s in sides]
    nasolabial = [
        [(s * 0.20, 6.96), (s * 0.30, 6.85), (s * 0.37, 6.72), (s * 0.40 + jitter(0.01), 6.58)] for s in sides
    ]
    nose = [[(s * 0.05, 7.24 - d), (s * 0.10, 7.20 - d), (s * 0.14, 7.13 - d)] for s in sides for d in (0, 0.05)]
    mouth_corner = [[(s * 0.36, 6.70), (s * 0.385, 6.62), (s * 0.365, 6.53)] for s in sides]
    under_lip = [[(s * 0.15, 6.47), (s * 0.03, 6.455), (-s * 0.08, 6.46)] for s in sides]
    # The chin of AU 17 puckers like an orange's skin instead of folding.
    chin = 0.0006 * band_noise(rng, 7) * canvas.blob(0, 6.35, 0.16, 0.09)
    chin = np.ascontiguousarray(chin[FACE_WINDOW])
    return {
        "forehead": canvas.grooves(forehead, 4, FURROW_DEPTH * forehead_strength, FACE_WINDOW, rng),
        "glabella": canvas.grooves(glabella, 4, FURROW_DEPTH * 1.1, FACE_WINDOW, rng),
        "crows_feet": canvas.grooves(crows_feet, 2.6, FURROW_DEPTH * 0.7, FACE_WINDOW, rng),
        "nasolabial": canvas.grooves(nasolabial, 7, FURROW_DEPTH * 0.5, FACE_WINDOW, rng),
        "nose": canvas.grooves(nose, 3, FURROW_DEPTH * 0.7, FACE_WINDOW, rng),
        "mouth_corner": canvas.grooves(mouth_corner, 4, FURROW_DEPTH, FACE_WINDOW, rng),
        "under_lip": canvas.grooves(under_lip, 4, FURROW_DEPTH, FACE_WINDOW, rng),
        "chin": chin,
    }
