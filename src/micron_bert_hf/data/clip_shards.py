"""One shard of a set of clips, from its sources to its record, and many shards in worker processes.

A shard is finished when its record is there, which is written after it and says its size. Whoever writes a shard holds
its lock meanwhile.
"""

import contextlib
import errno
import hashlib
import json
import multiprocessing
import os
import tempfile
import threading
import time
import uuid
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any


try:
    import fcntl
except ImportError:  # Windows, where two runs into one folder are not kept apart
    fcntl = None

from tqdm.auto import tqdm

from .clip_frames import PreparationOptions, open_source
from .clip_set import UNFINISHED, ClipShardWriter, shard_names
from .clip_sources import Quarantined, Source, cut_runs


WORK_FOLDER, LOCKS_NAME, RECORD_PATTERN = "prepared", "locks", "shard-{number:05d}.json"
# Ours: encoded frames of one sequence in memory; those of a longer one wait on disk for the sequence's end, when its
# most common size and the lengths between its gaps are known.
_SPOOL_BYTES = 64 * 2**20
# Ours: a worker of a killed run ends within a second of it.
_LOCK_SECONDS = 5.0
_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class ShardJob:
    source_dir: Path
    output_dir: Path
    sources: tuple[Source, ...]
    options: PreparationOptions
    number: int
    num_shards: int
    fingerprint: str


def prepare_shard(job: ShardJob, count_sequence: Callable[[], None]) -> None:
    """Write a shard, then its record; nothing if another process is writing it or has written it."""
    with locked(job.output_dir, job.number) as is_ours:
        if not is_ours or read_record(job.output_dir, job.number, job.num_shards, job.fingerprint) is not None:
            return
        started = time.monotonic()
        path = job.output_dir / shard_names(job.num_shards)[job.number]
        quarantined: list[Quarantined] = []
        subjects: set[str] = set()
        digest = hashlib.sha256()
        with ClipShardWriter(path) as writer, warnings.catch_warnings():
            # what PIL warns of is decoded or refused, and a million frames give many warnings
            warnings.simplefilter("ignore")
            for source in job.sources:
                for sample_id, fps, frames in _source_clips(job, source, quarantined):
                    subject_id = source.subject_id(job.options.subject_level, job.source_dir.name)
                    writer.write(sample_id, subject_id, job.options.dataset, fps, frames)
                    subjects.add(subject_id)
                    digest.update(json.dumps([sample_id, subject_id, job.options.dataset, fps, len(frames)]).encode())
                    for frame in frames:
                        digest.update(hashlib.sha256(frame).digest())
                count_sequence()
        record = {
            "preparation": job.fingerprint,
            "num_clips": writer.num_clips,
            "num_frames": writer.num_frames,
            "subjects": sorted(subjects),
            "quarantined": [asdict(item) for item in quarantined],
            "fingerprint": digest.hexdigest()[:16],
            "seconds": round(time.monotonic() - started, 3),
            "bytes": path.stat().st_size,
        }
        write_text(_record_path(job.output_dir, job.number), json.dumps(record, indent=2) + "\n")


def _source_clips(
    job: ShardJob, source: Source, quarantined: list[Quarantined]
) -> Iterator[tuple[str, float, list[bytes]]]:
    """
    The clips of one source, as `(sample_id, fps, encoded frames)`. How it is cut is known only at its end, since any
    frame may turn out to be bad or of another size than most: until then the encoded frames wait in a spool.
    """

    def refuse(path: str, reason: str) -> None:
        quarantined.append(Quarantined(path, reason))

    sequence = open_source(job.source_dir, source, job.options, refuse)
    if sequence is None:
        return
    spool_folder = job.output_dir / WORK_FOLDER
    with tempfile.SpooledTemporaryFile(_SPOOL_BYTES, suffix=UNFINISHED, dir=spool_folder) as spool:
        kept, places = [], []
        for frame in sequence.frames:
            places.append((spool.tell(), len(frame.content)))
            spool.write(frame.content)
            kept.append(replace(frame, content=b""))
        sizes = Counter(frame.size for frame in kept)
        width, height = max(sizes, key=sizes.get, default=(0, 0))  # of equally common ones that which came first
        for frame in kept:
            if frame.size != (width, height):
                own = "{} x {}".format(*frame.size)
                refuse(frame.path, f"{frame.label}{own} pixels, but its sequence has {width} x {height}")
        chosen = [i for i, frame in enumerate(kept) if frame.size == (width, height)]
        pieces = cut_runs([kept[i].number for i in chosen], sequence.step, job.options.clip_frames)
        for piece in pieces:
            if len(piece) == 1:
                frame = kept[chosen[piece[0]]]
                refuse(frame.path, f"{frame.label}no neighbour to make a pair with")
        pieces = [piece for piece in pieces if len(piece) > 1]
        for number, piece in enumerate(pieces):
            frames = []
            for i in piece:
                offset, length = places[chosen[i]]
                spool.seek(offset)
                frames.append(spool.read(length))
            yield _piece_name(source.sample_id, number, len(pieces)), sequence.fps, frames


