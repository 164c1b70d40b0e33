"""Reference methods: what each sees, that it learns from other people, and that its scores say what it predicts."""

import json
import pickle

import numpy as np
import pytest
import torch
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torch import nn

from micron_bert_hf.data import SeenPeople
from micron_bert_hf.evaluation.methods import TrainingPairs
from micron_bert_hf.evaluation.reference_methods import (
    REFERENCE_METHODS,
    SVM_C,
    DisFlow,
    DisFlowMirrored,
    FrameDifference,
    MajorityClass,
    OnsetAppearance,
    StstNet,
    TrueFlow,
    mirror_flow,
    optical_strain,
)
from micron_bert_hf.synthetic import generate_micro_expressions
from micron_bert_hf.synthetic.baselines import evaluation_row


LABELS = ("happiness", "surprise")
SHAPES = {
    "majority": (0,),
    "onset_appearance": (100,),
    "frame_difference": (100,),
    "dis_flow": (200,),
    "dis_flow_mirrored": (200,),
    "true_flow": (200,),
    "ststnet": (3, 28, 28),
}


@pytest.fixture(scope="module")
def samples():
    """Four people, each with three clips of either class, as clear as they come."""
    return list(generate_micro_expressions(4, 3, image_size=96, difficulty=0, seed=5, classes=LABELS))


@pytest.fixture(scope="module")
def rows(samples):
    """Without labels."""
    return [evaluation_row(sample) for sample in samples]


@pytest.fixture(scope="module")
def halves(samples):
    """`(learnt from, asked)` positions, either way round; nobody is on both sides."""
    subjects = np.array([sample["subject_id"] for sample in samples])
    first = np.isin(subjects, sorted(set(subjects))[:2])
    return [(np.flatnonzero(first), np.flatnonzero(~first)), (np.flatnonzero(~first), np.flatnonzero(first))]


def make_pairs(inputs, labels, label_names=LABELS):
    ids = tuple(f"s{number}" for number in range(len(labels)))
    return TrainingPairs(np.asarray(inputs), np.asarray(labels, np.int64), ids, ids, tuple(label_names))


@pytest.mark.parametrize("key", REFERENCE_METHODS)
def test_each_says_what_it_is(key):
    method = pickle.loads(pickle.dumps(REFERENCE_METHODS[key]))()
    assert method.needs_motion == (key == "true_flow") and method.uses_seed == (key == "ststnet")
    assert method.seen_people() == SeenPeople() and method.check(("one", "two", "three")) is None
    assert json.loads(json.dumps(method.identity(("a", "b")))) == method.identity(("a", "b"))
    names = [make().name for make in REFERENCE_METHODS.values()]
    assert len(set(names)) == len(names)
    assert DisFlow().identity(("a", "b")) != DisFlowMirrored().identity(("a", "b"))


@pytest.mark.parametrize("key", REFERENCE_METHODS)
def test_scores_of_other_people_are_probabilities_and_repeatable(key, rows, samples, halves):
    method = REFERENCE_METHODS[key]()
    inputs = np.stack([method.prepare(row) for row in rows])
    assert inputs.dtype == np.float32 and inputs.shape == (len(rows), *SHAPES[key])
    np.testing.assert_array_equal(inputs[:3], np.stack([method.prepare(row) for row in rows[:3]]))
    labels = np.array([LABELS.index(sample["label"]) for sample in samples])
    num_right = 0
    for learnt, asked in halves:
        train = make_pairs(inputs[learnt], labels[learnt])
        scores = method.fit(train, seed=0)(inputs[asked])
        assert scores.shape == (len(asked), 2) and (scores >= 0).all()
        np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-12)
        num_right += (scores.argmax(axis=1) == labels[asked]).sum()
    np.testing.assert_array_equal(method.fit(train, seed=0)(inputs[asked]), scores)
    assert (method.fit(train, seed=1)(inputs[asked]) != scores).any() == method.uses_seed
    # of one pair alone the answer is what it is among others
    np.testing.assert_allclose(method.fit(train, seed=0)(inputs[asked[:1]]), scores[:1], atol=1e-6)
    # by guessing, 18 or more of 24 are right once in 88 times
    if key in ("dis_flow", "dis_flow_mirrored", "true_flow", "ststnet"):
        assert num_right >= 18
    if key in ("majority", "onset_appearance"):
        assert num_right < 18


