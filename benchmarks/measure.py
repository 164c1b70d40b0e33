"""What `make bench` measures: this package beside the plain reference, in one process and as ratios; memory in fresh
ones.

Times are medians of interleaved runs (ours, plain, ours, plain ...), so that a machine whose speed drifts gives the
same ratio. Peak memory is that of a fresh process for each measurement, above what it held when the model and input
were ready.
"""

import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import transformers

from benchmarks.plain_reference import PlainMicronBert
from micron_bert_hf.configuration_micron_bert import MicronBertConfig
from micron_bert_hf.modeling_micron_bert import (
    MicronBertForPreTraining,
    diagonal_attention,
    sample_swapped_positions,
)


RUNS = 5
# (image size, pairs): what fits into 24 GB for the plain reference's training step
TIMED = ((224, 1), (224, 4), (448, 1))
PATCHES = (196, 784, 3136, 12544)
HIDDEN_SIZE = 512


class Case:
    """A model of the default size, the plain reference with its weights, and one seeded batch."""

    def __init__(self, image_size: int, batch_size: int):
        torch.manual_seed(0)
        self.config = MicronBertConfig(image_size=image_size)
        self.ours = MicronBertForPreTraining(self.config)
        self.plain = PlainMicronBert(self.ours)
        self.pixel_values = torch.randn(batch_size, 2, 3, image_size, image_size)
        self.crop = torch.randn(batch_size, 3, image_size, image_size)
        self.mask = sample_swapped_positions(batch_size, self.config.patch_grid, self.config.swap_ratio)

    def infer_ours(self) -> torch.Tensor:
        with torch.inference_mode():
            return self.ours.micron_bert(self.pixel_values).last_hidden_state

    def infer_plain(self) -> torch.Tensor:
        with torch.inference_mode():
            return self.plain.features(self.pixel_values)

    def train_ours(self) -> torch.Tensor:
        self.ours.zero_grad()
        loss = self.ours(self.pixel_values, bool_swapped_pos=self.mask, crop_pixel_values=self.crop).loss
        loss.backward()
        return loss.detach()

    def train_plain(self) -> torch.Tensor:
        self.plain.zero_grad()
        loss = self.plain.loss(self.pixel_values, self.mask, self.crop)
        loss.backward()
        return loss.detach()


def gemm_peak() -> float:
    """
    Best of several float32 matrix products of 2048, in FLOP/s: what this machine gives a matrix product just now.
    """
    a = torch.randn(2048, 2048)
    return 2 * 2048**3 / min(_seconds(lambda: a @ a) for _ in range(8))


def layer_flops(tokens: int, width: int, mlp_width: int, queries: int | None = None) -> float:
    """
    Multiply-adds times two of one transformer layer on one image; key and value of all tokens, the rest of the
    queries.
    """
    queries = tokens if queries is None else queries
    projections = 2 * width * width * (2 * tokens + 2 * queries)
    return projections + 4 * tokens * queries * width + 4 * queries * width * mlp_width


def useful_flops(config: MicronBertConfig, batch_size: int, train: bool) -> float:
    """
    Floating-point operations that the mathematics needs: matrix products only, backward as twice the forward, nothing
    recomputed.
    """
    patches = config.patch_grid[0] * config.patch_grid[1]
    width, mlp_width = config.hidden_size, config.intermediate_size
    pixels = config.patch_size**2 * config.num_channels
    embed = 2 * patches * pixels * width
    frame = embed + config.num_hidden_layers * layer_flops(1 + patches, width, mlp_width)
    cross = 4 * 2 * patches * width * width + 2 * patches * patches * width
    total = 2 * frame + cross
    if train:
        crop = embed + (config.num_hidden_layers - 1) * layer_flops(1 + patches, width, mlp_width)
        crop += layer_flops(1 + patches, width, mlp_width, queries=1)
        decoder_width = config.decoder_hidden_size
        decoder = config.decoder_num_hidden_layers * layer_flops(
            patches, decoder_width, config.decoder_intermediate_size
        )
        decoder += 2 * patches * decoder_width * (width + pixels)
        total = 3 * (total + crop + decoder)
    return batch_size * total


