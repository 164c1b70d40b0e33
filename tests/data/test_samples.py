"""Labelled sets from disk: identity in columns, pictures on demand, and an error for all that nobody could trust."""

import json
from io import BytesIO

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from micron_bert_hf.data import face_box, read_samples
from micron_bert_hf.data.face_box import EYE_CORNERS, MOUTH_CORNERS, NUM_LANDMARKS
from micron_bert_hf.synthetic.dataset_rows import to_dataset_row
from micron_bert_hf.synthetic.dataset_writer import LABELLED_FEATURES, iterate_samples
from micron_bert_hf.synthetic.face_model import LANDMARK_NAMES


SIZE = 24
PAIR_FEATURES = datasets.Features(
    {name: datasets.Value("string") for name in ("sample_id", "subject_id", "dataset", "label", "label_raw")}
    | {"onset": datasets.Image(), "apex": datasets.Image()}
)


def picture(seed, height=SIZE, width=SIZE):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encode(pixels, **options):
    file = BytesIO()
    Image.fromarray(pixels).save(file, options.pop("format", "PNG"), **options)
    return {"bytes": file.getvalue(), "path": None}


def pair_rows():
    """6 pairs of 3 people with 2 classes; every picture differs."""
    return [
        {
            "sample_id": f"clip{number}",
            "subject_id": f"0{number // 2}",
            "dataset": "casme2",
            "label": ("smile", "frown")[number % 2],
            "label_raw": ("happiness", "disgust")[number % 2],
            "onset": encode(picture(2 * number)),
            "apex": encode(picture(2 * number + 1)),
        }
        for number in range(6)
    ]


def save(rows, folder, features=PAIR_FEATURES):
    """A folder of Parquet, as `datasets` reads it."""
    features = datasets.Features({name: feature for name, feature in features.items() if name in rows[0]})
    (folder / "data").mkdir(parents=True)
    table = pa.Table.from_pylist(rows, schema=features.arrow_schema)
    pq.write_table(table, folder / "data" / "train-00000-of-00001.parquet")
    return folder


def changed(number, **values):
    """The rows with other values in one of them."""
    rows = pair_rows()
    rows[number].update(values)
    return rows


def without(*names):
    return [{name: value for name, value in row.items() if name not in names} for row in pair_rows()]


@pytest.fixture(scope="module")
def synthetic_folder(tmp_path_factory):
    """4 rows as `micron_bert_hf.synthetic` stores them, with every frame of each clip; faces would take too long."""
    rows = []
    for number in range(4):
        random = np.random.default_rng(number)
        motion = random.uniform(-3, 3, (48, 48, 2)).astype(np.float32)
        landmarks = random.uniform(10, 38, (len(LANDMARK_NAMES), 2)).astype(np.float32)
        row = {
            "sample_id": f"s{number // 2}_{number}",
            "subject_id": f"s{number // 2}",
            "label": ("happiness", "disgust")[number % 2],
            "label_raw": ("happiness", "disgust")[number % 2],
            "fps": 100,
            "frames": [picture(10 * number + frame, 48, 48) for frame in range(5)],
            "onset_index": 1,
            "apex_index": 3,
            "offset_index": 4,
            "true_apex_index": 2,
            "action_units": {},
            "other_action_units": {},
            "landmarks_onset": landmarks,
            "landmarks_apex": landmarks + 1,
            "motion": motion,
            "expression_motion": motion,
            "motion_valid": np.ones((48, 48), bool),
            "face_mask": np.ones((48, 48), bool),
        }
        rows.append(to_dataset_row(row, "tiny-synth"))
    return save(rows, tmp_path_factory.mktemp("sets") / "tiny", LABELLED_FEATURES)


