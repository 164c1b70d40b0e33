"""Running folds: nothing of the held-out fold reaches training, nothing finished is lost, nothing crashes the rest.

The set is a real one on disk, read as users' sets are; the methods are small but real, and processes die for real.
"""

import json
import os
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset, Features, Image, Value
from numpy.testing import assert_array_equal

from micron_bert_hf.data import SeenPeople, read_samples
from micron_bert_hf.evaluation import (
    REFERENCE_METHODS,
    FoldsFailed,
    PredictionTable,
    TrainingPairs,
    as_is,
    evaluate,
    group_kfold,
    holdout_subjects,
    loso,
)
from micron_bert_hf.experiments import compare_tables, score_predictions


CLASSES = ("negative", "positive", "surprise")


def make_rows(num_subjects=6, per_class=1, noise=40, labels=CLASSES):
    """Grey frames; the apex is brighter by 25 for each class, and noisy."""
    rng = np.random.default_rng(0)
    rows = []
    for subject in range(num_subjects):
        for number, label in enumerate(labels * per_class):
            onset = rng.integers(100, 120, (8, 8, 3), np.uint8)
            apex = onset + np.uint8(25 * (1 + CLASSES.index(label))) + rng.integers(0, noise, onset.shape, np.uint8)
            rows.append(
                {
                    "sample_id": f"{subject}-{number}",
                    "subject_id": f"s{subject:02d}",
                    "onset": onset,
                    "apex": apex,
                    "label": label,
                }
            )
    return rows


def save(rows, folder, order=None):
    features = Features(
        {
            "sample_id": Value("string"),
            "subject_id": Value("string"),
            "onset": Image(),
            "apex": Image(),
            "label": Value("string"),
        }
    )
    rows = [rows[index] for index in order] if order is not None else rows
    Dataset.from_list(rows, features=features).to_parquet(Path(folder) / "data.parquet")
    return partial(read_samples, str(folder))


@pytest.fixture
def make_samples(tmp_path):
    (tmp_path / "faces").mkdir()
    return save(make_rows(), tmp_path / "faces")


class NearestMean:
    """Tells classes by the nearest mean brightening; keeps what it was given where a test asks for it."""

    name = "nearest mean"
    uses_seed = True
    needs_motion = False

    def __init__(self, record=None, fail=None):
        self.record, self.fail = record, fail

    def identity(self, label_names):
        return {"a setting": 1}

    def seen_people(self):
        return SeenPeople()

    def check(self, label_names):
        pass

    def prepare(self, row):
        assert "label" not in row and "label_raw" not in row
        return row["apex"].astype(np.float64) - row["onset"]

    def fit(self, train: TrainingPairs, seed):
        if self.record is not None:
            np.savez(
                self.record / f"{seed}-{len(list(self.record.iterdir()))}.npz",
                inputs=train.inputs,
                labels=train.labels,
                subjects=np.array(train.subject_ids),
            )
        if self.fail is not None and "faces/s02" not in train.subject_ids and not self.fail.exists():
            self.fail.touch()
            if self.fail.name == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise ArithmeticError("a fold that crashes once")
        rng = np.random.default_rng(seed)
        values = train.inputs.mean(axis=(1, 2, 3)) + rng.normal(0, 1, len(train))
        means = np.array([values[train.labels == label].mean() for label in range(len(train.label_names))])
        return partial(_nearest, means)


def _nearest(means, inputs):
    distances = -np.abs(inputs.mean(axis=(1, 2, 3))[:, None] - means)
    exponent = np.exp(distances / 10)
    return exponent / exponent.sum(axis=1, keepdims=True)


def run(make_method, make_samples, output, protocol=None, seeds=(0,), **options):
    return evaluate(
        make_method,
        make_samples,
        protocol or loso(),
        seeds,
        output,
        **{"progress": False, "figures": False, **options},
    )


