"""Clips on disk to batches: the right frames, decoded as the image processor does, whoever reads them."""

import io
import json
from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from datasets import load_dataset
from PIL import Image
from torch.utils.data import DataLoader

from micron_bert_hf import MicronBertImageProcessor
from micron_bert_hf.data import (
    ClipIndex,
    ClipPairs,
    FrameDistance,
    PairAugmentation,
    PairBatches,
    PairCollator,
    PairOrder,
    PairViews,
    batches_of_rank,
    denormalize_frames,
    normalize_frames,
    write_clips,
)
from micron_bert_hf.data.clip_pairs import draw_pairs
from micron_bert_hf.data.pair_order import PairKey


FPS = 100.0
PROCESSOR = MicronBertImageProcessor(size={"height": 16, "width": 24})


def make_frame(clip, number, height=20, width=30):
    """One corner tells clip and frame."""
    frame = np.random.default_rng([clip, number]).integers(0, 20, (height, width, 3), np.uint8)
    frame[:4, :4] = (clip, number, 7)
    return frame


@pytest.fixture(scope="module")
def rows():
    return [
        {
            "sample_id": f"clip{clip}",
            "subject_id": f"s{clip % 3}",
            "dataset": "made",
            "fps": FPS,
            "frames": [make_frame(clip, number) for number in range(6 + clip)],
        }
        for clip in range(8)
    ]


@pytest.fixture(scope="module")
def folder(rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips") / "set"
    write_clips(folder, rows, num_shards=3)
    return folder


def make_pairs(folder, pairs_per_clip=3, batch_size=4, size=(16, 24), distance=None, **changes):
    index = ClipIndex.load(folder)
    order = PairOrder(index.num_clips, pairs_per_clip, batch_size, seed=2)
    distance = distance or FrameDistance(20, 40, "ms")
    return ClipPairs(folder, index, order, distance, size, PROCESSOR.resample, **changes)


def draw_swaps(generator):
    return torch.rand(1, 6, generator=generator) < 0.5


def collator(num_crops=2):
    return PairCollator(2, 3, draw_swaps, num_crops)


def test_the_index_says_what_is_there(folder, rows):
    index = ClipIndex.load(folder)
    assert index.num_clips == (3, 3, 2) and index.total_clips == 8
    assert index.num_frames == sum(len(row["frames"]) for row in rows)
    assert index.subjects == {"made": ["s0", "s1", "s2"]}
    with pq.ParquetFile(folder / index.shards[0]) as file:
        assert file.num_row_groups == 3


def test_datasets_reads_and_streams_the_folder(folder, rows):
    for streaming in (False, True):
        stored = {row["sample_id"]: row for row in load_dataset(str(folder), split="train", streaming=streaming)}
        assert set(stored) == {row["sample_id"] for row in rows}
        for row in rows:
            assert stored[row["sample_id"]]["fps"] == FPS
            frames = [np.asarray(frame) for frame in stored[row["sample_id"]]["frames"]]
            np.testing.assert_array_equal(frames, row["frames"])


def test_a_distance_is_a_duration_at_any_frame_rate():
    distance = FrameDistance(50, 110, "ms")
    assert [distance.in_frames(fps, 999) for fps in (30, 100, 200)] == [(2, 3), (5, 11), (10, 22)]
    assert FrameDistance(5, 11, "frames").in_frames(200, 999) == (5, 11)
    assert FrameDistance(1, 2, "ms").in_frames(30, 999) == (1, 1)  # at least one frame
    assert distance.in_frames(100, 8) == (5, 7) and distance.in_frames(100, 2) == (1, 1)  # at most what there is
    for low, high, unit in ((0, 1, "ms"), (3, 2, "ms"), (1, 2, "s")):
        with pytest.raises(ValueError):
            FrameDistance(low, high, unit)


def test_pairs_are_uniform_over_distances_and_places():
    rng = np.random.default_rng(0)
    places = draw_pairs(rng, 60_000, num_frames=12, fps=100, distance=FrameDistance(3, 5, "frames"))
    delta = places[:, 1] - places[:, 0]
    assert places.min() == 0 and places.max() == 11
    for value in (3, 4, 5):
        chosen = places[delta == value, 0]
        assert abs(len(chosen) / 60_000 - 1 / 3) < 0.01
        counts = np.bincount(chosen, minlength=12 - value)
        assert len(counts) == 12 - value and np.abs(counts / len(chosen) - 1 / (12 - value)).max() < 0.02


def test_an_item_is_a_pair_of_frames_of_its_clip_at_the_right_distance(folder, rows):
    pairs = make_pairs(folder, size=(20, 30))
    in_order = [rows[number] for shard in range(3) for number in range(shard, 8, 3)]  # dealt to shards in turn
    distances = set()
    for clip, row in enumerate(in_order):
        for pair in range(3):
            frames = pairs[PairKey(1, clip, pair)]["frames"]
            assert frames.dtype == torch.uint8 and frames.shape == (2, 20, 30, 3)
            numbers = frames[:, 0, 0, 1].tolist()
            assert frames[:, 0, 0, 0].tolist() == [int(row["sample_id"][4:])] * 2
            for frame, number in zip(frames, numbers):
                np.testing.assert_array_equal(frame, row["frames"][number])
            distances.add(numbers[1] - numbers[0])
    assert distances == {2, 3, 4}


def test_decoding_is_what_the_image_processor_does(folder, rows):
    """Against the processor itself, on frames that are resized."""
    pairs = make_pairs(folder, size=(16, 24))
    full = make_pairs(folder, size=(20, 30))
    key = PairKey(0, 4, 1)
    numbers = full[key]["frames"][:, 0, 0, 1].tolist()
    clip = full[key]["frames"][0, 0, 0, 0].item()
    onset, apex = (rows[clip]["frames"][number] for number in numbers)
    expected = PROCESSOR([(onset, apex)], return_tensors="pt")["pixel_values"][0]
    made = normalize_frames(pairs[key]["frames"], PROCESSOR)
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-6)
    pixels = pairs[key]["frames"].permute(0, 3, 1, 2) / 255
    torch.testing.assert_close(denormalize_frames(made, PROCESSOR), pixels, rtol=0, atol=1e-6)


