"""The image processor against an independent PIL/NumPy computation, and against what people and servers hand it."""

import http.server
import io
import os
import threading
import time

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassFieldValidationError
from PIL import Image

from micron_bert_hf import MicronBertImageProcessor
from micron_bert_hf import image_processing_micron_bert as processing


MEAN = np.array([0.485, 0.456, 0.406])
STD = np.array([0.229, 0.224, 0.225])


def normalize(pixels):
    """`(H, W, 3)` in [0, 1] to `(3, H, W)`, in float64."""
    return ((np.asarray(pixels, np.float64) - MEAN) / STD).transpose(2, 0, 1)


def expected_values(frame, height=224, width=224, resample=Image.Resampling.BILINEAR):
    """What the defaults mean, written out for one uint8 frame `(H, W, 3)`."""
    return normalize(np.array(Image.fromarray(frame).resize((width, height), resample)) / 255.0)


def assert_close(actual, expected, atol=1e-6):
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=0, atol=atol)


@pytest.fixture
def processor():
    return MicronBertImageProcessor()


@pytest.fixture
def plain():
    """Pixels as they are, in [0, 1]: no resize, no normalisation."""
    return MicronBertImageProcessor(do_resize=False, do_normalize=False)


def png(folder, name, image, **options):
    path = folder / name
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)
    return path


# ------------------------------------------------------------------------------------------------------------ geometry


def test_defaults_against_pil_and_numpy(processor, frame_pairs):
    pixel_values = processor(frame_pairs, return_tensors="pt")["pixel_values"]
    assert pixel_values.shape == (5, 2, 3, 224, 224) and pixel_values.dtype == torch.float32
    for pair, values in zip(frame_pairs, pixel_values):
        for frame, value in zip(pair, values):  # frame 0 is the onset
            assert_close(value, expected_values(frame))


@pytest.mark.parametrize("resample", [Image.Resampling.BICUBIC, Image.Resampling.NEAREST])
def test_rectangular_size_and_resample(frame_pair, resample):
    processor = MicronBertImageProcessor(size={"height": 24, "width": 40}, resample=resample)
    pixel_values = processor(frame_pair)["pixel_values"]
    assert pixel_values.shape == (1, 2, 3, 24, 40)
    assert_close(pixel_values[0, 1], expected_values(frame_pair[1], 24, 40, resample))


@pytest.mark.parametrize("transpose", [False, True])
def test_shortest_edge_and_center_crop(frame_pair, transpose):
    pair = [frame.transpose(1, 0, 2) if transpose else frame for frame in frame_pair]
    processor = MicronBertImageProcessor(
        size={"shortest_edge": 33}, do_center_crop=True, crop_size={"height": 32, "width": 24}
    )
    # 52 x 44 to 39 x 33 (33 * 52 / 44), middle 32 x 24
    height, width = (33, 39) if transpose else (39, 33)
    top, left = (0, 7) if transpose else (3, 4)
    expected = expected_values(pair[0], height, width)[:, top : top + 32, left : left + 24]
    assert_close(processor(tuple(pair))["pixel_values"][0, 0], expected)


def test_size_that_is_kept_keeps_every_pixel(plain, frame_pair):
    assert_close(plain(frame_pair)["pixel_values"][0, 1], frame_pair[1].transpose(2, 0, 1) / 255.0, atol=1e-7)


def test_pairs_of_different_sizes(processor, frame_pair):
    small = tuple(frame[:30, :20] for frame in frame_pair)
    pixel_values = processor([frame_pair, small])["pixel_values"]
    assert_close(pixel_values[1, 0], expected_values(small[0]))


def test_frames_of_one_pair_must_have_one_size(processor, frame_pair):
    with pytest.raises(ValueError, match="Pair 1: the onset has 44 x 52 pixels and the apex 43 x 52"):
        processor([frame_pair, (frame_pair[0], frame_pair[1][:, :-1])])


