"""
A stranger's process: run as a script, without `micron_bert_hf`, it loads a model by folder or repository with its own
code and answers for one pair of frames.

A request comes as JSON on standard input, with the keys of `isolation.ask`; the answer goes to the file it names.
"""

import importlib.abc
import json
import sys
from pathlib import Path
from typing import Any


class _Refusal(importlib.abc.MetaPathFinder):
    """Makes a package one that is not installed, however it was installed."""

    def __init__(self, package: str):
        self.package = package

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name.partition(".")[0] == self.package:
            raise ModuleNotFoundError(f"No module named {name!r}: it is hidden from this process", name=name)


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """
    Returns:
        `"values"`, number lists by name, and `"modules"`, where the classes that answered come from.
    """
    import numpy as np
    import torch
    from transformers import AutoImageProcessor, AutoModel, AutoModelForPreTraining, pipeline

    torch.set_num_threads(request["threads"])
    pair = tuple(np.load(request["pair"]))
    name, options = request["model"], {"revision": request["revision"], "trust_remote_code": True}
    if request["task"] is not None:
        classify = pipeline(request["task"], model=name, device="cpu", **options)
        parts = (classify, classify.model, classify.image_processor)
        found = classify(pair, return_maps=True)
        values = {f"score of {entry['label']}": [entry["score"]] for entry in found.pop("predictions")}
        values |= {map_name: value.ravel().tolist() for map_name, value in found.items()}
    else:
        auto_class = AutoModelForPreTraining if request["is_pretraining"] else AutoModel
        processor, model = (
            AutoImageProcessor.from_pretrained(name, **options),
            auto_class.from_pretrained(name, **options),
        )
        parts = (model, processor)
        encoder = model.micron_bert if request["is_pretraining"] else model
        with torch.no_grad():
            outputs = encoder.eval()(processor([pair], return_tensors="pt")["pixel_values"])
        values = {"last_hidden_state": outputs.last_hidden_state.float().ravel().tolist()}
    return {"values": values, "modules": [type(part).__module__ for part in parts]}


def main() -> None:
    request = json.load(sys.stdin)
    sys.path += [path for path in request["path"] if path not in sys.path]
    sys.meta_path.insert(0, _Refusal(request["hidden"]))
    Path(request["out"]).write_text(json.dumps(answer(request)), encoding="utf-8")


if __name__ == "__main__":
    main()
