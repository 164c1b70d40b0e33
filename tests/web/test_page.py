"""The web page, as visitors have it: the real command in a process of its own, and Chromium.

One process serves all tests of the browser; the last of them ends it and looks for what is left.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import httpx
import numpy as np
import pytest
import torch
from page_server import free_port, page_server
from PIL import Image
from playwright.sync_api import expect, sync_playwright

from micron_bert_hf import MicronBertConfig, MicronBertForMicroExpressionClassification, MicronBertImageProcessor
from micron_bert_hf.hub import save_for_hub
from micron_bert_hf.locks import LOCK_NAME
from micron_bert_hf.spotting import MicroExpressionRecognizer
from micron_bert_hf.spotting.commands import load_classifier
from micron_bert_hf.web import serve, uploads
from micron_bert_hf.web.answers import clip_answer
from micron_bert_hf.web.page import EXAMPLE_PAIRS, EXAMPLE_VIDEO
from micron_bert_hf.web.training_data import NOT_WRITTEN, learnt_from


LABELS = ("happiness", "surprise", "disgust", "repression")
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# For the server's process, which imports it when it starts: whoever else it calls, it ends.
LOOPBACK_ONLY = """
import os, signal, sys

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # also where the tests are started to outlive a terminal

def loopback_only(event, args):
    address = args[1] if event == "socket.connect" else args
    if event in ("socket.connect", "socket.getaddrinfo") and address[0] not in ("127.0.0.1", b"127.0.0.1"):
        os.write(2, f"{event}{args} is not on the loopback".encode())
        os._exit(97)

sys.addaudithook(loopback_only)
"""
# Of what is waited for, in milliseconds: it is there in a second, unless the machine has much else to do.
PATIENCE = 60_000
expect.set_options(timeout=PATIENCE)
ONSET, APEX = map(Path, EXAMPLE_PAIRS[0])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    config = MicronBertConfig(
        image_size=32,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        id2label=dict(enumerate(LABELS)),
    )
    classifier = MicronBertForMicroExpressionClassification(config)
    torch.nn.init.normal_(classifier.classifier.weight)
    processor = MicronBertImageProcessor(size={"height": 32, "width": 32})
    return save_for_hub(tmp_path_factory.mktemp("web") / "tiny", model=classifier, image_processor=processor)


@pytest.fixture(scope="module")
def recognize(model):
    """What the page should say, computed without it."""
    return MicroExpressionRecognizer(load_classifier(str(model)))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """What the server's process takes for the home of its user; its temporary files are in `tmp` there."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "tmp").mkdir()
    (folder / "code").mkdir()
    (folder / "code" / "sitecustomize.py").write_text(LOOPBACK_ONLY)
    return folder


@pytest.fixture(scope="module")
def server(model, home):
    port = free_port()
    command = [str(Path(sys.executable).with_name("micron-bert")), "demo", "--model", str(model), "--port", str(port)]
    environment = {**os.environ, "HOME": str(home), "TMPDIR": str(home / "tmp"), "PYTHONPATH": str(home / "code")}
    environment["OMP_NUM_THREADS"] = "1"
    with page_server(command, home, environment, port) as server:
        yield server


@pytest.fixture(scope="module")
def browser():
    chromium = shutil.which("chromium")
    assert chromium, "the tests of the web page need chromium: run `make browser`"
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGUMENTS)


@pytest.fixture
def open_page(server, browser):
    """Pages of visitors who have nothing in common; nothing that they ask for is elsewhere."""
    contexts, elsewhere, faults = [], [], []

    def open_page(width=1280):
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}))
        contexts[-1].on(
            "request", lambda request: None if request.url.startswith((server.url, "data:", "blob:")) else
            elsewhere.append(request.url)
        )  # fmt: skip
        contexts[-1].set_default_timeout(PATIENCE)
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(server.url)
        page.get_by_role("button", name="Compare").wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert elsewhere == [] and faults == []


def choose_pair(page, onset, apex):
    for name, path in (("onset", onset), ("apex", apex)):
        if page.locator(f"#{name} img").count():
            page.locator(f"#{name}").get_by_label("Remove Image").click()
        page.locator(f"#{name} input[type=file]").set_input_files(path)
        page.locator(f"#{name} img").wait_for(state="attached")


def send_pair(page, onset, apex):
    choose_pair(page, onset, apex)
    page.get_by_role("button", name="Compare").click()


def send_video(page, path):
    page.get_by_role("tab", name="Video").click()
    if page.locator("#video").get_by_label("Clear").count():
        page.locator("#video").get_by_label("Clear").click()
    page.locator("#video input[type=file]").set_input_files(path)
    page.locator("#video").get_by_text(path.stem).wait_for()
    page.get_by_role("button", name="Search").click()


