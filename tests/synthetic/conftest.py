"""Shared faces and rows: painting a subject takes about a second, so each is made once."""

import numpy as np
import pytest

from micron_bert_hf.synthetic import generate_micro_expressions, generate_unlabelled_clips
from micron_bert_hf.synthetic.face_model import FaceModel
from micron_bert_hf.synthetic.geometry import Camera
from micron_bert_hf.synthetic.skin import SkinPainter
from micron_bert_hf.synthetic.subject import sample_subject


SMALL = {
    "num_subjects": 2,
    "clips_per_class": 1,
    "image_size": 64,
    "difficulty": 0.3,
    "seed": 3,
    "classes": ("happiness", "disgust"),
}


@pytest.fixture(scope="session")
def small():
    return dict(SMALL)


@pytest.fixture(scope="session")
def small_rows():
    return list(generate_micro_expressions(**SMALL))


@pytest.fixture(scope="session")
def flow_rows():
    """Frames large enough that a sub-pixel movement shows above the sensor's noise."""
    return list(generate_micro_expressions(2, 1, image_size=160, difficulty=0.3, seed=7))


@pytest.fixture(scope="session")
def unlabelled_row():
    return next(generate_unlabelled_clips(1, seconds=2.5, fps=20, image_size=48, difficulty=0.5, seed=5))


@pytest.fixture(scope="session")
def face_model():
    return FaceModel()


@pytest.fixture(scope="session")
def subject(face_model):
    return sample_subject(face_model, SkinPainter(face_model), np.random.default_rng(1))


@pytest.fixture(scope="session")
def camera(subject):
    return Camera.framing(160, subject.eye_centre, subject.eye_to_chin, fill=1.1)
