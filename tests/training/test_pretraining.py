"""Pretraining: what should move moves, exactly as stated, the same for the same seed and however a batch is split."""

import pytest
import torch

from micron_bert_hf.training import PretrainingArguments, parameter_groups, pretrain


def run(model, pairs, **changes):
    arguments = {"epochs": 2, "batch_size": 8, "learning_rate": 1e-3, "warmup_share": 0.0, "seed": 5, **changes}
    return pretrain(model, pairs, PretrainingArguments(**arguments), progress=False)


def state(model):
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("agreement", ["mse", "self_distillation", "none"])
def test_every_parameter_moves(make_pretraining_model, pairs, agreement):
    model = make_pretraining_model(contextual_agreement=agreement)
    before = state(model)
    result = run(model, pairs, num_crops=2)
    unmoved = [name for name, parameter in model.named_parameters() if torch.equal(parameter, before[name])]
    # a constant added to all keys cancels in the softmax: rounding is all that could move it
    assert [name for name in unmoved if not name.endswith("k_proj.bias")] == []
    assert ("contextual_agreement_loss" in result.history[0]) == (agreement != "none")
    assert len(result.history) == 4 and result.history[-1]["epoch"] == 1


def test_the_loss_falls(make_pretraining_model, pairs):
    model = make_pretraining_model()
    history = run(model, pairs, epochs=40, learning_rate=3e-3, augmentation=None).history
    first, last = history[0], history[-1]
    assert last["reconstruction_loss"] < 0.35 * first["reconstruction_loss"]
    assert last["loss"] == pytest.approx(last["reconstruction_loss"] + last["contextual_agreement_loss"], rel=1e-5)


def test_two_runs_of_one_seed_are_bit_equal_and_another_seed_is_not(make_pretraining_model, pairs):
    results = []
    for seed in (5, 5, 6):
        model = make_pretraining_model(contextual_agreement="self_distillation")
        results.append((run(model, pairs, seed=seed, num_crops=2).history, state(model)))
    (history, weights), (history_again, weights_again), (other_history, _) = results
    assert history == history_again != other_history
    assert all(torch.equal(weights[name], weights_again[name]) for name in weights)


@pytest.mark.parametrize("agreement", ["mse", "self_distillation"])
def test_one_batch_of_8_is_four_of_2_accumulated(make_pretraining_model, pairs, agreement):
    histories, weights = [], []
    for batch_size, accumulation in ((8, 1), (2, 4)):
        model = make_pretraining_model(contextual_agreement=agreement)
        result = run(model, pairs, batch_size=batch_size, gradient_accumulation_steps=accumulation, num_crops=2)
        histories.append(result.history)
        weights.append(state(model))
    for whole, parts in zip(*histories):
        assert whole == pytest.approx(parts, rel=1e-4)
    assert weights[0].keys() == weights[1].keys()
    # Adam divides by the gradient's own size: rounding of a vanishing gradient (the key bias) comes out at full size
    for name in weights[0]:
        if not name.endswith("k_proj.bias"):
            torch.testing.assert_close(weights[0][name], weights[1][name], rtol=1e-3, atol=2e-4)


def test_the_teacher_moves_by_the_stated_rule(make_pretraining_model, pairs):
    """One step: teacher = m * old + (1 - m) * new student, centre = m * old + (1 - m) * mean teacher logits."""
    model = make_pretraining_model(contextual_agreement="self_distillation", teacher_momentum=0.9, center_momentum=0.8)
    before = state(model)
    run(model, pairs, epochs=1, batch_size=16, num_crops=2)
    after = state(model)
    followed = {
        f"teacher.{part}": source
        for part, source in (
            ("embeddings", "micron_bert.embeddings"),
            ("layers", "micron_bert.layers"),
            ("norm", "micron_bert.norm"),
            ("projection_head", "projection_head"),
        )
    }
    checked = 0
    for name in after:
        for teacher, student in followed.items():
            if name.startswith(teacher + "."):
                new_student = after[student + name.removeprefix(teacher)]
                torch.testing.assert_close(after[name], before[name] * 0.9 + new_student * 0.1, rtol=0, atol=3e-7)
                checked += not torch.equal(before[name], after[name])
    assert checked > 20
    assert torch.count_nonzero(after["center"]) == after["center"].numel()


def test_the_centre_follows_the_logits_of_the_whole_step(make_pretraining_model, pairs):
    centres = []
    for batch_size, accumulation in ((16, 1), (4, 4)):
        model = make_pretraining_model(contextual_agreement="self_distillation")
        run(model, pairs, epochs=1, batch_size=batch_size, gradient_accumulation_steps=accumulation, num_crops=2)
        centres.append(model.center)
    torch.testing.assert_close(*centres)


def test_norms_biases_and_tokens_do_not_decay(make_pretraining_model):
    model = make_pretraining_model()
    decayed, kept = parameter_groups(model, 0.05)
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.05, 0.0)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    kept_names = [names[id(parameter)] for parameter in kept["params"]]
    assert all(name.endswith(("bias", "contextual_token")) or "norm" in name for name in kept_names)
    assert len(kept["params"]) + len(decayed["params"]) == len(names)
    assert not any("norm" in names[id(parameter)] for parameter in decayed["params"])


def test_too_few_pairs_and_impossible_arguments_are_named(make_pretraining_model, pairs):
    with pytest.raises(ValueError, match="takes 32 pairs, got only 16"):
        run(make_pretraining_model(), pairs, batch_size=32)
    with pytest.raises(ValueError, match="`epochs` must be at least 1, got 0"):
        PretrainingArguments(epochs=0)
    with pytest.raises(ValueError, match="`learning_rate` must be positive"):
        PretrainingArguments(learning_rate=0.0)


def test_a_loss_that_is_not_finite_stops_the_run(make_pretraining_model, pairs):
    model = make_pretraining_model()
    with torch.no_grad():
        model.decoder.predict.weight.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="must be finite"):
        run(model, pairs)
