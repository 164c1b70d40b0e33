"""What sits on the head and turns with it: hair with volume, caps, head scarves, glasses.

All of it is mesh: a shell of strands round the skull and tubes for the glasses, appended to the head's vertices, so
that pictures and ground-truth motion come from the same surfaces. The topology is the same for every subject; what a
subject does not wear is collapsed into one point inside the head. Lengths are in decimetres; every number is ours, set
by eye.
"""

from dataclasses import dataclass

import numpy as np


# Columns of the shell go round the head from the back (-pi) over the right side, the face (0) and the left side to the
# back; rows from the crown to the tips.
SHELL_COLUMNS, SHELL_ROWS = 73, 16
# The shell is seen from outside and, under long hair, from inside: two layers of vertices.
_LAYER = SHELL_COLUMNS * SHELL_ROWS
_RIM_POINTS, _BRIDGE_POINTS, _TEMPLE_POINTS = 32, 6, 4
_TUBE_SIDES = 4
_TUBES = ((_RIM_POINTS, True), (_RIM_POINTS, True), (_BRIDGE_POINTS, False), (_TEMPLE_POINTS, False),
          (_TEMPLE_POINTS, False))  # fmt: skip
NUM_GLASSES_VERTICES = _TUBE_SIDES * sum(count for count, _ in _TUBES)
NUM_VERTICES = 2 * _LAYER + NUM_GLASSES_VERTICES
# Where everything that is not worn is hidden, and the centre from which the shell is spanned (base mesh).
HIDDEN = np.array([0.0, 7.5, 0.3])
_CENTRE = np.array([0.0, 7.55, 0.35])
# On the base mesh: the point between the eyes, and the height of the crown. Heights are carried over to a subject in
# proportion to the distance between the two.
EYE_CENTRE = np.array([0.0, 7.284, 1.245])
_CROWN_Y = 8.491
# Below this elevation (radians, seen from the centre) hair no longer follows the skull but hangs.
_HANGS_BELOW = -0.15
# Angle (radians) round the centre within which vertices of the head push the shell outward.
_CLEARANCE_ANGLE = 0.30
# Strands end at different lengths: up to this part of their way from the crown is missing at the tips.
_RAGGED = 0.10
STRAND_COLUMNS = 1024


@dataclass(frozen=True)
class Headwear:
    """Hair or cloth over the skull.

    Attributes:
        front, side, back: heights (base mesh) at which it ends over the forehead, in front of the ears, at the nape.
        opening: (start, end) angles from the front, radians, between which the edge runs from `front` to `side`.
        parting: sideways shift of the opening, radians.
        thickness: over the crown; `taper` is the part of it that is left at ear level.
        wave: relief of locks.
        cloth: woven instead of strands; its edge is tucked in.
    """

    front: float
    side: float
    back: float
    opening: tuple[float, float]
    parting: float
    thickness: float
    taper: float
    wave: float
    cloth: bool = False


@dataclass(frozen=True)
class Glasses:
    """Frames of glasses.

    Attributes:
        half_width, half_height: of one lens.
        squareness: exponent of the superellipse, 2 (round) to 4.
        tube: radius of the frame's section.
        colour: `(3,)` linear RGB.
        shine: strength of the highlight.
    """

    half_width: float
    half_height: float
    squareness: float
    tube: float
    colour: np.ndarray
    shine: float


def shell_triangles() -> tuple[np.ndarray, np.ndarray]:
    """`(T, 3)` triangles of the outer and of the inner layer; rows count from the shell's first vertex."""
    row, column = np.mgrid[0 : SHELL_ROWS - 1, 0 : SHELL_COLUMNS - 1]
    a = (row * SHELL_COLUMNS + column).ravel()
    b, c, d = a + 1, a + SHELL_COLUMNS, a + SHELL_COLUMNS + 1
    outer = np.concatenate([np.stack([a, c, b], 1), np.stack([b, c, d], 1)])
    return outer, outer[:, ::-1] + _LAYER


def glasses_triangles() -> np.ndarray:
    """`(T, 3)` triangles of the tubes; rows count from the first vertex of the glasses."""
    triangles, first = [], 0
    for count, closed in _TUBES:
        along, side = (grid.ravel() for grid in np.mgrid[0 : count if closed else count - 1, 0:_TUBE_SIDES])
        following, neighbour = (along + 1) % count, (side + 1) % _TUBE_SIDES
        a, b = first + along * _TUBE_SIDES + side, first + along * _TUBE_SIDES + neighbour
        c, d = first + following * _TUBE_SIDES + side, first + following * _TUBE_SIDES + neighbour
        triangles += [np.stack([a, b, c], 1), np.stack([b, d, c], 1)]
        first += count * _TUBE_SIDES
    return np.concatenate(triangles)


