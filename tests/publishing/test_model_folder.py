"""What a folder may hold, what of it is sent, and what stops a publication before anything is."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from micron_bert_hf import MicronBertForPreTraining, MicronBertModel
from micron_bert_hf.hub import REMOTE_CODE, save_for_hub, weights_fingerprint
from micron_bert_hf.publishing import PublishedButWrongError, isolation, model
from micron_bert_hf.publishing.card import CardFacts, render_card
from micron_bert_hf.publishing.folder import read_model_folder, sent_files, without_local_paths, write_complete_folder
from micron_bert_hf.publishing.model import prepare_model, publish_model
from micron_bert_hf.publishing.push import PushedCommit
from micron_bert_hf.publishing.results import Result, check_results_belong, read_results


NAMES = ("negative", "positive", "surprise")
WEIGHTS = "model.safetensors"
CODE = {file.name for file in REMOTE_CODE}


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def change_weights(folder, change):
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def drop_one(tensors):
    del tensors["classifier.bias"]


def make_longer(tensors):
    tensors["classifier.bias"] = torch.zeros(7)


def add_one(tensors):
    tensors["classifier.extra"] = torch.zeros(1)


def spoil(tensors):
    tensors["classifier.bias"] = tensors["classifier.bias"] * torch.nan


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "pytorch_model.bin").write_bytes(pickle.dumps([])), "pytorch_model.bin: a pickle"),
        (lambda folder: (folder / "optimizer.PT").write_bytes(b""), "optimizer.PT: a pickle"),
        (lambda folder: (folder / "notes.txt").write_text("mine"), "holds notes.txt, which has no place"),
        (lambda folder: (folder / "frames").mkdir(), "holds frames, which has no place"),
        (lambda folder: (folder / WEIGHTS).write_bytes(pickle.dumps({"x": 1})), "damaged or no safetensors"),
        (lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-9]), "damaged or no safet"),
        (lambda folder: (folder / WEIGHTS).write_bytes(b""), "damaged or no safetensors"),
        (lambda folder: (folder / WEIGHTS).unlink(), "model.safetensors is missing"),
        (lambda folder: (folder / "preprocessor_config.json").unlink(), "preprocessor_config.json is missing"),
        (lambda folder: (folder / "config.json").write_text('{"model_type": "vit"}'), "model_type 'vit'"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json is damaged"),
        (lambda folder: (folder / "results.json").write_text("[]"), "results.json must hold an object"),
        (lambda folder: (folder / "results.json").write_text('{"uf1": NaN}'), "results.json cannot be written"),
        (lambda folder: (folder / "provenance.json").write_text("{}"), "provenance.json must hold `subjects`"),
        (lambda folder: change_weights(folder, drop_one), r"missing \['classifier.bias'\]"),
        (lambda folder: change_weights(folder, add_one), r"without a place \['classifier.extra'\]"),
        (lambda folder: change_weights(folder, make_longer), "do not fit its config.json"),
        (lambda folder: change_weights(folder, spoil), "NaN or infinity: classifier.bias"),
    ],
)
def test_what_stops_a_publication(make_folder, change, message):
    folder = make_folder()
    change(folder)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        read_model_folder(folder)


def test_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent is no folder"):
        read_model_folder(tmp_path / "absent")


@pytest.mark.parametrize("name", ["name", "a/b/c", "user/na me", "user/", ""])
def test_names_of_repositories(make_folder, name):
    with pytest.raises(ValueError):
        publish_model(make_folder(), name)


def test_the_complete_copy(make_folder, evaluation, tmp_path):
    """From a folder that has lost its code and its map, amid a run's other files; which stays as it is."""
    folder = make_folder(results={"uf1": 0.5})
    config = json.loads((folder / "config.json").read_text())
    del config["auto_map"], config["custom_pipelines"]
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "pipeline_micron_bert.py").unlink()
    (folder / "modeling_micron_bert.py").write_text("raise SystemExit('not run')")
    (folder / "LICENSE").write_text("free\n")
    (folder / "provenance.json").write_text(
        json.dumps({"subjects": {"casme2": ["01"]}, "is_complete": True, "started_from": "/home/somebody/encoder"})
    )
    (folder / "checkpoint-00000040").mkdir()
    (folder / "checkpoint-00000040" / "optimizer.bin").write_bytes(b"")
    for name in ("run.json", "history.json", ".gitattributes"):
        (folder / name).write_text("{}")
    before = contents(folder)

    source = read_model_folder(folder)
    results = [Result(source.results, is_of_folder=True), *read_results(evaluation)]
    target = write_complete_folder(
        tmp_path / "complete", source, render_card(CardFacts("user/name", source, tuple(results))), results
    )
    assert contents(folder) == before
    assert source.left_out == (".gitattributes", "checkpoint-00000040", "history.json", "run.json")
    assert source.replaced_code == ("modeling_micron_bert.py",)
    evaluated = "evaluations/1-mer-synth-v1-group-kfold-5-micron-bert-tried.json"
    assert set(sent_files(target)) == CODE | {
        "LICENSE",
        "README.md",
        "config.json",
        evaluated,
        WEIGHTS,
        "preprocessor_config.json",
        "provenance.json",
        "results.json",
    }
    config = json.loads((target / "config.json").read_text())
    assert len(config["auto_map"]) == 4 and config["custom_pipelines"]
    assert (target / WEIGHTS).read_bytes() == before[(folder / WEIGHTS).relative_to(folder)]
    for file in REMOTE_CODE:
        assert (target / file.name).read_bytes() == file.read_bytes()
    for path in target.rglob("*"):
        if path.is_file() and path.suffix != ".safetensors":
            assert "/home/somebody" not in path.read_text() and str(tmp_path) not in path.read_text()
    assert json.loads((target / "provenance.json").read_text())["started_from"] == "encoder"
    # published again from a download, nothing is lost
    again = read_model_folder(target)
    assert [result.content["uf1"] for result in again.evaluations] == [evaluation["uf1"]]


