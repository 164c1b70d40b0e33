"""Scores nobody can doubt: one prediction per sample, pooled over subjects, scored once with a fixed label set."""

from ..data import LABEL_MAPS, LabelMap, SampleSet, read_samples
from .calibration_metrics import expected_calibration_error, reliability_bins
from .evaluator import FoldsFailed, evaluate
from .linear_probe import attention_drop_features, linear_probe
from .methods import Method, Predictor, TrainingPairs
from .metrics import accuracy, confusion_matrix, majority_baseline, score, uar, uf1
from .predictions import PredictionTable, predict
from .protocols import (
    EvaluationProtocol,
    Fold,
    as_is,
    check_folds,
    cross_dataset,
    group_kfold,
    holdout_subjects,
    loso,
    megc2019,
    parse_protocol,
)
from .reference_methods import REFERENCE_METHODS
from .report import seed_confusions, summarize, write_figures
from .spotting_metrics import interval_iou, match_intervals, score_spotting
from .subject_metrics import bootstrap_intervals, paired_comparison, subject_confusions


__all__ = [
    "EvaluationProtocol",
    "Fold",
    "FoldsFailed",
    "LABEL_MAPS",
    "LabelMap",
    "Method",
    "PredictionTable",
    "Predictor",
    "REFERENCE_METHODS",
    "SampleSet",
    "TrainingPairs",
    "accuracy",
    "as_is",
    "attention_drop_features",
    "bootstrap_intervals",
    "check_folds",
    "confusion_matrix",
    "cross_dataset",
    "evaluate",
    "expected_calibration_error",
    "group_kfold",
    "holdout_subjects",
    "interval_iou",
    "linear_probe",
    "loso",
    "majority_baseline",
    "match_intervals",
    "megc2019",
    "paired_comparison",
    "parse_protocol",
    "predict",
    "read_samples",
    "reliability_bins",
    "score",
    "score_spotting",
    "seed_confusions",
    "subject_confusions",
    "summarize",
    "uar",
    "uf1",
    "write_figures",
]
