"""Any valid release reads back as it was written: random people, clips, numbering, padding and order of columns."""

import shutil

import datasets
import trees
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from micron_bert_hf.databases import DATABASES, ConversionOptions, convert_database


LABELS = {"casme2": ("others", "disgust", "Happiness", "fear"), "samm": ("Anger", "Other", "Surprise")}
UNITS = ("4", "L12", "1+2", "R14B", "?", "(R6 or R12)+R15")
COLUMNS = {
    "casme2": ("Subject", "Filename", "OnsetFrame", "ApexFrame", "OffsetFrame", "Action Units", "Estimated Emotion"),
    "samm": (
        "Subject", "Filename", "Onset Frame", "Apex Frame", "Offset Frame", "Action Units", "Estimated Emotion",
        "Duration",
    ),
}  # fmt: skip


@st.composite
def releases(draw):
    """`(database, columns in some order with blanks between, preamble, clips)`."""
    database = draw(st.sampled_from(("casme2", "samm")))
    columns = list(draw(st.permutations(COLUMNS[database])))
    for place in sorted(draw(st.sets(st.integers(0, len(columns)), max_size=3)), reverse=True):
        columns.insert(place, None)
    preamble = draw(st.lists(st.sampled_from(((), ("remark",), ("Subject", "Filename"))), max_size=12))
    clips = []
    for number in range(draw(st.integers(1, 6))):
        subject = draw(st.integers(1, 30))
        names = {"casme2": f"EP{number:02d}_{draw(st.integers(1, 20)):02d}f", "samm": f"{subject:03d}_{number}_1"}
        onset = draw(st.integers(1, 12_000))
        length = draw(st.integers(2, 9))
        apex = onset + draw(st.integers(1, length - 1))
        clips.append(
            {
                "subject": subject,
                "clip": names[database],
                "frames": (onset, apex, onset + length - 1),
                "units": draw(st.sampled_from(UNITS)),
                "label": draw(st.sampled_from(LABELS[database])),
                "padding": draw(st.integers(1, 6)),
                "before": draw(st.integers(0, 3)),
                "after": draw(st.integers(0, 3)),
            }
        )
    return database, columns, preamble, clips


def write(root, database, columns, preamble, clips):
    rows = [tuple(columns)]
    for clip in clips:
        onset, apex, offset = clip["frames"]
        subject = f"{clip['subject']:02d}" if database == "casme2" else clip["subject"]
        cells = dict(
            zip(COLUMNS[database], (subject, clip["clip"], onset, apex, offset, clip["units"], clip["label"]))
        )
        cells["Duration"] = offset - onset + 1
        rows.append(tuple(cells.get(name) for name in columns))
        folder = f"CASME2-RAW/sub{subject}" if database == "casme2" else f"SAMM/{clip['subject']:03d}"
        pattern = f"img{{:0{clip['padding']}d}}.jpg"
        numbers = range(max(0, onset - clip["before"]), offset + clip["after"] + 1)
        trees.write_frames(root / folder / clip["clip"], numbers, pattern, size=(32, 32))
    name = "CASME2-coding-x.xlsx" if database == "casme2" else "SAMM_Micro_FACS_Codes_v2.xlsx"
    trees.write_xlsx(root / name, rows, "codes", preamble)


@settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(release=releases(), frames=st.sampled_from(("pair", "clip")))
def test_what_was_written_is_read_back(tmp_path, release, frames):
    database, columns, preamble, clips = release
    for folder in ("raw", "out", "cache"):
        shutil.rmtree(tmp_path / folder, ignore_errors=True)
    write(tmp_path / "raw", *release)
    options = ConversionOptions(frames=frames, errata=False)
    convert_database(DATABASES[database], tmp_path / "raw", tmp_path / "out", options=options, progress=False)
    shards = sorted(map(str, (tmp_path / "out/data").glob("*.parquet")))
    rows = datasets.load_dataset("parquet", data_files=shards, split="train", cache_dir=str(tmp_path / "cache"))
    assert len(rows) == len(clips)
    for row, clip in zip(rows, clips):
        onset, apex, offset = clip["frames"]
        assert (row["onset"], row["apex"], row["offset"]) == clip["frames"]
        assert row["frame_indices"] == ([onset, apex] if frames == "pair" else list(range(onset, offset + 1)))
        assert [trees.read_number(frame) for frame in row["frames"]] == row["frame_indices"]
        assert row["label_raw"] == clip["label"] and row["action_units_raw"] == clip["units"]
        assert int(row["subject_id"]) == clip["subject"] and clip["clip"] in row["sample_id"]
    repairs = (tmp_path / "out/repairs.csv").read_text(encoding="utf-8").splitlines()
    assert all("no clip in it" in line for line in repairs[1:])