def test_grey_frames_serve_colour_models_and_colour_frames_grey_ones(tmp_path):
    grey = [np.full((8, 8), 40 * number, np.uint8) for number in range(3)]
    write_clips(tmp_path / "set", [{"sample_id": "a", "subject_id": "s", "fps": 25.0, "frames": grey}])
    colour = make_pairs(tmp_path / "set", size=(8, 8))[PairKey(0, 0, 0)]["frames"]
    assert colour.shape == (2, 8, 8, 3) and torch.equal(colour[..., 0], colour[..., 2])
    single = make_pairs(tmp_path / "set", size=(8, 8), num_channels=1)[PairKey(0, 0, 0)]["frames"]
    assert torch.equal(single[..., 0], colour[..., 1])


@pytest.mark.parametrize("num_workers", [1, 3])
def test_workers_change_nothing(folder, num_workers):
    """Every tensor of every batch."""
    pairs = make_pairs(folder)
    batches = PairBatches(pairs.order, range(12))
    expected = list(DataLoader(pairs, batch_sampler=batches, collate_fn=collator()))
    made = list(DataLoader(make_pairs(folder), batch_sampler=batches, collate_fn=collator(), num_workers=num_workers))
    assert len(made) == len(expected) == 12
    for one, other in zip(made, expected):
        assert set(one) == {"frames", "pair_draws", "crop_draws", "bool_swapped_pos"}
        for name, tensor in one.items():
            assert torch.equal(tensor, other[name]), name


