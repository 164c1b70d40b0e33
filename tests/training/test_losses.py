"""Losses by loops, by hand and by their limits; weights whose mean is 1."""

import math

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from micron_bert_hf.training.losses import (
    balanced_class_weights,
    cross_entropy_losses,
    focal_losses,
    logit_adjusted_losses,
)


COUNTS = torch.tensor([6, 1, 3])


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    return 3 * torch.randn(7, 3, generator=generator), torch.tensor([0, 2, 1, 1, 0, 2, 0])


def loop(logits, labels, gamma, label_smoothing):
    losses = []
    for row, label in zip(logits.double().tolist(), labels.tolist()):
        total = sum(math.exp(value) for value in row)
        loss = 0.0
        for c, value in enumerate(row):
            probability = math.exp(value) / total
            target = (1 - label_smoothing) * (c == label) + label_smoothing / len(row)
            loss -= target * (1 - probability) ** gamma * math.log(probability)
        losses.append(loss)
    return torch.tensor(losses)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_every_loss_is_its_loop(batch, label_smoothing):
    logits, labels = batch
    torch.testing.assert_close(
        cross_entropy_losses(logits, labels, label_smoothing), loop(logits, labels, 0, label_smoothing)
    )
    for gamma in (0.0, 0.5, 2.0):
        torch.testing.assert_close(
            focal_losses(logits, labels, gamma, label_smoothing), loop(logits, labels, gamma, label_smoothing)
        )
    torch.testing.assert_close(
        logit_adjusted_losses(logits, labels, COUNTS, label_smoothing),
        loop(logits + (COUNTS / COUNTS.sum()).log(), labels, 0, label_smoothing),
    )


def test_values_by_hand():
    # p = 1/4, 3/4: (3/4)^2 log 4
    logits, labels = torch.tensor([[0.0, math.log(3.0)]]), torch.tensor([0])
    assert focal_losses(logits, labels, 2.0).item() == pytest.approx(0.5625 * math.log(4.0))
    # equal logits: what is left is the prior of the class
    flat = torch.zeros(3, 3)
    expected = [-math.log(0.6), -math.log(0.1), -math.log(0.3)]
    assert logit_adjusted_losses(flat, torch.arange(3), COUNTS).tolist() == pytest.approx(expected)


def test_a_class_without_pairs_counts_as_one_and_all_stays_finite():
    logits = torch.zeros(2, 3, requires_grad=True)
    losses = logit_adjusted_losses(logits, torch.tensor([0, 1]), torch.tensor([6, 4, 0]), label_smoothing=0.1)
    losses.sum().backward()
    assert torch.isfinite(losses).all() and torch.isfinite(logits.grad).all()
    expected = logit_adjusted_losses(logits, torch.tensor([0, 1]), torch.tensor([6, 4, 1]), label_smoothing=0.1)
    torch.testing.assert_close(losses, expected)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_certainty_has_a_gradient(gamma):
    logits = torch.tensor([[200.0, 0.0, 0.0], [0.0, 200.0, 0.0]], requires_grad=True)
    focal_losses(logits, torch.tensor([0, 0]), gamma).sum().backward()
    assert torch.isfinite(logits.grad).all() and logits.grad[1, 0] < 0


def test_half_precision_is_raised(batch):
    logits, labels = batch[0].bfloat16(), batch[1]
    for losses in (
        cross_entropy_losses(logits, labels),
        focal_losses(logits, labels, 2.0),
        logit_adjusted_losses(logits, labels, COUNTS),
    ):
        assert losses.dtype == torch.float32


def test_balanced_weights_are_scikit_learns_and_have_mean_1():
    labels = torch.repeat_interleave(torch.arange(3), COUNTS)
    weights = balanced_class_weights(COUNTS)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels.numpy())
    assert weights.tolist() == pytest.approx(expected.tolist())
    assert weights[labels].mean().item() == pytest.approx(1.0)
    with_an_empty_one = balanced_class_weights(torch.tensor([6, 0, 3]))
    assert with_an_empty_one.tolist() == pytest.approx([9 / 12, 0.0, 9 / 6])
