"""CASME: from trees in the official layout to converted sets."""

import re

import pytest
import trees

from micron_bert_hf.databases.casme import to_annotation
from micron_bert_hf.databases.sheets import SheetRow


def convert(raw, out, **options):
    return trees.convert_tree("casme", raw, out, **options)


def test_rows_and_repairs(tmp_path):
    raw = trees.write_casme(tmp_path / "CASME 微表情")
    report, rows, repairs = convert(raw, tmp_path / "out")
    assert {name: (row["subject_id"], row["onset"], row["apex"], row["offset"]) for name, row in rows.items()} == {
        "sub01_EP01_5": ("01", 98, 108, 123),  # the first of two apexes
        "sub01_EP03_2": ("01", 60, 72, 80),  # the second, for want of the first
        "sub02_EP01_2": ("02", 5, 10, 16),  # neither says anything
        "sub19_EP06_01": ("19", 69, 84, 100),  # the first is the onset: the rule repairs it, whatever the second
    }
    # EP01_5-108.jpg and, padded, EP06_01-084.jpg
    assert all(row["frames"] == [row["onset"], row["apex"]] for row in rows.values())
    assert repairs == [
        ("sub02_EP01_2", "apex", "/", "10", "apex"),
        ("sub19_EP06_01", "apex", "69", "84", "apex"),
    ]
    first = rows["sub01_EP01_5"]
    assert (first["label"], first["dataset"], first["fps"], first["recording"]) == (
        "tense", "casme", 60.0, "sub01/EP01_5"
    )  # fmt: skip
    assert [unit["unit"] for unit in rows["sub01_EP03_2"]["action_units"]] == [4, 9]
    assert "ApexF2" in first["sheet_row"]
    # people and classes nobody has counted
    assert (report.description["expected"]["clips"], report.description["expected"]["subjects"]) == (189, None)
    assert re.search(r"subjects +\d+ +\?\n", str(report))
    assert "a version that is not known: 4 labels; known are 189: the one that meb reads" in str(report)


def test_the_clip_and_its_frames_in_order(tmp_path):
    raw = trees.write_casme(tmp_path / "raw", trees.CASME_CLIPS[:1])
    _, rows, _ = convert(raw, tmp_path / "out", frames="clip")
    assert rows["sub01_EP01_5"]["frames"] == list(range(98, 124)) == rows["sub01_EP01_5"]["frame_indices"]


def test_official_crops(tmp_path):
    raw = trees.write_casme(tmp_path / "raw")
    trees.write_casme(raw, folder="Cropped", pattern="reg_{clip}-{{}}.jpg")
    report, rows, _ = convert(raw, tmp_path / "crops", official_crops=True)
    assert report.description["frames_folder"] == "Cropped" and rows["sub19_EP06_01"]["frames"] == [69, 84]
    report, _, _ = convert(raw, tmp_path / "whole")
    assert report.description["frames_folder"] == "CASME_raw_selected"


def test_two_rows_with_one_folder(tmp_path):
    """EP01_1 and EP01_01 are two clips; where one folder is there, the first has it."""
    clips = (("tense", 1, "EP01_1", 10, 14, 20, 22, "4"), ("fear", 1, "EP01_01", 10, 15, 20, 22, "4"))
    raw = trees.write_casme(tmp_path / "raw", clips)
    assert len(convert(raw, tmp_path / "both")[1]) == 2
    folder = raw / "CASME_raw_selected/sub01"
    for path in (folder / "EP01_01").iterdir():
        path.unlink()
    (folder / "EP01_01").rmdir()
    _, rows, repairs = convert(raw, tmp_path / "one")
    assert list(rows) == ["sub01_EP01_1"]
    assert ("sub01_EP01_01", "sample", "CASME_raw_selected/sub01/EP01_1", "left out", "sample") in repairs


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda raw: (raw / "casme.xlsx").unlink(), FileNotFoundError, "no label sheet in .* for CASME or CASME"),
        (
            lambda raw: (raw / "casme.xlsx").rename(raw / "CASME2-coding-20140508.xlsx"),
            FileNotFoundError,
            "no label sheet in .* sheets that are there: CASME2-coding-20140508.xlsx",
        ),
        (
            lambda raw: trees.write_xlsx(raw / "casme.xlsx", trees.casme2_rows()),
            ValueError,
            "row 3: the label 'others' is none of contempt, disgust, fear, happiness, repression",
        ),
        (
            lambda raw: trees.write_xlsx(raw / "casme.xlsx", [trees.SMIC_E_HEADER]),
            ValueError,
            r"is not the sheet looked for: no row names the columns .*apexf1.*'Sheet1' begins with \['Subject'",
        ),
        (
            lambda raw: (raw / "CASME_raw_selected").rename(raw / "Cropped"),
            FileNotFoundError,
            "such as sub01 and lies not in one called .*ropped.*; such folders are in Cropped",
        ),
        (
            lambda raw: trees.write_casme(raw, [trees.CASME_CLIPS[0]] * 2),
            ValueError,
            "row 3 is about sub01_EP01_5, and so is .*row 2",
        ),
        (
            lambda raw: trees.write_casme(raw, [(*trees.CASME_CLIPS[0][:4], "one", *trees.CASME_CLIPS[0][5:])]),
            ValueError,
            "row 2, apex: 'one' is no frame number",
        ),
    ],
)
def test_bad_input_is_named(tmp_path, change, error, message):
    raw = trees.write_casme(tmp_path / "raw")
    change(raw)
    with pytest.raises(error, match=message):
        convert(raw, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_strict(tmp_path):
    raw = trees.write_casme(tmp_path / "raw")
    with pytest.raises(ValueError, match="3 things .*unknown version.*sub02_EP01_2, apex: '/' -> '10'.*sub19_EP06_01"):
        convert(raw, tmp_path / "out", strict=True)


def test_the_pure_parts():
    values = {"subject": "7", "clip": "EP01_5", "onset": "1", "apex": "-", "apex_2": "4", "offset": "9"}
    values |= {"emotion": "Fear", "action_units": "4"}
    row = SheetRow(2, values, {})
    annotation = to_annotation(values, row, "here")
    assert (annotation.sample_id, annotation.apex, annotation.label_raw) == ("sub07_EP01_5", 4, "Fear")
    assert annotation.stated == {"onset": "1", "apex": "4", "offset": "9"}
    assert to_annotation({**values, "apex": "3"}, row, "here").apex == 3
