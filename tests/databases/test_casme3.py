"""CAS(ME)^3, parts a, b and c: from trees in the official layouts to converted sets."""

import datasets
import pytest
import trees

from micron_bert_hf.data.clip_set import ClipIndex
from micron_bert_hf.databases.casme3 import ERRATA, micro_expressions, to_annotation
from micron_bert_hf.databases.sheets import read_label_sheet


def convert(raw, out, **options):
    return trees.convert_tree("casme3", raw, out, **options)


def intervals(rows):
    return {name: (row["onset"], row["apex"], row["offset"]) for name, row in rows.items()}


@pytest.fixture(scope="module")
def part_a(tmp_path_factory):
    root = tmp_path_factory.mktemp("part a")
    raw = trees.write_casme3_a(root / "CAS(ME)^3 微表情")
    return raw, root / "out", convert(raw, root / "out")


# -------------------------------------------------------------------------------------------------------------- part a


def test_rows(part_a):
    _, _, (report, rows, _) = part_a
    assert intervals(rows) == {
        "spNO.1_a_20": (20, 25, 30),
        "spNO.1_a_60": (60, 64, 70),
        "spNO.14_J_12": (12, 18, 24),
        "spNO.10_b_3": (8, 12, 15),
        "spNO.11_c_40": (40, 45, 50),
        "spNO.12_d_10": (10, 40, 100),
        "spNO.149_d_112": (112, 123, 140),
        "spNO.214_c_5": (5, 20, 34),
        "spNO.216_d_3647": (2647, 2668, 2694),
        "spNO.216_e_0": (1, 13, 25),
        "spNO.40_e_1812": (1812, 1830, 1845),
        "spNO.40_e_2327": (2327, 2360, 2403),
    }
    # the pixels are of these frames, and of no picture of depth
    assert all(row["frames"] == [row["onset"], row["apex"]] for row in rows.values())
    first, second = rows["spNO.1_a_20"], rows["spNO.1_a_60"]
    assert (first["subject_id"], first["dataset"], first["fps"]) == ("spNO.1", "casme3", 30.0)
    assert first["recording"] == second["recording"] == "spNO.1/a"
    assert (second["label"], second["label_raw"], second["labels"]) == ("others", "Others", ["others"])
    assert first["action_units"] == [
        {"unit": 4, "side": "", "intensity": ""}, {"unit": 7, "side": "R", "intensity": ""}
    ]  # fmt: skip
    assert first["objective_class"] == "7" and "disgust" in first["sheet_row"]
    assert rows["spNO.11_c_40"]["apex_source"] == "repaired" and first["apex_source"] == "annotated"
    assert "some of them none, as the lab found; use v2" in str(report)


def test_repairs(part_a):
    _, _, (_, _, repairs) = part_a
    assert repairs == [
        ("part_A/spNO.1/b/color", "folder", "part_A/spNO.1/b/color", "left out", "unlabelled"),
        ("spNO.10_b_3", "onset", "3", "8", "frames"),
        ("spNO.11_c_40", "apex", "40", "45", "apex"),
        ("spNO.149_d_112", "apex", "83", "123", "erratum"),
        ("spNO.14_J_12", "folder", "spNO.14/J/color", "spNO.14/j/color", "spelling"),
        ("spNO.214_c_5", "offset", "3460", "34", "erratum"),
        ("spNO.216_d_3647", "onset", "3647", "2647", "erratum"),
        ("spNO.216_e_0", "apex", "0", "1", "erratum"),
        ("spNO.216_e_0", "apex", "1", "13", "apex"),
        ("spNO.216_e_0", "onset", "0", "1", "erratum"),
        ("spNO.40_e_1812", "offset", "0", "1845", "erratum"),
        ("spNO.40_e_2327", "offset", "0", "2403", "erratum"),
    ]


def test_without_errata_ids_stay_and_rules_repair(part_a, tmp_path):
    raw, _, (_, with_errata, _) = part_a
    _, rows, repairs = convert(raw, tmp_path / "out", errata=False)
    assert not [line for line in repairs if line[4] == "erratum"]
    found = intervals(rows)
    assert found["spNO.149_d_112"] == (112, 126, 140)  # the middle
    assert found["spNO.40_e_1812"] == (1812, 1830, 1830) and found["spNO.40_e_2327"] == (2327, 2360, 2360)  # the apex
    assert found["spNO.214_c_5"] == (5, 20, 59) and found["spNO.216_e_0"] == (1, 12, 25)
    # no frame 3647 on disk, and its offset lies before: there is nothing to repair it with
    assert set(with_errata) - set(rows) == {"spNO.216_d_3647"}
    assert ("spNO.216_d_3647", "sample", "3647 to 2699", "left out", "sample") in repairs


