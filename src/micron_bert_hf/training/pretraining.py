"""Self-supervised pretraining: an Accelerate loop without Trainer, since the teacher moves after each step.

    result = pretrain(model, image_processor, "clips", PretrainingArguments(max_steps=1000), RunArguments("OUT"))

One step is one optimiser step, over `batch_size * gradient_accumulation_steps * processes` pairs. Which pairs, and
what is random about them, is a function of the seed and the step alone (`data.pair_order`): accumulation and ranks
split a step without changing it, and a run that was interrupted goes on as if it had not been.
"""

import math
import signal
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from ..data import (
    ClipIndex,
    ClipPairs,
    DisplacedCollator,
    DisplacedViews,
    FrameDistance,
    PairAugmentation,
    PairBatches,
    PairCollator,
    PairOrder,
    PairViews,
    SeenPeople,
    batches_of_rank,
)
from ..data.pair_order import DEFAULT_NUM_STREAMS
from ..image_processing_micron_bert import MicronBertImageProcessor
from ..modeling_micron_bert import (
    MicronBertForPreTraining,
    MicronBertForPreTrainingOutput,
    sample_swapped_positions,
    teacher_temperature_at_epoch,
)
from .checkpoints import load_checkpoint, read_history, save_checkpoint
from .classifiers import check_image_size, join_frame_rates, read_frame_rates, read_provenance
from .interruption import StopRequest, ignore_signals
from .monitoring import CollapseMonitor, Stopwatch, teacher_entropy, teacher_sharpness, token_variance
from .optimization import (
    REFERENCE_BATCH_SIZE,
    learning_rate_at,
    parameter_groups,
    scaled_learning_rate,
    teacher_momentum_at,
)
from .run_folder import RunFolder


# Batches that each worker decodes ahead: a shard that is opened late does not stop the step. Ours.
PREFETCHED_BATCHES = 4


@dataclass(frozen=True)
class PretrainingArguments:
    """
    What decides the weights, beside the model's config and the clips.

    Args:
        epochs (`int`): an epoch shows `pairs_per_clip` pairs of every clip.
        max_steps (`int`, *optional*): instead of `epochs`.
        batch_size, gradient_accumulation_steps (`int`): at least 1; `batch_size` pairs a forward and process.
        base_learning_rate (`float`): for 256 pairs a step, scaled linearly with their number; peak after a linear
            warm-up, then cosine to 0. 1.5e-4 as in facebookresearch/mae.
        weight_decay (`float`): of matrices only; 0.05 as in facebookresearch/mae.
        adam_beta2 (`float`): 0.95 as in facebookresearch/mae.
        warmup_share (`float` in [0, 1]): of all steps.
        max_grad_norm (`float`): clipping; ours.
        final_teacher_momentum (`float` in [0, 1]): where the cosine from the config's `teacher_momentum` ends; 1 as in
            facebookresearch/dino. Self-distillation only.
        pairs_per_clip (`int`): pairs of a clip in an epoch, at least 1.
        num_streams (`int`): see [`PairOrder`]; a multiple of the readers, ranks times workers, reads each clip once.
        distance ([`FrameDistance`]): between the frames of a pair. 50 to 110 ms: at the 100 frames a second that this
            is tried on, the 5 to 11 frames that are remembered of the paper (uncertain).
        num_crops (`int`): views for the agreement loss; 0 leaves it out. One suffices for `"mse"`, self-distillation
            needs two.
        crop_scale (`float` in (0, 1]): side of the resized crop relative to the image, on the patch grid; ours.
        crop_area_range (`(float, float)` in (0, 1]): area a crop keeps; the paper does not say, DINO's global views
            keep 0.4 to 1.
        frame_scale (`float`): windowed mode reads frames this many times as large as the model's image and learns from
            random parts of the image's size, so that skin has the scale it has in a cropped face; at least 1.
        augmentation ([`PairAugmentation`], *optional*)
        mixed_precision (`"no"`, `"bf16"` or `"fp16"`)
        activation_checkpointing (`bool`): less memory for more time; the same gradients.
        compile (`bool`): through torch.compile.
        seed (`int`): of order, pairs, augmentation, swaps, crops and dropout.
    """

    epochs: int = 100
    max_steps: int | None = None
    batch_size: int = 32
    gradient_accumulation_steps: int = 1
    base_learning_rate: float = 1.5e-4
    weight_decay: float = 0.05
    adam_beta2: float = 0.95
    warmup_share: float = 0.1
    max_grad_norm: float = 1.0
    final_teacher_momentum: float = 1.0
    pairs_per_clip: int = 4
    num_streams: int = DEFAULT_NUM_STREAMS
    distance: FrameDistance = field(default_factory=lambda: FrameDistance(50, 110, "ms"))
    num_crops: int = 1
    crop_scale: float = 0.5
    crop_area_range: tuple[float, float] = (0.4, 1.0)
    frame_scale: float = 1.0
    augmentation: PairAugmentation | None = field(default_factory=PairAugmentation)
    mixed_precision: str = "no"
    activation_checkpointing: bool = False
    compile: bool = False
    seed: int = 0

    def __post_init__(self):
        for name in ("epochs", "batch_size", "gradient_accumulation_steps", "pairs_per_clip", "num_streams"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}.")
        if self.max_steps is not None and self.max_steps < 1:
            raise ValueError(f"`max_steps` must be at least 1, got {self.max_steps}.")
        for name in ("base_learning_rate", "max_grad_norm"):
            if getattr(self, name) <= 0.0:
                raise ValueError(f"`{name}` must be positive, got {getattr(self, name)}.")
        for name in ("weight_decay", "num_crops", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"`{name}` must not be negative, got {getattr(self, name)}.")
        for name in ("warmup_share", "final_teacher_momentum"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"`{name}` must be in [0, 1], got {getattr(self, name)}.")
        if self.frame_scale < 1.0:
            raise ValueError(f"`frame_scale` must be at least 1, got {self.frame_scale}.")
        low, high = self.crop_area_range
        if not (0.0 < low <= high <= 1.0 and 0.0 < self.crop_scale <= 1.0):
            raise ValueError(
                f"`crop_area_range` and `crop_scale` must be in (0, 1], got {self.crop_area_range}, {self.crop_scale}."
            )
        if self.mixed_precision not in ("no", "bf16", "fp16"):
            raise ValueError(f"`mixed_precision` must be no, bf16 or fp16, got {self.mixed_precision!r}.")


