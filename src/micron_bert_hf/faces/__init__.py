"""Faces in frames: found once for a clip, aligned by one transform, and held still if asked to."""

from .alignment import FaceAligner, FaceAlignment
from .detection import Face, FaceDetector, choose_face, load_detector
from .stabilization import Drift, Stabilizer
from .transforms import similarity_transform


__all__ = [
    "Drift",
    "Face",
    "FaceAligner",
    "FaceAlignment",
    "FaceDetector",
    "Stabilizer",
    "choose_face",
    "load_detector",
    "similarity_transform",
]
