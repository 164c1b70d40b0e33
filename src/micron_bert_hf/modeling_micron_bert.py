"""Micron-BERT: two frames of a face in, one feature a patch out, weighted by how the patch compares with itself.

Micron-BERT (CVPR 2023, arXiv 2304.03195), written from the paper; "released code" below is
github.com/uark-cviu/Micron-BERT at commit 58a021b. The file reads small to large: outputs, pure functions, modules,
models. Four things differ from what one expects of a ViT:

* Every model takes PAIRS, `pixel_values (B, 2, C, H, W)`: frame 0 is the target I_t (onset), frame 1 the reference
  I_{t+delta} (apex). Both go through the one encoder in one pass of 2B images.
* Diagonal Micro-Attention (DMA) is a softmax over all patches of which only the diagonal is kept; no N x N matrix is
  stored, forward or backward.
* With `attention_mode="windowed"` (ours, off by default) the comparison comes first and the encoder after it: patches
  are compared with themselves at small displacements on the features of a convolutional stem, and from what was found
  the encoder says where the movement is of interest. The modes share the encoder layers, the heads and the outputs.
* The teacher of `contextual_agreement="self_distillation"` holds its weights as buffers: they are never trained, and
  come back frozen from `from_pretrained`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn as nn
from torch.autograd.function import once_differentiable
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, PreTrainedModel
from transformers.processing_utils import Unpack
from transformers.utils import ModelOutput, TransformersKwargs
from transformers.utils.generic import can_return_tuple, merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from .configuration_micron_bert import MicronBertConfig


# Offset that the released code (and DINO, issue 8 of facebookresearch/dino) adds to the target grid before resizing
# the position table, against rounding; kept because it moves the sampling points, and so the numbers.
POSITION_INTERPOLATION_OFFSET = 0.1
# Variance floor of per-patch pixel normalisation (He et al. 2022, facebookresearch/mae).
PATCH_VARIANCE_EPSILON = 1e-6
# Blockwise sampling as BEiT (Bao et al. 2022): smallest block in patches, and range of the height/width ratio.
BLOCK_MIN_PATCHES = 16
BLOCK_MIN_ASPECT = 0.3
# Elements of one block of attention scores (ours: 2 MiB in float32, the best of 2**17 ... 2**22 on a CPU with 1 MiB of
# L2 per core at N = 784 and 3136), and the fewest rows of a block: with 64 the backward pass at N = 12544 is bound by
# memory.
SCORE_BLOCK_ELEMENTS = 2**19
SCORE_BLOCK_MIN_ROWS = 256
# Elements of the MLP's widest activation when a CPU computes without gradients: the batch goes through in slices of
# rows. Ours: 16 MiB in float32 stays below the 32 MiB from which glibc maps and zeroes fresh pages for every
# allocation; a batch of 8 pairs at 224 px runs 8 % faster than in one piece, a single pair is one slice.
MLP_SLICE_ELEMENTS = 2**22
# Pixels of a stem's cell, and kernels of its two convolutions (ours: half the image's resolution keeps movements of a
# tenth of a pixel findable at a quarter of the cost).
CELL_SIZE = 2
STEM_KERNEL_SIZES = (5, 3)
# What the windowed softmax's mean cosine similarities are multiplied by at first; learnt from there (ours).
INITIAL_WINDOW_SCALE = 60.0
# Pixels below which a difference of displacements is no longer told from none (ours).
END_POINT_ROUNDING = 0.02
# Mean change (in nats, times the score) below which the weights of `pooling="change"` are not brought to mean size 1:
# an identical pair pools to about zero instead of to amplified rounding (ours).
MIN_MEAN_CHANGE = 1e-4


# ------------------------------------------------------------------------------------------------------------ outputs


@dataclass
class MicronBertModelOutput(ModelOutput):
    """
    Args:
        last_hidden_state (`torch.FloatTensor` of shape `(batch_size, num_patches, hidden_size)`):
            The attended patch features P_dma after the cross attention's output projection; no contextual token.
        frame_hidden_states (`torch.FloatTensor` of shape `(batch_size, 2, 1 + num_patches, hidden_size)`, *optional*):
            Encoder output of both frames, final norm applied; token 0 is the contextual token. `None` in windowed
            mode, which encodes the movement instead of the frames.
        diagonal_attention (`torch.FloatTensor` of shape `(batch_size, 1, num_patches)`):
            Diagonal of the cross attention's softmax, in (0, 1); small where a patch changed. Neither rescaled nor
            gated. In windowed mode the attention of a patch to its own place, small where it moved.
        displacement (`torch.FloatTensor` of shape `(batch_size, num_patches, 2)`, *optional*):
            Windowed mode: how far each patch has moved from frame 0 to frame 1, (x, y) in pixels, rightwards and
            downwards positive.
        patch_of_interest (`torch.FloatTensor` of shape `(batch_size, num_patches)`):
            Score of each patch of frame 1 against its contextual token; its range is that of
            `config.patch_of_interest_score`. Computed whether or not it gates.
        cross_attentions (`torch.FloatTensor` of shape `(batch_size, 1, num_patches, num_patches)`, *optional*):
            Only with `attention_mode="full"` and eager attention.
        hidden_states (`tuple(torch.FloatTensor)`, *optional*):
            With `output_hidden_states=True`: `num_hidden_layers + 1` of `(2 * batch_size, 1 + num_patches,
            hidden_size)`; rows 2b and 2b + 1 are the two frames of pair b; before the final norm.
        attentions (`tuple(torch.FloatTensor)`, *optional*):
            With `output_attentions=True` under eager attention: `num_hidden_layers` of
            `(2 * batch_size, num_attention_heads, 1 + num_patches, 1 + num_patches)`. In windowed mode there are
            `batch_size` rows in both.
    """

    last_hidden_state: torch.FloatTensor | None = None
    frame_hidden_states: torch.FloatTensor | None = None
    diagonal_attention: torch.FloatTensor | None = None
    displacement: torch.FloatTensor | None = None
    patch_of_interest: torch.FloatTensor | None = None
    cross_attentions: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None


@dataclass
class MicronBertForPreTrainingOutput(ModelOutput):
    """
    Args:
        loss (`torch.FloatTensor` of shape `()`): Weighted sum of the two parts below (paper, Eq. 13), float32.
        reconstruction_loss (`torch.FloatTensor` of shape `()`): Mean squared error over all patches (Eq. 14).
        contextual_agreement_loss (`torch.FloatTensor` of shape `()`, *optional*): Eq. 15 or the distillation loss;
            `None` when no crop was given or `contextual_agreement="none"`.
        logits (`torch.FloatTensor` of shape `(batch_size, num_patches, patch_size**2 * num_channels)`):
            The reconstruction of frame 0, patches row-major, channel last within a patch.
        bool_swapped_pos (`torch.BoolTensor` of shape `(batch_size, num_patches)`): `True` = the patch came from frame
            1.
        student_logits (`torch.FloatTensor` of shape `(batch_size, num_crops, projection_output_size)`, *optional*)
        teacher_logits (`torch.FloatTensor` of shape `(batch_size, 2, projection_output_size)`, *optional*):
            Pass them to [`~MicronBertForPreTraining.update_center`] after the step.
        displacement_loss (`torch.FloatTensor` of shape `()`, *optional*): Windowed mode: [`end_point_error`] of the
            displacement that was found. `loss` adds that of what the patch of interest leaves of it; the other losses,
            `logits` and `bool_swapped_pos` are `None`.
        last_hidden_state, frame_hidden_states, diagonal_attention, displacement, patch_of_interest, cross_attentions,
            hidden_states, attentions: as in [`MicronBertModelOutput`], for the pair (swapped frame, frame 1).
    """

    loss: torch.FloatTensor | None = None
    reconstruction_loss: torch.FloatTensor | None = None
    contextual_agreement_loss: torch.FloatTensor | None = None
    displacement_loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    bool_swapped_pos: torch.BoolTensor | None = None
    student_logits: torch.FloatTensor | None = None
    teacher_logits: torch.FloatTensor | None = None
    last_hidden_state: torch.FloatTensor | None = None
    frame_hidden_states: torch.FloatTensor | None = None
    diagonal_attention: torch.FloatTensor | None = None
    displacement: torch.FloatTensor | None = None
    patch_of_interest: torch.FloatTensor | None = None
    cross_attentions: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None


@dataclass
class MicronBertForMicroExpressionClassificationOutput(ModelOutput):
    """
    Args:
        loss (`torch.FloatTensor` of shape `()`, *optional*): Cross-entropy, or binary cross-entropy for
            `problem_type="multi_label_classification"` (action units).
        logits (`torch.FloatTensor` of shape `(batch_size, num_labels)`): Scores before softmax or sigmoid.
        diagonal_attention, displacement, patch_of_interest, hidden_states, attentions: as in
            [`MicronBertModelOutput`].
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    diagonal_attention: torch.FloatTensor | None = None
    displacement: torch.FloatTensor | None = None
    patch_of_interest: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None


# ------------------------------------------------------------------------------------------ pure functions: positions