def test_a_run_leaves_predictions_results_and_figures(make_samples, tmp_path):
    results = run(NearestMean, make_samples, tmp_path / "out", seeds=(0, 1), figures=True)
    table = PredictionTable.read(tmp_path / "out" / "predictions.parquet")
    assert len(table) == 2 * 18 and set(table.seeds) == {0, 1} and len(set(table.folds)) == 6
    assert json.loads((tmp_path / "out" / "results.json").read_text()) == results
    assert results["num_subjects"] == 6 and results["num_folds"] == 6 and results["num_samples"] == 18
    for name in ("uf1", "uar", "accuracy"):
        per_seed = [table.for_seed(seed).score()[name] for seed in (0, 1)]
        assert results[name] == pytest.approx(np.mean(per_seed))
        assert results[f"{name}_sd"] == pytest.approx(np.std(per_seed, ddof=1))
    assert 0.6 < results["uf1"] <= 1.0 and results["uf1_interval"][0] <= results["uf1"] <= results["uf1_interval"][1]
    # every class is as frequent: the first is the majority, right a third of the time
    assert results["majority_baseline"] == {"uf1": pytest.approx(1 / 6), "uar": 1 / 3, "accuracy": 1 / 3}
    assert results["transductive"] is False and results["method"] == "nearest mean" and "commit" in results
    figures = sorted(path.name for path in (tmp_path / "out" / "figures").iterdir())
    assert figures == ["calibration.png", "confusion.png", "subjects.png", "worst_samples.png"]


def test_processes_and_the_order_of_rows_change_nothing(make_samples, tmp_path):
    one = run(NearestMean, make_samples, tmp_path / "one")
    (tmp_path / "other" / "faces").mkdir(parents=True)
    shuffled = save(make_rows(), tmp_path / "other" / "faces", order=np.random.default_rng(1).permutation(18))
    many = run(NearestMean, shuffled, tmp_path / "many", num_processes=2)
    tables = [PredictionTable.read(tmp_path / name / "predictions.parquet") for name in ("one", "many")]
    assert tables[0].sample_ids == tables[1].sample_ids
    # sums over training people in another order: equal but for rounding
    np.testing.assert_allclose(tables[0].scores, tables[1].scores, rtol=1e-12)
    assert one["data_fingerprint"] == many["data_fingerprint"] and one["uf1"] == many["uf1"]


@pytest.mark.parametrize("poison", ["labels", "frames", "both"])
def test_a_poisoned_held_out_fold_changes_nothing_in_training(make_samples, tmp_path, poison):
    """Whatever stands in the held-out fold, what training sees is the same to the last bit."""
    seen = []
    for name in ("clean", "poisoned"):
        rows = make_rows()
        if name == "poisoned":
            for row in rows:
                if row["subject_id"] == "s03":
                    if poison in ("labels", "both"):
                        row["label"] = CLASSES[(CLASSES.index(row["label"]) + 1) % 3]
                    if poison in ("frames", "both"):
                        row["apex"] = np.full((8, 8, 3), 255, np.uint8)
        (tmp_path / name / "faces").mkdir(parents=True)
        (tmp_path / name / "seen").mkdir()
        samples = save(rows, tmp_path / name / "faces")
        run(partial(NearestMean, tmp_path / name / "seen"), samples, tmp_path / name / "out")
        held_out = [
            dict(np.load(path))
            for path in (tmp_path / name / "seen").iterdir()
            if "faces/s03" not in np.load(path)["subjects"]
        ]
        assert len(held_out) == 1
        seen.append(held_out[0])
    for key in ("inputs", "labels", "subjects"):
        assert_array_equal(seen[0][key], seen[1][key])


class Rememberer(NearestMean):
    """Knows every pair again whose label it was ever given: those of other folds are held out here."""

    def __init__(self):
        super().__init__()
        self.labels = {}

    def fit(self, train, seed):
        self.labels |= {pair.tobytes(): label for pair, label in zip(train.inputs, train.labels)}
        return partial(_recall, dict(self.labels), len(train.label_names))


