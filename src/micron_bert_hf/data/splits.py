"""Splits by person: a subject is either learnt from or tested on, never both."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class SubjectSplit:
    """
    Rows to learn from and rows to test on, with no subject in both.

    Args:
        train_indices, test_indices (`tuple[int, ...]`): positions in the rows that were split, ascending.
        train_subjects, test_subjects (`tuple[str, ...]`): sorted.
    """

    train_indices: tuple[int, ...]
    test_indices: tuple[int, ...]
    train_subjects: tuple[str, ...]
    test_subjects: tuple[str, ...]


def check_subjects_disjoint(*folds: Sequence[str]) -> None:
    """
    Refuse folds that share a subject.

    Args:
        folds: the `subject_id` of every row of a fold (repeats within a fold are the rule).

    Raises:
        ValueError: a subject stands in two folds; the message names subjects and folds.
    """
    fold_of: dict[str, int] = {}
    for fold, subjects in enumerate(folds):
        for subject in sorted(set(subjects)):
            if subject in fold_of:
                raise ValueError(
                    f"Every subject must stand in one fold only, but {subject!r} is in fold {fold_of[subject]} and in"
                    f" fold {fold}."
                )
            fold_of[subject] = fold


def holdout_subjects(subject_ids: Sequence[str], *, num_test_subjects: int, seed: int) -> SubjectSplit:
    """
    Hold whole subjects out. Which ones depends on the seed and the set of subjects, not on the order of the rows.

    Args:
        subject_ids: one per row.
        num_test_subjects (`int`): in [1, number of subjects).
        seed (`int`): of the draw.

    Raises:
        ValueError: a `subject_id` that is not a string, or a number of test subjects that leaves either side empty.
    """
    wrong = [subject for subject in subject_ids if not isinstance(subject, str)]
    if wrong:
        raise ValueError(f"`subject_ids` must be strings, got {wrong[0]!r} of type {type(wrong[0]).__name__}.")
    subjects = sorted(set(subject_ids))
    if not 1 <= num_test_subjects < len(subjects):
        raise ValueError(
            f"`num_test_subjects` must be in [1, {len(subjects)}) for {len(subjects)} subjects, got"
            f" {num_test_subjects}."
        )
    drawn = np.random.default_rng(seed).permutation(len(subjects))[:num_test_subjects]
    test_subjects = {subjects[position] for position in drawn}
    return SubjectSplit(
        train_indices=tuple(row for row, subject in enumerate(subject_ids) if subject not in test_subjects),
        test_indices=tuple(row for row, subject in enumerate(subject_ids) if subject in test_subjects),
        train_subjects=tuple(subject for subject in subjects if subject not in test_subjects),
        test_subjects=tuple(sorted(test_subjects)),
    )


def person_ids(datasets: Sequence[str], subject_ids: Sequence[str]) -> tuple[str, ...]:
    """
    `DATASET/SUBJECT` of every row: databases number their subjects alike, and "01" of two of them are two people.

    Args:
        datasets, subject_ids: one per row.

    Raises:
        ValueError: columns of different lengths, or a dataset whose name has a "/", so that two people could share an
            id.
    """
    if len(datasets) != len(subject_ids):
        raise ValueError(f"Expected as many datasets as subjects, got {len(datasets)} and {len(subject_ids)}.")
    slashed = sorted({dataset for dataset in datasets if "/" in dataset})
    if slashed:
        raise ValueError(f"The name of a dataset must not contain '/', got {slashed}.")
    return tuple(f"{dataset}/{subject}" for dataset, subject in zip(datasets, subject_ids))


def deal_subjects(subject_ids: Sequence[str], num_folds: int) -> tuple[tuple[str, ...], ...]:
    """
    Deal whole subjects to folds of about equally many rows: those with most rows first, each to the fold that has
    fewest so far; among equals the order is that of the SHA-256 of their ids, which is a shuffle that stays. Which
    subjects share a fold depends on the subjects and their numbers of rows, not on the order of the rows.

    Args:
        subject_ids: one per row.
        num_folds (`int`): in [2, number of subjects].

    Returns:
        The subjects of each fold, sorted; every subject is in one fold, no fold is empty.

    Raises:
        ValueError: a number of folds out of its range.
    """
    counts = Counter(subject_ids)
    if not 2 <= num_folds <= len(counts):
        raise ValueError(f"`num_folds` must be in [2, {len(counts)}] for {len(counts)} subject(s), got {num_folds}.")
    folds: list[list[str]] = [[] for _ in range(num_folds)]
    sizes = [0] * num_folds
    for subject in sorted(counts, key=lambda subject: (-counts[subject], hashlib.sha256(subject.encode()).digest())):
        smallest = sizes.index(min(sizes))
        folds[smallest].append(subject)
        sizes[smallest] += counts[subject]
    return tuple(tuple(sorted(fold)) for fold in folds)
