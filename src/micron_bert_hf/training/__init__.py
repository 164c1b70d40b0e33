"""Self-supervised pretraining (Accelerate) and fine-tuning of a classifier (Trainer)."""

from .fine_tuning import FineTuningArguments, FineTuningResult, classifier_from_pretrained, fine_tune
from .optimization import parameter_groups
from .pretraining import PretrainingArguments, PretrainingResult, pretrain


__all__ = [
    "FineTuningArguments",
    "FineTuningResult",
    "PretrainingArguments",
    "PretrainingResult",
    "classifier_from_pretrained",
    "fine_tune",
    "parameter_groups",
    "pretrain",
]
