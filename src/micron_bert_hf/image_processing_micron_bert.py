"""Frame pairs to `pixel_values (B, 2, C, H, W)`: decode, check, one resize and crop for both frames, scale, normalise.

Four things differ from what one expects of an image processor:

* The unit is the PAIR. Both frames of a pair must have one size, so that one geometry serves both: resizing each frame
  from its own size would be a motion of its own, larger than the one to be recognised.
* A picture means the same in every type: float pixels lie in [0, 1] and are the same picture as uint8 `255 * x`,
  16-bit pixels in [0, 65535] as `x / 257`, whatever the options. Nothing is rescaled twice or guessed from values.
* Input is not trusted: file formats are a short list, pixels and downloaded bytes are bounded, NaN is refused.
* PIL does the resizing, always: backends differ by up to 0.008 after normalisation.
"""

import io
import os
import stat
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any, TypedDict

import numpy as np
import torch
from PIL import Image, ImageOps
from transformers.image_processing_backends import PilBackend
from transformers.image_processing_utils import BatchFeature
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, PILImageResampling, SizeDict


FRAME_NAMES = ("onset", "apex")
# Ours: what face databases and cameras write. Others stay out on purpose: PIL hands EPS to Ghostscript, for one.
IMAGE_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
# Ours: an 8-bit RGB image of PIL's pixel limit rarely compresses to more, and no visitor waits longer.
MAX_DOWNLOAD_BYTES = 32 * 2**20
DOWNLOAD_TIMEOUT_SECONDS = 10.0  # without a byte
DOWNLOAD_DEADLINE_SECONDS = 60.0  # in all
EXIF_ORIENTATION = 0x0112
MAX_8_BIT, MAX_16_BIT = 255, 65535

# A decoded frame: uint8 as a PIL image of mode L or RGB; anything finer as float32 (H, W, 1 or 3) in [0, 1]
Frame = Image.Image | np.ndarray


class MicronBertImageProcessorKwargs(TypedDict, total=False):
    """The options of [`MicronBertImageProcessor`], at construction or per call."""

    do_convert_rgb: bool | None
    do_resize: bool | None
    size: int | list[int] | tuple[int, ...] | dict[str, int] | None
    default_to_square: bool | None
    resample: PILImageResampling | int | None
    do_center_crop: bool | None
    crop_size: int | list[int] | tuple[int, ...] | dict[str, int] | None
    do_rescale: bool | None
    rescale_factor: float | int | None
    do_normalize: bool | None
    image_mean: float | list[float] | tuple[float, ...] | None
    image_std: float | list[float] | tuple[float, ...] | None
    input_data_format: str | None
    return_tensors: str | None


# ---------------------------------------------------------------------------------------------- what the caller passed


def is_array(value: Any) -> bool:
    return isinstance(value, (np.ndarray, torch.Tensor))


def as_frame_pair(pair: Any, where: str) -> tuple[Any, Any]:
    """
    The two frames of one pair, not yet decoded.

    Args:
        pair: a mapping with `"onset"` and `"apex"` (other keys, as a dataset's row has them, are left alone), a tuple
            or list of two frames, or an array of shape `(2, H, W, C)` or `(2, C, H, W)`
        where: names the pair in the error

    Raises:
        ValueError: anything else.
    """
    expected = f'expected two frames: {{"onset": ..., "apex": ...}} or (onset, apex); {where}'
    if isinstance(pair, Mapping):
        missing = [name for name in FRAME_NAMES if name not in pair]
        if missing:
            raise ValueError(f"{expected} lacks {missing} and has the keys {sorted(map(str, pair))}.")
        return pair["onset"], pair["apex"]
    if is_array(pair):
        if pair.ndim != 4 or pair.shape[0] != 2:
            raise ValueError(f"{expected} is an array of shape {tuple(pair.shape)}, not (2, height, width, channels).")
        return pair[0], pair[1]
    if isinstance(pair, (tuple, list)):
        if len(pair) != 2:
            raise ValueError(f"{expected} has {len(pair)} frames.")
        return pair[0], pair[1]
    raise ValueError(f"{expected} is one {type(pair).__name__}.")


