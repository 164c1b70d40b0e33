"""What decides a set on disk, and the sets that have a name, so that a number measured on one can be quoted.

A preset's name stands for its bytes: `PRESETS_GENERATOR_VERSION` says which generator makes them, and a test holds
the two versions and statistics of an excerpt of every preset together. No two presets share a seed, hence no face.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from types import MappingProxyType
from typing import Any

from .generation import DEFAULT_CLASSES, generate_micro_expressions, generate_unlabelled_clips


# The version of the generator for which the presets were fixed. Once a version is released, other bytes need other
# names (`mer-synth-v2`), not another number here.
PRESETS_GENERATOR_VERSION = "3"
# Frame rates of the recorded databases: SMIC has 100, CASME II and SAMM have 200 frames a second.
FPS_CHOICES = (100, 200)
# Motion is stored in 16 bits (see `dataset_rows`), which suffices for the movements of a face of this size. Ours.
MAX_IMAGE_SIZE = 1024
# `dataset` of a set that is no preset.
UNNAMED = "synthetic"


def _check(parameters: "SetParameters") -> None:
    if parameters.fps not in FPS_CHOICES:
        raise ValueError(f"fps is {parameters.fps!r}; expected one of {FPS_CHOICES}")
    parameters.rows()  # the generator refuses at once what is out of its range, and renders nothing before it is asked
    if parameters.image_size > MAX_IMAGE_SIZE:
        raise ValueError(f"image_size is {parameters.image_size}; expected at most {MAX_IMAGE_SIZE}")


def _without_name(parameters: "SetParameters") -> dict[str, Any]:
    return {name: value for name, value in asdict(parameters).items() if name != "name"}


@dataclass(frozen=True)
class LabelledSetParameters:
    """A set of labelled micro-expressions; see `generate_micro_expressions` for the meaning of each number.

    Attributes:
        name: of the set, the value of its column `dataset`; a preset's name, or `"synthetic"`.
        num_subjects, clips_per_class, image_size, difficulty, seed, classes, color: as there; `image_size` at most
            1024.
        frames: `"pair"` for onset and apex, `"clip"` for every frame.
        fps: 100 or 200.

    Raises:
        ValueError: if a number is out of its range.
    """

    name: str = UNNAMED
    num_subjects: int = 60
    clips_per_class: int = 2
    image_size: int = 224
    difficulty: float = 0.7
    seed: int = 0
    classes: tuple[str, ...] = DEFAULT_CLASSES
    frames: str = "pair"
    fps: int = 100
    color: str = "rgb"

    def __post_init__(self) -> None:
        _check(self)

    @property
    def rows_per_subject(self) -> int:
        return len(self.classes) * self.clips_per_class

    def rows(
        self,
        num_processes: int = 1,
        cache_dir: str | os.PathLike[str] | None = None,
        progress: bool = False,
    ) -> Iterator[dict[str, Any]]:
        """Rows of the generator, `rows_per_subject` for each subject in turn."""
        return generate_micro_expressions(
            **_without_name(self), num_processes=num_processes, cache_dir=cache_dir, progress=progress
        )


@dataclass(frozen=True)
class UnlabelledSetParameters:
    """A set of long clips; see `generate_unlabelled_clips` for the meaning of each number.

    Attributes:
        name: of the set, the value of its column `dataset`; a preset's name, or `"synthetic"`.
        num_clips: each of another subject.
        seconds, image_size, difficulty, seed, classes, color: as there; `image_size` at most 1024.
        fps: 100 or 200.

    Raises:
        ValueError: if a number is out of its range.
    """

    name: str = UNNAMED
    num_clips: int = 40
    seconds: float = 4.0
    image_size: int = 224
    difficulty: float = 0.7
    seed: int = 0
    classes: tuple[str, ...] = DEFAULT_CLASSES
    fps: int = 100
    color: str = "rgb"

    def __post_init__(self) -> None:
        _check(self)

    @property
    def num_subjects(self) -> int:
        return self.num_clips

    @property
    def rows_per_subject(self) -> int:
        return 1

    def rows(
        self,
        num_processes: int = 1,
        cache_dir: str | os.PathLike[str] | None = None,
        progress: bool = False,
    ) -> Iterator[dict[str, Any]]:
        """Rows of the generator, one for each subject in turn."""
        return generate_unlabelled_clips(
            **_without_name(self), num_processes=num_processes, cache_dir=cache_dir, progress=progress
        )


SetParameters = LabelledSetParameters | UnlabelledSetParameters

# Sizes are ours. 60 subjects with 8 clips each are about twice CASME II (26 subjects, 247 clips; Yan et al., PLoS ONE
# 9(1), e86041, 2014). The clips of the last two have 20,100 and 16,040 frames.
PRESETS: Mapping[str, SetParameters] = MappingProxyType(
    {
        parameters.name: parameters
        for parameters in (
            LabelledSetParameters("mer-synth-v1", difficulty=0.7, seed=110_001),
            LabelledSetParameters("mer-synth-v1-easy", difficulty=0.3, seed=110_002),
            LabelledSetParameters("mer-synth-v1-hard", difficulty=1.0, seed=110_003),
            UnlabelledSetParameters("mer-synth-v1-pretrain", num_clips=100, seconds=2.0, seed=110_004),
            UnlabelledSetParameters("mer-synth-v1-spotting", num_clips=40, seconds=4.0, seed=110_005),
        )
    }
)

# Field -> option of `micron-bert synthesize`.
OPTIONS: Mapping[str, str] = MappingProxyType(
    {
        "num_subjects": "--subjects",
        "clips_per_class": "--clips-per-class",
        "num_clips": "--unlabelled",
        "seconds": "--seconds",
        "image_size": "--image-size",
        "difficulty": "--difficulty",
        "seed": "--seed",
        "classes": "--classes",
        "frames": "--frames",
        "fps": "--fps",
        "color": "--color",
    }
)


def resolve_parameters(preset: str | None, given: Mapping[str, Any]) -> SetParameters:
    """Parameters from a preset, or from the options that were given and the defaults of the others.

    Args:
        preset: key of `PRESETS`, or `None`.
        given: field -> value of each option that was named by the caller.

    Raises:
        ValueError: for an unknown preset, an option that contradicts it, options of a labelled set together with
            those of long clips, or a value out of its range.
    """
    if preset is None:
        kind = UnlabelledSetParameters if "num_clips" in given else LabelledSetParameters
        _check_options(given, kind, "long clips" if kind is UnlabelledSetParameters else "a labelled set")
        return kind(**given)
    if preset not in PRESETS:
        raise ValueError(f"unknown preset {preset!r}; expected one of {list(PRESETS)}")
    parameters = PRESETS[preset]
    _check_options(given, type(parameters), f"the preset {preset}")
    for name, value in given.items():
        fixed = getattr(parameters, name)
        if value != fixed:
            raise ValueError(f"the preset {preset} has {OPTIONS[name]} {fixed}, which contradicts the given {value}")
    return parameters


def reproduction_command(parameters: SetParameters, output: str = "OUT") -> str:
    """The command line that makes the set again."""
    if parameters == PRESETS.get(parameters.name):
        return f"micron-bert synthesize {output} --preset {parameters.name}"
    words = ["micron-bert synthesize", output]
    for name, value in _without_name(parameters).items():
        words += [OPTIONS[name], ",".join(value) if name == "classes" else str(value)]
    return " ".join(words)


def _check_options(given: Mapping[str, Any], kind: type[SetParameters], what: str) -> None:
    known = {field.name for field in fields(kind)}
    wrong = [OPTIONS[name] for name in given if name not in known]
    if wrong:
        raise ValueError(f"{', '.join(wrong)} cannot be given for {what}")
