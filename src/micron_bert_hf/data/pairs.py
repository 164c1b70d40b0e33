"""Rows `{sample_id, subject_id, onset, apex, label}` to batches of `pixel_values (B, 2, C, H, W)`.

What is random about a sample is drawn from a generator keyed by (seed, epoch, position in the set): batch size,
accumulation, workers, ranks and a resumed run all see the same draws.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from .augmentation import NUM_PAIR_DRAWS, PairAugmentation, augment_pairs


ImageProcessor = Callable[..., Mapping[str, Any]]


def per_sample_generator(seed: int, epoch: int, index: int) -> torch.Generator:
    """A CPU generator of its own for one sample in one epoch; all three numbers are at least 0."""
    words = np.random.SeedSequence([seed, epoch, index]).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(words[0]) << 32 | int(words[1]))


def crop_to_face(row: Mapping[str, Any]) -> list[np.ndarray | Image.Image]:
    """
    Onset and apex of a row, both cut to its `face_box` where it has one: one box, so that nothing moves but the face.

    Args:
        row: `onset` and `apex` (uint8 RGB `(height, width, 3)` or PIL images), and maybe `face_box`: `(left, top,
            right, bottom)` in pixels, right and bottom outside, or `None`.

    Returns:
        The two frames, untouched without a box, else PIL images.

    Raises:
        ValueError: a box that is empty or leaves a frame.
    """
    frames, box = [row["onset"], row["apex"]], row.get("face_box")
    if box is None:
        return frames
    left, top, right, bottom = box
    images = [frame if isinstance(frame, Image.Image) else Image.fromarray(frame) for frame in frames]
    for image in images:
        if not (0 <= left < right <= image.width and 0 <= top < bottom <= image.height):
            raise ValueError(
                f"`face_box` must be (left, top, right, bottom) within {image.width} x {image.height} pixels, got"
                f" {tuple(box)} for {row['sample_id']!r}."
            )
    return [image.crop((left, top, right, bottom)) for image in images]


def process_rows(
    rows: Iterable[Mapping[str, Any]], image_processor: ImageProcessor, batch_size: int = 64
) -> torch.FloatTensor:
    """
    Frames of rows as a model sees them. Rows are asked for as they are needed: a generator keeps no more than a batch
    of pictures in memory.

    Args:
        rows: as for [`crop_to_face`]; at least one.
        image_processor: a list of pairs to `pixel_values (batch_size, 2, C, H, W)`.
        batch_size (`int`): pairs that are processed at a time; it changes no value.

    Returns:
        `torch.FloatTensor` of shape `(num_rows, 2, C, H, W)`
    """
    rows, parts = iter(rows), []
    while batch := [crop_to_face(row) for row in islice(rows, batch_size)]:
        parts.append(image_processor(batch, return_tensors="pt")["pixel_values"])
    if not parts:
        raise ValueError("Expected at least one row, got none.")
    return torch.cat(parts)


class FramePairs(Dataset):
    """
    A labelled or unlabelled set in memory: 8 * C * H * W bytes a pair, which is 1.2 MB at 224 px; the public
    micro-expression sets have at most about 1,500 pairs.

    Args:
        rows: mappings with `sample_id`, `subject_id`, `onset` and `apex` (uint8 RGB `(height, width, 3)` or PIL
            images), maybe a `face_box` to which both are cut (see [`crop_to_face`]), and `label`, the class name,
            where `label2id` is given.
        image_processor: a list of pairs to `pixel_values (batch_size, 2, C, H, W)`.
        label2id: class name to class number; `None` for unlabelled use.
        batch_size (`int`): pairs that are processed at a time; it changes no value.

    Attributes:
        pixel_values (`torch.FloatTensor` of shape `(num_pairs, 2, C, H, W)`)
        labels (`torch.LongTensor` of shape `(num_pairs,)`, *optional*): class numbers.
        sample_ids, subject_ids (`tuple[str, ...]`)

    Raises:
        ValueError: no rows, a repeated `sample_id`, or a label that `label2id` does not know.
    """

    def __init__(
        self,
        rows: Iterable[Mapping[str, Any]],
        image_processor: ImageProcessor,
        label2id: Mapping[str, int] | None = None,
        batch_size: int = 64,
    ):
        rows = list(rows)
        if not rows:
            raise ValueError("Expected at least one row, got none.")
        labels = None
        if label2id is not None:
            unknown = sorted({row["label"] for row in rows} - set(label2id))
            if unknown:
                raise ValueError(f"Expected labels among {list(label2id)}, got {unknown}.")
            labels = torch.tensor([label2id[row["label"]] for row in rows])
        self._set_identity([row["sample_id"] for row in rows], [row["subject_id"] for row in rows], labels)
        self.pixel_values = process_rows(rows, image_processor, batch_size)

    @classmethod
    def from_pixel_values(
        cls,
        pixel_values: torch.FloatTensor | np.ndarray,
        labels: torch.LongTensor | np.ndarray | Sequence[int] | None,
        sample_ids: Sequence[str],
        subject_ids: Sequence[str],
    ) -> "FramePairs":
        """
        A set of frames that are processed already.

        Args:
            pixel_values: `(num_pairs, 2, C, H, W)`, floating point, at least one pair; kept without a copy if float32.
            labels: class numbers `(num_pairs,)`, 0 or more; `None` for unlabelled use.
            sample_ids, subject_ids: one a pair, in the same order.

        Raises:
            ValueError: other shapes or dtypes, columns of different lengths, a repeated `sample_id`.
        """
        pixel_values = torch.as_tensor(pixel_values)
        if pixel_values.ndim != 5 or pixel_values.shape[1] != 2 or not len(pixel_values):
            raise ValueError(
                f"Expected pairs (num_pairs, 2, channels, height, width), got {tuple(pixel_values.shape)}."
            )
        if not pixel_values.is_floating_point():
            raise ValueError(f"Expected processed frames in floating point, got {pixel_values.dtype}.")
        if labels is not None:
            labels = torch.as_tensor(labels)
            if labels.is_floating_point() or labels.ndim != 1 or bool((labels < 0).any()):
                raise ValueError(f"`labels` must be class numbers from 0, got {labels.tolist()[:5]} ({labels.dtype}).")
            labels = labels.long()
        lengths = {"sample_ids": len(sample_ids), "subject_ids": len(subject_ids)}
        if labels is not None:
            lengths["labels"] = len(labels)
        if set(lengths.values()) != {len(pixel_values)}:
            raise ValueError(f"Expected one of each for every of {len(pixel_values)} pairs, got {lengths}.")
        pairs = cls.__new__(cls)
        pairs._set_identity(sample_ids, subject_ids, labels)
        pairs.pixel_values = pixel_values.float()
        return pairs

    def subset(self, indices: Sequence[int]) -> "FramePairs":
        """The pairs at `indices`, in that order; their positions, which draws are keyed by, count from 0 again."""
        indices = list(indices)
        return FramePairs.from_pixel_values(
            self.pixel_values[indices],
            None if self.labels is None else self.labels[indices],
            [self.sample_ids[index] for index in indices],
            [self.subject_ids[index] for index in indices],
        )

    def _set_identity(
        self, sample_ids: Sequence[str], subject_ids: Sequence[str], labels: torch.LongTensor | None
    ) -> None:
        self.sample_ids, self.subject_ids, self.labels = tuple(sample_ids), tuple(subject_ids), labels
        if len(set(self.sample_ids)) != len(self.sample_ids):
            repeated = sorted({name for name in self.sample_ids if self.sample_ids.count(name) > 1})
            raise ValueError(f"Every `sample_id` must occur once, got {repeated[:3]} more than once.")

    def __len__(self) -> int:
        return len(self.sample_ids)

    def __getitem__(self, index: int) -> dict[str, Any]:
        item = {"index": index, "pixel_values": self.pixel_values[index]}
        if self.labels is not None:
            item["labels"] = self.labels[index]
        return item


class ClassificationCollator:
    """
    Items of [`FramePairs`] to a batch, augmented when `augmentation` is given. Move `epoch` on to get new draws.

    Args:
        augmentation ([`PairAugmentation`], *optional*): `None` leaves the pairs as they are (evaluation).
        seed (`int`): of all draws.
    """

    def __init__(self, augmentation: PairAugmentation | None, seed: int):
        self.augmentation = augmentation
        self.seed = seed
        self.epoch = 0

    def __call__(self, items: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        pixel_values = torch.stack([item["pixel_values"] for item in items])
        if self.augmentation is not None:
            generators = [per_sample_generator(self.seed, self.epoch, item["index"]) for item in items]
            draws = torch.stack([torch.rand(NUM_PAIR_DRAWS, generator=generator) for generator in generators])
            pixel_values = augment_pairs(pixel_values, draws, self.augmentation)
        batch = {"pixel_values": pixel_values}
        if "labels" in items[0]:
            batch["labels"] = torch.stack([item["labels"] for item in items])
        return batch
