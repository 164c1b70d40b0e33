"""One transform for a clip: where it takes a face, what it says of the clip, and what it does to frames."""

import cv2
import numpy as np
import pytest

from micron_bert_hf.faces import FaceAligner, similarity_transform
from micron_bert_hf.faces.alignment import stretch_contrast, template_points
from micron_bert_hf.faces.transforms import move_points


EYE_DISTANCE = 72  # of the template, at 224 pixels


def against_the_truth(alignment, points):
    """
    Distances `(5,)` of the aligned points from where the true points would have put them, in distances between the
    eyes, and the difference in rotation, in degrees.
    """
    best = similarity_transform(points, template_points(224))
    off = np.linalg.norm(move_points(points, alignment.transform) - move_points(points, best), axis=1)
    turns = [np.degrees(np.arctan2(transform[1, 0], transform[0, 0])) for transform in (alignment.transform, best)]
    return off / EYE_DISTANCE, abs(turns[0] - turns[1])


def test_aligns_as_the_true_points_would(aligner, faces):
    errors, turns = zip(*(against_the_truth(aligner.find(picture), points) for picture, points in faces))
    assert np.median(errors) < 0.05 and np.median(turns) < 1


def test_aligns_a_face_anywhere_in_a_larger_frame(aligner, scene):
    places = [
        (0, 45, 20, (200, 150)),
        (1, 110, -15, (330, 240)),
        (2, 60, 10, (420, 300)),
        (3, 80, -25, (300, 200)),
        (4, 100, 5, (250, 260)),
        (5, 55, -8, (380, 180)),
    ]
    errors, turns = [], []
    for place in places:
        frame, (points,) = scene(480, 640, place)
        alignment = aligner.find(frame)
        assert (alignment.source, alignment.frame_size, alignment.image_size) == ("onset", (480, 640), 224)
        error, turn = against_the_truth(alignment, points)
        errors.append(error)
        turns.append(turn)
    assert np.median(errors) < 0.05 and np.median(turns) < 1 and np.max(errors) < 0.25


def test_template():
    left, right, nose, mouth_left, mouth_right = template_points(224)
    assert right[0] - left[0] == pytest.approx(EYE_DISTANCE) and left[1] == right[1]
    assert left[0] + right[0] == pytest.approx(223) == mouth_left[0] + mouth_right[0]  # the middle of 0 to 223
    assert left[1] < nose[1] < mouth_left[1] < 224
    np.testing.assert_allclose((template_points(448) + 0.5) / 2 - 0.5, template_points(224))


def test_every_frame_is_treated_alike(aligner, smile):
    onset, apex = smile["onset"], smile["apex"]
    alignment = aligner.find(onset)
    first, again, other = (aligner.warp(frame, alignment) for frame in (onset, onset.copy(), apex))
    assert first.shape == (224, 224, 3) and first.dtype == np.uint8
    assert (first == again).all() and (first != other).any()
    assert (aligner.find(onset).transform == alignment.transform).all()


def test_a_place_goes_where_the_transform_says(aligner, faces):
    """A soft spot in the source frame has its centre of mass where the transform takes it."""
    alignment = aligner.find(faces[0][0])
    row, column = np.mgrid[:256, :256]
    for place in ([100.3, 140.8], [150.0, 90.5]):
        spot = 200 * np.exp(-((column - place[0]) ** 2 + (row - place[1]) ** 2) / (2 * 4**2))
        warped = aligner.warp(spot.round().astype(np.uint8), alignment)[..., 0].astype(float)
        rows, columns = np.mgrid[:224, :224]
        found = np.array([np.sum(columns * warped), np.sum(rows * warped)]) / warped.sum()
        np.testing.assert_allclose(found, move_points(np.array([place]), alignment.transform)[0], atol=0.05)


def test_shrinking_does_not_alias(detector, faces):
    """The face at a sixth of its size, over stripes one pixel wide, which become an even grey."""
    aligner = FaceAligner(detector, image_size=64)
    alignment = aligner.find(cv2.resize(faces[0][0], (768, 768)))
    stripes = np.zeros((768, 768, 3), np.uint8)
    stripes[:, ::2] = 255
    inner = np.s_[16:48, 16:48]  # outside of the frame its border repeats, without stripes
    assert aligner.warp(stripes, alignment)[inner].std() < 4  # OpenCV's blur of uint8 has weights of 8 bits
    plain = cv2.warpAffine(stripes, alignment.transform, (64, 64), flags=cv2.INTER_CUBIC)
    assert plain[inner].std() > 40


def never():
    raise AssertionError("nobody should ask for another frame")
    yield


def test_others_are_not_asked_for_if_the_onset_shows_a_face(aligner, faces):
    assert aligner.find(faces[0][0], never()).source == "onset"


def test_face_of_another_frame(aligner, faces):
    picture, points = faces[1]
    empty = np.full((256, 256, 3), 90, np.uint8)

    def others():
        yield "12", empty
        yield "25", picture
        yield from never()

    alignment = aligner.find(empty, others())
    assert alignment.source == "25" and alignment.notes[0] == "no face on onset, taken from 25"
    assert np.median(against_the_truth(alignment, points)[0]) < 0.1


def test_no_face_takes_the_centre(detector):
    aligner = FaceAligner(detector, image_size=60)
    frame = np.random.default_rng(0).integers(0, 256, (60, 100, 3), dtype=np.uint8)
    alignment = aligner.find(frame, [("7", frame)])
    assert alignment.face is None and alignment.source == "none"
    assert alignment.notes == ("no face on onset, 7, centre square used",)
    assert (aligner.warp(frame, alignment) == frame[:, 20:80]).all()


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (700, 3), (240, 320)])
@pytest.mark.parametrize("value", [0, 127])
def test_plain_frames_of_any_size_have_no_face(aligner, shape, value):
    frame = np.full(shape, value, np.uint8)
    alignment = aligner.find(frame)
    assert alignment.face is None
    assert (aligner.warp(frame, alignment) == value).all()


