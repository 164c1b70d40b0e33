"""SAMM Long Videos: from trees in the official layout to converted recordings with their intervals."""

import pytest
import trees

from micron_bert_hf.databases import DATABASES
from micron_bert_hf.databases.samm_long import recording, sheet_version, to_annotation
from micron_bert_hf.databases.sheets import LabelSheet, SheetRow


def convert(raw, out, **options):
    return trees.convert_tree("samm_long", raw, out, **options)


def intervals(row):
    return [(item["onset"], item["apex"], item["offset"], item["kind"], item["label"]) for item in row["intervals"]]


def test_recordings(tmp_path):
    raw = trees.write_samm_long(tmp_path / "SAMM longvideos 微表情")
    report, rows, repairs = convert(raw, tmp_path / "out")
    assert {name: intervals(row) for name, row in rows.items()} == {
        "006_1": [(3, 10, 20, "macro", ""), (30, 40, 52, "micro", "")],
        "006_2": [],  # its expression is longer than itself
        "007_3": [(12, None, 25, "micro", ""), (40, 50, 60, "macro", "")],  # an apex of -1; frames end with 60
        "007_4": [],  # nothing was annotated in it
    }
    assert all(row["frames"] == row["frame_indices"] == list(range(1, 61)) for row in rows.values())
    first = rows["006_1"]
    assert (first["subject_id"], first["dataset"], first["fps"]) == ("006", "samm", 200.0)
    assert [(unit["unit"], unit["side"]) for unit in first["intervals"][1]["action_units"]] == [(12, "R")]
    assert rows["007_3"]["intervals"][0]["apex_source"] == "none"
    assert "Micro - 1/2" in first["intervals"][1]["sheet_row"]
    assert repairs == [
        ("006_2_1", "sample", "0", "left out", "sample"),
        ("007_3_2", "offset", "90", "60", "frames"),
        ("036_7_4", "sample", "036_7", "left out", "sample"),
    ]
    assert "an onset of 0: it is longer than its recording" in (tmp_path / "out/repairs.csv").read_text()
    assert "no such recording in SAMM_longvideos" in (tmp_path / "out/repairs.csv").read_text()
    assert report.description["counts"]["classes"] == {"micro": 2}
    assert report.description["expected"]["clips"] == 159
    assert "6 expressions, 2 of them micro; V1, V2 and V3 have 502, 159 of them micro" in str(report)


def test_emotions_come_from_the_sheet_of_samm(tmp_path):
    """Beside SAMM's own clips, whose numbers are others: 006_1_2 is from 2030 there, from 30 here."""
    raw = trees.write_samm_long(tmp_path / "raw", with_samm=True)
    report, rows, _ = convert(raw, tmp_path / "out")
    macro, micro = rows["006_1"]["intervals"]
    assert (micro["label"], micro["label_raw"], micro["objective_class"]) == ("happiness", "Happiness", "I")
    assert (micro["onset"], micro["apex"], micro["offset"]) == (30, 40, 52)
    assert (macro["label"], macro["objective_class"]) == ("", "")
    assert rows["007_3"]["intervals"][0]["label"] == ""  # a micro-expression that sheet lacks
    assert report.description["counts"]["classes"] == {"happiness": 1, "micro": 1}
    assert [text.split(" (")[0] for text in report.description["sheets"]] == [
        "SAMM_LongVideos_V2_Release.xlsx", "SAMM_Micro_FACS_Codes_v2.xlsx"
    ]  # fmt: skip
    # the same folder is a release of SAMM too, and the people are the same
    _, clips, _ = trees.convert_tree("samm", raw, tmp_path / "samm")
    assert clips["006_1_2"]["onset"] == 2030
    assert (clips["006_1_2"]["dataset"], clips["006_1_2"]["subject_id"]) == ("samm", rows["006_1"]["subject_id"])
    assert DATABASES["samm_long"].terms == DATABASES["samm"].terms


def test_other_folders_are_told(tmp_path):
    raw = trees.write_samm_long(tmp_path / "raw")
    trees.write_frames(raw / "SAMM_longvideos/006_1_2", [1, 2], "{}.jpg")
    _, rows, repairs = convert(raw, tmp_path / "out")
    path = "SAMM_longvideos/006_1_2"
    assert len(rows) == 4 and (path, "folder", path, "left out", "unlabelled") in repairs


def test_of_several_versions_the_latest(tmp_path):
    for version in ("V1", "V3", "V2"):
        raw = trees.write_samm_long(tmp_path / "raw", version=version)
    report, _, _ = convert(raw, tmp_path / "out")
    assert report.description["sheets"][0].startswith("SAMM_LongVideos_V3_Release.xlsx (FACS_Movement_Only)")


