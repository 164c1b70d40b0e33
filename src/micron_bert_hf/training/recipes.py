"""A run as a YAML recipe, any line of which the command line may change.

    recipe = read_recipe(["examples/recipes/tiny_cpu.yaml", "--output_dir", "OUT", "--max_steps", "40"])
    model = recipe.make_model()
    pretrain(model, recipe.make_image_processor(), recipe.find_clips(), recipe.arguments, recipe.run)

The keys of a recipe are the fields of `DataArguments`, `PretrainingArguments`, `RunArguments` and `HubArguments`,
nested ones with a dot on the command line (`--distance.low 30`); `model` holds fields of `MicronBertConfig`.
"""

import os
from argparse import ArgumentError
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accelerate import PartialState
from accelerate.utils import parse_flag_from_env
from huggingface_hub.constants import HF_HOME
from jsonargparse import ArgumentParser
from transformers import set_seed

from ..configuration_micron_bert import MicronBertConfig
from ..image_processing_micron_bert import MicronBertImageProcessor
from ..modeling_micron_bert import MicronBertForPreTraining
from .hub_arguments import HubArguments
from .pretraining import PretrainingArguments, RunArguments


if TYPE_CHECKING:
    from ..synthetic.presets import SetParameters

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
        hub ([`HubArguments`])
    """

    data: DataArguments
    arguments: PretrainingArguments
    run: RunArguments
    model: dict[str, Any] = field(default_factory=dict)
    hub: HubArguments = field(default_factory=HubArguments)

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
        return make_image_processor(self.data.model_name_or_path, self.model)

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
        return make_preset(parameters, self.run.progress)


def read_recipe(command_line: Sequence[str]) -> PretrainingRecipe:
    """
    Args:
        command_line: a YAML file, then options that change it, such as `--max_steps 40`; or options alone.

    Raises:
        SystemExit: a key or option that does not exist or has a value of the wrong type, with what was expected on
            standard error; `--help`.
        ValueError: a value out of its range.
    """
    (data, arguments, run, hub), model = parse_command_line(
        command_line,
        (DataArguments, PretrainingArguments, RunArguments, HubArguments),
        "run_pretraining.py",
        "Pretrain Micron-BERT on clips.",
    )
    return PretrainingRecipe(data, arguments, run, model, hub)


def parse_command_line(
    command_line: Sequence[str], kinds: Sequence[type], program: str, description: str
) -> tuple[list[Any], dict[str, Any]]:
    """
    What every recipe is read by: a YAML file, then options that change it; or options alone.

    Args:
        kinds: dataclasses whose fields are the options; no two share a name.
        program, description (`str`): for `--help`.

    Returns:
        One object of each kind, and the fields of [`MicronBertConfig`] under `model`.
    """
    command_line = list(command_line)
    if command_line and not command_line[0].startswith("-"):
        command_line.insert(0, "--recipe")
    parser = _make_parser(kinds, prog=program, description=description)
    values = parser.instantiate(parser.parse_args(command_line))
    objects = [kind(**{entry.name: getattr(values, entry.name) for entry in fields(kind)}) for kind in kinds]
    return objects, dict(values.model)


def check_recipe_file(path: str, kinds: Sequence[type]) -> None:
    """
    As [`parse_command_line`] reads it, but alone, so that what is wrong with the file is not taken for a wrong option.

    Raises:
        ValueError: there is no such file, it is no YAML, or a key does not exist or has a value of the wrong type; one
            line that names the file.
    """
    parser = _make_parser(kinds, exit_on_error=False)
    try:
        # the one option without a default, which a file may leave to the command line
        parser.parse_args(["--recipe", path, "--dataset", ""])
    except (ArgumentError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no recipe: {' '.join(str(error).split())}") from error


def _make_parser(kinds: Sequence[type], **options: Any) -> ArgumentParser:
    # a misspelt option must not be taken for another that begins like it
    parser = ArgumentParser(allow_abbrev=False, **options)
    parser.add_argument("--recipe", action="config", help="YAML file; also the first argument without --recipe")
    for kind in kinds:
        parser.add_class_arguments(kind)
    parser.add_argument("--model", type=dict[str, Any], default={}, help="fields of MicronBertConfig")
    return parser


def make_image_processor(model_name_or_path: str | None, model: Mapping[str, Any]) -> MicronBertImageProcessor:
    """The processor of a saved model, or one that makes frames of the size in `model`, fields of its config."""
    if model_name_or_path is not None:
        return MicronBertImageProcessor.from_pretrained(model_name_or_path)
    height, width = MicronBertConfig(**model).image_height_width
    return MicronBertImageProcessor(size={"height": height, "width": width})


def make_preset(parameters: "SetParameters", progress: bool) -> Path:
    """
    The folder of a synthetic set in the Hugging Face cache; what is not there yet is made first.

    Raises:
        ValueError: it would have to be made, and several ranks would wait for it.
    """
    from ..synthetic.dataset_writer import PARAMETERS_NAME, fingerprint, write_dataset

    folder = Path(HF_HOME) / "micron_bert_hf" / f"{parameters.name}-{fingerprint(parameters)}"
    if not (folder / PARAMETERS_NAME).exists():  # the folder appears when it is whole
        # on CPUs found as `Accelerator` finds it
        if PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU")).num_processes > 1:
            raise ValueError(
                f"{parameters.name} is not made yet, and rendering it while other ranks wait would run into their"
                f" time-out. Start this recipe once with one process, or `micron-bert synthesize FOLDER --preset"
                f" {parameters.name}` and `--dataset FOLDER`."
            )
        write_dataset(
            folder,
            parameters,
            num_processes=min(os.cpu_count() or 1, parameters.num_subjects),
            progress=progress,
            baselines=False,
        )
    return folder
