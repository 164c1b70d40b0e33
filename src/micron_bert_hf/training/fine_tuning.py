"""Supervised fine-tuning with Trainer, and one door only by which pairs come in that are not learnt from: validation.

    model = classifier_from_pretrained(pretrained, label_names)
    result = fine_tune(model, pairs, FineTuningArguments(epochs=30), output_dir="OUT")

Two things differ from what one expects of Trainer. A step's loss is the sum over its pairs divided by their number,
wherever they are computed: accumulation and ranks split a step without changing it, also the shorter one at the end of
an epoch. And a step's pairs are never padded with repeated ones: a rank without a batch of its own computes one pair
that counts for nothing.
"""

import hashlib
import json
import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler
from tqdm.auto import tqdm
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback, TrainingArguments

from ..data import ClassificationCollator, FramePairs, PairAugmentation, check_subjects_disjoint
from ..hub import weights_fingerprint
from ..modeling_micron_bert import MicronBertForMicroExpressionClassification
from .checkpoints import MANIFEST_NAME, read_step
from .losses import balanced_class_weights, cross_entropy_losses, focal_losses, logit_adjusted_losses
from .optimization import layer_decay_groups, weight_average_decay_at
from .run_folder import RunFolder


# Adam's second moment: a window of 50 steps, since a run has some hundreds (ours)
ADAM_BETA2 = 0.98
LOSSES = ("cross_entropy", "focal", "logit_adjusted")
CLASS_WEIGHTS = ("none", "balanced")
TRAINABLE = ("full", "frozen_encoder", "head")
PRECISIONS = ("no", "bf16", "fp16")
# Beside what Trainer saves: weights it knows nothing of, and what belongs to them.
_WEIGHTS_NAME, _STATE_NAME = "fine_tuning.safetensors", "fine_tuning.json"
# Label of a pair that counts for nothing; it is the one that Trainer leaves out when it counts a step's pairs.
_NO_LABEL = -100


