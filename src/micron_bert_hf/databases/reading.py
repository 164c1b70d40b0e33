"""From a label sheet and a folder of clips to samples: what all releases that have both share."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .annotations import LEFT_OUT, SPELLING, UNLABELLED, Annotation, Erratum, Repair, apply_errata, left_out
from .database import RawSample, SheetVersion
from .raw_tree import FrameFiles, RawTree
from .sheets import LabelSheet, SheetRow, frame_number


def read_clips(
    tree: RawTree,
    frames_folder: Path,
    sheet: LabelSheet,
    *,
    errata: Sequence[Erratum],
    recording: Callable[[Mapping[str, str]], str],
    clip_paths: Callable[[Mapping[str, str]], Sequence[tuple[str, ...]]],
    to_annotations: Callable[[Mapping[str, str], SheetRow, str], Sequence[Annotation]],
) -> tuple[list[RawSample], list[Repair]]:
    """
    The samples of a sheet, most often one a row.

    Args:
        frames_folder: in which the clips are.
        errata: those that apply; empty if they are switched off.
        recording: the clip as the release names it, from a row's values; what errata go by.
        clip_paths: where its frames may be below `frames_folder`, as components; the first that is there is taken. All
            have the same depth. A field `folder` that an erratum sets is among the values.
        to_annotations: pure, from a row's corrected values; empty for a row that is about something else.

    Returns:
        The samples in the order of the sheet, and what was corrected or left out.

    Raises:
        FileNotFoundError: no row's folder is there.
        ValueError: two rows are about one sample; what `to_annotations` refuses; a name in a cell leads elsewhere.
    """
    samples: list[RawSample] = []
    repairs = unread_rows(sheet)
    listed: dict[Path, FrameFiles] = {}
    known: dict[str, str] = {}
    num_rows = 0
    first_path = ""
    for row in sheet.rows:
        where = sheet.where(row)
        values = {**row.values, "folder": row.values.get("clip", "")}
        values, corrections = apply_errata(recording(values), values, errata)
        annotations = to_annotations(values, row, where)
        if not annotations:
            continue
        num_rows += 1
        for annotation in annotations:
            if annotation.sample_id in known:
                others = known[annotation.sample_id]
                raise ValueError(
                    f"{where} is about {annotation.sample_id}, and so is {others}; expected one row a sample"
                )
            known[annotation.sample_id] = where
        if any(correction.field == "apex" for correction in corrections):
            annotations = [replace(annotation, is_apex_corrected=True) for annotation in annotations]
        first = annotations[0]
        repairs += [replace(correction, sample_id=first.sample_id) for correction in corrections]
        paths = clip_paths(values)
        first_path = first_path or "/".join(paths[0])
        try:
            folder = _find(tree, frames_folder, paths)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        if folder is None:
            looked = " or ".join("/".join(path) for path in paths)
            reason = f"no such folder in {_below(tree, frames_folder)}"
            repairs += [left_out(annotation, looked, reason) for annotation in annotations]
            continue
        found = folder.relative_to(frames_folder).parts
        if found not in paths:
            about = (first.sample_id, "folder", "/".join(paths[0]), "/".join(found))
            repairs.append(Repair(*about, SPELLING, "the only folder whose name differs in case or padding"))
        if folder not in listed:
            try:
                listed[folder] = tree.frames(folder)
            except ValueError as error:
                repairs += [left_out(annotation, "/".join(found), str(error)) for annotation in annotations]
                continue
        samples += [
            RawSample(annotation.sample_id, annotation.subject_id, listed[folder], (annotation,))
            for annotation in annotations
        ]
    if not samples:
        there = ", ".join(tree.folder_names(frames_folder)[:6]) or "no folders"
        raise FileNotFoundError(
            f"none of the {num_rows} clips of {sheet.path.name} is in {frames_folder}: looked for folders such as"
            f" {first_path}; there are: {there}"
        )
    depth = len(clip_paths({**sheet.rows[0].values, "folder": sheet.rows[0].values.get("clip", "")})[0])
    repairs += _unlabelled_folders(tree, frames_folder, depth, set(listed))
    return samples, repairs


def with_single_folders(
    samples: Sequence[RawSample], repairs: Sequence[Repair]
) -> tuple[list[RawSample], list[Repair]]:
    """
    For releases with a folder a sample: of samples that share one, that keeps it whose name the folder has; if it has
    the name of none or of several, nobody can tell whose frames they are.

    Args:
        repairs: of [`read_clips`], which say whose folder has another spelling.

    Returns:
        The samples that keep their folder, and all repairs.
    """
    misspelt = {repair.sample_id for repair in repairs if repair.rule == SPELLING}
    sharing: dict[str, list[RawSample]] = {}
    for sample in samples:
        sharing.setdefault(sample.files.folder, []).append(sample)
    kept, found = [], list(repairs)
    for sample in samples:
        group = sharing[sample.files.folder]
        exact = [other for other in group if other.sample_id not in misspelt]
        if len(group) == 1 or exact == [sample]:
            kept.append(sample)
            continue
        others = ", ".join(other.sample_id for other in group if other is not sample)
        reason = f"the folder is also that of {others}"
        found.append(left_out(sample.annotations[0], sample.files.folder, reason))
    return kept, found


def group_recordings(
    tree: RawTree,
    frames_folder: Path,
    recordings: Mapping[str, tuple[str, Path]],
    annotations: Sequence[Annotation],
) -> tuple[list[RawSample], list[Repair]]:
    """
    Long recordings, each with all that was annotated in it. One without annotations is there too: what spots
    expressions is judged by its false alarms as well.

    Args:
        frames_folder: in which the recordings are.
        recordings: name -> person, folder; all that are on disk.
        annotations: `recording` is a name.

    Returns:
        The samples in the order of `recordings`, and the annotations that are left out.

    Raises:
        FileNotFoundError: no annotation's recording is there.
    """
    by_name: dict[str, list[Annotation]] = {name: [] for name in recordings}
    repairs: list[Repair] = []
    for annotation in annotations:
        if annotation.recording in by_name:
            by_name[annotation.recording].append(annotation)
        else:
            reason = f"no such recording in {_below(tree, frames_folder)}"
            repairs.append(left_out(annotation, annotation.recording, reason))
    if len(repairs) == len(annotations):
        looked = ", ".join(dict.fromkeys(annotation.recording for annotation in annotations[:6]))
        raise FileNotFoundError(
            f"none of the annotated recordings is in {frames_folder}: looked for such as {looked}; there are:"
            f" {', '.join(list(recordings)[:6]) or 'no recordings'}"
        )
    samples = [
        RawSample(name, person, tree.frames(folder), tuple(by_name[name]))
        for name, (person, folder) in recordings.items()
    ]
    return samples, repairs


def descend(tree: RawTree, folder: Path, names: Sequence[str]) -> Path | None:
    """The folder that is reached by these names, one below the other."""
    below: Path | None = folder
    for name in names:
        below = None if below is None else tree.child(below, name)
    return below


def _find(tree: RawTree, frames_folder: Path, paths: Sequence[tuple[str, ...]]) -> Path | None:
    for path in paths:
        folder = descend(tree, frames_folder, path)
        if folder is not None:
            return folder
    return None


def _below(tree: RawTree, folder: Path) -> str:
    return folder.relative_to(tree.root).as_posix()


def _unlabelled_folders(tree: RawTree, frames_folder: Path, depth: int, labelled: set[Path]) -> list[Repair]:
    """Clips that are there and that no row is about, so that every frame is accounted for."""
    level = [frames_folder]
    for _ in range(depth):
        level = [folder / name for folder in level for name in tree.folder_names(folder)]
    return [unread_folder(tree, folder, "no label is about it") for folder in level if folder not in labelled]


def unread_folder(tree: RawTree, folder: Path, reason: str, rule: str = UNLABELLED) -> Repair:
    """A folder that no sample is made of; by another rule than `UNLABELLED` a strict conversion refuses it."""
    path = _below(tree, folder)
    return Repair(path, "folder", path, LEFT_OUT, rule, reason)


def unread_rows(sheet: LabelSheet) -> list[Repair]:
    """Rows that no sample is made of: remarks below the table, macro-expressions beside micro-expressions."""
    reason = "about no clip, or about none of this set"
    return [
        Repair(f"row {row.number}", "row", " | ".join(row.cells.values())[:200], LEFT_OUT, UNLABELLED, reason)
        for row in sheet.other_rows
    ]


def expression_kind(text: str, where: str) -> str:
    """
    `"micro"` or `"macro"`, from a cell such as `Micro - 1/2`, `macro-expression`.

    Raises:
        ValueError: it is neither.
    """
    kind = text.strip().lower()[:5]
    if kind not in ("micro", "macro"):
        raise ValueError(f"{where}: {text!r} is neither a micro- nor a macro-expression")
    return kind


def known_label(text: str, known: frozenset[str], where: str) -> str:
    """
    A label as the sheet has it.

    Raises:
        ValueError: it is not one of the database's, in small letters.
    """
    if text.strip().lower() not in known:
        raise ValueError(f"{where}: the label {text!r} is none of {', '.join(sorted(known))}")
    return text


def stated_frames(values: Mapping[str, str], where: str) -> dict[str, Any]:
    """`onset`, `apex`, `offset` and `stated` of an [`Annotation`], from the fields of these names that a row has."""
    texts = {name: values[name] for name in ("onset", "apex", "offset") if name in values}
    return {
        **{name: frame_number(text, f"{where}, {name}") for name, text in texts.items()},
        "stated": texts,
    }


def version_by_rows(sheet: LabelSheet, known: Mapping[int, str]) -> SheetVersion:
    """Which of the `known` versions a sheet is, by its number of labels: number -> what that version is called."""
    number = len(sheet.rows)
    listed = "; ".join(f"{rows}: {name}" for rows, name in known.items())
    version = known.get(number, f"a version that is not known: {number} labels; known are {listed}")
    return SheetVersion(sheet.path.name, sheet.worksheet, version, number in known)
