"""From a curve to intervals, on curves made by hand."""

import numpy as np
import pytest

from micron_bert_hf.spotting.change import eye_patches, face_patches, movement_score
from micron_bert_hf.spotting.intervals import Moment, SpottingOptions, pick_intervals, smooth_over_time


FPS = 50
SECONDS = np.arange(200) / FPS
OPTIONS = SpottingOptions()


def bump(centre, height, width=0.08, base=0.1):
    return base + height * np.exp(-0.5 * ((SECONDS - centre) / width) ** 2)


def smoothed(values, seconds, deviation):
    """By the stream, as one array; a row with NaN is not known."""
    items = [
        (Moment(number, second), value if np.isfinite(value).all() else None)
        for number, (second, value) in enumerate(zip(seconds, values))
    ]
    answers = list(smooth_over_time(iter(items), deviation))
    assert [moment for moment, _ in answers] == [moment for moment, _ in items]
    return np.array(
        [np.full_like(row, np.nan) if value is None else value for (_, value), row in zip(answers, values)]
    )


def smoothed_at_once(values, seconds, deviation):
    """What the stream must give, with everything in memory."""
    apart = np.abs(seconds[:, None] - seconds[None, :])
    weights = np.where(
        (apart <= 3 * deviation) & np.isfinite(values[:, 0]), np.exp(-0.5 * (apart / deviation) ** 2), 0
    )
    return weights @ np.nan_to_num(values) / weights.sum(1, keepdims=True)


def test_one_peak_is_one_interval():
    (found,) = pick_intervals(bump(2.0, 1.0), SECONDS, OPTIONS)
    assert found.apex == 100 and found.height == pytest.approx(1.1)
    # the curve is at 0.44 = 0.4 * 1.1 where the bump is at 0.34: 1.47 deviations away
    assert found.onset == 100 - int(0.08 * np.sqrt(-2 * np.log(0.34)) * FPS)
    assert found.offset - 100 == 100 - found.onset


@pytest.mark.parametrize("height", [0.0, 0.3])
def test_little_movement_is_none(height):
    assert pick_intervals(bump(2.0, height), SECONDS, OPTIONS) == []


def test_what_is_small_beside_the_rest_does_not_count():
    curve = bump(1.0, 3.0) + bump(3.0, 0.6)
    assert [found.apex for found in pick_intervals(curve, SECONDS, OPTIONS)] == [50]
    assert len(pick_intervals(curve, SECONDS, SpottingOptions(relative=0.0))) == 2


def test_a_run_of_peaks_is_speech():
    speech = np.maximum.reduce([bump(1.0 + 0.35 * number, 1.0) for number in range(4)])
    assert pick_intervals(speech, SECONDS, OPTIONS) == []
    apart = np.maximum(bump(1.0, 1.0), bump(1.0 + OPTIONS.alone_seconds + 0.1, 1.0))
    assert len(pick_intervals(apart, SECONDS, OPTIONS)) == 2


def test_an_interval_is_not_longer_than_a_micro_expression():
    (found,) = pick_intervals(bump(2.0, 1.0, width=1.0), SECONDS, OPTIONS)
    assert SECONDS[found.offset] - SECONDS[found.onset] <= 0.5


def test_what_is_not_known_counts_for_nothing():
    curve = bump(2.0, 1.0)
    curve[:12] = curve[-12:] = np.nan
    assert len(pick_intervals(curve, SECONDS, OPTIONS)) == 1
    assert pick_intervals(np.full(200, np.nan), SECONDS, OPTIONS) == []
    values = smoothed(curve, SECONDS, 0.03)
    assert np.array_equal(np.isnan(values), np.isnan(curve))


def test_smoothing_is_by_time_not_by_frame():
    """Frames that come irregularly: a straight line over time stays one, and noise of no direction cancels."""
    random = np.random.default_rng(0)
    seconds = np.sort(random.uniform(0, 4, 300))
    line = np.stack([seconds, 1 - seconds], 1)
    inner = (seconds > 0.2) & (seconds < 3.8)
    assert np.abs(smoothed(line, seconds, 0.03) - line)[inner].max() < 0.03
    noise = random.normal(0, 1, (300, 16))
    assert smoothed(noise, seconds, 0.1)[inner].std() < 0.4


def test_the_stream_smooths_as_all_at_once():
    random = np.random.default_rng(1)
    seconds = np.sort(random.uniform(0, 2, 150))
    values = random.normal(0, 1, (150, 3))
    values[40:50] = np.nan
    known = np.isfinite(values[:, 0])
    expected = smoothed_at_once(values, seconds, 0.05)
    np.testing.assert_allclose(smoothed(values, seconds, 0.05)[known], expected[known], rtol=1e-9)


def test_movement_of_the_eyes_does_not_count():
    movement = np.zeros((16, 16, 2), np.float32)
    movement[eye_patches(16, 16)] = 5
    assert movement_score(movement) == 0
    movement[~face_patches(16, 16)] = 5
    assert movement_score(movement) == 0
    movement[11:13, 5:11] = (0, 2)  # the mouth: twelve patches
    assert movement_score(movement) == pytest.approx(2)
    assert movement_score(np.stack([movement, 2 * movement])).tolist() == pytest.approx([2, 4])
