"""Hair, glasses, wrinkles, backgrounds: what makes faces differ, and that it moves as it should."""

import dataclasses

import numpy as np
import pytest

from micron_bert_hf.synthetic.accessories import NUM_GLASSES_VERTICES, Glasses, Headwear
from micron_bert_hf.synthetic.backgrounds import fit_background, paint_background
from micron_bert_hf.synthetic.face_model import GLASSES, LEFT_EYE, RIGHT_EYE, SKIN, STRANDS, sample_identity
from micron_bert_hf.synthetic.geometry import FaceState, HeadPose, rotation_matrix
from micron_bert_hf.synthetic.motion import ground_truth_motion
from micron_bert_hf.synthetic.skin_canvas import WIDTH
from micron_bert_hf.synthetic.styles import HAIRSTYLE_SHARES, sample_style
from micron_bert_hf.synthetic.subject import _put_on
from micron_bert_hf.synthetic.surface import visible_surface
from micron_bert_hf.synthetic.wrinkles import FACE_WINDOW, side_gains, wrinkle_gains


REST = HeadPose(np.eye(3), np.zeros(3))
ROUND = Glasses(0.24, 0.18, 2.2, 0.02, np.full(3, 0.1), 0.3)
LONG = Headwear(7.95, 5.7, 5.6, (0.75, 1.1), 0.0, 0.1, 0.7, 0.01)


@pytest.fixture(scope="module")
def dressed(face_model, subject):
    """The shared subject with long hair and glasses."""
    vertices = subject.vertices.copy()
    vertices[face_model.first_accessory :] = face_model.vertices[face_model.first_accessory :]
    style = dataclasses.replace(subject.style, headwear=LONG, glasses=ROUND)
    eyes = tuple(vertices[face_model.eye_vertices[part]].mean(0) for part in (LEFT_EYE, RIGHT_EYE))
    _put_on(face_model, vertices, style, eyes, np.random.default_rng(0))
    return vertices


def seen_parts(face_model, camera, state):
    pixels, depth = camera.project(camera.place(state.vertices, state.pose))
    surface = visible_surface(face_model, pixels, depth, camera.image_size)
    return np.where(surface.hit, face_model.triangle_part[surface.triangle], -1)


def test_nothing_is_worn_unless_put_on(face_model, camera):
    parts = seen_parts(face_model, camera, FaceState(face_model.vertices, REST, (0.0, 0.0)))
    assert not np.isin(parts, (STRANDS, GLASSES)).any() and (parts == SKIN).any()


def test_hair_surrounds_the_face_and_leaves_the_eyes_free(face_model, camera, dressed):
    parts = seen_parts(face_model, camera, FaceState(dressed, REST, (0.0, 0.0)))
    size = camera.image_size
    assert 0.03 < (parts == STRANDS).mean() < 0.5
    rows, columns = np.nonzero(parts == STRANDS)
    assert columns.min() < 0.3 * size and columns.max() > 0.7 * size
    assert (parts == LEFT_EYE).sum() > 20 and (parts == RIGHT_EYE).sum() > 20
    centre = parts[int(0.45 * size) : int(0.8 * size), int(0.4 * size) : int(0.6 * size)]
    assert not (centre == STRANDS).any()
    # Strands end at different lengths: the border between hair and forehead is not a smooth line.
    first = [np.argmax(parts[:, column] == SKIN) for column in range(int(0.4 * size), int(0.6 * size))]
    assert np.std(np.diff(first)) > 0.3


def test_glasses_and_hair_move_with_the_head_only(face_model, camera, dressed):
    first = FaceState(dressed, REST, (0.0, 0.0))
    pose = HeadPose(rotation_matrix(0.03, 0.01, 0.02), np.array([0.02, -0.01, 0.0]))
    units = {1: (0.8, 0.8), 4: (0.5, 0.5), 6: (0.8, 0.8), 9: (0.8, 0.8), 12: (0.8, 0.8)}
    second = FaceState(face_model.express(dressed, units), pose, (0.1, 0.0))
    head_only = FaceState(dressed, pose, (0.0, 0.0))
    truth, rigid = (ground_truth_motion(face_model, camera, first, state) for state in (second, head_only))
    worn = np.isin(seen_parts(face_model, camera, first), (STRANDS, GLASSES))
    assert worn.sum() > 500
    np.testing.assert_allclose(truth.motion[worn], rigid.motion[worn], atol=1e-4)
    assert not truth.expression_motion[worn].any()
    assert not truth.face_mask[worn].any()
    assert np.abs(truth.motion[worn]).max() > 1
    assert np.abs(truth.motion - rigid.motion)[truth.face_mask].max() > 1


def test_glasses_sit_in_front_of_the_eyes(face_model, camera, dressed):
    frame = dressed[-NUM_GLASSES_VERTICES:]
    eyes = [dressed[face_model.eye_vertices[part]] for part in (LEFT_EYE, RIGHT_EYE)]
    rims = frame[: 2 * 32 * 4].reshape(2, -1, 3)
    for rim, eye in zip(rims, eyes, strict=True):
        assert rim[:, 2].min() > eye[:, 2].max() - 0.02
        assert rim[:, 0].min() < eye[:, 0].min() and rim[:, 0].max() > eye[:, 0].max()
        assert rim[:, 1].min() < eye[:, 1].mean() < rim[:, 1].max()


def test_styles_vary_and_depend_on_gender(face_model):
    women, men = [], []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        identity = sample_identity(face_model, rng)
        (men if identity.gender > 0.5 else women).append(sample_style(identity, rng))
    assert {style.hairstyle for style in women + men} == set(HAIRSTYLE_SHARES)
    assert {style.beard for style in men} == {"none", "stubble", "moustache", "goatee", "full"}
    assert {style.beard for style in women} == {"none"}
    assert 0.1 < np.mean([style.glasses is not None for style in women + men]) < 0.4

    def long_haired(styles):
        return np.mean([style.hairstyle in ("long", "fringe", "bob") for style in styles])

    assert long_haired(women) > 0.5 and long_haired(men) < 0.2


def test_a_side_folds_with_its_own_muscles():
    gains = wrinkle_gains({12: (0.5, 0.0), 6: (0.2, 0.1)})
    assert gains["nasolabial"] == pytest.approx((0.8 * 0.5 + 0.35 * 0.2, 0.35 * 0.1))
    assert gains["crows_feet"] == pytest.approx((0.2, 0.1))
    columns = side_gains(0.9, 0.1)
    middle = WIDTH // 2 - FACE_WINDOW[1].start
    # The subject's left lies on the canvas' right.
    assert columns[0] == pytest.approx(0.1) and columns[-1] == pytest.approx(0.9)
    assert columns[middle] == pytest.approx(0.5, abs=0.02) and (np.diff(columns) >= 0).all()


def test_backgrounds_are_plain_or_cluttered():
    scenes = [paint_background(np.random.default_rng(seed)) for seed in range(30)]
    detail = [np.abs(np.diff(scene.mean(2), axis=1)).mean() / scene.mean() for scene in scenes]
    assert np.median(detail) > 0 and max(detail) > 5 * min(detail)
    assert all((scene >= 0).all() and np.isfinite(scene).all() for scene in scenes)
    assert fit_background(scenes[0], 96).shape == (96, 96, 3)
