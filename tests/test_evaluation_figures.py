"""The pictures of an evaluation: what is written in them is what was handed in, and can be read."""

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from micron_bert_hf.visualization import (
    PREDICTED_COLOUR,
    TRUE_COLOUR,
    calibration_figure,
    comparison_figure,
    confusion_figure,
    overlay,
    save_figure,
    subject_figure,
    worst_samples_figure,
)


pytestmark = pytest.mark.filterwarnings("error")
RANDOM = np.random.default_rng(0)
LONG = "a very long name of a class that nobody expects"
SEVEN = ("disgust", "surprise", "others", "fear", "anger", "sad", LONG)


def matrix(num_labels):
    return np.random.default_rng(1).integers(0, 1500, (num_labels, num_labels))


def people(dataset, count, subject="s{:02d}"):
    random = np.random.default_rng(count)
    samples = random.integers(1, 40, count)
    return {
        (dataset, subject.format(number)): (int(num_samples), int(random.integers(0, num_samples + 1)))
        for number, num_samples in enumerate(samples)
    }


def bins(num_bins=15):
    random = np.random.default_rng(2)
    edges = np.linspace(0, 1, num_bins + 1)
    empty = {"num_samples": 0, "confidence": None, "accuracy": None}
    return [
        {"low": low, "high": high}
        | (
            empty
            if low < 0.3
            else {"num_samples": int(random.integers(1, 90)), "confidence": high - 0.02, "accuracy": random.random()}
        )
        for low, high in zip(edges[:-1], edges[1:])
    ]


def worst(probability, sample_id="sub01_EP03_02", shape=(40, 36, 3), maps=()):
    return {
        "sample_id": sample_id,
        "dataset": "casme2",
        "label": "repression",
        "prediction": "others",
        "probability": probability,
        "onset": RANDOM.integers(0, 256, shape, dtype=np.uint8),
        "apex": RANDOM.integers(0, 256, shape, dtype=np.uint8),
        **({"maps": {name: RANDOM.random((4, 3)) for name in maps}} if maps else {}),
    }


def methods(*names):
    return [
        {"method": name, "uf1": 0.7 - 0.1 * place, "low": 0.6 - 0.1 * place, "high": 0.75 - 0.1 * place}
        for place, name in enumerate(names)
    ]


FIGURES = {
    "three classes": lambda: confusion_figure(matrix(3), SEVEN[:3], "DIS flow + SVM on casme2 + samm + smic"),
    "seven classes": lambda: confusion_figure(matrix(7), SEVEN, "A title that is far too long " * 4, caption="Small."),
    "one dataset": lambda: subject_figure(people("casme3", 94), "People", caption="Small."),
    "three datasets": lambda: subject_figure(people("smic", 16) | people("casme2", 24) | people("samm", 28)),
    "long names": lambda: subject_figure(people("synthetic", 3, "a_person_with_a_name_that_goes_on_{:04d}")),
    "calibration": lambda: calibration_figure(bins(), 0.123, caption="Small."),
    "eight samples": lambda: worst_samples_figure([worst(0.01 * number) for number in range(8)], caption="Small."),
    "maps": lambda: worst_samples_figure(
        [worst(0.1, LONG * 2, maps=("Diagonal drop", "Patch of interest")) for _ in range(2)], "A long title " * 9
    ),
    "methods": lambda: comparison_figure(methods("a", "b", LONG * 2, "DIS flow"), chance=0.24, caption="Small."),
    "one method": lambda: comparison_figure(methods("majority"), chance=0.9),
}


def texts(drawn):
    return [text.get_text() for text in drawn.findobj(Text) if text.get_text() and text.get_visible()]