def sincos_position_table(grid_height: int, grid_width: int, hidden_size: int) -> torch.FloatTensor:
    """
    Fixed 2-D sine-cosine positions (He et al. 2022): the first half of the features encodes the column, the second the
    row; each half is sines then cosines of `hidden_size / 4` frequencies 10000^(-k / (hidden_size / 4)).

    Returns:
        `torch.FloatTensor` of shape `(1, 1 + grid_height * grid_width, hidden_size)`: row 0, for the contextual token,
        is zero; patches row-major. Computed in float64, returned in float32.
    """
    frequencies = 10000.0 ** -(torch.arange(hidden_size // 4, dtype=torch.float64, device="cpu") / (hidden_size // 4))
    rows, columns = torch.meshgrid(
        torch.arange(grid_height, dtype=torch.float64, device="cpu"),
        torch.arange(grid_width, dtype=torch.float64, device="cpu"),
        indexing="ij",
    )
    angles = [coordinate.flatten()[:, None] * frequencies for coordinate in (columns, rows)]
    table = torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], dim=1)
    return torch.cat([torch.zeros_like(table[:1]), table]).float()[None]


def interpolate_positions(
    position_embeddings: torch.Tensor, from_grid: tuple[int, int], to_grid: tuple[int, int]
) -> torch.Tensor:
    """
    Bicubic resize of the patch rows of a position table, as the released code does it; the contextual token's row
    stays.

    Args:
        position_embeddings (`torch.Tensor` of shape `(1, 1 + rows * columns, hidden_size)`)
        from_grid, to_grid (`(rows, columns)`)

    Returns:
        `torch.Tensor` of shape `(1, 1 + new_rows * new_columns, hidden_size)`
    """
    if from_grid == to_grid:
        return position_embeddings
    contextual, patches = position_embeddings[:, :1], position_embeddings[:, 1:]
    patches = patches.transpose(1, 2).unflatten(2, from_grid)
    scale = tuple((new + POSITION_INTERPOLATION_OFFSET) / old for new, old in zip(to_grid, from_grid))
    # float32: bicubic has no half-precision kernel on every device
    patches = nn.functional.interpolate(patches.float(), scale_factor=scale, mode="bicubic").to(contextual.dtype)
    return torch.cat([contextual, patches.flatten(2).transpose(1, 2)], dim=1)


# -------------------------------------------------------------------------------- pure functions: patches and swapping


def patchify(pixel_values: torch.Tensor, patch_size: int) -> torch.Tensor:
    """
    Cut images into patches.

    Args:
        pixel_values (`torch.Tensor` of shape `(batch_size, num_channels, height, width)`)
        patch_size (`int`): divides height and width

    Returns:
        `torch.Tensor` of shape `(batch_size, num_patches, patch_size**2 * num_channels)`: patches row-major, pixels
        row-major within a patch, channel last.
    """
    patches = pixel_values.unflatten(3, (-1, patch_size)).unflatten(2, (-1, patch_size))  # B, C, rows, P, columns, P
    return patches.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)


def unpatchify(patches: torch.Tensor, grid: tuple[int, int], patch_size: int) -> torch.Tensor:
    """Inverse of [`patchify`]: `(B, N, P * P * C)` and `(rows, columns)` to `(B, C, rows * P, columns * P)`."""
    pixels = patches.unflatten(2, (patch_size, patch_size, -1)).unflatten(1, grid)  # B, rows, columns, P, P, C
    return pixels.permute(0, 5, 1, 3, 2, 4).flatten(4).flatten(2, 3)


def sample_independent_positions(
    noise: torch.FloatTensor,
    num_swapped: int,
) -> torch.BoolTensor:
    """
    The patches with the lowest noise: every subset of the size is equally likely under uniform noise.

    Args:
        noise (`torch.FloatTensor` of shape `(batch_size, num_patches)`): uniform in [0, 1)
        num_swapped (`int`): how many, in [0, num_patches]

    Returns:
        `torch.BoolTensor` of shape `(batch_size, num_patches)`: `True` = take the patch from frame 1; exactly
        `num_swapped` `True` in every row.
    """
    return noise.argsort(dim=1).argsort(dim=1) < num_swapped


def sample_blockwise_positions(
    noise: torch.FloatTensor, block_noise: torch.FloatTensor, grid: tuple[int, int], num_swapped: int
) -> torch.BoolTensor:
    """
    Rectangles until the count is reached, as BEiT samples them: area uniform between 16 patches and the whole count,
    height/width log-uniform in [0.3, 1/0.3], place uniform. Ours: all candidate rectangles are drawn at
    once, patches are taken in the order of the first rectangle that covers them and the last one is cut where the
    count is full, so that the count is exact and nothing loops over random outcomes.

    Args:
        noise (`torch.FloatTensor` of shape `(batch_size, num_patches)`): uniform; order of patches no rectangle covers
        block_noise (`torch.FloatTensor` of shape `(batch_size, num_blocks, 4)`): uniform; area, ratio, top, left
        grid (`(rows, columns)`)
        num_swapped (`int`): how many, in [0, num_patches]

    Returns:
        `torch.BoolTensor` of shape `(batch_size, num_patches)`, as [`sample_independent_positions`].
    """
    rows, columns = grid
    num_patches, num_blocks = rows * columns, block_noise.shape[1]
    smallest = min(BLOCK_MIN_PATCHES, num_swapped)
    area = smallest + block_noise[..., 0] * (num_swapped - smallest)
    aspect = torch.exp((2 * block_noise[..., 1] - 1) * -math.log(BLOCK_MIN_ASPECT))
    height = (area * aspect).sqrt().round().clamp(1, rows)
    width = (area / aspect).sqrt().round().clamp(1, columns)
    top = (block_noise[..., 2] * (rows - height + 1)).floor()
    left = (block_noise[..., 3] * (columns - width + 1)).floor()

    position = torch.arange(num_patches, device=noise.device)
    row, column = position // columns, position % columns
    covered = (
        (row >= top[..., None])
        & (row < (top + height)[..., None])
        & (column >= left[..., None])
        & (column < (left + width)[..., None])
    )  # B, blocks, N
    none_covers = ~covered.any(dim=1)
    first_block = torch.where(none_covers, num_blocks, covered.to(torch.uint8).argmax(dim=1))
    # the last rectangle is cut from its top or from its bottom, else the swapped patches lean upwards
    from_top = torch.where(noise[:, :1] < 0.5, position, num_patches - 1 - position)
    order_within = torch.where(none_covers, noise.argsort(dim=1).argsort(dim=1), from_top)
    return (first_block * num_patches + order_within).argsort(dim=1).argsort(dim=1) < num_swapped


def sample_swapped_positions(
    batch_size: int,
    grid: tuple[int, int],
    swap_ratio: float,
    swap_sampling: str = "independent",
    device: torch.device | str = "cpu",
    generator: torch.Generator | None = None,
) -> torch.BoolTensor:
    """
    Draw which patches are swapped.

    Args:
        batch_size (`int`)
        grid (`(rows, columns)` of patches)
        swap_ratio (`float` in [0, 1)): `round(swap_ratio * num_patches)` patches are swapped in every row
        swap_sampling (`"independent"` or `"blockwise"`)
        device, generator: where the noise is drawn, and from which generator (the global one if `None`)

    Returns:
        `torch.BoolTensor` of shape `(batch_size, rows * columns)`: `True` = take the patch from frame 1.
    """
    if not 0.0 <= swap_ratio < 1.0:
        raise ValueError(f"`swap_ratio` must be in [0, 1), got {swap_ratio}.")
    if swap_sampling not in ("independent", "blockwise"):
        raise ValueError(f"`swap_sampling` must be independent or blockwise, got {swap_sampling!r}.")
    num_patches = grid[0] * grid[1]
    num_swapped = round(swap_ratio * num_patches)
    # even as None, a generator selects an overload of torch.rand that refuses the symbolic sizes of torch.compile
    source = {"device": device} if generator is None else {"device": device, "generator": generator}
    noise = torch.rand(batch_size, num_patches, **source)
    if swap_sampling == "independent":
        return sample_independent_positions(noise, num_swapped)
    # blocks of the smallest area overlap about half the time: twice the blocks that would tile the count suffices
    num_blocks = 2 * math.ceil(num_patches / BLOCK_MIN_PATCHES)
    block_noise = torch.rand(batch_size, num_blocks, 4, **source)
    return sample_blockwise_positions(noise, block_noise, grid, num_swapped)


def swap_patches(
    target: torch.Tensor, reference: torch.Tensor, bool_swapped_pos: torch.BoolTensor, patch_size: int
) -> torch.Tensor:
    """
    I_{t/s}: the target frame with some patches taken from the same place of the reference frame. One-directional, and
    nothing is written in place (paper, Figs. 2 and 5).

    Args:
        target, reference (`torch.Tensor` of shape `(batch_size, num_channels, height, width)`): frames 0 and 1
        bool_swapped_pos (`torch.BoolTensor` of shape `(batch_size, num_patches)`): `True` = take from `reference`

    Returns:
        `torch.Tensor` of shape `(batch_size, num_channels, height, width)`
    """
    grid = target.shape[2] // patch_size, target.shape[3] // patch_size
    pixels = bool_swapped_pos.unflatten(1, grid).repeat_interleave(patch_size, 1).repeat_interleave(patch_size, 2)
    return torch.where(pixels[:, None], reference, target)


# --------------------------------------------------------------------------------------- pure functions: the attention


