"""
The detector from the Hub, without the Hub: the real weights are not here. OpenCV's FaceDetectorYN runs a network that
the test writes, with YuNet's inputs and outputs, which sees a face of known size wherever a cell of 8 x 8 pixels is
white. So the order of points, the colours, the coordinates and the shrinking are tested; what YuNet finds is not.
"""

import numpy as np
import pytest

from micron_bert_hf.faces import load_detector
from micron_bert_hf.faces.yunet import SHA256, YuNetDetector, check_yunet


STRIDES = (8, 16, 32)
# By the network below: the face that a white cell stands for, from the cell's left and top, in pixels.
FACE_WIDTH, FACE_HEIGHT = 80.0, 96.0
CENTRE = (4.0, 2.0)
POINTS = np.array([[-16.0, -20.0], [16.0, -18.0], [2.0, 4.0], [-12.0, 24.0], [14.0, 26.0]])


def field(number, value):
    """A field of a protocol buffer: an integer, text, bytes, or a message."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    content = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value):
    encoded = b""
    while value > 127:
        encoded += bytes([value & 127 | 128])
        value >>= 7
    return encoded + bytes([value])


def tensor(name, values):
    kind = {"f": 1, "i": 7}[values.dtype.kind]
    dimensions = b"".join(field(1, size) for size in values.shape)
    return field(5, dimensions + field(2, kind) + field(8, name) + field(9, values.tobytes()))


def node(operation, inputs, output, **attributes):
    """ONNX numbers: of a node, input 1, output 2, name 3, operation 4, attribute 5; lists of integers are type 7."""
    content = b"".join(field(1, name) for name in inputs) + field(2, output) + field(3, output) + field(4, operation)
    for name, values in attributes.items():
        content += field(5, field(1, name) + b"".join(field(8, value) for value in values) + field(20, 7))
    return field(1, content)


def value(number, name, shape):
    dimensions = b"".join(field(1, field(1, size)) for size in shape)
    return field(number, field(1, name) + field(2, field(1, field(1, 1) + field(2, dimensions))))


def write_network(path, side=640):
    """One convolution for each output of YuNet, its stride as kernel: mean brightness as score, the rest constant."""
    graph = b""
    for stride in STRIDES:
        box = [*np.array(CENTRE) / stride, np.log(FACE_WIDTH / stride), np.log(FACE_HEIGHT / stride)]
        outputs = {"cls": [0.0], "obj": [0.0], "bbox": box, "kps": (POINTS / stride).ravel()}
        for kind, constant in outputs.items():
            weight = np.zeros((len(constant), 3, stride, stride), np.float32)
            if stride == 8 and kind in ("cls", "obj"):  # at the other strides nothing is a face
                weight[:] = np.array([0.1, 0.2, 0.7]).reshape(1, 3, 1, 1) / (255 * stride**2)  # blue, green, red
            name = f"{kind}_{stride}"
            graph += node(
                "Conv",
                ["input", f"{name}_w", f"{name}_b"],
                f"{name}_conv",
                kernel_shape=[stride] * 2,
                strides=[stride] * 2,
            )
            graph += node("Transpose", [f"{name}_conv"], f"{name}_last", perm=[0, 2, 3, 1])
            graph += node("Reshape", [f"{name}_last", f"{name}_shape"], name)
            graph += tensor(f"{name}_w", weight) + tensor(f"{name}_b", np.array(constant, np.float32))
            graph += tensor(f"{name}_shape", np.array([1, -1, len(constant)], np.int64))
            graph += value(12, name, (1, (side // stride) ** 2, len(constant)))
    graph += field(2, "interface of YuNet") + value(11, "input", (1, 3, side, side))
    path.write_bytes(field(1, 8) + field(7, graph) + field(8, field(1, "") + field(2, 13)))


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    path = tmp_path_factory.mktemp("yunet") / "interface.onnx"
    write_network(path)
    return YuNetDetector(path)


def frame_with_cells(height, width, *cells):
    frame = np.zeros((height, width, 3), np.uint8)
    for row, column, color in cells:
        frame[8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = color
    return frame


def test_order_and_places(detector):
    (face,) = detector(frame_with_cells(320, 480, (20, 30, (255, 255, 255))))
    cell = np.array([8 * 30, 8 * 20])
    half = np.array([FACE_WIDTH, FACE_HEIGHT]) / 2
    np.testing.assert_allclose(face.box, [*(cell + CENTRE - half), *(cell + CENTRE + half)], atol=1e-3)
    np.testing.assert_allclose(face.points, cell + POINTS, atol=1e-3)
    assert face.score == pytest.approx(1) and face.box.dtype == face.points.dtype == np.float64


def test_colours_reach_the_network_as_bgr_and_the_surest_comes_first(detector):
    """Red counts 0.7 here, green 0.2, blue 0.1."""
    found = detector(
        frame_with_cells(320, 640, (20, 10, (255, 255, 0)), (20, 60, (255, 255, 255)), (5, 40, (0, 0, 255)))
    )
    assert [face.score for face in found] == pytest.approx([1, 0.9], abs=1e-3)
    assert [face.points[0, 0] for face in found] == pytest.approx([8 * 60 - 16, 8 * 10 - 16], abs=1e-3)


def test_shrinks_a_large_frame_and_says_where_in_it(detector):
    small = frame_with_cells(240, 640, (10, 50, (255, 255, 255)))
    (face,), (large,) = detector(small), detector(np.kron(small, np.ones((3, 3, 1), np.uint8)))
    np.testing.assert_allclose((large.points + 0.5) / 3 - 0.5, face.points, atol=1e-3)
    np.testing.assert_allclose((large.box + 0.5) / 3 - 0.5, face.box, atol=1e-3)


@pytest.mark.parametrize("shape", [(1, 1), (5, 900), (33, 31), (480, 640)])
def test_frames_without_a_face(detector, shape):
    assert detector(np.zeros((*shape, 3), np.uint8)) == []


def test_other_frames_are_refused(detector):
    with pytest.raises(ValueError, match="float32 with shape"):
        detector(np.zeros((64, 64, 3), np.float32))


def test_says_what_to_do_without_the_hub():
    """The tests run with HF_HUB_OFFLINE and an empty cache."""
    with pytest.raises(FileNotFoundError, match="hf download opencv/face_detection_yunet .* or use .*'mtcnn'"):
        load_detector("yunet")


def test_refuses_another_file(tmp_path):
    path = tmp_path / "face_detection_yunet_2023mar.onnx"
    path.write_bytes(b"abc")
    of_abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(ValueError, match=f"{of_abc}; expected {SHA256}"):
        check_yunet(path)
