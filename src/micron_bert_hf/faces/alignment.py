"""
One transform for a clip: the face is found once, on the onset frame, and every frame is warped alike.

Finding it anew on every frame would move the aligned pictures against each other by more than a micro-expression moves
the face (`benchmarks/results/faces.json` has the numbers).
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import cv2
import numpy as np

from .detection import Face, FaceDetector, check_rgb_frame, choose_face
from .transforms import chain_transforms, invert_transform, move_points, similarity_transform


# Where the five points of a face go, in distances between the eyes from the picture's centre, and how long that
# distance is as a share of the picture's side: brows and chin are inside, little hair and background is. Ours, from
# the sketch that came before this package.
TEMPLATE = np.array([[-0.5, -0.44], [0.5, -0.44], [0.0, 0.13], [-0.415, 0.71], [0.415, 0.71]])
EYE_DISTANCE_SHARE = 72 / 224
# Before detection, the darkest and the brightest hundredth of all values become black and white. On synthetic faces,
# the error of the eyes is then 4.1 % of their distance at any brightness; without it 3.9 % at full, 9.6 % at 0.2 of
# the brightness, and at 0.12 four faces of five are not found. From the factor on that a note is worth: ours.
STRETCH_PERCENT = 1
NOTED_STRETCH = 2
# Shares above which a note is worth: half a percent would be written as 0 %.
NOTED_SHARE = 0.005
# Standard deviation of a pixel's own blur, by which a smaller picture is blurred beforehand, and the least blur that
# is worth its time, both in pixels. Ours, from the sketch.
PIXEL_BLUR, LEAST_BLUR = 0.5, 0.3


@dataclass(frozen=True, eq=False)
class FaceAlignment:
    """
    What aligns every frame of one clip, and how it came about.

    Attributes:
        transform: `(2, 3)` float64, takes (x, y, 1) in the source frame to (x, y) in the aligned picture, both in
            pixel indices (the centre of the first pixel is (0, 0)); rotation, one scale and translation.
        image_size: side of the aligned picture, in pixels.
        frame_size: height and width of the clip's frames, in pixels.
        face: the face that was aligned, in the source frame; `None` if none was found.
        source: `"onset"`, the name of the other frame that the face was taken from, or `"none"`.
        notes: what a converter should write down: several faces and which was used, a dark frame, a face or an aligned
            picture that the frame cuts off, a face from another frame, no face.
    """

    transform: np.ndarray
    image_size: int
    frame_size: tuple[int, int]
    face: Face | None
    source: str
    notes: tuple[str, ...]


class FaceAligner:
    """
    Finds a clip's face once and warps every frame alike.

    Args:
        detector: see [`load_detector`]. It is shown frames of full contrast.
        image_size: side of the aligned pictures, in pixels.

    Raises:
        ValueError: `image_size` is not a positive integer.
    """

    def __init__(self, detector: FaceDetector, image_size: int = 224) -> None:
        if isinstance(image_size, bool) or not isinstance(image_size, int) or image_size < 1:
            raise ValueError(f"image_size is {image_size!r}; expected a positive integer")
        self.detector = detector
        self.image_size = image_size

    def find(self, onset_frame: np.ndarray, fallback_frames: Iterable[tuple[str, np.ndarray]] = ()) -> FaceAlignment:
        """
        The alignment of a clip; if no frame that is looked at has a face, the largest square in the middle.

        Args:
            onset_frame: `(H, W, 3)` RGB, `(H, W)` or `(H, W, 1)` grey, uint8.
            fallback_frames: (name, frame) of others of the clip, of the same height and width. They are looked at in
                their order and taken from the iterable one by one, and only while no face was found.

        Raises:
            ValueError: a frame of another type or shape.
        """
        onset_frame = as_rgb(onset_frame)
        frame_size = onset_frame.shape[:2]
        tried = []
        for source, frame in chain([("onset", onset_frame)], fallback_frames):
            frame = as_rgb(frame)
            if frame.shape[:2] != frame_size:
                raise ValueError(
                    f"frame {source!r} has height and width {frame.shape[:2]}, the onset frame has {frame_size}"
                )
            stretched, factor = stretch_contrast(frame)
            faces = self.detector(stretched)
            if faces:
                return self._align(faces, frame_size, source, factor)
            tried.append(source)
        transform = centre_square(frame_size, self.image_size)
        notes = (f"no face on {', '.join(tried)}, centre square used",)
        return FaceAlignment(transform, self.image_size, frame_size, None, "none", notes)

    def warp(self, frame: np.ndarray, alignment: FaceAlignment, drift: np.ndarray | None = None) -> np.ndarray:
        """
        Args:
            frame: of the clip, as for [`FaceAligner.find`].
            alignment: of the clip.
            drift: `(2, 3)`, where the head has moved to since the onset, from aligned to aligned pixel; it is taken
                back in the same resampling. See [`Stabilizer`].

        Returns:
            `(S, S, 3)` uint8 RGB, bicubic, blurred beforehand where it shrinks; outside the frame its border repeats.

        Raises:
            ValueError: the frame has another type or shape than the onset frame; an alignment of another size.
        """
        frame = as_rgb(frame)
        if alignment.image_size != self.image_size:
            raise ValueError(f"the alignment is for {alignment.image_size} pixels, the aligner for {self.image_size}")
        if frame.shape[:2] != alignment.frame_size:
            raise ValueError(
                f"the frame has height and width {frame.shape[:2]}, the aligned one had {alignment.frame_size}"
            )
        transform = alignment.transform
        if drift is not None:
            transform = chain_transforms(transform, invert_transform(drift))
        scale = math.hypot(transform[0, 0], transform[1, 0])
        blur = PIXEL_BLUR * math.sqrt(max(scale**-2 - 1, 0))
        if blur > LEAST_BLUR:
            frame = cv2.GaussianBlur(frame, (0, 0), blur, borderType=cv2.BORDER_REPLICATE)
        return cv2.warpAffine(
            frame,
            transform,
            (self.image_size, self.image_size),
            flags=cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REPLICATE,
        )

    def _align(self, faces: Sequence[Face], frame_size: tuple[int, int], source: str, factor: float) -> FaceAlignment:
        """Of the faces of a frame of (height, width), whose contrast was stretched by `factor` to find them."""
        face = choose_face(faces, *frame_size)
        transform = similarity_transform(face.points, template_points(self.image_size))
        notes = []
        if source != "onset":
            notes.append(f"no face on onset, taken from {source}")
        if factor >= NOTED_STRETCH:
            notes.append(f"dark or flat frame, contrast stretched {factor:.1f} times for detection")
        if len(faces) > 1:
            column, row = (face.box[:2] + face.box[2:]) / 2
            notes.append(f"{len(faces)} faces, used the one round x {column:.0f}, y {row:.0f}")
        for what, share in (
            ("face's box", share_of_box_outside(face.box, frame_size)),
            ("aligned picture", share_of_picture_outside(transform, frame_size, self.image_size)),
        ):
            if share >= NOTED_SHARE:
                notes.append(f"{share:.0%} of the {what} is outside the frame")
        return FaceAlignment(transform, self.image_size, frame_size, face, source, tuple(notes))


def as_rgb(frame: np.ndarray) -> np.ndarray:
    """
    Args:
        frame: `(H, W, 3)` RGB, `(H, W)` or `(H, W, 1)` grey, uint8.

    Returns:
        `(H, W, 3)` uint8, contiguous; grey three times.

    Raises:
        ValueError: another dtype or shape, or no pixels.
    """
    if frame.ndim == 2:
        frame = frame[..., None]
    if frame.ndim == 3 and frame.shape[2] == 1:
        frame = np.repeat(frame, 3, axis=2)
    check_rgb_frame(frame)
    return np.ascontiguousarray(frame)


def stretch_contrast(frame: np.ndarray) -> tuple[np.ndarray, float]:
    """
    `frame`, `(H, W, 3)` uint8, with its darkest hundredth black and its brightest white, and by what factor its
    contrast grew: 1 at least, up to 255 where all values are the same.
    """
    values = frame.reshape(-1, 1)
    share = np.cumsum(cv2.calcHist([values], [0], None, [256], [0, 256])) / values.size
    low, high = np.searchsorted(share, (STRETCH_PERCENT / 100, 1 - STRETCH_PERCENT / 100))
    factor = 255 / max(high - low, 1)
    table = np.clip((np.arange(256) - low) * factor, 0, 255).astype(np.uint8)
    return cv2.LUT(frame, table), factor


def template_points(image_size: int) -> np.ndarray:
    """Where the five points of a face go in a picture of `image_size` pixels: `(5, 2)` float64, pixel indices."""
    return TEMPLATE * EYE_DISTANCE_SHARE * image_size + (image_size - 1) / 2


def centre_square(frame_size: tuple[int, int], image_size: int) -> np.ndarray:
    """The `(2, 3)` float64 transform of the largest square in the middle of a frame to a picture of `image_size`."""
    height, width = frame_size
    scale = image_size / min(height, width)
    shift = (image_size - 1) / 2 - scale * (np.array([width, height]) - 1) / 2
    return np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])


def share_of_box_outside(box: np.ndarray, frame_size: tuple[int, int]) -> float:
    """Share of a box `(4,)`, in pixel indices, that lies outside a frame of (height, width)."""
    limit = np.array([frame_size[1], frame_size[0]]) - 0.5
    inside = np.clip(np.minimum(box[2:], limit) - np.maximum(box[:2], -0.5), 0, None)
    return float(1 - inside.prod() / (box[2:] - box[:2]).prod())


def share_of_picture_outside(transform: np.ndarray, frame_size: tuple[int, int], image_size: int) -> float:
    """Share of the pixels of an aligned picture whose centres come from outside a frame of (height, width)."""
    rows, columns = np.mgrid[:image_size, :image_size]
    places = np.stack([columns.ravel(), rows.ravel()], 1)
    x, y = move_points(places, invert_transform(transform)).T
    height, width = frame_size
    return float(1 - np.mean((x >= -0.5) & (x < width - 0.5) & (y >= -0.5) & (y < height - 0.5)))
