"""Sets with a name: their numbers, and statistics of an excerpt of each, so that a name keeps its faces.

The statistics are stored in `preset_statistics.json`. After a change of the generator that is meant to change its rows
(and raises GENERATOR_VERSION), store them again and look at what the difference says:

    python tests/synthetic/test_presets.py
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from micron_bert_hf.synthetic.generation import GENERATOR_VERSION, generate_unlabelled_clips
from micron_bert_hf.synthetic.presets import (
    PRESETS,
    PRESETS_GENERATOR_VERSION,
    LabelledSetParameters,
    UnlabelledSetParameters,
    resolve_parameters,
)


STORED = Path(__file__).with_name("preset_statistics.json")
# Grey levels and pixels by which builds of NumPy and OpenCV may differ; frames of another face or movement differ by
# tens of grey levels.
TOLERANCE = 0.05


def image_statistics(image):
    """Mean of each channel, of each of 4 x 4 blocks, and of the difference of neighbours, in grey levels."""
    levels = image.astype(float)
    side = len(levels) // 4
    blocks = levels.reshape(4, side, 4, side, 3).mean((1, 3, 4))
    return [*levels.mean((0, 1)), *blocks.ravel(), np.abs(np.diff(levels, axis=1)).mean()]


def motion_statistics(motion):
    """Mean and standard deviation of x and y, in pixels."""
    return [*motion.mean((0, 1)), *motion.std((0, 1))]


def excerpt_statistics(parameters):
    """Two rows of the first subject, or a short, coarse clip of it: enough to tell any change of the renderer."""
    if isinstance(parameters, UnlabelledSetParameters):
        row = next(
            generate_unlabelled_clips(
                1, seconds=0.9, fps=20, image_size=64, difficulty=parameters.difficulty, seed=parameters.seed
            )
        )
        return [
            {
                "sample_id": row["sample_id"],
                "first": image_statistics(row["frames"][0]),
                "last": image_statistics(row["frames"][-1]),
                "landmarks": row["landmarks"][[0, -1], :, 0].ravel().tolist(),
            }
        ]
    rows = replace(parameters, num_subjects=1, clips_per_class=1, classes=("happiness", "repression"), image_size=64)
    return [
        {
            "sample_id": row["sample_id"],
            "label": row["label"],
            "onset": image_statistics(row["onset"]),
            "apex": image_statistics(row["apex"]),
            "landmarks": np.concatenate([row["landmarks_onset"], row["landmarks_apex"]]).ravel().tolist(),
            "motion": [*motion_statistics(row["motion"]), *motion_statistics(row["expression_motion"])],
        }
        for row in rows.rows()
    ]


def test_the_stored_statistics_are_of_this_generator():
    stored = json.loads(STORED.read_text())
    # A released name keeps its bytes: with another version comes another name.
    assert stored["generator_version"] == GENERATOR_VERSION == PRESETS_GENERATOR_VERSION
    assert set(stored["presets"]) == set(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_keeps_its_faces(name):
    stored = json.loads(STORED.read_text())["presets"][name]
    made = excerpt_statistics(PRESETS[name])
    assert len(made) == len(stored)
    for one, other in zip(made, stored):
        assert one.keys() == other.keys()
        for key, value in one.items():
            if isinstance(value, str):
                assert value == other[key]
            else:
                np.testing.assert_allclose(value, other[key], atol=TOLERANCE, err_msg=f"{name} {key}")


def test_the_statistics_tell_presets_apart():
    """The tolerance is no blanket: every stored preset differs from every other by far more."""
    presets = json.loads(STORED.read_text())["presets"]
    labelled = [rows[0]["onset"] for name, rows in presets.items() if "onset" in rows[0]]
    long = [rows[0]["first"] for name, rows in presets.items() if "first" in rows[0]]
    for group in (labelled, long):
        for index, one in enumerate(group):
            for other in group[:index]:
                assert np.abs(np.subtract(one, other)).max() > 20 * TOLERANCE


def test_the_table_is_what_is_promised():
    assert list(PRESETS) == [
        "mer-synth-v1",
        "mer-synth-v1-easy",
        "mer-synth-v1-hard",
        "mer-synth-v1-pretrain",
        "mer-synth-v1-spotting",
    ]
    benchmark = PRESETS["mer-synth-v1"]
    assert (benchmark.num_subjects, benchmark.rows_per_subject, benchmark.image_size) == (60, 8, 224)
    assert benchmark.difficulty == 0.7 and benchmark.frames == "pair"
    assert PRESETS["mer-synth-v1-easy"].difficulty < 0.7 < PRESETS["mer-synth-v1-hard"].difficulty
    assert len({parameters.seed for parameters in PRESETS.values()}) == len(PRESETS)
    assert all(name == parameters.name for name, parameters in PRESETS.items())


def test_options_and_presets_resolve():
    assert resolve_parameters("mer-synth-v1", {"num_subjects": 60}) is PRESETS["mer-synth-v1"]
    assert resolve_parameters(None, {"num_subjects": 7}) == LabelledSetParameters(num_subjects=7)
    assert resolve_parameters(None, {"num_clips": 7}) == UnlabelledSetParameters(num_clips=7)


@pytest.mark.parametrize(
    ("preset", "given", "message"),
    [
        ("mer-synth-v9", {}, "unknown preset 'mer-synth-v9'.*mer-synth-v1-easy"),
        ("mer-synth-v1", {"seed": 3}, "--seed 110001, which contradicts the given 3"),
        ("mer-synth-v1", {"seconds": 2.0}, "--seconds cannot be given for the preset"),
        (None, {"num_clips": 2, "frames": "clip"}, "--frames cannot be given for long clips"),
        (None, {"seconds": 2.0}, "--seconds cannot be given for a labelled set"),
        (None, {"fps": 50}, r"fps is 50; expected one of \(100, 200\)"),
        (None, {"classes": ("happiness", "joy")}, "joy"),
        (None, {"num_subjects": 0}, "num_subjects is 0"),
        (None, {"clips_per_class": -1}, "clips_per_class is -1"),
        (None, {"num_clips": 0}, "num_clips is 0"),
        (None, {"image_size": 1025}, "image_size is 1025; expected at most 1024"),
        (None, {"difficulty": float("nan")}, "difficulty"),
        (None, {"frames": "film"}, "film"),
        (None, {"color": "red"}, "red"),
    ],
)
def test_what_cannot_be_is_refused(preset, given, message):
    with pytest.raises(ValueError, match=message):
        resolve_parameters(preset, given)


def store_statistics():
    content = {
        "generator_version": GENERATOR_VERSION,
        "presets": {name: excerpt_statistics(parameters) for name, parameters in PRESETS.items()},
    }
    STORED.write_text(json.dumps(round_numbers(content), indent=1) + "\n")


def round_numbers(value):
    if isinstance(value, dict):
        return {key: round_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [round_numbers(item) for item in value]
    return value if isinstance(value, str) else round(float(value), 3)


if __name__ == "__main__":
    store_statistics()
