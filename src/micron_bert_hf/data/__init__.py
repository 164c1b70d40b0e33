"""Rows of frame pairs to batches: subject-disjoint splits, pair-consistent augmentation, datasets and collators."""

from .augmentation import PairAugmentation, augment_pairs, random_crops
from .pairs import ClassificationCollator, FramePairs, PretrainingCollator, per_sample_generator
from .splits import SubjectSplit, check_subjects_disjoint, holdout_subjects


__all__ = [
    "ClassificationCollator",
    "FramePairs",
    "PairAugmentation",
    "PretrainingCollator",
    "SubjectSplit",
    "augment_pairs",
    "check_subjects_disjoint",
    "holdout_subjects",
    "per_sample_generator",
    "random_crops",
]
