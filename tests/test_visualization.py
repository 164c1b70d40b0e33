"""The pictures: what is drawn is what was handed in."""

import io

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.text import Text
from PIL import Image

from micron_bert_hf.visualization import (
    PREDICTED_COLOUR,
    TRUE_COLOUR,
    clip_figure,
    clip_scale,
    overlay,
    prediction_figure,
    pretraining_summary_figure,
    reconstruction_figure,
    relative_change,
    save_figure,
    shown_places,
    tint_swapped_patches,
    write_clip_video,
)


RANDOM = np.random.default_rng(0)
ONSET = RANDOM.integers(0, 256, (48, 32, 3), dtype=np.uint8)
APEX = RANDOM.integers(0, 256, (48, 32, 3), dtype=np.uint8)
DIAGONAL = RANDOM.uniform(0.1, 0.9, (6, 4)).astype(np.float32)
POI = RANDOM.uniform(0.0, 1.0, (6, 4)).astype(np.float32)
SCORES = {"happiness": 0.2, "surprise": 0.7, "disgust": 0.1}


def figure(**changes):
    arguments = {"label": "happiness", **changes}
    return prediction_figure(ONSET, APEX, DIAGONAL, POI, SCORES, **arguments)


def pictures(drawn):
    """Title to picture, of the axes that hold one (colour bars hold none)."""
    return {axes.get_title(loc="left"): axes.images[0].get_array() for axes in drawn.axes if axes.images}


def units(drawn):
    """The labels of the colour bars, which are insets beside the pictures."""
    return [bar.get_ylabel() for axes in drawn.axes for bar in axes.child_axes]


def test_the_png_opens_with_the_stated_size_and_is_not_blank(tmp_path):
    save_figure(figure(), tmp_path / "figure.png", dpi=100)
    assert [path.name for path in tmp_path.iterdir()] == ["figure.png"]
    with Image.open(tmp_path / "figure.png") as picture:
        picture.load()
        assert picture.format == "PNG" and picture.size == (1200, 760)
        colours = np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)
    assert len(colours) > 500  # weak: says only that much was drawn


def test_the_pictures_are_the_frames_and_the_maps():
    drawn = pictures(figure())
    assert list(drawn) == ["Onset", "Apex", "Difference", "Diagonal attention", "Patch of interest"]
    np.testing.assert_array_equal(drawn["Onset"], ONSET)
    np.testing.assert_array_equal(drawn["Apex"], APEX)
    difference = np.abs(APEX.astype(float) - ONSET).mean(axis=2)
    np.testing.assert_allclose(drawn["Difference"], np.minimum(difference, np.percentile(difference, 99.5)))
    expected = overlay(APEX, POI, POI.min(), POI.max(), "viridis")
    np.testing.assert_allclose(drawn["Patch of interest"], expected)
    change = 1 - DIAGONAL / DIAGONAL.max()
    np.testing.assert_allclose(
        drawn["Diagonal attention"], overlay(APEX, change, change.min(), change.max(), "viridis")
    )


def test_with_the_still_pair_the_change_is_relative_to_it():
    still = RANDOM.uniform(0.1, 0.9, DIAGONAL.shape)
    np.testing.assert_allclose(relative_change(DIAGONAL, still), 1 - DIAGONAL / still)
    assert relative_change(DIAGONAL, DIAGONAL).max() == 0
    assert "1 - diagonal / diagonal of the still pair" in units(figure(still_diagonal_attention=still))
    assert "1 - diagonal / max" in units(figure())
    drawn = pictures(figure(still_diagonal_attention=still))["Diagonal attention"]
    change = 1 - DIAGONAL / still
    assert change.min() < 0  # drawn as no change
    np.testing.assert_allclose(drawn, overlay(APEX, change, 0.0, change.max(), "viridis"))


