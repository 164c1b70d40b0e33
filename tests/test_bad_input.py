"""
Bad input at every entry point: a right answer, or one clear line and exit status 1; no traceback, no hang, no file.

Tables: what is wrong with a picture, a video or a model folder, and what is to be said of it. Everything is a real
file, and all but the last test run in this process, where importing torch is paid for once.
"""

import io
import json
import os
import pickle
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import psutil
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import pipeline

from micron_bert_hf import (
    MicronBertConfig,
    MicronBertForMicroExpressionClassification,
    MicronBertImageProcessor,
    cli,
    worker_processes,
)
from micron_bert_hf.hub import save_for_hub


TASK = "micro-expression-classification"
LONGEST_SECONDS = 60
NOT_AN_IMAGE = "is not an image of a known format"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder with a classifier of two classes at its smallest."""
    torch.manual_seed(0)
    config = MicronBertConfig(
        image_size=32,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        id2label={0: "negative", 1: "positive"},
    )
    return save_for_hub(
        tmp_path_factory.mktemp("model") / "tiny",
        model=MicronBertForMicroExpressionClassification(config),
        image_processor=MicronBertImageProcessor(size={"height": 32, "width": 32}),
    )


@pytest.fixture(scope="module")
def classify(model):
    return pipeline(TASK, model=str(model), trust_remote_code=True, device="cpu")


@pytest.fixture
def pair(frame_pair):
    """Onset and apex `(120, 100, 3)`, in which the detector sees a face."""
    return tuple(
        np.asarray(Image.fromarray(frame).resize((100, 120), Image.Resampling.BICUBIC)) for frame in frame_pair
    )


@pytest.fixture(autouse=True)
def no_hang():
    def give_up(*_):
        pytest.fail(f"no answer within {LONGEST_SECONDS} s")

    previous = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(LONGEST_SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """
    The command line: `run(*arguments)` gives what it prints, `run(*arguments, error=True)` its one line of error.
    Neither leaves a file, here or among the temporary ones, but what `written` names.
    """
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))

    def run(*arguments, error=False, written=None):
        before = listing(tmp_path)
        monkeypatch.setattr(sys, "argv", ["micron-bert", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capsys.readouterr()
        assert end.value.code == (1 if error else 0), err
        new = {path for path in listing(tmp_path) - before if written is None or not path.is_relative_to(written)}
        assert new == set()
        if not error:
            return out
        *bars, line = err.splitlines()
        assert out == "" and all(bar.startswith("Preparing") or bar == "" for bar in bars), err
        assert line.startswith("micron-bert: ") and "fault of micron-bert" not in line
        return line

    return run


def listing(folder):
    return set(folder.rglob("*"))


# ------------------------------------------------------------------------------------------------------------ pictures


def encoded(picture, form="PNG", **options):
    file = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(file, form, **options)
    return file.getvalue()


def on_its_side(pixels, orientation):
    """A JPEG whose pixels lie on their side and whose EXIF says how to turn them: 6 clockwise, 8 counterclockwise."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(np.rot90(pixels, 1 if orientation == 6 else -1), "JPEG", quality=95, exif=exif)


