"""A process that serves the web page, and a visitor without a browser."""

import json
import signal
import socket
import subprocess
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class PageServer:
    """Where it is, and what it says on standard output and, in a file, on standard error."""

    def __init__(self, process: subprocess.Popen, port: int, stderr: Path) -> None:
        self.process, self.stderr, self.url = process, stderr, f"http://127.0.0.1:{port}"
        if self.url not in process.stdout.readline():
            raise AssertionError(stderr.read_text())

    def send(self, path: Path) -> dict[str, Any]:
        """Upload a file; what stands for it in a request."""
        with httpx.Client(base_url=self.url, trust_env=False, timeout=60) as client, path.open("rb") as file:
            answer = client.post("/gradio_api/upload", files={"files": (path.name, file)}).raise_for_status()
        return {"path": answer.json()[0], "meta": {"_type": "gradio.FileData"}}

    def compare(self, *payloads: Any) -> Mapping[str, Any]:
        """A click on Compare as the browser sends it, whatever the payloads are; the last message of its answer."""
        session = uuid.uuid4().hex
        with httpx.Client(base_url=self.url, trust_env=False, timeout=60) as client:
            # the first event of the page is the click on Compare
            function = client.get("/config").raise_for_status().json()["dependencies"][0]["id"]
            request = {"data": payloads, "fn_index": function, "session_hash": session, "trigger_id": None}
            client.post("/gradio_api/queue/join", json=request).raise_for_status()
            with client.stream("GET", "/gradio_api/queue/data", params={"session_hash": session}) as stream:
                for line in stream.iter_lines():
                    message = json.loads(line.removeprefix("data: ")) if line else {}
                    if message.get("msg") == "process_completed":
                        return message
        raise AssertionError("the stream ended without an answer")

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@contextmanager
def page_server(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], port: int
) -> Iterator[PageServer]:
    """Run `command` in `folder`; `folder/stderr` gets what it says there."""
    with (folder / "stderr").open("w") as stderr:
        process = subprocess.Popen(
            command, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=stderr, text=True
        )
    try:
        yield PageServer(process, port, folder / "stderr")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
