"""Which micro-expression lies between two frames, with numpy, pillow and onnxruntime alone.

    micron-bert export demo_output/model demo_output/onnx --onnx
    python examples/onnx_inference.py demo_output/onnx onset.png apex.png    # prints: surprise 0.7134

For an image processor that resizes to one size, as ours does unless it is told otherwise, and pictures without
transparency.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps


os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # else it tells its maker of its use; read at import

import onnxruntime  # noqa: E402


def main() -> None:
    folder, frames = Path(sys.argv[1]), [ImageOps.exif_transpose(Image.open(path)) for path in sys.argv[2:4]]
    config, labels, processor = (
        json.loads((folder / f"{name}.json").read_text()) for name in ("config", "labels", "preprocessor_config")
    )
    size = processor["size"]["width"], processor["size"]["height"]
    pixels = np.stack([frame.convert("RGB").resize(size, Image.Resampling.BILINEAR) for frame in frames])
    pixels = (pixels * processor["rescale_factor"] - processor["image_mean"]) / processor["image_std"]
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    pixel_values = pixels.transpose(0, 3, 1, 2)[None].astype(np.float32)  # (1, 2, channels, height, width)
    logits = session.run(["logits"], {"pixel_values": pixel_values})[0][0].astype(float)
    several = config["problem_type"] == "multi_label_classification"
    scores = 1 / (1 + np.exp(-logits)) if several else np.exp(logits) / np.exp(logits).sum()
    print(labels[scores.argmax()], f"{scores.max():.4f}")


if __name__ == "__main__":
    main()
