"""Checkpoints that are whole or absent: written beside their place, flushed to the disk, and renamed.

    OUT/checkpoint-00000040/checkpoint.json     step, and the size of every other file; written last
    OUT/checkpoint-00000040/history.json        what was logged until then
    OUT/checkpoint-00000040/model.safetensors   parameters and buffers, the teacher's among them
    OUT/checkpoint-00000040/optimizer.pt        tensors and numbers, read with weights_only
    OUT/checkpoint-00000040/random-00000.pt     torch's generators, one file a rank

A kill at any instant leaves the older checkpoint as it was, and at most a hidden `.checkpoint-*.partial`, which the
next run removes.
"""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn


MANIFEST_NAME, HISTORY_NAME = "checkpoint.json", "history.json"
# What a full disk is reported by: torch and safetensors wrap what the system says.
_DISK_ERRORS = (OSError, RuntimeError, SafetensorError)
_PREFIX, _PARTIAL = "checkpoint-", ".partial"


def save_checkpoint(
    output_dir: Path,
    step: int,
    model: nn.Module,
    optimizer: AcceleratedOptimizer,
    accelerator: Accelerator,
    history: list[dict[str, float]],
    keep: int,
) -> Path:
    """
    Write the state after `step` steps; called by every rank. Older checkpoints beyond the newest `keep` go once the
    new one stands.

    Raises:
        OSError: a full disk, an unwritable folder; the earlier checkpoints stay.
    """
    folder = output_dir / f"{_PREFIX}{step:08d}"
    partial = output_dir / f".{folder.name}{_PARTIAL}"
    try:
        if accelerator.is_main_process:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            save_model(accelerator.unwrap_model(model), os.fspath(partial / "model.safetensors"))
            state = {"optimizer": optimizer.state_dict()}
            if accelerator.scaler is not None:
                state["scaler"] = accelerator.scaler.state_dict()
            torch.save(state, partial / "optimizer.pt")
            (partial / HISTORY_NAME).write_text(json.dumps(history, allow_nan=False), encoding="utf-8")
    except _DISK_ERRORS as error:
        raise _failed(output_dir, partial, step, error) from error
    accelerator.wait_for_everyone()
    try:
        torch.save(_random_state(), partial / f"random-{accelerator.process_index:05d}.pt")
    except _DISK_ERRORS as error:
        raise _failed(output_dir, partial, step, error) from error
    accelerator.wait_for_everyone()
    try:
        if accelerator.is_main_process:
            sizes = {path.name: path.stat().st_size for path in sorted(partial.iterdir())}
            (partial / MANIFEST_NAME).write_text(json.dumps({"step": step, "files": sizes}), encoding="utf-8")
            for path in partial.iterdir():
                _flush(path)
            _flush(partial)
            shutil.rmtree(folder, ignore_errors=True)
            partial.rename(folder)
            _flush(output_dir)
            for old in list(finished_checkpoints(output_dir))[keep:]:
                # out of sight first: half a deleted checkpoint must not be taken for a whole one
                doomed = old.rename(old.with_name(f".{old.name}{_PARTIAL}"))
                shutil.rmtree(doomed, ignore_errors=True)
    except _DISK_ERRORS as error:
        raise _failed(output_dir, partial, step, error) from error
    accelerator.wait_for_everyone()
    return folder


def _failed(output_dir: Path, partial: Path, step: int, error: Exception) -> OSError:
    shutil.rmtree(partial, ignore_errors=True)
    last = next(finished_checkpoints(output_dir), None)
    kept = f"the last good checkpoint is {last}" if last else "there is no earlier checkpoint"
    return OSError(f"the checkpoint of step {step} could not be written to {output_dir}: {error}; {kept}")


def finished_checkpoints(output_dir: Path) -> Iterator[Path]:
    """Whole checkpoints, the newest first. What is damaged is passed over."""
    for folder in sorted(output_dir.glob(f"{_PREFIX}*"), reverse=True):
        if read_step(folder) is not None:
            yield folder


def read_step(folder: Path) -> int | None:
    """The step of a checkpoint, `None` if it lacks a file or one has another size than when it was written."""
    try:
        manifest = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))
        if all((folder / name).stat().st_size == size for name, size in manifest["files"].items()):
            return int(manifest["step"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    return None


def read_history(folder: Path) -> list[dict[str, float]]:
    """What was logged until a checkpoint."""
    return json.loads((folder / HISTORY_NAME).read_text(encoding="utf-8"))


def load_checkpoint(folder: Path, model: nn.Module, optimizer: AcceleratedOptimizer, accelerator: Accelerator) -> int:
    """
    Put model, optimiser and generators where they were; called by every rank.

    Returns:
        `int`: steps done.

    Raises:
        ValueError: the checkpoint is of another model.
    """
    step = read_step(folder)
    try:
        load_model(accelerator.unwrap_model(model), os.fspath(folder / "model.safetensors"), strict=True)
    except (RuntimeError, SafetensorError) as error:
        raise ValueError(f"{folder} does not fit this model: {error}") from error
    state = torch.load(folder / "optimizer.pt", map_location="cpu", weights_only=True)
    optimizer.load_state_dict(state["optimizer"])
    if accelerator.scaler is not None and "scaler" in state:
        accelerator.scaler.load_state_dict(state["scaler"])
    own = folder / f"random-{accelerator.process_index:05d}.pt"
    if own.exists():  # a run that goes on with more ranks than it had: the new ones start from their seed
        _restore_random_state(torch.load(own, map_location="cpu", weights_only=True))
    return step


def remove_partial(output_dir: Path) -> None:
    """What a killed run left behind."""
    for folder in output_dir.glob(f".{_PREFIX}*{_PARTIAL}"):
        shutil.rmtree(folder, ignore_errors=True)


def _random_state() -> dict[str, torch.Tensor | list[torch.Tensor]]:
    state: dict[str, torch.Tensor | list[torch.Tensor]] = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def _restore_random_state(state: dict[str, torch.Tensor | list[torch.Tensor]]) -> None:
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.device_count() == len(state["cuda"]):
        torch.cuda.set_rng_state_all(state["cuda"])


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
