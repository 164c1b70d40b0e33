"""Label sheets: found columns, cells as text, and what is refused."""

import datetime
import zipfile

import pytest
import trees

from micron_bert_hf.databases.sheets import (
    cell_text,
    frame_number,
    is_label_row,
    read_columns_by_place,
    read_label_sheet,
)


REQUIRED = ("subject", "clip", "onset", "apex", "offset", "emotion")


def test_a_preamble_blank_columns_and_renamed_columns_do_not_matter(tmp_path):
    header = ("Sub", None, "File name", "Onset_F", "Apex Frame", "OFFSET", None, "Estimated  Emotion", "Remarks")
    row = ("01", None, "EP02_01f", 46, 59.0, "86", None, "Happiness ", "seen twice")
    path = trees.write_xlsx(tmp_path / "x.xlsx", [header, row], preamble=[("Codes of Subject", "x")] + [()] * 20)
    sheet = read_label_sheet(path, REQUIRED, ("duration",))
    (found,) = sheet.rows
    assert found.number == 23
    assert found.values == {
        "subject": "01", "clip": "EP02_01f", "onset": "46", "apex": "59", "offset": "86", "emotion": "Happiness",
        "duration": "",
    }  # fmt: skip
    assert found.cells["Remarks"] == "seen twice" and found.cells["File name"] == "EP02_01f"


@pytest.mark.parametrize("write", [trees.write_xlsx, trees.write_xls])
def test_both_formats_read_alike(tmp_path, write):
    path = write(tmp_path / ("a.xlsx" if write is trees.write_xlsx else "a.xls"), trees.casme2_rows())
    sheet = read_label_sheet(path, REQUIRED)
    assert [row.values["subject"] for row in sheet.rows] == ["01", "01", "02", "04", "05", "24"]
    assert sheet.rows[3].values["apex"] == "/" and sheet.rows[0].values["onset"] == "46"


def test_the_worksheet_with_the_columns_is_taken(tmp_path):
    import openpyxl

    workbook = openpyxl.Workbook()
    workbook.active.append(("Subject", "Blinks"))
    second = workbook.create_sheet("labels")
    for row in trees.casme2_rows():
        second.append(row)
    workbook.save(tmp_path / "two.xlsx")
    assert read_label_sheet(tmp_path / "two.xlsx", REQUIRED).worksheet == "labels"


def test_remarks_below_the_table_are_no_labels(tmp_path):
    rows = [*trees.casme2_rows(), (), ("* frames are counted from 1",), ("01", "see above")]
    sheet = read_label_sheet(trees.write_xlsx(tmp_path / "a.xlsx", rows), REQUIRED)
    assert len(sheet.rows) == 7 and [row.number for row in sheet.other_rows] == [9]  # it names a person and a clip
    assert is_label_row({"subject": "1", "onset": "", "offset": "5"})
    assert not is_label_row({"subject": "1", "onset": "", "offset": "none"})


def test_a_label_without_a_subject_is_refused(tmp_path):
    """As merged cells read: nobody may be guessed."""
    rows = trees.casme2_rows([trees.CASME2_CLIPS[0], ("", *trees.CASME2_CLIPS[1][1:])])
    with pytest.raises(ValueError, match="row 3: a label without a subject .EP03_02|merged"):
        read_label_sheet(trees.write_xlsx(tmp_path / "a.xlsx", rows), REQUIRED)


def test_a_label_without_frames_is_a_label(tmp_path):
    rows = trees.casme2_rows([("01", "EP02_01f", "", "", "", "4", "happiness"), *trees.CASME2_CLIPS[1:]])
    sheet = read_label_sheet(trees.write_xlsx(tmp_path / "a.xlsx", rows), REQUIRED)
    assert sheet.rows[0].values["clip"] == "EP02_01f" and sheet.other_rows == ()