def _recall(labels, num_labels, inputs):
    return np.eye(num_labels)[[labels.get(pair.tobytes(), 0) for pair in inputs]]


def test_no_method_remembers_another_fold(make_samples, tmp_path):
    """Answering from memory gives what always naming the first class gives."""
    assert run(Rememberer, make_samples, tmp_path / "out", seeds=(0, 1))["uf1"] == pytest.approx(1 / 6)


@pytest.mark.parametrize(("how", "num_processes"), [("raises", 1), ("killed", 2)])
def test_a_crashed_fold_is_reported_and_run_again_alone(make_samples, tmp_path, how, num_processes):
    make_method = partial(NearestMean, tmp_path / "seen", tmp_path / how)
    (tmp_path / "seen").mkdir()
    with pytest.raises(FoldsFailed, match="crash"):
        run(make_method, make_samples, tmp_path / "out", num_processes=num_processes)
    folds = tmp_path / "out" / "folds"
    finished = {path.name: path.stat().st_mtime_ns for path in folds.glob("*.parquet")}
    errors = list(folds.glob("*.error.txt"))
    assert len(finished) + len(errors) == 6 and 1 <= len(errors) <= 2
    assert not (tmp_path / "out" / "results.json").exists()
    before = len(list((tmp_path / "seen").iterdir()))
    results = run(make_method, make_samples, tmp_path / "out")
    assert len(list((tmp_path / "seen").iterdir())) - before == len(errors)
    assert all((folds / name).stat().st_mtime_ns == time for name, time in finished.items())
    assert not list(folds.glob("*.error.txt"))
    clean = run(NearestMean, make_samples, tmp_path / "clean")
    assert results["uf1"] == clean["uf1"]


def test_a_finished_run_is_not_run_again_and_another_is_refused(make_samples, tmp_path):
    (tmp_path / "seen").mkdir()
    make_method = partial(NearestMean, tmp_path / "seen")
    first = run(make_method, make_samples, tmp_path / "out")
    assert run(make_method, make_samples, tmp_path / "out")["uf1"] == first["uf1"]
    assert len(list((tmp_path / "seen").iterdir())) == 6
    with pytest.raises(ValueError, match="holds another run .*group_kfold:3"):
        run(make_method, make_samples, tmp_path / "out", group_kfold(3))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(FileExistsError, match=r"thesis\.tex"):
        run(make_method, make_samples, tmp_path / "mine")


class Broken(NearestMean):
    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def fit(self, train, seed):
        return partial(_answer, self.answer)


def _answer(value, inputs):
    return np.full((len(inputs), 3 if value != "shape" else 2), np.nan if value == "nan" else 1 / 3)


@pytest.mark.parametrize(("answer", "message"), [("nan", "not finite"), ("shape", r"shape \(3, 2\)")])
def test_scores_that_are_none_are_refused(make_samples, tmp_path, answer, message):
    with pytest.raises(FoldsFailed, match=message):
        run(partial(Broken, answer), make_samples, tmp_path / "out")


def test_what_cannot_be_evaluated_is_refused_before_training(tmp_path):
    def samples_of(name, rows):
        (tmp_path / name).mkdir()
        return save(rows, tmp_path / name)

    alone = samples_of("alone", make_rows(num_subjects=1))
    with pytest.raises(ValueError, match="expected two people or more"):
        run(NearestMean, alone, tmp_path / "out")
    one_class = samples_of("one_class", make_rows(labels=("positive",)))
    with pytest.raises(ValueError, match="two classes or more"):
        run(NearestMean, one_class, tmp_path / "out")
    rows = [row for row in make_rows() if row["label"] != "surprise" or row["subject_id"] == "s01"]
    rare = samples_of("rare", rows)
    with pytest.raises(ValueError, match=r"In fold rare/s01 no training person shows surprise"):
        run(NearestMean, rare, tmp_path / "out")
    for seeds in ((), (1, 1)):
        with pytest.raises(ValueError, match="different seeds"):
            run(NearestMean, rare, tmp_path / "out", holdout_subjects(2), seeds=seeds)
    assert not (tmp_path / "out").exists()


