"""What simple methods score on a labelled set, on subjects they have not seen: the numbers beside which others stand.

Folds hold one subject each (or, beyond `MAX_FOLDS` subjects, several); predictions of all folds are pooled and scored
once (See et al., FG 2019). The interval is a percentile bootstrap over subjects, since clips of one subject are not
independent (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13).

Of long clips every micro-expression is a sample, from its true onset to its annotated apex; they store no motion, so
that `true_flow` is left out.

The methods are those of `micron_bert_hf.evaluation.reference_methods` of the same names. They look at a box round the
face that the TRUE landmarks of the onset frame give.
"""

import importlib.metadata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.model_selection import GroupKFold

from ..data.face_box import EYE_CORNERS, MOUTH_CORNERS, face_box
from ..evaluation.methods import Method, TrainingPairs
from ..evaluation.metrics import score
from ..evaluation.reference_methods import REFERENCE_METHODS
from ..evaluation.subject_metrics import bootstrap_intervals, subject_confusions


MAX_FOLDS = 60
NUM_BOOTSTRAP_SAMPLES = 1000
BOOTSTRAP_SEED = 0
# Names and descriptions for tables.
BASELINES: Mapping[str, str] = {
    "majority": "most frequent training label",
    "onset_appearance": "onset frame only, SVM",
    "frame_difference": "frame difference, logistic regression",
    "dis_flow": "DIS optical flow, SVM",
    "true_flow": "ground-truth flow, SVM",
}


class TooFewToCompare(ValueError):
    """Fewer than two subjects or two classes: nothing to learn from one and test on the other."""


def measure_baselines(samples: Iterable[Mapping[str, Any]], label_names: Sequence[str]) -> dict[str, Any]:
    """Trains and scores every baseline of `BASELINES`.

    Args:
        samples: rows with `sample_id`, `subject_id`, `label`, `onset` and `apex` (`(H, W, 3)` uint8 RGB), `motion`
            (`(H, W, 2)`, pixels, or absent from all) and `landmarks_onset` (`(K, 2)`, pixels), from the generator or
            from `dataset_writer.iterate_samples`. They are consumed one by one.
        label_names: the fixed label set.

    Returns:
        Ready for JSON: `protocol`, `num_samples`, `num_subjects`, `label_names`, `versions` and `baselines`, which
        maps a name to its `description`, the pooled `uf1`, `uar`, `accuracy`, `confusion_matrix` (rows = truth) and
        the 95 % intervals `uf1_interval`, `uar_interval` as `[low, high]`.

    Raises:
        TooFewToCompare: for fewer than two subjects or classes.
        ValueError: for a repeated `sample_id`, an unknown label or a face outside its frame.
    """
    methods = {name: REFERENCE_METHODS[name]() for name in BASELINES}
    sample_ids, subjects, labels = [], [], []
    inputs: dict[str, list[np.ndarray]] = {name: [] for name in methods}
    for sample in samples:
        sample_ids.append(sample["sample_id"])
        subjects.append(sample["subject_id"])
        if sample["label"] not in label_names:
            raise ValueError(f"{sample['sample_id']} has the label {sample['label']!r}; expected one of {label_names}")
        labels.append(list(label_names).index(sample["label"]))
        row = evaluation_row(sample)
        for name, method in methods.items():
            if "motion" in row or not method.needs_motion:
                inputs[name].append(method.prepare(row))
    if len(set(sample_ids)) != len(sample_ids):
        raise ValueError(f"{len(sample_ids)} samples have {len(set(sample_ids))} different names; expected no repeats")
    if len(set(subjects)) < 2 or len(set(labels)) < 2:
        raise TooFewToCompare(
            f"there are {len(set(subjects))} subject(s) and {len(set(labels))} class(es); expected two of each or more"
        )
    pairs = {
        name: TrainingPairs(
            np.array(prepared), np.array(labels), tuple(sample_ids), tuple(subjects), tuple(label_names)
        )
        for name, prepared in inputs.items()
        if prepared
    }
    folds = subject_folds(np.array(subjects))
    return {
        "protocol": f"subject-disjoint, {len(folds)} folds over {len(set(subjects))} subjects, pooled predictions;"
        f" 95 % bootstrap interval over subjects, {NUM_BOOTSTRAP_SAMPLES} resamples, seed {BOOTSTRAP_SEED}",
        "num_samples": len(labels),
        "num_subjects": len(set(subjects)),
        "label_names": list(label_names),
        "versions": {
            name: importlib.metadata.version(name)
            for name in ("micron-bert-hf", "numpy", "opencv-python-headless", "scikit-learn")
        },
        "baselines": {
            name: {
                "description": description,
                **_score_with_intervals(pairs[name], _predict(methods[name], pairs[name], folds)),
            }
            for name, description in BASELINES.items()
            if name in pairs
        },
    }


def evaluation_row(sample: Mapping[str, Any]) -> dict[str, Any]:
    """A sample as methods of an evaluation see it: `onset`, `apex`, `face_box` and, if it has one, `motion`."""
    landmarks, (height, width) = sample["landmarks_onset"], sample["onset"].shape[:2]
    eyes, mouth = (landmarks[list(corners)].mean(0) for corners in (EYE_CORNERS, MOUTH_CORNERS))
    row = {name: sample[name] for name in ("onset", "apex", "motion") if name in sample}
    return {**row, "face_box": face_box(eyes, mouth, height, width)}


def subject_folds(subjects: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """(training, test) positions; no subject is in both, and every position is tested once.

    One subject a fold (leave one subject out) up to `MAX_FOLDS` subjects.
    """
    num_folds = min(len(set(subjects)), MAX_FOLDS)
    return list(GroupKFold(num_folds).split(subjects, groups=subjects))


def _predict(method: Method, pairs: TrainingPairs, folds: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """`(num_samples,)` class numbers, each by a predictor that has not seen the sample's subject."""
    predictions = np.empty_like(pairs.labels)
    for train, test in folds:
        predictor = method.fit(_subset(pairs, train), seed=0)
        predictions[test] = predictor(pairs.inputs[test]).argmax(axis=1)
    return predictions


def _subset(pairs: TrainingPairs, positions: np.ndarray) -> TrainingPairs:
    return TrainingPairs(
        pairs.inputs[positions],
        pairs.labels[positions],
        tuple(pairs.sample_ids[position] for position in positions),
        tuple(pairs.subject_ids[position] for position in positions),
        pairs.label_names,
    )


def _score_with_intervals(pairs: TrainingPairs, predictions: np.ndarray) -> dict[str, Any]:
    scores = score(pairs.labels, predictions, pairs.label_names)
    _, confusions = subject_confusions(pairs.subject_ids, pairs.labels, predictions, len(pairs.label_names))
    kept = {name: scores[name] for name in ("uf1", "uar", "accuracy", "confusion_matrix")}
    return {**kept, **bootstrap_intervals(confusions, NUM_BOOTSTRAP_SAMPLES, BOOTSTRAP_SEED)}
