"""Self-supervised pretraining: an Accelerate loop without Trainer, since the teacher moves after each step.

One step is one optimiser step, over `batch_size * gradient_accumulation_steps * processes` pairs. All draws are keyed
by (seed, epoch, sample), so that accumulation splits a batch without changing it.
"""

import math
import time
from dataclasses import dataclass, field

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader, RandomSampler
from tqdm.auto import tqdm
from transformers import get_cosine_schedule_with_warmup

from ..data import FramePairs, PairAugmentation, PretrainingCollator
from ..modeling_micron_bert import (
    MicronBertForPreTraining,
    MicronBertForPreTrainingOutput,
    sample_swapped_positions,
    teacher_temperature_at_epoch,
)
from .optimization import parameter_groups


@dataclass(frozen=True)
class PretrainingArguments:
    """
    Optimisation and data of a pretraining run; the architecture and its losses stand in the model's config.

    Args:
        epochs, batch_size, gradient_accumulation_steps (`int`): at least 1; `batch_size` pairs a forward and process.
        learning_rate (`float`): peak, after a linear warm-up; then cosine to 0.
        weight_decay (`float`): of matrices only; 0.05 as in facebookresearch/mae.
        adam_beta2 (`float`): 0.95 as in facebookresearch/mae.
        warmup_share (`float` in [0, 1]): of all steps.
        max_grad_norm (`float`): clipping; ours.
        num_crops (`int`): views for the agreement loss; 0 leaves it out. One suffices for `"mse"`, self-distillation
            needs two.
        crop_scale (`float` in (0, 1]): side of the resized crop relative to the image, on the patch grid; ours.
        crop_area_range (`(float, float)` in (0, 1]): area a crop keeps; the paper does not say, DINO's global views
            keep 0.4 to 1.
        augmentation ([`PairAugmentation`], *optional*)
        seed (`int`): of order, augmentation, swaps and crops. Dropout follows torch's global generator.
    """

    epochs: int = 100
    batch_size: int = 32
    gradient_accumulation_steps: int = 1
    learning_rate: float = 2.5e-4
    weight_decay: float = 0.05
    adam_beta2: float = 0.95
    warmup_share: float = 0.1
    max_grad_norm: float = 1.0
    num_crops: int = 1
    crop_scale: float = 0.5
    crop_area_range: tuple[float, float] = (0.4, 1.0)
    augmentation: PairAugmentation | None = field(default_factory=PairAugmentation)
    seed: int = 0

    def __post_init__(self):
        for name in ("epochs", "batch_size", "gradient_accumulation_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}.")
        for name in ("learning_rate", "max_grad_norm"):
            if getattr(self, name) <= 0.0:
                raise ValueError(f"`{name}` must be positive, got {getattr(self, name)}.")
        for name in ("weight_decay", "num_crops"):
            if getattr(self, name) < 0:
                raise ValueError(f"`{name}` must not be negative, got {getattr(self, name)}.")
        if not 0.0 <= self.warmup_share <= 1.0:
            raise ValueError(f"`warmup_share` must be in [0, 1], got {self.warmup_share}.")
        low, high = self.crop_area_range
        if not (0.0 < low <= high <= 1.0 and 0.0 < self.crop_scale <= 1.0):
            raise ValueError(
                f"`crop_area_range` and `crop_scale` must be in (0, 1], got {self.crop_area_range}, {self.crop_scale}."
            )


@dataclass(frozen=True)
class PretrainingResult:
    """
    Args:
        history (`list[dict[str, float]]`): one entry a step: `epoch, learning_rate, loss, reconstruction_loss` and,
            where there is one, `contextual_agreement_loss`; means over the step's pairs of this process.
        seconds (`float`): wall-clock time of the loop.
        samples_per_second (`float`): pairs, over all processes.
    """

    history: list[dict[str, float]]
    seconds: float
    samples_per_second: float


