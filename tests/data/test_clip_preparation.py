"""Folders of frames and videos to clips: nothing good is lost, nothing bad is kept, and no byte shows how a run went.

Files, videos and processes are real. Pixels are compared with what was written, not with what the code itself read.
"""

import csv
import errno
import io
import json
import multiprocessing
import os
import random
import re
import resource
import signal
import struct
import sys
import tempfile
import time
import warnings
import zlib
from pathlib import Path

import av
import cv2
import numpy as np
import PIL
import psutil
import pyarrow
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset
from PIL import Image

from micron_bert_hf import cli, locks
from micron_bert_hf.data import clip_preparation, clip_shards, video_frames
from micron_bert_hf.data.clip_frames import PreparationOptions, read_image
from micron_bert_hf.data.clip_preparation import prepare_clips
from micron_bert_hf.data.clip_set import ClipIndex
from micron_bert_hf.data.clip_sources import Source, cut_runs, list_sources, order_frames
from micron_bert_hf.locks import file_lock


HEIGHT, WIDTH = 24, 32


def picture(seed, height=HEIGHT, width=WIDTH):
    """A coarse random pattern `(height, width, 3)` uint8, another for each seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def encoded(pixels, form="PNG", **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()


def write_frames(folder, numbers, seed=0, name="img{}.png", height=HEIGHT, width=WIDTH):
    """Frames as PNG; returns their pixels by number."""
    folder.mkdir(parents=True, exist_ok=True)
    frames = {number: picture(1000 * seed + number, height, width) for number in numbers}
    for number, pixels in frames.items():
        (folder / name.format(number)).write_bytes(encoded(pixels))
    return frames


def write_video(path, num_frames, seed=0, codec="libx264", rate=25, height=64, width=96, container=None):
    """A video; its pixels are those of a second, independent reading with [`video_pixels`]."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=container or {}) as file:
        stream = file.add_stream(codec, rate=rate)
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(picture(1000 * seed + number, height, width), "rgb24")
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


def video_pixels(path):
    with av.open(str(path)) as file:
        return [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]


def pixels_of(content):
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def read_rows(folder):
    """Rows of all shards in their order, by `sample_id`, the frames as bytes."""
    rows = {}
    for path in sorted((folder / "data").iterdir()):
        for row in pq.read_table(path).to_pylist():
            assert row["sample_id"] not in rows
            rows[row["sample_id"]] = {**row, "frames": [frame["bytes"] for frame in row["frames"]]}
    return rows


def set_bytes(folder):
    """All of a finished set that must not depend on how it was made."""
    paths = [folder / name for name in ("clips.json", "README.md", "quarantine.csv", "prepared/preparation.json")]
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in [*paths, *sorted((folder / "data").iterdir())]
    }


def prepare(source, output, num_shards=3, **options):
    run = {name: options.pop(name) for name in ("shard_index", "num_processes") if name in options}
    options = PreparationOptions(**{"fps": 100, **options})
    return prepare_clips(source, output, options=options, num_shards=num_shards, progress=False, **run)


def reasons(report):
    return {item.path: item.reason for item in report.quarantined}


