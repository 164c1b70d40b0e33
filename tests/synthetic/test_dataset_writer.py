"""A set on disk: what load_dataset reads, the same bytes however it was made, and complete or absent."""

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import weakref
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset
from datasets.exceptions import DatasetGenerationError
from datasets.utils.info_utils import NonMatchingSplitsSizesError

from micron_bert_hf import cli
from micron_bert_hf.synthetic import LANDMARK_NAMES, decode_motion, patch_motion
from micron_bert_hf.synthetic.dataset_card import render_card
from micron_bert_hf.synthetic.dataset_rows import MOTION_STEP, encode_motion
from micron_bert_hf.synthetic.presets import (
    PRESETS,
    LabelledSetParameters,
    UnlabelledSetParameters,
    reproduction_command,
)


SMALL = LabelledSetParameters(
    num_subjects=4, clips_per_class=1, image_size=48, difficulty=0.6, seed=7, classes=("surprise", "disgust")
)
SUBJECTS_PER_SHARD = 2
SHARDS = ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"]
COLUMNS = [
    *("sample_id", "subject_id", "dataset", "frames", "frame_indices", "onset", "apex", "offset", "true_apex", "fps"),
    *("label", "label_raw", "action_units", "other_action_units", "landmarks"),
    *("motion", "expression_motion", "motion_valid", "face_mask"),
]


@pytest.fixture(scope="session")
def writer():
    """The module, with shards of two subjects."""
    from micron_bert_hf.synthetic import dataset_writer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataset_writer, "SUBJECTS_PER_SHARD", SUBJECTS_PER_SHARD)
        yield dataset_writer


@pytest.fixture(scope="session")
def generated():
    return list(SMALL.rows())


@pytest.fixture(scope="session")
def small_set(writer, generated, tmp_path_factory):
    with replayed(SMALL, generated):
        return writer.write_dataset(tmp_path_factory.mktemp("set") / "small", SMALL, progress=False)


@contextlib.contextmanager
def replayed(parameters, rows):
    """Rows that were rendered before, instead of rendering them again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(parameters), "rows", lambda self, **options: (row for row in rows))
        yield


@pytest.fixture
def copied_set(small_set, tmp_path):
    return Path(shutil.copytree(small_set, tmp_path / "copy"))


def fake_row(subject, number, size=48):
    generator = np.random.default_rng([subject, number])
    frames = generator.integers(0, 256, (2, size, size, 3), np.uint8)
    landmarks = np.zeros((len(LANDMARK_NAMES), 2), np.float32)
    return {
        "sample_id": f"s{subject:03d}_{number:03d}",
        "subject_id": f"s{subject:03d}",
        "label": SMALL.classes[number],
        "label_raw": SMALL.classes[number],
        "fps": 100,
        "onset_index": 0,
        "apex_index": 9,
        "offset_index": 20,
        "true_apex_index": 8,
        "onset": frames[0],
        "apex": frames[1],
        "action_units": {"9": (0.2, 0.3)},
        "other_action_units": {},
        "landmarks_onset": landmarks,
        "landmarks_apex": landmarks,
        "motion": generator.normal(0, 1, (size, size, 2)).astype(np.float32),
        "expression_motion": np.zeros((size, size, 2), np.float32),
        "motion_valid": np.ones((size, size), bool),
        "face_mask": np.ones((size, size), bool),
    }


@pytest.fixture
def fake_faces(monkeypatch):
    """Rows of noise instead of faces; `made` holds the names of those that were asked for."""
    made = []

    def rows(self, num_processes=1, cache_dir=None, progress=False):
        for subject in range(self.num_subjects):
            for number in range(self.rows_per_subject):
                row = fake_row(subject, number)
                made.append(row["sample_id"])
                yield row

    monkeypatch.setattr(LabelledSetParameters, "rows", rows)
    return made


def shard_bytes(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("data/*"))}


def test_a_set_on_disk_holds_what_the_generator_made(small_set, generated):
    dataset = load_dataset(str(small_set), split="train")
    assert sorted(dataset.column_names) == sorted(COLUMNS)
    assert dataset["sample_id"] == [row["sample_id"] for row in generated]
    for stored, row in zip(dataset, generated, strict=True):
        assert stored["dataset"] == "synthetic"
        for name in ("subject_id", "label", "label_raw", "fps"):
            assert stored[name] == row[name]
        for name in ("onset", "apex", "offset", "true_apex"):
            assert stored[name] == row[f"{name}_index"]
        assert stored["frame_indices"] == [stored["onset"], stored["apex"]]
        for image, name in zip(stored["frames"], ("onset", "apex"), strict=True):
            np.testing.assert_array_equal(np.asarray(image), row[name])
        for name in ("motion", "expression_motion"):
            motion = decode_motion(stored[name])
            assert motion.dtype == np.float32 and np.abs(motion).max() > 0.05
            np.testing.assert_allclose(motion, row[name], atol=MOTION_STEP / 2)
            # as the card says, without this package
            stated = (np.asarray(stored[name], np.float32) - 32768).reshape(2, 48, 48) / 512
            np.testing.assert_array_equal(stated, motion.transpose(2, 0, 1))
            np.testing.assert_allclose(patch_motion(motion, 8), patch_motion(row[name], 8), atol=MOTION_STEP)
        for name in ("motion_valid", "face_mask"):
            assert stored[name].mode == "1"
            np.testing.assert_array_equal(np.asarray(stored[name]), row[name])
        for name in ("action_units", "other_action_units"):
            expected = [{"unit": int(unit), "left": left, "right": right} for unit, (left, right) in row[name].items()]
            assert [unit["unit"] for unit in stored[name]] == [unit["unit"] for unit in expected]
            for one, other in zip(stored[name], expected):
                assert one == pytest.approx(other, abs=1e-6)
        for name in ("onset", "apex"):
            np.testing.assert_array_equal(np.float32(stored["landmarks"][name]), row[f"landmarks_{name}"])


def test_it_loads_and_streams_where_this_package_is_not_installed(small_set, tmp_path):
    program = f"""
