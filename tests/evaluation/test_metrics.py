"""Metrics against scikit-learn, hand-worked cases and the known numbers of constant predictors."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score, recall_score
from sklearn.metrics import confusion_matrix as sklearn_confusion

from micron_bert_hf.evaluation.metrics import (
    accuracy,
    confusion_matrix,
    f1_per_class,
    label_set,
    majority_baseline,
    precision_per_class,
    recall_per_class,
    score,
    score_columns,
    uar,
    uf1,
)


# Samples per class, and UF1 and accuracy of always naming the largest. Three classes: negative, positive, surprise
CONSTANT_PREDICTORS = {
    "MEGC2019 composite": ((250, 109, 83), 0.2408, 0.5656),
    "CASME II, 3 classes": ((88, 32, 25), 0.2518, 88 / 145),
    "SAMM, 3 classes": ((92, 26, 15), 0.2726, 92 / 133),
    "SMIC-HS": ((70, 51, 43), 0.1994, 70 / 164),
    "CASME II, 5 classes": ((99, 63, 32, 27, 25), 0.1148, 0.4024),
    "SAMM, 5 classes": ((57, 26, 26, 15, 12), 0.1181, 57 / 136),
    "CAS(ME)^3, 7 classes": ((250, 187, 161, 86, 64, 57, 55), 0.0644, 250 / 860),
    "CAS(ME)^3, 4 classes": ((457, 187, 161, 55), 0.1735, 457 / 860),
    "CAS(ME)^3, 3 classes": ((457, 55, 187), 0.2636, 457 / 699),
}
COMPOSITE = ("SMIC-HS", "CASME II, 3 classes", "SAMM, 3 classes")


def table(seed, num_labels=5, size=40):
    random = np.random.default_rng(seed)
    # a random choice of classes on either side, so that some are absent from truth, from prediction, or from both
    truth, predicted = (random.choice(num_labels, random.integers(1, num_labels + 1), replace=False) for _ in range(2))
    return random.choice(truth, size), random.choice(predicted, size)


@pytest.mark.parametrize("seed", range(50))
def test_equal_to_scikit_learn_with_a_fixed_label_set(seed):
    labels, predictions = table(seed)
    confusion = confusion_matrix(labels, predictions, 5)
    fixed = {"labels": range(5), "average": "macro", "zero_division": 0}
    np.testing.assert_array_equal(confusion, sklearn_confusion(labels, predictions, labels=range(5)))
    assert uf1(confusion) == pytest.approx(f1_score(labels, predictions, **fixed), abs=1e-15)
    assert uar(confusion) == pytest.approx(recall_score(labels, predictions, **fixed), abs=1e-15)
    assert accuracy(confusion) == pytest.approx((labels == predictions).mean(), abs=1e-15)
    if set(labels) == set(range(5)):
        assert uar(confusion) == pytest.approx(balanced_accuracy_score(labels, predictions), abs=1e-15)


def test_the_random_tables_do_lack_classes():
    """Negative control of the test above: its tables contain every kind of absence, and a full one."""
    tables = [table(seed) for seed in range(50)]
    assert any(set(range(5)) - set(labels) - set(predictions) for labels, predictions in tables)
    assert any(set(predictions) - set(labels) for labels, predictions in tables)
    assert any(set(labels) == set(range(5)) for labels, _ in tables)


def test_an_absent_class_is_not_left_out_of_the_mean():
    assert uf1(confusion_matrix([0, 0, 1], [0, 0, 1], 2)) == 1.0
    confusion = confusion_matrix([0, 0, 1], [0, 0, 1], 3)
    assert uf1(confusion) == pytest.approx(2 / 3) and uar(confusion) == pytest.approx(2 / 3)


@pytest.mark.parametrize("name", CONSTANT_PREDICTORS)
def test_constant_predictors_give_their_known_numbers(name):
    counts, expected_uf1, expected_accuracy = CONSTANT_PREDICTORS[name]
    names = [f"class {number}" for number in range(len(counts))]
    labels = np.repeat(range(len(counts)), counts)
    baseline = majority_baseline(labels, labels, names)
    assert baseline["prediction"] == "class 0"
    assert baseline["uf1"] == pytest.approx(expected_uf1, abs=5e-5)
    assert baseline["uar"] == pytest.approx(1 / len(counts))
    assert baseline["accuracy"] == pytest.approx(expected_accuracy, abs=5e-5)


def composite():
    """Labels of the shape of the composite's list, `(442,)`, and the database of each."""
    labels = [np.repeat(range(3), CONSTANT_PREDICTORS[name][0]) for name in COMPOSITE]
    return np.concatenate(labels), np.repeat(COMPOSITE, [len(part) for part in labels])


def test_the_databases_of_the_composite_are_scored_from_the_same_predictions():
    labels, databases = composite()
    constant = np.zeros_like(labels)
    assert np.bincount(labels).tolist() == [250, 109, 83]
    assert uf1(confusion_matrix(labels, constant, 3)) == pytest.approx(0.2408, abs=5e-5)
    confusions = []
    for name in COMPOSITE:
        confusions.append(confusion_matrix(labels[databases == name], constant[databases == name], 3))
        assert uf1(confusions[-1]) == pytest.approx(CONSTANT_PREDICTORS[name][1], abs=5e-5)
    np.testing.assert_array_equal(sum(confusions), confusion_matrix(labels, constant, 3))