def test_pairs_must_end_in_one_shape(frame_pair):
    processor = MicronBertImageProcessor(size={"shortest_edge": 32})
    with pytest.raises(ValueError, match=r"Pair 1 becomes \(2, 3, 38, 32\) and pair 0 \(2, 3, 37, 32\)"):
        processor([frame_pair, tuple(frame[:, :-1] for frame in frame_pair)])


def test_crop_larger_than_the_frame(frame_pair):
    processor = MicronBertImageProcessor(do_resize=False, do_center_crop=True, crop_size=48)
    with pytest.raises(ValueError, match="48 x 48 does not fit into 52 x 44"):
        processor(frame_pair)


# --------------------------------------------------------------------------------------------------------- input types


def test_every_type_is_the_same_picture(processor, frame_pair, tmp_path):
    expected = processor(frame_pair)["pixel_values"]
    paths = [png(tmp_path, f"{index}.png", frame) for index, frame in enumerate(frame_pair)]
    channels_first = [np.ascontiguousarray(frame.transpose(2, 0, 1)) for frame in frame_pair]
    for onset, apex in (
        [Image.fromarray(frame) for frame in frame_pair],
        paths,
        [str(path) for path in paths],
        channels_first,
        [torch.from_numpy(frame) for frame in frame_pair],
        [torch.from_numpy(frame) for frame in channels_first],
        [torch.from_numpy(frame).long() for frame in frame_pair],
        [paths[0], torch.from_numpy(frame_pair[1])],
    ):
        for pair in ((onset, apex), {"onset": onset, "apex": apex, "label": 3}, [(onset, apex)], [[onset, apex]]):
            np.testing.assert_array_equal(processor(pair)["pixel_values"], expected)
    np.testing.assert_array_equal(processor(np.stack(frame_pair))["pixel_values"], expected)
    np.testing.assert_array_equal(processor(torch.from_numpy(np.stack(frame_pair))[None])["pixel_values"], expected)


def test_a_dict_is_read_by_name_not_by_order(processor, frame_pair):
    onset, apex = frame_pair
    swapped = processor({"apex": apex, "onset": onset})["pixel_values"]
    np.testing.assert_array_equal(swapped, processor(frame_pair)["pixel_values"])
    assert not np.array_equal(swapped, processor((apex, onset))["pixel_values"])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_floats_in_0_1_are_not_rescaled(plain, dtype):
    frame = torch.linspace(0, 1, 12 * 10 * 3).reshape(12, 10, 3).to(dtype).requires_grad_()
    expected = frame.detach().double().numpy().transpose(2, 0, 1)
    assert_close(plain((frame, frame))["pixel_values"][0, 0], expected, atol=1e-7)


@pytest.mark.parametrize(
    "options", [{}, {"do_rescale": False}, {"rescale_factor": 1 / 127.5}, {"do_normalize": False}], ids=str
)
def test_floats_mean_the_same_picture_under_every_option(frame_pair, options):
    processor = MicronBertImageProcessor(do_resize=False, **options)
    floats = tuple(frame.astype(np.float32) / 255 for frame in frame_pair)
    expected = processor(frame_pair)["pixel_values"]
    np.testing.assert_allclose(processor(floats)["pixel_values"], expected, rtol=1e-6, atol=2e-6)


@pytest.mark.parametrize("resample", [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC])
def test_floats_are_resized_without_rounding(frame_pair, resample):
    processor = MicronBertImageProcessor(size=20, resample=resample)
    # black beside white, so that bicubic overshoots and must be clipped as it is for uint8
    frame = frame_pair[0].astype(np.float32) / 255
    frame[:, :20], frame[:, 20:24] = 0, 1
    channels = [np.array(Image.fromarray(frame[..., c]).resize((20, 20), resample)) for c in range(3)]
    expected = normalize(np.stack(channels, axis=2).clip(0, 1))
    assert_close(processor((frame, frame))["pixel_values"][0, 0], expected)


def test_no_rescale_leaves_0_255(frame_pair):
    processor = MicronBertImageProcessor(do_resize=False, do_rescale=False, do_normalize=False)
    np.testing.assert_array_equal(processor(frame_pair)["pixel_values"][0, 0], frame_pair[0].transpose(2, 0, 1))


