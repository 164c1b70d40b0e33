"""Folders of frames and video files to a set of clips for pretraining: OUT of `clip_set`.

    from micron_bert_hf.data.clip_preparation import PreparationOptions, prepare_clips

    prepare_clips("recordings", "clips", options=PreparationOptions(fps=200), num_shards=16, num_processes=8)

Sequences are dealt to shards by their position in the sorted list of paths, so that machines which share nothing but
the file system each make their part (`shard_index`) and the set is the same, byte for byte, with the same library
versions, which are part of what the set is made of.

    OUT/prepared/preparation.json    what the set is made of; who comes with something else is refused
    OUT/prepared/shard-00000.json    written after the shard, which then is finished: counts, what is not in it and why
    OUT/prepared/locks               two processes do not write one shard
    OUT/quarantine.csv               all that is not in the set, with the reason
    OUT/clips.json                   last: the set is whole

A run that was killed, at any instant, goes on where it was: finished shards are kept, the others made again. So does
one that was stopped by a fault that may pass, of the network or of memory.

Files that need no change keep their bytes, and with them EXIF (the place, the camera) and comments. While a sequence
is read its encoded frames wait in OUT/prepared: as many times the longest sequence as there are processes.
"""

import csv
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from typing import Any

from ..locks import file_lock
from .clip_frames import PreparationOptions
from .clip_set import UNFINISHED, ClipIndex, content_fingerprint, shard_names, write_clip_card
from .clip_shards import (
    LOCK_SECONDS,
    WORK_FOLDER,
    ShardJob,
    lock_path,
    read_json,
    read_record,
    run_shards,
    write_text,
)
from .clip_sources import Listing, Quarantined, list_sources, readable


# Raise it with every change of what the same sources and options give.
PREPARATION_VERSION = 3
QUARANTINE_NAME = "quarantine.csv"
DESCRIPTION_NAME = "preparation.json"


@dataclass(frozen=True)
class PreparationReport:
    """
    What is there after a run.

    Args:
        output_dir (`Path`)
        num_clips, num_frames (`int`): of all finished shards.
        quarantined (`tuple[Quarantined, ...]`): of all finished shards, sorted.
        num_ignored (`int`): files of the source that are no image or video by their name.
        missing_shards (`tuple[int, ...]`): not finished; the set is whole when it is empty.
        held_shards (`tuple[int, ...]`): of those the ones that this run was asked for: another process holds them.
    """

    output_dir: Path
    num_clips: int
    num_frames: int
    quarantined: tuple[Quarantined, ...]
    num_ignored: int
    missing_shards: tuple[int, ...]
    held_shards: tuple[int, ...]

    def __str__(self) -> str:
        lines = [f"{self.num_clips} clips, {self.num_frames} frames in {self.output_dir}"]
        place = self.output_dir / (WORK_FOLDER if self.missing_shards else QUARANTINE_NAME)
        lines.append(f"{len(self.quarantined)} quarantined, listed with reasons in {place}")
        if self.num_ignored:
            lines.append(f"{self.num_ignored} files ignored: not an image or video by its name")
        if self.missing_shards:
            numbers = ", ".join(map(str, self.missing_shards))
            lines.append(f"Not finished: {len(self.missing_shards)} shards are missing ({numbers})")
        return "\n".join(lines)


