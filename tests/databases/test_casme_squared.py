"""CAS(ME)^2: from trees in the official layout to converted recordings with their intervals."""

import datasets
import pytest
import trees

from micron_bert_hf.databases.casme_squared import naming_rules, recording_key, sheet_version, to_annotation
from micron_bert_hf.databases.sheets import LabelSheet, SheetRow


def convert(raw, out, **options):
    return trees.convert_tree("casme_squared", raw, out, **options)


def intervals(row):
    return [(item["onset"], item["apex"], item["offset"], item["kind"], item["label"]) for item in row["intervals"]]


def test_recordings(tmp_path):
    raw = trees.write_casme_squared(tmp_path / "CAS(ME)^2 微表情")
    report, rows, repairs = convert(raw, tmp_path / "out")
    assert {name: intervals(row) for name, row in rows.items()} == {
        "15_0101disgustingteeth": [(5, 12, 12, "macro", "negative"), (30, 36, 41, "micro", "negative")],
        "15_0102eatingworms": [],  # nothing was annotated in it
        "15_0502funnyerrors": [(20, 24, 30, "macro", "positive")],
        "16_0101disgustingteeth": [(10, 15, 19, "micro", "surprise")],
        "16_0401girlcrashing": [(3, 9, 14, "macro", "others")],
    }
    # every frame of a recording: img001.jpg to img060.jpg, and four digits where there are more
    assert all(row["frames"] == row["frame_indices"] for row in rows.values())
    assert rows["15_0101disgustingteeth"]["frames"] == list(range(1, 61))
    assert rows["15_0102eatingworms"]["frames"] == list(range(1001, 1061))
    first = rows["15_0101disgustingteeth"]
    assert (first["subject_id"], first["dataset"], first["fps"], first["recording"]) == (
        "s15", "casme_squared", 30.0, "15_0101disgustingteeth"
    )  # fmt: skip
    assert rows["16_0401girlcrashing"]["subject_id"] == "s16"
    assert [unit["unit"] for unit in first["intervals"][1]["action_units"]] == [4, 10]
    assert "micro-expression" in first["intervals"][1]["sheet_row"]
    assert repairs == [
        ("s15_disgust1_2", "offset", "0", "12", "offset"),  # an offset of 0: the apex
        ("s16_anger1_1", "sample", "0", "left out", "sample"),  # and where that is the onset, nothing
    ]
    text = str(report)
    assert "frames from rawpic" in text and "6 expressions, 2 of them micro; the final one has 357, 57 of" in text
    # of the micro-expressions alone
    assert "clips                          2        57   differs" in text
    assert "positive                       0         8   differs" in text
    assert datasets.load_dataset(str(tmp_path / "out"), split="train")[0]["intervals"][1]["kind"] == "micro"


def test_the_final_version(tmp_path):
    rows = [*trees.CASME_SQUARED_ROWS[:1] * 57, *trees.CASME_SQUARED_ROWS[2:3] * 300]
    report, converted, _ = convert(trees.write_casme_squared(tmp_path / "raw", rows), tmp_path / "out")
    assert report.description["sheets"] == [
        "CAS(ME)^2code_final.xlsx (CASFEcode_final): final: 357 expressions, 57 of them micro"
    ]
    assert len(converted["15_0101disgustingteeth"]["intervals"]) == 57
    assert report.description["counts"]["clips"] == report.description["expected"]["clips"] == 57


def test_an_expression_without_its_recording_is_left_out(tmp_path):
    raw = trees.write_casme_squared(tmp_path / "raw", recordings=trees.CASME_SQUARED_RECORDINGS[1:])
    _, rows, repairs = convert(raw, tmp_path / "out")
    assert "15_0101disgustingteeth" not in rows and len(rows) == 4
    assert [line for line in repairs if line[2] == "15_0101"] == [
        ("s15_disgust1_1", "sample", "15_0101", "left out", "sample"),
        ("s15_disgust1_2", "sample", "15_0101", "left out", "sample"),
    ]


def test_a_recording_in_another_persons_folder_is_left_out(tmp_path):
    """`s19/23_0502funnyerrors`, which a reader of the release found: whose it is, nobody can tell from here."""
    stray = "s19/23_0502funnyerrors"
    raw = trees.write_casme_squared(tmp_path / "raw", recordings=(*trees.CASME_SQUARED_RECORDINGS, stray, "s19/more"))
    _, rows, repairs = convert(raw, tmp_path / "out")
    assert len(rows) == 5 and "23_0502funnyerrors" not in rows
    assert ("rawpic/s19/more", "folder", "rawpic/s19/more", "left out", "unlabelled") in repairs
    assert ("23_0502funnyerrors", "sample", f"rawpic/{stray}", "left out", "sample") in repairs
    assert "its name says s23, its folder s19: rename" in (tmp_path / "out/repairs.csv").read_text()


