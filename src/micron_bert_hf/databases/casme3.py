"""CAS(ME)^3: the largest of the field, 30 frames a second; labelled clips, unlabelled ones, and a mock crime.

Li et al., IEEE TPAMI (2022), doi 10.1109/TPAMI.2022.3174895. Its parts, each a set of its own:

    a    100 people x 13 clips, micro-expressions labelled: 860 of 94 people (version 2), 921 of 95 (version 1)
    b    116 people x 13 clips, 1,508 in all, without labels: for pretraining
    c    a mock crime, one clip of 8 minutes a person; 165 micro-expressions of 30 people, without apex

Label sheets of part a, in the order in which they are preferred:

    cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx     micro-expressions only, with their emotion
    CAS(ME)3_part_A_v2.xls                        micro- and macro-expressions; only the former are taken
    the same two of version 1                     with clips that are none, as the lab found: use version 2

Layouts: `part_A/spNO.1/a/color/1.jpg` or, of another download, `Part_A_ME_clip/frame/spNO.1_a_355/355.jpg`, a folder
a micro-expression; `part_B/spNO.1/a/color/1.jpg`; `part_C/01/a/color/1.jpg`. Depth, which lies beside, is never read.
The first frames of most clips are missing, and about a tenth of the micro-expressions lacks some.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from .annotations import LEFT_OUT, UNLABELLED, Annotation, Erratum, Repair
from .database import Database, Part, RawSample, Reading, ReadRequest, Terms
from .expected_counts import EXPECTED_COUNTS, counted_labels
from .raw_tree import FrameFiles, RawTree
from .reading import descend, expression_kind, known_label, read_clips, stated_frames, unread_folder, version_by_rows
from .sheets import LabelSheet, SheetRow, read_label_sheet


_SHEETS_A = (
    r"cas\(me\)\^?3_part_A_ME_label_JpgIndex_v2.*",
    r"cas\(me\)\^?3_part_A_v2.*",
    r"cas\(me\)\^?3_part_A_ME_label_JpgIndex_v1.*",
    r"cas\(me\)\^?3_part_A_v1.*",
)
_SHEETS_C = (r"cas\(me\)\^?3_part_C_ME.*",)
_PERSON, _PERSON_C = r"spNO\.\d+", r"(spNO\.)?\d{1,3}"
_EVENT_FOLDER = r"spNO\.\d+_[a-z]_\d+"
_PART_B, _PART_C = r".*part[ _]?B.*", r".*part[ _]?C.*"
_COLOR, _DEPTH = "color", "depth"
# Below a person of part c; the first is what a public reader of it walks.
_TAILS_C = (("a", _COLOR), (_COLOR,), ())

_LABELS_A, _LABELS_C = (counted_labels("casme3", part) for part in ("a", "c"))
_VERSIONS_A = {counts.clips: counts.version for counts in EXPECTED_COUNTS["casme3", "a"]}
_VERSIONS_C = {EXPECTED_COUNTS["casme3", "c"][0].clips: "of the release"}

_ORDER = "it is out of the order onset, apex, offset"
# By the name of the micro-expression, since a clip has several: the two of spNO.40 e differ in their onset alone. The
# onsets are those that other readers of the sheet note beside the same mistakes.
ERRATA = (
    Erratum("spNO.149_d_112", "apex", "83", "123", f"{_ORDER}; meb takes 123"),
    Erratum("spNO.216_d_3647", "onset", "3647", "2647", f"{_ORDER}; meb and others take 2647"),
    Erratum("spNO.40_e_1812", "offset", "0", "1845", f"{_ORDER}; meb takes 1845"),
    Erratum("spNO.40_e_2327", "offset", "0", "2403", f"{_ORDER}; meb takes 2403"),
    Erratum("spNO.214_c_5", "offset", "3460", "34", "3,456 frames are no micro-expression; meb takes 34"),
    Erratum("spNO.216_e_0", "onset", "0", "1", "frames are numbered from 1; meb takes 1"),
    Erratum("spNO.216_e_0", "apex", "0", "1", "frames are numbered from 1; meb takes 1"),
)


def read(tree: RawTree, request: ReadRequest) -> Reading:
    return {"a": _read_a, "b": _read_b, "c": _read_c}[request.part](tree, request)


# -------------------------------------------------------------------------------------------------------------- part a


def _read_a(tree: RawTree, request: ReadRequest) -> Reading:
    path = tree.find_sheet(_SHEETS_A, request.sheet)
    sheet = micro_expressions(
        read_label_sheet(
            path,
            ("subject", "clip", "onset", "apex", "offset"),
            ("action_units", "objective_class", "emotion", "type"),
        )
    )
    # the sheet with macro-expressions was seen without this column
    has_emotions = any(row.values["emotion"] for row in sheet.rows)
    frames_folder, is_by_event = _frames_a(tree)

    def paths(values: Mapping[str, str]) -> list[tuple[str, ...]]:
        if is_by_event:
            return [(values["event"].partition("#")[0],)]
        return [(values["subject"], values["folder"], _COLOR)]

    samples, repairs = read_clips(
        tree,
        frames_folder,
        sheet,
        errata=ERRATA if request.errata else (),
        recording=lambda values: values["event"],
        clip_paths=paths,
        to_annotations=lambda values, row, where: [to_annotation(values, row, where, has_emotions)],
    )
    folder = frames_folder.relative_to(tree.root).as_posix()
    return Reading(tuple(samples), _without_depth(repairs), (version_by_rows(sheet, _VERSIONS_A),), folder)


def micro_expressions(sheet: LabelSheet) -> LabelSheet:
    """
    The rows about micro-expressions. Each gets a field `event`: its name in the release, `spNO.1_a_355`, by the onset
    that stands in the sheet, so that no erratum changes it; a second one from the same frame on is `spNO.1_a_355#2`.
    """
    rows, others, seen = [], list(sheet.other_rows), Counter()
    for row in sheet.rows:
        values = row.values
        if values["type"] and expression_kind(values["type"], sheet.where(row)) != "micro":
            others.append(row)
            continue
        name = f"{values['subject']}_{values['clip']}_{values['onset']}"
        seen[name] += 1
        rows.append(replace(row, values={**values, "event": name if seen[name] == 1 else f"{name}#{seen[name]}"}))
    if not rows:
        raise ValueError(f"{sheet.path}, {sheet.worksheet}: none of {len(sheet.rows)} rows is a micro-expression")
    return replace(sheet, rows=tuple(rows), other_rows=tuple(others))


def to_annotation(values: Mapping[str, str], row: SheetRow, where: str, has_emotions: bool = True) -> Annotation:
    """Pure: a row's corrected values, with its `event`, to what it states."""
    return Annotation(
        sample_id=values["event"],
        subject_id=values["subject"],
        recording=f"{values['subject']}/{values['clip']}",
        **stated_frames(values, where),
        label_raw=known_label(values["emotion"], _LABELS_A, where) if has_emotions else "",
        where=where,
        objective_class=values["objective_class"],
        action_units_raw=values["action_units"],
        cells=row.cells,
    )