def prepare_clips(
    source_dir: str | os.PathLike,
    output_dir: str | os.PathLike,
    *,
    options: PreparationOptions,
    num_shards: int = 16,
    shard_index: int | None = None,
    num_processes: int = 1,
    progress: bool = True,
) -> PreparationReport:
    """
    Make a set of clips, or one shard of it, or what an earlier run left.

    Args:
        source_dir: a tree; every folder that directly holds images is a sequence, and every video file.
        output_dir: absent, empty, or the same set from an earlier run or another machine.
        num_shards (`int`): files of the set; the same for all who make it.
        shard_index (`int`, *optional*): make this shard alone.
        num_processes (`int`): shards that are made at once; with more than 1 the caller's script needs the usual
            `if __name__ == "__main__":` guard. Changes no byte. The disk of `output_dir` needs room for the longest
            sequence as many times.
        progress (`bool`): show a bar, which counts sequences.

    Returns:
        A report. A shard that another process is writing is left to it, and counts as missing.

    Raises:
        ValueError: before any work: an argument out of its range, no sequence, folders of frames without `fps`. After
            it: not one clip could be made; `quarantine.csv` says why.
        FileExistsError: before any work: `output_dir` holds something else, or the same set of other files or by other
            versions of libraries.
        OSError: a fault that may pass, of the network or of memory; names the sequence. Run again.
        ModuleNotFoundError: before any work: there are videos, but no PyAV.
    """
    _check_counts(num_shards, shard_index, num_processes)
    source_dir, output_dir = Path(os.path.abspath(source_dir)), Path(os.path.abspath(output_dir))
    if not source_dir.is_dir():
        raise NotADirectoryError(f"{source_dir} is no folder to prepare clips from.")
    if output_dir.resolve().is_relative_to(source_dir.resolve()):
        raise ValueError(
            f"{output_dir} lies in {source_dir}, which would then hold its own clips; give another folder."
        )
    if options.dataset is None:
        options = replace(options, dataset=readable(source_dir.name))  # `replace` refuses the root, which has no name
    listing = list_sources(source_dir)
    _check_sources(source_dir, listing, options)
    fingerprint = _claim(output_dir, _describe(listing, options, num_shards))

    wanted = range(num_shards) if shard_index is None else [shard_index]
    jobs = [
        ShardJob(source_dir, output_dir, listing.sources[number::num_shards], options, number, num_shards, fingerprint)
        for number in wanted
        if read_record(output_dir, number, num_shards, fingerprint) is None
    ]
    run_shards(jobs, num_processes, progress)

    records = [read_record(output_dir, number, num_shards, fingerprint) for number in range(num_shards)]
    quarantined = _collect_quarantined(listing, records)
    finished = [record for record in records if record is not None]
    missing = tuple(number for number, record in enumerate(records) if record is None)
    if not missing:
        _finish(output_dir, options, listing, records, quarantined)
    return PreparationReport(
        output_dir,
        sum(record["num_clips"] for record in finished),
        sum(record["num_frames"] for record in finished),
        quarantined,
        listing.num_ignored,
        missing,
        tuple(number for number in missing if number in wanted),
    )


# --------------------------------------------------------------------------------------------------- before any work


def _check_counts(num_shards: int, shard_index: int | None, num_processes: int) -> None:
    if not 1 <= num_shards <= 99_999:  # the names of the shards have five digits
        raise ValueError(f"`num_shards` must lie in 1 to 99999, got {num_shards}.")
    if shard_index is not None and not 0 <= shard_index < num_shards:
        raise ValueError(
            f"`shard_index` must lie in 0 to {num_shards - 1} for {num_shards} shards, got {shard_index}."
        )
    if num_processes < 1:
        raise ValueError(f"`num_processes` must be 1 or more, got {num_processes}.")


def _check_sources(source_dir: Path, listing: Listing, options: PreparationOptions) -> None:
    if not listing.sources:
        problem = "".join(f" {item.path}: {item.reason}." for item in listing.quarantined[:1])
        raise ValueError(
            f"{source_dir} holds no images and no videos, by their names; {listing.num_ignored} other files are there."
            f"{problem}"
        )
    folder = next((source for source in listing.sources if not source.is_video), None)
    if folder is not None and options.fps is None:
        raise ValueError(
            f"{source_dir / folder.sample_id} is a folder of frames, which do not say how many there are a second:"
            " give `fps` (--fps)."
        )
    if any(source.is_video for source in listing.sources):
        from .video_frames import import_pyav

        import_pyav()


def _describe(listing: Listing, options: PreparationOptions, num_shards: int) -> dict[str, Any]:
    libraries = ["pillow", "pyarrow", *(["av"] if any(source.is_video for source in listing.sources) else [])]
    return {
        "preparation_version": PREPARATION_VERSION,
        **asdict(options),
        "fps": None if options.fps is None else float(options.fps),  # 200 and 200.0 are one set
        "num_shards": num_shards,
        "num_sequences": len(listing.sources),
        "listing": listing.digest,
        **{f"{library}_version": version(library) for library in libraries},  # other encoders give other bytes
    }