def _score_blocks(num_queries: int, num_keys: int) -> list[slice]:
    rows = max(SCORE_BLOCK_MIN_ROWS, SCORE_BLOCK_ELEMENTS // num_keys)
    rows = math.ceil(num_queries / math.ceil(num_queries / rows))  # blocks of one size: the last is not a sliver
    return [slice(start, min(start + rows, num_queries)) for start in range(0, num_queries, rows)]


def _attention_rows(query: torch.Tensor, key: torch.Tensor, scaling: float) -> torch.Tensor:
    """
    Softmax rows `(..., rows, N)`, at least float32, of some queries `(..., rows, D)` against all keys `(..., N, D)`.
    """
    dtype = torch.promote_types(query.dtype, torch.float32)
    return torch.softmax(torch.matmul(query * scaling, key.mT), dim=-1, dtype=dtype)


class _DiagonalAttention(torch.autograd.Function):
    """
    diag(softmax(scaling * Q K^T)) by blocks of rows, in memory linear in N forward and backward.

    With a_i = softmax(s_i)_i, da_i / ds_ij = a_i (1[i = j] - A_ij), so that for the incoming gradient g and w = g * a
        dQ_i = scaling * w_i (k_i - sum_j A_ij k_j)
        dK_j = scaling * (w_j q_j - sum_i A_ij w_i q_i)
    and the rows A_i are recomputed block by block instead of being kept.
    """

    @staticmethod
    def forward(ctx, query: torch.Tensor, key: torch.Tensor, scaling: float) -> torch.Tensor:
        # filled by blocks: pieces in a list would keep their blocks alive, or holes of block size in the heap
        diagonal = torch.empty(
            query.shape[:-1], dtype=torch.promote_types(query.dtype, torch.float32), device=query.device
        )
        for rows in _score_blocks(query.shape[-2], key.shape[-2]):
            diagonal[..., rows] = _attention_rows(query[..., rows, :], key, scaling).diagonal(rows.start, -2, -1)
        ctx.save_for_backward(query, key, diagonal)
        ctx.scaling = scaling
        return diagonal

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: torch.Tensor):
        query, key, diagonal = ctx.saved_tensors
        weight = (gradient * diagonal * ctx.scaling)[..., None].to(query.dtype)
        weighted_query = weight * query
        grad_query = torch.empty_like(query)
        grad_key = weighted_query.to(diagonal.dtype, copy=True)
        for rows in _score_blocks(query.shape[-2], key.shape[-2]):
            attention = _attention_rows(query[..., rows, :], key, ctx.scaling).to(query.dtype)
            grad_query[..., rows, :] = weight[..., rows, :] * (key[..., rows, :] - torch.matmul(attention, key))
            grad_key -= torch.matmul(attention.mT, weighted_query[..., rows, :])
        return grad_query, grad_key.to(key.dtype), None


def diagonal_attention(query: torch.Tensor, key: torch.Tensor, scaling: float) -> torch.FloatTensor:
    """
    The diagonal of the attention matrix, without the matrix (paper, Eqs. 8 and 9): each patch's share of attention to
    itself in the other frame, from a softmax over all patches.

    Args:
        query, key (`torch.Tensor` of shape `(batch_size, num_heads, num_patches, head_dim)`)
        scaling (`float`): multiplies the dot products; the released code uses head_dim ** -0.5

    Returns:
        `torch.FloatTensor` of shape `(batch_size, num_heads, num_patches)`, at least float32, in [0, 1].
    """
    return _DiagonalAttention.apply(query, key, scaling)


def attention_drop(diagonal: torch.FloatTensor, still_diagonal: torch.FloatTensor) -> torch.FloatTensor:
    """
    How much less each patch attends to itself than in a pair without motion, in nats: `log still - log diagonal`, 0
    where nothing changed. The texture of a patch, which moves the diagonal far more than a micro-movement does,
    cancels. Ours. All are `(batch_size, num_patches)`.
    """
    tiny = torch.finfo(diagonal.dtype).tiny
    return still_diagonal.clamp(min=tiny).log() - diagonal.clamp(min=tiny).log()


