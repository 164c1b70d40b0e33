"""What simple methods score on a labelled set, on subjects they have not seen: the numbers beside which others stand.

Folds hold one subject each (or, beyond `MAX_FOLDS` subjects, several); predictions of all folds are pooled and scored
once (See et al., FG 2019). The interval is a percentile bootstrap over subjects, since clips of one subject are not
independent (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13).

Of long clips every micro-expression is a sample, from its true onset to its annotated apex; they store no motion, so
that `true_flow` is left out.

All but `majority` look at a crop round the eyes and the mouth that the TRUE landmarks of the onset frame give:

| name | features | classifier |
|---|---|---|
| `majority` | none | the most frequent training label, the first of several |
| `onset_appearance` | grey onset frame | SVM |
| `frame_difference` | absolute grey difference of onset and apex, mean grey aligned | logistic regression |
| `dis_flow` | DIS optical flow (Kroeger et al., ECCV 2016), onset to apex | SVM |
| `true_flow` | the exact motion | SVM |

Features are means over a 10 x 10 grid; flow is taken relative to its median in the crop, which removes most of the
head's movement. `onset_appearance` above chance would mean that the label leaks through the still face.
"""

import importlib.metadata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from ..evaluation.metrics import confusion_matrix, score, uar, uf1
from .face_model import LANDMARK_NAMES


MAX_FOLDS = 60
NUM_BOOTSTRAP_SAMPLES = 1000
BOOTSTRAP_SEED = 0
# Grid and crop (in distances between the eyes' centre and the mouth's: to either side, up, down), and the SVM's C:
# ours, from the sketch that came before this package.
_GRID = 10
_CROP_SIDE, _CROP_UP, _CROP_DOWN = 1.25, 0.85, 1.75
_SVM_C = 3.0
# Regularised more than by default: 100 features of 480 samples. Ours, not tuned.
_LINEAR_C = 0.1
_EYES = [LANDMARK_NAMES.index(f"eye_{corner}_{side}") for corner in ("inner", "outer") for side in ("left", "right")]
_MOUTH = [LANDMARK_NAMES.index(f"mouth_corner_{side}") for side in ("left", "right")]


def _svm() -> BaseEstimator:
    return make_pipeline(StandardScaler(), SVC(C=_SVM_C, class_weight="balanced"))


def _linear() -> BaseEstimator:
    return make_pipeline(StandardScaler(), LogisticRegression(C=_LINEAR_C, class_weight="balanced", max_iter=1000))


_CLASSIFIERS: Mapping[str, Callable[[], BaseEstimator]] = {
    "onset_appearance": _svm,
    "frame_difference": _linear,
    "dis_flow": _svm,
    "true_flow": _svm,
}
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
        ValueError: for a repeated `sample_id` or an unknown label.
    """
    sample_ids, subjects, labels = [], [], []
    features: dict[str, list[np.ndarray]] = {name: [] for name in _CLASSIFIERS}
    for sample in samples:
        sample_ids.append(sample["sample_id"])
        subjects.append(sample["subject_id"])
        if sample["label"] not in label_names:
            raise ValueError(f"{sample['sample_id']} has the label {sample['label']!r}; expected one of {label_names}")
        labels.append(list(label_names).index(sample["label"]))
        for name, values in baseline_features(sample).items():
            features[name].append(values)
    if len(set(sample_ids)) != len(sample_ids):
        raise ValueError(f"{len(sample_ids)} samples have {len(set(sample_ids))} different names; expected no repeats")
    if len(set(subjects)) < 2 or len(set(labels)) < 2:
        raise TooFewToCompare(
            f"there are {len(set(subjects))} subject(s) and {len(set(labels))} class(es); expected two of each or more"
        )
    truth, groups = np.array(labels), np.array(subjects)
    folds = subject_folds(groups)
    predictions = {"majority": predict_majority(truth, folds, len(label_names))}
    for name, make in _CLASSIFIERS.items():
        if features[name]:
            predictions[name] = _predict(np.array(features[name]), truth, folds, make)
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
                **_score_with_intervals(truth, predictions[name], groups, label_names),
            }
            for name, description in BASELINES.items()
            if name in predictions
        },
    }


def baseline_features(sample: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """One float32 vector for each trained baseline: 100 numbers, 200 for flow. Without `motion`, no `true_flow`."""
    onset, apex = (cv2.cvtColor(np.ascontiguousarray(sample[name]), cv2.COLOR_RGB2GRAY) for name in ("onset", "apex"))
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(onset, apex, None)
    rows, columns = _face_crop(sample["landmarks_onset"], len(onset))
    before, after = (image[rows, columns].astype(np.float32) for image in (onset, apex))
    difference = np.abs((after - after.mean()) - (before - before.mean()))
    features = {
        "onset_appearance": _on_grid(before),
        "frame_difference": _on_grid(difference),
        "dis_flow": _relative_flow(flow[rows, columns]),
    }
    if "motion" in sample:
        features["true_flow"] = _relative_flow(sample["motion"][rows, columns].astype(np.float32))
    return features


def subject_folds(subjects: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """(training, test) positions; no subject is in both, and every position is tested once.

    One subject a fold (leave one subject out) up to `MAX_FOLDS` subjects.
    """
    num_folds = min(len(set(subjects)), MAX_FOLDS)
    return list(GroupKFold(num_folds).split(subjects, groups=subjects))


def predict_majority(
    labels: np.ndarray, folds: Sequence[tuple[np.ndarray, np.ndarray]], num_labels: int
) -> np.ndarray:
    """`(num_samples,)` class numbers: the most frequent training label of each sample's fold."""
    predictions = np.empty_like(labels)
    for train, test in folds:
        predictions[test] = np.bincount(labels[train], minlength=num_labels).argmax()
    return predictions