def _frames_a(tree: RawTree) -> tuple[Path, bool]:
    """The folder, and whether it has one folder a micro-expression instead of one a person."""
    try:
        return tree.find_folder(_PERSON, "spNO.1", refused=(_PART_B, _PART_C), preferred=(r"part[ _]?A",)), False
    except FileNotFoundError as whole_clips:
        try:
            return tree.find_folder(_EVENT_FOLDER, "spNO.1_a_355", required=("frame",)), True
        except FileNotFoundError as events:
            raise FileNotFoundError(f"{whole_clips} Nor is the other download there: {events}") from events


def _without_depth(repairs: list[Repair]) -> tuple[Repair, ...]:
    """Depth is no clip of its own that nobody labelled."""
    return tuple(
        repair for repair in repairs if not (repair.rule == UNLABELLED and Path(repair.found).name.lower() == _DEPTH)
    )


# -------------------------------------------------------------------------------------------------------------- part b


def _read_b(tree: RawTree, request: ReadRequest) -> Reading:
    """One sample a clip; its frames are listed when they are read, since all together are four million."""
    frames_folder = tree.find_folder(_PERSON, "spNO.1", required=(_PART_B,))
    samples, repairs = [], []
    for person in tree.folder_names(frames_folder):
        if re.fullmatch(_PERSON, person, re.IGNORECASE) is None:
            repairs.append(unread_folder(tree, frames_folder / person, "its name is no person's"))
            continue
        for clip in tree.folder_names(frames_folder / person):
            folder = frames_folder / person / clip
            name = f"{person}_{clip}"
            below = tree.folder_names(folder)
            color = tree.child(folder, _COLOR) if below else folder
            if color is None:
                reason = f"no folder {_COLOR} in it; there are: {', '.join(below)}"
                found = folder.relative_to(tree.root).as_posix()
                repairs.append(Repair(name, "sample", found, LEFT_OUT, "sample", reason))
                continue
            samples.append(RawSample(name, person, FrameFiles(color.relative_to(tree.root).as_posix(), None)))
    if not samples:
        raise FileNotFoundError(f"no clip in {frames_folder}: looked for spNO.1/a/{_COLOR} and the like")
    return Reading(tuple(samples), tuple(repairs), (), frames_folder.relative_to(tree.root).as_posix())