def test_the_whole_release_is_known(tmp_path):
    rows = [*trees.SAMM_LONG_ROWS[:1] * 343, *trees.SAMM_LONG_ROWS[1:2] * 159]
    report, _, repairs = convert(trees.write_samm_long(tmp_path / "raw", rows), tmp_path / "out")
    assert report.description["sheets"][0].endswith("(FACS_Movement_Only): V2: 502 expressions, 159 of them micro")
    assert report.description["counts"]["clips"] == 159 and repairs == []


def with_row(*row):
    return lambda raw: trees.write_samm_long(raw, [*trees.SAMM_LONG_ROWS, row])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            with_row(7, "006_1_3", 3, 10, 20, 18, "Macro", "4"),
            ValueError,
            "row 17: 006_1_3 is of 006, the row of 7",
        ),
        (
            with_row(7, "007_3", 3, 10, 20, 18, "Macro", "4"),
            ValueError,
            "row 17: '007_3' is no expression of SAMM, such as 006_1_2",
        ),
        (
            with_row(7, "007_3_9", 3, 10, 20, 18, "Blink", "4"),
            ValueError,
            "FACS_Movement_Only, row 17: 'Blink' is neither",
        ),
        (
            with_row(7, "007_3_9", "three", 10, 20, 18, "Macro", "4"),
            ValueError,
            "row 17, onset: 'three' is no frame number",
        ),
        (
            lambda raw: next(raw.glob("*.xlsx")).unlink(),
            FileNotFoundError,
            "no label sheet in .*SAMM_LongVideos_V3_Release",
        ),
        (
            lambda raw: trees.write_xlsx(next(raw.glob("*.xlsx")), [trees.SAMM_HEADER], "x", trees.SAMM_PREAMBLE),
            ValueError,
            r"no row names the columns .*type \(type or expressiontype or micromacro\)",
        ),
        (
            lambda raw: trees.write_samm_long(raw, with_samm=True) and (raw / "SAMM_longvideos").rename(raw / "Crops"),
            FileNotFoundError,
            "such as 006_1 and lies not in one called .*crop.*; such folders are in Crops",
        ),
        (
            lambda raw: trees.write_samm_long(raw, trees.SAMM_LONG_ROWS[-1:]),
            FileNotFoundError,
            "none of the annotated recordings is in .*: looked for such as 036_7; there are: 006_1, 006_2",
        ),
        (
            lambda raw: trees.write_samm(raw, [(6, "006_1_2", 2030, 2040, 2052, 23, "R12", "Joy", "I")]),
            ValueError,
            "SAMM_Micro_FACS_Codes_v2.xlsx, MICRO_ONLY, row 15: the label 'Joy' is none of anger, contempt",
        ),
    ],
)
def test_bad_input_is_named(tmp_path, change, error, message):
    raw = trees.write_samm_long(tmp_path / "raw")
    change(raw)
    with pytest.raises(error, match=message):
        convert(raw, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_strict(tmp_path):
    raw = trees.write_samm_long(tmp_path / "raw")
    with pytest.raises(ValueError, match="4 things .*unknown version.*006_2_1, sample: '0' -> 'left out'.*036_7_4"):
        convert(raw, tmp_path / "out", strict=True)


def test_the_pure_parts(tmp_path):
    assert recording({"clip": "006_1_2", "subject": "6"}, "here") == "006_1"
    assert recording({"clip": "036_10_12", "subject": "036"}, "here") == "036_10"
    values = {"subject": "6", "clip": "006_1_2", "onset": "3", "apex": "-1", "offset": "9", "action_units": "4"}
    emotions = {"006_1_2": {"emotion": "Fear", "objective_class": "VII"}}
    row = SheetRow(11, {}, {"Notes": "x"})
    annotation = to_annotation({**values, "type": "Micro - 1/2"}, row, "here", emotions)
    assert (annotation.kind, annotation.label_raw, annotation.objective_class, annotation.apex) == (
        "micro", "Fear", "VII", -1
    )  # fmt: skip
    assert (annotation.sample_id, annotation.subject_id, annotation.duration) == ("006_1_2", "006", None)
    assert to_annotation({**values, "type": "Macro"}, row, "here", emotions).label_raw == ""
    rows = tuple(SheetRow(1, {"type": kind}, {}) for kind in ["Macro"] * 343 + ["Micro - 1/2"] * 159)
    known = sheet_version(LabelSheet(tmp_path / "SAMM_LongVideos_V1_Release.xlsx", "", (), rows, ()))
    assert known.is_known and known.version.startswith("V1: ")
    assert not sheet_version(LabelSheet(tmp_path / "renamed.xlsx", "", (), rows, ())).is_known
