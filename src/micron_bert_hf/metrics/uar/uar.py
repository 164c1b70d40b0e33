"""Unweighted average recall of micro-expression recognition, a module of `evaluate`."""

from micron_bert_hf.evaluation import evaluate_module


class Uar(evaluate_module.PooledScores):
    description = """\
Unweighted average recall (UAR): recall = TP / n of every class from counts pooled over all predictions, and the plain
mean over ALL classes of a fixed label set; a class that never occurs among the references counts as 0. It is
scikit-learn's balanced accuracy when every class occurs.
"""
    returns = '`{"uar"}` in [0, 1].'
    score_names = ("uar",)