def test_sixteen_bit_grey_keeps_its_precision(plain, tmp_path):
    grey = np.arange(0, 65536, 64, dtype=np.uint16).reshape(32, 32)
    path = png(tmp_path, "grey16.png", grey)
    expected = np.broadcast_to(grey / 65535.0, (3, 32, 32))
    as_32_bit = Image.fromarray(grey.astype(np.int32))  # mode I, as older PIL opens the file
    for frame in (path, grey, torch.from_numpy(grey), as_32_bit):
        assert_close(plain((frame, frame))["pixel_values"][0, 0], expected, atol=1e-7)


# --------------------------------------------------------------------------------------------------------- image modes


def test_grey_is_replicated(processor, plain, frame_pair, tmp_path):
    grey = [np.ascontiguousarray(frame[..., 0]) for frame in frame_pair]
    expected = processor(tuple(np.repeat(frame[..., None], 3, axis=2) for frame in grey))["pixel_values"]
    for pair in (
        tuple(grey),
        tuple(frame[..., None] for frame in grey),
        tuple(frame[None] for frame in grey),
        tuple(png(tmp_path, f"{index}.png", frame) for index, frame in enumerate(grey)),
    ):
        np.testing.assert_array_equal(processor(pair)["pixel_values"], expected)
    assert_close(plain(tuple(grey))["pixel_values"][0, 0, 2], grey[0] / 255.0, atol=1e-7)


def test_grey_stays_grey_without_conversion(frame_pair):
    processor = MicronBertImageProcessor(do_convert_rgb=False, image_mean=0.5, image_std=0.25)
    grey = tuple(np.ascontiguousarray(frame[..., 0]) for frame in frame_pair)
    pixel_values = processor(grey)["pixel_values"]
    resized = np.array(Image.fromarray(grey[1]).resize((224, 224), Image.Resampling.BILINEAR))
    assert pixel_values.shape == (1, 2, 1, 224, 224)
    assert_close(pixel_values[0, 1, 0], (resized / 255.0 - 0.5) / 0.25)
    with pytest.raises(ValueError, match="the onset has 1 channels and the apex 3"):
        processor((grey[0], frame_pair[1]))
    with pytest.raises(ValueError, match="`image_mean` has 3 values for 1 channels"):
        processor(grey, image_mean=[0.1, 0.2, 0.3])


def test_transparency_is_laid_over_black(plain, frame_pair, tmp_path):
    alpha = np.linspace(0, 255, 52 * 44).round().astype(np.uint8).reshape(52, 44, 1)
    rgba = np.concatenate([frame_pair[0], alpha], axis=2)
    expected = (frame_pair[0] / 255.0 * (alpha / 255.0)).transpose(2, 0, 1)
    for frame in (rgba, Image.fromarray(rgba), png(tmp_path, "rgba.png", rgba), rgba.transpose(2, 0, 1)):
        assert_close(plain((frame, frame))["pixel_values"][0, 0], expected, atol=1 / 255)  # PIL blends in 8 bits
    floats = rgba.astype(np.float32) / 255
    assert_close(plain((floats, floats))["pixel_values"][0, 0], expected, atol=1e-6)


def test_palette_with_a_transparent_color(plain, tmp_path):
    image = Image.new("P", (16, 16))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((3, 5), 1)
    opaque = plain((image, image))["pixel_values"][0, 0]
    assert_close(opaque[:, 5, 3], np.array([200, 100, 50]) / 255, atol=1e-7)
    assert_close(opaque[:, 0, 0], np.array([10, 20, 30]) / 255, atol=1e-7)
    path = png(tmp_path, "palette.png", image, transparency=0)
    transparent = plain((path, path))["pixel_values"][0, 0]
    assert_close(transparent[:, 5, 3], np.array([200, 100, 50]) / 255, atol=1e-7)
    assert_close(transparent[:, 0, 0], 0, atol=0)


