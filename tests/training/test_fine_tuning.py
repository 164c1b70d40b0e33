"""Fine-tuning: learns, the same for the same seed, however a step is split and wherever a run was interrupted."""

import json
import os
import re
import signal
import socket
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.optim.optimizer import register_optimizer_step_post_hook
from transformers import Trainer, TrainingArguments

from micron_bert_hf import MicronBertForMicroExpressionClassification
from micron_bert_hf.data import ClassificationCollator, FramePairs
from micron_bert_hf.evaluation import predict, uf1
from micron_bert_hf.evaluation.metrics import confusion_matrix
from micron_bert_hf.training import FineTuningArguments, classifier_from_pretrained, fine_tune
from micron_bert_hf.training.fine_tuning import BatchesOfRank, macro_f1, pair_losses
from micron_bert_hf.training.optimization import layer_decay_groups, layer_scale, weight_average_decay_at


ARGUMENTS = {"epochs": 2, "batch_size": 8, "learning_rate": 1e-3, "warmup_share": 0.0, "seed": 5}


@pytest.fixture
def make_classifier(make_pretraining_model, label_names):
    def make(**changes):
        pretrained = make_pretraining_model(**changes)
        torch.manual_seed(1)
        return classifier_from_pretrained(pretrained, label_names)

    return make


def run(model, pairs, validation=None, output_dir=None, **changes):
    arguments = FineTuningArguments(**{**ARGUMENTS, **changes})
    return fine_tune(model, pairs, arguments, validation=validation, output_dir=output_dir, progress=False)


def state(model):
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def assert_equal(weights, others):
    assert weights.keys() == others.keys()
    for name in weights:
        assert torch.equal(weights[name], others[name]), name


def assert_close(weights, others):
    """But for the key bias, whose gradient is rounding alone, which Adam brings to the size of a step."""
    for name in weights:
        if not name.endswith("k_proj.bias"):
            torch.testing.assert_close(weights[name], others[name], rtol=1e-3, atol=2e-4, msg=name)


