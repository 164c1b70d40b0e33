"""Which parameters decay, and the course of learning rate and teacher momentum: pure functions of the step."""

import math

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
            is_token = name.endswith("contextual_token")
            (kept if parameter.ndim <= 1 or is_token else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]


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
