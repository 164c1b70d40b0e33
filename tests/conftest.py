"""Shared by all tests: no network, nothing in the user's cache, a tiny config and a pair of frames."""

import os
import tempfile


# Before transformers, huggingface_hub and onnxruntime are imported: they read these once.
_cache = tempfile.TemporaryDirectory(prefix="micron-bert-tests-")
os.environ.update(
    HF_HOME=_cache.name,
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    HF_HUB_DISABLE_UPDATE_CHECK="1",
    HF_UPDATE_DOWNLOAD_COUNTS="0",
    ORT_DISABLE_TELEMETRY="1",
)

import numpy as np  # noqa: E402
import pytest  # noqa: E402

from micron_bert_hf import MicronBertConfig  # noqa: E402


# Files that take longest, longest first: started last, one of them would run alone while the other worker idles.
# The first of all is there for another reason: it limits memory, and what other tests have freed would serve.
LONGEST_FILES = (
    "data/test_clip_preparation.py",
    "training/test_interruption.py",
    "test_modeling_micron_bert.py",
    "synthetic/test_leaks.py",
    "test_cli.py",
    "test_push_to_hub.py",
    "publishing/test_publishing.py",
    "databases/test_converter.py",
    "test_export.py",
    "test_documentation.py",
    "spotting/test_recognizer.py",
    "publishing/test_space.py",
    "web/test_page.py",
    "test_bad_input.py",
    "training/test_pretraining.py",
    "experiments/test_fine_tuned.py",
    "synthetic/test_dataset_writer.py",
    "synthetic/test_generation.py",
    "evaluation/test_evaluator.py",
    "evaluation/test_linear_probe.py",
    "training/test_fine_tuning.py",
)


def pytest_collection_modifyitems(items):
    def place(item):
        path = item.path.as_posix()
        return next(
            (number for number, name in enumerate(LONGEST_FILES) if path.endswith(f"tests/{name}")), len(LONGEST_FILES)
        )

    items.sort(key=place)  # stable: within a file, and among the others, nothing changes


@pytest.fixture
def tiny_config():
    """A config with every part of the model at its smallest: 32 pixels, 4 x 4 patches, width 32."""
    return MicronBertConfig(
        image_size=32,
        patch_size=8,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        decoder_hidden_size=32,
        decoder_num_hidden_layers=1,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=64,
        projection_hidden_size=48,
        projection_bottleneck_size=16,
        projection_output_size=24,
    )


def make_frame_pair(seed=0, height=52, width=44):
    """
    A sketch of a face before and at a smile: `(onset, apex)`, each `(height, width, 3)` uint8. Higher than wide, so
    that a swap of the two shows; left and right differ, so that a mirror image shows; each frame has its own grain.
    """
    generator = np.random.default_rng(seed)
    row, column = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]

    def blob(center_row, center_column, radius_row, radius_column):
        distance = ((row - center_row) / radius_row) ** 2 + ((column - center_column) / radius_column) ** 2
        return np.exp(-(distance**2))[..., None]

    def frame(mouth_width):
        image = np.full((height, width, 3), (60.0, 70.0, 80.0))
        for shape, color in (
            (blob(0.5, 0.5, 0.48, 0.4), (205, 160, 140)),
            (blob(0.4, 0.33, 0.05, 0.08), (60, 40, 35)),
            (blob(0.4, 0.68, 0.06, 0.08), (50, 40, 30)),
            (blob(0.72, 0.5, 0.05, mouth_width), (150, 60, 70)),
        ):
            image += shape * (np.array(color) - image)
        return (image + generator.normal(0, 2, image.shape)).clip(0, 255).round().astype(np.uint8)

    return frame(0.14), frame(0.18)


@pytest.fixture
def frame_pair():
    """One pair; see [`make_frame_pair`]."""
    return make_frame_pair()


@pytest.fixture
def frame_pairs():
    """Five different pairs of one size."""
    return [make_frame_pair(seed) for seed in range(5)]
