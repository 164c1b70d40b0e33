"""Pairs of frames drawn from clips on disk, for pretraining: reading and decoding in workers, the rest on the device.

What is random about a pair is keyed by (seed, epoch, clip, pair): the same for any number of workers and ranks and
after any interruption.
"""

import io
import os
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from ..image_processing_micron_bert import MicronBertImageProcessor, from_pil, open_encoded, resize_frame
from .augmentation import NUM_CROP_DRAWS, NUM_PAIR_DRAWS, PairAugmentation, augment_pairs, random_crops
from .clip_set import ClipIndex, ClipShard, StoredClip
from .displacement import NUM_DISPLACEMENT_DRAWS, displaced_pairs
from .pair_order import SHARDS_PER_WINDOW, PairKey, PairOrder
from .pairs import per_sample_generator


# What a reader keeps at once: encoded frames, so that the pairs of one clip are read once (a block of 64 clips with 4
# pairs of JPEG frames at 224 pixels takes about 10 MB, and a single reader keeps 8 of them), and open shards (those of
# the windows of 8 blocks). Ours.
CACHE_BYTES = 256 * 2**20
MAX_OPEN_SHARDS = 8 * SHARDS_PER_WINDOW
# The stream of pair places; the torch generator of a pair draws the rest.
_PLACES = 4


@dataclass(frozen=True)
class FrameDistance:
    """
    How far apart the two frames of a pair are: uniform between two whole numbers of frames.

    Args:
        low, high (`float`): both ends belong to it; positive.
        unit (`"frames"` or `"ms"`): milliseconds become frames by each clip's own rate, so that sources of 30, 100 and
            200 frames a second show movements of one duration.
    """

    low: float
    high: float
    unit: str = "ms"

    def __post_init__(self):
        if self.unit not in ("frames", "ms"):
            raise ValueError(f"`unit` must be frames or ms, got {self.unit!r}.")
        if not 0 < self.low <= self.high:
            raise ValueError(f"The distance must rise from a positive number, got {self.low} to {self.high}.")

    def in_frames(self, fps: float, num_frames: int) -> tuple[int, int]:
        """
        Smallest and largest distance in a clip: rounded to whole frames, at least 1, at most what the clip holds.
        """
        scale = fps / 1000.0 if self.unit == "ms" else 1.0
        low = min(max(1, round(self.low * scale)), num_frames - 1)
        return low, min(max(low, round(self.high * scale)), num_frames - 1)


def draw_pairs(
    rng: np.random.Generator, num_pairs: int, num_frames: int, fps: float, distance: FrameDistance
) -> np.ndarray:
    """
    `(num_pairs, 2)` frame numbers (t, t + delta): delta uniform in the distance, t uniform over where it fits.
    """
    low, high = distance.in_frames(fps, num_frames)
    delta = rng.integers(low, high, num_pairs, endpoint=True)
    first = rng.integers(0, num_frames - delta)
    return np.stack([first, first + delta], axis=1)


