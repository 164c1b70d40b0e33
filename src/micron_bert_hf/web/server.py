"""From a model to a page that answers, and back to nothing when it ends."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError

from ..spotting import MicroExpressionRecognizer
from ..spotting.commands import load_classifier
from .training_data import learnt_from
from .uploads import KEPT_SECONDS, MAX_FILE_MEGABYTES, delete_old


# How often old uploads are looked for: ours.
_SWEEP_SECONDS = 60


def serve(model: str, *, revision: str | None = None, host: str | None = None, port: int | None = None) -> None:
    """
    Show the page until SIGINT or SIGTERM comes; to be called in the main thread.

    Args:
        model: a classifier: a folder, or a repository on the Hub, whose own code is not run.
        revision (*optional*): of the repository.
        host (*optional*): address to listen on; else `GRADIO_SERVER_NAME`, which Spaces set, else 127.0.0.1.
        port (*optional*): else `GRADIO_SERVER_PORT`, else the first that is free from 7860 on.

    Raises:
        OSError: there is no such model, or no such port is free.
        ValueError: it is no classifier of this package.
    """
    folder = Path(model)
    is_folder = folder.is_dir()
    if not is_folder:
        try:
            # neither code nor anything that is not needed
            folder = Path(snapshot_download(model, revision=revision, allow_patterns=["*.json", "*.safetensors"]))
        except HFValidationError as error:
            raise FileNotFoundError(f"there is no folder {model}, and it is no USER/NAME") from error
    recognize = MicroExpressionRecognizer(load_classifier(str(folder)))
    with _asked_to_stop() as stop, _private_folder() as uploads:
        from .page import STYLE, THEME, build_page  # after the environment that Gradio reads when it is imported

        page = build_page(recognize, folder.resolve().name if is_folder else model, learnt_from(folder))
        page.launch(
            server_name=host,
            server_port=port,
            share=False,
            inbrowser=False,
            prevent_thread_lock=True,
            quiet=True,
            max_file_size=MAX_FILE_MEGABYTES * 2**20,
            footer_links=[],
            run_history=False,
            enable_monitoring=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            theme=THEME,
            css=STYLE,
        )
        try:
            print(f"The page is at {page.local_url} (Ctrl-C ends it)", flush=True)
            while not stop.wait(_SWEEP_SECONDS):
                delete_old(uploads, KEPT_SECONDS)
        finally:
            page.close(verbose=False)


@contextmanager
def _private_folder() -> Iterator[Path]:
    """Where Gradio puts what visitors send: readable by this user alone, and gone at the end. No telemetry."""
    with TemporaryDirectory(prefix="micron-bert-page-", ignore_cleanup_errors=True) as folder:
        os.environ.update(GRADIO_TEMP_DIR=folder, GRADIO_ANALYTICS_ENABLED="False")
        yield Path(folder)


@contextmanager
def _asked_to_stop() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set, so that the folder is deleted before the process ends."""
    stop = threading.Event()
    previous = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
