"""Unlabelled clips: rows, intervals, what moves, and that no subject is met in a labelled set."""

import numpy as np
import pytest

from micron_bert_hf.synthetic import (
    DEFAULT_CLASSES,
    LANDMARK_NAMES,
    generate_micro_expressions,
    generate_unlabelled_clips,
    generation,
)
from micron_bert_hf.synthetic.expressions import BLINK, Temperament
from micron_bert_hf.synthetic.long_clips import PAUSE, sample_long_clip_plan


CALM = Temperament(dict.fromkeys(range(50), 1.0), habit=1)


def plans(count, seconds=4.0, difficulty=0.5, fps=100):
    return [
        sample_long_clip_plan(
            np.random.default_rng(seed), seconds, difficulty, fps, CALM, np.zeros(3), DEFAULT_CLASSES
        )
        for seed in range(count)
    ]


def test_row_holds_what_is_promised(unlabelled_row):
    row = unlabelled_row
    assert row["sample_id"] == "u000_000" and row["subject_id"] == "u000" and row["fps"] == 20
    assert row["frames"].shape == (51, 48, 48, 3) and row["frames"].dtype == np.uint8
    assert row["landmarks"].shape == (51, len(LANDMARK_NAMES), 2) and row["landmarks"].dtype == np.float32
    assert row["landmarks"].min() > 0 and row["landmarks"].max() < 48
    moved = np.abs(np.diff(row["frames"].astype(float), axis=0)).mean((1, 2, 3))
    assert moved.min() > 0
    assert "label" not in row


def test_subjects_are_not_those_of_labelled_sets(unlabelled_row):
    labelled = next(generate_micro_expressions(1, 1, image_size=48, difficulty=0.5, seed=5, classes=("fear",)))
    assert labelled["subject_id"] != unlabelled_row["subject_id"]
    assert np.abs(labelled["onset"].astype(float) - unlabelled_row["frames"][0]).mean() > 5


def test_same_bytes_through_the_cache(unlabelled_row, tmp_path, monkeypatch):
    arguments = {"seconds": 2.5, "fps": 20, "image_size": 48, "difficulty": 0.5, "seed": 5, "cache_dir": tmp_path}
    made = next(generate_unlabelled_clips(1, **arguments))
    monkeypatch.setattr(generation, "ClipRenderer", None)
    cached = next(generate_unlabelled_clips(1, **arguments))
    for row in (made, cached):
        assert row.keys() == unlabelled_row.keys()
        assert row["intervals"] == unlabelled_row["intervals"]
        np.testing.assert_array_equal(row["frames"], unlabelled_row["frames"])
        np.testing.assert_array_equal(row["landmarks"], unlabelled_row["landmarks"])


def test_clips_have_none_or_several_events_that_do_not_overlap():
    counts = []
    for plan in plans(200):
        counts.append(len(plan.events))
        before = -PAUSE
        for event in plan.events:
            assert event.label in DEFAULT_CLASSES
            assert 0 <= event.onset < event.apex < event.offset < plan.num_frames
            assert event.start >= before + PAUSE - 1e-9
            before = event.start + event.timing.duration
            assert 10 <= event.offset - event.onset <= 52
        assert before <= 4.0
    assert min(counts) == 0 and max(counts) >= 3
    assert np.mean(counts) == pytest.approx(0.35 * 4, rel=0.15)


def test_units_act_in_their_interval_only():
    for plan in plans(60, difficulty=0.0):
        for event in plan.events:
            unit = next(iter(event.action_units))
            course = [max(plan.action_units_at(frame).get(unit, (0, 0))) for frame in range(plan.num_frames)]
            if any(unit in other.action_units for other in plan.events if other is not event):
                continue
            spoken = {
                frame for speech in plan.speech for frame in range(int(speech.start * 100), int(speech.end * 100) + 2)
            }
            outside = set(range(plan.num_frames)) - set(range(event.onset, event.offset + 1)) - spoken
            assert max(course[frame] for frame in outside) == 0
            assert max(course) > 0.5 * max(event.action_units[unit])


def test_blinks_close_the_eyes_and_glances_and_drift_move():
    closed, gaze, yaw = [], [], []
    for plan in plans(40):
        lids = [plan.action_units_at(frame).get(BLINK, (0, 0))[0] for frame in range(plan.num_frames)]
        closed.append(max(lids))
        assert max(lids) <= 1
        gaze.append(np.ptp([plan.gaze_at(frame)[0] for frame in range(plan.num_frames)]))
        yaw.append(np.ptp([plan.pose_at(frame).rotation[0, 2] for frame in range(plan.num_frames)]))
    assert np.mean(np.array(closed) > 0.8) > 0.5
    assert 0.02 < np.median(gaze) < 0.4 and 0.01 < np.median(yaw) < 0.3


def test_speech_opens_the_mouth_in_syllables():
    speaking = [plan for plan in plans(40, difficulty=1.0) if plan.speech and not plan.events]
    assert speaking
    jaw = np.array([speaking[0].action_units_at(frame).get(26, (0, 0))[0] for frame in range(401)])
    crossings = np.count_nonzero(np.diff(jaw > 0.02))
    assert jaw.max() > 0.1 and crossings >= 4


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("num_clips", 0, "num_clips is 0"),
        ("seconds", 0.5, "seconds is 0.5; expected a number of at least 0.9"),
        ("seconds", float("nan"), "seconds is nan"),
        ("seconds", float("inf"), "seconds is inf"),
        ("fps", 10, "fps is 10"),
        ("image_size", 8, "image_size is 8"),
        ("difficulty", 2, "difficulty is 2"),
        ("color", "sepia", "color is 'sepia'"),
        ("classes", ("joy",), "unknown class"),
    ],
)
def test_bad_arguments_are_named_before_any_work(monkeypatch, argument, value, message):
    monkeypatch.setattr(generation, "ClipRenderer", None)
    with pytest.raises(ValueError, match=message):
        generate_unlabelled_clips(**{argument: value})