def test_errata_are_about_the_sheet_as_it_is(part_a):
    """A copy in which somebody mended the mistakes is left as it is; each erratum changes one field of one row."""
    assert len({(erratum.recording, erratum.field) for erratum in ERRATA}) == len(ERRATA) == 7
    raw, _, (_, _, repairs) = part_a
    applied = {line[:4] for line in repairs if line[4] == "erratum"}
    assert applied == {(erratum.recording, erratum.field, erratum.found, erratum.used) for erratum in ERRATA}


def test_missing_frames_within_are_counted(tmp_path):
    raw = trees.write_casme3_a(tmp_path / "raw", trees.CASME3_EVENTS[:1])
    for number in (21, 25, 29):
        (raw / "part_A/spNO.1/a/color" / f"{number}.jpg").unlink()
    _, rows, repairs = convert(raw, tmp_path / "out", frames="clip")
    assert rows["spNO.1_a_20"]["frames"] == [20, 22, 23, 24, 26, 27, 28, 30]
    assert rows["spNO.1_a_20"]["apex"] == 24
    assert ("spNO.1_a_20", "frames", "3 of 11 missing", "the 8 that are there", "frames") in repairs


def test_damaged_pictures_count_as_missing(tmp_path):
    raw = trees.write_casme3_a(tmp_path / "raw", trees.CASME3_EVENTS[:1])
    (raw / "part_A/spNO.1/a/color/25.jpg").write_bytes(b"\xff\xd8 no picture")
    _, rows, repairs = convert(raw, tmp_path / "out")
    assert rows["spNO.1_a_20"]["frames"] == [20, 24]
    assert ("spNO.1_a_20", "frames", "part_A/spNO.1/a/color/25.jpg", "not there", "unreadable") in repairs


def fillers(number):
    return [("spNO.900", "a", onset, onset + 1, onset + 2, "4", 4, "sad") for onset in range(1, number + 1)]


@pytest.mark.parametrize(
    ("number", "version"),
    [
        (860, "v2: 860 micro-expressions"),
        (921, "v1: 921 micro-expressions, some of them none, as the lab found; use v2"),
        (
            859,
            "a version that is not known: 859 labels; known are 860: v2: 860 micro-expressions; 921: v1: 921"
            " micro-expressions, some of them none, as the lab found; use v2",
        ),
    ],
)
def test_versions_are_told_apart_by_their_length(tmp_path, number, version):
    raw = trees.write_casme3_a(tmp_path / "raw", [*trees.CASME3_EVENTS[:2], *fillers(number - 2)])
    report, _, _ = convert(raw, tmp_path / "out")
    assert str(report).splitlines()[0] == f"CAS(ME)^3: read {trees.CASME3_SHEET} (label): {version}"
    assert report.description["repairs"]["left out"] == number - 2
    expected = report.description["expected"]
    if number == 860:
        assert (expected["clips"], expected["subjects"], sum(expected["classes"].values())) == (860, 94, 860)
        assert "others                         1       161   differs" in str(report)
    elif number == 921:  # its classes nobody has counted
        assert (expected["clips"], expected["subjects"], expected["classes"]) == (921, 95, {})
        assert "differs" in str(report) and "others                         1         ?" in str(report)
    else:
        assert expected is None and "nobody has counted" in str(report)