def test_the_overlay_is_strongest_where_the_map_is():
    values = np.zeros((2, 2))
    values[0, 1] = 1.0
    grey = np.full((8, 6, 3), 128, np.uint8)
    drawn = overlay(grey, values, 0.0, 1.0, "viridis")
    assert drawn.shape == (8, 6, 3) and drawn.min() >= 0 and drawn.max() <= 1
    corner, rest = drawn[:4, 3:].reshape(-1, 3), [drawn[:4, :3], drawn[4:]]
    assert np.unique(corner, axis=0).shape[0] == 1
    assert all((np.unique(part.reshape(-1, 3), axis=0) == drawn[7, 0]).all() for part in rest)
    # viridis ends in yellow: much red and green, little blue
    assert corner[0, 0] > 0.6 and corner[0, 1] > 0.6 and corner[0, 2] < 0.4


def test_bars_show_the_scores_and_mark_truth_and_prediction():
    axes = next(axes for axes in figure().axes if axes.get_title(loc="left") == "Probabilities")
    assert [bar.get_width() for bar in axes.patches] == list(SCORES.values())
    assert to_hex(axes.patches[1].get_facecolor()).upper() == PREDICTED_COLOUR
    assert to_hex(axes.patches[0].get_edgecolor()).upper() == TRUE_COLOUR
    assert [text.get_text() for text in axes.texts][-len(SCORES) - 1 : -1] == list(SCORES)


def test_a_constant_map_and_an_unknown_truth_can_be_drawn(tmp_path):
    drawn = prediction_figure(ONSET, APEX, np.ones((6, 4)), np.zeros((6, 4)), SCORES)
    save_figure(drawn, tmp_path / "constant.png", dpi=40)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="'anger'"):
        figure(label="anger")
    with pytest.raises(ValueError, match="float64"):
        prediction_figure(ONSET / 255.0, APEX, DIAGONAL, POI, SCORES)
    with pytest.raises(ValueError, match=r"\(48, 32, 3\) and \(24, 32, 3\)"):
        prediction_figure(ONSET, APEX[:24], DIAGONAL, POI, SCORES)


NUM_SAMPLES, ROWS, COLUMNS, SIDE = 2, 3, 4, 8  # patches of 8 x 8 pixels
FRAMES = (NUM_SAMPLES, ROWS * SIDE, COLUMNS * SIDE, 3)


def samples(**changes):
    """Arguments of `reconstruction_figure`: one swapped patch in the first sample, two in the second."""
    random = np.random.default_rng(1)
    bool_swapped_pos = np.zeros((NUM_SAMPLES, ROWS * COLUMNS), bool)
    bool_swapped_pos[0, 6] = bool_swapped_pos[1, 0] = bool_swapped_pos[1, 11] = True
    arguments = {
        "target": random.integers(0, 256, FRAMES, dtype=np.uint8),
        "reference": random.integers(0, 256, FRAMES, dtype=np.uint8),
        "swapped": np.full(FRAMES, 90, np.uint8),
        "reconstruction": random.uniform(-0.5, 1.5, FRAMES),
        "diagonal_attention": random.uniform(0.0, 0.2, (NUM_SAMPLES, ROWS, COLUMNS)),
        "patch_of_interest": random.uniform(-1.0, 1.0, (NUM_SAMPLES, ROWS, COLUMNS)),
        "bool_swapped_pos": bool_swapped_pos,
    }
    return {**arguments, **changes}


def png(drawn):
    """The pixels of a figure's PNG, `(height, width, 3)` uint8."""
    file = io.BytesIO()
    drawn.savefig(file, dpi=100, format="png")
    return np.asarray(Image.open(file).convert("RGB"))


def cells(drawn):
    """The six pictures of each sample."""
    shown = [axes for axes in drawn.axes if axes.images]
    return [shown[start : start + 6] for start in range(0, len(shown), 6)]


def box(axes, pixels):
    """The part of a figure's pixels in which `axes` is drawn."""
    axes.apply_aspect()
    x0, y0, x1, y1 = axes.get_position().extents
    height, width = pixels.shape[:2]
    return pixels[round((1 - y1) * height) : round((1 - y0) * height), round(x0 * width) : round(x1 * width)]


