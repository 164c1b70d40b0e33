"""Parametric head: MakeHuman's CC0 base mesh, its shape targets and 52 facial units, as FACS action units.

Lengths are in decimetres, MakeHuman's unit. The frame is right-handed and centred on the body's midline: ``x`` points
to the subject's left, ``y`` up, ``z`` out of the face. "Left" always means the subject's left, which is the right half
of an image. The asset, its making and its licence are described in ``assets/README.md``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

import numpy as np

from . import accessories
from .cylinder import canvas_position


SKIN, LEFT_EYE, RIGHT_EYE = 0, 1, 2
LEFT_LASHES, RIGHT_LASHES = (3, 4), (5, 6)
UPPER_LASHES, LOWER_LASHES = (4, 6), (3, 5)
TEETH, TONGUE = (7, 8), 9
# Strands have gaps at their tips; their lining is the inner side of long hair. See `accessories`.
STRANDS, LINING, GLASSES = 10, 11, 12
SOLID_PARTS = (SKIN, LEFT_EYE, RIGHT_EYE, *TEETH, TONGUE, LINING, GLASSES)
LASH_PARTS = (*LEFT_LASHES, *RIGHT_LASHES)

# MakeHuman targets are stored in integer thousandths of a decimetre.
TARGET_RESOLUTION = 1000
# Shadows are softer in light scattered under the skin: a blocked direction still counts this much. Ours.
SCATTER_THROUGH = np.float32(0.35)
# The front of the face on the base mesh: in front of this, and for its mean motion between these heights (decimetres).
# Ours.
_FRONT_Z, _FACE_BOTTOM, _FACE_TOP = 0.6, 6.12, 7.95
# Skin within this many radii of an eyeball's centre belongs to its lids; their outside keeps this distance, since the
# straight edges between two vertices cut into the ball by about a fiftieth. Ours.
_LID_REACH, _LID_CLEARANCE = 1.35, 1.03
# Part of the light that arrives on the inner side of long hair. Ours.
_LIGHT_UNDER_HAIR = 0.25
# Half-width (decimetres) of the band round the midline where a unit split in two fades from one side to the other.
# Ours.
MIDLINE_BLEND = 0.10
# Units that the asset stores for both sides at once although the muscle (frontalis, pars medialis) has two halves.
SPLIT_UNITS = ("browInnerUp",)

# FACS action unit -> weights on the 52 facial units. "{}" stands for Left and Right, so that each side has its own
# intensity; a name without it is a midline movement and takes the mean of both sides. Which unit belongs to which
# action unit follows the muscle descriptions of Ekman, Friesen and Hager, Facial Action Coding System, 2002; the
# weights are ours, set by eye on the rendered face.
ACTION_UNITS: Mapping[int, Mapping[str, float]] = {
    1: {"browInnerUp{}": 1.0},
    2: {"browOuterUp{}": 1.0},
    4: {"browDown{}": 1.0},
    5: {"eyeWide{}": 1.0},
    6: {"cheekSquint{}": 1.0, "eyeSquint{}": 0.25},
    7: {"eyeSquint{}": 1.0},
    9: {"noseSneer{}": 1.0, "browDown{}": 0.15},
    10: {"mouthUpperUp{}": 1.0, "noseSneer{}": 0.25},
    12: {"mouthSmile{}": 1.0},
    14: {"mouthDimple{}": 1.0},
    15: {"mouthFrown{}": 1.0},
    16: {"mouthLowerDown{}": 1.0},
    17: {"mouthShrugLower": 1.0, "mouthShrugUpper": 0.3},
    18: {"mouthPucker": 1.0},
    20: {"mouthStretch{}": 1.0},
    23: {"mouthRollLower": 0.4, "mouthRollUpper": 0.3},
    24: {"mouthPress{}": 1.0},
    25: {"mouthLowerDown{}": 0.45, "mouthUpperUp{}": 0.2},
    26: {"jawOpen": 0.5},
    28: {"mouthRollLower": 1.0, "mouthRollUpper": 1.0},
    43: {"eyeBlink{}": 1.0},
}

# What intensity 1.0 means: the unit's own region moves by this part of the distance between the eyes' centres, as seen
# from the front (the 95th percentile, by area, over the region: see `FaceModel.unit_displacement`). On an adult of
# 63 mm between the eyes that is 6.3 mm; at 60 pixels between the eyes, 6 pixels. Ours, near what most of the facial
# units do at weight 1. A blink is measured by how far the lid is closed instead: 1.0 closes it, which takes 0.197.
UNIT_DISPLACEMENT = 0.10
LID_CLOSURE_UNITS = (43,)
# A unit's region is where it moves the front of the face by more than this part of its largest displacement. Ours.
_REGION_SHARE = 0.2
_REGION_PERCENTILE = 0.95

# Units that move both sides alike, whatever intensities are given.
MIDLINE_UNITS = tuple(number for number, units in ACTION_UNITS.items() if not any("{}" in name for name in units))

# Landmark -> a vertex of the outer skin, given by its place on the neutral base mesh (decimetres). Chosen by us on a
# close-up of the mesh: the corners are where the lids and the lips really meet, the lip points are the edges of the
# vermilion.
_PAIRED_LANDMARKS = {
    "brow_inner": (0.1615, 7.4572, 1.4891),
    "brow_middle": (0.3373, 7.5016, 1.4232),
    "brow_outer": (0.5766, 7.3882, 1.2082),
    "eye_inner": (0.1752, 7.2736, 1.3807),
    "eye_outer": (0.4394, 7.2874, 1.3580),
    "upper_lid": (0.3110, 7.3315, 1.4107),
    "lower_lid": (0.3109, 7.2395, 1.4046),
    "nose_wing": (0.1687, 6.8810, 1.5072),
    "mouth_corner": (0.2589, 6.6096, 1.4172),
    "cheek": (0.4973, 6.9449, 1.3170),
}
_MIDLINE_LANDMARKS = {
    "nasion": (0.0, 7.2609, 1.5139),
    "nose_tip": (0.0, 6.9090, 1.6807),
    "upper_lip": (0.0, 6.6960, 1.5973),
    "lower_lip": (0.0, 6.4885, 1.5565),
    "chin": (0.0, 6.2267, 1.4548),
}
LANDMARK_NAMES: tuple[str, ...] = (
    *(f"{name}_{side}" for name in _PAIRED_LANDMARKS for side in ("left", "right")),
    *_MIDLINE_LANDMARKS,
)

# How widely each group of local shape targets varies between subjects (standard deviation of the target weight). Ours,
# by eye: wide enough to tell subjects apart, narrow enough that no face breaks.
_LOCAL_SPREAD = {
    "eyes": 0.16, "eyebrows": 0.22, "nose": 0.16, "mouth": 0.14, "chin": 0.18, "cheek": 0.18, "head": 0.10,
    "forehead": 0.2, "ears": 0.2, "neck": 0.1, "asym": 0.08,
}  # fmt: skip
# What sets women's faces apart beyond the gender target, which is mild on the head alone: mean of these shape axes at
# gender 0; men have the opposite. Direction 1 is the second of each pair of `_OPPOSITE_ENDINGS`. Ours, by eye.
_FEMININE_AXES: Mapping[tuple[str, str], float] = {
    ("eyes", "eye-scale"): 0.22, ("eyes", "eye-height2"): 0.12, ("chin", "chin-width"): -0.22,
    ("chin", "chin-height"): -0.12,
    ("chin", "chin-bones"): -0.2, ("mouth", "mouth-upperlip-volume"): 0.18, ("mouth", "mouth-lowerlip-volume"): 0.18,
    ("nose", "nose-scale-horiz"): -0.16, ("nose", "nose-scale-depth"): -0.1, ("nose", "nose-hump"): -0.15,
    ("neck", "neck-scale-horiz"): -0.3, ("neck", "measure-neck-circ"): -0.2, ("eyebrows", "eyebrows-trans"): 0.15,
    ("forehead", "forehead-nubian"): 0.2, ("ears", "ear-scale"): -0.2, ("cheek", "cheek-bones"): 0.1,
}  # fmt: skip
# Endings by which MakeHuman names the two directions of one shape axis.
_OPPOSITE_ENDINGS = (
    ("decr", "incr"), ("down", "up"), ("in", "out"), ("backward", "forward"), ("concave", "convex"),
    ("compress", "uncompress"), ("square", "triangle"),
)  # fmt: skip


@dataclass(frozen=True)
class MorphTarget:
    """A sparse displacement field on the mesh.

    Attributes:
        indices: `(K,)` int64, vertices that move.
        offsets: `(K, 3)` float64, decimetres at weight 1.
    """

    indices: np.ndarray
    offsets: np.ndarray


@dataclass(frozen=True)
class Identity:
    """The shape of one subject.

    Attributes:
        gender: 0 (female) to 1 (male).
        age: 0 (young adult) to 1 (old).
        african, asian, caucasian: weights of MakeHuman's three ancestry targets; they sum to 1.
        muscle, weight: 0 to 1, 0.5 is the average.
        local_targets: weight of each local shape target, by name.
    """

    gender: float
    age: float
    african: float
    asian: float
    caucasian: float
    muscle: float
    weight: float
    local_targets: Mapping[str, float]


class _Eyeball:
    """Keeps the lids on the outside of one eyeball, whatever targets and units add up to."""

    def __init__(self, vertices: np.ndarray, ball: np.ndarray, skin: np.ndarray) -> None:
        self._ball = ball
        centre, radius = self._measure(vertices)
        distance = np.linalg.norm(vertices - centre, axis=1) / radius
        self._lids = np.flatnonzero(skin & (distance < _LID_REACH))
        # Where the neutral lid itself lies further in (its inner edge), it may stay there.
        self._nearest = np.minimum(distance[self._lids], _LID_CLEARANCE)

    def _measure(self, vertices: np.ndarray) -> tuple[np.ndarray, float]:
        ball = vertices[self._ball]
        centre = ball.mean(0)
        return centre, float(np.linalg.norm(ball - centre, axis=1).mean())

    def push_out(self, vertices: np.ndarray) -> None:
        """Moves lid vertices that are too near to the eyeball's centre outward, in place."""
        centre, radius = self._measure(vertices)
        offset = vertices[self._lids] - centre
        distance = np.linalg.norm(offset, axis=1) / radius
        # The tolerance leaves alone what an earlier push has put just outside.
        inside = distance < self._nearest - 1e-6
        factor = self._nearest[inside] / distance[inside]
        vertices[self._lids[inside]] = centre + offset[inside] * factor[:, None]