def assert_loaded(images, number):
    expect(images).to_have_count(number)
    sizes = images.evaluate_all("images => images.map(image => [image.complete, image.naturalWidth])")
    assert all(complete and width > 0 for complete, width in sizes), sizes


def downloaded(page, where):
    with page.expect_download() as download:
        page.locator(where).get_by_role("link", name="Download as JSON").click()
    return json.loads(Path(download.value.path()).read_text())


def test_two_pictures(open_page, recognize):
    page = open_page()
    for words in ("not an instrument for judging people", "no lie detector", "not kept", NOT_WRITTEN):
        expect(page.get_by_text(words)).to_be_visible()
    send_pair(page, ONSET, APEX)
    expected = recognize.pair(str(ONSET), str(APEX))
    expect(page.locator("#pair-answer .verdict")).to_contain_text(expected.label)
    rows = [row.split("\n") for row in page.locator("#pair-answer .bars li").all_inner_texts()]
    assert {label: float(share.rstrip("%")) for label, share in rows} == {
        label: pytest.approx(100 * score, abs=0.06) for label, score in expected.scores.items()
    }
    assert_loaded(page.locator("#pair-answer figure img"), 4)
    pictures = page.locator("#pair-answer figure img").evaluate_all("images => images.map(image => image.src)")
    assert len(set(pictures)) == 4 and page.locator("#pair-answer .scale").count() == 2
    answer = downloaded(page, "#pair-answer")
    assert answer["moved"] is True and answer["scores"] == pytest.approx(dict(expected.scores), abs=1e-6)


def test_two_equal_pictures_have_no_label_and_an_example_has_one(open_page):
    page = open_page(width=390)
    send_pair(page, ONSET, ONSET)
    expect(page.locator("#pair-answer .verdict")).to_have_text("Nothing moved")
    assert page.locator("#pair-answer .bars").count() == 0 and page.locator("#pair-answer .scale").count() == 0
    assert downloaded(page, "#pair-answer")["scores"] == {}
    # a telephone shows all of it without moving sideways
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.locator("table tbody tr").nth(1).click()
    page.get_by_role("button", name="Compare").click()
    expect(page.locator("#pair-answer .bars li")).to_have_count(len(LABELS))


def test_a_video(open_page, recognize):
    page = open_page()
    send_video(page, Path(EXAMPLE_VIDEO))
    cells = page.locator("#clip-answer tbody td")
    (found,) = recognize(EXAMPLE_VIDEO)
    expect(cells).to_have_count(5)
    assert cells.all_inner_texts()[0].startswith(found.label)
    assert cells.all_inner_texts()[2] == f"{found.apex_seconds:.2f} s"
    assert_loaded(page.locator("#clip-answer .timeline img"), 1)

    shown = page.locator("#clip-frames figure:not([hidden])")
    expect(shown).to_have_count(1)
    expect(shown).to_contain_text(f"frame {found.apex}, {found.apex_seconds:.2f} s")
    at_apex = shown.locator("img").get_attribute("src")
    page.locator("input[type=range]").fill("3")
    expect(shown).to_contain_text("frame 3, ")
    assert_loaded(shown.locator("img"), 1)
    assert shown.locator("img").get_attribute("src") != at_apex
    scales = page.locator("#clip-frames .scale").all_text_contents()  # of hidden ones too
    assert len(scales) == page.locator("#clip-frames figure").count() > 1 and len(set(scales)) == 1

    answer = downloaded(page, "#clip-answer")
    assert answer["source"] == "surprise.mp4" and answer["expressions"][0]["apex"]["frame"] == found.apex


def test_what_cannot_be_used_is_a_sentence_and_the_page_lives_on(open_page, tmp_path):
    page = open_page()
    (tmp_path / "text.png").write_text("text that poses as a picture")
    Image.new("L", (10_000, 10_000), 128).save(tmp_path / "large.png")
    Image.open(APEX).crop((0, 0, 100, 90)).save(tmp_path / "small.png")
    problem = page.locator("#pair-answer .problem")
    page.get_by_role("button", name="Compare").click()
    expect(problem).to_contain_text("please send an onset")
    for onset, apex, words in (
        (tmp_path / "text.png", APEX, "The onset cannot be used: it is not an image of a known format"),
        (ONSET, tmp_path / "large.png", "The apex cannot be used: it has 10000 x 10000 pixels, more than"),
        (ONSET, tmp_path / "small.png", "The onset has 224 x 224 pixels, the apex 100 x 90"),
    ):
        send_pair(page, onset, apex)
        expect(problem).to_contain_text(words)
    send_pair(page, ONSET, APEX)
    expect(page.locator("#pair-answer .bars li")).to_have_count(len(LABELS))

    (tmp_path / "cut.mp4").write_bytes(Path(EXAMPLE_VIDEO).read_bytes()[:20_000])
    send_video(page, tmp_path / "cut.mp4")
    expect(page.locator("#clip-answer .problem")).to_have_text(
        re.compile("^The file cut.mp4: not a video that can be")
    )