@pytest.fixture
def split(pairs):
    """12 pairs of three people to learn from, and 4 of another."""
    return pairs.subset(range(12)), pairs.subset(range(12, 16))


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
    result = run(model, pairs, epochs=20, learning_rate=4e-3, augmentation=None)
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


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"class_weights": "balanced", "loss": "focal", "label_smoothing": 0.1, "layer_decay": 0.7},
        {"loss": "logit_adjusted", "ema_decay": 0.5},
    ],
    ids=["plain", "focal", "adjusted"],
)
def test_one_batch_of_8_is_four_of_2_accumulated(make_classifier, pairs, changes):
    """15 pairs of unequal classes: an epoch ends with a step of 7, whose last batch is one pair."""
    uneven = pairs.subset(range(1, 16))
    assert torch.bincount(uneven.labels).tolist() == [7, 8]
    results = []
    for batch_size, accumulation in ((8, 1), (2, 4)):
        model = make_classifier()
        history = run(
            model, uneven, batch_size=batch_size, gradient_accumulation_steps=accumulation, **changes
        ).history
        results.append((history, state(model)))
    for one, other in zip(results[0][0], results[1][0]):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)
        assert one["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-3)
    assert_close(results[0][1], results[1][1])


def test_the_loss_of_an_epoch_is_the_mean_over_its_steps_of_the_mean_over_their_pairs(make_classifier, pairs):
    """With a learning rate that moves nothing, and without augmentation: by hand from the logits."""
    uneven = pairs.subset(range(1, 16))
    changes = {"loss": "focal", "class_weights": "balanced", "label_smoothing": 0.1, "learning_rate": 1e-12}
    model = make_classifier()
    (entry,) = run(model, uneven, epochs=1, augmentation=None, **changes).history
    counts = torch.bincount(uneven.labels)
    with torch.no_grad():
        logits = model(pixel_values=uneven.pixel_values).logits
    losses = pair_losses(FineTuningArguments(**changes), counts)(logits, uneven.labels)
    first, second = BatchesOfRank(15, 8, seed=5, rank=0, num_ranks=1)
    assert entry["loss"] == pytest.approx((losses[first].mean() + losses[second].mean()).item() / 2, rel=1e-4)
    weights = 15 / (2 * counts)[uneven.labels]
    assert weights.mean().item() == pytest.approx(1.0)
    unweighted = pair_losses(FineTuningArguments(**{**changes, "class_weights": "none"}), counts)
    torch.testing.assert_close(losses, unweighted(logits, uneven.labels) * weights)


def test_ranks_share_the_batches_of_an_epoch_and_none_is_repeated():
    for num_pairs, batch_size, num_ranks in ((15, 2, 1), (15, 2, 2), (16, 4, 3), (3, 8, 2)):
        samplers = [BatchesOfRank(num_pairs, batch_size, 5, rank, num_ranks) for rank in range(num_ranks)]
        alone = list(BatchesOfRank(num_pairs, batch_size, 5, 0, 1))
        turns = list(zip(*(list(sampler) for sampler in samplers)))
        assert {len(sampler) for sampler in samplers} == {len(turns)}
        in_turn = [batch for turn in turns for batch in turn]
        assert in_turn == alone + [[None]] * (len(in_turn) - len(alone))
        assert sorted(position for batch in alone for position in batch) == list(range(num_pairs))
        samplers[0].epoch = 1
        assert list(samplers[0]) != [turn[0] for turn in turns]


def test_every_parameter_is_in_one_group_of_its_layer(make_classifier):
    model = make_classifier()
    model.micron_bert.layers[0].mlp.requires_grad_(False)
    groups = layer_decay_groups(model, 2, learning_rate=1e-3, weight_decay=0.05, layer_decay=0.5)
    found = {}
    for group in groups:
        for parameter in group["params"]:
            assert id(parameter) not in found
            found[id(parameter)] = group["lr"], group["weight_decay"]
    expected = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        scale = 1.0
        for start, value in (("embeddings.", 0.125), ("layers.0.", 0.25), ("layers.1.", 0.5)):
            if name.startswith(f"micron_bert.{start}"):
                scale = value
        is_vector = parameter.ndim == 1 or name.endswith("contextual_token")
        expected[id(parameter)] = 1e-3 * scale, 0.0 if is_vector else 0.05
    assert found == expected
    assert len(found) < len(list(model.parameters()))
    assert [group["lr"] for group in groups] == sorted((group["lr"] for group in groups), reverse=True)
    assert [group["lr"] for group in layer_decay_groups(model, 2, 1e-3, 0.05, 1.0)] == [1e-3, 1e-3]


def test_what_is_not_known_learns_as_the_head_does():
    assert [
        layer_scale(name, 12, 0.5) for name in ("classifier.weight", "micron_bert.norm.bias", "new.layers.3.x")
    ] == [1.0] * 3
    assert layer_scale("micron_bert.layers.11.mlp.fc1.weight", 12, 0.5) == 0.5
    assert layer_scale("micron_bert.layers.1.mlp.fc1.weight", 12, 0.5) == 0.5**11
    assert layer_scale("micron_bert.embeddings.contextual_token", 12, 0.5) == 0.5**13


def test_a_lower_layer_moves_less(make_classifier, pairs):
    """Adam's first step moves each bias by its learning rate, whatever its gradient."""
    model = make_classifier()
    before = state(model)
    run(model, pairs, epochs=1, batch_size=16, layer_decay=0.1)
    for name, scale in (
        ("classifier.bias", 1.0),
        ("micron_bert.layers.1.mlp.fc2.bias", 0.1),
        ("micron_bert.embeddings.patch_embeddings.bias", 0.001),
    ):
        moved = (model.state_dict()[name] - before[name]).abs().max().item()
        assert moved == pytest.approx(1e-3 * scale, rel=0.01), name


@pytest.mark.parametrize(
    ("trainable", "frozen"),
    [
        ("frozen_encoder", r"micron_bert\.(embeddings|layers|norm)\."),
        ("head", r"(?!classifier\.)"),
    ],
)
def test_what_is_frozen_neither_moves_nor_drops(make_classifier, pairs, trainable, frozen):
    model = make_classifier(hidden_dropout_prob=0.5, attention_probs_dropout_prob=0.5, classifier_dropout=0.1)
    model.micron_bert.embeddings.contextual_token.requires_grad_(False)
    before, modes = state(model), {}
    names = {module: name for name, module in model.named_modules()}

    def note_mode(module, *_):
        modes[names[module]] = module.training

    handles = [module.register_forward_hook(note_mode) for module in names]
    run(model, pairs, trainable=trainable)
    for handle in handles:
        handle.remove()
    for name, parameter in model.named_parameters():
        if not name.endswith("k_proj.bias"):
            assert torch.equal(parameter, before[name]) == bool(re.match(frozen, name)), name
        assert parameter.requires_grad == (name != "micron_bert.embeddings.contextual_token"), name
    has_parameters = {name: any(True for _ in module.parameters()) for name, module in model.named_modules()}
    for name, is_training in modes.items():
        if name and has_parameters[name] and name != "micron_bert":
            assert is_training != bool(re.match(frozen, f"{name}.")), name
    # dropout within the encoder is silent, that of the head is not
    assert not modes["micron_bert.layers.0"] and modes["dropout"] and modes["classifier"]
    assert all(module.training for module in model.modules())


def test_the_model_ends_with_the_average_of_its_weights(make_classifier, pairs):
    model, steps = make_classifier(), []
    handle = register_optimizer_step_post_hook(
        lambda *_: steps.append({name: p.detach().clone() for name, p in model.named_parameters()})
    )
    average = {name: p.detach().clone() for name, p in model.named_parameters()}
    try:
        run(model, pairs, ema_decay=0.2)
    finally:
        handle.remove()
    assert len(steps) == 4
    for decay, weights in zip((2 / 11, 0.2, 0.2, 0.2), steps):
        average = {name: decay * average[name] + (1 - decay) * weights[name] for name in weights}
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter, average[name], rtol=0, atol=1e-6, msg=name)
    assert not torch.equal(model.classifier.weight, steps[-1]["classifier.weight"])
    assert [weight_average_decay_at(update, 0.999) for update in (1, 8, 10**6)] == [2 / 11, 0.5, 0.999]


