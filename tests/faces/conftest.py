"""Faces to find: rendering a subject takes about a second, so each is made once."""

import numpy as np
import pytest

from benchmarks.faces import embed, placement, true_points
from micron_bert_hf.faces import FaceAligner, load_detector
from micron_bert_hf.faces.transforms import move_points
from micron_bert_hf.synthetic import generate_micro_expressions


@pytest.fixture(scope="session")
def faces():
    """`(picture, points)` of six people at rest: `(256, 256, 3)` uint8 and `(5, 2)` in pixel indices, true."""
    rows = generate_micro_expressions(6, 1, image_size=256, difficulty=0.5, seed=5, classes=("happiness",))
    return [(row["onset"], true_points(row["landmarks_onset"])) for row in rows]


@pytest.fixture(scope="session")
def smile():
    """One person at rest and at the apex of a clear smile, with a nearly still head; a row of `synthetic`."""
    return next(generate_micro_expressions(1, 1, image_size=256, difficulty=0.0, seed=6, classes=("happiness",)))


@pytest.fixture(scope="session")
def detector():
    return load_detector("mtcnn")


@pytest.fixture(scope="session")
def aligner(detector):
    return FaceAligner(detector, image_size=224)


@pytest.fixture(scope="session")
def scene(faces):
    """
    `scene(height, width, (number, eye distance, roll, centre), ...)`: people in one frame before a grainy wall, and
    their true points.
    """

    def make(height, width, *people):
        random = np.random.default_rng(3)
        frame = random.normal((96, 110, 120), 8, (height, width, 3)).clip(0, 255).astype(np.uint8)
        points = []
        for number, eye_distance, roll, centre in people:
            picture, places = faces[number]
            transform = placement(places, eye_distance, roll, centre)
            frame = embed(picture, frame, transform)
            points.append(move_points(places, transform))
        return frame, points

    return make
