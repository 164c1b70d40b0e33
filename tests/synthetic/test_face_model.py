"""The head asset, identities, action units, landmarks and the rasterizer under them."""

import hashlib
from importlib import resources

import numpy as np
import pytest

from micron_bert_hf.synthetic import ACTION_UNITS, LANDMARK_NAMES
from micron_bert_hf.synthetic.expressions import UNIT_REACH
from micron_bert_hf.synthetic.face_model import (
    LEFT_EYE,
    LID_CLOSURE_UNITS,
    RIGHT_EYE,
    SKIN,
    UNIT_DISPLACEMENT,
    facial_unit_weights,
    sample_identity,
)
from micron_bert_hf.synthetic.geometry import rotation_matrix
from micron_bert_hf.synthetic.rasterizer import rasterize, vertex_normals
from micron_bert_hf.synthetic.skin_canvas import canvas_position


ASSETS = resources.files("micron_bert_hf.synthetic") / "assets"


def landmark(face_model, vertices, name):
    return vertices[face_model.landmark_vertices[LANDMARK_NAMES.index(name)]]


def test_asset_is_the_documented_one_and_loads_without_pickle():
    data = (ASSETS / "mhface.npz").read_bytes()
    assert hashlib.sha256(data).hexdigest() in (ASSETS / "README.md").read_text(encoding="utf-8")
    with (ASSETS / "mhface.npz").open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        assert arrays["verts"].shape == (5248, 3)
        assert all(arrays[name].dtype != object for name in arrays.files)


def test_licence_is_package_data():
    assert (ASSETS / "LICENSE-ASSETS-CC0.md").read_text(encoding="utf-8").startswith("# Creative Commons CC0 1.0")


def test_every_action_unit_moves_the_face(face_model):
    for unit in ACTION_UNITS:
        moved = face_model.express(face_model.vertices, {unit: (1.0, 1.0)}) - face_model.vertices
        assert np.abs(moved).max() > 0.02, unit


@pytest.mark.parametrize("unit", ACTION_UNITS)
def test_every_unit_moves_its_region_by_the_stated_distance(face_model, unit):
    """Independent form of `unit_displacement`: on a picture's pixels instead of vertices."""
    vertices, size = face_model.vertices, 300
    eye_distance = 2 * 0.30777

    def positions(shape):
        return (shape[:, :2] * [1, -1] + [0.75, 8.0]) * size / 2.0

    solid = face_model.triangles[face_model.solid_triangles]
    surface = rasterize(positions(vertices), 10 - vertices[:, 2], solid, size, size)
    moved = face_model.express(vertices, {unit: (1.0, 1.0)})
    corners = solid[surface.triangle[surface.hit]]
    lip_or_skin = (face_model.vertex_part[corners] == SKIN).all(1) & (vertices[corners, 2] > 0.6).all(1)
    outside = lip_or_skin & (face_model.inside_mouth[corners] < 0.5).all(1)
    length = np.linalg.norm((moved - vertices)[corners][outside][..., :2], axis=-1)
    length = (length * surface.barycentric[surface.hit][outside]).sum(1) / eye_distance
    measured = np.quantile(length[length > 0.2 * length.max()], 0.95)
    expected = 0.197 if unit in LID_CLOSURE_UNITS else UNIT_DISPLACEMENT
    assert measured == pytest.approx(expected, rel=0.15)
    assert face_model.unit_displacement(unit) == pytest.approx(expected, rel=0.01)


def test_displacement_grows_in_proportion_to_intensity(face_model):
    for unit in (5, 12, 26):
        full, half = (face_model.displacement({unit: (i, i)}).max() for i in (1.0, 0.5))
        assert half == pytest.approx(full / 2, rel=0.02)


def test_table_of_reach_is_that_of_the_mesh(face_model):
    assert UNIT_REACH.keys() == ACTION_UNITS.keys()
    for unit, reach in UNIT_REACH.items():
        assert 1000 * face_model.unit_reach(unit) == pytest.approx(reach, abs=0.06), unit