@pytest.mark.parametrize("ema_decay", [0.0, 0.5])
def test_the_best_epoch_on_validation_people_is_kept(make_classifier, split, ema_decay):
    """Of people whose labels are the wrong way round: what is learnt soon does harm."""
    train, validation = split
    validation = FramePairs.from_pixel_values(
        validation.pixel_values, 1 - validation.labels, validation.sample_ids, validation.subject_ids
    )
    model, steps = make_classifier(), []
    handle = register_optimizer_step_post_hook(lambda *_: steps.append(state(model)))
    try:
        result = run(model, train, validation, epochs=6, batch_size=12, learning_rate=1e-2, ema_decay=ema_decay)
    finally:
        handle.remove()
    scores = [(entry["validation_uf1"], -entry["validation_loss"]) for entry in result.history]
    assert result.best_epoch == 1 + scores.index(max(scores)) < 6
    table = predict(model, validation, progress=False)
    assert table.score()["uf1"] == pytest.approx(max(scores)[0])
    if ema_decay == 0.0:
        assert_equal(state(model), steps[result.best_epoch - 1])
    else:
        assert not torch.equal(model.classifier.weight, steps[result.best_epoch - 1]["classifier.weight"])
    # looking at them changes nothing of the training
    blind = run(make_classifier(), train, epochs=6, batch_size=12, learning_rate=1e-2, ema_decay=ema_decay)
    assert blind.best_epoch is None
    assert [entry["loss"] for entry in blind.history] == [entry["loss"] for entry in result.history]
    with pytest.raises(ValueError, match="'s3' is in fold 0 and in fold 1"):
        run(model, validation, validation)


def test_macro_f1_is_the_uf1_of_an_evaluation():
    generator = torch.Generator().manual_seed(0)
    for num_labels in (2, 5):
        labels, predictions = torch.randint(num_labels - 1, (2, 30), generator=generator)
        expected = uf1(confusion_matrix(labels.numpy(), predictions.numpy(), num_labels))
        assert macro_f1(labels, predictions, num_labels) == pytest.approx(expected)


def test_bfloat16_stays_close_and_leaves_no_trace(make_classifier, pairs):
    exact = run(make_classifier(), pairs).history
    model = make_classifier()
    rounded = run(model, pairs, mixed_precision="bf16").history
    assert rounded[-1]["loss"] == pytest.approx(exact[-1]["loss"], rel=0.05)
    assert rounded[-1]["loss"] != exact[-1]["loss"]
    assert "forward" not in vars(model) and "_original_forward" not in vars(model)
    assert model(pixel_values=pairs.pixel_values[:2]).diagonal_attention.dtype == torch.float32
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="needs a GPU"):
            run(model, pairs, mixed_precision="fp16")


class Killed(Exception):
    pass


