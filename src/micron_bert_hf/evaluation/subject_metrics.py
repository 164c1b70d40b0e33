"""How sure is a score, and does one method really beat another? The unit is the person, in NumPy.

Clips of one person are not independent, so whole people are resampled or swapped, never clips. All functions take one
confusion matrix a person (`subject_confusions`); over several seeds the metric is formed for each seed and averaged,
and a person is drawn or swapped in all seeds together.
"""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from .metrics import confusion_matrix, f1_per_class, recall_per_class


# Percentiles of a 95 % interval.
_INTERVAL = [2.5, 97.5]
# Two differences that are equal on paper may differ by rounding; two that are not differ by far more, since they are
# fractions of counts (ours).
_ROUNDING = 1e-12


def subject_confusions(
    subjects: Sequence[Hashable], labels: Sequence[int], predictions: Sequence[int], num_labels: int
) -> tuple[tuple[Any, ...], np.ndarray]:
    """
    One confusion matrix a person.

    Args:
        subjects: who each sample shows; a name, or `(dataset, subject_id)` where datasets share names.
        labels, predictions, num_labels: see [`confusion_matrix`].

    Returns:
        `(people, confusions)`: the people in their order of sorting, and `(num_subjects, num_labels, num_labels)`
        int64. The order of the samples does not matter.

    Raises:
        ValueError: other lengths, and what [`confusion_matrix`] refuses.
    """
    if not len(subjects) == len(labels) == len(predictions):
        raise ValueError(
            f"Expected one subject, label and prediction a sample, got {len(subjects)}, {len(labels)} and"
            f" {len(predictions)}."
        )
    people = tuple(sorted(set(subjects)))
    number_of = {person: number for number, person in enumerate(people)}
    place = np.array([number_of[person] for person in subjects])
    truth, predicted = np.asarray(labels), np.asarray(predictions)
    return people, np.array(
        [
            confusion_matrix(truth[place == number], predicted[place == number], num_labels)
            for number in range(len(people))
        ]
    )


def bootstrap_intervals(confusions: np.ndarray, num_samples: int = 1000, seed: int = 0) -> dict[str, list[float]]:
    """
    95 % percentile intervals of UF1 and UAR over resampled people (Efron and Tibshirani, An Introduction to the
    Bootstrap, 1993, chapter 13).

    Args:
        confusions (`np.ndarray` of shape `(num_subjects, num_labels, num_labels)`): confusion matrix of each person;
            `(num_seeds, num_subjects, num_labels, num_labels)` for the mean over seeds.
        num_samples: resamples.
        seed: of the resampling.

    Returns:
        `{"uf1_interval": [low, high], "uar_interval": [low, high]}`.

    Raises:
        ValueError: another shape, or no person.
    """
    confusions = _with_seeds(confusions)
    pooled = _draw_people(confusions.shape[1], num_samples, seed) @ _flat(confusions)
    pooled = pooled.reshape(num_samples, *confusions.shape[:1], *confusions.shape[2:])
    return {
        "uf1_interval": np.percentile(_mean_over_seeds(f1_per_class(pooled)), _INTERVAL).tolist(),
        "uar_interval": np.percentile(_mean_over_seeds(recall_per_class(pooled)), _INTERVAL).tolist(),
    }


