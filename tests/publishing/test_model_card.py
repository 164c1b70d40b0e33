"""The card says what the JSON files say, all of it, and of the rest that it is not known."""

import copy
import json
import re
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from PIL import Image

from micron_bert_hf.databases import DATABASES
from micron_bert_hf.publishing.card import CardFacts, is_untouched_card, render_card
from micron_bert_hf.publishing.folder import read_model_folder
from micron_bert_hf.publishing.known_datasets import KNOWN_DATASETS
from micron_bert_hf.publishing.results import Result, read_results
from micron_bert_hf.synthetic import PRESETS


NAMES = ("negative", "positive", "surprise")
EVALUATIONS = Path(__file__).parents[2] / "benchmarks" / "results" / "evaluations"


def write_provenance(folder, subjects, is_complete=True, **more):
    content = {"subjects": subjects, "is_complete": is_complete, **more}
    (folder / "provenance.json").write_text(json.dumps(content))


def render(folder, *results, **facts):
    source = read_model_folder(folder)
    own = [] if source.results is None else [Result(source.results, is_of_folder=True)]
    return render_card(CardFacts("user/name", source, (*own, *read_results(results)), **facts))


def section(card, title):
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", card, re.S | re.M)[1]


def table_rows(text):
    """The cells of every table row, heads left out."""
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line[:1] == "|"]
    rules = [index for index, row in enumerate(rows) if set("".join(row)) <= set("- |")]
    return [row for index, row in enumerate(rows) if index not in rules and index + 1 not in rules]


def test_every_number_of_an_evaluation_is_there_and_no_other(make_folder, evaluation):
    """The whole table, and each decimal in the section is one of the file's."""
    folder = make_folder()
    results = section(render(folder, evaluation), "Results")
    scores, majority, *matrix = table_rows(results)
    assert scores == [
        "mer-synth-v1",
        "Micron-BERT, tried (models of the folds)",
        "0.712",
        "0.612 to 0.813",
        "0.723",
        "0.769",
        "group_kfold:5",
        "3, 4",
        "composite-3",
        "46, 9",
    ]
    assert majority[1:6] == ["always the most frequent class", "0.152", "not measured", "0.333", "0.407"]
    assert matrix == [[name, *map(str, row)] for name, row in zip(NAMES, evaluation["confusion_matrix"])]
    assert "Nobody tested on had been seen before." in results and "these weights)" not in results
    # how the models of the folds saw faces says nothing of how this one did
    assert "**Face crop:** nobody wrote it down" in render(folder, evaluation)
    assert "**Face crop:** a box round eyes" in render(make_folder(seed=2, results={"uf1": 0.5, "crop": "landmarks"}))

    changed = copy.deepcopy(evaluation)
    changed["uf1"], changed["confusion_matrix"][1][2], changed["transductive"] = 0.444, 999, True
    changed["num_seen_test_subjects"] = 7
    results = section(render(folder, changed), "Results")
    assert "0.444" in results and "0.712" not in results and "999" in results
    assert "Not a number about new people:** 7 of those tested on" in results


@pytest.mark.parametrize("path", sorted(EVALUATIONS.glob("micron-bert-*.json")), ids=lambda path: path.stem)
def test_results_of_the_benchmarks_are_rendered(make_folder, path):
    """What `micron-bert evaluate` really wrote."""
    content = json.loads(path.read_text())
    card = render(make_folder(), path)
    for name in ("uf1", "uar", "accuracy"):
        assert f"{content[name]:.3f}" in section(card, "Results")
    assert f"{content['seconds']:.0f} s on 2 cores of AMD EPYC" in section(card, "Compute")
    assert "SYNTHETIC" in section(card, "Limits")
    assert len(ModelCard(card).data.eval_results) == 3


def test_what_nobody_measured_is_said(make_folder):
    card = render(make_folder(results={"uar": 0.5}))
    scores, *_ = table_rows(section(card, "Results"))
    unknown = "nobody wrote it down"
    assert scores[2:6] == ["not measured", "not measured", "0.500", "not measured"]
    assert scores[6:] == [unknown, unknown, unknown, f"{unknown}, {unknown}"]
    assert "Confusion matrix: not measured." in card
    assert f"Whether people tested on had been seen before: {unknown}" in card
    assert f"Which people it has seen: {unknown}" in section(card, "Training data")
    assert f"**Face crop:** {unknown}" in card and f"**Frame rate of the training clips:** {unknown}" in card
    assert f"not measured on {unknown} cores of {unknown}" in section(card, "Compute")
    assert f"real or synthetic faces: {unknown}" in section(card, "Limits")
    assert "Nobody has stated a licence" in section(card, "Licence")

    nothing = render(make_folder(seed=2))
    assert "UF1, UAR and accuracy: not measured." in section(nothing, "Results")
    assert ModelCard(nothing).data.eval_results is None


def test_metadata_for_the_hub(make_folder, evaluation):
    folder = make_folder(results={**evaluation, "uf1": 0.6, "protocol": "as_is"})
    write_provenance(folder, {"casme2": ["01", "02"], "mer-synth-v1": ["s000"]})
    card = ModelCard(render(folder, evaluation, license="cc-by-nc-4.0"))
    data = card.data
    assert (data.library_name, data.pipeline_tag, data.license) == (
        "transformers",
        "video-classification",
        "cc-by-nc-4.0",
    )
    assert data.datasets == ["casme2", "mer-synth-v1"] and data.metrics == ["uf1", "uar", "accuracy"]
    assert {"micro-expression", "custom_code"} <= set(data.tags) and data.model_name == "name"
    found = {
        (entry.metric_type, entry.metric_args["protocol"], entry.metric_args["of_these_weights"]): entry.metric_value
        for entry in data.eval_results
    }
    assert found == {
        ("uf1", "as_is", True): 0.6,
        ("uf1", "group_kfold:5", False): evaluation["uf1"],
        **{
            (name, protocol, protocol == "as_is"): evaluation[name]
            for name in ("uar", "accuracy")
            for protocol in ("as_is", "group_kfold:5")
        },
    }
    assert ModelCard(render(make_folder(seed=2))).data.license == "unknown"