def test_ten_visitors_at_once_get_an_answer_each(server, open_page, recognize, tmp_path):
    """
    Two with a browser and eight without. Each sends an apex of their own, which has moved a little more than that of
    the one before, and must get the answer to it.
    """
    onset, apex = Image.open(ONSET), Image.open(APEX)
    paths = [tmp_path / f"{number}.png" for number in range(10)]
    for number, path in enumerate(paths):
        Image.blend(onset, apex, 0.5 + number / 20).save(path)
    changes = [recognize.pair(str(ONSET), str(path)).change for path in paths]
    moved = [f"moved by {change:.2f} pixels" for change in changes]
    assert len(set(moved)) == 10, moved
    pages = [open_page() for _ in range(2)]
    for page, path in zip(pages, paths):
        choose_pair(page, ONSET, path)
    start = threading.Barrier(9)

    def visit(path):
        sent = server.send(ONSET), server.send(path)
        start.wait(60)
        return server.compare(*sent)["output"]["data"][0]

    with ThreadPoolExecutor(8) as visitors:
        answers = [visitors.submit(visit, path) for path in paths[2:]]
        start.wait(60)
        for page in pages:
            page.get_by_role("button", name="Compare").click()
        for page, words in zip(pages, moved):
            expect(page.locator("#pair-answer")).to_contain_text(words)
        for answer, words in zip(answers, moved[2:]):
            assert words in answer.result()


def test_files_that_nobody_sent_and_addresses_are_refused(server, tmp_path):
    """By requests that no browser makes. The picture is one that would be answered."""
    shutil.copyfile(ONSET, tmp_path / "private.png")
    file, meta = {"path": str(tmp_path / "private.png")}, {"meta": {"_type": "gradio.FileData"}}
    without_meta = server.compare(file, file)
    assert "That file was not sent to this page" in json.dumps(without_meta) and "figure" not in json.dumps(
        without_meta
    )
    address = {"path": f"{server.url}/theme.css"} | meta
    refused = server.compare(address, address)
    assert refused["success"] is False and "Addresses are not read" in refused["output"]["error"]
    answered = server.compare(*({"path": path} | meta for path in EXAMPLE_PAIRS[0]))
    assert answered["success"] and "figure" in answered["output"]["data"][0]


def test_a_request_of_many_files_is_refused_whole(server, home):
    """One is of a megabyte, no more than a file may have; a browser sends one at a time."""
    files = [("files", (f"{number}.png", bytes(2**20))) for number in range(uploads.MAX_FILE_MEGABYTES + 2)]
    with httpx.Client(base_url=server.url, trust_env=False, timeout=60) as client:
        answer = client.post("/gradio_api/upload", files=files)
        assert answer.status_code == 413 and "maximum allowed size" in answer.text
        assert len(client.post("/gradio_api/upload", files=files[:2]).raise_for_status().json()) == 2
    assert sum(path.stat().st_size == 2**20 for path in (home / "tmp").rglob("*")) == 2


def test_nothing_is_left_when_the_page_ends(server, open_page, home):
    """Its terminal is closed. This ends the server, so it stands last."""
    send_pair(page := open_page(), ONSET, APEX)
    page.locator("#pair-answer .verdict").wait_for()
    (folder,) = (home / "tmp").glob("micron-bert-page-*")
    assert folder.stat().st_mode & 0o077 == 0
    sent = {ONSET.read_bytes(), APEX.read_bytes()}
    assert sent <= {path.read_bytes() for path in folder.rglob("*.png")}
    server.process.send_signal(signal.SIGHUP)
    assert server.process.wait(30) == 0
    assert not folder.exists()
    assert not any(path.read_bytes() in sent for path in home.rglob("*") if path.is_file())
    assert server.process.stdout.read() == "" and server.stderr.read_text() == ""


# ------------------------------------------------------------------------------------------------ without the browser


def test_uploads_are_deleted_by_their_age(tmp_path):
    for name, age in (("old/whole.png", 1000), ("half", 1000), ("new/whole.png", 10), ("new/newest.png", 5)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"pixels")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    for most_bytes, left in ((12, ["new", "new/newest.png", "new/whole.png"]), (11, ["new", "new/newest.png"])):
        uploads.delete_old(tmp_path, uploads.KEPT_SECONDS, most_bytes)
        assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == left


def test_an_upload_outlasts_the_queue():
    """Those who wait, the one before them, and the visitor's own answer."""
    assert (uploads.MAX_WAITING + 2) * uploads.ANSWER_SECONDS < uploads.KEPT_SECONDS


