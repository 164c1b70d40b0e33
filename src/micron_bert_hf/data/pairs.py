"""Rows `{sample_id, subject_id, onset, apex, label}` to batches of `pixel_values (B, 2, C, H, W)`.

What is random about a sample is drawn from a generator keyed by (seed, epoch, position in the set): batch size,
accumulation, workers, ranks and a resumed run all see the same draws.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from .augmentation import NUM_PAIR_DRAWS, PairAugmentation, augment_pairs


ImageProcessor = Callable[..., Mapping[str, Any]]


def per_sample_generator(seed: int, epoch: int, index: int) -> torch.Generator:
    """A CPU generator of its own for one sample in one epoch; all three numbers are at least 0."""
    words = np.random.SeedSequence([seed, epoch, index]).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(words[0]) << 32 | int(words[1]))


class FramePairs(Dataset):
    """
    A labelled or unlabelled set in memory: 8 * C * H * W bytes a pair, which is 1.2 MB at 224 px; the public
    micro-expression sets have at most about 1,500 pairs.

    Args:
        rows: mappings with `sample_id`, `subject_id`, `onset` and `apex` (uint8 RGB `(height, width, 3)` or PIL
            images), and `label`, the class name, where `label2id` is given.
        image_processor: a list of pairs to `pixel_values (batch_size, 2, C, H, W)`.
        label2id: class name to class number; `None` for unlabelled use.
        batch_size (`int`): pairs that are processed at a time; it changes no value.

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
        self.sample_ids = tuple(row["sample_id"] for row in rows)
        self.subject_ids = tuple(row["subject_id"] for row in rows)
        if len(set(self.sample_ids)) != len(rows):
            repeated = sorted({name for name in self.sample_ids if self.sample_ids.count(name) > 1})
            raise ValueError(f"Every `sample_id` must occur once, got {repeated[:3]} more than once.")
        self.labels = None
        if label2id is not None:
            unknown = sorted({row["label"] for row in rows} - set(label2id))
            if unknown:
                raise ValueError(f"Expected labels among {list(label2id)}, got {unknown}.")
            self.labels = torch.tensor([label2id[row["label"]] for row in rows])
        pairs = [[row["onset"], row["apex"]] for row in rows]
        self.pixel_values = torch.cat(
            [
                image_processor(pairs[start : start + batch_size], return_tensors="pt")["pixel_values"]
                for start in range(0, len(pairs), batch_size)
            ]
        )

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