def test_numbers_of_frames_that_are_not_there(tmp_path):
    rows = [(1, "disgust1_1", 58, 70, 75, "4", "negative", "micro-expression", "disgust"),
            (1, "disgust1_2", 50, 80, 55, "4", "negative", "macro-expression", "disgust"),
            (1, "disgust1_3", 70, 72, 75, "4", "negative", "macro-expression", "disgust")]  # fmt: skip
    _, converted, repairs = convert(trees.write_casme_squared(tmp_path / "raw", rows), tmp_path / "out")
    assert intervals(converted["15_0101disgustingteeth"]) == [
        (50, None, 55, "macro", "negative"), (58, 60, 60, "micro", "negative")
    ]  # fmt: skip
    assert repairs == [
        ("s15_disgust1_1", "apex", "70", "60", "frames"),
        ("s15_disgust1_1", "offset", "75", "60", "frames"),
        ("s15_disgust1_2", "apex", "80", "", "apex"),
        ("s15_disgust1_3", "sample", "70 to 75", "left out", "sample"),
    ]


def with_row(*row):
    return lambda raw: trees.write_casme_squared(raw, [*trees.CASME_SQUARED_ROWS, row])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            with_row(1, "disgust1_3", 5, 12, 20, "4", "joy", "micro-expression", ""),
            ValueError,
            "CASFEcode_final, row 7: the label 'joy' is none of negative, others, positive, surprise",
        ),
        (
            with_row(1, "disgust1_3", 5, 12, 20, "4", "others", "blink", ""),
            ValueError,
            "row 7: 'blink' is neither a micro- nor a macro-expression",
        ),
        (
            with_row(1, "fear1_1", 5, 12, 20, "4", "others", "micro-expression", ""),
            ValueError,
            "row 7: the naming rules have no clip 'fear1'; they have disgust1, disgust2",
        ),
        (
            with_row(9, "anger1_1", 5, 12, 20, "4", "others", "micro-expression", ""),
            ValueError,
            "row 7: the naming rules have no person '9'; they have 1, 2, 3",
        ),
        (
            lambda raw: trees.write_casme_squared(raw, people=[("a", "b", "c")]),
            ValueError,
            "naming rule1 is no naming rule: no row has the likes of s15 and 1",
        ),
        (
            lambda raw: trees.write_xlsx(raw / trees.CASME_SQUARED_SHEET, trees.CASME_SQUARED_ROWS),
            ValueError,
            "has 1 worksheets; expected at least 2",
        ),
        (
            lambda raw: trees.write_xlsx(raw / trees.CASME_SQUARED_SHEET, [trees.CASME3_HEADER]),
            ValueError,
            "8 columns; expected 9: subject, clip, onset",
        ),
        (
            lambda raw: (raw / trees.CASME_SQUARED_SHEET).unlink(),
            FileNotFoundError,
            r"no label sheet in .*CAS\(ME\)\^2code_final",
        ),
        (
            lambda raw: (raw / "rawpic").rename(raw / "crops of rawpic"),
            FileNotFoundError,
            "such as s15 and lies not in one called .*such folders are in crop",
        ),
        (
            lambda raw: [path.rename(path.with_name("x" + path.name)) for path in (raw / "rawpic").glob("s*/*")],
            FileNotFoundError,
            "none of the annotated recordings is in .*rawpic: looked for such as 15_0101, 15_0502.*no recordings",
        ),
        (
            lambda raw: trees.write_frames(raw / "rawpic/s15/15_0101again", [1, 2], "img{:03d}.jpg"),
            ValueError,
            "15_0101again and .*15_0101disgustingteeth are the same recording by their names",
        ),
    ],
)
def test_bad_input_is_named(tmp_path, change, error, message):
    raw = trees.write_casme_squared(tmp_path / "raw")
    change(raw)
    with pytest.raises(error, match=message):
        convert(raw, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_strict(tmp_path):
    raw = trees.write_casme_squared(tmp_path / "raw")
    with pytest.raises(ValueError, match="3 things .*unknown version.*s15_disgust1_2, offset: '0' -> '12'"):
        convert(raw, tmp_path / "out", strict=True)


def test_the_pure_parts(tmp_path):
    raw = trees.write_casme_squared(tmp_path / "raw")
    people, codes = naming_rules(raw / trees.CASME_SQUARED_SHEET)
    assert people == {"1": "15", "2": "16", "3": "19"}
    assert codes == {"disgust1": "0101", "disgust2": "0102", "anger1": "0401", "happy1": "0502"}
    assert recording_key({"subject": "2", "clip": "Anger1_12"}, people, codes, "here") == ("16", "0401")
    values = dict(zip(("subject", "clip", "onset", "apex", "offset", "action_units", "emotion", "type"),
                      ("1", "disgust1_1", "5", "9", "0", "4", "others", "macro-expression")))  # fmt: skip
    row = SheetRow(1, values, {})
    annotation = to_annotation({**values, "person": "s15", "recording": "15_0101x"}, row, "here")
    assert (annotation.recording, annotation.kind, annotation.offset) == ("15_0101x", "macro", 0)
    assert not sheet_version(LabelSheet(raw, "", (), (row,) * 357, ())).is_known
