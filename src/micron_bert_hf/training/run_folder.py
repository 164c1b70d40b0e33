"""The folder of a pretraining run.

OUT/run.json                  what decides the run; another run is refused
OUT/history.json              what was logged until the run ended
OUT/checkpoint-00000040/      see `checkpoints`
OUT/pictures/step-000500.png  reconstructions and maps
OUT/summary.png               the course of the run
OUT/config.json, model.safetensors, preprocessor_config.json, *.py   the finished model
OUT/provenance.json           which clips and which people the model has seen; written last
"""

import json
import os
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from matplotlib.figure import Figure
from safetensors.torch import load_file

from ..data import denormalize_frames
from ..hub import PROVENANCE_NAME, save_for_hub
from ..image_processing_micron_bert import MicronBertImageProcessor
from ..locks import folder_lock
from ..modeling_micron_bert import (
    MicronBertForPreTraining,
    MicronBertForPreTrainingOutput,
    patch_displacement,
    restored_pixels,
    swap_patches,
)
from ..run_files import claim_folder, read_json, write_json
from ..visualization import displacement_figure, pretraining_summary_figure, reconstruction_figure, save_figure
from .checkpoints import HISTORY_NAME, finished_checkpoints, remove_partial


IDENTITY_NAME = "run.json"
WEIGHTS_NAME = "model.safetensors"
_MODEL_PARTIAL = ".model.partial"
# Rows of the picture of reconstructions.
_SHOWN_PAIRS = 4


