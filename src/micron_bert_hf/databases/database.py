"""What a converter of one database says about it, and what it reads; the rest is the same for all."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .annotations import Annotation, Erratum, Repair
from .raw_tree import FrameFiles, RawTree


# What a row of the converted set is: one labelled micro-expression; a long recording with its intervals; a piece of
# unlabelled video for pretraining.
KINDS = ("labelled", "recordings", "unlabelled")


@dataclass(frozen=True)
class Terms:
    """
    On what terms the lab gives the database away.

    Args:
        name (`str`): of the licence, as it stands in a dataset card.
        url (`str`): where the agreement is to be had.
        text (`str`): what it comes to, in our words.
    """

    name: str
    url: str
    text: str


@dataclass(frozen=True)
class Part:
    """
    A part of a release that makes one set.

    Args:
        dataset (`str`): the column `dataset`. Sets with the same people have the same, so that an evaluation can tell
            whom a model has seen.
        kind (`str`): one of `KINDS`.
        fps (`float`): frames a second.
    """

    dataset: str
    kind: str
    fps: float


@dataclass(frozen=True)
class SheetVersion:
    """
    A sheet that was read.

    Args:
        file (`str`), worksheet (`str`): its name, not its path.
        version (`str`): which one it is, or that it is not known.
        is_known (`bool`)
    """

    file: str
    worksheet: str
    version: str
    is_known: bool

    def __str__(self) -> str:
        return f"{self.file} ({self.worksheet}): {self.version}"


@dataclass(frozen=True)
class RawSample:
    """
    What becomes one row (of unlabelled video: some).

    Args:
        sample_id, subject_id (`str`): as in the converted set.
        files (`FrameFiles`): its frames on disk.
        annotations (`tuple[Annotation, ...]`): one of a labelled sample, all of a recording, none of unlabelled video.
    """

    sample_id: str
    subject_id: str
    files: FrameFiles
    annotations: tuple[Annotation, ...] = ()


@dataclass(frozen=True)
class Reading:
    """
    What a release holds, before a frame is decoded.

    Args:
        samples (`tuple[RawSample, ...]`)
        repairs (`tuple[Repair, ...]`): errata that were applied, rows that make no sample.
        sheets (`tuple[SheetVersion, ...]`)
        frames_folder (`str`): below the raw folder.
    """

    samples: tuple[RawSample, ...]
    repairs: tuple[Repair, ...]
    sheets: tuple[SheetVersion, ...]
    frames_folder: str


@dataclass(frozen=True)
class ReadRequest:
    """
    Args:
        part (`str`): key of `Database.parts`.
        sheet (`Path`, *optional*): the label sheet, if it is not in the raw folder.
        errata (`bool`): apply the database's.
        official_crops (`bool`): take the lab's own cropped frames.
    """

    part: str
    sheet: Path | None = None
    errata: bool = True
    official_crops: bool = False


@dataclass(frozen=True)
class Database:
    """
    One converter.

    Args:
        name (`str`): on the command line.
        title (`str`): as its lab writes it.
        terms (`Terms`)
        parts (`Mapping[str, Part]`): the first is the default.
        read: finds sheets and frames and makes samples of them; raises OSError or ValueError with what was looked
            for, where, and what was found.
        errata (`tuple[Erratum, ...]`)
        has_official_crops (`bool`): whether the release has cropped frames beside the whole ones.
        certain, to_confirm (`str`): what is known of the release, and what the first user with the data must confirm.
    """

    name: str
    title: str
    terms: Terms
    parts: Mapping[str, Part]
    read: Callable[[RawTree, ReadRequest], Reading]
    certain: str
    to_confirm: str
    errata: tuple[Erratum, ...] = ()
    has_official_crops: bool = False
