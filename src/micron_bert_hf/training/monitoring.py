"""What to watch while a model pretrains without labels: whether its tokens collapse, and what the time goes into."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch


# Below this share of the token's mean square, samples are told apart by less than a hundredth of the token's size.
# Above this share of log K, or below that share, the teacher's distribution is flat or always the same. Both ours.
MIN_TOKEN_VARIANCE = 1e-4
FLAT_ENTROPY, PEAKED_ENTROPY = 0.99, 0.01
# Logged steps in a row before a collapse is announced, so that a bad batch is not one. Ours.
PATIENCE = 10


def token_variance(tokens: torch.Tensor) -> float:
    """
    How much the contextual token differs between samples, relative to its size: 0 if all are alike.

    Args:
        tokens (`torch.Tensor` of shape `(batch_size, hidden_size)`): two samples or more

    Returns:
        variance over the batch, averaged over the components, divided by the mean square; about 1 for independent
        tokens of mean 0
    """
    tokens = tokens.detach().float()
    return (tokens.var(dim=0).mean() / tokens.square().mean().clamp_min(1e-12)).item()


def teacher_entropy(teacher_logits: torch.Tensor, center: torch.Tensor, temperature: float) -> float:
    """
    Entropy of the teacher's MEAN distribution over the batch, in nats: 0 if every view goes to one prototype (collapse
    to a constant). It is log K both where all prototypes are used alike and where every distribution is flat, which
    [`teacher_sharpness`] tells apart.

    Args:
        teacher_logits (`torch.Tensor` of shape `(batch_size, 2, K)`)
        center (`torch.Tensor` of shape `(1, K)`)
    """
    probabilities = ((teacher_logits.float() - center) / temperature).softmax(-1).flatten(0, 1).mean(0)
    return -(probabilities * probabilities.clamp_min(1e-12).log()).sum().item()


def teacher_sharpness(teacher_logits: torch.Tensor, center: torch.Tensor, temperature: float) -> float:
    """Mean entropy of the teacher's single distributions, in nats: log K if they are flat (the other collapse)."""
    probabilities = ((teacher_logits.float() - center) / temperature).softmax(-1)
    return -(probabilities * probabilities.clamp_min(1e-12).log()).sum(-1).mean().item()


@dataclass
class CollapseMonitor:
    """
    Says once, when for `patience` logged steps in a row nothing tells samples apart any more.

    Args:
        max_entropy (`float`, *optional*): log K of the self-distillation; `None` without it.
        patience (`int`)
    """

    max_entropy: float | None = None
    patience: int = PATIENCE
    announced: set[str] = field(default_factory=set)
    _in_a_row: dict[str, int] = field(default_factory=dict)

    def update(self, entry: Mapping[str, float]) -> list[str]:
        """
        Args:
            entry: of the history, with `token_variance`, `teacher_entropy` and `teacher_sharpness` where they were
                measured.

        Returns:
            messages to show, most often none
        """
        signs = {}
        if "token_variance" in entry:
            variance = entry["token_variance"]
            signs[
                f"the contextual tokens of different samples have become alike (relative variance {variance:.1e},"
                f" below {MIN_TOKEN_VARIANCE:.0e})"
            ] = ("tokens", variance < MIN_TOKEN_VARIANCE)
        if self.max_entropy is not None and "teacher_entropy" in entry:
            of_mean, mean = entry["teacher_entropy"], entry["teacher_sharpness"]
            signs[f"the teacher gives every view the same prototype (entropy {of_mean:.3f} nats)"] = (
                "one prototype",
                of_mean < PEAKED_ENTROPY * self.max_entropy,
            )
            signs[
                f"the teacher gives every view a flat distribution (entropy {mean:.3f} of {self.max_entropy:.3f} nats)"
            ] = ("flat", mean > FLAT_ENTROPY * self.max_entropy)
        messages = []
        for text, (name, is_seen) in signs.items():
            self._in_a_row[name] = self._in_a_row.get(name, 0) + 1 if is_seen else 0
            if self._in_a_row[name] == self.patience and name not in self.announced:
                self.announced.add(name)
                messages.append(f"COLLAPSE: {text}.")
        return messages


class Stopwatch:
    """Throughput, and the share of the time spent waiting for data, since the last look."""

    def __init__(self) -> None:
        self._restart()

    def _restart(self) -> None:
        self._start, self._waited, self._pairs = time.perf_counter(), 0.0, 0

    def add(self, waited: float, pairs: int) -> None:
        """One batch: seconds until it was there, and how many pairs it has."""
        self._waited += waited
        self._pairs += pairs

    def look(self) -> dict[str, float]:
        """`samples_per_second` of this process and `data_wait_share` in [0, 1]; begins anew."""
        elapsed = max(time.perf_counter() - self._start, 1e-9)
        seen = {"samples_per_second": self._pairs / elapsed, "data_wait_share": self._waited / elapsed}
        self._restart()
        return seen
