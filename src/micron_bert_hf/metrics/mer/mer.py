"""All scores of micro-expression recognition at once, a module of `evaluate`."""

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate

from micron_bert_hf.evaluation.metrics import score_columns


_DESCRIPTION = """\
The scores of micro-expression recognition from ONE confusion matrix pooled over all predictions: unweighted F1 (UF1),
unweighted average recall (UAR), accuracy, and every class's F1, recall and precision. The label set is fixed: a class
that never occurs counts as 0 in the means.
"""

_INPUTS = """
Args:
    predictions, references: class numbers in [0, num_labels), all that were ever predicted: no mean over batches or
        folds is this score.
    num_labels: size of the label set, whether or not every class occurs; or
    label_names: its classes in order.

Returns:
    `{"uf1", "uar", "accuracy", "num_samples", "label_names", "confusion_matrix" (rows = references), "per_class"}`;
    `per_class` maps a name to `{"f1", "recall", "precision", "num_samples", "num_predicted"}`.
"""

_CITATION = """\
@inproceedings{see2019megc,
    author={See, John and Yap, Moi Hoon and Li, Jingting and Hong, Xiaopeng and Wang, Su-Jing},
    title={{MEGC} 2019 -- The Second Facial Micro-Expressions Grand Challenge},
    booktitle={14th IEEE International Conference on Automatic Face and Gesture Recognition},
    year={2019}
}
"""


class Mer(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            # as int64 a probability of 0.7 handed in by mistake would silently become class 0; here it is refused
            features=datasets.Features(
                {"predictions": datasets.Value("float64"), "references": datasets.Value("float64")}
            ),
        )

    def _compute(
        self,
        predictions: Sequence[float],
        references: Sequence[float],
        num_labels: int | None = None,
        label_names: Sequence[str] | None = None,
    ) -> dict[str, Any]:
        return score_columns(predictions, references, num_labels, label_names)
