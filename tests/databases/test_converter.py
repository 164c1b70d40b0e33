"""From trees in the official layouts to converted sets: rows, frames, repairs, counts, messages; resume."""

import csv
import json
import subprocess
import sys
import time
from collections import Counter

import datasets
import pyarrow.parquet as pq
import pytest
import trees
from PIL import Image

from micron_bert_hf.data import read_samples
from micron_bert_hf.data.clip_frames import read_image
from micron_bert_hf.databases import DATABASES, ConversionOptions, convert, convert_database, shards
from micron_bert_hf.databases.casme2 import CASME2
from micron_bert_hf.databases.converter import deal_samples
from micron_bert_hf.databases.expected_counts import EXPECTED_COUNTS
from micron_bert_hf.databases.samm import SAMM
from micron_bert_hf.databases.smic import SMIC


def convert_tree(database, raw, out, part=None, sheet=None, num_processes=1, **options):
    return convert_database(
        database,
        raw,
        out,
        options=ConversionOptions(**options),
        part=part,
        sheet=sheet,
        num_processes=num_processes,
        progress=False,
    )


def rows(out):
    return {row["sample_id"]: row for row in datasets.load_dataset(str(out), split="train")}


def repairs(out):
    with open(out / "repairs.csv", encoding="utf-8", newline="") as file:
        return [tuple(row.values())[:5] for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def casme2(tmp_path_factory):
    """A release in a folder with a space and letters beyond ASCII, and its conversion."""
    root = tmp_path_factory.mktemp("casme2")
    raw = trees.write_casme2(root / "Dätenbank 微表情")
    return raw, root / "out", convert_tree(CASME2, raw, root / "out")


# ------------------------------------------------------------------------------------------------------------ CASME II


def test_casme2_rows(casme2):
    _, out, _ = casme2
    found = rows(out)
    assert list(found) == [
        "sub01_EP02_01f", "sub01_EP03_02", "sub02_EP08_04", "sub04_EP12_01f", "sub05_EP09_05f", "sub24_EP02_02f"
    ]  # fmt: skip
    first = found["sub01_EP02_01f"]
    assert (first["subject_id"], first["dataset"], first["recording"]) == ("01", "casme2", "sub01/EP02_01f")
    assert (first["onset"], first["apex"], first["offset"], first["apex_source"]) == (46, 59, 86, "annotated")
    assert (first["label"], first["label_raw"], first["labels"], first["fps"]) == (
        "happiness", "happiness", ["happiness"], 200.0
    )  # fmt: skip
    assert first["action_units"] == [
        {"unit": 4, "side": "", "intensity": ""}, {"unit": 10, "side": "L", "intensity": ""}
    ]  # fmt: skip
    assert first["action_units_raw"] == "4+L10" and first["face"] is None
    assert json.loads(first["sheet_row"])["Estimated Emotion"] == "happiness"
    for row in found.values():
        assert [trees.read_number(frame) for frame in row["frames"]] == row["frame_indices"]
        assert row["frame_indices"] == [row["onset"], row["apex"]]


def test_casme2_errata_and_repairs(casme2):
    _, out, report = casme2
    assert repairs(out) == [
        ("sub04_EP12_01f", "apex", "/", "291", "apex"),
        ("sub05_EP09_05f", "apex", "69", "99", "apex"),
        ("sub24_EP02_02f", "folder", "EP02_02f", "EP02_07", "erratum"),
    ]
    text = str(report)
    assert "a version that is not known: 6 clips, 1 without apex" in text
    assert "clips                          6       255   differs" in text
    assert "repairs: 2 apex (apex), 1 folder (erratum)" in text and "signed agreement" in text


def test_frames_keep_their_bytes(casme2):
    """What needs no change is not encoded a second time."""
    raw, out, _ = casme2
    stored = pq.read_table(out / "data" / "train-00000-of-00006.parquet")["frames"][0].as_py()
    assert stored[0]["bytes"] == (raw / "CASME2_RAW_selected/sub01/EP02_01f/img46.jpg").read_bytes()


def test_labels_are_grouped_when_they_are_read(casme2):
    _, out, _ = casme2
    samples = read_samples(out, label_map="casme2-5")
    assert samples.label_names == ("disgust", "happiness", "others", "repression", "surprise")
    assert read_samples(out, label_map="casme2-3").num_left_out == 1  # others


def test_card_manifest_and_contact_sheets(casme2):
    _, out, report = casme2
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "license: other" in card and "must not be published" in card and "| clips | 6 | 255 |" in card
    description = json.loads((out / "conversion.json").read_text())
    assert description == report.description and len(description["fingerprint"]) == 16
    assert {path.name for path in (out / "contact_sheets").iterdir()} == {
        f"{label}.png" for label in ("disgust", "happiness", "others", "repression", "surprise")
    }
    sheet = Image.open(out / "contact_sheets" / "disgust.png")
    assert sheet.size == (2 * (3 * 128 + 6), 128 + 14 + 6)  # two people abreast: onset, apex, difference
    hidden = [path.name for path in out.iterdir() if path.name.startswith((".", "shard"))]
    assert hidden == []


def test_errata_can_be_switched_off(tmp_path):
    raw = trees.write_casme2(tmp_path / "raw")
    convert_tree(CASME2, raw, tmp_path / "out", errata=False)
    assert "sub24_EP02_02f" not in rows(tmp_path / "out")
    assert ("sub24_EP02_02f", "sample", "sub24/EP02_02f", "left out", "sample") in repairs(tmp_path / "out")
    unlabelled = "CASME2_RAW_selected/sub24/EP02_07"
    assert (unlabelled, "folder", unlabelled, "left out", "unlabelled") in repairs(tmp_path / "out")


def test_every_known_apex_and_offset_quirk(tmp_path):
    """Apex at the offset stays; the offset that the sheet of 2014 has too early is an erratum."""
    clips = [
        ("05", "EP16_04f", 101, 181, 181, "1", "others"),
        ("07", "EP06_01", 21, 40, 68, "12", "happiness"),
        ("09", "EP09_06", 51, 61, 111, "4", "sadness"),
    ]
    raw = trees.write_casme2(tmp_path / "raw", clips)
    trees.write_frames(raw / "CASME2_RAW_selected/sub07/EP06_01", range(69, 92))
    trees.write_frames(raw / "CASME2_RAW_selected/sub09/EP02_02f", [1, 2])
    convert_tree(CASME2, raw, tmp_path / "out")
    found = rows(tmp_path / "out")
    assert found["sub05_EP16_04f"]["apex"] == 181 and found["sub07_EP06_01"]["offset"] == 91
    unlabelled = "CASME2_RAW_selected/sub09/EP02_02f"
    assert repairs(tmp_path / "out") == [
        (unlabelled, "folder", unlabelled, "left out", "unlabelled"),
        ("sub07_EP06_01", "offset", "68", "91", "erratum"),
    ]


@pytest.mark.parametrize(
    ("without_apex", "version"),
    [
        (0, "an edited copy"),
        (1, "2014-05-08, as released"),
        (21, "the updated one: 21 apexes missing"),
        (2, "not known"),
    ],
)
def test_versions_of_the_sheet_are_told_apart(tmp_path, without_apex, version):
    emotions = [label for label, count in EXPECTED_COUNTS["casme2", "all"][0].classes.items() for _ in range(count)]
    clips = [
        (f"{number % 26 + 1:02d}", f"EP{number:03d}", 1, "/" if number < without_apex else 2, 3, "4", emotion)
        for number, emotion in enumerate(emotions)
    ]
    trees.write_xlsx(tmp_path / "raw" / "CASME2-coding-x.xlsx", trees.casme2_rows(clips))
    for subject, clip, *_ in clips:
        trees.write_frames(tmp_path / "raw" / "CASME2-RAW" / f"sub{subject}" / clip, [1, 2, 3], size=(16, 16))
    report = convert_tree(CASME2, tmp_path / "raw", tmp_path / "out")
    assert version in str(report)
    assert ("differs" not in str(report)) and report.description["counts"]["subjects"] == 26
    assert report.description["counts"]["classes"] == dict(sorted(EXPECTED_COUNTS["casme2", "all"][0].classes.items()))


def test_subjects_of_a_copy_with_numbers_are_two_digits(tmp_path):
    clips = [(int(subject), *rest) for subject, *rest in trees.CASME2_CLIPS[:3]]
    trees.write_xls(tmp_path / "raw/CASME2_label_Ver_2.xls", trees.casme2_rows(clips))
    for subject, clip, onset, _, offset, *_ in clips:
        trees.write_frames(
            tmp_path / f"raw/CASME2-RAW/sub{subject:02d}/{clip}", range(onset, offset + 1), "img{:03d}.jpg"
        )
    convert_tree(CASME2, tmp_path / "raw", tmp_path / "out", frames="clip")
    found = rows(tmp_path / "out")
    assert [row["subject_id"] for row in found.values()] == ["01", "01", "02"]
    assert found["sub02_EP08_04"]["frame_indices"] == list(range(7, 41))


def test_objective_classes_come_from_their_own_sheet(tmp_path):
    raw = trees.write_casme2(tmp_path / "raw")
    objective = [("Subject", "Filename", "Objective Class"), ("01", "EP02_01f", "III"), ("04", "EP12_01f", "VII")]
    trees.write_xlsx(raw / "CASME2-ObjectiveClasses.xlsx", objective)
    convert_tree(CASME2, raw, tmp_path / "out")
    classes = {name: row["objective_class"] for name, row in rows(tmp_path / "out").items()}
    assert classes["sub01_EP02_01f"] == "III" and classes["sub04_EP12_01f"] == "VII"
    assert classes["sub01_EP03_02"] == ""


def test_official_crops(tmp_path):
    raw = trees.write_casme2(tmp_path / "raw")
    for subject, clip, onset, _, offset, *_ in trees.CASME2_CLIPS[:2]:
        trees.write_frames(
            raw / f"Cropped-updated/Cropped/sub{subject}/{clip}", range(onset, offset + 1), "reg_img{}.jpg", (20, 24)
        )
    convert_tree(CASME2, raw, tmp_path / "raw-frames")
    assert next(iter(rows(tmp_path / "raw-frames").values()))["frames"][0].size == (40, 48)
    convert_tree(CASME2, raw, tmp_path / "crops", official_crops=True)
    found = rows(tmp_path / "crops")
    assert list(found) == ["sub01_EP02_01f", "sub01_EP03_02"]
    assert found["sub01_EP02_01f"]["frames"][0].size == (20, 24)
    with pytest.raises(ValueError, match="SAMM has no official crops"):
        convert_tree(SAMM, trees.write_samm(tmp_path / "samm"), tmp_path / "samm-out", official_crops=True)


# ---------------------------------------------------------------------------------------------------------------- SAMM


def test_samm(tmp_path):
    report = convert_tree(SAMM, trees.write_samm(tmp_path / "raw"), tmp_path / "out", frames="clip")
    found = rows(tmp_path / "out")
    assert {name: row["subject_id"] for name, row in found.items()} == {
        "006_1_2": "006", "007_6_1": "007", "013_1_9": "013", "028_4_1": "028", "032_3_1": "032"
    }  # fmt: skip
    first = found["006_1_2"]
    assert first["frame_indices"] == list(range(5562, 5633))
    assert [trees.read_number(frame) for frame in first["frames"]] == first["frame_indices"]
    assert (first["label"], first["label_raw"], first["objective_class"]) == ("anger", "Anger", "III")
    assert found["007_6_1"]["action_unit_alternatives"] == ["R6 or R12"]
    assert found["028_4_1"]["frame_indices"][0] == 1099  # padded to four digits
    assert repairs(tmp_path / "out") == [
        ("028_4_1", "apex", "1350", "1119", "apex"),
        ("032_3_1", "apex", "-1", "4943", "apex"),
    ]
    assert "5 labels; known are 159: v2" in str(report)


def test_samm_offset_is_checked_by_the_duration(tmp_path):
    clips = [(13, "013_1_9", 5658, 5700, 3739, 82, "2", "Other", "VII"), trees.SAMM_CLIPS[0]]
    convert_tree(SAMM, trees.write_samm(tmp_path / "raw", clips), tmp_path / "out")
    assert rows(tmp_path / "out")["013_1_9"]["offset"] == 5739
    assert repairs(tmp_path / "out") == [("013_1_9", "offset", "3739", "5739", "offset")]


# ---------------------------------------------------------------------------------------------------------------- SMIC


def test_smic_short_clips(tmp_path):
    raw = trees.write_smic(trees.write_smic(tmp_path / "raw"), "VIS", trees.SMIC_CLIPS[:1])
    convert_tree(SMIC, raw, tmp_path / "hs")
    found = rows(tmp_path / "hs")
    assert {name: (row["subject_id"], row["label"], row["apex_source"]) for name, row in found.items()} == {
        "s1_ne_01": ("s01", "negative", "middle"),
        "s1_po_02": ("s01", "positive", "middle"),
        "s11_ne_07": ("s11", "negative", "middle"),
        "s3_sur_01": ("s03", "surprise", "middle"),
    }
    first = found["s1_ne_01"]
    assert (first["onset"], first["apex"], first["offset"], first["fps"]) == (100, 105, 111, 100.0)
    assert [trees.read_number(frame) for frame in first["frames"]] == [100, 105]
    convert_tree(SMIC, raw, tmp_path / "vis", part="vis")
    assert list(rows(tmp_path / "vis")) == ["s1_ne_01"] and rows(tmp_path / "vis")["s1_ne_01"]["fps"] == 25.0
    with pytest.raises(
        FileNotFoundError,
        match="in one called .*NIR .*; such folders are in SMIC_all_raw/HS, SMIC_all_raw",
    ):
        convert_tree(SMIC, raw, tmp_path / "nir", part="nir")


def test_smic_crops(tmp_path):
    raw = trees.write_smic(trees.write_smic(tmp_path / "raw"), cropped=True, length=14)
    report = convert_tree(SMIC, raw, tmp_path / "out", official_crops=True)
    assert report.description["frames_folder"] == "SMIC_all_cropped/HS"
    assert rows(tmp_path / "out")["s1_ne_01"]["offset"] == 113


def test_smic_extended(tmp_path):
    report = convert_tree(SMIC, trees.write_smic_extended(tmp_path / "raw"), tmp_path / "out", part="hs-e")
    found = rows(tmp_path / "out")
    assert list(found) == ["s1_ne_01", "s1_ne_01#2", "s1_po_02", "s3_sur_01", "s11_ne_07"]
    assert (found["s1_ne_01#2"]["onset"], found["s1_ne_01#2"]["offset"]) == (1040, 1050)
    assert found["s3_sur_01"]["subject_id"] == "s03"
    note = "Note: frames are counted from the start of the recording"
    assert repairs(tmp_path / "out") == [("row 7", "row", note, "left out", "unlabelled")]
    assert "4 labels; known are 162: as first seen; 157: as" in str(report)


def test_smic_clip_in_the_wrong_folder_is_refused(tmp_path):
    raw = trees.write_smic(tmp_path / "raw")
    base = raw / "SMIC_all_raw/HS/s1/micro"
    (base / "negative/s1_ne_01").rename(base / "positive/s1_ne_01")
    with pytest.raises(ValueError, match="s1_ne_01: the folder says positive, the clip's name negative"):
        convert_tree(SMIC, raw, tmp_path / "out")


# ----------------------------------------------------------------------------------------------------------- bad input


def test_strict_refuses_what_would_be_repaired(tmp_path):
    raw = trees.write_casme2(tmp_path / "raw")
    with pytest.raises(
        ValueError, match=r"3 things .*--strict refuses: an unknown version.*sub04_EP12_01f, apex: '/'"
    ):
        convert_tree(CASME2, raw, tmp_path / "out", strict=True)
    assert not (tmp_path / "out").exists()
    trees.write_smic(tmp_path / "smic")
    convert_tree(SMIC, tmp_path / "smic", tmp_path / "smic-out", strict=True)  # nothing to repair


def test_strict_refuses_unreadable_frames(tmp_path):
    raw = trees.write_smic(tmp_path / "smic")
    (raw / "SMIC_all_raw/HS/s1/micro/negative/s1_ne_01/image000100.bmp").write_bytes(b"BM damaged")
    with pytest.raises(ValueError, match="--strict refuses s1_ne_01, frames: .*image000100.bmp"):
        convert_tree(SMIC, raw, tmp_path / "smic-out", strict=True)
    assert not (tmp_path / "smic-out").exists()


def test_an_unreadable_frame_counts_as_missing(tmp_path):
    raw = trees.write_casme2(tmp_path / "raw", trees.CASME2_CLIPS[:2])
    folder = raw / "CASME2_RAW_selected/sub01/EP02_01f"
    whole = (folder / "img59.jpg").read_bytes()
    (folder / "img59.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "img46.jpg").write_bytes(b"")
    convert_tree(CASME2, raw, tmp_path / "out")
    found = rows(tmp_path / "out")["sub01_EP02_01f"]
    assert found["apex_source"] == "repaired"
    assert found["frame_indices"] == [47, 58] and [trees.read_number(frame) for frame in found["frames"]] == [47, 58]
    frames = "CASME2_RAW_selected/sub01/EP02_01f"
    assert repairs(tmp_path / "out") == [
        ("sub01_EP02_01f", "apex", "59", "58", "frames"),
        ("sub01_EP02_01f", "frames", "1 of 40 missing", "the 39 that are there", "frames"),
        ("sub01_EP02_01f", "frames", f"{frames}/img46.jpg", "not there", "unreadable"),
        ("sub01_EP02_01f", "frames", f"{frames}/img59.jpg", "not there", "unreadable"),
        ("sub01_EP02_01f", "onset", "46", "47", "frames"),
    ]


def test_frames_of_another_size_are_left_out(tmp_path):
    raw = trees.write_smic(tmp_path / "raw", clips=trees.SMIC_CLIPS[:2])
    trees.picture(105, (60, 60)).save(raw / "SMIC_all_raw/HS/s1/micro/negative/s1_ne_01/image000105.bmp")
    convert_tree(SMIC, raw, tmp_path / "out")
    with open(tmp_path / "out/repairs.csv", encoding="utf-8") as file:
        assert 'image000105.bmp,not there,unreadable,"60 x 60 pixels, but most of its clip has 40 x 48"' in file.read()
    assert rows(tmp_path / "out")["s1_ne_01"]["frame_indices"] == [100, 104]


@pytest.mark.parametrize("odd", [100, 105, 111])
def test_one_frame_of_another_size_does_not_decide(tmp_path, odd):
    raw = trees.write_smic(tmp_path / "raw", clips=trees.SMIC_CLIPS[:1])
    trees.picture(odd, (60, 60)).save(raw / f"SMIC_all_raw/HS/s1/micro/negative/s1_ne_01/image{odd:06d}.bmp")
    convert_tree(SMIC, raw, tmp_path / "out", frames="clip")
    (row,) = rows(tmp_path / "out").values()
    assert row["frame_indices"] == [number for number in range(100, 112) if number != odd]


def test_files_that_share_a_number(tmp_path):
    """What a Mac leaves beside a frame is no frame; of two with one number the readable one is taken."""
    raw = trees.write_casme2(tmp_path / "raw", trees.CASME2_CLIPS[:1])
    folder = raw / "CASME2_RAW_selected/sub01/EP02_01f"
    for path in list(folder.iterdir()):
        (folder / f"._{path.name}").write_bytes(b"of a Mac")
    (folder / "img046.jpg").write_bytes(b"")
    convert_tree(CASME2, raw, tmp_path / "out")
    row = rows(tmp_path / "out")["sub01_EP02_01f"]
    assert row["frame_indices"] == [46, 59] and trees.read_number(row["frames"][0]) == 46
    assert [line[2:] for line in repairs(tmp_path / "out")] == [
        ("CASME2_RAW_selected/sub01/EP02_01f/img046.jpg", "img46.jpg", "unreadable"),
        ("CASME2_RAW_selected/sub01/EP02_01f/img46.jpg", "img046.jpg", "frames"),
    ]


def test_a_folder_goes_to_the_row_that_has_its_name(tmp_path):
    """`EP08_01` must not take the frames of `EP08_1`, which is another clip."""
    clips = [("01", "EP08_01", 11, 15, 20, "4", "disgust"), ("01", "EP08_1", 11, 15, 20, "12", "happiness")]
    raw = trees.write_casme2(tmp_path / "raw", clips[1:])
    trees.write_xlsx(raw / "CASME2-coding-20140508.xlsx", trees.casme2_rows(clips))
    convert_tree(CASME2, raw, tmp_path / "out")
    assert list(rows(tmp_path / "out")) == ["sub01_EP08_1"]
    assert ("sub01_EP08_01", "sample", "CASME2_RAW_selected/sub01/EP08_1", "left out", "sample") in repairs(
        tmp_path / "out"
    )
    clips[1] = ("01", "EP8_01", *clips[1][2:])  # now the folder has neither's name
    trees.write_xlsx(raw / "CASME2-coding-20140508.xlsx", trees.casme2_rows([*clips, trees.CASME2_CLIPS[1]]))
    trees.write_frames(raw / "CASME2_RAW_selected/sub01/EP03_02", range(131, 182))
    convert_tree(CASME2, raw, tmp_path / "neither")
    assert list(rows(tmp_path / "neither")) == ["sub01_EP03_02"]


def test_a_release_that_was_mended_converts_on(tmp_path):
    """A record of what could not be read is not believed a second time."""
    raw = trees.write_smic(tmp_path / "smic")
    broken = raw / "SMIC_all_raw/HS/s1/micro/negative/s1_ne_01/image000100.bmp"
    whole = broken.read_bytes()
    broken.write_bytes(b"BM damaged")
    with pytest.raises(ValueError, match="--strict refuses"):
        convert_tree(SMIC, raw, tmp_path / "out", strict=True)
    broken.write_bytes(whole)
    convert_tree(SMIC, raw, tmp_path / "out", strict=True)
    assert repairs(tmp_path / "out") == [
        (f"SMIC_all_raw/HS/{name}/non_micro",)
        + ("folder", f"SMIC_all_raw/HS/{name}/non_micro", "left out", "unlabelled")
        for name in ("s1", "s11", "s3")
    ]


def test_folders_of_an_unknown_name_are_told(tmp_path):
    raw = trees.write_smic(tmp_path / "raw")
    base = raw / "SMIC_all_raw/HS"
    (base / "s3/micro/surprise").rename(base / "s3/micro/suprise")
    (base / "s11").rename(base / "s11_fixed")
    convert_tree(SMIC, raw, tmp_path / "out")
    found = {(line[0], line[4]) for line in repairs(tmp_path / "out")}
    assert {("SMIC_all_raw/HS/s3/micro/suprise", "sample"), ("SMIC_all_raw/HS/s11_fixed", "unlabelled")} <= found
    with pytest.raises(ValueError, match="suprise"):
        convert_tree(SMIC, raw, tmp_path / "strict", strict=True)


def test_the_extended_release_has_no_crops(tmp_path):
    raw = trees.write_smic_extended(tmp_path / "raw")
    with pytest.raises(ValueError, match="extended release of SMIC has no official crops"):
        convert_tree(SMIC, raw, tmp_path / "out", part="hs-e", official_crops=True)


def test_a_link_into_the_raw_folder_is_no_way_round(tmp_path):
    raw = trees.write_smic(tmp_path / "raw")
    (tmp_path / "link").symlink_to(raw)
    with pytest.raises(ValueError, match="lies in the raw folder"):
        convert_tree(SMIC, raw, tmp_path / "link/out")


def test_many_unreadable_frames_take_one_more_pass(tmp_path, monkeypatch):
    """Not one pass each: every frame is decoded twice at most."""
    raw = trees.write_smic(tmp_path / "raw", clips=trees.SMIC_CLIPS[:1], length=60)
    for number in range(110, 150):
        (raw / f"SMIC_all_raw/HS/s1/micro/negative/s1_ne_01/image{number:06d}.bmp").write_bytes(b"BM damaged")
    seen = []
    monkeypatch.setattr(shards, "read_image", lambda path, options: seen.append(path) or read_image(path, options))
    convert_tree(SMIC, raw, tmp_path / "out", frames="clip")
    assert max(Counter(seen).values()) == 2 and len(seen) == 60 + 20


def test_frames_that_were_numbered_anew_are_told(tmp_path):
    clips = trees.CASME2_CLIPS[:1]
    trees.write_xlsx(tmp_path / "raw/CASME2-coding-1.xlsx", trees.casme2_rows(clips))
    trees.write_frames(tmp_path / "raw/CASME2-RAW/sub01/EP02_01f", range(1, 42))
    with pytest.raises(
        ValueError, match="1 samples gave no row, such as sub01_EP02_01f: its files are numbered anew, from 1 to 41"
    ):
        convert_tree(CASME2, tmp_path / "raw", tmp_path / "out")


def with_clips(*clips):
    return lambda raw: trees.write_xlsx(raw / "CASME2-coding-20140508.xlsx", trees.casme2_rows(clips))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda raw: (raw / "CASME2-coding-20140508.xlsx").unlink(), FileNotFoundError, "no label sheet in .* deep"),
        (
            lambda raw: trees.write_xlsx(raw / "CASME2-coding-20140508.xlsx", [("sub", "count", "onset")]),
            ValueError,
            "is not the sheet looked for",
        ),
        (
            with_clips(("01", "EP02_01f", 46, 59, 86, "4", "joy")),
            ValueError,
            "row 2: the label 'joy' is none of disgust, fear",
        ),
        (
            with_clips(*[trees.CASME2_CLIPS[0]] * 2),
            ValueError,
            "row 3 is about sub01_EP02_01f, and so is .*row 2",
        ),
        (
            with_clips(("01", "../../../secret", 46, 59, 86, "4", "happiness")),
            ValueError,
            "row 2: '../../../secret' is no name of a folder; refused",
        ),
        (
            with_clips(("01", "EP02_01f", "x46", 59, 86, "4", "fear")),
            ValueError,
            "row 2, onset: 'x46' is no frame number",
        ),
        (
            lambda raw: (raw / "CASME2_RAW_selected").rename(raw / "Cropped"),
            FileNotFoundError,
            "such as sub01 and lies not in one called .*ropped.*; such folders are in Cropped",
        ),
    ],
)
def test_bad_input_is_named(tmp_path, change, error, message):
    raw = trees.write_casme2(tmp_path / "raw")
    change(raw)
    with pytest.raises(error, match=message):
        convert_tree(CASME2, raw, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_too_low_or_too_high(tmp_path):
    raw = trees.write_casme2(tmp_path / "a/b/raw")
    convert_tree(CASME2, tmp_path / "a/b", tmp_path / "out")
    sheet = raw / "CASME2-coding-20140508.xlsx"
    with pytest.raises(FileNotFoundError, match="sub01 is one of them itself: name the folder above"):
        convert_tree(CASME2, raw / "CASME2_RAW_selected/sub01", tmp_path / "out2", sheet=sheet)
    convert_tree(CASME2, raw / "CASME2_RAW_selected", tmp_path / "out3", sheet=sheet)
    assert rows(tmp_path / "out3").keys() == rows(tmp_path / "out").keys()


def test_none_of_the_clips_is_there(tmp_path):
    raw = trees.write_casme2(tmp_path / "raw")
    for folder in (raw / "CASME2_RAW_selected").iterdir():
        for clip in folder.iterdir():
            clip.rename(clip.with_name(f"renamed-{clip.name}"))
    with pytest.raises(
        FileNotFoundError, match="none of the 6 clips .* looked for folders such as sub01/EP02_01f; there are: sub01"
    ):
        convert_tree(CASME2, raw, tmp_path / "out")


def test_wrong_arguments(tmp_path):
    raw = trees.write_smic(tmp_path / "raw")
    for options, message in (
        ({"frames": "all"}, "`frames` is 'all'"),
        ({"encoding": "webp"}, "`encoding`"),
        ({"image_size": 8}, "`image_size` is 8; expected 32"),
        ({"stabilize": True}, "`stabilize` goes with `align`"),
        ({"detector": "yunet"}, "`detector` goes with `align`"),
        ({"part": "xyz"}, "no part 'xyz'; expected one of hs, vis"),
        ({"num_processes": 0}, "`num_processes`"),
    ):
        with pytest.raises(ValueError, match=message):
            convert_tree(SMIC, raw, tmp_path / "out", **options)
    with pytest.raises(ValueError, match="lies in the raw folder"):
        convert_tree(SMIC, raw, raw / "converted")
    with pytest.raises(ValueError, match="no converter for 'casme4'; expected casme"):
        convert("casme4", [raw], tmp_path / "out", options=ConversionOptions())
    with pytest.raises(ValueError, match="smic takes RAW_FOLDER and OUT, got 3 paths"):
        convert("smic", [raw, raw], tmp_path / "out", options=ConversionOptions())


# ------------------------------------------------------------------------------------------- whole, resumed, unaltered


def test_a_set_is_not_answered_from_the_cache_of_another(tmp_path):
    """Two sets of one name and of the same number of bytes: `datasets` keeps what it has read by name and card."""
    for label in ("disgust", "sadness"):
        clips = [(*trees.CASME2_CLIPS[0][:-1], label)]
        convert_tree(CASME2, trees.write_casme2(tmp_path / f"raw-{label}", clips), tmp_path / label / "out")
    sizes = [
        sum(path.stat().st_size for path in (tmp_path / label / "out/data").iterdir())
        for label in ("disgust", "sadness")
    ]
    assert sizes[0] == sizes[1]
    assert [rows(tmp_path / label / "out")["sub01_EP02_01f"]["label"] for label in ("disgust", "sadness")] == [
        "disgust",
        "sadness",
    ]


def test_a_finished_set_is_left_as_it_is_and_another_is_not_overwritten(tmp_path):
    raw = trees.write_smic(tmp_path / "raw")
    convert_tree(SMIC, raw, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    report = convert_tree(SMIC, raw, tmp_path / "out")
    assert report.was_there and "was already there" in str(report)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before
    with pytest.raises(FileExistsError, match="finished set that differs in options"):
        convert_tree(SMIC, raw, tmp_path / "out", image_size=64)
    trees.write_frames(raw / "SMIC_all_raw/HS/s1/micro/negative/s1_ne_01", [112], "image{:06d}.bmp")
    with pytest.raises(FileExistsError, match="differs in release"):
        convert_tree(SMIC, raw, tmp_path / "out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="holds something else"):
        convert_tree(SMIC, raw, tmp_path / "mine")
    next((tmp_path / "out/data").iterdir()).unlink()
    (raw / "SMIC_all_raw/HS/s1/micro/negative/s1_ne_01/image000112.bmp").unlink()
    with pytest.raises(ValueError, match="is missing; delete"):
        convert_tree(SMIC, raw, tmp_path / "out")


CONVERT = """
import sys
from micron_bert_hf.databases import DATABASES, ConversionOptions, convert_database

convert_database(DATABASES["smic"], *sys.argv[1:], options=ConversionOptions(frames="clip"), progress=False)
"""


def test_a_killed_conversion_goes_on_and_gives_the_same_bytes(tmp_path):
    """SIGKILL in the middle; what was finished is not made again; any number of processes gives the same bytes."""
    clips = [
        f"s{subject}_{emotion}_{number:02d}"
        for subject in (1, 2, 3, 4)
        for emotion in ("ne", "po", "sur")
        for number in (1, 2)
    ]
    raw = trees.write_smic(tmp_path / "raw", clips=clips, length=40)
    convert_tree(SMIC, raw, tmp_path / "straight", frames="clip", num_processes=2)
    process = subprocess.Popen([sys.executable, "-c", CONVERT, str(raw), str(tmp_path / "out")])
    partial = tmp_path / ".out.partial"
    while process.poll() is None and len(list(partial.glob("shard-*.json"))) < 2:
        time.sleep(0.001)
    process.kill()
    process.wait()
    finished = {path: path.stat().st_mtime_ns for path in partial.glob("shard-*.json")}
    assert 2 <= len(finished) < 8 and not (tmp_path / "out").exists()
    shards = {path.name: path.stat().st_mtime_ns for path in (partial / "data").glob("*.parquet")}
    with pytest.raises(ValueError, match="holds another run .*options"):
        convert_tree(SMIC, raw, tmp_path / "out", frames="pair")
    convert_tree(SMIC, raw, tmp_path / "out", frames="clip")
    assert not partial.exists()
    for name in (
        "README.md",
        "conversion.json",
        "repairs.csv",
        *(f"data/{path.name}" for path in (tmp_path / "out/data").iterdir()),
    ):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes(), name
    kept = [name for name, time_ns in shards.items() if (tmp_path / "out/data" / name).stat().st_mtime_ns == time_ns]
    assert len(kept) >= len(finished)


def test_samples_are_dealt_evenly_and_none_is_lost():
    for num_frames in ([2] * 255, [1000] * 5, [1] * 3, [5000, 1, 1, 1, 9000], [100] * 200, [1]):
        samples = [str(number) for number in range(len(num_frames))]
        shards = deal_samples(samples, num_frames)
        assert [sample for shard in shards for sample in shard] == samples
        assert all(shards) and len(shards) >= min(8, len(samples))
    assert [len(shard) for shard in deal_samples(range(255), [2] * 255)] == [32] * 7 + [31]
    assert len(deal_samples(range(200), [100] * 200)) == 10


def test_every_database_says_what_is_certain():
    for database in DATABASES.values():
        assert database.terms.url.startswith("http") and database.certain and database.to_confirm
        assert all(part.fps > 0 for part in database.parts.values())