def test_sheets_in_the_order_of_their_worth(tmp_path):
    raw = trees.write_casme3_a(tmp_path / "raw", trees.CASME3_EVENTS[:2])
    folder = raw / "annotation"
    both = [(*trees.CASME3_HEADER[:6], "Expression type"), ("spNO.1", "a", 20, 25, 30, "4", "Micro-expression")]
    only_micro = [trees.CASME3_HEADER, *trees.CASME3_EVENTS[:1]]
    trees.write_xls(folder / "CAS(ME)3_part_A_v2.xls", both, "AU+Emotion")
    trees.write_xls(folder / "cas(me)3_part_A_ME_label_JpgIndex_v1.xls", only_micro, "label")
    trees.write_xls(folder / "CAS(ME)3_part_A_v1.xls", both, "AU+Emotion")
    # this one is about what was wrong in version 1
    trees.write_xlsx(folder / "CAS(ME)3_part_A_wrongly_labeled_me_in_V1.xlsx", only_micro, "label")
    order = (
        trees.CASME3_SHEET,
        "CAS(ME)3_part_A_v2.xls",
        "cas(me)3_part_A_ME_label_JpgIndex_v1.xls",
        "CAS(ME)3_part_A_v1.xls",
    )
    for place, name in enumerate(order):
        report, _, _ = convert(raw, tmp_path / str(place))
        assert report.description["sheets"][0].startswith(f"{name} (")
        next(raw.rglob(name)).unlink()
    with pytest.raises(FileNotFoundError, match="no label sheet .*part_A_ME_label_JpgIndex_v2.* are there: .*wrongly"):
        convert(raw, tmp_path / "none")


def test_of_micro_and_macro_only_the_former(tmp_path):
    """The sheet of both kinds, whose emotions were not seen: rows without a label, unless a copy has the column."""
    raw = trees.write_casme3_a(tmp_path / "raw")
    next(raw.rglob("*.xlsx")).unlink()
    header = [*trees.CASME3_HEADER[:6], "Expression type", "Objective class"]
    table = [
        header,
        ("spNO.1", "a", 20, 25, 30, "4", "Micro-expression", 7),
        ("spNO.1", "a", 35, 38, 50, "4", "Macro-expression", 7),
        ("spNO.1", "a", 60, 64, 70, "4", "micro-expression", 7),
    ]
    path = raw / "annotation/CAS(ME)3_part_A_v2.xls"
    trees.write_workbook(path, {"AU+Emotion": table, "eye blink": [header, ("spNO.1", "a", 1, 2, 3)]})
    report, rows, _ = convert(raw, tmp_path / "out")
    assert {name: row["label"] for name, row in rows.items()} == {"spNO.1_a_20": "", "spNO.1_a_60": ""}
    assert "CAS(ME)3_part_A_v2.xls (AU+Emotion): a version that is not known: 2 labels" in str(report)
    assert "no label                       2         ?" in str(report)
    table[0].append("emotion")
    labelled = [table[0], *((*row, label) for row, label in zip(table[1:], ("disgust", "happiness", "fear")))]
    trees.write_workbook(path, {"AU+Emotion": labelled})
    _, rows, _ = convert(raw, tmp_path / "labelled")
    assert [row["label"] for row in rows.values()] == ["disgust", "fear"]
    table[1] = (*table[1][:6], "Blink", 7)
    trees.write_workbook(path, {"AU+Emotion": table})
    with pytest.raises(ValueError, match="row 2: 'Blink' is neither a micro- nor a macro-expression"):
        convert(raw, tmp_path / "other")


def test_two_from_the_same_frame_on_have_two_names(tmp_path):
    event = trees.CASME3_EVENTS[0]
    raw = trees.write_casme3_a(tmp_path / "raw", [event, (*event[:4], 28, *event[5:])])
    _, rows, _ = convert(raw, tmp_path / "out")
    assert intervals(rows) == {"spNO.1_a_20": (20, 25, 30), "spNO.1_a_20#2": (20, 25, 28)}


def test_a_folder_a_micro_expression(tmp_path):
    events = (*trees.CASME3_EVENTS[:2], trees.CASME3_EVENTS[9], trees.CASME3_EVENTS[0])
    raw = trees.write_casme3_clips(tmp_path / "raw", events)
    report, rows, repairs = convert(raw, tmp_path / "out")
    assert report.description["frames_folder"] == "Part_A_ME_clip/frame"
    assert intervals(rows) == {
        "spNO.1_a_20": (20, 25, 30), "spNO.1_a_60": (60, 64, 70), "spNO.216_e_0": (1, 13, 25),
        "spNO.1_a_20#2": (20, 25, 30),
    }  # fmt: skip
    assert all(row["frames"] == [row["onset"], row["apex"]] for row in rows.values())
    assert {line[0] for line in repairs} == {"spNO.216_e_0"}
    # whole clips are preferred: they have the frames before and after
    trees.write_frames(raw / "part_A/spNO.1/a/color", range(8, 90), "{}.jpg")
    report, _, _ = convert(raw, tmp_path / "both")
    assert report.description["frames_folder"] == "part_A"


