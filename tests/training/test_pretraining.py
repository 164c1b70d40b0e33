"""Pretraining: what should move moves, exactly as stated, the same for the same seed and however a step is split."""

import json
import math
from functools import partial

import pytest
import torch
from accelerate.state import AcceleratorState

from micron_bert_hf import MicronBertForPreTraining, MicronBertImageProcessor
from micron_bert_hf.training import PretrainingArguments, RunArguments, parameter_groups, pretrain
from micron_bert_hf.training.monitoring import (
    PATIENCE,
    CollapseMonitor,
    teacher_entropy,
    teacher_sharpness,
    token_variance,
)
from micron_bert_hf.training.optimization import learning_rate_at, scaled_learning_rate, teacher_momentum_at


# 16 pairs: 2 epochs of 8 are 4 steps. 1e-3 at 8 pairs a step.
DEFAULTS = {
    "epochs": 2,
    "batch_size": 8,
    "base_learning_rate": 1e-3 * 256 / 8,
    "warmup_share": 0.0,
    "pairs_per_clip": 1,
    "seed": 5,
}


@pytest.fixture
def run(clips, image_processor):
    def run(model, output_dir=None, run_arguments=None, **changes):
        arguments = PretrainingArguments(**{**DEFAULTS, **changes})
        options = {"num_workers": 0, "logging_steps": 1, "progress": False, **(run_arguments or {})}
        return pretrain(model, image_processor, clips, arguments, RunArguments(output_dir=output_dir, **options))

    return run


def state(model):
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("agreement", ["mse", "self_distillation", "none"])
def test_every_parameter_moves_and_no_other(make_pretraining_model, run, agreement):
    model = make_pretraining_model(contextual_agreement=agreement)
    before = state(model)
    result = run(model, num_crops=2)
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    parameters = {name for name, _ in model.named_parameters()}
    # a constant added to all keys cancels in the softmax: rounding is all that could move it
    assert {name for name in parameters - moved if not name.endswith("k_proj.bias")} == set()
    # what moves besides: the teacher and its centre, by their own rules; never a table of positions
    others = {name for name in moved - parameters if not name.startswith("teacher.") and name != "center"}
    assert others == set() and ("center" in moved) == (agreement == "self_distillation")
    assert ("contextual_agreement_loss" in result.history[0]) == (agreement != "none")
    assert [entry["step"] for entry in result.history] == [1, 2, 3, 4] and result.history[-1]["epoch"] == 1


def test_a_frozen_part_does_not_move(make_pretraining_model, run):
    model = make_pretraining_model()
    model.micron_bert.embeddings.requires_grad_(False)
    before = state(model)
    run(model)
    for name, tensor in model.state_dict().items():
        if name.startswith("micron_bert.embeddings."):
            assert torch.equal(tensor, before[name]), name


def test_one_batch_is_learnt_by_heart(make_pretraining_model, run):
    """16 pairs in one step, always the same: the restoration comes down to a quarter, the sum is what it says."""
    model = make_pretraining_model()
    history = run(
        model, max_steps=180, batch_size=16, base_learning_rate=5e-3 * 16, augmentation=None, warmup_share=0.05
    ).history
    first, last = history[0], history[-1]
    assert last["reconstruction_loss"] < 0.25 * first["reconstruction_loss"]
    assert last["loss"] == pytest.approx(last["reconstruction_loss"] + last["contextual_agreement_loss"], rel=1e-5)


def test_two_runs_of_one_seed_are_bit_equal_and_another_seed_is_not(make_pretraining_model, run):
    results = []
    for seed in (5, 5, 6):
        model = make_pretraining_model(contextual_agreement="self_distillation", hidden_dropout_prob=0.1)
        history = run(model, seed=seed, num_crops=2).history
        results.append(([entry["loss"] for entry in history], state(model)))
    (losses, weights), (losses_again, weights_again), (other_losses, _) = results
    assert losses == losses_again != other_losses
    assert all(torch.equal(weights[name], weights_again[name]) for name in weights)