def bootstrap_intervals(
    confusions: np.ndarray, num_samples: int = NUM_BOOTSTRAP_SAMPLES, seed: int = BOOTSTRAP_SEED
) -> dict[str, list[float]]:
    """95 % percentile intervals of UF1 and UAR over resampled subjects.

    Args:
        confusions: `(num_subjects, num_labels, num_labels)` confusion matrix of each subject.
        num_samples: resamples.
        seed: of the resampling.

    Returns:
        `{"uf1_interval": [low, high], "uar_interval": [low, high]}`.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(confusions), size=(num_samples, len(confusions)))
    pooled = [confusions[subjects].sum(0) for subjects in drawn]
    return {
        f"{name}_interval": np.percentile([metric(confusion) for confusion in pooled], [2.5, 97.5]).tolist()
        for name, metric in (("uf1", uf1), ("uar", uar))
    }


def _score_with_intervals(
    labels: np.ndarray, predictions: np.ndarray, subjects: np.ndarray, label_names: Sequence[str]
) -> dict[str, Any]:
    scores = score(labels, predictions, label_names)
    confusions = np.array(
        [
            confusion_matrix(labels[subjects == subject], predictions[subjects == subject], len(label_names))
            for subject in np.unique(subjects)
        ]
    )
    kept = {name: scores[name] for name in ("uf1", "uar", "accuracy", "confusion_matrix")}
    return {**kept, **bootstrap_intervals(confusions)}


def _predict(
    features: np.ndarray,
    labels: np.ndarray,
    folds: Sequence[tuple[np.ndarray, np.ndarray]],
    make: Callable[[], BaseEstimator],
) -> np.ndarray:
    predictions = np.empty_like(labels)
    for train, test in folds:
        predictions[test] = make().fit(features[train], labels[train]).predict(features[test])
    return predictions


def _face_crop(landmarks: np.ndarray, size: int) -> tuple[slice, slice]:
    eyes, mouth = landmarks[_EYES].mean(0), landmarks[_MOUTH].mean(0)
    length = float(np.linalg.norm(mouth - eyes))
    left, right = eyes[0] - _CROP_SIDE * length, eyes[0] + _CROP_SIDE * length
    top, bottom = eyes[1] - _CROP_UP * length, eyes[1] + _CROP_DOWN * length
    rows, columns = ((max(int(low), 0), min(int(high), size)) for low, high in ((top, bottom), (left, right)))
    return slice(*rows), slice(*columns)


def _on_grid(image: np.ndarray) -> np.ndarray:
    return cv2.resize(image, (_GRID, _GRID), interpolation=cv2.INTER_AREA).ravel()


def _relative_flow(flow: np.ndarray) -> np.ndarray:
    return _on_grid(flow - np.median(flow, axis=(0, 1)))