def test_no_lid_lies_inside_an_eyeball(face_model, subject):
    everything = {5: (0.8, 0.8), 7: (1.0, 1.0), 6: (1.0, 1.0), 43: (0.4, 0.7), 12: (1.0, 1.0)}
    for units in ({}, everything, {43: (1.0, 1.0)}):
        vertices = face_model.express(subject.vertices, units)
        for part in (LEFT_EYE, RIGHT_EYE):
            ball = vertices[face_model.eye_vertices[part]]
            radius = np.linalg.norm(ball - ball.mean(0), axis=1).mean()
            rest = face_model.vertices[face_model.eye_vertices[part]]
            rest_distance = np.linalg.norm(face_model.vertices - rest.mean(0), axis=1) / 0.14956
            outer = (face_model.vertex_part == SKIN) & (rest_distance > 1.03) & (rest_distance < 1.3)
            assert outer.sum() > 50
            distance = np.linalg.norm(vertices[outer] - ball.mean(0), axis=1) / radius
            assert distance.min() > 1.029


def test_express_leaves_its_input_alone_and_no_action_is_no_motion(face_model, subject):
    before = subject.vertices.copy()
    still = face_model.express(subject.vertices, {})
    np.testing.assert_array_equal(still, before)
    face_model.express(subject.vertices, {12: (1.0, 1.0)})
    np.testing.assert_array_equal(subject.vertices, before)


@pytest.mark.parametrize(
    ("unit", "name", "direction"),
    [
        (1, "brow_inner", 1),
        (2, "brow_outer", 1),
        (4, "brow_inner", -1),
        (5, "upper_lid", 1),
        (9, "nose_wing", 1),
        (12, "mouth_corner", 1),
        (15, "mouth_corner", -1),
    ],
)
def test_action_unit_moves_its_landmark_on_its_own_side(face_model, subject, unit, name, direction):
    both = face_model.express(subject.vertices, {unit: (0.6, 0.6)}) - subject.vertices
    left = face_model.express(subject.vertices, {unit: (0.6, 0.0)}) - subject.vertices
    for side in ("left", "right"):
        assert landmark(face_model, both, f"{name}_{side}")[1] * direction > 0.005
    moved = abs(landmark(face_model, left, f"{name}_left")[1])
    assert moved > 0.9 * abs(landmark(face_model, both, f"{name}_left")[1])
    assert abs(landmark(face_model, left, f"{name}_right")[1]) < 0.25 * moved


def test_midline_units(face_model, subject):
    jaw = face_model.express(subject.vertices, {26: (0.5, 0.5)}) - subject.vertices
    assert landmark(face_model, jaw, "chin")[1] < -0.02
    upper_lip = face_model.express(subject.vertices, {10: (0.5, 0.5)}) - subject.vertices
    assert landmark(face_model, upper_lip, "upper_lip")[1] > 0.01


def test_blink_closes_the_lids(face_model, subject):
    closed = face_model.express(subject.vertices, {43: (1.0, 0.0)})

    def gap(vertices, side):
        return (
            landmark(face_model, vertices, f"upper_lid_{side}") - landmark(face_model, vertices, f"lower_lid_{side}")
        )[1]

    assert gap(closed, "left") < 0.2 * gap(subject.vertices, "left")
    assert gap(closed, "right") == pytest.approx(gap(subject.vertices, "right"))


def test_halves_of_a_split_unit_add_up(face_model):
    whole, parts = face_model.unit_targets["browInnerUp"], []
    for side in ("Left", "Right"):
        parts.append(face_model.unit_targets[f"browInnerUp{side}"])
        np.testing.assert_array_equal(parts[-1].indices, whole.indices)
    np.testing.assert_allclose(parts[0].offsets + parts[1].offsets, whole.offsets, atol=1e-12)


def test_unit_weights_by_hand():
    gains = {6: 1.0, 7: 1.0, 26: 1.0}
    weights = facial_unit_weights({6: (0.4, 0.2), 7: (0.1, 0.1), 26: (0.2, 0.6)}, gains)
    assert weights == pytest.approx(
        {
            "cheekSquintLeft": 0.4,
            "cheekSquintRight": 0.2,
            "eyeSquintLeft": 0.2,
            "eyeSquintRight": 0.15,
            "jawOpen": 0.2,
        }
    )
    with pytest.raises(ValueError, match=r"unknown action unit\(s\) \[99\]"):
        facial_unit_weights({99: (1.0, 1.0)}, gains)