def test_each_sees_what_its_name_says(rows):
    row = rows[1]
    still = {**row, "apex": row["onset"]}
    for method, sees_apex in ((OnsetAppearance(), False), (TrueFlow(), False), (FrameDifference(), True)):
        assert (method.prepare(still) != method.prepare(row)).any() == sees_apex
    assert not FrameDifference().prepare(still).any()
    for method in (DisFlow(), StstNet()):
        assert np.abs(method.prepare(still)).max() < 1e-3 < np.abs(method.prepare(row)).max()
    # mean grey is aligned: light that changes evenly is no difference
    brighter = {**row, "onset": row["onset"] // 2, "apex": row["onset"] // 2 + 20}
    assert np.abs(FrameDifference().prepare(brighter)).max() < 1e-3


def test_flow_ignores_a_movement_of_the_whole_face(rows):
    row = rows[1]
    moved = {**row, "motion": row["motion"] + np.float32([0.75, -1.5])}
    np.testing.assert_allclose(TrueFlow().prepare(moved), TrueFlow().prepare(row), atol=1e-5)


def test_all_look_at_the_box_or_at_the_whole_frame(rows):
    row = rows[1]
    left, top, right, bottom = row["face_box"]
    assert top > 0 and bottom < 96
    changed = {name: row[name].copy() for name in ("onset", "apex", "motion")}
    for image in changed.values():
        image[:top] = 0
        image[bottom:] = 0
    height, width = row["onset"].shape[:2]
    for method in (OnsetAppearance(), FrameDifference(), TrueFlow()):
        np.testing.assert_array_equal(method.prepare({**row, **changed}), method.prepare(row))
    for make in REFERENCE_METHODS.values():
        whole = make().prepare({**row, "face_box": None})
        np.testing.assert_array_equal(whole, make().prepare({**row, "face_box": (0, 0, width, height)}))
        assert whole.size == 0 or (whole != make().prepare(row)).any()


def test_mirrored_flow_is_that_of_mirrored_frames(rows):
    """Exactly so of exact motion. DIS treats left and right nearly alike, where a movement is as clear as here."""
    for row in rows[:6]:
        left, top, right, bottom = row["face_box"]
        width = row["onset"].shape[1]
        mirrored = {
            "onset": row["onset"][:, ::-1],
            "apex": row["apex"][:, ::-1],
            "motion": row["motion"][:, ::-1] * np.float32([-1, 1]),
            "face_box": (width - right, top, width - left, bottom),
        }
        exact = TrueFlow().prepare(mirrored)
        np.testing.assert_allclose(mirror_flow(TrueFlow().prepare(row)[None])[0], exact, atol=1e-5)
        vector, expected = DisFlow().prepare(row), DisFlow().prepare(mirrored)
        error, error_unmirrored = (
            np.linalg.norm(found - expected) / np.linalg.norm(expected)
            for found in (mirror_flow(vector[None])[0], vector)
        )
        assert error < 0.2 and error < error_unmirrored / 3
        np.testing.assert_array_equal(mirror_flow(mirror_flow(vector[None]))[0], vector)


def test_mirrored_pairs_are_learnt_too():
    """All training faces move their left half; on faces that move their right half alone the plain SVM guesses."""
    generator = np.random.default_rng(0)
    labels = np.arange(40) % 2
    grid = generator.normal(0, 0.1, (40, 10, 10, 2)).astype(np.float32)
    grid[:, :, :4, 1] += np.where(labels == 1, 1, -1)[:, None, None]
    train, asked = make_pairs(grid.reshape(40, -1), labels), mirror_flow(grid.reshape(40, -1))
    assert (DisFlowMirrored().fit(train, 0)(asked).argmax(axis=1) == labels).all()
    assert (DisFlow().fit(train, 0)(asked).argmax(axis=1) == labels).mean() < 0.8


@pytest.mark.parametrize("present", [(0, 1), (1, 3), (0, 2, 3), (0, 1, 2, 3, 4)])
def test_the_largest_score_of_an_svm_is_its_prediction(present):
    generator = np.random.default_rng(len(present))
    labels = generator.permutation(np.resize(present, 60))
    inputs, asked = (generator.normal(size=(number, 4)).astype(np.float32) for number in (60, 500))
    asked[0] = 0
    oracle = make_pipeline(StandardScaler(), SVC(C=SVM_C, class_weight="balanced")).fit(inputs, labels)
    scores = TrueFlow().fit(make_pairs(inputs, labels, "abcde"), 0)(asked)
    np.testing.assert_array_equal(scores.argmax(axis=1), oracle.predict(asked))
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-12)
    assert not scores[:, [label for label in range(5) if label not in present]].any()
    decision = oracle.decision_function(asked)
    if len(present) > 2:  # decision values alone would say otherwise of some; of the others they decide
        agree = np.array(present)[decision.argmax(axis=1)] == oracle.predict(asked)
        assert 0 < (~agree).sum() < 100
        expected = np.exp(decision) / np.exp(decision).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(scores[agree][:, present], expected[agree])
    else:
        np.testing.assert_allclose(scores[:, present[1]], 1 / (1 + np.exp(-decision)))


def test_an_svm_that_can_tell_nothing_still_agrees_with_itself():
    inputs, labels = np.zeros((9, 4), np.float32), np.resize([0, 1, 2], 9)
    oracle = make_pipeline(StandardScaler(), SVC(C=SVM_C, class_weight="balanced")).fit(inputs, labels)
    scores = TrueFlow().fit(make_pairs(inputs, labels, "abc"), 0)(inputs)
    np.testing.assert_array_equal(scores.argmax(axis=1), oracle.predict(inputs))