@pytest.mark.parametrize(("num_ranks", "num_workers"), [(1, 0), (1, 2), (2, 1), (3, 2)])
def test_ranks_and_workers_cover_an_epoch_without_overlap_or_loss(folder, num_ranks, num_workers):
    """24 pairs in steps of 12: after two steps every pair was seen once, whoever read it."""
    keys = []
    for rank in range(num_ranks):
        pairs = make_pairs(folder, batch_size=12 // num_ranks)
        numbers = batches_of_rank(0, 2, 1, rank, num_ranks)
        loader = DataLoader(
            pairs, batch_sampler=PairBatches(pairs.order, numbers), collate_fn=list, num_workers=num_workers
        )
        keys += [tuple(item["key"]) for batch in loader for item in batch]
    assert sorted(keys) == [(0, clip, pair) for clip in range(8) for pair in range(3)]


def test_draws_belong_to_the_pair_not_to_the_batch(folder):
    pairs = make_pairs(folder)
    items = [pairs[PairKey(0, clip, 0)] for clip in (3, 1, 2)]
    whole, alone = collator()(items), collator()(items[1:2])
    for name, tensor in alone.items():
        assert torch.equal(tensor[0], whole[name][1])
    later = collator()([pairs[PairKey(1, 1, 0)]])
    assert not torch.equal(later["pair_draws"], alone["pair_draws"])


def test_views_are_what_the_model_takes(folder):
    pairs = make_pairs(folder)
    batch = collator()([pairs[PairKey(0, clip, 0)] for clip in range(4)])
    still = PairViews(PROCESSOR, None, (8, 8), (0.4, 1.0))(batch)
    assert torch.equal(still["pixel_values"], normalize_frames(batch["frames"], PROCESSOR))
    assert still["crop_pixel_values"].shape == (4, 2, 3, 8, 8)
    moved = PairViews(PROCESSOR, PairAugmentation(), (8, 8), (0.4, 1.0))(batch)
    assert moved["pixel_values"].shape == still["pixel_values"].shape
    assert not torch.allclose(moved["pixel_values"], still["pixel_values"], atol=0.05)
    without = PairViews(PROCESSOR, None, (8, 8), (0.4, 1.0))(collator(num_crops=0)([pairs[PairKey(0, 0, 0)]]))
    assert "crop_pixel_values" not in without


def test_workers_may_be_spawned(folder):
    pairs = make_pairs(folder)
    batches = PairBatches(pairs.order, range(2))
    expected = list(DataLoader(pairs, batch_sampler=batches, collate_fn=collator()))
    made = list(
        DataLoader(pairs, batch_sampler=batches, collate_fn=collator(), num_workers=1, multiprocessing_context="spawn")
    )
    assert all(torch.equal(one["frames"], other["frames"]) for one, other in zip(made, expected, strict=True))


@pytest.mark.parametrize(("num_streams", "num_readers"), [(8, 1), (8, 2), (8, 8)])
def test_each_clip_is_read_once_an_epoch(tmp_path, monkeypatch, num_streams, num_readers):
    """Readers take every so-manieth batch, as workers do; what they read is counted, not what they ask for."""
    tiny = [np.zeros((2, 2), np.uint8)] * 2
    rows = [{"sample_id": f"c{clip}", "subject_id": "s", "frames": tiny} for clip in range(600)]
    write_clips(tmp_path / "set", rows, num_shards=40)
    index = ClipIndex.load(tmp_path / "set")
    order = PairOrder(index.num_clips, 4, 4, seed=0, num_streams=num_streams)
    assert order.num_streams == num_streams
    read = Counter()
    inner = ClipPairs.clip
    monkeypatch.setattr(ClipPairs, "clip", lambda self, number: (read.update([number]), inner(self, number))[1])
    for reader in range(num_readers):
        pairs = ClipPairs(tmp_path / "set", index, order, FrameDistance(1, 1, "frames"), (2, 2), PROCESSOR.resample)
        for number in range(reader, order.pairs_per_epoch // 4 - 2 * num_streams, num_readers):
            for key in order.batch(number):
                pairs[key]
    assert len(read) > 550 and max(read.values()) == 1


def test_checksums_are_looked_at_once(folder):
    """At the first reading; that a damaged clip is named then is tested below."""
    pairs = make_pairs(folder)
    assert not pairs._is_checked.any()
    pairs[PairKey(0, 2, 0)]
    assert pairs._is_checked.tolist() == [number == 2 for number in range(8)]
    assert torch.equal(pairs[PairKey(1, 2, 0)]["frames"], make_pairs(folder)[PairKey(1, 2, 0)]["frames"])


def test_another_rate_or_another_person_is_another_set(tmp_path):
    frames = [make_frame(0, number) for number in range(4)]
    row = {"sample_id": "a", "subject_id": "s", "fps": 25.0, "frames": frames}
    variants = [
        [row],
        [{**row, "fps": 50.0}],
        [{**row, "subject_id": "t"}],
        [{**row, "frames": frames[:2]}, {**row, "sample_id": "b", "frames": frames[2:]}],
    ]
    prints = {write_clips(tmp_path / str(number), rows).fingerprint for number, rows in enumerate(variants)}
    assert len(prints) == 4
    assert write_clips(tmp_path / "again", [row]).fingerprint in prints


def test_the_cache_is_bounded(folder, monkeypatch):
    from micron_bert_hf.data import clip_pairs

    monkeypatch.setattr(clip_pairs, "CACHE_BYTES", 1)
    pairs, free = make_pairs(folder), make_pairs(folder)
    for clip in range(8):
        key = PairKey(0, clip, 2)
        assert torch.equal(pairs[key]["frames"], free[key]["frames"])
        assert len(pairs._cache) == 1


def test_no_set_a_foreign_index_and_a_damaged_shard_are_named(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="prepare-clips"):
        ClipIndex.load(tmp_path)
    (tmp_path / "clips.json").write_text("{")
    with pytest.raises(ValueError, match="cannot be read"):
        ClipIndex.load(tmp_path)
    content = json.loads((folder / "clips.json").read_text())
    (tmp_path / "clips.json").write_text(json.dumps({**content, "format_version": 99}))
    with pytest.raises(ValueError, match="format version 1"):
        ClipIndex.load(tmp_path)
    with pytest.raises(FileExistsError, match="not empty"):
        write_clips(tmp_path, [])

    damaged = tmp_path / "damaged"
    (damaged / "data").mkdir(parents=True)
    index = ClipIndex.load(folder)
    for name in index.shards:
        content = bytearray((folder / name).read_bytes())
        content[200:260] = bytes(60)
        (damaged / name).write_bytes(content)
    (damaged / "clips.json").write_bytes((folder / "clips.json").read_bytes())
    with pytest.raises(OSError, match="cannot be read"):
        make_pairs(damaged)[PairKey(0, 0, 0)]
    (damaged / index.shards[0]).write_bytes(b"PAR1")
    with pytest.raises(OSError, match="cannot be opened"):
        make_pairs(damaged)[PairKey(0, 0, 0)]


def test_a_frame_that_is_no_image_is_named(tmp_path):
    from micron_bert_hf.data.clip_set import ClipShardWriter, shard_names

    good = io.BytesIO()
    Image.fromarray(make_frame(0, 0)).save(good, "PNG")
    (tmp_path / "data").mkdir()
    (name,) = shard_names(1)
    with ClipShardWriter(tmp_path / name) as writer:
        writer.write("a", "s", "made", 100.0, [good.getvalue(), b"no image"])
    ClipIndex((name,), (1,), 2, {"made": ["s"]}, "x").save(tmp_path)
    with pytest.raises(ValueError, match=r"00000-of-00001\.parquet, a: .*a frame"):
        make_pairs(tmp_path)[PairKey(0, 0, 0)]


def test_an_error_while_writing_leaves_no_shard(tmp_path):
    from micron_bert_hf.data.clip_set import ClipShardWriter

    with pytest.raises(ValueError, match="two frames or more"), ClipShardWriter(tmp_path / "x.parquet") as writer:
        writer.write("a", "s", "made", 100.0, [b"only one"])
    assert list(tmp_path.iterdir()) == []
