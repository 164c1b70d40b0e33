"""The one schema of converted sets: columns, and pure functions from an annotation to a row."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..data.clip_set import clip_schema
from ..faces import FaceAlignment
from .action_units import parse_action_units
from .annotations import Annotation, Interval
from .database import Part, RawSample


if TYPE_CHECKING:
    import pyarrow as pa


COLUMNS: Mapping[str, Mapping[str, str]] = {
    "labelled": {
        "sample_id, subject_id": "texts as the release writes them; a person is `(dataset, subject_id)`",
        "dataset": "short name of the database; sets of the same people have the same",
        "frames, frame_indices": "images, and the number of each in its file name: onset and apex, or the whole clip",
        "onset, apex, offset": 'numbers of frames; the apex frame is `row["frames"][row["frame_indices"].index('
        'row["apex"])]`',
        "apex_source": "`annotated`, `repaired` (see repairs.csv) or `middle` (the release has no apexes)",
        "fps": "frames a second of the recording",
        "label, label_raw": "the release's own label in small letters, and as it stands in the sheet; classes of a"
        " published task are made of it when it is read, by a label map",
        "labels": "all labels of a release that gives several; else the one",
        "objective_class": "the release's class by action units, empty where there is none",
        "action_units": "list of `unit`, `side` (L, R, A or empty), `intensity` (A to E or empty): what is certain",
        "action_units_raw, action_unit_alternatives": "the code as it was written; its parts that leave a choice",
        "recording, sheet_row": "the clip as the release names it; the sheet's whole row as JSON",
        "face": "how the face was aligned, `null` without --align: `source` (the frame it was found in), `score`,"
        " `points` (eyes, nose, corners of the mouth; x and y in pixels of the raw frame), `transform` (2 x 3, raw"
        " pixel to stored pixel), `notes`",
    },
    "recordings": {
        "sample_id, subject_id, dataset, recording, fps, face": "as in a labelled set",
        "frames, frame_indices": "every frame of the recording, and its number in the file name",
        "intervals": "list of `onset`, `apex` (may be null), `offset` (numbers of frames), `apex_source`, `kind`"
        " (micro or macro), `label`, `label_raw`, `objective_class`, `action_units`, `action_units_raw`,"
        " `action_unit_alternatives`, `sheet_row`",
    },
    "unlabelled": {
        "sample_id, subject_id, dataset, fps": "as in a labelled set",
        "frames": "consecutive frames; the set is read for pretraining by its index `clips.json`",
    },
}


def row_schema(kind: str) -> "pa.Schema":
    """Arrow schema of the shards of a set of one of `KINDS`, with what `datasets` needs to decode the frames."""
    if kind == "unlabelled":
        return clip_schema()
    from datasets import Features, Image, List, Value

    text, number = Value("string"), Value("int32")
    annotation = {
        "onset": number,
        "apex": number,
        "offset": number,
        "apex_source": text,
        "label": text,
        "label_raw": text,
        "objective_class": text,
        "action_units": List({"unit": number, "side": text, "intensity": text}),
        "action_units_raw": text,
        "action_unit_alternatives": List(text),
        "sheet_row": text,
    }
    face = {
        "source": text,
        "score": Value("float32"),
        "points": List(List(Value("float32"))),
        "transform": List(List(Value("float64"))),
        "notes": List(text),
    }
    identity = {"sample_id": text, "subject_id": text, "dataset": text, "recording": text}
    frames = {"frames": List(Image()), "frame_indices": List(number), "fps": Value("float32")}
    if kind == "labelled":
        about = {**annotation, "labels": List(text)}
    else:
        about = {"intervals": List({**annotation, "kind": text})}
    return Features({**identity, **frames, **about, "face": face}).arrow_schema


def annotation_fields(annotation: Annotation, interval: Interval) -> dict[str, Any]:
    """What the columns of `labelled`, and the fields of `intervals`, share."""
    units = parse_action_units(annotation.action_units_raw)
    return {
        "onset": interval.onset,
        "apex": interval.apex,
        "offset": interval.offset,
        "apex_source": interval.apex_source,
        "label": annotation.label_raw.strip().lower(),
        "label_raw": annotation.label_raw,
        "objective_class": annotation.objective_class,
        "action_units": [vars(unit) for unit in units.units],
        "action_units_raw": annotation.action_units_raw,
        "action_unit_alternatives": list(units.alternatives),
        "sheet_row": json.dumps(annotation.cells, ensure_ascii=False, sort_keys=True),
    }


def _shared(
    sample: RawSample, part: Part, recording: str, frames: Mapping[int, bytes], face: Mapping[str, Any] | None
) -> dict[str, Any]:
    return {
        "sample_id": sample.sample_id,
        "subject_id": sample.subject_id,
        "dataset": part.dataset,
        "recording": recording,
        "frames": [{"bytes": content, "path": None} for content in frames.values()],
        "frame_indices": list(frames),
        "fps": part.fps,
        "face": None if face is None else dict(face),
    }


def face_fields(alignment: FaceAlignment, notes: Sequence[str] = ()) -> dict[str, Any]:
    """The column `face`; `notes` are added to those of the alignment."""
    face = alignment.face
    return {
        "source": alignment.source,
        "score": None if face is None else face.score,
        "points": [] if face is None else face.points.tolist(),
        "transform": alignment.transform.tolist(),
        "notes": [*alignment.notes, *notes],
    }


def labelled_row(
    sample: RawSample, part: Part, interval: Interval, frames: Mapping[int, bytes], face: Mapping[str, Any] | None
) -> dict[str, Any]:
    """
    Args:
        frames: number -> encoded image, in the order of time; onset and apex are among them.
        face: see [`COLUMNS`]; `None` without alignment.
    """
    annotation = sample.annotations[0]
    return {
        **_shared(sample, part, annotation.recording, frames, face),
        **annotation_fields(annotation, interval),
        "labels": [label.strip().lower() for label in annotation.labels or (annotation.label_raw,)],
    }


def recording_row(
    sample: RawSample,
    part: Part,
    intervals: Sequence[tuple[Annotation, Interval]],
    frames: Mapping[int, bytes],
    face: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """As [`labelled_row`], of a whole recording with what was annotated in it, in the order of time."""
    return {
        **_shared(sample, part, sample.sample_id, frames, face),
        "intervals": [
            {**annotation_fields(annotation, interval), "kind": annotation.kind}
            for annotation, interval in sorted(intervals, key=lambda pair: (pair[1].onset, pair[1].offset))
        ],
    }
