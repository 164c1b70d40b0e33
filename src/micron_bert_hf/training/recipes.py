"""A run as a YAML recipe, any line of which the command line may change.

    recipe = read_recipe(["examples/recipes/tiny_cpu.yaml", "--output_dir", "OUT", "--max_steps", "40"])
    model = recipe.make_model()
    pretrain(model, recipe.make_image_processor(), recipe.find_clips(), recipe.arguments, recipe.run)

The keys of a recipe are the fields of `DataArguments`, `PretrainingArguments` and `RunArguments`, nested ones with a
dot on the command line (`--distance.low 30`); `model` holds fields of `MicronBertConfig`.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from accelerate import PartialState
from huggingface_hub.constants import HF_HOME
from jsonargparse import ArgumentParser
from transformers import set_seed

from ..configuration_micron_bert import MicronBertConfig
from ..data.clip_set import INDEX_NAME
from ..image_processing_micron_bert import MicronBertImageProcessor
from ..modeling_micron_bert import MicronBertForPreTraining
from .pretraining import PretrainingArguments, RunArguments


# What a model has for `contextual_agreement="self_distillation"` alone.
_SELF_DISTILLATION = ("projection_head.", "teacher.", "center")


@dataclass(frozen=True)
class DataArguments:
    """
    Which clips, and from which weights.

    Args:
        dataset (`str`): a folder with a set of clips, or the name of a synthetic preset of long clips, which is made
            once and kept in the Hugging Face cache.
        num_clips (`int`, *optional*): of a preset, the first so many clips only.
        model_name_or_path (`str`, *optional*): start from this model instead of from random weights.
    """

    dataset: str
    num_clips: int | None = None
    model_name_or_path: str | None = None


@dataclass(frozen=True)
class PretrainingRecipe:
    """
    Args:
        data ([`DataArguments`])
        arguments ([`PretrainingArguments`])
        run ([`RunArguments`])
        model (`dict`): fields of [`MicronBertConfig`].
    """

    data: DataArguments
    arguments: PretrainingArguments
    run: RunArguments
    model: dict[str, Any] = field(default_factory=dict)

    def make_model(self) -> MicronBertForPreTraining:
        """
        The model to train: random weights from the recipe's seed, or those of `model_name_or_path`.

        Raises:
            ValueError: `model_name_or_path` lacks encoder or decoder.
        """
        set_seed(self.arguments.seed)
        path = self.data.model_name_or_path
        if path is None:
            return MicronBertForPreTraining(MicronBertConfig(**self.model))
        model, report = MicronBertForPreTraining.from_pretrained(path, **self.model, output_loading_info=True)
        # a model of the other agreement loss lacks the head and the teacher, which start anew
        missing = [name for name in report["missing_keys"] if not name.startswith(_SELF_DISTILLATION)]
        if missing:
            raise ValueError(f"{path} is no whole pretraining model: it lacks {missing[:3]} ({len(missing)} tensors).")
        return model

    def make_image_processor(self) -> MicronBertImageProcessor:
        """Frames to the model's size; the processor of `model_name_or_path` if there is one."""
        if self.data.model_name_or_path is not None:
            return MicronBertImageProcessor.from_pretrained(self.data.model_name_or_path)
        height, width = MicronBertConfig(**self.model).image_height_width
        return MicronBertImageProcessor(size={"height": height, "width": width})

    def find_clips(self) -> Path:
        """
        The folder of the clips; a preset that is not there yet is made first.

        Raises:
            ValueError: neither a folder nor a preset of long clips, or a preset that several ranks would wait for.
        """
        dataset, num_clips = self.data.dataset, self.data.num_clips
        if Path(dataset).is_dir():
            if num_clips is not None:
                raise ValueError(f"`num_clips` takes the first clips of a preset; {dataset} is a folder.")
            return Path(dataset)
        # the face generator brings OpenCV along: only for those who want faces
        from ..synthetic.dataset_writer import fingerprint, write_dataset
        from ..synthetic.presets import PRESETS, UnlabelledSetParameters

        presets = {name: preset for name, preset in PRESETS.items() if isinstance(preset, UnlabelledSetParameters)}
        if dataset not in presets:
            raise ValueError(f"`dataset` must be a folder or one of {sorted(presets)}, got {dataset!r}.")
        parameters = presets[dataset]
        if num_clips is not None:
            if not 1 <= num_clips <= parameters.num_clips:
                raise ValueError(f"`num_clips` must be in [1, {parameters.num_clips}], got {num_clips}.")
            # a clip depends on its number and the seed alone: an excerpt holds the same clips
            parameters = replace(parameters, num_clips=num_clips)
        folder = Path(HF_HOME) / "micron_bert_hf" / f"{dataset}-{fingerprint(parameters)}"
        if not (folder / INDEX_NAME).exists():  # the folder appears when it is whole
            if PartialState().num_processes > 1:
                raise ValueError(
                    f"{dataset} is not made yet, and rendering it while other ranks wait would run into their"
                    f" time-out. Start this recipe once with one process, or `micron-bert synthesize FOLDER --preset"
                    f" {dataset}` and `--dataset FOLDER`."
                )
            write_dataset(
                folder,
                parameters,
                num_processes=min(os.cpu_count() or 1, parameters.num_clips),
                progress=self.run.progress,
                baselines=False,
            )
        return folder


def read_recipe(command_line: Sequence[str]) -> PretrainingRecipe:
    """
    Args:
        command_line: a YAML file, then options that change it, such as `--max_steps 40`; or options alone.

    Raises:
        SystemExit: a key or option that does not exist or has a value of the wrong type, with what was expected on
            standard error; `--help`.
        ValueError: a value out of its range.
    """
    command_line = list(command_line)
    if command_line and not command_line[0].startswith("-"):
        command_line.insert(0, "--recipe")
    kinds = (DataArguments, PretrainingArguments, RunArguments)
    parser = ArgumentParser(prog="run_pretraining.py", description="Pretrain Micron-BERT on clips.")
    parser.add_argument("--recipe", action="config", help="YAML file; also the first argument without --recipe")
    for kind in kinds:
        parser.add_class_arguments(kind)
    parser.add_argument("--model", type=dict[str, Any], default={}, help="fields of MicronBertConfig")
    values = parser.instantiate(parser.parse_args(command_line))
    data, arguments, run = (
        kind(**{entry.name: getattr(values, entry.name) for entry in fields(kind)}) for kind in kinds
    )
    return PretrainingRecipe(data, arguments, run, dict(values.model))
