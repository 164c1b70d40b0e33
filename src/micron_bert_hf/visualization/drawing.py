"""What the figures share: colours, a map over a face, a picture under its title, a PNG written whole.

matplotlib's object interface on the Agg canvas only: no global state, no display. Colours are read the same by the
colour-blind (viridis, cividis, Okabe and Ito's blue, orange and green).
"""

import os

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize
from matplotlib.figure import Figure


# Okabe and Ito (2008), Color Universal Design
PREDICTED_COLOUR = "#D55E00"
OTHER_COLOUR = "#B8C4CE"
TRUE_COLOUR = "#0072B2"
INK = "#1F2933"
MUTED = "#616E7C"
# Grey of the face under a map, darkened so that the map's bright end stands out; opacity of the map at its low and
# high end. Ours, by eye.
FACE_DIMMING = 0.75
OVERLAY_OPACITY = (0.15, 0.80)
# Of texts with words that are not ours: a `$` in the name of a class is no formula.
PLAIN = {"parse_math": False}
# Of a figure, in inches from the left and the top (ours, by eye).
MARGIN = 0.3


def new_figure(width: float, height: float, title: str, caption: str) -> Figure:
    """An empty white figure of `width` x `height` inches with its title above and the small print below."""
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    figure.text(MARGIN / width, 1.0 - 0.365 / height, title, fontsize=17, fontweight="bold", color=INK, **PLAIN)
    if caption:
        figure.text(MARGIN / width, 0.152 / height, caption, fontsize=9, color=MUTED, **PLAIN)
    return figure


def overlay(frame: np.ndarray, values: np.ndarray, low: float, high: float, colormap: str) -> np.ndarray:
    """
    A map over a grey, dimmed face; the higher the value, the more opaque. The map's cells stay sharp-edged where
    smoothing would claim a resolution it does not have.

    Args:
        frame (`np.ndarray` of shape `(height, width, 3)`, uint8): RGB
        values (`np.ndarray` of shape `(rows, columns)`): any whole number of pixels a cell or none
        low, high (`float`): ends of the colour scale

    Returns:
        `np.ndarray` of shape `(height, width, 3)`, float in [0, 1].
    """
    height, width = frame.shape[:2]
    share = Normalize(low, high, clip=True)(values).data
    row = np.arange(height) * values.shape[0] // height
    column = np.arange(width) * values.shape[1] // width
    share = share[row][:, column]
    # Rec. 709 luminance
    grey = (frame.astype(float) / 255.0 @ [0.2126, 0.7152, 0.0722])[..., None] * FACE_DIMMING
    opacity = (OVERLAY_OPACITY[0] + (OVERLAY_OPACITY[1] - OVERLAY_OPACITY[0]) * share)[..., None]
    return (1.0 - opacity) * grey + opacity * colormaps[colormap](share)[..., :3]


def draw_title(axes: Axes, title: str, subtitle: str) -> None:
    axes.set_title(title, loc="left", fontsize=12.5, fontweight="bold", color=INK, pad=22, **PLAIN)
    axes.text(0.0, 1.025, subtitle, transform=axes.transAxes, fontsize=9.5, color=MUTED, va="bottom", **PLAIN)


def draw_picture(axes: Axes, picture: np.ndarray, title: str, subtitle: str, interpolation: str = "nearest") -> None:
    axes.imshow(picture, cmap="cividis", interpolation=interpolation)
    axes.set_anchor("W")  # under its title, and in line with the picture above or below
    axes.set_axis_off()
    draw_title(axes, title, subtitle)


def save_figure(figure: Figure, path: str | os.PathLike, dpi: int = 120) -> None:
    """Write a PNG whole or not at all."""
    partial = f"{os.fspath(path)}.partial"
    figure.savefig(partial, dpi=dpi, format="png")
    os.replace(partial, path)
