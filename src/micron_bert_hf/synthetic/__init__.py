"""Synthetic micro-expressions: faces with identity, FACS action units, onset and apex frames, and dense exact motion.

    from micron_bert_hf.synthetic import generate_micro_expressions

    for row in generate_micro_expressions(num_subjects=12, image_size=96, difficulty=0.3, seed=0):
        row["onset"], row["apex"], row["label"], row["motion"]

What it is for: trying, testing and teaching without a signed agreement; measuring whether a model sees where a face
moves, since
no recorded database knows the true motion.

What it does not show: how a model does on people. Faces are rendered from one head model with painted skin and hair;
classes are
action-unit combinations by rule, without the ambiguity of human labels; intensities, timing and noise are ours. A
number measured here is a number about this generator. Teeth and mouth are crude, hair is painted on, there are no
glasses.

Licence and credits: the head mesh and its targets are MakeHuman/MPFB2's, the 52 facial units are "Face Units 01" by
Mika Suominen;
all are CC0 1.0 (see `assets/`). No photograph, scan or texture of a person is used.
"""

from .expressions import CLASS_ACTION_UNITS, THREE_CLASS_LABELS
from .face_model import ACTION_UNITS, LANDMARK_NAMES
from .generation import DEFAULT_CLASSES, GENERATOR_VERSION, generate_micro_expressions
from .motion import patch_motion
from .preview import motion_image, save_contact_sheet


__all__ = [
    "ACTION_UNITS",
    "CLASS_ACTION_UNITS",
    "DEFAULT_CLASSES",
    "GENERATOR_VERSION",
    "LANDMARK_NAMES",
    "THREE_CLASS_LABELS",
    "generate_micro_expressions",
    "motion_image",
    "patch_motion",
    "save_contact_sheet",
]
