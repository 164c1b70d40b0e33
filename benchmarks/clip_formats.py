"""`python -m benchmarks.clip_formats`: which format on disk pretraining should read, and what should prepare it.

Formats, on the same encoded frames (64 a clip, 224 px, JPEG as `prepare-clips` writes it, synthetic faces with camera
noise):

* `parquet`: our shards, a clip a row group, read by `ClipShard`.
* `tar_stream`: WebDataset shards, a clip a sample (`000012.00.jpg`, `000012.01.jpg`, ...), read from the front to the
  end of a shard with the standard library's `tarfile.open(mode="r|*")`, which is what webdataset does inside. Its
  pipeline and its shuffle buffer come on top and are not measured: the numbers are tar at its best, in an order that
  only shuffles shards.
* `tar_indexed`: the same files with an index of where each member lies (as webdataset's `wids` keeps one), so that
  single frames are read.

`parquet_unchecked` reads our shards without verifying the checksums of pages, which tar does not have: the difference
is what noticing a damaged shard costs.

The pattern is that of pretraining: clips in shuffled order, 4 pairs of each at random, every epoch anew. All is read
from the page cache: what is measured is the work of the formats, while `bytes_read_a_pair` says what a disk or a
network would have to carry; it is counted without mapping files to memory, which no counter sees. Opening is measured
on sets of tiny shards, against `datasets` streaming the same folder.

Engines: 16 tasks that import this package's reader, as 16 processes (what a Slurm array starts) and as 16 Ray tasks.
The scheduler's own queue is not measured. Ray is installed into a throwaway folder and is no dependency.

`conclude` decides from the numbers, between Parquet and WebDataset's stream. No number shows checksums, and a folder
that `load_dataset` and the Hub's viewer open. `tar_indexed` fetches the 8 frames that are wanted where a row group
brings all 64: where storage and not decoding limits a run, it is the change to make.

On a machine that others use too (`load_average`), seconds depend on the minute: ratios are medians of runs beside each
other, with their range, and a process is also given in processor seconds.
"""

import io
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import venv
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from benchmarks.measure import machine
from benchmarks.render import RESULTS
from micron_bert_hf.data.clip_frames import JPEG_OPTIONS
from micron_bert_hf.data.clip_set import ClipIndex, ClipShard, ClipShardWriter, shard_names, write_clip_card
from micron_bert_hf.synthetic import generate_micro_expressions


SEED = 0
NUM_SHARDS, CLIPS_A_SHARD, FRAMES_A_CLIP, PAIRS_A_CLIP = 4, 8, 64, 4
NUM_FACES, IMAGE_SIZE = 4, 224
# of 255; a camera's noise, without which JPEG files of drawn faces would be too small
NOISE = 2.0
RUNS = 5
RANDOM_CLIPS = 24
SET_SIZES = (10, 1_000, 10_000)
OPENINGS = 2
# Less than this much faster is no reason to change the format (ours: what runs on a shared machine differ by).
TOLERANCE = 1.10
NUM_TASKS = 16
INSTALL_SECONDS = 180
SOURCE = Path(__file__).parent.parent / "src"


# ---------------------------------------------------------------------------------------------------- the same frames


def encoded_clips() -> list[list[bytes]]:
    """Clips of encoded frames: each goes from onset to apex and back, with noise of its own in every frame."""
    noise = np.random.default_rng(SEED)
    faces = list(generate_micro_expressions(NUM_FACES, 1, IMAGE_SIZE, 0.2, SEED, classes=("surprise",)))
    clips = []
    for number in range(NUM_SHARDS * CLIPS_A_SHARD):
        onset, apex = (faces[number % NUM_FACES][name].astype(np.float32) for name in ("onset", "apex"))
        frames = []
        for index in range(FRAMES_A_CLIP):
            share = np.sin(np.pi * index / (FRAMES_A_CLIP - 1))
            frame = onset + share * (apex - onset) + noise.normal(0.0, NOISE, onset.shape).astype(np.float32)
            file = io.BytesIO()
            Image.fromarray(np.clip(frame, 0, 255).astype(np.uint8)).save(file, "JPEG", **JPEG_OPTIONS)
            frames.append(file.getvalue())
        clips.append(frames)
    return clips