@pytest.mark.parametrize("mode", ["1", "LA", "CMYK", "YCbCr", "HSV", "RGBX"])
def test_other_modes_are_converted(plain, frame_pair, mode):
    image = Image.fromarray(frame_pair[0]).convert("L" if mode == "LA" else "RGB").convert(mode)
    expected = np.array(image.convert("RGB")).transpose(2, 0, 1) / 255.0
    assert_close(plain((image, image))["pixel_values"][0, 0], expected, atol=1e-7)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(plain, frame_pair, tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = png(tmp_path, "rotated.png", frame_pair[0], exif=exif)
    # EXIF 2.3, tag 274: how the stored image is turned to stand upright
    upright = {
        1: lambda image: image,
        2: lambda image: image[:, ::-1],
        3: lambda image: image[::-1, ::-1],
        4: lambda image: image[::-1],
        5: lambda image: image.transpose(1, 0, 2),
        6: lambda image: image.transpose(1, 0, 2)[:, ::-1],
        7: lambda image: image.transpose(1, 0, 2)[::-1, ::-1],
        8: lambda image: image.transpose(1, 0, 2)[::-1],
    }[orientation](frame_pair[0])
    expected = upright.transpose(2, 0, 1) / 255.0
    for frame in (path, Image.open(path)):
        values = plain((frame, frame))["pixel_values"][0, 0]
        assert values.shape == expected.shape
        assert_close(values, expected, atol=1e-7)


def test_a_phone_photograph_of_several_pictures_gives_the_first(plain, frame_pair, tmp_path):
    first, second = (Image.fromarray(frame) for frame in frame_pair)
    first.save(tmp_path / "phone.jpg", format="MPO", save_all=True, append_images=[second], quality=95)
    first.save(tmp_path / "one.jpg", quality=95)
    values = [plain((tmp_path / name,) * 2)["pixel_values"] for name in ("phone.jpg", "one.jpg")]
    np.testing.assert_array_equal(*values)


@pytest.mark.parametrize("extension", ["bmp", "gif", "jpg", "png", "ppm", "tif", "webp"])
def test_formats(plain, frame_pair, tmp_path, extension):
    path = png(tmp_path, f"frame.{extension}", frame_pair[0])
    with Image.open(path) as image:
        expected = np.array(image.convert("RGB")).transpose(2, 0, 1) / 255.0
    assert_close(plain((path, path))["pixel_values"][0, 0], expected, atol=1e-7)


# ----------------------------------------------------------------------------------------------------------- bad input


FRAME = np.full((8, 8, 3), 7, dtype=np.uint8)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "empty batch"),
        (np.zeros((0, 2, 8, 8, 3), np.uint8), "empty batch"),
        (FRAME, r"the input is an array of shape \(8, 8, 3\)"),
        (Image.fromarray(FRAME), "the input is one Image"),
        ("frame.png", "the input is one str"),
        ([FRAME, FRAME], r"pair 0 is an array of shape \(8, 8, 3\)"),
        (["a.png", "b.png"], "pair 0 is one str"),
        ((FRAME, FRAME, FRAME), "the input has 3 frames"),
        ((FRAME,), "the input has 1 frames"),
        ([(FRAME, FRAME), (FRAME,)], "pair 1 has 1 frames"),
        (np.stack([FRAME] * 3), r"array of shape \(3, 8, 8, 3\)"),
        ({"onset": FRAME}, r"lacks \['apex'\] and has the keys \['onset'\]"),
        (((FRAME, FRAME), (FRAME, FRAME)), "Pair 0, onset: expected a path, URL, PIL image, NumPy array or tensor"),
        ((FRAME, None), "Pair 0, apex: .* got NoneType"),
        ((FRAME, FRAME[:, :, :2]), r"apex: has the shape \(8, 8, 2\), expected 1, 3 or 4 channels"),
        ((FRAME, FRAME[None]), r"apex: has the shape \(1, 8, 8, 3\)"),
        ((FRAME, FRAME[:, :0]), r"apex: has no pixels \(shape \(8, 0, 3\)\)"),
        ((FRAME, FRAME > 3), "apex: has pixels of type bool"),
        ((FRAME, FRAME.astype(complex)), "apex: has pixels of type complex128"),
        ((FRAME, FRAME.astype(np.float32)), r"apex: has pixels from 7.0 to 7.0, expected \[0, 1\] \(float\)"),
        ((FRAME, FRAME / 255 - 0.5), r"apex: has pixels from -0.47\d+ to -0.47\d+, expected \[0, 1\]"),
        ((FRAME, FRAME.astype(int) + 255), r"apex: has pixels from 262 to 262, expected \[0, 255\] \(int64\)"),
        ((FRAME, FRAME.astype(np.int16) - 8), r"apex: has pixels from -1 to -1, expected \[0, 255\]"),
        ((FRAME, np.where(FRAME > 3, np.nan, FRAME)), "apex: has NaN or infinite pixels"),
        ((FRAME, np.full((8, 8), np.inf)), "apex: has NaN or infinite pixels"),
        ((FRAME, torch.full((3, 8, 8), float("-inf"))), "apex: has NaN or infinite pixels"),
        ((FRAME, Image.fromarray(np.full((8, 8), 1.5, np.float32))), r"apex: has pixels from 1.5 to 1.5"),
        ((FRAME, Image.new("RGB", (0, 4))), r"apex: the image has no pixels \(0 x 4\)"),
        ((np.zeros((3, 8, 3), np.uint8),) * 2, "pass `input_data_format`"),
        ((FRAME, "ftp://host/frame.png"), "apex: expected an image file or an http.s. URL"),
        ((FRAME, "data:image/png;base64,AAAA"), "apex: expected an image file or an http.s. URL"),
        ((FRAME, "nul\0byte.png"), "apex: expected an image file or an http.s. URL"),
    ],
)
def test_bad_input(processor, images, message):
    with pytest.raises(ValueError, match=message):
        processor(images)


