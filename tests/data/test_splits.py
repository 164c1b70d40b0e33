"""Splits by subject: disjoint, complete, the same for the same seed."""

import pytest

from micron_bert_hf.data import check_subjects_disjoint, holdout_subjects


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