def test_absolute_paths_are_told_from_other_texts():
    given = {"a": ["/data/x", "C:\\data\\y", "casme2/01", "1 / 2"], "b": {"c": 3, "d": None}, "e": ("/",)}
    assert without_local_paths(given) == {
        "a": ["x", "y", "casme2/01", "1 / 2"],
        "b": {"c": 3, "d": None},
        "e": [""],
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "holds no score"),
        ({"uf1": None}, "holds no score"),
        ({"uf1": 81.0}, "uf1 81.0; expected a number from 0 to 1"),
        ({"uar": True}, "uar True"),
        ({"uf1": float("nan")}, "cannot be written as JSON"),
        ({"uf1": 0.5, "uf1_interval": [0.1]}, r"uf1_interval \[0.1\]"),
        (
            {"uf1": 0.5, "confusion_matrix": [[1, 2]], "label_names": ["a", "b"]},
            "2 label_names and a confusion_matrix",
        ),
        ({"uf1": 0.5, "confusion_matrix": [[1]]}, "0 label_names and a confusion_matrix of 1 rows"),
    ],
)
def test_results_that_are_none(content, message):
    with pytest.raises(ValueError, match=message):
        read_results(content)


def test_results_from_files_folders_and_lists(evaluation, tmp_path):
    (tmp_path / "results.json").write_text(json.dumps(evaluation))
    found = read_results([tmp_path, str(tmp_path / "results.json"), evaluation])
    assert [result.content for result in found] == [evaluation] * 3 and read_results(None) == []
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(ValueError, match="results.json is no JSON"):
        read_results(tmp_path)
    with pytest.raises(FileNotFoundError, match="there are no results to publish"):
        read_results(tmp_path / "absent.json")


def test_results_of_another_model_are_refused(make_classifier, evaluation):
    classifier, other = make_classifier(1), make_classifier(2)
    check_results_belong([Result(evaluation)], classifier, NAMES)
    with pytest.raises(ValueError, match="are of the classes"):
        check_results_belong([Result(evaluation)], classifier, ("happiness", "disgust"))
    measured = evaluation | {"protocol": "as_is", "settings": {"fingerprint": weights_fingerprint(classifier)}}
    assert Result(measured).is_of_these_weights and not Result(evaluation, is_of_folder=True).is_of_these_weights
    check_results_belong([Result(measured)], classifier, NAMES)
    with pytest.raises(ValueError, match="measured with other weights"):
        check_results_belong([Result(measured)], other, NAMES)


@pytest.mark.parametrize("kind", [MicronBertForPreTraining, MicronBertModel])
def test_models_without_a_classifier_are_tried_too(kind, tiny_config, image_processor, tmp_path):
    folder = save_for_hub(tmp_path / "model", model=kind(tiny_config), image_processor=image_processor)
    prepared = prepare_model(folder, tmp_path / "complete", "user/encoder")
    assert prepared.difference <= isolation.TOLERANCE and set(prepared.answer) == {"last_hidden_state"}
    assert any("no licence was stated" in note for note in prepared.notes)
    assert "without a classifier" in (prepared.path / "README.md").read_text()


def test_code_that_needs_this_package_is_found_out(make_folder):
    """The package is installed here, and cannot be imported there."""
    folder = make_folder()
    code = folder / "image_processing_micron_bert.py"
    code.write_text(code.read_text() + "\nimport micron_bert_hf.hub  # noqa\n")
    with pytest.raises(ValueError, match="not found in your environment: micron_bert_hf"):
        isolation.isolated_answer(str(folder), loaded(folder)[0], isolation.example_pair())


