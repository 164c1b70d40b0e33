"""Fine-tuning: learns, keeps the order of the labels, the same for the same seed and however a batch is split."""

import pytest
import torch
from transformers import Trainer, TrainingArguments

from micron_bert_hf import MicronBertForMicroExpressionClassification
from micron_bert_hf.data import ClassificationCollator, FramePairs
from micron_bert_hf.evaluation import predict
from micron_bert_hf.training import FineTuningArguments, classifier_from_pretrained, fine_tune


@pytest.fixture
def make_classifier(make_pretraining_model, label_names):
    def make():
        pretrained = make_pretraining_model()
        torch.manual_seed(1)
        return classifier_from_pretrained(pretrained, label_names)

    return make


def run(model, pairs, **changes):
    arguments = {"epochs": 2, "batch_size": 8, "learning_rate": 1e-3, "warmup_share": 0.0, "seed": 5, **changes}
    return fine_tune(model, pairs, FineTuningArguments(**arguments), progress=False)


def test_the_encoder_is_taken_over_and_the_labels_keep_their_order(make_pretraining_model, tmp_path):
    pretrained = make_pretraining_model()
    model = classifier_from_pretrained(pretrained, ("z", "a", "m"))
    for name, tensor in pretrained.micron_bert.state_dict().items():
        assert torch.equal(model.micron_bert.state_dict()[name], tensor), name
    model.save_pretrained(tmp_path)
    for config in (model.config, MicronBertForMicroExpressionClassification.from_pretrained(tmp_path).config):
        assert config.id2label == {0: "z", 1: "a", 2: "m"}
        assert config.label2id == {"z": 0, "a": 1, "m": 2}
    assert pretrained.config.num_labels == 2  # untouched
    with pytest.raises(ValueError, match="different class names"):
        classifier_from_pretrained(pretrained, ("a", "a"))


def test_every_parameter_moves_and_the_mode_is_training(make_classifier, pairs):
    model = make_classifier()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    result = run(model, pairs)
    unmoved = [name for name, parameter in model.named_parameters() if torch.equal(parameter, before[name])]
    assert [name for name in unmoved if not name.endswith("k_proj.bias")] == []
    assert [entry["epoch"] for entry in result.history] == [1.0, 2.0]


def test_it_learns_where_the_face_changed(make_classifier, pairs):
    """Weak: on the training pairs, of a task that brightness in one half of the apex gives away."""
    model = make_classifier()
    result = run(model, pairs, epochs=30, learning_rate=3e-3, augmentation=None)
    assert result.history[-1]["loss"] < 0.1 * result.history[0]["loss"]
    assert predict(model, pairs, progress=False).score()["uf1"] == 1.0


def test_two_runs_of_one_seed_are_bit_equal_and_another_seed_is_not(make_classifier, pairs):
    results = []
    for seed in (5, 5, 6):
        model = make_classifier()
        results.append((run(model, pairs, seed=seed).history, model.state_dict()))
    (history, weights), (history_again, weights_again), (other_history, _) = results
    assert history == history_again != other_history
    assert all(torch.equal(weights[name], weights_again[name]) for name in weights)


def test_the_augmentation_differs_from_epoch_to_epoch(make_classifier, pairs, monkeypatch):
    from micron_bert_hf.training import fine_tuning

    seen = []

    class Recorder(fine_tuning.ClassificationCollator):
        def __call__(self, items):
            seen.append((self.epoch, sorted(item["index"] for item in items)))
            return super().__call__(items)

    monkeypatch.setattr(fine_tuning, "ClassificationCollator", Recorder)
    run(make_classifier(), pairs, epochs=3)
    assert [epoch for epoch, _ in seen] == [0, 0, 1, 1, 2, 2]
    for start in (0, 2, 4):
        assert sorted(seen[start][1] + seen[start + 1][1]) == list(range(16))


def test_one_batch_of_8_is_four_of_2_accumulated(make_classifier, pairs):
    losses, norms, weights = [], [], []
    for batch_size, accumulation in ((8, 1), (2, 4)):
        model = make_classifier()
        result = run(model, pairs, batch_size=batch_size, gradient_accumulation_steps=accumulation)
        losses.append([entry["loss"] for entry in result.history])
        norms.append([entry["grad_norm"] for entry in result.history])
        weights.append(model.state_dict())
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert norms[0] == pytest.approx(norms[1], rel=1e-3)
    for name in weights[0]:
        if not name.endswith("k_proj.bias"):
            torch.testing.assert_close(weights[0][name], weights[1][name], rtol=1e-3, atol=2e-4)


def test_unlabelled_pairs_and_foreign_labels_are_named(make_classifier, pairs):
    unlabelled = FramePairs.__new__(FramePairs)
    unlabelled.labels = None
    with pytest.raises(ValueError, match="labelled"):
        run(make_classifier(), unlabelled)
    foreign = FramePairs.__new__(FramePairs)
    foreign.labels = torch.tensor([0, 2])
    with pytest.raises(ValueError, match="2 classes, got label 2"):
        run(make_classifier(), foreign)


def test_trainer_gathers_the_logits_only(make_classifier, pairs, tmp_path):
    """An ordinary `compute_metrics` takes the argmax of one array, not of a tuple with the maps in it."""
    arguments = TrainingArguments(
        output_dir=tmp_path, report_to="none", remove_unused_columns=False, per_device_eval_batch_size=4
    )
    model = make_classifier()
    trainer = Trainer(model=model, args=arguments, data_collator=ClassificationCollator(None, seed=0))
    output = trainer.predict(pairs)
    assert output.predictions.shape == (len(pairs), model.config.num_labels)
    assert output.label_ids.tolist() == pairs.labels.tolist()