@dataclass(frozen=True)
class RunArguments:
    """
    What does not touch the weights: where they go and what a person sees.

    Args:
        output_dir (*optional*): absent, empty, or of this very run, which then goes on. `None` keeps nothing.
        save_steps (`int`): steps between checkpoints, at least 1.
        save_total_limit (`int`): newest checkpoints that are kept, at least 1.
        logging_steps (`int`): steps between the entries of the history, at least 1.
        picture_steps (`int`): steps between pictures of reconstructions; 0 for none.
        report_to (`"none"`, `"tensorboard"` or `"trackio"`): also log there.
        num_workers (`int`): processes that read and decode, for each rank; 0 reads in between the steps.
        progress (`bool`): a bar with samples a second, time left, losses and what else is watched.
    """

    output_dir: Path | None = None
    save_steps: int = 500
    save_total_limit: int = 2
    logging_steps: int = 10
    picture_steps: int = 500
    report_to: str = "none"
    num_workers: int = 2
    progress: bool = True

    def __post_init__(self):
        for name in ("save_steps", "save_total_limit", "logging_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}.")
        for name in ("picture_steps", "num_workers"):
            if getattr(self, name) < 0:
                raise ValueError(f"`{name}` must not be negative, got {getattr(self, name)}.")
        if self.report_to not in ("none", "tensorboard", "trackio"):
            raise ValueError(f"`report_to` must be none, tensorboard or trackio, got {self.report_to!r}.")


@dataclass(frozen=True)
class PretrainingResult:
    """
    Args:
        history (`list[dict[str, float]]`): one entry a logged step: `step` (from 1), `epoch`, `learning_rate`, `loss`,
            `grad_norm` (left out where it overflowed) and, where there is one, `reconstruction_loss`,
            `contextual_agreement_loss` and `displacement_loss` (in pixels), over all pairs of the step;
            `token_variance` (of two pairs or more) and, with self-distillation, `teacher_entropy` and
            `teacher_sharpness`, over the main process's pairs of the step; `samples_per_second` over all processes,
            `data_wait_share`. Of this run and, where it went on, those before.
        seconds (`float`): wall-clock time of the loop.
        samples_per_second (`float`): pairs, over all processes.
        stopped_by (`int`, *optional*): the signal that ended it before its last step.
    """

    history: list[dict[str, float]]
    seconds: float
    samples_per_second: float
    stopped_by: int | None = None


