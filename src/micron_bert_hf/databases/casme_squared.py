"""CAS(ME)^2: long recordings of 22 people at 30 frames a second, with their micro- and macro-expressions.

Qu et al., IEEE TAFFC 9(4) (2018). CAS(ME)^2code_final.xlsx has three worksheets without headers. The first has a row
an expression, nine columns: person, clip, onset, apex, offset, action units, emotion, type, self-report. The other two
are naming rules: `1` is the person `s15`, and the clip `disgust1_2`, the second expression in `disgust1`, is in the
recording `0101`. Where the offset is 0, in 44 rows, the expression ends at its apex.

Layout: `rawpic/s15/15_0101disgustingteeth/img001.jpg`. All recordings of the release are converted, also those in
which nothing was annotated.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from .annotations import LEFT_OUT, Annotation, Repair
from .database import Database, Part, Reading, ReadRequest, SheetVersion, Terms
from .expected_counts import counted_labels
from .raw_tree import RawTree
from .reading import expression_kind, group_recordings, known_label, stated_frames, unread_folder, unread_rows
from .sheets import LabelSheet, SheetRow, read_columns_by_place


_SHEETS = (r"CAS\(ME\)\^?2code_final.*", r"code_final.*")
_COLUMNS = ("subject", "clip", "onset", "apex", "offset", "action_units", "emotion", "type", "self_report")
_PERSON = r"s\d{1,2}"
_RECORDING = re.compile(r"(\d{1,2})_(\d{4}).*")
_NOT_RAW = (r".*selectedpic.*", r".*rawvideo.*", r".*crop.*")
# Of the micro-expressions.
_LABELS = counted_labels("casme_squared")
_ROWS, _MICRO_ROWS = 357, 57


def read(tree: RawTree, request: ReadRequest) -> Reading:
    path = tree.find_sheet(_SHEETS, request.sheet)
    sheet = read_columns_by_place(path, _COLUMNS)
    people, codes = naming_rules(path)
    frames_folder = tree.find_folder(_PERSON, "s15", refused=_NOT_RAW, preferred=(r"rawpic",))
    recordings, doubtful = _recordings(tree, frames_folder)
    annotations: list[Annotation] = []
    for row in sheet.rows:
        where = sheet.where(row)
        key = recording_key(row.values, people, codes, where)
        name = recordings[key].name if key in recordings else "_".join(key)
        annotations.append(to_annotation({**row.values, "person": f"s{key[0]}", "recording": name}, row, where))
    samples, repairs = group_recordings(
        tree,
        frames_folder,
        {folder.name: (f"s{person}", folder) for (person, _), folder in recordings.items()},
        annotations,
    )
    folder = frames_folder.relative_to(tree.root).as_posix()
    return Reading(tuple(samples), (*unread_rows(sheet), *doubtful, *repairs), (sheet_version(sheet),), folder)


def naming_rules(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """
    The second and third worksheet.

    Returns:
        Person in the first worksheet -> person on disk, `"1"` -> `"15"`; clip in the first worksheet, without the
        number of the expression, -> recording on disk, `"disgust1"` -> `"0101"`.
    """
    # what the reader of sheets calls subject and clip are a name and what it stands for
    by_person = read_columns_by_place(path, ("note", "subject", "clip"), worksheet=1)
    by_code = read_columns_by_place(path, ("subject", "clip"), worksheet=2)
    people, codes = {}, {}
    for row in by_person.rows:
        name, number = row.values["subject"], row.values["clip"]
        if re.fullmatch(_PERSON, name, re.IGNORECASE) and number.isdecimal():
            people[number] = f"{int(name[1:]):02d}"
    for row in by_code.rows:
        code, name = row.values["subject"], row.values["clip"]
        if re.fullmatch(r"\d{3,4}", code):
            codes[name.lower()] = code.zfill(4)  # a copy that was saved with numbers lost the zero
    for rule, sheet, example in ((people, by_person, "s15 and 1"), (codes, by_code, "0101 and disgust1")):
        if not rule:
            raise ValueError(f"{path}, {sheet.worksheet} is no naming rule: no row has the likes of {example}")
    return people, codes


def recording_key(
    values: Mapping[str, str], people: Mapping[str, str], codes: Mapping[str, str], where: str
) -> tuple[str, str]:
    """Pure: person and four digits of the recording that a row is about, as on disk: `("15", "0101")`."""
    clip = values["clip"].partition("_")[0].lower()
    for name, rule, example in ((values["subject"], people, "person"), (clip, codes, "clip")):
        if name not in rule:
            raise ValueError(f"{where}: the naming rules have no {example} {name!r}; they have {', '.join(rule)}")
    return people[values["subject"]], codes[clip]


def to_annotation(values: Mapping[str, str], row: SheetRow, where: str) -> Annotation:
    """Pure: a row's values, with the `person` and the `recording` on disk, to what it states."""
    return Annotation(
        sample_id=f"{values['person']}_{values['clip']}",
        subject_id=values["person"],
        recording=values["recording"],
        **stated_frames(values, where),
        label_raw=known_label(values["emotion"], _LABELS, where),
        where=where,
        kind=expression_kind(values["type"], where),
        action_units_raw=values["action_units"],
        cells=row.cells,
    )


