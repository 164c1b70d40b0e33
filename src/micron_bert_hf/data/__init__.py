"""Frame pairs and clips to batches: labelled sets, subject-disjoint splits, augmentation of both alike, collators."""

from .augmentation import PairAugmentation, augment_pairs, random_crops
from .clip_pairs import (
    ClipPairs,
    DisplacedCollator,
    DisplacedViews,
    FrameDistance,
    PairBatches,
    PairCollator,
    PairViews,
    denormalize_frames,
    normalize_frames,
)
from .clip_set import ClipIndex, write_clips
from .face_box import face_box
from .label_maps import LABEL_MAPS, LabelMap
from .pair_order import PairOrder, batches_of_rank
from .pairs import ClassificationCollator, FramePairs, crop_to_face, per_sample_generator
from .samples import SampleSet, read_samples
from .seen_people import SeenPeople
from .splits import SubjectSplit, check_subjects_disjoint, deal_subjects, holdout_subjects, person_ids


__all__ = [
    "ClassificationCollator",
    "ClipIndex",
    "ClipPairs",
    "DisplacedCollator",
    "DisplacedViews",
    "FrameDistance",
    "FramePairs",
    "LABEL_MAPS",
    "LabelMap",
    "PairAugmentation",
    "PairBatches",
    "PairCollator",
    "PairOrder",
    "PairViews",
    "SampleSet",
    "SeenPeople",
    "SubjectSplit",
    "augment_pairs",
    "batches_of_rank",
    "check_subjects_disjoint",
    "crop_to_face",
    "deal_subjects",
    "denormalize_frames",
    "face_box",
    "holdout_subjects",
    "normalize_frames",
    "per_sample_generator",
    "person_ids",
    "random_crops",
    "read_samples",
    "write_clips",
]
