"""UF1, UAR and what belongs beside them, in NumPy, from ONE confusion matrix pooled over all predictions.

MEGC2019 (See et al. 2019): sum TP, FP and FN of a class over all folds and only then form F1 = 2 TP / (2 TP + FP + FN)
and recall = TP / n; UF1 and UAR are their plain means over ALL classes of the label set. A class that occurs neither
in truth nor in prediction has F1 0, a class that never occurs in truth has recall 0: the guideline leaves both open,
and leaving such a class out of the mean, as circulating scorers do, raises the score. These are scikit-learn's macro
F1 and macro recall with `labels` fixed and `zero_division=0`; macro recall is its balanced accuracy when every class
occurs in truth.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np


def confusion_matrix(labels: Sequence[int], predictions: Sequence[int], num_labels: int) -> np.ndarray:
    """
    Count pairs of truth and prediction over a FIXED label set.

    Args:
        labels, predictions: class numbers in [0, num_labels), one per sample and in the same order.
        num_labels (`int`): size of the label set, whether or not every class occurs.

    Returns:
        `np.ndarray` of shape `(num_labels, num_labels)`, int64: row = truth, column = prediction.

    Raises:
        ValueError: no samples, different lengths, or a class outside the label set.
    """
    columns = {"labels": np.asarray(labels), "predictions": np.asarray(predictions)}
    truth, predicted = columns.values()
    if truth.ndim != 1 or truth.shape != predicted.shape or truth.size == 0:
        raise ValueError(
            f"Expected as many predictions as labels, at least one, got shapes {truth.shape} and {predicted.shape}."
        )
    for name, column in columns.items():
        if not np.issubdtype(column.dtype, np.integer):
            raise ValueError(f"`{name}` must be integers, got {column.dtype}.")
        if column.min() < 0 or column.max() >= num_labels:
            raise ValueError(f"`{name}` must lie in [0, {num_labels}), got {column.min()} to {column.max()}.")
    return np.bincount(truth * num_labels + predicted, minlength=num_labels**2).reshape(num_labels, num_labels)


def _quotient(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """0 / 0 = 0: the numerator is 0 wherever the denominator is."""
    return numerator / np.maximum(denominator, 1)


def _right(confusion: np.ndarray) -> np.ndarray:
    return np.diagonal(confusion, axis1=-2, axis2=-1)


def f1_per_class(confusion: np.ndarray) -> np.ndarray:
    """`2 TP / (2 TP + FP + FN)` of every class in [0, 1]: `(..., num_labels, num_labels)` to `(..., num_labels)`."""
    return _quotient(2 * _right(confusion), confusion.sum(axis=-2) + confusion.sum(axis=-1))


def recall_per_class(confusion: np.ndarray) -> np.ndarray:
    """`TP / n` of every class in [0, 1]: `(..., num_labels, num_labels)` to `(..., num_labels)`."""
    return _quotient(_right(confusion), confusion.sum(axis=-1))


def precision_per_class(confusion: np.ndarray) -> np.ndarray:
    """`TP / (TP + FP)` of every class in [0, 1]: `(..., num_labels, num_labels)` to `(..., num_labels)`."""
    return _quotient(_right(confusion), confusion.sum(axis=-2))


def uf1(confusion: np.ndarray) -> float:
    """Unweighted F1 in [0, 1]: mean F1 over all classes of the label set."""
    return float(f1_per_class(confusion).mean())


def uar(confusion: np.ndarray) -> float:
    """Unweighted average recall in [0, 1]: mean recall over all classes of the label set."""
    return float(recall_per_class(confusion).mean())


def accuracy(confusion: np.ndarray) -> float:
    """Share of right predictions in [0, 1]."""
    return float(np.trace(confusion) / confusion.sum())


def score(labels: Sequence[int], predictions: Sequence[int], label_names: Sequence[str]) -> dict[str, Any]:
    """
    All scores of a pooled set of predictions, ready for JSON.

    Args:
        labels, predictions: see [`confusion_matrix`].
        label_names: the fixed label set; position = class number.

    Returns:
        `{"uf1", "uar", "accuracy", "num_samples", "label_names", "confusion_matrix" (rows = truth), "per_class"}`;
        `per_class` maps a name to `{"f1", "recall", "precision", "num_samples", "num_predicted"}`.
    """
    confusion = confusion_matrix(labels, predictions, len(label_names))
    columns = zip(
        label_names,
        f1_per_class(confusion).tolist(),
        recall_per_class(confusion).tolist(),
        precision_per_class(confusion).tolist(),
        confusion.sum(axis=1).tolist(),
        confusion.sum(axis=0).tolist(),
    )
    return {
        "uf1": uf1(confusion),
        "uar": uar(confusion),
        "accuracy": accuracy(confusion),
        "num_samples": int(confusion.sum()),
        "label_names": list(label_names),
        "confusion_matrix": confusion.tolist(),
        "per_class": {
            name: {"f1": f1, "recall": recall, "precision": precision, "num_samples": true, "num_predicted": predicted}
            for name, f1, recall, precision, true, predicted in columns
        },
    }


def label_set(num_labels: int | None = None, label_names: Sequence[str] | None = None) -> tuple[str, ...]:
    """
    The fixed label set of a caller who may give its size or its names.

    Returns:
        The names; "0", "1", ... where only their number is given.

    Raises:
        ValueError: neither is given, both are and differ, the set is empty, or a name occurs twice.
    """
    if label_names is None:
        if num_labels is None:
            raise ValueError(
                "Expected `num_labels` or `label_names`: UF1 and UAR are means over a FIXED label set. Taken from the"
                " samples at hand, it would lack the classes that do not occur there, which raises the score."
            )
        label_names = [str(number) for number in range(num_labels)]
    if isinstance(label_names, str) or len(label_names) == 0 or len(set(label_names)) != len(label_names):
        raise ValueError(f"Expected one or more classes with different names, got {label_names!r}.")
    if num_labels not in (None, len(label_names)):
        raise ValueError(f"`num_labels` is {num_labels}, but `label_names` has {len(label_names)}: {label_names!r}.")
    return tuple(label_names)


def score_columns(
    predictions: Sequence[float],
    references: Sequence[float],
    num_labels: int | None = None,
    label_names: Sequence[str] | None = None,
) -> dict[str, Any]:
    """
    [`score`] of columns whose numbers lost their type on the way, as in `evaluate` modules.

    Args:
        predictions, references: class numbers, integers or floats of a whole value.
        num_labels, label_names: see [`label_set`].

    Raises:
        ValueError: what is not a whole number (a probability, say, where a class was meant), and whatever
            [`label_set`] and [`confusion_matrix`] refuse.
    """
    names = label_set(num_labels, label_names)
    columns = {}
    for name, column in (("references", references), ("predictions", predictions)):
        given = np.asarray(column, dtype=float)
        is_whole = given == np.rint(given)
        if not is_whole.all():
            raise ValueError(f"`{name}` must be class numbers, got {given[~is_whole][0]}.")
        columns[name] = given.astype(np.int64)
    return score(columns["references"], columns["predictions"], names)


def majority_baseline(
    train_labels: Sequence[int], test_labels: Sequence[int], label_names: Sequence[str]
) -> dict[str, Any]:
    """
    [`score`] of always predicting the class most frequent among the TRAINING labels (the first of those, if several
    are), with its name under `"prediction"`.
    """
    counts = np.bincount(np.asarray(train_labels), minlength=len(label_names))
    majority = int(counts.argmax())
    scores = score(test_labels, [majority] * len(test_labels), label_names)
    return {"prediction": label_names[majority], **scores}
