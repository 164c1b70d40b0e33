"""What the modules of Hugging Face `evaluate` in `micron_bert_hf.metrics` share: columns, label set, citation."""

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate

from .metrics import score_columns


_INPUTS = """
Args:
    predictions, references: class numbers in [0, num_labels), all that were ever predicted: no mean over batches or
        folds is this score.
    num_labels: size of the label set, whether or not every class occurs; or
    label_names: its classes in order.

Returns:
    """

_CITATION = """\
@inproceedings{see2019megc,
    author={See, John and Yap, Moi Hoon and Li, Jingting and Hong, Xiaopeng and Wang, Su-Jing},
    title={{MEGC} 2019 -- The Second Facial Micro-Expressions Grand Challenge},
    booktitle={14th IEEE International Conference on Automatic Face and Gesture Recognition},
    year={2019}
}
"""


class PooledScores(evaluate.Metric):
    """
    A module of `evaluate`; its subclasses say what it is.

    Attributes:
        description, returns (`str`): for people.
        score_names (`tuple[str, ...]`, *optional*): which of [`~micron_bert_hf.evaluation.score`]'s entries to return;
            all when absent.
    """

    description: str
    returns: str
    score_names: tuple[str, ...] | None = None

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=self.description,
            citation=_CITATION,
            inputs_description=f"{_INPUTS}{self.returns}\n",
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
        scores = score_columns(predictions, references, num_labels, label_names)
        return scores if self.score_names is None else {name: scores[name] for name in self.score_names}
