"""The picture: what is drawn is what was handed in."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from micron_bert_hf.visualization import (
    PREDICTED_COLOUR,
    TRUE_COLOUR,
    overlay,
    prediction_figure,
    relative_change,
    save_figure,
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
