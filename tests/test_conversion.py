"""The package against the original: recorded goldens, an oracle where none exist, and files that must be refused."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from original_oracle import OriginalOracle, loop_patchify, random_checkpoint
from safetensors.torch import load_file
from torch.testing import assert_close

from micron_bert_hf.conversion import CheckpointError, convert_checkpoint, read_checkpoint
from micron_bert_hf.modeling_micron_bert import (
    MicronBertForPreTraining,
    MicronBertModel,
    encode,
    patchify,
    reconstruction_target,
    self_distillation_loss,
    teacher_temperature_at_epoch,
    updated_center,
)


GOLDENS = Path(__file__).parent / "fixtures" / "goldens"
TOLERANCE = dict(rtol=0, atol=1e-5)
EXACT = dict(rtol=0, atol=1e-6)  # float64; the bicubic resize of positions runs in float32

SIZES = {
    "released heads": dict(
        image_size=32, patch_size=8, width=64, depth=4, heads=4, decoder_width=64, decoder_depth=4, decoder_heads=4
    ),
    "patch 4, odd heads": dict(
        image_size=20, patch_size=4, width=36, depth=1, heads=3, decoder_width=20, decoder_depth=1, decoder_heads=5
    ),
    "one head, patch 16": dict(
        image_size=48, patch_size=16, width=16, depth=3, heads=1, decoder_width=32, decoder_depth=2, decoder_heads=8
    ),
}


@pytest.fixture(scope="module")
def golden():
    return load_file(GOLDENS / "activations.safetensors")


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    return convert_checkpoint(GOLDENS / "checkpoint.pth", tmp_path_factory.mktemp("converted") / "model")


def load(folder, **changes):
    return MicronBertForPreTraining.from_pretrained(folder, **changes).eval()


def golden_pair(golden):
    return torch.stack([golden["input.swapped_frame"], golden["input.reference_frame"]], dim=1)


def run(model, pair, **kwargs):
    """The model on an already swapped pair: an all-False mask swaps nothing."""
    num_patches = (pair.shape[-1] // model.config.patch_size) * (pair.shape[-2] // model.config.patch_size)
    mask = torch.zeros(pair.shape[0], num_patches, dtype=torch.bool)
    with torch.no_grad():
        return model(pair, bool_swapped_pos=mask, **kwargs)


def target_loss(model, logits, target):
    return (
        (logits - reconstruction_target(target, model.config.patch_size, model.config.norm_pix_loss)).square().mean()
    )


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_encoder_states_agree(converted, golden, attention):
    outputs = run(load(converted, attn_implementation=attention), golden_pair(golden))
    for index, name in enumerate(("swapped", "reference")):
        assert_close(outputs.frame_hidden_states[:, index], golden[f"encoder.last_hidden_state.{name}"], **TOLERANCE)
    assert_close(outputs.frame_hidden_states[:, 0, 1:], golden["features.swapped"], **TOLERANCE)


def test_last_layer_attention_agrees(converted, golden):
    outputs = run(load(converted, attn_implementation="eager"), golden_pair(golden), output_attentions=True)
    assert len(outputs.attentions) == 2
    assert_close(outputs.attentions[-1][0::2], golden["encoder.last_layer_attention.swapped"], **TOLERANCE)


@pytest.mark.parametrize("norm_pix_loss", [False, True])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_full_attention_and_decoder_agree(converted, golden, attention, norm_pix_loss):
    model = load(converted, attn_implementation=attention, norm_pix_loss=norm_pix_loss)
    outputs = run(model, golden_pair(golden))
    assert_close(outputs.last_hidden_state, golden["attention_full.output"], **TOLERANCE)
    diagonal = golden["attention_full.weights"].diagonal(0, 2, 3)
    assert_close(outputs.diagonal_attention, diagonal, **TOLERANCE)
    if attention == "eager":
        assert_close(outputs.cross_attentions, golden["attention_full.weights"], **TOLERANCE)
    assert_close(outputs.logits, golden["decoder_full.prediction"], **TOLERANCE)
    recorded = golden["loss_full.reconstruction_norm_pix" if norm_pix_loss else "loss_full.reconstruction"]
    assert_close(target_loss(model, outputs.logits, golden["input.target_frame"]), recorded, **TOLERANCE)


@pytest.mark.parametrize("norm_pix_loss", [False, True])
def test_diagonal_attention_and_decoder_agree(converted, golden, norm_pix_loss):
    model = load(converted, attention_mode="diagonal", norm_pix_loss=norm_pix_loss)
    outputs = run(model, golden_pair(golden))
    assert_close(outputs.last_hidden_state, golden["attention_diagonal.output"], **TOLERANCE)
    assert_close(outputs.diagonal_attention[..., None], golden["attention_diagonal.weights"], **TOLERANCE)
    assert_close(outputs.logits, golden["decoder_diagonal.prediction"], **TOLERANCE)
    recorded = golden["loss_diagonal.reconstruction_norm_pix" if norm_pix_loss else "loss_diagonal.reconstruction"]
    assert_close(target_loss(model, outputs.logits, golden["input.target_frame"]), recorded, **TOLERANCE)


def test_diagonal_attention_with_the_papers_query_agrees(converted, golden):
    model = load(converted, attention_mode="diagonal", query_frame="reference")
    outputs = run(model, golden_pair(golden))
    assert_close(outputs.last_hidden_state, golden["attention_diagonal_query_reference.output"], **TOLERANCE)
    weights = golden["attention_diagonal_query_reference.weights"]
    assert_close(outputs.diagonal_attention[..., None], weights, **TOLERANCE)


def test_target_patches_agree(golden):
    assert_close(patchify(golden["input.target_frame"], 8), golden["target_patches"], rtol=0, atol=0)


def test_self_distillation_agrees(converted, golden):
    model = load(converted)
    crops = torch.stack([golden[f"input.crop_{index}"] for index in range(4)], dim=1)
    outputs = run(model, golden_pair(golden), crop_pixel_values=crops)
    # the original concatenates crop by crop, here the crops of a pair stay together
    assert_close(outputs.student_logits.transpose(0, 1).flatten(0, 1), golden["dino.student_logits"], **TOLERANCE)
    assert_close(outputs.teacher_logits.transpose(0, 1).flatten(0, 1), golden["dino.teacher_logits"], **TOLERANCE)

    start = model.center.clone()
    for epoch in (0, 1, 3):
        temperature = teacher_temperature_at_epoch(model.config, epoch)
        model.center.copy_(start)
        loss = run(
            model, golden_pair(golden), crop_pixel_values=crops, teacher_temperature=temperature
        ).contextual_agreement_loss
        assert_close(loss, golden[f"dino.loss_epoch_{epoch}"], **TOLERANCE)
        model.update_center(outputs.teacher_logits)
        assert_close(model.center, golden[f"dino.center_after_epoch_{epoch}"], **TOLERANCE)


def test_negative_control(converted, golden):
    """
    A change of one part in ten thousand in one weight, or the two frames exchanged, is seen at the tolerance used.
    """
    pair = golden_pair(golden)
    model = load(converted)
    with pytest.raises(AssertionError):
        assert_close(run(model, pair.flip(1)).last_hidden_state, golden["attention_full.output"], **TOLERANCE)
    with torch.no_grad():
        model.micron_bert.layers[0].attention.q_proj.weight.mul_(1.0001)
    with pytest.raises(AssertionError):
        features = run(model, pair).frame_hidden_states[:, 0, 1:]
        assert_close(features, golden["features.swapped"], **TOLERANCE)


def test_the_oracle_agrees_with_the_goldens(golden):
    oracle = OriginalOracle(read_checkpoint(GOLDENS / "checkpoint.pth"))
    swapped, attention = oracle.encode(golden["input.swapped_frame"])
    reference, _ = oracle.encode(golden["input.reference_frame"])
    assert_close(swapped, golden["encoder.last_hidden_state.swapped"], **TOLERANCE)
    assert_close(attention, golden["encoder.last_layer_attention.swapped"], **TOLERANCE)
    attended, weights = oracle.cross_attention(swapped[:, 1:], reference[:, 1:], swapped[:, 1:], diagonal=False)
    assert_close(weights[:, None], golden["attention_full.weights"], **TOLERANCE)
    assert_close(oracle.decode(attended), golden["decoder_full.prediction"], **TOLERANCE)
    student = torch.cat([oracle.encode(golden[f"input.crop_{index}"])[0][:, 0] for index in range(4)])
    assert_close(oracle.project(student, "student.head"), golden["dino.student_logits"], **TOLERANCE)


@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_other_sizes_agree_with_the_oracle(tmp_path, size, diagonal):
    checkpoint = random_checkpoint(seed=len(size), diagonal=diagonal, **SIZES[size])
    torch.save(checkpoint, tmp_path / "checkpoint.pth")
    # float64: random weights amplify rounding, and a real difference must not hide in it
    model = load(convert_checkpoint(tmp_path / "checkpoint.pth", tmp_path / "model")).double()
    oracle = OriginalOracle(checkpoint)
    oracle.weights = {name: tensor.double() for name, tensor in oracle.weights.items()}
    side = SIZES[size]["image_size"]
    generator = torch.Generator().manual_seed(1)
    pair = torch.randn(3, 2, 3, side, side, generator=generator, dtype=torch.float64)
    # global crops of the training size and local ones of another, as the original trains
    large = torch.randn(3, 2, 3, side, side, generator=generator, dtype=torch.float64)
    small_side = side + 2 * SIZES[size]["patch_size"]
    small = torch.randn(3, 1, 3, small_side, small_side, generator=generator, dtype=torch.float64)

    outputs = run(model, pair, crop_pixel_values=[large, small])
    swapped, reference = (oracle.encode(frame)[0] for frame in pair.unbind(1))
    assert_close(outputs.frame_hidden_states[:, 0], swapped, **EXACT)
    attended, weights = oracle.cross_attention(swapped[:, 1:], reference[:, 1:], swapped[:, 1:], diagonal)
    assert_close(outputs.last_hidden_state, attended, **EXACT)
    assert_close(outputs.diagonal_attention[:, 0], weights.diagonal(0, 1, 2), **EXACT)
    assert_close(outputs.logits, oracle.decode(attended), **EXACT)
    views = [*large.unbind(1), *small.unbind(1)]
    student = torch.stack([oracle.project(oracle.encode(view)[0][:, 0], "student.head") for view in views], 1)
    teacher = [oracle.encode(view, "teacher.backbone")[0][:, 0] for view in large.unbind(1)]
    teacher = torch.stack([oracle.project(contextual, "teacher.head") for contextual in teacher], 1)
    assert_close(outputs.student_logits, student, **EXACT)
    assert_close(outputs.teacher_logits, teacher, **EXACT)


def test_base_model_loads_from_the_converted_folder(converted, golden):
    model, report = MicronBertModel.from_pretrained(converted, output_loading_info=True)
    assert not report["missing_keys"] and not report["mismatched_keys"]
    with torch.no_grad():
        outputs = model(golden_pair(golden))
    assert_close(outputs.last_hidden_state, golden["attention_full.output"], **TOLERANCE)


def test_contextual_only_encoding_equals_the_first_token(converted, golden):
    encoder = load(converted).micron_bert
    with torch.no_grad():
        parts = encoder.embeddings, encoder.layers, encoder.norm, golden["input.crop_0"]
        assert_close(encode(*parts, contextual_only=True), encode(*parts)[:, :1], **TOLERANCE)


def test_command_line_converts(tmp_path):
    """`micron-bert convert` in a process of its own writes the same folder and says where."""
    command = [sys.executable, "-m", "micron_bert_hf.cli", "convert", str(GOLDENS / "checkpoint.pth")]
    done = subprocess.run([*command, str(tmp_path / "model")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "model") in done.stdout
    provenance = json.loads((tmp_path / "model" / "conversion.json").read_text())
    assert provenance["epoch"] == 5 and provenance["original_arguments"]["ema_decay"] == 0.997

    again = subprocess.run([*command, str(tmp_path / "model")], capture_output=True, text=True)
    assert again.returncode == 1 and "not an empty folder" in again.stderr and "Traceback" not in again.stderr


class Stranger:
    """A class that no checkpoint may carry."""


def damaged(checkpoint, damage):
    model = checkpoint["model"]
    if damage == "a key too many":
        model["module.fc.weight"] = torch.zeros(1, 64)
    elif damage == "a key too few":
        del model["module.att.to_q.bias"]
    elif damage == "another position table":
        model["module.decoder_pos_embed"] = model["module.decoder_pos_embed"] + 1e-3
    elif damage == "student apart from encoder":
        name = "module.student.backbone.norm.weight"
        model[name] = model[name] + 1e-3
    elif damage == "heads that do not divide":
        checkpoint["args"] = argparse.Namespace(**{**vars(checkpoint["args"]), "num_heads": 7})
    elif damage == "a foreign class":
        checkpoint["args"] = Stranger()
    elif damage == "no arguments":
        del checkpoint["args"]
    return checkpoint


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("a key too many", "without a counterpart here: \\['fc.weight'\\]"),
        ("a key too few", "missing from the checkpoint: \\['micron_bert.diagonal_micro_attention.q_proj.bias'\\]"),
        ("another position table", "decoder_pos_embed.*sin-cos"),
        ("student apart from encoder", "student.backbone.norm.weight.*differs"),
        ("heads that do not divide", "num_attention_heads` 7"),
        ("a foreign class", "cannot be read safely"),
        ("no arguments", "no `args`"),
    ],
)
def test_damaged_checkpoints_are_refused(tmp_path, damage, message):
    checkpoint = damaged(read_checkpoint(GOLDENS / "checkpoint.pth"), damage)
    torch.save(checkpoint, tmp_path / "checkpoint.pth")
    with pytest.raises(CheckpointError, match=message):
        convert_checkpoint(tmp_path / "checkpoint.pth", tmp_path / "model")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.pth"]


def test_truncated_and_missing_files_are_refused(tmp_path):
    (tmp_path / "short.pth").write_bytes((GOLDENS / "checkpoint.pth").read_bytes()[:5000])
    with pytest.raises(CheckpointError, match="cannot be read"):
        convert_checkpoint(tmp_path / "short.pth", tmp_path / "model")
    with pytest.raises(FileNotFoundError):
        convert_checkpoint(tmp_path / "absent.pth", tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_loop_forms_agree(golden):
    """Patch order, distillation loss and centre against loops."""
    image = golden["input.target_frame"]
    assert_close(patchify(image, 8), loop_patchify(image, 8), rtol=0, atol=0)

    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(5, 4, 7, generator=generator), torch.randn(5, 2, 7, generator=generator)
    center = torch.randn(1, 7, generator=generator)
    total, terms = 0.0, 0
    for i in range(2):
        for v in range(4):
            if i != v:
                p = torch.softmax((teacher[:, i] - center) / 0.04, -1)
                total += (-(p * torch.log_softmax(student[:, v] / 0.1, -1)).sum(-1)).mean()
                terms += 1
    assert_close(self_distillation_loss(student, teacher, center, 0.1, 0.04), total / terms)
    assert_close(updated_center(torch.ones(1, 2), torch.tensor([[3.0, 5.0]]), 0.9), torch.tensor([[1.2, 1.4]]))
