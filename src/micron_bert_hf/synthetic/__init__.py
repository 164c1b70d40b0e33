"""Synthetic micro-expressions: faces with identity, FACS action units, onset and apex frames, and dense exact motion.

    from micron_bert_hf.synthetic import generate_micro_expressions, generate_unlabelled_clips

    for row in generate_micro_expressions(num_subjects=12, image_size=96, difficulty=0.3, seed=0):
        row["onset"], row["apex"], row["label"], row["motion"]

What it is for: trying, testing and teaching without a signed agreement; measuring whether a model sees where a face
moves, since no recorded database knows the true motion.

What an intensity means: 1.0 moves the unit's own region by a tenth of the distance between the eyes, for every unit
(`face_model.UNIT_DISPLACEMENT`). Strength, timing, pose, light, noise and company are drawn alike for every class, and
`tests/synthetic/test_leaks.py` trains classifiers on each of them to show that they stay at chance.

What it does not show: how a model does on people. Faces are rendered from one head model with painted skin; classes
are action-unit combinations by rule, without the ambiguity of human labels; intensities, timing and noise are ours. A
number measured here is a number about this generator. Skin does not bulge over muscles, hair is a shell of strands
that does not sway, lenses of glasses neither reflect nor refract, and lips that part do not stick together.

Time, numpy at 224 pixels. On one core with AVX-512: 0.75 to 0.85 s to paint a subject, 0.055 s a frame, 0.18 s a pair
with its ground truth. On two cores with AVX2, busy with other work too: 2.6 minutes for 60 subjects with 8 pairs each,
17 s for a long clip of 201 frames. A profile is flat: rasterising takes a quarter, skin a fifth, the rest is spread.

Licence and credits: the head mesh and its targets are MakeHuman/MPFB2's, the 52 facial units are "Face Units 01" by
Mika Suominen; all are CC0 1.0 (see `assets/`). No photograph, scan or texture of a person is used.
"""

from .dataset_rows import decode_motion
from .expressions import CLASS_ACTION_UNITS, THREE_CLASS_LABELS
from .face_model import ACTION_UNITS, LANDMARK_NAMES
from .generation import DEFAULT_CLASSES, GENERATOR_VERSION, generate_micro_expressions, generate_unlabelled_clips
from .motion import patch_motion
from .presets import PRESETS
from .preview import motion_image, save_contact_sheet


__all__ = [
    "ACTION_UNITS",
    "CLASS_ACTION_UNITS",
    "DEFAULT_CLASSES",
    "GENERATOR_VERSION",
    "LANDMARK_NAMES",
    "PRESETS",
    "THREE_CLASS_LABELS",
    "decode_motion",
    "generate_micro_expressions",
    "generate_unlabelled_clips",
    "motion_image",
    "patch_motion",
    "save_contact_sheet",
]
