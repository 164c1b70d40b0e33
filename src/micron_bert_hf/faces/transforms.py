"""
Transforms of the plane as `(2, 3)` float64 matrices, which take (x, y, 1) to (x, y): apply, chain, invert, and fit to
points. A rotation with one scale is a complex factor, and its least-squares fit a quotient, which cannot be a
reflection; that is Umeyama's solution (IEEE TPAMI 1991) in two dimensions.
"""

import numpy as np


def move_points(points: np.ndarray, transform: np.ndarray) -> np.ndarray:
    """`(N, 2)` points, where `transform` takes them."""
    return points @ transform[:, :2].T + transform[:, 2]


def chain_transforms(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """`first`, and then `second`."""
    return second @ _square(first)


def invert_transform(transform: np.ndarray) -> np.ndarray:
    """
    Raises:
        LinAlgError: it has no inverse.
    """
    return np.linalg.inv(_square(transform))[:2]


def similarity_transform(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """
    The rotation, scale and translation that take `source` closest to `target`, by least squares of the distances.

    Args:
        source, target: `(N, 2)` float64 points, N at least 2.

    Raises:
        ValueError: all points of either are in one place, or they have nothing in common.
    """
    weights = np.ones(len(source))
    product, power = _product(source, target, weights), _product(source, source, weights).real
    if product == 0 or power == 0:
        raise ValueError(f"no similarity takes {source.tolist()} to {target.tolist()}")
    return _transform(source, target, weights, product / power)


def rigid_transform(source: np.ndarray, target: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """
    The rotation and translation that take `source` closest to `target`, by weighted least squares of the distances.
    Points that are all in one place are not rotated.

    Args:
        source, target: `(N, 2)` float64 points.
        weights: `(N,)`, positive.
    """
    product = _product(source, target, weights)
    return _transform(source, target, weights, product / abs(product) if product else 1 + 0j)


def _complex(points: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, complex]:
    """The points as complex numbers, and their mean."""
    numbers = points @ [1, 1j]
    return numbers, weights @ numbers / weights.sum()


def _product(source: np.ndarray, target: np.ndarray, weights: np.ndarray) -> complex:
    """Of the two, each from its mean: what it is divided by tells of scale, its angle is the rotation."""
    (a, a_mean), (b, b_mean) = _complex(source, weights), _complex(target, weights)
    return np.vdot(weights * (a - a_mean), b - b_mean)


def _transform(source: np.ndarray, target: np.ndarray, weights: np.ndarray, factor: complex) -> np.ndarray:
    """Rotation and scale by `factor`, and the translation that takes one mean to the other."""
    shift = _complex(target, weights)[1] - factor * _complex(source, weights)[1]
    return np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]])


def _square(transform: np.ndarray) -> np.ndarray:
    return np.vstack([transform, [0.0, 0.0, 1.0]])
