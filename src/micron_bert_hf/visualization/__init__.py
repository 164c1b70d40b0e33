"""Figures: one prediction, what a pretrained model restores, how a pretraining run went, and an evaluation."""

from .drawing import OTHER_COLOUR, PREDICTED_COLOUR, TRUE_COLOUR, overlay, save_figure
from .evaluation import (
    calibration_figure,
    comparison_figure,
    confusion_figure,
    subject_figure,
    worst_samples_figure,
)
from .prediction import prediction_figure, relative_change
from .pretraining import (
    displacement_figure,
    pretraining_summary_figure,
    reconstruction_figure,
    tint_swapped_patches,
)
from .spotting import timeline_figure


__all__ = [
    "OTHER_COLOUR",
    "PREDICTED_COLOUR",
    "TRUE_COLOUR",
    "calibration_figure",
    "comparison_figure",
    "confusion_figure",
    "displacement_figure",
    "overlay",
    "prediction_figure",
    "pretraining_summary_figure",
    "reconstruction_figure",
    "relative_change",
    "save_figure",
    "subject_figure",
    "timeline_figure",
    "tint_swapped_patches",
    "worst_samples_figure",
]
