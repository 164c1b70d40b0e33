"""A classifier as a YAML recipe, any line of which the command line may change.

    recipe = read_classification_recipe(["recipe.yaml", "--dataset", "FACES", "--output_dir", "OUT"])
    train_classifier(recipe)

    OUT/training/              see `fine_tune`: what the run goes on from, and history.json
    OUT/model/                 the classifier, ready for `from_pretrained` and the Hub
    OUT/model/provenance.json  which people it has seen, those of the model it started from among them

The keys of a recipe are the fields of `LabelledDataArguments`, `StartArguments`, `FineTuningArguments`,
`ClassificationRunArguments` and `HubArguments`, nested ones with a dot on the command line; `model` holds fields of
`MicronBertConfig`.
"""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from accelerate import PartialState

from ..data import FramePairs, SampleSet, SeenPeople, holdout_subjects, person_ids, read_samples
from ..data.pairs import process_rows
from ..hub import PROVENANCE_NAME, save_for_hub
from ..image_processing_micron_bert import MicronBertImageProcessor
from ..modeling_micron_bert import MicronBertForMicroExpressionClassification
from .classifiers import check_image_size, load_classifier, new_classifier, read_frame_rates, read_provenance
from .fine_tuning import FineTuningArguments, fine_tune
from .hub_arguments import HubArguments
from .recipes import check_recipe_file, make_image_processor, make_preset, parse_command_line


MODEL_NAME, TRAINING_NAME = "model", "training"


@dataclass(frozen=True)
class LabelledDataArguments:
    """
    Which pairs, and which classes.

    Args:
        dataset (`str`): a folder with a labelled set, the id of one on the Hub, or the name of a labelled synthetic
            preset, which is made once and kept in the Hugging Face cache.
        label_map (`str`, *optional*): see [`~micron_bert_hf.data.read_samples`], also for the next two.
        split (`str`)
        crop (`str`, *optional*)
    """

    dataset: str
    label_map: str | None = None
    split: str = "train"
    crop: str | None = None


@dataclass(frozen=True)
class StartArguments:
    """
    Args:
        model_name_or_path (`str`, *optional*): start from this model, see [`load_classifier`], instead of from random
            weights.
        ignore_head (`bool`): with a new head, also where that model is a classifier.
    """

    model_name_or_path: str | None = None
    ignore_head: bool = False

    def __post_init__(self):
        if self.ignore_head and self.model_name_or_path is None:
            raise ValueError("`ignore_head` is for a model that is started from; give `model_name_or_path`.")


@dataclass(frozen=True)
class ClassificationRunArguments:
    """
    Where results go and, of an evaluation, what is held out.

    Args:
        output_dir (*optional*): absent, empty, or of this very run, which then goes on.
        num_validation_subjects (`int`, *optional*): so many people are not learnt from, and the best epoch is chosen
            on them; with a protocol, of each fold's training people. Without it the last epoch counts.
        protocol (`str`, *optional*): evaluate instead of training one classifier; such as `"loso"`.
        method (`str`, *optional*): with a protocol: what tables call it.
        seeds (`tuple[int, ...]`, *optional*): with a protocol: each fold is trained once with each; by default `seed`
            alone.
        num_processes (`int`): with a protocol: folds at once.
        progress (`bool`)
    """

    output_dir: Path | None = None
    num_validation_subjects: int | None = None
    protocol: str | None = None
    method: str | None = None
    seeds: tuple[int, ...] | None = None
    num_processes: int = 1
    progress: bool = True

    def __post_init__(self):
        if self.num_processes < 1:
            raise ValueError(f"`num_processes` must be at least 1, got {self.num_processes}.")
        if self.seeds is not None and (not self.seeds or len(set(self.seeds)) != len(self.seeds)):
            raise ValueError(f"`seeds` must be one or more different numbers, got {self.seeds}.")
        of_evaluation = {"seeds": self.seeds, "num_processes": self.num_processes - 1 or None}
        given = [name for name, value in of_evaluation.items() if value is not None]
        if self.protocol is None and given:
            raise ValueError(f"`{given[0]}` needs a `protocol`.")