def test_the_reconstruction_png_has_a_row_a_sample_and_opens(tmp_path):
    heights = []
    for num_samples in (1, 2):
        drawn = reconstruction_figure(**{name: value[:num_samples] for name, value in samples().items()})
        assert len(cells(drawn)) == num_samples
        save_figure(drawn, tmp_path / f"{num_samples}.png", dpi=100)
        with Image.open(tmp_path / f"{num_samples}.png") as picture:
            picture.load()
            assert picture.format == "PNG" and picture.width == 1200
            heights.append(picture.height)
    picture_height = (12.0 - 0.6 - 0.6) / 6 * ROWS / COLUMNS * 100
    assert heights[1] - heights[0] == pytest.approx(picture_height + 12, abs=1)


def test_the_reconstruction_pictures_are_the_arrays():
    given = samples()
    drawn = cells(reconstruction_figure(**given))
    heads = [axes.get_title(loc="left") for axes in drawn[0]]
    assert heads == [
        "Frame t",
        "Frame t + delta",
        "Swapped",
        "Reconstruction",
        "Diagonal attention",
        "Patch of interest",
    ]
    for sample, row in enumerate(drawn):
        shown = [axes.images[0].get_array() for axes in row]
        np.testing.assert_array_equal(shown[0], given["target"][sample])
        np.testing.assert_array_equal(shown[1], given["reference"][sample])
        np.testing.assert_allclose(shown[3], np.clip(given["reconstruction"][sample], 0.0, 1.0))
        for place, name in ((4, "diagonal_attention"), (5, "patch_of_interest")):
            values = given[name]  # one scale over both samples
            expected = overlay(given["reference"][sample], values[sample], values.min(), values.max(), "viridis")
            np.testing.assert_allclose(shown[place], expected)


def test_the_tint_and_the_outline_are_where_patches_were_swapped():
    """In the PNG: a patch is blue inside and bluer at its sides if swapped, the frame's grey if not."""
    given = samples()
    drawn = reconstruction_figure(**given)
    pixels = png(drawn).astype(int)
    for sample, row in enumerate(cells(drawn)):
        picture = box(row[2], pixels)
        height, width = picture.shape[:2]
        swapped = given["bool_swapped_pos"][sample].reshape(ROWS, COLUMNS)
        for (i, j), is_swapped in np.ndenumerate(swapped):
            top, left = i * height / ROWS, j * width / COLUMNS
            middle = picture[round(top + height / ROWS / 2), round(left + width / COLUMNS / 2)]
            # the row of pixels at the lower side, without its ends, which belong to the neighbours too
            bottom = round(top + height / ROWS)
            side = picture[bottom - 3 : bottom, round(left) + 8 : round(left + width / COLUMNS) - 8]
            blueness = (side[..., 2] - side[..., 0]).max()
            below_is_swapped = i + 1 < ROWS and swapped[i + 1, j]
            if is_swapped:
                assert middle[2] - middle[0] > 20 and blueness > 60, (sample, i, j)
            else:
                assert (middle == 90).all(), (sample, i, j)
                assert below_is_swapped or blueness == 0, (sample, i, j)


def test_two_swapped_neighbours_share_one_outline():
    together, alone = np.zeros((1, ROWS * COLUMNS), bool), np.zeros((1, ROWS * COLUMNS), bool)
    together[0, [5, 6]] = alone[0, 5] = True
    counts = []
    for mask in (together, alone):
        first = {name: value[:1] for name, value in samples().items()}
        (row,) = cells(reconstruction_figure(**{**first, "bool_swapped_pos": mask}))
        counts.append(len(row[2].collections[0].get_segments()))
    assert counts == [6, 4]


def test_the_tint_leaves_the_other_patches_alone():
    frame = np.random.default_rng(2).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    before = frame.copy()
    tinted = tint_swapped_patches(frame, np.array([[True, False, False], [False, False, True]]))
    np.testing.assert_array_equal(frame, before)
    changed = np.abs(tinted - frame / 255.0).max(axis=2) > 1e-9
    assert changed[:2, :2].all() and changed[2:, 4:].all() and changed.sum() == 8


