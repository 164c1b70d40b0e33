"""Folders of tiny models, as users have them; a Hub and a publisher for all tests, as starting one takes seconds."""

import numpy as np
import pytest
import torch
from hub_server import HubServer
from publisher import TOKEN, start_publisher

from micron_bert_hf import MicronBertForMicroExpressionClassification, MicronBertImageProcessor
from micron_bert_hf.hub import save_for_hub


NAMES = ("negative", "positive", "surprise")


@pytest.fixture
def image_processor():
    return MicronBertImageProcessor(size={"height": 32, "width": 32})


@pytest.fixture
def make_classifier(tiny_config):
    """A classifier with weights by a seed, whose probabilities show a difference."""

    def make(seed=1):
        torch.manual_seed(seed)
        tiny_config.id2label = dict(enumerate(NAMES))
        model = MicronBertForMicroExpressionClassification(tiny_config)
        torch.nn.init.normal_(model.classifier.weight)
        return model.eval()

    return make


@pytest.fixture
def make_folder(make_classifier, image_processor, tmp_path):
    """A classifier's folder with what was measured of it."""

    def make(seed=1, results=None):
        return save_for_hub(
            tmp_path / f"model-{seed}", model=make_classifier(seed), image_processor=image_processor, results=results
        )

    return make


@pytest.fixture
def evaluation():
    """The results of an evaluation in folds, every fact in its place and every number its own."""
    matrix = np.array([[31, 4, 2], [6, 17, 3], [1, 5, 22]])
    return {
        "dataset": "mer-synth-v1",
        "method": "Micron-BERT, tried",
        "protocol": "group_kfold:5",
        "label_map": "composite-3",
        "seeds": [3, 4],
        "crop": "landmarks",
        "settings": {"started_from": "/home/somebody/encoder"},
        "seconds": 321.4,
        "commit": "0123456789abcdef",
        "machine": {"cpu": "A Processor", "cores": 12},
        "uf1": 0.71234567,
        "uar": 0.72345678,
        "accuracy": 0.76912345,
        "uf1_interval": [0.61198, 0.81287],
        "num_samples": 46,
        "num_subjects": 9,
        "num_folds": 5,
        "label_names": list(NAMES),
        "confusion_matrix": matrix.tolist(),
        "majority_baseline": {"uf1": 0.1523, "uar": 0.3333333, "accuracy": 0.4067},
        "transductive": False,
        "num_seen_test_subjects": 0,
    }


@pytest.fixture(scope="session")
def hub():
    with HubServer(TOKEN) as server:
        yield server
        assert server.state()["unknown"] == []


@pytest.fixture(scope="session")
def publisher(hub, tmp_path_factory):
    with start_publisher(hub, tmp_path_factory.mktemp("publisher")) as publisher:
        yield publisher


@pytest.fixture
def by_lfs(hub):
    """Weights go by LFS in this test, as the real Hub wants them."""
    hub.take_by_lfs("*.safetensors")
    yield
    hub.take_by_lfs()