def sheet_version(sheet: LabelSheet) -> SheetVersion:
    micro = sum(expression_kind(row.values["type"], sheet.where(row)) == "micro" for row in sheet.rows)
    found = f"{len(sheet.rows)} expressions, {micro} of them micro"
    is_known = (len(sheet.rows), micro) == (_ROWS, _MICRO_ROWS)
    unknown = f"a version that is not known: {found}; the final one has {_ROWS}, {_MICRO_ROWS} of them micro"
    return SheetVersion(sheet.path.name, sheet.worksheet, f"final: {found}" if is_known else unknown, is_known)


def _recordings(tree: RawTree, frames_folder: Path) -> tuple[dict[tuple[str, str], Path], list[Repair]]:
    """
    Person and code -> folder. A recording that is named after somebody else than the person in whose folder it lies is
    left out, since nobody may be taken for another: a reader of the release found `s19/23_0502funnyerrors`.
    """
    recordings: dict[tuple[str, str], Path] = {}
    repairs: list[Repair] = []
    for person in tree.folder_names(frames_folder):
        if re.fullmatch(_PERSON, person, re.IGNORECASE) is None:
            repairs.append(unread_folder(tree, frames_folder / person, "its name is no person's"))
            continue
        for name in tree.folder_names(frames_folder / person):
            folder = frames_folder / person / name
            parts = _RECORDING.fullmatch(name)
            if parts is None:
                repairs.append(unread_folder(tree, folder, "its name is no recording's"))
                continue
            key = (f"{int(parts[1]):02d}", parts[2])
            if int(parts[1]) != int(person[1:]):
                path = folder.relative_to(tree.root).as_posix()
                reason = f"its name says s{key[0]}, its folder {person}: rename the one that is wrong"
                repairs.append(Repair(name, "sample", path, LEFT_OUT, "sample", reason))
            elif key in recordings:
                raise ValueError(f"{recordings[key]} and {folder} are the same recording by their names")
            else:
                recordings[key] = folder
    return recordings, repairs


CASME_SQUARED = Database(
    name="casme_squared",
    title="CAS(ME)^2",
    terms=Terms(
        "casme-squared-release-agreement",
        "http://casme.psych.ac.cn",
        "Research only, by signed agreement; not to be passed on.",
    ),
    parts={
        "all": Part(
            dataset="casme_squared",
            kind="recordings",
            fps=30.0,
        )
    },
    read=read,
    certain="columns and counts of the first worksheet; names of folders and files",
    to_confirm="columns of the naming rules, taken from code that reads them; how many recordings there are (87 to 98"
    " are told of); whose recording s19/23_0502funnyerrors is, which a reader found and which is left out; emotions of"
    " the macro-expressions, assumed to be the same four",
)
