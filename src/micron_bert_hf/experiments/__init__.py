"""Micron-BERT itself under evaluation: fine-tuned in every fold, part by part, and from the command line."""

from .ablation import AblationRecipe, AblationVariant, read_ablation, run_ablation
from .commands import EvaluationRequest, compare_tables, run_evaluation, score_predictions
from .fine_tuned import FineTunedMicronBert, FixedClassifier, evaluate_recipe


__all__ = [
    "AblationRecipe",
    "AblationVariant",
    "EvaluationRequest",
    "FineTunedMicronBert",
    "FixedClassifier",
    "compare_tables",
    "evaluate_recipe",
    "read_ablation",
    "run_ablation",
    "run_evaluation",
    "score_predictions",
]
