"""The original model's arithmetic in its plainest form, on the original's tensor names: the oracle of the conversion
tests.

Written from the paper's formulas and the facts about the released code; `test_conversion.py` first holds this file to
the recorded goldens, then uses it where no golden exists (other sizes, head counts, patch sizes, crop sizes).
"""

import argparse
import math

import numpy as np
import torch
import torch.nn.functional as F


def positions(side: int, width: int) -> torch.Tensor:
    """`(1, 1 + side * side, width)` by loops."""
    table = np.zeros((1 + side * side, width))
    for row in range(side):
        for column in range(side):
            for k in range(width // 4):
                frequency = 1.0 / 10000 ** (k / (width / 4))
                values = [f(x * frequency) for x in (column, row) for f in (math.sin, math.cos)]
                table[1 + row * side + column, [k + i * width // 4 for i in range(4)]] = values
    return torch.tensor(table, dtype=torch.float32)[None]


def random_checkpoint(
    seed: int,
    *,
    image_size: int,
    patch_size: int,
    width: int,
    depth: int,
    heads: int,
    decoder_width: int,
    decoder_depth: int,
    decoder_heads: int,
    diagonal: bool,
) -> dict:
    """A checkpoint in the original's layout with random weights."""
    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, torch.Tensor] = {}

    def add(name: str, *shape: int, around: float = 0.0) -> None:
        scale = 0.1 if len(shape) < 2 else 1.5 / math.sqrt(math.prod(shape[1:]))
        tensors[name] = around + scale * torch.randn(*shape, generator=generator)

    def linear(name: str, fan_in: int, fan_out: int) -> None:
        add(f"{name}.weight", fan_out, fan_in)
        add(f"{name}.bias", fan_out)

    def norm(name: str, size: int) -> None:
        add(f"{name}.weight", size, around=1.0)
        add(f"{name}.bias", size)

    def block(name: str, size: int) -> None:
        norm(f"{name}.norm1", size)
        linear(f"{name}.attn.qkv", size, 3 * size)
        linear(f"{name}.attn.proj", size, size)
        norm(f"{name}.norm2", size)
        linear(f"{name}.mlp.fc1", size, 4 * size)
        linear(f"{name}.mlp.fc2", 4 * size, size)

    def backbone(name: str) -> None:
        add(f"{name}.cls_token", 1, 1, width)
        tensors[f"{name}.pos_embed"] = positions(image_size // patch_size, width)
        add(f"{name}.patch_embed.proj.weight", width, 3, patch_size, patch_size)
        add(f"{name}.patch_embed.proj.bias", width)
        for index in range(depth):
            block(f"{name}.blocks.{index}", width)
        norm(f"{name}.norm", width)

    def head(name: str) -> None:
        for index, (fan_in, fan_out) in {0: (width, 24), 2: (24, 24), 4: (24, 8)}.items():
            linear(f"{name}.mlp.{index}", fan_in, fan_out)
        add(f"{name}.last_layer.weight_g", 12, 1, around=1.0)
        add(f"{name}.last_layer.weight_v", 12, 8)

    backbone("backbone")
    for letter in ("to_q", "to_k", "to_v", "proj"):
        linear(f"att.{letter}", width, width)
    tensors.update({f"student.{name}": t for name, t in tensors.items() if name.startswith("backbone.")})
    head("student.head")
    backbone("teacher.backbone")
    head("teacher.head")
    add("dino_loss_fn.center", 1, 12)
    linear("decoder_embed", width, decoder_width)
    tensors["decoder_pos_embed"] = positions(image_size // patch_size, decoder_width)
    for index in range(decoder_depth):
        block(f"decoder_blocks.{index}", decoder_width)
    norm("decoder_norm", decoder_width)
    linear("decoder_pred", decoder_width, 3 * patch_size**2)
    arguments = argparse.Namespace(
        num_heads=heads, decoder_num_heads=decoder_heads, diag_att=diagonal, teacher_temp=0.05, ema_decay=0.99
    )
    return {"model": {f"module.{name}": t for name, t in tensors.items()}, "args": arguments, "epoch": 3}


class OriginalOracle:
    """The original's forward pass, one image batch at a time, full N x N attention matrices."""

    def __init__(self, checkpoint: dict):
        self.weights = {name.removeprefix("module."): t for name, t in checkpoint["model"].items()}
        self.heads = checkpoint["args"].num_heads
        self.decoder_heads = checkpoint["args"].decoder_num_heads

    def _linear(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def _norm(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(x, x.shape[-1:], self.weights[f"{name}.weight"], self.weights[f"{name}.bias"], eps=1e-6)

    def _block(self, name: str, x: torch.Tensor, heads: int) -> tuple[torch.Tensor, torch.Tensor]:
        batch, tokens, width = x.shape
        qkv = self._linear(f"{name}.attn.qkv", self._norm(f"{name}.norm1", x))
        query, key, value = qkv.view(batch, tokens, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        attention = torch.softmax(query @ key.mT / math.sqrt(width // heads), dim=-1)
        x = x + self._linear(f"{name}.attn.proj", (attention @ value).transpose(1, 2).reshape(x.shape))
        hidden = F.gelu(self._linear(f"{name}.mlp.fc1", self._norm(f"{name}.norm2", x)))
        return x + self._linear(f"{name}.mlp.fc2", hidden), attention

    def _depth(self, prefix: str) -> int:
        return len({name.split(".")[prefix.count(".") + 1] for name in self.weights if name.startswith(f"{prefix}.")})

    def encode(self, image: torch.Tensor, prefix: str = "backbone") -> tuple[torch.Tensor, torch.Tensor]:
        """Normed tokens `(B, 1 + N, D)` and the last layer's attention."""
        patch = self.weights[f"{prefix}.patch_embed.proj.weight"]
        stride = patch.shape[-1]
        tokens = F.unfold(image, stride, stride=stride).mT @ patch.flatten(1).T
        tokens = tokens + self.weights[f"{prefix}.patch_embed.proj.bias"]
        table = self.weights[f"{prefix}.pos_embed"]
        old_side = round(math.sqrt(table.shape[1] - 1))
        grid = image.shape[2] // stride, image.shape[3] // stride
        if grid != (old_side, old_side):
            plane = table[:, 1:].reshape(1, old_side, old_side, -1).permute(0, 3, 1, 2)
            plane = F.interpolate(plane, scale_factor=[(n + 0.1) / old_side for n in grid], mode="bicubic")
            table = torch.cat([table[:, :1], plane.flatten(2).mT], dim=1)
        contextual = self.weights[f"{prefix}.cls_token"].expand(len(tokens), -1, -1)
        tokens = torch.cat([contextual, tokens], dim=1) + table
        for index in range(self._depth(f"{prefix}.blocks")):
            tokens, attention = self._block(f"{prefix}.blocks.{index}", tokens, self.heads)
        return self._norm(f"{prefix}.norm", tokens), attention

    def cross_attention(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, diagonal: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Attended patches `(B, N, D)` and the full weights `(B, N, N)`, of patch tokens without the contextual one.
        """
        query, key, value = (self._linear(f"att.to_{n}", x) for n, x in zip("qkv", (query, key, value)))
        weights = torch.softmax(query @ key.mT / math.sqrt(query.shape[-1]), dim=-1)
        attended = weights.diagonal(0, 1, 2)[..., None] * value if diagonal else weights @ value
        return self._linear("att.proj", attended), weights

    def decode(self, patches: torch.Tensor) -> torch.Tensor:
        x = self._linear("decoder_embed", patches) + self.weights["decoder_pos_embed"][:, 1:]
        for index in range(self._depth("decoder_blocks")):
            x, _ = self._block(f"decoder_blocks.{index}", x, self.decoder_heads)
        return self._linear("decoder_pred", self._norm("decoder_norm", x))

    def project(self, contextual: torch.Tensor, prefix: str) -> torch.Tensor:
        x = F.gelu(self._linear(f"{prefix}.mlp.0", contextual))
        x = F.gelu(self._linear(f"{prefix}.mlp.2", x))
        x = F.normalize(self._linear(f"{prefix}.mlp.4", x), dim=-1)
        direction = self.weights[f"{prefix}.last_layer.weight_v"]
        return x @ (self.weights[f"{prefix}.last_layer.weight_g"] * F.normalize(direction, dim=1)).T


def loop_patchify(image: torch.Tensor, patch_size: int) -> torch.Tensor:
    """`(B, N, P * P * C)` one pixel at a time."""
    batch, channels, height, width = image.shape
    columns = width // patch_size
    patches = torch.empty(batch, (height // patch_size) * columns, patch_size**2 * channels)
    for y in range(height):
        for x in range(width):
            patch = (y // patch_size) * columns + x // patch_size
            place = ((y % patch_size) * patch_size + x % patch_size) * channels
            patches[:, patch, place : place + channels] = image[:, :, y, x]
    return patches