def write_parquet(folder: Path, clips: Sequence[list[bytes]]) -> list[Path]:
    """Our shards, without index and card."""
    paths = [folder / Path(name).name for name in shard_names(NUM_SHARDS)]
    for number, path in enumerate(paths):
        with ClipShardWriter(path) as writer:
            for clip in range(number * CLIPS_A_SHARD, (number + 1) * CLIPS_A_SHARD):
                writer.write(f"{clip:06d}", f"s{clip % NUM_FACES}", "noisy", 100.0, clips[clip])
    return paths


def write_tar(folder: Path, clips: Sequence[list[bytes]]) -> list[Path]:
    """WebDataset shards: everything up to a name's first dot is the sample; and `.json` with where each frame lies."""
    paths = [folder / f"train-{number:05d}.tar" for number in range(NUM_SHARDS)]
    for number, path in enumerate(paths):
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
            for clip in range(number * CLIPS_A_SHARD, (number + 1) * CLIPS_A_SHARD):
                about = json.dumps({"subject_id": f"s{clip % NUM_FACES}", "dataset": "noisy", "fps": 100.0}).encode()
                members = [("json", about)] + [(f"{index:02d}.jpg", frame) for index, frame in enumerate(clips[clip])]
                for extension, content in members:
                    member = tarfile.TarInfo(f"{clip:06d}.{extension}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
        with tarfile.open(path) as tar:
            images = [[m.offset_data, m.size] for m in tar.getmembers() if m.name.endswith(".jpg")]
        places = [images[start : start + FRAMES_A_CLIP] for start in range(0, len(images), FRAMES_A_CLIP)]
        path.with_suffix(".json").write_text(json.dumps(places))
    return paths


# ------------------------------------------------------------------------------------------------ one epoch of pairs


def draw_pairs(draw: random.Random) -> list[tuple[int, int]]:
    """Two different frames, `PAIRS_A_CLIP` times."""
    return [tuple(draw.sample(range(FRAMES_A_CLIP), 2)) for _ in range(PAIRS_A_CLIP)]


class UnmappedShard(ClipShard):
    """Our reader, by system calls, which can be counted."""

    def __init__(self, path: Path):
        self.path = path
        self.file = self.trusted = pq.ParquetFile(path, page_checksum_verification=True)


def parquet_epoch(
    paths: Sequence[Path], draw: random.Random, is_trusted: bool = False, reader: type[ClipShard] = ClipShard
) -> Iterator[tuple[bytes, bytes]]:
    """Pairs of encoded frames; clips in an order shuffled over all shards."""
    shards = [reader(path) for path in paths]
    order = [(shard, clip) for shard in shards for clip in range(CLIPS_A_SHARD)]
    draw.shuffle(order)
    for shard, number in order:
        clip = shard.read(number, is_trusted)
        for first, second in draw_pairs(draw):
            yield clip.frame(first), clip.frame(second)
    for shard in shards:
        shard.close()


def streamed_clips(path: Path) -> Iterator[list[bytes]]:
    """The clips of a tar from front to end."""
    with tarfile.open(path, "r|*") as tar:
        frames: list[bytes] = []
        for member in tar:
            content = tar.extractfile(member).read()
            if member.name.endswith(".jpg"):
                frames.append(content)
            if len(frames) == FRAMES_A_CLIP:
                yield frames
                frames = []


def tar_stream_epoch(paths: Sequence[Path], draw: random.Random) -> Iterator[tuple[bytes, bytes]]:
    """The same; the order is shuffled over shards only."""
    for path in draw.sample(paths, len(paths)):
        for frames in streamed_clips(path):
            for first, second in draw_pairs(draw):
                yield frames[first], frames[second]


class IndexedTar:
    """Single frames of a tar, by the index beside it."""

    def __init__(self, path: Path):
        self.places = json.loads(path.with_suffix(".json").read_text())
        self.file = path.open("rb", buffering=0)

    def frame(self, clip: int, index: int) -> bytes:
        offset, size = self.places[clip][index]
        return os.pread(self.file.fileno(), size, offset)

    def close(self) -> None:
        self.file.close()


def tar_indexed_epoch(paths: Sequence[Path], draw: random.Random) -> Iterator[tuple[bytes, bytes]]:
    """The same; clips in an order shuffled over all shards."""
    shards = [IndexedTar(path) for path in paths]
    order = [(shard, clip) for shard in shards for clip in range(CLIPS_A_SHARD)]
    draw.shuffle(order)
    for shard, number in order:
        for first, second in draw_pairs(draw):
            yield shard.frame(number, first), shard.frame(number, second)
    for shard in shards:
        shard.close()


def parquet_clip(path: Path, number: int, is_trusted: bool = False) -> list[bytes]:
    """All frames of one clip, from a shard that is not open."""
    shard = ClipShard(path)
    clip = shard.read(number, is_trusted)
    frames = [clip.frame(index) for index in range(len(clip))]
    shard.close()
    return frames


def tar_stream_clip(path: Path, number: int) -> list[bytes]:
    """The same: everything before it is read too."""
    return next(frames for position, frames in enumerate(streamed_clips(path)) if position == number)


def tar_indexed_clip(path: Path, number: int) -> list[bytes]:
    """The same, by the index."""
    tar = IndexedTar(path)
    frames = [tar.frame(number, index) for index in range(FRAMES_A_CLIP)]
    tar.close()
    return frames


def decode(frame: bytes) -> np.ndarray:
    """`(H, W, 3)` uint8."""
    return np.asarray(Image.open(io.BytesIO(frame)).convert("RGB"))


EPOCHS: dict[str, Callable] = {
    "parquet": parquet_epoch,
    "parquet_unchecked": partial(parquet_epoch, is_trusted=True),
    "tar_stream": tar_stream_epoch,
    "tar_indexed": tar_indexed_epoch,
}
CLIPS: dict[str, Callable] = {
    "parquet": parquet_clip,
    "parquet_unchecked": partial(parquet_clip, is_trusted=True),
    "tar_stream": tar_stream_clip,
    "tar_indexed": tar_indexed_clip,
}
# The same; of Parquet as many bytes are read with checksums and without.
COUNTED: dict[str, Callable] = {
    **EPOCHS,
    "parquet": partial(parquet_epoch, reader=UnmappedShard),
    "parquet_unchecked": partial(parquet_epoch, reader=UnmappedShard),
}


def measure_formats(folder: Path) -> dict[str, dict]:
    """Bytes a frame, pairs a second and milliseconds to a clip, of each format. Medians of interleaved runs."""
    clips = encoded_clips()
    (folder / "parquet").mkdir()
    (folder / "tar").mkdir()
    tars = write_tar(folder / "tar", clips)
    ours = write_parquet(folder / "parquet", clips)
    shards = {"parquet": ours, "parquet_unchecked": ours, "tar_stream": tars, "tar_indexed": tars}
    num_frames = NUM_SHARDS * CLIPS_A_SHARD * FRAMES_A_CLIP
    num_pairs = NUM_SHARDS * CLIPS_A_SHARD * PAIRS_A_CLIP
    rows: dict[str, dict] = {}
    for name, paths in shards.items():
        extra = [path.with_suffix(".json") for path in paths] if name == "tar_indexed" else []
        rows[name] = {
            "bytes_a_frame": sum(path.stat().st_size for path in [*paths, *extra]) / num_frames,
            "jpeg_bytes_a_frame": sum(map(len, sum(clips, []))) / num_frames,
        }
        if CLIPS[name](paths[1], 3) != clips[CLIPS_A_SHARD + 3]:
            raise ValueError(f"{name} gave back other frames than were written.")
        before = _bytes_read()
        for _ in COUNTED[name](paths, random.Random(SEED)):
            pass
        rows[name]["bytes_read_a_pair"] = (_bytes_read() - before) / num_pairs

    seconds: dict[tuple[str, str], list[float]] = {}
    for run in range(RUNS):
        for name, paths in shards.items():
            start = time.perf_counter()
            for _ in EPOCHS[name](paths, random.Random(run)):
                pass
            read = time.perf_counter()
            for first, second in EPOCHS[name](paths, random.Random(run)):
                decode(first), decode(second)
            seconds.setdefault((name, "pairs_a_second_reading"), []).append(read - start)
            seconds.setdefault((name, "pairs_a_second_decoding"), []).append(time.perf_counter() - read)
    for (name, what), measured in seconds.items():
        rows[name][what] = num_pairs / statistics.median(measured)
        # of runs that lie beside each other: what a machine whose speed drifts leaves standing
        ratios = [theirs / own for theirs, own in zip(seconds["parquet", what], measured)]
        rows[name][f"{what}_of_parquet"] = statistics.median(ratios)
        rows[name][f"{what}_of_parquet_range"] = [min(ratios), max(ratios)]

    draw = random.Random(SEED)
    asked = [(draw.randrange(NUM_SHARDS), draw.randrange(CLIPS_A_SHARD)) for _ in range(RANDOM_CLIPS)]
    times: dict[str, list[float]] = {name: [] for name in shards}
    for shard, number in asked:
        for name, paths in shards.items():
            times[name].append(_seconds(partial(CLIPS[name], paths[shard], number)))
    for name, measured in times.items():
        rows[name]["random_clip_milliseconds"] = 1000 * statistics.median(measured)
    return rows


# ----------------------------------------------------------------------------------------------------- opening a set

OPEN_INDEX = """
import sys, time
from micron_bert_hf.data.clip_set import ClipIndex, ClipShard
start = time.perf_counter()
index = ClipIndex.load(sys.argv[1])
clip = ClipShard(f"{sys.argv[1]}/{index.shards[0]}").read(0)
found = clip.sample_id, len(clip)
print(time.perf_counter() - start, *found)
"""
# leaves without clean-up: with rows unread, threads of the stream that still run can abort the interpreter's own end
OPEN_DATASETS = """
import os, sys, time
from datasets import Image, List, load_dataset
start = time.perf_counter()
rows = load_dataset(sys.argv[1], split="train", streaming=True).cast_column("frames", List(Image(decode=False)))
row = next(iter(rows))
print(time.perf_counter() - start, row["sample_id"], len(row["frames"]), flush=True)
os._exit(0)
"""


def tiny_set(folder: Path, num_shards: int) -> None:
    """A finished set whose shards are one file under many names."""
    names = shard_names(num_shards)
    (folder / "data").mkdir(parents=True)
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG")
    with ClipShardWriter(folder / names[0]) as writer:
        writer.write("tiny", "s0", "tiny", 100.0, [file.getvalue()] * 2)
    for name in names[1:]:
        os.link(folder / names[0], folder / name)
    index = ClipIndex(tuple(names), (1,) * num_shards, 2 * num_shards, {"tiny": ["s0"]}, "0" * 16)
    write_clip_card(folder, "Tiny clips.", index)
    index.save(folder)


def measure_opening(folder: Path) -> list[dict[str, float]]:
    """Seconds from the path to the first clip in a fresh process, imports not counted; the least of `OPENINGS`."""
    rows = []
    for num_shards in SET_SIZES:
        tiny_set(folder / str(num_shards), num_shards)
        row: dict[str, float] = {"num_shards": num_shards}
        for name, program in (("clip_index_seconds", OPEN_INDEX), ("datasets_streaming_seconds", OPEN_DATASETS)):
            times = []
            for _ in range(OPENINGS):
                printed = _run([sys.executable, "-c", program, str(folder / str(num_shards))], folder).split()
                if printed[1:] != ["tiny", "2"]:
                    raise ValueError(f"Expected the tiny clip of 2 frames, got {printed[1:]}.")
                times.append(float(printed[0]))
            row[name] = min(times)
        rows.append(row)
    return rows


# ----------------------------------------------------------------------------------------------------------- engines

RAY_TASKS = """
import json, sys, time
start = time.perf_counter()
import ray
ray.init(num_cpus=int(sys.argv[1]), include_dashboard=False, log_to_driver=False)
started = time.perf_counter()

@ray.remote(num_cpus=1)
def task(number, folders):
    import sys
    sys.path += [folder for folder in folders if folder not in sys.path]
    import micron_bert_hf.data.clip_set
    return number

def run():
    begin = time.perf_counter()
    done = ray.get([task.remote(number, sys.argv[3:]) for number in range(int(sys.argv[2]))])
    if sorted(done) != list(range(int(sys.argv[2]))):
        raise ValueError(f"tasks are missing: {done}")
    return time.perf_counter() - begin

first, again = run(), run()
stop = time.perf_counter()
ray.shutdown()
print(json.dumps({
    "start_seconds": started - start,
    "first_tasks_seconds": first,
    "further_tasks_seconds": again,
    "stop_seconds": time.perf_counter() - stop,
    "version": ray.__version__,
}))
"""


def measure_processes(folder: Path, num_processors: int) -> dict[str, float]:
    """
    `NUM_TASKS` fresh interpreters that import the reader, as many at a time as there are processors; and the same that
    import nothing.
    """
    seconds, processor_seconds = {}, {}
    with ThreadPoolExecutor(num_processors) as pool:
        for program in ("pass", "import micron_bert_hf.data.clip_set"):
            commands = [[sys.executable, "-c", program]] * NUM_TASKS
            start, before = time.perf_counter(), _processor_seconds_of_children()
            list(pool.map(partial(_run, folder=folder), commands))
            seconds[program] = time.perf_counter() - start
            processor_seconds[program] = _processor_seconds_of_children() - before
    total = seconds["import micron_bert_hf.data.clip_set"]
    return {
        "total_seconds": total,
        "seconds_a_task": total / NUM_TASKS,
        "processor_seconds_a_task": processor_seconds["import micron_bert_hf.data.clip_set"] / NUM_TASKS,
        "processor_seconds_a_task_without_imports": processor_seconds["pass"] / NUM_TASKS,
        "installed_megabytes": 0.0,
    }


def measure_ray(folder: Path, num_processors: int) -> dict[str, float | str]:
    """The same in Ray, start and stop included; or why it was not measured."""
    venv.create(folder, with_pip=True)
    bare = _megabytes(folder)
    python = folder / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "ray"]
    try:
        install_seconds = _seconds(lambda: _run(install, folder, INSTALL_SECONDS))
    except subprocess.TimeoutExpired:
        return {"not_measured": f"pip did not finish installing ray within {INSTALL_SECONDS} s"}
    except subprocess.CalledProcessError as error:
        return {"not_measured": f"pip could not install ray: {error.stderr.strip().splitlines()[-1]}"}
    # the tasks' packages are those of this environment: Ray's own would have to be kept in step with them
    folders = [str(SOURCE), str(Path(np.__file__).parent.parent)]
    command = [str(python), "-c", RAY_TASKS, str(num_processors), str(NUM_TASKS), *folders]
    measured = json.loads(_run(command, folder, INSTALL_SECONDS).splitlines()[-1])
    total = measured["start_seconds"] + measured["first_tasks_seconds"] + measured["stop_seconds"]
    return {
        "total_seconds": total,
        "seconds_a_task": measured["first_tasks_seconds"] / NUM_TASKS,
        "seconds_a_further_task": measured["further_tasks_seconds"] / NUM_TASKS,
        "start_seconds": measured["start_seconds"],
        "stop_seconds": measured["stop_seconds"],
        "install_seconds": install_seconds,
        "installed_megabytes": _megabytes(folder) - bare,
        "version": measured["version"],
    }


