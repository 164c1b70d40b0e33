"""The public call: rows, determinism, cache, errors."""

import json
import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest

from micron_bert_hf.synthetic import (
    CLASS_ACTION_UNITS,
    LANDMARK_NAMES,
    THREE_CLASS_LABELS,
    generate_micro_expressions,
    generation,
    save_contact_sheet,
)
from micron_bert_hf.synthetic.expressions import Temperament, envelope, sample_action_units, sample_clip_plan


SOURCE_FOLDER = str(Path(generation.__file__).parents[2])


def assert_same_rows(first, second):
    assert [row["sample_id"] for row in first] == [row["sample_id"] for row in second]
    for one, other in zip(first, second, strict=True):
        assert one.keys() == other.keys()
        for key, value in one.items():
            if isinstance(value, np.ndarray):
                assert value.dtype == other[key].dtype
                np.testing.assert_array_equal(value, other[key], err_msg=f"{one['sample_id']} {key}")
            else:
                assert value == other[key], (one["sample_id"], key)


@pytest.fixture
def no_rendering(monkeypatch):
    def refuse():
        raise AssertionError("something was rendered")

    monkeypatch.setattr(generation, "ClipRenderer", refuse)


def test_rows_hold_what_is_promised(small, small_rows):
    size = small["image_size"]
    assert [row["subject_id"] for row in small_rows] == ["s000", "s000", "s001", "s001"]
    assert len({row["sample_id"] for row in small_rows}) == len(small_rows)
    assert sorted(row["label"] for row in small_rows) == ["disgust", "disgust", "happiness", "happiness"]
    for row in small_rows:
        assert type(row) is dict
        assert row["sample_id"].startswith(row["subject_id"])
        assert row["label"] == row["label_raw"] in small["classes"]
        combinations = [set(map(str, units)) for units in CLASS_ACTION_UNITS[row["label"]]]
        assert set(row["action_units"]) in combinations
        assert all(0 < value <= 1 for sides in row["action_units"].values() for value in sides)
        assert row["onset_index"] == 0 < row["apex_index"] < row["offset_index"]
        for name, shape, dtype in (
            ("onset", (size, size, 3), np.uint8),
            ("apex", (size, size, 3), np.uint8),
            ("motion", (size, size, 2), np.float32),
            ("expression_motion", (size, size, 2), np.float32),
            ("motion_valid", (size, size), bool),
            ("face_mask", (size, size), bool),
            ("landmarks_onset", (len(LANDMARK_NAMES), 2), np.float32),
            ("landmarks_apex", (len(LANDMARK_NAMES), 2), np.float32),
        ):
            assert row[name].shape == shape and row[name].dtype == dtype, name
        json.dumps({key: value for key, value in row.items() if not isinstance(value, np.ndarray)})


def test_landmarks_lie_on_the_face_and_move_with_it(small_rows):
    for row in small_rows:
        column, line = row["landmarks_onset"].astype(int).T
        size = len(row["onset"])
        inside = (column >= 0) & (column < size) & (line >= 0) & (line < size)
        assert inside.all(), row["sample_id"]
        grown = cv2.dilate(row["face_mask"].astype(np.uint8), np.ones((5, 5)))
        assert grown[line[inside], column[inside]].all(), row["sample_id"]
        named = dict(zip(LANDMARK_NAMES, row["landmarks_onset"], strict=True))
        # Left is the subject's left, the right of the picture; y grows downward.
        assert named["eye_outer_left"][0] > named["eye_inner_left"][0] > named["eye_inner_right"][0]
        assert named["brow_middle_left"][1] < named["upper_lid_left"][1] < named["mouth_corner_left"][1]
        x, y = (row["landmarks_onset"] - 0.5).T
        moved = cv2.remap(row["motion"], x[:, None], y[:, None], cv2.INTER_LINEAR)[:, 0]
        error = np.abs(moved - (row["landmarks_apex"] - row["landmarks_onset"])).max(1)
        assert np.median(error) < 0.1, row["sample_id"]


