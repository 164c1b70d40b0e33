"""Which parameters decay and how fast each learns, and the course of learning rate and momenta: pure functions."""

import math
import re

from torch import nn


# A learning rate is given for a step of this many pairs and scaled linearly with the step's own number (Goyal et al.
# 2017; facebookresearch/mae).
REFERENCE_BATCH_SIZE = 256


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """
    Two groups for AdamW: matrices decay, vectors (biases, norms) and tokens do not (Touvron et al. 2021;
    facebookresearch dino and mae).

    Args:
        weight_decay (`float`): of the first group, not negative.

    Returns:
        `[{"params", "weight_decay"}, ...]`; every parameter with `requires_grad` stands in exactly one.
    """
    if weight_decay < 0.0:
        raise ValueError(f"`weight_decay` must not be negative, got {weight_decay}.")
    decayed, kept = [], []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (decayed if _decays(name, parameter) else kept).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]


def _decays(name: str, parameter: nn.Parameter) -> bool:
    return parameter.ndim > 1 and not name.endswith("contextual_token")


def layer_scale(name: str, num_hidden_layers: int, layer_decay: float) -> float:
    """
    What a layer's learning rate is multiplied with in fine-tuning: the lower a layer, the less it moves (layer-wise
    decay of BEiT, Bao et al. 2022, and of facebookresearch/mae).

    Args:
        name (`str`): of a parameter of a classifier.
        layer_decay (`float` in (0, 1])

    Returns:
        `layer_decay ** (num_hidden_layers + 1 - depth)`; the depth of the embeddings is 0, of encoder layer i it is
        i + 1, and of all that comes after the layers it is `num_hidden_layers + 1`, which gives 1.
    """
    depth = num_hidden_layers + 1
    if name.startswith("micron_bert.embeddings."):
        depth = 0
    elif layer := re.match(r"micron_bert\.layers\.(\d+)\.", name):
        depth = int(layer[1]) + 1
    return layer_decay ** (num_hidden_layers + 1 - depth)


def layer_decay_groups(
    model: nn.Module, num_hidden_layers: int, learning_rate: float, weight_decay: float, layer_decay: float
) -> list[dict]:
    """
    [`parameter_groups`] for each learning rate that [`layer_scale`] gives, the highest first; without layer decay,
    which is 1, the same two.

    Returns:
        `[{"params", "weight_decay", "lr"}, ...]`, none empty; every parameter with `requires_grad` stands in exactly
        one.
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            key = layer_scale(name, num_hidden_layers, layer_decay), _decays(name, parameter)
            groups.setdefault(key, []).append(parameter)
    return [
        {"params": groups[scale, decays], "weight_decay": weight_decay * decays, "lr": learning_rate * scale}
        for scale, decays in sorted(groups, reverse=True)
    ]


def scaled_learning_rate(base_learning_rate: float, pairs_per_step: int) -> float:
    """`base_learning_rate * pairs_per_step / 256`."""
    return base_learning_rate * pairs_per_step / REFERENCE_BATCH_SIZE


def learning_rate_at(step: int, num_steps: int, num_warmup_steps: int, peak: float) -> float:
    """
    Linear from `peak / num_warmup_steps` up to `peak`, then half a cosine down towards 0, which the step after the
    last would have.

    Args:
        step (`int`): in [0, num_steps)
    """
    if step < num_warmup_steps:
        return peak * (step + 1) / num_warmup_steps
    progress = (step - num_warmup_steps) / max(1, num_steps - num_warmup_steps)
    return peak * 0.5 * (1.0 + math.cos(math.pi * progress))


def teacher_momentum_at(step: int, num_steps: int, start: float, end: float) -> float:
    """
    Half a cosine from `start` at step 0 to `end` at the last step (facebookresearch/dino): the teacher comes to rest.
    """
    progress = step / max(1, num_steps - 1)
    return end - (end - start) * 0.5 * (1.0 + math.cos(math.pi * progress))


def weight_average_decay_at(update: int, decay: float) -> float:
    """
    How much of the running average of the weights an update keeps: `min(decay, (1 + update) / (10 + update))`, so that
    the weights at the start are soon forgotten (tensorflow.train.ExponentialMovingAverage).

    Args:
        update (`int`): from 1.
    """
    return min(decay, (1 + update) / (10 + update))