# -------------------------------------------------------------------------------------------------------- conclusion

MEASURES = {
    "bytes_a_frame": "fewer bytes on disk",
    "bytes_read_a_pair": "fewer bytes read a pair",
    "pairs_a_second_reading": "more encoded pairs a second",
    "pairs_a_second_decoding": "more decoded pairs a second",
    "random_clip_milliseconds": "less time to one clip",
}


def conclude(formats: dict, opening: Sequence[dict], engines: dict) -> dict:
    """
    What the numbers say.

    Returns:
        `keep`: of Parquet and WebDataset's stream, the one with more decoded pairs a second, Parquet within
        `TOLERANCE`; `faster_than_kept`: formats that decode more than `TOLERANCE` times its pairs; `tar_wins` and
        `parquet_wins`: each measure with its ratio, above 1; `opening` and `engine`: a sentence each.
    """
    tar_wins, parquet_wins = [], []
    for tar in ("tar_stream", "tar_indexed"):
        for measure, words in MEASURES.items():
            if measure.startswith("pairs"):
                ratio = formats[tar][f"{measure}_of_parquet"]
            else:
                ratio = formats["parquet"][measure] / formats[tar][measure]
            if ratio > 1:
                tar_wins.append(f"{tar}: {words}, {ratio:.3g} times")
            elif ratio < 1:
                parquet_wins.append(f"against {tar}: {words}, {1 / ratio:.3g} times")
    decoded = {name: row["pairs_a_second_decoding_of_parquet"] for name, row in formats.items()}
    keep = "tar_stream" if decoded["tar_stream"] > TOLERANCE else "parquet"
    faster = {name: ratio / decoded[keep] for name, ratio in decoded.items() if ratio > TOLERANCE * decoded[keep]}
    largest = opening[-1]
    return {
        "keep": keep,
        "faster_than_kept": faster,
        "tar_wins": tar_wins,
        "parquet_wins": parquet_wins,
        "opening": (
            f"{largest['num_shards']} shards: {1000 * largest['clip_index_seconds']:.0f} ms by the index,"
            f" {1000 * largest['datasets_streaming_seconds']:.0f} ms by datasets streaming"
        ),
        "engine": _engine_sentence(engines),
    }


