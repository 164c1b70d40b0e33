"""`python -m benchmarks.pretraining`: what pretraining costs around its matrix products, and what scale would cost.

Writes results/pretraining.json and renders its tables. About 15 minutes on 2 cores.
Every ratio is of interleaved runs in one process; the frames are synthetic faces, 224 pixels, JPEG of quality 95.
"""

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import torch
from PIL import Image

from benchmarks.measure import machine, useful_flops
from benchmarks.render import RESULTS, render_readme
from micron_bert_hf.configuration_micron_bert import MicronBertConfig
from micron_bert_hf.data import ClipIndex, ClipPairs, FrameDistance, PairBatches, PairOrder
from micron_bert_hf.data.clip_set import ClipShardWriter, content_fingerprint, shard_names
from micron_bert_hf.modeling_micron_bert import MicronBertForPreTraining


ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "examples" / "run_pretraining.py"
TINY = ROOT / "examples" / "recipes" / "tiny_cpu.yaml"
IMAGE_SIZE, CLIP_FRAMES, PAIRS_PER_CLIP, BATCH_SIZE = 224, 64, 4, 32
RUNS = 5
# steps of reading while memory is watched, of 4 pairs each
MEMORY_STEPS = 10_000
STARTED_CLIPS = 1_000


def encoded_faces(count: int) -> list[bytes]:
    """Frames of one synthetic face, each with noise of its own, as prepared clips hold them."""
    from micron_bert_hf.synthetic import generate_micro_expressions

    row = next(generate_micro_expressions(1, 1, image_size=IMAGE_SIZE, difficulty=0.3, seed=9, classes=("surprise",)))
    generator = np.random.default_rng(0)
    frames = []
    for _ in range(count):
        noisy = row["onset"].astype(np.int16) + generator.integers(-2, 3, row["onset"].shape)
        file = io.BytesIO()
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=95, subsampling=0)
        frames.append(file.getvalue())
    return frames


def write_set(folder: Path, num_clips: int, num_shards: int, clip_frames: int, frames: list[bytes]) -> ClipIndex:
    """A set of clips of these frames, in turn."""
    names = shard_names(num_shards)
    (folder / "data").mkdir(parents=True)
    counts = []
    for number, name in enumerate(names):
        with ClipShardWriter(folder / name) as writer:
            for clip in range(number, num_clips, num_shards):
                chosen = [frames[(clip * 7 + frame) % len(frames)] for frame in range(clip_frames)]
                writer.write(f"c{clip}", f"s{clip}", "bench", 100.0, chosen)
        counts.append(writer.num_clips)
    subjects = {"bench": [f"s{clip}" for clip in range(num_clips)]}
    index = ClipIndex(tuple(names), tuple(counts), num_clips * clip_frames, subjects, content_fingerprint(names))
    index.save(folder)
    return index


def make_pairs(folder: Path, index: ClipIndex, size: int = IMAGE_SIZE, batch_size: int = BATCH_SIZE) -> ClipPairs:
    order = PairOrder(index.num_clips, PAIRS_PER_CLIP, batch_size, seed=0)
    return ClipPairs(folder, index, order, FrameDistance(50, 110), (size, size), Image.Resampling.BILINEAR)


def streamed(pairs: ClipPairs, numbers: range) -> Iterator[torch.Tensor]:
    """What a worker does: batches of decoded pairs."""
    for keys in PairBatches(pairs.order, numbers):
        yield torch.stack([pairs[key]["frames"] for key in keys])


def measure_data_path(folder: Path, index: ClipIndex) -> dict:
    """
    Pairs a second of one core: from the shards, and PIL alone on the same encoded bytes in memory (the limit). Epochs
    after the first, which also looks at the checksums: `first_epoch_of_bare_pil`.
    """
    torch.set_num_threads(1)
    rows = {}
    num_batches = index.total_clips * PAIRS_PER_CLIP // BATCH_SIZE
    for size in (IMAGE_SIZE, 160):
        reading = make_pairs(folder, index, size)
        encoded = [
            frame
            for keys in PairBatches(reading.order, range(num_batches, 2 * num_batches))
            for key in keys
            for frame in reading._encoded_pairs(key.epoch, key.clip)[key.pair]
        ]
        ratios, first_ratios, speeds = [], [], []
        for _ in range(RUNS):
            pairs, seconds = make_pairs(folder, index, size), []
            for epoch in range(2):
                start = time.perf_counter()
                for _ in streamed(pairs, range(epoch * num_batches, (epoch + 1) * num_batches)):
                    pass
                seconds.append(time.perf_counter() - start)
            ours = seconds[1]
            start = time.perf_counter()
            for frame in encoded:
                image = Image.open(io.BytesIO(frame)).convert("RGB")
                if image.size != (size, size):
                    image = image.resize((size, size), Image.Resampling.BILINEAR)
                np.asarray(image)
            bare = time.perf_counter() - start
            ratios.append(bare / ours)
            first_ratios.append(bare / seconds[0])
            speeds.append(num_batches * BATCH_SIZE / ours)
        rows[str(size)] = {
            "pairs_a_second": statistics.median(speeds),
            "of_bare_pil": statistics.median(ratios),
            "of_bare_pil_range": [min(ratios), max(ratios)],
            "first_epoch_of_bare_pil": statistics.median(first_ratios),
        }
    return {"sizes": rows, "bytes_a_frame": float(np.mean([len(frame) for frame in encoded]))}


