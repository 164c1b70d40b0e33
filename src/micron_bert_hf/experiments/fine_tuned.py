"""Micron-BERT as a method to be evaluated: fine-tuned anew in every fold, from one start, by one recipe."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..configuration_micron_bert import MicronBertConfig
from ..data import FramePairs, SeenPeople, holdout_subjects
from ..data.pairs import process_rows
from ..evaluation import Predictor, TrainingPairs, evaluate, parse_protocol
from ..image_processing_micron_bert import MicronBertImageProcessor
from ..modeling_micron_bert import MicronBertForMicroExpressionClassification, attention_drop
from ..training import (
    ClassificationRecipe,
    check_image_size,
    fine_tune,
    load_classifier,
    read_provenance,
    weights_fingerprint,
)


PREDICTION_BATCH_SIZE = 32


class FineTunedMicronBert:
    """
    A [`Method`]: what `recipe` trains, on a fold's training people.

    Args:
        recipe: its start, model and arguments; data and run are the evaluator's. With `num_validation_subjects` the
            number of epochs is chosen on so many of the fold's TRAINING people, who are then not learnt from.
    """

    uses_seed = True
    needs_motion = False

    def __init__(self, recipe: ClassificationRecipe):
        self.recipe = recipe
        self.name = recipe.method_name
        self._image_processor = recipe.make_image_processor()

    def identity(self, label_names: tuple[str, ...]) -> Mapping[str, Any]:
        recipe = self.recipe
        return {
            "started_from": recipe.start.model_name_or_path,
            # of what is loaded, since a name may come to stand for other weights
            "start_fingerprint": weights_fingerprint(recipe.make_model(label_names, seed=0)),
            "ignore_head": recipe.start.ignore_head,
            "model": dict(recipe.model),
            "arguments": asdict(recipe.arguments),
            "num_validation_subjects": recipe.run.num_validation_subjects,
            "image_processor": self._image_processor.to_dict(),
        }

    def seen_people(self) -> SeenPeople:
        return self.recipe.seen_people()

    def check(self, label_names: tuple[str, ...]) -> None:
        check_image_size(self._image_processor, self.recipe.make_model(label_names, seed=0).config)

    def prepare(self, row: Mapping[str, Any]) -> np.ndarray:
        """`pixel_values (2, C, H, W)` float32 of the face."""
        return process_rows([row], self._image_processor)[0].numpy()

    def fit(self, train: TrainingPairs, seed: int) -> Predictor:
        recipe = self.recipe
        model = recipe.make_model(train.label_names, seed)
        pairs = FramePairs.from_pixel_values(
            torch.from_numpy(train.inputs), torch.from_numpy(train.labels), train.sample_ids, train.subject_ids
        )
        validation = None
        if recipe.run.num_validation_subjects is not None:
            split = holdout_subjects(
                pairs.subject_ids, num_test_subjects=recipe.run.num_validation_subjects, seed=seed
            )
            pairs, validation = pairs.subset(split.train_indices), pairs.subset(split.test_indices)
        fine_tune(model, pairs, replace(recipe.arguments, seed=seed), validation=validation, progress=False)
        return MicronBertPredictor(model)


class FixedClassifier:
    """
    A [`Method`] for the protocol `as_is`: a saved classifier that answers as it stands.

    Args:
        name_or_path: a folder, or a repository on the Hub.
    """

    uses_seed = False
    needs_motion = False

    def __init__(self, name_or_path: str):
        self.name = f"Micron-BERT, {Path(name_or_path).name} as it is"
        self._path = name_or_path
        self._image_processor = MicronBertImageProcessor.from_pretrained(name_or_path)
        config = MicronBertConfig.from_pretrained(name_or_path)
        self._label_names = tuple(config.id2label[index] for index in range(config.num_labels))

    def identity(self, label_names: tuple[str, ...]) -> Mapping[str, Any]:
        return {
            "model": self._path,
            "fingerprint": weights_fingerprint(self._load()),
            "image_processor": self._image_processor.to_dict(),
        }

    def seen_people(self) -> SeenPeople:
        return read_provenance(self._path)

    def check(self, label_names: tuple[str, ...]) -> None:
        if set(label_names) != set(self._label_names):
            raise ValueError(
                f"{self._path} tells {list(self._label_names)} apart, and the data has {list(label_names)}."
            )
        check_image_size(self._image_processor, self._load().config)

    def prepare(self, row: Mapping[str, Any]) -> np.ndarray:
        """`pixel_values (2, C, H, W)` float32 of the face."""
        return process_rows([row], self._image_processor)[0].numpy()

    def fit(self, train: TrainingPairs, seed: int) -> Predictor:
        # the data may list the same classes in another order
        return MicronBertPredictor(self._load(), [self._label_names.index(name) for name in train.label_names])

    def _load(self) -> MicronBertForMicroExpressionClassification:
        return load_classifier(self._path, self._label_names, seed=0)


@dataclass(frozen=True)
class MicronBertPredictor:
    """
    An [`~micron_bert_hf.evaluation.methods.ExplainingPredictor`] of a trained classifier.

    Args:
        model: the classifier.
        order: for each class of the answer the class number of the model; as they are when absent.
    """

    model: MicronBertForMicroExpressionClassification
    order: Sequence[int] | None = None

    @torch.no_grad()
    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """`pixel_values (num_pairs, 2, C, H, W)` to `(num_pairs, num_labels)` float64, rows of sum 1."""
        self.model.eval()
        logits = [
            self.model(pixel_values=pixel_values.to(self.model.device)).logits.double().cpu()
            for pixel_values in torch.from_numpy(inputs).split(PREDICTION_BATCH_SIZE)
        ]
        probabilities = torch.cat(logits).softmax(dim=-1).numpy()
        return probabilities if self.order is None else probabilities[:, self.order]

    @torch.no_grad()
    def maps(self, inputs: np.ndarray) -> Mapping[str, np.ndarray]:
        """How much less each patch attends to itself than in a pair without motion, in nats; patch of interest."""
        self.model.eval()
        pixel_values = torch.from_numpy(inputs).to(self.model.device)
        moved, still = self.model(pixel_values), self.model(pixel_values[:, [0, 0]])
        drop = attention_drop(moved.diagonal_attention, still.diagonal_attention).mean(dim=1)
        grid = tuple(side // self.model.config.patch_size for side in pixel_values.shape[-2:])
        return {
            name: values.float().unflatten(1, grid).cpu().numpy()
            for name, values in (("Attention drop", drop), ("Patch of interest", moved.patch_of_interest))
        }


def evaluate_recipe(recipe: ClassificationRecipe, *, figures: bool = True) -> dict[str, Any]:
    """
    Evaluate a recipe with a `protocol`; see [`evaluate`], whose folder `output_dir` becomes.

    Args:
        figures (`bool`): also draw.

    Raises:
        ValueError: no `output_dir` or no `protocol`.
    """
    run = recipe.run
    if run.output_dir is None or run.protocol is None:
        raise ValueError("An evaluation needs `output_dir` and `protocol`.")
    return evaluate(
        partial(FineTunedMicronBert, recipe),
        recipe.read_samples,
        parse_protocol(run.protocol),
        recipe.seeds,
        run.output_dir,
        num_processes=run.num_processes,
        figures=figures,
        progress=run.progress,
    )
