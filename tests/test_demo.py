"""The demo end to end, as small as it can be: every file that it promises, and each of them usable."""

import json
import math

import pytest
from PIL import Image
from transformers import AutoImageProcessor, AutoModel, AutoModelForVideoClassification

from micron_bert_hf import MicronBertConfig
from micron_bert_hf.data import SeenPeople
from micron_bert_hf.demo import FIGURE_NAME, MODEL_NAME, RESULTS_NAME, DemoRecipe, run_demo
from micron_bert_hf.evaluation import score
from micron_bert_hf.training import read_provenance


CLASSES = ("surprise", "happiness")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    output_dir = tmp_path_factory.mktemp("demo") / "demo_output"
    recipe = DemoRecipe(
        num_train_subjects=3,
        num_test_subjects=2,
        clips_per_class=1,
        classes=CLASSES,
        model={
            "image_size": 32,
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 16,
            "decoder_hidden_size": 16,
            "decoder_num_hidden_layers": 1,
            "decoder_num_attention_heads": 2,
            "decoder_intermediate_size": 16,
            "pooling": "change",
        },
        pretraining_epochs=1,
        fine_tuning_epochs=1,
        batch_size=4,
    )
    returned = run_demo(output_dir, seed=3, recipe=recipe)
    return output_dir, returned


def test_the_recipe_of_make_demo_is_a_model_of_the_full_method():
    config = MicronBertConfig(**DemoRecipe().model)
    assert (config.attention_mode, config.use_patch_of_interest) == ("diagonal", True)
    assert config.swap_ratio > 0 and config.contextual_agreement != "none"


def test_every_promised_file_is_there_and_nothing_else(demo):
    output_dir, _ = demo
    assert sorted(path.name for path in output_dir.iterdir()) == sorted((FIGURE_NAME, MODEL_NAME, RESULTS_NAME))


def test_the_model_folder_loads(demo):
    folder = demo[0] / MODEL_NAME
    model = AutoModelForVideoClassification.from_pretrained(folder)
    assert model.config.id2label == dict(enumerate(CLASSES))
    assert AutoImageProcessor.from_pretrained(folder).size["height"] == 32
    AutoModel.from_pretrained(folder)


def test_the_model_says_whom_it_has_seen(demo):
    folder, data = demo[0] / MODEL_NAME, demo[1]["data"]
    assert read_provenance(folder) == SeenPeople({"synthetic": tuple(sorted(data["train_subjects"]))})
    provenance = json.loads((folder / "provenance.json").read_text())
    assert provenance["num_pairs"] == 6 and provenance["frame_rates"] == {"synthetic": [100]}


def test_results_hold_what_the_reader_needs(demo):
    output_dir, returned = demo
    results = json.loads((output_dir / RESULTS_NAME).read_text())
    assert results == json.loads(json.dumps(returned))
    for name in ("uf1", "uar", "accuracy"):
        assert 0 <= results[name] <= 1
        for baseline in ("majority", "from_scratch"):
            assert 0 <= results["baselines"][baseline][name] <= 1
    assert results["seeds"] == [3]
    assert results["label2id"] == {"surprise": 0, "happiness": 1}
    assert set(results["seconds"]) == {"render", "pretrain", "fine_tune", "from_scratch", "evaluate", "show"}
    assert results["machine"]["cpu"] and results["machine"]["cores"] >= 1
    assert "commit" in results and results["versions"]["torch"]
    assert all(math.isfinite(value) for value in results["pretraining"]["last_loss"].values())


def test_the_score_can_be_made_again_from_the_predictions(demo):
    results = demo[1]
    numbers = results["label2id"]
    labels, predictions = (
        [numbers[row[column]] for row in results["predictions"]] for column in ("label", "prediction")
    )
    again = score(labels, predictions, CLASSES)
    assert {name: results[name] for name in again} == again


def test_no_subject_is_learnt_from_and_tested(demo):
    data, predictions = demo[1]["data"], demo[1]["predictions"]
    assert (data["num_train_subjects"], data["num_test_subjects"]) == (3, 2)
    assert (data["num_train_pairs"], data["num_test_pairs"]) == (6, 4)
    assert not set(data["train_subjects"]) & set(data["test_subjects"])
    assert {row["subject_id"] for row in predictions} == set(data["test_subjects"])
    assert demo[1]["shown"]["subject_id"] in data["test_subjects"]


def test_the_saved_model_gives_the_scores_in_the_table(demo):
    """The shown pair went through the saved folder and the pipeline, the table through the model in memory."""
    shown = demo[1]["shown"]
    row = next(row for row in demo[1]["predictions"] if row["sample_id"] == shown["sample_id"])
    assert shown["scores"] == pytest.approx(row["scores"], abs=1e-5)
    assert shown["prediction"] == row["prediction"]


def test_the_picture_opens(demo):
    with Image.open(demo[0] / FIGURE_NAME) as picture:
        picture.load()
        assert picture.format == "PNG" and picture.width >= 1200
