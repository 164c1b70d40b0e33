"""Convert a checkpoint of the original Micron-BERT code into a folder that `from_pretrained` loads.

    from micron_bert_hf.conversion import convert_checkpoint
    convert_checkpoint("CASME2-is224-p8-b16-ep200.pth", "micron-bert-casme2")

The original's names (github.com/uark-cviu/Micron-BERT at commit 58a021b) live only here. A checkpoint is a pickle:
`torch.load` reads it with `weights_only=True` and one class allow-listed, `argparse.Namespace`, which the original
stores its arguments in; anything else in the file is refused, not run.
"""

import argparse
import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError

from .configuration_micron_bert import MicronBertConfig
from .image_processing_micron_bert import MicronBertImageProcessor
from .modeling_micron_bert import MicronBertForPreTraining, sincos_position_table


_BLOCK = {
    r"norm1\.": "layernorm_before.",
    r"norm2\.": "layernorm_after.",
    r"attn\.([qkv])\.": r"attention.\2_proj.",
    r"attn\.proj\.": "attention.o_proj.",
    r"mlp\.": "mlp.",
}
_ENCODER = {
    r"cls_token$": "embeddings.contextual_token",
    r"patch_embed\.proj\.": "embeddings.patch_embeddings.",
    **{rf"blocks\.(\d+)\.{old}": rf"layers.\1.{new}" for old, new in _BLOCK.items()},
    r"norm\.": "norm.",
}
_HEAD = {
    r"mlp\.0\.": "fc1.",
    r"mlp\.2\.": "fc2.",
    r"mlp\.4\.": "fc3.",
    r"last_layer\.weight_v$": "prototypes.weight",
    r"last_layer\.weight_g$": "prototype_magnitudes",
}
# Original key (after the "module." of its DDP wrapper) to ours, first match wins. `qkv` is one matrix there and three
# here, split by `_split_qkv` before this table is asked. The encoder stands twice in the file, as `backbone` and
# `student.backbone`, which share their tensors.
KEY_TABLE = {
    **{rf"^backbone\.{old}": f"micron_bert.{new}" for old, new in _ENCODER.items()},
    **{rf"^teacher\.backbone\.{old}": f"teacher.{new}" for old, new in _ENCODER.items()},
    **{rf"^student\.head\.{old}": f"projection_head.{new}" for old, new in _HEAD.items()},
    **{rf"^teacher\.head\.{old}": f"teacher.projection_head.{new}" for old, new in _HEAD.items()},
    r"^att\.to_([qkv])\.": r"micron_bert.diagonal_micro_attention.\1_proj.",
    r"^att\.proj\.": "micron_bert.diagonal_micro_attention.o_proj.",
    r"^decoder_embed\.": "decoder.embed.",
    **{rf"^decoder_blocks\.(\d+)\.{old}": rf"decoder.layers.\1.{new}" for old, new in _BLOCK.items()},
    r"^decoder_norm\.": "decoder.norm.",
    r"^decoder_pred\.": "decoder.predict.",
    r"^dino_loss_fn\.center$": "center",
}
_POSITION_TABLES = ("backbone.pos_embed", "teacher.backbone.pos_embed", "decoder_pos_embed")
# The position tables in the file and ours both come from float64 arithmetic; they may differ in the last float32 bit.
_POSITION_TOLERANCE = 1e-6


class CheckpointError(ValueError):
    """The file is not a checkpoint of the original code, or holds something that has no place in the model."""


