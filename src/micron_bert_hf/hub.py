"""Model folders that stand alone: weights, processor, and the code to run them without this package."""

import copy
import ctypes
import errno
import hashlib
import json
import os
import re
import shutil
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    StrictDataclassError,
)
from safetensors import SafetensorError

from . import (
    configuration_micron_bert,
    image_processing_micron_bert,
    modeling_micron_bert,
    pipeline_micron_bert,
)
from .configuration_micron_bert import MicronBertConfig
from .image_processing_micron_bert import MicronBertImageProcessor
from .modeling_micron_bert import MicronBertForMicroExpressionClassification, MicronBertPreTrainedModel
from .run_files import read_json


# Every entry in every folder, whichever class was saved: transformers itself would write only that of the saved class,
# and AutoModel could not take the encoder out of a pretraining checkpoint.
MODEL_AUTO_MAP = {
    "AutoConfig": "configuration_micron_bert.MicronBertConfig",
    "AutoModel": "modeling_micron_bert.MicronBertModel",
    "AutoModelForPreTraining": "modeling_micron_bert.MicronBertForPreTraining",
    "AutoModelForVideoClassification": "modeling_micron_bert.MicronBertForMicroExpressionClassification",
}
IMAGE_PROCESSOR_AUTO_MAP = {"AutoImageProcessor": "image_processing_micron_bert.MicronBertImageProcessor"}
# Only in a classifier's folder: elsewhere the pipeline would answer from a head of random weights.
CUSTOM_PIPELINES = {
    "micro-expression-classification": {
        "impl": "pipeline_micron_bert.MicroExpressionClassificationPipeline",
        "pt": ["AutoModelForVideoClassification"],
        "type": "video",
    }
}
REMOTE_CODE = tuple(
    Path(module.__file__)
    for module in (
        configuration_micron_bert,
        modeling_micron_bert,
        image_processing_micron_bert,
        pipeline_micron_bert,
    )
)
CONFIG_NAME, PROCESSOR_NAME = "config.json", "preprocessor_config.json"
# One file, or the parts that an index names.
INDEX_NAME, WEIGHTS_PATTERN = "model.safetensors.index.json", r"model(-\d+-of-\d+)?\.safetensors"
# What was measured; and whom the model has seen: `subjects`, dataset -> people, and whether that `is_complete`.
RESULTS_NAME, PROVENANCE_NAME = "results.json", "provenance.json"
# What a model folder may hold beside what is written here, and keeps: the card and what belongs to the repository.
KEPT_NAMES = frozenset({"README.md", "LICENSE", ".gitattributes", ".gitignore"})
# <linux/fs.h> and <fcntl.h>
RENAME_EXCHANGE, AT_FDCWD = 2, -100


