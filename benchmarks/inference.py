"""`python -m benchmarks.inference MODEL`: time and memory of an answer; writes results/inference.json.

    python -m benchmarks.inference demo_output/model

MODEL is a classifier's folder; beside it a classifier of the default size is measured, whose weights are random, for
what we aimed at. About 10 minutes on 2 cores, most of it for a film of ten minutes.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch

from benchmarks.faces import embed
from benchmarks.render import RESULTS
from micron_bert_hf import (
    TASK,
    MicroExpressionClassificationPipeline,
    MicronBertConfig,
    MicronBertForMicroExpressionClassification,
    MicronBertImageProcessor,
)
from micron_bert_hf.faces import FaceAligner, load_detector
from micron_bert_hf.run_files import write_json
from micron_bert_hf.run_provenance import run_provenance
from micron_bert_hf.spotting import MicroExpressionRecognizer, Video
from micron_bert_hf.spotting.commands import load_classifier
from micron_bert_hf.spotting.recognizer import ALIGNED_SIZE
from micron_bert_hf.synthetic import generate_micro_expressions


# What we aimed at.
BUDGETS = {"import_ratio": 1.1, "pair_ratio": 1.3, "clip_seconds": 3.0, "extra_bytes": 300e6}
SEED, RUNS, IMPORT_RUNS = 0, 9, 5
FRAME_HEIGHT, FRAME_WIDTH, CLIP_FRAMES, CLIP_FPS, FACE_SIZE = 480, 640, 70, 50, 400
SHORT_SECONDS, LONG_SECONDS, FILM_FPS = 10, 600, 25
# What the package is compared with: what every model of transformers imports; and all that ours imports of it.
IMPORTS = {
    "ours": "import micron_bert_hf",
    "modeling_utils": "import transformers.modeling_utils",
    "same_parts_of_transformers": (
        "import transformers.modeling_utils, transformers.image_processing_backends, transformers.pipelines;"
        "from transformers import AutoModelForVideoClassification, AutoImageProcessor"
    ),
}
# By VmHWM, since `ru_maxrss` of a new process begins with what the one that started it has.
MEASURE_PEAKS = """
import json, re, sys
from pathlib import Path
from micron_bert_hf.spotting import MicroExpressionRecognizer, Video
recognize = MicroExpressionRecognizer()
peaks = []
for path in sys.argv[1:]:
    video = Video(path)
    curve = recognize.curve(video)
    recognize.expressions(video, curve)
    kibibytes = re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text()).group(1)
    peaks.append([len(curve.numbers), 1024 * int(kibibytes)])
print(json.dumps(peaks))
"""


def interleaved(calls: Mapping[str, Callable[[], Any]], runs: int) -> dict[str, dict[str, list[float]]]:
    """
    `seconds` and `processor_seconds` (of all threads) of every call in every run, one of each in turn; a first round
    warms up and is not counted. A machine that others use as well changes the latter least.
    """
    times: dict[str, dict[str, list[float]]] = {name: {"seconds": [], "processor_seconds": []} for name in calls}
    for run in range(runs + 1):
        for name, call in calls.items():
            start, processor_start = time.perf_counter(), time.process_time()
            call()
            if run > 0:
                times[name]["seconds"].append(time.perf_counter() - start)
                times[name]["processor_seconds"].append(time.process_time() - processor_start)
    return times


def medians(times: dict[str, dict[str, list[float]]]) -> dict[str, dict[str, float]]:
    """The same, one number each."""
    return {name: {kind: statistics.median(runs) for kind, runs in kinds.items()} for name, kinds in times.items()}


def ratio(seconds: Sequence[float], reference: Sequence[float]) -> dict[str, Any]:
    """Of two measurements in one run, which a machine whose speed drifts changes least: median and range."""
    ratios = [own / other for own, other in zip(seconds, reference)]
    return {"median": statistics.median(ratios), "range": [min(ratios), max(ratios)]}


def measure_imports(runs: int = IMPORT_RUNS) -> dict[str, Any]:
    """Processor time of fresh interpreters, less that of one which imports nothing; in turn."""

    def processor_seconds(code: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    seconds: dict[str, list[float]] = {name: [] for name in IMPORTS}
    for run in range(runs + 1):
        nothing = processor_seconds("pass")
        for name, code in IMPORTS.items():
            elapsed = processor_seconds(code) - nothing
            if run > 0:  # the first one may write byte code
                seconds[name].append(elapsed)
    return {
        "seconds": {name: statistics.median(values) for name, values in seconds.items()},
        "over_modeling_utils": ratio(seconds["ours"], seconds["modeling_utils"]),
        "over_same_parts_of_transformers": ratio(seconds["ours"], seconds["same_parts_of_transformers"]),
        "runs": runs,
    }


def make_clip() -> np.ndarray:
    """`(CLIP_FRAMES, FRAME_HEIGHT, FRAME_WIDTH, 3)` uint8: a synthetic surprise, still before and after."""
    row = next(
        generate_micro_expressions(
            1,
            1,
            image_size=FACE_SIZE,
            difficulty=0.0,
            seed=SEED,
            classes=("surprise",),
            frames="clip",
            fps=2 * CLIP_FPS,
        )
    )
    moving = row["frames"][::2]
    still = CLIP_FRAMES - len(moving)
    faces = [moving[0]] * (still // 2) + list(moving) + [moving[-1]] * (still - still // 2)
    random = np.random.default_rng(SEED)
    background = np.full((FRAME_HEIGHT, FRAME_WIDTH, 3), 110, np.uint8)
    place = np.array([[1.0, 0, (FRAME_WIDTH - FACE_SIZE) / 2], [0, 1.0, (FRAME_HEIGHT - FACE_SIZE) / 2]])
    frames = np.stack([embed(face, background, place) for face in faces])
    return (frames + random.normal(0, 1, frames.shape)).clip(0, 255).round().astype(np.uint8)


def write_clip(path: Path, frames: np.ndarray, fps: int) -> None:
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg4", rate=fps)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt, stream.bit_rate = "yuv420p", 8_000_000
        for pixels in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        file.mux(stream.encode(None))


def write_still_film(path: Path, picture: np.ndarray, num_frames: int, fps: int) -> None:
    """One coded picture, written again and again: a film of any length in no time."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg4", rate=fps)
        stream.height, stream.width = picture.shape[:2]
        stream.pix_fmt = "yuv420p"
        (coded,) = stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")) + stream.encode(None)
        for number in range(num_frames):
            packet = av.Packet(bytes(coded))
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, fps), True
            packet.pts = packet.dts = number
            packet.duration = 1
            file.mux(packet)


