"""Baselines: folds by subject, closed forms, intervals, and that each sees what it should and nothing else."""

import numpy as np
import pytest

from micron_bert_hf.evaluation.metrics import uar, uf1
from micron_bert_hf.synthetic import LANDMARK_NAMES
from micron_bert_hf.synthetic.baselines import (
    BASELINES,
    MAX_FOLDS,
    baseline_features,
    bootstrap_intervals,
    measure_baselines,
    predict_majority,
    subject_folds,
)


SIZE = 64
LABELS = ("still", "right", "down")


def make_landmarks():
    """Eyes at height 24, mouth at 44, hence a crop of 50 x 52 pixels."""
    landmarks = np.zeros((len(LANDMARK_NAMES), 2), np.float32)
    for index, name in enumerate(LANDMARK_NAMES):
        side = 1 if name.endswith("left") else -1
        if name.startswith("eye_"):
            landmarks[index] = (32 + 8 * side, 24)
        if name.startswith("mouth_corner"):
            landmarks[index] = (32 + 6 * side, 44)
    return landmarks


def make_sample(subject, number, label, generator):
    """A patch of texture that lies still, or moves by a pixel to the right or down; the rest lies still."""
    smooth = np.kron(generator.normal(0, 30, (SIZE // 4, SIZE // 4)), np.ones((4, 4)))
    onset = np.clip(128 + smooth, 0, 255)
    motion = np.zeros((SIZE, SIZE, 2), np.float32)
    shift = {"still": (0, 0), "right": (0, 1), "down": (1, 0)}[label]
    region = np.s_[26:40, 24:40]
    apex = onset.copy()
    apex[region] = np.roll(onset, shift, (0, 1))[region]
    motion[region] = shift[::-1]
    frames = [np.repeat(frame[..., None], 3, -1).round().astype(np.uint8) for frame in (onset, apex)]
    return {
        "sample_id": f"{subject}_{number}",
        "subject_id": subject,
        "label": label,
        "onset": frames[0],
        "apex": frames[1],
        "motion": motion,
        "landmarks_onset": make_landmarks(),
    }


@pytest.fixture(scope="module")
def samples():
    generator = np.random.default_rng(0)
    return [
        make_sample(f"s{subject:03d}", number, label, generator)
        for subject in range(8)
        for number, label in enumerate(LABELS)
    ]


@pytest.fixture(scope="module")
def results(samples):
    return measure_baselines(iter(samples), LABELS)


def test_motion_is_learnt_and_nothing_else_is(results):
    scores = results["baselines"]
    assert set(scores) == set(BASELINES)
    assert results["num_samples"] == 24 and results["num_subjects"] == 8
    assert scores["true_flow"]["uf1"] == 1.0
    assert scores["dis_flow"]["uf1"] > 0.8
    # 24 samples: the chance of 17 right by guessing one of three is below 1 in 1000
    assert scores["onset_appearance"]["accuracy"] < 17 / 24


def test_majority_equals_its_closed_form(results):
    # Every class is as frequent in every training fold, so the first is always predicted: precision 1/3, recall 1.
    majority = results["baselines"]["majority"]
    assert majority["uf1"] == pytest.approx((2 * (1 / 3) / (1 + 1 / 3)) / 3)
    assert majority["uar"] == pytest.approx(1 / 3)
    assert majority["confusion_matrix"] == [[8, 0, 0]] * 3


def test_majority_follows_the_training_labels_of_each_fold():
    labels, subjects = np.array([0, 0, 0, 1, 1, 1, 1]), np.array(list("aaabbcc"))
    predicted = predict_majority(labels, subject_folds(subjects), 2)
    # without a: 1 is frequent; without b: 0 (3 to 2); without c: 0 (3 to 2)
    assert predicted.tolist() == [1, 1, 1, 0, 0, 0, 0]


@pytest.mark.parametrize("num_subjects", [2, 7, MAX_FOLDS + 11])
def test_folds_share_no_subject_and_test_every_sample_once(num_subjects):
    subjects = np.array([f"s{number % num_subjects}" for number in range(3 * num_subjects)])
    folds = subject_folds(subjects)
    assert len(folds) == min(num_subjects, MAX_FOLDS)
    for train, test in folds:
        assert not set(subjects[train]) & set(subjects[test])
    assert sorted(np.concatenate([test for _, test in folds])) == list(range(len(subjects)))


def test_flow_features_ignore_a_movement_of_the_whole_face(samples):
    sample = samples[1]
    moved = {**sample, "motion": sample["motion"] + np.float32([0.75, -1.5])}
    np.testing.assert_allclose(
        baseline_features(moved)["true_flow"], baseline_features(sample)["true_flow"], atol=1e-5
    )
    # and the crop follows the face: what moves outside of it does not count
    outside = sample["motion"].copy()
    outside[:5] = 9
    np.testing.assert_array_equal(
        baseline_features({**sample, "motion": outside})["true_flow"], baseline_features(sample)["true_flow"]
    )


def test_features_see_what_their_names_say(samples):
    sample = samples[1]
    features = baseline_features(sample)
    assert {name: len(values) for name, values in features.items()} == {
        "onset_appearance": 100,
        "frame_difference": 100,
        "dis_flow": 200,
        "true_flow": 200,
    }
    changed = baseline_features({**sample, "apex": sample["onset"]})
    np.testing.assert_array_equal(changed["onset_appearance"], features["onset_appearance"])
    np.testing.assert_array_equal(changed["true_flow"], features["true_flow"])
    assert not changed["frame_difference"].any() and features["frame_difference"].any()
    assert np.abs(changed["dis_flow"]).max() < 1e-3 < np.abs(features["dis_flow"]).max()


def test_bootstrap_is_fixed_by_its_seed_and_resamples_subjects():
    generator = np.random.default_rng(3)
    confusions = generator.integers(0, 4, (12, 3, 3))
    first = bootstrap_intervals(confusions, num_samples=200, seed=1)
    assert first == bootstrap_intervals(confusions, num_samples=200, seed=1)
    assert first != bootstrap_intervals(confusions, num_samples=200, seed=2)
    for name, metric in (("uf1", uf1), ("uar", uar)):
        low, high = first[f"{name}_interval"]
        assert 0 <= low < metric(confusions.sum(0)) < high <= 1
    # subjects who are all alike leave nothing to resample
    alike = np.repeat(confusions[:1], 12, axis=0)
    assert bootstrap_intervals(alike, num_samples=20)["uf1_interval"] == pytest.approx([uf1(confusions[0])] * 2)


def test_one_subject_or_one_class_is_refused(samples):
    with pytest.raises(ValueError, match="1 subject"):
        measure_baselines(samples[:3], LABELS)
    with pytest.raises(ValueError, match="1 class"):
        measure_baselines(samples[::3], LABELS)
    with pytest.raises(ValueError, match="'down'"):
        measure_baselines(samples, LABELS[:2])
    with pytest.raises(ValueError, match="no repeats"):
        measure_baselines([*samples, samples[0]], LABELS)