def test_part_a_alone_of_all_parts(tmp_path):
    raw = trees.write_casme3_a(tmp_path / "raw")
    trees.write_casme3_b(raw, ["spNO.1/a"])
    trees.write_casme3_c(raw)
    report, _, _ = convert(raw, tmp_path / "out")
    assert report.description["frames_folder"] == "part_A"
    _, rows, _ = convert(raw, tmp_path / "b", part="b")
    assert {row["frames"][0] for row in rows.values()} == {1, 36}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            lambda raw: trees.write_xlsx(next(raw.rglob("*.xlsx")), trees.casme2_rows()),
            ValueError,
            r"row 2: the label 'happiness' is none of anger, .*, surprise",
        ),
        (
            lambda raw: trees.write_xlsx(next(raw.rglob("*.xlsx")), [trees.CASME3_C_HEADER, *trees.CASME3_C_EVENTS]),
            ValueError,
            "is not the sheet looked for: no row names the columns subject .*'Sheet1' begins with .*'count'",
        ),
        (
            lambda raw: (raw / "part_A").rename(raw / "part_B"),
            FileNotFoundError,
            "such as spNO.1 and lies not in one called .*part_B.* Nor is the other download there: .*spNO.1_a_355",
        ),
    ],
)
def test_bad_input_is_named(tmp_path, change, error, message):
    raw = trees.write_casme3_a(tmp_path / "raw", trees.CASME3_EVENTS[:2])
    change(raw)
    with pytest.raises(error, match=message):
        convert(raw, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_strict(tmp_path):
    raw = trees.write_casme3_a(tmp_path / "raw", trees.CASME3_EVENTS[:2])
    with pytest.raises(ValueError, match="1 things would be repaired.*an unknown version of the sheet: .*2 labels"):
        convert(raw, tmp_path / "out", strict=True)
    raw = trees.write_casme3_a(tmp_path / "late", [trees.CASME3_EVENTS[3]])
    with pytest.raises(ValueError, match="spNO.10_b_3, onset: '3' -> '8'"):
        convert(raw, tmp_path / "out", strict=True)


def test_the_pure_parts(tmp_path):
    path = trees.write_xlsx(tmp_path / trees.CASME3_SHEET, [trees.CASME3_HEADER, *trees.CASME3_EVENTS], "label")
    fields = ("subject", "clip", "onset", "apex", "offset")
    sheet = read_label_sheet(path, fields, ("action_units", "objective_class", "emotion", "type"))
    rows = micro_expressions(sheet).rows
    assert [row.values["event"] for row in rows[:2]] == ["spNO.1_a_20", "spNO.1_a_60"]
    corrected = {**rows[0].values, "onset": "21"}  # what an erratum corrects does not change the name
    annotation = to_annotation(corrected, rows[0], "here")
    assert (annotation.sample_id, annotation.onset) == ("spNO.1_a_20", 21)


# -------------------------------------------------------------------------------------------------------------- part b


@pytest.mark.parametrize("tail", ["color", ""])
def test_part_b(tmp_path, tail):
    raw = trees.write_casme3_b(tmp_path / "raw", tail=tail)
    out = tmp_path / "out"
    report, rows, repairs = convert(raw, out, part="b")
    # each clip of 70 frames in two pieces
    assert {name: (row["subject_id"], row["frames"][0], row["frames"][-1]) for name, row in rows.items()} == {
        "spNO.101_a#1": ("spNO.101", 1, 35),
        "spNO.101_a#36": ("spNO.101", 36, 70),
        "spNO.101_b#101": ("spNO.101", 101, 135),
        "spNO.101_b#136": ("spNO.101", 136, 170),
        "spNO.102_a#201": ("spNO.102", 201, 235),
        "spNO.102_a#236": ("spNO.102", 236, 270),
    }
    assert repairs == [] and {row["dataset"] for row in rows.values()} == {"casme3"}
    index = ClipIndex.load(out)
    assert (index.num_frames, dict(index.subjects)) == (210, {"casme3": ["spNO.101", "spNO.102"]})
    assert "read no label sheet" in str(report) and report.description["kind"] == "unlabelled"
    assert datasets.load_dataset(str(out), split="train").num_rows == 6


def test_part_b_without_color(tmp_path):
    raw = trees.write_casme3_b(tmp_path / "raw")
    trees.write_frames(raw / "part_B/spNO.103/c/depth", [1], "{}.png")
    _, rows, repairs = convert(raw, tmp_path / "out", part="b")
    assert len(rows) == 6
    assert repairs == [("spNO.103_c", "sample", "part_B/spNO.103/c", "left out", "sample")]


def test_part_b_is_not_taken_from_part_a(tmp_path):
    raw = trees.write_casme3_a(tmp_path / "raw", trees.CASME3_EVENTS[:1])
    with pytest.raises(FileNotFoundError, match="and lies in one called .*part.*B.*; such folders are in part_A"):
        convert(raw, tmp_path / "out", part="b")
    (tmp_path / "part_B/spNO.1").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="no clip in .*part_B: looked for spNO.1/a/color"):
        convert(tmp_path / "part_B", tmp_path / "out", part="b")


