"""SAMM: 159 micro-expressions of 29 people at 200 frames a second, grey.

Davison et al., IEEE TAFFC 9(1) (2018). The sheet SAMM_Micro_FACS_Codes_v2.xlsx has a preamble of 13 lines. In copies
that nobody edited the apex of 028_4_1, 032_3_1 and 032_3_2 lies outside of onset and offset, and the offset of 013_1_9
does not agree with its duration; edited copies differ, so that these are found by rule, not by value.

Layout: `006/006_1_2/006_05562.jpg`; the number is padded to four or five digits.
"""

from collections.abc import Mapping

from .annotations import Annotation
from .database import Database, Part, Reading, ReadRequest, Terms
from .expected_counts import counted_labels
from .raw_tree import RawTree
from .reading import known_label, read_clips, stated_frames, version_by_rows, with_single_folders
from .sheets import SheetRow, frame_number, read_label_sheet


_SHEETS = (r"SAMM(_\d+)?_Micro_FACS_Codes_v2.*", r"SAMM.*Micro.*FACS.*", r".*SAMM.*FACS.*")
SAMM_LABELS = counted_labels("samm")
SAMM_VERSIONS = {159: "v2"}
SAMM_TERMS = Terms(
    "samm-release-agreement",
    "https://helward.mmu.ac.uk/STAFF/M.Yap/dataset.php",
    "Research only, by signed agreement with Manchester Metropolitan University; not to be passed on.",
)


def read(tree: RawTree, request: ReadRequest) -> Reading:
    path = tree.find_sheet(_SHEETS, request.sheet)
    sheet = read_label_sheet(
        path,
        ("subject", "clip", "onset", "apex", "offset", "emotion"),
        ("duration", "action_units", "objective_class"),
    )
    frames_folder = tree.find_folder(r"\d{3}", "006", refused=(r".*long.*",), preferred=(r"SAMM", r"SAMM.*"))
    samples, repairs = read_clips(
        tree,
        frames_folder,
        sheet,
        errata=(),
        recording=lambda values: values["clip"],
        clip_paths=lambda values: [(subject(values["subject"]), values["folder"])],
        to_annotations=lambda values, row, where: [to_annotation(values, row, where)],
    )
    samples, repairs = with_single_folders(samples, repairs)
    folder = frames_folder.relative_to(tree.root).as_posix()
    return Reading(tuple(samples), tuple(repairs), (version_by_rows(sheet, SAMM_VERSIONS),), folder)


def subject(text: str) -> str:
    """Three digits, as the folders have: the sheet stores numbers."""
    return f"{int(text):03d}" if text.isdecimal() else text


def to_annotation(values: Mapping[str, str], row: SheetRow, where: str) -> Annotation:
    """Pure: a row's values to what it states."""
    return Annotation(
        sample_id=values["clip"],
        subject_id=subject(values["subject"]),
        recording=values["clip"],
        **stated_frames(values, where),
        label_raw=known_label(values["emotion"], SAMM_LABELS, where),
        where=where,
        duration=frame_number(values["duration"], where),
        objective_class=values["objective_class"],
        action_units_raw=values["action_units"],
        cells=row.cells,
    )


SAMM = Database(
    name="samm",
    title="SAMM",
    terms=SAMM_TERMS,
    parts={
        "all": Part(
            dataset="samm",
            kind="labelled",
            fps=200.0,
        )
    },
    read=read,
    certain="columns, preamble and counts of the label sheet; folders and file names",
    to_confirm="what an unedited sheet has for 013_1_9, 028_4_1, 032_3_1 and 032_3_2; repairs.csv shows it",
)
