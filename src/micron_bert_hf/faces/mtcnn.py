"""
MTCNN (K. Zhang et al., IEEE Signal Processing Letters 2016) in plain torch: of three networks, the first proposes
windows on a pyramid of the frame, the second sorts them out and moves them, the third does so again and places five
points. The weights come with the package, see `assets/LICENSE-MTCNN.md`.

What differs from facenet-pytorch, whose weights these are: a window that reaches beyond the frame is filled up with
black, as in the original, and not stretched; faces below an eighth of the frame's shorter side are not looked for; and
positions are pixel indices. It runs on the CPU and gives the same faces each time. Not by OpenCV's engine for ONNX:
that of 5.0 computes these networks wrongly.
"""

from importlib import resources

import cv2
import numpy as np
import safetensors.torch
import torch
from torch import nn
from torch.nn import functional as F

from ..torch_threads import one_torch_thread
from .detection import Face, check_rgb_frame, shrink


# What the networks take as one window, in pixels, and the first one's step between windows: by their layers.
PROPOSAL_SIDE, REFINEMENT_SIDE, OUTPUT_SIDE = 12, 24, 48
PROPOSAL_STEP = 2
# Each level of the pyramid is this much smaller: facenet-pytorch.
PYRAMID_FACTOR = 0.709
# Least probability of a face after each network. The first two: facenet-pytorch. The last, which it sets to 0.7: ours,
# no false hit on the sketch's 193 images, 23 of them without a face, and every face found.
PROPOSAL_THRESHOLD, REFINEMENT_THRESHOLD, OUTPUT_THRESHOLD = 0.6, 0.7, 0.85
# Overlap above which the less sure of two boxes is dropped, within a level and everywhere else: facenet-pytorch.
LEVEL_OVERLAP, OVERLAP = 0.5, 0.7
# The longer side of a frame is shrunk to this, which bounds time and memory; the smallest face looked for then, in
# pixels and as a share of the shorter side. Ours: recordings for micro-expressions show the face large.
MAX_SIDE = 640
MIN_FACE_PIXELS, MIN_FACE_SHARE = 40, 1 / 8


class ProposalNetwork(nn.Module):
    """P-Net: is there a face in each window of 12 x 12 pixels, and where exactly."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 10, 3), nn.PReLU(10)
        self.conv2, self.prelu2 = nn.Conv2d(10, 16, 3), nn.PReLU(16)
        self.conv3, self.prelu3 = nn.Conv2d(16, 32, 3), nn.PReLU(32)
        self.conv4_1, self.conv4_2 = nn.Conv2d(32, 2, 1), nn.Conv2d(32, 4, 1)

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Args:
            pixels: `(B, 3, H, W)` as [`network_input`] makes them, H and W at least 12.

        Returns:
            Probability of a face `(B, H', W')` for the windows at every second pixel, and how the window's edges move
            `(B, 4, H', W')`, in widths and heights of the window.
        """
        hidden = F.max_pool2d(self.prelu1(self.conv1(pixels)), 2, 2, ceil_mode=True)
        hidden = self.prelu3(self.conv3(self.prelu2(self.conv2(hidden))))
        return self.conv4_1(hidden).softmax(1)[:, 1], self.conv4_2(hidden)


class RefinementNetwork(nn.Module):
    """R-Net: the same question for windows of 24 x 24 pixels, each on its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 28, 3), nn.PReLU(28)
        self.conv2, self.prelu2 = nn.Conv2d(28, 48, 3), nn.PReLU(48)
        self.conv3, self.prelu3 = nn.Conv2d(48, 64, 2), nn.PReLU(64)
        self.dense4, self.prelu4 = nn.Linear(576, 128), nn.PReLU(128)
        self.dense5_1, self.dense5_2 = nn.Linear(128, 2), nn.Linear(128, 4)

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """`(B, 3, 24, 24)` to probability `(B,)` and movement of the edges `(B, 4)`."""
        hidden = F.max_pool2d(self.prelu1(self.conv1(pixels)), 3, 2, ceil_mode=True)
        hidden = F.max_pool2d(self.prelu2(self.conv2(hidden)), 3, 2, ceil_mode=True)
        hidden = _flatten(self.prelu3(self.conv3(hidden)))
        hidden = self.prelu4(self.dense4(hidden))
        return self.dense5_1(hidden).softmax(1)[:, 1], self.dense5_2(hidden)


class OutputNetwork(nn.Module):
    """O-Net: the same question for windows of 48 x 48 pixels, and five points."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 32, 3), nn.PReLU(32)
        self.conv2, self.prelu2 = nn.Conv2d(32, 64, 3), nn.PReLU(64)
        self.conv3, self.prelu3 = nn.Conv2d(64, 64, 3), nn.PReLU(64)
        self.conv4, self.prelu4 = nn.Conv2d(64, 128, 2), nn.PReLU(128)
        self.dense5, self.prelu5 = nn.Linear(1152, 256), nn.PReLU(256)
        self.dense6_1, self.dense6_2, self.dense6_3 = nn.Linear(256, 2), nn.Linear(256, 4), nn.Linear(256, 10)

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """
        `(B, 3, 48, 48)` to probability `(B,)`, movement of the edges `(B, 4)` and points `(B, 10)`: five x, then five
        y, from the window's left and top edge, in its widths and heights.
        """
        hidden = F.max_pool2d(self.prelu1(self.conv1(pixels)), 3, 2, ceil_mode=True)
        hidden = F.max_pool2d(self.prelu2(self.conv2(hidden)), 3, 2, ceil_mode=True)
        hidden = F.max_pool2d(self.prelu3(self.conv3(hidden)), 2, 2, ceil_mode=True)
        hidden = _flatten(self.prelu4(self.conv4(hidden)))
        hidden = self.prelu5(self.dense5(hidden))
        return self.dense6_1(hidden).softmax(1)[:, 1], self.dense6_2(hidden), self.dense6_3(hidden)