def test_identities_differ_and_follow_the_generator(face_model):
    first, again, other = (sample_identity(face_model, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert first == again
    assert np.abs(face_model.identity_mesh(first) - face_model.identity_mesh(other)).max() > 0.05


def test_landmarks_sit_where_lids_and_lips_meet(face_model):
    # On the canvas, which shows eye openings as holes and the lips as a mask. The second value of each pair is the
    # prototype's landmark, known to lie too far out: the test has to reject it.
    lips = np.nonzero(face_model.canvas_masks["lips"] > 0.3)[1]
    assert abs(lips.max() - 700) == pytest.approx(abs(lips.min() - 700), abs=6)
    corner = face_model.vertices[face_model.landmark_vertices[LANDMARK_NAMES.index("mouth_corner_left")]]
    assert abs(canvas_position(corner)[0] - lips.max()) < 8
    assert abs(canvas_position(np.array([0.3041, 6.6441, 1.2665]))[0] - lips.max()) > 14


def test_eye_corners_enclose_the_eyeball(face_model):
    vertices = face_model.vertices
    size = 600
    pixels = (vertices[:, :2] * [1, -1] + [0.75, 7.75]) * size / 1.5
    surface = rasterize(pixels, 10 - vertices[:, 2], face_model.triangles[face_model.solid_triangles], size, size)
    part = face_model.triangle_part[face_model.solid_triangles][surface.triangle]
    part[~surface.hit] = -1
    for eye, side in ((LEFT_EYE, "left"), (RIGHT_EYE, "right")):
        columns = (np.nonzero(part == eye)[1] + 0.5) / size * 1.5 - 0.75
        inner = abs(landmark(face_model, vertices, f"eye_inner_{side}")[0])
        outer = abs(landmark(face_model, vertices, f"eye_outer_{side}")[0])
        assert 0 < np.abs(columns).min() - inner < 0.04  # the tear duct lies between lid corner and ball
        assert 0 < outer - np.abs(columns).max() < 0.02


def test_landmarks_come_in_mirrored_pairs(face_model):
    points = face_model.vertices[face_model.landmark_vertices]
    for number, name in enumerate(LANDMARK_NAMES):
        if name.endswith("_left"):
            assert points[number, 0] > 0.05
            other = points[LANDMARK_NAMES.index(name.replace("_left", "_right"))]
            np.testing.assert_allclose(points[number] * [-1, 1, 1], other, atol=1e-3)
        elif not name.endswith("_right"):
            assert abs(points[number, 0]) < 1e-3


def loop_rasterize(pixels, depth, triangles, height, width):
    """Independent form of `rasterize`: every pixel against every triangle."""
    winner, weights = np.full((height, width), -1), np.zeros((height, width, 3))
    nearest = np.full((height, width), np.inf)
    for number, corners in enumerate(triangles):
        system = np.vstack([pixels[corners].T, np.ones(3)])
        if abs(np.linalg.det(system)) < 1e-9:
            continue
        for row in range(height):
            for column in range(width):
                affine = np.linalg.solve(system, [column + 0.5, row + 0.5, 1])
                if affine.min() < 0:
                    continue
                perspective = affine / depth[corners]
                distance = 1 / perspective.sum()
                if distance < nearest[row, column]:
                    nearest[row, column], winner[row, column] = distance, number
                    weights[row, column] = perspective * distance
    return winner, weights, nearest


def test_rasterizer_equals_a_loop():
    rng = np.random.default_rng(0)
    pixels, depth = rng.uniform(-3, 19, (30, 2)), rng.uniform(2, 9, 30)
    triangles = rng.permutation(30).reshape(10, 3)  # no shared edge: both forms may break a tie as they like
    winner, weights, nearest = loop_rasterize(pixels, depth, triangles, 15, 17)
    buffer = rasterize(pixels, depth, triangles, 15, 17)
    assert (winner >= 0).mean() > 0.3
    np.testing.assert_array_equal(buffer.triangle, winner)
    np.testing.assert_allclose(buffer.barycentric, weights, atol=1e-5)
    np.testing.assert_allclose(buffer.depth, nearest, rtol=1e-5)


def test_normals_of_a_tetrahedron_point_outward():
    vertices = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], float)
    triangles = np.array([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]])
    np.testing.assert_allclose(vertex_normals(vertices, triangles), vertices / np.sqrt(3), atol=1e-12)


def test_rotation_turns_left_up_and_over():
    forward, up = np.array([0, 0, 1.0]), np.array([0, 1.0, 0])
    np.testing.assert_allclose(rotation_matrix(np.pi / 2, 0, 0) @ forward, [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(rotation_matrix(0, np.pi / 2, 0) @ forward, [0, -1, 0], atol=1e-12)
    np.testing.assert_allclose(rotation_matrix(0, 0, np.pi / 2) @ up, [-1, 0, 0], atol=1e-12)