def convert_checkpoint(checkpoint_path: str | Path, output_dir: str | Path) -> Path:
    """
    Write a [`MicronBertForPreTraining`] folder (model, image processor, conversion.json) from a checkpoint of
    the original code.

    Sizes are read from the tensors; head counts, temperatures and the attention mode from the arguments stored in the
    file. What the original does not do (rescale, patch of interest) is off in the written config.

    Args:
        checkpoint_path: a `.pth` file with the keys `model` (names starting with "module."), `args` and `epoch`
        output_dir: must not exist or be empty; appears only when complete

    Returns:
        `output_dir` as a path.

    Raises:
        FileNotFoundError: no such checkpoint.
        FileExistsError: `output_dir` holds files.
        CheckpointError: the file cannot be read safely, a key has no counterpart, a tensor of the model stays empty,
            or a stored position table is not the sin-cos table; the message names the keys.
    """
    checkpoint_path, output_dir = Path(checkpoint_path), Path(output_dir)
    if not checkpoint_path.is_file():
        raise FileNotFoundError(f"No checkpoint at {checkpoint_path}.")
    if output_dir.exists() and (not output_dir.is_dir() or any(output_dir.iterdir())):
        raise FileExistsError(f"{output_dir} exists and is not an empty folder; give a new one.")

    checkpoint = read_checkpoint(checkpoint_path)
    state_dict, arguments = _original_state_dict(checkpoint), vars(checkpoint["args"])
    model = MicronBertForPreTraining(config_from_original(state_dict, arguments))
    model.load_state_dict(map_state_dict(state_dict, model), strict=True)
    model.eval()

    output_dir.parent.mkdir(parents=True, exist_ok=True)
    # complete or absent: written beside its place, then moved there in one step
    unfinished = Path(tempfile.mkdtemp(prefix=f".{output_dir.name}-", dir=output_dir.parent))
    try:
        model.save_pretrained(unfinished)
        height, width = model.config.image_height_width
        MicronBertImageProcessor(size={"height": height, "width": width}).save_pretrained(unfinished)
        provenance = {
            "source_file": checkpoint_path.name,
            "epoch": checkpoint.get("epoch"),
            "original_arguments": {name: value for name, value in arguments.items() if _is_plain(value)},
        }
        (unfinished / "conversion.json").write_text(json.dumps(provenance, indent=2, sort_keys=True) + "\n")
        unfinished.chmod(0o755)
        unfinished.replace(output_dir)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return output_dir


def read_checkpoint(checkpoint_path: str | Path) -> dict[str, Any]:
    """
    Read the file without running what is in it.

    Returns:
        `dict` with `model` (names to tensors) and `args` (`argparse.Namespace`), and whatever else the file has.

    Raises:
        CheckpointError: not a torch file, a class other than `argparse.Namespace` in it, or a key missing.
    """
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            checkpoint = torch.load(checkpoint_path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many types on a broken or hostile file; all mean the same here
        raise CheckpointError(f"{checkpoint_path} cannot be read safely as a torch checkpoint: {error}") from error
    for key, kind in (("model", dict), ("args", argparse.Namespace)):
        if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get(key), kind):
            raise CheckpointError(f"{checkpoint_path} holds no `{key}` of type {kind.__name__}, as the original's do.")
    return checkpoint


def config_from_original(state_dict: dict[str, torch.Tensor], arguments: dict[str, Any]) -> MicronBertConfig:
    """
    The config of a checkpoint.

    Args:
        state_dict: the original's names without "module."
        arguments: the original's command line; what it lacks takes the released code's defaults

    Raises:
        CheckpointError: a tensor that tells a size is missing, or a combination that the config refuses.
    """
    try:
        hidden_size, num_channels, patch_size, _ = state_dict["backbone.patch_embed.proj.weight"].shape
        num_positions = state_dict["backbone.pos_embed"].shape[1]
        decoder_hidden_size = state_dict["decoder_embed.weight"].shape[0]
        intermediate_size = state_dict["backbone.blocks.0.mlp.fc1.weight"].shape[0]
        decoder_intermediate_size = state_dict["decoder_blocks.0.mlp.fc1.weight"].shape[0]
    except KeyError as error:
        raise CheckpointError(f"The checkpoint has no tensor {error}, which tells a size of the model.") from error
    grid_side = round((num_positions - 1) ** 0.5)

    sizes = dict(
        image_size=grid_side * patch_size,
        patch_size=patch_size,
        num_channels=num_channels,
        hidden_size=hidden_size,
        num_hidden_layers=_count_blocks(state_dict, "backbone.blocks"),
        num_attention_heads=arguments.get("num_heads", 4),
        intermediate_size=intermediate_size,
        decoder_hidden_size=decoder_hidden_size,
        decoder_num_hidden_layers=_count_blocks(state_dict, "decoder_blocks"),
        decoder_num_attention_heads=arguments.get("decoder_num_heads", 4),
        decoder_intermediate_size=decoder_intermediate_size,
    )
    agreement: dict[str, Any] = dict(contextual_agreement="none")
    if "student.head.mlp.0.weight" in state_dict:
        output_size, bottleneck_size = state_dict["student.head.last_layer.weight_v"].shape
        agreement = dict(
            contextual_agreement="self_distillation",
            projection_hidden_size=state_dict["student.head.mlp.0.weight"].shape[0],
            projection_bottleneck_size=bottleneck_size,
            projection_output_size=output_size,
            teacher_temperature=float(arguments.get("teacher_temp", 0.04)),
            teacher_warmup_temperature=float(arguments.get("warmup_teacher_temp", 0.04)),
            teacher_warmup_epochs=arguments.get("warmup_teacher_temp_epochs", 0),
            teacher_momentum=arguments.get("ema_decay", 0.997),
        )
    try:
        return MicronBertConfig(
            **sizes,
            **agreement,
            attention_mode="diagonal" if arguments.get("diag_att", False) else "full",
            query_frame="swapped",
            rescale_attention=False,
            use_patch_of_interest=False,
            norm_pix_loss=arguments.get("norm_pix_loss", False),
        )
    except StrictDataclassError as error:
        raise CheckpointError(f"The checkpoint describes an impossible model: {error}") from error


