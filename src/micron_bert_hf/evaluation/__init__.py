"""Scores nobody can doubt: one prediction per sample, pooled over subjects, scored once with a fixed label set."""

from .metrics import accuracy, confusion_matrix, majority_baseline, score, uar, uf1
from .predictions import PredictionTable, predict


__all__ = [
    "PredictionTable",
    "accuracy",
    "confusion_matrix",
    "majority_baseline",
    "predict",
    "score",
    "uar",
    "uf1",
]
