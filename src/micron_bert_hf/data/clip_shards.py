"""One shard of a set of clips, from its sources to its record, and many shards in worker processes.

A shard is finished when its record is there, which is written after it and says its size. Whoever writes a shard holds
its lock meanwhile.
"""

import hashlib
import json
import os
import tempfile
import time
import uuid
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from ..locks import file_lock
from ..worker_processes import run_jobs
from .clip_frames import PreparationOptions, open_source
from .clip_set import UNFINISHED, ClipShardWriter, shard_names
from .clip_sources import Quarantined, Source, cut_runs, readable


WORK_FOLDER, LOCKS_NAME, RECORD_PATTERN = "prepared", "locks", "shard-{number:05d}.json"
# Ours: encoded frames of one sequence in memory; those of a longer one wait on disk for the sequence's end, when its
# most common size and the lengths between its gaps are known. The disk needs room for the longest sequence, encoded,
# once for each process.
_SPOOL_BYTES = 64 * 2**20
# Ours: a worker of a killed run ends within a second of it.
LOCK_SECONDS = 5.0


@dataclass(frozen=True)
class ShardJob:
    source_dir: Path
    output_dir: Path
    sources: tuple[Source, ...]
    options: PreparationOptions
    number: int
    num_shards: int
    fingerprint: str


def prepare_shard(job: ShardJob, count_sequence: Callable[[], None], wait_seconds: float) -> bool:
    """
    Write a shard, then its record, if no other process has.

    Args:
        wait_seconds (`float`): how long another process may hold the shard until it is left to it.

    Returns:
        Whether the shard is finished, not left to another.

    Raises:
        OSError: something that is not the source's fault; names the sequence. The shard is not finished.
    """
    with file_lock(lock_path(job.output_dir), job.number, 1, wait_seconds) as is_ours:
        if not is_ours:
            return False
        if read_record(job.output_dir, job.number, job.num_shards, job.fingerprint) is not None:
            return True
        started = time.monotonic()
        path = job.output_dir / shard_names(job.num_shards)[job.number]
        quarantined: list[Quarantined] = []
        subjects: set[str] = set()
        digest = hashlib.sha256()
        with ClipShardWriter(path) as writer, warnings.catch_warnings():
            # what PIL warns of is decoded or refused, and a million frames give many warnings
            warnings.simplefilter("ignore")
            for source in job.sources:
                subject_id = source.subject_id(job.options.subject_level, job.source_dir.name)
                try:
                    for sample_id, fps, frames in _source_clips(job, source, quarantined):
                        about = [sample_id, subject_id, job.options.dataset, fps]
                        writer.write(*about, frames)
                        subjects.add(subject_id)
                        digest.update(json.dumps([*about, len(frames)]).encode())
                        for frame in frames:
                            digest.update(hashlib.sha256(frame).digest())
                except (OSError, MemoryError) as error:
                    raise OSError(
                        f"shard {job.number} is not finished, the run stopped at {source.sample_id}:"
                        f" {str(error) or 'out of memory'}; what is finished is kept: run again"
                    ) from error
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
        return True


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
        fps, step = sequence.timing()
        if kept and fps is None:
            refuse(readable(source.path), "its frame rate is not known, and no `fps` was given")
            return
        sizes = Counter(frame.size for frame in kept)
        width, height = max(sizes, key=sizes.get, default=(0, 0))  # of equally common ones that which came first
        for frame in kept:
            if frame.size != (width, height):
                own = "{} x {}".format(*frame.size)
                refuse(frame.path, f"{frame.label}{own} pixels, but its sequence has {width} x {height}")
        chosen = [i for i, frame in enumerate(kept) if frame.size == (width, height)]
        pieces = cut_runs([kept[i].number for i in chosen], step, job.options.clip_frames)
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
            yield _piece_name(source.sample_id, number, len(pieces)), fps, frames


def _piece_name(sample_id: str, number: int, count: int) -> str:
    """`a` or, cut, `a#0`, `a#1`; a source that is itself called `a#1` always has a second suffix: names are unique."""
    tail = sample_id.rpartition("#")[2]
    is_ambiguous = tail != sample_id and tail.isdecimal()
    return f"{sample_id}#{number}" if count > 1 or is_ambiguous else sample_id


# ------------------------------------------------------------------------------------------------------ all shards


def run_shards(jobs: Sequence[ShardJob], num_processes: int, progress: bool) -> None:
    """
    First what no other process holds, so that machines that start together share the work; then again what was held,
    since whoever held it may have been killed.
    """
    num_sequences = sum(len(job.sources) for job in jobs)
    with tqdm(total=num_sequences, unit="sequence", desc="Preparing", disable=not progress or not jobs) as bar:
        for wait_seconds in (0.0, LOCK_SECONDS):
            are_done = run_jobs(partial(prepare_shard, wait_seconds=wait_seconds), jobs, num_processes, bar.update)
            jobs = [job for job, is_done in zip(jobs, are_done) if not is_done]


def lock_path(output_dir: Path) -> Path:
    """The file of locks: a byte for each shard, and the one after all shards' for what closes the set."""
    return output_dir / WORK_FOLDER / LOCKS_NAME


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