@pytest.mark.parametrize(
    ("name", "place"), [("diagonal_attention", 4), ("patch_of_interest", 5), ("reconstruction", 3), ("target", 0)]
)
def test_another_array_changes_its_own_column_only(name, place):
    given = samples()
    other = given[name].copy()
    other[1] = other[1, ::-1]  # the same values, so the scale stays
    drawn = reconstruction_figure(**given)
    before, after = png(drawn), png(reconstruction_figure(**{**given, name: other}))
    rows = cells(drawn)
    for sample, row in enumerate(rows):
        for column, axes in enumerate(row):
            is_changed = (box(axes, before) != box(axes, after)).any()
            assert is_changed == ((sample, column) == (1, place)), (sample, column)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": np.zeros((5, 24, 32, 3), np.uint8)}, r"1 to 4 samples, got 5"),
        ({"target": np.zeros(FRAMES)}, r"`target` must be .*float64"),
        ({"swapped": np.zeros((2, 24, 24, 3), np.uint8)}, r"`swapped`.*\(2, 24, 32, 3\), got \(2, 24, 24, 3\)"),
        ({"reconstruction": np.zeros((2, 12, 32, 3))}, r"`reconstruction`.*\(2, 24, 32, 3\), got \(2, 12, 32, 3\)"),
        ({"reconstruction": np.zeros(FRAMES, np.uint8)}, r"float type.*uint8"),
        ({"diagonal_attention": np.zeros((1, 3, 4))}, r"2 samples, got \(1, 3, 4\)"),
        ({"patch_of_interest": np.zeros((2, 4, 3))}, r"\(2, 3, 4\) .*\(2, 4, 3\)"),
        ({"bool_swapped_pos": np.zeros((2, 11), bool)}, r"\(2, 12\) of bool, got \(2, 11\)"),
        ({"bool_swapped_pos": np.zeros((2, 12))}, r"\(2, 12\) of bool, got .*float64"),
        (
            {"diagonal_attention": np.zeros((2, 5, 4)), "patch_of_interest": np.zeros((2, 5, 4))},
            r"5 x 4 patches does not divide frames of \(24, 32\)",
        ),
    ],
)
def test_samples_that_do_not_fit_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        reconstruction_figure(**samples(**changes))


OPTIONAL = (
    "reconstruction_loss",
    "contextual_agreement_loss",
    "learning_rate",
    "grad_norm",
    "token_variance",
    "teacher_entropy",
    "samples_per_second",
    "data_wait_share",
)


def history(num_steps=20, optional=OPTIONAL):
    """Every optional quantity a different falling curve; the loss falls from 1 to under 0.1."""
    return [
        {"step": 10 * (number + 1), "loss": 0.85**number}
        | {key: (index + 1) * 0.5 * 0.9**number for index, key in enumerate(optional)}
        for number in range(num_steps)
    ]


def panels(drawn):
    return {axes.get_title(loc="left"): axes for axes in drawn.axes}


def curve(line):
    return np.asarray(line.get_xdata()), np.asarray(line.get_ydata())


def test_the_summary_png_opens_and_holds_every_curve(tmp_path):
    rows = history()
    drawn = pretraining_summary_figure(rows, title="A run", caption="Small print")
    save_figure(drawn, tmp_path / "summary.png", dpi=100)
    with Image.open(tmp_path / "summary.png") as picture:
        picture.load()
        assert picture.format == "PNG" and picture.width == 1200
    found = panels(drawn)
    titles = {
        "learning_rate": "Learning rate",
        "grad_norm": "Gradient norm",
        "token_variance": "Token variance",
        "teacher_entropy": "Teacher entropy",
        "samples_per_second": "Throughput",
        "data_wait_share": "Waiting for data",
    }
    assert set(found) == {"Losses", *titles.values()}
    for key, title in titles.items():
        (line,) = found[title].lines
        np.testing.assert_array_equal(curve(line)[0], [entry["step"] for entry in rows])
        np.testing.assert_allclose(curve(line)[1], [entry[key] for entry in rows])
    losses = [curve(line)[1] for line in found["Losses"].lines]
    for values, key in zip(losses, ("loss", "reconstruction_loss", "contextual_agreement_loss"), strict=True):
        np.testing.assert_allclose(values, [entry[key] for entry in rows])
    assert found["Losses"].get_xlabel() == "step"


