"""Figures: one prediction, what a pretrained model restores, and how a pretraining run went."""

from .drawing import OTHER_COLOUR, PREDICTED_COLOUR, TRUE_COLOUR, overlay, save_figure
from .prediction import prediction_figure, relative_change
from .pretraining import pretraining_summary_figure, reconstruction_figure, tint_swapped_patches


__all__ = [
    "OTHER_COLOUR",
    "PREDICTED_COLOUR",
    "TRUE_COLOUR",
    "overlay",
    "prediction_figure",
    "pretraining_summary_figure",
    "reconstruction_figure",
    "relative_change",
    "save_figure",
    "tint_swapped_patches",
]