import json, sys
sys.modules["micron_bert_hf"] = None
from datasets import load_dataset
for streaming in (False, True):
    dataset = load_dataset({str(small_set)!r}, split="train", streaming=streaming)
    rows = list(dataset)
    assert set(rows[0]) == set(dataset.features) == {set(COLUMNS)!r}
    assert [len(row["frames"]) for row in rows] == [2] * 8 and rows[0]["frames"][1].size == (48, 48)
    assert dataset.features["label"].dtype == "string"
    if streaming:
        assert dataset.num_shards == 2
    print(json.dumps([row["sample_id"] for row in rows]))
"""
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    process = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=300, env=environment
    )
    assert process.returncode == 0, process.stderr[-4000:]
    once, streamed = map(json.loads, process.stdout.splitlines())
    assert once == streamed and len(set(once)) == 8


def test_the_number_of_processes_changes_no_byte(writer, small_set, tmp_path):
    other = writer.write_dataset(tmp_path / "set", SMALL, num_processes=2, progress=False, baselines=False)
    assert list(shard_bytes(small_set)) == [Path(name).name for name in SHARDS]
    assert shard_bytes(other) == shard_bytes(small_set)
    assert (other / "parameters.json").read_text() == (small_set / "parameters.json").read_text()


def test_a_killed_run_leaves_nothing_that_loads_and_goes_on(writer, small_set, tmp_path):
    output, partial = tmp_path / "set", tmp_path / ".set.partial"
    program = f"""
from micron_bert_hf.synthetic import dataset_writer
from micron_bert_hf.synthetic.presets import LabelledSetParameters
dataset_writer.SUBJECTS_PER_SHARD = {SUBJECTS_PER_SHARD}
print("ready", flush=True)
dataset_writer.write_dataset({str(output)!r}, {SMALL!r}, progress=False)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        deadline = time.monotonic() + 120
        while not (partial / SHARDS[0]).exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    first = partial / SHARDS[0]
    assert first.exists() and not (partial / SHARDS[1]).exists() and not output.exists()
    kept = first.stat().st_mtime_ns
    for streaming in (False, True):
        with pytest.raises(FileNotFoundError, match="00001-of-00002"):
            load_dataset(str(partial), split="train", streaming=streaming)

    assert writer.write_dataset(output, SMALL, progress=False, baselines=False) == output
    assert not partial.exists()
    assert (output / SHARDS[0]).stat().st_mtime_ns == kept
    assert shard_bytes(output) == shard_bytes(small_set)
    assert sorted(path.name for path in output.iterdir()) == ["README.md", "data", "parameters.json"]


