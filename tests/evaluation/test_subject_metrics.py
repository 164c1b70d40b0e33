"""Statistics over people, against loops, an enumeration of all swaps, and what chance gives."""

import itertools
import time

import numpy as np
import pytest

from micron_bert_hf.evaluation.metrics import confusion_matrix, uar, uf1
from micron_bert_hf.evaluation.subject_metrics import bootstrap_intervals, paired_comparison, subject_confusions


def methods(seed, num_subjects=9, num_labels=3, num_seeds=2, skills=(0.7, 0.4), per_subject=5):
    """
    Two methods on the same samples: people `(n,)`, labels `(n,)`, and predictions `(2, num_seeds, n)`, right with the
    given skill and otherwise any class.
    """
    random = np.random.default_rng(seed)
    people = np.repeat(np.arange(num_subjects), per_subject)
    labels = random.integers(num_labels, size=len(people))
    guesses = random.integers(num_labels, size=(2, num_seeds, len(people)))
    knows = random.random(guesses.shape) < np.array(skills)[:, None, None]
    return people, labels, np.where(knows, labels, guesses)


def confusions_of(people, labels, predictions, num_labels=3):
    """`(2, num_seeds, num_subjects, num_labels, num_labels)`, counted one by one."""
    confusions = np.zeros((*predictions.shape[:2], people.max() + 1, num_labels, num_labels), int)
    method, seed, _ = np.indices(predictions.shape)
    np.add.at(confusions, (method, seed, people, labels, predictions), 1)
    return confusions


def test_each_person_has_its_confusions_whatever_the_order_of_the_samples():
    people, labels, predictions = methods(0)
    names = [("casme2", f"s{person}") for person in people]
    shuffled = np.random.default_rng(1).permutation(len(names))
    found = subject_confusions(names, labels, predictions[0, 0], 3)
    again = subject_confusions([names[place] for place in shuffled], labels[shuffled], predictions[0, 0][shuffled], 3)
    assert found[0] == again[0] == tuple(("casme2", f"s{person}") for person in range(9))
    np.testing.assert_array_equal(found[1], again[1])
    for person in range(9):
        own = people == person
        np.testing.assert_array_equal(found[1][person], confusion_matrix(labels[own], predictions[0, 0][own], 3))
    with pytest.raises(ValueError, match="got 45, 45 and 44"):
        subject_confusions(names, labels, predictions[0, 0][1:], 3)


@pytest.mark.parametrize("num_labels", [2, 3, 9])
def test_the_bootstrap_gives_the_numbers_of_the_loop(num_labels):
    """To the last bit: tables that were published with the loop stay as they are."""
    confusions = np.random.default_rng(3).integers(0, 4, (12, num_labels, num_labels))
    drawn = np.random.default_rng(1).integers(12, size=(200, 12))
    expected = {
        f"{name}_interval": np.percentile([metric(confusions[row].sum(0)) for row in drawn], [2.5, 97.5]).tolist()
        for name, metric in (("uf1", uf1), ("uar", uar))
    }
    assert bootstrap_intervals(confusions, num_samples=200, seed=1) == expected
    assert bootstrap_intervals(confusions[None], num_samples=200, seed=1) == expected
    assert bootstrap_intervals(confusions, num_samples=200, seed=2) != expected


def test_over_seeds_the_bootstrap_is_of_the_mean_of_the_metric():
    first = confusions_of(*methods(1, num_seeds=3))[0]
    drawn = np.random.default_rng(0).integers(9, size=(100, 9))
    expected = [np.mean([uf1(of_seed[row].sum(0)) for of_seed in first]) for row in drawn]
    assert bootstrap_intervals(first, num_samples=100)["uf1_interval"] == pytest.approx(
        np.percentile(expected, [2.5, 97.5]), abs=1e-12
    )


def mean_uf1(labels, predictions):
    return np.mean([uf1(confusion_matrix(labels, column, 3)) for column in predictions])


def test_the_difference_and_its_interval_are_those_of_a_loop_over_samples():
    people, labels, predictions = methods(2)
    first, other = predictions
    result = paired_comparison(*confusions_of(people, labels, predictions), num_resamples=100)
    assert result["uf1_difference"] == pytest.approx(mean_uf1(labels, first) - mean_uf1(labels, other), abs=1e-12)
    differences = []
    for row in np.random.default_rng(0).integers(9, size=(100, 9)):
        samples = np.concatenate([np.flatnonzero(people == person) for person in row])
        differences.append(mean_uf1(labels[samples], first[:, samples]) - mean_uf1(labels[samples], other[:, samples]))
    assert result["uf1_difference_interval"] == pytest.approx(np.percentile(differences, [2.5, 97.5]), abs=1e-12)
    assert (result["num_subjects"], result["num_seeds"], result["num_resamples"]) == (9, 2, 100)


