"""MMEW: from trees in both layouts to converted sets."""

import pytest
import trees

from micron_bert_hf.databases.mmew import subject, to_annotation
from micron_bert_hf.databases.sheets import SheetRow


def convert(raw, out, **options):
    return trees.convert_tree("mmew", raw, out, **options)


@pytest.mark.parametrize("by_person", [True, False])
def test_both_layouts(tmp_path, by_person):
    raw = trees.write_mmew(tmp_path / "MMEW 微表情", by_person=by_person)
    report, rows, repairs = convert(raw, tmp_path / "out")
    assert {name: (row["onset"], row["apex"], row["offset"], row["label"]) for name, row in rows.items()} == {
        "S03-01-002": (1, 8, 15, "happiness"),
        "S03-04-001": (1, 2, 3, "others"),  # an apex after the offset, both of which meb mends by row
        "S03-04-002": (1, 6, 12, "others"),
        "S10-02-001": (2, 7, 12, "surprise"),
    }
    assert all(row["frames"] == [row["onset"], row["apex"]] for row in rows.values())
    assert [row["subject_id"] for row in rows.values()] == ["S03", "S03", "S03", "S10"]
    first = rows["S03-01-002"]
    assert (first["dataset"], first["fps"], first["recording"]) == ("mmew", 90.0, "S03-01-002")
    assert "blurred" in rows["S03-04-001"]["sheet_row"]
    assert [unit["unit"] for unit in rows["S03-04-002"]["action_units"]] == [4, 7]
    assert [line for line in repairs if line[4] != "unlabelled"] == [
        ("S03-04-001", "apex", "5", "2", "apex"),
        ("S10-02-001", "apex", "30", "7", "apex"),
    ]
    # what is known from memory alone is not printed as expected
    assert (report.description["expected"]["clips"], report.description["expected"]["classes"]) == (300, {})
    assert "4 labels; known are 300: of the release" in str(report)
    assert report.description["frames_folder"] == ("." if by_person else "MMEW_Final/Micro_Expression")


def test_others_in_a_folder_of_that_name(tmp_path):
    raw = trees.write_mmew(tmp_path / "raw", by_person=False)
    base = raw / "MMEW_Final/Micro_Expression"
    (base / "repression").rename(base / "others")
    _, rows, repairs = convert(raw, tmp_path / "out")
    assert len(rows) == 4 and not [line for line in repairs if line[4] == "spelling"]
    clips = [(*clip[:6], "repression" if clip[6] == "others" else clip[6], clip[7]) for clip in trees.MMEW_CLIPS]
    trees.write_xlsx(raw / "MMEW_Micro_Exp.xlsx", [trees.MMEW_HEADER, *clips])
    _, rows, _ = convert(raw, tmp_path / "repression")
    assert [row["label"] for row in rows.values()] == ["happiness", "repression", "repression", "surprise"]


def test_a_clip_under_another_emotion_is_left_out(tmp_path):
    raw = trees.write_mmew(tmp_path / "raw")
    (raw / "S10/fear").mkdir()
    (raw / "S10/surprise/S10-02-001").rename(raw / "S10/fear/S10-02-001")
    _, rows, repairs = convert(raw, tmp_path / "out")
    assert "S10-02-001" not in rows
    assert ("S10-02-001", "sample", "S10/surprise/S10-02-001", "left out", "sample") in repairs
    assert ("S10/fear/S10-02-001", "folder", "S10/fear/S10-02-001", "left out", "unlabelled") in repairs


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            lambda raw: (raw / "MMEW_Micro_Exp.xlsx").rename(raw / "MMEW_Macro.xlsx"),
            FileNotFoundError,
            "no label sheet in .*MMEW_Micro_Exp.* that are there: MMEW_Macro.xlsx",
        ),
        (
            lambda raw: trees.write_mmew(raw, [(*trees.MMEW_CLIPS[0][:6], "joy", None)]),
            ValueError,
            "row 2: the label 'joy' is none of anger, disgust, fear, happiness, others, repression",
        ),
        (
            lambda raw: trees.write_xlsx(raw / "MMEW_Micro_Exp.xlsx", [trees.SMIC_E_HEADER]),
            ValueError,
            "is not the sheet looked for: no row names the columns .*apex",
        ),
        (
            lambda raw: trees.write_mmew(raw, [("first", *trees.MMEW_CLIPS[0][1:])]),
            ValueError,
            "'first' is no subject of MMEW, such as S03",
        ),
        (
            lambda raw: [(raw / name).rename(raw / f"macro {name}") for name in ("S03", "S10")],
            FileNotFoundError,
            "such as S03 .*Macro_Expression Nor is the other layout there: .* such as happiness",
        ),
        (
            lambda raw: trees.write_mmew(raw, [trees.MMEW_CLIPS[0]] * 2),
            ValueError,
            "row 3 is about S03-01-002, and so is .*row 2",
        ),
    ],
)
def test_bad_input_is_named(tmp_path, change, error, message):
    raw = trees.write_mmew(tmp_path / "raw")
    change(raw)
    with pytest.raises(error, match=message):
        convert(raw, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_strict(tmp_path):
    raw = trees.write_mmew(tmp_path / "raw")
    with pytest.raises(ValueError, match="3 things .*unknown version.*S03-04-001, apex: '5' -> '2'.*S10-02-001, apex"):
        convert(raw, tmp_path / "out", strict=True)


def test_the_pure_parts(tmp_path):
    assert [subject(text) for text in ("S03", "s3", "3", "12")] == ["S03", "S03", "S03", "S12"]
    values = {"subject": "3", "clip": "S03-01-002", "onset": "1", "apex": "", "offset": "9"}
    values |= {"emotion": "Others", "action_units": "4"}
    row = SheetRow(2, values, {})
    annotation = to_annotation(values, row, "here")
    assert (annotation.subject_id, annotation.apex, annotation.label_raw) == ("S03", None, "Others")