def _engine_sentence(engines: dict) -> str:
    processes, ray = engines["processes"], engines["ray"]
    cost, bare = processes["processor_seconds_a_task"], processes["processor_seconds_a_task_without_imports"]
    share = cost / (600 + cost)
    process = (
        f"a process costs {cost:.1f} s of processor time, {bare:.2f} s without importing this package; that is"
        f" {share:.1%} of a task of ten minutes"
    )
    if "not_measured" in ray:
        return f"{process}; ray: {ray['not_measured']}"
    quicker = "processes are" if processes["total_seconds"] <= ray["total_seconds"] else "Ray is"
    return (
        f"{quicker} quicker at {NUM_TASKS} empty tasks: {processes['total_seconds']:.1f} s as processes,"
        f" {ray['total_seconds']:.1f} s in Ray, start and stop included; Ray adds {ray['installed_megabytes']:.0f} MB,"
        f" a further task in its running workers takes {1000 * ray['seconds_a_further_task']:.1f} ms; {process}"
    )


def _seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def _processor_seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _run(command: Sequence[str], folder: Path, limit: float = 300.0) -> str:
    # a home in the folder: nothing is taken from the user's cache of data sets, or left in it
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hf_home")}
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=limit, env=environment, cwd=folder
    )
    return done.stdout


