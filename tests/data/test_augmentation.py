"""One draw for both frames; identity without a change; crops stay inside."""

import pytest
import torch

from micron_bert_hf.data import PairAugmentation, augment_pairs, random_crops
from micron_bert_hf.data.augmentation import NUM_CROP_DRAWS, NUM_PAIR_DRAWS


NOTHING = PairAugmentation(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def frames(batch_size=3, height=24, width=16):
    return torch.randn(batch_size, 1, 3, height, width, generator=torch.Generator().manual_seed(0))


def draws(batch_size, *shape):
    return torch.rand(batch_size, *shape, generator=torch.Generator().manual_seed(1))


def test_identical_frames_stay_identical_and_the_pair_is_really_changed():
    pairs = frames(8).expand(-1, 2, -1, -1, -1)
    augmented = augment_pairs(pairs, draws(8, NUM_PAIR_DRAWS), PairAugmentation())
    assert torch.equal(augmented[:, 0], augmented[:, 1])
    assert all((augmented[row] - pairs[row]).abs().mean() > 0.05 for row in range(8))


def test_two_frames_one_draw_is_what_each_frame_alone_gets_with_that_draw():
    pairs = torch.cat([frames(), frames() + 1], dim=1)
    noise = draws(3, NUM_PAIR_DRAWS)
    together = augment_pairs(pairs, noise, PairAugmentation())
    for frame in (0, 1):
        alone = augment_pairs(pairs[:, frame, None].expand(-1, 2, -1, -1, -1), noise, PairAugmentation())
        torch.testing.assert_close(together[:, frame], alone[:, 0])


def test_a_flip_flips_both_frames_and_nothing_else():
    pairs = torch.cat([frames(), -2 * frames()], dim=1)
    noise = draws(3, NUM_PAIR_DRAWS)
    always = PairAugmentation(1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    torch.testing.assert_close(augment_pairs(pairs, noise, always), pairs.flip(-1), rtol=0, atol=1e-4)
    torch.testing.assert_close(augment_pairs(pairs, noise, NOTHING), pairs, rtol=0, atol=1e-4)


def test_a_shift_moves_content_by_its_share_of_the_side():
    pairs = torch.zeros(1, 2, 3, 32, 32)
    pairs[..., 16, 16] = 1.0
    noise = torch.full((1, NUM_PAIR_DRAWS), 0.5)
    noise[0, 3] = 1.0  # columns, to the end: reads 4 pixels to the right, so content moves left
    moved = augment_pairs(pairs, noise, PairAugmentation(0.0, 0.0, 0.0, 4 / 32, 0.0, 0.0))
    expected = torch.zeros_like(pairs)
    expected[..., 16, 12] = 1.0
    torch.testing.assert_close(moved, expected, rtol=0, atol=1e-4)


def test_a_rotation_is_rigid_on_an_oblong_image():
    """A dot 8 pixels right of the centre, turned by 90 degrees, lies 8 pixels above or below it."""
    pairs = torch.zeros(1, 2, 1, 48, 32)
    pairs[..., 23:25, 23:25] = 1.0  # 8 pixels right of the centre (24, 16)
    noise = torch.full((1, NUM_PAIR_DRAWS), 0.5)
    noise[0, 1] = 1.0
    turned = augment_pairs(pairs, noise, PairAugmentation(0.0, 90.0, 0.0, 0.0, 0.0, 0.0))[0, 0, 0]
    rows, columns = torch.nonzero(turned > 0.5, as_tuple=True)
    assert columns.float().mean() == pytest.approx(15.5, abs=0.1)
    assert abs(rows.float().mean() - 23.5) == pytest.approx(8.0, abs=0.1)


def test_wrong_draws_and_wrong_pairs_are_named():
    with pytest.raises(ValueError, match=r"\(3, 9\), got \(3, 8\)"):
        augment_pairs(frames().expand(-1, 2, -1, -1, -1), draws(3, 8), NOTHING)
    with pytest.raises(ValueError, match=r"got \(3, 1, 3, 24, 16\)"):
        augment_pairs(frames(), draws(3, NUM_PAIR_DRAWS), NOTHING)


def test_crops_have_their_size_and_show_only_the_image():
    """A ramp from 0 to 1 over the columns: a crop shows a rising part of it, as wide as its area and ratio allow."""
    ramp = torch.linspace(0, 1, 64).expand(5, 3, 64, 64)
    crops = random_crops(ramp, draws(5, 4, NUM_CROP_DRAWS), (16, 24), (0.25, 0.5))
    assert crops.shape == (5, 4, 3, 16, 24)
    widths = crops[..., 0, -1] - crops[..., 0, 0]
    assert crops.min() >= 0 and crops.max() <= 1
    assert widths.min() > (0.25 * 0.75) ** 0.5 - 0.06 and widths.max() < (0.5 / 0.75) ** 0.5 + 0.06
    assert widths.std() > 0.02


def test_the_whole_area_is_the_whole_image():
    image = frames()[:, 0]
    noise = draws(3, 1, NUM_CROP_DRAWS)
    noise[..., 1] = 0.5  # square
    torch.testing.assert_close(random_crops(image, noise, (24, 16), (1.0, 1.0))[:, 0], image, rtol=0, atol=1e-4)
    with pytest.raises(ValueError, match="area_range"):
        random_crops(image, noise, (24, 16), (0.0, 1.0))
