"""Baselines: folds by subject, closed forms, and that each sees the face and nothing else."""

import numpy as np
import pytest

from micron_bert_hf.synthetic import LANDMARK_NAMES
from micron_bert_hf.synthetic.baselines import (
    BASELINES,
    MAX_FOLDS,
    TooFewToCompare,
    evaluation_row,
    measure_baselines,
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
    """Without s0: down is frequent; without s1 or s2: right, 3 to 2. And rows without motion have no true flow."""
    generator = np.random.default_rng(1)
    kinds = [("s0", "right")] * 3 + [("s1", "down")] * 2 + [("s2", "down")] * 2
    samples = [make_sample(subject, number, label, generator) for number, (subject, label) in enumerate(kinds)]
    for sample in samples:
        del sample["motion"]
    scores = measure_baselines(samples, ("right", "down"))["baselines"]
    assert scores["majority"]["confusion_matrix"] == [[0, 3], [4, 0]]
    assert set(scores) == set(BASELINES) - {"true_flow"}


@pytest.mark.parametrize("num_subjects", [2, 7, MAX_FOLDS + 11])
def test_folds_share_no_subject_and_test_every_sample_once(num_subjects):
    subjects = np.array([f"s{number % num_subjects}" for number in range(3 * num_subjects)])
    folds = subject_folds(subjects)
    assert len(folds) == min(num_subjects, MAX_FOLDS)
    for train, test in folds:
        assert not set(subjects[train]) & set(subjects[test])
    assert sorted(np.concatenate([test for _, test in folds])) == list(range(len(subjects)))


def test_methods_see_the_frames_and_the_face_alone(samples):
    row = evaluation_row(samples[1])
    assert set(row) == {"onset", "apex", "motion", "face_box"}
    assert row["face_box"] == (7, 7, 57, 59)
    outside = {**samples[1], "landmarks_onset": samples[1]["landmarks_onset"] + 100}
    with pytest.raises(ValueError, match="no box"):
        evaluation_row(outside)


def test_one_subject_or_one_class_is_refused(samples):
    with pytest.raises(TooFewToCompare, match="1 subject"):
        measure_baselines(samples[:3], LABELS)
    with pytest.raises(TooFewToCompare, match="1 class"):
        measure_baselines(samples[::3], LABELS)
    with pytest.raises(ValueError, match="'down'"):
        measure_baselines(samples, LABELS[:2])
    with pytest.raises(ValueError, match="no repeats"):
        measure_baselines([*samples, samples[0]], LABELS)