def test_same_bytes_from_two_workers_and_through_the_cache(small, small_rows, tmp_path, no_rendering_later):
    parallel = list(generate_micro_expressions(**small, num_processes=2, cache_dir=tmp_path))
    assert_same_rows(parallel, small_rows)
    no_rendering_later()
    assert_same_rows(list(generate_micro_expressions(**small, cache_dir=tmp_path)), small_rows)
    assert_same_rows(list(generate_micro_expressions(**small, num_processes=2, cache_dir=tmp_path)), small_rows)


@pytest.fixture
def no_rendering_later(monkeypatch):
    def forbid():
        def refuse(*args, **kwargs):
            raise AssertionError("something was rendered")

        monkeypatch.setattr(generation, "ClipRenderer", refuse)
        monkeypatch.setattr(generation, "_work", refuse)

    return forbid


def test_first_subjects_and_classes_do_not_depend_on_the_rest(small, small_rows):
    fewer = dict(small, num_subjects=1, classes=("disgust",))
    expected = [row for row in small_rows if (row["subject_id"], row["label"]) == ("s000", "disgust")]
    assert_same_rows(list(generate_micro_expressions(**fewer)), expected)


def test_another_seed_gives_another_face(small, small_rows):
    other = next(generate_micro_expressions(**dict(small, seed=4)))
    difference = np.abs(other["onset"].astype(float) - small_rows[0]["onset"])
    assert difference.mean() > 5
    assert np.abs(other["motion"] - small_rows[0]["motion"]).max() > 0.1


def test_whole_clip_contains_the_pair(small, small_rows):
    row = next(
        generate_micro_expressions(**dict(small, num_subjects=1, classes=(small_rows[0]["label"],)), frames="clip")
    )
    frames = row.pop("frames")
    assert frames.shape == (row["offset_index"] + 1, *row["onset"].shape) and frames.dtype == np.uint8
    np.testing.assert_array_equal(frames[row["onset_index"]], row["onset"])
    np.testing.assert_array_equal(frames[row["apex_index"]], row["apex"])
    assert_same_rows([row], small_rows[:1])


