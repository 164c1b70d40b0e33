"""Real video files of every kind that cameras write: rates, times, rotation, people; and how much memory they take."""

import struct
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from matplotlib import cbook
from PIL import Image

from benchmarks.inference import measure_memory
from micron_bert_hf.spotting import MicroExpressionRecognizer, Video


# Frames a second of the fastest; of the others frames of it are left out.
FPS = 200
# When the smile is greatest, in the middle, and how long it takes, in seconds.
APEX, LONG = 0.9, 0.36
ONE = 1 << 16  # of a display matrix


def smile(picture, strength):
    """Both corners of the mouth pulled up and out, by at most 5 pixels where `strength` is 1."""
    row, column = np.mgrid[: picture.shape[0], : picture.shape[1]].astype(np.float64)
    for x, y, outwards in ((61, 138, -1), (97, 137, 1)):
        pull = 3.5 * strength * np.exp(-((column - x) ** 2 + (row - y) ** 2) / (2 * 12**2))
        row, column = row + pull, column - outwards * pull
    maps = column.astype(np.float32), row.astype(np.float32)
    return cv2.remap(picture, *maps, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


@pytest.fixture(scope="module")
def expression():
    """
    Grace Hopper, in the public domain, as matplotlib ships her, made to smile for a moment: frames `(T, 200, 160, 3)`
    at 200 a second. The smile comes and goes as a squared sine.
    """
    photograph = Image.open(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)).convert("RGB")
    picture = np.asarray(photograph.crop((110, 0, 430, 400)).resize((160, 200)))
    times = np.arange(round(2 * APEX * FPS)) / FPS
    strengths = np.where(abs(times - APEX) < LONG / 2, np.cos(np.pi * (times - APEX) / LONG) ** 2, 0)
    return grainy(np.stack([smile(picture, strength) for strength in strengths]))


