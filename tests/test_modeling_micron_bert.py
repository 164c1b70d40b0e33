"""The model: pure functions by hand and by loops, then one battery over every model class."""

import copy
import math
import multiprocessing
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from micron_bert_hf.configuration_micron_bert import MicronBertConfig
from micron_bert_hf.modeling_micron_bert import (
    MicronBertForMicroExpressionClassification,
    MicronBertForPreTraining,
    MicronBertModel,
    classification_loss,
    diagonal_attention,
    end_point_error,
    interpolate_positions,
    patch_displacement,
    patch_of_interest_score,
    patchify,
    reconstruction_target,
    relative_displacement,
    sample_blockwise_positions,
    sample_swapped_positions,
    sincos_position_table,
    swap_patches,
    teacher_temperature_at_epoch,
    unpatchify,
    windowed_attention,
)


TINY = dict(
    image_size=32,
    patch_size=8,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=64,
    decoder_hidden_size=24,
    decoder_num_hidden_layers=1,
    decoder_num_attention_heads=2,
    decoder_intermediate_size=48,
    projection_hidden_size=24,
    projection_bottleneck_size=8,
    projection_output_size=12,
    num_labels=3,
)
WINDOWED = dict(
    attention_mode="windowed",
    pooling="positions",
    contextual_agreement="none",
    attention_window=5,
    stem_hidden_size=6,
    stem_output_size=4,
    classifier_hidden_size=8,
)
MODELS = (MicronBertModel, MicronBertForPreTraining, MicronBertForMicroExpressionClassification)
# every way the configuration can change what is computed, on the class that computes it
VARIANTS = {
    "base, paper": (MicronBertModel, {}),
    "base, released code": (MicronBertModel, dict(query_frame="swapped", use_patch_of_interest=False)),
    "base, full attention": (MicronBertModel, dict(attention_mode="full")),
    "base, softmax interest": (MicronBertModel, dict(patch_of_interest_score="softmax")),
    "base, cosine interest": (MicronBertModel, dict(patch_of_interest_score="cosine", rescale_attention=False)),
    "base, windowed": (MicronBertModel, WINDOWED),
    "pretraining, mse": (MicronBertForPreTraining, {}),
    "pretraining, masking": (MicronBertForPreTraining, dict(pretext_task="masking", contextual_agreement="none")),
    "pretraining, windowed": (MicronBertForPreTraining, WINDOWED),
    "pretraining, distillation": (MicronBertForPreTraining, dict(contextual_agreement="self_distillation")),
    "pretraining, no agreement": (MicronBertForPreTraining, dict(contextual_agreement="none", norm_pix_loss=True)),
    "classifier": (MicronBertForMicroExpressionClassification, {}),
    "classifier, windowed": (MicronBertForMicroExpressionClassification, WINDOWED),
    "classifier, mean": (MicronBertForMicroExpressionClassification, dict(pooling="mean")),
    "classifier, interest": (MicronBertForMicroExpressionClassification, dict(pooling="patch_of_interest")),
}


