"""4DME: micro-expressions with several labels each; its grey video is read.

Li et al., IEEE TAFFC (2022), doi 10.1109/TAFFC.2022.3182342. 4DME_Labelling_Micro_release v1.xlsx has the emotion as
text and as a flag each of five: the text is the label, the flags that are set are the labels. Action units that were
there all the time are marked "(k)" and are dropped.

Layout: `gray_micro/<subject>/<fold_name>/`, a folder a micro-expression.
"""

import re
import unicodedata
from collections.abc import Mapping

from .annotations import Annotation, Erratum
from .database import Database, Part, Reading, ReadRequest, Terms
from .raw_tree import RawTree
from .reading import known_label, read_clips, stated_frames, version_by_rows, with_single_folders
from .sheets import LabelSheet, SheetRow, read_label_sheet


_SHEETS = (r"4DME_Labelling_Micro.*", r".*4DME.*Micro.*")
# Columns of flags, in their order.
FLAGS = ("positive", "negative", "surprise", "repression", "others")
_ROWS = 267
_STATIC = "(k)"
_STATIC_REASON = 'units marked "(k)" were there all the time; meb drops them too'


def read(tree: RawTree, request: ReadRequest) -> Reading:
    path = tree.find_sheet(_SHEETS, request.sheet)
    sheet = read_label_sheet(
        path, ("subject", "clip", "onset", "apex", "offset", "emotion", *FLAGS), ("action_units",)
    )
    people = list(dict.fromkeys(row.values["subject"] for row in sheet.rows))
    frames_folder = tree.find_folder(
        "|".join(map(_folder_pattern, people)), people[0], refused=(r".*crop.*",), preferred=(r"gray_micro",)
    )
    samples, repairs = read_clips(
        tree,
        frames_folder,
        sheet,
        errata=static_units(sheet) if request.errata else (),
        recording=recording,
        clip_paths=lambda values: [(values["subject"], values["folder"])],
        to_annotations=lambda values, row, where: [to_annotation(values, row, where)],
    )
    samples, repairs = with_single_folders(samples, repairs)
    folder = frames_folder.relative_to(tree.root).as_posix()
    return Reading(tuple(samples), tuple(repairs), (version_by_rows(sheet, {_ROWS: "release v1"}),), folder)


def recording(values: Mapping[str, str]) -> str:
    return f"{values['subject']}/{values['clip']}"


def static_units(sheet: LabelSheet) -> tuple[Erratum, ...]:
    """What drops the units that are marked as static: an erratum a row that has some."""
    errata = []
    for row in sheet.rows:
        text = row.values["action_units"]
        kept = without_static_units(text)
        if kept != text:
            errata.append(Erratum(recording(row.values), "action_units", text, kept, _STATIC_REASON))
    return tuple(errata)


def without_static_units(text: str) -> str:
    """Pure: `"AU4(k)+L7"` to `"L7"`."""
    parts = text.split("+")
    kept = [part for part in parts if _STATIC not in unicodedata.normalize("NFKC", part).lower().replace(" ", "")]
    return text if len(kept) == len(parts) else "+".join(kept)


def is_set(text: str, where: str) -> bool:
    """
    Pure: a cell of flags; blank is not set.

    Raises:
        ValueError: it is neither blank nor 0 nor 1.
    """
    if text not in ("", "0", "1"):
        raise ValueError(f"{where}: {text!r} is no flag, such as 1 or 0")
    return text == "1"


def to_annotation(values: Mapping[str, str], row: SheetRow, where: str) -> Annotation:
    """Pure: a row's corrected values to what it states."""
    named = [part.strip().lower() for part in re.split(r"[+,/]", values["emotion"])]
    for part in named:
        known_label(part, frozenset(FLAGS), where)
    flagged = [flag for flag in FLAGS if is_set(values[flag], f"{where}, {flag}")]
    return Annotation(
        sample_id=f"{values['subject']}_{values['clip']}",
        subject_id=values["subject"],
        recording=recording(values),
        **stated_frames(values, where),
        label_raw=values["emotion"],
        where=where,
        labels=tuple(flagged or named),
        action_units_raw=values["action_units"],
        cells=row.cells,
    )


def _folder_pattern(name: str) -> str:
    """Regular expression of a folder of this name, whatever zeros its number is padded with."""
    return re.sub(r"\d+", lambda digits: f"0*{int(digits[0])}", re.escape(name))


FOURDME = Database(
    name="fourdme",
    title="4DME",
    terms=Terms(
        "4dme-release-agreement",
        "https://6gflagship.com/publications/4dme-a-spontaneous-4d-micro-expression-dataset-with-multimodalities",
        "Research only, by signed agreement with the University of Oulu; not to be passed on.",
    ),
    parts={
        "all": Part(
            dataset="fourdme",
            kind="labelled",
            fps=60.0,
        )
    },
    read=read,
    certain="columns of the sheet, as meb reads them; that its rows have several labels",
    to_confirm="60 frames a second, which is from memory; numbers of people and classes; how people and folders are"
    " written, and the emotions as text; that the rows 144 and 145 (counted from 0) have each other's action units, as"
    " meb says: they are not swapped, since nothing names their clips",
)
