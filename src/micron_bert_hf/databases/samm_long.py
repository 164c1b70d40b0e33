"""SAMM Long Videos: 147 long recordings at 200 frames a second, grey, with their micro- and macro-expressions.

Yap et al., FG 2020. SAMM_LongVideos_V1_Release.xlsx, V2 and V3 have a preamble of nine lines and 502 expressions, 159
of them micro; of several, the latest is taken. They have no emotions: those of micro-expressions come from SAMM's own
sheet, by `Filename`, if that lies in the raw folder too. Frames are numbered anew, so that the same expression has
other numbers than in SAMM. An onset of 0 says that the expression is longer than its recording, an apex of -1 that
there is none.

Layout: `SAMM_longvideos/006_1/006_1_0001.jpg`. The expression `006_1_2` is in the recording `006_1`, of person `006`.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from .annotations import Annotation, Repair, left_out
from .database import Database, Part, Reading, ReadRequest, SheetVersion
from .raw_tree import RawTree
from .reading import (
    expression_kind,
    group_recordings,
    known_label,
    stated_frames,
    unread_folder,
    unread_rows,
    version_by_rows,
)
from .samm import SAMM_LABELS, SAMM_TERMS, SAMM_VERSIONS, subject
from .sheets import LabelSheet, SheetRow, read_label_sheet


_SHEETS = (*(rf"SAMM_?LongVideos_V{number}_Release.*" for number in (3, 2, 1)), r"SAMM.*Long.*")
_SAMM_SHEETS = (r"SAMM(_\d+)?_Micro_FACS_Codes.*",)
_RECORDING = r"\d{3}_\d+"
_EVENT = re.compile(r"(\d+)_(\d+)_\w+")
_ROWS, _MICRO_ROWS = 502, 159


def read(tree: RawTree, request: ReadRequest) -> Reading:
    path = tree.find_sheet(_SHEETS, request.sheet)
    # not the sheet's durations: whether they count both ends, as SAMM's do, nobody has said
    sheet = read_label_sheet(path, ("subject", "clip", "onset", "apex", "offset", "type"), ("action_units",))
    emotions, samm_versions = _samm_sheet(tree)
    frames_folder = tree.find_folder(
        _RECORDING, "006_1", refused=(r".*crop.*",), preferred=(r"SAMM[_ ]?longvideos", r"SAMM[_ ]?LV")
    )
    annotations: list[Annotation] = []
    repairs: list[Repair] = unread_rows(sheet)
    for row in sheet.rows:
        annotation = to_annotation(row.values, row, sheet.where(row), emotions)
        if emotions and annotation.kind == "micro" and row.values["clip"] not in emotions:
            reason = "the sheet of SAMM does not name it; it has no label"
            repairs.append(Repair(annotation.sample_id, "emotion", "", "", "emotion", reason))
        if annotation.onset == 0:
            repairs.append(left_out(annotation, "0", "an onset of 0: it is longer than its recording"))
        else:
            annotations.append(annotation)
    recordings: dict[str, tuple[str, Path]] = {}
    for name in tree.folder_names(frames_folder):
        if re.fullmatch(_RECORDING, name):
            recordings[name] = (name.partition("_")[0], frames_folder / name)
        else:
            repairs.append(unread_folder(tree, frames_folder / name, "its name is no recording's"))
    samples, missing = group_recordings(tree, frames_folder, recordings, annotations)
    folder = frames_folder.relative_to(tree.root).as_posix()
    return Reading(tuple(samples), (*repairs, *missing), (sheet_version(sheet), *samm_versions), folder)


def recording(values: Mapping[str, str], where: str) -> str:
    """
    Pure: the recording in which an expression is: `006_1_2` is in `006_1`.

    Raises:
        ValueError: its name is no such name, or that of another person than the row's.
    """
    found = _EVENT.fullmatch(values["clip"])
    if found is None:
        raise ValueError(f"{where}: {values['clip']!r} is no expression of SAMM, such as 006_1_2")
    if subject(found[1]) != subject(values["subject"]):
        raise ValueError(f"{where}: {values['clip']} is of {subject(found[1])}, the row of {values['subject']}")
    return f"{subject(found[1])}_{found[2]}"


def to_annotation(
    values: Mapping[str, str], row: SheetRow, where: str, emotions: Mapping[str, Mapping[str, str]]
) -> Annotation:
    """
    Pure: a row's values to what it states.

    Args:
        emotions: expression -> `emotion` and `objective_class`, of micro-expressions; may be empty.
    """
    kind = expression_kind(values["type"], where)
    about = emotions.get(values["clip"], {}) if kind == "micro" else {}
    return Annotation(
        sample_id=values["clip"],
        subject_id=subject(values["subject"]),
        recording=recording(values, where),
        **stated_frames(values, where),
        label_raw=about.get("emotion", ""),
        where=where,
        kind=kind,
        objective_class=about.get("objective_class", ""),
        action_units_raw=values["action_units"],
        cells=row.cells,
    )


def sheet_version(sheet: LabelSheet) -> SheetVersion:
    """The three versions say which they are in their names alone."""
    micro = sum(expression_kind(row.values["type"], sheet.where(row)) == "micro" for row in sheet.rows)
    found = f"{len(sheet.rows)} expressions, {micro} of them micro"
    named = re.search(r"_(V\d)_", sheet.path.stem, re.IGNORECASE)
    is_known = (len(sheet.rows), micro) == (_ROWS, _MICRO_ROWS) and named is not None
    unknown = f"a version that is not known: {found}; V1, V2 and V3 have {_ROWS}, {_MICRO_ROWS} of them micro"
    return SheetVersion(
        sheet.path.name, sheet.worksheet, f"{named[1].upper()}: {found}" if is_known else unknown, is_known
    )


def _samm_sheet(tree: RawTree) -> tuple[dict[str, Mapping[str, str]], tuple[SheetVersion, ...]]:
    """Expression -> its emotion and objective class, from the sheet of SAMM if that is there."""
    try:
        path: Path = tree.find_sheet(_SAMM_SHEETS, way_out="leave one of them there")
    except FileNotFoundError:
        return {}, ()
    sheet = read_label_sheet(path, ("subject", "clip", "emotion"), ("objective_class",))
    for row in sheet.rows:
        known_label(row.values["emotion"], SAMM_LABELS, sheet.where(row))
    return {row.values["clip"]: row.values for row in sheet.rows}, (version_by_rows(sheet, SAMM_VERSIONS),)


SAMM_LONG = Database(
    name="samm_long",
    title="SAMM Long Videos",
    terms=SAMM_TERMS,
    parts={
        "all": Part(
            # its recordings are those from which SAMM's clips were cut: a model that has seen one has seen the people
            # of the other
            dataset="samm",
            kind="recordings",
            fps=200.0,
        )
    },
    read=read,
    certain="columns, preamble and counts of the label sheets; names of folders and files; what 0 and -1 mean",
    to_confirm="numbers of people (29 to 32 are told of); that every expression is named after its recording; that the"
    " two sheets name the same micro-expressions, by which emotions are joined",
)
