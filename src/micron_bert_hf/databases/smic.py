"""SMIC: three classes, no apex, no action units; recorded by a fast, a usual and a near-infrared camera.

Li et al., FG 2013. The short clips have no label sheet: a clip's folder says its emotion and holds it from onset to
offset. The extended release has longer clips and a sheet with one to three intervals a clip.

    HS/s1/micro/negative/s1_ne_01/image000123.bmp         short, below SMIC_all_raw or SMIC_all_cropped; VIS, NIR alike
    HS_long/SMIC-HS-E/s01/s1_ne_01/image000123.jpg        extended, with SMIC-HS-E_annotation.xlsx

Subjects are written `s01` here, whichever of the three spellings a release has. All three cameras recorded the same
people (the lab's page: the latter 10 of 20), so that all parts are one `dataset`.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from .annotations import LEFT_OUT, Annotation, Repair
from .database import Database, Part, RawSample, Reading, ReadRequest, Terms
from .raw_tree import RawTree
from .reading import known_label, read_clips, unread_folder, version_by_rows
from .sheets import SheetRow, frame_number, read_label_sheet


_SUBJECT = r"s\d{1,2}"
_CLIP = re.compile(r"(s\d{1,2})_(ne|po|sur)_\d+", re.IGNORECASE)
_EMOTIONS = {"ne": "negative", "po": "positive", "sur": "surprise"}
_CAMERAS = {"hs": "HS", "vis": "VIS", "nir": "NIR"}
# Clips in the sheets that were seen.
_EXTENDED_ROWS = {
    "hs-e": {162: "as first seen", 157: "as the lab's page counts them (the copy of 2019)"},
    "vis-e": {71: "of the release"},
    "nir-e": {71: "of the release"},
}


def read(tree: RawTree, request: ReadRequest) -> Reading:
    camera = _CAMERAS[request.part.removesuffix("-e")]
    if request.part.endswith("-e"):
        return _read_extended(tree, request, camera)
    is_camera, is_cropped = rf"(SMIC[_-]?)?{camera}", r".*cropped.*"
    frames_folder = tree.find_folder(
        _SUBJECT,
        "s1",
        required=(is_camera, is_cropped) if request.official_crops else (is_camera,),
        refused=() if request.official_crops else (is_cropped,),
    )
    samples: list[RawSample] = []
    repairs: list[Repair] = []
    for name in tree.folder_names(frames_folder):
        if re.fullmatch(_SUBJECT, name, re.IGNORECASE):
            _read_subject(tree, frames_folder / name, samples, repairs)
        else:
            repairs.append(unread_folder(tree, frames_folder / name, "its name is no subject's"))
    if not samples:
        raise FileNotFoundError(
            f"no clip in {frames_folder}: looked for s1/micro/negative/s1_ne_01 and the like; s1 holds"
            f" {', '.join(tree.folder_names(frames_folder / tree.folder_names(frames_folder)[0])[:6]) or 'no folders'}"
        )
    return Reading(tuple(samples), tuple(repairs), (), frames_folder.relative_to(tree.root).as_posix())


def subject(text: str) -> str:
    """`s1`, `1` and `s01` are one person, `s01`."""
    digits = re.fullmatch(r"s?0*(\d{1,2})", text.strip(), re.IGNORECASE)
    if digits is None:
        raise ValueError(f"{text!r} is no subject of SMIC, such as s1 or s01")
    return f"s{int(digits[1]):02d}"


def clip_emotion(name: str, where: str) -> str:
    """The emotion that a clip's name has: `s1_ne_01` is negative."""
    found = _CLIP.fullmatch(name)
    if found is None:
        raise ValueError(f"{where}: {name!r} is no clip of SMIC, such as s1_ne_01")
    return _EMOTIONS[found[2].lower()]