class _WindowScores(torch.autograd.Function):
    """
    Dot products of every cell with the cells around it, without the products being kept: `out[b, y, x, o] =
    query[b, y, x] . key[b, y + dy(o), x + dx(o)]`, 0 outside of the image.
    """

    @staticmethod
    def forward(ctx, query: torch.Tensor, key: torch.Tensor, window: int) -> torch.Tensor:
        rows, columns = query.shape[1:3]
        padded = nn.functional.pad(key, (0, 0, *(4 * [window // 2])))
        scores = []
        for offset in range(window**2):
            top, left = divmod(offset, window)
            moved = padded[:, top : top + rows, left : left + columns]
            scores.append((query * moved).sum(dim=-1))
        ctx.save_for_backward(query, key)
        ctx.window = window
        # not written into one tensor, which ONNX would copy at each offset; and offset by offset, as they are pooled
        return torch.stack(scores, dim=1).permute(0, 2, 3, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: torch.Tensor):
        query, key = ctx.saved_tensors
        rows, columns = query.shape[1:3]
        radius = ctx.window // 2
        padded = nn.functional.pad(key, (0, 0, *(4 * [radius])))
        grad_query, grad_padded = torch.zeros_like(query), torch.zeros_like(padded)
        for offset in range(ctx.window**2):
            top, left = divmod(offset, ctx.window)
            weight = gradient[..., offset, None].expand_as(query)
            moved = (slice(None), slice(top, top + rows), slice(left, left + columns))
            grad_query.addcmul_(weight, padded[moved])
            grad_padded[moved].addcmul_(weight, query)
        return grad_query, grad_padded[:, radius : radius + rows, radius : radius + columns], None


def window_offsets(window: int) -> torch.FloatTensor:
    """`(window**2, 2)`: the displacements (x, y) that a window compares, in cells; row-major, the middle is (0, 0)."""
    steps = torch.arange(window, dtype=torch.float32, device="cpu") - window // 2
    rows, columns = torch.meshgrid(steps, steps, indexing="ij")
    return torch.stack([columns.flatten(), rows.flatten()], dim=-1)


def windowed_attention(
    query: torch.Tensor, key: torch.Tensor, window: int, cells_per_patch: int, scale: torch.Tensor
) -> torch.FloatTensor:
    """
    Each patch's attention to itself in the other frame, displaced by every step of a window (ours): the dot products
    of its cells with the displaced cells are averaged over twice the patch's side, so that neighbours overlap, and a
    softmax is taken over the displacements.

        weight[p, o] = softmax over o of scale * mean over cells c around p of query[c] . key[c + o]

    Args:
        query, key (`torch.Tensor` of shape `(batch_size, rows, columns, channels)`): cells of frames 0 and 1
        window (`int`): side of the window in cells, odd
        cells_per_patch (`int`): side of a patch in cells, even
        scale (`torch.Tensor` of shape `()`)

    Returns:
        `torch.FloatTensor` of shape `(batch_size, num_patches, window**2)`, at least float32, rows of sum 1; patches
        row-major, displacements as in [`window_offsets`].
    """
    scores = _WindowScores.apply(query, key, window).permute(0, 3, 1, 2)
    scores = nn.functional.avg_pool2d(
        scores, 2 * cells_per_patch, cells_per_patch, padding=cells_per_patch // 2, count_include_pad=False
    )
    dtype = torch.promote_types(query.dtype, torch.float32)
    return torch.softmax(scores.flatten(2).transpose(1, 2) * scale, dim=-1, dtype=dtype)


def relative_displacement(displacement: torch.FloatTensor) -> torch.FloatTensor:
    """
    `(batch_size, num_patches, 2)` less its median over the patches, for x and y: most of a face is still but for the
    movement of the head, which this takes away (as optical-flow methods subtract the nose's motion).
    """
    return displacement - displacement.median(dim=1, keepdim=True).values


def patch_of_interest_score(hidden_states: torch.Tensor, score: str) -> torch.FloatTensor:
    """
    How much each patch has to do with the contextual token of its frame (paper, Fig. 6; its exact form is not
    published, these three are ours).

    Args:
        hidden_states (`torch.Tensor` of shape `(batch_size, 1 + num_patches, hidden_size)`): token 0 is contextual
        score (`"softmax"`, `"cosine"` or `"sigmoid"`)

    Returns:
        `torch.FloatTensor` of shape `(batch_size, num_patches)`, float32. `"softmax"`: softmax over the patches of
        c.p / sqrt(D), sums to 1. `"cosine"`: cosine of c and p, in [-1, 1]. `"sigmoid"`: sigmoid of c.p / sqrt(D).
    """
    hidden_states = hidden_states.float()
    if score == "cosine":
        hidden_states = nn.functional.normalize(hidden_states, dim=-1)
    similarity = torch.matmul(hidden_states[:, 1:], hidden_states[:, 0, :, None])[..., 0]
    if score == "cosine":
        return similarity
    similarity = similarity * hidden_states.shape[-1] ** -0.5
    return torch.softmax(similarity, dim=-1) if score == "softmax" else torch.sigmoid(similarity)


# ----------------------------------------------------------------------------------------- pure functions: the losses


def reconstruction_target(pixel_values: torch.Tensor, patch_size: int, norm_pix_loss: bool) -> torch.FloatTensor:
    """
    The pixels to restore: `(B, C, H, W)` to `(B, N, P * P * C)` in float32; with `norm_pix_loss` each patch has mean 0
    and unbiased variance 1 (He et al. 2022).
    """
    target = patchify(pixel_values, patch_size).float()
    if not norm_pix_loss:
        return target
    variance, mean = torch.var_mean(target, dim=-1, keepdim=True)
    return (target - mean) / (variance + PATCH_VARIANCE_EPSILON).sqrt()


def restored_pixels(
    logits: torch.Tensor, pixel_values: torch.Tensor, patch_size: int, norm_pix_loss: bool
) -> torch.FloatTensor:
    """
    The picture that a decoder restored: `logits (B, N, P * P * C)` to `(B, C, H, W)` in float32. With `norm_pix_loss`
    each patch is given back the mean and variance that [`reconstruction_target`] took out of `pixel_values (B, C, H,
    W)`.
    """
    patches = logits.float()
    if norm_pix_loss:
        target = patchify(pixel_values, patch_size).float()
        variance, mean = torch.var_mean(target, dim=-1, keepdim=True)
        patches = patches * (variance + PATCH_VARIANCE_EPSILON).sqrt() + mean
    grid = pixel_values.shape[-2] // patch_size, pixel_values.shape[-1] // patch_size
    return unpatchify(patches, grid, patch_size)


def patch_displacement(displacement: torch.FloatTensor, patch_size: int) -> torch.FloatTensor:
    """
    The displacement of every pixel `(batch_size, 2, height, width)` averaged over patches: `(batch_size, num_patches,
    2)`, float32, patches row-major.
    """
    return nn.functional.avg_pool2d(displacement.float(), patch_size).flatten(2).transpose(1, 2)


def end_point_error(displacement: torch.FloatTensor, true: torch.FloatTensor) -> torch.FloatTensor:
    """
    Mean length of the difference of two displacements `(batch_size, num_patches, 2)`, in pixels, as optical flow is
    scored; rounded off at 0, where a length has no slope. `torch.FloatTensor` of shape `()`, float32.
    """
    difference = displacement.float() - true.float()
    return (difference.square().sum(dim=-1) + END_POINT_ROUNDING**2).sqrt().mean()


def teacher_temperature_at_epoch(config: MicronBertConfig, epoch: int) -> float:
    """
    Linear from `teacher_warmup_temperature` at epoch 0 to `teacher_temperature` at the last of `teacher_warmup_epochs`
    epochs, constant after (released code).
    """
    if epoch < 0:
        raise ValueError(f"`epoch` must not be negative, got {epoch}.")
    if epoch >= config.teacher_warmup_epochs:
        return config.teacher_temperature
    progress = epoch / max(config.teacher_warmup_epochs - 1, 1)
    return config.teacher_warmup_temperature + progress * (
        config.teacher_temperature - config.teacher_warmup_temperature
    )


def self_distillation_loss(
    student_logits: torch.Tensor,
    teacher_logits: torch.Tensor,
    center: torch.Tensor,
    student_temperature: float,
    teacher_temperature: float,
) -> torch.FloatTensor:
    """
    DINO's cross-entropy (Caron et al. 2021) between each global view of the teacher and every OTHER view of the
    student:

        for i in the two global views, v in all views, v != i:
            total += mean over b of -sum_p softmax((teacher[b, i] - center) / T_t)_p * log_softmax(student[b, v] /
            T_s)_p
        loss = total / number of terms

    Args:
        student_logits (`torch.Tensor` of shape `(batch_size, num_crops, num_prototypes)`): crops 0 and 1 are global
        teacher_logits (`torch.Tensor` of shape `(batch_size, 2, num_prototypes)`): no gradient flows into them
        center (`torch.Tensor` of shape `(1, num_prototypes)`)

    Returns:
        `torch.FloatTensor` of shape `()`, float32.
    """
    num_crops = student_logits.shape[1]
    teacher = torch.softmax((teacher_logits.detach().float() - center.float()) / teacher_temperature, dim=-1)
    student = torch.log_softmax(student_logits.float() / student_temperature, dim=-1)
    cross_entropy = -torch.matmul(teacher, student.mT)  # B, 2, crops
    other_view = ~torch.eye(2, num_crops, dtype=torch.bool, device=cross_entropy.device)
    return (cross_entropy * other_view).sum(dim=(1, 2)).mean() / (2 * num_crops - 2)


def updated_center(center: torch.Tensor, batch_mean: torch.Tensor, momentum: float) -> torch.Tensor:
    """
    EMA of the teacher's mean logits: `momentum * center + (1 - momentum) * batch_mean`, all `(1, num_prototypes)`.
    """
    return center * momentum + batch_mean * (1.0 - momentum)


def classification_loss(
    logits: torch.FloatTensor, labels: torch.Tensor, problem_type: str | None = None
) -> torch.FloatTensor:
    """
    Cross-entropy of one label per pair, or binary cross-entropy of several (action units).

    Args:
        logits (`torch.FloatTensor` of shape `(batch_size, num_labels)`)
        labels: `torch.LongTensor` of shape `(batch_size,)` in [0, num_labels), or, for several labels, `torch.Tensor`
            of shape `(batch_size, num_labels)` with values in [0, 1]
        problem_type (`"single_label_classification"`, `"multi_label_classification"`, *optional*): told from the shape
            of `labels` when `None`

    Returns:
        `torch.FloatTensor` of shape `()`: mean over the batch.

    Raises:
        ValueError: labels of another shape or outside the classes.
    """
    batch_size, num_labels = logits.shape
    if problem_type is None:
        problem_type = "single_label_classification" if labels.ndim == 1 else "multi_label_classification"
    if problem_type == "multi_label_classification":
        if labels.shape != logits.shape:
            raise ValueError(f"Multi-label `labels` must be {tuple(logits.shape)}, got {tuple(labels.shape)}.")
        if not torch.compiler.is_compiling() and not bool(((labels >= 0) & (labels <= 1)).all()):
            raise ValueError(f"Multi-label `labels` must lie in [0, 1], got {labels.tolist()}.")
        return nn.functional.binary_cross_entropy_with_logits(logits.float(), labels.float())
    if problem_type != "single_label_classification":
        raise ValueError(
            f"`problem_type` must be single_label_classification or multi_label_classification, got {problem_type}."
        )
    if labels.shape != (batch_size,) or labels.is_floating_point():
        raise ValueError(f"`labels` must be ({batch_size},) integers, got {tuple(labels.shape)} of {labels.dtype}.")
    if not torch.compiler.is_compiling() and not bool(((labels >= 0) & (labels < num_labels)).all()):
        raise ValueError(f"`labels` must lie in [0, {num_labels}), got {labels.tolist()}.")
    return nn.functional.cross_entropy(logits.float(), labels)


def check_frames(pixel_values: torch.Tensor, config: MicronBertConfig, leading: tuple[str | int, ...]) -> None:
    """
    Refuse what the model cannot take, naming what was given and what was expected. `leading` stands for the dimensions
    before `(channels, height, width)`: a name for any size, a number for exactly that size.

    Raises:
        ValueError: wrong number of dimensions, channels, dtype; sides that the patch does not divide; NaN or infinity.
    """
    expected = f"({', '.join(map(str, leading))}, {config.num_channels}, height, width)"
    if not isinstance(pixel_values, torch.Tensor):
        raise ValueError(f"Expected frames as a tensor of shape {expected}, got {type(pixel_values).__name__}.")
    shape = tuple(pixel_values.shape)
    fixed = (*leading, config.num_channels, "height", "width")
    if len(shape) != len(fixed) or any(isinstance(size, int) and size != given for size, given in zip(fixed, shape)):
        raise ValueError(f"Expected frames of shape {expected}, got {shape}.")
    if 0 in shape:
        raise ValueError(f"Expected at least one frame pair, got an empty tensor of shape {shape}.")
    if shape[-2] % config.patch_size != 0 or shape[-1] % config.patch_size != 0:
        raise ValueError(f"Image size {shape[-2:]} is not divisible by the patch size {config.patch_size}.")
    if not pixel_values.is_floating_point():
        raise ValueError(
            f"Expected floating-point frames, as the image processor makes them, got {pixel_values.dtype}."
        )
    has_values = not torch.compiler.is_compiling() and not pixel_values.is_meta
    if has_values and not bool(torch.isfinite(pixel_values).all()):
        raise ValueError("The frames contain NaN or infinite pixels; every pixel must be finite.")


# ----------------------------------------------------------------------------------------------------------- modules


class MicronBertEmbeddings(nn.Module):
    """Patches to tokens: linear projection, contextual token in front, fixed positions added."""

    def __init__(self, config: MicronBertConfig):
        super().__init__()
        self.patch_size = config.patch_size
        self.patch_grid = config.patch_grid
        self.patch_embeddings = nn.Conv2d(
            config.num_channels, config.hidden_size, kernel_size=config.patch_size, stride=config.patch_size
        )
        self.contextual_token = nn.Parameter(torch.zeros(1, 1, config.hidden_size))
        # a function of the config, so not saved; NaN until `_init_weights` fills it, so that forgetting fails loudly
        num_positions = 1 + self.patch_grid[0] * self.patch_grid[1]
        self.register_buffer(
            "position_embeddings", torch.full((1, num_positions, config.hidden_size), math.nan), persistent=False
        )

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        grid = pixel_values.shape[2] // self.patch_size, pixel_values.shape[3] // self.patch_size
        positions = interpolate_positions(self.position_embeddings, self.patch_grid, grid)
        patches = self.patch_embeddings(pixel_values.to(self.patch_embeddings.weight.dtype))
        contextual = (self.contextual_token + positions[:, :1]).expand(pixel_values.shape[0], -1, -1)
        return torch.cat([contextual, patches.flatten(2).transpose(1, 2) + positions[:, 1:]], dim=1)


class MicronBertStem(nn.Module):
    """Frames `(N, C, H, W)` to cells `(N, H / 2, W / 2, stem_output_size)` of unit length."""

    def __init__(self, config: MicronBertConfig):
        super().__init__()
        first, second = STEM_KERNEL_SIZES
        width = config.stem_hidden_size
        self.conv1 = nn.Conv2d(config.num_channels, width, first, stride=CELL_SIZE, padding=first // 2)
        self.conv2 = nn.Conv2d(width, width, second, padding=second // 2)
        self.project = nn.Conv2d(width, config.stem_output_size, 1)
        self.activation_fn = nn.GELU()

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        cells = self.activation_fn(self.conv1(pixel_values.to(self.conv1.weight.dtype)))
        cells = self.project(self.activation_fn(self.conv2(cells)))
        return nn.functional.normalize(cells.permute(0, 2, 3, 1), dim=-1)


class WindowedDiagonalAttention(nn.Module):
    """
    Diagonal micro-attention with the softmax over a neighbourhood instead of over all patches (ours): what is kept is
    not one number a patch but how well it matches itself at each small displacement, so that direction is found and
    movements far below a pixel count. See [`windowed_attention`].
    """

    def __init__(self, config: MicronBertConfig):
        super().__init__()
        self.window = config.attention_window
        self.cells_per_patch = config.patch_size // CELL_SIZE
        self.stem = MicronBertStem(config)
        self.log_scale = nn.Parameter(torch.full((1,), math.nan))
        self.register_buffer("offsets", torch.full((self.window**2, 2), math.nan), persistent=False)

    def forward(
        self, target_cells: torch.Tensor, reference_cells: torch.Tensor
    ) -> tuple[torch.FloatTensor, torch.FloatTensor]:
        """
        Args:
            target_cells, reference_cells (`torch.Tensor` of shape `(batch_size, rows, columns, channels)`): of the
                stem, frames 0 and 1

        Returns:
            The weights `(batch_size, num_patches, window**2)` and the displacement `(batch_size, num_patches, 2)` in
            pixels that they mean, (x, y) from frame 0 to frame 1.
        """
        weights = windowed_attention(
            target_cells.contiguous(),
            reference_cells.contiguous(),
            self.window,
            self.cells_per_patch,
            self.log_scale.exp(),
        )
        return weights, CELL_SIZE * torch.matmul(weights, self.offsets.to(weights.dtype))


class MicronBertMovementEmbeddings(nn.Module):
    """What each patch was found to do to tokens: linear projection, contextual token in front, positions added."""

    def __init__(self, config: MicronBertConfig):
        super().__init__()
        self.patch_grid = config.patch_grid
        self.project = nn.Linear(2 + config.attention_window**2, config.hidden_size)
        self.contextual_token = nn.Parameter(torch.zeros(1, 1, config.hidden_size))
        num_positions = 1 + self.patch_grid[0] * self.patch_grid[1]
        self.register_buffer(
            "position_embeddings", torch.full((1, num_positions, config.hidden_size), math.nan), persistent=False
        )

    def forward(self, movement: torch.Tensor, weights: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
        """
        Args:
            movement (`torch.Tensor` of shape `(batch_size, num_patches, 2)`): in pixels
            weights (`torch.Tensor` of shape `(batch_size, num_patches, window**2)`): flat ones say that a patch has
                nothing to be found by
        """
        positions = interpolate_positions(self.position_embeddings, self.patch_grid, grid)
        # uniform weights are 0, as no movement is
        found = torch.cat([movement, weights * weights.shape[-1] - 1.0], dim=-1)
        tokens = self.project(found.to(self.project.weight.dtype)) + positions[:, 1:]
        contextual = (self.contextual_token + positions[:, :1]).expand(tokens.shape[0], -1, -1)
        return torch.cat([contextual, tokens], dim=1)


def eager_attention_forward(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs: Unpack[TransformersKwargs],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention in the open: `(B, heads, queries, D)` to `(B, queries, heads, D)` and the weights."""
    attention = torch.matmul(query, key.transpose(2, 3)) * scaling
    attention = torch.softmax(attention, dim=-1, dtype=torch.float32).to(query.dtype)
    attention = nn.functional.dropout(attention, p=dropout, training=module.training)
    return torch.matmul(attention, value).transpose(1, 2).contiguous(), attention


class MicronBertAttention(nn.Module):
    """Multi-head self-attention of some tokens (the queries) over all tokens of an image."""

    def __init__(self, config: MicronBertConfig, hidden_size: int, num_attention_heads: int):
        super().__init__()
        self.config = config
        self.head_dim = hidden_size // num_attention_heads
        self.scaling = self.head_dim**-0.5
        self.attention_dropout = config.attention_probs_dropout_prob
        self.is_causal = False
        self.q_proj = nn.Linear(hidden_size, hidden_size, bias=config.qkv_bias)
        self.k_proj = nn.Linear(hidden_size, hidden_size, bias=config.qkv_bias)
        self.v_proj = nn.Linear(hidden_size, hidden_size, bias=config.qkv_bias)
        self.o_proj = nn.Linear(hidden_size, hidden_size)

    def forward(
        self, query_states: torch.Tensor, hidden_states: torch.Tensor, **kwargs: Unpack[TransformersKwargs]
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        query, key, value = (
            projection(states).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
            for projection, states in (
                (self.q_proj, query_states),
                (self.k_proj, hidden_states),
                (self.v_proj, hidden_states),
            )
        )
        attention_interface: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        attention_output, attention_weights = attention_interface(
            self,
            query,
            key,
            value,
            attention_mask=None,
            dropout=self.attention_dropout if self.training else 0.0,
            scaling=self.scaling,
            **kwargs,
        )
        return self.o_proj(attention_output.flatten(2)), attention_weights


class MicronBertMLP(nn.Module):
    def __init__(self, config: MicronBertConfig, hidden_size: int, intermediate_size: int):
        super().__init__()
        self.fc1 = nn.Linear(hidden_size, intermediate_size)
        self.activation_fn = ACT2FN[config.hidden_act]
        self.fc2 = nn.Linear(intermediate_size, hidden_size)
        self.rows_at_once = max(1, MLP_SLICE_ELEMENTS // intermediate_size)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled() or hidden_states.device.type != "cpu" or torch.compiler.is_compiling():
            return self.fc2(self.activation_fn(self.fc1(hidden_states)))
        slices = hidden_states.flatten(0, -2).split(self.rows_at_once)
        return torch.cat([self.fc2(self.activation_fn(self.fc1(rows))) for rows in slices]).view_as(hidden_states)


class MicronBertLayer(GradientCheckpointingLayer):
    """Pre-norm transformer layer, of the encoder or of the decoder."""

    def __init__(self, config: MicronBertConfig, hidden_size: int, num_attention_heads: int, intermediate_size: int):
        super().__init__()
        self.layernorm_before = nn.LayerNorm(hidden_size, eps=config.layer_norm_eps)
        self.attention = MicronBertAttention(config, hidden_size, num_attention_heads)
        self.layernorm_after = nn.LayerNorm(hidden_size, eps=config.layer_norm_eps)
        self.mlp = MicronBertMLP(config, hidden_size, intermediate_size)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(
        self, hidden_states: torch.Tensor, num_queries: int | None = None, **kwargs: Unpack[TransformersKwargs]
    ) -> torch.Tensor:
        """
        `(B, tokens, D)` to the same; with `num_queries` only the first tokens come out, attending to all of them.
        """
        normed = self.layernorm_before(hidden_states)
        attention_output, _ = self.attention(normed[:, :num_queries], normed, **kwargs)
        hidden_states = hidden_states[:, :num_queries] + self.dropout(attention_output)
        return hidden_states + self.dropout(self.mlp(self.layernorm_after(hidden_states)))


class MicronBertDecoderLayer(MicronBertLayer):
    """A layer of its own name, so that `output_hidden_states` records the encoder's layers only."""


def encode(
    embeddings: MicronBertEmbeddings,
    layers: nn.ModuleList,
    norm: nn.LayerNorm,
    pixel_values: torch.Tensor,
    contextual_only: bool = False,
    **kwargs: Unpack[TransformersKwargs],
) -> torch.Tensor:
    """
    One encoder for every view: frames, swapped frames and crops, of the student and of the teacher.

    Args:
        pixel_values (`torch.Tensor` of shape `(images, num_channels, height, width)`)
        contextual_only (`bool`): the last layer computes only the contextual token (a fifth of the layers' work at
            depth 4 is never needed for a crop)

    Returns:
        `torch.Tensor` of shape `(images, 1 + num_patches, hidden_size)`, or `(images, 1, hidden_size)`; normed.
    """
    return encode_tokens(layers, norm, embeddings(pixel_values), contextual_only, **kwargs)


def encode_tokens(
    layers: nn.ModuleList,
    norm: nn.LayerNorm,
    hidden_states: torch.Tensor,
    contextual_only: bool = False,
    **kwargs: Unpack[TransformersKwargs],
) -> torch.Tensor:
    """[`encode`] from tokens `(images, 1 + num_patches, hidden_size)`."""
    for layer in layers[:-1]:
        hidden_states = layer(hidden_states, **kwargs)
    hidden_states = layers[-1](hidden_states, num_queries=1 if contextual_only else None, **kwargs)
    return norm(hidden_states)


class DiagonalMicroAttention(nn.Module):
    """
    Diagonal Micro-Attention (DMA) with its Patch-of-Interest (PoI) gate: P_dma = diag(A) x S x V (paper, Eqs. 8 and 9
    and Fig. 6), A the softmax of single-head cross attention between the patches of two frames, S the patches' score
    against the contextual token; then an output projection. `config.attention_mode="full"` keeps the whole of A.
    """

    def __init__(self, config: MicronBertConfig):
        super().__init__()
        self.config = config
        self.scaling = config.hidden_size**-0.5
        self.is_causal = False
        self.q_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=config.qkv_bias)
        self.k_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=config.qkv_bias)
        self.v_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=config.qkv_bias)
        self.o_proj = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(
        self, target_states: torch.Tensor, reference_states: torch.Tensor, patch_of_interest: torch.FloatTensor
    ) -> tuple[torch.Tensor, torch.FloatTensor, torch.Tensor | None]:
        """
        Args:
            target_states, reference_states (`torch.Tensor` of shape `(batch_size, num_patches, hidden_size)`)
            patch_of_interest (`torch.FloatTensor` of shape `(batch_size, num_patches)`)

        Returns:
            The attended patches `(batch_size, num_patches, hidden_size)`, the diagonal `(batch_size, 1, num_patches)`,
            and in full mode under eager attention the weights `(batch_size, 1, num_patches, num_patches)`.
        """
        by_reference = self.config.query_frame == "reference"
        query_states, key_states = (
            (reference_states, target_states) if by_reference else (target_states, reference_states)
        )
        query, key = self.q_proj(query_states)[:, None], self.k_proj(key_states)[:, None]
        value = self.v_proj(target_states)

        if self.config.attention_mode == "full":
            attended, weights = self._full_attention(query, key, value[:, None])
            diagonal = (
                diagonal_attention(query, key, self.scaling) if weights is None else weights.diagonal(0, 2, 3).float()
            )
            gate = torch.ones_like(patch_of_interest)
            rescale = 1
        else:
            attended, weights = value, None
            diagonal = diagonal_attention(query, key, self.scaling)
            rescale = diagonal.shape[-1] if self.config.rescale_attention else 1
            gate = diagonal[:, 0] * rescale
        if self.config.use_patch_of_interest:
            is_distribution = self.config.patch_of_interest_score == "softmax"
            gate = gate * patch_of_interest * (rescale if is_distribution else 1)
        return self.o_proj(gate[..., None].to(attended.dtype) * attended), diagonal, weights

    def still_diagonal(self, target_states: torch.Tensor) -> torch.FloatTensor:
        """The diagonal `(batch_size, num_patches)` of frame 0 with itself: what it would be had nothing moved."""
        query, key = self.q_proj(target_states)[:, None], self.k_proj(target_states)[:, None]
        return diagonal_attention(query, key, self.scaling)[:, 0]

    def _full_attention(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor):
        # one head as wide as the model: beyond the 256 that flash kernels take, so sdpa stands in for them
        eager = self.config._attn_implementation == "eager"
        attention_interface = eager_attention_forward if eager else ALL_ATTENTION_FUNCTIONS["sdpa"]
        attended, weights = attention_interface(self, query, key, value, attention_mask=None, scaling=self.scaling)
        return attended.flatten(2), weights


class MicronBertDecoder(nn.Module):
    """Attended patches to pixels: `(B, N, hidden_size)` to `(B, N, patch_size**2 * num_channels)`."""

    def __init__(self, config: MicronBertConfig):
        super().__init__()
        width = config.decoder_hidden_size
        self.patch_grid = config.patch_grid
        self.embed = nn.Linear(config.hidden_size, width)
        num_positions = 1 + self.patch_grid[0] * self.patch_grid[1]
        self.register_buffer("position_embeddings", torch.full((1, num_positions, width), math.nan), persistent=False)
        self.layers = nn.ModuleList(
            [
                MicronBertDecoderLayer(
                    config, width, config.decoder_num_attention_heads, config.decoder_intermediate_size
                )
                for _ in range(config.decoder_num_hidden_layers)
            ]
        )
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.predict = nn.Linear(width, config.patch_size**2 * config.num_channels)

    def forward(self, hidden_states: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
        positions = interpolate_positions(self.position_embeddings, self.patch_grid, grid)
        hidden_states = self.embed(hidden_states) + positions[:, 1:]
        for layer in self.layers:
            hidden_states = layer(hidden_states)
        return self.predict(self.norm(hidden_states))


class MicronBertPositionPooling(nn.Module):
    """
    Patches `(B, N, hidden_size)` to `(B, classifier_hidden_size)` with each in its place: a mouth corner that rises
    and a brow that rises are not the same.
    """

    def __init__(self, config: MicronBertConfig):
        super().__init__()
        rows, columns = config.patch_grid
        self.num_patches = rows * columns
        self.reduce = nn.Linear(config.hidden_size, config.pooled_size)
        self.input_norm = nn.LayerNorm(self.num_patches * config.pooled_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.hidden = nn.Linear(self.num_patches * config.pooled_size, config.classifier_hidden_size)
        self.hidden_norm = nn.LayerNorm(config.classifier_hidden_size, eps=config.layer_norm_eps)
        self.activation_fn = nn.GELU()

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        if hidden_states.shape[1] != self.num_patches:
            raise ValueError(
                f"`pooling` positions reads {self.num_patches} patches side by side, got {hidden_states.shape[1]};"
                " give frames of the config's `image_size`."
            )
        pooled = self.dropout(self.input_norm(self.reduce(hidden_states).flatten(1)))
        return self.activation_fn(self.hidden_norm(self.hidden(pooled)))


class MicronBertProjectionHead(nn.Module):
    """
    DINO's head: three linear layers, L2 normalisation, and a weight-normed last layer (each prototype is a direction
    of fixed magnitude). `(B, hidden_size)` to `(B, projection_output_size)`.
    """

    def __init__(self, config: MicronBertConfig):
        super().__init__()
        width, bottleneck = config.projection_hidden_size, config.projection_bottleneck_size
        self.fc1 = nn.Linear(config.hidden_size, width)
        self.fc2 = nn.Linear(width, width)
        self.fc3 = nn.Linear(width, bottleneck)
        self.activation_fn = nn.GELU()
        self.prototypes = nn.Linear(bottleneck, config.projection_output_size, bias=False)
        # DINO fixes the magnitudes at 1 for stability; a checkpoint may carry others
        self.register_buffer("prototype_magnitudes", torch.full((config.projection_output_size, 1), math.nan))

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        hidden_states = self.activation_fn(self.fc1(hidden_states))
        hidden_states = self.fc3(self.activation_fn(self.fc2(hidden_states)))
        hidden_states = nn.functional.normalize(hidden_states, dim=-1)
        directions = nn.functional.normalize(self.prototypes.weight, dim=-1)
        return nn.functional.linear(hidden_states, self.prototype_magnitudes * directions)


def _encoder_layers(config: MicronBertConfig) -> nn.ModuleList:
    return nn.ModuleList(
        [
            MicronBertLayer(config, config.hidden_size, config.num_attention_heads, config.intermediate_size)
            for _ in range(config.num_hidden_layers)
        ]
    )


class MicronBertTeacher(nn.Module):
    """
    Encoder and head that follow the student by EMA. Its weights are buffers: no gradient, no optimiser sees them.
    """

    def __init__(self, config: MicronBertConfig):
        super().__init__()
        self.embeddings = MicronBertEmbeddings(config)
        self.layers = _encoder_layers(config)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.projection_head = MicronBertProjectionHead(config)
        for module in self.modules():
            for name, parameter in list(module.named_parameters(recurse=False)):
                delattr(module, name)
                module.register_buffer(name, parameter.detach())

    def train(self, mode: bool = True):
        """A teacher never drops units, whatever the student does."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, pixel_values: torch.Tensor, **kwargs: Unpack[TransformersKwargs]) -> torch.Tensor:
        contextual = encode(self.embeddings, self.layers, self.norm, pixel_values, contextual_only=True, **kwargs)
        return self.projection_head(contextual[:, 0])


# ------------------------------------------------------------------------------------------------------------ models


class MicronBertPreTrainedModel(PreTrainedModel):
    config: MicronBertConfig
    base_model_prefix = "micron_bert"
    main_input_name = "pixel_values"
    input_modalities = ("video",)
    supports_gradient_checkpointing = True
    _no_split_modules = ["MicronBertEmbeddings", "MicronBertLayer", "MicronBertDecoderLayer", "DiagonalMicroAttention"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True
    # an EMA step is smaller than half precision resolves
    _keep_in_fp32_modules_strict = ["teacher", "center"]
    _can_record_outputs = {"hidden_states": MicronBertLayer, "attentions": MicronBertAttention}
    # losses here are means over the batch: Trainer must not divide them by the number of items again
    accepts_loss_kwargs = False

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            # Xavier uniform, the patch projection as the linear layer it is (He et al. 2022; released code)
            fan_out, fan_in = module.weight.shape[0], module.weight[0].numel()
            bound = math.sqrt(6.0 / (fan_in + fan_out))
            init.uniform_(module.weight, -bound, bound)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, (MicronBertEmbeddings, MicronBertMovementEmbeddings)):
            init.normal_(module.contextual_token, std=self.config.initializer_range)
            init.copy_(module.position_embeddings, sincos_position_table(*module.patch_grid, self.config.hidden_size))
        elif isinstance(module, WindowedDiagonalAttention):
            init.constant_(module.log_scale, math.log(INITIAL_WINDOW_SCALE))
            init.copy_(module.offsets, window_offsets(module.window))
        elif isinstance(module, MicronBertDecoder):
            table = sincos_position_table(*module.patch_grid, self.config.decoder_hidden_size)
            init.copy_(module.position_embeddings, table)
        elif isinstance(module, MicronBertProjectionHead):
            init.ones_(module.prototype_magnitudes)
        elif isinstance(module, MicronBertForPreTraining) and module.teacher is not None:
            init.zeros_(module.center)


class MicronBertModel(MicronBertPreTrainedModel):
    """The encoder and Diagonal Micro-Attention: what both pretraining and classification stand on."""

    def __init__(self, config: MicronBertConfig):
        super().__init__(config)
        self.windowed_attention = self.movement_value = self.diagonal_micro_attention = None
        if config.attention_mode == "windowed":
            self.windowed_attention = WindowedDiagonalAttention(config)
            # without a bias: where nothing moves there is nothing to say
            self.movement_value = nn.Linear(2, config.hidden_size, bias=False)
        else:
            self.diagonal_micro_attention = DiagonalMicroAttention(config)
        # in windowed mode the encoder has one task, the patch of interest
        self.embeddings = self.layers = self.norm = None
        if self.windowed_attention is None or config.use_patch_of_interest:
            is_windowed = self.windowed_attention is not None
            self.embeddings = MicronBertMovementEmbeddings(config) if is_windowed else MicronBertEmbeddings(config)
            self.layers = _encoder_layers(config)
            self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()

    @merge_with_config_defaults
    @capture_outputs(tie_last_hidden_states=False)
    def forward(
        self, pixel_values: torch.FloatTensor, **kwargs: Unpack[TransformersKwargs]
    ) -> MicronBertModelOutput | tuple:
        r"""
        Args:
            pixel_values (`torch.FloatTensor` of shape `(batch_size, 2, num_channels, height, width)`):
                Frame 0 is the target (onset, or swapped frame), frame 1 the reference (apex).
        """
        check_frames(pixel_values, self.config, ("batch", 2))
        frames = self.encode_frames(pixel_values.flatten(0, 1), **kwargs).unflatten(0, (-1, 2))
        outputs = self.compare_frames(*frames.unbind(1), **kwargs)
        # here, where both frames are one tensor already
        tokens = frames if self.windowed_attention is None else None
        return MicronBertModelOutput(**{**outputs, "frame_hidden_states": tokens})

    def encode_frames(self, frames: torch.FloatTensor, **kwargs: Unpack[TransformersKwargs]) -> torch.Tensor:
        """
        All that a frame says by itself, so that in a clip each is encoded once however many it is compared with.

        Args:
            frames (`torch.FloatTensor` of shape `(images, num_channels, height, width)`)

        Returns:
            Tokens `(images, 1 + num_patches, hidden_size)`, token 0 the contextual one; in windowed mode cells
            `(images, rows, columns, channels)`.
        """
        check_frames(frames, self.config, ("images",))
        if self.windowed_attention is not None:
            return self.windowed_attention.stem(frames)
        return encode(self.embeddings, self.layers, self.norm, frames, **kwargs)

    def compare_frames(
        self, target: torch.Tensor, reference: torch.Tensor, **kwargs: Unpack[TransformersKwargs]
    ) -> MicronBertModelOutput:
        """
        Args:
            target, reference: of [`encode_frames`], frames 0 and 1 of each pair

        Returns:
            The output of `forward`, without `frame_hidden_states`.
        """
        if self.windowed_attention is not None:
            return self._compare_cells(target, reference, **kwargs)
        patch_of_interest = patch_of_interest_score(reference, self.config.patch_of_interest_score)
        last_hidden_state, diagonal, cross_attentions = self.diagonal_micro_attention(
            target[:, 1:], reference[:, 1:], patch_of_interest
        )
        return MicronBertModelOutput(
            last_hidden_state=last_hidden_state,
            diagonal_attention=diagonal,
            patch_of_interest=patch_of_interest,
            cross_attentions=cross_attentions,
        )

    def still_diagonal(self, target: torch.Tensor) -> torch.FloatTensor:
        """
        Args:
            target: of [`encode_frames`]

        Returns:
            `(batch_size, num_patches)`: the diagonal of each frame with itself, what it would be had nothing moved.
        """
        if self.windowed_attention is None:
            return self.diagonal_micro_attention.still_diagonal(target[:, 1:])
        weights, _ = self.windowed_attention(target, target)
        return weights[..., weights.shape[-1] // 2]

    def _compare_cells(
        self, target: torch.Tensor, reference: torch.Tensor, **kwargs: Unpack[TransformersKwargs]
    ) -> MicronBertModelOutput:
        """Windowed mode: P = S x V, with the movement as the value; the encoder says where it is of interest."""
        weights, displacement = self.windowed_attention(target, reference)
        cells_per_patch = self.windowed_attention.cells_per_patch
        grid = target.shape[1] // cells_per_patch, target.shape[2] // cells_per_patch
        movement = relative_displacement(displacement)
        last_hidden_state = self.movement_value(movement.to(self.movement_value.weight.dtype))
        patch_of_interest = torch.ones_like(displacement[..., 0])
        if self.config.use_patch_of_interest:
            hidden_states = encode_tokens(self.layers, self.norm, self.embeddings(movement, weights, grid), **kwargs)
            patch_of_interest = patch_of_interest_score(hidden_states, self.config.patch_of_interest_score)
            # as in DiagonalMicroAttention: a distribution over the patches is brought to mean 1
            rescale = grid[0] * grid[1] if self.config.patch_of_interest_score == "softmax" else 1
            gate = rescale * patch_of_interest[..., None]
            last_hidden_state = gate.to(last_hidden_state.dtype) * last_hidden_state
        return MicronBertModelOutput(
            last_hidden_state=last_hidden_state,
            diagonal_attention=weights[:, None, :, weights.shape[-1] // 2],
            displacement=displacement,
            patch_of_interest=patch_of_interest,
        )


class MicronBertForPreTraining(MicronBertPreTrainedModel):
    """
    Self-supervised pretraining: swap patches between the two frames, restore frame 0 from the swapped frame and frame
    1, and let the contextual token of frame 1 agree with that of its crop. In windowed mode: find the displacement
    between a frame and its displaced copy, and say by the patch of interest where what was found is to be trusted.

    The self-distillation teacher and its centre are moved by the training loop, after the optimiser's step, with
    [`~MicronBertForPreTraining.update_teacher`] and [`~MicronBertForPreTraining.update_center`]; `forward` changes no
    state.
    """

    def __init__(self, config: MicronBertConfig):
        super().__init__(config)
        self.micron_bert = MicronBertModel(config)
        self.decoder = self.displacement_head = self.projection_head = self.teacher = None
        if config.attention_mode == "windowed":
            self.displacement_head = nn.Linear(config.hidden_size, 2, bias=False)
        else:
            self.decoder = MicronBertDecoder(config)
        if config.contextual_agreement == "self_distillation" and self.decoder is not None:
            self.projection_head = MicronBertProjectionHead(config)
            self.teacher = MicronBertTeacher(config)
            self.register_buffer("center", torch.full((1, config.projection_output_size), math.nan))
        self.post_init()
        if self.teacher is not None:
            self.reset_teacher()

    @classmethod
    def from_pretrained(cls, *args, output_loading_info: bool = False, **kwargs):
        """As in every model; a teacher missing from the folder (an encoder's, say) starts as the student."""
        model, report = super().from_pretrained(*args, output_loading_info=True, **kwargs)
        if model.teacher is not None and any(name.startswith("teacher.") for name in report["missing_keys"]):
            model.reset_teacher()
        return (model, report) if output_loading_info else model

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.FloatTensor,
        bool_swapped_pos: torch.BoolTensor | None = None,
        crop_pixel_values: torch.FloatTensor | Sequence[torch.FloatTensor] | None = None,
        displacement: torch.FloatTensor | None = None,
        teacher_temperature: float | None = None,
        return_loss: bool = True,
        **kwargs: Unpack[TransformersKwargs],
    ) -> MicronBertForPreTrainingOutput | tuple:
        r"""
        Args:
            pixel_values (`torch.FloatTensor` of shape `(batch_size, 2, num_channels, height, width)`):
                Frame 0 is I_t, which is restored; frame 1 is I_{t+delta}.
            bool_swapped_pos (`torch.BoolTensor` of shape `(batch_size, num_patches)`, *optional*):
                `True` = take the patch from frame 1. Drawn from the global generator when `None`; an all-`False` mask
                leaves frame 0 as it is.
            crop_pixel_values (`torch.FloatTensor` of shape `(batch_size, num_channels, h, w)` or `(batch_size,
                num_crops, num_channels, h, w)`, or a sequence of the latter with different sizes, *optional*):
                Random crops of frame 1, any size the patch divides. `"mse"`: one or more. `"self_distillation"`: at
                least two, the first two are the global views. When `None` the agreement term is left
                out; with `"none"` they are not looked at.
            displacement (`torch.FloatTensor` of shape `(batch_size, 2, height, width)`, *optional*):
                Windowed mode, and needed there: how far every pixel of frame 0 has moved in frame 1, (x, y) in pixels.
            teacher_temperature (`float`, *optional*):
                Of the self-distillation teacher; see [`teacher_temperature_at_epoch`]. Defaults to the config's.
            return_loss (`bool`, defaults to `True`): Always computed; there so that Trainer finds an evaluation loss.
        """
        check_frames(pixel_values, self.config, ("batch", 2))
        if self.displacement_head is not None:
            return self._find_displacement(pixel_values, displacement, **kwargs)
        patch_size = self.config.patch_size
        grid = pixel_values.shape[-2] // patch_size, pixel_values.shape[-1] // patch_size
        target, reference = pixel_values.unbind(1)
        if self.config.pretext_task == "masking":
            # normalised frames have mean 0: a blanked patch is grey, and there is no second frame to restore it from
            reference = torch.zeros_like(target)
        bool_swapped_pos = self._swapped_positions(bool_swapped_pos, target, grid)
        swapped = swap_patches(target, reference, bool_swapped_pos, patch_size)

        compared = swapped if self.config.pretext_task == "masking" else reference
        outputs = self.micron_bert(torch.stack([swapped, compared], dim=1), **{**kwargs, "return_dict": True})
        logits = self.decoder(outputs.last_hidden_state, grid)

        restored = reconstruction_target(target, patch_size, self.config.norm_pix_loss)
        reconstruction_loss = nn.functional.mse_loss(logits.float(), restored)
        loss = self.config.reconstruction_loss_weight * reconstruction_loss
        agreement = self._contextual_agreement(outputs, crop_pixel_values, teacher_temperature)
        if "contextual_agreement_loss" in agreement:
            loss = loss + self.config.contextual_agreement_loss_weight * agreement["contextual_agreement_loss"]
        return MicronBertForPreTrainingOutput(
            loss=loss,
            reconstruction_loss=reconstruction_loss,
            logits=logits,
            bool_swapped_pos=bool_swapped_pos,
            **agreement,
            **outputs,
        )

    def _find_displacement(
        self,
        pixel_values: torch.FloatTensor,
        displacement: torch.FloatTensor | None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> MicronBertForPreTrainingOutput:
        expected = (pixel_values.shape[0], 2, *pixel_values.shape[-2:])
        if displacement is None or tuple(displacement.shape) != expected:
            given = None if displacement is None else tuple(displacement.shape)
            raise ValueError(f"Windowed mode learns from a `displacement` of shape {expected}, got {given}.")
        outputs = self.micron_bert(pixel_values, **{**kwargs, "return_dict": True})
        # what is found, and what the patch of interest leaves of it once the head's movement is taken away
        true = patch_displacement(displacement, self.config.patch_size)
        found = end_point_error(outputs.displacement, true)
        trusted = self.displacement_head(outputs.last_hidden_state)
        loss = found + end_point_error(trusted, relative_displacement(true))
        return MicronBertForPreTrainingOutput(loss=loss, displacement_loss=found, **outputs)

    def _swapped_positions(
        self, bool_swapped_pos: torch.BoolTensor | None, target: torch.Tensor, grid: tuple[int, int]
    ) -> torch.BoolTensor:
        expected = (target.shape[0], grid[0] * grid[1])
        if bool_swapped_pos is None:
            ratio, sampling = self.config.swap_ratio, self.config.swap_sampling
            return sample_swapped_positions(target.shape[0], grid, ratio, sampling, target.device)
        if tuple(bool_swapped_pos.shape) != expected or bool_swapped_pos.dtype != torch.bool:
            raise ValueError(
                f"`bool_swapped_pos` must be {expected} of torch.bool, got {tuple(bool_swapped_pos.shape)} of"
                f" {bool_swapped_pos.dtype}."
            )
        return bool_swapped_pos

    def _contextual_agreement(
        self,
        outputs: MicronBertModelOutput,
        crop_pixel_values: torch.FloatTensor | Sequence[torch.FloatTensor] | None,
        teacher_temperature: float | None,
    ) -> dict[str, torch.Tensor]:
        if crop_pixel_values is None or self.config.contextual_agreement == "none":
            return {}
        crops = [crop_pixel_values] if isinstance(crop_pixel_values, torch.Tensor) else list(crop_pixel_values)
        crops = [crop[:, None] if crop.ndim == 4 else crop for crop in crops]  # each B, crops of this size, C, h, w
        for crop in crops:
            check_frames(crop, self.config, ("batch", "crops"))
            if crop.shape[0] != outputs.frame_hidden_states.shape[0]:
                raise ValueError(
                    f"Expected crops of {outputs.frame_hidden_states.shape[0]} pairs, got {crop.shape[0]}."
                )
        student = [self._encode_contextual(crop) for crop in crops]

        if self.config.contextual_agreement == "mse":
            contextual = torch.cat(student, dim=1).float()
            reference = outputs.frame_hidden_states[:, 1, :1].float()
            return {"contextual_agreement_loss": (contextual - reference).square().mean()}

        if crops[0].shape[1] < 2:
            raise ValueError(f"Self-distillation needs two global crops of one size, got {tuple(crops[0].shape)}.")
        student_logits = self.projection_head(torch.cat(student, dim=1))
        teacher_logits = self.teacher(crops[0][:, :2].flatten(0, 1)).unflatten(0, (-1, 2))
        if teacher_temperature is None:
            teacher_temperature = self.config.teacher_temperature
        loss = self_distillation_loss(
            student_logits, teacher_logits, self.center, self.config.student_temperature, teacher_temperature
        )
        return {
            "contextual_agreement_loss": loss,
            "student_logits": student_logits,
            "teacher_logits": teacher_logits,
        }

    def _encode_contextual(self, crops: torch.Tensor) -> torch.Tensor:
        """Contextual tokens `(B, crops, D)` of crops `(B, crops, C, h, w)`."""
        encoder = self.micron_bert
        images = crops.flatten(0, 1)
        contextual = encode(encoder.embeddings, encoder.layers, encoder.norm, images, contextual_only=True)
        return contextual[:, 0].unflatten(0, crops.shape[:2])

    def _followed_tensors(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Every teacher tensor with the student tensor it follows."""
        student = {
            f"{prefix}.{name}": tensor
            for prefix, module in (
                ("embeddings", self.micron_bert.embeddings),
                ("layers", self.micron_bert.layers),
                ("norm", self.micron_bert.norm),
                ("projection_head", self.projection_head),
            )
            for name, tensor in module.state_dict(keep_vars=True).items()
        }
        return [(tensor, student[name]) for name, tensor in self.teacher.state_dict(keep_vars=True).items()]

    @torch.no_grad()
    def reset_teacher(self) -> None:
        """Make the teacher equal to the student, as at the start of training."""
        for teacher, student in self._followed_tensors():
            teacher.copy_(student)

    @torch.no_grad()
    def update_teacher(self, momentum: float | None = None) -> None:
        """
        Move the teacher: `teacher = momentum * teacher + (1 - momentum) * student`; default `config.teacher_momentum`.
        """
        if self.center.dtype in (torch.bfloat16, torch.float16):
            raise ValueError(f"A teacher of {self.center.dtype} would not move; train in float32 with autocast.")
        momentum = self.config.teacher_momentum if momentum is None else momentum
        for teacher, student in self._followed_tensors():
            teacher.mul_(momentum).add_(student, alpha=1.0 - momentum)

    @torch.no_grad()
    def update_center(self, teacher_logits: torch.Tensor) -> None:
        """
        Move the centre towards the mean of `teacher_logits (batch_size, 2, projection_output_size)`, averaged over the
        ranks when a process group exists.
        """
        batch_mean = teacher_logits.float().mean(dim=(0, 1))[None]
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(batch_mean)
            batch_mean = batch_mean / torch.distributed.get_world_size()
        self.center.copy_(updated_center(self.center, batch_mean, self.config.center_momentum))


class MicronBertForMicroExpressionClassification(MicronBertPreTrainedModel):
    """Onset and apex frames to class scores: pooled diagonal-attention features, dropout, one linear layer."""

    def __init__(self, config: MicronBertConfig):
        super().__init__(config)
        self.micron_bert = MicronBertModel(config)
        self.change_norm = self.position_pooling = None
        pooled_size = config.hidden_size
        if config.pooling == "change":
            self.change_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        elif config.pooling == "positions":
            self.position_pooling = MicronBertPositionPooling(config)
            pooled_size = config.classifier_hidden_size
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(pooled_size, config.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.FloatTensor,
        labels: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> MicronBertForMicroExpressionClassificationOutput | tuple:
        r"""
        Args:
            pixel_values (`torch.FloatTensor` of shape `(batch_size, 2, num_channels, height, width)`):
                Frame 0 is the onset, frame 1 the apex.
            labels (`torch.LongTensor` of shape `(batch_size,)` or `torch.Tensor` of shape `(batch_size, num_labels)`,
                *optional*): One class, or several in [0, 1]; see [`classification_loss`].
        """
        outputs = self.micron_bert(pixel_values, **{**kwargs, "return_dict": True})
        logits = self.classifier(self.dropout(self._pool(outputs)))
        loss = None if labels is None else classification_loss(logits, labels, self.config.problem_type)
        return MicronBertForMicroExpressionClassificationOutput(
            loss=loss,
            logits=logits,
            diagonal_attention=outputs.diagonal_attention,
            displacement=outputs.displacement,
            patch_of_interest=outputs.patch_of_interest,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def _pool(self, outputs: MicronBertModelOutput) -> torch.Tensor:
        if self.config.pooling == "positions":
            return self.position_pooling(outputs.last_hidden_state)
        if self.config.pooling == "mean":
            return outputs.last_hidden_state.mean(dim=1)
        if self.config.pooling == "change":
            still = self.micron_bert.still_diagonal(outputs.frame_hidden_states[:, 0])
            weight = attention_drop(outputs.diagonal_attention[:, 0], still)
            if self.config.use_patch_of_interest:
                weight = weight * outputs.patch_of_interest
            weight = weight / weight.abs().mean(dim=1, keepdim=True).clamp(min=MIN_MEAN_CHANGE)
            features = self.change_norm(outputs.last_hidden_state)
            return (weight[..., None].to(features.dtype) * features).mean(dim=1)
        # cosine scores may be negative: what points away from the contextual token has no weight
        weight = outputs.patch_of_interest.clamp(min=0)
        weight = weight / weight.sum(dim=1, keepdim=True).clamp(min=torch.finfo(weight.dtype).tiny)
        return torch.matmul(weight[:, None].to(outputs.last_hidden_state.dtype), outputs.last_hidden_state)[:, 0]


__all__ = [
    "MicronBertForMicroExpressionClassification",
    "MicronBertForPreTraining",
    "MicronBertModel",
    "MicronBertPreTrainedModel",
]
