"""Which face of several, and detectors by name."""

import numpy as np
import pytest

from micron_bert_hf.faces import Face, choose_face, load_detector
from micron_bert_hf.faces.mtcnn import MtcnnDetector


def face(x, y, side):
    """A square face round (x, y)."""
    half = side / 2
    return Face(0.9, np.array([x - half, y - half, x + half, y + half]), np.zeros((5, 2)))


@pytest.mark.parametrize(
    ("places", "chosen"),
    [
        ([(100, 120, 50), (450, 120, 60)], 1),  # about as far from the centre: the larger
        ([(60, 240, 100), (320, 240, 100)], 1),  # as large: the more central
        ([(320, 30, 100), (320, 240, 80)], 1),  # at the edge above, 1.6 times as large
        ([(600, 240, 300), (320, 240, 100)], 0),  # at the edge, 9 times as large
        ([(320, 240, 100), (320, 240, 100)], 0),  # equal: the first
        ([(320, 440, 100), (520, 240, 100)], 1),  # as many pixels off, but a smaller part of the frame's width
    ],
)
def test_the_largest_near_the_centre(places, chosen):
    faces = [face(*place) for place in places]
    assert choose_face(faces, 480, 640) is faces[chosen]


def test_detectors_have_names():
    assert isinstance(load_detector("mtcnn"), MtcnnDetector)
    with pytest.raises(ValueError, match="'retina'; expected 'mtcnn' or 'yunet'"):
        load_detector("retina")