def png_that_says(width, height):
    """A small file that would decode to a large picture."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = zlib.compress(bytes(2**16))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def grey(pixels):
    return np.asarray(Image.fromarray(pixels).convert("L"))


def opaque(pixels):
    return np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])


# What a picture of the apex may be without harm: its name and bytes.
GOOD_PICTURES = {
    "jpeg named png": lambda apex: ("a.png", encoded(apex, "JPEG", quality=95)),
    "png named jpg": lambda apex: ("a.jpg", encoded(apex)),
    "cmyk jpeg": lambda apex: ("a.jpg", encoded(Image.fromarray(apex).convert("CMYK"), "JPEG", quality=95)),
    "16 bits of grey": lambda apex: ("a.png", encoded(grey(apex).astype(np.uint16) * 257)),
    "alpha": lambda apex: ("a.png", encoded(opaque(apex))),
    "palette": lambda apex: ("a.png", encoded(Image.fromarray(apex).quantize(256))),
    "exif 6": lambda apex: ("a.jpg", on_its_side(apex, 6)),
    "exif 8": lambda apex: ("a.jpg", on_its_side(apex, 8)),
}
# What it may not be, and what is said.
BAD_PICTURES = {
    "zero bytes": (lambda apex: ("a.png", b""), r"empty \(0 bytes\)"),
    "text named png": (lambda apex: ("a.png", b"Not found on this server.\n" * 9), NOT_AN_IMAGE),
    "video named png": (lambda apex: ("a.png", b"\0\0\0\x1cftypisom" + bytes(999)), NOT_AN_IMAGE),
    "half a png": (lambda apex: ("a.png", encoded(apex)[:3000]), "truncated"),
    "half a jpeg": (lambda apex: ("a.jpg", encoded(apex, "JPEG")[:1500]), "truncated"),
    "jpeg without its end": (lambda apex: ("a.jpg", encoded(apex, "JPEG")[:-9]), "truncated"),
    "half a webp": (lambda apex: ("a.webp", encoded(apex, "WEBP")[:-20]), NOT_AN_IMAGE),
    "moving gif": (
        lambda apex: ("a.gif", encoded(apex, "GIF", save_all=True, append_images=[Image.fromarray(apex[::-1])])),
        "2 frames, expected a still image",
    ),
    "one pixel": (lambda apex: ("a.png", encoded(apex[:1, :1])), "1 x 1"),
    "turned": (lambda apex: ("a.jpg", encoded(np.rot90(apex))), "120 x 100"),
    "100 megapixels": (lambda apex: ("a.png", png_that_says(10_000, 10_000)), "10000 x 10000 pixels, more than the"),
    "3.6 gigapixels": (lambda apex: ("a.png", png_that_says(60_000, 60_000)), "3600000000 pixels"),
}


def write_pair(folder, pair, make):
    """The onset as a PNG, the apex as `make` has it."""
    (folder / "onset.png").write_bytes(encoded(pair[0]))
    name, content = make(pair[1])
    (folder / name).write_bytes(content)
    return folder / "onset.png", folder / name


def write_frames(folder, onset, apex):
    """Copies of two files as frames of a film: the apex at place 12 of 20."""
    folder.mkdir()
    for number in range(20):
        source = apex if number == 12 else onset
        shutil.copy(source, folder / f"f{number}{source.suffix}")
    return folder


@pytest.mark.parametrize("kind", GOOD_PICTURES)
def test_good_pictures_get_the_answer_of_a_plain_one(kind, pair, model, classify, run, tmp_path):
    plain = (pair[0], np.repeat(grey(pair[1])[..., None], 3, axis=2) if "grey" in kind else pair[1])
    onset, apex = write_pair(tmp_path, pair, GOOD_PICTURES[kind])

    expected = classify.image_processor(plain, return_tensors="np")["pixel_values"]
    difference = np.abs(classify.image_processor((onset, apex), return_tensors="np")["pixel_values"] - expected)
    assert difference.mean() < 0.05
    found = classify((onset, apex), return_maps=True)
    right = classify(plain, return_maps=True)["patch_of_interest"]
    assert np.abs(found["patch_of_interest"] - right).mean() < 0.01

    for number, frame in enumerate(plain):
        Image.fromarray(frame).save(tmp_path / f"plain{number}.png")
    right = json.loads(
        run("predict", tmp_path / "plain0.png", tmp_path / "plain1.png", "--model", model, "--format", "json")
    )
    answer = json.loads(run("predict", onset, apex, "--model", model, "--format", "json"))
    assert answer["moved"] and answer["change"] == pytest.approx(right["change"], rel=0.25)

    frames = write_frames(tmp_path / "frames", onset, apex)
    (spotted,) = json.loads(run("spot", frames, "--fps", 25, "--format", "json"))["expressions"]
    assert spotted["apex"]["frame"] == 12
    clips = tmp_path / "clips"
    assert "1 clips, 20 frames" in run(
        "prepare-clips", frames, clips, "--fps", 25, "--num-shards", 1, "--encoding", "png", written=clips
    )


def test_a_picture_turned_by_exif_is_not_the_one_as_stored(pair, classify, tmp_path):
    """A negative control of the limits above, and both frames turned, each in its own way."""
    upright = classify.image_processor(pair, return_tensors="np")["pixel_values"]
    (tmp_path / "onset.jpg").write_bytes(on_its_side(pair[0], 8))
    onset, apex = tmp_path / "onset.jpg", write_pair(tmp_path, pair, GOOD_PICTURES["exif 6"])[1]
    assert np.abs(classify.image_processor((onset, apex), return_tensors="np")["pixel_values"] - upright).mean() < 0.05
    stored = tuple(np.rot90(frame, 2) for frame in pair)
    wrong = classify.image_processor(stored, return_tensors="np")["pixel_values"]
    assert np.abs(wrong - upright).mean() > 0.1
    found = classify(stored, return_maps=True)["patch_of_interest"]
    assert np.abs(found - classify(pair, return_maps=True)["patch_of_interest"]).mean() > 0.02


@pytest.mark.parametrize("kind", BAD_PICTURES)
def test_bad_pictures_are_one_line(kind, pair, model, classify, run, tmp_path):
    make, message = BAD_PICTURES[kind]
    onset, apex = write_pair(tmp_path, pair, make)
    for sources in ((onset, apex), (apex, onset)):
        line = run("predict", *sources, "--model", model, error=True)
        assert re.search(message, line) or kind in ("one pixel", "turned") and "100 x 120" in line, line
    for call in (classify, classify.image_processor):
        with pytest.raises(ValueError, match=message) as raised:
            call({"onset": onset, "apex": apex})
        assert "apex" in str(raised.value) and "\n" not in str(raised.value)

    frames = write_frames(tmp_path / "frames", onset, apex)
    line = run("spot", frames, "--fps", 25, error=True)
    assert re.search(message, line) and re.search(r"f12|frame 12", line), line
    clips = tmp_path / "clips"
    printed = run("prepare-clips", frames, clips, "--fps", 25, "--num-shards", 1, written=clips)
    assert "2 clips, 19 frames" in printed and "1 quarantined" in printed
    assert re.search(message, (clips / "quarantine.csv").read_text().replace("it has", "has"))


def test_pictures_of_one_pixel_have_not_moved(pair, model, run, tmp_path):
    Image.fromarray(pair[0][:1, :1]).save(tmp_path / "a.png")
    assert "Nothing moved" in run("predict", tmp_path / "a.png", tmp_path / "a.png", "--model", model)


# -------------------------------------------------------------------------------------------------------------- videos


def video(folder, pair, name="a.mp4", codec="mpeg4", count=43, **options):
    """A film at 25 frames a second in which the apex is at places 20 to 22."""
    grain = np.random.default_rng(0).normal(0, 2, (43, *pair[0].shape))  # so that no frame is next to nothing
    frames = (np.stack([pair[0]] * 20 + [pair[1]] * 3 + [pair[0]] * 20) + grain).clip(0, 255).round().astype(np.uint8)
    with av.open(str(folder / name), "w", options=options) as file:
        stream = file.add_stream(codec, rate=25)
        stream.height, stream.width = pair[0].shape[:2]
        stream.pix_fmt, stream.bit_rate = "yuv420p", 4_000_000
        for pixels in frames[:count]:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        file.mux(stream.encode(None))
    return folder / name


def content(folder, pair, name="a.mp4", share=1.0, target="b.mp4", **options):
    """The first part of such a film's bytes, under another name."""
    whole = video(folder, pair, name, **options).read_bytes()
    (folder / target).write_bytes(whole[: int(share * len(whole))])
    return folder / target


