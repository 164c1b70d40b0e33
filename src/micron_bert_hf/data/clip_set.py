"""A set of clips on disk, the unlabelled video that pretraining reads: Parquet shards and one small index.

    OUT/README.md                            dataset card; `datasets.load_dataset(OUT)` reads and streams the folder
    OUT/clips.json                           the index: shards with their number of clips, subjects, fingerprint
    OUT/data/train-00000-of-00016.parquet    one row group a clip

A row is one clip: `sample_id`, `subject_id`, `dataset`, `fps` (frames a second) and `frames`, encoded images in the
order of time. Shards may have further columns, which are not read here. A clip is a row group of its own, so that one
clip can be read without its neighbours; pages carry checksums, so that a damaged shard is named and not trained on.

The index is what makes a large set cheap to open: no shard is listed, opened or counted before a clip of it is wanted.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


INDEX_NAME = "clips.json"
# Raise it with every change of the columns that are read, or of the index.
FORMAT_VERSION = 1
SHARD_PATTERN = "data/train-{number:05d}-of-{count:05d}.parquet"
UNFINISHED = ".tmp"


@dataclass(frozen=True)
class ClipIndex:
    """
    What `clips.json` says.

    Args:
        shards (`tuple[str, ...]`): paths below the folder.
        num_clips (`tuple[int, ...]`): of each shard; a shard may be empty.
        num_frames (`int`): of the whole set.
        subjects (`dict[str, list[str]]`): `dataset` -> sorted `subject_id`s, so that an evaluation can tell whether a
            person it tests on was pretrained on.
        fingerprint (`str`): names the content; two sets with one fingerprint hold the same clips in the same order.
    """

    shards: tuple[str, ...]
    num_clips: tuple[int, ...]
    num_frames: int
    subjects: Mapping[str, Sequence[str]]
    fingerprint: str

    def __post_init__(self):
        if len(self.shards) != len(self.num_clips):
            raise ValueError(f"Expected one count a shard, got {len(self.num_clips)} for {len(self.shards)} shards.")
        if sum(self.num_clips) == 0:
            raise ValueError("Expected at least one clip, got none.")

    @property
    def total_clips(self) -> int:
        return sum(self.num_clips)

    @classmethod
    def load(cls, folder: str | os.PathLike) -> "ClipIndex":
        """
        Raises:
            FileNotFoundError: there is no finished set of clips; the message says what makes one.
            ValueError: the index is damaged or of another version.
        """
        path = Path(folder) / INDEX_NAME
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{folder} is no finished set of clips: it has no {INDEX_NAME}. `micron-bert prepare-clips` makes one"
                " from frames or videos, `micron-bert synthesize --unlabelled` from nothing."
            ) from error
        except ValueError as error:
            raise ValueError(f"{path} cannot be read: {error}") from error
        if not isinstance(content, dict) or content.pop("format_version", None) != FORMAT_VERSION:
            raise ValueError(f"{path} is not an index of format version {FORMAT_VERSION}.")
        names = ("shards", "num_clips", "num_frames", "subjects", "fingerprint")
        missing = [name for name in names if name not in content]
        if missing:
            raise ValueError(f"{path} lacks {missing}.")
        fields = {name: content[name] for name in names}
        return cls(**{**fields, "shards": tuple(fields["shards"]), "num_clips": tuple(fields["num_clips"])})

    def save(self, folder: str | os.PathLike) -> None:
        """Write `clips.json`, whole or not at all."""
        path = Path(folder) / INDEX_NAME
        temporary = path.with_name(path.name + UNFINISHED)
        temporary.write_text(json.dumps({"format_version": FORMAT_VERSION, **asdict(self)}) + "\n", encoding="utf-8")
        os.replace(temporary, path)


def clip_schema() -> pa.Schema:
    """The Arrow schema of a shard, with what `datasets` needs to decode the frames."""
    from datasets import Features, Image, List, Value  # a second to import: not for those who only read

    return Features(
        {
            "sample_id": Value("string"),
            "subject_id": Value("string"),
            "dataset": Value("string"),
            "fps": Value("float32"),
            "frames": List(Image()),
        }
    ).arrow_schema


class ClipShardWriter:
    """
    Writes one shard, clip by clip, with one clip in memory. The shard appears under its name on [`close`], whole.

    Args:
        path: of the shard; its folder exists.
        metadata: keys and values kept in the file's schema (bytes or str).
    """

    def __init__(self, path: str | os.PathLike, metadata: Mapping[str, str] | None = None):
        schema = clip_schema()
        self.path = Path(path)
        self.schema = schema.with_metadata({**schema.metadata, **(metadata or {})})
        self.temporary = self.path.with_name(self.path.name + UNFINISHED)
        self.num_clips = self.num_frames = 0
        # frames are compressed already; a second compression costs time at each reading and saves nothing
        self.writer = pq.ParquetWriter(
            self.temporary, self.schema, compression="none", use_dictionary=False, write_page_checksum=True
        )

    def write(self, sample_id: str, subject_id: str, dataset: str, fps: float, frames: Sequence[bytes]) -> None:
        """
        Append one clip.

        Args:
            fps (`float`): frames a second, positive.
            frames: two or more encoded images (PNG, JPEG, ...), in the order of time.
        """
        if len(frames) < 2 or fps <= 0:
            raise ValueError(f"{sample_id}: expected two frames or more and a positive fps, got {len(frames)}, {fps}.")
        images = [{"bytes": frame, "path": None} for frame in frames]
        row = {"sample_id": sample_id, "subject_id": subject_id, "dataset": dataset, "fps": fps, "frames": images}
        self.writer.write_table(pa.Table.from_pylist([row], schema=self.schema))
        self.num_clips += 1
        self.num_frames += len(frames)

    def close(self) -> None:
        self.writer.close()
        os.replace(self.temporary, self.path)

    def discard(self) -> None:
        """Give up; nothing is left."""
        self.writer.close()
        self.temporary.unlink(missing_ok=True)

    def __enter__(self) -> "ClipShardWriter":
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()


@dataclass(frozen=True)
class StoredClip:
    """One clip, its frames not yet decoded."""

    sample_id: str
    fps: float
    frames: pa.ListScalar

    def __len__(self) -> int:
        return len(self.frames)

    def frame(self, index: int) -> bytes:
        """The encoded image of one frame."""
        return self.frames.values.field("bytes")[index].as_py()


class ClipShard:
    """One shard, opened for reading clip by clip."""

    def __init__(self, path: str | os.PathLike):
        try:
            self.file = pq.ParquetFile(path, memory_map=True, page_checksum_verification=True)
            self.trusted = pq.ParquetFile(path, memory_map=True, metadata=self.file.metadata)
        except (OSError, pa.ArrowException) as error:
            raise OSError(f"the shard {path} cannot be opened: {error}") from error
        self.path = path

    def read(self, number: int, is_trusted: bool = False) -> StoredClip:
        """
        Args:
            number (`int`): of the clip in this shard.
            is_trusted (`bool`): its checksums were found right before; they take more time than the reading.

        Raises:
            OSError: the shard has no such clip, or is damaged.
        """
        try:
            file = self.trusted if is_trusted else self.file
            table = file.read_row_group(number, columns=["sample_id", "fps", "frames"], use_threads=False)
            return StoredClip(table["sample_id"][0].as_py(), float(table["fps"][0].as_py()), table["frames"][0])
        except (OSError, pa.ArrowException, IndexError, KeyError) as error:
            raise OSError(f"clip {number} of the shard {self.path} cannot be read: {error}") from error

    def close(self) -> None:
        self.file.close()
        self.trusted.close()


def shard_names(count: int) -> list[str]:
    """Paths of `count` shards below the folder, as `datasets` names them."""
    return [SHARD_PATTERN.format(number=number, count=count) for number in range(count)]


def content_fingerprint(shard_fingerprints: Sequence[str]) -> str:
    """16 hexadecimal digits of the shards' own, in their order."""
    return hashlib.sha256("\n".join(shard_fingerprints).encode()).hexdigest()[:16]