class FaceModel:
    """The head asset, read-only: nothing on it changes after construction, so one instance serves every subject.

    Attributes:
        vertices: `(V, 3)` float64, the neutral base mesh in decimetres; from `first_accessory` on, the vertices of
            hair and glasses, which are hidden inside the head until a subject wears them.
        triangles: `(T, 3)` int32, counter-clockwise seen from outside.
        triangle_part, vertex_part: `(T,)` and `(V,)` int8, one of the part constants of this module.
        texture_coordinates, triangle_texture_index: MakeHuman's UV layout; only the lashes use it.
        visibility: `(V, 128)` float32, 1 where a direction of `lighting.LIGHT_DIRECTIONS` is not blocked by the head.
        scatter_visibility: `(V, 128)` float32, the same for light that has scattered under the skin.
        inside_mouth: `(V,)` float32 in 0..1.
        canvas_masks: `lips`, `eyelids`, `inside_mouth`, `ears` as `(1024, 1400)` float32 in 0..1 on the skin canvas.
        ears: `(V,)` float32 in 0..1.
        surface_coordinates: `(V, 2)` float32, where a vertex lies on the skin canvas (column, row), or on the texture
            of the strands (column, way to the tip).
        strand_lengths: way at which each column of strands ends, 0..1.
        solid_triangles, strand_triangles, lash_triangles: indices into `triangles`.
        skin_edges: `(sources, targets, degree)`: each skin triangle edge in both directions, for smoothing over the
            surface.
        landmark_vertices: `(len(LANDMARK_NAMES),)` int64.
        unit_gains: action unit -> factor on its `ACTION_UNITS` weights at which intensity 1.0 moves the mean face by
            `UNIT_DISPLACEMENT`; from 0.42 (unit 12) to 3.2 (units 23 and 25), and 1 for `LID_CLOSURE_UNITS`.
    """

    def __init__(self) -> None:
        asset = resources.files(__package__) / "assets" / "mhface.npz"
        with asset.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            self._read(arrays)

    def _read(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.vertices = arrays["verts"].astype(np.float64)
        self.triangles = arrays["tri"]
        self.triangle_part = arrays["tri_part"]
        self.vertex_part = arrays["vert_part"]
        self.texture_coordinates = arrays["uv"]
        self.triangle_texture_index = arrays["tri_uv"]
        self.visibility = np.unpackbits(arrays["vis"], axis=1).astype(np.float32)
        self.scatter_visibility = SCATTER_THROUGH + (1 - SCATTER_THROUGH) * self.visibility
        self.inside_mouth = arrays["v_inside_mouth"].astype(np.float32) / 255
        self.canvas_masks = {
            name: arrays[f"mask_{name}"].astype(np.float32) / 255
            for name in ("lips", "eyelids", "inside_mouth", "ears")
        }
        self.ears = arrays["v_ears"].astype(np.float32) / 255
        self._append_accessories()
        self.macro_targets = _read_targets(arrays, "macro")
        self.local_targets = _read_targets(arrays, "local")
        self.unit_targets = _read_targets(arrays, "unit")
        for name in SPLIT_UNITS:
            self.unit_targets.update(_split_at_midline(name, self.unit_targets[name], self.vertices))
        self.solid_triangles = np.nonzero(np.isin(self.triangle_part, SOLID_PARTS))[0]
        self.strand_triangles = np.nonzero(self.triangle_part == STRANDS)[0]
        self.lash_triangles = np.nonzero(np.isin(self.triangle_part, LASH_PARTS))[0]
        self.eye_vertices = {part: np.nonzero(self.vertex_part == part)[0] for part in (LEFT_EYE, RIGHT_EYE)}
        a, b, c = self.triangles[self.triangle_part == SKIN].T
        sources, targets = np.concatenate([a, b, c, b, c, a]), np.concatenate([b, c, a, a, b, c])
        self.skin_edges = (sources, targets, np.bincount(sources, minlength=len(self.vertices)))
        self.landmark_vertices = np.array([self._skin_vertex_at(place) for place in _landmark_places()])
        self._eyeballs = [
            _Eyeball(self.vertices, self.eye_vertices[part], self.vertex_part == SKIN) for part in self.eye_vertices
        ]
        self._front_area = self._area_seen_from_the_front()
        self.unit_gains = dict.fromkeys(ACTION_UNITS, 1.0)
        self.unit_gains = {
            unit: 1.0 if unit in LID_CLOSURE_UNITS else UNIT_DISPLACEMENT / self.unit_displacement(unit)
            for unit in ACTION_UNITS
        }

    def _append_accessories(self) -> None:
        self.first_accessory = first = len(self.vertices)
        count = accessories.NUM_VERTICES
        outer, inner = accessories.shell_triangles()
        glasses = accessories.glasses_triangles() + count - accessories.NUM_GLASSES_VERTICES
        added = np.concatenate([outer, inner, glasses]) + first
        parts = np.repeat([STRANDS, LINING, GLASSES], [len(outer), len(inner), len(glasses)])
        self.triangles = np.concatenate([self.triangles, added]).astype(np.int32)
        self.triangle_part = np.concatenate([self.triangle_part, parts]).astype(np.int8)
        self.triangle_texture_index = np.concatenate([self.triangle_texture_index, np.zeros_like(added)])
        vertex_part = np.empty(count, np.int8)
        vertex_part[added.ravel() - first] = np.repeat(parts, 3)
        canvas = canvas_position(self.vertices)
        strands = accessories.shell_coordinates()
        nothing = np.zeros((accessories.NUM_GLASSES_VERTICES, 2))
        self.surface_coordinates = np.concatenate([canvas, strands, nothing]).astype(np.float32)
        self.strand_lengths = accessories.strand_lengths()
        # The head does not shade what lies outside it, but little light comes in under the hair.
        open_sky = np.where(vertex_part == LINING, _LIGHT_UNDER_HAIR, 1).astype(np.float32)[:, None]
        open_sky = np.repeat(open_sky, self.visibility.shape[1], 1)
        self.visibility = np.concatenate([self.visibility, open_sky])
        self.scatter_visibility = np.concatenate([self.scatter_visibility, open_sky])
        self.vertices = np.concatenate([self.vertices, np.tile(accessories.HIDDEN, (count, 1))])
        self.vertex_part = np.concatenate([self.vertex_part, vertex_part])
        self.inside_mouth = np.concatenate([self.inside_mouth, np.zeros(count, np.float32)])
        self.ears = np.concatenate([self.ears, np.zeros(count, np.float32)])

    def _area_seen_from_the_front(self) -> np.ndarray:
        """`(V,)` float64, the part of the projected skin that belongs to each vertex of the front of the face."""
        triangles = self.triangles[self.triangle_part == SKIN]
        corners = self.vertices[triangles][..., :2]
        edges = corners[:, 1:] - corners[:, :1]
        area = (edges[:, 0, 0] * edges[:, 1, 1] - edges[:, 0, 1] * edges[:, 1, 0]) / 2
        shares = np.bincount(triangles.ravel(), np.repeat(np.clip(area, 0, None) / 3, 3), len(self.vertices))
        on_front = (self.vertices[:, 2] > _FRONT_Z) & (self.inside_mouth < 0.5)
        return np.where(on_front, shares, 0.0)

    def displacement(self, action_units: Mapping[int, tuple[float, float]]) -> np.ndarray:
        """`(V,)` how far action units move each vertex of the mean face, seen from the front, in eye distances."""
        left, right = (self.vertices[self.eye_vertices[part]].mean(0) for part in (LEFT_EYE, RIGHT_EYE))
        moved = self.express(self.vertices, action_units) - self.vertices
        return np.hypot(moved[:, 0], moved[:, 1]) / np.linalg.norm(left - right)

    def unit_displacement(self, unit: int) -> float:
        """How far a unit at intensity 1.0 on both sides moves its region on the mean face, in eye distances.

        The 95th percentile by area: one vertex that sticks out does not decide it.
        """
        length = self.displacement({unit: (1.0, 1.0)})
        seen = self._front_area > 0
        region = np.flatnonzero(seen & (length > _REGION_SHARE * length[seen].max()))
        order = region[np.argsort(length[region], kind="stable")]
        covered = np.cumsum(self._front_area[order])
        return float(length[order[np.searchsorted(covered, _REGION_PERCENTILE * covered[-1])]])

    def unit_reach(self, unit: int) -> float:
        """Mean displacement of the whole front of the face by a unit at intensity 1.0, in eye distances."""
        return float(np.average(self.displacement({unit: (1.0, 1.0)}), weights=self._front_area * self._on_face))

    @property
    def _on_face(self) -> np.ndarray:
        return (self.vertices[:, 1] > _FACE_BOTTOM) & (self.vertices[:, 1] < _FACE_TOP)

    def _skin_vertex_at(self, place: tuple[float, float, float]) -> int:
        distance = np.linalg.norm(self.vertices - np.asarray(place), axis=1)
        return int(np.argmin(np.where(self.vertex_part == SKIN, distance, np.inf)))

    def identity_mesh(self, identity: Identity) -> np.ndarray:
        """Neutral mesh of one subject, `(V, 3)` float64, decimetres."""
        vertices = self.vertices.copy()
        muscles, weights = _three_levels(identity.muscle), _three_levels(identity.weight)
        for gender, gender_share in (("male", identity.gender), ("female", 1 - identity.gender)):
            for age, age_share in (("young", 1 - identity.age), ("old", identity.age)):
                share = gender_share * age_share
                for ancestry in ("african", "asian", "caucasian"):
                    self._add(
                        vertices, self.macro_targets, f"{ancestry}-{gender}-{age}", share * getattr(identity, ancestry)
                    )
                for muscle, muscle_share in muscles.items():
                    for weight, weight_share in weights.items():
                        # The asset lacks the combinations that leave the head unchanged, for instance average-average.
                        name = f"universal-{gender}-{age}-{muscle}muscle-{weight}weight"
                        if name in self.macro_targets:
                            self._add(vertices, self.macro_targets, name, share * muscle_share * weight_share)
        for name, weight in identity.local_targets.items():
            self._add(vertices, self.local_targets, name, weight)
        return self._lids_outside_eyes(vertices)

    def express(self, vertices: np.ndarray, action_units: Mapping[int, tuple[float, float]]) -> np.ndarray:
        """Moves a neutral mesh by action units.

        Args:
            vertices: `(V, 3)`, decimetres, from [`~FaceModel.identity_mesh`]; not changed.
            action_units: action unit -> (left, right) intensity, 0 (none) to 1 (extreme: see `UNIT_DISPLACEMENT`).

        Returns:
            `(V, 3)`, decimetres, a new array.

        Raises:
            ValueError: on an action unit that is not in `ACTION_UNITS`.
        """
        vertices = vertices.copy()
        for name, weight in facial_unit_weights(action_units, self.unit_gains).items():
            self._add(vertices, self.unit_targets, name, weight)
        return self._lids_outside_eyes(vertices)

    def _lids_outside_eyes(self, vertices: np.ndarray) -> np.ndarray:
        # In place on purpose, as in _add.
        for eyeball in self._eyeballs:
            eyeball.push_out(vertices)
        return vertices

    @staticmethod
    def _add(vertices: np.ndarray, targets: Mapping[str, MorphTarget], name: str, weight: float) -> None:
        # In place on purpose: only ever called on a copy made by this class.
        if weight != 0:
            target = targets[name]
            vertices[target.indices] += weight * target.offsets


def facial_unit_weights(
    action_units: Mapping[int, tuple[float, float]], gains: Mapping[int, float]
) -> dict[str, float]:
    """Weights of the 52 facial units for (left, right) intensities of action units; overlapping units add up.

    Args:
        action_units: action unit -> (left, right) intensity.
        gains: action unit -> factor, see `FaceModel.unit_gains`.
    """
    unknown = [unit for unit in action_units if unit not in ACTION_UNITS]
    if unknown:
        raise ValueError(f"unknown action unit(s) {unknown}; expected some of {sorted(ACTION_UNITS)}")
    weights: dict[str, float] = {}
    for action_unit, (left, right) in action_units.items():
        for unit, weight in ACTION_UNITS[action_unit].items():
            if "{}" in unit:
                parts = ((unit.format("Left"), left), (unit.format("Right"), right))
            else:
                parts = ((unit, (left + right) / 2),)
            for name, intensity in parts:
                weights[name] = weights.get(name, 0.0) + weight * intensity * gains[action_unit]
    return weights


def sample_identity(face_model: FaceModel, rng: np.random.Generator) -> Identity:
    """Draws a subject's shape: ancestry mixture, gender, age, build and several hundred local shape weights.

    The ranges are ours: mostly young and middle-aged adults, as in the recorded databases, of every ancestry mixture.
    """
    african, asian, caucasian = (float(share) for share in rng.dirichlet([0.25] * 3))
    gender = float(np.clip(rng.integers(2) + rng.normal(0, 0.06), 0, 1))
    age = float(rng.beta(1.3, 3.0) * 0.75)
    muscle = float(rng.uniform(0.3, 0.75))
    weight = float(np.clip(rng.normal(0.5, 0.17), 0.1, 0.95))
    local_targets = _sample_local_targets(face_model, gender, rng)
    return Identity(gender, age, african, asian, caucasian, muscle, weight, local_targets)


def _sample_local_targets(face_model: FaceModel, gender: float, rng: np.random.Generator) -> dict[str, float]:
    # Targets of one shape axis (both directions, both sides) share one draw, else opposite directions would be added
    # up and the two halves of a face would not match.
    axes: dict[tuple[str, str], list[tuple[str, bool, int]]] = {}
    for name in face_model.local_targets:
        region, shape = name.split("/")
        one_sided = shape[:2] in ("l-", "r-")
        axis, direction = _split_direction(shape[2:] if one_sided else shape)
        axes.setdefault((region, axis), []).append((name, one_sided, direction))
    weights: dict[str, float] = {}
    for (region, axis), members in axes.items():
        # Moving the head off the neck, or ageing it twice, is not a matter of identity.
        if region == "head" and ("trans" in axis or "age" in axis):
            continue
        centre = _FEMININE_AXES.get((region, axis), 0.0) * (1 - 2 * gender) * 0.8
        shared = float(np.clip(centre + rng.normal(0, _LOCAL_SPREAD[region]), -0.9, 0.9))
        for name, one_sided, direction in members:
            value = shared + (rng.normal(0, 0.04) if one_sided else 0.0)
            if direction:
                weight = max(value * direction, 0.0)
            elif region == "head":  # overall head shapes (oval, round, ...): a few at a time
                weight = abs(value) * (rng.random() < 0.35)
            else:
                weight = max(value, 0.0) * 0.5
            if weight > 0.01:
                weights[name] = float(weight)
    return weights


def _split_direction(shape: str) -> tuple[str, int]:
    for low, high in _OPPOSITE_ENDINGS:
        for ending, direction in ((low, -1), (high, 1)):
            if shape.endswith(f"-{ending}"):
                return shape.removesuffix(f"-{ending}"), direction
    return shape, 0


def _three_levels(value: float) -> dict[str, float]:
    return {"min": max(0.0, 1 - 2 * value), "average": 1 - abs(2 * value - 1), "max": max(0.0, 2 * value - 1)}


def _read_targets(arrays: Mapping[str, np.ndarray], kind: str) -> dict[str, MorphTarget]:
    starts = arrays[f"{kind}_ptr"]
    indices = arrays[f"{kind}_idx"].astype(np.int64)
    offsets = arrays[f"{kind}_val"].astype(np.float64) / TARGET_RESOLUTION
    return {
        str(name): MorphTarget(indices[start:stop], offsets[start:stop])
        for name, start, stop in zip(arrays[f"{kind}_names"], starts[:-1], starts[1:], strict=True)
    }


def _split_at_midline(name: str, target: MorphTarget, vertices: np.ndarray) -> dict[str, MorphTarget]:
    """Left and right halves of a bilateral unit; at equal weight they add up to the whole."""
    ramp = np.clip(vertices[target.indices, 0] / (2 * MIDLINE_BLEND) + 0.5, 0, 1)
    left = (ramp * ramp * (3 - 2 * ramp))[:, None]
    return {
        f"{name}Left": MorphTarget(target.indices, target.offsets * left),
        f"{name}Right": MorphTarget(target.indices, target.offsets * (1 - left)),
    }


def _landmark_places() -> list[tuple[float, float, float]]:
    paired = [(side * x, y, z) for x, y, z in _PAIRED_LANDMARKS.values() for side in (1, -1)]
    return paired + list(_MIDLINE_LANDMARKS.values())