def in_process(function, *arguments, **keywords):
    """Start a process that has all modules loaded; importing them takes most of a test's time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of forking with threads, which only wait here
        process = multiprocessing.get_context("fork").Process(target=function, args=arguments, kwargs=keywords)
        process.start()
    return process


def finish(process, seconds=120):
    """Wait for a process; returns its exit code."""
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        pytest.fail(f"a process has not ended after {seconds} seconds")
    return process.exitcode


def run_cli(monkeypatch, *arguments):
    """The command line in this process; returns the exit status."""
    monkeypatch.setattr(sys, "argv", ["micron-bert", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code or 0


# ------------------------------------------------------------------------------------------------ what becomes a clip


def test_a_tree_of_folders_and_videos(tmp_path):
    root = tmp_path / "lab"
    numbers = range(1, 13)  # not padded: 10 comes after 9
    first = write_frames(root / "s01" / "a", numbers, seed=1, name="reg_03_img{}.png")
    second = write_frames(root / "s02" / "deep" / "b", numbers, seed=2, name="{:04d}.PNG")
    top = write_frames(root, range(3), seed=3)
    write_video(root / "s01" / "c.mp4", 10, seed=4, rate=50)
    write_video(root / "s03.MKV", 10, seed=5)
    (root / "s01" / "labels.xlsx").write_bytes(b"x")
    (root / "s04" / "x.jpg").mkdir(parents=True)  # a folder like any other
    (root / "s04" / "x.jpg" / "readme").write_bytes(b"x")

    report = prepare(root, tmp_path / "out", encoding="png")
    rows = read_rows(tmp_path / "out")
    assert {name: (row["subject_id"], row["dataset"], row["fps"]) for name, row in rows.items()} == {
        ".": ("lab", "lab", 100.0),
        "s01/a": ("s01", "lab", 100.0),
        "s01/c.mp4": ("s01", "lab", 50.0),
        "s02/deep/b": ("s02", "lab", 100.0),
        "s03.MKV": ("s03", "lab", 25.0),
    }
    for name, frames in ((".", top), ("s01/a", first), ("s02/deep/b", second)):
        np.testing.assert_array_equal(
            [pixels_of(frame) for frame in rows[name]["frames"]], [frames[number] for number in sorted(frames)]
        )
    for name in ("s01/c.mp4", "s03.MKV"):
        np.testing.assert_array_equal([pixels_of(frame) for frame in rows[name]["frames"]], video_pixels(root / name))
    assert (report.num_clips, report.num_frames, report.num_ignored) == (5, 47, 2)
    assert report.quarantined == () and report.missing_shards == ()
    assert "5 clips, 47 frames" in str(report) and "2 files ignored: not an image or video by its name" in str(report)

    index = ClipIndex.load(tmp_path / "out")
    assert (index.total_clips, index.num_frames) == (5, 47)
    assert index.subjects == {"lab": ["lab", "s01", "s02", "s03"]}
    card = (tmp_path / "out" / "README.md").read_text()
    assert "5 clips, 47 frames, 4 subjects" in card and "The licence is that of the source." in card
    assert "keep their bytes, EXIF (the place, the camera) and comments included" in card
    assert "license:" not in card


def test_load_dataset_reads_and_streams_the_set_with_its_empty_shards(tmp_path):
    frames = write_frames(tmp_path / "lab" / "s01" / "a", range(5))
    prepare(tmp_path / "lab", tmp_path / "out", num_shards=4)
    whole = load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    streamed = list(load_dataset(str(tmp_path / "out"), split="train", streaming=True))
    assert len(whole) == len(streamed) == 1
    for row in (whole[0], streamed[0]):
        assert row["sample_id"] == "s01/a"
        np.testing.assert_array_equal(np.stack([np.asarray(frame) for frame in row["frames"]]), list(frames.values()))


@pytest.mark.parametrize(
    ("path", "is_video", "level", "subject"),
    [
        ("s01/a/b", False, 1, "s01"),
        ("s01/a/b", False, 2, "a"),
        ("s01/a/b", False, 3, "b"),
        ("s01/a/b", False, 4, "b"),
        ("s01", False, 1, "s01"),
        ("s01.x.mp4", True, 1, "s01.x"),
        ("s01/v.mp4", True, 1, "s01"),
        ("s01/v.mp4", True, 2, "v"),
        (".", False, 1, "root"),
    ],
)
def test_the_subject_is_a_component_of_the_path(path, is_video, level, subject):
    assert Source(path, is_video).subject_id(level, "root") == subject


def test_frames_are_ordered_by_the_last_integer_and_the_step_is_the_commonest():
    names = ["006_1_10.jpg", "006_1_8.jpg", "006_1_6.jpg", "006_1_5.jpg", "x.jpg", "2.5.1.jpg"]
    numbered, unnumbered, step = order_frames(names)
    assert [number for number, _ in numbered] == [1, 5, 6, 8, 10]
    assert (unnumbered, step) == (["x.jpg"], 2)
    assert order_frames(["0.png", "1.png", "3.png"])[2] == 1  # one of each: the smaller
    stamps = [f"{number}.png" for number in (0, 7, 5000, 10_007, 15_013)]
    assert order_frames(stamps)[2] == 4993  # one of each: the lower one in the middle
    assert order_frames(["7.png"])[2] == 1 and order_frames([])[0] == []


def test_runs_are_cut_at_gaps_and_into_nearly_equal_pieces():
    """Against the definition, over all lengths and limits, for one run and for two with a gap between."""
    for longest in (3, 4, 5, 7, 64):
        for length in range(200):
            pieces = cut_runs(range(length), 1, longest)
            assert [i for piece in pieces for i in piece] == list(range(length))
            sizes = {len(piece) for piece in pieces}
            if length > 1:
                assert min(sizes) >= 2 and max(sizes) <= longest and max(sizes) - min(sizes) <= 1
                assert len(pieces) == (length + longest - 1) // longest  # no more cuts than needed
            both = cut_runs([*range(length), *range(1000, 1010)], 1, longest)
            assert both == pieces + [range(p.start + length, p.stop + length) for p in cut_runs(range(10), 1, longest)]
    assert cut_runs([0, 2, 4, 7, 9, 13, 15], 2, 64) == [range(0, 5), range(5, 7)]  # a gap is more than 3


def test_time_stamps_in_names_are_not_evenly_spaced(tmp_path):
    """60 frames a second in microseconds, and a camera that wavers."""
    draw = random.Random(0)
    write_frames(tmp_path / "lab" / "even", [round(number * 1e6 / 60) for number in range(12)])
    stamps = [20_000 * number + draw.randrange(4000) for number in range(13)]
    write_frames(tmp_path / "lab" / "wavering", [*stamps[:6], *stamps[7:]], seed=1)
    report = prepare(tmp_path / "lab", tmp_path / "out")
    lengths = {name: len(row["frames"]) for name, row in read_rows(tmp_path / "out").items()}
    assert lengths == {"even": 12, "wavering#0": 6, "wavering#1": 6}
    assert report.quarantined == ()


def test_a_gap_in_the_numbering_and_a_bad_frame_cut_a_sequence(tmp_path):
    folder = tmp_path / "lab" / "s01"
    frames = write_frames(folder, [*range(0, 20, 2), *range(30, 50, 2), 60])
    (folder / "img8.png").write_bytes(b"")
    report = prepare(tmp_path / "lab", tmp_path / "out", clip_frames=4)
    expected = [[0, 2, 4, 6], [10, 12], [14, 16, 18], [30, 32, 34], [36, 38, 40], [42, 44, 46, 48]]
    rows = read_rows(tmp_path / "out")
    assert list(rows) == [f"s01#{k}" for k in range(6)]
    for k, numbers in enumerate(expected):
        got = [pixels_of(frame) for frame in rows[f"s01#{k}"]["frames"]]
        np.testing.assert_array_equal(got, [frames[number] for number in numbers])
    assert reasons(report) == {
        "s01/img8.png": "empty (0 bytes)",
        "s01/img60.png": "no neighbour to make a pair with",
    }


def test_names_of_pieces_are_unique_whatever_folders_are_called(tmp_path):
    for name in ("a", "a#0", "a#1", "a#1#0", "a#x"):
        write_frames(tmp_path / "lab" / name, [1, 2, 3, 7, 8, 9])
    write_frames(tmp_path / "lab" / "b#7", [1, 2, 3])
    assert prepare(tmp_path / "lab", tmp_path / "out").num_clips == len(read_rows(tmp_path / "out")) == 11
    assert "b#7#0" in read_rows(tmp_path / "out")


def test_names_that_are_not_utf8(tmp_path):
    folder = os.fsencode(tmp_path / "lab") + b"/s\xff"
    os.makedirs(folder)
    for number in range(3):
        Path(os.fsdecode(folder), f"{number}.png").write_bytes(encoded(picture(number)))
    write_video(tmp_path / "v.mp4", 4)
    os.rename(os.fsencode(tmp_path / "v.mp4"), folder + b"/v\xfe.mp4")
    report = prepare(tmp_path / "lab", tmp_path / "out")
    assert report.quarantined == ()
    assert set(read_rows(tmp_path / "out")) == {r"s\xff", r"s\xff/v\xfe.mp4"}
    prepare(os.fsdecode(folder), tmp_path / "inner")
    assert {row["dataset"] for row in read_rows(tmp_path / "inner").values()} == {r"s\xff"}


# -------------------------------------------------------------------------------------------------------------- bytes


def png_with_16_bits_of_colour():
    return cv2.imencode(".png", picture(0).astype(np.uint16) * 257)[1].tobytes()


def jpeg_on_its_side():
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(picture(0), "JPEG", exif=exif)


@pytest.mark.parametrize(
    ("content", "is_kept"),
    [
        (encoded(picture(0), "JPEG", quality=60), True),
        (encoded(picture(0), "JPEG", progressive=True), True),
        (encoded(picture(0), "JPEG") + b"\xff\xda trailing bytes of a camera", True),
        (encoded(picture(0)[..., 0], "JPEG"), True),
        (encoded(picture(0), "PNG"), True),
        (encoded(picture(0)[..., 1], "PNG"), True),
        (encoded(picture(0), "BMP"), False),
        (encoded(picture(0), "WEBP", lossless=True), False),
        (encoded(picture(0), "TIFF"), False),
        (encoded(picture(0), "PNG", pnginfo=None, transparency=(1, 2, 3)), False),
        (encoded(np.dstack([picture(0), picture(1)[..., 0]]), "PNG"), False),
        (encoded(picture(0)[..., 0].astype(np.uint16) * 257, "PNG"), False),
        (png_with_16_bits_of_colour(), False),
        (jpeg_on_its_side(), False),
    ],
)
def test_bytes_are_kept_where_the_file_is_what_the_set_would_hold(tmp_path, content, is_kept):
    (tmp_path / "lab").mkdir()
    for number in range(2):
        (tmp_path / "lab" / f"{number}.jpg").write_bytes(content)  # whatever it is: decoded by its content
    prepare(tmp_path / "lab", tmp_path / "out", encoding="png")
    for frame in read_rows(tmp_path / "out")["."]["frames"]:
        assert (frame == content) == is_kept
        assert is_kept or frame.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (encoded(picture(0)[..., 0].astype(np.uint16) * 257, "PNG"), picture(0)[..., :1].repeat(3, 2)),
        (png_with_16_bits_of_colour(), picture(0)[..., ::-1]),
        (
            encoded(np.dstack([picture(0), np.full((HEIGHT, WIDTH), 128, np.uint8)])),
            np.rint(picture(0) * (128 / 255)).astype(np.uint8),  # over black
        ),
        (jpeg_on_its_side(), np.rot90(pixels_of(encoded(picture(0), "JPEG")), -1)),
        (encoded(picture(0)[..., 0] > 127, "PNG"), np.where(picture(0)[..., :1] > 127, 255, 0).repeat(3, 2)),
        (encoded(picture(0), "TIFF"), picture(0)),
    ],
)
def test_what_is_encoded_anew_shows_the_same(tmp_path, content, expected):
    path = tmp_path / "1.png"
    path.write_bytes(content)
    frame, size = read_image(path, PreparationOptions(encoding="png"))
    assert size == expected.shape[1::-1]
    np.testing.assert_allclose(pixels_of(frame).astype(int), expected, atol=1)


@pytest.mark.parametrize(
    ("height", "width", "image_size", "expected"),
    [(60, 90, 30, (30, 45)), (91, 60, 30, (45, 30)), (30, 200, 30, (30, 200)), (20, 90, 30, (20, 90))],
)
def test_larger_frames_are_reduced_and_none_is_enlarged(tmp_path, height, width, image_size, expected):
    frames = write_frames(tmp_path / "lab", range(2), height=height, width=width)
    prepare(tmp_path / "lab", tmp_path / "out", image_size=image_size, encoding="png")
    for pixels, frame in zip(frames.values(), read_rows(tmp_path / "out")["."]["frames"]):
        resized = Image.fromarray(pixels).resize(expected[::-1], Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(pixels_of(frame), np.asarray(resized))


def test_jpeg_of_the_set_is_fine_with_full_chroma_and_without_foreign_metadata(tmp_path):
    pixels = picture(0, 300, 400)
    (tmp_path / "1.bmp").write_bytes(encoded(pixels, "BMP"))
    frame, _ = read_image(tmp_path / "1.bmp", PreparationOptions(image_size=300))
    image = Image.open(io.BytesIO(frame))
    assert image.format == "JPEG" and all(layer[1:3] == (1, 1) for layer in image.layer)
    np.testing.assert_allclose(np.asarray(image).astype(int), pixels, atol=6)
    exif = Image.Exif()
    exif[0x010E] = "name of a patient"
    (tmp_path / "2.jpg").write_bytes(encoded(pixels, "JPEG", exif=exif, comment=b"name of a patient"))
    frame, _ = read_image(tmp_path / "2.jpg", PreparationOptions(image_size=64))
    assert b"patient" not in frame


def test_a_small_picture_with_a_large_attachment_is_encoded_anew(tmp_path):
    (tmp_path / "1.jpg").write_bytes(encoded(picture(0), "JPEG") + bytes(2**20))
    assert len(read_image(tmp_path / "1.jpg", PreparationOptions())[0]) < 2**14


# ------------------------------------------------------------------------------------------------------------- damage


def png_that_says(width, height):
    """A small file that would decode to a large picture."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = zlib.compress(bytes(2**16))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def moving(form):
    frames = [Image.fromarray(picture(seed)) for seed in range(3)]
    file = io.BytesIO()
    frames[0].save(file, form, save_all=True, append_images=frames[1:])
    return file.getvalue()


