"""UF1, UAR and MER as `evaluate` loads them: offline, from the installed package, with a fixed label set."""

import os
import subprocess
import sys

import evaluate
import numpy as np
import pytest
import torch
from datasets import Dataset
from sklearn.metrics import balanced_accuracy_score, f1_score, recall_score
from transformers import Trainer, TrainingArguments

import micron_bert_hf
from micron_bert_hf.evaluation.metrics import score


NAMES = ("negative", "positive", "surprise")


@pytest.fixture(scope="module")
def metrics():
    # kept in memory: many small tables are written faster
    return {
        name: evaluate.load(micron_bert_hf.metric_path(name), keep_in_memory=True) for name in ("uf1", "uar", "mer")
    }


def test_they_load_without_a_network_and_without_the_repository(tmp_path):
    """In a process of its own, in another folder, with an empty cache; importing the package brings no `evaluate`."""
    program = """
import socket, sys

def refuse(*arguments):
    raise AssertionError(f"the network was asked: {arguments}")

socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
import micron_bert_hf
paths = [micron_bert_hf.metric_path(name) for name in ("uf1", "uar", "mer")]
assert "evaluate" not in sys.modules and "micron_bert_hf.evaluation" not in sys.modules
import evaluate
for path in paths:
    print(evaluate.load(path).compute(predictions=[0, 1, 1], references=[0, 1, 2], num_labels=3))
"""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_EVALUATE_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache")}
    process = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert process.returncode == 0, process.stderr[-4000:]
    lines = process.stdout.splitlines()
    assert lines[0] == "{'uf1': 0.5555555555555555}" and lines[1] == "{'uar': 0.6666666666666666}"
    assert lines[2].startswith("{'uf1': 0.5555555555555555, 'uar': 0.6666666666666666, 'accuracy': 0.66")


@pytest.mark.parametrize("seed", range(12))
def test_they_are_those_of_scikit_learn_also_where_classes_are_absent(metrics, seed):
    random = np.random.default_rng(seed)
    # every third table holds every class; the others lack some in truth, in prediction, or in both
    kinds = [random.choice(5, 5 if seed % 3 == 0 else random.integers(1, 5), replace=False) for _ in range(2)]
    references, predictions = (random.choice(kind, 60) for kind in kinds)
    columns = {"predictions": predictions, "references": references, "num_labels": 5}
    fixed = {"labels": range(5), "average": "macro", "zero_division": 0}
    expected = {
        "uf1": f1_score(references, predictions, **fixed),
        "uar": recall_score(references, predictions, **fixed),
    }
    for name, value in expected.items():
        assert metrics[name].compute(**columns) == {name: pytest.approx(value, abs=1e-15)}
    if seed % 3 == 0:
        assert set(references) == set(range(5))
        assert expected["uar"] == pytest.approx(balanced_accuracy_score(references, predictions), abs=1e-15)
    found = metrics["mer"].compute(**columns)
    assert found == score(references, predictions, [str(number) for number in range(5)])
    assert found["uf1"] == pytest.approx(expected["uf1"], abs=1e-15)


def test_always_naming_the_majority_gives_its_known_numbers(metrics):
    references = np.repeat(range(3), (250, 109, 83))
    found = metrics["mer"].compute(predictions=[0] * 442, references=references, label_names=NAMES)
    assert found["uf1"] == pytest.approx(0.2408, abs=5e-5)
    assert found["uar"] == pytest.approx(1 / 3) and found["accuracy"] == pytest.approx(0.5656, abs=5e-5)
    assert found["label_names"] == list(NAMES) and found["per_class"]["positive"]["num_samples"] == 109


@pytest.mark.parametrize("name", ["uf1", "uar", "mer"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "FIXED label set"),
        ({"num_labels": 2}, r"lie in \[0, 2\), got 0 to 2"),
        ({"num_labels": 4, "label_names": NAMES}, "`num_labels` is 4, but `label_names` has 3"),
        ({"num_labels": 3, "predictions": [0.7, 1.0, 2.0]}, "`predictions` must be class numbers, got 0.7"),
    ],
)
def test_what_would_give_another_score_is_refused(metrics, name, arguments, message):
    columns = {"predictions": [0, 1, 2], "references": [0, 2, 1], **arguments}
    with pytest.raises(ValueError, match=message):
        metrics[name].compute(**columns)
    # and the failed table is gone
    metrics[name].add_batch(predictions=[0, 1], references=[0, 1])
    assert metrics[name].compute(num_labels=2)[name.replace("mer", "uf1")] == 1


def test_batches_are_pooled(metrics):
    """Not averaged: either batch lacks a class."""
    for predictions, references in (([0, 0], [0, 0]), (torch.tensor([1, 0]), torch.tensor([1, 1]))):
        metrics["uf1"].add_batch(predictions=predictions, references=references)
    assert metrics["uf1"].compute(label_names=("a", "b")) == {"uf1": pytest.approx((4 / 5 + 2 / 3) / 2)}


def test_they_combine():
    both = evaluate.combine([micron_bert_hf.metric_path(name) for name in ("uf1", "uar")])
    both.add_batch(predictions=[0, 1], references=[0, 1])
    both.add_batch(predictions=[1], references=[2])
    assert both.compute(num_labels=3) == {"uf1": pytest.approx(5 / 9), "uar": pytest.approx(2 / 3)}


class Constant(torch.nn.Module):
    """Always the second class."""

    def __init__(self):
        super().__init__()
        self.bias = torch.nn.Parameter(torch.tensor([0.0, 1.0, 0.0]))

    def forward(self, x, labels):
        logits = self.bias.expand(len(x), 3)
        return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}


def test_they_serve_a_trainer(metrics, tmp_path):
    def compute_metrics(prediction):
        return metrics["mer"].compute(
            predictions=prediction.predictions.argmax(axis=-1), references=prediction.label_ids, label_names=NAMES
        )

    labels = [0, 1, 1, 2, 1, 0, 1]
    trainer = Trainer(
        model=Constant(),
        args=TrainingArguments(
            output_dir=str(tmp_path), per_device_eval_batch_size=2, report_to="none", use_cpu=True, disable_tqdm=True
        ),
        eval_dataset=Dataset.from_dict({"x": [[0.0]] * len(labels), "labels": labels}),
        compute_metrics=compute_metrics,
    )
    found = trainer.evaluate()
    assert found["eval_accuracy"] == pytest.approx(4 / 7)
    assert found["eval_uf1"] == pytest.approx(2 * 4 / (7 + 4) / 3)
    assert found["eval_confusion_matrix"] == [[0, 2, 0], [0, 4, 0], [0, 1, 0]]


def test_another_name_is_refused():
    with pytest.raises(ValueError, match=r"\['uf1', 'uar', 'mer'\], got 'accuracy'"):
        micron_bert_hf.metric_path("accuracy")