@dataclass(frozen=True)
class FineTuningArguments:
    """
    What decides the weights, beside the model that is started from and the pairs. The numbers are ours, chosen on
    validation subjects of the synthetic set.

    Args:
        epochs, batch_size, gradient_accumulation_steps (`int`): at least 1; `batch_size` pairs a forward and process.
        learning_rate (`float`): peak, after a linear warm-up; then cosine to 0.
        layer_decay (`float` in (0, 1]): the learning rate of each encoder layer relative to that of the layer above;
            see [`layer_scale`]. 1 for the same everywhere.
        weight_decay (`float`): of matrices only.
        warmup_share (`float` in [0, 1]): of all steps.
        max_grad_norm (`float`): clipping.
        loss (`"cross_entropy"`, `"focal"` or `"logit_adjusted"`): see `losses`; the last with the class frequencies of
            the training pairs.
        focal_gamma (`float`): 0 or more, of the focal loss; 2 as in Lin et al. 2017.
        class_weights (`"none"` or `"balanced"`): each pair's loss times its class's weight, whose mean over the
            training pairs is 1; the sum is divided by the number of pairs and not by that of their weights, which
            would differ from batch to batch.
        label_smoothing (`float` in [0, 1))
        trainable (`"full"`, `"frozen_encoder"` or `"head"`): all; all but embeddings, encoder layers and their norm,
            and in windowed mode the stem; or the last linear layer alone. What is frozen is in evaluation mode,
            without dropout.
        ema_decay (`float` in [0, 1)): of the running average of the weights that the model ends with; see
            [`weight_average_decay_at`]. 0 for the weights of the last step.
        mixed_precision (`"no"`, `"bf16"` or `"fp16"`): the last on a GPU only.
        augmentation ([`PairAugmentation`], *optional*)
        seed (`int`): of order, augmentation and dropout; at least 0.
    """

    epochs: int = 30
    batch_size: int = 32
    gradient_accumulation_steps: int = 1
    learning_rate: float = 1e-3
    layer_decay: float = 1.0
    weight_decay: float = 0.05
    warmup_share: float = 0.1
    max_grad_norm: float = 1.0
    loss: str = "cross_entropy"
    focal_gamma: float = 2.0
    class_weights: str = "none"
    label_smoothing: float = 0.0
    trainable: str = "full"
    ema_decay: float = 0.0
    mixed_precision: str = "no"
    augmentation: PairAugmentation | None = field(default_factory=PairAugmentation)
    seed: int = 0

    def __post_init__(self):
        for name in ("epochs", "batch_size", "gradient_accumulation_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}.")
        for name in ("learning_rate", "max_grad_norm"):
            if getattr(self, name) <= 0.0:
                raise ValueError(f"`{name}` must be positive, got {getattr(self, name)}.")
        for name in ("weight_decay", "focal_gamma", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"`{name}` must not be negative, got {getattr(self, name)}.")
        for name in ("label_smoothing", "ema_decay"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"`{name}` must be in [0, 1), got {getattr(self, name)}.")
        if not 0.0 <= self.warmup_share <= 1.0:
            raise ValueError(f"`warmup_share` must be in [0, 1], got {self.warmup_share}.")
        if not 0.0 < self.layer_decay <= 1.0:
            raise ValueError(f"`layer_decay` must be in (0, 1], got {self.layer_decay}.")
        for name, choices in (
            ("loss", LOSSES),
            ("class_weights", CLASS_WEIGHTS),
            ("trainable", TRAINABLE),
            ("mixed_precision", PRECISIONS),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(f"`{name}` must be one of {', '.join(choices)}, got {getattr(self, name)!r}.")
        if self.loss == "logit_adjusted" and self.class_weights == "balanced":
            raise ValueError(
                "`loss` logit_adjusted and `class_weights` balanced both undo class frequencies: take one."
            )


@dataclass(frozen=True)
class FineTuningResult:
    """
    Args:
        history (`list[dict[str, float]]`): one entry an epoch: `epoch`, `loss`, `grad_norm` (left out where it
            overflowed) and `learning_rate`, on augmented training pairs; with validation pairs also their
            `validation_uf1` and `validation_loss` (cross-entropy). Of this run and, where it went on, those before.
        seconds (`float`): wall-clock time of the training.
        samples_per_second (`float`): pairs, over all processes.
        best_epoch (`int`, *optional*): whose weights the model ends with, counted from 1; `None` without validation
            pairs, where they are those of the last.
    """

    history: list[dict[str, float]]
    seconds: float
    samples_per_second: float
    best_epoch: int | None = None


def fine_tune(
    model: MicronBertForMicroExpressionClassification,
    pairs: FramePairs,
    arguments: FineTuningArguments,
    *,
    validation: FramePairs | None = None,
    output_dir: str | Path | None = None,
    progress: bool = True,
) -> FineTuningResult:
    """
    Train `model` in place on all of `pairs`; it is left in training mode.

    Args:
        validation (*optional*): pairs of other people. After each epoch they are scored, and the model ends with the
            weights of the best epoch: highest UF1, then lowest cross-entropy, then the first. What is selected on is
            part of the training; it is nothing to report a result on.
        output_dir (*optional*): absent, empty, or of this very run, which then goes on after its last whole epoch as
            if it had not been interrupted. The last two checkpoints stay there, so that a finished run is not done
            again.

    Raises:
        ValueError: unlabelled pairs, a label outside the model's classes, a subject in `pairs` and in `validation`,
            or another run in `output_dir`.
        FileExistsError: `output_dir` holds something else, or is in use.
        FloatingPointError: the loss is not finite.
    """
    _check_pairs(model, pairs, validation)
    with ExitStack() as stack:
        # Trainer wants a folder although nothing is saved
        folder = Path(output_dir or stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(_kept_forward(model))
        # a fingerprint reads every pair: only for those who want to go on
        identity = None if output_dir is None else _identity(model, pairs, validation, arguments)
        stack.enter_context(_frozen_parts(model, arguments.trainable))
        trainer = _ClassifierTrainer(model, pairs, validation, arguments, folder, output_dir is not None, progress)
        checkpoint = None
        if identity is not None:
            identity["pairs_per_step"] = trainer.pairs_per_step
            run_folder = stack.enter_context(RunFolder(folder, identity, trainer.accelerator))
            checkpoint = _newest_checkpoint(run_folder)
        if checkpoint is not None:
            trainer.kept.load(checkpoint)
        start = time.perf_counter()
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        seconds = time.perf_counter() - start
        trainer.kept.move_into_model()
        history = trainer.history()
        if identity is not None:
            run_folder.write_history(history)
    model.train()
    return FineTuningResult(
        history,
        seconds,
        len(pairs) * (arguments.epochs - trainer.epochs_before) / max(seconds, 1e-9),
        trainer.kept.best_epoch,
    )


def macro_f1(labels: torch.LongTensor, predictions: torch.LongTensor, num_labels: int) -> float:
    """
    Mean F1 in [0, 1] over all classes of the label set; 0 for one that neither occurs nor is predicted. It is the UF1
    of `micron_bert_hf.evaluation`, which knows this package and therefore cannot be asked.

    Args:
        labels, predictions (`torch.LongTensor` of shape `(num_samples,)`): in [0, num_labels)
    """
    counts = torch.bincount(labels * num_labels + predictions, minlength=num_labels**2).view(num_labels, num_labels)
    return (2.0 * counts.diag().double() / (counts.sum(0) + counts.sum(1)).clamp(min=1)).mean().item()


def pair_losses(
    arguments: FineTuningArguments, class_counts: torch.LongTensor
) -> Callable[[torch.FloatTensor, torch.LongTensor], torch.FloatTensor]:
    """
    The loss of a run, class weights included, of logits `(batch_size, num_labels)` and labels `(batch_size,)`; one
    value a pair.

    Args:
        class_counts (`torch.LongTensor` of shape `(num_labels,)`): of the training pairs.
    """
    smoothing = arguments.label_smoothing
    losses = {
        "cross_entropy": partial(cross_entropy_losses, label_smoothing=smoothing),
        "focal": partial(focal_losses, gamma=arguments.focal_gamma, label_smoothing=smoothing),
        "logit_adjusted": partial(logit_adjusted_losses, class_counts=class_counts, label_smoothing=smoothing),
    }[arguments.loss]
    if arguments.class_weights == "none":
        return losses
    weights = balanced_class_weights(class_counts)
    return lambda logits, labels: losses(logits, labels) * weights.to(logits.device)[labels]


class BatchesOfRank(Sampler[list[int | None]]):
    """
    Positions of the pairs of one rank's batches in an epoch; the pairs are shuffled anew in each. Batch number b of
    the epoch is that of rank b mod `num_ranks`, so that a step has the same pairs however it is split.

    Args:
        num_pairs, batch_size (`int`)
        seed (`int`): of the order, together with `epoch`, which is to be moved on.
        rank, num_ranks (`int`)

    Yields:
        Lists of up to `batch_size` positions; `[None]` where the other ranks have a batch left and this one has none.
    """

    def __init__(self, num_pairs: int, batch_size: int, seed: int, rank: int, num_ranks: int):
        self.num_pairs, self.batch_size, self.seed = num_pairs, batch_size, seed
        self.rank, self.num_ranks = rank, num_ranks
        self.epoch = 0

    def __len__(self) -> int:
        return math.ceil(math.ceil(self.num_pairs / self.batch_size) / self.num_ranks)

    def __iter__(self) -> Iterator[list[int | None]]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = torch.randperm(self.num_pairs, generator=generator).tolist()
        for turn in range(len(self)):
            start = (turn * self.num_ranks + self.rank) * self.batch_size
            yield order[start : start + self.batch_size] or [None]


class _PairsOrNothing(Dataset):
    """Training pairs; at `None`, one that counts for nothing."""

    def __init__(self, pairs: FramePairs):
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int | None) -> dict[str, Any]:
        return {**self.pairs[0], "labels": torch.tensor(_NO_LABEL)} if index is None else self.pairs[index]


class _KeptWeights(TrainerCallback):
    """
    The weights that the model is to end with, unless they are those of the last step: the running average and, with
    validation pairs, those of the best epoch. Both are of trainable parameters, in float32.
    """

    def __init__(self, model: nn.Module, ema_decay: float, accelerator: Any):
        self.model, self.ema_decay, self.accelerator = model, ema_decay, accelerator
        self.num_updates = 0
        self.average = self._copy() if ema_decay else None
        self.best: dict[str, torch.Tensor] | None = None
        self.best_epoch: int | None = None
        self.best_score: tuple[float, float] | None = None

    @torch.no_grad()
    def on_optimizer_step(self, args, state, control, optimizer=None, **kwargs):
        if self.average is None or optimizer.step_was_skipped:  # float16 overflows now and then
            return
        self.num_updates += 1
        decay = weight_average_decay_at(self.num_updates, self.ema_decay)
        for name, parameter in self._trainable():
            self.average[name].mul_(decay).add_(parameter, alpha=1.0 - decay)

    @contextmanager
    def average_in_use(self) -> Iterator[None]:
        """The model with the averaged weights; its own come back at the end."""
        if self.average is None:
            yield
            return
        own = self._copy()
        self._put(self.average)
        try:
            yield
        finally:
            self._put(own)

    def offer(self, epoch: int, uf1: float, loss: float) -> None:
        """Keep the model's weights if this epoch, which they are of, is better than those before."""
        score = (uf1, -loss)
        if self.best_score is None or score > self.best_score:
            self.best, self.best_epoch, self.best_score = self._copy(), epoch, score

    def move_into_model(self) -> None:
        """End of the training."""
        chosen = self.best or self.average
        if chosen is not None:
            self._put(chosen)

    def on_save(self, args, state, control, **kwargs):
        """Complete Trainer's checkpoint, and say last that it is whole."""
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        self.accelerator.wait_for_everyone()  # other ranks' generators are in it
        if not state.is_world_process_zero:
            return
        tensors = {
            f"{kind}.{name}": tensor
            for kind, weights in (("average", self.average), ("best", self.best))
            for name, tensor in (weights or {}).items()
        }
        save_file(tensors, folder / _WEIGHTS_NAME)
        content = {"num_updates": self.num_updates, "best_epoch": self.best_epoch, "best_score": self.best_score}
        (folder / _STATE_NAME).write_text(json.dumps(content), encoding="utf-8")
        sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.name != MANIFEST_NAME}
        manifest = {"step": state.global_step, "files": sizes}
        (folder / MANIFEST_NAME).write_text(json.dumps(manifest), encoding="utf-8")

    def load(self, folder: Path) -> None:
        """What `on_save` wrote."""
        content = json.loads((folder / _STATE_NAME).read_text(encoding="utf-8"))
        self.num_updates, self.best_epoch = content["num_updates"], content["best_epoch"]
        self.best_score = None if content["best_score"] is None else tuple(content["best_score"])
        tensors = load_file(folder / _WEIGHTS_NAME, device=str(self.model.device))
        of_kind = {
            kind: {name.removeprefix(kind): tensor for name, tensor in tensors.items() if name.startswith(kind)}
            for kind in ("average.", "best.")
        }
        self.average, self.best = of_kind["average."] or None, of_kind["best."] or None

    def _trainable(self) -> Iterator[tuple[str, nn.Parameter]]:
        return ((name, parameter) for name, parameter in self.model.named_parameters() if parameter.requires_grad)

    def _copy(self) -> dict[str, torch.Tensor]:
        return {name: parameter.detach().to(torch.float32, copy=True) for name, parameter in self._trainable()}

    @torch.no_grad()
    def _put(self, weights: Mapping[str, torch.Tensor]) -> None:
        for name, parameter in self._trainable():
            parameter.copy_(weights[name])