def test_one_bad_pixel_is_enough(processor):
    frame = np.zeros((8, 8, 3), np.float32)
    frame[3, 4, 1] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        processor((np.zeros((8, 8, 3)), frame))


def test_order_of_axes_that_cannot_be_told_can_be_given(plain):
    frame = np.arange(3 * 8 * 3, dtype=np.uint8).reshape(3, 8, 3)
    first = plain((frame, frame), input_data_format="channels_first")["pixel_values"][0, 0]
    last = plain((frame, frame), input_data_format="channels_last")["pixel_values"][0, 0]
    assert_close(first, frame / 255.0, atol=1e-7)
    assert_close(last, frame.transpose(2, 0, 1) / 255.0, atol=1e-7)
    with pytest.raises(ValueError, match=r"\(8, 8, 3\), expected 1, 3 or 4 channels, channels_first"):
        plain((FRAME, FRAME), input_data_format="channels_first")


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 9, 3), (9, 1, 3)])
def test_images_one_pixel_high_or_wide(processor, plain, shape):
    frame = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    for one in (frame, frame.transpose(2, 0, 1)):
        assert_close(plain((one, one))["pixel_values"][0, 0], frame.transpose(2, 0, 1) / 255.0, atol=1e-7)
    assert processor((frame, frame))["pixel_values"].shape == (1, 2, 3, 224, 224)


def test_bad_files(processor, frame_pair, tmp_path):
    good = png(tmp_path, "good.png", frame_pair[0])
    content = good.read_bytes()
    files = {
        "zero.png": (b"", r"zero.png is empty \(0 bytes\)"),
        "text.png": (b"a text file posing as an image", "text.png is not an image of a known format"),
        "cut.png": (content[: len(content) // 2], "cannot decode .*cut.png"),
        "head.png": (content[:20], "head.png"),
        "vector.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n", "not an image of a known format"),
    }
    for name, (data, message) in files.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match=f"Pair 0, apex: .*{message}"):
            processor((good, tmp_path / name))
    with Image.open(tmp_path / "cut.png") as lazy, pytest.raises(ValueError, match="apex: cannot decode the image"):
        processor((good, lazy))
    os.mkfifo(tmp_path / "pipe.png")
    for name, message in (("missing.png", "No such file"), (".", "not a regular"), ("pipe.png", "not a regular")):
        with pytest.raises(
            ValueError, match=f"Pair 0, apex: expected an image file or an http.s. URL, but .*{message}"
        ):
            processor((good, str(tmp_path / name)))