def measure_memory(picture: np.ndarray, fps: int = FILM_FPS) -> dict[str, Any]:
    """
    The peaks of one process that spots in a film of ten seconds and then in one of ten minutes.

    Args:
        picture (`np.ndarray` of shape `(H, W, 3)`, uint8): both show it all the time.
    """
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{seconds}.mp4" for seconds in (SHORT_SECONDS, LONG_SECONDS)]
        for path, seconds in zip(paths, (SHORT_SECONDS, LONG_SECONDS)):
            write_still_film(path, picture, seconds * fps, fps)
        start = time.perf_counter()
        command = [sys.executable, "-c", MEASURE_PEAKS, *map(str, paths)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        elapsed = time.perf_counter() - start
    (short_frames, short_peak), (long_frames, long_peak) = json.loads(done.stdout)
    return {
        "frame_size": list(picture.shape[:2]),
        "fps": fps,
        "frames": [short_frames, long_frames],
        "peak_bytes": [short_peak, long_peak],
        "extra_bytes": long_peak - short_peak,
        "seconds_a_frame": elapsed / (short_frames + long_frames),
    }


def default_classifier() -> MicroExpressionClassificationPipeline:
    """Four classes, every other field by default, random weights."""
    torch.manual_seed(SEED)
    config = MicronBertConfig(id2label=dict(enumerate(("happiness", "surprise", "disgust", "repression"))))
    model = MicronBertForMicroExpressionClassification(config).eval()
    return MicroExpressionClassificationPipeline(model=model, image_processor=MicronBertImageProcessor(), task=TASK)


def measure_model(classify: MicroExpressionClassificationPipeline, frames: np.ndarray, runs: int = RUNS) -> dict:
    """
    A pair of frames and a clip, with all from finding the face to the label, and the model alone.

    Args:
        frames (`np.ndarray` of shape `(T, H, W, 3)`, uint8): of a clip with one expression.
    """
    recognize = MicroExpressionRecognizer(classify)
    aligner = FaceAligner(load_detector("mtcnn"), image_size=ALIGNED_SIZE)
    onset, apex = frames[0], frames[len(frames) // 2]
    pixel_values = classify.image_processor(recognize.pair(onset, apex).frames, return_tensors="pt")["pixel_values"]

    @torch.inference_mode()
    def ask_model() -> None:
        classify.model(pixel_values=pixel_values)

    pair = interleaved(
        {
            "model": ask_model,
            "pair": lambda: recognize.pair(onset, apex),
            "face": lambda: aligner.find(onset),
        },
        runs,
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_clip(path, frames, CLIP_FPS)

        def read() -> int:
            return sum(1 for _ in Video(path))

        found = recognize(path)
        clip = interleaved(
            {
                "clip": lambda: recognize(path),
                "curve": lambda: recognize.curve(Video(path)),
                "reading": read,
            },
            max(runs // 3, 1),
        )
    config = classify.model.config
    return {
        "image_size": config.image_size,
        "hidden_size": config.hidden_size,
        "layers": config.num_hidden_layers,
        "attention_mode": config.attention_mode,
        "parameters": classify.model.num_parameters(),
        "pair": {
            **medians(pair),
            "over_model": ratio(pair["pair"]["seconds"], pair["model"]["seconds"]),
            "over_model_processor": ratio(pair["pair"]["processor_seconds"], pair["model"]["processor_seconds"]),
        },
        "clip": {
            "frames": len(frames),
            "expressions": len(found),
            **medians(clip),
            "seconds_range": [min(clip["clip"]["seconds"]), max(clip["clip"]["seconds"])],
        },
        "runs": runs,
    }


def measure(model: str) -> dict[str, Any]:
    """Everything, as it stands in results/inference.json."""
    frames = make_clip()
    imports = measure_imports()
    models = {"given": measure_model(load_classifier(model), frames)}
    models["default"] = measure_model(default_classifier(), frames)
    memory = measure_memory(frames[0])
    default = models["default"]
    measured = {
        "import_ratio": imports["over_modeling_utils"]["median"],
        "pair_ratio": default["pair"]["over_model"]["median"],
        "clip_seconds": default["clip"]["clip"]["seconds"],
        "extra_bytes": memory["extra_bytes"],
    }
    return {
        **run_provenance(),
        "seed": SEED,
        "frame_size": [FRAME_HEIGHT, FRAME_WIDTH],
        "budgets": {
            name: {"budget": budget, "measured": measured[name], "is_kept": measured[name] <= budget}
            for name, budget in BUDGETS.items()
        },
        "imports": imports,
        "models": models,
        "memory": memory,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a classifier's folder")
    results = measure(parser.parse_args().model)
    write_json(RESULTS / "inference.json", results)
    print(json.dumps(results["budgets"], indent=2))


if __name__ == "__main__":
    main()
