"""From pictures and videos to micro-expressions: real files, a face that moves, photographs that do not."""

import csv
import json
import subprocess
import sys
from fractions import Fraction
from io import StringIO

import av
import cv2
import numpy as np
import pytest
import skimage.data
import torch
from matplotlib import cbook
from PIL import Image
from transformers import pipeline

from micron_bert_hf import (
    TASK,
    MicroExpressionClassificationPipeline,
    MicronBertConfig,
    MicronBertForMicroExpressionClassification,
    MicronBertImageProcessor,
    cli,
)
from micron_bert_hf.faces import load_detector
from micron_bert_hf.hub import save_for_hub
from micron_bert_hf.modeling_micron_bert import MicronBertModelOutput
from micron_bert_hf.spotting import MicroExpressionRecognizer, Video
from micron_bert_hf.spotting.attention import AttentionChange
from micron_bert_hf.spotting.commands import load_classifier
from micron_bert_hf.synthetic import generate_micro_expressions


FPS = 50
STILL = 40


@pytest.fixture(scope="module")
def expression():
    """One surprise at 50 frames a second, with a still face before and after: frames, onset, apex, offset."""
    row = next(
        generate_micro_expressions(
            1, 1, image_size=160, difficulty=0.0, seed=21, classes=("surprise",), frames="clip", fps=100
        )
    )
    moving = row["frames"][::2]
    frames = [moving[0]] * STILL + list(moving) + [moving[-1]] * STILL
    places = [STILL + row[name] // 2 for name in ("onset_index", "apex_index", "offset_index")]
    random = np.random.default_rng(0)
    noisy = [np.clip(frame + random.normal(0, 1, frame.shape), 0, 255).astype(np.uint8) for frame in frames]
    return np.stack(noisy), *places


@pytest.fixture(scope="module")
def model(tmp_path_factory, tiny_config_of_four):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model") / "tiny"
    processor = MicronBertImageProcessor(size={"height": 32, "width": 32})
    save_for_hub(
        folder, model=MicronBertForMicroExpressionClassification(tiny_config_of_four), image_processor=processor
    )
    return str(folder)


@pytest.fixture(scope="module")
def tiny_config_of_four():
    labels = dict(enumerate(("happiness", "surprise", "disgust", "repression")))
    return MicronBertConfig(
        image_size=32,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        id2label=labels,
    )


def write_video(path, frames, rate=FPS, codec="mpeg4"):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(rate))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.bit_rate = "yuv420p", 20_000_000
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")))
        container.mux(stream.encode(None))


def photographs():
    """Grace Hopper and Eileen Collins, in the public domain, as matplotlib and scikit-image ship them."""
    hopper = Image.open(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)).convert("RGB")
    return {"hopper": hopper, "collins": Image.fromarray(skimage.data.astronaut())}