class Transductive(NearestMean):
    is_complete = True

    def seen_people(self):
        return SeenPeople({"faces": ("s01", "s99")}, self.is_complete)


class PerhapsTransductive(Transductive):
    is_complete = False


class Unknown(NearestMean):
    def seen_people(self):
        return SeenPeople({"faces": ("s99",)}, is_complete=False)


def test_a_method_that_has_seen_the_people_is_marked(make_samples, tmp_path):
    results = run(Transductive, make_samples, tmp_path / "seen")
    assert results["transductive"] is True and results["num_seen_test_subjects"] == 1
    assert "TRANSDUCTIVE: 1 of the people" in score_predictions(tmp_path / "seen")
    # whoever is known to have been seen was; whether others were is open
    assert run(PerhapsTransductive, make_samples, tmp_path / "perhaps")["transductive"] is True
    assert run(Unknown, make_samples, tmp_path / "unknown")["transductive"] is None
    assert "Nobody wrote down" in score_predictions(tmp_path / "unknown")


def test_a_method_without_chance_runs_one_seed(make_samples, tmp_path):
    results = run(REFERENCE_METHODS["majority"], make_samples, tmp_path / "out", seeds=(0, 1, 2))
    assert results["seeds"] == [0] and results["uf1"] == pytest.approx(1 / 6)


def test_as_is_learns_nothing(make_samples, tmp_path):
    class_blind = partial(Broken, "uniform")
    results = run(class_blind, make_samples, tmp_path / "out", as_is())
    assert results["num_folds"] == 1 and results["num_samples"] == 18 and results["majority_baseline"] is None


def test_score_needs_the_predictions_alone(make_samples, tmp_path):
    results = run(NearestMean, make_samples, tmp_path / "out", seeds=(0, 1))
    again = json.loads(score_predictions(tmp_path / "out" / "predictions.parquet", as_json=True))
    assert again == results
    # the same rows in another order, as another program may have left them
    table = PredictionTable.read(tmp_path / "out" / "predictions.parquet")
    order = np.random.default_rng(2).permutation(len(table))
    columns = {
        name: tuple(getattr(table, name)[row] for row in order)
        for name in ("sample_ids", "subject_ids", "datasets", "folds", "seeds")
    }
    PredictionTable(
        **columns,
        labels=table.labels[order],
        scores=table.scores[order],
        label_names=table.label_names,
        metadata=table.metadata,
    ).write(tmp_path / "shuffled.parquet")
    assert json.loads(score_predictions(tmp_path / "shuffled.parquet", as_json=True)) == results
    score_predictions(tmp_path / "out", figures=tmp_path / "figures")
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {
        "calibration.png",
        "confusion.png",
        "subjects.png",
    }


def test_two_methods_are_compared_person_by_person(make_samples, tmp_path):
    run(NearestMean, make_samples, tmp_path / "means", seeds=(0, 1))
    run(REFERENCE_METHODS["majority"], make_samples, tmp_path / "majority")
    means, majority = (PredictionTable.read(tmp_path / name / "predictions.parquet") for name in ("means", "majority"))
    comparison = compare_tables(means, majority)
    assert comparison["uf1_difference"] > 0.4 and comparison["p_value"] < 0.1 and comparison["num_seeds"] == 2
    assert compare_tables(majority, majority)["p_value"] == 1.0
    assert "UF1 against Majority class: +0." in score_predictions(tmp_path / "means", tmp_path / "majority")
    with pytest.raises(ValueError, match="same samples"):
        compare_tables(means, majority.select(np.array(majority.subject_ids) != "s00"))