@pytest.mark.parametrize("damage", ["truncated", "flipped", "emptied", "foreign"])
def test_damaged_cache_file_is_made_again(small, small_rows, tmp_path, damage, monkeypatch, caplog):
    stored = [row for row in small_rows if row["subject_id"] == "s000"]
    monkeypatch.setattr(
        generation, "ClipRenderer", lambda: types.SimpleNamespace(render_subject=lambda index, parameters: stored)
    )
    one = dict(small, num_subjects=1)
    assert_same_rows(list(generate_micro_expressions(**one, cache_dir=tmp_path)), stored)
    (path,) = tmp_path.rglob("*.npz")
    data = bytearray(path.read_bytes())
    if damage == "truncated":
        data = data[: len(data) // 2]
    elif damage == "flipped":
        data[data.index(b"0/motion.npy") + 2000] ^= 0xFF
    elif damage == "emptied":
        data = b""
    if damage == "foreign":
        np.savez(path, something=np.zeros(3))
    else:
        path.write_bytes(data)
    damaged = path.read_bytes()
    assert_same_rows(list(generate_micro_expressions(**one, cache_dir=tmp_path)), stored)
    assert "damaged" in caplog.text
    assert path.read_bytes() != damaged
    caplog.clear()
    list(generate_micro_expressions(**one, cache_dir=tmp_path))
    assert not caplog.text


def test_larger_set_takes_over_cached_subjects_and_other_parameters_do_not(small, small_rows, tmp_path, monkeypatch):
    made = []

    def render_subject(index, parameters):
        made.append((index, parameters.difficulty))
        return [row for row in small_rows if row["subject_id"] == f"s{index:03d}"]

    monkeypatch.setattr(generation, "ClipRenderer", lambda: types.SimpleNamespace(render_subject=render_subject))
    list(generate_micro_expressions(**dict(small, num_subjects=1), cache_dir=tmp_path))
    list(generate_micro_expressions(**small, cache_dir=tmp_path))
    list(generate_micro_expressions(**dict(small, num_subjects=1, difficulty=0.9), cache_dir=tmp_path))
    monkeypatch.setattr(generation, "GENERATOR_VERSION", "another")
    list(generate_micro_expressions(**dict(small, num_subjects=1), cache_dir=tmp_path))
    assert made == [(0, 0.3), (1, 0.3), (0, 0.9), (0, 0.3)]


def test_killed_process_leaves_no_broken_file_and_the_next_call_goes_on(small, small_rows, tmp_path):
    script = (
        "from micron_bert_hf.synthetic import generate_micro_expressions as g\n"
        f"list(g(**{dict(small, num_subjects=50)!r}, cache_dir={str(tmp_path)!r}))\n"
    )
    environment = dict(os.environ, PYTHONPATH=SOURCE_FOLDER)
    process = subprocess.Popen([sys.executable, "-c", script], env=environment)
    try:
        deadline = time.monotonic() + 60
        while not list(tmp_path.rglob("*.npz")):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    finished = sorted(tmp_path.rglob("*.npz"))
    assert finished[0].name == "s000.npz"
    for path in finished:
        with np.load(path, allow_pickle=False) as arrays:
            assert all(arrays[name].size for name in arrays.files)
    before = finished[0].stat().st_mtime_ns
    assert_same_rows(list(generate_micro_expressions(**small, cache_dir=tmp_path)), small_rows)
    assert finished[0].stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("num_subjects", 0, "num_subjects is 0"),
        ("num_subjects", 2.0, "num_subjects is 2.0"),
        ("clips_per_class", -1, "clips_per_class is -1"),
        ("clips_per_class", True, "clips_per_class is True"),
        ("image_size", 31, "image_size is 31; expected an integer of at least 32"),
        ("difficulty", 1.01, "difficulty is 1.01; expected a number from 0 to 1"),
        ("difficulty", float("nan"), "difficulty is nan"),
        ("difficulty", "hard", "difficulty is 'hard'"),
        ("seed", -1, "seed is -1"),
        ("fps", 10, "fps is 10; expected an integer of at least 20"),
        ("num_processes", 0, "num_processes is 0"),
        ("frames", "video", "frames is 'video'; expected one of"),
        ("color", "gray", "color is 'gray'; expected one of"),
        ("classes", ("happiness", "joy"), r"unknown class\(es\) \['joy'\]; expected some of \['happiness'"),
        ("classes", "happiness", "classes is the string"),
        ("classes", (), "at least one name"),
        ("classes", ("fear", "fear"), "none twice"),
    ],
)
def test_bad_arguments_are_named_before_any_work(small, no_rendering, argument, value, message):
    with pytest.raises(ValueError, match=message):
        generate_micro_expressions(**{**small, argument: value})


def test_unfinished_file_of_a_killed_process_is_removed_but_not_one_in_use(small, small_rows, tmp_path, monkeypatch):
    stored = [row for row in small_rows if row["subject_id"] == "s000"]
    monkeypatch.setattr(
        generation, "ClipRenderer", lambda: types.SimpleNamespace(render_subject=lambda index, parameters: stored)
    )
    one = dict(small, num_subjects=1, cache_dir=tmp_path)
    list(generate_micro_expressions(**one))
    (finished,) = tmp_path.rglob("*.npz")
    abandoned, in_use = finished.parent / "abandoned.tmp", finished.parent / "in_use.tmp"
    abandoned.write_bytes(b"half")
    fcntl = pytest.importorskip("fcntl")
    with in_use.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        finished.unlink()
        list(generate_micro_expressions(**one))
        assert finished.exists() and in_use.exists() and not abandoned.exists()


def test_grey_frames_have_equal_channels_and_the_same_motion(small, small_rows):
    first = small_rows[0]
    row = next(generate_micro_expressions(**dict(small, num_subjects=1, classes=(first["label"],)), color="grey"))
    for name in ("onset", "apex"):
        assert (row[name] == row[name][..., :1]).all()
        colour = cv2.cvtColor(first[name], cv2.COLOR_RGB2GRAY).astype(float)
        assert np.corrcoef(colour.ravel(), row[name][..., 0].ravel())[0, 1] > 0.97
    assert not (first["onset"] == first["onset"][..., :1]).all()
    np.testing.assert_array_equal(row["motion"], first["motion"])