def map_state_dict(state_dict: dict[str, torch.Tensor], model: MicronBertForPreTraining) -> dict[str, torch.Tensor]:
    """
    Rename and split the original's tensors into the model's.

    Raises:
        CheckpointError: keys left over, tensors of the model left empty, shared or fixed tensors that are not what the
            original's code makes them; the message names them.
    """
    left = dict(state_dict)
    for name in [name for name in left if name.startswith("student.backbone.")]:
        if not torch.equal(left.pop(name), state_dict[name.removeprefix("student.")]):
            raise CheckpointError(
                f"`{name}` differs from `{name.removeprefix('student.')}`; the original shares them."
            )
    for name in _POSITION_TABLES:
        _check_positions(name, left.pop(name, None), model)

    mapped: dict[str, torch.Tensor] = {}
    unmapped = []
    for name, tensor in left.items():
        parts = _split_qkv(name, tensor) if ".attn.qkv." in name else {name: tensor}
        for part_name, part in parts.items():
            new_name = _rename(part_name)
            if new_name is None:
                unmapped.append(name)
            else:
                mapped[new_name] = part
    expected = model.state_dict()
    wrong_shape = [name for name in mapped if name in expected and mapped[name].shape != expected[name].shape]
    problems = {
        "without a counterpart here": unmapped + sorted(mapped.keys() - expected.keys()),
        "missing from the checkpoint": sorted(expected.keys() - mapped.keys()),
        "of another shape than the config says": wrong_shape,
    }
    if any(problems.values()):
        raise CheckpointError("; ".join(f"tensors {what}: {names}" for what, names in problems.items() if names))
    return mapped


def _original_state_dict(checkpoint: dict[str, Any]) -> dict[str, torch.Tensor]:
    return {name.removeprefix("module."): tensor for name, tensor in checkpoint["model"].items()}


def _count_blocks(state_dict: dict[str, torch.Tensor], prefix: str) -> int:
    indices = [re.match(rf"{re.escape(prefix)}\.(\d+)\.", name) for name in state_dict]
    return 1 + max((int(match[1]) for match in indices if match), default=-1)


def _split_qkv(name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    return {name.replace("qkv", letter): part.clone() for letter, part in zip("qkv", tensor.chunk(3))}


def _rename(name: str) -> str | None:
    for old, new in KEY_TABLE.items():
        if re.search(old, name):
            return re.sub(old, new, name)
    return None


def _check_positions(name: str, stored: torch.Tensor | None, model: MicronBertForPreTraining) -> None:
    if stored is None and name.startswith("teacher") and model.teacher is None:
        return
    if stored is None:
        raise CheckpointError(f"The checkpoint has no `{name}`.")
    table = sincos_position_table(*model.config.patch_grid, stored.shape[-1])
    if stored.shape != table.shape or (stored - table).abs().max() > _POSITION_TOLERANCE:
        raise CheckpointError(f"`{name}` is not the fixed 2-D sin-cos table of grid {model.config.patch_grid}.")


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float | bool | type(None))
