"""Ground-truth motion: against single vertices, against the pictures, against loops."""

import cv2
import numpy as np
import pytest

from micron_bert_hf.synthetic import patch_motion
from micron_bert_hf.synthetic.backgrounds import plain_background
from micron_bert_hf.synthetic.face_model import LEFT_EYE, RIGHT_EYE, SKIN
from micron_bert_hf.synthetic.geometry import Camera, FaceState, HeadPose, rotation_matrix
from micron_bert_hf.synthetic.lighting import sample_light
from micron_bert_hf.synthetic.motion import ground_truth_motion
from micron_bert_hf.synthetic.rendering import render
from micron_bert_hf.synthetic.surface import visible_surface


UNITS = {12: (0.6, 0.3), 4: (0.4, 0.5), 26: (0.3, 0.3)}
REST = HeadPose(np.eye(3), np.zeros(3))


@pytest.fixture(scope="module")
def neutral(subject):
    return FaceState(subject.vertices, REST, (0.0, 0.0))


@pytest.fixture(scope="module")
def moved(face_model, subject):
    pose = HeadPose(rotation_matrix(0.02, -0.01, 0.01), np.array([0.01, 0.005, 0.0]))
    return FaceState(face_model.express(subject.vertices, UNITS), pose, (0.0, 0.0))


def sample_at(image, points):
    """Bilinear value at (x, y) positions whose pixel centres are at 0.5."""
    x, y = (points - 0.5).astype(np.float32).T
    return cv2.remap(image, x[:, None], y[:, None], cv2.INTER_LINEAR)[:, 0]


def depth_at(face_model, pixels, depth, camera):
    """`(H, W)` depth of what is seen."""
    return visible_surface(face_model, pixels, depth, camera.image_size).depth


def test_no_change_is_exactly_no_motion(face_model, camera, neutral):
    truth = ground_truth_motion(face_model, camera, neutral, neutral)
    assert not truth.motion.any() and not truth.expression_motion.any()
    assert truth.face_mask.mean() > 0.2
    assert truth.motion_valid[truth.face_mask].all()


def test_motion_equals_the_displacement_of_single_vertices(face_model, camera, neutral, moved):
    truth = ground_truth_motion(face_model, camera, neutral, moved)
    start, depth = camera.project(camera.place(neutral.vertices, neutral.pose))
    end, _ = camera.project(camera.place(moved.vertices, moved.pose))
    # Smooth, visible places: pixels around the vertex agree with one another and are all on the face.
    spread = cv2.dilate(truth.motion, np.ones((5, 5))) - cv2.erode(truth.motion, np.ones((5, 5)))
    calm = (spread.max(-1) < 0.4) & (cv2.erode(truth.face_mask.astype(np.uint8), np.ones((5, 5))) > 0)
    column, row = np.clip(np.floor(start), 0, camera.image_size - 1).astype(int).T
    visible = depth_at(face_model, start, depth, camera)[row, column]
    nearest = np.abs(visible - depth) < 0.02  # walls of the mouth and the nose lie behind what is seen
    chosen = (face_model.vertex_part == SKIN) & calm[row, column] & nearest
    error = np.abs(sample_at(truth.motion, start[chosen]) - (end - start)[chosen]).max(1)
    assert chosen.sum() > 200
    assert np.linalg.norm((end - start)[chosen], axis=1).max() > 2
    assert np.quantile(error, 0.99) < 0.15
    assert np.median(error) < 0.01


def grey(frame):
    """Luminance with the sensor's noise averaged out a little."""
    return cv2.GaussianBlur(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 1.0)


