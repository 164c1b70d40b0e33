"""Frame pairs and clips to batches: subject-disjoint splits, augmentation of both alike, datasets, collators."""

from .augmentation import PairAugmentation, augment_pairs, random_crops
from .clip_pairs import (
    ClipPairs,
    FrameDistance,
    PairBatches,
    PairCollator,
    PairViews,
    denormalize_frames,
    normalize_frames,
)
from .clip_set import ClipIndex, write_clips
from .pair_order import PairOrder, batches_of_rank
from .pairs import ClassificationCollator, FramePairs, per_sample_generator
from .splits import SubjectSplit, check_subjects_disjoint, holdout_subjects


__all__ = [
    "ClassificationCollator",
    "ClipIndex",
    "ClipPairs",
    "FrameDistance",
    "FramePairs",
    "PairAugmentation",
    "PairBatches",
    "PairCollator",
    "PairOrder",
    "PairViews",
    "SubjectSplit",
    "augment_pairs",
    "batches_of_rank",
    "check_subjects_disjoint",
    "denormalize_frames",
    "holdout_subjects",
    "normalize_frames",
    "per_sample_generator",
    "random_crops",
    "write_clips",
]