def only_sound(folder, pair):
    with av.open(str(folder / "a.mp4"), "w") as file:
        stream = file.add_stream("aac", rate=44_100)
        for _ in range(20):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate = 44_100
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return folder / "a.mp4"


def without_frames(folder, pair):
    with av.open(str(folder / "a.mp4"), "w") as file:
        stream = file.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        file.start_encoding()
    return folder / "a.mp4"


def of_two_sizes(folder, pair):
    """One stream of 20 frames of one size and 20 of another, as a broadcast or a call on the internet has it."""
    with av.open(str(folder / "a.ts"), "w") as file:
        stream = file.add_stream("libx264", rate=25)
        stream.height, stream.width = pair[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        frame = av.VideoFrame.from_ndarray(pair[0], "rgb24")
        for packet in [packet for _ in range(20) for packet in stream.encode(frame)] + stream.encode(None):
            file.mux(packet)
        small = av.CodecContext.create("libx264", "w")
        small.width, small.height, small.pix_fmt, small.time_base = 48, 60, "yuv420p", Fraction(1, 25)
        for time in [*range(20), None]:
            frame = None
            if time is not None:
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pair[0][::2, :96:2]), "rgb24")
                frame.pts = time
            for packet in small.encode(frame):
                packet.time_base = Fraction(1, 25)
                packet.pts, packet.dts, packet.stream = packet.pts + 20, packet.dts + 20, stream
                file.mux(packet)
    return folder / "a.ts"