def pretrain(
    model: MicronBertForPreTraining,
    image_processor: MicronBertImageProcessor,
    clips: str | Path,
    arguments: PretrainingArguments,
    run: RunArguments | None = None,
) -> PretrainingResult:
    """
    Train `model` in place. With an output folder, go on from its last good checkpoint, if there is one, and leave the
    finished model there.

    Args:
        model: its teacher, if it has one, follows from where it stands.
        image_processor: its `size` must be the model's; saved with the model.
        clips: a set of clips, see [`ClipIndex`].

    Raises:
        FileNotFoundError: `clips` is no set of clips.
        FileExistsError: the output folder holds something else.
        ValueError: another run is in the output folder, fewer crops than self-distillation needs, sizes that differ.
        OSError: a checkpoint could not be written (the earlier ones stay), a shard is damaged.
        FloatingPointError: the loss is not finite.
    """
    return _Pretraining(model, image_processor, Path(clips), arguments, run or RunArguments()).run()


class _Pretraining:
    """One call of [`pretrain`]."""

    def __init__(
        self,
        model: MicronBertForPreTraining,
        image_processor: MicronBertImageProcessor,
        clips: Path,
        arguments: PretrainingArguments,
        run: RunArguments,
    ):
        if model.teacher is not None and arguments.num_crops < 2:
            raise ValueError(f"Self-distillation needs `num_crops` of at least 2, got {arguments.num_crops}.")
        self.image_size = model.config.image_height_width
        check_image_size(image_processor, model.config)
        self.arguments, self.options = arguments, run
        self.unwrapped = model
        self.image_processor = image_processor
        self.clips, self.index = clips, ClipIndex.load(clips)
        self.accelerator = Accelerator(
            mixed_precision=arguments.mixed_precision,
            log_with=None if run.report_to == "none" else run.report_to,
            project_dir=None if run.output_dir is None else str(run.output_dir),
            # the teacher's buffers move alike on every rank; sending them round at each forward would be waste
            kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
        )
        if run.report_to != "none" and not self.accelerator.log_with:
            raise ValueError(f"`report_to` {run.report_to} needs it: pip install '.[tracking]' in a checkout.")
        self.order = PairOrder(
            self.index.num_clips,
            arguments.pairs_per_clip,
            arguments.batch_size,
            arguments.seed,
            arguments.num_streams,
        )
        self.pairs_per_step = (
            arguments.batch_size * arguments.gradient_accumulation_steps * self.accelerator.num_processes
        )
        steps = arguments.epochs * self.order.pairs_per_epoch / self.pairs_per_step
        self.num_steps = arguments.max_steps or max(1, round(steps))
        self.num_warmup_steps = round(arguments.warmup_share * self.num_steps)
        self.peak = scaled_learning_rate(arguments.base_learning_rate, self.pairs_per_step)
        self.is_displaced = model.config.attention_mode == "windowed"
        if not self.is_displaced and arguments.frame_scale != 1.0:
            raise ValueError(f"`frame_scale` is for windowed mode, got {arguments.frame_scale}.")
        height, width = (round(arguments.frame_scale * side) for side in self.image_size)
        self.frame_size = height, width
        if self.is_displaced:
            self.views = DisplacedViews(image_processor, arguments.augmentation, self.image_size)
        else:
            self.views = PairViews(
                image_processor, arguments.augmentation, self._crop_size(), arguments.crop_area_range
            )
        max_entropy = math.log(model.config.projection_output_size) if model.teacher is not None else None
        self.monitor = CollapseMonitor(max_entropy)
        self.history: list[dict[str, float]] = []

    def run(self) -> PretrainingResult:
        with ExitStack() as stack:
            stop = stack.enter_context(StopRequest())
            folder = checkpoint = None
            if self.options.output_dir is not None:
                folder = stack.enter_context(
                    RunFolder(Path(self.options.output_dir), self._identity(), self.accelerator)
                )
                is_finished, checkpoint = folder.state()
                if is_finished:
                    self.accelerator.print(f"{folder.path} is finished: {self.num_steps} steps. Nothing to do.")
                    self.unwrapped.load_state_dict(folder.load_model_state())
                    return PretrainingResult(folder.read_history(), 0.0, 0.0)
            model, optimizer, start_step = self._prepare(checkpoint)
            self._say_what_will_happen(start_step)
            start = time.perf_counter()
            steps_done = self._loop(model, optimizer, start_step, folder, stop)
            seconds = time.perf_counter() - start
            stopped_by = None
            if steps_done < self.num_steps:
                stopped_by = stop.signal or signal.SIGTERM
            elif folder is not None:
                folder.finish(self.unwrapped, self.image_processor, self.history, self._provenance())
            if self.options.report_to != "none":
                self.accelerator.end_training()
        pairs = (steps_done - start_step) * self.pairs_per_step
        return PretrainingResult(self.history, seconds, pairs / max(seconds, 1e-9), stopped_by)

    def _prepare(self, checkpoint: Path | None) -> tuple[torch.nn.Module, Any, int]:
        arguments = self.arguments
        torch.manual_seed(arguments.seed + self.accelerator.process_index)  # dropout alone draws from it
        if arguments.activation_checkpointing:
            self.unwrapped.activation_checkpointing_enable()
        if arguments.compile:
            self.unwrapped.compile()
        optimizer = torch.optim.AdamW(
            parameter_groups(self.unwrapped, arguments.weight_decay), lr=self.peak, betas=(0.9, arguments.adam_beta2)
        )
        with warnings.catch_warnings():  # accelerate has no name yet for what torch calls `forward_sync_buffers`
            warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated")
            model, optimizer = self.accelerator.prepare(self.unwrapped, optimizer)
        start_step = 0
        if checkpoint is not None:
            start_step = load_checkpoint(checkpoint, model, optimizer, self.accelerator)
            self.history = read_history(checkpoint)
            for entry in self.history:  # what was announced is not announced again, and what had begun goes on
                self.monitor.update(entry)
        if self.options.report_to != "none":
            self.accelerator.init_trackers("micron-bert-pretraining")
        return model, optimizer, start_step

    def _loop(
        self, model: torch.nn.Module, optimizer: Any, start_step: int, folder: RunFolder | None, stop: StopRequest
    ) -> int:
        """Returns the number of steps done, less than all after a request to stop."""
        model.train()
        batches = self._batches(start_step)
        watch = Stopwatch()
        with tqdm(
            total=self.num_steps * self.pairs_per_step,
            initial=start_step * self.pairs_per_step,
            desc="pretrain",
            unit="pair",
            disable=not (self.options.progress and self.accelerator.is_main_process),
        ) as bar:
            for step in range(start_step, self.num_steps):
                done = step + 1
                is_logged = done % self.options.logging_steps == 0 or done in (1, self.num_steps)
                entry, views = self._step(model, optimizer, step, batches, watch, is_logged)
                if is_logged:
                    self._log(entry, watch, bar)
                bar.update(self.pairs_per_step)
                stopping = stop.is_made(self.accelerator)
                if folder is not None:
                    if done % self.options.save_steps == 0 or done == self.num_steps or stopping:
                        save_checkpoint(
                            folder.path,
                            done,
                            model,
                            optimizer,
                            self.accelerator,
                            self.history,
                            self.options.save_total_limit,
                        )
                    if self.options.picture_steps and done % self.options.picture_steps == 0:
                        self._draw(folder, done, views)
                if stopping:
                    if folder is not None:
                        folder.write_history(self.history)
                    return done
        return self.num_steps

    def _step(
        self,
        model: torch.nn.Module,
        optimizer: Any,
        step: int,
        batches: Iterator,
        watch: Stopwatch,
        is_logged: bool,
    ) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
        """The entry of the history, and the last batch as the model saw it."""
        arguments, accelerator = self.arguments, self.accelerator
        accumulation = arguments.gradient_accumulation_steps
        epoch = step * self.pairs_per_step // self.order.pairs_per_epoch
        temperature = teacher_temperature_at_epoch(self.unwrapped.config, epoch)
        learning_rate = learning_rate_at(step, self.num_steps, self.num_warmup_steps, self.peak)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate
        losses, teacher_logits, tokens = [], [], []
        for part in range(accumulation):
            asked = time.perf_counter()
            batch = next(batches)
            watch.add(time.perf_counter() - asked, len(batch["frames"]))
            batch = {name: tensor.to(accelerator.device, non_blocking=True) for name, tensor in batch.items()}
            views = self.views(batch)
            is_last = part == accumulation - 1
            with nullcontext() if is_last else accelerator.no_sync(model):
                outputs = model(**views, teacher_temperature=temperature)
                losses.append(_loss_parts(outputs))
                teacher_logits.append(outputs.teacher_logits)
                if outputs.frame_hidden_states is not None:
                    tokens.append(outputs.frame_hidden_states[:, 1, 0].detach())
                accelerator.backward(outputs.loss / accumulation)
        names = list(losses[0])
        # over the step's pairs of every rank
        parts = torch.stack([torch.stack([part[name] for part in losses]).mean() for name in names])
        values = dict(zip(names, accelerator.reduce(parts, "mean").tolist()))
        if not math.isfinite(values["loss"]):
            raise FloatingPointError(f"The loss must be finite, got {values} at step {step + 1}.")
        norm = accelerator.clip_grad_norm_(model.parameters(), arguments.max_grad_norm)
        entry = {"step": step + 1, "epoch": epoch, "learning_rate": learning_rate, **values}
        if math.isfinite(norm):  # float16 overflows now and then, and the scaler leaves such a step out
            entry["grad_norm"] = float(norm)
        if is_logged:
            entry |= self._measures(tokens, teacher_logits, temperature)
        optimizer.step()
        optimizer.zero_grad()
        if self.unwrapped.teacher is not None and not accelerator.optimizer_step_was_skipped:
            momentum = teacher_momentum_at(
                step, self.num_steps, self.unwrapped.config.teacher_momentum, arguments.final_teacher_momentum
            )
            self.unwrapped.update_teacher(momentum)
            self.unwrapped.update_center(torch.cat(teacher_logits))
        return entry, views

    def _measures(
        self, tokens: list[torch.Tensor], teacher_logits: list[torch.Tensor], temperature: float
    ) -> dict[str, float]:
        """What the collapse monitor watches, over this process's pairs of a step."""
        measures = {}
        if sum(map(len, tokens)) > 1:
            measures["token_variance"] = token_variance(torch.cat(tokens))
        if self.unwrapped.teacher is not None:
            logits, center = torch.cat(teacher_logits), self.unwrapped.center
            measures["teacher_entropy"] = teacher_entropy(logits, center, temperature)
            measures["teacher_sharpness"] = teacher_sharpness(logits, center, temperature)
        return measures

    def _log(self, entry: dict[str, float], watch: Stopwatch, bar: tqdm) -> None:
        seen = watch.look()
        seen["samples_per_second"] *= self.accelerator.num_processes
        entry.update(seen)
        self.history.append(entry)
        for message in self.monitor.update(entry):
            self.accelerator.print(f"\n{message} Step {entry['step']}.")
        shown = {
            "loss": f"{entry['loss']:.4f}",
            **({"restore": f"{entry['reconstruction_loss']:.4f}"} if "reconstruction_loss" in entry else {}),
            **({"agree": f"{entry['contextual_agreement_loss']:.4f}"} if "contextual_agreement_loss" in entry else {}),
            **({"variance": f"{entry['token_variance']:.1e}"} if "token_variance" in entry else {}),
            **({"entropy": f"{entry['teacher_entropy']:.2f}"} if "teacher_entropy" in entry else {}),
            "lr": f"{entry['learning_rate']:.1e}",
            "wait": f"{entry['data_wait_share']:.0%}",
        }
        bar.set_postfix(shown, refresh=False)
        if self.options.report_to != "none":
            values = {name: value for name, value in entry.items() if name != "step"}
            self.accelerator.log(values, step=int(entry["step"]))

    def _draw(self, folder: RunFolder, step: int, views: dict[str, torch.Tensor]) -> None:
        if self.accelerator.is_main_process and self.is_displaced:
            folder.draw_displacement(self.unwrapped, self.image_processor, views, step)
        elif self.accelerator.is_main_process:
            folder.draw_reconstruction(self.unwrapped, self.image_processor, views, step)
        self.accelerator.wait_for_everyone()

    def _batches(self, start_step: int) -> Iterator[dict[str, torch.Tensor]]:
        arguments, config, accelerator = self.arguments, self.unwrapped.config, self.accelerator
        numbers = batches_of_rank(
            start_step,
            self.num_steps,
            arguments.gradient_accumulation_steps,
            accelerator.process_index,
            accelerator.num_processes,
        )
        num_workers = self.options.num_workers
        loader = DataLoader(
            ClipPairs(
                self.clips,
                self.index,
                self.order,
                arguments.distance,
                self.frame_size,
                self.image_processor.resample,
                config.num_channels,
            ),
            batch_sampler=PairBatches(self.order, numbers),
            collate_fn=self._collator(),
            num_workers=num_workers,
            prefetch_factor=PREFETCHED_BATCHES if num_workers else None,
            pin_memory=accelerator.device.type == "cuda",
            worker_init_fn=ignore_signals,
            # the loader would draw a seed from the global generator, and dropout would differ after a resumption
            generator=torch.Generator().manual_seed(arguments.seed),
        )
        return iter(loader)

    def _collator(self) -> PairCollator | DisplacedCollator:
        arguments, config = self.arguments, self.unwrapped.config
        if self.is_displaced:
            return DisplacedCollator(arguments.seed, arguments.pairs_per_clip, self.image_size)
        return PairCollator(
            arguments.seed,
            arguments.pairs_per_clip,
            partial(_draw_swapped_positions, config.patch_grid, config.swap_ratio, config.swap_sampling),
            0 if config.contextual_agreement == "none" else arguments.num_crops,
        )

    def _crop_size(self) -> tuple[int, int]:
        patch_size = self.unwrapped.config.patch_size
        height, width = (
            max(1, round(self.arguments.crop_scale * side / patch_size)) * patch_size for side in self.image_size
        )
        return height, width

    def _identity(self) -> dict[str, Any]:
        """What must be equal for a run to go on."""
        arguments = asdict(self.arguments)
        # the step may be split otherwise, as long as it has as many pairs
        del arguments["gradient_accumulation_steps"]
        config = self.unwrapped.config.to_dict()
        return {
            "clips": self.index.fingerprint,
            "pairs_per_step": self.pairs_per_step,
            "num_steps": self.num_steps,
            "started_from": self.unwrapped.config._name_or_path,
            **arguments,
            **{f"image_processor.{name}": value for name, value in self.image_processor.to_dict().items()},
            **{f"model.{name}": config[name] for name in sorted(config) if name != "transformers_version"},
        }

    def _provenance(self) -> dict[str, Any]:
        """What an evaluation must know of the pretraining: who was in it, and in what it went on from."""
        start = self.unwrapped.config._name_or_path
        before = read_provenance(start) if start else SeenPeople()
        seen = before.union(SeenPeople({name: tuple(people) for name, people in self.index.subjects.items()}))
        return {
            "clips": str(self.clips.name),
            "fingerprint": self.index.fingerprint,
            "num_clips": self.index.total_clips,
            "num_frames": self.index.num_frames,
            **asdict(seen),
            "frame_rates": join_frame_rates(read_frame_rates(start) if start else {}, self._frame_rates()),
            "steps": self.num_steps,
            "pairs_per_step": self.pairs_per_step,
        }

    def _frame_rates(self) -> dict[str, set[float]]:
        """Of the clips, by dataset."""
        rates: dict[str, set[float]] = {}
        for shard in self.index.shards:
            table = pq.read_table(self.clips / shard, columns=["dataset", "fps"])
            for dataset, rate in zip(table["dataset"].to_pylist(), table["fps"].to_pylist()):
                rates.setdefault(dataset, set()).add(rate)
        return rates

    def _say_what_will_happen(self, start_step: int) -> None:
        arguments, accelerator = self.arguments, self.accelerator
        lines = [
            f"{self.index.total_clips} clips with {self.index.num_frames} frames; an epoch is"
            f" {self.order.pairs_per_epoch} pairs; {self.num_steps} steps",
            f"step: {self.pairs_per_step} pairs = {arguments.batch_size} a forward x"
            f" {arguments.gradient_accumulation_steps} accumulated x {accelerator.num_processes} process(es)",
            f"learning rate: {self.peak:.3g} = {arguments.base_learning_rate:.3g} x {self.pairs_per_step} /"
            f" {REFERENCE_BATCH_SIZE}, after {self.num_warmup_steps} steps of warm-up",
        ]
        readers = accelerator.num_processes * max(1, self.options.num_workers)
        if self.order.num_streams % readers and self.order.num_streams > 1:
            lines.append(
                f"{readers} readers do not divide the {self.order.num_streams} streams: clips are read more than once;"
                f" set `num_streams` to a multiple of {readers}"
            )
        if start_step:
            lines.append(f"going on after step {start_step}")
        if self.options.progress:
            accelerator.print("\n".join(lines))


def _draw_swapped_positions(
    grid: tuple[int, int], swap_ratio: float, swap_sampling: str, generator: torch.Generator
) -> torch.BoolTensor:
    return sample_swapped_positions(1, grid, swap_ratio, swap_sampling, generator=generator)


def _loss_parts(outputs: MicronBertForPreTrainingOutput) -> dict[str, torch.Tensor]:
    parts = {
        "loss": outputs.loss,
        "reconstruction_loss": outputs.reconstruction_loss,
        "contextual_agreement_loss": outputs.contextual_agreement_loss,
        "displacement_loss": outputs.displacement_loss,
    }
    return {name: part.detach().float() for name, part in parts.items() if part is not None}