def test_head_drift_exceeds_the_expression_at_high_difficulty():
    """Of the plans, so with many samples: displacement of the nose's tip against that of the labelled units."""

    def nose_and_unit(difficulty):
        ratios = []
        for seed in range(200):
            rng = np.random.default_rng(seed)
            plan = sample_clip_plan(rng, "disgust", difficulty, 100, Temperament(dict.fromkeys(range(50), 1.0), 1),
                                    np.zeros(3))  # fmt: skip
            pose, first = plan.pose_at(plan.apex_index), plan.pose_at(0)
            tip = np.array([0.0, 0.0, 1.4])  # from the pivot, decimetres
            moved = (pose.rotation - first.rotation) @ tip + pose.translation - first.translation
            expression = 0.0616 * max(max(sides) for sides in plan.action_units.values())
            ratios.append(np.hypot(*moved[:2]) / expression)
        return np.median(ratios)

    assert nose_and_unit(0.0) < 0.3
    assert nose_and_unit(1.0) > 1


def test_every_class_has_one_of_three_labels():
    assert THREE_CLASS_LABELS.keys() == CLASS_ACTION_UNITS.keys()
    assert set(THREE_CLASS_LABELS.values()) == {"positive", "negative", "surprise"}


def test_envelope_rises_peaks_and_ends():
    times = np.array([-0.1, 0.0, 0.05, 0.1, 0.2, 0.3, 0.5])
    values = envelope(times, 0.1, 0.2)
    np.testing.assert_allclose(values[[0, 1, 3, 5, 6]], [0, 0, 1, 0, 0], atol=1e-12)
    assert 0 < values[2] < 1 and values[4] == pytest.approx(0.5)


def test_difficulty_weakens_the_labelled_movement_and_adds_others():
    temperament = Temperament(dict.fromkeys(range(50), 1.0), habit=1)

    def sums(difficulty):
        labelled, drift, others = 0.0, 0.0, 0
        for seed in range(60):
            rng = np.random.default_rng(seed)
            plan = sample_clip_plan(rng, "disgust", difficulty, 100, temperament, np.zeros(3))
            labelled += np.mean(list(plan.action_units.values()))
            drift += np.abs(plan.drift).sum()
            others += len(plan.other_units)
        return labelled, drift, others

    easy, hard = sums(0.0), sums(1.0)
    assert hard[0] == pytest.approx(0.28 * easy[0], rel=0.02)
    assert hard[1] > 3 * easy[1] and hard[2] > easy[2]


def test_contempt_is_one_sided():
    for seed in range(10):
        units = sample_action_units(np.random.default_rng(seed), "contempt", 0.0, {14: 1.0})
        assert max(units[14]) > 5 * min(units[14])


def test_only_paired_units_are_asymmetric():
    for seed in range(10):
        units = sample_action_units(np.random.default_rng(seed), "repression", 0.0, dict.fromkeys(range(50), 1.0))
        for unit, (left, right) in units.items():
            assert (left == right) == (unit == 17)


def test_contact_sheet_is_a_readable_picture(small_rows, tmp_path):
    save_contact_sheet(small_rows[:3], tmp_path / "sheet.png", columns=2, tile_size=48)
    picture = cv2.imread(str(tmp_path / "sheet.png"))
    assert picture.shape == (2 * 96, 2 * 96, 3)
    assert picture[:96, :96].std() > 20 and not picture[96:, 96:].any()
    with pytest.raises(ValueError, match="no rows"):
        save_contact_sheet([], tmp_path / "empty.png")


def test_workers_end_with_a_killed_parent():
    code = (
        "from micron_bert_hf.synthetic import generate_micro_expressions\n"
        "if __name__ == '__main__':\n"
        "    for row in generate_micro_expressions(40, 1, 48, num_processes=2):\n"
        "        print('row', flush=True)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout.readline() == "row\n"
    workers = [child.pid for child in psutil.Process(parent.pid).children(recursive=True)]
    assert len(workers) >= 2
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and any(map(psutil.pid_exists, workers)):
        time.sleep(0.2)
    assert not any(map(psutil.pid_exists, workers))
