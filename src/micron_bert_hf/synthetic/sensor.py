"""The camera's sensor: exposure, white balance, blur, noise, tone curve, 8 bits, compression."""

from dataclasses import dataclass

import cv2
import numpy as np


# Rec. ITU-R BT.709 luma weights.
LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)
# Strength of the highlights' roll-off and the gain that makes up for it. Ours.
_SHOULDER, _SHOULDER_GAIN = 0.12, 1.1


@dataclass(frozen=True)
class Sensor:
    """One recording's camera.

    Attributes:
        exposure: gain on linear light.
        white_balance: `(3,)` gain by colour.
        saturation: 1 keeps colours, 0 is grey.
        blur: standard deviation of the optics' blur, pixels; 0 for none.
        shot_noise: standard deviation of photon noise at linear light 1; it grows with the square root of the light.
        read_noise: standard deviation of the electronics' noise, in linear light.
        exposure_flicker: standard deviation of the exposure from frame to frame, relative.
        jpeg_quality: (lowest, highest) quality of each frame's compression, or `None` for none.
        grey: a sensor without colour: the three channels of its frames are equal.
    """

    exposure: float
    white_balance: np.ndarray
    saturation: float
    blur: float
    shot_noise: float
    read_noise: float
    exposure_flicker: float
    jpeg_quality: tuple[int, int] | None = None
    grey: bool = False


def expose(linear: np.ndarray, sensor: Sensor, rng: np.random.Generator) -> np.ndarray:
    """`(H, W, 3)` linear RGB light -> `(H, W, 3)` uint8 sRGB frame; noise, flicker and dither are drawn from `rng`."""
    grey = (linear * LUMINANCE).sum(2, keepdims=True)
    if sensor.grey:
        light = grey
    else:
        light = (grey + (linear - grey) * np.float32(sensor.saturation)) * sensor.white_balance.astype(np.float32)
    light = light * np.float32(sensor.exposure * (1 + rng.normal(0, sensor.exposure_flicker)))
    if sensor.blur:
        light = cv2.GaussianBlur(light, (0, 0), sensor.blur).reshape(light.shape)
    noise = rng.standard_normal(light.shape).astype(np.float32)
    positive = np.clip(light, 0, None)
    light = light + noise * np.sqrt(positive * np.float32(sensor.shot_noise**2) + np.float32(sensor.read_noise**2))
    light = light / (1 + _SHOULDER * np.clip(light, 0, None))
    light = np.clip(light * _SHOULDER_GAIN, 0, 1)
    encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** np.float32(1 / 2.4) - 0.055)
    # Dither: rounding alone would show bands on smooth skin, and they would move with the head.
    frame = np.clip(encoded * 255 + rng.uniform(0, 1, encoded.shape), 0, 255).astype(np.uint8)
    if sensor.grey:
        frame = np.repeat(frame, 3, axis=2)
    if sensor.jpeg_quality is not None:
        low, high = sensor.jpeg_quality
        frame = compress(frame, int(rng.integers(low, high + 1)))
    return frame


def compress(frame: np.ndarray, quality: int) -> np.ndarray:
    """`(H, W, 3)` uint8 RGB frame through JPEG at `quality` (1..100) and back."""
    _, encoded = cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.ascontiguousarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1])
