"""Spotting: hand-worked cases, sets of frames as the oracle of the formula, and the best matching there is."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from micron_bert_hf.evaluation.spotting_metrics import interval_iou, match_intervals, score_spotting


def interval(onset, offset, apex=None):
    return {"onset": onset, "apex": (onset + offset) // 2 if apex is None else apex, "offset": offset}


def frames(given):
    return set(range(given["onset"], given["offset"] + 1))


def test_both_ends_of_an_interval_belong_to_it():
    ends = [np.array(values) for values in ([10, 5], [19, 5], [10, 15, 19, 20, 5], [19, 24, 30, 29, 5])]
    expected = [[1.0, 5 / 15, 1 / 21, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 1.0]]
    np.testing.assert_allclose(interval_iou(*ends), expected)


def random_intervals(random, count, length=40):
    onsets = random.integers(0, length, count)
    return [interval(int(onset), int(onset + random.integers(0, 15))) for onset in onsets]


def test_the_formula_is_that_of_sets_of_frames():
    random = np.random.default_rng(0)
    truth, spotted = random_intervals(random, 30), random_intervals(random, 30)
    ends = [np.array([given[name] for given in side]) for side in (truth, spotted) for name in ("onset", "offset")]
    expected = [[len(frames(one) & frames(two)) / len(frames(one) | frames(two)) for two in spotted] for one in truth]
    np.testing.assert_array_equal(interval_iou(*ends), expected)


def loop_matches(truth, spotted):
    """The rule as it is written: again and again the best pair of two free intervals."""
    free_truth, free_spotted, pairs = list(range(len(truth))), list(range(len(spotted))), []
    while True:
        best = None
        for row in free_truth:
            for column in free_spotted:
                one, two = frames(truth[row]), frames(spotted[column])
                iou = len(one & two) / len(one | two)
                key = (-iou, min(one), max(one), min(two), max(two))
                if iou >= 0.5 and (best is None or key < best[0]):
                    best = key, row, column
        if best is None:
            return pairs
        pairs.append((best[1], best[2], -best[0][0]))
        free_truth.remove(best[1])
        free_spotted.remove(best[2])


def test_the_matches_are_those_of_the_loop():
    random = np.random.default_rng(1)
    num_pairs = 0
    for _ in range(100):
        truth, spotted = (random_intervals(random, random.integers(0, 8)) for _ in range(2))
        pairs = match_intervals(truth, spotted)
        expected = loop_matches(truth, spotted)
        # two equal intervals have no order: which of them is matched cannot matter
        assert [pair[2] for pair in pairs] == [pair[2] for pair in expected]
        assert [(truth[row], spotted[column]) for row, column, _ in pairs] == [
            (truth[row], spotted[column]) for row, column, _ in expected
        ]
        assert len({row for row, _, _ in pairs}) == len({column for _, column, _ in pairs}) == len(pairs)
        num_pairs += len(pairs)
    assert num_pairs > 50


def apart(random, count):
    """Intervals that do not overlap, many of them side by side."""
    ends = np.sort(random.choice(30, 2 * count, replace=False))
    return [interval(int(onset), int(offset)) for onset, offset in ends.reshape(-1, 2)]


def test_without_overlaps_no_matching_has_more_pairs():
    random = np.random.default_rng(2)
    num_shared = 0
    for _ in range(300):
        truth, spotted = apart(random, random.integers(1, 9)), apart(random, random.integers(1, 9))
        may_match = np.array(
            [[len(frames(a) & frames(b)) * 2 >= len(frames(a) | frames(b)) for b in spotted] for a in truth]
        )
        best = linear_sum_assignment(may_match, maximize=True)
        assert len(match_intervals(truth, spotted)) == may_match[best].sum()
        num_shared += (may_match.sum(axis=0) > 1).sum() + (may_match.sum(axis=1) > 1).sum()
    assert num_shared > 0  # the case in which an interval has a choice does occur


def test_scores_are_worked_by_hand():
    truth = {
        "a": [interval(10, 19, apex=15), interval(100, 109, apex=104)],
        "b": [interval(50, 59, apex=55)],
        "c": [],
    }
    spotted = {
        # IoU 8 / 12 with the first: 3 frames early; half of the second, IoU 0.5: just enough; and a false one
        "a": [interval(12, 21, apex=12), interval(100, 104, apex=104), interval(300, 310)],
        # IoU 4 / 10: too little
        "b": [interval(56, 59)],
        "c": [interval(1, 5)],
    }
    result = score_spotting(truth, spotted, {"a": 200, "b": 200, "c": 30})
    assert result == {
        "precision": pytest.approx(2 / 5),
        "recall": pytest.approx(2 / 3),
        "f1": pytest.approx(2 * (2 / 5) * (2 / 3) / (2 / 5 + 2 / 3)),
        "true_positives": 2,
        "false_positives": 3,
        "false_negatives": 1,
        "num_videos": 3,
        "num_apexes": 2,
        "apex_mae_frames": 1.5,
        "apex_mae_ms": 7.5,
    }


def test_counts_are_pooled_over_videos_of_any_rate():
    """The mean of the videos' F1 would be (1 + 0) / 2; a frame lasts longer at 30 frames a second."""
    truth = {"a": [interval(0, 9, apex=5)], "b": [interval(0, 9), interval(20, 29, apex=25), interval(40, 49)]}
    spotted = {"a": [interval(0, 9, apex=7)], "b": [interval(20, 29, apex=22)]}
    result = score_spotting(truth, spotted, {"a": 200, "b": 30})
    assert result["f1"] == pytest.approx(2 * 2 / (2 * 2 + 0 + 2))
    assert result["apex_mae_frames"] == 2.5
    assert result["apex_mae_ms"] == pytest.approx((1000 * 2 / 200 + 1000 * 3 / 30) / 2)