def test_a_synthetic_set_gives_what_the_generator_made(synthetic_folder):
    samples = read_samples(synthetic_folder)
    assert (len(samples), samples.label_names, samples.label_map) == (4, ("disgust", "happiness"), "as labelled")
    assert samples.datasets == ("tiny-synth",) * 4
    assert samples.labels.dtype == np.int64
    for index, expected in enumerate(iterate_samples(synthetic_folder)):
        row = samples.row(index, motion=True)
        assert (row["sample_id"], row["subject_id"]) == (expected["sample_id"], expected["subject_id"])
        assert samples.label_names[samples.labels[index]] == expected["label"]
        for name in ("onset", "apex", "motion"):
            assert row[name].dtype == expected[name].dtype
            np.testing.assert_array_equal(row[name], expected[name])
        points = expected["landmarks_onset"]
        eyes = points[[name.startswith(("eye_inner", "eye_outer")) for name in LANDMARK_NAMES]].mean(0)
        mouth = points[[name.startswith("mouth_corner") for name in LANDMARK_NAMES]].mean(0)
        assert row["face_box"] == face_box(eyes, mouth, 48, 48)
        assert not {"label", "label_raw", "motion"} & set(samples.row(index))
    assert samples.crop == "landmarks"


def test_a_crop_can_be_declined_and_cannot_be_had_without_landmarks(synthetic_folder, tmp_path):
    plain = read_samples(synthetic_folder, crop="none")
    assert (plain.crop, plain.row(0)["face_box"]) == ("none", None)
    # what a method is shown differs, though the set is the same
    assert plain.fingerprint != read_samples(synthetic_folder).fingerprint
    folder = save(pair_rows(), tmp_path / "faces")
    assert read_samples(folder).row(0)["face_box"] is None
    with pytest.raises(ValueError, match=r"lacks the columns \['landmarks'\]; it has sample_id, subject_id"):
        read_samples(folder, crop="landmarks")
    with pytest.raises(ValueError, match="'face'; expected one of landmarks, none"):
        read_samples(folder, crop="face")
    with pytest.raises(ValueError, match="no exact motion"):
        read_samples(folder).row(0, motion=True)


def test_the_places_of_eyes_and_mouth_are_those_of_the_generator():
    assert len(LANDMARK_NAMES) == NUM_LANDMARKS
    corners = {f"eye_{corner}_{side}" for corner in ("inner", "outer") for side in ("left", "right")}
    assert {LANDMARK_NAMES[index] for index in EYE_CORNERS} == corners
    assert {LANDMARK_NAMES[index] for index in MOUTH_CORNERS} == {"mouth_corner_left", "mouth_corner_right"}


def test_the_box_of_a_face_by_hand():
    """Eyes and mouth 40 pixels apart: 50 to either side of the eyes, 34 up, 70 down; then at the border."""
    eyes, mouth = np.array([100.0, 80.0]), np.array([100.0, 120.0])
    assert face_box(eyes, mouth, 224, 224) == (50, 46, 150, 150)
    assert face_box(eyes, mouth, 140, 120) == (50, 46, 120, 140)
    # as the baselines on mer-synth cut faces before this function was there
    eyes, mouth = np.array([28.820629, 28.466917], np.float32), np.array([16.958803, 18.278633], np.float32)
    assert face_box(eyes, mouth, 48, 48) == (9, 15, 48, 48)
    eyes, mouth = np.array([38.375374, 29.802382], np.float32), np.array([49.628326, 13.218433], np.float32)
    assert face_box(eyes, mouth, 64, 64) == (13, 12, 63, 64)


@pytest.mark.parametrize(
    ("eyes", "mouth"), [((30.0, 30.0), (30.0, 30.0)), ((300.0, 30.0), (300.0, 50.0)), ((np.nan, 30.0), (30.0, 50.0))]
)
def test_a_face_that_has_no_box_is_refused(eyes, mouth):
    with pytest.raises(ValueError, match="no box|finite"):
        face_box(np.array(eyes), np.array(mouth), 64, 64)


def test_two_columns_of_pictures_are_enough(tmp_path):
    samples = read_samples(save(without("sample_id", "dataset", "label_raw"), tmp_path / "faces"))
    assert samples.sample_ids == tuple("012345")
    assert samples.datasets == ("faces",) * 6
    assert samples.subject_ids == ("00", "00", "01", "01", "02", "02")
    assert samples.labels.tolist() == [1, 0] * 3
    assert samples.labels_raw == ("smile", "frown") * 3
    np.testing.assert_array_equal(samples.row(5)["apex"], picture(11))
    with pytest.raises(IndexError, match="no sample 6"):
        samples.row(6)
    with pytest.raises(IndexError, match="no sample -1"):
        samples.row(-1)


