"""From a model to a page that answers, and back to nothing when it ends."""

import os
import shutil
import signal
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

from ..hub import model_folder
from ..locks import folder_lock
from ..spotting import MicroExpressionRecognizer
from ..spotting.commands import load_classifier
from .training_data import learnt_from
from .uploads import KEPT_SECONDS, MAX_FILE_MEGABYTES, MAX_REQUEST_BYTES, MAX_UPLOADS_BYTES, delete_old


# How often uploads are looked through: ours; a fast line sends about a gigabyte meanwhile.
_SWEEP_SECONDS = 10
_PREFIX = "micron-bert-page-"
_END_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


def serve(model: str, *, revision: str | None = None, host: str | None = None, port: int | None = None) -> None:
    """
    Show the page until SIGINT, SIGTERM or SIGHUP (a terminal is closed) comes; to be called in the main thread.

    Args:
        model: a classifier: a folder, or a repository on the Hub, whose own code is not run.
        revision (*optional*): of the repository.
        host (*optional*): address to listen on; else `GRADIO_SERVER_NAME`, which Spaces set, else 127.0.0.1.
        port (*optional*): else `GRADIO_SERVER_PORT`, else the first that is free from 7860 on.

    Raises:
        OSError: there is no such model, or no such port is free.
        ValueError: it is no classifier of this package, or its `provenance.json` is damaged.
    """
    folder = model_folder(model, revision)
    recognize = MicroExpressionRecognizer(load_classifier(str(folder)))
    with _asked_to_stop() as stop, _private_folder() as uploads:
        # after the environment that Gradio reads when it is imported
        from .page import STYLE, THEME, build_page, limited_requests

        page = build_page(recognize, folder.resolve().name if folder == Path(model) else model, learnt_from(folder))
        page.launch(
            server_name=host,
            server_port=port,
            share=False,
            inbrowser=False,
            prevent_thread_lock=True,
            quiet=True,
            max_file_size=MAX_FILE_MEGABYTES * 2**20,
            app_kwargs=limited_requests(MAX_REQUEST_BYTES),
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
                delete_old(uploads, KEPT_SECONDS - _SWEEP_SECONDS, MAX_UPLOADS_BYTES)
        finally:
            page.close(verbose=False)


@contextmanager
def _private_folder() -> Iterator[Path]:
    """Where Gradio puts what visitors send: readable by this user alone, and gone at the end. No telemetry."""
    _delete_left_folders()
    with TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True) as folder, folder_lock(Path(folder)):
        uploads = Path(folder) / "uploads"
        uploads.mkdir()
        ours = {"GRADIO_TEMP_DIR": str(uploads), "GRADIO_ANALYTICS_ENABLED": "False"}
        # the last is set by Gradio where it is to send nothing
        before = {name: os.environ.get(name) for name in (*ours, "HF_HUB_DISABLE_TELEMETRY")}
        os.environ.update(ours)
        try:
            yield uploads
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def _delete_left_folders() -> None:
    """Those of servers of this user that were killed: while a server lives, it holds the lock of its folder."""
    if os.name != "posix":  # no locks
        return
    for folder in Path(gettempdir()).glob(f"{_PREFIX}*"):
        try:
            found = folder.lstat()
            if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid():
                with folder_lock(folder):
                    shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # its server lives, or it is gone already
            continue


@contextmanager
def _asked_to_stop() -> Iterator[threading.Event]:
    """An event that the signals to end set, so that the folder is deleted before the process ends."""
    stop = threading.Event()
    # there is no SIGHUP everywhere; and what was started to outlive its terminal (nohup) goes on
    numbers = [
        number
        for number in signal.Signals
        if number.name in _END_SIGNALS and signal.getsignal(number) is not signal.SIG_IGN
    ]
    previous = {number: signal.signal(number, lambda *_: stop.set()) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
