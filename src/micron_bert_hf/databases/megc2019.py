"""The composite of the Micro-Expression Grand Challenge 2019: CASME II, SAMM and SMIC-HS in three classes.

See et al., FG 2019. Made by rule from the three converted sets, since the challenge's own list is not ours to pass on:
what the label map `composite-3` keeps, less two clips of CASME II that the list lacks. Whether that gives the
challenge's 442 clips of 68 people is checked, and whatever differs is named.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from ..data.clip_set import content_fingerprint, shard_names
from ..data.label_maps import COMPOSITE_DATASETS, COMPOSITE_LABEL_MAP, LABEL_MAPS
from ..run_files import claim_folder, file_sha256, read_json, whole_folder, write_json, write_text
from .card import render_card
from .contact_sheet import write_contact_sheets
from .database import Terms
from .expected_counts import EXPECTED_COUNTS
from .report import CARD_NAME, CONVERSION_NAME, IDENTITY_NAME, SHEETS_FOLDER, ConversionReport, count_lines


NAME, TITLE = "megc2019", "MEGC2019 composite"
# Not in the challenge's list, though the rule keeps them.
NOT_IN_THE_LIST: Mapping[tuple[str, str], str] = {
    ("casme2", "sub04_EP12_01f"): "its sheet has no apex",
    ("casme2", "sub05_EP09_05f"): "its apex is its onset",
}
# What decides pixels, and so must be equal in all three sets; crops of their own two of them have.
SHARED_OPTIONS = ("frames", "image_size", "align", "stabilize", "detector")
TERMS = Terms(
    "casme2-samm-smic-release-agreements",
    "http://casme.psych.ac.cn/casme/e2",
    "Research only, by the signed agreements of all three databases; not to be passed on.",
)
CERTAIN = "the list's counts, and the two clips that it lacks"
TO_CONFIRM = "that the three releases give the list's counts, which the command checks"


def compose_megc2019(sets: Sequence[str | os.PathLike], output_dir: str | os.PathLike) -> ConversionReport:
    """
    Join three converted sets.

    Args:
        sets: folders of converted CASME II, SAMM and SMIC-HS, in any order, made with the same `SHARED_OPTIONS`.
        output_dir: absent or empty. Rows keep their own labels; read them with `label_map="composite-3"`.

    Raises:
        ValueError: a set is missing, twice there, of another part, or made with other options; or the composite is
            not the challenge's: the message says which counts differ.
        FileExistsError: `output_dir` holds something.
    """
    output_dir = Path(os.path.abspath(output_dir))
    found = _open_sets([Path(folder) for folder in sets])
    with whole_folder(output_dir) as folder:
        identity = {name: about["fingerprint"] for name, (_, about) in sorted(found.items())}
        claim_folder(folder, IDENTITY_NAME, {"database": NAME, **identity})
        (folder / "data").mkdir(exist_ok=True)
        sources = [
            (name, source / shard) for name, (source, about) in sorted(found.items()) for shard in about["shards"]
        ]
        names = shard_names(len(sources))
        tally = _Tally()
        for (dataset, source), name in zip(sources, names):
            _copy_rows(source, folder / name, dataset, tally)
        _check(tally)
        description = _describe(found, tally, names, folder)
        num_bytes = sum((folder / name).stat().st_size for name in names)
        write_text(folder / CARD_NAME, render_card(description, num_bytes))
        write_contact_sheets(folder, names, folder / SHEETS_FOLDER, "labelled")
        write_json(folder / CONVERSION_NAME, description)
        (folder / IDENTITY_NAME).unlink()
    return ConversionReport(output_dir, description, was_there=False)


class _Tally:
    """Rows that were kept, counted by database."""

    def __init__(self) -> None:
        self.classes: dict[str, Counter[str]] = {name: Counter() for name in COMPOSITE_DATASETS}
        self.subjects: dict[str, set[str]] = {name: set() for name in COMPOSITE_DATASETS}
        self.num_frames = 0

    def add(self, dataset: str, subject_id: str, klass: str, num_frames: int) -> None:
        self.classes[dataset][klass] += 1
        self.subjects[dataset].add(subject_id)
        self.num_frames += num_frames

    def counts(self, *datasets: str) -> dict[str, Any]:
        classes = sum((self.classes[name] for name in datasets), Counter())
        return {
            "clips": sum(classes.values()),
            "subjects": sum(len(self.subjects[name]) for name in datasets),
            "classes": dict(sorted(classes.items())),
        }


def _open_sets(folders: Sequence[Path]) -> dict[str, tuple[Path, dict[str, Any]]]:
    """Dataset -> its folder and `conversion.json`."""
    found: dict[str, tuple[Path, dict[str, Any]]] = {}
    for folder in folders:
        about = read_json(folder / CONVERSION_NAME)
        if about is None:
            raise ValueError(f"{folder} is no converted set: it has no {CONVERSION_NAME}")
        name = about["dataset"]
        if name not in COMPOSITE_DATASETS or about["kind"] != "labelled" or about["part"] not in ("all", "hs"):
            raise ValueError(
                f"{folder} holds {about['title']}, part {about['part']}; expected CASME II, SAMM and part hs of SMIC"
            )
        if name in found:
            raise ValueError(f"{folder} and {found[name][0]} both hold {about['title']}")
        found[name] = folder, about
    missing = sorted(set(COMPOSITE_DATASETS) - set(found))
    if missing:
        raise ValueError(f"the composite needs a converted set of each of {', '.join(missing)} too")
    for option in SHARED_OPTIONS:
        values = {name: about["options"][option] for name, (_, about) in found.items()}
        if len(set(values.values())) > 1:
            raise ValueError(f"the sets were made with different `{option}` ({values}); convert them alike")
    return found


def _copy_rows(source: Path, target: Path, dataset: str, tally: _Tally) -> None:
    """A shard of the composite: the kept rows of one shard, a row group each."""
    label_map = LABEL_MAPS[COMPOSITE_LABEL_MAP]
    with (
        pq.ParquetFile(source) as file,
        pq.ParquetWriter(
            target, file.schema_arrow, compression="none", use_dictionary=False, write_page_checksum=True
        ) as writer,
    ):
        for group in range(file.num_row_groups):
            columns = ["sample_id", "subject_id", "label_raw", "frame_indices"]
            row = file.read_row_group(group, columns=columns).to_pylist()[0]
            klass = label_map(row["label_raw"], dataset)
            if klass is None or (dataset, row["sample_id"]) in NOT_IN_THE_LIST:
                continue
            writer.write_table(file.read_row_group(group))
            tally.add(dataset, row["subject_id"], klass, len(row["frame_indices"]))


def _describe(
    found: Mapping[str, tuple[Path, Mapping[str, Any]]], tally: _Tally, names: Sequence[str], folder: Path
) -> dict[str, Any]:
    checksums = [file_sha256(folder / name) for name in names]
    options = {name: about["options"] for name, (_, about) in sorted(found.items())}
    return {
        "database": NAME,
        "part": "all",
        "options": options,
        "title": TITLE,
        "dataset": NAME,
        "kind": "labelled",
        "terms": asdict(TERMS),
        "sheets": [sheet for _, (_, about) in sorted(found.items()) for sheet in about["sheets"]],
        "frames_folder": ", ".join(f"{about['title']} ({about['fingerprint']})" for _, about in found.values()),
        "counts": tally.counts(*COMPOSITE_DATASETS),
        "expected": asdict(EXPECTED_COUNTS[NAME, "all"][0]),
        "repairs": {},
        "faces": {},
        "num_rows": tally.counts(*COMPOSITE_DATASETS)["clips"],
        "num_frames": tally.num_frames,
        "shards": {name: f"sha256:{checksum}" for name, checksum in zip(names, checksums)},
        "fingerprint": content_fingerprint(checksums),
    }


def _check(tally: _Tally) -> None:
    """
    Raises:
        ValueError: the counts are not the challenge's.
    """
    differing = []
    for name in (*COMPOSITE_DATASETS, "all"):
        counts = tally.counts(*(COMPOSITE_DATASETS if name == "all" else (name,)))
        expected = asdict(EXPECTED_COUNTS[NAME, name][0])
        if any(counts[key] != expected[key] for key in counts):
            differing.append("\n".join([f"{name}:", *count_lines({"counts": counts, "expected": expected})]))
    if differing:
        raise ValueError(
            "this is not the composite of MEGC2019, whose numbers must not be compared with it. "
            + "\n".join(differing)
        )