def _bytes_read() -> int:
    """What this process has read by system calls so far (Linux)."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("rchar"))


def _megabytes(folder: Path) -> float:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def main() -> None:
    num_processors = len(os.sched_getaffinity(0))
    folder = Path(tempfile.mkdtemp(prefix="clip_formats_"))
    try:
        formats = measure_formats(folder)
        opening = measure_opening(folder / "sets")
        engines = {
            "num_tasks": NUM_TASKS,
            "at_a_time": num_processors,
            "processes": measure_processes(folder, num_processors),
            "ray": measure_ray(folder / "ray", num_processors),
        }
    finally:
        shutil.rmtree(folder)
    results = {
        "machine": {**machine(), "seed": SEED, "processors": num_processors, "load_average": os.getloadavg()[0]},
        "data": {
            "num_shards": NUM_SHARDS,
            "clips_a_shard": CLIPS_A_SHARD,
            "frames_a_clip": FRAMES_A_CLIP,
            "pairs_a_clip": PAIRS_A_CLIP,
            "image_size": IMAGE_SIZE,
            "jpeg": JPEG_OPTIONS,
            "read_from": "page cache",
        },
        "formats": formats,
        "opening": opening,
        "engines": engines,
        "conclusion": conclude(formats, opening, engines),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "clip_formats.json").write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
