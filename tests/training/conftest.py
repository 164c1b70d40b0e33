"""A tiny set and a tiny model: two classes that differ in where the apex is brighter."""

import huggingface_hub
import numpy as np
import pytest
import torch
from hub_server import HubServer
from publisher import TOKEN

from micron_bert_hf import MicronBertConfig, MicronBertForPreTraining, MicronBertImageProcessor
from micron_bert_hf.data import FramePairs, write_clips


NAMES = ("upper", "lower")


@pytest.fixture(scope="session")
def label_names():
    return NAMES


@pytest.fixture(scope="session")
def rows():
    random = np.random.default_rng(0)
    rows = []
    for number in range(16):
        onset = random.integers(40, 120, (16, 16, 3), dtype=np.uint8)
        apex = onset.copy()
        half = slice(0, 8) if number % 2 == 0 else slice(8, 16)
        apex[half] += 100
        rows.append(
            {
                "sample_id": f"clip{number}",
                "subject_id": f"s{number // 4}",
                "onset": onset,
                "apex": apex,
                "label": NAMES[number % 2],
            }
        )
    return rows


@pytest.fixture(scope="session")
def image_processor():
    return MicronBertImageProcessor(size={"height": 16, "width": 16})


@pytest.fixture(scope="session")
def pairs(rows, image_processor):
    return FramePairs(rows, image_processor, {name: index for index, name in enumerate(NAMES)})


@pytest.fixture(scope="session")
def clips(rows, tmp_path_factory):
    """The same pairs as 16 clips of two frames each."""
    folder = tmp_path_factory.mktemp("clips") / "set"
    write_clips(folder, rows, num_shards=3)
    return folder


@pytest.fixture
def make_pretraining_model():
    def make(**changes):
        torch.manual_seed(0)
        fields = {
            "image_size": 16,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 48,
            "decoder_hidden_size": 24,
            "decoder_num_hidden_layers": 1,
            "decoder_num_attention_heads": 2,
            "decoder_intermediate_size": 48,
            "projection_hidden_size": 24,
            "projection_bottleneck_size": 8,
            "projection_output_size": 12,
        }
        return MicronBertForPreTraining(MicronBertConfig(**{**fields, **changes}))

    return make


@pytest.fixture
def hub_of_this_process(monkeypatch):
    """A Hub on the loopback, which this process takes for the one there is."""
    with HubServer(TOKEN) as hub:
        # read from the environment once, when huggingface_hub was imported
        template = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        constants = {"ENDPOINT": hub.url, "HUGGINGFACE_CO_URL_TEMPLATE": template}
        for name, value in {**constants, "HF_HUB_OFFLINE": False, "HF_HUB_DISABLE_XET": True}.items():
            monkeypatch.setattr(huggingface_hub.constants, name, value)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub
        assert hub.state()["unknown"] == []
