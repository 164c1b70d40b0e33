"""MMEW: 300 micro-expressions; beside them 900 macro-expressions, which are not read.

Ben et al., IEEE TPAMI 44(9) (2022). The label sheet is MMEW_Micro_Exp.xlsx.

Layouts: `S03/happiness/S03-01-002/1.jpg`, as the lab's page has it (person, emotion, clip), and
`MMEW_Final/Micro_Expression/happiness/S03-01-002/1.jpg`, as code reads it. What the sheet calls others may lie in a
folder that is called repression.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from .annotations import Annotation
from .database import Database, Part, Reading, ReadRequest, Terms
from .raw_tree import RawTree
from .reading import known_label, read_clips, stated_frames, version_by_rows, with_single_folders
from .sheets import SheetRow, read_label_sheet


_SHEETS = (r"MMEW_Micro_Exp.*", r"MMEW.*Micro.*")
_OTHERS = ("others", "repression")
_LABELS = frozenset(("anger", "disgust", "fear", "happiness", "sadness", "surprise", *_OTHERS))
_MACRO = (r".*macro.*",)
_ROWS = 300


def read(tree: RawTree, request: ReadRequest) -> Reading:
    path = tree.find_sheet(_SHEETS, request.sheet)
    sheet = read_label_sheet(path, ("subject", "clip", "onset", "apex", "offset", "emotion"), ("action_units",))
    frames_folder, is_by_person = _frames(tree)

    def paths(values: Mapping[str, str]) -> list[tuple[str, ...]]:
        emotion = values["emotion"].strip().lower()
        folders = (emotion, *(name for name in _OTHERS if name != emotion)) if emotion in _OTHERS else (emotion,)
        person = (subject(values["subject"]),) if is_by_person else ()
        return [(*person, folder, values["folder"]) for folder in folders]

    samples, repairs = read_clips(
        tree,
        frames_folder,
        sheet,
        errata=(),
        recording=lambda values: values["clip"],
        clip_paths=paths,
        to_annotations=lambda values, row, where: [to_annotation(values, row, where)],
    )
    samples, repairs = with_single_folders(samples, repairs)
    folder = frames_folder.relative_to(tree.root).as_posix()
    return Reading(tuple(samples), tuple(repairs), (version_by_rows(sheet, {_ROWS: "of the release"}),), folder)


def subject(text: str) -> str:
    """As the folders have it, `S03`, whether the sheet has `S03`, `S3` or `3`."""
    digits = re.fullmatch(r"S?0*(\d{1,2})", text, re.IGNORECASE)
    if digits is None:
        raise ValueError(f"{text!r} is no subject of MMEW, such as S03")
    return f"S{int(digits[1]):02d}"


def to_annotation(values: Mapping[str, str], row: SheetRow, where: str) -> Annotation:
    """Pure: a row's values to what it states."""
    return Annotation(
        sample_id=values["clip"],
        subject_id=subject(values["subject"]),
        recording=values["clip"],
        **stated_frames(values, where),
        label_raw=known_label(values["emotion"], _LABELS, where),
        where=where,
        action_units_raw=values["action_units"],
        cells=row.cells,
    )


def _frames(tree: RawTree) -> tuple[Path, bool]:
    """The folder, and whether it has a folder a person instead of one an emotion."""
    try:
        return tree.find_folder(r"S\d{1,2}", "S03", refused=_MACRO), True
    except FileNotFoundError as by_person:
        emotions = "|".join(sorted(_LABELS))
        try:
            return tree.find_folder(emotions, "happiness", refused=_MACRO, preferred=(r"Micro_Expression",)), False
        except FileNotFoundError as by_emotion:
            raise FileNotFoundError(f"{by_person} Nor is the other layout there: {by_emotion}") from by_emotion


MMEW = Database(
    name="mmew",
    title="MMEW",
    terms=Terms(
        "mmew-release-agreement",
        "http://www.dpailab.com/database.html",
        "Research only, by signed agreement, sent by e-mail; not to be passed on.",
    ),
    parts={
        "all": Part(
            dataset="mmew",
            kind="labelled",
            fps=90.0,
        )
    },
    read=read,
    certain="columns of the sheet; 300 micro-expressions; folders by person, as the lab's page has them",
    to_confirm="90 frames a second, which is from memory; numbers of people and classes; which of the two layouts is"
    " the release's, and that others lie under repression; the apex and offset that meb mends in 16 rows (33, 35 to"
    " 42, 142, 143, 145, 146, 148, 154, 156, counted from 0), which are not applied, since nothing names their clips:"
    " what is out of order is repaired by rule",
)