@pytest.mark.parametrize("skills", [(0.7, 0.4), (0.5, 0.5)])
def test_the_p_value_is_near_that_of_all_swaps(skills):
    """Seven people: 128 ways to swap, enumerated sample by sample; swapping nobody is one of them."""
    people, labels, predictions = methods(4, num_subjects=7, skills=skills)
    result = paired_comparison(*confusions_of(people, labels, predictions), num_resamples=20_000)
    observed = mean_uf1(labels, predictions[0]) - mean_uf1(labels, predictions[1])
    count = 0
    for swaps in itertools.product((False, True), repeat=7):
        is_swapped = np.array(swaps)[people]
        first, other = np.where(is_swapped, predictions[::-1], predictions)
        count += abs(mean_uf1(labels, first) - mean_uf1(labels, other)) >= abs(observed) - 1e-9
    # four standard errors of 20,000 draws
    assert result["p_value"] == pytest.approx(count / 128, abs=4 * np.sqrt(count / 128 / 20_000))


def test_the_first_and_the_other_may_change_places():
    first, other = confusions_of(*methods(5))
    one, two = (paired_comparison(*pair, num_resamples=500) for pair in ((first, other), (other, first)))
    assert one["uf1_difference"] == -two["uf1_difference"] and one["p_value"] == two["p_value"]
    assert one["uf1_difference_interval"] == pytest.approx([-end for end in two["uf1_difference_interval"][::-1]])
    assert one == paired_comparison(first, other, num_resamples=500)
    assert one != paired_comparison(first, other, num_resamples=500, seed=1)


def test_equal_methods_do_not_differ_and_a_better_one_does():
    first, other = confusions_of(*methods(6, num_subjects=40, skills=(0.9, 0.2)))
    alike = paired_comparison(first, first, num_resamples=200)
    assert alike["uf1_difference"] == 0 and alike["uf1_difference_interval"] == [0, 0] and alike["p_value"] == 1
    better = paired_comparison(first, other, num_resamples=1000)
    # no swap comes near: the smallest p that 1,000 of them can give, never 0
    assert better["p_value"] == 1 / 1001 and better["uf1_difference_interval"][0] > 0


def test_methods_of_one_skill_rarely_seem_to_differ():
    """Of 200 comparisons under the null about 5 % have p <= 0.05; people here differ in how hard they are."""
    random = np.random.default_rng(0)
    found = []
    for _ in range(200):
        people = np.repeat(np.arange(20), 4)
        skill = random.random(20)[people]
        labels = random.integers(3, size=len(people))
        guesses = random.integers(3, size=(2, 1, len(people)))
        predictions = np.where(random.random(guesses.shape) < skill, labels, guesses)
        found.append(paired_comparison(*confusions_of(people, labels, predictions), num_resamples=200)["p_value"])
    # binomial: 10 expected, standard deviation 3.1
    assert 2 <= sum(p <= 0.05 for p in found) <= 20
    assert 0.4 < np.mean(found) < 0.6


def test_ten_thousand_swaps_of_sixty_people_take_less_than_a_second_of_one_core():
    first, other = confusions_of(*methods(7, num_subjects=60, num_labels=7, num_seeds=3), num_labels=7)
    start = time.process_time()
    paired_comparison(first, other, num_resamples=10_000)
    assert time.process_time() - start < 1


@pytest.mark.parametrize(
    ("first", "other", "message"),
    [
        (np.ones((4, 3, 3)), np.ones((5, 3, 3)), r"\(1, 4, 3, 3\) and \(1, 5, 3, 3\)"),
        (np.ones((3, 3)), np.ones((3, 3)), r"got \(3, 3\)"),
        (np.ones((0, 3, 3)), np.ones((0, 3, 3)), "at least one person"),
        (np.ones((4, 3, 2)), np.ones((4, 3, 2)), r"got \(4, 3, 2\)"),
    ],
)
def test_tables_of_other_shapes_are_named(first, other, message):
    with pytest.raises(ValueError, match=message):
        paired_comparison(first, other)


def test_methods_that_answered_for_other_samples_are_not_compared():
    first, other = confusions_of(*methods(8))
    changed = other.copy()
    changed[1, 6, 0] = changed[1, 6, 0, ::-1] + 1
    with pytest.raises(ValueError, match="the true classes differ for person 6"):
        paired_comparison(first, changed)