def test_an_animation_is_not_a_frame(processor, frame_pair, tmp_path):
    onset, apex = (Image.fromarray(frame) for frame in frame_pair)
    onset.save(tmp_path / "moving.gif", save_all=True, append_images=[apex])
    with pytest.raises(ValueError, match="moving.gif: it has 2 frames, expected a still image"):
        processor((tmp_path / "moving.gif", frame_pair[1]))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_decompression_bomb(processor, tmp_path, monkeypatch):
    path = png(tmp_path, "large.png", Image.new("1", (400, 300)))
    for limit, frame, message in (
        (119_999, path, "large.png has 400 x 300 pixels, more than the limit of 119999"),
        (119_999, Image.new("L", (400, 300)), "the image has 400 x 300 pixels, more than the limit of 119999"),
        (50_000, path, "large.png is too large"),  # PIL itself raises beyond twice its limit
    ):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(ValueError, match=message):
            processor((frame, frame))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 120_000)
    assert processor((path, path))["pixel_values"].shape == (1, 2, 3, 224, 224)


@pytest.mark.filterwarnings("ignore::UserWarning")  # PIL, on what it skips in a broken TIFF
def test_broken_files_never_raise_anything_else(processor, frame_pair, tmp_path):
    """Weak: a sample of cuts and flipped bytes. Each must give values or a ValueError."""
    generator = np.random.default_rng(0)
    refused = 0
    for extension in ("bmp", "gif", "jpg", "png", "ppm", "tif", "webp"):
        content = png(tmp_path, f"good.{extension}", frame_pair[0]).read_bytes()
        for trial in range(12):
            broken = bytearray(content)
            if trial % 2:
                del broken[int(generator.integers(len(broken))) :]
            else:
                for position in generator.integers(0, min(len(broken), 400), size=4):
                    broken[position] = generator.integers(256)
            path = tmp_path / f"broken.{extension}"
            path.write_bytes(broken)
            try:
                processor((path, path))
            except ValueError:
                refused += 1
    assert refused > 40


def test_input_is_not_written_to(processor, frame_pair):
    arrays = [frame_pair[0], frame_pair[1].astype(np.float32) / 255]
    before = [array.copy() for array in arrays]
    processor(tuple(arrays), do_resize=False)
    for array, copy in zip(arrays, before):
        np.testing.assert_array_equal(array, copy)


# ------------------------------------------------------------------------------------------------------------- options


def test_return_tensors(processor, frame_pair):
    assert isinstance(processor(frame_pair)["pixel_values"], np.ndarray)
    assert isinstance(processor(frame_pair, return_tensors="np").pixel_values, np.ndarray)
    assert isinstance(processor(frame_pair, return_tensors="pt").pixel_values, torch.Tensor)


def test_options_of_a_call_are_for_that_call(processor, frame_pair):
    before = processor.to_dict()
    assert processor(frame_pair, size=16)["pixel_values"].shape[-2:] == (16, 16)
    assert processor.to_dict() == before


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"size": {"longest_edge": 32}}, ValueError, "height and width, or shortest_edge"),
        ({"size": {"height": 0, "width": 4}}, ValueError, "must be positive"),
        ({"do_center_crop": True, "crop_size": {"height": -1, "width": 4}}, ValueError, "must be positive"),
        ({"do_center_crop": True, "crop_size": {"shortest_edge": 4}}, ValueError, "must have height and width"),
        ({"image_std": [0.1, 0.0, 0.1]}, ValueError, "`image_std` must be positive"),
        ({"image_mean": [0.1, 0.2]}, ValueError, "`image_mean` has 2 values for 3 channels"),
        ({"input_data_format": "last"}, ValueError, "channels_first or channels_last, got last"),
        ({"do_resize": "yes"}, StrictDataclassFieldValidationError, "do_resize"),
        ({"do_pad": True}, TypeError, "do_pad"),
    ],
)
def test_bad_options(processor, frame_pair, options, error, message):
    with pytest.raises(error, match=message):
        processor(frame_pair, **options)


