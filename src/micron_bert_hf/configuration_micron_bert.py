"""Configuration of Micron-BERT: every architectural and loss number, each with its source.

Sources: "paper" is Micron-BERT (CVPR 2023, arXiv 2304.03195); "released code" is github.com/uark-cviu/Micron-BERT at
commit 58a021b; "ours" marks what neither states and this package chose.
"""

from typing import Literal

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig
from transformers.activations import ACT2FN


@strict
class MicronBertConfig(PreTrainedConfig):
    r"""
    Configuration of [`MicronBertModel`] and its heads. The defaults are the released code's small model (224 px,
    patch 8, 784 patches, width 512, 4 + 4 layers) in the paper's form (diagonal attention, query from the reference
    frame, patch of interest on).

    Args:
        image_size (`int` or `[height, width]`, defaults to 224):
            Pixels. The position table is made for this size and interpolated for any other. Paper.
        patch_size (`int`, defaults to 8): Side of a square patch in pixels; divides both sides of the image. Paper.
        num_channels (`int`, defaults to 3): Image channels. Paper.
        hidden_size (`int`, defaults to 512): Width of the encoder and the cross attention; divisible by 4 (2-D sin-cos
            positions) and by `num_attention_heads`. Released code.
        num_hidden_layers (`int`, defaults to 4): Encoder layers. Released code.
        num_attention_heads (`int`, defaults to 4): Encoder heads. Released code.
        intermediate_size (`int`, defaults to 2048): Width of the encoder's MLP. Released code.
        hidden_act (`str`, defaults to `"gelu"`): MLP activation (exact GELU). Released code.
        hidden_dropout_prob (`float`, defaults to 0.0): Dropout after attention and MLP, in [0, 1). Released code.
        attention_probs_dropout_prob (`float`, defaults to 0.0): Dropout of encoder attention, in [0, 1). Released
            code.
        initializer_range (`float`, defaults to 0.02): Standard deviation of the contextual token and the classifier;
            every other linear layer is Xavier uniform. Released code.
        layer_norm_eps (`float`, defaults to 1e-6): Released code.
        qkv_bias (`bool`, defaults to `True`): Bias of query, key and value projections. Released code.
        decoder_hidden_size (`int`, defaults to 512): Released code.
        decoder_num_hidden_layers (`int`, defaults to 4): Released code.
        decoder_num_attention_heads (`int`, defaults to 4): Released code.
        decoder_intermediate_size (`int`, defaults to 2048): Released code (MLP ratio 4).
        attention_mode (`"diagonal"`, `"full"` or `"windowed"`, defaults to `"diagonal"`):
            `"diagonal"` is Diagonal Micro-Attention (paper, Eq. 9). `"full"` is ordinary cross attention, which the
            released checkpoint was trained with (`diag_att=False`). `"windowed"` is ours: each patch of frame 0 is
            compared with itself at every small displacement in frame 1, a softmax over the neighbourhood instead of
            over all patches, on the features of a convolutional stem. The movement it finds is the value, and the
            encoder says where it is of interest. See [`WindowedDiagonalAttention`].
        query_frame (`"reference"` or `"swapped"`, defaults to `"reference"`):
            `"reference"`: query from I_{t+delta}, key and value from I_{t/s} (paper, Eq. 8). `"swapped"`: query and
            value from I_{t/s}, key from I_{t+delta} (released code).
        rescale_attention (`bool`, defaults to `True`):
            Multiply the diagonal by the number of patches N, so that a uniform attention row (diagonal 1/N) leaves the
            values as they are; the softmax patch of interest, a distribution over the same N patches, likewise. Ours:
            without it the output is about 1/N of the values in scale. Off in converted checkpoints; diagonal mode
            only.
        use_patch_of_interest (`bool`, defaults to `True`):
            Gate row i of the attention by patch i's score against the contextual token (paper, W = diag(A) x S). In
            full mode the gate multiplies row i of the attention's output (ours). Absent from the released code.
        patch_of_interest_score (`"softmax"`, `"cosine"` or `"sigmoid"`, defaults to `"sigmoid"`):
            The form of S, which the paper leaves open. All three are ours: softmax over the patches of the scaled dot
            product (sums to 1), cosine similarity (in [-1, 1]), sigmoid of the scaled dot product (in (0, 1)).
        attention_window (`int`, defaults to 7): Side of the neighbourhood in cells of 2 pixels, odd: 7 finds movements
            of up to 6 pixels either way. Windowed mode only. Ours.
        stem_hidden_size (`int`, defaults to 16): Channels of the convolutional stem. Windowed mode only. Ours.
        stem_output_size (`int`, defaults to 12): Features that are compared. Windowed mode only. Ours.
        pretext_task (`"swapping"` or `"masking"`, defaults to `"swapping"`):
            What pretraining solves. `"swapping"`: restore I_t from it with patches of I_{t+delta} (paper).
            `"masking"`: restore it from itself with patches blanked, without a second frame: the masked-autoencoder
            twin that the paper compares with, in the same architecture. Windowed mode has a task of its own: to find a
            known displacement between a frame and its displaced copy, without an agreement loss. Ours.
        swap_ratio (`float`, defaults to 0.5): Share of the patches taken from I_{t+delta}, in [0, 1). A follow-up by a
            co-author's group states 0.5.
        swap_sampling (`"independent"` or `"blockwise"`, defaults to `"independent"`):
            Independent patches (released code) or rectangular blocks as BEiT samples them.
        norm_pix_loss (`bool`, defaults to `False`): Reconstruct pixels normalised per patch. Released code: off.
        reconstruction_loss_weight (`float`, defaults to 1.0): gamma of Eq. 13; value from the released code.
        contextual_agreement (`"mse"`, `"self_distillation"` or `"none"`, defaults to `"mse"`):
            `"mse"`: squared error between the contextual tokens of I_{t+delta} and its crop (paper, Eq. 15).
            `"self_distillation"`: the DINO recipe of the released code (student shares the encoder, EMA teacher).
        contextual_agreement_loss_weight (`float`, defaults to 1.0): beta of Eq. 13; value from the released code.
        projection_hidden_size (`int`, defaults to 2048): Self-distillation heads. Released code.
        projection_bottleneck_size (`int`, defaults to 256): Self-distillation heads. Released code.
        projection_output_size (`int`, defaults to 128): Self-distillation prototypes. Released checkpoint.
        student_temperature (`float`, defaults to 0.1): Released code.
        teacher_temperature (`float`, defaults to 0.04): After warm-up. Released code.
        teacher_warmup_temperature (`float`, defaults to 0.04): At epoch 0. Released code.
        teacher_warmup_epochs (`int`, defaults to 0): Epochs from the warm-up temperature to the final. Released code.
        center_momentum (`float`, defaults to 0.9): EMA of the teacher's centre, in [0, 1]. Released code.
        teacher_momentum (`float`, defaults to 0.997): EMA of the teacher's weights, in [0, 1]. Released checkpoint
            (`ema_decay`).
        pooling (`"change"`, `"mean"`, `"patch_of_interest"` or `"positions"`, defaults to `"change"`):
            How the classifier pools the N patch features. `"change"` layer-normalises them and weights each by its
            score times the drop of its log diagonal against that of frame 0 with itself, the weights brought to mean
            size 1.
            `"mean"` averages; `"patch_of_interest"` weights by the score, normalised to sum to 1. All ours: the
            paper does not say. `"change"` is the default because on synthetic validation subjects averaging did not
            leave chance: a patch's texture moves its diagonal far more than a micro-movement does. It weighs small
            differences: bfloat16 shifts scores by a few hundredths, float32 is the safe choice.
            `"positions"` keeps apart what happened where: every patch is reduced to `pooled_size` numbers, which a
            layer of `classifier_hidden_size` reads side by side; the image size is then fixed.
        pooled_size (`int`, defaults to 4): Numbers a patch is reduced to by `pooling="positions"`. Ours.
        classifier_hidden_size (`int`, defaults to 128): Hidden layer of `pooling="positions"`. Ours.
        classifier_dropout (`float`, defaults to 0.0): Dropout before the classifier, in [0, 1). Ours.

    Raises:
        `huggingface_hub.errors.StrictDataclassError`: a field of the wrong type or an impossible combination; the
        message names the value given and what was expected.
    """

    model_type = "micron_bert"
    # Trainer gathers what a metric needs, loss and logits, not the maps and states of the whole set
    keys_to_ignore_at_inference = [
        "reconstruction_loss",
        "contextual_agreement_loss",
        "bool_swapped_pos",
        "student_logits",
        "teacher_logits",
        "last_hidden_state",
        "frame_hidden_states",
        "diagonal_attention",
        "displacement",
        "patch_of_interest",
        "cross_attentions",
        "hidden_states",
        "attentions",
    ]

    image_size: int | list[int] | tuple[int, int] = 224
    patch_size: int = 8
    num_channels: int = 3
    hidden_size: int = 512
    num_hidden_layers: int = 4
    num_attention_heads: int = 4
    intermediate_size: int = 2048
    hidden_act: str = "gelu"
    hidden_dropout_prob: float | int = 0.0
    attention_probs_dropout_prob: float | int = 0.0
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-6
    qkv_bias: bool = True

    decoder_hidden_size: int = 512
    decoder_num_hidden_layers: int = 4
    decoder_num_attention_heads: int = 4
    decoder_intermediate_size: int = 2048

    attention_mode: Literal["diagonal", "full", "windowed"] = "diagonal"
    query_frame: Literal["reference", "swapped"] = "reference"
    rescale_attention: bool = True
    use_patch_of_interest: bool = True
    patch_of_interest_score: Literal["softmax", "cosine", "sigmoid"] = "sigmoid"

    attention_window: int = 7
    stem_hidden_size: int = 16
    stem_output_size: int = 12

    pretext_task: Literal["swapping", "masking"] = "swapping"
    swap_ratio: float | int = 0.5
    swap_sampling: Literal["independent", "blockwise"] = "independent"
    norm_pix_loss: bool = False
    reconstruction_loss_weight: float | int = 1.0
    contextual_agreement: Literal["mse", "self_distillation", "none"] = "mse"
    contextual_agreement_loss_weight: float | int = 1.0

    projection_hidden_size: int = 2048
    projection_bottleneck_size: int = 256
    projection_output_size: int = 128
    student_temperature: float = 0.1
    teacher_temperature: float = 0.04
    teacher_warmup_temperature: float = 0.04
    teacher_warmup_epochs: int = 0
    center_momentum: float | int = 0.9
    teacher_momentum: float | int = 0.997

    pooling: Literal["change", "mean", "patch_of_interest", "positions"] = "change"
    pooled_size: int = 4
    classifier_hidden_size: int = 128
    classifier_dropout: float | int = 0.0

    @property
    def image_height_width(self) -> tuple[int, int]:
        """`(height, width)` in pixels, whether `image_size` was one number or two."""
        if isinstance(self.image_size, int):
            return self.image_size, self.image_size
        height, width = self.image_size
        return height, width

    @property
    def patch_grid(self) -> tuple[int, int]:
        """Rows and columns of patches at `image_size`."""
        height, width = self.image_height_width
        return height // self.patch_size, width // self.patch_size

    def validate_positive_sizes(self):
        """Every size and count is at least 1."""
        names = (
            "patch_size num_channels hidden_size num_hidden_layers num_attention_heads intermediate_size"
            " decoder_hidden_size decoder_num_hidden_layers decoder_num_attention_heads decoder_intermediate_size"
            " projection_hidden_size projection_bottleneck_size projection_output_size"
            " stem_hidden_size stem_output_size pooled_size classifier_hidden_size"
        )
        for name in names.split():
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}.")

    def validate_image_size(self):
        """The patch divides the image."""
        sizes = (self.image_size,) if isinstance(self.image_size, int) else tuple(self.image_size)
        if len(sizes) > 2 or len(sizes) == 0:
            raise ValueError(f"`image_size` must be one number or [height, width], got {self.image_size}.")
        for size in sizes:
            if self.patch_size < 1 or size < 1 or size % self.patch_size != 0:
                raise ValueError(
                    f"`image_size` {self.image_size} must be a positive multiple of `patch_size` {self.patch_size}."
                )

    def validate_widths(self):
        """Heads divide the width; sin-cos positions need four equal parts (sin and cos of x and of y)."""
        for prefix in ("", "decoder_"):
            width = getattr(self, f"{prefix}hidden_size")
            heads = getattr(self, f"{prefix}num_attention_heads")
            if width % heads != 0:
                raise ValueError(
                    f"`{prefix}hidden_size` {width} must be divisible by `{prefix}num_attention_heads` {heads}."
                )
            if width % 4 != 0:
                raise ValueError(f"`{prefix}hidden_size` must be divisible by 4 for sin-cos positions, got {width}.")

    def validate_patch_of_interest(self):
        """Pooling by a score that is switched off is a contradiction."""
        if self.pooling == "patch_of_interest" and not self.use_patch_of_interest:
            raise ValueError("`pooling` patch_of_interest needs `use_patch_of_interest` True, got False.")

    def validate_windowed_attention(self):
        """The window has a middle, a patch has whole cells, and the pooling is one of the mode."""
        if self.attention_window < 3 or self.attention_window % 2 == 0:
            raise ValueError(f"`attention_window` must be odd and at least 3, got {self.attention_window}.")
        is_windowed = self.attention_mode == "windowed"
        if is_windowed and self.patch_size % 4 != 0:
            raise ValueError(f"`attention_mode` windowed needs a `patch_size` divisible by 4, got {self.patch_size}.")
        if is_windowed and self.pooling == "change":
            raise ValueError("`pooling` change compares diagonals over all patches; windowed mode has none.")

    def validate_activation(self):
        """The activation exists."""
        if self.hidden_act not in ACT2FN:
            raise ValueError(f"`hidden_act` must be one of transformers' activations, got {self.hidden_act!r}.")

    def validate_probabilities(self):
        """Ratios and momenta lie in their ranges."""
        for name in ("swap_ratio", "hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"`{name}` must be in [0, 1), got {getattr(self, name)}.")
        for name in ("center_momentum", "teacher_momentum"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"`{name}` must be in [0, 1], got {getattr(self, name)}.")
        for name in ("student_temperature", "teacher_temperature", "teacher_warmup_temperature"):
            if getattr(self, name) <= 0.0:
                raise ValueError(f"`{name}` must be positive, got {getattr(self, name)}.")
        not_negative = "reconstruction_loss_weight contextual_agreement_loss_weight initializer_range layer_norm_eps"
        for name in (not_negative + " teacher_warmup_epochs").split():
            if getattr(self, name) < 0.0:
                raise ValueError(f"`{name}` must not be negative, got {getattr(self, name)}.")


__all__ = ["MicronBertConfig"]