def seeded(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def build(model_class, **changes):
    torch.manual_seed(0)
    return model_class(MicronBertConfig(**{**TINY, **changes})).eval()


@pytest.fixture(params=VARIANTS)
def variant(request):
    model_class, changes = VARIANTS[request.param]
    return model_class, changes


def inputs_for(model_class, batch_size=2, image_size=(32, 32), dtype=torch.float32):
    inputs = {"pixel_values": seeded(batch_size, 2, 3, *image_size).to(dtype)}
    num_patches = image_size[0] * image_size[1] // TINY["patch_size"] ** 2
    if model_class is MicronBertForPreTraining:
        inputs["bool_swapped_pos"] = seeded(batch_size, num_patches, seed=1) > 0
        inputs["crop_pixel_values"] = seeded(batch_size, 3, 3, 32, 32, seed=2).to(dtype)
        inputs["displacement"] = seeded(batch_size, 2, *image_size, seed=3)
    if model_class is MicronBertForMicroExpressionClassification:
        inputs["labels"] = torch.arange(batch_size) % TINY["num_labels"]
    return inputs


def scalar(outputs):
    return outputs.loss if "loss" in outputs else outputs.last_hidden_state.square().mean()


# ------------------------------------------------------------------------------------------------------ pure functions


def test_positions_by_hand():
    table = sincos_position_table(2, 3, 8)
    assert table.shape == (1, 7, 8)
    assert_close(table[0, 0], torch.zeros(8))
    row, column = 1, 2
    expected = [f(x * w) for x in (column, row) for f in (math.sin, math.cos) for w in (1.0, 0.01)]
    assert_close(table[0, 1 + row * 3 + column], torch.tensor(expected))


def test_interpolated_positions_keep_the_contextual_row_and_the_order_of_axes():
    table = sincos_position_table(4, 4, 8)
    assert interpolate_positions(table, (4, 4), (4, 4)) is table
    wide = interpolate_positions(table, (4, 4), (4, 8))[0]
    assert wide.shape == (33, 8)
    assert_close(wide[0], table[0, 0])
    grid = wide[1:].reshape(4, 8, 8)
    # features 0 ... 3 encode the column and so do not change down a column; 4 ... 7 the row
    assert_close(grid[0, :, :4], grid[3, :, :4], atol=1e-6, rtol=0)
    assert_close(grid[:, 0, 4:], grid[:, 7, 4:], atol=1e-6, rtol=0)
    assert (grid[0, :, :4] - grid[0, :1, :4]).abs().max() > 0.1


def test_patchify_and_back():
    image = seeded(2, 3, 16, 24)
    patches = patchify(image, 8)
    assert patches.shape == (2, 6, 192)
    assert_close(patches[1, 4].reshape(8, 8, 3), image[1, :, 8:16, 8:16].permute(1, 2, 0), rtol=0, atol=0)
    assert_close(unpatchify(patches, (2, 3), 8), image, rtol=0, atol=0)


def test_normalised_target_has_mean_zero_and_unit_variance():
    target = reconstruction_target(5 * seeded(2, 3, 16, 16) + 2, 8, norm_pix_loss=True)
    assert_close(target.mean(-1), torch.zeros(2, 4), atol=1e-5, rtol=0)
    assert_close(target.var(-1), torch.ones(2, 4), atol=1e-4, rtol=0)


@pytest.mark.parametrize("swap_sampling", ["independent", "blockwise"])
@pytest.mark.parametrize("grid", [(28, 28), (4, 4), (3, 14), (1, 1)])
@pytest.mark.parametrize("swap_ratio", [0.0, 0.3, 0.5, 0.95])
def test_swap_count_is_exact_in_every_row(swap_sampling, grid, swap_ratio):
    generator = torch.Generator().manual_seed(0)
    mask = sample_swapped_positions(64, grid, swap_ratio, swap_sampling, generator=generator)
    assert mask.dtype == torch.bool and mask.shape == (64, grid[0] * grid[1])
    assert mask.sum(1).eq(round(swap_ratio * grid[0] * grid[1])).all()
    again = sample_swapped_positions(64, grid, swap_ratio, swap_sampling, generator=torch.Generator().manual_seed(0))
    assert torch.equal(mask, again)


@pytest.mark.parametrize("swap_sampling", ["independent", "blockwise"])
def test_every_place_is_swapped(swap_sampling):
    mask = sample_swapped_positions(
        2000, (8, 8), 0.5, swap_sampling, generator=torch.Generator().manual_seed(0)
    ).float()
    rate = mask.mean(0)
    # 4 sigma of 2000 Bernoulli(0.5)
    if swap_sampling == "independent":
        assert_close(rate, torch.full((64,), 0.5), atol=0.045, rtol=0)
    else:
        # rectangles reach the corners less often than the middle, but lean nowhere
        assert rate.min() > 0.1 and rate.max() < 0.9
        assert_close(rate, rate.flip(0), atol=0.065, rtol=0)
        assert_close(rate.reshape(8, 8), rate.reshape(8, 8).flip(1), atol=0.065, rtol=0)


def test_blocks_are_blocks():
    """Neighbours share their fate far more often than under independent sampling."""

    def agreement(swap_sampling):
        mask = sample_swapped_positions(
            200, (28, 28), 0.5, swap_sampling, generator=torch.Generator().manual_seed(0)
        ).reshape(200, 28, 28)
        return (mask[:, :, 1:] == mask[:, :, :-1]).float().mean().item()

    assert agreement("independent") == pytest.approx(0.5, abs=0.02)
    assert agreement("blockwise") > 0.8


def test_first_block_is_the_rectangle_that_the_noise_says():
    block_noise = torch.tensor([[[1.0, 0.5, 0.5, 0.0]]])  # whole count, square, middle, left
    mask = sample_blockwise_positions(torch.rand(1, 64), block_noise, (8, 8), num_swapped=16).reshape(8, 8)
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[2:6, 0:4] = True
    assert torch.equal(mask, expected)


def test_swap_takes_patches_from_the_reference_and_writes_nothing():
    target, reference = seeded(2, 3, 16, 24), seeded(2, 3, 16, 24, seed=1)
    before = target.clone(), reference.clone()
    mask = torch.zeros(2, 6, dtype=torch.bool)
    mask[0, 4] = True
    swapped = swap_patches(target, reference, mask, 8)
    expected = target.clone()
    expected[0, :, 8:16, 8:16] = reference[0, :, 8:16, 8:16]
    assert torch.equal(swapped, expected)
    assert torch.equal(target, before[0]) and torch.equal(reference, before[1])
    assert torch.equal(swap_patches(target, reference, torch.zeros_like(mask), 8), target)


@pytest.mark.parametrize("num_patches", [1, 63, 64, 196, 1500])
def test_diagonal_attention_equals_the_plain_form_with_gradients(num_patches):
    """1500 patches take several blocks of rows; float64, so that only a wrong formula can differ."""
    plain, blocked = ([seeded(2, 1, num_patches, 12, seed=s).double().requires_grad_() for s in (0, 1)] for _ in "ab")
    weight = seeded(2, 1, num_patches, seed=2).double()
    expected = torch.softmax(plain[0] @ plain[1].mT * 0.7, dim=-1).diagonal(0, 2, 3)
    actual = diagonal_attention(*blocked, 0.7)
    assert_close(actual, expected)
    for gradient, reference in zip(
        torch.autograd.grad((actual * weight).sum(), blocked), torch.autograd.grad((expected * weight).sum(), plain)
    ):
        assert_close(gradient, reference)


def test_diagonal_attention_gradient_by_finite_differences():
    query, key = (seeded(1, 2, 70, 3, seed=s).double().requires_grad_() for s in (0, 1))
    assert torch.autograd.gradcheck(lambda q, k: diagonal_attention(q, k, 0.9), (query, key))


def test_diagonal_attention_survives_extreme_scores():
    """A diagonal that underflows to zero has gradient zero, not NaN."""
    query, key = (100 * seeded(1, 1, 200, 8, seed=s) for s in (0, 1))
    query.requires_grad_()
    diagonal = diagonal_attention(query, key, 1.0)
    assert (diagonal == 0).any()
    diagonal.sum().backward()
    assert torch.isfinite(query.grad).all()


def test_diagonal_attention_keeps_no_square_matrix():
    """Everything saved for the backward pass together is linear in N."""
    sizes = []

    def count(tensor):
        sizes.append(tensor.numel())
        return tensor

    query, key = (seeded(1, 1, 2048, 8, seed=s).requires_grad_() for s in (0, 1))
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        diagonal_attention(query, key, 1.0)
    assert sum(sizes) == 2048 * (8 + 8 + 1)


def peak_of_the_diagonal(num_patches):
    """Bytes that forward and backward of the diagonal need at most, in this (fresh) process."""

    def status(field):
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith(field))

    diagonal_attention(*(torch.zeros(1, 1, 64, 8, requires_grad=True) for _ in "qk"), 1.0).sum().backward()
    query, key = (torch.zeros(1, 1, num_patches, 8, requires_grad=True) for _ in "qk")
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    diagonal_attention(query, key, 1.0).sum().backward()
    print(status("VmHWM") - before)


