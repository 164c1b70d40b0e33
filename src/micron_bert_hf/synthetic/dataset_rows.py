"""Rows of the generator <-> rows of the dataset on disk. Images are PNG, hence lossless; motion is 16-bit PNG.

Motion was measured on 16 fields of 224 x 224 pixels at difficulty 0.7 (one core; kB a field, ms to write, ms to read):
float16 with zlib 79, 3.3, 0.6; the same with bytes shuffled 58, 3.2, 0.4; the 16-bit PNG chosen here 31, 3.4, 1.2.
The two frames of a sample take 131 kB. An `Array3D` of float16 is read as a nested list of 100,352 Python numbers. A
PNG is also what a dataset viewer shows and what every reader decodes.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from PIL import Image

from ..data.motion import MOTION_STEP, MOTION_ZERO, decode_motion


# zlib level of the PNG files: level 6 takes twice the time and saves 5 % on frames (65.5 -> 62.5 kB), 9 % on motion.
_PNG_LEVEL = 3
_SAME_NAME = ("sample_id", "subject_id", "label", "label_raw", "fps")


def encode_motion(motion: np.ndarray) -> bytes:
    """`(H, W, 2)` pixels -> PNG of `(2 H, W)` uint16: the x parts above the y parts, `32768 + 512 * motion`.

    Raises:
        ValueError: if a displacement is 64 pixels or more, or not finite.
    """
    largest = float(np.abs(motion).max())
    if not largest < MOTION_ZERO * MOTION_STEP - MOTION_STEP:
        raise ValueError(f"the largest motion is {largest} pixels; expected less than {MOTION_ZERO * MOTION_STEP:g}")
    steps = np.round(motion / MOTION_STEP).astype(np.int32) + MOTION_ZERO
    return _encode_png(np.concatenate([steps[..., 0], steps[..., 1]]).astype(np.uint16))


def to_dataset_row(row: Mapping[str, Any], dataset: str) -> dict[str, Any]:
    """Row of `generate_micro_expressions` -> row on disk, with encoded images; its columns are in the dataset card.

    Args:
        row: with `frames` (every frame of the clip) or without (onset and apex are stored).
        dataset: value of the column `dataset`.
    """
    if "frames" in row:
        frames, indices = row["frames"], list(range(len(row["frames"])))
    else:
        frames, indices = (row["onset"], row["apex"]), [row["onset_index"], row["apex_index"]]
    return {
        **{name: row[name] for name in _SAME_NAME},
        "dataset": dataset,
        "frames": [_image(_encode_frame(frame)) for frame in frames],
        "frame_indices": indices,
        "onset": row["onset_index"],
        "apex": row["apex_index"],
        "offset": row["offset_index"],
        "true_apex": row["true_apex_index"],
        "action_units": _unit_list(row["action_units"]),
        "other_action_units": _unit_list(row["other_action_units"]),
        "landmarks": {"onset": row["landmarks_onset"].tolist(), "apex": row["landmarks_apex"].tolist()},
        "motion": _image(encode_motion(row["motion"])),
        "expression_motion": _image(encode_motion(row["expression_motion"])),
        "motion_valid": _image(_encode_mask(row["motion_valid"])),
        "face_mask": _image(_encode_mask(row["face_mask"])),
    }


def to_unlabelled_dataset_row(row: Mapping[str, Any], dataset: str) -> dict[str, Any]:
    """Row of `generate_unlabelled_clips` -> row on disk, with encoded images."""
    return {
        "sample_id": row["sample_id"],
        "subject_id": row["subject_id"],
        "dataset": dataset,
        "frames": [_image(_encode_frame(frame)) for frame in row["frames"]],
        "fps": row["fps"],
        "intervals": [
            {**interval, "action_units": _unit_list(interval["action_units"])} for interval in row["intervals"]
        ],
        "landmarks": row["landmarks"].tolist(),
    }


def from_dataset_row(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Row on disk, its images still encoded as `{"bytes"}` -> what the baselines and the contact sheet need of it.

    Returns:
        `sample_id`, `subject_id`, `label`, `onset`, `apex`, `motion`, `expression_motion`, `action_units` and
        `landmarks_onset` as the generator gives them.
    """
    onset, apex = (
        _decode_frame(stored["frames"][stored["frame_indices"].index(stored[name])]["bytes"])
        for name in ("onset", "apex")
    )
    motion, expression_motion = (
        decode_motion(_decode_png(stored[name]["bytes"])) for name in ("motion", "expression_motion")
    )
    return {
        **{name: stored[name] for name in ("sample_id", "subject_id", "label")},
        "onset": onset,
        "apex": apex,
        "motion": motion,
        "expression_motion": expression_motion,
        "action_units": {str(unit["unit"]): (unit["left"], unit["right"]) for unit in stored["action_units"]},
        "landmarks_onset": np.array(stored["landmarks"]["onset"], np.float32),
    }


def from_unlabelled_dataset_row(stored: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Long clip on disk, its images still encoded as `{"bytes"}` -> one sample for each of its micro-expressions.

    Yields:
        `sample_id` (the clip's with the number of the interval), `subject_id`, `label`, `onset`, `apex` and
        `landmarks_onset` as `generate_micro_expressions` gives them. A long clip stores no motion.
    """
    for number, interval in enumerate(stored["intervals"]):
        onset, apex = (_decode_frame(stored["frames"][interval[name]]["bytes"]) for name in ("onset", "apex"))
        yield {
            "sample_id": f"{stored['sample_id']}_{number}",
            "subject_id": stored["subject_id"],
            "label": interval["label"],
            "onset": onset,
            "apex": apex,
            "landmarks_onset": np.array(stored["landmarks"][interval["onset"]], np.float32),
        }


def _image(png: bytes) -> dict[str, bytes | None]:
    return {"bytes": png, "path": None}


def _unit_list(units: Mapping[str, Sequence[float]]) -> list[dict[str, float]]:
    return [{"unit": int(unit), "left": left, "right": right} for unit, (left, right) in units.items()]


def _encode_frame(frame: np.ndarray) -> bytes:
    return _encode_png(frame[..., ::-1])  # OpenCV's order is BGR


def _decode_frame(png: bytes) -> np.ndarray:
    return _decode_png(png)[..., ::-1]


def _encode_png(image: np.ndarray) -> bytes:
    encoded, data = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, _PNG_LEVEL])
    if not encoded:
        raise ValueError(f"OpenCV could not encode an image of {image.dtype} with shape {image.shape}")
    return data.tobytes()


def _decode_png(png: bytes) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise ValueError(f"{len(png)} bytes are no image that OpenCV can read")
    return image


def _encode_mask(mask: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(mask).save(file, "PNG")  # a bool array becomes a 1-bit image; OpenCV writes no such
    return file.getvalue()