def cut(form, **options):
    return lambda pixels, draw: (content := encoded(pixels, form, **options))[: draw.randrange(1, len(content) - 8)]


def scrambled_png(pixels, draw):
    content = bytearray(encoded(pixels))
    start = content.index(b"IDAT") + 8
    content[start : start + 40] = draw.randbytes(40)
    return bytes(content)


def zero_filled(pixels, draw):
    content = encoded(pixels, "JPEG")
    start = draw.randrange(content.rindex(b"\xff\xda") + 14, len(content) - 1)  # within the pixels
    return content[:start] + bytes(len(content) - start)


NOT_AN_IMAGE = "not an image of a known format"
# kind: (bytes for a picture and a draw, pattern of the reason)
DAMAGES = {
    "empty": (lambda pixels, draw: b"", r"^empty \(0 bytes\)$"),
    "cut jpeg": (cut("JPEG", quality=90), "truncated|cannot decode|" + NOT_AN_IMAGE),
    "cut progressive jpeg": (cut("JPEG", progressive=True), "truncated|cannot decode|" + NOT_AN_IMAGE),
    "cut png": (cut("PNG"), "truncated|cannot decode|" + NOT_AN_IMAGE),
    "cut bmp": (cut("BMP"), "cannot decode|" + NOT_AN_IMAGE),
    "cut tiff": (cut("TIFF"), "cannot decode|" + NOT_AN_IMAGE),
    "cut webp": (lambda pixels, draw: encoded(pixels, "WEBP")[:-20], "cannot decode|" + NOT_AN_IMAGE),
    "scrambled png": (scrambled_png, "cannot decode"),
    "zero-filled jpeg": (zero_filled, "truncated"),
    "zeros": (lambda pixels, draw: bytes(5000), NOT_AN_IMAGE),
    "noise": (lambda pixels, draw: draw.randbytes(5000), NOT_AN_IMAGE),
    "text": (lambda pixels, draw: b"File not found on this server.\n" * 9, NOT_AN_IMAGE),
    "pdf": (lambda pixels, draw: b"%PDF-1.4\n" * 99, NOT_AN_IMAGE),
    "postscript": (lambda pixels, draw: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", NOT_AN_IMAGE),
    "bomb": (lambda pixels, draw: png_that_says(8001, 8000), r"8001 x 8000 pixels, more than the limit of 64000000"),
    "large bomb": (lambda pixels, draw: png_that_says(60_000, 60_000), "it is too large: .*3600000000 pixels"),
    "moving gif": (lambda pixels, draw: moving("GIF"), "3 frames, expected a still image"),
    "moving png": (lambda pixels, draw: moving("PNG"), "3 frames, expected a still image"),
    "moving webp": (lambda pixels, draw: moving("WEBP"), "3 frames, expected a still image"),
    "pages": (lambda pixels, draw: moving("TIFF"), "3 frames, expected a still image"),
    "other size": (lambda pixels, draw: encoded(picture(1, HEIGHT, WIDTH + 1)), "33 x 24 pixels.*has 32 x 24"),
    "turned": (lambda pixels, draw: jpeg_on_its_side(), "24 x 32 pixels.*has 32 x 24"),
    "no floats": (
        lambda pixels, draw: encoded(np.full((HEIGHT, WIDTH), 300.0, np.float32), "TIFF"),
        r"it has pixels from 300.0 to 300.0, expected \[0, 1\]",
    ),
}


def link_to_nothing(path):
    path.symlink_to(path.with_name("absent"))


def link_to_itself(path):
    path.symlink_to(path.name)


def huge(path):
    with path.open("wb") as file:
        file.truncate(300 * 2**20)  # takes no room


# Those that are no content, but a thing of the file system. Root reads what it may not, hence no chmod.
OTHER_DAMAGES = {
    "link to nothing": (link_to_nothing, "it cannot be read: No such file"),
    "link to itself": (link_to_itself, "it cannot be read: Too many levels"),
    "pipe": (os.mkfifo, "not a regular file"),
    "huge": (huge, "314572800 bytes, more than the limit of 268435456"),
}


def test_what_is_bad_is_named_and_nothing_good_is_lost(tmp_path):
    draw = random.Random(0)
    kinds = [*DAMAGES, *OTHER_DAMAGES] * 12
    draw.shuffle(kinds)
    expected_reasons, expected_frames = {}, {}
    for sequence in range(len(kinds) // 12):
        folder = tmp_path / "lab" / f"s{sequence:02d}" / "v"
        numbers = list(range(1, 37))
        damaged = {number: kinds.pop() for number in sorted(draw.sample(numbers, 12))}
        frames = write_frames(folder, numbers, seed=sequence + 1)
        for number, kind in damaged.items():
            path = folder / f"img{number}.png"
            path.unlink()
            if kind in DAMAGES:
                make, reason = DAMAGES[kind]
                path.write_bytes(make(frames[number], draw))
            else:
                make, reason = OTHER_DAMAGES[kind]
                make(path)
            expected_reasons[f"s{sequence:02d}/v/{path.name}"] = reason
        (folder / "first frame.jpg").write_bytes(encoded(frames[1], "JPEG"))
        expected_reasons[f"s{sequence:02d}/v/first frame.jpg"] = "no number in its name"
        (folder / "img007.png").write_bytes(encoded(frames[7]))  # before img7.png by name
        expected_reasons[f"s{sequence:02d}/v/img7.png"] = "its number 7 is that of img007.png too"
        damaged.pop(7, None)  # the other of the two is good
        good = [number for number in numbers if number not in damaged]
        alone = [number for number in good if not {number - 1, number + 1} & set(good)]
        for number in alone:
            name = "img007.png" if number == 7 else f"img{number}.png"
            expected_reasons[f"s{sequence:02d}/v/{name}"] = "^no neighbour to make a pair with$"
        expected_frames[f"s{sequence:02d}/v"] = [frames[number] for number in good if number not in alone]
    assert not kinds and len(expected_reasons) > 300

    report = prepare(tmp_path / "lab", tmp_path / "out")
    found = [(item.path, item.reason) for item in report.quarantined]
    assert {path for path, _ in found} == set(expected_reasons)
    assert [(path, reason) for path, reason in found if not re.search(expected_reasons[path], reason)] == []
    assert len(found) == len(expected_reasons)
    assert not any(" at 0x" in reason or str(tmp_path) in reason for _, reason in found)  # the same on every machine

    rows = read_rows(tmp_path / "out")
    for name, frames in expected_frames.items():
        got = [pixels_of(f) for sample, row in rows.items() if sample.split("#")[0] == name for f in row["frames"]]
        np.testing.assert_array_equal(got, frames)
    with (tmp_path / "out" / "quarantine.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["path", "reason"], *map(list, found)]
    assert found == sorted(found)


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_a_file_cut_anywhere_is_found(tmp_path, form):
    content = encoded(picture(0, 8, 8), form, **({"exif": b"Exif\0\0\xff\xd9"} if form == "JPEG" else {}))
    path = tmp_path / "1.jpg"
    path.write_bytes(content)
    read_image(path, PreparationOptions())
    # a PNG ends with the checksum of an end that has no content
    for length in range(1, len(content) - (4 if form == "PNG" else 0)):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError):
            read_image(path, PreparationOptions())


def test_bad_frames_have_no_vote_on_the_size(tmp_path):
    good = write_frames(tmp_path / "lab", range(3))
    for number in range(3, 9):
        (tmp_path / "lab" / f"img{number}.png").write_bytes(encoded(picture(number, 50, 50))[:-30])
    report = prepare(tmp_path / "lab", tmp_path / "out")
    assert len(report.quarantined) == 6
    assert len(read_rows(tmp_path / "out")["."]["frames"]) == len(good)


# ------------------------------------------------------------------------------------------------------------- videos


def turn_video(source, target, matrix):
    """Write the display matrix of an MP4's track, as phones do: 9 fixed-point numbers, 40 bytes into the header."""
    content = bytearray(source.read_bytes())
    start = content.index(b"tkhd") + 44
    content[start : start + 36] = struct.pack(">9i", *matrix)
    target.write_bytes(content)


def test_videos_are_turned_upright(tmp_path):
    upright = tmp_path / "lab" / "a.mp4"
    write_video(upright, 3)
    one = 1 << 16
    # clockwise quarter turns: of the matrix (a, b, c, d) in a point's (x, y) -> (a x + c y, b x + d y), y downwards
    for turns, (a, b, c, d) in {1: (0, 1, -1, 0), 2: (-1, 0, 0, -1), 3: (0, -1, 1, 0)}.items():
        matrix = (a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
        turn_video(upright, tmp_path / "lab" / f"turned{turns}.mp4", matrix)
    prepare(tmp_path / "lab", tmp_path / "out", encoding="png", fps=None)
    rows = read_rows(tmp_path / "out")
    for turns in (1, 2, 3):
        got = [pixels_of(frame) for frame in rows[f"turned{turns}.mp4"]["frames"]]
        np.testing.assert_array_equal(got, [np.rot90(frame, -turns) for frame in video_pixels(upright)])


VIDEOS = {
    "a.mp4": {"codec": "libx264", "container": {"movflags": "faststart"}},
    "b.mp4": {"codec": "mpeg4", "container": {"movflags": "faststart"}},
    "c.mkv": {"codec": "libx264"},
    "d.avi": {"codec": "mjpeg"},
    "e.avi": {"codec": "mpeg4"},
    "f.webm": {"codec": "libvpx"},
    "g.mpg": {"codec": "mpeg2video"},
    "h.mkv": {"codec": "ffv1"},
}
# Where noise is not noticed by the decoder, or only by luck, nothing can be said of it.
NOTICE_NOISE = ("a.mp4", "b.mp4", "d.avi")


def test_of_a_broken_video_the_frames_before_the_damage_are_kept(tmp_path):
    draw = random.Random(1)
    for name, options in VIDEOS.items():
        write_video(tmp_path / name, 40, **options)
        content = (tmp_path / name).read_bytes()
        middle = len(content) * 6 // 10
        broken = {"whole": content, "cut": content[:middle]}
        if name in NOTICE_NOISE:
            broken["noisy"] = content[:middle] + draw.randbytes(300) + content[middle + 300 :]
        for kind, content in broken.items():
            (tmp_path / "lab" / kind).mkdir(parents=True, exist_ok=True)
            (tmp_path / "lab" / kind / name).write_bytes(content)
    report = prepare(tmp_path / "lab", tmp_path / "out", encoding="png", fps=None)
    rows, found = read_rows(tmp_path / "out"), reasons(report)
    assert set(found) == {f"cut/{name}" for name in VIDEOS} | {f"noisy/{name}" for name in NOTICE_NOISE}
    assert all(re.search(r"decoding ends after \d+ frames: \w+|it says .*", reason) for reason in found.values())
    for name in ("a.mp4", "b.mp4", "d.avi", "e.avi"):  # formats that say how long each packet is
        assert "a packet is cut off" in found[f"cut/{name}"]
    for name in VIDEOS:
        frames = video_pixels(tmp_path / name)
        assert len(frames) == 40
        np.testing.assert_array_equal([pixels_of(frame) for frame in rows[f"whole/{name}"]["frames"]], frames)
    for sample in set(rows) - {f"whole/{name}" for name in VIDEOS}:
        frames = video_pixels(tmp_path / sample.split("/")[1])
        got = [pixels_of(frame) for frame in rows[sample]["frames"]]
        assert 8 <= len(got) < 40
        np.testing.assert_array_equal(got, frames[: len(got)])


def test_a_gap_in_the_time_of_a_video_cuts_it(tmp_path):
    """Containers go on after lost data without a word. A camera that does not keep pace is no gap."""
    write_video(tmp_path / "whole.mkv", 20, codec="mjpeg")
    frames = video_pixels(tmp_path / "whole.mkv")
    (tmp_path / "lab").mkdir()
    for name, lost, jitter in (("a.mkv", range(8, 11), 0), ("b.mkv", (12,), 0), ("c.mkv", (), 10)):
        with av.open(str(tmp_path / "whole.mkv")) as source, av.open(str(tmp_path / "lab" / name), "w") as target:
            stream = target.add_stream_from_template(source.streams.video[0])
            for number, packet in enumerate(source.demux(video=0)):
                if packet.dts is not None and number not in lost:
                    packet.pts += jitter * (number % 2)  # milliseconds, of 40 a frame
                    packet.dts = packet.pts
                    packet.stream = stream
                    target.mux(packet)
        with av.open(str(tmp_path / "lab" / name)) as file:
            assert file.streams.video[0].average_rate is None  # in copying, it was lost
    expected = {"a.mkv#0": range(8), "a.mkv#1": range(11, 20), "b.mkv#0": range(12), "b.mkv#1": range(13, 20)}
    expected["c.mkv"] = range(20)
    for fps in (None, 200):  # of the folders beside them, say
        prepare(tmp_path / "lab", tmp_path / f"{fps}", encoding="png", fps=fps)
        rows = read_rows(tmp_path / f"{fps}")
        assert set(rows) == set(expected)
        for name, numbers in expected.items():
            got = [pixels_of(frame) for frame in rows[name]["frames"]]
            np.testing.assert_array_equal(got, [frames[number] for number in numbers])
        assert {name: row["fps"] for name, row in rows.items() if name != "c.mkv"} == dict.fromkeys(
            list(expected)[:4], 25
        )
        assert rows["c.mkv"]["fps"] == 20  # 50 ms and 30 ms in turn, one more of the former


def test_a_video_of_too_many_frames_ends_at_the_limit(tmp_path, monkeypatch):
    write_video(tmp_path / "lab" / "a.mp4", 20)
    write_video(tmp_path / "lab" / "b.mp4", 12)
    monkeypatch.setattr(video_frames, "MAX_VIDEO_FRAMES", 12)
    report = prepare(tmp_path / "lab", tmp_path / "out", fps=None)
    assert reasons(report) == {"a.mp4": "decoding ends after 12 frames: it has more than the limit of 12"}
    assert {name: len(row["frames"]) for name, row in read_rows(tmp_path / "out").items()} == {
        "a.mp4": 12,
        "b.mp4": 12,
    }


def write_sound(path):
    with av.open(str(path), "w") as file:
        stream = file.add_stream("aac", rate=44_100)
        for _ in range(20):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate = 44_100
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


def test_videos_without_frames_are_quarantined_with_the_reason(tmp_path):
    root = tmp_path / "lab"
    write_video(root / "good.mp4", 5)
    content = (root / "good.mp4").read_bytes()
    write_video(root / "single.mp4", 1)
    write_video(root / "large.mp4", 3, height=128, width=128)
    write_sound(root / "sound.mp4")
    (root / "empty.mp4").write_bytes(b"")
    (root / "headless.mp4").write_bytes(content[: len(content) // 2])  # the index is at the end
    (root / "text.avi").write_text("not a video\n" * 100)
    (root / "image.mov").write_bytes(encoded(picture(0)))
    link_to_nothing(root / "link.mkv")
    # A playlist would have other files read: whichever it names
    (root / "playlist.mp4").write_text(f"ffconcat version 1.0\nfile {root / 'good.mp4'}\n")
    (root / "stream.mp4").write_text(f"#EXTM3U\n#EXTINF:10,\n{root / 'good.mp4'}\n#EXT-X-ENDLIST\n")
    report = prepare(root, tmp_path / "out", fps=None, max_pixels=100 * 100)
    unreadable = "not a video that can be read: "
    patterns = {
        "single.mp4": "^frame 0: no neighbour to make a pair with$",
        "large.mp4": "^it has 128 x 128 pixels, more than the limit of 10000$",
        "sound.mp4": "^it has no video stream$",
        "empty.mp4": r"^empty \(0 bytes\)$",
        "headless.mp4": unreadable,
        "text.avi": unreadable,
        "image.mov": unreadable,
        "link.mkv": unreadable + "No such file",
        "playlist.mp4": unreadable,
        "stream.mp4": unreadable,
    }
    found = reasons(report)
    assert set(found) == set(patterns)
    assert [(path, found[path]) for path in patterns if not re.search(patterns[path], found[path])] == []
    assert list(read_rows(tmp_path / "out")) == ["good.mp4"]


# -------------------------------------------------------------------------------------------------------------- links


def test_links_are_followed_once_and_loops_end(tmp_path):
    root, elsewhere = tmp_path / "lab", tmp_path / "elsewhere"
    write_frames(root / "s01" / "a", range(3))
    write_frames(elsewhere / "b", range(3))
    write_frames(tmp_path / "beside", range(3))
    (root / "s02").symlink_to(elsewhere)
    (root / "s01" / "loop").symlink_to(root / "s01")
    (root / "s01" / "up").symlink_to(root.parent)  # would bring in what lies beside
    (root / "aa").symlink_to(root / "s01")  # the real place has the name
    (root / "s03").symlink_to(elsewhere / "b")
    (root / "gone").symlink_to(tmp_path / "absent")
    (elsewhere / "back").symlink_to(root)
    listing = list_sources(root)
    assert [source.path for source in listing.sources] == ["s01/a", "s02/b"]
    assert {item.path for item in listing.quarantined} == {
        *("aa", "s01/loop", "s01/up", "s03", "gone", "s02/back"),
    }
    report = prepare(root, tmp_path / "out")
    assert report.num_clips == 2 and len(report.quarantined) == 6


# ---------------------------------------------------------------------------------------- resuming, and many machines


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """A source that takes a second or two, with something of everything, and the set of a straight run."""
    folder = tmp_path_factory.mktemp("recordings")
    for sequence in range(12):
        write_frames(folder / "lab" / f"s{sequence:02d}" / "v", range(16), seed=sequence, height=150, width=170)
    (folder / "lab" / "s03" / "v" / "img5.png").write_bytes(b"")
    write_video(folder / "lab" / "s04" / "w.mp4", 30)
    prepare(folder / "lab", folder / "straight", num_shards=4, image_size=128)
    return folder


def run(recordings, output, **options):
    return prepare(recordings / "lab", output, num_shards=4, image_size=128, **options)


def test_each_shard_in_a_process_of_its_own_gives_the_same_bytes(recordings, tmp_path):
    for number in (2, 0, 3):
        assert finish(in_process(run, recordings, tmp_path / "out", shard_index=number)) == 0
        assert not (tmp_path / "out" / "clips.json").exists()
    report = run(recordings, tmp_path / "out", shard_index=0)  # finished: nothing to do
    assert report.missing_shards == (1,) and report.held_shards == ()
    assert "1 shards are missing (1)" in str(report)
    assert finish(in_process(run, recordings, tmp_path / "out", shard_index=1)) == 0
    assert set_bytes(tmp_path / "out") == set_bytes(recordings / "straight")


def test_machines_that_start_at_once_share_the_work(recordings, tmp_path, monkeypatch):
    class NotedWriter(clip_shards.ClipShardWriter):
        def close(self):
            super().close()
            (tmp_path / f"{self.path.name} {os.getpid()}").touch()

    monkeypatch.setattr(clip_shards, "ClipShardWriter", NotedWriter)
    processes = [in_process(run, recordings, tmp_path / "out") for _ in range(3)]
    assert [finish(process) for process in processes] == [0, 0, 0]
    assert set_bytes(tmp_path / "out") == set_bytes(recordings / "straight")
    shards, writers = zip(*(path.name.split() for path in tmp_path.glob("train-*")))
    assert len(shards) == len(set(shards)) == 4  # none twice
    assert len(set(writers)) >= 2


@pytest.fixture
def hold(tmp_path):
    """Hold a byte of the locks of `tmp_path / "out"` in another process."""
    processes = []

    def start(number):
        held = multiprocessing.get_context("fork").Event()

        def sleep():
            with file_lock(clip_shards.lock_path(tmp_path / "out"), number, 1) as is_ours:
                assert is_ours
                held.set()
                time.sleep(300)

        processes.append(in_process(sleep))
        assert held.wait(30)
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.join(30)


def test_a_shard_that_another_process_writes_is_left_to_it(recordings, tmp_path, monkeypatch, capsys, hold):
    run(recordings, tmp_path / "out", shard_index=0)
    monkeypatch.setattr(clip_shards, "LOCK_SECONDS", 0.3)
    process = hold(2)
    report = run(recordings, tmp_path / "out")
    assert report.missing_shards == report.held_shards == (2,)
    options = ("--fps", 100, "--image-size", 128, "--num-shards", 4)
    command = ("prepare-clips", recordings / "lab", tmp_path / "out", *options)
    assert run_cli(monkeypatch, *command) == 1
    assert "shards that were asked for are held by another process: 2;" in capsys.readouterr().err
    assert run_cli(monkeypatch, *command, "--shard-index", 1) == 0  # its own is done
    process.kill()
    process.join(30)
    assert run(recordings, tmp_path / "out").missing_shards == ()
    assert set_bytes(tmp_path / "out") == set_bytes(recordings / "straight")


def test_a_shard_of_a_process_that_dies_in_time_is_taken_over(recordings, tmp_path, hold):
    run(recordings, tmp_path / "out", shard_index=0)
    process = hold(2)
    other = in_process(lambda: (time.sleep(1.5), process.kill()))
    assert run(recordings, tmp_path / "out").missing_shards == ()
    finish(other)
    assert set_bytes(tmp_path / "out") == set_bytes(recordings / "straight")


def test_a_set_that_another_process_is_closing_is_left_to_it(recordings, tmp_path, monkeypatch, hold):
    run(recordings, tmp_path / "out", shard_index=0)
    monkeypatch.setattr(clip_preparation, "LOCK_SECONDS", 0.3)
    hold(4)
    report = run(recordings, tmp_path / "out")
    assert report.missing_shards == report.held_shards == ()
    assert report.num_clips == 14
    assert not (tmp_path / "out" / "clips.json").exists()


def test_a_lock_tells_another_holder_from_a_file_system_without_locks(tmp_path, monkeypatch, hold):
    """What the system answers there stands in for such a file system."""
    (tmp_path / "out" / "prepared").mkdir(parents=True)
    path = clip_shards.lock_path(tmp_path / "out")
    hold(1)
    for number, is_ours in ((0, True), (1, False), (2, True)):
        with file_lock(path, number, 1) as answer:
            assert answer is is_ours
    with file_lock(path) as answer:  # all of it
        assert not answer

    def refuse(*arguments):
        raise OSError(refuse.code, os.strerror(refuse.code))

    monkeypatch.setattr(locks.fcntl, "lockf", refuse)
    for refuse.code in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
        locks._warn_without_locks.cache_clear()
        with pytest.warns(UserWarning, match="has no locks") as caught:
            for _ in range(2):
                with file_lock(path, 1, 1) as answer:
                    assert answer
        assert len(caught) == 1
    refuse.code = errno.EIO
    with pytest.raises(OSError, match="Input/output"), file_lock(path, 1, 1):
        pass


def test_a_run_killed_at_any_instant_goes_on_to_the_same_bytes(recordings, tmp_path):
    seed = int.from_bytes(os.urandom(4), "big")
    draw = random.Random(seed)
    started = time.monotonic()
    assert finish(in_process(run, recordings, tmp_path / "timed")) == 0
    seconds = time.monotonic() - started
    kills = 0
    for _ in range(12):
        process = in_process(run, recordings, tmp_path / "out")
        process.join(draw.uniform(0, seconds / 2))
        kills += process.exitcode is None
        process.kill()
        process.join(30)
    assert kills >= 2, f"seed {seed}"
    report = run(recordings, tmp_path / "out")
    assert report.missing_shards == (), f"seed {seed}"
    assert set_bytes(tmp_path / "out") == set_bytes(recordings / "straight"), f"seed {seed}"
    left = [path for path in (tmp_path / "out").rglob("*") if path.suffix == ".tmp"]
    assert left == [], f"seed {seed}"


def test_killed_before_each_file_appears(recordings, tmp_path, monkeypatch):
    """What a random instant hardly hits: before each rename in turn the process ends as by SIGKILL."""
    replace = os.replace
    for number in range(100):

        def fatal(source, target, calls=[0], number=number):  # noqa: B006 - a counter
            if calls[0] == number:
                os.kill(os.getpid(), signal.SIGKILL)
            calls[0] += 1
            replace(source, target)

        monkeypatch.setattr(os, "replace", fatal)
        output = tmp_path / f"out{number}"
        exit_code = finish(in_process(prepare, recordings / "lab" / "s03", output, num_shards=2))
        monkeypatch.setattr(os, "replace", replace)
        prepare(recordings / "lab" / "s03", output, num_shards=2)
        assert set_bytes(output) == set_bytes(tmp_path / "out0")
        if exit_code == 0:
            break
    assert number == 8  # the description, 2 shards, 2 records, quarantine, card, index: all were hit


def test_workers_end_with_a_parent_that_is_killed(recordings, tmp_path, monkeypatch):
    fork = multiprocessing.get_context("fork")  # spawning takes long; tests/test_cli.py does it
    monkeypatch.setattr(multiprocessing, "get_context", lambda method: fork)
    process = in_process(run, recordings, tmp_path / "out", num_processes=2)
    deadline = time.monotonic() + 90
    while not any((tmp_path / "out").glob("data/*")):
        assert time.monotonic() < deadline and process.is_alive()
        time.sleep(0.02)
    workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.join(30)
    _, alive = psutil.wait_procs(workers, timeout=10)
    for worker in alive:
        worker.kill()
    assert alive == []
    run(recordings, tmp_path / "out")
    assert set_bytes(tmp_path / "out") == set_bytes(recordings / "straight")


def test_a_damaged_or_missing_shard_is_made_again(recordings, tmp_path):
    run(recordings, tmp_path / "out")
    shards = sorted((tmp_path / "out" / "data").iterdir())
    shards[0].unlink()
    shards[1].write_bytes(shards[1].read_bytes()[:-1])
    (tmp_path / "out" / "prepared" / "shard-00002.json").write_text("{")
    before = shards[3].stat().st_mtime_ns
    run(recordings, tmp_path / "out")
    assert set_bytes(tmp_path / "out") == set_bytes(recordings / "straight")
    assert shards[3].stat().st_mtime_ns == before


def test_what_does_not_fit_into_memory_waits_on_disk(recordings, tmp_path, monkeypatch):
    on_disk = []

    class NotedFile(tempfile.SpooledTemporaryFile):
        def rollover(self):
            super().rollover()
            on_disk.append(self.name)

    monkeypatch.setattr(tempfile, "SpooledTemporaryFile", NotedFile)
    monkeypatch.setattr(clip_shards, "_SPOOL_BYTES", 1000)
    run(recordings, tmp_path / "out")
    assert len(on_disk) == 13  # sequences
    assert set_bytes(tmp_path / "out") == set_bytes(recordings / "straight")


# ------------------------------------------------------------------------------------------------ faults that may pass


def limited(kind, limit, function, *arguments):
    """Call in a process that may have only so much of something; returns the exception's text, if any."""
    receiver, sender = multiprocessing.get_context("fork").Pipe(duplex=False)

    def call():
        resource.setrlimit(kind, (limit, resource.getrlimit(kind)[1]))
        try:
            function(*arguments)
        except BaseException as error:
            sender.send((type(error).__name__, getattr(error, "errno", None), str(error)))
        else:
            sender.send(None)

    process = in_process(call)
    assert receiver.poll(60)
    answer = receiver.recv()
    finish(process)
    return answer


def num_files():
    return max(map(int, os.listdir("/proc/self/fd"))) + 1


def test_a_lack_of_file_descriptors_is_not_the_files_fault(tmp_path):
    """EMFILE, from the system: for an image, a video and a folder."""
    write_frames(tmp_path / "lab" / "s01", range(3))
    write_video(tmp_path / "lab" / "v.mp4", 3)
    (tmp_path / "lab" / "s02.mp4").symlink_to("absent")
    image = tmp_path / "lab" / "s01" / "img1.png"
    for function, arguments in (
        (read_image, (image, PreparationOptions())),
        (video_frames.VideoReader, (tmp_path / "lab" / "v.mp4", 10**6)),
        (list_sources, (tmp_path / "lab",)),
    ):
        kind, code, _ = limited(resource.RLIMIT_NOFILE, 3, function, *arguments)
        assert (kind, code) == ("OSError", errno.EMFILE)


def test_a_fault_that_may_pass_ends_the_run_and_the_next_one_makes_the_set(tmp_path):
    """Memory for the small pictures, and not for the large one, which is good."""
    for sequence in range(3):
        write_frames(tmp_path / "lab" / f"s{sequence}", range(3), seed=sequence)

    def make_large():
        large = Image.new("RGB", (7000, 7000))  # 196 MB in PIL
        large.save(tmp_path / "lab" / "s1" / "img1.png", "PNG", compress_level=1)

    # in other processes, so that this one keeps no memory free
    assert finish(in_process(make_large)) == 0
    assert finish(in_process(prepare, tmp_path / "lab", tmp_path / "straight")) == 0
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[0])
    limit = pages * resource.getpagesize() + 40 * 2**20
    kind, _, message = limited(resource.RLIMIT_AS, limit, prepare, tmp_path / "lab", tmp_path / "out")
    assert kind == "OSError"
    assert re.fullmatch("shard 1 is not finished, the run stopped at s1: out of memory; .*run again", message)
    assert not (tmp_path / "out" / "prepared" / "shard-00001.json").exists()
    report = prepare(tmp_path / "lab", tmp_path / "out")
    assert reasons(report) == {
        "s1/img0.png": "no neighbour to make a pair with",
        "s1/img1.png": "7000 x 7000 pixels, but its sequence has 32 x 24",
        "s1/img2.png": "no neighbour to make a pair with",
    }
    assert set_bytes(tmp_path / "out") == set_bytes(tmp_path / "straight")


def test_a_disk_that_fails_while_a_video_is_read_is_not_the_videos_fault(tmp_path, monkeypatch):
    """The system's answer stands in for the disk: FFmpeg takes a failed reading for the end."""
    write_video(tmp_path / "v.mkv", 60, codec="ffv1")

    class FailingFile(io.FileIO):
        def readall(self):
            return self.read(-1)

        def read(self, size=-1):
            if self.tell() > 2**16:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return super().read(size)

    monkeypatch.setattr(video_frames, "open", FailingFile, raising=False)
    reader = video_frames.VideoReader(tmp_path / "v.mkv", 10**6)
    with reader, pytest.raises(OSError) as caught:
        list(reader.frames())
    assert caught.value.errno == errno.EIO and reader.problem is None
    assert 0 < reader.num_frames < 60


# ------------------------------------------------------------------------------------------------------------ refusal


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fps": 50}, "another `fps`: 100.0, not 50.0"),
        ({"image_size": 64}, "another `image_size`: 256, not 64"),
        ({"num_shards": 2}, "another `num_shards`: 3, not 2"),
        ({"dataset": "x"}, "another `dataset`: lab, not x"),
    ],
)
def test_a_set_with_other_options_is_refused(tmp_path, options, message):
    write_frames(tmp_path / "lab", range(3))
    prepare(tmp_path / "lab", tmp_path / "out")
    before = contents(tmp_path / "out")
    with pytest.raises(FileExistsError, match=message):
        prepare(tmp_path / "lab", tmp_path / "out", **options)
    assert contents(tmp_path / "out") == before


@pytest.mark.parametrize("new", ["s02/img1.png", "s01/img9.png", "s02.mp4", "s01/img1.png", "v.mp4"])
def test_a_set_of_other_files_is_refused(tmp_path, new):
    write_frames(tmp_path / "lab" / "s01", range(3))
    write_video(tmp_path / "lab" / "v.mp4", 3)
    prepare(tmp_path / "lab", tmp_path / "out", shard_index=1)
    (tmp_path / "lab" / new).parent.mkdir(exist_ok=True)
    (tmp_path / "lab" / new).write_bytes(b"x")
    with pytest.raises(FileExistsError, match="other files: .* added, removed or changed"):
        prepare(tmp_path / "lab", tmp_path / "out")


def test_a_set_by_other_encoders_is_refused(tmp_path, monkeypatch):
    write_frames(tmp_path / "lab" / "s01", range(3))
    prepare(tmp_path / "lab", tmp_path / "frames", shard_index=0)
    write_video(tmp_path / "lab" / "v.mp4", 3)
    prepare(tmp_path / "lab", tmp_path / "out", shard_index=0)
    description = json.loads((tmp_path / "out" / "prepared" / "preparation.json").read_text())
    for library, module in (("pillow", PIL), ("pyarrow", pyarrow), ("av", av)):
        assert description[f"{library}_version"] == module.__version__
        changed = {**description, f"{library}_version": "0.1"}
        (tmp_path / "out" / "prepared" / "preparation.json").write_text(json.dumps(changed))
        with pytest.raises(FileExistsError, match=f"another `{library}_version`: 0.1, not {module.__version__}"):
            prepare(tmp_path / "lab", tmp_path / "out")
    # where there is no video, PyAV has no part in it
    assert "av_version" not in json.loads((tmp_path / "frames" / "prepared" / "preparation.json").read_text())


def test_a_foreign_output_is_refused_and_left_alone(tmp_path):
    write_frames(tmp_path / "lab", range(3))
    for name in ("thesis.txt", "prepared/thesis.txt", "data/train.parquet"):
        output = tmp_path / name.replace("/", "-")
        (output / name).parent.mkdir(parents=True)
        (output / name).write_text("mine")
        with pytest.raises(FileExistsError, match="something else"):
            prepare(tmp_path / "lab", output)
        assert [path.name for path in contents(output)] == [Path(name).name]
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileExistsError, match="not a folder"):
        prepare(tmp_path / "lab", tmp_path / "file")
    (tmp_path / "link").symlink_to(tmp_path / "lab" / "inside")
    for output in (tmp_path / "lab" / "out", tmp_path / "lab", tmp_path / "link"):
        with pytest.raises(ValueError, match="lies in"):
            prepare(tmp_path / "lab", output)


def test_folders_of_frames_need_fps_and_videos_do_not(tmp_path):
    write_video(tmp_path / "lab" / "a.mp4", 3)
    assert prepare(tmp_path / "lab", tmp_path / "videos", fps=None).num_clips == 1
    write_frames(tmp_path / "lab" / "s01", range(3))
    with pytest.raises(ValueError, match=r"s01 is a folder of frames.*fps"):
        prepare(tmp_path / "lab", tmp_path / "out", fps=None)
    assert not (tmp_path / "out").exists()


def test_videos_without_pyav_are_refused_before_work(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    write_frames(tmp_path / "lab" / "s01", range(3))
    assert prepare(tmp_path / "lab", tmp_path / "frames").num_clips == 1
    (tmp_path / "lab" / "a.mp4").write_bytes(b"x")
    with pytest.raises(ModuleNotFoundError, match=r"pip install '\.\[video\]'"):
        prepare(tmp_path / "lab", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fps": 0}, "more than 0 frames a second, got 0"),
        ({"fps": float("nan")}, "more than 0 frames a second, got nan"),
        ({"image_size": 0}, "`image_size` must be 1 or more, got 0"),
        ({"clip_frames": 2}, "`clip_frames` must be 3 or more, got 2"),
        ({"subject_level": 0}, "`subject_level` must be 1 or more, got 0"),
        ({"encoding": "gif"}, "one of jpeg, png, got 'gif'"),
        ({"max_pixels": 10**9}, "limit of 89478485 or less, got 1000000000"),
        ({"dataset": ""}, "`dataset` must be a name"),
        ({"dataset": "lab\udcff"}, r"`dataset` must be UTF-8, got lab\xff"),
        ({"num_shards": 0}, "1 to 99999, got 0"),
        ({"shard_index": 3}, "0 to 2 for 3 shards, got 3"),
        ({"shard_index": -1}, "0 to 2 for 3 shards, got -1"),
        ({"num_processes": 0}, "1 or more, got 0"),
    ],
)
def test_arguments_out_of_range(tmp_path, options, message):
    write_frames(tmp_path / "lab", range(3))
    with pytest.raises(ValueError, match=re.escape(message)):
        prepare(tmp_path / "lab", tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_source_without_anything_usable(tmp_path):
    with pytest.raises(NotADirectoryError, match="absent"):
        prepare(tmp_path / "absent", tmp_path / "out")
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "labels.csv").write_text("x")
    with pytest.raises(ValueError, match="no images and no videos, by their names; 1 other"):
        prepare(tmp_path / "lab", tmp_path / "out")
    (tmp_path / "lab" / "gone").symlink_to(tmp_path / "absent")
    with pytest.raises(ValueError, match="1 other files are there. gone: a link that leads nowhere."):
        prepare(tmp_path / "lab", tmp_path / "out")
    (tmp_path / "lab" / "gone").unlink()
    assert not (tmp_path / "out").exists()
    (tmp_path / "lab" / "1.jpg").write_text("x")
    with pytest.raises(ValueError, match=r"1 sequences gave no clip; .*quarantine.csv"):
        prepare(tmp_path / "lab", tmp_path / "out")
    assert '1.jpg,"it is not an image' in (tmp_path / "out" / "quarantine.csv").read_text()
    assert not (tmp_path / "out" / "clips.json").exists()