def test_a_sheet_whose_cells_lie_far_apart_is_refused_before_it_is_read(tmp_path):
    import openpyxl

    workbook = openpyxl.Workbook()
    workbook.active.cell(200_000, 3_000, "x")
    workbook.save(tmp_path / "a.xlsx")
    assert (tmp_path / "a.xlsx").stat().st_size < 20_000
    with pytest.raises(ValueError, match="200000 rows x 3000 columns, more than 5000000 cells"):
        read_label_sheet(tmp_path / "a.xlsx", REQUIRED)


def test_a_sheet_of_another_database_says_what_it_is(tmp_path):
    path = trees.write_xlsx(tmp_path / "other.xlsx", [("sub", "count", "valence"), (1, 2, 3)], "mockCrime")
    with pytest.raises(
        ValueError, match=r"other.xlsx is not the sheet looked for.*onset \(onsetframe.*'mockCrime'.*va"
    ):
        read_label_sheet(path, REQUIRED)


def test_a_column_that_occurs_twice_is_refused(tmp_path):
    path = trees.write_xlsx(tmp_path / "a.xlsx", [("Subject", "Filename", "Onset", "onset", "Offset", "Emotion")])
    with pytest.raises(ValueError, match="2 columns are called 'onset'"):
        read_label_sheet(path, REQUIRED)


def test_a_header_without_rows_is_refused(tmp_path):
    path = trees.write_xlsx(tmp_path / "a.xlsx", [trees.CASME2_HEADER, ("remark",)])
    with pytest.raises(ValueError, match="no row with a subject"):
        read_label_sheet(path, REQUIRED)


def test_what_is_no_sheet_is_refused(tmp_path):
    (tmp_path / "a.xlsx").write_bytes(b"not a sheet")
    with pytest.raises(ValueError, match="a.xlsx cannot be read as a sheet"):
        read_label_sheet(tmp_path / "a.xlsx", REQUIRED)
    with pytest.raises(FileNotFoundError, match="no file"):
        read_label_sheet(tmp_path / "b.xlsx", REQUIRED)


def test_a_sheet_that_unpacks_to_gigabytes_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "bomb.xlsx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("xl/bomb.xml", "w") as entry:
        for _ in range(600):
            entry.write(bytes(2**20))
    assert path.stat().st_size < 2**20
    with pytest.raises(ValueError, match="unpacks to 629145600 bytes, more than the limit"):
        read_label_sheet(path, REQUIRED)


def test_columns_by_place(tmp_path):
    path = trees.write_xlsx(tmp_path / "a.xlsx", [(15, 101, 5, 8, 12), (16, 401, 50, 0, 60)])
    sheet = read_columns_by_place(path, ("subject", "clip", "onset", "apex", "offset"))
    assert [row.values["clip"] for row in sheet.rows] == ["101", "401"]
    assert sheet.rows[1].number == 2 and sheet.rows[1].cells == {
        "column 1": "16", "column 2": "401", "column 3": "50", "column 4": "0", "column 5": "60",
    }  # fmt: skip
    with pytest.raises(ValueError, match="5 columns; expected 6"):
        read_columns_by_place(path, ("subject", "clip", "onset", "apex", "offset", "emotion"))
    with pytest.raises(ValueError, match="1 worksheets; expected at least 2"):
        read_columns_by_place(path, ("subject",), worksheet=1)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""), (6.0, "6"), (6.5, "6.5"), (True, "TRUE"), ("01", "01"), ("\u00a0a\u00a0b ", "a b"),
        (datetime.date(2014, 5, 8), "2014-05-08"),
    ],
)  # fmt: skip
def test_cells_are_what_their_reader_sees(value, text):
    assert cell_text(value) == text


def test_frame_numbers():
    assert frame_number("0046", "x") == 46 and frame_number("-1", "x") == -1 and frame_number("59.0", "x") == 59
    assert {frame_number(text, "x") for text in ("", "/", "nan", " - ", "N/A")} == {None}
    for text in ("4 6", "12.5", "46f", "1e3", "9" * 12):
        with pytest.raises(ValueError, match="row 7: .* is no frame number"):
            frame_number(text, "row 7")