def test_warping_by_the_truth_explains_the_pictures(flow_rows):
    for row in flow_rows:
        onset, apex = grey(row["onset"]), grey(row["apex"])
        rows, columns = np.mgrid[0 : len(onset), 0 : len(onset)].astype(np.float32)
        x, y = columns + row["motion"][..., 0], rows + row["motion"][..., 1]
        warped = cv2.remap(apex, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        moving = (np.hypot(*np.moveaxis(row["motion"], -1, 0)) > 0.3) & row["motion_valid"]
        assert moving.sum() > 100, row["sample_id"]
        before, after = np.abs(onset - apex)[moving].mean(), np.abs(onset - warped)[moving].mean()
        assert after < 0.9 * before, (row["sample_id"], before, after)


def test_an_independent_estimate_agrees_with_the_truth(flow_rows):
    """DIS flow (Kroeger et al., ECCV 2016) on the pictures: its mean end-point error over all samples."""
    estimator = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    estimator.setFinestScale(0)
    errors, lengths = [], []
    for row in flow_rows:
        frames = [cv2.cvtColor(row[name], cv2.COLOR_RGB2GRAY) for name in ("onset", "apex")]
        estimate = estimator.calc(*frames, None)
        seen = row["face_mask"] & row["motion_valid"]
        errors.append(np.hypot(*np.moveaxis(estimate - row["motion"], -1, 0))[seen].mean())
        lengths.append(np.hypot(*np.moveaxis(row["motion"], -1, 0))[seen].mean())
    assert np.mean(errors) < 0.2, errors  # pixels
    assert np.mean(errors) < 0.5 * np.mean(lengths)


def test_expression_motion_leaves_the_head_out(face_model, subject, camera, neutral, moved):
    truth = ground_truth_motion(face_model, camera, neutral, moved)
    held = FaceState(moved.vertices, neutral.pose, neutral.gaze)
    np.testing.assert_array_equal(
        truth.expression_motion, ground_truth_motion(face_model, camera, neutral, held).motion
    )
    head_only = FaceState(subject.vertices, moved.pose, neutral.gaze)
    truth = ground_truth_motion(face_model, camera, neutral, head_only)
    assert not truth.expression_motion.any()
    assert np.hypot(*np.moveaxis(truth.motion, -1, 0))[truth.face_mask].min() > 0.5


def test_gaze_moves_the_iris_and_nothing_else(face_model, subject, camera, neutral):
    looking = FaceState(subject.vertices, REST, (0.15, 0.0))
    truth = ground_truth_motion(face_model, camera, neutral, looking)
    on_eye = np.abs(truth.motion).max(-1) > 0
    assert 20 < on_eye.sum() < 0.03 * on_eye.size
    assert not truth.expression_motion.any()
    # To the subject's left, which is the right of the picture, by the arc of an eyeball.
    eyes = {part: subject.vertices[face_model.eye_vertices[part]] for part in (LEFT_EYE, RIGHT_EYE)}
    radius = np.mean([np.ptp(points[:, 1]) / 2 for points in eyes.values()]) * camera.pixels_per_decimetre
    assert np.median(truth.motion[on_eye][:, 0]) == pytest.approx(radius * np.sin(0.15), rel=0.25)


def test_iris_follows_the_gaze_in_the_picture(face_model, subject, neutral):
    camera = Camera.framing(320, subject.eye_centre, subject.eye_to_chin)
    looking = FaceState(subject.vertices, REST, (0.1, 0.05))
    truth = ground_truth_motion(face_model, camera, neutral, looking)
    light, wall = sample_light(np.random.default_rng(0)), plain_background(0.2)
    first, second = (render(face_model, subject, state, {}, camera, light, wall) for state in (neutral, looking))
    rows, columns = np.mgrid[0 : len(first), 0 : len(first)].astype(np.float32)
    warped = cv2.remap(second, columns + truth.motion[..., 0], rows + truth.motion[..., 1], cv2.INTER_LINEAR)
    on_eye = (np.abs(truth.motion).max(-1) > 0) & truth.motion_valid
    change, left_over = (np.abs(first - other).max(-1) for other in (second, warped))
    # Where the iris' edge passes; the median, since lamps mirrored in the cornea do not turn with the eye.
    passed = on_eye & (change > 0.5 * np.quantile(change[on_eye], 0.95))
    assert passed.sum() > 30
    assert np.median(left_over[passed]) < 0.3 * np.median(change[passed])


def test_points_that_leave_the_picture_are_not_valid(face_model, subject, camera, neutral):
    away = FaceState(subject.vertices, HeadPose(np.eye(3), np.array([1.0, 0.0, 0.0])), (0.0, 0.0))
    truth = ground_truth_motion(face_model, camera, neutral, away)
    target = np.arange(camera.image_size)[None, :] + truth.motion[..., 0]
    seen = truth.face_mask
    assert not truth.motion_valid[seen & (target > camera.image_size)].any()
    assert truth.motion_valid[seen & (target < camera.image_size - 2)].mean() > 0.95


@pytest.mark.parametrize("patch_size", [1, 4, 8])
def test_patch_motion_equals_a_loop(patch_size):
    motion = np.random.default_rng(0).normal(size=(16, 24, 2)).astype(np.float32)
    expected = np.zeros((16 // patch_size, 24 // patch_size))
    for row in range(16):
        for column in range(24):
            length = (motion[row, column, 0] ** 2 + motion[row, column, 1] ** 2) ** 0.5
            expected[row // patch_size, column // patch_size] += length / patch_size**2
    result = patch_motion(motion, patch_size)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("shape", "patch_size"), [((16, 24, 2), 5), ((16, 24, 2), 0), ((16, 24), 4), ((16, 24, 3), 4)]
)
def test_patch_motion_rejects(shape, patch_size):
    with pytest.raises(ValueError, match="expected"):
        patch_motion(np.zeros(shape), patch_size)
