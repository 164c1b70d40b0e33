"""What `micron-bert evaluate` and `micron-bert score` do, from their words to the text that they print."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..data import SampleSet
from ..evaluation import (
    REFERENCE_METHODS,
    Method,
    PredictionTable,
    evaluate,
    paired_comparison,
    parse_protocol,
    seed_confusions,
    summarize,
    write_figures,
)
from ..evaluation.evaluator import PREDICTIONS_NAME
from ..evaluation.protocols import AS_IS
from ..run_files import file_name
from ..training import read_classification_recipe
from .fine_tuned import FineTunedMicronBert, FixedClassifier


_RECIPE_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class EvaluationRequest:
    """
    Args:
        checkpoint (`str`): a model's folder or repository, a classification recipe, or the name of a reference method.
        dataset (`str`): see [`~micron_bert_hf.training.LabelledDataArguments`], as for `label_map`, `split`, `crop`.
        protocol (`str`): see [`parse_protocol`].
        seeds (`tuple[int, ...]`)
        output (`Path`, *optional*): made up from method, dataset and protocol when absent.
        recipe (`Path`, *optional*): how `checkpoint`, a model, is fine-tuned.
        label_map, split, crop: of the dataset.
        ignore_head (`bool`): learn a new head where the model has one.
    """

    checkpoint: str
    dataset: str
    protocol: str
    seeds: tuple[int, ...]
    output: Path | None = None
    recipe: Path | None = None
    label_map: str | None = None
    split: str = "train"
    crop: str | None = None
    ignore_head: bool = False

    def resolve(self) -> tuple[Callable[[], Method], Callable[[], SampleSet]]:
        """
        Makers of the method and of the samples, as [`evaluate`] takes them.

        Raises:
            ValueError: options that do not go together.
        """
        is_reference = self.checkpoint in REFERENCE_METHODS
        is_recipe = self.checkpoint.endswith(_RECIPE_SUFFIXES)
        if self.recipe is not None and (is_reference or is_recipe):
            raise ValueError(f"--recipe says how a model is fine-tuned; {self.checkpoint} is not a model.")
        if self.ignore_head and (is_reference or is_recipe):
            raise ValueError(f"--ignore-head is for a model; {self.checkpoint} is none.")
        words = [self.checkpoint] if is_recipe else [] if self.recipe is None else [str(self.recipe)]
        words += ["--dataset", self.dataset, "--split", self.split]
        for name, value in (("label_map", self.label_map), ("crop", self.crop)):
            if value is not None:
                words += [f"--{name}", value]
        if not (is_reference or is_recipe):
            words += ["--model_name_or_path", self.checkpoint, "--ignore_head", str(self.ignore_head).lower()]
        recipe = read_classification_recipe(words)
        make_samples = recipe.read_samples
        if self.protocol == AS_IS:
            if is_reference or is_recipe or self.recipe is not None:
                raise ValueError(f"The protocol {AS_IS} asks a classifier that is trained; give a model alone.")
            return partial(FixedClassifier, self.checkpoint), make_samples
        if is_reference:
            return REFERENCE_METHODS[self.checkpoint], make_samples
        return partial(FineTunedMicronBert, recipe), make_samples


def run_evaluation(request: EvaluationRequest, *, num_processes: int = 1, progress: bool = True) -> str:
    """
    Evaluate, and say in words what came out; errors as of [`evaluate`] and [`EvaluationRequest`].
    """
    make_method, make_samples = request.resolve()
    protocol = parse_protocol(request.protocol)
    output = request.output
    if output is None:
        output = Path(
            file_name(f"results {Path(request.checkpoint).name} {Path(request.dataset).name} {protocol.name}")
        )
    results = evaluate(
        make_method, make_samples, protocol, request.seeds, output, num_processes=num_processes, progress=progress
    )
    return f"{describe_results(results)}\n\nPredictions, results and figures are in {output}"


def score_predictions(
    path: Path, other: Path | None = None, figures: Path | None = None, *, as_json: bool = False
) -> str:
    """
    Every number of a table of predictions, and of its difference to another.

    Args:
        path, other: tables, or the folders of evaluations.
        figures: a folder that does not exist, to draw into.
        as_json (`bool`): instead of words.

    Raises:
        ValueError: the other table is of other samples, classes or seeds.
    """
    table = _read(path)
    results = summarize(table, table.metadata)
    if figures is not None:
        write_figures(figures, table, results)
    text = describe_results(results)
    if other is not None:
        other_table = _read(other)
        results["comparison"] = compare_tables(table, other_table)
        text += "\n\n" + describe_comparison(results["comparison"], str(other_table.metadata.get("method", other)))
    return json.dumps(results, indent=2, allow_nan=False) if as_json else text


def compare_tables(table: PredictionTable, other: PredictionTable) -> dict[str, Any]:
    """
    [`paired_comparison`] of two tables over the same people. Where one of them is of a single seed (a method without
    chance), it stands beside each seed of the other.

    Raises:
        ValueError: other label sets, people, samples, or numbers of seeds that do not go together.
    """
    if table.label_names != other.label_names:
        raise ValueError(f"Expected one label set, got {table.label_names} and {other.label_names}.")
    people, confusions = seed_confusions(table)
    other_people, other_confusions = seed_confusions(other)
    keys, other_keys = (set(zip(one.datasets, one.sample_ids)) for one in (table, other))
    if people != other_people or keys != other_keys:
        raise ValueError(
            f"Expected predictions of the same samples, got {len(keys - other_keys)} of the first alone and"
            f" {len(other_keys - keys)} of the second alone."
        )
    num_seeds = max(len(confusions), len(other_confusions))
    confusions, other_confusions = (
        one.repeat(num_seeds, axis=0) if len(one) == 1 else one for one in (confusions, other_confusions)
    )
    return paired_comparison(confusions, other_confusions)


def describe_results(results: Mapping[str, Any]) -> str:
    """Some lines for a terminal, from [`summarize`]'s mapping."""
    seeds = results.get("seeds") or [entry["seed"] for entry in results["per_seed"]]
    lines = [
        f"{results.get('method', 'predictions')} on {results['dataset']}, {results.get('protocol', 'one fold')}:"
        f" {results['num_samples']} samples of {results['num_subjects']} people, {results['num_folds']} folds,"
        f" {len(seeds)} seed{'s' * (len(seeds) > 1)}",
        f"  {'':22} UF1    UAR    accuracy",
        f"  {'pooled over folds':22} {results['uf1']:.3f}  {results['uar']:.3f}  {results['accuracy']:.3f}",
        f"  {'95 % over people':22} {_interval(results['uf1_interval'])} {_interval(results['uar_interval'])}",
    ]
    if len(seeds) > 1:
        lines.append(
            f"  {'sd over seeds':22} {results['uf1_sd']:.3f}  {results['uar_sd']:.3f}  {results['accuracy_sd']:.3f}"
        )
    if results["majority_baseline"] is not None:
        majority = results["majority_baseline"]
        lines.append(
            f"  {'majority class':22} {majority['uf1']:.3f}  {majority['uar']:.3f}  {majority['accuracy']:.3f}"
        )
    if len(results["per_dataset"]) > 1:
        for name, scores in results["per_dataset"].items():
            lines.append(f"  {name:22} {scores['uf1']:.3f}  {scores['uar']:.3f}  {scores['accuracy']:.3f}")
    lines.append("  F1 of each class: " + ", ".join(f"{n} {s['f1']:.3f}" for n, s in results["per_class"].items()))
    if results["transductive"]:
        lines.append(
            f"  TRANSDUCTIVE: {results['num_seen_test_subjects']} of the people tested on had been seen before, in"
            " pretraining for example; this is no number about new people"
        )
    if results["transductive"] is None:
        lines.append("  Nobody wrote down whom the model had seen before: it may have seen these people.")
    return "\n".join(lines)


def describe_comparison(comparison: Mapping[str, Any], other_name: str) -> str:
    low, high = comparison["uf1_difference_interval"]
    return (
        f"UF1 against {other_name}: {comparison['uf1_difference']:+.3f} (95 % {low:+.3f} ... {high:+.3f}),"
        f" p = {comparison['p_value']:.4f} (randomization over {comparison['num_subjects']} people, two-sided)"
    )


def _interval(bounds: list[float]) -> str:
    return f"{bounds[0]:.3f} ... {bounds[1]:.3f}"


def _read(path: Path) -> PredictionTable:
    return PredictionTable.read(path / PREDICTIONS_NAME if path.is_dir() else path)
