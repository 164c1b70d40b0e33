"""Self-supervised pretraining (Accelerate) and fine-tuning of a classifier (Trainer)."""

from ..hub import weights_fingerprint
from .classification_recipe import ClassificationRecipe, read_classification_recipe, train_classifier
from .classifiers import (
    check_image_size,
    classifier_from_pretrained,
    load_classifier,
    new_classifier,
    read_provenance,
)
from .fine_tuning import FineTuningArguments, FineTuningResult, fine_tune
from .hub_arguments import HubArguments
from .optimization import parameter_groups
from .pretraining import PretrainingArguments, PretrainingResult, RunArguments, pretrain
from .recipes import PretrainingRecipe, read_recipe


__all__ = [
    "ClassificationRecipe",
    "FineTuningArguments",
    "FineTuningResult",
    "HubArguments",
    "PretrainingArguments",
    "PretrainingRecipe",
    "PretrainingResult",
    "RunArguments",
    "classifier_from_pretrained",
    "fine_tune",
    "load_classifier",
    "new_classifier",
    "parameter_groups",
    "pretrain",
    "read_classification_recipe",
    "check_image_size",
    "read_provenance",
    "read_recipe",
    "train_classifier",
    "weights_fingerprint",
]
