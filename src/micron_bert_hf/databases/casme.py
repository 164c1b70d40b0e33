"""CASME: 195 micro-expressions, of which readers use 189, at 60 frames a second.

Yan et al., FG 2013. The label sheet, which circulates as casme.xlsx, has two columns for the apex; the second is taken
where the first says nothing.

Layouts: `sub01/EP01_5/EP01_5-113.jpg` in CASME_raw_selected and, for the lab's own registered crops,
`sub01/EP01_5/reg_EP01_5-113.jpg` in Cropped; some clips pad the number to three digits.
"""

from collections.abc import Mapping

from .annotations import Annotation
from .casme2 import recording, subject
from .database import Database, Part, Reading, ReadRequest, Terms
from .raw_tree import RawTree
from .reading import known_label, read_clips, stated_frames, version_by_rows, with_single_folders
from .sheets import SheetRow, frame_number, read_label_sheet


_SHEETS = (r"CASME", r"CASME[ _-]?(coding|label).*")
_RAW_FOLDERS = (r"CASME[_-]raw[_-]selected",)
_CROPPED = (r".*Cropped.*",)
_LABELS = frozenset(
    ("contempt", "disgust", "fear", "happiness", "repression", "sadness", "surprise", "tense")
)  # fmt: skip
_ROWS = 189
_VERSIONS = {_ROWS: "the one that meb reads; the lab's page speaks of 195"}


def read(tree: RawTree, request: ReadRequest) -> Reading:
    path = tree.find_sheet(_SHEETS, request.sheet)
    sheet = read_label_sheet(
        path, ("subject", "clip", "onset", "apex", "offset", "emotion"), ("apex_2", "action_units")
    )
    crops = {"required": _CROPPED} if request.official_crops else {"refused": _CROPPED, "preferred": _RAW_FOLDERS}
    frames_folder = tree.find_folder(r"sub\d{1,2}", "sub01", **crops)
    samples, repairs = read_clips(
        tree,
        frames_folder,
        sheet,
        errata=(),
        recording=recording,
        clip_paths=lambda values: [(f"sub{subject(values)}", values["folder"])],
        to_annotations=lambda values, row, where: [to_annotation(values, row, where)],
    )
    samples, repairs = with_single_folders(samples, repairs)
    folder = frames_folder.relative_to(tree.root).as_posix()
    return Reading(tuple(samples), tuple(repairs), (version_by_rows(sheet, _VERSIONS),), folder)


def to_annotation(values: Mapping[str, str], row: SheetRow, where: str) -> Annotation:
    """Pure: a row's values to what it states."""
    is_first_blank = frame_number(values["apex"], f"{where}, apex") is None
    apex = values["apex_2"] if is_first_blank else values["apex"]
    return Annotation(
        sample_id=f"sub{subject(values)}_{values['clip']}",
        subject_id=subject(values),
        recording=recording(values),
        **stated_frames({**values, "apex": apex}, where),
        label_raw=known_label(values["emotion"], _LABELS, where),
        where=where,
        action_units_raw=values["action_units"],
        cells=row.cells,
    )


CASME = Database(
    name="casme",
    title="CASME",
    terms=Terms(
        "casme-release-agreement",
        "http://casme.psych.ac.cn/casme/e1",
        "Research only, by signed agreement; not to be passed on.",
    ),
    parts={
        "all": Part(
            dataset="casme",
            kind="labelled",
            fps=60.0,
        )
    },
    read=read,
    has_official_crops=True,
    certain="columns of the sheet and names of folders, as meb reads them; the eight classes",
    to_confirm="the sheet's official name; numbers of clips, people and classes; the mistakes that meb mends in the"
    " rows 40, 42, 43, 54 and 140 (counted from 0), which are not applied, since nothing names their clips: what is"
    " out of order is repaired by rule",
)
