"""Faces in converted sets: where they end up, one transform a clip, and what is noted where there is none."""

import datasets
import numpy as np
import pytest
import trees
from PIL import Image

from benchmarks.faces import embed, placement, true_points
from micron_bert_hf.databases import ConversionOptions, convert_database
from micron_bert_hf.databases.casme2 import CASME2
from micron_bert_hf.databases.casme3 import CASME3
from micron_bert_hf.faces.alignment import EYE_DISTANCE_SHARE, template_points
from micron_bert_hf.faces.transforms import move_points
from micron_bert_hf.synthetic import generate_micro_expressions


SIZE = 128
CLIP = (10, 12, 14)  # onset, apex, offset


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """
    Two people with a face, whose frames are alike from onset to the frame before the apex; one clip without a face on
    its onset; one without any. With the true points of the first two.
    """
    root = tmp_path_factory.mktemp("aligned") / "raw"
    rows, points = [], {}
    faces = generate_micro_expressions(2, 1, image_size=224, difficulty=0.3, seed=8, classes=("surprise",))
    for number, (row, roll) in enumerate(zip(faces, (-12.0, 9.0)), start=1):
        found = true_points(row["landmarks_onset"])
        transform = placement(found, 60.0, roll, (260 + 80 * number, 200))
        background = np.full((400, 640, 3), 90, np.uint8)
        folder = root / "CASME2-RAW" / f"sub{number:02d}" / "EP01"
        folder.mkdir(parents=True)
        for frame in range(10, 15):
            pixels = embed(row["apex" if frame >= 12 else "onset"], background, transform)
            Image.fromarray(pixels).save(folder / f"img{frame}.png")
        rows.append((f"{number:02d}", "EP01", *CLIP, "1+2", "surprise"))
        points[f"sub{number:02d}_EP01"] = move_points(found, transform)
    for number, faceless in ((3, {10}), (4, {10, 11, 12, 13, 14})):
        folder = root / "CASME2-RAW" / f"sub{number:02d}" / "EP01"
        folder.mkdir(parents=True)
        for frame in range(10, 15):
            if frame in faceless:
                Image.new("RGB", (640, 400), (90, 90, 90)).save(folder / f"img{frame}.png")
            else:
                (folder / f"img{frame}.png").write_bytes((root / "CASME2-RAW/sub01/EP01/img10.png").read_bytes())
        rows.append((f"{number:02d}", "EP01", *CLIP, "1+2", "surprise"))
    trees.write_xlsx(root / "CASME2-coding-1.xlsx", trees.casme2_rows(rows))
    return root, points


def convert(root, out, **options):
    options = ConversionOptions(align=True, image_size=SIZE, frames="clip", **options)
    report = convert_database(CASME2, root, out, options=options, progress=False)
    return report, {row["sample_id"]: row for row in datasets.load_dataset(str(out), split="train")}


def test_faces_end_up_where_the_template_has_them(release, tmp_path):
    root, points = release
    report, rows = convert(root, tmp_path / "out")
    for name, true in points.items():
        face = rows[name]["face"]
        assert face["source"] == "onset" and face["notes"] == [] and face["score"] > 0.85
        found = move_points(true, np.array(face["transform"]))
        error = np.linalg.norm(found - template_points(SIZE), axis=1) / (EYE_DISTANCE_SHARE * SIZE)
        assert np.median(error) < 0.05 and error.max() < 0.2
        across = found[1] - found[0]
        assert abs(np.degrees(np.arctan2(across[1], across[0]))) < 2
        assert {frame.size for frame in rows[name]["frames"]} == {(SIZE, SIZE)}
    assert "faces: no face on onset, taken from frame #: 1 (sub03_EP01)" in str(report)
    assert "centre square used: 1 (sub04_EP01)" in str(report)


def test_frames_that_are_alike_stay_alike(release, tmp_path):
    root, _ = release
    for stabilize in (False, True):
        _, rows = convert(root, tmp_path / f"out{stabilize}", stabilize=stabilize)
        frames = [np.asarray(frame) for frame in rows["sub01_EP01"]["frames"]]
        assert np.array_equal(frames[0], frames[1]) and np.array_equal(frames[2], frames[4])
        assert not np.array_equal(frames[0], frames[2])  # the expression is there
        assert (rows["sub04_EP01"]["face"]["source"], rows["sub04_EP01"]["face"]["score"]) == ("none", None)
    assert "5 of 5 frames could not be held still" in rows["sub04_EP01"]["face"]["notes"]


def test_a_face_from_another_frame_is_said(release, tmp_path):
    root, _ = release
    _, rows = convert(root, tmp_path / "out")
    face = rows["sub03_EP01"]["face"]
    assert face["source"] == "frame 11" and face["notes"] == ["no face on onset, taken from frame 11"]
    assert face["transform"] == rows["sub01_EP01"]["face"]["transform"]


def test_faces_of_unlabelled_video_are_counted(tmp_path):
    """Its rows have no column for them; each piece is aligned by itself."""
    for name, number in (("spNO.1", 3), ("spNO.2", 70)):
        trees.write_frames(tmp_path / f"raw/part_B/{name}/a/color", range(1, number + 1), "{}.jpg", (80, 60))
    options = ConversionOptions(align=True, image_size=64)
    report = convert_database(CASME3, tmp_path / "raw", tmp_path / "out", options=options, part="b", progress=False)
    noted = [
        sample
        for note, samples in report.description["faces"].items()
        if "centre square used" in note
        for sample in samples
    ]
    assert sorted(noted) == ["spNO.1_a#1", "spNO.2_a#1", "spNO.2_a#36"]
