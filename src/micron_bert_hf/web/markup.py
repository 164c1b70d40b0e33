"""Pieces of HTML. Pictures are in the text itself, so that no answer lies in a file or is fetched from anywhere."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from io import BytesIO

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from ..visualization import overlay


COLORMAP = "viridis"
# Ours: of 224-pixel faces, about 20 kB each, with the sharp edges of a map.
_JPEG_OPTIONS = {"quality": 88, "subsampling": "4:4:4"}
_STEPS = 16


def data_url(content: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def picture_url(pixels: np.ndarray) -> str:
    """Of `(H, W, 3)`, uint8."""
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", **_JPEG_OPTIONS)
    return data_url(stream.getvalue(), "image/jpeg")


def figure_url(figure: Figure) -> str:
    stream = BytesIO()
    figure.savefig(stream, dpi=120, format="png")
    return data_url(stream.getvalue(), "image/png")


def map_url(frame: np.ndarray, values: np.ndarray, low: float, high: float) -> str:
    """A map `(rows, columns)` over a face `(S, S, 3)`, uint8."""
    return picture_url((255 * overlay(frame, values, low, high, COLORMAP)).round().astype(np.uint8))


def picture(url: str, title: str, note: str, below: str = "", is_hidden: bool = False) -> str:
    """A picture under its title; `below` is HTML."""
    hidden, title, note = " hidden" if is_hidden else "", escape(title), escape(note)
    return (
        f"<figure{hidden}><figcaption><b>{title}</b><span>{note}</span></figcaption>"
        f'<img src="{url}" alt="{title}: {note}">{below}</figure>'
    )


def colour_bar(low: float, high: float, unit: str) -> str:
    colours = ", ".join(to_hex(colormaps[COLORMAP](step / _STEPS)) for step in range(_STEPS + 1))
    return (
        f'<div class="scale"><div style="background: linear-gradient(to right, {colours})"></div>'
        f"<span>{low:.3g}</span><span>{escape(unit)}</span><span>{high:.3g}</span></div>"
    )


def verdict(text: str, note: str) -> str:
    return f'<p class="verdict">{escape(text)}</p><p class="note">{escape(note)}</p>'


def problem(sentence: str) -> str:
    return f'<p class="problem" role="alert">{escape(sentence[:1].upper() + sentence[1:])}.</p>'


def label_bars(scores: Mapping[str, float]) -> str:
    """One bar for each label; best first, as the scores come."""
    rows = [
        f"<li><span>{escape(label)}</span><span>{score:.1%}</span>"
        f'<div><div style="width: {100 * score:.1f}%"></div></div></li>'
        for label, score in scores.items()
    ]
    return f'<ol class="bars">{"".join(rows)}</ol>'


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def line(tag: str, cells: Sequence[str]) -> str:
        return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"

    body = "".join(line("td", row) for row in rows)
    return f'<div class="wide"><table><thead>{line("th", header)}</thead><tbody>{body}</tbody></table></div>'


def download(content: str, name: str, text: str) -> str:
    """A link that saves a JSON text."""
    url = data_url(content.encode(), "application/json")
    return f'<p><a class="as-json" download="{escape(name)}" href="{url}">{escape(text)}</a></p>'
