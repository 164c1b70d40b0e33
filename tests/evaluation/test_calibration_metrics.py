"""Calibration: bins worked by hand, a loop as oracle, and guessers whose calibration is known."""

import numpy as np
import pytest

from micron_bert_hf.evaluation.calibration_metrics import expected_calibration_error, reliability_bins


def test_bins_are_worked_by_hand():
    probabilities = [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.45, 0.55], [0.5, 0.5]]
    bins = reliability_bins(probabilities, [0, 0, 0, 1, 1], num_bins=4)
    assert bins[0] == {"low": 0.0, "high": 0.25, "num_samples": 0, "confidence": None, "accuracy": None}
    # 0.5 belongs to (0.25, 0.5], and the first of two equal classes is the prediction
    assert bins[1] == {"low": 0.25, "high": 0.5, "num_samples": 1, "confidence": 0.5, "accuracy": 0.0}
    assert bins[2] == {
        "low": 0.5, "high": 0.75, "num_samples": 2, "confidence": pytest.approx(0.575), "accuracy": 1.0,
    }  # fmt: skip
    assert bins[3] == {
        "low": 0.75, "high": 1.0, "num_samples": 2, "confidence": pytest.approx(0.85), "accuracy": 0.5,
    }  # fmt: skip
    assert expected_calibration_error(bins) == pytest.approx((1 * 0.5 + 2 * 0.425 + 2 * 0.35) / 5)


@pytest.mark.parametrize("num_bins", [1, 10, 15])
def test_equal_to_a_loop_over_samples(num_bins):
    random = np.random.default_rng(0)
    probabilities = random.dirichlet(np.ones(4) * 0.5, 300)
    labels = random.integers(4, size=300)
    bins = reliability_bins(probabilities, labels, num_bins)
    gathered = [[] for _ in range(num_bins)]
    for row, label in zip(probabilities, labels):
        for number, entry in enumerate(bins):
            if entry["low"] < row.max() <= entry["high"]:
                gathered[number].append((row.max(), row.argmax() == label))
    error = 0.0
    for entry, inside in zip(bins, gathered, strict=True):
        assert entry["num_samples"] == len(inside)
        if inside:
            confidence, accuracy = np.mean(inside, axis=0)
            assert (entry["confidence"], entry["accuracy"]) == (pytest.approx(confidence), pytest.approx(accuracy))
            error += len(inside) / 300 * abs(accuracy - confidence)
    assert expected_calibration_error(bins) == pytest.approx(error)


def test_one_who_is_as_right_as_it_says_is_calibrated_and_a_boaster_is_not():
    random = np.random.default_rng(1)
    probabilities = random.dirichlet(np.ones(3), 20_000)
    labels = (random.random((20_000, 1)) > probabilities[:, :2].cumsum(axis=1)).sum(axis=1)  # drawn as stated
    assert expected_calibration_error(reliability_bins(probabilities, labels)) < 0.02
    boasting = np.eye(3)[random.integers(3, size=20_000)]
    assert expected_calibration_error(reliability_bins(boasting, labels)) == pytest.approx(2 / 3, abs=0.02)


def test_low_precision_is_no_error():
    probabilities = np.random.default_rng(2).dirichlet(np.ones(7), 50).astype(np.float16)
    assert sum(entry["num_samples"] for entry in reliability_bins(probabilities, np.zeros(50, int))) == 50


@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [
        (np.zeros((0, 3)), [], "at least one"),
        ([[0.5, 0.5]], [0, 1], r"\(1, 2\) and \(2,\)"),
        ([[2.0, -1.0]], [0], r"in \[0, 1\]"),
        ([[3.0, 1.0]], [0], "sums of 4.0"),
        ([[np.nan, 1.0]], [0], "nan"),
        ([[0.5, 0.5]], [2], r"\[0, 2\), got 2 to 2"),
        ([[0.5, 0.5]], [0.0], "float64"),
    ],
)
def test_bad_columns_are_named(probabilities, labels, message):
    with pytest.raises(ValueError, match=message):
        reliability_bins(probabilities, labels)


def test_bins_without_samples_have_no_error():
    with pytest.raises(ValueError, match="2 bins without any"):
        expected_calibration_error([{"num_samples": 0}] * 2)
