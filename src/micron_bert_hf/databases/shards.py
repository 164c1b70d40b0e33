"""One shard of a converted set, from raw frames to rows on disk. What is in it depends on nothing but its samples.

A frame that cannot be read counts as one that is not there: the interval is settled anew without it, and the reason is
recorded. One sample is in memory at a time.
"""

import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from ..data.clip_frames import PreparationOptions, encode_frame, read_image, read_pixels
from ..data.clip_set import UNFINISHED
from ..data.clip_sources import commonest_step, cut_runs
from ..faces import FaceAligner, Stabilizer, load_detector
from ..run_files import file_sha256, read_json, write_json
from .annotations import LEFT_OUT, UNREADABLE, Repair, settle_interval
from .database import Part, RawSample
from .raw_tree import RawTree
from .rows import face_fields, labelled_row, recording_row, row_schema


# Longest piece of unlabelled video, as `micron-bert prepare-clips` cuts it.
PIECE_FRAMES = 64
# Arrow's limit is 2 GiB for the frames of a row.
MAX_ROW_BYTES = 2**31 - 2**20
NOT_THERE = "not there"
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


class UnreadableFrames(ValueError):
    """Frames of one sample that cannot be used: number -> why."""

    def __init__(self, reasons: Mapping[int, str]):
        super().__init__("; ".join(reasons.values()))
        self.reasons = reasons


def read_record(job: ShardJob) -> dict[str, Any] | None:
    """
    What is known of a shard that is finished and there; `None` of any other, and of one whose frames could not all be
    read: they may have been mended since.
    """
    record = read_json(job.record_path)
    if record is None or record["identity"] != job.identity:
        return None
    if any(repair["rule"] == UNREADABLE for repair in record["repairs"]):
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
            rows, found, notes = reader.rows(sample)
            repairs += found
            for row in rows:
                writer.write_table(pa.Table.from_pylist([row], schema=schema))
                _add(totals, row, job.part.kind)
            for sample_id, note in notes:
                kind_of_note = re.sub(r"\d+([.,]\d+)?", "#", note)  # the numbers are in the row
                totals["faces"].setdefault(kind_of_note, []).append(sample_id)
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

    def rows(self, sample: RawSample) -> tuple[list[dict[str, Any]], list[Repair], list[tuple[str, str]]]:
        """The rows that a sample gives, none if it is left out; what was repaired; `(sample_id, note)` of faces."""
        files = sample.files
        if files.names is None:
            files = self.tree.frames(self.tree.root / files.folder)
        names = dict(files.names)
        spare = {number: list(others) for number, others in files.spare.items()}

        def frame_repair(name: str, used: str, rule: str, reason: str) -> Repair:
            return Repair(sample.sample_id, "frames", f"{files.folder}/{name}", used, rule, reason)

        repairs = [frame_repair(name, NOT_THERE, "frames", "no number in its name") for name in files.unnumbered]
        repairs += [
            frame_repair(name, names[number], "frames", f"its number {number} is that of another file too")
            for number, others in spare.items()
            for name in others
        ]
        while True:
            try:
                rows, found, notes = self._rows_of(sample, names)
                return rows, [*repairs, *found], notes
            except UnreadableFrames as error:
                for number, reason in error.reasons.items():
                    name = names.pop(number)
                    if spare.get(number):
                        names[number] = spare[number].pop(0)
                    used = names.get(number, NOT_THERE)
                    repairs.append(frame_repair(name, used, UNREADABLE, reason))

    def _rows_of(
        self, sample: RawSample, names: Mapping[int, str]
    ) -> tuple[list[dict[str, Any]], list[Repair], list[tuple[str, str]]]:
        numbers = sorted(names)
        kind = self.job.part.kind
        if kind == "unlabelled":
            return self._pieces(sample, names, numbers)
        settled, repairs = [], []
        for annotation in sample.annotations:
            interval, found = settle_interval(annotation, numbers, needs_apex=kind == "labelled")
            repairs += found
            if interval is not None:
                settled.append((annotation, interval))
        if kind == "labelled":
            if not settled:
                return [], repairs, []
            annotation, interval = settled[0]
            is_pair = self.job.options.frames == "pair"
            wanted = [interval.onset, interval.apex] if is_pair else list(interval.numbers)
            frames, face = self._frames(sample, names, wanted, interval.numbers)
            row = labelled_row(sample, self.job.part, interval, frames, face)
        elif len(numbers) < 2:
            reason = f"{len(numbers)} frames can be read; expected two or more"
            return [], [*repairs, Repair(sample.sample_id, "sample", "", LEFT_OUT, "sample", reason)], []
        else:
            frames, face = self._frames(sample, names, numbers, numbers)
            row = recording_row(sample, self.job.part, settled, frames, face)
        return [row], repairs, [(sample.sample_id, note) for note in face["notes"]] if face else []

    def _pieces(
        self, sample: RawSample, names: Mapping[int, str], numbers: Sequence[int]
    ) -> tuple[list[dict[str, Any]], list[Repair], list[tuple[str, str]]]:
        """Unlabelled video, cut at gaps in its numbers; each piece is aligned by itself."""
        rows, repairs, notes = [], [], []
        for piece in cut_runs(numbers, commonest_step(numbers) or 1, PIECE_FRAMES):
            wanted = [numbers[place] for place in piece]
            if len(wanted) < 2:
                about = (sample.sample_id, "frames", names[wanted[0]], LEFT_OUT)
                repairs.append(Repair(*about, "frames", "no neighbour to make a pair with"))
                continue
            frames, face = self._frames(sample, names, wanted, wanted)
            sample_id = f"{sample.sample_id}#{wanted[0]}"
            notes += [(sample_id, note) for note in face["notes"]] if face else []
            rows.append(
                {
                    "sample_id": sample_id,
                    "subject_id": sample.subject_id,
                    "dataset": self.job.part.dataset,
                    "fps": self.job.part.fps,
                    "frames": [{"bytes": content, "path": None} for content in frames.values()],
                }
            )
        if not rows:
            repairs.append(Repair(sample.sample_id, "sample", "", LEFT_OUT, "sample", "no two consecutive frames"))
        return rows, repairs, notes

    def _frames(
        self, sample: RawSample, names: Mapping[int, str], wanted: Sequence[int], inside: Sequence[int]
    ) -> tuple[dict[int, bytes], dict[str, Any] | None]:
        """
        Encoded frames by their numbers, and how their face was aligned.

        Args:
            wanted: numbers, the first of which is the reference.
            inside: numbers of the whole interval, in which a face may be looked for if the reference has none.

        Raises:
            UnreadableFrames: all of `wanted` that were found to be.
            ValueError: they are more than a row can hold.
        """
        paths = {number: self.tree.root / sample.files.folder / names[number] for number in inside}
        odd = odd_sizes(paths)
        if odd.keys() & set(wanted):
            raise UnreadableFrames({number: odd[number] for number in wanted if number in odd})
        clip = None
        if self.aligner is not None:
            others = [number for number in inside if number not in odd and number != wanted[0]]
            clip = AlignedClip(self.aligner, self.job.options.stabilize, self.preparation, paths, wanted[0], others)
        frames: dict[int, bytes] = {}
        unreadable: dict[int, str] = {}
        num_bytes = 0
        for number in wanted:
            try:
                frames[number] = clip.encode(number) if clip else read_image(paths[number], self.preparation)[0]
            except ValueError as error:
                unreadable[number] = str(error)
                continue
            num_bytes += len(frames[number])
            if num_bytes > MAX_ROW_BYTES:
                raise ValueError(
                    f"{sample.sample_id}: {len(frames)} of {len(wanted)} frames take {num_bytes} bytes, more than a"
                    f" row can hold ({MAX_ROW_BYTES}); give a smaller image size or the encoding jpeg"
                )
        if unreadable:
            raise UnreadableFrames(unreadable)
        return frames, None if clip is None else clip.record()


