"""Protocols: whose samples are learnt from and tested on, and that no wrong fold gets through."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest

from micron_bert_hf.evaluation.protocols import Fold, check_folds, loso, parse_protocol


def sample_set(people, order=None, label_map="as labelled"):
    """What protocols look at, of `(dataset, subject, number of samples)`; `order` shuffles the rows."""
    rows = [(dataset, subject, f"{subject}_{number}") for dataset, subject, count in people for number in range(count)]
    rows = rows if order is None else [rows[position] for position in order]
    datasets, subjects, sample_ids = (tuple(column) for column in zip(*rows))
    return SimpleNamespace(datasets=datasets, subject_ids=subjects, sample_ids=sample_ids, label_map=label_map)


# 12 people in two databases that number theirs alike, with 1 to 4 samples each
PEOPLE = [(dataset, f"0{number}", 1 + number % 4) for dataset in ("casme2", "samm") for number in range(6)]
COMPOSITE = [(dataset, f"0{number}", 2) for dataset in ("casme2", "samm", "smic") for number in range(2)]
TEXTS = ("loso", "group_kfold:5", "holdout_subjects:4", "holdout_subjects:4:7", "cross_dataset:samm")


def named(fold, samples):
    """The fold in words that do not depend on the order of rows."""
    people = [f"{dataset}/{sample_id}" for dataset, sample_id in zip(samples.datasets, samples.sample_ids)]
    return fold.name, {people[i] for i in fold.train_indices}, {people[i] for i in fold.test_indices}


@pytest.mark.parametrize("text", TEXTS)
def test_people_are_on_one_side_and_tested_once(text):
    samples = sample_set(PEOPLE)
    protocol = parse_protocol(text)
    folds = protocol.folds(samples)
    everyone = list(zip(samples.datasets, samples.subject_ids))
    tested = []
    for fold in folds:
        assert not {everyone[i] for i in fold.train_indices} & {everyone[i] for i in fold.test_indices}
        assert sorted(fold.train_indices + fold.test_indices) == list(range(len(everyone)))
        assert list(fold.test_indices) == sorted(fold.test_indices)
        tested += fold.test_indices
    assert len(set(tested)) == len(tested)
    assert protocol.is_complete == (len(tested) == len(everyone)) == (text in ("loso", "group_kfold:5"))


@pytest.mark.parametrize("text", TEXTS)
def test_the_order_of_rows_changes_nothing(text):
    samples = sample_set(PEOPLE)
    order = np.random.default_rng(1).permutation(len(samples.sample_ids))
    shuffled = sample_set(PEOPLE, order)
    folds = parse_protocol(text).folds(samples)
    assert [named(fold, shuffled) for fold in parse_protocol(text).folds(shuffled)] == [
        named(fold, samples) for fold in folds
    ]
    assert parse_protocol(text).folds(samples) == folds


def test_loso_has_a_fold_for_each_person_though_two_databases_number_them_alike():
    folds = loso().folds(sample_set(PEOPLE))
    assert [fold.name for fold in folds] == [f"{dataset}/{subject}" for dataset, subject, _ in PEOPLE]
    assert [len(fold.test_indices) for fold in folds] == [count for *_, count in PEOPLE]


def test_group_kfold_shares_samples_out_evenly():
    sizes = [len(fold.test_indices) for fold in parse_protocol("group_kfold:5").folds(sample_set(PEOPLE))]
    assert sum(sizes) == 26
    assert max(sizes) - min(sizes) <= 1
    names = [fold.name for fold in parse_protocol("group_kfold:12").folds(sample_set(PEOPLE))]
    assert names == sorted(names)
    assert names[0] == "fold00"


def test_the_seed_of_a_holdout_decides():
    samples = sample_set(PEOPLE)
    held_out = {parse_protocol(f"holdout_subjects:4:{seed}").folds(samples)[0].test_indices for seed in range(6)}
    assert len(held_out) > 1
    assert parse_protocol("holdout_subjects:4:0") == parse_protocol("holdout_subjects:4")


def test_cross_dataset_tests_all_of_one_database_and_learns_from_the_others():
    samples = sample_set(COMPOSITE)
    (fold,) = parse_protocol("cross_dataset:samm").folds(samples)
    assert {samples.datasets[i] for i in fold.test_indices} == {"samm"}
    assert {samples.datasets[i] for i in fold.train_indices} == {"casme2", "smic"}
    with pytest.raises(ValueError, match=r"samples of 'mmew'.*got samples of \['casme2', 'samm', 'smic'\]"):
        parse_protocol("cross_dataset:mmew").folds(samples)
    with pytest.raises(ValueError, match=r"of another data set, got samples of \['samm'\]"):
        parse_protocol("cross_dataset:samm").folds(sample_set(PEOPLE[6:]))


def test_megc2019_is_loso_over_exactly_its_composite():
    samples = sample_set(COMPOSITE, label_map="composite-3")
    protocol = parse_protocol("megc2019")
    assert protocol.folds(samples) == loso().folds(samples)
    assert protocol.is_complete
    with pytest.raises(ValueError, match=r"'composite-3', got \['casme2', 'samm'\]"):
        protocol.folds(sample_set(PEOPLE, label_map="composite-3"))
    with pytest.raises(ValueError, match="and 'as labelled'"):
        protocol.folds(sample_set(COMPOSITE))
    with pytest.raises(ValueError, match=r"\['casme2', 'mmew', 'samm', 'smic'\]"):
        protocol.folds(sample_set([*COMPOSITE, ("mmew", "1", 1)], label_map="composite-3"))


@pytest.mark.parametrize("text", [*TEXTS, "megc2019"])
def test_a_name_is_what_is_parsed_and_protocols_travel(text):
    protocol = parse_protocol(text)
    assert protocol.name == text
    assert parse_protocol(protocol.name) == protocol
    samples = sample_set(COMPOSITE, label_map="composite-3")
    assert pickle.loads(pickle.dumps(protocol)).folds(samples) == protocol.folds(samples)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "loso:3",
        "LOSO",
        "group_kfold",
        "group_kfold:",
        "group_kfold:x",
        "group_kfold:-2",
        "group_kfold:2:3",
        "holdout_subjects",
        "holdout_subjects:3:1:1",
        "holdout_subjects:3:-1",
        "cross_dataset:",
        "random_split:10",
    ],
)
def test_a_text_that_is_no_protocol_is_refused_with_those_that_are(text):
    with pytest.raises(ValueError, match="no protocol .*expected loso, group_kfold:FOLDS"):
        parse_protocol(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("group_kfold:1", "2 or more, got 1"),
        ("group_kfold:0", "2 or more, got 0"),
        ("group_kfold:13", r"\[2, 12\] for 12 subject.*got 13"),
        ("holdout_subjects:0", "1 or more.*got 0"),
        ("holdout_subjects:12", r"\[1, 12\) for 12 subjects, got 12"),
    ],
)
def test_numbers_that_leave_a_side_empty_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parse_protocol(text).folds(sample_set(PEOPLE))


@pytest.mark.parametrize("text", ["loso", "group_kfold:2", "holdout_subjects:1"])
def test_one_person_is_too_few(text):
    with pytest.raises(ValueError, match=r"casme2/00|1 subject"):
        parse_protocol(text).folds(sample_set([("casme2", "00", 8)]))


SAMPLES = sample_set([("a", "01", 2), ("a", "02", 2), ("b", "01", 1)])


@pytest.mark.parametrize(
    ("folds", "complete", "message"),
    [
        ([], False, "at least one fold"),
        ([("x", (0, 1), (2, 3)), ("x", (2, 3), (0, 1))], False, r"\['x'\] more than once"),
        ([("x", (), (2, 3))], False, "'x' has no train samples"),
        ([("x", (0, 1), ())], False, "'x' has no test samples"),
        ([("x", (0, 0), (2, 3))], False, "'x' has a train sample twice"),
        ([("x", (0, 1), (2, 2))], False, "'x' has a test sample twice"),
        ([("x", (0, 1), (2, 5))], False, r"test samples 2 to 5; expected positions in \[0, 5\)"),
        ([("x", (-1, 1), (2, 3))], False, "train samples -1 to 1"),
        ([("x", (0, 2), (1, 3))], False, r"learns from \['a/01', 'a/02'\] and tests on them \(2\)"),
        ([("x", (0, 1), (2, 3)), ("y", (0, 1), (3, 4))], False, "'02_1' is tested in the fold 'x' and in 'y'"),
        ([("x", (0, 1), (2,)), ("y", (0, 1), (3, 4))], False, "'a/02' is tested in the fold 'x' and in 'y'"),
        ([("x", (0, 1), (2, 3))], True, r"3 of 5 samples are never tested, the first of them \['01_0'"),
    ],
)
def test_folds_that_are_wrong_are_refused_whoever_made_them(folds, complete, message):
    with pytest.raises(ValueError, match=message):
        check_folds([Fold(*fold) for fold in folds], SAMPLES, complete=complete)


def test_folds_that_are_right_pass():
    check_folds([Fold("x", (0, 1), (2, 3))], SAMPLES, complete=False)
    # the same number in two databases is two people
    check_folds([Fold("x", (0, 1), (4,))], SAMPLES, complete=False)
    check_folds([Fold("x", (2, 3), (0, 1)), Fold("y", (0, 1), (2, 3, 4))], SAMPLES, complete=True)
