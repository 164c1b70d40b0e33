"""From a release on disk to a set that `load_dataset` reads: OUT, complete or absent.

    from micron_bert_hf.databases import DATABASES, ConversionOptions, convert_database

    convert_database(DATABASES["casme2"], "CASME2", "casme2", options=ConversionOptions(align=True), num_processes=2)

    OUT/README.md               dataset card, with the terms of the database
    OUT/conversion.json         what was read, counts beside the expected ones, checksums, a fingerprint
    OUT/repairs.csv             everything that differs from the label sheet or is not in the set, with the reason
    OUT/contact_sheets/*.png    onset, apex and their difference, a picture a class; never uploaded
    OUT/data/*.parquet          one row group a sample; see `rows.COLUMNS`
    OUT/clips.json              of unlabelled video: the index by which pretraining reads it

All is written to a hidden folder beside OUT and moved there at the end. A run that was interrupted goes on from the
shards that are there; a finished set is left as it is.
"""

import csv
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from ..data.clip_set import UNFINISHED, ClipIndex, content_fingerprint, shard_names
from ..run_files import claim_folder, read_json, whole_folder, write_json, write_text
from ..worker_processes import run_jobs
from .annotations import HARMLESS_RULES, LEFT_OUT, UNREADABLE, Repair, settle_interval
from .card import render_card
from .contact_sheet import write_contact_sheets
from .database import Database, Part, RawSample, Reading, ReadRequest
from .expected_counts import EXPECTED_COUNTS
from .raw_tree import RawTree
from .report import (
    CARD_NAME,
    CONVERSION_NAME,
    IDENTITY_NAME,
    REPAIRS_NAME,
    SHEETS_FOLDER,
    ConversionReport,
)
from .shards import FrameOptions, ShardJob, convert_shard


# Raise it with every change of what the same release and options give.
CONVERTER_VERSION = 1
# Ours: work is handed out and kept by shards, whatever the number of processes.
FRAMES_PER_SHARD, LEAST_SHARDS = 2000, 8
_SHOWN = 5


@dataclass(frozen=True)
class ConversionOptions:
    """
    Args:
        frames (`"pair"` or `"clip"`): onset and apex, or every frame from onset to offset. Recordings and unlabelled
            video keep every frame.
        image_size (`int`): side of an aligned face, in pixels; of whole frames the shorter side, which is reduced to
            it where it is more and never enlarged.
        align (`bool`): find the face on the onset frame, and turn, scale and cut the whole clip by it.
        stabilize (`bool`): with `align`, also take the drift of the head out, frame by frame. Off, since whatever
            moves a frame can add motion.
        official_crops (`bool`): the lab's own cropped frames, where it has some.
        detector (`"mtcnn"` or `"yunet"`): what finds the face.
        encoding (`"png"` or `"jpeg"`, *optional*): of frames that cannot keep their bytes; by default PNG for labelled
            sets, and JPEG (quality 95) for recordings and unlabelled video, which are a hundred times larger.
        errata (`bool`): apply the database's table of errata.
        strict (`bool`): refuse whatever would be repaired by rule or left out, and unknown versions of a sheet.
    """

    frames: str = "pair"
    image_size: int = 256
    align: bool = False
    stabilize: bool = False
    official_crops: bool = False
    detector: str = "mtcnn"
    encoding: str | None = None
    errata: bool = True
    strict: bool = False

    def __post_init__(self):
        for name, choices in (("frames", ("pair", "clip")), ("encoding", (None, "png", "jpeg"))):
            if getattr(self, name) not in choices:
                raise ValueError(f"`{name}` is {getattr(self, name)!r}; expected one of {choices}")
        if not 32 <= self.image_size <= 2048:
            raise ValueError(f"`image_size` is {self.image_size}; expected 32 to 2048 pixels")
        if self.stabilize and not self.align:
            raise ValueError("`stabilize` goes with `align`: it holds an aligned face still")
        if self.detector != "mtcnn" and not self.align:
            raise ValueError("`detector` goes with `align`: without it no face is looked for")


