"""One shard of a converted set, from raw frames to rows on disk. What is in it depends on nothing but its samples.

A frame that cannot be read counts as one that is not there: the interval is settled anew without it, and the reason is
recorded. One sample is in memory at a time.
"""

import os
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from ..data.clip_frames import PreparationOptions, encode_frame, read_image, read_pixels
from ..data.clip_set import UNFINISHED
from ..data.clip_sources import cut_runs, order_frames
from ..faces import FaceAligner, Stabilizer, load_detector
from ..run_files import file_sha256, read_json, write_json
from .annotations import LEFT_OUT, Repair, settle_interval
from .database import Part, RawSample
from .raw_tree import RawTree
from .rows import face_fields, labelled_row, recording_row, row_schema


# Longest piece of unlabelled video, as `micron-bert prepare-clips` cuts it.
PIECE_FRAMES = 64
# Arrow's limit is 2 GiB for the frames of a row.
MAX_ROW_BYTES = 2**31 - 2**20
# Ours: other frames of a clip in which a face is looked for when the first has none.
NUM_FALLBACK_FRAMES = 4
IDENTITY_KEY = b"micron_bert_hf.conversion"


@dataclass(frozen=True)
class FrameOptions:
    """
    What decides the pixels of a converted set.

    Args:
        frames (`"pair"` or `"clip"`): onset and apex, or all from onset to offset, of a labelled set.
        image_size (`int`): side of an aligned face; of whole frames the shorter side, which is reduced to it where it
            is more and never enlarged.
        align (`bool`): find the face and put eyes, nose and mouth in one place.
        stabilize (`bool`): take the drift of the head against the onset out of an aligned clip.
        detector (`str`): of the face.
        encoding (`"png"` or `"jpeg"`): of frames that cannot keep their bytes.
    """

    frames: str
    image_size: int
    align: bool
    stabilize: bool
    detector: str
    encoding: str


@dataclass(frozen=True)
class ShardJob:
    """
    Args:
        path (`Path`): of the shard; its record is beside the shards' folder, see `record_path`.
        identity (`str`): of the conversion.
    """

    raw_folder: Path
    path: Path
    record_path: Path
    samples: tuple[RawSample, ...]
    part: Part
    options: FrameOptions
    identity: str


class UnreadableFrame(ValueError):
    def __init__(self, number: int, reason: str):
        super().__init__(reason)
        self.number, self.reason = number, reason


def read_record(job: ShardJob) -> dict[str, Any] | None:
    """What is known of a shard that is finished and there; `None` of any other."""
    record = read_json(job.record_path)
    if record is None or record["identity"] != job.identity:
        return None
    try:
        size = job.path.stat().st_size
    except FileNotFoundError:
        return None
    return record if size == record["num_bytes"] else None


def convert_shard(job: ShardJob, count: Callable[[], None]) -> dict[str, Any]:
    """
    Write a shard, then its record, if that is not there already; `count()` is called for each sample.

    Returns:
        The record: `num_rows`, `num_frames`, `repairs`, `subjects`, `classes` (of micro-expressions),
        `sha256`, `num_bytes`, `faces` (what was noted, `#` for numbers -> samples it is true of).
    """
    record = read_record(job)
    if record is not None:
        for _ in job.samples:
            count()
        return record
    schema = row_schema(job.part.kind)
    schema = schema.with_metadata({**schema.metadata, IDENTITY_KEY: job.identity.encode()})
    reader = SampleReader(job)
    temporary = job.path.with_name(job.path.name + UNFINISHED)
    totals: dict[str, Any] = {"num_rows": 0, "num_frames": 0, "subjects": set(), "classes": {}, "faces": {}}
    repairs: list[Repair] = []
    with (
        warnings.catch_warnings(),
        # frames are compressed already
        pq.ParquetWriter(
            temporary, schema, compression="none", use_dictionary=False, write_page_checksum=True
        ) as writer,
    ):
        warnings.simplefilter("ignore")  # what PIL warns of is decoded or refused
        for sample in job.samples:
            rows, found = reader.rows(sample)
            repairs += found
            for row in rows:
                writer.write_table(pa.Table.from_pylist([row], schema=schema))
                _add(totals, row, job.part.kind)
            count()
    os.replace(temporary, job.path)
    record = {
        "identity": job.identity,
        **totals,
        "subjects": sorted(totals["subjects"]),
        "repairs": [asdict(repair) for repair in repairs],
        "sha256": file_sha256(job.path),
        "num_bytes": job.path.stat().st_size,
    }
    write_json(job.record_path, record)
    return record


