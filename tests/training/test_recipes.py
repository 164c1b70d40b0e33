"""Recipes: a YAML file, any line of which the command line may change; every recipe that is shipped is valid."""

import re
from pathlib import Path

import pytest
import yaml

from micron_bert_hf import MicronBertConfig, MicronBertForPreTraining
from micron_bert_hf.data import FrameDistance
from micron_bert_hf.training import PretrainingArguments, read_recipe
from micron_bert_hf.training.recipes import DataArguments, PretrainingRecipe


RECIPES = sorted((Path(__file__).resolve().parents[2] / "examples" / "recipes").glob("*.yaml"))


@pytest.fixture
def recipe_file(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "dataset: clips\nmax_steps: 300\ndistance: {low: 30, high: 60}\nsave_steps: 7\nmodel: {image_size: 96}\n"
    )
    return path


def test_the_command_line_overrules_the_file_and_the_file_the_defaults(recipe_file, tmp_path):
    recipe = read_recipe([str(recipe_file), "--max_steps", "40", "--output_dir", str(tmp_path / "out")])
    assert recipe.arguments == PretrainingArguments(max_steps=40, distance=FrameDistance(30, 60, "ms"))
    assert (recipe.run.save_steps, recipe.run.output_dir) == (7, tmp_path / "out")
    assert recipe.data == DataArguments("clips") and recipe.model == {"image_size": 96}
    nested = read_recipe([str(recipe_file), "--distance.low", "40", "--model.hidden_size", "64"])
    assert nested.arguments.distance == FrameDistance(40, 60, "ms")
    assert nested.model == {"image_size": 96, "hidden_size": 64}
    assert read_recipe(["--dataset", "x", "--augmentation", "null"]).arguments.augmentation is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--max_stepz", "3"], "max_stepz"),
        (["--max_steps", "many"], "max_steps"),
        (["--save_steps", "1.5"], "save_steps"),
        (["--distance.unit", "hours"], "frames or ms"),
    ],
)
def test_what_is_wrong_is_named(recipe_file, capsys, options, message):
    with pytest.raises((SystemExit, ValueError)) as raised:
        read_recipe([str(recipe_file), *options])
    assert message in capsys.readouterr().err + str(raised.value)


def test_an_unknown_key_of_a_file_is_named(tmp_path, capsys):
    (tmp_path / "recipe.yaml").write_text("dataset: x\nlearning_rat: 3\n")
    with pytest.raises(SystemExit):
        read_recipe([str(tmp_path / "recipe.yaml")])
    assert "learning_rat" in capsys.readouterr().err


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_is_valid_and_says_what_it_takes(path):
    text = path.read_text()
    header = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))
    recipe = read_recipe([str(path)])
    MicronBertConfig(**recipe.model)
    assert set(recipe.model) == set(yaml.safe_load(text).get("model", {}))
    for word in ("Hardware:", "Time:", "Result:"):
        assert re.search(rf"{word} (not measured|[^.\n]*\d)", header), word  # a number, or that there is none


def test_the_recipes_are_those_that_are_promised():
    assert [path.stem for path in RECIPES] == [
        "casme3_cluster",
        "paper_8gpu",
        "paper_cpu",
        "small_1gpu",
        "tiny_cpu",
        "windowed_cpu",
    ]
    paper = read_recipe([str(path) for path in RECIPES if path.stem == "paper_8gpu"])
    config = MicronBertConfig(**paper.model)
    assert (config.image_size, config.patch_size, config.hidden_size, config.swap_ratio) == (224, 8, 512, 0.5)
    assert (config.num_hidden_layers, config.decoder_num_hidden_layers) == (4, 4)


def test_the_same_seed_makes_the_same_model_and_a_given_one_is_gone_on_from(tmp_path):
    fields = {"image_size": 16, "hidden_size": 16, "num_hidden_layers": 1, "intermediate_size": 16}
    fields |= {"decoder_hidden_size": 16, "decoder_num_hidden_layers": 1, "decoder_intermediate_size": 16}
    recipe = PretrainingRecipe(DataArguments("x"), PretrainingArguments(), read_recipe(["--dataset", "x"]).run, fields)
    one, other = recipe.make_model(), recipe.make_model()
    assert (one.decoder.predict.weight == other.decoder.predict.weight).all()
    one.save_pretrained(tmp_path)
    recipe.make_image_processor().save_pretrained(tmp_path)
    going_on = PretrainingRecipe(DataArguments("x", None, str(tmp_path)), PretrainingArguments(), recipe.run)
    assert isinstance(going_on.make_model(), MicronBertForPreTraining)
    assert (going_on.make_model().decoder.predict.weight == one.decoder.predict.weight).all()
    assert going_on.make_image_processor().size == {"height": 16, "width": 16}
    one.micron_bert.save_pretrained(tmp_path / "encoder")
    encoder = PretrainingRecipe(
        DataArguments("x", None, str(tmp_path / "encoder")), PretrainingArguments(), recipe.run
    )
    with pytest.raises(ValueError, match="no whole pretraining model: it lacks"):
        encoder.make_model()
    fields = {"contextual_agreement": "self_distillation", "projection_hidden_size": 8, "projection_output_size": 8}
    changed = PretrainingRecipe(going_on.data, PretrainingArguments(), recipe.run, fields)
    assert changed.make_model().teacher is not None


def test_a_preset_is_made_once_and_an_excerpt_holds_its_first_clips(tmp_path, monkeypatch):
    """With the renderer replaced by one that writes an empty folder: which set is asked for, and where."""
    from micron_bert_hf.synthetic import dataset_writer
    from micron_bert_hf.synthetic.presets import PRESETS
    from micron_bert_hf.training import recipes

    asked = []
    monkeypatch.setattr(recipes, "HF_HOME", str(tmp_path))
    monkeypatch.setattr(dataset_writer, "write_dataset", lambda *args, **options: asked.append((args, options)))

    def find(*options):
        return read_recipe(["--dataset", "mer-synth-v1-pretrain", *options]).find_clips()

    whole, excerpt = find(), find("--num_clips", "3")
    assert whole != excerpt and whole.parent == excerpt.parent == tmp_path / "micron_bert_hf"
    (folder, parameters), _ = asked[1]
    assert folder == excerpt and parameters.num_clips == 3
    assert {**vars(parameters), "num_clips": 100} == vars(PRESETS["mer-synth-v1-pretrain"])
    for options, message in (
        (["--dataset", "mer-synth-v1"], "folder or one of"),
        (["--dataset", "mer-synth-v1-pretrain", "--num_clips", "101"], r"in \[1, 100\], got 101"),
        (["--dataset", str(tmp_path), "--num_clips", "1"], "is a folder"),
    ):
        with pytest.raises(ValueError, match=message):
            read_recipe(options).find_clips()
