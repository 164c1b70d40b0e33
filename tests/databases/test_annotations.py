"""The rules by which intervals are repaired, each with hand-worked cases; errata."""

import pytest

from micron_bert_hf.databases.annotations import (
    LEFT_OUT,
    Annotation,
    Erratum,
    Interval,
    apply_errata,
    settle_interval,
)


def annotation(onset, apex, offset, **more):
    return Annotation("s_1", "01", "sub01/EP", onset, apex, offset, "happiness", "sheet, row 2", **more)


def settle(onset, apex, offset, numbers, needs_apex=True, **more):
    interval, repairs = settle_interval(annotation(onset, apex, offset, **more), list(numbers), needs_apex)
    return interval, [(repair.field, repair.found, repair.used, repair.rule) for repair in repairs]


def test_what_is_right_stays():
    interval, repairs = settle(46, 59, 86, range(40, 100))
    assert interval == Interval(46, 59, 86, "annotated", tuple(range(46, 87))) and repairs == []
    assert settle(46, 86, 86, range(46, 87)) == (Interval(46, 86, 86, "annotated", tuple(range(46, 87))), [])


@pytest.mark.parametrize(
    ("apex", "found"), [(None, ""), (-1, "-1"), (0, "0"), (69, "69"), (68, "68"), (131, "131")]
)  # fmt: skip
def test_an_apex_that_cannot_be_becomes_the_middle(apex, found):
    interval, repairs = settle(69, apex, 130, range(60, 140))
    assert (interval.apex, interval.apex_source) == (99, "repaired")
    assert repairs == [("apex", found, "99", "apex")]


def test_the_sheets_own_text_is_recorded():
    _, repairs = settle(69, None, 130, range(60, 140), stated={"apex": "/"})
    assert repairs == [("apex", "/", "99", "apex")]


def test_the_middle_is_after_the_onset_also_of_two_frames():
    interval, _ = settle(5, None, 6, range(10))
    assert (interval.onset, interval.apex) == (5, 6)


def test_a_release_without_apexes_gets_the_middle_without_repair():
    interval, repairs = settle(100, None, 111, range(100, 112), has_apex=False)
    assert (interval.apex, interval.apex_source, repairs) == (105, "middle", [])


def test_an_offset_that_is_absent_comes_from_duration_apex_or_disk():
    assert settle(10, 15, 0, range(10, 50), duration=21)[0].offset == 30
    assert settle(10, 15, 0, range(10, 50))[1] == [("offset", "0", "15", "offset")]
    assert settle(10, None, None, range(10, 50))[1] == [("offset", "", "49", "offset"), ("apex", "", "29", "apex")]
    assert settle(10, 15, 9, range(10, 50))[1] == [("offset", "9", "15", "offset")]


def test_duration_decides_where_it_disagrees():
    interval, repairs = settle(5658, 5700, 3739, range(5600, 5800), duration=82)
    assert interval.offset == 5739 and repairs == [("offset", "3739", "5739", "offset")]
    assert settle(5658, 5700, 5745, range(5600, 5800), duration=82)[0].offset == 5739
    assert settle(5658, 5700, 5739, range(5600, 5800), duration=82)[1] == []


def test_frames_that_are_not_there_become_the_nearest():
    interval, repairs = settle(1, 4, 10, range(3, 9))
    assert (interval.onset, interval.apex, interval.offset, interval.apex_source) == (3, 4, 8, "annotated")
    assert repairs == [("onset", "1", "3", "frames"), ("offset", "10", "8", "frames")]
    interval, repairs = settle(1, 6, 10, [1, 2, 3, 9, 10])
    assert interval.numbers == (1, 2, 3, 9, 10)
    assert (interval.apex, interval.apex_source) == (3, "repaired")  # another frame than the annotated one
    assert repairs == [("apex", "6", "3", "frames"), ("frames", "5 of 10 missing", "the 5 that are there", "frames")]


@pytest.mark.parametrize("first", [6, 7, 9])
def test_a_clip_whose_frames_begin_at_or_after_its_apex_is_left_out(first):
    """The usual case of CAS(ME)^3, whose first frames are missing: what led to the apex is gone."""
    interval, repairs = settle_interval(annotation(3, 6, 15), list(range(first, 40)))
    assert interval is None and repairs[-1].used == LEFT_OUT and repairs[-1].rule == "frames"
    assert settle(3, 6, 15, range(5, 40))[0].onset == 5


@pytest.mark.parametrize("first", [0, 1])
def test_a_clip_that_was_numbered_anew_is_left_out(first):
    """Some of its files have numbers of the interval, and are other frames."""
    interval, repairs = settle_interval(annotation(7, 17, 40), list(range(first, first + 34)))
    assert interval is None and (repairs[-1].rule, repairs[-1].used) == ("numbering", LEFT_OUT)
    assert settle(1, 17, 34, range(1, 35))[1] == []
    assert settle(7, 17, 40, range(1, 60))[1] == []


def test_an_apex_that_an_erratum_changed_is_not_annotated():
    assert settle(10, 15, 20, range(30), is_apex_corrected=True)[0].apex_source == "repaired"


def test_the_middle_of_two_frames_is_the_second():
    assert settle(5, None, 6, [5, 6], has_apex=False) == (Interval(5, 6, 6, "middle", (5, 6)), [])


@pytest.mark.parametrize(
    ("onset", "numbers", "reason"),
    [
        (None, range(10), "it has no onset"),
        (-1, range(10), "it has no onset"),
        (5, [], "holds no frames"),
        (146, range(1, 46), "0 of the frames 146 to 186 are on disk, which has 1 to 45"),
        (146, range(186, 200), "1 of the frames 146 to 186 are on disk"),
    ],
)
def test_what_no_rule_repairs_is_left_out_with_the_reason(onset, numbers, reason):
    interval, repairs = settle_interval(annotation(onset, 159, 186), list(numbers))
    assert interval is None and repairs[-1].used == LEFT_OUT and repairs[-1].field == "sample"
    assert reason in repairs[-1].reason


def test_spotting_keeps_an_absent_apex():
    assert settle(10, -1, 20, range(30), needs_apex=False) == (
        Interval(10, None, 20, "none", tuple(range(10, 21))),
        [],
    )
    interval, repairs = settle(10, 25, 20, range(30), needs_apex=False)
    assert interval.apex is None and repairs == [("apex", "25", "", "apex")]
    assert settle(10, 10, 20, range(30), needs_apex=False)[0].apex == 10


def test_errata_apply_where_the_sheet_says_so():
    errata = (
        Erratum("sub07/EP06_01", "offset", "68", "91", "frames on disk"),
        Erratum("sub24/EP02", "folder", "EP02", "EP07", "lies there"),
    )
    values = {"onset": "50", "offset": "68", "folder": "EP06_01"}
    corrected, repairs = apply_errata("sub07/EP06_01", values, errata)
    assert corrected == {**values, "offset": "91"} and values["offset"] == "68"
    assert [(repair.field, repair.found, repair.used, repair.rule) for repair in repairs] == [
        ("offset", "68", "91", "erratum")
    ]
    assert apply_errata("sub07/EP06_01", {"offset": "91"}, errata) == ({"offset": "91"}, [])
    assert apply_errata("sub08/EP06_01", values, errata) == (values, [])