def test_an_image_folder_and_a_saved_set_read_the_same(tmp_path):
    """`metadata.jsonl` beside the pictures; `save_to_disk` of the same rows; names of classes in their own order."""
    folder = tmp_path / "faces"
    folder.mkdir()
    lines, rows = [], pair_rows()
    for row in rows:
        names = {f"{name}_file_name": f"{row['sample_id']}_{name}.png" for name in ("onset", "apex")}
        for name in ("onset", "apex"):
            (folder / names[f"{name}_file_name"]).write_bytes(row[name]["bytes"])
        lines.append(json.dumps({name: row[name] for name in row if name not in ("onset", "apex")} | names))
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    from_folder = read_samples(folder)
    saved = datasets.Dataset.from_list(rows, features=PAIR_FEATURES)
    datasets.DatasetDict(all=saved, half=saved.select(range(4))).save_to_disk(tmp_path / "saved")
    from_disk = read_samples(tmp_path / "saved", split="all")
    assert from_folder.fingerprint == from_disk.fingerprint
    np.testing.assert_array_equal(from_folder.row(3)["onset"], from_disk.row(3)["onset"])
    assert len(read_samples(str(tmp_path / "saved"), split="half")) == 4
    with pytest.raises(ValueError, match="has the splits all, half"):
        read_samples(tmp_path / "saved")
    saved.cast_column("label", datasets.ClassLabel(names=["smile", "neutral", "frown"])).save_to_disk(
        tmp_path / "named"
    )
    named = read_samples(tmp_path / "named")
    assert (named.label_names, named.labels.tolist()) == (("smile", "neutral", "frown"), [0, 2] * 3)


def test_a_label_map_goes_by_the_raw_label_and_leaves_out(tmp_path):
    rows = pair_rows()
    for row, raw in zip(rows, ("Happiness", "others", "disgust", "fear", "repression", "surprise")):
        row["label_raw"] = raw
    folder = save(rows, tmp_path / "faces")
    samples = read_samples(folder, "casme2-3")
    assert (samples.label_map, samples.num_left_out) == ("casme2-3", 2)
    assert samples.sample_ids == ("clip0", "clip2", "clip4", "clip5")
    assert [samples.label_names[label] for label in samples.labels] == ["positive", "negative", "negative", "surprise"]
    np.testing.assert_array_equal(samples.row(1)["onset"], picture(4))
    assert read_samples(folder, "composite-3").labels.tolist() == samples.labels.tolist()
    with pytest.raises(ValueError, match="sample 'clip0' of casme2: The label map smic-3 does not know .*'Happiness'"):
        read_samples(folder, "smic-3")
    with pytest.raises(ValueError, match="no label map 'casme2'; expected one of casme2-3"):
        read_samples(folder, "casme2")


def test_the_fingerprint_is_of_the_content_and_not_of_the_order(tmp_path):
    fingerprint = read_samples(save(pair_rows(), tmp_path / "faces")).fingerprint
    assert len(fingerprint) == 64
    assert read_samples(tmp_path / "faces").fingerprint == fingerprint
    backwards = read_samples(save(pair_rows()[::-1], tmp_path / "reversed"))
    assert backwards.fingerprint == fingerprint
    # nor does anything else depend on it
    assert backwards.sample_ids == tuple(f"clip{number}" for number in range(6))
    assert backwards.labels.tolist() == [1, 0] * 3
    np.testing.assert_array_equal(backwards.row(1)["onset"], picture(2))
    differing = {
        read_samples(save(changed(2, **values), tmp_path / f"changed{number}")).fingerprint
        for number, values in enumerate(
            [
                {"sample_id": "other"},
                {"subject_id": "02"},
                {"dataset": "samm"},
                {"label": "frown"},
                {"label_raw": "contempt"},
                {"onset": encode(picture(99))},
                {"apex": encode(picture(99))},
                {"onset": encode(picture(5)), "apex": encode(picture(4))},
            ]
        )
    }
    assert len(differing | {fingerprint}) == 9


