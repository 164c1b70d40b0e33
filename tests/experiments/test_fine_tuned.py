"""Micron-BERT as a method: trained anew in every fold, on that fold's training people alone, from a stated start."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from datasets import Dataset, Features, Image, Value

from micron_bert_hf import MicronBertConfig, MicronBertForMicroExpressionClassification, MicronBertImageProcessor
from micron_bert_hf.data import SeenPeople, read_samples
from micron_bert_hf.evaluation import PredictionTable, TrainingPairs, as_is, evaluate, group_kfold
from micron_bert_hf.experiments import (
    EvaluationRequest,
    FineTunedMicronBert,
    FixedClassifier,
    read_ablation,
    run_ablation,
    run_evaluation,
)
from micron_bert_hf.training import read_classification_recipe


NAMES = ("lower", "upper")
MODEL = {
    "image_size": 16,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
}
RECIPE = """
epochs: 2
batch_size: 4
augmentation: null
method: tiny
model: {image_size: 16, hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 16}
"""


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """Twelve pairs of six people, of two classes that differ in where the apex is brighter."""
    random = np.random.default_rng(0)
    rows = []
    for number in range(12):
        onset = random.integers(40, 120, (16, 16, 3), dtype=np.uint8)
        apex = onset.copy()
        apex[slice(0, 8) if number % 2 else slice(8, 16)] += 100
        identity = {"sample_id": f"clip{number:02d}", "subject_id": f"s{number // 2}", "label": NAMES[number % 2]}
        rows.append({**identity, "onset": onset, "apex": apex})
    texts = {name: Value("string") for name in ("sample_id", "subject_id", "label")}
    folder = tmp_path_factory.mktemp("faces") / "faces"
    folder.mkdir()
    Dataset.from_list(rows, features=Features({**texts, "onset": Image(), "apex": Image()})).to_parquet(
        folder / "data.parquet"
    )
    return folder


@pytest.fixture
def recipe_file(tmp_path):
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return tmp_path / "recipe.yaml"


@pytest.fixture
def classifier(tmp_path):
    """A saved classifier of the two classes, with whom it has seen."""
    torch.manual_seed(0)
    config = MicronBertConfig(**MODEL, id2label=dict(enumerate(NAMES)), label2id={n: i for i, n in enumerate(NAMES)})
    MicronBertForMicroExpressionClassification(config).save_pretrained(tmp_path / "classifier")
    MicronBertImageProcessor(size={"height": 16, "width": 16}).save_pretrained(tmp_path / "classifier")
    (tmp_path / "classifier" / "provenance.json").write_text(
        json.dumps({"subjects": {"faces": ["s1"]}, "is_complete": True})
    )
    return tmp_path / "classifier"


def fold_of(faces, method):
    samples = read_samples(str(faces))
    inputs = np.stack([method.prepare(samples.row(index)) for index in range(8)])
    return TrainingPairs(inputs, samples.labels[:8], samples.sample_ids[:8], samples.subject_ids[:8], NAMES)


def test_a_fold_is_a_function_of_its_training_people_and_the_seed(faces, recipe_file):
    recipe = read_classification_recipe([str(recipe_file), "--dataset", str(faces)])
    method = FineTunedMicronBert(recipe)
    method.check(NAMES)
    train = fold_of(faces, method)
    first, again, other = (method.fit(train, seed)(train.inputs) for seed in (0, 0, 1))
    assert first.shape == (8, 2) and np.allclose(first.sum(1), 1)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3
    maps = method.fit(train, 0).maps(train.inputs)
    assert {name: values.shape for name, values in maps.items()} == {
        "Attention drop": (8, 2, 2),
        "Patch of interest": (8, 2, 2),
    }
    assert method.seen_people() == SeenPeople() and method.name == "tiny"


def test_epochs_may_be_chosen_within_the_training_people(faces, recipe_file):
    """With everybody but one in the validation the model differs: those are not learnt from."""
    words = [str(recipe_file), "--dataset", str(faces)]
    method = FineTunedMicronBert(read_classification_recipe(words))
    chosen = FineTunedMicronBert(read_classification_recipe([*words, "--num_validation_subjects", "2"]))
    train = fold_of(faces, method)
    assert np.abs(method.fit(train, 0)(train.inputs) - chosen.fit(train, 0)(train.inputs)).max() > 1e-4
    assert method.identity(NAMES) != chosen.identity(NAMES)


def test_the_command_evaluates_a_recipe_and_a_model(faces, recipe_file, classifier, tmp_path):
    request = partial(EvaluationRequest, dataset=str(faces), protocol="group_kfold:3", seeds=(0, 1))
    text = run_evaluation(request(str(recipe_file), output=tmp_path / "scratch"), progress=False)
    assert text.startswith("tiny on faces, group_kfold:3: 12 samples of 6 people, 3 folds, 2 seeds")
    results = json.loads((tmp_path / "scratch" / "results.json").read_text())
    assert results["transductive"] is False and results["settings"]["arguments"]["epochs"] == 2
    assert (tmp_path / "scratch" / "figures" / "worst_samples.png").exists()
    # from a model that has seen one of the people
    text = run_evaluation(
        request(str(classifier), recipe=recipe_file, seeds=(0,), output=tmp_path / "model"), progress=False
    )
    assert "TRANSDUCTIVE: 1 of the people" in text
    assert PredictionTable.read(tmp_path / "model" / "predictions.parquet").label_names == NAMES
    with pytest.raises(ValueError, match="--recipe says how a model is fine-tuned; dis_flow is not a model"):
        run_evaluation(request("dis_flow", recipe=recipe_file, output=tmp_path / "no"))


def test_a_trained_classifier_answers_as_it_is(faces, classifier, tmp_path):
    # its classes stand in another order than the data's: names decide
    config = json.loads((classifier / "config.json").read_text())
    config |= {"id2label": {"0": "upper", "1": "lower"}, "label2id": {"upper": 0, "lower": 1}}
    (classifier / "config.json").write_text(json.dumps(config))
    run_evaluation(EvaluationRequest(str(classifier), str(faces), "as_is", (0,), tmp_path / "out"), progress=False)
    table = PredictionTable.read(tmp_path / "out" / "predictions.parquet")
    samples = read_samples(str(faces))
    model = MicronBertForMicroExpressionClassification.from_pretrained(classifier)
    processor = MicronBertImageProcessor.from_pretrained(classifier)
    for index in (0, 5):
        row = samples.row(index)
        with torch.no_grad():
            logits = model(**processor((row["onset"], row["apex"]), return_tensors="pt")).logits[0]
        place = table.sample_ids.index(samples.sample_ids[index])
        np.testing.assert_allclose(table.scores[place], logits.double().softmax(-1).flip(0).numpy(), rtol=1e-5)
    with pytest.raises(ValueError, match="as_is asks a classifier that is trained"):
        run_evaluation(EvaluationRequest("majority", str(faces), "as_is", (0,), tmp_path / "no"))


def test_a_classifier_of_other_classes_is_refused_before_training(faces, classifier, tmp_path):
    config = MicronBertConfig(**MODEL, num_labels=3)
    MicronBertForMicroExpressionClassification(config).save_pretrained(classifier)
    make_samples = partial(read_samples, str(faces))
    words = ["--dataset", str(faces), "--model_name_or_path", str(classifier), "--epochs", "1"]
    recipe = read_classification_recipe(words)
    with pytest.raises(ValueError, match="--ignore-head"):
        evaluate(partial(FineTunedMicronBert, recipe), make_samples, group_kfold(3), (0,), tmp_path / "out")
    with pytest.raises(ValueError, match=r"LABEL_0.*\['lower', 'upper'\]"):
        evaluate(partial(FixedClassifier, str(classifier)), make_samples, as_is(), (0,), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    ignoring = read_classification_recipe([*words, "--ignore_head", "true"])
    FineTunedMicronBert(ignoring).check(NAMES)


def test_an_ablation_runs_every_variant_and_pretrains_what_is_shared_once(faces, tmp_path):
    from micron_bert_hf.data import write_clips

    samples = read_samples(str(faces))
    write_clips(tmp_path / "clips", [samples.row(index) for index in range(12)], num_shards=2)
    recipe = {
        "pretraining": {"dataset": str(tmp_path / "clips"), "max_steps": 2, "batch_size": 4, "num_workers": 0},
        "fine_tuning": {"dataset": str(faces), "protocol": "group_kfold:2", "epochs": 1, "batch_size": 4},
        "model": {**MODEL, "decoder_hidden_size": 16, "decoder_num_hidden_layers": 1, "decoder_intermediate_size": 16},
        "variants": [
            {"name": "paper", "model": {"pooling": "mean"}},
            {"name": "ours"},
            {"name": "no swap", "model": {"pretext_task": "masking", "contextual_agreement": "none"}},
            {"name": "scratch", "pretrained": False},
        ],
    }
    path = tmp_path / "ablation.yaml"
    path.write_text(json.dumps(recipe))  # JSON is YAML
    results = run_ablation(read_ablation(path), tmp_path / "out", progress=False)
    assert [variant["name"] for variant in results["variants"]] == ["paper", "ours", "no swap", "scratch"]
    # pooling is not part of pretraining
    assert len([entry for entry in (tmp_path / "out" / "pretrained").iterdir() if entry.is_dir()]) == 2
    settings = [
        json.loads((tmp_path / "out" / "variants" / name / "results.json").read_text())["settings"]
        for name in ("paper", "ours", "scratch")
    ]
    assert settings[0]["started_from"] == settings[1]["started_from"] and settings[2]["started_from"] is None
    finished = (tmp_path / "out" / "variants" / "ours" / "folds" / "seed-0-fold-000.parquet").stat().st_mtime_ns
    run_ablation(read_ablation(path), tmp_path / "out", progress=False)
    assert (
        tmp_path / "out" / "variants" / "ours" / "folds" / "seed-0-fold-000.parquet"
    ).stat().st_mtime_ns == finished
    for wrong, message in (
        ({"variants": []}, "one or more variants"),
        ({"variants": [{"name": "a"}, {"name": "A"}]}, "different names"),
        ({"variants": [{"nam": "a"}]}, "A variant has a `name`"),
        ({"more": 1}, "must have the keys"),
    ):
        path.write_text(json.dumps({**recipe, **wrong}))
        with pytest.raises(ValueError, match=message):
            read_ablation(path)