def _claim(output_dir: Path, description: dict[str, Any]) -> str:
    """
    Make `output_dir` this set's, or see that it is.

    Returns:
        The fingerprint of `description`.
    """
    if output_dir.exists() and not output_dir.is_dir():
        raise FileExistsError(f"{output_dir} is not a folder.")
    work = output_dir / WORK_FOLDER
    path = work / DESCRIPTION_NAME
    # Before the description is looked for: another machine may be at the same point, and writes that first.
    present = list(output_dir.iterdir()) if output_dir.exists() else []
    if present == [work] and work.is_dir():
        present = [item for item in work.iterdir() if item.suffix != UNFINISHED]
    known = read_json(path)
    if known is None:
        if present:
            raise FileExistsError(f"{output_dir} holds something else ({present[0].name}); give another folder.")
        work.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(description, indent=2) + "\n")
        known = read_json(path)
    if known != description:
        differing = [name for name in description if known is None or known.get(name) != description[name]]
        if not differing or differing[0] in ("num_sequences", "listing"):
            difference = "from other files: sequences or frames were added, removed or changed"
        else:
            before = None if known is None else known.get(differing[0])
            difference = f"with another `{differing[0]}`: {before}, not {description[differing[0]]}"
        raise FileExistsError(f"{output_dir} holds a set that was made {difference}; give another folder.")
    (output_dir / "data").mkdir(exist_ok=True)
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:16]


# ------------------------------------------------------------------------------------------------ when all are there


def _finish(
    output_dir: Path,
    options: PreparationOptions,
    listing: Listing,
    records: Sequence[dict[str, Any]],
    quarantined: Sequence[Quarantined],
) -> None:
    with file_lock(lock_path(output_dir), len(records), 1, LOCK_SECONDS) as is_ours:
        if not is_ours:  # another process is at it
            return
        table = StringIO()
        rows = csv.writer(table, lineterminator="\n")
        rows.writerow(("path", "reason"))
        rows.writerows((item.path, item.reason) for item in quarantined)
        write_text(output_dir / QUARANTINE_NAME, table.getvalue())
        if not any(record["num_clips"] for record in records):
            raise ValueError(
                f"{len(listing.sources)} sequences gave no clip; {output_dir / QUARANTINE_NAME} says why."
            )
        index = ClipIndex(
            tuple(shard_names(len(records))),
            tuple(record["num_clips"] for record in records),
            sum(record["num_frames"] for record in records),
            {options.dataset: sorted({subject for record in records for subject in record["subjects"]})},
            content_fingerprint([record["fingerprint"] for record in records]),
        )
        write_clip_card(output_dir, _card_text(options, listing, index, len(quarantined)), index)
        index.save(output_dir)
        for folder in (output_dir, output_dir / WORK_FOLDER):  # what killed runs left
            for temporary in folder.glob(f"*{UNFINISHED}"):
                temporary.unlink(missing_ok=True)


def _card_text(options: PreparationOptions, listing: Listing, index: ClipIndex, num_quarantined: int) -> str:
    num_videos = sum(source.is_video for source in listing.sources)
    rate = "given by each video" if options.fps is None else f"{options.fps:g} frames a second where no video gives it"
    kept = "files that needed no change keep their bytes, EXIF (the place, the camera) and comments included"
    return f"""# {options.dataset}: clips for pretraining

{index.total_clips} clips, {index.num_frames} frames, {len(index.subjects[options.dataset])} subjects.
Made by `micron-bert prepare-clips`; not labelled. The licence is that of the source.

| | |
|---|---|
| Sources | {len(listing.sources) - num_videos} folders of frames, {num_videos} videos |
| Subject | component {options.subject_level} of the path below the source folder |
| Rate | {rate} |
| Frames | shorter side reduced to {options.image_size} pixels where it was more, never enlarged |
| Encoding | {options.encoding}; {kept} |
| Clips | at most {options.clip_frames} frames, without a gap in their numbers or times |
| Not in the set | {num_quarantined}, each with its reason in `{QUARANTINE_NAME}` |
| Ignored | {listing.num_ignored} files that are no image or video by their name |
| Fingerprint | `{index.fingerprint}` |"""


def _collect_quarantined(listing: Listing, records: Sequence[dict[str, Any] | None]) -> tuple[Quarantined, ...]:
    items = [*listing.quarantined]
    for record in records:
        if record is not None:
            items += [Quarantined(**item) for item in record["quarantined"]]
    return tuple(sorted(items, key=lambda item: (item.path, item.reason)))