def _read_subject(tree: RawTree, folder: Path, samples: list[RawSample], repairs: list[Repair]) -> None:
    """Clips of one person, in the order of their names."""
    micro = tree.child(folder, "micro") or folder
    for emotion in tree.folder_names(micro):
        if emotion.lower() not in _EMOTIONS.values():
            if micro != folder:
                reason = f"its name is none of {', '.join(_EMOTIONS.values())}"
                repairs.append(unread_folder(tree, micro / emotion, reason, rule="sample"))
            continue
        for name in tree.folder_names(micro / emotion):
            where = f"{(micro / emotion).relative_to(tree.root).as_posix()}"
            label = clip_emotion(name, where)
            if label != emotion.lower():
                raise ValueError(f"{where}/{name}: the folder says {emotion}, the clip's name {label}")
            files = tree.frames(micro / emotion / name)
            numbers = list(files.names)
            if len(numbers) < 2:
                reason = f"{len(numbers)} frames; expected two or more"
                repairs.append(Repair(name, "sample", files.folder, LEFT_OUT, "sample", reason))
                continue
            annotation = Annotation(
                sample_id=name,
                subject_id=subject(folder.name),
                recording=name,
                onset=numbers[0],
                apex=None,
                offset=numbers[-1],
                label_raw=emotion.lower(),
                where=files.folder,
                has_apex=False,
            )
            samples.append(RawSample(name, annotation.subject_id, files, (annotation,)))
    for other in tree.folder_names(folder):
        if micro != folder and other != micro.name:
            repairs.append(unread_folder(tree, folder / other, "holds no micro-expressions"))


# ----------------------------------------------------------------------------------------------- the extended release


def _read_extended(tree: RawTree, request: ReadRequest, camera: str) -> Reading:
    if request.official_crops:
        raise ValueError("the extended release of SMIC has no official crops; leave that option out")
    path = tree.find_sheet((rf"SMIC-{camera}-E_annotation.*", rf".*{camera}.?E.*annotation.*"), request.sheet)
    sheet = read_label_sheet(
        path,
        ("subject", "clip", "onset", "offset", "emotion"),
        ("onset_2", "offset_2", "onset_3", "offset_3"),
    )
    frames_folder = tree.find_folder(_SUBJECT, "s01", required=(rf"SMIC[_-]{camera}[_-]E|{camera}_long|{camera}-?E",))
    samples, repairs = read_clips(
        tree,
        frames_folder,
        sheet,
        errata=(),
        recording=lambda values: values["clip"],
        clip_paths=lambda values: [(subject(values["subject"]), values["folder"])],
        to_annotations=to_annotations,
    )
    folder = frames_folder.relative_to(tree.root).as_posix()
    return Reading(tuple(samples), tuple(repairs), (version_by_rows(sheet, _EXTENDED_ROWS[request.part]),), folder)


def to_annotations(values: Mapping[str, str], row: SheetRow, where: str) -> list[Annotation]:
    """Pure: one for each interval of a row; the second of `s1_ne_01` is `s1_ne_01#2`."""
    label = known_label(values["emotion"], frozenset(_EMOTIONS.values()), where)
    if label.strip().lower() != clip_emotion(values["clip"], where):
        raise ValueError(f"{where}: the emotion is {label!r}, and the clip is called {values['clip']}")
    annotations = []
    for number, suffix in ((1, ""), (2, "_2"), (3, "_3")):
        onset, offset = (frame_number(values[name + suffix], where) for name in ("onset", "offset"))
        if number > 1 and not onset:  # 0 and a blank cell: there is none
            continue
        annotations.append(
            Annotation(
                sample_id=values["clip"] if number == 1 else f"{values['clip']}#{number}",
                subject_id=subject(values["subject"]),
                recording=values["clip"],
                onset=onset,
                apex=None,
                offset=offset,
                label_raw=label,
                where=where,
                has_apex=False,
                cells=row.cells,
            )
        )
    return annotations


SMIC = Database(
    name="smic",
    title="SMIC",
    terms=Terms(
        "smic-release-agreement",
        "https://www.oulu.fi/cmvs/node/41319",
        "Research only, by signed agreement with the University of Oulu; not to be passed on.",
    ),
    parts={
        name: Part(dataset="smic", kind="labelled", fps=fps)
        for name, fps in (
            ("hs", 100.0),
            ("vis", 25.0),
            ("nir", 25.0),
            ("hs-e", 100.0),
            ("vis-e", 25.0),
            ("nir-e", 25.0),
        )
    },
    read=read,
    has_official_crops=True,
    certain="columns and counts of the extended sheets of HS and VIS; names of clips",
    to_confirm="spelling of the folders, taken from code that reads them; the sheet of NIR; that a person has one"
    " number before all three cameras",
)
