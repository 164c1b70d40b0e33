"""`python -m benchmarks.spotting MODEL [SET]`: how well micro-expressions are spotted in long synthetic clips.

By optical flow and by the attention of MODEL, a classifier's folder. Without SET on the validation people that the
options are chosen on (rendering takes some minutes), with the best of the sweep that they were chosen by: that says
how good the choice is and nothing more. With SET, a folder of `micron-bert synthesize --preset mer-synth-v1-spotting`,
on people that nothing was chosen on. Writes results/spotting-NAME.json.
"""

import argparse
import itertools
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from benchmarks.render import RESULTS
from micron_bert_hf.evaluation.spotting_metrics import score_spotting
from micron_bert_hf.hub import weights_fingerprint
from micron_bert_hf.run_provenance import run_provenance
from micron_bert_hf.spotting import MicroExpressionRecognizer, MovementCurve, SpottingOptions, Video, pick_intervals
from micron_bert_hf.spotting.commands import load_classifier
from micron_bert_hf.spotting.recognizer import MEASURES
from micron_bert_hf.synthetic import generate_unlabelled_clips


VALIDATION = {"num_clips": 14, "seconds": 4.0, "fps": 50, "image_size": 224, "difficulty": 0.7, "seed": 930_005}
# What is tried on the validation people: the floor in the measure's own terms, and what a peak must reach above it.
FLOORS = {
    "flow": [{"least_change": value} for value in (0.3, 0.45, 0.6, 0.8)],
    "attention": [{"contrast": value} for value in (1.5, 2.0, 2.5, 3.0, 4.0)],
}
RELATIVE, EDGES, ALONE = (0.2, 0.4, 0.6), (0.3, 0.4, 0.5), (0.0, 0.45)


def clips_of_set(folder: Path) -> Iterator[dict[str, Any]]:
    """`sample_id`, `fps`, `intervals` and `frames` of every row, one in memory."""
    for shard in sorted(folder.glob("data/*.parquet")):
        with pq.ParquetFile(shard) as file:
            for group in range(file.num_row_groups):
                for row in file.read_row_group(group).to_pylist():
                    frames = [np.asarray(Image.open(BytesIO(frame["bytes"]))) for frame in row["frames"]]
                    yield {**row, "frames": frames}


def spotted(curve: MovementCurve, options: SpottingOptions) -> list[dict[str, int]]:
    """As [`MicroExpressionRecognizer`] says it, without the classes."""
    return [
        {name: curve.numbers[getattr(interval, name)] for name in ("onset", "apex", "offset")}
        for interval in pick_intervals(curve.values, curve.seconds, options)
    ]


def sweep(
    by: str, curves: dict[str, MovementCurve], truth: dict, rates: dict, default: SpottingOptions
) -> list[dict[str, Any]]:
    """Scores of all options that are tried, best first."""
    rows = []
    for floor, relative, edge, alone in itertools.product(FLOORS[by], RELATIVE, EDGES, ALONE):
        options = replace(default, **floor, relative=relative, edge=edge, alone_seconds=alone)
        scores = score_spotting(truth, {name: spotted(curve, options) for name, curve in curves.items()}, rates)
        rows.append({"options": asdict(options), "f1": scores["f1"]})
    return sorted(rows, key=lambda row: -row["f1"])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("set", nargs="?", type=Path)
    chosen = parser.parse_args(arguments)
    classify = load_classifier(chosen.model)
    recognizers = {by: MicroExpressionRecognizer(classify, by=by) for by in MEASURES}
    curves: dict[str, dict[str, MovementCurve]] = {by: {} for by in MEASURES}
    seconds = dict.fromkeys(MEASURES, 0.0)
    truth, rates, num_frames = {}, {}, 0
    for clip in generate_unlabelled_clips(**VALIDATION) if chosen.set is None else clips_of_set(chosen.set):
        name = clip["sample_id"]
        truth[name] = [{key: int(item[key]) for key in ("onset", "apex", "offset")} for item in clip["intervals"]]
        rates[name] = clip["fps"]
        num_frames += len(clip["frames"])
        for by, recognize in recognizers.items():
            start = time.perf_counter()
            curves[by][name] = recognize.curve(Video(list(clip["frames"]), fps=clip["fps"]))
            seconds[by] += time.perf_counter() - start
        print(f"{len(truth)} clips", flush=True)
    results = {
        **run_provenance(),
        "data": {"validation": VALIDATION} if chosen.set is None else {"set": chosen.set.name},
        "model": {"name": Path(chosen.model).name, "fingerprint": weights_fingerprint(classify.model)},
        "num_expressions": sum(map(len, truth.values())),
        "num_frames": num_frames,
        "measures": {},
    }
    for by, recognize in recognizers.items():
        found = {name: spotted(curve, recognize.options) for name, curve in curves[by].items()}
        results["measures"][by] = {
            **score_spotting(truth, found, rates),
            "options": asdict(recognize.options),
            "seconds_a_clip": seconds[by] / len(truth),
        }
        if chosen.set is None:
            results["measures"][by]["sweep"] = sweep(by, curves[by], truth, rates, recognize.options)[:10]
    name = "validation" if chosen.set is None else chosen.set.name
    (RESULTS / f"spotting-{name}.json").write_text(json.dumps(results, indent=2) + "\n")
    for by, scores in results["measures"].items():
        print(by, {key: scores[key] for key in ("f1", "precision", "recall", "apex_mae_ms", "seconds_a_clip")})
        for row in scores.get("sweep", [])[:5]:
            print("  ", row)


if __name__ == "__main__":
    main()