def test_the_summary_changes_with_a_curve():
    rows = history()
    changed = [{**entry, "token_variance": entry["token_variance"] ** 2} for entry in rows]
    drawn = pretraining_summary_figure(rows)
    before, after = png(drawn), png(pretraining_summary_figure(changed))
    is_changed = {title: (box(axes, before) != box(axes, after)).any() for title, axes in panels(drawn).items()}
    assert {title for title, changed in is_changed.items() if changed} == {"Token variance"}


@pytest.mark.parametrize("num_optional", range(len(OPTIONAL) + 1))
def test_any_optional_quantity_may_be_absent_and_the_panels_fill_the_grid(num_optional):
    drawn = pretraining_summary_figure(history(optional=OPTIONAL[:num_optional]))
    png(drawn)
    assert len(drawn.axes) == 1 + max(0, num_optional - 2)
    assert len(drawn.axes[0].lines) == 1 + min(2, num_optional)
    spans = [axes.get_subplotspec() for axes in drawn.axes]
    covered = sorted(
        (row, column)
        for span in spans
        for row in span.rowspan
        for column in span.colspan
    )  # fmt: skip
    rows, columns = spans[0].get_gridspec().get_geometry()
    assert covered == [(row, column) for row in range(rows) for column in range(columns)]


def test_no_text_of_the_summary_covers_another_or_leaves_the_figure():
    for optional in (OPTIONAL, OPTIONAL[:7], OPTIONAL[:3], ()):  # the losses over 3, 1, 2 and 3 columns
        drawn = pretraining_summary_figure(history(120, optional), title="A run", caption="Small print")
        drawn.canvas.draw()
        texts = [text for text in drawn.findobj(Text) if text.get_text() and text.get_visible()]
        for axes in drawn.axes:  # matplotlib keeps labels of ticks beyond the ends, which it does not draw
            for axis in (axes.xaxis, axes.yaxis):
                low, high = sorted(axis.get_view_interval())
                hidden = {tick.label1 for tick in axis.get_major_ticks() if not low <= tick.get_loc() <= high}
                texts = [text for text in texts if text not in hidden]
        boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
        assert len(boxes) > 8
        for number, (text, extent) in enumerate(boxes):
            assert extent.x0 >= 0 and extent.y0 >= 0 and extent.x1 <= drawn.bbox.x1, text
            assert [other for other, place in boxes[:number] if extent.overlaps(place)] == [], text


def test_a_quantity_logged_every_other_step_and_a_loss_that_is_not_finite():
    rows = history()
    for entry in rows[1::2]:
        del entry["token_variance"]
    rows[3]["loss"] = float("nan")
    found = panels(pretraining_summary_figure(rows))
    (line,) = found["Token variance"].lines
    np.testing.assert_array_equal(curve(line)[0], [entry["step"] for entry in rows[::2]])
    drawn = curve(found["Losses"].lines[0])[1]
    assert np.isnan(drawn[3]) and np.isfinite(np.delete(drawn, 3)).all()


def test_losses_are_on_a_log_scale_where_that_can_be_read():
    rows = history(optional=())
    assert panels(pretraining_summary_figure(rows))["Losses"].get_yscale() == "log"
    little = [{**entry, "loss": 1.0 + entry["loss"]} for entry in rows]
    negative = [{**entry, "loss": entry["loss"] - 0.5} for entry in rows]
    for linear in (little, negative, rows[:1]):
        assert panels(pretraining_summary_figure(linear))["Losses"].get_yscale() == "linear"


def test_a_long_run_is_smoothed_and_its_raw_curve_kept():
    random = np.random.default_rng(3)
    rows = [{"step": step, "loss": 2.0 + random.normal(0, 0.2), "learning_rate": 1e-3} for step in range(500)]
    found = panels(pretraining_summary_figure(rows))
    raw, mean = (curve(line)[1] for line in found["Losses"].lines)
    np.testing.assert_array_equal(raw, [entry["loss"] for entry in rows])
    # windows of 11: 500 / 50, made odd
    np.testing.assert_allclose(mean[100], raw[95:106].mean())
    np.testing.assert_allclose(mean[0], raw[:6].mean())
    assert len(found["Learning rate"].lines) == 1


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "at least one logged step"),
        ([{"step": 1}], r"Entry 0 .*\['loss'\]"),
        ([{"step": 2, "loss": 1.0}, {"step": 2, "loss": 1.0}], "got 2 after 2 in entry 1"),
    ],
)
def test_a_history_that_cannot_be_drawn_is_named(rows, message):
    with pytest.raises(ValueError, match=message):
        pretraining_summary_figure(rows)


