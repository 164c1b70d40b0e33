"""Contact sheets: what was converted, at a glance. They show faces of licensed databases and stay on the disk."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

from ..run_files import file_name


# Ours: samples of a class that are shown, of as many people as there are; side of a tile, in pixels; tiles abreast.
NUM_SAMPLES, TILE, COLUMNS = 24, 128, 4
# Amplification of the difference between the frames, round grey.
_GAIN = 10
_UNLABELLED = "unlabelled"


class Shown(NamedTuple):
    """A sample on a sheet, and the places of two of its frames in its row, which is a row group."""

    subject_id: str
    sample_id: str
    shard: Path
    group: int
    first: int
    second: int


def write_contact_sheets(
    set_folder: str | os.PathLike, shards: Sequence[str], sheets_folder: Path, kind: str
) -> list[Path]:
    """
    Draw one PNG a class: onset, apex and ten times their difference of up to 24 samples, of different people first. Of
    recordings the classes are those of their intervals, of unlabelled video the first and last frame of pieces.

    Args:
        shards: paths below the set's folder.

    Returns:
        The files. Memory holds the identities of all samples, the tiles, and the frames of one row at a time.
    """
    samples: dict[str, list[Shown]] = {}
    for name in shards:
        shard = Path(set_folder) / name
        for group, row in enumerate(_identities(shard, kind)):
            for label, first, second in row["pairs"]:
                shown = Shown(row["subject_id"], row["sample_id"], shard, group, first, second)
                samples.setdefault(label or "no label", []).append(shown)
    chosen = {label: _of_many_people(shown) for label, shown in sorted(samples.items())}
    tiles: dict[Shown, Image.Image] = {}
    in_a_row: dict[tuple[Path, int], list[Shown]] = {}
    for shown in {item for items in chosen.values() for item in items}:
        in_a_row.setdefault((shown.shard, shown.group), []).append(shown)
    for (shard, group), items in in_a_row.items():
        with pq.ParquetFile(shard) as file:
            frames = file.read_row_group(group, columns=["frames"])["frames"][0].values.field("bytes")
        tiles |= {item: _tile(item, frames) for item in items}
    sheets_folder.mkdir(exist_ok=True)
    written = []
    for label, items in chosen.items():
        path = sheets_folder / f"{file_name(label) or 'class'}.png"
        _sheet([tiles[item] for item in items]).save(path)
        written.append(path)
    return written


def _identities(shard: Path, kind: str) -> Iterator[dict]:
    """`sample_id`, `subject_id` and `pairs` of `(label, place, place)` of every row, without its frames."""
    columns = ["sample_id", "subject_id"]
    columns += {
        "labelled": ["label", "frame_indices", "onset", "apex"],
        "recordings": ["frame_indices", "intervals"],
        "unlabelled": [],
    }[kind]
    with pq.ParquetFile(shard) as file:
        for group in range(file.num_row_groups):
            row = file.read_row_group(group, columns=columns).to_pylist()[0]
            if kind == "unlabelled":
                yield {**row, "pairs": [(_UNLABELLED, 0, -1)]}
                continue
            indices = row["frame_indices"]
            intervals = [row] if kind == "labelled" else row["intervals"]
            yield {
                **row,
                "pairs": [
                    (
                        item["label"] if kind == "labelled" else f"{item['kind']} {item['label']}".strip(),
                        indices.index(item["onset"]),
                        indices.index(item["offset"] if item["apex"] is None else item["apex"]),
                    )
                    for item in intervals
                ],
            }


def _of_many_people(samples: Sequence[Shown]) -> list[Shown]:
    """Up to `NUM_SAMPLES`, one of each person, then a second of each, and so on."""
    seen: Counter[str] = Counter()
    ranked = []
    for position, sample in enumerate(samples):
        ranked.append((seen[sample.subject_id], position))
        seen[sample.subject_id] += 1
    return [samples[position] for _, position in sorted(ranked)[:NUM_SAMPLES]]


def _tile(shown: Shown, frames: pa.Array) -> Image.Image:
    onset, apex = (
        Image.open(BytesIO(frames[place % len(frames)].as_py())).convert("RGB")
        for place in (shown.first, shown.second)
    )
    difference = np.asarray(apex, np.float32) - np.asarray(onset, np.float32)
    difference = Image.fromarray(np.clip(128 + _GAIN * difference, 0, 255).astype(np.uint8))
    tile = Image.new("RGB", (3 * TILE, TILE + 14), "white")
    for place, image in enumerate((onset, apex, difference)):
        image.thumbnail((TILE, TILE), Image.Resampling.BOX)
        tile.paste(image, (place * TILE + (TILE - image.width) // 2, 14 + (TILE - image.height) // 2))
    ImageDraw.Draw(tile).text((2, 1), f"{shown.sample_id}  {shown.subject_id}"[:60], fill="black")
    return tile


def _sheet(tiles: Sequence[Image.Image]) -> Image.Image:
    columns = min(COLUMNS, len(tiles))
    lines = -(-len(tiles) // columns)
    width, height = tiles[0].size
    sheet = Image.new("RGB", (columns * (width + 6), lines * (height + 6)), "white")
    for number, tile in enumerate(tiles):
        sheet.paste(tile, (number % columns * (width + 6), number // columns * (height + 6)))
    return sheet
