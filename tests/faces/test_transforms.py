"""Fits recover what was done to points, and never mirror."""

import numpy as np
import pytest

from micron_bert_hf.faces.transforms import (
    chain_transforms,
    invert_transform,
    move_points,
    rigid_transform,
    similarity_transform,
)


POINTS = np.array([[10.0, 20.0], [90.0, 25.0], [52.0, 60.0], [20.0, 95.0], [80.0, 99.0]])


def similarity(degrees, scale, x, y):
    turn = scale * np.exp(1j * np.radians(degrees))
    return np.array([[turn.real, -turn.imag, x], [turn.imag, turn.real, y]])


@pytest.mark.parametrize("known", [similarity(0, 1, 0, 0), similarity(25, 0.4, -30, 12), similarity(-170, 3, 5, 900)])
def test_similarity_is_recovered(known):
    np.testing.assert_allclose(similarity_transform(POINTS, move_points(POINTS, known)), known, atol=1e-9)


def test_similarity_is_the_nearest():
    """No small change of any of its four numbers comes nearer to points that no similarity reaches."""
    target = move_points(POINTS, similarity(10, 1.5, 3, 4)) + np.random.default_rng(0).normal(0, 4, POINTS.shape)
    best = similarity_transform(POINTS, target)

    def distance(transform):
        return np.sum((move_points(POINTS, transform) - target) ** 2)

    (a, _, x), (b, _, y) = best
    for change in np.vstack([np.eye(4), -np.eye(4)]) * 1e-3:
        c, d, x_shift, y_shift = np.array([a, b, x, y]) + change
        assert distance(np.array([[c, -d, x_shift], [d, c, y_shift]])) > distance(best)


def test_similarity_does_not_mirror():
    fitted = similarity_transform(POINTS, POINTS * [-1, 1])
    assert np.linalg.det(fitted[:, :2]) > 0


def test_similarity_refuses_points_in_one_place():
    with pytest.raises(ValueError, match="no similarity takes"):
        similarity_transform(np.ones((5, 2)), POINTS)
    with pytest.raises(ValueError, match="no similarity takes"):
        similarity_transform(POINTS, np.ones((5, 2)))


def test_rigid_does_not_scale_and_follows_weights():
    target = move_points(POINTS, similarity(8, 1.7, 2, 3))
    assert np.linalg.det(rigid_transform(POINTS, target, np.ones(5))[:, :2]) == pytest.approx(1)
    known = similarity(-3, 1, 4, -6)
    target = move_points(POINTS, known)
    target[2] += 50
    weights = np.array([1, 1, 1e-9, 1, 1])
    np.testing.assert_allclose(rigid_transform(POINTS, target, weights), known, atol=1e-5)


def test_rigid_of_one_place_is_a_translation():
    np.testing.assert_allclose(
        rigid_transform(np.ones((3, 2)), np.full((3, 2), 4.0), np.ones(3)), [[1, 0, 3], [0, 1, 3]], atol=1e-12
    )


def test_chain_and_inverse():
    first, second = similarity(20, 2, 5, 6), similarity(-50, 0.3, 1, -9)
    chained = chain_transforms(first, second)
    np.testing.assert_allclose(move_points(POINTS, chained), move_points(move_points(POINTS, first), second))
    np.testing.assert_allclose(move_points(move_points(POINTS, first), invert_transform(first)), POINTS)