def shell_coordinates() -> np.ndarray:
    """`(2 * rows * columns, 2)` place of each shell vertex: column of the strand texture, way to the tip in 0..1."""
    row, column = np.mgrid[0:SHELL_ROWS, 0:SHELL_COLUMNS]
    places = np.stack([column / (SHELL_COLUMNS - 1) * STRAND_COLUMNS, row / (SHELL_ROWS - 1)], -1).reshape(-1, 2)
    return np.concatenate([places, places])


def strand_lengths() -> np.ndarray:
    """`(STRAND_COLUMNS,)` where each strand ends, as a part of the way to the shell's edge. The same on every head."""
    rng = np.random.default_rng(0)
    single = rng.uniform(0, 1, STRAND_COLUMNS)
    locks = np.interp(np.arange(STRAND_COLUMNS), np.arange(0, STRAND_COLUMNS + 1, 8), rng.uniform(0, 1, 129))
    return 1 - _RAGGED * (0.4 * single + 0.6 * locks)


def fit_shell(headwear: Headwear, head: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Drapes hair or cloth over a head.

    Args:
        head: `(N, 3)` vertices of the subject's skin above the neck, the point between the eyes at `EYE_CENTRE`.

    Returns:
        `(2 * rows * columns, 3)`: outer layer, inner layer.
    """
    crown_y = head[:, 1].max()

    def height(base: np.ndarray) -> np.ndarray:
        return EYE_CENTRE[1] + (base - EYE_CENTRE[1]) * (crown_y - EYE_CENTRE[1]) / (_CROWN_Y - EYE_CENTRE[1])

    azimuth = np.linspace(-np.pi, np.pi, SHELL_COLUMNS)
    from_front = np.abs(azimuth - headwear.parting * np.cos(azimuth / 2))
    to_side = _smoothstep((from_front - headwear.opening[0]) / (headwear.opening[1] - headwear.opening[0]))
    to_back = _smoothstep((from_front - 1.8) / 0.8)
    edge = headwear.front + (headwear.side - headwear.front) * to_side
    edge = edge + (headwear.back - headwear.side) * to_back * to_side
    # Paths from the crown: first over the skull by elevation, then straight down.
    elevation = np.linspace(np.pi / 2, _HANGS_BELOW, 28)
    radius = _clearance(head, elevation, azimuth)
    # Locks along the strands and, across them, slow undulation; nothing at the crown, where all strands meet.
    phase = rng.uniform(0, 2 * np.pi, 4)
    away = np.sin(np.linspace(0, np.pi / 2, len(elevation)))[:, None]
    locks = (
        np.sin(5 * azimuth + phase[0]) + 0.7 * np.sin(9 * azimuth + phase[1]) + 0.5 * np.sin(14 * azimuth + phase[2])
    )
    above_ears = _smoothstep((elevation - _HANGS_BELOW) / 0.8)[:, None]
    lift = headwear.thickness * (headwear.taper + (1 - headwear.taper) * above_ears)
    radius = radius + lift + headwear.wave * locks * away * (0.3 + 0.7 * above_ears)
    horizontal = radius * np.cos(elevation)[:, None]
    x, z = horizontal * np.sin(azimuth), horizontal * np.cos(azimuth) + _CENTRE[2]
    y = radius * np.sin(elevation)[:, None] + _CENTRE[1]
    skull = np.stack([x, y, z], -1)
    depth = np.linspace(0, 1, 14)[1:, None]
    bottom = np.minimum(height(headwear.side), y[-1]) - 0.3
    ripple = 1 + headwear.wave * 1.5 * np.sin(7 * depth + phase[3]) - 0.06 * depth
    hanging = np.stack(
        [x[-1] * ripple, y[-1] + (bottom - y[-1]) * depth, _CENTRE[2] + (z[-1] - _CENTRE[2]) * ripple], -1
    )
    paths = np.concatenate([skull, hanging])
    outer = _resample(paths, height(edge))
    if headwear.cloth:  # the last rows turn inward, so that the edge lies on the skin
        tuck = np.clip((np.arange(SHELL_ROWS) / (SHELL_ROWS - 1) - 0.84) / 0.16, 0, 1)[:, None, None]
        inward = outer * [1, 0, 1] - _CENTRE * [0, 0, 1]
        outer = outer - tuck * (headwear.thickness * 2.2 + 0.04) * inward / np.maximum(
            np.linalg.norm(inward, axis=-1, keepdims=True), 0.1
        )
    outer = outer.reshape(-1, 3)
    inward = outer - _CENTRE
    inner = outer - 0.02 * inward / np.maximum(np.linalg.norm(inward, axis=1, keepdims=True), 0.1)
    return np.concatenate([outer, inner])


def fit_glasses(glasses: Glasses, left_eye: np.ndarray, right_eye: np.ndarray, nasion: np.ndarray) -> np.ndarray:
    """`(NUM_GLASSES_VERTICES, 3)` glasses on the nose.

    Args:
        left_eye, right_eye: `(3,)` centres of the eyeballs.
        nasion: `(3,)` root of the nose; all of them with the point between the eyes at `EYE_CENTRE`.
    """
    middle = (left_eye + right_eye) / 2
    turn = np.linspace(0, 2 * np.pi, _RIM_POINTS, endpoint=False)
    power = 2 / glasses.squareness
    across = glasses.half_width * np.sign(np.cos(turn)) * np.abs(np.cos(turn)) ** power
    up = glasses.half_height * np.sign(np.sin(turn)) * np.abs(np.sin(turn)) ** power

    def lift(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Points on the glasses' curved front, tilted so that the lower rim stands nearer to the cheeks."""
        z = nasion[2] + 0.07 - 0.22 * x**2 + 0.06 * (y - middle[1])
        return np.stack([x, y, z], -1)

    lens_y = middle[1] - 0.03
    lenses, centres = [], []
    for eye, side in ((left_eye, 1), (right_eye, -1)):
        centre_x = eye[0] + side * 0.02
        centres.append(centre_x)
        lenses.append(lift(centre_x + across, lens_y + up))
    bridge_x = np.linspace(centres[0] - glasses.half_width, centres[1] + glasses.half_width, _BRIDGE_POINTS)
    arch = 0.05 * (1 - np.linspace(-1, 1, _BRIDGE_POINTS) ** 2)
    paths = [*lenses, lift(bridge_x, lens_y + 0.05 + arch)]
    for centre_x, side in zip(centres, (1, -1)):
        hinge = lift(np.array(centre_x + side * glasses.half_width), np.array(lens_y + 0.08))
        ear = np.array([side * 0.86, lens_y + 0.06, 0.35])
        paths.append(hinge + (ear - hinge) * np.linspace(0, 1, _TEMPLE_POINTS)[:, None])
    return np.concatenate([_tube(path, glasses.tube, closed) for path, (_, closed) in zip(paths, _TUBES)])


def _clearance(head: np.ndarray, elevation: np.ndarray, azimuth: np.ndarray) -> np.ndarray:
    """`(E, A)` distance from the centre beyond which the head no longer reaches, by direction."""
    offset = head - _CENTRE
    distance = np.linalg.norm(offset, axis=1)
    result = np.empty((len(elevation), len(azimuth)))
    horizontal = np.hypot(offset[:, 0], offset[:, 2])
    for row, angle in enumerate(elevation):
        band = np.flatnonzero(np.abs(np.arctan2(offset[:, 1], horizontal) - angle) < _CLEARANCE_ANGLE)
        turn = np.arctan2(offset[band, 0], offset[band, 2])[:, None] - azimuth
        # Written out rather than as a matrix product: see geometry.rotate.
        across = np.cos(angle) * horizontal[band][:, None] * np.cos(turn)
        reach = across + np.sin(angle) * offset[band, 1][:, None]
        near = reach > np.cos(_CLEARANCE_ANGLE) * distance[band][:, None]
        result[row] = np.where(near, reach, 0).max(0, initial=0)
    # Around the crown the mesh is coarse: where it has no vertex the next row down speaks for it.
    for row in range(len(elevation) - 2, -1, -1):
        result[row] = np.where(result[row] > 0, result[row], result[row + 1])
    return result


def _resample(paths: np.ndarray, end_y: np.ndarray) -> np.ndarray:
    """`(P, A, 3)` paths -> `(SHELL_ROWS, A, 3)` evenly spaced points from their start to the height where they end."""
    result = np.empty((SHELL_ROWS, paths.shape[1], 3))
    for column in range(paths.shape[1]):
        path = paths[:, column]
        way = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
        end = np.interp(-end_y[column], -path[:, 1], way)
        at = np.linspace(0, end, SHELL_ROWS)
        result[:, column] = np.stack([np.interp(at, way, path[:, axis]) for axis in range(3)], 1)
    return result


def _tube(path: np.ndarray, radius: float, closed: bool) -> np.ndarray:
    """`(count * sides, 3)` vertices round a path that runs roughly in a frontal plane or backward."""
    tangent = np.roll(path, -1, 0) - np.roll(path, 1, 0) if closed else np.gradient(path, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    backward = np.abs(tangent[:, 2:]) > 0.7
    reference = np.where(backward, np.array([0.0, 1, 0]), np.array([0.0, 0, 1]))
    first = np.cross(tangent, reference)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(tangent, first)
    angle = (np.arange(_TUBE_SIDES) + 0.5) * 2 * np.pi / _TUBE_SIDES
    ring = first[:, None] * np.cos(angle)[:, None] + second[:, None] * np.sin(angle)[:, None]
    return (path[:, None] + radius * ring).reshape(-1, 3)


def _smoothstep(x: np.ndarray) -> np.ndarray:
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)