def pretrain(
    model: MicronBertForPreTraining, pairs: FramePairs, arguments: PretrainingArguments, *, progress: bool = True
) -> PretrainingResult:
    """
    Train `model` in place. Each epoch drops the remainder that does not fill a step.

    Args:
        model: its teacher, if it has one, follows from where it stands.
        pairs: labels, if any, are not used.
        progress (`bool`): a bar with the loss parts and pairs per second.

    Raises:
        ValueError: fewer pairs than one step needs, or fewer crops than self-distillation needs.
        FloatingPointError: the loss is not finite.
    """
    if model.teacher is not None and arguments.num_crops < 2:
        raise ValueError(f"Self-distillation needs `num_crops` of at least 2, got {arguments.num_crops}.")
    accelerator = Accelerator(gradient_accumulation_steps=arguments.gradient_accumulation_steps)
    samples_per_step = arguments.batch_size * arguments.gradient_accumulation_steps * accelerator.num_processes
    steps_per_epoch = len(pairs) // samples_per_step
    if steps_per_epoch == 0:
        raise ValueError(f"One step takes {samples_per_step} pairs, got only {len(pairs)}.")
    total_steps = steps_per_epoch * arguments.epochs

    collator = _collator(model, pairs, arguments)
    sampler = RandomSampler(
        pairs,
        num_samples=steps_per_epoch * samples_per_step,
        generator=torch.Generator().manual_seed(arguments.seed),
    )
    loader = DataLoader(pairs, batch_size=arguments.batch_size, sampler=sampler, collate_fn=collator)
    optimizer = torch.optim.AdamW(
        parameter_groups(model, arguments.weight_decay),
        lr=arguments.learning_rate,
        betas=(0.9, arguments.adam_beta2),
    )
    # stepped once an optimiser step, outside accelerate, which would step it once a process
    scheduler = get_cosine_schedule_with_warmup(optimizer, round(arguments.warmup_share * total_steps), total_steps)
    unwrapped = model
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)

    history: list[dict[str, float]] = []
    model.train()
    start = time.perf_counter()
    with tqdm(
        total=total_steps * samples_per_step,
        desc="pretrain",
        unit="pair",
        disable=not (progress and accelerator.is_main_process),
    ) as bar:
        for epoch in range(arguments.epochs):
            collator.epoch = epoch
            temperature = teacher_temperature_at_epoch(unwrapped.config, epoch)
            losses: list[dict[str, torch.Tensor]] = []
            teacher_logits: list[torch.Tensor | None] = []
            for batch in loader:
                with accelerator.accumulate(model):
                    outputs = model(**batch, teacher_temperature=temperature)
                    losses.append(_loss_parts(outputs))
                    teacher_logits.append(outputs.teacher_logits)
                    accelerator.backward(outputs.loss)
                    if not accelerator.sync_gradients:
                        continue
                    parts = {name: torch.stack([part[name] for part in losses]).mean().item() for name in losses[0]}
                    if not math.isfinite(parts["loss"]):
                        raise FloatingPointError(f"The loss must be finite, got {parts} at step {len(history) + 1}.")
                    accelerator.clip_grad_norm_(model.parameters(), arguments.max_grad_norm)
                    optimizer.step()
                    optimizer.zero_grad()
                history.append({"epoch": epoch, "learning_rate": scheduler.get_last_lr()[0], **parts})
                scheduler.step()
                if unwrapped.teacher is not None:
                    unwrapped.update_teacher()
                    unwrapped.update_center(torch.cat(teacher_logits))
                losses.clear()
                teacher_logits.clear()
                bar.update(samples_per_step)
                bar.set_postfix({name: f"{value:.4f}" for name, value in parts.items()}, refresh=False)
    seconds = time.perf_counter() - start
    return PretrainingResult(history, seconds, total_steps * samples_per_step / seconds)


def _collator(
    model: MicronBertForPreTraining, pairs: FramePairs, arguments: PretrainingArguments
) -> PretrainingCollator:
    config = model.config
    patch_size = config.patch_size
    grid = tuple(side // patch_size for side in pairs.pixel_values.shape[-2:])
    crop_size = tuple(max(1, round(arguments.crop_scale * count)) * patch_size for count in grid)
    return PretrainingCollator(
        lambda generator: sample_swapped_positions(
            1, grid, config.swap_ratio, config.swap_sampling, generator=generator
        ),
        augmentation=arguments.augmentation,
        seed=arguments.seed,
        num_crops=0 if config.contextual_agreement == "none" else arguments.num_crops,
        crop_size=crop_size,
        crop_area_range=arguments.crop_area_range,
    )


def _loss_parts(outputs: MicronBertForPreTrainingOutput) -> dict[str, torch.Tensor]:
    parts = {
        "loss": outputs.loss,
        "reconstruction_loss": outputs.reconstruction_loss,
        "contextual_agreement_loss": outputs.contextual_agreement_loss,
    }
    return {name: part.detach() for name, part in parts.items() if part is not None}