def test_diagonal_attention_needs_memory_linear_in_patches():
    """8192 patches have a score matrix of 256 MiB, a block of 256 rows 8. Reads /proc: needs Linux."""
    code = "import test_modeling_micron_bert as t; t.peak_of_the_diagonal(8192)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parent)
    assert done.returncode == 0, done.stderr
    # measured 34 to 76 MiB, with the threads and their buffers; kept blocks would add up to the whole matrix
    assert int(done.stdout) < 128 * 2**20


def plain_windowed_attention(query, key, window, cells_per_patch, scale):
    """By loops over patches, displacements and cells."""
    batch, rows, columns, _ = query.shape
    radius, half = window // 2, cells_per_patch // 2
    weights = []
    for top in range(0, rows, cells_per_patch):
        for left in range(0, columns, cells_per_patch):
            scores = []
            for dy in range(-radius, radius + 1):
                for dx in range(-radius, radius + 1):
                    products = []
                    for y in range(max(top - half, 0), min(top + cells_per_patch + half, rows)):
                        for x in range(max(left - half, 0), min(left + cells_per_patch + half, columns)):
                            if 0 <= y + dy < rows and 0 <= x + dx < columns:
                                products.append((query[:, y, x] * key[:, y + dy, x + dx]).sum(-1))
                            else:
                                products.append(torch.zeros(batch, dtype=query.dtype))
                    scores.append(torch.stack(products).mean(0))
            weights.append(torch.softmax(scale * torch.stack(scores, -1), -1))
    return torch.stack(weights, 1)


def test_windowed_attention_equals_the_loops_with_gradients():
    query, key = (seeded(2, 8, 4, 3, seed=seed).double().requires_grad_() for seed in (0, 1))
    scale = torch.tensor(3.0, dtype=torch.float64)
    found = windowed_attention(query, key, 3, 2, scale)
    expected = plain_windowed_attention(query, key, 3, 2, scale)
    assert_close(found, expected)
    assert_close(found.sum(-1), torch.ones(2, 8, dtype=torch.float64))
    gradient = seeded(*found.shape, seed=2).double()
    for mine, theirs in zip(
        torch.autograd.grad(found, (query, key), gradient), torch.autograd.grad(expected, (query, key), gradient)
    ):
        assert_close(mine, theirs)


def test_windowed_attention_finds_a_shift_with_its_sign():
    model = build(MicronBertModel, **{**WINDOWED, "image_size": 64})
    with torch.no_grad():
        model.windowed_attention.log_scale.fill_(7.0)
    wide = seeded(1, 3, 64, 72)
    # what stood at x stands at x + 2 and y - 2 a moment later
    still, moved = wide[..., 4:68], wide[..., 2:66].roll(-2, dims=2)
    displacement = model(torch.stack([still, moved], 1)).displacement.unflatten(1, (8, 8))[0, 2:6, 2:6]
    assert_close(displacement, torch.tensor([2.0, -2.0]).expand(4, 4, 2), atol=0.05, rtol=0.0)
    same = model(torch.stack([still, still], 1))
    assert same.displacement.unflatten(1, (8, 8))[0, 2:6, 2:6].abs().max() < 0.05
    assert same.diagonal_attention[0, 0].unflatten(0, (8, 8))[2:6, 2:6].min() > 0.9


def test_windowed_mode_gates_the_movement_by_the_patch_of_interest():
    frames = seeded(2, 2, 3, 32, 32)
    for score, rescale in (("sigmoid", 1), ("cosine", 1), ("softmax", 16)):
        model = build(MicronBertModel, **WINDOWED, patch_of_interest_score=score)
        outputs = model(frames)
        value = model.movement_value(relative_displacement(outputs.displacement))
        assert_close(outputs.last_hidden_state, rescale * outputs.patch_of_interest[..., None] * value)
        # the same without the gate, and without the encoder, whose one task it is
        plain = build(MicronBertModel, **WINDOWED, use_patch_of_interest=False)
        plain.load_state_dict(model.state_dict(), strict=False)
        assert_close(plain(frames).last_hidden_state, value)
        assert plain(frames).patch_of_interest.eq(1).all() and plain.layers is None


def test_a_movement_of_the_whole_head_says_nothing():
    movement = torch.zeros(1, 5, 2)
    movement[0, 2] = torch.tensor([0.5, -1.0])
    assert_close(relative_displacement(movement + torch.tensor([3.0, -2.0])), movement)


def test_displacement_loss_by_hand():
    true = torch.zeros(1, 2, 4, 8)
    true[:, 0, :, 4:] = 3.0
    true[:, 1, :, 4:] = 4.0
    patches = patch_displacement(true, 2)
    assert_close(patches[0, 3], torch.tensor([3.0, 4.0]))
    assert_close(patches[0, 1], torch.zeros(2))
    assert_close(end_point_error(torch.zeros_like(patches), patches), torch.tensor(2.51), atol=1e-3, rtol=0.0)


def test_windowed_pretraining_needs_a_displacement_of_the_frames_size():
    model = build(MicronBertForPreTraining, **WINDOWED)
    for displacement in (None, torch.zeros(2, 2, 16, 16)):
        with pytest.raises(ValueError, match=r"`displacement` of shape \(2, 2, 32, 32\), got"):
            model(seeded(2, 2, 3, 32, 32), displacement=displacement)