def with_raised_brow(picture, heights):
    """Frames with the brow on the left of the picture raised, in hundredths of the distance between the eyes."""
    pixels = np.asarray(picture)
    (face,) = load_detector("mtcnn")(pixels)
    left, right = face.points[:2]
    distance = np.linalg.norm(right - left)
    x, y = left - (0, 0.28 * distance)
    rows, columns = np.mgrid[: pixels.shape[0], : pixels.shape[1]].astype(np.float32)
    near = np.exp(-0.5 * ((columns - x) ** 2 + (rows - y) ** 2) / (0.22 * distance) ** 2).astype(np.float32)
    for height in heights:
        moved = rows + np.float32(height / 100 * distance) * near
        yield cv2.remap(pixels, columns, moved, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["micron-bert", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    printed = capsys.readouterr()
    return end.value.code, printed.out, printed.err


def test_an_expression_is_found_where_it_is(expression):
    frames, onset, apex, offset = expression
    (found,) = MicroExpressionRecognizer()(frames, fps=FPS)
    assert abs(found.apex - apex) <= 4 and found.onset < found.apex < found.offset
    shared = min(found.offset, offset) - max(found.onset, onset) + 1
    together = max(found.offset, offset) - min(found.onset, onset) + 1
    assert shared / together >= 0.5  # what MEGC counts as found
    assert found.change > 0.45 and found.label is None and found.frames[0].shape == (224, 224, 3)
    assert found.apex_seconds == pytest.approx(found.apex / FPS)


def test_movement_is_known_but_for_half_a_lag_at_either_end(expression):
    """An expression near the beginning or the end is found as one in the middle is."""
    frames, onset, apex, _ = expression
    recognize = MicroExpressionRecognizer()
    curve = recognize.curve(Video(frames, FPS))
    known = np.flatnonzero(np.isfinite(curve.values))
    assert (known[0], known[-1]) == (6, len(frames) - 1 - 6)  # 0.12 s
    for part, first in ((frames[apex - 9 :], apex - 9), (frames[: apex + 10], 0)):
        (found,) = recognize(part, FPS)
        assert abs(first + found.apex - apex) <= 2


def test_a_still_face_shows_nothing(expression):
    frames, *_ = expression
    random = np.random.default_rng(1)
    still = [np.clip(frames[0] + random.normal(0, 2, frames[0].shape), 0, 255).astype(np.uint8) for _ in range(60)]
    assert MicroExpressionRecognizer()(still, fps=FPS) == []


def test_a_face_that_drifts_steadily_shows_nothing(expression):
    frames, *_ = expression
    drifting = [
        np.roll(np.pad(frames[0], ((0, 0), (40, 40), (0, 0)), "edge"), step // 2, axis=1) for step in range(60)
    ]
    assert MicroExpressionRecognizer()(drifting, fps=FPS) == []


def test_a_video_a_folder_and_an_array_say_the_same(expression, tmp_path):
    frames, *_ = expression
    write_video(tmp_path / "a.mp4", frames)
    (tmp_path / "frames").mkdir()
    for number, pixels in enumerate(frames):
        Image.fromarray(pixels).save(tmp_path / "frames" / f"img{number + 100}.png")
    recognize = MicroExpressionRecognizer()
    (of_array,) = recognize(frames, fps=FPS)
    (of_folder,) = recognize(tmp_path / "frames", fps=FPS)
    (of_video,) = recognize(tmp_path / "a.mp4")
    assert (of_folder.onset, of_folder.apex) == (of_array.onset + 100, of_array.apex + 100)
    assert of_folder.change == of_array.change and np.array_equal(of_folder.frames[1], of_array.frames[1])
    assert abs(of_video.apex - of_array.apex) <= 2 and of_video.change == pytest.approx(of_array.change, rel=0.2)


def test_a_face_that_appears_later_is_found(expression):
    frames, _, apex, _ = expression
    dark = np.zeros((30, *frames.shape[1:]), np.uint8)
    recognize = MicroExpressionRecognizer()
    video = Video(np.concatenate([dark, frames]), fps=FPS)
    curve = recognize.curve(video)
    assert curve.alignment.source == "frame 39" and "no face on onset" in curve.alignment.notes[0]
    assert apex + 30 in [
        place for found in recognize.expressions(video, curve) for place in range(found.onset, found.offset + 1)
    ]


def test_a_fast_video_is_thinned_and_keeps_its_numbers(expression):
    """At 200 frames a second every fourth frame is compared; the answer counts all."""
    frames, _, apex, _ = expression
    fast = np.repeat(frames, 4, axis=0)
    (found,) = MicroExpressionRecognizer()(fast, fps=4 * FPS)
    assert abs(found.apex - 4 * apex) <= 16 and found.apex_seconds == pytest.approx(found.apex / (4 * FPS))


def classifier(mode="diagonal", image_size=96):
    """Random weights: what is compared is what they make of the pixels, and that moves as the face does."""
    torch.manual_seed(0)
    config = MicronBertConfig(
        image_size=image_size,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        id2label=dict(enumerate(("happiness", "surprise"))),
        attention_mode=mode,
        pooling="positions",
        contextual_agreement="none",
    )
    height, width = config.image_size if isinstance(image_size, tuple) else (image_size, image_size)
    processor = MicronBertImageProcessor(size={"height": height, "width": width})
    model = MicronBertForMicroExpressionClassification(config).eval()
    return MicroExpressionClassificationPipeline(model=model, image_processor=processor, task=TASK)


@pytest.mark.parametrize("mode", ["diagonal", "windowed"])
def test_the_models_attention_finds_the_apex(mode, expression):
    frames, _, apex, _ = expression
    recognize = MicroExpressionRecognizer(classifier(mode), by="attention")
    curve = recognize.curve(Video(frames, FPS))
    assert abs(curve.numbers[int(np.nanargmax(curve.values))] - apex) <= 2
    if mode == "diagonal":  # untrained, the windowed one is not sure of any displacement
        (found,) = recognize(frames, FPS)
        assert abs(found.apex - apex) <= 2 and curve.unit == "nats of the diagonal" and found.change < 1


def test_a_still_face_shows_nothing_to_the_attention(expression):
    frames, *_ = expression
    recognize = MicroExpressionRecognizer(classifier(), by="attention")
    assert recognize(np.repeat(frames[:1], 60, axis=0), FPS) == []
    random = np.random.default_rng(1)
    noisy = [np.clip(frames[0] + random.normal(0, 2, frames[0].shape), 0, 255).astype(np.uint8) for _ in range(60)]
    assert recognize(noisy, FPS) == []


def test_attention_needs_a_classifier():
    with pytest.raises(ValueError, match="needs a classifier"):
        MicroExpressionRecognizer(by="attention")
    with pytest.raises(ValueError, match="expected one of flow, attention"):
        MicroExpressionRecognizer(classifier(), by="colour")


@pytest.mark.parametrize("mode", ["diagonal", "windowed"])
def test_maps_of_a_clip_are_those_of_its_pairs(mode, expression):
    frames, onset, apex, _ = expression
    classify = classifier(mode)
    recognize = MicroExpressionRecognizer(classify)
    video = Video(frames, FPS)
    curve = recognize.curve(video)
    maps = {item.number: item for item in recognize.change_maps(video, curve)}
    assert tuple(maps) == curve.numbers and np.array_equal(maps[0].change, np.zeros((12, 12)))
    first, shown = maps[0].frame, maps[apex]
    moved, still = (classify((first, other), return_maps=True) for other in (shown.frame, first))
    expected = 1 - moved["diagonal_attention"] / still["diagonal_attention"]
    np.testing.assert_allclose(shown.change, expected, atol=1e-5)
    np.testing.assert_allclose(shown.patch_of_interest, moved["patch_of_interest"], atol=1e-6)
    assert [item.number for item in recognize.change_maps(video, curve, [apex, 60])] == sorted({0, apex, 60})
    with pytest.raises(ValueError, match="give the recognizer a classifier"):
        next(MicroExpressionRecognizer().change_maps(video, curve))


def test_each_frame_is_encoded_once(expression):
    """However many others it is compared with."""
    frames, *_ = expression
    classify = classifier()
    calls = []
    classify.model.micron_bert.embeddings.register_forward_hook(lambda *call: calls.append(call[1][0].shape[0]))
    recognize = MicroExpressionRecognizer(classify, by="attention")
    curve = recognize.curve(Video(frames[:40], FPS))
    assert sum(calls) == len(curve.numbers) == 40


@pytest.mark.parametrize("name", ["hopper", "collins"])
def test_identical_photographs_have_not_moved(name):
    picture = photographs()[name]
    found = MicroExpressionRecognizer().pair(picture, picture)
    assert found.change == 0
    assert MicroExpressionRecognizer()([picture] * 40, fps=FPS) == []


@pytest.mark.parametrize("name", ["hopper", "collins"])
def test_a_brow_that_is_raised_in_a_photograph_is_found(name):
    """By four hundredths of the distance between the eyes, for a fifth of a second, in a camera's noise."""
    heights = 4 * np.exp(-0.5 * ((np.arange(70) - 35) / 5) ** 2)
    random = np.random.default_rng(0)
    frames = [
        np.clip(frame + random.normal(0, 1.5, frame.shape), 0, 255).astype(np.uint8)
        for frame in with_raised_brow(photographs()[name], heights)
    ]
    (found,) = MicroExpressionRecognizer()(frames, fps=FPS)
    assert abs(found.apex - 35) <= 2 and 20 <= found.onset < found.offset <= 50


def test_predict_says_that_nothing_moved(model, tmp_path, monkeypatch, capsys):
    photographs()["hopper"].save(tmp_path / "a.png")
    code, out, _ = run(monkeypatch, capsys, "predict", tmp_path / "a.png", tmp_path / "a.png", "--model", model)
    assert code == 0 and "Nothing moved: there is no expression to name." in out and "%" not in out
    still = ("predict", tmp_path / "a.png", tmp_path / "a.png", "--model", model)
    code, out, _ = run(monkeypatch, capsys, *still, "--format", "json")
    assert json.loads(out)["moved"] is False and json.loads(out)["scores"] == {}
    code, out, _ = run(monkeypatch, capsys, *still, "--format", "csv")
    (row,) = csv.DictReader(StringIO(out))
    assert row["moved"] == "False" and row["surprise"] == ""


@pytest.mark.parametrize("count", [1, 2, 12])
def test_a_video_that_is_too_short_says_so(count, expression, model, tmp_path, monkeypatch, capsys):
    """Figure and video are drawn all the same."""
    frames, *_ = expression
    write_video(tmp_path / "a.mp4", frames[:count])
    saved = ("--save-figure", tmp_path / "f.png", "--save-video", tmp_path / "c.mp4")
    code, out, _ = run(monkeypatch, capsys, "predict", tmp_path / "a.mp4", "--model", model, *saved)
    assert code == 0 and "note: no two frames are 0.24 s apart or nearly so: nothing could be compared" in out
    with av.open(str(tmp_path / "c.mp4")) as container:
        assert len(list(container.decode(video=0))) == count


def test_predict_says_that_there_is_no_face(model, tmp_path, monkeypatch, capsys):
    for name, seed in (("a", 0), ("b", 1)):
        noise = np.random.default_rng(seed).integers(0, 256, (90, 120, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{name}.png")
    pair = (tmp_path / "a.png", tmp_path / "b.png", "--model", model)
    code, out, _ = run(monkeypatch, capsys, "predict", *pair)
    assert code == 0 and out.startswith("note: no face on onset, centre square used\n")
    code, out, _ = run(monkeypatch, capsys, "predict", *pair, "--format", "json")
    assert json.loads(out)["notes"] == ["no face on onset, centre square used"]


def test_predict_of_a_pair(expression, model, tmp_path, monkeypatch, capsys):
    frames, onset, apex, _ = expression
    for name, place in (("onset", onset), ("apex", apex)):
        Image.fromarray(frames[place]).save(tmp_path / f"{name}.png")
    pair = (tmp_path / "onset.png", tmp_path / "apex.png")
    code, out, _ = run(monkeypatch, capsys, "predict", *pair, "--model", model, "--save-figure", tmp_path / "f.png")
    assert code == 0 and out.startswith("moved ") and out.count("%") == 4
    assert Image.open(tmp_path / "f.png").size == (1440, 912)
    code, out, _ = run(monkeypatch, capsys, "predict", *pair, "--model", model, "--format", "json")
    answer = json.loads(out)
    assert answer["moved"] is True and sum(answer["scores"].values()) == pytest.approx(1)
    code, out, _ = run(monkeypatch, capsys, "predict", *pair, "--model", model, "--format", "csv")
    (row,) = csv.DictReader(StringIO(out))
    assert row["moved"] == "True" and float(row["surprise"]) == pytest.approx(answer["scores"]["surprise"])


def test_predict_and_spot_of_a_video(expression, model, tmp_path, monkeypatch, capsys):
    frames, _, apex, _ = expression
    write_video(tmp_path / "a.mp4", frames)
    code, out, _ = run(monkeypatch, capsys, "predict", tmp_path / "a.mp4", "--model", model, "--format", "json")
    (found,) = json.loads(out)["expressions"]
    assert code == 0 and abs(found["apex"]["frame"] - apex) <= 4 and set(found["scores"]) >= {"surprise", "disgust"}
    code, out, _ = run(monkeypatch, capsys, "spot", tmp_path / "a.mp4", "--save-figure", tmp_path / "t.png")
    assert code == 0 and len(out.splitlines()) == 3 and Image.open(tmp_path / "t.png").size == (1440, 480)
    code, out, _ = run(monkeypatch, capsys, "spot", tmp_path / "a.mp4", "--format", "csv")
    (row,) = csv.DictReader(StringIO(out))
    assert int(row["apex"]) == found["apex"]["frame"] and row["label"] == ""


def test_predict_shows_what_changed_in_a_video(expression, model, tmp_path, monkeypatch, capsys):
    """A figure with faces and maps, and a video with as many frames at the same times."""
    frames, _, apex, _ = expression
    write_video(tmp_path / "a.mp4", frames)
    figure, clip = tmp_path / "f.png", tmp_path / "c.mp4"
    saved = ("--save-figure", figure, "--save-video", clip)
    code, out, err = run(monkeypatch, capsys, "predict", tmp_path / "a.mp4", "--model", model, *saved)
    assert code == 0 and out.endswith("moved: px of a 224-px face\n"), err
    assert Image.open(figure).size == (1440, 912)
    with av.open(str(clip)) as container:
        decoded = [(float(frame.time), frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    assert [time for time, _ in decoded] == pytest.approx([number / FPS for number in range(len(frames))], abs=1e-3)
    before, during = decoded[apex - 20][1], decoded[apex][1]
    assert before.shape == (720, 960, 3)
    frame_colour = np.array([0xD5, 0x5E, 0x00])
    assert np.abs(during[200, 31] - frame_colour).max() < 40 < np.abs(before[200, 31].astype(int) - frame_colour).max()
    # under the map there is more to see at the apex than a while before it
    map_side = (slice(70, 470), slice(450, 850))
    assert during[map_side].astype(float).std() > before[map_side].astype(float).std()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "c.mp4", "f.png"]


@pytest.mark.parametrize("trust_remote_code", [True, False])
def test_the_pipeline_takes_videos(trust_remote_code, expression, model, tmp_path):
    """With the code of the folder, which cannot import the package, and with the package's."""
    frames, _, apex, _ = expression
    write_video(tmp_path / "a.mp4", frames)
    if trust_remote_code:
        classify = pipeline(TASK, model=model, trust_remote_code=True)
        assert not isinstance(classify, MicroExpressionClassificationPipeline)
    else:
        classify = load_classifier(model)
    (found,) = classify(str(tmp_path / "a.mp4"))
    assert set(found) == {"onset", "apex", "offset", "change", "label", "score", "scores"}
    assert abs(found["apex"]["frame"] - apex) <= 4
    assert found["apex"]["seconds"] == pytest.approx(found["apex"]["frame"] / FPS)
    assert next(iter(found["scores"].items())) == (found["label"], found["score"]) and len(found["scores"]) == 4

    (of_array,) = classify(frames, fps=FPS, return_maps=True, top_k=2)
    assert len(of_array["scores"]) == 2 and of_array["maps"]["diagonal_attention"].shape == (4, 4)
    few = classify(frames, fps=FPS, top_k=1, batch_size=2, num_workers=0)
    assert len(few[0]["scores"]) == 1
    pair = classify((frames[0], frames[0]))
    assert len(pair) == 4 and set(pair[0]) == {"label", "score"}
    batch = classify([{"video": list(frames), "fps": FPS}, {"video": frames[:30], "fps": FPS}])
    assert [len(answers) for answers in batch] == [1, 0] and batch[0][0]["apex"] == of_array["apex"]
    assert classify({"video": np.repeat(frames[:1], 60, axis=0), "fps": FPS}, by="attention") == []
    with pytest.raises(ValueError, match="expected one of flow, attention"):
        classify({"video": frames, "fps": FPS}, by="colour")
    with pytest.raises(FileNotFoundError, match="there is no file or folder absent.mp4"):
        classify("absent.mp4")
    with pytest.raises(ValueError, match="give `fps`"):
        classify(frames)
    with pytest.raises(ValueError, match="`top_k` must be"):
        classify("absent.mp4", top_k=0)


def test_a_pipeline_keeps_what_it_was_made_with(expression, model):
    """As of pairs; and the recognizer hears all labels all the same."""
    frames, *_ = expression
    classify = pipeline(TASK, model=model, trust_remote_code=True, top_k=1, return_maps=True)
    (found,) = classify({"video": frames, "fps": None}, fps=FPS)
    assert len(found["scores"]) == 1 and found["maps"]["patch_of_interest"].shape == (4, 4)
    (found,) = MicroExpressionRecognizer(classify)(frames, FPS)
    assert len(found.scores) == 4
    with pytest.raises(TypeError):
        classify({"video": frames}, fps=FPS, top=1)


def test_too_few_frames_a_second_are_said(expression, tmp_path, monkeypatch, capsys):
    frames, *_ = expression
    write_video(tmp_path / "slow.mp4", frames[::5], rate=FPS // 5)
    _, out, _ = run(monkeypatch, capsys, "spot", tmp_path / "slow.mp4")
    assert out.startswith("note: 10 frames a second are too few to spot by")
    write_video(tmp_path / "enough.mp4", frames[::2], rate=FPS // 2)
    _, out, _ = run(monkeypatch, capsys, "spot", tmp_path / "enough.mp4")
    assert "too few" not in out


def test_a_windowed_model_that_is_not_square_counts_in_the_same_pixels(expression, monkeypatch):
    """What is found in frames of 96 x 64 pixels is said in pixels of a square face, less the median over the face."""
    frames, *_ = expression
    measure = AttentionChange(classifier("windowed", (96, 64)))
    prepared = measure.prepare(frames[0])
    displacement = torch.full((1, 12 * 8, 2), 0.5)
    displacement[0, 6 * 8 + 4] = 3.5  # a patch in the middle, by 3 pixels more
    monkeypatch.setattr(
        measure._model, "compare_frames", lambda *frames: MicronBertModelOutput(displacement=displacement)
    )
    found = measure.movement(prepared, prepared, prepared)
    assert found.shape == (12, 8, 2)
    np.testing.assert_allclose(found[6, 4], [3 * 224 / 64, 3 * 224 / 96], rtol=1e-6)
    found[6, 4] = 0
    np.testing.assert_allclose(found, 0, atol=1e-6)


def test_a_pipeline_without_the_package_says_how_to_read_videos(model):
    """Its pairs need nothing; for a video it names what is missing."""
    program = f"""
import sys
sys.modules["micron_bert_hf"] = None
import numpy as np
from transformers import pipeline
classify = pipeline({TASK!r}, model={model!r}, trust_remote_code=True)
print(len(classify((np.zeros((32, 32, 3), np.uint8),) * 2)))
try:
    classify("a.mp4")
except ValueError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    count, message = done.stdout.splitlines()
    assert count == "4" and "install micron_bert_hf from its source" in message


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.mp4", b"", "empty"),
        ("a.mp4", b"text that poses as a video", "not a video"),
        ("a.txt", b"text", "is no video by its name"),
        ("absent.mp4", None, "there is no file or folder"),
    ],
)
def test_bad_videos_are_one_line(name, content, message, tmp_path, monkeypatch, capsys):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    code, out, err = run(monkeypatch, capsys, "spot", tmp_path / name)
    assert (code, out) == (1, "") and message in err and "Traceback" not in err and len(err.splitlines()) == 1


def test_bad_arguments(tmp_path, model, monkeypatch, capsys):
    (tmp_path / "empty").mkdir()
    for arguments, message in (
        (("spot", tmp_path / "empty"), "give `fps`"),
        (("spot", tmp_path / "empty", "--fps", "50"), "no frame can be read"),
        (("spot", tmp_path / "empty", "--fps", "0"), "`fps` must be above 0"),
        (("spot", tmp_path, "--format", "xml"), "expected one of table, json, csv"),
        (("spot", tmp_path, "--save-figure", tmp_path / "a.jpg"), "expected the path of a .png"),
        (("predict", tmp_path, tmp_path, tmp_path, "--model", model), "got 3 paths"),
        (("predict", tmp_path, tmp_path, "--model", model, "--save-video", tmp_path / "c.mp4"), "are no video"),
        (("predict", tmp_path, tmp_path, "--model", model, "--by", "attention"), "are no video"),
        (("predict", tmp_path, "--model", model, "--save-video", tmp_path / "c.avi"), "expected the path of a .mp4"),
        (("predict", tmp_path, "--model", model, "--by", "colour"), "expected one of flow, attention"),
        (("predict", tmp_path / "a.png", tmp_path / "b.png", "--model", model), "there is no file"),
    ):
        code, _, err = run(monkeypatch, capsys, *arguments)
        assert code == 1 and message in err, (arguments, err)
    with pytest.raises(ValueError, match=r"got \(2, 4, 4, 2\) of uint8"):
        Video(np.zeros((2, 4, 4, 2), np.uint8), fps=1)
    with pytest.raises(ValueError, match="got none"):
        Video([], fps=1)
    with pytest.raises(ValueError, match="frame 1 has 5 x 4 pixels, the first one 4 x 4"):
        list(Video([np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5, 3), np.uint8)], fps=1))
