"""Motion of every pixel as 16-bit grey, which every reader of pictures decodes; `synthetic.dataset_rows` writes it."""

import numpy as np
from PIL import Image


# One step of the stored motion in pixels, and the stored value of no motion. Range: 64 pixels either way; rounding:
# at most 1/1024 pixel, as float16's between 2 and 4 pixels. Ours.
MOTION_STEP = 1 / 512
MOTION_ZERO = 1 << 15


def decode_motion(image: Image.Image | np.ndarray) -> np.ndarray:
    """Motion of a dataset's row, `decode_motion(row["motion"])`.

    Args:
        image: the decoded column `motion` or `expression_motion`: 16-bit grey, `(2 H, W)`.

    Returns:
        `(H, W, 2)` float32, (x, y) in pixels, within 1/1024 pixel of what the generator made.

    Raises:
        ValueError: if the image is not 16-bit grey with an even height.
    """
    stored = np.asarray(image)
    if stored.dtype != np.uint16 or stored.ndim != 2 or len(stored) % 2:
        raise ValueError(f"the image is {stored.dtype} with shape {stored.shape}; expected uint16 with shape (2 H, W)")
    pixels = (stored.astype(np.float32) - MOTION_ZERO) * np.float32(MOTION_STEP)
    return np.stack(np.split(pixels, 2), -1)