def test_masking_does_not_look_at_the_second_frame():
    model = build(MicronBertForPreTraining, pretext_task="masking", contextual_agreement="none")
    inputs = inputs_for(MicronBertForPreTraining)
    first = model(**inputs)
    frames = inputs["pixel_values"].clone()
    frames[:, 1] = seeded(2, 3, 32, 32, seed=9)
    assert_close(model(**{**inputs, "pixel_values": frames}).logits, first.logits)
    # nor at what is blanked
    hidden = inputs["bool_swapped_pos"].unflatten(1, (4, 4)).repeat_interleave(8, 1).repeat_interleave(8, 2)
    frames[:, 0] = torch.where(hidden[:, None], seeded(2, 3, 32, 32, seed=8), frames[:, 0])
    assert_close(model(**{**inputs, "pixel_values": frames}).logits, first.logits)


def test_positions_are_kept_apart_and_fixed():
    model = build(MicronBertForMicroExpressionClassification, pooling="positions")
    states = seeded(1, 16, 32)
    moved = model.position_pooling(states.flip(1))
    assert (model.position_pooling(states) - moved).abs().max() > 0.1
    with pytest.raises(ValueError, match="reads 16 patches side by side, got 25"):
        model(seeded(1, 2, 3, 40, 40))


def test_patch_of_interest_by_hand():
    states = torch.tensor([[[1.0, 0.0, 0.0, 0.0], [2.0, 0.0, 0.0, 0.0], [0.0, 3.0, 0.0, 0.0], [-1.0, 1.0, 0, 0]]])
    assert_close(patch_of_interest_score(states, "cosine"), torch.tensor([[1.0, 0.0, -(0.5**0.5)]]))
    dot = torch.tensor([[1.0, 0.0, -0.5]])  # dot product over sqrt(4)
    assert_close(patch_of_interest_score(states, "sigmoid"), torch.sigmoid(dot))
    assert_close(patch_of_interest_score(states, "softmax"), torch.softmax(dot, -1))


def test_teacher_temperature_schedule():
    config = MicronBertConfig(teacher_warmup_temperature=0.04, teacher_temperature=0.07, teacher_warmup_epochs=4)
    schedule = [teacher_temperature_at_epoch(config, epoch) for epoch in range(6)]
    assert schedule == pytest.approx([0.04, 0.05, 0.06, 0.07, 0.07, 0.07])


# ---------------------------------------------------------------------------------------------- the method, by pieces


def test_uniform_attention_leaves_values_as_they_are_when_rescaled():
    model = build(MicronBertModel, use_patch_of_interest=False)
    attention = model.diagonal_micro_attention
    with torch.no_grad():
        attention.k_proj.weight.zero_()
        attention.k_proj.bias.zero_()
        outputs = model(seeded(2, 2, 3, 32, 32))
        assert_close(outputs.diagonal_attention, torch.full((2, 1, 16), 1 / 16))
        target = outputs.frame_hidden_states[:, 0, 1:]
        assert_close(outputs.last_hidden_state, attention.o_proj(attention.v_proj(target)))


@pytest.mark.parametrize("query_frame", ["reference", "swapped"])
@pytest.mark.parametrize("use_patch_of_interest", [True, False])
@pytest.mark.parametrize("rescale_attention", [True, False])
def test_cross_attention_by_the_papers_formula(query_frame, use_patch_of_interest, rescale_attention):
    """P_dma = o(N diag(A) S V) written out with the full matrix."""
    model = build(
        MicronBertModel,
        query_frame=query_frame,
        use_patch_of_interest=use_patch_of_interest,
        rescale_attention=rescale_attention,
    )
    with torch.no_grad():
        outputs = model(seeded(2, 2, 3, 32, 32))
        target, reference = outputs.frame_hidden_states[:, :, 1:].unbind(1)
        attention = model.diagonal_micro_attention
        query, key = (reference, target) if query_frame == "reference" else (target, reference)
        scores = attention.q_proj(query) @ attention.k_proj(key).mT / math.sqrt(32)
        gate = torch.softmax(scores, -1).diagonal(0, 1, 2)
        assert_close(outputs.diagonal_attention[:, 0], gate)
        gate = gate * (16 if rescale_attention else 1)
        if use_patch_of_interest:
            contextual = outputs.frame_hidden_states[:, 1, 0]
            gate = gate * torch.sigmoid((reference * contextual[:, None]).sum(-1) / math.sqrt(32))
        assert_close(outputs.last_hidden_state, attention.o_proj(gate[..., None] * attention.v_proj(target)))


