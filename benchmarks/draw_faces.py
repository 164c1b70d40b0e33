"""`python -m benchmarks.draw_faces`: docs/faces.png, contact sheets of synthetic clips converted with --align, above,
and with --align --stabilize, below. About a minute."""

import tempfile
from pathlib import Path

import numpy as np
import openpyxl
from PIL import Image

from benchmarks.conversion import HEADER
from benchmarks.render import README
from micron_bert_hf.databases import DATABASES, ConversionOptions, convert_database
from micron_bert_hf.synthetic import generate_micro_expressions


PICTURE = README.parent / "docs" / "faces.png"
FRAME_SIZE, GREY, GAP = (640, 480), (90, 90, 90), 12
NUM_SUBJECTS, SEED, MAX_ROLL = 4, 3, 15.0


def write_release(root: Path) -> None:
    """CASME II's layout: one clip a person, its face rolled and put somewhere in a larger frame."""
    random = np.random.default_rng(SEED)
    rows = [HEADER]
    clips = generate_micro_expressions(
        NUM_SUBJECTS, 1, image_size=224, difficulty=0.7, seed=SEED, classes=("happiness", "disgust"), frames="clip"
    )
    for row in clips:
        place = (int(random.integers(100, 250)), int(random.integers(60, 200)))
        roll = float(random.uniform(-MAX_ROLL, MAX_ROLL))
        if row["label"] != "happiness":
            continue
        subject = row["subject_id"][-2:]
        folder = root / "CASME2-RAW" / f"sub{subject}" / "EP01"
        folder.mkdir(parents=True)
        for number, pixels in enumerate(row["frames"]):
            frame = Image.new("RGB", FRAME_SIZE, GREY)
            frame.paste(Image.fromarray(pixels).rotate(roll, Image.Resampling.BICUBIC, fillcolor=GREY), place)
            frame.save(folder / f"img{number}.png")
        indices = (row["onset_index"], row["apex_index"], row["offset_index"])
        rows.append((subject, "EP01", *indices, "12", row["label"]))
    workbook = openpyxl.Workbook()
    for row in rows:
        workbook.active.append(row)
    workbook.save(root / "CASME2-coding-drawn.xlsx")


def main() -> None:
    sheets = []
    with tempfile.TemporaryDirectory() as folder:
        write_release(Path(folder) / "release")
        for stabilize in (False, True):
            output = Path(folder) / f"stabilize-{stabilize}"
            options = ConversionOptions(align=True, stabilize=stabilize, image_size=224)
            convert_database(DATABASES["casme2"], Path(folder) / "release", output, options=options)
            sheets.append(Image.open(output / "contact_sheets" / "happiness.png").convert("RGB"))
    width, height = sheets[0].size
    picture = Image.new("RGB", (width, 2 * height + GAP), "white")
    for number, sheet in enumerate(sheets):
        picture.paste(sheet, (0, number * (height + GAP)))
    picture.save(PICTURE)


if __name__ == "__main__":
    main()
