"""Finding a release: sheets, folders, frames; and never leaving the folder that was named."""

import os

import pytest
import trees

from micron_bert_hf.databases.raw_tree import RawTree


SUBJECTS = (r"sub\d{1,2}", "sub01")


def folders(root, *names):
    for name in names:
        (root / name).mkdir(parents=True)


def test_the_preferred_folder_is_found_at_any_depth(tmp_path):
    folders(tmp_path, "a/b/CASME2-RAW/sub01/x", "Cropped/sub01", "CASME2_RAW_selected/sub01")
    tree = RawTree(tmp_path)
    found = tree.find_folder(*SUBJECTS, refused=(".*cropped.*",), preferred=("CASME2_RAW_selected", "CASME2-RAW"))
    assert found == tmp_path / "CASME2_RAW_selected"
    assert tree.find_folder(*SUBJECTS, required=("cropped",)) == tmp_path / "Cropped"
    assert tree.find_folder(*SUBJECTS, preferred=("CASME2-RAW",)) == tmp_path / "a/b/CASME2-RAW"


def test_the_raw_folder_may_be_the_one(tmp_path):
    folders(tmp_path, "SUB01", "sub02")
    assert RawTree(tmp_path).find_folder(*SUBJECTS) == tmp_path


def test_several_that_fit_are_named(tmp_path):
    folders(tmp_path, "one/sub01", "two/sub01")
    with pytest.raises(ValueError, match="several folders .* hold folders such as sub01: one, two"):
        RawTree(tmp_path).find_folder(*SUBJECTS)


def test_a_level_too_low_names_the_folder_above(tmp_path):
    folders(tmp_path, "release/sub01/EP01")
    with pytest.raises(FileNotFoundError, match="there are: EP01. sub01 is one of them itself: name .*release$"):
        RawTree(tmp_path / "release" / "sub01").find_folder(*SUBJECTS)


def test_what_is_there_is_named(tmp_path):
    folders(tmp_path, "s1", "s2")
    with pytest.raises(FileNotFoundError, match="such as sub01; looked 4 levels deep; there are: s1, s2"):
        RawTree(tmp_path).find_folder(*SUBJECTS)
    folders(tmp_path, "Cropped/sub01")
    with pytest.raises(FileNotFoundError, match=r"lies not in one called \*cropped\*; such folders are in Cropped"):
        RawTree(tmp_path).find_folder(*SUBJECTS, refused=(".*cropped.*",))


def test_what_lies_below_the_folder_is_not_entered(tmp_path):
    """A release may hold millions of frames there; a better fit inside shows that nobody looks."""
    folders(tmp_path, "raw/sub01/better/sub01")
    assert RawTree(tmp_path).find_folder(*SUBJECTS, preferred=("better",)) == tmp_path / "raw"


def test_links_are_followed_and_loops_end(tmp_path):
    folders(tmp_path, "elsewhere/sub01", "raw/deep")
    os.symlink(tmp_path / "raw", tmp_path / "raw/deep/loop")
    os.symlink(tmp_path / "elsewhere", tmp_path / "raw/data")
    os.symlink(tmp_path / "raw/itself", tmp_path / "raw/itself")
    assert RawTree(tmp_path / "raw").find_folder(*SUBJECTS) == tmp_path / "raw/data"


def test_sheets(tmp_path):
    trees.write_xlsx(tmp_path / "CASME2-ObjectiveClasses.xlsx", [("a",)])
    patterns = ("CASME2-coding.*", "CASME2_label.*")
    with pytest.raises(
        FileNotFoundError, match=r"looked 2 levels deep for CASME2-coding\* or CASME2_label\* .*Object"
    ):
        RawTree(tmp_path).find_sheet(patterns)
    old = trees.write_xls(tmp_path / "docs/CASME2_label_Ver_2.xls", [("a",)])
    assert RawTree(tmp_path).find_sheet(patterns) == old
    new = trees.write_xlsx(tmp_path / "casme2-coding-20140508.xlsx", [("a",)])
    (tmp_path / "~$casme2-coding-20140508.xlsx").write_bytes(b"of an open Excel")
    assert RawTree(tmp_path).find_sheet(patterns) == new
    trees.write_xlsx(tmp_path / "CASME2-coding-20190701.xlsx", [("a",)])
    with pytest.raises(
        ValueError, match="several label sheets .*20190701.xlsx, .*20140508.xlsx; name one with --sheet"
    ):
        RawTree(tmp_path).find_sheet(patterns)
    assert RawTree(tmp_path).find_sheet(patterns, new) == new
    with pytest.raises(FileNotFoundError, match="no sheet"):
        RawTree(tmp_path).find_sheet(patterns, tmp_path / "absent.xlsx")


def test_children_are_found_whatever_the_case_padding_and_accents(tmp_path):
    folders(tmp_path, "EP01_2", "J", "Gru\u0308n")
    tree = RawTree(tmp_path)
    assert tree.child(tmp_path, "EP01_02").name == "EP01_2"
    assert tree.child(tmp_path, "j").name == "J"
    assert tree.child(tmp_path, "Gr\u00fcn").name == "Gru\u0308n"
    assert tree.child(tmp_path, "EP01_3") is None
    folders(tmp_path, "EP01_02")
    tree = RawTree(tmp_path)
    assert tree.child(tmp_path, "EP01_02").name == "EP01_02" and tree.child(tmp_path, "EP01_2").name == "EP01_2"
    assert tree.child(tmp_path, "EP1_2") is None  # two fit


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "../x", "a\\b", "/etc", "a\0b"])
def test_names_that_lead_elsewhere_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match="could lead out of"):
        RawTree(tmp_path).child(tmp_path, name)


def test_frames_are_told_by_the_last_integer_of_their_name(tmp_path):
    trees.write_frames(tmp_path / "c", [5562, 5563], "006_{:05d}.jpg")
    trees.write_frames(tmp_path / "c", [9999, 10000], "006_{}.jpg")
    trees.write_frames(tmp_path / "c", [5562], "again_{}.png")
    (tmp_path / "c/Thumbs.db").write_bytes(b"")
    (tmp_path / "c/._006_05562.jpg").write_bytes(b"of a Mac")
    (tmp_path / "c/cover.jpg").write_bytes(b"")
    files = RawTree(tmp_path).frames(tmp_path / "c")
    assert files.folder == "c"
    assert files.names == {5562: "006_05562.jpg", 5563: "006_05563.jpg", 9999: "006_9999.jpg", 10000: "006_10000.jpg"}
    assert files.spare == {5562: ["again_5562.png"]} and files.unnumbered == ("cover.jpg",)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder .*absent"):
        RawTree(tmp_path / "absent")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotADirectoryError, match="not a folder"):
        RawTree(tmp_path / "file")