def concatenated(folder, pair):
    """Two files one after the other, as `cat` writes them."""
    first = video(folder, pair, "first.ts", "mpeg2video").read_bytes()
    second = video(folder, tuple(frame[::2, :96:2].copy() for frame in pair), "second.ts", "mpeg2video").read_bytes()
    (folder / "a.ts").write_bytes(first + second)
    return folder / "a.ts"


def written(name, make):
    def write(folder, pair):
        (folder / name).write_bytes(make(folder, pair))
        return folder / name

    return write


def pipe(folder, pair):
    os.mkfifo(folder / "a.mp4")
    return folder / "a.mp4"


def too_large(folder, pair):
    """Its header says so: of an AVI the width and height, 4 bytes each, stand 12 bytes after `strf`."""
    with av.open(str(folder / "a.avi"), "w") as file:
        stream = file.add_stream("rawvideo", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "bgr24"
        for packet in stream.encode(av.VideoFrame(64, 64, "bgr24")) + stream.encode(None):
            file.mux(packet)
    header = bytearray((folder / "a.avi").read_bytes())
    start = header.index(b"strf") + 12
    header[start : start + 8] = struct.pack("<2i", 10_000, 10_000)
    (folder / "a.avi").write_bytes(header)
    return folder / "a.avi"


NO_VIDEO = "not a video that can be read"
# What is wrong with a video: (maker, what is said, whether what is good of it is answered for).
VIDEOS = {
    "good": (video, None, True),
    "matroska named mp4": (lambda folder, pair: content(folder, pair, "a.mkv"), None, True),
    "one frame": (lambda folder, pair: video(folder, pair, count=1), None, False),
    "zero bytes": (written("a.mp4", lambda *_: b""), r"empty \(0 bytes\)", False),
    "text": (written("a.mp4", lambda *_: b"Not found on this server.\n" * 9), NO_VIDEO, False),
    "picture": (written("a.mp4", lambda _, pair: encoded(pair[0])), NO_VIDEO, False),
    "moving gif": (
        written("a.mp4", lambda _, pair: BAD_PICTURES["moving gif"][0](pair[0])[1]),
        NO_VIDEO,
        False,
    ),
    "playlist": (written("a.mp4", lambda folder, pair: b"ffconcat version 1.0\nfile x.mp4\n"), NO_VIDEO, False),
    "pipe": (pipe, r"empty \(0 bytes\)", False),
    "only sound": (only_sound, "it has no video stream", False),
    "no frames": (without_frames, "it has no video stream", False),
    "too large": (too_large, "10000 x 10000 pixels, more than the limit", False),
    "cut, index at the end": (lambda folder, pair: content(folder, pair, share=0.7), NO_VIDEO, False),
    "cut, index in front": (
        lambda folder, pair: content(folder, pair, share=0.85, movflags="faststart"),
        r"decoding ends after 3\d frames: a packet is cut off",
        True,
    ),
    "cut matroska": (
        lambda folder, pair: content(folder, pair, "a.mkv", share=0.85, target="b.mkv"),
        "it says 1.72 seconds, the last frame is at",
        True,
    ),
    "two sizes": (of_two_sizes, "frame 20 has 48 x 60 pixels, the first one 100 x 120", False),
    "two sizes, concatenated": (concatenated, r"decoding ends after \d+ frames: a packet is cut off", True),
}


@pytest.mark.parametrize("kind", VIDEOS)
def test_videos(kind, pair, model, classify, run, tmp_path):
    make, message, is_answered = VIDEOS[kind]
    (tmp_path / "made").mkdir()
    path = make(tmp_path / "made", pair)
    for command in (("spot", path), ("predict", path, "--model", model)):
        if message is not None and not is_answered:
            assert re.search(message, run(*command, error=True))
            run(*command, "--save-figure", tmp_path / "figure.png", error=True)  # which `run` would find
            continue
        answer = json.loads(run(*command, "--format", "json"))
        no_damage = ("face", "picture", "nothing could be compared")
        damage = [note for note in answer["notes"] if not any(words in note for words in no_damage)]
        assert bool(damage) == bool(message) and re.search(message or "", "".join(damage)), damage
        assert [item["apex"]["frame"] in range(20, 23) for item in answer["expressions"]] == [True] * is_answered

    if message is not None and not is_answered:
        with pytest.raises(ValueError, match=message):
            classify(path)
    else:
        assert len(classify(path)) == is_answered

    if kind == "pipe":
        return  # as a file of a tree of clips it is tested elsewhere
    (tmp_path / "lab").mkdir()
    shutil.copy(path, tmp_path / "lab" / path.name)
    clips = tmp_path / "clips"
    command = ("prepare-clips", tmp_path / "lab", clips, "--num-shards", 1)
    if is_answered:
        run(*command, written=clips)
    elif kind == "two sizes":
        assert "1 clips, 20 frames" in run(*command, written=clips)
    else:
        assert "gave no clip" in run(*command, error=True, written=clips)
    reasons = {"one frame": "no neighbour", "two sizes": "48 x 60 pixels, .* 100 x 120"}
    said = (clips / "quarantine.csv").read_text()
    assert re.search(reasons.get(kind, message or "^path,reason\n$"), said), said


# -------------------------------------------------------------------------------------------------- folders, not files


def test_folders_where_files_belong_and_the_other_way_round(pair, model, classify, run, tmp_path):
    picture, folder, absent = tmp_path / "a.png", tmp_path / "b.png", tmp_path / "absent"
    Image.fromarray(pair[0]).save(picture)
    folder.mkdir()
    (tmp_path / "c.mp4").mkdir()
    for arguments, message in (
        (("predict", picture, folder, "--model", model), "there is no file"),
        (("predict", picture, absent, "--model", model), "there is no file"),
        (("predict", picture, "--model", model), "is no video by its name"),
        (("predict", picture, picture, "--model", picture), "no folder .*a.png, and it is no USER/NAME"),
        (("predict", picture, picture, "--model", folder), "b.png is no model folder: it has no config.json"),
        (("predict", picture, picture, "--model", absent), "no folder .*absent, and it is no USER/NAME"),
        (("predict", picture, picture, "--model", "absent"), "no folder absent, and it is no USER/NAME"),
        (("predict", picture, picture, "--model", "./absent"), "no folder ./absent, and it is no USER/NAME"),
        (("demo", "--model", absent), "no folder .*absent, and it is no USER/NAME"),
        (("predict", tmp_path / "c.mp4", "--model", model), "give `fps`"),
        (("spot", picture), "is no video by its name"),
        (("spot", folder, "--fps", 25), "no frame can be read"),
        (("spot", folder, "--fps", "inf"), "`fps` must be above 0 and finite"),
        (("spot", absent), "there is no file or folder"),
        (("prepare-clips", picture, tmp_path / "clips"), "is no folder"),
        (("prepare-clips", folder, tmp_path / "clips"), "holds no images and no videos"),
        (("prepare-clips", absent, tmp_path / "clips"), "is no folder"),
        (("export", picture, tmp_path / "onnx", "--onnx"), "there is no folder"),
        (("export", absent, tmp_path / "onnx", "--onnx"), "there is no folder"),
        (("export", model, picture, "--onnx"), "holds something else"),
        (("publish", picture, "user/name"), "is no folder"),
        (("publish", absent, "user/name"), "is no folder"),
        (("publish", model, "user/name", "--results", picture), "is no JSON|cannot be read|utf-8"),
    ):
        assert re.search(message, run(*arguments, error=True)), arguments
    os.mkfifo(tmp_path / "pipe.png")
    refused = "not a regular file"
    for path, message in ((folder, refused), (absent, "No such file"), (tmp_path / "pipe.png", refused)):
        for call in (classify, classify.image_processor):
            with pytest.raises(ValueError, match=message):
                call((picture, path))


# ------------------------------------------------------------------------------------------------------- model folders


class Evil:
    """A pickle of it makes a folder, wherever it is loaded."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def no_weights(folder, mark):
    (folder / "model.safetensors").unlink()


def weights_of(change):
    def write(folder, mark):
        path = folder / "model.safetensors"
        path.write_bytes(change(path.read_bytes(), mark))

    return write


def tensors_of(change):
    def write(folder, mark):
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    return write


def config_of(name="config.json", **fields):
    def write(folder, mark):
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))

    return write


def text_of(name, text):
    return lambda folder, mark: (folder / name).write_text(text)


def without(name):
    return lambda folder, mark: (folder / name).unlink()


def pickle_instead(folder, mark):
    no_weights(folder, mark)
    torch.save({"classifier.weight": Evil(mark)}, folder / "pytorch_model.bin")


def in_parts(*names, text=None):
    """Weights in files that an index names; of other names than transformers would give them, some of them."""

    def write(folder, mark):
        tensors = load_file(folder / "model.safetensors")
        no_weights(folder, mark)
        for number, name in enumerate(names):
            part = {key: tensor for place, (key, tensor) in enumerate(tensors.items()) if place % len(names) == number}
            save_file(part, folder / name, metadata={"format": "pt"})
        weight_map = {key: names[place % len(names)] for place, key in enumerate(tensors)}
        index = json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map})
        (folder / "model.safetensors.index.json").write_text(text or index)

    return write


GOOD_PARTS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


NO_FILE = "model.safetensors is missing|no file named model.safetensors"
# What is wrong with a model's folder, and what `predict`, `export` and `publish` say.
MODELS = {
    "weights missing": (no_weights, NO_FILE),
    "weights empty": (weights_of(lambda content, mark: b""), "header too small"),
    "weights cut": (weights_of(lambda content, mark: content[: len(content) // 2]), "incomplete metadata"),
    "weights cut in their header": (weights_of(lambda content, mark: content[:20]), "invalid header length"),
    "pickle in place of safetensors": (weights_of(lambda content, mark: pickle.dumps(Evil(mark))), "header too large"),
    "pickle instead": (pickle_instead, f"{NO_FILE}|only safetensors are published"),
    "a tensor missing": (tensors_of(lambda tensors: tensors.pop("classifier.bias")), r"missing \['classifier.bias'\]"),
    "a tensor over": (
        tensors_of(lambda tensors: tensors.update(more=torch.zeros(1))),
        r"without a place \['more'\]",
    ),
    "a part outside": (
        in_parts(GOOD_PARTS[0], "../model-00002-of-00002.safetensors"),
        r"index.json names ../model-00002-of-00002.safetensors \(1\)",
    ),
    "a part that is no safetensors": (
        in_parts(GOOD_PARTS[0], "model.bin"),
        r"index.json names model.bin \(1\)|holds model.bin: a pickle",
    ),
    "a part missing": (
        lambda folder, mark: (in_parts(*GOOD_PARTS)(folder, mark), (folder / GOOD_PARTS[1]).unlink()),
        GOOD_PARTS[1],
    ),
    "an index that is none": (in_parts(GOOD_PARTS[0], text="[]"), "index.json must hold an object, got a list"),
    "an index without files": (in_parts(GOOD_PARTS[0], text="{}"), "index.json must hold `metadata` and `weight_map`"),
    "weights by another name": (
        config_of(transformers_weights="other.safetensors.index.json"),
        "config.json names a file of weights of its own",
    ),
    "a number that is none": (
        tensors_of(lambda tensors: tensors["classifier.bias"].fill_(float("nan"))),
        r"NaN or infinity: classifier.bias \(1\)",
    ),
    "an infinite number": (
        tensors_of(lambda tensors: tensors["micron_bert.norm.weight"][3:4].fill_(float("inf"))),
        r"NaN or infinity: micron_bert.norm.weight \(1\)",
    ),
    "another width": (
        config_of(hidden_size=64),
        r"of a shape that does not fit \['change_norm.bias \(32,\) instead of \(64,\)', .*\(31\)",
    ),
    "another depth": (config_of(num_hidden_layers=3), r"missing \['micron_bert.layers.1.*\] \(32\)"),
    "another number of classes": (
        config_of(id2label={0: "a", 1: "b", 2: "c"}, label2id={}),
        r"\['classifier.bias \(2,\) instead of \(3,\)', 'classifier.weight \(2, 32\) instead of \(3, 32\)'\] \(2\)",
    ),
    "another head": (config_of(architectures=["MicronBertModel"]), "MicronBertModel|without a place .*classifier"),
    "another architecture": (
        text_of("config.json", '{"model_type": "vit", "architectures": ["ViTForImageClassification"]}'),
        "ViTForImageClassification",
    ),
    "config missing": (without("config.json"), "has no config.json|config.json is missing"),
    "a list as config": (text_of("config.json", "[1]"), "config.json must hold an object, got a list"),
    "config damaged": (text_of("config.json", "{ no json"), "config.json.* is (not a valid JSON file|damaged)"),
    "config of wrong types": (config_of(hidden_size="big"), "'hidden_size' expected int, got str"),
    "config that cannot be": (
        config_of(patch_size=0),
        "`image_size` 32 must be a positive multiple of `patch_size` 0",
    ),
    "preprocessor_config missing": (without("preprocessor_config.json"), "preprocessor_config.json"),
    "preprocessor_config damaged": (
        text_of("preprocessor_config.json", "{ no json"),
        "preprocessor_config.json is damaged",
    ),
    "a list as preprocessor_config": (
        text_of("preprocessor_config.json", "[1]"),
        "preprocessor_config.json must hold an object, got a list",
    ),
    "another preprocessor": (
        config_of("preprocessor_config.json", image_processor_type="ViTImageProcessor"),
        "preprocessor_config.json must be of a MicronBertImageProcessor; .* 'ViTImageProcessor'",
    ),
    "preprocessor of another size": (
        config_of("preprocessor_config.json", size={"height": 30, "width": 30}),
        r"\(30, 30\) is not divisible by the patch size|makes pairs of \(2, 3, 30, 30\)",
    ),
}


@pytest.mark.parametrize("kind", MODELS)
def test_bad_model_folders_are_one_line(kind, pair, model, run, tmp_path):
    change, message = MODELS[kind]
    onset, apex = write_pair(tmp_path, pair, GOOD_PICTURES["alpha"])
    folder, mark = tmp_path / "model", tmp_path / "a pickle was loaded"
    shutil.copytree(model, folder)
    change(folder, mark)
    for command in (
        ("predict", onset, apex, "--model", folder),
        ("export", folder, tmp_path / "onnx", "--onnx"),
        ("publish", folder, "user/name"),
    ):
        line = run(*command, error=True)
        assert re.search(message, line), line
    assert not mark.exists()


# Of these the pipeline cannot be made: transformers loads the model, and its words are its own.
@pytest.mark.parametrize("kind", [kind for kind in MODELS if re.match("weights|pickle|config|preprocessor_", kind)])
def test_the_pipeline_of_a_bad_folder_is_not_made(kind, model, tmp_path):
    change, _ = MODELS[kind]
    folder, mark = tmp_path / "model", tmp_path / "a pickle was loaded"
    shutil.copytree(model, folder)
    change(folder, mark)
    with pytest.raises((ValueError, OSError, SafetensorError, StrictDataclassError, pickle.UnpicklingError)):
        pipeline(TASK, model=str(folder), trust_remote_code=True, device="cpu")
    assert not mark.exists()


def test_code_beside_the_weights_is_not_run_without_consent(pair, model, run, tmp_path):
    """By `predict` never: this package has the code. By the pipeline not unless it was said that it may."""
    onset, apex = write_pair(tmp_path, pair, GOOD_PICTURES["alpha"])
    folder, mark = tmp_path / "model", tmp_path / "the code was run"
    shutil.copytree(model, folder)
    for file in folder.glob("*.py"):
        file.write_text(f"import os\nos.mkdir({str(mark)!r})\n")
    assert "moved" in run("predict", onset, apex, "--model", folder)
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        pipeline(TASK, model=str(folder), device="cpu")
    assert not mark.exists()
    with pytest.raises(Exception):  # noqa: B017 - a negative control: that code is none
        pipeline(TASK, model=str(folder), device="cpu", trust_remote_code=True)
    assert mark.exists()


def test_a_model_on_the_hub_that_cannot_be_reached(pair, run, tmp_path):
    onset, apex = write_pair(tmp_path, pair, GOOD_PICTURES["alpha"])
    assert "internet connection" in run("predict", onset, apex, "--model", "user/name", error=True)


# ------------------------------------------------------------------------------------------------------------- recipes

# What is wrong with a recipe of `evaluate`: its bytes, `None` for no file, and what is said of it.
RECIPES = {
    "absent": (None, "File does not exist"),
    "a list": (b"- 1\n", "Unexpected config: - 1"),
    "no yaml": (b"epochs: [1\n", "while parsing a flow sequence"),
    "no text": (b"\x89PNG\r\n\x1a\n", "can't decode byte 0x89"),
    "a key that does not exist": (b"learning_rat: 3\n", "Option 'learning_rat' is not accepted"),
    "a word for a number": (b"epochs: many\n", "Expected a <class 'int'>. Got value: many"),
}


@pytest.mark.parametrize("kind", RECIPES)
def test_bad_recipes_are_one_line(kind, run, tmp_path):
    content, message = RECIPES[kind]
    recipe = tmp_path / "recipe.yaml"
    if content is not None:
        recipe.write_bytes(content)
    for words in ((recipe,), ("user/name", "--recipe", recipe)):
        line = run("evaluate", words[0], tmp_path, *words[1:], error=True)
        assert line.startswith(f"micron-bert: {recipe} is no recipe: ") and message in line, line


# ------------------------------------------------------------------------------------------------ in its own process


def test_nothing_but_the_line_is_printed_by_anybody(pair, model, tmp_path):
    """
    What libraries say by themselves, and only once, or where their settings were read at import; onnxruntime says it
    to its maker, and leaves a number of the machine among the temporary files.
    """
    onset, apex = write_pair(tmp_path, pair, BAD_PICTURES["100 megapixels"][0])
    Image.fromarray(pair[1]).save(tmp_path / "apex.png")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    commands = [["predict", onset, apex, "--model", model], ["spot", tmp_path / "cut.mp4"]]
    content(tmp_path, pair, share=0.7, target="cut.mp4")
    for kind in ("another width", "a tensor missing", "a tensor over"):
        folder = tmp_path / kind.replace(" ", "_")
        shutil.copytree(model, folder)
        MODELS[kind][0](folder, None)
        commands.append(["predict", onset, tmp_path / "apex.png", "--model", folder])
        commands.append(["publish", folder, "user/name"])
    commands.append(["export", folder, tmp_path / "onnx", "--onnx"])
    commands = [[str(word) for word in command] for command in commands]
    program = """
import json, sys
from micron_bert_hf.cli import main
for command in json.loads(sys.argv[1]):
    sys.argv = ["micron-bert", *command]
    try:
        main()
    except SystemExit as end:
        print(end.code)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(commands)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
        env={name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
        | {"TMPDIR": str(temporary)},
        timeout=120,
    )
    assert done.stdout.split() == ["1"] * len(commands), done.stderr
    assert list(temporary.iterdir()) == []
    lines = done.stderr.splitlines()
    assert len(lines) == len(commands) and all(line.startswith("micron-bert: ") for line in lines), done.stderr


SLOW_TO_IMPORT = """
import sys, time

import worker_processes  # the module alone, without the seconds that torch takes

if __name__ == "__mp_main__":
    sys.stdout.write("importing\\n")
    sys.stdout.flush()
    time.sleep(0.5)

def work(job, count):
    print("worked", flush=True)

if __name__ == "__main__":
    try:
        worker_processes.run_jobs(work, [1, 2], 2, lambda units: None)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


def test_ctrl_c_while_workers_start_is_for_their_parent_alone(tmp_path):
    """A terminal sends it to all of them, as is done here once both workers import what they need."""
    (tmp_path / "script.py").write_text(SLOW_TO_IMPORT)
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(worker_processes.__file__).parent)},
        start_new_session=True,
    )
    with process:
        try:
            assert [process.stdout.readline() for _ in range(2)] == ["importing\n"] * 2
            workers = psutil.Process(process.pid).children(recursive=True)
            os.killpg(process.pid, signal.SIGINT)
            said = process.communicate(timeout=30)
        finally:
            process.kill()
    assert said == ("interrupted\n", "") and process.returncode == 0
    assert psutil.wait_procs(workers, timeout=10)[1] == []
