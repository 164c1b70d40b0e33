"""Scores nobody can doubt: one prediction per sample, pooled over subjects, scored once with a fixed label set."""

from .linear_probe import attention_drop_features, linear_probe
from .metrics import accuracy, confusion_matrix, majority_baseline, score, uar, uf1
from .predictions import PredictionTable, predict


__all__ = [
    "PredictionTable",
    "accuracy",
    "attention_drop_features",
    "confusion_matrix",
    "linear_probe",
    "majority_baseline",
    "predict",
    "score",
    "uar",
    "uf1",
]
