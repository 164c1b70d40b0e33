"""Pairs with a known movement: the displacement is what it says, and nothing else gives it away."""

import pytest
import torch
from torch.testing import assert_close

from micron_bert_hf.data.displacement import (
    NUM_DISPLACEMENT_DRAWS,
    displace,
    displaced_pairs,
    random_displacement,
)


def uniform(batch_size=4, seed=0):
    return torch.rand(batch_size, NUM_DISPLACEMENT_DRAWS, generator=torch.Generator().manual_seed(seed))


def smooth_frames(batch_size, size, seed=0):
    coarse = torch.randn(batch_size, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, size, mode="bicubic", align_corners=True)


def test_what_stood_at_a_place_stands_a_displacement_further():
    frames = torch.randn(1, 1, 12, 10, generator=torch.Generator().manual_seed(0))
    displacement = torch.zeros(1, 2, 12, 10)
    displacement[:, 0], displacement[:, 1] = 2.0, -1.0
    moved = displace(frames, displacement)
    # two to the right and one up
    assert_close(moved[..., 1:9, 3:9], frames[..., 2:10, 1:7], atol=1e-4, rtol=1e-4)
    assert_close(displace(frames, torch.zeros_like(displacement)), frames, atol=1e-5, rtol=1e-5)


def test_displacements_are_smooth_and_of_the_stated_size():
    displacement = random_displacement(uniform(64), (48, 40))
    assert displacement.shape == (64, 2, 48, 40)
    length = displacement.norm(dim=1).flatten(1)
    # 2.5 pixels for the 95th percentile, and 1.5 for the head's shift, turn and zoom; the rest may be larger
    assert length.quantile(0.95, dim=1).max() < 2.5 + 2.0
    assert length.mean(dim=1).max() / length.mean(dim=1).min() > 4  # small and large ones
    steps = (displacement[..., 1:] - displacement[..., :-1]).abs()
    assert steps.max() < 0.25 * length.max()
    mean = displacement.mean(dim=(0, 2, 3))
    assert mean.abs().max() < 0.3  # in no direction more than in another


def test_the_second_frame_is_the_first_moved_when_there_is_no_noise_and_no_light():
    draws = uniform(2)
    draws[:, -29] = 0.0  # noise
    draws[:, -28:] = 0.5  # gain and light at their middle
    frames = smooth_frames(2, (64, 64))
    pairs, displacement = displaced_pairs(frames, draws, torch.randn(2, 2, 3, 64, 64))
    moved = displace(pairs[:, 0], displacement)
    inner = (..., slice(10, -10), slice(10, -10))
    error, change = (moved - pairs[:, 1])[inner].abs().mean(), (pairs[:, 1] - pairs[:, 0])[inner].abs().mean()
    # the displacement varies a little over its own length
    assert error < 0.15 * change


def test_noise_and_light_are_of_each_frame_its_own():
    draws = uniform(1)
    draws[:, -29] = 1.0
    pairs, _ = displaced_pairs(torch.zeros(1, 3, 32, 32), draws, torch.randn(1, 2, 3, 32, 32))
    first, second = pairs[0]
    assert 0.06 < first.std() < 0.08  # the largest noise
    correlation = torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1]
    assert correlation.abs() < 0.1
    assert second.mean(dim=(1, 2)).abs().max() > 0.005  # another light


def test_draws_decide_everything_and_wrong_ones_are_refused():
    frames, noise = smooth_frames(2, (32, 32)), torch.zeros(2, 2, 3, 32, 32)
    first = displaced_pairs(frames, uniform(2), noise)
    again = displaced_pairs(frames, uniform(2), noise)
    assert all(torch.equal(one, other) for one, other in zip(first, again))
    # each pair by its own draws alone
    alone = displaced_pairs(frames[1:], uniform(2)[1:], noise[1:])
    assert_close(alone[0], first[0][1:])
    with pytest.raises(ValueError, match=r"uniform draws \(batch, \d+\), got \(2, 3\)"):
        random_displacement(torch.rand(2, 3), (8, 8))
