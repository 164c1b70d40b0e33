"""What subjects wear and how they groom: hair, head coverings, glasses, beards, brows, make-up. Every number is ours.

Shares are rounded guesses at what an adult sample in a laboratory looks like; they decide only how varied the faces
are.
"""

from dataclasses import dataclass

import numpy as np

from .accessories import STRAND_COLUMNS, Glasses, Headwear
from .face_model import Identity


# Rows of the strand texture, from the crown to the tips.
STRAND_ROWS = 128
# Hairstyle -> share among women, among men. "cropped" and "shaved" are painted on the scalp only.
HAIRSTYLE_SHARES = {
    "long": (0.36, 0.05), "fringe": (0.14, 0.02), "bob": (0.15, 0.03), "tied": (0.16, 0.03), "full": (0.08, 0.34),
    "cropped": (0.03, 0.30), "shaved": (0.0, 0.13), "cap": (0.02, 0.06), "scarf": (0.06, 0.0),
    "turban": (0.0, 0.04),
}  # fmt: skip
BEARDS = ("none", "stubble", "moustache", "goatee", "full")
_BEARD_SHARES = (0.40, 0.28, 0.08, 0.08, 0.16)
_GLASSES_SHARE = 0.24
# Gamma-encoded colours (0..255) of frames: black, tortoise, brown, navy, gold, steel.
_FRAME_COLOURS = np.array([[18, 18, 20], [64, 38, 22], [92, 62, 44], [24, 32, 60], [150, 118, 62], [120, 122, 126]])


@dataclass(frozen=True)
class Style:
    """How one subject is groomed.

    Attributes:
        hairstyle: key of `HAIRSTYLE_SHARES`.
        headwear: shape of hair or cloth, or `None` if the scalp shows what is painted on it.
        covers_neck: the neck is wrapped in the same cloth.
        cloth_colour: `(3,)` linear RGB.
        glasses: or `None`.
        beard: one of `BEARDS`; `beard_strength` is its density in 0..1.
        make_up: 0 to 1, redness of the lips and darkness of the lid's edge.
    """

    hairstyle: str
    headwear: Headwear | None
    covers_neck: bool
    cloth_colour: np.ndarray
    glasses: Glasses | None
    beard: str
    beard_strength: float
    make_up: float


def sample_style(identity: Identity, rng: np.random.Generator) -> Style:
    """Draws one subject's style."""
    male = identity.gender > 0.5
    shares = np.array([share[int(male)] for share in HAIRSTYLE_SHARES.values()])
    hairstyle = str(rng.choice(list(HAIRSTYLE_SHARES), p=shares / shares.sum()))
    headwear = _sample_headwear(hairstyle, identity, rng)
    cloth_colour = (rng.uniform(0.1, 0.8, 3) * rng.uniform(0.4, 1)) ** 2.0
    return Style(
        hairstyle=hairstyle,
        headwear=headwear,
        covers_neck=hairstyle == "scarf",
        cloth_colour=cloth_colour,
        glasses=_sample_glasses(rng) if rng.random() < _GLASSES_SHARE else None,
        beard=str(rng.choice(BEARDS, p=_BEARD_SHARES)) if male else "none",
        beard_strength=float(rng.uniform(0.5, 1.0)),
        make_up=0.0 if male else float(np.clip(rng.normal(0.35, 0.35), 0, 1)),
    )


def draw_strands(rng: np.random.Generator, cloth: bool) -> np.ndarray:
    """`(STRAND_ROWS, STRAND_COLUMNS)` float32, logarithm of the brightness of hair or cloth."""
    if cloth:
        folds = np.interp(np.arange(STRAND_COLUMNS), np.arange(0, STRAND_COLUMNS + 1, 32), rng.normal(0, 0.08, 33))
        weave = 0.04 * rng.standard_normal((STRAND_ROWS, STRAND_COLUMNS))
        return (folds + weave).astype(np.float32)
    strands = 0.22 * rng.standard_normal(STRAND_COLUMNS)
    for width, strength in ((4, 0.22), (16, 0.20)):
        corners = rng.normal(0, strength, STRAND_COLUMNS // width + 1)
        strands += np.interp(np.arange(STRAND_COLUMNS), np.arange(0, STRAND_COLUMNS + 1, width), corners)
    along = np.interp(np.arange(STRAND_ROWS), np.arange(0, STRAND_ROWS + 1, 16), rng.normal(0, 0.10, 9))
    single = rng.normal(0, 0.10, (8, STRAND_COLUMNS))
    return (strands + along[:, None] + np.repeat(single, STRAND_ROWS // 8, axis=0)).astype(np.float32)


def _sample_headwear(hairstyle: str, identity: Identity, rng: np.random.Generator) -> Headwear | None:
    u = rng.uniform
    parting = float(rng.normal(0, 0.10))
    coily = identity.african > 0.5 and u() < 0.7
    if hairstyle in ("cropped", "shaved"):
        return None
    if hairstyle in ("long", "fringe", "bob"):
        front = u(7.64, 7.74) if hairstyle == "fringe" else u(7.90, 8.04)
        side = u(6.25, 6.75) if hairstyle == "bob" else u(5.3, 6.0)
        opening = (u(0.66, 0.84), u(1.02, 1.16))
        thickness, wave = (u(0.16, 0.30), u(0.02, 0.04)) if coily else (u(0.06, 0.13), u(0.004, 0.024))
        return Headwear(front, side, side - u(0, 0.2), opening, parting, thickness, u(0.5, 1.0), wave)
    if hairstyle == "tied":
        return Headwear(u(7.94, 8.06), 7.42, 6.9, (0.72, 1.15), 0.0, u(0.03, 0.06), 0.5, u(0, 0.004))
    if hairstyle == "full":
        thickness, wave = (u(0.14, 0.34), u(0.01, 0.03)) if coily else (u(0.07, 0.17), u(0.006, 0.022))
        taper = u(0.3, 0.7) if coily else u(0.05, 0.3)
        opening = (u(0.6, 0.75), u(0.95, 1.1))
        return Headwear(u(7.84, 8.04), u(7.28, 7.42), 6.9, opening, parting, thickness, taper, wave)
    if hairstyle == "scarf":
        return Headwear(
            u(7.84, 7.98), 5.5, 5.5, (u(0.62, 0.70), u(0.98, 1.06)), 0.0, u(0.05, 0.09), 1.0, 0.006, cloth=True
        )
    if hairstyle == "cap":
        return Headwear(u(7.66, 7.80), 7.48, 7.1, (0.8, 1.3), 0.0, u(0.05, 0.09), 0.7, 0.004, cloth=True)
    return Headwear(u(7.70, 7.82), 7.40, 7.0, (0.7, 1.3), 0.0, u(0.18, 0.28), 0.6, 0.012, cloth=True)  # turban


def _sample_glasses(rng: np.random.Generator) -> Glasses:
    thin = rng.random() < 0.45
    colours = _FRAME_COLOURS[4:] if thin else _FRAME_COLOURS[:4]
    return Glasses(
        half_width=float(rng.uniform(0.215, 0.255)),
        half_height=float(rng.uniform(0.15, 0.20)),
        squareness=float(rng.uniform(2.0, 3.6)),
        tube=float(rng.uniform(0.008, 0.012) if thin else rng.uniform(0.016, 0.026)),
        colour=(colours[rng.integers(len(colours))] / 255) ** 2.2,
        shine=0.6 if thin else 0.25,
    )