def paired_comparison(
    confusions: np.ndarray, other_confusions: np.ndarray, num_resamples: int = 10_000, seed: int = 0
) -> dict[str, Any]:
    """
    The difference of two methods' UF1 on the same samples, with a 95 % interval and a p-value, both paired by person.

    The interval is the percentile bootstrap of the difference over resampled people, both methods on the same ones.
    The p-value is that of approximate randomization (Noreen, Computer-Intensive Methods for Testing Hypotheses, 1989;
    for F-scores Yeh, COLING 2000): were the methods alike, whose prediction is whose would not matter, so for every
    person the two methods' predictions are swapped with probability 1/2 and the pooled difference `d*` is formed anew;
    two-sided `p = (1 + #{|d*| >= |d|}) / (1 + num_resamples)`.

    Args:
        confusions, other_confusions: see [`bootstrap_intervals`], of one shape, over the same people in the same
            order, with the same true labels.
        num_resamples: resamples, and swaps.
        seed: of both.

    Returns:
        `{"uf1_difference" (the first's minus the other's), "uf1_difference_interval" ([low, high]), "p_value",
        "num_subjects", "num_seeds", "num_resamples"}`.

    Raises:
        ValueError: shapes that differ, or true labels that do.
    """
    first, other = _with_seeds(confusions), _with_seeds(other_confusions)
    if first.shape != other.shape:
        raise ValueError(f"Expected two methods on the same people and seeds, got {first.shape} and {other.shape}.")
    truth = np.concatenate([first, other]).sum(axis=-1)
    differing = (truth != truth[:1]).any(axis=(0, 2))
    if differing.any():
        raise ValueError(
            "Expected both methods to answer for the same samples, in every seed, but the true classes differ for"
            f" person {differing.argmax()}: {np.unique(truth[:, differing.argmax()], axis=0).tolist()} a class."
        )
    num_seeds, num_subjects, num_labels, _ = first.shape
    shape = (num_resamples, num_seeds, num_labels, num_labels)

    def difference(pooled: np.ndarray, other_pooled: np.ndarray) -> np.ndarray:
        return _mean_over_seeds(f1_per_class(pooled)) - _mean_over_seeds(f1_per_class(other_pooled))

    observed = float(difference(first.sum(axis=1)[None], other.sum(axis=1)[None])[0])
    drawn = _draw_people(num_subjects, num_resamples, seed)
    resampled = difference((drawn @ _flat(first)).reshape(shape), (drawn @ _flat(other)).reshape(shape))

    # a stream of its own: the swaps must not depend on how many people were drawn before
    is_swapped = np.random.default_rng([seed, 1]).integers(2, size=(num_resamples, num_subjects))
    moved = (is_swapped.astype(float) @ _flat(other - first)).reshape(shape)
    swapped = difference(first.sum(axis=1) + moved, other.sum(axis=1) - moved)
    num_as_large = int((np.abs(swapped) >= abs(observed) - _ROUNDING).sum())
    return {
        "uf1_difference": observed,
        "uf1_difference_interval": np.percentile(resampled, _INTERVAL).tolist(),
        "p_value": (1 + num_as_large) / (1 + num_resamples),
        "num_subjects": num_subjects,
        "num_seeds": num_seeds,
        "num_resamples": num_resamples,
    }


def _with_seeds(confusions: np.ndarray) -> np.ndarray:
    """`(num_seeds, num_subjects, num_labels, num_labels)`, one seed where there was no axis of them."""
    confusions = np.asarray(confusions)
    with_seeds = confusions[None] if confusions.ndim == 3 else confusions
    if with_seeds.ndim != 4 or with_seeds.size == 0 or with_seeds.shape[2] != with_seeds.shape[3]:
        raise ValueError(
            "Expected confusion matrices (num_subjects, num_labels, num_labels) of at least one person, with or"
            f" without a leading axis of seeds, got {confusions.shape}."
        )
    return with_seeds


def _draw_people(num_subjects: int, num_samples: int, seed: int) -> np.ndarray:
    """How often each person is drawn, `(num_samples, num_subjects)` float64; rows of sum `num_subjects`."""
    drawn = np.random.default_rng(seed).integers(num_subjects, size=(num_samples, num_subjects))
    rows = np.repeat(np.arange(num_samples), num_subjects)
    counts = np.bincount(rows * num_subjects + drawn.ravel(), minlength=num_samples * num_subjects)
    # float: matrices of integers are multiplied without BLAS; counts are exact in either
    return counts.reshape(num_samples, num_subjects).astype(float)


def _flat(confusions: np.ndarray) -> np.ndarray:
    """`(num_subjects, num_seeds * num_labels * num_labels)`: a row a person."""
    return np.moveaxis(confusions, 1, 0).reshape(confusions.shape[1], -1).astype(float)


def _mean_over_seeds(per_class: np.ndarray) -> np.ndarray:
    """`(..., num_seeds, num_labels)` to `(...)`: the mean over classes is the metric, then over seeds."""
    return per_class.mean(axis=-1).mean(axis=-1)