def write_clip_card(folder: str | os.PathLike, text: str, index: ClipIndex) -> None:
    """Write `README.md`: metadata by which `load_dataset` knows the shards and the number of rows, then `text`."""
    from huggingface_hub import DatasetCardData

    num_bytes = sum((Path(folder) / name).stat().st_size for name in index.shards)  # frames are not compressed again
    data = DatasetCardData(
        configs=[{"config_name": "default", "data_files": [{"split": "train", "path": list(index.shards)}]}],
        dataset_info={
            # `datasets` knows what it has read by a hash of this block: of two sets of one name and size, the second
            # would be taken for the first
            "description": f"fingerprint {index.fingerprint}",
            "splits": [{"name": "train", "num_bytes": num_bytes, "num_examples": index.total_clips}],
        },
    )
    path = Path(folder) / "README.md"
    temporary = path.with_name(path.name + UNFINISHED)
    temporary.write_text(f"---\n{data.to_yaml()}\n---\n\n{text}\n", encoding="utf-8")
    os.replace(temporary, path)


def write_clips(
    folder: str | os.PathLike, rows: Sequence[Mapping[str, Any]], num_shards: int = 1, fps: float = 1.0
) -> ClipIndex:
    """
    Write rows that are in memory as a set of clips, losslessly (PNG).

    Args:
        folder: absent or empty.
        rows: mappings with `sample_id`, `subject_id`, optionally `dataset` and `fps`, and either `frames` (a sequence
            of `(H, W, 3)` uint8 RGB arrays) or `onset` and `apex`, which make a clip of two frames.
        num_shards (`int`): rows are dealt to them in turn.
        fps (`float`): of rows that have none.

    Raises:
        FileExistsError: `folder` holds something.
    """
    from io import BytesIO

    from PIL import Image

    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty.")
    names = shard_names(num_shards)
    (folder / "data").mkdir(parents=True, exist_ok=True)
    subjects: dict[str, set[str]] = {}
    counts, num_frames, digest = [], 0, hashlib.sha256()
    for number, name in enumerate(names):
        with ClipShardWriter(folder / name) as writer:
            for row in rows[number::num_shards]:
                encoded = []
                for frame in row["frames"] if "frames" in row else (row["onset"], row["apex"]):
                    file = BytesIO()
                    Image.fromarray(np.asarray(frame)).save(file, "PNG", compress_level=1)
                    encoded.append(file.getvalue())
                dataset = row.get("dataset", "unnamed")
                clip = (row["sample_id"], row["subject_id"], dataset, row.get("fps", fps))
                digest.update(json.dumps([name, *clip, [len(frame) for frame in encoded]]).encode())
                for frame in encoded:
                    digest.update(frame)
                writer.write(*clip, encoded)
                subjects.setdefault(dataset, set()).add(row["subject_id"])
        counts.append(writer.num_clips)
        num_frames += writer.num_frames
    index = ClipIndex(
        tuple(names),
        tuple(counts),
        num_frames,
        {dataset: sorted(found) for dataset, found in sorted(subjects.items())},
        digest.hexdigest()[:16],
    )
    write_clip_card(folder, "Clips written by `micron_bert_hf.data.write_clips`.", index)
    index.save(folder)
    return index