def convert_database(
    database: Database,
    raw_folder: str | os.PathLike,
    output_dir: str | os.PathLike,
    *,
    options: ConversionOptions,
    part: str | None = None,
    sheet: str | os.PathLike | None = None,
    num_processes: int = 1,
    progress: bool = True,
) -> ConversionReport:
    """
    Convert a release, or go on where an earlier run was stopped.

    Args:
        database: one of `DATABASES`.
        raw_folder: the release as it was unpacked; read only.
        output_dir: absent, empty, or this very set.
        part (`str`, *optional*): of the release; the first one by default.
        sheet (*optional*): the label sheet, if it is not in `raw_folder`.
        num_processes (`int`): shards made at once; with more than 1 the caller's script needs the usual
            `if __name__ == "__main__":` guard. Changes no byte.

    Raises:
        FileNotFoundError, ValueError: something that the release should have is not there, or is not what it should
            be; the message says what was looked for, where, and what was found.
        FileExistsError: `output_dir` holds something else.
    """
    raw_folder, output_dir = Path(os.path.abspath(raw_folder)), Path(os.path.abspath(output_dir))
    if part is not None and part not in database.parts:
        raise ValueError(f"{database.title} has no part {part!r}; expected one of {', '.join(database.parts)}")
    part = next(iter(database.parts)) if part is None else part
    if options.official_crops and not database.has_official_crops:
        raise ValueError(f"{database.title} has no official crops; leave that option out")
    if num_processes < 1:
        raise ValueError(f"`num_processes` must be 1 or more, got {num_processes}")
    if output_dir.resolve().is_relative_to(raw_folder.resolve()):
        raise ValueError(f"{output_dir} lies in the raw folder {raw_folder}, which is only read; give another folder")
    request = ReadRequest(part, None if sheet is None else Path(sheet), options.errata, options.official_crops)
    reading = database.read(RawTree(raw_folder), request)
    conversion = Conversion(database, part, options, raw_folder, reading)
    description = read_json(output_dir / CONVERSION_NAME) if output_dir.is_dir() else None
    if description is not None:
        conversion.check_finished(output_dir, description)
        if options.strict:
            conversion.refuse_repairs()
        return ConversionReport(output_dir, description, was_there=True)
    if options.strict:
        conversion.refuse_repairs()
    with whole_folder(output_dir) as folder:
        claim_folder(folder, IDENTITY_NAME, conversion.identity)
        description = conversion.run(folder, num_processes, progress)
        for path in (*folder.glob("shard-*.json"), *(folder / "data").glob(f"*{UNFINISHED}"), folder / IDENTITY_NAME):
            path.unlink()
    return ConversionReport(output_dir, description, was_there=False)


