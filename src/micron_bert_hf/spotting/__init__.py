"""From a video to micro-expressions: where they are, and what they are."""

from .intervals import SpottedInterval, SpottingOptions, pick_intervals
from .recognizer import ChangeMap, FoundExpression, MicroExpressionRecognizer, MovementCurve
from .video import Video, VideoFrame


__all__ = [
    "ChangeMap",
    "FoundExpression",
    "MicroExpressionRecognizer",
    "MovementCurve",
    "SpottedInterval",
    "SpottingOptions",
    "Video",
    "VideoFrame",
    "pick_intervals",
]
