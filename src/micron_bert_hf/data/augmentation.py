"""Augmentation of frame pairs: ONE draw for both frames, else the difference between them is augmentation noise.

It acts on processed float frames, after the image processor, so that a resampled pair is not rounded back to 8 bits: a
micro-movement is of the order of one grey level. All randomness comes in as uniform noise.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F


# flip, rotation, scale, shift of columns and rows, contrast, brightness of each channel
NUM_PAIR_DRAWS = 9
# area share, side ratio, place of columns and rows
NUM_CROP_DRAWS = 4


@dataclass(frozen=True)
class PairAugmentation:
    """
    Largest changes; each is drawn uniformly up to it, in both directions. All values are ours, chosen on validation
    subjects of the synthetic set (aligned faces: small pose changes only).

    Args:
        flip_probability (`float` in [0, 1]): mirror left and right.
        max_rotation_degrees (`float`): about the image centre.
        max_scale (`float` in [0, 1)): 0.08 zooms between 0.92 and 1.08.
        max_shift (`float`): share of the image side.
        max_contrast (`float` in [0, 1)): factor on the normalised pixels.
        max_brightness (`float`): added to each channel of the normalised pixels, in their standard deviations.
    """

    flip_probability: float = 0.5
    max_rotation_degrees: float = 6.0
    max_scale: float = 0.08
    max_shift: float = 0.04
    max_contrast: float = 0.2
    max_brightness: float = 0.2


def _check_draws(draws: torch.Tensor, expected: tuple[int, ...]) -> None:
    if tuple(draws.shape) != expected:
        raise ValueError(f"Expected uniform draws of shape {expected}, got {tuple(draws.shape)}.")


def augment_pairs(
    pixel_values: torch.FloatTensor, draws: torch.FloatTensor, augmentation: PairAugmentation
) -> torch.FloatTensor:
    """
    Flip, rotate, zoom, shift and relight pairs; nothing is written in place.

    Args:
        pixel_values (`torch.FloatTensor` of shape `(batch_size, 2, num_channels, height, width)`): normalised
        draws (`torch.FloatTensor` of shape `(batch_size, 9)`): uniform in [0, 1), one row for BOTH frames of a pair

    Returns:
        `torch.FloatTensor` of the shape of `pixel_values`; bilinear, the border repeated.
    """
    if pixel_values.ndim != 5 or pixel_values.shape[1] != 2:
        raise ValueError(f"Expected pairs (batch, 2, channels, height, width), got {tuple(pixel_values.shape)}.")
    batch_size, _, num_channels, height, width = pixel_values.shape
    _check_draws(draws, (batch_size, NUM_PAIR_DRAWS))
    mirrored = draws[:, 0] < augmentation.flip_probability
    signed = 2.0 * draws[:, 1:] - 1.0
    angle = signed[:, 0] * math.radians(augmentation.max_rotation_degrees)
    scale = 1.0 + signed[:, 1] * augmentation.max_scale
    shift = signed[:, 2:4] * 2.0 * augmentation.max_shift  # affine_grid's image is 2 wide

    mirror = torch.where(mirrored, -1.0, 1.0)
    aspect = height / width
    # rows: where an output pixel (x, y) reads its input x and y; the aspect keeps a rotation rigid on oblong images
    matrix = torch.stack(
        [
            torch.stack([mirror * scale * angle.cos(), -mirror * scale * angle.sin() * aspect, shift[:, 0]], dim=1),
            torch.stack([scale * angle.sin() / aspect, scale * angle.cos(), shift[:, 1]], dim=1),
        ],
        dim=1,
    )
    frames = pixel_values.flatten(1, 2)
    grid = F.affine_grid(matrix, list(frames.shape), align_corners=False)
    moved = F.grid_sample(frames, grid, padding_mode="border", align_corners=False).unflatten(1, (2, num_channels))
    contrast = 1.0 + signed[:, 4] * augmentation.max_contrast
    # three brightness draws serve RGB; a grey image takes the first
    brightness = signed[:, 5 : 5 + num_channels] * augmentation.max_brightness
    return moved * contrast[:, None, None, None, None] + brightness[:, None, :, None, None]


def random_crops(
    pixel_values: torch.FloatTensor, draws: torch.FloatTensor, size: tuple[int, int], area_range: tuple[float, float]
) -> torch.FloatTensor:
    """
    Random crops of one frame, resized: the views of the contextual agreement loss.

    Args:
        pixel_values (`torch.FloatTensor` of shape `(batch_size, num_channels, height, width)`)
        draws (`torch.FloatTensor` of shape `(batch_size, num_crops, 4)`): uniform in [0, 1)
        size (`(height, width)`): of the crops after resizing, in pixels
        area_range (`(float, float)` in (0, 1]): share of the area that a crop keeps; its side ratio is log-uniform in
            [3/4, 4/3] as in torchvision's RandomResizedCrop, cut to what fits

    Returns:
        `torch.FloatTensor` of shape `(batch_size, num_crops, num_channels, *size)`
    """
    low, high = area_range
    if not 0.0 < low <= high <= 1.0:
        raise ValueError(f"`area_range` must rise within (0, 1], got {area_range}.")
    batch_size, num_crops = draws.shape[:2]
    _check_draws(draws, (pixel_values.shape[0], num_crops, NUM_CROP_DRAWS))
    area = low + draws[..., 0] * (high - low)
    ratio = torch.exp((2.0 * draws[..., 1] - 1.0) * math.log(4 / 3))
    sides = torch.stack([(area * ratio).sqrt(), (area / ratio).sqrt()], dim=-1).clamp(max=1.0)  # x, y as shares
    centre = (1.0 - sides) * (2.0 * draws[..., 2:] - 1.0)
    matrix = torch.cat([torch.diag_embed(sides), centre[..., None]], dim=-1).flatten(0, 1)
    frames = pixel_values.repeat_interleave(num_crops, dim=0)
    grid = F.affine_grid(matrix, [frames.shape[0], frames.shape[1], *size], align_corners=False)
    crops = F.grid_sample(frames, grid, padding_mode="border", align_corners=False)
    return crops.unflatten(0, (batch_size, num_crops))