def as_frame_pairs(images: Any) -> list[tuple[Any, Any]]:
    """
    A list is a batch of pairs, a mapping or a tuple is one pair (as in a pipeline); an array of shape `(B, 2, ...)` is
    a batch, of shape `(2, ...)` one pair.

    Raises:
        ValueError: an empty batch, or an element that is not a pair.
    """
    is_batch = isinstance(images, list) or (is_array(images) and images.ndim == 5)
    if not is_batch:
        return [as_frame_pair(images, "the input")]
    if len(images) == 0:
        raise ValueError("Expected at least one frame pair, got an empty batch.")
    return [as_frame_pair(pair, f"pair {index}") for index, pair in enumerate(images)]


# ----------------------------------------------------------------------------------------------------- bytes to pixels


def download(url: str) -> bytes:
    """
    The bytes behind an http(s) address, at most `MAX_DOWNLOAD_BYTES` of them.

    transformers' `load_image` has neither a time-out nor a limit. Here redirects stay within http(s), and a server
    that sends nothing for `DOWNLOAD_TIMEOUT_SECONDS` or drips for `DOWNLOAD_DEADLINE_SECONDS` is given up.

    Raises:
        ValueError: unreachable, refused, too slow or too long.
    """
    opener = urllib.request.OpenerDirector()  # not build_opener: that also answers ftp:, file: and data:
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
    ):
        opener.add_handler(handler())
    request = urllib.request.Request(url, headers={"User-Agent": "micron-bert-hf"})
    deadline = time.monotonic() + DOWNLOAD_DEADLINE_SECONDS
    content = bytearray()
    try:
        with opener.open(request, timeout=DOWNLOAD_TIMEOUT_SECONDS) as response:
            while chunk := response.read1(2**16):
                content += chunk
                if len(content) > MAX_DOWNLOAD_BYTES:
                    raise ValueError(f"more than {MAX_DOWNLOAD_BYTES} bytes")
                if time.monotonic() > deadline:
                    raise ValueError(f"not complete after {DOWNLOAD_DEADLINE_SECONDS:.0f} s")
            if response.length:  # read1 ends quietly when the connection breaks
                raise ValueError(f"connection closed {response.length} bytes early")
    except (OSError, ValueError, urllib.error.URLError) as error:
        raise ValueError(f"cannot download {url}: {error}") from error
    return bytes(content)


def read_bytes(source: str | os.PathLike) -> io.BufferedIOBase:
    """
    An open stream over a file or an http(s) address.

    Raises:
        ValueError: a path that is not a regular file (a pipe would wait for ever), an empty file, a failed download.
    """
    if isinstance(source, str) and source.lower().startswith(("http://", "https://")):
        content = download(source)
        stream, size = io.BytesIO(content), len(content)
    else:
        try:
            status = os.stat(source)
            if not stat.S_ISREG(status.st_mode):
                raise ValueError(f"{source} is not a regular file")
            stream, size = open(source, "rb"), status.st_size  # noqa: SIM115 - the caller closes it
        except (OSError, ValueError) as error:  # ValueError: a NUL byte in the path
            raise ValueError(f"expected an image file or an http(s) URL, but {error}") from error
    if size == 0:
        stream.close()
        raise ValueError(f"{source} is empty (0 bytes)")
    return stream


def decode_image(image: Image.Image, name: str, max_pixels: int | None = None) -> Image.Image:
    """
    Decode an opened image upright, refusing what is too large or moves.

    Args:
        max_pixels (`int`, *optional*): PIL's `Image.MAX_IMAGE_PIXELS` when `None`.

    Raises:
        ValueError: more pixels than `max_pixels`, an animation, no pixels, a broken file.
    """
    width, height = image.size
    limit = Image.MAX_IMAGE_PIXELS if max_pixels is None else max_pixels
    if limit is not None and width * height > limit:
        raise ValueError(f"{name} has {width} x {height} pixels, more than the limit of {limit}")
    if width == 0 or height == 0:
        raise ValueError(f"{name} has no pixels ({width} x {height})")
    try:
        # an MPO is a phone's photograph with a second view or a preview behind the first
        if getattr(image, "is_animated", False) and image.format != "MPO":
            raise ValueError(f"it has {image.n_frames} frames, expected a still image")
        image.load()
        if image.getexif().get(EXIF_ORIENTATION, 1) != 1:
            image = ImageOps.exif_transpose(image)
    except MemoryError:  # says nothing about the file
        raise
    except Exception as error:  # PIL's decoders answer a broken file with almost any exception
        raise ValueError(f"cannot decode {name}: {error or type(error).__name__}") from error
    return image