def test_majority_scores_are_the_shares_of_the_training_classes():
    scores = MajorityClass().fit(make_pairs(np.empty((5, 0)), [2, 2, 1, 0, 1], "abcd"), 0)(np.empty((2, 0)))
    assert scores.tolist() == [[0.2, 0.4, 0.4, 0.0]] * 2  # b, the first of the two most frequent


@pytest.mark.parametrize("key", REFERENCE_METHODS)
def test_of_one_class_nothing_else_is_learnt(key):
    inputs = np.random.default_rng(0).normal(size=(8, *SHAPES[key])).astype(np.float32)
    scores = REFERENCE_METHODS[key]().fit(make_pairs(inputs, [1] * 8, "abc"), 0)(inputs)
    assert (scores.argmax(axis=1) == 1).all()


def test_strain_by_closed_forms():
    y, x = np.mgrid[:6, :5].astype(np.float32)
    for flow, expected in (
        ((2 + 0 * x, 3 + 0 * y), 0),  # moved
        ((-0.5 * y, 0.5 * x), 0),  # turned
        ((0.3 * x, -0.4 * y), 0.5),  # stretched and squeezed
        ((0.2 * y, 0 * x), 0.2 / np.sqrt(2)),  # sheared
    ):
        strain = optical_strain(np.dstack(flow))
        assert strain.dtype == np.float32 and strain.shape == (6, 5)
        np.testing.assert_allclose(strain, expected, atol=1e-6)


def test_network_sees_flow_in_widths_of_the_box_and_its_strain(rows):
    row = rows[1]
    left, _, right, _ = row["face_box"]
    inputs = StstNet().prepare(row)
    vector = DisFlow().prepare(row).reshape(10, 10, 2)
    # means over the box of the same flow
    np.testing.assert_allclose(inputs[:2].mean(axis=(1, 2)) * (right - left), vector.mean(axis=(0, 1)), atol=1e-4)
    assert (inputs[2] >= 0).all()


def test_one_convolution_of_16_filters_is_three_streams():
    torch.manual_seed(0)
    network = StstNet().network(num_labels=3)
    convolution, normalisation, linear = network[0], network[2], network[-1]
    nn.init.normal_(normalisation.weight)  # of either sign
    pictures = torch.randn(4, 3, 28, 28)
    network.train()(pictures)  # running statistics other than those it starts with
    network.eval()
    streams, start = [], 0
    for filters in (3, 5, 8):
        part = slice(start, start + filters)
        stream = nn.functional.conv2d(pictures, convolution.weight[part], convolution.bias[part], padding=2).relu()
        stream = nn.functional.batch_norm(
            stream,
            normalisation.running_mean[part],
            normalisation.running_var[part],
            normalisation.weight[part],
            normalisation.bias[part],
        )
        streams.append(nn.functional.max_pool2d(stream, 3, stride=3, padding=1))
        start += filters
    pooled = nn.functional.avg_pool2d(torch.cat(streams, dim=1), 2)
    assert pooled.shape == (4, 16, 5, 5)
    torch.testing.assert_close(network(pictures), linear(pooled.flatten(1)))


def test_network_leaves_torch_as_it_was():
    inputs = np.random.default_rng(0).normal(size=(8, 3, 28, 28)).astype(np.float32)
    pairs = make_pairs(inputs, [0, 1] * 4)
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(2)
    try:
        predictor = StstNet().fit(pairs, seed=3)
        scores = predictor(inputs)
        assert torch.get_num_threads() == 2
        assert torch.equal(torch.get_rng_state(), state)
        assert torch.is_grad_enabled()
    finally:
        torch.set_num_threads(threads)
    torch.rand(7)  # what others drew does not matter
    np.testing.assert_array_equal(StstNet().fit(pairs, seed=3)(inputs), scores)


def test_network_weighs_classes_alike():
    """Every picture is three times of one class and once of the other: what is left is no preference, not 3 : 1."""

    class Quick(StstNet):
        BATCH_SIZE = 32
        LEARNING_RATE = 1e-3

    pictures = np.random.default_rng(0).normal(size=(8, 3, 28, 28)).astype(np.float32)
    pairs = make_pairs(np.repeat(pictures, 4, axis=0), [0, 0, 0, 1] * 8)
    scores = Quick().fit(pairs, seed=0)(pictures)
    np.testing.assert_allclose(scores.mean(axis=0), [0.5, 0.5], atol=0.1)


def test_network_survives_stillness():
    still = np.zeros((4, 3, 28, 28), np.float32)
    assert np.isfinite(StstNet().fit(make_pairs(still, [0, 1, 0, 1]), seed=0)(still)).all()
