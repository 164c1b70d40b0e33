"""The order of pretraining's pairs: everything once an epoch, by somebody, whoever asks and whenever."""

import pickle
from collections import Counter

import numpy as np
import pytest

from micron_bert_hf.data import PairOrder, batches_of_rank
from micron_bert_hf.data.pair_order import DEFAULT_NUM_STREAMS, SHARDS_PER_WINDOW


SETS = {
    "one clip": ([1], 1, 4),
    "few clips": ([3, 0, 7], 3, 7),
    "one block": ([64], 4, 16),
    "uneven shards": ([3, 0, 7, 100, 64, 200], 3, 8),
    "many shards": ([11] * 60, 2, 32),
}


def pairs_until_every_epoch_0(order):
    """How often each pair of epoch 0 is met before the last of them is."""
    seen, number = Counter(), 0
    while sum(seen.values()) < order.pairs_per_epoch:
        batch = order.batch(number)
        assert len(batch) == order.batch_size
        seen.update(key for key in batch if key.epoch == 0)
        number += 1
    return seen


@pytest.mark.parametrize("name", SETS)
def test_an_epoch_shows_every_pair_once(name):
    counts, pairs_per_clip, batch_size = SETS[name]
    order = PairOrder(counts, pairs_per_clip, batch_size, seed=3)
    seen = pairs_until_every_epoch_0(order)
    assert set(seen.values()) == {1}
    assert {(key.clip, key.pair) for key in seen} == {
        (clip, pair) for clip in range(sum(counts)) for pair in range(pairs_per_clip)
    }


def test_later_epochs_show_every_pair_once_in_another_order():
    order = PairOrder([5, 4], 3, batch_size=9, seed=0)  # 27 pairs: three batches an epoch
    epochs = [[key for number in range(3 * epoch, 3 * epoch + 3) for key in order.batch(number)] for epoch in range(3)]
    for number, keys in enumerate(epochs):
        assert {key.epoch for key in keys} == {number}
        assert len({(key.clip, key.pair) for key in keys}) == 27
    orders = [[(key.clip, key.pair) for key in keys] for keys in epochs]
    assert orders[0] != orders[1] != orders[2]


@pytest.mark.parametrize("name", SETS)
def test_any_batch_is_the_same_without_those_before_it(name):
    counts, pairs_per_clip, batch_size = SETS[name]
    straight = PairOrder(counts, pairs_per_clip, batch_size, seed=1)
    batches = [straight.batch(number) for number in range(40)]
    for number in (39, 17, 0, 23):
        assert PairOrder(counts, pairs_per_clip, batch_size, seed=1).batch(number) == batches[number]
    assert PairOrder(counts, pairs_per_clip, batch_size, seed=2).batch(0) != batches[0] or sum(counts) == 1


@pytest.mark.parametrize(("accumulation", "num_ranks"), [(1, 1), (4, 1), (2, 2), (1, 4), (3, 2)])
def test_ranks_share_the_batches_of_every_step(accumulation, num_ranks):
    per_step = accumulation * num_ranks
    ranks = [list(batches_of_rank(5, 9, accumulation, rank, num_ranks)) for rank in range(num_ranks)]
    assert sorted(sum(ranks, [])) == list(range(5 * per_step, 9 * per_step))
    for rank in ranks:
        for step in range(4):
            own = rank[step * accumulation : (step + 1) * accumulation]
            assert {number // per_step for number in own} == {5 + step}


def test_a_reader_whose_number_divides_the_streams_reads_each_clip_once():
    order = PairOrder([50] * 20, 4, batch_size=16, seed=0, num_streams=12)
    num_readers = 4
    assert order.num_streams == 12
    readers_of = {}
    for number in range(order.pairs_per_epoch // 16 + 2 * order.num_streams):
        for key in order.batch(number):
            if key.epoch == 0:
                readers_of.setdefault(key.clip, set()).add(number % num_readers)
    assert len(readers_of) == 1000 and all(len(readers) == 1 for readers in readers_of.values())


def test_shards_and_clips_mix():
    """Weak: in one drawn order, neighbours are from different clips, and a window's shards stand mixed."""
    order = PairOrder([100] * 40, 4, batch_size=64, seed=0)
    batch = order.batch(0)
    assert len({key.clip for key in batch}) > 30
    assert len({key.clip // 100 for key in batch}) > SHARDS_PER_WINDOW // 2
    clips = [key.clip for key in batch]
    assert np.mean(np.diff(sorted(set(clips))) == 1) < 0.2


@pytest.mark.parametrize(
    ("num_clips", "wanted", "expected"), [(10, 8, 1), (300, 8, 4), (700, 8, 8), (700, 12, 6), (100_000, 384, 384)]
)
def test_a_small_set_has_fewer_streams(num_clips, wanted, expected):
    assert PairOrder([num_clips], 4, 16, 0, wanted).num_streams == expected
    assert PairOrder([100_000], 4, 16, 0).num_streams == DEFAULT_NUM_STREAMS


def test_an_order_goes_to_a_worker_that_is_spawned():
    order = PairOrder([5, 6], 3, 4, seed=2, num_streams=2)
    expected = order.batch(7)  # the caches are filled
    assert pickle.loads(pickle.dumps(order)).batch(7) == expected


def test_impossible_numbers_are_named():
    for arguments, message in (
        (([0, 0], 1, 1, 0), "one clip"),
        (([1], 0, 1, 0), "`pairs_per_clip` must be at least 1, got 0"),
        (([1], 1, 0, 0), "`batch_size` must be at least 1, got 0"),
        (([1], 1, 1, -1), "`seed` must be at least 0, got -1"),
    ):
        with pytest.raises(ValueError, match=message):
            PairOrder(*arguments)