@pytest.fixture(scope="module")
def at_50(expression):
    return expression[:: FPS // 50]


@pytest.fixture(scope="module")
def recognize():
    return MicroExpressionRecognizer()


def grainy(frames, seed=0):
    """As a camera shows them, on which nothing is ever quite still."""
    noise = np.random.default_rng(seed).normal(0, 1, frames.shape)
    return (frames + noise).clip(0, 255).round().astype(np.uint8)


def still_of(frames):
    return grainy(frames[:1].repeat(len(frames), 0), seed=1)


def write_video(path, frames, times, time_base):
    """The times are whole numbers of `time_base`, in seconds."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg4", rate=1 / time_base)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.bit_rate, stream.codec_context.time_base = "yuv420p", 20_000_000, time_base
        for pixels, time in zip(frames, times):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), "rgb24")
            frame.pts, frame.time_base = int(time), time_base
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def seconds_of(found):
    return found.onset_seconds, found.apex_seconds, found.offset_seconds


def test_the_rate_changes_nothing_in_seconds(expression, recognize, tmp_path):
    spotted = {}
    for rate in (25, 50, 100, 200):
        slower = expression[:: FPS // rate]
        path = write_video(tmp_path / f"{rate}.mp4", slower, range(len(slower)), Fraction(1, rate))
        (spotted[rate],) = recognize(path)
        assert spotted[rate].apex_seconds == pytest.approx(spotted[rate].apex / rate, abs=1e-3)
    reference = seconds_of(spotted[200])
    for rate, found in spotted.items():
        assert seconds_of(found) == pytest.approx(reference, abs=1 / 25 + 1e-3), rate
        assert found.change == pytest.approx(spotted[200].change, rel=0.15)
        assert abs(found.apex_seconds - APEX) < 0.03
        assert APEX - LONG / 2 < found.onset_seconds < APEX < found.offset_seconds < APEX + LONG / 2


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_steps_of_time_may_vary(container, expression, recognize, tmp_path):
    """10 to 40 ms from frame to frame, and a break of 0.3 s: it is the times that count, not the places of frames."""
    times = np.cumsum(np.random.default_rng(1).integers(2, 9, len(expression)))
    times = times[(times < len(expression)) & ~((times > 30) & (times < 90))]
    times[0] = 0
    path = write_video(tmp_path / f"a.{container}", expression[times], times, Fraction(1, FPS))
    (found,) = recognize(path)
    assert abs(found.apex_seconds - APEX) < 0.04
    for place, seconds in zip((found.onset, found.apex, found.offset), seconds_of(found)):
        assert seconds == pytest.approx(times[place] / FPS, abs=1e-3)
    as_if_even = found.apex * times[-1] / FPS / (len(times) - 1)
    assert abs(as_if_even - found.apex_seconds) > 0.05  # a negative control


def turn_video(source, target, matrix):
    """Write the display matrix of an MP4's track, as phones do: 9 fixed-point numbers, 40 bytes into the header."""
    content = bytearray(source.read_bytes())
    start = content.index(b"tkhd") + 44
    content[start : start + 36] = struct.pack(">9i", *matrix)
    target.write_bytes(content)
    return target


# Clockwise quarter turns by which a player shows the picture, and the matrix (a, b, c, d) in a point's
# (x, y) -> (a x + c y, b x + d y), y downwards.
@pytest.mark.parametrize(("turns", "matrix"), [(1, (0, 1, -1, 0)), (2, (-1, 0, 0, -1)), (3, (0, -1, 1, 0))])
def test_a_video_of_a_phone_on_its_side_is_read_upright(turns, matrix, at_50, recognize, tmp_path):
    upright = at_50[:10]
    as_stored = np.rot90(upright, turns, axes=(1, 2))
    stored = write_video(tmp_path / "stored.mp4", as_stored, range(len(as_stored)), Fraction(1, 50))
    a, b, c, d = matrix
    turned = turn_video(stored, tmp_path / "a.mp4", (a * ONE, b * ONE, 0, c * ONE, d * ONE, 0, 0, 0, 1 << 30))
    for frame, expected in zip(Video(turned), upright):
        assert frame.pixels.shape == expected.shape == (200, 160, 3)
        assert np.abs(frame.pixels.astype(int) - expected).mean() < 5
    assert np.abs(as_stored[0, :160, :160].astype(int) - upright[0, :160, :160]).mean() > 20  # a negative control
    assert recognize.curve(Video(turned)).alignment.face is not None


def two_people(large, small, is_mirrored):
    """A large face on the left and a small one on the right, or the other way round: `(T, 200, 280, 3)`."""
    frames = np.full((len(large), 200, 280, 3), 90, np.uint8)
    frames[:, :, :160] = large
    for frame, face in zip(frames, small):
        frame[35:165, 168:272] = cv2.resize(face, (104, 130), interpolation=cv2.INTER_AREA)
    return frames[:, :, ::-1] if is_mirrored else frames


@pytest.mark.parametrize("is_mirrored", [False, True])
def test_of_two_people_the_larger_face_counts_in_every_frame(is_mirrored, at_50, recognize, tmp_path):
    still, expected = still_of(at_50), np.array([203 if is_mirrored else 76, 110])
    for large, small, is_found in ((at_50, still, True), (still, at_50, False)):
        frames = two_people(large, small, is_mirrored)
        video = Video(write_video(tmp_path / f"{is_found}.mp4", frames, range(len(frames)), Fraction(1, 50)))
        curve = recognize.curve(video)
        box = curve.alignment.face.box
        assert np.abs((box[:2] + box[2:]) / 2 - expected).max() < 10
        assert curve.alignment.notes[0].startswith("2 faces, used the one round")
        found = recognize.expressions(video, curve)
        assert len(found) == is_found
        if is_found:
            assert abs(found[0].apex_seconds - APEX) < 0.05


@pytest.mark.parametrize("hidden", [slice(8, 14), slice(74, 80)])
def test_frames_without_a_face_are_no_expression(hidden, at_50, recognize):
    """Black for 0.1 s, as between two shots: the expression is found, and the gap is not."""
    frames = at_50.copy()
    frames[hidden] = 0
    (found,) = recognize(frames, fps=50)
    assert abs(found.apex_seconds - APEX) < 0.05


def test_in_a_video_without_a_face_nothing_is_spotted(recognize):
    """Grain moves too: the curve of this wall is far above what counts."""
    wall = np.broadcast_to(np.linspace(0, 255, 160)[None, None, :, None], (60, 120, 160, 3))
    video = Video(grainy(wall), fps=50)
    curve = recognize.curve(video)
    assert curve.alignment.face is None and curve.alignment.source == "none"
    assert "no face on onset, frame 13, frame 26" in curve.alignment.notes[0]
    assert np.nanmin(curve.values) > recognize.options.least_change
    assert recognize.expressions(video, curve) == [] and curve.notes[-1] == "without a face nothing is spotted"


def test_ten_minutes_take_no_more_memory_than_ten_seconds():
    """
    1200 frames: had each left its aligned picture in memory, that would be 180 MB, and 30 MB what flow is measured on.
    Few frames a second, so that no flow is measured, for time's sake; the benchmark itself has a film's rate.
    """
    picture = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    memory = measure_memory(picture, fps=2)
    assert memory["frames"] == [20, 1200]
    assert memory["extra_bytes"] < 15e6
