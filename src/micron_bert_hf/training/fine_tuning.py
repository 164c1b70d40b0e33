"""Supervised fine-tuning with Trainer: a fixed number of epochs, and no door for a held-out pair to come in by."""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from tqdm.auto import tqdm
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback, TrainingArguments

from ..data import ClassificationCollator, FramePairs, PairAugmentation
from ..modeling_micron_bert import MicronBertForMicroExpressionClassification, MicronBertPreTrainedModel
from .optimization import parameter_groups


# Adam's second moment: a window of 50 steps, since a run has some hundreds (ours)
ADAM_BETA2 = 0.98


@dataclass(frozen=True)
class FineTuningArguments:
    """
    Optimisation and augmentation of a fine-tuning run. The numbers are ours, chosen on validation subjects of the
    synthetic set.

    Args:
        epochs, batch_size, gradient_accumulation_steps (`int`): at least 1.
        learning_rate (`float`): peak, after a linear warm-up; then cosine to 0.
        weight_decay (`float`): of matrices only.
        warmup_share (`float` in [0, 1]): of all steps.
        max_grad_norm (`float`): clipping.
        augmentation ([`PairAugmentation`], *optional*)
        seed (`int`): of order, augmentation and dropout.
    """

    epochs: int = 30
    batch_size: int = 32
    gradient_accumulation_steps: int = 1
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup_share: float = 0.1
    max_grad_norm: float = 1.0
    augmentation: PairAugmentation | None = field(default_factory=PairAugmentation)
    seed: int = 0

    def __post_init__(self):
        for name in ("epochs", "batch_size", "gradient_accumulation_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}.")
        if self.learning_rate <= 0.0:
            raise ValueError(f"`learning_rate` must be positive, got {self.learning_rate}.")


@dataclass(frozen=True)
class FineTuningResult:
    """
    Args:
        history (`list[dict[str, float]]`): one entry an epoch: `epoch, loss, grad_norm, learning_rate`, on augmented
            training pairs.
        seconds (`float`): wall-clock time of the training.
        samples_per_second (`float`): pairs.
    """

    history: list[dict[str, float]]
    seconds: float
    samples_per_second: float


def classifier_from_pretrained(
    pretrained: MicronBertPreTrainedModel, label_names: Sequence[str]
) -> MicronBertForMicroExpressionClassification:
    """
    A classifier over the encoder and diagonal attention of any Micron-BERT with a head, its own head freshly drawn
    from torch's global generator. The order of `label_names` is the order of the logits and is kept in
    `config.id2label`.

    Raises:
        ValueError: fewer than two classes, or a class named twice.
    """
    if len(label_names) < 2 or len(set(label_names)) != len(label_names):
        raise ValueError(f"Expected two or more different class names, got {list(label_names)}.")
    config = type(pretrained.config).from_dict(
        {
            **pretrained.config.to_dict(),
            "id2label": dict(enumerate(label_names)),
            "label2id": {name: index for index, name in enumerate(label_names)},
        }
    )
    model = MicronBertForMicroExpressionClassification(config)
    model.micron_bert.load_state_dict(pretrained.micron_bert.state_dict())
    return model


class _EpochCallback(TrainerCallback):
    """Moves the collator's draws on and shows one bar for the whole run."""

    def __init__(self, collator: ClassificationCollator, progress: bool):
        self.collator = collator
        self.progress = progress

    def on_train_begin(self, args, state, control, **kwargs):
        self.bar = tqdm(
            total=state.max_steps,
            desc="fine-tune",
            unit="step",
            disable=not (self.progress and state.is_world_process_zero),
        )

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.collator.epoch = round(state.epoch or 0)

    def on_step_end(self, args, state, control, **kwargs):
        self.bar.update(1)

    def on_log(self, args, state, control, logs=None, **kwargs):
        if logs and "loss" in logs:
            self.bar.set_postfix(loss=f"{logs['loss']:.4f}", epoch=round(state.epoch), refresh=False)

    def on_train_end(self, args, state, control, **kwargs):
        self.bar.close()


def fine_tune(
    model: MicronBertForMicroExpressionClassification,
    pairs: FramePairs,
    arguments: FineTuningArguments,
    *,
    progress: bool = True,
) -> FineTuningResult:
    """
    Train `model` in place on all of `pairs`.

    Raises:
        ValueError: unlabelled pairs, or a label outside the model's classes.
    """
    if pairs.labels is None:
        raise ValueError("Fine-tuning needs labelled pairs; give `FramePairs` a `label2id`.")
    if int(pairs.labels.max()) >= model.config.num_labels:
        raise ValueError(f"The model has {model.config.num_labels} classes, got label {int(pairs.labels.max())}.")
    collator = ClassificationCollator(arguments.augmentation, arguments.seed)
    optimizer = torch.optim.AdamW(
        parameter_groups(model, arguments.weight_decay), lr=arguments.learning_rate, betas=(0.9, ADAM_BETA2)
    )
    start = time.perf_counter()
    # Trainer wants a folder although nothing is saved
    with tempfile.TemporaryDirectory() as output_dir:
        trainer = Trainer(
            model=model,
            args=TrainingArguments(
                output_dir=output_dir,
                num_train_epochs=arguments.epochs,
                per_device_train_batch_size=arguments.batch_size,
                gradient_accumulation_steps=arguments.gradient_accumulation_steps,
                lr_scheduler_type="cosine",
                warmup_steps=arguments.warmup_share,
                max_grad_norm=arguments.max_grad_norm,
                seed=arguments.seed,
                data_seed=arguments.seed,
                logging_strategy="epoch",
                save_strategy="no",
                report_to="none",
                remove_unused_columns=False,
                dataloader_pin_memory=torch.cuda.is_available(),
            ),
            train_dataset=pairs,
            data_collator=collator,
            optimizers=(optimizer, None),
            callbacks=[_EpochCallback(collator, progress)],
        )
        trainer.remove_callback(ProgressCallback)
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    seconds = time.perf_counter() - start
    history = [
        {name: float(entry[name]) for name in ("epoch", "loss", "grad_norm", "learning_rate")}
        for entry in trainer.state.log_history
        if "loss" in entry
    ]
    return FineTuningResult(history, seconds, len(pairs) * arguments.epochs / seconds)