@pytest.mark.parametrize("name", FIGURES)
def test_the_png_opens_and_no_text_covers_another_or_leaves_it(name, tmp_path):
    """Without any warning of matplotlib, such as that of a glyph that its font lacks."""
    drawn = FIGURES[name]()
    save_figure(drawn, tmp_path / "figure.png", dpi=drawn.dpi)
    with Image.open(tmp_path / "figure.png") as picture:
        picture.load()
        assert picture.format == "PNG" and picture.size == pytest.approx(drawn.get_size_inches() * drawn.dpi, abs=1)
        assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 50
    shown = [text for text in drawn.findobj(Text) if text.get_text() and text.get_visible()]
    for axes in [inner for outer in drawn.axes for inner in (outer, *outer.child_axes)]:
        if not axes.axison:
            continue
        for axis in (axes.xaxis, axes.yaxis):  # labels that are kept but not drawn
            low, high = sorted(axis.get_view_interval())
            for tick in axis.get_major_ticks():
                if not low <= tick.get_loc() <= high or not tick.label1.get_visible():
                    shown = [text for text in shown if text not in (tick.label1, tick.label2)]
    boxes = [(text.get_text(), text.get_rotation(), text.get_window_extent()) for text in shown]
    for number, (text, _, extent) in enumerate(boxes):
        inside = extent.x0 >= 0 and extent.y0 >= 0 and extent.x1 <= drawn.bbox.x1 and extent.y1 <= drawn.bbox.y1
        assert inside, text
        # the boxes of slanted texts meet although the texts do not
        upright = [(other, box) for other, rotation, box in boxes[:number] if rotation in (0, 90)]
        assert [other for other, box in upright if boxes[number][1] in (0, 90) and extent.overlaps(box)] == [], text


def test_every_count_and_share_of_the_confusion_is_written():
    drawn = confusion_figure([[6, 2, 0], [0, 1, 0], [0, 0, 0]], ("negative", "positive", "surprise"), "A method")
    axes = drawn.axes[0]
    written = {(text.get_position()[0], round(text.get_position()[1])): [] for text in axes.texts}
    for text in axes.texts:
        written[text.get_position()[0], round(text.get_position()[1])].append(text.get_text())
    assert [[written[column, row] for column in range(3)] for row in range(3)] == [
        [["6", "75%"], ["2", "25%"], ["0", "0%"]],
        [["0", "0%"], ["1", "100%"], ["0", "0%"]],
        [["0"], ["0"], ["0"]],
    ]
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.75, 0.25, 0], [0, 1, 0], [0, 0, 0]])
    assert {"A method", "true", "predicted", "8 samples", "1 samples", "0 samples"} <= set(texts(drawn))
    assert [texts(drawn).count(name) for name in ("negative", "positive", "surprise")] == [2, 2, 2]


def test_people_are_sorted_within_their_dataset():
    counts = {("b", "s1"): (4, 1), ("b", "s2"): (4, 3), ("b", "s3"): (8, 6), ("a", "s1"): (2, 1.5)}
    drawn = subject_figure(counts, "A method")
    first, second = drawn.axes
    assert [label.get_text() for label in first.get_xticklabels()] == ["s1"]
    # of equal shares the one with more samples first
    assert [label.get_text() for label in second.get_xticklabels()] == ["s3", "s2", "s1"]
    heights = [bar.get_height() for bar in second.patches]
    assert heights == [8, 4, 4, 6, 3, 1]
    assert [text.get_text() for text in second.texts] == ["75", "75", "25", "b", "3 people, 16 samples, 62% right"]
    assert [text.get_text() for text in first.texts] == ["75", "a", "1 people, 2 samples, 75% right"]


def test_many_people_go_on_in_another_row():
    counts = people("casme3", 94)
    drawn = subject_figure(counts)
    assert [len(axes.get_xticklabels()) for axes in drawn.axes] == [50, 44]
    assert "casme3, continued" in texts(drawn)
    assert {label.get_text() for axes in drawn.axes for label in axes.get_xticklabels()} == {
        subject for _, subject in counts
    }


def test_the_bars_of_the_calibration_are_its_bins():
    given = bins()
    drawn = calibration_figure(given, 0.123)
    reliability, histogram = drawn.axes
    assert (
        f"Expected calibration error 0.123 over {sum(entry['num_samples'] for entry in given)} predictions."
        in texts(drawn)
    )
    np.testing.assert_allclose(
        [(bar.get_x(), bar.get_height()) for bar in histogram.patches],
        [(entry["low"], entry["num_samples"]) for entry in given],
    )
    filled = [entry for entry in given if entry["num_samples"]]
    bars, gaps = reliability.patches[: len(filled)], reliability.patches[len(filled) :]
    np.testing.assert_allclose([bar.get_height() for bar in bars], [entry["accuracy"] for entry in filled])
    np.testing.assert_allclose(
        [sorted((gap.get_y(), gap.get_y() + gap.get_height())) for gap in gaps],
        [sorted((entry["accuracy"], entry["confidence"])) for entry in filled],
    )