def open_encoded(stream: io.BufferedIOBase, name: str, max_pixels: int | None = None) -> Image.Image:
    """
    Encoded bytes that nobody vouches for to a decoded image: one of `IMAGE_FORMATS`, bounded, upright.

    Args:
        name: stands for the image in the error.
        max_pixels (`int`, *optional*): see [`decode_image`].

    Raises:
        ValueError: another format, a broken header; and see [`decode_image`].
    """
    try:
        image = Image.open(stream, formats=IMAGE_FORMATS)
    except MemoryError:
        raise
    except Image.DecompressionBombError as error:
        raise ValueError(f"{name} is too large: {error}") from error
    except Exception as error:  # as above; PIL reports most, not all, as UnidentifiedImageError
        formats = ", ".join(IMAGE_FORMATS)
        raise ValueError(f"{name} is not an image of a known format ({formats}): {error}") from error
    return decode_image(image, name, max_pixels)


def open_image(source: str | os.PathLike) -> Image.Image:
    """Open, bound and decode an image file or address; see [`read_bytes`] and [`open_encoded`]."""
    with read_bytes(source) as stream:
        return open_encoded(stream, str(source))


# ---------------------------------------------------------------------------------------------------- pixels to frames


def from_pil(image: Image.Image) -> Frame:
    """
    Any PIL mode to a frame. Transparency is laid over black: the colour under it is arbitrary and may differ between
    two frames. 16-bit grey keeps its precision.
    """
    if image.mode == "F" or image.mode == "I" or image.mode.startswith("I;16"):
        pixels = np.asarray(image)[..., None]
        # older PIL opens a 16-bit PNG in the 32-bit mode
        return from_pixels(pixels, MAX_8_BIT if image.mode == "F" else MAX_16_BIT)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image).convert("RGB")
    if image.mode in ("L", "RGB"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def from_array(array: np.ndarray | torch.Tensor, input_data_format: str | None) -> Frame:
    """
    `(H, W)`, `(H, W, C)` or `(C, H, W)` with 1, 3 or 4 channels to a frame.

    Raises:
        ValueError: another shape, an order of axes that cannot be told from the shape, pixels out of range.
    """
    if isinstance(array, torch.Tensor):
        array = array.detach().cpu()
        array = (array.float() if array.dtype == torch.bfloat16 else array).numpy()
    shape = array.shape
    if 0 in shape:
        raise ValueError(f"has no pixels (shape {shape})")
    if array.ndim == 2:
        array = array[..., None]
    elif array.ndim == 3:
        first, last = (input_data_format in (None, order) for order in ("channels_first", "channels_last"))
        first, last = first and shape[0] in (1, 3, 4), last and shape[2] in (1, 3, 4)
        if first and last and (shape[0] == 1) != (shape[2] == 1):  # RGB of one row or column, not grey of three
            first, last = shape[0] != 1, shape[2] != 1
        if first and last:
            raise ValueError(f"has the shape {shape}: pass `input_data_format`, channels_first or channels_last")
        if not first and not last:
            order = input_data_format or "channels first or last"
            raise ValueError(f"has the shape {shape}, expected 1, 3 or 4 channels, {order}")
        array = array.transpose(1, 2, 0) if first else array
    else:
        raise ValueError(f"has the shape {shape}, expected (height, width) or three dimensions with the channels")
    return from_pixels(array, MAX_16_BIT if array.dtype == np.uint16 else MAX_8_BIT)


def from_pixels(pixels: np.ndarray, maximum: int) -> Frame:
    """
    Checked pixels `(H, W, C)` to a frame: float in [0, 1], or integers in [0, maximum].

    Raises:
        ValueError: another type, NaN or infinity, values out of range.
    """
    is_float = np.issubdtype(pixels.dtype, np.floating)
    if not is_float and not np.issubdtype(pixels.dtype, np.integer):
        raise ValueError(f"has pixels of type {pixels.dtype}, expected integers or floats")
    if pixels.dtype != np.uint8:
        low, high = pixels.min(), pixels.max()  # NaN passes through both
        if is_float and not (np.isfinite(low) and np.isfinite(high)):
            raise ValueError("has NaN or infinite pixels")
        if low < 0 or high > (1 if is_float else maximum):
            expected = "[0, 1] (float)" if is_float else f"[0, {maximum}] ({pixels.dtype})"
            raise ValueError(f"has pixels from {low} to {high}, expected {expected}")
    if not is_float and maximum == MAX_8_BIT:
        pixels = np.ascontiguousarray(pixels, dtype=np.uint8)
        return from_pil(Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels))
    pixels = pixels.astype(np.float32)
    if not is_float:
        pixels /= maximum
    return pixels[..., :3] * pixels[..., 3:] if pixels.shape[2] == 4 else pixels


