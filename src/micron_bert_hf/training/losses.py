"""Losses of a fine-tuning run, one value a pair: pure functions of logits and labels.

Nothing here takes a mean: a mean over a batch depends on how a step is split into batches. A step's sum is divided by
the number of its pairs, see `fine_tuning`.
"""

import torch
import torch.nn.functional as F


def cross_entropy_losses(
    logits: torch.FloatTensor, labels: torch.LongTensor, label_smoothing: float = 0.0
) -> torch.FloatTensor:
    """
    Cross-entropy of every pair.

    Args:
        logits (`torch.FloatTensor` of shape `(batch_size, num_labels)`)
        labels (`torch.LongTensor` of shape `(batch_size,)`): in [0, num_labels)
        label_smoothing (`float` in [0, 1)): share of the target that all classes have alike (Szegedy et al. 2016)

    Returns:
        `torch.FloatTensor` of shape `(batch_size,)`, not negative:

        for i in range(batch_size):
            for c in range(num_labels):
                target = (1 - label_smoothing) * (c == labels[i]) + label_smoothing / num_labels
                losses[i] -= target * log(softmax(logits[i])[c])
    """
    return F.cross_entropy(logits.float(), labels, reduction="none", label_smoothing=label_smoothing)


def focal_losses(
    logits: torch.FloatTensor, labels: torch.LongTensor, gamma: float, label_smoothing: float = 0.0
) -> torch.FloatTensor:
    """
    Focal loss of every pair: what is predicted well already counts less (Lin et al. 2017, Eq. 4, over a softmax).

    Args:
        logits, labels, label_smoothing: as in [`cross_entropy_losses`].
        gamma (`float`): 0 or more; 0 gives [`cross_entropy_losses`], the paper's choice is 2

    Returns:
        `torch.FloatTensor` of shape `(batch_size,)`, not negative:

        for i in range(batch_size):
            for c in range(num_labels):
                target = (1 - label_smoothing) * (c == labels[i]) + label_smoothing / num_labels
                probability = softmax(logits[i])[c]
                losses[i] -= target * (1 - probability) ** gamma * log(probability)
    """
    log_probabilities = logits.float().log_softmax(dim=-1)
    num_labels = logits.shape[-1]
    target = F.one_hot(labels, num_labels) * (1.0 - label_smoothing) + label_smoothing / num_labels
    # where a probability rounds to 1, a power below 1 of the rest has no finite gradient
    rest = (-torch.expm1(log_probabilities)).clamp(min=torch.finfo(torch.float32).tiny)
    return -(target * rest.pow(gamma) * log_probabilities).sum(dim=-1)


def logit_adjusted_losses(
    logits: torch.FloatTensor, labels: torch.LongTensor, class_counts: torch.LongTensor, label_smoothing: float = 0.0
) -> torch.FloatTensor:
    """
    Cross-entropy after each logit was raised by the logarithm of its class's prior (Menon et al. 2021, Eq. 10, with
    tau = 1), so that the logits themselves, in evaluation, owe nothing to how frequent a class was.

    Args:
        logits, labels, label_smoothing: as in [`cross_entropy_losses`].
        class_counts (`torch.LongTensor` of shape `(num_labels,)`): of the training pairs; a class without any counts
            as one pair, since the logarithm of 0 would leave no number (ours)

    Returns:
        `torch.FloatTensor` of shape `(batch_size,)`, not negative:

        for i in range(batch_size):
            for c in range(num_labels):
                adjusted[c] = logits[i][c] + log(class_counts[c] / sum(class_counts))
            losses[i] = cross_entropy_losses(adjusted, labels[i], label_smoothing)
    """
    # the sum is the same for all classes and cancels in the softmax
    adjustment = class_counts.clamp(min=1).to(logits.device).log()
    return cross_entropy_losses(logits.float() + adjustment, labels, label_smoothing)


def balanced_class_weights(class_counts: torch.LongTensor) -> torch.FloatTensor:
    """
    Weights that make all classes count alike: `num_pairs / (num_occurring_classes * class_counts[c])`, scikit-learn's
    `class_weight="balanced"`. Their mean over the training pairs is 1.

    Args:
        class_counts (`torch.LongTensor` of shape `(num_labels,)`): of the training pairs, at least one

    Returns:
        `torch.FloatTensor` of shape `(num_labels,)`; 0 for a class without pairs, which weighs nothing.
    """
    occurs = class_counts > 0
    weights = class_counts.sum() / (occurs.sum() * class_counts.clamp(min=1))
    return torch.where(occurs, weights, 0.0)
