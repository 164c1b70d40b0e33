"""Labelled pairs of onset and apex with whose they are: what every evaluation and every training on labels reads.

Identity and classes of the whole set are in memory; pictures stay encoded on disk and are decoded when asked for, so
that a set of any size opens in seconds. Two kinds of rows are read, from wherever `datasets` reads:

* those of `micron_bert_hf.synthetic`: `frames` (encoded images), `frame_indices`, `onset` and `apex` (two of those
  indices), `subject_id`, `label`;
* `onset` and `apex` (two images), `subject_id`, `label`, for example from an image folder with `metadata.jsonl`.

Either may have `sample_id` (else the number of the row), `dataset` (else the name of the folder), `label_raw` (what a
label map goes by; else `label`) and `landmarks`. Whatever can be wrong about identity is refused before a picture is
decoded: an evaluation that runs for hours must not end in a table that nobody can trust.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from ..image_processing_micron_bert import FRAME_NAMES, from_pil, open_encoded, open_image
from .face_box import EYE_CORNERS, MOUTH_CORNERS, NUM_LANDMARKS, face_box
from .label_maps import LABEL_MAPS
from .motion import decode_motion
from .splits import person_ids


if TYPE_CHECKING:
    from datasets import Dataset

AS_LABELLED = "as labelled"
# What `save_to_disk` leaves in a folder, of one part and of several.
_SAVED_TO_DISK = ("state.json", "dataset_dict.json")
CROPS = ("landmarks", "none")


class SampleSet:
    """
    Labelled pairs, ordered by dataset and sample, so that no number depends on the order of the rows on disk;
    [`read_samples`] makes one.

    Attributes:
        sample_ids, subject_ids, datasets (`tuple[str, ...]`): one entry a sample.
        labels (`np.ndarray` of shape `(num_samples,)`): class numbers, int64.
        labels_raw (`tuple[str, ...]`): what the database itself calls them.
        label_names (`tuple[str, ...]`): the fixed label set; position = class number.
        label_map (`str`): name of the map, or `"as labelled"`.
        num_left_out (`int`): rows that the label map leaves out.
        crop (`"landmarks"` or `"none"`): whether rows have a `face_box`.
    """

    def __init__(
        self,
        rows: "Dataset",
        positions: Sequence[int],
        identity: Mapping[str, Sequence[str]],
        labels: Sequence[int],
        label_names: Sequence[str],
        label_map: str,
        frame_positions: np.ndarray | None,
        centres: np.ndarray | None,
    ):
        """
        Args:
            rows: the data set on disk.
            positions: the rows that are samples, in their order here; all that follow have one entry for each.
            identity: `sample_id`, `subject_id`, `dataset` and `label_raw`.
            frame_positions (`(num_samples, 2)` integers, *optional*): places of onset and apex in `frames`; `None` if
                they are columns.
            centres (`(num_samples, 2, 2)` float32, *optional*): of eyes and mouth, to crop by, (x, y) in pixels.
        """
        self.sample_ids = tuple(identity["sample_id"])
        self.subject_ids = tuple(identity["subject_id"])
        self.datasets = tuple(identity["dataset"])
        self.labels_raw = tuple(identity["label_raw"])
        self.labels = np.array(labels, np.int64)
        self.label_names = tuple(label_names)
        self.label_map = label_map
        self.num_left_out = len(rows) - len(positions)
        self.crop = "none" if centres is None else "landmarks"
        self._rows = rows.with_format("arrow")  # a row is a view of the file: frames that are not asked for stay there
        self._positions = positions
        self._frame_positions = frame_positions
        self._centres = centres

    def __len__(self) -> int:
        return len(self.sample_ids)

    def row(self, index: int, motion: bool = False) -> dict[str, Any]:
        """
        One pair, decoded, without its label.

        Args:
            index (`int`): in [0, number of samples).
            motion (`bool`): adds the exact motion, which labelled sets of `micron_bert_hf.synthetic` have.

        Returns:
            `sample_id`, `subject_id`, `dataset`; `onset` and `apex`, uint8 RGB `(H, W, 3)`, upright; `face_box`,
            `(left, top, right, bottom)` in pixels, or `None` without a crop; and if asked for `motion`, float32
            `(H, W, 2)`, (x, y) in pixels from onset to apex.

        Raises:
            IndexError: no such sample.
            ValueError: a picture cannot be decoded or is too large, the two differ in size, the face is outside; the
                message names the sample. Or the set has no motion.
        """
        where = self._where(index)
        stored = self._rows[self._positions[index]]
        if motion and "motion" not in stored.column_names:
            raise ValueError(f"this set has no exact motion; its columns are {', '.join(stored.column_names)}")
        onset, apex = (_decode_frame(self._image(stored, index, name), f"{where}, {name}") for name in FRAME_NAMES)
        height, width = onset.shape[:2]
        if apex.shape != onset.shape:
            raise ValueError(
                f"{where}: the onset has {width} x {height} pixels and the apex {apex.shape[1]} x {apex.shape[0]};"
                " both frames of a pair must have one size"
            )
        row = {
            "sample_id": self.sample_ids[index],
            "subject_id": self.subject_ids[index],
            "dataset": self.datasets[index],
            "onset": onset,
            "apex": apex,
            "face_box": self._face_box(index, height, width),
        }
        if motion:
            row["motion"] = _decode_motion(stored["motion"][0].as_py(), f"{where}, motion", height, width)
        return row

    @cached_property
    def fingerprint(self) -> str:
        """
        64 hexadecimal digits that name what a method is shown and scored by: identity, classes, encoded onset and
        apex, and the points that place the crop. The order of the rows on disk does not matter, unless they have no
        `sample_id` and are named by it. Reads every pair once and decodes none.
        """
        digests = []
        for index, position in enumerate(self._positions):
            stored = self._rows[position]
            frames = [
                _encoded(self._image(stored, index, name), f"{self._where(index)}, {name}") for name in FRAME_NAMES
            ]
            content = [
                self.datasets[index],
                self.subject_ids[index],
                self.sample_ids[index],
                self.labels_raw[index],
                self.label_names[self.labels[index]],
                *(hashlib.sha256(frame).hexdigest() for frame in frames),
                None if self._centres is None else self._centres[index].tolist(),
            ]
            digests.append(hashlib.sha256(json.dumps(content).encode()).hexdigest())
        return hashlib.sha256(json.dumps([self.label_names, digests]).encode()).hexdigest()

    def _where(self, index: int) -> str:
        if not 0 <= index < len(self):
            raise IndexError(f"there is no sample {index} in a set of {len(self)}")
        return f"sample {self.sample_ids[index]!r} of {self.datasets[index]}"

    def _image(self, stored: pa.Table, index: int, name: str) -> dict[str, Any]:
        """`{"bytes", "path"}` of one frame of a stored row."""
        if self._frame_positions is None:
            return stored[name][0].as_py()
        position = self._frame_positions[index][FRAME_NAMES.index(name)]
        return stored["frames"][0].values[int(position)].as_py()

    def _face_box(self, index: int, height: int, width: int) -> tuple[int, int, int, int] | None:
        if self._centres is None:
            return None
        try:
            return face_box(*self._centres[index], height, width)
        except ValueError as error:
            raise ValueError(f"{self._where(index)}: {error}") from error


def read_samples(
    dataset: str | os.PathLike,
    label_map: str | None = None,
    split: str = "train",
    crop: str | None = None,
) -> SampleSet:
    """
    Open a labelled data set.

    Args:
        dataset: a folder that `datasets.load_dataset` or `load_from_disk` reads, or the id of a data set on the Hub.
        label_map (`str`, *optional*): one of `LABEL_MAPS`. Without it the classes are those of the column `label`: the
            names of a `ClassLabel` in their order, or the texts that occur, sorted.
        split (`str`): the part of the data set.
        crop (`"landmarks"` or `"none"`, *optional*): whether `face_box` frames the face by the landmarks of the onset;
            by default it does where there are landmarks.

    Raises:
        FileNotFoundError: `dataset` is a path where nothing is.
        ValueError: the data set cannot be read; a column is missing or of another type; a value is missing; a sample
            occurs twice; there are no rows, fewer than two people or fewer than two classes; the map does not know a
            label. The message says what was found.
    """
    if label_map is not None and label_map not in LABEL_MAPS:
        raise ValueError(f"there is no label map {label_map!r}; expected one of {', '.join(LABEL_MAPS)}")
    if crop not in (None, *CROPS):
        raise ValueError(f"`crop` is {crop!r}; expected one of {', '.join(CROPS)}")
    rows, default_name = _load(dataset, split)
    frame_positions = _frame_positions(rows)
    identity = _identity(rows, default_name)
    classes, label_names = _classes(rows, identity, label_map)
    positions = sorted(
        (row for row, klass in enumerate(classes) if klass is not None),
        key=lambda row: (identity["dataset"][row], identity["sample_id"][row]),
    )
    identity = {name: [column[row] for row in positions] for name, column in identity.items()}
    occurring = sorted({classes[row] for row in positions})
    if len(occurring) < 2:
        raise ValueError(
            f"expected samples of two classes or more, got {occurring} in {len(positions)} samples;"
            f" {len(rows) - len(positions)} are left out by the label map"
        )
    people = sorted(set(person_ids(identity["dataset"], identity["subject_id"])))
    if len(people) < 2:
        raise ValueError(f"expected two people or more, to learn from one and be tested on another, got {people}")
    return SampleSet(
        rows,
        positions,
        identity,
        [label_names.index(classes[row]) for row in positions],
        label_names,
        AS_LABELLED if label_map is None else label_map,
        None if frame_positions is None else frame_positions[positions],
        _face_centres(rows, positions, identity["sample_id"], crop),
    )


# ------------------------------------------------------------------------------------------------ the data set on disk


def _load(dataset: str | os.PathLike, split: str) -> tuple["Dataset", str]:
    """The rows, and the name that stands in for a column `dataset`."""
    import datasets  # two seconds to import: not for those who only want the class

    name, folder = os.fspath(dataset), Path(dataset)
    is_folder = folder.is_dir()
    if not is_folder and (folder.exists() or isinstance(dataset, os.PathLike) or folder.is_absolute()):
        raise FileNotFoundError(f"there is no folder {name}")
    try:
        if is_folder and any((folder / name).exists() for name in _SAVED_TO_DISK):
            rows = datasets.load_from_disk(name)
            parts = rows if isinstance(rows, dict) else {str(rows.split or "train"): rows}
            if split not in parts:
                raise ValueError(f"it has the splits {', '.join(parts)}")
            rows = parts[split]
        else:
            # a folder by its whole path, lest a data set of that name on the Hub be meant
            rows = datasets.load_dataset(str(folder.resolve()) if is_folder else name, split=split)
    # an IndexError is the answer of `datasets` to a set that was saved without rows
    except (OSError, ValueError, IndexError, datasets.exceptions.DatasetsError) as error:
        reason = f"{error} ({error.__cause__})" if error.__cause__ else str(error)
        kind = "the folder" if is_folder else "no folder, hence a data set on the Hub:"
        raise ValueError(f"cannot read the split {split!r} of {name} ({kind}): {reason}") from error
    return rows, folder.resolve().name if is_folder else name.split("/")[-1]


def _column(rows: "Dataset", name: str) -> pa.ChunkedArray:
    return rows.with_format("arrow").select_columns(name)[:][name]


def _require_columns(rows: "Dataset", names: Sequence[str]) -> None:
    missing = [name for name in names if name not in rows.column_names]
    if missing:
        raise ValueError(f"the data set lacks the columns {missing}; it has {', '.join(rows.column_names)}")


def _refuse_rows(problem: str, is_wrong: Sequence[bool]) -> None:
    wrong = [row for row, value in enumerate(is_wrong) if value]
    if wrong:
        raise ValueError(f"{problem} in {len(wrong)} rows, the first of them {wrong[:3]}")


def _is_missing(column: pa.ChunkedArray) -> list[bool]:
    return column.is_null().to_pylist()


def _frame_positions(rows: "Dataset") -> np.ndarray | None:
    """
    Places of onset and apex among the `frames` of each row, `(num_rows, 2)` int64; `None` if onset and apex are
    pictures themselves. Refuses rows that lack a picture.
    """
    from datasets import Image as ImageColumn

    _require_columns(rows, ("onset", "apex", "subject_id", "label"))
    if "frames" not in rows.column_names:
        for name in FRAME_NAMES:
            if not isinstance(rows.features[name], ImageColumn):
                raise ValueError(
                    f"the column {name} is {rows.features[name]}; expected pictures, or a column of frames beside it"
                )
            fields = [pc.struct_field(_column(rows, name), part) for part in ("bytes", "path")]
            has_none = pc.and_(*(field.is_null() for field in fields))
            _refuse_rows(f"the column {name} has no picture", has_none.to_pylist())
        return None
    _require_columns(rows, ("frame_indices",))
    columns = {name: _column(rows, name) for name in ("frames", "frame_indices", *FRAME_NAMES)}
    for name, column in columns.items():
        _refuse_rows(f"the column {name} has no value", _is_missing(column))
    counts = pc.list_value_length(columns["frames"]).to_pylist()
    frame_indices = columns["frame_indices"].to_pylist()
    positions = np.zeros((len(rows), len(FRAME_NAMES)), np.int64)
    for row, (count, indices) in enumerate(zip(counts, frame_indices)):
        if count != len(indices):
            raise ValueError(f"row {row} has {count} frames and {len(indices)} frame_indices; expected as many")
        for number, name in enumerate(FRAME_NAMES):
            frame = columns[name][row].as_py()
            if frame not in indices:
                raise ValueError(f"row {row} has the {name} {frame!r}, which is none of its frame_indices {indices}")
            positions[row, number] = indices.index(frame)
    return positions


def _texts(rows: "Dataset", name: str) -> list[str]:
    """A column of texts; of a `ClassLabel`, its names."""
    from datasets import ClassLabel

    feature, column = rows.features[name], _column(rows, name)
    _refuse_rows(f"the column {name} has no value", _is_missing(column))
    values = column.to_pylist()
    if isinstance(feature, ClassLabel):
        _refuse_rows(f"the column {name} has no value", [value < 0 for value in values])
        return [feature.names[value] for value in values]
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        raise ValueError(
            f"the column {name} is {column.type}, such as {values[0]!r}; expected text, since numbers do not"
            " tell '01' from '1'. Store text where the data set is made (in metadata.jsonl; a metadata.csv is read as"
            " numbers)"
        )
    _refuse_rows(f"the column {name} is empty", [not value.strip() for value in values])
    return values


def _identity(rows: "Dataset", default_name: str) -> dict[str, list[str]]:
    """`sample_id`, `subject_id`, `dataset` and `label_raw` of every row."""
    columns = {
        "sample_id": [str(row) for row in range(len(rows))],
        "dataset": [default_name] * len(rows),
        "label_raw": _texts(rows, "label"),
    }
    for name in ("subject_id", *columns):
        if name in rows.column_names:
            columns[name] = _texts(rows, name)
    for name in ("sample_id", "subject_id", "dataset"):
        spaced = [value for value in columns[name] if value != value.strip()]
        if spaced:
            raise ValueError(f"the column {name} has spaces around {spaced[0]!r}; one name must be written one way")
    counts = Counter(zip(columns["dataset"], columns["sample_id"]))
    repeated = sorted(f"{dataset}/{sample_id}" for (dataset, sample_id), count in counts.items() if count > 1)
    if repeated:
        raise ValueError(f"every sample must occur once, got {repeated[:3]} more than once ({len(repeated)} in all)")
    return columns


def _classes(
    rows: "Dataset", identity: Mapping[str, Sequence[str]], label_map: str | None
) -> tuple[list[str | None], tuple[str, ...]]:
    """The class of every row, `None` where the map leaves it out, and the label set."""
    from datasets import ClassLabel

    if label_map is None:
        labels, feature = _texts(rows, "label"), rows.features["label"]
        return labels, tuple(feature.names if isinstance(feature, ClassLabel) else sorted(set(labels)))
    classes = []
    for sample_id, dataset, label in zip(identity["sample_id"], identity["dataset"], identity["label_raw"]):
        try:
            classes.append(LABEL_MAPS[label_map](label, dataset))
        except ValueError as error:
            raise ValueError(f"sample {sample_id!r} of {dataset}: {error}") from error
    return classes, LABEL_MAPS[label_map].classes


def _face_centres(
    rows: "Dataset", positions: Sequence[int], sample_ids: Sequence[str], crop: str | None
) -> np.ndarray | None:
    """Centre of the eyes and of the mouth on the onset frame, `(num_samples, 2, 2)` float32, (x, y) in pixels."""
    if crop == "none" or (crop is None and "landmarks" not in rows.column_names):
        return None
    _require_columns(rows, ("landmarks",))
    landmarks = _column(rows, "landmarks").to_pylist()
    centres = np.zeros((len(positions), 2, 2), np.float32)
    for number, (position, sample_id) in enumerate(zip(positions, sample_ids)):
        row = landmarks[position]
        onset = row.get("onset") if isinstance(row, dict) else None
        if not (isinstance(onset, list) and len(onset) == NUM_LANDMARKS and all(len(point) == 2 for point in onset)):
            raise ValueError(
                f"sample {sample_id!r} does not have {NUM_LANDMARKS} landmarks (x, y) on its onset, in the order of"
                " micron_bert_hf.synthetic; give crop='none'"
            )
        points = np.array(onset, np.float32)
        centres[number] = points[list(EYE_CORNERS)].mean(0), points[list(MOUTH_CORNERS)].mean(0)
    return centres


# ----------------------------------------------------------------------------------------------------- bytes to pixels


def _encoded(image: Mapping[str, Any], where: str) -> bytes:
    """The bytes of a stored picture `{"bytes", "path"}`."""
    if image["bytes"] is not None:
        return image["bytes"]
    try:
        return Path(image["path"]).read_bytes()
    except OSError as error:
        raise ValueError(f"{where}: {error}") from error


def _decode_frame(image: Mapping[str, Any], where: str) -> np.ndarray:
    """Upright uint8 RGB `(H, W, 3)` of a picture that nobody vouches for; grey is replicated, 16 bits are rounded."""
    try:
        if image["bytes"] is None:
            frame = from_pil(open_image(Path(image["path"])))  # a path, never an address
        else:
            frame = from_pil(open_encoded(BytesIO(image["bytes"]), "the image"))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    if isinstance(frame, Image.Image):
        return np.array(frame.convert("RGB"))
    return np.repeat(np.rint(255 * frame).astype(np.uint8), 3 // frame.shape[2], axis=2)


def _decode_motion(image: Mapping[str, Any], where: str, height: int, width: int) -> np.ndarray:
    try:
        motion = decode_motion(open_encoded(BytesIO(_encoded(image, where)), "the image"))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    if motion.shape != (height, width, 2):
        raise ValueError(f"{where}: motion of shape {motion.shape}; expected {(height, width, 2)}")
    return motion