def load_frame(frame: Any, input_data_format: str | None) -> Frame:
    """
    A path, URL, PIL image, NumPy array or tensor to a decoded, checked frame.

    Raises:
        ValueError: see [`open_image`], [`from_array`]; any other type.
    """
    if isinstance(frame, (str, os.PathLike)):
        return from_pil(open_image(frame))
    if isinstance(frame, Image.Image):
        return from_pil(decode_image(frame, "the image"))
    if is_array(frame):
        return from_array(frame, input_data_format)
    raise ValueError(f"expected a path, URL, PIL image, NumPy array or tensor, got {type(frame).__name__}")


def load_pair(
    pair: tuple[Any, Any], do_convert_rgb: bool, input_data_format: str | None, where: str
) -> tuple[Frame, Frame]:
    """
    Both frames of a pair, decoded, of one size and (unless grey is replicated later) one number of channels.

    Raises:
        ValueError: names the pair and the frame, or both sizes.
    """
    frames = []
    for name, frame in zip(FRAME_NAMES, pair):
        try:
            frames.append(load_frame(frame, input_data_format))
        except ValueError as error:
            raise ValueError(f"{where}, {name}: {error}.") from error
    (onset_height, onset_width), (apex_height, apex_width) = map(frame_size, frames)
    if (onset_height, onset_width) != (apex_height, apex_width):
        raise ValueError(
            f"{where}: the onset has {onset_width} x {onset_height} pixels and the apex {apex_width} x {apex_height};"
            " both frames of a pair must have one size, cut from the video with one crop."
        )
    channels = [frame_channels(frame) for frame in frames]
    if not do_convert_rgb and channels[0] != channels[1]:
        raise ValueError(f"{where}: the onset has {channels[0]} channels and the apex {channels[1]}.")
    return frames[0], frames[1]


# --------------------------------------------------------------------------------------------------- frames to a batch


def frame_size(frame: Frame) -> tuple[int, int]:
    """Height and width."""
    return (frame.height, frame.width) if isinstance(frame, Image.Image) else frame.shape[:2]


def frame_channels(frame: Frame) -> int:
    return len(frame.getbands()) if isinstance(frame, Image.Image) else frame.shape[2]


def resized_size(height: int, width: int, size: SizeDict) -> tuple[int, int]:
    """Height and width after resizing: both given, or the shorter one and the aspect kept, the longer rounded down."""
    if size.shortest_edge:
        short, long = sorted((height, width))
        longest_edge = int(size.shortest_edge * long / short)
        return (size.shortest_edge, longest_edge) if height <= width else (longest_edge, size.shortest_edge)
    return size.height, size.width


def resize_frame(frame: Frame, height: int, width: int, resample: int) -> Frame:
    if frame_size(frame) == (height, width):
        return frame
    if isinstance(frame, Image.Image):
        return frame.resize((width, height), resample)
    channels = [
        Image.fromarray(np.ascontiguousarray(channel)).resize((width, height), resample)
        for channel in np.moveaxis(frame, 2, 0)
    ]
    # bicubic and Lanczos overshoot; uint8 is clipped by PIL, and both types must mean the same picture
    return np.stack(channels, axis=2).clip(0.0, 1.0)


