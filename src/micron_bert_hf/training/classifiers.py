"""Classifiers to fine-tune: over the encoder of any Micron-BERT, from memory, a folder or the Hub.

model = load_classifier("OUT", ("negative", "positive", "surprise"), seed=0)
seen = read_provenance("OUT")  # SeenPeople({"mer-synth-v1-pretrain": ("s0000", ...)}, is_complete=True)
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError

from ..configuration_micron_bert import MicronBertConfig
from ..data import SeenPeople
from ..hub import PROVENANCE_NAME, load_whole
from ..image_processing_micron_bert import MicronBertImageProcessor
from ..modeling_micron_bert import (
    MicronBertForMicroExpressionClassification,
    MicronBertForPreTraining,
    MicronBertModel,
    MicronBertPreTrainedModel,
)
from ..run_files import read_json


# What a folder may hold, by the name that `save_pretrained` leaves in its config.
_MODEL_CLASSES = {
    kind.__name__: kind
    for kind in (MicronBertModel, MicronBertForPreTraining, MicronBertForMicroExpressionClassification)
}


def classifier_from_pretrained(
    pretrained: MicronBertPreTrainedModel, label_names: Sequence[str]
) -> MicronBertForMicroExpressionClassification:
    """
    A classifier over the encoder and diagonal attention of any Micron-BERT with a head, its own head freshly drawn
    from torch's global generator. The order of `label_names` is the order of the logits and is kept in
    `config.id2label`.

    Raises:
        ValueError: fewer than two classes, or a class named twice.
    """
    return _classifier_over(pretrained.micron_bert, label_names, {})


def new_classifier(
    label_names: Sequence[str], seed: int, **config_fields: Any
) -> MicronBertForMicroExpressionClassification:
    """
    A classifier of random weights.

    Args:
        label_names: position = class number.
        seed (`int`): of the weights; torch's global generator stays as it is.
        config_fields: of [`MicronBertConfig`].
    """
    config = _with_labels(MicronBertConfig(**config_fields), label_names)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MicronBertForMicroExpressionClassification(config)


def load_classifier(
    name_or_path: str | os.PathLike,
    label_names: Sequence[str],
    *,
    ignore_head: bool = False,
    seed: int,
    **config_fields: Any,
) -> MicronBertForMicroExpressionClassification:
    """
    A classifier that starts from a saved model: one of pretraining, a converted one, an encoder or a classifier. A
    classifier of exactly these classes, in this order, keeps its head; every other model gets a new one.

    Args:
        name_or_path: a folder, or a repository on the Hub.
        label_names: position = class number.
        ignore_head (`bool`): a new head for a classifier too.
        seed (`int`): of a new head; torch's global generator stays as it is.
        config_fields: of [`MicronBertConfig`], to change, such as `classifier_dropout`.

    Returns:
        The model in float32.

    Raises:
        ValueError: a classifier of other classes; tensors that are missing or have no place; a model class that is
            unknown.
    """
    config = MicronBertConfig.from_pretrained(name_or_path)
    saved_class = config.architectures[0] if config.architectures else None
    if saved_class not in _MODEL_CLASSES:
        raise ValueError(f"{name_or_path} must hold one of {sorted(_MODEL_CLASSES)}, got {saved_class}.")
    if saved_class == MicronBertForMicroExpressionClassification.__name__ and not ignore_head:
        saved_names = [config.id2label[index] for index in range(config.num_labels)]
        if saved_names != list(label_names):
            raise ValueError(
                f"{name_or_path} tells the classes {saved_names} apart, in this order, and the data has"
                f" {list(label_names)}. To keep the encoder and learn a new head, give `ignore_head` (--ignore-head;"
                " beside a recipe --ignore_head)."
            )
        return load_whole(MicronBertForMicroExpressionClassification, name_or_path, **config_fields)
    # as what was saved, so that not one tensor may be missing or over; then the encoder is taken out
    model = load_whole(_MODEL_CLASSES[saved_class], name_or_path)
    encoder = model if saved_class == MicronBertModel.__name__ else model.micron_bert
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _classifier_over(encoder, label_names, config_fields)


def read_provenance(name_or_path: str | os.PathLike) -> SeenPeople:
    """
    The people a saved model has seen, as `provenance.json` beside its weights says.

    Args:
        name_or_path: a folder, or a repository on the Hub.

    Returns:
        Nobody, and not complete, if there is no such file.

    Raises:
        ValueError: the file does not say whom, or whether they are all.
    """
    content, path = _read_provenance(name_or_path)
    if content is None:
        return SeenPeople(is_complete=False)
    try:
        subjects = {dataset: tuple(sorted(people)) for dataset, people in content["subjects"].items()}
        return SeenPeople(subjects, content["is_complete"] is True)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} must hold `subjects`, dataset to subjects, and `is_complete`; it does not: {error!r}."
        ) from error


def read_frame_rates(name_or_path: str | os.PathLike) -> dict[str, list[float]]:
    """
    Frames a second of the clips a saved model has seen, dataset -> different rates, sorted, as `provenance.json`
    beside its weights says; a dataset is missing where nobody knows.

    Args:
        name_or_path: a folder, or a repository on the Hub.

    Raises:
        ValueError: the file says something else.
    """
    content, path = _read_provenance(name_or_path)
    try:
        rates = {} if content is None else content.get("frame_rates", {})
        return {dataset: sorted(map(float, values)) for dataset, values in rates.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} must hold `frame_rates`, dataset to numbers; it does not: {error!r}.") from error


def join_frame_rates(*parts: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """Of all parts together, as of [`read_frame_rates`]."""
    names = sorted({name for part in parts for name in part})
    return {name: sorted({float(rate) for part in parts for rate in part.get(name, ())}) for name in names}


def _read_provenance(name_or_path: str | os.PathLike) -> tuple[Any, Path]:
    """Content of the file, `None` if there is none, and where it is."""
    path = Path(name_or_path) / PROVENANCE_NAME
    if not Path(name_or_path).is_dir():
        try:
            path = Path(hf_hub_download(os.fspath(name_or_path), PROVENANCE_NAME))
        except EntryNotFoundError:  # also offline, for a file that is not in the cache
            return None, path
    return read_json(path), path


def check_image_size(image_processor: MicronBertImageProcessor, config: MicronBertConfig) -> None:
    """
    Raises:
        ValueError: the processor makes frames of another size than the model takes.
    """
    size = image_processor.size["height"], image_processor.size["width"]
    if size != config.image_height_width:
        raise ValueError(f"The image processor makes {size}, the model takes {config.image_height_width}.")


def _with_labels(config: MicronBertConfig, label_names: Sequence[str], **config_fields: Any) -> MicronBertConfig:
    if len(label_names) < 2 or len(set(label_names)) != len(label_names):
        raise ValueError(f"Expected two or more different class names, got {list(label_names)}.")
    return type(config).from_dict(
        {
            **config.to_dict(),
            **config_fields,
            "id2label": dict(enumerate(label_names)),
            "label2id": {name: index for index, name in enumerate(label_names)},
        }
    )


def _classifier_over(
    encoder: MicronBertModel, label_names: Sequence[str], config_fields: Mapping[str, Any]
) -> MicronBertForMicroExpressionClassification:
    model = MicronBertForMicroExpressionClassification(_with_labels(encoder.config, label_names, **config_fields))
    try:
        model.micron_bert.load_state_dict(encoder.state_dict())
    except RuntimeError as error:
        raise ValueError(f"{dict(config_fields)} makes another encoder than the saved one: {error}") from error
    return model
