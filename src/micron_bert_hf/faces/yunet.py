"""
YuNet (W. Wu, H. Peng, S. Yu, Machine Intelligence Research 2023) by way of OpenCV; its weights, under the MIT licence,
are fetched from the Hub.
"""

import hashlib
from pathlib import Path

import cv2
import numpy as np
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import LocalEntryNotFoundError

from .detection import Face, check_rgb_frame, shrink


# The SHA-256 is that of the file's Git LFS pointer in opencv/opencv_zoo (commit 82b38c8 on GitHub). That the Hub's
# repository has the same file at this commit is what many who pin both write; it was not downloaded to see, and a file
# with another sum is refused.
REPOSITORY = "opencv/face_detection_yunet"
REVISION = "3cc26e7f1014a5ee5d74a42acee58bafc9d0a310"
FILE_NAME = "face_detection_yunet_2023mar.onnx"
SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
# Least score of a face: ours, no false hit on the sketch's 193 images, 23 of them without a face. Overlap above which
# the less sure of two boxes is dropped: OpenCV's default.
SCORE_THRESHOLD, OVERLAP = 0.8, 0.3
# Boxes that are compared with each other at most. Ours: far more than a recording shows faces.
MAX_BOXES = 100
# The longer side of a frame is shrunk to this. Trained on faces of 10 to 300 pixels, as its model card says.
MAX_SIDE = 640


class YuNetDetector:
    """
    A [`FaceDetector`].

    Args:
        path: of `face_detection_yunet_2023mar.onnx`, which is not checked here.
    """

    def __init__(self, path: Path) -> None:
        self._network = cv2.FaceDetectorYN.create(
            str(path), "", (MAX_SIDE, MAX_SIDE), SCORE_THRESHOLD, OVERLAP, MAX_BOXES
        )

    def __call__(self, frame: np.ndarray) -> list[Face]:
        """
        Args:
            frame: `(H, W, 3)` uint8 RGB of any size.

        Returns:
            Faces, surest first.

        Raises:
            ValueError: the frame is not `(H, W, 3)` uint8, or has no pixels.
        """
        check_rgb_frame(frame)
        image, to_frame = shrink(frame, MAX_SIDE)
        self._network.setInputSize(image.shape[1::-1])
        rows = self._network.detect(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1]
        faces = []
        for row in [] if rows is None else rows.astype(np.float64):
            corners, points = np.stack([row[:2], row[:2] + row[2:4]]), row[4:14].reshape(5, 2)
            # pixel indices count from the middle of the first pixel, whose size changes
            corners, points = ((place + 0.5) * to_frame - 0.5 for place in (corners, points))
            faces.append(Face(float(row[14]), corners.ravel(), points))
        return sorted(faces, key=lambda face: -face.score)


def fetch_yunet() -> Path:
    """
    The weights, from the cache or the Hub.

    Raises:
        FileNotFoundError: neither has them.
        ValueError: the file is not the one expected.
    """
    try:
        path = Path(hf_hub_download(REPOSITORY, FILE_NAME, revision=REVISION))
    except LocalEntryNotFoundError as error:
        raise FileNotFoundError(
            f"{FILE_NAME} is not in the cache and the Hub cannot be reached. Run `hf download {REPOSITORY} {FILE_NAME}"
            f" --revision {REVISION}` once with a connection, without HF_HUB_OFFLINE, or use the detector 'mtcnn',"
            " which comes with this package."
        ) from error
    check_yunet(path)
    return path


def check_yunet(path: Path) -> None:
    """
    Raises:
        ValueError: the file has another SHA-256 than the weights.
    """
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != SHA256:
        raise ValueError(f"{path} has the SHA-256 {found}; expected {SHA256}. Delete it, and it is fetched again.")