def save_for_hub(
    output_dir: str | os.PathLike,
    *,
    model: MicronBertPreTrainedModel,
    image_processor: MicronBertImageProcessor,
    results: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Path:
    """
    Write a folder that loads with `trust_remote_code=True` where this package is not installed: safetensors weights,
    config with the full `auto_map`, image processor, the four files of code, `results.json` and `provenance.json`.

    The folder is complete or absent: it is written beside its place and moved there in one step, so that neither an
    error nor a kill leaves a half of it (a kill leaves the old folder, and a hidden `.NAME.*` beside it). What
    `save_pretrained` or this function wrote to `output_dir` before is replaced as a whole; `README.md`, `LICENSE`,
    `.gitattributes` and `.gitignore` are kept. `model` and `image_processor` are not changed.

    Args:
        output_dir: absent, empty, or a model folder of this package
        model: any of the three model classes, on any device
        image_processor: the one the model was trained with
        results: what was measured, JSON-able (plain dicts, lists, strings, finite numbers)
        provenance: whom the model has seen, likewise

    Returns:
        `Path`: the folder.

    Raises:
        TypeError: `model` or `image_processor` is of another class; `results` or `provenance` cannot be written as
            JSON.
        ValueError: one of the two holds NaN or infinity.
        FileExistsError: `output_dir` is a file or holds anything else; nothing of it was touched.
    """
    if not isinstance(model, MicronBertPreTrainedModel):
        raise TypeError(f"Expected a Micron-BERT model, not wrapped or compiled, got {type(model).__name__}.")
    if not isinstance(image_processor, MicronBertImageProcessor):
        raise TypeError(f"Expected a MicronBertImageProcessor, got {type(image_processor).__name__}.")
    texts = {
        name: json.dumps(content, indent=2, allow_nan=False, default=_refuse) + "\n"
        for name, content in ((RESULTS_NAME, results), (PROVENANCE_NAME, provenance))
        if content is not None
    }
    output_dir = Path(output_dir).resolve()  # a link stays a link
    kept = check_replaceable(output_dir)

    output_dir.parent.mkdir(parents=True, exist_ok=True)
    new_dir = output_dir.parent / f".{output_dir.name}.{uuid.uuid4().hex}"
    try:
        new_dir.mkdir()
        _save_model(model, new_dir)
        _save_image_processor(image_processor, new_dir)
        for file in REMOTE_CODE:
            shutil.copyfile(file, new_dir / file.name)
        for name, text in texts.items():
            (new_dir / name).write_text(text, encoding="utf-8")
        for file in kept:
            shutil.copy2(file, new_dir / file.name)
        _move_into_place(new_dir, output_dir)
    finally:
        shutil.rmtree(new_dir, ignore_errors=True)  # after an exchange, the folder that was replaced
    return output_dir


def model_folder(name_or_path: str | os.PathLike, revision: str | None = None) -> Path:
    """
    The folder itself, or that of a download: of a repository neither code nor anything else that is not read here.

    Args:
        name_or_path: a folder, or a repository on the Hub.
        revision (*optional*): of the repository.

    Raises:
        OSError: there is neither, or the Hub cannot be reached and the repository is not in the cache.
    """
    name = os.fspath(name_or_path)
    if os.path.isdir(name):
        return Path(name)
    no_name = f"there is no folder {name}, and it is no USER/NAME"
    if name.count("/") != 1:
        raise FileNotFoundError(no_name)
    files = [CONFIG_NAME, PROCESSOR_NAME, "model*.safetensors", INDEX_NAME, RESULTS_NAME, PROVENANCE_NAME]
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=files))
    except HFValidationError as error:
        raise FileNotFoundError(no_name) from error
    except RepositoryNotFoundError as error:
        raise FileNotFoundError(
            f"there is no folder {name}, and on the Hub no repository of that name that you may read"
        ) from error
    except LocalEntryNotFoundError as error:
        raise FileNotFoundError(
            f"there is no folder {name}, and as a repository it is not in the cache and could not be downloaded: is"
            " there an internet connection?"
        ) from error


