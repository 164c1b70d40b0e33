"""The same model with and without each part: every variant is pretrained, fine-tuned in every fold and scored alike.

    OUT/pretrained/0a1b2c3d4e5f/    one for each way of pretraining that variants share; see `pretrain`
    OUT/variants/NAME/              see `evaluate`
    OUT/ablation.json               the table; written last

What is finished is not computed again.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from ..run_files import file_name, write_json, write_text
from ..run_provenance import run_provenance
from ..training import (
    ClassificationRecipe,
    PretrainingRecipe,
    pretrain,
    read_classification_recipe,
    read_recipe,
)
from .fine_tuned import evaluate_recipe


# Fields of the config that the classifier alone reads: variants that differ in nothing else share their pretraining.
_CLASSIFIER_FIELDS = ("pooling", "pooled_size", "classifier_hidden_size", "classifier_dropout")
_KEYS = ("pretraining", "fine_tuning", "model", "variants")
_VARIANT_KEYS = ("name", "pretrained", "model")


@dataclass(frozen=True)
class AblationVariant:
    """
    Args:
        name (`str`): for the table.
        pretrained (`bool`): whether it is pretrained before it is fine-tuned.
        model (`dict`): fields of [`MicronBertConfig`] in which it differs from the recipe's model.
    """

    name: str
    pretrained: bool = True
    model: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AblationRecipe:
    """
    A YAML file with the keys `pretraining` (of a pretraining recipe), `fine_tuning` (of a classification recipe, with
    `dataset`, `protocol` and `seeds`), `model` (fields of [`MicronBertConfig`]) and `variants`, a list of
    [`AblationVariant`].
    """

    pretraining: Mapping[str, Any]
    fine_tuning: Mapping[str, Any]
    model: Mapping[str, Any]
    variants: tuple[AblationVariant, ...]

    def pretraining_recipe(self, variant: AblationVariant, folder: Path) -> PretrainingRecipe:
        """The recipe of a variant's pretraining; it is written beside `folder`, in which the model will be."""
        model = {name: value for name, value in self._model(variant).items() if name not in _CLASSIFIER_FIELDS}
        return read_recipe([_write_yaml(folder, {**self.pretraining, "model": model}), "--output_dir", str(folder)])

    def classification_recipe(
        self, variant: AblationVariant, start: Path | None, folder: Path
    ) -> ClassificationRecipe:
        """The recipe of a variant's evaluation into `folder`."""
        content = {**self.fine_tuning, "model": self._model(variant), "method": variant.name}
        if start is not None:
            content["model_name_or_path"] = str(start)
        return read_classification_recipe([_write_yaml(folder, content), "--output_dir", str(folder)])

    def pretraining_name(self, variant: AblationVariant) -> str:
        """Equal for variants that share their pretraining."""
        model = {name: value for name, value in self._model(variant).items() if name not in _CLASSIFIER_FIELDS}
        described = json.dumps([self.pretraining, model], sort_keys=True)
        return hashlib.sha256(described.encode()).hexdigest()[:12]

    def _model(self, variant: AblationVariant) -> dict[str, Any]:
        return {**self.model, **variant.model}


def read_ablation(path: str | os.PathLike) -> AblationRecipe:
    """
    Raises:
        ValueError: keys that do not exist or are missing, or variants of one name.
    """
    content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    if not isinstance(content, dict) or set(content) != set(_KEYS):
        found = sorted(content) if isinstance(content, dict) else type(content).__name__
        raise ValueError(f"{path} must have the keys {list(_KEYS)}, got {found}.")
    variants = []
    for entry in content["variants"]:
        unknown = sorted(set(entry) - set(_VARIANT_KEYS))
        if unknown or "name" not in entry:
            raise ValueError(f"A variant has a `name` and may have {_VARIANT_KEYS[1:]}, got {sorted(entry)}.")
        variants.append(AblationVariant(**entry))
    names = [file_name(variant.name) for variant in variants]
    if not names or len(set(names)) != len(names):
        raise ValueError(f"{path} must have one or more variants of different names, got {names}.")
    return AblationRecipe(content["pretraining"], content["fine_tuning"], content["model"], tuple(variants))


def run_ablation(
    recipe: AblationRecipe, output_dir: str | os.PathLike, *, num_processes: int = 1, progress: bool = True
) -> dict[str, Any]:
    """
    Run every variant; the same call goes on where it was.

    Args:
        num_processes (`int`): folds at once.

    Returns:
        The content of `ablation.json`: `dataset`, `protocol`, `seeds`, where and when, and `variants`, a list of
        `{"name", "pretrained", "model", "uf1", "uar", "uf1_interval", "uf1_sd", "per_seed", "seconds",
        "transductive"}`; see [`~micron_bert_hf.evaluation.summarize`].
    """
    output_dir = Path(output_dir)
    # all of them before the first, so that a slip in the last does not cost a night
    for variant in recipe.variants:
        recipe.pretraining_recipe(variant, output_dir / "pretrained" / recipe.pretraining_name(variant)).make_model()
        recipe.classification_recipe(variant, None, output_dir / "variants" / file_name(variant.name))
    rows = []
    for variant in recipe.variants:
        if progress:
            print(f"\n{variant.name}", flush=True)
        start = _pretrain(recipe, variant, output_dir) if variant.pretrained else None
        folder = output_dir / "variants" / file_name(variant.name)
        classification = recipe.classification_recipe(variant, start, folder)
        run = replace(classification.run, num_processes=num_processes, progress=progress)
        results = evaluate_recipe(replace(classification, run=run), figures=False)
        rows.append(
            {
                "name": variant.name,
                "pretrained": variant.pretrained,
                "model": dict(variant.model),
                **{
                    name: results[name]
                    for name in ("uf1", "uar", "uf1_interval", "uf1_sd", "per_seed", "seconds", "transductive")
                },
            }
        )
        if progress:
            print(f"UF1 {results['uf1']:.3f}", flush=True)
    shared = {name: results[name] for name in ("dataset", "protocol", "seeds", "num_samples", "num_subjects")}
    content = {**shared, "variants": rows, **run_provenance()}
    write_json(output_dir / "ablation.json", content)
    return content


def _pretrain(recipe: AblationRecipe, variant: AblationVariant, output_dir: Path) -> Path:
    folder = output_dir / "pretrained" / recipe.pretraining_name(variant)
    pretraining = recipe.pretraining_recipe(variant, folder)
    result = pretrain(
        pretraining.make_model(),
        pretraining.make_image_processor(),
        pretraining.find_clips(),
        pretraining.arguments,
        pretraining.run,
    )
    if result.stopped_by is not None:
        raise InterruptedError("Stopped as asked; the same command goes on from here.")
    return folder


def _write_yaml(folder: Path, content: Mapping[str, Any]) -> str:
    folder.parent.mkdir(parents=True, exist_ok=True)
    path = folder.parent / f"{folder.name}.yaml"
    write_text(path, yaml.safe_dump(dict(content)))
    return str(path)
