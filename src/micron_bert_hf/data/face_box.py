"""Where the face is, from its eyes and its mouth: the box that every method of an evaluation looks at."""

import numpy as np


# Sides of the box in distances between the eyes' centre and the mouth's: to either side of the eyes, up, down. Ours,
# from the sketch that came before this package: brows, cheeks and chin are inside, little hair and background is.
BOX_SIDE, BOX_UP, BOX_DOWN = 1.25, 0.85, 1.75
# Landmarks of a row as `micron_bert_hf.synthetic` writes them: their number, and which are the inner and outer corners
# of both eyes and both corners of the mouth. `synthetic` imports `data`, so that its names cannot be imported here; a
# test holds the two together.
NUM_LANDMARKS = 25
EYE_CORNERS, MOUTH_CORNERS = (6, 7, 8, 9), (16, 17)


def face_box(eyes: np.ndarray, mouth: np.ndarray, height: int, width: int) -> tuple[int, int, int, int]:
    """
    The box round a face: 2.5 distances between eyes and mouth wide, 2.6 high, cut to the image.

    Args:
        eyes, mouth (`np.ndarray` of shape `(2,)`): centre of the eyes and of the mouth, (x, y) in pixels, float.
        height, width (`int`): of the image.

    Returns:
        `(left, top, right, bottom)` in pixels; right and bottom are outside, as in `image[top:bottom, left:right]`.

    Raises:
        ValueError: a centre that is not finite, or a box without pixels: eyes and mouth in one place, or a face
            outside the image.
    """
    if not (np.isfinite(eyes).all() and np.isfinite(mouth).all()):
        raise ValueError(f"the eyes are at {eyes.tolist()} and the mouth at {mouth.tolist()}; expected finite numbers")
    length = float(np.linalg.norm(mouth - eyes))
    left, right = max(int(eyes[0] - BOX_SIDE * length), 0), min(int(eyes[0] + BOX_SIDE * length), width)
    top, bottom = max(int(eyes[1] - BOX_UP * length), 0), min(int(eyes[1] + BOX_DOWN * length), height)
    if left >= right or top >= bottom:
        raise ValueError(
            f"eyes at {eyes.tolist()} and mouth at {mouth.tolist()} give no box in an image of {width} x {height}"
            f" pixels: left {left}, top {top}, right {right}, bottom {bottom}"
        )
    return left, top, right, bottom