def _add(totals: dict[str, Any], row: Mapping[str, Any], kind: str) -> None:
    totals["num_rows"] += 1
    totals["num_frames"] += len(row["frames"])
    totals["subjects"].add(row["subject_id"])
    labels = [row["label"]] if kind == "labelled" else []
    labels += [item["label"] or item["kind"] for item in row.get("intervals", ()) if item["kind"] == "micro"]
    for label in labels:
        totals["classes"][label] = totals["classes"].get(label, 0) + 1
    face = row.get("face")
    for note in face["notes"] if face else ():
        kind_of_note = re.sub(r"\d+([.,]\d+)?", "#", note)  # the numbers are in the row
        totals["faces"].setdefault(kind_of_note, []).append(row["sample_id"])


class SampleReader:
    """Reads, aligns and encodes the frames of samples."""

    def __init__(self, job: ShardJob):
        self.job = job
        self.tree = RawTree(job.raw_folder)
        options = job.options
        self.preparation = PreparationOptions(image_size=options.image_size, encoding=options.encoding)
        self.aligner = (
            FaceAligner(load_detector(options.detector), image_size=options.image_size) if options.align else None
        )

    def rows(self, sample: RawSample) -> tuple[list[dict[str, Any]], list[Repair]]:
        """The rows that a sample gives, none if it is left out, and what had to be repaired."""
        files = sample.files
        if files.names is None:
            files = self.tree.frames(self.tree.root / files.folder)
        names = dict(files.names)
        about = (sample.sample_id, "frames")
        repairs = [
            Repair(*about, f"{files.folder}/{name}", "not there", "frames", "no number of its own in its name")
            for name in files.unused
        ]
        while True:
            try:
                rows, found = self._rows_of(sample, names)
                return rows, [*repairs, *found]
            except UnreadableFrame as error:
                name = names.pop(error.number)
                repairs.append(Repair(*about, f"{files.folder}/{name}", "not there", "unreadable", error.reason))

    def _rows_of(self, sample: RawSample, names: Mapping[int, str]) -> tuple[list[dict[str, Any]], list[Repair]]:
        numbers = sorted(names)
        if self.job.part.kind == "unlabelled":
            return self._pieces(sample, names, numbers)
        settled, repairs = [], []
        for annotation in sample.annotations:
            interval, found = settle_interval(annotation, numbers, needs_apex=self.job.part.kind == "labelled")
            repairs += found
            if interval is not None:
                settled.append((annotation, interval))
        if self.job.part.kind == "labelled":
            if not settled:
                return [], repairs
            annotation, interval = settled[0]
            wanted = [interval.onset, interval.apex] if self.job.options.frames == "pair" else list(interval.numbers)
            frames, face = self._frames(sample, names, wanted, interval.numbers)
            return [labelled_row(sample, self.job.part, interval, frames, face)], repairs
        if len(numbers) < 2:
            reason = f"{len(numbers)} frames can be read; expected two or more"
            return [], [*repairs, Repair(sample.sample_id, "sample", "", LEFT_OUT, "sample", reason)]
        frames, face = self._frames(sample, names, numbers, numbers)
        return [recording_row(sample, self.job.part, settled, frames, face)], repairs

    def _pieces(
        self, sample: RawSample, names: Mapping[int, str], numbers: Sequence[int]
    ) -> tuple[list[dict[str, Any]], list[Repair]]:
        """Unlabelled video, cut at gaps in its numbers; each piece is aligned by itself."""
        _, _, step = order_frames(list(names.values()))
        rows, repairs = [], []
        for piece in cut_runs(numbers, step, PIECE_FRAMES):
            wanted = [numbers[place] for place in piece]
            if len(wanted) < 2:
                about = (sample.sample_id, "frames", names[wanted[0]], LEFT_OUT)
                repairs.append(Repair(*about, "frames", "no neighbour to make a pair with"))
                continue
            frames, _ = self._frames(sample, names, wanted, wanted)
            rows.append(
                {
                    "sample_id": f"{sample.sample_id}#{wanted[0]}",
                    "subject_id": sample.subject_id,
                    "dataset": self.job.part.dataset,
                    "fps": self.job.part.fps,
                    "frames": [{"bytes": content, "path": None} for content in frames.values()],
                }
            )
        if not rows:
            repairs.append(Repair(sample.sample_id, "sample", "", LEFT_OUT, "sample", "no two consecutive frames"))
        return rows, repairs

    def _frames(
        self, sample: RawSample, names: Mapping[int, str], wanted: Sequence[int], inside: Sequence[int]
    ) -> tuple[dict[int, bytes], dict[str, Any] | None]:
        """
        Encoded frames by their numbers, and how their face was aligned.

        Args:
            wanted: numbers, the first of which is the reference.
            inside: numbers in which a face may be looked for if the reference has none.

        Raises:
            UnreadableFrame
            ValueError: they are more than a row can hold.
        """
        folder = self.job.raw_folder / sample.files.folder
        if self.aligner is None:
            frames, face, sizes = {}, None, {}
            for number in wanted:
                try:
                    frames[number], sizes[number] = read_image(folder / names[number], self.preparation)
                except ValueError as error:
                    raise UnreadableFrame(number, str(error)) from error
                _check_size(number, sizes[number], sizes[wanted[0]])
        else:
            frames, face = self._aligned_frames(folder, names, wanted, inside)
        num_bytes = sum(map(len, frames.values()))
        if num_bytes > MAX_ROW_BYTES:
            raise ValueError(
                f"{sample.sample_id}: {len(frames)} frames take {num_bytes} bytes, more than a row can hold"
                f" ({MAX_ROW_BYTES}); give a smaller image size or the encoding jpeg"
            )
        return frames, face

    def _aligned_frames(
        self, folder: Path, names: Mapping[int, str], wanted: Sequence[int], inside: Sequence[int]
    ) -> tuple[dict[int, bytes], dict[str, Any]]:
        reference = self._pixels(folder, names, wanted[0])
        places = np.linspace(0, len(inside) - 1, NUM_FALLBACK_FRAMES + 1).round().astype(int)
        others = [inside[place] for place in dict.fromkeys(places.tolist()) if inside[place] != wanted[0]]
        alignment = self.aligner.find(
            reference, fallback_frames=((f"frame {number}", self._pixels(folder, names, number)) for number in others)
        )
        stabilizer = Stabilizer(self.aligner, alignment, reference) if self.job.options.stabilize else None
        frames: dict[int, bytes] = {}
        num_unsteady = 0
        for number in wanted:
            pixels = reference if number == wanted[0] else self._pixels(folder, names, number)
            _check_size(number, pixels.shape[1::-1], reference.shape[1::-1])
            if stabilizer is None:
                aligned = self.aligner.warp(pixels, alignment)
            else:
                aligned, drift = stabilizer.stabilize(pixels)
                num_unsteady += not drift.is_trusted
            try:
                frames[number] = encode_frame(Image.fromarray(aligned), self.preparation)
            except ValueError as error:
                raise UnreadableFrame(number, str(error)) from error
        notes = [f"{num_unsteady} of {len(wanted)} frames could not be held still"] if num_unsteady else []
        return frames, face_fields(alignment, notes)

    def _pixels(self, folder: Path, names: Mapping[int, str], number: int) -> np.ndarray:
        """Upright uint8 RGB `(H, W, 3)`; grey is replicated."""
        try:
            return read_pixels(folder / names[number], self.preparation.max_pixels)
        except ValueError as error:
            raise UnreadableFrame(number, str(error)) from error


def _check_size(number: int, size: tuple[int, int], expected: tuple[int, int]) -> None:
    if tuple(size) != tuple(expected):
        own, others = "{} x {}".format(*size), "{} x {}".format(*expected)
        raise UnreadableFrame(number, f"{own} pixels, but its clip has {others}")