class RunFolder:
    """
    Args:
        path: absent, empty, or of the same run.
        identity: what must be equal for a run to go on; JSON-able.
        accelerator: the main process writes, the others wait.

    Raises:
        FileExistsError: on entering, if the folder holds something else or another process is writing it.
        ValueError: on entering, if it holds another run; the message names what differs.
    """

    def __init__(self, path: Path, identity: dict[str, Any], accelerator: Accelerator):
        self.path = path
        self.identity = json.loads(json.dumps(identity))
        self.accelerator = accelerator
        self._stack = ExitStack()

    def __enter__(self) -> "RunFolder":
        # a rank that waits for one that has given up would wait for ever: what the main process finds, all raise
        problem: list[Exception | None] = [None]
        if self.accelerator.is_main_process:
            try:
                self._claim()
            except (OSError, ValueError) as error:
                problem = [error]
        broadcast_object_list(problem)
        if problem[0] is None and read_json(self.path / IDENTITY_NAME) != self.identity:
            problem = [ValueError(f"{self.path} is not the main process's folder; is it on a disk that all share?")]
        if problem[0] is not None:
            self._stack.close()
            # together: a rank whose neighbour ends with the group still open may be aborted on its way out
            self.accelerator.wait_for_everyone()
            self.accelerator.end_training()
            raise problem[0]
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.close()

    def state(self) -> tuple[bool, Path | None]:
        """
        Whether the finished model stands, and else the newest whole checkpoint; what the main process sees, so that
        no two ranks go on from different steps.
        """
        found: list[Any] = [None]
        if self.accelerator.is_main_process:
            checkpoint = next(finished_checkpoints(self.path), None)
            found = [((self.path / PROVENANCE_NAME).exists(), None if checkpoint is None else checkpoint.name)]
        broadcast_object_list(found)
        is_finished, name = found[0]
        return is_finished, None if name is None else self.path / name

    def load_model_state(self) -> dict[str, torch.Tensor]:
        """Parameters and buffers of the finished model."""
        return load_file(self.path / WEIGHTS_NAME)

    def read_history(self) -> list[dict[str, float]]:
        """What the finished run logged."""
        return read_json(self.path / HISTORY_NAME)

    def write_history(self, history: list[dict[str, float]]) -> None:
        if self.accelerator.is_main_process:
            write_json(self.path / HISTORY_NAME, history)

    def draw_reconstruction(
        self,
        model: MicronBertForPreTraining,
        image_processor: MicronBertImageProcessor,
        views: dict[str, torch.Tensor],
        step: int,
    ) -> None:
        """`pictures/step-*.png` of some pairs of a batch: frames, swap, reconstruction and both maps."""
        pixel_values, swapped = (views[name][:_SHOWN_PAIRS] for name in ("pixel_values", "bool_swapped_pos"))
        outputs = _evaluated(model, pixel_values=pixel_values, bool_swapped_pos=swapped)
        patch_size = model.config.patch_size
        grid = tuple(side // patch_size for side in pixel_values.shape[-2:])
        frames = [
            pixel_values[:, 0],
            pixel_values[:, 1],
            swap_patches(pixel_values[:, 0], pixel_values[:, 1], swapped, patch_size),
            restored_pixels(outputs.logits, pixel_values[:, 0], patch_size, model.config.norm_pix_loss),
        ]
        target, reference, mixed, restored = (
            # a grey model's one channel is shown as three
            denormalize_frames(frame, image_processor).clamp(0, 1).expand(-1, 3, -1, -1).permute(0, 2, 3, 1).cpu()
            for frame in frames
        )
        target, reference, mixed = (
            (255 * image).round().to(torch.uint8).numpy() for image in (target, reference, mixed)
        )
        diagonal, interest = (
            values.float().reshape(-1, *grid).cpu().numpy()
            for values in (outputs.diagonal_attention.mean(1), outputs.patch_of_interest)
        )
        figure = reconstruction_figure(
            target, reference, mixed, restored.numpy(), diagonal, interest, swapped.cpu().numpy(), title=f"Step {step}"
        )
        self._save_picture(figure, step)

    def draw_displacement(
        self,
        model: MicronBertForPreTraining,
        image_processor: MicronBertImageProcessor,
        views: dict[str, torch.Tensor],
        step: int,
    ) -> None:
        """`pictures/step-*.png` of some pairs of a batch of windowed mode: frames, true and found displacement."""
        pixel_values, displacement = (views[name][:_SHOWN_PAIRS] for name in ("pixel_values", "displacement"))
        found = _evaluated(model, pixel_values=pixel_values, displacement=displacement).displacement
        true = patch_displacement(displacement, model.config.patch_size)
        grid = tuple(side // model.config.patch_size for side in pixel_values.shape[-2:])
        frames = denormalize_frames(pixel_values, image_processor).clamp(0, 1)
        # a grey model's one channel is shown as three
        frames = (255 * frames.expand(-1, -1, 3, -1, -1).permute(0, 1, 3, 4, 2)).round().to(torch.uint8).cpu().numpy()
        figure = displacement_figure(
            frames[:, 0],
            frames[:, 1],
            true.unflatten(1, grid).cpu().numpy(),
            found.float().unflatten(1, grid).cpu().numpy(),
            title=f"Step {step}",
        )
        self._save_picture(figure, step)

    def _save_picture(self, figure: Figure, step: int) -> None:
        (self.path / "pictures").mkdir(exist_ok=True)
        save_figure(figure, self.path / "pictures" / f"step-{step:06d}.png")

    def finish(
        self,
        model: MicronBertForPreTraining,
        image_processor: MicronBertImageProcessor,
        history: list[dict[str, float]],
        provenance: dict[str, Any],
    ) -> None:
        """Leave the model in the folder itself, ready for `from_pretrained` and the Hub."""
        if self.accelerator.is_main_process:
            partial = self.path / _MODEL_PARTIAL
            shutil.rmtree(partial, ignore_errors=True)
            save_for_hub(partial, model=model, image_processor=image_processor)
            for path in sorted(partial.iterdir(), key=lambda path: path.name == WEIGHTS_NAME):
                os.replace(path, self.path / path.name)
            partial.rmdir()
            save_figure(pretraining_summary_figure(history, title="Pretraining"), self.path / "summary.png")
            write_json(self.path / HISTORY_NAME, history)
            write_json(self.path / PROVENANCE_NAME, provenance)
        self.accelerator.wait_for_everyone()

    def _claim(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        self._stack.enter_context(folder_lock(self.path))
        claim_folder(self.path, IDENTITY_NAME, self.identity)
        remove_partial(self.path)


@torch.no_grad()
def _evaluated(model: MicronBertForPreTraining, **inputs: torch.Tensor) -> MicronBertForPreTrainingOutput:
    """The model's answer in evaluation mode; its mode is put back."""
    was_training = model.training
    model.eval()
    outputs = model(**inputs)
    model.train(was_training)
    return outputs
