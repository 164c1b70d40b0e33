"""UF1, UAR and all scores beside them as modules of Hugging Face `evaluate`, loaded from the installed package:

    uf1 = evaluate.load(micron_bert_hf.metric_path("uf1"))
    uf1.compute(predictions=[0, 1], references=[0, 2], num_labels=3)

`evaluate` copies a module's file into its own cache and imports it from there, so that the files import the package by
its full name, and nothing here imports them. The maths is that of `micron_bert_hf.evaluation.metrics`.
"""

from pathlib import Path


_FOLDER = Path(__file__).resolve().parent
_NAMES = ("uf1", "uar", "mer")


def metric_path(name: str) -> str:
    """
    The folder to hand to `evaluate.load`; no network is asked.

    Args:
        name: `"uf1"` (unweighted F1), `"uar"` (unweighted average recall) or `"mer"` (both, accuracy, the confusion
            matrix and the scores of every class).

    Raises:
        ValueError: another name.
    """
    if name not in _NAMES:
        raise ValueError(f"Expected one of {list(_NAMES)}, got {name!r}.")
    return str(_FOLDER / name)


__all__ = ["metric_path"]