def measure_times(image_size: int, batch_size: int) -> list[dict]:
    """One row for inference and one for a training step (forward and backward)."""
    case = Case(image_size, batch_size)
    rows = []
    for name, ours, plain in (
        ("pair inference", case.infer_ours, case.infer_plain),
        ("pretraining step", case.train_ours, case.train_plain),
    ):
        torch.testing.assert_close(ours(), plain(), rtol=1e-3, atol=1e-4)  # the same numbers, and a warm-up
        peak = gemm_peak()
        seconds: dict[str, list[float]] = {"ours": [], "plain": []}
        for _ in range(RUNS):
            seconds["ours"].append(_seconds(ours))
            seconds["plain"].append(_seconds(plain))
        peak = max(peak, gemm_peak())
        ratios = [plain_s / ours_s for plain_s, ours_s in zip(seconds["plain"], seconds["ours"])]
        median = statistics.median(seconds["ours"])
        rows.append(
            {
                "what": name,
                "image_size": image_size,
                "batch_size": batch_size,
                "ours_seconds": median,
                "plain_seconds": statistics.median(seconds["plain"]),
                "speed_ratio": statistics.median(ratios),
                "speed_ratio_range": [min(ratios), max(ratios)],
                "share_of_gemm_peak": useful_flops(case.config, batch_size, train=ours == case.train_ours)
                / median
                / peak,
                "gemm_peak_gflops": peak / 1e9,
            }
        )
    return rows


def profile_step(image_size: int, batch_size: int) -> dict[str, float]:
    """Share of a training step's processor time by kind of operation, from torch's profiler."""
    kinds = {
        "linear layers and other matrix products": ("aten::mm", "aten::addmm", "aten::bmm"),
        "attention of encoder and decoder": ("scaled_dot_product",),
        "activation function": ("gelu",),
        "softmax of the diagonal attention": ("softmax",),
        "layer norm": ("layer_norm",),
    }
    case = Case(image_size, batch_size)
    case.train_ours()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        case.train_ours()
    times = {event.key: event.self_cpu_time_total for event in profile.key_averages()}
    total = sum(times.values())
    shares = {
        kind: sum(time for key, time in times.items() if any(part in key for part in parts)) / total
        for kind, parts in kinds.items()
    }
    shares["copies, additions, allocation, the rest"] = 1 - sum(shares.values())
    return shares


def measure_diagonal(implementation: str, num_patches: int) -> dict:
    """Forward and backward of the diagonal alone, one image of `num_patches` patches of width 512."""
    query, key = (torch.randn(1, 1, num_patches, HIDDEN_SIZE).requires_grad_() for _ in range(2))

    def step() -> None:
        if implementation == "ours":
            diagonal = diagonal_attention(query, key, HIDDEN_SIZE**-0.5)
        else:
            diagonal = torch.softmax(query @ key.mT * HIDDEN_SIZE**-0.5, dim=-1).diagonal(0, 2, 3)
        diagonal.sum().backward()

    peak = _peak_of(step)
    return {"peak_extra_bytes": peak, "seconds": statistics.median(_seconds(step) for _ in range(RUNS))}


def measure_training_memory(implementation: str, image_size: int) -> dict:
    """The first training step of one pair (forward and backward), gradients included."""
    case = Case(image_size, 1)
    return {"peak_extra_bytes": _peak_of(case.train_ours if implementation == "ours" else case.train_plain)}


def in_fresh_process(function: str, *arguments: str | int) -> dict:
    """Run one of the functions above alone in a new interpreter and return what it returns."""
    code = (
        "import json, sys; from benchmarks import measure;"
        "function, *arguments = json.loads(sys.argv[1]);"
        "print(json.dumps(getattr(measure, function)(*arguments)))"
    )
    command = [sys.executable, "-c", code, json.dumps([function, *arguments])]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent.parent)
    return json.loads(done.stdout.splitlines()[-1])


def machine() -> dict:
    """What the numbers were measured on."""
    names = [line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    return {
        "processor": names[0] if names else platform.processor(),
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "commit": commit or "unknown",
        "seed": 0,
        "dtype": "float32",
    }


def _seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def _peak_of(step: Callable[[], object]) -> int:
    a = torch.randn(256, 256, requires_grad=True)
    torch.softmax(a @ a, -1).sum().backward()  # the libraries' own buffers are not the step's
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak counts from here
    before = _status_bytes("VmRSS")
    step()
    return _status_bytes("VmHWM") - before


def _status_bytes(field: str) -> int:
    return next(1024 * int(line.split()[1]) for line in _lines("/proc/self/status") if line.startswith(field))


def _lines(path: str) -> list[str]:
    file = Path(path)
    return file.read_text().splitlines() if file.exists() else []