def test_guessing_is_at_chance_and_choosing_the_epoch_of_each_held_out_person_is_the_trap():
    """
    Labels drawn from the prior score about a third. The same guesses pass 0.7 once every held-out person keeps that of
    100 "epochs" in which it was guessed best. Worked by hand here: no way to do so is offered. How many samples a
    person has is made up.
    """
    random = np.random.default_rng(0)
    labels = random.permutation(composite()[0])
    people = np.concatenate([np.arange(68), random.choice(68, 442 - 68, p=random.dirichlet(np.ones(68)))])
    guesses = random.choice(3, (100, 442), p=np.bincount(labels) / 442)
    scores = [uf1(confusion_matrix(labels, guess, 3)) for guess in guesses]
    assert 0.32 < np.mean(scores) < 0.35 and np.max(scores) < 0.42
    leaky = np.empty_like(labels)
    for person in range(68):
        own = people == person
        best_epoch = (guesses[:, own] == labels[own]).sum(axis=1).argmax()
        leaky[own] = guesses[best_epoch, own]
    assert uf1(confusion_matrix(labels, leaky, 3)) > 0.7


def test_the_majority_is_that_of_the_training_labels():
    baseline = majority_baseline([1, 1, 0], [0, 0, 0, 1], ("a", "b"))
    assert baseline["prediction"] == "b" and baseline["accuracy"] == 0.25


def test_the_score_is_worked_by_hand():
    result = score([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 0, 1], ("a", "b", "c"))
    assert result["confusion_matrix"] == [[2, 1, 0], [1, 1, 0], [0, 1, 0]]
    assert result["per_class"]["a"] == {
        "f1": pytest.approx(4 / 6),
        "recall": pytest.approx(2 / 3),
        "precision": pytest.approx(2 / 3),
        "num_samples": 3,
        "num_predicted": 3,
    }
    assert result["per_class"]["c"]["f1"] == 0 and result["per_class"]["c"]["precision"] == 0
    assert result["uf1"] == pytest.approx((4 / 6 + 2 / 5 + 0) / 3)
    assert result["uar"] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert result["accuracy"] == 0.5 and result["num_samples"] == 6


def test_pooling_is_not_averaging_over_folds():
    """The mean of the folds' UF1 is another number: each fold lacks a class."""
    folds = [([0, 0], [0, 0]), ([1, 1], [1, 0])]
    pooled = score([0, 0, 1, 1], [0, 0, 1, 0], ("a", "b"))["uf1"]
    averaged = np.mean([score(labels, predictions, ("a", "b"))["uf1"] for labels, predictions in folds])
    assert pooled == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert averaged != pytest.approx(pooled, abs=0.1)


@pytest.mark.parametrize(
    ("labels", "predictions", "message"),
    [
        ([], [], "at least one"),
        ([0, 1], [0], r"\(2,\) and \(1,\)"),
        ([0, 3], [0, 1], r"`labels` must lie in \[0, 3\), got 0 to 3"),
        ([0, 1], [0, -1], r"`predictions` must lie in \[0, 3\)"),
        ([0.0, 1.0], [0, 1], "integers, got float64"),
    ],
)
def test_bad_columns_are_named(labels, predictions, message):
    with pytest.raises(ValueError, match=message):
        confusion_matrix(labels, predictions, 3)


def test_many_matrices_at_once_are_each_by_itself():
    confusions = np.random.default_rng(0).integers(0, 5, (2, 3, 4, 4))
    for per_class in (f1_per_class, recall_per_class, precision_per_class):
        together = per_class(confusions)
        for place in np.ndindex(2, 3):
            np.testing.assert_array_equal(together[place], per_class(confusions[place]))


def test_columns_of_floats_are_scored_if_they_are_class_numbers():
    names = ("a", "b", "c")
    assert score_columns([0.0, 1.0, 1.0], [0, 2, 1], label_names=names) == score([0, 2, 1], [0, 1, 1], names)
    assert score_columns([0, 1], [0, 1], 2)["label_names"] == ["0", "1"]
    for value in (0.7, np.nan):
        with pytest.raises(ValueError, match=f"`predictions` must be class numbers, got {value}"):
            score_columns([0.0, value], [0, 1], 2)


@pytest.mark.parametrize(
    ("num_labels", "label_names", "message"),
    [
        (None, None, "FIXED label set.*raises the score"),
        (0, None, r"one or more classes"),
        (None, [], r"one or more classes"),
        (None, ["a", "b", "a"], r"different names"),
        (None, "abc", r"different names, got 'abc'"),
        (3, ["a", "b"], r"`num_labels` is 3, but `label_names` has 2"),
    ],
)
def test_a_label_set_that_is_none_is_refused(num_labels, label_names, message):
    with pytest.raises(ValueError, match=message):
        label_set(num_labels, label_names)
