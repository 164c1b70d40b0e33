"""Self-supervised pretraining (Accelerate) and fine-tuning of a classifier (Trainer)."""

from .fine_tuning import FineTuningArguments, FineTuningResult, classifier_from_pretrained, fine_tune
from .optimization import parameter_groups
from .pretraining import PretrainingArguments, PretrainingResult, RunArguments, pretrain
from .recipes import PretrainingRecipe, read_recipe


__all__ = [
    "FineTuningArguments",
    "FineTuningResult",
    "PretrainingArguments",
    "PretrainingRecipe",
    "PretrainingResult",
    "RunArguments",
    "classifier_from_pretrained",
    "fine_tune",
    "parameter_groups",
    "pretrain",
    "read_recipe",
]
