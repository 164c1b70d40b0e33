"""Classifiers from every kind of saved model: nothing missing, nothing over, heads kept for their own classes only."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from micron_bert_hf import MicronBertForMicroExpressionClassification
from micron_bert_hf.data import SeenPeople
from micron_bert_hf.hub import save_for_hub, weights_fingerprint
from micron_bert_hf.training import classifier_from_pretrained, load_classifier, new_classifier, read_provenance
from micron_bert_hf.training.classifiers import join_frame_rates, read_frame_rates


CLASSES = ("negative", "positive", "surprise")


@pytest.fixture(params=["mse", "self_distillation", "encoder", "classifier"])
def saved(request, make_pretraining_model, image_processor, tmp_path):
    """A model, the folder it is in, and whether it has a head for `CLASSES`."""
    is_pretraining = request.param in ("mse", "self_distillation")
    model = make_pretraining_model(contextual_agreement=request.param if is_pretraining else "mse")
    encoder = model.micron_bert
    if request.param == "encoder":
        model = encoder
    elif request.param == "classifier":
        model = classifier_from_pretrained(model, CLASSES)
    folder = save_for_hub(tmp_path / "saved", model=model, image_processor=image_processor)
    return model, encoder, folder


def test_the_encoder_of_any_model_is_taken_over(saved):
    model, encoder, folder = saved
    random_state = torch.get_rng_state()
    loaded = load_classifier(folder, CLASSES, seed=3)
    assert torch.equal(torch.get_rng_state(), random_state)
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(loaded.micron_bert.state_dict()[name], tensor), name
    assert loaded.config.id2label == dict(enumerate(CLASSES))
    has_head = isinstance(model, MicronBertForMicroExpressionClassification)
    again, other = load_classifier(folder, CLASSES, seed=3), load_classifier(folder, CLASSES, seed=4)
    assert torch.equal(loaded.classifier.weight, again.classifier.weight)
    assert torch.equal(loaded.classifier.weight, other.classifier.weight) == has_head
    if has_head:
        assert torch.equal(loaded.classifier.weight, model.classifier.weight)
    changed = load_classifier(folder, CLASSES, seed=3, classifier_dropout=0.2)
    assert changed.config.classifier_dropout == changed.dropout.p == 0.2


def test_a_head_for_other_classes_is_refused_unless_it_is_to_be_ignored(make_pretraining_model, tmp_path):
    model = classifier_from_pretrained(make_pretraining_model(), CLASSES)
    model.save_pretrained(tmp_path)
    for names in (CLASSES[:2], ("positive", "negative", "surprise"), ("a", "b", "c")):
        with pytest.raises(ValueError) as raised:
            load_classifier(tmp_path, names, seed=0)
        for part in (str(list(CLASSES)), str(list(names)), "--ignore-head"):
            assert part in str(raised.value)
        loaded = load_classifier(tmp_path, names, seed=0, ignore_head=True)
        assert loaded.config.id2label == dict(enumerate(names))
        assert loaded.classifier.weight.shape == (len(names), 32)
        assert torch.equal(loaded.micron_bert.norm.weight, model.micron_bert.norm.weight)
    anew = load_classifier(tmp_path, CLASSES, seed=0, ignore_head=True)
    assert not torch.equal(anew.classifier.weight, model.classifier.weight)


def test_half_precision_is_trained_in_full(make_pretraining_model, tmp_path):
    make_pretraining_model().bfloat16().save_pretrained(tmp_path)
    assert {tensor.dtype for tensor in load_classifier(tmp_path, CLASSES, seed=0).parameters()} == {torch.float32}


def test_tensors_missing_and_over_are_named(saved):
    _, _, folder = saved
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if name.endswith("norm.weight"))
    for changed, message in (
        ({key: tensor for key, tensor in weights.items() if key != name}, rf"missing \['{name}'\] \(1\)"),
        ({**weights, "intruder": torch.zeros(2)}, r"without a place \['intruder'\] \(1\)"),
        ({**weights, name: torch.zeros(5)}, "does not fit"),
    ):
        save_file(changed, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(ValueError, match=message):
            load_classifier(folder, CLASSES, seed=0)


def test_a_model_that_is_none_of_ours_and_a_config_that_does_not_fit_are_named(make_pretraining_model, tmp_path):
    make_pretraining_model().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="another encoder than the saved one"):
        load_classifier(tmp_path, CLASSES, seed=0, hidden_size=16)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "architectures": ["ViTModel"]}))
    with pytest.raises(ValueError, match="MicronBertForPreTraining.*got ViTModel"):
        load_classifier(tmp_path, CLASSES, seed=0)
    with pytest.raises(ValueError, match="different class names"):
        new_classifier(("a",), seed=0)


def test_a_new_classifier_is_its_seeds(make_pretraining_model):
    fields = {"image_size": 16, "hidden_size": 16, "num_hidden_layers": 1, "intermediate_size": 16}
    fields |= {"decoder_hidden_size": 16, "decoder_num_hidden_layers": 1, "decoder_intermediate_size": 16}
    prints = [weights_fingerprint(new_classifier(CLASSES, seed, **fields)) for seed in (0, 0, 1)]
    assert prints[0] == prints[1] != prints[2]
    assert new_classifier(CLASSES, 0, **fields).config.label2id == {name: n for n, name in enumerate(CLASSES)}


def test_a_fingerprint_sees_every_bit(make_pretraining_model):
    model = make_pretraining_model(contextual_agreement="self_distillation")
    before = weights_fingerprint(model)
    with torch.no_grad():
        model.center.zero_()
        model.center[0, 3] = torch.finfo(torch.float32).tiny
    after = weights_fingerprint(model)
    assert before != after != weights_fingerprint(model.bfloat16()) and len(after) == 64


def test_who_was_seen_is_read_from_beside_the_weights(tmp_path):
    assert read_provenance(tmp_path) == SeenPeople(is_complete=False)
    content = {"subjects": {"casme2": ["sub02", "sub01"], "synthetic": []}, "is_complete": True, "steps": 3}
    (tmp_path / "provenance.json").write_text(json.dumps(content))
    assert read_provenance(tmp_path) == SeenPeople({"casme2": ("sub01", "sub02"), "synthetic": ()})
    assert read_provenance("nobody/nothing") == SeenPeople(is_complete=False)  # offline: nobody knows
    whole = '{"subjects": {"a": ["b"]}}'
    for text in (
        "{}",
        '{"subjects": 3, "is_complete": true}',
        '{"subjects": {"a": 1}, "is_complete": true}',
        whole,
    ):
        (tmp_path / "provenance.json").write_text(text)
        with pytest.raises(ValueError, match="must hold `subjects`"):
            read_provenance(tmp_path)
    (tmp_path / "provenance.json").write_text("{")
    with pytest.raises(ValueError, match="provenance.json is damaged"):
        read_provenance(tmp_path)


def test_frame_rates_are_read_from_beside_the_weights_and_joined(tmp_path):
    assert read_frame_rates(tmp_path) == read_frame_rates("nobody/nothing") == {}
    for content, expected in (({}, {}), ({"frame_rates": {"casme2": [200, 100.0]}}, {"casme2": [100.0, 200.0]})):
        (tmp_path / "provenance.json").write_text(json.dumps(content))
        assert read_frame_rates(tmp_path) == expected
    assert join_frame_rates(expected, {"casme2": [200], "smic": {100}}) == {"casme2": [100, 200], "smic": [100]}
    for rates in (3, {"casme2": 200}, {"casme2": ["fast"]}):
        (tmp_path / "provenance.json").write_text(json.dumps({"frame_rates": rates}))
        with pytest.raises(ValueError, match="must hold `frame_rates`"):
            read_frame_rates(tmp_path)
