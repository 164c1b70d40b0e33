"""The networks are those of facenet-pytorch, and what is built round them finds faces where they are."""

import cv2
import numpy as np
import pytest
import torch
from torch.testing import assert_close

from micron_bert_hf.faces.mtcnn import MtcnnDetector, cut_windows, network_input, suppress_overlaps, to_squares


# On `pattern` of 20, 24 and 48 pixels, by the classes PNet, RNet and ONet of facenet-pytorch 2.6.0 with the weights of
# its wheel, torch 2.13.0: probabilities of a face, movements of edges, points.
GOLDEN = {
    "pnet": (20, [0.00306282, 0.00287725, 0.00272508, 0.00284198], [0.00893672, -0.01193550, -0.12263829, 0.08928236]),
    "rnet": (24, [0.03396843], [-0.15084022, -0.01607718, -0.17969087, 0.24753401]),
    "onet": (48, [0.00886325], [0.08095285, -0.01598637, -0.00278940, 0.19480023]),
}
GOLDEN_POINTS = [
    0.29400977, 0.58444524, 0.28912145, 0.27670726, 0.47851038,
    0.36294022, 0.36745077, 0.63177341, 0.93161631, 0.92292255,
]  # fmt: skip


def pattern(side):
    row, column = np.mgrid[:side, :side]
    channels = (7 * row + 3 * column) % 256, (5 * row + 11 * column) % 256, (row * column) % 256
    return np.stack(channels, -1).astype(np.uint8)


@pytest.mark.parametrize("name", GOLDEN)
def test_networks_give_what_facenet_pytorch_gives(detector, name):
    side, probabilities, moves = GOLDEN[name]
    output = getattr(detector.networks, name)(network_input(pattern(side)[None]))
    found = (output[0][0, :2, :2], output[1][0, :, 2, 3]) if name == "pnet" else (output[0], output[1][0])
    assert_close(found[0].flatten(), torch.tensor(probabilities), atol=1e-6, rtol=1e-5)
    assert_close(found[1], torch.tensor(moves), atol=1e-6, rtol=1e-5)
    if name == "onet":
        assert_close(output[2][0], torch.tensor(GOLDEN_POINTS), atol=1e-6, rtol=1e-5)
    # transposed, the pattern is another: the numbers depend on what is seen, and on its order
    other = getattr(detector.networks, name)(network_input(pattern(side).transpose(1, 0, 2)[None]))
    assert (other[1] - output[1]).abs().max() > 1e-3


def test_finds_each_face_and_its_points(detector, faces):
    errors = []
    for picture, points in faces:
        (face,) = detector(picture)
        assert 0.85 < face.score <= 1 and face.box.dtype == face.points.dtype == np.float64
        assert (face.box[:2] < face.points).all() and (face.points < face.box[2:]).all()
        errors.append(np.linalg.norm(face.points - points, axis=1) / np.linalg.norm(points[1] - points[0]))
    assert np.median(errors) < 0.06 and np.max(errors) < 0.2


def test_positions_are_pixel_indices(detector, faces):
    """In the mirrored picture everything is at W - 1 - x; if edges were counted, half a pixel would be missing."""
    off = []
    for picture, _ in faces:
        (face,), (mirrored,) = detector(picture), detector(np.ascontiguousarray(picture[:, ::-1]))
        back = mirrored.points[[1, 0, 2, 4, 3]]
        off.append((face.points[:, 0] + back[:, 0] - (picture.shape[1] - 1)) / 2)
    assert abs(np.mean(off)) < 0.3


def test_shrinks_a_large_frame_and_says_where_in_it(detector, faces):
    picture, _ = faces[0]
    (face,) = detector(picture)
    (large,) = detector(cv2.resize(picture, (2560, 2560), interpolation=cv2.INTER_LINEAR))
    np.testing.assert_allclose((large.points + 0.5) / 10 - 0.5, face.points, atol=2)


def test_faces_come_surest_first(detector, scene):
    frame, points = scene(300, 640, (0, 60, 0, (150, 150)), (1, 60, 10, (350, 150)), (2, 60, -10, (540, 150)))
    found = detector(frame)
    assert len(found) == 3 and sorted((face.score for face in found), reverse=True) == [face.score for face in found]
    nearest = {min(range(3), key=lambda n: np.linalg.norm(points[n] - face.points)) for face in found}
    assert nearest == {0, 1, 2}


def test_threads_make_no_difference_and_are_left_alone(detector, scene):
    frame, _ = scene(300, 640, (0, 60, 0, (150, 150)), (1, 60, 10, (400, 150)))
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(detector(frame))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert len(other) == len(found[0]) == 2
        for face, same in zip(found[0], other):
            assert face.score == same.score and (face.box == same.box).all() and (face.points == same.points).all()


def test_chance_is_not_touched():
    before = torch.get_rng_state()
    MtcnnDetector()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "shape", [(1, 1), (5, 7), (11, 300), (12, 12), (41, 40), (3000, 2), (480, 640)], ids=lambda s: f"{s[0]}x{s[1]}"
)
@pytest.mark.parametrize("content", ["black", "grey", "noise"])
def test_frames_without_a_face(detector, shape, content):
    random = np.random.default_rng(0)
    frame = {
        "black": np.zeros((*shape, 3), np.uint8),
        "grey": np.full((*shape, 3), 127, np.uint8),
        "noise": random.integers(0, 256, (*shape, 3), dtype=np.uint8),
    }[content]
    assert detector(frame) == []


@pytest.mark.parametrize(
    "frame",
    [np.zeros((64, 64, 3), np.float32), np.zeros((64, 64), np.uint8), np.zeros((0, 64, 3), np.uint8)],
    ids=["float", "grey", "empty"],
)
def test_other_frames_are_refused(detector, frame):
    with pytest.raises(ValueError, match="expected uint8 with shape"):
        detector(frame)


def test_overlaps():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 8], [2, 2, 6, 6], [20, 0, 30, 10], [0, 0, 10, 10]], np.float64)
    scores = np.array([0.7, 0.9, 0.8, 0.1, 0.7])
    # of their union the first two share 0.8, the third 0.2 of the second
    assert suppress_overlaps(boxes, scores, 0.7).tolist() == [1, 2, 3]
    assert suppress_overlaps(boxes, scores, 0.9).tolist() == [1, 2, 0, 3]
    assert suppress_overlaps(boxes, scores, 0.7, of_smaller=True).tolist() == [1, 3]
    assert suppress_overlaps(np.empty((0, 4)), np.empty(0), 0.7).tolist() == []


def test_windows_are_black_outside():
    image = np.full((6, 8, 3), 200, np.uint8)
    boxes = np.array([[2, 1, 6, 5], [-2, -2, 2, 2], [6, 4, 10, 8], [20, 20, 24, 24], [-9, 0, -5, 4]], np.float64)
    inside, top_left, bottom_right, away, left = cut_windows(image, boxes, 4)
    assert (inside == 200).all() and (away == 0).all() and (left == 0).all()
    assert (top_left[2:, 2:] == 200).all() and top_left.sum() == 4 * 3 * 200
    assert (bottom_right[:2, :2] == 200).all() and bottom_right.sum() == 4 * 3 * 200


def test_squares_keep_the_centre():
    np.testing.assert_array_equal(to_squares(np.array([[10.0, 20.0, 30.0, 60.0]])), [[0, 20, 40, 60]])