def test_a_true_interval_is_found_once():
    truth = {"a": [interval(10, 19)]}
    result = score_spotting(truth, {"a": [interval(10, 19), interval(11, 19), interval(10, 18)]}, {"a": 30})
    assert (result["true_positives"], result["false_positives"], result["false_negatives"]) == (1, 2, 0)
    assert result["apex_mae_frames"] == 0  # that of the best


def test_one_long_interval_finds_one_of_two():
    truth = {"a": [interval(0, 9), interval(10, 19)]}
    result = score_spotting(truth, {"a": [interval(0, 19)]}, {"a": 30})
    assert (result["true_positives"], result["false_positives"], result["false_negatives"]) == (1, 0, 1)


def test_nothing_spotted_and_no_apex():
    truth = {"a": [interval(0, 9)]}
    nothing = score_spotting(truth, {}, {"a": 30})
    assert nothing["precision"] == nothing["recall"] == nothing["f1"] == 0
    assert nothing["false_negatives"] == 1 and nothing["apex_mae_frames"] is None and nothing["apex_mae_ms"] is None
    without = score_spotting({"a": [{"onset": 0, "apex": None, "offset": 9}]}, truth, {"a": 30})
    assert without["f1"] == 1 and without["num_apexes"] == 0 and without["apex_mae_frames"] is None


@pytest.mark.parametrize(
    ("truth", "spotted", "rates", "message"),
    [
        ({}, {}, {}, "at least one video"),
        ({"a": []}, {"b": []}, {"a": 30}, "1 video.* such as 'b'"),
        ({"a": []}, {}, {}, "'a' above 0, got None"),
        ({"a": []}, {}, {"a": 0}, "'a' above 0, got 0"),
        ({"a": [interval(5, 4)]}, {}, {"a": 30}, "onset <= apex <= offset in `truth` of 'a'"),
        ({"a": []}, {"a": [interval(5, 9, apex=10)]}, {"a": 30}, "onset <= apex <= offset in `spotted` of 'a'"),
        ({"a": []}, {"a": [interval(5.5, 9)]}, {"a": 30}, "whole frame numbers in `spotted` of 'a'"),
        ({"a": [{"onset": 1, "offset": 2}]}, {}, {"a": 30}, r"lacks \['apex'\]"),
    ],
)
def test_bad_tables_are_named(truth, spotted, rates, message):
    with pytest.raises(ValueError, match=message):
        score_spotting(truth, spotted, rates)
