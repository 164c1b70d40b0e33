"""All scores of micro-expression recognition at once, a module of `evaluate`."""

from micron_bert_hf.evaluation import evaluate_module


class Mer(evaluate_module.PooledScores):
    description = """\
The scores of micro-expression recognition from ONE confusion matrix pooled over all predictions: unweighted F1 (UF1),
unweighted average recall (UAR), accuracy, and every class's F1, recall and precision. The label set is fixed: a class
that never occurs counts as 0 in the means.
"""
    returns = """\
`{"uf1", "uar", "accuracy", "num_samples", "label_names", "confusion_matrix" (rows = references), "per_class"}`;
    `per_class` maps a name to `{"f1", "recall", "precision", "num_samples", "num_predicted"}`."""