def test_change_pooling_by_its_formula():
    model = build(MicronBertForMicroExpressionClassification)
    pair = seeded(2, 2, 3, 32, 32)
    with torch.no_grad():
        outputs = model.micron_bert(pair)
        # frame 0 twice: what the diagonal would be had nothing moved
        still = model.micron_bert(pair[:, [0, 0]]).diagonal_attention[:, 0]
        weight = (still.log() - outputs.diagonal_attention[:, 0].log()) * outputs.patch_of_interest
        weight = weight / weight.abs().mean(1, keepdim=True)
        features = torch.nn.functional.layer_norm(outputs.last_hidden_state, (32,), eps=1e-6)
        expected = model.classifier((weight[..., None] * features).mean(1))
        assert_close(model(pair).logits, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("pooling", ["change", "mean"])
@pytest.mark.parametrize("attention_mode", ["diagonal", "full"])
def test_switched_off_patch_of_interest_decides_nothing(pooling, attention_mode):
    pair = seeded(2, 2, 3, 32, 32)
    logits = []
    for score in ("sigmoid", "cosine", "softmax"):
        model = build(
            MicronBertForMicroExpressionClassification,
            use_patch_of_interest=False,
            patch_of_interest_score=score,
            pooling=pooling,
            attention_mode=attention_mode,
        )
        with torch.no_grad():
            logits.append(model(pair).logits)
    assert torch.equal(logits[0], logits[1]) and torch.equal(logits[0], logits[2])


def test_full_attention_is_not_rescaled():
    pair = seeded(2, 2, 3, 32, 32)
    outputs = []
    for rescale_attention in (True, False):
        model = build(
            MicronBertModel,
            attention_mode="full",
            patch_of_interest_score="softmax",
            rescale_attention=rescale_attention,
        )
        with torch.no_grad():
            outputs.append(model(pair).last_hidden_state)
    assert torch.equal(*outputs)


def test_a_pair_without_motion_pools_to_nothing():
    model = build(MicronBertForMicroExpressionClassification)
    frame = seeded(2, 1, 3, 32, 32)
    with torch.no_grad():
        logits = model(frame.expand(-1, 2, -1, -1, -1)).logits
        assert_close(logits, model.classifier.bias.expand(2, 3), atol=1e-2, rtol=0)
        assert (model(seeded(2, 2, 3, 32, 32)).logits - model.classifier.bias).abs().max() > 0.1


def test_frames_are_encoded_apart_by_one_encoder():
    model = build(MicronBertModel)
    pair = seeded(1, 2, 3, 32, 32)
    with torch.no_grad():
        states = model(pair).frame_hidden_states
        exchanged = model(pair.flip(1)).frame_hidden_states
    assert_close(states.flip(1), exchanged, atol=1e-6, rtol=0)


def test_pretraining_restores_frame_zero_from_the_swapped_frame():
    model = build(MicronBertForPreTraining, contextual_agreement="none")
    pair = seeded(2, 2, 3, 32, 32)
    mask = sample_swapped_positions(2, (4, 4), 0.5, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        outputs = model(pair, bool_swapped_pos=mask)
        swapped = swap_patches(pair[:, 0], pair[:, 1], mask, 8)
        by_hand = model.micron_bert(torch.stack([swapped, pair[:, 1]], 1)).last_hidden_state
        assert_close(outputs.logits, model.decoder(by_hand, (4, 4)))
        assert_close(outputs.loss, (outputs.logits - patchify(pair[:, 0], 8)).square().mean())
    assert torch.equal(outputs.bool_swapped_pos, mask)


def test_drawn_mask_has_the_configured_ratio():
    model = build(MicronBertForPreTraining, swap_ratio=0.25, swap_sampling="blockwise")
    with torch.no_grad():
        mask = model(seeded(3, 2, 3, 32, 32)).bool_swapped_pos
    assert mask.sum(1).eq(4).all()


def test_loss_is_the_weighted_sum_of_its_parts():
    model = build(MicronBertForPreTraining, reconstruction_loss_weight=0.7, contextual_agreement_loss_weight=3.0)
    with torch.no_grad():
        outputs = model(**inputs_for(MicronBertForPreTraining))
    expected = 0.7 * outputs.reconstruction_loss + 3.0 * outputs.contextual_agreement_loss
    assert_close(outputs.loss, expected)


def test_contextual_agreement_is_the_squared_error_of_contextual_tokens():
    model = build(MicronBertForPreTraining)
    pair, crop = seeded(2, 2, 3, 32, 32), seeded(2, 3, 16, 24, seed=5)
    with torch.no_grad():
        outputs = model(pair, crop_pixel_values=crop)
        states = model.micron_bert(torch.stack([crop, crop], 1)).frame_hidden_states
        expected = (outputs.frame_hidden_states[:, 1, 0] - states[:, 0, 0]).square().mean()
        assert_close(outputs.contextual_agreement_loss, expected)
        same = model(pair, crop_pixel_values=pair[:, 1])
    assert_close(same.contextual_agreement_loss, torch.tensor(0.0), atol=1e-10, rtol=0)
    assert model(pair).contextual_agreement_loss is None


# ------------------------------------------------------------------------------------------------------- the teacher


def test_teacher_starts_as_the_student_and_follows_by_ema():
    model = build(MicronBertForPreTraining, contextual_agreement="self_distillation", teacher_momentum=0.75)
    followed = model._followed_tensors()
    assert len(followed) == len(model.teacher.state_dict())
    assert all(torch.equal(teacher, student) for teacher, student in followed)

    with torch.no_grad():
        for _, student in followed:
            student.add_(1.0)
    before = [teacher.clone() for teacher, _ in followed]
    model.update_teacher()
    for old, (teacher, student) in zip(before, followed):
        assert_close(teacher, 0.75 * old + 0.25 * student)
    model.update_teacher(momentum=0.0)
    assert all(torch.equal(teacher, student) for teacher, student in followed)


def test_teacher_missing_from_a_folder_starts_as_the_student(tmp_path):
    build(MicronBertModel).save_pretrained(tmp_path)
    model, report = MicronBertForPreTraining.from_pretrained(
        tmp_path, contextual_agreement="self_distillation", output_loading_info=True
    )
    assert any(name.startswith("teacher.") for name in report["missing_keys"])
    assert all(torch.equal(teacher, student) for teacher, student in model._followed_tensors())


def test_teacher_stays_in_float32(tmp_path):
    """A step of (1 - 0.997) of a small difference is lost in bfloat16."""
    model = build(MicronBertForPreTraining, contextual_agreement="self_distillation")
    model.save_pretrained(tmp_path)
    loaded = MicronBertForPreTraining.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert loaded.micron_bert.norm.weight.dtype == torch.bfloat16
    assert {tensor.dtype for tensor in loaded.teacher.state_dict().values()} == {torch.float32}
    assert loaded.center.dtype == torch.float32
    loaded(**inputs_for(MicronBertForPreTraining, dtype=torch.bfloat16)).loss.backward()
    with pytest.raises(ValueError, match="bfloat16 would not move"):
        model.to(torch.bfloat16).update_teacher()


def test_forward_moves_neither_teacher_nor_centre():
    model = build(MicronBertForPreTraining, contextual_agreement="self_distillation").train()
    state = copy.deepcopy(model.state_dict())
    model(**inputs_for(MicronBertForPreTraining)).loss.backward()
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    assert not any("teacher" in name for name, _ in model.named_parameters())


def test_teacher_stays_in_evaluation_mode():
    model = build(MicronBertForPreTraining, contextual_agreement="self_distillation", hidden_dropout_prob=0.5)
    model.train()
    assert model.micron_bert.training and not any(module.training for module in model.teacher.modules())


def average_centre(rank, world_size, folder):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world_size
    )
    model = build(MicronBertForPreTraining, contextual_agreement="self_distillation")
    model.update_center(torch.full((2, 2, 12), float(rank + 1)))
    torch.save(model.center, f"{folder}/center-{rank}.pt")
    torch.distributed.destroy_process_group()


def test_centre_is_averaged_over_ranks(tmp_path):
    """Two real processes with logits 1 and 2, against one process with their mean."""
    torch.multiprocessing.start_processes(average_centre, args=(2, str(tmp_path)), nprocs=2, start_method="spawn")
    alone = build(MicronBertForPreTraining, contextual_agreement="self_distillation")
    alone.update_center(torch.full((2, 2, 12), 1.5))
    assert_close(alone.center, torch.full((1, 12), 0.15))
    for rank in range(2):
        assert_close(torch.load(tmp_path / f"center-{rank}.pt", weights_only=True), alone.center)
    assert multiprocessing.active_children() == []


# ------------------------------------------------------------------------------------- the battery, over every variant


def test_shapes_follow_the_config(variant):
    model_class, changes = variant
    model = build(model_class, **changes)
    is_windowed = changes.get("attention_mode") == "windowed"
    keeps_positions = model_class is MicronBertForMicroExpressionClassification and "positions" in changes.values()
    sizes = ((2, (32, 32), 16), (1, (48, 16), 12))
    for batch_size, image_size, grid in sizes[:1] if keeps_positions else sizes:
        outputs = model(**inputs_for(model_class, batch_size, image_size))
        assert outputs.diagonal_attention.shape == (batch_size, 1, grid)
        assert outputs.patch_of_interest.shape == (batch_size, grid)
        if model_class is not MicronBertForMicroExpressionClassification:
            if is_windowed:
                assert outputs.displacement.shape == (batch_size, grid, 2) and outputs.frame_hidden_states is None
            else:
                assert outputs.frame_hidden_states.shape == (batch_size, 2, 1 + grid, 32)
            assert outputs.last_hidden_state.shape == (batch_size, grid, 32)
        if model_class is MicronBertForPreTraining and not is_windowed:
            assert outputs.logits.shape == (batch_size, grid, 192)
        if model_class is MicronBertForMicroExpressionClassification:
            assert outputs.logits.shape == (batch_size, 3)


def test_same_input_same_output(variant):
    model_class, changes = variant
    model = build(model_class, **changes)
    first, second = model(**inputs_for(model_class)), model(**inputs_for(model_class))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_batch_of_two_is_two_batches_of_one(variant):
    model_class, changes = variant
    model = build(model_class, **changes)
    inputs = inputs_for(model_class)
    together = model(**inputs)
    alone = [model(**{name: tensor[i : i + 1] for name, tensor in inputs.items()}) for i in range(2)]
    for name, value in together.items():
        if value.ndim == 0:
            assert_close(value, torch.stack([one[name] for one in alone]).mean(), atol=1e-5, rtol=1e-5)
        else:
            assert_close(value, torch.cat([one[name] for one in alone]), atol=1e-5, rtol=1e-5)


def test_tuple_and_dict_returns_agree(variant):
    model_class, changes = variant
    model = build(model_class, **changes)
    as_dict = model(**inputs_for(model_class))
    as_tuple = model(**inputs_for(model_class), return_dict=False)
    assert isinstance(as_tuple, tuple)
    assert all(torch.equal(a, b) for a, b in zip(as_dict.to_tuple(), as_tuple))


def test_saved_model_comes_back_the_same(variant, tmp_path):
    model_class, changes = variant
    model = build(model_class, **changes)
    model.save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    loaded, report = model_class.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report
    for ours, theirs in ((model.named_parameters(), loaded.named_parameters()),):
        for (name, parameter), (other_name, other) in zip(ours, theirs, strict=True):
            assert name == other_name and torch.equal(parameter, other)
            assert parameter.requires_grad == other.requires_grad
    for (name, buffer), (other_name, other) in zip(model.named_buffers(), loaded.named_buffers(), strict=True):
        assert name == other_name and torch.equal(buffer, other)
    inputs = inputs_for(model_class)
    before, after = model(**inputs), loaded(**inputs)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_no_buffer_is_left_unfilled(variant):
    model_class, changes = variant
    assert all(torch.isfinite(buffer).all() for buffer in build(model_class, **changes).buffers())


def test_every_trainable_parameter_gets_a_gradient(variant):
    model_class, changes = variant
    model = build(model_class, **changes).train()
    scalar(model(**inputs_for(model_class))).backward()
    dead = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # softmax does not see what is the same for every key
    allowed = re.compile(r"k_proj\.bias$")
    assert [name for name in dead if not allowed.search(name)] == []
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_activation_checkpointing_gives_the_same_gradients(variant):
    model_class, changes = variant
    plain, checkpointed = build(model_class, **changes).train(), build(model_class, **changes).train()
    checkpointed.activation_checkpointing_enable()
    calls = []
    layer = checkpointed.get_submodule("micron_bert" if hasattr(checkpointed, "micron_bert") else "").layers[0]
    layer.layernorm_before.register_forward_hook(lambda *_: calls.append(1))  # recomputing stops before the MLP ends
    for model in (plain, checkpointed):
        scalar(model(**inputs_for(model_class))).backward()
    encodes_crops = model_class is MicronBertForPreTraining and changes.get("contextual_agreement") != "none"
    views = 2 if encodes_crops else 1
    assert len(calls) == 2 * views, "the first layer must be computed twice"
    for (name, p), q in zip(plain.named_parameters(), checkpointed.parameters()):
        assert_close(p.grad, q.grad, atol=1e-7, rtol=1e-5, msg=lambda text, name=name: f"{name}: {text}")


def test_bfloat16_is_finite_and_near(variant):
    model_class, changes = variant
    model = build(model_class, **changes)
    exact = model(**inputs_for(model_class))
    outputs = model.to(torch.bfloat16)(**inputs_for(model_class, dtype=torch.bfloat16))
    scalar(outputs).backward()
    for name, value in outputs.items():
        assert torch.isfinite(value).all(), name
        if value.is_floating_point() and value.ndim:
            # bfloat16 has 8 bits: a few per cent of the largest value through two layers
            assert (value - exact[name]).abs().max() < 0.08 * (1 + exact[name].abs().max()), name
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_autocast_trains(variant):
    model_class, changes = variant
    model = build(model_class, **changes).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = scalar(model(**inputs_for(model_class)))
    loss.float().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_eager_and_sdpa_agree(variant):
    model_class, changes = variant
    outputs = []
    for attention in ("eager", "sdpa"):
        model = build(model_class, **changes)
        model.set_attn_implementation(attention)
        outputs.append(model(**inputs_for(model_class)))
    for name in outputs[1]:
        assert_close(outputs[0][name], outputs[1][name], atol=1e-5, rtol=1e-5)


def test_flex_attention_agrees():
    """flex has no backward on CPU; forward is what can be held here."""
    model = build(MicronBertModel)
    with torch.no_grad():
        expected = model(seeded(1, 2, 3, 32, 32)).last_hidden_state
        model.set_attn_implementation("flex_attention")
        assert_close(model(seeded(1, 2, 3, 32, 32)).last_hidden_state, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("model_class", MODELS)
def test_hidden_states_and_attentions(model_class):
    model = build(model_class)
    model.set_attn_implementation("eager")
    outputs = model(**inputs_for(model_class), output_hidden_states=True, output_attentions=True)
    assert [tuple(state.shape) for state in outputs.hidden_states] == [(4, 17, 32)] * 3
    assert [tuple(attention.shape) for attention in outputs.attentions] == [(4, 2, 17, 17)] * 2
    assert_close(outputs.attentions[0].sum(-1), torch.ones(4, 2, 17))
    if model_class is MicronBertModel:
        normed = model.norm(outputs.hidden_states[-1]).unflatten(0, (2, 2))
        assert_close(normed, outputs.frame_hidden_states)


# compiling takes seconds each: every branch of the forward pass once
@pytest.mark.parametrize(
    "name",
    [
        "base, full attention",
        "base, cosine interest",
        "pretraining, distillation",
        "pretraining, masking",
        "pretraining, windowed",
        "classifier",
        "classifier, windowed",
    ],
)
def test_compiles_into_one_graph(name):
    model_class, changes = VARIANTS[name]
    model = build(model_class, **changes)
    inputs = inputs_for(model_class)
    expected = model(**inputs)
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")(**inputs)
    for name in expected:
        assert_close(compiled[name], expected[name], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("swap_sampling", ["independent", "blockwise"])
def test_compiled_pretraining_takes_another_batch_size(swap_sampling):
    """The last batch of an epoch is smaller; the masks are drawn inside the graph."""
    model = build(MicronBertForPreTraining, swap_sampling=swap_sampling)
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    for batch_size in (4, 3):
        outputs = compiled(seeded(batch_size, 2, 3, 32, 32))
        assert outputs.bool_swapped_pos.sum(1).eq(8).all()


def test_compiled_training_step_gives_the_same_gradients():
    """With inductor, the real code generator, on the whole pretraining model."""
    plain, compiled = (build(MicronBertForPreTraining, num_hidden_layers=1).train() for _ in range(2))
    torch._dynamo.reset()
    inputs = inputs_for(MicronBertForPreTraining)
    plain(**inputs).loss.backward()
    torch.compile(compiled, fullgraph=True)(**inputs).loss.backward()
    for (name, p), q in zip(plain.named_parameters(), compiled.named_parameters()):
        assert_close(q[1].grad, p.grad, atol=1e-5, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("model_class", [MicronBertModel, MicronBertForMicroExpressionClassification])
def test_exports_with_any_batch_size(model_class):
    model = build(model_class)
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(
        model, (seeded(2, 2, 3, 32, 32),), dynamic_shapes={"pixel_values": {0: batch}}, strict=False
    )
    inputs = seeded(5, 2, 3, 32, 32, seed=3)
    expected = model(inputs)
    outputs = program.module()(inputs)
    for name in expected:
        assert_close(outputs[name], expected[name], atol=1e-5, rtol=1e-5)


# ---------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("pixel_values", "message"),
    [
        (torch.zeros(1, 3, 32, 32), r"\(batch, 2, 3, height, width\), got \(1, 3, 32, 32\)"),
        (torch.zeros(1, 3, 3, 32, 32), r"\(batch, 2, 3, height, width\), got \(1, 3, 3, 32, 32\)"),
        (torch.zeros(1, 2, 1, 32, 32), r"\(batch, 2, 3, height, width\), got \(1, 2, 1, 32, 32\)"),
        (torch.zeros(0, 2, 3, 32, 32), "empty"),
        (torch.zeros(1, 2, 3, 30, 32), r"\(30, 32\) is not divisible by the patch size 8"),
        (torch.zeros(1, 2, 3, 32, 32, dtype=torch.uint8), "torch.uint8"),
        (torch.full((1, 2, 3, 32, 32), math.nan), "NaN"),
        (torch.full((1, 2, 3, 32, 32), math.inf), "infinite"),
    ],
)
@pytest.mark.parametrize("model_class", MODELS)
def test_wrong_frames_are_refused(model_class, pixel_values, message):
    with pytest.raises(ValueError, match=message):
        build(model_class)(pixel_values)


def test_wrong_sampling_is_refused():
    with pytest.raises(ValueError, match="swap_ratio"):
        sample_swapped_positions(1, (4, 4), 1.0)
    with pytest.raises(ValueError, match="indepndent"):
        sample_swapped_positions(1, (4, 4), 0.5, "indepndent")
    with pytest.raises(ValueError, match="as a tensor .*, got NoneType"):
        build(MicronBertModel)(None)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.zeros(2, 15, dtype=torch.bool), r"\(2, 16\) of torch.bool, got \(2, 15\)"),
        (torch.zeros(2, 16), "torch.float32"),
    ],
)
def test_wrong_masks_are_refused(mask, message):
    with pytest.raises(ValueError, match=message):
        build(MicronBertForPreTraining)(seeded(2, 2, 3, 32, 32), bool_swapped_pos=mask)


