"""Rows to batches: identity kept, labels checked, draws keyed by (seed, epoch, sample)."""

import numpy as np
import pytest
import torch

from micron_bert_hf import MicronBertImageProcessor
from micron_bert_hf.data import (
    ClassificationCollator,
    FramePairs,
    PairAugmentation,
    per_sample_generator,
)


def rows(count=5):
    random = np.random.default_rng(0)
    return [
        {
            "sample_id": f"clip{number}",
            "subject_id": f"s{number // 2}",
            "onset": random.integers(0, 256, (20, 16, 3), dtype=np.uint8),
            "apex": random.integers(0, 256, (20, 16, 3), dtype=np.uint8),
            "label": ("b", "a")[number % 2],
        }
        for number in range(count)
    ]


PROCESSOR = MicronBertImageProcessor(size={"height": 16, "width": 16})
LABEL2ID = {"a": 0, "b": 1}


def test_pixels_labels_and_identity_belong_together():
    pairs = FramePairs(rows(), PROCESSOR, LABEL2ID, batch_size=2)
    assert len(pairs) == 5 and pairs.pixel_values.shape == (5, 2, 3, 16, 16)
    for number, row in enumerate(rows()):
        expected = PROCESSOR([(row["onset"], row["apex"])], return_tensors="pt")["pixel_values"][0]
        item = pairs[number]
        torch.testing.assert_close(item["pixel_values"], expected)
        assert item["labels"] == LABEL2ID[row["label"]]
        assert (pairs.sample_ids[number], pairs.subject_ids[number]) == (row["sample_id"], row["subject_id"])


def test_an_unlabelled_set_shows_no_label():
    pairs = FramePairs(rows(), PROCESSOR)
    assert pairs.labels is None and "labels" not in pairs[0]


def test_bad_rows_are_named():
    with pytest.raises(ValueError, match=r"among \['a'\], got \['b'\]"):
        FramePairs(rows(), PROCESSOR, {"a": 0})
    with pytest.raises(ValueError, match="clip0"):
        FramePairs(rows() + rows(1), PROCESSOR)
    with pytest.raises(ValueError, match="got none"):
        FramePairs([], PROCESSOR)


def test_draws_depend_on_seed_epoch_and_sample_alone():
    pairs = FramePairs(rows(), PROCESSOR, LABEL2ID)
    whole = ClassificationCollator(PairAugmentation(), 0)([pairs[index] for index in range(4)])
    parts = [
        ClassificationCollator(PairAugmentation(), 0)([pairs[index] for index in part]) for part in ((0, 1), (2, 3))
    ]
    for name in whole:
        torch.testing.assert_close(torch.cat([part[name] for part in parts]), whole[name])
    later = ClassificationCollator(PairAugmentation(), 0)
    later.epoch = 1
    assert not torch.equal(later([pairs[0]])["pixel_values"], whole["pixel_values"][:1])
    numbers = {torch.rand(1, generator=per_sample_generator(*key)).item() for key in ((0, 0, 1), (0, 1, 0), (1, 0, 0))}
    assert len(numbers) == 3


def test_the_evaluation_collator_leaves_pixels_alone():
    pairs = FramePairs(rows(), PROCESSOR, LABEL2ID)
    batch = ClassificationCollator(None, 0)([pairs[3], pairs[1]])
    assert torch.equal(batch["pixel_values"], pairs.pixel_values[[3, 1]])
    assert batch["labels"].tolist() == [0, 0]
