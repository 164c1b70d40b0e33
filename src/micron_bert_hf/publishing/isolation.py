"""Questions to a process of its own: no package of ours unless wanted, an empty cache, and the Hub only if named."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from huggingface_hub import constants, get_token

from ..image_processing_micron_bert import MicronBertImageProcessor
from ..modeling_micron_bert import (
    MicronBertForMicroExpressionClassification,
    MicronBertForPreTraining,
    MicronBertPreTrainedModel,
)
from ..pipeline_micron_bert import MicroExpressionClassificationPipeline


PACKAGE = __name__.partition(".")[0]
TASK = "micro-expression-classification"
# Ours. On one machine the answers have been equal to the bit; a tensor's place in memory may decide the last one.
TOLERANCE = 1e-6
# Ours: loading takes 5 to 10 s on two cores, downloading what it takes.
_LONGEST_SECONDS = 3600
_PROGRAM = Path(__file__).with_name("isolated_answer.py")
# What would lead the process to the user's cache, which must not answer in the Hub's place.
_CACHE_VARIABLES = (
    "HF_HUB_CACHE",
    "HUGGINGFACE_HUB_CACHE",
    "HF_MODULES_CACHE",
    "HF_XET_CACHE",
    "HF_DATASETS_CACHE",
    "HF_EVALUATE_CACHE",
)
# What `transformers` and `evaluate` put code from the Hub in, in a folder that they add to `sys.path`.
_CODE_CACHES = ("transformers_modules", "evaluate_modules")


def example_pair() -> np.ndarray:
    """Onset and apex `(2, 60, 48, 3)` uint8: noise, the same always; no face, since it is only compared."""
    return np.random.default_rng(0).integers(0, 256, (2, 60, 48, 3), dtype=np.uint8)


def task_of(model: MicronBertPreTrainedModel) -> str | None:
    """The pipeline's name for a classifier; `None` for a model without one."""
    return TASK if isinstance(model, MicronBertForMicroExpressionClassification) else None


def own_answer(
    model: MicronBertPreTrainedModel, image_processor: MicronBertImageProcessor, pair: np.ndarray
) -> dict[str, list[float]]:
    """The answer of this package's classes; for a classifier its scores and maps, else the encoder's output."""
    if task_of(model) is not None:
        classify = MicroExpressionClassificationPipeline(
            model=model, image_processor=image_processor, task=TASK, device="cpu"
        )
        found = classify(tuple(pair), return_maps=True)
        values = {f"score of {entry['label']}": [entry["score"]] for entry in found.pop("predictions")}
        return values | {name: value.ravel().tolist() for name, value in found.items()}
    encoder = getattr(model, model.base_model_prefix, model).eval()
    with torch.no_grad():
        outputs = encoder(image_processor([tuple(pair)], return_tensors="pt")["pixel_values"])
    return {"last_hidden_state": outputs.last_hidden_state.float().ravel().tolist()}


def isolated_answer(
    name_or_path: str,
    model: MicronBertPreTrainedModel,
    pair: np.ndarray,
    *,
    revision: str | None = None,
    token: str | None = None,
) -> dict[str, list[float]]:
    """
    What somebody gets who has not installed this package, from the code beside the weights.

    Args:
        name_or_path: a folder, then nobody is asked over the network; with `revision` a repository at that commit.
        model: says what kind of model is expected.

    Raises:
        ValueError: it does not load, or what answered is not the code beside the weights; the message ends with what
            the process said.
    """
    with TemporaryDirectory() as folder:
        np.save(Path(folder) / "pair.npy", pair)
        request = {
            "model": os.fspath(name_or_path),
            "revision": revision,
            "pair": f"{folder}/pair.npy",
            "task": task_of(model),
            "is_pretraining": isinstance(model, MicronBertForPreTraining),
        }
        found = ask(_PROGRAM, request, Path(folder), online=revision is not None, token=token, hide_package=True)
    strangers = [module for module in found["modules"] if not module.startswith("transformers_modules.")]
    if strangers:
        raise ValueError(f"{name_or_path} was answered for by {strangers[0]}, not by the code beside its weights")
    return found["values"]


def ask(
    program: Path,
    request: Mapping[str, Any],
    folder: Path,
    *,
    online: bool,
    token: str | None = None,
    hide_package: bool,
) -> Any:
    """
    Run a script in isolated mode with an empty cache; it finds the libraries that this process finds.

    Args:
        request: for its standard input; `path`, `hidden`, `threads` and `out` are added.
        folder: for its cache and its answer.
        online (`bool`): the Hub may be asked, with `token` or the one that is logged in.
        hide_package (`bool`): this package cannot be imported there.

    Raises:
        ValueError: it failed or took too long; the message ends with what it said.
    """
    out = folder / "answer.json"
    # as this process finds libraries (PYTHONPATH, --user), but neither the working directory nor code from the Hub
    path = [
        os.path.abspath(entry)
        for entry in sys.path
        if entry and not any((Path(entry) / name).is_dir() for name in _CODE_CACHES)
    ]
    content = dict(request) | {
        "path": path,
        "hidden": PACKAGE if hide_package else "",
        "threads": torch.get_num_threads(),
        "out": str(out),
    }
    environment = {name: value for name, value in os.environ.items() if name not in (*_CACHE_VARIABLES, "HF_TOKEN")}
    environment |= {
        "HF_ENDPOINT": constants.ENDPOINT,
        "HF_HOME": str(folder / "home"),
        "HF_HUB_OFFLINE": "0" if online else "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    known_token = token or get_token()
    if online and known_token:
        environment["HF_TOKEN"] = known_token
    try:
        process = subprocess.run(
            [sys.executable, "-I", str(program)],
            input=json.dumps(content),
            env=environment,
            cwd=folder,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=_LONGEST_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"{request['model']} did not answer within {_LONGEST_SECONDS} s") from error
    if process.returncode != 0:
        # the end of a traceback
        said = process.stderr.strip().splitlines()[-3:]
        raise ValueError(f"{request['model']} does not load in a process of its own: {' / '.join(said)}")
    return json.loads(out.read_text(encoding="utf-8"))


def largest_difference(found: Mapping[str, Sequence[float]], expected: Mapping[str, Sequence[float]]) -> float:
    """
    Between two answers.

    Raises:
        ValueError: they hold other things, or differ by more than `TOLERANCE`; the message names what and how much.
    """
    if {name: len(values) for name, values in found.items()} != {name: len(v) for name, v in expected.items()}:
        raise ValueError(f"the answer holds {sorted(found)}, expected {sorted(expected)}, each as long")
    largest = 0.0
    for name, values in expected.items():
        difference = float(np.abs(np.subtract(found[name], values)).max())
        if not difference <= TOLERANCE:  # nor NaN
            raise ValueError(f"the answer differs from this package's by {difference:.3g} in {name}")
        largest = max(largest, difference)
    return largest