def load_classifier_folder(
    folder: str | os.PathLike,
) -> tuple[MicronBertForMicroExpressionClassification, MicronBertImageProcessor]:
    """
    The classifier of a folder in float32, ready to answer, and its image processor; code in the folder is not run.

    Raises:
        OSError: no such folder, or its weights or a config is missing.
        ValueError: the folder holds no classifier of this package, a damaged one, or another image processor.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    expected = MicronBertForMicroExpressionClassification.__name__
    found = _read_config(folder).get("architectures")
    if found != [expected]:
        raise ValueError(f"{folder} is no folder of a {expected}: its {CONFIG_NAME} names {found}")
    image_processor = load_image_processor(folder)  # before the weights, which take longer
    return load_whole(MicronBertForMicroExpressionClassification, folder).eval(), image_processor


def load_image_processor(folder: Path) -> MicronBertImageProcessor:
    """
    Raises:
        FileNotFoundError: `preprocessor_config.json` is missing.
        ValueError: it is damaged, or of an image processor of another class.
    """
    content = read_object(folder / PROCESSOR_NAME)
    if content is None:
        raise FileNotFoundError(f"{folder} has no {PROCESSOR_NAME}, which says what the frames are to be")
    expected, found = MicronBertImageProcessor.__name__, content.get("image_processor_type")
    if found != expected:
        raise ValueError(f"{folder / PROCESSOR_NAME} must be of a {expected}; its image_processor_type is {found!r}")
    return MicronBertImageProcessor.from_pretrained(folder)


def load_whole(
    kind: type[MicronBertPreTrainedModel],
    name_or_path: str | os.PathLike,
    dtype: torch.dtype | str = torch.float32,
    **config_fields: Any,
) -> MicronBertPreTrainedModel:
    """
    A model from safetensors, with no tensor missing and none over, each of the shape that the config says and finite.

    Args:
        kind: one of the three model classes.
        name_or_path: a folder, or a repository on the Hub.
        dtype: of the model; `"auto"` is that of the weights.
        config_fields: replace those of its config.

    Raises:
        OSError: it is not there, or has no safetensors.
        ValueError: it is damaged, its tensors are not those of a `kind` of its config, or one holds NaN or infinity.
    """
    folder = model_folder(name_or_path)
    _check_names_of_weights(folder)
    try:
        model, report = kind.from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, by name
            **config_fields,
        )
    except StrictDataclassError as error:
        raise ValueError(f"{folder / CONFIG_NAME} is no config of this model: {error}") from error
    except SafetensorError as error:
        raise ValueError(f"the weights in {folder} are damaged or no safetensors: {error}") from error
    except RuntimeError as error:
        raise ValueError(f"the weights in {folder} do not fit its {CONFIG_NAME}: {error}") from error
    wrong = {
        "missing": sorted(report["missing_keys"]),
        "without a place": sorted(report["unexpected_keys"]),
        "of a shape that does not fit": [
            f"{name} {tuple(found)} instead of {tuple(expected)}"
            for name, found, expected in sorted(report["mismatched_keys"])
        ],
    }
    if any(wrong.values()):
        said = ", ".join(f"{what} {names[:5]} ({len(names)})" for what, names in wrong.items() if names)
        raise ValueError(f"the weights in {folder} do not fit its {CONFIG_NAME} as a {kind.__name__}: {said}")
    spoilt = [name for name, tensor in model.state_dict().items() if not torch.isfinite(tensor).all()]
    if spoilt:
        raise ValueError(f"the weights in {folder} hold NaN or infinity: {', '.join(spoilt[:5])} ({len(spoilt)})")
    return model


def read_object(path: Path) -> dict[str, Any] | None:
    """
    `None` if there is no such file.

    Raises:
        ValueError: it is no JSON, or no object; the message names it.
    """
    content = read_json(path)
    if content is not None and not isinstance(content, dict):
        raise ValueError(f"{path} must hold an object, got a {type(content).__name__}")
    return content


def weights_fingerprint(model: torch.nn.Module) -> str:
    """SHA-256 over every parameter and saved buffer: name, dtype, shape and bytes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _read_config(folder: Path) -> dict[str, Any]:
    content = read_object(folder / CONFIG_NAME)
    if content is None:
        raise FileNotFoundError(f"{folder} is no model folder: it has no {CONFIG_NAME}")
    return content


def _check_names_of_weights(folder: Path) -> None:
    """
    Before anything is read: config and index may name any file, here or elsewhere on this machine, and transformers
    takes what does not end in `.safetensors` for a pickle.
    """
    if "transformers_weights" in _read_config(folder):
        raise ValueError(f"{folder / CONFIG_NAME} names a file of weights of its own (transformers_weights)")
    index = read_object(folder / INDEX_NAME)
    if index is None:
        return
    files = index.get("weight_map")
    if not isinstance(files, dict) or not isinstance(index.get("metadata"), dict):
        raise ValueError(f"{folder / INDEX_NAME} must hold `metadata` and `weight_map`, tensor to file")
    foreign = sorted({str(file) for file in files.values() if not re.fullmatch(WEIGHTS_PATTERN, str(file))})
    if foreign:
        raise ValueError(
            f"{folder / INDEX_NAME} names {', '.join(foreign[:5])} ({len(foreign)}); expected files of the same folder"
            " such as model-00001-of-00002.safetensors"
        )


