"""Predictions that know whose they are: identity travels with every row to the metric, order is never trusted."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from ..data import ClassificationCollator, FramePairs
from ..modeling_micron_bert import MicronBertForMicroExpressionClassification
from .metrics import score


@dataclass(frozen=True)
class PredictionTable:
    """
    One row per sample.

    Args:
        sample_ids, subject_ids (`tuple[str, ...]`)
        labels (`np.ndarray` of shape `(num_samples,)`): class numbers, int64.
        scores (`np.ndarray` of shape `(num_samples, num_labels)`): probabilities, float; the prediction is the
        largest.
        label_names (`tuple[str, ...]`): the fixed label set; position = class number.

    Raises:
        ValueError: columns of different lengths, a `sample_id` that occurs twice, scores that are not finite.
    """

    sample_ids: tuple[str, ...]
    subject_ids: tuple[str, ...]
    labels: np.ndarray
    scores: np.ndarray
    label_names: tuple[str, ...]

    def __post_init__(self):
        num_samples = len(self.sample_ids)
        shapes = {"subject_ids": (len(self.subject_ids),), "labels": self.labels.shape, "scores": self.scores.shape}
        expected = {
            "subject_ids": (num_samples,),
            "labels": (num_samples,),
            "scores": (num_samples, len(self.label_names)),
        }
        if shapes != expected:
            raise ValueError(f"Expected columns of shapes {expected} for {num_samples} samples, got {shapes}.")
        if len(set(self.sample_ids)) != num_samples:
            repeated = sorted({name for name in self.sample_ids if self.sample_ids.count(name) > 1})
            raise ValueError(f"Every sample must be predicted once, got {repeated[:3]} more than once.")
        if not np.isfinite(self.scores).all():
            raise ValueError("Scores must be finite, got NaN or infinity.")

    @property
    def predictions(self) -> np.ndarray:
        """Class numbers `(num_samples,)`, int64; the first of equal scores."""
        return self.scores.argmax(axis=1)

    def check_complete(self, sample_ids: Sequence[str]) -> None:
        """Refuse a table that does not predict exactly the samples of `sample_ids`."""
        missing, unexpected = set(sample_ids) - set(self.sample_ids), set(self.sample_ids) - set(sample_ids)
        if missing or unexpected:
            raise ValueError(
                f"Expected exactly one prediction for each of {len(set(sample_ids))} samples; missing"
                f" {sorted(missing)[:3]} ({len(missing)}), unexpected {sorted(unexpected)[:3]} ({len(unexpected)})."
            )

    def score(self) -> dict[str, Any]:
        """[`~micron_bert_hf.evaluation.score`] of the whole table, pooled."""
        return score(self.labels, self.predictions, self.label_names)

    def to_rows(self) -> list[dict[str, Any]]:
        """`{"sample_id", "subject_id", "label", "prediction", "scores"}` with class names, ready for JSON."""
        return [
            {
                "sample_id": sample_id,
                "subject_id": subject_id,
                "label": self.label_names[label],
                "prediction": self.label_names[prediction],
                "scores": dict(zip(self.label_names, scores)),
            }
            for sample_id, subject_id, label, prediction, scores in zip(
                self.sample_ids, self.subject_ids, self.labels, self.predictions, self.scores.tolist()
            )
        ]


@torch.no_grad()
def predict(
    model: MicronBertForMicroExpressionClassification,
    pairs: FramePairs,
    *,
    batch_size: int = 64,
    progress: bool = True,
) -> PredictionTable:
    """
    Class probabilities of every pair, without augmentation and in evaluation mode (the model's mode is put back).

    Args:
        pairs: labelled with the model's own class numbers.
    """
    if model.config.problem_type == "multi_label_classification":
        raise ValueError("A prediction table holds one class a pair, got a multi-label model.")
    if pairs.labels is None:
        raise ValueError("A prediction table needs labelled pairs; give `FramePairs` a `label2id`.")
    loader = DataLoader(pairs, batch_size=batch_size, collate_fn=ClassificationCollator(None, seed=0))
    was_training = model.training
    model.eval()
    scores = [
        model(pixel_values=batch["pixel_values"].to(model.device)).logits.float().softmax(dim=-1).cpu()
        for batch in tqdm(loader, desc="predict", unit="batch", disable=not progress, delay=1)
    ]
    model.train(was_training)
    table = PredictionTable(
        pairs.sample_ids,
        pairs.subject_ids,
        pairs.labels.numpy(),
        torch.cat(scores).numpy(),
        tuple(model.config.id2label[index] for index in range(model.config.num_labels)),
    )
    table.check_complete(pairs.sample_ids)
    return table