# Two servers leave folders of theirs: one has been killed, the other lives and locks its own.
OTHER_SERVER = """
import fcntl, sys
with open(sys.argv[1], "w") as file:
    fcntl.lockf(file, fcntl.LOCK_EX)
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folders_of_others(tmp_path):
    killed, living = tmp_path / "micron-bert-page-killed", tmp_path / "micron-bert-page-living"
    for folder in (killed, living):
        (folder / "uploads").mkdir(parents=True)
        (folder / "uploads" / "face.png").write_bytes(b"pixels")
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OTHER_SERVER, str(folder / LOCK_NAME)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for folder in (killed, living)
    ]
    for process in processes:
        assert process.stdout.readline() == b"locked\n"
    processes[0].kill()
    processes[0].wait()
    yield killed, living
    for process in processes:
        process.kill()
        process.communicate()


def test_they_are_deleted_while_the_page_stands(model, tmp_path, monkeypatch, folders_of_others):
    """
    The server in this process, whose clock can be set: it looks ten times a second instead of once in ten seconds. It
    is started twice, and leaves nothing either time.
    """
    killed, living = folders_of_others
    monkeypatch.setattr("micron_bert_hf.web.server._SWEEP_SECONDS", 0.1)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "a user's own")
    monkeypatch.delenv("GRADIO_TEMP_DIR", raising=False)
    environment = dict(os.environ)

    def visit(seen):
        while not (folders := [path for path in tmp_path.glob("*/uploads") if path.parent not in (killed, living)]):
            time.sleep(0.05)
        (folders[0] / "old.png").write_bytes(b"pixels")
        os.utime(folders[0] / "old.png", (0, 0))
        (folders[0] / "new.png").write_bytes(b"pixels")
        for _ in range(300):
            time.sleep(0.1)
            if not (folders[0] / "old.png").exists():
                break
        seen.extend(path.name for path in folders[0].iterdir())
        os.kill(os.getpid(), signal.SIGTERM)

    for _ in range(2):
        visitor = threading.Thread(target=visit, args=[seen := []])
        visitor.start()
        serve(str(model), host="127.0.0.1", port=free_port())
        visitor.join()
        assert seen == ["new.png"] and list(tmp_path.iterdir()) == [living]
        assert dict(os.environ) == environment


def write_video(path, frames, rate):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.height, stream.width = frames[0].shape[:2]
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))


def test_a_video_is_read_to_the_limits_and_no_further(tmp_path, monkeypatch):
    write_video(tmp_path / "long.mp4", [np.zeros((32, 48, 3), np.uint8)] * 70, rate=2)
    read = []
    with pytest.raises(ValueError, match="longer than 30 seconds"):
        read += (frame.number for frame in uploads.VisitorVideo(tmp_path / "long.mp4"))
    assert read == list(range(61))
    monkeypatch.setattr(uploads, "MAX_VIDEO_PIXELS", 10 * 32 * 48)
    frames = iter(uploads.VisitorVideo(tmp_path / "long.mp4"))
    assert [next(frames).number for _ in range(10)] == list(range(10))
    with pytest.raises(ValueError, match="pixels together"):
        next(frames)


def test_a_video_that_ends_early_is_answered_with_a_note(recognize, tmp_path):
    frames = [frame.pixels for frame in uploads.VisitorVideo(Path(EXAMPLE_VIDEO))]
    write_video(tmp_path / "whole.avi", frames, rate=50)
    content = (tmp_path / "whole.avi").read_bytes()
    (tmp_path / "cut.avi").write_bytes(content[: len(content) * 2 // 3])
    answer = clip_answer(recognize, tmp_path / "cut.avi")
    assert "Note: decoding ends after" in answer.found or "Note: it says" in answer.found
    assert 1 < answer.num_frames < len(frames)


def test_what_the_model_has_learnt_from_is_read_beside_its_weights(tmp_path):
    assert learnt_from(tmp_path) == NOT_WRITTEN
    provenance = {"subjects": {"mer-synth-v1": ["a", "b"]}, "is_complete": False}
    (tmp_path / "provenance.json").write_text(json.dumps(provenance))
    assert learnt_from(tmp_path).startswith(
        "This model has learnt from: mer-synth-v1 (2 people), and maybe from others"
    )
    (tmp_path / "provenance.json").write_text(json.dumps(provenance | {"is_complete": True}))
    assert learnt_from(tmp_path) == "This model has learnt from: mer-synth-v1 (2 people)."
    for damaged in ({"subjects": {"mer-synth-v1": 7}, "is_complete": True}, ["mer-synth-v1"]):
        (tmp_path / "provenance.json").write_text(json.dumps(damaged))
        with pytest.raises(ValueError, match="provenance.json must hold"):
            learnt_from(tmp_path)
