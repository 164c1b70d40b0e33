"""`python -m benchmarks.conversion`: how fast a release is converted, and whether memory stays flat.

Writes results/conversion.json and renders its table. About 8 minutes on 2 cores. The release is a small one in CASME
II's layout, of 10,000 frames of 640 x 480 (JPEG of quality 95) with a synthetic face each.
"""

import io
import json
import statistics
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import openpyxl
import psutil
from PIL import Image

from benchmarks.render import RESULTS, render_readme
from micron_bert_hf.databases import DATABASES, ConversionOptions, convert_database
from micron_bert_hf.run_provenance import num_cores, run_provenance


NUM_CLIPS, CLIP_FRAMES, FRAME_SIZE = 100, 100, (640, 480)
SUBJECTS = 20
HEADER = ("Subject", "Filename", "OnsetFrame", "ApexFrame", "OffsetFrame", "Action Units", "Estimated Emotion")
SAMPLE_SECONDS = 0.1


def encoded_frames() -> list[bytes]:
    """Frames of a few synthetic people, each with noise of its own, in the middle of a larger picture."""
    from micron_bert_hf.synthetic import generate_micro_expressions

    random = np.random.default_rng(0)
    frames = []
    for row in generate_micro_expressions(4, 1, image_size=320, difficulty=0.5, seed=5, classes=("surprise",)):
        for _ in range(5):
            picture = np.full((FRAME_SIZE[1], FRAME_SIZE[0], 3), 110, np.int16)
            picture[80:400, 160:480] = row["onset"]
            picture += random.integers(-3, 4, picture.shape, np.int16)
            file = io.BytesIO()
            Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=95)
            frames.append(file.getvalue())
    return frames


def write_release(root: Path, frames: list[bytes]) -> None:
    rows = []
    for clip in range(NUM_CLIPS):
        subject, name = f"{clip % SUBJECTS + 1:02d}", f"EP{clip:03d}"
        folder = root / "CASME2-RAW" / f"sub{subject}" / name
        folder.mkdir(parents=True)
        for number in range(1, CLIP_FRAMES + 1):
            (folder / f"img{number:03d}.jpg").write_bytes(frames[(clip // 5 + number) % len(frames)])
        rows.append((subject, name, 1, CLIP_FRAMES // 2, CLIP_FRAMES, "4", "disgust" if clip % 2 else "happiness"))
    workbook = openpyxl.Workbook()
    for row in (HEADER, *rows):
        workbook.active.append(row)
    workbook.save(root / "CASME2-coding-benchmark.xlsx")


def decode_all(root: Path) -> float:
    """Seconds in which one core reads and decodes all frames by PIL alone: the limit of one process."""
    start = time.perf_counter()
    for path in sorted(root.rglob("*.jpg")):
        np.asarray(Image.open(io.BytesIO(path.read_bytes())).convert("RGB"))
    return time.perf_counter() - start


class MemoryWatch:
    """Resident memory of this process and its children, ten times a second."""

    def __enter__(self) -> "MemoryWatch":
        self.seen: list[tuple[float, int]] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._start = time.perf_counter()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        process = psutil.Process()
        while not self._end.wait(SAMPLE_SECONDS):
            sizes = [process.memory_info().rss]
            for child in process.children(recursive=True):
                try:
                    sizes.append(child.memory_info().rss)
                except psutil.NoSuchProcess:
                    continue
            self.seen.append((time.perf_counter() - self._start, sum(sizes)))

    def growth(self) -> float:
        """By how many bytes the second half of the time would grow over its whole length, by a straight line."""
        times, sizes = np.array(self.seen, float).T
        half = len(times) // 2
        slope = np.polyfit(times[half:], sizes[half:], 1)[0]
        return float(slope * (times[-1] - times[half]))


def measure(root: Path, output: Path, num_processes: int, **options: object) -> dict:
    with MemoryWatch() as memory:
        start = time.perf_counter()
        report = convert_database(
            DATABASES["casme2"],
            root,
            output,
            options=ConversionOptions(**options),
            num_processes=num_processes,
            progress=False,
        )
        seconds = time.perf_counter() - start
    num_frames = report.description["num_frames"]
    return {
        "options": options,
        "num_processes": num_processes,
        "num_frames": num_frames,
        "seconds": seconds,
        "frames_a_second": num_frames / seconds,
        "peak_bytes": max(size for _, size in memory.seen),
        "second_half_growth_bytes": memory.growth(),
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "release"
        frames = encoded_frames()
        write_release(root, frames)
        runs = [
            measure(root, Path(folder) / f"out{number}", num_processes, **options)
            for number, (num_processes, options) in enumerate(
                (
                    (1, {"frames": "clip"}),
                    (1, {"frames": "clip", "align": True}),
                    (2, {"frames": "clip", "align": True}),
                    (1, {"frames": "clip", "align": True, "stabilize": True}),
                    (1, {"frames": "clip", "align": True, "encoding": "jpeg"}),
                )
            )
        ]
        decoding = [NUM_CLIPS * CLIP_FRAMES / decode_all(root) for _ in range(2)]
    results = {
        **run_provenance(),
        "num_clips": NUM_CLIPS,
        "clip_frames": CLIP_FRAMES,
        "frame_size": FRAME_SIZE,
        "bytes_a_frame": statistics.mean(map(len, frames)),
        "runs": runs,
        "decoding_frames_a_second": statistics.median(decoding),
    }
    results["machine"]["cores"] = num_cores()
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "conversion.json").write_text(json.dumps(results, indent=2) + "\n")
    render_readme()


if __name__ == "__main__":
    main()
