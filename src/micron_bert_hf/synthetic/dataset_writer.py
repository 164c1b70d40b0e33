"""A set on disk: a folder that `datasets.load_dataset` reads, complete or absent.

    from micron_bert_hf.synthetic.dataset_writer import write_dataset
    from micron_bert_hf.synthetic.presets import PRESETS

    write_dataset("mer-synth-v1", PRESETS["mer-synth-v1"], num_processes=2)

The set is written to a hidden folder beside its place, `.NAME.partial`, and moved there when it is whole. A run that
was interrupted goes on from there: finished shards are kept, and so are finished subjects of the shard that was not
(in the generator's cache, which takes about the size of the set until it is whole). Rows are written subject by
subject, so that memory holds the subjects being made and no more.

`README.md` names every shard and the number of rows from the start, so that not even the hidden folder loads before it
is whole. Long clips also get the index by which pretraining reads them, `clips.json`.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Features, Image, List, Value

from ..data.clip_set import ClipIndex
from ..run_files import file_sha256, whole_folder, write_json, write_text
from .dataset_card import render_card
from .dataset_rows import (
    from_dataset_row,
    from_unlabelled_dataset_row,
    to_dataset_row,
    to_unlabelled_dataset_row,
)
from .generation import GENERATOR_VERSION
from .presets import LabelledSetParameters, SetParameters, UnlabelledSetParameters
from .preview import save_contact_sheet


# Part of the fingerprint. Raise it with every change of columns or encoding.
FORMAT_VERSION = "1"
# Subjects in a shard, whatever the number of processes: 12 shards for 60 subjects, which 2, 3, 4 and 6 readers can
# share evenly. Part of the fingerprint. Ours.
SUBJECTS_PER_SHARD = 5
PARAMETERS_NAME, RESULTS_NAME, CARD_NAME = "parameters.json", "results.json", "README.md"
_CONTACT_SHEET_SUBJECTS = 16
_CACHE_NAME = "cache"
_UNFINISHED = ".tmp"
# Key of the fingerprint in a shard's metadata.
_FINGERPRINT_KEY = b"micron_bert_hf.fingerprint"

_POINTS = List(List(Value("float32")))
_ACTION_UNITS = List({"unit": Value("int32"), "left": Value("float32"), "right": Value("float32")})
LABELLED_FEATURES = Features(
    {
        "sample_id": Value("string"),
        "subject_id": Value("string"),
        "dataset": Value("string"),
        "frames": List(Image()),
        "frame_indices": List(Value("int32")),
        "onset": Value("int32"),
        "apex": Value("int32"),
        "offset": Value("int32"),
        "true_apex": Value("int32"),
        "fps": Value("int32"),
        # Names, not numbers: sets with other classes can be joined, and no order of classes has to be trusted.
        "label": Value("string"),
        "label_raw": Value("string"),
        "action_units": _ACTION_UNITS,
        "other_action_units": _ACTION_UNITS,
        "landmarks": {"onset": _POINTS, "apex": _POINTS},
        "motion": Image(),
        "expression_motion": Image(),
        "motion_valid": Image(),
        "face_mask": Image(),
    }
)
UNLABELLED_FEATURES = Features(
    {
        "sample_id": Value("string"),
        "subject_id": Value("string"),
        "dataset": Value("string"),
        "frames": List(Image()),
        "fps": Value("int32"),
        "intervals": List(
            {
                "onset": Value("int32"),
                "apex": Value("int32"),
                "offset": Value("int32"),
                "label": Value("string"),
                "action_units": _ACTION_UNITS,
            }
        ),
        "landmarks": List(_POINTS),
    }
)


def write_dataset(
    output_dir: str | os.PathLike[str],
    parameters: SetParameters,
    *,
    num_processes: int = 1,
    progress: bool = True,
    baselines: bool = True,
) -> Path:
    """Makes a set and writes it as a Hugging Face dataset with card, parameters and results of the baselines.

    The same parameters give the same bytes in every shard on one machine, for any `num_processes`.

    Args:
        output_dir: absent, empty, or the same set from an earlier run, which is left as it is (baselines that it lacks
            are added).
        parameters: `LabelledSetParameters` or `UnlabelledSetParameters`, for instance one of `PRESETS`.
        num_processes: worker processes that render; with more than 1 the caller's script needs the usual
            `if __name__ == "__main__":` guard.
        progress: shows progress bars.
        baselines: measures the baselines if there are at least two subjects and two classes; of long clips, on their
            micro-expressions. They take the rows one by one.

    Returns:
        The folder.

    Raises:
        FileExistsError: before any work, if `output_dir` or the hidden folder holds something else, or if another
            process is writing this set.
        ValueError: before any work, if `num_processes` is out of its range; or if a finished set lacks a shard.
    """
    parameters.rows(num_processes=num_processes)  # refuses a wrong number now; renders nothing
    output_dir = Path(output_dir).resolve()
    wants_results = baselines and parameters.num_subjects >= 2 and len(parameters.classes) >= 2
    if _is_finished_set(output_dir, parameters):
        if wants_results and not (output_dir / RESULTS_NAME).exists():
            _add_results(output_dir, parameters, progress)
        return output_dir
    with whole_folder(output_dir) as folder:
        _claim(folder, parameters)
        _write_shards(folder, parameters, num_processes, progress)
        description = _describe(folder, parameters)
        write_text(folder / CARD_NAME, render_card(description, parameters, None))
        if wants_results:
            _add_results(folder, parameters, progress)
        write_json(folder / PARAMETERS_NAME, description)
        if isinstance(parameters, UnlabelledSetParameters):
            _clip_index(folder, parameters).save(folder)
        shutil.rmtree(folder / _CACHE_NAME, ignore_errors=True)
    return output_dir


def iterate_samples(dataset_dir: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    """Samples of a set on disk, one subject in memory at a time, in the order of its rows.

    Args:
        dataset_dir: written by [`write_dataset`].

    Yields:
        `sample_id`, `subject_id`, `label`, `onset`, `apex` and `landmarks_onset` as `generate_micro_expressions`
        gives them; of a labelled set also `action_units`, `motion` and `expression_motion`. Of long clips, every
        micro-expression is a sample.

    Raises:
        ValueError: if the folder holds no set of this writer.
    """
    folder = Path(dataset_dir)
    shards = sorted(folder.glob("data/train-*.parquet"))
    columns = pq.read_schema(shards[0]).names if shards else []
    if "motion" not in columns and "intervals" not in columns:
        raise ValueError(f"{folder} holds no synthetic set")
    for shard in shards:
        with pq.ParquetFile(shard) as file:
            for group in range(file.num_row_groups):
                for row in file.read_row_group(group).to_pylist():
                    if "motion" in columns:
                        yield from_dataset_row(row)
                    else:
                        yield from from_unlabelled_dataset_row(row)


def check_contact_sheet(
    path: str | os.PathLike[str], dataset_dir: str | os.PathLike[str], parameters: SetParameters
) -> None:
    """Refuses, before the set is made, a contact sheet that could not be written.

    Raises:
        ValueError: for long clips, which have neither apex nor motion, or a path inside the set.
        FileNotFoundError: if its folder does not exist.
    """
    path, dataset_dir = Path(path).resolve(), Path(dataset_dir).resolve()
    if not isinstance(parameters, LabelledSetParameters):
        raise ValueError("a contact sheet shows onset, apex and motion; long clips have none of them")
    if path.is_relative_to(dataset_dir):
        raise ValueError(f"the contact sheet {path} lies in the set {dataset_dir}; give a path outside")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"the folder {path.parent} of the contact sheet does not exist")
    if path.is_dir():
        raise IsADirectoryError(f"the contact sheet {path} is a folder; give the path of a PNG file")


def write_contact_sheet(dataset_dir: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """Draws one sample of each of the first 16 subjects of a labelled set on disk; see `save_contact_sheet`."""
    subjects: set[str] = set()
    chosen = []
    for sample in iterate_samples(dataset_dir):
        if sample["subject_id"] not in subjects:
            subjects.add(sample["subject_id"])
            chosen.append(sample)
        if len(chosen) == _CONTACT_SHEET_SUBJECTS:
            break
    save_contact_sheet(chosen, path)


def fingerprint(parameters: SetParameters) -> str:
    """16 hexadecimal digits of everything that decides the bytes of the shards, apart from the libraries' versions."""
    return hashlib.sha256(json.dumps(_identity(parameters), sort_keys=True).encode()).hexdigest()[:16]