def clip(count=20):
    """Movement, maps and faces of a clip whose patch at the upper left changes in the middle."""
    seconds = np.arange(count) / 10
    changes = np.zeros((count, 4, 4), np.float32)
    changes[count // 2, 0, 0] = 0.8
    shown = [(float(seconds[place]), np.full((32, 32, 3), 128, np.uint8), changes[place]) for place in (0, count // 2)]
    return seconds, np.linspace(0, 1, count), changes, shown


def test_a_clip_has_one_scale():
    """The faces are drawn with that of the whole clip, and the bar says so; a still clip is not stretched to it."""
    seconds, movement, changes, shown = clip()
    assert clip_scale(changes) == pytest.approx(np.percentile(changes, 99.9)) and clip_scale(0 * changes) == 0.05
    drawn = clip_figure(seconds, movement, [(0.8, 1.0, 1.2, "disgust")], shown, scale=0.8, least_change=0.45)
    maps = [axes.images[0].get_array() for axes in drawn.axes if axes.images][2:4]
    np.testing.assert_array_equal(maps[0], overlay(shown[0][1], shown[0][2], 0.0, 0.8, "viridis"))
    np.testing.assert_array_equal(maps[1], overlay(shown[1][1], shown[1][2], 0.0, 0.8, "viridis"))
    assert np.abs(maps[1][:8, :8] - maps[0][:8, :8]).min() > 0.1 and (maps[1][8:] == maps[0][8:]).all()
    bar = next(axes for axes in drawn.axes if axes.get_ylabel().startswith("1 - diagonal"))
    assert bar.get_ylim() == (0.0, 0.8)
    assert {text.get_text().strip() for text in drawn.findobj(Text)} >= {
        "disgust",
        "1.00 s",
        "least movement that counts",
    }


def test_the_name_of_a_class_is_no_formula(tmp_path):
    seconds, movement, changes, shown = clip()
    name = "$\\bad{$"
    drawn = clip_figure(seconds, movement, [(0.8, 1.0, 1.2, name)], shown, scale=0.8, least_change=0.45)
    save_figure(drawn, tmp_path / "a.png")
    save_figure(prediction_figure(ONSET, APEX, DIAGONAL, POI, {name: 1.0}, title=name), tmp_path / "b.png")


def test_the_shown_faces_include_the_apexes():
    seconds = np.arange(200) / 50
    even = shown_places(seconds, [])
    assert len(even) == 8 and (even[0], even[-1]) == (0, 199)
    assert 63 in shown_places(seconds, [63 / 50]) and len(shown_places(seconds, [63 / 50])) == 8
    assert shown_places(seconds[:3], []) == [0, 1, 2]
    # near to each other, near to the first, and more than there are places
    assert {0, 30, 35, 40} <= set(shown_places(seconds, [30 / 50, 35 / 50, 40 / 50]))
    assert shown_places(seconds, [1 / 50])[:2] == [0, 1]
    assert shown_places(seconds, [place / 50 for place in range(60, 100)]) == [0, *range(60, 67)]


def test_a_video_is_written_whole_or_not_at_all(tmp_path):
    seconds, movement, _, shown = clip()

    def frames():
        yield shown[0]
        raise OSError("the disk is full")

    arguments = {"scale": 0.8, "least_change": 0.45}
    with pytest.raises(OSError, match="the disk is full"):
        write_clip_video(tmp_path / "a.mp4", frames(), seconds, movement, [], **arguments)
    with pytest.raises(ValueError, match="no frames"):
        write_clip_video(tmp_path / "a.mp4", [], seconds, movement, [], **arguments)
    assert list(tmp_path.iterdir()) == []