def test_workers_change_no_bit(make_pretraining_model, run):
    weights = []
    for num_workers in (0, 2):
        model = make_pretraining_model(hidden_dropout_prob=0.1)
        run(model, run_arguments={"num_workers": num_workers})
        weights.append(state(model))
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize("agreement", ["mse", "self_distillation"])
def test_one_batch_of_8_is_four_of_2_accumulated(make_pretraining_model, clips, image_processor, agreement):
    """The pairs of a step are those of its batches: with one batch a step the order must hold the same ones."""
    histories, weights = [], []
    for batch_size, accumulation in ((8, 1), (2, 4)):
        model = make_pretraining_model(contextual_agreement=agreement)
        arguments = PretrainingArguments(
            **{**DEFAULTS, "batch_size": batch_size, "gradient_accumulation_steps": accumulation, "num_crops": 2}
        )
        options = RunArguments(num_workers=0, logging_steps=1, progress=False)
        histories.append(pretrain(model, image_processor, clips, arguments, options).history)
        weights.append(state(model))
    for whole, parts in zip(*histories):
        for name in ("loss", "reconstruction_loss", "contextual_agreement_loss", "grad_norm", "learning_rate"):
            assert whole[name] == pytest.approx(parts[name], rel=1e-4), name
    # Adam divides by the gradient's own size: rounding of a vanishing gradient (the key bias) comes out at full size
    for name in weights[0]:
        if not name.endswith("k_proj.bias"):
            torch.testing.assert_close(weights[0][name], weights[1][name], rtol=1e-3, atol=2e-4)


def test_the_teacher_moves_by_the_stated_rule(make_pretraining_model, run):
    """One step: teacher = m * old + (1 - m) * new student, centre = m * old + (1 - m) * mean teacher logits."""
    model = make_pretraining_model(contextual_agreement="self_distillation", teacher_momentum=0.9, center_momentum=0.8)
    before = state(model)
    run(model, epochs=1, batch_size=16, num_crops=2)
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


def test_the_centre_follows_the_logits_of_the_whole_step(make_pretraining_model, run):
    centres = []
    for batch_size, accumulation in ((16, 1), (4, 4)):
        model = make_pretraining_model(contextual_agreement="self_distillation")
        run(model, epochs=1, batch_size=batch_size, gradient_accumulation_steps=accumulation, num_crops=2)
        centres.append(model.center)
    torch.testing.assert_close(*centres)


def test_momentum_and_learning_rate_follow_their_formulas():
    assert teacher_momentum_at(0, 101, 0.9, 1.0) == pytest.approx(0.9)
    assert teacher_momentum_at(50, 101, 0.9, 1.0) == pytest.approx(0.95)
    assert teacher_momentum_at(100, 101, 0.9, 1.0) == 1.0
    assert scaled_learning_rate(1.5e-4, 512) == pytest.approx(3e-4)
    rates = [learning_rate_at(step, 110, 10, 2.0) for step in range(110)]
    assert rates[:3] == pytest.approx([0.2, 0.4, 0.6]) and rates[9] == 2.0 == rates[10]
    assert rates[60] == pytest.approx(1.0) and rates[109] == pytest.approx(1.0 + math.cos(math.pi * 0.99))
    assert learning_rate_at(0, 4, 0, 1.0) == 1.0


def test_norms_biases_and_tokens_do_not_decay(make_pretraining_model):
    model = make_pretraining_model()
    decayed, kept = parameter_groups(model, 0.05)
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.05, 0.0)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    kept_names = [names[id(parameter)] for parameter in kept["params"]]
    assert all(name.endswith(("bias", "contextual_token")) or "norm" in name for name in kept_names)
    assert len(kept["params"]) + len(decayed["params"]) == len(names)
    assert not any("norm" in names[id(parameter)] for parameter in decayed["params"])


@pytest.mark.parametrize("stop_after", [1, 3, 6, 7])
def test_going_on_is_bit_equal_to_not_having_stopped(make_pretraining_model, run, tmp_path, monkeypatch, stop_after):
    """In the middle of an epoch too: 4 steps are one, with dropout, a teacher and accumulation."""
    from micron_bert_hf.training import pretraining

    changes = {"max_steps": 8, "batch_size": 2, "gradient_accumulation_steps": 2, "num_crops": 2}
    fields = {"contextual_agreement": "self_distillation", "hidden_dropout_prob": 0.1}
    straight = make_pretraining_model(**fields)
    history = run(straight, tmp_path / "straight", **changes).history

    class Killed(Exception):
        pass

    save = pretraining.save_checkpoint

    def save_and_die(folder, step, *rest):
        save(folder, step, *rest)
        if step == stop_after:
            raise Killed

    monkeypatch.setattr(pretraining, "save_checkpoint", save_and_die)
    with pytest.raises(Killed):
        run(make_pretraining_model(**fields), tmp_path / "broken", {"save_steps": 1}, **changes)
    monkeypatch.undo()
    resumed = make_pretraining_model(**fields)
    with torch.no_grad():  # whatever it holds is replaced
        for parameter in resumed.parameters():
            parameter.add_(1.0)
    torch.manual_seed(99)
    resumed_history = run(resumed, tmp_path / "broken", {"save_steps": 1}, **changes).history
    for name, tensor in straight.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    timed = ("samples_per_second", "data_wait_share")
    assert [{key: value for key, value in entry.items() if key not in timed} for entry in resumed_history] == [
        {key: value for key, value in entry.items() if key not in timed} for entry in history
    ]
    first, second = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("straight", "broken"))
    assert first == second