def test_wrong_crops_are_refused():
    model = build(MicronBertForPreTraining, contextual_agreement="self_distillation")
    pair = seeded(2, 2, 3, 32, 32)
    with pytest.raises(ValueError, match="two global crops"):
        model(pair, crop_pixel_values=seeded(2, 1, 3, 32, 32))
    with pytest.raises(ValueError, match="crops of 2 pairs, got 1"):
        model(pair, crop_pixel_values=seeded(1, 2, 3, 32, 32))
    with pytest.raises(ValueError, match="not divisible"):
        model(pair, crop_pixel_values=seeded(2, 2, 3, 30, 30))


@pytest.mark.parametrize(
    ("labels", "problem_type", "message"),
    [
        (torch.tensor([0, 3]), None, r"\[0, 3\), got \[0, 3\]"),
        (torch.tensor([0, -1]), None, r"\[0, 3\), got \[0, -1\]"),
        (torch.tensor([0.0, 1.0]), None, "integers"),
        (torch.tensor([0]), None, r"\(2,\) integers, got \(1,\)"),
        (torch.zeros(2, 4), None, r"\(2, 3\), got \(2, 4\)"),
        (torch.tensor([0, 1]), "multi_label_classification", "Multi-label"),
        (torch.tensor([[0.0, 1.0, 2.0], [0, 0, 0]]), None, r"\[0, 1\]"),
        (torch.tensor([[0.0, 1.0, math.nan], [0, 0, 0]]), None, r"\[0, 1\]"),
        (torch.tensor([0, 1]), "regression", "regression"),
    ],
)
def test_wrong_labels_are_refused(labels, problem_type, message):
    with pytest.raises(ValueError, match=message):
        classification_loss(torch.zeros(2, 3), labels, problem_type)


