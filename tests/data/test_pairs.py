"""Rows to batches: identity kept, labels checked, draws keyed by (seed, epoch, sample)."""

import numpy as np
import pytest
import torch
from PIL import Image

from micron_bert_hf import MicronBertImageProcessor
from micron_bert_hf.data import (
    ClassificationCollator,
    FramePairs,
    PairAugmentation,
    per_sample_generator,
)
from micron_bert_hf.data.pairs import crop_to_face, process_rows


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


def test_both_frames_are_cut_to_the_face_before_they_are_processed():
    row = {**rows(1)[0], "face_box": (3, 5, 13, 19)}
    for frame, name in zip(crop_to_face(row), ("onset", "apex")):
        np.testing.assert_array_equal(np.asarray(frame), row[name][5:19, 3:13])
    images = {**row, "onset": Image.fromarray(row["onset"]), "apex": Image.fromarray(row["apex"])}
    cut = {**row, "onset": row["onset"][5:19, 3:13], "apex": row["apex"][5:19, 3:13], "face_box": None}
    expected = FramePairs([cut], PROCESSOR).pixel_values
    assert torch.equal(FramePairs([row], PROCESSOR).pixel_values, expected)
    assert torch.equal(FramePairs([images], PROCESSOR).pixel_values, expected)
    assert not torch.equal(FramePairs([{**row, "face_box": None}], PROCESSOR).pixel_values, expected)
    assert crop_to_face(cut)[1] is cut["apex"]


@pytest.mark.parametrize("box", [(3, 5, 3, 19), (-1, 0, 5, 5), (0, 0, 17, 20), (0, 0, 16, 21), (4, 4, 2, 8)])
def test_a_box_that_leaves_the_frame_is_named(box):
    with pytest.raises(ValueError, match=r"within 16 x 20 pixels, got .* for 'clip0'"):
        FramePairs([{**rows(1)[0], "face_box": box}], PROCESSOR)


def test_rows_are_asked_for_batch_by_batch():
    sizes = []

    def processor(batch, **options):
        sizes.append((len(batch), given))
        return PROCESSOR(batch, **options)

    given = 0

    def generate():
        nonlocal given
        for row in rows():
            given += 1
            yield row

    pixel_values = process_rows(generate(), processor, batch_size=2)
    assert sizes == [(2, 2), (2, 4), (1, 5)]
    assert torch.equal(pixel_values, FramePairs(rows(), PROCESSOR).pixel_values)
    with pytest.raises(ValueError, match="got none"):
        process_rows([], PROCESSOR)


def test_processed_frames_make_the_same_set_and_a_subset_is_what_it_says():
    pairs = FramePairs(rows(), PROCESSOR, LABEL2ID)
    again = FramePairs.from_pixel_values(
        pairs.pixel_values.numpy(), pairs.labels.numpy(), pairs.sample_ids, pairs.subject_ids
    )
    for index in range(5):
        assert all(
            torch.equal(torch.as_tensor(again[index][name]), torch.as_tensor(pairs[index][name]))
            for name in again[index]
        )
    part = again.subset([3, 1])
    assert part.sample_ids == ("clip3", "clip1") and part.subject_ids == ("s1", "s0")
    assert torch.equal(part.pixel_values, pairs.pixel_values[[3, 1]]) and part.labels.tolist() == [0, 0]
    assert part[0]["index"] == 0
    unlabelled = FramePairs.from_pixel_values(pairs.pixel_values, None, pairs.sample_ids, pairs.subject_ids)
    assert unlabelled.subset([0]).labels is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pixel_values": torch.zeros(2, 3, 4, 4)}, r"got \(2, 3, 4, 4\)"),
        ({"pixel_values": torch.zeros(0, 2, 3, 4, 4)}, r"got \(0, 2"),
        ({"pixel_values": torch.zeros(2, 2, 3, 4, 4, dtype=torch.uint8)}, "got torch.uint8"),
        ({"labels": [0.0, 1.0]}, "class numbers"),
        ({"labels": [0, -1]}, "class numbers"),
        ({"labels": [0]}, "'labels': 1"),
        ({"subject_ids": ("s",)}, "'subject_ids': 1"),
        ({"sample_ids": ("a", "a")}, "got \\['a'\\] more than once"),
    ],
)
def test_columns_that_do_not_fit_are_named(change, message):
    columns = {"pixel_values": torch.zeros(2, 2, 3, 4, 4), "labels": [0, 1], "sample_ids": ("a", "b")}
    with pytest.raises(ValueError, match=message):
        FramePairs.from_pixel_values(**{**columns, "subject_ids": ("s", "t"), **change})


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