class AlignedClip:
    """
    The frames of one clip, its face found once.

    Args:
        paths: number -> file.
        reference: number of the frame in which the face is looked for first and held still.
        others: numbers of frames in which it may be looked for instead.

    Raises:
        UnreadableFrames: the reference is.
    """

    def __init__(
        self,
        aligner: FaceAligner,
        stabilize: bool,
        preparation: PreparationOptions,
        paths: Mapping[int, Path],
        reference: int,
        others: Sequence[int],
    ):
        self.aligner, self.preparation, self.paths = aligner, preparation, paths
        try:
            onset = self._pixels(paths[reference])
        except ValueError as error:
            raise UnreadableFrames({reference: str(error)}) from error
        self.alignment = aligner.find(onset, fallback_frames=self._fallback_frames(others))
        self.stabilizer = Stabilizer(aligner, self.alignment, onset) if stabilize else None
        self.num_frames = self.num_unsteady = 0

    def encode(self, number: int) -> bytes:
        """
        Raises:
            ValueError: the frame cannot be read.
        """
        pixels = self._pixels(self.paths[number])
        if self.stabilizer is None:
            aligned = self.aligner.warp(pixels, self.alignment)
        else:
            aligned, drift = self.stabilizer.stabilize(pixels)
            self.num_unsteady += not drift.is_trusted
        self.num_frames += 1
        return encode_frame(Image.fromarray(aligned), self.preparation)

    def record(self) -> dict[str, Any]:
        """The column `face`, once all frames are encoded."""
        count = f"{self.num_unsteady} of {self.num_frames}"
        return face_fields(self.alignment, [f"{count} frames could not be held still"] if self.num_unsteady else [])

    def _fallback_frames(self, others: Sequence[int]) -> Iterator[tuple[str, np.ndarray]]:
        """A few of them, evenly spread; those that cannot be read are passed over."""
        count = min(NUM_FALLBACK_FRAMES, len(others))
        for place in np.linspace(0, len(others) - 1, count).round().astype(int):
            try:
                yield f"frame {others[place]}", self._pixels(self.paths[others[place]])
            except ValueError:
                continue

    def _pixels(self, path: Path) -> np.ndarray:
        """Upright uint8 RGB `(H, W, 3)`; grey is replicated."""
        return read_pixels(path, self.preparation.max_pixels)


def odd_sizes(paths: Mapping[int, Path]) -> dict[int, str]:
    """Frames that are not as large as most of their clip, and the two sizes; by their headers alone."""
    sizes: dict[int, tuple[int, int]] = {}
    for number, path in paths.items():
        if not path.is_file():  # a pipe would wait for ever
            continue
        try:
            with Image.open(path) as image:
                sizes[number] = image.size
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            continue  # whoever reads the frame says what is wrong with it
    if not sizes:
        return {}
    usual = Counter(sizes.values()).most_common(1)[0][0]
    wanted = "{} x {}".format(*usual)
    return {
        number: "{} x {} pixels, but most of its clip has {}".format(*size, wanted)
        for number, size in sizes.items()
        if size != usual
    }