def test_of_several_faces_the_larger_and_the_more_central(aligner, scene):
    frame, points = scene(360, 640, (0, 50, 0, (160, 180)), (1, 80, 0, (460, 180)))
    alignment = aligner.find(frame)
    assert np.median(against_the_truth(alignment, points[1])[0]) < 0.1
    (note,) = alignment.notes
    assert note.startswith("2 faces, used the one round x 4")

    frame, points = scene(360, 640, (0, 60, 0, (100, 180)), (1, 60, 0, (340, 180)))
    assert np.median(against_the_truth(aligner.find(frame), points[1])[0]) < 0.1


def test_says_what_the_frame_cuts_off(aligner, faces, scene):
    frame, _ = scene(480, 640, (0, 70, 0, (320, 240)))
    assert aligner.find(frame).notes == ()
    picture, points = faces[0]
    eye_distance = np.linalg.norm(points[1] - points[0])
    cut = np.ascontiguousarray(picture[:, : int(points[1, 0] + 0.3 * eye_distance)])
    box_note, picture_note = aligner.find(cut).notes
    assert box_note.endswith("% of the face's box is outside the frame")
    assert picture_note.endswith("% of the aligned picture is outside the frame")
    # right of the right eye the template has (224 - 72) / 2 pixels, of which 0.3 * 72 are left
    assert int(picture_note.split("%")[0]) == pytest.approx(100 * (152 / 2 - 0.3 * 72) / 224, abs=6)


def test_grey_frames(aligner, faces):
    grey = cv2.cvtColor(faces[2][0], cv2.COLOR_RGB2GRAY)
    rgb = np.repeat(grey[..., None], 3, axis=2)
    for frame in (grey, grey[..., None]):
        alignment = aligner.find(frame)
        assert alignment.face is not None
        assert (alignment.transform == aligner.find(rgb).transform).all()
        assert (aligner.warp(frame, alignment) == aligner.warp(rgb, alignment)).all()


def test_dark_frames_are_stretched(aligner, faces):
    """At an eighth of the brightness the detector alone misses most faces; the eyes are found as in the light."""
    for picture, points in faces:
        dark = (picture / 8).astype(np.uint8)
        alignment = aligner.find(dark)
        assert "dark or flat frame, contrast stretched" in alignment.notes[0]
        light = aligner.find(picture).face.points
        assert np.abs(alignment.face.points - light).max() < 0.06 * np.linalg.norm(points[1] - points[0])
    assert sum(not aligner.detector((picture / 8).astype(np.uint8)) for picture, _ in faces) >= 3


def test_stretching_contrast():
    frame = np.repeat(np.linspace(50, 100, 200).round().astype(np.uint8), 300).reshape(200, 100, 3)
    stretched, factor = stretch_contrast(frame)
    assert (stretched.min(), stretched.max()) == (0, 255) and factor == pytest.approx(255 / 50, rel=0.05)
    assert frame.max() == 100
    bright = np.repeat(np.arange(256, dtype=np.uint8), 300).reshape(256, 100, 3)
    assert stretch_contrast(bright)[1] == pytest.approx(1, abs=0.03)


def test_huge_frame(aligner, scene):
    frame, (points,) = scene(480, 640, (3, 80, 10, (300, 200)))
    huge = cv2.resize(frame, (5120, 3840), interpolation=cv2.INTER_LINEAR)
    alignment = aligner.find(huge)
    assert np.median(against_the_truth(alignment, (points + 0.5) * 8 - 0.5)[0]) < 0.06
    small = aligner.warp(frame, aligner.find(frame)).astype(float)
    assert np.abs(aligner.warp(huge, alignment) - small).mean() < 6


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((64, 64, 3), np.float32),
        np.zeros((64, 64, 3), np.uint16),
        np.zeros((64, 64, 4), np.uint8),
        np.zeros((2, 64, 64, 3), np.uint8),
        np.zeros((64, 0, 3), np.uint8),
    ],
    ids=["float", "uint16", "alpha", "clip", "empty"],
)
def test_other_frames_are_refused(aligner, faces, frame):
    with pytest.raises(ValueError, match="expected uint8 with shape"):
        aligner.find(frame)
    with pytest.raises(ValueError, match="expected uint8 with shape"):
        aligner.warp(frame, aligner.find(faces[0][0]))


def test_sizes_that_do_not_belong_together_are_refused(detector, aligner, faces):
    picture, _ = faces[0]
    alignment = aligner.find(picture)
    with pytest.raises(ValueError, match=r"\(255, 256\), the aligned one had \(256, 256\)"):
        aligner.warp(picture[1:], alignment)
    with pytest.raises(ValueError, match="for 224 pixels, the aligner for 256"):
        FaceAligner(detector, image_size=256).warp(picture, alignment)
    empty = np.zeros((256, 256, 3), np.uint8)
    with pytest.raises(ValueError, match=r"'9' has height and width \(256, 255\), the onset frame has \(256, 256\)"):
        aligner.find(empty, [("9", picture[:, 1:])])


@pytest.mark.parametrize("arguments", [{"image_size": 0}, {"image_size": 2.5}])
def test_arguments_are_checked(detector, arguments):
    with pytest.raises(ValueError, match=f"{next(iter(arguments))} is "):
        FaceAligner(detector, **arguments)
