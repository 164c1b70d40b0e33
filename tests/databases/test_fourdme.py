"""4DME: from trees in the layout that meb reads to converted sets with several labels a row."""

import pytest
import trees

from micron_bert_hf.databases.fourdme import FLAGS, to_annotation, without_static_units
from micron_bert_hf.databases.sheets import SheetRow


def convert(raw, out, **options):
    return trees.convert_tree("fourdme", raw, out, **options)


def units(row):
    return [f"{unit['side']}{unit['unit']}" for unit in row["action_units"]]


def test_rows_and_repairs(tmp_path):
    raw = trees.write_fourdme(tmp_path / "4DME 微表情")
    report, rows, repairs = convert(raw, tmp_path / "out")
    assert {name: (row["label"], row["labels"], units(row)) for name, row in rows.items()} == {
        "S01_001_01_1": ("positive", ["positive"], ["12"]),
        "S01_001_02_1": ("surprise+positive", ["positive", "surprise"], ["1", "2"]),
        "S13_001_01_1": ("negative", ["negative"], ["L7"]),
        "S13_002_01_1": ("repression+negative", ["negative", "repression"], ["R2", "45"]),
        "S13_002_02_1": ("others", ["others"], []),  # no flag is set: the emotion as text
    }
    assert {name: row["frames"] for name, row in rows.items()} == {
        "S01_001_01_1": [100, 106],
        "S01_001_02_1": [40, 50],
        "S13_001_01_1": [7, 15],
        "S13_002_01_1": [30, 36],
        "S13_002_02_1": [60, 66],
    }
    first = rows["S01_001_02_1"]
    assert (first["subject_id"], first["dataset"], first["fps"], first["recording"]) == (
        "S01", "fourdme", 60.0, "S01/001_02_1"
    )  # fmt: skip
    assert first["label_raw"] == "Surprise+Positive" and "eye blink" in first["sheet_row"]
    assert repairs == [
        ("S13_001_01_1", "action_units", "AU4(k)+L7", "L7", "erratum"),
        ("S13_002_01_1", "action_units", "R2+12\uff08k\uff09+45", "R2+45", "erratum"),
        ("S13_002_02_1", "action_units", "4(k)", "", "erratum"),
        ("row 7", "row", "Total | 9 | 9 | 9 | 9 | 2 | 2 | 1 | 1 | 1 | 7", "left out", "unlabelled"),
    ]
    assert (report.description["expected"]["clips"], report.description["expected"]["classes"]) == (267, {})
    assert "5 labels; known are 267: release v1" in str(report)


def test_with_errata_switched_off_static_units_stay_beside(tmp_path):
    raw = trees.write_fourdme(tmp_path / "raw", trees.FOURDME_CLIPS[2:3])
    _, rows, repairs = convert(raw, tmp_path / "out", errata=False)
    row = rows["S13_001_01_1"]
    assert (row["action_units_raw"], units(row), row["action_unit_alternatives"]) == (
        "AU4(k)+L7", ["L7"], ["AU4(k)"]
    )  # fmt: skip
    assert [line[0] for line in repairs] == ["row 3"]


def test_people_whose_folders_pad_their_number(tmp_path):
    raw = trees.write_fourdme(tmp_path / "raw", trees.FOURDME_CLIPS[:2])
    (raw / "gray_micro/S01").rename(raw / "gray_micro/s001")
    _, rows, repairs = convert(raw, tmp_path / "out")
    assert len(rows) == 2
    assert ("S01_001_01_1", "folder", "S01/001_01_1", "s001/001_01_1", "spelling") in repairs


def test_crops_are_not_taken_for_the_video(tmp_path):
    raw = trees.write_fourdme(tmp_path / "raw")
    trees.write_frames(raw / "gray_micro_crop/S01/001_01_1", range(100, 116), "{:05d}.jpg")
    assert convert(raw, tmp_path / "out")[0].description["frames_folder"] == "gray_micro"


def clip(**changes):
    values = dict(zip(("subject", "folder", "emotion", "onset", "apex", "offset", "units", "flags"),
                      trees.FOURDME_CLIPS[0]))  # fmt: skip
    return lambda raw: trees.write_fourdme(raw, [tuple({**values, **changes}.values())])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            clip(emotion="Positive+joy"),
            ValueError,
            "row 2: the label 'joy' is none of negative, others, positive, repression, surprise",
        ),
        (
            clip(flags=(1, "yes", 0, 0, 0)),
            ValueError,
            "row 2, negative: 'yes' is no flag, such as 1 or 0",
        ),
        (
            lambda raw: next(raw.glob("*.xlsx")).unlink(),
            FileNotFoundError,
            "no label sheet in .*4DME_Labelling_Micro",
        ),
        (
            lambda raw: trees.write_xlsx(next(raw.glob("*.xlsx")), trees.casme2_rows()),
            ValueError,
            r"no row names the columns .*positive \(positive\)",
        ),
        (
            lambda raw: (raw / "gray_micro").rename(raw / "gray_micro_crop"),
            FileNotFoundError,
            "such as S01 and lies not in one called .*crop.*; such folders are in gray_micro_crop",
        ),
        (
            lambda raw: trees.write_fourdme(raw, [trees.FOURDME_CLIPS[0]] * 2),
            ValueError,
            "row 3 is about S01_001_01_1, and so is .*row 2",
        ),
    ],
)
def test_bad_input_is_named(tmp_path, change, error, message):
    raw = trees.write_fourdme(tmp_path / "raw")
    change(raw)
    with pytest.raises(error, match=message):
        convert(raw, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_strict_lets_static_units_pass(tmp_path):
    clips = [(*trees.FOURDME_CLIPS[2][:1], f"{number:03d}", *trees.FOURDME_CLIPS[2][2:]) for number in range(267)]
    raw = trees.write_fourdme(tmp_path / "raw", clips)
    report, rows, _ = convert(raw, tmp_path / "out", strict=True)
    assert len(rows) == 267 and "(Sheet1): release v1" in str(report)
    raw = trees.write_fourdme(tmp_path / "few", clips[:1])
    with pytest.raises(ValueError, match="1 things .*unknown version of the sheet: .*1 labels"):
        convert(raw, tmp_path / "strict", strict=True)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("4+L10", "4+L10"),
        ("AU4(k)+L7", "L7"),
        ("4 (K)+ 7", " 7"),
        ("R2+12\uff08k\uff09+45", "R2+45"),
        ("4(k)", ""),
        ("", ""),
    ],
)
def test_static_units(text, kept):
    assert without_static_units(text) == kept


def test_the_pure_parts(tmp_path):
    values = {"subject": "S01", "clip": "001_01_1", "onset": "1", "apex": "4", "offset": "9", "action_units": "4"}
    values |= {"emotion": "Negative , Others", **dict.fromkeys(FLAGS, "")}
    row = SheetRow(2, values, {})
    assert to_annotation(values, row, "here").labels == ("negative", "others")
    assert to_annotation({**values, "surprise": "1", "others": "0"}, row, "here").labels == ("surprise",)
