"""The linear probe: subject-disjoint, each pair once, and able to tell movement from none."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from micron_bert_hf import MicronBertConfig, MicronBertForPreTraining, MicronBertImageProcessor, MicronBertModel
from micron_bert_hf.data import FramePairs
from micron_bert_hf.evaluation import attention_drop_features, linear_probe


ROOT = Path(__file__).resolve().parents[2]
NAMES = ("upper", "lower")
FIELDS = {
    "image_size": 32,
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "decoder_hidden_size": 16,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 16,
}
PROCESSOR = MicronBertImageProcessor(size={"height": 32, "width": 32})


def make_pairs(num_subjects=12, labelled=True):
    """The upper or the lower half of noise changes."""
    random = np.random.default_rng(0)
    rows = []
    for number in range(4 * num_subjects):
        onset = random.integers(0, 255, (32, 32, 3), dtype=np.uint8)
        apex = onset.copy()
        half = slice(0, 16) if number % 2 == 0 else slice(16, 32)
        apex[half] = random.integers(0, 255, (16, 32, 3), dtype=np.uint8)
        name = NAMES[number % 2]
        rows.append(
            {"sample_id": f"p{number}", "subject_id": f"s{number // 4}", "onset": onset, "apex": apex, "label": name}
        )
    return FramePairs(rows, PROCESSOR, {name: index for index, name in enumerate(NAMES)} if labelled else None)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return MicronBertModel(MicronBertConfig(**FIELDS))


def test_the_drop_is_where_the_face_has_changed(model):
    pairs = make_pairs()
    model.train()
    features = attention_drop_features(model, pairs, batch_size=5, progress=False).reshape(-1, 4, 4)
    assert model.training
    upper, lower = np.abs(features[:, :2]).mean((1, 2)), np.abs(features[:, 2:]).mean((1, 2))
    is_upper = pairs.labels.numpy() == 0
    assert (upper[is_upper] > lower[is_upper]).mean() > 0.9 and (upper[~is_upper] < lower[~is_upper]).mean() > 0.9


def test_a_probe_finds_what_is_there_and_nothing_else():
    pairs = make_pairs()
    labels = pairs.labels.numpy()
    noise = np.random.default_rng(1).normal(size=(len(labels), 10))
    told = noise.copy()
    told[:, :5] += 6.0 * labels[:, None]
    assert linear_probe(told, pairs, NAMES).score()["uf1"] > 0.95
    table = linear_probe(noise, pairs, NAMES)
    assert 0.2 < table.score()["uf1"] < 0.75
    assert table.sample_ids == pairs.sample_ids and table.subject_ids == pairs.subject_ids


def test_nothing_of_a_person_is_learnt_that_is_tested_on():
    """A feature that names the person, and labels that follow the person: known people would give it away."""
    pairs = make_pairs()
    subjects = np.array([int(name[1:]) for name in pairs.subject_ids])
    pairs.labels = torch.tensor(np.random.default_rng(0).permutation(12)[subjects] % 2)
    one_hot = np.eye(12)[subjects] * 100
    assert linear_probe(one_hot, pairs, NAMES).score()["accuracy"] < 0.7


def test_what_cannot_be_probed_is_named():
    with pytest.raises(ValueError, match="two subjects or more, got 1"):
        linear_probe(np.zeros((4, 2)), make_pairs(num_subjects=1), NAMES)
    with pytest.raises(ValueError, match="labelled pairs"):
        linear_probe(np.zeros((8, 2)), make_pairs(num_subjects=2, labelled=False), NAMES)


def test_the_script_compares_with_random_weights_and_says_who_was_seen(tmp_path):
    from micron_bert_hf.synthetic.dataset_writer import write_dataset
    from micron_bert_hf.synthetic.presets import LabelledSetParameters

    parameters = LabelledSetParameters(num_subjects=2, clips_per_class=1, image_size=32, classes=("surprise", "anger"))
    write_dataset(tmp_path / "faces", parameters, progress=False, baselines=False)
    MicronBertForPreTraining(MicronBertConfig(**FIELDS)).save_pretrained(tmp_path / "model")
    PROCESSOR.save_pretrained(tmp_path / "model")
    for seen, is_transductive in ((["s009"], False), (["s001"], True)):
        (tmp_path / "model" / "provenance.json").write_text(
            json.dumps({"subjects": {"synthetic": seen}, "is_complete": True})
        )
        process = subprocess.run(
            [sys.executable, ROOT / "examples" / "run_linear_probe.py", tmp_path / "model", tmp_path / "faces"],
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert process.returncode == 0, process.stderr[-3000:]
        results = json.loads((tmp_path / "model" / "linear_probe.json").read_text())
        assert results["transductive"] is is_transductive and ("TRANSDUCTIVE" in process.stdout) is is_transductive
        assert [row["seed"] for row in results["random"]] == [0, 1, 2] and results["num_pairs"] == 4