# -------------------------------------------------------------------------------------------------------------- part c


@pytest.mark.parametrize("tail", [("a", "color"), ("color",), ()])
def test_part_c(tmp_path, tail):
    raw = trees.write_casme3_c(tmp_path / "raw", tail)
    trees.write_frames(raw.joinpath("part_C", "01", *tail[:-1], "depth"), [trees.CASME3_DEPTH], "{}.png")
    if not tail:
        (raw / "part_C/01/depth" / f"{trees.CASME3_DEPTH}.png").unlink()
    report, rows, repairs = convert(raw, tmp_path / "out", part="c")
    assert intervals(rows) == {"1_1": (100, 105, 111), "1_2": (150, 155, 160), "12_1": (30, 36, 42)}
    assert all(row["frames"] == [row["onset"], row["apex"]] for row in rows.values())
    assert {row["apex_source"] for row in rows.values()} == {"middle"} and repairs == []
    first, second = rows["1_1"], rows["1_2"]
    assert (first["subject_id"], first["dataset"], first["label"], first["fps"]) == ("1", "casme3_c", "negative", 30.0)
    assert [unit["unit"] for unit in first["action_units"]] == [4, 7]  # a full-width comma
    assert [unit["unit"] for unit in second["action_units"]] == [4]
    assert second["action_unit_alternatives"] == ["?"]
    assert "negative                       1        99   differs" in str(report)
    assert "3 labels; known are 165: of the release" in str(report)


def test_part_c_with_the_other_parts_names(tmp_path):
    raw = trees.write_casme3_c(tmp_path / "raw")
    for number in (1, 12):
        (raw / f"part_C/{number:02d}").rename(raw / f"part_C/spNO.{number}")
    _, rows, _ = convert(raw, tmp_path / "out", part="c")
    assert {name: row["frames"] for name, row in rows.items()} == {
        "1_1": [100, 105], "1_2": [150, 155], "12_1": [30, 36]
    }  # fmt: skip


def test_part_c_needs_its_own_sheet(tmp_path):
    raw = trees.write_casme3_c(tmp_path / "raw")
    (raw / "CAS(ME)3_part_C_ME.xlsx").rename(raw / "CAS(ME)3_part_C.xlsx")
    with pytest.raises(FileNotFoundError, match=r"part_C_ME.*; sheets that are there: CAS\(ME\)3_part_C.xlsx"):
        convert(raw, tmp_path / "out", part="c")
    raw = trees.write_casme3_c(tmp_path / "joy", events=[(1, 1, 100, 111, "4", "happy")])
    with pytest.raises(ValueError, match="mockCrimeME, row 2: the label 'happy' is none of negative, others"):
        convert(raw, tmp_path / "out", part="c")


def test_part_b_tells_folders_that_are_nobodys(tmp_path):
    raw = trees.write_casme3_b(tmp_path / "raw")
    (raw / "part_B/spNO.102_new").mkdir()
    _, _, repairs = convert(raw, tmp_path / "out", part="b")
    path = "part_B/spNO.102_new"
    assert (path, "folder", path, "left out", "unlabelled") in repairs
