"""What was measured, as the card needs it: read, checked, and told whether it was measured with these very weights."""

import copy
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..hub import RESULTS_NAME, weights_fingerprint
from ..modeling_micron_bert import MicronBertPreTrainedModel


Source = str | os.PathLike | Mapping[str, Any]
SCORES = ("uf1", "uar", "accuracy")
# The protocol of an evaluation in which nothing is learnt.
_AS_IS = "as_is"


@dataclass(frozen=True)
class Result:
    """
    One measurement, in the form of `micron-bert evaluate` or of the demo; what it does not hold was not measured.

    Args:
        content (`dict`): at least one of `uf1`, `uar`, `accuracy`.
        is_of_folder (`bool`): it is the `results.json` of the model's folder.
    """

    content: Mapping[str, Any]
    is_of_folder: bool = False

    @property
    def dataset(self) -> str:
        return str(self.content.get("dataset") or "unknown")

    @property
    def method(self) -> str:
        return str(self.content.get("method") or "unknown")

    @property
    def protocol(self) -> str:
        return str(self.content.get("protocol") or "unknown")

    @property
    def is_of_these_weights(self) -> bool:
        """
        Else of models trained anew in every fold: a number about the recipe. What `save_for_hub` wrote beside the
        weights is of them, unless it is an evaluation in folds that somebody laid there.
        """
        return self.protocol == _AS_IS or (self.is_of_folder and "num_folds" not in self.content)


def read_results(given: Source | Sequence[Source] | None) -> list[Result]:
    """
    Args:
        given: a `results.json`, a folder that holds one, the content of one, or several of these.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is no JSON object of finite numbers, has no score, or a score or confusion matrix that cannot be
            one; the message names it.
    """
    if given is None:
        return []
    sources = [given] if isinstance(given, (str, os.PathLike, Mapping)) else given
    return [Result(check_result(content, name)) for source in sources for name, content in _contents(source)]


def _contents(source: Source) -> Iterator[tuple[str, Any]]:
    if isinstance(source, Mapping):
        yield "results", source
        return
    path = Path(source)
    if path.is_dir():
        path = path / RESULTS_NAME
    try:
        yield str(path), json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} does not exist: there are no results to publish") from None
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from error


def check_result(content: Any, name: str) -> Mapping[str, Any]:
    """`content` itself; see [`read_results`] for errors, which begin with `name`."""
    if not isinstance(content, Mapping):
        raise ValueError(f"{name} must hold an object, got a {type(content).__name__}")
    try:
        json.dumps(content, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} cannot be written as JSON: {error}") from error
    scores = {key: content[key] for key in SCORES if content.get(key) is not None}
    if not scores:
        raise ValueError(f"{name} holds no score: one of {', '.join(SCORES)}")
    for key, value in scores.items():
        if not _is_share(value):
            raise ValueError(f"{name} has {key} {value!r}; expected a number from 0 to 1")
        interval = content.get(f"{key}_interval")
        if interval is not None and not (len(interval) == 2 and all(map(_is_share, interval))):
            raise ValueError(f"{name} has {key}_interval {interval!r}; expected two numbers from 0 to 1")
    matrix, names = content.get("confusion_matrix"), content.get("label_names")
    if matrix is not None:
        sides = {len(names or ()), len(matrix), *map(len, matrix)}
        if len(sides) != 1:
            raise ValueError(f"{name} has {len(names or ())} label_names and a confusion_matrix of {len(matrix)} rows")
    return content


def _is_share(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and 0 <= value <= 1


def check_results_belong(
    results: Sequence[Result], model: MicronBertPreTrainedModel, label_names: Sequence[str] | None
) -> None:
    """
    Raises:
        ValueError: numbers of other classes than the model tells apart, or, where they say which weights they were
            measured with, of other weights.
    """
    for result in results:
        measured = result.content.get("label_names")
        if label_names is not None and measured is not None and set(measured) != set(label_names):
            raise ValueError(
                f"the results on {result.dataset} are of the classes {list(measured)}, the model has"
                f" {list(label_names)}"
            )
        fingerprint = (result.content.get("settings") or {}).get("fingerprint")
        if result.protocol == _AS_IS and fingerprint is not None and fingerprint != _fingerprint(model):
            raise ValueError(
                f"the results on {result.dataset} were measured with other weights: fingerprint {fingerprint[:12]}"
            )


def _fingerprint(model: MicronBertPreTrainedModel) -> str:
    # an evaluation loads in float32
    return weights_fingerprint(copy.deepcopy(model).float())
