"""From a table of predictions, and nothing else, to every number and picture that is reported of it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..data import SampleSet, SeenPeople, crop_to_face
from ..visualization import save_figure
from ..visualization.evaluation import (
    calibration_figure,
    confusion_figure,
    subject_figure,
    worst_samples_figure,
)
from .calibration_metrics import expected_calibration_error, reliability_bins
from .metrics import f1_per_class, recall_per_class, score
from .predictions import PredictionTable
from .subject_metrics import bootstrap_intervals, subject_confusions


_SCORES = ("uf1", "uar", "accuracy")
# Samples of the picture of the worst.
NUM_WORST = 8


def seed_confusions(table: PredictionTable) -> tuple[tuple[tuple[str, str], ...], np.ndarray]:
    """
    Returns:
        The people, `(dataset, subject_id)` sorted, and their confusion matrices `(num_seeds, num_subjects, num_labels,
        num_labels)`.

    Raises:
        ValueError: the seeds do not predict the same samples.
    """
    seeds = sorted(set(table.seeds))
    first = table.for_seed(seeds[0])
    confusions = []
    for seed in seeds:
        one = table.for_seed(seed)
        if set(zip(one.datasets, one.sample_ids)) != set(zip(first.datasets, first.sample_ids)):
            raise ValueError(f"Seeds {seeds[0]} and {seed} do not predict the same samples.")
        people, of_seed = subject_confusions(
            list(zip(one.datasets, one.subject_ids)), one.labels, one.predictions, len(one.label_names)
        )
        confusions.append(of_seed)
    return people, np.array(confusions)


def summarize(table: PredictionTable, description: Mapping[str, Any]) -> dict[str, Any]:
    """
    Every score of a table, over all its seeds.

    Args:
        table: one prediction a sample and seed.
        description: what the table cannot know, as `predictions.parquet` carries it: method, protocol, label map,
            where and when; goes into the result as it is. `majority_class` (fold -> class) and `seen_people`
            ([`~micron_bert_hf.data.SeenPeople`] as a mapping) are evaluated here.

    Returns:
        Ready for JSON. `uf1`, `uar` and `accuracy` are means over seeds of scores pooled over all folds, `*_sd` their
        standard deviation (ddof 1; `None` for one seed), `*_interval` a 95 % bootstrap interval over people of that
        mean. `confusion_matrix` is summed over seeds (rows = truth), `per_class` follows from it.
    """
    seeds = sorted(set(table.seeds))
    by_seed = {seed: table.for_seed(seed) for seed in seeds}
    scores = {seed: one.score() for seed, one in by_seed.items()}
    people, confusions = seed_confusions(table)
    pooled = confusions.sum(axis=(0, 1))
    datasets = sorted(set(table.datasets))
    bins = reliability_bins(table.scores, table.labels)
    seen = description.get("seen_people", asdict(SeenPeople(is_complete=False)))
    seen_here = {(name, subject) for name, subjects in seen["subjects"].items() for subject in subjects} & set(people)
    return {
        "dataset": " + ".join(datasets),
        **description,
        **{name: float(np.mean([scores[seed][name] for seed in seeds])) for name in _SCORES},
        **{
            f"{name}_sd": float(np.std([scores[seed][name] for seed in seeds], ddof=1)) if len(seeds) > 1 else None
            for name in _SCORES
        },
        **bootstrap_intervals(confusions),
        "num_samples": len(by_seed[seeds[0]].sample_ids),
        "num_subjects": len(people),
        "num_folds": len(set(by_seed[seeds[0]].folds)),
        "label_names": list(table.label_names),
        "per_seed": [{"seed": seed, **{name: scores[seed][name] for name in _SCORES}} for seed in seeds],
        "confusion_matrix": pooled.tolist(),
        "per_class": {
            name: {"f1": float(f1), "recall": float(recall), "num_samples": int(count) // len(seeds)}
            for name, f1, recall, count in zip(
                table.label_names, f1_per_class(pooled), recall_per_class(pooled), pooled.sum(axis=1)
            )
        },
        # the same pooled predictions of the same models, restricted to one database (MEGC2019)
        "per_dataset": {
            dataset: _mean_scores([one.select(_is_of(one, dataset)) for one in by_seed.values()])
            for dataset in datasets
        },
        "calibration": {"expected_calibration_error": expected_calibration_error(bins), "bins": bins},
        "majority_baseline": _majority(by_seed[seeds[0]], description.get("majority_class", {})),
        # people that are tested on were seen before, in pretraining for example: no number about new people; `None`
        # where it is not known
        "transductive": True if seen_here else False if seen["is_complete"] else None,
        "num_seen_test_subjects": len(seen_here),
    }


def _is_of(table: PredictionTable, dataset: str) -> np.ndarray:
    return np.array(table.datasets) == dataset


def _mean_scores(tables: list[PredictionTable]) -> dict[str, Any]:
    scores = [table.score() for table in tables]
    return {
        **{name: float(np.mean([score[name] for score in scores])) for name in _SCORES},
        "num_samples": scores[0]["num_samples"],
        "num_subjects": len(set(tables[0].subject_ids)),
    }


def _majority(table: PredictionTable, class_of_fold: Mapping[str, str]) -> dict[str, float] | None:
    if not class_of_fold:
        return None
    predictions = [table.label_names.index(class_of_fold[fold]) for fold in table.folds]
    scores = score(table.labels, predictions, table.label_names)
    return {name: scores[name] for name in _SCORES}


def write_figures(
    folder: Path, table: PredictionTable, results: Mapping[str, Any], worst: Sequence[Mapping[str, Any]] = ()
) -> None:
    """
    `confusion.png`, `subjects.png`, `calibration.png`, and with rows of [`worst_samples`] a picture of them.

    Args:
        folder: must not exist.
        results: of [`summarize`].
    """
    folder.mkdir(parents=True)
    title = f"{results.get('method', 'Predictions')} on {results['dataset']}"
    save_figure(
        confusion_figure(np.array(results["confusion_matrix"]), table.label_names, title), folder / "confusion.png"
    )
    people, confusions = seed_confusions(table)
    num_seeds = confusions.shape[0]
    counts = {
        person: (float(matrix.sum()) / num_seeds, float(np.trace(matrix)) / num_seeds)
        for person, matrix in zip(people, confusions.sum(axis=0))
    }
    save_figure(subject_figure(counts, title), folder / "subjects.png")
    calibration = results["calibration"]
    save_figure(
        calibration_figure(calibration["bins"], calibration["expected_calibration_error"], title),
        folder / "calibration.png",
    )
    if worst:
        save_figure(worst_samples_figure(worst, f"{title}: least probable truths"), folder / "worst_samples.png")


def worst_samples(
    table: PredictionTable, samples: SampleSet, maps: Mapping[int, Mapping[str, np.ndarray]]
) -> list[dict[str, Any]]:
    """
    The samples whose true class was given the least probability, averaged over seeds, with their faces.

    Args:
        maps: position of a sample -> name -> `(rows, columns)`; left out of all rows where one has none.

    Returns:
        Rows as [`~micron_bert_hf.visualization.worst_samples_figure`] draws them.
    """
    position = {key: index for index, key in enumerate(zip(samples.datasets, samples.sample_ids))}
    scores: dict[int, list[np.ndarray]] = {}
    for key, one in zip(zip(table.datasets, table.sample_ids), table.scores):
        scores.setdefault(position[key], []).append(one)
    mean_scores = {index: np.mean(several, axis=0) for index, several in scores.items()}
    worst = sorted(mean_scores, key=lambda index: (mean_scores[index][samples.labels[index]], index))[:NUM_WORST]
    have_maps = all(index in maps for index in worst)
    rows = []
    for index in worst:
        row = samples.row(index)
        onset, apex = crop_to_face(row)
        rows.append(
            {
                **row,
                "onset": np.asarray(onset),
                "apex": np.asarray(apex),
                "label": table.label_names[int(samples.labels[index])],
                "prediction": table.label_names[int(mean_scores[index].argmax())],
                "probability": float(mean_scores[index][samples.labels[index]]),
                "maps": dict(maps[index]) if have_maps else {},
            }
        )
    return rows