@dataclass(frozen=True)
class Conversion:
    """One conversion: a release that was read, and what is to be made of it."""

    database: Database
    part_name: str
    options: ConversionOptions
    raw_folder: Path
    reading: Reading

    @property
    def part(self) -> Part:
        return self.database.parts[self.part_name]

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What must be equal for a run to go on: options, versions, and all that was read from the release."""
        digest = hashlib.sha256()
        for sample in self.reading.samples:
            annotations = [asdict(annotation) for annotation in sample.annotations]
            names = sample.files.names
            content = [sample.sample_id, sample.subject_id, sample.files.folder, names and list(names.items())]
            digest.update(json.dumps([*content, annotations]).encode("utf-8", "surrogateescape"))
        libraries = ["pillow", "pyarrow", *(["opencv-python-headless", "torch"] if self.options.align else [])]
        return {
            "database": self.database.name,
            "part": self.part_name,
            "converter_version": CONVERTER_VERSION,
            # what decides bytes: a strict run that ends well ends like any other
            "options": {name: value for name, value in asdict(self.options).items() if name != "strict"},
            "release": digest.hexdigest()[:16],
            "versions": {library: version(library) for library in libraries},
        }

    def check_finished(self, output_dir: Path, description: Mapping[str, Any]) -> None:
        """
        Raises:
            FileExistsError: the set that is there is another one.
            ValueError: it lacks a shard.
        """
        differing = [name for name, value in self.identity.items() if description.get(name) != value]
        if differing:
            raise FileExistsError(
                f"{output_dir} holds a finished set that differs in {', '.join(differing)}; give another folder, or"
                " delete it"
            )
        for name in description["shards"]:
            if not (output_dir / name).exists():
                raise ValueError(f"{output_dir / name} is missing; delete {output_dir} and convert again")

    def refuse_repairs(self) -> None:
        """
        Raises:
            ValueError: something would be repaired by rule or left out, as far as can be told before a frame is read.
        """
        problems = [f"an unknown version of the sheet: {sheet}" for sheet in self.reading.sheets if not sheet.is_known]
        repairs = list(self.reading.repairs)
        for sample in self.reading.samples:
            for annotation in sample.annotations:
                numbers = sorted(sample.files.names)
                repairs += settle_interval(annotation, numbers, self.part.kind == "labelled")[1]
        problems += _problems(repairs)
        if problems:
            raise ValueError(
                f"{self.database.title}: {len(problems)} things would be repaired or left out, which --strict refuses:"
                f" {'; '.join(problems[:_SHOWN])}"
            )

    def run(self, folder: Path, num_processes: int, progress: bool) -> dict[str, Any]:
        """Write all that the finished folder holds; returns the content of `conversion.json`."""
        jobs = self._jobs(folder)
        with tqdm(
            total=len(self.reading.samples), unit="sample", desc=self.database.name, disable=not progress
        ) as bar:
            records = run_jobs(convert_shard, jobs, num_processes, bar.update)
        repairs = [*self.reading.repairs, *(Repair(**repair) for record in records for repair in record["repairs"])]
        _write_repairs(folder, repairs)
        problems = _problems(repairs) if self.options.strict else []
        if problems:  # frames that cannot be read, which only reading tells
            raise ValueError(f"--strict refuses {'; '.join(problems[:_SHOWN])}")
        if not any(record["num_rows"] for record in records):
            causes = [repair for repair in repairs if repair.rule == UNREADABLE or repair.field == "sample"]
            reasons = "; ".join(f"{repair.sample_id}: {repair.reason}" for repair in causes[:2])
            raise ValueError(
                f"{self.database.title}: {len(self.reading.samples)} samples gave no row, such as {reasons}"
            )
        description = self._describe(records, repairs, [f"data/{job.path.name}" for job in jobs])
        num_bytes = sum(record["num_bytes"] for record in records)
        write_text(folder / CARD_NAME, render_card(description, num_bytes))
        write_contact_sheets(folder, list(description["shards"]), folder / SHEETS_FOLDER, self.part.kind)
        if self.part.kind == "unlabelled":
            subjects = sorted({subject for record in records for subject in record["subjects"]})
            ClipIndex(
                tuple(description["shards"]),
                tuple(record["num_rows"] for record in records),
                description["num_frames"],
                {self.part.dataset: subjects},
                description["fingerprint"],
            ).save(folder)
        write_json(folder / CONVERSION_NAME, description)
        return description

    def _jobs(self, folder: Path) -> list[ShardJob]:
        options = self.options
        encoding = options.encoding or ("png" if self.part.kind == "labelled" else "jpeg")
        frame_options = FrameOptions(
            options.frames, options.image_size, options.align, options.stabilize, options.detector, encoding
        )
        samples = self.reading.samples
        dealt = deal_samples(samples, [self._num_frames(sample) for sample in samples])
        (folder / "data").mkdir(exist_ok=True)
        identity = hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()[:16]
        return [
            ShardJob(
                self.raw_folder,
                folder / name,
                folder / f"shard-{number:05d}.json",
                shard_samples,
                self.part,
                frame_options,
                identity,
            )
            for number, (name, shard_samples) in enumerate(zip(shard_names(len(dealt)), dealt))
        ]

    def _num_frames(self, sample: RawSample) -> int:
        """How many frames it will store, roughly; of a folder that is not listed yet, a shard full."""
        if sample.files.names is None:
            return FRAMES_PER_SHARD
        if self.part.kind != "labelled":
            return len(sample.files.names)
        if self.options.frames == "pair":
            return 2
        annotation = sample.annotations[0]
        length = (annotation.offset or 0) - (annotation.onset or 0) + 1
        return max(2, min(length, len(sample.files.names)))

    def _describe(
        self, records: Sequence[Mapping[str, Any]], repairs: Sequence[Repair], names: Sequence[str]
    ) -> dict[str, Any]:
        classes = sum_counts(record["classes"] for record in records)
        num_rows = sum(record["num_rows"] for record in records)
        faces: dict[str, list[str]] = {}
        for record in records:
            for sentence, samples in record["faces"].items():
                faces.setdefault(sentence, []).extend(samples)
        versions = {sheet.version for sheet in self.reading.sheets}
        expected = [
            item
            for item in EXPECTED_COUNTS.get((self.database.name, self.part_name), ())
            if not item.version or item.version in versions
        ]
        return {
            **self.identity,
            "title": self.database.title,
            "dataset": self.part.dataset,
            "kind": self.part.kind,
            "terms": asdict(self.database.terms),
            "sheets": [str(sheet) for sheet in self.reading.sheets],
            "frames_folder": self.reading.frames_folder,
            "counts": {
                "clips": sum(classes.values()) if self.part.kind == "recordings" else num_rows,
                "subjects": len({subject for record in records for subject in record["subjects"]}),
                "classes": classes,
            },
            "expected": asdict(expected[0]) if expected else None,
            "repairs": sum_counts({_repair_kind(repair): 1} for repair in repairs),
            "faces": faces,
            "num_rows": num_rows,
            "num_frames": sum(record["num_frames"] for record in records),
            "shards": {name: f"sha256:{record['sha256']}" for name, record in zip(names, records)},
            "fingerprint": content_fingerprint([record["sha256"] for record in records]),
        }


def deal_samples(samples: Sequence[RawSample], num_frames: Sequence[int]) -> list[tuple[RawSample, ...]]:
    """
    Consecutive samples to shards of nearly equal numbers of frames, about `FRAMES_PER_SHARD` each, but at least
    `LEAST_SHARDS` of them where there are as many samples.
    """
    total = sum(num_frames)
    count = max(min(LEAST_SHARDS, len(samples)), min(len(samples), -(-total // FRAMES_PER_SHARD)))
    shards: list[list[RawSample]] = [[]]
    before = 0
    for position, (sample, frames) in enumerate(zip(samples, num_frames)):
        is_full = before * count >= total * len(shards)
        are_needed = len(samples) - position <= count - len(shards)  # or the last shards would have none
        if shards[-1] and len(shards) < count and (is_full or are_needed):
            shards.append([])
        shards[-1].append(sample)
        before += frames
    return [tuple(shard) for shard in shards]


def _problems(repairs: Sequence[Repair]) -> list[str]:
    """What a strict conversion refuses."""
    return [
        f"{repair.sample_id}, {repair.field}: {repair.found!r} -> {repair.used!r} ({repair.reason})"
        for repair in repairs
        if repair.rule not in HARMLESS_RULES
    ]


def _write_repairs(folder: Path, repairs: Sequence[Repair]) -> None:
    table = StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(("sample_id", "field", "found", "used", "rule", "reason"))
    for repair in sorted(repairs, key=lambda item: (item.sample_id, item.field, item.found)):
        rows.writerow((repair.sample_id, repair.field, repair.found, repair.used, repair.rule, repair.reason))
    write_text(folder / REPAIRS_NAME, table.getvalue())


def _repair_kind(repair: Repair) -> str:
    return LEFT_OUT if repair.used == LEFT_OUT and repair.field == "sample" else f"{repair.field} ({repair.rule})"


def sum_counts(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Name -> sum over all mappings, sorted by name."""
    totals: Counter[str] = Counter()
    for part in counts:
        totals.update(part)
    return dict(sorted(totals.items()))
