"""CASME II: 255 clips of 26 people at 200 frames a second.

Yan et al., PLoS ONE 9(1) e86041 (2014). The label sheet circulates in several versions, which differ in apexes:

    CASME2-coding-20140508.xlsx   as released; one apex is "/", of sub04 EP12_01f
    the same, edited by others    that apex filled in, with values that differ (279, 300, 303, 312)
    CASME2-coding-updated.xlsx    21 apexes missing

Layouts: `subXX/EPyy_zz/imgN.jpg` in CASME2_RAW_selected (onset to offset) or CASME2-RAW (longer clips), and
`subXX/EPyy_zz/reg_imgN.jpg` in Cropped or Cropped-updated, the lab's own registered crops.
"""

from collections.abc import Mapping

from .annotations import LEFT_OUT, UNLABELLED, Annotation, Erratum, Repair
from .database import Database, Part, Reading, ReadRequest, SheetVersion, Terms
from .expected_counts import counted_labels
from .raw_tree import RawTree
from .reading import known_label, read_clips, stated_frames, with_single_folders
from .sheets import LabelSheet, SheetRow, frame_number, read_label_sheet


_SHEETS = (r"CASME2-coding.*", r"CASME2_label.*", r".*CASME.?(2|II).*(coding|label).*")
_OBJECTIVE_SHEETS = (r"CASME2-ObjectiveClasses.*", r".*CASME.?(2|II).*objective.*")
_RAW_FOLDERS = (r"CASME2[_-]RAW[_-]selected", r"CASME2[_-]RAW")
_CROPPED = (r".*Cropped.*",)
_LABELS = counted_labels("casme2")
_OBJECTIVE_FIELDS = ("subject", "clip", "objective_class")

ERRATA = (
    Erratum(
        "sub24/EP02_02f",
        "folder",
        "EP02_02f",
        "EP02_07",
        "its frames lie under EP02_07, which no row names (README of MER2; meb finds the same)",
    ),
    Erratum(
        "sub07/EP06_01",
        "offset",
        "68",
        "91",
        "the sheet of 2014 has 68; meb took 91 from the frames on disk",
    ),
)


def read(tree: RawTree, request: ReadRequest) -> Reading:
    path = tree.find_sheet(_SHEETS, request.sheet)
    sheet = read_label_sheet(
        path, ("subject", "clip", "onset", "apex", "offset", "emotion"), ("action_units", "objective_class")
    )
    objective, objective_sheets = _objective_classes(tree)
    crops = {"required": _CROPPED} if request.official_crops else {"refused": _CROPPED, "preferred": _RAW_FOLDERS}
    frames_folder = tree.find_folder(r"sub\d{1,2}", "sub01", **crops)

    def with_class(values: Mapping[str, str], row: SheetRow, where: str) -> list[Annotation]:
        objective_class = values["objective_class"] or objective.get(recording(values), "")
        return [to_annotation({**values, "objective_class": objective_class}, row, where)]

    samples, repairs = read_clips(
        tree,
        frames_folder,
        sheet,
        errata=ERRATA if request.errata else (),
        recording=recording,
        clip_paths=lambda values: [(f"sub{subject(values)}", values["folder"])],
        to_annotations=with_class,
    )
    samples, repairs = with_single_folders(samples, repairs)
    named = {recording(row.values) for row in sheet.rows}
    repairs += [
        Repair(name, "objective_class", objective[name], LEFT_OUT, UNLABELLED, "the label sheet has no such clip")
        for name in sorted(objective.keys() - named)
    ]
    folder = frames_folder.relative_to(tree.root).as_posix()
    return Reading(tuple(samples), tuple(repairs), (sheet_version(sheet), *objective_sheets), folder)


def subject(values: Mapping[str, str]) -> str:
    """Two digits, also where a copy of the sheet was saved with numbers."""
    text = values["subject"]
    return f"{int(text):02d}" if text.isdecimal() else text


def recording(values: Mapping[str, str]) -> str:
    return f"sub{subject(values)}/{values['clip']}"


def to_annotation(values: Mapping[str, str], row: SheetRow, where: str) -> Annotation:
    """Pure: a row's corrected values to what it states."""
    return Annotation(
        sample_id=f"sub{subject(values)}_{values['clip']}",
        subject_id=subject(values),
        recording=recording(values),
        **stated_frames(values, where),
        label_raw=known_label(values["emotion"], _LABELS, where),
        where=where,
        objective_class=values["objective_class"],
        action_units_raw=values["action_units"],
        cells=row.cells,
    )


def sheet_version(sheet: LabelSheet) -> SheetVersion:
    """Which of the known versions: they differ in how many apexes are missing."""
    without_apex = sum(frame_number(row.values["apex"], sheet.where(row)) is None for row in sheet.rows)
    known = {
        0: "an edited copy, in which the apex that the release of 2014 lacks is filled in",
        1: "2014-05-08, as released: one apex missing",
        21: "the updated one: 21 apexes missing",
    }
    is_known = len(sheet.rows) == 255 and without_apex in known
    version = (
        known[without_apex]
        if is_known
        else f"a version that is not known: {len(sheet.rows)} clips, {without_apex} without apex (the known ones have"
        f" 255, and {', '.join(map(str, known))})"
    )
    return SheetVersion(sheet.path.name, sheet.worksheet, version, is_known)


def _objective_classes(tree: RawTree) -> tuple[dict[str, str], tuple[SheetVersion, ...]]:
    """Recording -> objective class, from the sheet of its own that the release has beside; may be absent."""
    try:
        path = tree.find_sheet(_OBJECTIVE_SHEETS, way_out="leave one of them there")
    except FileNotFoundError:
        return {}, ()
    sheet = read_label_sheet(path, _OBJECTIVE_FIELDS)
    version = SheetVersion(path.name, sheet.worksheet, f"objective classes of {len(sheet.rows)} clips", True)
    return {recording(row.values): row.values["objective_class"] for row in sheet.rows}, (version,)


CASME2 = Database(
    name="casme2",
    title="CASME II",
    terms=Terms(
        "casme2-release-agreement",
        "http://casme.psych.ac.cn/casme/e2",
        "Research only, by signed agreement; not to be passed on.",
    ),
    parts={
        "all": Part(
            dataset="casme2",
            kind="labelled",
            fps=200.0,
        )
    },
    read=read,
    errata=ERRATA,
    has_official_crops=True,
    certain="columns, versions and counts of the label sheet; folders and file names",
    to_confirm="that every clip of the sheet has its folder; the two errata, which others found on their disks",
)
