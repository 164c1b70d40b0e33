"""Splits by subject: disjoint, complete, the same for the same seed."""

import numpy as np
import pytest

from micron_bert_hf.data import check_subjects_disjoint, deal_subjects, holdout_subjects, person_ids


SUBJECTS = [f"s{number:02d}" for number in range(12) for _ in range(1 + number % 3)]


def test_a_subject_is_on_one_side_and_every_row_on_exactly_one():
    split = holdout_subjects(SUBJECTS, num_test_subjects=4, seed=3)
    assert sorted(split.train_indices + split.test_indices) == list(range(len(SUBJECTS)))
    assert {SUBJECTS[row] for row in split.train_indices} == set(split.train_subjects)
    assert {SUBJECTS[row] for row in split.test_indices} == set(split.test_subjects)
    assert not set(split.train_subjects) & set(split.test_subjects)
    assert len(split.test_subjects) == 4


def test_the_seed_decides_and_the_order_of_the_rows_does_not():
    split = holdout_subjects(SUBJECTS, num_test_subjects=4, seed=3)
    assert holdout_subjects(SUBJECTS, num_test_subjects=4, seed=3) == split
    assert holdout_subjects(SUBJECTS[::-1], num_test_subjects=4, seed=3).test_subjects == split.test_subjects
    others = {holdout_subjects(SUBJECTS, num_test_subjects=4, seed=seed).test_subjects for seed in range(8)}
    assert len(others) > 1


@pytest.mark.parametrize("num_test_subjects", [0, 12, 13, -1])
def test_an_empty_side_is_refused(num_test_subjects):
    with pytest.raises(ValueError, match=r"\[1, 12\).*got"):
        holdout_subjects(SUBJECTS, num_test_subjects=num_test_subjects, seed=0)


def test_subjects_that_are_numbers_are_refused():
    with pytest.raises(ValueError, match="strings, got 7"):
        holdout_subjects(["a", 7], num_test_subjects=1, seed=0)


def test_a_subject_in_two_folds_raises():
    check_subjects_disjoint(["a", "a"], ["b"], ["c"])
    with pytest.raises(ValueError, match="'a' is in fold 0 and in fold 2"):
        check_subjects_disjoint(["a", "a"], ["b"], ["c", "a"])


def test_two_databases_may_number_their_subjects_alike():
    assert person_ids(["casme2", "samm"], ["01", "01"]) == ("casme2/01", "samm/01")
    with pytest.raises(ValueError, match="'/', got"):
        person_ids(["a/b", "a"], ["c", "b/c"])
    with pytest.raises(ValueError, match="got 2 and 1"):
        person_ids(["a", "a"], ["c"])


def test_subjects_are_dealt_whole_evenly_and_without_regard_to_the_order_of_rows():
    folds = deal_subjects(SUBJECTS, 4)
    assert sorted(subject for fold in folds for subject in fold) == sorted(set(SUBJECTS))
    sizes = [sum(SUBJECTS.count(subject) for subject in fold) for fold in folds]
    assert sizes == [6, 6, 6, 6]  # 12 subjects of 1, 2 and 3 rows
    shuffled = [SUBJECTS[row] for row in np.random.default_rng(0).permutation(len(SUBJECTS))]
    assert deal_subjects(shuffled, 4) == deal_subjects(SUBJECTS[::-1], 4) == folds
    # equal subjects are shuffled, not dealt in the order of their names
    assert deal_subjects("abcdefgh", 2) != (("a", "c", "e", "g"), ("b", "d", "f", "h"))


@pytest.mark.parametrize("prefix", "abcdef")
def test_those_with_most_rows_are_dealt_first_whatever_their_names(prefix):
    """50 and 49 rows must part, and 4 subjects of one row follow: 52 and 51 rows."""
    subjects = [f"{prefix}large"] * 50 + [f"{prefix}medium"] * 49 + [f"{prefix}{number}" for number in range(4)]
    assert sorted(sum(map(subjects.count, fold)) for fold in deal_subjects(subjects, 2)) == [51, 52]


@pytest.mark.parametrize("num_folds", [-1, 0, 1, 13])
def test_folds_that_would_be_empty_are_refused(num_folds):
    with pytest.raises(ValueError, match=rf"\[2, 12\] for 12 subject.*got {num_folds}"):
        deal_subjects(SUBJECTS, num_folds)
