"""Procedural skin: albedo, fine relief, brows, beard, scalp hair. No image of a person goes into it.

All colours here are linear reflectances unless a name says sRGB. Every number that is not sourced is ours, set by eye
on rendered faces; relief is in decimetres. Absorption follows the usual two-pigment reading of skin colour
(haemoglobin reddens, melanin darkens, both exponentially with their amount).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .face_model import FaceModel, Identity
from .skin_canvas import HEIGHT, WIDTH, SkinCanvas, band_noise, blur, draw_spot, strand_noise
from .styles import Style
from .wrinkles import AGE_WRINKLES, FACE_WINDOW, draw_wrinkles


# sRGB (0..255) skin tones from the fairest to the darkest; a subject's tone lies between two neighbours.
SKIN_TONES = np.array(
    [[232, 190, 170], [222, 172, 147], [208, 156, 126], [190, 138, 106], [160, 109, 80], [122, 79, 57], [88, 56, 41]],
    np.float32,
)
# sRGB hair colours: black, dark brown, brown, light brown, blond, red; and grey.
HAIR_COLOURS = np.array(
    [[18, 14, 12], [38, 26, 20], [62, 42, 28], [104, 72, 44], [150, 116, 76], [120, 58, 34]], np.float32
)
GREY_HAIR = np.array([150, 148, 145], np.float32)
HAIR_SHARES_CAUCASIAN = (0.30, 0.28, 0.22, 0.10, 0.07, 0.03)
HAIR_SHARES_OTHER = (0.75, 0.22, 0.03, 0.0, 0.0, 0.0)
# Absorption of red, green, blue light by one unit of each pigment.
HAEMOGLOBIN = np.array([0.06, 0.34, 0.30], np.float32)
MELANIN = np.array([0.22, 0.33, 0.42], np.float32) * np.float32(0.8)
SPOT_PIGMENT = np.array([0.5, 0.8, 0.9], np.float32)
LIP_PIGMENT = np.array([0.12, 0.72, 0.62], np.float32)
LASH_ROOT_PIGMENT = np.array([1.0, 1.05, 1.05], np.float32)
BEARD_PIGMENT = np.array([1.05, 0.95, 0.80], np.float32)


@dataclass(frozen=True)
class SkinTexture:
    """The painted skin of one subject, on the canvas of `skin_canvas`.

    Attributes:
        albedo_and_oil: `(HEIGHT, WIDTH, 4)` float32, linear RGB reflectance and the strength of the specular gloss.
        relief: `(HEIGHT, WIDTH)` float32, height of pores, hair and resting wrinkles in decimetres.
        hair_coverage: `(HEIGHT, WIDTH)` float32 in 0..1, scalp hair.
        wrinkles: maps of `wrinkles.draw_wrinkles`.
        hair_colour: `(3,)` float32, linear RGB.
        melanin: 0 (fairest) to 6 (darkest), position in `SKIN_TONES`.
    """

    albedo_and_oil: np.ndarray
    relief: np.ndarray
    hair_coverage: np.ndarray
    wrinkles: Mapping[str, np.ndarray]
    hair_colour: np.ndarray
    melanin: float


@dataclass(frozen=True)
class _Strands:
    coverage: np.ndarray
    fine: np.ndarray
    coarse: np.ndarray


def srgb_to_linear(colour: np.ndarray) -> np.ndarray:
    """sRGB in 0..255 -> linear light in 0..1, float32 (IEC 61966-2-1)."""
    value = np.asarray(colour, np.float32) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).astype(np.float32)


def _absorb(amount: np.ndarray, pigment: np.ndarray) -> np.ndarray:
    return np.exp(-amount.astype(np.float32)[..., None] * pigment.astype(np.float32))


class SkinPainter:
    """Paints skins. Holds what is the same on every face, so one instance serves every subject; read-only."""

    def __init__(self, face_model: FaceModel) -> None:
        canvas = self.canvas = SkinCanvas(face_model)
        blob = canvas.blob
        nose = blob(0, 6.95, 0.13, 0.25)
        self._cheeks = blob(0.50, 6.93, 0.20)
        self._ruddy = (
            0.50 * blob(0, 6.93, 0.13, 0.12)
            + 0.25 * blob(0, 6.33, 0.2, 0.12)
            + 0.35 * blob(0.31, 7.12, 0.17, 0.05)
            + 0.30 * canvas.eyelids
            + 0.40 * canvas.ears
        )
        self._eye_ring = blob(0.27, 7.13, 0.15, 0.045)
        self._forehead = blob(0, 7.75, 0.6, 0.2)
        pored = (
            blob(0, 6.95, 0.22, 0.25) + blob(0.42, 6.95, 0.2) + 0.6 * blob(0, 7.7, 0.4, 0.2) + blob(0, 6.35, 0.2, 0.12)
        )
        self._pored = 0.35 + 0.65 * np.clip(pored, 0, 1)
        self._oily = 0.55 + 0.45 * (nose + blob(0, 7.7, 0.35, 0.2)) + 0.25 * blob(0.5, 7.0, 0.2)
        self._lips = blur(canvas.lips, 2.2)
        self._mouth_line = np.clip(blur(canvas.inside_mouth, 2.0) * 2.2, 0, 1)
        self._lash_roots = self._make_lash_roots()
        self._bearded = self._make_bearded()

    def paint(self, identity: Identity, style: Style, rng: np.random.Generator) -> SkinTexture:
        """Paints one subject's skin; everything that varies is drawn from `rng`."""
        melanin, tone, fairness = self._sample_tone(identity, rng)
        albedo = self._paint_pigments(tone, fairness, rng)
        self._add_spots(albedo, fairness, rng)
        albedo, lip_lines = self._paint_lips(albedo, tone, fairness, style.make_up, rng)
        hair_colour = _sample_hair_colour(identity, rng)
        brows = self._draw_brows(identity, rng)
        under_brows = blur(brows, 4)
        covered = np.clip(brows * 1.05 + under_brows * 0.62, 0, 0.96)[..., None]
        albedo = albedo * (1 - covered) + hair_colour * np.float32(0.9) * covered
        lash_strength = rng.uniform(0.8, 1.6) * (1.1 - 0.3 * identity.gender + 0.8 * style.make_up)
        albedo *= _absorb(self._lash_roots * lash_strength, LASH_ROOT_PIGMENT)
        albedo = self._grow_beard(albedo, hair_colour, style, rng)
        strands = self._draw_scalp_hair(identity, style, rng)
        strand_colour = hair_colour * np.exp(0.42 * strands.fine + 0.28 * strands.coarse)[..., None]
        albedo = albedo * (1 - strands.coverage[..., None]) + strand_colour * strands.coverage[..., None]
        relief = self._draw_relief(identity, rng, lip_lines, brows, strands)
        wrinkles = draw_wrinkles(self.canvas, identity.age, rng)
        for name, share in AGE_WRINKLES.items():
            relief[FACE_WINDOW] += wrinkles[name] * np.float32(identity.age * share)
        oiliness = np.float32(rng.uniform(0.35, 0.85))
        oil = np.clip(
            oiliness * (self._oily + 0.25 * band_noise(rng, 20)) + (0.35 + 0.5 * style.make_up) * self._lips, 0.1, 2
        )
        oil *= (1 - 0.6 * strands.coverage) * (1 - 0.85 * np.clip(brows * 0.95 + under_brows * 0.4, 0, 1))
        albedo_and_oil = np.dstack([albedo, oil]).astype(np.float32)
        return SkinTexture(albedo_and_oil, relief.astype(np.float32), strands.coverage, wrinkles, hair_colour, melanin)

    @staticmethod
    def _sample_tone(identity: Identity, rng: np.random.Generator) -> tuple[float, np.ndarray, float]:
        melanin = (
            identity.caucasian * rng.uniform(0.0, 1.8)
            + identity.asian * rng.uniform(0.6, 2.4)
            + identity.african * rng.uniform(3.6, 6.0)
        )
        melanin = float(np.clip(melanin, 0, len(SKIN_TONES) - 1.01))
        step = int(melanin)
        between = melanin - step
        tone = srgb_to_linear(SKIN_TONES[step] * (1 - between) + SKIN_TONES[step + 1] * between)
        return melanin, tone, float(np.clip(1 - melanin / 4.5, 0.12, 1))

    def _paint_pigments(self, tone: np.ndarray, fairness: float, rng: np.random.Generator) -> np.ndarray:
        haemoglobin = 0.55 * np.float32(rng.uniform(0.3, 1.2)) * self._cheeks + self._ruddy
        for feature_size, strength in ((90, 0.12), (34, 0.10), (12, 0.10), (4, 0.10), (1.8, 0.05)):
            haemoglobin += strength * band_noise(rng, feature_size)
        melanin = np.float32(rng.uniform(0.15, 0.7) * 0.35) * self._eye_ring
        melanin += np.float32(0.12 * rng.uniform(0, 1)) * self._forehead + 0.25 * self.canvas.eyelids
        for feature_size, strength in ((120, 0.10), (30, 0.08), (8, 0.07), (2.5, 0.05), (1.2, 0.03)):
            melanin += strength * band_noise(rng, feature_size)
        haemoglobin = np.clip(haemoglobin, -0.5, 3) * np.float32(0.35 + 0.65 * fairness)
        return tone * _absorb(haemoglobin, HAEMOGLOBIN) * _absorb(melanin, MELANIN)

    def _add_spots(self, albedo: np.ndarray, fairness: float, rng: np.random.Generator) -> None:
        spots = np.zeros((HEIGHT, WIDTH), np.float32)
        for _ in range(int(rng.poisson(rng.choice([10, 40, 350], p=[0.6, 0.25, 0.15]) * fairness))):
            place = self.canvas.place(np.array([[rng.normal(0, 0.5), rng.normal(7.0, 0.3)]]))[0]
            draw_spot(spots, place, rng.uniform(0.5, 1.9), float(rng.uniform(0.1, 0.5)))
        for _ in range(rng.poisson(5)):  # moles and blemishes: fewer, larger, darker
            place = self.canvas.place(np.array([[rng.uniform(-0.75, 0.75), rng.uniform(6.3, 7.8)]]))[0]
            draw_spot(spots, place, rng.uniform(1.2, 3.4), float(rng.uniform(0.5, 1.5)))
        albedo *= _absorb(blur(spots, 0.9), SPOT_PIGMENT)

    def _paint_lips(
        self, albedo: np.ndarray, tone: np.ndarray, fairness: float, make_up: float, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        redness = rng.uniform(0.5, 1.1) + 0.9 * make_up
        lip_tone = tone * np.exp(-LIP_PIGMENT * redness * (0.5 + 0.5 * fairness) - 0.12 * (1 - fairness)).astype(
            np.float32
        )
        lip_lines = strand_noise(rng, 1.3, 9)
        opacity = (self._lips * np.float32(rng.uniform(0.75, 0.95)))[..., None]
        mottled = lip_tone * np.exp(0.06 * lip_lines + 0.08 * band_noise(rng, 10))[..., None]
        albedo = albedo * (1 - opacity) + mottled * opacity
        return albedo * (1 - 0.55 * self._mouth_line)[..., None], lip_lines

    def _draw_brows(self, identity: Identity, rng: np.random.Generator) -> np.ndarray:
        male = identity.gender
        thickness = rng.uniform(0.7, 1.1) * (0.52 + 0.63 * male)
        num_hairs = int(520 * rng.uniform(0.7, 1.1) * (0.62 + 0.5 * male))
        raised, arch = rng.normal(0, 0.012), rng.uniform(-0.3, 1.0) * (1 - 0.5 * male)
        brows = np.zeros((HEIGHT, WIDTH), np.float32)
        for side in (1, -1):
            along = rng.beta(1.1, 1.25, num_hairs)  # 0 at the nose, 1 at the temple
            x = 0.10 + 0.50 * along
            y = (
                7.465
                + raised
                + 0.055 * np.sin(np.pi * np.clip(along * 0.92, 0, 1)) * (1 + 0.5 * arch)
                - 0.075 * along**3
            )
            half_width = 0.042 * thickness * np.clip(np.minimum(1 - 0.72 * along, 0.62 + 3 * along), 0.1, 1)
            across = rng.uniform(-1, 1, num_hairs)
            roots = np.stack([x * side, y + across * half_width], 1)
            lean = np.interp(along, [0, 0.2, 0.6, 1], [82, 50, 18, -18]) + rng.normal(0, 9, num_hairs) - across * 14
            directions = np.stack([np.cos(np.deg2rad(lean)) * side, np.sin(np.deg2rad(lean))], 1)
            lengths = rng.uniform(0.05, 0.10, num_hairs) * (1 - 0.25 * along)
            strengths = rng.uniform(0.3, 0.7 + 0.2 * male, num_hairs) * (1 - 0.3 * np.abs(across))
            brows = np.maximum(brows, self.canvas.strokes(roots, directions, lengths, strengths, curl=-0.25 * side))
        return brows

    def _make_lash_roots(self) -> np.ndarray:
        canvas = self.canvas
        openings = ~canvas.hit & (np.abs(canvas.angle) < 0.6) & (canvas.y > 7.0) & (canvas.y < 7.5)
        edge = np.clip(blur(openings.astype(np.float32), 2.0) * 2.2, 0, 1) * canvas.hit
        return edge * np.clip((canvas.y - 7.27) / 0.05 + 0.5, 0.35, 1)  # the upper lid has the denser lashes

    def _make_bearded(self) -> dict[str, np.ndarray]:
        """Kind of beard -> `(HEIGHT, WIDTH)` where it grows, 0..1."""
        canvas, blob = self.canvas, self.canvas.blob
        chin, jaw = blob(0, 6.36, 0.30, 0.17) * 1.3, blob(0.62, 6.62, 0.17, 0.28) * 1.1 + blob(0.36, 6.36, 0.2, 0.16)
        moustache = blob(0.12, 6.79, 0.14, 0.04) * 1.3
        beside_mouth = blob(0.31, 6.62, 0.05, 0.14) * 0.9
        bare_under_lip = np.exp(-((canvas.x / 0.12) ** 2 + ((canvas.y - 6.52) / 0.05) ** 2)) * 0.5
        bare = (1 - self._lips) * np.clip((7.05 - canvas.y) / 0.25, 0, 1) * (1 - bare_under_lip)
        kinds = {
            "moustache": moustache,
            "goatee": np.maximum(np.maximum(moustache * 0.8, beside_mouth * 0.55), blob(0, 6.36, 0.2, 0.14)),
            "full": np.maximum(np.maximum(chin, jaw), np.maximum(moustache, beside_mouth)),
        }
        kinds["stubble"] = kinds["full"]
        return {kind: np.clip(region, 0, 1) * bare for kind, region in kinds.items()}

    def _grow_beard(
        self, albedo: np.ndarray, hair_colour: np.ndarray, style: Style, rng: np.random.Generator
    ) -> np.ndarray:
        if style.beard == "none":
            return albedo
        # Every beard stands in the shadow of the hairs just under the skin.
        shadow = self._bearded["full"] * np.float32(0.25 * style.beard_strength)
        stubble = np.clip(band_noise(rng, 1.6) - 0.4, 0, 2.5)
        region = self._bearded[style.beard]
        if style.beard == "stubble":
            density = region * np.float32(style.beard_strength) * np.clip(0.8 + 0.25 * band_noise(rng, 40), 0, 2)
            return albedo * _absorb(density * (0.22 + 0.42 * stubble), BEARD_PIGMENT)
        hairs = strand_noise(rng, 1.2, 3.5)
        edge = np.clip((region + 0.045 * hairs + 0.05 * band_noise(rng, 9) - 0.34) / 0.36, 0, 1)
        covered = (edge * np.float32(0.40 + 0.40 * style.beard_strength) * np.clip(0.9 + 0.25 * hairs, 0, 1.15))[
            ..., None
        ]
        colour = hair_colour * np.exp(0.35 * hairs)[..., None]
        return albedo * _absorb(shadow * (0.5 + stubble), BEARD_PIGMENT) * (1 - covered) + colour * covered

    def _draw_scalp_hair(self, identity: Identity, style: Style, rng: np.random.Generator) -> _Strands:
        canvas, male = self.canvas, identity.gender
        height = rng.uniform(7.96, 8.12) + 0.1 * male * identity.age
        if style.headwear is not None:  # the scalp's own hair stays behind the edge of what covers it
            height = max(height, style.headwear.front + 0.04)
        receding = rng.uniform(0.3, 1) * male
        angle = np.abs(canvas.angle)
        hairline = (
            height
            + 0.07 * receding * np.exp(-(((angle - 0.42) / 0.16) ** 2))
            - 1.05 * np.clip((angle - 0.50) / 0.52, 0, 1) ** 1.6
            - 0.5 * np.clip((angle - 1.0) / 0.5, 0, 1)
        )
        above = canvas.y - hairline + 0.012 * band_noise(rng, 7) + 0.02 * band_noise(rng, 30)
        fade = np.clip(above / 0.10 + 0.35, 0, 1)
        fade = fade * fade * (3 - 2 * fade)
        fine, coarse = strand_noise(rng, 0.9, 14), strand_noise(rng, 4, 40)
        coverage = np.clip(fade * (1.05 + 0.7 * fine * (1 - fade)), 0, 1) * (1 - canvas.ears)
        if style.hairstyle == "shaved":
            coverage *= np.float32(rng.uniform(0, 0.45))
        return _Strands(coverage.astype(np.float32), fine, coarse)

    def _draw_relief(
        self, identity: Identity, rng: np.random.Generator, lip_lines: np.ndarray, brows: np.ndarray, strands: _Strands
    ) -> np.ndarray:
        pores = np.clip(-band_noise(rng, 2.0), 0, 2) * 0.5 + 0.35 * band_noise(rng, 3.4)
        relief = 0.00045 * pores * self._pored * (1 - self._lips) * (1 - strands.coverage)
        relief += 0.00045 * lip_lines * self._lips + 0.0004 * brows + 0.0016 * strands.fine * strands.coverage
        relief += np.float32(0.0007 * (0.3 + identity.age)) * band_noise(rng, 9)
        return relief


def _sample_hair_colour(identity: Identity, rng: np.random.Generator) -> np.ndarray:
    """Linear RGB, float32; older heads are greyer."""
    shares = HAIR_SHARES_CAUCASIAN if identity.caucasian > 0.5 else HAIR_SHARES_OTHER
    colour = HAIR_COLOURS[rng.choice(len(HAIR_COLOURS), p=shares)]
    grey = np.clip((identity.age - 0.3) * 1.4 * rng.uniform(0.3, 1), 0, 0.8)
    return srgb_to_linear(colour * (1 - grey) + GREY_HAIR * grey)