@dataclass(frozen=True)
class ClassificationRecipe:
    """
    Args:
        data ([`LabelledDataArguments`])
        start ([`StartArguments`])
        arguments ([`FineTuningArguments`])
        run ([`ClassificationRunArguments`])
        model (`dict`): fields of [`MicronBertConfig`].
        hub ([`HubArguments`]): without a protocol.
    """

    data: LabelledDataArguments
    start: StartArguments
    arguments: FineTuningArguments
    run: ClassificationRunArguments
    model: dict[str, Any] = field(default_factory=dict)
    hub: HubArguments = field(default_factory=HubArguments)

    def __post_init__(self):
        if self.hub.push_to_hub is not None and self.run.protocol is not None:
            raise ValueError("`push_to_hub` publishes one classifier; it cannot be given together with a `protocol`.")
        if self.hub.push_to_hub is not None and self.run.output_dir is None:
            raise ValueError("`push_to_hub` publishes what is in `output_dir`; it is missing.")

    @property
    def method_name(self) -> str:
        """What tables call it."""
        start = self.start.model_name_or_path
        return self.run.method or f"Micron-BERT, {'from scratch' if start is None else f'from {Path(start).name}'}"

    @property
    def seeds(self) -> tuple[int, ...]:
        """Those of an evaluation."""
        return self.run.seeds or (self.arguments.seed,)

    def find_dataset(self) -> str:
        """
        What [`read_samples`] reads: the set as it is named, or the folder of a preset, which is made if it is not
        there yet.

        Raises:
            ValueError: neither a folder nor an id on the Hub (`USER/NAME`) nor a labelled preset, or a preset that
                several ranks would wait for.
        """
        dataset = self.data.dataset
        if Path(dataset).is_dir() or "/" in dataset:
            return dataset
        # the face generator brings OpenCV along: only for those who want faces
        from ..synthetic.presets import PRESETS, LabelledSetParameters

        presets = {name: preset for name, preset in PRESETS.items() if isinstance(preset, LabelledSetParameters)}
        if dataset not in presets:
            raise ValueError(
                f"`dataset` must be a folder, USER/NAME on the Hub or one of {sorted(presets)}, got {dataset!r}."
            )
        return os.fspath(make_preset(presets[dataset], self.run.progress))

    def read_samples(self) -> SampleSet:
        """The labelled set; errors as of [`find_dataset`] and [`~micron_bert_hf.data.read_samples`]."""
        return read_samples(self.find_dataset(), self.data.label_map, self.data.split, self.data.crop)

    def make_model(self, label_names: Sequence[str], seed: int) -> MicronBertForMicroExpressionClassification:
        """
        The classifier to train; errors as of [`load_classifier`].

        Args:
            label_names: position = class number.
            seed (`int`): of what is random about it.
        """
        path = self.start.model_name_or_path
        if path is None:
            return new_classifier(label_names, seed, **self.model)
        return load_classifier(path, label_names, ignore_head=self.start.ignore_head, seed=seed, **self.model)

    def make_image_processor(self) -> MicronBertImageProcessor:
        """Frames to the model's size; the processor of `model_name_or_path` if there is one."""
        return make_image_processor(self.start.model_name_or_path, self.model)

    def seen_people(self) -> SeenPeople:
        """Whom the model that is started from has seen; see [`read_provenance`]."""
        path = self.start.model_name_or_path
        return SeenPeople() if path is None else read_provenance(path)


def read_classification_recipe(command_line: Sequence[str]) -> ClassificationRecipe:
    """
    Args:
        command_line: a YAML file, then options that change it, such as `--epochs 10`; or options alone.

    Raises:
        SystemExit: an option that does not exist or has a value of the wrong type, with what was expected on standard
            error; `--help`.
        ValueError: the file is no such recipe; a value out of its range.
    """
    kinds = (LabelledDataArguments, StartArguments, FineTuningArguments, ClassificationRunArguments, HubArguments)
    if command_line and not command_line[0].startswith("-"):
        check_recipe_file(command_line[0], kinds)
    (data, start, arguments, run, hub), model = parse_command_line(
        command_line,
        kinds,
        "run_classification.py",
        "Train a Micron-BERT classifier, or evaluate it.",
    )
    return ClassificationRecipe(data, start, arguments, run, model, hub)


def pairs_of_samples(samples: SampleSet, image_processor: MicronBertImageProcessor) -> FramePairs:
    """All of a set, cut to the faces and processed; ids have the dataset's name in front (`casme2/01`)."""
    return FramePairs.from_pixel_values(
        process_rows(map(samples.row, range(len(samples))), image_processor),
        samples.labels,
        [f"{dataset}/{sample}" for dataset, sample in zip(samples.datasets, samples.sample_ids)],
        person_ids(samples.datasets, samples.subject_ids),
    )


def train_classifier(recipe: ClassificationRecipe) -> Path:
    """
    Train ONE classifier on all people of the set, but those that epochs are chosen on; the same recipe goes on where
    it was. Every rank calls it.

    Returns:
        The folder of the model.

    Raises:
        ValueError: no `output_dir`, a processor that makes frames of another size than the model takes, more
            validation people than there are; and as of [`ClassificationRecipe`] and [`fine_tune`].
    """
    run, arguments = recipe.run, recipe.arguments
    if run.output_dir is None:
        raise ValueError("--output_dir is missing: nothing would be kept")
    samples = recipe.read_samples()
    model, image_processor = recipe.make_model(samples.label_names, arguments.seed), recipe.make_image_processor()
    check_image_size(image_processor, model.config)
    pairs, validation = pairs_of_samples(samples, image_processor), None
    if run.num_validation_subjects is not None:
        split = holdout_subjects(pairs.subject_ids, num_test_subjects=run.num_validation_subjects, seed=arguments.seed)
        pairs, validation = pairs.subset(split.train_indices), pairs.subset(split.test_indices)
    fine_tune(
        model,
        pairs,
        arguments,
        validation=validation,
        output_dir=run.output_dir / TRAINING_NAME,
        progress=run.progress,
    )
    folder = run.output_dir / MODEL_NAME
    if PartialState().is_main_process and not (folder / PROVENANCE_NAME).exists():
        provenance = _provenance(recipe, samples)
        save_for_hub(folder, model=model, image_processor=image_processor, provenance=provenance)
    PartialState().wait_for_everyone()
    return folder


def _provenance(recipe: ClassificationRecipe, samples: SampleSet) -> dict[str, Any]:
    """What an evaluation must know of the model: who was in its training."""
    start = recipe.start.model_name_or_path
    own: dict[str, set[str]] = {}
    for dataset, subject in zip(samples.datasets, samples.subject_ids):
        own.setdefault(dataset, set()).add(subject)
    seen = recipe.seen_people().union(SeenPeople({dataset: tuple(people) for dataset, people in own.items()}))
    return {
        "dataset": recipe.data.dataset,
        "label_map": samples.label_map,
        "crop": samples.crop,
        "fingerprint": samples.fingerprint,
        "num_pairs": len(samples),
        **asdict(seen),
        "frame_rates": {} if start is None else read_frame_rates(start),
        "started_from": start,
        "arguments": asdict(recipe.arguments),
    }
