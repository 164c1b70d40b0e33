"""The page itself: what stands where, and what happens on a click. The one file that needs Gradio."""

import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.route_utils import MultiPartException
from gradio.utils import get_upload_folder

from ..data.clip_sources import VIDEO_SUFFIXES
from ..spotting import MicroExpressionRecognizer
from .answers import clip_answer, pair_answer
from .markup import problem
from .uploads import (
    KEPT_SECONDS,
    MAX_FILE_MEGABYTES,
    MAX_PIXELS,
    MAX_VIDEO_PIXELS,
    MAX_VIDEO_SECONDS,
    MAX_WAITING,
)


# Synthetic faces; `examples/space/make_examples.py` made them.
EXAMPLES = Path(__file__).resolve().with_name("examples")
EXAMPLE_PAIRS = [
    [str(EXAMPLES / f"{name}_{part}.png") for part in ("onset", "apex")] for name in ("surprise", "disgust")
]
EXAMPLE_VIDEO = str(EXAMPLES / "surprise.mp4")
STYLE = Path(__file__).with_name("style.css").read_text(encoding="utf-8")
# Fonts of the visitor's machine: none is fetched.
THEME = gr.themes.Base(
    primary_hue=gr.themes.colors.blue,
    neutral_hue=gr.themes.colors.slate,
    radius_size="sm",
    font=["system-ui", "sans-serif"],
    font_mono=["ui-monospace", "monospace"],
)
# One computes, the others wait: events of one `concurrency_id` share one place. Uploads are read by our own code, with
# our limits, and not by Gradio's components.
_ANSWERING = {
    "concurrency_id": "model",
    "concurrency_limit": 1,
    "preprocess": False,
    "scroll_to_output": True,
    "api_visibility": "private",
}
# In the browser, so that no frame has to be kept here or asked for.
_SHOW_FRAME = """
(place) => document.querySelectorAll("#clip-frames figure").forEach((figure, at) => { figure.hidden = at !== place; })
"""
_NOTHING_YET = '<p class="note">The answer will stand here.</p>'


def build_page(recognize: MicroExpressionRecognizer, name: str, training_data: str) -> gr.Blocks:
    """
    Args:
        recognize: with a classifier.
        name: of the model.
        training_data: what it has learnt from, one sentence.
    """
    gr.set_static_paths([EXAMPLES])

    def compare(onset: Mapping[str, Any] | None, apex: Mapping[str, Any] | None) -> str:
        try:
            return pair_answer(recognize, _sent_file(onset, "an onset"), _sent_file(apex, "an apex"))
        except (ValueError, OSError) as error:
            return problem(_without_folders(error))

    def search(video: Mapping[str, Any] | None) -> tuple[str, gr.Slider, str]:
        try:
            answer = clip_answer(recognize, _sent_file(video, "a video"))
        except (ValueError, OSError) as error:
            return problem(_without_folders(error)), gr.Slider(visible=False), ""
        slider = gr.Slider(maximum=max(1, answer.num_frames - 1), value=answer.shown, visible=answer.num_frames > 1)
        return answer.found, slider, answer.frames

    with gr.Blocks(title="Micron-BERT", analytics_enabled=False) as page:
        gr.HTML(_head(name, training_data))
        with gr.Tab("Two pictures"), gr.Row():
            with gr.Column(scale=2, min_width=320):
                gr.HTML(_note("Two frames of one face: before it moves, and when it moves most."))
                with gr.Row():
                    onset, apex = _picture("Onset"), _picture("Apex")
                button = gr.Button("Compare", variant="primary")
                pairs = gr.Dataset(
                    components=[onset, apex], samples=EXAMPLE_PAIRS, label="Synthetic faces to try", type="values"
                )
                gr.HTML(_limits(f"pictures of up to {MAX_PIXELS // 10**6} megapixels"))
            with gr.Column(scale=3, min_width=320):
                answer = gr.HTML(_NOTHING_YET, elem_id="pair-answer", elem_classes="answer", min_height=120)
            button.click(compare, [onset, apex], answer, **_ANSWERING)
            pairs.click(list, pairs, [onset, apex], queue=False, api_visibility="private")
        with gr.Tab("Video"), gr.Row():
            with gr.Column(scale=2, min_width=320):
                video = _only_uploads(
                    gr.File(label="Video of one face", file_types=sorted(VIDEO_SUFFIXES), elem_id="video")
                )
                button = gr.Button("Search", variant="primary")
                videos = gr.Dataset(
                    components=[video], samples=[[EXAMPLE_VIDEO]], label="A synthetic face to try", type="values"
                )
                gr.HTML(
                    _limits(
                        f"videos of up to {MAX_VIDEO_SECONDS} seconds and {MAX_VIDEO_PIXELS // 10**9} billion pixels"
                        " in all, which is 1920 x 1080 at 30 frames a second"
                    )
                )
            with gr.Column(scale=3, min_width=320):
                answer = gr.HTML(_NOTHING_YET, elem_id="clip-answer", elem_classes="answer", min_height=120)
                slider = gr.Slider(0, 1, step=1, label="Frame", visible=False, buttons=[], interactive=True)
                frames = gr.HTML("", elem_id="clip-frames", elem_classes="answer")
            button.click(search, video, [answer, slider, frames], **_ANSWERING)
            videos.click(lambda sample: sample[0], videos, video, queue=False, api_visibility="private")
            slider.change(None, slider, js=_SHOW_FRAME, queue=False, api_visibility="private")
    return page.queue(max_size=MAX_WAITING)  # who comes then is asked to come back later