# -------------------------------------------------------------------------------------------------------------- part c


def _read_c(tree: RawTree, request: ReadRequest) -> Reading:
    path = tree.find_sheet(_SHEETS_C, request.sheet)
    sheet = read_label_sheet(path, ("subject", "count", "onset", "offset", "emotion"), ("action_units",))
    frames_folder = tree.find_folder(_PERSON_C, "01", required=(_PART_C,))
    people = [frames_folder / name for name in tree.folder_names(frames_folder)]
    tail = next(tail for tail in _TAILS_C if any(descend(tree, person, tail) for person in people))

    def paths(values: Mapping[str, str]) -> list[tuple[str, ...]]:
        person = values["subject"]
        return [(person.zfill(2), *tail), (f"spNO.{person}", *tail)]

    samples, repairs = read_clips(
        tree,
        frames_folder,
        sheet,
        errata=(),
        recording=lambda values: values["subject"],
        clip_paths=paths,
        to_annotations=lambda values, row, where: [to_annotation_c(values, row, where)],
    )
    folder = frames_folder.relative_to(tree.root).as_posix()
    return Reading(tuple(samples), _without_depth(repairs), (version_by_rows(sheet, _VERSIONS_C),), folder)


def to_annotation_c(values: Mapping[str, str], row: SheetRow, where: str) -> Annotation:
    """Pure: a row of part c to what it states."""
    return Annotation(
        sample_id=f"{values['subject']}_{values['count']}",
        subject_id=values["subject"],
        recording=values["subject"],
        apex=None,
        **stated_frames(values, where),
        label_raw=known_label(values["emotion"], _LABELS_C, where),
        where=where,
        has_apex=False,
        action_units_raw=values["action_units"],
        cells=row.cells,
    )


CASME3 = Database(
    name="casme3",
    title="CAS(ME)^3",
    terms=Terms(
        "casme3-release-agreement",
        "http://casme.psych.ac.cn/casme/e4",
        "Research only, by signed agreement; not to be passed on.",
    ),
    parts={
        "a": Part(
            dataset="casme3",
            kind="labelled",
            fps=30.0,
        ),
        "b": Part(dataset="casme3", kind="unlabelled", fps=30.0),
        "c": Part(
            dataset="casme3_c",
            kind="labelled",
            fps=30.0,
        ),
    },
    read=read,
    errata=ERRATA,
    certain="columns, versions and counts of the label sheets; folders of part a, missing first frames",
    to_confirm="folders of part c and of Part_A_ME_clip, taken from code that reads them (of part c also spNO.1 for"
    " 01, and frames in color or directly below a person, are looked for); folders of part b, assumed to be those of"
    " part a; that a number is one person in parts a and b, and that part c has other people; the onsets by which"
    " errata are keyed; emotions of CAS(ME)3_part_A_v2.xls, which was seen without: its rows then have no label",
)
