"""A classifier from a recipe: read, trained once, gone on with, saved with whom it has seen, pushed where asked."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch
from datasets import Dataset, Features, Image, List, Value
from huggingface_hub import hf_hub_download
from publisher import TOKEN

from micron_bert_hf import MicronBertForMicroExpressionClassification, MicronBertImageProcessor
from micron_bert_hf.data import FramePairs, SeenPeople, read_samples
from micron_bert_hf.data.face_box import NUM_LANDMARKS
from micron_bert_hf.hub import save_for_hub
from micron_bert_hf.training import (
    FineTuningArguments,
    load_classifier,
    read_classification_recipe,
    read_provenance,
    train_classifier,
)
from micron_bert_hf.training.classification_recipe import LabelledDataArguments, pairs_of_samples


SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "run_classification.py"
RECIPE = """
epochs: 2
batch_size: 4
augmentation: {max_rotation_degrees: 3}
model: {image_size: 16, hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 16}
"""


@pytest.fixture
def recipe_file(tmp_path):
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return tmp_path / "recipe.yaml"


@pytest.fixture(scope="module")
def dataset(rows, tmp_path_factory):
    """The rows of `conftest`, on disk, of two databases that number their people alike."""
    points = [[2.0, 5.0]] * NUM_LANDMARKS
    for corner in (16, 17):  # of the mouth; the eyes are above it
        points[corner] = [8.0, 11.0]
    for corner in (6, 7, 8, 9):
        points[corner] = [8.0, 6.0]
    content = [
        {**row, "dataset": "ab"[number // 12], "subject_id": f"s{number // 4 % 3}", "landmarks": {"onset": points}}
        for number, row in enumerate(rows)
    ]
    texts = {name: Value("string") for name in ("sample_id", "subject_id", "dataset", "label")}
    landmarks = {"onset": List(List(Value("float32")))}
    features = Features({**texts, "onset": Image(), "apex": Image(), "landmarks": landmarks})
    folder = tmp_path_factory.mktemp("labelled") / "faces"
    Dataset.from_list(content, features=features).save_to_disk(folder)
    return folder


@pytest.fixture
def read(recipe_file, dataset, tmp_path):
    def read(*options, output_dir=tmp_path / "out"):
        line = [recipe_file, "--dataset", dataset, "--output_dir", output_dir, "--progress", "false", *options]
        return read_classification_recipe([str(word) for word in line])

    return read


def test_the_command_line_overrules_the_file_and_the_file_the_defaults(recipe_file):
    recipe = read_classification_recipe(
        [str(recipe_file), "--dataset", "faces", "--epochs", "3", "--model.hidden_size", "24", "--label_map", "samm-3"]
        + ["--protocol", "group_kfold:5", "--seeds", "[3, 4]", "--augmentation.max_scale", "0.1"]
    )
    assert recipe.arguments.epochs == 3 and recipe.arguments.batch_size == 4
    assert recipe.arguments.augmentation.max_rotation_degrees == 3 and recipe.arguments.augmentation.max_scale == 0.1
    assert recipe.model["hidden_size"] == 24 and recipe.model["image_size"] == 16
    assert recipe.data == LabelledDataArguments("faces", "samm-3")
    assert (recipe.run.protocol, recipe.seeds) == ("group_kfold:5", (3, 4))
    plain = read_classification_recipe(["--dataset", "faces", "--seed", "7"])
    assert plain.arguments == FineTuningArguments(seed=7) and plain.seeds == (7,) and plain.model == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--learning_rat", "3"], "learning_rat"),
        (["--epochs", "many"], "epochs"),
        (["--loss", "hinge"], "must be one of cross_entropy"),
        (["--seeds", "[1, 2]"], "`seeds` needs a `protocol`"),
        (["--num_processes", "2"], "`num_processes` needs a `protocol`"),
        (["--protocol", "loso", "--push_to_hub", "a/b"], "it cannot be given together with a `protocol`"),
        (["--push_to_hub", "a/b"], "`push_to_hub` publishes what is in `output_dir`; it is missing"),
        (["--push_to_hub", "b", "--output_dir", "out"], "must be named USER/NAME"),
        (["--private", "true"], "are of what `push_to_hub` publishes"),
        (["--protocol", "loso", "--seeds", "[1, 1]"], "different numbers"),
        (["--ignore_head", "true"], "give `model_name_or_path`"),
    ],
)
def test_what_is_wrong_is_named(recipe_file, capsys, options, message):
    with pytest.raises((SystemExit, ValueError)) as raised:
        read_classification_recipe([str(recipe_file), "--dataset", "faces", *options])
    assert message in capsys.readouterr().err + str(raised.value)


def test_a_preset_is_made_once_and_ids_and_folders_are_left_alone(tmp_path, monkeypatch):
    """With the renderer replaced by one that notes what is asked for."""
    from micron_bert_hf.synthetic import dataset_writer
    from micron_bert_hf.synthetic.presets import PRESETS
    from micron_bert_hf.training import recipes

    asked = []
    monkeypatch.setattr(recipes, "HF_HOME", str(tmp_path))
    monkeypatch.setattr(dataset_writer, "write_dataset", lambda *args, **options: asked.append(args))

    def find(name):
        return read_classification_recipe(["--dataset", name]).find_dataset()

    folder = Path(find("mer-synth-v1-easy"))
    assert asked == [(folder, PRESETS["mer-synth-v1-easy"])] and folder.parent == tmp_path / "micron_bert_hf"
    folder.mkdir(parents=True)
    (folder / dataset_writer.PARAMETERS_NAME).write_text("{}")
    assert find("mer-synth-v1-easy") == str(folder) and len(asked) == 1
    assert find("somebody/faces") == "somebody/faces" and find(str(tmp_path)) == str(tmp_path)
    for name in ("mer-synth-v1-pretrain", "nothing"):
        with pytest.raises(ValueError, match=r"on the Hub or one of \['mer-synth-v1', .*got"):
            find(name)


def test_the_pairs_of_a_set_are_its_faces_and_name_whose_they_are(dataset):
    samples, processor = read_samples(dataset), MicronBertImageProcessor(size={"height": 16, "width": 16})
    pairs = pairs_of_samples(samples, processor)
    assert len(set(pairs.subject_ids)) == 4 and pairs.subject_ids[0] == "a/s0" and pairs.subject_ids[-1] == "b/s0"
    assert pairs.labels.tolist() == samples.labels.tolist()
    index = pairs.sample_ids.index("a/clip3")
    row = samples.row(index)
    assert row["sample_id"] == "clip3"
    assert row["face_box"] is not None
    expected = FramePairs([row], processor).pixel_values[0]
    assert torch.equal(pairs.pixel_values[index], expected)


def test_training_leaves_a_model_and_whom_it_has_seen(read, tmp_path, dataset):
    recipe = read("--num_validation_subjects", 1, "--seed", 3)
    folder = train_classifier(recipe)
    assert folder == tmp_path / "out" / "model"
    history = json.loads((tmp_path / "out" / "training" / "history.json").read_text())
    assert [entry["epoch"] for entry in history] == [1.0, 2.0] and "validation_uf1" in history[0]
    assert read_provenance(folder) == SeenPeople({"a": ("s0", "s1", "s2"), "b": ("s0",)})
    provenance = json.loads((folder / "provenance.json").read_text())
    assert provenance["is_complete"] and provenance["fingerprint"] == read_samples(dataset).fingerprint
    model = MicronBertForMicroExpressionClassification.from_pretrained(folder)
    assert model.config.id2label == {0: "lower", 1: "upper"}
    assert MicronBertImageProcessor.from_pretrained(folder).size == {"height": 16, "width": 16}
    assert not torch.equal(model.classifier.weight, recipe.make_model(("lower", "upper"), 3).classifier.weight)

    # the same again changes nothing, and what a kill left out is made up for
    written = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert train_classifier(recipe) == folder
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == written
    (folder / "provenance.json").unlink()
    train_classifier(recipe)
    again = MicronBertForMicroExpressionClassification.from_pretrained(folder)
    assert torch.equal(again.classifier.weight, model.classifier.weight)
    assert json.loads((folder / "provenance.json").read_text()) == provenance
    with pytest.raises(ValueError, match="another run"):
        train_classifier(read("--seed", 4))


def test_a_model_that_is_started_from_hands_on_whom_it_has_seen(read, make_pretraining_model, tmp_path):
    pretrained = make_pretraining_model()
    start = save_for_hub(
        tmp_path / "pretrained",
        model=pretrained,
        image_processor=MicronBertImageProcessor(size={"height": 16, "width": 16}, resample=3),
    )
    # of its own architecture, but a rate of dropout
    options = ("--model", '{"classifier_dropout": 0.1}', "--model_name_or_path", start, "--trainable", "head")
    unknown = read(*options, output_dir=tmp_path / "unknown")
    unknown = json.loads((train_classifier(unknown) / "provenance.json").read_text())
    assert not unknown["is_complete"] and set(unknown["subjects"]) == {"a", "b"}

    (start / "provenance.json").write_text(
        json.dumps({"subjects": {"clips": ["x"], "b": ["s7"]}, "is_complete": True, "frame_rates": {"clips": [50]}})
    )
    folder = train_classifier(read(*options))
    seen = {"a": ("s0", "s1", "s2"), "b": ("s0", "s7"), "clips": ("x",)}
    assert read_provenance(folder) == SeenPeople(seen)
    provenance = json.loads((folder / "provenance.json").read_text())
    assert provenance["is_complete"] and provenance["frame_rates"] == {"clips": [50.0]}
    loaded = load_classifier(folder, ("lower", "upper"), seed=0)
    assert loaded.config.classifier_dropout == 0.1
    for name, tensor in pretrained.micron_bert.state_dict().items():
        assert torch.equal(loaded.micron_bert.state_dict()[name], tensor), name
    assert MicronBertImageProcessor.from_pretrained(folder).resample == 3
    with pytest.raises(ValueError, match="--ignore-head"):
        read("--model", "{}", "--model_name_or_path", folder).make_model(("upper", "lower"), 0)
    other = read("--model", "{}", "--model_name_or_path", folder, "--ignore_head", "true")
    assert other.make_model(("upper", "lower"), 0).config.id2label == {0: "upper", 1: "lower"}


@pytest.fixture
def main(monkeypatch):
    """The script's `main`, with options."""
    spec = importlib.util.spec_from_file_location("run_classification", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def main(*options):
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, options)])
        return module.main()

    return main


