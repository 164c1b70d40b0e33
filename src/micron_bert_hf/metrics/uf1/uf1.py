"""Unweighted F1 of micro-expression recognition, a module of `evaluate`."""

from micron_bert_hf.evaluation import evaluate_module


class Uf1(evaluate_module.PooledScores):
    description = """\
Unweighted F1 (UF1): F1 = 2 TP / (2 TP + FP + FN) of every class from counts pooled over all predictions, and the plain
mean over ALL classes of a fixed label set; a class that never occurs counts as 0. It is scikit-learn's macro F1 with
`labels` fixed and `zero_division=0`.
"""
    returns = '`{"uf1"}` in [0, 1].'
    score_names = ("uf1",)
