"""Do probabilities mean what they say? Reliability bins and the expected calibration error, in NumPy.

Guo, Pleiss, Sun and Weinberger, On Calibration of Modern Neural Networks, ICML 2017, section 2: predictions are binned
by confidence (the probability of the predicted class) into M intervals `((m - 1) / M, m / M]` of equal width, and the
error is the mean over the bins of |share right - mean confidence|, weighted with the samples in them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


# M of the tables of Guo et al.
NUM_BINS = 15
# Of a row's sum from 1: float16 probabilities of seven classes stay below it (ours).
_SUM_TOLERANCE = 5e-3


def reliability_bins(
    probabilities: np.ndarray, labels: Sequence[int], num_bins: int = NUM_BINS
) -> list[dict[str, Any]]:
    """
    Args:
        probabilities (`np.ndarray` of shape `(num_samples, num_labels)`): in [0, 1], rows of sum 1. The prediction is
            the most probable class, the first of several.
        labels: true class numbers in [0, num_labels), one per sample.
        num_bins: intervals of equal width.

    Returns:
        One `{"low", "high", "num_samples", "confidence", "accuracy"}` a bin, from low to high, ready for JSON:
        `low < confidence <= high` of its samples, their mean confidence and the share of them that is right; both
        `None` in a bin without samples.

    Raises:
        ValueError: no samples, shapes that do not fit, rows that are no probabilities, a class outside the label set.
    """
    probabilities = np.asarray(probabilities, dtype=float)
    truth = np.asarray(labels)
    if probabilities.ndim != 2 or probabilities.size == 0 or truth.shape != probabilities.shape[:1]:
        raise ValueError(
            "Expected probabilities (num_samples, num_labels) and as many labels, at least one, got shapes"
            f" {probabilities.shape} and {truth.shape}."
        )
    # written so that NaN fails too
    if not (probabilities.min() >= 0 and np.abs(probabilities.sum(axis=1) - 1).max() <= _SUM_TOLERANCE):
        raise ValueError(
            f"Expected probabilities in [0, 1], rows of sum 1, got {probabilities.min()} to {probabilities.max()} and"
            f" sums of {probabilities.sum(axis=1).min()} to {probabilities.sum(axis=1).max()}."
        )
    num_labels = probabilities.shape[1]
    if not np.issubdtype(truth.dtype, np.integer) or truth.min() < 0 or truth.max() >= num_labels:
        raise ValueError(
            f"`labels` must be integers in [0, {num_labels}), got {truth.min()} to {truth.max()} of {truth.dtype}."
        )
    confidence = probabilities.max(axis=1)
    is_right = probabilities.argmax(axis=1) == truth
    edges = np.linspace(0, 1, num_bins + 1)
    # the last bin takes what rounding carried above 1; no confidence lies below 1 / num_labels
    place = np.minimum(np.searchsorted(edges, confidence, side="left") - 1, num_bins - 1)
    bins = []
    for number in range(num_bins):
        inside = place == number
        is_empty = not inside.any()
        bins.append(
            {
                "low": float(edges[number]),
                "high": float(edges[number + 1]),
                "num_samples": int(inside.sum()),
                "confidence": None if is_empty else float(confidence[inside].mean()),
                "accuracy": None if is_empty else float(is_right[inside].mean()),
            }
        )
    return bins


def expected_calibration_error(bins: Sequence[Mapping[str, Any]]) -> float:
    """
    In [0, 1], from [`reliability_bins`]. Few samples raise it: a bin of one sample is never calibrated.

    Raises:
        ValueError: no samples in any bin.
    """
    filled = [entry for entry in bins if entry["num_samples"]]
    if not filled:
        raise ValueError(f"Expected samples in at least one bin, got {len(bins)} bins without any.")
    num_samples = sum(entry["num_samples"] for entry in filled)
    gaps = [entry["num_samples"] * abs(entry["accuracy"] - entry["confidence"]) for entry in filled]
    return sum(gaps) / num_samples