def limited_requests(most_bytes: int) -> dict[str, Any]:
    """For `app_kwargs`: no request has more bytes. Gradio limits a file, and takes a thousand of them at once."""
    return {"middleware": [(_LimitedRequests, (), {"most_bytes": most_bytes})]}


class _LimitedRequests:
    """An ASGI application in front of another, which gets an error instead of what is too much."""

    def __init__(self, app: Callable[..., Awaitable[None]], most_bytes: int):
        self._app, self._most_bytes = app, most_bytes

    async def __call__(self, scope: Mapping[str, Any], receive: Callable, send: Callable) -> None:
        num_bytes = 0

        async def receive_within_the_limit() -> MutableMapping[str, Any]:
            nonlocal num_bytes
            message = await receive()
            num_bytes += len(message.get("body", b""))
            if num_bytes > self._most_bytes:
                # to Gradio an upload that failed: it deletes what came of it
                raise MultiPartException(f"The request has more than the maximum allowed size, {self._most_bytes}")
            return message

        await self._app(scope, receive_within_the_limit, send)


def _picture(label: str) -> gr.components.Component:
    picture = gr.Image(
        type="filepath",
        sources=["upload", "clipboard"],
        label=label,
        height=220,
        min_width=140,
        buttons=[],
        elem_id=label.lower(),
    )
    return _only_uploads(picture)


def _only_uploads(component: gr.components.Component) -> gr.components.Component:
    """It takes files that were sent, and fetches nothing from an address, which Gradio would."""
    keep = component.async_move_resource_to_block_cache

    async def refuse_addresses(path: str | Path | None) -> str | None:
        if "://" in str(path):
            raise gr.Error("Addresses are not read. Please send the file itself.", print_exception=False)
        return await keep(path)

    component.async_move_resource_to_block_cache = refuse_addresses
    return component


def _sent_file(payload: Mapping[str, Any] | None, what: str) -> Path:
    """
    Raises:
        ValueError: nothing was sent, or it is gone, or it is a file that nobody sent.
    """
    if payload is None:
        raise ValueError(f"there is nothing to look at yet; please send {what}")
    path = Path(payload["path"] or "").resolve()
    # Gradio looks too, but not at a picture that does not say that it is a file
    if not any(path.is_relative_to(folder) for folder in (_upload_folder(), EXAMPLES)):
        raise ValueError("that file was not sent to this page")
    if not path.is_file():
        raise ValueError("what you sent has been deleted by now; please send it again")
    return path


def _upload_folder() -> Path:
    return Path(get_upload_folder()).resolve()


def _without_folders(error: Exception) -> str:
    """What went wrong, with the name that the visitor knows instead of the place where a file lies."""
    return re.sub(rf"{re.escape(str(_upload_folder()))}/\w+/", "the file ", str(error))


def _note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'


def _limits(what: str) -> str:
    return _note(
        f"At most {MAX_FILE_MEGABYTES} MB a file, {what}. One answer is computed at a time; you may have to wait for"
        " somebody else's."
    )


def _head(name: str, training_data: str) -> str:
    return f"""
<header>
<h1>Micro-expressions</h1>
<p>Brief, involuntary movements of the face, found between two pictures or in a short video, named and shown by
<b>{escape(name)}</b>, a Micron-BERT model.</p>
</header>
<div class="limits">
<p><b>A research tool, not an instrument for judging people.</b> A micro-expression is a movement of the face; what
somebody feels, thinks or hides does not follow from it. This is no lie detector. It must not be used in hiring,
policing or border control, in schools or at workplaces, or on anybody who has not consented.</p>
<p>{escape(training_data)} A model that has only seen synthetic faces names what moved in a synthetic face: for a real
face its names mean nothing.</p>
<p><b>What you send</b> is not kept: it is deleted {KEPT_SECONDS // 60} minutes after it came at the latest, and when
this page's server ends. The answer is made in memory and sent to you alone. No picture and no answer is logged, and
nothing is counted or passed on.</p>
</div>
"""