def crop_frame(frame: Frame, height: int, width: int) -> Frame:
    full_height, full_width = frame_size(frame)
    if height > full_height or width > full_width:
        raise ValueError(f"`crop_size` {height} x {width} does not fit into {full_height} x {full_width} pixels.")
    top, left = (full_height - height) // 2, (full_width - width) // 2
    if isinstance(frame, Image.Image):
        return frame.crop((left, top, left + width, top + height))
    return frame[top : top + height, left : left + width]


class MicronBertImageProcessor(PilBackend):
    r"""
    Frame pairs to `pixel_values`.

    Args:
        do_convert_rgb (`bool`, defaults to `True`): Replicate grey to three channels (SAMM is grey).
        do_resize (`bool`, defaults to `True`): Resize to `size`.
        size (`dict`, defaults to `{"height": 224, "width": 224}`):
            `{"height", "width"}`, or `{"shortest_edge"}` to keep the aspect. The default squeezes the whole frame into
            the square, as the released code does (micron_bert.py at 58a021b): a face crop is mostly higher than wide,
            and keeping its aspect would cut brow and chin, where action units are; the distortion is the same for all
            frames of one crop.
        resample (`int`, defaults to `PILImageResampling.BILINEAR`):
            Bilinear as in the released code, though with PIL's antialiasing, and without the overshoot of bicubic at
            edges, which moves with the edge.
        do_center_crop (`bool`, defaults to `False`): Cut `crop_size` from the middle; for `{"shortest_edge"}`.
        crop_size (`dict`, defaults to `{"height": 224, "width": 224}`)
        do_rescale (`bool`, defaults to `True`): Multiply by `rescale_factor`; `False` leaves [0, 255], floats too.
        rescale_factor (`float`, defaults to 1/255)
        do_normalize (`bool`, defaults to `True`): Subtract `image_mean` and divide by `image_std`, per channel.
        image_mean, image_std (`float` or `list[float]`): ImageNet's, as in the released code.
        input_data_format (`"channels_first"` or `"channels_last"`, *optional*):
            Of arrays; told from the shape when `None`.
        return_tensors (`"pt"` or `"np"`, *optional*): `None` gives NumPy.
    """

    valid_kwargs = MicronBertImageProcessorKwargs
    do_convert_rgb = True
    do_resize = True
    size = {"height": 224, "width": 224}
    resample = PILImageResampling.BILINEAR
    do_center_crop = False
    crop_size = {"height": 224, "width": 224}
    do_rescale = True
    rescale_factor = 1 / 255
    do_normalize = True
    image_mean = IMAGENET_DEFAULT_MEAN
    image_std = IMAGENET_DEFAULT_STD

    def preprocess(self, images: Any, **kwargs: Any) -> BatchFeature:
        """
        Args:
            images: One pair, as `(onset, apex)`, `{"onset": ..., "apex": ...}` or an array of shape `(2, ...)`; or a
                batch, as a list of pairs or an array of shape `(B, 2, ...)`. A frame is a path, an http(s) URL, a PIL
                image, or a NumPy array or tensor of shape `(H, W)`, `(H, W, C)` or `(C, H, W)` with 1, 3 or 4
                channels: floats in [0, 1], uint8 (or other integers) in [0, 255], uint16 in [0, 65535]. Pairs may
                differ in size, the two frames of a pair may not. EXIF orientation is applied, alpha laid over black.
            kwargs: any option of the class, for this call.

        Returns:
            [`BatchFeature`] with `pixel_values` of shape `(B, 2, C, H, W)`, float32; frame 0 is the onset, frame 1 the
            apex.

        Raises:
            ValueError: what was given and what was expected, before anything is handed to a model.
        """
        return super().preprocess(images, **kwargs)

    def _validate_preprocess_kwargs(self, **kwargs: Any) -> None:
        super()._validate_preprocess_kwargs(**kwargs)
        size, crop_size, image_std = kwargs["size"], kwargs["crop_size"], kwargs["image_std"]
        if kwargs["do_resize"] and set(dict(size)) not in ({"height", "width"}, {"shortest_edge"}):
            raise ValueError(f"`size` must have height and width, or shortest_edge, got {dict(size)}.")
        if kwargs["do_center_crop"] and set(dict(crop_size)) != {"height", "width"}:
            raise ValueError(f"`crop_size` must have height and width, got {dict(crop_size)}.")
        for name, sizes in (("do_resize", size), ("do_center_crop", crop_size)):
            if kwargs[name] and min(dict(sizes).values()) < 1:
                raise ValueError(f"Sizes must be positive, got {dict(sizes)}.")
        if kwargs["do_normalize"] and not np.all(np.asarray(image_std) > 0):
            raise ValueError(f"`image_std` must be positive, got {image_std}.")
        if kwargs["input_data_format"] not in (None, "channels_first", "channels_last"):
            raise ValueError(
                f"`input_data_format` must be channels_first or channels_last, got {kwargs['input_data_format']}."
            )

    def _preprocess_image_like_inputs(
        self,
        images: Any,
        *,
        do_convert_rgb: bool,
        do_resize: bool,
        size: SizeDict,
        resample: int,
        do_center_crop: bool,
        crop_size: SizeDict,
        do_rescale: bool,
        rescale_factor: float,
        do_normalize: bool,
        image_mean: float | tuple[float, ...],
        image_std: float | tuple[float, ...],
        input_data_format: str | None,
        return_tensors: str | None,
        **unused: Any,  # default_to_square and pad_size, which the base class has already dealt with
    ) -> BatchFeature:
        pairs = as_frame_pairs(images)
        factor = rescale_factor if do_rescale else 1.0
        mean, std = (image_mean, image_std) if do_normalize else (0.0, 1.0)

        pixel_values = None
        # pair by pair, so that a batch of large photographs is never decoded all at once
        for index, pair in enumerate(pairs):
            where = f"Pair {index}"
            frames = load_pair(pair, do_convert_rgb, input_data_format, where)
            if do_resize:
                height, width = resized_size(*frame_size(frames[0]), size)
                frames = [resize_frame(frame, height, width, resample) for frame in frames]
            if do_center_crop:
                frames = [crop_frame(frame, crop_size.height, crop_size.width) for frame in frames]

            shape = (2, 3 if do_convert_rgb else frame_channels(frames[0]), *frame_size(frames[0]))
            if pixel_values is None:
                pixel_values = np.empty((len(pairs), *shape), dtype=np.float32)
            elif shape != pixel_values.shape[1:]:
                first = pixel_values.shape[1:]
                raise ValueError(f"{where} becomes {shape} and pair 0 {first}; a batch has one shape.")
            for frame, output in zip(frames, pixel_values[index]):
                write_frame(frame, output, factor, mean, std)
        return BatchFeature(data={"pixel_values": pixel_values}, tensor_type=return_tensors)


def write_frame(
    frame: Frame,
    output: np.ndarray,
    factor: float,
    mean: float | tuple[float, ...],
    std: float | tuple[float, ...],
) -> None:
    """
    `output = (factor * pixels - mean) / std`, pixels in [0, 255], as one multiplication and one addition per pixel.

    Args:
        output (`np.ndarray` of shape `(C, H, W)`, float32): filled; a grey frame fills every channel
    """
    mean, std = np.atleast_1d(np.asarray(mean, np.float64)), np.atleast_1d(np.asarray(std, np.float64))
    for name, statistic in (("image_mean", mean), ("image_std", std)):
        if len(statistic) not in (1, len(output)):
            raise ValueError(f"`{name}` has {len(statistic)} values for {len(output)} channels.")
    if not isinstance(frame, Image.Image):
        factor = factor * MAX_8_BIT  # a float frame is the same picture as uint8 255 * x
    scale, shift = np.broadcast_arrays(factor / std, -mean / std)
    pixels = np.asarray(frame)
    pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    scale, shift = scale.astype(np.float32)[:, None, None], shift.astype(np.float32)[:, None, None]
    np.multiply(pixels, scale, out=output)
    output += shift


__all__ = ["MicronBertImageProcessor"]