@pytest.mark.parametrize("damage", ["truncated", "altered", "of another set", "unfinished"])
def test_only_whole_shards_are_kept(writer, fake_faces, monkeypatch, tmp_path, damage):
    expected = writer.write_dataset(tmp_path / "whole", SMALL, progress=False, baselines=False)
    with monkeypatch.context() as patch:
        patch.setattr(writer, "_describe", interrupt)
        with pytest.raises(KeyboardInterrupt):
            writer.write_dataset(tmp_path / "set", SMALL, progress=False)
    shard = tmp_path / ".set.partial" / SHARDS[1]
    other = shard.with_name(Path(SHARDS[0]).name)
    kept = other.stat().st_mtime_ns
    content = shard.read_bytes()
    middle = len(content) // 2
    if damage == "truncated":
        shard.write_bytes(content[:middle])
    elif damage == "altered":
        shard.write_bytes(content[:middle] + bytes(byte ^ 255 for byte in content[middle : middle + 64])
                          + content[middle + 64 :])  # fmt: skip
    elif damage == "of another set":
        stranger = writer.write_dataset(tmp_path / "other", replace(SMALL, seed=8), progress=False, baselines=False)
        shutil.copy(stranger / SHARDS[1], shard)
    else:
        shard.rename(shard.with_name(shard.name + ".tmp"))
    writer.write_dataset(tmp_path / "set", SMALL, progress=False, baselines=False)
    assert shard_bytes(tmp_path / "set") == shard_bytes(expected)
    assert (tmp_path / "set" / SHARDS[0]).stat().st_mtime_ns == kept


def interrupt(*arguments):
    raise KeyboardInterrupt