def test_the_folder_holds_the_model_and_what_it_has_seen(make_pretraining_model, run, tmp_path, clips):
    model = make_pretraining_model()
    result = run(model, tmp_path / "out", {"picture_steps": 2, "save_steps": 3, "save_total_limit": 1})
    folder = tmp_path / "out"
    loaded = MicronBertForPreTraining.from_pretrained(folder)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name]), name
    assert MicronBertImageProcessor.from_pretrained(folder).size == {"height": 16, "width": 16}
    provenance = json.loads((folder / "provenance.json").read_text())
    assert provenance["subjects"] == {"unnamed": ["s0", "s1", "s2", "s3"]} and provenance["num_clips"] == 16
    assert provenance["steps"] == 4 and provenance["is_complete"] is True
    assert provenance["frame_rates"] == {"unnamed": [1.0]}
    assert json.loads((folder / "history.json").read_text()) == result.history
    assert [path.name for path in sorted(folder.glob("checkpoint-*"))] == ["checkpoint-00000004"]
    assert [path.name for path in sorted(folder.glob("pictures/*"))] == ["step-000002.png", "step-000004.png"]
    assert (folder / "summary.png").read_bytes()[:4] == b"\x89PNG"
    assert not list(folder.glob(".*.partial"))

    # a second call finds nothing to do, and gives back what was learnt
    other = make_pretraining_model(initializer_range=0.02)
    with torch.no_grad():
        other.decoder.predict.weight.zero_()
    again = run(other, folder, {"picture_steps": 2, "save_steps": 3, "save_total_limit": 1})
    assert again.history == result.history and again.samples_per_second == 0.0
    assert torch.equal(other.decoder.predict.weight, model.decoder.predict.weight)


def test_what_goes_on_from_a_model_has_seen_whom_it_has_seen(make_pretraining_model, run, tmp_path):
    make_pretraining_model().save_pretrained(tmp_path / "start")
    start = MicronBertForPreTraining.from_pretrained(tmp_path / "start")
    seen = {"subjects": {"other": ["x"], "unnamed": ["s9"]}, "is_complete": True, "frame_rates": {"other": [200]}}
    for number, before in enumerate((None, seen)):
        if before is not None:
            (tmp_path / "start" / "provenance.json").write_text(json.dumps(before))
        run(start, tmp_path / str(number), max_steps=1)
    unknown, known = (json.loads((tmp_path / name / "provenance.json").read_text()) for name in "01")
    assert unknown["is_complete"] is False and unknown["subjects"] == {"unnamed": ["s0", "s1", "s2", "s3"]}
    assert known["is_complete"] is True and known["frame_rates"] == {"other": [200.0], "unnamed": [1.0]}
    assert known["subjects"] == {"other": ["x"], "unnamed": ["s0", "s1", "s2", "s3", "s9"]}


def test_another_run_and_a_foreign_folder_are_refused(make_pretraining_model, run, tmp_path):
    run(make_pretraining_model(), tmp_path / "out")
    with pytest.raises(ValueError, match="another run .*seed: 5 there, 6 here"):
        run(make_pretraining_model(), tmp_path / "out", seed=6)
    with pytest.raises(ValueError, match=r"model\.swap_ratio: 0\.5 there, 0\.3 here"):
        run(make_pretraining_model(swap_ratio=0.3), tmp_path / "out")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("dear")
    with pytest.raises(FileExistsError, match=r"chapter\.txt"):
        run(make_pretraining_model(), tmp_path / "thesis")


