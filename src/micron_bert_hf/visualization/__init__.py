"""Figures: a prediction, a clip and its video, what a pretrained model restores, how a run went, an evaluation."""

from .clip import clip_figure, clip_scale, shown_places, write_clip_video
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
    "clip_figure",
    "clip_scale",
    "comparison_figure",
    "confusion_figure",
    "displacement_figure",
    "overlay",
    "prediction_figure",
    "pretraining_summary_figure",
    "reconstruction_figure",
    "relative_change",
    "save_figure",
    "shown_places",
    "subject_figure",
    "timeline_figure",
    "tint_swapped_patches",
    "worst_samples_figure",
    "write_clip_video",
]