class MtcnnNetworks(nn.Module):
    """The three, under the names of the weights' file."""

    def __init__(self) -> None:
        super().__init__()
        self.pnet, self.rnet, self.onet = ProposalNetwork(), RefinementNetwork(), OutputNetwork()


class MtcnnDetector:
    """A [`FaceDetector`]. Finds faces upright to about 30 degrees of roll."""

    def __init__(self) -> None:
        weights = resources.files(__package__) / "assets" / "mtcnn.safetensors"
        # on meta, so that no random numbers are drawn for weights that are replaced
        with torch.device("meta"):
            self.networks = MtcnnNetworks()
        self.networks.load_state_dict(safetensors.torch.load(weights.read_bytes()), strict=True, assign=True)
        self.networks.eval().requires_grad_(False)

    def __call__(self, frame: np.ndarray) -> list[Face]:
        """
        Args:
            frame: `(H, W, 3)` uint8 RGB of any size; one below 12 pixels has no faces.

        Returns:
            Faces of at least 40 pixels (at a frame shrunk to 640) and an eighth of the shorter side, surest first.

        Raises:
            ValueError: the frame is not `(H, W, 3)` uint8, or has no pixels.
        """
        check_rgb_frame(frame)
        image, to_frame = shrink(frame, MAX_SIDE)
        # one thread, since the networks are small: with two cores under load 14 ms a frame, and 287 ms in two threads
        with one_torch_thread(), torch.inference_mode():
            scores, boxes, points = self._detect(image)
        # windows have edges, pixels have centres: half a pixel apart
        return [
            Face(float(score), box * np.tile(to_frame, 2) - 0.5, five * to_frame - 0.5)
            for score, box, five in zip(scores, boxes, points)
        ]

    def _detect(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Scores `(N,)`, boxes `(N, 4)` and points `(N, 5, 2)`, in pixels from the image's left and top edge."""
        boxes = self._propose(image)
        scores, moves = self._judge(self.networks.rnet, image, boxes, REFINEMENT_SIDE)
        sure = scores > REFINEMENT_THRESHOLD
        scores, boxes, moves = scores[sure], boxes[sure], moves[sure]
        kept = suppress_overlaps(boxes, scores, OVERLAP)
        boxes = to_squares(move_edges(boxes[kept], moves[kept]))

        scores, moves, points = self._judge(self.networks.onet, image, boxes, OUTPUT_SIDE)
        sure = scores > OUTPUT_THRESHOLD
        scores, boxes, moves, points = scores[sure], boxes[sure], moves[sure], points[sure]
        points = boxes[:, None, :2] + points.reshape(-1, 2, 5).transpose(0, 2, 1) * side_lengths(boxes)[:, None]
        boxes = move_edges(boxes, moves)
        kept = suppress_overlaps(boxes, scores, OVERLAP, of_smaller=True)
        return scores[kept], boxes[kept], points[kept]

    def _propose(self, image: np.ndarray) -> np.ndarray:
        """Square windows `(N, 4)` that may hold a face."""
        height, width = image.shape[:2]
        scale = PROPOSAL_SIDE / max(MIN_FACE_PIXELS, MIN_FACE_SHARE * min(height, width))
        boxes, scores = [np.empty((0, 4))], [np.empty(0)]
        while min(height, width) * scale >= PROPOSAL_SIDE:
            size = int(np.ceil(width * scale)), int(np.ceil(height * scale))
            level = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
            probability, moves = (output[0].numpy() for output in self.networks.pnet(network_input(level[None])))
            rows, columns = np.nonzero(probability > PROPOSAL_THRESHOLD)
            corners = np.stack([columns, rows], 1) * PROPOSAL_STEP
            windows = np.hstack([corners, corners + PROPOSAL_SIDE]) / scale
            kept = suppress_overlaps(windows, probability[rows, columns], LEVEL_OVERLAP)
            rows, columns = rows[kept], columns[kept]
            boxes.append(move_edges(windows[kept], moves[:, rows, columns].T))
            scores.append(probability[rows, columns])
            scale *= PYRAMID_FACTOR
        found = np.concatenate(boxes)
        return to_squares(found[suppress_overlaps(found, np.concatenate(scores), OVERLAP)])

    @staticmethod
    def _judge(network: nn.Module, image: np.ndarray, boxes: np.ndarray, side: int) -> list[np.ndarray]:
        """What a network says of the windows `boxes`, all at once."""
        return [output.numpy() for output in network(network_input(cut_windows(image, boxes, side)))]


def network_input(pixels: np.ndarray) -> torch.Tensor:
    """`(B, H, W, 3)` uint8 or float32, 0 to 255, to `(B, 3, H, W)` float32, -1 to 1, as in training."""
    return (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - 127.5) / 128


def cut_windows(image: np.ndarray, boxes: np.ndarray, side: int) -> np.ndarray:
    """
    Args:
        image: `(H, W, 3)` uint8.
        boxes: `(N, 4)` in whole pixels from the image's left and top edge, which they may cross.
        side: of the result, in pixels.

    Returns:
        `(N, side, side, 3)` float32, 0 to 255; black where a box is outside the image.
    """
    height, width = image.shape[:2]
    windows = np.empty((len(boxes), side, side, 3), np.float32)
    for window, (left, top, right, bottom) in zip(windows, boxes.astype(int)):
        whole = np.zeros((max(bottom - top, 1), max(right - left, 1), 3), np.float32)
        part = image[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
        if part.size:
            row, column = max(-top, 0), max(-left, 0)
            whole[row : row + part.shape[0], column : column + part.shape[1]] = part
        window[:] = cv2.resize(whole, (side, side), interpolation=cv2.INTER_AREA)
    return windows


def suppress_overlaps(boxes: np.ndarray, scores: np.ndarray, threshold: float, of_smaller: bool = False) -> np.ndarray:
    """
    Non-maximum suppression: from the surest box on, drops those that overlap with one that was kept.

    Args:
        boxes: `(N, 4)`. scores: `(N,)`.
        threshold: the largest overlap that is left, a share of the two boxes' union.
        of_smaller: measure it as a share of the smaller box, which also drops a box within a box.

    Returns:
        Indices of what is kept, `(M,)` int64, surest first, the first of equals before the second.
    """
    area = side_lengths(boxes).prod(1)
    order, kept = np.argsort(-scores, kind="stable"), []
    while order.size:
        best, order = order[0], order[1:]
        kept.append(best)
        low, high = np.maximum(boxes[best, :2], boxes[order, :2]), np.minimum(boxes[best, 2:], boxes[order, 2:])
        shared = np.clip(high - low, 0, None).prod(1)
        whole = np.minimum(area[best], area[order]) if of_smaller else area[best] + area[order] - shared
        order = order[shared / whole <= threshold]
    return np.array(kept, np.int64)


def side_lengths(boxes: np.ndarray) -> np.ndarray:
    """Widths and heights `(N, 2)` of boxes `(N, 4)`."""
    return boxes[:, 2:] - boxes[:, :2]


def move_edges(boxes: np.ndarray, moves: np.ndarray) -> np.ndarray:
    """Boxes `(N, 4)` whose four edges move by `moves` `(N, 4)`, in widths and heights of the box."""
    return boxes + moves * np.tile(side_lengths(boxes), 2)


def to_squares(boxes: np.ndarray) -> np.ndarray:
    """Squares `(N, 4)` of whole pixels round the centres of `boxes`, as long as the longer side."""
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, side_lengths(boxes).max(1, keepdims=True) / 2
    return np.round(np.hstack([centre - half, centre + half]))


def _flatten(hidden: torch.Tensor) -> torch.Tensor:
    """`(B, C, H, W)` to `(B, W * H * C)`, columns before rows: so the weights want it, which come from MATLAB."""
    return hidden.permute(0, 3, 2, 1).flatten(1)
