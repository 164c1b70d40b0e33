"""The reference the benchmark compares with: Micron-BERT the way the released code computes it.

Frames go through the encoder one after the other, attention is a stored N x N matrix, softmax and product in the open,
and the cross attention's full matrix is made before its diagonal is taken. Our own plain writing of that arithmetic;
the tests hold its loss and gradients to the package's.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F

from micron_bert_hf.modeling_micron_bert import MicronBertForPreTraining, patchify


class PlainAttention(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, tokens, width = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        query, key, value = qkv[0], qkv[1], qkv[2]
        attention = ((query @ key.transpose(-2, -1)) * self.scale).softmax(dim=-1)
        return self.proj((attention @ value).transpose(1, 2).reshape(batch, tokens, width))


class PlainBlock(nn.Module):
    def __init__(self, width: int, heads: int, mlp_width: int, eps: float):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attention = PlainAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = nn.Sequential(nn.Linear(width, mlp_width), nn.GELU(), nn.Linear(mlp_width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))

    @torch.no_grad()
    def copy_from(self, layer: nn.Module) -> None:
        ours = layer.attention
        for name in ("weight", "bias"):
            parts = [getattr(projection, name) for projection in (ours.q_proj, ours.k_proj, ours.v_proj)]
            getattr(self.attention.qkv, name).copy_(torch.cat(parts))
        pairs = (
            (self.norm1, layer.layernorm_before),
            (self.norm2, layer.layernorm_after),
            (self.attention.proj, ours.o_proj),
            (self.mlp[0], layer.mlp.fc1),
            (self.mlp[2], layer.mlp.fc2),
        )
        for mine, theirs in pairs:
            mine.load_state_dict(theirs.state_dict())


class PlainMicronBert(nn.Module):
    """
    The released code's computation with the weights of one of our models, in the paper's form (query from the
    reference frame, diagonal kept, sigmoid patch of interest, rescaled), so that both compute the same numbers.
    """

    def __init__(self, model: MicronBertForPreTraining):
        super().__init__()
        config = model.config
        self.patch_size = config.patch_size
        base, cross = model.micron_bert, model.micron_bert.diagonal_micro_attention
        copies = nn.ModuleDict(
            {
                "patch": nn.Conv2d(
                    config.num_channels, config.hidden_size, config.patch_size, stride=config.patch_size
                ),
                "norm": nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps),
                "decoder_embed": nn.Linear(config.hidden_size, config.decoder_hidden_size),
                "decoder_norm": nn.LayerNorm(config.decoder_hidden_size, eps=config.layer_norm_eps),
                "decoder_pred": nn.Linear(config.decoder_hidden_size, config.patch_size**2 * config.num_channels),
                **{
                    name: nn.Linear(config.hidden_size, config.hidden_size)
                    for name in ("to_q", "to_k", "to_v", "proj")
                },
            }
        )
        sources = {
            "patch": base.embeddings.patch_embeddings,
            "norm": base.norm,
            "decoder_embed": model.decoder.embed,
            "decoder_norm": model.decoder.norm,
            "decoder_pred": model.decoder.predict,
            "to_q": cross.q_proj,
            "to_k": cross.k_proj,
            "to_v": cross.v_proj,
            "proj": cross.o_proj,
        }
        for name, source in sources.items():
            copies[name].load_state_dict(source.state_dict())
        self.parts = copies
        self.contextual_token = nn.Parameter(base.embeddings.contextual_token.detach().clone())
        self.register_buffer("positions", base.embeddings.position_embeddings.clone())
        self.register_buffer("decoder_positions", model.decoder.position_embeddings.clone())
        self.blocks = self._blocks(
            base.layers,
            config.hidden_size,
            config.num_attention_heads,
            config.intermediate_size,
            config.layer_norm_eps,
        )
        self.decoder_blocks = self._blocks(
            model.decoder.layers,
            config.decoder_hidden_size,
            config.decoder_num_attention_heads,
            config.decoder_intermediate_size,
            config.layer_norm_eps,
        )

    @staticmethod
    def _blocks(layers: nn.ModuleList, *sizes: int | float) -> nn.ModuleList:
        blocks = nn.ModuleList(PlainBlock(*sizes) for _ in layers)
        for block, layer in zip(blocks, layers):
            block.copy_from(layer)
        return blocks

    def encode(self, image: torch.Tensor) -> torch.Tensor:
        patches = self.parts["patch"](image).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.contextual_token.expand(len(image), -1, -1), patches], dim=1) + self.positions
        for block in self.blocks:
            tokens = block(tokens)
        return self.parts["norm"](tokens)

    def attend(self, target: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
        """`(B, 1 + N, D)` twice to `(B, N, D)`."""
        contextual, reference, target = reference[:, :1], reference[:, 1:], target[:, 1:]
        scale = target.shape[-1] ** -0.5
        query, key, value = self.parts["to_q"](reference), self.parts["to_k"](target), self.parts["to_v"](target)
        attention = ((query @ key.transpose(-2, -1)) * scale).softmax(dim=-1)
        diagonal = torch.diagonal(attention, dim1=-2, dim2=-1).unsqueeze(-1)
        interest = torch.sigmoid((reference @ contextual.transpose(1, 2)) * scale)
        return self.parts["proj"](diagonal * target.shape[1] * interest * value)

    def features(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Pair inference: `(B, 2, C, H, W)` to the attended patches `(B, N, D)`."""
        return self.attend(self.encode(pixel_values[:, 0]), self.encode(pixel_values[:, 1]))

    def loss(
        self, pixel_values: torch.Tensor, bool_swapped_pos: torch.Tensor, crop_pixel_values: torch.Tensor
    ) -> torch.Tensor:
        """The pretraining loss with contextual agreement by MSE."""
        target, reference = pixel_values[:, 0], pixel_values[:, 1]
        side = target.shape[-1] // self.patch_size
        mask = F.interpolate(bool_swapped_pos.view(-1, 1, side, side).float(), scale_factor=self.patch_size)
        swapped = target * (1 - mask) + reference * mask
        swapped_states, reference_states = self.encode(swapped), self.encode(reference)
        crop_states = self.encode(crop_pixel_values)
        tokens = self.parts["decoder_embed"](self.attend(swapped_states, reference_states))
        tokens = tokens + self.decoder_positions[:, 1:]
        for block in self.decoder_blocks:
            tokens = block(tokens)
        prediction = self.parts["decoder_pred"](self.parts["decoder_norm"](tokens))
        reconstruction = F.mse_loss(prediction, patchify(target, self.patch_size))
        return reconstruction + F.mse_loss(crop_states[:, 0], reference_states[:, 0])