def test_what_cannot_be_is_one_line_of_error(main, recipe_file, dataset, tmp_path, capsys):
    for options, message in (
        ((recipe_file, "--dataset", dataset), "--output_dir is missing"),
        ((recipe_file, "--dataset", "nothing", "--output_dir", tmp_path / "out"), "`dataset` must be"),
        ((recipe_file, "--dataset", dataset, "--output_dir", recipe_file), "recipe.yaml"),
    ):
        assert main(*options) == 1
        error = capsys.readouterr().err
        assert error.startswith("run_classification.py: ") and message in error and error.count("\n") == 1


def test_the_script_trains_and_publishes(
    main, recipe_file, dataset, hub_of_this_process, tmp_path, monkeypatch, capsys
):
    options = [recipe_file, "--dataset", dataset, "--output_dir", tmp_path / "out", "--push_to_hub", "user/name"]
    hub, folder = hub_of_this_process, tmp_path / "out" / "model"
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert main(*options) == 1
    error = capsys.readouterr().err
    assert "401" in error and error.count("\n") == 1 and not (tmp_path / "out").exists()  # before the training

    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert main(*options, "--private", "true", "--license", "cc-by-4.0") == 0
    printed = capsys.readouterr().out
    assert f"The classifier is in {folder}" in printed and "loaded from the Hub at this commit" in printed
    repository = hub.state()["repos"]["user/name"]
    assert repository["private"] and len(repository["revisions"]) == 2
    files = set(repository["revisions"][repository["branches"]["main"]])
    assert files == {path.name for path in folder.iterdir()} | {".gitattributes", "README.md"}
    card = Path(hf_hub_download("user/name", "README.md", cache_dir=tmp_path / "cache")).read_text()
    assert "license: cc-by-4.0" in card and "| a | 3 |" in card and "Labelled pairs: 16." in card
