"""Makes the examples of the web page, synthetic faces and no photograph of anybody: always the same.

python examples/space/make_examples.py src/micron_bert_hf/web/examples
"""

import sys
from pathlib import Path

import av
import numpy as np
from PIL import Image

from micron_bert_hf.synthetic import generate_micro_expressions


SIZE, FPS, STILL = 224, 50, 24


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, seed in (("surprise", 123), ("disgust", 7)):
        row = next(generate_micro_expressions(1, 1, SIZE, difficulty=0.15, seed=seed, classes=(name,)))
        for part in ("onset", "apex"):
            Image.fromarray(row[part]).save(folder / f"{name}_{part}.png", optimize=True)

    # a surprise at 50 frames a second, with a still face and the grain of a camera before and after it
    row = next(
        generate_micro_expressions(
            1, 1, SIZE, difficulty=0.0, seed=21, classes=("surprise",), frames="clip", fps=2 * FPS
        )
    )
    moving = list(row["frames"][::2])
    noise = np.random.default_rng(0)
    with av.open(str(folder / "surprise.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "18"})
        stream.width = stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        for pixels in [moving[0]] * STILL + moving + [moving[-1]] * STILL:
            grain = np.clip(pixels + noise.normal(0, 1, pixels.shape), 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grain, format="rgb24")))
        container.mux(stream.encode(None))


if __name__ == "__main__":
    main()