def test_only_the_number_of_pairs_of_a_step_is_part_of_the_run(make_pretraining_model, clips, image_processor):
    """That a run really goes on with another split is in test_interruption.py."""
    from micron_bert_hf.training.pretraining import _Pretraining

    def identity(processor=image_processor, **changes):
        arguments = PretrainingArguments(**{**DEFAULTS, "gradient_accumulation_steps": 2, **changes})
        return _Pretraining(make_pretraining_model(), processor, clips, arguments, RunArguments())._identity()

    assert identity() == identity(batch_size=8)
    assert "gradient_accumulation_steps" not in identity() and identity()["pairs_per_step"] == 16
    assert identity(gradient_accumulation_steps=1) != identity()
    other = MicronBertImageProcessor(size={"height": 16, "width": 16}, image_mean=[0.5, 0.5, 0.5])
    assert identity(other) != identity()


@pytest.mark.parametrize(("epochs", "batch_size", "steps"), [(3, 8, 6), (3, 5, 10), (100, 64, 25), (1, 64, 1)])
def test_epochs_are_epochs_also_where_a_step_does_not_divide_them(
    make_pretraining_model, clips, image_processor, epochs, batch_size, steps
):
    from micron_bert_hf.training.pretraining import _Pretraining

    arguments = PretrainingArguments(**{**DEFAULTS, "epochs": epochs, "batch_size": batch_size})
    assert _Pretraining(make_pretraining_model(), image_processor, clips, arguments, RunArguments()).num_steps == steps