def _identity(parameters: SetParameters) -> dict[str, Any]:
    return {
        "generator_version": GENERATOR_VERSION,
        "format_version": FORMAT_VERSION,
        "subjects_per_shard": SUBJECTS_PER_SHARD,
        "kind": "labelled" if isinstance(parameters, LabelledSetParameters) else "unlabelled",
        "parameters": asdict(parameters),
    }


def _features(parameters: SetParameters) -> Features:
    return LABELLED_FEATURES if isinstance(parameters, LabelledSetParameters) else UNLABELLED_FEATURES


def _shard_names(parameters: SetParameters) -> list[str]:
    count = -(-parameters.num_subjects // SUBJECTS_PER_SHARD)
    return [f"data/train-{number:05d}-of-{count:05d}.parquet" for number in range(count)]


def _shard_subjects(number: int, parameters: SetParameters) -> int:
    return min(SUBJECTS_PER_SHARD, parameters.num_subjects - number * SUBJECTS_PER_SHARD)


def _is_finished_set(output_dir: Path, parameters: SetParameters) -> bool:
    """False if there is nothing at `output_dir`; refuses anything but this very set, whole."""
    if not output_dir.exists() and not output_dir.is_symlink():
        return False
    if output_dir.is_dir() and not any(output_dir.iterdir()):
        return False
    description = _read_description(output_dir)
    if description is None:
        raise FileExistsError(f"{output_dir} holds something else; give a folder that is empty or does not exist")
    if description["fingerprint"] != fingerprint(parameters):
        raise FileExistsError(
            f"{output_dir} holds a set with other parameters or of another version (fingerprint"
            f" {description['fingerprint']}, not {fingerprint(parameters)}); give another folder"
        )
    for name, checksum in description["shards"].items():
        path = output_dir / name
        if not path.exists() or _checksum(path) != checksum:
            raise ValueError(f"{path} is missing or was altered; delete {output_dir} and make the set again")
    return True


def _read_description(folder: Path) -> dict[str, Any] | None:
    """Content of `parameters.json`, or `None` if `folder` was not written here."""
    try:
        description = json.loads((folder / PARAMETERS_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return description if isinstance(description, dict) and "fingerprint" in description else None


def _claim(folder: Path, parameters: SetParameters) -> None:
    """Give the hidden folder a `parameters.json` of this set; what an interrupted run with others left goes."""
    description = _read_description(folder)
    if description is None and any(path.suffix != _UNFINISHED for path in folder.glob("[!.]*")):
        raise FileExistsError(f"{folder} holds something else; remove it")
    if description is None or description["fingerprint"] != fingerprint(parameters):
        # The file that makes the folder ours goes last.
        for path in sorted(folder.glob("[!.]*"), key=lambda path: path.name == PARAMETERS_NAME):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        write_json(folder / PARAMETERS_NAME, {"fingerprint": fingerprint(parameters), **_identity(parameters)})


def _write_shards(folder: Path, parameters: SetParameters, num_processes: int, progress: bool) -> None:
    names = _shard_names(parameters)
    expected = [_shard_subjects(number, parameters) * parameters.rows_per_subject for number in range(len(names))]
    description = {**_describe_rows(parameters), "num_bytes": 0, "shards": names}
    write_text(folder / CARD_NAME, render_card(description, parameters, None))
    (folder / "data").mkdir(exist_ok=True)
    missing = [
        not _is_finished_shard(folder / name, fingerprint(parameters), num_rows)
        for name, num_rows in zip(names, expected)
    ]
    if not any(missing):
        return
    # The generator starts with the first subject; those of finished shards come from its cache.
    rows = parameters.rows(num_processes=num_processes, cache_dir=folder / _CACHE_NAME, progress=progress)
    with contextlib.closing(rows):
        for name, num_rows, is_missing in zip(names, expected, missing):
            shard_rows = islice(rows, num_rows)
            if is_missing:
                _write_shard(folder / name, shard_rows, num_rows, parameters)
            else:
                for _ in shard_rows:
                    pass


def _write_shard(path: Path, rows: Iterable[Mapping[str, Any]], expected_rows: int, parameters: SetParameters) -> None:
    """One Parquet file with a row group for each subject; it appears when it is whole."""
    schema = _features(parameters).arrow_schema
    schema = schema.with_metadata({**schema.metadata, _FINGERPRINT_KEY: fingerprint(parameters).encode()})
    to_row = to_dataset_row if isinstance(parameters, LabelledSetParameters) else to_unlabelled_dataset_row
    temporary = path.with_name(path.name + _UNFINISHED)
    encoded = (to_row(row, parameters.name) for row in rows)
    written = 0
    with pq.ParquetWriter(
        temporary, schema, compression="zstd", use_dictionary=False, write_page_checksum=True
    ) as writer:
        while group := list(islice(encoded, parameters.rows_per_subject)):
            writer.write_table(pa.Table.from_pylist(group, schema=schema))
            written += len(group)
    if written != expected_rows:
        raise RuntimeError(f"the generator gave {written} rows for {path.name}; expected {expected_rows}")
    os.replace(temporary, path)


def _is_finished_shard(path: Path, expected_fingerprint: str, expected_rows: int) -> bool:
    """Whether the file is there, whole, undamaged and of this set. Reads it, one row group in memory."""
    if not path.exists():
        return False
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            if file.schema_arrow.metadata.get(_FINGERPRINT_KEY) != expected_fingerprint.encode():
                return False
            return expected_rows == sum(file.read_row_group(group).num_rows for group in range(file.num_row_groups))
    except (OSError, pa.ArrowException):
        return False


def _describe_rows(parameters: SetParameters) -> dict[str, Any]:
    return {
        "fingerprint": fingerprint(parameters),
        **_identity(parameters),
        "num_rows": parameters.num_subjects * parameters.rows_per_subject,
    }


def _describe(folder: Path, parameters: SetParameters) -> dict[str, Any]:
    """What the card and `parameters.json` say of a set whose shards are all there."""
    names = _shard_names(parameters)
    num_bytes = 0
    for name in names:
        with pq.ParquetFile(folder / name) as file:
            metadata = file.metadata
            num_bytes += sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
    return {
        **_describe_rows(parameters),
        "num_bytes": num_bytes,
        "shards": {name: _checksum(folder / name) for name in names},
    }


def _clip_index(folder: Path, parameters: UnlabelledSetParameters) -> ClipIndex:
    """Long clips are a set of clips to pretrain on: one row group is one clip."""
    names = _shard_names(parameters)
    num_frames, subjects = 0, []
    for name in names:
        with pq.ParquetFile(folder / name) as file:
            for batch in file.iter_batches(batch_size=64, columns=["subject_id", "landmarks"]):
                subjects += batch["subject_id"].to_pylist()
                num_frames += len(batch["landmarks"].flatten())  # one list of points a frame; frames are far larger
    return ClipIndex(
        shards=tuple(names),
        num_clips=tuple(_shard_subjects(number, parameters) for number in range(len(names))),
        num_frames=num_frames,
        subjects={parameters.name: sorted(subjects)},
        fingerprint=fingerprint(parameters),
    )


def _add_results(folder: Path, parameters: SetParameters, progress: bool) -> None:
    # scikit-learn, and the torch that `evaluation` brings along, take seconds to import: not for those who go without.
    from tqdm.auto import tqdm

    from .baselines import TooFewToCompare, measure_baselines

    is_labelled = isinstance(parameters, LabelledSetParameters)
    num_samples = parameters.num_subjects * parameters.rows_per_subject if is_labelled else None
    samples = tqdm(iterate_samples(folder), total=num_samples, unit="sample", desc="baselines", disable=not progress)
    try:
        results = measure_baselines(samples, parameters.classes)
    except TooFewToCompare:  # long clips, whose micro-expressions are drawn, may hold hardly any
        return
    results = {"dataset": parameters.name, "fingerprint": fingerprint(parameters), **results}
    write_json(folder / RESULTS_NAME, results)
    write_text(folder / CARD_NAME, render_card(_describe(folder, parameters), parameters, results))


def _checksum(path: Path) -> str:
    return f"sha256:{file_sha256(path)}"