class _ClassifierTrainer(Trainer):
    """Trainer with our batches, our loss, parts in evaluation mode, and validation by UF1."""

    def __init__(
        self,
        model: MicronBertForMicroExpressionClassification,
        pairs: FramePairs,
        validation: FramePairs | None,
        arguments: FineTuningArguments,
        output_dir: Path,
        save: bool,
        progress: bool,
    ):
        options = TrainingArguments(
            output_dir=str(output_dir),
            num_train_epochs=arguments.epochs,
            per_device_train_batch_size=arguments.batch_size,
            gradient_accumulation_steps=arguments.gradient_accumulation_steps,
            lr_scheduler_type="cosine",
            warmup_steps=arguments.warmup_share,
            max_grad_norm=arguments.max_grad_norm,
            # Trainer refuses bfloat16 on a CPU that was not asked for
            use_cpu=arguments.mixed_precision == "bf16" and not torch.accelerator.is_available(),
            bf16=arguments.mixed_precision == "bf16",
            fp16=arguments.mixed_precision == "fp16",
            seed=arguments.seed,
            data_seed=arguments.seed,
            logging_strategy="epoch",
            logging_nan_inf_filter=False,
            eval_strategy="no" if validation is None else "epoch",
            save_strategy="epoch" if save else "no",
            # one that is being written, and one that is whole
            save_total_limit=2,
            report_to="none",
            remove_unused_columns=False,
            dataloader_pin_memory=torch.cuda.is_available(),
        )
        if arguments.mixed_precision == "fp16" and options.device.type == "cpu":
            raise ValueError("`mixed_precision` fp16 needs a GPU; take bf16.")
        # one process, one GPU: else Trainer would split batches over all of them by DataParallel
        options._n_gpu = min(options.n_gpu, 1)
        groups = layer_decay_groups(
            model,
            model.config.num_hidden_layers,
            arguments.learning_rate,
            arguments.weight_decay,
            arguments.layer_decay,
        )
        optimizer = torch.optim.AdamW(groups, lr=arguments.learning_rate, betas=(0.9, ADAM_BETA2))
        self.losses = pair_losses(arguments, torch.bincount(pairs.labels, minlength=model.config.num_labels))
        super().__init__(
            model=model,
            args=options,
            data_collator=ClassificationCollator(arguments.augmentation, arguments.seed),
            train_dataset=_PairsOrNothing(pairs),
            eval_dataset=validation,
            compute_loss_func=self._mean_loss,
            optimizers=(optimizer, None),
        )
        self.batches = BatchesOfRank(
            len(pairs), arguments.batch_size, arguments.seed, options.process_index, options.world_size
        )
        self.pairs_per_step = arguments.batch_size * arguments.gradient_accumulation_steps * options.world_size
        self.frozen = [
            module
            for module in model.modules()
            if any(True for _ in module.parameters()) and not any(p.requires_grad for p in module.parameters())
        ]
        self.kept = _KeptWeights(model, arguments.ema_decay, self.accelerator)
        self.epochs_before = 0
        self.remove_callback(ProgressCallback)
        self.remove_callback(PrinterCallback)
        self.add_callback(self.kept)
        self.add_callback(_EpochCallback(self, progress))

    def get_train_dataloader(self) -> DataLoader:
        return DataLoader(
            self.train_dataset,
            batch_sampler=self.batches,
            collate_fn=self.data_collator,
            pin_memory=self.args.dataloader_pin_memory,
            # the loader would draw a seed from the global generator, which is dropout's
            generator=torch.Generator().manual_seed(self.args.seed),
        )

    def compute_loss(self, model: nn.Module, inputs: dict[str, torch.Tensor], *args: Any, **kwargs: Any) -> Any:
        for module in self.frozen:  # Trainer puts the whole model into training mode before each batch
            module.eval()
        return super().compute_loss(model, inputs, *args, **kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """UF1 and cross-entropy of the validation pairs, with the averaged weights if there are any; the same on all
        ranks."""
        pairs, device = self.eval_dataset, self.args.device
        self.model.eval()
        with self.kept.average_in_use():
            with torch.no_grad():
                logits = torch.cat(
                    [
                        self.model(pixel_values=part.to(device)).logits.float().cpu()
                        for part in pairs.pixel_values.split(self.args.per_device_train_batch_size)
                    ]
                )
            uf1 = macro_f1(pairs.labels, logits.argmax(dim=-1), logits.shape[-1])
            # all ranks must keep the same epoch, and cards that differ may differ in the last bit
            measured = [(uf1, cross_entropy_losses(logits, pairs.labels).mean().item())]
            broadcast_object_list(measured)
            ((uf1, loss),) = measured
            self.kept.offer(round(self.state.epoch), uf1, loss)
        metrics = {"validation_uf1": uf1, "validation_loss": loss}
        self.log(dict(metrics))
        return metrics

    def history(self) -> list[dict[str, float]]:
        """One entry an epoch of what was logged."""
        names = ("epoch", "loss", "grad_norm", "learning_rate", "validation_uf1", "validation_loss")
        epochs: dict[int, dict[str, float]] = {}
        for entry in self.state.log_history:
            if "loss" in entry or "validation_uf1" in entry:
                epochs.setdefault(entry["step"], {}).update(
                    {name: float(entry[name]) for name in names if name in entry and math.isfinite(entry[name])}
                )
        return list(epochs.values())

    def _mean_loss(
        self, outputs: Any, labels: torch.LongTensor, num_items_in_batch: torch.Tensor
    ) -> torch.FloatTensor:
        """Of this batch, its share of the mean over the pairs of the whole step: of all batches, on all ranks."""
        counted = labels != _NO_LABEL
        return self.losses(outputs.logits[counted], labels[counted]).sum() / num_items_in_batch


class _EpochCallback(TrainerCallback):
    """Moves what is drawn an epoch on, refuses a loss that is no number, and shows one bar for the whole run."""

    def __init__(self, trainer: _ClassifierTrainer, progress: bool):
        self.trainer = trainer
        self.progress = progress

    def on_train_begin(self, args, state, control, **kwargs):
        self.trainer.epochs_before = round(state.epoch or 0)
        self.bar = tqdm(
            total=state.max_steps,
            initial=state.global_step,
            desc="fine-tune",
            unit="step",
            disable=not (self.progress and state.is_world_process_zero),
        )

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.trainer.data_collator.epoch = self.trainer.batches.epoch = round(state.epoch or 0)

    def on_step_end(self, args, state, control, **kwargs):
        self.bar.update(1)

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "loss" in logs:
            if not math.isfinite(logs["loss"]):
                raise FloatingPointError(f"The loss must be finite, got {logs['loss']} in epoch {round(state.epoch)}.")
            self.bar.set_postfix(loss=f"{logs['loss']:.4f}", epoch=round(state.epoch), refresh=False)

    def on_train_end(self, args, state, control, **kwargs):
        self.bar.close()


def _check_pairs(
    model: MicronBertForMicroExpressionClassification, pairs: FramePairs, validation: FramePairs | None
) -> None:
    if model.config.problem_type == "multi_label_classification":
        raise ValueError("Fine-tuning learns one class a pair, got a multi-label model.")
    for some in (pairs, validation):
        if some is None:
            continue
        if some.labels is None:
            raise ValueError("Fine-tuning needs labelled pairs; give `FramePairs` a `label2id`.")
        if int(some.labels.max()) >= model.config.num_labels:
            raise ValueError(f"The model has {model.config.num_labels} classes, got label {int(some.labels.max())}.")
    if validation is not None:
        check_subjects_disjoint(pairs.subject_ids, validation.subject_ids)


@contextmanager
def _frozen_parts(model: MicronBertForMicroExpressionClassification, trainable: str) -> Iterator[None]:
    """What is not trained takes no gradient within the block; afterwards every parameter is as it was."""
    encoder = model.micron_bert
    frozen = {
        "full": [],
        "frozen_encoder": [
            module
            for module in (encoder.windowed_attention, encoder.embeddings, encoder.layers, encoder.norm)
            if module is not None
        ],
        "head": [module for name, module in model.named_children() if name != "classifier"],
    }[trainable]
    before = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    for module in frozen:
        module.requires_grad_(False)
    try:
        yield
    finally:
        for parameter, requires_grad in before:
            parameter.requires_grad_(requires_grad)


@contextmanager
def _kept_forward(model: nn.Module) -> Iterator[None]:
    """Accelerate gives the model another `forward`, with autocast; it is taken back at the end."""
    names = ("forward", "_original_forward")
    before = {name: vars(model)[name] for name in names if name in vars(model)}
    try:
        yield
    finally:
        for name in names:
            vars(model).pop(name, None)
        vars(model).update(before)


def _identity(
    model: MicronBertForMicroExpressionClassification,
    pairs: FramePairs,
    validation: FramePairs | None,
    arguments: FineTuningArguments,
) -> dict[str, Any]:
    """What must be equal for a run to go on."""
    settings = asdict(arguments)
    # the step may be split otherwise, as long as it has as many pairs
    del settings["batch_size"], settings["gradient_accumulation_steps"]
    config = model.config.to_dict()
    return {
        "pairs": _pairs_fingerprint(pairs),
        "validation": None if validation is None else _pairs_fingerprint(validation),
        "weights": weights_fingerprint(model),
        **settings,
        **{f"model.{name}": config[name] for name in sorted(config) if name != "transformers_version"},
    }


def _pairs_fingerprint(pairs: FramePairs) -> str:
    digest = hashlib.sha256(json.dumps([pairs.sample_ids, pairs.subject_ids, pairs.labels.tolist()]).encode())
    digest.update(pairs.pixel_values.contiguous().numpy())
    return digest.hexdigest()


def _newest_checkpoint(folder: RunFolder) -> Path | None:
    """The newest whole checkpoint; what a kill left of others is removed. What the main process sees."""
    found: list[str | None] = [None]
    if folder.accelerator.is_main_process:
        steps = {path: read_step(path) for path in folder.path.glob("checkpoint-*")}
        whole = {step: path.name for path, step in steps.items() if step is not None}
        for path, step in steps.items():
            if step is None:
                shutil.rmtree(path)
        found = [whole[max(whole)] if whole else None]
    broadcast_object_list(found)
    return None if found[0] is None else folder.path / found[0]