def test_save_and_load(frame_pair, tmp_path):
    processor = MicronBertImageProcessor(
        size={"shortest_edge": 40}, do_center_crop=True, crop_size=32, resample=3, image_mean=[0.1, 0.2, 0.3]
    )
    processor.save_pretrained(tmp_path)
    loaded = MicronBertImageProcessor.from_pretrained(tmp_path)
    assert loaded.to_dict() == processor.to_dict()
    np.testing.assert_array_equal(loaded(frame_pair)["pixel_values"], processor(frame_pair)["pixel_values"])


# ----------------------------------------------------------------------------------------------------------- addresses


@pytest.fixture
def server(monkeypatch, frame_pair):
    """A web server on loopback; yields its address."""
    picture = io.BytesIO()
    Image.fromarray(frame_pair[1]).save(picture, "PNG")
    picture = picture.getvalue()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/missing.png":
                return self.send_error(404)
            if self.path.startswith("/to?"):
                self.send_response(302)
                self.send_header("Location", self.path.partition("?")[2])
                return self.end_headers()
            self.send_response(200)
            if self.path != "/endless.png":
                self.send_header("Content-Length", str(len(picture)))
            self.end_headers()
            try:
                if self.path == "/slow.png":
                    for byte in picture:
                        self.wfile.write(bytes([byte]))
                        time.sleep(0.05)
                elif self.path == "/silent.png":
                    time.sleep(1)
                elif self.path == "/endless.png":
                    while True:
                        self.wfile.write(bytes(2**16))
                elif self.path != "/empty.png":
                    self.wfile.write(picture[: 100 if self.path == "/cut.png" else None])
            except OSError:
                pass  # the client has had enough

        def log_message(self, *arguments):
            pass

    monkeypatch.setenv("no_proxy", "*")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web_server:
        web_server.daemon_threads = True
        thread = threading.Thread(target=web_server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{web_server.server_port}"
        web_server.shutdown()
        thread.join()


def test_url(processor, frame_pair, server):
    pixel_values = processor((frame_pair[0], f"{server}/apex.png"))["pixel_values"]
    np.testing.assert_array_equal(pixel_values, processor(frame_pair)["pixel_values"])
    redirected = processor((frame_pair[0], f"{server}/to?{server}/apex.png"))["pixel_values"]
    np.testing.assert_array_equal(redirected, pixel_values)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("missing.png", "404"),
        ("to?file:///etc/hostname", "file"),
        ("to?ftp://127.0.0.1/apex.png", "ftp"),
        ("endless.png", "more than 200000 bytes"),
        ("slow.png", "not complete after 0 s"),
        ("silent.png", "timed out"),
        ("cut.png", "connection closed .* bytes early"),
        ("empty.png", "connection closed .* bytes early"),
    ],
)
def test_bad_url(processor, frame_pair, server, monkeypatch, path, message):
    monkeypatch.setattr(processing, "MAX_DOWNLOAD_BYTES", 200_000)
    monkeypatch.setattr(processing, "DOWNLOAD_TIMEOUT_SECONDS", 0.3)
    monkeypatch.setattr(processing, "DOWNLOAD_DEADLINE_SECONDS", 0.4)
    start = time.monotonic()
    with pytest.raises(ValueError, match=f"Pair 0, apex: cannot download .*{message}"):
        processor((frame_pair[0], f"{server}/{path}"))
    assert time.monotonic() - start < 5


def test_url_nobody_answers(processor, frame_pair, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(ValueError, match="cannot download http://127.0.0.1:9/a.png"):
        processor((frame_pair[0], "http://127.0.0.1:9/a.png"))