def _refuse(value: Any) -> None:
    raise TypeError(f"`results` and `provenance` must be JSON-able, got {value!r} of type {type(value).__name__}.")


def _save_model(model: MicronBertPreTrainedModel, folder: Path) -> None:
    """`save_pretrained` under a copy of the config: it writes into the config, and so does this function."""
    config = model.config
    published = copy.deepcopy(config)
    published.auto_map = dict(MODEL_AUTO_MAP)
    if isinstance(model, MicronBertForMicroExpressionClassification):
        published.custom_pipelines = copy.deepcopy(CUSTOM_PIPELINES)
    else:  # those of the classifier whose folder the encoder may have been loaded from
        published.__dict__.pop("custom_pipelines", None)
    model.config = published
    try:
        model.save_pretrained(folder)
    finally:
        model.config = config


def _save_image_processor(image_processor: MicronBertImageProcessor, folder: Path) -> None:
    published = copy.deepcopy(image_processor)
    published.auto_map = dict(IMAGE_PROCESSOR_AUTO_MAP)
    published.save_pretrained(folder)


def check_replaceable(folder: Path) -> list[Path]:
    """
    The files to keep of a folder that may be replaced.

    Raises:
        FileExistsError: the folder holds what neither `save_pretrained` nor `save_for_hub` wrote.
    """
    if not os.path.lexists(folder):
        return []
    if not folder.is_dir():
        raise FileExistsError(f"{folder} is a file, expected a folder or nothing.")
    entries = sorted(folder.iterdir())
    if entries and not _is_model_folder(folder):
        raise FileExistsError(
            f"{folder} is not empty and not a Micron-BERT model folder (it holds {_names(entries)}); choose another."
        )
    written = {file.name for file in REMOTE_CODE}
    written |= {CONFIG_NAME, PROCESSOR_NAME, RESULTS_NAME, PROVENANCE_NAME, INDEX_NAME}
    foreign = [
        entry
        for entry in entries
        if not entry.is_file() or not (entry.name in written | KEPT_NAMES or entry.match("model*.safetensors"))
    ]
    if foreign:
        raise FileExistsError(
            f"{folder} holds {_names(foreign)}, which would be lost; a model folder has neither checkpoints nor"
            " pickles. Move them, or choose another folder."
        )
    return [entry for entry in entries if entry.name in KEPT_NAMES]


def _is_model_folder(folder: Path) -> bool:
    try:
        config = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("model_type") == MicronBertConfig.model_type


def _names(entries: list[Path]) -> str:
    names = [entry.name for entry in entries[:5]]
    return ", ".join(names) + (f" and {len(entries) - 5} more" if len(entries) > 5 else "")


def _move_into_place(new_dir: Path, output_dir: Path) -> None:
    """One step: a rename where nothing stands, else an exchange of the two folders (the old one is then `new_dir`)."""
    if not output_dir.exists():
        new_dir.rename(output_dir)
    elif not _exchange(new_dir, output_dir):
        # where the system cannot exchange, a kill between the two renames leaves the old folder beside its place
        old_dir = new_dir.with_name(new_dir.name + ".old")
        output_dir.rename(old_dir)
        try:
            new_dir.rename(output_dir)
        except OSError:
            old_dir.rename(output_dir)
            raise
        shutil.rmtree(old_dir)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two folders atomically by renameat2(2); False where the system (not Linux, a network disk) cannot."""
    if sys.platform != "linux":
        return False
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:  # a C library from before 2018
        return False
    if renameat2(AT_FDCWD, os.fsencode(first), AT_FDCWD, os.fsencode(second), RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EXDEV):
        return False
    raise OSError(code, os.strerror(code), str(second))


__all__ = [
    "load_classifier_folder",
    "load_image_processor",
    "load_whole",
    "model_folder",
    "save_for_hub",
    "weights_fingerprint",
]