def test_activation_checkpointing_and_compile_learn_the_same(make_pretraining_model, run, monkeypatch):
    """Captured and differentiated by torch.compile, but without the minute that its code generator takes."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    losses = [
        [entry["loss"] for entry in run(make_pretraining_model(), epochs=1, **changes).history]
        for changes in ({}, {"activation_checkpointing": True}, {"compile": True})
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5) and losses[0] == pytest.approx(losses[2], rel=1e-4)


def test_batches_of_one_pair_have_no_variance_to_report(make_pretraining_model, run, tmp_path):
    history = run(make_pretraining_model(), tmp_path / "out", batch_size=1, max_steps=2).history
    assert all("token_variance" not in entry for entry in history)
    accumulated = run(make_pretraining_model(), batch_size=1, gradient_accumulation_steps=4, max_steps=2).history
    assert all(entry["token_variance"] > 0 for entry in accumulated)


def test_windowed_attention_learns_from_displaced_frames(make_pretraining_model, run, tmp_path):
    fields = {
        "attention_mode": "windowed",
        "contextual_agreement": "none",
        "pooling": "positions",
        "num_hidden_layers": 1,
    }
    options = {"batch_size": 4, "max_steps": 6, "frame_scale": 1.5, "base_learning_rate": 0.3}
    model = make_pretraining_model(**fields)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    result = run(model, tmp_path / "out", {"picture_steps": 6}, **options)
    assert not any(
        {"reconstruction_loss", "contextual_agreement_loss", "token_variance"} & set(e) for e in result.history
    )
    assert all(0 < entry["displacement_loss"] < entry["loss"] < 20 for entry in result.history)
    assert all(not torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())
    assert (tmp_path / "out" / "pictures" / "step-000006.png").exists()
    # the draws are of the pairs: another number of readers sees the same
    other = make_pretraining_model(**fields)
    run(other, run_arguments={"num_workers": 1}, **options)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(model.parameters(), other.parameters()))
    with pytest.raises(ValueError, match="`frame_scale` is for windowed mode"):
        run(make_pretraining_model(), **options)


def test_bfloat16_stays_close(make_pretraining_model, run):
    losses = []
    for precision in ("no", "bf16"):
        AcceleratorState._reset_state()  # a process has one precision
        losses.append(run(make_pretraining_model(), mixed_precision=precision).history[-1]["loss"])
    AcceleratorState._reset_state()
    exact, rounded = losses
    assert rounded == pytest.approx(exact, rel=0.05) and rounded != exact


def test_self_distillation_reports_its_entropy_and_trains(make_pretraining_model, run):
    model = make_pretraining_model(contextual_agreement="self_distillation", teacher_momentum=0.9)
    history = run(model, max_steps=60, num_crops=2, base_learning_rate=3e-3 * 32).history
    assert all(0.0 <= entry["teacher_entropy"] <= math.log(12) + 1e-6 for entry in history)
    assert history[-1]["reconstruction_loss"] < history[0]["reconstruction_loss"]
    assert all(math.isfinite(entry["loss"]) for entry in history)


def test_a_run_made_to_collapse_is_announced(make_pretraining_model, run, capsys):
    """The agreement alone, at a thousand times its weight: its trivial solution is one token for all."""
    model = make_pretraining_model(contextual_agreement_loss_weight=1000.0, reconstruction_loss_weight=0.0)
    history = run(model, max_steps=100, base_learning_rate=3e-3 * 32).history
    assert history[0]["token_variance"] > 1e-2 and history[-1]["token_variance"] < 1e-4
    assert capsys.readouterr().out.count("COLLAPSE: the contextual tokens") == 1


def test_a_healthy_run_is_not_announced(make_pretraining_model, run, capsys):
    run(make_pretraining_model(contextual_agreement="none"), max_steps=30)
    assert "COLLAPSE" not in capsys.readouterr().out


def test_measures_of_collapse_have_their_known_values():
    generator = torch.Generator().manual_seed(0)
    different = torch.randn(4000, 8, generator=generator)
    assert token_variance(different) == pytest.approx(1.0, abs=0.02)
    assert token_variance(torch.ones(5, 8)) == 0.0
    center = torch.zeros(1, 4)
    one = torch.tensor([50.0, 0, 0, 0]).expand(6, 2, 4)
    assert teacher_entropy(one, center, 1.0) == pytest.approx(0.0, abs=1e-6)
    each = 50.0 * torch.eye(4).reshape(2, 2, 4)  # four views, four prototypes
    assert teacher_entropy(each, center, 1.0) == pytest.approx(math.log(4))
    assert teacher_sharpness(each, center, 1.0) == pytest.approx(0.0, abs=1e-6)
    flat = torch.zeros(6, 2, 4)
    assert teacher_sharpness(flat, center, 1.0) == pytest.approx(math.log(4))


def test_the_monitor_waits_and_says_each_thing_once():
    monitor = CollapseMonitor(max_entropy=math.log(4))
    entry = {"token_variance": 1e-6, "teacher_entropy": 0.001, "teacher_sharpness": 0.1}
    messages = [monitor.update(entry) for _ in range(2 * PATIENCE)]
    assert [bool(message) for message in messages] == [step == PATIENCE - 1 for step in range(2 * PATIENCE)]
    assert "alike" in messages[PATIENCE - 1][0] and "same prototype" in messages[PATIENCE - 1][1]
    recovering = CollapseMonitor()
    for _ in range(5):
        for _ in range(PATIENCE - 1):
            assert recovering.update({"token_variance": 1e-6}) == []
        assert recovering.update({"token_variance": 0.5}) == []
        assert recovering.update({}) == []
    flat = {"teacher_entropy": math.log(4), "teacher_sharpness": math.log(4)}
    assert CollapseMonitor(math.log(4), patience=1).update(flat)[0].count("flat") == 1


def test_impossible_arguments_are_named(make_pretraining_model, run, clips, image_processor, tmp_path):
    for arguments, message in (
        ({"epochs": 0}, "`epochs` must be at least 1, got 0"),
        ({"base_learning_rate": 0.0}, "`base_learning_rate` must be positive"),
        ({"max_steps": 0}, "`max_steps` must be at least 1"),
        ({"mixed_precision": "int8"}, "no, bf16 or fp16, got 'int8'"),
        ({"crop_area_range": (0.5, 0.4)}, "in \\(0, 1\\]"),
        ({"seed": -1}, "`seed` must not be negative"),
    ):
        with pytest.raises(ValueError, match=message):
            PretrainingArguments(**arguments)
    for arguments, message in (({"save_steps": 0}, "`save_steps`"), ({"report_to": "wandb"}, "got 'wandb'")):
        with pytest.raises(ValueError, match=message):
            RunArguments(**arguments)
    with pytest.raises(ValueError, match="`num_crops` of at least 2, got 1"):
        run(make_pretraining_model(contextual_agreement="self_distillation"))
    processor = MicronBertImageProcessor(size={"height": 8, "width": 8})
    with pytest.raises(ValueError, match=r"the model takes \(16, 16\)"):
        pretrain(make_pretraining_model(), processor, clips, PretrainingArguments())
    with pytest.raises(FileNotFoundError, match="no finished set of clips"):
        pretrain(make_pretraining_model(), image_processor, tmp_path, PretrainingArguments())


def test_a_loss_that_is_not_finite_stops_the_run(make_pretraining_model, run):
    model = make_pretraining_model()
    with torch.no_grad():
        model.decoder.predict.weight.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="must be finite"):
        run(model)
