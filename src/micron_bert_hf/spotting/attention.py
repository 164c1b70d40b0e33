"""How a face moves between frames, as the model sees it: its diagonal attention, each frame encoded once."""

from typing import Any

import numpy as np
import torch

from ..modeling_micron_bert import attention_drop
from ..pipeline_micron_bert import MicroExpressionClassificationPipeline
from .change import FACE_SIZE, FlowChange, face_patches


class AttentionChange:
    """
    Movement of a frame against two others by the diagonal attention of a classifier: where it compares with every
    patch, how much less a patch attends to itself than it would had nothing moved; in windowed mode, how far it has
    gone. Same calls as [`FlowChange`].

    Args:
        classify: the pipeline whose model and image processor are used.

    Attributes:
        unit (`str`): of its movements.
    """

    def __init__(self, classify: MicroExpressionClassificationPipeline):
        self._model = classify.model.micron_bert
        self._processor = classify.image_processor
        self._patch_size = classify.model.config.patch_size
        is_windowed = classify.model.config.attention_mode == "windowed"
        self.unit = FlowChange.unit if is_windowed else "nats of the diagonal"

    @torch.inference_mode()
    def prepare(self, frame: np.ndarray) -> tuple[torch.Tensor, tuple[int, int]]:
        """What is kept of an aligned frame `(S, S, 3)` uint8: what the encoder says of it, and the grid of patches."""
        pixels = self._processor([(frame, frame)], return_tensors="pt")["pixel_values"][:, 0]
        rows, columns = (side // self._patch_size for side in pixels.shape[-2:])
        return self._model.encode_frames(pixels.to(self._model.device, self._model.dtype)), (rows, columns)

    @torch.inference_mode()
    def movement(self, before: Any, frame: Any, after: Any) -> np.ndarray:
        """
        Args:
            before, frame, after: of [`prepare`].

        Returns:
            `(rows, columns, 1)` float32: the smaller of the two drops of the diagonal, in nats, weighed by the patch
            of interest; in windowed mode `(rows, columns, 2)`, see [`FlowChange.movement`].
        """
        tokens, (rows, columns) = frame
        sides = [self._model.compare_frames(other, tokens) for other, _ in (before, after)]
        if sides[0].displacement is not None:
            displacement = ((sides[0].displacement[0] + sides[1].displacement[0]) / 2).float().cpu().numpy()
            # of the face that fills the frame, whatever size, square or not, the model reads it in
            scale = FACE_SIZE / (self._patch_size * np.array([columns, rows], np.float32))
            patches = displacement.reshape(rows, columns, 2) * scale
            return patches - np.median(patches[face_patches(rows, columns)], axis=0)
        drops = [
            attention_drop(side.diagonal_attention[:, 0], self._model.still_diagonal(other)) * side.patch_of_interest
            for side, (other, _) in zip(sides, (before, after))
        ]
        # what comes and goes differs from both; what comes to stay, or a head that turns, from one of them more
        return torch.minimum(*drops).float().cpu().numpy().reshape(rows, columns, 1)

    @torch.inference_mode()
    def change(self, first: Any, frame: Any) -> tuple[np.ndarray, np.ndarray]:
        """
        What has changed since another frame.

        Args:
            first, frame: of [`prepare`].

        Returns:
            Two `(rows, columns)` float32: `1 - diagonal / diagonal of the still pair`, 0 where nothing changed and at
            most 1; and the patch of interest.
        """
        (before, (rows, columns)), (tokens, _) = first, frame
        output = self._model.compare_frames(before, tokens)
        drop = attention_drop(output.diagonal_attention[:, 0], self._model.still_diagonal(before))
        maps = (-torch.expm1(-drop), output.patch_of_interest)
        return tuple(values.float().cpu().numpy().reshape(rows, columns) for values in maps)