def test_nothing_is_made_again_when_all_shards_are_there(writer, fake_faces, monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        patch.setattr(writer, "_describe", interrupt)
        with pytest.raises(KeyboardInterrupt):
            writer.write_dataset(tmp_path / "set", SMALL, progress=False)
    fake_faces.clear()
    writer.write_dataset(tmp_path / "set", SMALL, progress=False, baselines=False)
    assert fake_faces == []


def test_other_parameters_start_over(writer, fake_faces, monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        patch.setattr(writer, "_describe", interrupt)
        with pytest.raises(KeyboardInterrupt):
            writer.write_dataset(tmp_path / "set", SMALL, progress=False)
    smaller = replace(SMALL, num_subjects=1)
    output = writer.write_dataset(tmp_path / "set", smaller, progress=False)
    assert list(shard_bytes(output)) == ["train-00000-of-00001.parquet"]
    assert len(load_dataset(str(output), split="train")) == 2


def test_only_one_subject_is_held_at_a_time(writer, monkeypatch, tmp_path):
    made, most = [], []

    def rows(self, num_processes=1, cache_dir=None, progress=False):
        for subject in range(self.num_subjects):
            for number in range(self.rows_per_subject):
                row = fake_row(subject, number)
                made.append(weakref.ref(row["onset"]))
                most.append(sum(reference() is not None for reference in made))
                yield row
                del row

    monkeypatch.setattr(LabelledSetParameters, "rows", rows)
    writer.write_dataset(tmp_path / "set", replace(SMALL, num_subjects=6), progress=False, baselines=False)
    assert len(most) == 12 and max(most) <= SMALL.rows_per_subject
    for shard in sorted((tmp_path / "set" / "data").iterdir()):  # what is encoded is let go with each subject, too
        groups = pq.ParquetFile(shard).metadata
        assert [groups.row_group(number).num_rows for number in range(groups.num_row_groups)] == [2, 2]


def test_two_runs_into_one_folder_are_kept_apart(writer, fake_faces, monkeypatch, tmp_path):
    """The second one in this process, and in another."""
    refused = []

    def describe(*arguments):
        with pytest.raises(FileExistsError, match="another run in this process"):
            writer.write_dataset(tmp_path / "set", SMALL, progress=False)
        folder = tmp_path / ".set.partial"
        program = (
            f"from micron_bert_hf.locks import folder_lock; folder_lock(__import__('pathlib').Path({str(folder)!r}))"
        )
        other = subprocess.run(
            [sys.executable, "-c", program + ".__enter__()"], capture_output=True, text=True, timeout=120
        )
        refused.append(other.stderr)
        return original(*arguments)

    original = writer._describe
    monkeypatch.setattr(writer, "_describe", describe)
    writer.write_dataset(tmp_path / "set", SMALL, progress=False, baselines=False)
    assert len(refused) == 1 and "is being written by another process" in refused[0]
    assert not list((tmp_path / "set").glob(".*"))


def test_a_finished_set_is_left_as_it_is(writer, fake_faces, copied_set):
    before = {path: path.stat().st_mtime_ns for path in copied_set.rglob("*")}
    assert writer.write_dataset(copied_set, SMALL, progress=False) == copied_set
    assert {path: path.stat().st_mtime_ns for path in copied_set.rglob("*")} == before
    assert fake_faces == []


def test_baselines_are_added_to_a_finished_set_that_lacks_them(writer, fake_faces, small_set, copied_set):
    (copied_set / "results.json").unlink()
    (copied_set / "README.md").write_text("")
    writer.write_dataset(copied_set, SMALL, progress=False)
    assert fake_faces == []
    for name in ("results.json", "README.md"):
        assert (copied_set / name).read_text() == (small_set / name).read_text()


def test_a_foreign_or_damaged_folder_is_refused(writer, fake_faces, copied_set, tmp_path):
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("dear")
    with pytest.raises(FileExistsError, match="something else"):
        writer.write_dataset(foreign, SMALL)
    with pytest.raises(FileExistsError, match="something else"):
        writer.write_dataset(foreign / "thesis.txt", SMALL)
    with pytest.raises(FileExistsError, match="other parameters"):
        writer.write_dataset(copied_set, replace(SMALL, seed=8))
    (tmp_path / ".new.partial").mkdir()
    (tmp_path / ".new.partial" / "thesis.txt").write_text("dear")
    with pytest.raises(FileExistsError, match="something else"):
        writer.write_dataset(tmp_path / "new", SMALL)
    assert (foreign / "thesis.txt").read_text() == "dear"
    assert (tmp_path / ".new.partial" / "thesis.txt").read_text() == "dear"
    shard = copied_set / SHARDS[1]
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(ValueError, match="altered"):
        writer.write_dataset(copied_set, SMALL)
    assert fake_faces == []


def test_an_empty_folder_is_filled(writer, fake_faces, tmp_path):
    assert len(load_dataset(str(writer.write_dataset(tmp_path, SMALL, progress=False, baselines=False)))["train"]) == 8


def test_a_set_that_lacks_a_shard_or_a_row_does_not_load(copied_set):
    card = copied_set / "README.md"
    text = card.read_text()
    assert "num_examples: 8" in text
    card.write_text(text.replace("num_examples: 8", "num_examples: 9"))
    with pytest.raises((NonMatchingSplitsSizesError, DatasetGenerationError)):
        load_dataset(str(copied_set), split="train")
    card.write_text(text)
    (copied_set / SHARDS[0]).unlink()
    for streaming in (False, True):
        with pytest.raises(FileNotFoundError):
            load_dataset(str(copied_set), split="train", streaming=streaming)


def test_the_card_says_what_was_measured(small_set):
    card = (small_set / "README.md").read_text()
    results = json.loads((small_set / "results.json").read_text())
    described = json.loads((small_set / "parameters.json").read_text())
    assert results["num_samples"] == 8 and results["num_subjects"] == 4
    assert results["fingerprint"] == described["fingerprint"] and described["fingerprint"] in card
    assert len(results["baselines"]) == 5
    for scores in results["baselines"].values():
        line = next(line for line in card.splitlines() if line.startswith(f"| {scores['description']} |"))
        numbers = [float(number) for number in re.findall(r"\d\.\d{3}", line)]
        expected = [scores["uf1"], *scores["uf1_interval"], scores["uar"], *scores["uar_interval"]]
        np.testing.assert_allclose(numbers, expected, atol=5.1e-4)
    for text in ("license: cc0-1.0", "Mika Suominen", "no real person", "| surprise |", "| disgust |", *SHARDS):
        assert text in card, text
    assert "| happiness |" not in card
    for column in COLUMNS:
        assert re.search(rf"^\| .*\b{column}\b.* \|", card, re.MULTILINE), column


def test_the_card_follows_its_results(small_set):
    described = json.loads((small_set / "parameters.json").read_text())
    results = json.loads((small_set / "results.json").read_text())
    results["baselines"]["dis_flow"]["uf1"] = 0.9876
    assert "| DIS optical flow, SVM | 0.988 [" in render_card(described, SMALL, results)
    assert "Not measured" in render_card(described, SMALL, None)


def test_clips_hold_every_frame(writer, tmp_path):
    parameters = LabelledSetParameters(
        num_subjects=1, clips_per_class=1, image_size=32, classes=("surprise",), frames="clip", seed=2
    )
    (row,) = parameters.rows()
    with replayed(parameters, [row]):
        output = writer.write_dataset(tmp_path / "set", parameters, progress=False)
    (stored,) = load_dataset(str(output), split="train")
    assert stored["frame_indices"] == list(range(len(row["frames"])))
    assert 0 == stored["onset"] < stored["apex"] < stored["offset"] < len(stored["frames"])
    np.testing.assert_array_equal([np.asarray(frame) for frame in stored["frames"]], row["frames"])
    (sample,) = writer.iterate_samples(output)
    for name in ("onset", "apex"):
        np.testing.assert_array_equal(sample[name], row[name])
        np.testing.assert_array_equal(np.asarray(stored["frames"][stored[name]]), row[name])
    assert "every frame of the clip" in (output / "README.md").read_text()
    assert not (output / "results.json").exists()  # one subject cannot be split


def test_long_clips_hold_their_intervals(writer, tmp_path):
    parameters = UnlabelledSetParameters(num_clips=1, seconds=0.9, image_size=32, name="long")
    (row,) = parameters.rows()
    # whatever happens in this clip, something more
    added = {"onset": 50, "apex": 60, "offset": 90, "label": "anger", "action_units": {"4": (0.5, 0.25)}}
    row["intervals"] = [*row["intervals"], added]
    with replayed(parameters, [row]):
        output = writer.write_dataset(tmp_path / "set", parameters, progress=False)
    (stored,) = load_dataset(str(output), split="train")
    assert len(stored["frames"]) == len(stored["landmarks"]) == 91
    np.testing.assert_array_equal([np.asarray(frame) for frame in stored["frames"]], row["frames"])
    np.testing.assert_array_equal(np.float32(stored["landmarks"]), row["landmarks"])
    for one, other in zip(stored["intervals"], row["intervals"], strict=True):
        assert {name: one[name] for name in ("onset", "apex", "offset", "label")} == {
            name: other[name] for name in ("onset", "apex", "offset", "label")
        }
        assert [str(unit["unit"]) for unit in one["action_units"]] == list(other["action_units"])
    assert stored["intervals"][-1]["action_units"] == [{"unit": 4, "left": 0.5, "right": 0.25}]
    assert stored["dataset"] == "long" and "label" not in stored
    assert "intervals" in (output / "README.md").read_text()
    assert not (output / "results.json").exists()  # one subject cannot be split
    *_, sample = writer.iterate_samples(output)
    assert (sample["subject_id"], sample["label"]) == (row["subject_id"], "anger") and "motion" not in sample
    np.testing.assert_array_equal(sample["onset"], row["frames"][50])
    np.testing.assert_array_equal(sample["apex"], row["frames"][60])
    np.testing.assert_array_equal(sample["landmarks_onset"], row["landmarks"][50])


def test_long_clips_get_baselines_on_their_intervals(writer, tmp_path):
    """Two clips of noise with two micro-expressions each, and one without any, who is no subject of the comparison."""
    parameters = UnlabelledSetParameters(num_clips=3, seconds=0.9, image_size=48, classes=("surprise", "disgust"))
    landmarks = np.zeros((91, len(LANDMARK_NAMES), 2), np.float32)
    eyes = [index for index, name in enumerate(LANDMARK_NAMES) if name.startswith("eye_")]
    landmarks[:, eyes] = (24, 16)
    landmarks[:, [LANDMARK_NAMES.index(f"mouth_corner_{side}") for side in ("left", "right")]] = (24, 32)
    interval = {"offset": 40, "action_units": {"9": (0.2, 0.3)}}
    rows = [
        {
            "sample_id": f"u{clip:03d}_000",
            "subject_id": f"u{clip:03d}",
            "fps": 100,
            "frames": np.random.default_rng(clip).integers(0, 256, (91, 48, 48, 3), np.uint8),
            "intervals": [
                {**interval, "onset": 3 + clip, "apex": 20, "label": "surprise"},
                {**interval, "onset": 50, "apex": 60, "offset": 80, "label": "disgust"},
            ]
            if clip
            else [],
            "landmarks": landmarks,
        }
        for clip in range(3)
    ]
    with replayed(parameters, rows):
        output = writer.write_dataset(tmp_path / "set", parameters, progress=False)
    results = json.loads((output / "results.json").read_text())
    assert (results["num_samples"], results["num_subjects"]) == (4, 2)
    assert set(results["baselines"]) == {"majority", "onset_appearance", "frame_difference", "dis_flow"}
    card = (output / "README.md").read_text()
    assert "4 micro-expressions, each told its true onset frame" in card and "| DIS optical flow, SVM | 0." in card


def test_a_folder_that_is_no_set_has_no_samples(writer, tmp_path):
    with pytest.raises(ValueError, match="no synthetic set"):
        next(writer.iterate_samples(tmp_path))


def test_motion_out_of_range_is_refused_and_the_rest_is_kept():
    motion = np.random.default_rng(0).uniform(-63.9, 63.9, (6, 8, 2)).astype(np.float32)
    stored = cv2.imdecode(np.frombuffer(encode_motion(motion), np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_allclose(decode_motion(stored), motion, atol=MOTION_STEP / 2 + 1e-6)
    for value in (64.0, -64.0, np.nan, np.inf):
        motion[2, 3, 1] = value
        with pytest.raises(ValueError, match="largest motion"):
            encode_motion(motion)
    with pytest.raises(ValueError, match="uint8"):
        decode_motion(np.zeros((4, 4), np.uint8))


@pytest.fixture
def run_main(monkeypatch, capsys):
    def run(*words):
        monkeypatch.setattr(sys, "argv", ["micron-bert", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return caught.value.code or 0, capsys.readouterr().err

    return run


def test_the_command_makes_a_set_and_its_picture(run_main, tmp_path):
    output, sheet = tmp_path / "set", tmp_path / "sheet.png"
    small = ("--subjects", 2, "--clips-per-class", 1, "--image-size", 32, "--classes", "disgust,anger", "--seed", 1)
    status, errors = run_main(
        "synthesize", output, *small, "--color", "grey", "--contact-sheet", sheet, "--no-baselines"
    )
    assert status == 0, errors
    assert "synthetic faces: 100%" in errors
    first = load_dataset(str(output), split="train")[0]["frames"][0]
    assert np.ptp(np.asarray(first).astype(int), axis=-1).max() == 0
    # two subjects, two tiles of 160 pixels each, in a row for four
    assert cv2.imread(str(sheet)).shape == (320, 1280, 3)
    assert "Not measured" in (output / "README.md").read_text()


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        ("--preset mer-synth-v9", 1, "mer-synth-v9"),
        ("--preset mer-synth-v1 --fps 200", 1, "--fps 100, which contradicts the given 200"),
        ("--subjects 0", 1, "num_subjects is 0"),
        ("--subjects many", 2, "--subjects"),
        ("--clips-per-class 0", 1, "clips_per_class is 0"),
        ("--classes happiness,joy", 1, "joy"),
        ("--classes happiness,happiness", 1, "none twice"),
        ("--image-size -5", 1, "image_size is -5"),
        ("--fps 30", 1, "fps is 30"),
        ("--difficulty 1.5", 1, "difficulty is 1.5"),
        ("--seed -1", 1, "seed is -1"),
        ("--frames film", 1, "film"),
        ("--jobs 0", 1, "num_processes is 0"),
        ("--unlabelled 0", 1, "num_clips is 0"),
        ("--unlabelled 2 --seconds 0.1", 1, "seconds is 0.1"),
        ("--unlabelled 2 --contact-sheet x.png", 1, "contact sheet"),
        ("--contact-sheet absent/x.png", 1, "absent"),
        ("--colour rgb", 2, "colour"),
    ],
)
def test_bad_input_is_refused_before_work_starts(run_main, tmp_path, monkeypatch, options, status, message):
    monkeypatch.chdir(tmp_path)
    code, errors = run_main("synthesize", "set", *options.split())
    assert code == status
    assert message in " ".join(errors.split())
    assert list(tmp_path.iterdir()) == []


def test_the_command_in_the_card_makes_the_same_set(run_main, monkeypatch, writer):
    asked = []

    def write_dataset(output, parameters, **options):
        asked.append(parameters)
        return output

    monkeypatch.setattr(writer, "write_dataset", write_dataset)
    sets = [
        PRESETS["mer-synth-v1-spotting"],
        LabelledSetParameters(num_subjects=3, classes=("fear", "anger"), frames="clip", fps=200, color="grey"),
        UnlabelledSetParameters(num_clips=3, seconds=1.5),
        replace(PRESETS["mer-synth-v1"], name="synthetic", seed=4),
    ]
    for parameters in sets:
        program, *words = shlex.split(reproduction_command(parameters))
        assert program == "micron-bert" and run_main(*words)[0] == 0
    assert asked == sets