def measure_memory(folder: Path, index: ClipIndex) -> dict:
    """Resident memory over 10,000 steps of reading 4 pairs: the slope of its second half, and its ends."""
    process = psutil.Process()
    pairs = make_pairs(folder, index, 64, batch_size=4)
    seen = []
    for step, _ in enumerate(streamed(pairs, range(MEMORY_STEPS))):
        if step % 100 == 99:
            seen.append((step + 1, process.memory_info().rss))
    steps, sizes = np.array(seen, float).T
    half = len(steps) // 2
    slope = np.polyfit(steps[half:], sizes[half:], 1)[0]
    return {
        "steps": MEMORY_STEPS,
        "start_bytes": sizes[0],
        "end_bytes": sizes[-1],
        "slope_bytes_a_step": float(slope),
    }


def run_script(*options: str, **environment: str) -> tuple[float, str]:
    """Seconds and output of the real script."""
    start = time.perf_counter()
    process = subprocess.run(
        [sys.executable, str(SCRIPT), *options],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    if process.returncode:
        raise RuntimeError(process.stderr[-3000:])
    return time.perf_counter() - start, process.stdout


def measure_start(folder: Path) -> dict:
    """Seconds from the command to the end of its first step, on a set of 1,000 clips; the tiny recipe's model."""
    with tempfile.TemporaryDirectory() as output:
        seconds, _ = run_script(
            str(TINY), "--dataset", str(folder), "--num_clips", "null", "--output_dir", f"{output}/run",
            "--max_steps", "1", "--picture_steps", "0", "--progress", "false",
        )  # fmt: skip
    return {"num_clips": STARTED_CLIPS, "seconds_to_the_first_step_and_the_saved_model": seconds}


def measure_wait(folder: Path) -> dict:
    """The share of the tiny recipe's steps that waits for data, with its 2 workers, after the first entries."""
    with tempfile.TemporaryDirectory() as output:
        run_script(
            str(TINY), "--dataset", str(folder), "--num_clips", "null", "--output_dir", f"{output}/run",
            "--max_steps", "60", "--logging_steps", "10", "--picture_steps", "0", "--progress", "false",
        )  # fmt: skip
        history = json.loads(Path(output, "run", "history.json").read_text())
    later = history[2:]
    return {
        "data_wait_share": statistics.mean(entry["data_wait_share"] for entry in later),
        "samples_per_second": statistics.median(entry["samples_per_second"] for entry in later),
    }


def measure_ranks(folder: Path) -> dict:
    """Largest difference of the loss between two processes and one with twice the accumulation, over 10 steps."""
    options = [
        str(TINY), "--dataset", str(folder), "--num_clips", "null", "--max_steps", "10", "--logging_steps", "1",
        "--picture_steps", "0", "--progress", "false", "--batch_size", "4", "--num_workers", "0",
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as output:
        alone, _ = run_script(
            *options, "--output_dir", f"{output}/alone", "--gradient_accumulation_steps", "2", OMP_NUM_THREADS="1"
        )
        start = time.perf_counter()
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
        subprocess.run(
            [*launcher, str(SCRIPT), *options, "--output_dir", f"{output}/together"],
            check=True,
            capture_output=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
        )
        together = time.perf_counter() - start
        losses = [
            [entry["loss"] for entry in json.loads(Path(output, name, "history.json").read_text())]
            for name in ("alone", "together")
        ]
    difference = max(abs(one - other) for one, other in zip(*losses))
    return {"largest_loss_difference": difference, "alone_seconds": alone, "together_seconds": together}


def measure_model() -> dict:
    """Of the default model (the paper's sizes): operations of a pair, and bytes of its state."""
    config = MicronBertConfig()
    model = MicronBertForPreTraining(config)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {
        "parameters": parameters,
        "parameter_bytes": 4 * parameters,
        "training_state_bytes": 4 * parameters * 4,  # weights, gradients, Adam's two moments, float32
        "pretraining_flops_a_pair": useful_flops(config, 1, train=True),
    }


def run() -> dict:
    results: dict = {"machine": machine(), "load_average": os.getloadavg()[0]}
    results["model"] = measure_model()
    frames = encoded_faces(96)
    with tempfile.TemporaryDirectory() as folder:
        small = write_set(Path(folder) / "small", 64, 4, CLIP_FRAMES, frames)
        for name, measure in (
            ("data_path", lambda: measure_data_path(Path(folder) / "small", small)),
            ("memory", lambda: measure_memory(Path(folder) / "small", small)),
            ("wait", lambda: measure_wait(Path(folder) / "small")),
            ("ranks", lambda: measure_ranks(Path(folder) / "small")),
        ):
            results[name] = measure()
            print(name, json.dumps(results[name]), flush=True)
        write_set(Path(folder) / "large", STARTED_CLIPS, 16, 16, frames)
        results["start"] = measure_start(Path(folder) / "large")
        print("start", json.dumps(results["start"]), flush=True)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--render-only", action="store_true", help="Only render the stored results.")
    if not parser.parse_args().render_only:
        (RESULTS / "pretraining.json").write_text(json.dumps(run(), indent=2) + "\n")
    render_readme()


if __name__ == "__main__":
    main()