@pytest.mark.parametrize("stop_after", [1, 3])
def test_going_on_is_bit_equal_to_not_having_stopped(make_classifier, split, tmp_path, monkeypatch, stop_after):
    """With dropout, averaged weights, a best epoch and another split of the step; the last checkpoint is torn."""
    from micron_bert_hf.training import fine_tuning

    train, validation = split
    changes = {"epochs": 5, "batch_size": 4, "ema_decay": 0.8, "learning_rate": 5e-3}
    fields = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
    straight = make_classifier(**fields)
    expected = run(straight, train, validation, **changes)

    on_epoch_begin = fine_tuning._EpochCallback.on_epoch_begin

    def die(self, args, state, control, **kwargs):
        if round(state.epoch or 0) == stop_after:
            raise Killed
        on_epoch_begin(self, args, state, control, **kwargs)

    monkeypatch.setattr(fine_tuning._EpochCallback, "on_epoch_begin", die)
    with pytest.raises(Killed):
        run(make_classifier(**fields), train, validation, tmp_path / "out", **changes)
    monkeypatch.undo()
    checkpoints = sorted(path.name for path in (tmp_path / "out").glob("checkpoint-*"))
    assert checkpoints == [f"checkpoint-{3 * epoch}" for epoch in range(max(1, stop_after - 1), stop_after + 1)]
    if stop_after == 3:
        (tmp_path / "out" / "checkpoint-9" / "optimizer.pt").write_bytes(b"torn")
    resumed = make_classifier(**fields)
    torch.manual_seed(99)
    result = run(resumed, train, validation, tmp_path / "out", **changes)
    assert_equal(state(straight), state(resumed))
    assert result.history == expected.history and result.best_epoch == expected.best_epoch
    assert json.loads((tmp_path / "out" / "history.json").read_text()) == expected.history

    # a second call finds nothing to do, and gives back what was learnt
    again = make_classifier(**fields)
    finished = run(again, train, validation, tmp_path / "out", **changes)
    assert_equal(state(straight), state(again))
    assert finished.history == expected.history and finished.samples_per_second == 0.0


def test_another_run_and_a_foreign_folder_are_refused(make_classifier, pairs, tmp_path):
    folder = tmp_path / "out"
    run(make_classifier(), pairs, output_dir=folder, epochs=1, trainable="head")
    same = {"output_dir": folder, "epochs": 1, "trainable": "head"}
    run(make_classifier(), pairs, **same, batch_size=4, gradient_accumulation_steps=2)
    moved = make_classifier()
    with torch.no_grad():
        moved.classifier.bias.add_(1e-3)
    other = FramePairs.from_pixel_values(pairs.pixel_values, 1 - pairs.labels, pairs.sample_ids, pairs.subject_ids)
    for model, some, changes, message in (
        (make_classifier(), pairs, {"seed": 6}, "seed: 5 there, 6 here"),
        (make_classifier(), pairs, {"batch_size": 4}, "pairs_per_step: 8 there, 4 here"),
        (moved, pairs, {}, "weights: "),
        (make_classifier(), other, {}, "pairs: "),
        (make_classifier(classifier_dropout=0.1), pairs, {}, r"model\.classifier_dropout: 0\.0 there, 0\.1 here"),
    ):
        with pytest.raises(ValueError, match=f"another run .*{message}"):
            run(model, some, **{**same, **changes})
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("dear")
    with pytest.raises(FileExistsError, match=r"chapter\.txt"):
        run(make_classifier(), pairs, output_dir=tmp_path / "thesis")


