"""Metrics against scikit-learn, hand-worked cases and the known numbers of constant predictors."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score, recall_score
from sklearn.metrics import confusion_matrix as sklearn_confusion

from micron_bert_hf.evaluation import accuracy, confusion_matrix, majority_baseline, score, uar, uf1


# Samples per class, and UF1 and accuracy of always naming the largest. MEGC2019: negative, positive, surprise
CONSTANT_PREDICTORS = {
    "MEGC2019 composite": ((250, 109, 83), 0.2408, 0.5656),
    "CASME II, 3 classes": ((88, 32, 25), 0.2518, 88 / 145),
    "SAMM, 3 classes": ((92, 26, 15), 0.2726, 92 / 133),
    "SMIC-HS": ((70, 51, 43), 0.1994, 70 / 164),
}


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
    labels = np.repeat(range(3), counts)
    baseline = majority_baseline(labels, labels, ("negative", "positive", "surprise"))
    assert baseline["prediction"] == "negative"
    assert baseline["uf1"] == pytest.approx(expected_uf1, abs=5e-5)
    assert baseline["uar"] == pytest.approx(1 / 3)
    assert baseline["accuracy"] == pytest.approx(expected_accuracy, abs=5e-5)


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