def _piece_name(sample_id: str, number: int, count: int) -> str:
    """`a` or, cut, `a#0`, `a#1`; a source that is itself called `a#1` always has a second suffix: names are unique."""
    tail = sample_id.rpartition("#")[2]
    is_ambiguous = tail != sample_id and tail.isdecimal()
    return f"{sample_id}#{number}" if count > 1 or is_ambiguous else sample_id


# ------------------------------------------------------------------------------------------------------ all shards


def run_shards(jobs: Sequence[ShardJob], num_processes: int, progress: bool) -> None:
    num_sequences = sum(len(job.sources) for job in jobs)
    with tqdm(total=num_sequences, unit="sequence", desc="Preparing", disable=not progress or not jobs) as bar:
        if num_processes == 1 or len(jobs) < 2:
            for job in jobs:
                prepare_shard(job, bar.update)
        else:
            _run_in_workers(jobs, min(num_processes, len(jobs)), bar)


def _run_in_workers(jobs: Sequence[ShardJob], num_processes: int, bar: tqdm) -> None:
    context = multiprocessing.get_context("spawn")
    done_sequences = context.Value("q", 0)
    executor = ProcessPoolExecutor(
        num_processes, mp_context=context, initializer=_start_worker, initargs=(done_sequences,)
    )
    try:
        pending = {executor.submit(_work, job) for job in jobs}
        while pending:
            done, pending = wait(pending, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()  # raises what the worker raised
            bar.update(done_sequences.value - bar.n)
    except BrokenProcessPool as error:
        raise ChildProcessError(
            "a worker process was ended from outside, perhaps for lack of memory; what is finished is kept: run again"
        ) from error
    finally:
        executor.shutdown(cancel_futures=True)


# The counter of a worker process, set when it starts; never in the caller's process.
_done_sequences: Any = None


def _end_with_parent() -> None:
    """A parent that is killed cannot stop its workers, which would hold their shards' locks and wait for ever."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _start_worker(done_sequences: Any) -> None:
    global _done_sequences
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _done_sequences = done_sequences


def _count_sequence() -> None:
    with _done_sequences.get_lock():
        _done_sequences.value += 1


def _work(job: ShardJob) -> None:
    prepare_shard(job, _count_sequence)


@contextlib.contextmanager
def locked(output_dir: Path, number: int) -> Iterator[bool]:
    """
    Hold one byte of the file of locks: the shard's, or the one after all shards' for what closes the set. Unlike
    `flock` it holds between machines, on file systems that have locks at all; on others two runs are not kept apart.

    Yields:
        Whether it is held by us; not if another process holds it for longer than a killed one takes to end.
    """
    if fcntl is None:
        yield True
        return
    deadline = time.monotonic() + _LOCK_SECONDS
    # Closing any descriptor of a file ends all its process's locks on it: a process holds one at a time.
    with open(output_dir / WORK_FOLDER / LOCKS_NAME, "ab") as file:
        while True:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
            except OSError as error:
                if error.errno in (errno.EACCES, errno.EAGAIN):
                    if time.monotonic() < deadline:
                        time.sleep(_POLL_SECONDS)
                        continue
                    yield False
                    return
            yield True
            return


def _record_path(output_dir: Path, number: int) -> Path:
    return output_dir / WORK_FOLDER / RECORD_PATTERN.format(number=number)


def read_record(output_dir: Path, number: int, num_shards: int, fingerprint: str) -> dict[str, Any] | None:
    """The record of a shard that is finished and there, `None` of any other."""
    record = read_json(_record_path(output_dir, number))
    if record is None or record.get("preparation") != fingerprint:
        return None
    try:
        size = (output_dir / shard_names(num_shards)[number]).stat().st_size
    except FileNotFoundError:
        return None
    return record if size == record["bytes"] else None


def read_json(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def write_text(path: Path, text: str) -> None:
    """Whole or not at all; machines that write the same file at once do not meet in the temporary one."""
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}{UNFINISHED}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
