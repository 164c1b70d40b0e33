"""In which order pretraining sees its pairs: pure arithmetic, so that any batch can be named without those before it.

Batch `n` depends on the seed and the set alone. Ranks, workers and accumulation decide who computes it, never what is
in it, and a run goes on from batch `n` without reading a clip of those that it has seen.

An epoch shows `pairs_per_clip` pairs of every clip. Its order is drawn so that a reader on a spinning disk or a
network can follow: shards are shuffled, clips are shuffled among the shards of a window, and the pairs of a block of
clips are shuffled among each other. Blocks are dealt to streams, batches come from the streams in turn: where the
number of readers (ranks times workers) divides that of the streams, each clip is read once an epoch, by one of them.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np


# Shards whose clips mix, and clips whose pairs mix. A window of 16 shards keeps as many files open; a block of 64
# clips with 4 pairs each shuffles 256 pairs. Ours.
SHARDS_PER_WINDOW = 16
CLIPS_PER_BLOCK = 64
# Streams of a run that says nothing else: for 1, 2, 4 or 8 readers. A single reader keeps the blocks of all of them.
DEFAULT_NUM_STREAMS = 8
# Keys of the random streams: no draw in one shifts another.
_SHARDS, _CLIPS, _PAIRS = 1, 2, 3


class PairKey(NamedTuple):
    """Names one pair: `clip` counts through the shards as the index has them, `pair` is in [0, pairs_per_clip)."""

    epoch: int
    clip: int
    pair: int


class PairOrder:
    """
    Args:
        clips_per_shard: clips in each shard, as in [`ClipIndex`].
        pairs_per_clip, batch_size (`int`): at least 1.
        seed (`int`): at least 0.
        num_streams (`int`): at least 1; a small set has the largest divisor of it that leaves each stream a block.

    Raises:
        ValueError: a number out of its range, or no clip at all.
    """

    def __init__(
        self,
        clips_per_shard: Sequence[int],
        pairs_per_clip: int,
        batch_size: int,
        seed: int,
        num_streams: int = DEFAULT_NUM_STREAMS,
    ):
        for name, value, least in (
            ("pairs_per_clip", pairs_per_clip, 1),
            ("batch_size", batch_size, 1),
            ("seed", seed, 0),
            ("num_streams", num_streams, 1),
        ):
            if value < least:
                raise ValueError(f"`{name}` must be at least {least}, got {value}.")
        self.clips_per_shard = np.asarray(clips_per_shard, np.int64)
        self.num_clips = int(self.clips_per_shard.sum())
        if self.num_clips == 0:
            raise ValueError("Expected at least one clip, got none.")
        self.pairs_per_clip = pairs_per_clip
        self.batch_size = batch_size
        self.seed = seed
        # a stream of few clips would be repeated more often than others by the rounding of its length
        most_streams = max(1, self.num_clips // CLIPS_PER_BLOCK)
        self.num_streams = max(
            count for count in range(1, num_streams + 1) if num_streams % count == 0 and count <= most_streams
        )
        self._arguments = (tuple(clips_per_shard), pairs_per_clip, batch_size, seed, num_streams)
        blocks_per_stream = -(-self.num_clips // (CLIPS_PER_BLOCK * self.num_streams))
        num_blocks = self.num_streams * blocks_per_stream
        # near-equal blocks: their sizes differ by one clip at most
        self._block_starts = np.arange(num_blocks + 1) * self.num_clips // num_blocks
        # (streams, blocks a stream + 1) pairs of a stream before each of its blocks; the last column is its length
        sizes = np.diff(self._block_starts).reshape(blocks_per_stream, self.num_streams).T * pairs_per_clip
        self._pairs_before = np.concatenate([np.zeros((self.num_streams, 1), np.int64), sizes.cumsum(1)], axis=1)
        self._clips_in_epoch = lru_cache(maxsize=2)(self._shuffle_clips)
        self._pairs_of_block = lru_cache(maxsize=2 * self.num_streams)(self._shuffle_pairs)

    def __reduce__(self):
        # without the caches: what is drawn again is the same, and they cannot go to a worker that is spawned
        return PairOrder, self._arguments

    @property
    def pairs_per_epoch(self) -> int:
        return self.num_clips * self.pairs_per_clip

    def batch(self, number: int) -> list[PairKey]:
        """The `batch_size` pairs of batch `number`, counted from 0 and across epochs."""
        stream, position = number % self.num_streams, number // self.num_streams * self.batch_size
        before = self._pairs_before[stream]
        keys: list[PairKey] = []
        while len(keys) < self.batch_size:
            epoch, within = divmod(position + len(keys), int(before[-1]))
            row = int(np.searchsorted(before, within, side="right")) - 1
            pairs = self._pairs_of_block(epoch, row * self.num_streams + stream)
            start = within - int(before[row])
            wanted = pairs[start : start + self.batch_size - len(keys)]
            keys += [PairKey(epoch, int(clip), int(pair)) for clip, pair in wanted]
        return keys

    def _shuffle_clips(self, epoch: int) -> np.ndarray:
        """`(num_clips,)` clip numbers in the order of the epoch."""
        shards = self._rng(_SHARDS, epoch).permutation(len(self.clips_per_shard))
        first_clip = np.concatenate([[0], self.clips_per_shard.cumsum()])
        rng = self._rng(_CLIPS, epoch)
        windows = [
            np.concatenate([np.arange(first_clip[shard], first_clip[shard + 1]) for shard in shards[start:stop]])
            for start, stop in _spans(len(shards), SHARDS_PER_WINDOW)
        ]
        return np.concatenate([rng.permutation(window) for window in windows])

    def _shuffle_pairs(self, epoch: int, block: int) -> np.ndarray:
        """`(pairs, 2)` (clip, pair) of one block in shuffled order."""
        clips = self._clips_in_epoch(epoch)[self._block_starts[block] : self._block_starts[block + 1]]
        pairs = np.stack(np.meshgrid(clips, np.arange(self.pairs_per_clip), indexing="ij"), -1).reshape(-1, 2)
        return self._rng(_PAIRS, epoch, block).permutation(pairs)

    def _rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=key))


def batches_of_rank(start_step: int, num_steps: int, accumulation: int, rank: int, num_ranks: int) -> range:
    """
    Numbers of the batches that a rank computes, in order: of every step's `accumulation * num_ranks`, those at its
    place. All ranks together compute each batch once.
    """
    per_step = accumulation * num_ranks
    return range(start_step * per_step + rank, num_steps * per_step, num_ranks)


def _spans(length: int, size: int) -> list[tuple[int, int]]:
    return [(start, min(start + size, length)) for start in range(0, length, size)]
