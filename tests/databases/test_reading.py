"""What the converters share between a label sheet and the samples."""

from pathlib import Path

from micron_bert_hf.databases.database import SheetVersion
from micron_bert_hf.databases.reading import version_by_rows
from micron_bert_hf.databases.sheets import LabelSheet, SheetRow


def sheet_of(number):
    return LabelSheet(Path("codes.xlsx"), "MICRO", (), (SheetRow(2, {}, {}),) * number, ())


def test_versions_are_told_apart_by_their_number_of_labels():
    known = {159: "v2", 161: "v1"}
    assert version_by_rows(sheet_of(159), known) == SheetVersion("codes.xlsx", "MICRO", "v2", True)
    unknown = version_by_rows(sheet_of(160), known)
    assert not unknown.is_known
    assert str(unknown) == "codes.xlsx (MICRO): a version that is not known: 160 labels; known are 159: v2; 161: v1"
