"""Unweighted F1 of micro-expression recognition, a module of `evaluate`."""

from collections.abc import Sequence

import datasets
import evaluate

from micron_bert_hf.evaluation.metrics import score_columns


_DESCRIPTION = """\
Unweighted F1 (UF1): F1 = 2 TP / (2 TP + FP + FN) of every class from counts pooled over all predictions, and the plain
mean over ALL classes of a fixed label set; a class that never occurs counts as 0. It is scikit-learn's macro F1 with
`labels` fixed and `zero_division=0`.
"""

_INPUTS = """
Args:
    predictions, references: class numbers in [0, num_labels), all that were ever predicted: no mean over batches or
        folds is this score.
    num_labels: size of the label set, whether or not every class occurs; or
    label_names: its classes in order.

Returns:
    `{"uf1"}` in [0, 1].
"""

_CITATION = """\
@inproceedings{see2019megc,
    author={See, John and Yap, Moi Hoon and Li, Jingting and Hong, Xiaopeng and Wang, Su-Jing},
    title={{MEGC} 2019 -- The Second Facial Micro-Expressions Grand Challenge},
    booktitle={14th IEEE International Conference on Automatic Face and Gesture Recognition},
    year={2019}
}
"""


class Uf1(evaluate.Metric):
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
    ) -> dict[str, float]:
        return {"uf1": score_columns(predictions, references, num_labels, label_names)["uf1"]}