class ClipPairs(Dataset):
    """
    Decoded pairs of a set of clips, by their [`PairKey`]. Opens a shard when a clip of it is wanted.

    Args:
        folder: a set of clips with its index.
        order: which pairs there are; its `seed` and `pairs_per_clip` also decide where in a clip a pair lies.
        distance: between the frames of a pair.
        image_size (`(height, width)`): pixels, to which frames are resized.
        resample (`int`): PIL's filter.
        num_channels (`int`): 1 or 3.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        index: ClipIndex,
        order: PairOrder,
        distance: FrameDistance,
        image_size: tuple[int, int],
        resample: int,
        num_channels: int = 3,
    ):
        self.folder = os.fspath(folder)
        self.shards = index.shards
        self.first_clips = np.concatenate([[0], np.cumsum(index.num_clips)]).tolist()
        self.order = order
        self.distance = distance
        self.image_size = image_size
        self.resample = resample
        self.num_channels = num_channels
        self._is_checked = np.zeros(index.total_clips, bool)
        self._open: OrderedDict[int, ClipShard] = OrderedDict()
        self._cache: OrderedDict[tuple[int, int], list[tuple[bytes, bytes]]] = OrderedDict()
        self._cached_bytes = 0

    def __getstate__(self) -> dict:
        # open files stay here; a worker that is spawned opens its own
        return {**self.__dict__, "_open": OrderedDict(), "_cache": OrderedDict(), "_cached_bytes": 0}

    def __len__(self) -> int:
        return self.order.pairs_per_epoch

    def __getitem__(self, key: PairKey) -> dict[str, object]:
        """
        Returns:
            `key` and `frames`, `torch.uint8` of shape `(2, height, width, num_channels)`: as they are decoded, since
            turning the axes is quicker on the whole batch, on the device.

        Raises:
            OSError: a damaged shard.
            ValueError: a frame that cannot be decoded; both name the place.
        """
        frames = np.empty((2, *self.image_size, self.num_channels), np.uint8)
        for encoded, frame in zip(self._encoded_pairs(key.epoch, key.clip)[key.pair], frames):
            self._decode(encoded, key.clip, frame)
        return {"key": key, "frames": torch.from_numpy(frames)}

    def clip(self, number: int) -> StoredClip:
        """Clip `number`, counted through the shards; its checksums are looked at when it is read first."""
        shard = bisect_right(self.first_clips, number) - 1
        if shard in self._open:
            self._open.move_to_end(shard)
        else:
            self._open[shard] = ClipShard(os.path.join(self.folder, self.shards[shard]))
            if len(self._open) > MAX_OPEN_SHARDS:
                self._open.popitem(last=False)[1].close()
        clip = self._open[shard].read(number - self.first_clips[shard], bool(self._is_checked[number]))
        self._is_checked[number] = True
        return clip

    def _encoded_pairs(self, epoch: int, number: int) -> list[tuple[bytes, bytes]]:
        """The encoded frames of every pair of one clip in one epoch."""
        if (epoch, number) in self._cache:
            self._cache.move_to_end((epoch, number))
            return self._cache[epoch, number]
        clip = self.clip(number)
        rng = np.random.default_rng(np.random.SeedSequence(self.order.seed, spawn_key=(_PLACES, epoch, number)))
        places = draw_pairs(rng, self.order.pairs_per_clip, len(clip), clip.fps, self.distance)
        frames = {place: clip.frame(place) for place in np.unique(places).tolist()}
        pairs = [(frames[first], frames[second]) for first, second in places.tolist()]
        self._cache[epoch, number] = pairs
        self._cached_bytes += _num_bytes(pairs)
        while self._cached_bytes > CACHE_BYTES and len(self._cache) > 1:
            self._cached_bytes -= _num_bytes(self._cache.popitem(last=False)[1])
        return pairs

    def _decode(self, encoded: bytes, number: int, output: np.ndarray) -> None:
        """Into `output (height, width, num_channels)`, uint8."""
        try:
            image = from_pil(open_encoded(io.BytesIO(encoded), "a frame"))
            if not isinstance(image, Image.Image):
                raise ValueError("a frame has 16 bits or floats; expected 8 bits")
        except ValueError as error:
            shard = self.shards[bisect_right(self.first_clips, number) - 1]
            raise ValueError(f"{shard}, {self.clip(number).sample_id}: {error}.") from error
        image = resize_frame(image, *self.image_size, self.resample)
        mode = "L" if self.num_channels == 1 else "RGB"
        if image.mode != mode:
            image = image.convert(mode)
        output[...] = np.asarray(image).reshape(output.shape)


def _num_bytes(pairs: list[tuple[bytes, bytes]]) -> int:
    return sum(len(first) + len(second) for first, second in pairs)


class PairBatches:
    """
    A batch sampler over a range of batch numbers; see [`batches_of_rank`].

    Args:
        order: of the pairs.
        numbers: batches in the order in which they are computed.
    """

    def __init__(self, order: PairOrder, numbers: range):
        self.order = order
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self):
        return (self.order.batch(number) for number in self.numbers)


def pair_generator(key: PairKey, seed: int, pairs_per_clip: int) -> torch.Generator:
    """The generator of all that is random about one pair."""
    return per_sample_generator(seed, key.epoch, key.clip * pairs_per_clip + key.pair)


class PairCollator:
    """
    Items of [`ClipPairs`] to a batch, with all that is random about it drawn but not yet applied.

    Args:
        seed (`int`): of all draws.
        pairs_per_clip (`int`): numbers the pairs.
        draw_swapped_positions: from a generator to `bool_swapped_pos (1, num_patches)`; handed in, since the swap is
            the model's and `data` does not know the model. Must be picklable where workers are spawned.
        num_crops (`int`): views of frame 1 for the agreement loss; 0 for none.
    """

    def __init__(
        self,
        seed: int,
        pairs_per_clip: int,
        draw_swapped_positions: Callable[[torch.Generator], torch.BoolTensor],
        num_crops: int,
    ):
        self.seed = seed
        self.pairs_per_clip = pairs_per_clip
        self.draw_swapped_positions = draw_swapped_positions
        self.num_crops = num_crops

    def __call__(self, items: Sequence[dict]) -> dict[str, torch.Tensor]:
        """
        Returns:
            `frames (B, 2, H, W, C)` uint8, `pair_draws (B, 9)`, `crop_draws (B, num_crops, 4)` uniform in [0, 1), and
            `bool_swapped_pos (B, num_patches)`.
        """
        pair_draws, swapped, crop_draws = [], [], []
        for item in items:
            generator = pair_generator(item["key"], self.seed, self.pairs_per_clip)
            pair_draws.append(torch.rand(NUM_PAIR_DRAWS, generator=generator))
            swapped.append(self.draw_swapped_positions(generator))
            crop_draws.append(torch.rand(self.num_crops, NUM_CROP_DRAWS, generator=generator))
        return {
            "frames": torch.stack([item["frames"] for item in items]),
            "pair_draws": torch.stack(pair_draws),
            "crop_draws": torch.stack(crop_draws),
            "bool_swapped_pos": torch.cat(swapped),
        }


class DisplacedCollator:
    """
    Items of [`ClipPairs`] to a batch for [`DisplacedViews`], with all that is random about it drawn but not yet
    applied.

    Args:
        seed (`int`): of all draws.
        pairs_per_clip (`int`): numbers the pairs.
        size (`(height, width)`): pixels of what is cut out of the frames.
    """

    def __init__(self, seed: int, pairs_per_clip: int, size: tuple[int, int]):
        self.seed = seed
        self.pairs_per_clip = pairs_per_clip
        self.size = size

    def __call__(self, items: Sequence[dict]) -> dict[str, torch.Tensor]:
        """
        Returns:
            `frames (B, 2, H, W, C)` uint8; `pair_draws (B, 9)`, `place_draws (B, 2)` and `displacement_draws (B,
            NUM_DISPLACEMENT_DRAWS)`, uniform in [0, 1); `noise (B, 2, C, height, width)`, standard normal.
        """
        generators = [pair_generator(item["key"], self.seed, self.pairs_per_clip) for item in items]
        draws = {
            name: torch.stack([torch.rand(number, generator=generator) for generator in generators])
            for name, number in (
                ("pair_draws", NUM_PAIR_DRAWS),
                ("place_draws", 2),
                ("displacement_draws", NUM_DISPLACEMENT_DRAWS),
            )
        }
        frames = torch.stack([item["frames"] for item in items])
        shape = (2, frames.shape[-1], *self.size)
        noise = torch.stack([torch.randn(shape, generator=generator) for generator in generators])
        return {"frames": frames, **draws, "noise": noise}


@dataclass(frozen=True)
class PairViews:
    """
    From a collated batch, on any device, to what the model takes: normalised, augmented alike in both frames, cropped.

    Args:
        image_processor: whose normalisation is used.
        augmentation ([`PairAugmentation`], *optional*)
        crop_size (`(height, width)`): pixels, divisible by the patch.
        crop_area_range (`(float, float)` in (0, 1]): see [`random_crops`].
    """

    image_processor: MicronBertImageProcessor
    augmentation: PairAugmentation | None
    crop_size: tuple[int, int]
    crop_area_range: tuple[float, float]

    def __call__(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """
        Returns:
            `pixel_values (B, 2, C, H, W)`, `bool_swapped_pos` and, with crops, `crop_pixel_values (B, num_crops, C, h,
            w)`; floats.
        """
        pixel_values = normalize_frames(batch["frames"], self.image_processor)
        if self.augmentation is not None:
            pixel_values = augment_pairs(pixel_values, batch["pair_draws"], self.augmentation)
        views = {"pixel_values": pixel_values, "bool_swapped_pos": batch["bool_swapped_pos"]}
        if batch["crop_draws"].shape[1] > 0:
            views["crop_pixel_values"] = random_crops(
                pixel_values[:, 1], batch["crop_draws"], self.crop_size, self.crop_area_range
            )
        return views


@dataclass(frozen=True)
class DisplacedViews:
    """
    From a collated batch to pairs with a known displacement: a part of the frames is cut out, the two frames of a pair
    are averaged, which halves the variance of the camera noise that would otherwise move along and give the
    displacement away, and the mean is displaced. Take pairs of neighbouring frames.

    Args:
        image_processor: whose normalisation is used.
        augmentation ([`PairAugmentation`], *optional*)
        size (`(height, width)`): pixels of what is cut out.
    """

    image_processor: MicronBertImageProcessor
    augmentation: PairAugmentation | None
    size: tuple[int, int]

    def __call__(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """
        Returns:
            `pixel_values (B, 2, C, height, width)` and `displacement (B, 2, height, width)`, (x, y) in pixels.
        """
        pixel_values = normalize_frames(batch["frames"], self.image_processor)
        if self.augmentation is not None:
            pixel_values = augment_pairs(pixel_values, batch["pair_draws"], self.augmentation)
        frames = pixel_values.mean(dim=1)
        room = torch.tensor([frames.shape[2] - self.size[0], frames.shape[3] - self.size[1]])
        places = (batch["place_draws"].cpu() * (room + 1)).long().tolist()
        frames = torch.stack(
            [
                frame[:, top : top + self.size[0], left : left + self.size[1]]
                for frame, (top, left) in zip(frames, places)
            ]
        )
        pairs, displacement = displaced_pairs(frames, batch["displacement_draws"], batch["noise"])
        return {"pixel_values": pairs, "displacement": displacement}


def normalize_frames(frames: torch.Tensor, image_processor: MicronBertImageProcessor) -> torch.FloatTensor:
    """
    What the image processor does to pixels that already have their size.

    Args:
        frames (`torch.Tensor` of shape `(..., H, W, C)`): uint8

    Returns:
        `torch.FloatTensor` of shape `(..., C, H, W)`: `(factor * pixels - mean) / std`.
    """
    factor = image_processor.rescale_factor if image_processor.do_rescale else 1.0
    mean, std = (image_processor.image_mean, image_processor.image_std) if image_processor.do_normalize else (0.0, 1.0)
    mean, std = (torch.tensor(value, dtype=torch.float64).reshape(-1, 1, 1) for value in (mean, std))
    scale, shift = (value.to(torch.float32).to(frames.device) for value in (factor / std, -mean / std))
    return frames.movedim(-1, -3).contiguous() * scale + shift


def denormalize_frames(pixel_values: torch.Tensor, image_processor: MicronBertImageProcessor) -> torch.FloatTensor:
    """Normalised `(..., C, H, W)` back to pixels in [0, 1], channels where they are; not clipped."""
    factor = image_processor.rescale_factor if image_processor.do_rescale else 1.0
    mean, std = (image_processor.image_mean, image_processor.image_std) if image_processor.do_normalize else (0.0, 1.0)
    mean, std = (torch.tensor(value).reshape(-1, 1, 1).to(pixel_values.device) for value in (mean, std))
    return (pixel_values.float() * std + mean) / (255.0 * factor)
