"""What an evaluation asks of a method: to learn from some people, and then to answer for others.

    method.prepare(row)                    a pair of frames as the method sees it; it has no label
    predictor = method.fit(train, seed)    training people only: no held-out pair exists for it
    predictor(inputs)                      held-out pairs, after training has ended

The held-out fold cannot steer training, since it is not there: `fit` returns before the first held-out input is handed
over, and labels of held-out pairs are handed over to nobody. Selecting a number of epochs is possible inside
`TrainingPairs` alone, on people of its own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ..data import SeenPeople


# Prepared inputs `(num_pairs, ...)` to probabilities `(num_pairs, num_labels)`, rows of sum 1.
Predictor = Callable[[np.ndarray], np.ndarray]


@runtime_checkable
class ExplainingPredictor(Protocol):
    """A [`Predictor`] that can also show where it looked."""

    def __call__(self, inputs: np.ndarray) -> np.ndarray: ...

    def maps(self, inputs: np.ndarray) -> Mapping[str, np.ndarray]:
        """Name of each map -> `(num_pairs, rows, columns)`."""
        ...


@dataclass(frozen=True)
class TrainingPairs:
    """
    The people of a fold to learn from.

    Args:
        inputs (`np.ndarray` of shape `(num_pairs, ...)`): what `prepare` made of each pair.
        labels (`np.ndarray` of shape `(num_pairs,)`): class numbers, int64.
        sample_ids, subject_ids (`tuple[str, ...]`): a subject's id names its dataset too, so that no two people share
            one.
        label_names (`tuple[str, ...]`): the fixed label set; position = class number.
    """

    inputs: np.ndarray
    labels: np.ndarray
    sample_ids: tuple[str, ...]
    subject_ids: tuple[str, ...]
    label_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)


class Method(Protocol):
    """
    Args:
        name (`str`): for tables, such as `"DIS flow + SVM"`.
        uses_seed (`bool`): whether another seed may give another predictor; what does not is run once.
        needs_motion (`bool`): whether rows carry the exact `motion`, which synthetic sets alone have.
    """

    name: str
    uses_seed: bool
    needs_motion: bool

    def identity(self, label_names: tuple[str, ...]) -> Mapping[str, Any]:
        """What decides its numbers, ready for JSON: settings, fingerprint of the weights it starts from."""
        ...

    def seen_people(self) -> SeenPeople:
        """Whom it has seen before it is asked to learn."""
        ...

    def check(self, label_names: tuple[str, ...]) -> None:
        """Refuse, before any training, a label set it cannot answer for.

        Raises:
            ValueError: for example a checkpoint whose head has other classes.
        """
        ...

    def prepare(self, row: Mapping[str, Any]) -> np.ndarray:
        """One pair, without its label, as an array of one shape and dtype for all pairs; the same whenever asked."""
        ...

    def fit(self, train: TrainingPairs, seed: int) -> Predictor:
        """Learn from `train`. Equal arguments give equal predictors."""
        ...