def test_a_card_of_ours_is_rendered_anew_and_another_is_kept(make_folder, monkeypatch, tmp_path):
    monkeypatch.setattr(
        model, "isolated_answer", lambda path, *rest: isolation.own_answer(*loaded(Path(path)), *rest[1:])
    )
    first = prepare_model(make_folder(), tmp_path / "first", "user/name")
    again = prepare_model(first.path, tmp_path / "again", "user/name", license="mit")
    assert "license: mit" in (again.path / "README.md").read_text() and again.notes == ()
    (again.path / "README.md").write_text((again.path / "README.md").read_text().replace("research tool", "toy"))
    kept = prepare_model(again.path, tmp_path / "kept", "user/name", license="cc-by-4.0")
    assert (kept.path / "README.md").read_bytes() == (again.path / "README.md").read_bytes()
    assert "written or edited by somebody" in kept.notes[0]


def test_a_converted_checkpoint_needs_a_licence(make_folder, tmp_path):
    folder = make_folder()
    (folder / "conversion.json").write_text('{"source_file": "CASME2.pth"}')
    with pytest.raises(ValueError, match="no licence to pass it on"):
        prepare_model(folder, tmp_path / "complete", "user/name")


FAILING = "raise SystemExit('there is no such architecture')"
# answers as `isolated_answer.py` would, without its seconds
ANSWERING = """
import json, sys
from pathlib import Path

request = json.load(sys.stdin)
Path(request["out"]).write_text(json.dumps({answer}))
"""


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (FAILING, "does not load in a process of its own: there is no such architecture"),
        (ANSWERING.replace("{answer}", "{'values': {}, 'modules': ['micron_bert_hf.x']}"), "answered for by micron_b"),
        (ANSWERING.replace("{answer}", "{'values': {}, 'modules': []}"), r"the answer holds \[\]"),
    ],
)
def test_a_stranger_who_gets_no_answer_stops_it(program, message, make_folder, monkeypatch, tmp_path):
    (tmp_path / "program.py").write_text(program)
    monkeypatch.setattr(isolation, "_PROGRAM", tmp_path / "program.py")
    monkeypatch.setattr(model, "push_folder", lambda *args, **kwargs: pytest.fail("something was sent"))
    with pytest.raises(ValueError, match=message):
        publish_model(make_folder(), "user/name")


def test_another_answer_stops_it_and_after_the_push_is_said(make_folder, monkeypatch):
    folder = make_folder()
    right = isolation.own_answer(*loaded(folder), isolation.example_pair())
    wrong = {name: (np.array(values) + 2e-6).tolist() for name, values in right.items()}
    sent, answers = [], [wrong]
    monkeypatch.setattr(model, "isolated_answer", lambda *args, **kwargs: answers.pop(0))

    def push(*args, **kwargs):
        sent.append(args)
        return PushedCommit("b" * 40, "a" * 40, "address", False, (), ())

    monkeypatch.setattr(model, "push_folder", push)
    with pytest.raises(ValueError, match="differs from this package's by 2e-06"):
        publish_model(folder, "user/name")
    assert sent == []
    answers += [right, wrong]
    with pytest.raises(PublishedButWrongError, match="b{40}, but it could not be confirmed.*before it is a{40}"):
        publish_model(folder, "user/name")
    assert len(sent) == 1


def loaded(folder):
    source = read_model_folder(folder)
    return source.model, source.image_processor


ECHO = """
import json, os, sys
from pathlib import Path

request = json.load(sys.stdin)
Path(request["out"]).write_text(json.dumps({"request": request, "environment": dict(os.environ)}))
"""


@pytest.mark.parametrize("online", [False, True])
def test_what_an_isolated_process_is_given(online, monkeypatch, tmp_path):
    """Libraries as here; neither the working directory, nor code from the Hub, nor the cache; a token to ask it."""
    (tmp_path / "program.py").write_text(ECHO)
    (tmp_path / "modules" / "transformers_modules").mkdir(parents=True)
    (tmp_path / "libraries").mkdir()
    monkeypatch.setattr("sys.path", ["", str(tmp_path / "modules"), str(tmp_path / "libraries")])
    monkeypatch.setenv("HF_HUB_CACHE", "/elsewhere")
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_user")
    found = isolation.ask(tmp_path / "program.py", {"model": "x"}, tmp_path, online=online, hide_package=True)
    assert found["request"]["path"] == [str(tmp_path / "libraries")]
    assert found["request"]["hidden"] == "micron_bert_hf" and found["request"]["threads"] == torch.get_num_threads()
    environment = found["environment"]
    assert environment["HF_HOME"] == str(tmp_path / "home") and "HF_HUB_CACHE" not in environment
    assert environment["HF_HUB_OFFLINE"] == str(int(not online))
    assert environment.get("HF_TOKEN") == ("hf_of_the_user" if online else None)


def test_differences():
    expected = {"a": [1.0, 2.0]}
    assert isolation.largest_difference({"a": [1.0, 2.0 + 5e-7]}, expected) == pytest.approx(5e-7)
    for found in ({"a": [1.0]}, {"b": [1.0, 2.0]}, {"a": [1.0, float("nan")]}, {"a": [1.0, 2.1]}):
        with pytest.raises(ValueError):
            isolation.largest_difference(found, expected)
