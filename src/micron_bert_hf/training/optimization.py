"""Which parameters decay."""

from torch import nn


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
