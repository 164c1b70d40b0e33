"""Drift is taken back, expressions are not."""

import cv2
import numpy as np
import pytest

from micron_bert_hf.faces import Stabilizer
from micron_bert_hf.faces.alignment import template_points
from micron_bert_hf.faces.stabilization import robust_rigid_transform
from micron_bert_hf.faces.transforms import chain_transforms, invert_transform, move_points
from micron_bert_hf.synthetic.face_model import LANDMARK_NAMES


def drifted(frame, degrees, shift):
    """The frame with everything in it rotated about its middle and shifted, and the transform that did it."""
    height, width = frame.shape[:2]
    transform = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1)
    transform[:, 2] += shift
    return cv2.warpAffine(
        frame, transform, (width, height), flags=cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REFLECT
    ), transform


def grained(frame, seed):
    """With the noise of a camera, two grey levels."""
    noise = np.random.default_rng(seed).normal(0, 2, frame.shape)
    return (frame + noise).round().clip(0, 255).astype(np.uint8)


def drift_error(drift, alignment, transform):
    """Largest distance of the five points from where the drift took them, in aligned pixels."""
    aligned = template_points(alignment.image_size)
    true = chain_transforms(chain_transforms(invert_transform(alignment.transform), transform), alignment.transform)
    return np.linalg.norm(move_points(aligned, drift.transform) - move_points(aligned, true), axis=1).max()


@pytest.mark.parametrize(
    ("degrees", "shift"), [(0, (2.4, 0)), (0, (-0.3, 0.7)), (2.5, (0, 0)), (-1.5, (3.2, -4.1)), (3, (-6, 5))]
)
def test_known_drift_is_found_and_taken_back(aligner, faces, degrees, shift):
    errors = []
    for seed, (picture, _) in enumerate(faces):
        frame, transform = drifted(picture, degrees, shift)
        alignment = aligner.find(picture)
        stable, drift = Stabilizer(aligner, alignment, grained(picture, seed)).stabilize(grained(frame, seed + 10))
        assert drift.is_trusted and drift.num_points >= 20
        np.testing.assert_allclose(drift.transform[:, :2] @ drift.transform[:, :2].T, np.eye(2), atol=1e-12)
        errors.append(drift_error(drift, alignment, transform))
        onset, moved = (aligner.warp(image, alignment).astype(float) for image in (picture, frame))
        inner = np.s_[60:180, 60:164]
        assert np.abs(stable - onset)[inner].mean() < np.abs(moved - onset)[inner].mean()
    assert np.median(errors) < 0.05 and np.max(errors) < 0.1


def test_identical_frames_stay_identical(aligner, faces):
    for picture, _ in faces:
        alignment = aligner.find(picture)
        stable, drift = Stabilizer(aligner, alignment, picture).stabilize(picture.copy())
        assert (stable == aligner.warp(picture, alignment)).all()
        assert (drift.transform == np.eye(2, 3)).all() and drift.is_trusted


def test_noise_is_no_drift(aligner, faces):
    for seed, (picture, _) in enumerate(faces):
        alignment = aligner.find(picture)
        other = grained(picture, seed + 10)
        stable, drift = Stabilizer(aligner, alignment, grained(picture, seed)).stabilize(other)
        assert (stable == aligner.warp(other, alignment)).all() and drift.is_trusted


def test_drift_is_taken_back_in_one_resampling(aligner, faces):
    picture, _ = faces[0]
    frame, _ = drifted(picture, 2, (3, -2))
    alignment = aligner.find(picture)
    stable, drift = Stabilizer(aligner, alignment, picture).stabilize(frame)
    assert (stable == aligner.warp(frame, alignment, drift.transform)).all()
    assert (stable != aligner.warp(frame, alignment)).any()


@pytest.mark.parametrize(("degrees", "shift"), [(0, (0, 0)), (-2, (4, 3))])
def test_a_smile_stays(aligner, smile, degrees, shift):
    """From onset to apex, what belongs to the head comes to rest, and the corners of the mouth move on."""
    onset = smile["onset"]
    apex, transform = drifted(smile["apex"], degrees, shift)
    alignment = aligner.find(onset)
    drift = Stabilizer(aligner, alignment, onset).stabilize(apex)[1]
    assert drift.is_trusted

    taken_back = chain_transforms(alignment.transform, invert_transform(drift.transform))
    before = move_points(smile["landmarks_onset"] - 0.5, alignment.transform)
    after = move_points(move_points(smile["landmarks_apex"] - 0.5, transform), taken_back)
    still = [LANDMARK_NAMES.index(name) for name in ("nasion", "eye_inner_left", "eye_inner_right")]
    mouth = [LANDMARK_NAMES.index(f"mouth_corner_{side}") for side in ("left", "right")]
    assert np.linalg.norm((after - before)[still], axis=1).max() < 0.15

    # what the smile alone does, from the motion that the generator tells apart from the head's
    column, row = smile["landmarks_onset"][mouth].astype(int).T
    smiling = np.linalg.norm(smile["expression_motion"][row, column], axis=1) * np.linalg.norm(
        alignment.transform[:, 0]
    )
    moved = np.linalg.norm((after - before)[mouth], axis=1)
    assert (smiling > 1).all() and (np.abs(moved - smiling) < 0.25 * smiling).all()


@pytest.mark.parametrize("other", ["black", "noise"])
def test_a_frame_that_cannot_be_followed_stays(aligner, faces, other):
    picture, _ = faces[0]
    alignment = aligner.find(picture)
    frame = np.zeros_like(picture)
    if other == "noise":
        frame = np.random.default_rng(0).integers(0, 256, picture.shape, dtype=np.uint8)
    stable, drift = Stabilizer(aligner, alignment, picture).stabilize(frame)
    assert not drift.is_trusted and (drift.transform == np.eye(2, 3)).all()
    assert (stable == aligner.warp(frame, alignment)).all()


def test_without_a_face_nothing_is_trusted(aligner):
    frame = np.random.default_rng(0).integers(0, 256, (120, 160), dtype=np.uint8)
    alignment = aligner.find(frame)
    stable, drift = Stabilizer(aligner, alignment, frame).stabilize(frame)
    assert alignment.face is None and not drift.is_trusted and drift.num_points == 0
    assert (stable == aligner.warp(frame, alignment)).all()


def test_most_points_decide():
    random = np.random.default_rng(0)
    source = random.uniform(0, 200, (40, 2))
    known = cv2.getRotationMatrix2D((100, 100), 3, 1)
    target = move_points(source, known)
    target[:14] += random.uniform(3, 9, (14, 2))
    transform, trusted = robust_rigid_transform(source, target)
    assert not trusted[:14].any() and trusted[14:].all()
    np.testing.assert_allclose(move_points(source, transform), move_points(source, known), atol=0.1)
