"""`python -m benchmarks.spotting [SET]`: how well micro-expressions are spotted in long synthetic clips.

Without SET on the validation people that the options were chosen on (rendering takes some minutes), which says
how good the choice is and nothing more; with SET, a folder of `micron-bert synthesize --preset mer-synth-v1-spotting`,
on people that nothing was chosen on. Writes results/spotting-NAME.json.
"""

import argparse
import json
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from benchmarks.render import RESULTS
from micron_bert_hf.evaluation.spotting_metrics import score_spotting
from micron_bert_hf.run_provenance import run_provenance
from micron_bert_hf.spotting import MicroExpressionRecognizer
from micron_bert_hf.synthetic import generate_unlabelled_clips


VALIDATION = {"num_clips": 14, "seconds": 4.0, "fps": 50, "image_size": 224, "difficulty": 0.7, "seed": 930_005}


def clips_of_set(folder: Path) -> Iterator[dict[str, Any]]:
    """`sample_id`, `fps`, `intervals` and `frames` of every row, one in memory."""
    for shard in sorted(folder.glob("data/*.parquet")):
        with pq.ParquetFile(shard) as file:
            for group in range(file.num_row_groups):
                for row in file.read_row_group(group).to_pylist():
                    frames = [np.asarray(Image.open(BytesIO(frame["bytes"]))) for frame in row["frames"]]
                    yield {**row, "frames": frames}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", nargs="?", type=Path)
    chosen = parser.parse_args().set
    clips = generate_unlabelled_clips(**VALIDATION) if chosen is None else clips_of_set(chosen)
    recognize = MicroExpressionRecognizer()
    truth, spotted, rates, seconds = {}, {}, {}, 0.0
    for clip in clips:
        name = clip["sample_id"]
        truth[name] = [{key: int(item[key]) for key in ("onset", "apex", "offset")} for item in clip["intervals"]]
        rates[name] = clip["fps"]
        start = time.perf_counter()
        found = recognize(list(clip["frames"]), fps=clip["fps"])
        seconds += time.perf_counter() - start
        spotted[name] = [{"onset": item.onset, "apex": item.apex, "offset": item.offset} for item in found]
    results = {
        **run_provenance(),
        "data": {"validation": VALIDATION} if chosen is None else {"set": chosen.name},
        "options": vars(recognize.options),
        "num_expressions": sum(map(len, truth.values())),
        "seconds_a_clip": seconds / len(truth),
        "flow": score_spotting(truth, spotted, rates),
    }
    name = "validation" if chosen is None else chosen.name
    (RESULTS / f"spotting-{name}.json").write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps(results["flow"], indent=2))


if __name__ == "__main__":
    main()
