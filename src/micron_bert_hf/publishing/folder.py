"""The folder to publish: what it may hold, what is read of it, and the complete copy that is sent in its place."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from ..configuration_micron_bert import MicronBertConfig
from ..hub import (
    CONFIG_NAME,
    INDEX_NAME,
    PROCESSOR_NAME,
    PROVENANCE_NAME,
    REMOTE_CODE,
    RESULTS_NAME,
    WEIGHTS_PATTERN,
    load_image_processor,
    load_whole,
    read_object,
    save_for_hub,
)
from ..image_processing_micron_bert import MicronBertImageProcessor
from ..modeling_micron_bert import (
    MicronBertForMicroExpressionClassification,
    MicronBertForPreTraining,
    MicronBertModel,
    MicronBertPreTrainedModel,
)
from ..run_files import file_name, write_json
from .results import Result, check_result, read_results


CARD_NAME, LICENSE_NAME, CONVERSION_NAME = "README.md", "LICENSE", "conversion.json"
EVALUATIONS_FOLDER = "evaluations"
# The files that a publication writes, so that those of an earlier one can be told from a stranger's.
OWN_PATTERNS = (
    CONFIG_NAME,
    PROCESSOR_NAME,
    "model*.safetensors",
    INDEX_NAME,
    "*_micron_bert.py",
    RESULTS_NAME,
    PROVENANCE_NAME,
    CONVERSION_NAME,
    f"{EVALUATIONS_FOLDER}/*.json",
)
_MODEL_CLASSES = {
    kind.__name__: kind
    for kind in (MicronBertModel, MicronBertForPreTraining, MicronBertForMicroExpressionClassification)
}
_CODE_NAMES = frozenset(file.name for file in REMOTE_CODE)
_READ_NAMES = frozenset(
    {
        CONFIG_NAME,
        PROCESSOR_NAME,
        INDEX_NAME,
        CARD_NAME,
        LICENSE_NAME,
        RESULTS_NAME,
        PROVENANCE_NAME,
        CONVERSION_NAME,
    }
)
# What a run of pretraining leaves beside its model, and what belongs to a repository: neither read nor sent.
_LEFT_OUT = (
    r"run\.json|history\.json|summary\.png|pictures|checkpoint-\d+|\.lock|__pycache__"
    r"|micron-bert-pretraining|\.git|\.gitattributes|\.gitignore|\.cache"
)
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz", ".h5")


@dataclass(frozen=True)
class ModelFolder:
    """
    What was read of a folder.

    Args:
        model, image_processor: loaded by this package's classes, whatever code lies in the folder.
        results (`dict`, *optional*): of `results.json`.
        evaluations (`tuple[Result, ...]`): of an earlier publication, which this one repeats.
        provenance (`dict`, *optional*): of `provenance.json`: which people the model has seen.
        conversion (`dict`, *optional*): of `conversion.json`: which checkpoint of the original code it was made from.
        card, license (`str`, *optional*): texts of `README.md` and `LICENSE`.
        left_out (`tuple[str, ...]`): names of what is there and is not sent.
        replaced_code (`tuple[str, ...]`): files of code that are not those of this version, which are sent instead.
    """

    model: MicronBertPreTrainedModel
    image_processor: MicronBertImageProcessor
    results: dict[str, Any] | None
    evaluations: tuple[Result, ...]
    provenance: dict[str, Any] | None
    conversion: dict[str, Any] | None
    card: str | None
    license: str | None
    left_out: tuple[str, ...]
    replaced_code: tuple[str, ...]


def read_model_folder(folder: Path) -> ModelFolder:
    """
    Raises:
        FileNotFoundError: no such folder, or a part of a model is not there.
        ValueError: it holds a pickle or what has no place in a model folder; the weights are damaged, or not exactly
            those of the config.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder")
    left_out = _check_entries(folder)
    for name in (CONFIG_NAME, PROCESSOR_NAME):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} is no model folder: {name} is missing")
    results = read_object(folder / RESULTS_NAME)
    return ModelFolder(
        model=_load_model(folder),
        image_processor=load_image_processor(folder),
        results=None if results is None else check_result(results, str(folder / RESULTS_NAME)),
        evaluations=tuple(read_results(sorted((folder / EVALUATIONS_FOLDER).glob("*.json")))),
        provenance=read_provenance(folder / PROVENANCE_NAME),
        conversion=read_object(folder / CONVERSION_NAME),
        card=_read_text(folder / CARD_NAME),
        license=_read_text(folder / LICENSE_NAME),
        left_out=left_out,
        replaced_code=tuple(
            file.name
            for file in REMOTE_CODE
            if (folder / file.name).is_file() and (folder / file.name).read_bytes() != file.read_bytes()
        ),
    )


