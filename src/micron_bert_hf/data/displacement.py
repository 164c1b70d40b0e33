"""Pairs with a known movement, made from single frames: what windowed attention learns to find, without labels.

A frame is bent by a smooth random displacement, half of it forwards and half backwards, so that both frames of the
pair are resampled alike and resampling tells nothing. Then each gets camera noise of its own and the second other
light. All numbers are ours, chosen on validation subjects of the synthetic set: movements of a fifth of a pixel to a
few pixels, over the whole face or a part of it, on top of a small movement of the head.
"""

import torch
import torch.nn.functional as F


# Sides of the grids of random vectors that are added up, from the movement of the whole frame to that of a mouth
# corner, and of the grid that says where in the frame there is any.
_GRIDS = (3, 5, 9, 14)
_MASK_GRID = 4
_LIGHT_GRID = 3
# Pixels that the 95th percentile of the displacement reaches, log-uniform.
_MIN_AMPLITUDE, _MAX_AMPLITUDE = 0.15, 2.5
# Of the head: pixels, radians and relative size, at most.
_MAX_SHIFT, _MAX_ROTATION, _MAX_ZOOM = 1.0, 0.01, 0.01
# In standard deviations of normalised pixels (0.22 of the range): 4 and 3 grey levels, and a contrast of 5 %.
_MAX_NOISE, _MAX_LIGHT, _MAX_GAIN = 0.07, 0.1, 0.1
_NUM_FIELD_DRAWS = 2 * sum(side**2 for side in _GRIDS)
_NUM_LIGHT_DRAWS = 3 * _LIGHT_GRID**2
# grids and their weights, mask and whether it holds, amplitude, shift of columns and rows, rotation, zoom, noise, gain
NUM_DISPLACEMENT_DRAWS = _NUM_FIELD_DRAWS + len(_GRIDS) + _MASK_GRID**2 + 1 + 1 + 2 + 1 + 1 + 1 + 1 + _NUM_LIGHT_DRAWS


def random_displacement(draws: torch.FloatTensor, size: tuple[int, int]) -> torch.FloatTensor:
    """
    Smooth displacements of every pixel.

    Args:
        draws (`torch.FloatTensor` of shape `(batch_size, NUM_DISPLACEMENT_DRAWS)`): uniform in [0, 1)
        size (`(height, width)`)

    Returns:
        `torch.FloatTensor` of shape `(batch_size, 2, height, width)`: (x, y) in pixels.
    """
    if draws.ndim != 2 or draws.shape[1] != NUM_DISPLACEMENT_DRAWS:
        raise ValueError(f"Expected uniform draws (batch, {NUM_DISPLACEMENT_DRAWS}), got {tuple(draws.shape)}.")
    signed = 2.0 * draws - 1.0
    field, start = 0.0, 0
    weights = draws[:, _NUM_FIELD_DRAWS : _NUM_FIELD_DRAWS + len(_GRIDS)]
    for number, side in enumerate(_GRIDS):
        vectors = signed[:, start : start + 2 * side**2].reshape(-1, 2, side, side)
        start += 2 * side**2
        field = field + F.interpolate(
            vectors * weights[:, number, None, None, None], size, mode="bicubic", align_corners=True
        )
    start += len(_GRIDS)
    largest = field.square().sum(dim=1).sqrt().flatten(1).quantile(0.95, dim=1)[:, None, None, None]
    field = field / largest.clamp(min=1e-6)

    mask = draws[:, start : start + _MASK_GRID**2].reshape(-1, 1, _MASK_GRID, _MASK_GRID)
    mask = F.interpolate(mask, size, mode="bicubic", align_corners=True).clamp(0.0, 1.0)
    start += _MASK_GRID**2
    is_local, amplitude = (draws[:, start + place, None, None, None] for place in (0, 1))
    amplitude = _MIN_AMPLITUDE * (_MAX_AMPLITUDE / _MIN_AMPLITUDE) ** amplitude
    field = torch.where(is_local < 0.5, field * mask, field) * amplitude

    shift_x, shift_y, rotation, zoom = (signed[:, start + place, None, None] for place in (2, 3, 4, 5))
    rows, columns = (torch.arange(side, dtype=draws.dtype, device=draws.device) - (side - 1) / 2 for side in size)
    rows, columns = rows[None, :, None], columns[None, None, :]
    head = torch.stack(
        [
            _MAX_SHIFT * shift_x + _MAX_ZOOM * zoom * columns - _MAX_ROTATION * rotation * rows,
            _MAX_SHIFT * shift_y + _MAX_ROTATION * rotation * columns + _MAX_ZOOM * zoom * rows,
        ],
        dim=1,
    )
    return field + head


def displace(pixel_values: torch.FloatTensor, displacement: torch.FloatTensor) -> torch.FloatTensor:
    """
    Frames `(B, C, H, W)` moved by `displacement (B, 2, H, W)`, (x, y) in pixels: what stood at p stands at p + d(p),
    for displacements that change little over their own length. Bicubic, the border mirrored.
    """
    height, width = pixel_values.shape[-2:]
    rows = torch.arange(height, dtype=displacement.dtype, device=displacement.device)[:, None]
    columns = torch.arange(width, dtype=displacement.dtype, device=displacement.device)
    grid = torch.stack(
        [
            (columns - displacement[:, 0]) * (2.0 / (width - 1)) - 1.0,
            (rows - displacement[:, 1]) * (2.0 / (height - 1)) - 1.0,
        ],
        dim=-1,
    )
    return F.grid_sample(pixel_values, grid, mode="bicubic", padding_mode="reflection", align_corners=True)


def displaced_pairs(
    pixel_values: torch.FloatTensor, draws: torch.FloatTensor, noise: torch.FloatTensor
) -> tuple[torch.FloatTensor, torch.FloatTensor]:
    """
    Pairs with a known displacement.

    Args:
        pixel_values (`torch.FloatTensor` of shape `(batch_size, num_channels, height, width)`): normalised frames
        draws (`torch.FloatTensor` of shape `(batch_size, NUM_DISPLACEMENT_DRAWS)`): uniform in [0, 1)
        noise (`torch.FloatTensor` of shape `(batch_size, 2, num_channels, height, width)`): standard normal

    Returns:
        The pairs `(batch_size, 2, num_channels, height, width)` and their displacement `(batch_size, 2, height,
        width)`, (x, y) in pixels from frame 0 to frame 1.
    """
    displacement = random_displacement(draws, tuple(pixel_values.shape[-2:]))
    pairs = torch.stack([displace(pixel_values, -displacement / 2), displace(pixel_values, displacement / 2)], dim=1)
    start = NUM_DISPLACEMENT_DRAWS - _NUM_LIGHT_DRAWS - 2
    noise_level, gain = (draws[:, start + place, None, None, None] for place in (0, 1))
    # three draws of light serve RGB; a grey image takes the first
    light = (2.0 * draws[:, -_NUM_LIGHT_DRAWS:] - 1.0).reshape(-1, 3, _LIGHT_GRID, _LIGHT_GRID)
    light = F.interpolate(light[:, : pixel_values.shape[1]], pixel_values.shape[-2:], mode="bicubic")
    first, second = (pairs + _MAX_NOISE * noise_level[:, None] * noise).unbind(1)
    second = (1.0 + _MAX_GAIN * (2.0 * gain - 1.0)) * second + _MAX_LIGHT * light
    return torch.stack([first, second], dim=1), displacement
