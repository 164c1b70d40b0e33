"""Nothing but motion tells the class: classifiers are trained, subject-disjoint, on everything else.

The bound on a classifier at chance is the 99.9th percentile of the number of right guesses (binomial, p = 1/4). A weak
leak, of a few points, stays below it; each test is one draw of the generator, not a proof.
"""

import cv2
import numpy as np
import pytest
from scipy.stats import binom
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from micron_bert_hf.synthetic import DEFAULT_CLASSES, generate_micro_expressions
from micron_bert_hf.synthetic.expressions import CLASS_ACTION_UNITS, DURATION, sample_clip_plan, sample_temperament


NUM_SUBJECTS, CLIPS_PER_CLASS = 20, 2


@pytest.fixture(scope="session")
def benchmark_rows():
    return list(generate_micro_expressions(NUM_SUBJECTS, CLIPS_PER_CLASS, image_size=64, difficulty=0.7, seed=11))


def accuracies(features, labels, subjects):
    """Subject-disjoint accuracy of a linear model and of a forest on `(N, F)` features."""
    features = np.asarray(features, float).reshape(len(labels), -1)
    linear = [StandardScaler(), LogisticRegression(C=0.1, max_iter=500)]
    if features.shape[1] > 30:
        linear.insert(1, PCA(30, random_state=0))
    forest = RandomForestClassifier(80, min_samples_leaf=4, random_state=0)
    return [
        float((cross_val_predict(model, features, labels, groups=subjects, cv=GroupKFold(6)) == labels).mean())
        for model in (make_pipeline(*linear), forest)
    ]


def score(rows, feature):
    labels = np.array([row["label"] for row in rows])
    subjects = np.array([row["subject_id"] for row in rows])
    return accuracies([feature(row) for row in rows], labels, subjects)


def at_chance(count):
    return binom.ppf(0.999, count, 1 / len(DEFAULT_CLASSES)) / count


def grey(frame, size=None):
    image = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return image if size is None else cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)


def file_sizes(row):
    return [len(cv2.imencode(kind, row[name])[1]) for name in ("onset", "apex") for kind in (".png", ".jpg")]


def noise_level(row):
    return [cv2.Laplacian(grey(row[name])[:12], cv2.CV_32F).std() for name in ("onset", "apex")]


def brightness(row):
    onset, apex = row["onset"].astype(float), row["apex"].astype(float)
    return [*onset.mean((0, 1)), *onset.std((0, 1)), *(apex.mean((0, 1)) - onset.mean((0, 1)))]


def head_movement(row):
    rigid = (row["motion"] - row["expression_motion"])[row["face_mask"]]
    return [*np.median(rigid, 0), *rigid.std(0)]


def timing(row):
    return [row["apex_index"], row["offset_index"], row["true_apex_index"], row["fps"]]


def company(row):
    others = row["other_action_units"]
    return [others.get("43", (0, 0))[0], len(others), sum(left for left, _ in others.values())]


@pytest.mark.parametrize(
    "feature",
    [
        lambda row: grey(row["onset"], 16),
        lambda row: row["landmarks_onset"] - row["landmarks_onset"].mean(0),
        lambda row: row["landmarks_onset"].mean(0),
        brightness,
        file_sizes,
        noise_level,
        head_movement,
        timing,
        company,
        lambda row: [int(row["sample_id"].split("_")[1]), int(row["subject_id"][1:])],
    ],
    ids=[
        "onset appearance", "onset shape and pose", "place in the frame", "brightness", "file size", "noise level",
        "head movement", "timing", "blink and company", "order",
    ],
)  # fmt: skip
def test_class_does_not_leak(benchmark_rows, feature):
    linear, forest = score(benchmark_rows, feature)
    bound = at_chance(len(benchmark_rows))
    assert linear <= bound and forest <= bound, (linear, forest, bound)


def test_position_in_the_stream_does_not_leak(benchmark_rows):
    per_subject = len(benchmark_rows) // NUM_SUBJECTS
    places = {row["sample_id"]: index % per_subject for index, row in enumerate(benchmark_rows)}
    assert max(score(benchmark_rows, lambda row: [places[row["sample_id"]]])) <= at_chance(len(benchmark_rows))


@pytest.mark.parametrize("statistic", [np.mean, np.max])
def test_magnitude_of_the_motion_does_not_leak(benchmark_rows, statistic):
    def feature(row):
        length = np.hypot(*np.moveaxis(row["expression_motion"], -1, 0))[row["face_mask"]]
        return [np.log(statistic(length) + 1e-3)]

    assert max(score(benchmark_rows, feature)) <= at_chance(len(benchmark_rows))


def test_motion_does_tell_the_class(benchmark_rows):
    """The control: the same classifiers on the same samples find the class where it is."""
    linear, forest = score(benchmark_rows, lambda row: cv2.resize(row["expression_motion"], (12, 12)))
    assert max(linear, forest) > 0.55


def test_a_leak_would_be_found(benchmark_rows):
    """The control of the bound: durations that depend on the class a little are caught."""
    order = {name: place for place, name in enumerate(DEFAULT_CLASSES)}
    noise = np.random.default_rng(0)
    leaky = score(benchmark_rows, lambda row: [row["offset_index"] + 8 * order[row["label"]] + noise.normal()])
    assert max(leaky) > at_chance(len(benchmark_rows))


def test_timing_is_the_same_for_every_class():
    """Without rendering, so with many samples: the clip's frame numbers given the same draws."""
    plans = {}
    for label in CLASS_ACTION_UNITS:
        plans[label] = []
        for seed in range(300):
            rng = np.random.default_rng(seed)
            temperament = sample_temperament(rng, 0.7)
            plans[label].append(sample_clip_plan(rng, label, 0.7, 200, temperament, np.zeros(3)))
    means = {label: np.mean([plan.duration for plan in made]) for label, made in plans.items()}
    apexes = {label: np.mean([plan.true_apex_index for plan in made]) for label, made in plans.items()}
    assert np.ptp(list(means.values())) < 0.03
    assert np.ptp(list(apexes.values())) < 6
    for made in plans.values():
        assert all(DURATION[0] <= plan.duration <= DURATION[1] for plan in made)
        for plan in made:
            ends = [plan.lags[unit] + plan.rise + plan.fall for unit in plan.action_units]
            assert min(plan.lags.values()) >= 0 and max(ends) <= plan.duration + 1e-9