def _check_entries(folder: Path) -> tuple[str, ...]:
    """Names of what is left out; see [`read_model_folder`] for errors."""
    entries = sorted(folder.iterdir())
    left_out = tuple(entry.name for entry in entries if re.fullmatch(_LEFT_OUT, entry.name))
    others = [entry for entry in entries if entry.name not in left_out]
    pickles = [entry.name for entry in others if entry.suffix.lower() in _PICKLES]
    if pickles:
        raise ValueError(
            f"{folder} holds {', '.join(pickles)}: a pickle runs code on whoever loads it, and only safetensors are"
            " published. Move it away."
        )
    foreign = [
        entry.name
        for entry in others
        if not (
            entry.is_file() and (entry.name in _READ_NAMES | _CODE_NAMES or re.fullmatch(WEIGHTS_PATTERN, entry.name))
        )
        and not (entry.is_dir() and entry.name == EVALUATIONS_FOLDER)
    ]
    if foreign:
        raise ValueError(f"{folder} holds {', '.join(foreign)}, which has no place in a model folder; move it away")
    return left_out


def _load_model(folder: Path) -> MicronBertPreTrainedModel:
    """In the dtype it was saved in; see [`load_whole`]."""
    content = read_object(folder / CONFIG_NAME)
    names = content.get("architectures") or [None]
    if content.get("model_type") != MicronBertConfig.model_type or names[0] not in _MODEL_CLASSES:
        raise ValueError(
            f"{folder / CONFIG_NAME} must be of one of {sorted(_MODEL_CLASSES)}; it says model_type"
            f" {content.get('model_type')!r}, architectures {content.get('architectures')!r}"
        )
    if not any(re.fullmatch(WEIGHTS_PATTERN, entry.name) for entry in folder.iterdir()):
        raise FileNotFoundError(f"{folder} has no weights: model.safetensors is missing")
    return load_whole(_MODEL_CLASSES[names[0]], folder, dtype="auto").eval()


def read_provenance(path: Path) -> dict[str, Any] | None:
    content = read_object(path)
    if content is not None and not (
        isinstance(content.get("subjects"), dict)
        and all(isinstance(people, list) for people in content["subjects"].values())
        and isinstance(content.get("is_complete"), bool)
    ):
        raise ValueError(f"{path} must hold `subjects`, dataset to list of people, and `is_complete`; it does not")
    rates = {} if content is None else content.get("frame_rates", {})
    if not (
        isinstance(rates, dict)
        and all(isinstance(values, list) and all(map(_is_rate, values)) for values in rates.values())
    ):
        raise ValueError(f"{path} has `frame_rates` {rates!r}; expected dataset to list of frames a second")
    return content


def _is_rate(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0


def _read_text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def write_complete_folder(target: Path, source: ModelFolder, card: str, results: Sequence[Result]) -> Path:
    """
    Everything that is sent, and nothing else.

    Args:
        target: must not exist.
        card: text of `README.md`.
        results: those that do not come from the folder itself go to `evaluations/`.
    """
    save_for_hub(
        target,
        model=source.model,
        image_processor=source.image_processor,
        results=without_local_paths(source.results),
        provenance=without_local_paths(source.provenance),
    )
    (target / CARD_NAME).write_text(card, encoding="utf-8")
    if source.license is not None:
        (target / LICENSE_NAME).write_text(source.license, encoding="utf-8")
    if source.conversion is not None:
        write_json(target / CONVERSION_NAME, without_local_paths(source.conversion))
    others = [result for result in results if not result.is_of_folder]
    if others:
        (target / EVALUATIONS_FOLDER).mkdir()
    for number, result in enumerate(others, start=1):
        name = file_name(f"{number} {result.dataset} {result.protocol} {result.method}")
        write_json(target / EVALUATIONS_FOLDER / f"{name}.json", without_local_paths(result.content))
    return target


def without_local_paths(value: Any) -> Any:
    """A copy in which an absolute path is its last part: whoever publishes does not publish the names of folders."""
    if isinstance(value, Mapping):
        return {key: without_local_paths(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_local_paths(entry) for entry in value]
    if isinstance(value, str):
        for kind in (PurePosixPath, PureWindowsPath):
            if kind(value).is_absolute():
                return kind(value).name
    return value


def sent_files(folder: Path) -> list[str]:
    """Paths in a complete folder, sorted, with `/`."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def label_names(model: MicronBertPreTrainedModel) -> tuple[str, ...] | None:
    """Classes in order of the logits; `None` for a model without a head."""
    if not isinstance(model, MicronBertForMicroExpressionClassification):
        return None
    return tuple(model.config.id2label[index] for index in range(model.config.num_labels))