def test_pictures_are_upright_colour_and_bounded(tmp_path, monkeypatch):
    pixels = picture(0, 20, 30)
    rotated = np.rot90(pixels, 1)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    grey16 = (np.arange(600, dtype=np.uint16).reshape(20, 30) * 100).astype(np.uint16)
    values = [
        {"onset": encode(rotated, exif=exif), "apex": encode(pixels)},
        {"onset": encode(pixels[..., 0]), "apex": encode(grey16)},
        {"onset": encode(pixels), "apex": encode(picture(1, 30, 20))},
        {"onset": encode(pixels), "apex": {"bytes": b"no picture", "path": None}},
        {"onset": encode(pixels), "apex": {"bytes": None, "path": "http://127.0.0.1:9/face.png"}},
        {"onset": encode(picture(3, 60, 60)), "apex": encode(picture(4, 60, 60))},
    ]
    samples = read_samples(save([row | new for row, new in zip(pair_rows(), values)], tmp_path / "faces"))
    np.testing.assert_array_equal(samples.row(0)["onset"], pixels)
    row = samples.row(1)
    np.testing.assert_array_equal(row["onset"], np.repeat(pixels[..., :1], 3, axis=2))
    np.testing.assert_array_equal(row["apex"][..., 1], np.rint(grey16 / 257).astype(np.uint8))
    with pytest.raises(ValueError, match="'clip2' of casme2: the onset has 30 x 20 pixels and the apex 20 x 30"):
        samples.row(2)
    with pytest.raises(ValueError, match="'clip3' of casme2, apex: the image is not an image of a known format"):
        samples.row(3)
    # nothing is fetched: an address is the path of a file that is not there
    with pytest.raises(ValueError, match="'clip4' of casme2, apex: .*No such file"):
        samples.row(4)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    samples.row(1)
    with pytest.raises(ValueError, match="'clip5' of casme2, onset: the image is too large"):
        samples.row(5)


def numbered(name):
    features = PAIR_FEATURES.copy()
    features[name] = datasets.Value("int64")
    return [row | {name: number} for number, row in enumerate(pair_rows())], features


@pytest.mark.parametrize(
    ("rows", "features", "message"),
    [
        (without("subject_id"), None, r"lacks the columns \['subject_id'\]; it has sample_id, dataset"),
        (without("apex"), None, r"lacks the columns \['apex'\]"),
        (without("label"), None, r"lacks the columns \['label'\]"),
        (*numbered("subject_id"), "subject_id is int64, such as 0; expected text"),
        (*numbered("sample_id"), "sample_id is int64"),
        (*numbered("label"), "label is int64"),
        (*numbered("onset"), "the column onset is Value.*expected pictures"),
        (changed(3, subject_id=None), None, r"subject_id has no value in 1 rows, the first of them \[3\]"),
        (changed(3, subject_id=" "), None, r"subject_id is empty in 1 rows, the first of them \[3\]"),
        (changed(3, subject_id="01 "), None, "spaces around '01 '"),
        (changed(3, dataset="a/b"), None, "must not contain '/'"),
        (changed(3, label=None), None, "label has no value"),
        (
            [row | {"label": number % 3 - 1} for number, row in enumerate(pair_rows())],
            PAIR_FEATURES | {"label": datasets.ClassLabel(names=["smile", "frown"])},
            r"label has no value in 2 rows, the first of them \[0, 3\]",
        ),
        (changed(3, apex=None), None, r"apex has no picture in 1 rows, the first of them \[3\]"),
        (changed(3, sample_id="clip0"), None, r"\['casme2/clip0'\] more than once"),
        (pair_rows()[:2], None, r"two people or more.*\['casme2/00'\]"),
        (pair_rows()[::2], None, r"two classes or more, got \['smile'\]"),
    ],
)
def test_what_cannot_be_trusted_is_refused_before_a_picture_is_decoded(tmp_path, rows, features, message):
    folder = save(rows, tmp_path / "faces", PAIR_FEATURES if features is None else features)
    with pytest.raises(ValueError, match=message):
        read_samples(folder)


def test_one_name_in_two_databases_is_two_samples(tmp_path):
    samples = read_samples(save(changed(3, sample_id="clip0", dataset="samm"), tmp_path / "faces"))
    assert list(zip(samples.datasets, samples.sample_ids)).count(("samm", "clip0")) == 1