def test_training_data_with_people_and_terms(make_folder):
    folder = make_folder()
    write_provenance(
        folder, {"casme2": ["01", "02", "03"], "ours": ["a"]}, is_complete=False, num_pairs=88, crop="none"
    )
    card = render(folder)
    known, unknown = table_rows(section(card, "Training data"))
    assert known == [
        "casme2",
        "3",
        "recorded",
        "Research only, by signed agreement; not to be passed on. http://casme.psych.ac.cn/casme/e2",
    ]
    assert unknown == ["ours", "1", "nobody wrote it down", "its terms: nobody wrote it down"]
    assert "Labelled pairs: 88." in card and "There may be others" in card
    assert "**Face crop:** none: frames as the dataset has them" in card
    assert "made in laboratories" in section(card, "Limits") and "SYNTHETIC" not in card
    write_provenance(folder, {"mer-synth-v1": ["s000"]})
    assert "SYNTHETIC" in section(render(folder), "Limits") and "There may be others" not in render(folder)


def test_the_demo_says_whom_it_learnt_from(make_folder):
    results = {
        "dataset": "synthetic, difficulty 0.15",
        "protocol": "holdout_subjects: fixed recipe",
        "uf1": 0.6,
        "seconds": {"render": 100.4, "pretrain": 11.2},
        "data": {"train_subjects": ["s0", "s1"], "test_subjects": ["s2"], "num_test_subjects": 1},
    }
    folder = make_folder(results=results)
    write_provenance(folder, {"synthetic": ["s0", "s1"]}, num_pairs=17, crop="none", frame_rates={"synthetic": [100]})
    card = render(folder)
    assert table_rows(section(card, "Training data"))[0] == ["synthetic", "2", "rendered", "CC0 1.0"]
    assert "Nobody tested on had been seen before." in card and "(these weights)" in card
    assert "Labelled pairs: 17." in card and ModelCard(card).data.eval_results[0].dataset_type == "synthetic"
    assert "112 s on" in section(card, "Compute") and "SYNTHETIC" in card
    assert "**Frame rate of the training clips:** synthetic 100 frames a second. The model" in card
    results["data"]["test_subjects"] = ["s1"]
    assert "Not a number about new people" in render(make_folder(seed=2, results=results))


def test_frame_rates_that_are_known_and_those_that_are_not(make_folder):
    folder = make_folder()
    write_provenance(folder, {"casme2": ["01"], "a | b": ["x"]}, frame_rates={"casme2": [100.0, 29.97]})
    card = render(folder)
    assert "clips:** a \\| b nobody wrote it down; casme2 100 and 29.97 frames a second." in card
    for rates in (7, {"casme2": 200}, {"casme2": [0]}, {"casme2": [True]}):
        write_provenance(folder, {}, frame_rates=rates)
        with pytest.raises(ValueError, match="has `frame_rates`"):
            render(folder)


def test_uses_that_are_out_of_scope(make_folder):
    card = render(make_folder())
    for words in ("lie detection", "hiring", "policing", "schools and at workplaces", "not consented"):
        assert words in " ".join(section(card, "Out of scope").split())


def test_both_ways_of_use(make_folder, frame_pair, monkeypatch, tmp_path):
    """That with the package runs, without consent to any code; the other is run where there is a Hub."""
    folder = make_folder()
    with_package, alone = re.findall(r"```python\n(.*?)```", section(render(folder, tag="v1"), "How to use"), re.S)
    assert 'revision = "v1"\n' in alone and "    trust_remote_code=True,\n" in alone
    for name, frame in zip(("onset", "apex"), frame_pair):
        Image.fromarray(frame).save(tmp_path / f"{name}.png")
    monkeypatch.chdir(tmp_path)
    namespace = {}
    exec(with_package.replace("user/name", str(folder)).replace("\nclassify({", "\nfound = classify({"), namespace)
    assert namespace["found"][0]["label"] in NAMES


def test_an_edited_card_is_told_from_a_rendered_one(make_folder):
    card = render(make_folder())
    assert is_untouched_card(card)
    for edited in (
        card.replace("research tool", "toy"),
        card + "\nMore.\n",
        card.replace("license: unknown", "license: mit"),
    ):
        assert edited != card and not is_untouched_card(edited)
    assert not is_untouched_card("# Mine\n")


def test_words_of_others_stay_in_their_cells(make_folder):
    results = {"uf1": 0.5, "dataset": "a | b\n## Licence\n<script>", "method": "x\ny"}
    card = render(make_folder(results=results))
    assert "a \\| b ## Licence &lt;script>" in card and "<script>" not in card.split("---")[2]
    assert card.count("\n## Licence\n") == 1
    ModelCard(card)


def test_known_datasets_are_those_of_the_converters_and_of_the_generator():
    expected = {
        part.dataset: (database.terms.text, database.terms.url)
        for database in DATABASES.values()
        for part in database.parts.values()
    }
    recorded = {name: known for name, known in KNOWN_DATASETS.items() if not known.is_synthetic}
    assert {name: (known.terms, known.url) for name, known in recorded.items()} == expected
    assert set(KNOWN_DATASETS) - set(recorded) == {"synthetic", *PRESETS}