def test_the_least_probable_sample_is_first_with_its_pictures_and_maps():
    rows = [worst(0.25, "second", maps=("Drop",)), worst(0.0001, "first", (20, 40, 3), maps=("Drop",))]
    rows[0]["prediction"] = "repression"
    drawn = worst_samples_figure(rows, "A method")
    lines = [text for text in drawn.texts if text.get_text()]
    assert [text.get_text() for text in lines] == [
        "A method",
        "The samples whose true class was given the least probability.",
        *("first", "casme2", "true: repression", "predicted: others", "probability of the truth: below 0.1%"),
        *("second", "casme2", "true: repression", "predicted: repression", "probability of the truth: 25.0%"),
    ]
    assert [text.get_color() for text in lines if "predicted" in text.get_text()] == [PREDICTED_COLOUR, TRUE_COLOUR]
    assert [axes.get_title(loc="left") for axes in drawn.axes] == ["Onset", "Apex", "Drop", "", "", ""]
    values = [row["maps"]["Drop"] for row in rows]
    low, high = np.min(values), np.max(values)
    for row, first_axes in ((rows[1], 0), (rows[0], 3)):
        pictures = [axes.images[0].get_array() for axes in drawn.axes[first_axes : first_axes + 3]]
        np.testing.assert_array_equal(pictures[0], row["onset"])
        np.testing.assert_array_equal(pictures[1], row["apex"])
        np.testing.assert_allclose(pictures[2], overlay(row["apex"], row["maps"]["Drop"], low, high, "viridis"))


def test_intervals_and_the_line_of_chance_are_where_they_belong():
    rows = methods("Micron-BERT", "DIS flow")
    drawn = comparison_figure(rows, "Composite", chance=0.2408, chance_name="majority class")
    (axes,) = drawn.axes
    intervals, points, line = axes.lines[:4:2], axes.lines[1:4:2], axes.lines[4]
    assert [tuple(interval.get_xdata()) for interval in intervals] == [(row["low"], row["high"]) for row in rows]
    assert [point.get_xdata()[0] for point in points] == [row["uf1"] for row in rows]
    assert [point.get_ydata()[0] for point in points] == [0, 1] and axes.yaxis_inverted()
    assert list(line.get_xdata()) == [0.2408, 0.2408]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["Micron-BERT", "DIS flow"]
    assert {"0.700  [0.600, 0.750]", "0.600  [0.500, 0.650]", "majority class 0.241"} <= set(texts(drawn))


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: confusion_figure(matrix(3), SEVEN), r"\(7, 7\) .* got \(3, 3\)"),
        (lambda: confusion_figure([[-1]], ("a",)), "from -1"),
        (lambda: subject_figure({}), "at least one person"),
        (lambda: subject_figure({("a", "s1"): (3, 4)}), r"\('a', 's1'\), got 4 of 3"),
        (lambda: subject_figure({("a", "s1"): (0, 0)}), "got 0 of 0"),
        (lambda: calibration_figure([], 0.1), "at least one bin"),
        (lambda: worst_samples_figure([]), "1 to 8 samples, got 0"),
        (lambda: worst_samples_figure([worst(0.1)] * 9), "1 to 8 samples, got 9"),
        (lambda: worst_samples_figure([worst(0.1) | {"apex": np.zeros((4, 4, 3))}]), "`apex` of 'sub01.*float64"),
        (lambda: worst_samples_figure([worst(0.1, maps=("Drop",)), worst(0.1)]), r"maps \['Drop'\] .* got \[\]"),
        (lambda: comparison_figure([], chance=0.3), "at least one method"),
        (
            lambda: comparison_figure([{"method": "a", "uf1": 1, "low": 2, "high": 1}], chance=0.3),
            "'a', got 1, 2 and 1",
        ),
    ],
)
def test_bad_input_is_named(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()