def test_a_map_that_leaves_everything_out_is_named(tmp_path):
    rows = [row | {"label_raw": "others"} for row in pair_rows()]
    with pytest.raises(ValueError, match=r"got \[\] in 0 samples; 6 are left out by the label map"):
        read_samples(save(rows, tmp_path / "faces"), "casme2-3")


CLIP_FEATURES = datasets.Features(
    {name: datasets.Value("string") for name in ("subject_id", "label")}
    | {name: datasets.Value("int32") for name in ("onset", "apex")}
    | {
        "frames": datasets.List(datasets.Image()),
        "frame_indices": datasets.List(datasets.Value("int32")),
        "landmarks": {"onset": datasets.List(datasets.List(datasets.Value("float32")))},
    }
)


def clip_rows():
    points = np.full((NUM_LANDMARKS, 2), 8.0)
    points[list(MOUTH_CORNERS), 1] = 14.0
    return [
        {
            "subject_id": f"s{number // 2}",
            "label": "ab"[number % 2],
            "frames": [encode(picture(10 * number + frame)) for frame in range(4)],
            "frame_indices": [100, 103, 104, 110],
            "onset": 103,
            "apex": 110,
            "landmarks": {"onset": points.tolist()},
        }
        for number in range(4)
    ]


def test_onset_and_apex_are_found_by_their_index_and_not_by_their_place(tmp_path):
    samples = read_samples(save(clip_rows(), tmp_path / "clips", CLIP_FEATURES))
    row = samples.row(2)
    np.testing.assert_array_equal(row["onset"], picture(21))
    np.testing.assert_array_equal(row["apex"], picture(23))
    assert row["face_box"] == (0, 2, 15, 18)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"apex": 105}, r"row 1 has the apex 105, which is none of its frame_indices \[100, 103, 104, 110\]"),
        ({"apex": None}, r"apex has no value in 1 rows, the first of them \[1\]"),
        ({"frame_indices": [100, 103, 110]}, "row 1 has 4 frames and 3 frame_indices"),
        ({"frames": None}, "frames has no value"),
        ({"landmarks": {"onset": [[1.0, 2.0]] * 24}}, "sample '1' does not have 25 landmarks"),
        ({"landmarks": {"onset": [[1.0, 2.0], [3.0]] * 12}}, "sample '1' does not have 25 landmarks"),
        ({"landmarks": None}, "sample '1' does not have 25 landmarks"),
    ],
)
def test_a_clip_without_its_onset_or_apex_or_landmarks_is_refused(tmp_path, values, message):
    rows = clip_rows()
    rows[1].update(values)
    with pytest.raises(ValueError, match=message):
        read_samples(save(rows, tmp_path / "clips", CLIP_FEATURES))


def test_a_face_outside_the_picture_names_its_sample(tmp_path):
    rows = clip_rows()
    rows[1]["landmarks"] = {"onset": (np.array(rows[0]["landmarks"]["onset"]) + 500).tolist()}
    samples = read_samples(save(rows, tmp_path / "clips", CLIP_FEATURES))
    with pytest.raises(ValueError, match="sample '1' of clips: eyes at .* give no box"):
        samples.row(1)


def test_what_is_no_data_set_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder .*absent"):
        read_samples(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match="no folder .*absent"):
        read_samples(str(tmp_path / "absent"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="cannot read the split 'train' of .*empty"):
        read_samples(tmp_path / "empty")
    with pytest.raises(ValueError, match="no-such-set.*hence a data set on the Hub"):
        read_samples("no-such-set")
    folder = save(pair_rows(), tmp_path / "faces")
    with pytest.raises(ValueError, match="cannot read the split 'test' of .*faces"):
        read_samples(folder, split="test")
    shard = next(folder.rglob("*.parquet"))
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(ValueError, match="cannot read the split 'train' of .*faces"):
        read_samples(folder)


def test_no_rows_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"cannot read the split 'train\[:0\]' of .*no data"):
        read_samples(save(pair_rows(), tmp_path / "faces"), split="train[:0]")
    datasets.Dataset.from_list(pair_rows(), features=PAIR_FEATURES).select([]).save_to_disk(tmp_path / "saved")
    with pytest.raises(ValueError, match="cannot read the split 'train' of .*saved"):
        read_samples(tmp_path / "saved")