def test_action_units_train_with_binary_cross_entropy():
    model = build(MicronBertForMicroExpressionClassification, problem_type="multi_label_classification")
    labels = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    outputs = model(seeded(2, 2, 3, 32, 32), labels=labels)
    p = torch.sigmoid(outputs.logits)
    assert_close(outputs.loss, -(labels * p.log() + (1 - labels) * (1 - p).log()).mean())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(image_size=30), "`image_size` 30 must be a positive multiple of `patch_size` 8"),
        (dict(image_size=[32, 30]), "multiple of `patch_size` 8"),
        (dict(image_size=[32, 32, 32]), "one number or"),
        (dict(image_size=0), "positive multiple"),
        (dict(patch_size=0), "patch_size"),
        (dict(num_attention_heads=5), "`hidden_size` 32 must be divisible by `num_attention_heads` 5"),
        (dict(decoder_num_attention_heads=5), "`decoder_hidden_size` 24"),
        (dict(hidden_size=30, num_attention_heads=2), "divisible by 4"),
        (dict(swap_ratio=1.0), r"`swap_ratio` must be in \[0, 1\), got 1.0"),
        (dict(swap_ratio=-0.1), "swap_ratio"),
        (dict(attention_mode="diag"), "attention_mode"),
        (dict(query_frame="onset"), "query_frame"),
        (dict(patch_of_interest_score="dot"), "patch_of_interest_score"),
        (dict(contextual_agreement="dino"), "contextual_agreement"),
        (dict(num_hidden_layers=0), "num_hidden_layers"),
        (dict(hidden_size=32.0), "expected int"),
        (dict(teacher_temperature=0.0), "teacher_temperature"),
        (dict(teacher_momentum=1.5), "teacher_momentum"),
        (dict(reconstruction_loss_weight=-1.0), "reconstruction_loss_weight"),
        (dict(layer_norm_eps=-1.0), "layer_norm_eps"),
        (dict(hidden_act="golu"), "hidden_act"),
        (dict(pooling="patch_of_interest", use_patch_of_interest=False), "use_patch_of_interest"),
    ],
)
def test_impossible_configs_are_refused(changes, message):
    with pytest.raises(Exception, match=message) as caught:
        MicronBertConfig(**{**TINY, **changes})
    assert "StrictDataclass" in type(caught.value).__name__


def test_default_model_is_the_released_small_one():
    config = MicronBertConfig()
    assert config.patch_grid == (28, 28)
    with torch.device("meta"):
        model = MicronBertModel(config)
    cross = sum(p.numel() for p in model.diagonal_micro_attention.parameters())
    backbone = sum(p.numel() for p in model.parameters()) - cross
    # counted from the released code's shapes: 4 layers of 12 D^2 + 13 D, patches, norm, contextual token
    assert backbone == 4 * (12 * 512**2 + 13 * 512) + (192 * 512 + 512) + 2 * 512 + 512
    assert cross == 4 * (512**2 + 512)