# Imports once, then forks: a run that a kill ends, the same going on, the same undisturbed, and one of two ranks, as
# torchrun starts them. Prints how each ended.
DRIVER = """
import json, os, signal, sys, traceback
import torch
torch.set_num_threads(1)
from pathlib import Path
from safetensors.torch import load_file, save_file
from torch.optim.optimizer import register_optimizer_step_post_hook
from micron_bert_hf import MicronBertForMicroExpressionClassification
from micron_bert_hf.data import FramePairs
from micron_bert_hf.training import FineTuningArguments, fine_tune

folder, port = Path(sys.argv[1]), sys.argv[2]
tensors, settings = load_file(folder / "pairs.safetensors"), json.loads((folder / "settings.json").read_text())
pairs = FramePairs.from_pixel_values(
    tensors["pixel_values"], tensors["labels"], settings["sample_ids"], settings["subject_ids"]
)

def train(name, fields, changes, rank=0):
    model = MicronBertForMicroExpressionClassification.from_pretrained(folder / "model", **fields)
    result = fine_tune(
        model,
        pairs.subset(range(9)),
        FineTuningArguments(**{**settings["arguments"], **changes}),
        validation=pairs.subset(range(12, 16)),
        output_dir=folder / name,
        progress=False,
    )
    save_file(model.state_dict(), folder / f"{name}-{rank}.safetensors")
    (folder / f"{name}-{rank}.json").write_text(json.dumps([result.history, result.best_epoch]))

def start(function, *arguments):
    child = os.fork()
    if child == 0:
        try:
            function(*arguments)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    return child

def train_killed(*arguments):
    steps = []
    def count(*_):
        steps.append(None)
        if len(steps) == 5:
            os.kill(os.getpid(), signal.SIGKILL)
    register_optimizer_step_post_hook(count)
    train(*arguments)

def train_rank(rank):
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", ACCELERATE_USE_CPU="true")
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port, GLOO_SOCKET_IFNAME="lo")
    train("together", {}, {"batch_size": 2}, rank)

def end(*children):
    for child in children:
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)

dropout = {"hidden_dropout_prob": 0.1}
end(start(train_killed, "killed", dropout, {}))
end(start(train, "killed", dropout, {}))
end(start(train, "straight", dropout, {}))
end(start(train_rank, 0), start(train_rank, 1))
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_killed_run_goes_on_and_two_ranks_learn_what_one_does(make_classifier, pairs, tmp_path):
    """9 pairs in steps of 4: for the last step of an epoch one of two ranks has a pair and the other has none."""
    arguments = {**ARGUMENTS, "epochs": 3, "batch_size": 4, "ema_decay": 0.5, "class_weights": "balanced"}
    make_classifier().save_pretrained(tmp_path / "model")
    save_file({"pixel_values": pairs.pixel_values, "labels": pairs.labels}, tmp_path / "pairs.safetensors")
    settings = {"sample_ids": pairs.sample_ids, "subject_ids": pairs.subject_ids, "arguments": arguments}
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    process = subprocess.run(
        [sys.executable, "-c", DRIVER, str(tmp_path), str(free_port())],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )
    assert process.stdout.split() == [str(-signal.SIGKILL), "0", "0", "0", "0"], process.stderr[-4000:]

    def result(name):
        history, best_epoch = json.loads((tmp_path / f"{name}.json").read_text())
        return history, best_epoch, load_file(tmp_path / f"{name}.safetensors")

    killed, straight = result("killed-0"), result("straight-0")
    assert killed[:2] == straight[:2]
    assert_equal(killed[2], straight[2])

    model = make_classifier()
    alone = run(model, pairs.subset(range(9)), pairs.subset(range(12, 16)), **arguments)
    for rank in range(2):
        history, best_epoch, weights = result(f"together-{rank}")
        assert best_epoch == alone.best_epoch
        for one, other in zip(alone.history, history, strict=True):
            for name in one:
                assert one[name] == pytest.approx(other[name], rel=1e-3 if name == "grad_norm" else 1e-5), name
        assert_close(state(model), weights)


def test_unlabelled_pairs_and_foreign_labels_are_named(make_classifier, pairs):
    columns = pairs.pixel_values, pairs.sample_ids, pairs.subject_ids
    unlabelled = FramePairs.from_pixel_values(columns[0], None, *columns[1:])
    with pytest.raises(ValueError, match="labelled"):
        run(make_classifier(), unlabelled)
    foreign = FramePairs.from_pixel_values(columns[0], pairs.labels + 1, *columns[1:])
    with pytest.raises(ValueError, match="2 classes, got label 2"):
        run(make_classifier(), foreign)
    with pytest.raises(ValueError, match="2 classes, got label 2"):
        run(make_classifier(), pairs, foreign)
    model = make_classifier()
    model.config.problem_type = "multi_label_classification"
    with pytest.raises(ValueError, match="multi-label"):
        run(model, pairs)


def test_a_loss_that_is_not_finite_stops_the_run(make_classifier, pairs):
    model = make_classifier()
    with torch.no_grad():
        model.classifier.bias.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="must be finite, got nan in epoch 1"):
        run(model, pairs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "`epochs` must be at least 1, got 0"),
        ({"learning_rate": 0.0}, "`learning_rate` must be positive"),
        ({"seed": -1}, "`seed` must not be negative"),
        ({"label_smoothing": 1.0}, r"`label_smoothing` must be in \[0, 1\), got 1.0"),
        ({"ema_decay": 1.0}, "`ema_decay`"),
        ({"layer_decay": 0.0}, r"`layer_decay` must be in \(0, 1\]"),
        ({"warmup_share": 1.5}, "`warmup_share`"),
        ({"loss": "hinge"}, "`loss` must be one of cross_entropy, focal, logit_adjusted, got 'hinge'"),
        ({"trainable": "encoder"}, "got 'encoder'"),
        ({"mixed_precision": "int8"}, "got 'int8'"),
        ({"loss": "logit_adjusted", "class_weights": "balanced"}, "take one"),
    ],
)
def test_impossible_arguments_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        FineTuningArguments(**change)


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
